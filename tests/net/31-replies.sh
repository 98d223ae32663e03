#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
#
# 31-replies: who comes in through the tunnel is answered through the tunnel,
# also where every route leads to the line; and `Routes`.
#
#                                    out: the visitor
#                  198.51.100.77, 192.0.2.99, 192.168.9.50, 2001:db8:77::77
#                    | natively                        | by the relay
#    lan ---------- pc ------------------- rt ------- vps
#     192.168.9.50   192.168.9.1  192.0.2.10   192.0.2.1   203.0.113.1
#                    2001:db8:1::10            2001:db8:1::1
#                    10.66.0.2, fd66::2  .. tunnel ..  10.66.0.1, fd66::1
#                    10.67.0.2  ........ a second ...  10.67.0.1
#
# pc has a default route by rt, a strict rp_filter, and forwards for lan. vps
# plays the relay: two plain `ukai device`, and its nft rules publish ports of
# pc; the visitor's address is kept. Two of the visitor's addresses are taken:
# one is of the network between pc and rt, one is that of the LAN's host. One
# line of output for a check; exit 0 when all hold, 77 when the machine has no
# namespaces or lacks a program.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
ukai=${UKAI:-${UKAI_BUILD:-$root/build}/client/ukai}
pc=ukt31-$$-pc
lan=ukt31-$$-lan
rt=ukt31-$$-rt
vps=ukt31-$$-vps
out=ukt31-$$-out
spaces="$pc $lan $rt $vps $out"
tun=u31c$$   # also names of sockets: the same in no other namespace
tun2=u31d$$
far=u31r$$
far2=u31s$$
work=$(mktemp -d "/tmp/ukt31.XXXXXX")
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
# shellcheck source=tests/net/checks
. "$here/checks"

