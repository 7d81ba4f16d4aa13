/* cmd/qmt_node.h - what the commands of `qmt` share: the connection to the node.
 *
 * Threads: one.
 */
#ifndef CMD_QMT_NODE_H
#define CMD_QMT_NODE_H

#include "cmd/cli.h"
#include "transports/control_client.h"

/* Connects to the node of cli->home; NULL after an error on stderr. wake_fd: -1 or what ends waits early. */
struct control_client *node_connect(const struct cli *cli, int wake_fd);
/* Asks; on failure the error is on stderr. CLI_OK or CLI_FAILED. Free *ret_reply in both cases. */
QMT_MUST_CHECK int node_ask(struct control_client *client, const char *actor, const struct qmt_type *type,
	const void *body, uint64_t timeout_ms, struct control_reply *ret_reply);
#define NODE_ASK(client, actor, timeout_ms, ret_reply, msg, ...) \
	node_ask(client, actor, &msg##_type, &(struct msg){__VA_ARGS__}, timeout_ms, ret_reply)

/* Connects, asks one thing, and prints the answer: as JSON, or by show(). An exit code. */
int node_ask_and_show(const struct cli *cli, const char *actor, const struct qmt_type *type, const void *body,
	void (*show)(const void *body));

/* On stderr: another node has this node's identity, and what to do. */
void show_twin(struct qmt_str address);

#define QMT_COMMAND_DECLARE(group, words, function, arguments, options, doc) int qmt_##function(const struct cli *cli);
QMT_COMMANDS(QMT_COMMAND_DECLARE)
#undef QMT_COMMAND_DECLARE

#endif
