/* test/port/ready_made_test.c - pubsub, broker and streams across nodes: subscribers and consumers behind a link are
 * refs like any other, and are forgotten with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "runtime/broker.h"
#include "runtime/port.h"
#include "runtime/pubsub.h"
#include "runtime/stream.h"
#include "test/lib/mesh_node.h"

/* ---- the desk of a node gives out the refs of its room and its broker; the lines are what is published ----------- */

#define READY_REFS(F, T)            \
	F(T, REF, room, 1, "A pubsub.") \
	F(T, REF, board, 2, "A broker.")
#define READY_LINE(F, T)            \
	F(T, U64, number, 1, "Counts.") \
	F(T, STR, topic, 2, "For the broker.")
#define READY_JOIN(F, T)                                \
	F(T, STR, peer, 1, "Whose desk.")                   \
	F(T, STR, filter, 2, "Of the pubsub; empty: none.") \
	F(T, STR, arg, 3, "Of the filter.")                 \
	F(T, STR, pattern, 4, "Of the broker.")
#define READY_COUNT(F, T)                               \
	F(T, U64, lines, 1, "That came.")                   \
	F(T, U64, sum, 2, "Of their numbers.")              \
	F(T, U64, disorder, 3, "Not above the one before.") \
	F(T, U64, bytes, 4, "Of streams.")                  \
	F(T, U64, ends, 5, "Of streams.")                   \
	F(T, REF, who, 6, "The visitor.")
#define READY_MESSAGES(M)                                                                \
	M(ready, hello, QMT_NO_FIELDS, "node_info", "To the desk: where is what?", refs)     \
	M(ready, line, READY_LINE, "stream", "To a visitor, a room, a board.")               \
	M(ready, join, READY_JOIN, "local", "To a visitor: subscribe at that peer.", joined) \
	M(ready, count, QMT_NO_FIELDS, "node_info", "To a visitor: what came?", counts)      \
	M(ready, leave, QMT_NO_FIELDS, "local", "To a visitor: end.")                        \
	M(ready, refs, READY_REFS, "reply", "Answer.")                                       \
	M(ready, joined, QMT_NO_FIELDS, "reply", "Answer.")                                  \
	M(ready, counts, READY_COUNT, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(ready, READY_MESSAGES)
QMT_DEFINE_PROTOCOL(ready, READY_MESSAGES, "For this test.")

struct desk {
	struct qmt_ref room, board;
};
static void desk_hello(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct desk *desk = state;

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), ready_refs, .room = desk->room, .board = desk->board);
}
static int desk_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	*(struct desk *)state = *(const struct desk *)config;
	return 0;
}
static qmt_handler *const desk_handlers[ready_message_count] = {[ready_hello_id] = desk_hello};
static const struct qmt_actor_desc desk_desc = {.abi = QMT_ABI,
	.name = "desk",
	.state_size = sizeof(struct desk),
	.start = desk_start,
	.accepts = {{&ready_protocol, desk_handlers}}};

static bool is_above(const struct qmt_type *type, const void *body, const char *arg)
{
	(void)type;
	return ((const struct ready_line *)body)->number > strtoull(arg, NULL, 10);
}
static const struct qmt_pubsub_filter filters[] = {{"above", is_above}, {NULL, NULL}};
static const struct qmt_pubsub_config config = {.filters = filters};
static void room_line(struct qmt_ctx *ctx, void *state, const void *body)
{
	qmt_pubsub_pass(ctx, state, &ready_line_type, body);
}
static qmt_handler *const room_handlers[ready_message_count] = {[ready_line_id] = room_line};
static const struct qmt_actor_desc room_desc = QMT_PUBSUB_DESC("room", &ready_protocol, room_handlers, .bound = 0);

QMT_BROKER_PUBLISH(ready_line, topic)
static qmt_handler *const board_handlers[ready_message_count] = {[ready_line_id] = ready_line_publish};
static const struct qmt_actor_desc board_desc = QMT_BROKER_DESC("board", &ready_protocol, board_handlers, .bound = 0);

