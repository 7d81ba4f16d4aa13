/* test/sim/sim_client.c - on each node a client of its node_manager, as `qmt` would be one: makes sessions here and on
 * other nodes, prompts under request ids that it repeats until they are acknowledged, cancels, watches, and reads the
 * histories at the end.
 *
 * What was acknowledged, and what the watchers heard, is kept here, outside of all nodes.
 */
#include "test/sim/sim.h"

#define SIM_ORDER(F, T)               \
	F(T, U32, what, 1, "enum order.") \
	F(T, U32, number, 2, "Of what.")
#define SIM_MESSAGES(M) M(sim_client, order, SIM_ORDER, "local", "From the simulation.")
QMT_DECLARE_PROTOCOL(sim_client, SIM_MESSAGES)
QMT_DEFINE_PROTOCOL(sim_client, SIM_MESSAGES, "What the simulation wants of its client.")

enum order { ORDER_CREATE, ORDER_PROMPT, ORDER_CANCEL, ORDER_CANCEL_REQUEST, ORDER_SHOW };
enum { SESSIONS = 8, PROMPTS = 96, TURNS = 128, ASK_MS = 8000 };
/* owners of asks, see sim_asks.c */
enum { OWNER_CLIENT = 0 };

struct session_fact {
	struct sim_node *home, *host; /* who asked for it, where it lives */
	const char *agent;
	char request[40], id[64];
	bool made, shown;
	/* of each turn, by the life of the home node: what its client heard */
	struct {
		uint32_t ended_life, seen_life;
		uint64_t seen; /* bytes of visible text */
	} turns[TURNS];
};

struct prompt_fact {
	uint32_t session;
	char request[40], text[80];
	bool acknowledged, waits; /* waits: an ask is under way */
	uint64_t turn;
	uint32_t running_life; /* of the home node, whose client was told that it runs: it must hear the end */
	uint32_t watch_session_life;
};

static struct session_fact sessions[SESSIONS];
static struct prompt_fact prompts[PROMPTS];
static uint32_t session_count, prompt_count;

void sim_sessions_reset(void)
{
	memset(sessions, 0, sizeof sessions);
	memset(prompts, 0, sizeof prompts);
	session_count = prompt_count = 0;
}

/* ---- orders ------------------------------------------------------------------------------------------------------ */

struct client {
	struct sim_node *node;
};

static struct qmt_ref manager(struct qmt_ctx *ctx)
{
	struct qmt_ref ref;

	return qmt_lookup(ctx, "node_manager", &ref) == 0 ? ref : (struct qmt_ref){0};
}

static void ask(struct qmt_ctx *ctx, struct client *client, uint32_t subject, const struct qmt_type *type,
	const void *body, qmt_continuation *then)
{
	struct sim_ask *open = sim_ask_open(client->node, OWNER_CLIENT, client->node->life, ASK_MS, subject);

	if (open)
		qmt_ask_or(ctx, manager(ctx), type, body, ASK_MS, then, open);
}

static void created(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session_fact *session = &sessions[sim_ask_answered(arg, "session_create")];
	const struct node_session_reply *reply = result->body;

	(void)ctx;
	(void)state;
	if (result->fail) {
		sim_event(
			"session %s: not made: %s %.*s", session->request, qmt_fail_name(result->fail), QMT_STR_ARG(result->kind));
		if (sim.verbose) /* has the name of a folder in it: not part of the trace */
			(void)fprintf(stderr, "%12s %.*s\n", "", QMT_STR_ARG(result->text));
		return;
	}
	if (session->made && !qmt_str_is(reply->session.id, session->id))
		sim_violation("a repeated request makes one session", "%s: %s and %.*s", session->request, session->id,
			QMT_STR_ARG(reply->session.id));
	session->made = true;
	(void)snprintf(session->id, sizeof session->id, "%.*s", QMT_STR_ARG(reply->session.id));
	sim_event("session %s: made as %s", session->request, session->id);
}

