/* test/sim/sim_mill.c - on each node a mill of four wheels, actors that do to one another what the runtime promises
 * something about: tell in order, ask, answer late, twice or never, fail, start timers, watch others, run into bounds.
 *
 *      wheel/0 unbounded · wheel/1 blocks its senders · wheel/2 refuses · wheel/3 drops the oldest
 *
 * What was sent and what must come of it is kept here, outside of all nodes. A wheel's number: 4 * node + place.
 */
#include "test/sim/sim.h"

#include "runtime/port.h"

enum { PLACES = 4, WHEELS = SIM_NODES * PLACES, TIMERS = 1024, LATER = 1024, MOTES = 64, WATCHES = 256 };
enum { BLOCK_BOUND = 8, REFUSE_BOUND = 4, DROP_BOUND = 6 };

#define WHEEL_WORK(F, T)             \
	F(T, U32, what, 1, "enum work.") \
	F(T, U32, target, 2, "Wheel.")   \
	F(T, U32, count, 3, "How often.")
#define WHEEL_NOTE(F, T)                     \
	F(T, U32, from, 1, "Wheel.")             \
	F(T, U64, n, 2, "Counts up per target.") \
	F(T, BOOL, fail, 3, "Fail in the handler.")
#define WHEEL_QUESTION(F, T)       \
	F(T, U32, how, 1, "enum how.") \
	F(T, U64, n, 2, "To be returned.")
#define WHEEL_SAID(F, T) F(T, U64, n, 1, "As asked.")
#define WHEEL_WATCH(F, T)        \
	F(T, REF, who, 1, "A mote.") \
	F(T, U32, mote, 2, "Its number.")
