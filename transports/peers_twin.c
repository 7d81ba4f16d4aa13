/* transports/peers_twin.c - another node that has this node's identity: both hold the same key file.
 *
 * HELLO proved it (hello.h), at whichever end. Peers take the one for the other, so their links break in turn; nothing
 * here can end that, so it is said loudly, with what to do, and shown until the restart.
 */
#include <errno.h>

#include "transports/peers_internal.h"

enum { TWIN_QUIET_MS = 600000 };

bool peers_twin(struct qmt_ctx *ctx, struct peers *peers, const struct link_ended *msg)
{
	struct peers_twin *twin = &peers->twin;
	uint64_t now = qmt_now_ms(ctx);

	if (msg->code != -ELOOP)
		return msg->code == -EALREADY; /* this node dialed itself: the dialer says so */
	twin->count++;
	twin->seen_wall_ms = qmt_wall_ms(ctx);
	qmt_text(twin->address, sizeof(twin->address), "%.*s",
		QMT_STR_ARG(msg->from.len ? msg->from : qmt_str("an unknown address")));
	if (twin->count > 1 && now - twin->said_ms < TWIN_QUIET_MS)
		return true;
	twin->said_ms = now;
	QMT_LOG(ctx, QMT_ERROR, "identity.twice", "peer", peers->node->self, "address", twin->address, "reason",
		"another node that runs has this node's identity", "note",
		"peers take the one for the other: stop one of the two and give it a key of its own (there: qmt identity new "
		"--force)");
	return true;
}
