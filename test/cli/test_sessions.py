"""Sessions as a whole: fork, rename, archive, close, delete; on this node and on another one."""
import qmt


def texts(node, session, role="user"):
	return [m["content"] for m in node.history(session) if m["role"] == role]


def names(node, *args):
	return sorted(s["name"] for s in node.qmt("session", "list", "--json", *args).json["sessions"])


def shown(node, session, *args):
	return node.qmt("session", "show", session, "--json", *args).json


def test_fork(house):
	"""A fork goes on from a message of another session; both then go their own ways, also after a restart; a retry makes no second one."""
	node = house.local()
	one = node.qmt("session", "create", "--name", "one").out.strip()
	node.chat(session="one", text="first")
	node.chat(session="one", text="second")
	request = "01890000-0000-7000-8000-000000000001"
	fork = node.qmt("session", "fork", "one", "--at", "2", "--request", request).out.strip()
	assert fork != one and node.qmt("session", "fork", "one", "--at", "2", "--request", request).out.strip() == fork
	session = shown(node, fork)["session"]
	assert session["name"] == "Fork of one" and session["parent"] == one and session["fork_pos"] == 2 and session["messages"] == 2
	node.chat(session=fork, text="another")
	assert texts(node, fork) == ["first", "another"] and texts(node, "one") == ["first", "second"]
	assert node.stop() == 0
	node.start()
	assert texts(node, fork) == ["first", "another"]
	whole = node.qmt("session", "fork", fork, "--name", "whole").out.strip()
	assert texts(node, whole) == ["first", "another"]
	text = node.qmt("session", "show", fork).out
	assert "fork of  " + one in text and "message 2" in text
	kinds = [m["tool_name"] for m in shown(node, fork, "--events")["messages"] if m["role"] == "event"]
	assert kinds == ["forked", "turn_end"]


def test_bad_forks(house):
	"""A fork of nothing, at no message, between a call and its result, or at a message of another session is a clear error, and makes nothing."""
	node = house.local()
	one = node.qmt("session", "create", "--name", "one").out.strip()
	other = node.qmt("session", "create", "--name", "other").out.strip()
	node.chat(session="one", text="list .")
	node.chat(session="other", text="hello")
	for at, says in (
		("99", "has no message 99"), ("0", "number of a message"), ("x", "number of a message"), ("1x", "number of a message"),
		("-1", "number of a message"), ("99999999999999999999", "number of a message"), (":2", "number of a message"),
		("2", "stands between a tool call and its result"), (other + ":1", "is none of session"), ("5", "is an event"),
	):
		done = node.qmt("session", "fork", "one", "--at=" + at, check=False)
		assert done.code in (1, 2) and says in done.err, (at, done)
	assert node.qmt("session", "fork", "nobody", check=False).code == 1
	assert names(node) == ["one", "other"]
	assert node.qmt("session", "fork", "one", "--at", one + ":1").code == 0


def test_rename_archive_close(house):
	"""Renamed, archived and closed sessions are found as said, and take a prompt or say how to get there."""
	node = house.local()
	one = node.qmt("session", "create", "--name", "one").out.strip()
	node.chat(session="one", text="hello")
	assert node.qmt("session", "rename", "one", "two").out.strip() == one
	assert node.qmt("session", "show", "one", check=False).code == 1 and names(node) == ["two"]
	node.qmt("session", "archive", "two")
	assert names(node) == [] and names(node, "--archived") == ["two"] and names(node, "--all") == ["two"]
	assert node.qmt("session", "list", "--all", "--archived", check=False).code == 2
	assert "archived" in node.qmt("session", "show", "two").out
	done = node.chat(session="two", text="more", check=False)
	assert done.code == 1 and "qmt session unarchive" in done.err
	node.qmt("session", "unarchive", "two")
	node.chat(session="two", text="more")
	assert node.qmt("status", "--json").json["active_sessions"] == 1
	node.qmt("session", "close", "two")
	node.qmt("session", "close", "two")
	assert node.qmt("status", "--json").json["active_sessions"] == 0
	node.chat(session="two", text="again")
	assert texts(node, one) == ["hello", "more", "again"]


