#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
#
# 34-policy: ukai up with a policy, seen from outside.
#
#    lan -------------- pc ---------------- rt ---------------- vps
#     192.168.24.10  .1    192.0.2.10   192.0.2.1 |  203.0.113.1  the relay
#                          2001:db8:1::10   ::1   |
#                                                 net
#                             198.51.100.1 to .9, 2001:db8:9::1 to ::9
#
# net is the internet: its servers tell who calls, so a flow by the tunnel is
# known by the relay's address, a native one by pc's. rt is the line, its DNS
# server, and where leaks are looked for. One line of output for a check; exit 0
# when all hold, 77 when the machine lacks something.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
ukai=${UKAI:-$build/client/ukai}
support=$build/tests
pc=ukt34-$$-pc
lan=ukt34-$$-lan
rt=ukt34-$$-rt
vps=ukt34-$$-vps
net=ukt34-$$-net
tun=u34c$$
far=u34r$$
work=$(mktemp -d "/tmp/ukt34.XXXXXX")
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

conf() # [LINE...] of [Ukai]
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
	printf '%s\n' "$@" >>"$work/$tun.conf"
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
calls() # NS TARGET [PORT]
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
tunnel=203.0.113.1
native=192.0.2.10
native6=2001:db8:1::10
refused='Connection refused'

# The line loses all datagrams to and from the relay, or not.
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

for program in wg nft jq curl dig conntrack /usr/bin/python3; do
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
cat >"$work/zone" <<EOF
backup.example A 198.51.100.2
backup.example AAAA 2001:db8:9::2
www.example A 198.51.100.3
www.example AAAA 2001:db8:9::3
alias.example CNAME deep.cloud.example
deep.cloud.example A 198.51.100.4
shared-a.example A 198.51.100.5
shared-b.test A 198.51.100.5
evil.backup.example A 192.168.24.10
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
by "before: native" 198.51.100.1 $native
dump >"$work/before"

# ---- a file that does not hold ----

rules 'DOMAN,backup.example,tunnel' 'IP-CIDR,10.0.0.0/33,native'
conf
exits 2 on_pc "$ukai" up -c "$work/$tun.conf"
check "a bad policy: both lines are told" grep -q "rules:1:1:.*DOMAIN" "$work/said"
check "a bad policy: and the second" grep -q "rules:2:9:" "$work/said"
dump >"$work/after"
check "a bad policy: nothing has changed" diff "$work/before" "$work/after"

# ---- by address, by name, by program ----

rules '# office' 'IP-CIDR,198.51.100.1/32,native' \
    'DOMAIN-SUFFIX,backup.example,tunnel!' \
    'DOMAIN-SUFFIX,shared-a.example,tunnel' \
    'DOMAIN-SUFFIX,shared-b.test,native' \
    'DOMAIN-SUFFIX,cloud.example,tunnel' \
    'IP-CIDR,198.51.100.6/32,tunnel!,dport=443' \
    'IP-CIDR,198.51.100.7/32,block' 'IP-CIDR,198.51.100.8/32,tunnel' \
    'PROCESS-NAME,ukt34prog,tunnel' 'DEFAULT,native'
check "up" up
by "by address: native" 198.51.100.1 $native
by "by address: tunnel, its source right from the first packet" \
    198.51.100.8 $tunnel
by "by address and port: tunnel!" 198.51.100.6 $tunnel "$pc" 443
by "by address, another port: native" 198.51.100.6 $native
by "block: refused" 198.51.100.7 "$refused"
by "by name, the first connection: tunnel!" backup.example $tunnel
by "by name: no rule: native, IPv6 as well" www.example $native6
by "by name, where a CNAME leads" alias.example $tunnel
by "an address of two names: one is known" shared-b.test $native
by "an address of two names: the earlier rule, both known" \
    shared-a.example $tunnel
by "an address of two names: it stays so" shared-b.test $tunnel
check "an address of two names: status says so" \
    test "$(json '.collisions[0].lines')" = "[4,5]"
same "IPv6 of tunnel! has no address (R8)" \
    "$(on_pc dig +short +tries=2 AAAA backup.example)" ""
same "a name's IPv4 is told as it is" \
    "$(on_pc dig +short A backup.example)" 198.51.100.2
same "a private address of such a name is not" \
    "$(on_pc dig +short A evil.backup.example)" ""
by "IPv6 of an address that tunnel! is not about: native" \
    2001:db8:9::1 $native6
cp /usr/bin/curl "$work/ukt34prog"
same "by program" "$(on_pc timeout 5 "$work/ukt34prog" -s --http0.9 \
    -m 2 http://198.51.100.9:8080/ | head -1)" $tunnel
same "another program" "$(on_pc timeout 5 curl -s --http0.9 \
    -m 2 http://198.51.100.9:8080/ | head -1)" $native
same "ukai run" "$(on_pc "$ukai" run -- timeout 5 curl -s --http0.9 -m 2 \
    http://198.51.100.9:8080/ | head -1)" $tunnel
by "the LAN: by address" 198.51.100.8 $tunnel "$lan"
by "the LAN: native" 198.51.100.1 192.168.24.10 "$lan"
by "the LAN: by name" backup.example $tunnel "$lan"
by "the LAN: block" 198.51.100.7 "$refused" "$lan"
check "hits: a rule's flows are counted" \
    test "$(json '.rules[] | select(.line == 9) | .flows')" -ge 2
