#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
#
# 18-dns: the DNS forwarder between dig and servers that say what a test wants,
# with a table that sends it all plain DNS.
#
#   l 10.7.0.2 ----- 10.7.0.1 c 198.51.100.10 ----- s 198.51.100.1  .2  .9
#                             2001:db8:5::10          2001:db8:5::1
#
# c is the host under test, with a resolver of its own on 127.0.0.53. Servers
# answer with their number as the address's last byte.
set -u

here=$(cd "$(dirname "$0")" && pwd)
build=${UKAI_BUILD:-${here%/tests/net}/build}
probe=$build/tests/ukai-test-dns-probe
lab=$build/tests/ukai-test-dns-lab
ns=ukt18-$$
c=$ns-c s=$ns-s l=$ns-l
work=$(mktemp -d "/tmp/$ns.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
# shellcheck source=tests/net/probes
. "$here/probes"
labs=

cleanup()
{
	local n pid

	end_probes
	for pid in $labs; do
		kill -9 "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	for n in "$c" "$s" "$l"; do
		ip netns del "$n" 2>/dev/null
	done
	rm -rf "$work" "/etc/netns/$c"
	rmdir /etc/netns 2>/dev/null
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || skip "not root"
for tool in ip nft dig; do
	command -v "$tool" >/dev/null || skip "no $tool"
done
ip netns add "$c" 2>/dev/null || skip "no network namespaces"
ip netns add "$s"
ip netns add "$l"
mkdir -p "/etc/netns/$c"
echo "nameserver 198.51.100.1" >"/etc/netns/$c/resolv.conf"

ip link add name e0 netns "$c" type veth peer name e0 netns "$s"
ip link add name e1 netns "$c" type veth peer name e0 netns "$l"
ip -n "$c" addr add 198.51.100.10/24 dev e0
ip -n "$c" addr add 2001:db8:5::10/64 dev e0 nodad
ip -n "$c" addr add 10.7.0.1/24 dev e1
ip -n "$c" addr add 2001:db8:7::1/64 dev e1 nodad
ip -n "$l" addr add 10.7.0.2/24 dev e0
ip -n "$l" addr add 2001:db8:7::2/64 dev e0 nodad
for a in 1 2 3 9; do
	ip -n "$s" addr add "198.51.100.$a/24" dev e0
done
ip -n "$s" addr add 2001:db8:5::1/64 dev e0 nodad
for n in "$c" "$s" "$l"; do
	ip -n "$n" link set lo up
	ip -n "$n" link set e0 up
done
ip -n "$c" link set e1 up
ip -n "$l" route add default via 10.7.0.1
ip -n "$l" route add default via 2001:db8:7::1
in_ns "$c" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1

# serve NUMBER NAMESPACE ADDRESS...
serve()
{
	local number=$1 n=$2

	shift 2
	ip netns exec "$n" "$lab" "$number" "$@" >"$work/lab$number" 2>&1 &
	labs+=" $!"
	until_true grep -q ready "$work/lab$number"
}

serve 1 "$s" 198.51.100.1 2001:db8:5::1
serve 2 "$s" 198.51.100.2
serve 9 "$s" 198.51.100.9
serve 53 "$c" 127.0.0.53

cat >"$work/rules" <<'RULES'
DOMAIN-SUFFIX,only.test,tunnel!
DOMAIN-SUFFIX,soft.test,tunnel
DOMAIN-SUFFIX,tail.test,tunnel!
DOMAIN-SUFFIX,bad.test,block
DOMAIN,ahead.example,native
DOMAIN,big.ahead.test,tunnel
DEFAULT,native
RULES
cat >"$work/other" <<'RULES'
DOMAIN-SUFFIX,new.test,tunnel!
DOMAIN,ahead.example,native
DEFAULT,native
RULES

# ask SERVER NAME TYPE [OPTION...]: what dig says, in one line: status, and
# the addresses or names.
ask_in()
{
	local n=$1 server=$2 name=$3 type=$4

	shift 4
	in_ns "$n" dig +tries=1 +time=2 "@$server" "$name" "$type" "$@" \
	    >"$work/dig" 2>&1
	sed -n 's/.*status: \([A-Z]*\),.*/\1/p' "$work/dig" | tr '\n' ' '
	awk '!/^;/ && NF >= 5 { printf "%s ", $5 }' "$work/dig"
}
ask() { ask_in "$c" "$@"; }

# asked NUMBER LINE: how often that server was asked this.
asked() { grep -c -x -e "$2" "$work/lab$1"; }

start p "$c" "$probe" "$work/rules" 198.51.100.9
hear p
is "the forwarder starts" "ready port=*"
port=$(field port)

# Resolvers wait 5 s for an answer by TCP; the end comes after 4.5 s, and later
# on a busy machine.
in_ns "$c" timeout 15 python3 -c '
import socket
s = socket.create_connection(("198.51.100.1", 53), 5)
s.settimeout(8)
s.send(b"\0\34\0\1\1\0\0\1\0\0\0\0\0\0\6silent\3tcp\0\0\1\0\1")
print(s.recv(512))' >"$work/mute" 2>&1 &
mute=$!

# ---- whom a question was meant for ----

same "the server that was asked answers" \
    "$(ask 198.51.100.1 a.example A)" "NOERROR 192.0.2.1 "
same "and another one" "$(ask 198.51.100.2 a.example A)" "NOERROR 192.0.2.2 "
same "a resolver on this host" "$(ask 127.0.0.53 a.example A)" \
    "NOERROR 192.0.2.53 "
same "over IPv6" "$(ask 2001:db8:5::1 a.example AAAA)" \
    "NOERROR 2001:db8::1 "
same "over TCP" "$(ask 198.51.100.2 a.example A +tcp)" "NOERROR 192.0.2.2 "
same "over TCP and IPv6" "$(ask 2001:db8:5::1 a.example A +tcp)" \
    "NOERROR 192.0.2.1 "
same "that server was asked by TCP" "$(asked 2 'tcp a.example 1')" 1
same "who asks our own port is refused" \
    "$(ask 127.0.0.1 a.example A -p "$port")" "REFUSED "
same "also over TCP" "$(ask 127.0.0.1 a.example A -p "$port" +tcp)" "REFUSED "
same "other types pass" "$(ask 198.51.100.1 a.example TXT)" 'NOERROR "text" '
same "HTTPS without a rule passes" \
    "$(ask 198.51.100.1 a.example HTTPS | cut -c1-9)" "NOERROR 1"
same "private addresses without a rule pass" \
    "$(ask 198.51.100.1 private.example A)" "NOERROR 10.0.0.1 192.0.2.1 "
same "browsers are told to use plain DNS" \
    "$(ask 198.51.100.1 use-application-dns.net A)" "NXDOMAIN "
same "and no resolver offers another way (RFC 9462)" \
    "$(ask 198.51.100.1 _dns.resolver.arpa SVCB)" "NOERROR "
same "nor is it asked whether it does" \
    "$(asked 1 'udp _dns.resolver.arpa 64')" 0
same "a dead server is told of at once" \
    "$(ask 198.51.100.3 a.example A)" "SERVFAIL "
ask 198.51.100.3 a.example A +tcp >/dev/null
check "over TCP by the end of the connection" \
    grep -q 'end of file\|connection reset' "$work/dig"
same "lies with another id or name are not believed" \
    "$(ask 198.51.100.1 wrongid.example A)" "NOERROR 192.0.2.1 "
same "garbage is no answer" "$(ask 198.51.100.1 garbage.example A +time=1)" ""
same "a truncated answer is asked for again by TCP" \
    "$(ask 198.51.100.1 big.example A | wc -w)" 201
ask 198.51.100.1 big.example A +ignore >/dev/null
check "and passes as truncated to who ignores that" \
    grep -q 'flags:.* tc ' "$work/dig"
same "a transfer has all its messages" \
    "$(in_ns "$c" dig +time=1 +tries=1 @198.51.100.1 zone.example AXFR 2>&1 |
	grep -c 'Messages\|Transfer failed')" 1
same "one name after another on one connection" \
    "$(in_ns "$c" dig +tcp +keepopen +short @198.51.100.2 a.example A \
	b.example A c.example A | tr '\n' ' ')" "192.0.2.2 192.0.2.2 192.0.2.2 "

# ---- names of rules ----

# $1: a pattern
told_has()
{
	say p told
	# shellcheck disable=SC2254
	case $answer in $1) ;; *) return 1 ;; esac
}

