/* proto/contract/contract.c - the tables behind contract.h. */
#include "proto/contract/contract.h"

QMT_DEFINE_RECORD(chat_tool_call, CHAT_TOOL_CALL, "A call that the model makes.")
QMT_DEFINE_RECORD(chat_message, CHAT_MESSAGE, "One message of a conversation.")
QMT_DEFINE_RECORD(chat_tool, CHAT_TOOL, "A tool that the model may call.")
QMT_DEFINE_RECORD(chat_usage, CHAT_USAGE, "Tokens used.")
QMT_DEFINE_RECORD(metric, METRIC_FIELDS, "A number that a node keeps.")
QMT_DEFINE_RECORD(provider_tool_delta, PROVIDER_TOOL_DELTA, "A piece of a tool call.")
QMT_DEFINE_RECORD(store_session, STORE_SESSION, "A session as the store knows it.")
QMT_DEFINE_RECORD(store_policy, STORE_POLICY, "What the owner said of a peer.")
QMT_DEFINE_RECORD(store_invite, STORE_INVITE, "An invite as the store knows it.")
QMT_DEFINE_RECORD(store_mesh, STORE_MESH, "A mesh that this node joined.")
QMT_DEFINE_RECORD(store_address, STORE_ADDRESS, "Where a member was found.")
QMT_DEFINE_RECORD(store_revocation, STORE_REVOCATION, "A member or an invite that is revoked.")
QMT_DEFINE_RECORD(store_audit, STORE_AUDIT, "A row of the audit log.")
QMT_DEFINE_RECORD(admission_member, ADMISSION_MEMBER, "A member of a mesh, and where it is.")
QMT_DEFINE_RECORD(admission_proof, ADMISSION_PROOF, "A revocation.")
QMT_DEFINE_RECORD(admission_mesh, ADMISSION_MESH, "A mesh of this node.")
QMT_DEFINE_RECORD(router_route, ROUTER_ROUTE, "Where an agent's model calls go.")
QMT_DEFINE_RECORD(peers_info, PEERS_INFO, "A peer and its link.")
QMT_DEFINE_RECORD(node_actor, NODE_ACTOR, "What a node says of itself.")
QMT_DEFINE_RECORD(node_node, NODE_NODE, "What a node says of itself.")
QMT_DEFINE_RECORD(node_peer, NODE_PEER, "A connected peer, for status.")
QMT_DEFINE_RECORD(node_provider, NODE_PROVIDER, "A provider somewhere in the mesh.")
QMT_DEFINE_PROTOCOL(metrics, METRICS_MESSAGES, "What an actor counts: whoever keeps numbers answers it.")
QMT_DEFINE_PROTOCOL(provider, PROVIDER_MESSAGES, "Something that answers a chat request: provider/<name>.")
QMT_DEFINE_PROTOCOL(session, SESSION_MESSAGES, "A conversation: session/<id>.")
QMT_DEFINE_PROTOCOL(store, STORE_MESSAGES, "What is kept: store.")
QMT_DEFINE_PROTOCOL(router, ROUTER_MESSAGES, "Which provider an agent uses: router.")
QMT_DEFINE_PROTOCOL(peers, PEERS_MESSAGES, "Peers and links: peers.")
QMT_DEFINE_PROTOCOL(node, NODE_MESSAGES, "What a node does for its owner and its peers: node_manager.")
QMT_DEFINE_PROTOCOL(admission, ADMISSION_MESSAGES, "Invites, and who was admitted: admission.")

const struct qmt_protocol *const contract_protocols[] = {&node_protocol, &provider_protocol, &session_protocol,
	&store_protocol, &admission_protocol, &router_protocol, &peers_protocol, &metrics_protocol, NULL};

const struct metric_row metric_rows[METRIC_COUNT] = {
#define METRIC_ROW(name, kind, unit, label, doc) {#name, #kind, unit, label, doc},
	METRICS(METRIC_ROW)
#undef METRIC_ROW
};
