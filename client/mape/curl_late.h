/* curl_late: libcurl, loaded when it is first needed. Linked, it and its 27
 * libraries would cost every running tunnel 1.8 MiB for a question that is
 * asked once a week. */
#ifndef UKAI_MAPE_CURL_LATE_H
#define UKAI_MAPE_CURL_LATE_H

#define CURL_DISABLE_TYPECHECK /* its macros want functions by their names */
#include <curl/curl.h>

/* As libcurl's own, without "curl_". */
#define CURL_LATE_FUNCTIONS(F)                                                 \
	F(easy_init)                                                           \
	F(easy_reset)                                                          \
	F(easy_setopt)                                                         \
	F(easy_perform)                                                        \
	F(easy_getinfo)                                                        \
	F(easy_strerror)                                                       \
	F(easy_cleanup)                                                        \
	F(slist_append)                                                        \
	F(slist_free_all)                                                      \
	F(url)                                                                 \
	F(url_set)                                                             \
	F(url_get)                                                             \
	F(url_cleanup)                                                         \
	F(free)

#undef curl_easy_setopt
#undef curl_easy_getinfo

struct curl_late {
#define CURL_LATE_MEMBER(name) __typeof__(&curl_##name) name;
	CURL_LATE_FUNCTIONS(CURL_LATE_MEMBER)
#undef CURL_LATE_MEMBER
};

/* Load it; it stays loaded as long as the process. Returns 0; UK_ENOENT: it is
 * not installed, or too old; *why is a sentence then, of static memory. */
int curl_late_load(struct curl_late *c, const char **why);

#endif
