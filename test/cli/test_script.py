"""Provider `script`: a model whose answers stand in a file."""
import os, subprocess

import qmt

PROVIDER = 'kind = "script"\nscript = "turns.script"'
TURNS = """
turn when "look"
  reasoning "hm"
  tool ls {"path": "."}
turn when "look"
  text "There it is." split 5 every 1ms
  usage input=7 output=3
turn when "refused"
  error authentication "no key"
turn when "busy"
  error rate_limited retry_after=1ms
turn when "busy"
  text "second try"
turn when "broken"
  text "half "
  cut
turn when "for ever"
  text "I am"
  hang
turn
  text "first"
turn
  text "second"
"""


def script(house, text=TURNS):
	with open(os.path.join(house.top, "turns.script"), "w") as out:
		out.write(text)


def test_script_over_the_mesh(house):
	"""What stands in the file is what a session on another node gets: texts, calls of tools that run here, usage, errors, breaks."""
	script(house)
	user, server = house.pair(gpu={"provider": PROVIDER})
	for name in ("s", "t"):
		user.qmt("session", "create", "--name", name)
	assert user.chat(session="s", text="hello").out.strip() == "first"
	assert user.chat(session="t", text="hello").out.strip() == "first"
	assert user.chat(session="s", text="hello").out.strip() == "second"
	done = user.chat("--json", session="s", text="look").objects
	assert [e["event"] for e in done if e["event"] == "tool"] and done[-1]["usage"]["output_tokens"] == 3
	assert [m["role"] for m in user.history("s")][-4:] == ["user", "assistant", "tool", "assistant"]
	assert user.history("s")[-1]["content"] == "There it is."
	done = user.chat(session="s", text="refused", check=False)
	assert done.code == 1 and "no key" in done.err
	assert user.chat(session="s", text="busy").out.strip() == "second try"
	done = user.chat(session="s", text="broken", check=False)
	assert done.code == 1 and "the stream ended in the middle of the answer" in done.err
	with user.chatting("s", "for ever") as chat:
		assert qmt.event(chat.lines, "delta")
		user.qmt("session", "show", "s")
		chat.terminate()
		assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "cancelled"
	assert user.chat(session="s", text="hello").out.strip() == "first"
	assert server.qmt("models").out.count("script") >= 1


def test_errors_of_a_script_are_config_errors(house):
	"""All that is wrong in a script is told by `qmtd check` and at the start, with both places; exit 78."""
	script(house, "turn\n  txt \"x\"\n  wait 5\n")
	node = house.node("local", qmt.local_config(provider=PROVIDER))
	for args in (["check", node.config_path], ["--home", node.home, node.config_path]):
		done = subprocess.run([os.path.join(qmt.BUILD, "qmtd"), *args], capture_output=True, timeout=qmt.DEADLINE_S, stdin=subprocess.DEVNULL)
		lines = done.stderr.decode().splitlines()
		assert done.returncode == 78 and not done.stdout
		assert len(lines) == 2 and all(line.startswith(node.config_path + ":10:10: providers.script: " + house.top) for line in lines)
		assert "turns.script:2: " in lines[0] and "turns.script:3: " in lines[1]
