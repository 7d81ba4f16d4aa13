/* actors/provider/curl_api.h - libcurl, loaded when the first provider over HTTP starts.
 *
 * With libcurl come some 30 libraries (TLS twice, Kerberos, LDAP, SSH): 5 MB of resident memory and their start-up,
 * which a node without such a provider does not pay.
 *
 * Threads: any; the loader has its own lock.   Blocks: while libraries are read from the disk, once.
 * Order:   open before anything else of it; there is no close: code that is loaded stays.
 * Use:     no function of libcurl is called by its own name anywhere, always through the table.
 */
#ifndef PROVIDER_CURL_API_H
#define PROVIDER_CURL_API_H

#define CURL_DISABLE_TYPECHECK /* its macros call the functions by name */
#include <curl/curl.h>

#include "runtime/base/err.h"

/* Everything that is used. */
#define CURL_API(F)             \
	F(curl_easy_cleanup)        \
	F(curl_easy_getinfo)        \
	F(curl_easy_init)           \
	F(curl_easy_setopt)         \
	F(curl_easy_strerror)       \
	F(curl_free)                \
	F(curl_global_cleanup)      \
	F(curl_global_init)         \
	F(curl_multi_add_handle)    \
	F(curl_multi_cleanup)       \
	F(curl_multi_info_read)     \
	F(curl_multi_init)          \
	F(curl_multi_remove_handle) \
	F(curl_multi_setopt)        \
	F(curl_multi_socket_action) \
	F(curl_multi_strerror)      \
	F(curl_slist_append)        \
	F(curl_slist_free_all)      \
	F(curl_url)                 \
	F(curl_url_cleanup)         \
	F(curl_url_get)             \
	F(curl_url_set)             \
	F(curl_url_strerror)

/* libcurl's header makes macros of these. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

struct curl_api {
#define CURL_API_MEMBER(name) __typeof__(&name) name;
	CURL_API(CURL_API_MEMBER)
#undef CURL_API_MEMBER
};

/* Fills the table. 0, or -ENOSYS and err: libcurl is not installed, or lacks something. */
QMT_MUST_CHECK int curl_api_open(struct curl_api *ret_api, struct qmt_err *err);

#endif
