#!/bin/bash
# 16-map-e: `ukai map-e show` on a host: which lines it is on, and which one it
# takes.
#
#    A  the host: e0 and e1, the lines' addresses, a default route by one
#
# One line of output for a check; exit 0 when all hold, 77 when the machine has
# no namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
ukai=$build/client/ukai
a=ukt16-$$-a
work=$(mktemp -d "/tmp/ukt16.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"

# shellcheck disable=SC2317,SC2329 # called by trap
cleanup()
{
	ip netns del "$a" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || skip "needs root"
ip netns add "$a" 2>/dev/null || skip "no network namespaces"
for link in e0 e1; do
	ip -n "$a" link add "$link" type veth peer "p$link" || exit 1
	ip -n "$a" link set "$link" up
	ip -n "$a" link set "p$link" up
done

# shellcheck disable=SC2317,SC2329 # called by exits, too
show()
{
	in_ns "$a" "$ukai" map-e show "$@"
}

# lines PREFIX... [OPTION...]: what --json says, in this order.
# shellcheck disable=SC2317,SC2329 # called by check
lines()
{
	local want=
	while [[ ${1-} == *:* ]]; do
		want+=${want:+$'\n'}"    \"ipv6_prefix\": \"$1\","
		shift
	done
	show --json "$@" >"$work/lines" && [ "$(grep ipv6_prefix "$work/lines")" = \
	    "$want" ] && [ "$(head -1 "$work/lines")" = "[" ]
}

# shellcheck disable=SC2317,SC2329 # called by check
says()
{
	show | grep -F -- "$1"
}

# shellcheck disable=SC2317,SC2329 # called by check
no_line()
{
	exits 1 show --json && grep -qx "\[\]" "$work/said" &&
	    grep -q "$1" "$work/said"
}

ocn=2400:4050:1:2300::/56
v6plus=240b:10:3f6c:d400::/56

check "no address: says so, exit 1, empty array" no_line "no global IPv6"
ip -n "$a" addr add 2001:db8::1/64 dev e0 nodad
check "no known line: says so, exit 1" no_line "no address of this host"
ip -n "$a" addr add 2400:4050:1:23ab::5/64 dev e0 nodad
check "one line, by the address of a LAN" lines "$ocn"
check "without a route nothing shows that it is in use" \
    says "2400:4050:1:23ab::5 on e0: packets to the BR do not leave"
ip -n "$a" addr add 240b:10:3f6c:d4ab::5/64 dev e1 nodad
check "two lines, none in use: in the kernel's order" lines "$ocn" "$v6plus"
ip -n "$a" route add default via fe80::1 dev e1
check "two lines: the one that packets to the BR leave by is first" \
    lines "$v6plus" "$ocn"
check "two lines: says why" \
    says "chosen by    240b:10:3f6c:d4ab::5 on e1: packets to the BR leave"
ip -n "$a" addr add 2400:4050:1:2300:99:f000:400:2300/128 dev e0 nodad
check "two lines: the one whose CE address is here is first" \
    lines "$ocn" "$v6plus"
check "two lines: says that, too" says "on e0: the line's CE address"
printf 'ipv6_rule_prefix,ipv4_prefix,ea_len\n2001:db8::/40,192.0.2.0/24,16\n' \
    >"$work/rules.csv"
# RFC 7598: a container with a rule (2001:db8::/40, 192.0.2.0/24, 16 EA bits)
# and a BR.
echo 005e 0025 0059 000d 00 10 18 c0000200 28 20010db800 005a 0010 \
    20010db8ffff00000000000000000001 >"$work/dhcp"
cut -c1-80 "$work/dhcp" >"$work/cut"
check "--rules: other rules, other lines" exits 0 show --rules "$work/rules.csv"
check "and what they say" grep -q "MAP-E line 2001:db8::/56" "$work/said"

check "--ipv6: one object" exits 0 show --json --ipv6 "$v6plus"
check "an unknown address: exit 1" exits 1 show --ipv6 2409:10::1
check "a prefix too short: exit 2" exits 2 show --ipv6 240b:10::/40
check "and how long it must be" grep -q "give a /56" "$work/said"
check "no address: exit 2" exits 2 show --ipv6 240b:10
check "IPv4: exit 2" exits 2 show --ipv6 192.0.2.1
check "an unknown word: exit 2" exits 2 in_ns "$a" "$ukai" map-e shwo
check "no word: exit 2" exits 2 in_ns "$a" "$ukai" map-e
check "and which one is missing" grep -q "takes one word: show" "$work/said"
check "one word too many: exit 2" exits 2 show "$v6plus"
check "--rules: an address of none of them: exit 1" \
    exits 1 show --rules "$work/rules.csv" --ipv6 "$v6plus"
check "and that the compiled-in ones were left out" \
    grep -q "Without --rules, the rules that are compiled in" "$work/said"
check "DHCPv6, in hexadecimal: another line" exits 0 show --dhcp "$work/dhcp"
check "and what it says" grep -q "MAP-E line 2001:db8::/56" "$work/said"
check "DHCPv6: an array, also where the line is none of its" \
    lines "$ocn" "$v6plus" --dhcp /dev/null
check "DHCPv6, cut short: counted, told" exits 0 show --dhcp "$work/cut" --json \
    --ipv6 "$ocn"
check "and which option" grep -q "option 94 is ignored: it is cut short" \
    "$work/said"
check "and how many" grep -q "cut: 1 DHCPv6 option made no sense" "$work/said"
check "--iid without --dhcp: exit 2" exits 2 show --iid rfc7597 --ipv6 "$ocn"
check "and why" grep -q -e "--iid is about rules by --dhcp" "$work/said"
printf 'ipv6_rule_prefix,ipv4_prefix,ea_len\n2001:db8::/100,192.0.2.0/24,30\n' \
    >"$work/rules.csv"
check "a wrong rule: exit 2" exits 2 show --rules "$work/rules.csv"
check "and where it is" grep -q "rules.csv:2:29: error: " "$work/said"
check "no such file: exit 2" exits 2 show --rules "$work/none"

exit $failed
