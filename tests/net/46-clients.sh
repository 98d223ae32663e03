#!/bin/bash
# shellcheck disable=SC2317 # functions are called through check() and trap
#
# 46-clients: a relay's clients, from the invitation to the end: invite, join,
# clients, address, forward, revoke, registry; on the office line (line):
#
#   pc, lan (a second PC)  ==== gw ==== isp ---- vps 203.0.113.10 and .11
#   192.168.24.10 .101                    \----- srv 198.51.100.10, a visitor
#
# The PCs' default route is the line. srv tells who it sees, and so do programs
# on the PCs: nothing of the relay's own word is believed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${UKAI_BUILD:-${here%/tests/net}/build}
export UKAI_BUILD=$build
export UKAI_LINE_PREFIX=ukt$$
line=$here/line
python=/usr/bin/python3
work=$(mktemp -d "/tmp/ukt-$$.XXXXXX")
tr=ukr$$
# shellcheck source=tests/net/checks
. "$here/checks"
pids=
relay_pid=

cleanup()
{
	local pid

	on pc down >/dev/null 2>&1 || true
	on lan down >/dev/null 2>&1 || true
	for pid in $relay_pid $pids; do
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	"$line" down >/dev/null 2>&1 || true
	rm -f "/var/run/wireguard/$tr.sock"
	mountpoint -q "$work/small" && umount "$work/small"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || skip "not root"
[ -c /dev/net/tun ] || skip "no /dev/net/tun"
for tool in ip nft wg wg-quick wireguard-go jq curl "$python"; do
	command -v "$tool" >/dev/null || skip "no $tool"
done

# at NS CMD...
at()
{
	local ns=$1
	shift
	timeout 60 "$line" enter "$ns" "$@"
}

# on HOST ARGS...: ukai on a PC, which has files of its own.
on()
{
	local ns=$1
	shift
	timeout 60 env UKAI_RUN_DIR="$work/$ns/run" \
		UKAI_STATE_DIR="$work/$ns/state" UKAI_CONF_DIR="$work/$ns/etc" \
		"$line" enter "$ns" "$build/client/ukai" "$@"
}

# relay ARGS...: ukai-relay on the VPS.
relay()
{
	timeout 60 env UKAI_RUN_DIR="$work/vps/run" \
		UKAI_STATE_DIR="$work/vps/state" \
		"$line" enter vps "$build/server/ukai-relay" "$@"
}

# says WORDS CMD...: fails, and says why.
says()
{
	local words=$1
	shift
	if "$@" >"$work/said" 2>&1; then
		echo "it did not fail"
		return 1
	fi
	grep -qe "$words" "$work/said" && return
	cat "$work/said"
	return 1
}

is()
{
	[ "$1" = "$2" ] && return
	echo "is \"$1\", not \"$2\""
	return 1
}

# --- who is seen ----------------------------------------------------------

#   serve PORT...       TCP and UDP: tells each who he is seen as
#   ask PROTO HOST PORT [FROM]   prints that
#   hold HOST PORT FILE    one TCP connection: "up", then "answered" for each
#                       line that comes back, to FILE, until it ends: "over"
#   call HOST PORT FILE    UDP without a pause, from one port: FILE is as whom
#                       the last call was seen, or "nobody"
cat >"$work/net.py" <<'PY'
import socket, sys, threading, time

def tcp_serve(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port))
    s.listen(64)
    while True:
        c, (addr, from_port) = s.accept()
        threading.Thread(target=talk, args=(c, addr, from_port),
                         daemon=True).start()

def talk(c, addr, from_port):
    try:
        while True:
            c.sendall(f"{addr} {from_port}\n".encode())
            if not c.recv(100):
                return
    except OSError:
        pass
    finally:
        c.close()

