/* test/port/authority_test.c - who may do what, over real links: each cell of the table (proto/authority.def), and who
 * gets a link at all ([mesh.lan] trust, allow, block, forget). Over every transport. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "proto/authority.h"
#include "test/lib/mesh_pair.h"
#include "transports/control_client.h"
#include "transports/link.h"

/* ---- cell: counts what reaches it; asker: asks by name or by ref and says what came ------------------------------ */

#define CELL_IS(F, T) F(T, REF, who, 1, "The cell.")
#define CELL_SEEN(F, T) F(T, U64, count, 1, "Messages of any operation that were handled.")
#define CELL_TRY(F, T)                             \
	F(T, STR, peer, 1, "PeerId.")                  \
	F(T, REF, who, 2, "Whom; unset: by the name.") \
	F(T, U32, operation, 3, "Index in operations[].")
#define CELL_MESSAGES(M)                                                      \
	M(cell, node_info, QMT_NO_FIELDS, "node_info", "Of the table.", is)       \
	M(cell, provider_use, QMT_NO_FIELDS, "provider_use", "Of it.", is)        \
	M(cell, provider_end, QMT_NO_FIELDS, "provider_end", "Of it.", is)        \
	M(cell, stream, QMT_NO_FIELDS, "stream", "Of it.", is)                    \
	M(cell, session_host, QMT_NO_FIELDS, "session_host", "Of it.", is)        \
	M(cell, session_end, QMT_NO_FIELDS, "session_end", "Of it.", is)          \
	M(cell, names, QMT_NO_FIELDS, "names", "Of it.", is)                      \
	M(cell, admission, QMT_NO_FIELDS, "admission", "Of it.", is)              \
	M(cell, admission_end, QMT_NO_FIELDS, "admission_end", "Of it.", is)      \
	M(cell, control, QMT_NO_FIELDS, "control", "Of it.", is)                  \
	M(cell, local, QMT_NO_FIELDS, "local", "Of it.", is)                      \
	M(cell, reply, QMT_NO_FIELDS, "reply", "Of it.", is)                      \
	M(cell, unheard, QMT_NO_FIELDS, "unheard", "An operation of no row.", is) \
	M(cell, count, QMT_NO_FIELDS, "local", "Asks how many came.", seen)       \
	M(cell, try, CELL_TRY, "local", "To the asker.", is)                      \
	M(cell, is, CELL_IS, "reply", "Answer.")                                  \
	M(cell, seen, CELL_SEEN, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(cell, CELL_MESSAGES)
QMT_DEFINE_PROTOCOL(cell, CELL_MESSAGES, "For this test.")

static const struct qmt_type *const operations[] = {&cell_node_info_type, &cell_provider_use_type,
	&cell_provider_end_type, &cell_stream_type, &cell_session_host_type, &cell_session_end_type, &cell_names_type,
	&cell_admission_type, &cell_admission_end_type, &cell_control_type, &cell_local_type, &cell_reply_type,
	&cell_unheard_type};
enum { OPERATIONS = sizeof(operations) / sizeof(*operations) };

static void on_operation(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	(*(uint64_t *)state)++;
	(void)QMT_REPLY(ctx, qmt_token(ctx), cell_is, .who = qmt_self(ctx));
}
static void on_count(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)body;
	(void)QMT_REPLY(ctx, qmt_token(ctx), cell_seen, .count = *(uint64_t *)state);
}
static qmt_handler *const cell_handlers[cell_message_count] = {
	[cell_node_info_id] = on_operation,
	[cell_provider_use_id] = on_operation,
	[cell_provider_end_id] = on_operation,
	[cell_stream_id] = on_operation,
	[cell_session_host_id] = on_operation,
	[cell_session_end_id] = on_operation,
	[cell_names_id] = on_operation,
	[cell_admission_id] = on_operation,
	[cell_admission_end_id] = on_operation,
	[cell_control_id] = on_operation,
	[cell_local_id] = on_operation,
	[cell_reply_id] = on_operation,
	[cell_unheard_id] = on_operation,
	[cell_count_id] = on_count,
};
static const struct qmt_actor_desc cell_desc = {
	.abi = QMT_ABI, .name = "cell", .state_size = sizeof(uint64_t), .accepts = {{&cell_protocol, cell_handlers}}};

