/* transports/peers_metrics.c - what "peers" counts, and what links had counted that have ended.
 *
 * A link's own numbers end with it, so they are added up here, under the name of the peer; with those of the link in
 * use (link_metrics.c) they make counters that do not go back when a connection is cut. PEERS_TALLIES names are kept,
 * those whose links ended last: strangers cannot fill the memory. */
#include "transports/peers_internal.h"

enum { PEERS_TALLIES = 1024, TALLY_ROWS = 6 };

struct peers_tally {
	struct peers_tally *next;
	struct link_counts counts;
	char name[];
};

/* The name that list shows. */
static struct qmt_str name_of(const struct peers *peers, const struct link_ended *msg)
{
	struct peer_id id;
	const struct target *target = peer_id_from_bytes(msg->peer, &id, NULL) ? NULL : peers_target_of(peers, &id);

	return target ? qmt_str(target->config->name) : msg->node;
}

void peers_tally(struct peers *peers, const struct link_ended *msg)
{
	const struct link_counts *counts = &msg->counts;
	struct peers_tally **at = &peers->tallies, *tally;
	struct qmt_str name = name_of(peers, msg);
	uint32_t passed = 0;

	if (!msg->was_proven)
		return;
	while (*at && !qmt_str_is(name, (*at)->name) && ++passed < PEERS_TALLIES)
		at = &(*at)->next;
	tally = *at;
	if (tally)
		*at = tally->next;
	if (tally && !qmt_str_is(name, tally->name)) { /* the oldest makes room */
		free(tally);
		tally = NULL;
	}
	if (!tally)
		tally = calloc(1, sizeof(*tally) + name.len + 1);
	if (!tally)
		return;
	if (name.len)
		memcpy(tally->name, name.p, name.len);
	tally->counts.messages_in += counts->messages_in;
	tally->counts.messages_out += counts->messages_out;
	tally->counts.bytes_in += counts->bytes_in;
	tally->counts.bytes_out += counts->bytes_out;
	tally->counts.refused += counts->refused;
	tally->counts.limited += counts->limited;
	tally->next = peers->tallies;
	peers->tallies = tally;
}

void peers_metrics_stop(struct peers *peers)
{
	while (peers->tallies) {
		struct peers_tally *tally = peers->tallies;

		peers->tallies = tally->next;
		free(tally);
	}
}

static void on_get(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers *peers = state;
	uint32_t connected = 0, tallies = 0;

	(void)body;
	for (const struct remote *remote = peers->remotes; remote; remote = remote->next)
		connected += remote->up;
	for (const struct peers_tally *tally = peers->tallies; tally; tally = tally->next)
		tallies++;
	const struct metric own[] = {
		METRIC_VALUE(peers_connected, connected),
		METRIC_VALUE(dials, peers->attempts),
		METRIC_VALUE(dials_failed, peers->counts.dials_failed),
		METRIC_VALUE(hellos_refused, peers->counts.hellos_refused),
		METRIC_VALUE(links_made, peers->counts.links_made),
		METRIC_VALUE(links_replaced, peers->counts.links_replaced),
		METRIC_VALUE(links_lost, peers->counts.links_lost),
		METRIC_VALUE(identity_twice, peers->twin.count),
	};
	uint32_t count = sizeof(own) / sizeof(*own);
	struct metric *rows = calloc(count + (size_t)tallies * TALLY_ROWS, sizeof(*rows));

	if (!rows) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	memcpy(rows, own, sizeof(own));
	for (const struct peers_tally *tally = peers->tallies; tally; tally = tally->next) {
		const struct metric of_peer[TALLY_ROWS] = {
			METRIC_VALUE(link_messages_in, tally->counts.messages_in),
			METRIC_VALUE(link_messages_out, tally->counts.messages_out),
			METRIC_VALUE(link_bytes_in, tally->counts.bytes_in),
			METRIC_VALUE(link_bytes_out, tally->counts.bytes_out),
			METRIC_VALUE(link_refused, tally->counts.refused),
			METRIC_VALUE(link_limited, tally->counts.limited),
		};

		for (uint32_t i = 0; i < TALLY_ROWS; i++) {
			rows[count] = of_peer[i];
			rows[count++].label = qmt_str(tally->name);
		}
	}
	(void)QMT_REPLY(ctx, qmt_token(ctx), metrics_values, .metrics = {rows, count});
	free(rows);
}

qmt_handler *const peers_metrics_handlers[metrics_message_count] = {[metrics_get_id] = on_get};
