/* policy: a running split-tunnel policy: rules, tables in the kernel, names,
 * programs, fallback and ports put together. Linux. On the loop's thread;
 * loading a file and bringing it into the kernel is done by libuv's worker
 * threads, as lists may have a million lines.
 *
 * What is in this folder, and what calls what; each file's head says the rest:
 *
 *   policy*.c              the running policy: start and changes of names
 *                          (policy.c), policy_describe, _live, _reload, _status
 *     compiled             a file made ready to be looked up: of
 *       rules, rule_list   text to rules, and its lists: rules_*.c, of
 *                          resolvers' forms rule_list_dns, domain_name;
 *                          rules_cover, rules_warn find what never decides;
 *                          always_local: what no rule decides about
 *       matcher            which rule decides about a flow: matcher_*.c
 *       slots              which rules have sets and counters of their own
 *     policy_kernel        tables in the kernel, with the text of
 *       policy_nft         chains and sets; mark: the bits of marks
 *     policy_others        no second policy, no second guard
 *     dns_forward          answers that wait for the kernel: dns_forward_*.c
 *       dns_message        what the DNS says
 *     bindings             addresses of names, for matcher's rules:
 *                          bindings_*.c, with
 *       binding_interest   what the rules say of a name
 *       binding_sets       what the kernel's sets have of them
 *       names_kept         what the next start has to know
 *       policy_use         who uses them
 *     dns_caches           what others know from before
 *     programs             classes of sockets: program_classes, process,
 *                          process_watch, sock_class_bpf with
 *                          kernel_fields
 *     ports_left           the line's ports: ports_used (flows of others' CE),
 *                          ports_short (our own CE), line_ports
 *
 * Whether the relay answers is client/failover.h's. For commands alone, without
 * a running policy: explain, explain_reason; import_clash with clash_yaml,
 * clash_rule, clash_logic; import_wg; export_ips. cidr_set and list serve
 * several. */
#ifndef UKAI_POLICY_POLICY_H
#define UKAI_POLICY_POLICY_H

#include <jansson.h>
#include <uv.h>

#include "client/conf.h"
#include "client/routes.h"
#include "core/text.h"
#include "host/hostfw.h"

struct policy;
struct mape;
struct tunnel;

struct policy_setup {
	uv_loop_t *loop;
	const char *name; /* of the tunnel */
	const char *table; /* of the tunnel, in nftables */
	const struct client_conf *conf; /* its policy is a path; "": without
					   rules, for policy_run() */
	const struct routes *routes;
	struct netcfg *n;
	struct undo *keep; /* journal of what stays when we are killed */
	const char *names; /* file of what the next start has to know of
			      names (names_kept.h) */
	struct hostfw *firewall;
	/* Append what the tunnel's table has besides. In any thread. */
	void (*body)(void *arg, struct text *t);
	void *arg;
};

/* Load the file, and refuse from now on what tunnel! and block are about;
 * before there is a tunnel, and before anything of an earlier run is undone.
 * Pointers in s stay. Returns 0 (d may have warnings); UK_EINVAL with every
 * mistake of the file in d, or no such file; UK_EPERM, UK_ESYS, UK_ENOMEM. */
int policy_open(
    struct policy **out, const struct policy_setup *s, struct diag *d);
/* The tunnel is there, with addresses and routes, and so is our own CE, if
 * there is one (else NULL): decide on flows from now on. Errors as above. */
int policy_start(
    struct policy *p, struct tunnel *t, struct mape *m, struct diag *d);
/* No more decisions. The guard stays, for its journal to undo. Flows of the
 * tunnel end; not with stay: then they and the marks of programs are as after
 * kill -9. NULL: no-op. */
void policy_close(struct policy *p, bool stay, struct diag *d);

/* Load the file again, and let it take the old one's place, or leave all as it
 * is. Unless this fails (UK_EBUSY: not done with the last time, or about to
 * end; UK_ENOMEM) done is called once, later, with what is to be said of the
 * file. */
int policy_reload(struct policy *p,
    void (*done)(void *arg, int err, const struct diag *d), void *arg);

/* `ukai run`: make process pid and its children take the tunnel. Returns as
 * programs_run() and programs_open(). */
int policy_run(struct policy *p, int pid, bool fallback, struct diag *d);

/* Does the relay answer, so that flows take the tunnel? Known a round trip
 * after policy_start(). */
bool policy_is_live(const struct policy *p);

/* The names that an address has here; good until the loop goes on. Returns how
 * many, at most cap. */
size_t policy_names(const struct policy *p, const struct ip_addr *a,
    const char **name, size_t cap);

/* Have what takes a while to count counted anew for policy_json(). Returns
 * false: there is no such thing. Else looked is called once, later, unless the
 * policy is closed before; somebody else who asks meanwhile takes that over. */
bool policy_look(struct policy *p, void (*looked)(void *arg), void *arg);

/* For status:
 *   {"file", "loaded", "live", "rules": [{"line", "last_line", "text",
 *     "target", "flows", "packets", "bytes"}], "collisions": [{"address",
 *     "names", "lines"}], "names", "addresses", "dns": {...} or null,
 *    "programs": [{"program", "processes"}], "ports": {...} or null}
 * "line" null: nobody wrote it. NULL: no memory. */
json_t *policy_json(struct policy *p);
/* For people, from that object, null or none. */
void policy_print(const json_t *o, uint64_t now_s, FILE *to);

#endif
