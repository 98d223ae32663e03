#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
# shellcheck disable=SC2086 # names of namespaces and links have no blanks
# shellcheck disable=SC2016 # for awk
#
# 32-map-e: a host as the CE of its line ([MapE] Mode = self), as its users and
# their neighbours see it. The line and its border relay are tests/net/line's:
#
#    pc (CE) --- gw (a bridge) --- isp (border relay) --- srv, vps
#    pc, lan --- gw (CE)       --- isp (border relay) --- srv
#
# srv answers with what it was asked, and says who asked. vps has the other end
# of a tunnel. lan is a neighbour on the line's /64: the second CE. One line of
# output for a check; exit 0 when all hold, 77 when the machine has no
# namespaces or lacks a program.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
ukai=$build/client/ukai
br=$build/tests/ukai-test-br
line=$here/line
export UKAI_LINE_PREFIX=u32n$$
ns=$UKAI_LINE_PREFIX
work=$(mktemp -d "/tmp/$ns.XXXXXX")
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
# shellcheck source=tests/net/checks
. "$here/checks"
relay=2001:db8:ffff::64
ours=2001:db8:4634:3400
ce=$ours:c0:2:3400:3400
srv=198.51.100.10
tun=u32c$$   # also names of sockets: the same in no other namespace
tun2=u32d$$
far=u32r$$
host=pc      # where the client under test is
link=eth0
up_pid='' said_by=''

