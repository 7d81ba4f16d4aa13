"""`qmt invite`: what a token is can be told without a node; a QR code is read back as what was put in."""
import json, os, re, shutil, subprocess

import pytest
import qmt

with open(os.path.join(qmt.ROOT, "test/vectors/invite.json")) as file:
	VECTORS = json.load(file)
NOW = str(VECTORS["now"])
TOKENS = {vector["id"]: vector for group in ("valid", "valid_edge", "invalid") for vector in VECTORS[group]}
FIELDS = ["version", "invite_id", "inviter_peer_id", "mesh_name", "expires_at", "max_uses", "can_invite", "role", "mesh_id", "valid", "error_kind", "error"]


def run(*args, stdin=b"", binary=False):
	done = subprocess.run([os.path.join(qmt.BUILD, "qmt"), *args], input=stdin, capture_output=True, timeout=qmt.DEADLINE_S)
	return qmt.Result(done.returncode, done.stdout if binary else done.stdout.decode(), done.stderr.decode())


def check(vector, done):
	expect = vector["expect"]
	assert list(done.json) == FIELDS
	good = expect["verify"] == "ok"
	assert done.code == (0 if good else 1) and done.json["valid"] == good and done.json["error_kind"] == expect["kind"], done
	if not good:
		assert expect["detail"] in done.json["error"]
	if "invite_id" in vector:
		for field in FIELDS[1:9]:
			assert done.json[field] == vector[field], field
	if expect["decode"] == "error":
		assert done.json["invite_id"] is None


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_vectors(house, name):
	"""Each vector gives its verdict as an argument, from standard input and from a file, where one newline is not part of it and a second one is."""
	vector = TOKENS[name]
	path = os.path.join(house.top, "token")
	show = ["invite", "show", "--json", "--now", NOW]
	check(vector, run(*show, "--", vector["token"]))
	check(vector, run(*show, "-", stdin=vector["token"].encode() + b"\n"))
	with open(path, "wb") as out:
		out.write(vector["token"].encode() + b"\n")
	check(vector, run(*show, "@" + path))
	if vector["expect"]["decode"] == "ok":
		for end in (b"\n\n", b" ", b"\r\n", b"\0"):
			done = run(*show, "-", stdin=vector["token"].encode() + end)
			assert done.code == 1 and done.json["error_kind"] == "InvalidToken"
		check(vector, run(*show, "-", stdin=vector["token"].encode()))
	if "url" in vector:
		check(vector, run(*show, vector["url"]))


def test_now_decides(house):
	"""--now is the time that is judged by: valid up to the second of expires_at, expired behind it."""
	vector = TOKENS["valid-2-single-use"]
	for now, code in ((vector["expires_at"], 0), (vector["expires_at"] + 1, 1)):
		assert run("invite", "show", vector["token"], "--now", str(now)).code == code
	assert run("invite", "show", vector["token"], "--now", "x").code == 2
	done = run("invite", "show", TOKENS["expired-1970"]["token"])
	assert done.code == 1 and done.err == "qmt: Expired: invite token has expired\n" and "home" not in done.err


def test_where_to_dial(house):
	"""Behind a URL may stand #<multiaddr>; it must be one that can be dialed, of the inviter. A bare token has none."""
	vector = TOKENS["valid-2-single-use"]
	done = run("invite", "show", "--json", vector["url"] + "#/ip4/10.1.2.3/tcp/9000")
	assert done.code == 0 and done.json["address"] == "/ip4/10.1.2.3/tcp/9000" and done.json["valid"]
	for text in (vector["url"] + "#", vector["url"] + "#/ip4/0.0.0.0/tcp/1", vector["token"] + "#/ip4/10.1.2.3/tcp/9000", vector["url"] + "?x=1",
			vector["url"] + "#/ip4/10.1.2.3/tcp/9/p2p/" + VECTORS["identities"]["B"]["peer_id"], "x" * 5000):
		done = run("invite", "show", "--json", text)
		assert done.code == 1 and done.json["error_kind"] == "InvalidToken", text


