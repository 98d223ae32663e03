#!/bin/bash
# 11-tun: common/io/tun on real interfaces: what becomes of one that moves to
# another namespace, offloads, MTUs.
#
#    M  the probe runs here (tests/support/tun_probe.c)
#    A  first interface goes here     10.11.0.1, 2001:db8:11::1
#    B  second one                    10.11.0.2, 2001:db8:11::2
#
# For traffic the probe carries packets from the one interface to the other.
# One line of output for a check; exit 0 when all hold, 77 when the machine has
# no namespaces or no TUN.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
probe=$build/tests/ukai-test-tun-probe
m=ukt11-$$-m
a=ukt11-$$-a
b=ukt11-$$-b
work=$(mktemp -d "/tmp/ukt11.XXXXXX")
# shellcheck source=tests/net/probes
. "$here/probes"

# shellcheck disable=SC2317,SC2329 # called by trap
cleanup()
{
	end_probes
	ip netns del "$m" 2>/dev/null
	ip netns del "$a" 2>/dev/null
	ip netns del "$b" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# shellcheck disable=SC2317,SC2329 # called by holds
gone()
{
	! ip -n "$m" link show "$1" >/dev/null 2>&1
}

# An event is there within a second, and afterwards the interface looks so.
# event_then WHAT PATTERN
event_then()
{
	say x event 0 1000
	is "$1: noticed" yes
	say x refresh 0
	is "$1: seen" "$2"
}

# In other namespaces only coming up is an event.
# seen WHAT PATTERN
seen()
{
	say x refresh 0
	is "$1" "$2"
}

for program in "$probe" "$build/tests/ukai-test-udp-probe"; do
	[ -x "$program" ] || {
		echo "$program is missing: build first, or set UKAI_BUILD"
		exit 1
	}
done
[ -e /dev/net/tun ] || {
	echo "no /dev/net/tun here"
	exit 77
}
if ! ip netns add "$m" 2>/dev/null; then
	echo "no network namespaces here"
	exit 77
fi
ip netns add "$a"
ip netns add "$b"
for ns in "$m" "$a" "$b"; do
	ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 \
		net.ipv6.conf.default.accept_dad=0
	ip -n "$ns" link set lo up
done
start x "$m" "$probe"

echo "# opening"
say x open 0 t0 mtu 1380
is "made, with its MTU" "state=new name=t0 index=known mtu=1380"
holds "down, without addresses" \
	[ -z "$(ip -n "$m" addr show dev t0 up)" ]
say x open 1 t0
is "a name in use" "error -12 an interface t0 exists already*"
say x close 0
is "closed" ok
holds "closing removes it" gone t0
ip -n "$m" tuntap add dev t0 mode tun
say x open 0 t0
is "a persistent device of somebody else's" "error -12 *"
ip -n "$m" link del t0
for name in a/b abcdefghijklmnop t%d . ..; do
	say x open 0 "$name"
	is "not a name: $name" "error -2 *cannot be an interface's name*"
done
say x open 0 abcdefghijklmno
is "the longest name" "state=new name=abcdefghijklmno *"
say x close 0
say x open 0 t0 mtu 70000
is "an MTU that cannot be" "error -11 cannot set the MTU of t0 to 70000*"
holds "and nothing is left" gone t0
start plain "$m" setpriv --bounding-set=-net_admin --inh-caps=-net_admin \
	"$probe"
say plain open 0 t0
is "not permitted" "error -8 not permitted to make the interface t0*"
# shellcheck disable=SC2016 # $0 is the inner shell's
start bare "$m" unshare -m sh -c \
	'mount -t tmpfs none /dev/net && exec "$0"' "$probe"
say bare open 0 t0
is "no /dev/net/tun" "error -6 /dev/net/tun is missing*"

echo "# a descriptor that we are given"
say x adopt 0 t1 vnet
is "with vnet header" "state=new name=t1 index=known mtu=1500"
say x close 0
say x adopt 0 t1 nooffload
is "without" "state=new name=t1 *"
say x close 0
say x adopt 0 t1 tap
is "a TAP" "error -2 *TAP*"
holds "that is closed" gone t1

# life NAME [nooffload]: up, down, MTU, name, other namespaces.
life()
{
	say x open 0 "$@"
	is "$*: opened" "state=new *"
	say x refresh 0
	is "$*: down" "state=down name=$1 index=known mtu=1500"
	say x event 0 0
	is "$*: no event left" no
	say x write 0 3
	is "$*: writing while down is counted" "dropped=3"
	say x read 0
	is "$*: nothing to read" 0
	ip -n "$m" link set "$1" up
	event_then "$*: up" "state=up *"
	say x write 0 3
	is "$*: writing while up" "dropped=3"
	ip -n "$m" link set "$1" mtu 1300
	event_then "$*: MTU" "state=up name=$1 index=known mtu=1300"
	ip -n "$m" link set "$1" down
	event_then "$*: down again" "state=down *"
	ip -n "$m" link set "$1" name other
	event_then "$*: renamed" "state=down name=other *"
	ip -n "$m" link set other netns "$a"
	event_then "$*: moved" \
		"state=down name=other index=known mtu=1300"
	ip -n "$a" link set other up
	event_then "$*: up there" "state=up *"
	say x event 0 0
	is "$*: no event left there" no
	ip -n "$a" link set other mtu 1290
	seen "$*: MTU there" "state=up name=other * mtu=1290"
	ip -n "$a" link set other netns "$b"
	seen "$*: moved on" "state=down * mtu=1290"
	ip -n "$b" link set other name "$1"
	seen "$*: renamed there" "state=down name=$1 *"
	ip -n "$b" link set "$1" up
	event_then "$*: up where nobody tells" "state=up *"
	ip -n "$b" link set "$1" down
	seen "$*: and down" "state=down *"
	ip -n "$b" link set "$1" netns "$m"
	event_then "$*: back home" "state=down *"
	ip -n "$m" link set "$1" up
	event_then "$*: up at home" "state=up *"
	ip -n "$m" link set "$1" netns "$a"
	ip -n "$a" link set "$1" up
	event_then "$*: moved and up at once" "state=up *"
	ip -n "$a" link del "$1"
	seen "$*: deleted there" "state=gone *"
	say x read 0
	is "$*: reading says so" -6
	say x close 0
}
echo "# state"
life t0
life t0 nooffload

say x open 0 t0
ip -n "$m" addr add 10.11.9.1/24 dev t0
ip -n "$m" link set t0 up
say x flows 0 10.11.9.2
is "flows keep their order when they are answered" "got=960 disorder=0"
for n in 1 2 64 65 128 129 2000; do
	say x answers 0 10.11.9.2 $n
	is "$n small datagrams written at once" "got=$n"
done
say x close 0
# As scripts do it, before anybody looks.
say x open 0 t0
ip -n "$m" link set t0 netns "$a"
ip -n "$a" link set t0 mtu 1333 up
event_then "moved at once after opening" \
	"state=up name=t0 index=known mtu=1333"
# The namespace goes, and with it the interface.
ip -n "$a" link set t0 down
ip -n "$a" link set t0 netns "$b"
say x refresh 0
ip netns del "$b"
ip netns add "$b"
for _ in $(seq 100); do
	say x refresh 0
	[[ $answer == state=gone* ]] && break
	sleep 0.2
done
is "its namespace deleted" "state=gone *"
say x close 0

# abroad WHAT: as life, where the probe cannot see into another namespace.
abroad()
{
	say y open 0 t0 mtu 1400
	is "$1: opened" "state=new name=t0 index=known mtu=1400"
	ip -n "$m" link set t0 netns "$a"
	say y event 0 1000
	is "$1: moved: noticed" yes
	say y refresh 0
	is "$1: moved: down" "state=down name=t0 * mtu=1400"
	# Another interface of that name, at home, is not ours.
	ip -n "$m" link add t0 type veth peer name v1
	ip -n "$m" link set t0 mtu 999
	ip -n "$a" link set t0 mtu 1350 up
	say y event 0 1000
	is "$1: up is noticed" yes
	say y refresh 0
	is "$1: up is seen, the MTU is not" "state=up name=t0 * mtu=1400"
	ip -n "$m" link del t0
	ip -n "$a" link set t0 down
	say y refresh 0
	is "$1: down is seen" "state=down *"
	ip -n "$a" link set t0 netns "$m"
	say y refresh 0
	is "$1: back home all is seen" "state=down * mtu=1350"
	ip -n "$m" link del t0
	say y refresh 0
	is "$1: gone" "state=gone *"
	say y close 0
}
echo "# where namespaces are closed to us"
start y "$m" setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$probe"
abroad "no CAP_SYS_ADMIN"
say y inject nons
abroad "not told where"

# pair MTU [FLAG0 [FLAG1]]: both interfaces in their namespaces, and up.
pair()
{
	say x open 0 t0 mtu "$1" "${2:-}"
	is "opened ($*)" "state=new * mtu=$1"
	say x open 1 t1 mtu "$1" "${3:-${2:-}}"
	is "opened ($*)" "state=new *"
	ip -n "$m" link set t0 netns "$a"
	ip -n "$m" link set t1 netns "$b"
	ip -n "$a" addr add 10.11.0.1/24 dev t0
	ip -n "$a" addr add 2001:db8:11::1/64 dev t0 nodad
	ip -n "$b" addr add 10.11.0.2/24 dev t1
	ip -n "$b" addr add 2001:db8:11::2/64 dev t1 nodad
	ip -n "$a" link set t0 up
	ip -n "$b" link set t1 up
	say x total
}

unpair()
{
	say x close 0
	say x close 1
}

# Send a file by TCP from A to B; ADDR is B's. answer: what was carried.
# tcp WHAT ADDR
tcp()
{
	local listener

	tell x relay 15000
	timeout 15 ip netns exec "$b" ncat -l --recv-only "$2" 5001 \
		>"$work/got" </dev/null &
	listener=$!
	for _ in $(seq 100); do
		[ -n "$(ip netns exec "$b" ss -Hltn sport = 5001)" ] && break
		sleep 0.1
	done
	timeout 15 ip netns exec "$a" ncat --send-only "$2" 5001 <"$work/file"
	wait $listener
	say x total # ends relay, whose answer comes first
	hear x
	holds "TCP $1: the same bytes" cmp "$work/file" "$work/got"
	echo "#   $answer"
}

# Four files at once, and the relay lets their packets take turns: neighbours
# are of different flows. answer: what was carried.
# tcp_in_turn ADDR
tcp_in_turn()
{
	local port pids=()

	tell x relay 15000 mix
	for port in 5001 5002 5003 5004; do
		timeout 15 ip netns exec "$b" ncat -l --recv-only "$1" $port \
			>"$work/got.$port" </dev/null &
		pids+=($!)
	done
	for _ in $(seq 100); do
		[ "$(ip netns exec "$b" ss -Hltn sport ge 5001 |
			grep -c .)" = 4 ] && break
		sleep 0.1
	done
	for port in 5001 5002 5003 5004; do
		timeout 15 ip netns exec "$a" ncat --send-only "$1" $port \
			<"$work/file" &
		pids+=($!)
	done
	wait "${pids[@]}"
	say x total
	hear x
	for port in 5001 5002 5003 5004; do
		holds "TCP in turn to $1, port $port: the same bytes" \
			cmp "$work/file" "$work/got.$port"
	done
	echo "#   $answer"
}

# Super-packets are neither read nor written where a flag says so.
# singly FLAG0 FLAG1 PATTERN
singly()
{
	# shellcheck disable=SC2053 # a pattern is meant
	[[ $1 == $3 ]] && holds "$1: read singly" \
		[ "$(field longest_read)" -lt 1500 ]
	# shellcheck disable=SC2053
	[[ $2 == $3 ]] && holds "$2: written singly" \
		[ "$(field longest_write)" -lt 1500 ]
}

# UDP from A to B with the senders' own segmentation.
# udp WHAT ADDR PROBE-FLAG
udp()
{
	local sum

	tell x relay 15000
	say v open 5000
	say u open 0
	tell v recv 440 3000
	say u send "$2" 5000 440 1300 700 0
	sum=$(field hash)
	hear v
	is "UDP $1: the same bytes" "got=440 * hash=$sum"
	say u close
	say v close
	say x total
	hear x
	echo "#   $answer"
}

none="bad=0 dropped=0 malformed=0"
head -c 20000000 /dev/urandom >"$work/file"
start u "$a" "$build/tests/ukai-test-udp-probe"
start v "$b" "$build/tests/ukai-test-udp-probe"

echo "# offloads on"
pair 1420
for to_addr in 10.11.0.2 2001:db8:11::2; do
	tcp "to $to_addr" $to_addr
	is "nothing wrong" "packets=* $none *"
	holds "super-packets are read" [ "$(field longest_read)" -gt 32000 ]
	holds "and split to the MTU" [ "$(field longest_packet)" -eq 1420 ]
	holds "super-packets are written" [ "$(field longest_write)" -gt 32000 ]
	holds "few reads" [ "$(field reads)" -lt $(($(field packets) / 4)) ]
	holds "few writes" [ "$(field writes)" -lt $(($(field packets) / 4)) ]
	udp "to $to_addr" $to_addr
	is "nothing wrong" "packets=* $none *"
	holds "USO is read" [ "$(field longest_read)" -gt 32000 ]
	holds "USO is written" [ "$(field longest_write)" -gt 32000 ]
	tcp_in_turn $to_addr
	is "nothing wrong" "packets=* $none *"
	holds "few writes" [ "$(field writes)" -lt $(($(field packets) / 4)) ]
done
say x rss
kib=$(field kib)
# A sanitizer's shadow does not count.
grep -q __asan_init "$probe" ||
	holds "less than 6 MiB resident with two interfaces" \
		[ "$kib" -lt 6144 ]
unpair

echo "# a kernel without USO"
say x inject nouso
pair 1420
say x inject none
udp "without USO" 10.11.0.2
is "nothing wrong" "packets=44? $none *"
holds "no super-packets" [ "$(field longest_read)" -lt 1500 ]
holds "nor written" [ "$(field longest_write)" -lt 1500 ]
tcp "without USO" 10.11.0.2
holds "TSO all the same" [ "$(field longest_read)" -gt 32000 ]
unpair

echo "# offloads off"
for flags in "nooffload nooffload" "nooffload -" "- nooffload" \
	"nogso nogso" "nogso -" "- nogso" "nouso nouso" "nouso -" "- nouso"; do
	# shellcheck disable=SC2086 # two words
	pair 1420 $flags
	for to_addr in 10.11.0.2 2001:db8:11::2; do
		tcp "$flags to $to_addr" $to_addr
		is "nothing wrong" "packets=* $none *"
		# shellcheck disable=SC2086
		singly $flags "no@(offload|gso)"
		udp "$flags to $to_addr" $to_addr
		is "nothing wrong" "packets=* $none *"
		# shellcheck disable=SC2086
		singly $flags "no@(offload|gso|uso)"
	done
	unpair
done

echo "# jumbo"
# ping_a SIZE ADDR: from A, with so many bytes of ICMP data.
# shellcheck disable=SC2317,SC2329 # called by holds
ping_a()
{
	ip netns exec "$a" ping -q -n -c 3 -i 0.01 -W 2 -M 'do' -s "$1" \
		"$2" >"$work/ping"
}

# pings SIZE: with so many bytes of IP packet.
pings()
{
	tell x relay 3000
	holds "ping of $1 bytes" ping_a $(($1 - 28)) 10.11.0.2
	holds "ping6 of $1 bytes" ping_a $(($1 - 48)) 2001:db8:11::2
	say x total
	hear x
	is "nothing wrong" "packets=* $none *"
	holds "packets of $1 bytes" [ "$(field longest_packet)" -eq "$1" ]
}
# The largest of which two are a super-packet still, and the largest.
for flags in - nogso nooffload; do
	for mtu in 34736 65535; do
		pair $mtu $flags
		tcp "MTU $mtu $flags" 10.11.0.2
		is "nothing wrong" "packets=* $none *"
		[ $mtu -gt 34736 ] || holds "packets of 34736 bytes" \
			[ "$(field longest_packet)" -eq 34736 ]
		pings $mtu
		unpair
	done
done

exit $failed
