/* runtime/outgoing and runtime/port.h: what lies behind a link is addressed like any other, and nothing vanishes
 * with a link. */
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/lib/runtime_kit.h"

/* ---- a link that loops back: it hands what goes out to a local actor, or keeps it -------------------------------- */

enum { MAX_KEPT = 32 };

struct link {
	struct qmt_ref target;
	bool keeps;
	struct qmt_msg *kept[MAX_KEPT];
	uint32_t kept_count;
	uint64_t seen;
	char last_name[32];
	uint32_t last_rid;
	struct qmt_ref last_from;
	uint64_t last_deadline_ms;
};

static void link_answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct qmt_token *token = arg;

	(void)state;
	kit_check(qmt_reply_result(ctx, *token, result) == 0);
	free(token);
}

static void link_outgoing(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	struct link *link = state;
	struct qmt_msg *m;

	link->seen++;
	snprintf(link->last_name, sizeof link->last_name, "%.*s", QMT_STR_ARG(out->to_name));
	link->last_rid = out->rid;
	link->last_from = out->from;
	link->last_deadline_ms = out->deadline_ms;
	kit_check(out->is_ask == (out->token.ask != NULL));
	kit_check(out->type == &kit_note_type || out->type == &kit_poke_type);
	if (link->keeps) {
		link->kept[link->kept_count++] = qmt_keep(ctx);
		return;
	}
	/* as a transport does: a message made from what was decoded */
	m = qmt_msg_new(ctx, out->type, qmt_record_extra(&out->type->record, out->body));
	kit_check(m);
	qmt_record_copy(&out->type->record, out->body, qmt_msg_body(m), qmt_msg_extra(m, out->type));
	if (!out->is_ask) {
		int failed = qmt_send_msg(ctx, link->target, out->type, &m);

		kit_check(!failed || failed == QMT_FAIL_FULL);
		kit_check(!failed == !m);
		qmt_msg_free(ctx, m);
		return;
	}
	struct qmt_token *token = malloc(sizeof *token);
	*token = out->token;
	int failed = qmt_ask_msg(ctx, link->target, out->type, &m, 0, link_answered, token);
	if (failed) {
		kit_check(qmt_reply_fail(ctx, out->token, failed, NULL, 0, "link could not") == 0);
		qmt_msg_free(ctx, m);
		free(token);
	}
}
enum { KEEP = 1, GET_SEEN, GET_RID, GET_DEADLINE, END, FREE_KEPT, GO };

static void link_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct link *link = state;

	switch (((const struct kit_poke *)body)->value) {
	case KEEP:
		link->keeps = true;
		break;
	case GET_SEEN:
		kit_answer(ctx, link->seen);
		break;
	case GET_RID:
		kit_answer(ctx, link->last_rid);
		break;
	case GET_DEADLINE:
		kit_answer(ctx, link->last_deadline_ms);
		break;
	case GO:
		qmt_hold(ctx, false);
		break;
	case END:
		qmt_stop_self(ctx);
		break;
	}
}
static int link_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	((struct link *)state)->target = *(const struct qmt_ref *)config;
	return qmt_register(ctx, "peer/them");
}
static void link_stop(struct qmt_ctx *ctx, void *state)
{
	struct link *link = state;

	for (uint32_t i = 0; i < link->kept_count; i++)
		qmt_msg_free(ctx, link->kept[i]);
}
static qmt_handler *const link_handlers[kit_message_count] = {[kit_poke_id] = link_poke};
static const struct qmt_actor_desc link_desc = KIT_DESC("link", link_handlers, .state_size = sizeof(struct link),
	.bound = 64, .start = link_start, .stop = link_stop, .outgoing = link_outgoing);

/* ---- who is behind it -------------------------------------------------------------------------------------------- */

struct target {
	uint64_t sum;
};
static void target_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct target *target = state;

	target->sum += ((const struct kit_poke *)body)->value;
	if (qmt_token(ctx).ask)
		kit_answer(ctx, target->sum);
}
static void target_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_note *note = body;

	((struct target *)state)->sum += note->text.len;
	kit_check(note->entries.count == 2 && qmt_str_is(note->entries.items[1].name, "second"));
	if (qmt_token(ctx).ask)
		kit_answer(ctx, note->text.len);
}
static qmt_handler *const target_handlers[kit_message_count] = {[kit_poke_id] = target_poke,
	[kit_note_id] = target_note};
