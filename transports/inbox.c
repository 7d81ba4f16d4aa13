/* transports/inbox.c - see inbox.h. Few transfers are under way at a time (a lane each at the sender), so a list
 * will do. */
#include "transports/inbox.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/codec.h"
#include "transports/link_records.h"

struct inbox_transfer {
	struct inbox_transfer *next;
	uint64_t id, total;
	struct qmt_buf buf;
};

void inbox_init(struct inbox *box, size_t body_bytes, size_t reassembly_bytes)
{
	*box = (struct inbox){.body_bytes = body_bytes, .reassembly_bytes = reassembly_bytes};
}

static void give_back(struct inbox *box, size_t bytes)
{
	box->held -= bytes;
	if (box->of_node)
		atomic_fetch_sub_explicit(box->of_node, bytes, memory_order_relaxed);
}

static int take_room(struct inbox *box, size_t bytes, struct qmt_err *err)
{
	if (box->held + bytes > box->reassembly_bytes)
		return qmt_err_set(
			err, -EMSGSIZE, "more than reassembly_bytes (%zu) of unfinished messages", box->reassembly_bytes);
	box->held += bytes;
	if (!box->of_node ||
		atomic_fetch_add_explicit(box->of_node, bytes, memory_order_relaxed) + bytes <= box->of_node_bytes)
		return 0;
	give_back(box, bytes);
	return qmt_err_set(err, -EMSGSIZE, "more than reassembly_node_bytes (%llu) of unfinished messages on all links",
		(unsigned long long)box->of_node_bytes);
}

static void transfer_free(struct inbox *box, struct inbox_transfer *transfer)
{
	give_back(box, transfer->buf.len);
	box->count--;
	qmt_buf_free(&transfer->buf);
	free(transfer);
}

void inbox_fini(struct inbox *box)
{
	while (box->transfers) {
		struct inbox_transfer *transfer = box->transfers;

		box->transfers = transfer->next;
		transfer_free(box, transfer);
	}
}

static int begin_transfer(struct inbox *box, uint64_t id, uint64_t total, struct qmt_err *err)
{
	if (total > box->body_bytes)
		return qmt_err_set(
			err, -EMSGSIZE, "a message of %llu bytes, body_bytes is %zu", (unsigned long long)total, box->body_bytes);
	if (box->count >= INBOX_TRANSFERS)
		return qmt_err_set(err, -EMSGSIZE, "more than %d messages in pieces at once", INBOX_TRANSFERS);
	struct inbox_transfer *transfer = calloc(1, sizeof(*transfer));
	if (!transfer)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	transfer->id = id;
	transfer->total = total;
	transfer->next = box->transfers;
	box->transfers = transfer;
	box->count++;
	return 0;
}

static int whole_envelope(struct inbox_transfer *transfer, inbox_fn *fn, void *arg, struct qmt_err *err)
{
	struct qmt_bytes data = {(const uint8_t *)transfer->buf.data, (uint32_t)transfer->buf.len};
	struct envelope env;
	int rc = envelope_get(&data, &env, err);

	if (rc > 0 || (rc == 0 && (data.len || env.kind == ENVELOPE_CONTROL)))
		return qmt_err_set(err, -EBADMSG, "pieces that are not one message");
	return rc ? rc : fn(arg, &env);
}

static int add_piece(struct inbox *box, uint64_t id, const struct link_piece *piece, struct inbox_transfer ***ret_at,
	struct qmt_err *err)
{
	struct inbox_transfer **at = &box->transfers;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	if (!*at && piece->total == 0)
		return qmt_err_set(err, -EBADMSG, "a piece of a message that never began");
	if (*at && piece->total != 0)
		return qmt_err_set(err, -EBADMSG, "a message in pieces that begins twice");
	if (!*at) {
		int rc = begin_transfer(box, id, piece->total, err);

		if (rc)
			return rc;
		at = &box->transfers;
	}
	if (piece->data.len == 0 || piece->data.len > (*at)->total - (*at)->buf.len)
		return qmt_err_set(err, -EBADMSG, "a piece beyond the end of its message");
	int rc = take_room(box, piece->data.len, err);
	if (rc)
		return rc;
	qmt_buf_append(&(*at)->buf, piece->data.p, piece->data.len);
	if ((*at)->buf.failed) {
		give_back(box, piece->data.len);
		return qmt_err_set(err, -ENOMEM, "out of memory");
	}
	*ret_at = at;
	return 0;
}

static int take_piece(struct inbox *box, const struct envelope *env, inbox_fn *fn, void *arg, struct qmt_err *err)
{
	struct inbox_transfer **at = NULL;

	if (box->whole_only)
		return qmt_err_set(err, -EPROTO, "a message on a link that is not in use yet");
	struct link_piece *piece = codec_decode_new(&link_piece_record, env->body, NULL, err);

	if (!piece)
		return -EBADMSG;
	int rc = add_piece(box, env->id, piece, &at, err);
	free(piece);
	if (rc || (*at)->buf.len < (*at)->total)
		return rc;
	struct inbox_transfer *transfer = *at;
	*at = transfer->next;
	rc = whole_envelope(transfer, fn, arg, err);
	transfer_free(box, transfer);
	return rc;
}

int inbox_frame(struct inbox *box, struct qmt_bytes frame, inbox_fn *fn, void *arg, struct qmt_err *err)
{
	if (frame.len == 0)
		return qmt_err_set(err, -EBADMSG, "an empty frame");
	if (frame.p[0] != ENVELOPE_VERSION)
		return qmt_err_set(err, -EBADMSG, "envelope version %u, this node knows %d", frame.p[0], ENVELOPE_VERSION);
	struct qmt_bytes data = {frame.p + 1, frame.len - 1};
	for (;;) {
		struct envelope env;
		int rc = envelope_get(&data, &env, err);

		if (rc == 1)
			return 0;
		if (rc == 0 && env.kind == ENVELOPE_CONTROL && env.type == LINK_PIECE)
			rc = take_piece(box, &env, fn, arg, err);
		else if (rc == 0)
			rc = fn(arg, &env);
		if (rc)
			return rc;
	}
}
