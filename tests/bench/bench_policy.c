/* ukai-bench-policy: what a policy of 1,000,000 names and 100,000 prefixes
 * costs, once as two lists and once as lines of the policy itself: time to load
 * (read, parse, build the matcher), memory, and ns for the decision about a
 * flow with a name and an address, beside that of the tests' twin, which looks
 * at one rule and entry after another. Half of the names and of the addresses
 * are of the policy. Each form in a process of its own. A Markdown table.
 *
 *	ukai-bench-policy [ROUNDS] */
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/policy/matcher.h"
#include "core/bytes.h"
#include "matcher_twin.h"
#include "measure.h"

#define NAMES 1000000
#define PREFIXES 100000
#define FLOWS 8192 /* of a round */
#define TWIN_FLOWS 16
#define NAME_MAX_LEN 64
#define ROUNDS 51
#define ROUNDS_MAX 1001

static char name[FLOWS][NAME_MAX_LEN];
static const char *name_of[FLOWS];
static struct flow flow[FLOWS];

static uint64_t
mix(uint64_t x)
{
	x ^= x >> 31;
	x *= UINT64_C(0x7fb5d329728ea185);
	x ^= x >> 27;
	x *= UINT64_C(0x81dadef4bc2dd44d);
	return x ^ x >> 33;
}

/* Not the system's random numbers: they leave the caches to others. */
static uint32_t
draw(uint32_t below)
{
	static uint64_t n;

	return (uint32_t)(mix(++n ^ UINT64_C(0x5555555500000000)) >> 32) %
	       below;
}

/* Name i of the list: 7 to 26 letters, as those of public lists. */
static void
make_name(uint32_t i, char *text)
{
	static const char *const end[] = {
	    ".com", ".net", ".co.jp", ".jp", ".org", ".ad.example.net"};
	uint64_t r = mix(i);
	size_t len = 3 + r % 9;

	for (size_t k = 0; k < len; k++)
		text[k] = (char)('a' + (r >> (k * 4 + 8) & 15));
	snprintf(text + len, NAME_MAX_LEN - len, "%x%s", i % 65536,
	    end[r % ARRAY_LEN(end)]);
}

static void
make_prefix(uint32_t i, struct ip_prefix *p)
{
	uint64_t r = mix(i + UINT64_C(1000000007));
	struct ip_ifaddr a = {.addr.family = FAMILY_V4};

	store_be32(a.addr.b, (uint32_t)r);
	a.bits = (uint8_t)(16 + (r >> 40) % 17);
	if (i % 4 == 0) {
		a.addr.family = FAMILY_V6;
		store_be64(a.addr.b, UINT64_C(2) << 60 | r >> 8);
		a.bits = (uint8_t)(32 + (r >> 40) % 33);
	}
	ip_ifaddr_prefix(&a, p);
}

static FILE *
create(const char *path)
{
	FILE *f = fopen(path, "w");

	if (f == NULL) {
		perror(path);
		exit(1);
	}
	return f;
}

static void
write_names(FILE *f, const char *before, const char *behind)
{
	char text[NAME_MAX_LEN];

	for (uint32_t i = 0; i < NAMES; i++) {
		make_name(i, text);
		fprintf(f, "%s%s%s\n", before, text, behind);
	}
}

static void
write_prefixes(FILE *f, const char *before, const char *behind)
{
	char text[IP_PREFIX_TEXT_MAX];
	struct ip_prefix p;

	for (uint32_t i = 0; i < PREFIXES; i++) {
		make_prefix(i, &p);
		fprintf(
		    f, "%s%s%s\n", before, ip_prefix_format(&p, text), behind);
	}
}

static void
write_lists(void)
{
	FILE *f = create("names.list");

	write_names(f, ".", "");
	fclose(f);
	f = create("prefixes.list");
	write_prefixes(f, "", "");
	fclose(f);
	f = create("policy");
	fputs("RULE-SET,names.list,tunnel\n"
	      "RULE-SET,prefixes.list,native\n"
	      "DEFAULT,native\n",
	    f);
	fclose(f);
}

static void
write_lines(void)
{
	FILE *f = create("policy");

	write_names(f, "DOMAIN-SUFFIX,", ",tunnel");
	write_prefixes(f, "IP-CIDR,", ",native");
	fputs("DEFAULT,native\n", f);
	fclose(f);
}