#define WHEEL_MESSAGES(M)                                              \
	M(wheel, work, WHEEL_WORK, "local", "From the simulation.")        \
	M(wheel, note, WHEEL_NOTE, "node_info", "Counted.")                \
	M(wheel, question, WHEEL_QUESTION, "node_info", "Answered.", said) \
	M(wheel, watch, WHEEL_WATCH, "node_info", "Monitor that one.")     \
	M(wheel, said, WHEEL_SAID, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(wheel, WHEEL_MESSAGES)
QMT_DEFINE_PROTOCOL(wheel, WHEEL_MESSAGES, "Between the wheels of mills.")

enum work { WORK_TELL, WORK_ASK, WORK_FAIL, WORK_TIMER, WORK_MOTE, WORK_STOP, WORK_COUNT };
enum how { HOW_NOW, HOW_LATER, HOW_TWICE, HOW_NEVER, HOW_FORWARD, HOW_REFUSE, HOW_COUNT };

/* ---- facts ------------------------------------------------------------------------------------------------------- */

static struct wheel_fact {
	struct sim_node *node;
	uint32_t number, life; /* life: incarnations begun */
	bool runs;
} wheels[WHEELS];
static struct {
	uint64_t sent, got;
} notes[WHEELS][WHEELS]; /* from, to */
static struct timer_fact {
	uint32_t wheel, life;
	enum { TIMER_ARMED = 1, TIMER_FIRED, TIMER_CANCELLED } state;
	uint64_t due_ms;
} timers[TIMERS];
static struct later_fact {
	struct qmt_token token;
	uint64_t n;
	uint32_t wheel, life;
} laters[LATER];
static struct mote_fact {
	uint32_t wheel; /* its parent */
	struct qmt_ref ref;
	bool began, ended; /* one whose parent fails at once never begins */
} motes[MOTES];
static struct watch_fact {
	uint32_t wheel, life, mote, downs;
	struct qmt_ref who;
} watches[WATCHES];
static uint32_t timer_count, later_count, mote_count, watch_count, questions;

void sim_mill_reset(void)
{
	memset(wheels, 0, sizeof wheels);
	memset(notes, 0, sizeof notes);
	timer_count = later_count = mote_count = watch_count = questions = 0;
	for (uint32_t i = 0; i < WHEELS; i++)
		wheels[i] = (struct wheel_fact){.node = &sim.nodes[i / PLACES], .number = i};
}

static uint32_t place_of(uint32_t wheel)
{
	return wheel % PLACES;
}

static bool is_neighbour(uint32_t a, uint32_t b)
{
	return a / PLACES == b / PLACES;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void wheel_name(uint32_t wheel, char ret_name[16])
{
	(void)snprintf(ret_name, 16, "wheel/%u", place_of(wheel));
}

static int send_to(struct qmt_ctx *ctx, uint32_t self, uint32_t target, const struct qmt_type *type, const void *body)
{
	char name[16];

	wheel_name(target, name);
	return qmt_tell_name(ctx, is_neighbour(self, target) ? NULL : wheels[target].node->id, name, type, body);
}

static void check_bound(const struct qmt_actor_info *info, void *node_)
{
	const struct sim_node *node = node_;

	if (info->name && strcmp(info->name, "wheel/2") == 0 && info->depth > REFUSE_BOUND)
		sim_violation("a bound is never exceeded", "%u messages at wheel/2 of %s, whose bound is %d", info->depth,
			node->name, REFUSE_BOUND);
}

/* Right behind a flood: later it has been worked off. */
static void check_flood(const struct wheel_fact *self, uint32_t target)
{
	if (is_neighbour(self->number, target) && place_of(target) == 2)
		qmt_system_actors(self->node->system, check_bound, self->node);
}

static void tell_notes(struct qmt_ctx *ctx, struct wheel_fact *self, uint32_t target, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct wheel_note note = {.from = self->number, .n = notes[self->number][target].sent + 1};

		note.fail = sim_chance(2);
		if (send_to(ctx, self->number, target, &wheel_note_type, &note) != 0)
			break;
		notes[self->number][target].sent = note.n;
	}
	check_flood(self, target);
}

static void on_note(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;
	const struct wheel_note *note = body;
	uint64_t *got = &notes[note->from][self->number].got;
	bool exact = is_neighbour(note->from, self->number) && place_of(self->number) != 3;

	if (note->n <= *got)
		sim_violation("order per sender and target", "wheel %u got note %u of wheel %u after %u", self->number,
			(unsigned)note->n, note->from, (unsigned)*got);
	if (exact && note->n != *got + 1)
		sim_violation("a tell that was taken arrives", "wheel %u got note %u of wheel %u after %u", self->number,
			(unsigned)note->n, note->from, (unsigned)*got);
	*got = note->n;
	if (note->fail) {
		sim_event("wheel %u fails over note %u of wheel %u", self->number, (unsigned)note->n, note->from);
		qmt_fail(ctx, "asked to");
	}
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void on_said(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;
	uint32_t n = sim_ask_answered(arg, "question");

	(void)ctx;
	if (result->fail)
		sim_event("wheel %u: question %u: %s", self->number, n, qmt_fail_name(result->fail));
	else if (((const struct wheel_said *)result->body)->n != n)
		sim_violation("an answer belongs to its ask", "wheel %u asked %u and got %u", self->number, n,
			(unsigned)((const struct wheel_said *)result->body)->n);
}

static void ask_questions(struct qmt_ctx *ctx, struct wheel_fact *self, uint32_t target, uint32_t count)
{
	char name[16];

	wheel_name(target, name);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t timeout_ms = 50 + sim_below(1000);
		struct wheel_question question = {.how = sim_below(HOW_COUNT), .n = ++questions};
		struct sim_ask *ask = sim_ask_open(self->node, self->number + 1, self->life, timeout_ms, questions);

		if (!ask)
			return;
		if (qmt_ask_name(ctx, is_neighbour(self->number, target) ? NULL : wheels[target].node->id, name,
				&wheel_question_type, &question, timeout_ms, on_said, ask) != 0) {
			sim_ask_not_sent(ask);
			break;
		}
	}
	check_flood(self, target);
}

static void answer_late(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;
	struct later_fact *later = arg;

	if (later->wheel != self->number || later->life != self->life)
		sim_violation("timers do not fire on dead targets", "an answer of wheel %u, life %u, in life %u", later->wheel,
			later->life, self->life);
	(void)QMT_REPLY(ctx, later->token, wheel_said, .n = later->n);
}

static void on_question(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;
	const struct wheel_question *question = body;
	struct qmt_ref other;
	char name[16];

	switch (question->how) {
	case HOW_LATER:
		if (later_count == LATER)
			break;
		laters[later_count] = (struct later_fact){qmt_token(ctx), question->n, self->number, self->life};
		(void)qmt_timer_start(ctx, sim_below(1200), answer_late, &laters[later_count++], NULL);
		return;
	case HOW_TWICE:
		(void)QMT_REPLY(ctx, qmt_token(ctx), wheel_said, .n = question->n);
		break;
	case HOW_NEVER:
		return;
	case HOW_FORWARD:
		wheel_name(self->number + 1 + sim_below(PLACES - 1), name);
		if (qmt_lookup(ctx, name, &other) == 0 && !qmt_ref_eq(other, qmt_self(ctx)) && sim_chance(70) &&
			qmt_forward(ctx, other) == 0)
			return;
		break;
	case HOW_REFUSE:
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, "refused", 0, "as asked");
		return;
	default:
		break;
	}
	(void)QMT_REPLY(ctx, qmt_token(ctx), wheel_said, .n = question->n);
}

