#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
#
# 17-policy-nft: a policy in the kernel, with the kernel as the judge.
#
#   pc ---lan0--- host ---line---  inet      192.0.2.10, 2001:db8:1::10
#   192.168.50.7    |
#   fd50::7         +-----uktun--- vps       10.66.0.2, fd66::2
#
# The tunnel is a link like the line: what leaves by which one is all that
# counts here. Both ends of a link have one Ethernet address and ask for
# none, so that packets need no answers to leave. policy_probe has the tables,
# sends flows and looks where they go. exit 0: all hold; 77: no namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
probe=${UKAI_PROBE:-${UKAI_BUILD:-$root/build}/tests/ukai-test-policy-probe}
host=ukt17-$$-host
pc=ukt17-$$-pc
inet=ukt17-$$-inet
vps=ukt17-$$-vps
lan=/run/netns/$pc
work=$(mktemp -d "/tmp/ukt17.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
hold_pid='' try_pid='' echo_pid=''

cleanup()
{
	local ns pid

	for pid in $hold_pid $try_pid $echo_pid; do
		kill -9 "$pid" 2>/dev/null
	done
	for ns in "$host" "$pc" "$inet" "$vps"; do
		ip netns del "$ns" 2>/dev/null
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

on_host() { timeout 60 ip netns exec "$host" "$@"; }

# link NAME NS MAC: NAME on host, "eth" at the other end.
link()
{
	ip link add "$1" netns "$host" address "$3" type veth \
	    peer name eth netns "$2" address "$3" &&
	    ip -n "$host" link set "$1" arp off up &&
	    ip -n "$2" link set eth arp off up &&
	    ip -n "$2" link set lo up
}

# IPv6 addresses are there at once.
address()
{
	case $3 in
	*:*) ip -n "$1" addr add "$3" dev "$2" nodad ;;
	*) ip -n "$1" addr add "$3" dev "$2" ;;
	esac
}

addresses()
{
	address "$host" line 192.0.2.10/24 &&
	    address "$host" line 2001:db8:1::10/64 &&
	    address "$host" uktun 10.66.0.2/24 &&
	    address "$host" uktun fd66::2/64 &&
	    address "$host" lan0 192.168.50.1/24 &&
	    address "$host" lan0 fd50::1/64 &&
	    address "$pc" eth 192.168.50.7/24 && address "$pc" eth fd50::7/64
}

routes()
{
	local f ns

	for f in -4 -6; do
		ip -n "$host" "$f" route add default dev line || return
		ip -n "$host" "$f" route add default dev uktun table 52820 ||
		    return
		ip -n "$host" "$f" rule add pref 5000 iif uktun \
		    fwmark 0x01000000/0xff000000 table main || return
		ip -n "$host" "$f" rule add pref 5000 \
		    fwmark 0x01000000/0xff000000 table 52820 || return
		for ns in "$pc" "$inet" "$vps"; do
			ip -n "$ns" "$f" route add default dev eth || return
		done
	done
}

# No flow is to be held up by how many errors a host may send. Before Linux
# 6.12 these two are of no namespace.
settings()
{
	on_host sysctl -q -w net.ipv4.icmp_msgs_per_sec=100000 \
	    net.ipv4.icmp_msgs_burst=10000 2>/dev/null
	on_host sysctl -q -w net.ipv4.ip_forward=1 \
	    net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 \
	    net.ipv4.conf.line.rp_filter=0 net.ipv4.conf.uktun.rp_filter=1 \
	    net.ipv4.conf.all.src_valid_mark=1 \
	    net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 \
	    net.ipv4.ping_group_range='0 2147483647' &&
	    ip netns exec "$pc" sysctl -q -w \
		net.ipv4.ping_group_range='0 2147483647'
}

topology()
{
	local ns

	for ns in "$pc" "$inet" "$vps"; do
		ip netns add "$ns" || return
	done
	ip -n "$host" link set lo up &&
	    link line "$inet" 02:00:00:00:00:01 &&
	    link uktun "$vps" 02:00:00:00:00:02 &&
	    link lan0 "$pc" 02:00:00:00:00:03 &&
	    addresses && routes && settings
}

