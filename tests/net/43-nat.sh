#!/bin/bash
# shellcheck disable=SC2317 # functions are called through check() and trap
#
# 43-nat: the relay's rules for published ports, addresses of clients' own,
# groups and limits, with the kernel as the judge. A veth plays the tunnel.
#
#   s 192.0.2.2 ------- wan +-------+ tun --------- m --- a 10.66.0.2  shared
#     198.51.100.9 (visitor)| relay | 10.66.0.1     |     b 10.66.0.3  shared
#               192.0.2.1   +-------+               |     c 10.66.0.4  192.0.2.9
#               192.0.2.9                           |     d 10.66.0.5  203.0.113.5
#
# m hands every packet of a client to the relay, as a tunnel does. Every server
# tells who it is, on which port it was called, and by whom.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
probe=${UKAI_NAT_PROBE:-${UKAI_BUILD:-${here%/tests/net}/build}/tests/ukai-test-nat-probe}
python=/usr/bin/python3
ns=ukt43-$$
r=$ns-r s=$ns-s m=$ns-m
work=$(mktemp -d "/tmp/$ns.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
pids=

cleanup()
{
	local n pid

	exec 9>&- 2>/dev/null || true
	for pid in $pids; do
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	for n in r s m a b c d; do
		ip netns del "$ns-$n" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || skip "not root"
[ -x "$probe" ] || skip "no $probe"
for tool in ip nft jq sysctl "$python"; do
	command -v "$tool" >/dev/null || skip "no $tool"
done

# --- programs ------------------------------------------------------------

#   serve NAME PORT...        TCP and UDP: "NAME PORT CALLER ITS-PORT", then echo
#   tcp|udp HOST PORT [SOURCE-PORT [SOURCE]]    prints that
#   steady HOST PORT          one TCP connection that is used until SIGTERM,
#                             and once more after it
#   many N HOST PORT          N TCP connections at once: how many were answered
#   hold N HOST PORT          N TCP connections, kept
#   flows N HOST PORT FIRST   N UDP flows from ports FIRST..: seen ports. All are
#                             called, then heard, until 5 s are quiet
#   pour KIB HOST PORT        TCP: ms that so much takes to come
cat >"$work/net.py" <<'PY'
import os, select, signal, socket, sys, threading, time

# Whoever is to answer may be slow; who is not to has no longer than this.
wait = float(os.environ.get("CALL_WAIT", 15))

def serve_tcp(name, port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port))
    s.listen(64)
    def one(c, addr):
        try:
            c.sendall(f"{name} {port} {addr[0]} {addr[1]}\n".encode())
            while True:
                b = c.recv(65536)
                if not b:
                    break
                if b == b"pour\n":
                    while True:
                        c.sendall(bytes(65536))
                c.sendall(b[:1])
        except OSError:
            pass
    while True:
        threading.Thread(target=one, args=s.accept(), daemon=True).start()

def serve_udp(name, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    s.bind(("", port))
    while True:
        b, anc, f, addr = s.recvmsg(2048, 256)
        me = anc[0][2][4:8]
        s.sendmsg([f"{name} {port} {addr[0]} {addr[1]}\n".encode()],
                  [(0, 8, bytes(4) + me + bytes(4))], 0, addr)

def serve(name, ports):
    for p in ports:
        for f in serve_tcp, serve_udp:
            threading.Thread(target=f, args=(name, p), daemon=True).start()
    print("ready", flush=True)
    time.sleep(900)

def call(proto, host, port, sport=0, source=""):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if proto == "tcp"
                      else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(wait)
    s.bind((source, sport))
    s.connect((host, port))
    if proto == "udp":
        s.send(b"x")
    return s, s.recv(200).decode().strip()

def steady(host, port):
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    s, said = call("tcp", host, port)
    print("ready", flush=True)
    last = False
    while not last:
        last = told.wait(0.05)
        s.send(b"x")
        if s.recv(1) != b"x":
            sys.exit(1)

def many(n, host, port):
    got = []
    for i in range(n):
        try:
            got.append(call("tcp", host, port))
        except OSError:
            pass
    print(len(got))

def hold(n, host, port):
    got = [call("tcp", host, port) for i in range(n)]
    print("ready", len(got), flush=True)
    time.sleep(60)

def flows(n, host, port, first):
    left = {}
    for i in range(n):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("", first + i))
        s.sendto(b"x", (host, port))
        left[s] = first + i
    while ready := select.select(list(left), [], [], 5)[0] if left else []:
        for s in ready:
            print(left.pop(s), *s.recv(200).decode().split()[2:])
    for source in left.values():
        print(source, "failed")

def pour(kib, host, port):
    s, said = call("tcp", host, port)
    begin, left = time.monotonic(), kib * 1024
    s.send(b"pour\n")
    while left > 0:
        left -= len(s.recv(65536))
    print(int((time.monotonic() - begin) * 1000))

v = sys.argv[2:]
verb = sys.argv[1]
if verb == "serve":
    serve(v[0], [int(x) for x in v[1:]])
elif verb in ("tcp", "udp"):
    print(call(verb, v[0], int(v[1]), int(v[2]) if len(v) > 2 else 0,
               v[3] if len(v) > 3 else "")[1])
elif verb == "steady":
    steady(v[0], int(v[1]))
elif verb == "many":
    many(int(v[0]), v[1], int(v[2]))
elif verb == "hold":
    hold(int(v[0]), v[1], int(v[2]))
elif verb == "flows":
    flows(int(v[0]), v[1], int(v[2]), int(v[3]))
elif verb == "pour":
    pour(int(v[0]), v[1], int(v[2]))
PY

# net a VERB ARG...
net()
{
	local n=$1
	shift
	in_ns "$ns-$n" "$python" "$work/net.py" "$@"
}

# says PATTERN CLIENT VERB ARG...
says()
{
	local want=$1 got
	shift
	got=$(net "$@" 2>&1 | tail -1)
	[[ $got =~ ^$want$ ]] && return
	echo "$got, not $want"
	return 1
}

# Nobody answers.
silent()
{
	! CALL_WAIT=0.7 says '[a-z]+ [0-9]+ .*' "$@"
}

background()
{
	local n=$1
	shift
	ip netns exec "$ns-$n" "$python" "$work/net.py" "$@" \
	    >"$work/background" 2>&1 &
	started=$!
	pids="$pids $started"
	until_true grep -q ready "$work/background"
}

ping_from()
{
	local n=$1
	shift
	in_ns "$ns-$n" ping -q -c 2 -i 0.2 -W 1 "$@"
}

# reaches CLIENT ADDRESS: a ping is answered, however late.
reaches()
{
	ping_from "$@" -W 15
}

# --- the network ---------------------------------------------------------

for n in r s m a b c d; do
	ip netns add "$ns-$n"
	ip -n "$ns-$n" link set lo up
	in_ns "$ns-$n" sysctl -qw net.ipv4.conf.all.rp_filter=0 \
	    net.ipv4.conf.default.rp_filter=0 net.ipv4.icmp_ratelimit=0 \
	    net.ipv4.conf.all.send_redirects=0 \
	    net.ipv4.conf.default.send_redirects=0 \
	    net.ipv4.conf.all.accept_redirects=0
done

# join NS1 NAME1 NS2 NAME2
join()
{
	ip -n "$1" link add "$2" type veth peer name "$4" netns "$3"
	ip -n "$1" link set "$2" up
	ip -n "$3" link set "$4" up
}

join "$r" wan "$s" wan
join "$r" tun "$m" tun
ip -n "$r" addr add 192.0.2.1/24 dev wan
ip -n "$r" addr add 192.0.2.9/24 dev wan
ip -n "$r" addr add 10.66.0.1/24 dev tun
ip -n "$r" route add default via 192.0.2.2
ip -n "$r" route add 203.0.113.5/32 dev tun
ip -n "$s" addr add 192.0.2.2/24 dev wan
ip -n "$s" addr add 198.51.100.9/32 dev wan
ip -n "$s" route add 203.0.113.0/24 dev wan
in_ns "$r" sysctl -qw net.ipv4.ip_forward=1
in_ns "$m" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.tun.proxy_arp=1 \
    net.ipv4.neigh.tun.proxy_delay=0
ip -n "$m" addr add 10.66.0.254/32 dev tun
ip -n "$m" route add default via 10.66.0.1 dev tun onlink table 100
i=2
for n in a b c d; do
	join "$m" to$n "$ns-$n" tun
	ip -n "$ns-$n" addr add 10.66.0.$i/32 dev tun
	ip -n "$ns-$n" route add default dev tun
	in_ns "$m" sysctl -qw net.ipv4.conf.to$n.proxy_arp=1 \
	    net.ipv4.neigh.to$n.proxy_delay=0
	ip -n "$m" route add 10.66.0.$i/32 dev to$n
	ip -n "$m" rule add iif to$n lookup 100
	i=$((i + 1))
done
ip -n "$ns-d" addr add 203.0.113.5/32 dev tun
ip -n "$m" route add 203.0.113.5/32 dev tod
# An address that is nobody's, for spoofing.
ip -n "$ns-a" addr add 10.77.0.1/32 dev tun

# Others on this host: a container's published port, what it masquerades to, a
# firewall that drops what it does not know.
in_ns "$r" nft -f - <<'NFT'
table inet docker {
	chain published {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local tcp dport 8089 dnat ip to 192.0.2.2:7000
	}
	chain leaving {
		type nat hook postrouting priority srcnat; policy accept;
		oifname { "wan", "tun" } masquerade
	}
}
table ip ufw {
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "tun" accept
		oifname "tun" accept
		ct state established,related accept
		ip daddr 192.0.2.2 tcp dport 7000 accept
	}
}
NFT
others()
{
	in_ns "$r" nft list table inet docker
	in_ns "$r" nft list table ip ufw
}
others >"$work/others"
same_others()
{
	others | diff "$work/others" -
}

