/* test/lib/mesh_pair.c - see mesh_pair.h. */
#include "mesh_pair.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "transports/link.h"

void mesh_pair_init(struct mesh_pair *pair, enum mesh_kind kind)
{
	uint16_t port = kind == MESH_LOOP ? 2 : mesh_free_port();

	*pair = (struct mesh_pair){.kind = kind, .hub = kind == MESH_LOOP ? loop_hub_new() : NULL};
	mesh_node_init(&pair->a, "a", pair->hub, kind == MESH_LOOP ? 1 : mesh_free_port());
	mesh_node_init(&pair->b, "b", pair->hub, port);
	mesh_node_dials(&pair->a, "b", port, &pair->b.identity.id);
}

void mesh_pair_mutual(struct mesh_pair *pair)
{
	mesh_node_dials(&pair->b, "a", pair->a.port, &pair->a.identity.id);
}

void mesh_pair_start(struct mesh_pair *pair)
{
	if (!pair->b.system)
		mesh_node_start(&pair->b);
	if (!pair->a.system)
		mesh_node_start(&pair->a);
	mesh_wait_peer(&pair->a, pair->b.id, true);
	mesh_wait_peer(&pair->b, pair->a.id, true);
}

void mesh_pair_stop(struct mesh_pair *pair)
{
	mesh_node_stop(&pair->a);
	mesh_node_stop(&pair->b);
	pair->hub = loop_hub_free(pair->hub);
}

void mesh_pair_cut(struct mesh_pair *pair)
{
	char name[sizeof("peer/") + PEER_ID_TEXT];
	struct qmt_ref link;

	(void)snprintf(name, sizeof(name), "peer/%s", pair->b.id);
	assert_int_equal(qmt_lookup(pair->a.ctx, name, &link), 0);
	assert_int_equal(QMT_TELL(pair->a.ctx, link, link_end, .why = qmt_str("the test cuts it")), 0);
}