/* ---- visitors ---------------------------------------------------------------------------------------------------- */

struct visitor {
	struct qmt_token join;
	struct qmt_msg *joining;
	struct ready_counts counts;
	uint64_t last;
	struct qmt_ref board;
};

static bool went_wrong(struct qmt_ctx *ctx, struct visitor *v, const struct qmt_result *result)
{
	if (result->fail)
		(void)qmt_reply_result(ctx, v->join, result);
	return result->fail != 0;
}
static void at_board(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct visitor *v = state;

	qmt_msg_free(ctx, arg);
	if (!went_wrong(ctx, v, result))
		QMT_REPLY(ctx, v->join, ready_joined, );
}
static void in_room(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct visitor *v = state;
	const struct ready_join *join = qmt_msg_body(arg);

	if (!went_wrong(ctx, v, result))
		qmt_ask_or(ctx, v->board, &qmt_broker_subscribe_type,
			&(struct qmt_broker_subscribe){.who = qmt_self(ctx), .pattern = join->pattern}, 0, at_board, arg);
	else
		qmt_msg_free(ctx, arg);
}
static void at_desk(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct visitor *v = state;
	const struct ready_join *join = qmt_msg_body(arg);
	const struct ready_refs *refs = result->body;

	if (went_wrong(ctx, v, result)) {
		qmt_msg_free(ctx, arg);
		return;
	}
	v->board = refs->board;
	qmt_ask_or(ctx, refs->room, &qmt_pubsub_subscribe_type,
		&(struct qmt_pubsub_subscribe){.who = qmt_self(ctx), .filter = join->filter, .arg = join->arg}, 0, in_room,
		arg);
}
static void on_join(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct visitor *v = state;
	const struct ready_join *join = body;
	char peer[PEER_ID_TEXT + 1];
	int failed;

	(void)snprintf(peer, sizeof peer, "%.*s", QMT_STR_ARG(join->peer));
	v->join = qmt_token(ctx);
	failed = qmt_ask_name(ctx, peer, "desk", &ready_hello_type, &(struct ready_hello){}, 0, at_desk, qmt_keep(ctx));
	if (failed)
		qmt_reply_fail(ctx, v->join, failed, NULL, 0, "no desk");
}
static void on_line(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct visitor *v = state;
	const struct ready_line *line = body;

	(void)ctx;
	v->counts.lines++;
	v->counts.sum += line->number;
	v->counts.disorder += line->number <= v->last;
	v->last = line->number;
}
static void on_count(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct visitor *v = state;

	(void)body;
	v->counts.who = qmt_self(ctx);
	(void)qmt_reply(ctx, qmt_token(ctx), &ready_counts_type, &v->counts);
}
static void on_leave(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	qmt_stop_self(ctx);
}
static void on_chunk(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_stream_chunk *chunk = body;

	((struct visitor *)state)->counts.bytes += chunk->data.len;
	(void)QMT_TELL(ctx, chunk->stream, qmt_stream_more, .chunks = 1);
}
static void on_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)body;
	((struct visitor *)state)->counts.ends++;
}
static qmt_handler *const visitor_handlers[ready_message_count] = {
	[ready_join_id] = on_join, [ready_line_id] = on_line, [ready_count_id] = on_count, [ready_leave_id] = on_leave};
static qmt_handler *const eater_handlers[qmt_stream_message_count] = {
	[qmt_stream_chunk_id] = on_chunk, [qmt_stream_end_id] = on_end};
static const struct qmt_actor_desc visitor_desc = {.abi = QMT_ABI,
	.name = "visitor",
	.state_size = sizeof(struct visitor),
	.accepts = {{&ready_protocol, visitor_handlers}, {&qmt_stream_protocol, eater_handlers}}};

/* ---- two nodes --------------------------------------------------------------------------------------------------- */

