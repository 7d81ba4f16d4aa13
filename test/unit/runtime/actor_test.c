/* runtime/actor: what a spawned actor gets, what a stale ref finds, and the order in which a tree ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/scheduler.h"
#include "runtime/slab.h"
#include "test/lib/runtime_kit.h"

static struct kit_latch started = KIT_LATCH, stopped = KIT_LATCH;
static char stop_order[256]; /* written by stop hooks, under the latch's lock by order of events */

/* ---- a node that spawns children, told how many ------------------------------------------------------------------ */

struct node {
	uint64_t level;
	char name[8];
	uint64_t told;
};

static int node_start(struct qmt_ctx *ctx, void *state, const void *config);
static void node_stop(struct qmt_ctx *ctx, void *state);

static void node_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node *node = state;

	node->told += ((const struct kit_poke *)body)->value;
	if (qmt_token(ctx).ask)
		kit_answer(ctx, node->told);
}

static void node_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	(void)body;
	qmt_stop_self(ctx);
}

static qmt_handler *const node_handlers[kit_message_count] = {[kit_poke_id] = node_poke, [kit_stop_id] = node_end};
static const struct qmt_actor_desc node_desc =
	KIT_DESC("node", node_handlers, .state_size = sizeof(struct node), .start = node_start, .stop = node_stop);

/* config: names, the first is ours, each further one is a child's: "abc" is a with b, b with c. */
static int node_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct node *node = state;
	const char *names = config;

	node->name[0] = names[0];
	kit_latch_add(&started, 1);
	if (names[1]) {
		struct qmt_ref child;

		kit_check(qmt_spawn(ctx, &node_desc, &(struct qmt_spawn){.config = names + 1}, &child, NULL) == 0);
	}
	return 0;
}

static void node_stop(struct qmt_ctx *ctx, void *state)
{
	struct node *node = state;
	struct qmt_ref ref;

	/* What a stop hook may do: tell, look up, register, unregister; not spawn. */
	kit_check(qmt_spawn(ctx, &node_desc, NULL, &ref, NULL) == QMT_FAIL_STOPPING);
	kit_check(qmt_ref_is_set(qmt_self(ctx)));
	if (qmt_lookup(ctx, "listener", &ref) == 0)
		kit_check(QMT_TELL(ctx, ref, kit_poke, .value = 1) == 0);
	qmt_unregister(ctx, "nobody");
	strncat(stop_order, node->name, sizeof stop_order - strlen(stop_order) - 1);
	kit_latch_add(&stopped, 1);
}

/* A tree ends leaves first, and each stop hook still may tell. */
static void tree_ends_leaves_first(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t told;

	for (uint32_t workers = 1; workers <= 4; workers *= 2) {
		kit_start(&kit, workers);
		stop_order[0] = '\0';
		started.count = stopped.count = 0;
		struct qmt_ref listener = kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.name = "listener", .config = "L"});
		struct qmt_ref top = kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.config = "abcde"});
		kit_latch_wait(&started, 6);
		assert_int_equal(QMT_TELL(kit.out, top, kit_stop), 0);
		kit_latch_wait(&stopped, 5);
		assert_string_equal(stop_order, "edcba");
		kit_wait_gone(&kit, top);
		assert_int_equal(kit_ask(&kit, listener, 0, 0, &told), 0);
		assert_int_equal(told, 5);
		kit_stop(&kit);
	}
}

/* The end of a system ends all trees, leaves first. */
static void system_stop_ends_all(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 2);
	stop_order[0] = '\0';
	stopped.count = 0;
	kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.config = "abc"});
	kit_stop(&kit);
	/* the tree may have been stopped while it was being spawned: whatever started has stopped, in order */
	assert_true(strlen(stop_order) == kit_latch_count(&stopped));
	for (size_t i = 1; i < strlen(stop_order); i++)
		assert_true(stop_order[i] < stop_order[i - 1]);
}

/* A ref to an actor that ended fails, also when its block has a new tenant, and the new tenant does not get the
 * message. */