cleanup()
{
	"$line" down
	rm -f "/var/run/wireguard/$tun.sock" "/var/run/wireguard/$tun2.sock" \
	    "/var/run/wireguard/$far.sock"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

at()
{
	local n=$1
	shift
	timeout 30 ip netns exec "$ns-$n" "$@"
}

# In the background, until the line goes down.
start()
{
	local n=$1 name=$2
	shift 2
	: >"$work/$name.out"
	ip netns exec "$ns-$n" "$@" </dev/null >"$work/$name.out" 2>&1 &
}

not()
{
	! "$@"
}

says()
{
	grep -F -q -e "$1" "$work/said" || {
		echo "not said: $1"
		cat "$work/said"
		return 1
	}
}

# conf LINE...: what stands in [MapE] but for Mode; further sections as they
# are.
conf()
{
	{
		printf '[Interface]\nPrivateKey = %s\nAddress = 10.66.0.2/24\n' \
		    "$(cat "$work/key")"
		printf '[MapE]\nMode = self\n'
		[ $# = 0 ] || printf '%s\n' "$@"
	} >"$work/$tun.conf"
	chmod 600 "$work/$tun.conf"
}

ours_by_rules() { conf "Rules = $work/line.csv" "$@"; }
up() { exits "${1:-0}" at $host "$ukai" up -c "$work/$tun.conf"; }
down() { exits 0 at $host "$ukai" down; }

# With no more rights than ukai@.service gives.
rights=-all,+net_admin,+net_bind_service,+net_raw,+bpf
up_foreground()
{
	ip netns exec "$ns-$host" setpriv --bounding-set "$rights" \
	    "$ukai" up -f -c "$work/$tun.conf" </dev/null >"$work/said" 2>&1 &
	up_pid=$!
	until_true test -S "$UKAI_RUN_DIR/$tun.sock"
}

# ended CODE: what up_foreground started, within 5 s.
ended()
{
	until_true not kill -0 "$up_pid"
	wait "$up_pid"
	[ $? = "$1" ]
}

killed()
{
	kill -9 "$up_pid" && ! ended 0
}

status() { at $host "$ukai" status --json | jq -r ".tunnels[0].map_e$1"; }
drops() { status ".drops.\"$1\""; }
shown() { exits 0 at $host "$ukai" status && says "$1"; }
stat_of() { "$line" stats | awk -F= -v k="$1" '$1 == k { print $2 }'; }
ping_ok() { at $host ping -q -c 1 -W 1 "${1:-$srv}" >/dev/null; }
pings() { until_true ping_ok "$@"; }
ask() { ask_at "$host" "$@"; }
ask_at()
{
	local n=$1
	shift
	at "$n" /usr/bin/python3 "$work/net.py" "$@"
}

# Everything on the host that a CE could change. Left out: counters, lifetimes,
# what connection tracking adds when it is first used.
dump()
{
	at $host sh -c '
		ip addr; ip route show table all; ip -6 route show table all
		ip rule; ip -6 rule; nft list ruleset; tc qdisc
		sysctl -a 2>/dev/null | grep ^net | grep -v -e conntrack \
		    -e net.netfilter -e fs.' |
	    sed -e 's/packets [0-9]* bytes [0-9]*/packets N bytes N/' \
	        -e 's/expires [0-9]*sec//' | LC_ALL=C sort
}

remember() { dump >"$work/before"; }
unchanged()
{
	dump >"$work/after"
	diff "$work/before" "$work/after" &&
		not ls "$UKAI_STATE_DIR/$tun.journal" 2>/dev/null
}

has_address() { ip -n $ns-$host -6 addr show dev $link | grep -q "$ce"; }
has_map0() { ip -n $ns-$host link show ukai-map0; }

# serve: echo, TCP on 8000 after a line that says who asks, UDP on 53, 443 and
# 5000. who: what that says. many: PER connections to each of COUNT addresses,
# held open until it is killed; FILE says how many are. datagram: is it echoed?
# segments: super-packets. forwarded: a program that is asked.
cat >"$work/net.py" <<'EOF'
import os, selectors, socket, sys, time

def tcp_listen(sel, addr, port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, port))
    s.listen(1024)
    sel.register(s, selectors.EVENT_READ, "listen")

def udp_bind(sel, addr, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: no DF
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    s.bind((addr, port))
    sel.register(s, selectors.EVENT_READ, "udp")

def serve(tcp, udp, *addrs):
    sel = selectors.DefaultSelector()
    for p in tcp.split(","):
        tcp_listen(sel, "0.0.0.0", int(p))
    for a in addrs:
        for p in udp.split(","):
            udp_bind(sel, a, int(p))
    print("serving", flush=True)
    while True:
        for key, _ in sel.select():
            s = key.fileobj
            if key.data == "listen":
                c, who = s.accept()
                c.send(b"%s %d\n" % (who[0].encode(), who[1]))
                sel.register(c, selectors.EVENT_READ, "tcp")
            elif key.data == "udp":
                b, who = s.recvfrom(65536)
                s.sendto(b, who)
            else:
                try:
                    b = s.recv(65536)
                    if b:
                        s.setblocking(True)
                        s.sendall(b)
                except OSError:
                    b = b""
                if not b:
                    sel.unregister(s)
                    s.close()

def who(addr, port):
    s = socket.create_connection((addr, int(port)), 5)
    f = s.makefile("rwb")
    print(f.readline().decode().strip())
    f.write(b"again\n")
    f.flush()
    assert f.readline() == b"again\n"

def many(first, count, per, want, file):
    a, b = first.rsplit(".", 1)
    sel, n, said = selectors.DefaultSelector(), 0, 0
    for i in range(int(count) * int(per)):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("%s.%d" % (a, int(b) + i % int(count)), 8000))
        sel.register(s, selectors.EVENT_READ, None)
    end = time.monotonic() + 15
    extra = None
    while time.monotonic() < min(end, extra or end):
        for key, _ in sel.select(0.1):
            try:
                b = key.fileobj.recv(64)
            except OSError:
                b = b""
            if not b:
                sel.unregister(key.fileobj)
            elif b.endswith(b"\n") and key.data is None:
                key.fileobj.send(b"x")
                sel.modify(key.fileobj, selectors.EVENT_READ, 1)
                n += 1
            elif b == b"x":
                said += 1
        if said >= int(want) and extra is None:
            extra = time.monotonic() + 0.4
    open(file + ".new", "w").write("%d %d\n" % (n, said))
    os.rename(file + ".new", file)
    time.sleep(60)

def datagram(addr, port, length, *source):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 10, 0)
    if source:
        s.bind(("0.0.0.0", int(source[0])))
    s.connect((addr, int(port)))
    s.settimeout(1)
    b = os.urandom(int(length))
    for _ in range(3):
        try:
            s.send(b)
            assert s.recv(65536) == b
            return
        except TimeoutError:
            pass
    sys.exit("no answer")

def refused(addr, port):
    try:
        datagram(addr, port, "8")
    except ConnectionRefusedError:
        return
    sys.exit("not refused")

def segments(addr, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(17, 103, 1400)  # UDP_SEGMENT
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    s.connect((addr, int(port)))
    s.settimeout(2)
    s.send(bytes(20 * 1400))
    for _ in range(20):
        assert len(s.recv(65536)) == 1400

def stream(addr, port, length):
    s = socket.create_connection((addr, int(port)), 5)
    s.settimeout(10)
    b = os.urandom(int(length))
    f = s.makefile("rb")
    f.readline()
    pid = os.fork()
    if pid == 0:
        s.sendall(b)
        os._exit(0)
    assert f.read(len(b)) == b

globals()[sys.argv[1]](*sys.argv[2:])
EOF

# Packets from isp that say they are the border relay's. Prints of each case the
# drop that it is to be counted as, and how many packets that are.
cat >"$work/hostile.py" <<'EOF'
import os, socket, struct, sys

ce, relay, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)

