#!/bin/bash
# shellcheck disable=SC2317 # functions are called through check() and trap
#
# 44-conntrack: server/conntrack counts and forgets real flows, with
# conntrack(8) as the judge.
#
#   c 10.66.0.2, .3 --- 10.66.0.1 r 192.0.2.1 --- 192.0.2.2 s
#
# r translates what c sends, and gives its port 8443 to 10.66.0.2:443.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${UKAI_BUILD:-${here%/tests/net}/build}
probe=$build/tests/ukai-test-conntrack-probe
python=/usr/bin/python3
ns=ukt44-$$
r=$ns-r c=$ns-c s=$ns-s
work=$(mktemp -d "/tmp/$ns.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
pids=

cleanup()
{
	local n pid

	for pid in $pids; do
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	for n in "$r" "$c" "$s"; do
		ip netns del "$n" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || skip "not root"
for tool in ip nft conntrack setpriv ping "$python"; do
	command -v "$tool" >/dev/null || skip "no $tool"
done
ip netns add "$r" 2>/dev/null || skip "no network namespaces"
timeout 10 ip netns exec "$r" conntrack -L >/dev/null 2>&1 ||
    skip "no ctnetlink"

in_ns()
{
	local n=$1
	shift
	timeout 90 ip netns exec "$n" "$@"
}

#   serve TCP UDP              both ports, until it is killed
#   open HOST FROM N M [PORT]  N TCP connections to PORT or 7000 and M UDP
#                              flows to 7001, from FROM; held until killed
cat >"$work/net.py" <<'PY'
import socket, sys, time

def serve(tcp, udp):
    t = socket.socket()
    t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    t.bind(("", tcp))
    t.listen(64)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("", udp))
    print("ready", flush=True)
    time.sleep(300)

def open_flows(host, source, n, m, port=7000):
    held = []
    for i in range(n):
        held.append(socket.create_connection((host, port), 5, (source, 0)))
    for i in range(m):
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        u.bind((source, 0))
        u.sendto(b"x", (host, 7001))
        held.append(u)
    print("ready", flush=True)
    time.sleep(300)

a = sys.argv[2:]
if sys.argv[1] == "serve":
    serve(int(a[0]), int(a[1]))
else:
    open_flows(a[0], a[1], *map(int, a[2:]))
PY

# stays NAME NS ARGUMENT...: net.py in a namespace, until it is ready.
stays()
{
	local name=$1 n=$2
	shift 2
	ip netns exec "$n" "$python" "$work/net.py" "$@" >"$work/$name" 2>&1 &
	pids+=" $!"
	for _ in $(seq 600); do
		grep -q ready "$work/$name" && return
		sleep 0.05
	done
	cat "$work/$name"
	return 1
}

# counts "PREFIX FLOWS PORTS"...
counts()
{
	local line prefixes=()

	for line in "$@"; do
		prefixes+=("${line%% *}")
	done
	in_ns "$r" "$probe" count 10.0.0.0/8 "${prefixes[@]}" >"$work/said"
	cat "$work/said"
	for line in "$@"; do
		grep -qx "$line" "$work/said" || return 1
	done
}

# How many flows conntrack(8) finds.
flows()
{
	in_ns "$r" conntrack -L "$@" 2>/dev/null | grep -c . || true
}

are()
{
	local n=$1
	shift
	echo "flows $*: $(flows "$@"), not $n"
	[ "$(flows "$@")" = "$n" ]
}

forgets()
{
	[ "$(in_ns "$r" "$probe" forget "$@" 2>/dev/null)" = forgotten ]
}

# --- the line

ip netns add "$c"
ip netns add "$s"
ip -n "$r" link add rc type veth peer name c0 netns "$c"
ip -n "$r" link add rs type veth peer name s0 netns "$s"
ip -n "$r" addr add 10.66.0.1/16 dev rc
ip -n "$r" addr add 192.0.2.1/24 dev rs
ip -n "$c" addr add 10.66.0.2/16 dev c0
ip -n "$c" addr add 10.66.0.3/16 dev c0
ip -n "$s" addr add 192.0.2.2/24 dev s0
for link in "$r rc" "$r rs" "$c c0" "$s s0" "$r lo" "$c lo" "$s lo"; do
	ip -n "${link% *}" link set "${link#* }" up
done
ip -n "$c" route add default via 10.66.0.1
in_ns "$r" sysctl -qw net.ipv4.ip_forward=1
in_ns "$r" nft -f - <<'NFT'
table ip t {
	chain pre {
		type nat hook prerouting priority dstnat
		iif rs tcp dport 8443 dnat to 10.66.0.2:443
	}
	chain post {
		type nat hook postrouting priority srcnat
		oif rs ip saddr 10.66.0.0/16 meta l4proto { tcp, udp } snat to 192.0.2.1:20000-60000 fully-random
		oif rs ip saddr 10.66.0.0/16 snat to 192.0.2.1
	}
}
NFT

# --- counting

check "no flows: zeros" counts "10.66.0.2/32 0 0" "10.66.0.0/16 0 0"
check "a server outside" stays server "$s" serve 7000 7001
check "a client's service" stays service "$c" serve 443 7001
check "the first client's flows" stays first "$c" open 192.0.2.2 10.66.0.2 5 3
check "the second client's flows" stays second "$c" open 192.0.2.2 10.66.0.3 2 1
check "the relay's own flow" stays own "$r" open 192.0.2.2 192.0.2.1 1 0
check "flows and ports of each" counts "10.66.0.2/32 8 8" \
    "10.66.0.3/32 3 3" "10.66.0.0/16 11 11" "10.66.0.1/32 0 0"
check "a ping" in_ns "$c" ping -q -c 1 -W 5 -I 10.66.0.2 192.0.2.2
check "ICMP is a flow and no port" counts "10.66.0.2/32 9 8"
check "a visitor" stays visitor "$s" open 192.0.2.1 192.0.2.2 1 0 8443
check "a forward's flow is one and no port" counts "10.66.0.2/32 10 8"
check "not watched: not counted" counts "192.0.2.0/24 0 0"

# --- forgetting

check "before: all there" are 14
check "forget (P9)" forgets 10.66.0.2
check "its own flows are gone" are 0 -s 10.66.0.2
check "and what went to it" are 0 -p tcp --dport 8443
check "the other's are there" counts "10.66.0.2/32 0 0" "10.66.0.3/32 3 3"
check "and the relay's own" are 1 -s 192.0.2.1
check "forget what there is not" forgets 10.66.0.2 192.0.2.200
check "forget several" forgets 10.66.0.3 198.51.100.0/24 10.66.0.2
check "only the relay's own is left" are 1

# --- many

# The loop's thread computes for a small part of it: others walk.
goes_on()
{
	local blocked all

	read -r blocked all < <(
		sed -n 's/^blocked \([0-9]*\) of \([0-9]*\) us$/\1 \2/p' \
		    "$work/said")
	echo "$blocked of $all us"
	[ $((blocked * 4)) -lt "$all" ]
}

max=$(in_ns "$r" cat /proc/sys/net/netfilter/nf_conntrack_max)
if [ "$max" -ge 110000 ]; then
	check "100000 flows" in_ns "$r" "$probe" fill 100000
	check "are counted" counts "10.99.0.0/16 100000 100000" \
	    "10.99.0.0/32 20 20" "10.99.19.135/32 20 20" "10.99.19.136/32 0 0"
	check "and the loop goes on meanwhile" goes_on
	check "5000 clients are forgotten" forgets 10.99.0.0/16
	check "all of them" are 1
fi

# --- no permission

unpermitted()
{
	in_ns "$r" setpriv --reuid 65534 --clear-groups --bounding-set=-all \
	    --inh-caps=-all "$probe" "$@" >"$work/said" 2>&1
	cat "$work/said"
}

not_known()
{
	unpermitted try 10.0.0.0/8 10.66.0.2 &&
	    grep -qx "10.66.0.2/32 unknown" "$work/said" &&
	    [ "$(grep -c "are not known" "$work/said")" = 1 ] &&
	    grep -q "Operation not permitted" "$work/said"
}

not_forgotten()
{
	unpermitted forget 192.0.2.1 192.0.2.2 &&
	    grep -q "does not delete them: Operation not" "$work/said" &&
	    are 1 -s 192.0.2.1
}

chmod 755 "$work"
if in_ns "$r" setpriv --reuid 65534 --clear-groups test -x "$probe"; then
	check "no permission: unknown, said once" not_known
	check "no permission: not forgotten, and said" not_forgotten
fi

exit "$failed"