ports="443 444 5000 5010 5020 7000 7001 7002 7003 6001 8443 9001 22 80 8088"
for n in a b c d; do
	# shellcheck disable=SC2086
	background $n serve $n $ports
done
# shellcheck disable=SC2086
background s serve s 7000 7001 443
background r serve r 22 80 8088 9001

# --- the table -----------------------------------------------------------

umask 077
conf()
{
	cat >"$work/relay.conf" <<CONF
[Relay]
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
Address = 10.66.0.1/24
GlobalAddress = 192.0.2.1
ReservedPorts = 80
$*
CONF
}
mkfifo "$work/in"
probe_start()
{
	exec 9>&- 2>/dev/null || true
	: >"$work/probe"
	ip netns exec "$r" "$probe" "$work/relay.conf" tun wan \
	    <"$work/in" >"$work/probe" 2>&1 &
	probe_pid=$!
	pids="$pids $probe_pid"
	exec 9>"$work/in"
	until_true grep -q ready "$work/probe"
}
probe_stop()
{
	exec 9>&-
	wait "$probe_pid" || true
}

# tell LINE: the probe says that it was done.
tell()
{
	local before
	before=$(grep -c '^\(ok\|failed\) ' "$work/probe" || true)
	echo "$*" >&9
	for _ in $(seq 600); do
		[ "$(grep -c '^\(ok\|failed\) ' "$work/probe")" -gt "$before" ] &&
		    break
		sleep 0.05
	done
	tail -1 "$work/probe" | grep -q '^ok' && return
	tail -5 "$work/probe"
	return 1
}

