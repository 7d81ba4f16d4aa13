"""`qmt identity`: the key pair of a node as a file, made, shown, moved; never overwritten by accident, never read by others."""
import base64, json, os, stat, subprocess

import pytest
import qmt

with open(os.path.join(qmt.ROOT, "test/vectors/invite.json")) as file:
	VECTORS = json.load(file)


def run(*args, stdin=b"", env=None):
	done = subprocess.run([os.path.join(qmt.BUILD, "qmt"), *args], input=stdin, capture_output=True, timeout=qmt.DEADLINE_S,
		env=dict(os.environ, **(env or {})))
	return qmt.Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def put(path, data, mode=0o600):
	with open(path, "wb") as out:
		out.write(data)
	os.chmod(path, mode)
	return path


@pytest.mark.parametrize("name", sorted(VECTORS["identities"]))
def test_show_file(house, name):
	"""`show --file F --json` gives the vectors' PeerId and public key, without a daemon."""
	want = VECTORS["identities"][name]
	path = put(os.path.join(house.top, "k"), bytes.fromhex(want["identity_file_hex"]))
	done = run("identity", "show", "--file", path, "--json")
	assert done.code == 0 and done.json == {"peer_id": want["peer_id"], "public_key": want["public_hex"]}
	assert run("identity", "show", "--file", path).out == want["peer_id"] + "\n"


def test_bad_files_are_refused(house):
	"""A file of another size, of two keys, that others may read, that is none or not there: an error that names it."""
	path = os.path.join(house.top, "k")
	for bad in VECTORS["identity_file_invalid"]:
		put(path, bytes.fromhex(bad["hex"]))
		done = run("identity", "show", "--file", path)
		assert done.code == 1 and path in done.err and bad["verdict"].split("error: ")[-1] in done.err
	for mode in (0o640, 0o620, 0o604, 0o602, 0o601):
		put(path, bytes.fromhex(VECTORS["identities"]["A"]["identity_file_hex"]), mode)
		done = run("identity", "show", "--file", path)
		assert done.code == 1 and "chmod 600" in done.err and not done.out
	assert "no identity yet" in run("identity", "show", "--file", path + "x").err
	assert "not a regular file" in run("identity", "show", "--file", house.top).err


def test_new(house):
	"""`new` makes a file of 64 bytes and mode 0600 whatever the umask, its folder too; it overwrites only with --force."""
	home = os.path.join(house.top, "deep", "home")
	old = os.umask(0)
	try:
		made = run("--home", home, "identity", "new", "--json").json
	finally:
		os.umask(old)
	path = os.path.join(home, "mesh_identity.key")
	assert made["file"] == path and os.path.getsize(path) == 64 and stat.S_IMODE(os.stat(path).st_mode) == 0o600
	assert run("--home", home, "identity", "show", "--json").json["peer_id"] == made["peer_id"]
	again = run("--home", home, "identity", "new")
	assert again.code == 1 and "--force" in again.err
	assert run("--home", home, "identity").out.strip() == made["peer_id"]
	forced = run("--home", home, "identity", "new", "--force", "--json").json
	assert forced["peer_id"] != made["peer_id"]
	assert sorted(os.listdir(home)) == ["lock", "mesh_identity.key"]


def test_a_running_node_keeps_its_key(house):
	"""A key that a running node has is not replaced, wherever it lies and however it is named, also with --force."""
	path = os.path.join(house.top, "keys", "a.key")
	node = house.node("a", '[mesh]\nidentity_file = "keys/a.key"\nnode_name = "a"\n').start()
	before = open(path, "rb").read()
	other = bytes.fromhex(VECTORS["identities"]["A"]["identity_file_hex"])
	for done in (run("identity", "new", "--file", path, "--force"), run("identity", "import", "--file", path, "--force", stdin=other)):
		assert done.code == 1 and "a running qmtd has this key" in done.err, done
	assert open(path, "rb").read() == before
	node.stop()
	assert run("identity", "new", "--file", path, "--force").code == 0
	assert open(path, "rb").read() != before and os.listdir(os.path.dirname(path)) == ["a.key"]


def test_import_and_export(house):
	"""A key goes out as hexadecimal or base64 and comes in as these or as bytes; from standard input only."""
	want = VECTORS["identities"]["B"]
	data = bytes.fromhex(want["identity_file_hex"])
	for i, form in enumerate((data, data.hex().encode(), data.hex().upper().encode() + b"\n", base64.b64encode(data), base64.b64encode(data) + b"\n")):
		path = os.path.join(house.top, "k%d" % i)
		done = run("identity", "import", "--file", path, "--json", stdin=form)
		assert done.code == 0 and done.json["peer_id"] == want["peer_id"], done
		assert open(path, "rb").read() == data and stat.S_IMODE(os.stat(path).st_mode) == 0o600
	assert run("identity", "export", "--file", path).out == data.hex() + "\n"
	assert run("identity", "export", "--file", path, "--base64").out == base64.b64encode(data).decode() + "\n"
	other = bytes.fromhex(VECTORS["identities"]["A"]["identity_file_hex"])
	refused = run("identity", "import", "--file", path, stdin=other)
	assert refused.code == 1 and "--force" in refused.err and open(path, "rb").read() == data
	for bad in (b"", data[:63], data + b"\n", data.hex().encode() + b"\n\n", data.hex()[:-1].encode() + b"x", base64.urlsafe_b64encode(b"\xff" * 64),
			data[:32] + other[32:], b"x" * 1000):
		done = run("identity", "import", "--file", os.path.join(house.top, "none"), stdin=bad)
		assert done.code == 1 and done.err.startswith("qmt: standard input: "), done
	assert not os.path.exists(os.path.join(house.top, "none"))
	assert run("identity", "import", data.hex()).code == 2


def test_identity_file_of_the_configuration(house):
	"""`identity_file` may begin with ~/ or be relative to the config file; a new one is made there with its folder, and one that others may read is refused."""
	home = os.path.join(house.top, "me")
	os.makedirs(home)
	for name, where, path in (("a", "keys/a.key", os.path.join(house.top, "keys", "a.key")), ("b", "~/sub/b.key", os.path.join(home, "sub", "b.key"))):
		node = house.node(name, '[mesh]\nidentity_file = "%s"\nnode_name = "%s"\n' % (where, name), env={"HOME": home})
		node.start()
		assert os.path.getsize(path) == 64 and stat.S_IMODE(os.stat(path).st_mode) == 0o600
		assert not os.path.exists(os.path.join(node.home, "mesh_identity.key"))
		shown = run("--home", node.home, "identity", "show", "--json").json  # the running node knows best
		assert shown == run("identity", "show", "--file", path, "--json").json and shown["peer_id"] == node.peer_id
		assert "runs on this home" in run("--home", node.home, "identity", "new").err
		node.stop()
	os.chmod(path, 0o644)
	with pytest.raises(AssertionError, match="chmod 600"):
		node.start()
