#!/bin/bash
# shellcheck disable=SC2016,SC2317 # sh -c texts; functions called by name
#
# 12-host: what ukai changes on a host, with the kernel as the judge, and
# whether all of it goes away again, also after kill -9.
#
#    A (veth a0) --- (veth b0) B       B gives a0 a carrier, and its flows
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# has no namespaces, no nftables or no jq.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
programs=${UKAI_BUILD:-$root/build}/tests
probe=${UKAI_PROBE:-$programs/ukai-test-host-probe}
flows=$programs/ukai-test-flows-probe
leak_watch=$programs/ukai-test-leak-watch
a=ukt12-$$-a
b=ukt12-$$-b
work=$(mktemp -d "/tmp/ukt12.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
pids=

cleanup()
{
	local pid

	exec 9>&-
	for pid in $pids; do
		kill -9 "$pid" 2>/dev/null
	done
	ip netns del "$a" 2>/dev/null
	ip netns del "$b" 2>/dev/null
	rm -rf "/etc/netns/$a" "$work"
	rmdir /etc/netns 2>/dev/null
	return 0
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# The same, and CMD must fail.
check_not()
{
	local what=$1
	shift
	check "$what" not "$@"
}

not()
{
	if "$@"; then
		return 1
	fi
}

in_a()
{
	ip netns exec "$a" "$@"
}

p()
{
	in_a "$probe" "$@"
}

# says PATTERN VERB...: the probe's output has a line like that.
says()
{
	local pattern=$1
	shift
	p "$@" >"$work/said" 2>&1
	cat "$work/said"
	grep -Eq -- "$pattern" "$work/said"
}

# Start a probe that stays, with its standard input open; sets held.
hold()
{
	: >"$work/held"
	"$@" <"$work/stdin" >"$work/held" 2>&1 &
	held=$!
	pids="$pids $held"
	for _ in $(seq 100); do
		grep -q ready "$work/held" && return 0
		sleep 0.05
	done
	cat "$work/held"
	return 1
}

# In A; not by in_a(), whose pid would be a shell's.
hold_a()
{
	hold ip netns exec "$a" "$probe" "$@"
}

die_hard()
{
	kill -9 "$held"
	wait "$held" 2>/dev/null
	return 0
}

stop()
{
	kill "$held" && wait "$held" 2>/dev/null
	return 0
}

# Everything that the modules touch.
dump()
{
	in_a sh -c 'ip -d -j addr | jq "[.[] | {ifname, mtu, flags, a:
	    [.addr_info[] | {local, prefixlen}]}]"; ip rule; ip -6 rule
	    ip route show table all; ip -6 route show table all
	    nft list ruleset; cat /proc/sys/net/ipv4/ip_forward \
	    /proc/sys/net/ipv4/ip_local_port_range; ls -l --time-style=+ /etc/resolv.conf
	    cat /etc/resolv.conf'
}

same_as()
{
	dump >"$work/now"
	diff "$1" "$work/now"
}

links()
{
	says "^index ok" index a0 &&
	    says "^index not found" index nosuch &&
	    says "^link ok" link a0 up 1400 &&
	    says "^1400$" mtu a0 &&
	    in_a ip link show a0 | grep -q "mtu 1400.*state UP" &&
	    says "^link ok" link a0 down 0 &&
	    not sh -c "ip -n $a link show a0 | grep -q '[<,]UP'" &&
	    says "^link value not allowed" link a0 up 1 &&
	    says "a0 .*MTU 1 .*: Invalid argument" link a0 up 1 &&
	    says "^link ok" link a0 up 1500
}

addresses()
{
	says "^addr ok" addr a0 10.7.0.2/24 - &&
	    says "^addr ok" addr a0 10.8.0.2/24 noroute &&
	    says "^addr exists already" addr a0 10.7.0.2/24 - &&
	    says "add address 10.7.0.2/24 to a0: File exists" \
		addr a0 10.7.0.2/24 - &&
	    says "^addr not found" addr nosuch 10.7.0.2/24 - &&
	    says "^[0-9]+ 10.7.0.2/24$" addrs 100 &&
	    test "$(p addrs 1 | grep -c /)" = 1 &&
	    in_a ip route | grep -q "^10.7.0.0/24 dev a0" &&
	    not sh -c "ip -n $a route | grep -q 10.8.0.0"
}

# Usable in the same moment: no duplicate address detection.
address_v6_at_once()
{
	says "^addr ok" addr a0 2001:db8:7::2/64 - &&
	    in_a ip -j -6 addr show a0 | jq -e '[.[].addr_info[] |
		select(.local == "2001:db8:7::2")] | length == 1 and
		(.[0].tentative | not)' &&
	    in_a ip -6 route get 2001:db8:7::1 from 2001:db8:7::2
}

routes()
{
	says "^route ok" route 0.0.0.0/0 a0 51820 1380 &&
	    says "^route ok" route ::/0 a0 51820 1380 &&
	    says "^route ok" route 203.0.113.0/24 a0 0 0 &&
	    says "^route exists already" route 0.0.0.0/0 a0 51820 1380 &&
	    in_a ip route show table 51820 |
		grep -q "default dev a0 proto 117 scope link mtu 1380" &&
	    in_a ip -6 route show table 51820 | grep -q "mtu 1380" &&
	    in_a ip route show 203.0.113.0/24 | grep -q "dev a0"
}

