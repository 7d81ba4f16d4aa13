"""One node without any mesh."""
import contextlib, json, os, re, signal, sqlite3, subprocess

import pytest
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


PATIENT = "[store]\nbusy_timeout_ms = 60000\n"  # the store waits for a lock as long as a test needs


@contextlib.contextmanager
def locked(node):
	"""The node's database, locked for writers until rollback, or the end of the block."""
	with contextlib.closing(sqlite3.connect(os.path.join(node.home, "sessions.db"), isolation_level=None)) as db:
		db.execute("BEGIN IMMEDIATE")
		yield db


def test_ctrl_c_before_the_prompt_is_stored(house):
	"""Ctrl-C cancels also a prompt that is not acknowledged yet; a second one leaves at once and says how to come back."""
	node = house.local(extra=PATIENT, provider='kind = "builtin"\nchunk_delay_ms = 200')
	node.qmt("session", "create", "--name", "s")
	request = "01890000-0000-7000-8000-000000000003"
	with locked(node):
		with node.chatting("s", "help", "--request", request) as chat:
			assert node.log.wait(lambda line: "from=IDLE to=STORING_PROMPT" in line)
			chat.send_signal(signal.SIGINT)
			assert node.log.wait(lambda line: "session.cancel" in line)
			chat.send_signal(signal.SIGINT)
			assert chat.wait(5) == 1
			assert chat.errors.wait(lambda line: "--request " + request in line)
	again = node.chat("--request", request, session="s", text="help", check=False)
	assert again.code == 1 and "cancelled" in again.err and not again.out
	seen = len(node.log.lines)
	with locked(node) as db:
		with node.chatting("s", "help") as chat:
			assert node.log.wait(lambda line: "from=IDLE to=STORING_PROMPT" in line, start=seen)
			chat.send_signal(signal.SIGINT)
			assert node.log.wait(lambda line: "session.cancel" in line, start=seen)
			db.rollback()
			assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "cancelled"
			assert chat.wait(qmt.DEADLINE_S) == 1


def test_no_answer_says_how_to_repeat(house):
	"""A prompt that is not acknowledged in time: exit 1, and the way to ask again."""
	node = house.local(extra=PATIENT)
	node.qmt("session", "create", "--name", "s")
	request = "01890000-0000-7000-8000-000000000004"
	with locked(node):
		done = node.chat("--request", request, "--timeout", "1", session="s", text="hello", check=False)
	assert done.code == 1 and "--request " + request in done.err
	assert node.chat("--request", request, session="s", text="hello").out.strip()
	assert [m["role"] for m in node.history("s")] == ["user", "assistant"]


def test_prompt_that_is_no_text(house):
	"""A prompt that is not UTF-8 is refused with the place."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	done = node.chat(session="s", text="-", stdin=b"abc\xff\xfe", check=False)
	assert done.code == 1 and "standard input: byte 4 (0xff) is no UTF-8" in done.err
	assert node.chat(session="s", text="-", stdin=b"", check=False).err == "qmt: the prompt is empty\n"


def test_repeated_request_as_json(house):
	"""With --json a request that is over gives the same objects: prompted, its text, turn_end."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	request = "01890000-0000-7000-8000-000000000005"
	first = node.chat("--json", "--request", request, session="s", text="list .").objects
	again = node.chat("--json", "--request", request, session="s", text="list .").objects
	assert [e["event"] for e in again if e["event"] != "delta"] == ["prompted", "turn_end"]
	assert "".join(e["text"] for e in again if e["event"] == "delta") == "".join(e["text"] for e in first if e["event"] == "delta")
	assert again[0]["duplicate"] and again[-1]["outcome"] == "complete" and again[-1]["visible_bytes"] == first[-1]["visible_bytes"] > 0


def test_second_watcher_sees_all(house):
	"""The same request again while its turn runs shows the whole answer, from its beginning."""
	node = house.local(provider='kind = "builtin"\nchunk_delay_ms = 50')
	node.qmt("session", "create", "--name", "s")
	request = "01890000-0000-7000-8000-000000000006"
	with node.chatting("s", "help", "--request", request) as first:
		assert qmt.event(first.lines, "delta", want=lambda e: e["offset"] > 20)
		with node.chatting("s", "help", "--request", request) as second:
			assert first.wait(qmt.DEADLINE_S) == 0 and second.wait(qmt.DEADLINE_S) == 0
			assert qmt.event(first.lines, "turn_end") and qmt.event(second.lines, "turn_end")
			texts = ["".join(json.loads(line).get("text", "") for line in chat.lines.text().splitlines() if '"delta"' in line)
				for chat in (first, second)]
	assert texts[0] == texts[1] == node.history("s")[-1]["content"]


