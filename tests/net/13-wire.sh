#!/bin/bash
# 13-wire: client/mape/wire on a real link: IPv4 in IPv6 by two probes
# (tests/support/wire_probe.c) which know nothing but that.
#
#    A  m0 10.13.0.1                                       B  m0 10.13.0.2
#       probe                                                 probe
#       a0 2001:db8::1, ::11  ------------------------------  b0 2001:db8::2
#
# One line of output for a check; exit 0 when all hold, 77 when the machine has
# no namespaces or no TUN.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
probe=$build/tests/ukai-test-wire-probe
udp=$build/tests/ukai-test-udp-probe
a=ukt13-$$-a
b=ukt13-$$-b
work=$(mktemp -d "/tmp/ukt13.XXXXXX")
dump=
# shellcheck source=tests/net/checks
. "$here/checks"
# shellcheck source=tests/net/probes
. "$here/probes"

# shellcheck disable=SC2317,SC2329 # called by trap
cleanup()
{
	end_probes
	[ -z "$dump" ] || kill "$dump" 2>/dev/null
	ip netns del "$a" 2>/dev/null
	ip netns del "$b" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

in_a()
{
	timeout 20 ip netns exec "$a" "$@"
}

in_b()
{
	timeout 20 ip netns exec "$b" "$@"
}

# What is on host A, but for what the probe has while it lives.
host_state()
{
	in_a ip -o link | sed 's/^[0-9]*: //' | cut -d' ' -f1-4
	in_a ip -6 addr show dev a0
	in_a ip route show table all
	in_a tc qdisc show
	in_a tc filter show dev a0 ingress
	in_a tc filter show dev a0 egress
	in_a nft list ruleset 2>/dev/null
}

# A probe's tunnel. probe_up NAME NAMESPACE LINK LOCAL REMOTE ADDRESS [HOW]
probe_up()
{
	start "$1" "$2" "$probe" m0 "$3" "$4" "$5" ${7:+"$7"}
	hear "$1"
	ip -n "$2" addr add "$6/24" dev m0
	ip -n "$2" link set m0 up
}

probe_end()
{
	kill -9 "${probe_pid[$1]}"
	wait "${probe_pid[$1]}" 2>/dev/null
	unset "probe_pid[$1]"
}

# shellcheck disable=SC2317,SC2329 # called by holds
reach()
{
	local _

	for _ in 1 2 3 4 5 6 7 8; do
		in_a ping -q -n -c 1 -W 1 10.13.0.2 >/dev/null && return
	done
	return 1
}

# shellcheck disable=SC2317,SC2329 # called by holds
tcp()
{
	in_a iperf3 -c 10.13.0.2 -p 5299 -n "$@" >"$work/iperf" 2>&1 ||
		! cat "$work/iperf"
}

# TCP from A to B and what both then counted: $x_said, $y_said.
# transfer WHAT SIZE [IPERF3 OPTION...]
transfer()
{
	local what=$1 size=$2 server

	shift 2
	say x
	say y
	in_b iperf3 -s -1 -p 5299 >/dev/null 2>&1 &
	server=$!
	for _ in $(seq 300); do
		in_b ss -Hltn 'sport = 5299' | grep -q . && break
		sleep 0.1
	done
	holds "$what: TCP gets through" tcp "$size" "$@"
	wait $server
	say x
	x_said=$answer
	say y
	y_said=$answer
	answer=$x_said
}

# inject TO,NEXT,FIRST,COUNT...: COUNT packets from B to address TO with next
# header NEXT, behind which the first byte is FIRST.
inject()
{
	in_b python3 - "$@" <<'PY'
import socket, struct, sys
src = socket.inet_pton(socket.AF_INET6, "2001:db8::2")
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
for word in sys.argv[1:]:
    dst, header, first, count = word.split(",")
    raw = socket.inet_pton(socket.AF_INET6, dst)
    body = bytes([int(first)]) + bytes(47)
    p = struct.pack("!IHBB", 6 << 28, len(body), int(header), 64)
    for _ in range(int(count)):
        s.sendto(p + src + raw + body, (dst, 0))
PY
}

# shellcheck disable=SC2317,SC2329 # called by until_true
# reached COUNT: A's kernel has had so many packets since $had.
reached()
{
	[ $(($(received) - had)) -ge "$1" ]
}

# shellcheck disable=SC2317,SC2329 # called by until_true
received()
{
	# shellcheck disable=SC2016 # of awk
	in_a awk '$1 == "Ip6InReceives" { print $2 }' /proc/net/snmp6
}

# shellcheck disable=SC2317,SC2329 # called by until_true
# told NAME PATTERN: the probe says so, sooner or later.
told()
{
	say "$1"
	# shellcheck disable=SC2053 # a pattern is meant
	[[ $answer == $2 ]]
}

# ICMPv6 errors that A made so far.
complaints()
{
	# shellcheck disable=SC2016 # of awk
	in_a awk '/Icmp6OutParmProblems|Icmp6OutDestUnreachs/ { n += $2 }
		END { print n + 0 }' /proc/net/snmp6
}

[ -x "$probe" ] || {
	echo "$probe is missing: build first, or set UKAI_BUILD"
	exit 1
}
if ! ip netns add "$a" 2>/dev/null || [ ! -c /dev/net/tun ]; then
	echo "no network namespaces, or no TUN, here"
	exit 77
fi
ip netns add "$b"
ip -n "$a" link add a0 type veth peer name b0 netns "$b"
for ns in "$a" "$b"; do
	ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 \
		net.ipv6.conf.default.accept_dad=0 \
		net.ipv6.icmp.ratelimit=0
	ip -n "$ns" link set lo up
done
# A link-local address comes by itself some time after the link.
ip -n "$a" link set a0 addrgenmode none
ip -n "$a" addr add 2001:db8::1/64 dev a0 nodad
ip -n "$a" addr add 2001:db8::11/64 dev a0 nodad
ip -n "$b" addr add 2001:db8::2/64 dev b0 nodad
ip -n "$a" link set a0 up
ip -n "$b" link set b0 up
in_a ping -q -n -c 1 -W 5 2001:db8::2 >/dev/null
before=$(host_state)

echo "# whole, both ways"
probe_up y "$b" b0 2001:db8::2 2001:db8::1 10.13.0.2
probe_up x "$a" a0 2001:db8::1 2001:db8::2 10.13.0.1
if [[ $answer != "ready offload=1 warnings=0"* ]]; then
	echo "skip: this kernel takes no BPF program: ${answer#* * * }"
	offload=0
else
	offload=1
fi
holds "an echo comes back" reach
if [ $offload = 1 ]; then
	transfer "whole" 30M
	is "super-packets leave whole" \
		"offload=1 * sent_super=[1-9]* split=0 *"
	is "nothing refused" "* failed=0 * refused=0 *"
	answer=$y_said
	is "they arrive whole" "* received_super=[1-9]* *"
	holds "up to 60 KB" [ "$(field largest)" -gt 60000 ]
	is "and nothing is wrong with them" \
		"* dropped=0 malformed=0 failed=0 * refused=0 *"
	transfer "the other way" 30M -R
	answer=$x_said
	is "whole inward" "* received_super=[1-9]* *"
	is "nothing wrong inward" "* malformed=0 * refused=0 *"

	echo "# UDP"
	start u "$a" "$udp"
	start v "$b" "$udp"
	say v open 5000
	say u open 0
	say x
	tell v recv 440 4000
	say u send 10.13.0.2 5000 440 1400 700 0
	is "sent in super-packets" "sent=440 failed=0 *"
	sum=$(field hash)
	hear v
	is "the same bytes" "got=440 * hash=$sum"
	say x
	[ "$(field sent_super)" = 0 ] &&
		echo "# (this kernel has no USO for TUN)"
	is "none in pieces" "* split=0 *"

	echo "# cut and summed by the kernel, behind us"
	in_a ethtool -K a0 tso off gso off tx off >/dev/null 2>&1
	in_b timeout 60 tcpdump -n -i b0 -vv -s 0 -B 8192 -c 4000 \
		"ip6 proto 4" >"$work/dump" 2>"$work/dump.said" &
	dump=$!
	until_true grep -q '^tcpdump: listening' "$work/dump.said"
	transfer "cut" 20M
	is "whole from our side" "* sent_super=[1-9]* split=0 *"
	kill -INT $dump 2>/dev/null
	wait $dump 2>/dev/null
	dump=
	in_a ethtool -K a0 tso on gso on tx on >/dev/null 2>&1
	good=$(grep -c 'cksum .*(correct)' "$work/dump")
	holds "each piece's TCP checksum is right" [ "$good" -gt 500 ]
	holds "none is wrong" [ "$(grep -c incorrect "$work/dump")" = 0 ]
	holds "nor IPv4's" [ "$(grep -c 'bad cksum' "$work/dump")" = 0 ]
	long=$(grep -o 'payload length: [0-9]*' "$work/dump" |
		awk '$3 > 1460' | wc -l)
	holds "none is longer than the link's MTU" [ "$long" = 0 ]
fi

echo "# what is looked at"
say x
had=$(received)
inject 2001:db8::1,4,69,3 2001:db8::1,44,0,2 2001:db8::1,43,59,1 \
	2001:db8::1,60,59,1 2001:db8::1,58,1,2 2001:db8::1,58,127,1
inject 2001:db8::11,4,69,3 2001:db8::11,44,0,3 2001:db8::1,58,128,2 \
	2001:db8::1,17,0,2 2001:db8::1,6,0,2 2001:db8::1,41,0,2
until_true reached 24
say x
is "next headers 4, 44, extensions, errors; ours alone" \
	"* received=10 * plain=3 fragments=2 headers=2 errors=3 *"

echo "# the kernel believes that somebody listens"
said=$(complaints) had=$(received)
inject 2001:db8::1,4,69,5
until_true reached 5
holds "no ICMPv6 error while we do" [ "$(complaints)" = "$said" ]
inject 2001:db8::11,4,69,1
# shellcheck disable=SC2317,SC2329 # called by until_true
complained()
{
	[ "$(complaints)" -gt "$said" ]
}
holds "for another address there is one" until_true complained

echo "# no way out by this link"
say x
ip -n "$a" -6 route del 2001:db8::/64 dev a0
in_a ping -q -n -c 1 -W 1 10.13.0.2 >/dev/null
say x
is "dropped and counted" "* sent=0 * failed=[1-9]* *"
ip -n "$a" -6 route add 2001:db8::/64 dev m0
in_a ping -q -n -c 1 -W 1 10.13.0.2 >/dev/null
say x
is "not by another link either" "* sent=0 * failed=[1-9]* *"
ip -n "$a" -6 route del 2001:db8::/64 dev m0
ip -n "$a" -6 route add 2001:db8::/64 dev a0 proto kernel metric 256
holds "and again with the route" reach

echo "# killed: nothing is left"
probe_end x
for _ in $(seq 300); do
	in_a ip link show m0 >/dev/null 2>&1 || break
	sleep 0.1
done
after=$(host_state)
holds "kill -9 leaves the host as it was" [ "$after" = "$before" ]
[ "$after" = "$before" ] || diff <(echo "$before") <(echo "$after")

for how in nobpf nooffload; do
	echo "# without the program: $how"
	probe_up x "$a" a0 2001:db8::1 2001:db8::2 10.13.0.1 $how
	[ $how = nobpf ] && is "says so once" \
		"ready offload=0 warnings=1 super-packets are cut by ukai*"
	[ $how = nooffload ] && is "as asked" "ready offload=0 warnings=0*"
	holds "an echo comes back ($how)" reach
	transfer "$how" 10M
	is "in pieces ($how)" "offload=0 * sent_super=0 split=[1-9]* *"
	is "nothing refused ($how)" "* failed=0 * refused=0 *"
	[ $how = nobpf ] && probe_end x
done

echo "# rights"
# with CAPABILITIES: what a probe says that has these alone.
with()
{
	answer=$(in_a setpriv --bounding-set "-all,$1" "$probe" m1 a0 \
		2001:db8::1 2001:db8::2 </dev/null 2>/dev/null)
}
with +net_admin,+net_raw,+bpf
is "NET_ADMIN, NET_RAW and BPF are enough" "ready offload=$offload *"
with +net_admin,+net_raw
is "without BPF it goes on, and says so" "ready offload=0 warnings=1 *"
with +net_admin,+bpf
is "without NET_RAW it says what is missing" "failed *CAP_NET_RAW*"

echo "# a link that comes and goes"
ip -n "$a" link set a0 down
say x
ip -n "$a" link set a0 up
ip -n "$a" addr add 2001:db8::1/64 dev a0 nodad 2>/dev/null
holds "carries again after down and up" reach
say x
is "down is not gone" "* gone=0 *"
ip -n "$a" link del a0
until_true told x "* gone=[1-9]* *"
is "gone is told" "* gone=[1-9]* *"
exit $failed
