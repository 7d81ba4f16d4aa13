"""A real llama-server (when it can be had) through two nodes. Asserts structure, never wording."""
import json, os, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.request

import pytest
import qmt

TOOLS = os.path.join(os.path.dirname(qmt.ROOT), "shared", "llm")
CACHE = os.path.join(qmt.ROOT, "build", "llama")
KEY = "sk-local"


def free_port():
	with socket.socket() as sock:
		sock.bind(("127.0.0.1", 0))
		return sock.getsockname()[1]


class Llama:
	"""llama-server with the small `agent` model: it calls tools when they are offered, else says a sentence."""

	def __init__(self, context=8192):
		self.port = free_port()
		self.model = os.path.join(CACHE, "agent-%d.gguf" % context)
		self.context = context
		self.start()

	def start(self):
		self.process = subprocess.Popen(["sh", os.path.join(TOOLS, "run-llama-sid.sh"), os.path.join(CACHE, "root"), self.model, str(self.port), "--alias",
			"agent", "--api-key", KEY], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=dict(os.environ, CTX=str(self.context)))
		self.log = qmt.Lines(self.process.stdout)
		assert self.log.wait(lambda line: "listening" in line or "server is listening" in line, 60), self.log.text()

	def kill(self):
		self.process.kill()
		self.process.wait()

	def provider(self, key=KEY, more=""):
		return 'kind = "openai"\nbase_url = "http://127.0.0.1:%d/v1"\napi_key = "%s"\n%s' % (self.port, key, more)


@pytest.fixture(scope="module")
def llama():
	if not os.path.isdir(TOOLS):
		pytest.skip("the folder with the LLM server's scripts is not beside this checkout")
	if not os.path.isdir(os.path.join(CACHE, "root", "usr")):
		os.makedirs(CACHE, exist_ok=True)
		done = subprocess.run(["sh", os.path.join(TOOLS, "fetch-llama-sid.sh"), os.path.join(CACHE, "root")], capture_output=True, timeout=300)
		if done.returncode != 0:
			shutil.rmtree(os.path.join(CACHE, "root"), ignore_errors=True)
			pytest.skip("llama-server cannot be had: " + done.stderr.decode("utf-8", "replace")[-300:])
	for context in (8192, 512):
		model = os.path.join(CACHE, "agent-%d.gguf" % context)
		if not os.path.exists(model):
			subprocess.run([sys.executable, os.path.join(TOOLS, "mkgguf.py"), "agent", model, str(context)], check=True, capture_output=True, timeout=60)
	server = Llama()
	yield server
	server.kill()


def pair(house, provider, agent=""):
	return house.pair(gpu={"provider": provider}, planner={"agent": 'model = "agent"\n' + agent})


def test_streamed_answer_and_usage(house, llama):
	"""The answer of a real server streams through two nodes, piece by piece, and its usage is recorded."""
	user, server = pair(house, llama.provider())
	user.configure(user.config.replace('tools = ["read_tool", "write_file", "edit", "shell", "ls"]\n', ""))
	user.stop()
	user.start()
	user.qmt("peers", "--wait", "gpu-server")
	user.qmt("session", "create", "--name", "s")
	events = user.chat("--json", session="s", text="Say something.").objects
	deltas = [e for e in events if e["event"] == "delta"]
	assert len(deltas) > 1 and events[-1]["outcome"] == "complete" and events[-1]["finish"] == "stop"
	usage = user.qmt("session", "show", "s", "--json").json["session"]["usage"]
	assert usage["input_tokens"] + usage["cached_tokens"] > 0 and usage["output_tokens"] > 0


def test_tool_loop(house, llama):
	"""The server's tool calls run on the user's node and their results go back to it."""
	user, server = pair(house, llama.provider(), agent="")
	user.configure(user.config.replace('tools = ["read_tool", "write_file", "edit", "shell", "ls"]', 'tools = ["read_tool", "ls"]'))
	user.stop()
	user.start()
	user.qmt("peers", "--wait", "gpu-server")
	user.qmt("session", "create", "--name", "s")
	events = user.chat("--json", session="s", text="Look around.").objects
	assert any(e["event"] == "tool" and e["state"] == "finished" for e in events)
	assert events[-1]["outcome"] == "complete" and events[-1]["steps"] >= 2
	history = user.history("s")
	assert sorted(c["id"] for m in history for c in m["tool_calls"]) == sorted(m["tool_call_id"] for m in history if m["role"] == "tool")


