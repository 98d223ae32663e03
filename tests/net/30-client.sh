#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
#
# 30-client: ukai up, down, status and restore, with the kernel as the judge.
#
#    pc --------------------- rt ------------------------ vps
#      192.0.2.10   192.0.2.1   203.0.113.254   203.0.113.1  lo: 198.51.100.7
#   2001:db8:1::10       ::1    2001:db8:2::fe          ::1
#    10.66.0.2, fd66::2  ....... the tunnel .......  10.66.0.1, fd66::1
#
# pc is the office's PC with the client under test. rt is its router, its DNS
# server, and the attacker on its link. vps has a plain `ukai device`, driven
# by wg(8), and an address of the internet behind it. One line of output for a
# check; exit 0 when all hold, 77 when the machine has no namespaces or lacks
# a program.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
ukai=${UKAI:-${UKAI_BUILD:-$root/build}/client/ukai}
pc=ukt30-$$-pc
rt=ukt30-$$-rt
vps=ukt30-$$-vps
tun=u30c$$   # also names of sockets: the same in no other namespace
tun2=u30d$$
far=u30r$$
work=$(mktemp -d "/tmp/ukt30.XXXXXX")
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
# shellcheck source=tests/net/checks
. "$here/checks"
relay_pid='' dns_pid='' up_pid=''

