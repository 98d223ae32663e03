#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
#
# 36-policy-office: a PC that is the CE of its line ([MapE] Mode = self) joins a
# relay that sends it a policy. The line is tests/net/line's:
#
#    pc (CE) --- gw (a bridge) --- isp (border relay) --- srv  198.51.100.10-12
#                                                    \--- vps  the relay
#
# srv tells who calls: a flow by the tunnel is known by the relay's address, a
# native one by the line's. One line of output for a check; exit 0 when all
# hold, 77 when the machine lacks something.
set -u

here=$(cd "$(dirname "$0")" && pwd)
build=${UKAI_BUILD:-${here%/tests/net}/build}
ukai=$build/client/ukai
line=$here/line
export UKAI_BUILD=$build UKAI_LINE_PREFIX=u36n$$
ns=$UKAI_LINE_PREFIX
work=$(mktemp -d "/tmp/$ns.XXXXXX")
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state UKAI_CONF_DIR=$work/etc
tun=u36a$$ # also names of sockets: the same in no other namespace
tun2=u36b$$
far=u36r$$
native=192.0.2.52
tunnel=203.0.113.10
# shellcheck source=tests/net/checks
. "$here/checks"

cleanup()
{
	local name

	for name in $tun2 $tun; do
		on_pc "$ukai" down "$name" >/dev/null 2>&1
	done
	on_pc "$ukai" restore >/dev/null 2>&1
	"$line" down >/dev/null 2>&1
	for name in $tun $tun2 $far; do
		rm -f "/var/run/wireguard/$name.sock"
	done
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
on_pc() { at pc "$@"; }
relay()
{
	UKAI_RUN_DIR=$work/vps/run UKAI_STATE_DIR=$work/vps/state \
	    at vps "$build/server/ukai-relay" "$@"
}
says() { grep -F -q -e "$1" "$work/said" || { cat "$work/said"; false; }; }

# Calls COUNT times at once; prints how many were seen as whom.
cat >"$work/calls.py" <<'PY'
import collections, errno, os, selectors, socket, sys, time
sel = selectors.DefaultSelector()
seen = collections.Counter()
calls = [socket.socket() for _ in range(int(sys.argv[2]))]
for s in calls:
    s.setblocking(False)
    e = s.connect_ex((sys.argv[1], 8000))
    if e == errno.EINPROGRESS:
        sel.register(s, selectors.EVENT_READ)
    else:
        seen[os.strerror(e)] += 1
end = time.monotonic() + 15
while sel.get_map() and time.monotonic() < end:
    for key, _ in sel.select(0.5):
        try:
            seen[key.fileobj.recv(64).decode().strip()] += 1
        except OSError as e:
            seen[e.strerror] += 1
        sel.unregister(key.fileobj)
print(*("%s %d" % i for i in sorted(seen.items())))
PY
calls() { on_pc /usr/bin/python3 "$work/calls.py" "$@"; }

cat >"$work/who.py" <<'PY'
import socketserver
class Who(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(self.client_address[0].encode() + b"\n")
        self.request.recv(1)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 1024
s = Server(("", 8000), Who)
print("ready", flush=True)
s.serve_forever()
PY

for program in wg nft jq /usr/bin/python3; do
	command -v "$program" >/dev/null || skip "$program is not installed"
done
[ -x "$ukai" ] || { echo "not ok no $ukai: build first"; exit 1; }
code=0
"$line" up --ce self >"$work/out" 2>&1 || code=$?
[ $code = 0 ] || { cat "$work/out"; exit $code; }
"$line" rules >"$work/line.csv"
ip netns exec "$ns-srv" /usr/bin/python3 "$work/who.py" >"$work/who.out" 2>&1 &
check "the server starts" until_true grep -q ready "$work/who.out"

# ---- from the invitation to the first flow ----

mkdir -m 700 "$work/vps" "$work/etc"
(umask 077; cat >"$work/vps/relay.conf" <<END)
[Relay]
PrivateKey = $("$ukai" genkey)
Interface = $far
Address = 10.66.0.1/16
END
UKAI_RUN_DIR=$work/vps/run UKAI_STATE_DIR=$work/vps/state \
    ip netns exec "$ns-vps" "$build/server/ukai-relay" serve \
    --config "$work/vps/relay.conf" >"$work/relay.log" 2>&1 &
check "the relay starts" until_true relay status

rules=$work/etc/$tun.rules
cat >"$work/sent.rules" <<'END'
IP-CIDR,198.51.100.11/32,tunnel!
RULE-SET,lists/backup.list,tunnel
PORTS-LEFT,<40,tunnel
DEFAULT,native
END
token=$(relay invite pc --policy "$work/sent.rules" 2>/dev/null)
check "join: a policy that does not hold" exits 2 on_pc "$ukai" join \
    --name "$tun" "$token"
check "join: its mistake, and where" says "$rules:2:10: error:"
check "join: and what to do" says "mend $rules"
check "join: the tunnel is not up, without it" exits 3 on_pc "$ukai" status
check "join: the configuration names it" grep -qx "Policy = $rules" \
    "$work/etc/$tun.conf"
sed -i '/^RULE-SET/d' "$rules"
printf '[MapE]\nMode = self\nRules = %s\n' "$work/line.csv" \
    >>"$work/etc/$tun.conf"
chmod o+w "$rules"
check "up, as the line's CE" exits 0 on_pc "$ukai" up -c "$work/etc/$tun.conf"
check "others can write to the policy: said" says "chmod o-w $rules"
policy() { on_pc "$ukai" status --json "$tun" | jq -r ".tunnels[0].policy$1"; }
is_live() { [ "$(policy .live)" = true ]; }
check "the relay answers" until_true is_live
same "native goes by the CE" "$(calls 198.51.100.10 1)" "$native 1"
same "tunnel! by the relay" "$(calls 198.51.100.11 1)" "$tunnel 1"

# ---- the line's ports run out ----

# The line has 240 ports for one server. How many of the last 40 are taken before
# the rule holds says how fast the calls are.
spill()
{
	local said by_line n by_tunnel rest

	said=$(calls 198.51.100.12 280)
	echo "$said"
	read -r by_line n by_tunnel rest <<<"$said"
	[ "$by_line $by_tunnel" = "$native $tunnel" ] &&
	    [ $((n + rest)) = 280 ] && [ "$n" -gt 200 ] && [ "$n" -le 240 ]
}
check "280 calls to one server at once: the rest spills, nobody fails" spill
check "what has spilled is that rule's" \
    test "$(policy '.rules[] | select(.line == 2) | .flows')" -ge 40

# ---- a second tunnel ----

sed -e '/^Policy/d' -e '/^\[MapE\]/,$d' -e '/^Routes/d' "$work/etc/$tun.conf" \
    >"$work/etc/$tun2.conf"
printf 'Policy = %s\n' "$rules" >>"$work/etc/$tun2.conf"
chmod 600 "$work/etc/$tun2.conf"
up2() { exits "$1" on_pc "$ukai" up -c "$work/etc/$tun2.conf"; }
check "a second policy in this namespace: refused" up2 2
check "and by whom" says "the tunnel $tun has a policy"
same "the first one goes on" "$(calls 198.51.100.11 1)" "$tunnel 1"
sed -i 's/^Policy.*/Routes = off/' "$work/etc/$tun2.conf"
check "a second tunnel without: beside it" up2 0
same "native goes on" "$(calls 198.51.100.10 1)" "$native 1"
check "down" on_pc "$ukai" down "$tun2"

# ---- killed ----

for pid in $(ip netns pids "$ns-pc"); do
	kill -9 "$pid"
done
# The kernel takes its time to close what it had.
check "killed: its own table goes" until_true \
    fails on_pc nft list table inet "ukai-$tun"
check "killed: not running" exits 3 on_pc "$ukai" status "$tun"
check "but status says that something is refused" says "ukai restore $tun"
check "killed: nor can it end" exits 3 on_pc "$ukai" down "$tun"
check "but down says so, too" says "ukai restore $tun"
sed -i "s|^Routes = off|Policy = $rules|" "$work/etc/$tun2.conf"
check "another tunnel's policy does not open that" up2 2
check "and why" says "the tunnel $tun was killed"
check "restore" on_pc "$ukai" restore "$tun"
check "restored: not running" exits 3 on_pc "$ukai" status
check "and nothing is refused" fails says "ukai restore"

# ---- ukai run, where there is no policy ----

run() { on_pc "$ukai" run -- /usr/bin/python3 "$work/calls.py" "$@"; }
sed -i 's/^Policy.*/Routes = off/' "$work/etc/$tun2.conf"
ip -n "$ns-pc" route add default dev eth0
check "a tunnel that nothing takes: up" up2 0
same "ukai run, in its first moment" "$(run 198.51.100.10 1)" "$tunnel 1"
check "a program that goes on" sh -c "timeout 30 ip netns exec $ns-pc $ukai \
    run -- sh -c 'while [ ! -e $work/go ]; do sleep 0.1; done
	/usr/bin/python3 $work/calls.py 198.51.100.10 1 >$work/went' \
	</dev/null >/dev/null 2>&1 & sleep 0.5"
kill -9 "$(pgrep -f "^$ukai up -c $work/etc/$tun2.conf")"
check "killed: its table goes" until_true \
    fails on_pc nft list table inet "ukai-$tun2"
touch "$work/go"
check "killed: it has called" until_true test -s "$work/went"
same "R8: and is refused" "$(cat "$work/went")" "Connection refused 1"
check "restore" on_pc "$ukai" restore "$tun2"
exit $failed
