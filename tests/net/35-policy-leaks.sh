#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
#
# 35-policy-leaks: is anything of a tunnel! or block flow ever seen on the line?
#
#    lan -------------- pc ---------------- rt ---------------- vps
#     192.168.24.10  .1    192.0.2.10   192.0.2.1 |  203.0.113.1  the relay
#                          2001:db8:1::10   ::1   |
#                                                 net
#                             198.51.100.1 to .9, 2001:db8:9::1 to ::9
#
# net is the internet: its servers tell who calls, so a flow by the tunnel is
# known by the relay's address, a native one by pc's. rt is the line, and where
# leaks are looked for while pc and the LAN do all they can to have one: odd
# sockets, and a policy that starts, ends, reloads, is killed, and whose tables,
# routes and interface others take away. One line of output for a check; exit 0
# when all hold, 77 when the machine lacks something.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
ukai=${UKAI:-$build/client/ukai}
support=$build/tests
pc=ukt35-$$-pc
lan=ukt35-$$-lan
rt=ukt35-$$-rt
vps=ukt35-$$-vps
net=ukt35-$$-net
tun=u35c$$
far=u35r$$
work=$(mktemp -d "/tmp/ukt35.XXXXXX")
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
# shellcheck source=tests/net/checks
. "$here/checks"
up_pid='' watch_pid=''