def test_names_do_not_reach_the_terminal(house):
	"""A mesh name is the inviter's: control characters in it are shown, not sent."""
	done = run("invite", "show", "--now", NOW, TOKENS["edge-nul-in-name"]["token"])
	assert done.code == 0 and "\0" not in done.out and ":a" in done.out


def read_back(picture):
	"""What zbarimg sees in a picture."""
	if not shutil.which("zbarimg"):
		pytest.skip("zbarimg is not installed")
	done = subprocess.run(["zbarimg", "-q", "--raw", picture], capture_output=True, timeout=qmt.DEADLINE_S)
	return done.stdout.decode().rstrip("\n")


def draw(path, rows):
	"""Modules (true: dark) as a PBM file, 6 pixels each."""
	lines = [" ".join("1" if dark else "0" for dark in row for _ in range(6)) for row in rows for _ in range(6)]
	with open(path, "w") as out:
		out.write("P1\n%d %d\n%s\n" % (len(rows[0]) * 6, len(rows) * 6, "\n".join(lines)))
	return path


@pytest.mark.parametrize("name", [vector["id"] for vector in VECTORS["valid"]])
def test_qr_png_is_read_back(house, name):
	"""A QR code as PNG is read by zbarimg as the URL, with and without an address; the file is for its owner alone."""
	url, path = TOKENS[name]["url"], os.path.join(house.top, "q.png")
	assert run("invite", "qr", TOKENS[name]["token"], "--png", path).code == 0
	assert read_back(path) == url and os.stat(path).st_mode & 0o777 == 0o600
	with open(path, "wb") as out:
		out.write(run("invite", "qr", "-", "--png", "-", stdin=(url + "#/dns4/gpu.example.org/tcp/9000\n").encode(), binary=True).out)
	assert read_back(path) == url + "#/dns4/gpu.example.org/tcp/9000"


def test_qr_svg_is_read_back(house):
	"""The SVG draws the same modules, with a quiet zone of four."""
	url = TOKENS["valid-2-single-use"]["url"]
	svg = run("invite", "qr", url, "--svg", "-").out
	width = int(re.search(r'viewBox="0 0 (\d+) ', svg).group(1))
	rows = [[False] * width for _ in range(width)]
	for x, y, run_length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", svg):
		for i in range(int(run_length)):
			rows[int(y)][int(x) + i] = True
	assert not any(any(row) for row in rows[:4] + rows[-4:]) and not any(any(row[:4] + row[-4:]) for row in rows)
	assert read_back(draw(os.path.join(house.top, "q.pbm"), rows)) == url


def test_qr_on_the_terminal_is_read_back(house):
	"""On the terminal the colours are set: dark on light, whatever the terminal's own are; each line sets and ends them."""
	url = TOKENS["valid-2-single-use"]["url"]
	rows = []
	for line in run("invite", "qr", url).out.splitlines():
		found = re.fullmatch("\033\\[38;5;16;48;5;231m([ \u2580\u2584\u2588]*)\033\\[0m", line)
		assert found, repr(line)
		rows.append([c in "\u2580\u2588" for c in found.group(1)])
		rows.append([c in "\u2584\u2588" for c in found.group(1)])
	assert not any(any(row) for row in rows[:4] + rows[-4:]) and not any(any(row[:4] + row[-4:]) for row in rows)
	assert read_back(draw(os.path.join(house.top, "q.pbm"), rows)) == url


def test_qr_of_nothing_valid(house):
	"""What is no invite, or was signed by nobody, is not drawn; nothing is written."""
	path = os.path.join(house.top, "q.png")
	for name in ("empty", "bad-sig-bit", "trailing-8"):
		done = run("invite", "qr", TOKENS[name]["token"], "--png", path)
		assert done.code == 1 and done.err.startswith("qmt: Invalid") and not os.path.exists(path)
	assert run("invite", "qr", TOKENS["valid-1-minimal"]["token"], "--png", path, "--svg", path).code == 2
	done = run("invite", "qr", TOKENS["valid-1-minimal"]["token"], "--png", os.path.join(house.top, "none", "q.png"))
	assert done.code == 1 and "none/" in done.err
