/* test/port/control_test.c - the control socket: who may, what it carries, how it fails. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/base/os.h"
#include "test/lib/mesh_node.h"
#include "transports/control_client.h"

static struct mesh_node node;
static char folder[] = "/tmp/qmt-control-XXXXXX";

static int set_up(void **state)
{
	(void)state;
	mesh_node_init(&node, "here", NULL, 0);
	(void)snprintf(node.control, sizeof(node.control), "%s/qmtd.sock", folder);
	mesh_node_start(&node);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	mesh_node_stop(&node);
	return 0;
}

static struct control_client *open_client(void)
{
	struct control_client *client = NULL;
	struct qmt_err err = {0};

	if (control_client_open(node.control, 0, -1, &client, &err))
		fail_msg("%s", err.text);
	return client;
}

/* A client opens the socket, learns who answers, asks by name and gets the answer; it is the owner, so `control`
 * messages pass. */
static void asks_as_owner(void **state)
{
	struct control_client *client = open_client();
	struct control_reply reply;
	struct qmt_err err = {0};

	(void)state;
	assert_string_equal(control_client_node_id(client), node.id);
	assert_string_equal(control_client_node_name(client), "here");
	for (uint64_t i = 1; i < 100; i++) {
		assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_say, .n = i, .text = qmt_str("hello"),
							 .origin = qmt_str("me!")),
			0);
		assert_int_equal(((const struct probe_said *)reply.body)->n, i);
		assert_true(qmt_str_is(((const struct probe_said *)reply.body)->text, "hello"));
		assert_int_equal(
			((const struct probe_said *)reply.body)->origin.len, 0); /* the owner's requests come from nobody else */
		control_reply_free(&reply);
	}
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_owner, ), 0);
	control_reply_free(&reply);
	assert_int_equal(CONTROL_ASK(client, "peers", 0, &reply, &err, peers_list, ), 0);
	assert_int_equal(((const struct peers_list_reply *)reply.body)->listen_addresses.count, 1);
	control_reply_free(&reply);
	control_client_close(client);
}

/* Refusals come back as failures with the node's words: local messages, unknown messages, unknown names. */
static void is_refused_in_words(void **state)
{
	struct control_client *client = open_client();
	struct control_reply reply;
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_secret, ), QMT_FAIL_NOT_ALLOWED);
	assert_non_null(strstr(err.text, "probe.secret"));
	control_reply_free(&reply);
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, stranger_hello, ), QMT_FAIL_UNKNOWN_MESSAGE);
	control_reply_free(&reply);
	assert_int_equal(CONTROL_ASK(client, "nobody", 0, &reply, &err, probe_say, ), QMT_FAIL_UNKNOWN_ACTOR);
	assert_non_null(strstr(err.text, "nobody"));
	control_reply_free(&reply);
	assert_int_equal(CONTROL_ASK(client, "probe", 50, &reply, &err, probe_say, .never = true), -ETIMEDOUT);
	control_reply_free(&reply);
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_say, .n = 3), 0);
	control_reply_free(&reply);
	control_client_close(client);
}

/* An answer of another type than the one that the message is answered with is a failure, not a struct to be cast; what
 * has no answer cannot be asked. */
static void takes_the_right_answer_only(void **state)
{
	struct control_client *client = open_client();
	struct control_reply reply;
	struct qmt_err err = {0};

	(void)state;
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_say, .lie = true), QMT_FAIL_FAILED);
	assert_non_null(strstr(err.text, "probe.say was answered with probe.totals, not with probe.said"));
	control_reply_free(&reply);
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_note, .n = 1), -EINVAL);
	assert_non_null(strstr(err.text, "probe.note"));
	control_reply_free(&reply);
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_say, .n = 3), 0);
	control_reply_free(&reply);
	control_client_close(client);
}

/* A 5 MB prompt goes in and a 5 MB answer comes back. */
static void carries_long_messages(void **state)
{
	enum { SIZE = 5 << 20 };
	struct control_client *client = open_client();
	struct control_reply reply;
	struct qmt_err err = {0};
	char *text = malloc(SIZE);

	(void)state;
	memset(text, 'x', SIZE);
	if (CONTROL_ASK(client, "probe", MESH_WAIT_MS, &reply, &err, probe_say, .n = 1, .text = qmt_strn(text, SIZE)))
		fail_msg("%s", err.text);
	assert_int_equal(((const struct probe_said *)reply.body)->text.len, SIZE);
	assert_memory_equal(((const struct probe_said *)reply.body)->text.p, text, SIZE);
	control_reply_free(&reply);
	free(text);
	control_client_close(client);
}