cleanup()
{
	local ns pid

	ip netns exec "$pc" "$ukai" down "$tun" >/dev/null 2>&1
	ip netns exec "$pc" "$ukai" restore "$tun" >/dev/null 2>&1
	for ns in "$pc" "$lan" "$rt" "$vps" "$net"; do
		for pid in $(ip netns pids "$ns" 2>/dev/null); do
			kill -9 "$pid"
		done
		ip netns del "$ns" 2>/dev/null
		rm -rf "/etc/netns/$ns"
	done
	rmdir /etc/netns 2>/dev/null
	rm -f "/var/run/wireguard/$tun.sock" "/var/run/wireguard/$far.sock"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

on_pc() { timeout 60 ip netns exec "$pc" "$@"; }
on_rt() { timeout 60 ip netns exec "$rt" "$@"; }
on_vps() { timeout 60 ip netns exec "$vps" "$@"; }
on_net() { timeout 60 ip netns exec "$net" "$@"; }

# wire NS1 LINK1 ADDRESS NS2 LINK2 ADDRESS
wire()
{
	ip link add "$2" netns "$1" type veth peer name "$5" netns "$4" &&
		ip -n "$1" addr add "$3" dev "$2" &&
		ip -n "$4" addr add "$6" dev "$5" &&
		ip -n "$1" link set "$2" up && ip -n "$4" link set "$5" up
}

make_world()
{
	local ns i

	for ns in "$pc" "$lan" "$rt" "$vps" "$net"; do
		ip netns add "$ns" || return 1
		ip netns exec "$ns" sysctl -q -w net.ipv6.conf.all.accept_ra=0 \
		    net.ipv6.conf.default.accept_ra=0 \
		    net.ipv6.conf.default.accept_dad=0
		ip -n "$ns" link set lo up
	done
	wire "$pc" wan 192.0.2.10/24 "$rt" line 192.0.2.1/24 || return 1
	wire "$pc" lan0 192.168.24.1/24 "$lan" eth0 192.168.24.10/24
	wire "$vps" eth0 203.0.113.1/24 "$rt" dc 203.0.113.254/24
	wire "$net" eth0 198.51.100.1/24 "$rt" inet 198.51.100.254/24
	ip -n "$pc" addr add 2001:db8:1::10/64 dev wan nodad
	ip -n "$rt" addr add 2001:db8:1::1/64 dev line nodad
	ip -n "$net" addr add 2001:db8:9::1/64 dev eth0 nodad
	ip -n "$rt" addr add 2001:db8:9::fe/64 dev inet nodad
	for i in 2 3 4 5 6 7 8 9; do
		ip -n "$net" addr add "198.51.100.$i/24" dev eth0
		ip -n "$net" addr add "2001:db8:9::$i/64" dev eth0 nodad
	done
	ip -n "$pc" route add default via 192.0.2.1
	ip -n "$pc" -6 route add default via 2001:db8:1::1
	ip -n "$lan" route add default via 192.168.24.1
	ip -n "$vps" route add default via 203.0.113.254
	ip -n "$net" route add default via 198.51.100.254
	ip -n "$net" -6 route add default via 2001:db8:9::fe
	ip -n "$rt" route add 192.168.24.0/24 via 192.0.2.10
	on_rt sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on_vps sysctl -q -w net.ipv4.ip_forward=1
	on_vps nft -f - <<-EOF
	table ip nat {
		chain post {
			type nat hook postrouting priority srcnat;
			oifname eth0 ip saddr 10.66.0.0/24 masquerade
		}
	}
	EOF
	for ns in "$pc" "$lan"; do
		mkdir -p "/etc/netns/$ns"
		echo "nameserver 192.0.2.1" >"/etc/netns/$ns/resolv.conf"
	done
}

# The internet's servers, TCP and UDP: a line with the caller's address, and
# whatever is sent comes back.
start_servers()
{
	cat >"$work/who.py" <<-'EOF'
	import socket, socketserver, threading
	class Tcp(socketserver.BaseRequestHandler):
	    def handle(self):
	        who = self.client_address[0].removeprefix("::ffff:")
	        self.request.sendall((who + "\n").encode())
	        while data := self.request.recv(65536):
	            self.request.sendall(data)
	class Server(socketserver.ThreadingTCPServer):
	    address_family = socket.AF_INET6
	    allow_reuse_address = daemon_threads = True
	    request_queue_size = 128
	for port in 80, 443, 8080:
	    s = Server(("::", port), Tcp)
	    threading.Thread(target=s.serve_forever).start()
	print("ready", flush=True)
	EOF
	ip netns exec "$net" /usr/bin/python3 "$work/who.py" \
	    >"$work/who.out" 2>"$work/who.err" &
	eventually 5 grep -q ready "$work/who.out"
}

# A server that has what $work/zone says: NAME TYPE VALUE [TTL] a line, read
# for each question; UDP. What it was asked is in $work/asked.
start_dns()
{
	cat >"$work/dns.py" <<-'EOF'
	import ipaddress, socket, struct, sys
	def wire(name):
	    return b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"
	def name_at(q, at):
	    l = []
	    while q[at]:
	        l.append(q[at + 1:at + 1 + q[at]].decode())
	        at += 1 + q[at]
	    return ".".join(l).lower(), at + 1
	types = {"A": 1, "CNAME": 5, "AAAA": 28}
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.bind((sys.argv[3], 53))
	print("bound", flush=True)
	while True:
	    q, who = s.recvfrom(4096)
	    name, end = name_at(q, 12)
	    kind = struct.unpack(">H", q[end:end + 2])[0]
	    print(name, kind, who[0], file=open(sys.argv[2], "a"), flush=True)
	    zone = [l.split() for l in open(sys.argv[1]) if l.strip()]
	    rr = b""
	    n = 0
	    known = any(z[0] == name for z in zone)
	    for _ in range(4):
	        more = None
	        for z in zone:
	            t = types[z[1]]
	            if z[0] != name or t not in (kind, 5):
	                continue
	            data = wire(z[2]) if t == 5 else ipaddress.ip_address(z[2]).packed
	            rr += wire(name) + struct.pack(">HHIH", t, 1, int(z[3]) if len(z) > 3 else 60, len(data)) + data
	            n += 1
	            if t == 5:
	                more = z[2]
	        if not more:
	            break
	        name = more
	    s.sendto(q[:2] + (b"\x81\x80" if known else b"\x81\x83") + struct.pack(">HHHH", 1, n, 0, 0) + q[12:end + 4] + rr, who)
	EOF
	: >"$work/asked"
	ip netns exec "$rt" /usr/bin/python3 "$work/dns.py" "$work/zone" \
	    "$work/asked" 192.0.2.1 >"$work/dns.out" 2>"$work/dns.err" &
	eventually 5 grep -q bound "$work/dns.out"
}

start_relay()
{
	ip netns exec "$vps" "$ukai" device -f "$far" >"$work/relay.out" 2>&1 &
	eventually 5 test -S "/var/run/wireguard/$far.sock" || return 1
	on_vps wg set "$far" private-key "$work/vps.key" listen-port 51820 \
	    peer "$(cat "$work/pc.pub")" allowed-ips 10.66.0.2/32
	ip -n "$vps" addr add 10.66.0.1/24 dev "$far"
	ip -n "$vps" link set "$far" up
}

conf()
{
	cat >"$work/$tun.conf" <<-EOF
	[Interface]
	PrivateKey = $(cat "$work/pc.key")
	Address = 10.66.0.2/32
	[Peer]
	PublicKey = $(cat "$work/vps.pub")
	AllowedIPs = 0.0.0.0/0
	Endpoint = 203.0.113.1:51820
	[Ukai]
	Policy = $work/office.rules
	LocalNetworks = 192.168.24.0/24
	Networks = 192.168.24.0/24
	EOF
	chmod 600 "$work/$tun.conf"
}

rules() { printf '%s\n' "$@" >"$work/office.rules"; }

up()
{
	ip netns exec "$pc" "$ukai" up --foreground -c "$work/$tun.conf" \
	    >"$work/up.out" 2>&1 &
	up_pid=$!
	eventually 10 test -S "$UKAI_RUN_DIR/$tun.sock" && answers
}
down() { on_pc "$ukai" down "$tun"; wait "$up_pid"; }
kill_nine() { kill -9 "$up_pid"; wait "$up_pid" 2>/dev/null; true; }

json() { on_pc "$ukai" status --json | jq -c ".tunnels[0].policy$1"; }
is_live() { [ "$(json .live)" = "$1" ]; }
answers() { eventually 10 is_live true; }

# Who calls, as ADDRESS[:PORT] or a name sees it; or why nobody does.
calls() # NS TARGET [PORT]: who calls, or why nobody does
{
	timeout 10 ip netns exec "$1" /usr/bin/python3 -c '
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 8)
    print(s.makefile().readline().strip())
except OSError as e:
    print(e.strerror or e)' "$2" "${3:-80}" 2>&1
}
by() { same "$1" "$(calls "${4:-$pc}" "$2" "${5:-80}")" "$3"; }
is_by() { [ "$(calls "$pc" "$1")" = "$2" ]; }
tunnel=203.0.113.1
native=192.0.2.10
refused='Connection refused'