/* ---- timers ------------------------------------------------------------------------------------------------------ */

static void on_timer(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;
	struct timer_fact *timer = arg;
	unsigned number = (unsigned)(timer - timers);

	if (timer->wheel != self->number || timer->life != self->life)
		sim_violation("timers do not fire on dead targets", "timer %u of wheel %u, life %u, in life %u", number,
			timer->wheel, timer->life, self->life);
	if (timer->state != TIMER_ARMED)
		sim_violation("a timer fires once, and not when cancelled", "timer %u of wheel %u", number, timer->wheel);
	if (qmt_now_ms(ctx) < timer->due_ms)
		sim_violation("a timer is not early", "timer %u of wheel %u", number, timer->wheel);
	timer->state = TIMER_FIRED;
}

static void start_timers(struct qmt_ctx *ctx, struct wheel_fact *self, uint32_t count)
{
	for (uint32_t i = 0; i < count && timer_count < TIMERS; i++) {
		struct timer_fact *timer = &timers[timer_count];
		uint32_t delay_ms = sim_below(800);
		struct qmt_timer handle;

		*timer = (struct timer_fact){self->number, self->life, TIMER_ARMED, qmt_now_ms(ctx) + delay_ms};
		if (qmt_timer_start(ctx, delay_ms, on_timer, timer, &handle) != 0)
			continue;
		timer_count++;
		if (sim_chance(25)) {
			qmt_timer_cancel(ctx, &handle);
			timer->state = TIMER_CANCELLED;
		}
	}
}

/* ---- watching ---------------------------------------------------------------------------------------------------- */

static int mote_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct mote_fact *mote = (struct mote_fact *)(uintptr_t)config;

	(void)ctx;
	*(struct mote_fact **)state = mote;
	mote->began = true;
	return 0;
}

static void mote_stop(struct qmt_ctx *ctx, void *state)
{
	(void)ctx;
	(*(struct mote_fact **)state)->ended = true;
}

static void mote_work(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)state;
	if (((const struct wheel_work *)body)->what == WORK_FAIL)
		qmt_fail(ctx, "asked to");
	else
		qmt_stop_self(ctx);
}

static qmt_handler *const mote_handlers[wheel_message_count] = {[wheel_work_id] = mote_work};
static const struct qmt_actor_desc mote_desc = {
	.abi = QMT_ABI,
	.name = "sim_mote",
	.doc = "Lives to be watched.",
	.state_size = sizeof(struct mote_fact *),
	.accepts = {{&wheel_protocol, mote_handlers}},
	.start = mote_start,
	.stop = mote_stop,
};

static void new_mote(struct qmt_ctx *ctx, struct wheel_fact *self, uint32_t target)
{
	struct mote_fact *mote = &motes[mote_count];

	if (mote_count == MOTES)
		return;
	*mote = (struct mote_fact){.wheel = self->number};
	if (qmt_spawn(ctx, &mote_desc, &(struct qmt_spawn){.config = mote}, &mote->ref, NULL) != 0)
		return;
	sim_event("mote %u of wheel %u, watched by wheel %u", mote_count, self->number, target);
	(void)send_to(
		ctx, self->number, target, &wheel_watch_type, &(struct wheel_watch){.who = mote->ref, .mote = mote_count++});
}

static void on_watch(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;
	const struct wheel_watch *watch = body;

	if (watch_count == WATCHES || qmt_monitor(ctx, watch->who) != 0)
		return;
	watches[watch_count++] =
		(struct watch_fact){.wheel = self->number, .life = self->life, .mote = watch->mote, .who = watch->who};
}

