/* transports/peers_audit.c - what peers did and what became of them, noted in the store (qmt audit).
 *
 * Refusals come as often as strangers please, and each must not be a commit. The first one of a peer is noted at once;
 * what follows within AUDIT_FLUSH_MS is counted here and added to that row. Identities cost nothing, so at most
 * AUDIT_ROWS_A_MINUTE refused peers are noted by name; the others are one row without a PeerId.
 */
#include "transports/peers_internal.h"

enum { AUDIT_FLUSH_MS = 10000, AUDIT_MERGE_MS = 3600000, AUDIT_ROWS_A_MINUTE = 30 };

static void add(struct qmt_ctx *ctx, const struct store_audit_add *msg)
{
	struct qmt_ref store;

	if (qmt_lookup(ctx, "store", &store) == 0)
		(void)qmt_tell(ctx, store, &store_audit_add_type, msg);
}

void peers_audit(struct qmt_ctx *ctx, const char *event, const char *peer_id, const char *name, const char *text)
{
	char why[400];

	qmt_text(why, sizeof(why), "%s%s%s", name, name[0] ? ": " : "", text);
	add(ctx,
		&(struct store_audit_add){.row = {.event = qmt_str(event), .peer_id = qmt_str(peer_id), .text = qmt_str(why)}});
}

static void note(struct qmt_ctx *ctx, struct audit_refused *row, uint64_t count)
{
	static const struct peer_id nobody = {0};
	bool known = peer_id_compare(&row->id, &nobody) != 0;
	char id[PEER_ID_TEXT + 1] = "";

	if (known)
		peer_id_text(&row->id, id);
	add(ctx,
		&(struct store_audit_add){.row = {.event = qmt_str("link_refused"),
									  .peer_id = qmt_str(id),
									  .text = qmt_str(known ? row->why : "more peers than are noted one by one"),
									  .count = count},
			.merge_ms = AUDIT_MERGE_MS});
	row->count = 0;
}

static void on_flush(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct peers *peers = state;
	bool some = false;

	(void)arg;
	peers->audit_timer = (struct qmt_timer){0};
	for (size_t i = 0; i < AUDIT_REFUSED; i++) {
		struct audit_refused *row = &peers->refused[i];

		if (row->used && row->count)
			note(ctx, row, row->count);
		else
			row->used = false;
		some |= row->used;
	}
	if (some)
		(void)qmt_timer_start(ctx, AUDIT_FLUSH_MS, on_flush, NULL, &peers->audit_timer);
}

static struct audit_refused *row_of(struct peers *peers, const struct peer_id *id, bool *ret_is_new)
{
	struct audit_refused *free_one = NULL;

	for (size_t i = 0; i < AUDIT_REFUSED; i++) {
		struct audit_refused *row = &peers->refused[i];

		if (row->used && peer_id_compare(&row->id, id) == 0) {
			*ret_is_new = false;
			return row;
		}
		if (!row->used)
			free_one = row;
	}
	*ret_is_new = true;
	return free_one;
}

/* A refusal, told by the link's own log line; here it is only noted. */
void peers_audit_refused(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, const char *name,
	const char *why, const char *from)
{
	static const struct peer_id nobody = {0};
	uint64_t now = qmt_now_ms(ctx);
	bool is_new;
	struct audit_refused *row = row_of(peers, id, &is_new);

	if (now - peers->audit_minute_ms >= 60000) {
		peers->audit_minute_ms = now;
		peers->audit_rows = 0;
	}
	if (is_new && (!row || peers->audit_rows >= AUDIT_ROWS_A_MINUTE)) {
		id = &nobody;
		row = row_of(peers, id, &is_new);
		if (!row) /* a table full of names: the last one stands for those that find no room */
			row = &peers->refused[AUDIT_REFUSED - 1];
		is_new = is_new && !row->used;
	}
	if (is_new) {
		*row = (struct audit_refused){.used = true, .id = *id};
		peers->audit_rows++;
	}
	qmt_text(row->why, sizeof(row->why), "%s%s%s%s%s", name, name[0] ? " " : "", from, from[0] ? ": " : "", why);
	if (is_new)
		note(ctx, row, 1);
	else
		row->count++;
	if (peers->audit_timer.id == 0)
		(void)qmt_timer_start(ctx, AUDIT_FLUSH_MS, on_flush, NULL, &peers->audit_timer);
}
