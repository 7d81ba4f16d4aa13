/* actors/provider/peer_request.c - see peer_request.h. */
#include "peer_request.h"

#include <errno.h>

#include "openai_request.h"
#include "proto/contract/contract.h"
#include "proto/json.h"
#include "proto/utf8.h"

static const char *const known[] = {
#define KNOWN(name, doc) #name,
	PROVIDER_PEER_PARAMETERS(KNOWN)
#undef KNOWN
};
static const char known_text[] =
#define KNOWN(name, doc) " " #name
	PROVIDER_PEER_PARAMETERS(KNOWN);
#undef KNOWN

/* The next name of the list; empty: the end. */
static struct qmt_str next_name(const char **at)
{
	*at += strspn(*at, " ,");
	struct qmt_str name = qmt_strn(*at, (uint32_t)strcspn(*at, " ,"));
	*at += name.len;
	return name;
}

static bool is_allowed(struct qmt_str name, const char *further)
{
	struct qmt_str more;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (qmt_str_is(name, known[i]))
			return true;
	while ((more = next_name(&further)).len)
		if (qmt_str_eq(name, more))
			return true;
	return false;
}

static int refuse_parameter(struct qmt_str name, struct qmt_err *err)
{
	const char *reserved = openai_reserved_why(name);
	int len = (int)(name.len < 60 ? name.len : 60);

	if (reserved)
		return qmt_err_set(
			err, PEER_REQUEST_E_REFUSED, "parameters.%.*s: cannot be set by a peer: %s", len, name.p, reserved);
	return qmt_err_set(err, PEER_REQUEST_E_REFUSED,
		"parameters.%.*s: may not be set by a peer; these may:%s (for more: peer_parameters of the provider there)",
		len, name.p ? name.p : "", known_text);
}

static bool begins(struct qmt_str text, const char *with)
{
	size_t len = strlen(with);

	return text.len >= len && memcmp(text.p, with, len) == 0;
}

static bool is_model_name(struct qmt_str model)
{
	if (model.len && strchr("/~.", model.p[0]))
		return false;
	for (uint32_t i = 0; i < model.len; i++) {
		struct qmt_str rest = qmt_strn(model.p + i, model.len - i);

		if (utf8_control(rest) || model.p[i] == '\\' || begins(rest, "://") || begins(rest, "/../"))
			return false;
	}
	return true;
}

int peer_request_check(struct qmt_str model, struct qmt_str text, const char *further, struct qmt_err *err)
{
	QMT_CLEANUP(json_cleanup) struct json *parameters = NULL;
	struct qmt_str name;
	const struct json *value;
	void *iter = NULL;
	int ret;

	if (!is_model_name(model))
		return qmt_err_set(
			err, PEER_REQUEST_E_REFUSED, "model: a peer names a model by its name, not by a path or an address");
	if (text.len == 0)
		return 0;
	ret = json_parse(text, &parameters, NULL);
	if (ret == -ENOMEM)
		return ret;
	if (ret < 0 || !json_is_object(parameters))
		return 0;
	while (json_next(parameters, &iter, &name, &value))
		if (openai_reserved_why(name) || !is_allowed(name, further))
			return refuse_parameter(name, err);
	return 0;
}

int peer_parameters_check(const char *further, struct qmt_err *err)
{
	struct qmt_str name;

	while ((name = next_name(&further)).len) {
		const char *reserved = openai_reserved_why(name);

		if (reserved)
			return qmt_err_set(
				err, -EINVAL, "peer_parameters: %.*s: cannot be allowed: %s", QMT_STR_ARG(name), reserved);
	}
	return 0;
}