def test_cancel_is_seen_by_the_server(house, llama):
	"""Ctrl-C on the user's node ends the generation on the server."""
	user, server = pair(house, llama.provider(more='max_tokens = 4096\npeer_parameters = "ignore_eos"'))
	user.configure(user.config.replace('tools = ["read_tool", "write_file", "edit", "shell", "ls"]\n', 'parameters = {ignore_eos = true}\n'))
	user.stop()
	user.start()
	user.qmt("peers", "--wait", "gpu-server")
	user.qmt("session", "create", "--name", "s")
	mark = len(llama.log.lines)
	with user.chatting("s", "Go on for ever.") as chat:
		assert qmt.event(chat.lines, "delta")
		chat.send_signal(signal.SIGINT)
		assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "cancelled"
	assert llama.log.wait(lambda line: "cancel" in line.lower(), start=mark)


def test_wrong_key(house, llama):
	"""401 is an authentication error, and the session is usable afterwards."""
	user, server = pair(house, llama.provider(key="wrong"))
	user.qmt("session", "create", "--name", "s")
	done = user.chat("--json", session="s", text="hello", check=False)
	assert done.code == 1 and done.objects[-1]["kind"] == "authentication"
	assert user.qmt("session", "show", "s", "--json").json["session"]["state"] == "failed"
	server.stop()
	server.configure(qmt.gpu_config(port=server.port, provider=llama.provider()))
	server.start()
	user.qmt("peers", "--wait", "gpu-server")
	assert user.chat(session="s", text="hello again").code == 0


def test_context_overflow(house, llama):
	"""A conversation that is too long for the model is that error, not another."""
	small = Llama(context=512)
	try:
		user, server = pair(house, small.provider())
		user.qmt("session", "create", "--name", "s")
		done = user.chat("--json", session="s", text="word " * 4000, check=False)
		assert done.code == 1 and done.objects[-1]["kind"] == "context_window_exceeded"
	finally:
		small.kill()


def test_server_dies_in_mid_stream(house, llama):
	"""kill -9 of the server in mid-stream is a transport error; the session is usable when the server is back."""
	mine = Llama()
	try:
		user, server = pair(house, mine.provider(more='max_tokens = 4096\npeer_parameters = "ignore_eos"'))
		user.configure(user.config.replace('tools = ["read_tool", "write_file", "edit", "shell", "ls"]\n', 'parameters = {ignore_eos = true}\n'))
		user.stop()
		user.start()
		user.qmt("peers", "--wait", "gpu-server")
		user.qmt("session", "create", "--name", "s")
		with user.chatting("s", "Go on for ever.") as chat:
			assert qmt.event(chat.lines, "delta")
			mine.kill()
			end = qmt.event(chat.lines, "turn_end")[1]
			assert end["outcome"] == "failed" and end["kind"] == "transport"
		mine.start()
		user.configure(user.config.replace("parameters = {ignore_eos = true}\n", ""))
		user.stop()
		user.start()
		user.qmt("peers", "--wait", "gpu-server")
		assert user.chat(session="s", text="hello again").code == 0
	finally:
		mine.kill()


def test_demo_with_another_server(house, llama):
	"""QMT_DEMO_BASE_URL, _MODEL, _API_KEY point the demo at any OpenAI-compatible server: here a real llama-server."""
	env = dict(os.environ, BUILD=qmt.BUILD, TMPDIR=house.top, QMT_DEMO_BASE_URL="http://127.0.0.1:%d/v1" % llama.port,
		QMT_DEMO_MODEL="agent", QMT_DEMO_API_KEY=KEY)
	done = subprocess.run(["sh", os.path.join(qmt.ROOT, "cmd", "demo.sh")], env=env, capture_output=True, timeout=200)
	assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-3000:] + done.stderr.decode("utf-8", "replace")[-2000:]
	assert done.stdout.count(b"assistant") >= 3
