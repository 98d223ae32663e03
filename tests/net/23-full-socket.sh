#!/bin/bash
# A link slower than what wants through the tunnel: the UDP socket is full most
# of the time, and the program must wait for room without spinning, without
# going deaf, and without losing what waits.
#
#   n1  wg1 10.9.0.1 ── va 192.0.2.1, 2001:db8::1
#                       │ 4 Mbit/s on the way from n1, 100 packets
#   n2  wg2 10.9.0.2 ── vb 192.0.2.2, 2001:db8::2
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/device-lib"

ip link add name va netns n1 type veth peer name vb netns n2
ip -n n1 addr add 192.0.2.1/24 dev va
ip -n n2 addr add 192.0.2.2/24 dev vb
ip -n n1 addr add 2001:db8::1/64 dev va nodad
ip -n n2 addr add 2001:db8::2/64 dev vb nodad
ip -n n1 link set va up
ip -n n2 link set vb up
# The queue has to hold more than the socket does, or the link drops first.
tc -n n1 qdisc add dev va root tbf rate 4mbit burst 16kb limit 64mb \
    2>/dev/null || skip "no tbf queue in this kernel"

have_sockets()
{
	have_socket wg1 && have_socket wg2
}

wg genkey >$work/1
wg genkey >$work/2
ip netns exec n1 "$ukai" device -f wg1 2>$work/log1 &
first=$!
ip netns exec n2 "$ukai" device -f wg2 2>$work/log2 &
second=$!
check "both programs start" soon have_sockets
wg set wg1 private-key $work/1 listen-port 4001 peer "$(wg pubkey <$work/2)" \
    allowed-ips 10.9.0.2/32 endpoint '[2001:db8::2]:4002'
wg set wg2 private-key $work/2 listen-port 4002 peer "$(wg pubkey <$work/1)" \
    allowed-ips 10.9.0.1/32
ip -n n1 addr add 10.9.0.1/24 dev wg1
ip -n n2 addr add 10.9.0.2/24 dev wg2
check "the line works" soon n1 ping -c 1 -W 1 2001:db8::2
ip -n n1 link set wg1 up
ip -n n2 link set wg2 up
check "the tunnel works" reaches n1 10.9.0.2

ticks()
{
	awk '{ print $14 + $15 }' "/proc/$first/stat"
}

# UDP at many times the link's rate, until there is $work/done.
cat >$work/blast.py <<'END'
import os, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while not os.path.exists(sys.argv[1]):
    try:
        s.sendto(bytes(1300), ("10.9.0.2", 9))
    except OSError:
        time.sleep(0.001)
END
# queued BYTES: so much waits before the link.
queued()
{
	tc -n n1 -j -s qdisc show dev va | jq -e ".[0].backlog > $1"
}

# The clock in the same ticks.
clock()
{
	awk '{ print int($1 * 100) }' /proc/uptime
}

before=$(ticks) since=$(clock)
n1 timeout 60 python3 $work/blast.py $work/done &
blast=$!
check "the socket is full" soon queued 150000
check "UAPI answers while the socket is full" timeout 15 wg show wg1 transfer
check "what comes from the peer is received while the socket is full" \
    bash -c "a=\$(wg show wg1 transfer | awk '{print \$2}')
ip netns exec n2 ping -c 3 -i 0.1 -W 1 10.9.0.1 >/dev/null
b=\$(wg show wg1 transfer | awk '{print \$2}'); [ \$b -gt \$a ]"
check "the socket is still full" queued 150000
used=$(($(ticks) - before)) all=$(($(clock) - since))
touch $work/done
wait $blast
check "no spinning: $used ticks of $all while it waited" \
    [ $((used * 6)) -lt $((all * 5)) ]
before=$(ticks) since=$(clock)
sleep 1
used=$(($(ticks) - before)) all=$(($(clock) - since))
check "no spinning afterwards: $used ticks of $all" [ $((used * 2)) -lt $all ]
tc -n n1 qdisc del dev va root
check "the tunnel works when the link is fast again" soon ping1 n1 10.9.0.2
kill $first
check "it ends on SIGTERM" soon ended $first
kill $second
check "so does the other" soon ended $second
exit $failed
