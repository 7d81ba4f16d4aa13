/* test/lib/openai_fixture.c - see openai_fixture.h. */
#include "openai_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Config and server; the test may change f->config before start_fixture. */
void openai_fixture_open(struct openai_fixture *f)
{
	*f = (struct openai_fixture){0};
	f->stub = http_stub_start();
	assert_non_null(f->stub);
	provider_config_init(&f->config, "llama", "openai");
	snprintf(f->base_url, sizeof f->base_url, "http://127.0.0.1:%u/v1/", http_stub_port(f->stub));
	f->config.base_url = f->base_url;
	f->config.api_key = "sk-test-key";
	f->config.model = "default-model";
	f->config.drain_timeout_ms = 5000;
}

void openai_fixture_start(struct openai_fixture *f)
{
	struct qmt_err err = {0};

	f->system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	assert_non_null(f->system);
	f->outside = qmt_outside_open(f->system);
	assert_int_equal(qmt_spawn(f->outside, &provider_openai_desc,
						 &(struct qmt_spawn){.name = "provider/llama", .config = &f->config, .restart = QMT_PERMANENT},
						 &f->provider, &err),
		0);
	f->probe = probe_new(f->outside, f->provider);
	f->other = probe_new(f->outside, f->provider);
}

void openai_fixture_close(struct openai_fixture *f)
{
	struct qmt_err err = {0};

	qmt_outside_close(f->outside);
	if (qmt_system_stop(f->system, WAIT_MS, &err) != 0)
		fail_msg("left: %s", err.text);
	qmt_system_free(f->system);
	http_stub_stop(f->stub);
	probe_free(f->probe);
	probe_free(f->other);
}

const struct probe_answer *openai_fixture_ended(struct openai_fixture *f, const char *id)
{
	const struct probe_answer *answer = probe_ended(f->probe, id, WAIT_MS);

	if (!answer)
		fail_msg("request %s has no end", id);
	assert_false(answer->out_of_order);
	assert_int_equal(answer->finishes, answer->accepted ? 1 : 0);
	return answer;
}

void openai_fixture_failed(struct openai_fixture *f, const char *id, bool accepted, const char *kind, const char *error)
{
	const struct probe_answer *answer = openai_fixture_ended(f, id);

	if (answer->accepted != accepted || strcmp(answer->kind, kind) != 0 || !strstr(answer->error, error))
		fail_msg("request %s: accepted %d, kind \"%s\", text \"%s\"; want %d, \"%s\", \"%s\"", id, answer->accepted,
			answer->kind, answer->error, accepted, kind, error);
	assert_int_equal(answer->fail, QMT_FAIL_FAILED);
	if (accepted)
		assert_string_equal(answer->reason, "error");
}

/* One chat against one script, with the config as it is. */
const struct probe_answer *openai_fixture_chat(struct openai_fixture *f, const struct http_step *script)
{
	openai_fixture_start(f);
	http_stub_script(f->stub, script);
	probe_chat(f->probe, "r", "hello");
	return openai_fixture_ended(f, "r");
}
