"""`qmt join`, `leave`, `meshes`, `mesh revoke` and `qmtd --mesh-join`: nodes come into a mesh and out of it; a token is seen by nobody else."""
import os, shutil, subprocess, time

import pytest
import qmt

CONFIG = '[mesh]\nenabled = true\nnode_name = "%s"\nlisten = "/ip4/127.0.0.1/tcp/0"\ndiscovery = "none"\n%s\n'


def url(host, *args):
	return host.qmt("invite", "create", "--name", "work", "--json", *args).json["urls"][1]


def meshes(node):
	return {mesh["mesh"].split(":")[1]: mesh for mesh in node.qmt("meshes", "--json").json["meshes"]}


def until(what, deadline=qmt.DEADLINE_S):
	end = time.monotonic() + deadline
	while not what():
		assert time.monotonic() < end
		time.sleep(0.02)  # polls: a condition, with the deadline above


def test_join_and_restart(house):
	"""A node joins by an invite from standard input, is a member after a restart of either side, and leaves; what is no invite is said so without a node."""
	host = house.node("host", CONFIG % ("host", "")).start()
	node = house.node("node", CONFIG % ("node", "")).start()
	token = url(host)
	done = node.qmt("join", "-", "--json", stdin=(token + "\n").encode()).json
	assert done["mesh_id"] == host.peer_id + ":work" and done["inviter_peer_id"] == host.peer_id and not done.get("already_joined")
	assert node.qmt("join", "-", "--json", stdin=token.encode()).json["already_joined"]
	assert meshes(node)["work"]["state"] == "active" and meshes(host)["work"]["role"] == "host"
	node.stop()
	node.start()
	until(lambda: meshes(host)["work"].get("members") == 1 and meshes(node)["work"].get("members") == 1)
	assert node.qmt("leave", "work").code == 0
	until(lambda: not meshes(host)["work"].get("members"))
	assert node.qmt("leave", "work", check=False).code == 1
	for text, says in (("nonsense", "InvalidToken"), (token[:-40], ""), (token.replace("join/A", "join/B"), "InvalidToken")):
		done = subprocess.run([os.path.join(qmt.BUILD, "qmt"), "--home", house.top, "join", "-"], input=text.encode(), capture_output=True,
			timeout=qmt.DEADLINE_S)
		assert done.returncode == 1 and says in done.stderr.decode()


def test_revoke(house):
	"""`qmt mesh revoke` ends the membership of a node, which is told so; its invite does not let it in again."""
	host = house.node("host", CONFIG % ("host", "")).start()
	node = house.node("node", CONFIG % ("node", "")).start()
	token = url(host, "--uses", "0")
	node.qmt("join", "-", stdin=token.encode())
	assert host.qmt("mesh", "revoke", node.peer_id).code == 0
	until(lambda: meshes(node)["work"]["state"] == "revoked")
	done = node.qmt("join", "-", stdin=token.encode(), check=False)
	assert done.code == 1 and "revoked" in done.err
	assert "revoked" in host.qmt("audit").out


def test_token_is_not_shown(house):
	"""qmtd joins by --mesh-join @FILE; the token is in no argument and no log. Given as an argument it is overwritten there."""
	host = house.node("host", CONFIG % ("host", "")).start()
	for name, secret in (("a", None), ("b", True)):
		token = url(host)
		path = os.path.join(house.top, name + ".token")
		with open(path, "w") as file:
			file.write(token + "\n")
		node = house.node(name, CONFIG % (name, ""))
		node.start(args=("--mesh-join", token if secret else "@" + path))
		until(lambda: meshes(node).get("work", {}).get("state") == "active")
		with open("/proc/%d/cmdline" % node.process.pid, "rb") as file:
			assert token.encode()[20:] not in file.read()
		assert token[20:60] not in node.log.text() and token[20:60] not in host.log.text()


@pytest.mark.skipif(not shutil.which("zbarimg"), reason="zbarimg is not installed")
def test_picture(house):
	"""A QR code written by --png is read back and joins."""
	host = house.node("host", CONFIG % ("host", "")).start()
	node = house.node("node", CONFIG % ("node", "")).start()
	path = os.path.join(house.top, "qr.png")
	host.qmt("invite", "create", "--png", path)
	done = subprocess.run(["zbarimg", "--quiet", "--raw", path], capture_output=True, timeout=qmt.DEADLINE_S, check=True)
	node.qmt("join", "-", stdin=done.stdout)
	assert meshes(node)["anon"]["state"] == "active"
