/* test/port/liar_test.c - a peer with a proven link that says what is not so: nobody believes it, the node lives on. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#include "actors/node_manager/node_manager.h"
#include "proto/codec.h"
#include "proto/utf8.h"
#include "runtime/base/os.h"
#include "test/lib/hostile.h"
#include "transports/link_records.h"

static struct mesh_node node;
static char log_name[32];

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(log_name, sizeof(log_name), "/tmp/qmt-liar-XXXXXX");
	mesh_node_init(&node, "victim", NULL, 0);
	node.log_fd = mkstemp(log_name);
	assert_true(node.log_fd >= 0);
	mesh_node_start(&node);
	return 0;
}

static int tear_down(void **state)
{
	struct qmt_result result;

	(void)state;
	assert_int_equal(MESH_ASK(&node, node.probe, &result, probe_say, .n = 9), 0);
	mesh_node_stop(&node);
	close(node.log_fd);
	unlink(log_name);
	return 0;
}

static int logged(const char *text)
{
	static char log[1 << 20];
	ssize_t len = pread(node.log_fd, log, sizeof(log) - 1, 0);
	int count = 0;

	log[len > 0 ? len : 0] = '\0';
	for (const char *at = log; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static void open_link_as(struct hostile *peer, const char *name, char ret_id[PEER_ID_TEXT + 1])
{
	struct qmt_err err = {0};

	if (hostile_open_as(peer, node.port, name, &err))
		fail_msg("%s", err.text);
	peer_id_text(&peer->identity.id, ret_id);
	hostile_says_use(peer, 1);
	mesh_wait_peer(&node, ret_id, true);
}

static void open_link(struct hostile *peer, char ret_id[PEER_ID_TEXT + 1])
{
	open_link_as(peer, NULL, ret_id);
}

/* ---- an ask of its own thread, while the test's plays the peer --------------------------------------------------- */

struct asking {
	pthread_t thread;
	struct qmt_ref to;
	const struct qmt_type *type;
	const void *body;
	/* what came of it */
	int fail;
	uint32_t rows;
	char text[256];
};

static void *ask_run(void *arg)
{
	struct asking *asking = arg;
	struct qmt_ctx *ctx = qmt_outside_open(node.system);
	struct qmt_result result = {0};

	asking->fail = qmt_outside_ask(ctx, asking->to, asking->type, asking->body, MESH_WAIT_MS, &result);
	(void)snprintf(asking->text, sizeof(asking->text), "%.*s", QMT_STR_ARG(result.text));
	if (!asking->fail && asking->type == &node_providers_type) {
		const struct node_providers_reply *reply = result.body;

		asking->rows = reply->providers.count;
		if (asking->rows)
			(void)snprintf(asking->text, sizeof(asking->text), "%.*s",
				QMT_STR_ARG(reply->providers.items[asking->rows - 1].error));
	}
	qmt_outside_close(ctx);
	return NULL;
}

static void ask_start(struct asking *asking)
{
	assert_int_equal(pthread_create(&asking->thread, NULL, ask_run, asking), 0);
}

