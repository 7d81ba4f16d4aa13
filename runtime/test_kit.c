/* runtime/test_kit.c - see test_kit.h.
 *
 * What the test does is done as a probe does it: the outside handle takes the probe's place as the actor that is at
 * work, which is safe because nothing runs beside this thread. So spawns are the probe's children, tells come from it
 * and answers go to it, and none of it costs a turn, or an allocation that is counted.
 */
#include "test_kit.h"

#include <stdio.h>
#include <stdlib.h>

#include "message_text.h"
#include "scheduler.h"
#include "slab.h"

enum { CLOSE_MS = 60000, MAX_TURNS = 1000000, MAX_RESTARTS = 1000 };

/* A message that a probe was sent. */
struct seen {
	struct seen *next;
	const struct qmt_type *type;
	const void *body;
	struct qmt_msg *msg;
	struct qmt_token token;
};

struct probe {
	struct probe *next;
	struct qmt_kit *kit;
	struct qmt_ref ref;
	struct qmt_actor_desc desc;
	qmt_handler **handlers;    /* of the protocol with the most messages, for all */
	struct seen *first, **end; /* not expected yet */
};

/* An ask of the kit. */
struct answer {
	struct answer *next;
	struct qmt_kit *kit;
	const struct qmt_type *asked;
	struct qmt_msg *msg;
	struct qmt_result result;
	bool came;
};

struct end {
	struct end *next;
	struct qmt_ref who;
	int reason;
	bool restarted;
};

/* What was handed out, or may still be looked at. */
struct kept {
	struct kept *next;
	void *memory;
	struct qmt_msg *msg;
};

struct qmt_kit {
	struct qmt_kit_options opt;
	struct qmt_system *sys;
	struct qmt_ctx *out;
	struct probe self; /* parent of what is tested; takes no messages */
	struct probe *probes;
	struct answer *answers, **answers_end;
	struct end *ends, **ends_end;
	struct kept *kept;
	struct qmt_token asked; /* of the ask that was expected last */
	struct qmt_kit_faults own_faults, *faults;
	uint32_t failures;
	bool closing;
};

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static _Noreturn void out_of_memory(void)
{
	(void)fputs("qmt_kit: out of memory\n", stderr);
	abort();
}

static void report(struct qmt_kit *kit, struct qmt_kit_at at, const char *format, ...) QMT_PRINTF(3, 4);
static void report(struct qmt_kit *kit, struct qmt_kit_at at, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	qmt_text_va(text, sizeof text, format, args);
	va_end(args);
	kit->failures++;
	if (kit->opt.failed) {
		kit->opt.failed(kit->opt.arg, at.file, at.line, text);
		return;
	}
	(void)fprintf(stderr, "%s:%d: %s\n", at.file, at.line, text);
	abort();
}

bool qmt_kit_check(struct qmt_kit *kit, struct qmt_kit_at at, bool holds, const char *text)
{
	if (!holds)
		report(kit, at, "expected %s, which does not hold", text);
	return holds;
}

uint32_t qmt_kit_failures(const struct qmt_kit *kit)
{
	return kit->failures;
}

/* ---- memory of the kit ------------------------------------------------------------------------------------------- */

/* Zeroed; lives as long as the kit. Also in a turn: what the kit needs is not counted. */
static void *keep(struct qmt_kit *kit, size_t size, struct qmt_msg *msg)
{
	bool counting = kit->faults->counting;
	struct kept *kept;

	kit->faults->counting = false;
	kept = calloc(1, sizeof *kept);
	if (!kept)
		out_of_memory();
	if (size) {
		kept->memory = calloc(1, size);
		if (!kept->memory)
			out_of_memory();
	}
	kept->msg = msg;
	kept->next = kit->kept;
	kit->kept = kept;
	kit->faults->counting = counting;
	return kept->memory;
}

