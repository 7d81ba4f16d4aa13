/* test/port/names_test.c - names of the mesh over real links: found at the other node, gone with it, back with it, told
 * to watchers; only between nodes that name each other. Over every transport. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "runtime/names.h"
#include "test/lib/hostile.h"
#include "test/lib/mesh_pair.h"
#include "transports/link_records.h"

/* ---- who watches, and says what it has seen ---------------------------------------------------------------------- */

#define SEER_SEEN(F, T)                               \
	F(T, STR, log, 1, "What it was told, in a line.") \
	F(T, REF, last, 2, "The actor of the last `added`.")
#define SEER_MESSAGES(M)                                          \
	M(seer, look, QMT_NO_FIELDS, "local", "What was told?", seen) \
	M(seer, seen, SEER_SEEN, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(seer, SEER_MESSAGES)
QMT_DEFINE_PROTOCOL(seer, SEER_MESSAGES, "For this test.")

struct seer {
	char log[1000];
	struct qmt_ref last;
};

static void note(struct seer *seer, const char *sign, struct qmt_str text)
{
	size_t len = strlen(seer->log);

	(void)snprintf(seer->log + len, sizeof(seer->log) - len, "%s%.*s ", sign, QMT_STR_ARG(text));
}
static void on_added(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct qmt_names_added *msg = body;

	(void)ctx;
	((struct seer *)state)->last = msg->who;
	note(state, "+", msg->name);
}
static void on_removed(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	note(state, "-", ((const struct qmt_names_removed *)body)->name);
}
static void on_up(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)body;
	note(state, "up", (struct qmt_str){0});
}
static void on_down(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)body;
	note(state, "down", (struct qmt_str){0});
}
static void on_look(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct seer *seer = state;

	(void)body;
	QMT_REPLY(ctx, qmt_token(ctx), seer_seen, .log = qmt_str(seer->log), .last = seer->last);
}
static qmt_handler *const look_handlers[seer_message_count] = {[seer_look_id] = on_look};
static qmt_handler *const told_handlers[qmt_names_message_count] = {[qmt_names_added_id] = on_added,
	[qmt_names_removed_id] = on_removed,
	[qmt_names_peer_up_id] = on_up,
	[qmt_names_peer_down_id] = on_down};
static const struct qmt_actor_desc seer_desc = {.abi = QMT_ABI,
	.name = "seer",
	.state_size = sizeof(struct seer),
	.accepts = {{&seer_protocol, look_handlers}, {&qmt_names_protocol, told_handlers}}};

/* ---- two nodes --------------------------------------------------------------------------------------------------- */

static struct mesh_pair pair;

static void make(void **state)
{
	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
	pair.a.names = pair.b.names = true;
}

static struct qmt_ref names_of(struct mesh_node *node)
{
	struct qmt_ref names;

	assert_int_equal(qmt_lookup(node->ctx, "names", &names), 0);
	return names;
}
static void name_it(struct mesh_node *node, const char *name, struct qmt_ref who)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(node, names_of(node), &result, qmt_names_register, .name = qmt_str(name), .who = who), 0);
}

struct finding {
	struct mesh_node *node;
	const char *name;
	struct qmt_ref who;
	char peer[PEER_ID_TEXT + 1];
};
static bool is_found(void *arg)
{
	struct finding *finding = arg;
	struct qmt_result result;
	const struct qmt_names_entry *entry;

	if (MESH_ASK(finding->node, names_of(finding->node), &result, qmt_names_lookup, .name = qmt_str(finding->name)))
		return false;
	entry = result.body;
	finding->who = entry->who;
	(void)snprintf(finding->peer, sizeof(finding->peer), "%.*s", QMT_STR_ARG(entry->peer));
	return true;
}
static bool is_not_found(void *arg)
{
	return !is_found(arg);
}
static struct qmt_ref find(struct mesh_node *node, const char *name, const char *peer)
{
	struct finding finding = {.node = node, .name = name};

	mesh_until(is_found, &finding, name);
	assert_string_equal(finding.peer, peer);
	return finding.who;
}
static void wait_gone(struct mesh_node *node, const char *name)
{
	mesh_until(is_not_found, &(struct finding){.node = node, .name = name}, "the name is gone");
}