static void
make_flows(void)
{
	struct ip_prefix p;

	for (uint32_t i = 0; i < FLOWS; i++) {
		make_name(draw(2 * NAMES), name[i]);
		make_prefix(draw(2 * PREFIXES), &p);
		name_of[i] = name[i];
		flow[i] = (struct flow){
		    .name = &name_of[i],
		    .names = 1,
		    .dst = p.addr,
		    .proto = RULE_TCP,
		    .sport = (uint16_t)(32768 + draw(28000)),
		    .dport = 443,
		};
	}
}

/* VmRSS, VmHWM: resident now, and at most, MiB. */
static double
memory(const char *key)
{
	FILE *f = fopen("/proc/self/status", "r");
	size_t len = strlen(key);
	char line[128];
	double kib = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, key, len) == 0 && line[len] == ':')
			kib = strtod(line + len + 1, NULL);
	if (f != NULL)
		fclose(f);
	return kib / 1024;
}

static struct rules *
load(void)
{
	static struct diag d;
	struct rules *r;

	diag_init(&d, "policy");
	if (rules_load(&r, "policy", RULES_LINUX, &d) < 0) {
		diag_print(&d, "ukai-bench-policy", stderr);
		exit(1);
	}
	return r;
}

static double
time_matcher(const struct matcher *m, unsigned rounds)
{
	static double ns[ROUNDS_MAX];
	uint32_t sum = 0;

	for (unsigned k = 0; k < rounds; k++) {
		make_flows();
		double t0 = measure_now_ns();
		for (unsigned i = 0; i < FLOWS; i++)
			sum += matcher_find(m, &flow[i]).rule;
		ns[k] = (measure_now_ns() - t0) / FLOWS;
	}
	/* Read, so that nothing of the above is left out. */
	UK_ASSERT(sum > 0);
	return measure_median(ns, rounds);
}

static double
time_twin(const struct matcher *m, const struct rules *r)
{
	double ns = 0;

	for (unsigned i = 0; i < TWIN_FLOWS; i++) {
		struct match mine = matcher_find(m, &flow[i]), twin;
		double t0 = measure_now_ns();

		twin = matcher_twin_find(r, &flow[i]);
		ns += measure_now_ns() - t0;
		UK_ASSERT(twin.rule == mine.rule && twin.entry == mine.entry);
	}
	return ns / TWIN_FLOWS;
}

static void
measure(const char *form, unsigned rounds)
{
	double t0 = measure_now_ns(), parse, all, rss, peak, ns, twin;
	struct rules *r = load();
	struct matcher *m;

	parse = measure_now_ns() - t0;
	UK_ASSERT(matcher_new(&m, r) == 0);
	all = measure_now_ns() - t0;
	rss = memory("VmRSS");
	peak = memory("VmHWM");
	ns = time_matcher(m, rounds);
	twin = time_twin(m, r);
	printf("| %s | %.2f | %.2f | %.0f | %.0f | %.0f | %.0f | %.0f |\n",
	    form, all / 1e9, (all - parse) / 1e9, rss, peak, ns, twin / 1000,
	    twin / ns);
	matcher_free(m);
	rules_free(r);
}

static bool
run(const char *form, void (*make)(void), unsigned rounds)
{
	int status = 0;
	pid_t pid;

	make();
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		measure(form, rounds);
		fflush(stdout);
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int
main(int argc, char **argv)
{
	unsigned rounds = measure_rounds(argc, argv, ROUNDS, ROUNDS_MAX);
	char dir[] = "/tmp/ukai-bench-policy-XXXXXX";
	bool ok;

	if (mkdtemp(dir) == NULL || chdir(dir) < 0) {
		perror(dir);
		return 1;
	}
	puts("| 1,000,000 names, 100,000 prefixes | load, s | matcher, s | "
	     "resident, MiB | peak, MiB | look-up, ns | twin, us | "
	     "twin / look-up |");
	puts("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
	ok = run("two lists", write_lists, rounds);
	ok = run("lines of the policy", write_lines, rounds) && ok;
	unlink("names.list");
	unlink("prefixes.list");
	unlink("policy");
	rmdir(dir);
	return ok ? 0 : 1;
}
