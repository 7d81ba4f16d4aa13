/* runtime/port.h - the seam between the runtime and a network: what a link actor implements and calls.
 *
 * A *link actor* stands for one connection to a peer. Its descriptor sets `outgoing`; it registers itself as
 * "peer/<PeerId>" while it is the link in use. Refs with rid != 0 whose `actor` is a link mean "the actor that the peer
 * exported under that number"; qmt_tell_name/qmt_ask_name mean "the actor that the peer registered under that name".
 *
 * Out: qmt_tell, qmt_ask, qmt_*_name -> the link's mailbox (its bound and policy apply; with QMT_BLOCK only to these,
 *      what the link itself accepts passes) -> `outgoing` on its turn, which encodes out->body along out->type->record.
 *      An ask carries a token that the link answers when the reply comes, or fails (QMT_FAIL_PEER_GONE) when the
 *      connection dies. When the link ends, the runtime fails those left in its mailbox by itself: asks with
 *      QMT_FAIL_PEER_GONE, tells through the sender's `undelivered`. A tell that `outgoing` has taken is on its way: if
 *      the connection breaks, nobody is told whether it arrived.
 * In:  the link decodes straight into a message from qmt_msg_new and passes it on by qmt_send_msg / qmt_ask_msg; which
 *      type an actor understands under a name is asked by qmt_accepts.
 * Threads: everything here runs on the link actor's own turn.  Blocks: never.
 */
#ifndef QMT_PORT_H
#define QMT_PORT_H

#include "actor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct qmt_outgoing {
	const struct qmt_type *type;
	const void *body;
	uint32_t rid;           /* 0: to_name says whom */
	struct qmt_str to_name;
	bool is_ask;
	struct qmt_token token; /* of an ask: answer it by qmt_reply…; may be stored */
	uint64_t deadline_ms;   /* of an ask: time left when it was sent */
	struct qmt_ref from;    /* the sending actor, unset from outside */
	uint64_t trace;         /* qmt_trace of the sender; 0: none. During `outgoing` it is the link's as well */
};

/* Inside `outgoing`, once: the link cannot carry this message. An ask is answered with `fail`, a tell goes back to its
 * sender's `undelivered`. *out is gone afterwards. */
QMT_EXPORT void qmt_outgoing_refuse(struct qmt_ctx *ctx, int fail);
/* By a link: the actor that the peer exported under this number has ended. Those who monitor the ref are told
 * `down`. */
QMT_EXPORT void qmt_ref_ended(struct qmt_ctx *ctx, uint32_t rid);
/* A bond: a link (qmt_link) between an actor here and one of the peer's. The runtime keeps it with the link actor, and
 * tells `actor` QMT_FAIL_PEER_GONE when that ends. Its hook `bond` is called for what happens here, and is to tell the
 * peer: */
enum qmt_bond_event {
	QMT_BOND_MADE,   /* `actor` has linked itself with `rid` */
	QMT_BOND_UNDONE, /* by `actor`: qmt_unlink */
	QMT_BOND_ENDED,  /* `actor` has ended, or could not be linked: reason, 0 for a wanted end */
};
struct qmt_bond {
	uint8_t event;        /* enum qmt_bond_event */
	uint64_t id;          /* one for each, of both directions; never used again */
	struct qmt_ref actor; /* here; with a rid: behind another link */
	uint32_t rid;         /* the peer's */
	int reason;
};
/* By a link: the peer's actor `rid` wants to be linked with `who`. Afterwards the hook says what becomes of it. 0;
 * QMT_FAIL_NOT_ALLOWED: its descriptor does not say remote_links; QMT_FAIL_NOT_RUNNING; behind another link:
 * QMT_FAIL_PEER_GONE, QMT_FAIL_NO_ROUTE; <0. */
QMT_EXPORT QMT_MUST_CHECK int qmt_bond_make(
	struct qmt_ctx *ctx, struct qmt_ref who, uint32_t rid, uint64_t *ret_id);
/* By a link: the peer's side has ended (reason: enum qmt_fail, 0 for a wanted end), or undone it. The hook is not
 * called for it any more. An id that is over: nothing happens. */