# From whom nobody on the host has asked anything.
def ipv4(src="198.51.100.88", dst="192.0.2.52", proto=17, sport=53, dport=port,
         body=None, frag=0, total=None):
    if body is None:
        body = struct.pack("!HHHH", sport, dport, 20, 0) + bytes(12)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, total or 20 + len(body), 7,
                     frag, 64, proto, 0, socket.inet_aton(src),
                     socket.inet_aton(dst))
    s = sum(struct.unpack("!10H", ip))
    s = (s & 0xffff) + (s >> 16)
    return ip[:10] + struct.pack("!H", ~s & 0xffff) + ip[12:] + body

def send(inner, src=relay, nxt=4):
    head = struct.pack("!IHBB", 6 << 28, len(inner), nxt, 64)
    raw.sendto(head + socket.inet_pton(socket.AF_INET6, src) +
               socket.inet_pton(socket.AF_INET6, ce) + inner, (ce, 0))

def piece(inner, at, more, ident, src=relay):
    send(struct.pack("!BBHI", 4, 0, at | more, ident) + inner, src, 44)

# A packet of the CE's is too big, says who is not on its way: there is none.
def too_big(mtu):
    inner = ipv4("192.0.2.52", "198.51.100.77",
                 body=struct.pack("!HHHH", port, 5000, 1440, 0) + bytes(1432))
    addresses = [socket.inet_pton(socket.AF_INET6, a) for a in (ce, relay)]
    quote = struct.pack("!IHBB", 6 << 28, 1460, 4, 64) + b"".join(addresses)
    body = struct.pack("!BBHI", 2, 0, 0, mtu) + (quote + inner)[:1232]
    pseudo = addresses[1] + addresses[0] + struct.pack("!II", len(body), 58)
    s = sum(struct.unpack("!%dH" % ((len(pseudo) + len(body)) // 2),
                          pseudo + body))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    send(body[:2] + struct.pack("!H", ~s & 0xffff) + body[4:], nxt=58)

whole = ipv4()
cases = {
    "icmp": [lambda: too_big(1300)],
    "outer-source": [lambda: send(whole, "2001:db8:5::10"),
                     lambda: send(whole, ce[:-4] + "3500")],
    "inner-destination": [lambda: send(ipv4(dst="192.0.2.53")),
                          lambda: send(ipv4(dst="192.0.0.2")),
                          lambda: send(ipv4(dst="255.255.255.255"))],
    "port": [lambda: send(ipv4(dport=22)), lambda: send(ipv4(dport=4944)),
             lambda: send(ipv4(proto=1, body=bytes((0, 0, 0xff, 0xff)) +
                               bytes(8)))],
    "inner-source": [lambda a=a: send(ipv4(src=a, sport=port)) for a in (
        "192.0.2.52", "192.168.24.1", "10.0.0.1", "127.0.0.1", "224.0.0.1",
        "0.1.2.3", "192.0.0.2")],
    "nested": [lambda p=p: send(ipv4(proto=p, body=bytes(40)))
               for p in (4, 41, 47)],
    "no-session": [lambda: send(whole),
                   lambda: send(ipv4(proto=6, body=struct.pack(
                       "!HHIIHHHH", 80, port, 1, 0, 0x5002, 64, 0, 0)))],
    "inner-malformed": [lambda: send(whole[:12]),
                        lambda: send(ipv4(total=4000)),
                        lambda: send(b"\x60" + bytes(39))],
    "outer-header": [lambda n=n: send(bytes((4, 0, 1, 4, 0, 0, 0, 0)) + whole,
                                      nxt=n) for n in (0, 43, 60)],
    "fragment-overlap": [lambda: [piece(ipv4(total=4000)[:40], 0, 1, 1),
                                  piece(bytes(32), 32, 1, 1)]],
    "fragment-tiny": [lambda: piece(ipv4(total=4000)[:24], 0, 1, 2),
                      lambda: send(ipv4(proto=6, body=bytes(8), frag=0x2000))],
}
for name, l in cases.items():
    for one in l:
        one()
    print(name, len(l))
EOF

for program in wg nft jq setpriv iperf3 nc tc /usr/bin/python3; do
	command -v "$program" >/dev/null || skip "$program is not installed"
done
[ -x "$ukai" ] || { echo "not ok no $ukai: build first"; exit 1; }

# line_up ARGUMENT...: with srv's program, and the rule in a file.
line_up()
{
	local code=0 i
	"$line" up --ce self "$@" >"$work/out" 2>&1 || code=$?
	[ $code = 0 ] || { cat "$work/out"; exit $code; }
	"$line" rules >"$work/line.csv"
	for i in $(seq 100 149); do
		echo "addr add 198.51.100.$i/24 dev eth0"
	done | ip -n $ns-srv -b -
	start srv srv /usr/bin/python3 "$work/net.py" serve 8000,8001 \
	    53,443,5000 $srv 198.51.100.11
	until_true grep -q serving "$work/srv.out"
}

(umask 077 && "$ukai" genkey >"$work/key")

# ---- pc on an RA-only line ----

# The other end of the tunnel is any WireGuard peer.
start_peer()
{
	at vps "$ukai" genkey >"$work/far.key"
	start vps far "$ukai" device -f "$far"
	until_true test -S "/var/run/wireguard/$far.sock" || return 1
	at vps wg set "$far" private-key "$work/far.key" listen-port 51820 \
	    peer "$("$ukai" pubkey <"$work/key")" allowed-ips 10.66.0.2/32
	ip -n $ns-vps addr add 10.66.0.1/24 dev "$far"
	ip -n $ns-vps link set "$far" up
	start vps vps /usr/bin/python3 "$work/net.py" serve 8000 5000 10.66.0.1
}

# peer ENDPOINT: the sections of the tunnel.
peer()
{
	cat <<-END
	[Peer]
	PublicKey = $("$ukai" pubkey <"$work/far.key")
	AllowedIPs = 10.66.0.0/24, 203.0.113.10/32
	Endpoint = $1
	[Ukai]
	Routes = 203.0.113.10/32
	END
}

wrong_files()
{
	local at

	conf "Rules = line.csv" "Prefix = 192.0.2.0/24" \
	    "Forward = tcp/70000 192.0.0.2:80" \
	    "Networks = 192.168.24.0/24, 2001:db8::/32" \
	    "BorderRelay = 192.0.2.1" "Sesions = 5" "Mesh = perhaps" \
	    "HostPorts = 0"
	check "a wrong file: exit 2" up 2
	for at in 6:9 7:10 8:11 9:29 10:15 11:1 12:8 13:13; do
		check "a wrong file: $at is told" says "$tun.conf:$at: error: "
	done
	conf "Forward = tcp/4928 192.0.0.2:80" "Forward = tcp/4928 192.0.0.2:81"
	check "a port given away twice: exit 2" up 2
	check "and where" says "$tun.conf:7:11: error: Forward: port 4928"
	conf "Rule = 2001:db8:4600::/40, 192.0.2.0/24, 16, 4"
	check "Rule without BorderRelay: exit 2" up 2
	check "and says so" says "Rule needs BorderRelay"
	sed 's/,16,4,/,99,4,/' "$work/line.csv" >"$work/bad.csv"
	conf "Rules = $work/bad.csv"
	check "a wrong rule: exit 2" up 2
	check "and where" says "bad.csv:2:38: error: "
	conf "Rules = $work/none.csv"
	check "no rules file: an error" fails up 0
	check "and which" says "none.csv"
	ours_by_rules "Forward = tcp/4944 192.0.0.2:80"
	check "another line's port: exit 2" up 2
	check "and which" says "port 4944 is another line's"
	conf
	check "a line of no rule: exit 1" up 1
	check "and what to do" says "no IPv6 address of this host is of a MAP-E"
	conf "Prefix = 2001:db8:4634:3400::/56"
	check "a prefix of no rule: exit 1" up 1
	check "and what to do" says "no rule is about it"
	ours_by_rules "Link = eth7"
	check "no such link: exit 1" up 1
	check "and which" says "eth7"
	check "nothing has changed" unchanged
}

neighbour_has_it()
{
	local mac
	mac=$(at lan cat /sys/class/net/eth0/address)
	ip -n $ns-lan addr add "$ce/128" dev eth0 nodad
	ours_by_rules
	check "the address is another device's: exit 1" up 1
	check "and whose" says "(MAC $mac)"
	check "and nothing has changed" unchanged
	ip -n $ns-lan addr del "$ce/128" dev eth0
	at isp ip -6 neigh flush dev gw
}

# from_the_line ADDRESS: as srv sees who asks.
from_the_line() { ask who "$1" 8000 | grep -q "^192.0.2.52 "; }
from_the_tunnel() { ask who "$1" 8000 | grep -q "^10.66.0.2 "; }
echoed() { [ "$(cat "$work/many")" = "$1" ]; }
at_most() { read -r _ n <"$work/many" && [ "$n" -ge 20 ] && [ "$n" -le "$1" ]; }
too_long() { ! ask_ping "$@" && grep -q "mtu.*1460" "$work/ping"; }
ask_ping() { at $host ping -c 1 -W 1 "$@" >"$work/ping" 2>&1; }
hears() { ! ask_ping "$@" && grep -q "$said_by" "$work/ping"; }
cannot_connect() { ! at "$1" nc -z -w 1 "$2" "$3"; }
connects() { at "$1" nc -z -w 3 "$2" "$3"; }

traffic()
{
	check "ping" pings
	check "TCP, from the line's address" from_the_line $srv
	check "TCP up" at pc iperf3 -c $srv -n 20M
	check "TCP down" at pc iperf3 -c $srv -n 20M -R
	check "super-packets reach the relay whole" \
	    test "$(stat_of line_super_in)" -gt 50
	check "bytes are what they were, both ways" ask stream $srv 8000 3000000
	check "UDP" ask datagram $srv 5000 100
	check "UDP 53" ask datagram $srv 53 60
	check "UDP 443, 1432 bytes" ask datagram $srv 443 1432
	check "UDP in fragments, 4000 bytes" ask datagram $srv 5000 4000
	check "UDP in fragments, 30000 bytes" ask datagram $srv 5000 30000
	check "UDP super-packets" ask segments $srv 5000
	check "two programs with a port each, at the same time" two_programs
	check "1460 bytes with DF" until_true ask_ping -M "do" -s 1432 $srv
	check "1461 are told" too_long -M "do" -s 1433 $srv
	said_by="From 192.0.0.1 .*Time to live exceeded" \
	    check "traceroute: the first is us" hears -t 1 $srv
	said_by="Time to live exceeded" \
	    check "traceroute: the second is on the line" hears -t 2 $srv
	check "nobody listens: the program hears of it" ask refused $srv 9
	check "a private address stays here" fails ping_ok 192.168.99.1
	check "and is counted" test "$(drops stray)" -gt 0
}

# Their answers are their own.
two_programs()
{
	ask datagram $srv 5000 500 6001 & local one=$!
	ask datagram $srv 5000 500 6002 & local two=$!
	wait $one && wait $two
}

# RFC 7857 section 3: a port is used again toward other destinations.
many_connections()
{
	local busy

	start pc many /usr/bin/python3 "$work/net.py" many 198.51.100.100 50 \
	    12 600 "$work/many"
	check "600 connections to 50 destinations" until_true test -e \
	    "$work/many"
	check "all of them work" echoed "600 600"
	check "with no more ports than there are" \
	    test "$(status .tcp.ports_in_use)" -le 240
	same "none was refused" "$(drops no-port)" 0
	rm -f "$work/many"
	start pc more /usr/bin/python3 "$work/net.py" many 198.51.100.12 1 260 \
	    240 "$work/many"
	check "260 connections to one destination" until_true test -e \
	    "$work/many"
	check "240 of them work" echoed "240 240"
	check "another destination is not concerned" ask who 198.51.100.11 8000
	check "nor another port" ask who 198.51.100.12 8001
	busy=$(status '.tcp | [.ports_in_use, .busiest.address, .busiest.port,
	    .busiest.sessions, .refused > 0] | join(" ")')
	same "status tells" "$busy" "240 198.51.100.12 8000 240 true"
	check "and to people" shown "240 of 240 ports in use (240 at most)"
	check "with the destination" says "240 of them to 198.51.100.12:8000"
	check "and what found none" says "packets found no port"
}

hostile()
{
	local name n
	declare -A was

	at pc nft add table inet watch
	at pc nft add chain inet watch in \
	    '{ type filter hook prerouting priority -400 ; }'
	at pc nft add rule inet watch in iifname ukai-map0 counter
	at isp nft add table inet watch
	at isp nft add chain inet watch in \
	    '{ type filter hook prerouting priority -500 ; }'
	at isp nft add rule inet watch in ip6 saddr "$ce" \
	    icmpv6 type '!=' '{ nd-neighbor-solicit, nd-neighbor-advert }' counter
	all_drops >"$work/was"
	while read -r name n; do
		was[$name]=$n
	done <"$work/was"
	check "hostile packets leave" exits 0 at isp /usr/bin/python3 \
	    "$work/hostile.py" "$ce" $relay 4929
	cp "$work/said" "$work/sent"
	# They are counted in the order in which they leave.
	until_true tiny_ones $((${was[fragment-tiny]} + 2))
	all_drops >"$work/now"
	while read -r name n; do
		same "$(id_of "$name"): $name" "$(($(awk -v name="$name" \
		    '$1 == name { print $2 }' "$work/now") - ${was[$name]}))" "$n"
	done <"$work/sent"
	same "N7: the MTU is what it was" "$(status .mtu)" 1460
	same "the host has seen none of it" "$(counted pc)" 0
	same "and nobody was answered" "$(counted isp)" 0
	at pc nft delete table inet watch
	at isp nft delete table inet watch
}

# Whether a port that was not asked from outside is in use toward others is
# chance.
all_drops()
{
	status '.drops | .["no-session"] += .filtered | to_entries[] |
	    "\(.key) \(.value)"'
}

tiny_ones() { [ "$(drops fragment-tiny)" -ge "$1" ]; }

counted()
{
	at "$1" nft list chain inet watch in |
	    sed -n 's/.*counter packets \([0-9]*\) .*/\1/p'
}

id_of()
{
	case $1 in
	outer-source) echo D1 ;;
	inner-destination | port) echo D2 ;;
	inner-source) echo D3 ;;
	no-session) echo D4 ;;
	nested) echo D5 ;;
	fragment-*) echo D11 ;;
	icmp) echo N7 ;;
	*) echo D7 ;;
	esac
}

