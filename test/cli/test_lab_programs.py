"""The programs that scenarios run on a host: `qmt-lab upstream`, an HTTP server that misbehaves as its script says, and `qmt-lab peer`, a hostile
peer. Both against a real node."""
import contextlib, json, os, re, shutil, signal, socket, subprocess, tempfile

import pytest

import qmt

LAB = os.path.join(qmt.BUILD, "qmt-lab")
TEXT = '{"choices":[{"delta":{"content":"%s"}}]}'
END = '{"choices":[{"delta":{},"finish_reason":"stop"}]}'


def lab(*args, deadline=qmt.DEADLINE_S, env=None):
	done = subprocess.run([LAB, *args], capture_output=True, timeout=deadline, stdin=subprocess.DEVNULL, env=dict(os.environ, **(env or {})))
	return qmt.Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


# ---- upstream --------------------------------------------------------------------------------------------------------


class Upstream:
	def __init__(self, process):
		self.process, self.out = process, qmt.Lines(process.stdout)
		ready = self.out.wait(lambda line: line.startswith("ready url="))
		assert ready, self.process.stderr.read()
		self.url = ready[1].split("=", 1)[1]
		self.address = ("127.0.0.1", int(self.url.rsplit(":", 1)[1]))

	def wait(self, text, start=0):
		found = self.out.wait(lambda line: text in line, start=start)
		assert found, self.out.text()
		return found[1]

	def connect(self):
		connection = socket.create_connection(self.address, timeout=qmt.DEADLINE_S)
		connection.settimeout(qmt.DEADLINE_S)
		return connection

	def ask(self, path="/v1/chat/completions", method="POST", body=b"{}"):
		connection = self.connect()
		connection.sendall(b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (method.encode(), path.encode(), len(body), body))
		return connection