static struct qmt_ref spawn_seer(struct mesh_node *node)
{
	struct qmt_err err = {0};
	struct qmt_ref ref;

	if (qmt_spawn(node->ctx, &seer_desc, NULL, &ref, &err))
		fail_msg("%s", err.text);
	return ref;
}
struct looking {
	struct mesh_node *node;
	struct qmt_ref seer;
	const char *log;
};
static bool has_seen(void *arg)
{
	struct looking *looking = arg;
	struct qmt_result result;

	assert_int_equal(MESH_ASK(looking->node, looking->seer, &result, seer_look, ), 0);
	return qmt_str_is(((const struct seer_seen *)result.body)->log, looking->log);
}
static void wait_seen(struct mesh_node *node, struct qmt_ref seer, const char *log)
{
	mesh_until(has_seen, &(struct looking){node, seer, log}, log);
}

/* Whoever is found is told and asked as any other: the probe there answers. */
static void ask_it(struct mesh_node *node, struct qmt_ref who, uint64_t n)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(node, who, &result, probe_say, .n = n), 0);
	assert_int_equal(((const struct probe_said *)result.body)->n, n);
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

/* What is registered at one node, before the link and after, is found at the other, own node first, and answers. */
static void found_across(void **state)
{
	struct qmt_result result;
	const struct qmt_names_listed *listed;

	make(state);
	mesh_pair_mutual(&pair);
	mesh_node_start(&pair.b);
	name_it(&pair.b, "early", pair.b.probe);
	mesh_pair_start(&pair);
	ask_it(&pair.a, find(&pair.a, "early", pair.b.id), 1);
	name_it(&pair.a, "late", pair.a.probe);
	ask_it(&pair.b, find(&pair.b, "late", pair.a.id), 2);
	name_it(&pair.a, "early", pair.a.probe);
	assert_true(qmt_ref_eq(find(&pair.a, "early", ""), pair.a.probe));
	assert_int_equal(MESH_ASK(&pair.a, names_of(&pair.a), &result, qmt_names_list, ), 0);
	listed = result.body;
	assert_int_equal(listed->rows.count, 3);
	assert_true(qmt_str_is(listed->rows.items[1].name, "early"));
	assert_true(qmt_str_is(listed->rows.items[1].peer, pair.b.id));
	assert_int_equal(MESH_ASK(&pair.a, names_of(&pair.a), &result, qmt_names_unregister, .name = qmt_str("late"),
						 .who = pair.a.probe),
		0);
	wait_gone(&pair.b, "late");
	mesh_pair_stop(&pair);
}

/* A watcher sees names of a node come, go with it, and come back with it, each once; and the node itself. */
static void gone_with_the_node(void **state)
{
	struct qmt_result result;
	struct qmt_ref names_seer, peers_seer;

	make(state);
	mesh_pair_mutual(&pair);
	mesh_node_start(&pair.a);
	names_seer = spawn_seer(&pair.a);
	peers_seer = spawn_seer(&pair.a);
	assert_int_equal(MESH_ASK(&pair.a, names_of(&pair.a), &result, qmt_names_watch, .pattern = qmt_str("lab/*"),
						 .watcher = names_seer),
		0);
	assert_int_equal(MESH_ASK(&pair.a, names_of(&pair.a), &result, qmt_names_watch_peers, .watcher = peers_seer), 0);
	mesh_pair_start(&pair);
	wait_seen(&pair.a, peers_seer, "up ");
	name_it(&pair.b, "lab/1", pair.b.probe);
	name_it(&pair.b, "yard/1", pair.b.probe);
	name_it(&pair.b, "lab/2", pair.b.probe);
	wait_seen(&pair.a, names_seer, "+lab/1 +lab/2 ");
	mesh_node_stop(&pair.b);
	wait_seen(&pair.a, names_seer, "+lab/1 +lab/2 -lab/1 -lab/2 ");
	wait_seen(&pair.a, peers_seer, "up down ");
	mesh_pair_start(&pair);
	wait_seen(&pair.a, peers_seer, "up down up ");
	name_it(&pair.b, "lab/3", pair.b.probe);
	wait_seen(&pair.a, names_seer, "+lab/1 +lab/2 -lab/1 -lab/2 +lab/3 ");
	mesh_pair_stop(&pair);
}

