/* actors/provider/openai_info.c - see openai_info.h. */
#include "openai_info.h"

#include "openai_error.h"
#include "openai_stream.h"
#include "transfer.h"

struct openai_info {
	/* const after new */
	const struct provider_config *config;
	struct curl_loop *loop;
	char *url;
	/* owner: the actor */
	uint32_t active;           /* as of the last ask */
	struct transfer *transfer; /* under way */
	struct openai_hints hints;
	struct qmt_buf body;
	struct qmt_token waiters[INFO_WAITERS_MAX];
	uint32_t waiter_count;
	/* what the upstream said last */
	bool known;
	uint64_t known_ms;
	struct json *json; /* the names point into it */
	struct qmt_str *models;
	uint32_t model_count;
	char error[OPENAI_ERROR_TEXT];
};

struct openai_info *openai_info_new(
	const struct provider_config *config, struct curl_loop *loop, const char *models_url)
{
	struct openai_info *info = calloc(1, sizeof *info);

	if (!info)
		return NULL;
	info->config = config;
	info->loop = loop;
	info->url = strdup(models_url);
	if (!info->url) {
		free(info);
		return NULL;
	}
	return info;
}

static void reply(struct qmt_ctx *ctx, const struct openai_info *info, struct qmt_token token, const char *error)
{
	bool fine = !error[0];

	(void)QMT_REPLY(ctx, token, provider_info_reply, .name = qmt_str(info->config->name),
		.kind = qmt_str(info->config->kind), .models = {fine ? info->models : NULL, fine ? info->model_count : 0},
		.active = info->active, .error = qmt_str(error));
}

static void forget(struct openai_info *info)
{
	free(info->models);
	info->models = NULL;
	info->model_count = 0;
	info->json = json_free(info->json);
	info->error[0] = '\0';
	info->known = false;
}

struct openai_info *openai_info_free(struct qmt_ctx *ctx, struct openai_info *info)
{
	if (!info)
		return NULL;
	transfer_free(ctx, info->transfer);
	for (uint32_t i = 0; i < info->waiter_count; i++)
		reply(ctx, info, info->waiters[i], "the provider stops");
	forget(info);
	qmt_buf_free(&info->body);
	free(info->url);
	free(info);
	return NULL;
}

/* The upstream has answered, or failed: info->error. */
static void settle(struct qmt_ctx *ctx, struct openai_info *info)
{
	info->known = true;
	info->known_ms = qmt_now_ms(ctx);
	for (uint32_t i = 0; i < info->waiter_count; i++)
		reply(ctx, info, info->waiters[i], info->error);
	info->waiter_count = 0;
}

static void on_header(void *arg, struct qmt_str line)
{
	struct openai_info *info = arg;

	openai_hints_header(&info->hints, line);
}

static int on_head(struct qmt_ctx *ctx, void *arg)
{
	(void)ctx;
	(void)arg;
	return 0;
}

static int on_body(struct qmt_ctx *ctx, void *arg, struct qmt_str bytes)
{
	struct openai_info *info = arg;

	(void)ctx;
	qmt_buf_append(&info->body, bytes.p, bytes.len);
	return info->body.failed;
}

static void on_done(struct qmt_ctx *ctx, void *arg, const struct transfer_end *end)
{
	struct openai_info *info = arg;
	struct openai_error error = {.text = ""};
	const char *secret = info->config->api_key;
	unsigned status = transfer_status(info->transfer);
	int ret = 0;

	if (end->outcome != TRANSFER_COMPLETE)
		openai_error_set(
			&error, provider_error_transport, "%s", end->text[0] ? end->text : "out of memory on this node");
	else if (status != 200)
		openai_error_http(status, qmt_buf_view(&info->body), &info->hints, qmt_wall_ms(ctx), secret, &error);
	else
		ret = openai_models(qmt_buf_view(&info->body), info->config->max_models, secret, &info->json, &info->models,
			&info->model_count, &error);
	if (ret < 0)
		openai_error_set(&error, provider_error_server_error, "out of memory on this node");
	memcpy(info->error, error.text, sizeof info->error);
	if (error.text[0])
		QMT_LOG(ctx, QMT_WARN, "provider.models", "provider", info->config->name, "reason", error.text, "url",
			info->url, "detail", end->detail);
	qmt_buf_free(&info->body);
	info->transfer = transfer_free(ctx, info->transfer);
	settle(ctx, info);
}

static void ask_upstream(struct qmt_ctx *ctx, struct openai_info *info)
{
	static const struct transfer_events events = {
		.head = on_head, .body = on_body, .header = on_header, .done = on_done};
	const struct provider_config *config = info->config;
	struct transfer_options options = {
		.url = info->url,
		.accept = "application/json",
		.bearer = config->api_key,
		.proxy = config->proxy,
		.ca_file = config->ca_file,
		.connect_ms = config->connect_timeout_ms,
		.total_ms = config->info_timeout_ms,
		.total_name = "info_timeout_ms",
		.header_bytes = config->header_limit_bytes,
		.body_bytes = config->response_limit_bytes,
	};

	forget(info);
	info->hints = (struct openai_hints){.date = ""};
	info->transfer = transfer_new(ctx, info->loop, &options, NULL, &events, info);
	if (!info->transfer) {
		snprintf(info->error, sizeof info->error, "out of memory on this node");
		settle(ctx, info);
	}
}

void openai_info_ask(struct qmt_ctx *ctx, struct openai_info *info, uint32_t active)
{
	info->active = active;
	if (info->known && !info->transfer && qmt_now_ms(ctx) - info->known_ms < info->config->models_cache_ms) {
		reply(ctx, info, qmt_token(ctx), info->error);
		return;
	}
	if (info->waiter_count == INFO_WAITERS_MAX) {
		reply(ctx, info, qmt_token(ctx), "too many ask for the models at once");
		return;
	}
	info->waiters[info->waiter_count++] = qmt_token(ctx);
	if (!info->transfer)
		ask_upstream(ctx, info);
}
