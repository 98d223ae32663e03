#!/bin/bash
# shellcheck disable=SC2016,SC2086,SC2317 # awk has its own $; our paths have no
# blanks; functions are called through check()
#
# 41-relay-adversary: ukai-relay serve among people who mean it ill.
#
#   n1: adversary 198.51.100.2, .9 ------- .1 +-----------+
#                 2001:db8:a::2, ::3 ---- ::1 | n0: relay | 10.66.0.1
#   n2: honest    198.51.100.6 ----------- .5 |           |
#       client    2001:db8:b::2 --------- ::1 +-----------+
#
# Peers a and b are the adversary's, c is the honest client, a wireguard-go.
# liar.py speaks the protocol by code of its own, one kind of lie at a time,
# and reads in `ukai-relay status --json` what the relay made of it.
#
# All of this twice at once, with the adversary on IPv6 and on IPv4, since most
# of it is waiting for silence. One line of output for a check; exit 0 when all
# hold, 77 when the machine cannot make namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
family=${UKT_FAMILY:-}
if [ -z "$family" ]; then
	UKT_FAMILY=IPv6 "$0" &
	six=$!
	UKT_FAMILY=IPv4 "$0" &
	four=$!
	trap 'kill $six $four 2>/dev/null; exit 1' INT TERM
	code=0
	wait $six || code=$?
	wait $four || code=$?
	exit $code
fi
# shellcheck source-path=SCRIPTDIR source=device-lib
. "$here/device-lib"
adversary=$support/ukai-test-adversary
relay=${UKAI_BUILD:-${here%/tests/net}/build}/server/ukai-relay
python=/usr/bin/python3
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
port=51820
exec 9<"$0"
if [ "$family" = IPv6 ]; then
	address=2001:db8:a::1 target="[2001:db8:a::1]:$port"
	listen='[2001:db8:a::2]:30000' honest_target="[2001:db8:b::1]:$port"
else
	address=198.51.100.1 target=$address:$port
	listen=198.51.100.2:30000 honest_target=198.51.100.5:$port
fi

for tool in nft wg wireguard-go jq; do
	command -v $tool >/dev/null || skip "no $tool"
done

# --- the network and the relay -------------------------------------------

# join NS NAME RELAY4 NS4 PREFIX6
join()
{
	ip link add "$2" type veth peer name wan netns "$1"
	ip addr add "$3/30" dev "$2"
	ip addr add "$5::1/64" dev "$2"
	ip link set "$2" up
	ip -n "$1" addr add "$4/30" dev wan
	ip -n "$1" addr add "$5::2/64" dev wan
	ip -n "$1" link set wan up
}
join n1 foes 198.51.100.1 198.51.100.2 2001:db8:a
join n2 friends 198.51.100.5 198.51.100.6 2001:db8:b
# Another address of the adversary's /64, another /64, another IPv4 address.
ip -n n1 addr add 2001:db8:a::3/64 dev wan
ip -n n1 addr add 2001:db8:a:1::2/64 dev wan
ip -n n1 addr add 198.51.100.9/32 dev wan
ip route add 2001:db8:a:1::/64 via 2001:db8:a::2
ip route add 198.51.100.9/32 via 198.51.100.2
# What the adversary hears of the relay, counted by its kernel: all but calls
# (type 1), which are the relay's own wish and never an answer.
n1 nft -f - <<'NFT'
table inet watch {
	counter asked { }
	counter heard { }
	chain in {
		type filter hook input priority 0; policy accept;
		udp sport 51820 @th,64,8 != 1 counter name heard
		icmp type destination-unreachable counter name heard
		icmpv6 type destination-unreachable counter name heard
	}
	chain out {
		type filter hook output priority 0; policy accept;
		udp dport 51820 counter name asked
	}
}
NFT

# watched COUNTER packets|bytes
watched()
{
	n1 nft -j list counter inet watch "$1" |
		jq ".nftables[] | .counter // empty | .$2"
}

for k in target a b c stranger; do
	key $k >/dev/null
done
wg genpsk >$work/psk