# hold ARG...: a policy (standard input) into the kernel.
hold()
{
	cat >"$work/rules"
	coproc HOLD { exec ip netns exec "$host" "$probe" hold "$work/rules" \
	    "$lan" "$@" 2>"$work/hold.err"; }
	# shellcheck disable=SC2153
	hold_pid=$HOLD_PID
	exec {to_hold}>&"${HOLD[1]}" {from_hold}<&"${HOLD[0]}"
	read -r -t 20 said <&"$from_hold"
	[ "$said" = ready ] && return
	cat "$work/hold.err"
	return 1
}

# The last one is killed, and its table goes; no guard is left either.
killed()
{
	kill -9 "$hold_pid"
	wait "$hold_pid" 2>/dev/null
	exec {to_hold}>&- {from_hold}<&-
	hold_pid=''
	until_true no_table
}
no_table() { ! on_host nft list table inet ukai-probe 2>/dev/null; }

released()
{
	killed
	on_host nft delete table inet ukai-probe-guard 2>/dev/null
}

# says WANT COMMAND...: the probe's answer begins with WANT.
says()
{
	local want=$1

	shift
	echo "$*" >&"$to_hold"
	read -r -t 20 said <&"$from_hold" || said="no answer"
	[[ $said == $want* ]] || {
		echo "$*: \"$said\", not \"$want\""
		return 1
	}
}

# The same, by a program that has no table.
try_says()
{
	local want=$1

	shift
	said=$(echo "$*" | on_host "$probe" try "$lan" | sed -n 2p)
	[[ $said == $want* ]] || {
		echo "$*: \"$said\", not \"$want\""
		return 1
	}
}

ip netns add "$host" 2>/dev/null || skip "no network namespaces"
topology || {
	echo "not ok topology"
	exit 1
}

# ---- thousands of flows ----

seed=${UKAI_SEED:-17}
check "flows go where the matcher says (seed $seed)" \
    on_host "$probe" diff "$seed" "${UKAI_POLICIES:-120}" 60 "$lan"
grep "disagree" "$work/out"

# ---- a policy by hand ----

mixed()
{
	cat <<-'EOF'
		DST-PORT,7,block
		DOMAIN-SUFFIX,secret.example,tunnel!
		IP-CIDR,198.51.100.0/24,tunnel
		DEFAULT,native
	EOF
}

check "a policy goes in" hold < <(mixed)
check "native" says "line 192.0.2.10 0" flow own udp 203.0.113.1 9
check "tunnel, with the tunnel's source" \
    says "tunnel 10.66.0.2 0" flow own udp 198.51.100.1 9
check "so is the second packet" says "tunnel 10.66.0.2 0" again
check "and that of a LAN's flow" \
    says "tunnel 10.66.0.2 0" flow lan tcp 198.51.100.1 443
check "a name's address is not known yet" \
    says "line" flow own tcp 203.0.113.9 443
check "a name's address comes in" says ok name x.secret.example 203.0.113.9
check "and holds at once" says "tunnel 10.66.0.2" flow own tcp 203.0.113.9 443
check "hits and packets of a rule" says "1 1" count 2
check "packets of both rules' flows" says "2 3" count 3
check "a flow of the tunnel begins" says tunnel flow own udp 198.51.100.3 9
check "the tunnel is down" says ok live -
check "the flow keeps its path" says tunnel again
check "a new one goes native" says line flow own udp 198.51.100.4 9
check "tunnel! is refused: TCP reset" \
    says "nowhere - ECONNREFUSED" flow own tcp 203.0.113.9 443
check "tunnel! is refused: UDP" says "nowhere - EPERM" \
    flow own udp 203.0.113.9 443
check "tunnel! is refused: UDP of the LAN" \
    says "nowhere - EHOSTUNREACH" flow lan udp 203.0.113.9 443
check "tunnel! is refused: TCP of the LAN" \
    says "nowhere - ECONNREFUSED" flow lan tcp 203.0.113.9 443
check "the tunnel is back" says ok live 46
check "for new flows" says tunnel flow own udp 198.51.100.4 9
check "block" says "nowhere - ECONNREFUSED" flow own tcp 203.0.113.1 7
check "block, LAN, IPv6" says "nowhere - EACCES" flow lan udp 2001:db8:ab::9 7

check "own datagrams are left alone" \
    says "line" flow own udp 203.0.113.9 443 0 ca6c
