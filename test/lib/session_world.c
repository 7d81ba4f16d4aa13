/* test/lib/session_world.c - client, store and router of a session's world. Every fake takes the world's lock in its
 * handlers, so real mode is safe too. */
#include "session_world_impl.h"

#include <time.h>

/* ---- client ------------------------------------------------------------------------------------------------------ */

static void client_delta(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct world *w = ((struct fake *)state)->w;
	const struct session_delta *d = body;
	(void)ctx;
	LOCKED(w);
	if (d->text.len)
		qmt_buf_printf(&w->log, "delta %u %.*s\n", (unsigned)d->offset, QMT_STR_ARG(d->text));
	if (d->reasoning.len)
		qmt_buf_printf(&w->log, "thinks %.*s\n", QMT_STR_ARG(d->reasoning));
}

static void client_tool(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct world *w = ((struct fake *)state)->w;
	const struct session_tool *t = body;
	(void)ctx;
	LOCKED(w);
	qmt_buf_printf(&w->log, "tool %.*s %.*s", QMT_STR_ARG(t->name), QMT_STR_ARG(t->state));
	if (qmt_str_is(t->state, "finished"))
		qmt_buf_printf(&w->log, "%s %.*s", t->is_error ? " error" : "", QMT_STR_ARG(t->result));
	qmt_buf_str(&w->log, "\n");
}

static void client_notice(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct world *w = ((struct fake *)state)->w;
	const struct session_notice *n = body;
	(void)ctx;
	LOCKED(w);
	qmt_buf_printf(&w->log, "notice %.*s\n", QMT_STR_ARG(n->text));
}

static void client_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct world *w = ((struct fake *)state)->w;
	const struct session_turn_end *e = body;
	(void)ctx;
	LOCKED(w);
	qmt_buf_printf(&w->log, "end %.*s %.*s %u", QMT_STR_ARG(e->outcome), QMT_STR_ARG(e->finish), e->steps);
	if (e->fail || e->kind.len || e->text.len)
		qmt_buf_printf(&w->log, " %u %.*s: %.*s", e->fail, QMT_STR_ARG(e->kind), QMT_STR_ARG(e->text));
	if (e->usage.input_tokens || e->usage.output_tokens)
		qmt_buf_printf(&w->log, " (%u+%u)", (unsigned)e->usage.input_tokens, (unsigned)e->usage.output_tokens);
	qmt_buf_str(&w->log, "\n");
}

static void on_prompted(struct qmt_ctx *ctx, void *state, const struct qmt_result *r, void *arg)
{
	struct world *w = ((struct fake *)state)->w;
	(void)ctx;
	(void)arg;
	LOCKED(w);
	if (r->fail) {
		qmt_buf_printf(&w->log, "refused %d %.*s: %.*s\n", r->fail, QMT_STR_ARG(r->kind), QMT_STR_ARG(r->text));
		return;
	}
	const struct session_prompted *p = r->body;
	qmt_buf_printf(
		&w->log, "prompted %u %.*s%s\n", (unsigned)p->turn, QMT_STR_ARG(p->state), p->duplicate ? " dup" : "");
}

static void client_prompt(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct world *w = ((struct fake *)state)->w;
	struct session_prompt prompt = *(const struct session_prompt *)body;
	prompt.watcher = qmt_self(ctx);
	qmt_ask_or(ctx, w->session, &session_prompt_type, &prompt, 600000, on_prompted, NULL);
}

static void on_cancelled(struct qmt_ctx *ctx, void *state, const struct qmt_result *r, void *arg)
{
	struct world *w = ((struct fake *)state)->w;
	(void)ctx;
	(void)arg;
	LOCKED(w);
	if (r->fail)
		qmt_buf_printf(&w->log, "cancel failed %d\n", r->fail);
	else
		qmt_buf_printf(
			&w->log, "cancelled %s\n", ((const struct session_cancelled *)r->body)->was_running ? "true" : "false");
}

static void client_cancel(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct world *w = ((struct fake *)state)->w;
	qmt_ask_or(ctx, w->session, &session_cancel_type, body, 600000, on_cancelled, NULL);
}

static void client_interrupt(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct world *w = ((struct fake *)state)->w;
	qmt_ask_or(ctx, w->session, &session_interrupt_type, body, 600000, on_cancelled, NULL);
}

static qmt_handler *const client_handlers[session_message_count] = {[session_prompt_id] = client_prompt,
	[session_interrupt_id] = client_interrupt,
	[session_cancel_id] = client_cancel,
	[session_delta_id] = client_delta,
	[session_tool_id] = client_tool,
	[session_notice_id] = client_notice,
	[session_turn_end_id] = client_end};
