/* cmd/invite_text.h - a new invite as people get it: its URL, and the same with where to dial.
 *
 * Threads: one.   Blocks: never.
 */
#ifndef CMD_INVITE_TEXT_H
#define CMD_INVITE_TEXT_H

#include "proto/contract/contract.h"
#include "proto/ttl.h"

enum { INVITE_URLS = 16, INVITE_TTL_DEFAULT = 86400, INVITE_USES_DEFAULT = 1 };

struct invite_urls { /* each ends in NUL; wiped by invite_urls_free */
	char *items[INVITE_URLS];
	uint32_t count;
};

/* The bare URL first, then one for each address that can be dialed. 0 or -ENOMEM. */
QMT_MUST_CHECK int invite_urls_make(const struct admission_invite_created *created, struct invite_urls *ret_urls);
void invite_urls_free(struct invite_urls *urls);
/* The one that goes into a QR code: with the first address, if there is one; else the bare one. */
struct qmt_str invite_urls_best(const struct invite_urls *urls);

/* A mesh name as the node will take it. 0; -EINVAL and err. */
QMT_MUST_CHECK int invite_name(struct qmt_str name, struct qmt_err *err);
/* --ttl and --uses: NULL is the default. 0; -EINVAL and err. ret_ttl_s: 0 for "none". */
QMT_MUST_CHECK int invite_ttl(const char *text, uint64_t *ret_ttl_s, struct qmt_err *err);
QMT_MUST_CHECK int invite_uses(const char *text, uint32_t *ret_uses, struct qmt_err *err);

/* "2026-11-24T15:00:00Z"; 0: "never". */
enum { INVITE_TIME = 48 };
void invite_time(uint64_t unix_seconds, char ret_text[INVITE_TIME]);
/* "1 use, until 2026-11-24T15:00:00Z". */
enum { INVITE_SUMMARY = 128 };
void invite_summary(const struct store_invite *invite, char ret_text[INVITE_SUMMARY]);

#endif
