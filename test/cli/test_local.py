"""One node without any mesh."""
import json, os, re, signal, subprocess

import qmt


def test_agent_and_provider_work_without_mesh(house):
	"""[agent] and [[providers]] on one node work without any mesh."""
	node = house.local()
	session = node.qmt("session", "create").out.strip()
	assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", session)
	done = node.chat(session=session, text="hello")
	assert done.out.strip()
	assert node.qmt("status", "--json").json["mesh"] is False


def test_tools_make_real_changes(house):
	"""The builtin assistant turns `write`, `edit`, `read`, `list` and `run` into real tool calls and reports real results."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	node.chat(session="s", text="write notes.txt: The quick brown fox")
	assert open(os.path.join(house.work, "notes.txt")).read().strip() == "The quick brown fox"
	done = node.chat(session="s", text="edit notes.txt: brown => red")
	assert "edit" in done.err and open(os.path.join(house.work, "notes.txt")).read().strip() == "The quick red fox"
	assert "The quick red fox" in node.chat(session="s", text="read notes.txt").out
	assert "notes.txt" in node.chat(session="s", text="list .").out
	done = node.chat(session="s", text="run echo $((6 * 7))")
	assert "42" in done.out and "shell" in done.err


def test_answer_on_stdout_tools_on_stderr(house):
	"""The answer streams to stdout, tool calls and notices to stderr; --json prints one object a line."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	done = node.chat(session="s", text="list .")
	assert "-> ls" in done.err and "<- ls" in done.err and "-> ls" not in done.out
	events = node.chat("--json", session="s", text="list .").objects
	names = [e["event"] for e in events]
	assert names[0] == "prompted" and names[-1] == "turn_end" and "tool" in names and names.count("delta") > 1
	offset = 0
	for e in events:
		if e["event"] == "delta":
			assert e["offset"] == offset
			offset += len(e["text"].encode())
	assert events[-1]["outcome"] == "complete" and events[-1]["usage"]["output_tokens"] > 0


def test_find_by_id_prefix_and_name(house):
	"""A session is found by its id, a unique prefix, or its name; a stranger is a clear error."""
	node = house.local()
	one = node.qmt("session", "create", "--name", "first").out.strip()
	for key in (one, "first", one[:-4]):
		assert node.qmt("session", "resume", key).out.strip() == one
		assert node.qmt("session", "show", key, "--json").json["session"]["id"] == one
	done = node.qmt("session", "show", "nobody", check=False)
	assert done.code == 1 and "nobody" in done.err
	listed = node.qmt("session", "list", "--json").json
	assert listed["total"] == 1 and listed["sessions"][0]["name"] == "first"


def test_history_is_there_after_restart(house):
	"""Everything is kept in SQLite and is there after a restart; a turn goes on from it."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	node.chat(session="s", text="write a.txt: one")
	before = node.history("s")
	assert [m["role"] for m in before] == ["user", "assistant", "tool", "assistant"]
	assert node.stop() == 0
	node.start()
	assert node.history("s") == before
	node.chat(session="s", text="read a.txt")
	assert len(node.history("s")) == 8


def test_same_request_never_prompts_twice(house):
	"""Repeating a prompt with the same request id does not prompt twice and shows the stored answer."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	request = "01890000-0000-7000-8000-000000000001"
	first = node.chat("--request", request, session="s", text="hello")
	again = node.chat("--request", request, session="s", text="hello")
	assert again.out.strip() == first.out.strip() and "taken before" in again.err
	assert [m["role"] for m in node.history("s")] == ["user", "assistant"]
	create = ["session", "create", "--request", "01890000-0000-7000-8000-000000000002"]
	assert node.qmt(*create).out == node.qmt(*create).out


def test_ctrl_c_cancels(house):
	"""Ctrl-C cancels the turn; the session is usable afterwards."""
	node = house.local(provider='kind = "builtin"\nchunk_delay_ms = 200')
	node.qmt("session", "create", "--name", "s")
	with node.chatting("s", "help") as chat:
		assert qmt.event(chat.lines, "delta")
		chat.send_signal(signal.SIGINT)
		end = qmt.event(chat.lines, "turn_end")
		assert end[1]["outcome"] == "cancelled"
		assert chat.wait(qmt.DEADLINE_S) == 1
	shown = node.qmt("session", "show", "s", "--json").json
	assert shown["session"]["state"] == "cancelled"
	node.configure(qmt.local_config())
	assert node.stop() == 0
	node.start()
	assert node.chat(session="s", text="hello").code == 0


def test_prompt_from_stdin(house):
	"""`qmt chat SESSION -` reads the prompt from standard input."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	node.chat(session="s", text="-", stdin=b"hello from a pipe")
	assert node.history("s")[0]["content"] == "hello from a pipe"


def test_ini_does_the_same(house):
	"""An INI file configures a node as well as TOML."""
	node = house.node("local", "[agent]\nid = coder\nprovider = llm\ncwd = work\ntools = ls, shell\n[providers.llm]\nkind = builtin\n", suffix="ini").start()
	node.qmt("session", "create", "--name", "s")
	assert node.chat(session="s", text="list .").code == 0