cleanup()
{
	local ns pid

	ip netns exec "$pc" "$ukai" down "$tun" >/dev/null 2>&1
	for ns in "$pc" "$rt" "$vps"; do
		for pid in $(ip netns pids "$ns" 2>/dev/null); do
			kill -9 "$pid"
		done
		ip netns del "$ns" 2>/dev/null
		rm -rf "/etc/netns/$ns"
	done
	rmdir /etc/netns 2>/dev/null
	rm -f "/var/run/wireguard/$tun.sock" "/var/run/wireguard/$tun2.sock" \
	    "/var/run/wireguard/$far.sock"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

not()
{
	! "$@"
}

on_pc() { timeout 60 ip netns exec "$pc" "$@"; }
on_rt() { timeout 60 ip netns exec "$rt" "$@"; }
on_vps() { timeout 60 ip netns exec "$vps" "$@"; }

# run CODE CMD...: CMD on pc ends with this code; what it said is in said.
run()
{
	local code=$1 got

	shift
	on_pc "$@" >"$work/stdout" 2>"$work/said"
	got=$?
	[ "$got" = "$code" ] || {
		echo "exit code $got, not $code"
		cat "$work/stdout" "$work/said"
		return 1
	}
}

says()
{
	grep -F -q -e "$1" "$work/said" || {
		echo "not said: $1"
		cat "$work/said"
		return 1
	}
}

ping_ok() { on_pc ping -q -c 1 -W 1 "$1"; }
pings() { eventually "${2:-5}" ping_ok "$1"; }

# Everything on pc that a client could change. Left out: counters, lifetimes,
# and what connection tracking adds to the sysctls when it is first used.
dump()
{
	on_pc sh -c '
		ip addr; ip route show table all; ip -6 route show table all
		ip rule; ip -6 rule; nft list ruleset; cat /etc/resolv.conf
		sysctl -a 2>/dev/null | grep ^net | grep -v -e conntrack \
		    -e net.netfilter -e fs.' |
	    sed -e 's/packets [0-9]* bytes [0-9]*/packets N bytes N/' \
	        -e 's/expires [0-9]*sec//' | LC_ALL=C sort
}

remember() { dump >"$work/before"; }
unchanged()
{
	dump >"$work/after"
	diff "$work/before" "$work/after"
}

clean_dirs()
{
	not ls "$UKAI_STATE_DIR/$tun.journal" "$UKAI_RUN_DIR/$tun.sock" \
	    "/var/run/wireguard/$tun.sock" 2>/dev/null
}

# conf [NAME=VALUE...]: the client's configuration; a value replaces the
# default, an empty one takes the line out.
conf()
{
	local -A v=([Name]=$tun [Address]='10.66.0.2/24, fd66::2/64'
	    [DNS]='10.66.0.1, example.org' [AllowedIPs]='0.0.0.0/0, ::/0'
	    [Endpoint]='[2001:db8:2::1]:51820' [PersistentKeepalive]=25
	    [PresharedKey]=$(cat "$work/psk") [PublicKey]=$(cat "$work/vps.pub")
	    [PrivateKey]=$(cat "$work/pc.key"))
	local a k file

	for a in "$@"; do
		v[${a%%=*}]=${a#*=}
	done
	file=$work/${v[Name]}.conf
	{
		echo "[Interface]"
		for k in PrivateKey Address DNS MTU Table FwMark ListenPort \
		    PostUp; do
			[ -z "${v[$k]-}" ] || echo "$k = ${v[$k]}"
		done
		echo "[Peer]"
		for k in PublicKey PresharedKey AllowedIPs Endpoint \
		    PersistentKeepalive; do
			[ -z "${v[$k]-}" ] || echo "$k = ${v[$k]}"
		done
		[ -z "${v[LocalNetworks]-}" ] ||
			printf '[Ukai]\nLocalNetworks = %s\n' "${v[LocalNetworks]}"
	} >"$file"
	chmod "${v[Mode]-600}" "$file"
}

up() { run "${1:-0}" "$ukai" up --config "$work/$tun.conf"; }
down() { run 0 "$ukai" down; }

# In the foreground, so that its pid is known.
up_foreground()
{
	ip netns exec "$pc" "$ukai" up --foreground -c "$work/$tun.conf" \
	    >"$work/said" 2>&1 &
	up_pid=$!
	until_true test -S "$UKAI_RUN_DIR/$tun.sock" &&
		until_true on_pc "$ukai" status "$tun" >/dev/null 2>&1
}

ended()
{
	wait "$up_pid"
	[ $? = "$1" ]
}

kill_nine()
{
	kill -9 "$up_pid" && ! ended 0
}

json() { on_pc "$ukai" status --json | jq -c "$1"; }
mtu() { on_pc cat "/sys/class/net/$tun/mtu"; }
# But for those of answers: see 31-replies.sh.
rules() { on_pc ip "$1" rule | grep -v -e 'lookup local' -e 'lookup main$' -e 'lookup default' -e '^5000:'; }
goes_by() # ADDRESS DEVICE [MARK]
{
	on_pc ip route get "$1" mark "${3:-0}" | head -1 | grep -q -w "dev $2"
}

# Packets that rt has seen from pc to an address.
seen_on_link()
{
	on_rt nft list counter inet watch "$1" | awk '/packets/ { print $2 }'
}
reached_pc()
{
	on_pc nft list counter inet watch "$1" | awk '/packets/ { print $2 }'
}

make_world()
{
	local ns

	for ns in "$pc" "$rt" "$vps"; do
		ip netns add "$ns" || return 1
		ip netns exec "$ns" sysctl -q -w net.ipv6.conf.all.accept_ra=0 \
		    net.ipv6.conf.default.accept_ra=0 \
		    net.ipv6.conf.default.accept_dad=0
		ip -n "$ns" link set lo up
	done
	ip link add lan0 netns "$pc" type veth peer name lan1 netns "$rt"
	ip link add wan0 netns "$vps" type veth peer name wan1 netns "$rt"
	ip -n "$pc" addr add 192.0.2.10/24 dev lan0
	ip -n "$pc" addr add 2001:db8:1::10/64 dev lan0 nodad
	ip -n "$rt" addr add 192.0.2.1/24 dev lan1
	ip -n "$rt" addr add 2001:db8:1::1/64 dev lan1 nodad
	ip -n "$rt" addr add 203.0.113.254/24 dev wan1
	ip -n "$rt" addr add 2001:db8:2::fe/64 dev wan1 nodad
	ip -n "$vps" addr add 203.0.113.1/24 dev wan0
	ip -n "$vps" addr add 2001:db8:2::1/64 dev wan0 nodad
	ip -n "$vps" addr add 198.51.100.7/32 dev lo
	ip -n "$pc" link set lan0 up
	ip -n "$rt" link set lan1 up
	ip -n "$rt" link set wan1 up
	ip -n "$vps" link set wan0 up
	ip -n "$pc" route add default via 192.0.2.1
	ip -n "$pc" -6 route add default via 2001:db8:1::1
	ip -n "$vps" route add default via 203.0.113.254
	ip -n "$vps" -6 route add default via 2001:db8:2::fe
	on_rt sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	# The way to the attack on addresses: R1, and one that is not guarded.
	ip -n "$pc" addr add 10.99.0.9/32 dev lo
	ip -n "$pc" addr add fd99::9/128 dev lo nodad
	ip -n "$rt" route add 10.66.0.2/32 via 192.0.2.10
	ip -n "$rt" route add 10.99.0.9/32 via 192.0.2.10
	ip -n "$rt" -6 route add fd66::2/128 via 2001:db8:1::10
	ip -n "$rt" -6 route add fd99::9/128 via 2001:db8:1::10
	on_pc nft -f - <<-EOF
	table inet watch {
		counter tunnel4 { }
		counter other4 { }
		counter tunnel6 { }
		counter other6 { }
		chain in {
			type filter hook input priority filter;
			iifname lan0 ip daddr 10.66.0.2 counter name tunnel4
			iifname lan0 ip daddr 10.99.0.9 counter name other4
			iifname lan0 ip6 daddr fd66::2 counter name tunnel6
			iifname lan0 ip6 daddr fd99::9 counter name other6
		}
	}
	EOF
	on_rt nft -f - <<-EOF
	table inet watch {
		counter inner { }
		counter clear { }
		counter wg { }
		chain pass {
			type filter hook prerouting priority filter;
			iifname lan1 ip daddr 198.51.100.7 counter name inner
			iifname lan1 ip daddr 203.0.113.1 udp dport 51820 counter name wg accept
			iifname lan1 ip6 daddr 2001:db8:2::1 udp dport 51820 counter name wg accept
			iifname lan1 ip daddr 203.0.113.1 counter name clear
			iifname lan1 ip6 daddr 2001:db8:2::1 counter name clear
		}
	}
	EOF
	mkdir -p "/etc/netns/$pc"
	printf '# the line'\''s own\nnameserver 192.0.2.1\n' >"/etc/netns/$pc/resolv.conf"
	cp /etc/hosts "/etc/netns/$pc/hosts"
}

start_relay()
{
	ip netns exec "$vps" "$ukai" device -f "$far" &
	relay_pid=$!
	until_true test -S "/var/run/wireguard/$far.sock" || return 1
	on_vps wg set "$far" private-key "$work/vps.key" listen-port 51820 \
	    peer "$(cat "$work/pc.pub")" preshared-key "$work/psk" \
	    allowed-ips 10.66.0.2/32,fd66::2/128,192.0.2.1/32
	ip -n "$vps" addr add 10.66.0.1/24 dev "$far"
	ip -n "$vps" addr add fd66::1/64 dev "$far" nodad
	ip -n "$vps" link set "$far" up
}

# Answers A and AAAA of relay.test from files that hold one address a line.
start_dns()
{
	cat >"$work/dns.py" <<-'EOF'
	import ipaddress, socket, struct, sys
	s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	s.bind(("192.0.2.1", 53))
	print("bound", flush=True)
	while True:
	    q, who = s.recvfrom(512)
	    end = q.index(b"\0", 12) + 5
	    kind = struct.unpack(">H", q[end - 4:end - 2])[0]
	    addrs = [ipaddress.ip_address(l.strip()) for l in open(sys.argv[1])]
	    addrs = [a.packed for a in addrs if (a.version == 4) == (kind == 1)]
	    if q[12:end - 4] != b"\5relay\4test\0":
	        s.sendto(q[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + q[12:end], who)
	        continue
	    a = b"".join(struct.pack(">HHHIH", 0xc00c, kind, 1, 1, len(p)) + p for p in addrs)
	    s.sendto(q[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addrs), 0, 0) + q[12:end] + a, who)
	EOF
	: >"$work/dns.out"
	ip netns exec "$rt" /usr/bin/python3 "$work/dns.py" "$work/addresses" \
	    >"$work/dns.out" &
	dns_pid=$!
	until_true grep -q bound "$work/dns.out"
}

stop_dns()
{
	kill "$dns_pid"
	wait "$dns_pid" 2>/dev/null
}

for program in wg nft jq setpriv tcpdump /usr/bin/python3; do
	command -v "$program" >/dev/null || {
		echo "skip: $program is not installed"
		exit 77
	}
done
[ -x "$ukai" ] || { echo "not ok no $ukai: build first"; exit 1; }
if [ ! -c /dev/net/tun ] || ! make_world 2>"$work/out"; then
	echo "skip: no namespaces, veth, nftables or /dev/net/tun"
	exit 77
fi
(
	umask 077
	for who in pc vps; do
		wg genkey >"$work/$who.key"
		wg pubkey <"$work/$who.key" >"$work/$who.pub"
	done
	wg genpsk >"$work/psk"
)
check "the relay starts" start_relay
remember

# ---- what is wrong is said before anything is touched ----

cat >"$work/$tun.conf" <<EOF
[Interface]
PrivateKey = notakey
Adress = 10.66.0.2/24
MTU = 20
[Peer]
PublicKey = $(cat "$work/vps.pub")
AllowedIPs = 10.0.0.0/33
Endpoint = 192.0.2.1
EOF
chmod 600 "$work/$tun.conf"
check "bad configuration: exit 2" up 2
for line in 2 3 4 7 8; do
	check "bad configuration: line $line is told" says "$tun.conf:$line:"
done
check "bad configuration: nothing has changed" unchanged
check "bad configuration: no journal" clean_dirs

conf PostUp='iptables -A FORWARD -i %i -j ACCEPT'
check "PostUp is refused: exit 2" up 2
check "PostUp is refused with a word on it" says "PostUp is refused"
check "a file that is not there: exit 2" run 2 "$ukai" up -c "$work/none.conf"
check "an impossible name: exit 2" run 2 "$ukai" up -c "$work/a b.conf"
check "two files: exit 2" run 2 "$ukai" up -c "$work/$tun.conf" "$tun2.conf"
check "two files: said" says "one FILE, not both"
check "a name, and no such file: exit 2" run 2 "$ukai" up none
check "a name, and no such file: what a file is" says "/etc/ukai/none.conf"
for verb in down restore; do
	check "$verb of two: exit 2" run 2 "$ukai" $verb "$tun" "$tun2"
	check "$verb of two: said" says "one tunnel's NAME; \"$tun2\" is one"
	check "$verb of a file: exit 2" run 2 "$ukai" $verb "$work/$tun.conf"
	check "$verb of a file: which name" says "did you mean $tun?"
	check "$verb -x: exit 2" run 2 "$ukai" $verb -x
	check "$verb -x: said" says "there is no option -x"
done
check "restore of two, behind an option: exit 2" \
    run 2 "$ukai" restore "$tun" --keep-guard "$tun2"
conf MTU=1000
check "MTU too small for IPv6: exit 2" up 2
check "MTU too small for IPv6: said" says "1280"

conf Mode=644
for verb in up down status restore; do
	check "not root: $verb ends with 4" run 4 \
	    setpriv --reuid 65534 --regid 65534 --clear-groups "$ukai" $verb
	check "not root: $verb says so" says "needs root"
done
check "nothing runs: status ends with 3" run 3 "$ukai" status
check "nothing runs: down ends with 3" run 3 "$ukai" down
check "nothing runs: down NAME ends with 3" run 3 "$ukai" down "$tun"
check "nothing runs: restore has nothing to do" run 0 "$ukai" restore

ip -n "$pc" link add "$tun" type veth peer name other
remember
check "the interface's name in use: exit 1" up 1
check "the interface's name in use: nothing has changed" unchanged
ip -n "$pc" link del "$tun"
remember

conf ListenPort=5555
: >"$work/bound"
ip netns exec "$pc" /usr/bin/python3 -c '
import socket, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 5555))
print("bound", flush=True)
time.sleep(60)' >"$work/bound" &
holder=$!
check "somebody holds the port" until_true grep -q bound "$work/bound"
check "the port in use: exit 1" up 1
check "the port in use: named" says 5555
check "the port in use: nothing has changed" unchanged
kill $holder
wait $holder 2>/dev/null