def udp_serve(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    while True:
        _, addr = s.recvfrom(2048)
        s.sendto(f"{addr[0]} {addr[1]}\n".encode(), addr)

def ask(proto, host, port, source="0.0.0.0"):
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    s = socket.socket(socket.AF_INET, kind)
    s.settimeout(2)
    s.bind((source, 0))
    s.connect((host, int(port)))
    if proto == "udp":
        s.send(b"x")
    print(s.recv(100).decode().split()[0])

def hold(host, port, path):
    out = open(path, "w", buffering=1)
    s = socket.create_connection((host, int(port)), 5)
    s.settimeout(1)
    for _ in range(600):
        try:
            if not s.recv(100):
                break
            out.write("answered\n")
            s.sendall(b"x")
            time.sleep(0.1)
        except OSError:
            break
    out.write("over\n")

def call(host, port, path):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(0.2)
    for _ in range(300):
        try:
            s.sendto(b"x", (host, int(port)))
            said = s.recv(100).decode().split()[0]
        except OSError:
            said = "nobody"
        with open(path, "w") as out:
            out.write(said + "\n")
        time.sleep(0.1)

verb, v = sys.argv[1], sys.argv[2:]
if verb == "serve":
    for p in v:
        for f in (tcp_serve, udp_serve):
            threading.Thread(target=f, args=(int(p),), daemon=True).start()
    time.sleep(600)
elif verb == "ask":
    ask(*v)
elif verb == "hold":
    hold(*v)
elif verb == "call":
    call(*v)
PY

# seen NS PROTO HOST PORT: as whom a host is seen there.
seen()
{
	local ns=$1
	shift
	at "$ns" "$python" "$work/net.py" ask "$@" 2>"$work/err" || tail -1 "$work/err"
}

# serve NS PORT...
serve()
{
	local ns=$1 port
	shift
	in_background "$ns" "$python" "$work/net.py" serve "$@"
	for port in "$@"; do
		until_true listens "$ns" "$port"
	done
}

# listens NS PORT: by TCP and UDP, on all addresses
listens()
{
	at "$1" ss -ltn | grep -q "0.0.0.0:$2 " &&
		at "$1" ss -lun | grep -q "0.0.0.0:$2 "
}

in_background()
{
	local ns=$1
	shift
	ip netns exec "$UKAI_LINE_PREFIX-$ns" "$@" >>"$work/background.log" 2>&1 &
	pids+=" $!"
}

# reaches NS PROTO HOST PORT
reaches()
{
	fails grep -qE "[a-z]" <<<"$(seen "$@")"
}

# --- the relay ------------------------------------------------------------

start_relay()
{
	env UKAI_RUN_DIR="$work/vps/run" UKAI_STATE_DIR="$work/vps/state" \
		ip netns exec "$UKAI_LINE_PREFIX-vps" \
		"$build/server/ukai-relay" serve --config "$work/vps/relay.conf" \
		>>"$work/relay.log" 2>&1 &
	relay_pid=$!
	until_true relay status
}

# stop_relay [SIGNAL]
stop_relay()
{
	kill "-${1:-TERM}" "$relay_pid"
	wait "$relay_pid" || true
	relay_pid=
}

configure()
{
	mkdir -p -m 700 "$work/vps" "$work/pc/etc" "$work/lan/etc"
	(umask 077; cat >"$work/vps/relay.conf" <<-END
		[Relay]
		PrivateKey = $(on pc genkey)
		Interface = $tr
		Address = 10.66.0.1/16
		Metrics = 127.0.0.1:9586
	END
	)
}

# client NAME: its object in `clients --json`.
client()
{
	relay clients --json | jq --arg n "$1" '.[] | select(.name == $n)'
}

# field NAME FILTER
field()
{
	client "$1" | jq -r "$2"
}

token=
# invite NAME ARGS...: $token
invite()
{
	token=$(relay invite "$@" 2>/dev/null)
}

# lost ARGS...: an invitation that meets a full disk
lost()
{
	relay invite "$@" >/dev/full
}

"$line" up >/dev/null
ip -n "$UKAI_LINE_PREFIX-vps" addr add 203.0.113.11/24 dev eth0
configure
serve srv 7000
start_relay

# --- joining --------------------------------------------------------------

test_join()
{
	check "invite: a token that nobody got" says "could not be written" \
		lost office-pc-1
	invite office-pc-1 --routes 10.66.0.0/16,198.51.100.11/32
	check "invite: one line, a token" grep -qxE 'ukai1-[A-Za-z0-9_-]+' <<<"$token"
	check "clients: invited" is "$(field office-pc-1 .expires | wc -c)" 11
	check "join: cut token" says "too short" on pc join "${token%????}"
	check "no half-made client (1)" [ -z "$(ls "$work/pc/etc")" ]
	check "join: exit 0" exits 0 on pc join --name "p$$" "$token"
	check "the configuration is 0600" is "$(stat -c %a "$work/pc/etc/p$$.conf")" 600
	check "the tunnel is up" until_true at pc ping -c 1 -W 1 10.66.0.1
	check "clients: joined" is "$(field office-pc-1 .tunnel_address)" 10.66.0.2
	check "clients: a last handshake" is "$(field office-pc-1 '.last_handshake > 0')" true
	check "clients: as text" grep -qE '^office-pc-1 +10.66.0.2 +shared' <<<"$(relay clients)"
	check "what it was given takes the tunnel" \
		is "$(seen pc tcp 198.51.100.11 7000)" 203.0.113.10
	check "and the rest the line" is "$(seen pc tcp 198.51.100.10 7000)" 192.0.2.52
	check "T1: used by another PC" says "has been used" on lan join --name "l$$" "$token"
	check "no half-made client (2)" [ -z "$(ls "$work/lan/etc")" ]
	check "join: a name that is there" says "is there already" \
		on pc join --name "p$$" "$token"
}

# The secret of a token that the relay knows, with a bit of it turned; and one
# that names another relay's key (T1).
test_forged()
{
	local forged

	invite victim
	forged=$("$python" - "$token" <<-'PY'
		import base64, hashlib, sys
		t = sys.argv[1].split("-", 1)[1]
		b = bytearray(base64.urlsafe_b64decode(t + "=" * (-len(t) % 4)))
		for name, at in (("secret", 43), ("pin", 11)):
		    c = bytearray(b[:-4])
		    c[at] ^= 1
		    c += hashlib.sha256(c).digest()[:4]
		    print("ukai1-" + base64.urlsafe_b64encode(c).decode().rstrip("="))
	PY
	)
	check "join: a network without its length: exit 2" exits 2 \
		on lan join --local 192.168.24.0 --name "l$$" "$token"
	check "forged secret" says "does not know" on lan join --name "l$$" \
		"$(head -1 <<<"$forged")"
	check "wrong pin: not the relay that the token names" says "key" \
		on lan join --name "l$$" "$(tail -1 <<<"$forged")"
	check "no half-made client (3)" [ -z "$(ls "$work/lan/etc")" ]
	check "revoke one that was invited" exits 0 relay revoke victim
	check "its token is void" says "does not know" on lan join --name "l$$" "$token"
	check "expired: said by the PC's clock" says "expired" env \
		LD_PRELOAD="$build/tests/ukai-test-clock.so" UKAI_TEST_CLOCK_OFFSET=90000 \
		UKAI_CONF_DIR="$work/lan/etc" "$line" enter lan \
		"$build/client/ukai" join --name "l$$" "$token"
}

# kill -9 at any moment of joining, and again with the same token.
test_interrupted()
{
	local i pid

	invite office-pc-2
	for i in 0.01 0.02 0.03 0.04 0.05 0.06 0.08 0.1; do
		on lan join --no-start --name "l$$" "$token" >/dev/null 2>&1 &
		pid=$!
		sleep "$i"
		pkill -9 -P "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		[ ! -e "$work/lan/etc/l$$.conf" ] || break
	done
	[ -e "$work/lan/etc/l$$.conf" ] ||
		check "interrupted, and joined at last" \
		exits 0 on lan join --no-start --name "l$$" "$token"
	check "one client of that name" \
		is "$(relay clients --json | jq '[.[] | select(.name == "office-pc-2")] | length')" 1
	check "who joined once, as the log says" \
		is "$(grep -c 'office-pc-2 joined' "$work/relay.log")" 1
	check "with the key of the configuration" \
		is "$(field office-pc-2 .public_key)" \
		"$(sed -n 's/^PrivateKey = //p' "$work/lan/etc/l$$.conf" | on lan pubkey)"
	check "and nothing else is left" is "$(ls "$work/lan/etc")" "l$$.conf"
	check "it comes up" exits 0 on lan up --config "$work/lan/etc/l$$.conf"
	check "and reaches the relay" until_true at lan ping -c 1 -W 1 10.66.0.1
}

# --- published ports --------------------------------------------------------

test_forwards()
{
	serve pc 443 5000 5001 5002 9000
	check "forward add" exits 0 relay forward add office-pc-1 tcp/8443 443
	check "a visitor reaches the PC, and is seen as he is" \
		is "$(seen srv tcp 203.0.113.10 8443)" 198.51.100.10
	check "UDP is not published" fails reaches srv udp 203.0.113.10 8443
	check "a range" exits 0 relay forward add office-pc-1 udp/5000-5002
	check "its last port" is "$(seen srv udp 203.0.113.10 5002)" 198.51.100.10
	check "beyond it" fails reaches srv udp 203.0.113.10 5003
	in_background srv "$python" "$work/net.py" call 203.0.113.10 5003 "$work/called"
	check "a visitor who calls all the time: before" \
		until_true grep -qx nobody "$work/called"
	check "a wide range" exits 0 relay forward add office-pc-1 udp/20000-50000
	relay forward remove office-pc-1 udp/20000-50000 >/dev/null
	relay forward add office-pc-1 udp/5003 5000 >/dev/null
	check "published: he is answered" until_true grep -qx 198.51.100.10 "$work/called"
	relay forward remove office-pc-1 udp/5003 >/dev/null
	check "no more: he is not" until_true grep -qx nobody "$work/called"
	check "a port that the relay has of TCP alone" exits 0 \
		relay forward add office-pc-1 udp/443
	check "is answered" is "$(seen srv udp 203.0.113.10 443)" 198.51.100.10
	relay forward remove office-pc-1 udp/443 >/dev/null
	check "but not of TCP" says "port 443 is" \
		relay forward add office-pc-1 tcp/443
	check "hairpin: from the VPS itself" reaches vps tcp 203.0.113.10 8443
	check "held by another" says "office-pc-1 has tcp/8443" \
		relay forward add office-pc-2 tcp/8440-8443
	check "N1: the relay's own" says "port 51820 is" relay forward add office-pc-1 udp/51820
	check "N1: ssh" says "port 22 is for ssh" relay forward add office-pc-1 tcp/22
	serve vps 8080
	check "N1: a program's" says "port 8080 is in use" relay forward add office-pc-1 tcp/8080
	check "reversed range: exit 2" exits 2 relay forward add office-pc-1 tcp/20-10
	check "not a port: exit 2" exits 2 relay forward add office-pc-1 tcp/70000
	check "nobody" says "there is no client nobody" relay forward add nobody tcp/1
	check "forward list" grep -qE '^office-pc-1 +203.0.113.10 +tcp/8443 to 443$' \
		<<<"$(relay forward list)"
	check "forward list --json" is "$(relay forward list --json | jq -c '[.[].first]')" '[8443,5000]'
	check "forward remove" exits 0 relay forward remove office-pc-1 tcp/8443
	check "it is gone" fails reaches srv tcp 203.0.113.10 8443
	check "the others are not" is "$(seen srv udp 203.0.113.10 5000)" 198.51.100.10
}

# --- addresses --------------------------------------------------------------

test_addresses()
{
	check "exclusive" exits 0 relay address office-pc-1 exclusive 203.0.113.11
	check "out" until_true is "$(seen pc tcp 198.51.100.11 7000)" 203.0.113.11
	check "in, any port" is "$(seen srv tcp 203.0.113.11 9000)" 198.51.100.10
	check "somebody has it" says "office-pc-1's already" \
		relay address office-pc-2 exclusive 203.0.113.11
	check "not of this host" says "not an address of this host" \
		relay address office-pc-2 exclusive 203.0.113.77
	check "exclusive, the relay's own address" exits 0 relay address office-pc-1 exclusive
	check "out by it" is "$(seen pc tcp 198.51.100.11 7000)" 203.0.113.10
	check "in by it" is "$(seen srv tcp 203.0.113.10 9000)" 198.51.100.10
	check "but what the host listens on is the host's" \
		is "$(seen srv tcp 203.0.113.10 8080)" 198.51.100.10
	check "and its tunnel goes on" at pc ping -c 1 -W 1 10.66.0.1
	check "routed: the host has it" says "this host has 203.0.113.11 itself" \
		relay address office-pc-1 routed 203.0.113.11
	check "routed: with forwards" says "has forwards" \
		relay address office-pc-1 routed 203.0.113.40
	check "without them" exits 0 relay forward remove office-pc-1 udp/5000-5002
	at vps ip route add 203.0.113.40/32 via 203.0.113.1
	check "routed: a route of others is there" says "a route to 203.0.113.40" \
		relay address office-pc-1 routed 203.0.113.40
	check "and is left" grep -q "via 203.0.113.1" \
		<<<"$(at vps ip route get 203.0.113.40)"
	at vps ip route del 203.0.113.40/32
	check "routed" exits 0 relay address office-pc-1 routed 203.0.113.40
	at pc ip addr add 203.0.113.40/32 dev "p$$"
	check "out, from it" is "$(seen pc tcp 198.51.100.11 7000 203.0.113.40)" 203.0.113.40
	check "in, by ARP" is "$(seen srv tcp 203.0.113.40 9000)" 198.51.100.10
	check "shared again" exits 0 relay address office-pc-1 shared
	check "out as before" is "$(seen pc tcp 198.51.100.11 7000)" 203.0.113.10
	check "in no more" fails reaches srv tcp 203.0.113.40 9000
	at pc ip addr del 203.0.113.40/32 dev "p$$"
	check "no way of that name: exit 2" exits 2 relay address office-pc-1 open
	check "N3: this host's router is nobody's" says "is a router" \
		relay address office-pc-1 routed 203.0.113.1
	check "nor is a network's address" says "stands for a network" \
		relay address office-pc-1 routed 203.0.113.255
}

# --- isolation --------------------------------------------------------------

test_isolation()
{
	local other
	other=$(field office-pc-2 .tunnel_address)
	check "N4: clients do not reach each other" fails at pc ping -c 1 -W 1 "$other"
	check "R1: the tunnel's addresses are not reached from outside" \
		fails at isp ping -c 1 -W 1 10.66.0.2
	at isp ip route add 10.66.0.0/16 dev vps
	check "R2: nor told to a link" fails at isp ping -c 1 -W 1 10.66.0.1
	check "by ARP" fails grep -q lladdr <<<"$(at isp ip neigh show 10.66.0.1)"
	at isp ip route del 10.66.0.0/16 dev vps
	check "N3: the relay's programs are not reached from the tunnel" \
		fails reaches pc tcp 10.66.0.1 8080
	check "spoofed: another client's address" fails seen_from pc 10.66.0.99
	stop_relay
	printf '[Group]\nName = friends\nMembers = office-pc-1, office-pc-2\n' \
		>>"$work/vps/relay.conf"
	start_relay
	until_true at lan ping -c 1 -W 1 10.66.0.1
	check "N4: but members of a group do" until_true at pc ping -c 1 -W 1 "$other"
}

test_limits()
{
	local i

	check "limit" exits 0 relay limit office-pc-1 --connections 3
	check "is shown" is "$(field office-pc-1 .connections)" 3
	for i in 1 2 3; do
		in_background pc "$python" "$work/net.py" hold 198.51.100.11 7000 \
			"$work/limited-$i"
		check "connection $i" until_true grep -q answered "$work/limited-$i"
	done
	check "and no more" fails reaches pc tcp 198.51.100.11 7000
	check "limit off" exits 0 relay limit office-pc-1 off
	check "then more" until_true reaches pc tcp 198.51.100.11 7000
	check "limit: not a number: exit 2" exits 2 relay limit office-pc-1 --rate x
	check "limit: nothing asked: exit 2" exits 2 relay limit office-pc-1
}

# A packet with another source is dropped: nothing comes to the visitor.
seen_from()
{
	at "$1" ip addr add "$2/32" dev "p$$"
	local who
	who=$(seen pc tcp 198.51.100.11 7000 "$2")
	at "$1" ip addr del "$2/32" dev "p$$"
	! grep -q '[a-z]' <<<"$who"
}

# --- the registry lives on ---------------------------------------------------

test_lives_on()
{
	in_background pc "$python" "$work/net.py" hold 198.51.100.11 7000 "$work/held"
	until_true grep -q answered "$work/held"
	relay forward add office-pc-2 tcp/8443 443 >/dev/null
	relay address office-pc-2 exclusive 203.0.113.11 >/dev/null
	check "S2: killed, and started again" stop_relay KILL
	relay restore --interface "$tr" >/dev/null 2>&1 || true
	start_relay
	check "what was confirmed is there" is "$(field office-pc-2 .global_address)" 203.0.113.11
	check "forwards too" is "$(field office-pc-2 '.forwards[0].first')" 8443
	check "the PC goes on by itself" until_true at pc ping -c 1 -W 1 10.66.0.1
	relay address office-pc-2 shared >/dev/null
	relay forward remove office-pc-2 tcp/8443 >/dev/null
}

# S2: what was said is there, whenever the relay is killed.
test_killed()
{
	local i

	for i in 1 2 3 4 5; do
		relay invite "killed-$i" >/dev/null 2>&1
		kill -9 "$relay_pid"
		wait "$relay_pid" 2>/dev/null || true
		start_relay
	done
	check "S2: five invitations, five kills" is "$(relay clients --json |
		jq '[.[] | select(.name | startswith("killed-"))] | length')" 5
	for i in 1 2 3 4 5; do
		relay revoke "killed-$i" >/dev/null
	done
}

