/* transports/outbox.h - what waits above the socket of one link: batches, control before data, long envelopes in
 * pieces.
 *
 * Threads: value of one link (or of a control client).   Blocks: never.
 * Order:   control overtakes data. Data of one key (the sending actor) stays in order; while a long envelope of a key
 *          is under way, later ones of that key wait behind it in a lane, those of other keys pass between its pieces.
 * Limits:  queue_bytes of data (one envelope may exceed it when nothing else waits); forced ones up to twice that;
 *          OUTBOX_CONTROL_BYTES of control.
 * Format:  a frame is a byte ENVELOPE_VERSION and envelopes (proto/envelope.h); pieces: link_records.h, LINK_PIECE.
 */
#ifndef TRANSPORTS_OUTBOX_H
#define TRANSPORTS_OUTBOX_H

#include "runtime/base/bytes.h"

struct outbox_limits {
	uint32_t batch_messages;
	size_t piece_bytes, queue_bytes, body_bytes;
};

enum { OUTBOX_CONTROL_BYTES = 4 << 20 };

/* Who sent it: envelopes with the same key stay in order. */
struct outbox_key {
	const void *who;
	uint32_t generation;
};

struct outbox_frame;
struct outbox_lane;

struct outbox_queue {
	struct outbox_frame *first, *last; /* closed frames that did not go out at once */
	struct qmt_buf open;               /* the frame being filled; empty or begins with the version byte */
	uint32_t open_count, closed;       /* envelopes in open; frames in first..last */
	uint64_t popped;                   /* frames that went out, ever */
	size_t bytes;                      /* in first..last and open */
};

struct outbox {
	struct outbox_limits limits;
	struct outbox_queue control, data;
	struct outbox_lane *lanes, *lanes_last; /* the first one has the next piece */
	size_t lane_bytes;
	uint64_t last_transfer;
	struct qmt_buf piece; /* a composed piece that is to go next; empty: none */
	size_t piece_data;    /* bytes of lane_bytes in it */
	bool lanes_turn;      /* pieces and batches take turns */
	bool gated;           /* data stays; control goes */
	struct qmt_buf spare; /* memory of a frame that went out */
	size_t start;         /* of the envelope being written */
	struct qmt_buf *writing;
	uint8_t source; /* of what outbox_front gave */
};

enum { OUTBOX_E_BUSY = 1, OUTBOX_E_TOO_LARGE = 2 };

void outbox_init(struct outbox *box, const struct outbox_limits *limits);
void outbox_fini(struct outbox *box);

/* Begins a data envelope: the caller appends it, whole, to the buffer that is returned, then outbox_end or
 * outbox_cancel. */
struct qmt_buf *outbox_begin(struct outbox *box);
/* True while a long envelope of this key waits: what is written now goes out later than its place among others' says,
 * so it may not rely on what they announce, nor they on what it announces (type names). */
bool outbox_in_lane(const struct outbox *box, struct outbox_key key);
/* 0: queued; *ret_in_lane: in a lane (as above; it was long itself, or follows one). OUTBOX_E_BUSY, OUTBOX_E_TOO_LARGE,
 * -ENOMEM: it is gone. forced: past queue_bytes (answers that a peer waits for). */
QMT_MUST_CHECK int outbox_end(struct outbox *box, struct outbox_key key, bool forced, bool *ret_in_lane);
void outbox_cancel(struct outbox *box);
/* The same for a control envelope. */
struct qmt_buf *outbox_control_begin(struct outbox *box);
QMT_MUST_CHECK int outbox_control_end(struct outbox *box);
/* More than half of what control may take is waiting: what can be refused is. */
bool outbox_control_is_deep(const struct outbox *box);

/* The next frame to hand to the socket; false: none (or gated). Valid until the next call on the outbox. */
bool outbox_front(struct outbox *box, struct qmt_bytes *ret_frame);
void outbox_pop(struct outbox *box); /* it was taken */

bool outbox_batch_full(const struct outbox *box); /* worth handing over before the turn ends */
bool outbox_is_empty(const struct outbox *box);   /* no data; control may be there */
size_t outbox_bytes(const struct outbox *box);    /* of data */

#endif
