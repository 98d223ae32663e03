#!/bin/bash
# shellcheck disable=SC2016,SC2317 # sh -c texts; functions called by name
#
# 15-ports: the ephemeral ports of a host with the kernel as the judge: which
# ports it chooses after `ukai ports apply`, and whether all is as it was after
# revert, a kill or a time.
#
#    A: loopback, and a link a0 (its other end is a1) with the IPv4 address that the check needs
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# has no namespaces or no jq.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
ukai=${UKAI:-$build/client/ukai}
probe=$build/tests/ukai-test-ports-probe
a=ukt15-$$-a
work=$(mktemp -d "/tmp/ukt15.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
# PSID 212: 7488-7503, 11584-11599, ...: 240 ports, of 106.72.63.108.
line=240b:10:3f6c:d400::/56
pids=

cleanup()
{
	local pid

	for pid in $pids; do
		kill -9 "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	# A timer ends when its file is gone.
	rm -rf "$work"
	ip netns del "$a" 2>/dev/null
	return 0
}
trap cleanup EXIT
trap 'exit 1' INT TERM

command -v jq >/dev/null || skip "no jq"
ip netns add "$a" 2>/dev/null || skip "no network namespaces"
ip -n "$a" link set lo up
ip -n "$a" link add a0 type veth peer name a1 || skip "no veth"
ip -n "$a" link set a0 up
ip -n "$a" link set a1 up

u()
{
	in_ns "$a" "$ukai" ports "$@"
}

# sysctls: what the kernel has, in a line.
sysctls()
{
	in_ns "$a" sh -c 'cat /proc/sys/net/ipv4/ip_local_port_range \
	    /proc/sys/net/ipv4/ip_local_reserved_ports' | tr '\t\n' '  '
}

reserve()
{
	in_ns "$a" sysctl -qw net.ipv4.ip_local_reserved_ports="$1"
}

is()
{
	local now

	now=$(sysctls)
	[ "$now" = "$1 " ] || { echo "$now, not $1"; return 1; }
}

# says JQ VERB...: the JSON of a verb.
says()
{
	local filter=$1
	shift
	u "$@" --json >"$work/json" 2>"$work/err"
	jq -e "$filter" "$work/json" || { cat "$work/json" "$work/err"; false; }
}

address()
{
	ip -n "$a" addr flush dev a0
	ip -n "$a" addr add "$1" dev a0 && ip -n "$a" route add default dev a0
}

# Every port of this output is one of the line's.
only_the_lines()
{
	in_ns "$a" "$probe" "$@" >"$work/ports" || { cat "$work/ports"; return 1; }
	awk -v p=212 '$1 < 4096 || int($1 / 16) % 256 != p { bad = 1; print }
	    END { exit bad }' "$work/ports" &&
	    [ "$(sort -u "$work/ports" | wc -l)" = "$2" ]
}

default="32768 60999"
gaps=7504-11583,11600-15679,15696-19775,19792-23871,23888-27967,27984-32063
gaps+=,32080-36159,36176-40255,40272-44351,44368-48447,48464-52543
gaps+=,52560-56639,56656-60735,60752-64831

check "show" says '.dynamic.low == 32768 and .dynamic.count == 28232 and
    .reserved == [] and .line.in_range == 112 and .line.port_count == 240 and
    (.applied | not) and .until == null' show --ipv6 "$line"
check "show without a line" says '.line == null' show
check "plan without a line is told" exits 1 u plan
check "with what to do" grep -q "no global IPv6 address" "$work/said"
check "an address of no line" exits 1 u plan --ipv6 2001:db8::1
check "with what to do, too" grep -q "^What to do" "$work/said"
check "plan: every port of the line, and the way back" says '
    .before[0].line_ports == 112 and .after[0].line_ports == 240 and
    .commands[0][2] == "net.ipv4.ip_local_reserved_ports='"$gaps"'" and
    .revert[0][2] == "net.ipv4.ip_local_port_range=32768\t60999" and
    .refused == null' plan --ipv6 "$line"
check "plan changes nothing" is "$default "

# What plan prints: for a shell, and for programs.
u plan --ipv6 "$line" >"$work/text"
u plan --ipv6 "$line" --json >"$work/plan"
as_text()
{
	in_ns "$a" sh -c "$(sed -n '/^to change/,/^to go/s/^  //p' "$work/text")"
}
as_json()
{
	in_ns "$a" sh -c "$(jq -r '.revert[] | @sh' "$work/plan")"
}
check "its commands, as they are printed" as_text
check "make the change" is "7488 64847 $gaps"
check "it is so by others: plan" says '.commands == []' plan --ipv6 "$line"
check "apply then has nothing to do" says '(.applied | not) and .until == null' \
    apply --anyway --for 2s --ipv6 "$line"
check "nor has revert" says '.undone == 0' revert
check "its commands to go back" as_json
check "go back" is "$default "

address 192.168.1.2/24
check "behind a home gateway it does not help" says \
    '(.helps | not) and (.why | test("192.168.1.2.*gateway"))' \
    plan --ipv6 "$line"
check "and apply refuses" exits 1 u apply --ipv6 "$line"
check "saying what would do it" grep -q -- --anyway "$work/said"
check "and as JSON" says '(.applied | not) and (.helps | not)' \
    apply --ipv6 "$line"
check "without a trace" is "$default "
check "a gateway that keeps ports: it helps" says .helps \
    plan --ipv6 "$line" --keeps-ports
address 106.72.63.108/32
check "a host with the line's address: it helps" says .helps \
    plan --ipv6 "$line"
check "wrong use" exits 2 u apply --for 10 --ipv6 "$line"
check "an option of another verb" exits 2 u plan --for 10m --ipv6 "$line"

check "apply" exits 0 u apply --ipv6 "$line"
check "range and gaps" is "7488 64847 $gaps"
check "TCP connects from the line's ports only" only_the_lines tcp 240
check "UDP over IPv6, too" only_the_lines udp 240
check "show knows who did it" says '.applied and
    .reserved == [{ports: "'"$gaps"'", count: 57120, by: "ukai ports apply"}] and
    .line.drawable == 240' show --ipv6 "$line"
check "plan: it is so already" says '.commands == []' plan --ipv6 "$line"
check "apply again" exits 0 u apply --ipv6 "$line"
check "changes nothing" is "7488 64847 $gaps"
# PSID 213, of the same address; an address of another.
next=240b:10:3f6c:d500::/56
other=240b:10:3f6d:d400::/56
check "another line's plan goes back to what was before both" says '
    .revert[0][2] == "net.ipv4.ip_local_port_range=32768\t60999" and
    .revert[1][2] == "net.ipv4.ip_local_reserved_ports="' plan --ipv6 "$next"
check "one whose address is not here is refused" exits 1 u apply --ipv6 "$other"
check "and the earlier one stays" is "7488 64847 $gaps"
check "one that helps takes its place" says '.applied' apply --ipv6 "$next"
check "beginning with its own port" says '.dynamic.low == 7504' show
check "the first again" exits 0 u apply --ipv6 "$line"
check "is as it was" is "7488 64847 $gaps"
check "revert" says '.undone == 2 and .left == 0' revert
check "as it was" is "$default "
check "revert again" says '.undone == 0' revert
check "no journal stays" fails test -e "$work/state/ports.undo"

reserve 8080,30000-32767
check "beside others' reservations" exits 0 u apply --ipv6 "$line"
check "which are merged" is "7488 64847 ${gaps/32063,32080-/}"
check "and not drawn from" only_the_lines tcp 224
check "not one more" fails in_ns "$a" "$probe" tcp 225
check "show tells them apart" says '[.reserved[] | select(.by == "not known") |
    .ports] == ["8080,30000-32767"]' show