{
	printf '[Relay]\nPrivateKey = %s\nInterface = wg0\n' \
		"$(cat $work/target.key)"
	printf 'Address = 10.66.0.1/24\nGlobalAddress = 198.51.100.1\n'
	printf 'ListenPort = %s\n' $port
	printf '[Peer]\nName = a\nPublicKey = %s\nPresharedKey = %s\n' \
		"$(pub a)" "$(cat $work/psk)"
	printf 'AllowedIPs = 10.66.0.2/32\n'
	printf '[Peer]\nName = b\nPublicKey = %s\nPresharedKey = %s\n' \
		"$(pub b)" "$(cat $work/psk)"
	printf 'AllowedIPs = 10.66.0.3/32\n'
	printf '[Peer]\nName = c\nPublicKey = %s\n' "$(pub c)"
	printf 'AllowedIPs = 10.66.0.4/32\n'
} >$work/relay.conf
"$relay" serve --config $work/relay.conf >$work/relay.log 2>&1 &
pid=$!

drops()
{
	"$relay" status --json | jq -e .drops
}

soon drops || {
	sed 's/^/    /' $work/relay.log
	echo "not ok the relay serves"
	exit 1
}

# raised BEFORE: what has been counted since, "REASON N" a line.
raised()
{
	jq -rn --argjson b "$1" --argjson a "$(drops)" '$a | to_entries[] |
		.value -= $b[.key] | select(.value != 0) |
		"\(.key) \(.value)"'
}

resident()
{
	awk '/^VmRSS/ { print $2 }' /proc/$pid/status
}

# What the kernel threw away since its socket was full: not the relay's count.
not_received()
{
	awk '/^Udp:/ && $6 ~ /[0-9]/ { n += $6 }
		/^Udp6RcvbufErrors/ { n += $2 }
		END { print n + 0 }' /proc/net/snmp /proc/net/snmp6
}

# --- the honest client ---------------------------------------------------

n2 wireguard-go wg2 >/dev/null 2>&1
ip -n n2 addr add 10.66.0.4/24 dev wg2
ip -n n2 link set wg2 up

# call_relay: forget the session, so that the next packet shakes
# hands at once.
call_relay()
{
	n2 wg set wg2 private-key $work/c.key peer "$(pub target)" remove
	n2 wg set wg2 peer "$(pub target)" endpoint $honest_target \
		allowed-ips 10.66.0.0/24
}

served()
{
	ping1 n2 10.66.0.1
}

# pings_begin, pings_end WHAT: ten a second meanwhile; one in ten may be lost.
pings_begin()
{
	ip netns exec n2 ping -n -i 0.1 -W 1 10.66.0.1 >$work/pings 2>&1 &
	pinging=$!
}

pings_end()
{
	kill -INT $pinging
	wait $pinging
	check "$family: the honest client during $1" awk '
		{ print }
		/packets transmitted/ { sent = $1; got = $4 }
		END { exit !(sent > 4 && got * 10 >= sent * 9) }' $work/pings
}

# --- the adversary -------------------------------------------------------

foe()
{
	n1 nice -n -10 "$adversary" --target $target \
		--target-key $work/target.pub \
		--echo 10.66.0.1 --inner-a 10.66.0.2 --inner-b 10.66.0.3 \
		--key-a $work/a.key --key-b $work/b.key --psk $work/psk "$@"
}

# say CMD...: pass on what it says, and count what fails.
say()
{
	local line
	while read -r line; do
		case $line in
		"ok "*) echo "ok $family: ${line#ok }" ;;
		"not ok "*)
			echo "not ok $family: ${line#not ok }"
			failed=1
			;;
		"end 0" | "end 1" | ready) ;;
		"end "*)
			echo "not ok $family: ends with ${line#end }"
			failed=1
			;;
		*) echo "    $line" ;;
		esac
	done < <("$@" 2>&1; echo "end $?")
	return $failed
}

# alone CMD...: not while the other half of this test floods, too. How many get
# through a flood depends on the time that it takes.
alone()
{
	flock -w 60 9
	"$@"
	flock -u 9
}

# called CHECK: the relay calls peer b, in its place the adversary.
called()
{
	local foe_pid code
	wg set wg0 peer "$(pub b)" remove
	foe --listen $listen "$1" &
	foe_pid=$!
	soon listens n1 30000
	wg set wg0 peer "$(pub b)" preshared-key $work/psk \
		endpoint $listen persistent-keepalive 1 \
		allowed-ips 10.66.0.3/32
	wait $foe_pid
	code=$?
	wg set wg0 peer "$(pub b)" persistent-keepalive 0
	return $code
}