static void prompted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct client *client = state;
	struct prompt_fact *prompt = &prompts[sim_ask_answered(arg, "prompt")];
	const struct node_prompted *reply = result->body;

	(void)ctx;
	prompt->waits = false;
	if (result->fail) {
		sim_event(
			"prompt %s: refused: %s %.*s", prompt->request, qmt_fail_name(result->fail), QMT_STR_ARG(result->kind));
		return;
	}
	sim_event("prompt %s: turn %u %.*s%s", prompt->request, (unsigned)reply->turn, QMT_STR_ARG(reply->state),
		reply->duplicate ? ", again" : "");
	if (prompt->acknowledged && prompt->turn != reply->turn)
		sim_violation("a repeated prompt is one turn", "%s: turns %u and %u", prompt->request, (unsigned)prompt->turn,
			(unsigned)reply->turn);
	for (uint32_t i = 0; i < prompt_count; i++)
		if (&prompts[i] != prompt && prompts[i].session == prompt->session && prompts[i].acknowledged &&
			prompts[i].turn == reply->turn)
			sim_violation("each prompt has a turn of its own", "%s and %s: %u", prompt->request, prompts[i].request,
				(unsigned)reply->turn);
	if (reply->turn == 0 || reply->turn >= TURNS)
		sim_violation("turns count from 1", "%s: turn %u", prompt->request, (unsigned)reply->turn);
	prompt->acknowledged = true;
	prompt->turn = reply->turn;
	if (qmt_str_is(reply->state, "running"))
		prompt->running_life = client->node->life;
}

static void cancelled(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	const struct node_cancelled *reply = result->body;
	uint32_t session = sim_ask_answered(arg, "cancel");

	(void)ctx;
	(void)state;
	sim_event("session %s: cancel: %s", sessions[session].request,
		result->fail             ? qmt_fail_name(result->fail)
			: reply->was_running ? "was running"
								 : "nothing ran");
}

static bool is_call_of(const struct chat_message *message, struct qmt_str id)
{
	for (uint32_t i = 0; i < message->tool_calls.count; i++)
		if (qmt_str_eq(message->tool_calls.items[i].id, id))
			return true;
	return false;
}

/* Each call of messages[at] has one result, right behind it. */
static void check_calls(
	const struct session_fact *session, const struct chat_message *messages, uint32_t count, uint32_t at)
{
	const struct chat_message *assistant = &messages[at];

	for (uint32_t call = 0; call < assistant->tool_calls.count; call++) {
		uint32_t results = 0;

		for (uint32_t i = at + 1; i < count && qmt_str_is(messages[i].role, "tool"); i++)
			results += qmt_str_eq(messages[i].tool_call_id, assistant->tool_calls.items[call].id);
		if (results != 1)
			sim_violation("each tool call has one result", "session %s, message %u, call %u: %u results",
				session->request, at + 1, call, results);
	}
	for (uint32_t i = at + 1; i < count && qmt_str_is(messages[i].role, "tool"); i++)
		if (!is_call_of(assistant, messages[i].tool_call_id))
			sim_violation("each tool result has its call", "session %s, message %u", session->request, i + 1);
}

/* Each turn has one event of its end, behind all that is of it. */
static void check_ends(const struct session_fact *session, const struct chat_message *messages, uint32_t count)
{
	uint64_t ended = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct chat_message *m = &messages[i];

		if (m->turn != ended + 1)
			sim_violation("turns end in the history, one after the other",
				"session %s: message %u is of turn %u, %u ended", session->request, i + 1, (unsigned)m->turn,
				(unsigned)ended);
		ended += qmt_str_is(m->role, "event") && qmt_str_is(m->tool_name, "turn_end");
	}
}

