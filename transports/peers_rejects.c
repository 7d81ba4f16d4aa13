/* transports/peers_rejects.c - connections that did not become links: each kind is logged once, then counted.
 *
 * A refusal by policy names the PeerId, of which a stranger has as many as it likes: its kind is the host alone.
 *
 * A node that is refused dials again and again, and anybody may connect; what they do must not fill the log. A kind is
 * host and reason; it is said again, with the number of what was held back, when REJECT_QUIET_MS have passed. The table
 * is small and the oldest entry makes room, so a stranger who varies both can at worst bring back one line per
 * connection. */
#include "transports/peers_internal.h"

enum { REJECT_QUIET_MS = 600000 };

/* FNV-1a, 64 bit. */
static uint64_t hash(uint64_t h, struct qmt_str text)
{
	for (uint32_t i = 0; i < text.len; i++)
		h = (h ^ (unsigned char)text.p[i]) * 1099511628211u;
	return h;
}

/* "/ip4/10.0.0.7/tcp/4711" -> "/ip4/10.0.0.7": the port is another one each time. */
static struct qmt_str host_of(struct qmt_str address)
{
	struct qmt_str host = address;

	for (uint32_t i = 1, slashes = 0; i < address.len; i++)
		if (address.p[i] == '/' && ++slashes == 2)
			host.len = i;
	return host;
}

void peers_rejected(struct qmt_ctx *ctx, struct peers *peers, struct qmt_str transport, struct qmt_str from,
	struct qmt_str why, bool by_policy)
{
	uint64_t kind = hash(hash(14695981039346656037u, host_of(from)), by_policy ? qmt_str("policy") : why),
			 now = qmt_now_ms(ctx);
	struct peers_reject *entry = NULL, *oldest = &peers->rejects[0];

	for (size_t i = 0; i < PEERS_REJECTS; i++) {
		if (peers->rejects[i].kind == kind && peers->rejects[i].said_ms)
			entry = &peers->rejects[i];
		if (peers->rejects[i].said_ms < oldest->said_ms)
			oldest = &peers->rejects[i];
	}
	if (entry && now - entry->said_ms < REJECT_QUIET_MS) {
		entry->held_back++;
		return;
	}
	uint64_t held_back = entry ? entry->held_back : 0;
	entry = entry ? entry : oldest;
	*entry = (struct peers_reject){.kind = kind, .said_ms = now ? now : 1};
	char texts[3][320];
	qmt_text(texts[0], sizeof(texts[0]), "%.*s", QMT_STR_ARG(transport));
	qmt_text(texts[1], sizeof(texts[1]), "%.*s", QMT_STR_ARG(from));
	qmt_text(texts[2], sizeof(texts[2]), "%s%.*s", by_policy ? "it was told: " : "", QMT_STR_ARG(why));
	QMT_LOG(ctx, QMT_WARN, "link.rejected", "transport", texts[0], "from", texts[1], "reason", texts[2], "held_back",
		QMT_LOG_U64(held_back));
}