static void stale_refs_fail(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t told;

	kit_start(&kit, 2);
	stopped.count = 0;
	struct qmt_ref old = kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.config = "a"}), fresh[200];
	assert_int_equal(qmt_stop(kit.out, old), 0);
	kit_latch_wait(&stopped, 1);
	kit_wait_gone(&kit, old);
	assert_int_equal(QMT_TELL(kit.out, old, kit_poke, .value = 1), QMT_FAIL_NOT_RUNNING);
	assert_int_equal(kit_ask(&kit, old, 1, 0, NULL), QMT_FAIL_NOT_RUNNING);
	assert_int_equal(qmt_stop(kit.out, old), QMT_FAIL_NOT_RUNNING);
	bool reused = false;
	for (int i = 0; i < 200 && !reused; i++) {
		fresh[i] = kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.config = "b"});
		reused = fresh[i].actor == old.actor;
		assert_int_equal(kit_ask(&kit, fresh[i], 0, 0, &told), 0);
		assert_int_equal(QMT_TELL(kit.out, old, kit_poke, .value = 1), QMT_FAIL_NOT_RUNNING);
		assert_int_equal(qmt_stop(kit.out, old), QMT_FAIL_NOT_RUNNING);
		assert_int_equal(kit_ask(&kit, fresh[i], 0, 0, &told), 0);
		assert_int_equal(told, 0);
		qmt_stop(kit.out, fresh[i]);
		kit_wait_gone(&kit, fresh[i]);
	}
	assert_false(qmt_is_running((struct qmt_ref){0}));
	assert_int_equal(QMT_TELL(kit.out, (struct qmt_ref){0}, kit_poke, .value = 1), QMT_FAIL_NOT_RUNNING);
	kit_stop(&kit);
}

/* A message that slips into the mailbox of a later tenant of the block (its sender looked at the generation just
 * before) is not handled by it: an ask is answered, a tell is dropped. */
static void late_messages_reach_nobody_else(void **unused)
{
	(void)unused;
	struct kit kit;
	uint64_t told;

	kit_start_seeded(&kit, 1);
	struct qmt_ref ref = kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.config = "a"});
	assert_int_equal(kit_ask(&kit, ref, 0, 0, &told), 0);
	struct qmt_msg *m = qmt_msg_new(kit.out, &kit_poke_type, 0);
	((struct kit_poke *)qmt_msg_body(m))->value = 5;
	m->type = kit_poke_id;
	m->to_gen = ref.gen - 1;
	/* the actor is idle: whoever pushes has to let it run */
	assert_int_equal(mailbox_push(ref.actor, m), PUSH_WAKES);
	qmt__schedule_elsewhere(kit.out, ref.actor);
	assert_int_equal(kit_ask(&kit, ref, 0, 0, &told), 0);
	assert_int_equal(told, 0);
	kit_stop(&kit);
}

/* Trap 7: a state of 16 bytes makes a block of 192 bytes, three lines; one byte more makes it the next size. */
static void blocks_are_small(void **unused)
{
	(void)unused;
	static const struct qmt_actor_desc three = KIT_DESC("three", node_handlers, .state_size = 16),
									   four = KIT_DESC("four", node_handlers, .state_size = 17);
	struct kit kit;

	assert_int_equal(sizeof(struct qmt_msg), 32);
	assert_int_equal(sizeof(struct ask), 64);
	kit_start_seeded(&kit, 1);
	assert_int_equal(qmt__slab_size(kit_spawn(&kit, &three, NULL).actor->class), 192);
	assert_int_equal(qmt__slab_size(kit_spawn(&kit, &four, NULL).actor->class), 256);
	kit_stop(&kit);
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

struct settings {
	bool on;
	uint32_t small;
	uint64_t large;
	const char *text;
	const char *must;
	char rest[4000]; /* larger than a block of the slabs */
};

static const struct qmt_param settings_params[] = {
	{"on", QMT_PARAM_BOOL, offsetof(struct settings, on), "true", 0, 0, "A switch."},
	{"small", QMT_PARAM_U32, offsetof(struct settings, small), "7", 1, 100, "A small number."},
	{"large", QMT_PARAM_U64, offsetof(struct settings, large), "18446744073709551615", 0, 0, "A large number."},
	{"text", QMT_PARAM_STR, offsetof(struct settings, text), "none", 0, 0, "A text."},
	{"must", QMT_PARAM_STR, offsetof(struct settings, must), NULL, 0, 0, "A text that has no default."},
	{0},
};

static struct settings seen; /* by settings_start; read after an answer */

static int settings_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	(void)config;
	seen = *(struct settings *)state;
	for (size_t i = 0; i < sizeof seen.rest; i++)
		kit_check(seen.rest[i] == 0);
	((struct settings *)state)->small = 99;
	memset(((struct settings *)state)->rest, 1, sizeof seen.rest);
	return 0;
}

static void settings_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	if (((const struct kit_poke *)body)->value)
		qmt_fail(ctx, "told to");
	else
		kit_answer(ctx, 0);
}

static qmt_handler *const settings_handlers[kit_message_count] = {[kit_poke_id] = settings_poke};
static const struct qmt_actor_desc settings_desc = KIT_DESC(
	"settings", settings_handlers, .state_size = sizeof(struct settings), .params = settings_params,
	.start = settings_start);