watch_leaks() # FORBIDDEN...
{
	ip netns exec "$rt" "$support/ukai-test-leak-watch" line "$@" \
	    >"$work/leaks" 2>&1 &
	watch_pid=$!
	eventually 5 grep -q ready "$work/leaks"
}
no_leaks()
{
	kill "$watch_pid"
	wait "$watch_pid" || {
		cat "$work/leaks"
		return 1
	}
}

line_cuts()
{
	on_rt nft -f - <<-EOF
	table inet cut {
		chain f {
			type filter hook forward priority 0;
			udp dport 51820 drop
			udp sport 51820 drop
		}
	}
	EOF
}
line_heals() { on_rt nft delete table inet cut; }

for program in wg nft jq curl dig /usr/bin/python3; do
	command -v "$program" >/dev/null || skip "$program is not installed"
done
[ -x "$ukai" ] || { echo "not ok no $ukai: build first"; exit 1; }
if [ ! -c /dev/net/tun ] || ! make_world 2>"$work/out"; then
	skip "no namespaces, veth, nftables or /dev/net/tun"
fi
(
	umask 077
	for who in pc vps; do
		wg genkey >"$work/$who.key"
		wg pubkey <"$work/$who.key" >"$work/$who.pub"
	done
)
label=$(printf 'x%.0s' $(seq 60))
cat >"$work/zone" <<EOF
backup.example A 198.51.100.2
backup.example AAAA 2001:db8:9::2
other.backup.example A 198.51.100.5
$label.$label.backup.example A 198.51.100.4
EOF
check "the relay starts" start_relay
check "the servers start" start_servers
check "the DNS server starts" start_dns
dump()
{
	on_pc sh -c 'ip addr; ip rule; ip route show table all; nft list ruleset
	    sysctl -a 2>/dev/null | grep ^net | grep -v -e conntrack \
	    -e net.netfilter; cat /etc/resolv.conf' |
	    sed 's/expires [0-9]*sec//' | LC_ALL=C sort
}
dump >"$work/before"
base=('DOMAIN-SUFFIX,backup.example,tunnel!' 'IP-CIDR,198.51.100.6/32,tunnel!'
    'IP-CIDR,198.51.100.7/32,block' 'IP-CIDR,198.51.100.8/32,tunnel'
    'IP-CIDR,2001:db8:9::6/128,tunnel!' 'PROCESS-NAME,ukt35prog,tunnel!')
