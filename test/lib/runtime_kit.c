/* test/lib/runtime_kit.c - see runtime_kit.h. */
#include "runtime_kit.h"

#include <errno.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/os.h"

QMT_DEFINE_RECORD(kit_entry, KIT_ENTRY, "An entry.")
QMT_DEFINE_RECORD(kit_point, KIT_POINT, "A point.")
QMT_DEFINE_PROTOCOL(kit, KIT_MESSAGES, "For tests.")
QMT_DEFINE_PROTOCOL(kit2, KIT2_MESSAGES, "For tests.")

void kit_latch_add(struct kit_latch *latch, uint64_t more)
{
	pthread_mutex_lock(&latch->lock);
	latch->count += more;
	pthread_cond_broadcast(&latch->changed);
	pthread_mutex_unlock(&latch->lock);
}

void kit_latch_reset(struct kit_latch *latch)
{
	pthread_mutex_lock(&latch->lock);
	latch->count = 0;
	pthread_mutex_unlock(&latch->lock);
}

uint64_t kit_latch_count(struct kit_latch *latch)
{
	pthread_mutex_lock(&latch->lock);
	uint64_t count = latch->count;
	pthread_mutex_unlock(&latch->lock);
	return count;
}

void kit_latch_wait(struct kit_latch *latch, uint64_t count)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += KIT_PATIENCE_MS / 1000;
	pthread_mutex_lock(&latch->lock);
	while (latch->count < count) {
		if (pthread_cond_timedwait(&latch->changed, &latch->lock, &until) == ETIMEDOUT) {
			fprintf(stderr, "waited for %llu events, %llu came\n", (unsigned long long)count,
				(unsigned long long)latch->count);
			abort();
		}
	}
	pthread_mutex_unlock(&latch->lock);
}

static void start(struct kit *kit, struct qmt_system_options *opt)
{
	struct qmt_err err;

	kit->log_file = tmpfile();
	kit_check(kit->log_file);
	kit->log = qmt_log_new(fileno(kit->log_file), "debug", qmt_os_real_wall_ms, NULL, &err);
	kit_check(kit->log);
	opt->log = kit->log;
	kit->sys = qmt_system_start(opt, &err);
	if (!kit->sys) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	kit->out = qmt_outside_open(kit->sys);
	kit_check(kit->out);
}

void kit_start(struct kit *kit, uint32_t workers)
{
	start(kit, &(struct qmt_system_options){.workers = workers});
}

void kit_start_seeded(struct kit *kit, uint64_t seed)
{
	start(kit, &(struct qmt_system_options){.seeded = true, .seed = seed, .start_wall_ms = 1000000});
}

void kit_stop(struct kit *kit)
{
	struct qmt_err err;

	qmt_outside_close(kit->out);
	if (qmt_system_stop(kit->sys, KIT_PATIENCE_MS, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	qmt_system_free(kit->sys);
	qmt_log_free(kit->log);
	fclose(kit->log_file);
}

bool kit_logged(struct kit *kit, const char *text)
{
	static char log[1 << 16];
	ssize_t len = pread(fileno(kit->log_file), log, sizeof log - 1, 0);

	log[len > 0 ? len : 0] = '\0';
	return strstr(log, text) != NULL;
}

struct qmt_ref kit_spawn(struct kit *kit, const struct qmt_actor_desc *desc, const struct qmt_spawn *opt)
{
	struct qmt_err err;
	struct qmt_ref ref;

	if (qmt_spawn(kit->out, desc, opt, &ref, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	return ref;
}

int kit_ask(struct kit *kit, struct qmt_ref to, uint64_t value, uint64_t timeout_ms, uint64_t *ret_value)
{
	struct qmt_result result;
	const struct kit_poke poke = {.value = value};

	if (qmt_outside_ask(kit->out, to, &kit_poke_type, &poke, timeout_ms ? timeout_ms : KIT_PATIENCE_MS, &result))
		return result.fail;
	kit_check(result.type == &kit_answer_type);
	if (ret_value)
		*ret_value = ((const struct kit_answer *)result.body)->value;
	return 0;
}

void kit_answer(struct qmt_ctx *ctx, uint64_t value)
{
	kit_check(QMT_REPLY(ctx, qmt_token(ctx), kit_answer, .value = value) == 0);
}

void kit_wait_gone(struct kit *kit, struct qmt_ref who)
{
	uint64_t until = qmt_now_ms(kit->out) + KIT_PATIENCE_MS;

	while (qmt_is_running(who)) {
		kit_check(qmt_now_ms(kit->out) < until);
		sched_yield();
	}
}