check "ukai run" says tunnel flow own udp 203.0.113.3 9 0 fe0000
check "ukai run --fallback" says tunnel flow own udp 203.0.113.3 9 0 fd0000
check "a socket marked for the tunnel" \
    says tunnel flow own udp 203.0.113.3 9 0 1ff0000
check "local prefix" says line flow own udp 203.0.113.70 7

# ---- answers ----

# rp_filter is strict on the tunnel.
ip -n "$vps" addr add 198.51.100.7/32 dev lo
check "an answer comes back" on_host ping -q -c 1 -W 2 198.51.100.7
check "and to the LAN" \
    timeout 10 ip netns exec "$pc" ping -q -c 1 -W 2 198.51.100.7
check "packets of both directions are counted" says "7 11" count 3

# ---- nothing by the line ----

check "a flow of tunnel!" says tunnel flow own udp 203.0.113.9 9
ip -n "$host" route del default dev uktun table 52820
check "its packets do not leave by the line" says "nowhere - EPERM" again
check "nor do a LAN's" says "nowhere" flow lan udp 203.0.113.9 9
ip -n "$host" route add default dev uktun table 52820
check "a flow of tunnel! goes on" says tunnel flow own udp 203.0.113.9 9

# The program is killed; the flow's own program is another one.
start_try()
{
	coproc TRY { exec ip netns exec "$host" "$probe" try "$lan"; }
	# shellcheck disable=SC2153
	try_pid=$TRY_PID
	exec {to_try}>&"${TRY[1]}" {from_try}<&"${TRY[0]}"
	read -r -t 20 said <&"$from_try"
}

end_try()
{
	kill "$try_pid"
	wait "$try_pid" 2>/dev/null
	exec {to_try}>&- {from_try}<&-
	try_pid=''
}

started_elsewhere()
{
	start_try
	later tunnel flow own udp 203.0.113.9 9
}

later()
{
	local want=$1

	shift
	echo "$*" >&"$to_try"
	read -r -t 20 said <&"$from_try" || said="no answer"
	[[ $said == $want* ]] || {
		echo "$*: \"$said\", not \"$want\""
		return 1
	}
}

check "another program's flow of tunnel!" started_elsewhere
check "kill -9: the table goes" killed
check "the guard stays" on_host nft list table inet ukai-probe-guard
check "the flow does not go by the line" later "nowhere - EPERM" again
check "a new one is refused" try_says "nowhere - ECONNREFUSED" \
    flow own tcp 203.0.113.9 443
check "so is one of the LAN" try_says "nowhere - EHOSTUNREACH" \
    flow lan udp 203.0.113.9 443
check "so is what ukai run started" try_says "nowhere - EPERM" \
    flow own udp 203.0.113.3 9 0 fe0000
check "block" try_says "nowhere - ECONNREFUSED" flow own tcp 203.0.113.1 7
check "tunnel goes native" try_says line flow own udp 198.51.100.1 9
check "native is native" try_says line flow lan tcp 203.0.113.1 80
end_try

# ---- what began before ----

on_host nft delete table inet ukai-probe-guard
before()
{
	start_try
	later line flow own udp "$1" "$2"
}

# Connection tracking begins with the first rule that asks for it.
on_host nft -f - <<-'EOF'
	table inet track {
		chain c {
			type filter hook output priority 0
			ct state new accept
		}
	}
EOF
check "a flow for tunnel begins by the line" before 198.51.100.1 9
check "the policy comes" hold < <(mixed)
check "it stays there" later "line 192.0.2.10" again
released
end_try
check "a flow for block begins by the line" before 203.0.113.1 7
check "the policy is there again" hold < <(mixed)
check "it is refused" later "nowhere - EPERM" again
released
end_try

# TCP from before anything was tracked: what is seen of it first is no SYN, and
# another source would end it.
on_host nft delete table inet track
ip -n "$inet" addr add 198.51.100.50/32 dev lo
cat >"$work/echo.py" <<-'EOF'
	import socket
	s = socket.create_server(("198.51.100.50", 9000))
	print("ready", flush=True)
	while True:
	    c, _ = s.accept()
	    while data := c.recv(100):
	        c.sendall(data)