check "hits: and its bytes" \
    test "$(json '.rules[] | select(.line == 9) | .bytes')" -gt 300
same "explain says the same" "$(on_pc "$ukai" policy explain \
    "$work/office.rules" 198.51.100.6:443 --json | jq -c '[.target,.line]')" \
    '["tunnel!",7]'

# ---- reload ----

mkfifo "$work/in"
on_pc /usr/bin/python3 -c '
import socket, sys, time
s = socket.create_connection(("198.51.100.9", 80), 5)
f = s.makefile("rw")
print(f.readline().strip(), flush=True)
for line in sys.stdin:
    f.write(line); f.flush()
    print(f.readline().strip(), flush=True)' <"$work/in" >"$work/long" 2>&1 &
exec 7>"$work/in"
check "a long connection begins" eventually 5 grep -q $native "$work/long"
hits=$(json '.rules[] | select(.line == 9) | .flows')
sed -i '$d' "$work/office.rules"
echo 'IP-CIDR,198.51.100.9/32,tunnel' >>"$work/office.rules"
echo 'DEFAUL,native' >>"$work/office.rules"
check "a bad file: reload refuses it" exits 2 on_pc "$ukai" policy reload "$tun"
check "a bad file: why" grep -q "office.rules:12:1:" "$work/said"
by "a bad file: the old rules hold" 198.51.100.9 $native
sed -i 's/DEFAUL,/DEFAULT,/' "$work/office.rules"
check "reload" on_pc "$ukai" policy reload "$tun"
by "reload: the new rule holds" 198.51.100.9 $tunnel
echo still >&7
check "reload: the long connection goes on" eventually 5 \
    grep -q still "$work/long"
exec 7>&-
check "reload: counters of unchanged rules go on" \
    test "$(json '.rules[] | select(.line == 9) | .flows')" -ge "$hits"
by "reload: names hold from the first packet" 198.51.100.2 $tunnel

# ---- the relay is gone, and comes back ----

watch_leaks 198.51.100.2 198.51.100.6:443 2001:db8:9::2
line_cuts
sleep 3
by "no relay for 3 s: tunnel is native" 198.51.100.8 $native
by "no relay: tunnel! is refused at once" 198.51.100.6 "$refused" "$pc" 443
by "no relay: by name, too" backup.example "$refused"
by "no relay: for the LAN, too" 198.51.100.6 "$refused" "$lan" 443
line_heals
check "the relay is back" answers
by "the relay is back: tunnel" 198.51.100.8 $tunnel
by "the relay is back: tunnel!" 198.51.100.6 $tunnel "$pc" 443

# ---- killed, again and again, while somebody calls ----

hammer()
{
	while [ ! -e "$work/enough" ]; do
		calls "$pc" 198.51.100.6 443
		calls "$pc" 198.51.100.2
		calls "$lan" 198.51.100.6 443
	done >"$work/hammer" 2>&1
}
hammer &
hammer_pid=$!
for i in 1 2 3 4; do
	sleep 0.$((RANDOM % 10))
	kill_nine
	same "killed ($i): DNS works as before" \
	    "$(on_pc dig +short +tries=2 +time=2 A www.example)" 198.51.100.3
	same "killed ($i): what names tunnel! has is refused" \
	    "$(calls "$pc" backup.example)" "$refused"
	same "killed ($i): tunnel is native" "$(calls "$pc" 198.51.100.8)" $native
	if [ "$i" = 2 ]; then
		check "restore --keep-guard" on_pc "$ukai" restore \
		    --keep-guard "$tun"
		same "restore --keep-guard: still refused" \
		    "$(calls "$pc" backup.example)" "$refused"
	fi
	check "killed ($i): up again" up
	on_pc "$ukai" policy reload "$tun" >/dev/null
done
touch "$work/enough"
wait $hammer_pid
check "somebody has called meanwhile" test "$(wc -l <"$work/hammer")" -ge 12
check "R8: nothing of it was seen on the line" no_leaks
kill_nine
check "restore" on_pc "$ukai" restore "$tun"
by "restored: nothing is refused any more" 198.51.100.6 $native "$pc" 443
dump >"$work/after"
check "restored: the host is as it was" diff "$work/before" "$work/after"

# ---- the line's ports run out ----

# Those before hold ports for their time, too.
on_pc conntrack -F >/dev/null 2>&1
on_pc sysctl -q -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=2
rules 'PORTS-LEFT,<10,tunnel' 'DEFAULT,native'
conf 'Ports = 30'
check "ports: up" up
cat >"$work/many.py" <<'EOF'
import collections, socket, sys
held, seen = [], collections.Counter()
for i in range(60):
    # Each from a port of its own: else two count as one.
    s = socket.create_connection(("198.51.100.%d" % (1 + i % 9), 80), 5,
                                 ("", 42000 + i))
    seen[s.makefile().readline().strip()] += 1
    held.append(s)
print(seen["192.0.2.10"], seen["203.0.113.1"])
EOF
same "ports: 21 of 30 are used, the rest spills, nobody fails" \
    "$(on_pc /usr/bin/python3 "$work/many.py")" "21 39"
check "ports: and are had back" eventually 10 sh -c \
    "[ \"\$(ip netns exec $pc $ukai status --json |
	jq '.tunnels[0].policy.ports.used_tcp')\" -lt 21 ]"
check "down" down
dump >"$work/after"
check "down: the host is as it was" diff "$work/before" "$work/after"
exit $failed