static void free_kept(struct qmt_kit *kit)
{
	while (kit->kept) {
		struct kept *kept = kit->kept;

		kit->kept = kept->next;
		if (kept->msg)
			qmt_msg_free(kit->out, kept->msg);
		free(kept->memory);
		free(kept);
	}
}

/* Drops messages now, the rest when the system has gone: descriptors are borrowed until then. */
static void free_messages(struct qmt_kit *kit)
{
	for (struct kept *kept = kit->kept; kept; kept = kept->next) {
		if (kept->msg)
			qmt_msg_free(kit->out, kept->msg);
		kept->msg = NULL;
	}
}

/* ---- what came, as text ------------------------------------------------------------------------------------------ */

static void message_text(struct qmt_buf *buf, const struct qmt_type *type, const void *body)
{
	qmt__message_text(buf, type, body);
	if (buf->failed)
		out_of_memory();
}

static const char *reason_text(int reason)
{
	return reason ? qmt_fail_name(reason) : "0 (as wanted)";
}

static const char *outcome_text(int outcome)
{
	return outcome < 0 ? "out of memory" : outcome ? qmt_fail_name(outcome) : "0 (taken)";
}

/* Whether `type` with `body` is what was expected (want_body NULL: any fields). Reports. */
static bool matches(struct qmt_kit *kit, struct qmt_kit_at at, const char *where, const struct qmt_type *want,
	const void *want_body, const struct qmt_type *type, const void *body)
{
	struct qmt_buf expected QMT_CLEANUP(qmt_buf_free) = {0}, came QMT_CLEANUP(qmt_buf_free) = {0};
	bool same;

	message_text(&expected, want, want_body);
	message_text(&came, type, body);
	same = type == want && (!want_body || strcmp(expected.data, came.data) == 0);
	if (!same) {
		char text[2048];

		/* `failed` may jump away: nothing is held then. */
		qmt_text(text, sizeof text, "%s: expected %s, came %s", where, expected.data, came.data);
		qmt_buf_free(&expected);
		qmt_buf_free(&came);
		report(kit, at, "%s", text);
	}
	return same;
}

/* ---- the probes -------------------------------------------------------------------------------------------------- */

struct probe_state {
	struct probe *probe;
};

static int probe_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	(void)ctx;
	/* the runtime only lends it back */
	memcpy(&((struct probe_state *)state)->probe, &config, sizeof config);
	return 0;
}

static void probe_take(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct probe *probe = ((struct probe_state *)state)->probe;
	const struct qmt_msg *m = ctx->cur_msg;
	struct seen *seen;

	if (probe->kit->closing)
		return;
	seen = keep(probe->kit, sizeof *seen, NULL);
	seen->type = probe->desc.accepts[m->type >> TYPE_SLOT_SHIFT].protocol->types[m->type & TYPE_INDEX_MASK];
	seen->body = body;
	seen->token = qmt_token(ctx);
	(void)keep(probe->kit, 0, qmt_keep(ctx));
	*probe->end = seen;
	probe->end = &seen->next;
}

static void add_end(struct qmt_kit *kit, struct qmt_ref who, int reason, bool restarted)
{
	struct end *end;

	if (kit->closing)
		return;
	end = keep(kit, sizeof *end, NULL);
	*end = (struct end){.who = who, .reason = reason, .restarted = restarted};
	*kit->ends_end = end;
	kit->ends_end = &end->next;
}

static void child_ended(struct qmt_ctx *ctx, void *state, struct qmt_ref child, int reason, bool restarted)
{
	(void)ctx;
	add_end(((struct probe_state *)state)->probe->kit, child, reason, restarted);
}

static void watched_down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	(void)ctx;
	add_end(((struct probe_state *)state)->probe->kit, who, reason, false);
}

static void probe_init(struct probe *probe, struct qmt_kit *kit, const char *kind)
{
	probe->kit = kit;
	probe->end = &probe->first;
	probe->desc = (struct qmt_actor_desc){.abi = QMT_ABI,
		.name = kind,
		.doc = "Records what it is sent.",
		.state_size = sizeof(struct probe_state),
		.start = probe_start};
}

