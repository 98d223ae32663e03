#!/bin/bash
# shellcheck disable=SC2317 # functions are called through check()
#
# 60-bench: does tests/bench/run measure, report and clean up, on each of its
# networks, and do the programs ukai-bench-*? One short round of what needs no
# packages beside the tests' own. Its numbers are not judged.
#
# One line of output for a check; exit 0 when all hold, 77 when the machine
# cannot make namespaces.
set -u

here=$(cd "$(dirname "$0")" && pwd)
bench=${here%/net}/bench/run
export UKAI_BUILD=${UKAI_BUILD:-${here%/tests/net}/build}
work=$(mktemp -d /tmp/ukb60.XXXXXX)
# shellcheck source=tests/net/checks
. "$here/checks"
pid=

cleanup()
{
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	[ -z "$pid" ] || wait "$pid" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

run()
{
	timeout 120 "$bench" --no-install --rounds 1 --seconds 1 \
		--out "$work/results" "$@"
}

said()
{
	grep -E "$1" "$work/said"
}

# value PEER METRIC: it was measured, and is more than nothing.
value()
{
	awk -F '\t' -v peer="$1" -v metric="$2" '
		$3 == peer && $4 == metric { value = $5; print }
		END { exit value + 0 <= 0 }' "$work/results/results.tsv"
}

# What a measurement that was ended in the middle left behind.
nothing_left()
{
	local _
	for _ in $(seq 50); do
		grep -lzs "^UKB60=$work" /proc/[0-9]*/environ >"$work/left" ||
			return 0
		sleep 0.1
	done
	cat "$work/left"
	return 1
}

measuring()
{
	grep -q tcp-there "$work/results/results.tsv" 2>/dev/null
}

# ended SIGNAL: in the middle of a run.
ended()
{
	local _
	rm -f "$work/results/results.tsv"
	UKB60=$work "$bench" --no-install --rounds 9 --seconds 1 \
		--out "$work/results" --measures tcp-there,rtt-idle ukai \
		>"$work/said" 2>&1 &
	pid=$!
	for _ in $(seq 150); do
		! measuring || break
		sleep 0.1
	done
	measuring || return
	kill "-$1" "$pid"
	wait "$pid"
	pid=
	nothing_left
}

exits 0 run --measures udp raw >"$work/out" ||
	{ grep -q 'no namespaces\|no /dev/net/tun\|as root' "$work/said" &&
		echo "skipped: $(tail -n 1 "$work/said")" && exit 77; }

check "without a tunnel: udp" value raw udp
check "a wrong option: exit 2" exits 2 run --bogus
check "and a sentence" said "unknown option '--bogus'"
check "a peer that does not exist: exit 2" exits 2 run nobody
check "a measure that does not exist: exit 2" exits 2 run --measures speed
check "no rounds: exit 2" exits 2 run --rounds 0
check "a table of nothing: exit 2" exits 2 run --table "$work/none"
mkdir -p "$work/foreign/log"
touch "$work/foreign/log/kept"
check "a folder with other things in it: exit 2" \
	exits 2 run --out "$work/foreign" raw
check "they stay" test -e "$work/foreign/log/kept"

measures=tcp-there,crr,rtt-idle,rss
check "a round" exits 0 run --measures $measures ukai wireguard-go
for peer in ukai wireguard-go; do
	for metric in ${measures//,/ } tcp-there-cpu; do
		check "$peer: $metric" value $peer "$metric"
	done
done
check "a table" said '^\| ukai \| [0-9]+ / – \| [0-9.]+ / '
check "and the ratios" said '^\| wireguard-go \| 1.00 / – '
check "the table again" exits 0 run --table "$work/results"
check "it is there" said '^\| ukai \| [0-9]+ / – \| [0-9.]+ / '
check "goals of which most are not measured: exit 1" \
	exits 1 run --table "$work/results" --goals
check "they are named" said '^\| UDP \| >= 2.5 x wireguard-go \| – \| – \| missing'

export WIREGUARD_GO=/bin/false
check "a peer that does not start: exit 1" \
	exits 1 run --measures rtt-idle raw wireguard-go-new
check "it is named" said '^Failed: offload, wireguard-go-new: start'
check "with its log" said "$work/results/log/1-offload-wireguard-go-new-start"
check "what else was asked for is measured" value raw rtt-idle
check "a table with goals of too few rounds: exit 1" \
	exits 1 run --table "$work/results" --goals
unset WIREGUARD_GO
underlay=plain
command -v ethtool >/dev/null || underlay=offload # not one of the tests' own
check "an underlay: $underlay" \
	exits 0 run --underlay $underlay --measures rtt-load ukai
for metric in rtt-load rtt-load-p95; do
	check "ukai: $metric" value ukai $metric
done
check "ukai up and ukai-relay" exits 0 run --product
for metric in tcp-there tcp-back rss-client rss-relay; do
	check "product: $metric" value product $metric
done
check "its table" said '^\| product \| [0-9]+ / [0-9]+ \| [0-9.]+ / '
check "two clients on two workers" exits 0 run --hub
for metric in clients-ratio workers-ratio; do
	check "hub: $metric" value hub $metric
done
check "ukai up as the CE of a MAP-E line" \
	exits 0 run --map-e --measures tcp-there,tcp-back
for metric in tcp-there tcp-back tcp-there-cpu; do
	check "ce: $metric" value ce $metric
done
check "its table" said '^\| ratio to bare '
for program in aead handshake lanes peers vnet; do
	check "ukai-bench-$program" exits 0 \
		timeout 60 "$UKAI_BUILD/tests/ukai-bench-$program" 1
done
for signal in TERM KILL; do
	check "ended by SIG$signal, it leaves nothing" ended $signal
done
exit $failed
