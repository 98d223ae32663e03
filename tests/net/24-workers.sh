#!/bin/bash
# shellcheck disable=SC2086,SC2154,SC2317 # our paths have no blanks; pids are
# set by name; functions are called through check()
#
# 24-workers: a device whose data path is several threads, with several peers,
# and everything that can happen to it while it is busy.
#
#   n1: wg0 10.9.0.1 ── ukai device --workers N ─┐
#   n2: wg1 10.9.0.11 ── ukai device ────────────┤
#   n3: wg2 10.9.0.12 ── ukai device ────────────┼── UDP on n0's lo
#   n4: wg3 10.9.0.13 ── ukai device --workers 3 ┘
#
# In n1 to n4 is a sink for what ukai-test-flow sends. Sessions are renewed as
# often as the protocol lets them. Programs that the thread sanitizer was built
# into must have nothing to report.
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# cannot make namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=device-lib
. "$here/device-lib"

flow=$support/ukai-test-flow
relay=${ukai%/client/ukai}/server/ukai-relay
port=10000
export UKAI_TEST_REKEY_AFTER=1
export UKAI_STATE_DIR=$work/state
# A report does not end the program, so that one run shows all of them.
export TSAN_OPTIONS="log_path=$work/tsan exitcode=0"

for ns in n3 n4; do
	ip netns add $ns
	ip -n $ns link set lo up
	ip netns exec $ns sysctl -qw net.ipv6.conf.default.accept_dad=0
done
n1 sysctl -qw net.ipv6.conf.all.keep_addr_on_down=1

# begin NAME NS ADDRESS PORT PROGRAM-ARGUMENT...: a device, up, with a key of
# its own; its pid in pid_NAME.
begin()
{
	local name=$1 ns=$2 address=$3 listen=$4
	shift 4
	"$ukai" device -f "$@" "$name" >>$work/$name.log 2>&1 &
	eval "pid_$name=$!"
	soon have_socket "$name" || return 1
	ip link set "$name" netns "$ns"
	wg set "$name" private-key "$work/$name.key" listen-port "$listen"
	ip -n "$ns" addr add "10.9.0.$address/24" dev "$name"
	ip -n "$ns" addr add "fd09::$address/64" dev "$name"
	ip -n "$ns" link set "$name" up
}

# knows NAME PEER ADDRESS PORT
knows()
{
	wg set "$1" peer "$(pub "$2")" endpoint "127.0.0.1:$4" \
		allowed-ips "10.9.0.$3/32,fd09::$3/128"
}

# begin_hub N: wg0 with N workers. The peers know where it is.
begin_hub()
{
	begin wg0 n1 1 $port --workers "$1"
	knows_all
}

knows_all()
{
	local i
	for i in 1 2 3; do
		knows wg0 "wg$i" "1$i" $((port + i))
	done
}

# Sessions with all peers end; those who come back within the 20 ms that a
# responder wants between two initiations wait for five seconds.
forgets_all()
{
	sleep 0.03
	wg set wg0 peer "$(pub wg1)" remove peer "$(pub wg2)" remove \
		peer "$(pub wg3)" remove && knows_all
}

# sinks: in every namespace; what they say is in $work/sink.N.
sinks()
{
	local i
	for i in 1 2 3 4; do
		ip netns exec n$i "$flow" sink 7000 >>$work/sink.$i 2>&1 &
		eval "sink_$i=$!"
	done
	for i in 1 2 3 4; do
		soon test -n "$(ip netns exec n$i ss -Hltn sport = 7000)"
	done
}

# told: what all sinks have seen since they were last asked.
told()
{
	local i pid
	for i in 1 2 3 4; do
		: >$work/sink.$i
		pid=sink_$i
		kill -USR1 "${!pid}"
		soon grep -q told $work/sink.$i
		sed -n "/^udp/s/^/sink $i: /p" $work/sink.$i
	done
}

# orderly N: N UDP flows have come, as they were sent.
orderly()
{
	told | tee $work/told
	[ "$(awk '$6 >= 100' $work/told | wc -l)" = "$1" ] &&
		not grep -Ev ' disorder 0 twice 0 bad 0$' $work/told
}

