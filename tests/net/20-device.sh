#!/bin/bash
# shellcheck disable=SC2086,SC2317 # our paths have no blanks; functions are
# called through check()
#
# 20-device: the contract of a userspace WireGuard program, with wg(8),
# wg-quick(8) and ip(8) on the other side.
#
#    n1: wg1 ---+                      +--- wg2: n2
#               |  UDP on n0's lo, or  |
#    n0: ukai device              ukai device
#               |  a veth, or a NAT    |
#               +----------------------+
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# cannot make namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=device-lib
. "$here/device-lib"
helper="/usr/bin/python3 $work/helper.py"

# Things that no standard tool does.
#   stale PATH           leave a socket that nobody answers on
#   listen PATH          answer on a socket
#   tunfd NAME [vnet] CMD...   open a TUN device and run CMD with WG_TUN_FD
#   uapifd PATH CMD...   listen on a socket and run CMD with WG_UAPI_FD
#   udp PORT             hold a UDP port, both families
#   receive HOST PORT    wait a second for a datagram
#   idle PATH N          hold N connections that say nothing
#   dump PATH CMD...     ask for everything; after the first bytes run CMD,
#                        then read the rest; prints the last line
#   stall PATH KEY PSK   begin to set up a peer, wait for its removal, go on
cat >$work/helper.py <<'END'
import fcntl, os, socket, struct, subprocess, sys, termios, time


def unix(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(path)
    return s


def listener(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(10)
    return s


def tun(name, vnet):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    flags = 0x1001 | (0x4000 if vnet else 0)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))
    return fd


def run_with(variable, fd, command):
    os.set_inheritable(fd, True)
    os.environ[variable] = str(fd)
    os.execvp(command[0], command)


what, args = sys.argv[1], sys.argv[2:]
if what == "stale":
    listener(args[0]).close()
elif what == "listen":
    s = listener(args[0])
    held = []
    while True:
        held.append(s.accept())
elif what == "tunfd":
    vnet = args[1] == "vnet"
    run_with("WG_TUN_FD", tun(args[0], vnet), args[1 + vnet:])
elif what == "uapifd":
    run_with("WG_UAPI_FD", listener(args[0]).detach(), args[1:])
elif what == "udp":
    u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    u.bind(("::", int(args[0])))
    time.sleep(60)
elif what == "receive":
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind((args[0], int(args[1])))
    u.settimeout(1)
    u.recv(10)
elif what == "idle":
    held = [unix(args[0]) for i in range(int(args[1]))]
    held[0].send(b"set=1\npublic_k")
    held[1].send(b"get=1\n")
    print("held", flush=True)
    time.sleep(60)
elif what == "dump":
    s = unix(args[0])
    s.send(b"get=1\n\n")
    got = s.recv(1000)
    subprocess.run(args[1:], check=True)
    while not got.endswith(b"\n\n"):
        b = s.recv(65536)
        if not b:
            break
        got += b
    print(got.count(b"allowed_ip="), got.split(b"\n")[-3].decode())
elif what == "stall":
    s = unix(args[0])
    s.send(b"set=1\npublic_key=%s\nallowed_ip=10.1.0.0/16\n" %
           args[1].encode())
    while struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]:
        time.sleep(0.02)  # until it has been read
    t = unix(args[0])
    t.send(b"set=1\nreplace_peers=true\n\n")
    t.recv(100)
    s.send(b"preshared_key=%s\nallowed_ip=10.2.0.0/16\n\n" % args[2].encode())
    print(s.recv(100).decode().strip())
END

hex()
{
	base64 -d <"$1" | od -An -v -tx1 | tr -d ' \n'
}

# ---- starting and stopping ----

starts()
{
	check "start in the background" device wg1
	same "the interface is down, MTU 1420, without addresses" \
		"$(ip -o addr show wg1; ip -o link show wg1 |
			grep -Eo 'mtu [0-9]*|state [A-Z]*' | paste -sd' ')" \
		"mtu 1420 state DOWN"
	same "no packet information, so layer 3" \
		"$(cat /sys/class/net/wg1/type)" 65534
	same "the socket's mode" "$(stat -c %A $run/wg1.sock)" srw-------
	same "its directory's mode" "$(stat -c %A $run)" drwxr-xr-x
	same "wg finds it" "$(wg show interfaces)" wg1
	same "nothing is set yet" "$(printf 'get=1\n\n' | ask wg1)" "errno=0"
	remove wg1
	same "--version" "$("$ukai" --version | grep -c .)" 1
}

# The parent's exit must mean ready: the interface leaves at once.
starts_ready()
{
	local i
	for i in $(seq 20); do
		if ! device "r$i" || ! ip link set "r$i" netns n1 ||
			! wg set "r$i" listen-port $((11000 + i)) ||
			! ip -n n1 link set "r$i" up; then
			echo "run $i"
			return 1
		fi
	done
	for i in $(seq 20); do
		[ "$(ss -Hlun sport = $((11000 + i)) | wc -l)" = 2 ] ||
			return 1
		rm $run/r$i.sock
	done
	for i in $(seq 20); do
		soon not ip -n n1 link show "r$i" || return 1
	done
}

