/* transports/peers_list.c - what the actor "peers" tells about itself: list and resolve. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include "transports/peers_internal.h"

static struct qmt_str policy_word(const struct policy *policy)
{
	return qmt_str(!policy ? "" : policy->blocked ? "block" : "allow");
}

/* What a peer that is not configured is called: a name that stands for somebody else is not repeated. */
static const char *name_of_stranger(const struct peers *peers, const struct known_link *link)
{
	struct peer_meant unused;

	return peers_meant(peers, qmt_str(link->node), &unused) ? link->remote->text : link->node;
}

void peers_info_of_link(
	const struct peers *peers, const struct known_link *link, struct qmt_str *strs, struct peers_info *ret_info)
{
	const struct target *target = peers_target_of(peers, &link->remote->id);
	const struct policy *policy = policy_of(peers, &link->remote->id);
	const char *text = link->capabilities;
	uint8_t role;
	const char *scope = peers_scope_out(peers, link, &role);

	for (uint32_t i = 0; i < link->capability_count; i++) {
		strs[i] = qmt_str(text);
		text += strs[i].len + 1;
	}
	*ret_info = (struct peers_info){
		.peer_id = qmt_str(link->remote->text),
		.name = qmt_str(target              ? target->config->name
				: policy && policy->name[0] ? policy->name
											: name_of_stranger(peers, link)),
		.state = qmt_str("connected"),
		.transport = qmt_str(link->transport),
		.scope = qmt_str(scope),
		.address = qmt_str(link->address),
		.rtt_ms = link->rtt_ms,
		.since_ms = link->since_ms,
		.configured = target != NULL,
		.dialed = link->dialed,
		.capabilities = {strs, link->capability_count},
		.suspect = link->suspect,
		.policy = policy_word(policy),
		.role = qmt_str(authority_role_words[role].title),
		.named = peer_is_named(peers, &link->remote->id),
	};
}

/* A configured peer without a link. */
static void info_of_target(const struct peers *peers, const struct target *target, char ret_id[PEER_ID_TEXT + 1],
	char ret_address[MULTIADDR_TEXT], struct peers_info *ret_info)
{
	bool under_way = target->state != TARGET_WAITING && target->state != TARGET_IDLE;

	ret_id[0] = '\0';
	if (target->has_expected)
		peer_id_text(&target->expected, ret_id);
	multiaddr_text(&target->config->addr, ret_address);
	*ret_info = (struct peers_info){
		.peer_id = qmt_str(ret_id),
		.name = qmt_str(target->config->name),
		.state = qmt_str(target->refused          ? "refused"
				: target->state == TARGET_BLOCKED ? "blocked"
				: under_way                       ? "connecting"
												  : "waiting"),
		.address = qmt_str(ret_address),
		.configured = !target->scope,
		.scope = qmt_str(target->scope),
		.last_error = qmt_str(target->last_error),
		.policy = policy_word(target->has_expected ? policy_of(peers, &target->expected) : NULL),
		.named = !target->has_expected || peer_is_named(peers, &target->expected),
	};
}

/* Somebody of whom the owner said something, and who is neither linked nor configured. */
static void info_of_policy(const struct policy *policy, struct peers_info *ret_info)
{
	*ret_info = (struct peers_info){
		.peer_id = qmt_str(policy->text),
		.name = qmt_str(policy->name),
		.state = qmt_str(policy->blocked ? "blocked" : "away"),
		.policy = policy_word(policy),
		.named = !policy->blocked,
	};
}

static bool is_listed(struct peers *peers, const struct peer_id *id)
{
	const struct remote *remote = peers_remote(peers, id);

	return (remote && remote->up) || peers_target_of(peers, id);
}

static bool has_link(struct peers *peers, const struct target *target)
{
	struct remote *remote = target->has_expected ? peers_remote(peers, &target->expected) : NULL;

	return remote && remote->up;
}

/* ---- listen addresses -------------------------------------------------------------------------------------------- */

struct addresses {
	char (*texts)[MULTIADDR_TEXT];
	uint32_t count, room;
};