check "names of the policy are asked for at start" \
    until_true grep -q -x 'tcp big.ahead.test 1' "$work/lab9"
check "what is truncated by TCP" until_true told_has "*:198.18.0.199*"
say p told
same "names of rules go to the tunnel's server" \
    "$(ask 198.51.100.1 a.only.test A)" "NOERROR 192.0.2.9 "
same "nobody else hears of them" "$(asked 1 'udp a.only.test 1')" 0
say p told
is "the kernel was told before" "told +*:192.0.2.9"
same "also over TCP" "$(ask 198.51.100.1 b.only.test A +tcp)" \
    "NOERROR 192.0.2.9 "
same "no IPv6 where the tunnel takes none" \
    "$(ask 198.51.100.1 a.only.test AAAA)" "NOERROR "
same "no HTTPS" "$(ask 198.51.100.1 a.only.test HTTPS)" "NOERROR "
same "no ANY" "$(ask 198.51.100.1 a.only.test ANY +notcp)" "NOERROR "
same "neither was asked for" "$(asked 9 'udp a.only.test \(65\|255\)')" 0
same "private addresses are taken out" \
    "$(ask 198.51.100.1 private.only.test A)" "NOERROR 192.0.2.9 "
same "but not those that are allowed" \
    "$(ask 198.51.100.1 allowed.only.test A)" "NOERROR 10.9.0.1 "