static void down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;

	(void)ctx;
	(void)reason;
	for (uint32_t i = 0; i < watch_count; i++) {
		struct watch_fact *watch = &watches[i];

		if (watch->wheel != self->number || watch->life != self->life || !qmt_ref_eq(watch->who, who))
			continue;
		sim_event("wheel %u: mote %u is down", self->number, watch->mote);
		if (++watch->downs > 1)
			sim_violation("a monitor fires once", "mote %u at wheel %u", watch->mote, watch->wheel);
		if (is_neighbour(motes[watch->mote].wheel, self->number) && motes[watch->mote].began &&
			!motes[watch->mote].ended)
			sim_violation("a monitor fires at the end", "mote %u lives, wheel %u", watch->mote, watch->wheel);
		return;
	}
	sim_violation("a monitor fires for who is watched", "wheel %u, life %u", self->number, self->life);
}

/* ---- wheels ------------------------------------------------------------------------------------------------------ */

static void on_work(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;
	const struct wheel_work *work = body;

	switch (work->what) {
	case WORK_ASK:
		if (place_of(self->number) != 2) { /* whose bound is looked at: answers would pass it */
			ask_questions(ctx, self, work->target, work->count);
			return;
		}
		break;
	case WORK_FAIL:
		sim_event("wheel %u fails", self->number);
		tell_notes(ctx, self, self->number, 2); /* they wait for its next life */
		qmt_fail(ctx, "asked to");
		return;
	case WORK_TIMER:
		start_timers(ctx, self, work->count);
		return;
	case WORK_MOTE:
		new_mote(ctx, self, work->target);
		return;
	case WORK_STOP:
		qmt_stop_self(ctx); /* permanent: comes back */
		return;
	default:
		break;
	}
	tell_notes(ctx, self, work->target, work->count);
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct wheel_fact *self = (struct wheel_fact *)(uintptr_t)config;

	(void)ctx;
	*(struct wheel_fact **)state = self;
	self->life++;
	self->runs = true;
	return 0;
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct wheel_fact *self = *(struct wheel_fact **)state;

	(void)ctx;
	if (!self)
		return;
	self->runs = false;
	sim_asks_abandon(self->node, self->number + 1);
}

static qmt_handler *const wheel_handlers[wheel_message_count] = {
	[wheel_work_id] = on_work,
	[wheel_note_id] = on_note,
	[wheel_question_id] = on_question,
	[wheel_watch_id] = on_watch,
};
#define WHEEL(bound_, overflow_)                                                                    \
	{                                                                                               \
		.abi = QMT_ABI, .name = "sim_wheel", .doc = "Does things to others.",                       \
		.state_size = sizeof(struct wheel_fact *), .bound = (bound_), .overflow = (overflow_),      \
		.accepts = {{&wheel_protocol, wheel_handlers}}, .start = start, .stop = stop, .down = down, \
	}
static const struct qmt_actor_desc wheel_descs[PLACES] = {
	WHEEL(0, QMT_BLOCK),
	WHEEL(BLOCK_BOUND, QMT_BLOCK),
	WHEEL(REFUSE_BOUND, QMT_REFUSE),
	WHEEL(DROP_BOUND, QMT_DROP_OLD),
};

static int mill_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct sim_node *node = (struct sim_node *)(uintptr_t)config;

	(void)state;
	if (node->mill_life++) /* it failed for want of memory: its wheels are new */
		sim_mill_lost(node);
	for (uint32_t place = 0; place < PLACES; place++) {
		struct wheel_fact *wheel = &wheels[node->index * PLACES + place];
		struct qmt_ref ref;
		char name[16];

		wheel_name(place, name);
		if (qmt_spawn(ctx, &wheel_descs[place],
				&(struct qmt_spawn){.name = name, .config = wheel, .restart = QMT_PERMANENT}, &ref, NULL) != 0)
			return -1;
	}
	return 0;
}

const struct qmt_actor_desc sim_mill_desc = {
	.abi = QMT_ABI,
	.name = "sim_mill",
	.doc = "Parent of four wheels.",
	.state_size = 8,
	.supervision = {.max_restarts = QMT_RESTARTS_MAX, .window_ms = 1000},
	.start = mill_start,
};

/* ---- by chance --------------------------------------------------------------------------------------------------- */

