"""qmt-lab itself: what it says, what it cleans up, and that it runs where it is installed."""
import glob, json, os, re, signal, subprocess, tempfile

import pytest
import qmt

LAB = os.path.join(qmt.BUILD, "qmt-lab")
NODE = """
-- one.toml --
[agent]
id = "coder"
provider = "llm"
cwd = "one"
[[providers]]
name = "llm"
kind = "builtin"
"""


@pytest.fixture
def lab(tmp_path):
	"""Writes a scenario and runs qmt-lab on it, in a TMPDIR of its own that must be empty afterwards."""
	base = tempfile.mkdtemp(prefix="lab-test-")

	def run(text, *args, name="t.lab", command="run", **more):
		path = tmp_path / name
		path.write_text(text)
		env = dict(os.environ, TMPDIR=base)
		return subprocess.run([LAB, command, *args, str(path)], capture_output=True, text=True, timeout=60, env=env, **more)

	run.base, run.path = base, tmp_path
	yield run
	assert not [name for name in os.listdir(base) if name.startswith("qmt-lab.")], "a folder was left"
	os.rmdir(base)


def processes_with(text):
	found = []
	for path in glob.glob("/proc/[0-9]*/cmdline"):
		try:
			if text.encode() in open(path, "rb").read():
				found.append(int(path.split("/")[2]))
		except OSError:
			pass
	return found


def test_failure_says_all(lab):
	"""A failure prints the sentence, the step, what was expected and what came, the nodes' logs on one time line, and the command that repeats it."""
	done = lab("# It holds.\nnode one\nstart one\nwait one event store.open\nrun one echo hello\nstdout is goodbye\n" + NODE, "--seed", "42")
	assert done.returncode == 1
	for part in ("It holds.", "t.lab:6: stdout is goodbye", "expected: stdout is goodbye", "got:      hello", "store.open", "step 5: run one echo hello",
			"--seed 42 --backend loopback"):
		assert part in done.stdout, (part, done.stdout)


def test_wrong_exit_shows_the_output(lab):
	"""A command that ends otherwise than wanted shows what it wrote; one that is late says that it still runs."""
	done = lab("# It holds.\nhost h\nrun h sh -c 'echo out; echo err >&2; exit 3'\n")
	assert "it to end with 0" in done.stdout and "it ended with 3" in done.stdout and "out" in done.stdout and "err" in done.stdout
	done = lab("# It holds.\nhost h\nrun within=100ms h sh -c 'echo begun; read x </dev/tty || exec tail -f /dev/null'\n")
	assert "it to end in time" in done.stdout and "it still runs" in done.stdout


def test_check_says_all_at_once(lab):
	"""Every fault of a scenario is said at once, with file, line and the way out; nothing is run."""
	text = "node a\nstrat a\nrun nobody true\nwait a log hsa x\ncut a\nrepeat 0 {\nset x 1\nloss a a 5%\n"
	done = lab(text, command="check")
	assert done.returncode == 2 and not done.stdout
	for part in (":1: the first line is missing", ":1: the config is missing", ":2: no such step: strat", ":3: no such host: nobody",
			":4: no such test: hsa", ":5: usage: cut", ":6: \"0\" is not a number from 1 on", ":6: a block that no } closes",
			":7: \"x\" is no variable", "backend netns"):
		assert part in done.stderr, (part, done.stderr)
	assert lab("# It holds.\nhost h\nrun h true\n", command="check").stdout.endswith("t.lab: ok\n")


def test_usage(lab):
	"""Wrong arguments are refused with a reason and exit 2."""
	for args in (["run"], ["run", "--jobs", "0", "x.lab"], ["run", "--nonsense", "x.lab"], ["run", "x.txt"], ["run", "/no/such.lab"],
			["walk"], ["help", "walk"],
			["run", "--backend", "moon", "x.lab"], ["run", "--seed"]):
		done = subprocess.run([LAB, *args], capture_output=True, text=True)
		assert done.returncode == 2 and done.stderr, args
	assert "wait" in subprocess.run([LAB, "help", "steps"], capture_output=True, text=True).stdout


def test_json_and_tap(lab):
	"""--json gives one object a scenario, --tap is TAP with the report as comments; a skip gives its reason."""
	good, bad = "# Good.\nhost h\nrun h true\n", "# Bad.\nhost h\nrun h false\n"
	one = json.loads(lab(good, "--json").stdout)
	assert one["verdict"] == "passed" and one["sentence"] == "Good." and one["backend"] == "loopback"
	two = json.loads(lab(bad, "--json").stdout)
	assert two["verdict"] == "failed" and "it to end with 0" in two["text"]
	tap = lab(bad, "--tap").stdout.splitlines()
	assert tap[0] == "TAP version 13" and tap[1] == "1..1" and tap[2].startswith("not ok 1 - ") and any(line.startswith("# ") for line in tap[3:])