# streams BYTES PEER...: TCP both ways to all these peers at once.
streams()
{
	local bytes=$1 i pids=()
	shift
	for i; do
		n1 timeout 60 "$flow" tcp 10.9.0.1$i 7000 "$bytes" &
		pids+=($!)
		ip netns exec n$((i + 1)) timeout 60 "$flow" tcp fd09::1 7000 \
			"$bytes" &
		pids+=($!)
	done
	all_end_well "${pids[@]}"
}

all_end_well()
{
	local pid c=0
	for pid; do
		wait "$pid" || c=1
	done
	return $c
}

# datagrams COUNT US PEER...: UDP both ways, flows 0 + PEER and 4 + PEER; the
# pids in udp.
datagrams()
{
	local count=$1 us=$2 i
	udp=()
	shift 2
	for i; do
		ip netns exec n1 "$flow" udp fd09::1$i 7000 "$i" "$count" "$us" &
		udp+=($!)
		ip netns exec n$((i + 1)) "$flow" udp 10.9.0.1 7000 \
			$((4 + i)) "$count" "$us" &
		udp+=($!)
	done
}

# works: each thread of the hub, and for how long it has run.
works()
{
	awk '{ print FILENAME, $1 }' /proc/$pid_wg0/task/*/schedstat | sort
}

# at_work N: so many threads have done something since $work/works: more than
# 3 ms, which is not what looks at the interface once a second.
at_work()
{
	works | join $work/works - | tee $work/worked
	[ "$(awk '$3 - $2 > 3000000' $work/worked | wc -l)" -ge $1 ]
}

# ---- what passes ----

passes()
{
	begin_hub "$1"
	check "$1 workers: a first ping to each of three peers" pings
	works >$work/works
	check "$1 workers: streams of two peers, both ways, unharmed" \
		streams $2 1 2
	check "$1 workers: at least two threads carried them" at_work 2
	datagrams 2000 2000 1 2 3
	check "$1 workers: streams of three peers and datagrams at once" \
		streams $2 1 2 3
	check "$1 workers: datagrams are sent" all_end_well "${udp[@]}"
	check "$1 workers: each flow arrives in order, once, unharmed" \
		orderly 6
	check "$1 workers: in order from the session's first packet on" \
		keeps_order
	check "$1 workers: the first packets after the link came up" \
		first_packets
}

pings()
{
	local i
	for i in 11 12 13; do
		soon ping1 n1 10.9.0.$i && ping1 n1 fd09::$i || return 1
	done
}

# ---- what happens meanwhile ----

# Does peer N's traffic arrive at the hub, and the hub's at the peer?
flows()
{
	local before
	before=$(received $1)
	soon more $1 $before
}

received()
{
	echo "$(wg show wg0 transfer | grep "^$(pub wg$1)" | cut -f2) $(
		)$(rx_tx wg$1 | cut -d' ' -f1)"
}

more()
{
	local here there
	read -r here there < <(received $1)
	[ $here -gt $(($2 + 2000)) ] && [ $there -gt $(($3 + 2000)) ]
}

all_flow()
{
	flows 1 && flows 2 && flows 3
}

renewed()
{
	[ "$(wg show wg0 latest-handshakes | sort)" != "$1" ] &&
		[ "$(wg show wg0 latest-handshakes | sort |
			comm -12 - <(echo "$1"))" = "" ]
}

# Within the six seconds that the protocol wants between handshakes.
all_renewed()
{
	soon renewed "$1" || soon renewed "$1" || soon renewed "$1"
}

removes()
{
	local i
	for i in 1 2 3 4 5 6 7 8; do
		forgets_all || return 1
	done
	all_flow
}

# What waits for a session is sent by whoever has time, and what comes later
# must not overtake it.
keeps_order()
{
	local i j
	told
	udp=()
	for i in 1 2 3; do
		for j in 0 4 8 12; do
			ip netns exec n1 "$flow" udp fd09::1$i 7000 \
				$((i + j)) 0 100 &
			udp+=($!)
		done
	done
	for i in {1..20}; do
		forgets_all || return 1
	done
	kill "${udp[@]}"
	all_end_well "${udp[@]}" && orderly 12
}

moves_port()
{
	local i
	for i in 5 4 3 2 1 0; do
		wg set wg0 listen-port $((port + 10 * i)) || return 1
	done
	[ "$(ss -Hlun sport = $port | wc -l)" = $((2 * $1)) ] && all_flow
}

moves_mark()
{
	wg set wg0 fwmark 0x77 && all_flow &&
		[ "$(ss -Hlune sport = $port |
			grep -c fwmark:0x77)" = $((2 * $1)) ] &&
		wg set wg0 fwmark off && all_flow
}

roams()
{
	wg set wg2 listen-port 10102 &&
		soon followed wg2 127.0.0.1:10102 && flows 2 &&
		wg set wg2 listen-port $((port + 2)) &&
		soon followed wg2 127.0.0.1:$((port + 2)) && flows 2
}

followed()
{
	[ "$(wg show wg0 endpoints | grep "^$(pub $1)" | cut -f2)" = "$2" ]
}

sleeps()
{
	local i
	for i in 1 2 3; do
		sleep 0.03 # as in forgets_all
		ip -n n1 link set wg0 down &&
			soon closed $port && ip -n n1 link set wg0 up &&
			soon not closed $port || return 1
	done
	# The peers notice that their sessions are gone when the hub calls.
	all_flow
}

closed()
{
	[ -z "$(ss -Hlun sport = "$1")" ]
}

happens()
{
	local shaken
	shaken=$(wg show wg0 latest-handshakes | sort)
	datagrams 0 4000 1 2 3
	check "$1 workers, under load: traffic of all flows" all_flow
	check "under load: a peer roams" roams
	check "under load: wg changes the mark" moves_mark $1
	check "under load: wg changes the port, six times" moves_port $1
	check "under load: sessions are renewed" all_renewed "$shaken"
	check "under load: wg removes and adds peers, eight times" removes
	check "under load: the link goes down and up, three times" sleeps
	check "under load: streams" streams 100000 1 2 3
	check "under load: wg shows what it is asked for" shows
}

# The first packets after the link came up, before any session, whichever
# thread has them.
first_packets()
{
	local i
	told >/dev/null
	udp=()
	ip -n n1 link set wg0 down && soon closed $port || return 1
	ip -n n1 link set wg0 up
	for i in {0..15}; do
		ip netns exec n1 "$flow" udp 10.9.0.12 7000 $i 1 0 &
		udp+=($!)
	done
	all_end_well "${udp[@]}"
	: >$work/told
	soon each_got_one || ! cat $work/told
}

each_got_one()
{
	told >>$work/told
	[ "$(grep -c ' got 1 disorder 0 twice 0 bad 0$' $work/told)" = 16 ]
}

shows()
{
	wg showconf wg0 >$work/shown && [ "$(grep -c Peer $work/shown)" = 3 ] &&
		[ "$(wg show wg0 listen-port)" = $port ] &&
		[ "$(wg show wg0 peers | wc -l)" = 3 ]
}

calms()
{
	kill "${udp[@]}" 2>/dev/null
	check "datagrams are sent" all_end_well "${udp[@]}"
	check "all that came, came in order, once, unharmed" orderly 6
}

# ends HOW: under load, with exit code 0 and nothing left.
ends()
{
	local pid=$pid_wg0
	case $1 in
	TERM) kill $pid ;;
	interface) ip -n n1 link del wg0 ;;
	socket) rm $run/wg0.sock ;;
	esac
	soon ended $pid && wait $pid && not have_socket wg0 &&
		not ip -n n1 link show wg0 && closed $port
}

# ---- ports and options ----

# Whoever has the port, with one socket or several, keeps it.
refused()
{
	local c
	begin wg5 n1 50 10005 --workers $1
	c=$(code wg set wg5 listen-port $port)
	same "$1 workers: a port that wg0's two workers have: exit code" $c 1
	check "the reason" grep -q "Address already in use" $work/said
	check "its log says more" grep -q "UDP port $port is in use" \
		$work/wg5.log
	c=$(code wg set wg0 listen-port 10005)
	same "the other way round: exit code" $c 1
	same "both stay where they are" "$(wg show wg0 listen-port) $(
		)$(wg show wg5 listen-port)" "$port 10005"
	check "and work" reaches n1 10.9.0.11
	kill $pid_wg5
	check "its end is an orderly one" wait $pid_wg5
	rm $work/wg5.log
}

wrong_options()
{
	local n
	for n in 0 17 -1 "" x 2x 1.5 99999999999; do
		same "--workers \"$n\": exit code" \
			"$(code "$ukai" device --workers "$n" wg5)" 2
		check "it says why" grep -q -- "--workers is a number from" \
			$work/said
	done
	same "--workers without: exit code" \
		"$(code "$ukai" device wg5 --workers)" 2
	check "nothing is made" not have_link wg5
}

# threads PID N: that many carry data: the first, and N - 1 of that name.
threads()
{
	[ "$(cat /proc/$1/task/*/comm | grep -cx ukai-lane)" = $(($2 - 1)) ]
}

