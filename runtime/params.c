/* runtime/params.c - parameters of a module: text into the image of a state.
 *
 * The image is made once, at spawn, and copied into the state at each incarnation; the texts of STR parameters lie
 * behind it.
 */
#include "internal.h"

#include <errno.h>

static const char *given(const struct qmt_param_value *values, const char *name)
{
	for (; values && values->name; values++)
		if (strcmp(values->name, name) == 0)
			return values->value;
	return NULL;
}

static int parse_number(const struct qmt_param *param, const char *text, uint64_t *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return *text < '0' || *text > '9' || *end || errno || *ret_number < param->min ||
		(param->max && *ret_number > param->max);
}

static int fill_number(const struct qmt_actor_desc *desc, const struct qmt_param *param, const char *text, char *image,
	struct qmt_err *err)
{
	uint64_t most = param->max ? param->max : param->kind == QMT_PARAM_U32 ? UINT32_MAX : UINT64_MAX, number;

	if (parse_number(param, text, &number) || number > most)
		return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: parameter %s: \"%s\" is no number from %llu to %llu",
			desc->name, param->name, text, (unsigned long long)param->min, (unsigned long long)most);
	if (param->kind == QMT_PARAM_U32) {
		uint32_t narrow = (uint32_t)number;

		memcpy(image + param->offset, &narrow, sizeof narrow);
	} else {
		memcpy(image + param->offset, &number, sizeof number);
	}
	return 0;
}

static int fill(const struct qmt_actor_desc *desc, const struct qmt_param *param, const char *text, char *image,
	char **texts, struct qmt_err *err)
{
	switch (param->kind) {
	case QMT_PARAM_BOOL: {
		bool value = strcmp(text, "true") == 0;

		if (!value && strcmp(text, "false") != 0)
			return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: parameter %s: \"%s\" is neither true nor false",
				desc->name, param->name, text);
		memcpy(image + param->offset, &value, sizeof value);
		return 0;
	}
	case QMT_PARAM_STR: {
		size_t size = strlen(text) + 1;
		const char *copy = memcpy(*texts, text, size);

		memcpy(image + param->offset, &copy, sizeof copy);
		*texts += size;
		return 0;
	}
	default:
		return fill_number(desc, param, text, image, err);
	}
}

/* The table itself: what the author of a module may have got wrong. */
static int check_params(const struct qmt_actor_desc *desc, struct qmt_err *err)
{
	static const uint32_t sizes[] = {[QMT_PARAM_BOOL] = sizeof(bool), [QMT_PARAM_U32] = sizeof(uint32_t),
		[QMT_PARAM_U64] = sizeof(uint64_t), [QMT_PARAM_STR] = sizeof(char *)};

	for (const struct qmt_param *param = desc->params; param && param->name; param++) {
		if (param->kind >= sizeof sizes / sizeof *sizes)
			return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: parameter %s: kind %u is no enum qmt_param_kind",
				desc->name, param->name, param->kind);
		if (param->offset > desc->state_size || desc->state_size - param->offset < sizes[param->kind])
			return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: parameter %s lies outside of the state", desc->name,
				param->name);
		for (const struct qmt_param *before = desc->params; before != param; before++)
			if (strcmp(before->name, param->name) == 0)
				return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: two parameters are called %s", desc->name,
					param->name);
	}
	return 0;
}

int qmt__params_image(const struct qmt_actor_desc *desc, const struct qmt_param_value *values, void **ret_image,
	struct qmt_err *err)
{
	size_t texts_size = 0;
	char *image, *texts;
	int wrong = check_params(desc, err);

	if (wrong)
		return wrong;
	for (const struct qmt_param_value *v = values; v && v->name; v++) {
		const struct qmt_param *param = desc->params;

		for (const struct qmt_param_value *before = values; before != v; before++)
			if (strcmp(before->name, v->name) == 0)
				return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: parameter %s is given twice", desc->name, v->name);
		if (!v->value)
			return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: parameter %s is given without a value", desc->name,
				v->name);

		while (param && param->name && strcmp(param->name, v->name) != 0)
			param++;
		if (!param || !param->name)
			return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: no parameter is called %s", desc->name, v->name);
	}
	if (!desc->params) {
		*ret_image = NULL;
		return 0;
	}
	for (const struct qmt_param *param = desc->params; param->name; param++) {
		const char *text = given(values, param->name);

		if (!text)
			text = param->dflt;
		if (!text)
			return qmt_err_set(err, QMT_FAIL_BAD_REQUEST, "%s: parameter %s must be given (%s)", desc->name,
				param->name, param->doc ? param->doc : "");
		texts_size += strlen(text) + 1;
	}
	image = calloc(1, desc->state_size + texts_size);
	if (!image)
		return qmt_err_set(err, -ENOMEM, "%s: out of memory", desc->name);
	texts = image + desc->state_size;
	for (const struct qmt_param *param = desc->params; param->name; param++) {
		const char *text = given(values, param->name);
		int failed = fill(desc, param, text ? text : param->dflt, image, &texts, err);

		if (failed) {
			free(image);
			return failed;
		}
	}
	*ret_image = image;
	return 0;
}
