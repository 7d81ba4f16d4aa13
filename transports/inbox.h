/* transports/inbox.h - frames from a peer -> envelopes, long ones put together from their pieces.
 *
 * Threads: value of one link (or of a control client).   Blocks: never.
 * Limits:  body_bytes for one envelope, reassembly_bytes for all that wait for their rest, INBOX_TRANSFERS of those.
 *          What all links of a node hold together is bounded too (of_node).
 *          No length is trusted before the bytes are there.
 */
#ifndef TRANSPORTS_INBOX_H
#define TRANSPORTS_INBOX_H

#include <stdatomic.h>

#include "proto/envelope.h"

enum { INBOX_TRANSFERS = 1024 };

struct inbox_transfer;

struct inbox {
	size_t body_bytes, reassembly_bytes;
	struct inbox_transfer *transfers;
	uint32_t count;
	size_t held;
	bool whole_only; /* set by the owner: pieces are refused, the link is not in use yet */
	atomic_uint_fast64_t
		*of_node; /* set by the owner: what all inboxes hold together, at most of_node_bytes; NULL: none */
	uint64_t of_node_bytes;
};

/* One envelope; pointers in it are valid during the call. Non-zero: stop here. */
typedef int inbox_fn(void *arg, const struct envelope *env);

void inbox_init(struct inbox *box, size_t body_bytes, size_t reassembly_bytes);
void inbox_fini(struct inbox *box);
/* Calls fn for each envelope of the frame that is whole now. 0; what fn returned; -EBADMSG malformed, -EMSGSIZE beyond
 * a limit (err says which), -ENOMEM: the link is to be cut. */
QMT_MUST_CHECK int inbox_frame(struct inbox *box, struct qmt_bytes frame, inbox_fn *fn, void *arg, struct qmt_err *err);

#endif