relay_conf()
{
	printf '[Relay]\nPrivateKey = %s\nAddress = 10.9.9.1/24\n' \
		"$(cat $work/wg0.key)"
	printf 'GlobalAddress = 192.0.2.1\nListenPort = 10050\nWorkers = %s\n' \
		"$1"
	printf '[Peer]\nName = one\nPublicKey = %s\nAllowedIPs = 10.9.9.11/32\n' \
		"$(pub wg1)"
	printf '[Peer]\nName = two\nPublicKey = %s\nAllowedIPs = 10.9.9.12/32\n' \
		"$(pub wg2)"
}

# The relay in n0 answers pings of its clients.
relay_answers()
{
	local i
	for i in 1 2; do
		ip -n n$((i + 1)) addr replace 10.9.9.1$i/24 dev wg$i
		wg set wg$i peer "$(pub wg0)" remove
		wg set wg$i peer "$(pub wg0)" endpoint 127.0.0.1:10050 \
			allowed-ips 10.9.9.1/32
		soon ping1 n$((i + 1)) 10.9.9.1 || return 1
	done
}

relays()
{
	local n pid
	for n in 0 17 x; do
		relay_conf $n >$work/relay.conf
		same "Workers = $n: exit code" "$(code "$relay" check --config \
			$work/relay.conf)" 2
		check "it says why" grep -q "Workers \"$n\" is neither" \
			$work/said
	done
	for n in 3 auto; do
		relay_conf $n >$work/relay.conf
		"$relay" serve --config $work/relay.conf >$work/relay.log 2>&1 &
		pid=$!
		[ $n != auto ] || n=$(nproc)
		check "a relay with $n workers" soon listens_times 10050 $n
		check "has as many threads" soon threads $pid $n
		check "and answers two clients" relay_answers
		kill $pid
		check "its end is an orderly one" wait $pid
	done
}

