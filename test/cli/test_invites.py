"""`qmt invite create`, `list`, `revoke`, `qmt audit` and qmtd's flags: the node keeps the record; a token is told once, and to nobody else."""
import json, os, shutil, subprocess, time

import pytest
import qmt

CONFIG = '[mesh]\nenabled = true\nnode_name = "host"\nlisten = "/ip4/127.0.0.1/tcp/0"\ndiscovery = "none"\n%s\n'
PREFIX = "qmt://mesh/join/"


def show(text):
	done = subprocess.run([os.path.join(qmt.BUILD, "qmt"), "invite", "show", "-", "--json"], input=text.encode() + b"\n", capture_output=True,
		timeout=qmt.DEADLINE_S)
	return json.loads(done.stdout)


def test_create(house):
	"""An invite is the node's own, holds as long and as often as was asked, and is printed bare and with each address to dial."""
	node = house.node("host", CONFIG % "").start()
	before = int(time.time())
	done = node.qmt("invite", "create")
	lines = done.out.splitlines()
	assert lines[0].startswith(PREFIX) and lines[1] == lines[0] + "#" + node.address and len(lines) == 2
	assert "1 use, until 20" in done.err and lines[0][len(PREFIX):] not in done.err
	said = show(lines[1])
	assert said["valid"] and said["inviter_peer_id"] == node.peer_id and said["mesh_id"] == node.peer_id + ":anon" and said["address"] == node.address
	assert said["max_uses"] == 1 and said["role"] == "member" and not said["can_invite"] and before + 86400 <= said["expires_at"] <= time.time() + 86400
	for ttl, seconds in (("45s", 45), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("3600", 3600), ("1h30m", 5400), ("none", None)):
		made = node.qmt("invite", "create", "--name", "labor", "--ttl", ttl, "--uses", "5", "--role", "client", "--json").json
		said = show(made["token"])
		assert said["valid"] and said["mesh_name"] == "labor" and said["max_uses"] == 5 and said["role"] == "client"
		assert made["url"] == PREFIX + made["token"] and made["urls"] == [made["url"], made["url"] + "#" + node.address]
		assert said["expires_at"] == 0 if seconds is None else abs(said["expires_at"] - time.time() - seconds) < qmt.DEADLINE_S
		assert said["invite_id"] == made["invite"]["id"]
	assert show(node.qmt("invite", "create", "--uses", "0", "--json").json["token"])["max_uses"] == 0


@pytest.mark.parametrize("args, says", [
	(["--ttl", "1w"], "--ttl: not a span of time: 'w' at 1"),
	(["--ttl", ""], "--ttl: an empty span of time"),
	(["--ttl", "1.5h"], "'.' at 1"),
	(["--ttl", "0"], "for ever is none"),
	(["--ttl", "99999999999999999999d"], "too long"),
	(["--uses", "-1"], "--uses"),
	(["--uses", "4294967296"], "--uses"),
	(["--uses", " 1"], "--uses"),
	(["--role", "admin"], "--role"),
	(["--png", "a", "--svg", "b"], "one picture"),
	(["--png", "-"], "goes to a file"),
])
def test_wrong_usage(house, args, says):
	"""What cannot be meant is wrong usage, and says where; no node is asked."""
	done = subprocess.run([os.path.join(qmt.BUILD, "qmt"), "--home", house.top, "invite", "create", *args], capture_output=True, timeout=qmt.DEADLINE_S)
	assert done.returncode == 2 and says in done.stderr.decode() and not done.stdout


def test_names(house):
	"""A mesh name is printable text of up to 255 bytes."""
	node = house.node("host", CONFIG % "").start()
	assert show(node.qmt("invite", "create", "--name", "\u00e4" * 127 + "x", "--json").json["token"])["mesh_name"] == "\u00e4" * 127 + "x"
	for name, says in (("x" * 256, "256 bytes"), ("a\nb", "control character at byte 2"), ("a\u202eb", "control character"), (b"\xff", "UTF-8")):
		done = node.qmt("invite", "create", "--name", name, check=False)
		assert done.code in (1, 2) and says in done.err and not done.out


def test_list_revoke_audit(house):
	"""The record survives a restart; an invite is revoked by the beginning of its id; who did what is in the audit log."""
	node = house.node("host", CONFIG % "").start()
	made = [node.qmt("invite", "create", "--name", "m%d" % i, "--uses", str(i), "--json").json["invite"]["id"] for i in range(3)]
	node.stop()
	node.start()
	listed = node.qmt("invite", "list", "--json").json
	assert listed["total"] == 3 and sorted(row["id"] for row in listed["invites"]) == sorted(made)
	assert node.qmt("invite", "list", "--limit", "1").out.count("\n") == 3
	revoked = node.qmt("invite", "revoke", made[1], "--json").json
	assert not revoked["already"] and revoked["invite"]["id"] == made[1] and revoked["peers"] == []
	assert "before" in node.qmt("invite", "revoke", made[1]).out
	assert "several invites" in node.qmt("invite", "revoke", made[1][:4], check=False).err
	missing = node.qmt("invite", "revoke", "ffffffff", check=False)
	assert missing.code == 1 and "no invite ffffffff" in missing.err
	table = node.qmt("invite", "list").out
	assert [line.split()[-1] for line in table.splitlines() if made[1] in line] == ["revoked"]
	audit = node.qmt("audit", "--json").json["rows"]
	assert [row["event"] for row in audit] == ["invite_revoked"] + ["invite_created"] * 3
	assert audit[0]["invite"] == made[1] and made[1] in node.qmt("audit").out
	older = node.qmt("audit", "--before", str(audit[1]["seq"]), "--json").json["rows"]
	assert [row["seq"] for row in older] == [row["seq"] for row in audit[2:]]
	assert node.qmt("audit", "--before", str(audit[1]["seq"]), "--limit", "1").out.splitlines()[1].split()[0] == str(audit[2]["seq"])
	assert node.qmt("audit", "--before", "x", check=False).code == 2


