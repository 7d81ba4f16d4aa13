/* test/lib/store_fixture.h - a folder of its own and short ways to fill a store, for tests of the database layer.
 * Every fault ends the test. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include "actors/store/store_db.h"

#define assert_text(s, text) assert_true(qmt_str_is((s), (text)))
#define assert_says(err, part) \
	do { \
		if (!strstr((err).text, part)) \
			fail_msg("\"%s\" is not in: %s", part, (err).text); \
	} while (0)

struct store_fixture {
	char dir[64], path[96];
	struct store_limits limits;
	struct store_db *db; /* open for writing, or NULL */
	struct store_arena arena;
	struct qmt_err err;
	uint64_t now_ms; /* moved by hand */
	unsigned ids;
};

/* cmocka setup and teardown: *state is a struct store_fixture *. The store is not open yet. */
int store_fixture_setup(void **state);
int store_fixture_teardown(void **state);

void store_fixture_open(struct store_fixture *f);
void store_fixture_close(struct store_fixture *f);
void store_fixture_begin(struct store_fixture *f);
void store_fixture_commit(struct store_fixture *f);

/* Each in a batch of its own. The id lives in the arena. */
struct qmt_str store_fixture_session(struct store_fixture *f, const char *name);
uint64_t store_fixture_turn(struct store_fixture *f, struct qmt_str session, const char *text);
uint64_t store_fixture_append(
	struct store_fixture *f, struct qmt_str session, uint64_t turn, const char *role, const char *text);
void store_fixture_end(struct store_fixture *f, struct qmt_str session, uint64_t turn, const char *state);
void store_fixture_history(
	struct store_fixture *f, struct qmt_str session, uint64_t from, uint32_t limit, struct store_page *ret_page);
/* One operation in a batch of its own, with its outcome. */
int store_fixture_create(
	struct store_fixture *f, const struct store_session_create *req, struct store_session *ret_session);
int store_fixture_find(struct store_fixture *f, const char *key, struct store_session *ret_session);
int store_fixture_begin_turn(struct store_fixture *f, struct qmt_str session, const char *request, const char *text,
	struct store_turn_begun *ret_begun);
int store_fixture_try_append(struct store_fixture *f, struct qmt_str session, uint64_t turn,
	const struct chat_message *messages, uint32_t count, uint64_t *ret_pos);
void store_fixture_checkpoint(struct store_fixture *f, struct qmt_str session, uint64_t turn, const char *text);
uint64_t store_fixture_restart(struct store_fixture *f);

/* SQL on a connection of its own. */
void store_fixture_sql(const char *path, const char *sql);
/* First column of the first row, as a number. */
long long store_fixture_number(const char *path, const char *sql);

#endif
