#include "enrol_link.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "core/err.h"
#include "io/clock.h"
#include "io/log.h"

/* Addresses that guess, at a time. With more of them the one whose minute is
 * over first is forgotten. */
#define GUESSERS_MAX 256

struct guesser {
	struct ip_addr source;
	unsigned guesses;
	uint64_t ends_ns;
};

struct enrol_link {
	enrol_link_ask *ask;
	void *arg;
	struct guesser guesser[GUESSERS_MAX];
	struct enrol_link_stats stats;
	struct log_limit refused_log;
};

struct session {
	struct enrol_link *link;
	struct accept_conn *conn;
	const struct endpoint *from;
	size_t len;
	uint8_t request[ENROL_REQUEST_LEN];
};

/* NULL: has not guessed lately. */
static struct guesser *
find_guesser(
    struct enrol_link *l, const struct ip_addr *source, uint64_t now_ns)
{
	for (size_t i = 0; i < GUESSERS_MAX; i++)
		if (l->guesser[i].ends_ns > now_ns &&
		    ip_addr_equal(&l->guesser[i].source, source))
			return &l->guesser[i];
	return NULL;
}

static bool
guesses_too_often(
    struct enrol_link *l, const struct ip_addr *source, uint64_t now_ns)
{
	const struct guesser *g = find_guesser(l, source, now_ns);

	return g != NULL && g->guesses >= ENROL_LINK_GUESSES;
}

static void
note_guess(struct enrol_link *l, const struct ip_addr *source, uint64_t now_ns)
{
	struct guesser *g = find_guesser(l, source, now_ns);

	if (g != NULL) {
		g->guesses++;
		return;
	}
	g = &l->guesser[0];
	for (size_t i = 1; i < GUESSERS_MAX; i++)
		if (l->guesser[i].ends_ns < g->ends_ns)
			g = &l->guesser[i];
	*g = (struct guesser){.source = *source,
	    .guesses = 1,
	    .ends_ns = now_ns + ENROL_LINK_GUESSES_NS};
}

static const char *
status_name(enum enrol_status s)
{
	static const char *const name[] = {
	    [ENROL_USED] = "its token was used before",
	    [ENROL_EXPIRED] = "its token has expired",
	    [ENROL_UNKNOWN] = "its token is unknown",
	    [ENROL_BUSY] = "too many ask",
	    [ENROL_FAILED] = "the registry could not keep it",
	};

	return name[s];
}

/* Who joins is told by whom we ask. Nothing that the far end sent is in here
 * (C5). */
static void
tell(struct session *s, const struct enrol_answer *a, uint64_t now_ns)
{
	char from[ENDPOINT_TEXT_MAX];

	if (a->status != ENROL_OK)
		log_limited(&s->link->refused_log, now_ns, LOG_INFO,
		    "somebody at %s wanted to join: %s",
		    endpoint_format(s->from, from), status_name(a->status));
}

static void
decide(struct session *s, const struct enrol_request *request,
    struct enrol_answer *answer)
{
	struct enrol_link *l = s->link;
	struct ip_addr source = accept_source(&s->from->addr);
	uint64_t now_ns = clock_now().mono_ns;

	if (guesses_too_often(l, &source, now_ns)) {
		answer->status = ENROL_BUSY;
		l->stats.guessing++;
	} else {
		l->ask(l->arg, request, s->from, answer);
	}
	UK_ASSERT(answer->status <= ENROL_FAILED);
	l->stats.answered[answer->status]++;
	if (answer->status == ENROL_UNKNOWN)
		note_guess(l, &source, now_ns);
	tell(s, answer, now_ns);
}

static void
answer_request(struct session *s)
{
	struct enrol_answer answer = {.status = ENROL_FAILED};
	struct enrol_request request;
	struct text text = {.s = NULL};

	if (enrol_request_parse(&request, s->request, s->len) != 0) {
		s->link->stats.malformed++;
		accept_abort(s->conn);
		return;
	}
	decide(s, &request, &answer);
	if (enrol_answer_format(&answer, &text) == 0)
		accept_finish(s->conn, &text);
	else
		accept_abort(s->conn);
	text_fini(&text);
	enrol_answer_fini(&answer);
	sodium_memzero(&request, sizeof(request));
}

static void *
opened(void *arg, struct accept_conn *c, const struct endpoint *from)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->link = arg;
	s->conn = c;
	s->from = from;
	return s;
}

static void
received(void *session, const uint8_t *bytes, size_t len)
{
	struct session *s = session;
	size_t n = uk_min_u64(len, sizeof(s->request) - s->len);

	memcpy(s->request + s->len, bytes, n);
	s->len += n;
	if (s->len == sizeof(s->request))
		answer_request(s);
}

static void
closed(void *session)
{
	struct session *s = session;

	if (s->len < sizeof(s->request))
		s->link->stats.incomplete++;
	sodium_memzero(s, sizeof(*s));
	free(s);
}

struct accept_protocol
enrol_link_protocol(struct enrol_link *l)
{
	return (struct accept_protocol){.alpn = ENROL_ALPN,
	    .arg = l,
	    .opened = opened,
	    .received = received,
	    .closed = closed};
}

int
enrol_link_new(struct enrol_link **out, enrol_link_ask *ask, void *arg)
{
	struct enrol_link *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return UK_ENOMEM;
	l->ask = ask;
	l->arg = arg;
	*out = l;
	return 0;
}

void
enrol_link_free(struct enrol_link *l)
{
	free(l);
}

const struct enrol_link_stats *
enrol_link_stats(const struct enrol_link *l)
{
	return &l->stats;
}