static void shown(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct session_fact *session = &sessions[sim_ask_answered(arg, "session_show")];
	const struct node_session_show_reply *reply = result->body;

	(void)ctx;
	(void)state;
	if (result->fail) {
		sim_event(
			"session %s: not shown: %s %.*s", session->request, qmt_fail_name(result->fail), QMT_STR_ARG(result->kind));
		return;
	}
	sim_event(
		"session %s: %u messages, %.*s", session->request, reply->messages.count, QMT_STR_ARG(reply->session.state));
	for (uint32_t i = 0; i < prompt_count; i++) {
		uint32_t found = 0;

		if (&sessions[prompts[i].session] != session)
			continue;
		for (uint32_t k = 0; k < reply->messages.count; k++)
			if (qmt_str_is(reply->messages.items[k].role, "user") &&
				qmt_str_is(reply->messages.items[k].content, prompts[i].text)) {
				found++;
				if (prompts[i].acknowledged && reply->messages.items[k].turn != prompts[i].turn)
					sim_violation("a prompt is in its turn", "%s: %u, not %u", prompts[i].request,
						(unsigned)reply->messages.items[k].turn, (unsigned)prompts[i].turn);
			}
		if (found > 1 || (prompts[i].acknowledged && !found))
			sim_violation("an acknowledged prompt is in the history exactly once", "%s (turn %u): %u times",
				prompts[i].request, (unsigned)prompts[i].turn, found);
	}
	for (uint32_t k = 0; k < reply->messages.count; k++) {
		if (reply->messages.items[k].pos != k + 1)
			sim_violation("positions count from 1 without gaps", "session %s: message %u has %u", session->request,
				k + 1, (unsigned)reply->messages.items[k].pos);
		if (qmt_str_is(reply->messages.items[k].role, "assistant"))
			check_calls(session, reply->messages.items, reply->messages.count, k);
	}
	check_ends(session, reply->messages.items, reply->messages.count);
	if (qmt_str_is(reply->session.state, "running"))
		sim_violation("each turn ends", "session %s: its last turn is running", session->request);
	session->shown = true;
}

static void on_order(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct client *client = state;
	const struct sim_client_order *order = body;
	bool of_prompt = order->what == ORDER_PROMPT || order->what == ORDER_CANCEL_REQUEST;
	struct prompt_fact *prompt = of_prompt ? &prompts[order->number] : NULL;
	struct session_fact *session = &sessions[prompt ? prompt->session : order->number];

	switch (order->what) {
	case ORDER_CREATE:
		ask(ctx, client, order->number, &node_session_create_type,
			&(struct node_session_create){.request = qmt_str(session->request),
				.on = qmt_str(session->host == session->home ? "" : session->host->name),
				.agent = qmt_str(session->agent)},
			created);
		break;
	case ORDER_PROMPT:
		prompt->waits = true;
		ask(ctx, client, order->number, &node_prompt_type,
			&(struct node_prompt){.session = qmt_str(session->id),
				.request = qmt_str(prompt->request),
				.text = qmt_str(prompt->text),
				.watcher = qmt_self(ctx)},
			prompted);
		break;
	case ORDER_CANCEL:
		ask(ctx, client, order->number, &node_cancel_type, &(struct node_cancel){.session = qmt_str(session->id)},
			cancelled);
		break;
	case ORDER_CANCEL_REQUEST:
		ask(ctx, client, prompt->session, &node_cancel_type,
			&(struct node_cancel){.session = qmt_str(session->id), .request = qmt_str(prompt->request)}, cancelled);
		break;
	default:
		ask(ctx, client, order->number, &node_session_show_type,
			&(struct node_session_show){.session = qmt_str(session->id), .limit = STORE_HISTORY_MAX, .events = true},
			shown);
	}
}

/* ---- watching ---------------------------------------------------------------------------------------------------- */

static struct session_fact *session_of(struct client *client, struct qmt_str id, uint64_t turn)
{
	if (turn == 0 || turn >= TURNS)
		sim_violation("events name a turn", "turn %u", (unsigned)turn);
	for (uint32_t i = 0; i < session_count; i++)
		if (sessions[i].home == client->node && qmt_str_is(id, sessions[i].id))
			return &sessions[i];
	return NULL;
}

