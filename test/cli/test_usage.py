"""Wrong usage, bad configuration, homes that cannot be used: a clear error, the right exit code, nothing overwritten."""
import os, re, shutil, sqlite3, stat, subprocess

import pytest
import qmt


def run(program, *args, env=None):
	done = subprocess.run([os.path.join(qmt.BUILD, program), *args], capture_output=True, timeout=qmt.DEADLINE_S, stdin=subprocess.DEVNULL,
		env=dict(os.environ, **(env or {})))
	return qmt.Result(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("args, says", [
	([], "a command is missing"),
	(["nonsense"], "no such command: nonsense"),
	(["status", "--nonsense"], "no such option: --nonsense"),
	(["status", "extra"], "takes no arguments"),
	(["chat", "s"], "wants: SESSION TEXT"),
	(["session", "list", "--limit", "x"], "is not a number"),
	(["session", "list", "--limit", "101"], "from 0 to 100"),
	(["status", "--on", "x"], "has no option --on"),
	(["chat", "s", "t", "--request"], "wants a value"),
])
def test_wrong_usage_exits_2(args, says):
	"""Wrong usage is one specific line on stderr and exit 2."""
	done = run("qmt", *args)
	assert done.code == 2 and says in done.err and len(done.err.splitlines()) == 1 and not done.out


def test_help_lists_every_command():
	"""`qmt --help` and `qmt COMMAND --help` come from the table."""
	done = run("qmt", "--help")
	for word in ("status", "identity", "nodes", "peers", "providers", "models", "routes", "metrics", "names", "actors", "session create",
		"session list", "session show", "session resume", "chat"):
		assert word in done.out
		assert run("qmt", *word.split(), "--help").out.startswith("usage: qmt " + word)
	assert done.code == 0 and "--mesh" in run("qmtd", "--help").out


def test_no_node_runs(house):
	"""Without a node every command says how to start one."""
	done = run("qmt", "--home", os.path.join(house.top, "none"), "status")
	assert done.code == 1 and "no node runs" in done.err and "qmtd" in done.err


def test_all_config_errors_at_once(house):
	"""All config errors come at once as file:line:col: key: reason (hint), exit 78."""
	path = os.path.join(house.top, "bad.toml")
	with open(path, "w") as out:
		out.write('[mesh]\nenabld = true\nlisten = "/ip4/1.2.3/tcp/1"\ntransport = "iroh"\n[agent]\nprovider = 7\n')
	done = run("qmtd", "--home", os.path.join(house.top, "h"), path)
	lines = done.err.splitlines()
	assert done.code == 78 and len(lines) >= 4
	assert all(re.match(r"%s:\d+:\d+: " % re.escape(path), line) for line in lines), done.err
	assert "enabled" in lines[0] and "not in this version" in done.err
	assert not os.path.exists(os.path.join(house.top, "h"))
	assert run("qmtd", "check", path).code == 78
	with open(path, "w") as out:
		out.write('[[providers]]\nname = "a"\nkind = "openai"\nbase_url = "http://$HOST/v1"\n')
	done = run("qmtd", "--home", os.path.join(house.top, "h"), path)
	assert done.code == 78 and done.err.startswith(path + ":4:12: providers.base_url: "), done


def test_check_and_dump(house):
	"""`qmtd check FILE --dump` prints the whole configuration without secrets."""
	node = house.node("n", qmt.local_config(provider='kind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\napi_key = "sk-very-secret"'))
	assert run("qmtd", "check", node.config_path).code == 0
	done = run("qmtd", "check", node.config_path, "--dump")
	assert done.code == 0 and "base_url" in done.out and "sk-very-secret" not in done.out


def test_second_daemon_on_the_same_home(house):
	"""A second daemon on the same home is refused, names the process, and harms nothing."""
	node = house.local()
	done = run("qmtd", "--home", node.home, node.config_path)
	assert done.code == 1 and str(node.process.pid) in done.err and "another" in done.err
	assert node.qmt("status").code == 0


def test_second_daemon_on_the_same_database(house):
	"""A second daemon with another home and the same database is refused, by whatever name it has it; running turns of the first are not touched."""
	first = house.node("first", qmt.local_config(agent='db = "shared.db"', provider='kind = "builtin"\nchunk_delay_ms = 50')).start()
	os.symlink("shared.db", os.path.join(house.top, "link.db"))
	first.qmt("session", "create", "--name", "s")
	with first.chatting("s", "help") as chat:
		assert qmt.event(chat.lines, "delta")
		for name in ("shared.db", "link.db"):
			second = house.node("second", qmt.local_config(agent='db = "%s"' % name))
			done = run("qmtd", "--home", second.home, second.config_path)
			assert done.code == 1 and str(first.process.pid) in done.err and "another" in done.err and "shared.db" in done.err, done
		assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "complete"
	assert first.stop() == 0
	second.start()
	assert second.qmt("session", "list", "--json").json["sessions"][0]["state"] == "complete"


def test_corrupt_database_is_not_touched(house):
	"""A corrupt, foreign or newer database is refused with a message that names it; not a byte of it changes."""
	node = house.local()
	node.qmt("session", "create")
	node.stop()
	path = os.path.join(node.home, "sessions.db")
	good = open(path, "rb").read()
	for content in (b"this is not a database, whatever its name says" * 100, good[:100] + os.urandom(len(good) - 100)):
		for extra in ("-wal", "-shm"):
			if os.path.exists(path + extra):
				os.unlink(path + extra)
		with open(path, "wb") as out:
			out.write(content)
		done = run("qmtd", "--home", node.home, node.config_path)
		assert done.code == 1 and path in done.err, done
		assert open(path, "rb").read() == content


def test_node_that_cannot_go_on_ends(house):
	"""An actor that fails at each start (here: a table of the database is missing) ends the node: exit 1, and it says why; it does not live on."""
	node = house.local()
	node.stop()
	with sqlite3.connect(os.path.join(node.home, "sessions.db")) as db:
		[[table]] = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%pin%'")
		db.execute("DROP TABLE %s" % table)
	db.close()
	done = run("qmtd", "--home", node.home, node.config_path)
	assert done.code == 1 and "cannot go on" in done.err and "actor.failed" in done.err and "sessions.db" in done.err, done


def test_missing_folder_of_the_database(house):
	"""A database in a folder that does not exist is a clear error."""
	node = house.node("n", qmt.local_config(agent='db = "nowhere/sessions.db"'))
	done = run("qmtd", "--home", node.home, node.config_path)
	assert done.code in (1, 78) and "nowhere" in done.err


def test_identity_file(house):
	"""The identity is 64 bytes, mode 0600, and stays the same over restarts; a wrong one is refused and not overwritten."""
	node = house.local()
	path = os.path.join(node.home, "mesh_identity.key")
	assert os.path.getsize(path) == 64 and stat.S_IMODE(os.stat(path).st_mode) == 0o600
	peer_id = node.peer_id
	assert node.qmt("identity").out.strip() == peer_id
	node.stop()
	assert node.qmt("identity").out.strip() == peer_id
	node.start()
	assert node.peer_id == peer_id
	node.stop()
	with open(path, "wb") as out:
		out.write(b"x" * 63)
	done = run("qmtd", "--home", node.home, node.config_path)
	assert done.code == 1 and "63 bytes, expected 64" in done.err
	assert open(path, "rb").read() == b"x" * 63
	os.chmod(path, 0o644)
	assert "chmod 600" in run("qmtd", "--home", node.home, node.config_path).err


def test_sigterm_drains_and_exits_0(house):
	"""SIGTERM drains and exits 0; the socket of the next start works."""
	node = house.local()
	assert node.stop() == 0
	node.start()
	assert node.qmt("status").code == 0


def test_status_json(house):
	"""`status --json` has the fields that scripts rely on."""
	user, server = house.pair()
	status = user.qmt("status", "--json").json
	assert status["peer_id"] == user.peer_id
	assert status["listen_addresses"] and status["listen_addresses"][0].endswith("/p2p/" + user.peer_id)
	[peer] = status["connected_peers"]
	assert set(peer) >= {"peer_id", "name", "transport", "scope", "rtt_ms", "since"}
	assert peer["peer_id"] == server.peer_id and peer["name"] == "gpu-server" and peer["transport"] == "tcp" and peer["scope"] == "lan:default"
	assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", peer["since"])


def test_full_disk(house):
	"""A full disk: the prompt fails with a clear message, nothing is lost, and the session goes on when there is room again."""
	disk = os.path.join(house.top, "disk")
	os.mkdir(disk)
	if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode != 0:
		pytest.skip("needs root and mount(2) for a small disk")
	try:
		node = house.node("n", qmt.local_config(agent='db = "disk/sessions.db"')).start()
		node.qmt("session", "create", "--name", "s")
		node.chat(session="s", text="hello")
		before = node.history("s")
		filler = os.open(os.path.join(disk, "filler"), os.O_WRONLY | os.O_CREAT)
		try:
			while os.write(filler, b"x" * 4096):
				pass
		except OSError:
			os.close(filler)
		done = node.chat(session="s", text="hello " * 20000, check=False)
		assert done.code == 1 and "full" in done.err, done
		os.unlink(os.path.join(disk, "filler"))
		assert node.chat(session="s", text="hello").code == 0
		assert node.history("s")[: len(before)] == before
		assert node.stop() == 0
	finally:
		house.close()
		subprocess.run(["umount", disk])
