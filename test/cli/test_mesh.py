"""Two nodes: the model on one, user, files and tools on the other."""
import json, os, signal, socket, subprocess, time

import qmt


def test_conversation_over_the_mesh(house):
	"""A user talks to a session on one node, the model call is made on another, the text streams back, tools run on the user's node, and all of it
	is there after both restart."""
	user, server = house.pair()
	user.qmt("session", "create", "--name", "s")
	user.chat(session="s", text="write notes.txt: over the mesh")
	assert open(os.path.join(house.work, "notes.txt")).read().strip() == "over the mesh"
	events = user.chat("--json", session="s", text="read notes.txt").objects
	assert "over the mesh" in "".join(e["text"] for e in events if e["event"] == "delta")
	before = user.history("s")
	assert server.stop() == 0 and user.stop() == 0
	server.start()
	user.start()
	user.qmt("peers", "--wait", "gpu-server")
	assert user.history("s") == before
	assert "over the mesh" in user.chat(session="s", text="read notes.txt").out


def test_lists_show_both_nodes(house):
	"""nodes, peers, providers, models and routes show what is where."""
	user, server = house.pair()
	nodes = user.qmt("nodes", "--json").json["nodes"]
	assert [n["name"] for n in nodes] == ["planner", "gpu-server"] and nodes[0]["self"] and nodes[1]["capabilities"] == ["gpu"]
	assert [p["name"] for p in user.qmt("providers", "--json").json["providers"]] == ["llm"]
	assert user.qmt("providers", "--json").json["providers"][0]["peer_id"] == server.peer_id
	assert "builtin" in user.qmt("models").out
	[route] = user.qmt("routes", "--json").json["routes"]
	assert route["agent"] == "coder" and route["target"] == "peer" and route["peer"] == "gpu-server" and route["peer_id"] == server.peer_id
	[peer] = user.qmt("peers", "--json").json["peers"]
	assert peer["state"] == "connected" and peer["configured"]


def test_names_of_the_mesh(house):
	"""`qmt names` shows the providers of both nodes when they name each other, a row for each name and node; of another peer, nothing."""
	user, server = house.pair(planner={"extra": '[[providers]]\nname = "own"\nkind = "builtin"\n'})
	own = [{"name": "provider/own", "scope": "lan:default", "peer": ""}]
	assert user.qmt("names", "--json").json["rows"] == own
	assert server.stop() == 0
	server.configure(qmt.gpu_config(port=server.port, extra='[[mesh.peers]]\nname = "planner"\naddr = "%s"\n' % user.address))
	server.start()
	rows, end = [], time.monotonic() + qmt.DEADLINE_S
	while len(rows) < 2 and time.monotonic() < end:
		rows = user.qmt("names", "--json").json["rows"]
	assert rows == [dict(own[0], name="provider/llm", peer=server.peer_id)] + own
	assert {r["name"]: r["peer"] for r in server.qmt("names", "--json").json["rows"]} == {"provider/llm": "", "provider/own": user.peer_id}
	lines = user.qmt("names").out.splitlines()
	assert lines[0].split() == ["NAME", "SCOPE", "NODE"] and lines[2].endswith("this node") and server.peer_id in lines[1]
	assert server.stop() == 0
	while len(rows) > 1 and time.monotonic() < end:
		rows = user.qmt("names", "--json").json["rows"]
	assert rows == own


def test_unresolved_peer_is_an_error(house):
	"""When the peer is away the turn fails with a clear error, never a silent local run; it works again when the peer is back."""
	user, server = house.pair(planner={"extra": '[[providers]]\nname = "llm"\nkind = "builtin"\n'})
	user.qmt("session", "create", "--name", "s")
	assert server.stop() == 0
	done = user.chat(session="s", text="hello", check=False, deadline=60)
	assert done.code == 1 and "gpu-server" in done.err
	server.start()
	user.qmt("peers", "--wait", "gpu-server")
	assert user.chat(session="s", text="hello").code == 0