def test_seed_repeats(lab):
	"""The same seed draws the same numbers."""
	text = "# It holds.\nhost h\nseeds 3 {\nrandom A 1 1000000\nrun h sh -c 'echo $A >>drawn'\n}\nrun h cat drawn\nstdout is nothing\n"
	outs = [lab(text, "--seed", seed).stdout.split("got:")[1].split("time line")[0] for seed in ("7", "7", "8")]
	assert outs[0] == outs[1] != outs[2]


def test_variables_reach_programs(lab):
	"""Variables are the environment of programs; nothing else of the user's is; a missing one fails the step."""
	done = lab("# It holds.\nhost h\nset A 'x $B \"y\"'\nrun h sh -c 'echo \"$A|$SECRET|${#LAB_FOLDER}\"'\nstdout matches '^x [$]B \"y\"[|][|][1-9]'\n")
	assert done.returncode == 0, done.stdout
	done = lab("# It holds.\nhost h\nrun h echo ${NOT_SET}\n")
	assert "the variable ${NOT_SET} to be set" in done.stdout


def test_control_flow(lab):
	"""parallel runs branches side by side, for and repeat their blocks, captured output goes on as a variable."""
	done = lab("""# It holds.
host h
host k
run h mkfifo f
parallel {
	run h sh -c 'echo through >f'
	do {
		run k cat f
		stdout save GOT
	}
}
for X in a 1..3 {
	repeat 2 {
		run h sh -c 'echo ${X}${ROUND} >>all'
	}
}
run h sh -c 'tr "\\n" " " <all; echo ${GOT}'
stdout is "a1 a2 11 12 21 22 31 32 through"
run h echo '{"a":[{"n":"x","v":1},{"n":"y","v":2}]}'
stdout json .a[n=y].v == 2 and .a# == 2 and .a[-1].n == y and .b missing
stdout save V json .a[0].v
file all exists
file nothing missing
run h test ${V} = 1
""")
	assert done.returncode == 0, done.stdout


def wait_for(condition, what):
	deadline = qmt.time.monotonic() + 30
	event = qmt.threading.Event()
	while not condition():
		assert qmt.time.monotonic() < deadline, what
		event.wait(0.01)


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL", "player"])
def test_nothing_is_left(lab, how):
	"""After Ctrl-C, a kill of qmt-lab, and a crash of the process that plays: no process, no folder is left."""
	mark = "left-%d-%s" % (os.getpid(), how)
	(lab.path / "t.lab").write_text("# It holds.\nnode one\nstart one\n"
		"spawn bg one sh -c 'sh -c \"tail -f /dev/null %s\" & echo up; wait'\nwait bg stdout has up\n"
		"run within=50s one tail -f /dev/null %s\n" % (mark, mark) + NODE)
	process = subprocess.Popen([LAB, "run", str(lab.path / "t.lab")], stdout=subprocess.PIPE, text=True, start_new_session=True,
		env=dict(os.environ, TMPDIR=lab.base))
	wait_for(lambda: len(processes_with(mark)) >= 3, "the scenario runs")
	[folder] = [name for name in os.listdir(lab.base)]
	assert processes_with(folder), "qmtd runs"
	if how == "SIGINT":
		os.killpg(process.pid, signal.SIGINT)
		assert process.wait(30) == 130
	elif how == "SIGKILL":
		process.kill()
		process.wait(30)
	else:
		[keeper] = [int(p) for p in open("/proc/%d/task/%d/children" % (process.pid, process.pid)).read().split()]
		[player] = [int(p) for p in open("/proc/%d/task/%d/children" % (keeper, keeper)).read().split()]
		os.kill(player, signal.SIGKILL)
		assert process.wait(30) == 1
		assert "signal 9" in process.stdout.read()
	wait_for(lambda: not processes_with(mark) and not processes_with(folder), "no process is left")
	wait_for(lambda: not os.listdir(lab.base), "no folder is left")
	process.stdout.close()


def test_killed_keeper_is_swept(lab):
	"""A folder that a killed keeper left is removed by the next run."""
	(lab.path / "t.lab").write_text("# It holds.\nhost h\nrun within=50s h tail -f /dev/null\n")
	process = subprocess.Popen([LAB, "run", str(lab.path / "t.lab")], stdout=subprocess.PIPE, env=dict(os.environ, TMPDIR=lab.base))
	wait_for(lambda: os.listdir(lab.base), "the scenario runs")
	wait_for(lambda: open("/proc/%d/task/%d/children" % (process.pid, process.pid)).read().split(), "its keeper")
	[keeper] = [int(p) for p in open("/proc/%d/task/%d/children" % (process.pid, process.pid)).read().split()]
	os.kill(keeper, signal.SIGKILL)
	process.communicate()
	assert process.returncode == 1 and os.listdir(lab.base)
	assert lab("# It holds.\nhost h\nrun h true\n", name="u.lab").returncode == 0


def test_sweep_spares_the_living(lab):
	"""A run takes away what a dead keeper left, never the folder of one that lives and has not locked it yet."""
	gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
	for pid in (str(os.getpid()), gone):
		os.mkdir(os.path.join(lab.base, "qmt-lab.%s.abcdef" % pid))
		open(os.path.join(lab.base, "qmt-lab.%s.abcdef" % pid, ".lock"), "w").close()
	assert lab("# It holds.\nhost h\nrun h true\n").returncode == 0
	[left] = os.listdir(lab.base)
	assert left == "qmt-lab.%d.abcdef" % os.getpid()
	subprocess.run(["rm", "-rf", os.path.join(lab.base, left)])


