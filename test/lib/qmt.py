"""Nodes and commands for tests: every wait has a deadline, everything started is stopped, logs are shown on failure."""
import contextlib, json, os, selectors, shutil, signal, socket, subprocess, tempfile, threading, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("QMT_BUILD", os.path.join(ROOT, "build"))
DEADLINE_S = 30


class Lines:
	"""Lines of a pipe, each awaited with a deadline. A thread reads, so that the writer never blocks."""

	def __init__(self, stream):
		self.stream, self.lines, self.ended = stream, [], False
		self.change = threading.Condition()
		self.thread = threading.Thread(target=self._read, daemon=True)
		self.thread.start()

	def _read(self):
		for raw in self.stream:
			with self.change:
				self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
				self.change.notify_all()
		with self.change:
			self.ended = True
			self.change.notify_all()

	def wait(self, want, deadline=DEADLINE_S, start=0):
		"""The first line from `start` on for which want(line); (index, line). None at the end of the stream."""
		end, at = time.monotonic() + deadline, start
		with self.change:
			while True:
				while at < len(self.lines):
					if want(self.lines[at]):
						return at, self.lines[at]
					at += 1
				if self.ended:
					return None
				left = end - time.monotonic()
				if left <= 0:
					raise TimeoutError("no such line in %d s; last: %s" % (deadline, self.lines[-5:]))
				self.change.wait(left)

	def text(self):
		with self.change:
			return "\n".join(self.lines)


class Result:
	def __init__(self, code, out, err):
		self.code, self.out, self.err = code, out, err

	@property
	def json(self):
		return json.loads(self.out)

	@property
	def objects(self):
		return [json.loads(line) for line in self.out.splitlines()]

	def __repr__(self):
		return "exit %s\n--- stdout\n%s\n--- stderr\n%s" % (self.code, self.out[-3000:], self.err[-3000:])


class Node:
	"""A qmtd with a home and a config file of its own."""

	def __init__(self, top, name, config, env=None, suffix="toml"):
		self.name, self.home = name, os.path.join(top, name)
		self.config_path = os.path.join(top, "%s.%s" % (name, suffix))
		self.env = dict(os.environ, **(env or {}))
		self.env.setdefault("QMT_LOG", "debug")
		self.process = None
		self.user = None  # uid to run as; needs root
		self.ready = {}
		self.logs = []
		self.configure(config)

	def configure(self, config):
		self.config = config
		with open(self.config_path, "w") as out:
			out.write(config)

	def start(self, deadline=DEADLINE_S, args=()):
		self.process = subprocess.Popen([os.path.join(BUILD, "qmtd"), "--home", self.home, self.config_path, *args], stdout=subprocess.PIPE,
			stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=self.env, user=self.user)
		self.out, self.log = Lines(self.process.stdout), Lines(self.process.stderr)
		self.logs.append(self.log)
		found = self.out.wait(lambda line: line.startswith("ready "), deadline)
		if not found:
			code = self.process.wait(deadline)
			self.process = None
			raise AssertionError("%s did not start: exit %s\n%s" % (self.name, code, self.log.text()))
		self.ready = dict(part.split("=", 1) for part in found[1].split()[1:])
		return self

	@property
	def peer_id(self):
		return self.ready["peer_id"]

	@property
	def address(self):
		"""Without /p2p/…"""
		return self.ready["listen"].split(",")[0].split("/p2p/")[0]

	@property
	def port(self):
		return int(self.address.rsplit("/", 1)[1])

	def stop(self, deadline=DEADLINE_S):
		if not self.process:
			return 0
		self.process.send_signal(signal.SIGTERM)
		return self.wait(deadline)

	def kill(self):
		self.process.kill()
		return self.wait()

	def wait(self, deadline=DEADLINE_S):
		try:
			code = self.process.wait(deadline)
		except subprocess.TimeoutExpired:
			self.process.kill()
			self.process.wait()
			code = "no end after %d s" % deadline
		self.process = None
		return code

	def qmt(self, *args, stdin=None, deadline=DEADLINE_S, check=True):
		done = subprocess.run([os.path.join(BUILD, "qmt"), "--home", self.home, *args], input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
			capture_output=True, timeout=deadline, env=self.env)
		result = Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
		assert not check or result.code == 0, "qmt %s: %r" % (" ".join(args), result)
		return result

	def chat(self, *args, session, text, check=True, **more):
		return self.qmt("chat", session, text, *args, check=check, **more)

	@contextlib.contextmanager
	def chatting(self, session, text, *args):
		"""A `qmt chat --json` whose events can be awaited one by one."""
		process = subprocess.Popen([os.path.join(BUILD, "qmt"), "--home", self.home, "chat", session, text, "--json", *args], stdout=subprocess.PIPE,
			stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=self.env)
		process.lines, process.errors = Lines(process.stdout), Lines(process.stderr)
		try:
			yield process
		finally:
			if process.poll() is None:
				process.kill()
			process.wait()

	def history(self, session):
		messages, start = [], 1
		while start:
			page = self.qmt("session", "show", session, "--json", "--from", str(start), "--limit", "1000").json
			messages += page["messages"]
			start = page["next"]
		return messages