static void passed_on(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	(void)arg;
	(void)qmt_reply_result(ctx, *(struct qmt_token *)state, result);
}
static void on_try(struct qmt_ctx *ctx, void *state, const void *body)
{
	static const struct cell_node_info empty;
	const struct cell_try *try = body;
	const struct qmt_type *type = operations[try->operation];
	char peer[PEER_ID_TEXT + 1];
	int fail;

	(void)snprintf(peer, sizeof(peer), "%.*s", QMT_STR_ARG(try->peer));
	*(struct qmt_token *)state = qmt_token(ctx);
	if (qmt_ref_is_set(try->who))
		fail = qmt_ask(ctx, try->who, type, &empty, 0, passed_on, NULL);
	else
		fail = qmt_ask_name(ctx, peer, "cell", type, &empty, 0, passed_on, NULL);
	if (fail)
		(void)qmt_reply_fail(ctx, qmt_token(ctx), fail, NULL, 0, "at once: %s", qmt_fail_name(fail));
}
static qmt_handler *const asker_handlers[cell_message_count] = {[cell_try_id] = on_try};
static const struct qmt_actor_desc asker_desc = {.abi = QMT_ABI,
	.name = "asker",
	.state_size = sizeof(struct qmt_token),
	.accepts = {{&cell_protocol, asker_handlers}}};

/* ---- two nodes: b has the cell, a asks --------------------------------------------------------------------------- */

static struct mesh_pair pair;
static struct qmt_ref asker, cell;
static char folder[] = "/tmp/qmt-authority-XXXXXX";

static struct qmt_ref spawn(struct mesh_node *node, const struct qmt_actor_desc *desc)
{
	struct qmt_err err = {0};
	struct qmt_ref ref;

	if (qmt_spawn(node->ctx, desc, &(struct qmt_spawn){.name = desc->name}, &ref, &err))
		fail_msg("%s", err.text);
	return ref;
}

static void start(enum mesh_kind kind, bool sessions)
{
	mesh_pair_init(&pair, kind);
	pair.b.config.grants.allow_remote_sessions = sessions;
	(void)snprintf(pair.b.control, sizeof(pair.b.control), "%s/qmtd.sock", folder);
	mesh_pair_start(&pair);
	cell = spawn(&pair.b, &cell_desc);
	asker = spawn(&pair.a, &asker_desc);
}

static uint64_t seen(void)
{
	struct qmt_result result;

	assert_int_equal(MESH_ASK(&pair.b, cell, &result, cell_count, ), 0);
	return ((const struct cell_seen *)result.body)->count;
}

/* The ref of the link that b has to a. */
static struct qmt_ref link_of_b(void)
{
	char name[sizeof("peer/") + PEER_ID_TEXT];
	struct qmt_ref link;

	(void)snprintf(name, sizeof(name), "peer/%s", pair.a.id);
	assert_int_equal(qmt_lookup(pair.b.ctx, name, &link), 0);
	return link;
}

/* Returns when the link works by it: it answers behind what it was told. */
static void set_role(enum authority_role role, bool named)
{
	struct qmt_ref link = link_of_b();
	struct qmt_result result;

	struct link_right right = {.scope = qmt_str("lan:default"), .role = role, .granted = role};
	assert_int_equal(QMT_TELL(pair.b.ctx, link, link_scopes, .rights = {&right, 1}, .named = named), 0);
	assert_int_equal(MESH_ASK(&pair.b, link, &result, metrics_get, ), 0);
}

/* Of the table, and of its words: what a cell says to a message by name or by ref. */
static bool is_granted(enum authority_rule rule, bool by_ref, bool named, bool sessions)
{
	switch (rule) {
	case AUTHORITY_RULE_YES:
		return true;
	case AUTHORITY_RULE_BY_REF:
		return by_ref;
	case AUTHORITY_RULE_NAMED:
		return named;
	case AUTHORITY_RULE_SESSIONS:
		return sessions;
	case AUTHORITY_RULE_NAMED_SESSIONS:
		return sessions && named;
	default:
		return false;
	}
}