# The CE address is not an address of the host's for anybody else.
services()
{
	start pc service /usr/bin/nc -6 -l -k 8022
	check "a service of the host, by its own address" until_true \
	    connects isp $ours::10 8022
	check "not by the CE address" cannot_connect isp "$ce" 8022
	check "nor by the line's IPv4 address" cannot_connect srv 192.0.2.52 4930
	same "the CE address is no source" "$(at pc ip -j -6 route get $relay |
	    jq -r '.[0].prefsrc')" $ours::10
}

# Another configuration of this host that would be the CE, too.
another_client()
{
	sed "s|^Address.*|Address = 10.67.0.2/24|; /^Endpoint/d" \
	    "$work/$tun.conf" >"$work/$tun2.conf"
	chmod 600 "$work/$tun2.conf"
	check "a second CE on this host: exit 1" exits 1 at pc "$ukai" up \
	    -c "$work/$tun2.conf"
	check "and why" says "an interface ukai-map0 exists already"
	check "the first one goes on" pings
	check "and keeps the address" has_address
}

another_comes()
{
	local mac
	mac=$(at lan cat /sys/class/net/eth0/address)
	at lan sysctl -qw net.ipv6.conf.all.accept_dad=1 \
	    net.ipv6.conf.eth0.accept_dad=1
	ip -n $ns-lan addr add "$ce/128" dev eth0
	check "a second CE that comes later" until_true \
	    same_mac "$mac"
	check "status says so" shown "second CE"
	check "and whose it is" says "$mac says that it has this address"
	ip -n $ns-lan addr del "$ce/128" dev eth0
	check "and IPv4 goes on" pings
}