@contextlib.contextmanager
def upstream(house, script, *args, env=None):
	path = os.path.join(house.top, "upstream.txt")
	with open(path, "w") as out:
		out.write(script)
	process = subprocess.Popen([LAB, "upstream", *args, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
		env=dict(os.environ, **(env or {})))
	try:
		yield Upstream(process)
		process.send_signal(signal.SIGTERM)
		assert process.wait(qmt.DEADLINE_S) == 0
		assert process.stderr.read() == b""
	finally:
		if process.poll() is None:
			process.kill()
			process.wait()


def read_all(connection):
	"""The pieces that arrived, until the end; and how that came: "end" or "reset"."""
	pieces = []
	with connection:
		while True:
			try:
				piece = connection.recv(1 << 20)
			except ConnectionResetError:
				return pieces, "reset"
			if not piece:
				return pieces, "end"
			pieces.append(piece)


def node_on(house, up, **parameters):
	more = "".join("%s = %s\n" % (key, json.dumps(value)) for key, value in parameters.items())
	node = house.local(provider='kind = "openai"\nbase_url = "%s/v1"\nmodel = "stub"\n%s' % (up.url, more), extra="[session]\nmax_retries = 0\n")
	node.qmt("session", "create", "--name", "s")
	return node


def test_upstream_answers_a_node_cut_at_every_byte(house):
	"""A streamed answer with comments, CRLF, lone CR and events written byte by byte reaches the user whole; the upstream tells what it was asked."""
	script = """on POST /v1/chat/completions
  header "Content-Type: text/event-stream"
  chunked
  split 1
  sse %s
  raw ": a comment\\r\\n\\r\\n"
  crlf on
  sse %s
  crlf cr
  sse %s
  crlf off
  sse [DONE]
""" % (TEXT % "One", TEXT % " two", END)
	with upstream(house, script, "--bodies", "--headers") as up:
		node = node_on(house, up, api_key="key-of-the-test")
		assert node.chat(session="s", text="hello").out.strip() == "One two"
		request = up.wait("request 1 POST /v1/chat/completions bytes=")
		up.wait("header 1 Authorization: Bearer key-of-the-test")
		up.wait("sent ")
		[body] = [json.loads(line) for line in up.out.lines if line.startswith("{")]
		assert body["stream"] is True and body["messages"][-1]["content"] == "hello"
		assert int(request.split("bytes=")[1].split()[0]) == len(next(line for line in up.out.lines if line.startswith("{")).encode())


def test_upstream_lists_models_unless_told_otherwise(house):
	"""GET /v1/models has a default, which a block replaces; what no block fits is 404."""
	with upstream(house, "on POST /x\n  length auto\n  text hi\n") as up:
		pieces, _ = read_all_keep_alive(up.ask("/v1/models", "GET", b""))
		assert b'"id":"stub"' in pieces
		pieces, _ = read_all_keep_alive(up.ask("/y", "GET", b""))
		assert pieces.startswith(b"HTTP/1.1 404 Not Found\r\n")
		up.wait("request 2 GET /y bytes=0 line=default")
	with upstream(house, "on GET /v1/models\n  status 500\n  length 0\n") as up:
		assert read_all_keep_alive(up.ask("/v1/models", "GET", b""))[0].startswith(b"HTTP/1.1 500 ")


def read_all_keep_alive(connection):
	"""One answer with a Content-Length: its bytes, and the open connection."""
	data = b""
	while b"\r\n\r\n" not in data:
		data += connection.recv(65536)
	head, body = data.split(b"\r\n\r\n", 1)
	length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
	while len(body) < length:
		body += connection.recv(65536)
	return head + b"\r\n\r\n" + body, connection


def test_upstream_takes_requests_in_order_on_one_connection(house):
	"""Requests take the blocks that fit in order, the last one repeats; connections with a length are kept, also for what was sent ahead."""
	script = "on POST /a\n  length auto\n  text first\non POST /a\n  length auto\n  text later\n"
	request = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
	with upstream(house, script) as up, up.connect() as connection:
		connection.sendall(request * 3)
		data = b""
		while data.count(b"later") < 2:
			data += connection.recv(65536)
		assert data.count(b"first") == 1 and data.index(b"first") < data.index(b"later")
		up.wait("request 3 POST /a bytes=2 line=4")
		up.wait("bytes, request 3")


def test_upstream_cuts_the_body_at_one_place(house):
	"""`split at N` sends the body in two pieces, cut behind its byte N, wherever the events begin and end."""
	script = 'on * *\n  split at ${SPLIT} 50ms\n  sse a\n  sse b\n  wait 1ms\n  sse c\n'
	for split in (0, 1, 8, 9, 15, 16, 999):
		with upstream(house, script, env={"SPLIT": str(split)}) as up:
			pieces, how = read_all(up.ask())
			assert how == "end"
			head, body = b"".join(pieces).split(b"\r\n\r\n", 1)
			assert body == b"data: a\n\ndata: b\n\ndata: c\n\n"
			ends, at = set(), -len(head) - 4
			for piece in pieces:
				at += len(piece)
				ends.add(at)
			assert split in ends or split == 999, (split, ends)
			assert 9 in ends or split != 9
			assert all(end in (0, split, 18, 27) or end <= 0 for end in ends), (split, ends)


def test_upstream_writes_pieces(house):
	"""`split N TIME` writes head and body in pieces of N bytes, each its own send."""
	with upstream(house, "on * *\n  split 5 10ms\n  chunked\n  text abcdefgh\n") as up:
		pieces, _ = read_all_until(up.ask(), b"0\r\n\r\n")
		assert b"".join(pieces).endswith(b"\r\n\r\n8\r\nabcdefgh\r\n0\r\n\r\n")
		assert all(len(piece) <= 10 for piece in pieces) and sum(len(piece) == 5 for piece in pieces) > len(pieces) / 2, pieces


def read_all_until(connection, end):
	pieces = []
	while not b"".join(pieces).endswith(end):
		pieces.append(connection.recv(65536))
		assert pieces[-1]
	return pieces, connection


@pytest.mark.parametrize("steps, line, how, body", [
	("length 100\ntext half\nclose", "closed, request 1 after", "end", b"half"),
	("chunked\ntext half\nclose", "closed, request 1 after", "end", b"4\r\nhalf\r\n"),
	("chunked\ntext half\nreset", "reset, request 1 after", "reset", b"4\r\nhalf\r\n"),
	("bare\nbytes \"HTTP/1.1 200 OK\\r\\n\\r\\nx\"", "sent 20 bytes, request 1", "end", b"x"),
	("chunked\nbytes \"zz\\r\\n\"\nclose", "closed, request 1 after", "end", b"zz\r\n"),
	("repeat 3 raw ab", "sent ", "end", b"ababab"),
])
def test_upstream_ends(house, steps, line, how, body):
	"""FIN and RST in mid-body, answers without framing, and bytes that break the framing."""
	with upstream(house, "on * *\n%s\n" % steps) as up:
		pieces, ended = read_all(up.ask())
		assert ended == how and b"".join(pieces).split(b"\r\n\r\n", 1)[1] == body
		up.wait(line)


def test_upstream_never_ends(house):
	"""Headers and bodies without end, and a silence, last until the client goes, which is told."""
	script = "on GET /headers\nheaders endless\non GET /body\nchunked\nbody endless \"ab\"\non GET /hang\nchunked\ntext x\nhang\n"
	with upstream(house, script) as up:
		for number, (path, want) in enumerate((("/headers", b"X-Endless-20: aaa"), ("/body", b"ab" * 100), ("/hang", b"x"))):
			with up.ask(path, "GET", b"") as connection:
				data = b""
				while want not in data:
					piece = connection.recv(1 << 20)
					assert piece
					data += piece
				if path == "/hang":
					up.wait("hanging, request 3 after ")
			assert up.out.wait(lambda line: line.startswith("closed by client") and "request %d after" % (number + 1) in line)


@pytest.mark.parametrize("steps, words", [
	("status 503\nheader \"Retry-After: 1\"\nlength auto\ntext {\"error\":{\"message\":\"no room\"}}", "no room"),
	("header \"Content-Type: text/event-stream\"\nchunked\nsse " + TEXT % "half" + "\nreset", ""),
	("header \"Content-Type: text/event-stream\"\nchunked\nsse " + TEXT % "half" + "\nclose", ""),
	("headers endless", ""),
	("header \"Content-Type: text/event-stream\"\nchunked\nbody endless", ""),
	("bare\nbytes \"\\x00\\xff\\r\\n\\r\\n\"", ""),
])
def test_node_survives_upstream(house, steps, words):
	"""Whatever the upstream does, the turn ends with an error in words, and the node lives on."""
	with upstream(house, "on POST *\n%s\n" % steps) as up:
		node = node_on(house, up, event_limit_bytes=65536)
		done = node.chat(session="s", text="hello", check=False)
		assert done.code == 1 and done.err.strip() and words in done.err, done
		assert node.qmt("status").code == 0
		assert node.stop() == 0


def test_cancel_reaches_the_upstream(house):
	"""Ctrl-C in mid-answer: the upstream sees the connection close."""
	script = 'on POST *\nheader "Content-Type: text/event-stream"\nchunked\nsse %s\nhang\n' % (TEXT % "half")
	with upstream(house, script) as up:
		node = node_on(house, up)
		with node.chatting("s", "hello") as chat:
			assert qmt.event(chat.lines, "delta")
			up.wait("hanging, request 1")
			chat.send_signal(signal.SIGINT)
			assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "cancelled"
		up.wait("closed by client")


def test_upstream_refuses_what_it_cannot_read(house):
	"""A client that is not HTTP, or announces too much, is refused and told so; the next one is served."""
	with upstream(house, "on * *\nlength 0\n") as up:
		for request in (b"hello\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
				b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"x" * 70000):
			with up.connect() as connection:
				connection.sendall(request)
				assert read_all(connection)[0] == []
		up.wait("refused: a head without end")
		assert sum(line.startswith("refused: ") for line in up.out.lines) == 5, up.out.text()
		with up.connect() as connection:
			connection.sendall(b"POST / HTTP/1.1\r\nContent-")
		up.wait("in the middle of a request")
		assert read_all_keep_alive(up.ask())[0].startswith(b"HTTP/1.1 200")


def test_upstream_usage(house):
	"""Faults of a script come all at once with their lines, exit 2; so does wrong usage. --help has every step."""
	path = os.path.join(house.top, "bad.txt")
	with open(path, "w") as out:
		out.write("on POST /\nstatus x\nwait\n")
	done = lab("upstream", path)
	assert done.code == 2 and done.err.count(path + ":") == 2 and path + ":2: " in done.err and path + ":3: " in done.err
	assert lab("upstream", os.path.join(house.top, "none.txt")).code == 2
	assert lab("upstream").code == 2 and lab("upstream", "--what", path).code == 2 and lab("upstream", "--listen", "x", path).code == 2
	text = lab("upstream", "--help")
	assert text.code == 0 and all(word in text.out for word in ("on METHOD PATH", "split", "headers endless", "--listen IP:PORT", "--bodies"))
	with upstream(house, "on * *\n") as up:
		with open(path, "w") as out:
			out.write("on * *\n")
		taken = lab("upstream", "--listen", "127.0.0.1:%d" % up.address[1], path)
		assert taken.code == 1 and "in use" in taken.err


# ---- peer ------------------------------------------------------------------------------------------------------------

# Mode, arguments, and what it says besides "cut": so that it was refused for the right reason.
MODES = {
	"silent": ((), "cut: 1 connections"),
	"garbage": (("--seed", "7"), "cut: 16 connections"),
	"plain": ((), "cut: 1 connections"),
	"no-hello": ((), "cut"),
	"bad-hello": ((), "refused: malformed HELLO offer"),
	"named": ((), "cut"),
	"lie-id": ((), "signature does not fit"),
	"replay": ((), "once more with the same CURVE key"),
	"wrong-key": ((), "signature does not fit"),
	"flood-connections": (("--count", "100"), "cut: 100 connections"),
	"flood": (("--seconds", "1"), "asks and "),
	"huge": ((), "cut"),
	"deep": ((), "nested too deep"),
	"truncated": ((), "end too early"),
	"version": ((), "envelope version 127"),
	"malformed": ((), "begins no value"),
	"pieces": ((), "a piece of a message that never began"),
	"forbidden": ((), "refused node.status: node.status: a peer on the LAN may not send this"),
	"parameters": ((), "parameters.base_url: cannot be set by a peer"),
	"requests": ((), "refused: a new connection gives no more"),
}


def victim(house, link="hello_ms = 300\nunproven_max = 16"):
	limit = "max_remote_requests_minute = 500"
	return house.node("gpu", qmt.gpu_config(mesh=limit).replace("[mesh.link]", "[mesh.link]\n" + link)).start()


@pytest.fixture(scope="module")
def survivor():
	"""One node that has to bear all modes."""
	top = tempfile.mkdtemp(prefix="qmt-test-")
	house = qmt.House(top)
	yield victim(house)
	code = house.nodes[0].stop()
	house.close()
	shutil.rmtree(top, ignore_errors=True)
	assert code == 0


@pytest.mark.parametrize("mode", MODES)
def test_peer_is_refused(survivor, mode):
	"""The node refuses or cuts it, a peer with good manners is answered afterwards: exit 0."""
	args, words = MODES[mode]
	done = lab("peer", mode, survivor.address, *args)
	lines = done.out.splitlines()
	assert done.code == 0 and words in done.out, (done, survivor.log.text()[-3000:])
	assert lines[0].startswith("ready mode=%s " % mode) and lines[-1] == "alive: gpu-server " + survivor.peer_id, done


def test_peer_knows_all_its_modes(house):
	"""--help lists every mode, and each of them is tried here."""
	text = lab("peer", "--help")
	listed = re.findall(r"^  ([a-z][a-z-]+) ", text.out.split("\nModes\n")[1].split("\nOptions\n")[0], re.MULTILINE)
	assert text.code == 0 and sorted(listed) == sorted(MODES)


def test_peer_without_a_name_gets_no_session(house):
	"""Where peers may have sessions, one that nobody named gets none, whoever it says it is; the refusal names the command."""
	agent = '[agent]\nid = "helper"\nprovider = "llm"\ncwd = "work"\ntools = ["ls"]\n'
	node = house.node("gpu", qmt.gpu_config(mesh="allow_remote_sessions = true", extra=agent)).start()
	node.qmt("session", "create", "--name", "mine")
	done = lab("peer", "forbidden", node.address)
	assert done.code == 0 and "qmt peers allow 12D3" in done.out and "the owner is" not in done.out, done
	assert len(node.qmt("session", "list", "--json").json["sessions"]) == 1


def test_peer_claims_to_be_somebody(house):
	"""lie-id --as: the PeerId of a node that this one knows."""
	user, server = house.pair()
	done = lab("peer", "lie-id", server.address, "--as", user.peer_id)
	assert done.code == 0 and "claims to be " + user.peer_id in done.out and "signature does not fit" in done.out, done


@pytest.mark.parametrize("mode", ["silent", "plain", "no-hello", "lie-id", "replay", "huge", "forbidden", "flood"])
def test_peer_fails_without_a_node(mode):
	"""Nobody at the address: exit 1, so that no scenario passes for nothing."""
	with socket.socket() as closed:
		closed.bind(("127.0.0.1", 0))
		done = lab("peer", mode, "127.0.0.1:%d" % closed.getsockname()[1], "--within", "2s")
	assert done.code == 1 and "failed" in done.out or "dead" in done.out, done


@pytest.mark.parametrize("mode, words", [
	("silent", "let: 1 of 1 connections are still open"), ("garbage", "let: 16 of 16"), ("no-hello", "let: "), ("lie-id", "let: no answer"),
	("huge", "failed: no link"),
])
def test_peer_sees_what_is_not_cut(mode, words):
	"""Something at the address that takes all and cuts nobody: exit 1."""
	with socket.socket() as listener:
		listener.bind(("127.0.0.1", 0))
		listener.listen(64)
		done = lab("peer", mode, "127.0.0.1:%d" % listener.getsockname()[1], "--within", "500ms")
	assert done.code == 1 and words in done.out, done


@pytest.mark.parametrize("mode, words", [("silent", "let: 1 of 1"), ("flood-connections", "let: 16 of 20"), ("no-hello", "let: the link is still there")])
def test_peer_sees_a_patient_node(house, mode, words):
	"""A node that does not cut in time: exit 1."""
	node = victim(house, "hello_ms = 60000\nunproven_max = 16")
	done = lab("peer", mode, node.address, "--within", "500ms", "--count", "20")
	assert done.code == 1 and words in done.out, done


def test_peer_sees_a_node_without_curve():
	"""Somebody who greets with ZMTP's mechanism NULL has let it in: exit 1."""
	with socket.socket() as listener:
		listener.bind(("127.0.0.1", 0))
		listener.listen(1)
		process = subprocess.Popen([LAB, "peer", "plain", "127.0.0.1:%d" % listener.getsockname()[1]], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
		connection, _ = listener.accept()
		with connection:
			connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48))
			while connection.recv(1000).find(b"hello") < 0:
				pass
		out, _ = process.communicate(timeout=qmt.DEADLINE_S)
	assert process.returncode == 1 and b"let in: " in out


