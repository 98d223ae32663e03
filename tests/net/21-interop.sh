#!/bin/bash
# shellcheck disable=SC2086,SC2317 # our paths have no blanks; functions are
# called through check()
#
# 21-interop: ukai and Debian's wireguard-go, which of them calls first, over
# IPv4 and IPv6, and all that can happen to a tunnel while it is used.
#
#    n1: wg1 --- ukai device --- lo of n0 --- wireguard-go --- wg2: n2
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# cannot make namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=device-lib
. "$here/device-lib"

key a >/dev/null
key b >/dev/null
wg genpsk >$work/psk
psk=

# begin NAME NS KEY PEER PORT NUMBER OTHER PROGRAM...: one side, configured
# and up. wireguard-go needs a moment before it may be moved, so both get it.
begin()
{
	local name=$1 ns=$2 args=("${@:1:7}")
	shift 7
	"$@" "$name" >$work/$name.log 2>&1 &
	eval "pid_$name=$!"
	soon have_socket "$name"
	sleep 0.05
	ip link set "$name" netns "$ns"
	configure "${args[@]}"
}

begin_ukai()
{
	begin wg1 n1 a b 10000 1 2 "$@" "$ukai" device -f
}

begin_go()
{
	begin wg2 n2 b a 20000 2 1 wireguard-go -f
}

# stop NAME NS: by the pid that began it.
stop()
{
	local pid=pid_$1
	kill "${!pid}"
	wait "${!pid}" 2>/dev/null
	soon not ip -n "$2" link show "$1"
}

# meet [OUTER]: each knows where the other is.
meet()
{
	local host=${1:-127.0.0.1}
	wg set wg1 peer "$(pub b)" endpoint "$host:20000"
	wg set wg2 peer "$(pub a)" endpoint "$host:10000"
}

opposite()
{
	[ "$(rx_tx wg1)" = "$(tx_rx wg2)" ]
}

# The answer to the last message may still be on its way.
agree()
{
	soon opposite || { rx_tx wg1; tx_rx wg2; return 1; }
}

# first NS ADDRESS HOST: a handshake that this side begins.
first()
{
	local what="$1 begins, $2 over $3${psk:+, with a preshared key}"
	begin_ukai
	begin_go
	meet "$3"
	check "$what" reaches "$1" "$2"
	check "$what: ten more" flood "$1" "$2"
	check "$what: back" flood "$(other "$1")" "$(opposite_of "$2")"
	check "$what: both count the same bytes" agree
	stop wg1 n1
	stop wg2 n2
}

other()
{
	[ "$1" = n1 ] && echo n2 || echo n1
}

opposite_of()
{
	case $1 in
	*1) echo "${1%1}2" ;;
	*) echo "${1%2}1" ;;
	esac
}

# Both begin, over both, with both inside.
roles()
{
	local host
	for host in 127.0.0.1 '[::1]'; do
		for psk in "" $work/psk; do
			first n1 192.168.241.2 "$host"
			first n2 fd00::1 "$host"
		done
	done
	first n1 fd00::2 127.0.0.1
	first n2 192.168.241.1 '[::1]'
}

# A wrong preshared key is no session at all.
mismatch()
{
	psk=$work/psk
	begin_ukai
	psk=
	begin_go
	meet
	check "one side without the preshared key: nothing passes" \
		not ping1 n1 192.168.241.2
	check "nor back" not ping1 n2 192.168.241.1
	stop wg1 n1
	stop wg2 n2
}

roaming()
{
	wg set wg1 listen-port 9999
	check "ukai's port changes" reaches n1 192.168.241.2
	same "is followed" "$(endpoint_of wg2)" 127.0.0.1:9999
	wg set wg2 listen-port 9998
	check "wireguard-go's port changes" reaches n2 192.168.241.1
	same "is followed" "$(endpoint_of wg1)" 127.0.0.1:9998
	check "and answered" reaches n1 192.168.241.2
	wg set wg1 peer "$(pub b)" endpoint '[::1]:9998'
	check "ukai goes over to IPv6" reaches n1 fd00::2
	same "is followed" "$(endpoint_of wg2)" "[::1]:9999"
	wg set wg2 peer "$(pub a)" endpoint 127.0.0.1:9999
	check "wireguard-go goes back to IPv4" reaches n2 fd00::1
	same "is followed" "$(endpoint_of wg1)" 127.0.0.1:9998
}

# Renewals while packets fly both ways: none is lost.
renewal()
{
	local shaken pid
	shaken=$(handshake wg2)
	steady n2 192.168.241.1 >$work/back &
	pid=$!
	check "pings while keys are renewed" steady n1 192.168.241.2
	check "and back" wait $pid
	cat $work/back
	check "ukai has a new session" later_than wg1 "$shaken"
	check "so has wireguard-go" later_than wg2 "$shaken"
	check "still the same bytes" agree
}