foreground()
{
	local pid
	"$ukai" device "$@" wg1 &
	pid=$!
	soon have_socket wg1 && kill -0 $pid && kill $pid && wait $pid &&
		not have_socket wg1 && not have_link wg1
}

# ends_by SIGNAL
ends_by()
{
	local pid
	"$ukai" device -f wg1 &
	pid=$!
	soon have_socket wg1 && kill "-$1" $pid && wait $pid &&
		not have_socket wg1 && not have_link wg1
}

# The same in the background and while it is at work elsewhere.
ends_without()
{
	local pid
	device wg1 && pid=$(pgrep -x ukai) && ip link set wg1 netns n1 &&
		ip -n n1 link set wg1 up || return 1
	case $1 in
	interface) ip -n n1 link del wg1 ;;
	socket) rm $run/wg1.sock ;;
	esac
	soon not kill -0 "$pid" && not have_socket wg1 &&
		not ip -n n1 link show wg1
}

# Deleted in another namespace, where nobody tells the program by name: its
# own name is free again all the same, ten times.
frees_name()
{
	local i
	for i in $(seq 10); do
		device wg1 && ip link set wg1 netns n1 &&
			ip -n n1 link set wg1 up && sleep 0.05 &&
			ip -n n1 link del wg1 &&
			soon not have_socket wg1 || return 1
	done
	not have_socket wg1
}

refuses_names()
{
	local pid before
	$helper stale $run/wg1.sock
	check "a stale socket is replaced" device wg1
	same "and answers" "$(wg show interfaces)" wg1
	before=$(stat -c %i $run/wg1.sock; ip link show wg1)
	same "a second one of that name: exit code" "$(code device wg1)" 1
	check "it says why" grep -q wg1 $work/said
	same "nothing of the first one is touched" \
		"$(stat -c %i $run/wg1.sock; ip link show wg1)" "$before"
	same "which still answers" "$(wg show interfaces)" wg1
	remove wg1

	$helper listen $run/wg1.sock &
	pid=$!
	soon have_socket wg1
	before=$(stat -c %i $run/wg1.sock)
	same "a living socket: exit code" "$(code device wg1)" 1
	same "it stays" "$(stat -c %i $run/wg1.sock)" "$before"
	check "no interface is made" not have_link wg1
	kill $pid
	rm $run/wg1.sock
	: >$run/wg1.sock
	same "a file in the socket's place: exit code" "$(code device wg1)" 1
	check "it stays" test -f $run/wg1.sock
	check "no interface is made" not have_link wg1
	rm $run/wg1.sock

	ip link add wg1 type veth peer name other
	same "an interface of that name: exit code" "$(code device wg1)" 1
	check "it stays" have_link other
	check "no socket is made" not test -e $run/wg1.sock
	ip link del wg1
	ip tuntap add dev wg1 mode tun
	same "a TUN device of that name: exit code" "$(code device wg1)" 1
	check "it stays" have_link wg1
	check "no socket is made" not test -e $run/wg1.sock
	ip link del wg1
	for before in "" a/b "a b" a:b .. sixteencharacter; do
		same "the name \"$before\": exit code" \
			"$(code device "$before")" 2
	done
	same "no name: exit code" "$(code "$ukai" device)" 2
	same "two names: exit code" "$(code "$ukai" device a b)" 2
	same "nothing is left" "$(ls $run)" ""
}

inherits()
{
	check "WG_TUN_FD" $helper tunfd wg5 "$ukai" device wg1
	same "the name is the descriptor's" "$(wg show interfaces)" wg5
	check "it can be configured" wg set wg5 listen-port 10005
	ip link set wg5 up
	check "and comes up" soon has_port 10005
	remove wg5
	check "WG_TUN_FD with a header" \
		$helper tunfd wg5 vnet "$ukai" device wg5
	same "the name is the descriptor's" "$(wg show interfaces)" wg5
	remove wg5
	same "WG_TUN_FD that is none: exit code" \
		"$(code env WG_TUN_FD=0 "$ukai" device wg5 </dev/null)" 2
	check "WG_UAPI_FD" $helper uapifd $run/wg5.sock "$ukai" device wg5
	check "answers" wg set wg5 listen-port 10005
	rm $run/wg5.sock
	check "ends when that is deleted" soon not have_link wg5
}

# In words of its own, with an exit code.
lacks()
{
	same "no /dev/net/tun: exit code" "$(code unshare --mount sh -c \
		"mount -t tmpfs tmpfs /dev/net && exec $ukai device wg1")" 1
	check "it says so" grep -q /dev/net/tun $work/said
	cp "$ukai" $work/ukai
	chmod 755 $work $work/ukai
	same "not root: exit code" "$(code setpriv --reuid 65534 \
		--regid 65534 --clear-groups $work/ukai device wg1)" 4
	check "it says so" grep -qi root $work/said
	rm $work/ukai
	same "nothing is left" "$(ls $run; ip -o link | grep wg1)" ""
}