test_backup()
{
	check "registry backup" exits 0 relay registry backup "$work/backup.db"
	check "it is 0600" is "$(stat -c %a "$work/backup.db")" 600
	check "not over a file" says "backup.db" relay registry backup "$work/backup.db"
	check "restore while the relay runs: refused" fails relay registry restore \
		--config "$work/vps/relay.conf" "$work/backup.db"
	relay revoke office-pc-2 >/dev/null
	stop_relay
	check "registry restore" exits 0 relay registry restore \
		--config "$work/vps/relay.conf" "$work/backup.db"
	start_relay
	check "who was revoked since is back" is "$(field office-pc-2 .name)" office-pc-2
	stop_relay
	cp "$work/vps/state/registry.db" "$work/good.db"
	printf 'nonsense' | dd of="$work/vps/state/registry.db" bs=1 seek=0 conv=notrunc 2>/dev/null
	check "S1: damaged: does not start" fails timeout 20 env \
		UKAI_RUN_DIR="$work/vps/run" UKAI_STATE_DIR="$work/vps/state" \
		"$line" enter vps "$build/server/ukai-relay" serve \
		--config "$work/vps/relay.conf"
	check "and it is as it was" cmp -n 8 "$work/vps/state/registry.db" <(printf nonsense)
	cp "$work/good.db" "$work/vps/state/registry.db"
	start_relay
	check "the good one again" is "$(field office-pc-1 .name)" office-pc-1
}

