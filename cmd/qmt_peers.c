/* cmd/qmt_peers.c - qmt peers, and what it says of one of them. */
#include <stdio.h>

#include "cmd/qmt_node.h"
#include "proto/contract/contract.h"

/* Who named it, and whether the owner blocks it; block wins. */
static struct qmt_str word_of(const struct peers_info *peer)
{
	if (qmt_str_is(peer->policy, "block"))
		return qmt_str(peer->configured ? "blocked, though configured" : "blocked");
	return qmt_str(peer->configured ? "configured" : qmt_str_is(peer->policy, "allow") ? "allowed" : "no");
}

static void show_peers(const void *body)
{
	const struct peers_list_reply *reply = body;
	struct cli_rows rows = {.columns = 7};

	for (uint32_t i = 0; i < reply->peers.count; i++) {
		const struct peers_info *peer = &reply->peers.items[i];
		char rtt[24];
		snprintf(rtt, sizeof rtt, peer->rtt_ms > 0 ? "%.2f ms" : "-", peer->rtt_ms);
		cli_cell(&rows, peer->name.len ? peer->name : qmt_str("-"));
		cli_cell(&rows, peer->suspect ? qmt_str("suspect") : peer->state);
		cli_cell(&rows, qmt_str(rtt));
		cli_cell(&rows, word_of(peer));
		cli_cell(&rows, peer->address);
		cli_cell(&rows, peer->peer_id.len ? peer->peer_id : qmt_str("-"));
		cli_cell(&rows, qmt_str_is(peer->state, "connected") ? qmt_str("") : peer->last_error);
	}
	cli_rows_print(&rows, (const char *const[]){"PEER", "STATE", "RTT", "NAMED", "ADDRESS", "PEER ID", "LAST ERROR"});
	if (reply->twin_address.len)
		show_twin(reply->twin_address);
}

void show_twin(struct qmt_str address)
{
	char text[256];

	qmt_text(text, sizeof text, "%.*s", QMT_STR_ARG(address));
	fprintf(stderr,
		"another node, met at %s, has this node's identity: peers take the one for the other. Stop one of them and "
		"give it a key of its own (there: qmt identity new --force)\n",
		text);
}

static void show_peer(const void *body)
{
	const struct peers_resolved *reply = body;

	cli_field("peer", reply->peer.name);
	cli_field("peer id", reply->peer.peer_id);
}

int qmt_peers(const struct cli *cli)
{
	const char *wait = cli->option[CLI_OPTION_wait];

	if (wait)
		return node_ask_and_show(
			cli, "peers", &peers_await_type, &(struct peers_await){.name = qmt_str(wait)}, show_peer);
	return node_ask_and_show(cli, "peers", &peers_list_type, &(struct peers_list){}, show_peers);
}

static void show_forgotten(const void *body)
{
	(void)body;
	printf("forgotten\n");
}

int qmt_peers_forget(const struct cli *cli)
{
	return node_ask_and_show(
		cli, "peers", &peers_forget_type, &(struct peers_forget){.name = qmt_str(cli->argv[0])}, show_forgotten);
}

static void show_policy(const void *body)
{
	const struct peers_policy *reply = body;
	bool block = qmt_str_is(reply->policy, "block");

	printf(block ? "blocked " : "allowed ");
	cli_text(1, reply->name.len ? reply->name : reply->peer_id);
	if (reply->name.len) {
		printf(" (");
		cli_text(1, reply->peer_id);
		printf(")");
	}
	if (reply->links_cut)
		printf(", link cut");
	printf(block && reply->configured ? "; it is in [[mesh.peers]] too: block wins\n" : "\n");
}

int qmt_peers_allow(const struct cli *cli)
{
	return node_ask_and_show(cli, "peers", &peers_allow_type,
		&(struct peers_allow){.peer = qmt_str(cli->argv[0]), .name = qmt_str(cli->option[CLI_OPTION_as])}, show_policy);
}

int qmt_peers_block(const struct cli *cli)
{
	return node_ask_and_show(
		cli, "peers", &peers_block_type, &(struct peers_block){.peer = qmt_str(cli->argv[0])}, show_policy);
}