# holds LINE...: these are told, and applied.
holds()
{
	local line
	for line in "$@"; do
		tell "$line" || return 1
	done
	tell apply
}

conf "$(printf '[Group]\nName = office\nMembers = a, c\n')"
probe_start
check "control: the firewall of others lets visitors through to theirs" \
    says 's 7000 .*' s tcp 192.0.2.1 8089
check "no clients: nothing passes" silent a tcp 192.0.2.2 7000

forwards='tcp/8443=443 udp/8443=443 tcp/5000-5020 udp/5000-5020 tcp/6000-6003=7000'
check "four clients" holds \
    "client a shared 10.66.0.2 - 0 0 $forwards" \
    "client b shared 10.66.0.3 - 0 0 tcp/9443=443" \
    "client c exclusive 10.66.0.4 192.0.2.9 0 0 tcp/2222=22" \
    "client d routed 10.66.0.5 203.0.113.5 0 0"

# --- forwards ------------------------------------------------------------

for p in tcp udp; do
	check "$p forward: real source kept, port of the target" \
	    says 'a 443 198.51.100.9 .*' s $p 192.0.2.1 8443 0 198.51.100.9
	for port in 5000 5010 5020; do
		check "$p range: $port" says "a $port 192.0.2.2 .*" \
		    s $p 192.0.2.1 $port
	done
	check "$p: outside of the range (N5)" silent s $p 192.0.2.1 444