void sim_mill_step(void)
{
	static const uint32_t odds[WORK_COUNT] = {
		[WORK_TELL] = 45, [WORK_ASK] = 25, [WORK_FAIL] = 5, [WORK_TIMER] = 12, [WORK_MOTE] = 10, [WORK_STOP] = 3};
	uint32_t times = 1 + sim_below(6);

	for (uint32_t i = 0; i < times; i++) {
		uint32_t wheel = sim_below(sim.node_count * PLACES), what = 0, draw = sim_below(100);
		struct sim_node *node = wheels[wheel].node;
		struct wheel_work work = {.count = 1 + sim_below(sim_chance(30) ? 20 : 4)};
		struct qmt_ref ref;
		char name[16];

		work.target = sim_chance(60) ? wheel / PLACES * PLACES + sim_below(PLACES) : sim_below(sim.node_count * PLACES);
		while (draw >= odds[what])
			draw -= odds[what++];
		work.what = what;
		wheel_name(wheel, name);
		if (node->system && qmt_lookup(node->ctx, name, &ref) == 0)
			(void)qmt_tell(node->ctx, ref, &wheel_work_type, &work);
	}
	if (mote_count && sim_chance(30)) {
		struct mote_fact *mote = &motes[sim_below(mote_count)];
		struct sim_node *node = wheels[mote->wheel].node;

		if (!mote->ended && node->system)
			(void)QMT_TELL(node->ctx, mote->ref, wheel_work, .what = sim_chance(50) ? WORK_FAIL : WORK_STOP);
	}
}

/* Notes both ways between two nodes, a few each millisecond: whatever their link does meanwhile. */
void sim_mill_burst(const struct sim_node *a, const struct sim_node *b)
{
	enum { ROUNDS = 60 };
	const struct sim_node *const ends[2] = {a, b};

	sim_event("%s and %s talk without pause", a->name, b->name);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		for (uint32_t end = 0; end < 2; end++) {
			const struct sim_node *from = ends[end], *to = ends[!end];
			struct qmt_ref ref;

			if (from->system && qmt_lookup(from->ctx, "wheel/0", &ref) == 0)
				(void)QMT_TELL(from->ctx, ref, wheel_work, .what = WORK_TELL, .target = to->index * PLACES, .count = 3);
		}
		sim_run(1 + sim_below(8));
	}
}

/* All that was under way on the node is gone. */
void sim_mill_lost(const struct sim_node *node)
{
	for (uint32_t to = 0; to < WHEELS; to++)
		for (uint32_t from = 0; from < WHEELS; from++)
			if (wheels[to].node == node && is_neighbour(from, to))
				notes[from][to].got = notes[from][to].sent;
	for (uint32_t i = 0; i < mote_count; i++)
		motes[i].ended |= wheels[motes[i].wheel].node == node;
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

void sim_mill_check(void)
{
	for (uint32_t i = 0; i < sim.node_count; i++)
		if (sim.nodes[i].system)
			qmt_system_actors(sim.nodes[i].system, check_bound, &sim.nodes[i]);
}

static void check_timers(void)
{
	for (uint32_t i = 0; i < timer_count; i++)
		if (timers[i].state == TIMER_ARMED && wheels[timers[i].wheel].runs &&
			wheels[timers[i].wheel].life == timers[i].life)
			sim_violation("a timer fires in the end", "timer %u of wheel %u", i, timers[i].wheel);
}

static void check_watches(void)
{
	for (uint32_t i = 0; i < watch_count; i++) {
		const struct watch_fact *watch = &watches[i];

		if (motes[watch->mote].ended && wheels[watch->wheel].runs && wheels[watch->wheel].life == watch->life &&
			!watch->downs)
			sim_violation("a monitor fires", "mote %u has ended, wheel %u does not hear", watch->mote, watch->wheel);
	}
}

void sim_mill_settle(void)
{
	for (uint32_t i = 0; i < mote_count; i++) {
		struct sim_node *node = wheels[motes[i].wheel].node;

		if (!motes[i].ended)
			(void)QMT_TELL(node->ctx, motes[i].ref, wheel_work, .what = WORK_STOP);
	}
	sim_run(3000);
	for (uint32_t from = 0; from < WHEELS; from++)
		for (uint32_t to = 0; to < WHEELS; to++)
			if (is_neighbour(from, to) && place_of(to) != 3 && notes[from][to].got != notes[from][to].sent)
				sim_violation("a tell that was taken arrives", "wheel %u got %u of the %u notes of wheel %u", to,
					(unsigned)notes[from][to].got, (unsigned)notes[from][to].sent, from);
	for (uint32_t i = 0; i < mote_count; i++) {
		if (motes[i].ended)
			continue;
		if (qmt_is_running(motes[i].ref))
			sim_violation("who is told to stop stops", "mote %u of wheel %u", i, motes[i].wheel);
		if (motes[i].began)
			sim_violation("who has ended was stopped in order", "mote %u of wheel %u", i, motes[i].wheel);
		motes[i].ended = true;
	}
	check_timers();
	check_watches();
}