in_ns "$a" sh -c 'f=/proc/sys/net/ipv4/ip_local_reserved_ports
    echo "$(cat $f),22" >$f'
check "somebody adds a port; restore" in_ns "$a" "$ukai" restore
check "leaves others' and theirs" is "$default 22,8080,30000-32767"
reserve ""

# The listener's port is one of the line's.
ip netns exec "$a" "$probe" listen 7488 >"$work/listen" &
pids="$!"
check "a program listens on a port of the line" until_true grep -q ready \
    "$work/listen"
check "show tells" says '.line.listening == "7488"' show --ipv6 "$line"
check "apply keeps that port for it" exits 0 u apply --ipv6 "$line"
check "so that 239 are drawn" only_the_lines tcp 239
check "and not it" fails grep -qx 7488 "$work/ports"
check "revert" exits 0 u revert
# 64 ports, 64000 to 64063: outside of the default range.
cat >"$work/rules" <<EOF
operator,ipv6_rule_prefix,ipv4_prefix,ea_len,psid_offset,psid_len,br_address,iid_style
test,2001:db8::/32,198.51.100.0/24,18,0,10,2001:db8:ffff::1,rfc7597
EOF
small=2001:db8:1fa::/50
check "64 ports are enough" says '.refused == null and .after[0].line_ports == 64' \
    plan --ipv6 "$small" --rules "$work/rules"
