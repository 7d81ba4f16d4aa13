"""What `make install` puts down works without the source tree; the runtime is a library of its own."""
import glob, os, re, shutil, subprocess

import pytest

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


CXX_MODULE = r"""
#include <qmt/test_kit.h>

static const qmt_actor_desc desc = {QMT_ABI, "quiet"};

int main()
{
	qmt_kit_options options = {};
	qmt_kit *kit = qmt_kit_open({"here", 1}, &options);
	qmt_ref ref = QMT_KIT_SPAWN(kit, &desc, nullptr);
	return QMT_KIT_EXPECT_ALIVE(kit, ref) && !QMT_KIT_CLOSE(kit) ? 0 : 1;
}
"""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
	"""Where it is installed, by `make install` with the build that is tested."""
	top = str(tmp_path_factory.mktemp("usr"))
	run(["make", "-C", qmt.ROOT, "install", "PREFIX=" + top, "B=" + qmt.BUILD])
	return top


def package(prefix, *args):
	"""What pkg-config says, and nothing else."""
	env = dict(os.environ, PKG_CONFIG_PATH=prefix + "/lib/pkgconfig")
	return run(["pkg-config", *args, "qmt-actor"], env=env).split()


def sanitized():
	"""A library with a sanitizer in it asks the same of the program: that is not what these tests are about."""
	return subprocess.run(["nm", os.path.join(qmt.BUILD, "libqmt-actor.a")], capture_output=True, text=True).stdout.find("__asan_") >= 0


def test_install(house, prefix):
	"""`make install PREFIX=...` installs programs, library, headers, man pages and examples; uninstall takes them away."""
	assert run([os.path.join(prefix, "bin", "qmtd"), "--version"]).startswith("qmtd ")
	assert run([os.path.join(prefix, "bin", "qmt"), "version"]).startswith("qmt ")
	for path in ("share/man/man1/qmt.1", "share/man/man1/qmtd.1", "share/doc/qmt/examples/planner.toml", "include/qmt/actor.h"):
		assert os.path.exists(os.path.join(prefix, path)), path
	copy = os.path.join(house.top, "usr")
	shutil.copytree(prefix, copy, symlinks=True)
	run(["make", "-C", qmt.ROOT, "uninstall", "PREFIX=" + copy])
	left = [name for _, _, names in os.walk(copy) for name in names]
	assert not left


def test_pkg_config(house, prefix):
	"""A program outside the tree builds with what pkg-config says and nothing else, shared and static, and runs."""
	source, program = os.path.join(house.top, "counter.c"), os.path.join(house.top, "counter")
	with open(source, "w") as out:
		out.write(MODULE)
	assert package(prefix, "--variable=prefix") == [prefix] and package(prefix, "--modversion")
	if sanitized():
		pytest.skip("built with a sanitizer")
	run(["cc", "-Wall", "-Wextra", "-Werror", source, "-o", program, *package(prefix, "--cflags", "--libs")])
	assert "libqmt-actor.so.0" in run(["objdump", "-p", program])
	assert run([program], env=dict(os.environ, LD_LIBRARY_PATH=prefix + "/lib")) == "10\n"
	run(["cc", "-static", source, "-o", program, *package(prefix, "--static", "--cflags", "--libs")])
	assert run([program]) == "10\n"
	source = os.path.join(house.top, "quiet.cpp")
	with open(source, "w") as out:
		out.write(CXX_MODULE)
	run(["c++", "-std=c++17", source, "-o", program, *package(prefix, "--cflags", "--libs")])
	run([program], env=dict(os.environ, LD_LIBRARY_PATH=prefix + "/lib"))


def test_headers_compile_alone(prefix):
	"""Each installed header compiles on its own as C11 and as C++17, pedantic; each header that exports something is installed."""
	top = prefix + "/include/"
	headers = sorted(os.path.relpath(path, top) for path in glob.glob(top + "qmt/**/*.h", recursive=True))
	for path in glob.glob(os.path.join(qmt.ROOT, "runtime/*.h")):
		with open(path) as file:
			assert "QMT_EXPORT" not in file.read() or "qmt/" + os.path.basename(path) in headers, path
	for header in headers:
		text = "#include <%s>\n#include <%s>\n" % (header, header)
		for compiler in (["cc", "-x", "c", "-std=c11"], ["c++", "-x", "c++", "-std=c++17"]):
			run([*compiler, "-pedantic", "-Wall", "-Wextra", "-Werror", "-I" + top, "-fsyntax-only", "-"], input=text.encode())


def test_exported_symbols(prefix):
	"""libqmt-actor.so exports qmt_... and nothing else, and none that begin with qmt__."""
	lines = run(["nm", "-D", "--defined-only", prefix + "/lib/libqmt-actor.so"]).splitlines()
	names = [line.split()[-1] for line in lines]
	assert "qmt_spawn" in names and "qmt_kit_open" in names
	assert [name for name in names if not re.match(r"qmt_[a-z]", name)] == []


def test_runtime_alone(house):
	"""The runtime builds with no other folder of the project."""
	shutil.copytree(os.path.join(qmt.ROOT, "runtime"), os.path.join(house.top, "runtime"))
	with open(os.path.join(house.top, "counter.c"), "w") as out:
		out.write(MODULE.replace("<qmt/system.h>", '"runtime/system.h"'))
	run(["sh", "-c", "cc -O1 -D_GNU_SOURCE -include runtime/base/poison.h -I. counter.c runtime/*.c runtime/base/*.c -o counter -lm -pthread"],
		cwd=house.top)
	assert run([os.path.join(house.top, "counter")]) == "10\n"
