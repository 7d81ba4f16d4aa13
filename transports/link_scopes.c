/* transports/link_scopes.c - which scopes a link shares, and what the peer may do in each.
 *
 * HELLO agrees on the first ones. A scope that a side comes to have later (it joined a mesh) is agreed on the link, so
 * nothing has to be cut and nothing in flight is lost. Only the dialer gives out numbers, so both sides always mean the
 * same scope by a number:
 *      dialer:    SCOPES (what is not shared yet) -> listener: SCOPES (what it has of those, nothing else) -> SHARE
 *      listener:  SCOPES                          -> dialer: SHARE, for each that it has
 * SHARE is a control word, so it is in front of the first message that uses the number. Like HELLO's, the words are
 * MACs under the nonces of this link: neither side learns a scope that it does not have.
 * A number stays what it is: a scope that this node has left has the role NONE.
 */
#include <errno.h>

#include "proto/codec.h"
#include "transports/link_internal.h"

static void free_scopes(struct link_scope *scopes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(scopes[i].id);
}

int link_own_rights(struct link *link, const struct link_right *rights, uint32_t count)
{
	struct link_scope *own;
	uint32_t used = 0;

	count = count > HELLO_SCOPES ? HELLO_SCOPES : count;
	own = calloc(count ? count : 1, sizeof(*own));
	if (!own)
		return -ENOMEM;
	for (; used < count; used++) {
		const struct link_right *right = &rights[used];

		own[used] = (struct link_scope){.id = qmt_str_dup(right->scope)};
		if (!own[used].id) {
			free_scopes(own, used);
			free(own);
			return -ENOMEM;
		}
		/* who is the owner is said by the socket alone */
		if (right->role < AUTHORITY_OWNER && right->granted < AUTHORITY_OWNER) {
			own[used].role = (uint8_t)right->role;
			own[used].granted = (uint8_t)right->granted;
		}
		link->own_ids[used] = own[used].id;
	}
	if (link->own)
		free_scopes(link->own, link->own_count);
	free(link->own);
	link->own = own;
	link->own_count = used;
	return 0;
}

int link_node_scopes(struct link *link)
{
	const struct link_node *node = link->config->node;
	struct link_right rights[HELLO_SCOPES] = {0};
	uint32_t count = 0;
	int rc;

	for (; count < node->scope_count && count < HELLO_SCOPES; count++)
		rights[count] = (struct link_right){.scope = qmt_str(node->scopes[count])};
	rc = link_own_rights(link, rights, count);
	for (uint32_t i = 0; !rc && i < count; i++)
		link->own[i].role = (uint8_t)link->config->role;
	return rc;
}

static bool share(struct link *link, const struct link_scope *scope)
{
	char *id = link->scope_count < HELLO_SCOPES ? strdup(scope->id) : NULL;

	if (!id)
		return false;
	link->scopes[link->scope_count++] = (struct link_scope){.id = id, .role = scope->role, .granted = scope->granted};
	return true;
}

static void choose_out(struct link *link)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < link->scope_count; i++)
		if (link->scopes[i].granted > link->scopes[best].granted)
			best = i;
	link->scope_out = best;
}

int link_share_agreed(struct link *link)
{
	const struct hello_peer *peer = &link->hello.peer;

	for (uint32_t i = 0; i < peer->scope_count; i++)
		if (!share(link, &link->own[peer->scopes[i]]))
			return -ENOMEM;
	choose_out(link);
	return 0;
}

void link_scopes_fini(struct link *link)
{
	if (link->own)
		free_scopes(link->own, link->own_count);
	free(link->own);
	free_scopes(link->scopes, link->scope_count);
	link->own = NULL;
	link->own_count = link->scope_count = 0;
}

/* ---- scopes that come later -------------------------------------------------------------------------------------- */

static bool is_shared(const struct link *link, const char *scope)
{
	for (uint32_t i = 0; i < link->scope_count; i++)
		if (strcmp(link->scopes[i].id, scope) == 0)
			return true;
	return false;
}

static bool contains(struct qmt_bytes macs, const uint8_t mac[HELLO_SCOPE_MAC])
{
	for (size_t at = 0; at + HELLO_SCOPE_MAC <= macs.len; at += HELLO_SCOPE_MAC)
		if (memcmp(macs.p + at, mac, HELLO_SCOPE_MAC) == 0)
			return true;
	return false;
}

