/* runtime/broker: topics and patterns; each subscriber gets what one of its patterns takes, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "runtime/broker.h"
#include "test/lib/runtime_kit.h"

/* ---- the matcher ------------------------------------------------------------------------------------------------- */

/* What is meant, the slow way: levels as arrays, all ways of ** tried. */
static bool means(char *const *pattern, int patterns, char *const *topic, int topics)
{
	if (!patterns)
		return !topics;
	if (strcmp(pattern[0], "**") == 0) {
		for (int skip = 0; skip <= topics; skip++)
			if (means(pattern + 1, patterns - 1, topic + skip, topics - skip))
				return true;
		return false;
	}
	return topics && (strcmp(pattern[0], "*") == 0 || strcmp(pattern[0], topic[0]) == 0) &&
		means(pattern + 1, patterns - 1, topic + 1, topics - 1);
}

/* The number-th of all texts of at most `most` levels out of `kinds`: digits to the base of kinds. */
static int text_of(
	uint64_t number, char *const *kinds, uint64_t kind_count, int levels, char **ret_levels, char *ret_text)
{
	ret_text[0] = '\0';
	for (int i = 0; i < levels; i++) {
		ret_levels[i] = kinds[number % kind_count];
		number /= kind_count;
		(void)snprintf(ret_text + strlen(ret_text), 200, "%s%s", i ? "/" : "", ret_levels[i]);
	}
	return levels;
}

static uint64_t power(uint64_t base, int exponent)
{
	return exponent ? base * power(base, exponent - 1) : 1;
}

/* Every pattern of up to 5 levels against every topic of up to 5: as the slow way says. */
static void matcher_agrees(void **unused)
{
	(void)unused;
	enum { MOST = 5 };
	static char *const kinds[] = {"a", "ab", "*", "**"};
	char pattern[256], topic[256], *want[MOST], *have[MOST];
	uint64_t tried = 0, matched = 0;

	for (int pl = 1; pl <= MOST; pl++)
		for (uint64_t p = 0; p < power(4, pl); p++) {
			(void)text_of(p, kinds, 4, pl, want, pattern);
			assert_true(qmt_pattern_is_valid(qmt_str(pattern)));
			for (int tl = 1; tl <= MOST; tl++)
				for (uint64_t t = 0; t < power(2, tl); t++) {
					(void)text_of(t, kinds, 2, tl, have, topic);
					bool expected = means(want, pl, have, tl);

					if (qmt_topic_matches(qmt_str(pattern), qmt_str(topic)) != expected)
						fail_msg("%s against %s: not %s", pattern, topic, expected ? "true" : "false");
					tried++;
					matched += expected;
				}
		}
	assert_true(tried > 80000 && matched > 1000 && matched < tried);
}

/* Texts that are no topics and no patterns are told from those that are. */
static void validity(void **unused)
{
	(void)unused;
	static const char *const topics[] = {"a", "a/b", "lab/bench 2/\xc3\xa4", "a.b.c"},
							 *const patterns[] = {"*", "**", "a/*/b", "**/a/**", "*/*", "a/**/**"},
							 *const neither[] = {"", "/", "a/", "/a", "a//b", "a*", "a/b*c", "***", "*a", "**b/c"};
	char longest[QMT_DELIVERY_TEXT_MAX + 2];

	for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
		assert_true(qmt_topic_is_valid(qmt_str(topics[i])) && qmt_pattern_is_valid(qmt_str(topics[i])));
	for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
		assert_true(!qmt_topic_is_valid(qmt_str(patterns[i])) && qmt_pattern_is_valid(qmt_str(patterns[i])));
	for (size_t i = 0; i < sizeof neither / sizeof *neither; i++)
		assert_true(!qmt_topic_is_valid(qmt_str(neither[i])) && !qmt_pattern_is_valid(qmt_str(neither[i])));
	memset(longest, 'a', sizeof longest);
	assert_true(qmt_topic_is_valid(qmt_strn(longest, QMT_DELIVERY_TEXT_MAX)));
	assert_false(qmt_topic_is_valid(qmt_strn(longest, QMT_DELIVERY_TEXT_MAX + 1)));
	assert_false(qmt_topic_is_valid(qmt_strn("a\0b", 3)));
	assert_false(qmt_topic_is_valid((struct qmt_str){0}));
	/* The worst there is: many ** and nothing that fits in the end. */
	char worst[QMT_DELIVERY_TEXT_MAX + 1] = "", deep[QMT_DELIVERY_TEXT_MAX + 1] = "";
	for (int i = 0; i < 40; i++)
		strncat(worst, "**/a/", sizeof worst - strlen(worst) - 1);
	strncat(worst, "b", 2);
	for (int i = 0; i < 120; i++)
		strncat(deep, "a/", sizeof deep - strlen(deep) - 1);
	strncat(deep, "a", 2);
	assert_true(qmt_pattern_is_valid(qmt_str(worst)) && qmt_topic_is_valid(qmt_str(deep)));
	assert_false(qmt_topic_matches(qmt_str(worst), qmt_str(deep)));
}