static void on_delta(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct client *client = state;
	const struct session_delta *delta = body;
	struct session_fact *session = session_of(client, delta->session, delta->turn);
	uint64_t *seen;

	(void)ctx;
	if (!session || !delta->text.len)
		return;
	seen = &session->turns[delta->turn].seen;
	if (session->turns[delta->turn].seen_life != client->node->life) {
		session->turns[delta->turn].seen_life = client->node->life;
		*seen = 0;
	}
	if (session->turns[delta->turn].ended_life == client->node->life && delta->offset > *seen)
		return; /* a stream that was lost and goes on: prompting again tells the rest */
	if (delta->offset > *seen && session->host == session->home && !sim_memory_was_short())
		sim_violation("a watcher gets the text without gaps", "session %s, turn %u: %u after %u", session->request,
			(unsigned)delta->turn, (unsigned)delta->offset, (unsigned)*seen);
	if (delta->offset + delta->text.len > *seen)
		*seen = delta->offset + delta->text.len;
}

/* Some turns are cancelled while their tools run. */
static void on_tool(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct client *client = state;
	const struct session_tool *tool = body;
	const struct session_fact *session = session_of(client, tool->session, tool->turn);

	if (session && qmt_str_is(tool->state, "started") && sim_chance(10))
		(void)QMT_TELL(
			ctx, qmt_self(ctx), sim_client_order, .what = ORDER_CANCEL, .number = (uint32_t)(session - sessions));
}

static void nothing(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx;
	(void)state;
	(void)body;
}

static void heard(struct client *client, struct qmt_str id, uint64_t turn, const char *what, struct qmt_str outcome)
{
	struct session_fact *session = session_of(client, id, turn);

	sim_event("%s hears: session %s, turn %u: %s %.*s", client->node->name, session ? session->request : "?",
		(unsigned)turn, what, QMT_STR_ARG(outcome));
	if (session)
		session->turns[turn].ended_life = client->node->life;
}

static void on_turn_end(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct session_turn_end *end = body;

	(void)ctx;
	heard(state, end->session, end->turn, "ended", end->outcome);
}

static void on_lost(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct session_lost *lost = body;

	(void)ctx;
	heard(state, lost->session, lost->turn, "lost", (struct qmt_str){0});
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct client *client = state;

	(void)ctx;
	client->node = (struct sim_node *)(uintptr_t)config;
	return 0;
}

/* It may have failed for want of memory: its asks come to nothing. */
static void stop(struct qmt_ctx *ctx, void *state)
{
	const struct client *client = state;

	(void)ctx;
	sim_asks_abandon(client->node, OWNER_CLIENT);
	sim_sessions_lost(client->node);
}

static qmt_handler *const order_handlers[sim_client_message_count] = {[sim_client_order_id] = on_order};
static qmt_handler *const session_handlers[session_message_count] = {
	[session_delta_id] = on_delta,
	[session_tool_id] = on_tool,
	[session_notice_id] = nothing,
	[session_turn_end_id] = on_turn_end,
	[session_lost_id] = on_lost,
};
const struct qmt_actor_desc sim_client_desc = {
	.abi = QMT_ABI,
	.name = "sim_client",
	.doc = "A client of its node.",
	.state_size = sizeof(struct client),
	.accepts = {{&sim_client_protocol, order_handlers}, {&session_protocol, session_handlers}},
	.start = start,
	.stop = stop,
};

/* ---- by chance --------------------------------------------------------------------------------------------------- */

static void give(struct sim_node *node, uint32_t what, uint32_t number)
{
	if (node->system)
		(void)QMT_TELL(node->ctx, node->client, sim_client_order, .what = what, .number = number);
}

static void new_session(void)
{
	struct session_fact *session = &sessions[session_count];

	if (session_count == SESSIONS)
		return;
	session->home = &sim.nodes[sim_below(sim.node_count)];
	session->host = sim_chance(50) ? session->home : &sim.nodes[sim_below(sim.node_count)];
	session->agent = sim_chance(70) ? "near" : "far";
	(void)snprintf(session->request, sizeof session->request, "s%u", session_count);
	sim_event("session %s: %s wants it on %s, agent %s", session->request, session->home->name, session->host->name,
		session->agent);
	give(session->home, ORDER_CREATE, session_count++);
}

