/* actors/node_manager/node_sessions.c - create, list, show, resume, prompt, cancel: here, or passed on to the host.
 * The rest: node_session_ops.c.
 *
 *   find in the store -> (origin may see it?)
 *       lives on a peer: the same message to its node_manager, the answer is relayed
 *       lives here:      in memory? else a child is spawned; then the request's own step
 *
 * What comes from a peer is bounded by `origin`: it sees its own sessions, and cannot choose a folder of this machine.
 */
#include "actors/node_manager/node_internal.h"

#include "runtime/port.h"

void node_refuse(struct qmt_ctx *ctx, struct node_op *op, int fail, const char *kind, const char *text)
{
	(void)qmt_reply_fail(ctx, op->token, fail, kind, 0, "%s", text);
	node_op_end(ctx, op);
}

void node_ask_store(
	struct qmt_ctx *ctx, const struct qmt_type *type, const void *body, qmt_continuation *then, void *arg)
{
	struct qmt_ref store;

	if (qmt_lookup(ctx, "store", &store) != 0)
		store = (struct qmt_ref){0};
	qmt_ask_or(ctx, store, type, body, NODE_LOCAL_MS, then, arg);
}

/* The same for what only reads. Its reader, if it has one, answers also while the store itself waits for the disk or a
 * lock: a cancel must not wait for the prompt that it cancels. */
static void read_store(
	struct qmt_ctx *ctx, const struct qmt_type *type, const void *body, qmt_continuation *then, void *arg)
{
	struct qmt_ref reader;

	if (qmt_lookup(ctx, "store/reader", &reader) == 0)
		qmt_ask_or(ctx, reader, type, body, NODE_LOCAL_MS, then, arg);
	else
		node_ask_store(ctx, type, body, then, arg);
}

void node_ask_host(struct qmt_ctx *ctx, struct node_manager *self, struct qmt_str peer_id, const struct qmt_type *type,
	const void *body, qmt_continuation *then, struct node_op *op, struct qmt_str peer_name)
{
	char peer[64];
	int fail;

	snprintf(peer, sizeof peer, "%.*s", QMT_STR_ARG(peer_id));
	fail = qmt_ask_name(ctx, peer, "node_manager", type, body, self->config->request_timeout_ms, then, op);
	if (fail) {
		(void)qmt_reply_fail(ctx, op->token, fail > 0 ? fail : QMT_FAIL_FAILED, "no_route", 0,
			"the session lives on \"%.*s\", which is not connected: %s", QMT_STR_ARG(peer_name), qmt_fail_name(fail));
		node_op_end(ctx, op);
	}
}

static void found(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *find_)
{
	struct find_op *op = find_;
	const struct store_session_found *answer = result->body;

	if (result->fail)
		node_relay(ctx, state, result, op);
	else if (answer->session.peer.len)
		op->pass_on(ctx, state, op, &answer->session);
	else
		op->here(ctx, state, op, &answer->session);
}

void node_find(struct qmt_ctx *ctx, struct node_manager *self, const void *body, size_t size, struct qmt_str key,
	struct qmt_str origin, find_step *here, find_step *pass_on)
{
	struct find_op *op = node_op_new(ctx, self, body, size);

	if (!op)
		return;
	op->key = key;
	op->op.origin = origin;
	op->here = here;
	op->pass_on = pass_on;
	if (key.len == 0) {
		node_refuse(ctx, &op->op, QMT_FAIL_BAD_REQUEST, "bad_request",
			"the session is missing: give an id, a unique prefix of one, or a name");
		return;
	}
	read_store(ctx, &store_session_find_type, &(struct store_session_find){.key = key, .owner = origin}, found, op);
}

/* The session was just leaving memory: the request is done anew when that is over. False: this is another failure. The
 * end may be known here already, and another actor stand for the session: that one is not waited for. */