# The command fails, the relay runs on.
test_disk_full()
{
	local i

	mkdir -m 700 "$work/small"
	mount -t tmpfs -o size=300k,mode=700 tmpfs "$work/small"
	stop_relay
	cp "$work/vps/state/registry.db" "$work/small/registry.db"
	sed -i "/^Metrics/i Registry = $work/small/registry.db" "$work/vps/relay.conf"
	start_relay
	for i in $(seq 400); do
		relay invite "full-$i" >"$work/said" 2>&1 || break
	done
	check "disk full: the command fails" grep -qi "full" "$work/said"
	check "no client of that name" fails grep -q . <<<"$(client "full-$i")"
	check "the relay runs on" until_true at pc ping -c 1 -W 1 10.66.0.1
	dd if=/dev/zero of="$work/small/filler" bs=4k 2>/dev/null || true
	in_background pc "$python" "$work/net.py" hold 198.51.100.11 7000 "$work/full"
	until_true grep -q answered "$work/full"
	check "disk full: revoke fails, too" fails relay revoke office-pc-1
	check "and ends nothing" fails grep -q over "$work/full"
	check "disk full: address fails, too" fails relay address office-pc-1 exclusive
	check "and who was connected is" fails grep -q over "$work/full"
	rm "$work/small/filler"
	stop_relay
	sed -i '/^Registry/d' "$work/vps/relay.conf"
	umount "$work/small"
	start_relay
}

