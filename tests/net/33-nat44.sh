#!/bin/bash
# shellcheck disable=SC2317,SC2329 # functions are called by name and by trap
#
# 33-nat44: strangers judge our NAPT: coturn's RFC 5780 client says what it is,
# and Linux's own NAT, on the same ports, is the measure of what it does.
#
#    lan --- gw (NAT) --- isp (border relay) --- srv
#
# Lines of tests/net/line: with our CE in gw, with the kernel's NAT, and with
# the strict one. tests/net/nat-scenario takes two of them through the same
# steps. The table below has for each step what ours does and what Linux does,
# and where these differ, why that is right. One line of output for a check;
# exit 0 when all hold, 77 when the machine lacks something.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=${here%/tests/net}
build=${UKAI_BUILD:-$root/build}
ukai=$build/client/ukai
python=/usr/bin/python3
ns=u33n$$
tun=u33$$
work=$(mktemp -d "/tmp/$ns.XXXXXX")
# shellcheck source=tests/net/checks
. "$here/checks"
# shellcheck source=tests/net/stun
. "$here/stun"
lines="a b c d e"
jobs=

line() { UKAI_LINE_PREFIX=$ns$1 timeout 60 "$here/line" "${@:2}"; }

# kept_to N CMD...: line a and its scenario on one processor, b on another.
kept_to()
{
	local cpus

	cpus=$(taskset -pc $$ | sed -e 's/.*: //' -e 's/[-,].*[-,]/ /' \
	    -e 's/[-,]/ /')
	case $1 in
	a) taskset -c "${cpus##* }" "${@:2}" ;;
	b) taskset -c "${cpus%% *}" "${@:2}" ;;
	*) "${@:2}" ;;
	esac
}

line_up()
{
	kept_to "$1" env UKAI_LINE_PREFIX="$ns$1" timeout 60 "$here/line" up \
	    "${@:2}"
}

