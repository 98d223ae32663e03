#!/bin/bash
# shellcheck disable=SC2317 # functions are called through check() and trap
#
# 40-relay: ukai-relay serve, check, status, restore.
#
#   a 198.51.100.2 ------ .1 +-------+ 192.0.2.1      192.0.2.2
#     2001:db8:a::2 ----- ::1 | relay |----------------- srv
#   b 198.51.100.6 ------ .5 |       |  (default route)
#     2001:db8:b::2 ----- ::1 +-------+
#   tunnel: relay 10.66.0.1/24, a 10.66.0.2, b 10.66.0.3
#
# a and b are wireguard-go or `ukai device`, driven by wg(8). srv knows no
# route to the tunnel, so what reaches it and is answered was translated.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${UKAI_BUILD:-${here%/tests/net}/build}
relay=$build/server/ukai-relay
ukai=$build/client/ukai
python=/usr/bin/python3
ns=ukt-$$
r=$ns-r a=$ns-a b=$ns-b s=$ns-s
tr=ukr$$ ta=uka$$ tb=ukb$$
work=$(mktemp -d "/tmp/$ns.XXXXXX")
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
# shellcheck source=tests/net/checks
. "$here/checks"
pids=
relay_pid=

cleanup()
{
	local n pid

	for pid in $relay_pid $pids; do
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	for n in "$r" "$a" "$b" "$s"; do
		ip netns del "$n" 2>/dev/null || true
	done
	rm -f "/var/run/wireguard/$tr.sock" "/var/run/wireguard/$ta.sock" \
	    "/var/run/wireguard/$tb.sock"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || skip "not root"
[ -c /dev/net/tun ] || skip "no /dev/net/tun"
for tool in ip nft wg wireguard-go jq sysctl setpriv "$python"; do
	command -v "$tool" >/dev/null || skip "no $tool"
done

# --- what the test needs beside ukai ------------------------------------

# One program for both ends; sizes and counts are bounded by its arguments.
#   serve PORT...            TCP and UDP; each client is told its address,
#                            its port and the MSS that is used toward it
#   tcp HOST PORT [FROM]     one TCP connection: prints that and our own MSS
#   flows PROTO HOST PORTS FROM N    N flows from ports FROM.., spread over
#                            PORTS destinations from 7000: seen ports. All of
#                            UDP are called, then heard, until 5 s are quiet
#   hold PORT                bind UDP, and wait
#   raw HOST PROTO           one packet of an IP protocol
#   catch IFACE FILE PORT    write the first WireGuard initiation to PORT
#   replay FILE HOST PORT    send it; prints the answer's length, 0: none
#   other-port HOST          ask UDP 7000 to answer from its port 7001
#   notify PATH FILE         one datagram of a socket to a file
cat >"$work/net.py" <<'PY'
import os, select, socket, struct, sys, threading, time

# Whoever is to answer may be slow; who is not to has no longer than this.
wait = float(os.environ.get("CALL_WAIT", 15))

def tcp_server(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port))
    s.listen(256)
    while True:
        c, (addr, from_port) = s.accept()
        mss = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        c.sendall(f"{addr} {from_port} {mss}".encode())
        c.close()

def udp_server(port, other):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    while True:
        data, addr = s.recvfrom(2048)
        use = other if data == b"other" else s
        use.sendto(f"{addr[0]} {addr[1]} 0".encode(), addr)

def serve(ports):
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind(("", 6999))
    for port in ports:
        for t, args in ((tcp_server, (port,)), (udp_server, (port, other))):
            threading.Thread(target=t, args=args, daemon=True).start()
    time.sleep(600)

def tcp(host, port, source=0):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(wait)
    s.bind(("", source))
    s.connect((host, port))
    mss = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    return s.recv(100).decode().split() + [str(mss)]

def udp(host, port, source=0, what=b"x"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", source))
    s.settimeout(wait)
    s.sendto(what, (host, port))
    return s.recv(100).decode().split()

def tcp_flows(host, ports, first, n):
    for i in range(n):
        try:
            print(first + i, *tcp(host, 7000 + i % ports, first + i)[:2])
        except OSError as e:
            print(first + i, "failed", e)

def udp_flows(host, ports, first, n):
    left = {}
    for i in range(n):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("", first + i))
        s.sendto(b"x", (host, 7000 + i % ports))
        left[s] = first + i
    while ready := select.select(list(left), [], [], 5)[0] if left else []:
        for s in ready:
            print(left.pop(s), *s.recv(100).decode().split()[:2])
    for port in left.values():
        print(port, "failed")

