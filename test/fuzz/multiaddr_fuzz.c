/* test/fuzz/multiaddr_fuzz.c - any text as an address: what is accepted is written in a form that reads back the
 * same. */
#include <errno.h>

#include "proto/multiaddr.h"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct multiaddr addr, again;
	struct qmt_err err = {0};
	char text[MULTIADDR_TEXT], second[MULTIADDR_TEXT];

	if (multiaddr_parse(qmt_strn((const char *)data, size), &addr, &err) < 0) {
		MUST(err.code == -EINVAL && err.text[0]);
		return 0;
	}
	MUST(memchr(addr.host, '\0', sizeof addr.host));
	multiaddr_text(&addr, text);
	MUST(strlen(text) < MULTIADDR_TEXT - 1);
	MUST(multiaddr_parse(qmt_str(text), &again, &err) == 0);
	MUST(memcmp(&addr, &again, sizeof addr) == 0);
	multiaddr_text(&again, second);
	MUST(strcmp(text, second) == 0);
	(void)multiaddr_is_wildcard(&addr);
	return 0;
}
