/* transports/link_internal.h - the state of a link actor; for link*.c only.
 *
 * Threads: all of it belongs to the link's turn.
 */
#ifndef TRANSPORTS_LINK_INTERNAL_H
#define TRANSPORTS_LINK_INTERNAL_H

#include "proto/contract/contract.h"
#include "proto/envelope.h"
#include "runtime/port.h"
#include "transports/export_table.h"
#include "transports/inbox.h"
#include "transports/link.h"
#include "transports/link_records.h"
#include "transports/outbox.h"
#include "transports/type_table.h"

enum link_state { LINK_DIALING, LINK_HELLO, LINK_PROVEN_STATE, LINK_UP, LINK_DRAINING, LINK_CLOSED, LINK_STATES };

enum { LATE_REFS = 64 };

/* What is said once per link, however often it happens. */
enum link_complaint {
	COMPLAIN_NOT_ALLOWED,
	COMPLAIN_UNKNOWN_MESSAGE,
	COMPLAIN_NO_TARGET,
	COMPLAIN_BAD_BODY,
	COMPLAIN_SCOPE,
	COMPLAIN_FULL,
	COMPLAIN_PEER_REFUSED,
	COMPLAIN_LINK_BUSY,
	COMPLAIN_EXPORTS,
	COMPLAIN_WRONG_ANSWER,
	COMPLAIN_NO_ANSWER,
	COMPLAIN_BOND,
	COMPLAIN_LIMIT,
	COMPLAINTS
};

/* An ask of ours that waits for the peer's answer; its id on the wire is sequence << 16 | slot. */
struct ask_out {
	struct qmt_token token;
	const struct qmt_type *asked;
	uint64_t sequence, expires_ms;
	uint32_t next_free;
	bool used;
};

/* An ask of the peer that waits for a local answer. */
struct ask_in {
	uint64_t id; /* as the peer numbered it */
	struct qmt_ref target;
	uint32_t next; /* free: the next free one; used: the next of its bucket */
	bool used, cancelled;
};

struct link {
	/* const after start */
	const struct link_config *config;
	const struct transports_limits *limits;
	struct qmt_ref self;
	struct qmt_ref peers; /* of_mesh */

	uint8_t state;     /* enum link_state */
	bool asked;        /* HELLO waits for the word of "peers" */
	bool ending;       /* only waits for the other side to hang up */
	bool use_seen;     /* the deciding side chose this link */
	bool named_there;  /* the peer names this node (LINK_KNOWN) */
	bool known_said;   /* it was told the same */
	struct wire *wire; /* NULL: closed */
	bool wire_full;
	bool held;              /* qmt_hold */
	uint64_t hold_spent_ms; /* since the wire was last writable */

	struct hello hello;
	struct hello_self hello_self;
	struct peer_id peer_id;
	char peer[PEER_ID_TEXT + 1]; /* "" before it is proven */
	struct link_scope {
		char *id;
		uint8_t role, granted; /* enum authority_role: of the peer here; of this node there, as far as is known */
	} *own,                    /* of this node, as "peers" said last */
		scopes[HELLO_SCOPES];  /* shared ones, by their number on this link; never taken out again */
	const char *own_ids[HELLO_SCOPES];
	uint32_t own_count, scope_count;
	uint32_t scope_out; /* what this node says goes in this one: where the peer lets it do the most */
	bool named;

	struct outbox outbox;
	struct inbox inbox;
	struct type_out types_out;
	struct type_in types_in;
	struct export_table exports; /* ours that the peer knows */
	struct export_table dead;    /* numbers of the peer's that are gone (ref.rid); grows to exports_max */
	uint32_t late[LATE_REFS];    /* dead, and just arrived: a ring; see link_refs.c */
	uint32_t late_count, late_told;
	struct ask_out *asks_out;
	uint32_t asks_out_room, asks_out_free, asks_out_count;
	struct ask_in *asks_in;
	uint32_t asks_in_room, asks_in_free, asks_in_count;
	uint32_t *asks_in_buckets; /* by id: the first slot; a power of two, at least asks_in_room */
	uint32_t asks_in_bucket_count;
	uint64_t asks_in_key; /* odd and secret: the peer chooses the ids, and must not choose buckets */
	uint64_t ask_sequence;

	struct link_bond_row *bonds; /* link_bonds.c */
	uint32_t bond_room, bond_count;
	uint32_t bonds_fresh; /* made by the peer since the last tick */

	/* the receiver by name that was looked up last */
	char last_name[ENVELOPE_NAME + 1];
	struct qmt_ref last_named;

	/* taking over and retiring (link.c) */
	struct qmt_ref predecessor; /* data is gated until it has retired */
	struct qmt_ref successor;
	bool bye_sent, bye_acked, fin_sent, fin_seen;

	/* time */
	struct qmt_timer timer; /* HELLO, then ticks; draining: both in one */
	struct qmt_timer ask_timer;
	struct qmt_timer hold_timer;
	uint64_t heard_ms, data_ms, since_ms;
	bool suspect;
	uint64_t rtt_ns;
	uint32_t complained; /* bits: enum link_complaint */
	struct budget *budget; /* of a proven peer; NULL: no bound */
	uint64_t limited_ms;   /* when "peers" was last told of refusals by it */
	uint64_t limited_told; /* of counts.limited */
	struct link_counts counts;
};

