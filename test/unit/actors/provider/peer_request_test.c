/* A peer sets only parameters of the table, or those that the owner added; addresses, keys and headers nobody may add;
 * a model is a name. Each refusal names what it is about. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "actors/provider/peer_request.h"
#include "actors/provider/provider.h"

static void expect(const char *model, const char *parameters, const char *further, const char *refusal)
{
	struct qmt_err err = {0};
	int ret = peer_request_check(qmt_str(model), qmt_str(parameters), further, &err);

	if (ret != (refusal ? PEER_REQUEST_E_REFUSED : 0) || (refusal && !strstr(err.text, refusal)))
		fail_msg("%s %s (%s): %d %s", model, parameters, further, ret, err.text);
}

static void parameters(void **state)
{
	static const char *const refused[] = {"base_url", "api_base", "api_key", "extra_headers", "headers", "proxy",
		"model", "messages", "tools", "stream", "stream_options", "n", "logprobs", "Temperature", "temperature "};
	char text[200], named[100];

	(void)state;
#define ALLOWED(name, doc) expect("m", "{\"" #name "\":1}", "", NULL);
	PROVIDER_PEER_PARAMETERS(ALLOWED)
#undef ALLOWED
	expect("m", "", "", NULL);
	expect("m", "{}", "", NULL);
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		(void)snprintf(text, sizeof(text), "{\"temperature\":1,\"%s\":{\"a\":[1]}}", refused[i]);
		(void)snprintf(named, sizeof(named), "parameters.%s:", refused[i]);
		expect("m", text, "", named);
	}
	expect("m", "[1]", "", NULL); /* no object: the provider refuses it */
	expect("m", "{", "", NULL);
	expect("m", "{\"seed\\u0000x\":1}", "", NULL);
}

static void the_owner_adds(void **state)
{
	struct provider_config config;
	struct qmt_err err = {0};

	(void)state;
	expect("m", "{\"logprobs\":1}", "cache_prompt, logprobs", NULL);
	expect("m", "{\"cache_prompt\":1}", "cache_prompt,logprobs", NULL);
	expect("m", "{\"cache\":1}", "cache_prompt,logprobs", "parameters.cache:");
	expect("m", "{\"base_url\":1}", "base_url", "the address stands in the provider's config only");
	provider_config_init(&config, "p", "builtin");
	config.peer_parameters = "logprobs, api_key";
	assert_true(provider_config_check(&config, &err) < 0);
	assert_non_null(strstr(err.text, "peer_parameters: api_key"));
	config.peer_parameters = "logprobs";
	assert_int_equal(provider_config_check(&config, &err), 0);
}

static void models(void **state)
{
	static const char *const good[] = {"", "m", "gpt-4.1-mini", "org/model:Q4_K_M", "a..b"},
							 *const bad[] = {"/etc/passwd", "./m", "../m", "~/m", "a/../b", "http://h/m", "file://m",
								 "a\\b", "a\nb"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		expect(good[i], "", "", NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect(bad[i], "", "", "model: ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters), cmocka_unit_test(the_owner_adds), cmocka_unit_test(models)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
