/* A name that the resolver does not come back from holds up its own request only. */
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

#include "test/lib/openai_fixture.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int inside;
static bool released;

/* In the place of libc's: a resolver that answers when the test says so. */
__attribute__((visibility("default"))) int getaddrinfo(
	const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
	(void)node;
	(void)service;
	(void)hints;
	*ret_list = NULL;
	pthread_mutex_lock(&lock);
	inside++;
	pthread_cond_broadcast(&changed);
	while (!released)
		pthread_cond_wait(&changed, &lock);
	inside--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return EAI_AGAIN;
}

static void await_inside(int want)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_MS / 1000;
	pthread_mutex_lock(&lock);
	while (inside != want && rc == 0)
		rc = pthread_cond_timedwait(&changed, &lock, &until);
	pthread_mutex_unlock(&lock);
	assert_int_equal(rc, 0);
}

/* A request that is cancelled while its host is looked up is gone; the provider serves others at once. */
static void test_cancel_while_resolving(void **state)
{
	struct openai_fixture f;
	const struct probe_answer *answer;

	(void)state;
	openai_fixture_open(&f);
	f.config.base_url = "http://slow.test/v1";
	openai_fixture_start(&f);
	probe_chat(f.probe, "r", "hello");
	await_inside(1);
	probe_cancel(f.probe, "r");
	assert_non_null(probe_ended(f.probe, "r", WAIT_MS));
	probe_send(f.other, &provider_complete_type,
		&(struct provider_complete){.request = qmt_str("bad"), .parameters = qmt_str("no object")});
	answer = probe_ended(f.other, "bad", WAIT_MS);
	pthread_mutex_lock(&lock);
	released = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	assert_non_null(answer);
	assert_string_equal(answer->kind, "invalid_request");
	await_inside(0);
	openai_fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cancel_while_resolving)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