same "blocked names keep IPv6" "$(ask 198.51.100.1 a.bad.test AAAA)" \
    "NOERROR 2001:db8::1 "
same "but nothing private" "$(ask 198.51.100.1 private.bad.test AAAA)" \
    "NOERROR 2001:db8::1 "
same "a CNAME into a rule counts" "$(ask 198.51.100.1 cname.example AAAA)" \
    "NOERROR end.tail.test. "
say p told
same "also for addresses" "$(ask 198.51.100.2 cname.example A)" \
    "NOERROR end.tail.test. 192.0.2.2 "
say p told
is "which the kernel has" "told +*:192.0.2.2"
same "and for HTTPS" "$(ask 198.51.100.1 cname.example HTTPS)" "NOERROR "
same "CNAMEs without end are no answer" \
    "$(ask 198.51.100.1 chain.example A)" "SERVFAIL "
say p "live 0"
same "without tunnel, tunnel! has no answer" \
    "$(ask 198.51.100.1 c.only.test A)" "SERVFAIL "
same "tunnel is asked natively" "$(ask 198.51.100.1 c.soft.test A)" \
    "NOERROR 192.0.2.1 "
same "nobody heard of the former" "$(cat "$work"/lab* | grep -c c.only.test)" 0
say p "live 1"

# ---- answers wait for the kernel ----

# later NAME TYPE [OPTION...]: asked in the background, in "$work/late"
later()
{
	ask 198.51.100.1 "$@" >"$work/late" &
	late=$!
}
held() { say p stats; [ "$(field held)" = "$1" ]; }
all_held() { until_true held "$1"; }

say p later
say p stats
n=$(field held)
later private.soft.test A
check "an answer waits for the kernel" all_held $((n + 1))
same "and has not gone out" "$(cat "$work/late")" ""
say p 'done'
wait "$late"
same "it goes when the kernel has it" "$(cat "$work/late")" \
    "NOERROR 192.0.2.9 "
say p told
later cname.only.test A +tcp
check "also over TCP" all_held $((n + 2))
say p fail
wait "$late"
same "tunnel! has none when the kernel refuses" "$(cat "$work/late")" \
    "SERVFAIL "
later cname.example A
all_held $((n + 3)) >/dev/null
same "names without rules do not wait" "$(ask 198.51.100.1 z.example A)" \
    "NOERROR 192.0.2.1 "
say p fail
wait "$late"
same "neither has what leads to one of tunnel!" "$(cat "$work/late")" \
    "SERVFAIL "
later d.soft.test A
all_held $((n + 4)) >/dev/null
say p fail
wait "$late"
same "tunnel has one" "$(cat "$work/late")" "NOERROR 192.0.2.9 "
say p now

wait "$mute"
same "a TCP client of a mute server hears the end" \
    "$(cat "$work/mute")" "b''"

# ---- names that are asked for ahead ----

check "names of the policy were asked for at start" \
    grep -q -x 'udp ahead.example 1' "$work/lab1"
check "both families" grep -q -x 'udp ahead.example 28' "$work/lab1"

# ---- many ----

# flood N: that many questions that nobody answers, at once
flood()
{
	in_ns "$c" timeout 20 python3 - "$1" <<'PY'
import socket, struct, sys
for k in range(0, int(sys.argv[1]), 100):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(k, k + 100):
        s.sendto(struct.pack(">6H", i, 0x100, 1, 0, 0, 0) +
            b"\6silent\1x\0\0\1\0\1", ("198.51.100.1", 53))
PY
}
check "a flood of 5,000 questions" flood 5000
same "is no end" "$(ask 198.51.100.2 e.example A +tries=3)" \
    "NOERROR 192.0.2.2 "