# --- a stock client ----------------------------------------------------------

test_wireguard()
{
	relay invite phone --wireguard --png "$work/phone.png" >"$work/lan/wgq.conf" 2>"$work/err"
	check "invite --wireguard: a configuration" grep -q '^PrivateKey = ' "$work/lan/wgq.conf"
	check "a configuration that nobody got" says "revoke lost" lost lost --wireguard
	relay revoke lost >/dev/null
	check "and a PNG, 0600" is "$(stat -c %a "$work/phone.png")" 600
	check "which is one" is "$(head -c 4 "$work/phone.png" | tail -c 3)" PNG
	check "no key of it in the registry" fails grep -qF \
		"$(sed -n 's/^PrivateKey = //p' "$work/lan/wgq.conf")" "$work/vps/state/registry.db"
	check "--qr in a pipe" grep -q '▀' <<<"$(relay invite phone-2 --wireguard --qr)"
	on lan down >/dev/null 2>&1 || true
	mv "$work/lan/wgq.conf" "$work/lan/wgq$$.conf"
	chmod 600 "$work/lan/wgq$$.conf"
	at lan env WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go \
		wg-quick up "$work/lan/wgq$$.conf" >"$work/wgq.log" 2>&1 || true
	check "wg-quick with wireguard-go: the tunnel is up" \
		until_true at lan ping -c 1 -W 1 10.66.0.1
	check "and takes everything" is "$(seen lan tcp 198.51.100.10 7000)" 203.0.113.10
	serve lan 443
	relay forward add phone tcp/8443 443 >/dev/null
	check "visitors reach it" is "$(seen srv tcp 203.0.113.10 8443)" 198.51.100.10
	check "hairpin: another client" reaches pc tcp 203.0.113.10 8443
	check "hairpin: itself" reaches lan tcp 203.0.113.10 8443
}

