/* proto/contract/contract.h - the structs and tables of every message that this project declares.
 *
 * Threads: constants.   The lists stand in the .def files beside this one, one a module; docs/protocol.md is made
 *          from them.
 */
#ifndef PROTO_CONTRACT_H
#define PROTO_CONTRACT_H

#include "runtime/message.h"

#include "admission.def"
#include "chat.def"
#include "metrics.def"
#include "node.def"
#include "peers.def"
#include "provider.def"
#include "router.def"
#include "session.def"
#include "store.def"

QMT_DECLARE_RECORD(chat_tool_call, CHAT_TOOL_CALL)
QMT_DECLARE_RECORD(chat_message, CHAT_MESSAGE)
QMT_DECLARE_RECORD(chat_tool, CHAT_TOOL)
QMT_DECLARE_RECORD(chat_usage, CHAT_USAGE)
QMT_DECLARE_RECORD(metric, METRIC_FIELDS)
QMT_DECLARE_RECORD(provider_tool_delta, PROVIDER_TOOL_DELTA)
QMT_DECLARE_RECORD(store_session, STORE_SESSION)
QMT_DECLARE_RECORD(store_invite, STORE_INVITE)
QMT_DECLARE_RECORD(store_mesh, STORE_MESH)
QMT_DECLARE_RECORD(store_address, STORE_ADDRESS)
QMT_DECLARE_RECORD(store_revocation, STORE_REVOCATION)
QMT_DECLARE_RECORD(store_audit, STORE_AUDIT)
QMT_DECLARE_RECORD(store_policy, STORE_POLICY)
QMT_DECLARE_RECORD(router_route, ROUTER_ROUTE)
QMT_DECLARE_RECORD(peers_info, PEERS_INFO)
QMT_DECLARE_RECORD(node_actor, NODE_ACTOR)
QMT_DECLARE_RECORD(node_node, NODE_NODE)
QMT_DECLARE_RECORD(node_peer, NODE_PEER)
QMT_DECLARE_RECORD(node_provider, NODE_PROVIDER)
QMT_DECLARE_PROTOCOL(metrics, METRICS_MESSAGES)
QMT_DECLARE_PROTOCOL(provider, PROVIDER_MESSAGES)
QMT_DECLARE_PROTOCOL(session, SESSION_MESSAGES)
QMT_DECLARE_PROTOCOL(store, STORE_MESSAGES)
QMT_DECLARE_PROTOCOL(router, ROUTER_MESSAGES)
QMT_DECLARE_PROTOCOL(peers, PEERS_MESSAGES)
QMT_DECLARE_PROTOCOL(node, NODE_MESSAGES)
QMT_DECLARE_RECORD(admission_member, ADMISSION_MEMBER)
QMT_DECLARE_RECORD(admission_proof, ADMISSION_PROOF)
QMT_DECLARE_RECORD(admission_mesh, ADMISSION_MESH)
QMT_DECLARE_PROTOCOL(admission, ADMISSION_MESSAGES)

/* Every protocol above; closed by NULL. */
extern const struct qmt_protocol *const contract_protocols[];

/* The table of metrics.def. */
enum metric_id {
#define METRIC_ID(name, kind, unit, label, doc) METRIC_##name,
	METRICS(METRIC_ID)
#undef METRIC_ID
		METRIC_COUNT
};
struct metric_row {
	const char *name, *kind, *unit, *label, *doc;
};
extern const struct metric_row metric_rows[METRIC_COUNT];
/* One row of a metrics.values, as an initializer. */
#define METRIC_VALUE(id, number) {.name = qmt_str(metric_rows[METRIC_##id].name), .value = (number)}

#endif