static const struct qmt_actor_desc client_desc = {.abi = QMT_ABI,
	.name = "client",
	.doc = "Test client.",
	.state_size = sizeof(struct fake),
	.accepts = {{&session_protocol, client_handlers}},
	.start = fake_start};

/* ---- store ------------------------------------------------------------------------------------------------------- */

/* A request whose handling is put off. */
struct later {
	struct qmt_msg *msg;
	const void *body;
	struct qmt_token token;
	void (*handle)(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token);
};

static void handle_later(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct world *w = ((struct fake *)state)->w;
	struct later *later = arg;
	LOCKED(w);
	later->handle(ctx, w, later->body, later->token);
	qmt_msg_free(ctx, later->msg);
	free(later);
}

/* The fault that is set for this kind of message; true: it is dealt with. */
static bool fault(struct qmt_ctx *ctx, struct world *w, const char *message, const void *body,
	void (*handle)(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token))
{
	if (w->fail_message && strcmp(w->fail_message, message) == 0 && w->fail_count) {
		w->fail_count--;
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, "full", 0, "no space left on device");
		return true;
	}
	if (!w->delay_message || strcmp(w->delay_message, message) != 0)
		return false;
	struct later *later = malloc(sizeof(*later));
	*later = (struct later){.token = qmt_token(ctx), .handle = handle, .body = body};
	later->msg = qmt_keep(ctx);
	qmt_timer_start(ctx, w->delay_ms, handle_later, later, NULL);
	return true;
}

static struct world_turn *running_turn(struct world *w)
{
	for (uint32_t i = 0; i < w->turn_count; i++)
		if (strcmp(w->turns[i].state, "running") == 0)
			return &w->turns[i];
	return NULL;
}

static void add_all(struct world *w, const struct chat_message *items, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(history_add(&w->history, &items[i]), 0);
		if (qmt_str_is(items[i].role, "assistant"))
			w->checkpoint.len = 0;
	}
}

static void do_turn_begin(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token)
{
	const struct store_turn_begin *b = body;
	for (uint32_t i = 0; i < w->turn_count; i++) {
		if (qmt_str_is(b->request, w->turns[i].request)) {
			QMT_REPLY(
				ctx, token, store_turn_begun, .turn = i + 1, .duplicate = true, .state = qmt_str(w->turns[i].state));
			return;
		}
	}
	if (running_turn(w)) {
		qmt_reply_fail(ctx, token, QMT_FAIL_FAILED, "busy", 0, "a turn is under way");
		return;
	}
	struct world_turn *turn = &w->turns[w->turn_count++];
	snprintf(turn->request, sizeof(turn->request), "%.*s", QMT_STR_ARG(b->request));
	snprintf(turn->state, sizeof(turn->state), "running");
	add_all(w, &(struct chat_message){.role = qmt_str("user"), .content = b->text}, 1);
	QMT_REPLY(ctx, token, store_turn_begun, .turn = w->turn_count, .state = qmt_str("running"));
}

static void do_append(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token)
{
	const struct store_append *a = body;
	w->appends++;
	add_all(w, a->messages.items, a->messages.count);
	QMT_REPLY(ctx, token, store_appended, .pos = w->history.count);
}

static void do_checkpoint(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token)
{
	const struct store_checkpoint *c = body;
	w->checkpoints++;
	w->checkpoint.len = 0;
	qmt_buf_append(&w->checkpoint, c->text.p, c->text.len);
	QMT_REPLY(ctx, token, store_done);
}

static void do_turn_end(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token)
{
	const struct store_turn_end *e = body;
	assert_true(e->turn >= 1 && e->turn <= w->turn_count);
	struct world_turn *turn = &w->turns[e->turn - 1];
	if (strcmp(turn->state, "running") == 0) {
		add_all(w, e->messages.items, e->messages.count);
		snprintf(turn->state, sizeof(turn->state), "%.*s", QMT_STR_ARG(e->state));
		w->checkpoint.len = 0;
		w->ends++;
	}
	QMT_REPLY(ctx, token, store_done);
}

static void do_history(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token)
{
	const struct store_history *h = body;
	uint32_t from = h->from ? (uint32_t)h->from - 1 : 0, count = w->history.count - from;
	if (w->page && count > w->page)
		count = w->page;
	struct store_page page = {
		.total = w->history.count, .next = from + count < w->history.count ? from + count + 1 : 0};
	page.messages.items = w->history.items + from;
	page.messages.count = count;
	qmt_reply(ctx, token, &store_page_type, &page);
}

static void do_find(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token)
{
	(void)body;
	QMT_REPLY(ctx, token, store_session_found, .session = {.turns = w->turn_count});
}

