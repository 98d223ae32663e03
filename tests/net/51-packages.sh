#!/bin/bash
# shellcheck disable=SC2317,SC2016,SC2010 # called through check() and trap; texts for others
#
# 51-packages: ukai and ukai-relay as Debian packages, by the real dpkg: what is
# in them, installed, started, upgraded with the registry kept, removed, purged
# with nothing left.
#
# All in a copy of this host: / under an overlay in memory, entered by chroot in
# a mount namespace, with the relay in a network namespace. The host's own files
# and dpkg's lists of them are not touched.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${UKAI_BUILD:-${here%/tests/net}/build}
ns=ukt51-$$
work=$(mktemp -d "/tmp/$ns.XXXXXX")
deb=$work/deb
root=$work/root
# shellcheck source=tests/net/checks
. "$here/checks"

# In a mount namespace of our own all mounts go with us.
if [ "${1:-}" != inside ]; then
	rmdir "$work"
	[ "$(id -u)" = 0 ] || skip "not root"
	for tool in unshare dpkg-deb cpack dpkg-shlibdeps; do
		command -v "$tool" >/dev/null || skip "no $tool"
	done
	unshare -m --propagation private true 2>/dev/null ||
		skip "no mount namespaces"
	exec unshare -m --propagation private "$0" inside
fi