static const struct qmt_actor_desc target_desc = KIT_DESC("target", target_handlers,
	.state_size = sizeof(struct target));

/* ---- a local actor that sends to what is behind the link --------------------------------------------------------- */

struct user {
	struct qmt_token waiting;
	uint64_t undelivered;
	int reason;
};
static void user_result(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)arg;
	kit_check(qmt_reply_result(ctx, ((struct user *)state)->waiting, result) == 0);
}
enum { TELL, ASK, ASK_NAME, FORWARD, NOTES, UNDELIVERED, ASK_NAME_OTHER };

static void user_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct user *user = state;
	struct kit_entry entries[] = {{qmt_str("first"), 1}, {qmt_str("second"), 2}};
	struct kit_note note = {.text = qmt_str("hello"), .entries = {entries, 2}};
	int failed = 0;

	switch (poke->value) {
	case TELL:
		failed = QMT_TELL(ctx, poke->ref, kit_poke, .value = 5);
		kit_check(failed == 0);
		return;
	case NOTES:
		failed = qmt_tell(ctx, poke->ref, &kit_note_type, &note);
		kit_check(failed == 0 || failed == QMT_FAIL_PEER_GONE);
		return;
	case ASK:
		user->waiting = qmt_token(ctx);
		failed = qmt_ask(ctx, poke->ref, &kit_note_type, &note, 3000, user_result, NULL);
		break;
	case ASK_NAME:
		user->waiting = qmt_token(ctx);
		failed = qmt_ask_name(ctx, "them", "their actor", &kit_note_type, &note, 0, user_result, NULL);
		break;
	case ASK_NAME_OTHER:
		user->waiting = qmt_token(ctx);
		failed = qmt_ask_name(ctx, "others", "their actor", &kit_note_type, &note, 0, user_result, NULL);
		break;
	case FORWARD:
		failed = qmt_forward(ctx, poke->ref);
		break;
	default:
		kit_answer(ctx, user->undelivered * 100 + (uint64_t)user->reason);
		return;
	}
	if (failed)
		kit_check(qmt_reply_fail(ctx, qmt_token(ctx), failed, NULL, 0, "at once") == 0);
}
static void user_undelivered(struct qmt_ctx *ctx, void *state, const struct qmt_type *type, const void *body,
	int reason)
{
	struct user *user = state;

	(void)ctx;
	kit_check(type == &kit_note_type && qmt_str_is(((const struct kit_note *)body)->text, "hello"));
	user->undelivered++;
	user->reason = reason;
}
static qmt_handler *const user_handlers[kit_message_count] = {[kit_poke_id] = user_poke};
static const struct qmt_actor_desc user_desc =
	KIT_DESC("user", user_handlers, .state_size = sizeof(struct user), .undelivered = user_undelivered);

struct world {
	struct kit kit;
	struct qmt_ref target, link, user, behind; /* behind: number 7 behind the link */
};

static void open_world(struct world *w, uint32_t workers)
{
	if (workers)
		kit_start(&w->kit, workers);
	else
		kit_start_seeded(&w->kit, 1);
	w->target = kit_spawn(&w->kit, &target_desc, NULL);
	w->link = kit_spawn(&w->kit, &link_desc, &(struct qmt_spawn){.config = &w->target});
	w->user = kit_spawn(&w->kit, &user_desc, NULL);
	w->behind = w->link;
	w->behind.rid = 7;
}

static int user_does(struct world *w, uint64_t what, uint64_t *ret_value)
{
	struct qmt_result result;
	const struct kit_poke poke = {.value = what, .ref = w->behind};

	if (qmt_outside_ask(w->kit.out, w->user, &kit_poke_type, &poke, 0, &result))
		return result.fail;
	*ret_value = ((const struct kit_answer *)result.body)->value;
	return 0;
}

/* Tells, asks, forwards and asks by name go through `outgoing` with all that a transport needs, and answers come
 * back. */