def test_two_runs_do_not_meet(lab):
	"""The same scenario side by side with itself: each run has its own addresses."""
	text = "# It holds.\nnode one\nstart one\nrun one qmt status --json\nstdout json .peer_id == ${ONE_PEER}\nstop one\n" + NODE
	for name in ("a.lab", "b.lab", "c.lab"):
		(lab.path / name).write_text(text)
	done = subprocess.run([LAB, "run", "--jobs", "6", *[str(lab.path / n) for n in ("a.lab", "b.lab", "c.lab", "a.lab")]], capture_output=True, text=True,
		timeout=60, env=dict(os.environ, TMPDIR=lab.base))
	assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout


def test_keep(lab):
	"""--keep leaves the folder and says where it is."""
	done = lab("# It holds.\nhost h\nrun h sh -c 'echo x >made'\n", "--keep")
	[folder] = [name for name in os.listdir(lab.base)]
	assert done.returncode == 0 and open(os.path.join(lab.base, folder, "made")).read() == "x\n"
	subprocess.run(["rm", "-rf", os.path.join(lab.base, folder)])


def test_planted(lab):
	"""--planted turns the verdict round: it passes when the planted fault was found, and fails where none is planted or found."""
	assert lab("# It holds.\nhost h\nplanted run h false\nrun h true\n", "--planted").returncode == 0
	done = lab("# It holds.\nhost h\nrun h true\n", "--planted")
	assert done.returncode == 1 and "no fault is planted" in done.stdout
	done = lab("# It holds.\nhost h\nplanted run h true\nsound run h false\n", "--planted")
	assert done.returncode == 1 and "was not found" in done.stdout
	assert lab("# It holds.\nhost h\nrun h cat f\nstdout is good\n-- f --\ngood\n-- f planted --\nbad\n", "--planted").returncode == 0


def test_skip_says_why(lab):
	"""What the machine cannot do is skipped with the reason, and is no failure; --backend chooses."""
	prefix = lab.path / "bin"
	prefix.mkdir()
	for program in ("qmt-lab", "qmtd", "qmt"):
		os.symlink(os.path.join(qmt.BUILD, program), prefix / program)
	subprocess.run(["cp", LAB, str(prefix / "alone")], check=True)  # without libqmt-lab-clock.so beside it
	(lab.path / "t.lab").write_text("# It holds.\nneeds clock\nhost h\nclock h +1h\n")
	done = subprocess.run([str(prefix / "alone"), "run", str(lab.path / "t.lab")], capture_output=True, text=True, env=dict(os.environ, TMPDIR=lab.base))
	assert done.returncode == 0 and "1 skipped" in done.stdout and "libqmt-lab-clock.so" in done.stdout, done.stdout
	assert lab("# It holds.\nbackend netns\nhost h\nrun h true\n", "--backend", "loopback").returncode == 2


def test_the_tree_has_scenarios_that_can_fail():
	"""test/mesh has at least 30 scenarios; each can be read and has a planted fault (which `make planted` shows to be found)."""
	files = sorted(glob.glob(os.path.join(qmt.ROOT, "test/mesh/*.lab")))
	assert len(files) >= 30
	assert subprocess.run([LAB, "check", *files], capture_output=True, text=True).returncode == 0
	for path in files:
		text = open(path).read()
		assert re.search(r"^\s*(planted|sound) |^-- \S+ planted --$", text, re.M), path
		assert re.match(r"# \S.*\.\n", text), path  # the sentence that holds


def test_first_scenario_of_the_guide(lab):
	"""The first scenario that docs/guide/lab.md shows runs as it stands there."""
	text = open(os.path.join(qmt.ROOT, "docs/guide/lab.md")).read()
	[first] = [block for block in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S) if "-- gpu.toml --" in block]
	done = lab(first)
	assert done.returncode == 0, done.stdout + done.stderr


def test_installed_outside_the_tree(lab):
	"""An installed qmt-lab runs a scenario that lies outside the tree, with the installed qmtd and qmt."""
	prefix = lab.path / "prefix"
	subprocess.run(["make", "-s", "-C", qmt.ROOT, "install", "PREFIX=%s" % prefix], check=True, capture_output=True, timeout=300)
	(lab.path / "own.lab").write_text("# It holds.\nneeds clock\nnode one\nclock one +1h\nstart one\n"
		"run one qmt status --json\nstdout json .peer_id == ${ONE_PEER}\n"
		"run one sh -c 'command -v qmt'\nstdout is %s/bin/qmt\nstop one\n" % prefix + NODE)
	done = subprocess.run([str(prefix / "bin/qmt-lab"), "run", "own.lab"], cwd=lab.path, capture_output=True, text=True, timeout=60,
		env={"PATH": "/usr/bin:/bin", "TMPDIR": lab.base})
	assert done.returncode == 0, done.stdout + done.stderr