struct world {
	struct loop_hub *hub;
	struct mesh_node home, away;
	struct desk desk;
	struct qmt_ref visitors[2]; /* at home, away */
	uint64_t expected;
};

static void spawn(struct mesh_node *node, const struct qmt_actor_desc *desc, const char *name, const void *config_of,
	struct qmt_ref *ret_ref)
{
	struct qmt_err err = {0};

	if (qmt_spawn(node->ctx, desc, &(struct qmt_spawn){.name = name, .config = config_of}, ret_ref, &err))
		fail_msg("%s", err.text);
}

static void start(struct world *w)
{
	struct qmt_ref desk;

	*w = (struct world){.hub = loop_hub_new()};
	mesh_node_init(&w->home, "home", w->hub, 1);
	mesh_node_init(&w->away, "away", w->hub, 2);
	mesh_node_dials(&w->away, "home", 1, &w->home.identity.id);
	mesh_node_start(&w->home);
	spawn(&w->home, &room_desc, NULL, &config, &w->desk.room);
	spawn(&w->home, &board_desc, NULL, NULL, &w->desk.board);
	spawn(&w->home, &desk_desc, "desk", &w->desk, &desk);
	spawn(&w->home, &visitor_desc, NULL, NULL, &w->visitors[0]);
	mesh_node_start(&w->away);
	spawn(&w->away, &visitor_desc, "visitor", NULL, &w->visitors[1]);
	mesh_wait_peer(&w->away, w->home.id, true);
	mesh_wait_peer(&w->home, w->away.id, true);
}

static void stop(struct world *w)
{
	mesh_node_stop(&w->away);
	mesh_node_stop(&w->home);
	loop_hub_free(w->hub);
}

static void join(struct mesh_node *node, struct qmt_ref visitor, const char *peer, const char *filter, const char *arg,
	const char *pattern)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(node, visitor, &result, ready_join, .peer = qmt_str(peer), .filter = qmt_str(filter),
						 .arg = qmt_str(arg), .pattern = qmt_str(pattern)),
		0);
}

static struct ready_counts counts(struct mesh_node *node, struct qmt_ref visitor)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(node, visitor, &result, ready_count, ), 0);
	return *(const struct ready_counts *)result.body;
}
static bool lines_came(void *arg)
{
	struct world *w = arg;

	return counts(&w->home, w->visitors[0]).lines >= w->expected &&
		counts(&w->away, w->visitors[1]).lines >= w->expected;
}
static uint64_t subscribers(struct world *w)
{
	struct qmt_result result;
	uint64_t count;

	assert_int_equal(MESH_ASK(&w->home, w->desk.room, &result, qmt_pubsub_info, ), 0);
	count = ((const struct qmt_pubsub_counts *)result.body)->subscribers;
	assert_int_equal(MESH_ASK(&w->home, w->desk.board, &result, qmt_broker_info, ), 0);
	return count + ((const struct qmt_broker_counts *)result.body)->subscribers;
}
static bool all_left_but(void *arg)
{
	struct world *w = arg;

	return subscribers(w) == w->expected;
}

/* A subscriber here and one behind the link get the same: its filter and its pattern go over, the lines come in order.
 * When it ends it is forgotten. */
static void across_nodes(void **unused)
{
	(void)unused;
	enum { LINES = 300, ABOVE = 100 };
	struct world w;

	start(&w);
	join(&w.home, w.visitors[0], "", "above", "100", "lab/*");
	join(&w.away, w.visitors[1], w.home.id, "above", "100", "lab/*");
	assert_int_equal(subscribers(&w), 4);
	for (uint64_t i = 1; i <= LINES; i++)
		assert_int_equal(QMT_TELL(w.home.ctx, w.desk.room, ready_line, .number = i), 0);
	w.expected = LINES - ABOVE;
	mesh_until(lines_came, &w, "lines of the room");
	for (uint64_t i = 1; i <= LINES; i++)
		assert_int_equal(QMT_TELL(w.home.ctx, w.desk.board, ready_line, .number = LINES + i,
							 .topic = qmt_str(i % 2 ? "lab/one"
									 : i % 4        ? "yard/one"
													: "lab")),
			0);
	w.expected += LINES / 2;
	mesh_until(lines_came, &w, "lines of the board");
	struct ready_counts here = counts(&w.home, w.visitors[0]), there = counts(&w.away, w.visitors[1]);
	assert_int_equal(here.lines, w.expected);
	assert_int_equal(there.lines, w.expected);
	assert_int_equal(here.sum, there.sum);
	assert_int_equal(here.disorder + there.disorder, 0);
	assert_int_equal(QMT_TELL(w.away.ctx, w.visitors[1], ready_leave, ), 0);
	w.expected = 2;
	mesh_until(all_left_but, &w, "the visitor is forgotten");
	stop(&w);
}