#define STORE_HANDLER(name)                                                         \
	static void store_on_##name(struct qmt_ctx *ctx, void *state, const void *body) \
	{                                                                               \
		struct world *w = ((struct fake *)state)->w;                                \
		LOCKED(w);                                                                  \
		if (!fault(ctx, w, "store." #name, body, do_##name))                        \
			do_##name(ctx, w, body, qmt_token(ctx));                                \
	}
#define do_session_find do_find
STORE_HANDLER(turn_begin)
STORE_HANDLER(append)
STORE_HANDLER(checkpoint)
STORE_HANDLER(turn_end)
STORE_HANDLER(history)
STORE_HANDLER(session_find)

static qmt_handler *const store_handlers[store_message_count] = {[store_turn_begin_id] = store_on_turn_begin,
	[store_append_id] = store_on_append,
	[store_checkpoint_id] = store_on_checkpoint,
	[store_turn_end_id] = store_on_turn_end,
	[store_history_id] = store_on_history,
	[store_session_find_id] = store_on_session_find};
static const struct qmt_actor_desc fake_store_desc = {.abi = QMT_ABI,
	.name = "fake_store",
	.doc = "Test store.",
	.state_size = sizeof(struct fake),
	.accepts = {{&store_protocol, store_handlers}},
	.start = fake_start};

/* ---- router ------------------------------------------------------------------------------------------------------ */

static void do_resolve(struct qmt_ctx *ctx, struct world *w, const void *body, struct qmt_token token)
{
	const struct router_resolve *r = body;
	if (w->route_fail) {
		qmt_reply_fail(ctx, token, w->route_fail, NULL, 0, "peer gpu is not connected");
		return;
	}
	QMT_REPLY(ctx, token, router_resolved,
		.route = {.agent = r->agent,
			.target = qmt_str(w->route_peer ? "peer" : "local"),
			.peer = qmt_str(w->route_peer ? "gpu" : ""),
			.peer_id = qmt_str(w->route_peer ? "12D3peer" : ""),
			.provider = qmt_str("llm"),
			.model = qmt_str("tiny")});
}

static void router_on_resolve(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct world *w = ((struct fake *)state)->w;
	LOCKED(w);
	if (!fault(ctx, w, "router.resolve", body, do_resolve))
		do_resolve(ctx, w, body, qmt_token(ctx));
}

static qmt_handler *const router_handlers[router_message_count] = {[router_resolve_id] = router_on_resolve};
static const struct qmt_actor_desc fake_router_desc = {.abi = QMT_ABI,
	.name = "fake_router",
	.doc = "Test router.",
	.state_size = sizeof(struct fake),
	.accepts = {{&router_protocol, router_handlers}},
	.start = fake_start};

/* ---- the world --------------------------------------------------------------------------------------------------- */

static struct qmt_ref spawn(struct world *w, const struct qmt_actor_desc *desc, const char *name, const void *config)
{
	struct qmt_ref ref = {0};
	struct qmt_err err = {0};
	int fail = qmt_spawn(w->out, desc, &(struct qmt_spawn){.name = name, .config = config}, &ref, &err);
	if (fail)
		print_error("spawn %s: %d %s\n", name, fail, err.text);
	assert_int_equal(fail, 0);
	return ref;
}

struct world *world_new(bool seeded, const char *cwd)
{
	struct world *w = calloc(1, sizeof(*w));
	static const char *const tools[] = {"read_tool", "write_file", "edit", "shell", "ls", NULL};
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->seeded = seeded;
	w->record = (struct store_session){.id = qmt_str("0192"), .agent = qmt_str("coder"), .cwd = qmt_str(cwd)};
	w->agent = (struct session_agent){.system = "be brief", .tools = tools};
	session_limits_init(&w->agent.limits);
	return w;
}

void world_start_provider(struct world *w)
{
	w->provider = spawn(w, &world_provider_desc, "provider/llm", w);
}

void world_start_client(struct world *w)
{
	w->client = spawn(w, &client_desc, NULL, w);
}

void world_start(struct world *w)
{
	struct qmt_err err = {0};
	w->config = session_config_new(&w->record, &w->agent, &err);
	if (!w->config)
		print_error("%s\n", err.text);
	assert_non_null(w->config);
	w->sys = qmt_system_start(
		&(struct qmt_system_options){.workers = 2, .seeded = w->seeded, .seed = 7, .start_wall_ms = 1000}, &err);
	assert_non_null(w->sys);
	w->out = qmt_outside_open(w->sys);
	assert_non_null(w->out);
	w->store = spawn(w, &fake_store_desc, "store", w);
	w->router = spawn(w, &fake_router_desc, "router", w);
	w->link = spawn(w, &world_link_desc, "peer/12D3peer", w);
	world_start_provider(w);
	world_start_client(w);
	w->session = spawn(w, &session_desc, "session/0192", w->config);
}

void world_free(struct world *w)
{
	struct qmt_err err = {0};
	qmt_outside_close(w->out);
	int left = qmt_system_stop(w->sys, 5000, &err);
	if (left)
		print_error("%s\n", err.text);
	assert_int_equal(left, 0);
	qmt_system_free(w->sys);
	session_config_free(w->config);
	history_free(&w->history);
	qmt_buf_free(&w->log);
	qmt_buf_free(&w->checkpoint);
	qmt_buf_free(&w->last_request);
	qmt_buf_free(&w->last_tools);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
	free(w);
}

void world_script(struct world *w, const char *script)
{
	LOCKED(w);
	assert_true(w->script_count < WORLD_SCRIPTS);
	w->scripts[w->script_count++] = script;
}

void world_prompt(struct world *w, const char *request, const char *text)
{
	assert_int_equal(
		QMT_TELL(w->out, w->client, session_prompt, .request = qmt_str(request), .text = qmt_str(text)), 0);
}

void world_prompt_again(struct world *w, const char *request, const char *text, uint64_t shown)
{
	assert_int_equal(
		QMT_TELL(w->out, w->client, session_prompt, .request = qmt_str(request), .text = qmt_str(text), .shown = shown),
		0);
}

void world_cancel_request(struct world *w, const char *request)
{
	assert_int_equal(QMT_TELL(w->out, w->client, session_cancel, .request = qmt_str(request)), 0);
}

void world_interrupt(struct world *w)
{
	assert_int_equal(QMT_TELL(w->out, w->client, session_interrupt, ), 0);
}

void world_cancel(struct world *w, uint64_t turn)
{
	assert_int_equal(QMT_TELL(w->out, w->client, session_cancel, .turn = turn), 0);
}

void world_run(struct world *w, uint64_t ms)
{
	assert_true(w->seeded);
	qmt_system_run(w->sys, ms);
}

static uint32_t occurrences(const struct qmt_buf *log, const char *part)
{
	uint32_t n = 0;
	for (const char *p = log->data; p && (p = strstr(p, part)) != NULL; p++)
		n++;
	return n;
}

void world_wait(struct world *w, const char *part, uint32_t times)
{
	if (w->seeded) {
		for (int i = 0; i < 7200 && occurrences(&w->log, part) < times; i++)
			qmt_system_run(w->sys, i < 100 ? 10 : 1000);
	} else {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 20;
		pthread_mutex_lock(&w->lock);
		while (occurrences(&w->log, part) < times && pthread_cond_timedwait(&w->changed, &w->lock, &until) == 0)
			;
		pthread_mutex_unlock(&w->lock);
	}
	LOCKED(w);
	if (occurrences(&w->log, part) < times)
		print_error("waited in vain for \"%s\"; the client saw:\n%s", part, w->log.data ? w->log.data : "");
	assert_true(occurrences(&w->log, part) >= times);
}

const char *world_log(struct world *w)
{
	static char room[2][65536];
	static unsigned next;
	char *p = room[next++ % 2];
	LOCKED(w);
	snprintf(p, sizeof(room[0]), "%s", w->log.len ? w->log.data : "");
	w->log.len = 0;
	if (w->log.data)
		w->log.data[0] = 0;
	return p;
}

const char *world_stored(struct world *w)
{
	static char room[65536];
	QMT_CLEANUP(qmt_buf_free) struct qmt_buf text = {0};
	LOCKED(w);
	for (uint32_t i = 0; i < w->history.count; i++) {
		const struct chat_message *m = &w->history.items[i];
		qmt_buf_printf(&text, "%.*s: %.*s", QMT_STR_ARG(m->role), QMT_STR_ARG(m->content));
		for (uint32_t c = 0; c < m->tool_calls.count; c++)
			qmt_buf_printf(&text, " %.*s=%.*s(%.*s)", QMT_STR_ARG(m->tool_calls.items[c].id),
				QMT_STR_ARG(m->tool_calls.items[c].name), QMT_STR_ARG(m->tool_calls.items[c].arguments));
		if (m->tool_call_id.len)
			qmt_buf_printf(&text, " for %.*s%s", QMT_STR_ARG(m->tool_call_id), m->is_error ? " error" : "");
		qmt_buf_str(&text, "\n");
	}
	for (uint32_t i = 0; i < w->turn_count; i++)
		qmt_buf_printf(&text, "turn %u %s\n", i + 1, w->turns[i].state);
	snprintf(room, sizeof(room), "%s", text.data ? text.data : "");
	return room;
}

void world_stop_actor(struct world *w, struct qmt_ref who)
{
	assert_int_equal(qmt_stop(w->out, who), 0);
}
