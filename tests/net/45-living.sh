#!/bin/bash
# shellcheck disable=SC2317 # functions are called through check() and trap
#
# 45-living: the relay on a host with a firewall, containers and a web server of
# others: `ukai-relay init` finds its place, `check` names what is in the way,
# its remedies carried out to the letter make the relay work, and the others'
# rules and services are the same before, meanwhile and after.
#
#   pc 198.51.100.2 --- srv 192.0.2.2 --- wan 192.0.2.1 vps --- docker0 box
#     2001:db8:a::2       2001:db8:5::2       2001:db8:5::1       172.17.0.2
#
# srv routes, serves TCP 7000, and visits the vps. ufw is the real one, with its
# folders in a mount namespace of its own; firewalld's rules are those that
# firewalld 1.3 made, and a script does what its firewall-cmd would.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=${UKAI_BUILD:-${here%/tests/net}/build}
rules=${here%/net}/vectors/firewall
relay=$build/server/ukai-relay
ukai=$build/client/ukai
python=/usr/bin/python3
ns=ukt45-$$
v=$ns-v p=$ns-p s=$ns-s b=$ns-b
tr=ukl$$ tp=ukm$$
work=$(mktemp -d "/tmp/$ns.XXXXXX")
export UKAI_RUN_DIR=$work/run UKAI_STATE_DIR=$work/state
conf=$work/etc/relay.conf
# shellcheck source=tests/net/checks
. "$here/checks"
pids=
relay_pid=
client_pid=