lifecycle()
{
	starts
	check "readiness, 20 times" starts_ready
	check "foreground: -f" foreground -f
	check "foreground: --foreground" foreground --foreground
	WG_PROCESS_FOREGROUND=1
	export WG_PROCESS_FOREGROUND
	check "foreground: WG_PROCESS_FOREGROUND" foreground
	unset WG_PROCESS_FOREGROUND
	check "ends on SIGTERM" ends_by TERM
	check "ends on SIGINT" ends_by INT
	check "ends when the interface is deleted" ends_without interface
	check "ends when the socket is deleted" ends_without socket
	check "a deleted interface's name is free at once" frees_name
	refuses_names
	inherits
	lacks
}

# ---- the UDP sockets ----

# ports [NS]: which of ours are open.
ports()
{
	${1:+ip netns exec $1} ss -Hlunp 2>/dev/null | awk '/"ukai"/ {
		n = split($4, a, ":"); print a[n] }' | sort | paste -sd' '
}

sockets()
{
	local pid port
	device wg1
	same "no socket before it is up" "$(ports)" ""
	ip link set wg1 netns n1
	ip -n n1 link set wg1 up
	check "it comes up" soon not no_ports
	port=$(uapi_value wg1 listen_port)
	same "port 0: one number for both families" "$(ports)" "$port $port"
	same "no socket where the interface is" "$(ports n1)" ""
	ip -n n1 link set wg1 down
	check "down: sockets close" soon no_ports
	check "a port while down" wg set wg1 listen-port 10001
	ip -n n1 link set wg1 up
	check "is used when up" soon has_ports "10001 10001"
	wg set wg1 listen-port 10002
	same "another port" "$(ports)" "10002 10002"
	same "as wg shows it" "$(wg show wg1 listen-port)" 10002

	$helper udp 10003 &
	pid=$!
	soon has_port 10003
	same "a port in use: exit code" \
		"$(code wg set wg1 listen-port 10003)" 1
	check "the reason" grep -q "Address already in use" $work/said
	same "raw" "$(printf 'set=1\nlisten_port=10003\n\n' | ask wg1)" \
		errno=-98
	same "the old port stays" "$(ports)" "10002 10002"
	kill $pid

	wg set wg1 fwmark 0x1234
	same "fwmark" "$(wg show wg1 fwmark)" 0x1234
	same "raw" "$(uapi_value wg1 fwmark)" 4660
	same "on both sockets" "$(ss -Hlune sport = 10002 2>/dev/null |
		grep -c fwmark:0x1234)" 2
	wg set wg1 listen-port 10004
	same "on new sockets" "$(ss -Hlune sport = 10004 2>/dev/null |
		grep -c fwmark:0x1234)" 2
	wg set wg1 fwmark off
	same "fwmark off" "$(wg show wg1 fwmark)" off
	same "on both sockets" "$(ss -Hlune sport = 10004 2>/dev/null |
		grep -c fwmark)" 0
	remove wg1 n1
}

no_ports()
{
	[ -z "$(ports)" ]
}

has_ports()
{
	[ "$(ports)" = "$1" ]
}

# ---- two of them ----

# Eleven pings of 84 bytes: each a message of 128. A handshake is 148 and 92.
counts()
{
	check "pings" flood n2 192.168.241.1
	same "bytes of the initiator" "$(rx_tx wg2)" "1500 1556"
	same "the peer's are the opposite" "$(tx_rx wg1)" "1500 1556"
	check "pings back" flood n1 192.168.241.2
	check "IPv6" flood n2 fd00::1
	check "IPv6 back" flood n1 fd00::2
	same "one handshake did for all" "$(rx_tx wg1)" "$(tx_rx wg2)"
}

