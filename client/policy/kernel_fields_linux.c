#include "kernel_fields.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/btf.h>

#include "core/err.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"
/* Kernels with everything built in have 10 MB. */
#define BTF_BYTES_MAX (64u << 20)
#define NESTED_MAX 8
#define NOWHERE UINT32_MAX

/* A description that has been looked through once. */
struct types {
	const uint8_t *type, *text;
	size_t type_len, text_len;
	uint32_t *at; /* of each type, from type on; [0] is "void" */
	size_t n;
};

/* ---- one type ---- */

/* What follows a type, by its kind. Of a newer kernel's kind nobody knows. */
static size_t
bytes_behind(uint32_t info)
{
	size_t n = BTF_INFO_VLEN(info);

	switch (BTF_INFO_KIND(info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_DATASEC:
	case BTF_KIND_ENUM64:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		return 0;
	default:
		return SIZE_MAX;
	}
}

static struct btf_type
type_at(const struct types *t, uint32_t at)
{
	struct btf_type one;

	memcpy(&one, t->type + at, sizeof(one));
	return one;
}

static struct btf_member
member_at(const struct types *t, uint32_t at, size_t i)
{
	struct btf_member one;

	memcpy(&one, t->type + at + sizeof(struct btf_type) + i * sizeof(one),
	    sizeof(one));
	return one;
}

/* "": it has none. */
static const char *
name_at(const struct types *t, uint32_t at)
{
	return at < t->text_len ? (const char *)t->text + at : "";
}

/* ---- all of them ---- */

static int
grow(struct types *t, size_t *cap)
{
	uint32_t *at;

	if (t->n < *cap)
		return 0;
	*cap = *cap * 2 + 4096;
	at = realloc(t->at, *cap * sizeof(*at));
	if (at == NULL)
		return UK_ENOMEM;
	t->at = at;
	return 0;
}

static int
find_types(struct types *t)
{
	size_t cap = 0, at = 0;
	int r;

	for (t->n = 1; at < t->type_len; t->n++) {
		size_t left = t->type_len - at;

		if (left < sizeof(struct btf_type))
			return UK_EPROTO;
		left -= sizeof(struct btf_type);
		if (bytes_behind(type_at(t, (uint32_t)at).info) > left)
			return UK_EPROTO;
		r = grow(t, &cap);
		if (r < 0)
			return r;
		t->at[t->n] = (uint32_t)at;
		at += sizeof(struct btf_type) +
		      bytes_behind(type_at(t, (uint32_t)at).info);
	}
	return 0;
}

static int
take_header(struct types *t, const uint8_t *btf, size_t len)
{
	struct btf_header h;

	if (len < sizeof(h))
		return UK_EPROTO;
	memcpy(&h, btf, sizeof(h));
	if (h.magic != BTF_MAGIC || h.version != BTF_VERSION ||
	    h.hdr_len < sizeof(h) || h.hdr_len > len)
		return UK_EPROTO;
	len -= h.hdr_len;
	if (h.type_off > len || h.type_len > len - h.type_off ||
	    h.str_off > len || h.str_len > len - h.str_off || h.str_len == 0)
		return UK_EPROTO;
	t->type = btf + h.hdr_len + h.type_off;
	t->type_len = h.type_len;
	t->text = btf + h.hdr_len + h.str_off;
	t->text_len = h.str_len;
	return t->text[t->text_len - 1] == '\0' ? 0 : UK_EPROTO;
}

/* ---- fields ---- */

static bool
is_structure(const struct btf_type *one)
{
	return BTF_INFO_KIND(one->info) == BTF_KIND_STRUCT ||
	       BTF_INFO_KIND(one->info) == BTF_KIND_UNION;
}

/* In bytes; NOWHERE: it has no such field. */
static uint32_t
offset_in(const struct types *t, uint32_t at, const char *field, unsigned depth)
{
	const struct btf_type one = type_at(t, at);

	for (size_t i = 0; i < BTF_INFO_VLEN(one.info); i++) {
		const struct btf_member m = member_at(t, at, i);
		const char *name = name_at(t, m.name_off);
		uint32_t bits = BTF_INFO_KFLAG(one.info)
				    ? BTF_MEMBER_BIT_OFFSET(m.offset)
				    : m.offset;
		struct btf_type inner;
		uint32_t more;

		if (strcmp(name, field) == 0)
			return bits / 8;
		if (name[0] != '\0' || depth == NESTED_MAX || m.type == 0 ||
		    m.type >= t->n)
			continue;
		inner = type_at(t, t->at[m.type]);
		if (!is_structure(&inner))
			continue;
		more = offset_in(t, t->at[m.type], field, depth + 1);
		if (more != NOWHERE)
			return bits / 8 + more;
	}
	return NOWHERE;
}

static int
find_fields(const struct types *t, uint32_t *offset,
    const struct kernel_field *field, size_t n)
{
	for (size_t i = 1; i < t->n; i++) {
		const struct btf_type one = type_at(t, t->at[i]);
		const char *name = name_at(t, one.name_off);

		if (!is_structure(&one) || name[0] == '\0')
			continue;
		for (size_t k = 0; k < n; k++)
			if (offset[k] == NOWHERE &&
			    strcmp(name, field[k].structure) == 0)
				offset[k] =
				    offset_in(t, t->at[i], field[k].field, 0);
	}
	for (size_t k = 0; k < n; k++)
		if (offset[k] == NOWHERE)
			return UK_ENOENT;
	return 0;
}

int
kernel_fields_parse(uint32_t *offset, const struct kernel_field *field,
    size_t n, const void *btf, size_t len)
{
	struct types t = {.at = NULL};
	int r = take_header(&t, btf, len);

	for (size_t k = 0; k < n; k++)
		offset[k] = NOWHERE;
	if (r == 0)
		r = find_types(&t);
	if (r == 0)
		r = find_fields(&t, offset, field, n);
	free(t.at);
	return r;
}

/* Its size is known, but not its end before it has been read. */
static int
read_all(int fd, uint8_t *btf, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = read(fd, btf + have, len - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return UK_ESYS;
		have += (size_t)n;
	}
	return 0;
}

int
kernel_fields_read(uint32_t *offset, const struct kernel_field *field, size_t n)
{
	int fd = open(BTF_FILE, O_RDONLY | O_CLOEXEC), r = UK_ESYS;
	off_t len;
	uint8_t *btf;

	if (fd < 0)
		return errno == ENOENT ? UK_ENOENT : UK_ESYS;
	len = lseek(fd, 0, SEEK_END);
	if (len <= 0 || len > BTF_BYTES_MAX || lseek(fd, 0, SEEK_SET) < 0) {
		close(fd);
		return UK_ESYS;
	}
	btf = malloc((size_t)len);
	r = btf != NULL ? read_all(fd, btf, (size_t)len) : UK_ENOMEM;
	close(fd);
	if (r == 0)
		r = kernel_fields_parse(offset, field, n, btf, (size_t)len);
	free(btf);
	return r;
}