tables()
{
	says "^yes$" used 51820 && says "^no$" used 51821 &&
	    says "^yes$" used 254 &&
	    says "^rule ok" rule 6 900 51821 0 0 - - - -1 &&
	    says "^yes$" used 51821 &&
	    says "^unrule ok" unrule 6 900 51821 0 0 - - - -1 &&
	    says "^no$" used 51821
}

# rule_is FAMILY PRIORITY JQ
rule_is()
{
	in_a ip -"$1" -j rule list priority "$2" | tee "$work/rule" |
	    jq -e "length == 1 and (.[0] | $3)" || { cat "$work/rule"; false; }
}

rules()
{
	says "^rule ok" rule 4 100 51820 0xca6c 0xffffffff not - - -1 &&
	    rule_is 4 100 '.not == null and has("not") and
		.fwmark == "0xca6c" and .table == "51820" and .src == "all"' &&
	    says "^rule ok" rule 6 100 51820 0xca6c 0xff00 not - - -1 &&
	    rule_is 6 100 'has("not") and .fwmark == "0xca6c" and
		.fwmask == "0xff00" and .table == "51820"' &&
	    says "^rule ok" rule 4 99 254 0 0 - - - 0 &&
	    rule_is 4 99 '.suppress_prefixlen == 0 and .table == "main"' &&
	    says "^rule ok" rule 6 99 254 0 0 - - - 0 &&
	    rule_is 6 99 '.suppress_prefixlen == 0 and .table == "main"' &&
	    says "^rule ok" rule 4 98 7 0 0 - 10.0.0.0/8 192.0.2.0/24 -1 &&
	    rule_is 4 98 '.src == "10.0.0.0" and .srclen == 8 and
		.dst == "192.0.2.0" and .dstlen == 24 and .table == "7"' &&
	    says "^rule ok" rule 6 98 7 0 0 - - 2001:db8:9::/48 -1 &&
	    rule_is 6 98 '.dst == "2001:db8:9::" and .dstlen == 48' &&
	    says "^rule exists already" rule 6 98 7 0 0 - - 2001:db8:9::/48 -1 &&
	    says "^rule value not allowed" rule 6 97 7 0 0 - 10.0.0.0/8 - -1
}

rules_go()
{
	p unrule 4 100 51820 0xca6c 0xffffffff not - - -1 -- \
	    unrule 6 100 51820 0xca6c 0xff00 not - - -1 -- \
	    unrule 4 99 254 0 0 - - - 0 -- unrule 6 99 254 0 0 - - - 0 -- \
	    unrule 4 98 7 0 0 - 10.0.0.0/8 192.0.2.0/24 -1 -- \
	    unrule 6 98 7 0 0 - - 2001:db8:9::/48 -1 &&
	    says "^unrule not found" unrule 6 98 7 0 0 - - 2001:db8:9::/48 -1
}

# The kernel matches a removal by what it names only.
rule_of_others_stays()
{
	in_a ip rule add priority 60 fwmark 5 table 60 &&
	    says "^unrule not found" unrule 4 60 60 5 0xffffffff - - - -1 &&
	    says "^unrule not found" unrule 4 60 60 0 0 - - - -1 &&
	    rule_is 4 60 '.table == "60"' && in_a ip rule del priority 60
}

paths()
{
	local i
	i=$(p index a0 | head -n 1)
	in_a ip rule add priority 50 fwmark 9 table 51820
	in_a ip -6 rule add priority 50 fwmark 9 table 51820
	says "^$i 10.7.0.2 1500$" path 10.7.0.1 0 &&
	    says "^$i 10.7.0.2 1380$" path 198.51.100.1 9 &&
	    says "^path not found" path 198.51.100.1 0 &&
	    says "^$i 2001:db8:7::2 1500$" path 2001:db8:7::1 0 &&
	    says "^$i 2001:db8:7::2 1380$" path 2001:db8:ffff::1 9 &&
	    says "^path not found" path 2001:db8:ffff::1 0 &&
	    in_a ip -6 route add unreachable 2001:db8:dead::/48 &&
	    says "^path not found" path 2001:db8:dead::1 0
	local r=$?
	in_a ip rule del priority 50
	in_a ip -6 rule del priority 50
	in_a ip -6 route del unreachable 2001:db8:dead::/48
	return "$r"
}

no_permission()
{
	in_a setpriv --reuid 65534 --clear-groups "$probe" \
	    rule 4 100 5 0 0 - - - -1 -- addr a0 10.7.0.9/24 - -- \
	    fw ukai "" >"$work/said" 2>&1
	cat "$work/said"
	test "$(grep -c ' not permitted$' "$work/said")" = 3 &&
	    test "$(grep -c 'CAP_NET_ADMIN is needed' "$work/said")" = 3
}

one='chain one { type filter hook output priority 0; ip daddr 192.0.2.1 drop; }'
two='chain two { type filter hook output priority 0; ip daddr 192.0.2.2 drop; }'
broken='chain two {
	type filter hook output priority 0
	ip dadr 192.0.2.2 drop
}'

ruleset_has()
{
	in_a nft list ruleset | grep -q -- "$1"
}

fw_owned()
{
	ruleset_has "flags owner" && ruleset_has "192.0.2.1 drop" &&
	    not in_a nft add chain inet ukai x &&
	    not in_a nft flush table inet ukai &&
	    not in_a nft delete table inet ukai &&
	    in_a nft flush ruleset && ruleset_has "192.0.2.1 drop"
}