static int try(uint32_t operation, struct qmt_ref who, char ret_text[300])
{
	struct qmt_result result;
	int fail =
		MESH_ASK(&pair.a, asker, &result, cell_try, .peer = qmt_str(pair.b.id), .who = who, .operation = operation);

	(void)snprintf(ret_text, 300, "%.*s", fail ? (int)result.text.len : 0, fail && result.text.p ? result.text.p : "");
	return fail;
}

static void check_cell(uint32_t operation, enum authority_role role, struct qmt_ref who, bool named, bool sessions)
{
	const char *access = operations[operation]->access;
	bool granted = is_granted(authority_rule_of(role, access), qmt_ref_is_set(who), named, sessions);
	uint64_t before = seen();
	char text[300];
	int fail = try(operation, who, text);

	if (fail != (granted ? 0 : QMT_FAIL_NOT_ALLOWED) || seen() != before + granted)
		fail_msg("%s for %s%s, %s, by %s: %d %s", access, authority_role_words[role].title, named ? " (named)" : "",
			sessions ? "with sessions" : "without", qmt_ref_is_set(who) ? "ref" : "name", fail, text);
	if (!granted && !strstr(text, operations[operation]->record.name))
		fail_msg("%s does not say what was refused: %s", access, text);
	if (!granted && authority_rule_of(role, access) == AUTHORITY_RULE_NAMED_SESSIONS)
		assert_non_null(strstr(text, sessions ? "qmt peers allow" : "allow_remote_sessions"));
}

/* Each operation, for each role that a link between nodes can have, named or not, with and without the key for
 * sessions, by name and by ref: it is handled when the table grants it; else it is refused in words, and nothing is
 * handled. */
static void each_cell(void **state)
{
	for (int sessions = 0; sessions < 2; sessions++) {
		struct qmt_result result;

		start(*(enum mesh_kind *)*state, sessions);
		set_role(AUTHORITY_LAN, false);
		assert_int_equal(MESH_ASK(&pair.a, asker, &result, cell_try, .peer = qmt_str(pair.b.id)), 0);
		struct qmt_ref given = ((const struct cell_is *)result.body)->who;
		for (enum authority_role role = AUTHORITY_NONE; role < AUTHORITY_OWNER; role++)
			for (int named = 0; named < 2; named++) {
				set_role(role, named);
				for (uint32_t i = 0; i < OPERATIONS; i++) {
					check_cell(i, role, (struct qmt_ref){0}, named, sessions);
					check_cell(i, role, given, named, sessions);
				}
			}
		mesh_pair_stop(&pair);
	}
}

/* No row of the table is without a message here. */
static void no_row_is_left_out(void **state)
{
	(void)state;
	for (const struct authority_row *row = authority_rows; row->operation; row++) {
		bool found = false;

		for (uint32_t i = 0; i < OPERATIONS; i++)
			found |= strcmp(operations[i]->access, row->operation) == 0;
		if (!found)
			fail_msg("%s has no message in this test", row->operation);
	}
	assert_int_equal(authority_rule_of(AUTHORITY_MEMBER, "unheard"), AUTHORITY_RULE_NO);
}

/* The owner is who opened the control socket; no word makes a link between nodes one. */
static void the_owner(void **state)
{
	struct control_client *client = NULL;
	struct qmt_err err = {0};
	char text[300];

	(void)state;
	start(MESH_TCP, false);
	assert_int_equal(control_client_open(pair.b.control, 0, -1, &client, &err), 0);
	for (uint32_t i = 0; i < OPERATIONS; i++) {
		bool granted = is_granted(authority_rule_of(AUTHORITY_OWNER, operations[i]->access), false, false, false);
		struct control_reply reply;
		uint64_t before = seen();
		int fail = control_client_ask(client, "cell", operations[i], &(struct cell_node_info){}, 0, &reply, &err);

		assert_int_equal(fail, granted ? 0 : QMT_FAIL_NOT_ALLOWED);
		assert_int_equal(seen(), before + granted);
		control_reply_free(&reply);
	}
	set_role(AUTHORITY_LAN, false);
	set_role(AUTHORITY_OWNER, true); /* not heard */
	for (uint32_t i = 0; i < OPERATIONS; i++)
		if (operations[i] == &cell_control_type)
			assert_int_equal(try(i, (struct qmt_ref){0}, text), QMT_FAIL_NOT_ALLOWED);
	(void)control_client_close(client);
	mesh_pair_stop(&pair);
}

