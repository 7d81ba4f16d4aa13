/* proto/authority.c - the table, and the words of a refusal.
 *
 * An operation that the table does not name is refused, so a message whose .def has a new word in its third column
 * reaches nobody from afar until a row here says who may.
 */
#include "authority.h"

#include <errno.h>

enum rule {
	NO,
	YES,
	BY_REF,   /* only to a ref that this node gave out: who has it was meant to write to it */
	SESSIONS, /* when allow_remote_sessions is set */
	NAMED,    /* not to this one: the configuration has to name it */
};

/* A(operation, rule for a peer, for one that is named, for the owner). A role that has no column may nothing. */
#define AUTHORITY(A)                         \
	A(node_info, YES, YES, YES)              \
	A(provider_use, YES, YES, YES)           \
	A(stream, BY_REF, BY_REF, BY_REF)        \
	A(session_host, SESSIONS, SESSIONS, YES) \
	A(names, NAMED, YES, NO)                    \
	A(control, NO, NO, YES)                  \
	A(local, NO, NO, NO)                     \
	A(reply, NO, NO, NO)

struct row {
	const char *operation;
	enum rule rules[AUTHORITY_ROLES];
};

#define ROW(operation, peer, known, owner) \
	{#operation, {[AUTHORITY_PEER] = peer, [AUTHORITY_KNOWN_PEER] = known, [AUTHORITY_OWNER] = owner}},
static const struct row table[] = {AUTHORITY(ROW)};

static const char *const role_names[AUTHORITY_ROLES] = {"nobody in particular", "a peer", "a peer", "the owner"};

static enum rule rule_of(enum authority_role role, const char *operation)
{
	if ((unsigned)role >= AUTHORITY_ROLES)
		return NO;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (strcmp(table[i].operation, operation) == 0)
			return table[i].rules[role];
	}
	return NO;
}

bool authority_allows(enum authority_role role, const struct authority_grants *grants, const struct qmt_type *type,
	bool by_ref, struct qmt_err *err)
{
	const char *name = type->record.name,
			   *who = (unsigned)role < AUTHORITY_ROLES ? role_names[role] : role_names[AUTHORITY_NONE];

	switch (rule_of(role, type->access)) {
	case YES:
		return true;
	case BY_REF:
		if (by_ref)
			return true;
		qmt_err_set(err, -EACCES, "%s: goes only to a ref that was given for it, not to a name", name);
		return false;
	case SESSIONS:
		if (grants->allow_remote_sessions)
			return true;
		qmt_err_set(err, -EACCES,
			"%s: this node holds no sessions for peers (set [mesh] allow_remote_sessions = true on this node)", name);
		return false;
	case NAMED:
		qmt_err_set(
			err, -EACCES, "%s: this node does not name that peer (name it in [[mesh.peers]] on this node)", name);
		return false;
	case NO:
		break;
	}
	qmt_err_set(err, -EACCES, "%s: %s may not send this (operation %s)", name, who, type->access);
	return false;
}