def event(lines, name, start=0, want=lambda e: True, deadline=DEADLINE_S):
	"""Waits for an event of a chat; (index, event), None when the chat ended without."""
	found = lines.wait(lambda line: json.loads(line)["event"] == name and want(json.loads(line)), deadline, start)
	return found and (found[0], json.loads(found[1]))


def gpu_config(port=0, extra="", provider='kind = "builtin"', mesh=""):
	return """[mesh]
enabled = true
node_name = "gpu-server"
listen = "/ip4/127.0.0.1/tcp/%d"
discovery = "none"
capabilities = ["gpu"]
%s
[mesh.link]
redial_min_ms = 50
redial_max_ms = 500
[[providers]]
name = "llm"
%s
%s
""" % (port, mesh, provider, extra)


def planner_config(address, extra="", agent="", mesh=""):
	return """[mesh]
enabled = true
node_name = "planner"
listen = "/ip4/127.0.0.1/tcp/0"
discovery = "none"
capabilities = ["cpu"]
%s
[mesh.link]
redial_min_ms = 50
redial_max_ms = 500
[[mesh.peers]]
name = "gpu-server"
addr = "%s"
[agent]
id = "coder"
provider = "llm"
peer = "gpu-server"
cwd = "work"
tools = ["read_tool", "write_file", "edit", "shell", "ls"]
%s
%s
""" % (mesh, address, agent, extra)


def local_config(provider='kind = "builtin"', agent="", extra=""):
	return """[agent]
id = "coder"
provider = "llm"
cwd = "work"
tools = ["read_tool", "write_file", "edit", "shell", "ls"]
%s
[[providers]]
name = "llm"
%s
%s
""" % (agent, provider, extra)


class House:
	"""A folder with nodes; the fixture `house` ends them all and shows their logs when the test failed."""

	def __init__(self, top):
		self.top, self.nodes = top, []
		os.mkdir(os.path.join(top, "work"))

	@property
	def work(self):
		return os.path.join(self.top, "work")

	def node(self, name, config, **more):
		node = Node(self.top, name, config, **more)
		self.nodes.append(node)
		return node

	def local(self, **more):
		return self.node("local", local_config(**more)).start()

	def pair(self, gpu=None, planner=None):
		"""gpu-server and planner, connected; both keep their ports over restarts."""
		server = self.node("gpu", gpu_config(**(gpu or {}))).start()
		server.configure(gpu_config(**dict(gpu or {}, port=server.port)))
		user = self.node("planner", planner_config(server.address, **(planner or {}))).start()
		user.qmt("peers", "--wait", "gpu-server")
		return user, server

	def close(self):
		for node in reversed(self.nodes):
			if node.process:
				node.process.kill()
				node.wait()

	def report(self):
		for node in self.nodes:
			for log in node.logs:
				print("---- log of %s\n%s" % (node.name, "\n".join(log.text().splitlines()[-60:])))
