#!/bin/bash
# shellcheck disable=SC2016,SC2317 # sh -c texts; functions called by name
#
# 12-host: what ukai changes on a host, with the kernel as the judge, and
# whether all of it goes away again, also after kill -9.
#
#    A (veth a0) --- (veth b0) B       B only gives a0 a carrier
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# has no namespaces, no nftables or no jq.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
probe=${UKAI_PROBE:-${UKAI_BUILD:-$root/build}/tests/ukai-test-host-probe}
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

exit $failed
