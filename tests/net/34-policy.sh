#!/bin/bash
# shellcheck disable=SC2154,SC2317,SC2329 # functions are called by name and by trap
#
# 34-policy: ukai up with a policy, seen from outside.
#
# Its namespaces are drawn in policy-lib. One line of output for a check; exit 0
# when all hold, 77 when the machine lacks something.
set -u

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=policy-lib
. "$here/policy-lib" 34
native6=2001:db8:1::10

begin wg nft jq curl dig conntrack
cat >"$work/zone" <<EOF
backup.example A 198.51.100.2
backup.example AAAA 2001:db8:9::2
www.example A 198.51.100.3
www.example AAAA 2001:db8:9::3
alias.example CNAME deep.cloud.example
deep.cloud.example A 198.51.100.4
shared-a.example A 198.51.100.5
dns.google A 198.51.100.9
resolver.example A 192.0.2.1
shared-b.test A 198.51.100.5
evil.backup.example A 192.168.24.10
EOF
check "the relay starts" start_relay
check "the servers start" start_servers
check "the DNS server starts" start_dns
by "before: native" 198.51.100.1 $native
dump >"$work/before"

# ---- a file that does not hold ----

rules 'DOMAN,backup.example,tunnel' 'IP-CIDR,10.0.0.0/33,native'
conf
check "a bad policy: refused" exits 2 on_pc "$ukai" up -c "$work/$tun.conf"
check "a bad policy: both lines are told" grep -q "rules:1:1:.*DOMAIN" "$work/said"
check "a bad policy: and the second" grep -q "rules:2:9:" "$work/said"
dump >"$work/after"
check "a bad policy: nothing has changed" diff "$work/before" "$work/after"

# ---- by address, by name, by program ----

rules '# office' 'IP-CIDR,198.51.100.1/32,native' \
    'DOMAIN-SUFFIX,backup.example,tunnel!' \
    'DOMAIN-SUFFIX,shared-a.example,tunnel' \
    'DOMAIN-SUFFIX,shared-b.test,native' \
    'DOMAIN-SUFFIX,cloud.example,tunnel' \
    'IP-CIDR,198.51.100.6/32,tunnel!,dport=443' \
    'IP-CIDR,198.51.100.7/32,block' 'IP-CIDR,198.51.100.8/32,tunnel' \
    'PROCESS-NAME,ukt34prog,tunnel' 'DOMAIN,resolver.example,block' \
    'DEFAULT,native'
check "up" up
by "by address: native" 198.51.100.1 $native
by "by address: tunnel, its source right from the first packet" \
    198.51.100.8 $tunnel
by "by address and port: tunnel!" 198.51.100.6 $tunnel "$pc" 443
by "by address, another port: native" 198.51.100.6 $native
by "block: refused" 198.51.100.7 "$refused"
by "by name, the first connection: tunnel!" backup.example $tunnel
by "by name: no rule: native, IPv6 as well" www.example $native6
by "by name, where a CNAME leads" alias.example $tunnel
by "an address of two names: one is known" shared-b.test $native
by "an address of two names: the earlier rule, both known" \
    shared-a.example $tunnel
by "an address of two names: it stays so" shared-b.test $tunnel
same "an address of two names: explain of one knows the other" "$(on_pc \
    "$ukai" policy explain "$work/office.rules" shared-b.test:80 --json |
    jq -c '[.target,.line]')" '["tunnel",4]'
check "an address of two names: status says so" \
    test "$(json '.collisions[0].lines')" = "[4,5]"
same "IPv6 of tunnel! has no address (R8)" \
    "$(on_pc dig +short +tries=2 AAAA backup.example)" ""
same "a name's IPv4 is told as it is" \
    "$(on_pc dig +short A backup.example)" 198.51.100.2
same "a private address of such a name is not" \
    "$(on_pc dig +short A evil.backup.example)" ""
by "IPv6 of an address that tunnel! is not about: native" \
    2001:db8:9::1 $native6
cp /usr/bin/curl "$work/ukt34prog"
same "by program" "$(on_pc timeout 5 "$work/ukt34prog" -s --http0.9 \
    -m 2 http://198.51.100.9:8080/ | head -1)" $tunnel
same "another program" "$(on_pc timeout 5 curl -s --http0.9 \
    -m 2 http://198.51.100.9:8080/ | head -1)" $native
same "ukai run" "$(on_pc "$ukai" run -- timeout 5 curl -s --http0.9 -m 2 \
    http://198.51.100.9:8080/ | head -1)" $tunnel
same "ukai run, where it is process 1" "$(on_pc unshare --pid --fork \
    "$ukai" run -- timeout 5 curl -s --http0.9 -m 2 \
    http://198.51.100.9:8080/ | head -1)" $tunnel
by "the LAN: by address" 198.51.100.8 $tunnel "$lan"
by "the LAN: native" 198.51.100.1 192.168.24.10 "$lan"
by "the LAN: by name" backup.example $tunnel "$lan"
by "the LAN: block" 198.51.100.7 "$refused" "$lan"
check "hits: a rule's flows are counted" \
    test "$(json '.rules[] | select(.line == 9) | .flows')" -ge 2