fw_of_others()
{
	in_a nft "add table inet ukai; add chain inet ukai theirs"
	says "^fw in use" fw ukai "$one" && says "not ours" fw ukai "$one" &&
	    ruleset_has theirs && not ruleset_has 192.0.2.1
	local r=$?
	in_a nft delete table inet ukai
	return "$r"
}

fw_name()
{
	says "^fw value" fw "ukai { } ; table inet x" "$one" &&
	    says "^fw value" fw "" "$one" && says "^fw value" fw 9a "$one"
}

fw_words()
{
	says "^fw value not allowed" fw ukai "$broken" &&
	    says "line 3 of its body: syntax error.*: ip dadr 192.0.2.2 drop" \
		fw ukai "$broken" &&
	    says "line 1 of its body: .*No such file" \
		fw ukai "chain x { jump nowhere; }"
}

sysctls()
{
	says "^undo ok" open "$work/j/x" -- sysctl net/ipv4/ip_forward 1 -- \
	    sysctl net/ipv4/ip_local_port_range "1024 60000" -- undo &&
	    same_as "$work/before" &&
	    says "^sysctl value not allowed" open "$work/j/x" -- \
		sysctl net/ipv4/ip_local_port_range "9 bananas" -- close &&
	    says "range to 9 bananas: Invalid" open "$work/j/x" -- \
		sysctl net/ipv4/ip_local_port_range "9 bananas" &&
	    test ! -e "$work/j/x"
}

# Somebody set it to another value meanwhile: left, and said.
sysctl_of_others()
{
	hold_a open "$work/j/x" -- \
	    sysctl net/ipv4/ip_forward 1 -- \
	    sysctl net/ipv4/ip_default_ttl 70 -- wait &&
	    in_a sysctl -qw net.ipv4.ip_default_ttl=99 && die_hard &&
	    says "ip_default_ttl is left at 99.*\(it was 64\)" \
		open "$work/j/x" -- undo &&
	    in_a sysctl -qw net.ipv4.ip_default_ttl=64 &&
	    same_as "$work/before"
}

killed_then_undone()
{
	hold_a open "$work/j/x" -- sysctl net/ipv4/ip_forward 1 -- \
	    jrule 4 100 51820 7 0xff not - - -1 -- \
	    jrule 6 99 254 0 0 - - 2001:db8::/32 0 -- \
	    file /etc/resolv.conf "nameserver 10.0.0.1" -- \
	    fw ukai "$one" -- wait || return 1
	in_a grep -qx "nameserver 10.0.0.1" /etc/resolv.conf &&
	    rule_is 4 100 'has("not")' && rule_is 6 99 '.dstlen == 32' &&
	    says "^open in use" open "$work/j/x" && die_hard &&
	    not ruleset_has ukai && not same_as "$work/before" &&
	    says "^undo ok" open "$work/j/x" -- undo &&
	    same_as "$work/before" && test ! -e "$work/j/x"
}

# From outside, the namespace's own changes are not undone but named.
restore_elsewhere()
{
	hold_a open "$work/j/x" -- sysctl net/ipv4/ip_forward 1 -- \
	    jrule 4 100 51820 7 0xff not - - -1 -- \
	    file /etc/resolv.conf "nameserver 10.0.0.1" -- wait || return 1
	die_hard
	ip netns exec "$b" "$probe" open "$work/j/x" -- undo >"$work/said"
	cat "$work/said"
	test "$(grep -c "ip netns exec $a" "$work/said")" = 3 &&
	    says "^undo ok" open "$work/j/x" -- undo &&
	    same_as "$work/before"
}

# With /etc, /run and /usr/bin of our own ($0), then "$@".
mounts='mount --make-rprivate / && mount --bind "$0/etc" /etc &&
    mount --bind "$0/run" /run && mount --bind "$0/bin" /usr/bin &&
    exec "$@"'

private()
{
	in_a unshare -m sh -c "$mounts" "$work" "$probe" "$@"
}

hold_private()
{
	hold ip netns exec "$a" unshare -m sh -c "$mounts" "$work" \
	    "$probe" "$@"
}

# Look at what is in our /etc; compare with the look "before".
same_resolv()
{
	ls -l --time-style=+ "$work/etc" >"$work/etc.$1"
	cat "$work/etc/resolv.conf" >>"$work/etc.$1" 2>/dev/null
	test "$1" = before || diff "$work/etc.before" "$work/etc.$1"
}

# Set and cleared; then set, killed, undone.
resolv_cycle()
{
	same_resolv before
	private open "$work/j/d" -- dns a0 10.7.0.1 corp.example -- \
	    undns >"$work/said" || { cat "$work/said"; return 1; }
	same_resolv after || return 1
	hold_private open "$work/j/d" -- dns a0 10.7.0.1 corp.example -- \
	    wait || return 1
	grep -qx "nameserver 10.7.0.1" "$work/etc/resolv.conf" &&
	    grep -qx "search corp.example" "$work/etc/resolv.conf" &&
	    grep -q "^# .*ukai down" "$work/etc/resolv.conf" &&
	    test ! -L "$work/etc/resolv.conf" && die_hard &&
	    private open "$work/j/d" -- undo &&
	    same_resolv after
}

resolv_file()
{
	rm -f "$work/etc/resolv.conf"
	printf 'nameserver 192.0.2.53\n' >"$work/etc/resolv.conf"
	chmod 640 "$work/etc/resolv.conf"
	chown 65534:100 "$work/etc/resolv.conf"
	resolv_cycle
}

