/* proto/envelope.h - what stands around a message on a link.
 *
 * Threads: none kept.   Blocks: never.
 * Format:  msgpack array [kind, id, to, type, deadline_ms, scope, trace, body]; more elements at the end are skipped,
 *          so it is additive. A frame is one or more envelopes back to back; before them one byte ENVELOPE_VERSION.
 *          to:    uint (export number) | str (name) | nil (replies)
 *          type:  str "module.message" at its first use on a link and direction, with a number: [uint, str]; later
 *                 uint alone
 *          scope: uint (number of the shared scope as agreed in HELLO, 0 the first); trace: uint, 0 none
 *          body:  map (codec.h) | nil
 * Limits:  name ENVELOPE_NAME bytes, type text ENVELOPE_TYPE bytes, both UTF-8 and not empty; body and additions
 *          UNPACK_DEPTH (16) deep; anything else malformed, an unknown kind too, is -EBADMSG.
 */
#ifndef PROTO_ENVELOPE_H
#define PROTO_ENVELOPE_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"

enum { ENVELOPE_VERSION = 1, ENVELOPE_NAME = 128, ENVELOPE_TYPE = 64 };

/* K(name, number, doc). Append only. */
#define ENVELOPE_KIND_LIST(K)                                                                         \
	K(TELL, 0, "A message; nothing comes back.")                                                      \
	K(ASK, 1, "A message that wants one answer: reply or error, with its id.")                        \
	K(REPLY, 2, "Answer to the ask of that id: type and body of the answer.")                         \
	K(ERROR, 3, "Answer to the ask of that id: body {1: fail, 2: kind, 3: text, 4: retry_after_ms}.") \
	K(CANCEL, 4, "Nobody waits any more for the answer to the ask of that id.")                       \
	K(CONTROL, 5, "The link's own (ping, bye, pieces of long messages, ...): type is the number of what it says.")

enum envelope_kind {
#define ENVELOPE_KIND(name, number, doc) ENVELOPE_##name = number,
	ENVELOPE_KIND_LIST(ENVELOPE_KIND) ENVELOPE_KINDS
#undef ENVELOPE_KIND
};

struct envelope {
	uint8_t kind;
	uint64_t id;
	uint32_t to; /* export number, when to_name is absent */
	struct qmt_str to_name;
	uint32_t type;            /* number */
	struct qmt_str type_name; /* with its first use */
	uint64_t deadline_ms;     /* asks: time left */
	uint32_t scope;
	uint64_t trace;
	struct qmt_bytes body; /* the encoded map, borrowed from the input; absent: nil */
};

/* Appends everything but the body, which the caller appends next (codec_encode), or envelope_put_nil. Names over the
 * limits are the caller's to refuse: here they only set out->failed. */
void envelope_put(struct qmt_buf *out, const struct envelope *env);
void envelope_put_nil(struct qmt_buf *out);
/* Reads the next envelope of a frame (behind the version byte) and moves *data behind it. 0; 1: no more; -EBADMSG and
 * err. The body's extent is found by skipping, depth-limited; its content is not checked here. */
QMT_MUST_CHECK int envelope_get(struct qmt_bytes *data, struct envelope *ret_env, struct qmt_err *err);

#endif
