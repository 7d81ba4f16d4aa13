/* actors/store/store_schema.c - the tables.
 *
 * messages is a plain table that grows at its end, with an index on (session, pos): measured against WITHOUT ROWID and
 * a clustered key, 64 sessions in turn, 64 rows a commit, it takes 2 to 3 times as many appends a second (fewer pages
 * are touched), a page of 100 reads as fast while it is in the cache, and twice as slow with 4 KB rows. Sessions are
 * named by `key` inside: 16-byte ids in each row of messages would double the index. REFERENCES is for readers of this
 * file and of the database: the writer looks every key up itself, so SQLite's own check (a seek per row) stays off. A
 * fork is one row of sessions: positions up to fork_pos are read from its parent (and so on), its own follow.
 * fork_turn: turn of the message at fork_pos.
 */
#include "actors/store/store_schema.h"

#include <stddef.h>

const struct store_migration store_migrations[] = {
	{1,
		"CREATE TABLE sessions ("
		" key INTEGER PRIMARY KEY,"
		" id TEXT NOT NULL UNIQUE,"
		" owner TEXT NOT NULL,"
		" request TEXT NOT NULL,"
		" name TEXT NOT NULL,"
		" agent TEXT NOT NULL,"
		" cwd TEXT NOT NULL,"
		" peer TEXT NOT NULL,"
		" peer_name TEXT NOT NULL,"
		" title TEXT NOT NULL,"
		" remote_tools INTEGER NOT NULL,"
		" parent INTEGER REFERENCES sessions(key),"
		" fork_pos INTEGER NOT NULL DEFAULT 0,"
		" fork_turn INTEGER NOT NULL DEFAULT 0,"
		" created_ms INTEGER NOT NULL,"
		" updated_ms INTEGER NOT NULL,"
		" input_tokens INTEGER NOT NULL DEFAULT 0,"
		" output_tokens INTEGER NOT NULL DEFAULT 0,"
		" cached_tokens INTEGER NOT NULL DEFAULT 0,"
		" reasoning_tokens INTEGER NOT NULL DEFAULT 0"
		") STRICT;"
		/* A retry is known by who asks and what it was called: another owner's ids mean nothing. */
		"CREATE UNIQUE INDEX sessions_request ON sessions(owner, request);"
		"CREATE INDEX sessions_updated ON sessions(updated_ms);"
		"CREATE INDEX sessions_name ON sessions(name) WHERE name <> '';"
		"CREATE TABLE turns ("
		" session INTEGER NOT NULL REFERENCES sessions(key),"
		" turn INTEGER NOT NULL,"
		" pos INTEGER NOT NULL," /* of its prompt */
		" request TEXT NOT NULL,"
		" state TEXT NOT NULL,"
		" finish TEXT,"
		" error TEXT,"
		" steps INTEGER NOT NULL DEFAULT 0,"
		" input_tokens INTEGER NOT NULL DEFAULT 0,"
		" output_tokens INTEGER NOT NULL DEFAULT 0,"
		" cached_tokens INTEGER NOT NULL DEFAULT 0,"
		" reasoning_tokens INTEGER NOT NULL DEFAULT 0,"
		" started_ms INTEGER NOT NULL,"
		" ended_ms INTEGER,"
		" checkpoint TEXT,"
		" PRIMARY KEY (session, turn)"
		") STRICT;"
		"CREATE UNIQUE INDEX turns_request ON turns(session, request);"
		"CREATE INDEX turns_running ON turns(session) WHERE state = 'running';"
		"CREATE TABLE messages ("
		" session INTEGER NOT NULL REFERENCES sessions(key),"
		" pos INTEGER NOT NULL,"
		" turn INTEGER NOT NULL,"
		" role TEXT NOT NULL,"
		" content TEXT,"
		" reasoning TEXT,"
		" calls INTEGER NOT NULL DEFAULT 0," /* rows in tool_calls */
		" tool_call_id TEXT,"
		" tool_name TEXT,"
		" is_error INTEGER NOT NULL DEFAULT 0,"
		" partial INTEGER NOT NULL DEFAULT 0," /* an answer that was cut off: the text of its last checkpoint */
		" created_ms INTEGER NOT NULL,"
		" PRIMARY KEY (session, pos)"
		") STRICT;"
		"CREATE TABLE tool_calls ("
		" session INTEGER NOT NULL,"
		" pos INTEGER NOT NULL,"
		" n INTEGER NOT NULL," /* from 1 */
		" id TEXT NOT NULL,"
		" name TEXT NOT NULL,"
		" arguments TEXT,"
		" PRIMARY KEY (session, pos, n)"
		") STRICT;"
		"CREATE TABLE pins ("
		" name TEXT PRIMARY KEY,"
		" peer_id TEXT NOT NULL,"
		" created_ms INTEGER NOT NULL"
		") STRICT;"},
	/* Meshes and who is in them. A mesh is its id, <inviter PeerId>:<name>; times in _at are Unix
	 * seconds, as signed. */
	{2,
		"CREATE TABLE invites ("
		" id TEXT PRIMARY KEY," /* uuid */
		" mesh TEXT NOT NULL,"
		" name TEXT NOT NULL,"
		" client INTEGER NOT NULL,"
		" can_invite INTEGER NOT NULL,"
		" expires_at INTEGER NOT NULL," /* 0: never */
		" max_uses INTEGER NOT NULL,"   /* 0: no bound */
		" uses INTEGER NOT NULL DEFAULT 0 CHECK (max_uses = 0 OR uses <= max_uses),"
		" created_ms INTEGER NOT NULL,"
		" revoked_ms INTEGER NOT NULL DEFAULT 0" /* 0: not */
		") STRICT;"
		"CREATE INDEX invites_created ON invites(created_ms);"
		/* A row a use: who comes again with the same key spends none. */
		"CREATE TABLE admissions ("
		" invite TEXT NOT NULL REFERENCES invites(id),"
		" peer_id TEXT NOT NULL,"
		" admitted_ms INTEGER NOT NULL,"
		" PRIMARY KEY (invite, peer_id)"
		") STRICT;"
		/* Issued here; the last one of each member. */
		"CREATE TABLE memberships ("
		" mesh TEXT NOT NULL,"
		" peer_id TEXT NOT NULL,"
		" invite TEXT NOT NULL,"
		" client INTEGER NOT NULL,"
		" can_invite INTEGER NOT NULL,"
		" issued_at INTEGER NOT NULL,"
		" expires_at INTEGER NOT NULL,"
		" revoked_ms INTEGER NOT NULL DEFAULT 0,"
		" PRIMARY KEY (mesh, peer_id)"
		") STRICT;"
		"CREATE INDEX memberships_invite ON memberships(invite);"
		/* Made here or heard of; proof: what the mesh's inviter signed. */
		"CREATE TABLE revocations ("
		" mesh TEXT NOT NULL,"
		" kind TEXT NOT NULL CHECK (kind IN ('invite', 'peer')),"
		" subject TEXT NOT NULL," /* invite id, PeerId */
		" revoked_at INTEGER NOT NULL,"
		" proof BLOB,"
		" PRIMARY KEY (mesh, kind, subject)"
		") STRICT;"
		/* Meshes of others that this node is in. */
		"CREATE TABLE joined ("
		" mesh TEXT PRIMARY KEY,"
		" state TEXT NOT NULL CHECK (state IN ('joining', 'active', 'left', 'revoked')),"
		" token TEXT NOT NULL," /* the invite: a secret */
		" membership BLOB,"
		" joined_ms INTEGER NOT NULL,"
		" updated_ms INTEGER NOT NULL"
		") STRICT;"
		"CREATE TABLE joined_addresses ("
		" mesh TEXT NOT NULL REFERENCES joined(mesh),"
		" peer_id TEXT NOT NULL,"
		" address TEXT NOT NULL,"
		" seen_ms INTEGER NOT NULL,"
		" PRIMARY KEY (mesh, peer_id, address)"
		") STRICT;"
		/* What the owner said of a peer. */
		"CREATE TABLE peer_policy ("
		" peer_id TEXT PRIMARY KEY,"
		" policy TEXT NOT NULL CHECK (policy IN ('allow', 'block')),"
		" name TEXT NOT NULL,"
		" changed_ms INTEGER NOT NULL"
		") STRICT;"
		"CREATE TABLE audit ("
		" seq INTEGER PRIMARY KEY,"
		" at_ms INTEGER NOT NULL,"
		" event TEXT NOT NULL,"
		" mesh TEXT NOT NULL,"
		" invite TEXT NOT NULL,"
		" peer_id TEXT NOT NULL,"
		" text TEXT NOT NULL"
		") STRICT;"},
	/* A flood of one kind and peer is one row of the audit; a name of the owner's means one peer. */
	{3,
		"ALTER TABLE audit ADD COLUMN count INTEGER NOT NULL DEFAULT 1;"
		"ALTER TABLE audit ADD COLUMN last_ms INTEGER NOT NULL DEFAULT 0;" /* 0: as at_ms */
		"CREATE UNIQUE INDEX peer_policy_name ON peer_policy(name) WHERE name <> '';"},
	/* Whether there is a row to count a refusal in is asked for each one. */
	{4, "CREATE INDEX audit_group ON audit(event, peer_id, mesh, invite, at_ms);"},
	/* What happens to a session and is no message is a row of role `event` among its messages, so that one number, pos,
	 * is the place in both and a fork is still one row. nth: messages up to this one without events; NULL, in rows
	 * older than events: as pos. A deleted session that forks still read from keeps its row and what they need; purged:
	 * no more of it can go until one of them does. */
	{5,
		"ALTER TABLE messages ADD COLUMN nth INTEGER;"
		"ALTER TABLE messages ADD COLUMN author TEXT;"
		"ALTER TABLE sessions ADD COLUMN fork_nth INTEGER NOT NULL DEFAULT 0;"
		"ALTER TABLE sessions ADD COLUMN archived_ms INTEGER NOT NULL DEFAULT 0;"
		"ALTER TABLE sessions ADD COLUMN deleted_ms INTEGER NOT NULL DEFAULT 0;"
		"ALTER TABLE sessions ADD COLUMN purged INTEGER NOT NULL DEFAULT 0;"
		"CREATE INDEX sessions_parent ON sessions(parent) WHERE parent IS NOT NULL;"
		"CREATE INDEX sessions_purge ON sessions(key) WHERE deleted_ms <> 0 AND purged = 0;"},
	{0, NULL},
};

uint32_t store_schema_newest(void)
{
	uint32_t newest = 0;

	for (const struct store_migration *m = store_migrations; m->sql; m++)
		newest = m->version;
	return newest;
}