static struct probe *probe_find(struct qmt_kit *kit, struct qmt_ref ref)
{
	for (struct probe *probe = kit->probes; probe; probe = probe->next)
		if (qmt_ref_eq(probe->ref, ref))
			return probe;
	return NULL;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* What can run until then. False: it does not come to rest. */
static bool run(struct qmt_kit *kit, struct qmt_kit_at at, uint64_t until_ns)
{
	uint64_t most = kit->opt.max_turns ? kit->opt.max_turns : MAX_TURNS, turns = 0;

	kit->faults->counting = true;
	while (turns < most && qmt__sim_step(kit->sys, until_ns))
		turns++;
	kit->faults->counting = false;
	if (turns == most)
		report(
			kit, at, "expected that the actors come to rest, they did not within %llu turns", (unsigned long long)most);
	return turns < most;
}

static void settle(struct qmt_kit *kit, struct qmt_kit_at at)
{
	(void)run(kit, at, now_ns(kit->out));
}

void qmt_kit_advance(struct qmt_kit *kit, struct qmt_kit_at at, uint64_t ms)
{
	uint64_t until = now_ns(kit->out) + ms * NS_PER_MS, now;

	if (!run(kit, at, until))
		return;
	now = now_ns(kit->out);
	if (now < until)
		qmt_os_advance(kit->sys->os, until - now);
	settle(kit, at); /* what is due at this very moment */
}

/* The handle acts as the probe until leave. */
static struct qmt_ctx *act_as(struct qmt_kit *kit, struct qmt_ref probe)
{
	kit->out->cur = probe.actor ? probe.actor : kit->self.ref.actor;
	return kit->out;
}

static void leave(struct qmt_kit *kit)
{
	kit->out->cur = NULL;
	kit->out->ctl = 0; /* no probe is made to wait for a full mailbox */
	kit->out->full = NULL;
}

struct qmt_ctx *qmt_kit_ctx(struct qmt_kit *kit)
{
	return kit->out;
}

uint64_t qmt_kit_trace_hash(const struct qmt_kit *kit)
{
	return qmt_system_trace_hash(kit->sys);
}

/* ---- begin and end ----------------------------------------------------------------------------------------------- */

struct qmt_kit *qmt_kit_open(struct qmt_kit_at at, const struct qmt_kit_options *opt)
{
	const struct qmt_system_options system = {
		.log = opt->log, .seeded = true, .seed = opt->seed, .start_wall_ms = opt->start_wall_ms};
	struct qmt_kit *kit = calloc(1, sizeof *kit);
	struct qmt_err err = {0};

	if (!kit)
		out_of_memory();
	kit->opt = *opt;
	kit->answers_end = &kit->answers;
	kit->ends_end = &kit->ends;
	kit->faults = opt->heap ? opt->heap : &kit->own_faults;
	*kit->faults = (struct qmt_kit_faults){0};
	probe_init(&kit->self, kit, "kit");
	kit->self.desc.child_ended = child_ended;
	kit->self.desc.down = watched_down;
	kit->self.desc.supervision.max_restarts = opt->max_restarts ? opt->max_restarts : MAX_RESTARTS;
	kit->sys = qmt_system_start(&system, &err);
	kit->out = kit->sys ? qmt_outside_open(kit->sys) : NULL;
	if (!kit->out ||
		qmt_spawn(kit->out, &kit->self.desc, &(struct qmt_spawn){.config = &kit->self}, &kit->self.ref, &err))
		out_of_memory();
	settle(kit, at);
	return kit;
}

struct qmt_kit *qmt_kit_close(struct qmt_kit *kit, struct qmt_kit_at at)
{
	struct qmt_kit_options opt;
	struct qmt_err err = {0};
	int left;

