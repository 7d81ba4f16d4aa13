#!/usr/bin/env python3
"""Runs the parts of the test suite and prints what they come to.

  run.py --build DIR [PART...]     parts: unit port sim mesh cli e2e fuzz (all when none is named), a folder of unit or port
                                   (unit/runtime), or one of its files: unit/runtime/mailbox, mesh/two-nodes.lab,
                                   cli/test_guide.py, cli/test_guide.py::NAME
  run.py --check [PART...]         says whether there are such, and runs nothing

Each cmocka program is one process with a deadline; cli and e2e are pytest; mesh are the scenarios of qmt-lab;
sim are QMT_SIM_SEEDS (200) runs of whole nodes, from seed QMT_SIM_FIRST (1) on. A part prints its seconds. With CI=true a skipped
test fails unless test/skips.txt names it (a line `name  reason`). The last line is `N passed, N failed, N skipped`."""
import argparse, concurrent.futures, difflib, json, os, re, signal, subprocess, sys, tempfile, time
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARTS = ["unit", "port", "sim", "mesh", "cli", "e2e", "fuzz"]
DEADLINE_S = int(os.environ.get("QMT_TEST_DEADLINE_S", "240"))


class Tally:
	def __init__(self):
		self.passed, self.failed, self.skipped = [], [], []

	def add(self, other):
		self.passed += other.passed
		self.failed += other.failed
		self.skipped += other.skipped


def run(argv, env=None, deadline=DEADLINE_S):
	"""Runs argv in its own process group; on the deadline the group is killed."""
	with tempfile.TemporaryFile() as out:
		process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, env=env, start_new_session=True)
		try:
			code = process.wait(deadline)
		except subprocess.TimeoutExpired:
			os.killpg(process.pid, signal.SIGKILL)
			process.wait()
			code = "no end after %d s" % deadline
		out.seek(0)
		return code, out.read().decode("utf-8", "replace")


def place_of(part):
	"""The file or folder below test/ that a part names, relative to it; None: there is none."""
	kind, name = part.split("/")[0], part.split("::")[0].rstrip("/")
	ends = {"unit": ["", ".c", "_test.c"], "port": ["", ".c", "_test.c"], "sim": [], "fuzz": []}.get(kind, [""])
	for end in [""] if name == kind else ends:
		path = os.path.join(ROOT, "test", name + end)
		if os.path.isdir(path) and (name == kind or kind in ("unit", "port")):
			return name
		if os.path.isfile(path) and path.endswith({"unit": "_test.c", "port": "_test.c", "mesh": ".lab"}.get(kind, ".py")):
			return name + end
	return None


def why_not(part):
	"""What is wrong with a part; None: nothing."""
	kind = part.split("/")[0]
	if kind not in PARTS:
		return "no such part: %s (there are: %s)" % (part, " ".join(PARTS))
	if "::" in part and kind not in ("cli", "e2e"):
		return "%s: only files of cli and e2e have parts" % part
	if place_of(part):
		return None
	if kind in ("sim", "fuzz"):
		return "%s: %s runs as a whole" % (part, kind)
	there = [os.path.relpath(os.path.join(folder, f), os.path.join(ROOT, "test"))
		for folder, _, files in os.walk(os.path.join(ROOT, "test", kind)) for f in files if f.endswith(("_test.c", ".lab", ".py"))]
	near = difflib.get_close_matches(part, there, 3)
	return "no such test: %s (%s)" % (part, "perhaps: " + " ".join(near) if near else "there is nothing of that name in test/" + kind)


def programs(build, part):
	top = os.path.join(ROOT, "test", place_of(part))
	found = [top] if os.path.isfile(top) else []
	for folder, _, files in os.walk(top):
		found += [os.path.join(folder, f) for f in files if f.endswith("_test.c")]
	return [(os.path.relpath(f, ROOT)[:-2], os.path.join(ROOT, build, os.path.relpath(f, ROOT)[:-2])) for f in sorted(found)]


def cmocka(job):
	name, path = job
	tally = Tally()
	env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
	env.setdefault("ASAN_OPTIONS", "detect_stack_use_after_return=1:strict_string_checks=1")
	env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
	env.setdefault("TSAN_OPTIONS", "halt_on_error=1:suppressions=" + os.path.join(ROOT, "test/tsan.supp"))
	code, text = run([path], env) if os.path.exists(path) else ("not built", "")
	for line in text.splitlines():
		match = re.match(r"(not )?ok \d+ (?:- )?(# SKIP )?(.*)", line)
		if match:
			test = "%s:%s" % (name, match.group(3).strip())
			(tally.skipped if match.group(2) else tally.failed if match.group(1) else tally.passed).append(test)
	if code != 0 and not tally.failed:
		tally.failed.append("%s (exit: %s)" % (name, code))
	if not (tally.passed or tally.failed or tally.skipped):
		tally.failed.append("%s (ran no test)" % name)
	if tally.failed:
		sys.stdout.write("---- %s\n%s\n" % (name, text[-6000:]))
	return tally


