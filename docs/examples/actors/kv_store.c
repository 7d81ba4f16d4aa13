/* kv_store.c - keys and values of any bytes, with an optional time to live; get, put, remove. */
#include <qmt/test_kit.h>

#include <stdio.h>
#include <stdlib.h>

#define KV_PUT(F, T)                        \
	F(T, STR, key, 1, "Not empty.")         \
	F(T, BYTES, value, 2, "At most 1 MiB.") \
	F(T, U64, ttl_ms, 3, "Forget it after this; 0: never.")
#define KV_KEY(F, T) F(T, STR, key, 1, "Not empty.")
#define KV_VALUE(F, T) F(T, BYTES, value, 1, "As it was put.")
#define KV_MESSAGES(M)                                                   \
	M(kv, put, KV_PUT, "local", "Errors: bad request, too large.", done) \
	M(kv, get, KV_KEY, "local", "Error: not found.", value)              \
	M(kv, drop, KV_KEY, "local", "Error: not found.", done)              \
	M(kv, value, KV_VALUE, "reply", "Answer.")                           \
	M(kv, done, QMT_NO_FIELDS, "reply", "Answer.")
QMT_DECLARE_PROTOCOL(kv, KV_MESSAGES)
QMT_DEFINE_PROTOCOL(kv, KV_MESSAGES, "Keys and values.")

enum { BUCKETS = 256, VALUE_MAX = 1 << 20 };

struct entry {
	struct entry *next;
	struct qmt_timer timer; /* when it is forgotten */
	uint32_t key_len, value_len;
	char bytes[]; /* key, value */
};

struct kv {
	struct entry *buckets[BUCKETS];
};

static struct entry **bucket_of(struct kv *kv, struct qmt_str key)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (uint32_t i = 0; i < key.len; i++)
		hash = (hash ^ (unsigned char)key.p[i]) * 16777619u;
	return &kv->buckets[hash % BUCKETS];
}

/* The link that leads to the entry; *link == NULL: there is none. */
static struct entry **find(struct kv *kv, struct qmt_str key)
{
	struct entry **link = bucket_of(kv, key);

	while (*link && !qmt_str_eq(qmt_strn((*link)->bytes, (*link)->key_len), key))
		link = &(*link)->next;
	return link;
}

static void remove_at(struct qmt_ctx *ctx, struct entry **link)
{
	struct entry *entry = *link;

	*link = entry->next;
	qmt_timer_cancel(ctx, &entry->timer);
	free(entry);
}

static void expired(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct entry *entry = arg;

	remove_at(ctx, find(state, qmt_strn(entry->bytes, entry->key_len)));
}

static void on_put(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct kv_put *put = body;
	struct entry **old = find(state, put->key), *entry;

	if (!put->key.len) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_BAD_REQUEST, NULL, 0, "the key is empty");
		return;
	}
	if (put->value.len > VALUE_MAX) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_TOO_LARGE, NULL, 0, "over %d bytes", VALUE_MAX);
		return;
	}
	/* What is in a body lives as long as its handler: copy. */
	entry = malloc(sizeof *entry + put->key.len + put->value.len);
	if (entry) {
		*entry = (struct entry){.key_len = put->key.len, .value_len = put->value.len};
		memcpy(entry->bytes, put->key.p, put->key.len);
		if (put->value.len)
			memcpy(entry->bytes + put->key.len, put->value.p, put->value.len);
	}
	if (!entry || (put->ttl_ms && qmt_timer_start(ctx, put->ttl_ms, expired, entry, &entry->timer))) {
		free(entry);
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, "memory", 0, "out of memory; the old value stays");
		return;
	}
	if (*old)
		remove_at(ctx, old);
	entry->next = *old;
	*old = entry;
	QMT_REPLY(ctx, qmt_token(ctx), kv_done, );
}

static void on_get(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct entry *entry = *find(state, ((const struct kv_get *)body)->key);

	if (!entry)
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "no such key");
	else
		QMT_REPLY(
			ctx, qmt_token(ctx), kv_value, .value = {(const uint8_t *)entry->bytes + entry->key_len, entry->value_len});
}