cleanup()
{
	local n pid

	for pid in $client_pid $relay_pid $pids; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	for n in "$v" "$p" "$s" "$b"; do
		ip netns del "$n" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || skip "not root"
[ -c /dev/net/tun ] || skip "no /dev/net/tun"
for tool in ip nft iptables-nft-restore curl sysctl unshare "$python"; do
	command -v "$tool" >/dev/null || skip "no $tool"
done
ip netns add "$v" 2>/dev/null || skip "no network namespaces"

# --- the network, and what others run in it ------------------------------

# join NS1 NAME1 NS2 NAME2
join()
{
	ip -n "$1" link add "$2" type veth peer name "$4" netns "$3"
	ip -n "$1" link set "$2" up
	ip -n "$3" link set "$4" up
}

for n in "$p" "$s" "$b"; do
	ip netns add "$n"
done
for n in "$v" "$p" "$s" "$b"; do
	ip -n "$n" link set lo up
	in_ns "$n" sysctl -qw net.ipv6.conf.default.accept_dad=0
done
join "$p" wan "$s" pc
join "$v" wan "$s" vps
join "$v" docker0 "$b" eth0
ip -n "$p" addr add 198.51.100.2/24 dev wan
ip -n "$p" addr add 2001:db8:a::2/64 dev wan
ip -n "$p" route add default via 198.51.100.1
ip -n "$p" route add default via 2001:db8:a::1
ip -n "$s" addr add 198.51.100.1/24 dev pc
ip -n "$s" addr add 2001:db8:a::1/64 dev pc
ip -n "$s" addr add 192.0.2.2/24 dev vps
ip -n "$s" addr add 2001:db8:5::2/64 dev vps
in_ns "$s" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip -n "$v" addr add 192.0.2.1/24 dev wan
ip -n "$v" addr add 2001:db8:5::1/64 dev wan
ip -n "$v" route add default via 192.0.2.2
ip -n "$v" route add default via 2001:db8:5::2
ip -n "$v" addr add 172.17.0.1/24 dev docker0
ip -n "$b" addr add 172.17.0.2/24 dev eth0
ip -n "$b" route add default via 172.17.0.1
ip -n "$v" link set wan mtu 1400
# A route of the host's where clients would live else.
ip -n "$v" route add 10.66.7.0/24 via 192.0.2.2
# A host with containers forwards.
in_ns "$v" sysctl -qw net.ipv4.ip_forward=1

# start NS PORT FOLDER: a web server; its pid in $started.
start()
{
	mkdir -p "$work/$3"
	echo "$3" >"$work/$3/who"
	ip netns exec "$1" "$python" -m http.server --bind 0.0.0.0 \
		-d "$work/$3" "$2" >/dev/null 2>&1 &
	started=$!
	pids="$pids $started"
}

start "$v" 443 website
start "$b" 80 container
start "$s" 7000 internet

# fetch NS HOST:PORT: who is there?
fetch()
{
	in_ns "$1" curl -sf --noproxy '*' -m 2 "http://$2/who"
}

website_serves()
{
	[ "$(fetch "$s" 192.0.2.1:443)" = website ]
}

container_serves()
{
	[ "$(fetch "$s" 192.0.2.1:8080)" = container ]
}

until_true website_serves
until_true fetch "$s" 192.0.2.2:7000

# Rules of others, without counters.
others()
{
	local family name

	in_ns "$v" nft list tables | while read -r _ family name; do
		[ "$name" = "ukai-relay-$tr" ] ||
			in_ns "$v" nft -s list table "$family" "$name"
	done
}

# same NAME: as they were when they were kept under that name.
keep()
{
	others >"$work/rules.$1" 2>&1
}

same()
{
	others 2>&1 | diff "$work/rules.$1" -
}

# --- init ----------------------------------------------------------------

init()
{
	in_ns "$v" "$relay" init --config "$conf" "$@"
}

keep init
check "init with a wrong wish: exit 2" exits 2 init --address 10.0.0.1/99
check "and makes no file" fails test -e "$conf"
check "init" exits 0 init --interface "$tr"
cp "$work/said" "$work/init"
check "init: the ports of the provider's firewall" \
	grep -q 'UDP 51820' "$work/init"
check "init: a web server has 443, so it takes 8443" \
	grep -q 'TCP 8443' "$work/init"
check "init: the addresses that it found" \
	grep -q '2001:db8:5::1 and 192.0.2.1' "$work/init"
check "init: how to start without systemd" \
	grep -q 'ukai-relay serve --background' "$work/init"
check "init: a pool that no route overlaps" \
	grep -qx 'Address = 10.67.0.1/16' "$conf"
check "init: the ports of others are reserved" \
	grep -qx 'ReservedPorts = 443' "$conf"
modes()
{
	[ "$(stat -c %a "$work/etc" "$conf" "$work/etc/relay-tls.key" |
		tr '\n' ' ')" = "700 600 600 " ]
}
check "init: an MTU that fits" grep -qx "MTU = 1320" "$conf"
check "init: 0700, 0600, 0600" modes
check "init changed no rule" same init
cp -a "$work/etc" "$work/first"
check "init again: exit 0" exits 0 init
check "init again: nothing is written" diff -r "$work/first" "$work/etc"
check "init again with a wish: exit 2" exits 2 init --listen-port 5
rm "$work/etc/relay-tls.key"
check "init completes what is missing" exits 0 init
check "init: the key is there again" modes

# Killed at any moment, or the disk full: nothing or what init completes.
killed_init()
{
	local i folder

	for i in $(seq 1 12); do
		folder=$work/killed$i
		timeout -s KILL "0.0$(printf %02d $((i * 3)))" \
			ip netns exec "$v" "$relay" init --interface "$tr" \
			--config "$folder/relay.conf" >/dev/null 2>&1 || true
		in_ns "$v" "$relay" init --interface "$tr" \
			--config "$folder/relay.conf" >"$work/said" 2>&1 ||
			in_ns "$v" "$relay" init \
				--config "$folder/relay.conf" ||
			return 1
		[ "$(ls "$folder")" = "$(printf 'relay-tls.key\nrelay.conf')" ] ||
			{ ls "$folder"; return 1; }
		in_ns "$v" "$relay" check --config "$folder/relay.conf" ||
			return 1
	done
}
check "init, killed at any moment: the next one completes it" killed_init

full_init()
{
	in_ns "$v" unshare -m bash -c "
		mount -t tmpfs -o size=4k,mode=700 none '$work/full' &&
		head -c 4096 /dev/zero >'$work/full/filler'
		'$relay' init --config '$work/full/relay.conf'
		code=\$?
		rm -f '$work/full/filler'
		ls '$work/full' | sed 's/^/left: /'
		exit \$code" >"$work/said" 2>&1
}
mkdir -p "$work/full"
check "init on a full disk: exit 1" exits 1 full_init
check "and leaves nothing" fails grep left: "$work/said"

# --- a relay and a client ------------------------------------------------

umask 077
key=$("$ukai" genkey)
cat >>"$conf" <<END

[Peer]
Name = pc
PublicKey = $("$ukai" pubkey <<<"$key")
AllowedIPs = 10.67.0.2/32
END
cat >"$work/$tp.conf" <<END
[Interface]
PrivateKey = $key
Address = 10.67.0.2/32
[Peer]
PublicKey = $(sed -n 's/^PrivateKey = //p' "$conf" | "$ukai" pubkey)
Endpoint = [2001:db8:5::1]:51820
AllowedIPs = 10.67.0.1/32, 192.0.2.2/32
PersistentKeepalive = 1
END

relay_start()
{
	ip netns exec "$v" "$relay" serve --config "$conf" \
		>"$work/relay.log" 2>&1 &
	relay_pid=$!
	until_true in_ns "$v" "$relay" status
}

relay_stop()
{
	kill "$relay_pid"
	wait "$relay_pid"
	relay_pid=
}

client_start()
{
	[ -z "$client_pid" ] || client_stop
	ip netns exec "$p" "$ukai" up --foreground --config "$work/$tp.conf" \
		>"$work/client.log" 2>&1 &
	client_pid=$!
	until_true "$ukai" status "$tp"
}

client_stop()
{
	kill "$client_pid"
	wait "$client_pid" || true
	client_pid=
}

reaches_relay()
{
	in_ns "$p" ping -n -q -c 1 -W 1 10.67.0.1
}

reaches_internet()
{
	[ "$(fetch "$p" 192.0.2.2:7000)" = internet ]
}

joinable()
{
	in_ns "$p" timeout 2 bash -c '>/dev/tcp/192.0.2.1/8443' &&
		in_ns "$p" timeout 2 bash -c '>/dev/tcp/2001:db8:5::1/8443'
}

works()
{
	until_true reaches_relay && until_true reaches_internet &&
		until_true joinable
}

# --- firewalls -----------------------------------------------------------

# shell COMMAND: as the administrator types it, with ufw's folders and the
# stand-in for firewall-cmd in their places.
shell()
{
	in_ns "$v" unshare -m bash -c "
		export PATH=$work/bin:/usr/sbin:/usr/bin:/sbin:/bin
		mount --bind $work/ufw /etc/ufw 2>/dev/null
		mount --bind $work/default /etc/default 2>/dev/null
		$1"
}

check_says()
{
	local got=0

	in_ns "$v" "$relay" check --config "$conf" >"$work/said" 2>&1 || got=$?
	[ "$got" = "$1" ] || { cat "$work/said"; return 1; }
}

says()
{
	grep -qF -- "$1" "$work/said" || { cat "$work/said"; return 1; }
}

remedies()
{
	sed -n 's/.*run: //p' "$work/said"
}

carry_out()
{
	local command

	remedies >"$work/remedies"
	[ -s "$work/remedies" ] || return 1
	while read -r command; do
		echo "$command"
		shell "$command" </dev/null || return 1
	done <"$work/remedies"
}

services_serve()
{
	website_serves && { [ "$1" != docker ] || container_serves; }
}

# lives NAME: with those rules in place, from the check to the end.
lives()
{
	local name=$1

	check "$name: website and containers serve before" \
		services_serve "$name"
	keep "$name"
	check "$name: check finds it in the way, exit 1" check_says 1
	check "$name: check changes no rule" same "$name"
	cp "$work/said" "$work/said.$name"
	relay_start
	client_start
	check "$name: it is in the way" fails works_now
	check "$name: serving changes no rule of others" same "$name"
	check "$name: check while it serves says the same" check_says 1
	check "$name: its remedies can be carried out" carry_out
	check "$name: then there is nothing left to say" check_says 0
	client_start
	check "$name: then the relay works" works
	check "$name: others serve meanwhile" services_serve "$name"
	keep "$name"
	relay_stop
	check "$name: its end changes no rule of others" same "$name"
	relay_start
	check "$name: nor does its start" same "$name"
	client_start
	check "$name: and it works again" works
	relay_stop
	check "$name: others serve after" services_serve "$name"
	client_stop
	in_ns "$v" nft flush ruleset
}

works_now()
{
	reaches_relay && reaches_internet && joinable
}

check "without a firewall: check has no remedy, exit 0" check_says 0
relay_start
client_start
check "without a firewall: the relay works" works
check "check of a relay that serves: exit 0" check_says 0
check "a port that is taken: not its own" fails grep -q 'in use' "$work/said"
client_stop
relay_stop

# What many copy from a manual: no policy, a last rule that refuses.
in_ns "$v" nft -f - <<'END'
table inet filter {
	set web { type inet_service; elements = { 80, 443 } }
	chain input {
		type filter hook input priority filter
		ct state vmap { established : accept, related : accept, invalid : drop }
		iifname "lo" accept
		icmp type echo-request limit rate 10/second accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
		tcp dport { 22, 443 } accept
		tcp dport @web accept
		reject with icmpx admin-prohibited
	}
	chain forward {
		type filter hook forward priority filter; policy drop
	}
}
END
lives nft
check "nft: names the chain" grep -q 'chain input of table inet filter drops UDP port 51820' \
	"$work/said.nft"

# The same, by iptables; with an offender on a list, who is not everybody.
in_ns "$v" iptables-nft-restore <<'END'
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:f2b-sshd - [0:0]
-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp-port-unreachable
-A f2b-sshd -s 192.0.2.99/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-sshd -j RETURN
COMMIT
END
lives iptables
check "iptables: by iptables" grep -q 'run: iptables -I INPUT -p udp --dport 51820 -j ACCEPT' \
	"$work/said.iptables"

in_ns "$v" iptables-nft-restore <"$rules/docker.iptables"
until_true container_serves
lives docker
check "docker: in the chain that Docker leaves to the administrator" \
	grep -q 'iptables -I DOCKER-USER' "$work/said.docker"

if command -v ufw >/dev/null; then
	cp -a /etc/ufw /etc/default "$work"
	shell 'ufw allow 22/tcp && ufw allow 443/tcp && ufw --force enable' \
		>"$work/out" 2>&1 || cat "$work/out"
	lives ufw
	check "ufw: by ufw" grep -q 'run: ufw allow 51820/udp' "$work/said.ufw"
else
	echo "skip ufw: not installed"
fi

# What firewall-cmd changes in the rules, seen with firewalld 1.3.
mkdir -p "$work/bin"
cat >"$work/bin/firewall-cmd" <<'END'
#!/bin/bash
set -e
for argument; do
	case $argument in
	--permanent | --reload | --zone=trusted) ;;
	--add-port=*)
		IFS=/ read -r port protocol <<<"${argument#*=}"
		nft add rule inet firewalld filter_IN_public_allow \
			"$protocol" dport "$port" accept
		;;
	--add-interface=*)
		nft insert rule inet firewalld filter_FORWARD_ZONES \
			iifname "${argument#*=}" accept
		;;
	*) exit 2 ;;
	esac
