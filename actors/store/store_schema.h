/* actors/store/store_schema.h - versions of the database: what each adds, and how a file gets to the newest.
 *
 * Threads: constants.   A version that was released is never edited: a change is a new row.
 * The file says whose it is (PRAGMA application_id) and its version (PRAGMA user_version).
 */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include <stdint.h>

enum { STORE_APPLICATION_ID = 0x514d5431 }; /* "QMT1" */

struct store_migration {
	uint32_t version; /* that it leads to; rows count up from 1 */
	const char *sql;
};
extern const struct store_migration store_migrations[]; /* closed by sql == NULL */

uint32_t store_schema_newest(void);

#endif
