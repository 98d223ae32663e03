#!/bin/bash
# shellcheck disable=SC2016,SC2317,SC2329 # functions are called by name and by trap
#
# 19-programs: the sockets of programs that rules name get their class, from
# the first one on; so do their children, and what `ukai run` starts; those of
# other network namespaces do not; and nothing is left behind. Copies of a
# program that asks for its sockets' marks are what is named.
#
#    a    the tunnel would be here
#    b    another namespace on the same host, with the same cgroups
#
# One line of output for a check; exit 77 where cgroup 2 or BPF is missing.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
probe=$build/tests/ukai-test-programs-probe
mark=$build/tests/ukai-test-sock-mark
ukai=${UKAI:-$build/client/ukai}
a=ukt19-$$-a
b=ukt19-$$-b
tunnel=u19t$$
work=$(mktemp -d "/tmp/ukt19.XXXXXX")
journal=$work/journal
# shellcheck source=tests/net/checks
. "$here/checks"
holder='' started=() cgroups='' apart=''

cleanup()
{
	local ns pid

	exec 3>&- 2>/dev/null
	[ -n "$holder" ] && kill -9 "$holder" 2>/dev/null
	for pid in "${started[@]}"; do
		kill -9 "$pid" 2>/dev/null
	done
	for ns in "$a" "$b"; do
		for pid in $(ip netns pids "$ns" 2>/dev/null); do
			kill -9 "$pid" 2>/dev/null
		done
	done
	wait 2>/dev/null
	"$probe" restore "$journal" >/dev/null 2>&1
	[ -n "$apart" ] && rmdir "$apart/threads" "$apart" 2>/dev/null
	ip netns del "$a" 2>/dev/null
	ip netns del "$b" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# The namespaces' own /sys has no cgroups: they are looked at from here.
folders() { find "$cgroups" -name "ukai-$tunnel-*" 2>/dev/null; }
no_folders() { [ -z "$(folders)" ]; }
attached() { "$probe" attached; }
attached_is() { [ "$(attached)" = "$1" ]; }

# copy NAME...: programs of these names.
copy()
{
	local name

	for name; do
		cp "$mark" "$work/$name"
	done
}

# start NS FILE PROGRAM [ARG...]: it goes on by itself; its classes are in
# FILE. Its process is $pid.
start()
{
	local ns=$1 file=$2 program=$3

	shift 3
	ip netns exec "$ns" "$work/$program" "$work/$file" "$@" 3>&- &
	pid=$!
	started+=("$pid")
}

first_is() { [ "$(head -n 1 "$work/$1" 2>/dev/null)" = "$2" ]; }
now_is() { [ "$(tail -n 1 "$work/$1" 2>/dev/null)" = "$2" ]; }

# first WHAT FILE CLASS: its first socket had it.
first()
{
	until_true test -s "$work/$2"
	check "$1" first_is "$2" "$3"
}

# Does the kernel describe its types? Without, only a thread's name counts from
# the first socket on, as the warning says.
has_types() { [ -r /sys/kernel/btf/vmlinux ]; }

# at_once WHAT FILE CLASS: as first, where that can be; else a moment later.
at_once()
{
	if has_types; then
		first "$@"
	else
		becomes "$@"
	fi
}

# becomes WHAT FILE CLASS
becomes() { check "$1" until_true now_is "$2" "$3"; }

# stays WHAT FILE CLASS: never another one.
stays()
{
	same "$1" "$(sort -u "$work/$2" | tr '\n' ' ')" "$3 "
}

# hold NAME...: follow these names, answering on descriptor 3.
hold()
{
	: >"$work/said"
	ip netns exec "$a" "$probe" hold "$journal" "$tunnel" "$@" \
	    <"$work/in" >"$work/said" 2>"$work/err" 3>&- &
	holder=$!
	until_true grep -q ready "$work/said"
}

# tell LINE: what is answered goes to $work/answer.
tell()
{
	: >"$work/said"
	echo "$1" >&3
	until_true grep -q -e '^ok' -e '^error' "$work/said"
	cp "$work/said" "$work/answer"
	! grep -q '^error' "$work/answer"
}

answers() { tell "$1" && grep -q -x -e "$2" "$work/answer"; }

# release: it ends by itself, with 0 when its journal is empty.
release()
{
	local code

	echo quit >&3
	wait "$holder"
	code=$?
	holder=''
	return "$code"
}

kill_holder()
{
	kill -9 "$holder"
	wait "$holder" 2>/dev/null
	holder=''
}

[ "$(id -u)" = 0 ] || skip "not root"
why=$("$probe" check) || skip "$why"
{ ip netns add "$a" && ip netns add "$b"; } 2>/dev/null ||
    skip "no namespaces"
cgroups=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
[ -n "$cgroups" ] || skip "cgroup 2 is not mounted"
before=$(attached)
mkfifo "$work/in"
exec 3<>"$work/in"
home=$(tail -n 1 /proc/$$/cgroup)
in_home() { [ "$(tail -n 1 "/proc/$1/cgroup")" = "$home" ]; }

# ---- names ----

copy early rclone longer-than-the-kernel-has longer-than-the-kernel-knows \
    threads renamed other plain
# Of two names of 15 bytes and more, what the kernel has is the same.
cat >"$work/a-script-with-a-long-name" <<EOT
#!/bin/sh -u
"$work/plain" "\$1" &
sleep 0.4
"$work/plain" "\$2"
EOT
sed 's/^sleep.*//' "$work/a-script-with-a-long-name" >"$work/nightly.sh"
chmod +x "$work/nightly.sh" "$work/a-script-with-a-long-name"
cp "$work/a-script-with-a-long-name" "$work/a-script-with-another-name"
start "$a" early-1 early
early=$pid
start "$b" elsewhere early
until_true test -s "$work/early-1"

check "programs_open" hold early rclone longer-than-the-kernel-has threads \
    nightly.sh a-script-with-a-long-name! Renamed
has_types && [ -s "$work/err" ] && { echo "not ok without a warning"; cat "$work/err"; }
becomes "a program that runs already" early-1 1
check "which keeps its place below its cgroup" \
    grep -q "ukai-$tunnel-.*-1\$" "/proc/$early/cgroup"

start "$a" rclone-1 rclone
rclone=$pid
start "$a" long-1 longer-than-the-kernel-has
start "$a" long-2 longer-than-the-kernel-knows
start "$a" threads-1 threads
start "$a" threads-2 threads worker
start "$a" other-1 other
start "$a" other-2 other rclone
ip netns exec "$a" "$work/renamed" -r "$work/renamed-2" Renamed 3>&- &
started+=($!)
start "$a" nightly-1 nightly.sh "$work/nightly-2"
start "$a" script-1 a-script-with-a-long-name "$work/script-2"
start "$a" another-1 a-script-with-another-name "$work/another-2"
start "$b" rclone-b rclone
first "a named program's first socket" rclone-1 2
stays "and all others" rclone-1 2
at_once "a name of more than 15 bytes" long-1 3
becomes "a thread of another name" threads-2 5
first "a thread that is called like another program" other-2 2
at_once "a script's children: the first" nightly-1 6
at_once "a script's children: the last" nightly-2 6
at_once "a script of a long name: its first child" script-1 7
at_once "a script of a long name: a later child, from the start" script-2 7
ip netns exec "$a" "$work/renamed" -f "$work/worker-2" \
    a-script-with-another-name 3>&- &
twin=$!
started+=("$twin")
first "before a program calls itself so" renamed-2 0
touch "$work/renamed-2.now"
becomes "and since" renamed-2 9
stays "not a name that only begins so" long-2 0
becomes "nor a script's, once it has been looked at" another-2 0
until_true grep -q a-script /proc/$twin/comm
touch "$work/worker-2.now"
becomes "nor one that it has forked" worker-2 0
stays "not one that nobody names" other-1 0
stays "not in another network namespace" rclone-b 0
stays "nor one that ran there before" elsewhere 0
check "and these stay where they are" in_home "$(ip netns pids "$b" | head -n 1)"
check "status: name, class, processes" answers status 'rclone 2 1 0'
check "status: with children" answers status 'nightly.sh 6 3 0'

# We may be slow: what is about to be looked at is known to the kernel. Which of
# two scripts of tunnel! it is, it cannot know: neither may leak.
if has_types; then
	kill -STOP "$holder"
	start "$a" slow-long longer-than-the-kernel-has
	slow=("$pid")
	start "$a" slow-child nightly.sh "$work/slow-child-2"
	slow+=("$pid")
	start "$a" slow-script a-script-with-a-long-name "$work/slow-script-2"
	slow+=("$pid")
	start "$a" slow-other a-script-with-another-name "$work/slow-other-2"
	slow+=("$pid")
	start "$a" slow-plain longer-than-the-kernel-knows
	slow+=("$pid")
	first "nobody looks: a long name" slow-long 3
	first "nobody looks: a child" slow-child 6
	first "nobody looks: a later child" slow-child-2 6
	first "nobody looks: a script of a long name" slow-script 7
	first "nobody looks: what may be one" slow-other 7
	first "nobody looks: what only begins so" slow-plain 0
	kill -CONT "$holder"
	becomes "looked at: what was not one" slow-other-2 0
	check "status: they all" until_true answers status 'nightly.sh 6 6 0'
	for pid in "${slow[@]}"; do
		for child in $(cat "/proc/$pid/task/$pid/children"); do
			kill -9 "$child"
		done
		kill -9 "$pid"
		wait "$pid" 2>/dev/null
	done
else
	echo "# no types of the kernel: what nobody looks at is not looked at"
fi

# ---- other names, ukai run ----

check "other names" tell "follow plain rclone"
check "a name keeps its class" answers status 'rclone 2 1 0'
check "a new one gets a new class" answers status 'plain 10 6 0'
check "the others go back" until_true in_home "$early"
becomes "and have none" early-1 0
becomes "not by their parents any more" nightly-2 10
check "as before again" tell "follow early rclone nightly.sh longer-than-the-kernel-has"
becomes "again the class that it had" early-1 1

start "$a" run-1 other
becomes "before ukai run" run-1 0
check "ukai run" tell "run $pid"
becomes "its class" run-1 254
start "$a" run-2 rclone
becomes "before it" run-2 2
check "ukai run --fallback, of a named program" tell "run-fallback $pid"
becomes "counts for more than the name" run-2 253
ip netns exec "$a" "$work/nightly.sh" "$work/run-3" "$work/run-4" 3>&- &
started+=($!)
becomes "a script before" run-4 6
check "ukai run of what has children" tell "run $!"
becomes "its children, too" run-4 254
start "$b" run-b other
check "not of another namespace's" fails tell "run $pid"
check "which is said" grep -q "another network namespace" "$work/answer"
check "nor of none" fails tell "run 4194305"

# A cgroup of threads takes no folder of ours.
apart=$cgroups/ukt19-$$
mkdir "$apart" "$apart/threads"
if echo threaded >"$apart/threads/cgroup.type" 2>/dev/null; then
	copy rclone2
	(
		echo "$BASHPID" >"$apart/cgroup.procs"
		echo "$BASHPID" >"$apart/threads/cgroup.threads"
		exec ip netns exec "$a" "$work/rclone" "$work/threaded" 3>&-
	) &
	threaded=$!
	started+=("$threaded")
	first "where it cannot be moved, its name does" threaded 2
	check "and status says so" until_true answers status 'rclone 2 1 1'
	check "ukai run is refused there" fails tell "run $threaded"
	kill -9 "$threaded"
	wait "$threaded" 2>/dev/null
else
	echo "# no cgroups of threads here"
fi
rmdir "$apart/threads" "$apart" && apart=''

# ---- killed ----

kill_holder
check "killed: our program is there still" attached_is $((before + 1))
start "$a" killed-1 rclone
first "a named program has its class" killed-1 2
start "$a" killed-2 longer-than-the-kernel-has
first "also one of a long name" killed-2 3
becomes "and ukai run's" run-1 254
check "the next one" hold other nightly.sh rclone
check "has put its own in place of it" attached_is $((before + 1))
check "knows the classes" answers status 'rclone 2 2 0'
check "and gives others to others" answers status 'other 11 2 0'
first "all the time" killed-1 2
stays "without a gap" rclone-1 2
for i in 1 2 3; do
	kill_holder
	check "killed again ($i)" hold rclone
done
check "nothing piles up" attached_is $((before + 1))
stays "still without a gap" rclone-1 2
kill_holder
check "restore" "$probe" restore "$journal"
check "takes back the folders" no_folders
check "and the program" attached_is "$before"
check "the processes are where they were" in_home "$rclone"
becomes "and have no class" rclone-1 0
check "its journal is gone" fails test -e "$journal"

check "once more" hold rclone
becomes "with classes from the beginning" rclone-1 1
sleep_here() { ip netns exec "$a" "$work/rclone" -1 "$work/once" 3>&-; }
check "its programs end" sleep_here
check "ends" release
check "and leaves no folders" no_folders
check "no program" attached_is "$before"
check "and no journal" fails test -e "$journal"
check "the processes are where they were" in_home "$rclone"
becomes "and have no class" rclone-1 0

check "without names" hold
check "nothing is looked at" attached_is "$before"
check "but ukai run works" tell "run $rclone"
becomes "as ever" rclone-1 254
check "and ends" release
check "and leaves no folders" no_folders

# ---- the command ----

export UKAI_RUN_DIR=$work/run
mkdir "$work/run"
check "ukai run: nothing runs" exits 3 "$ukai" run true
check "no program" exits 2 "$ukai" run
check "no such option" exits 2 "$ukai" run --no true
check "no tunnel's name" exits 2 "$ukai" run -n a/b true
check "no such tunnel" exits 3 "$ukai" run -n nobody true
check "no such user" exits 2 "$ukai" run --user no-such-user true
check "not root" exits 4 setpriv --reuid 65534 --clear-groups "$ukai" run true

# answer TEXT: a tunnel that says so, and writes down what it is asked.
cat >"$work/answer.sh" <<EOT
#!/bin/sh
read -r line
echo "\$line" >>"$work/asked"
cat "$work/tells"
EOT
chmod +x "$work/answer.sh"
listen() # NAME
{
	ncat -l -k -U "$work/run/$1.sock" -c "$work/answer.sh" 3>&- \
	    2>/dev/null &
	started+=($!)
	until_true test -S "$work/run/$1.sock"
}
if command -v ncat >/dev/null; then
	printf '{"error": null}\n\n' >"$work/tells"
	listen one
	check "the only one" exits 7 "$ukai" run -- sh -c 'exit 7'
	check "is asked for this process" grep -qx run "$work/asked"
	check "--fallback" exits 0 "$ukai" run -n one --fallback true
	check "is asked for" grep -qx run-fallback "$work/asked"
	same "options behind the program are its own" \
	    "$("$ukai" run echo -n one --fallback)" "one --fallback"
	same "--user" "$("$ukai" run --user nobody -- sh -c \
	    'id -un; id -G; echo $USER $LOGNAME $HOME')" \
	    "$(printf 'nobody\n%s\nnobody nobody %s' "$(id -G nobody)" \
	    "$(getent passwd nobody | cut -d : -f 6)")"
	same "nothing of ours is inherited" \
	    "$("$ukai" run ls /proc/self/fd 3>&-)" "$(ls /proc/self/fd 3>&-)"
	check "no such program" exits 127 "$ukai" run no-such-program
	check "not a program" exits 126 "$ukai" run "$work"
	printf '{"error": "no policy"}\n\n' >"$work/tells"
	check "refused" exits 1 "$ukai" run touch "$work/ran"
	check "and says why" grep -q "one: no policy" "$work/said"
	printf 'who knows\n\n' >"$work/tells"
	check "no answer" exits 1 "$ukai" run touch "$work/ran"
	check "then nothing has run" fails test -e "$work/ran"
	listen two
	check "several" exits 2 "$ukai" run true
	check "are named" grep -q "one two" "$work/said"
else
	echo "# no ncat: the command's answers are not looked at"
fi
exit "$failed"