def test_peer_sees_who_drowns(house):
	"""A node that serves nobody during the flood: exit 1."""
	node = victim(house)
	process = subprocess.Popen([LAB, "peer", "flood", node.address, "--within", "1s"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
	lines = qmt.Lines(process.stdout)
	try:
		assert lines.wait(lambda line: line == "flooding")
		node.process.send_signal(signal.SIGSTOP)
		assert process.wait(qmt.DEADLINE_S) == 1
		assert lines.wait(lambda line: line.startswith("dead: "))
	finally:
		node.process.send_signal(signal.SIGCONT)
		if process.poll() is None:
			process.kill()
			process.wait()


def test_peer_sees_who_is_dead(house):
	"""A node that cuts, and serves nobody afterwards: exit 1."""
	node = victim(house)
	process = subprocess.Popen([LAB, "peer", "no-hello", node.address, "--within", "2s"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
	lines = qmt.Lines(process.stdout)
	try:
		assert lines.wait(lambda line: line.startswith("ready "))
		node.kill()
		assert process.wait(qmt.DEADLINE_S) == 1
		assert lines.wait(lambda line: line.startswith("dead: a peer with good manners got no node.info"))
	finally:
		if process.poll() is None:
			process.kill()
			process.wait()


def test_peer_usage():
	"""Wrong usage says what is wrong: exit 2."""
	for args, words in (
			(("silent",), "MODE and ADDRESS"), (("what", "127.0.0.1:1"), "no such mode: what"), (("silent", "x"), "neither a multiaddr"),
			(("silent", "/ip4/1.2.3.4/udp/5"), "are dialed"), (("silent", "127.0.0.1:0"), "neither"), (("silent", "1.2.3.4:5", "--as", "x"), "--as x"),
			(("silent", "127.0.0.1:1", "--within", "x"), "not a time"), (("silent", "1.2.3.4:5", "--count", "-1"), "not a number"),
			(("silent", "1.2.3.4:5", "--what"), "no such option")):
		done = lab("peer", *args)
		assert done.code == 2 and words in done.err and done.out == "", (args, done)
