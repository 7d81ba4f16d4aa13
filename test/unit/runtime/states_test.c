/* runtime/states: only moves of the table are made; a wrong one names both states; the invariant is looked at each
 * time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/states.h"
#include "test/lib/runtime_kit.h"

/*   OFF --press--> ON --press--> OFF,   ON --heat--> BROKEN */
#define LAMP_STATES(S, B)                       \
	S(LAMP, OFF, B(LAMP, ON))                   \
	S(LAMP, ON, B(LAMP, OFF) | B(LAMP, BROKEN)) \
	S(LAMP, BROKEN, 0)
QMT_DECLARE_STATES(LAMP, lamp, LAMP_STATES)

struct lamp {
	uint32_t state;
	bool no_bulb;
	uint32_t checks;
};

static const char *lamp_check(const void *object, uint32_t state)
{
	const struct lamp *lamp = object;

	((struct lamp *)(uintptr_t)lamp)->checks++;
	kit_check(lamp->state == state);
	return state == LAMP_ON && lamp->no_bulb ? "a lamp that is on has a bulb" : NULL;
}
QMT_DEFINE_STATES(LAMP, lamp, LAMP_STATES, lamp_check)

enum { NO_BULB = 100, MOVED = 1000 };

static void lamp_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct lamp *lamp = state;
	uint64_t value = ((const struct kit_poke *)body)->value;

	if (value >= NO_BULB) {
		lamp->no_bulb = true;
		value -= NO_BULB;
	}
	bool moved = qmt_state_move(ctx, &lamp_states, &lamp->state, (uint32_t)value, lamp);
	if (moved)
		kit_answer(ctx, MOVED + lamp->checks);
}
static qmt_handler *const handlers[kit_message_count] = {[kit_poke_id] = lamp_poke};
static const struct qmt_actor_desc lamp_desc = KIT_DESC("lamp", handlers, .state_size = sizeof(struct lamp));

/* Every pair of states: a move of the table is made and checked, any other fails the actor saying both names. */
static void every_move(void **unused)
{
	(void)unused;
	static const char *const wrong[LAMP_STATE_COUNT + 1][LAMP_STATE_COUNT + 1] = {
		{"OFF -> OFF: no such move; from OFF: ON", NULL, "OFF -> BROKEN: no such move; from OFF: ON",
			"OFF -> ?: no such move; from OFF: ON"},
		{NULL, "ON -> ON: no such move; from ON: OFF BROKEN", NULL, "ON -> ?: no such move; from ON: OFF BROKEN"},
		{"BROKEN -> OFF: no such move; from BROKEN: none", "BROKEN -> ON: no such move; from BROKEN: none",
			"BROKEN -> BROKEN: no such move; from BROKEN: none", "BROKEN -> ?: no such move; from BROKEN: none"},
	};
	static const uint64_t way[][2] = {{0}, {LAMP_ON}, {LAMP_ON, LAMP_BROKEN}};

	for (uint32_t from = 0; from < LAMP_STATE_COUNT; from++) {
		for (uint32_t to = 0; to <= LAMP_STATE_COUNT; to++) {
			struct kit kit;
			uint64_t value;

			kit_start_seeded(&kit, 1);
			struct qmt_ref lamp = kit_spawn(&kit, &lamp_desc, NULL);
			for (uint32_t i = 0; i < from; i++)
				assert_int_equal(kit_ask(&kit, lamp, way[from][i], 0, NULL), 0);
			int failed = kit_ask(&kit, lamp, to, 0, &value);
			if (wrong[from][to]) {
				assert_int_equal(failed, QMT_FAIL_NO_REPLY);
				assert_true(kit_logged(&kit, wrong[from][to]));
			} else {
				assert_int_equal(failed, 0);
				assert_int_equal(value, MOVED + from + 1);
			}
			kit_stop(&kit);
		}
	}
}

/* What does not hold after a move fails the actor; the reason says which move and what. */
static void invariant(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 2);
	struct qmt_ref lamp = kit_spawn(&kit, &lamp_desc, NULL);
	assert_int_equal(kit_ask(&kit, lamp, NO_BULB + LAMP_ON, 0, NULL), QMT_FAIL_NO_REPLY);
	assert_true(kit_logged(&kit, "lamp: OFF -> ON: a lamp that is on has a bulb"));
	assert_string_equal(qmt_state_name(&lamp_states, LAMP_BROKEN), "BROKEN");
	assert_string_equal(qmt_state_name(&lamp_states, 77), "?");
	kit_stop(&kit);
}

/* Outside of an actor the program ends, and says the same. */
static void outside(void **unused)
{
	(void)unused;
	char said[200] = "";
	int pipes[2], status;

	assert_int_equal(pipe(pipes), 0);
	pid_t child = fork();
	if (child == 0) {
		struct lamp lamp = {0};

		(void)dup2(pipes[1], STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		(void)qmt_state_move(NULL, &lamp_states, &lamp.state, LAMP_BROKEN, &lamp);
		_exit(0);
	}
	close(pipes[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(read(pipes[0], said, sizeof said - 1) > 0);
	close(pipes[0]);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_string_equal(said, "lamp: OFF -> BROKEN: no such move; from OFF: ON\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_move), cmocka_unit_test(invariant), cmocka_unit_test(outside)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