/* Parameters and zeroes fill the state before each start, also after a restart, also when the state is large. */
static void parameters_fill_the_state(void **unused)
{
	(void)unused;
	struct kit kit;
	char must[] = "given";
	struct qmt_param_value values[] = {{"small", "12"}, {"must", must}, {"on", "false"}, {0}};

	kit_start(&kit, 1);
	struct qmt_ref ref = kit_spawn(&kit, &settings_desc, &(struct qmt_spawn){.params = values,
		.restart = QMT_PERMANENT});
	memset(must, 'X', 5); /* they were copied */
	values[0].value = "1";
	for (int round = 0; round < 2; round++) {
		assert_int_equal(kit_ask(&kit, ref, 0, 0, NULL), 0);
		assert_int_equal(seen.small, 12);
		assert_false(seen.on);
		assert_true(seen.large == UINT64_MAX);
		assert_string_equal(seen.text, "none");
		assert_string_equal(seen.must, "given");
		memset(&seen, 0, sizeof seen);
		QMT_TELL(kit.out, ref, kit_poke, .value = 1); /* fails, is restarted */
		while (kit_ask(&kit, ref, 0, 0, NULL) == QMT_FAIL_RESTARTING)
			;
	}
	kit_stop(&kit);
}

static void refused(struct kit *kit, struct qmt_param_value *values, const char *text)
{
	struct qmt_err err;
	struct qmt_ref ref = {0};

	assert_int_equal(qmt_spawn(kit->out, &settings_desc, &(struct qmt_spawn){.params = values}, &ref, &err),
		QMT_FAIL_BAD_REQUEST);
	assert_non_null(strstr(err.text, text));
	assert_false(qmt_ref_is_set(ref));
	/* without err too */
	assert_int_equal(qmt_spawn(kit->out, &settings_desc, &(struct qmt_spawn){.params = values}, &ref, NULL),
		QMT_FAIL_BAD_REQUEST);
}

/* A bad parameter is refused by name, with what would be right; nothing is spawned. */
static void bad_parameters_are_refused(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 1);
	refused(&kit, NULL, "parameter must");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"smal", "1"}, {0}}, "no parameter is called smal");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"small", "0"}, {0}}, "from 1 to 100");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"small", "101"}, {0}}, "from 1 to 100");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"small", "12x"}, {0}}, "\"12x\"");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"small", "-1"}, {0}}, "\"-1\"");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"small", ""}, {0}}, "\"\"");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"large", "18446744073709551616"}, {0}}, "large");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"on", "yes"}, {0}}, "neither true nor false");
	refused(&kit, (struct qmt_param_value[]){{"must", "x"}, {"must", "y"}, {0}}, "given twice");
	refused(&kit, (struct qmt_param_value[]){{"must", NULL}, {0}}, "without a value");
	kit_stop(&kit);
}

static void refused_desc(struct kit *kit, const struct qmt_actor_desc *desc, const struct qmt_spawn *opt,
	const char *text)
{
	struct qmt_err err;
	struct qmt_ref ref = {0};

	assert_int_equal(qmt_spawn(kit->out, desc, opt, &ref, &err), QMT_FAIL_BAD_REQUEST);
	assert_non_null(strstr(err.text, text));
	assert_false(qmt_ref_is_set(ref));
	assert_int_equal(qmt_spawn(kit->out, desc, opt, &ref, NULL), QMT_FAIL_BAD_REQUEST);
}

