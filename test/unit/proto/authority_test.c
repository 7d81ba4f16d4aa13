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

static bool allows(
	const char *operation, enum authority_role role, bool named, const struct authority_grants *grants, bool by_ref)
{
	struct qmt_type type = {.record = {.name = "test.message"}, .access = operation};
	struct authority_sender sender = {role, named, "12D3"};
	struct qmt_err err = {0};
	bool allowed = authority_allows(&sender, grants, &type, by_ref, &err);

	if (allowed) {
		assert_string_equal(err.text, "");
	} else {
		assert_int_equal(err.code, -EACCES);
		assert_memory_equal(err.text, "test.message: ", 14);
	}
	assert_int_equal(allowed, authority_allows(&sender, grants, &type, by_ref, NULL));
	return allowed;
}

/* The table, written a second time. y: yes; r: to a ref; s: with the key; n: with the key,
 * to a named one; N: to a named one; -: no. */
static void test_table(void **state)
{
	static const struct {
		const char *operation, *roles; /* none lan client member owner */
	} expected[] = {
		{"node_info", "-yyyy"},
		{"provider_use", "-yyyy"},
		{"provider_end", "-yyyy"},
		{"stream", "-rrrr"},
		{"session_host", "-nssy"},
		{"session_end", "-nssy"},
		{"names", "-N-y-"},
		{"admission", "yyyy-"},
		{"admission_end", "yyyy-"},
		{"control", "----y"},
		{"local", "-----"},
		{"reply", "-----"},
	};
	size_t rows = 0;

	(void)state;
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		assert_int_equal(strlen(expected[i].roles), AUTHORITY_ROLES);
		for (int bits = 0; bits < AUTHORITY_ROLES * 8; bits++) {
			enum authority_role role = (enum authority_role)(bits / 8);
			bool named = bits & 1, by_ref = bits & 2, key = bits & 4, expect = false;

			switch (expected[i].roles[role]) {
			case 'y':
				expect = true;
				break;
			case 'r':
				expect = by_ref;
				break;
			case 's':
				expect = key;
				break;
			case 'N':
				expect = named;
				break;
			case 'n':
				expect = key && named;
				break;
			}
			assert_int_equal(allows(expected[i].operation, role, named, key ? &open_ : &closed, by_ref), expect);
		}
	}
	while (authority_rows[rows].operation)
		rows++;
	assert_int_equal(rows, sizeof expected / sizeof *expected);
}

/* Deny by default: an unknown operation, an empty one, a part of a known one, an unknown role. */
static void test_unknown(void **state)
{
	static const char *const unknown[] = {
		"", "anyone", "node", "node_inf", "node_info2", "NODE_INFO", "control ", "session_host\n"};

	(void)state;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
		for (int role = AUTHORITY_NONE; role < AUTHORITY_ROLES; role++) {
			assert_false(allows(unknown[i], (enum authority_role)role, true, &open_, false));
			assert_false(allows(unknown[i], (enum authority_role)role, true, &open_, true));
		}
	}
	assert_false(allows("node_info", AUTHORITY_ROLES, true, &open_, true));
	assert_false(allows("node_info", (enum authority_role) - 1, true, &open_, true));
}

/* A refusal that a key or a command would lift names it; the key for tools opens no sessions. */
static void test_words(void **state)
{
	struct authority_sender lan = {AUTHORITY_LAN, false, "12D3"};
	struct qmt_err err = {0};

	(void)state;
	assert_false(allows("session_host", AUTHORITY_LAN, true, &only_tools, false));
	assert_false(authority_allows(&lan, &closed, &node_session_create_type, false, &err));
	assert_string_equal(err.text,
		"node.session_create: this node holds no sessions for peers "
		"(set [mesh] allow_remote_sessions = true on this node)");
	assert_false(authority_allows(&lan, &open_, &node_session_create_type, false, &err));
	assert_string_equal(err.text,
		"node.session_create: this node holds sessions only for peers that it names "
		"(on this node: qmt peers allow 12D3)");
	assert_false(authority_allows(&lan, &closed, &node_status_type, false, &err));
	assert_string_equal(err.text, "node.status: a peer on the LAN may not send this (operation control)");
	assert_false(authority_allows(&lan, &closed, &provider_chunk_type, false, &err));
	assert_string_equal(err.text, "provider.chunk: goes only to a ref that was given for it, not to a name");
}

/* What makes this node work is counted; what ends it goes on when that is refused; the rest is free. */
static void test_pace(void **state)
{
	(void)state;
	for (const struct authority_row *row = authority_rows; row->operation; row++) {
		enum authority_pace pace = authority_pace_of(row->operation);
		bool ends = strstr(row->operation, "_end"),
			 works = strstr("node_info provider_use session_host admission", row->operation);

		assert_int_equal(pace, ends ? AUTHORITY_PACE_ENDING : works ? AUTHORITY_PACE_COUNTED : AUTHORITY_PACE_FREE);
	}
	assert_int_equal(authority_pace_of("unheard"), AUTHORITY_PACE_FREE);
}

/* Every message of the contracts names an operation that the table knows: the word is spelled right. */
static void test_contracts(void **state)
{
	(void)state;
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		for (uint32_t i = 0; i < (*protocol)->count; i++) {
			const struct authority_row *row = authority_rows;

			while (row->operation && strcmp(row->operation, (*protocol)->types[i]->access) != 0)
				row++;
			if (!row->operation)
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
		cmocka_unit_test(test_words), cmocka_unit_test(test_contracts), cmocka_unit_test(test_pace),
		cmocka_unit_test(test_answers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