static bool once_more(struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, int fail)
{
	const struct node_session *session = self->sessions;

	if (op->again || self->draining || (fail != QMT_FAIL_STOPPING && fail != QMT_FAIL_NOT_RUNNING))
		return false;
	op->again = true;
	while (session && !qmt_ref_eq(session->ref, op->asked))
		session = session->next;
	if (session) {
		op->next_waiting = self->waiting;
		self->waiting = op;
	} else {
		read_store(ctx, &store_session_find_type, &(struct store_session_find){.key = op->key, .owner = op->op.origin},
			found, op);
	}
	return true;
}

void node_session_left(struct qmt_ctx *ctx, struct node_manager *self, struct qmt_ref actor)
{
	struct find_op **at = &self->waiting;

	while (*at) {
		struct find_op *op = *at;

		if (!qmt_ref_eq(op->asked, actor)) {
			at = &op->next_waiting;
			continue;
		}
		*at = op->next_waiting;
		read_store(ctx, &store_session_find_type, &(struct store_session_find){.key = op->key, .owner = op->op.origin},
			found, op);
	}
}

int node_in_memory(struct qmt_ctx *ctx, struct node_manager *self, const struct store_session *session,
	struct node_op *op, struct qmt_ref *ret_ref)
{
	char name[80];
	struct qmt_err err = {0};
	struct node_session *entry;
	int fail;

	snprintf(name, sizeof name, "session/%.*s", QMT_STR_ARG(session->id));
	if (qmt_lookup(ctx, name, ret_ref) == 0)
		return 0;
	entry = calloc(1, sizeof *entry);
	if (!entry) {
		node_refuse(ctx, op, QMT_FAIL_FAILED, NULL, "out of memory");
		return -1;
	}
	snprintf(entry->id, sizeof entry->id, "%.*s", QMT_STR_ARG(session->id));
	entry->config = self->config->session_config(self->config->session_arg, session, &err);
	if (!entry->config) {
		free(entry);
		node_refuse(ctx, op, QMT_FAIL_FAILED, "session_config", err.text);
		return -1;
	}
	fail = qmt_spawn(ctx, self->config->session_desc,
		&(struct qmt_spawn){.name = name, .config = entry->config, .restart = QMT_TRANSIENT}, &entry->ref, &err);
	if (fail) {
		self->config->session_config_free(entry->config);
		free(entry);
		node_refuse(ctx, op, QMT_FAIL_FAILED, "session_start", err.text[0] ? err.text : qmt_fail_name(fail));
		return -1;
	}
	entry->next = self->sessions;
	self->sessions = entry;
	self->session_count++;
	*ret_ref = entry->ref;
	return 0;
}

/* ---- create ------------------------------------------------------------------------------------------------------ */

struct create_op {
	struct node_op op;
	char peer[64], peer_name[128];
};

/* The store counts and inserts in one transaction; here its refusal is counted and told for the audit. */
static void note_limit(struct qmt_ctx *ctx, struct node_manager *self, struct qmt_str origin)
{
	struct qmt_ref peers;

	self->sessions_limited++;
	if (qmt_lookup(ctx, "peers", &peers) == 0)
		(void)QMT_TELL(ctx, peers, peers_limited, .peer = origin, .limit = qmt_str("sessions"));
}

void node_created(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct node_manager *self = state;
	struct node_op *op = op_;
	const struct store_session_created *answer = result->body;
	struct qmt_ref ref;

	if (result->fail) {
		if (qmt_str_is(result->kind, "limit"))
			note_limit(ctx, self, op->origin);
		node_relay(ctx, state, result, op);
		return;
	}
	if (answer->session.peer.len == 0 && node_in_memory(ctx, self, &answer->session, op, &ref) != 0)
		return;
	(void)QMT_REPLY(ctx, op->token, node_session_reply, .session = answer->session);
	node_op_end(ctx, op);
}

static void created_there(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct create_op *op = op_;
	const struct node_session_create *request = op->op.body;
	const struct node_session_reply *answer = result->body;
	struct store_session_create bookmark = {.request = request->request};

	if (result->fail) {
		node_relay(ctx, state, result, op);
		return;
	}
	bookmark.session = answer->session;
	bookmark.session.peer = qmt_str(op->peer);
	bookmark.session.peer_name = qmt_str(op->peer_name);
	bookmark.session.owner = (struct qmt_str){0};
	node_ask_store(ctx, &store_session_create_type, &bookmark, node_created, op);
}