check "hits: and its bytes" \
    test "$(json '.rules[] | select(.line == 9) | .bytes')" -gt 300
same "explain says the same" "$(on_pc "$ukai" policy explain \
    "$work/office.rules" 198.51.100.6:443 --json | jq -c '[.target,.line]')" \
    '["tunnel!",7]'

# ---- DNS that is not seen ----

same "a resolver that browsers ask over HTTPS: not asked for yet" \
    "$(json .dns.encrypted)" 0
on_pc dig +short +tries=1 A dns.google >/dev/null
check "it is looked up: the log says so" \
    until_true grep -q "a program looks up dns.google" "$work/up.out"
same "and status" "$(json '.dns.encrypted_name')" '"dns.google"'

by "the DNS server itself is blocked by name" resolver.example "$refused"
by "and still asked" www.example $native6

# ---- who asks, and does not wait for the answer ----

on_rt nft -f - <<EOF
table inet heard {
	counter errors {
	}
	chain in {
		type filter hook input priority filter; policy accept;
		icmp type destination-unreachable counter name errors
	}
}
EOF
asks_and_goes() # NS
{
	timeout 10 ip netns exec "$1" /usr/bin/python3 -c '
import socket
q = b"\0\1\1\0\0\1\0\0\0\0\0\0\6backup\7example\0\0\1\0\1"
for wait in False, True:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.sendto(q, ("192.0.2.1", 53))
    if wait:
        s.recv(512)
    s.close()'
}
check "who asks and goes" asks_and_goes "$pc"
check "the LAN: who asks and goes" asks_and_goes "$lan"
same "the answer is not sent back to the line's server" \
    "$(on_rt nft list counter inet heard errors | grep -o 'packets [0-9]*')" \
    "packets 0"
on_rt nft delete table inet heard

# ---- a firewall of the gateway's own ----

on_pc nft -f - <<EOF
table inet theirs {
	chain in {
		type filter hook input priority filter; policy accept;
		iifname lan0 drop
	}
}
EOF
asked_in_vain()
{
	timeout 10 ip netns exec "$lan" dig +tries=1 +time=1 A www.example \
	    >/dev/null
	grep -q "ct original proto-dst 53" "$work/up.out"
}
check "the LAN's DNS is dropped: said, and what to do" \
    until_true asked_in_vain
check "the LAN's DNS is dropped: status" test "$(json .dns.lan_blocked)" = true
on_pc nft delete table inet theirs

# ---- reload ----

mkfifo "$work/in"
on_pc /usr/bin/python3 -c '
import socket, sys, time
s = socket.create_connection(("198.51.100.9", 80), 5)
f = s.makefile("rw")
print(f.readline().strip(), flush=True)
for line in sys.stdin:
    f.write(line); f.flush()
    print(f.readline().strip(), flush=True)' <"$work/in" >"$work/long" 2>&1 &
exec 7>"$work/in"
check "a long connection begins" until_true grep -q $native "$work/long"
hits=$(json '.rules[] | select(.line == 9) | .flows')
sed -i '$d' "$work/office.rules"
echo 'IP-CIDR,198.51.100.9/32,tunnel' >>"$work/office.rules"
echo 'DEFAUL,native' >>"$work/office.rules"
check "a bad file: reload refuses it" exits 2 on_pc "$ukai" policy reload "$tun"
check "a bad file: why" grep -q "office.rules:13:1:" "$work/said"
cp "$work/office.rules" "$work/whole.rules"
: >"$work/office.rules"
check "a file cut to nothing: reload refuses it" \
    exits 2 on_pc "$ukai" policy reload "$tun"
cp "$work/whole.rules" "$work/office.rules"
by "a bad file: the old rules hold" 198.51.100.9 $native
sed -i 's/DEFAUL,/DEFAULT,/' "$work/office.rules"
on_pc "$ukai" policy reload "$tun" >/dev/null &
check "reload, while another one runs" on_pc "$ukai" policy reload "$tun"
check "reload, while another one runs: that one" wait $!
by "reload: the new rule holds" 198.51.100.9 $tunnel
echo still >&7
check "reload: the long connection goes on" until_true \
    grep -q still "$work/long"
exec 7>&-
check "reload: counters of unchanged rules go on" \
    test "$(json '.rules[] | select(.line == 9) | .flows')" -ge "$hits"
by "reload: names hold from the first packet" 198.51.100.2 $tunnel

# ---- the relay is gone, and comes back ----

watch_leaks 198.51.100.2 198.51.100.6:443 2001:db8:9::2
line_cuts
check "no relay: known in 3 s" within 3 is_live false
by "no relay: tunnel is native" 198.51.100.8 $native
by "no relay: tunnel! is refused at once" 198.51.100.6 "$refused" "$pc" 443
by "no relay: by name, too" backup.example "$refused"
by "no relay: for the LAN, too" 198.51.100.6 "$refused" "$lan" 443
line_heals
check "the relay is back" answers
by "the relay is back: tunnel" 198.51.100.8 $tunnel
by "the relay is back: tunnel!" 198.51.100.6 $tunnel "$pc" 443