def test_stop_in_a_turn(house):
	"""SIGTERM in the middle of an answer: it is stored as far as it was told, the turn is interrupted, and `qmt chat` is told."""
	node = house.local(provider='kind = "builtin"\nchunk_delay_ms = 30')
	node.qmt("session", "create", "--name", "s")
	with node.chatting("s", "help") as chat:
		assert qmt.event(chat.lines, "delta", want=lambda e: e["offset"] > 20)
		assert node.stop() == 0
		assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "interrupted"
		assert chat.wait(qmt.DEADLINE_S) == 1
		told = "".join(json.loads(line)["text"] for line in chat.lines.text().splitlines() if '"delta"' in line)
	node.start()
	assert node.history("s")[-1]["content"] == told
	assert node.qmt("session", "show", "s", "--json").json["session"]["state"] == "interrupted"


def test_environment_is_not_for_tools(house):
	"""A tool cannot read qmtd's environment (keys may stand there), nor its memory, when qmtd is no root."""
	if os.geteuid() != 0:
		pytest.skip("needs root, to run a node as somebody else")
	node = house.node("local", qmt.local_config(), env={"MY_KEY": "sk-hush"})
	os.makedirs(node.home)
	for folder in (house.top, node.home, house.work):
		os.chown(folder, 65534, 65534)
	node.user = 65534
	node.start()
	node.qmt("session", "create", "--name", "s")
	done = node.chat(session="s", text="run tr '\\\\0' '\\n' < /proc/$PPID/environ; id -u; head -c 1 /proc/$PPID/mem")
	assert "sk-hush" not in done.out + done.err and "65534" in done.out and "ermission denied" in done.out, done


def test_escape_sequences_stay_out_of_the_terminal(house):
	"""What a model or an error says is shown on a terminal without its control characters, on stderr too."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	for args in (["chat", "s", "say a\x1b[31mb\u009b31mc"], ["session", "show", "no\x1b[31mbody"], ["chat", "s", "run printf 'a\\033[31mb'"]):
		primary, secondary = os.openpty()
		process = subprocess.Popen([os.path.join(qmt.BUILD, "qmt"), "--home", node.home, *args], stdin=subprocess.DEVNULL, stdout=secondary,
			stderr=secondary, env=node.env)
		os.close(secondary)
		seen = b""
		try:
			while chunk := os.read(primary, 65536):
				seen += chunk
		except OSError:  # the other side is closed
			pass
		os.close(primary)
		assert process.wait(qmt.DEADLINE_S) in (0, 1)
		assert seen and b"\x1b" not in seen and b"\xc2\x9b" not in seen, (args, seen)


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


def test_actors(house):
	"""`qmt actors` shows what runs in the node, --tree whose child it is, --json all of it."""
	node = house.local()
	node.qmt("session", "create", "--name", "s")
	actors = node.qmt("actors", "--json").json["actors"]
	by_kind = {a["kind"]: a for a in actors}
	assert [a["id"] for a in actors] == list(range(1, len(actors) + 1))
	assert by_kind["session"]["parent"] == by_kind["node_manager"]["id"] and by_kind["session"]["name"].startswith("session/")
	assert by_kind["store"]["handled"] > 0 and by_kind["store"]["parent"] == actors[0]["id"] and by_kind["store"]["restarts"] == 0
	assert actors[0]["parent"] == 0 and all(0 < a["parent"] < a["id"] for a in actors[1:])
	assert by_kind["store"]["status"] == "running" and all(a["waits_for"] == 0 and not a["deadlocked"] for a in actors)
	assert by_kind["store"]["busy_us"] > 0  # on a thread of its own: measured, not sampled
	lines = node.qmt("actors", "--tree").out.splitlines()
	[at] = [i for i, line in enumerate(lines) if line.startswith("  node_manager")]
	assert lines[at + 1].startswith("    session ")
	assert all(not line.startswith(" ") for line in node.qmt("actors").out.splitlines())