def test_remote_sessions_need_a_key(house):
	"""`session create --on` needs allow_remote_sessions and `peers allow` there, tools there need allow_remote_tools; the refusal names the key."""
	agent = '[agent]\nid = "helper"\nprovider = "llm"\ncwd = "work"\ntools = ["ls", "shell"]\n'
	user, server = house.pair(gpu={"extra": agent})
	done = user.qmt("session", "create", "--on", "gpu-server", check=False)
	assert done.code == 1 and "allow_remote_sessions" in done.err
	server.stop()
	server.configure(qmt.gpu_config(port=server.port, extra=agent, mesh="allow_remote_sessions = true"))
	server.start()
	user.qmt("peers", "--wait", "gpu-server")
	done = user.qmt("session", "create", "--on", "gpu-server", check=False)
	assert done.code == 1 and f"qmt peers allow {user.peer_id}" in done.err
	server.qmt("peers", "allow", user.peer_id)
	session = user.qmt("session", "create", "--on", "gpu-server", "--name", "far").out.strip()
	hello = user.chat(session="far", text="hello")
	assert hello.out.strip() and "allow_remote_tools" in hello.err
	assert "->" not in user.chat(session="far", text="list .").err
	assert user.qmt("session", "list", "--json").json["sessions"][0]["peer"] == server.peer_id
	assert server.qmt("session", "show", session, "--json").json["session"]["owner"] == user.peer_id
	server.stop()
	server.configure(qmt.gpu_config(port=server.port, extra=agent, mesh="allow_remote_sessions = true\nallow_remote_tools = true"))
	server.start()
	user.qmt("peers", "--wait", "gpu-server")
	again = user.qmt("session", "create", "--on", "gpu-server", "--name", "far2").out.strip()
	assert "-> ls" in user.chat(session="far2", text="list .").err
	assert user.qmt("session", "show", again, "--json").json["messages"]


def metric(node, name, label=""):
	[value] = [m["value"] for m in node.qmt("metrics", "--json").json["metrics"] if m["name"] == name and m["label"] == label]
	return value


def test_metrics(house):
	"""What a turn over the mesh did is counted where it was done, and links are counted over a cut."""
	user, server = house.pair(gpu={"provider": 'kind = "builtin"\nchunk_delay_ms = 20'})
	user.qmt("session", "create", "--name", "s")
	user.chat(session="s", text="say one two three")
	with user.chatting("s", "count to 100000") as chat:
		assert qmt.event(chat.lines, "delta")
		assert metric(user, "turns_begun") == 2 and metric(server, "provider_active", "llm") == 1
		chat.send_signal(signal.SIGINT)
		assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "cancelled"
	assert metric(user, "turns_ended", "complete") == 1 and metric(user, "turns_ended", "cancelled") == 1
	assert metric(user, "sessions_in_memory") == 1 and metric(server, "sessions_in_memory") == 0
	assert metric(server, "provider_requests", "llm") == 2 and metric(server, "provider_chunks", "llm") >= 4
	assert metric(user, "store_commits") >= 4 and metric(user, "store_rows") >= 6
	got = metric(user, "link_messages_in", "gpu-server")
	assert got >= 6 and metric(user, "link_bytes_in", "gpu-server") > got and metric(server, "link_messages_in", "planner") >= 2
	assert metric(user, "peers_connected") == metric(server, "peers_connected") == 1
	assert metric(user, "links_lost") == 0
	server.stop()
	server.start()
	user.qmt("peers", "--wait", "gpu-server")
	assert metric(user, "link_messages_in", "gpu-server") >= got and metric(user, "dials") >= 2
	assert metric(user, "links_made") == 2 and metric(user, "links_lost") + metric(user, "links_replaced") == 1
	table = user.qmt("metrics")
	assert not table.err and "gpu-server" in table.out and table.out.splitlines()[0].split() == ["METRIC", "OF", "VALUE", "MEANING"]
	assert user.qmt("metrics", "--json").json["errors"] == []