conf
no_tun()
{
	on_pc unshare --mount sh -c 'mount -t tmpfs none /dev/net && exec "$@"' \
	    sh "$ukai" up -c "$work/$tun.conf" >"$work/out" 2>"$work/said"
	[ $? = 1 ]
}
check "no /dev/net/tun: exit 1" no_tun
check "no /dev/net/tun: named" says /dev/net/tun
check "no /dev/net/tun: nothing has changed" unchanged

on_pc sysctl -q -w net.ipv6.conf.default.disable_ipv6=1
remember
conf Endpoint=203.0.113.1:51820
check "no IPv6 and an IPv6 address: exit 1" up 1
check "no IPv6 and an IPv6 address: said" says "IPv6 switched off"
check "no IPv6 and an IPv6 address: nothing has changed" unchanged
conf Endpoint=203.0.113.1:51820 Address=10.66.0.2/24 AllowedIPs=0.0.0.0/0
check "no IPv6, none wanted: up" up
check "no IPv6, none wanted: it works" pings 10.66.0.1
check "no IPv6, none wanted: down" down
check "no IPv6, none wanted: the host is as it was" unchanged
on_pc sysctl -q -w net.ipv6.conf.default.disable_ipv6=0
remember

# ---- a whole wg-quick configuration, over IPv6 ----

