#!/bin/bash
# shellcheck disable=SC2016,SC2317 # texts for others; functions called by name
#
# 50-install: what `cmake --install` puts on a machine: is everything there,
# does the manual render and tell of every option and key, does the shell
# complete, does systemd take the units, do the programs take the samples?
#
# The samples run in a namespace with one link that leads nowhere. One line of output for a
# check; exit 0 when all hold, 77 when the machine has no namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
ns=ukt50-$$
work=$(mktemp -d "/tmp/ukt50.XXXXXX")
dest=$work/dest
ukai=$dest/usr/bin/ukai
relay=$dest/usr/sbin/ukai-relay
man=$dest/usr/share/man
completions=$dest/usr/share/bash-completion/completions
units=$dest/usr/lib/systemd/system
examples=$dest/usr/share/doc/ukai/examples
relay_example=$dest/usr/share/doc/ukai-relay/examples/relay.conf
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
client_pid=
# shellcheck source=tests/net/checks
. "$here/checks"

cleanup()
{
	[ -z "$client_pid" ] || kill "$client_pid" 2>/dev/null
	[ -z "$client_pid" ] || wait "$client_pid" 2>/dev/null
	ip netns del "$ns" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# ---- the files ----

install_to()
{
	DESTDIR=$1 cmake --install "$build" --prefix /usr
}

# A line is PATH MODE.
everything_there()
{
	local path mode missing=0
	while read -r path mode; do
		[ "$(stat -c %a "$dest$path" 2>/dev/null)" = "$mode" ] && continue
		echo "$path: expected mode $mode:" \
			"$(stat -c %a "$dest$path" 2>&1)"
		missing=1
	done <<-END
		/usr/bin/ukai 755
		/usr/sbin/ukai-relay 755
		/usr/share/man/man1/ukai.1 644
		/usr/share/man/man5/ukai.conf.5 644
		/usr/share/man/man5/relay.conf.5 644
		/usr/share/man/man5/ukai.rules.5 644
		/usr/share/man/man8/ukai-relay.8 644
		/usr/share/bash-completion/completions/ukai 644
		/usr/share/bash-completion/completions/ukai-relay 644
		/usr/share/doc/ukai/LICENSE 644
		/usr/share/doc/ukai/README.md 644
		/usr/share/doc/ukai/examples/ukai0.conf 644
		/usr/share/doc/ukai/examples/office.rules 644
		/usr/share/doc/ukai-relay/examples/relay.conf 644
		/usr/share/doc/ukai-relay/examples/ukai-relay.json 644
		/usr/share/doc/ukai-relay/examples/prometheus.yml 644
		/usr/share/doc/ukai-relay/examples/ukai-relay.rules.yml 644
		/usr/lib/systemd/system/ukai@.service 644
		/usr/lib/systemd/system/ukai-relay.service 644
		/etc/ukai 700
	END
	return "$missing"
}

# What the manual says about removing: the list that cmake wrote is all.
manifest_is_whole()
{
	diff <(cd "$dest" && find . -type f | sed 's/^\.//' | sort) \
		<(sort "$build/install_manifest.txt" && echo) | grep '^<' &&
		return 1
	return 0
}

# An administrator's folder is not touched.
keeps_configuration()
{
	mkdir -p "$work/old/etc/ukai" && chmod 750 "$work/old/etc/ukai" &&
		echo mine >"$work/old/etc/ukai/ukai0.conf" &&
		install_to "$work/old" &&
		[ "$(stat -c %a "$work/old/etc/ukai")" = 750 ] &&
		[ "$(cat "$work/old/etc/ukai/ukai0.conf")" = mine ] &&
		[ "$(ls "$work/old/etc/ukai")" = ukai0.conf ]
}

programs_run()
{
	"$ukai" --version && "$relay" --version
}

# ---- the manual ----

# Renders without a word on standard error; $1 is below the man folder.
renders()
{
	local said
	said=$(cd "$man" && LC_ALL=C.UTF-8 MANWIDTH=80 \
		man --warnings -E UTF-8 -l "$1" 2>&1 >"$work/page") || return 1
	printf '%s' "$said"
	[ -z "$said" ] && grep -q NAME "$work/page"
}

lints()
{
	(cd "$man" && mandoc -T lint -W warning "$1")
}

# tells PAGE WORD...: every word stands in the page.
tells()
{
	local page=$1 word bad=0
	shift
	(cd "$man" && MANWIDTH=200 LC_ALL=C.UTF-8 man -E UTF-8 -l "$page") \
		>"$work/page" 2>/dev/null
	[ $# -gt 0 ] || { echo "nothing to look for"; return 1; }
	for word; do
		grep -qF -- "$word" "$work/page" && continue
		echo "$page does not tell of $word"
		bad=1
	done
	return "$bad"
}

# options PROGRAM VERB...: the long options that their help names.
options()
{
	local program=$1 verb
	shift
	for verb; do
		"$program" "$verb" --help 2>&1 | grep -oE -- "--[a-z]+(-[a-z]+)*"
	done | sort -u
}

# keys FILE...: sections and keys of the parsers' tables.
keys()
{
	(cd "$root" && sed -nE 's/^    \{"([A-Z][A-Za-z]+)",.*/\1/p' "$@") |
		sort -u
}

# ---- completion ----

# completes PROGRAM WORD...: prints what bash offers for the last word.
completes()
{
	bash --norc -c '
		source "$1" || exit 1
		shift
		spec=$(complete -p "$1") || exit 1
		[[ $spec =~ -F\ ([a-z_]+) ]] || exit 1
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		"${BASH_REMATCH[1]}" "$1" "${COMP_WORDS[COMP_CWORD]}" \
			"${COMP_WORDS[COMP_CWORD - 1]}"
		printf "%s\n" "${COMPREPLY[@]}"
	' bash "$completions/$1" "$@" | sort
}

# offers "WANTED..." PROGRAM WORD...: exactly these.
offers()
{
	local wanted=$1
	shift
	diff <(tr ' ' '\n' <<<"$wanted" | sort) <(completes "$@")
}

completes_verbs()
{
	offers "up" ukai u &&
		offers "restore" ukai re &&
		offers "join up down status restore policy run map-e ports device \
genkey pubkey --help --version" ukai "" &&
		offers "init serve check status invite clients revoke address \
limit forward registry restore --help --version" ukai-relay ""
}

completes_options()
{
	offers "--config --foreground --help" ukai up -- &&
		offers "--json" ukai status --j &&
		offers "--config --background --verbose --help" \
			ukai-relay serve "" &&
		offers "--png --policy" ukai-relay invite pc --p &&
		offers "shared exclusive routed" ukai-relay address pc "" &&
		offers "off" ukai-relay limit -i ukai0 pc o &&
		offers "backup restore" ukai-relay registry ""
}

# A hostile file name is offered as it is, and not run.
completes_names()
{
	local folder=$work/names
	mkdir -p "$folder" &&
		touch "$folder/ukai0.sock" "$folder/office.sock" \
			"$folder/rl0.relay" "$folder/\$(touch bad).sock" \
			"$folder/killed.journal" "$folder/rl1.relay-journal" ||
		return 1
	(
		cd "$folder" || exit 1
		export UKAI_RUN_DIR=$folder UKAI_STATE_DIR=$folder
		offers "ukai0" ukai status uk &&
			offers "office" ukai down o &&
			offers "killed" ukai restore k &&
			offers "rl0" ukai-relay status --interface "" &&
			offers "rl1" ukai-relay restore -i "" &&
			completes ukai down '$' | grep -qxF '$(touch bad)' &&
			[ ! -e bad ]
	)
}

completes_files()
{
	local folder=$work/files
	mkdir -p "$folder/sub" && touch "$folder/a.conf" "$folder/a.txt" &&
		offers "$folder/a.conf $folder/sub" ukai up -c "$folder/" &&
		offers "$folder/a.conf" ukai up --config = "$folder/a" &&
		offers "$folder/a.conf $folder/sub" ukai up -f "$folder/" &&
		offers "$folder/a.conf $folder/sub" \
			ukai-relay check --config "$folder/"
}

# ---- units ----

# With the programs and pages where they are now.
units_verify()
{
	local said
	mkdir -p "$work/units" || return 1
	sed "s,=/usr/\(s\?bin\)/ukai,=$dest/usr/\1/ukai," \
		"$units/ukai@.service" >"$work/units/ukai@office.service"
	sed "s,=/usr/\(s\?bin\)/ukai,=$dest/usr/\1/ukai," \
		"$units/ukai-relay.service" >"$work/units/ukai-relay.service"
	said=$(MANPATH=$man systemd-analyze verify \
		"$work/units/ukai@office.service" \
		"$work/units/ukai-relay.service" 2>&1) || return 1
	# What other packages' units get wrong is theirs.
	! grep -iE 'ukai' <<<"$said"
}

units_name_programs()
{
	grep -qx "ExecStart=/usr/bin/ukai up .*" "$units/ukai@.service" &&
		grep -qx "ExecStopPost=/usr/bin/ukai restore --keep-guard %i" \
			"$units/ukai@.service" &&
		grep -qx "ExecStart=/usr/sbin/ukai-relay serve .*" \
			"$units/ukai-relay.service" &&
		! grep -n '@UKAI' "$units"/*.service
}

# exposure UNIT MAX: systemd's own judgement, 0 (best) to 10.
exposure()
{
	systemd-analyze security --offline=true --no-pager "$work/units/$1" \
		--threshold="$2" | tail -n 1
	return "${PIPESTATUS[0]}"
}

# ---- samples ----

key()
{
	"$ukai" genkey
}

# fill FROM TO: keys in place of the placeholders.
fill()
{
	local line
	while IFS= read -r line; do
		case $line in
		*Private*PASTE*) line="PrivateKey = $(key)" ;;
		*Public*PASTE*) line="PublicKey = $(key | "$ukai" pubkey)" ;;
		esac
		printf '%s\n' "$line"
	done <"$1" >"$2"
	! grep '^[^#]*PASTE' "$2"
}

# The example of ukai.conf(5) that begins with this line.
from_manual()
{
	awk -v first="$1" '$0 == first { on = 1 } /^\.Ed/ { on = 0 } on' \
		"$man/man5/ukai.conf.5"
}

# exits CODE COMMAND...
exits()
{
	local code=$1 got
	shift
	"$@"
	got=$?
	[ "$got" = "$code" ] || { echo "exit $got, expected $code"; return 1; }
}

relay_takes()
{
	fill "$1" "$work/relay.conf" &&
		exits 0 ip netns exec "$ns" "$relay" check \
			--config "$work/relay.conf"
}

# Up as the unit starts it, seen by status and the shell, and down again.
client_takes()
{
	local status
	fill "$1" "$work/uk50c.conf" || return 1
	ip netns exec "$ns" "$ukai" up --foreground \
		--config "$work/uk50c.conf" &
	client_pid=$!
	for _ in $(seq 600); do
		"$ukai" status uk50c >/dev/null 2>&1 && break
		kill -0 "$client_pid" 2>/dev/null || break
		sleep 0.05
	done
	"$ukai" status uk50c && offers uk50c ukai down uk
	status=$?
	kill "$client_pid"
	wait "$client_pid" || status=$?
	client_pid=
	return "$status"
}

refuses_placeholders()
{
	exits 2 "$relay" check --config "$relay_example" &&
		exits 2 "$ukai" up --foreground --config "$examples/ukai0.conf"
}

umask 022
ip netns add "$ns" 2>/dev/null ||
	{ echo "no network namespaces here"; exit 77; }
ip -n "$ns" link set lo up
ip -n "$ns" link add d0 type veth peer name d1 &&
	ip -n "$ns" link set d1 up &&
	ip -n "$ns" link set d0 up &&
	ip -n "$ns" address add 192.0.2.1/24 dev d0 &&
	ip -n "$ns" route add default via 192.0.2.254 || exit 1

check "cmake --install" install_to "$dest"
check "every file with its mode" everything_there
check "the list for removing is whole" manifest_is_whole
check "/etc/ukai that is there is left alone" keeps_configuration
check "the programs run" programs_run

for page in man1/ukai.1 man5/ukai.conf.5 man5/relay.conf.5 man5/ukai.rules.5 \
	man8/ukai-relay.8
do
	check "$page renders without warnings" renders $page
	if ! command -v mandoc >/dev/null; then
		echo "skip $page: no mandoc"
	elif [ $page != man5/relay.conf.5 ]; then # one line, ".so"
		check "$page has no lint" lints $page
	fi
done
check "relay.conf(5) is ukai.conf(5)" \
	tells man5/relay.conf.5 ReservedPorts LocalNetworks
# shellcheck disable=SC2046 # words
{
	check "ukai(1) tells of every option" tells man1/ukai.1 \
		$(options "$ukai" join up down status restore run device) \
		--version
	check "ukai-relay(8) tells of every option" tells man8/ukai-relay.8 \
		$(options "$relay" init serve check status invite clients \
			revoke address limit forward registry restore) --version
	check "ukai.conf(5) tells of every key" tells man5/ukai.conf.5 \
		$(keys common/core/conf_wg.c client/conf.c server/conf.c)
}
check "ukai(1) tells of every variable" tells man1/ukai.1 LOG_LEVEL \
	WG_TUN_FD WG_UAPI_FD WG_PROCESS_FOREGROUND UKAI_RUN_DIR \
	UKAI_STATE_DIR WG_QUICK_USERSPACE_IMPLEMENTATION

check "completion: verbs" completes_verbs
check "completion: options" completes_options
check "completion: names, also hostile ones" completes_names
check "completion: configuration files" completes_files

check "units start what is installed" units_name_programs
if command -v systemd-analyze >/dev/null; then
	check "systemd takes the units" units_verify
	check "ukai@.service: exposure below 3.3" \
		exposure ukai@office.service 32
	check "ukai-relay.service: exposure below 2.5" \
		exposure ukai-relay.service 25
else
	echo "skip systemd takes the units: no systemd-analyze"
fi

check "placeholders are refused, exit 2" refuses_placeholders
check "sample relay.conf" relay_takes "$relay_example"
check "sample ukai0.conf" client_takes "$examples/ukai0.conf"
check "sample office.rules" "$ukai" policy check "$examples/office.rules"
from_manual "# /etc/ukai/relay.conf" >"$work/manual-relay.conf"
from_manual "# /etc/ukai/ukai0.conf" >"$work/manual-ukai.conf"
check "the manual's relay.conf" relay_takes "$work/manual-relay.conf"
check "the manual's ukai0.conf" client_takes "$work/manual-ukai.conf"

exit $failed