def test_advertise(house):
	"""Peers are told exactly what a node advertises, else where it listens; an address that says another PeerId is refused."""
	user, server = house.pair(gpu={"mesh": 'advertise = ["/ip4/127.8.8.8/tcp/9000", "/dns4/gpu.example/tcp/9001"]'})
	told = [text + "/p2p/" + server.peer_id for text in ("/ip4/127.8.8.8/tcp/9000", "/dns4/gpu.example/tcp/9001")]
	status = server.qmt("status", "--json").json
	assert status["advertised_addresses"] == told and status["listen_addresses"] == [server.address + "/p2p/" + server.peer_id]
	assert user.qmt("status", "--json").json["advertised_addresses"] == []
	for node in (user, server):
		seen = {n["name"]: n["addresses"] for n in node.qmt("nodes", "--json").json["nodes"]}
		assert seen == {"gpu-server": told, "planner": [user.address + "/p2p/" + user.peer_id]}
	assert told[0] in server.qmt("status").out
	server.stop()
	server.configure(qmt.gpu_config(port=server.port, mesh='advertise = ["/ip4/127.8.8.8/tcp/9000/p2p/%s"]' % user.peer_id))
	done = subprocess.run([os.path.join(qmt.BUILD, "qmtd"), "--home", server.home, server.config_path], capture_output=True, timeout=qmt.DEADLINE_S)
	assert done.returncode == 1 and b"advertise" in done.stderr and user.peer_id.encode() in done.stderr


def test_wrong_peer_id_is_refused(house):
	"""A peer that proves another PeerId than the address names is refused, logged once, and both nodes live on."""
	user, server = house.pair()
	user.stop()
	wrong = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
	user.configure(qmt.planner_config(server.address + "/p2p/" + wrong))
	user.start()
	assert user.log.wait(lambda line: "peer.refused" in line and wrong in line)
	[peer] = user.qmt("peers", "--json").json["peers"]
	assert peer["state"] != "connected" and "expected " + wrong in peer["last_error"]
	assert user.qmt("peers", "--wait", wrong, "--timeout", "1", check=False).code == 1  # it dials again and again meanwhile
	user.stop()
	for node in (user, server):
		assert sum("refused" in line for line in node.log.lines) == 1, node.log.text()
	user.configure(qmt.planner_config(server.address + "/p2p/" + server.peer_id))
	user.start()
	user.qmt("peers", "--wait", "gpu-server")


def test_changed_identity_is_refused_until_forgotten(house):
	"""A peer without /p2p/ in its address is pinned at first contact; another identity under that name is refused until `qmt peers forget`."""
	user, server = house.pair()
	server.stop()
	os.unlink(os.path.join(server.home, "mesh_identity.key"))
	server.start()
	assert user.log.wait(lambda line: "peer.refused" in line and "qmt peers forget gpu-server" in line)
	[peer] = [p for p in user.qmt("peers", "--json").json["peers"] if p["configured"]]
	assert peer["state"] != "connected" and "qmt peers forget gpu-server" in peer["last_error"]
	user.qmt("peers", "forget", "gpu-server")
	user.qmt("peers", "--wait", "gpu-server")


def test_cancel_reaches_the_peer(house):
	"""Ctrl-C cancels the turn also on the node that makes the call."""
	user, server = house.pair(gpu={"provider": 'kind = "builtin"\nchunk_delay_ms = 300'})
	user.qmt("session", "create", "--name", "s")
	with user.chatting("s", "help") as chat:
		assert qmt.event(chat.lines, "delta")
		chat.send_signal(signal.SIGINT)
		assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "cancelled"
	assert server.qmt("providers", "--json").json["providers"][0]["active"] == 0


def far_session(house):
	"""A slow session on gpu-server, made by planner."""
	agent = '[agent]\nid = "helper"\nprovider = "llm"\ncwd = "work"\n'
	user, server = house.pair(gpu={"extra": agent, "mesh": "allow_remote_sessions = true", "provider": 'kind = "builtin"\nchunk_delay_ms = 500'})
	server.qmt("peers", "allow", user.peer_id)
	return user, server, user.qmt("session", "create", "--on", "gpu-server", "--name", "far").out.strip()