/* ---- the actor --------------------------------------------------------------------------------------------------- */

static char heard[1024];

static void reader_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%c:%.*s ", *(char *)state,
		QMT_STR_ARG(((const struct kit_note *)body)->text));
}
static void reader_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	uint64_t value = ((const struct kit_poke *)body)->value;

	*(char *)state = (char)value;
	if (!value)
		qmt_stop_self(ctx);
}
static qmt_handler *const reader_handlers[kit_message_count] = {
	[kit_note_id] = reader_note, [kit_poke_id] = reader_poke};
static const struct qmt_actor_desc reader_desc = KIT_DESC("reader", reader_handlers, .state_size = 8);

QMT_BROKER_PUBLISH(kit_note, text)
static qmt_handler *const notes[kit_message_count] = {[kit_note_id] = kit_note_publish};
static const struct qmt_actor_desc broker_desc = QMT_BROKER_DESC("broker", &kit_protocol, notes, .bound = 100);

static struct qmt_ref spawn_reader(struct kit *kit, char name)
{
	struct qmt_ref reader = kit_spawn(kit, &reader_desc, NULL);

	assert_int_equal(QMT_TELL(kit->out, reader, kit_poke, .value = (uint64_t)name), 0);
	return reader;
}

static int subscribe(struct kit *kit, struct qmt_ref broker, struct qmt_ref who, const char *pattern)
{
	struct qmt_result result;

	return qmt_outside_ask(kit->out, broker, &qmt_broker_subscribe_type,
		&(struct qmt_broker_subscribe){.who = who, .pattern = qmt_str(pattern)}, 0, &result);
}
static int unsubscribe(struct kit *kit, struct qmt_ref broker, struct qmt_ref who, const char *pattern)
{
	struct qmt_result result;

	return qmt_outside_ask(kit->out, broker, &qmt_broker_unsubscribe_type,
		&(struct qmt_broker_unsubscribe){.who = who, .pattern = qmt_str(pattern)}, 0, &result);
}
static struct qmt_broker_counts counts(struct kit *kit, struct qmt_ref broker)
{
	struct qmt_result result;

	assert_int_equal(
		qmt_outside_ask(kit->out, broker, &qmt_broker_info_type, &(struct qmt_broker_info){}, 0, &result), 0);
	return *(const struct qmt_broker_counts *)result.body;
}
static void publish(struct kit *kit, struct qmt_ref broker, const char *topic, const char *expected)
{
	heard[0] = '\0';
	assert_int_equal(QMT_TELL(kit->out, broker, kit_note, .text = qmt_str(topic)), 0);
	qmt_system_run(kit->sys, 0);
	assert_int_equal(strlen(heard), strlen(expected)); /* who comes first is the seed's choice */
	for (const char *at = expected; *at; at += strcspn(at, " ") + 1) {
		char one[64];

		(void)snprintf(one, sizeof one, "%.*s ", (int)strcspn(at, " "), at);
		assert_non_null(strstr(heard, one));
	}
}