/* link.c */
void link_set_state(struct link *link, enum link_state state); /* asserts that the move is allowed */
const char *link_name(const struct link *link);                /* for logs */
void link_restart_timer(struct qmt_ctx *ctx, struct link *link, uint64_t delay_ms);
void link_start_ticks(struct qmt_ctx *ctx, struct link *link);
void link_tell_successor(struct qmt_ctx *ctx, struct link *link);
void link_close(struct qmt_ctx *ctx, struct link *link, int code, const char *why);
/* Tells the other side why, waits a moment for it to hang up, closes. */
void link_refuse(struct qmt_ctx *ctx, struct link *link, int code, const char *why);
/* Logs the first of its kind. */
void link_complain(
	struct qmt_ctx *ctx, struct link *link, enum link_complaint what, const char *why, const char *subject);

/* link_hello.c */
void link_init_self(struct link *link);
void link_hello_frame(struct qmt_ctx *ctx, struct link *link, struct qmt_bytes frame);
void link_on_admit(struct qmt_ctx *ctx, void *state, const void *body);
void link_on_deny(struct qmt_ctx *ctx, void *state, const void *body);

/* link_scopes.c */
int link_own_rights(struct link *link, const struct link_right *rights, uint32_t count); /* 0 or -ENOMEM */
int link_node_scopes(struct link *link); /* of a control client */
int link_share_agreed(struct link *link);                                             /* by HELLO; 0 or -ENOMEM */
void link_scopes_fini(struct link *link);
void link_on_scopes(struct qmt_ctx *ctx, void *state, const void *body);
void link_take_scopes(struct qmt_ctx *ctx, struct link *link, const struct envelope *env);
void link_take_share(struct qmt_ctx *ctx, struct link *link, const struct envelope *env);

/* link_control.c */
void link_control(struct qmt_ctx *ctx, struct link *link, const struct envelope *env);
/* `named` may have changed: tells the peer, and who shares names. */
void link_name_changed(struct qmt_ctx *ctx, struct link *link);
void link_drain_step(struct qmt_ctx *ctx, struct link *link);
void link_open_gate(struct qmt_ctx *ctx, struct link *link);
extern qmt_handler *const link_handlers[link_message_count];

/* link_out.c */
void link_outgoing(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out);
void link_send_control(
	struct qmt_ctx *ctx, struct link *link, enum link_control what, const struct qmt_record *record, const void *body);
void link_send_error(
	struct qmt_ctx *ctx, struct link *link, uint64_t id, struct qmt_ref target, const struct link_error *error);
void link_send_reply(
	struct qmt_ctx *ctx, struct link *link, uint64_t id, struct qmt_ref target, const struct qmt_result *result);
void link_pump(struct qmt_ctx *ctx, struct link *link);
int link_take_answer(struct qmt_ctx *ctx, struct link *link, const struct envelope *env, struct qmt_err *err);
/* Gives up asks whose askers are gone, and tells the peer. */
void link_sweep_asks(struct qmt_ctx *ctx, struct link *link);
void link_fail_asks(struct qmt_ctx *ctx, struct link *link);
void link_hold_end(struct qmt_ctx *ctx, struct link *link);

/* link_bonds.c */
int link_bond(struct qmt_ctx *ctx, void *state, const struct qmt_bond *bond);
void link_take_bond(struct qmt_ctx *ctx, struct link *link, const struct envelope *env);
void link_take_bond_over(struct qmt_ctx *ctx, struct link *link, const struct envelope *env);

/* link_in.c */
int link_envelope(struct qmt_ctx *ctx, struct link *link, const struct envelope *env, struct qmt_err *err);
/* Decodes a body into a message of row->last_type. NULL and err: bad bytes, unknown refs, out of memory. */
struct qmt_msg *link_decode(struct qmt_ctx *ctx, struct link *link, const struct type_in_row *row,
	struct qmt_bytes body, bool is_answer, struct qmt_err *err);

/* link_limit.c: requests a minute of the peer, over all of its links */
bool link_budget_open(struct qmt_ctx *ctx, struct link *link); /* false: out of memory */
void link_budget_close(struct qmt_ctx *ctx, struct link *link);
/* False: one too many, err and *ret_wait_ms say so. */
bool link_within_limit(
	struct qmt_ctx *ctx, struct link *link, enum authority_pace pace, uint64_t *ret_wait_ms, struct qmt_err *err);
/* Tells "peers", for the audit, what was refused since: once a minute, and at the end. */
void link_tell_limited(struct qmt_ctx *ctx, struct link *link, bool is_last);

/* link_metrics.c */
extern qmt_handler *const link_metrics_handlers[metrics_message_count];

/* link_refs.c: refs <-> numbers. number = export << 1, or the receiver's own export << 1 | 1. */
struct link_refs_arg {
	struct qmt_ctx *ctx;
	struct link *link;
};
int link_ref_out(void *arg, struct qmt_ref ref, uint64_t *ret_number);
int link_ref_in(void *arg, uint64_t number, struct qmt_ref *ret_ref);
bool link_import_is_dead(const struct link *link, uint32_t number);
/* With each tick. */
void link_note_late(struct link *link, uint32_t number); /* tells so with the next two ticks */
void link_tell_late_refs(struct qmt_ctx *ctx, struct link *link);
void link_export_down(struct qmt_ctx *ctx, struct link *link, struct qmt_ref who);

#endif