resolv_link()
{
	mkdir -p "$work/run/resolvconf"
	printf 'nameserver 192.0.2.53\n' >"$work/run/resolvconf/resolv.conf"
	ln -sf ../run/resolvconf/resolv.conf "$work/etc/resolv.conf"
	resolv_cycle && test -L "$work/etc/resolv.conf"
}

resolv_absent()
{
	rm -f "$work/etc/resolv.conf"
	resolv_cycle && test ! -e "$work/etc/resolv.conf"
}

# ip-netns(8) mounts over what a link points to: the link, which all
# namespaces share, must stay.
resolv_link_under_mount()
{
	printf 'nameserver 192.0.2.53\n' >"$work/run/resolvconf/mine"
	ln -sf ../run/resolvconf/resolv.conf "$work/etc/resolv.conf"
	in_a unshare -m sh -c 'mount --make-rprivate / &&
	    mount --bind "$0/etc" /etc && mount --bind "$0/run" /run &&
	    mount --bind /run/resolvconf/mine /etc/resolv.conf && "$1" open \
	    "$0/j/d" -- dns a0 10.7.0.1 - && cat "$0/run/resolvconf/mine" &&
	    "$1" open "$0/j/d" -- dns a0 10.7.0.1 - -- undns' \
	    "$work" "$probe" &&
	    test -L "$work/etc/resolv.conf" &&
	    grep -qx 'nameserver 192.0.2.53' \
		"$work/run/resolvconf/resolv.conf"
}

# systemd-resolved, played by a script that writes its arguments down.
resolved_stub()
{
	mkdir -p "$work/run/systemd/resolve"
	: >"$work/run/systemd/resolve/stub-resolv.conf"
	ln -sf ../run/systemd/resolve/stub-resolv.conf "$work/etc/resolv.conf"
	cp /bin/dash "$work/bin/sh" 2>/dev/null || cp /bin/sh "$work/bin/sh"
	printf '%s\n' '#!/usr/bin/sh' 'echo "$@" >>/run/asked' \
	    'test ! -e /run/refuse || { echo no thanks >&2; exit 1; }' \
	    >"$work/bin/resolvectl"
	chmod 755 "$work/bin/resolvectl"
	same_resolv before
	private open "$work/j/d" -- \
	    dns a0 10.7.0.1 corp.example -- undns || return 1
	same_resolv after || return 1
	printf '%s\n' 'dns a0 10.7.0.1' 'domain a0 ~. corp.example' \
	    'default-route a0 yes' 'revert a0' | diff - "$work/run/asked"
}

resolved_refuses()
{
	: >"$work/run/refuse"
	same_resolv before
	private open "$work/j/d" -- \
	    dns a0 10.7.0.1 corp.example -- undns >"$work/said"
	local r=$?
	cat "$work/said"
	grep -q "no thanks.*is replaced instead" "$work/said" &&
	    test "$r" = 0 && same_resolv after
}

# A gateway of each kind, none twice, and none of another table or prefix.
gateways()
{
	in_a ip route add default via 10.7.0.9 metric 5 &&
	    in_a ip route add default metric 6 \
		nexthop via 10.7.0.10 dev a0 nexthop via 10.7.0.11 dev a0 &&
	    in_a ip route add default via inet6 fe80::9 dev a0 metric 7 &&
	    in_a ip route add 198.51.100.0/24 via 10.7.0.12 &&
	    in_a ip route add default via 10.7.0.13 table 77 &&
	    in_a ip route add default dev a0 metric 9 &&
	    in_a ip -6 route add default via fe80::1 dev a0 metric 5 &&
	    in_a ip -6 route add default metric 6 \
		nexthop via fe80::2 dev a0 nexthop via 2001:db8:7::3 dev a0 &&
	    p gateways 100 | grep -v ok | sort >"$work/said" &&
	    printf '%s\n' 10.7.0.9 10.7.0.10 10.7.0.11 fe80::9 fe80::1 \
		fe80::2 2001:db8:7::3 | sort | diff - "$work/said" &&
	    test "$(p gateways 2 | grep -vc ok)" = 2
	local r=$?
	in_a ip route flush table 77
	in_a ip route del 198.51.100.0/24
	in_a sh -c 'while ip route del default; do :; done
	    while ip -6 route del default; do :; done' 2>/dev/null
	return "$r"
}

three='chain three { type filter hook output priority 0; ip daddr 192.0.2.3 drop; }'

# Killed: the table that is owned goes, and what stays does until the journal,
# or who comes next, says otherwise.
kept_stays()
{
	hold_a open "$work/j/t" -- jtable ukai-guard -- jtable ukai-guard -- \
	    count -- kept ukai "$one" ukai-guard "$two" -- wait || return 1
	grep -qx 1 "$work/held" && ruleset_has "192.0.2.1 drop" &&
	    ruleset_has "192.0.2.2 drop" && die_hard &&
	    not ruleset_has "192.0.2.1 drop" && ruleset_has "192.0.2.2 drop"
}

kept_replaced()
{
	hold_a kept ukai "$one" ukai-guard "$three" -- wait &&
	    ruleset_has "192.0.2.1 drop" && ruleset_has "192.0.2.3 drop" &&
	    not ruleset_has "192.0.2.2 drop" && die_hard &&
	    ruleset_has "192.0.2.3 drop"
}

