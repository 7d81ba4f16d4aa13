/* cmd/qmt_names.c - `qmt names`: what is registered in the mesh, as this node knows it. */
#include <stdio.h>

#include "cmd/qmt_node.h"
#include "runtime/names.h"

static void show_names(const void *body)
{
	const struct qmt_names_listed *reply = body;
	struct cli_rows rows = {.columns = 3};

	for (uint32_t i = 0; i < reply->rows.count; i++) {
		const struct qmt_names_row *row = &reply->rows.items[i];

		cli_cell(&rows, row->name);
		cli_cell(&rows, row->scope);
		cli_cell(&rows, row->peer.len ? row->peer : qmt_str("this node"));
	}
	cli_rows_print(&rows, (const char *const[]){"NAME", "SCOPE", "NODE"});
}

int qmt_names(const struct cli *cli)
{
	return node_ask_and_show(cli, "names", &qmt_names_list_type, &(struct qmt_names_list){}, show_names);
}