	if (!kit)
		return NULL;
	kit->closing = true;
	qmt_kit_fail_alloc(kit, 0);
	free_messages(kit);
	kit->out = qmt_outside_close(kit->out);
	left = qmt_system_stop(kit->sys, CLOSE_MS, &err);
	kit->sys = qmt_system_free(kit->sys);
	free_kept(kit);
	opt = kit->opt;
	free(kit);
	if (left) {
		struct qmt_kit gone = {.opt = opt};

		report(&gone, at, "expected that everything ends: %s", err.text);
	}
	return NULL;
}

/* ---- actors ------------------------------------------------------------------------------------------------------ */

struct qmt_ref qmt_kit_spawn(
	struct qmt_kit *kit, struct qmt_kit_at at, const struct qmt_actor_desc *desc, const struct qmt_spawn *opt)
{
	struct qmt_ref ref = {0};
	struct qmt_err err = {0};
	int failed = qmt_spawn(act_as(kit, kit->self.ref), desc, opt, &ref, &err);

	leave(kit);
	if (failed)
		report(kit, at, "expected that %s is spawned: %s", desc->name, err.text);
	else
		settle(kit, at);
	return ref;
}

struct qmt_ref qmt_kit_probe(
	struct qmt_kit *kit, struct qmt_kit_at at, const char *name, const struct qmt_protocol *const *protocols)
{
	struct probe *probe = keep(kit, sizeof *probe, NULL);
	uint32_t most = 0, count = 0;

	probe_init(probe, kit, "probe");
	for (; protocols[count]; count++)
		if (protocols[count]->count > most)
			most = protocols[count]->count;
	if (count > QMT_ACCEPTS_MAX) {
		report(kit, at, "expected at most %d protocols, came %u", QMT_ACCEPTS_MAX, count);
		return probe->ref;
	}
	probe->handlers = keep(kit, (most + 1) * sizeof *probe->handlers, NULL);
	for (uint32_t i = 0; i < most; i++)
		probe->handlers[i] = probe_take;
	for (uint32_t i = 0; i < count; i++)
		probe->desc.accepts[i] = (struct qmt_accept){protocols[i], probe->handlers};
	probe->ref = qmt_kit_spawn(kit, at, &probe->desc, &(struct qmt_spawn){.name = name, .config = probe});
	probe->next = kit->probes;
	kit->probes = probe;
	return probe->ref;
}

void qmt_kit_watch(struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref who)
{
	int failed = qmt_monitor(act_as(kit, kit->self.ref), who);

	leave(kit);
	if (failed)
		report(kit, at, "expected an actor to watch: %s", strerror(-failed));
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void check_outcome(
	struct qmt_kit *kit, struct qmt_kit_at at, const struct qmt_type *type, const void *body, int outcome, int came)
{
	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};
	char message[1024];

	if (outcome == came)
		return;
	message_text(&text, type, body);
	qmt_text(message, sizeof message, "%s", text.data);
	qmt_buf_free(&text);
	report(kit, at, "sending %s: expected %s, came %s", message, outcome_text(outcome), outcome_text(came));
}

int qmt_kit_tell(struct qmt_kit *kit, struct qmt_kit_at at, int outcome, struct qmt_ref from, struct qmt_ref to,
	const struct qmt_type *type, const void *body)
{
	int came = qmt_tell(act_as(kit, from), to, type, body);

	leave(kit);
	check_outcome(kit, at, type, body, outcome, came);
	return came;
}

static void answered(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct answer *answer = arg;

	(void)state;
	if (answer->kit->closing)
		return;
	answer->result = *result;
	answer->came = true;
	(void)keep(answer->kit, 0, qmt_keep(ctx)); /* none when the deadline passed: the text is a constant then */
}

int qmt_kit_ask(struct qmt_kit *kit, struct qmt_kit_at at, int outcome, struct qmt_ref to, const struct qmt_type *type,
	const void *body, uint64_t timeout_ms)
{
	struct answer *answer = keep(kit, sizeof *answer, NULL);
	int came;

	answer->kit = kit;
	answer->asked = type;
	came = qmt_ask(act_as(kit, kit->self.ref), to, type, body, timeout_ms, answered, answer);
	leave(kit);
	if (came == 0) {
		*kit->answers_end = answer;
		kit->answers_end = &answer->next;
	}
	check_outcome(kit, at, type, body, outcome, came);
	return came;
}

/* ---- expecting messages ------------------------------------------------------------------------------------------ */

static struct seen *take_seen(struct qmt_kit *kit, struct probe *probe)
{
	struct seen *seen = probe->first;