# Both or neither, and each mistake is told with its own table and line.
kept_atomic()
{
	says "table inet ukai-guard, line 3 of its body: .*ip dadr 192.0.2.2" \
	    kept ukai "$one" ukai-guard "$broken" &&
	    says "table inet ukai, line 3 of its body: .*ip dadr 192.0.2.2" \
		kept ukai "$broken" ukai-guard "$two" &&
	    says "table inet ukai-guard, line 3 of its body" \
		kept - - ukai-guard "$broken" &&
	    says "^kept value" kept ukai "$one" "x; y" "$two" &&
	    ruleset_has "192.0.2.3 drop" && not ruleset_has "192.0.2.[12] drop"
}

kept_undone()
{
	ip netns exec "$b" "$probe" open "$work/j/t" -- undo >"$work/said"
	grep "table inet ukai-guard .*ip netns exec $a" "$work/said" &&
	    ruleset_has "192.0.2.3 drop" &&
	    says "^undo ok" open "$work/j/t" -- undo &&
	    same_as "$work/before" && test ! -e "$work/j/t"
}

# One alone, and both away again.
kept_alone()
{
	says "^kept ok" kept - - ukai-guard "$two" &&
	    ruleset_has "192.0.2.2 drop" &&
	    says "^kept ok" kept - - ukai-guard - &&
	    same_as "$work/before" &&
	    says "^kept ok" kept ukai "$one" ukai-guard - &&
	    same_as "$work/before"
}

kept_of_others()
{
	hold_a fw ukai-guard "$two" -- wait || return 1
	says "^kept in use" kept ukai "$one" ukai-guard "$three" &&
	    says "ukai-guard that is not ours" kept - - ukai-guard - &&
	    says "ukai-guard is left" open "$work/j/t" -- \
		jtable ukai-guard -- undo &&
	    ruleset_has "192.0.2.2 drop" && die_hard &&
	    says "^undo ok" open "$work/j/t" -- jtable ukai-guard -- undo &&
	    same_as "$work/before"
}

sets='set s { type ipv4_addr; size 3; }
set p { type ipv4_addr . inet_service; }
set i { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
counter c { packets 7 bytes 900 }
counter d { }
chain out {
	type filter hook output priority 0
	ip daddr { 192.0.2.7, 192.0.2.9 } drop
	ip daddr @s drop
}'

# elements_are LINE...: what the probe has told of a set.
elements_are()
{
	printf '%s\n' "$@" >"$work/want"
	sort "$work/want" | diff - <(grep -E '^[0-9a-f]+ ' "$work/said" | sort)
}

# After changes LIST... the probe lists the set s.
changes()
{
	local args=()
	for list; do
		args+=(-- elems ukai "$list")
	done
	p fw ukai "$sets" "${args[@]}" -- elements ukai s 9 >"$work/said"
}

elements_change()
{
	changes '+s=c0000201=www.example.jp +s=c0000202' \
	    '+s=c0000201=other +s=c0000203 -s=c0000202' &&
	    elements_are 'c0000201 www.example.jp' 'c0000203 -'
}

elements_gone()
{
	changes '+s=c0000201' '-s=c0000209' '+s=c0000202 -s=c0000209' \
	    '+s=c0000203 -s=c0000203 -s=c0000203 -s=c0000208' &&
	    elements_are 'c0000201 -' 'c0000202 -'
}

elements_full()
{
	not changes '+s=c0000201 +s=c0000202 +s=c0000203' '+s=c0000204' \
	    '-s=c0000201' '+s=c0000203 +s=c0000204 +s=c0000205' &&
	    test "$(grep -c '^elems limit reached' "$work/said")" = 2 &&
	    grep -q "s of inet ukai: the set is full" "$work/said" &&
	    elements_are 'c0000202 -' 'c0000203 -'
}

# One that cannot be takes the others along.
elements_atomic()
{
	not changes '+s=c0000201' '-s=c0000201 +s=c0000202 +p=01020304' \
	    '+s=c0000202 -nosuch=01020304' '+nosuch=c0000201 +s=c0000202' &&
	    test "$(grep -c '^elems ok' "$work/said")" = 1 &&
	    test "$(grep -c '^elems value' "$work/said")" = 1 &&
	    test "$(grep -c '^elems not found' "$work/said")" = 2 &&
	    elements_are 'c0000201 -'
}

elements_nft_reads()
{
	hold_a fw ukai "$sets" -- elems ukai \
	    '+p=0102030400350000=a"b +s=c0000201=www.example.jp' -- \
	    fw ukai "$sets" -- elems ukai '+s=c0000202=x +p=0102030400350000' \
	    -- wait || return 1
	in_a nft list set inet ukai s >"$work/said" &&
	    grep 'elements = { 192.0.2.2 comment "x" }' "$work/said" &&
	    in_a nft list set inet ukai p | grep '{ 1.2.3.4 . 53 }' && die_hard
}

tables_told()
{
	p fw ukai "$sets" -- sets ukai 9 -- counters ukai 9 -- \
	    elements ukai i 9 -- elements ukai p 9 >"$work/said" &&
	    test "$(grep -c '^set ' "$work/said")" = 3 &&
	    grep -x 'set p' "$work/said" &&
	    grep -x 'counter c 7 900' "$work/said" &&
	    grep -x 'counter d 0 0' "$work/said" && elements_are '0a000000 -' &&
	    p fw ukai "$sets" -- sets ukai 1 -- counters ukai 1 \
		>"$work/said" && test "$(grep -cE '^(set|counter) ' \
		"$work/said")" = 2 &&
	    says "^elements not found" elements nosuch s 9 &&
	    says "^elements not found" fw ukai "$sets" -- \
		elements ukai nosuch 9 &&
	    says "^sets not found" sets nosuch 9 &&
	    says "^counters not found" counters nosuch 9
}

# Beside 100,000 networks a change of one element is far below a millisecond,
# and thousands of them are one transaction.
elements_quick()
{
	{
		echo 'set big { type ipv4_addr; flags interval; elements = {'
		awk 'BEGIN { for (i = 0; i < 100000; i++) printf "%d.%d.%d.0/25,\n",
		    20 + i / 65536, i / 256 % 256, i % 256 }'
		echo '}; }'
		echo 'set s { type ipv4_addr; size 9000; }'
	} >"$work/big"
	p fw ukai "@$work/big" -- times ukai s -- fill ukai s 9000 + -- \
	    elements ukai s 99999 -- fill ukai s 9000 - -- \
	    fill ukai s 9000 - -- elements ukai s 9 >"$work/said" || {
		grep -v www "$work/said"
		return 1
	}
	test "$(grep -c www "$work/said")" = 9000 &&
	    test "$(grep -Ex '[0-9]+' "$work/said")" -lt 1000
}