EOF
cat >"$work/talk.py" <<-'EOF'
	import errno, socket, sys
	s = socket.create_connection(("198.51.100.50", 9000), 10)
	print("ready", flush=True)
	for line in sys.stdin:
	    try:
	        s.sendall(line.encode())
	        print(s.recv(100).decode().strip(), flush=True)
	    except OSError as e:
	        print(errno.errorcode.get(e.errno, e), flush=True)
EOF

ready()
{
	read -r -t 20 said <&"$1" && [ "$said" = ready ]
}

connected()
{
	coproc TRY { exec ip netns exec "$host" /usr/bin/python3 \
	    "$work/talk.py" 2>"$work/talk.err"; }
	try_pid=$TRY_PID
	exec {to_try}>&"${TRY[1]}" {from_try}<&"${TRY[0]}"
	ready "$from_try"
}

strict() { echo 'IP-CIDR,198.51.100.0/24,tunnel!'; }

coproc ECHO { exec ip netns exec "$inet" /usr/bin/python3 "$work/echo.py" \
    2>"$work/echo.err"; }
# shellcheck disable=SC2153
echo_pid=$ECHO_PID
exec {from_echo}<&"${ECHO[0]}"
check "a server" ready "$from_echo"
check "a connection before the policy" connected
check "the policy comes" hold < <(mixed)
check "the connection goes on" later hello hello
released
end_try
check "another connection before" connected
check "a policy that wants it in the tunnel alone" hold < <(strict)
check "the connection is reset, and not sent by the line" \
    later ECONNRESET hello
released
end_try
kill "$echo_pid"
wait "$echo_pid" 2>/dev/null
echo_pid=''

# ---- PORTS-LEFT ----

few()
{
	cat <<-'EOF'
		DST-PORT,80,native
		PORTS-LEFT,<4,tunnel,proto=udp
		PORTS-LEFT,<2,block
		DST-PORT,443,block
		DEFAULT,native
	EOF
}

# fills L4: 7 left after three of ten, ...: used while 4 are left.
fills()
{
	local i

	for i in 1 2 3 4 5 6 7; do
		says line flow own "$1" "203.0.113.$i" 9 || return
	done
}

check "a policy about ports" hold ports=10 < <(few)
check "private destinations use none" says line flow own udp 10.1.2.3 9
check "nor does what a later rule refuses" \
    says nowhere flow own udp 203.0.113.1 443
check "nor does IPv6" says line flow own udp 2001:db8:ab::9 9
check "flows go native while enough are left" fills udp
check "then one spills" says "tunnel 10.66.0.2" flow own udp 203.0.113.1 9
check "and so does one of the LAN" says tunnel flow lan udp 203.0.113.1 9
check "what runs is left alone" says line flow own udp 203.0.113.1 80
check "TCP is counted apart" says line flow own tcp 203.0.113.1 9
check "hits of the rule" says "2 " count 2
released

# The one that holds later stands first, and decides when it does.
levels()
{
	cat <<-'EOF'
		DST-PORT,80,native
		PORTS-LEFT,<2,block
		PORTS-LEFT,<4,tunnel
		DEFAULT,native
	EOF
}

check "two rules about ports" hold ports=10 < <(levels)
check "flows go native" fills tcp
check "then they spill" says tunnel flow own tcp 203.0.113.1 9
check "others are counted apart" fills udp
check "what is native before them uses one more" \
    says line flow own udp 203.0.113.1 80
check "and one more" says line flow own udp 203.0.113.2 80
check "the first one holds now as well" \
    says "nowhere - EPERM" flow own udp 203.0.113.1 9
released

# ---- DNS ----

check "a policy with DNS" hold dns=5300 < <(mixed)
check "a question does not leave" says nowhere flow own udp 203.0.113.1 53
check "nor by TCP" says "nowhere - ECONNREFUSED" flow own tcp 203.0.113.1 53
check "nor from the LAN" says nowhere flow lan tcp 203.0.113.1 53
check "our own questions go where the policy says" \
    says line flow own udp 203.0.113.1 53 0 ff0000
check "into the tunnel, too" \
    says tunnel flow own udp 198.51.100.1 53 0 ff0000
check "who asks for the tunnel asks through it" \
    says tunnel flow own udp 203.0.113.1 53 0 1000000
released

exit "$failed"