# only REASON...: nothing else was counted since $before.
only()
{
	raised "$before" | awk -v want=" $* " '
		{ print }
		!index(want, " " $1 " ") { bad = 1 }
		END { exit bad || !NR }'
}

# all_counted N REASON...: each of N datagrams once, by one of these.
all_counted()
{
	local n=$1 lost=$(($(not_received) - lost_before))
	shift
	only "$@" || return 1
	echo "lost before the relay: $lost"
	[ "$(raised "$before" | awk '{ n += $2 } END { print n }')" = \
		$((n - lost)) ]
}

# begin, before something whose traces are looked at.
begin()
{
	before=$(drops)
	lost_before=$(not_received)
	rss_before=$(resident)
	asked_before=$(watched asked bytes)
	heard_before=$(watched heard bytes)
}

# does_not_grow KB
does_not_grow()
{
	local now
	now=$(resident)
	echo "resident memory: $rss_before kB before, $now kB after"
	[ $((now - rss_before)) -le "$1" ]
}

nothing_heard()
{
	[ "$(watched heard bytes)" = "$heard_before" ]
}

not_more_than_asked()
{
	local asked heard
	asked=$(($(watched asked bytes) - asked_before))
	heard=$(($(watched heard bytes) - heard_before))
	echo "$asked bytes asked, $heard heard"
	[ $heard -gt 0 ] && [ $heard -lt $asked ]
}

# --- one lie at a time ---------------------------------------------------

# An initiator after the whitepaper, on hashlib and libsodium.
#   lies ADDRESS PORT      every kind of bad datagram by itself
#   flood ADDRESS PORT S   calls that only mac1 is right of, for S seconds
cat >$work/liar.py <<'PY'
import ctypes, hashlib, hmac, json, os, select, signal, socket, struct
import subprocess, sys, time

sodium = ctypes.CDLL("libsodium.so.23")
N = ctypes.c_ulonglong
LOW_ORDER = bytes.fromhex(
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
COUNTER_END = 2**64 - 2**13 - 1
UDP_SEGMENT = 103
BATCH = 64 # datagrams at once: more than a relay takes for normal
work, relay, relay_pid = sys.argv[1], sys.argv[2], int(sys.argv[3])
verb, host, port = sys.argv[4], sys.argv[5], int(sys.argv[6])
v6 = ":" in host
family = socket.AF_INET6 if v6 else socket.AF_INET
failed = False

def key_of(name):
    import base64
    return base64.b64decode(open(f"{work}/{name}").read())

target = key_of("target.pub")
psk = key_of("psk")

# ---- cryptography

def h(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()

def mac(key, *parts):
    return hashlib.blake2s(b"".join(parts), key=key, digest_size=16).digest()

def kdf(ck, data, n):
    secret = hmac.digest(ck, data, "blake2s")
    out, last = [], b""
    for i in range(n):
        last = hmac.digest(secret, last + bytes([i + 1]), "blake2s")
        out.append(last)
    return out

def dh(private, public):
    out = ctypes.create_string_buffer(32)
    sodium.crypto_scalarmult_curve25519(out, private, public)
    return out.raw

def base(private):
    out = ctypes.create_string_buffer(32)
    sodium.crypto_scalarmult_curve25519_base(out, private)
    return out.raw

def seal(key, counter, ad, text):
    out = ctypes.create_string_buffer(len(text) + 16)
    sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
        out, None, text, N(len(text)), ad, N(len(ad)), None,
        struct.pack("<IQ", 0, counter), key)
    return out.raw

def cookie_of(reply, mac1):
    out = ctypes.create_string_buffer(16)
    if sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            out, None, None, reply[32:], N(32), mac1, N(16), reply[8:32],
            h(b"cookie--", target)) != 0:
        raise SystemExit("a cookie that does not open")
    return out.raw

# ---- messages

def signed(body, cookie=None, to=target):
    body += mac(h(b"mac1----", to), body)
    return body + (mac(cookie, body) if cookie else bytes(16))

def stamp(seconds=0):
    now = time.time_ns()
    return struct.pack(">QI", 2**62 + 10 + now // 10**9 + seconds,
                       now % 10**9)

