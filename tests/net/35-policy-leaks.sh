#!/bin/bash
# shellcheck disable=SC2154,SC2317,SC2329 # functions are called by name and by trap
#
# 35-policy-leaks: is anything of a tunnel! or block flow ever seen on the line?
#
# The line is watched while pc and the LAN do all they can to have a leak: odd
# sockets, and a policy that starts, ends, reloads, is killed, and whose tables,
# routes and interface others take away. Namespaces are drawn in policy-lib. One
# line of output for a check; exit 0 when all hold, 77 when the machine lacks
# something.
set -u

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=policy-lib
. "$here/policy-lib" 35
flood_pids=()

is_by() { [ "$(calls "$pc" "$1")" = "$2" ]; }

begin wg nft jq curl dig
label=$(printf 'x%.0s' $(seq 60))
bucket=$(printf 'b%.0s' $(seq 63)).s3.us-central-1.example
cat >"$work/zone" <<EOF
backup.example A 198.51.100.2
backup.example AAAA 2001:db8:9::2
other.backup.example A 198.51.100.5
$label.$label.backup.example A 198.51.100.4
$bucket A 198.51.100.3
EOF
check "the relay starts" start_relay
check "the servers start" start_servers
check "the DNS server starts" start_dns
dump >"$work/before"
base=('DOMAIN-SUFFIX,backup.example,tunnel!' 'IP-CIDR,198.51.100.6/32,tunnel!'
    'IP-CIDR,198.51.100.7/32,block' 'IP-CIDR,198.51.100.8/32,tunnel'
    'IP-CIDR,2001:db8:9::6/128,tunnel!' 'PROCESS-NAME,ukt35prog,tunnel!'
    "DOMAIN-KEYWORD,${bucket%%.*},tunnel!")
forbidden=(198.51.100.2 198.51.100.3 198.51.100.4 198.51.100.5 198.51.100.6
    198.51.100.7 2001:db8:9::2 2001:db8:9::6 198.51.100.9:8080)
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
check "the servers of UDP start" until_true grep -q ready "$work/udp.out"
mkfifo "$work/in"
on_pc /usr/bin/python3 "$work/old.py" <"$work/in" >"$work/old" 2>&1 &
old_pid=$!
exec 7>"$work/in"
check "flows begin before there is a policy" until_true \
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
by "R8: a name that its beginning decides about" "$bucket" $tunnel
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
check "rules and routes are put back" until_true is_by 198.51.100.6 $tunnel
on_pc ip rule add lookup 777 # before all others, as wg-quick's
ip -n "$pc" route add default via 192.0.2.1 table 777
check "R3: the rules go before another tunnel's" \
    until_true is_by 198.51.100.6 $tunnel
on_pc ip rule add priority 0 lookup 777
check "what they cannot get before is said" \
    until_true grep -q 'taken elsewhere, and dropped' "$work/up.out"
on_pc ip rule del priority 0 lookup 777
on_pc ip rule del lookup 777
on_pc ip route flush table 777
by "and holds no longer than it is there" 198.51.100.6 $tunnel
on_pc nft flush ruleset
stands() { on_pc nft list table inet "ukai-$tun-guard"; }
check "the guard is put back" until_true stands
by "and takes names again" backup.example $tunnel
kill_nine
by "R8: killed: a name's address is refused" 198.51.100.2 "$refused"
check "R8: killed: odd sockets are refused" on_pc /usr/bin/python3 \
    "$work/odd.py" wan $native
by "R8: killed: the LAN's as well" 198.51.100.6 "$refused" "$lan"
check "up again" up
by "R8: a name's address from before" 198.51.100.2 $tunnel
by "R8: that of the long name, too" 198.51.100.4 $tunnel
by "R8: that of one whose beginning decides" 198.51.100.3 $tunnel

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

# New flows all the time, while the kernel fills a long list's set.
cat >"$work/flood.py" <<'EOF'
import os, socket, sys
while not os.path.exists(sys.argv[1]):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.sendto(b"x", ("198.51.100.6", 9998))
    except OSError:
        pass
    s.close()
EOF
/usr/bin/python3 -c '
for i in range(30000):
    print("IP-CIDR,%d.%d.%d.0/24" % (20 + i // 16384, i // 128 % 128, i % 128 * 2))
print("IP-CIDR,198.51.100.6/32")' >"$work/long.list"
rules 'RULE-SET,long.list,tunnel!' "${base[@]:0:1}" "${base[@]:2}" \
    'DEFAULT,native'
for ns in "$pc" "$lan"; do
	timeout 60 ip netns exec "$ns" /usr/bin/python3 "$work/flood.py" \
	    "$work/dry" &
	flood_pids[${#flood_pids[@]}]=$!
done
for i in 1 2 3; do
	check "reload: a long list ($i)" reload
done
touch "$work/dry"
wait "${flood_pids[@]}"
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
check "a long connection of tunnel!" until_true grep -q $tunnel "$work/long"
line_cuts
check "no relay: known in 3 s" within 3 is_live false
by "no relay: tunnel goes native" 198.51.100.8 $native
by "no relay: tunnel! is refused" 198.51.100.6 "$refused"
on_pc /usr/bin/python3 "$work/odd.py" wan $native >"$work/odd" 2>&1
same "no relay: nobody is answered" \
    "$(grep -c -e $native -e $tunnel "$work/odd")" 0
line_heals
check "the relay is back: tunnel!" until_true is_by 198.51.100.6 $tunnel
echo still >&7
check "the relay is back: the long connection goes on" until_true \
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

# ---- programs go on over a restart, with addresses that they have ----

check "up after an end" up
by "R8: a name's address from before the end" 198.51.100.2 $tunnel
down
check "up after an orderly end" up
by "R8: a name's address from before that" 198.51.100.3 $tunnel
by "R8: one that was not asked for meanwhile" 198.51.100.5 $tunnel
down
dump >"$work/after"
check "restored: the host is as it was" diff "$work/before" "$work/after"
exit $failed
