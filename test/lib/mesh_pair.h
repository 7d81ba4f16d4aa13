/* test/lib/mesh_pair.h - two nodes over any transport of enum mesh_kind, for tests of what crosses a link.
 *
 * Threads: a value of the test's thread.   Blocks: start and stop, with deadlines.
 */
#ifndef TEST_MESH_PAIR_H
#define TEST_MESH_PAIR_H

#include "mesh_node.h"

struct mesh_pair {
	enum mesh_kind kind;
	struct loop_hub *hub;
	struct mesh_node a, b;
};

/* Two nodes that are not started yet; a will dial b. */
void mesh_pair_init(struct mesh_pair *pair, enum mesh_kind kind);
/* Both name each other, so both may dial. Before the start. */
void mesh_pair_mutual(struct mesh_pair *pair);
/* Starts what does not run, b first; waits until they are connected. */
void mesh_pair_start(struct mesh_pair *pair);
void mesh_pair_stop(struct mesh_pair *pair);
/* Ends the connection; who dials makes a new one. */
void mesh_pair_cut(struct mesh_pair *pair);

#endif