same_mac() { [ "$(status .address.rival_mac)" = "$1" ]; }

link_flaps()
{
	ip -n $ns-pc link set eth0 down
	sleep 0.2
	ip -n $ns-pc link set eth0 up
	ip -n $ns-pc addr add $ours::10/64 dev eth0 nodad
	ip -n $ns-pc route add default via $ours::1
	check "the link was taken down: the address is back" until_true \
	    has_address
	check "and IPv4 too" pings
}

with_tunnel()
{
	check "the far end of a tunnel" start_peer
	ours_by_rules
	peer '[2001:db8:5::10]:51820' >>"$work/$tun.conf"
	check "up" up
	check "without a word" test ! -s "$work/said"
	check "the tunnel, by IPv6" until_true ping_ok 10.66.0.1
	check "what the tunnel has goes by it" from_the_tunnel 203.0.113.10
	offload=$(status .offload)
	traffic
	same "the relay has dropped nothing" "$(stat_of border_drops)" 0
	many_connections
	hostile
	services
	another_client
	another_comes
	link_flaps
	check "what the tunnel has goes by it still" from_the_tunnel 203.0.113.10
	same "the relay has dropped nothing, at the end" \
	    "$(stat_of border_drops)" 0
	check "down" down
	check "all is as it was" unchanged
}

