/* transports/outbox.c - see outbox.h. The path that matters is short: begin, encode into data.open, end, front, pop: no
 * allocation, no copy. Closed frames exist only while the socket is full, lanes only while a long envelope is under
 * way. */
#include "transports/outbox.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/codec.h"
#include "proto/envelope.h"
#include "transports/link_records.h"

enum { SOURCE_NONE, SOURCE_CONTROL, SOURCE_DATA, SOURCE_PIECE };

struct outbox_frame {
	struct outbox_frame *next;
	struct qmt_buf buf;
};

/* In a lane: either one long envelope, or a frame of short ones that follow it. */
struct item {
	struct item *next;
	struct qmt_buf buf;
	uint32_t count;    /* envelopes of a frame; 0: a long one */
	size_t sent;       /* of a long one */
	uint64_t transfer; /* of a long one */
};

struct outbox_lane {
	struct outbox_lane *next;
	struct outbox_key key;
	uint64_t after; /* frames of data that have to leave first: envelopes of this key may be in them */
	struct item *first, *last;
};

static bool same_key(struct outbox_key a, struct outbox_key b)
{
	return a.who == b.who && a.generation == b.generation;
}

void outbox_init(struct outbox *box, const struct outbox_limits *limits)
{
	*box = (struct outbox){.limits = *limits};
}

static void queue_fini(struct outbox_queue *queue)
{
	while (queue->first) {
		struct outbox_frame *frame = queue->first;

		queue->first = frame->next;
		qmt_buf_free(&frame->buf);
		free(frame);
	}
	qmt_buf_free(&queue->open);
}

static void item_free(struct item *item)
{
	qmt_buf_free(&item->buf);
	free(item);
}

void outbox_fini(struct outbox *box)
{
	queue_fini(&box->control);
	queue_fini(&box->data);
	while (box->lanes) {
		struct outbox_lane *lane = box->lanes;

		box->lanes = lane->next;
		while (lane->first) {
			struct item *item = lane->first;

			lane->first = item->next;
			item_free(item);
		}
		free(lane);
	}
	qmt_buf_free(&box->piece);
	qmt_buf_free(&box->spare);
	*box = (struct outbox){0};
}

static bool open_is_full(const struct outbox *box, const struct outbox_queue *queue)
{
	return queue->open_count >= box->limits.batch_messages || queue->open.len >= box->limits.piece_bytes;
}

/* Moves the open frame to the closed ones. Out of memory: it just grows on, and is cut by the peer's frame limit at
 * worst. */
static void close_open(struct outbox *box, struct outbox_queue *queue)
{
	struct outbox_frame *frame = malloc(sizeof(*frame));

	if (!frame)
		return;
	*frame = (struct outbox_frame){.buf = queue->open};
	if (queue->last)
		queue->last->next = frame;
	else
		queue->first = frame;
	queue->last = frame;
	queue->closed++;
	queue->open = box->spare;
	box->spare = (struct qmt_buf){0};
	queue->open.len = 0;
	queue->open_count = 0;
}

static struct qmt_buf *begin(struct outbox *box, struct outbox_queue *queue)
{
	static const uint8_t version = ENVELOPE_VERSION;

	if (open_is_full(box, queue))
		close_open(box, queue);
	if (queue->open.len == 0) {
		qmt_buf_append(&queue->open, &version, 1);
		queue->bytes++;
	}
	box->start = queue->open.len;
	box->writing = &queue->open;
	return box->writing;
}

struct qmt_buf *outbox_begin(struct outbox *box)
{
	return begin(box, &box->data);
}

struct qmt_buf *outbox_control_begin(struct outbox *box)
{
	return begin(box, &box->control);
}

/* Takes the half-written envelope out again. */
void outbox_cancel(struct outbox *box)
{
	struct qmt_buf *buf = box->writing;

	buf->failed = false;
	if (buf->len > box->start)
		buf->len = box->start;
	box->writing = NULL;
}

static struct outbox_lane *find_lane(const struct outbox *box, struct outbox_key key)
{
	for (struct outbox_lane *lane = box->lanes; lane; lane = lane->next)
		if (same_key(lane->key, key))
			return lane;
	return NULL;
}

bool outbox_in_lane(const struct outbox *box, struct outbox_key key)
{
	return box->lanes && find_lane(box, key);
}

static void put_lane_last(struct outbox *box, struct outbox_lane *lane)
{
	if (box->lanes_last)
		box->lanes_last->next = lane;
	else
		box->lanes = lane;
	box->lanes_last = lane;
}