cleanup()
{
	local ns pid

	for ns in $tun $tun2; do
		ip netns exec "$pc" timeout 20 "$ukai" down "$ns" >/dev/null 2>&1
	done
	for ns in $spaces; do
		for pid in $(ip netns pids "$ns" 2>/dev/null); do
			kill -9 "$pid"
			wait "$pid" 2>/dev/null
		done
		ip netns del "$ns" 2>/dev/null
	done
	for ns in $tun $tun2 $far $far2; do
		rm -f "/var/run/wireguard/$ns.sock"
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

not()
{
	! "$@"
}

on() # NAMESPACE CMD...
{
	local ns=$1

	shift
	timeout 60 ip netns exec "$ns" "$@"
}

says()
{
	grep -F -q -e "$1" "$work/said" || {
		echo "not said: $1"
		cat "$work/said"
		return 1
	}
}

# Everything on pc that a client could change. Left out: counters, lifetimes,
# and what connection tracking adds to the sysctls when it is first used.
dump()
{
	on "$pc" sh -c '
		ip addr; ip route show table all; ip -6 route show table all
		ip rule; ip -6 rule; nft list ruleset
		sysctl -a 2>/dev/null | grep ^net | grep -v -e conntrack \
		    -e net.netfilter -e fs.' |
	    sed -e 's/packets [0-9]* bytes [0-9]*/packets N bytes N/' \
	        -e 's/expires [0-9]*sec//' | LC_ALL=C sort
}

remember() { dump >"$work/before"; }
unchanged()
{
	dump >"$work/after"
	diff "$work/before" "$work/after"
}

# conf NAME ADDRESS PORT KEY [LINE-OF-UKAI...]
conf()
{
	local file=$work/$1.conf

	{
		printf '[Interface]\nPrivateKey = %s\nAddress = %s\n' \
		    "$(cat "$work/$4.key")" "$2"
		printf '[Peer]\nPublicKey = %s\n' "$(cat "$work/vps.pub")"
		printf 'Endpoint = 203.0.113.1:%s\n' "$3"
		printf 'AllowedIPs = 0.0.0.0/0, ::/0\nPersistentKeepalive = 1\n'
		shift 4
		echo "[Ukai]"
		printf '%s\n' "$@"
	} >"$file"
	chmod 600 "$file"
}

up() { exits "${2:-0}" on "$pc" "$ukai" up --config "$work/$1.conf"; }
down() { exits 0 on "$pc" "$ukai" down "$1"; }

goes_by() # ADDRESS DEVICE
{
	on "$pc" ip route get "$1" | head -1 | grep -q -w "dev $2"
}

# visit tcp|udp FROM FROM-PORT TO PORT [BYTES]: the visitor asks and gets the
# whole answer, from whom it asked.
visit() { on "$out" /usr/bin/python3 "$work/visit.py" "$@"; }

# seen: how many packets about the visitor or a tunnel's address are on the
# line; also the questions who has his address.
seen() { grep -c . "$work/line"; }
more_than() { [ "$(seen)" -gt "$1" ]; }
# And no more of it comes.
settled()
{
	local was

	was=$(seen)
	sleep 0.3
	[ "$(seen)" = "$was" ]
}
seen_more() { until_true more_than "$1" && eventually 5 settled; }

# unseen WHAT CMD...: CMD must succeed, and nothing of it be seen on the line.
unseen()
{
	local what=$1 before

	shift
	before=$(seen)
	check "$what" "$@"
	sleep 0.2
	same "$what: nothing of it is on the line" "$(seen)" "$before"
}

veth() # NS LINK ADDRESS/LEN NS LINK ADDRESS/LEN
{
	ip link add "$2" netns "$1" type veth peer name "$5" netns "$4" &&
		ip -n "$1" addr add "$3" dev "$2" &&
		ip -n "$4" addr add "$6" dev "$5" &&
		ip -n "$1" link set "$2" up && ip -n "$4" link set "$5" up
}

make_world()
{
	local ns

	for ns in $spaces; do
		ip netns add "$ns" || return 1
		ip netns exec "$ns" sysctl -q -w net.ipv6.conf.all.accept_ra=0 \
		    net.ipv6.conf.default.accept_ra=0 \
		    net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=1 \
		    net.ipv6.conf.all.forwarding=1
		ip -n "$ns" link set lo up
	done
	veth "$lan" up0 192.168.9.50/24 "$pc" lan0 192.168.9.1/24 &&
		veth "$pc" line0 192.0.2.10/24 "$rt" pc0 192.0.2.1/24 &&
		veth "$rt" vps0 203.0.113.254/24 "$vps" wan0 203.0.113.1/24 &&
		veth "$out" near0 192.0.3.2/24 "$rt" out0 192.0.3.1/24 &&
		veth "$out" relay0 203.0.114.2/24 "$vps" out0 203.0.114.1/24 ||
		return 1
	ip -n "$pc" addr add 2001:db8:1::10/64 dev line0 nodad
	ip -n "$rt" addr add 2001:db8:1::1/64 dev pc0 nodad
	ip -n "$rt" addr add 2001:db8:3::1/64 dev out0 nodad
	ip -n "$out" addr add 2001:db8:3::2/64 dev near0 nodad
	ip -n "$out" addr add 2001:db8:4::2/64 dev relay0 nodad
	ip -n "$vps" addr add 2001:db8:4::1/64 dev out0 nodad
	for a in 198.51.100.77 192.0.2.99 192.168.9.50; do
		ip -n "$out" addr add $a/32 dev lo
		ip -n "$vps" route add $a/32 via 203.0.114.2
	done
	ip -n "$out" addr add 2001:db8:77::77/128 dev lo nodad
	ip -n "$vps" route add 2001:db8:77::77/128 via 2001:db8:4::2
	ip -n "$rt" route add 198.51.100.77/32 via 192.0.3.2
	ip -n "$rt" route add 2001:db8:77::77/128 via 2001:db8:3::2
	ip -n "$out" route add 192.0.2.10/32 via 192.0.3.1
	ip -n "$out" route add 2001:db8:1::/64 via 2001:db8:3::1
	ip -n "$out" route add 203.0.113.1/32 via 203.0.114.1
	ip -n "$out" route add 10.66.0.2/32 via 203.0.114.1
	# As the relay's "packet too big" would tell it.
	ip -n "$out" route add fd66::2/128 via 2001:db8:4::1 mtu 1420
	ip -n "$lan" route add default via 192.168.9.1
	ip -n "$pc" route add default via 192.0.2.1
	ip -n "$pc" route add default via 2001:db8:1::1
	ip -n "$vps" route add default via 203.0.113.254
	on "$pc" sysctl -q -w net.ipv4.conf.all.rp_filter=1 \
	    net.ipv4.conf.lan0.rp_filter=1 net.ipv4.conf.line0.rp_filter=1
	# The published ports; 80 is the LAN host's, behind pc.
	on "$vps" nft -f - <<-EOF
	table ip publish {
		chain in {
			type nat hook prerouting priority dstnat
			ip daddr 203.0.113.1 th dport 51820-51821 accept
			ip daddr 203.0.113.1 tcp dport 8180 dnat to 10.67.0.2:8080
			ip daddr 203.0.113.1 udp dport 9100 dnat to 10.67.0.2:9000
			ip daddr 203.0.113.1 meta l4proto { tcp, udp } dnat to 10.66.0.2
		}
	}
	EOF
	# pc's own rules, and a mark of somebody else's.
	on "$pc" nft -f - <<-EOF
	table ip office {
		chain in {
			type nat hook prerouting priority dstnat
			iifname "u31*" th dport 80 dnat to 192.168.9.50
		}
		chain other {
			type filter hook prerouting priority -140
			tcp dport 8080 ct mark set ct mark | 0x42
		}
	}
	EOF
}

# relay NAME PORT ADDRESS KEY ALLOWED
relay()
{
	ip netns exec "$vps" "$ukai" device -f "$1" &
	until_true test -S "/var/run/wireguard/$1.sock" || return 1
	on "$vps" wg set "$1" private-key "$work/vps.key" listen-port "$2" \
	    peer "$(cat "$work/$4.pub")" allowed-ips "$5"
	ip -n "$vps" addr add "$3" dev "$1"
	ip -n "$vps" link set "$1" up
}

# Services: TCP sends as many bytes as it is asked for, UDP what it gets. UDP
# is not bound to an address, but on port 9001.
make_programs()
{
	cat >"$work/serve.py" <<-'EOF'
	import socket, sys, threading
	def tcp(s):
	    while True:
	        c, who = s.accept()
	        threading.Thread(target=answer, args=(c,), daemon=True).start()
	def answer(c):
	    with c, c.makefile("rb") as lines:
	        for line in lines:
	            c.sendall(b"x" * int(line))
	def udp(s):
	    while True:
	        b, who = s.recvfrom(65535)
	        try:
	            s.sendto(b, who)
	        except OSError:
	            pass
	for word in sys.argv[1:]:
	    kind, host, port = word.split(",")
	    f = socket.AF_INET6 if ":" in host else socket.AF_INET
	    s = socket.socket(f, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
	    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	    s.setsockopt(socket.SOL_IP, 15, 1) # IP_FREEBIND
	    if f == socket.AF_INET6:
	        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
	    s.bind((host, int(port)))
	    if kind == "tcp":
	        s.listen(100)
	    threading.Thread(target=globals()[kind], args=(s,), daemon=True).start()
	print("ready", flush=True)
	threading.Event().wait()
	EOF
	cat >"$work/visit.py" <<-'EOF'
	import os, socket, sys, time
	kind, src, sport, dst, port = sys.argv[1:6]
	n = int(sys.argv[6]) if len(sys.argv) > 6 else 100
	f = socket.AF_INET6 if ":" in dst else socket.AF_INET
	udp = kind.endswith("udp")
	s = socket.socket(f, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
	s.settimeout(3)
	if src:
	    s.bind((src, int(sport)))
	s.connect((dst, int(port)))
	def ask():
	    if udp:
	        s.send(b"y" * n)
	        assert s.recv(65535) == b"y" * n
	        return
	    s.sendall(b"%d\n" % n)
	    got = 0
	    while got < n:
	        b = s.recv(65536)
	        assert b, "closed after %d" % got
	        got += len(b)
	ask()
	if kind.startswith("kept"): # once more when the file is there
	    print("open", flush=True)
	    end = time.time() + 50
	    while not os.path.exists(sys.argv[7]) and time.time() < end:
	        time.sleep(0.1)
	    s.settimeout(10)
	    ask()
	EOF
}

serve() # NAMESPACE KIND,HOST,PORT...
{
	local ns=$1 log=$work/serve.$1

	shift
	: >"$log"
	ip netns exec "$ns" /usr/bin/python3 "$work/serve.py" "$@" >"$log" &
	until_true grep -q ready "$log"
}

for program in wg nft setpriv tcpdump /usr/bin/python3; do
	command -v "$program" >/dev/null || {
		echo "skip: $program is not installed"
		exit 77
	}
done
[ -x "$ukai" ] || { echo "not ok no $ukai: build first"; exit 1; }
if [ ! -c /dev/net/tun ] || ! make_world 2>"$work/out"; then
	echo "skip: no namespaces, veth, nftables or /dev/net/tun"
	exit 77
fi
(
	umask 077
	for who in pc pc2 vps; do
		wg genkey >"$work/$who.key"
		wg pubkey <"$work/$who.key" >"$work/$who.pub"
	done
)
make_programs
check "the relay starts" relay "$far" 51820 10.66.0.1/24 pc 10.66.0.2/32,fd66::2/128
ip -n "$vps" addr add fd66::1/64 dev "$far" nodad
check "and a second" relay "$far2" 51821 10.67.0.1/24 pc2 10.67.0.2/32
check "services of pc" serve "$pc" tcp,0.0.0.0,8080 udp,0.0.0.0,9000 \
    udp,10.66.0.2,9001 tcp,::,8080 udp,::,9000
check "services of the LAN's host" serve "$lan" tcp,0.0.0.0,80 udp,0.0.0.0,80
check "services of the visitor" serve "$out" tcp,198.51.100.77,7000 \
    udp,198.51.100.77,7000 tcp,2001:db8:77::77,7000
ip netns exec "$rt" tcpdump --immediate-mode -l -n -i pc0 'host 198.51.100.77 or
    host 192.0.2.99 or net 192.168.9.0/24 or net 10.66.0.0/16 or
    net 10.67.0.0/16 or ip6 host 2001:db8:77::77 or ip6 net fd66::/16' \
    >"$work/line" 2>"$work/tcpdump" &
# IPv6 has its addresses a moment after the links are up.
links_up()
{
	[ "$(on "$pc" ip -o -6 addr show scope link | wc -l)" = 2 ]
}
check "the links are up" until_true links_up
check "the line is watched" until_true grep -q listening "$work/tcpdump"
remember

# ---- Routes ----

conf "$tun" '10.66.0.2/24, fd66::2/64' 51820 pc \
    'Routes = 203.0.113.128/25, 192.0.2.0/33'
check "a bad prefix in Routes: exit 2" up "$tun" 2
check "a bad prefix in Routes: its place" says "$tun.conf:10:28:"
conf "$tun" '10.66.0.2/24, fd66::2/64' 51820 pc \
    'Routes = 203.0.113.128/25'
sed -i 's|^AllowedIPs.*|AllowedIPs = 10.66.0.0/24|' "$work/$tun.conf"
check "Routes outside of AllowedIPs: exit 2" up "$tun" 2
check "Routes outside of AllowedIPs: its place" says "$tun.conf:10:10:"
check "Routes outside of AllowedIPs: nothing has changed" unchanged

conf "$tun" '10.66.0.2/24, fd66::2/64' 51820 pc \
    'Routes = 203.0.113.128/25'
check "up" up "$tun"
check "what Routes names goes by the tunnel" goes_by 203.0.113.129 "$tun"
check "the rest does not" goes_by 203.0.113.1 line0
check "nor IPv6" goes_by 2001:db8:77::77 line0
check "no warning" not says warning
same "rules" "$(on "$pc" ip rule | grep -w 'proto 117')" \
    "5000:	from all fwmark 0x1000000/0xff000000 iif $tun lookup main proto 117
5000:	from all fwmark 0x1000000/0xff000000 lookup 52820 proto 117
20001:	not from all fwmark 0xca6c lookup 51820 proto 117"
same "rules of IPv6: only for answers" \
    "$(on "$pc" ip -6 rule | grep -w 'proto 117')" \
    "5000:	from all fwmark 0x1000000/0xff000000 iif $tun lookup main proto 117
5000:	from all fwmark 0x1000000/0xff000000 lookup 52820 proto 117"
same "our rp_filter is loose" \
    "$(on "$pc" cat "/proc/sys/net/ipv4/conf/$tun/rp_filter")" 2
same "the host's is as it was" "$(on "$pc" sh -c 'cd /proc/sys/net/ipv4/conf
    cat all/rp_filter default/rp_filter lan0/rp_filter')" "1
0
1"
check "the tunnel works" until_true on "$pc" ping -q -c 1 -W 1 10.66.0.1

# ---- pc answers ----

v=198.51.100.77
before=$(seen)
check "natively the visitor is answered natively" visit tcp $v 0 192.0.2.10 8080
check "and that is seen on the line" seen_more "$before"
unseen "ICMP" on "$out" ping -q -c 2 -i 0.2 -W 1 -I $v 10.66.0.2
unseen "TCP" visit tcp $v 0 203.0.113.1 8080
unseen "TCP, a megabyte" visit tcp $v 0 203.0.113.1 8080 1000000
unseen "UDP, a socket of any address" visit udp $v 4001 203.0.113.1 9000
unseen "UDP, once more" visit udp $v 4001 203.0.113.1 9000
unseen "UDP, longer than a packet" visit udp $v 4001 203.0.113.1 9000 5000
unseen "UDP, a socket of the tunnel's address" \
    visit udp $v 4002 203.0.113.1 9001
refused()
{
	visit "$@" 2>"$work/refused"
	grep -q ConnectionRefused "$work/refused"
}
unseen "TCP, nobody there: a reset" refused tcp $v 0 203.0.113.1 8888
unseen "UDP, nobody there: an ICMP error" refused udp $v 0 203.0.113.1 8888
unseen "from the line's own network: TCP" \
    visit tcp 192.0.2.99 0 203.0.113.1 8080
unseen "from the line's own network: UDP" \
    visit udp 192.0.2.99 4003 203.0.113.1 9000
unseen "from an address of the LAN: TCP" \
    visit tcp 192.168.9.50 0 203.0.113.1 8080
unseen "from an address of the LAN: UDP" \
    visit udp 192.168.9.50 4004 203.0.113.1 9000
unseen "from an address of the LAN: ICMP" \
    on "$out" ping -q -c 1 -W 1 -I 192.168.9.50 10.66.0.2
v6=2001:db8:77::77
unseen "IPv6: ICMP" on "$out" ping -q -c 1 -W 1 -I $v6 fd66::2
unseen "IPv6: TCP" visit tcp $v6 0 fd66::2 8080 100000
unseen "IPv6: UDP" visit udp $v6 4005 fd66::2 9000
unseen "IPv6: UDP, longer than a packet" visit udp $v6 4005 fd66::2 9000 5000

# One socket of the visitor asks both ways; each time it is answered the way
# it came.
before=$(seen)
check "UDP natively, from the port that came by the tunnel" \
    visit udp $v 4001 192.0.2.10 9000
check "is seen on the line" seen_more "$before"
unseen "UDP by the tunnel after that" visit udp $v 4001 203.0.113.1 9000
before=$(seen)
check "IPv6: UDP natively" visit udp $v6 4005 2001:db8:1::10 9000
check "IPv6: is seen on the line" seen_more "$before"
unseen "IPv6: UDP by the tunnel after that" visit udp $v6 4005 fd66::2 9000

# What pc begins itself.
own() { on "$pc" /usr/bin/python3 "$work/visit.py" "$1" '' 0 "$2" 7000; }
for what in "tcp $v" "udp $v" "tcp $v6"; do
	before=$(seen)
	# shellcheck disable=SC2086 # two words
	check "pc's own connection, $what" own $what
	check "stays on the line" seen_more "$before"
done

goes_on() { wait "$kept"; }
# Nor does what seems to be its other end move it into the tunnel: pc's socket
# is connected, and does not take that.
# A kernel without nft's socket expression cannot know that.
if ip netns exec "$pc" nft list ruleset | grep -q "socket wildcard"; then
	: >"$work/kept"
	ip netns exec "$pc" timeout 60 /usr/bin/python3 "$work/visit.py" kept-udp \
	    0.0.0.0 6000 $v 7000 100 "$work/go-udp" >"$work/kept" 2>&1 &
	kept=$!
	check "pc's own UDP flow" until_true grep -q open "$work/kept"
	unseen "its other end comes by the tunnel: refused" \
	    refused udp $v 7000 203.0.113.1 6000
	before=$(seen)
	touch "$work/go-udp"
	check "pc's own UDP flow goes on" goes_on
	check "and stays on the line" seen_more "$before"
fi

# Other people's bits: in the connection's mark, and none in packets' marks.
has_mark() { on "$pc" grep -q "dport=8080 .*mark=$1 " /proc/net/nf_conntrack; }
check "the connection has our mark and somebody else's" \
    has_mark $((0x1000042))
check "a native one has only the other" has_mark $((0x42))

# ---- the LAN's host answers, behind pc ----

unseen "LAN: TCP" visit tcp $v 0 203.0.113.1 80
unseen "LAN: TCP, a megabyte" visit tcp $v 0 203.0.113.1 80 1000000
unseen "LAN: UDP" visit udp $v 4006 203.0.113.1 80
unseen "LAN: from the line's own network: TCP" \
    visit tcp 192.0.2.99 0 203.0.113.1 80
unseen "LAN: from the line's own network: UDP" \
    visit udp 192.0.2.99 4007 203.0.113.1 80
same "the filter was strict, and counts marks" "$(on "$pc" sh -c \
    'cd /proc/sys/net/ipv4/conf/all && cat rp_filter src_valid_mark')" "1
1"
# Somebody copies marks to all packets of a flow, both ways.
on "$pc" nft -f - <<EOF
table ip copy {
	chain both {
		type filter hook prerouting priority -130
		ct mark != 0 meta mark set ct mark
	}
}
EOF
unseen "marks copied by others: TCP" visit tcp $v 0 203.0.113.1 8080
unseen "marks copied by others: LAN" visit tcp $v 0 203.0.113.1 80
on "$pc" nft delete table ip copy

# ---- two tunnels ----

conf "$tun2" 10.67.0.2/24 51821 pc2 'Routes = off'
check "a second tunnel, for answers alone" up "$tun2"
same "it has no routes" "$(on "$pc" ip rule | grep -w -c 'proto 117')" 5
check "Routes = off: everything stays on the line" goes_by 203.0.113.129 "$tun"
check "the second works" until_true on "$pc" ping -q -c 1 -W 1 10.67.0.1
for what in "by the first" "by the first again"; do
	unseen "two tunnels, $what: TCP" visit tcp $v 0 203.0.113.1 8080
	unseen "two tunnels, $what: UDP" visit udp $v 4008 203.0.113.1 9000
	unseen "two tunnels, by the second: TCP" visit tcp $v 0 203.0.113.1 8180
	unseen "two tunnels, by the second: UDP" \
	    visit udp $v 4008 203.0.113.1 9100
done
check "status of the first" exits 0 on "$pc" "$ukai" status "$tun"
check "status shows routes" says "routes to    203.0.113.128/25"
check "status shows the table of answers" says "answers      table 52820"
check "status of the second" exits 0 on "$pc" "$ukai" status "$tun2"
check "status shows that there are none" says "routes to    nothing"

# The tunnels' marks change hands; a connection goes on.
: >"$work/kept"
ip netns exec "$out" timeout 60 /usr/bin/python3 "$work/visit.py" kept $v 0 \
    203.0.113.1 8180 100 "$work/go" >"$work/kept" 2>&1 &
kept=$!
check "a connection by the second" until_true grep -q open "$work/kept"
check "down of the first" down "$tun"
unseen "the second goes on: TCP" visit tcp $v 0 203.0.113.1 8180
check "down of the second" down "$tun2"
check "the host is as it was" unchanged
conf "$tun" '10.66.0.2/24, fd66::2/64' 51820 pc
check "up of the second alone" up "$tun2"
check "it has the first's mark now" \
    on "$pc" sh -c "ip rule | grep -q 'fwmark 0x1000000/.*iif $tun2'"
check "it works" until_true on "$pc" ping -q -c 1 -W 1 10.67.0.1
touch "$work/go"
unseen "the connection is still open" goes_on

# ---- everything by the tunnel, killed, restored ----

sed -i 's/^AllowedIPs.*/&\n/; $ d' "$work/$tun.conf"
echo 'LocalNetworks = 192.0.2.0/24, 192.168.9.0/24, 203.0.113.0/24' \
    >>"$work/$tun.conf"
check "up without Routes" up "$tun"
check "everything goes by the tunnel" goes_by $v "$tun"
check "but what is named" goes_by 192.0.2.99 line0
check "it works" until_true on "$pc" ping -q -c 1 -W 1 10.66.0.1
unseen "from a network that is named: TCP" \
    visit tcp 192.0.2.99 0 203.0.113.1 8080
unseen "from a network that is named: LAN" \
    visit tcp 192.0.2.99 0 203.0.113.1 80
check "down of both" down "$tun"
check "down of both" down "$tun2"
check "the host is as it was, again" unchanged

conf "$tun" 10.66.0.2/24 51820 pc 'Routes = off'
ip netns exec "$pc" "$ukai" up --foreground -c "$work/$tun.conf" \
    >"$work/foreground" 2>&1 &
killed=$!
check "up to be killed" until_true test -S "$UKAI_RUN_DIR/$tun.sock"
kill -9 $killed
wait $killed 2>/dev/null
check "killed: something is left" not unchanged
check "restore" exits 0 on "$pc" "$ukai" restore
check "killed and restored: the host is as it was" unchanged

# Without "auto" the tables are the user's; and our bits may be taken.
sed -i 's/^Address.*/&\nFwMark = 0x1000007/' "$work/$tun.conf"
check "FwMark in our bits: up" up "$tun"
check "FwMark in our bits: said" says "answered by the host's routes"
same "FwMark in our bits: no rules" \
    "$(on "$pc" ip rule | grep -w -c 'proto 117')" 0
check "FwMark in our bits: down" down "$tun"
sed -i 's/^FwMark.*/Table = off/' "$work/$tun.conf"
check "Table = off: up" up "$tun"
check "Table = off: said" says "Routes has no effect"
same "Table = off: no rules" "$(on "$pc" ip rule | grep -w -c 'proto 117')" 0
check "Table = off: down" down "$tun"
check "the host is as it was, at the end" unchanged
exit "$failed"