conf Mode=644
check "up over IPv6" up
check "a file that others may read is warned of" says "warning"
check "R5: the LAN that goes into the tunnel is named" \
    says "LocalNetworks = 192.0.2.0/24"
check "R5: also that of IPv6" says "LocalNetworks = 2001:db8:1::/64"
check "ping 10.66.0.1 inside" pings 10.66.0.1
check "ping fd66::1 inside" pings fd66::1
same "MTU" "$(mtu)" 1420
same "rules of IPv4" "$(rules -4)" \
    $'20002:\tnot from all fwmark 0xca6c lookup 51820 proto 117'
same "rules of IPv6" "$(rules -6)" \
    $'20002:\tnot from all fwmark 0xca6c lookup 51820 proto 117'
same "routes of IPv4" "$(on_pc ip route show table 51820)" \
    "default dev $tun proto 117 scope link "
same "routes of IPv6" "$(on_pc ip -6 route show table 51820)" \
    "default dev $tun proto 117 metric 1024 pref medium"
same "DNS" "$(on_pc grep -v '^#' /etc/resolv.conf)" \
    $'nameserver 10.66.0.1\nsearch example.org'
same "src_valid_mark" "$(on_pc cat /proc/sys/net/ipv4/conf/all/src_valid_mark)" 1
same "no address of the kernel's own" \
    "$(on_pc ip -o -6 addr show dev "$tun" scope link)" ""