/* A description of another ABI, with an impossible bound, or a protocol without handlers is refused with the reason. */
static void bad_descriptions_are_refused(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_err err;
	struct qmt_ref ref;
	struct qmt_actor_desc desc = node_desc;

	kit_start(&kit, 1);
	desc.abi = QMT_ABI + 1;
	assert_int_equal(qmt_spawn(kit.out, &desc, NULL, &ref, &err), QMT_FAIL_BAD_REQUEST);
	assert_non_null(strstr(err.text, "ABI"));
	desc = node_desc;
	desc.bound = 1 << 22;
	assert_int_equal(qmt_spawn(kit.out, &desc, NULL, &ref, &err), QMT_FAIL_BAD_REQUEST);
	desc = node_desc;
	desc.accepts[1].protocol = &kit2_protocol;
	assert_int_equal(qmt_spawn(kit.out, &desc, NULL, &ref, &err), QMT_FAIL_BAD_REQUEST);
	assert_non_null(strstr(err.text, "kit2"));

	desc = node_desc;
	desc.name = NULL;
	refused_desc(&kit, &desc, NULL, "without a name");
	desc = node_desc;
	desc.accepts[2] = desc.accepts[0];
	refused_desc(&kit, &desc, NULL, "accepts kit twice");
	desc = node_desc;
	desc.accepts[3].handlers = desc.accepts[0].handlers;
	refused_desc(&kit, &desc, NULL, "accepts[3] has handlers and no protocol");
	desc = node_desc;
	desc.overflow = QMT_DROP_OLD + 1;
	refused_desc(&kit, &desc, NULL, "overflow 4");
	desc = node_desc;
	desc.supervision.strategy = QMT_REST_FOR_ONE + 1;
	refused_desc(&kit, &desc, NULL, "strategy 3");
	desc = node_desc;
	desc.supervision.max_restarts = QMT_RESTARTS_MAX + 1;
	refused_desc(&kit, &desc, NULL, "max_restarts 65537 is over the limit");
	refused_desc(&kit, &node_desc, &(struct qmt_spawn){.restart = QMT_PERMANENT + 1}, "restart 3");
	refused_desc(&kit, &node_desc, &(struct qmt_spawn){.name = ""}, "empty name");

	struct qmt_param params[3] = {{.name = "one", .kind = QMT_PARAM_U64, .dflt = "1"}};
	desc = settings_desc;
	desc.params = params;
	params[1] = params[0];
	refused_desc(&kit, &desc, NULL, "two parameters are called one");
	params[1] = (struct qmt_param){.name = "two", .kind = QMT_PARAM_STR + 1, .dflt = ""};
	refused_desc(&kit, &desc, NULL, "parameter two: kind 4");
	params[1] = (struct qmt_param){.name = "two", .kind = QMT_PARAM_U64, .offset = desc.state_size - 4, .dflt = "2"};
	refused_desc(&kit, &desc, NULL, "parameter two lies outside of the state");
	/* a name taken: the first one keeps it, the second is not started */
	kit_spawn(&kit, &node_desc, &(struct qmt_spawn){.name = "taken", .config = "z"});
	assert_int_equal(qmt_spawn(kit.out, &node_desc, &(struct qmt_spawn){.name = "taken"}, &ref, &err),
		QMT_FAIL_NAME_TAKEN);
	assert_non_null(strstr(err.text, "the name taken is taken"));
	kit_stop(&kit);
}

/* ---- several protocols ------------------------------------------------------------------------------------------- */

static void hello(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	kit_check(QMT_REPLY(ctx, qmt_token(ctx), kit2_hello, .value = ((const struct kit_answer *)body)->value + 1) == 0);
}
static qmt_handler *const hello_handlers[kit2_message_count] = {[kit2_hello_id] = hello};
static const struct qmt_actor_desc both_desc = {.abi = QMT_ABI, .name = "both", .state_size = sizeof(struct node),
	.accepts = {{&kit_protocol, node_handlers}, {&kit2_protocol, hello_handlers}}};

/* An actor may serve several protocols; the second one works as the first. */
static void second_protocol(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_result result;

	kit_start(&kit, 2);
	struct qmt_ref ref = kit_spawn(&kit, &both_desc, NULL);
	assert_int_equal(qmt_outside_ask(kit.out, ref, &kit2_hello_type, &(struct kit2_hello){.value = 5}, 0, &result), 0);
	assert_ptr_equal(result.type, &kit2_hello_type);
	assert_int_equal(((const struct kit2_hello *)result.body)->value, 6);
	assert_int_equal(kit_ask(&kit, ref, 3, 0, NULL), 0);
	kit_stop(&kit);
}

/* ---- start fails ------------------------------------------------------------------------------------------------- */

static int refuse_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	(void)state;
	(void)config;
	return -5;
}
static void count_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	(void)state;
	kit_latch_add(&stopped, 1);
}
static const struct qmt_actor_desc refuser_desc = KIT_DESC("refuser", node_handlers, .start = refuse_start,
	.stop = count_stop);

/* A start that fails ends the actor: its stop hook runs, it is logged with the value, what waits for it gets no
 * silence. */
static void failed_start(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start(&kit, 2);
	stopped.count = 0;
	struct qmt_ref ref = kit_spawn(&kit, &refuser_desc, &(struct qmt_spawn){.name = "r"});
	assert_int_equal(kit_ask(&kit, ref, 1, 0, NULL) != 0, 1);
	kit_latch_wait(&stopped, 1);
	kit_wait_gone(&kit, ref);
	assert_true(kit_logged(&kit, "start returned -5"));
	assert_int_equal(qmt_lookup(kit.out, "r", &ref), QMT_FAIL_UNKNOWN_ACTOR);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tree_ends_leaves_first),
		cmocka_unit_test(system_stop_ends_all),
		cmocka_unit_test(stale_refs_fail),
		cmocka_unit_test(late_messages_reach_nobody_else),
		cmocka_unit_test(blocks_are_small),
		cmocka_unit_test(parameters_fill_the_state),
		cmocka_unit_test(bad_parameters_are_refused),
		cmocka_unit_test(bad_descriptions_are_refused),
		cmocka_unit_test(second_protocol),
		cmocka_unit_test(failed_start),
	};

	return cmocka_run_group_tests_name("runtime/actor", tests, NULL, NULL);
}
