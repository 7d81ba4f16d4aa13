/* test/lib/vectors.h - test/vectors/NAME.json for tests; every fault ends the test.
 *
 * Files are found from the top of the tree, where `make test` runs its programs.
 */
#ifndef TEST_VECTORS_H
#define TEST_VECTORS_H

#include "proto/json.h"

struct json *vectors_load(const char *path);                             /* json_free it */
struct qmt_str vectors_text(const struct json *object, const char *key); /* must be there */
/* Bytes of a member that is hexadecimal text; returns their number. */
uint32_t vectors_bytes(const struct json *object, const char *key, uint8_t *ret_bytes, size_t room);

#endif
