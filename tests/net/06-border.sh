#!/bin/bash
# shellcheck disable=SC2317 # functions are called through check() and trap
#
# 06-border: is the border relay of the test line honest, and fast enough to
# measure a CE against? Its every verdict is in tests/unit/test_br_packet.c;
# here it runs.
#
#    pc, lan --- gw (a bridge, or a router) --- isp (border relay) --- srv
#
# The CE is a tunnel without NAPT and without checks (ukai-test-br --peer), or
# a few hand-made packets.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
line=$here/line
export UKAI_LINE_PREFIX=u06n$$
br=${UKAI_BUILD:-$root/build}/tests/ukai-test-br
relay=2001:db8:ffff::64
ours=2001:db8:4634:3400
ce=$ours:c0:2:3400:3400
work=$(mktemp -d "/tmp/$UKAI_LINE_PREFIX.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"

cleanup()
{
	"$line" down || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

at()
{
	timeout 20 "$line" enter "$@"
}

stat_of()
{
	"$line" stats | awk -F= -v key="$1" '$1 == key { print $2 }'
}

# more KEY THAN
more()
{
	[ "$(stat_of "$1")" -gt "$2" ]
}

# start_ce NS LINK MAP-ADDRESS IPV4 [OPTION]: ends with the line.
start_ce()
{
	local ns=$1 n=$UKAI_LINE_PREFIX-$1
	at "$ns" sysctl -qw net.ipv6.conf.all.forwarding=1 \
		net.ipv4.ip_local_port_range="4928 4943"
	ip -n "$n" addr add "$3/64" dev "$2" nodad
	at "$ns" nft -f - <<-RULES
	table ip6 ce {
		chain prerouting {
			type filter hook prerouting priority -450
			iifname "$2" ip6 daddr $3 ip6 nexthdr != icmpv6 drop
		}
	}
	RULES
	"$line" enter "$ns" "$br" --peer $relay --br "$3" --tun ce0 \
		--link "$2" --stats "$work/$ns.stats" ${5:+"$5"} \
		</dev/null >"$work/$ns.log" 2>&1 &
	until_true ip -n "$n" link show ce0
	ip -n "$n" link set ce0 mtu 1460 txqueuelen 2000 up
	ip -n "$n" addr add "$4/32" dev ce0
	ip -n "$n" -4 route replace default dev ce0
}

# Packets from pc, one a line: what is counted at the relay, outer source,
# inner source, source port, protocol, outer next header, hop limit.
cat >"$work/packets" <<END
up_forward $ce 192.0.2.52 4928 17 4 64
up_forward $ce 192.0.2.52 62287 17 4 2
up_drop_source_port $ce 192.0.2.52 4944 17 4 64
up_drop_source_port $ce 192.0.2.52 832 17 4 64
up_drop_source_address $ce 192.0.2.53 4928 17 4 64
up_drop_source_address $ce 192.168.24.10 4928 17 4 64
up_drop_interface_id $ours:0:c000:234:34 192.0.2.52 4928 17 4 64
up_drop_interface_id $ours::10 192.0.2.52 4928 17 4 64
up_drop_no_rule 2001:db8:24::10 192.0.2.52 4928 17 4 64
up_drop_protocol $ce 192.0.2.52 4928 41 4 64
up_drop_extension $ce 192.0.2.52 4928 17 60 64
END
cat >"$work/send.py" <<'END'
import socket, struct, sys

relay = socket.inet_pton(socket.AF_INET6, sys.argv[1])
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
for line in open(sys.argv[2]):
    name, outer, inner, port, proto, nxt, hops = line.split()
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 48, 7, 0, 64, int(proto), 0,
                     socket.inet_aton(inner), socket.inet_aton("198.51.100.9"))
    s = sum(struct.unpack("!10H", ip))
    s = (s & 0xffff) + (s >> 16)
    ip = ip[:10] + struct.pack("!H", ~s & 0xffff) + ip[12:]
    data = ip + struct.pack("!HHHH", int(port), 53, 28, 0) + bytes(20)
    head = struct.pack("!IHBB", 6 << 28, len(data), int(nxt), int(hops))
    raw.sendto(head + socket.inet_pton(socket.AF_INET6, outer) + relay + data,
               (sys.argv[1], 0))
END

hand_made()
{
	local name
	check "hand-made packets leave" at pc /usr/bin/python3 \
		"$work/send.py" $relay "$work/packets"
	until_true more up_drop_extension 0 || true
	cut -d' ' -f1 "$work/packets" | sort -u >"$work/names"
	while read -r name; do
		same "of them $name" "$(stat_of "$name")" \
			"$(grep -c "^$name " "$work/packets")"
	done <"$work/names"
	same "all drops" "$(stat_of border_drops)" \
		"$(grep -c drop "$work/packets")"
}

refused()
{
	at pc /usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect(("198.51.100.10", 9))
s.send(b"x")
try:
    s.recv(1)
except ConnectionRefusedError:
    raise SystemExit(0)
raise SystemExit(1)'
}

# fast [-R]
fast()
{
	at pc iperf3 -c 198.51.100.10 -t 1 "$@" >"$work/iperf" 2>&1
}

rate()
{
	awk -v what="$1" '/receiver/ { print "# TCP " what ": " $7, $8 }' \
		"$work/iperf"
}

through_the_relay()
{
	start_ce pc eth0 $ce 192.0.2.52
	at srv iperf3 -s -D >/dev/null
	check "echo with an id of the set" at pc ping -c 1 -W 15 -e 4928 \
		198.51.100.10
	check "echo with another id: no answer" fails at pc ping -c 1 -W 1 \
		-e 4944 198.51.100.10
	check "ICMP error by what it quotes" refused
	check "1460 bytes and DF" at pc ping -c 1 -W 15 -e 4928 -M "do" \
		-s 1432 198.51.100.10
	at pc ping -c 1 -W 1 -e 4928 -s 4000 198.51.100.10 >/dev/null || true
	check "inner fragments were put together, up" more up_held 1
	check "and down" more down_held 1
	check "TCP up" fast
	rate up
	check "TCP down" fast -R
	rate down
	check "super-packets came whole" more line_super_in 50
	# Without Linux 6.6 they are cut up toward the line.
	if [ "$(stat_of offload)" = 1 ]; then
		check "and went whole" more line_super_out 50
		same "none was cut up" "$(stat_of line_cut)" 0
	fi
	same "send errors" "$(stat_of send_errors)" 0
	same "overruns" "$(stat_of overruns)" 0
}

# RFC 7597 section 5.4, hub and spoke: CE to CE by the relay.
hairpin()
{
	ip -n $UKAI_LINE_PREFIX-isp route add 2001:db8:4635:3400::/64 \
		via $ours::101
	start_ce lan eth0 2001:db8:4635:3400:c0:2:3500:3400 192.0.2.53 \
		--no-offload
	check "CE to CE" at pc ping -c 1 -W 15 -e 4928 192.0.2.53
}

# other_line WHAT NS LINK MAP-ADDRESS OPTION...
other_line()
{
	local what=$1 ns=$2 link=$3 address=$4
	shift 4
	check "line up $what" "$line" up --ce self "$@"
	start_ce "$ns" "$link" "$address" 192.0.2.52
	check "echo $what" at "$ns" ping -c 1 -W 15 -e 4928 198.51.100.10
	same "no drops $what" "$(stat_of border_drops)" 0
}

code=0
"$line" up --ce self >"$work/out" 2>&1 || code=$?
if [ $code != 0 ]; then
	cat "$work/out"
	exit $code
fi
same "the line's rule" "$("$line" rules | tail -n 1)" \
"line,2001:db8:4600::/40,192.0.2.0/24,16,4,8,$relay,draft03,official,\
tests/net/line"
check "the relay answers pings" at pc ping -6 -c 1 -W 15 $relay
check "IPv6 passes it by" at lan ping -6 -c 1 -W 15 2001:db8:5::10
check "no IPv4 without a CE" fails at pc ping -c 1 -W 1 198.51.100.10
check "--pd needs --ce-host gw" exits 2 "$line" up --ce self --pd
check "--iid needs --ce self" exits 2 "$line" up --iid rfc7597
check "no gateway with it" exits 2 "$line" up --ce self --gateway linux
ip -n $UKAI_LINE_PREFIX-pc addr add $ce/64 dev eth0 nodad
hand_made
ip -n $UKAI_LINE_PREFIX-pc addr del $ce/64 dev eth0
through_the_relay
hairpin
other_line "rfc7597" pc eth0 $ours:0:c000:234:34 --iid rfc7597
other_line "gw, /64 on-link" gw wan $ce --ce-host gw
other_line "gw, /56 routed" gw wan $ce --ce-host gw --pd
check "down" "$line" down
exit $failed
