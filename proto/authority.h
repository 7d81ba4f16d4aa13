/* proto/authority.h - who may send what: one table role x operation, deny by default (architecture section 4).
 *
 * Threads: constants.   Blocks: never.
 * A message's operation is the third column of its .def entry (struct qmt_type.access).
 */
#ifndef PROTO_AUTHORITY_H
#define PROTO_AUTHORITY_H

#include "runtime/base/bytes.h"
#include "runtime/base/err.h"
#include "runtime/message.h"

enum authority_role {
	AUTHORITY_NONE,
	AUTHORITY_PEER,       /* whom HELLO proved, and nobody named */
	AUTHORITY_KNOWN_PEER, /* that this node's configuration names ([[mesh.peers]]) */
	AUTHORITY_OWNER,
	AUTHORITY_ROLES
};

/* What this node's configuration opens; all false by default. */
struct authority_grants {
	bool allow_remote_sessions;
	bool allow_remote_tools;
};

/* by_ref: it was sent to a ref that this node gave out, not to a name. False: err says which key to set, if one would
 * help. */
bool authority_allows(enum authority_role role, const struct authority_grants *grants, const struct qmt_type *type,
	bool by_ref, struct qmt_err *err);

#endif