# on_the_wire SIZE BYTES: so long is the message for a packet, and the answer's.
on_the_wire()
{
	local before after

	before=$(rx_tx wg1)
	big n1 192.168.241.2 "$1"
	after=$(rx_tx wg1)
	[ "$((${after% *} - ${before% *})) $((
		${after#* } - ${before#* }))" = "$2 $2" ]
}

# big NS ADDRESS SIZE: one packet of this many bytes in one piece.
big()
{
	local header=28
	[[ $2 != *:* ]] || header=48
	reaches "$1" -M 'do' -s $(($3 - header)) "$2"
}

sizes()
{
	local before after
	check "1420 bytes" big n1 192.168.241.2 1420
	check "no more" not big n1 192.168.241.2 1421
	ip -n n1 link set wg1 mtu 34736
	ip -n n2 link set wg2 mtu 34736
	check "34736 bytes" big n1 192.168.241.2 34736
	check "34736 bytes of IPv6" big n2 fd00::1 34736
	check "34000 bytes ten times" flood n2 -s 33972 192.168.241.1
	# A packet is padded, but not past the MTU, wherever that was changed:
	# from where the program is that cannot be seen at once.
	ip -n n1 link set wg1 mtu 1299
	ip -n n2 link set wg2 mtu 1299
	check "1299 bytes at an MTU of 1299" big n1 192.168.241.2 1299
	check "are 1331 on the wire" soon on_the_wire 1299 1331
	ip -n n1 link set wg1 mtu 1420
	ip -n n2 link set wg2 mtu 1420
}

roams()
{
	ip addr del 127.0.0.1/8 dev lo
	ip addr add 127.212.121.99/8 dev lo
	wg set wg1 listen-port 9999
	wg set wg1 peer "$(pub b)" endpoint 127.0.0.1:20000
	check "from another IPv4 address and port" reaches n1 fd00::2
	same "is followed" "$(endpoint_of wg2)" 127.212.121.99:9999
	wg set wg1 listen-port 9998
	wg set wg1 peer "$(pub b)" endpoint '[::1]:20000'
	check "from IPv6" reaches n1 192.168.241.2
	same "is followed" "$(endpoint_of wg2)" "[::1]:9998"
	check "and back" reaches n2 192.168.241.1
	ip addr del 127.212.121.99/8 dev lo
	ip addr add 127.0.0.1/8 dev lo
	wg set wg1 listen-port 10000
	wg set wg1 peer "$(pub b)" endpoint 127.0.0.1:20000
	check "and to IPv4 again" reaches n1 192.168.241.2
	same "is followed" "$(endpoint_of wg2)" 127.0.0.1:10000
}

# arrives: a datagram from wg2 to wg1.
arrives()
{
	local pid
	n1 $helper receive 192.168.241.1 1111 &
	pid=$!
	soon listens n1 1111
	n2 bash -c 'echo X >/dev/udp/192.168.241.1/1111'
	wait $pid
}

routes_by_key()
{
	local other
	other=$(key other)
	wg set wg1 peer "$(pub b)" allowed-ips 192.168.241.0/24
	check "a datagram arrives" arrives
	wg set wg1 peer "$other" allowed-ips 192.168.241.2/32
	wg set wg2 listen-port 9997
	check "from another peer's address it does not" not arrives
	same "but is authentic, so followed" \
		"$(wg show wg1 endpoints | grep "^$(pub b)" | cut -f2)" \
		127.0.0.1:9997
	wg set wg1 peer "$other" remove
	wg set wg1 peer "$(pub b)" allowed-ips 192.168.241.2/32,fd00::2/128
	wg set wg2 listen-port 20000
	wg set wg1 peer "$(pub b)" endpoint 127.0.0.1:20000
	check "without that peer it does again" arrives
}

changes_key()
{
	local old
	check "before a change of key" reaches n1 192.168.241.2
	old=$(pub a)
	key a >/dev/null
	wg set wg1 private-key $work/a.key
	wg set wg2 peer "$old" remove
	wg set wg2 peer "$(pub a)" preshared-key "${psk:-/dev/null}" \
		allowed-ips 192.168.241.1/32,fd00::1/128
	check "the next ping passes at once" reaches n1 192.168.241.2
	check "and back" reaches n2 192.168.241.1
}

# Everything but sessions and their time survives.
configuration()
{
	wg showconf "$1" | sort
}

goes_down()
{
	local before shaken
	before=$(configuration wg1)
	shaken=$(handshake wg1)
	ip -n n1 link set wg1 down
	check "down" soon closed 10000
	same "the configuration stays" "$(configuration wg1)" "$before"
	ip -n n1 link set wg1 up
	soon has_ports "10000 10000 20000 20000"
	check "up again" reaches n1 192.168.241.2
	check "by a new session" later_than wg1 "$shaken"
	ip -n n1 link set wg1 down
	soon closed 10000
	wg set wg1 peer "$(pub b)" persistent-keepalive 25
	shaken=$(handshake wg1)
	sleep 0.5
	same "no handshake while down" "$(handshake wg1)" "$shaken"
	ip -n n1 link set wg1 up
	check "a keepalive starts one when up" soon later_than wg1 "$shaken"
	wg set wg1 peer "$(pub b)" persistent-keepalive off
}

# closed PORT [NS]
closed()
{
	[ -z "$(${2:+ip netns exec $2} ss -Hlun sport = "$1")" ]
}

rejects()
{
	check "IPv4 to nobody: unreachable" unreachable 192.168.241.99
	check "IPv6 to nobody: unreachable" unreachable fd00::99
	wg set wg1 peer "$(key other)" allowed-ips 192.168.241.98/32,fd00::98
	check "no endpoint, IPv4: unreachable" unreachable 192.168.241.98
	check "no endpoint, IPv6: unreachable" unreachable fd00::98
	wg set wg1 peer "$(pub other)" remove
}

unreachable()
{
	n1 ping -n -c 1 -W 15 "$1" | grep -Ei 'host|address' |
		grep -i unreachable
}

two()
{
	key a >/dev/null
	key b >/dev/null
	wg genpsk >$work/psk
	pair $work/psk
	counts
	sizes
	roams
	routes_by_key
	rejects
	changes_key
	goes_down
	unpair
	pair
	check "without a preshared key" flood n1 192.168.241.2
	unpair
}

# ---- topologies ----

# n1 has a private address behind n0, which forgets a UDP flow after 2 s.
translated()
{
	pair
	ip link add vethrc type veth peer name vethc netns n1
	ip link add vethrs type veth peer name veths netns n2
	ip addr add 192.168.1.1/24 dev vethrc
	ip addr add 10.0.0.1/24 dev vethrs
	ip link set vethrc up
	ip link set vethrs up
	ip -n n1 addr add 192.168.1.100/24 dev vethc
	ip -n n1 link set vethc up
	ip -n n1 route add default via 192.168.1.1
	ip -n n2 addr add 10.0.0.100/24 dev veths
	ip -n n2 link set veths up
	sysctl -qw net.ipv4.ip_forward=1
	nft 'add table ip nat
		add chain ip nat post { type nat hook postrouting priority 100; }
		add rule ip nat post ip daddr 10.0.0.0/24 masquerade'
	sysctl -qw net.netfilter.nf_conntrack_udp_timeout=2 \
		net.netfilter.nf_conntrack_udp_timeout_stream=2
	unpair
	# This time the sockets are where the interfaces are.
	n1 "$ukai" device wg1
	n2 "$ukai" device wg2
	configure wg1 n1 a b 10000 1 2
	configure wg2 n2 b a 20000 2 1
	wg set wg1 peer "$(pub b)" endpoint 10.0.0.100:20000 \
		persistent-keepalive 1
	check "NAT: out" reaches n1 192.168.241.2
	check "NAT: back" reaches n2 192.168.241.1
	check "NAT: the peer sees the outer address" \
		test "$(endpoint_of wg2 | cut -d: -f1)" = 10.0.0.1
	sleep 3
	# Without the client's keepalives the way would stay closed.
	check "NAT: back after its time" soon ping1 n2 192.168.241.1
	wg set wg1 peer "$(pub b)" persistent-keepalive 0
	unpair
	nft flush ruleset
	ip link del vethrc
	ip link del vethrs
}

# n1 and n2 joined directly, with addresses that come and go.
moved()
{
	local e
	ip -n n1 link add veth1 type veth peer name veth2 netns n2
	n1 sysctl -qw net.ipv4.conf.veth1.promote_secondaries=1
	ip -n n1 addr add 10.0.0.1/24 dev veth1
	ip -n n1 addr add fd00:aa::1/96 dev veth1
	ip -n n2 addr add 10.0.0.2/24 dev veth2
	ip -n n2 addr add fd00:aa::2/96 dev veth2
	ip -n n1 link set veth1 up
	ip -n n2 link set veth2 up
	soon ping1 n1 10.0.0.2
	soon ping1 n1 fd00:aa::2
	n1 "$ukai" device wg1
	n2 "$ukai" device wg2
	configure wg1 n1 a b 10000 1 2
	configure wg2 n2 b a 20000 2 1
	wg set wg1 peer "$(pub b)" endpoint 10.0.0.2:20000
	check "source: IPv4" reaches n1 192.168.241.2
	ip -n n1 addr add 10.0.0.10/24 dev veth1
	ip -n n1 addr del 10.0.0.1/24 dev veth1
	check "source: it is removed, the next ping passes" \
		reaches n1 192.168.241.2
	same "source: the peer follows" "$(endpoint_of wg2)" 10.0.0.10:10000
	wg set wg1 peer "$(pub b)" endpoint '[fd00:aa::2]:20000'
	check "source: IPv6" reaches n1 192.168.241.2
	ip -n n1 addr add fd00:aa::10/96 dev veth1
	ip -n n1 addr del fd00:aa::1/96 dev veth1
	check "source: it is removed, the next ping passes" \
		reaches n1 192.168.241.2
	same "source: the peer follows" "$(endpoint_of wg2)" \
		"[fd00:aa::10]:10000"

	ip -n n1 addr flush dev veth1
	ip -n n2 addr flush dev veth2
	for e in 10.0.0.1/24 10.0.0.2/24 fd00:aa::1/96 fd00:aa::2/96; do
		ip -n n1 addr add $e dev veth1
	done
	ip -n n2 addr add 10.0.0.3/24 dev veth2
	ip -n n2 addr add fd00:aa::3/96 dev veth2
	for e in 10.0.0.1:10000 "[fd00:aa::1]:10000" 10.0.0.2:10000 \
		"[fd00:aa::2]:10000"; do
		wg set wg2 peer "$(pub a)" endpoint "$e"
		check "answer from $e" ping1 n2 192.168.241.1
		same "and from nowhere else" "$(endpoint_of wg2)" "$e"
	done
	default_route
	nested
	unpair
	ip -n n1 link del veth1
}

# Everything goes into the tunnel but what the tunnel itself sends.
default_route()
{
	wg set wg1 fwmark 51820 peer "$(pub b)" endpoint 10.0.0.3:20000 \
		allowed-ips 0.0.0.0/0
	wg set wg2 peer "$(pub a)" allowed-ips 0.0.0.0/0
	n1 sysctl -qw net.ipv4.conf.all.rp_filter=0
	n1 sysctl -qw net.ipv4.conf.veth1.rp_filter=0
	ip -n n1 route add default dev wg1 table 51820
	ip -n n1 rule add not fwmark 51820 table 51820
	ip -n n1 rule add table main suppress_prefixlength 0
	check "default route: 100 pings" many 192.168.241.2
	ip -n n2 addr add 203.0.113.7/32 dev lo
	check "to an address far away" reaches n1 203.0.113.7
	ip -n n1 rule del table main suppress_prefixlength 0
	ip -n n1 rule del not fwmark 51820 table 51820
	ip -n n1 route flush table 51820
	wg set wg1 fwmark off
}

many()
{
	n1 ping -n -i 0.002 -c 101 -W 1 "$1" | all_pings 100
}

# calm: how much of a second do our processes work? Below 90 of 100 ticks.
calm()
{
	local before after
	before=$(ticks)
	sleep 1
	after=$(ticks)
	echo "$((after - before)) ticks"
	[ $((after - before)) -lt 90 ]
}

ticks()
{
	cat /proc/[0-9]*/stat 2>/dev/null |
		awk '$2 == "(ukai)" { n += $14 + $15 } END { print n }'
}

nested()
{
	local shaken
	wg set wg1 peer "$(pub b)" allowed-ips 192.168.241.2/32
	wg set wg2 peer "$(pub a)" allowed-ips 192.168.241.1/32
	key c >/dev/null
	key d >/dev/null
	n1 "$ukai" device wg3
	n2 "$ukai" device wg4
	wg set wg3 private-key $work/c.key listen-port 30000 peer "$(pub d)" \
		allowed-ips 192.168.99.2/32 endpoint 192.168.241.2:40000
	wg set wg4 private-key $work/d.key listen-port 40000 peer "$(pub c)" \
		allowed-ips 192.168.99.1/32
	ip -n n1 addr add 192.168.99.1/24 dev wg3
	ip -n n2 addr add 192.168.99.2/24 dev wg4
	ip -n n1 link set wg3 mtu 1340 up
	ip -n n2 link set wg4 mtu 1340 up
	check "a tunnel in a tunnel" flood n1 192.168.99.2
	check "full packets" big n1 192.168.99.2 1340

	# The endpoint inside of itself, without a session and with one.
	shaken=$(handshake wg3)
	wg set wg3 peer "$(pub d)" endpoint 192.168.99.2:40000
	check "endpoint inside itself, with a session: no answer" \
		not ping1 n1 192.168.99.2
	check "it does not hang" timeout 15 wg show wg3
	check "nor spin" calm
	ip -n n1 link set wg3 down
	soon closed 30000 n1
	ip -n n1 link set wg3 up
	check "endpoint inside itself, without one: no answer" \
		not ping1 n1 192.168.99.2
	check "it does not hang" timeout 15 wg show wg3
	check "nor spin" calm
	ip -n n1 link set wg3 down
	soon closed 30000 n1
	wg set wg3 peer "$(pub d)" endpoint 192.168.241.2:40000
	ip -n n1 link set wg3 up
	check "outside again" reaches n1 192.168.99.2
	check "by a new session" later_than wg3 "$shaken"
	remove wg3 n1
	remove wg4 n2
}

# ---- configuration ----

# sizes_of: allowed IPs of each peer, each number once with its count.
sizes_of()
{
	wg show wg0 allowed-ips | awk '{ if ($2 == "(none)") print 0
		else print NF - 1 }' | sort -n | uniq -c |
		awk '{ printf "%s%d x %d", sep, $1, $2; sep = ", " }'
}

large()
{
	local a
	device wg0
	{
		printf '[Interface]\nPrivateKey=%s\n[Peer]\nPublicKey=%s\n' \
			"$(cat $work/a.key)" "$(pub b)"
		for a in {1..255}; do
			printf "AllowedIPs=$a.%d.0.0/16\n" {0..255}
			printf "AllowedIPs=$a::%d/128\n" {0..255}
		done
	} >$work/conf
	check "130560 allowed IPs of one peer" wg setconf wg0 $work/conf
	same "are there" "$(sizes_of)" "1 x 130560"
	same "a slow reader of them while they go" \
		"$($helper dump $run/wg0.sock wg set wg0 peer "$(pub b)" \
			remove)" "130560 errno=0"
	same "they are gone" "$(wg show wg0 peers)" ""

	{
		printf '[Interface]\nPrivateKey=%s\n' "$(cat $work/a.key)"
		for a in {1..40}; do
			printf '[Peer]\nPublicKey=%s\n' "$(wg genkey)"
			printf "AllowedIPs=$a.%d.0.0/16\n" {1..52}
		done
	} >$work/conf
	check "40 peers with 52 each" wg setconf wg0 $work/conf
	same "are there" "$(sizes_of)" "40 x 52"

	{
		printf '[Interface]\nPrivateKey=%s\n' "$(cat $work/a.key)"
		printf '[Peer]\nPublicKey=%s\nAllowedIPs=' "$(pub b)"
		printf "abcd:dead:%04x::/48, " {1..196}
		printf "abcd:dead:ffff::1/128\n"
	} >$work/conf
	check "197 IPv6 prefixes of one peer" wg setconf wg0 $work/conf
	same "are there" "$(sizes_of)" "1 x 197"

	for a in {1..29}; do
		printf '[Peer]\nPublicKey=%s\n' "$(wg genkey)"
	done >$work/conf
	printf '[Peer]\nPublicKey=%s\nAllowedIPs=255.2.3.4/32,abcd::255/128\n' \
		"$(wg genkey)" >>$work/conf
	check "29 peers without, one with two" wg setconf wg0 $work/conf
	same "are there" "$(sizes_of)" "29 x 0, 1 x 2"
	check "showconf" wg showconf wg0
	remove wg0
}

wg_speaks()
{
	device wg0
	printf '[Interface]\nPrivateKey=%s\nListenPort=10010\nFwMark=7
[Peer]\nPublicKey=%s\nPresharedKey=%s\nEndpoint=[2001:db8::1]:51820
AllowedIPs=10.0.0.0/8, 10.9.8.7/24\nPersistentKeepalive=25\n' \
		"$(cat $work/a.key)" "$(pub b)" "$(cat $work/psk)" >$work/conf
	check "setconf" wg setconf wg0 $work/conf
	same "dump" "$(wg show wg0 dump | tr '\t\n' '  ')" \
		"$(cat $work/a.key) $(pub a) 10010 0x7 $(pub b) $(
		)$(cat $work/psk) [2001:db8::1]:51820 $(
		)10.0.0.0/8,10.9.8.0/24 0 0 0 25 "
	printf '[Peer]\nPublicKey=%s\nAllowedIPs=10.9.8.0/24\n' "$(key c)" \
		>$work/more
	check "addconf" wg addconf wg0 $work/more
	same "the prefix moved" "$(wg show wg0 allowed-ips)" \
		"$(pub b)	10.0.0.0/8
$(pub c)	10.9.8.0/24"
	check "syncconf" wg syncconf wg0 $work/conf
	same "the other peer is gone" "$(wg show wg0 peers)" "$(pub b)"
	wg showconf wg0 >$work/shown
	check "what is shown can be set" wg setconf wg0 $work/shown
	same "and is the same" "$(wg showconf wg0)" "$(cat $work/shown)"
	check "an unknown name is an error" not wg show doesnotexist
	same "allowed-ips without a value clears" "$(wg set wg0 \
		peer "$(pub b)" allowed-ips '' && wg show wg0 allowed-ips)" \
		"$(pub b)	(none)"

	wg set wg0 private-key /dev/null
	same "a zero private key clears" "$(wg show wg0 private-key)" "(none)"
	wg set wg0 peer "$(pub b)" preshared-key /dev/null
	same "a zero preshared key clears" \
		"$(wg show wg0 preshared-keys | cut -f2)" "(none)"
	wg set wg0 peer "$(pub a)" allowed-ips 10.1.0.0/16
	wg set wg0 private-key $work/a.key
	same "our own key as a peer goes" "$(wg show wg0 peers)" "$(pub b)"
	check "and is ignored" wg set wg0 peer "$(pub a)" \
		allowed-ips 10.1.0.0/16
	same "quietly" "$(wg show wg0 peers)" "$(pub b)"
	printf '%064d' 0 | tr 0 f | sed 's/.*/set=1\nprivate_key=&\n\n/' |
		ask wg0 >/dev/null
	same "a private key is clamped" "$(uapi_value wg0 private_key)" \
		"f8$(printf '%060d' 0 | tr 0 f)7f"
	remove wg0
}