# --- the end -------------------------------------------------------------------

test_revoke()
{
	in_background lan "$python" "$work/net.py" hold 198.51.100.10 7000 "$work/revoked"
	until_true grep -q answered "$work/revoked"
	check "P9: revoke" exits 0 relay revoke phone
	check "its connection ends" until_true grep -q over "$work/revoked"
	check "nothing of it is left at the relay" \
		fails grep -q phone' ' <<<"$(relay clients)"
	check "nor in the rules" fails grep -q 8443 <<<"$(at vps nft list ruleset)"
	check "and it does not come back" fails at lan ping -c 1 -W 1 10.66.0.1
	check "the others go on" until_true at pc ping -c 1 -W 1 10.66.0.1
	at lan env WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go \
		wg-quick down "$work/lan/wgq$$.conf" >/dev/null 2>&1 || true
}

test_seen()
{
	at vps curl -s -m 5 http://127.0.0.1:9586/metrics >"$work/metrics"
	check "metrics: the field's names" grep -q '^wireguard_sent_bytes_total{' "$work/metrics"
	check "metrics: ours" grep -q '^ukai_relay_clients' "$work/metrics"
	check "no secret in status" fails grep -qF \
		"$(sed -n 's/^PrivateKey = //p' "$work/vps/relay.conf")" <<<"$(relay status --json)"
	check "status: text" grep -q 'office-pc-1' <<<"$(relay status)"
}