relay_pid=
cleanup()
{
	[ -z "$relay_pid" ] || kill "$relay_pid" 2>/dev/null || true
	[ -z "$relay_pid" ] || wait "$relay_pid" 2>/dev/null || true
	umount -R "$root" 2>/dev/null || true
	umount "$work/memory" 2>/dev/null || true
	ip netns del "$ns" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

mkdir -p "$work/memory" "$root" "$deb/1" "$deb/2"
mount -t tmpfs none "$work/memory"
mkdir "$work/memory/upper" "$work/memory/work"
mount -t overlay overlay "$root" -o \
	"lowerdir=/,upperdir=$work/memory/upper,workdir=$work/memory/work" \
	2>/dev/null || skip "no overlay over /"
for folder in dev proc; do
	mount --bind "/$folder" "$root/$folder"
done
for folder in run tmp; do
	mount -t tmpfs -o mode=755 none "$root/$folder"
done

within()
{
	timeout 60 chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}

# ---- the packages ----

# make FOLDER [VERSION]
make()
{
	(cd "$build" && timeout 120 cpack -G DEB -B "$deb/$1" \
		${2:+-D CPACK_PACKAGE_VERSION="$2"})
}

package()
{
	echo "$deb/$1/$2"_*.deb
}

# Of the relay, "-relay" for its folder of documents.
holds()
{
	local package=$1 path missing=0
	shift
	dpkg-deb -c "$(package 1 "$package")" >"$work/list"
	for path; do
		awk '{ print $6 }' "$work/list" | grep -qx "\.$path" &&
			continue
		echo "$package lacks $path"
		missing=1
	done
	return "$missing"
}

common()
{
	local p

	for p in ukai ukai-relay; do
		dpkg-deb -c "$(package 1 "$p")" | awk '$1 !~ /^d/ { print $6 }'
	done | sort | uniq -d | grep . && return 1
	return 0
}

depends_on()
{
	dpkg-deb -f "$(package 1 "$1")" Depends | grep -q "$2"
}

keyless()
{
	! dpkg-deb -I "$(package 1 "$1")" conffiles 2>/dev/null &&
		! dpkg-deb -c "$(package 1 "$1")" | grep '[^/]$' |
			grep '\./etc/'
}

private()
{
	dpkg-deb -c "$(package 1 "$1")" | grep -q '^drwx------ root/root .*\./etc/ukai/$'
}

unit_names()
{
	dpkg-deb --fsys-tarfile "$(package 1 ukai-relay)" |
		tar -xO ./usr/lib/systemd/system/ukai-relay.service |
		grep -q '^ExecStart=/usr/sbin/ukai-relay serve'
}

check "cpack" make 1
check "cpack of a later version" make 2 99.1
[ "$failed" = 0 ] || exit 1
check "ukai: every file" holds ukai /usr/bin/ukai \
	/usr/lib/systemd/system/ukai@.service /usr/share/man/man1/ukai.1.gz \
	/usr/share/man/man5/ukai.conf.5.gz \
	/usr/share/man/man5/ukai.rules.5.gz /usr/share/doc/ukai/copyright \
	/usr/share/doc/ukai/changelog.gz \
	/usr/share/doc/ukai/examples/ukai0.conf \
	/usr/share/doc/ukai/examples/office.rules \
	/usr/share/bash-completion/completions/ukai /etc/ukai/
check "ukai-relay: every file" holds ukai-relay /usr/sbin/ukai-relay \
	/usr/lib/systemd/system/ukai-relay.service \
	/usr/share/man/man8/ukai-relay.8.gz \
	/usr/share/man/man5/relay.conf.5.gz \
	/usr/share/doc/ukai-relay/copyright \
	/usr/share/doc/ukai-relay/changelog.gz \
	/usr/share/doc/ukai-relay/examples/relay.conf \
	/usr/share/bash-completion/completions/ukai-relay /etc/ukai/
check "no file is in both" common
check "ukai depends on its libraries" depends_on ukai \
	'libidn2-0 .*libldns3 .*libnftables1 .*libsodium23 .*libuv1.*libyaml-0-2'
check "ukai-relay depends on its libraries" \
	depends_on ukai-relay 'libnftables1 .*libsqlite3-0 .*libuv1'
for p in ukai ukai-relay; do
	check "$p: nothing in /etc that dpkg keeps (keys are made)" keyless "$p"
	check "$p: /etc/ukai is 0700" private "$p"
done
check "the unit names the program" unit_names

# ---- installed ----

# What is on the disk, without what dpkg and man-db write about themselves.
files()
{
	# Folders that dpkg made; those on the way to them are the host's.
	(cd "$work/memory/upper" && find . ! -type c -print |
		grep -vE '^\./(var/lib/dpkg|var/log|var/cache/(man|debconf|ldconfig)|etc/ld\.so\.cache)' |
		while read -r path; do
			[ -e "/$path" ] || echo "$path"
		done | sort)
}

installs()
{
	within dpkg -i "$@"
}

version_of()
{
	within dpkg-query -W -f '${Status} ${Version}' "$1"
}

is_version()
{
	[ "$(version_of "$1")" = "install ok installed $2" ]
}

give()
{
	cp "$(package "$1" ukai)" "$(package "$1" ukai-relay)" "$root/tmp/"
}

first=$(dpkg-deb -f "$(package 1 ukai)" Version)
files >"$work/before"
host_before=$(sha256sum /var/lib/dpkg/status)
give 1
check "dpkg -i" installs "/tmp/ukai_${first}_amd64.deb" \
	"/tmp/ukai-relay_${first}_amd64.deb"
check "ukai is installed" is_version ukai "$first"
check "ukai-relay is installed" is_version ukai-relay "$first"
check "dpkg finds every file as it was packed" \
	within dpkg --verify ukai ukai-relay
check "nothing is started or enabled" fails \
	test -e "$root/etc/systemd/system/multi-user.target.wants/ukai-relay.service"
check "no key is made" [ -z "$(ls "$root/etc/ukai")" ]

# ---- started, upgraded ----

ip netns add "$ns" 2>/dev/null || skip "no network namespaces"
ip -n "$ns" link set lo up
ip -n "$ns" link add wan type veth peer name far
ip -n "$ns" link set far up
ip -n "$ns" link set wan up
ip -n "$ns" addr add 192.0.2.1/24 dev wan
ip -n "$ns" route add default via 192.0.2.2

relay()
{
	timeout 30 ip netns exec "$ns" chroot "$root" /usr/sbin/ukai-relay "$@"
}

start_relay()
{
	ip netns exec "$ns" chroot "$root" /usr/sbin/ukai-relay serve \
		>"$work/relay.log" 2>&1 &
	relay_pid=$!
	for _ in $(seq 300); do
		relay status >/dev/null 2>&1 && return
		sleep 0.1
	done
	cat "$work/relay.log"
	return 1
}

stop_relay()
{
	kill "$relay_pid"
	wait "$relay_pid"
	relay_pid=
}

registered()
{
	relay clients --json | grep -q '"office-pc-1"'
}

check "init" relay init
check "serve" start_relay
check "invite" relay invite office-pc-1
check "the client is registered" registered
sum=$(sha256sum "$root/etc/ukai/relay.conf" "$root/etc/ukai/relay-tls.key")
cat >"$root/etc/ukai/office.conf" <<<"# a client's own"
give 2
check "upgrade, while it serves" installs /tmp/ukai_99.1_amd64.deb \
	/tmp/ukai-relay_99.1_amd64.deb
check "ukai-relay is upgraded" is_version ukai-relay 99.1
check "it served on" registered
check "and ends well" stop_relay
check "the upgraded one starts" start_relay
check "with the registry kept" registered
stop_relay
check "and configuration and keys" [ "$sum" = \
	"$(sha256sum "$root/etc/ukai/relay.conf" "$root/etc/ukai/relay-tls.key")" ]

# ---- removed, purged ----

check "remove ukai-relay" within dpkg -r ukai-relay
check "the program is gone" fails test -e "$root/usr/sbin/ukai-relay"
check "keys and registry are not" test -e "$root/etc/ukai/relay-tls.key" \
	-a -e "$root/var/lib/ukai/registry.db"
check "installed again, it is as before" \
	installs /tmp/ukai-relay_99.1_amd64.deb
check "serve" start_relay
check "the client is there" registered
stop_relay
check "purge ukai-relay" within dpkg -P ukai-relay
relay_left()
{
	ls "$root/etc/ukai" "$root/var/lib/ukai" 2>/dev/null |
		grep -E 'relay|registry'
}
check "nothing of the relay is left" fails relay_left
check "the client's is" test -e "$root/etc/ukai/office.conf"
check "and its program runs" within /usr/bin/ukai --version
# It undoes what a killed tunnel may have left: not in the host's network.
mkdir -p "$root/var/lib/ukai"
touch "$root/var/lib/ukai/office.guard"
check "purge ukai" ip netns exec "$ns" timeout 60 chroot "$root" env -i \
	PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C dpkg -P ukai
files >"$work/after"
check "nothing is left" diff "$work/before" "$work/after"
check "the host's own dpkg was not asked" [ "$host_before" = \
	"$(sha256sum /var/lib/dpkg/status)" ]

# ---- lint ----

lint()
{
	# Who packs it is whose address it is.
	lintian --allow-root --fail-on error --suppress-tags \
		bogus-mail-host,bogus-mail-host-in-debian-changelog \
		"$(package 1 ukai)" "$(package 1 ukai-relay)"
}
if command -v lintian >/dev/null; then
	check "lintian finds no error" lint
else
	echo "skip lintian: not installed"
fi

exit $failed