static void create_on_peer(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct create_op *op = op_;
	const struct peers_resolved *answer = result->body;
	struct node_session_create request = *(const struct node_session_create *)op->op.body;

	if (result->fail) {
		node_relay(ctx, state, result, op);
		return;
	}
	snprintf(op->peer, sizeof op->peer, "%.*s", QMT_STR_ARG(answer->peer.peer_id));
	qmt_text(op->peer_name, sizeof op->peer_name, "%.*s", QMT_STR_ARG(answer->peer.name));
	request.on = (struct qmt_str){0};
	request.origin = (struct qmt_str){0};
	node_ask_host(ctx, state, answer->peer.peer_id, &node_session_create_type, &request, created_there, &op->op,
		answer->peer.name);
}

static const struct node_agent *agent_find(const struct node_manager_config *config, struct qmt_str id)
{
	for (size_t i = 0; i < config->agent_count; i++)
		if (qmt_str_is(id, config->agents[i].id) ||
			(id.len == 0 && (config->agent_count == 1 || strcmp(config->agents[i].id, "default") == 0)))
			return &config->agents[i];
	return NULL;
}

static void create_here(struct qmt_ctx *ctx, struct node_manager *self, struct create_op *op)
{
	const struct node_session_create *request = op->op.body;
	const struct node_agent *agent = agent_find(self->config, request->agent);
	struct store_session session = {.name = request->name, .owner = request->origin, .cwd = request->cwd};
	char text[256];

	if (!agent) {
		if (self->config->agent_count == 0)
			qmt_text(text, sizeof text, "node \"%s\" has no [agent] in its configuration", self->config->node_name);
		else if (request->agent.len)
			qmt_text(text, sizeof text, "no agent \"%.*s\" on node \"%s\"", QMT_STR_ARG(request->agent),
				self->config->node_name);
		else
			qmt_text(
				text, sizeof text, "node \"%s\" has several agents: say which by --agent", self->config->node_name);
		node_refuse(ctx, &op->op, QMT_FAIL_NOT_FOUND, "no_agent", text);
		return;
	}
	if (request->origin.len && request->cwd.len) {
		node_refuse(ctx, &op->op, QMT_FAIL_NOT_ALLOWED, "not_allowed",
			"a folder cannot be chosen from another node: leave out --cwd");
		return;
	}
	if (request->cwd.len && request->cwd.p[0] != '/') {
		node_refuse(ctx, &op->op, QMT_FAIL_BAD_REQUEST, "bad_request", "cwd must be an absolute path");
		return;
	}
	session.agent = qmt_str(agent->id);
	if (session.cwd.len == 0)
		session.cwd = qmt_str(agent->cwd);
	session.remote_tools = request->origin.len && self->config->grants.allow_remote_tools;
	node_ask_store(ctx, &store_session_create_type,
		&(struct store_session_create){
			.request = request->request, .session = session, .owner_max = self->config->max_remote_sessions},
		node_created, op);
}

void node_on_session_create(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct node_manager *self = state;
	const struct node_session_create *request = body;
	struct create_op *op = node_op_new(ctx, self, body, sizeof *op);
	struct qmt_ref peers;

	if (!op)
		return;
	op->op.origin = request->origin;
	if (request->request.len == 0) {
		node_refuse(ctx, &op->op, QMT_FAIL_BAD_REQUEST, "bad_request", "the request id is missing");
		return;
	}
	if (request->on.len == 0 || qmt_str_is(request->on, self->config->node_name) ||
		qmt_str_is(request->on, self->config->peer_id)) {
		create_here(ctx, self, op);
		return;
	}
	if (request->origin.len) {
		node_refuse(ctx, &op->op, QMT_FAIL_NOT_ALLOWED, "not_allowed",
			"a node makes sessions on a third one only for its owner");
		return;
	}
	if (qmt_lookup(ctx, "peers", &peers) != 0) {
		node_refuse(ctx, &op->op, QMT_FAIL_NO_ROUTE, "no_route", "this node has no mesh: set [mesh] enabled = true");
		return;
	}
	qmt_ask_or(ctx, peers, &peers_resolve_type, &(struct peers_resolve){.name = request->on}, NODE_LOCAL_MS,
		create_on_peer, op);
}