static void add_address(struct addresses *addresses, const struct multiaddr *addr)
{
	if (addresses->count == addresses->room) {
		uint32_t room = addresses->room ? addresses->room * 2 : 8;
		void *texts = realloc(addresses->texts, room * sizeof(*addresses->texts));

		if (!texts)
			return;
		addresses->texts = texts;
		addresses->room = room;
	}
	multiaddr_text(addr, addresses->texts[addresses->count++]);
}

/* A wildcard stands for every address that an interface has: those of the network first, loopback last. */
static void add_wildcard(struct addresses *addresses, const struct multiaddr *wildcard)
{
	struct ifaddrs *all = NULL;
	sa_family_t family = wildcard->host_kind == MULTIADDR_IP6 ? AF_INET6 : AF_INET;

	if (getifaddrs(&all))
		return;
	for (int loopback = 0; loopback < 2; loopback++) {
		for (struct ifaddrs *one = all; one; one = one->ifa_next) {
			struct multiaddr addr = *wildcard;
			union {
				struct sockaddr any;
				struct sockaddr_in in;
				struct sockaddr_in6 in6;
			} where;

			if (!one->ifa_addr || one->ifa_addr->sa_family != family || !(one->ifa_flags & IFF_UP) ||
				((one->ifa_flags & IFF_LOOPBACK) != 0) != loopback)
				continue;
			memcpy(&where, one->ifa_addr, family == AF_INET6 ? sizeof(where.in6) : sizeof(where.in));
			if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&where.in6.sin6_addr))
				continue; /* means nothing without the interface */
			if (inet_ntop(family, family == AF_INET6 ? (void *)&where.in6.sin6_addr : (void *)&where.in.sin_addr,
					addr.host, sizeof(addr.host)))
				add_address(addresses, &addr);
		}
	}
	freeifaddrs(all);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

void peers_on_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct peers *peers = state;
	uint32_t most = peers->config->peer_count + peers->found_count, count = 0, links = 0, room = 0;
	struct addresses addresses = {0};

	(void)body;
	for (struct remote *remote = peers->remotes; remote; remote = remote->next)
		links += remote->up;
	most += links;
	for (const struct policy *policy = peers->policies; policy; policy = policy->next)
		most += !is_listed(peers, &policy->id);
	struct peers_info *infos = calloc(most ? most : 1, sizeof(*infos));
	struct qmt_str *strs = calloc((size_t)(links ? links : 1) * HELLO_CAPABILITIES, sizeof(*strs)), *texts;
	struct {
		char id[PEER_ID_TEXT + 1], address[MULTIADDR_TEXT];
	} *rooms = calloc(most ? most : 1, sizeof(*rooms));
	for (uint32_t i = 0; i < peers->config->listening_count; i++) {
		if (multiaddr_is_wildcard(&peers->config->listening[i]))
			add_wildcard(&addresses, &peers->config->listening[i]);
		else
			add_address(&addresses, &peers->config->listening[i]);
	}
	texts = calloc(addresses.count ? addresses.count : 1, sizeof(*texts));
	if (infos && strs && rooms && texts) {
		links = 0;
		for (uint32_t i = 0; i < peers->config->peer_count; i++)
			if (!has_link(peers, &peers->targets[i]))
				info_of_target(peers, &peers->targets[i], rooms[i].id, rooms[i].address, &infos[count++]);
		room = peers->config->peer_count;
		for (struct target *target = peers->found; target; target = target->next)
			if (!target->gone && !has_link(peers, target)) {
				info_of_target(peers, target, rooms[room].id, rooms[room].address, &infos[count++]);
				room++;
			}
		for (struct remote *remote = peers->remotes; remote; remote = remote->next)
			if (remote->up)
				peers_info_of_link(peers, remote->in_use, strs + (size_t)links++ * HELLO_CAPABILITIES, &infos[count++]);
		for (const struct policy *policy = peers->policies; policy; policy = policy->next)
			if (!is_listed(peers, &policy->id))
				info_of_policy(policy, &infos[count++]);
		for (uint32_t i = 0; i < addresses.count; i++)
			texts[i] = qmt_str(addresses.texts[i]);
		QMT_REPLY(ctx, qmt_token(ctx), peers_list_reply, .peers = {infos, count},
			.listen_addresses = {texts, addresses.count}, .twin_address = qmt_str(peers->twin.address),
			.twin_ms = peers->twin.seen_wall_ms);
	} else {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "out of memory");
	}
	free(infos);
	free(strs);
	free(rooms);
	free(texts);
	free(addresses.texts);
}

