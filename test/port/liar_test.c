/* test/port/liar_test.c - a peer with a proven link that says what is not so: nobody believes it, and the node lives on.
 */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#include "actors/node_manager/node_manager.h"
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

static void open_link(struct hostile *peer, char ret_id[PEER_ID_TEXT + 1])
{
	struct qmt_err err = {0};

	if (hostile_open(peer, node.port, 0, &err))
		fail_msg("%s", err.text);
	peer_id_text(&peer->identity.id, ret_id);
	hostile_says_use(peer, 1);
	mesh_wait_peer(&node, ret_id, true);
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

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(wrong_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