# ---- killed, again and again, while somebody calls ----

hammer()
{
	while [ ! -e "$work/enough" ]; do
		calls "$pc" 198.51.100.6 443
		calls "$pc" 198.51.100.2
		calls "$lan" 198.51.100.6 443
	done >"$work/hammer" 2>&1
}
hammer &
hammer_pid=$!
for i in 1 2 3 4; do
	sleep 0.$((RANDOM % 10))
	kill_nine
	same "killed ($i): DNS works as before" \
	    "$(on_pc dig +short +tries=2 +time=2 A www.example)" 198.51.100.3
	same "killed ($i): what names tunnel! has is refused" \
	    "$(calls "$pc" backup.example)" "$refused"
	same "killed ($i): tunnel is native" "$(calls "$pc" 198.51.100.8)" $native
	if [ "$i" = 2 ]; then
		check "restore --keep-guard" on_pc "$ukai" restore \
		    --keep-guard "$tun"
		same "restore --keep-guard: still refused" \
		    "$(calls "$pc" backup.example)" "$refused"
	fi
	check "killed ($i): up again" up
	on_pc "$ukai" policy reload "$tun" >/dev/null
done
touch "$work/enough"
wait $hammer_pid
check "somebody has called meanwhile" test "$(wc -l <"$work/hammer")" -ge 12
check "R8: nothing of it was seen on the line" no_leaks
kill_nine
check "restore" on_pc "$ukai" restore "$tun"
by "restored: nothing is refused any more" 198.51.100.6 $native "$pc" 443
dump >"$work/after"
check "restored: the host is as it was" diff "$work/before" "$work/after"

# ---- the line's ports run out ----

# Those before hold ports for their time, too.
on_pc conntrack -F >/dev/null 2>&1
on_pc sysctl -q -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=2
rules 'IP-CIDR,198.51.100.6/32,tunnel!,dport=443' 'PORTS-LEFT,<10,tunnel' \
    'DEFAULT,native'
conf 'Ports = 30'
check "ports: up" up
cat >"$work/many.py" <<'EOF'
import collections, socket, sys
held, seen = [], collections.Counter()
for i in range(60):
    # Each from a port of its own, that nobody is given: else two count
    # as one.
    s = socket.create_connection(("198.51.100.%d" % (1 + i % 9), 80), 5,
                                 ("", 20000 + i))
    seen[s.makefile().readline().strip()] += 1
    held.append(s)
print(seen["192.0.2.10"], seen["203.0.113.1"])
EOF
same "ports: 21 of 30 are used, the rest spills, nobody fails" \
    "$(on_pc /usr/bin/python3 "$work/many.py")" "21 39"
check "ports: and are had back" until_true sh -c \
    "[ \"\$(ip netns exec $pc $ukai status --json |
	jq '.tunnels[0].policy.ports.used_tcp')\" -lt 21 ]"

# ---- what runs at the end ----

cat >"$work/talk.py" <<'EOF'
import os, socket, sys, time
s = socket.create_connection(("198.51.100.6", 443), 5)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.connect(("198.51.100.6", 443))
def ask():
    try:
        u.send(b"?")
    except OSError:
        pass
    time.sleep(0.05)
ask()
print(s.recv(100).decode().strip(), flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
try:
    while True:
        ask()
        s.send(b"?")
except OSError:
    print("ended", flush=True)
while True:
    ask()
EOF
on_pc /usr/bin/python3 "$work/talk.py" "$work/down" >"$work/talk" 2>&1 &
talk_pid=$!
timeout 60 ip netns exec "$lan" /usr/bin/python3 "$work/talk.py" "$work/down" \
    >"$work/lan-talk" 2>&1 &
lan_talk_pid=$!
check "the end: a connection of tunnel!" eventually 5 \
    grep -q "^$tunnel" "$work/talk"
check "the end: one of the LAN" eventually 5 grep -q "^$tunnel" "$work/lan-talk"
on_rt nft -f - <<EOF
table inet seen {
	counter astray {
	}
	counter clear {
	}
	chain line {
		type filter hook prerouting priority raw;
		iifname line ip saddr 10.66.0.0/24 counter name astray
		iifname line ip saddr 192.0.2.10 ip daddr 198.51.100.6 meta l4proto tcp counter name clear
	}
}
EOF
seen()
{
	on_rt nft -j list counter inet seen "$1" |
	    jq '.nftables[] | .counter? // empty | .packets'
}
check "down" down
touch "$work/down"
check "down: tunnel!'s connection ends" eventually 2 grep -q ended "$work/talk"
sleep 0.5
kill $talk_pid $lan_talk_pid 2>/dev/null
wait $talk_pid $lan_talk_pid 2>/dev/null
same "down: nothing has the tunnel's address on the line (R8)" "$(seen astray)" 0
same "down: nothing of this host's connection is there (R8)" "$(seen clear)" 0
dump >"$work/after"
check "down: the host is as it was" diff "$work/before" "$work/after"
exit $failed