/* ---- who gets a link --------------------------------------------------------------------------------------------- */

struct wanted {
	struct mesh_node *node;
	const char *peer, *error; /* error: in the last error of that peer */
};
static bool says(void *arg)
{
	struct wanted *wanted = arg;
	const struct peers_list_reply *list = mesh_peers(wanted->node);

	for (uint32_t i = 0; list && i < list->peers.count; i++) {
		const struct peers_info *info = &list->peers.items[i];
		if (qmt_str_is(info->peer_id, wanted->peer) && !qmt_str_is(info->state, "connected") && info->last_error.len &&
			memmem(info->last_error.p, info->last_error.len, wanted->error, strlen(wanted->error)))
			return true;
	}
	return false;
}
static void wait_refused(struct mesh_node *node, const char *peer, const char *error)
{
	mesh_until(says, &(struct wanted){node, peer, error}, error);
}

static struct qmt_ref peers_of(struct mesh_node *node)
{
	struct qmt_ref peers;

	assert_int_equal(qmt_lookup(node->ctx, "peers", &peers), 0);
	return peers;
}

/* With trust = "known" a stranger gets no link, and reads there why and what helps; who is allowed gets one, and loses
 * it when that is taken back. */
static void strangers_of_a_node_that_knows_its_peers(void **state)
{
	struct qmt_result result;

	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
	pair.b.config.trust_known = true;
	mesh_node_start(&pair.b);
	mesh_node_start(&pair.a);
	wait_refused(&pair.a, pair.b.id, "qmt peers allow");
	assert_int_equal(mesh_peers(&pair.b)->peers.count, 0);
	assert_int_equal(MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_allow, .peer = qmt_str(pair.a.id)), 0);
	mesh_wait_peer(&pair.a, pair.b.id, true);
	mesh_wait_peer(&pair.b, pair.a.id, true);
	assert_int_equal(MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_forget, .name = qmt_str(pair.a.id)), 0);
	wait_refused(&pair.a, pair.b.id, "does not know this one");
	mesh_pair_stop(&pair);
}

/* A block cuts the link that is there, says so at the other end, and holds until it is taken back; also where the
 * configuration names that peer. Who is blocked is not dialed either. */
static void a_block_cuts(void **state)
{
	struct qmt_result result;

	mesh_pair_init(&pair, *(enum mesh_kind *)*state);
	mesh_pair_mutual(&pair);
	mesh_pair_start(&pair);
	assert_int_equal(MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_block, .peer = qmt_str(pair.a.id)), 0);
	const struct peers_policy *policy = result.body;
	assert_true(policy->links_cut >= 1 && policy->configured && qmt_str_is(policy->policy, "block"));
	wait_refused(&pair.a, pair.b.id, "blocks this one");
	mesh_wait_peer(&pair.b, pair.a.id, false);
	assert_int_equal(MESH_ASK(&pair.b, peers_of(&pair.b), &result, peers_forget, .name = qmt_str(pair.a.id)), 0);
	mesh_wait_peer(&pair.a, pair.b.id, true);
	mesh_wait_peer(&pair.b, pair.a.id, true);
	mesh_pair_stop(&pair);
}

int main(void)
{
	static enum mesh_kind kinds[] = {MESH_TCP, MESH_LOOP};
#define CASE(fn, kind)                                                                                          \
	{                                                                                                           \
		.name = kind == MESH_TCP ? #fn " (tcp)" : #fn " (loop)", .test_func = fn, .initial_state = &kinds[kind] \
	}
#define CASES(kind) \
	CASE(each_cell, kind), CASE(strangers_of_a_node_that_knows_its_peers, kind), CASE(a_block_cuts, kind)
	const struct CMUnitTest tests[] = {
		CASES(MESH_TCP), CASES(MESH_LOOP), cmocka_unit_test(no_row_is_left_out), cmocka_unit_test(the_owner)};
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)rmdir(folder);
	return failed;
}