	if (!seen)
		return NULL;
	probe->first = seen->next;
	if (!probe->first)
		probe->end = &probe->first;
	if (seen->token.ask)
		kit->asked = seen->token;
	return seen;
}

static struct probe *probe_of(struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref ref)
{
	struct probe *probe = probe_find(kit, ref);

	if (!probe)
		report(kit, at, "expected a ref that QMT_KIT_PROBE returned, came another");
	return probe;
}

const void *qmt_kit_expect(
	struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref ref, const struct qmt_type *type, const void *body)
{
	struct probe *probe = probe_of(kit, at, ref);
	struct seen *seen;

	if (!probe)
		return keep(kit, type->record.size + 1, NULL);
	settle(kit, at);
	seen = take_seen(kit, probe);
	if (!seen)
		report(kit, at, "probe: expected %s, nothing came", type->record.name);
	else if (matches(kit, at, "probe", type, body, seen->type, seen->body))
		return seen->body;
	return keep(kit, type->record.size + 1, NULL);
}

bool qmt_kit_expect_none(struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref ref)
{
	struct probe *probe = probe_of(kit, at, ref);
	char text[1024];

	if (!probe)
		return false;
	settle(kit, at);
	if (!probe->first)
		return true;
	struct qmt_buf came QMT_CLEANUP(qmt_buf_free) = {0};
	message_text(&came, probe->first->type, probe->first->body);
	qmt_text(text, sizeof text, "%s", came.data);
	qmt_buf_free(&came);
	report(kit, at, "probe: expected nothing, came %s", text);
	return false;
}

void qmt_kit_reply(struct qmt_kit *kit, struct qmt_kit_at at, const struct qmt_type *type, const void *body)
{
	struct qmt_token token = kit->asked;

	kit->asked = (struct qmt_token){0};
	if (!token.ask)
		report(kit, at, "expected an ask to answer with %s: none was expected from a probe", type->record.name);
	else if (qmt_reply(kit->out, token, type, body))
		out_of_memory();
}

void qmt_kit_reply_fail(struct qmt_kit *kit, struct qmt_kit_at at, int fail)
{
	struct qmt_token token = kit->asked;

	kit->asked = (struct qmt_token){0};
	if (!token.ask)
		report(kit, at, "expected an ask to fail: none was expected from a probe");
	else if (qmt_reply_fail(kit->out, token, fail, NULL, 0, "%s", qmt_fail_name(fail)))
		out_of_memory();
}

/* ---- expecting answers ------------------------------------------------------------------------------------------- */

/* The oldest ask, taken off the list when it was answered. NULL: none, or not yet; *ret_asked is its type. */
static struct answer *take_answer(struct qmt_kit *kit, struct qmt_kit_at at, const struct qmt_type **ret_asked)
{
	struct answer *answer;

	settle(kit, at);
	answer = kit->answers;
	*ret_asked = answer ? answer->asked : NULL;
	if (!answer || !answer->came)
		return NULL;
	kit->answers = answer->next;
	if (!kit->answers)
		kit->answers_end = &kit->answers;
	return answer;
}

static const char *no_answer_text(const struct qmt_type *asked)
{
	return asked ? "is not answered" : "(none was asked)";
}

static const char *asked_text(const struct qmt_type *asked)
{
	return asked ? asked->record.name : "ask";
}

const void *qmt_kit_expect_reply(
	struct qmt_kit *kit, struct qmt_kit_at at, const struct qmt_type *type, const void *body)
{
	const struct qmt_type *asked;
	struct answer *answer = take_answer(kit, at, &asked);