static void on_drop(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct entry **link = find(state, ((const struct kv_drop *)body)->key);

	if (!*link) {
		qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_NOT_FOUND, NULL, 0, "no such key");
		return;
	}
	remove_at(ctx, link);
	QMT_REPLY(ctx, qmt_token(ctx), kv_done, );
}

static void stop(struct qmt_ctx *ctx, void *state)
{
	struct kv *kv = state;

	for (int i = 0; i < BUCKETS; i++)
		while (kv->buckets[i])
			remove_at(ctx, &kv->buckets[i]);
}

static qmt_handler *const handlers[kv_message_count] = {
	[kv_put_id] = on_put, [kv_get_id] = on_get, [kv_drop_id] = on_drop};
static const struct qmt_actor_desc kv_desc = {
	.abi = QMT_ABI, .name = "kv", .state_size = sizeof(struct kv), .accepts = {{&kv_protocol, handlers}}, .stop = stop};

/* ---- its test ---------------------------------------------------------------------------------------------------- */

QMT_KIT_HEAP

#define BYTES(text) ((struct qmt_bytes){(const uint8_t *)(text), sizeof(text) - 1})

static void put(struct qmt_kit *kit, struct qmt_ref kv, const char *key, struct qmt_bytes value, uint64_t ttl_ms)
{
	QMT_KIT_ASK(kit, kv, kv_put, .key = qmt_str(key), .value = value, .ttl_ms = ttl_ms);
}

static void test_values(void)
{
	struct qmt_kit *kit = QMT_KIT_OPEN(.seed = 1);
	struct qmt_ref kv = QMT_KIT_SPAWN(kit, &kv_desc, NULL);

	put(kit, kv, "a", BYTES("one"), 0);
	put(kit, kv, "a", BYTES("two"), 100);
	put(kit, kv, "b", BYTES(""), 0);
	for (int i = 0; i < 3; i++)
		QMT_KIT_EXPECT_REPLY(kit, kv_done, );
	QMT_KIT_ASK(kit, kv, kv_get, .key = qmt_str("a"));
	QMT_KIT_EXPECT_REPLY(kit, kv_value, .value = BYTES("two"));
	QMT_KIT_ADVANCE(kit, 100);
	QMT_KIT_ASK(kit, kv, kv_get, .key = qmt_str("a"));
	QMT_KIT_EXPECT_FAILURE(kit, QMT_FAIL_NOT_FOUND);
	QMT_KIT_ASK(kit, kv, kv_drop, .key = qmt_str("b"));
	QMT_KIT_EXPECT_REPLY(kit, kv_done, );
	put(kit, kv, "", BYTES("x"), 0);
	QMT_KIT_EXPECT_FAILURE(kit, QMT_FAIL_BAD_REQUEST);
	QMT_KIT_CLOSE(kit);
}

/* Whichever allocation of a put fails: the old value stays, and the asker hears of it. Returns how many there are. */
static unsigned test_memory(void)
{
	unsigned nth = 1;

	for (bool more = true; more; nth++) {
		struct qmt_kit *kit = QMT_KIT_OPEN(.seed = 1, .heap = &qmt_kit_heap);
		struct qmt_ref kv = QMT_KIT_SPAWN(kit, &kv_desc, NULL);

		put(kit, kv, "a", BYTES("old"), 0);
		QMT_KIT_EXPECT_REPLY(kit, kv_done, );
		qmt_kit_fail_alloc(kit, nth);
		put(kit, kv, "a", BYTES("new"), 1000);
		QMT_KIT_ADVANCE(kit, 0);
		more = qmt_kit_alloc_failed(kit);
		qmt_kit_fail_alloc(kit, 0);
		const struct qmt_result *result = QMT_KIT_RESULT(kit);
		bool stored = result && !result->fail;

		QMT_KIT_ASK(kit, kv, kv_get, .key = qmt_str("a"));
		if (result) /* else the answer itself got no memory: its deadline will tell */
			QMT_KIT_EXPECT_REPLY(kit, kv_value, .value = stored ? BYTES("new") : BYTES("old"));
		QMT_KIT_CLOSE(kit);
	}
	return nth - 2;
}

int main(void)
{
	test_values();
	unsigned points = test_memory();

	puts(points ? "values come, go and expire; no allocation that fails loses one" : "nothing failed");
	return points == 0;
}