check "the table is ours" on_pc nft list table inet "ukai-$tun"
check "wg show works" on_pc wg show "$tun" latest-handshakes

check "status" run 0 "$ukai" status
for text in "$tun: up since" "UDP over IPv6" "[2001:db8:2::1]:51820" \
    " s ago" "MTU          1420" "table 51820, mark 0xca6c" \
    "10.66.0.2/24, fd66::2/64" "DNS          10.66.0.1" "received" "sent"; do
	check "status says \"$text\"" grep -F -q "$text" "$work/stdout"
done
same "status --json: path" "$(json '.tunnels[0].peers[0].path')" '"udp6"'
same "status --json: mtu" "$(json '.tunnels[0].mtu')" 1420
same "status --json: allowed" \
    "$(json '.tunnels[0].peers[0].allowed_ips')" '["0.0.0.0/0","::/0"]'
check "status --json: handshake, bytes and drops are numbers" \
    test "$(json '.tunnels[0] | [.peers[0].last_handshake, .since,
	.peers[0].received_bytes, .peers[0].sent_bytes, .drops.mac1] |
	map(type) | unique')" = '["number"]'
same "status --json: the interface, twice" \
    "$(json '.tunnels[0] | [.name, .interface]')" "[\"$tun\",\"$tun\"]"
same "status --json: a preshared key is told of" \
    "$(json '.tunnels[0].peers[0].preshared_key')" true
check "no key leaves by status (X3)" not grep -F -q \
    -e "$(cat "$work/pc.key")" -e "$(cat "$work/psk")" <(json .)

check "a second up of it: exit 1" up 1
check "a second up says how to end the first" says "ukai down"
check "the first is not disturbed" ping_ok 10.66.0.1
check "restore leaves it alone" run 0 "$ukai" restore
check "restore NAME refuses" run 1 "$ukai" restore "$tun"
check "the tunnel is still there" ping_ok 10.66.0.1

# R3, R6, default route
check "the internet is reached through the tunnel" ping_ok 198.51.100.7
ip -n "$pc" route add 198.51.100.7/32 via 192.0.2.1 dev lan0
check "R3: a more specific route in main is there" \
    goes_by 198.51.100.7 lan0 51820
