"""An idle node sleeps."""
import os, re, shutil, subprocess

import pytest
import qmt


def calls_in(node, seconds):
	"""System calls of a process, by name, while nothing is asked of it."""
	summary = os.path.join(node.home, "strace")
	with subprocess.Popen(["strace", "-f", "-c", "-o", summary, "-p", str(node.process.pid)], stderr=subprocess.PIPE) as tracer:
		errors = qmt.Lines(tracer.stderr)
		try:
			if not errors.wait(lambda line: "attached" in line):
				pytest.skip("strace cannot attach: " + errors.text())
			try:
				tracer.wait(seconds)  # the measured span itself: nothing is waited for
			except subprocess.TimeoutExpired:
				pass
		finally:
			tracer.send_signal(2)
			tracer.wait(qmt.DEADLINE_S)
	rows = [line.split() for line in open(summary) if re.match(r"\s*\d+\.\d+", line)]
	return {row[-1]: int(row[3]) for row in rows if row[-1] != "total"}


def test_idle_node_makes_no_system_call(house):
	"""A node without peers makes no system call in 10 seconds; a linked one only those of its pings."""
	if not shutil.which("strace"):
		pytest.skip("strace is not installed (make deps-dev)")
	alone = house.local()
	alone.qmt("session", "create", "--name", "s")
	alone.chat(session="s", text="hello")
	# threads that wait for jobs end after 10 s without one; they are given that time first
	calls_in(alone, 12)
	for _ in range(3):
		calls = calls_in(alone, 10)
		if not calls:
			break
		# the deadline of an ask that was answered may still wake one worker once (docs/performance.md): no more than that
		assert sum(calls.values()) <= 6, calls
	assert calls == {}
	user, server = house.pair()
	calls_in(server, 12)
	linked = calls_in(server, 10)
	pings = 2 * 10 / 2.5  # both ends, each every suspect_ms / 2
	assert linked.get("sendto", 0) <= 2 * pings and sum(linked.values()) <= 60 * pings, linked


def resident_kb(node):
	status = open("/proc/%d/status" % node.process.pid).read()
	return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def test_idle_node_is_small(house):
	"""A node with a session and a link, whose provider is not over HTTP, has at most 12 MB in memory: libcurl is not loaded."""
	user, server = house.pair()
	user.qmt("session", "create", "--name", "s")
	for node in (user, server):
		assert resident_kb(node) <= 12 * 1024, node.name