done
check "a visitor's source port is kept, whatever others masquerade" \
    says 'a 443 192.0.2.2 41234' s tcp 192.0.2.1 8443 41234
check "shifted range: first" says 'a 7000 .*' s tcp 192.0.2.1 6000
check "shifted range: last" says 'a 7003 .*' s tcp 192.0.2.1 6003
check "shifted range: behind it" silent s tcp 192.0.2.1 6004
check "shifted range: the other protocol" silent s udp 192.0.2.1 6001
check "another client's forward" says 'b 443 .*' s tcp 192.0.2.1 9443
check "a forward is not at another address" silent s tcp 192.0.2.9 9443
check "the host's own services go on" says 'r 8088 .*' s tcp 192.0.2.1 8088
check "so does what others publish" says 's 7000 .*' s tcp 192.0.2.1 8089

# --- hairpin -------------------------------------------------------------

for p in tcp udp; do
	check "$p hairpin: from another client, as the global address" \
	    says 'a 443 192.0.2.1 .*' b $p 192.0.2.1 8443
	check "$p hairpin: from itself" says 'a 443 192.0.2.1 .*' \
	    a $p 192.0.2.1 8443
	check "$p hairpin: range" says 'a 5010 192.0.2.1 .*' \
	    b $p 192.0.2.1 5010
	check "$p hairpin: from the VPS itself" says 'a 443 192.0.2.1 .*' \
	    r $p 192.0.2.1 8443
	check "$p hairpin: what is not published is not reachable (N3)" \
	    silent b $p 192.0.2.1 8088
	check "$p hairpin: from an exclusive client, as its own address" \
	    says 'a 443 192.0.2.9 .*' c $p 192.0.2.1 8443
	check "$p hairpin: from a routed client, as its own address" \
	    says 'a 443 203.0.113.5 .*' d $p 192.0.2.1 8443 0 203.0.113.5
	check "$p: to an exclusive address, from another client" \
	    says 'c 8443 192.0.2.1 .*' b $p 192.0.2.9 8443
	check "$p: to an exclusive address, from itself" \
	    says 'c 8443 192.0.2.9 .*' c $p 192.0.2.9 8443
	check "$p: to an exclusive address, from the VPS" \
	    says 'c 8443 192.0.2.1 .*' r $p 192.0.2.9 8443
	check "$p: to a routed address, from another client" \
	    says 'd 443 192.0.2.1 .*' b $p 203.0.113.5 443
done
check "hairpin toward what others publish (N3)" silent b tcp 192.0.2.1 8089
check "the VPS still reaches itself" says 'r 8088 .*' r tcp 192.0.2.1 8088

# --- exclusive -----------------------------------------------------------

check "exclusive: in, any port, real source" \
    says 'c 7001 198.51.100.9 .*' s tcp 192.0.2.9 7001 0 198.51.100.9
check "exclusive: also ports that are reserved elsewhere" \
    says 'c 80 192.0.2.2 .*' s tcp 192.0.2.9 80
check "exclusive: UDP" says 'c 9001 192.0.2.2 .*' s udp 192.0.2.9 9001
check "exclusive: a forward changes the port" \
    says 'c 22 192.0.2.2 .*' s tcp 192.0.2.9 2222
check "exclusive: out, with its port" \
    says 's 7000 192.0.2.9 23456' c tcp 192.0.2.2 7000 23456
check "exclusive: ping out" reaches c 192.0.2.2
icmp_to()
{
	in_ns "$1" nft 'add table ip icmp; add chain ip icmp in { type filter hook input priority filter; }; add rule ip icmp in icmp type echo-request counter'
	reaches s "$2"
	in_ns "$1" nft -j list table ip icmp | jq -e \
	    '[.. | .counter? // empty | .packets] | add > 0'
	local got=$?
	in_ns "$1" nft delete table ip icmp
	return "$got"
}
check "exclusive: ping in reaches the client" icmp_to "$ns-c" 192.0.2.9
check "the relay's own address is pinged itself" icmp_to "$r" 192.0.2.1

