"""PART of `make test` names a part, a folder, or one test of it; what does not exist is said before anything is built."""
import os, subprocess, sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*args):
	return subprocess.run([sys.executable, os.path.join(ROOT, "test/run.py"), *args], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("part", ["unit", "unit/runtime", "unit/runtime/", "unit/runtime/mailbox", "unit/runtime/mailbox_test",
	"unit/runtime/mailbox_test.c", "mesh/two-nodes.lab", "cli/test_parts.py", "cli/test_parts.py::test_a_part_that_is", "sim"])
def test_a_part_that_is(part):
	done = run("--check", part)
	assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("part, text", [("unti", "no such part: unti (there are: unit port"), ("unit/runtime/mailbx", "perhaps: unit/runtime/mailbox_test.c"),
	("cli/test_guid.py", "perhaps: cli/test_guide.py"), ("mesh/nothing.lab", "no such test: mesh/nothing.lab"), ("sim/sim.c", "sim runs as a whole"),
	("unit/runtime::x", "only files of cli and e2e have parts"), ("unit/runtime/qqqqqqqqqqqqqqqqqqq", "there is nothing of that name in test/unit")])
def test_a_part_that_is_not(part, text):
	done = run("--check", part)
	assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr


def test_one_file_runs_alone():
	done = run("cli/test_parts.py::test_a_part_that_is")
	assert done.returncode == 0 and "10 passed, 0 failed, 0 skipped" in done.stdout, done.stdout + done.stderr