# --- flows

redirect='table inet flows {
	chain marks {
		type filter hook prerouting priority mangle
		udp dport 53 ct mark set 0x100007
		tcp dport 53-54 ct mark set 0x200008
	}
	chain redirects {
		type nat hook prerouting priority dstnat
		meta l4proto { tcp, udp } th dport 53 redirect to :5353
	}
}'

flows_begin()
{
	ip -n "$b" addr add 10.7.0.1/24 dev b0 &&
	    ip -n "$b" addr add 2001:db8:7::1/64 dev b0 nodad &&
	    ip -n "$b" route add default via 10.7.0.2 &&
	    ip -n "$b" route add default via 2001:db8:7::2 &&
	    in_a nft "$redirect"
}

in_b()
{
	timeout 10 ip netns exec "$b" "$@"
}

f()
{
	timeout 10 ip netns exec "$a" "$flows" "$@"
}

f_says()
{
	local pattern=$1
	shift
	f "$@" >"$work/said" 2>&1
	cat "$work/said"
	grep -Eq -- "$pattern" "$work/said"
}

# original PROTO NUMBER SERVER CLIENT TO: a client of B calls TO, port 53, and
# our server, to whom that is redirected, knows; also who called it itself.
original()
{
	hold ip netns exec "$a" "$flows" server "$1" "$3" 5353 || return 1
	in_b "$flows" client "$1" "$4" 4000 "$5" 53 </dev/null &&
	    in_b "$flows" client "$1" "$4" 4001 "$3" 5353 </dev/null &&
	    until_true grep -q "^original.* 5353$" "$work/held"
	cat "$work/held"
	grep -qx "original $2 $4 4000 $5 53" "$work/held" &&
	    grep -qx "original $2 $4 4001 $3 5353" "$work/held" && stop
}

# Neither what is not there nor the first direction of another flow.
original_not_found()
{
	f_says "not found" times udp 10.7.0.2 5353 10.7.0.1 4009 &&
	    f_says "not found" times udp 10.7.0.1 4000 198.51.100.9 53 &&
	    f_says "not found" times tcp 10.7.0.2 5353 10.7.0.1 4002 &&
	    f_says "value not allowed" times 1 10.7.0.2 0 10.7.0.1 0 &&
	    f_says "value not allowed" times udp 10.7.0.2 53 2001:db8::1 40 &&
	    f_says '^[0-9]+$' times udp 10.7.0.2 5353 10.7.0.1 4000 &&
	    test "$(cat "$work/said")" -lt 1000
}

flows_listed()
{
	local udp='17 10.7.0.1 4000 198.51.100.9 53'
	local v6='17 2001:db8:7::1 4000 2001:db8:9::9 53'
	f_says "^flow $udp reply 17 10.7.0.2 5353 10.7.0.1 4000 mark 0x100007 answered$" \
	    list 4 0x100000 0xf00000 &&
	    test "$(f list 4 0x100000 0xf00000 | wc -l)" = 1 &&
	    f_says "^flow 6 10.7.0.1 4000 .* mark 0x200008" \
		list 4 0x200000 0xf00000 &&
	    f_says "^flow 6 10.7.0.1 4001 .* mark 0x0" list 4 0 0xffffffff &&
	    f_says "^flow $v6 .* mark 0x100007 answered$" list 6 7 0xf &&
	    not f_says 4000 list 4 0x300000 0xf00000 &&
	    test "$(f list 4 0 0 | wc -l)" -ge 4
}

flows_deleted()
{
	f delete udp 10.7.0.1 4000 198.51.100.9 53 &&
	    not f_says "^flow 17 10.7.0.1 4000" list 4 0 0 &&
	    f_says "^flow 17 10.7.0.1 4001" list 4 0 0 &&
	    f_says "not found" delete udp 10.7.0.1 4000 198.51.100.9 53 &&
	    f_says "value not" delete udp 10.7.0.1 4000 2001:db8::1 53 &&
	    f_says "value not" delete 0 10.7.0.1 4001 10.7.0.2 5353 &&
	    f delete udp 2001:db8:7::1 4000 2001:db8:9::9 53 &&
	    in_b ping -qc 1 -e 77 10.7.0.2 &&
	    f_says "^flow 1 10.7.0.1 77 10.7.0.2 2048 " list 4 0 0 &&
	    f delete 1 10.7.0.1 77 10.7.0.2 2048 &&
	    not f_says "^flow 1 " list 4 0 0 &&
	    f_says "^flow 17 10.7.0.1 4001" list 4 0 0
}