forbidden=(198.51.100.2 198.51.100.4 198.51.100.5 198.51.100.6 198.51.100.7
    2001:db8:9::2 2001:db8:9::6 198.51.100.9:8080)
rules "${base[@]}" 'DEFAULT,native'
conf
cp /usr/bin/curl "$work/ukt35prog"

# ---- what began before the start ----

# Each line that it reads makes it send once more by all of its sockets.
cat >"$work/old.py" <<'EOF'
import socket, sys
far = "198.51.100.6"
talking = socket.create_connection((far, 80), 5)
file = talking.makefile()
file.readline()
silent = socket.create_connection((far, 443), 5)
silent.makefile().readline()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 4444))
quiet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
quiet.connect((far, 9999))
def asked(s, to):
    try:
        s.settimeout(1)
        s.sendto(b"who", to)
        return s.recv(100).decode()
    except OSError:
        return "nobody"
def said(s):
    try:
        s.settimeout(2)
        s.sendall(b"x")
        return "lives" if s.recv(10) else "ended"
    except ConnectionError:
        return "ended"
    except OSError as e:
        return str(e)
print("before", asked(udp, (far, 9999)), said(talking), flush=True)
sys.stdin.readline()
print("tcp", said(talking), said(silent), flush=True)
print("udp", [asked(udp, (far, 9999)) for _ in range(3)][-1],
    [asked(quiet, (far, 9999)) for _ in range(3)][-1], flush=True)
EOF
cat >"$work/udp.py" <<'EOF'
import socket, threading
def serve(s):
    while True:
        who = s.recvfrom(4096)[1]
        s.sendto(who[0].encode(), who)
for i in range(1, 10):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("198.51.100.%d" % i, 9999))
    threading.Thread(target=serve, args=(s,)).start()
print("ready", flush=True)
EOF
ip netns exec "$net" /usr/bin/python3 "$work/udp.py" >"$work/udp.out" 2>&1 &
check "the servers of UDP start" eventually 5 grep -q ready "$work/udp.out"
mkfifo "$work/in"
on_pc /usr/bin/python3 "$work/old.py" <"$work/in" >"$work/old" 2>&1 &
old_pid=$!
exec 7>"$work/in"
check "flows begin before there is a policy" eventually 5 \
    grep -q "^before $native lives" "$work/old"
check "up" up
watch_leaks "${forbidden[@]}"
echo >&7
exec 7>&-
wait $old_pid
same "R8: TCP of tunnel! from before ends at once" \
    "$(grep ^tcp "$work/old")" "tcp ended ended"
same "R8: UDP of tunnel! from before goes on by the tunnel" \
    "$(grep ^udp "$work/old")" "udp $tunnel $tunnel"

# ---- odd sockets ----

cat >"$work/odd.py" <<'EOF'
import socket, struct, sys
far = "198.51.100.6"
line, source = sys.argv[1:3]
def tell(name, what):
    try:
        print(name, what(), flush=True)
    except OSError:
        print(name, "refused", flush=True)
def tcp(far=far, family=socket.AF_INET, option=None, source="", proto=0):
    s = socket.socket(family, socket.SOCK_STREAM, proto)
    s.settimeout(1)
    if option:
        s.setsockopt(*option)
    if source:
        s.bind((source, 0))
    s.connect((far, 80))
    return s.makefile().readline().strip()
def udp(far=far, size=3, option=None):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    if option:
        s.setsockopt(*option)
    s.sendto(b"x" * size, (far, 9999))
    return s.recv(100).decode()
def raw(proto, data, far=far, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_RAW, proto)
    s.sendto(data, (far, 0))
    return "sent"
def segment(flags):
    return struct.pack(">HHIIBBHHH", 1234, 80, 1, 1, 0x50, flags, 9, 0, 0)
link = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, line.encode() + b"\0")
tell("plain", tcp)
tell("link", lambda: tcp(option=link))
tell("source", lambda: tcp(source=source))
tell("mark", lambda: tcp(option=(socket.SOL_SOCKET, socket.SO_MARK, 0xff0001)))
tell("mapped", lambda: tcp("::ffff:" + far, socket.AF_INET6))
tell("mptcp", lambda: tcp(proto=262))
tell("ipv6", lambda: tcp("2001:db8:9::6", socket.AF_INET6))
tell("udp", udp)
tell("fragments", lambda: udp(size=4000))
tell("udp-link", lambda: udp(option=link))
tell("block", lambda: tcp("198.51.100.7"))
for data in segment(0x10), segment(0x3f), segment(0x12), segment(0x11), b"abc":
    tell("raw-tcp", lambda: raw(6, data))