/* ---- list -------------------------------------------------------------------------------------------------------- */

static void listed(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct node_op *op = op_;
	const struct store_sessions *answer = result->body;

	if (result->fail) {
		node_relay(ctx, state, result, op);
		return;
	}
	(void)QMT_REPLY(ctx, op->token, node_session_list_reply,
		.sessions = {answer->sessions.items, answer->sessions.count}, .total = answer->total);
	node_op_end(ctx, op);
}

void node_on_session_list(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_session_list *request = body;
	struct node_op *op = node_op_new(ctx, state, body, sizeof *op);

	if (op)
		read_store(ctx, &store_session_list_type,
			&(struct store_session_list){.offset = request->offset,
				.limit = request->limit,
				.owner = request->origin,
				.archived = request->archived},
			listed, op);
}

/* ---- show -------------------------------------------------------------------------------------------------------- */

static void shown(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct session_op *op = op_;
	const struct store_page *page = result->body;

	if (result->fail) {
		node_relay(ctx, state, result, op);
		return;
	}
	(void)QMT_REPLY(ctx, op->find.op.token, node_session_show_reply, .session = op->session,
		.messages = {page->messages.items, page->messages.count}, .total = page->total, .next = page->next,
		.last = page->last);
	node_op_end(ctx, op);
}

static void show_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *find_, const struct store_session *session)
{
	struct session_op *op = (struct session_op *)find_;
	const struct node_session_show *request = op->find.op.body;

	(void)self;
	if (!node_keep_session(ctx, op, session))
		return;
	read_store(ctx, &store_history_type,
		&(struct store_history){
			.session = session->id, .from = request->from, .limit = request->limit, .events = request->events},
		shown, op);
}

static void show_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	struct node_session_show request = *(const struct node_session_show *)op->op.body;

	request.session = session->id;
	request.origin = (struct qmt_str){0};
	node_ask_host(ctx, self, session->peer, &node_session_show_type, &request, node_relay, &op->op, session->peer_name);
}

void node_on_session_show(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_session_show *request = body;

	node_find(ctx, state, body, sizeof(struct session_op), request->session, request->origin, show_here, show_there);
}

/* ---- resume ------------------------------------------------------------------------------------------------------ */

static void resume_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	struct qmt_ref ref;

	if (node_in_memory(ctx, self, session, &op->op, &ref) != 0)
		return;
	(void)QMT_REPLY(ctx, op->op.token, node_session_reply, .session = *session);
	node_op_end(ctx, op);
}

static void resume_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	node_ask_host(ctx, self, session->peer, &node_session_resume_type,
		&(struct node_session_resume){.session = session->id}, node_relay, &op->op, session->peer_name);
}

void node_on_session_resume(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_session_resume *request = body;

	node_find(ctx, state, body, sizeof(struct find_op), request->session, request->origin, resume_here, resume_there);
}

/* ---- prompt and cancel ------------------------------------------------------------------------------------------- */

static void prompted(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct node_op *op = op_;
	const struct session_prompted *answer = result->body;

	if (result->fail) {
		if (once_more(ctx, state, op_, result->fail))
			return;
		node_relay(ctx, state, result, op);
		return;
	}
	(void)QMT_REPLY(ctx, op->token, node_prompted, .session = answer->session, .turn = answer->turn,
		.duplicate = answer->duplicate, .state = answer->state);
	node_op_end(ctx, op);
}

struct prompt_op {
	struct find_op find;
	struct node_watch watch; /* of a session on a peer */
};

static void prompted_there(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct prompt_op *op = op_;
	const struct node_prompt *request = op->find.op.body;
	const struct node_prompted *answer = result->body;

	if (!result->fail && qmt_str_is(answer->state, "running") && qmt_ref_is_set(request->watcher) &&
		qmt_ref_is_set(op->watch.link)) {
		op->watch.watcher = request->watcher;
		op->watch.turn = answer->turn;
		node_watch_add(ctx, state, &op->watch);
	}
	node_relay(ctx, state, result, op);
}