static void new_prompt(uint32_t session)
{
	static const char *const forms[] = {"say this is p%u", "count to 30 for p%u", "list . then read p%u.txt",
		"write p%u.txt: hello\nread p%u.txt\nlist .", "think about p%u", "read a.txt and read p%u.txt",
		"read a.txt and write p%u.txt: xyz"};
	struct prompt_fact *prompt = &prompts[prompt_count];

	if (prompt_count == PROMPTS)
		return;
	prompt->session = session;
	(void)snprintf(prompt->request, sizeof prompt->request, "p%u", prompt_count);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(
		prompt->text, sizeof prompt->text, forms[sim_below(sizeof forms / sizeof *forms)], prompt_count, prompt_count);
#pragma GCC diagnostic pop
	sim_event("prompt %s: for session %s", prompt->request, sessions[session].request);
	give(sessions[session].home, ORDER_PROMPT, prompt_count++);
}

void sim_sessions_step(void)
{
	uint32_t session = session_count ? sim_below(session_count) : 0, what = sim_below(100), prompt;

	if (!session_count || what < 8) {
		new_session();
		return;
	}
	if (!sessions[session].made) {
		if (what < 40)
			give(sessions[session].home, ORDER_CREATE, session);
		return;
	}
	if (what < 55 || !prompt_count) {
		new_prompt(session);
		return;
	}
	prompt = sim_below(prompt_count);
	if (what < 80)
		give(sessions[prompts[prompt].session].home, ORDER_PROMPT, prompt);
	else if (what < 90)
		give(sessions[session].home, ORDER_CANCEL, session);
	else
		give(sessions[prompts[prompt].session].home, ORDER_CANCEL_REQUEST, prompt);
}

void sim_sessions_lost(const struct sim_node *node)
{
	for (uint32_t i = 0; i < prompt_count; i++)
		if (sessions[prompts[i].session].home == node)
			prompts[i].waits = false;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Repeats what was not acknowledged until it is. All is healed, so that must come to an end. */
void sim_sessions_settle(void)
{
	enum { TRIES = 60 };
	uint32_t left = 1;

	sim_run(40000); /* until links are back and turns have ended */
	for (uint32_t i = 0; i < session_count; i++)
		for (uint32_t try = 0; !sessions[i].made; try++) {
			if (try == TRIES)
				sim_violation("a session is made in the end", "session %s of %s on %s", sessions[i].request,
					sessions[i].home->name, sessions[i].host->name);
			give(sessions[i].home, ORDER_CREATE, i);
			sim_run(2000);
		}
	for (uint32_t i = 0; i < session_count; i++)
		new_prompt(i); /* one more each: it also ends a turn that a sick store left running */
	for (uint32_t try = 0; left; try++) {
		left = 0;
		for (uint32_t i = 0; i < prompt_count; i++) {
			if (prompts[i].acknowledged)
				continue;
			if (try == TRIES)
				sim_violation("a prompt is taken in the end", "%s for session %s", prompts[i].request,
					sessions[prompts[i].session].request);
			left++;
			if (!prompts[i].waits)
				give(sessions[prompts[i].session].home, ORDER_PROMPT, i);
			sim_run(3000);
		}
	}
	sim_run(60000);
}

void sim_sessions_check(void)
{
	for (uint32_t i = 0; i < prompt_count; i++) {
		const struct session_fact *session = &sessions[prompts[i].session];

		if (prompts[i].running_life && prompts[i].running_life == session->home->life && !sim_memory_was_short() &&
			session->turns[prompts[i].turn].ended_life != session->home->life)
			sim_violation("a watcher hears turn_end or session.lost",
				"%s: turn %u of session %s on %s, watched from %s", prompts[i].request, (unsigned)prompts[i].turn,
				session->request, session->host->name, session->home->name);
	}
	for (uint32_t i = 0; i < session_count; i++)
		give(sessions[i].home, ORDER_SHOW, i);
	sim_run(10000);
	for (uint32_t i = 0; i < session_count; i++)
		if (!sessions[i].shown)
			sim_violation("a history can be read", "session %s", sessions[i].request);
}
