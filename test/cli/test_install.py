"""What `make install` puts down works without the source tree; the runtime is a library of its own."""
import os, shutil, subprocess

import qmt

MODULE = r"""
#include <qmt/system.h>
#include <stdio.h>

#define COUNTER_ADD(F, T) F(T, I64, amount, 1, "How much to add.")
#define COUNTER_TOTAL(F, T) F(T, I64, total, 1, "The sum so far.")
#define COUNTER_MESSAGES(M) \
	M(counter, add, COUNTER_ADD, "anyone", "Adds; answered with total.") \
	M(counter, total, COUNTER_TOTAL, "reply", "Answer to add.")
QMT_DECLARE_PROTOCOL(counter, COUNTER_MESSAGES)
QMT_DEFINE_PROTOCOL(counter, COUNTER_MESSAGES, "Counts.")

struct counter {
	int64_t total;
};

static void on_add(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct counter *self = state;
	const struct counter_add *add = body;

	self->total += add->amount;
	QMT_REPLY(ctx, qmt_token(ctx), counter_total, .total = self->total);
}

static qmt_handler *const handlers[counter_message_count] = {[counter_add_id] = on_add};
static const struct qmt_actor_desc counter_desc = {
	.abi = QMT_ABI, .name = "counter", .state_size = sizeof(struct counter), .accepts = {{&counter_protocol, handlers}}};

int main(void)
{
	struct qmt_err err = {0};
	struct qmt_ref ref;
	struct qmt_result result = {0};
	struct qmt_system *system = qmt_system_start(&(struct qmt_system_options){.workers = 2}, &err);
	struct qmt_ctx *ctx = qmt_outside_open(system);

	if (qmt_spawn(ctx, &counter_desc, NULL, &ref, &err))
		return 1;
	for (int i = 1; i <= 4; i++)
		if (qmt_outside_ask(ctx, ref, &counter_add_type, &(struct counter_add){.amount = i}, 1000, &result))
			return 2;
	printf("%d\n", (int)((const struct counter_total *)result.body)->total);
	qmt_outside_close(ctx);
	if (qmt_system_stop(system, 1000, &err))
		return 3;
	qmt_system_free(system);
	return 0;
}
"""


def run(argv, **more):
	done = subprocess.run(argv, capture_output=True, timeout=240, **more)
	assert done.returncode == 0, (argv, done.stdout.decode()[-2000:], done.stderr.decode()[-2000:])
	return done.stdout.decode()


def test_install(house):
	"""`make install PREFIX=...` installs programs, library, headers, man pages and examples; a module outside the tree builds and runs with them."""
	prefix = os.path.join(house.top, "usr")
	run(["make", "-C", qmt.ROOT, "install", "PREFIX=" + prefix])
	assert run([os.path.join(prefix, "bin", "qmtd"), "--version"]).startswith("qmtd ")
	assert run([os.path.join(prefix, "bin", "qmt"), "version"]).startswith("qmt ")
	for path in ("share/man/man1/qmt.1", "share/man/man1/qmtd.1", "share/doc/qmt/examples/planner.toml", "include/qmt/actor.h"):
		assert os.path.exists(os.path.join(prefix, path)), path
	source = os.path.join(house.top, "counter.c")
	with open(source, "w") as out:
		out.write(MODULE)
	for link in (["-L" + prefix + "/lib", "-lqmt-actor", "-Wl,-rpath," + prefix + "/lib"], [prefix + "/lib/libqmt-actor.a"]):
		program = os.path.join(house.top, "counter")
		run(["cc", "-Wall", "-Wextra", "-Werror", "-I" + prefix + "/include", source, "-o", program, *link, "-lm", "-pthread"])
		assert run([program]) == "10\n"
	headers = [name for name in sorted(os.listdir(prefix + "/include/qmt")) if name.endswith(".h")]
	assert {"actor.h", "pool.h", "pubsub.h", "broker.h", "interval.h", "stream.h", "states.h"} <= set(headers)
	for header in headers:  # each alone, as C and as C++
		for compiler in (["cc", "-std=c11", "-x", "c"], ["g++", "-std=c++17", "-x", "c++"]):
			run([*compiler, "-Wall", "-Wextra", "-Werror", "-I" + prefix + "/include", "-fsyntax-only", "-"],
				input=f"#include <qmt/{header}>\n".encode())
	run(["make", "-C", qmt.ROOT, "uninstall", "PREFIX=" + prefix])
	assert not os.path.exists(os.path.join(prefix, "bin", "qmt"))


def test_runtime_alone(house):
	"""The runtime builds with no other folder of the project."""
	shutil.copytree(os.path.join(qmt.ROOT, "runtime"), os.path.join(house.top, "runtime"))
	with open(os.path.join(house.top, "counter.c"), "w") as out:
		out.write(MODULE.replace("<qmt/system.h>", '"runtime/system.h"'))
	run(["sh", "-c", "cc -O1 -D_GNU_SOURCE -include runtime/base/poison.h -I. counter.c runtime/*.c runtime/base/*.c -o counter -lm -pthread"],
		cwd=house.top)
	assert run([os.path.join(house.top, "counter")]) == "10\n"