static struct outbox_lane *need_lane(struct outbox *box, struct outbox_key key)
{
	struct outbox_lane *lane = find_lane(box, key);

	if (lane)
		return lane;
	lane = calloc(1, sizeof(*lane));
	if (!lane)
		return NULL;
	lane->key = key;
	lane->after = box->data.popped + box->data.closed + (box->data.open_count > 0);
	put_lane_last(box, lane);
	return lane;
}

/* Puts a copy of the envelope at the end of the key's lane. */
static int put_in_lane(struct outbox *box, struct outbox_key key, struct qmt_str envelope)
{
	static const uint8_t version = ENVELOPE_VERSION;
	bool is_long = envelope.len > box->limits.piece_bytes;
	struct outbox_lane *lane = need_lane(box, key);

	if (!lane)
		return -ENOMEM;
	struct item *item = is_long ? NULL : lane->last;
	if (item &&
		(item->count == 0 || item->count >= box->limits.batch_messages ||
			item->buf.len + envelope.len > box->limits.piece_bytes))
		item = NULL;
	if (item) {
		qmt_buf_append(&item->buf, envelope.p, envelope.len);
		if (item->buf.failed)
			return -ENOMEM;
		item->count++;
		return 0;
	}
	item = calloc(1, sizeof(*item));
	if (item && !is_long)
		qmt_buf_append(&item->buf, &version, 1);
	if (item)
		qmt_buf_append(&item->buf, envelope.p, envelope.len);
	if (!item || item->buf.failed) {
		if (item)
			item_free(item);
		return -ENOMEM; /* an empty lane is taken away by the next look at it */
	}
	item->count = !is_long;
	item->transfer = is_long ? ++box->last_transfer : 0;
	if (lane->last)
		lane->last->next = item;
	else
		lane->first = item;
	lane->last = item;
	return 0;
}

int outbox_end(struct outbox *box, struct outbox_key key, bool forced, bool *ret_in_lane)
{
	struct qmt_buf *buf = box->writing;
	size_t len = buf->len - box->start, waiting = outbox_bytes(box), limit = box->limits.queue_bytes * (forced ? 2 : 1);
	bool in_lane;
	int rc = 0;

	if (buf->failed)
		rc = -ENOMEM;
	else if (len > box->limits.body_bytes)
		rc = OUTBOX_E_TOO_LARGE;
	else if (waiting > 1 && waiting + len > limit) /* 1: the version byte of an empty frame */
		rc = OUTBOX_E_BUSY;
	if (rc) {
		outbox_cancel(box);
		return rc;
	}
	in_lane = len > box->limits.piece_bytes || outbox_in_lane(box, key);
	if (in_lane) {
		rc = put_in_lane(box, key, qmt_strn(buf->data + box->start, len));
		outbox_cancel(box);
		if (rc)
			return rc;
		box->lane_bytes += len;
		if (buf->cap > 4 * box->limits.piece_bytes && buf->len <= 1) { /* do not keep the memory of a long one */
			qmt_buf_free(buf);
			box->data.bytes = box->data.bytes ? box->data.bytes - 1 : 0;
		}
	} else {
		box->data.bytes += len;
		box->data.open_count++;
		box->writing = NULL;
	}
	*ret_in_lane = in_lane;
	return 0;
}

int outbox_control_end(struct outbox *box)
{
	struct qmt_buf *buf = box->writing;
	size_t len = buf->len - box->start;

	if (buf->failed || box->control.bytes + len > OUTBOX_CONTROL_BYTES) {
		int rc = buf->failed ? -ENOMEM : OUTBOX_E_BUSY;

		outbox_cancel(box);
		return rc;
	}
	box->control.bytes += len;
	box->control.open_count++;
	box->writing = NULL;
	return 0;
}

bool outbox_control_is_deep(const struct outbox *box)
{
	return box->control.bytes > OUTBOX_CONTROL_BYTES / 2;
}

/* Takes the lane at *at out of the list; before: the one in front of it. */
static void take_lane(struct outbox *box, struct outbox_lane **at, struct outbox_lane *before)
{
	struct outbox_lane *lane = *at;

	*at = lane->next;
	if (box->lanes_last == lane)
		box->lanes_last = before;
	lane->next = NULL;
}

/* The first lane that may go now, taken out of the list. */
static struct outbox_lane *next_lane(struct outbox *box)
{
	struct outbox_lane **at = &box->lanes, *before = NULL;