# What a neighbour sends to 192.0.0.2 by the link.
told_nothing()
{
	local before

	before=$(at pc awk '/^Icmp: [0-9]/ { print $2 }' /proc/net/snmp)
	ip -n $ns-pc addr add 192.168.98.1/24 dev eth0
	ip -n $ns-lan addr add 192.168.98.2/24 dev eth0
	ip -n $ns-lan route add 192.0.0.2 dev eth0
	at lan ping -q -c 1 -W 1 192.168.98.1
	at lan ping -q -c 1 -W 0.3 192.0.0.2
	ip -n $ns-lan addr del 192.168.98.2/24 dev eth0
	ip -n $ns-pc addr del 192.168.98.1/24 dev eth0
	[ "$(at pc awk '/^Icmp: [0-9]/ { print $2 }' /proc/net/snmp)" = \
	    $((before + 1)) ]
}

mtu_is() { [ "$(status .mtu)" = "$1" ]; }

# The link's MTU becomes another one, and the line's prefix, while it is up.
line_changes()
{
	ours_by_rules
	check "up in the foreground" up_foreground
	check "R1: 192.0.0.2 is not to be had by the link" told_nothing
	ip -n $ns-pc link set eth0 mtu 1400
	check "a smaller MTU of the link" until_true \
	    mtu_is 1360
	said_by="mtu *= *1360" check "is told" hears -M "do" -s 1432 $srv
	check "and what fits goes" ask_ping -M "do" -s 1332 $srv
	ip -n $ns-pc link set eth0 mtu 1500
	check "and the old one again" until_true \
	    mtu_is 1460
	ip -n $ns-pc link set ukai-map0 down
	ip -n $ns-pc link set ukai-map0 up
	check "ukai-map0 down and up: goes on" until_true ask_ping $srv
	ip -n $ns-pc addr add 2001:db8:4635:3400::10/64 dev eth0 nodad
	ip -n $ns-pc addr change $ours::10/64 dev eth0 nodad preferred_lft 0
	check "another prefix: it ends" until_true not kill -0 "$up_pid"
	check "to begin anew" ended 1
	check "and says why" says "the line's prefix is 2001:db8:4635:3400::/56"
	ip -n $ns-pc addr change $ours::10/64 dev eth0 nodad \
	    preferred_lft forever
	ip -n $ns-pc addr del 2001:db8:4635:3400::10/64 dev eth0
	check "all is as it was" unchanged
}