QMT_EXPORT void qmt_bond_end(struct qmt_ctx *ctx, uint64_t id, int reason);
QMT_EXPORT void qmt_bond_undo(struct qmt_ctx *ctx, uint64_t id);

/* Registers this actor under a name that `holder` has, without a moment in between where nobody has it. holder unset,
 * or it has ended meanwhile: as qmt_register. Afterwards nothing is sent to `holder` by that name; what was stands in
 * its mailbox before whatever this actor tells it next. Returns 0; QMT_FAIL_NAME_TAKEN: somebody else has it; <0 out of
 * memory. */
QMT_EXPORT QMT_MUST_CHECK int qmt_register_over(struct qmt_ctx *ctx, const char *name, struct qmt_ref holder);

/* By a link that has registered "peer/<PeerId>", each time: it is in use. The actor "names" (names.h), if there is one,
 * is told: it tells those who watch peers, and exchanges names with this one if it `shares`: both sides' configurations
 * name the other. Again when that changes. Its end is noticed. */
QMT_EXPORT void qmt_peer_up(struct qmt_ctx *ctx, const char *peer, bool shares);

/* A message of `type` with `extra` bytes behind its struct for variable parts, zeroed struct. It carries the trace of
 * this moment (qmt_trace), and of none later. NULL: out of memory. Owned by the caller until sent. */
QMT_EXPORT struct qmt_msg *qmt_msg_new(struct qmt_ctx *ctx, const struct qmt_type *type, size_t extra);
QMT_EXPORT void *qmt_msg_body(struct qmt_msg *msg);
QMT_EXPORT void *qmt_msg_extra(struct qmt_msg *msg, const struct qmt_type *type); /* aligned to 16, `extra` bytes */
/* Send without a copy. Takes *msg and nulls it on success only; otherwise as qmt_tell and qmt_ask. */
QMT_EXPORT QMT_MUST_CHECK int qmt_send_msg(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type,
	struct qmt_msg **msg);
enum { QMT_SEND_URGENT = 1 /* as qmt_tell_urgent */, QMT_SEND_TRY = 2 /* as qmt_try_tell */ };
/* The same with a choice of QMT_SEND_… (0: none; unknown ones: QMT_FAIL_BAD_REQUEST). */
QMT_EXPORT QMT_MUST_CHECK int qmt_send_msg_with(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type,
	struct qmt_msg **msg, uint32_t how);
QMT_EXPORT QMT_MUST_CHECK int qmt_ask_msg(struct qmt_ctx *ctx, struct qmt_ref to, const struct qmt_type *type,
	struct qmt_msg **msg, uint64_t timeout_ms, qmt_continuation *then, void *arg);
/* Answers with a decoded message, without a copy; takes *msg always. */
QMT_EXPORT void qmt_reply_msg(struct qmt_ctx *ctx, struct qmt_token token, const struct qmt_type *type,
	struct qmt_msg **msg);
/* The message type called `name` ("module.message") among those that `to` accepts; NULL: none, or not running. */
QMT_EXPORT const struct qmt_type *qmt_accepts(struct qmt_ctx *ctx, struct qmt_ref to, struct qmt_str name);
/* True while somebody still waits for this answer: the asker has not ended, its deadline has not passed. A moment's
 * picture. */
QMT_EXPORT bool qmt_token_waits(struct qmt_token token);
/* True while the actor behind the ref runs. */
QMT_EXPORT bool qmt_is_running(struct qmt_ref ref);
/* The type called `name` in the protocol of `of` (to decode replies); NULL: none. */
QMT_EXPORT const struct qmt_type *qmt_protocol_find(const struct qmt_protocol *protocol, struct qmt_str name);

/* Size in bytes of the variable parts of *body along its table, and a deep copy of it into `room` of that size. */
QMT_EXPORT size_t qmt_record_extra(const struct qmt_record *record, const void *body);
QMT_EXPORT void qmt_record_copy(const struct qmt_record *record, const void *body, void *ret_struct, void *room);

#ifdef __cplusplus
}
#endif

#endif
