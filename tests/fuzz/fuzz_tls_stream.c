#include <stddef.h>
#include <stdint.h>

#include "io/tls_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_server *
the_server(void)
{
	static const char *const names[] = {"ukai-enrol/1", NULL};
	static struct tls_server *s;
	struct tls_identity *id;

	if (s == NULL) {
		UK_ASSERT(tls_identity_new(&id, NULL) == 0);
		UK_ASSERT(tls_server_new(&s, id, names, NULL) == 0);
		tls_identity_free(id);
	}
	return s;
}

/* What a client says before anything is agreed on: the first byte of the input
 * is the length of its pieces. Nobody without a key gets through. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tls_stream *t = tls_stream_accept(the_server());
	size_t most = size > 0 ? data[0] + 1u : 1, at = 1, n = 1;
	enum tls_result r = TLS_WANT_INPUT;
	const uint8_t *out;

	UK_ASSERT(t != NULL);
	while (at < size && n > 0 && r == TLS_WANT_INPUT) {
		n = tls_stream_input(
		    t, data + at, most < size - at ? most : size - at);
		at += n;
		r = tls_stream_handshake(t);
	}
	UK_ASSERT(r == TLS_WANT_INPUT || r == TLS_FAILED);
	UK_ASSERT(tls_stream_output(t, &out) <= TLS_BUFFER_MAX);
	if (r != TLS_FAILED) {
		tls_stream_input_end(t);
		UK_ASSERT(tls_stream_handshake(t) == TLS_FAILED);
	}
	UK_ASSERT(tls_stream_error(t) != NULL && tls_stream_alpn(t) == NULL);
	tls_stream_free(t);
	return 0;
}
