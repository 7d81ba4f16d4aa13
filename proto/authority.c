/* proto/authority.c - the table of authority.def, and the words of a refusal. */
#include "proto/authority.h"

#include <errno.h>

const struct authority_word authority_role_words[AUTHORITY_ROLES] = {
#define ROLE(id, title, who, doc) [AUTHORITY_##id] = {title, who, doc},
#include "proto/authority.def"
#undef ROLE
};

const struct authority_word authority_rule_words[AUTHORITY_RULES] = {
#define RULE(id, title, doc) [AUTHORITY_RULE_##id] = {title, NULL, doc},
#include "proto/authority.def"
#undef RULE
};

const struct authority_word authority_pace_words[AUTHORITY_PACES] = {
#define PACE(id, title, doc) [AUTHORITY_PACE_##id] = {title, NULL, doc},
#include "proto/authority.def"
#undef PACE
};

const struct authority_row authority_rows[] = {
#define OPERATION(id, none, lan, client, member, owner, pace, doc) \
	{#id, doc,                                                     \
		{[AUTHORITY_NONE] = AUTHORITY_RULE_##none,                 \
			[AUTHORITY_LAN] = AUTHORITY_RULE_##lan,                \
			[AUTHORITY_CLIENT] = AUTHORITY_RULE_##client,          \
			[AUTHORITY_MEMBER] = AUTHORITY_RULE_##member,          \
			[AUTHORITY_OWNER] = AUTHORITY_RULE_##owner},           \
		AUTHORITY_PACE_##pace},
#include "proto/authority.def"
#undef OPERATION
	{NULL, NULL, {0}, AUTHORITY_PACE_FREE},
};

enum authority_rule authority_rule_of(enum authority_role role, const char *operation)
{
	if ((unsigned)role >= AUTHORITY_ROLES)
		return AUTHORITY_RULE_NO;
	for (const struct authority_row *row = authority_rows; row->operation; row++) {
		if (strcmp(row->operation, operation) == 0)
			return row->rules[role];
	}
	return AUTHORITY_RULE_NO;
}

enum authority_pace authority_pace_of(const char *operation)
{
	for (const struct authority_row *row = authority_rows; row->operation; row++) {
		if (strcmp(row->operation, operation) == 0)
			return row->pace;
	}
	return AUTHORITY_PACE_FREE;
}

bool authority_allows(const struct authority_sender *sender, const struct authority_grants *grants,
	const struct qmt_type *type, bool by_ref, struct qmt_err *err)
{
	const char *name = type->record.name,
			   *who =
				   authority_role_words[(unsigned)sender->role < AUTHORITY_ROLES ? sender->role : AUTHORITY_NONE].who;
	enum authority_rule rule = authority_rule_of(sender->role, type->access);

	switch (rule) {
	case AUTHORITY_RULE_YES:
		return true;
	case AUTHORITY_RULE_BY_REF:
		if (by_ref)
			return true;
		qmt_err_set(err, -EACCES, "%s: goes only to a ref that was given for it, not to a name", name);
		return false;
	case AUTHORITY_RULE_NAMED:
		if (sender->named)
			return true;
		qmt_err_set(err, -EACCES, "%s: this node does not name that peer (on this node: qmt peers allow %s)", name,
			sender->peer_id ? sender->peer_id : "PEERID");
		return false;
	case AUTHORITY_RULE_SESSIONS:
	case AUTHORITY_RULE_NAMED_SESSIONS:
		if (!grants->allow_remote_sessions) {
			qmt_err_set(err, -EACCES,
				"%s: this node holds no sessions for peers (set [mesh] allow_remote_sessions = true on this node)",
				name);
			return false;
		}
		if (rule == AUTHORITY_RULE_SESSIONS || sender->named)
			return true;
		qmt_err_set(err, -EACCES,
			"%s: this node holds sessions only for peers that it names (on this node: qmt peers allow %s)", name,
			sender->peer_id ? sender->peer_id : "PEERID");
		return false;
	case AUTHORITY_RULE_NO:
	case AUTHORITY_RULES:
		break;
	}
	qmt_err_set(err, -EACCES, "%s: %s may not send this (operation %s)", name, who, type->access);
	return false;
}
