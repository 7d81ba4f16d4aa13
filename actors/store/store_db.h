/* actors/store/store_db.h - the database of the store, without any actor: open, migrate, all of the contract.
 *
 * Threads: a handle belongs to one thread. One process holds at most one handle that writes; the others read.
 * Blocks:  on the disk, and up to busy_timeout_ms on a lock of another process.
 * Order:   writes stand between store_db_begin and store_db_commit. A read outside a batch sees all that was committed.
 * Results: 0. >0 (enum store_outcome): the request cannot be done, nothing was written by it, the batch goes on.
 *          <0: the database failed (-ENOMEM -ENOSPC -EBUSY -EUCLEAN -EROFS -EIO): the caller must roll the batch back.
 *          Both set err.
 * Memory:  texts in results live in the arena that was given.
 * Times:   updated_ms of a session is exact at the begin and end of a turn, and up to a second old while one runs.
 * Invariant: a session has at most one running turn, its last one; positions and turns count from 1 without gaps.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include "actors/store/store.h"
#include "actors/store/store_arena.h"
#include "proto/contract/contract.h"

enum store_outcome {
	STORE_E_NOT_FOUND = 1, /* no such session, turn, pin */
	STORE_E_BAD,           /* the request itself is wrong */
	STORE_E_TOO_LARGE,     /* over a limit that the text names */
	STORE_E_BUSY,          /* the session has a running turn */
	STORE_E_ENDED,         /* the turn has ended */
	STORE_E_LIMIT,         /* owner_max */
};
/* Class for programs: "busy", "ended", "full", "locked", "damaged", "read_only", "io", "memory"; else NULL. */
const char *store_db_kind(int result);

struct store_db;

enum store_db_mode {
	STORE_DB_WRITE, /* makes the file when there is none, migrates it */
	STORE_DB_READ,  /* the file must exist and be current */
};

/* Further failures: -ENOENT directory, -EMEDIUMTYPE not ours (not touched), -EPROTONOSUPPORT made by a newer qmt. */
QMT_MUST_CHECK int store_db_open(const char *path, const struct store_limits *limits, enum store_db_mode mode,
	struct store_db **ret_db, struct qmt_err *err);
struct store_db *store_db_close(struct store_db *db); /* rolls an open batch back; NULL is fine */

/* Takes the write lock. */
QMT_MUST_CHECK int store_db_begin(struct store_db *db, struct qmt_err *err);
/* <0: rolled back. */
QMT_MUST_CHECK int store_db_commit(struct store_db *db, struct qmt_err *err);
void store_db_rollback(struct store_db *db);
/* Rows that were inserted, changed or deleted until now, committed or not. */
uint64_t store_db_changes(const struct store_db *db);
/* Rows that committed batches of this handle inserted, changed or deleted. */
uint64_t store_db_rows(const struct store_db *db);

/* ---- writes: inside a batch -------------------------------------------------------------------------------------- */

/* Ends each running turn as "interrupted" (store.h, Start). A batch of its own, not inside one. */
QMT_MUST_CHECK int store_db_recover(struct store_db *db, uint64_t now_ms, uint64_t *ret_turns, struct qmt_err *err);

/* fresh_id: for a session that comes without id. A retry (same owner and request), and a bookmark of the same id and
 * peer, give the session that is there. */
QMT_MUST_CHECK int store_db_session_create(struct store_db *db, const struct store_session_create *req,
	const char *fresh_id, uint64_t now_ms, struct store_arena *arena, struct store_session *ret_session,
	struct qmt_err *err);
/* A new session that goes on from message `pos` of another. A retry gives the fork that is there. */
QMT_MUST_CHECK int store_db_session_fork(struct store_db *db, const struct store_session_fork *req,
	const char *fresh_id, uint64_t now_ms, struct store_arena *arena, struct store_session *ret_session,
	struct qmt_err *err);
/* What is so already is no error, and no event. Archive and delete: STORE_E_BUSY while a turn runs. */
QMT_MUST_CHECK int store_db_session_rename(struct store_db *db, const struct store_session_rename *req, uint64_t now_ms,
	struct store_arena *arena, struct store_session *ret_session, struct qmt_err *err);
QMT_MUST_CHECK int store_db_session_archive(struct store_db *db, const struct store_session_archive *req,
	uint64_t now_ms, struct store_arena *arena, struct store_session *ret_session, struct qmt_err *err);
/* It is gone for all who ask; its rows go by store_db_purge. */
QMT_MUST_CHECK int store_db_session_delete(
	struct store_db *db, const struct store_session_delete *req, uint64_t now_ms, struct qmt_err *err);
/* Deletes up to `rows` rows of one deleted session. *ret_more: there was one; call again. */
QMT_MUST_CHECK int store_db_purge(struct store_db *db, uint32_t rows, bool *ret_more, struct qmt_err *err);
/* ret->state is a constant or in the arena. STORE_E_BUSY when another request's turn runs. */
QMT_MUST_CHECK int store_db_turn_begin(struct store_db *db, const struct store_turn_begin *req, uint64_t now_ms,
	struct store_arena *arena, struct store_turn_begun *ret_begun, struct qmt_err *err);
/* An assistant message clears the turn's checkpoint: what was under way is stored now. */
QMT_MUST_CHECK int store_db_append(
	struct store_db *db, const struct store_append *req, uint64_t now_ms, uint64_t *ret_pos, struct qmt_err *err);