def catch(iface, path, port):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
    s.bind((iface, 0x800))
    s.settimeout(20)
    print("ready", flush=True)
    while True:
        p = s.recv(2048)
        u = p[(p[0] & 15) * 4:]
        if p[9] == 17 and struct.unpack("!H", u[2:4])[0] == port and \
           len(u) == 156 and u[8] == 1:
            open(path, "wb").write(u[8:])
            return

def replay(path, host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.sendto(open(path, "rb").read(), (host, port))
    try:
        print(len(s.recv(2048)))
    except OSError:
        print(0)

def raw(host, proto):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, proto)
    s.sendto(bytes(40), (host, 0))

def hold(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    print("ready", flush=True)
    time.sleep(600)

def notify(path, out):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    s.settimeout(20)
    open(out, "wb").write(s.recv(100))

v = sys.argv[2:]
verb = sys.argv[1]
if verb == "serve":
    serve([int(x) for x in v])
elif verb == "tcp":
    print(*tcp(v[0], int(v[1]), int(v[2]) if len(v) > 2 else 0))
elif verb == "udp":
    print(*udp(v[0], int(v[1])))
elif verb == "other-port":
    print(*udp(v[0], 7000, 0, b"other"))
elif verb == "flows":
    each = tcp_flows if v[0] == "tcp" else udp_flows
    each(v[1], int(v[2]), int(v[3]), int(v[4]))
elif verb == "catch":
    catch(v[0], v[1], int(v[2]))
elif verb == "replay":
    replay(v[0], v[1], int(v[2]))
elif verb == "raw":
    raw(v[0], int(v[1]))
elif verb == "hold":
    hold(int(v[0]))
elif verb == "notify":
    notify(v[0], v[1])
PY

net()
{
	local n=$1
	shift
	in_ns "$n" "$python" "$work/net.py" "$@"
}

# unanswered NS PY-ARGUMENTS: a call that nobody is to answer.
unanswered()
{
	! CALL_WAIT=0.7 net "$@"
}

# start NS PY-ARGUMENTS: in the background; its pid is in $started.
start()
{
	local n=$1
	shift
	ip netns exec "$n" "$python" "$work/net.py" "$@" \
	    >"$work/started" 2>&1 &
	started=$!
	pids="$pids $started"
}

stop()
{
	kill "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# --- the network ---------------------------------------------------------

# join NS1 NAME1 NS2 NAME2
join()
{
	ip -n "$1" link add "$2" type veth peer name "$4" netns "$3"
	ip -n "$1" link set "$2" up
	ip -n "$3" link set "$4" up
}

for n in "$r" "$a" "$b" "$s"; do
	ip netns add "$n"
	ip -n "$n" link set lo up
	in_ns "$n" sysctl -qw net.ipv6.conf.default.accept_dad=0 \
	    net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
	    net.ipv4.conf.lo.rp_filter=0 net.ipv4.icmp_ratelimit=0
done
join "$r" wan "$s" wan
join "$r" toa "$a" wan
join "$r" tob "$b" wan
ip -n "$r" addr add 192.0.2.1/24 dev wan
ip -n "$s" addr add 192.0.2.2/24 dev wan
ip -n "$r" route add default via 192.0.2.2
ip -n "$r" addr add 198.51.100.1/30 dev toa
ip -n "$r" addr add 198.51.100.5/30 dev tob
ip -n "$r" addr add 2001:db8:a::1/64 dev toa
ip -n "$r" addr add 2001:db8:b::1/64 dev tob
ip -n "$a" addr add 198.51.100.2/30 dev wan
ip -n "$a" addr add 2001:db8:a::2/64 dev wan
ip -n "$b" addr add 198.51.100.6/30 dev wan
ip -n "$b" addr add 2001:db8:b::2/64 dev wan
# A cloud's metadata service, which the host itself uses.
ip -n "$s" addr add 169.254.169.254/32 dev wan
ip -n "$r" route add 169.254.169.254 via 192.0.2.2
# A container behind a bridge of the host; srv plays it.
ip -n "$r" link add bridge type veth peer name inner netns "$s"
ip -n "$r" addr add 172.17.0.1/24 dev bridge
ip -n "$s" addr add 172.17.0.2/24 dev inner
ip -n "$r" link set bridge up
ip -n "$s" link set inner up
# srv knows the way to b outside the tunnel, for one control below.
ip -n "$s" route add 198.51.100.4/30 via 192.0.2.1
# Settings that "on, then off" of ip_forward would not bring back.
in_ns "$r" sysctl -qw net.ipv4.conf.all.accept_redirects=0 \
    net.ipv4.conf.tob.forwarding=1
# Other software's table: publishes a port of this host, as Docker does, and
# masquerades all that leaves.
in_ns "$r" nft -f - <<'NFT'
table inet other {
	chain published {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local tcp dport 8089 dnat ip to 192.0.2.2:7000
	}
	chain leaving {
		type nat hook postrouting priority srcnat; policy accept;
		ip protocol tcp oifname "wan" masquerade to :2000-2100
	}
}
NFT
# What srv must never see.
in_ns "$s" nft -f - <<'NFT'
table inet watch {
	counter private { }
	counter tunnels { }
	chain pre {
		type filter hook prerouting priority raw; policy accept;
		ip saddr 10.0.0.0/8 counter name private
		meta l4proto { 4, 41, 47 } counter name tunnels
	}
}
NFT

watched()
{
	in_ns "$s" nft -j list counter inet watch "$1" |
	    jq '.nftables[] | .counter // empty | .packets'
}

start "$s" serve $(seq 7000 7019)
start "$r" serve 8088
until_true net "$r" tcp 192.0.2.2 7000
until_true net "$r" tcp 127.0.0.1 8088

key_r=$(wg genkey) key_a=$(wg genkey) key_b=$(wg genkey)
pub_r=$(wg pubkey <<<"$key_r") pub_a=$(wg pubkey <<<"$key_a")
pub_b=$(wg pubkey <<<"$key_b")
umask 077
wg genpsk >"$work/psk"
printf '%s\n' "$key_a" >"$work/key_a"
printf '%s\n' "$key_b" >"$work/key_b"

# write_conf [LINE...]: lines are for [Relay].
write_conf()
{
	{
		printf '[Relay]\nPrivateKey = %s\nAddress = 10.66.0.1/24\n' \
		    "$key_r"
		printf 'Interface = %s\n' "$tr"
		[ $# -eq 0 ] || printf '%s\n' "$@"
		printf '[Peer]\nName = alice\nPublicKey = %s\n' "$pub_a"
		printf 'AllowedIPs = 10.66.0.2/32\n'
		printf '[Peer]\nName = bob\nPublicKey = %s\n' "$pub_b"
		printf 'PresharedKey = %s\n' "$(cat "$work/psk")"
		printf 'AllowedIPs = 10.66.0.3/32\n'
	} >"$work/relay.conf"
}

relay_ready()
{
	"$relay" status --json >"$work/status.json" &&
	    [ "$(jq .pid "$work/status.json")" = "$relay_pid" ]
}

# In the relay's namespace as a child, so that it can be waited for.
relay_start()
{
	ip netns exec "$r" "$relay" serve --config "$work/relay.conf" \
	    >"$work/relay.log" 2>&1 &
	relay_pid=$!
	until_true relay_ready || cat "$work/relay.log"
}

relay_end()
{
	local got=0 pid=$relay_pid

	kill "-$1" "$pid"
	wait "$pid" 2>/dev/null || got=$?
	relay_pid=
	return "$got"
}

drops()
{
	"$relay" status --json | jq ".drops[\"$1\"]"
}

# Everything that could be left behind.
dump()
{
	in_ns "$r" ip -d addr show
	in_ns "$r" ip -4 route show table all
	in_ns "$r" ip -6 route show table all
	in_ns "$r" ip -4 rule
	in_ns "$r" ip -6 rule
	in_ns "$r" nft list ruleset
	in_ns "$r" sysctl -a -r '^net\.ipv[46]\.' 2>/dev/null
	find "$UKAI_STATE_DIR" -type f ! -name '*-stamps' ! -name 'registry.db*' 2>/dev/null || true
}

unchanged()
{
	dump >"$work/after"
	diff "$work/before" "$work/after"
}

# client_up NS NAME go|ukai KEYFILE ADDRESS ENDPOINT [psk]
client_up()
{
	local n=$1 name=$2 impl=$3 key=$4 address=$5 endpoint=$6
	local psk=${7:+preshared-key $work/psk}

	if [ "$impl" = go ]; then
		in_ns "$n" env LOG_LEVEL=error wireguard-go "$name" \
		    >/dev/null 2>&1
	else
		in_ns "$n" "$ukai" device "$name"
	fi
	# shellcheck disable=SC2086 # psk is words
	in_ns "$n" wg set "$name" private-key "$key" peer "$pub_r" $psk \
	    endpoint "$endpoint" allowed-ips 0.0.0.0/0
	ip -n "$n" addr add "$address/32" dev "$name"
	ip -n "$n" link set "$name" up mtu 1420
	for route in 192.0.2.0/24 10.66.0.0/24 169.254.169.254 172.17.0.0/24 \
	    198.51.100.5; do
		[ "$n" = "$b" ] && [ $route = 198.51.100.5 ] && continue
		ip -n "$n" route add "$route" dev "$name"
	done
}

client_down()
{
	ip -n "$1" link del "$2" 2>/dev/null || true
	until_true fails test -e "/var/run/wireguard/$2.sock"
}

# client_again NS NAME ENDPOINT [psk]: forget the session, so that the next
# packet shakes hands at once. By itself a client notices after 15 s.
client_again()
{
	local psk=${4:+preshared-key $work/psk}

	in_ns "$1" wg set "$2" peer "$pub_r" remove
	# shellcheck disable=SC2086 # psk is words
	in_ns "$1" wg set "$2" peer "$pub_r" $psk endpoint "$3" \
	    allowed-ips 0.0.0.0/0
}

ping_from()
{
	local n=$1
	shift
	in_ns "$n" ping -n -q -c 1 -W 1 "$@"
}

# reaches NS ADDRESS: one ping is answered, however late.
reaches()
{
	ping_from "$@" -W 15
}

# --- before it runs ------------------------------------------------------

write_conf
dump >"$work/before"

check "status without a relay: exit 3" exits 3 "$relay" status
check "restore with nothing to undo" exits 0 "$relay" restore
check "no command: exit 2" exits 2 "$relay"
check "an unknown command: exit 2" exits 2 "$relay" bogus
check "check of a good configuration" exits 0 \
    in_ns "$r" "$relay" check --config "$work/relay.conf"
check "check names the address that it found" \
    grep -q 'global address  *192.0.2.1, found' "$work/said"
check "check warns of a listener that is not reserved" \
    grep -q 'ReservedPorts = .*8088' "$work/said"

cat >"$work/bad.conf" <<BAD
[Relay]
PrivateKey = nonsense
Address = 10.66.0.1/33
ListenPrt = 51820
[Peer]
PublicKey = $pub_a
AllowedIPs = 10.99.0.2/32
BAD
bad_is_reported()
{
	exits 2 in_ns "$r" "$relay" "$1" --config "$work/bad.conf" &&
	    grep -q ':2:14: error: PrivateKey' "$work/said" &&
	    grep -q ':3:11: error: .*10.66.0.1/33' "$work/said" &&
	    grep -q ':4:1: error: .*ListenPrt' "$work/said"
}
check "serve: every mistake of a file at once, exit 2" bad_is_reported serve
check "check: every mistake of a file at once, exit 2" bad_is_reported check
check "no such configuration: exit 2" exits 2 \
    in_ns "$r" "$relay" serve --config "$work/none.conf"
check "a bad configuration changes nothing" unchanged

cp "$work/relay.conf" "$work/open.conf"
chmod 755 "$work"
chmod 644 "$work/open.conf"
check "not root: exit 4" exits 4 in_ns "$r" setpriv --reuid=65534 \
    --regid=65534 --clear-groups "$relay" serve --config "$work/open.conf"
check "not root: a sentence about it" grep -q 'needs root' "$work/said"
check "keys that others can read: a warning" \
    grep -q 'warning: .*chmod 600' "$work/said"

start "$r" hold 51820
held=$started
until_true grep -q ready "$work/started"
check "port in use: exit 1" exits 1 \
    in_ns "$r" "$relay" serve --config "$work/relay.conf"
check "port in use: says which" grep -q 51820 "$work/said"
check "check finds the port in use" exits 1 \
    in_ns "$r" "$relay" check --config "$work/relay.conf"
stop "$held"
check "port in use: nothing is changed" unchanged

ip -n "$r" tuntap add "$tr" mode tun
check "interface in use: exit 1" exits 1 \
    in_ns "$r" "$relay" serve --config "$work/relay.conf"
ip -n "$r" link del "$tr"
write_conf 'ReservedPorts = 1024-65535'
check "no port left for clients: exit 1" exits 1 \
    in_ns "$r" "$relay" serve --config "$work/relay.conf"
check "check warns of the port range" exits 1 \
    in_ns "$r" "$relay" check --config "$work/relay.conf"
ip -n "$r" addr add 10.66.0.77/32 dev wan
write_conf
check "the pool is in use: exit 1" exits 1 \
    in_ns "$r" "$relay" serve --config "$work/relay.conf"
ip -n "$r" addr del 10.66.0.77/32 dev wan
ip -n "$r" route del default
check "no route to the internet: exit 1" exits 1 \
    in_ns "$r" "$relay" serve --config "$work/relay.conf"
check "no route: says what to write" grep -q 'GlobalAddress = ' "$work/said"
ip -n "$r" route add default via 192.0.2.2
in_ns "$r" nft 'add table ip fwx; add chain ip fwx onward { type filter hook forward priority filter; policy drop; }'
check "check with another firewall: exit 1" exits 1 \
    in_ns "$r" "$relay" check --config "$work/relay.conf"
check "check says what to add to a firewall that drops" grep -q \
    "nft insert rule ip fwx onward iifname \"$tr\" accept" "$work/said"
in_ns "$r" nft delete table ip fwx
check "all of this changed nothing" unchanged

# --- serving -------------------------------------------------------------

start "$r" notify "$work/notify.sock" "$work/notified"
until_true test -S "$work/notify.sock"
export NOTIFY_SOCKET=$work/notify.sock
relay_start
unset NOTIFY_SOCKET
check "tells systemd that it is ready" \
    until_true grep -q READY=1 "$work/notified"
check "status for people" exits 0 "$relay" status
check "status names the clients" \
    grep -q '^  peer  *alice$' "$work/said"
check "the control socket is ours alone (C7)" \
    [ "$(stat -c %a "$UKAI_RUN_DIR/$tr.relay")" = 600 ]
check "other software's table is untouched" \
    [ "$(in_ns "$r" nft list table inet other)" = \
    "$(sed -n '/^table inet other/,/^}/p' "$work/before")" ]
check "a second relay of the name is refused" exits 1 \
    in_ns "$r" "$relay" serve --config "$work/relay.conf"
check "and the first goes on" relay_ready
check "restore leaves a running relay alone" exits 1 in_ns "$r" "$relay" restore
check "and it still forwards" \
    [ "$(in_ns "$r" sysctl -n net.ipv4.conf.wan.forwarding)" = 1 ]
check "without switching it on for the whole host" \
    [ "$(in_ns "$r" sysctl -n net.ipv4.ip_forward)" = 0 ]

# combination IMPL FAMILY PSK: a client reaches the internet by TCP, as the
# global address.
combination()
{
	local endpoint key=key_a address=10.66.0.2 psk=

	endpoint=198.51.100.1:51820
	[ "$2" = 4 ] || endpoint='[2001:db8:a::1]:51820'
	if [ "$3" = psk ]; then
		key=key_b address=10.66.0.3 psk=psk
	fi
	client_up "$a" "$ta" "$1" "$work/$key" "$address" "$endpoint" "$psk"
	until_true ping_from "$a" 10.66.0.1 &&
	    [ "$(net "$a" tcp 192.0.2.2 7000 | cut -d' ' -f1)" = 192.0.2.1 ]
}
for impl in go ukai; do
	for family in 4 6; do
		for psk in none psk; do
			check "client $impl over IPv$family, $psk" \
			    combination $impl $family $psk
			client_down "$a" "$ta"
		done
	done
done

client_up "$a" "$ta" go "$work/key_a" 10.66.0.2 198.51.100.1:51820
client_up "$b" "$tb" ukai "$work/key_b" 10.66.0.3 '[2001:db8:b::1]:51820' psk
check "ping of the relay's tunnel address, a" until_true ping_from "$a" 10.66.0.1
check "ping of the relay's tunnel address, b" until_true ping_from "$b" 10.66.0.1
check "ICMP through the translation" reaches "$a" 192.0.2.2
udp_source()
{
	[ "$(net "$a" udp 192.0.2.2 7000 | cut -d' ' -f1)" = 192.0.2.1 ]
}
check "UDP through the translation" udp_source
check "status: endpoint, handshake, bytes" jq -e '.peers[] |
    select(.name == "alice") | .session and .received_bytes > 0 and
    .sent_bytes > 0 and (.last_handshake > 1600000000) and
    (.endpoint | startswith("198.51.100.2:")) and .path == "udp4"' \
    <("$relay" status --json)
check "status: interface, times, preshared keys" jq -e '.interface == "'"$tr"'"
    and .since > 1600000000 and .listen_port == 51820 and
    (.peers | map(.preshared_key)) == [false, true] and
    .drops["interface-full"] == 0' <("$relay" status --json)
check "no key leaves by status (X3)" fails grep -F -q -e "$key_r" \
    -f "$work/psk" <("$relay" status --json)

# Two clients with one ICMP id toward one server.
same_id()
{
	in_ns "$a" ping -n -q -e 77 -c 3 -i 0.2 -W 15 192.0.2.2 >/dev/null &
	local pid=$! got=0
	in_ns "$b" ping -n -q -e 77 -c 3 -i 0.2 -W 15 192.0.2.2 || got=1
	wait "$pid" && return "$got"
}
check "two clients with the same ICMP id" same_id

# N2: a client's own source port is never kept, nor are ports in a row.
net "$a" flows udp 192.0.2.2 20 33000 200 >"$work/seen"
random_ports()
{
	awk '$2 != "192.0.2.1" { print; bad = 1 }
	    $1 == $3 { kept++ }
	    last && ($3 - last == 1 || $3 == last) { row++ }
	    $3 < 1024 || $3 == 51820 { print; bad = 1 }
	    { last = $3; if ($3 < 33000) low++; n++ }
	    END { print n " flows, kept " kept + 0 ", in a row " row + 0 \
		", low " low; exit bad || n != 200 || kept > 3 || row > 3 ||
		low < 60 || low > 140 }' "$work/seen"
}
check "UDP source ports are random (N2)" random_ports
net "$a" flows tcp 192.0.2.2 20 34000 100 >"$work/seen"
tcp_ports()
{
	awk '$2 != "192.0.2.1" || $3 < 1024 || $3 == 51820 { print; bad = 1 }
	    $1 == $3 { kept++ }
	    $3 >= 2000 && $3 <= 2100 { others++ }
	    END { print NR " flows, kept " kept + 0 ", in the range of " \
		"others " others + 0
		exit bad || NR != 100 || kept > 2 || others > 3 }' \
	    "$work/seen"
}
check "TCP source ports too, whatever others masquerade to (N2)" tcp_ports

# MSS: a client that believes in 1500 bytes, and a server that does.
mss_fits()
{
	local addr port seen ours

	ip -n "$a" link set "$ta" mtu 1500
	read -r addr port seen ours < <(net "$a" tcp 192.0.2.2 7000)
	ip -n "$a" link set "$ta" mtu 1420
	echo "$addr:$port toward the client $seen, toward the server $ours"
	[ "$seen" -le 1380 ] && [ "$ours" -le 1380 ]
}
check "the MSS is clamped both ways" mss_fits

# --- what clients cannot do ----------------------------------------------

check "control: the host's service is there" net "$s" tcp 192.0.2.1 8088
for address in 10.66.0.1 192.0.2.1 198.51.100.5; do
	check "no service of the host at $address (N3), TCP" \
	    unanswered "$a" tcp $address 8088
	check "no service of the host at $address (N3), UDP" \
	    unanswered "$a" udp $address 8088
done
check "no ping of the host's other addresses (N3)" \
    fails ping_from "$a" 192.0.2.1
check "control: the published port is open to others" \
    net "$b" tcp 198.51.100.5 8089
check "a port that others publish is the host's too (N3)" \
    unanswered "$a" tcp 192.0.2.1 8089
check "control: the host reaches the metadata service" \
    reaches "$r" 169.254.169.254
check "clients do not reach the metadata service" \
    fails ping_from "$a" 169.254.169.254
check "control: the host reaches its container" reaches "$r" 172.17.0.2
check "clients do not reach the host's container" \
    fails ping_from "$a" 172.17.0.2
check "clients do not reach each other (N4)" fails ping_from "$a" 10.66.0.3
check "control: the host reaches b" reaches "$r" 10.66.0.3

# D6: nothing in which another packet could hide.
for protocol in 4 41 47; do
	net "$a" raw 192.0.2.2 $protocol
done
check "what a sent before this was forwarded or dropped" \
    reaches "$a" 192.0.2.2
check "no IPIP, no 6in4, no GRE out of the tunnel (D6)" \
    [ "$(watched tunnels)" = 0 ]
net "$r" raw 192.0.2.2 47
watched_one()
{
	[ "$(watched tunnels)" = 1 ]
}
check "control: such packets are counted" until_true watched_one

# Neither is translated what conntrack does not follow: here a TCP header of
# zeros.
net "$a" raw 192.0.2.2 6
check "and so was this" reaches "$a" 192.0.2.2
check "no packet that cannot be translated" [ "$(watched private)" = 0 ]

# A source that is not the client's: first crypto-routing, then the rules.
ip -n "$a" addr add 10.66.0.9/32 dev "$ta"
ip -n "$a" addr add 10.77.0.1/32 dev "$ta"
check "a source of the pool that is not a's" \
    fails ping_from "$a" -I 10.66.0.9 192.0.2.2
check "is counted" [ "$(drops foreign-source)" -gt 0 ]
in_ns "$r" wg set "$tr" peer "$pub_a" allowed-ips 10.66.0.2/32,10.77.0.0/24
check "a source outside of the pool, let in by mistake" \
    fails ping_from "$a" -I 10.77.0.1 192.0.2.2
check "nor toward the host" fails ping_from "$a" -I 10.77.0.1 10.66.0.1
check "no private source ever left" [ "$(watched private)" = 0 ]
in_ns "$r" wg set "$tr" peer "$pub_a" allowed-ips 10.66.0.2/32

# R1, N5: srv has a route to the pool now.
ip -n "$s" route add 10.66.0.0/24 via 192.0.2.1
check "the tunnel address is not there for others (R1)" \
    fails ping_from "$s" 10.66.0.1
check "nothing unsolicited goes to a client (N5)" \
    fails ping_from "$s" 10.66.0.2
check "control: the client would have answered" reaches "$r" 10.66.0.2
check "an answer from another port does not get in (N5)" \
    unanswered "$a" other-port 192.0.2.2
encrypted()
{
	wg show "$tr" transfer | awk '{ n += $3 } END { print n }'
}
before=$(encrypted)
ping_from "$s" 10.66.0.2 >"$work/out" || true
ping_from "$s" 10.66.0.3 >"$work/out" || true
# A keepalive of the relay's own may fall into that: 32 bytes. A ping has 128.
check "no unsolicited packet was encrypted (N5)" \
    [ "$(($(encrypted) - before))" -lt 128 ]
ip -n "$s" route del 10.66.0.0/24

# P9: revoking ends the session at once.
check "before: b reaches the internet" reaches "$b" 192.0.2.2
in_ns "$r" wg set "$tr" peer "$pub_b" remove
check "a removed peer's session is over at once (P9)" \
    fails ping_from "$b" 192.0.2.2
check "and its packets are counted" \
    [ "$(($(drops unknown-index) + $(drops unknown-peer)))" -gt 0 ]
check "the other client goes on" reaches "$a" 192.0.2.2

# --- the end, and what is left -------------------------------------------

check "SIGTERM: exit 0" relay_end TERM
check "SIGTERM: everything is as before" unchanged
check "SIGTERM: status says that none runs" exits 3 "$relay" status
check "the stamps are kept, 0600 (P1)" \
    [ "$(stat -c %a "$UKAI_STATE_DIR/$tr.relay-stamps")" = 600 ]

relay_start
check "after a restart the clients come back" \
    until_true ping_from "$a" 192.0.2.2
# Docker, say, starts while the relay runs, and goes on when it has ended.
in_ns "$r" sysctl -qw net.ipv4.ip_forward=1
relay_end TERM
check "forwarding that others switched on stays" \
    [ "$(in_ns "$r" sysctl -n net.ipv4.conf.wan.forwarding)" = 1 ]
in_ns "$r" sysctl -qw net.ipv4.ip_forward=0 \
    net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.tob.forwarding=1
relay_start
relay_end KILL || true
check "kill -9: the firewall is gone with it" \
    fails in_ns "$r" nft list table inet "ukai-relay-$tr"
check "kill -9: something is left" fails unchanged
check "kill -9: restore" exits 0 in_ns "$r" "$relay" restore
check "kill -9, restore: everything is as before" unchanged
check "kill -9, restore: no socket is left" fails test -e \
    "$UKAI_RUN_DIR/$tr.relay" -o -e "/var/run/wireguard/$tr.sock"

relay_start
relay_end KILL || true
relay_start
client_again "$a" "$ta" 198.51.100.1:51820
check "kill -9: the next start serves" until_true ping_from "$a" 192.0.2.2
ip -n "$r" link del "$tr"
check "its interface deleted: exit 1" exits 1 wait "$relay_pid"
relay_pid=
check "and everything is as before" unchanged

# N1: thirty free ports in two places, of which one is twice the other.
write_conf 'ReservedPorts = 1024-39999, 40010-49999' \
    'ReservedPorts = 50020-65535' 'AllowClientToClient = true'
relay_start
client_again "$a" "$ta" 198.51.100.1:51820
until_true ping_from "$a" 192.0.2.2
net "$a" flows udp 192.0.2.2 20 40000 300 >"$work/seen"
only_free_ports()
{
	awk '$2 == "failed" { next }
	    $3 >= 40000 && $3 <= 40009 { low++; next }
	    $3 >= 50000 && $3 <= 50019 { high++; next }
	    { print; bad = 1 }
	    END { print low " low, " high " high"
		exit bad || low + high < 200 || low < 60 || high < 120 }' \
	    "$work/seen"
}
check "only ports that are not reserved, all of them (N1)" only_free_ports
net "$a" flows tcp 192.0.2.2 20 51820 1 >"$work/seen"
check "the relay's own port is not given to who asks for it (N1)" \
    fails grep -q ' 51820$' "$work/seen"
client_again "$b" "$tb" '[2001:db8:b::1]:51820' psk
until_true ping_from "$b" 10.66.0.1
check "clients reach each other when allowed (N4)" \
    until_true ping_from "$a" 10.66.0.3
check "and the host's services still not (N3)" \
    unanswered "$a" tcp 10.66.0.1 8088
relay_end TERM

# P1: an initiation is recorded, the relay restarted, and the record sent
# again. The control shows that only the stamps make the difference.
write_conf
client_down "$a" "$ta"
relay_start
start "$r" catch toa "$work/initiation" 51820
until_true grep -q ready "$work/started"
client_up "$a" "$ta" ukai "$work/key_a" 10.66.0.2 198.51.100.1:51820
until_true ping_from "$a" 10.66.0.1
client_down "$a" "$ta"
relay_end TERM
relay_start
answer=$(net "$a" replay "$work/initiation" 198.51.100.1 51820)
check "a recorded initiation is refused after a restart (P1)" \
    [ "$answer" = 0 ]
check "and counted as replayed (P1)" [ "$(drops replayed)" = 1 ]
relay_end TERM
rm "$UKAI_STATE_DIR/$tr.relay-stamps"
relay_start
answer=$(net "$a" replay "$work/initiation" 198.51.100.1 51820)
check "control: without the stamps it would be answered" [ "$answer" = 92 ]
relay_end TERM
echo nonsense >"$UKAI_STATE_DIR/$tr.relay-stamps"
relay_start
check "unreadable stamps: a warning, and it serves" \
    grep -q 'warning: .*stamps cannot be read' "$work/relay.log"
relay_end TERM
check "no private source ever left" [ "$(watched private)" = 0 ]
check "at the end everything is as before" unchanged

exit $failed