static void ask_end(struct asking *asking)
{
	assert_int_equal(pthread_join(asking->thread, NULL), 0);
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static void reply_with(struct hostile *peer, uint64_t id, const struct qmt_type *type, const void *body)
{
	hostile_say(peer,
		&(struct envelope){
			.kind = ENVELOPE_REPLY, .id = id, .type = type->index, .type_name = qmt_str(type->record.name)},
		&type->record, body);
}

/* A peer that answers node.providers with another message of the same protocol gives an error row: its numbers are not
 * read as addresses. It is called hostile once, and stays connected. */
static void wrong_answer(void **state)
{
	struct hostile peer = {0};
	struct qmt_err err = {0};
	char id[PEER_ID_TEXT + 1];
	struct node_manager_config config = {.peer_id = node.id,
		.node_name = "victim",
		.version = "0",
		.home = "",
		.config_path = "",
		.request_timeout_ms = 5000,
		.node_info_timeout_ms = 5000};
	struct asking asking = {.type = &node_providers_type, .body = &(struct node_providers){0}};

	(void)state;
	assert_int_equal(qmt_spawn(node.ctx, &node_manager_desc,
						 &(struct qmt_spawn){.name = "node_manager", .config = &config}, &asking.to, &err),
		0);
	open_link(&peer, id);
	for (int i = 0; i < 2; i++) {
		ask_start(&asking);
		reply_with(&peer, hostile_wait(&peer, ENVELOPE_ASK).id, &node_session_list_type,
			&(struct node_session_list){.offset = 0x1000, .limit = 1});
		ask_end(&asking);
		assert_int_equal(asking.fail, 0);
		assert_int_equal(asking.rows, 1);
		if (!strstr(asking.text, "node.providers was answered with node.session_list, not with node.providers_reply"))
			fail_msg("%s", asking.text);
	}
	assert_int_equal(logged("link.hostile"), 1);
	/* the right one is taken as before */
	ask_start(&asking);
	reply_with(
		&peer, hostile_wait(&peer, ENVELOPE_ASK).id, &node_providers_reply_type, &(struct node_providers_reply){0});
	ask_end(&asking);
	assert_int_equal(asking.rows, 0);
	hostile_close(&peer);
	assert_int_equal(qmt_stop(node.ctx, asking.to), 0);
}

/* A failure whose texts are not UTF-8 reaches who asked, as text, and the link stays. */
static void garbled_failure(void **state)
{
	struct hostile peer = {0};
	char id[PEER_ID_TEXT + 1];
	struct envelope ask = {.kind = ENVELOPE_ASK,
		.id = 7,
		.to_name = qmt_str("probe"),
		.type = 1,
		.type_name = qmt_str("probe.say"),
		.deadline_ms = 1000};
	struct probe_say say = {.garble = true};

	(void)state;
	open_link(&peer, id);
	hostile_say(&peer, &ask, &probe_say_type.record, &say);
	struct envelope answer = hostile_wait(&peer, ENVELOPE_ERROR);
	struct link_error *error = codec_decode_new(&link_error_record, answer.body, NULL, NULL);
	assert_int_equal(answer.id, 7);
	assert_non_null(error);
	assert_int_equal(error->fail, QMT_FAIL_FAILED);
	assert_true(qmt_str_is(error->kind, "k" UTF8_REPLACEMENT));
	assert_true(qmt_str_is(error->text, "a" UTF8_REPLACEMENT "(b" UTF8_REPLACEMENT));
	free(error);
	ask.id = 8;
	say.garble = false;
	hostile_say(&peer, &ask, &probe_say_type.record, &say);
	assert_int_equal(hostile_wait(&peer, ENVELOPE_REPLY).id, 8);
	hostile_close(&peer);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static int resolve(const char *name, char ret_id[PEER_ID_TEXT + 1])
{
	struct qmt_result result;
	struct qmt_ref peers;
	int fail;

	assert_int_equal(qmt_lookup(node.ctx, "peers", &peers), 0);
	fail = MESH_ASK(&node, peers, &result, peers_resolve, .name = qmt_str(name));
	if (!fail)
		(void)snprintf(
			ret_id, PEER_ID_TEXT + 1, "%.*s", QMT_STR_ARG(((const struct peers_resolved *)result.body)->peer.peer_id));
	return fail;
}

/* A stranger that calls itself as a configured peer, or by the PeerId of one, is not that peer: neither while that one
 * is away nor ever. A name that is nobody's finds it, as long as it is the only one that has it. */
static void another_ones_name(void **state)
{
	struct identity gpu;
	char gpu_id[PEER_ID_TEXT + 1], ids[4][PEER_ID_TEXT + 1], found[PEER_ID_TEXT + 1];
	const char *const names[4] = {"gpu", gpu_id, "unpinned", "free"};
	struct hostile peers[4] = {0}, twin = {0};
	char twin_id[PEER_ID_TEXT + 1];

	(void)state;
	identity_generate(&gpu);
	peer_id_text(&gpu.id, gpu_id);
	mesh_node_stop(&node);
	mesh_node_dials(&node, "gpu", mesh_free_port(), &gpu.id);
	mesh_node_dials(&node, "unpinned", mesh_free_port(), NULL);
	mesh_node_start(&node);
	for (int i = 0; i < 4; i++)
		open_link_as(&peers[i], names[i], ids[i]);
	assert_int_equal(resolve("gpu", found), QMT_FAIL_NO_ROUTE);
	assert_int_equal(resolve(gpu_id, found), QMT_FAIL_NO_ROUTE);
	assert_int_equal(resolve("unpinned", found), QMT_FAIL_NO_ROUTE);
	assert_int_equal(resolve(ids[0], found), 0);
	assert_string_equal(found, ids[0]);
	assert_int_equal(resolve("free", found), 0);
	assert_string_equal(found, ids[3]);
	const struct peers_list_reply *list = mesh_peers(&node);
	for (uint32_t i = 0; i < list->peers.count; i++)
		if (qmt_str_is(list->peers.items[i].state, "connected"))
			assert_false(qmt_str_is(list->peers.items[i].name, "gpu") ||
				qmt_str_is(list->peers.items[i].name, gpu_id) || qmt_str_is(list->peers.items[i].name, "unpinned"));
	open_link_as(&twin, "free", twin_id);
	assert_int_equal(resolve("free", found), QMT_FAIL_NO_ROUTE);
	for (int i = 0; i < 4; i++)
		hostile_close(&peers[i]);
	hostile_close(&twin);
	identity_fini(&gpu);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(wrong_answer),
		CASE(garbled_failure),
		CASE(another_ones_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