def pytest(build, part):
	tally = Tally()
	place = os.path.join(ROOT, "test", part)
	if os.path.isdir(place) and not any(f.endswith(".py") for f in os.listdir(place)):
		return tally
	with tempfile.NamedTemporaryFile(suffix=".xml") as report:
		env = dict(os.environ, QMT_BUILD=os.path.join(ROOT, build), PYTHONDONTWRITEBYTECODE="1")
		code, text = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", report.name, place], env, 4 * DEADLINE_S)
		try:
			cases = list(xml.parse(report.name).iter("testcase"))
		except xml.ParseError:
			cases = []
	for case in cases:
		test = "test/%s/%s:%s" % (part.split("/")[0], case.get("classname", "").split(".")[-1] + ".py", case.get("name"))
		kinds = {child.tag for child in case}
		(tally.skipped if "skipped" in kinds else tally.failed if kinds & {"failure", "error"} else tally.passed).append(test)
	if code not in (0, 5) and not tally.failed:
		tally.failed.append("test/%s (pytest: %s)" % (part, code))
	if tally.failed:
		sys.stdout.write(text[-20000:] + "\n")
	return tally


def scenarios(build, part):
	"""test/mesh (or one file below it) by qmt-lab; a scenario counts once for each backend that it names."""
	tally = Tally()
	top = os.path.join(ROOT, "test", part)
	files = [top] if os.path.isfile(top) else sorted(os.path.join(top, f) for f in os.listdir(top) if f.endswith(".lab"))
	code, text = run([os.path.join(ROOT, build, "qmt-lab"), "run", "--json", "--seed", os.environ.get("QMT_TEST_SEED", "1")] + files)
	seen = 0
	for line in text.splitlines():
		try:
			one = json.loads(line)
		except ValueError:
			sys.stdout.write(line + "\n")
			continue
		seen += 1
		name = "%s:%s" % (os.path.relpath(one["file"], ROOT), one["backend"])
		{"passed": tally.passed, "skipped": tally.skipped}.get(one["verdict"], tally.failed).append(name)
		if one["verdict"] in ("failed", "broken"):
			sys.stdout.write("---- %s\n%s\n" % (name, one["text"]))
		elif one["verdict"] == "skipped":
			sys.stdout.write("%s is skipped: %s\n" % (name, one["text"]))
	if not seen or (code != 0 and not tally.failed):
		tally.failed.append("test/%s (qmt-lab: %s)" % (part, code))
	return tally


def fuzz(build):
	"""Replays the corpora: what once was found stays found."""
	tally = Tally()
	folder = os.path.join(ROOT, "test/fuzz/corpus")
	for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
		files = [os.path.join(folder, name, f) for f in sorted(os.listdir(os.path.join(folder, name)))]
		code, text = run([os.path.join(ROOT, build, "test/fuzz/%s_replay" % name)] + files)
		(tally.passed if code == 0 else tally.failed).append("test/fuzz/corpus/%s" % name)
		if code != 0:
			sys.stdout.write(text[-4000:] + "\n")
	return tally


def simulate(job):
	"""Some seeds of test/sim in one process; what it prints on a violation says how to repeat it."""
	build, first, count = job
	tally = Tally()
	name = "test/sim:seeds %d to %d" % (first, first + count - 1)
	code, text = run([os.path.join(build, "test/sim/sim"), str(first), str(count)], deadline=max(DEADLINE_S, 4 * count))
	(tally.passed if code == 0 else tally.failed).append(name)
	if code != 0:
		sys.stdout.write("---- %s (exit: %s)\n%s\n" % (name, code, text[-20000:]))
	return tally


def seeds(build):
	"""The seeds of test/sim in pieces, so that all cores have work."""
	first, count, piece = int(os.environ.get("QMT_SIM_FIRST", "1")), int(os.environ.get("QMT_SIM_SEEDS", "200")), 25
	return [(build, at, min(piece, first + count - at)) for at in range(first, first + count, piece)]


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--build", default="build")
	parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
	parser.add_argument("--check", action="store_true")
	parser.add_argument("parts", nargs="*", metavar="PART")
	args = parser.parse_args()
	wrong = list(filter(None, map(why_not, args.parts)))
	if wrong:
		sys.exit("\n".join(wrong))
	if args.check:
		return 0
	total = Tally()
	for part in args.parts or PARTS:
		begin = time.monotonic()
		tally = Tally()
		if part.split("/")[0] in ("unit", "port"):
			with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
				for one in pool.map(cmocka, programs(args.build, part)):
					tally.add(one)
		elif part == "sim":
			with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
				for one in pool.map(simulate, seeds(args.build)):
					tally.add(one)
		elif part == "fuzz":
			tally = fuzz(args.build)
		elif part.split("/")[0] == "mesh":
			tally = scenarios(args.build, part)
		else:
			tally = pytest(args.build, part)
		print("%-15s %4d passed, %d failed, %d skipped  %6.1f s" % (part, len(tally.passed), len(tally.failed), len(tally.skipped),
			time.monotonic() - begin), flush=True)
		total.add(tally)
	allowed = {}
	path = os.path.join(ROOT, "test/skips.txt")
	if os.path.exists(path):
		for line in open(path):
			if line.strip() and not line.startswith("#"):
				allowed[line.split(None, 1)[0]] = line.split(None, 1)[1].strip() if len(line.split(None, 1)) > 1 else ""
	for test in total.skipped:
		print("skipped: %s" % test)
		if os.environ.get("CI") == "true" and test not in allowed:
			total.failed.append(test + " (skipped, and test/skips.txt does not allow it)")
	for test in total.failed:
		print("FAILED: %s" % test)
	print("%d passed, %d failed, %d skipped" % (len(total.passed), len(total.failed), len(total.skipped)))
	return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
	sys.exit(main())