# The points of small order, and numbers that mean one of them.
low_order="
AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=
X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=
7P///////////////////////////////////////38=
7f///////////////////////////////////////38=
7v///////////////////////////////////////38="

# They are accepted as peers and never sent to.
never_sent()
{
	local k args=() n=0
	device wg0
	for k in $low_order; do
		n=$((n + 1))
		args+=(peer "$k" persistent-keepalive 1
			endpoint 127.0.0.1:11111 allowed-ips "10.7.0.$n/32")
	done
	ip addr add 10.7.0.100/24 dev wg0
	ip link set wg0 up
	check "low-order keys as peers" wg set wg0 private-key $work/a.key \
		"${args[@]}"
	for n in 1 2 3 4 5 6 7; do
		ping -n -c 1 -W 0.1 10.7.0.$n >/dev/null
	done
	sleep 1
	same "are seven" "$(wg show wg0 peers | wc -l)" 7
	same "and never sent to" "$(wg show wg0 transfer |
		awk '{ n += $2 + $3 } END { print n }')" 0
	remove wg0
}

# raw WHAT LINES WANTED
raw()
{
	same "raw: $1" "$(printf '%b' "$2" | ask wg0 | paste -sd' ' |
		sed 's/ *$//')" "$3"
}

raw_errors()
{
	local k
	device wg0
	k=$(hex $work/b.pub)
	raw "set nothing" 'set=1\n\n' errno=0
	raw "get with a line" 'get=1\nprivate_key=0\n\n' errno=22
	raw "unknown key" 'set=1\nfoo=1\n\n' errno=-22
	raw "no =" 'set=1\nfoo\n\n' errno=-71
	raw "short key" 'set=1\nprivate_key=12\n\n' errno=-22
	raw "port too large" 'set=1\nlisten_port=65536\n\n' errno=-22
	raw "negative port" 'set=1\nlisten_port=-1\n\n' errno=-22
	raw "hex mark" 'set=1\nfwmark=0x7\n\n' errno=-22
	raw "replace_peers=false" 'set=1\nreplace_peers=false\n\n' errno=-22
	raw "peer key without a peer" 'set=1\nallowed_ip=10.0.0.0/8\n\n' \
		errno=-22
	raw "interface key in a peer" \
		"set=1\npublic_key=$k\nlisten_port=1\n\n" errno=-22
	raw "bad prefix" "set=1\npublic_key=$k\nallowed_ip=10.0.0.0/33\n\n" \
		errno=-22
	raw "endpoint by name" \
		"set=1\npublic_key=$k\nendpoint=localhost:1\n\n" errno=-22
	raw "endpoint with a scope that is not" \
		"set=1\npublic_key=$k\nendpoint=[fe80::1%nope]:1\n\n" errno=-22
	raw "keepalive too large" \
		"set=1\npublic_key=$k\npersistent_keepalive_interval=65536\n\n" \
		errno=-22
	raw "protocol version" "set=1\npublic_key=$k\nprotocol_version=2\n\n" \
		errno=-22
	raw "lines before a bad one hold" \
		'set=1\nlisten_port=10011\nfoo=1\nlisten_port=10012\n\n' \
		errno=-22
	same "and after it do not" "$(wg show wg0 listen-port)" 10011
	raw "update_only of nobody" \
		"set=1\nreplace_peers=true\npublic_key=$k\nupdate_only=true\n$(
		)allowed_ip=10.0.0.0/8\n\n" errno=0
	same "makes none" "$(wg show wg0 peers)" ""
	raw "remove of nobody" "set=1\npublic_key=$k\nremove=true\n\n" errno=0
	same "makes none" "$(wg show wg0 peers)" ""
	raw "a scope" \
		"set=1\npublic_key=$k\nendpoint=[fe80::1%lo]:1\n\n" errno=0
	raw "-allowed_ip" "set=1\npublic_key=$k\nallowed_ip=10.1.0.0/16\n$(
		)allowed_ip=10.2.0.0/16\nallowed_ip=-10.1.0.0/16\n\n" errno=0
	same "takes one away" "$(wg show wg0 allowed-ips | cut -f2)" 10.2.0.0/16
	raw "two requests on a connection" 'set=1\n\nset=1\nfoo=1\n\n' \
		"errno=0  errno=-22"
	raw "neither get nor set" 'hello\n\n' ""
	raw "get=2" 'get=2\n\n' ""
	check "it still answers" wg show wg0
	same "a peer removed while its lines come" \
		"$($helper stall $run/wg0.sock "$k" "$(hex $work/psk)")" errno=0
	same "stays removed" "$(wg show wg0 peers)" ""
	remove wg0
}