forwards()
{
	conf "Rule = 2001:db8:4600::/40, 192.0.2.0/24, 16, 4" \
	    "BorderRelay = $relay" "Prefix = 2001:db8:4634:3456::/64" \
	    "Forward = tcp/4928 192.0.0.2:8000" \
	    "Forward = udp/62287 192.0.0.2:5000" \
	    "[Peer]" "PublicKey = $("$ukai" genkey | "$ukai" pubkey)" \
	    "AllowedIPs = ::/0"
	start pc service2 /usr/bin/python3 "$work/net.py" serve 8000 5000 0.0.0.0
	check "up by Rule, BorderRelay and Prefix" up_foreground
	check "it works" pings
	same "super-packets as with all rights" "$(status .offload)" "$offload"
	check "a TCP forward" ask_at srv who 192.0.2.52 4928
	check "a UDP forward" ask_at srv datagram 192.0.2.52 62287 100
	check "and in fragments" ask_at srv datagram 192.0.2.52 62287 5000
	check "nothing but it" cannot_connect srv 192.0.2.52 4929
	check "::/0 in a tunnel: super-packets leave by the line" \
	    ask stream $srv 8000 3000000
	check "hairpin" ask who 192.0.2.52 4928
	check "hairpin of UDP" ask datagram 192.0.2.52 62287 100
	ip -n $ns-pc link del ukai-map0
	check "somebody deletes ukai-map0: it ends" ended 1
	check "and says so" says "somebody deleted ukai-map0"
	check "and all is as it was" unchanged
}

# A router with a smaller link, between the CE and a relay of vps.
small_link()
{
	local n=$ns-vps
	kill "$(cat /run/ukai-line-$ns/br.pid)"
	ip -n $ns-isp addr del $relay/128 dev lo
	ip -n $ns-isp link set vps mtu 1400
	ip -n $n link set eth0 mtu 1400
	ip -n $ns-isp route add $relay/128 via 2001:db8:5::10
	ip -n $ns-isp route replace 192.0.2.0/24 via 203.0.113.10
	ip -n $n addr add $relay/128 dev lo nodad
	at vps sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	at vps nft -f - <<-END
	table ip6 border {
		chain prerouting {
			type filter hook prerouting priority -450
			ip6 daddr $relay ip6 nexthdr != icmpv6 drop
		}
	}
	END
	at isp nft delete table ip6 border
	start vps br2 "$br" --br $relay --tun map0 --link eth0 \
	    --rule 2001:db8:4600::/40,192.0.2.0/24,16,4,draft03 \
	    --stats "$work/br2.stats"
	until_true ip -n $n link show map0 >/dev/null 2>&1
	ip -n $n link set map0 mtu 1460 txqueuelen 2000 up
	ip -n $n route add 192.0.2.0/24 dev map0
}

killed_hard()
{
	ours_by_rules
	check "up in the foreground" up_foreground
	check "killed" killed
	check "killed: the interface is gone" not has_map0
	same "killed: so are the tables" "$(at pc nft list tables)" ""
	check "killed: the address stays" has_address
	peer 203.0.113.10:51820 >>"$work/$tun.conf"
	check "up again, with a tunnel by IPv4" up
	check "and says what it found" says "undid"
	check "it works after that" pings
	check "so does the tunnel, by the CE" until_true ping_ok 10.66.0.1
	same "it fits into the CE's packets" \
	    "$(at pc cat "/sys/class/net/$tun/mtu")" 1380
	check "and what it has goes by it" from_the_tunnel 203.0.113.10
	small_link
	check "a smaller link: the relay is behind it" pings
	check "TCP finds out" at pc iperf3 -c $srv -n 5M
	same "the MTU inside" "$(status .mtu)" 1360
	check "1360 bytes with DF" until_true ask_ping -M "do" -s 1332 $srv
	said_by="mtu *= *1360" \
	    check "1361 are told" hears -M "do" -s 1333 $srv
	check "down" down
	check "all is as it was" unchanged
	check "up in the foreground" up_foreground
	check "killed" killed
	check "restore" exits 0 at pc "$ukai" restore
	check "all is as it was" unchanged
}