/* A node that goes away takes its subscribers with it. */
static void with_the_link(void **unused)
{
	(void)unused;
	struct world w;

	start(&w);
	join(&w.home, w.visitors[0], "", "", "", "**");
	join(&w.away, w.visitors[1], w.home.id, "", "", "**");
	assert_int_equal(subscribers(&w), 4);
	mesh_node_stop(&w.away);
	w.expected = 2;
	mesh_until(all_left_but, &w, "the visitors of the node are forgotten");
	assert_int_equal(QMT_TELL(w.home.ctx, w.desk.room, ready_line, .number = 1), 0);
	assert_int_equal(QMT_TELL(w.home.ctx, w.desk.board, ready_line, .number = 2, .topic = qmt_str("x")), 0);
	assert_int_equal(subscribers(&w), 2);
	assert_int_equal(counts(&w.home, w.visitors[0]).lines, 2);
	stop(&w);
}

/* ---- a stream to another node ------------------------------------------------------------------------------------ */

/* At home, says what it learned from the visitor away: its ref. */
static struct ready_counts learned;
static atomic_bool learned_it;

static void got_counts(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)state;
	(void)arg;
	if (result->fail)
		qmt_fail(ctx, "no visitor there");
	else
		learned = *(const struct ready_counts *)result->body;
	learned_it = true;
}
static int scout_start(struct qmt_ctx *ctx, void *state, const void *peer)
{
	(void)state;
	return qmt_ask_name(ctx, peer, "visitor", &ready_count_type, &(struct ready_count){}, 0, got_counts, NULL);
}
static const struct qmt_actor_desc scout_desc = {.abi = QMT_ABI, .name = "scout", .start = scout_start};

static bool is_learned(void *unused)
{
	(void)unused;
	return learned_it;
}
static int64_t make_bytes(void *arg, void *ret_room, uint32_t size)
{
	uint64_t *left = arg;
	uint32_t count = *left < size ? (uint32_t)*left : size;

	memset(ret_room, 'x', count);
	*left -= count;
	return count;
}
static bool stream_came(void *arg)
{
	struct world *w = arg;

	return counts(&w->away, w->visitors[1]).ends == 1;
}

/* Credit comes back over the link, and all bytes arrive. */
static void stream_across(void **unused)
{
	(void)unused;
	enum { SIZE = 200000 };
	uint64_t left = SIZE;
	struct qmt_ref scout, stream;
	struct world w;

	start(&w);
	learned_it = false;
	spawn(&w.home, &scout_desc, NULL, w.away.id, &scout);
	mesh_until(is_learned, NULL, "the visitor's ref");
	assert_int_not_equal(learned.who.rid, 0);
	struct qmt_stream_config source = {
		.to = learned.who, .read = make_bytes, .arg = &left, .chunk_bytes = 1000, .credit = 4};
	spawn(&w.home, &qmt_stream_desc, NULL, &source, &stream);
	mesh_until(stream_came, &w, "the end of the stream");
	assert_int_equal(counts(&w.away, w.visitors[1]).bytes, SIZE);
	stop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(across_nodes), cmocka_unit_test(with_the_link), cmocka_unit_test(stream_across)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
