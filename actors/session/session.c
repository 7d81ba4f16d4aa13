/* actors/session/session.c - the module: configuration, start and stop. What a session does is in turn.c and its
 * neighbours. */
#include "actors/session/turn.h"

#include <errno.h>

/* ---- configuration ----------------------------------------------------------------------------------------------- */

static int allow_tools(struct session_config *config, const struct session_agent *agent, struct qmt_err *err)
{
	for (const char *const *name = agent->tools; name && *name; name++) {
		size_t i = 0;
		while (i < tool_count() && strcmp(tool_at(i)->name, *name) != 0)
			i++;
		if (i == tool_count()) {
			QMT_CLEANUP(qmt_buf_free) struct qmt_buf known = {0};
			for (size_t k = 0; k < tool_count(); k++)
				qmt_buf_printf(&known, "%s%s", k ? ", " : "", tool_at(k)->name);
			return qmt_err_set(
				err, -EINVAL, "tools: \"%s\" does not exist (there are %s)", *name, known.data ? known.data : "none");
		}
		config->tools |= UINT64_C(1) << i;
	}
	return 0;
}

struct session_config *session_config_free(struct session_config *config)
{
	if (!config)
		return NULL;
	free(config->id);
	free(config->agent);
	free(config->cwd);
	free(config->owner);
	free(config->system);
	free(config->parameters);
	free(config);
	return NULL;
}

struct session_config *session_config_new(
	const struct store_session *session, const struct session_agent *agent, struct qmt_err *err)
{
	struct session_config *config = calloc(1, sizeof(*config));
	if (!config) {
		qmt_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	config->limits = agent->limits;
	config->refuses_tools = session->owner.len && !(session->remote_tools && agent->allow_remote_tools);
	config->id = qmt_str_dup(session->id);
	config->agent = qmt_str_dup(session->agent);
	config->cwd = qmt_str_dup(session->cwd);
	config->owner = qmt_str_dup(session->owner);
	config->system = qmt_str_dup(qmt_str(agent->system));
	config->parameters = qmt_str_dup(qmt_str(agent->parameters));
	int code = 0;
	if (!config->id || !config->agent || !config->cwd || !config->owner || !config->system || !config->parameters)
		code = qmt_err_set(err, -ENOMEM, "out of memory");
	else if (!session->id.len)
		code = qmt_err_set(err, -EINVAL, "a session without an id");
	else if (config->cwd[0] && config->cwd[0] != '/') /* none: tools will say so */
		code = qmt_err_set(err, -EINVAL, "cwd \"%s\": must be an absolute path", config->cwd);
	if (!code && (code = session_limits_check(&config->limits, err)) != 0)
		qmt_err_prefix(err, "[session]");
	if (!code)
		code = allow_tools(config, agent, err);
	return code ? session_config_free(config) : config;
}

/* ---- the actor --------------------------------------------------------------------------------------------------- */

/* What the model is told of its tools; the schemas are this array's own. */
static int make_offers(struct session *s)
{
	s->offers = calloc(tool_count(), sizeof(*s->offers));
	if (!s->offers)
		return -ENOMEM;
	for (size_t i = 0; i < tool_count(); i++) {
		if (!(s->config->tools >> i & 1) || s->config->refuses_tools)
			continue;
		struct qmt_buf schema = {0};
		tool_schema(tool_at(i), &schema);
		s->offers[s->offer_count++] = (struct chat_tool){.name = qmt_str(tool_at(i)->name),
			.description = qmt_str(tool_at(i)->description),
			.parameters = qmt_buf_view(&schema)};
		if (schema.failed)
			return -ENOMEM;
	}
	return 0;
}

static void free_offers(struct session *s)
{
	for (uint32_t i = 0; i < s->offer_count; i++)
		qmt_buf_free(&(struct qmt_buf){.data = (char *)(uintptr_t)s->offers[i].parameters.p});
	free(s->offers);
	s->offers = NULL;
	s->offer_count = 0;
}

static int start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct session *s = state;
	s->config = config;
	turn_await(ctx, s);
	return make_offers(s);
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct session *s = state;
	model_close(ctx, s, true);
	model_fini(s);
	turn_drop(ctx, s);
	/* Their children are killed with this incarnation, and nobody will call back. */
	while (s->children) {
		struct tool_call *call = s->children;
		s->children = call->next;
		tool_call_free(call);
	}
	free_offers(s);
}

static void down(struct qmt_ctx *ctx, void *state, struct qmt_ref who, int reason)
{
	model_on_down(ctx, state, who, reason);
	turn_on_down(ctx, state, who);
}

static qmt_handler *const session_handlers[session_message_count] = {
	[session_prompt_id] = turn_on_prompt,
	[session_cancel_id] = turn_on_cancel,
	[session_interrupt_id] = turn_on_interrupt,
};
static qmt_handler *const stream_handlers[provider_message_count] = {
	[provider_chunk_id] = model_on_chunk,
	[provider_finish_id] = model_on_finish,
};

const struct qmt_actor_desc session_desc = {
	.abi = QMT_ABI,
	.name = "session",
	.doc = "A conversation: runs turns with a model and tools, keeps them in the store.",
	.state_size = sizeof(struct session),
	.accepts = {{&session_protocol, session_handlers}, {&provider_protocol, stream_handlers}},
	.start = start,
	.stop = stop,
	.down = down,
	.undelivered = model_on_undelivered,
};