# The line's gateway is the CE: nothing of this runs.
no_ce()
{
	local mode
	for mode in "Mode = gateway" "# nothing"; do
		ours_by_rules
		sed -i "s/^Mode = self/$mode/; s/^Rules.*//" "$work/$tun.conf"
		[ "$mode" != "# nothing" ] || sed -i '/MapE/d' "$work/$tun.conf"
		peer '[2001:db8:5::10]:51820' >>"$work/$tun.conf"
		check "$mode: up" up
		check "$mode: no interface" not has_map0
		check "$mode: no CE address" not has_address
		same "$mode: status has nothing of it" "$(status "")" null
		check "$mode: nor to people" shown "$tun: up since"
		check "$mode: no word" not grep -q "MAP-E" "$work/said"
		check "$mode: down" down
	done
	check "all is as it was" unchanged
}

line_up
at pc sysctl -qw net.ipv6.conf.eth0.accept_dad=1
start srv iperf /usr/bin/iperf3 -s
remember
wrong_files
neighbour_has_it
# From here on the kernel's check for a duplicate is a quick one.
at pc sysctl -qw net.ipv6.neigh.eth0.retrans_time_ms=200 \
    net.ipv6.conf.eth0.router_solicitation_delay=0
remember
with_tunnel
forwards
line_changes
killed_hard
no_ce

# ---- gw, and a LAN behind it ----

host=gw link=wan

gateway()
{
	local what=$1

	at gw sysctl -qw net.ipv4.ip_forward=0
	remember
	start pc pc /usr/bin/python3 "$work/net.py" serve 8000 5000 192.168.24.10
	ours_by_rules "Networks = 192.168.24.0/24" "HostSessions = 30" \
	    "Forward = tcp/9024 192.168.24.10:8000" \
	    "Forward = udp/9025 192.168.24.10:5000"
	check "$what: up, without a [Peer]" up
	check "$what: and without a word" test ! -s "$work/said"
	same "$what: net.ipv4.ip_forward" \
	    "$(at gw sysctl -n net.ipv4.ip_forward)" 1
	check "$what: the gateway itself" pings
	check "$what: a host behind it" until_true at lan ping -q -c 1 \
	    -W 1 $srv
	check "$what: its TCP" ask_at lan stream $srv 8000 1000000
	check "$what: its UDP, in fragments" ask_at lan datagram $srv 5000 5000
	check "$what: TCP to a host behind it" ask_at srv who 192.0.2.52 9024
	check "$what: UDP to it" ask_at srv datagram 192.0.2.52 9025 3000
	check "$what: hairpin between hosts" ask_at lan who 192.0.2.52 9024
}

gateway_more()
{
	at lan ping -c 1 -W 1 -M "do" -s 1433 $srv >"$work/ping"
	check "1461 bytes of a host are told" grep -q "mtu = 1460" "$work/ping"
	rm -f "$work/many"
	start pc many2 /usr/bin/python3 "$work/net.py" many 198.51.100.100 50 1 \
	    20 "$work/many"
	check "50 sessions of one host" until_true test -e "$work/many"
	check "N9: its limit is 30" at_most 30
	check "N9: others go on" ask_at lan who $srv 8000
	check "N9: counted" test "$(drops host-limit)" -gt 0
	ip -n $ns-lan addr add 10.9.9.9/32 dev lo
	ip -n $ns-gw route add 10.9.9.9/32 via 192.168.24.101
	check "who is of no Network is not served" fails at lan ping -q -c 1 \
	    -W 1 -I 10.9.9.9 $srv
	ip -n $ns-gw route del 10.9.9.9/32
	check "and counted" test "$(drops stray)" -gt 0
	same "the relay has dropped nothing" "$(stat_of border_drops)" 0
}

line_up --ce-host gw --pd --iid rfc7597
sed -i s/draft03/rfc7597/ "$work/line.csv"
ce=$ours:0:c000:234:34
gateway "gw, /56 routed"
gateway_more
check "down" down
check "all is as it was, net.ipv4.ip_forward too" unchanged

line_up --ce-host gw --ra-only
ce=$ours:c0:2:3400:3400
gateway "gw, /64 on-link"
check "down" down
check "all is as it was, net.ipv4.ip_forward too" unchanged

exit $failed