# idle N: as many clients as there are places, and more, say nothing.
patient()
{
	local pid
	device wg0
	$helper idle $run/wg0.sock "$1" >$work/idle &
	pid=$!
	soon grep -q held $work/idle
	check "with $1 silent clients" timeout 10 wg show wg0
	kill $pid
	check "the socket is still there" have_socket wg0
	remove wg0
}

# ---- wg-quick ----

host_state()
{
	ip -o link | awk '{ print $2 }'
	ip -o addr | awk '{ print $2, $4 }'
	ip rule
	ip -6 rule
	ip route show table all
	ip -6 route show table all
	nft list ruleset
	ls $run
}

# quick PROGRAM: what wg-quick does with its one word.
quick()
{
	local state
	printf '[Interface]\nPrivateKey=%s\nAddress=192.168.241.1/24, fd00::1/112
ListenPort=10020\nMTU=1400\n[Peer]\nPublicKey=%s\nEndpoint=127.0.0.1:20000
AllowedIPs=%s\n' "$(cat $work/a.key)" "$(pub b)" "$2" >$work/wgq.conf
	export WG_QUICK_USERSPACE_IMPLEMENTATION=$1
	state=$(host_state)
	check "wg-quick: up" wg-quick up $work/wgq.conf
	check "wg-quick: it is ukai" have_socket wgq
	same "wg-quick: MTU" "$(cat /sys/class/net/wgq/mtu)" 1400
	check "wg-quick: IPv4" ping -n -c 1 -W 15 192.168.241.2
	check "wg-quick: IPv6" ping -n -c 1 -W 15 fd00::2
	check "wg-quick: far away" $3
	check "wg-quick: down" wg-quick down $work/wgq.conf
	soon not have_link wgq
	same "wg-quick: nothing is left" "$(host_state)" "$state"
}

quickly()
{
	# wg-quick takes the kernel's WireGuard where there is one.
	if ip link add wgk type wireguard 2>/dev/null; then
		ip link del wgk
		echo "# the kernel has WireGuard: nothing for wg-quick to do"
		return
	fi
	device wg2
	ip link set wg2 netns n2
	configure wg2 n2 b a 20000 2 1
	printf '#!/bin/sh\nexec "%s" device "$@"\n' "$ukai" >$work/wrapper
	chmod +x $work/wrapper
	quick $work/wrapper 192.168.241.2/32,fd00::2/128 \
		"not ping -n -c 1 -W 1 203.0.113.7"
	quick $work/wrapper 0.0.0.0/0,::/0 "ping -n -c 1 -W 15 203.0.113.7"
	quick "$ukai" 0.0.0.0/0,::/0 "ping -n -c 1 -W 15 203.0.113.7"
	remove wg2 n2
}

lifecycle
sockets
two
translated
moved
large
wg_speaks
never_sent
raw_errors
patient 10
patient 100
quickly
check "nothing of all this runs any more" soon not pgrep -x ukai
exit $failed
