#!/bin/bash
# 10-udp: common/io/udp on real sockets: offloads, sticky sources, ECN, marks,
# back-pressure, ports.
#
#    A a0 192.0.2.1, 192.0.2.11           B b0 192.0.2.2, 192.0.2.22
#         2001:db8::1, 2001:db8::11  ----      2001:db8::2, 2001:db8::22
#
# In each runs a probe (tests/support/udp_probe.c) that does what it is told
# and says what came of it. One line of output for a check; exit 0 when all
# hold, 77 when the machine has no namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
probe=${UKAI_BUILD:-$root/build}/tests/ukai-test-udp-probe
a=ukt10-$$-a
b=ukt10-$$-b
work=$(mktemp -d "/tmp/ukt10.XXXXXX")
sent=
# shellcheck source=tests/net/probes
. "$here/probes"

# shellcheck disable=SC2317,SC2329 # called by trap
cleanup()
{
	end_probes
	ip netns del "$a" 2>/dev/null
	ip netns del "$b" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# The sender's and the receiver's sums agree, and nothing was lost.
# transfer WHAT ADDR COUNT SIZE LAST
transfer()
{
	local sum

	tell y recv "$3" 3000
	say x send "$2" 5000 "$3" "$4" "$5" 0
	is "$1: sent" "sent=$3 failed=0 *"
	sum=$(field hash)
	sent=$answer
	hear y
	is "$1: the same bytes" "got=$3 * truncated=0 hash=$sum"
}

[ -x "$probe" ] || {
	echo "$probe is missing: build first, or set UKAI_BUILD"
	exit 1
}
if ! ip netns add "$a" 2>/dev/null; then
	echo "no network namespaces here"
	exit 77
fi
ip netns add "$b"
ip -n "$a" link add a0 type veth peer name b0 netns "$b"
# No ARP or duplicate address detection in the middle of a count.
for ns in "$a" "$b"; do
	ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 \
		net.ipv6.conf.default.accept_dad=0
	ip -n "$ns" link set lo up
done
ip -n "$a" addr add 192.0.2.1/24 dev a0
ip -n "$a" addr add 192.0.2.11/24 dev a0
ip -n "$a" addr add 2001:db8::1/64 dev a0 nodad
ip -n "$a" addr add 2001:db8::11/64 dev a0 nodad
ip -n "$b" addr add 192.0.2.2/24 dev b0
ip -n "$b" addr add 192.0.2.22/24 dev b0
ip -n "$b" addr add 2001:db8::2/64 dev b0 nodad
ip -n "$b" addr add 2001:db8::22/64 dev b0 nodad
ip -n "$a" link set a0 up
ip -n "$b" link set b0 up
for to_addr in 192.0.2.2 2001:db8::2; do
	for _ in $(seq 50); do
		ip netns exec "$a" ping -n -c 1 -W 1 $to_addr >/dev/null 2>&1 &&
			break
		sleep 0.2
	done
done
start x "$a" "$probe"
start y "$b" "$probe"

echo "# memory"
say x rss
before=$(field kib)
say x open 0
is "opens on any port" "ok port=* v4=1 v6=1"
say x rss
grep -q __asan_init "$probe" ||
	holds "opening costs less than 768 KiB resident" \
		[ $(($(field kib) - before)) -lt 768 ]
say x close

echo "# offload: joined messages, the same bytes with and without"
for way in "- -" "nooffload -" "- nooffload" "nooffload nooffload"; do
	read -r x_way y_way <<<"$way"
	say x open 0 "$x_way"
	say y open 5000 "$y_way"
	is "opens ($way)" "ok port=5000 v4=1 v6=1"
	for to_addr in 192.0.2.2 2001:db8::2; do
		tell y recv 1 1000
		say x send $to_addr 5000 1 100 100 0
		hear y
		is "one datagram to $to_addr ($way)" "got=1 *"
		transfer "900 of 1452 to $to_addr ($way)" $to_addr 900 1452 700
		got=$answer
		if [ "$x_way" = - ]; then
			answer=$sent
			# 44 a message: 65,000 bytes; a burst of 256 has 6
			is "sent in super-datagrams ($way)" \
				"* calls=[0-9] messages=[12]? gso=[12]? *"
		fi
		if [ "$way" = "- -" ]; then
			answer=$got
			is "received in super-datagrams" \
				"* messages=[12]? most=* *"
		fi
		if [ "$x_way" = nooffload ]; then
			answer=$sent
			is "sent one by one" "* messages=900 gso=0 *"
		fi
		if [ "$y_way" = nooffload ]; then
			answer=$got
			is "received one by one" "* messages=900 *"
		fi
	done
	say x close
	say y close
done

say x open 0
say y open 5000
transfer "512 of 96 bytes (64 a message)" 192.0.2.2 512 96 96
answer=$sent
is "64 a message" "* messages=8 gso=8 *"
transfer "datagrams of 34,816 bytes" 2001:db8::2 40 34816 34816
transfer "datagrams of 65,507 bytes" 192.0.2.2 20 65507 1
transfer "datagrams of one byte" 192.0.2.2 300 1 1

# GSO cannot make fragments, so a run that is too long for the path goes
# singly, and what fits still goes by GSO.
for to_addr in 192.0.2.2 2001:db8::2; do
	transfer "longer than the path's MTU to $to_addr" $to_addr 100 2000 2000
	answer=$sent
	is "in fragments, after the kernel refused" \
		"* messages=100 gso=0 error=E@(MSGSIZE|INVAL) *"
	transfer "what fits to $to_addr" $to_addr 44 1452 1452
	answer=$sent
	is "by GSO as before" "* messages=1 gso=1 error=0 *"
done

# Runs that end for every reason; datagrams to the other address (6 of 22)
# are not waited for.
for to_addr in "192.0.2.2 192.0.2.77" "2001:db8::2 2001:db8::77" \
	"192.0.2.2 2001:db8::77"; do
	read -r first other <<<"$to_addr"
	tell y recv 19 1500
	say x mix "$first" 5000 "$other"
	sum=$(field hash)
	is "mixed runs to $first and $other" "sent=22 failed=0 *"
	hear y
	is "mixed runs: order and bytes" "got=19 * hash=$sum"
done
say x close
say y close

echo "# kernels and paths without the offloads"
for what in nosockopt eio; do
	say x inject $what
	say y inject $what
	say x open 0
	say y open 5000
	transfer "$what" 192.0.2.2 200 1452 1452
	answer=$sent
	is "$what: no GSO" "* messages=200 gso=0 *"
	say x inject none
	transfer "$what, later" 192.0.2.2 200 1452 1452
	answer=$sent
	is "$what: stays off" "* messages=200 gso=0 error=0 *"
	transfer "$what, IPv6" 2001:db8::2 88 1452 1452
	answer=$sent
	[ $what = eio ] && is "the other family is not concerned" "* gso=2 *"
	say x close
	say y close
	say y inject none
done
# Segments made before the wire, and put together again behind it by GRO,
# which for IPv4 without DF wants IDs that count up.
say x feature a0 tso 0
is "segments are made before the veth" 0
ip -n "$a" link set a0 gso_max_segs 1
say y feature b0 gro 1
is "GRO on" 0
say x open 0
say y open 5000
for to_addr in 192.0.2.2 2001:db8::2; do
	transfer "by GRO from $to_addr" $to_addr 440 1452 1452
	is "joined by GRO" "got=440 * messages=[1-9]? most=*"
done
say x close
say y close
ip -n "$a" link set a0 gso_max_segs 65535
say x feature a0 tso 1

echo "# ECN and DSCP"
say x open 0
say y open 5000
for to_addr in 192.0.2.2 2001:db8::2; do
	for tos in 0x00 0x01 0x02 0x03 0x88 0xff; do
		tell y recv 50 1500
		say x send $to_addr 5000 50 1000 1000 $tos
		hear y
		is "TOS $tos to $to_addr" "got=50 * tos=$tos..$tos *"
		tell x recv 1 1500
		say y reply $tos
		hear x
		is "TOS $tos from $to_addr" \
			"got=1 * tos=$tos..$tos from=$to_addr *"
	done
done

echo "# sticky sources"
# sticky OTHER FIRST ERROR: B answers from the address that it was written to,
# although it would choose FIRST. Once the address is gone the kernel says
# ERROR, and the answer leaves at once from FIRST.
sticky()
{
	tell y recv 1 1500
	say x send "$1" 5000 1 100 100 0
	hear y
	is "$1: remembered" "got=1 * to=$1 *"
	tell x recv 1 1500
	say y reply 0
	is "$1: pinned" "sent=1 failed=0 * error=0 src=$1 *"
	hear x
	is "$1: the answer comes from it" "got=1 * from=$1 *"
	ip -n "$b" addr del "$1/$4" dev b0
	tell x recv 1 1500
	say y reply 0
	is "$1 removed: sent again without a source" \
		"sent=1 failed=0 calls=1 * error=$3 src=none *"
	hear x
	is "$1 removed: the answer comes from $2" "got=1 * from=$2 *"
}
# Linux before 6.18 or so says EINVAL for IPv4 too.
sticky 192.0.2.22 192.0.2.2 "E@(NETUNREACH|INVAL)" 24
sticky 2001:db8::22 2001:db8::2 EINVAL 64
# A run by GSO, whose source goes away, stays a run by GSO.
tell y recv 44 1500
say x send 192.0.2.2 5000 44 1452 1452 0 192.0.2.99
is "GSO with a foreign source" "sent=44 failed=0 * gso=1 * src=none *"
hear y
is "GSO with a foreign source: arrived" "got=44 * from=192.0.2.1 *"
tell y recv 1 1500
say x send 192.0.2.2 5000 1 10 10 0 192.0.2.11
is "own second address" "sent=1 failed=0 * error=0 src=192.0.2.11 *"
hear y
is "own second address: arrived" "got=1 * from=192.0.2.11 *"
# No route at all: counted, once for each datagram, and forgotten.
say x send 198.51.100.1 5000 10 100 100 0 192.0.2.1
is "no route" "sent=10 failed=10 * error=ENETUNREACH src=none *"
say x close
# Link-local: both the peer's scope and our interface count.
ip -n "$b" addr add fe80::b/64 dev b0 nodad
ip -n "$a" addr add fe80::a/64 dev a0 nodad
scope=$(ip -n "$a" -o link show a0 | cut -d: -f1)
say x open 0
tell y recv 1 1500
say x send "fe80::b" "5000%$scope" 1 10 10 0 fe80::a
hear y
is "link-local" "got=1 * from=fe80::a to=fe80::b *"
tell x recv 1 1500
say y reply 0
is "link-local: answer" "sent=1 failed=0 * src=fe80::b *"
hear x
is "link-local: answer comes from it" "got=1 * from=fe80::b *"
say x close
# An ICMP port unreachable does no harm.
say x open 0
say x send 192.0.2.2 5999 1 10 10 0
tell x recv 1 300
hear x
is "ICMP errors are swallowed" "got=0 *"
transfer "after an ICMP error" 192.0.2.2 10 100 100
say x close

echo "# back-pressure"
ip netns exec "$a" tc qdisc add dev a0 root tbf rate 20mbit burst 20k \
	limit 10000k
say x open 0
say x sndbuf 20000
tell y recv 100000 1200
say x fill 192.0.2.2 5000
is "a full socket gives the rest back" "done=* kept=[1-9]* failed=0"
went=$(field "done")
kept=$(field kept)
say x drain 2000
is "the rest goes when there is room" "done=$kept kept=0 failed=0"
hear y
is "nothing is lost or doubled" "got=$((went + kept)) *"
ip netns exec "$a" tc qdisc del dev a0 root
say x close

echo "# mark"
ip -n "$a" rule add not fwmark 7 to 192.0.2.2 prohibit pref 10
say x open 0
say x send 192.0.2.2 5000 1 10 10 0
is "unmarked: refused, counted" "sent=1 failed=1 * error=EACCES *"
say x mark 7
is "mark set" "0"
say x send 192.0.2.2 5000 1 10 10 0
is "marked: sent" "sent=1 failed=1 * error=0 *"
say x close
say x open 0 mark 7
say x send 192.0.2.2 5000 1 10 10 0
is "marked from the start: sent" "sent=1 failed=0 * error=0 *"
say x mark 0
say x send 192.0.2.2 5000 1 10 10 0
is "mark taken off: refused" "sent=1 failed=1 * error=EACCES *"
say x close
ip -n "$a" rule del pref 10

echo "# ports"
say x open 0
port=$(field port)
say x bound
is "one number for both families" "v4=$port v6=$port"
start z "$a" "$probe"
say z open "$port"
is "a port in use" "error -12 UDP port $port is in use by another program*"
say x close
say z open "$port"
is "the same port, free again" "ok port=$port v4=1 v6=1"
say z close
# Five ports, four of them taken for IPv6 only: the fifth is found.
ip netns exec "$a" sysctl -qw net.ipv4.ip_local_port_range="40000 40004"
for i in 1 2 3 4; do
	start "t$i" "$a" "$probe"
	say "t$i" inject nov4
	say "t$i" open $((40000 + i))
	is "IPv6 alone on $((40000 + i))" "ok port=$((40000 + i)) v4=0 v6=1"
done
say x open 0
is "a port that is free for both" "ok port=40000 v4=1 v6=1"
say z open 0
is "no port that is free for both" "error -12 *"
say x close
say x open 6000 shared
is "a port for several threads" "ok port=6000 v4=1 v6=1"
say z open 6000
is "is in use for another program" "error -12 *"
say z open 6000 shared
is "also for one that would share its own" "error -12 *"
say x close

echo "# without IPv6"
say y close
say y open 5000
ip netns exec "$a" sysctl -qw net.ipv6.conf.all.disable_ipv6=1
say x open 7000
is "IPv6 disabled" "ok port=7000 v4=1 v6=1"
transfer "IPv6 disabled" 192.0.2.2 100 1000 1000
say x send 2001:db8::2 5000 2 10 10 0
is "IPv6 disabled: counted" "sent=2 failed=2 * error=E*"
say x close
say x inject nov6
say x open 7000
is "a kernel without IPv6" "ok port=7000 v4=1 v6=0"
transfer "a kernel without IPv6" 192.0.2.2 100 1000 1000
say x send 2001:db8::2 5000 2 10 10 0
is "a kernel without IPv6: counted" "sent=2 failed=2 *"
say x close

exit $failed