	if (!answer)
		report(kit, at, "%s: expected the reply %s, %s", asked_text(asked), type->record.name, no_answer_text(asked));
	else if (answer->result.fail)
		report(kit, at, "%s: expected the reply %s, came the failure \"%s\" (%.*s)", asked_text(asked),
			type->record.name, qmt_fail_name(answer->result.fail), QMT_STR_ARG(answer->result.text));
	else if (matches(kit, at, asked_text(asked), type, body, answer->result.type, answer->result.body))
		return answer->result.body;
	return keep(kit, type->record.size + 1, NULL);
}

const struct qmt_result *qmt_kit_expect_failure(struct qmt_kit *kit, struct qmt_kit_at at, int fail)
{
	const struct qmt_type *asked;
	struct answer *answer = take_answer(kit, at, &asked);

	if (!answer)
		report(kit, at, "%s: expected the failure \"%s\", %s", asked_text(asked), qmt_fail_name(fail),
			no_answer_text(asked));
	else if (answer->result.fail != fail)
		report(kit, at, "%s: expected the failure \"%s\", came %s", asked_text(asked), qmt_fail_name(fail),
			answer->result.fail ? qmt_fail_name(answer->result.fail) : answer->result.type->record.name);
	return answer ? &answer->result : keep(kit, sizeof answer->result, NULL);
}

bool qmt_kit_expect_no_reply(struct qmt_kit *kit, struct qmt_kit_at at)
{
	settle(kit, at);
	if (!kit->answers || !kit->answers->came)
		return true;
	report(kit, at, "%s: expected no reply yet, came %s", asked_text(kit->answers->asked),
		kit->answers->result.fail ? qmt_fail_name(kit->answers->result.fail) : kit->answers->result.type->record.name);
	return false;
}

const struct qmt_result *qmt_kit_result(struct qmt_kit *kit, struct qmt_kit_at at)
{
	const struct qmt_type *asked;
	struct answer *answer = take_answer(kit, at, &asked);

	return answer ? &answer->result : NULL;
}

/* ---- expecting ends ---------------------------------------------------------------------------------------------- */

bool qmt_kit_expect_end(struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref who, int reason, bool restarted)
{
	const char *wanted = restarted ? "a restart" : "an end";

	settle(kit, at);
	for (struct end **link = &kit->ends; *link; link = &(*link)->next) {
		const struct end *end = *link;

		if (!qmt_ref_eq(end->who, who))
			continue;
		*link = end->next;
		if (!*link)
			kit->ends_end = link;
		if (end->reason == reason && end->restarted == restarted)
			return true;
		report(kit, at, "expected %s with the reason %s, came %s with the reason %s", wanted, reason_text(reason),
			end->restarted ? "a restart" : "an end", reason_text(end->reason));
		return false;
	}
	report(kit, at, "expected %s with the reason %s, the actor %s", wanted, reason_text(reason),
		qmt_is_running(who) ? "runs" : "has ended, and nobody watched it (QMT_KIT_WATCH)");
	return false;
}

bool qmt_kit_expect_alive(struct qmt_kit *kit, struct qmt_kit_at at, struct qmt_ref who)
{
	settle(kit, at);
	if (!qmt_is_running(who))
		report(kit, at, "expected that the actor runs, it has ended");
	return qmt_is_running(who);
}

/* ---- allocations that fail --------------------------------------------------------------------------------------- */

void qmt_kit_fail_alloc(struct qmt_kit *kit, uint64_t nth)
{
	*kit->faults = (struct qmt_kit_faults){.left = nth};
	kit->sys->faults = nth ? kit->faults : NULL;
	qmt__slab_count(qmt__sim_ctx(kit->sys->sim));
}

bool qmt_kit_alloc_failed(const struct qmt_kit *kit)
{
	return kit->faults->failed;
}