# --- routed --------------------------------------------------------------

check "proxy ARP, before: nobody answers" fails ping_from s 203.0.113.5
check "proxy ARP for a routed address" tell "proxy add wan 203.0.113.5"
check "routed: it is one of the kernel's" sh -c \
    "ip -n $r neigh show proxy | grep -q '203.0.113.5 dev wan'"
check "a second one is refused" fails tell "proxy add wan 203.0.113.5"
check "routed: ping in" until_true ping_from s 203.0.113.5
check "routed: in, any port, real source" \
    says 'd 7001 198.51.100.9 .*' s tcp 203.0.113.5 7001 0 198.51.100.9
check "routed: out, neither address nor port changes" \
    says 's 7000 203.0.113.5 23456' d tcp 192.0.2.2 7000 23456 203.0.113.5
check "routed: from its tunnel address, as its own address" \
    says 's 7000 203.0.113.5 .*' d udp 192.0.2.2 7000 0 10.66.0.5
ip -n "$s" addr add 203.0.113.6/32 dev wan
in_ns "$r" nft 'add table inet watch; add chain inet watch in { type filter hook input priority filter; }; add rule inet watch in ip saddr 203.0.113.5 counter; add chain inet watch pre { type filter hook prerouting priority -150; }; add rule inet watch pre iifname "wan" ip saddr 203.0.113.5 counter'
ip -n "$s" addr add 203.0.113.5/32 dev lo
in_ns "$s" ping -q -c 1 -W 1 -I 203.0.113.5 192.0.2.1 >/dev/null 2>&1 || true
ip -n "$s" addr del 203.0.113.5/32 dev lo
watched()
{
	in_ns "$r" nft -j list chain inet watch "$1" |
	    jq '[.. | .counter? // empty | .packets] | add'
}
check "a routed client's address from elsewhere is dropped (R1)" \
    [ "$(watched pre)" = 0 ]
in_ns "$r" nft delete table inet watch

# --- what clients cannot do ----------------------------------------------

check "control: a reaches the internet" \
    says 's 7000 192.0.2.1 .*' a tcp 192.0.2.2 7000
check "a spoofed source is dropped" silent a tcp 192.0.2.2 7000 0 10.77.0.1
check "toward a published port, too" silent a tcp 192.0.2.1 9443 0 10.77.0.1
check "toward the host, too" fails ping_from a -I 10.77.0.1 10.66.0.1
check "a pings the relay" reaches a 10.66.0.1
check "not the relay's other addresses (N3)" fails ping_from a 192.0.2.1
check "clients do not reach each other (N4)" silent b tcp 10.66.0.2 443
check "nor at an address that is published (N4)" silent b tcp 10.66.0.2 5010
check "members of a group do" says 'a 443 10.66.0.4 .*' c tcp 10.66.0.2 443
check "and the other way" says 'c 443 10.66.0.2 .*' a tcp 10.66.0.4 443
check "not with who is not a member (N4)" silent c tcp 10.66.0.3 443
check "a member's ping" reaches a 10.66.0.4
ip -n "$s" route add 10.66.0.0/24 via 192.0.2.1
check "the pool is not there for others (R1, N5)" silent s tcp 10.66.0.2 443
ip -n "$s" route del 10.66.0.0/24

# Port shadow (CVE-2021-3773): a client calls the visitor from the port that is
# published, so that the visitor's call would be the answer.
net a flows 60 192.0.2.2 7000 9400 >"$work/shadow"
shadowed()
{
	awk '$3 == 9443 || $3 == 8443 || ($3 >= 5000 && $3 <= 5020) ||
	    $3 == 51820 || $3 == 80 || $3 < 1024 && $2 != "failed" {
	    print; bad = 1 } $2 == "192.0.2.1" { n++ }
	    $1 == $3 { kept++ } END { exit bad || n < 50 || kept > 3 }' \
	    "$work/shadow"
}
check "no flow gets a published port, nor the one it asks for (N1, N2)" \
    shadowed
