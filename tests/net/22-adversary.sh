#!/bin/bash
# shellcheck disable=SC2086,SC2317 # our paths have no blanks; functions are
# called through check()
#
# 22-adversary: somebody who knows the protocol and does not keep to it,
# against `ukai device`, and against wireguard-go for control: what both pass
# is how the protocol is spoken.
#
#    n0: ukai-test-adversary --- lo --- ukai device ---+
#    n1:                     pings are answered at wg1 +
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# cannot make namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=device-lib
. "$here/device-lib"
adversary=$support/ukai-test-adversary

for k in target a b; do
	key $k >/dev/null
done
wg genpsk >$work/psk

# target PROGRAM...: wg1, with two peers that nobody knows the addresses of.
target()
{
	"$@" wg1 >$work/target.log 2>&1 &
	pid=$!
	soon have_socket wg1
	ip link set wg1 netns n1
	wg set wg1 private-key $work/target.key listen-port 10000 \
		peer "$(pub a)" preshared-key $work/psk \
		allowed-ips 10.99.0.2/32,fd99::2/128 \
		peer "$(pub b)" preshared-key $work/psk \
		allowed-ips 10.99.0.3/32,fd99::3/128
	ip -n n1 addr add 10.99.0.1/24 dev wg1
	ip -n n1 addr add fd99::1/112 dev wg1
	ip -n n1 link set wg1 up
	soon has_port 10000
}

# foe TARGET NET.1 OPTION... CHECK...
foe()
{
	local to=$1 net=$2
	shift 2
	"$adversary" --target "$to" --target-key $work/target.pub \
		--echo "${net}1" --inner-a "${net}2" --inner-b "${net}3" \
		--key-a $work/a.key --key-b $work/b.key --psk $work/psk \
		--held $pid "$@"
}

# say WHO CMD...: pass on what it says, and count what fails.
say()
{
	local who=$1 line
	shift
	while read -r line; do
		case $line in
		"ok "*) echo "ok $who: ${line#ok }" ;;
		"not ok "*) echo "not ok $who: ${line#not ok }"; failed=1 ;;
		"end 0" | "end 1" | ready) ;;
		"end "*) echo "not ok $who: the adversary ${line}s"; failed=1 ;;
		*) echo "$line" ;;
		esac
	done < <("$@" 2>&1; echo "end $?")
}

# called CHECK: the target calls peer b, in its place the adversary.
called()
{
	local foe_pid
	wg set wg1 peer "$(pub b)" remove
	foe 127.0.0.1:10000 10.99.0. --listen 127.0.0.1:30000 "$1" &
	foe_pid=$!
	soon has_port 30000
	wg set wg1 peer "$(pub b)" preshared-key $work/psk \
		endpoint 127.0.0.1:30000 persistent-keepalive 1 \
		allowed-ips 10.99.0.3/32,fd99::3/128
	wait $foe_pid
	local c=$?
	wg set wg1 peer "$(pub b)" persistent-keepalive 0
	return $c
}

resident()
{
	awk '/^VmRSS/ { print $2 }' /proc/$pid/status
}

# does_not_grow: 100,000 datagrams of nothing leave no trace (C2). The first
# ones may touch a buffer for the first time.
does_not_grow()
{
	local before after
	foe 127.0.0.1:10000 10.99.0. --garbage 3000 garbage >/dev/null
	before=$(resident)
	foe 127.0.0.1:10000 10.99.0. --garbage 100000 garbage
	after=$(resident)
	echo "# resident memory: $before kB before, $after kB after"
	[ $((after - before)) -le 256 ] || return 1
}

ended_well()
{
	kill "$pid" && wait "$pid"
}

against()
{
	local who=$1
	shift
	target "$@"
	say "$who, IPv4" foe 127.0.0.1:10000 10.99.0. calls data
	say "$who, answers" called answers
	say "$who, cookie" called cookie
	say "$who, flood" foe 127.0.0.1:10000 10.99.0. flood
}

against ukai "$ukai" device -f
say "ukai, flood" foe 127.0.0.1:10000 10.99.0. load
check "ukai: 100000 datagrams of garbage: memory does not grow (C2)" \
	does_not_grow
grep '^#' $work/out
say "ukai, IPv6, after all" foe '[::1]:10000' fd99:: calls data flood
check "ukai: runs to its end" ended_well
soon not ip -n n1 link show wg1
against wireguard-go wireguard-go -f
kill "$pid"
exit $failed