cleanup()
{
	local pid n

	for pid in $jobs; do
		kill -9 "$pid" 2>/dev/null
	done
	for n in $lines; do
		line "$n" down &
	done
	wait
	rm -f "/var/run/wireguard/$tun"[ac].sock
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" = 0 ] || skip "not root"
[ -x "$ukai" ] || skip "no $ukai"
for tool in ip nft jq taskset "$python"; do
	command -v "$tool" >/dev/null || skip "no $tool"
done
[ -c /dev/net/tun ] || skip "no /dev/net/tun"

# step|what ours does|what Linux does, = for the same|why not the same
cat >"$work/table" <<'END'
tcp-open|passes, a port of the set|=
tcp-close|passes|=
tcp-fin-again|passes|=
tcp-again|passes|=
tcp-mss|1420 and 1420|1460 and 1460|RFC 7597 8.3.1: nothing is to fragment
tcp-half-open|passes|=
tcp-simultaneous|passes|=
tcp-reset|passes|=
tcp-after-reset|passes|=
tcp-after-reset-later|passes|dropped at step 1|N8: it lives on
tcp-reset-alone|passes|=
tcp-reset-later|passes|dropped at step 1|N8, RFC 7857 2.2: 4 minutes, not 10 s
syn-free-port|silence|=
syn-port-of-other|silence|=
syn-other-remote-port|silence|=
tcp-middle|passes|=
tcp-stray-ends|dropped|=
tcp-mapping|dependent|=
tcp-preserved|no|where it can be|N6, RFC 6056: always at random
tcp-spread|500 over 15 ranges evenly|=
tcp-one-destination|240 flows, 240 ports|=
tcp-241st|silence|=
tcp-reuse|240 flows, 240 ports|=
tcp-full-reset|passes|=
tcp-full-later|passes|=
udp-mapping|independent|dependent|RFC 4787 REQ-1
udp-mapping-443|independent|dependent|RFC 4787 REQ-1
udp-same|passes|=
udp-other-port|passes|dropped|RFC 4787 REQ-8: by address, not by port
udp-other-address|dropped|=
udp-free-port|dropped|=
udp-unsummed|kept|=
udp-well-known|400 of 400|=
udp-one-host|180 of 300|300 of 300|RFC 4787 REQ-3; N9: 3/4 of the ports
udp-all-hosts|every port once|300 of 300|RFC 4787 REQ-3: a port for each
udp-full-others|passes|=
icmp-echo|passes, an id of the set|=
icmp-two-hosts|two ids|=
icmp-echo-in|silence|=
error-unreachable|translated|=
error-goes-on|passes|=
error-tcp|translated, passes|=
error-ttl-router|translated|=
error-echo|translated|=
error-too-big|MTU 1300|=
error-mtu-absurd|MTU 576|MTU 100|N7: a forged one makes TCP crawl
error-wrong-sum|dropped|=
error-quote-sum|dropped|passes|RFC 5508 REQ-3 a
error-no-flow|dropped|=
error-out-host|translated|=
error-out-router|translated|=
error-out-no-flow|dropped|=
ttl-ends|told|=
df-1480|told 1460|passes|RFC 7597 8.3.1: this line has 1460, Linux's 1500
hairpin|passes, by the outside address|dropped|RFC 4787 REQ-9
other-protocol|dropped|=
foreign-source|dropped|=
real-one-destination|100 unharmed, 100 ports of the set|=
real-destinations|300 unharmed, 300 ports of the set|=
real-half-close|goes on|=
real-resets|reset, reset|=
real-refused|Connection refused|=
real-udp-refused|Connection refused|=
real-udp-long|passes|=
END

# --- lines -----------------------------------------------------------------

# Our program, in gw of line N.
ukai_at()
{
	kept_to "$1" timeout 30 ip netns exec "$ns$1-gw" env \
	    UKAI_RUN_DIR="$work/$1" UKAI_STATE_DIR="$work/$1" "$ukai" "${@:2}"
}

# our_line N: a line with our CE in gw.
our_line()
{
	local conf=$work/$1/$tun$1.conf

	line_up "$1" --ce self --ce-host gw || return
	mkdir -p "$work/$1"
	line "$1" rules >"$work/$1/line.csv"
	cat >"$conf" <<-END
	[Interface]
	PrivateKey = $("$ukai" genkey)
	Address = 10.66.0.2/32
	[MapE]
	Mode = self
	Rules = $work/$1/line.csv
	Networks = 192.168.24.0/24
	END
	chmod 600 "$conf"
	ukai_at "$1" up -c "$conf" && until_true ping_ok "$1"
}

ping_ok()
{
	timeout 5 ip netns exec "$ns$1-lan" ping -q -c 1 -W 1 198.51.100.10
}

check "a line with our CE" our_line a
check "a line with the kernel's NAT" line_up b --gateway linux
check "for coturn, our CE" our_line c
check "for coturn, the kernel's NAT" line_up d --gateway linux
check "for coturn, the strict one" line_up e --gateway strict
[ $failed = 0 ] || exit 1

# --- scenario and coturn, at the same time --------------------------------

# In a folder of its own, as the server's files are called.
judge()
{
	work=$work/stun-$1
	mkdir -p "$work"
	stun_server_start "$ns$1-srv" 198.51.100.10 198.51.100.11 || return
	stun_judgement "$ns$1-lan" 198.51.100.10 192.168.24.101
	stun_server_stop
}

scenario()
{
	kept_to "$1" timeout 60 "$python" "$here/nat-scenario" "$ns$1" ||
		echo "it ended: $?"
}

for n in a b; do
	scenario $n >"$work/said-$n" 2>&1 &
	jobs="$jobs $!"
done
if stun_needed; then
	for n in c d e; do
		judge $n >"$work/judged-$n" 2>&1 &
		jobs="$jobs $!"
	done
fi
# shellcheck disable=SC2086 # one word for each
wait $jobs
jobs=

# --- the verdict -----------------------------------------------------------

if stun_needed; then
	same "RFC 5780: ours" "$(cat "$work/judged-c")" \
"mapping=endpoint-independent
filtering=address-dependent"
	same "RFC 5780: Linux" "$(cat "$work/judged-d")" \
"mapping=address-and-port-dependent
filtering=address-and-port-dependent"
	same "RFC 5780: the strict one" "$(cat "$work/judged-e")" \
"mapping=endpoint-independent
filtering=address-dependent"
else
	echo "# no coturn: no judgement by RFC 5780"
fi

# said N STEP
said() { awk -F '\t' -v step="$2" '$1 == step { print $2 }' "$work/said-$1"; }

while IFS='|' read -r step ours linux why; do
	[ "$linux" != = ] || linux=$ours
	same "$step: ours: $ours" "$(said a "$step")" "$ours"
	same "$step: Linux: $linux${why:+ ($why)}" "$(said b "$step")" "$linux"
done <"$work/table"
for n in a b; do
	same "no other step" "$(cut -f1 "$work/said-$n" | sort)" \
	    "$(cut -d'|' -f1 "$work/table" | sort)"
done

# stat_of N KEY
stat_of() { line "$1" stats | awk -F= -v key="$2" '$1 == key { print $2 }'; }

# Linux lets through as they are: three ends of no connection, GRE, and a source
# that no rule names.
same "of ours the border relay had to drop nothing" "$(stat_of a up_drops)" 0
check "of Linux's five or more" [ "$(stat_of b border_drops)" -ge 5 ]

# The scenario's drops by reason. host-limit and no-port: what udp-one-host and
# udp-all-hosts lack, and the 241st.
drops() { ukai_at a status --json | jq -c ".tunnels[0].map_e.drops |
    [.protocol, .checksum, .icmp, .ttl, .filtered, .\"no-session\",
    .\"host-limit\", .\"no-port\"]"; }
same "our drops are counted by reason" "$(drops)" "[1,1,3,1,4,6,120,246]"
exit $failed