# A connection that is refused ends at once; datagrams by their time, which
# the kernel looks at when somebody asks.
flows_end()
{
	in_a sysctl -qw net.netfilter.nf_conntrack_udp_timeout=1
	hold ip netns exec "$a" "$flows" watch 0x200000 0xf00000 || return 1
	in_b "$flows" client tcp 10.7.0.1 4010 10.7.0.2 54 </dev/null
	in_b "$flows" client tcp 10.7.0.1 4011 10.7.0.2 55 </dev/null
	until_true grep -q "^ended" "$work/held"
	cat "$work/held"
	grep -q "^ended 6 10.7.0.1 4010 10.7.0.2 54 .* mark 0x200008" \
	    "$work/held" && not grep -q 4011 "$work/held" && stop || return 1
	hold ip netns exec "$a" "$flows" watch 7 0xf || return 1
	in_b "$flows" client udp 10.7.0.1 4012 198.51.100.9 53 </dev/null
	until_true sh -c 'ip netns exec "$0" "$1" list 4 0 0 >/dev/null
	    grep -q "^ended 17 10.7.0.1 4012 198.51.100.9 53 " "$2"' \
	    "$a" "$flows" "$work/held" && not grep -q 401[01] "$work/held" &&
	    stop
}

flows_no_permission()
{
	in_a setpriv --reuid 65534 --clear-groups "$flows" list 4 0 0 \
	    >"$work/said" 2>&1
	cat "$work/said"
	grep -q "CAP_NET_ADMIN is needed" "$work/said"
}

flows_done()
{
	in_a nft delete table inet flows
	in_a ip neigh flush all
	same_as "$work/before"
}

# --- the watcher that other tests use

# watched SIGHT COMMAND...: what leak_watch says on a0 while COMMAND runs in B.
watched()
{
	local want=$1
	shift
	hold ip netns exec "$a" "$leak_watch" a0 198.51.100.0/24:77 \
	    '[2001:db8:bad::/48]:77' 192.0.2.128/25 2001:db8:dead::/48 ||
	    return 1
	in_b "$@" || true
	kill "$held"
	wait "$held"
	echo "exit $?" >>"$work/held"
	cat "$work/held"
	grep -q "^$want" "$work/held"
}

# send_to ADDRESS PORT...: a datagram to each, from B.
send_to='import socket, sys
for to, port in zip(sys.argv[1::2], sys.argv[2::2]):
	family = socket.AF_INET6 if ":" in to else socket.AF_INET
	s = socket.socket(family, socket.SOCK_DGRAM)
	s.sendto(b"x", (to, int(port)))'
# A datagram of IPv4, to port 77, in IPv6 and in IPv4; with a fragment header.
nested='import socket, struct, sys
def v4(to, payload, protocol):
	return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64,
	    protocol, 0, socket.inet_aton("10.9.9.9"),
	    socket.inet_aton(to)) + payload
udp = struct.pack("!HHHH", 40, int(sys.argv[3]), 8, 0)
inner = v4(sys.argv[2], udp, 17)
if sys.argv[1] == "v4":
	s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 4)
	s.sendto(inner, ("10.7.0.2", 0))
elif sys.argv[1] == "fragment":
	s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 44)
	s.sendto(struct.pack("!BBHI", 4, 0, 1, 9) + inner, ("2001:db8:7::2", 0))
else:
	s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 4)
	s.sendto(inner, ("2001:db8:7::2", 0))'

leaks_seen()
{
	watched "1 leaks: 0 out, 1 in" python3 -c "$send_to" \
	    198.51.100.1 77 198.51.100.1 78 198.51.101.1 77 &&
	    grep -q "^in 10.7.0.1 [0-9]* > 198.51.100.1 77 protocol 17" \
		"$work/held" && grep -qx "exit 1" "$work/held" &&
	    watched "3 leaks: 0 out, 3 in" python3 -c "$send_to" \
		2001:db8:bad::1 77 2001:db8:bad::1 78 2001:db8:dead:1::1 9 \
		192.0.2.127 9 192.0.2.200 9 &&
	    watched "0 leaks" python3 -c "$send_to" 192.0.2.1 77 &&
	    grep -qx "exit 0" "$work/held"
}

leaks_inside()
{
	watched "1 leaks" python3 -c "$nested" v6 198.51.100.1 77 &&
	    grep -q "^in inside 10.9.9.9 40 > 198.51.100.1 77" "$work/held" &&
	    watched "0 leaks" python3 -c "$nested" v6 198.51.100.1 78 &&
	    watched "1 leaks" python3 -c "$nested" fragment 192.0.2.129 1 &&
	    watched "1 leaks" python3 -c "$nested" v4 192.0.2.129 1 &&
	    watched "0 leaks" python3 -c "$nested" v4 192.0.2.12 1
}

leaks_out()
{
	hold ip netns exec "$b" "$leak_watch" b0 198.51.100.9:77 || return 1
	in_b python3 -c "$send_to" 198.51.100.9 77
	kill "$held"
	not wait "$held" && grep -q "^1 leaks: 1 out, 0 in" "$work/held"
}

