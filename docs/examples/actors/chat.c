/* chat.c - a chat room on one node, members on two: who joins gives the room its ref, and refs work across nodes.
 *
 * Two whole nodes in one process, joined by an encrypted link over loopback. Links between nodes are in libqmt.a, which
 * is not installed: this example builds inside the tree only. */
#include <qmt/system.h>

#include <stdio.h>

#include "proto/contract/contract.h"
#include "transports/transports.h"

/* The third column says what a *remote* sender needs: `node_info` any peer has; `stream` goes only to a ref that this
 * node gave out, so nobody can talk to a member that did not join. */
#define CHAT_JOIN(F, T)              \
	F(T, STR, nick, 1, "Not empty.") \
	F(T, REF, member, 2, "Who gets the lines.")
#define CHAT_LINE(F, T)                \
	F(T, STR, nick, 1, "Who says it.") \
	F(T, STR, text, 2, "What.")
#define CHAT_COUNT(F, T) F(T, U32, lines, 1, "So many.")
#define CHAT_MESSAGES(M)                                                                          \
	M(chat, join, CHAT_JOIN, "node_info", "To the room: answered when the member is in.", joined) \
	M(chat, joined, QMT_NO_FIELDS, "reply", "Answer.")                                            \
	M(chat, say, CHAT_LINE, "node_info", "To the room: all members get it.")                      \
	M(chat, line, CHAT_LINE, "stream", "To a member.")                                            \
	M(chat, enter, CHAT_JOIN, "local", "To a member: join under this nick.", joined)              \
	M(chat, heard, CHAT_COUNT, "local", "To a member: answered when it has heard so many.", joined)
QMT_DECLARE_PROTOCOL(chat, CHAT_MESSAGES)
QMT_DEFINE_PROTOCOL(chat, CHAT_MESSAGES, "A chat room.")

/* ---- the room ---------------------------------------------------------------------------------------------------- */

enum { MEMBERS_MAX = 32 };

struct room {
	uint32_t count;
	struct qmt_ref members[MEMBERS_MAX];
};

static void on_join(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct chat_join *join = body;
	struct room *room = state;

	/* A member that ends, or whose node goes away, is reported by `down`. */
	if (room->count == MEMBERS_MAX || qmt_monitor(ctx, join->member)) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FULL, NULL, 0, "the room is full");
		return;
	}
	room->members[room->count++] = join->member;
	QMT_REPLY(ctx, qmt_token(ctx), chat_joined, );
}

static void on_say(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct chat_say *say = body;
	const struct room *room = state;

	for (uint32_t i = 0; i < room->count; i++)
		QMT_TELL(ctx, room->members[i], chat_line, .nick = say->nick, .text = say->text);
}

static void on_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct room *room = state;

	(void)ctx;
	(void)reason;
	for (uint32_t i = 0; i < room->count; i++)
		if (qmt_ref_eq(room->members[i], who))
			room->members[i--] = room->members[--room->count];
}

static qmt_handler *const room_handlers[chat_message_count] = {[chat_join_id] = on_join, [chat_say_id] = on_say};
static const struct qmt_actor_desc room_desc = {.abi = QMT_ABI,
	.name = "room",
	.state_size = sizeof(struct room),
	.accepts = {{&chat_protocol, room_handlers}},
	.down = on_down};

/* ---- a member ---------------------------------------------------------------------------------------------------- */

struct member {
	char peer[PEER_ID_TEXT + 1]; /* the node of the room; "": this one */
	char nick[32];
	struct qmt_token entering, waiting; /* who asked us to enter, and to hear so many lines */
	uint32_t heard, wanted;
	char log[1024];
};

static int member_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct member *member = state;

	(void)ctx;
	(void)snprintf(member->peer, sizeof member->peer, "%s", (const char *)config);
	return 0;
}

static void entered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct member *member = state;

	(void)arg;
	qmt_reply_result(ctx, member->entering, result);
}

static void on_enter(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct chat_join join = {.nick = ((const struct chat_enter *)body)->nick, .member = qmt_self(ctx)};
	struct member *member = state;
	int failed;

	(void)snprintf(member->nick, sizeof member->nick, "%.*s", QMT_STR_ARG(join.nick));
	member->entering = qmt_token(ctx);
	failed = qmt_ask_name(ctx, member->peer, "room", &chat_join_type, &join, 0, entered, NULL);
	if (failed)
		qmt_reply_fail(ctx, member->entering, failed < 0 ? QMT_FAIL_FAILED : failed, NULL, 0, "cannot ask the room");
}

static void on_own_say(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct member *member = state;
	struct chat_say say = *(const struct chat_say *)body;

	say.nick = qmt_str(member->nick);
	if (qmt_tell_name(ctx, member->peer, "room", &chat_say_type, &say))
		qmt_fail(ctx, "the room cannot be reached");
}