check "R3: and does not beat the tunnel" goes_by 198.51.100.7 "$tun"
check "R3: nor for packets" ping_ok 198.51.100.7
same "R3: none was seen on the link" "$(seen_on_link inner)" 0
ip -n "$pc" route del 198.51.100.7/32
check "R6: the relay's address is reached, inside" ping_ok 203.0.113.1
check "R6: also by IPv6" on_pc ping -q -c 1 -W 1 2001:db8:2::1
same "R6: no unmarked packet to it left in the clear" "$(seen_on_link clear)" 0
check "the tunnel's own packets did" test "$(seen_on_link wg)" -gt 5
check "R5: the LAN is not excepted unasked" goes_by 192.0.2.1 "$tun"

# R1: the control is an address that nobody guards.
for address in 10.66.0.2 10.99.0.9 fd66::2 fd99::9; do
	on_rt ping -q -c 2 -i 0.2 -W 1 "$address" >/dev/null
done
check "R1: packets to other addresses come in by the link" \
    test "$(reached_pc other4)" -ge 2 -a "$(reached_pc other6)" -ge 2
same "R1: those to the tunnel's IPv4 address do not" "$(reached_pc tunnel4)" 0
same "R1: nor to its IPv6 address" "$(reached_pc tunnel6)" 0
check "R1: the host itself may talk to it" ping_ok 10.66.0.2

check "down" down
check "down: the host is as it was" unchanged
check "down: no file is left" clean_dirs
same "the last stamp is kept, for root alone" \
    "$(stat -c %a "$UKAI_STATE_DIR/$tun.stamp")" 600

# ---- over IPv4, behind a strict rp_filter and a smaller path ----

on_pc sysctl -q -w net.ipv4.conf.all.rp_filter=1
ip -n "$pc" link set lan0 mtu 1400
remember
conf Endpoint=203.0.113.1:51820 \
    LocalNetworks='192.0.2.0/24, 2001:db8:1::/64'
check "up over IPv4" up
check "no warning when the LAN is named" not says "LocalNetworks ="
check "IPv4: ping 10.66.0.1 inside" pings 10.66.0.1
check "IPv4: ping fd66::1 inside" pings fd66::1
same "IPv4: MTU by the path" "$(mtu)" 1320
same "IPv4: path" "$(json '.tunnels[0].peers[0].path')" '"udp4"'
same "LocalNetworks: rules of IPv4" "$(rules -4)" \
    $'19000:\tfrom all to 192.0.2.0/24 lookup main proto 117\n20002:\tnot from all fwmark 0xca6c lookup 51820 proto 117'
same "LocalNetworks: rules of IPv6" "$(rules -6)" \
    $'19000:\tfrom all to 2001:db8:1::/64 lookup main proto 117\n20002:\tnot from all fwmark 0xca6c lookup 51820 proto 117'
check "LocalNetworks: the LAN is reached on the line" goes_by 192.0.2.1 lan0
check "LocalNetworks: and answers" ping_ok 192.0.2.1
check "LocalNetworks: the rest is tunnelled" goes_by 192.0.3.1 "$tun"

# A second tunnel beside it, for one network, with the same exception.
conf Name="$tun2" Address=10.77.0.2/24 DNS= AllowedIPs=10.77.0.0/16 \
    Endpoint=203.0.113.1:51820 PersistentKeepalive= \
    LocalNetworks=192.0.2.0/24 PrivateKey="$(wg genkey)"
check "a second tunnel, FILE without -c" run 0 "$ukai" up "$work/$tun2.conf"
check "each has its networks" goes_by 10.77.3.4 "$tun2"
check "the first has the rest" goes_by 10.78.3.4 "$tun"
check "down does not guess: exit 2" run 2 "$ukai" down
check "down names both" says "$tun $tun2"
same "status shows both" "$(json '.tunnels | map(.name)')" "[\"$tun\",\"$tun2\"]"
check "down of the second" run 0 "$ukai" down "$tun2"
check "the first has kept its exception" ping_ok 192.0.2.1
check "the first goes on" ping_ok 10.66.0.1
check "down of the first, without a name" down
check "IPv4: the host is as it was" unchanged

# ---- MSS: pc forwards for its LAN, whose hosts know nothing of the tunnel ----