leaks_usage()
{
	for bad in 192.0.2.1/33 192.0.2.1:0 192.0.2.1:65536 192.0.2.1:x \
	    2001:db8::/129 '[2001:db8::1]:' '[2001:db8::1' 192.0.2 ''; do
		exits 2 in_a timeout 2 "$leak_watch" a0 "$bad" || return 1
	done
	exits 2 in_a timeout 2 "$leak_watch" a0 &&
	    exits 2 in_a timeout 2 "$leak_watch" nosuch 192.0.2.1
}

# --- the machine

if [ "$(id -u)" != 0 ] || ! command -v jq >/dev/null ||
    ! ip netns add "$a" 2>/dev/null; then
	echo "skip: needs root, network namespaces and jq"
	exit 77
fi
if ! in_a nft list ruleset >/dev/null 2>&1; then
	echo "skip: needs nftables"
	exit 77
fi
ip netns add "$b"
ip -n "$a" link add a0 type veth peer name b0 netns "$b"
ip -n "$b" link set b0 up
in_a sysctl -qw net.ipv6.conf.a0.addr_gen_mode=1
mkdir -p "/etc/netns/$a" "$work/etc" "$work/run" "$work/bin"
printf 'nameserver 192.0.2.53\nsearch before.example\n' \
    >"/etc/netns/$a/resolv.conf"
chmod 640 "/etc/netns/$a/resolv.conf"
chown 65534:100 "/etc/netns/$a/resolv.conf"
mkfifo "$work/stdin"
exec 9<>"$work/stdin"

check "links: index, up, down, MTU" links
check "addresses v4: with and without prefix route" addresses
check "address v6: usable at once" address_v6_at_once
check "routes in tables of their own, v4 and v6" routes
check "table_used sees rules and routes of both families" tables
check "rules as ip(8) sees them" rules
check "rules are removed" rules_go
check "rules of others are not removed" rule_of_others_stays
check "path: link, source, MTU, mark" paths
check "gateways of the default routes, both families" gateways
check "without the right: not permitted, and said" no_permission

dump >"$work/before"
check "nft: table appears" hold_a fw ukai "$one" -- wait
check "nft: owner flag keeps others off" fw_owned
check_not "nft: a second one is refused" p fw ukai "$two"
check "nft: after kill -9 ..." die_hard
check "nft: ... the table is gone" same_as "$work/before"
check "nft: replace, then a broken body" \
    hold_a fw ukai "$one" -- fw ukai "$two" -- fw ukai "$broken" -- wait
check "nft: the table from before the broken one holds" \
    ruleset_has "192.0.2.2 drop"
check_not "nft: and nothing of the first" ruleset_has "192.0.2.1"
check "nft: killed" die_hard
check "nft: a program we started does not keep the table" \
    hold_a fw ukai "$one" -- spawn /bin/sleep 5 -- wait
pids="$pids $(grep -Ex '[0-9]+' "$work/held")"
check "nft: killed, the other program lives" die_hard
check "nft: table gone" same_as "$work/before"
check "nft: a table of others is UK_EBUSY and stays" fw_of_others
check "nft: names" fw_name
check "nft: mistakes are told with line and words" fw_words

check "nft: killed, what has no owner stays" kept_stays
check "nft: the next one takes its place" kept_replaced
check "nft: both tables change or neither" kept_atomic
check "nft: the journal takes it away, in its namespace" kept_undone
check "nft: one table without the other" kept_alone
check "nft: one that somebody owns is left" kept_of_others
check "elements: added, removed, with comments" elements_change
check "elements: removing what is not there" elements_gone
check "elements: a full set" elements_full
check "elements: all or none" elements_atomic
check "elements: as nft reads them, also after another body" \
    elements_nft_reads
check "sets, elements and counters are told" tables_told
check "elements: quick beside 100,000 networks" elements_quick
check "nft: nothing is left" same_as "$work/before"

check "sysctl: set and undone" sysctls
check "sysctl: changed by somebody else is left" sysctl_of_others
check "all of it, kill -9, undone" killed_then_undone
check "restore in another namespace says where to go" restore_elsewhere
check "kill -9 at every system call" \
    p killeach "$work/j/k" /etc/resolv.conf
check "and nothing is left of that" same_as "$work/before"

check "dns: a file comes back with mode and owner" resolv_file
check "dns: a link comes back as the link" resolv_link
check "dns: nothing there, nothing there again" resolv_absent
check "dns: a mount over a link's target" resolv_link_under_mount
check "dns: systemd-resolved is asked by its own tool" resolved_stub
check "dns: refused by systemd-resolved, then by file" resolved_refuses
check "in the end as in the beginning" same_as "$work/before"

check "flows: begin" flows_begin
check "flows: where a redirected one was going, UDP" \
    original udp 17 10.7.0.2 10.7.0.1 198.51.100.9
check "flows: ... TCP" original tcp 6 10.7.0.2 10.7.0.1 198.51.100.9
check "flows: ... UDP of IPv6" \
    original udp 17 2001:db8:7::2 2001:db8:7::1 2001:db8:9::9
check "flows: ... TCP of IPv6" \
    original tcp 6 2001:db8:7::2 2001:db8:7::1 2001:db8:9::9
check "flows: only what began there, and quickly" original_not_found
check "flows: listed by mark" flows_listed
check "flows: one is deleted, and no other" flows_deleted
check "flows: their end is told" flows_end
check "flows: without the right" flows_no_permission
check "flows: nothing is left" flows_done

check "leak_watch: address, prefix and port" leaks_seen
check "leak_watch: in IPv6 and in IPv4" leaks_inside
check "leak_watch: outgoing" leaks_out
check "leak_watch: wrong use" leaks_usage

exit $failed