/* What is told to a watched ref comes out in order, also while asks go on; time and wake descriptor end the wait. */
static void watches(void **state)
{
	struct control_client *client = open_client();
	struct control_reply reply;
	struct control_event event;
	struct qmt_err err = {0};
	struct qmt_ref watch = control_client_watch(client), other = control_client_watch(client);
	int wake = eventfd(0, EFD_CLOEXEC);
	uint64_t one = 1;

	(void)state;
	assert_int_equal(control_client_next(client, 0, &event, &err), CONTROL_E_TIMEOUT);
	assert_int_equal(control_client_next(client, 20, &event, &err), CONTROL_E_TIMEOUT);
	/* the actor that is subscribed tells peers.up: connect a peer */
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_say, .n = 5, .back = watch), 0);
	assert_true(qmt_ref_eq(((const struct probe_said *)reply.body)->back, watch));
	assert_false(qmt_ref_eq(watch, other));
	control_reply_free(&reply);
	/* probe.event is of no contract: such messages are skipped */
	assert_int_equal(control_client_next(client, 20, &event, &err), CONTROL_E_TIMEOUT);
	assert_int_equal(write(wake, &one, sizeof(one)), sizeof(one));
	control_client_set_wake(client, wake);
	assert_int_equal(control_client_next(client, MESH_WAIT_MS, &event, &err), CONTROL_E_WAKE);
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_say, .never = true), -EINTR);
	assert_int_equal(read(wake, &one, sizeof(one)), sizeof(one));
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_say, .n = 6), 0);
	control_reply_free(&reply);
	control_client_close(client);
	close(wake);
}

/* No file, a file that is no socket, a socket that nobody listens on, a path too long: each has its own words. */
static void says_why_it_cannot_open(void **state)
{
	struct control_client *client = NULL;
	struct qmt_err err = {0};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char path[sizeof(addr.sun_path)], longer[300];
	int fd;

	(void)state;
	assert_int_equal(control_client_open("/nonexistent/qmtd.sock", 0, -1, &client, &err), -ENOENT);
	assert_non_null(strstr(err.text, "qmtd"));
	assert_int_equal(control_client_open("/dev/null", 0, -1, &client, &err), -ENOTSOCK);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(control_client_open(longer, 0, -1, &client, &err), -ENAMETOOLONG);
	(void)snprintf(path, sizeof(path), "%s/stale.sock", folder);
	memcpy(addr.sun_path, path, sizeof(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(control_client_open(path, 0, -1, &client, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.text, "is qmtd running?"));
	/* somebody listens and says nothing */
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(control_client_open(path, 100, -1, &client, &err), -ETIMEDOUT);
	close(fd);
	unlink(path);
}

static bool has_ended(void *arg)
{
	struct control_event event;
	struct qmt_err err = {0};

	return control_client_next(arg, 10, &event, &err) == -EPIPE;
}

/* When the node goes away, a client notices at once. */
static void notices_the_end(void **state)
{
	struct control_client *client = open_client();
	struct control_reply reply;
	struct qmt_err err = {0};

	mesh_node_stop(&node);
	mesh_until(has_ended, client, "the client notices");
	assert_int_equal(CONTROL_ASK(client, "probe", 0, &reply, &err, probe_say, ), -EPIPE);
	control_client_close(client);
	assert_int_equal(access(node.control, F_OK), -1);
	assert_int_equal(set_up(state), 0);
}

/* The socket is the owner's alone. */
static void is_for_the_owner(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(node.control, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks_as_owner),
		cmocka_unit_test(is_refused_in_words),
		cmocka_unit_test(takes_the_right_answer_only),
		cmocka_unit_test(carries_long_messages),
		cmocka_unit_test(watches),
		cmocka_unit_test(says_why_it_cannot_open),
		cmocka_unit_test(notices_the_end),
		cmocka_unit_test(is_for_the_owner),
	};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, set_up, tear_down);
	rmdir(folder);
	return failed;
}