syn_mss()
{
	sed -n 's/.*mss \([0-9]*\).*/\1/p' "$1" | head -1
}
clamp_run()
{
	local a b

	ip netns exec "$vps" tcpdump -l -n -i "$far" \
	    'tcp[13] = 2' >"$work/syn" 2>"$work/dump-a" &
	a=$!
	ip netns exec "$rt" tcpdump -l -n -i lan1 \
	    'tcp[13] = 18' >"$work/synack" 2>"$work/dump-b" &
	b=$!
	until_true grep -q listening "$work/dump-a"
	until_true grep -q listening "$work/dump-b"
	on_rt /usr/bin/python3 -c '
import socket
socket.create_connection(("198.51.100.7", 7777), 10)'
	until_true grep -q mss "$work/syn"
	until_true grep -q mss "$work/synack"
	kill "$a" "$b"
	wait "$a" "$b" 2>/dev/null
	cat "$work/syn" "$work/synack"
}
conf Endpoint=203.0.113.1:51820 AllowedIPs='198.51.100.0/24, 10.66.0.0/24'
check "up for some networks only" up
same "some networks: rules" "$(rules -4)" \
    $'20001:\tnot from all fwmark 0xca6c lookup 51820 proto 117'
same "some networks: no rule of IPv6" "$(rules -6)" ""
check "some networks: the relay's address stays on the line" \
    goes_by 203.0.113.1 lan0
on_pc sysctl -q -w net.ipv4.ip_forward=1
ip -n "$rt" route add 198.51.100.7/32 via 192.0.2.10
ip -n "$vps" route add 192.0.2.1/32 dev "$far" advmss 1460
ip netns exec "$vps" /usr/bin/python3 -c '
import socket
s = socket.create_server(("198.51.100.7", 7777))
while True:
    s.accept()' &
server=$!
check "a server" until_true sh -c \
    "ip netns exec $vps ss -Hltn sport = 7777 | grep -q ."
check "a connection of the LAN through pc" clamp_run
same "MSS outward is clamped" "$(syn_mss "$work/syn")" 1280
same "MSS inward is clamped" "$(syn_mss "$work/synack")" 1280
kill $server
wait $server 2>/dev/null
ip -n "$rt" route del 198.51.100.7/32
ip -n "$vps" route del 192.0.2.1/32 dev "$far"
check "down again" down
on_pc sysctl -q -w net.ipv4.ip_forward=0
check "some networks: the host is as it was" unchanged
on_pc sysctl -q -w net.ipv4.conf.all.rp_filter=0
ip -n "$pc" link set lan0 mtu 1500

# ---- Table and FwMark ----

remember
conf Table=1234 FwMark=0x77 DNS= AllowedIPs=198.51.100.0/24
check "Table = 1234" up
same "Table = 1234: routes" "$(on_pc ip route show table 1234)" \
    "198.51.100.0/24 dev $tun proto 117 scope link "
same "Table = 1234: no rules" "$(rules -4)$(rules -6)" ""
same "Table = 1234: mark" "$(on_pc wg show "$tun" fwmark)" 0x77
check "down of it" down
conf Table=off DNS= AllowedIPs=10.66.0.1/32
check "Table = off" up
same "Table = off: only the address' own network" \
    "$(on_pc ip -4 route show table all dev "$tun" type unicast)" \
    "10.66.0.0/24 proto kernel scope link src 10.66.0.2 "
check "Table = off: the tunnel works" pings 10.66.0.1
check "down of that" down
check "tables: the host is as it was" unchanged

# ---- all the ways to end ----

conf
check "up in the foreground" up_foreground
check "foreground: it works" pings 10.66.0.1
kill -TERM "$up_pid"
check "SIGTERM: exit 0" ended 0
check "SIGTERM: the host is as it was" unchanged
check "SIGTERM: no file is left" clean_dirs

check "up once more" up_foreground
ip -n "$pc" link del "$tun"
check "the interface is deleted: exit 1" ended 1
check "the interface is deleted: said" says "somebody deleted $tun"
check "the interface is deleted: the host is as it was" unchanged

check "up once more" up_foreground
rm "/var/run/wireguard/$tun.sock"
check "the UAPI socket is deleted: exit 0" ended 0
check "the UAPI socket is deleted: the host is as it was" unchanged

check "up to be killed" up_foreground
check "killed" kill_nine
check "killed: the host is not as it was" not unchanged
check "killed: down says that nothing runs" run 3 "$ukai" down
check "killed: status too" run 3 "$ukai" status
check "restore" run 0 "$ukai" restore
check "restore: the host is as it was" unchanged
check "restore: no file is left" clean_dirs
check "restore again" run 0 "$ukai" restore