def test_pictures(house):
	"""A QR code of --png and --svg has the URL with where to dial; with --qr one is on the terminal, too."""
	node = house.node("host", CONFIG % 'advertise = ["/dns4/gpu.example.org/tcp/9000"]').start()
	png, svg = os.path.join(house.top, "q.png"), os.path.join(house.top, "q.svg")
	done = node.qmt("invite", "create", "--png", png)
	best = done.out.splitlines()[1]
	assert best.endswith("#/dns4/gpu.example.org/tcp/9000") and os.stat(png).st_mode & 0o777 == 0o600
	assert node.qmt("invite", "create", "--svg", svg).code == 0 and open(svg).read().startswith("<svg ")
	assert "\033[38;5;16;48;5;231m" in node.qmt("invite", "create", "--qr").out
	if not shutil.which("zbarimg"):
		pytest.skip("zbarimg is not installed")
	seen = subprocess.run(["zbarimg", "-q", "--raw", png], capture_output=True, timeout=qmt.DEADLINE_S).stdout.decode().strip()
	assert seen == best and show(seen)["valid"]


def test_flags_of_qmtd(house):
	"""--mesh-invite prints an invite on standard output when the node is ready; --invite-ttl and --invite-uses say how far it goes."""
	node = house.node("host", CONFIG % "").start(args=["--mesh-invite=home", "--invite-ttl", "7d", "--invite-uses=2"])
	line = node.out.wait(lambda text: text.startswith("invite " + PREFIX) and "#" in text)[1]
	said = show(line.split()[1])
	assert said["valid"] and said["mesh_id"] == node.peer_id + ":home" and said["max_uses"] == 2 and said["address"] == node.address
	assert abs(said["expires_at"] - time.time() - 604800) < qmt.DEADLINE_S
	assert node.qmt("invite", "list", "--json").json["invites"][0]["id"] == said["invite_id"]
	node.stop()
	node.start(args=["--mesh-invite"])
	assert show(node.out.wait(lambda text: text.startswith("invite " + PREFIX))[1].split()[1])["mesh_name"] is None
	node.stop()
	for args, says in ((["--mesh-invite", "--invite-ttl", "1w"], "--invite-ttl: not a span"), (["--invite-ttl", "1h"], "go with --mesh-invite"),
			(["--mesh-invite", "--invite-uses", "x"], "--invite-uses")):
		done = subprocess.run([os.path.join(qmt.BUILD, "qmtd"), "--home", node.home, node.config_path, *args], capture_output=True, timeout=qmt.DEADLINE_S)
		assert done.returncode == 2 and says in done.stderr.decode()


def test_not_into_the_journal(house):
	"""Where standard output is the journal, --mesh-invite is refused, and says what to do; beside the journal it is not."""
	home, config = os.path.join(house.top, "home"), os.path.join(house.top, "none.toml")
	for journal in (True, False):
		reader, writer = os.pipe()
		info = os.fstat(writer if journal else reader)
		stream = "%d:%d" % (info.st_dev, info.st_ino if journal else info.st_ino + 1)
		done = subprocess.run([os.path.join(qmt.BUILD, "qmtd"), "--home", home, config, "--mesh-invite"], stdout=writer, stderr=subprocess.PIPE,
			env=dict(os.environ, JOURNAL_STREAM=stream), timeout=qmt.DEADLINE_S)
		os.close(writer)
		assert os.read(reader, 1) == b""
		os.close(reader)
		assert done.returncode != 0 and ("use qmt invite create" in done.stderr.decode()) == journal, done.stderr


def test_no_mesh(house):
	"""A node that is in no mesh invites nobody, and says which key to set; asked to at its start, it does not start."""
	node = house.node("host", '[agent]\nprovider = "llm"\n[[providers]]\nname = "llm"\nkind = "builtin"\n').start()
	done = node.qmt("invite", "create", check=False)
	assert done.code == 1 and "[mesh] enabled = true" in done.err
	node.stop()
	done = subprocess.run([os.path.join(qmt.BUILD, "qmtd"), "--home", node.home, node.config_path, "--mesh-invite"], capture_output=True,
		timeout=qmt.DEADLINE_S)
	assert done.returncode == 1 and "[mesh] enabled = true" in done.stderr.decode()


def test_tokens_are_not_logged(house):
	"""Whatever is done with an invite, its token is in no log, also with everything logged."""
	node = house.node("host", CONFIG % "", env={"QMT_LOG": "debug"}).start(args=["--mesh-invite"])
	tokens = [node.out.wait(lambda text: text.startswith("invite " + PREFIX))[1].split()[1][len(PREFIX):]]
	tokens.append(node.qmt("invite", "create", "--json").json["token"])
	for made in node.qmt("invite", "list", "--json").json["invites"]:
		node.qmt("invite", "revoke", made["id"])
	node.qmt("audit")
	node.stop()
	for token in tokens:
		for at in range(0, len(token) - 40, 8):
			assert token[at:at + 40] not in node.log.text()
