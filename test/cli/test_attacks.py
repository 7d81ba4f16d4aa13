"""Attacks that work on nodes of this kind elsewhere (reference 4.1) fail to harm: real nodes, real sockets, hostile neighbours."""
import ctypes, hashlib, http.server, json, os, shutil, socket, stat, subprocess, threading

import pytest
import qmt

AGENT = '[agent]\nid = "helper"\nprovider = "llm"\ncwd = "work"\ntools = ["read_tool", "write_file", "edit", "shell", "ls"]\n'


def hostile(mode, node):
	done = subprocess.run([os.path.join(qmt.BUILD, "qmt-lab"), "peer", mode, node.address], capture_output=True, timeout=qmt.DEADLINE_S, text=True)
	assert done.returncode == 0, done.stdout + done.stderr
	return done.stdout


def test_a_neighbour_runs_nothing(house):
	"""Who reaches the listener makes no session and runs no shell, in no folder, whatever it says it is: each key that would let it is off, and naming
	the peer opens one of them only."""
	user, server = house.pair(gpu={"extra": AGENT})
	mark = os.path.join(house.top, "work", "harmed")
	assert user.qmt("session", "create", "--on", "gpu-server", check=False).err.count("allow_remote_sessions") == 1
	assert "refused node.session_create" in hostile("forbidden", server)
	server.stop()
	server.configure(qmt.gpu_config(port=server.port, extra=AGENT, mesh="allow_remote_sessions = true"))
	server.start()
	user.qmt("peers", "--wait", "gpu-server")
	assert "qmt peers allow" in user.qmt("session", "create", "--on", "gpu-server", check=False).err
	assert "refused node.session_create" in hostile("forbidden", server)
	server.qmt("peers", "allow", user.peer_id)
	assert "folder cannot be chosen" in user.qmt("session", "create", "--on", "gpu-server", "--cwd", "/etc", check=False).err
	user.qmt("session", "create", "--on", "gpu-server", "--name", "far")
	assert "allow_remote_tools" in user.chat(session="far", text="run touch harmed").err
	assert not os.path.exists(mark)
	here = server.qmt("session", "create", "--name", "here", check=False)  # the owner may, so the attack could have worked
	assert here.code == 0
	server.chat(session="here", text="run touch harmed")
	assert os.path.exists(mark)