/* What this side has and the link does not share. asked: only those that are in it; NULL: all. */
static void offer(struct qmt_ctx *ctx, struct link *link, const struct qmt_bytes *asked)
{
	uint8_t macs[HELLO_SCOPES * HELLO_SCOPE_MAC], theirs[HELLO_SCOPE_MAC];
	char side = link->config->dialed ? 'd' : 'l';
	uint32_t count = 0;

	for (uint32_t i = 0; i < link->own_count; i++) {
		if (is_shared(link, link->own[i].id))
			continue;
		hello_scope_mac(&link->hello, link->own[i].id, side == 'd' ? 'l' : 'd', theirs);
		if (asked && !contains(*asked, theirs))
			continue;
		hello_scope_mac(&link->hello, link->own[i].id, side, macs + (size_t)count++ * HELLO_SCOPE_MAC);
	}
	if (count)
		link_send_control(ctx, link, LINK_SCOPES, &link_scope_offer_record,
			&(struct link_scope_offer){.macs = {macs, count * HELLO_SCOPE_MAC}});
}

void link_on_scopes(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct link_scopes *msg = body;
	struct link *link = state;
	bool named_changed;

	if (!link->config->of_mesh || !link->peer[0] || !link->wire || link->ending)
		return;
	if (link_own_rights(link, msg->rights.items, msg->rights.count)) {
		link_close(ctx, link, -ENOMEM, "out of memory");
		return;
	}
	named_changed = link->named != msg->named;
	link->named = msg->named;
	for (uint32_t i = 0; i < link->scope_count; i++) {
		link->scopes[i].role = link->scopes[i].granted = AUTHORITY_NONE;
		for (uint32_t k = 0; k < link->own_count; k++) {
			if (strcmp(link->own[k].id, link->scopes[i].id) != 0)
				continue;
			link->scopes[i].role = link->own[k].role;
			link->scopes[i].granted = link->own[k].granted;
		}
	}
	choose_out(link);
	if (named_changed)
		link_name_changed(ctx, link);
	offer(ctx, link, NULL);
}

static void shared(struct qmt_ctx *ctx, struct link *link, const char *scope)
{
	if (qmt_ref_is_set(link->peers))
		(void)QMT_TELL(ctx, link->peers, link_shared, .link = link->self, .scope = qmt_str(scope));
}

void link_take_scopes(struct qmt_ctx *ctx, struct link *link, const struct envelope *env)
{
	struct link_scope_offer *msg = codec_decode_new(&link_scope_offer_record, env->body, NULL, NULL);
	uint8_t mac[HELLO_SCOPE_MAC];

	if (!msg || !link->config->of_mesh || msg->macs.len > HELLO_SCOPES * HELLO_SCOPE_MAC) {
		free(msg);
		return;
	}
	if (!link->config->dialed)
		offer(ctx, link, &msg->macs);
	for (uint32_t i = 0; link->config->dialed && i < link->own_count; i++) {
		hello_scope_mac(&link->hello, link->own[i].id, 'l', mac);
		if (is_shared(link, link->own[i].id) || !contains(msg->macs, mac) || !share(link, &link->own[i]))
			continue;
		hello_scope_mac(&link->hello, link->own[i].id, 'd', mac);
		link_send_control(ctx, link, LINK_SHARE, &link_scope_share_record,
			&(struct link_scope_share){.number = link->scope_count - 1, .mac = {mac, sizeof(mac)}});
		shared(ctx, link, link->own[i].id);
	}
	free(msg);
}

void link_take_share(struct qmt_ctx *ctx, struct link *link, const struct envelope *env)
{
	struct link_scope_share *msg = codec_decode_new(&link_scope_share_record, env->body, NULL, NULL);
	uint8_t mac[HELLO_SCOPE_MAC];
	bool found = false;
	char nothing[] = "";

	if (!msg || link->config->dialed || !link->config->of_mesh || msg->number != link->scope_count) {
		free(msg);
		return;
	}
	for (uint32_t i = 0; !found && i < link->own_count; i++) {
		hello_scope_mac(&link->hello, link->own[i].id, 'd', mac);
		found = msg->mac.len == sizeof(mac) && memcmp(msg->mac.p, mac, sizeof(mac)) == 0;
		if (found && is_shared(link, link->own[i].id))
			break;
		if (found && share(link, &link->own[i]))
			shared(ctx, link, link->own[i].id);
	}
	if (!found &&
		!share(link,
			&(struct link_scope){.id = nothing})) /* left meanwhile: the number is taken all the same, by nothing */
		link_close(ctx, link, -ENOMEM, "out of memory");
	free(msg);
}