/* A configured name and a PeerId mean one identity, connected or not; what a peer calls itself is anybody's choice, so
 * it counts only when it is neither. */
static struct known_link *find_connected(struct peers *peers, struct qmt_str name, uint32_t *ret_count)
{
	struct known_link *found = NULL;
	struct peer_meant meant;

	*ret_count = 0;
	if (peers_meant(peers, name, &meant)) {
		struct remote *remote = meant.is_known ? peers_remote(peers, &meant.id) : NULL;

		*ret_count = remote && remote->up;
		return *ret_count ? remote->in_use : NULL;
	}
	for (struct remote *remote = peers->remotes; remote; remote = remote->next) {
		if (!remote->up || !qmt_str_is(name, remote->in_use->node))
			continue;
		found = remote->in_use;
		++*ret_count;
	}
	return found;
}

/* Names, as many as fit, each one whole. */
static void names_of_connected(struct peers *peers, char *ret_text, size_t room)
{
	static const char more[] = ", ...";
	size_t at = 0;

	(void)snprintf(ret_text, room, "none");
	for (struct remote *remote = peers->remotes; remote; remote = remote->next) {
		const struct target *target = peers_target_of(peers, &remote->id);
		const char *name;

		if (!remote->up)
			continue;
		name = target ? target->config->name : name_of_stranger(peers, remote->in_use);
		if (at + 2 + strlen(name) + sizeof(more) > room) {
			(void)snprintf(ret_text + at, room - at, "%s", at ? more : "...");
			return;
		}
		at += (size_t)snprintf(ret_text + at, room - at, "%s%s", at ? ", " : "", name);
	}
}

bool peers_reply_connected(struct qmt_ctx *ctx, struct peers *peers, struct qmt_token token, struct qmt_str name)
{
	struct qmt_str strs[HELLO_CAPABILITIES];
	uint32_t count;
	struct known_link *link = find_connected(peers, name, &count);
	struct peers_resolved reply = {0};

	if (count != 1)
		return false;
	peers_info_of_link(peers, link, strs, &reply.peer);
	(void)qmt_reply(ctx, token, &peers_resolved_type, &reply);
	return true;
}

void peers_on_resolve(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct peers_resolve *msg = body;
	struct peers *peers = state;
	char names[256];
	uint32_t count;

	if (peers_reply_connected(ctx, peers, qmt_token(ctx), msg->name))
		return;
	(void)find_connected(peers, msg->name, &count);
	if (count > 1) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NO_ROUTE, NULL, 0,
			"%u connected peers call themselves '%.*s': use the PeerId (qmt peers)", count, QMT_STR_ARG(msg->name));
		return;
	}
	for (uint32_t i = 0; i < peers->config->peer_count; i++) {
		const struct target *target = &peers->targets[i];
		char id[PEER_ID_TEXT + 1] = "";

		if (target->has_expected)
			peer_id_text(&target->expected, id);
		if (!qmt_str_is(msg->name, target->config->name) && !(id[0] && qmt_str_is(msg->name, id)))
			continue;
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NO_ROUTE, NULL, 0, "peer '%s' is not connected%s%s",
			target->config->name, target->last_error[0] ? ": " : " yet", target->last_error);
		return;
	}
	for (const struct target *target = peers->found; target; target = target->next) {
		if (target->gone || !qmt_str_is(msg->name, target->name))
			continue;
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NO_ROUTE, NULL, 0, "peer '%s' is not connected%s%s",
			target->name, target->last_error[0] ? ": " : " yet", target->last_error);
		return;
	}
	names_of_connected(peers, names, sizeof(names));
	(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NO_ROUTE, NULL, 0, "no peer called '%.*s'; connected: %s",
		QMT_STR_ARG(msg->name), names);
}
