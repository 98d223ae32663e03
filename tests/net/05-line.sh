#!/bin/bash
# shellcheck disable=SC2317 # functions are called through check() and trap
#
# 05-line: is the test line honest? Everything else is measured on it.
#
#    pc, lan --- gw (strict or linux, 240 ports) --- isp --- vps, srv
#
# The line is drawn in tests/net/line. One line of output for a check; exit
# 0 when all hold, 77 when the machine cannot build a line.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
line=$here/line
export UKAI_LINE_PREFIX=u05a$$
second=u05b$$
state=/run/ukai-line-$UKAI_LINE_PREFIX
napt=${UKAI_BUILD:-$root/build}/tests/ukai-test-napt
work=$(mktemp -d "/tmp/$UKAI_LINE_PREFIX.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
holder=

cleanup()
{
	"$line" down || true
	UKAI_LINE_PREFIX=$second "$line" down || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# same WHAT IS WANTED
same()
{
	if [ "$2" = "$3" ]; then
		echo "ok    $1: $2"
	else
		echo "FAIL  $1: $2, not $3"
		failed=1
	fi
}

refuses()
{
	! "$@"
}

stat_of()
{
	"$line" stats | awk -F= -v key="$1" '$1 == key { print $2 }'
}

pc()
{
	timeout 120 "$line" enter pc "$@"
}

flows()
{
	pc /usr/bin/python3 "$work/flows.py" "$@"
}

# One program for both ends. The server tells every client the address and
# port that it comes from.
#   serve                  TCP and UDP on port 7000, and UDP on 7001
#   tcp HOST N [FILE]      N connections held together: "ok fail ports...";
#                          held until there is no such file
#   one HOST               one connection, closed at once
#   reuse HOST HOST        one local TCP port to two hosts: the ports seen
#   udp N HOST...          N sockets, each to every host: the ports seen
#   spoken HOST OTHER      does UDP to HOST open the port to HOST's other
#                          port, to OTHER? Two of yes and no
#   refused HOST           does an ICMP error come back? yes or no
cat >"$work/flows.py" <<'END'
import os, select, socket, sys, time

PORT = 7000


def tcp(host, wait=20, local=None):
    s = socket.socket()
    s.settimeout(wait)
    if local is not None:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", local))
    s.connect((host, PORT))
    return s


def peer(s):
    return int(s.recv(64).split()[1])


def ended(s):
    try:
        return not s.recv(64)
    except OSError:
        return True


def serve():
    t = socket.socket()
    t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    t.bind(("", PORT))
    t.listen(1024)
    us = []
    for host in "198.51.100.10", "198.51.100.11", "198.51.100.12":
        for port in PORT, PORT + 1:
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            u.bind((host, port))
            us.append(u)
    held = []
    while True:
        for s in select.select([t] + us + held, [], [])[0]:
            if s is t:
                c, a = t.accept()
                c.send(b"%s %d" % (a[0].encode(), a[1]))
                held.append(c)
            elif s in us:
                m, a = s.recvfrom(64)
                for u in us if m == b"all" else [s]:
                    u.sendto(b"%s %d" % (a[0].encode(), a[1]), a)
            elif ended(s):
                s.close()
                held.remove(s)


def many(host, n, held_by):
    ok, socks = [], []
    for i in range(n):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((host, PORT))
        socks.append(s)
    # Until nobody has answered for as long as a second SYN takes.
    left = set(socks)
    while ready := select.select(list(left), [], [], 2.5)[0] if left else []:
        for s in ready:
            left.remove(s)
            try:
                ok.append(peer(s))
            except OSError:
                pass
    print(len(ok), n - len(ok), *ok, flush=True)
    while os.path.exists(held_by):
        time.sleep(0.05)


def udp(n, hosts):
    held = []
    for i in range(n):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(20)
        held.append(s)
        for h in hosts:
            s.sendto(b"one", (h, PORT))
            print(peer(s), end=" ")


def spoken(host, other):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"all", (host, PORT))
    seen = set()
    while select.select([s], [], [], 1 if (host, PORT + 1) in seen else 20)[0]:
        seen.add(s.recvfrom(64)[1])
    print("yes" if (host, PORT + 1) in seen else "no",
          "yes" if (other, PORT) in seen else "no")


def refused(host):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect((host, 9))
    s.send(b"x")
    try:
        s.recv(1)
    except ConnectionRefusedError:
        print("yes")
    except OSError:
        print("no")


what, args = sys.argv[1], sys.argv[2:]
if what == "serve":
    serve()
elif what == "tcp":
    many(args[0], int(args[1]), args[2] if len(args) > 2 else "")
elif what == "one":
    print(peer(tcp(args[0])))
elif what == "reuse":
    a = tcp(args[0], local=0)
    b = tcp(args[1], local=a.getsockname()[1])
    print(peer(a), peer(b))
elif what == "udp":
    udp(int(args[0]), args[1:])
elif what == "spoken":
    spoken(*args)
elif what == "refused":
    refused(args[0])
END

# bring_up OPTIONS: a fresh line with the server in srv.
bring_up()
{
	"$line" up "$@"
	"$line" enter srv /usr/bin/python3 "$work/flows.py" serve \
		>"$work/server.log" 2>&1 &
	for _ in $(seq 300); do
		[ -z "$("$line" enter srv ss -Htln sport = 7000)" ] ||
			return 0
		sleep 0.1
	done
	echo "the server did not start" >&2
	return 1
}

# The host as others see it. Files and namespaces by our prefix: other tests
# may run beside this one.
host_state()
{
	ip netns list | grep "^$UKAI_LINE_PREFIX-" || true
	ip -o link | awk '{ print $2, $3 }'
	ip -o addr | awk '{ print $2, $4 }'
	ip rule
	ip route show table all | grep -v 'cache\|expires'
	nft list ruleset 2>/dev/null
	sysctl net.ipv4.ip_forward net.ipv4.conf net.ipv6.conf 2>/dev/null
	find /run /tmp /etc/netns -maxdepth 1 -name "*$UKAI_LINE_PREFIX*" \
		2>/dev/null | grep -vF "$work" || true
	md5sum /etc/resolv.conf 2>/dev/null || true
	grep -laF "$state" /proc/[0-9]*/cmdline 2>/dev/null || true
}

unchanged()
{
	host_state >"$work/after"
	diff "$work/before" "$work/after"
}

# The set by RFC 7597 section 5.1, worked out here a second time.
advertised()
{
	local a
	for a in $(seq 15); do
		echo "$((a * 4096 + 52 * 16))-$((a * 4096 + 52 * 16 + 15))"
	done
}

# outside PORT...: those that are not of the set.
outside()
{
	local p
	for p in "$@"; do
		[ $((p >> 12)) -gt 0 ] && [ $((p >> 4 & 255)) = 52 ] ||
			echo "$p"
	done
}

distinct()
{
	printf '%s\n' "$@" | sort -u | wc -l
}

# Killed when it has made two of the five namespaces.
half=$UKAI_LINE_PREFIX-lan

interrupted_up()
{
	local up
	"$line" up >/dev/null 2>&1 &
	up=$!
	for _ in $(seq 500); do
		[ ! -e "/run/netns/$half" ] || break
		sleep 0.01
	done
	kill -KILL $up
	wait $up 2>/dev/null || true
}

up_and_down()
{
	check "up" "$line" up
	check "up again" "$line" up
	check "up with the other gateway" "$line" up --gateway linux
	check "down" "$line" down
	check "nothing is left behind" unchanged
	check "down again" "$line" down
	check "a wrong option is refused" refuses "$line" up --gateway nat
	check "and another one" refuses "$line" up --lan-behind vps
	mkdir -p "$work/broken/tests"
	# shellcheck disable=SC2016 # for the inner script
	printf '#!/bin/sh\ncase "$*" in *--ports) exec %s "$@" ;; esac\n%s\n' \
		"$napt" 'exit 1' >"$work/broken/tests/ukai-test-napt"
	chmod +x "$work/broken/tests/ukai-test-napt"
	check "up without a working NAT fails" \
		refuses env UKAI_BUILD="$work/broken" "$line" up
	check "and leaves nothing behind" unchanged
	interrupted_up
	check "an interrupted up is there" test -e "/run/netns/$half"
	check "down after it" "$line" down
	check "nothing is left behind" unchanged
}

reachability()
{
	bring_up
	check "IPv6 pc to vps" pc ping -6 -c 1 -W 15 2001:db8:5::10
	check "IPv6 vps to pc" "$line" enter vps ping -6 -c 1 -W 15 \
		2001:db8:24::10
	check "IPv6 lan to pc" "$line" enter lan ping -6 -c 1 -W 15 \
		2001:db8:24::10
	check "IPv4 pc to srv" pc ping -c 1 -W 15 198.51.100.10
	check "IPv4 pc to vps" pc ping -c 1 -W 15 203.0.113.10
	check "IPv4 office PC to srv" "$line" enter lan ping -c 1 -W 15 \
		-I 192.168.24.104 198.51.100.12
	check "no way from srv to the LAN" refuses "$line" enter srv \
		ping -c 1 -W 1 192.168.24.10
	check "srv has no IPv6" refuses "$line" enter srv \
		ping -6 -c 1 -W 1 2001:db8:5::10
	check "1500 bytes of IPv4" pc ping -c 1 -W 15 -M 'do' -s 1472 \
		198.51.100.10
	check "1500 bytes of IPv6" pc ping -6 -c 1 -W 15 -M 'do' -s 1452 \
		2001:db8:5::10
	check "fragments" pc ping -c 1 -W 15 -s 4000 198.51.100.10
	check "resolv.conf of pc is its own" \
		pc sh -c 'echo x >/etc/resolv.conf'
	check "and not the host's" refuses grep -qx x /etc/resolv.conf
}

port_set()
{
	same "ranges of the port set" "$("$napt" --ports | paste -sd' ')" \
		"$(advertised | paste -sd' ')"
	same "ports" "$(stat_of ports)" 240
}

mapping()
{
	local p
	read -r -a p <<<"$(flows udp 1 198.51.100.10 198.51.100.11)"
	same "UDP, one socket to two servers: ports" "$(distinct "${p[@]}")" 1
	read -r -a p <<<"$(flows reuse 198.51.100.10 198.51.100.11)"
	same "TCP, one local port to two servers: ports" \
		"$(distinct "${p[@]}")" 1
	same "UDP answered from the server's other port, another server" \
		"$(flows spoken 198.51.100.10 198.51.100.11)" "yes no"
	same "an ICMP error comes back" "$(flows refused 198.51.100.10)" yes
}

# hold_flows HOST N: in the background, until close_flows; returns when it is
# settled which of them pass, with the answer in $work/flows.
hold_flows()
{
	: >"$work/flows"
	: >"$work/held"
	flows tcp "$@" "$work/held" >"$work/flows" &
	holder=$!
	until_true test -s "$work/flows"
}

close_flows()
{
	rm "$work/held"
	wait "$holder"
}

exhaustion()
{
	local p
	bring_up
	hold_flows 198.51.100.10 300
	# From another PC: this one may take a local port a second time toward
	# another server, and that rightly shares a mapping.
	same "another PC, another server, ports out: answers" \
		"$("$line" enter lan /usr/bin/python3 "$work/flows.py" \
			tcp 198.51.100.11 10 | cut -d' ' -f1)" 0
	read -r -a p <"$work/flows"
	same "of 300 connections pass" "${p[0]}" 240
	p=("${p[@]:2}")
	same "different ports among them" "$(distinct "${p[@]}")" 240
	same "ports outside of the set" "$(outside "${p[@]}")" ""
	same "TCP ports used" "$(stat_of tcp_used)" 240
	same "TCP ports at the peak" "$(stat_of tcp_peak)" 240
	same "flows refused" "$(stat_of tcp_refused)" 70
	read -r -a p <<<"$(flows udp 100 198.51.100.10)"
	same "UDP has ports of its own" "$(distinct "${p[@]}")" 100
	check "IPv6 does not care" pc ping -6 -c 1 -W 15 2001:db8:5::10
	close_flows
	same "all closed, ports still used" "$(stat_of tcp_used)" 240
	same "foreign packets seen by the border" "$(stat_of border_drops)" 0
}

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

stat_is()
{
	[ "$(stat_of "$1")" = "$2" ]
}

# falls STATISTIC N SINCE MS: it comes to N, and no sooner than MS after SINCE.
# How much later says how busy the machine is; other times are a minute.
falls()
{
	until_true stat_is "$1" "$2" || return 1
	echo "after $(($(now_ms) - $3)) ms"
	[ $(($(now_ms) - $3)) -ge "$4" ]
}

times()
{
	local since
	bring_up --tcp-closed-seconds 4 --tcp-idle-seconds 60 \
		--udp-seconds 2 --icmp-seconds 2
	hold_flows 198.51.100.10 1
	since=$(now_ms)
	flows udp 1 198.51.100.10 >/dev/null
	flows one 198.51.100.10 >/dev/null
	same "a flow that is open, one that was: TCP ports" \
		"$(stat_of tcp_peak)" 2
	same "UDP ports" "$(stat_of udp_peak)" 1
	check "UDP time over: no port" falls udp_used 0 "$since" 2000
	check "closed time over, one still open: one TCP port" \
		falls tcp_used 1 "$since" 4000
	since=$(now_ms)
	close_flows
	check "its time over as well: no port" falls tcp_used 0 "$since" 4000
}

linux_gateway()
{
	local p
	bring_up --gateway linux
	check "linux: IPv4 pc to srv" pc ping -c 1 -W 15 198.51.100.10
	read -r -a p <<<"$(flows tcp 198.51.100.10 100)"
	same "linux: of 100 connections pass" "${p[0]}" 100
	same "linux: ports outside of the set" "$(outside "${p[@]:2}")" ""
	same "linux: ports" "$(stat_of ports)" 240
	same "linux: TCP ports used" "$(stat_of tcp_used)" 100
	check "linux: 600 connections one after another" flows_in_turn 600
	same "linux: foreign packets seen by the border" \
		"$(stat_of border_drops)" 0
}

flows_in_turn()
{
	# shellcheck disable=SC2016 # for the inner shell
	pc bash -c 'for i in $(seq "$0"); do
		exec 3<>/dev/tcp/198.51.100.1$((i % 2))/7000 || exit 1
		exec 3>&-
	done' "$1"
}

two_lines()
{
	check "a second line beside this one" \
		env UKAI_LINE_PREFIX=$second "$line" up --lan-behind pc
	check "it works" env UKAI_LINE_PREFIX=$second "$line" enter pc \
		ping -c 1 -W 15 198.51.100.10
	check "lan behind pc: to srv" env UKAI_LINE_PREFIX=$second "$line" \
		enter lan ping -c 1 -W 15 -t 5 198.51.100.10
	check "one more hop than without" refuses env UKAI_LINE_PREFIX=$second \
		"$line" enter lan ping -c 1 -W 1 -t 4 198.51.100.10
	check "it goes" env UKAI_LINE_PREFIX=$second "$line" down
	check "the first one still works" pc ping -c 1 -W 15 198.51.100.10
}

code=0
"$line" up >"$work/out" 2>&1 || code=$?
if [ $code != 0 ]; then
	cat "$work/out"
	exit $code
fi
"$line" down
host_state >"$work/before"
up_and_down
reachability
port_set
mapping
exhaustion
times
linux_gateway
two_lines
"$line" down
check "at the end nothing is left behind" unchanged
exit $failed
