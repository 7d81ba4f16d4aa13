/* transports/transports.h - all that cmd/ needs to connect a node: sockets, links, the actor "peers", the control
 * socket.
 *
 * Threads: transports_start from the thread that owns ctx (an outside handle); the rest from one thread at a time.
 * Blocks:  transports_free, until its deadline.
 * Order:   lock the home (a second bind of a live ipc path steals it), qmt_system_start, transports_start, …,
 *          qmt_system_stop, qmt_system_free, transports_free. Never fork after transports_start (posix_spawn is fine).
 * Trust:   the socket decides: control_path makes owners (mode 0600), `listen` makes peers.
 * Names:   registers "peers" (proto/contract/peers.def) and "peer/<PeerId>" for each link in use; asks "store" for pins
 *          by name.
 */
#ifndef TRANSPORTS_TRANSPORTS_H
#define TRANSPORTS_TRANSPORTS_H

#include "proto/authority.h"
#include "proto/identity.h"
#include "proto/multiaddr.h"
#include "runtime/system.h"

/* ---- limits and times: one table (limits.def) -------------------------------------------------------------------- */
struct transports_limits {
#define LIMIT(name, dflt, min, max, doc) uint64_t name;
#include "transports/limits.def"
#undef LIMIT
};

struct transports_limit_row {
	const char *name, *doc;
	uint64_t dflt, min, max;
	size_t offset; /* of the uint64_t in struct transports_limits */
};
extern const struct transports_limit_row transports_limit_rows[]; /* closed by name == NULL */

void transports_limits_default(struct transports_limits *ret_limits);
/* Ranges, and what must fit together (dead_ms > suspect_ms, …). 0, or -EINVAL and err with name, value and range. */
QMT_MUST_CHECK int transports_limits_check(const struct transports_limits *limits, struct qmt_err *err);

/* ---- a node's connections ---------------------------------------------------------------------------------------- */

/* A peer that is dialed for ever. With /p2p/<PeerId> in addr only that one is accepted; without, whoever answered first
 * under this name (pinned in the store). */
struct transports_peer {
	const char *name; /* unique, not empty */
	struct multiaddr addr;
};

struct loop_hub; /* loop.h */

struct transports_config {
	const struct identity *identity;
	const char *node_name;
	const char *const *capabilities; /* closed by NULL; NULL: none */
	const struct multiaddr *listen;  /* tcp; port 0 picks one */
	uint32_t listen_count;
	const char *control_path; /* NULL: no control socket. At most 107 bytes */
	const struct transports_peer *peers;
	uint32_t peer_count;
	/* There is no actor "store": nobody can be pinned, allowed or blocked. Else nobody gets in before it answered. */
	bool without_store;
	bool no_lan;      /* lan:default is not offered: only meshes */
	bool trust_known; /* [mesh.lan] trust = "known": only `peers`, and who was allowed, get a link */
	struct authority_grants grants;
	uint64_t requests_minute; /* that one peer may make, over all of its links; 0: no bound */
	struct transports_limits limits;
	struct loop_hub *loop; /* NULL: tcp. Otherwise `listen` and `peers` are ports in this hub, in memory (tests) */
};

struct transports;

/* config and all it points to are borrowed until transports_free. When this returns 0 every socket is bound and
 * listening, and the actors are under way. Otherwise err names the address: "/ip4/…/tcp/9001: address already in use",
 * and *ret_transports is NULL, nothing is left; or it is not, because an actor had been started: it is told to stop,
 * and what it borrows is freed as after a start that worked. */
QMT_MUST_CHECK int transports_start(struct qmt_ctx *ctx, const struct transports_config *config,
	struct transports **ret_transports, struct qmt_err *err);
/* The i-th listen address with its real port and /p2p/<own PeerId>; wildcards as they are. false: no such. */
bool transports_listening(const struct transports *transports, uint32_t i, struct multiaddr *ret_addr);
/* After the system has been freed: closes what is left, ends the ZeroMQ context within deadline_ms (beyond, it is left
 * behind and said so in the log of `err`). NULL is fine. Returns NULL. */
struct transports *transports_free(struct transports *transports, uint64_t deadline_ms, struct qmt_err *err);

#endif
