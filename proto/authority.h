/* proto/authority.h - who may send what: one table operation x role, deny by default (architecture section 4).
 *
 * Threads: constants.   Blocks: never.
 * A message's operation is the third column of its .def entry (struct qmt_type.access). The table is
 * proto/authority.def; docs/security.md shows it, test/port/authority_test.c tries each cell over a real link.
 */
#ifndef PROTO_AUTHORITY_H
#define PROTO_AUTHORITY_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"
#include "runtime/message.h"

enum authority_role {
#define ROLE(id, title, who, doc) AUTHORITY_##id,
#include "proto/authority.def"
#undef ROLE
	AUTHORITY_ROLES
};

enum authority_rule {
#define RULE(id, title, doc) AUTHORITY_RULE_##id,
#include "proto/authority.def"
#undef RULE
	AUTHORITY_RULES
};

enum authority_pace {
#define PACE(id, title, doc) AUTHORITY_PACE_##id,
#include "proto/authority.def"
#undef PACE
	AUTHORITY_PACES
};

/* A row of the table. */
struct authority_row {
	const char *operation, *doc;
	enum authority_rule rules[AUTHORITY_ROLES];
	enum authority_pace pace;
};
extern const struct authority_row authority_rows[]; /* closed by operation == NULL */

/* title: one word; who: in a sentence; of the first missing number: NULL. */
struct authority_word {
	const char *title, *who, *doc;
};
extern const struct authority_word authority_role_words[AUTHORITY_ROLES], authority_rule_words[AUTHORITY_RULES],
	authority_pace_words[AUTHORITY_PACES];

/* What this node's configuration opens; all false by default. */
struct authority_grants {
	bool allow_remote_sessions;
	bool allow_remote_tools;
};

/* The other end of a link, in the scope of the message. */
struct authority_sender {
	enum authority_role role;
	bool named;          /* in [[mesh.peers]], or by `qmt peers allow` */
	const char *peer_id; /* for what a refusal tells to run; NULL: not known */
};

/* The table's word; what it does not know is AUTHORITY_RULE_NO. */
enum authority_rule authority_rule_of(enum authority_role role, const char *operation);
/* What the table does not know, nobody may send: FREE. */
enum authority_pace authority_pace_of(const char *operation);
/* by_ref: it was sent to a ref that this node gave out, not to a name. False: err says which key to set or which
 * command to run, if one would help. */
bool authority_allows(const struct authority_sender *sender, const struct authority_grants *grants,
	const struct qmt_type *type, bool by_ref, struct qmt_err *err);

#endif