static void on_line(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct chat_line *line = body;
	struct member *member = state;
	size_t at = strlen(member->log);

	(void)snprintf(member->log + at, sizeof member->log - at, "%s hears %.*s: %.*s\n", member->nick,
		QMT_STR_ARG(line->nick), QMT_STR_ARG(line->text));
	if (++member->heard == member->wanted)
		QMT_REPLY(ctx, member->waiting, chat_joined, );
}

static void on_heard(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct member *member = state;

	member->wanted = ((const struct chat_heard *)body)->lines;
	member->waiting = qmt_token(ctx);
	if (member->heard >= member->wanted)
		QMT_REPLY(ctx, member->waiting, chat_joined, );
}

static void member_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	(void)fputs(((const struct member *)state)->log, stdout);
}

static qmt_handler *const member_handlers[chat_message_count] = {
	[chat_enter_id] = on_enter, [chat_say_id] = on_own_say, [chat_line_id] = on_line, [chat_heard_id] = on_heard};
static const struct qmt_actor_desc member_desc = {.abi = QMT_ABI,
	.name = "member",
	.state_size = sizeof(struct member),
	.accepts = {{&chat_protocol, member_handlers}},
	.start = member_start,
	.stop = member_stop};

/* ---- two nodes --------------------------------------------------------------------------------------------------- */

struct node {
	struct identity identity;
	struct transports_config config;
	struct transports_peer peer;
	struct multiaddr listen;
	struct qmt_system *system;
	struct qmt_ctx *ctx;
	struct transports *transports;
};

static int node_start(struct node *node, const char *name, struct qmt_err *err)
{
	identity_generate(&node->identity);
	transports_limits_default(&node->config.limits);
	node->config.without_store = true; /* no SQLite here: nobody is remembered, allowed or blocked */
	node->config.identity = &node->identity;
	node->config.node_name = name;
	node->config.listen = &node->listen;
	node->config.peers = &node->peer;
	node->system = qmt_system_start(NULL, err);
	node->ctx = node->system ? qmt_outside_open(node->system) : NULL;
	return node->ctx ? transports_start(node->ctx, &node->config, &node->transports, err) : -1;
}

static void node_stop(struct node *node)
{
	qmt_outside_close(node->ctx);
	qmt_system_free(node->system);
	transports_free(node->transports, 1000, NULL);
}

static int ask(struct node *node, struct qmt_ref to, const struct qmt_type *type, const void *body)
{
	struct qmt_result result;
	int failed = qmt_outside_ask(node->ctx, to, type, body, 10000, &result);

	if (failed)
		fprintf(stderr, "chat: %s: %.*s\n", type->record.name, QMT_STR_ARG(result.text));
	return failed;
}

static int talk(struct node *north, struct node *south, struct qmt_err *err)
{
	const char *const nicks[] = {"ann", "bob", "eve"};
	struct node *const nodes[] = {north, south, south};
	char peer[PEER_ID_TEXT + 1];
	struct qmt_ref room, peers, members[3];

	/* north has the room and listens; south dials it */
	north->config.listen_count = 1;
	if (node_start(north, "north", err) ||
		qmt_spawn(north->ctx, &room_desc, &(struct qmt_spawn){.name = "room"}, &room, err) ||
		!transports_listening(north->transports, 0, &south->peer.addr))
		return 1;
	south->peer.name = "north";
	south->config.peer_count = 1;
	if (node_start(south, "south", err) || qmt_lookup(south->ctx, "peers", &peers) ||
		ask(south, peers, &peers_await_type, &(struct peers_await){.name = qmt_str("north")}))
		return 1;
	peer_id_text(&north->identity.id, peer);

	for (int i = 0; i < 3; i++) {
		const struct qmt_spawn opt = {.config = nodes[i] == north ? "" : peer};

		if (qmt_spawn(nodes[i]->ctx, &member_desc, &opt, &members[i], err) ||
			ask(nodes[i], members[i], &chat_enter_type, &(struct chat_enter){.nick = qmt_str(nicks[i])}))
			return 1;
	}
	for (uint32_t i = 0; i < 3; i++) {
		if (QMT_TELL(nodes[i]->ctx, members[i], chat_say, .text = qmt_str("hello")))
			return 1;
		for (int k = 0; k < 3; k++)
			if (ask(nodes[k], members[k], &chat_heard_type, &(struct chat_heard){.lines = i + 1}))
				return 1;
	}
	return 0;
}

int main(void)
{
	struct qmt_err err = {0};
	struct node north = {.listen = {.host_kind = MULTIADDR_IP4, .transport = MULTIADDR_TCP, .host = "127.0.0.1"}};
	struct node south = {0};
	int failed = identity_crypto_init() || talk(&north, &south, &err);

	if (failed)
		fprintf(stderr, "chat: failed: %s\n", err.text);
	node_stop(&south);
	node_stop(&north);
	return failed != 0;
}
