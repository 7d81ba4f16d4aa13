/* transports/peers_audit.c - who was refused, noted in the store (qmt audit).
 *
 * Refusals come as often as strangers please, and each must not be a commit. The first one of a peer is noted at once;
 * what follows within AUDIT_FLUSH_MS is counted here and added to that row. Identities cost nothing, so at most
 * AUDIT_ROWS_A_MINUTE refused peers are noted by name; the others are one row without a PeerId. Refusals by a limit
 * (peers.limited) are the same, at most once in AUDIT_LIMITED_MS.
 */
#include "transports/peers_internal.h"

enum { AUDIT_FLUSH_MS = 10000, AUDIT_LIMITED_MS = 60000, AUDIT_MERGE_MS = 3600000, AUDIT_ROWS_A_MINUTE = 30 };

/* True: the store has it in its mailbox. */
static bool add(struct qmt_ctx *ctx, const struct store_audit_add *msg)
{
	struct qmt_ref store;

	return qmt_lookup(ctx, "store", &store) == 0 && qmt_tell(ctx, store, &store_audit_add_type, msg) == 0;
}

/* NULL id: of those that are not noted one by one. What the store does not take is counted on. */
static void note(struct qmt_ctx *ctx, struct audit_refused *row, const struct peer_id *id)
{
	char text[PEER_ID_TEXT + 1] = "";

	row->noted_ms = qmt_now_ms(ctx);
	if (id)
		peer_id_text(id, text);
	if (add(ctx,
			&(struct store_audit_add){.row = {.event = qmt_str(row->limited ? "limited" : "link_refused"),
										  .peer_id = qmt_str(text),
										  .text = qmt_str(id ? row->why : "more peers than are noted one by one"),
										  .count = row->count},
				.merge_ms = AUDIT_MERGE_MS}))
		row->count = 0;
}

/* True: look again later. */
static bool flush_row(struct qmt_ctx *ctx, struct audit_refused *row, const struct peer_id *id)
{
	if (row->used && row->limited && qmt_now_ms(ctx) - row->noted_ms < AUDIT_LIMITED_MS)
		return true;
	if (row->used && row->count)
		note(ctx, row, id);
	else
		row->used = false;
	return row->used;
}

static void on_flush(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct peers *peers = state;
	bool some;

	(void)arg;
	peers->audit_timer = (struct qmt_timer){0};
	some = flush_row(ctx, &peers->refused_others, NULL);
	some |= flush_row(ctx, &peers->limited_others, NULL);
	for (size_t i = 0; i < AUDIT_REFUSED; i++)
		some |= flush_row(ctx, &peers->refused[i], &peers->refused[i].id);
	if (some)
		(void)qmt_timer_start(ctx, AUDIT_FLUSH_MS, on_flush, NULL, &peers->audit_timer);
}

/* The row of this peer, or a free one; NULL: none. */
static struct audit_refused *row_of(struct peers *peers, const struct peer_id *id, bool limited)
{
	struct audit_refused *free_one = NULL;

	for (size_t i = 0; i < AUDIT_REFUSED; i++) {
		struct audit_refused *row = &peers->refused[i];

		if (row->used && row->limited == limited && peer_id_compare(&row->id, id) == 0)
			return row;
		if (!row->used)
			free_one = row;
	}
	return free_one;
}

/* True: it is the first of its row. */
static bool count(
	struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, bool limited, const char *why, uint64_t times)
{
	uint64_t now = qmt_now_ms(ctx);
	struct audit_refused *row = row_of(peers, id, limited);
	bool is_new;

	if (now - peers->audit_minute_ms >= 60000) {
		peers->audit_minute_ms = now;
		peers->audit_rows = 0;
	}
	if (!row || (!row->used && peers->audit_rows >= AUDIT_ROWS_A_MINUTE)) {
		row = limited ? &peers->limited_others : &peers->refused_others;
		id = NULL;
	}
	is_new = !row->used;
	if (is_new) {
		*row = (struct audit_refused){.used = true, .limited = limited};
		if (id)
			row->id = *id;
		peers->audit_rows += id != NULL;
	}
	row->count += times;
	qmt_text(row->why, sizeof(row->why), "%s", why);
	if (is_new)
		note(ctx, row, id);
	if (peers->audit_timer.id == 0)
		(void)qmt_timer_start(ctx, AUDIT_FLUSH_MS, on_flush, NULL, &peers->audit_timer);
	return is_new;
}

/* A refusal, told by the link's own log line; here it is only noted. */
void peers_audit_refused(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, const char *name,
	const char *why, const char *from)
{
	char text[sizeof(((struct audit_refused *)0)->why)];

	qmt_text(text, sizeof(text), "%s%s%s%s%s", name, name[0] ? " " : "", from, from[0] ? ": " : "", why);
	(void)count(ctx, peers, id, false, text, 1);
}

void peers_on_limited(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_limited *msg = body;
	char peer[PEER_ID_TEXT + 1], limit[60];
	struct peer_id id;

	if (peer_id_parse(msg->peer, &id, NULL))
		return;
	peer_id_text(&id, peer);
	qmt_text(limit, sizeof(limit), "%.*s", QMT_STR_ARG(msg->limit));
	if (count(ctx, state, &id, true, limit, msg->count ? msg->count : 1))
		QMT_LOG(ctx, QMT_WARN, "peer.limited", "peer", peer, "limit", limit, "note",
			"refused what is beyond it; further ones are counted (qmt audit, qmt metrics)");
}
