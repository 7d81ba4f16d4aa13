"""docs/guide/write-an-actor.md and docs/examples/actors do what they say."""
import os, re, subprocess

import pytest

import qmt

GUIDE = os.path.join(qmt.ROOT, "docs/guide/write-an-actor.md")
MARK = "---- block %d"

# What each example prints; lines in any order where the nodes are free to choose it.
EXAMPLES = {
	"counter": "5050\n",
	"rate_limiter": "2 at once, 4 after 50 ms each, 1 refused\n",
	"kv_store": "values come, go and expire; no allocation that fails loses one\n",
	"worker_pool": "sum 2701, 1 lost, 1 restarted, 4 workers\n",
	"chat": "".join("%s hears %s: hello\n" % (a, b) for a in ("ann", "bob", "eve") for b in ("ann", "bob", "eve")),
}


def blocks():
	"""(language, text) of each fenced block, in order."""
	with open(GUIDE) as file:
		return re.findall(r"^```(\w+)\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)


def sanitized():
	return "__asan_" in subprocess.run(["nm", os.path.join(qmt.BUILD, "libqmt-actor.a")], capture_output=True, text=True).stdout


def test_guide(house):
	"""The files of the guide are written, its commands run in one shell in an empty folder, and print what it says they print."""
	if sanitized():
		pytest.skip("built with a sanitizer, which the guide's programs are not")
	script, expected, files = "set -e\n", [], 0
	for language, text in blocks():
		if language == "c":
			name = re.match(r"/\* ([\w.]+)", text).group(1)
			with open(os.path.join(house.top, name), "w") as out:
				out.write(text)
			files += 1
		elif language == "sh":
			expected.append("")
			script += "echo '%s'\n%s" % (MARK % (len(expected) - 1), text.replace("$QMT/build", qmt.BUILD))
		else:
			assert language == "text" and not expected[-1]
			expected[-1] = text
	assert files >= 7 and len([one for one in expected if one]) >= 4
	env = dict(os.environ, HOME=os.path.join(house.top, "home"), QMT=qmt.ROOT, MAKEFLAGS=" -- B=" + qmt.BUILD)
	done = subprocess.run(["sh", "-c", script], cwd=house.top, env=env, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
	assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
	came = re.split("^" + MARK.replace("%d", r"\d+") + "\n", done.stdout, flags=re.MULTILINE)[1:]
	assert came == expected
	assert done.stderr == ""


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_example(name):
	"""Each example is built by `make` and prints what it should."""
	done = subprocess.run([os.path.join(qmt.BUILD, "examples", name)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
	assert done.returncode == 0 and done.stderr == "", done.stderr
	assert sorted(done.stdout.splitlines()) == sorted(EXAMPLES[name].splitlines())


def test_every_example_is_run():
	"""There is no example that this file does not know."""
	folder = os.path.join(qmt.ROOT, "docs/examples/actors")
	assert sorted(name[:-2] for name in os.listdir(folder) if name.endswith(".c")) == sorted(EXAMPLES)
