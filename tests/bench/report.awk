# report.awk: from results.tsv, whose lines are NETWORK ROUND PEER METRIC VALUE,
# what -v mode says:
#
#   tables  Markdown: medians, and ratios to -v baseline
#   goals   Markdown: the goals and what was reached; exit 1: not all. What was
#           not measured in each of -v rounds is missing
#   plot    for each peer of the first network a line: name, TCP there, back,
#           CPU there, back

$5 == "failed" {
	failures[$1 ", " $3 ": " $4]++
	next
}

{
	if (!($1 in networks)) {
		networks[$1] = ++n_networks
		network[n_networks] = $1
	}
	if (!(($1, $3) in known)) {
		known[$1, $3] = 1
		peer[$1, ++n_peers[$1]] = $3
	}
	note($1, $3, $4, $2, $5 + 0)
}

function note(net, who, metric, round, v)
{
	value[net, who, metric, round] = v
	count[net, who, metric]++
	if (round > last_round)
		last_round = round + 0
}

# Of all rounds; "" when there is nothing.
function median(net, who, metric,	n, i, j, t, v)
{
	for (i = 1; i <= last_round; i++) {
		if (!((net, who, metric, i) in value))
			continue
		n++
		t = value[net, who, metric, i]
		for (j = n; j > 1 && v[j - 1] > t; j--)
			v[j] = v[j - 1]
		v[j] = t
	}
	if (!n)
		return ""
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

# To the baseline's median; "" when one of the two is missing.
function ratio(net, who, metric, base,		a, b)
{
	a = median(net, who, metric)
	b = median(net, base, metric)
	return a == "" || b == "" || b == 0 ? "" : a / b
}

# column TITLE, METRIC[ METRIC], FORMAT
function column(title, metrics, format)
{
	titles[++n_columns] = title
	metrics_of[n_columns] = metrics
	formats[n_columns] = format
}

function has(net, c,	m, n, i, j)
{
	n = split(metrics_of[c], m, " ")
	for (i = 1; i <= n; i++)
		for (j = 1; j <= n_peers[net]; j++)
			if (count[net, peer[net, j], m[i]])
				return 1
	return 0
}

function shown(v, format)
{
	return v == "" ? "–" : sprintf(format, v)
}

# One cell: "there / back".
function cell(net, who, c, base,	m, n, i, v, text)
{
	n = split(metrics_of[c], m, " ")
	for (i = 1; i <= n; i++) {
		if (base == "")
			v = shown(median(net, who, m[i]), formats[c])
		else
			v = shown(ratio(net, who, m[i], base), "%.2f")
		text = text (i > 1 ? " / " : "") v
	}
	return text ~ /[0-9]/ ? text : "–"
}

function table(net, base,	c, i, line, rule)
{
	line = base == "" ? "| " net : "| ratio to " base
	rule = "| ---"
	for (c = 1; c <= n_columns; c++)
		if (has(net, c)) {
			line = line " | " titles[c]
			rule = rule " | ---:"
		}
	print line " |\n" rule " |"
	for (i = 1; i <= n_peers[net]; i++) {
		line = "| " peer[net, i]
		for (c = 1; c <= n_columns; c++)
			if (has(net, c))
				line = line " | " cell(net, peer[net, i], c, base)
		print line " |"
	}
	print ""
}

function tables(	i, base)
{
	column("TCP there / back, Mbit/s", "tcp-there tcp-back", "%.0f")
	column("8 TCP there / back, Mbit/s", "tcp8-there tcp8-back", "%.0f")
	column("both ends' CPU there / back, s per GB",
		"tcp-there-cpu tcp-back-cpu", "%.2f")
	column("both ends' CPU of 8 TCP there / back, s per GB",
		"tcp8-there-cpu tcp8-back-cpu", "%.2f")
	column("UDP, Mbit/s", "udp", "%.0f")
	column("connections/s", "crr", "%.0f")
	column("idle RTT, prober awake / asleep, us", "rtt-idle rtt-sleep", "%.0f")
	column("RTT under load, median / p95, ms", "rtt-load rtt-load-p95",
		"%.2f")
	column("RSS, MiB", "rss", "%.1f")
	column("RSS client / relay, MiB", "rss-client rss-relay", "%.1f")
	column("one client / two, Mbit/s", "one-client two-clients", "%.0f")
	column("CPU of the workers, s", "busy-worker other-worker", "%.2f")
	for (i = 1; i <= n_networks; i++) {
		base = baseline
		if (network[i] == "line" || network[i] == "mape")
			base = "bare"
		if (network[i] == "memory")
			continue
		table(network[i], "")
		if ((network[i], base) in known)
			table(network[i], base)
	}
	for (i in failures)
		print "Failed: " i ", " failures[i] " times."
}

# "least..greatest" of the rounds, or of their ratios to base; in complete
# whether there is one for each round.
function by_round(net, who, metric, base,	r, n, v, least, greatest)
{
	for (r = 1; r <= last_round; r++) {
		if (!((net, who, metric, r) in value))
			continue
		v = value[net, who, metric, r]
		if (base != "") {
			if (!((net, base, metric, r) in value) ||
			    value[net, base, metric, r] == 0)
				continue
			v /= value[net, base, metric, r]
		}
		if (!n++)
			least = greatest = v
		if (v < least)
			least = v
		if (v > greatest)
			greatest = v
	}
	complete = n >= rounds
	return n ? sprintf("%.2f..%.2f", least, greatest) : "–"
}

# goal WHAT, NETWORK, PEER, METRIC, ">=" or "<=" or "" when it is not judged,
# LIMIT[, BASE]
function goal(what, net, who, metric, sign, limit, base,
	v, spread, verdict, wanted)
{
	v = base == "" ? median(net, who, metric) : ratio(net, who, metric, base)
	spread = by_round(net, who, metric, base)
	if (v == "" || !complete)
		verdict = "missing"
	else if (sign == ">=" ? v >= limit : v <= limit)
		verdict = "ok"
	else
		verdict = "short"
	wanted = sign " " limit (base == "" ? "" : " x " base)
	if (sign == "")
		verdict = wanted = "–"
	else if (verdict != "ok")
		missed = 1
	print "| " what " | " wanted " | " shown(v, "%.2f") " | " spread \
		" | " verdict " |"
}

# What each of 10,000 more clients costs the relay, bytes.
function weigh_clients(	r, m, more)
{
	m = "rss-relay"
	for (r = 1; r <= last_round; r++) {
		if (!(("line", "product", m, r) in value) ||
		    !(("line", "product-10010", m, r) in value))
			continue
		more = value["line", "product-10010", m, r]
		more -= value["line", "product", m, r]
		note("line", "product-10010", "client-bytes", r,
			more * 1048576 / 10000)
	}
}

# Those of issues 3 and 5.
function goals(	w, o)
{
	w = "wireguard-go"
	o = "offload"
	weigh_clients()
	print "| ukai | wanted | measured | by round | |"
	print "| --- | --- | ---: | ---: | --- |"
	goal("TCP there", o, "ukai", "tcp-there", ">=", 7.5, w)
	goal("TCP back", o, "ukai", "tcp-back", ">=", 7.5, w)
	goal("8 TCP there", o, "ukai", "tcp8-there", ">=", 7.5, w)
	goal("8 TCP back", o, "ukai", "tcp8-back", ">=", 7.5, w)
	if ((o, "wireguard-go-new") in known) {
		w = "wireguard-go-new"
		goal("TCP there", o, "ukai", "tcp-there", ">=", 1.7, w)
		goal("TCP back", o, "ukai", "tcp-back", ">=", 1.7, w)
		goal("8 TCP there", o, "ukai", "tcp8-there", ">=", 1.7, w)
		goal("8 TCP back", o, "ukai", "tcp8-back", ">=", 1.7, w)
		w = "wireguard-go"
	}
	goal("CPU per GB there", o, "ukai", "tcp-there-cpu", "<=", 0.12, w)
	goal("CPU per GB back", o, "ukai", "tcp-back-cpu", "<=", 0.12, w)
	goal("CPU per GB, 8 TCP there", o, "ukai", "tcp8-there-cpu", "<=", 0.12, w)
	goal("CPU per GB, 8 TCP back", o, "ukai", "tcp8-back-cpu", "<=", 0.12, w)
	goal("UDP", o, "ukai", "udp", ">=", 2.5, w)
	goal("connections per second", o, "ukai", "crr", ">=", 2, w)
	goal("idle RTT, prober awake", o, "ukai", "rtt-idle", "<=", 0.3, w)
	goal("idle RTT, prober asleep", o, "ukai", "rtt-sleep", "", 0, w)
	goal("RTT under load", o, "ukai", "rtt-load", "<=", 0.5, w)
	goal("resident memory of a device, MiB", o, "ukai", "rss", "<=", 8)
	o = "plain"
	goal("TCP there, plain underlay", o, "ukai", "tcp-there", ">=", 3, w)
	goal("TCP back, plain underlay", o, "ukai", "tcp-back", ">=", 3, w)
	o = "line"
	w = "bare"
	goal("up and relay, TCP there", o, "product", "tcp-there", ">=", 0.85, w)
	goal("up and relay, TCP back", o, "product", "tcp-back", ">=", 0.85, w)
	goal("resident memory of a client, MiB", o, "product", "rss-client",
		"<=", 8)
	goal("relay's memory for each of 10,000 peers, bytes", o,
		"product-10010", "client-bytes", "<=", 2048)
	o = "mape"
	goal("native MAP-E, TCP there", o, "ce", "tcp-there", ">=", 0.6, w)
	goal("native MAP-E, TCP back", o, "ce", "tcp-back", ">=", 0.6, w)
	goal("native MAP-E, connections per second", o, "ce", "crr", "", 0, w)
	o = "memory"
	goal("heap for each of 10,000 peers, bytes", o, "ukai", "peers-bytes",
		"<=", 2048)
	# "No more": 5 % more is what noise makes of it.
	goal("time per packet, 10,000 peers to 10", o, "ukai",
		"peers-time-ratio", "<=", 1.05)
	goal("the same, 1,000 of them active", o, "ukai", "peers-active-ratio",
		"", 0)
	goal("handshakes to what X25519 allows", o, "ukai", "handshake-ratio",
		">=", 0.8)
	goal("receiving, two workers to one", o, "ukai", "lanes-receive-ratio",
		">=", 1.7)
	goal("sending, two workers to one", o, "ukai", "lanes-send-ratio",
		">=", 1.7)
	o = "hub"
	goal("CPU of one worker to the busier's", o, "hub", "workers-ratio",
		">=", 0.8)
	goal("two clients to one", o, "hub", "clients-ratio", ">=", 1)
	return missed
}

# A number for gnuplot.
function number(v)
{
	return v == "" ? "NaN" : v
}

function plot(	i, net, who)
{
	net = network[1]
	for (i = 1; i <= n_peers[net]; i++) {
		who = peer[net, i]
		print who, number(median(net, who, "tcp-there")),
			number(median(net, who, "tcp-back")),
			number(median(net, who, "tcp-there-cpu")),
			number(median(net, who, "tcp-back-cpu"))
	}
}

END {
	if (mode == "tables")
		tables()
	else if (mode == "goals")
		exit goals()
	else if (mode == "plot")
		plot()
}