done
END
chmod 755 "$work/bin/firewall-cmd"
in_ns "$v" nft -f "$rules/firewalld.nft"
in_ns "$v" nft add rule inet firewalld filter_IN_public_allow tcp dport 443 accept
lives firewalld
check "firewalld: by firewall-cmd" \
	grep -q 'run: firewall-cmd --permanent --add-port=51820/udp' \
	"$work/said.firewalld"

# --- what else may be missing --------------------------------------------

start "$v" 8443 squatter
until_true fetch "$s" 192.0.2.1:8443
check "somebody has the TLS port: exit 1" check_says 1
check "and is said" says "TCP port 8443 is in use"
kill "$started"
wait "$started" 2>/dev/null || true

in_ns "$v" sysctl -qw net.ipv4.conf.wan.forwarding=0
check "an interface that does not forward: exit 1" check_says 1
check "its remedy" carry_out
check "is one" check_says 0

no_tun()
{
	in_ns "$v" unshare -m bash -c "
		mount -t tmpfs none /dev/net &&
		exec '$relay' check --config '$conf'"
}
check "no TUN device: exit 1" exits 1 no_tun
check "no TUN device: says so" says "modprobe tun"

read_only()
{
	in_ns "$v" unshare -m bash -c "
		mount -t proc -o ro proc /proc &&
		exec '$relay' check --config '$conf'"
}
in_ns "$v" sysctl -qw net.ipv4.ip_forward=0
check "forwarding is off: the relay switches it on" check_says 0
check "forwarding cannot be switched on: exit 1" exits 1 read_only
check "and is said" says "read-only"
in_ns "$v" sysctl -qw net.ipv4.ip_forward=1

policy()
{
	in_ns "$v" unshare -m bash -c "
		mount -t tmpfs none /etc/sysctl.d &&
		echo 'net.ipv4.ip_forward = 0' >/etc/sysctl.d/99-hard.conf &&
		exec '$relay' check --config '$conf'"
}
check "forwarding off by policy: a warning" exits 0 policy
check "that names the file" says /etc/sysctl.d/99-hard.conf

chmod 755 "$work" "$work/etc"
chmod 644 "$conf"
check "not root: exit 1" exits 1 in_ns "$v" setpriv --reuid=65534 \
	--regid=65534 --clear-groups "$relay" check --config "$conf"
check "not root: the capability that is missing" says CAP_NET_ADMIN

in_ns "$v" sysctl -qw net.ipv6.conf.all.disable_ipv6=1
check_says 0 || true
check "no IPv6: the remedy" says "net.ipv6.conf.all.disable_ipv6=0"

exit $failed