# Twelve seconds of it; every 5 there is a new session.
steady()
{
	ip netns exec "$1" ping -n -i 0.05 -c 241 -W 2 "$2" | all_pings 240
}

# Whoever begins anew is followed at once; whoever waits for one that has
# begun anew finds out by itself, after 15 s of silence.
restarts()
{
	stop wg1 n1
	begin_ukai
	wg set wg1 peer "$(pub b)" endpoint 127.0.0.1:9998
	check "ukai begins anew: ping from it" reaches n1 192.168.241.2
	check "and back" reaches n2 192.168.241.1
	stop wg2 n2
	begin_go
	wg set wg2 peer "$(pub a)" endpoint 127.0.0.1:10000
	check "wireguard-go begins anew: ping from it" reaches n2 192.168.241.1
	check "and back" reaches n1 192.168.241.2
	stop wg2 n2
	begin_go
	check "wireguard-go begins anew and is silent: ukai finds out" finds_out
	check "after 15 s, not before" test $SECONDS -ge 13
}

finds_out()
{
	SECONDS=0
	for _ in $(seq 20); do
		! ping1 n1 192.168.241.2 || return 0
	done
	return 1
}

# clock OFFSET: ukai's is so many seconds off, both ways of beginning.
clock()
{
	begin_ukai env LD_PRELOAD="$support/ukai-test-clock.so" \
		UKAI_TEST_CLOCK_OFFSET="$1"
	begin_go
	meet
	check "ukai's clock is off by $1 s: from it" reaches n1 192.168.241.2
	check "it is" clock_is_off "$1"
	stop wg2 n2
	begin_go
	meet
	check "ukai's clock is off by $1 s: to it" reaches n2 192.168.241.1
	stop wg1 n1
	stop wg2 n2
}

clock_is_off()
{
	local off=$(($(uapi_value wg1 last_handshake_time_sec) -
		$(uapi_value wg2 last_handshake_time_sec) - $1))
	echo "$off s from what it should be"
	[ ${off#-} -le 2 ]
}

# copy FROM-NS TO-NS ADDRESS: 50 MB, and the same bytes arrive.
copy()
{
	local pid
	ip netns exec "$2" timeout 30 ncat -l "$3" 5000 </dev/null \
		>$work/received &
	pid=$!
	soon accepts "$2" 5000
	ip netns exec "$1" timeout 30 ncat --send-only "$3" 5000 <$work/sent
	wait $pid
	cmp $work/sent $work/received
}

accepts()
{
	[ -n "$(ip netns exec "$1" ss -Hltn sport = "$2")" ]
}

# 5000 datagrams of all lengths, some at a time, each with its number.
#   receive ADDRESS    prints how many came, whole
#   send ADDRESS
cat >$work/datagrams.py <<'END'
import socket, sys, time

N, PORT = 5000, 5001


def datagram(i):
    return b"%08d" % i + bytes([i & 255]) * (i * 7 % 1300)


what, host = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
u = socket.socket(family, socket.SOCK_DGRAM)
if what == "send":
    for i in range(N):
        u.sendto(datagram(i), (host, PORT))
        if i % 10 == 9:
            time.sleep(0.001)
else:
    u.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    u.bind((host, PORT))
    u.settimeout(2)
    seen = set()
    try:
        while len(seen) < N:
            d = u.recv(2000)
            i = int(d[:8])
            if d != datagram(i) or i in seen:
                sys.exit("datagram %d is not what was sent" % i)
            seen.add(i)
    except socket.timeout:
        pass
    print(len(seen))
    sys.exit(len(seen) < N * 0.95)
END

# datagrams FROM-NS TO-NS ADDRESS: they arrive as they were, nearly all.
datagrams()
{
	local pid
	ip netns exec "$2" /usr/bin/python3 $work/datagrams.py receive "$3" &
	pid=$!
	soon listens "$2" 5001
	ip netns exec "$1" /usr/bin/python3 $work/datagrams.py send "$3"
	wait $pid
}

bulk()
{
	check "TCP from ukai, $1" copy n1 n2 192.168.241.2
	check "TCP to ukai, $1" copy n2 n1 fd00::1
	check "UDP from ukai, $1" datagrams n1 n2 fd00::2
	check "UDP to ukai, $1" datagrams n2 n1 192.168.241.1
}

roles
mismatch
psk=$work/psk
begin_ukai env UKAI_TEST_REKEY_AFTER=3
begin_go
meet
roaming
renewal
restarts
head -c 50M /dev/urandom >$work/sent
bulk "offloads"
stop wg1 n1
begin_ukai env UKAI_TEST_NO_OFFLOAD=1
wg set wg1 peer "$(pub b)" endpoint 127.0.0.1:20000
bulk "no offloads"
stop wg1 n1
stop wg2 n2
clock 3600
clock -3600
exit $failed