say p stats
check "they were forwarded" [ "$(field questions)" -gt 2000 ]
same "nor of TCP" "$(ask 198.51.100.2 e.example A +tcp)" "NOERROR 192.0.2.2 "

# crowd N: that many connections that ask nothing, until its input ends
crowd()
{
	in_ns "$c" timeout 20 python3 -c '
import socket, sys
held = [socket.create_connection(("198.51.100.2", 53), 5)
    for i in range(int(sys.argv[1]))]
print("all", flush=True)
sys.stdin.read()
gone = 0
for s in held:
    s.settimeout(0.01)
    try:
        gone += s.recv(1) == b""
    except TimeoutError:
        pass
print("gone", gone)' "$1"
}
mkfifo "$work/crowd"
crowd 70 <"$work/crowd" >"$work/crowd.out" 2>&1 &
late=$!
exec 7>"$work/crowd"
until_true grep -q all "$work/crowd.out"
same "70 idle connections keep nobody out" \
    "$(ask 198.51.100.2 e.example A +tcp)" "NOERROR 192.0.2.2 "
exec 7>&-
wait "$late"
same "the oldest went: 64 are kept" "$(tail -1 "$work/crowd.out")" "gone 7"

# ---- another policy, another resolv.conf ----

same "before: a name without a rule" \
    "$(ask 198.51.100.1 a.new.test AAAA)" "NOERROR 2001:db8::1 "
echo "nameserver 198.51.100.2" >"/etc/netns/$c/resolv.conf"
say p "follow $work/other"
is "another policy" ok
check "its names are asked for, where resolv.conf says now" \
    until_true grep -q -x 'udp ahead.example 28' "$work/lab2"
same "its rules hold" "$(ask 198.51.100.1 a.new.test AAAA)" "NOERROR "
same "the old ones do not" "$(ask 198.51.100.1 a.only.test AAAA)" \
    "NOERROR 2001:db8::1 "

# ---- when we are killed ----

# One socket that asks whenever it is told to.
mkfifo "$work/socket"
in_ns "$c" timeout 30 python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("198.51.100.1", 53))
s.settimeout(2)
for line in sys.stdin:
    try:
        s.send(b"\0\1\1\0\0\1\0\0\0\0\0\0\1" + line[0].encode() +
            b"\7example\0\0\1\0\1")
        print(len(s.recv(512)), flush=True)
    except OSError as e:
        print(e, flush=True)' <"$work/socket" >"$work/socket.out" 2>&1 &
socket=$!
exec 7>"$work/socket"
echo m >&7
until_true grep -q . "$work/socket.out"
in_ns "$c" dig +tries=3 +time=1 @198.51.100.1 silent.example A \
    >/dev/null 2>&1 7>&- &
late=$!
before=$(asked 1 'udp k.example 1')
kill -9 "${probe_pid[p]}"
wait "${probe_pid[p]}" 2>/dev/null
unset 'probe_pid[p]'
same "after kill -9 the usual retry has the answer" \
    "$(ask 198.51.100.1 k.example A +tries=2 +time=1)" "NOERROR 192.0.2.1 "
same "from the server itself" "$(asked 1 'udp k.example 1')" $((before + 1))
echo n >&7
exec 7>&-
wait "$socket"
same "a socket that has asked us before, too" \
    "$(tr '\n' ' ' <"$work/socket.out")" "43 43 "
kill "$late" 2>/dev/null
wait "$late" 2>/dev/null

# ---- a LAN ----

start q "$c" "$probe" "$work/rules" - lan
hear q
is "the forwarder of a LAN starts" "ready port=*"
same "a LAN's client reaches the server it meant" \
    "$(ask_in "$l" 198.51.100.2 a.example A)" "NOERROR 192.0.2.2 "
same "over IPv6 and TCP" \
    "$(ask_in "$l" 2001:db8:5::1 a.example A +tcp)" "NOERROR 192.0.2.1 "
same "a gateway without a resolver says so" \
    "$(ask_in "$l" 10.7.0.1 a.example A)" "SERVFAIL "
same "without a server in the tunnel names go where they were meant" \
    "$(ask_in "$l" 198.51.100.2 a.only.test A)" "NOERROR 192.0.2.2 "
same "rules hold" "$(ask_in "$l" 198.51.100.2 a.only.test AAAA)" "NOERROR "

exit "$failed"