def test_delete(house):
	"""A deleted session is gone for good, its forks keep what they use."""
	node = house.local()
	node.qmt("session", "create", "--name", "one")
	node.chat(session="one", text="hello")
	node.qmt("session", "fork", "one", "--name", "fork")
	node.qmt("session", "delete", "one")
	assert names(node, "--all") == ["fork"] and texts(node, "fork") == ["hello"]
	assert node.qmt("session", "delete", "one", check=False).code == 1
	node.chat(session="fork", text="more")
	assert node.stop() == 0
	node.start()
	assert texts(node, "fork") == ["hello", "more"]
	node.qmt("session", "delete", "fork")
	assert names(node, "--all") == []


def test_who_wrote_what(house):
	"""Two people prompt one session from two nodes: its history says who wrote what, on both; the model is not told."""
	agent = '[agent]\nid = "helper"\nprovider = "llm"\ncwd = "work"\n'
	user, server = house.pair(gpu={"extra": agent, "mesh": "allow_remote_sessions = true"})
	server.qmt("peers", "allow", user.peer_id)
	one = user.qmt("session", "create", "--on", "gpu-server", "--name", "one").out.strip()
	user.chat(session="one", text="from afar")
	server.chat(session=one, text="from here")
	user.chat(session="one", text="from afar again")
	for node in (user, server):
		assert [(m["content"], m["author"]) for m in node.history(one) if m["role"] == "user"] == [
			("from afar", user.peer_id), ("from here", ""), ("from afar again", user.peer_id)]
		assert node.qmt("session", "show", one).out.count("user by " + user.peer_id) == 2


def test_close_of_a_running_turn(house):
	"""Closing a session ends its turn as interrupted, with the text so far; deleting or archiving it is refused while it runs."""
	node = house.local(provider='kind = "builtin"\nchunk_delay_ms = 200')
	node.qmt("session", "create", "--name", "s")
	with node.chatting("s", "help") as chat:
		assert qmt.event(chat.lines, "delta")
		for what in ("archive", "delete"):
			done = node.qmt("session", what, "s", check=False)
			assert done.code == 1 and "under way" in done.err
		node.qmt("session", "close", "s")
		assert qmt.event(chat.lines, "turn_end")[1]["outcome"] == "interrupted"
		assert chat.wait(20) == 1
	assert shown(node, "s")["session"]["state"] == "interrupted"
	assert [m["role"] for m in node.history("s")] == ["user", "assistant"]


def test_on_another_node(house):
	"""All of it works on a session that lives on another node, and both nodes then say the same."""
	agent = '[agent]\nid = "helper"\nprovider = "llm"\ncwd = "work"\n'
	user, server = house.pair(gpu={"extra": agent, "mesh": "allow_remote_sessions = true"})
	server.qmt("peers", "allow", user.peer_id)
	one = user.qmt("session", "create", "--on", "gpu-server", "--name", "one").out.strip()
	user.chat(session="one", text="first")
	user.chat(session="one", text="second")
	fork = user.qmt("session", "fork", "one", "--at", "2", "--name", "fork").out.strip()
	user.chat(session="fork", text="other")
	assert texts(user, "fork") == ["first", "other"] == texts(server, fork) and texts(server, one) == ["first", "second"]
	assert user.qmt("session", "fork", "one", "--at", fork + ":1", check=False).code == 1
	user.qmt("session", "rename", "fork", "renamed")
	assert names(user) == names(server) == ["one", "renamed"]
	user.qmt("session", "archive", "renamed")
	assert names(user) == names(server) == ["one"] and names(server, "--archived") == ["renamed"]
	assert user.chat(session="renamed", text="more", check=False).code == 1
	user.qmt("session", "unarchive", "renamed")
	user.qmt("session", "close", "renamed")
	assert server.qmt("status", "--json").json["active_sessions"] == 1
	user.qmt("session", "delete", "one")
	assert names(user) == names(server) == ["renamed"] and texts(user, "renamed") == ["first", "other"]
	server.qmt("session", "delete", "renamed")
	assert user.qmt("session", "delete", "renamed").code == 0  # of which only the bookmark is left
	assert names(user) == []
