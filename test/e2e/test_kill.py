"""kill -9 of either node inside turns: what was acknowledged is there once, and the session goes on."""
import collections, json, os, uuid

import pytest
import qmt

# Moments of a turn, as an outside client sees them; each kill happens at an event, never after a time.
PHASES = {
	"sent": None,                                                    # the request has left; nothing is acknowledged yet
	"prompted": ("prompted", lambda e: True),
	"first delta": ("delta", lambda e: True),
	"later delta": ("delta", lambda e: e["offset"] > 8),
	"tool started": ("tool", lambda e: e["state"] == "started"),
	"tool finished": ("tool", lambda e: e["state"] == "finished"),
	"answer after tools": ("delta", None),                           # the first delta behind a finished tool
	"turn end": ("turn_end", lambda e: True),
}
MOMENTS = int(os.environ.get("QMT_TEST_KILLS", "50"))


def reach(chat, phase):
	"""Waits until the turn is in the phase; False: it ended before."""
	if PHASES[phase] is None:
		return True
	name, want = PHASES[phase]
	start = 0
	if want is None:
		found = qmt.event(chat.lines, "tool", want=lambda e: e["state"] == "finished")
		if not found:
			return False
		start, want = found[0], lambda e: True
	return qmt.event(chat.lines, name, start, want) is not None


def prompts(history):
	return collections.Counter(m["content"] for m in history if m["role"] == "user")


def paired(history):
	"""Each tool call has exactly one result."""
	calls = [c["id"] for m in history for c in m["tool_calls"]]
	results = [m["tool_call_id"] for m in history if m["role"] == "tool"]
	return sorted(calls) == sorted(results)


def test_kill_9_inside_turns(house):
	"""kill -9 of either node at 50 moments inside turns: no acknowledged prompt is missing, none is there twice, the session goes on."""
	user, server = house.pair(gpu={"provider": 'kind = "builtin"\nchunk_delay_ms = 2'})
	user.qmt("session", "create", "--name", "s")
	hits = collections.Counter()
	acknowledged, unsure = [], []
	for moment in range(MOMENTS):
		victim = (user, server)[moment % 2]
		phase = list(PHASES)[(moment // 2) % len(PHASES)]
		text = "write file-%d.txt: content %d" % (moment, moment)
		request = str(uuid.uuid4())
		with user.chatting("s", text, "--request", request) as chat:
			assert reach(chat, phase), (phase, chat.lines.text(), chat.errors.text())
			victim.kill()
			hits[(victim.name, phase)] += 1
			if victim is user:
				assert chat.wait(qmt.DEADLINE_S) is not None
			else:
				server.start()
				assert chat.wait(qmt.DEADLINE_S) is not None
			lines = [json.loads(line) for line in chat.lines.text().splitlines()]
		if victim is user:
			user.start()
		user.qmt("peers", "--wait", "gpu-server")
		# the same request again: it is taken once, whether or not it had been before
		again = user.qmt("chat", "s", text, "--request", request, "--json", check=False)
		assert '"prompted"' in again.out, again
		seen = json.loads(again.out.splitlines()[0])
		if any(e["event"] == "prompted" for e in lines):
			assert seen["duplicate"], "an acknowledged prompt was forgotten at %s of %s" % (phase, victim.name)
		acknowledged.append(text)
		history = user.history("s")
		counts = prompts(history)
		assert all(counts[t] == 1 for t in acknowledged), (phase, victim.name, counts)
		assert paired(history), (phase, victim.name)
	print("hits: " + ", ".join("%s at %s: %d" % (node, phase, n) for (node, phase), n in sorted(hits.items())))
	assert len(hits) == 2 * len(PHASES) or MOMENTS < 2 * len(PHASES)
	done = user.chat(session="s", text="read file-0.txt")
	assert done.code == 0
	assert sum(prompts(user.history("s")).values()) == MOMENTS + 1