static void prompt_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	const struct node_prompt *request = op->op.body;
	struct qmt_ref ref;

	if (self->draining) {
		node_refuse(ctx, &op->op, QMT_FAIL_STOPPING, NULL, "the node is being stopped");
		return;
	}
	if (node_in_memory(ctx, self, session, &op->op, &ref) != 0)
		return;
	op->asked = ref;
	qmt_ask_or(ctx, ref, &session_prompt_type,
		&(struct session_prompt){.request = request->request,
			.text = request->text,
			.watcher = request->watcher,
			.shown = request->shown,
			.author = request->origin},
		NODE_LOCAL_MS, prompted, op);
}

static void prompt_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	struct node_prompt request = *(const struct node_prompt *)op->op.body;
	struct node_watch *watch = &((struct prompt_op *)op)->watch;
	char link[80];

	request.session = session->id;
	request.origin = (struct qmt_str){0};
	/* the link that the request leaves by; a later one knows nothing of its watcher */
	snprintf(link, sizeof link, "peer/%.*s", QMT_STR_ARG(session->peer));
	if (qmt_lookup(ctx, link, &watch->link) != 0)
		watch->link = (struct qmt_ref){0};
	snprintf(watch->session, sizeof watch->session, "%.*s", QMT_STR_ARG(session->id));
	snprintf(watch->peer_name, sizeof watch->peer_name, "%.*s", QMT_STR_ARG(session->peer_name));
	node_ask_host(ctx, self, session->peer, &node_prompt_type, &request, prompted_there, &op->op, session->peer_name);
}

void node_on_prompt(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_prompt *request = body;

	if (request->request.len == 0 || request->text.len == 0) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, "bad_request", 0, "%s",
			request->text.len ? "the request id is missing" : "the prompt is empty");
		return;
	}
	node_find(ctx, state, body, sizeof(struct prompt_op), request->session, request->origin, prompt_here, prompt_there);
}

static void cancelled(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *op_)
{
	struct node_op *op = op_;
	const struct session_cancelled *answer = result->body;

	if (result->fail == QMT_FAIL_STOPPING || result->fail == QMT_FAIL_NOT_RUNNING) { /* it has no turn, so it left */
		(void)QMT_REPLY(ctx, op->token, node_cancelled, .was_running = false);
		node_op_end(ctx, op);
		return;
	}
	if (result->fail) {
		node_relay(ctx, state, result, op);
		return;
	}
	(void)QMT_REPLY(ctx, op->token, node_cancelled, .was_running = answer->was_running);
	node_op_end(ctx, op);
}

static void cancel_here(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	const struct node_cancel *request = op->op.body;
	char name[80];
	struct qmt_ref ref;

	(void)self;
	snprintf(name, sizeof name, "session/%.*s", QMT_STR_ARG(session->id));
	if (qmt_lookup(ctx, name, &ref) != 0) { /* not in memory: nothing runs */
		(void)QMT_REPLY(ctx, op->op.token, node_cancelled, .was_running = false);
		node_op_end(ctx, op);
		return;
	}
	qmt_ask_or(ctx, ref, &session_cancel_type,
		&(struct session_cancel){.turn = request->turn, .request = request->request}, NODE_LOCAL_MS, cancelled, op);
}

static void cancel_there(
	struct qmt_ctx *ctx, struct node_manager *self, struct find_op *op, const struct store_session *session)
{
	const struct node_cancel *request = op->op.body;

	node_ask_host(ctx, self, session->peer, &node_cancel_type,
		&(struct node_cancel){.session = session->id, .turn = request->turn, .request = request->request}, node_relay,
		&op->op, session->peer_name);
}

void node_on_cancel(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct node_cancel *request = body;

	node_find(ctx, state, body, sizeof(struct find_op), request->session, request->origin, cancel_here, cancel_there);
}