	while (*at) {
		struct outbox_lane *lane = *at;

		if (!lane->first) { /* left empty when memory was out */
			take_lane(box, at, before);
			free(lane);
			continue;
		}
		if (lane->after <= box->data.popped) {
			take_lane(box, at, before);
			return lane;
		}
		before = lane;
		at = &lane->next;
	}
	return NULL;
}

/* Makes the next piece of the first lane that may go, and moves that lane to the end. False: none, or no memory now. */
static bool compose(struct outbox *box)
{
	struct outbox_lane *lane = next_lane(box);

	if (!lane)
		return false;
	struct item *item = lane->first;
	bool done = true;
	if (item->count) {
		qmt_buf_free(&box->piece);
		box->piece = item->buf;
		item->buf = (struct qmt_buf){0};
		box->piece_data = box->piece.len - 1;
	} else {
		static const uint8_t version = ENVELOPE_VERSION;
		size_t left = item->buf.len - item->sent, n = left < box->limits.piece_bytes ? left : box->limits.piece_bytes;
		struct envelope env = {.kind = ENVELOPE_CONTROL, .id = item->transfer, .type = LINK_PIECE};
		struct link_piece piece = {
			.total = item->sent == 0 ? item->buf.len : 0,
			.data = {(const uint8_t *)item->buf.data + item->sent, (uint32_t)n},
		};

		box->piece.len = 0;
		qmt_buf_append(&box->piece, &version, 1);
		envelope_put(&box->piece, &env);
		if (codec_encode(&link_piece_record, &piece, NULL, &box->piece) || box->piece.failed) {
			qmt_buf_free(&box->piece);
			put_lane_last(box, lane);
			return false;
		}
		item->sent += n;
		box->piece_data = n;
		done = item->sent == item->buf.len;
	}
	if (done) {
		lane->first = item->next;
		if (!lane->first)
			lane->last = NULL;
		item_free(item);
	}
	if (lane->first)
		put_lane_last(box, lane);
	else
		free(lane);
	return true;
}

static bool queue_front(const struct outbox_queue *queue, struct qmt_bytes *ret_frame)
{
	const struct qmt_buf *buf = queue->first ? &queue->first->buf : &queue->open;

	if (!queue->first && queue->open_count == 0)
		return false;
	*ret_frame = (struct qmt_bytes){(const uint8_t *)buf->data, (uint32_t)buf->len};
	return true;
}

bool outbox_front(struct outbox *box, struct qmt_bytes *ret_frame)
{
	box->source = SOURCE_NONE;
	if (queue_front(&box->control, ret_frame)) {
		box->source = SOURCE_CONTROL;
		return true;
	}
	if (box->gated)
		return false;
	bool no_data = !box->data.first && box->data.open_count == 0;
	if (box->piece.len || (box->lanes && (box->lanes_turn || no_data) && compose(box))) {
		*ret_frame = (struct qmt_bytes){(const uint8_t *)box->piece.data, (uint32_t)box->piece.len};
		box->source = SOURCE_PIECE;
		return true;
	}
	if (queue_front(&box->data, ret_frame))
		box->source = SOURCE_DATA;
	return box->source != SOURCE_NONE;
}

static void queue_pop(struct outbox *box, struct outbox_queue *queue)
{
	struct outbox_frame *frame = queue->first;

	queue->popped++;
	if (frame) {
		queue->closed--;
		queue->bytes -= frame->buf.len;
		queue->first = frame->next;
		if (!queue->first)
			queue->last = NULL;
		qmt_buf_free(&box->spare);
		box->spare = frame->buf;
		box->spare.len = 0;
		free(frame);
		return;
	}
	queue->bytes -= queue->open.len;
	queue->open.len = 0;
	queue->open_count = 0;
}

void outbox_pop(struct outbox *box)
{
	switch (box->source) {
	case SOURCE_CONTROL:
		queue_pop(box, &box->control);
		break;
	case SOURCE_DATA:
		queue_pop(box, &box->data);
		box->lanes_turn = true;
		break;
	case SOURCE_PIECE:
		box->lane_bytes -= box->piece_data;
		box->piece.len = 0;
		box->lanes_turn = false;
		break;
	default:
		break;
	}
	box->source = SOURCE_NONE;
}

bool outbox_batch_full(const struct outbox *box)
{
	return open_is_full(box, &box->data);
}

bool outbox_is_empty(const struct outbox *box)
{
	return !box->data.first && box->data.open_count == 0 && !box->lanes && box->piece.len == 0;
}

size_t outbox_bytes(const struct outbox *box)
{
	return box->data.bytes + box->lane_bytes;
}