QMT_MUST_CHECK int store_db_checkpoint(struct store_db *db, const struct store_checkpoint *req, struct qmt_err *err);
/* Also takes the state "interrupted": then it does what store_db_recover does, for this turn. */
QMT_MUST_CHECK int store_db_turn_end(
	struct store_db *db, const struct store_turn_end *req, uint64_t now_ms, struct qmt_err *err);
/* A name that is pinned to another PeerId is refused (STORE_E_BAD): it has to be forgotten first. */
QMT_MUST_CHECK int store_db_pin_put(
	struct store_db *db, const struct store_pin_put *req, uint64_t now_ms, struct qmt_err *err);
QMT_MUST_CHECK int store_db_pin_forget(struct store_db *db, const struct store_pin_forget *req, struct qmt_err *err);

/* STORE_E_BAD: an id that is there. */
QMT_MUST_CHECK int store_db_invite_add(struct store_db *db, const struct store_invite_add *req, uint64_t now_ms,
	struct store_arena *arena, struct qmt_err *err);
/* By id or unique prefix. Memberships that came of it count as revoked, too. A second time nothing changes. */
QMT_MUST_CHECK int store_db_invite_revoke(struct store_db *db, const struct store_invite_revoke *req, uint64_t now_ms,
	struct store_arena *arena, struct store_invite_revoked *ret_revoked, struct qmt_err *err);
/* Looks, counts the use, notes the membership and the audit row: whatever comes of it is an answer (0), in `outcome`:
 * ok, already (admitted by this invite before: no use is spent), unknown, blocked, revoked, expired, used_up. Looked at
 * in this order: unknown, blocked, revoked, already, expired, used_up. The caller has verified the grant. */
QMT_MUST_CHECK int store_db_admit(struct store_db *db, const struct store_admit *req, uint64_t now_ms,
	struct store_arena *arena, struct store_admitted *ret_admitted, struct qmt_err *err);
/* Meshes that were joined (store_db_joined.c). STORE_E_BAD: STORE_MESHES are the most. */
QMT_MUST_CHECK int store_db_mesh_put(
	struct store_db *db, const struct store_mesh_put *req, uint64_t now_ms, struct qmt_err *err);
QMT_MUST_CHECK int store_db_mesh_forget(
	struct store_db *db, const struct store_mesh_forget *req, uint64_t now_ms, struct qmt_err *err);
/* The first STORE_ADDRESSES of them. */
QMT_MUST_CHECK int store_db_addresses_put(
	struct store_db *db, const struct store_addresses_put *req, uint64_t now_ms, struct qmt_err *err);
/* Of a peer: its membership counts as revoked from now on. A second time nothing changes. */
QMT_MUST_CHECK int store_db_revocation_add(
	struct store_db *db, const struct store_revocation_add *req, uint64_t now_ms, struct qmt_err *err);
/* Counted in the row of the same event, mesh, invite and peer if that is younger than merge_ms, else a row of its own.
 * seq and at_ms are the store's. */
QMT_MUST_CHECK int store_db_audit_note(
	struct store_db *db, const struct store_audit *req, uint64_t merge_ms, uint64_t now_ms, struct qmt_err *err);
/* A row of its own. */
QMT_MUST_CHECK int store_db_audit_add(
	struct store_db *db, const struct store_audit *req, uint64_t now_ms, struct qmt_err *err);
/* Each with its audit row. STORE_E_BAD: the name is another peer's, or no such policy; STORE_E_TOO_LARGE:
 * policies_max. */
QMT_MUST_CHECK int store_db_policy_put(
	struct store_db *db, const struct store_policy_put *req, uint64_t now_ms, struct qmt_err *err);
QMT_MUST_CHECK int store_db_policy_forget(
	struct store_db *db, const struct store_policy_forget *req, uint64_t now_ms, struct qmt_err *err);

/* ---- reads: outside a batch -------------------------------------------------------------------------------------- */

/* Looks for the id, else for the exact name, else for the prefix of an id; the first of these that matches decides.
 * Several sessions: STORE_E_BAD, the text lists up to STORE_CANDIDATES, newest first. */
QMT_MUST_CHECK int store_db_session_find(struct store_db *db, const struct store_session_find *req,
	struct store_arena *arena, struct store_session *ret_session, struct qmt_err *err);
QMT_MUST_CHECK int store_db_session_list(struct store_db *db, const struct store_session_list *req,
	struct store_arena *arena, struct store_sessions *ret_sessions, struct qmt_err *err);
/* Follows the ancestors of a fork: one range scan each. */
QMT_MUST_CHECK int store_db_history(struct store_db *db, const struct store_history *req, struct store_arena *arena,
	struct store_page *ret_page, struct qmt_err *err);
QMT_MUST_CHECK int store_db_pin_get(struct store_db *db, const struct store_pin_get *req, struct store_arena *arena,
	struct store_pin *ret_pin, struct qmt_err *err);
QMT_MUST_CHECK int store_db_invite_list(struct store_db *db, const struct store_invite_list *req,
	struct store_arena *arena, struct store_invites *ret_invites, struct qmt_err *err);
QMT_MUST_CHECK int store_db_mesh_list(struct store_db *db, const void *req, struct store_arena *arena,
	struct store_mesh_list_reply *ret_meshes, struct qmt_err *err);
QMT_MUST_CHECK int store_db_audit_list(struct store_db *db, const struct store_audit_list *req,
	struct store_arena *arena, struct store_audits *ret_audits, struct qmt_err *err);
QMT_MUST_CHECK int store_db_policy_list(struct store_db *db, const struct store_policy_list *req,
	struct store_arena *arena, struct store_policies *ret_policies, struct qmt_err *err);

#endif
