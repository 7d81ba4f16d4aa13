/* actors/store/store.h - what cmd needs to run the store: the module, its limits, a check at start-up.
 *
 * The actor: spawned once, as "store", with own_thread. It speaks the store protocol (proto/contract/store.def) and
 *            starts a child "store/reader" with a thread and a read-only connection of its own.
 * Threads:   the store's thread holds the one write connection; the reader's thread the one that reads.
 * Blocks:    the two threads block on the disk, nobody else does. store_check blocks (a few ms; up to busy_timeout_ms
 *            when another process holds the file).
 * Order:     writes are executed in the order in which they arrive; a batch is all that waited when the last commit
 *            ended, up to batch_max. An answer leaves after the commit. A read that is sent after the answer to a write
 *            sees that write.
 * Failure:   a batch that cannot be committed is rolled back as a whole and each of its requests is answered
 *            QMT_FAIL_FAILED with a kind: full, locked, damaged, read_only, io, memory. The store goes on.
 * Start:     each turn left "running" becomes "interrupted": calls of its last assistant message that have no result
 *            get one ("interrupted", is_error), then the text of its checkpoint becomes its last assistant message.
 */
#ifndef STORE_H
#define STORE_H

#include "runtime/actor.h"

/* Limits: L(name, default, smallest, largest, doc). They are the module's parameters (qmt_spawn.params). */
#define STORE_LIMITS(L) \
	L(batch_max, 256, 1, 65536, "Requests in one commit, at most.") \
	L(batch_bytes, 4194304, 1, 1073741824, "Text in one commit: the batch ends with the request that passes this.") \
	L(busy_timeout_ms, 2000, 0, 60000, "Wait so long for another process that has locked the file.") \
	L(wal_checkpoint_pages, 2000, 1, 1000000, "Pages in the write-ahead log before they are moved into the database.") \
	L(wal_keep_bytes, 67108864, 0, UINT64_C(1) << 40, \
		"A write-ahead log that grew beyond this is cut when it is empty.") \
	L(max_bytes, 0, 0, UINT64_C(1) << 46, "Size of the database, at most; 0: no bound. Beyond: failure \"full\".") \
	L(message_max_bytes, 16777216, 1, 268435456, \
		"Text of one message (content, reasoning, tool calls), and of one checkpoint.") \
	L(page_bytes, 4194304, 1, 1073741824, \
		"Text in one page of history: the page ends with the message that passes this.") \
	L(name_max_bytes, 256, 1, 65536, "Name of a session or a peer, agent, request id.") \
	L(purge_rows, 1000, 1, 1000000, "Rows of deleted sessions that go at once.") \
	L(fork_depth_max, 64, 1, 4096, "Ancestors of a session.") \
	L(policies_max, 10000, 1, 1000000, "Peers that are allowed or blocked by `qmt peers`.") \
	L(audit_max, 100000, 1, 100000000, "Rows of the audit log that are kept, the newest.")

struct store_limits {
#define STORE_LIMIT_MEMBER(name, dflt, min, max, doc) uint64_t name;
	STORE_LIMITS(STORE_LIMIT_MEMBER)
#undef STORE_LIMIT_MEMBER
};

/* All defaults, as an initializer. */
#define STORE_LIMIT_DEFAULT(name, dflt, min, max, doc) .name = (dflt),
/* clang-format off */
#define STORE_LIMITS_DEFAULTS {STORE_LIMITS(STORE_LIMIT_DEFAULT)}
/* clang-format on */

/* Bounds that the contract names. */
enum { STORE_LIST_DEFAULT = 20, STORE_LIST_MAX = 100, STORE_HISTORY_DEFAULT = 100, STORE_HISTORY_MAX = 1000 };
enum { STORE_PREFIX_MIN = 4, STORE_TITLE_CHARS = 80, STORE_CANDIDATES = 10 };

enum { STORE_AUDIT_DEFAULT = 50, STORE_AUDIT_MAX = 1000, STORE_AUDIT_TEXT = 1024 };
enum { STORE_MESH_BYTES = 308 /* a PeerId, a colon, a name of 255 bytes */, STORE_LIFETIME_MAX = 366 * 86400 };
enum { STORE_MESHES = 64, STORE_ADDRESSES = 8, STORE_ADDRESS_ROWS = 1024, STORE_REVOCATION_ROWS = 16384 };

/* config of the spawn: borrowed until the actor has ended. */
struct store_config {
	/* Of the database file; ":memory:": none, reads then run on the store's own thread (for the simulation). */
	const char *path;
};

extern const struct qmt_actor_desc store_desc;

/* Says whether the store at `path` could be started: directory, owner, version, lock, damage in its head. Makes and
 * changes nothing; a file that does not exist yet is fine. A lock of another process is waited for busy_timeout_ms. 0;
 * <0 with a text that names the file and the way out. For cmd, before the actor is spawned, because a start hook has
 * no other way to give its reason than the log. */
QMT_MUST_CHECK int store_check(const char *path, uint64_t busy_timeout_ms, struct qmt_err *err);

#endif
