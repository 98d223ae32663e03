#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions called by name
#
# 14-ce-address: the CE's address on the line's link: taken, announced, kept
# against a second CE, and gone afterwards, also after kill -9.
#
#    A (veth a0) --- (veth b0) B
#    the CE           access router, and the other CE
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# has no namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
probe=${UKAI_BUILD:-$root/build}/tests/ukai-test-address-probe
a=ukt14-$$-a
b=ukt14-$$-b
work=$(mktemp -d "/tmp/ukt14.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
pids=
ce=2001:db8:10:0:6a:483f:6c00:3400
fake=02:00:00:00:00:99

cleanup()
{
	local pid

	exec 9>&-
	for pid in $pids; do
		kill -9 "$pid" 2>/dev/null
	done
	ip netns del "$a" 2>/dev/null
	ip netns del "$b" 2>/dev/null
	rm -rf "$work"
	return 0
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# hold [LINK]: begin; its output is in $work/held.
hold()
{
	exec 9>&-
	rm -f "$work/stdin"
	mkfifo "$work/stdin"
	exec 9<>"$work/stdin"
	: >"$work/held"
	ip netns exec "$a" "$probe" hold "$work/journal" "${1:-a0}" "$ce" \
	    <"$work/stdin" >"$work/held" 2>&1 9>&- &
	held=$!
	pids="$pids $held"
}

# let_go: it ends by itself, as it does when ukai ends.
let_go()
{
	exec 9>&-
	until_true gone_pid "$held" && wait "$held"
}

gone_pid()
{
	! kill -0 "$1" 2>/dev/null
}

die_hard()
{
	kill -9 "$held"
	wait "$held" 2>/dev/null
	return 0
}

said()
{
	grep -Eq -- "$1" "$work/held"
}

# soon PATTERN: the probe says so.
soon()
{
	until_true said "$1" && return
	cat "$work/held"
	return 1
}

# last PATTERN: what it said last about numbers is that.
last()
{
	grep '^announced' "$work/held" | tail -n 1 | tee "$work/last" |
	    grep -Eq -- "$1"
}

has_address()
{
	ip -n "$a" -j -6 addr show dev "${1:-a0}" | jq -e --arg ce "$ce" \
	    '[.[].addr_info[] | select(.local == $ce)] | length == 1'
}

no_address()
{
	ip -n "$a" -6 addr show | tee "$work/addr" | grep "$ce" || return 0
	return 1
}

mac_of()
{
	ip -n "$1" -j link show "$2" | jq -r '.[0].address'
}

no_journal()
{
	[ ! -e "$work/journal" ]
}

# cached MAC: where B would send packets for the address.
cached()
{
	ip -n "$b" -j neigh show dev b0 | jq -e --arg ce "$ce" --arg mac "$1" \
	    '.[] | select(.dst == $ce) | .lladdr == $mac'
}

# --- checks

taken()
{
	hold && soon "^state held" && has_address || return 1
	ip -n "$a" -j -6 addr show dev a0 | jq -e --arg ce "$ce" \
	    '.[].addr_info[] | select(.local == $ce) |
	    .prefixlen == 128 and .deprecated == true and
	    .preferred_life_time == 0 and (.tentative | not)' &&
	    last "ours 1"
}

# Not for the kernel's own packets.
no_source()
{
	ip -n "$a" -j -6 route get 2001:db8:10::1 |
	    jq -e '.[0].prefsrc == "2001:db8:10::a"' &&
	    ip -n "$a" -6 route show table main | fails grep "$ce"
}

three_announced()
{
	until_true last "^announced 3 rivals 0" && sleep 1.3 &&
	    last "^announced 3 rivals 0"
}

answered()
{
	ip -n "$b" neigh flush dev b0 &&
	    in_ns "$b" ping -6 -n -c 1 -W 3 "$ce" &&
	    cached "$mac"
}

# 200 messages, one answer; then who asked last.
rival()
{
	in_ns "$b" "$probe" advertise b0 "$ce" "$fake" 200 &&
	    until_true last "^announced 4 rivals 200 mac $fake" &&
	    said "warning: a0: another device \(MAC $fake\) uses .*$ce"
}

rival_asks()
{
	in_ns "$b" "$probe" ask b0 "$ce" 1 &&
	    until_true last "^announced 4 rivals 201 mac $macb"
}

# The kernel's own check in B fails: A answered.
rival_refused()
{
	ip -n "$b" addr add "$ce/128" dev b0 &&
	    until_true rival_failed && ip -n "$b" addr del "$ce/128" dev b0
}

rival_failed()
{
	ip -n "$b" -j -6 addr show dev b0 | jq -e --arg ce "$ce" \
	    '.[].addr_info[] | select(.local == $ce) | .dadfailed'
}

# announced_since N: three more than N.
announced_since()
{
	last "^announced $(($1 + 3)) "
}

announced_now()
{
	grep '^announced' "$work/held" | tail -n 1 | cut -d ' ' -f 2
}

carrier_again()
{
	local n
	n=$(announced_now)
	ip -n "$b" link set b0 down && sleep 0.2 &&
	    ip -n "$b" link set b0 up && until_true announced_since "$n" &&
	    has_address
}

# By hand, which takes its addresses.
link_again()
{
	local n
	n=$(announced_now)
	ip -n "$a" link set a0 down && until_true no_address &&
	    ip -n "$a" link set a0 up && until_true has_address &&
	    until_true announced_since "$n" && said "^state waiting" &&
	    tail -n 5 "$work/held" | grep "^state held"
}

ends()
{
	let_go && no_address && no_journal
}

killed()
{
	hold && soon "^state held" && die_hard && has_address &&
	    grep -q "^+ addr $ce/128 " "$work/journal" &&
	    in_ns "$a" "$probe" undo "$work/journal" && no_address &&
	    no_journal
}

# While it is checked.
killed_early()
{
	hold && soon "^open ok" && die_hard && has_address &&
	    in_ns "$a" "$probe" undo "$work/journal" && no_address &&
	    no_journal
}

# Somebody made it theirs meanwhile.
killed_then_changed()
{
	hold && soon "^state held" && die_hard &&
	    ip -n "$a" addr del "$ce/128" dev a0 &&
	    ip -n "$a" addr add "$ce/128" dev a0 nodad &&
	    in_ns "$a" "$probe" undo "$work/journal" >"$work/said" &&
	    cat "$work/said" && grep -q "$ce/128 is left" "$work/said" &&
	    has_address && no_journal &&
	    ip -n "$a" addr del "$ce/128" dev a0
}

of_others()
{
	ip -n "$a" addr add "$ce/64" dev a0 nodad noprefixroute &&
	    hold && soon "^state held" && until_true last "^announced 3 .*ours 0" &&
	    no_entry && let_go && has_address && no_journal &&
	    ip -n "$a" addr del "$ce/64" dev a0
}

no_entry()
{
	fails grep -q "^+" "$work/journal"
}

# nothing is left, and who it was.
refused()
{
	ip -n "$b" addr add "$ce/128" dev b0 nodad && hold &&
	    soon "^state refused another device \(MAC $macb\) on a0 has .*$ce" &&
	    said "Mode = gateway" && no_address && no_entry && let_go &&
	    no_journal && fails grep -q "state held" "$work/held"
	local r=$?
	ip -n "$b" addr del "$ce/128" dev b0
	return "$r"
}

no_carrier()
{
	ip -n "$b" link set b0 down && hold &&
	    soon "a0 has no carrier" && fails said "^state held" &&
	    ip -n "$b" link set b0 up && soon "^state held" && let_go &&
	    no_address
}

# A link that has no neighbours: nothing to check, nobody to tell.
no_neighbours()
{
	ip -n "$a" link add d0 type veth peer name d1 &&
	    ip -n "$a" link set d1 up && ip -n "$a" link set d0 arp off up &&
	    hold d0 && soon "^state held" && has_address d0 &&
	    last "^announced 0 " && let_go && no_address
}

link_gone()
{
	hold d0 && soon "^state held" && ip -n "$a" link del d0 &&
	    soon "^state refused the link .*$ce is gone" && let_go &&
	    no_journal
}

no_link()
{
	exits 1 in_ns "$a" "$probe" hold "$work/journal" nosuch "$ce" \
	    </dev/null && grep -q "^open not found" "$work/said" && no_journal
}

not_permitted()
{
	mkdir -m 777 "$work/open"
	chmod 711 "$work"
	exits 1 in_ns "$a" setpriv --reuid 65534 --clear-groups "$probe" \
	    hold "$work/open/journal" a0 "$ce" </dev/null &&
	    cat "$work/said" && grep -q "CAP_NET_RAW is needed" "$work/said" &&
	    no_address
}

# --- the machine

if [ "$(id -u)" != 0 ] || ! command -v jq >/dev/null ||
    ! ip netns add "$a" 2>/dev/null; then
	skip "needs root, network namespaces and jq"
fi
ip netns add "$b"
ip -n "$a" link add a0 type veth peer name b0 netns "$b"
for ns in "$a a0" "$b b0"; do
	# shellcheck disable=SC2086 # two words
	set -- $ns
	# The kernel's check takes a fifth of a second here, not two seconds.
	ip netns exec "$1" sysctl -qw \
	    "net.ipv6.conf.$2.router_solicitation_delay=0" \
	    "net.ipv6.neigh.$2.retrans_time_ms=200" \
	    "net.ipv6.conf.$2.accept_ra=0"
	ip -n "$1" link set "$2" up
done
ip -n "$a" addr add 2001:db8:10::a/64 dev a0 nodad
ip -n "$b" addr add 2001:db8:10::1/64 dev b0 nodad
mac=$(mac_of "$a" a0)
macb=$(mac_of "$b" b0)
ip -n "$b" neigh replace "$ce" lladdr "$fake" dev b0 nud reachable

check "taken: /128, never preferred, no route" taken
check "taken: a neighbour that knew another MAC has ours" \
    until_true cached "$mac"
check "taken: the kernel does not choose it as a source" no_source
check "taken: announced three times and no more" three_announced
check "a solicitation is answered" answered
check "a second CE: seen with its MAC, answered once" rival
check "a second CE: asks whether the address is free" rival_asks
check "a second CE: is refused by its own kernel" rival_refused
check "the carrier goes and comes: announced again" carrier_again
check "the link is down and up: put there and announced again" link_again
check "ends: nothing left" ends
check "kill -9, then restore" killed
check "kill -9 while it is checked, then restore" killed_early
check "restore leaves what somebody changed" killed_then_changed
check "somebody's own address is used, and stays" of_others
check "duplicate: refused, says who, nothing left" refused
check "no carrier: waits for it" no_carrier
check "no neighbours: held at once" no_neighbours
check "the link goes: said" link_gone
check "no such link" no_link
check "without the right: said, nothing left" not_permitted

exit $failed
