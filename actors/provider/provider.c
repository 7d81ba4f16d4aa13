/* actors/provider/provider.c - the parameter table of providers, and its checks. */
#include "provider.h"

#include <errno.h>

#include "openai_url.h"
#include "peer_request.h"
#include "proto/json.h"

#define ERROR_DEFINE(name, retry, doc) const char provider_error_##name[] = #name;
PROVIDER_ERRORS(ERROR_DEFINE)

enum {
	OPENAI = 1,
	BUILTIN = 2,
	SCRIPT = 4,
};

#define PARAM(type, param, dflt, min, max, kinds, doc) \
	{#param, QMT_PARAM_##type, (uint32_t)offsetof(struct provider_config, param), dflt, min, max, doc},
const struct qmt_param provider_params[] = {PROVIDER_PARAMS(PARAM){NULL, 0, 0, NULL, 0, 0, NULL}};

static const struct {
	const char *name;
	unsigned bit;
	const struct qmt_actor_desc *desc;
} kinds_known[] = {
	{"openai", OPENAI, &provider_openai_desc},
	{"builtin", BUILTIN, &provider_builtin_desc},
	{"script", SCRIPT, &provider_script_desc},
};
enum { KINDS_KNOWN = sizeof kinds_known / sizeof *kinds_known };

static int kind_find(const char *kind)
{
	for (int i = 0; kind && i < KINDS_KNOWN; i++)
		if (strcmp(kinds_known[i].name, kind) == 0)
			return i;
	return -1;
}

const struct qmt_actor_desc *provider_desc(const char *kind)
{
	int i = kind_find(kind);

	return i < 0 ? NULL : kinds_known[i].desc;
}

bool provider_parameters_fit(struct qmt_str parameters)
{
	struct json *json = NULL;
	bool fit = parameters.len == 0 || (json_parse(parameters, &json, NULL) == 0 && json_is_object(json));

	json_free(json);
	return fit;
}

static void *param_place(void *config, const struct qmt_param *param)
{
	return (char *)config + param->offset;
}

void provider_config_init(struct provider_config *config, const char *name, const char *kind)
{
	*config = (struct provider_config){.name = name, .kind = kind};
	for (const struct qmt_param *param = provider_params; param->name; param++) {
		if (param->kind == QMT_PARAM_STR)
			*(const char **)param_place(config, param) = param->dflt;
		else if (param->kind == QMT_PARAM_BOOL)
			*(bool *)param_place(config, param) = strcmp(param->dflt, "true") == 0;
		else
			*(uint32_t *)param_place(config, param) = (uint32_t)strtoul(param->dflt, NULL, 10);
	}
}

static int check_ranges(const struct provider_config *config, struct qmt_err *err)
{
	for (const struct qmt_param *param = provider_params; param->name; param++) {
		const void *place = (const char *)config + param->offset;

		if (param->kind == QMT_PARAM_STR && !*(const char *const *)place)
			return qmt_err_set(err, -EINVAL, "%s: missing", param->name);
		if (param->kind != QMT_PARAM_U32)
			continue;

		uint32_t value = *(const uint32_t *)place;

		if (value < param->min || (param->max > 0 && value > param->max))
			return qmt_err_set(err, -EINVAL, "%s: %u is not within %llu to %llu", param->name, value,
				(unsigned long long)param->min, (unsigned long long)(param->max > 0 ? param->max : UINT32_MAX));
	}
	return 0;
}

/* A line break in a header would let a key write headers of its own. */
static bool is_header_text(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

int provider_config_check(const struct provider_config *config, struct qmt_err *err)
{
	int at = kind_find(config->kind);
	char *url = NULL;
	int ret;

	if (!config->name || !config->name[0])
		return qmt_err_set(err, -EINVAL, "name: missing");
	if (at < 0)
		return qmt_err_set(
			err, -EINVAL, "kind: \"%s\" is not known here (openai, builtin, script)", config->kind ? config->kind : "");
	ret = check_ranges(config, err);
	if (ret == 0)
		ret = peer_parameters_check(config->peer_parameters, err);
	if (ret < 0)
		return ret;
	if (kinds_known[at].bit == SCRIPT && !config->script[0])
		return qmt_err_set(err, -EINVAL, "script: missing; a script provider needs the file with its turns");
	if (kinds_known[at].bit != OPENAI)
		return 0;
	if (!config->base_url[0])
		return qmt_err_set(err, -EINVAL,
			"base_url: missing; an openai provider needs the address of its API, as http://127.0.0.1:8080/v1");
	if (strncasecmp(config->base_url, "http://", 7) != 0 && strncasecmp(config->base_url, "https://", 8) != 0)
		return qmt_err_set(err, -EINVAL, "base_url: must begin with http:// or https://");
	ret = openai_url(config->base_url, "models", &url, err);
	free(url);
	if (ret < 0)
		return ret;
	if (!is_header_text(config->api_key))
		return qmt_err_set(err, -EINVAL, "api_key: holds a line break or another control character");
	return 0;
}