check "few ports left" holds "client b shared 10.66.0.3 - 0 0 tcp/9443=443 \
tcp/1024-4999 tcp/5021-5999 tcp/6004-8442 tcp/8444-9442 tcp/9444-60000"
net a flows 200 192.0.2.2 7001 9400 >"$work/shadow"
above()
{
	awk '$2 == "failed" { next } $3 <= 60000 { print; bad = 1 } { n++ }
	    END { exit bad || n < 190 }' "$work/shadow"
}
check "published ports are excluded (N1)" above
check "no port left for who shares: refused" fails holds \
    "client b shared 10.66.0.3 - 0 0 tcp/1-65535"
check "and what was there holds" says 'b 443 .*' s tcp 192.0.2.1 9443
check "b as before" holds "client b shared 10.66.0.3 - 0 0 tcp/9443=443"

# --- changes while flows run ---------------------------------------------

background s steady 192.0.2.1 8443
steady=$started
background a steady 192.0.2.2 7000
other=$started
check "a change of others" holds \
    "client b shared 10.66.0.3 - 0 0 tcp/9443=444 tcp/9600-9700" \
    "client c exclusive 10.66.0.4 192.0.2.9 800 5"
check "a change of its own: the address stays, the target is another" holds \
    "client a shared 10.66.0.2 - 0 0 tcp/8443=444"
check "it holds at once" says 'a 444 .*' s tcp 192.0.2.1 8443
check "a forward that was taken away is closed" silent s tcp 192.0.2.1 5010
# goes_on PID: it was answered all the time, and is once more.
goes_on()
{
	kill "$1" && wait "$1"
}
check "a flow that came in goes on" goes_on "$steady"
check "a flow that went out goes on" goes_on "$other"
no_commands()
{
	tell apply && tail -2 "$work/probe" | grep -q 'changed 0 bytes'
}
check "nothing changes: no commands" no_commands

# --- limits --------------------------------------------------------------

# The limit below would let 20 MiB through in 200 s: more than in_ns waits.
check "control: without a limit" net a pour 20480 192.0.2.2 7000
check "limits" holds "client a shared 10.66.0.2 - 800 5 tcp/8443=443"
# 100 kB a second, and besides the bucket: a second's worth and 128 KiB. So 500
# KiB take 2.8 s at the least.
rate()
{
	local ms
	ms=$(net "$@") && echo "500 KiB in $ms ms" && [ "$ms" -gt 2500 ]
}
check "bandwidth toward the client" rate a pour 500 192.0.2.2 7000
check "bandwidth from the client" rate s pour 500 192.0.2.1 8443
check "no limit for others" net b pour 20480 192.0.2.2 7000
check "limits of connections alone" holds \
    "client a shared 10.66.0.2 - 0 0 tcp/8443=443" \
    "client b shared 10.66.0.3 - 0 5 tcp/9443=443"
background b hold 5 192.0.2.2 7000
held=$started
check "as many connections as there may be, out" grep -q 'ready 5' \
    "$work/background"
check "one more, out" silent b tcp 192.0.2.2 7000
check "one more, in" silent s tcp 192.0.2.1 9443
check "others have no such limit" says 9 a many 9 192.0.2.2 7000
check "a change of others keeps the count" holds \
    "client a shared 10.66.0.2 - 0 0 tcp/8443=444"
check "still no more" silent b tcp 192.0.2.2 7000
kill "$held"
wait "$held" 2>/dev/null || true
check "connections that have ended do not count" until_true says 'b 443 .*' \
    s tcp 192.0.2.1 9443
check "control: without a limit again" holds \
    "client b shared 10.66.0.3 - 0 0 tcp/9443=443"
check "more" says 9 b many 9 192.0.2.2 7000

# --- the relay's own address, for one client ------------------------------

check "b gets the relay's address" holds \
    "client a shared 10.66.0.2 - 0 0 tcp/8443=443" \
    "client b exclusive 10.66.0.3 192.0.2.1 0 0" "in-use 22 8088 9001"
check "owner: in, real source" \
    says 'b 7001 198.51.100.9 .*' s tcp 192.0.2.1 7001 0 198.51.100.9
check "owner: UDP" says 'b 5010 192.0.2.2 .*' s udp 192.0.2.1 5010
check "owner: hairpin from another" \
    says 'b 7001 192.0.2.1 .*' a tcp 192.0.2.1 7001
