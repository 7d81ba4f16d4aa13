/* Authority: each operation of the contracts has exactly the senders of the table; whatever the table does not name is
 * refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "proto/authority.h"
#include "proto/contract/contract.h"

static const struct authority_grants closed = {0}, open_ = {.allow_remote_sessions = true, .allow_remote_tools = true};
static const struct authority_grants only_tools = {.allow_remote_tools = true};

static bool allows(const char *operation, enum authority_role role, const struct authority_grants *grants, bool by_ref)
{
	struct qmt_type type = {.record = {.name = "test.message"}, .access = operation};
	struct qmt_err err = {0};
	bool allowed = authority_allows(role, grants, &type, by_ref, &err);

	if (allowed) {
		assert_string_equal(err.text, "");
	} else {
		assert_int_equal(err.code, -EACCES);
		assert_memory_equal(err.text, "test.message: ", 14);
	}
	assert_int_equal(allowed, authority_allows(role, grants, &type, by_ref, NULL));
	return allowed;
}

/* The table, written a second time: who may with everything closed, and with everything open; to a name, and to a
 * ref. */
static void test_table(void **state)
{
	static const struct {
		const char *operation;
		enum authority_role role;
		bool closed_name, closed_ref, open_name, open_ref;
	} expected[] = {
		{"node_info", AUTHORITY_NONE, 0, 0, 0, 0},
		{"node_info", AUTHORITY_PEER, 1, 1, 1, 1},
		{"node_info", AUTHORITY_OWNER, 1, 1, 1, 1},
		{"provider_use", AUTHORITY_NONE, 0, 0, 0, 0},
		{"provider_use", AUTHORITY_PEER, 1, 1, 1, 1},
		{"provider_use", AUTHORITY_OWNER, 1, 1, 1, 1},
		{"stream", AUTHORITY_NONE, 0, 0, 0, 0},
		{"stream", AUTHORITY_PEER, 0, 1, 0, 1},
		{"stream", AUTHORITY_OWNER, 0, 1, 0, 1},
		{"session_host", AUTHORITY_NONE, 0, 0, 0, 0},
		{"session_host", AUTHORITY_PEER, 0, 0, 1, 1},
		{"session_host", AUTHORITY_OWNER, 1, 1, 1, 1},
		{"node_info", AUTHORITY_KNOWN_PEER, 1, 1, 1, 1},
		{"provider_use", AUTHORITY_KNOWN_PEER, 1, 1, 1, 1},
		{"stream", AUTHORITY_KNOWN_PEER, 0, 1, 0, 1},
		{"session_host", AUTHORITY_KNOWN_PEER, 0, 0, 1, 1},
		{"names", AUTHORITY_NONE, 0, 0, 0, 0},
		{"names", AUTHORITY_PEER, 0, 0, 0, 0},
		{"names", AUTHORITY_KNOWN_PEER, 1, 1, 1, 1},
		{"names", AUTHORITY_OWNER, 0, 0, 0, 0},
		{"control", AUTHORITY_KNOWN_PEER, 0, 0, 0, 0},
		{"local", AUTHORITY_KNOWN_PEER, 0, 0, 0, 0},
		{"reply", AUTHORITY_KNOWN_PEER, 0, 0, 0, 0},
		{"control", AUTHORITY_NONE, 0, 0, 0, 0},
		{"control", AUTHORITY_PEER, 0, 0, 0, 0},
		{"control", AUTHORITY_OWNER, 1, 1, 1, 1},
		{"local", AUTHORITY_NONE, 0, 0, 0, 0},
		{"local", AUTHORITY_PEER, 0, 0, 0, 0},
		{"local", AUTHORITY_OWNER, 0, 0, 0, 0},
		{"reply", AUTHORITY_NONE, 0, 0, 0, 0},
		{"reply", AUTHORITY_PEER, 0, 0, 0, 0},
		{"reply", AUTHORITY_OWNER, 0, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		assert_int_equal(allows(expected[i].operation, expected[i].role, &closed, false), expected[i].closed_name);
		assert_int_equal(allows(expected[i].operation, expected[i].role, &closed, true), expected[i].closed_ref);
		assert_int_equal(allows(expected[i].operation, expected[i].role, &open_, false), expected[i].open_name);
		assert_int_equal(allows(expected[i].operation, expected[i].role, &open_, true), expected[i].open_ref);
	}
}

/* Deny by default: an unknown operation, an empty one, a part of a known one, an unknown role. */
static void test_unknown(void **state)
{
	static const char *const unknown[] = {
		"", "anyone", "node", "node_inf", "node_info2", "NODE_INFO", "control ", "session_host\n"};

	(void)state;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
		for (int role = AUTHORITY_NONE; role < AUTHORITY_ROLES; role++) {
			assert_false(allows(unknown[i], (enum authority_role)role, &open_, false));
			assert_false(allows(unknown[i], (enum authority_role)role, &open_, true));
		}
	}
	assert_false(allows("node_info", AUTHORITY_ROLES, &open_, true));
	assert_false(allows("node_info", (enum authority_role) - 1, &open_, true));
}

/* A refusal that a key would lift names the key; the key for tools opens no sessions. */
static void test_words(void **state)
{
	struct qmt_err err = {0};

	(void)state;
	assert_false(allows("session_host", AUTHORITY_PEER, &only_tools, false));
	assert_false(authority_allows(AUTHORITY_PEER, &closed, &node_session_create_type, false, &err));
	assert_string_equal(err.text,
		"node.session_create: this node holds no sessions for peers "
		"(set [mesh] allow_remote_sessions = true on this node)");
	assert_false(authority_allows(AUTHORITY_PEER, &closed, &node_status_type, false, &err));
	assert_string_equal(err.text, "node.status: a peer may not send this (operation control)");
	assert_false(authority_allows(AUTHORITY_PEER, &closed, &provider_chunk_type, false, &err));
	assert_string_equal(err.text, "provider.chunk: goes only to a ref that was given for it, not to a name");
}

/* Every message of the contracts names an operation that the table knows: the word is spelled right. */
static void test_contracts(void **state)
{
	static const char *const known[] = {
		"node_info", "provider_use", "stream", "session_host", "control", "local", "reply"};

	(void)state;
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		for (uint32_t i = 0; i < (*protocol)->count; i++) {
			size_t k = 0;

			while (k < sizeof known / sizeof *known && strcmp(known[k], (*protocol)->types[i]->access) != 0)
				k++;
			if (k == sizeof known / sizeof *known)
				fail_msg("%s: unknown operation %s", (*protocol)->types[i]->record.name, (*protocol)->types[i]->access);
		}
	}
}

/* What is a reply answers something, and what answers is a reply of the same protocol; who only tells has no answer. */
static void test_answers(void **state)
{
	(void)state;
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		for (uint32_t i = 0; i < (*protocol)->count; i++) {
			const struct qmt_type *type = (*protocol)->types[i];
			bool is_reply = strcmp(type->access, "reply") == 0, answers = false;

			for (uint32_t k = 0; k < (*protocol)->count; k++)
				answers |= (*protocol)->types[k]->answer == type;
			if (answers != is_reply)
				fail_msg("%s: its operation is %s, and it is the answer of %s message", type->record.name, type->access,
					answers ? "a" : "no");
			if (type->answer && type->answer->protocol != *protocol)
				fail_msg("%s: answered with another protocol's %s", type->record.name, type->answer->record.name);
			if (is_reply && type->answer)
				fail_msg("%s: an answer that is answered", type->record.name);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_words), cmocka_unit_test(test_contracts), cmocka_unit_test(test_answers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