static void through_a_link(void **unused)
{
	(void)unused;
	struct world w;
	uint64_t value;

	for (uint32_t workers = 0; workers <= 2; workers++) {
		open_world(&w, workers);
		assert_int_equal(kit_ask(&w.kit, w.behind, 3, 0, &value), 0);
		assert_int_equal(value, 3);
		assert_int_equal(user_does(&w, ASK, &value), 0);
		assert_int_equal(value, 5);
		assert_int_equal(kit_ask(&w.kit, w.link, GET_RID, 0, &value), 0);
		assert_int_equal(value, 7);
		assert_int_equal(kit_ask(&w.kit, w.link, GET_DEADLINE, 0, &value), 0);
		assert_int_equal(value, 3000);
		assert_int_equal(user_does(&w, ASK_NAME, &value), 0);
		assert_int_equal(kit_ask(&w.kit, w.link, GET_RID, 0, &value), 0);
		assert_int_equal(value, 0);
		assert_int_equal(user_does(&w, ASK_NAME_OTHER, &value), QMT_FAIL_NO_ROUTE);
		QMT_TELL(w.kit.out, w.user, kit_poke, .value = TELL, .ref = w.behind);
		assert_int_equal(user_does(&w, FORWARD, &value), 0); /* its answer is the sum so far */
		assert_int_equal(value, 3 + 5 + 5 + 5 + FORWARD);
		assert_int_equal(kit_ask(&w.kit, w.link, GET_DEADLINE, 0, &value), 0);
		assert_true(value > 4000 && value <= 5100); /* what was left of the asker's time, and the margin */
		assert_int_equal(qmt_tell_name(w.kit.out, "them", "x", &kit_poke_type, &(struct kit_poke){.value = 1}), 0);
		assert_int_equal(qmt_tell_name(w.kit.out, "others", "x", &kit_poke_type, &(struct kit_poke){0}),
			QMT_FAIL_NO_ROUTE);
		assert_int_equal(kit_ask(&w.kit, w.link, GET_SEEN, 0, &value), 0);
		assert_int_equal(value, 6);
		/* a number behind somebody who is no link leads nowhere */
		struct qmt_ref nowhere = w.target;
		nowhere.rid = 1;
		assert_int_equal(QMT_TELL(w.kit.out, nowhere, kit_poke, .value = 1), QMT_FAIL_NO_ROUTE);
		assert_null(qmt_accepts(w.kit.out, w.behind, qmt_str("kit.poke")));
		kit_stop(&w.kit);
	}
}

/* When a link ends, asks in its mailbox fail with "peer gone", tells come back to the sender, and later sends are
 * refused. */
static void a_link_ends(void **unused)
{
	(void)unused;
	struct world w;
	uint64_t value;

	open_world(&w, 0);
	qmt_system_run(w.kit.sys, 1);
	QMT_TELL(w.kit.out, w.user, kit_poke, .value = NOTES, .ref = w.behind);
	QMT_TELL(w.kit.out, w.user, kit_poke, .value = NOTES, .ref = w.behind);
	/* let only the user run: the link is told to end first */
	assert_int_equal(qmt_stop(w.kit.out, w.link), 0);
	QMT_TELL(w.kit.out, w.user, kit_poke, .value = NOTES, .ref = w.behind);
	struct qmt_result result;
	const struct kit_poke poke = {.value = ASK, .ref = w.behind};
	int failed = qmt_outside_ask(w.kit.out, w.user, &kit_poke_type, &poke, 0, &result);
	assert_true(failed == QMT_FAIL_PEER_GONE || failed == 0 || failed == QMT_FAIL_STOPPING);
	qmt_system_run(w.kit.sys, 1);
	assert_false(qmt_is_running(w.link));
	assert_int_equal(kit_ask(&w.kit, w.behind, 3, 0, &value), QMT_FAIL_PEER_GONE);
	assert_int_equal(user_does(&w, ASK_NAME, &value), QMT_FAIL_NO_ROUTE);
	kit_stop(&w.kit);
}

/* What a link keeps stays valid, with its body, until it frees it; asks that it never answers end by their deadline. */
static void kept_by_the_link(void **unused)
{
	(void)unused;
	struct world w;
	uint64_t value;

	open_world(&w, 2);
	QMT_TELL(w.kit.out, w.link, kit_poke, .value = KEEP);
	for (int i = 0; i < 10; i++)
		QMT_TELL(w.kit.out, w.user, kit_poke, .value = NOTES, .ref = w.behind);
	assert_int_equal(kit_ask(&w.kit, w.behind, 3, 20, NULL), QMT_FAIL_DEADLINE);
	/* a message given away, kept inside another */
	QMT_TELL(w.kit.out, w.user, kit_poke, .value = FORWARD, .ref = w.behind);
	while (kit_ask(&w.kit, w.link, GET_SEEN, 0, &value) == 0 && value < 12)
		;
	kit_stop(&w.kit);
}