/* Subscriptions come and go; a message comes to those whose patterns take its topic, once each. */
static void topics_reach_patterns(void **unused)
{
	(void)unused;
	struct kit kit;

	kit_start_seeded(&kit, 1);
	struct qmt_ref broker = kit_spawn(&kit, &broker_desc, NULL);
	struct qmt_ref a = spawn_reader(&kit, 'A'), b = spawn_reader(&kit, 'B'), c = spawn_reader(&kit, 'C');
	assert_int_equal(subscribe(&kit, broker, a, "lab/*"), 0);
	assert_int_equal(subscribe(&kit, broker, a, "lab/**"), 0);
	assert_int_equal(subscribe(&kit, broker, b, "lab/one"), 0);
	assert_int_equal(subscribe(&kit, broker, b, "lab/one"), 0);
	assert_int_equal(subscribe(&kit, broker, c, "**"), 0);
	assert_int_equal(counts(&kit, broker).subscribers, 3);
	publish(&kit, broker, "lab/one", "A:lab/one B:lab/one C:lab/one ");
	publish(&kit, broker, "lab/one/x", "A:lab/one/x C:lab/one/x ");
	publish(&kit, broker, "lab", "A:lab C:lab ");
	publish(&kit, broker, "yard", "C:yard ");
	assert_int_equal(unsubscribe(&kit, broker, a, "lab/**"), 0);
	assert_int_equal(unsubscribe(&kit, broker, a, "lab/**"), QMT_FAIL_NOT_FOUND);
	publish(&kit, broker, "lab/one/x", "C:lab/one/x ");
	publish(&kit, broker, "lab/two", "A:lab/two C:lab/two ");
	assert_int_equal(unsubscribe(&kit, broker, c, ""), 0);
	assert_int_equal(QMT_TELL(kit.out, a, kit_poke, .value = 0), 0); /* ends, and is forgotten */
	qmt_system_run(kit.sys, 0);
	assert_int_equal(counts(&kit, broker).subscribers, 1);
	publish(&kit, broker, "lab/one", "B:lab/one ");
	assert_int_equal(unsubscribe(&kit, broker, b, "lab/one"), 0); /* twice subscribed was once */
	assert_int_equal(counts(&kit, broker).subscribers, 0);
	assert_int_equal(counts(&kit, broker).published, 7);
	assert_int_equal(counts(&kit, broker).delivered, 12);
	kit_stop(&kit);
}

/* Bad topics are counted, bad patterns refused, asks to publish refused. */
static void bad_input(void **unused)
{
	(void)unused;
	struct qmt_result result;
	struct kit kit;

	kit_start_seeded(&kit, 2);
	struct qmt_ref broker = kit_spawn(&kit, &broker_desc, NULL), a = spawn_reader(&kit, 'A');
	assert_int_equal(subscribe(&kit, broker, a, "a*"), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(subscribe(&kit, broker, a, ""), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(subscribe(&kit, broker, broker, "**"), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(subscribe(&kit, broker, (struct qmt_ref){0}, "**"), QMT_FAIL_BAD_REQUEST); /* from outside */
	assert_int_equal(unsubscribe(&kit, broker, a, "a//b"), QMT_FAIL_BAD_REQUEST);
	assert_int_equal(subscribe(&kit, broker, a, "**"), 0);
	for (int i = 1; i < QMT_DELIVERY_TERMS_MAX; i++) {
		char pattern[16];

		(void)snprintf(pattern, sizeof pattern, "%d", i);
		assert_int_equal(subscribe(&kit, broker, a, pattern), 0);
	}
	assert_int_equal(subscribe(&kit, broker, a, "one more"), QMT_FAIL_FULL);
	publish(&kit, broker, "a/*", "");
	publish(&kit, broker, "", "");
	assert_int_equal(counts(&kit, broker).refused, 2);
	assert_int_equal(counts(&kit, broker).published, 0);
	assert_int_equal(
		qmt_outside_ask(kit.out, broker, &kit_note_type, &(struct kit_note){.text = qmt_str("a")}, 0, &result),
		QMT_FAIL_BAD_REQUEST);
	kit_stop(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matcher_agrees),
		cmocka_unit_test(validity),
		cmocka_unit_test(topics_reach_patterns),
		cmocka_unit_test(bad_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