class Upstream(http.server.BaseHTTPRequestHandler):
	def do_POST(self):
		self.server.keys.append(self.headers["Authorization"])
		self.rfile.read(int(self.headers["Content-Length"]))
		body = json.dumps({"model": "m", "choices": [{"message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]}).encode()
		self.send_response(200)
		self.send_header("Content-Type", "application/json")
		self.send_header("Content-Length", str(len(body)))
		self.end_headers()
		self.wfile.write(body)

	def log_message(self, *args):
		pass


@pytest.fixture
def upstream():
	servers = []

	def start():
		server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
		server.keys = []
		threading.Thread(target=server.serve_forever, daemon=True).start()
		servers.append(server)
		return server
	yield start
	for server in servers:
		server.shutdown()
		server.server_close()


@pytest.mark.parametrize("member", ["base_url", "api_base", "api_key", "extra_headers", "proxy", "slot_save_path"])
def test_a_key_goes_to_its_own_address_only(house, upstream, member):
	"""A peer that sets address, key or headers of the provider here is refused by the name of what it set; nothing is sent anywhere."""
	mine, theirs = upstream(), upstream()
	provider = 'kind = "openai"\nbase_url = "http://127.0.0.1:%d/v1"\napi_key = "sk-secret"\nmodel = "m"' % mine.server_port
	user, server = house.pair(gpu={"provider": provider}, planner={"agent": 'parameters = {temperature = 0.5}', "extra": "[session]\nmax_retries = 0\n"})
	user.qmt("session", "create", "--name", "s")
	assert "fine" in user.chat(session="s", text="hello").out and mine.keys == ["Bearer sk-secret"]
	user.stop()
	user.configure(qmt.planner_config(server.address, agent='parameters = {%s = "http://127.0.0.1:%d/v1"}' % (member, theirs.server_port),
		extra="[session]\nmax_retries = 0\n"))
	user.start()
	user.qmt("peers", "--wait", "gpu-server")
	done = user.chat(session="s", text="again", check=False)
	assert done.code == 1 and "parameters." + member in done.err and "sk-secret" not in done.err
	assert theirs.keys == [] and len(mine.keys) == 1


# ---- a man in the middle ---------------------------------------------------------------------------------------------

ROUTER, DEALER = 6, 5
LINGER, CURVE_SERVER, CURVE_PUBLICKEY, CURVE_SECRETKEY, CURVE_SERVERKEY, LAST_ENDPOINT, RCVTIMEO = 17, 47, 48, 49, 50, 32, 27


class Middle:
	"""Speaks CURVE to both sides: towards the dialer with the key that every listener has (it is published), towards the listener with one of its own;
	every frame is passed on."""

	def __init__(self, port):
		self.zmq = ctypes.CDLL("libzmq.so.5")
		for name in ("zmq_ctx_new", "zmq_socket"):
			getattr(self.zmq, name).restype = ctypes.c_void_p
		self.context = ctypes.c_void_p(self.zmq.zmq_ctx_new())
		self.front, self.back = self.socket(ROUTER), self.socket(DEALER)
		secret = hashlib.sha512(hashlib.sha256(b"qmt: the published CURVE key of every listener, version 1").digest()).digest()[:32]
		public, own, own_secret = (ctypes.create_string_buffer(41) for _ in range(3))
		text = ctypes.create_string_buffer(41)
		self.zmq.zmq_z85_encode(text, secret, ctypes.c_size_t(32))
		assert self.zmq.zmq_curve_public(public, text) == 0 and self.zmq.zmq_curve_keypair(own, own_secret) == 0
		self.set(self.front, CURVE_SERVER, ctypes.c_int(1))
		self.set(self.front, CURVE_SECRETKEY, secret)
		self.set(self.back, CURVE_SERVERKEY, public.raw)
		self.set(self.back, CURVE_PUBLICKEY, own.raw)
		self.set(self.back, CURVE_SECRETKEY, own_secret.raw)
		assert self.zmq.zmq_bind(self.front, b"tcp://127.0.0.1:*") == 0
		assert self.zmq.zmq_connect(self.back, b"tcp://127.0.0.1:%d" % port) == 0
		where, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
		self.zmq.zmq_getsockopt(self.front, LAST_ENDPOINT, where, ctypes.byref(size))
		self.port, self.relayed, self.over = int(where.value.rsplit(b":", 1)[1]), [], False
		self.thread = threading.Thread(target=self.run, daemon=True)
		self.thread.start()

	def socket(self, kind):
		sock = ctypes.c_void_p(self.zmq.zmq_socket(self.context, kind))
		self.set(sock, LINGER, ctypes.c_int(0))
		self.set(sock, RCVTIMEO, ctypes.c_int(20))
		return sock

	def set(self, sock, option, value):
		data = value if isinstance(value, bytes) else ctypes.byref(value)
		assert self.zmq.zmq_setsockopt(sock, option, data, ctypes.c_size_t(len(value) if isinstance(value, bytes) else 4)) == 0

	def take(self, sock):
		room = ctypes.create_string_buffer(65536)
		size = self.zmq.zmq_recv(sock, room, ctypes.c_size_t(65536), 0)
		return None if size < 0 else room.raw[:size]

	def run(self):
		who = None
		while not self.over:
			first = self.take(self.front)
			if first is not None:
				who, frame = first, self.take(self.front)
				self.relayed.append(frame)
				self.zmq.zmq_send(self.back, frame, ctypes.c_size_t(len(frame)), 0)
			frame = self.take(self.back)
			if frame is not None and who:
				self.relayed.append(frame)
				self.zmq.zmq_send(self.front, who, ctypes.c_size_t(len(who)), 2)
				self.zmq.zmq_send(self.front, frame, ctypes.c_size_t(len(frame)), 0)

	def close(self):
		self.over = True
		self.thread.join()
		self.zmq.zmq_close(self.front)
		self.zmq.zmq_close(self.back)
		self.zmq.zmq_ctx_term(self.context)


@pytest.mark.parametrize("known", [False, True], ids=["first contact", "PeerId known"])
def test_a_man_in_the_middle(house, known):
	"""Who stands between two nodes and relays all they say, with a key of his own, is noticed at the first contact too: no link, nothing is pinned, and
	without him the nodes find each other."""
	server = house.node("gpu", qmt.gpu_config()).start()
	middle = Middle(server.port)
	try:
		suffix = "/p2p/" + server.peer_id if known else ""
		user = house.node("planner", qmt.planner_config("/ip4/127.0.0.1/tcp/%d%s" % (middle.port, suffix))).start()
		assert user.log.wait(lambda line: "peers.dial_failed" in line and "in the middle" in line)
		[peer] = user.qmt("peers", "--json").json["peers"]
		assert peer["state"] != "connected" and "in the middle" in peer["last_error"]
		assert server.qmt("peers", "--json").json["peers"] == [] and len(middle.relayed) >= 2
	finally:
		middle.close()
	user.stop()
	user.configure(qmt.planner_config(server.address))
	user.start()
	user.qmt("peers", "--wait", "gpu-server")


# ---- one identity on two machines, files -----------------------------------------------------------------------------

def test_one_identity_on_two_machines(house):
	"""Two nodes with one identity refuse each other, and both say so: in the log as an error with what to do, in `qmt status`, `qmt peers` and the
	metrics. A node that dials itself raises no such alarm."""
	user, server = house.pair()
	user.stop()
	shutil.copy(os.path.join(server.home, "mesh_identity.key"), os.path.join(user.home, "mesh_identity.key"))
	user.start()
	for node in (user, server):
		_, line = node.log.wait(lambda line: "identity.twice" in line)
		assert " error " in line.lower() and "qmt identity new --force" in line and node.peer_id in line
		status = node.qmt("status", "--json").json
		assert status["twin_address"] and status["twin_seen"].startswith("20")
		done = node.qmt("status")
		assert "has this node's identity" in done.err and "twin     /ip4/127.0.0.1/tcp/" in done.out
		assert "has this node's identity" in node.qmt("peers").err
		assert [m for m in node.qmt("metrics", "--json").json["metrics"] if m["name"] == "identity_twice"][0]["value"] >= 1
	alone = house.node("alone", qmt.gpu_config()).start()
	alone.stop()
	alone.configure(qmt.gpu_config(port=alone.port, extra='[[mesh.peers]]\nname = "myself"\naddr = "%s"\n' % alone.address))
	alone.start()
	assert alone.log.wait(lambda line: "peers.dial_failed" in line and "this node itself" in line)
	assert not any("identity.twice" in line for line in alone.log.lines) and not alone.qmt("status").err


def test_files_are_the_users_own(house):
	"""Nothing that a node writes can be read by others, whatever the umask."""
	old = os.umask(0)
	try:
		node = house.node("local", qmt.local_config()).start()
	finally:
		os.umask(old)
	node.qmt("session", "create", "--name", "s")
	node.chat(session="s", text="say hello")
	seen = []
	for folder, _, names in os.walk(node.home):
		for name in names:
			path = os.path.join(folder, name)
			seen.append(name)
			assert stat.S_IMODE(os.lstat(path).st_mode) & 0o077 == 0, path
	assert "mesh_identity.key" in seen and "sessions.db" in seen