/* A held link with a full mailbox: local senders wait, outside threads are refused, and nothing is lost when it
 * ends. */
static void holding_start(struct qmt_ctx *ctx)
{
	qmt_hold(ctx, true);
}
static int held_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	holding_start(ctx);
	return link_start(ctx, state, config);
}
static const struct qmt_actor_desc held_desc = KIT_DESC("link", link_handlers, .state_size = sizeof(struct link),
	.bound = 4, .start = held_start, .stop = link_stop, .outgoing = link_outgoing);

/* A tell that counts until its deadline keeps that when it is forwarded over a link: too late, the link does not get
 * it. */
static void a_deadline_is_forwarded(void **unused)
{
	(void)unused;
	for (int late = 0; late < 2; late++) {
		struct world w;
		struct qmt_ref held;
		uint64_t value;

		open_world(&w, 0);
		assert_int_equal(qmt_stop(w.kit.out, w.link), 0);
		qmt_system_run(w.kit.sys, 1);
		held = kit_spawn(&w.kit, &held_desc, &(struct qmt_spawn){.config = &w.target});
		w.behind = held;
		w.behind.rid = 9;
		qmt_system_run(w.kit.sys, 1);
		assert_int_equal(qmt_tell_within(w.kit.out, w.user, &kit_poke_type,
							 &(struct kit_poke){.value = FORWARD, .ref = w.behind}, 50),
			0);
		qmt_system_run(w.kit.sys, late ? 60 : 40);
		assert_int_equal(qmt_tell_urgent(w.kit.out, held, &kit_poke_type, &(struct kit_poke){.value = GO}), 0);
		assert_int_equal(kit_ask(&w.kit, held, GET_SEEN, 0, &value), 0);
		assert_int_equal(value, !late);
		kit_stop(&w.kit);
	}
}

static void a_full_link_ends(void **unused)
{
	(void)unused;
	struct world w;
	uint64_t value;

	open_world(&w, 0);
	struct qmt_ref held;
	assert_int_equal(qmt_stop(w.kit.out, w.link), 0);
	qmt_system_run(w.kit.sys, 1);
	held = kit_spawn(&w.kit, &held_desc, &(struct qmt_spawn){.config = &w.target});
	w.behind = held;
	w.behind.rid = 9;
	qmt_system_run(w.kit.sys, 1);
	for (int i = 0; i < 6; i++)
		QMT_TELL(w.kit.out, w.user, kit_poke, .value = NOTES, .ref = w.behind);
	qmt_system_run(w.kit.sys, 1);
	assert_int_equal(kit_ask(&w.kit, w.behind, 3, 0, NULL), QMT_FAIL_FULL);
	assert_int_equal(qmt_stop(w.kit.out, held), 0);
	qmt_system_run(w.kit.sys, 1);
	assert_int_equal(kit_ask(&w.kit, w.user, UNDELIVERED, 0, &value), 0);
	assert_int_equal(value % 100, QMT_FAIL_PEER_GONE);
	assert_true(value / 100 >= 5); /* five were queued before it was muted; the sixth is refused at once */
	kit_stop(&w.kit);
}

/* ---- a name that passes from link to link ------------------------------------------------------------------------ */

enum { CHANGES = 2000, AHEAD = 20, LONG = 1 << 18 };

static struct {
	struct qmt_system *sys;
	atomic_bool quit;
	atomic_uint_fast64_t sent, seen;
} passing;

/* 2 actors; each is told in turn to take the name over from the other one. */
struct heir {
	bool retired; /* the other one said: nothing follows */
	uint64_t late;
};
enum { TAKE, RETIRE, GET_LATE };

static void heir_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kit_poke *poke = body;
	struct heir *heir = state;

	switch (poke->value) {
	case TAKE:
		heir->retired = false;
		kit_check(qmt_register_over(ctx, "peer/them", poke->ref) == 0);
		if (poke->ref.actor)
			kit_check(QMT_TELL(ctx, poke->ref, kit_poke, .value = RETIRE) == 0);
		kit_answer(ctx, 0);
		break;
	case RETIRE:
		heir->retired = true;
		break;
	default:
		kit_answer(ctx, heir->late);
	}
}
static void heir_outgoing(struct qmt_ctx *ctx, void *state, const struct qmt_outgoing *out)
{
	struct heir *heir = state;

	(void)ctx;
	kit_check(!out->is_ask);
	heir->late += heir->retired;
	atomic_fetch_add(&passing.seen, 1);
}
static qmt_handler *const heir_handlers[kit_message_count] = {[kit_poke_id] = heir_poke};
static const struct qmt_actor_desc heir_desc =
	KIT_DESC("heir", heir_handlers, .state_size = sizeof(struct heir), .outgoing = heir_outgoing);