class Call:
    """Message 1; with `claim` as if of this static key."""
    def __init__(self, private, when=None, claim=None, ephemeral=None):
        self.private, self.e = private, os.urandom(32)
        self.index = os.urandom(4)
        public = ephemeral or base(self.e)
        ck = h(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        self.h = h(h(ck, b"WireGuard v1 zx2c4 Jason@zx2c4.com"), target)
        ck, = kdf(ck, public, 1)
        self.h = h(self.h, public)
        ck, k = kdf(ck, bytes(32) if ephemeral else dh(self.e, target), 2)
        static = seal(k, 0, self.h, claim or base(private))
        self.h = h(self.h, static)
        self.ck, k = kdf(ck, dh(private, target), 2)
        text = seal(k, 0, self.h, when or stamp())
        self.h = h(self.h, text)
        self.body = b"\1\0\0\0" + self.index + public + static + text
        self.msg = signed(self.body)

class Session:
    def __init__(self, call, answer):
        self.theirs, e = answer[4:8], answer[12:44]
        ck, = kdf(call.ck, e, 1)
        ck, = kdf(ck, dh(call.e, e), 1)
        ck, = kdf(ck, dh(call.private, e), 1)
        ck, _, _ = kdf(ck, psk, 3)
        self.key, _ = kdf(ck, b"", 2)
        self.counter = 0

    def data(self, packet, counter=None, key=None):
        if counter is None:
            counter, self.counter = self.counter, self.counter + 1
        packet += bytes(-len(packet) % 16)
        return (b"\4\0\0\0" + self.theirs + struct.pack("<Q", counter) +
                seal(key or self.key, counter, b"", packet))

def checksum(b):
    n = sum(struct.unpack(f"!{len(b) // 2}H", b))
    while n >> 16:
        n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff

def ping(src="10.66.0.2", total=None, first=0x45):
    icmp = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    ip = struct.pack("!BBHHHBBH4s4s", first, 0, total or 28, 0, 0, 64, 1, 0,
                     socket.inet_aton(src), socket.inet_aton("10.66.0.1"))
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + icmp

def ping6():
    return (struct.pack("!IHBB", 0x60000000, 8, 58, 64) + bytes(16) +
            os.urandom(16) + bytes(8))

def flipped(msg, at):
    return msg[:at] + bytes([msg[at] ^ 0x10]) + msg[at + 1:]

# ---- sockets

sockets = []

def open_socket(address=None):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if address:
        s.bind((address, 0))
    sockets.append(s)
    return s

def send(s, msgs):
    for i, m in enumerate(msgs):
        s.sendto(m, (host, port))
        if i % 16 == 15:
            time.sleep(0.01)

# All at once: the relay gets them by one recvmsg.
def send_batch(s, msgs):
    s.sendmsg([b"".join(msgs)], [(socket.IPPROTO_UDP, UDP_SEGMENT,
              struct.pack("=H", len(msgs[0])))], 0, (host, port))

def receive(s, wait=5):
    return s.recv(2048) if select.select([s], [], [], wait)[0] else b""

# All that comes to any socket until nothing does for a while. The relay's own
# calls are no answers.
def heard(wait=0.06):
    got = []
    while ready := select.select(sockets, [], [], wait)[0]:
        got += [s.recv(2048) for s in ready]
    return [m for m in got if m[:1] != b"\1"]

# The relay is held while act sends: it gets all of that in one moment of its own
# clock, as far as it reads it at once.
def at_once(act):
    os.kill(relay_pid, signal.SIGSTOP)
    while open(f"/proc/{relay_pid}/stat").read().split(") ")[1][0] != "T":
        time.sleep(0.001)
    act()
    os.kill(relay_pid, signal.SIGCONT)

def drops():
    return json.loads(subprocess.run([relay, "status", "--json"],
        stdout=subprocess.PIPE, check=True).stdout)["drops"]

# ---- checks

def result(ok, name, why):
    global failed
    failed |= not ok
    print("ok" if ok else "not ok", name if ok else f"{name}: {why}",
          flush=True)

def raised(before):
    after = drops()
    return {k: after[k] - before.get(k, 0) for k in after
            if after[k] != before.get(k, 0)}

# What `send` sends raises these counters and no other, and is answered by
# datagrams of these lengths and no other.
def lie(name, wanted, act, lengths=()):
    before, end = drops(), time.monotonic() + 10
    act()
    while raised(before) != wanted and time.monotonic() < end:
        time.sleep(0.02)
    answers = heard()
    while len(answers) < len(lengths) and time.monotonic() < end:
        answers += heard()
    got, said = raised(before), sorted(len(m) for m in answers)
    result(got == wanted and said == sorted(lengths),
           f"{name}: {', '.join(f'{k} {n}' for k, n in wanted.items())}",
           f"{got}, answers {said}")

def connect(s):
    for _ in range(20):
        time.sleep(0.03)
        call = Call(a)
        s.sendto(call.msg, (host, port))
        if len(answer := receive(s)) == 92:
            session = Session(call, answer)
            s.sendto(session.data(b""), (host, port))
            return session, call
    raise SystemExit("no session could be made")

def echo(s, session):
    s.sendto(session.data(ping()), (host, port))
    return len(receive(s)) == 64

def noise(n=BATCH, cookie=None):
    return [signed(b"\1\0\0\0" + os.urandom(112), cookie) for _ in range(n)]

# Things that do not open, of a socket that is not the session's.
def lies_before_the_session(thief):
    many = lambda reason, msgs: ({reason: len(msgs)}, lambda: send(thief, msgs))
    data = lambda n: b"\4\0\0\0" + os.urandom(n)
    lie("an empty datagram", *many("malformed", [b""]))
    lie("types that do not exist", *many("malformed",
        [bytes([t, 0, 0, 0]) + os.urandom(n) for t in (0, 5, 6, 64, 255)
         for n in (28, 60, 88, 144)]))
    lie("a length that is not its type's", *many("malformed",
        [bytes([t, 0, 0, 0]) + os.urandom(n) for t, n in (
            (1, 0), (1, 88), (1, 143), (1, 145), (1, 1400), (2, 87),
            (2, 89), (2, 144), (3, 59), (3, 61), (4, 0), (4, 27))] +
        [b"\1", b"\1\0", b"\1\0\0"]))
    lie("reserved bytes", *many("malformed",
        [bytes(m) + os.urandom(n - 4) for n, t in ((148, 1), (92, 2), (64, 3),
         (96, 4)) for m in ((t, 1, 0, 0), (t, 0, 1, 0), (t, 0, 0, 128))]))
    good = Call(a).msg
    lie("mac1 changed in any byte", *many("mac1",
        [flipped(good, i) for i in range(116, 132)]))
    lie("mac1 of zeros, of noise, for another key, of an answer", *many(
        "mac1", [good[:116] + bytes(32), good[:116] + os.urandom(32),
        signed(good[:116], None, base(a)), b"\2\0\0\0" + os.urandom(88)]))
    lie("data for nobody", *many("unknown-index",
        [data(n) for n in (28, 29, 44, 124, 1400)] + [data(124)] * 10))
    lie("longer than any path", *many("unknown-index", [data(60000)]))
    lie("answers and cookies that nobody asked for", *many("unknown-index",
        [signed(b"\2\0\0\0" + os.urandom(56)) for _ in range(10)] +
        [b"\3\0\0\0" + os.urandom(60) for _ in range(10)]))

def lies_in_calls(s, thief):
    many = lambda reason, msgs: ({reason: len(msgs)}, lambda: send(thief, msgs))
    good = Call(a, stamp(1)).body
    lie("calls of which mac1 alone is right", *many(
        "not-authentic", noise(20)))
    lie("calls changed in any part", *many("not-authentic",
        [signed(flipped(good, i)) for i in range(8, 116, 8)]))
    lie("an ephemeral key of low order", *many("not-authentic",
        [Call(a, ephemeral=p).msg for p in (bytes(32), LOW_ORDER)]))
    lie("somebody else's static key", *many("not-authentic",
        [Call(stranger, stamp(3600), claim=base(a)).msg]))
    lie("somebody who is not a client", *many("unknown-peer",
        [Call(stranger).msg for _ in range(3)]))
    session, call = connect(s)
    lie("a call again, from here and from there (P1)", {"replayed": 2},
        lambda: (send(s, [call.msg]), send(thief, [call.msg])))
    lie("stamps of the past", *many("replayed",
        [Call(a, stamp(-n)).msg for n in (1, 60, 10**9)]))
    lie("stamps two days ahead (P1)", *many("stamp-ahead",
        [Call(a, stamp(n)).msg for n in (2 * 86400, 2**40)]))
    time.sleep(0.03)
    twice = [Call(a).msg, Call(a).msg]
    lie("two calls within 20 ms", {"initiation-flood": 1},
        lambda: at_once(lambda: send_batch(s, twice)), [92])

def lies_in_data(s, thief):
    many = lambda reason, msgs: ({reason: len(msgs)}, lambda: send(thief, msgs))
    session, _ = connect(s)
    result(echo(s, session), "a session", "no answer to a ping")
    good = session.data(ping())
    lie("data changed in any part", *many("not-authentic",
        [flipped(good, i) for i in range(8, len(good), 4)]))
    lie("data of other keys", *many("not-authentic",
        [session.data(ping(), 1000, os.urandom(32)) for _ in range(5)]))
    lie("a cookie that does not open", *many("not-authentic",
        [b"\3\0\0\0" + session.theirs + os.urandom(56)]))
    # Authentic, each for itself, from here on.
    ours = lambda reason, msgs: ({reason: len(msgs)}, lambda: send(s, msgs))
    lie("no IP version but 4 and 6", *ours("not-ip",
        [session.data(ping(first=v << 4 | 5)) for v in range(16)
         if v not in (4, 6)]))
    lie("headers longer than the packet", *ours("not-ip",
        [session.data(ping(total=n)) for n in (1, 19, 1000, 65535)] +
        [session.data(ping(first=0x4f)), session.data(ping(first=0x44)),
         session.data(ping()[:16]), session.data(os.urandom(1)),
         session.data(b"\x60" + bytes(15))]))
    lie("somebody else's tunnel address", *ours("foreign-source",
        [session.data(ping(src)) for src in ("10.66.0.3", "10.66.0.1",
         "10.66.0.77", "198.51.100.2", "127.0.0.1", "0.0.0.0",
         "255.255.255.255")] + [session.data(ping6())]))
    tos = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if v6 else (
        socket.IPPROTO_IP, socket.IP_TOS)
    s.setsockopt(*tos, 3)
    lie("congestion marked where it may not be", *ours("ecn",
        [session.data(ping())]))
    s.setsockopt(*tos, 0)
    used = session.data(ping())
    result(echo(s, session), "and the session goes on", "no answer")
    send(s, [used])
    heard()
    lie("data again (from elsewhere)", *many("replayed", [used] * 5))
    far = 20000
    send(s, [session.data(b"", far)])
    lie("data older than the window", *many("replayed",
        [session.data(ping(), n) for n in (far - 8129, far - 10000)]))
    lie("counters beyond the last", *many("session-expired",
        [session.data(ping(), n)
         for n in (COUNTER_END, COUNTER_END + 1, 2**64 - 1)]))
    session.counter = far + 1
    result(echo(s, session), "its answers still come here, not elsewhere",
           "no answer")

def lies_under_load(s):
    port2 = open_socket()
    near = open_socket("2001:db8:a::3") if v6 else port2
    far = open_socket("2001:db8:a:1::2" if v6 else "198.51.100.9")
    cookie = {}
    time.sleep(0.3) # the limit of earlier calls is forgotten
    for who in {s, port2, near, far}:
        calls = noise()
        before = drops()
        send_batch(who, calls)
        got = receive(who)
        mine = [c for c in calls if c[4:8] == got[4:8]]
        cookie[who] = cookie_of(got, mine[0][116:132])
        heard()
    # Load is remembered for a second: each of these begins with what makes it.
    def loaded(*calls):
        load = noise()
        before, end = drops(), time.monotonic() + 10
        def act():
            send_batch(s, load)
            for who, cookie in calls:
                send_batch(who, noise(20, cookie))
        at_once(act)
        wanted = BATCH + 20 * len(calls)
        while sum(raised(before).values()) < wanted and \
                time.monotonic() < end:
            time.sleep(0.02)
        got = raised(before)
        demanded = got.get("cookie-demanded", 0)
        answers = heard()
        while len(answers) < demanded and time.monotonic() < end:
            answers += heard()
        got["answers"] = len(answers)
        return got
    got = loaded(*((who, cookie[who]) for who in (s, port2, near)))
    n = got.get("not-authentic", 0)
    result(got == {"cookie-demanded": BATCH, "answers": BATCH,
                   "not-authentic": n, "over-rate": 60 - n} and 5 <= n <= 10,
           "one source has one limit, whatever its ports" +
           (" and addresses in a /64" if v6 else "") + " (A3): over-rate",
           f"{got}")
    got = loaded((far, cookie[far]))
    n = got.get("not-authentic", 0)
    result(got == {"cookie-demanded": BATCH, "answers": BATCH,
                   "not-authentic": n, "over-rate": 20 - n} and 5 <= n <= 8,
           "another source has a limit of its own", f"{got}")
    got = loaded((s, cookie[far]))
    result(got == {"cookie-demanded": BATCH + 20, "answers": BATCH + 20},
           "another source's cookie is worth nothing", f"{got}")

# More calls than it has places for.
def lie_when_full(s):
    def act():
        for _ in range(10):
            send_batch(s, noise())
    lie("more calls than places",
        {"cookie-demanded": 512, "handshakes-full": 128},
        lambda: at_once(act), [64] * 512)

def lies():
    s, thief = open_socket(), open_socket()
    lies_before_the_session(thief)
    lies_in_calls(s, thief)
    lies_in_data(s, thief)
    calls = noise()
    lie("64 calls at once: cookies, shorter than they (A1)",
        {"cookie-demanded": BATCH}, lambda: send_batch(s, calls),
        [64] * BATCH)
    lies_under_load(s)
    lie_when_full(s)

def flood(seconds):
    s, end = open_socket(), time.time() + seconds
    while time.time() < end:
        send_batch(s, noise())
        time.sleep(0.03)

a, stranger = key_of("a.key"), key_of("stranger.key")
if verb == "lies":
    lies()
else:
    flood(float(sys.argv[7]))
sys.exit(failed)
PY

liar()
{
	n1 $python $work/liar.py $work "$relay" $pid "$@"
}

# --- and all of it -------------------------------------------------------

call_relay
check "$family: the honest client is served" soon served

# Before peers a and b have sessions, of which the relay sends keepalives.
foe --garbage 3000 garbage >/dev/null # buffers are touched once
begin
pings_begin
say foe --garbage 100000 garbage &
garbage=$!
sleep 1
call_relay
check "$family: an honest call is answered at once meanwhile" soon served
check "$family: (the garbage was still coming)" kill -0 $garbage
wait $garbage || failed=1
check "$family: memory does not grow by 100000 datagrams of garbage (C2)" \
	does_not_grow 256
check "$family: not a byte is heard of the relay (A2)" nothing_heard
check "$family: each datagram is counted, once" all_counted 100000 malformed \
	mac1 unknown-index
say liar lies $address $port
sleep 1.1 # nobody is under load any more

floods()
{
	begin
	alone say foe flood
	# Its good calls make sessions: a sanitizer keeps what they leave.
	check "$family: the flood takes no memory (C2)" does_not_grow 768
	check "$family: fewer bytes are heard than sent (A1)" \
		not_more_than_asked
	alone say foe load
	sleep 1.1 # nobody is under load any more
}

breaks_rules()
{
	begin
	say foe calls
	check "$family: calls are dropped for these reasons only" only \
		malformed mac1 unknown-index not-authentic replayed \
		unknown-peer
	begin
	say foe data
	check "$family: data is dropped for these reasons only" only \
		malformed unknown-index not-authentic replayed \
		session-expired not-ip foreign-source
}

# The halves do it in another order, so that none waits for the other.
if [ $family = IPv6 ]; then
	floods
	breaks_rules
else
	breaks_rules
	floods
fi
pings_end "all of this"

# A client that calls under load is asked for a cookie, and calls again with
# it five seconds later. That long it takes, too, until the relay calls peer b
# with the cookie that it was given; of the three that were false, the counts.
say called answers
ip netns exec n1 $python $work/liar.py $work "$relay" $pid \
	flood $address $port 15 &
flood=$!
sleep 0.3
say called cookie &
cookie=$!
before=$(drops)
call_relay
comes_in()
{
	soon served || soon served || soon served || soon served
}
check "$family: an honest call is answered in a flood" comes_in
check "$family: (by a cookie, the flood was still there)" kill -0 $flood
check "$family: a flood is dropped for these reasons only" only \
	cookie-demanded unknown-index not-authentic
kill $flood
wait $flood 2>/dev/null
wait $cookie || failed=1
check "$family: the honest client afterwards" served

ended_well()
{
	kill $pid && wait $pid
}
check "$family: the relay runs to its end" ended_well
exit $failed