/* A cut connection takes the names along; the next one brings them back, with refs that work. */
static void back_with_the_link(void **state)
{
	make(state);
	mesh_pair_mutual(&pair);
	mesh_pair_start(&pair);
	name_it(&pair.b, "db", pair.b.probe);
	struct qmt_ref before = find(&pair.a, "db", pair.b.id);
	mesh_pair_cut(&pair);
	mesh_until(is_not_found, &(struct finding){.node = &pair.a, .name = "db"}, "gone with the connection");
	struct qmt_ref after = find(&pair.a, "db", pair.b.id);
	assert_false(qmt_ref_eq(before, after));
	ask_it(&pair.a, after, 3);
	mesh_pair_stop(&pair);
}

/* Nodes tell their names only when they name each other: here a names b, and b does not know it. */
static void only_named_peers(void **state)
{
	struct qmt_ref seer;
	struct qmt_result result;

	make(state);
	mesh_pair_start(&pair);
	name_it(&pair.a, "from a", pair.a.probe);
	name_it(&pair.b, "from b", pair.b.probe);
	seer = spawn_seer(&pair.b);
	assert_int_equal(MESH_ASK(&pair.b, names_of(&pair.b), &result, qmt_names_watch_peers, .watcher = seer), 0);
	wait_seen(&pair.b, seer, "up ");
	/* what either side had said to the other would be in front of these */
	assert_int_equal(MESH_ASK(&pair.a, pair.a.probe, &result, probe_ask_peer, .peer = qmt_str(pair.b.id)), 0);
	assert_int_equal(MESH_ASK(&pair.b, pair.b.probe, &result, probe_ask_peer, .peer = qmt_str(pair.a.id)), 0);
	assert_false(is_found(&(struct finding){.node = &pair.b, .name = "from a"}));
	assert_false(is_found(&(struct finding){.node = &pair.a, .name = "from b"}));
	mesh_pair_stop(&pair);
}

/* A stranger that says it has names is told that it is not named, in words that help. */
static void a_stranger(void **unused)
{
	struct hostile peer = {0};
	struct qmt_err err = {0};
	char id[PEER_ID_TEXT + 1];
	struct qmt_names_sync sync = {.epoch = 1, .sequence = 1, .full = true};
	struct envelope ask = {.kind = ENVELOPE_ASK,
		.id = 7,
		.to_name = qmt_str("names"),
		.type = 1,
		.type_name = qmt_str("qmt_names.sync"),
		.deadline_ms = 1000};

	(void)unused;
	mesh_pair_init(&pair, MESH_TCP);
	pair.b.names = true;
	mesh_node_start(&pair.b);
	if (hostile_open(&peer, pair.b.port, 0, &err))
		fail_msg("%s", err.text);
	peer_id_text(&peer.identity.id, id);
	hostile_says_use(&peer, 1);
	mesh_wait_peer(&pair.b, id, true);
	hostile_say(&peer, &ask, &qmt_names_sync_type.record, &sync);
	struct envelope answer = hostile_wait(&peer, ENVELOPE_ERROR);
	struct link_error *error = codec_decode_new(&link_error_record, answer.body, NULL, NULL);
	assert_int_equal(answer.id, 7);
	assert_int_equal(error->fail, QMT_FAIL_NOT_ALLOWED);
	char text[256], expected[256];
	qmt_text(text, sizeof(text), "%.*s", QMT_STR_ARG(error->text));
	qmt_text(expected, sizeof(expected),
		"qmt_names.sync: this node does not name that peer (on this node: qmt peers allow %s)", id);
	assert_string_equal(text, expected);
	free(error);
	hostile_close(&peer);
	mesh_pair_stop(&pair);
}

int main(void)
{
	static enum mesh_kind kinds[] = {MESH_TCP, MESH_LOOP};
#define CASE(fn, kind)                                                                                          \
	{                                                                                                           \
		.name = kind == MESH_TCP ? #fn " (tcp)" : #fn " (loop)", .test_func = fn, .initial_state = &kinds[kind] \
	}
#define CASES(kind)                                                                           \
	CASE(found_across, kind), CASE(gone_with_the_node, kind), CASE(back_with_the_link, kind), \
		CASE(only_named_peers, kind)
	const struct CMUnitTest tests[] = {CASES(MESH_TCP), CASES(MESH_LOOP), cmocka_unit_test(a_stranger)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
