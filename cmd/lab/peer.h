/* cmd/lab/peer.h - one run of `qmt-lab peer`: whom it attacks, how, and what its modes share.
 *
 * Threads: one.   Blocks: every wait ends at peer->deadline_ms.
 * Verdict: a mode returns PEER_HELD when the node refused or cut it as it must, PEER_LET when not (or when it cannot
 *          tell: no connection), and has said why in a line on stdout.
 */
#ifndef CMD_LAB_PEER_H
#define CMD_LAB_PEER_H

#include <netinet/in.h>

#include "cmd/lab/peer_hostile.h"
#include "cmd/lab/peer_modes.def"

enum { PEER_HELD, PEER_LET };

struct peer {
	/* const after the command line was read */
	char endpoint[80]; /* "tcp://1.2.3.4:9000" */
	struct sockaddr_storage addr;
	socklen_t addr_len;
	uint64_t within_ms, seconds, seed, count, bytes; /* 0: the mode's own default */
	const struct peer_id *as;                        /* NULL: a random one */
	/* of the run */
	uint64_t deadline_ms; /* of the step under way */
};

typedef int peer_mode_fn(struct peer *peer);

#define PEER_MODE_FUNCTION(function, name, doc) int peer_mode_##function(struct peer *peer);
PEER_MODES(PEER_MODE_FUNCTION)
#undef PEER_MODE_FUNCTION

/* A line on stdout, at once; control characters (from the node) become blanks. */
void peer_say(const char *format, ...) QMT_PRINTF(1, 2);
/* The next wait begins: it may take --within. */
void peer_next_step(struct peer *peer);

/* ---- raw connections: peer_raw.c --------------------------------------------------------------------------------- */

/* Opens `count` connections, sends each what `make` gives (NULL: nothing), and waits until the node has closed all. */
typedef void peer_bytes_fn(struct peer *peer, uint64_t index, struct qmt_buf *out);
int peer_raw(struct peer *peer, uint64_t count, peer_bytes_fn *make);

/* ---- proven connections: peer_link.c ----------------------------------------------------------------------------- */

/* A link in use; flags: enum hostile_flags. 0; <0 or HOSTILE_E_…, and err. */
QMT_MUST_CHECK int peer_link_open(struct peer *peer, struct hostile *link, unsigned flags, struct qmt_err *err);
/* Asks an actor. name NULL: the ref `number`. body NULL: no fields. */
QMT_MUST_CHECK int peer_ask(struct peer *peer, struct hostile *link, uint64_t id, const char *name, uint32_t number,
	const char *type, const struct qmt_record *record, const void *body);
/* Reads until the answer to that id has come, or a LINK_CUT. 0: *ret_env (its bytes lie in room); HOSTILE_E_…: text in
 * err. */
QMT_MUST_CHECK int peer_answer(struct peer *peer, struct hostile *link, uint64_t id, void *room, size_t size,
	struct envelope *ret_env, struct qmt_err *err);
/* What an ERROR envelope, or a LINK_CUT, says. */
void peer_error_text(const struct envelope *env, struct qmt_err *ret_err);
/* The link must be cut now: says so, with the reason when the node gave one. */
int peer_must_be_cut(struct peer *peer, struct hostile *link);
/* A new peer with good manners asks for node.info: is the node alive? Says so. */
int peer_check_alive(struct peer *peer);

#endif