for proto in 4, 41, 47, 50, 132, 254:
    tell("raw", lambda: raw(proto, b"x" * 40))
tell("raw-icmp", lambda: raw(1, b"\3\3\0\0" + b"\0" * 40))
tell("raw-icmp6", lambda: raw(58, b"\x80\0\0\0abcd", "2001:db8:9::6",
    socket.AF_INET6))
many = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(1, 10):
    for port in 53, 123, 443, 9999:
        try:
            many.sendto(b"x" * 20, ("198.51.100.%d" % i, port))
        except OSError:
            pass
EOF
by "R8: a name" backup.example $tunnel
by "R8: a name of 134 characters" "$label.$label.backup.example" $tunnel
by "R8: one more name" other.backup.example $tunnel
on_pc /usr/bin/python3 "$work/odd.py" wan $native >"$work/odd" 2>&1
odd() { same "live: a socket: $1" "$(grep "^$1 " "$work/odd")" "$1 $2"; }
odd plain $tunnel
odd link refused
odd source $tunnel
odd mark $tunnel
odd mapped $tunnel
odd ipv6 refused
odd udp $tunnel
odd fragments $tunnel
odd udp-link refused
odd block refused
ip netns exec "$lan" /usr/bin/python3 "$work/odd.py" eth0 192.168.24.10 \
    >"$work/odd" 2>&1
same "live: the LAN's fragments" "$(grep ^fragments "$work/odd")" \
    "fragments $tunnel"
same "live: by program" "$(on_pc timeout 5 "$work/ukt35prog" -s --http0.9 \
    -m 1 http://198.51.100.9:8080/ | head -1)" $tunnel

# ---- what is said of the tunnel on the line ----

ip -n "$rt" route add 10.66.0.2/32 dev line
check "R1: nobody on the line reaches the tunnel's address" \
    fails on_rt ping -c 1 -W 1 10.66.0.2
check "R2: nor is told that it is here" fails sh -c \
    "ip -n $rt neigh show 10.66.0.2 | grep -q lladdr"
ip -n "$rt" route del 10.66.0.2/32 dev line

# ---- routes that others make ----

ip -n "$pc" route add 0.0.0.0/1 via 192.0.2.1
ip -n "$pc" route add 198.51.100.6/32 via 192.0.2.1 metric 1
ip -n "$pc" route add default via 192.0.2.1 metric 1 2>/dev/null
by "R3: more specific routes do not take tunnel! away" 198.51.100.6 $tunnel
by "R3: nor the LAN's" 198.51.100.6 $tunnel "$lan"
ip -n "$pc" route del 0.0.0.0/1
ip -n "$pc" route del 198.51.100.6/32
ip -n "$pc" route del default metric 1 2>/dev/null
ip -n "$pc" addr add 198.51.100.200/24 dev wan
by "R5: a network of the line's does not make it local" 198.51.100.6 $tunnel
ip -n "$pc" addr del 198.51.100.200/24 dev wan
by "R6: the relay's address is nobody's way out" 203.0.113.1 "$refused"

# ---- what others take away ----

on_pc ip rule del priority 5000
on_pc ip rule del priority 5000
on_pc ip route flush table 52820
check "rules and routes are put back" eventually 5 is_by 198.51.100.6 $tunnel
on_pc nft flush ruleset
stands() { on_pc nft list table inet "ukai-$tun-guard"; }
check "the guard is put back" eventually 5 stands
by "and takes names again" backup.example $tunnel
kill_nine
by "R8: killed: a name's address is refused" 198.51.100.2 "$refused"
check "R8: killed: odd sockets are refused" on_pc /usr/bin/python3 \
    "$work/odd.py" wan $native
by "R8: killed: the LAN's as well" 198.51.100.6 "$refused" "$lan"
check "up again" up
by "R8: a name's address from before" 198.51.100.2 $tunnel
by "R8: that of the long name, too" 198.51.100.4 $tunnel

# ---- reloads and kills while everybody calls ----