first=$(jq -r '.after[0].low' "$work/json")
ip netns exec "$a" "$probe" listen "$first" >"$work/listen2" &
pids="$pids $!"
check "a program listens on one of them" until_true grep -q ready \
    "$work/listen2"
check "a plan that would strand it is refused" exits 1 \
    u apply --anyway --ipv6 "$small" --rules "$work/rules"
check "and it is named" grep -q "listen on ports of the line.*$first" \
    "$work/said"
check "nothing is changed" is "$default "
# 1023 ranges of 4 ports.
{ head -n 1 "$work/rules"
  echo test,2001:db8:5::/48,203.0.113.0/28,8,10,4,2001:db8:ffff::1,rfc7597
} >"$work/many"
check "more gaps than the kernel takes: refused" exits 1 \
    u plan --ipv6 2001:db8:5:100::/56 --rules "$work/many"
check "and why" grep -q "bytes long, and the kernel takes 4094" "$work/said"
# A range alone, with nothing to reserve.
check "another line, without gaps" exits 0 \
    u apply --anyway --for 1h --ipv6 2001:db8:1fb::/50 --rules "$work/rules"
check "show tells" says '.applied and .reserved == [] and .until > now' show
check "revert" says '.undone == 1' revert
# The machine was switched off before the time had come.
mkdir -p "$work/state"
echo "ukai-ports-until 1 99999999999" >"$work/state/ports.until"
check "a restart has undone it: no time is told" says \
    '(.applied | not) and .until == null' show
rm "$work/state/ports.until"

# kill -9 somewhere: revert finds its way.
killed()
{
	local i pid n=0

	for i in 1 2 3 4 5 6 7 8 9 10; do
		ip netns exec "$a" "$ukai" ports apply --ipv6 "$line" \
		    >/dev/null 2>&1 &
		pid=$!
		sleep "0.0$i"
		kill -9 "$pid" 2>/dev/null && n=$((n + 1))
		wait "$pid" 2>/dev/null
		exits 0 u revert && is "$default " || return 1
	done
	echo "$n kills"
}
check "kill -9 during apply, then revert" killed

check "apply --for" exits 0 u apply --for 4s --ipv6 "$line"
check "in force" is "7488 64847 7488,$gaps"
check "show says until when" says \
    '.reverts_itself and .until > now - 1 and .until < now + 6' show
check "and then it is as before" until_true is "$default "
check "without a journal" fails test -e "$work/state/ports.undo"
check "apply --for, and revert before" exits 0 u apply --for 2s --ipv6 "$line"
check "another --for takes its place" exits 0 \
    u apply --for 1h --ipv6 "$line"
check "until then" says '.reverts_itself and .until > now + 3500' show
check "revert ends it" exits 0 u revert
check "a later apply" exits 0 u apply --ipv6 "$line"
sleep 2.6
check "is not undone by the first one's time" says '.applied' show
check "restore undoes it" in_ns "$a" "$ukai" restore
check "as it was at the beginning" is "$default "

check "windows: 64 of 240" says '.before[0].line_ports == 64 and
    (.commands | length) == 30 and (.helps | not) and
    (.warnings | any(test("--listening"))) and
    .revert[0] == ["netsh", "int", "ipv4", "set", "dynamicport", "tcp",
	"start=49152", "num=16384", "store=persistent"]' \
    plan --os windows --ipv6 "$line"
printf '  TCP    0.0.0.0:7680   0.0.0.0:0   LISTENING\r\n' >"$work/netstat"
printf '  TCP    0.0.0.0:49664   0.0.0.0:0   LISTENING\r\n' >>"$work/netstat"
check "windows: not over a listener, nor silent about one inside" says \
    '.after[0].low == 11584 and .after[1].low == 7488 and
    .after[0].other_ports == 1 and (.warnings | any(test("49664")))' \
    plan --os windows --ipv6 "$line" --listening "$work/netstat"
check "windows: bad state is told with its line" exits 2 \
    u plan --os windows --ipv6 "$line" --state "$work/rules"
printf '%s\n' 'Protocol tcp Port Exclusion Ranges' '5357 5357' '50000 50099' \
    '53000 53059 *' >"$work/state.txt"
check "windows: what others have, and winnat" says '
    .before[0].kept_out == "5357,50000-50099,53000-53059" and
    .commands[0] == ["net", "stop", "winnat"] and
    .commands[-1] == ["net", "start", "winnat"] and
    (.commands | all(.[6] != "startport=53000"))' \
    plan --os windows --ipv6 "$line" --state "$work/state.txt"
exit $failed