def test_host_of_the_session_dies(house):
	"""When the node that hosts the session is killed in a turn, `qmt chat` says so and ends with 1; it does not wait for ever."""
	user, server, _ = far_session(house)
	with user.chatting("far", "help", "--check", "1") as chat:
		assert qmt.event(chat.lines, "prompted")
		server.kill()
		assert qmt.event(chat.lines, "lost")
		assert chat.wait(20) == 1
		assert chat.errors.wait(lambda line: "gpu-server" in line and "--request" in line)


def test_host_of_the_session_comes_back(house):
	"""A turn whose host was killed and is back is interrupted: `qmt chat` finds that out and shows what was stored."""
	user, server, session = far_session(house)
	with user.chatting("far", "help", "--check", "3") as chat:
		assert qmt.event(chat.lines, "delta", want=lambda e: e["offset"] > 20)  # a checkpoint is behind it
		server.kill()
		server.start()
		user.qmt("peers", "--wait", "gpu-server")
		assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "interrupted"
		assert chat.wait(20) == 1
		events = [json.loads(line) for line in chat.lines.text().splitlines()]
	told = "".join(e["text"] for e in events if e["event"] == "delta")
	stored = [m["content"] for m in user.history("far") if m["role"] == "assistant"]
	assert stored and told.startswith(stored[0])


def test_garbage_on_the_port(house):
	"""Bytes that are no ZMTP, plain ZMTP, and connections that say nothing are cut; the node lives on."""
	user, server = house.pair()
	user.qmt("session", "create", "--name", "s")
	for data in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL" + b"\0" * 48, b""):
		with socket.create_connection(("127.0.0.1", server.port)) as sock:
			sock.sendall(data)
	assert user.chat(session="s", text="hello").code == 0


def test_five_megabytes(house):
	"""A prompt of 5 MB goes through the peer and back."""
	user, server = house.pair()
	user.qmt("session", "create", "--name", "s")
	big = os.path.join(house.work, "big.txt")
	text = b"hello " + b"0123456789abcdef" * (5 * 1024 * 1024 // 16)
	done = user.chat(session="s", text="-", stdin=text, deadline=120)
	assert done.code == 0
	assert len(user.history("s")[0]["content"]) == len(text)


def traced(log, trace):
	"""The events of the lines with this trace, in order."""
	return [line.split()[2] for line in log.text().splitlines() if line.endswith("trace=" + trace)]


def test_one_trace_from_client_to_upstream(house):
	"""`grep trace=...` over the logs of both nodes shows one `qmt chat`: the session on one, the provider on the other; `--trace` says which, and a
	failure too. The next prompt has another one."""
	script = os.path.join(house.top, "answers.script")
	with open(script, "w") as out:
		out.write('turn when "hello"\n  text "hi there"\nturn when "bad"\n  error invalid_request "nothing works"\n')
	user, server = house.pair(gpu={"provider": 'kind = "script"\nscript = "%s"' % script})
	user.qmt("session", "create", "--name", "s")
	seen = []
	for text, code in (("hello", 0), ("bad", 1)):
		done = user.chat("--trace", session="s", text=text, check=False)
		assert done.code == code, done
		first = done.err.splitlines()[0]
		assert first.startswith("trace=") and len(first) == len("trace=") + 16
		seen.append(first.split("=")[1])
		assert "session.state" in traced(user.log, seen[-1])
		assert "provider.asked" in traced(server.log, seen[-1])
	assert seen[0] != seen[1]
	assert traced(user.log, seen[0]).count("session.state") >= 7  # each step of the turn, to its end
	assert "provider.turn" in traced(server.log, seen[0])
	assert "provider.upstream" in traced(server.log, seen[1]) and "provider.upstream" not in traced(server.log, seen[0])
	# repeated, a request goes on with its trace
	request = "0192f0c1-2345-7890-abcd-0123456789ab"
	again = [user.chat("--trace", "--request", request, session="s", text="hello").err.splitlines()[0] for _ in range(2)]
	assert again[0] == again[1] and again[0].split("=")[1] not in seen
