/* actors/provider/curl_api.c - see curl_api.h. */
#include "curl_api.h"

#include <dlfcn.h>
#include <errno.h>

/* Of both builds of libcurl 4 that Debian has, the one that is developed against first. */
static const char *const files[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

static void *load(void)
{
	void *library = NULL;

	for (size_t i = 0; i < sizeof files / sizeof *files && !library; i++)
		library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	return library;
}

int curl_api_open(struct curl_api *ret_api, struct qmt_err *err)
{
	void *library = load();
	struct curl_api api = {0};
	const char *missing = NULL;

	if (!library) {
		const char *why = dlerror();

		return qmt_err_set(err, -ENOSYS, "providers over HTTP need libcurl: %s", why ? why : "it cannot be loaded");
	}
	/* POSIX lets a data pointer be a function; ISO C has no cast for it. */
#define CURL_API_FIND(name)                              \
	*(void **)(void *)&api.name = dlsym(library, #name); \
	if (!api.name)                                       \
		missing = #name;
	CURL_API(CURL_API_FIND)
#undef CURL_API_FIND
	(void)dlclose(library); /* only the count: NODELETE keeps it */
	if (missing)
		return qmt_err_set(err, -ENOSYS, "providers over HTTP need libcurl: the one installed lacks %s", missing);
	*ret_api = api;
	return 0;
}