# 500 invitations and joins; under sanitizers, which are slow, 50.
test_many()
{
	local started=$SECONDS i n=500

	[ -z "${ASAN_OPTIONS:-}" ] || n=50
	for i in $(seq $n); do
		relay invite "many-$i" 2>/dev/null
	done >"$work/tokens"
	check "$n tokens, each another" is "$(sort -u "$work/tokens" | wc -l)" $n
	mkdir -m 700 "$work/many"
	i=0
	while read -r token; do
		i=$((i + 1))
		echo "$i $token"
	done <"$work/tokens" | xargs -P 2 -L 1 "$work/join" >"$work/many.log" 2>&1 || true
	check "$n have joined" is "$(relay clients --json |
		jq '[.[] | select(.name | startswith("many-")) | select(.joined != null)] | length')" $n
	grep "^ukai: error" "$work/many.log" | sort | uniq -c |
		sort -rn | head -5 | sed 's/^/# /'
	check "each with an address of its own" is "$(relay clients --json |
		jq '[.[].tunnel_address] | unique | length')" \
		"$(relay clients --json | jq length)"
	echo "# $n invites and joins: $((SECONDS - started)) s"
}

cat >"$work/join" <<END
#!/bin/bash
# One address makes so many connections a second; a person tries again, too.
export UKAI_CONF_DIR=$work/many/\$1 UKAI_STATE_DIR=$work/many UKAI_RUN_DIR=$work/many/run
for _ in \$(seq 40); do
	timeout 20 ip netns exec $UKAI_LINE_PREFIX-pc $build/client/ukai join \
	    --no-start --name "m\$1" "\$2" && exit
	sleep 1
done
END
chmod +x "$work/join"

test_join
test_forged
test_interrupted
test_forwards
test_addresses
test_isolation
test_limits
test_lives_on
test_killed
test_backup
test_disk_full
test_wireguard
test_revoke
test_seen
test_many
stop_relay
check "the relay leaves no rule" [ -z "$(at vps nft list ruleset)" ]
exit "$failed"