cat >"$work/hammer.py" <<'EOF'
import collections, os, socket, sys, threading, time
seen = collections.Counter()
def call(kind, far):
    while not os.path.exists(sys.argv[1]):
        try:
            s = socket.socket(socket.AF_INET, kind)
            s.settimeout(1)
            s.connect((far, 80 if kind == socket.SOCK_STREAM else 9999))
            if kind == socket.SOCK_DGRAM:
                s.send(b"who")
            seen[s.recv(100).decode().strip()] += 1
            s.close()
        except OSError:
            seen["nobody"] += 1
        time.sleep(.01)
threads = [threading.Thread(target=call, args=(k, "198.51.100.%d" % i))
    for k in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for i in (2, 6, 7)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(seen["192.0.2.10"] + seen["192.168.24.10"], seen["203.0.113.1"])
EOF
on_pc /usr/bin/python3 "$work/hammer.py" "$work/enough" >"$work/hammer" 2>&1 &
hammer_pid=$!
ip netns exec "$lan" timeout 60 /usr/bin/python3 "$work/hammer.py" \
    "$work/enough" >"$work/hammer-lan" 2>&1 &
hammer_lan_pid=$!
reload() { on_pc "$ukai" policy reload "$tun"; }
for i in 1 2 3 4; do
	rules 'DOMAIN,backup.example,tunnel!' 'IP-CIDR,198.51.100.0/29,tunnel!' \
	    'DEFAULT,native'
	check "reload ($i): other rules for the same" reload
	rules "${base[@]}" 'BOGUS,1,tunnel'
	check "reload ($i): a bad file" fails reload
	rules 'DOMAIN-KEYWORD,backup,block' "${base[@]}" 'DEFAULT,native'
	check "reload ($i): blocked" reload
	rules "${base[@]}" 'DEFAULT,native'
	check "reload ($i): as before" reload
done
for i in 1 2 3 4 5 6; do
	kill_nine
	[ "$((i % 3))" = 0 ] &&
		on_pc "$ukai" restore --keep-guard "$tun" >/dev/null 2>&1
	ip netns exec "$pc" "$ukai" up --foreground -c "$work/$tun.conf" \
	    >"$work/up.out" 2>&1 &
	up_pid=$!
	sleep 0.$((RANDOM % 5))
done
kill_nine
check "killed at any moment of a start: up again" up
touch "$work/enough"
wait $hammer_pid $hammer_lan_pid
check "somebody has called meanwhile, nobody by the line" grep -q "^0 [1-9]" \
    "$work/hammer"
check "nor the LAN" grep -q "^0 [1-9]" "$work/hammer-lan"

# ---- the relay is away for a while ----

cat >"$work/long.py" <<'EOF'
import socket, sys
s = socket.create_connection(("198.51.100.6", 80), 5)
f = s.makefile("rw")
print(f.readline().strip(), flush=True)
for line in sys.stdin:
    f.write(line)
    f.flush()
    print(f.readline().strip(), flush=True)
EOF
on_pc /usr/bin/python3 "$work/long.py" <"$work/in" >"$work/long" 2>&1 &
exec 7>"$work/in"
check "a long connection of tunnel!" eventually 5 grep -q $tunnel "$work/long"
line_cuts
check "no relay: tunnel goes native" eventually 6 is_by 198.51.100.8 $native
by "no relay: tunnel! is refused" 198.51.100.6 "$refused"
on_pc /usr/bin/python3 "$work/odd.py" wan $native >"$work/odd" 2>&1
same "no relay: nobody is answered" \
    "$(grep -c -e $native -e $tunnel "$work/odd")" 0
line_heals
check "the relay is back: tunnel!" eventually 5 is_by 198.51.100.6 $tunnel
echo still >&7
check "the relay is back: the long connection goes on" eventually 5 \
    grep -q still "$work/long"
exec 7>&-

# ---- somebody deletes the interface ----

ip -n "$pc" link del "$tun"
wait "$up_pid"
by "R8: the interface is deleted: tunnel! stays refused" \
    198.51.100.6 "$refused"
same "R8: by program as well" "$(on_pc timeout 5 "$work/ukt35prog" -s \
    --http0.9 -m 1 http://198.51.100.9:8080/ | head -1)" ""
check "R1 to R8: nothing of it was seen on the line" no_leaks
check "restore ends that" on_pc "$ukai" restore "$tun"
by "restored: native" 198.51.100.6 $native
dump >"$work/after"
check "restored: the host is as it was" diff "$work/before" "$work/after"
exit $failed