# listens_times PORT N: by N sockets of each family.
listens_times()
{
	[ "$(ss -Hlun sport = "$1" | wc -l)" = $((2 * $2)) ]
}

# What the thread sanitizer has to say, if it is there.
reports()
{
	cat $work/tsan.* $work/*.log 2>/dev/null | grep -A 60 ThreadSanitizer
}

for i in 0 1 2 3 5; do
	key wg$i >/dev/null
done
begin wg1 n2 11 $((port + 1))
begin wg2 n3 12 $((port + 2))
begin wg3 n4 13 $((port + 3)) --workers 3
for i in 1 2 3; do
	knows wg$i wg0 1 $port
done
sinks
passes 2 6000000
refused 1
refused 2
happens 2
check "ends on SIGTERM under load" ends TERM
begin_hub 3
check "3 workers, under load: traffic of all flows" all_flow
check "ends when the interface is deleted under load" ends interface
calms
passes 3 2000000
check "ends when the socket is deleted" ends socket
wrong_options
relays
for i in 1 2 3; do
	pid=pid_wg$i
	kill "${!pid}"
	check "the peer wg$i ends" wait "${!pid}"
done
same "nothing is left" "$(ls $run)$(ip -o link | grep wg)" ""
check "the thread sanitizer has nothing to report" not reports
exit $failed