check "up to be killed again" up_foreground
check "killed again" kill_nine
check "up after the kill" up
check "up after the kill: says what it undid" says "changes that a killed run"
check "up after the kill: it works" pings 10.66.0.1
check "up after the kill: the rule is there once" \
    test "$(rules -4 | wc -l)" = 1
check "down after that" down
check "down after that: the host is as it was" unchanged

# A step fails in the middle: a table of our name that is not ours.
on_pc nft add table inet "ukai-$tun"
remember
check "a step that fails: exit 1" up 1
check "a step that fails: said" says "ukai-$tun"
check "a step that fails: all before it is undone" unchanged
check "a step that fails: no file is left" clean_dirs
on_pc nft delete table inet "ukai-$tun"
remember

# ---- names ----

echo "203.0.113.1 relay.test" >>"/etc/netns/$pc/hosts"
conf Endpoint=relay.test:51820
check "a name of /etc/hosts" up
check "a name of /etc/hosts: it works" pings 10.66.0.1
check "a name of /etc/hosts: status shows both" run 0 "$ukai" status
check "a name of /etc/hosts: the address" \
    grep -F -q "203.0.113.1:51820 (relay.test)" "$work/stdout"
check "down of the name" down
cp /etc/hosts "/etc/netns/$pc/hosts"

start_dns
printf '203.0.113.1\n2001:db8:2::1\n' >"$work/addresses"
check "a name by DNS" up
same "a name by DNS: IPv6 is preferred" \
    "$(json '.tunnels[0].peers[0].endpoint')" '"[2001:db8:2::1]:51820"'
check "a name by DNS: it works" pings 10.66.0.1
check "down of DNS" down
check "names: the host is as it was" unchanged

# Nobody is at the first address; the look-up takes the line, although all
# traffic and the resolver belong to the tunnel.
echo 203.0.113.99 >"$work/addresses"
check "a relay that is not there" up
echo 203.0.113.1 >"$work/addresses"
check "the name is looked up again" pings 10.66.0.1 45
same "and the endpoint follows" "$(json '.tunnels[0].peers[0].endpoint')" \
    '"203.0.113.1:51820"'
check "down of the moved relay" down

# The first address does not work, the second does: the next in the list.
printf '203.0.113.1\n2001:db8:2::99\n' >"$work/addresses"
check "IPv6 that does not work" up
check "IPv4 is tried after it" pings 10.66.0.1 45
check "down of that one" down

stop_dns
echo 203.0.113.1 >"$work/addresses"
start=$SECONDS
check "no DNS at all: up all the same" up
check "no DNS: said once" test "$(grep -c relay.test "$work/said")" = 1
check "no DNS: not for long" test $((SECONDS - start)) -lt 30
same "no DNS: no endpoint" "$(json '.tunnels[0].peers[0].endpoint')" null
start_dns
check "DNS comes back: the tunnel works" pings 10.66.0.1 30
check "down of the last name" down
stop_dns
check "names again: the host is as it was" unchanged

# ---- stamps (P1) ----

conf
echo nonsense >"$UKAI_STATE_DIR/$tun.stamp"
check "a damaged stamp file is no error" up
check "a damaged stamp file is warned of" says "$tun.stamp"
check "a damaged stamp file: the tunnel works" pings 10.66.0.1
check "down: the file is written anew" down
ahead=$(printf '40000000%08x00000000' $(($(date +%s) + 10 + 40)))
sed -i "s/[0-9a-f]*\$/$ahead/" "$UKAI_STATE_DIR/$tun.stamp"
check "P1: our last stamp was 40 s ahead" up
check "P1: the relay takes a greater one" pings 10.66.0.1
check "P1: down" down
check "P1: the stamp has grown" \
    test "$(awk '{ print $4 }' "$UKAI_STATE_DIR/$tun.stamp")" \> "$ahead"
mv "$UKAI_STATE_DIR/$tun.stamp" "$work/kept"
check "P1: without the file" up
check "P1: the relay takes us for a replay" not pings 10.66.0.1 2
check "P1: down once more" down
mv "$work/kept" "$UKAI_STATE_DIR/$tun.stamp"
check "P1: with the file" up
check "P1: it works again" pings 10.66.0.1
check "P1: down at last" down
check "stamps: the host is as it was" unchanged

kill "$relay_pid"
exit $failed