/* arg: of so many bytes. Long ones take long to be copied, so that many changes fall into a send. */
static void *send_on(void *arg)
{
	struct qmt_ctx *out = qmt_outside_open(passing.sys);
	char *text = calloc(1, LONG);
	struct kit_note note = {.text = qmt_strn(text, *(const uint32_t *)arg)};

	while (!atomic_load(&passing.quit)) {
		if (atomic_load(&passing.sent) - atomic_load(&passing.seen) > AHEAD)
			sched_yield();
		else if (qmt_tell_name(out, "them", "x", &kit_note_type, &note) == 0)
			atomic_fetch_add(&passing.sent, 1);
	}
	qmt_outside_close(out);
	free(text);
	return NULL;
}

/* What is sent by name goes to who has the name: after a link took it over and told the one before that nothing
 * follows, nothing does, and of all that was taken nothing is lost. */
static void the_name_passes_on(void **unused)
{
	(void)unused;
	struct kit kit;
	struct qmt_ref heirs[2];
	uint64_t late;
	uint32_t sizes[2] = {1, LONG};
	pthread_t threads[2];

	kit_start(&kit, 1);
	passing.sys = kit.sys;
	for (int i = 0; i < 2; i++)
		heirs[i] = kit_spawn(&kit, &heir_desc, NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_on, &sizes[i]), 0);
	for (int i = 0; i < CHANGES || atomic_load(&passing.sent) < CHANGES; i++) {
		struct qmt_result result;
		const struct kit_poke take = {.value = TAKE, .ref = i ? heirs[!(i % 2)] : (struct qmt_ref){0}};

		assert_int_equal(qmt_outside_ask(kit.out, heirs[i % 2], &kit_poke_type, &take, 0, &result), 0);
	}
	atomic_store(&passing.quit, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kit_ask(&kit, heirs[i], GET_LATE, 0, &late), 0);
		assert_int_equal(late, 0);
	}
	assert_int_equal(atomic_load(&passing.seen), atomic_load(&passing.sent));
	kit_stop(&kit);
}

/* A link whose mailbox is full of what goes out still hears from the one that takes over, and does not mute it. */
static void a_full_link_hears(void **unused)
{
	(void)unused;
	struct world w;
	struct qmt_ref held, heir;
	struct qmt_result result;
	struct kit_poke take = {.value = TAKE};

	open_world(&w, 0);
	assert_int_equal(qmt_stop(w.kit.out, w.link), 0);
	qmt_system_run(w.kit.sys, 1);
	held = take.ref = kit_spawn(&w.kit, &held_desc, &(struct qmt_spawn){.config = &w.target});
	heir = kit_spawn(&w.kit, &heir_desc, NULL);
	w.behind = held;
	w.behind.rid = 9;
	for (int i = 0; i < 6; i++)
		QMT_TELL(w.kit.out, w.user, kit_poke, .value = NOTES, .ref = w.behind);
	qmt_system_run(w.kit.sys, 1);
	assert_int_equal(kit_ask(&w.kit, w.behind, 3, 0, NULL), QMT_FAIL_FULL);
	assert_int_equal(qmt_outside_ask(w.kit.out, heir, &kit_poke_type, &take, 0, &result), 0); /* it checks */
	assert_int_equal(kit_ask(&w.kit, heir, GET_LATE, 0, NULL), 0);
	kit_stop(&w.kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(through_a_link),
		cmocka_unit_test(a_link_ends),
		cmocka_unit_test(kept_by_the_link),
		cmocka_unit_test(a_full_link_ends),
		cmocka_unit_test(a_deadline_is_forwarded),
		cmocka_unit_test(the_name_passes_on),
		cmocka_unit_test(a_full_link_hears),
	};

	return cmocka_run_group_tests_name("runtime/outgoing", tests, NULL, NULL);
}