check "owner: hairpin from itself" \
    says 'b 7001 192.0.2.1 .*' b tcp 192.0.2.1 7001
check "owner: from the VPS" says 'b 7001 192.0.2.1 .*' r tcp 192.0.2.1 7001
check "owner: another's forward stays" says 'a 443 .*' s tcp 192.0.2.1 8443
check "owner: 22 is the host's (N1)" says 'r 22 .*' s tcp 192.0.2.1 22
check "owner: a reserved port is the host's (N1)" \
    says 'r 80 .*' s tcp 192.0.2.1 80
check "owner: a port in use is the host's" \
    says 'r 8088 .*' s tcp 192.0.2.1 8088
check "owner: for the VPS itself, too" says 'r 8088 .*' r tcp 192.0.2.1 8088
check "owner: not for clients (N3)" silent a tcp 192.0.2.1 8088
check "owner: what others publish stays theirs" \
    says 's 7000 .*' s tcp 192.0.2.1 8089
check "owner: 443 is the relay's" silent s tcp 192.0.2.1 443
check "owner: the UDP port is the relay's" silent s udp 192.0.2.1 51820
check "a port that the host begins to use" holds "in-use 22 8088 9001 7001"
check "is no more the owner's" silent s tcp 192.0.2.1 7001
net b flows 150 192.0.2.2 7000 20000 >"$work/shadow"
owner_ports()
{
	awk '$2 == "failed" { next } $3 == 8443 || $3 >= 49152 || $3 == 22 ||
	    $3 == 80 || $3 == 8088 { print; bad = 1 } { n++ }
	    END { exit bad || n < 140 }' "$work/shadow"
}
check "owner: its flows get no port of others (N1)" owner_ports
net a flows 100 192.0.2.2 7001 20000 >"$work/shadow"
share_ports()
{
	awk '$2 == "failed" { next } $3 < 49152 || $3 == 51820 { print; bad = 1 }
	    { n++ } END { exit bad || n < 95 }' "$work/shadow"
}
check "who shares gets no port of the owner's (N1)" share_ports
check "and the owner no call to theirs" silent s tcp 192.0.2.1 50000
check "owner: ping of the address is the host's" icmp_to "$r" 192.0.2.1
check "b shares again" holds "client b shared 10.66.0.3 - 0 0 tcp/9443=443"
check "the address is the relay's again" silent s tcp 192.0.2.1 7002

# --- the end -------------------------------------------------------------

check "other software's tables are untouched" same_others
kill -9 "$probe_pid"
wait "$probe_pid" 2>/dev/null || true
check "kill -9: the table is gone" fails in_ns "$r" \
    nft list table inet ukai-relay-tun
check "kill -9: the proxy entry is left" sh -c \
    "ip -n $r neigh show proxy | grep -q 203.0.113.5"
conf AllowClientToClient = true
probe_start
check "the next start removes it" fails sh -c \
    "ip -n $r neigh show proxy | grep -q 203.0.113.5"
check "one alone is removed" holds "proxy add wan 203.0.113.5" \
    "proxy add wan 203.0.113.7" "proxy remove wan 203.0.113.5"
check "and the other stays" sh -c "[ \"\$(ip -n $r neigh show proxy |
    cut -d' ' -f1)\" = 203.0.113.7 ]"
check "two clients" holds "client a shared 10.66.0.2 - 0 0 tcp/8443=443" \
    "client b shared 10.66.0.3 - 0 0"
check "clients reach each other when allowed (N4)" \
    says 'a 443 10.66.0.3 .*' b tcp 10.66.0.2 443
check "a change that nftables refuses" fails holds \
    "client x shared 10.66.0.7 - 5 0 tcp/8443=444"
check "says which line" grep -q 'line [0-9]* of a change' "$work/probe"
check "leaves what was there" says 'a 443 10.66.0.3 .*' b tcp 10.66.0.2 443
probe_stop
check "at the end nothing is left" sh -c \
    "[ -z \"\$(ip -n $r neigh show proxy)\" ] && ! ip netns exec $r nft list \
    table inet ukai-relay-tun 2>/dev/null"
check "and the others' tables are as they were" same_others

exit $failed
