/* runtime/registry.c - names of this node: text -> ref.
 *
 * A hash table under one mutex. Looked at when something is addressed by name, never on the path of a message to a ref.
 * A message to "peer/..." is queued under the mutex too (outgoing.c): a link that takes the name over may then tell its
 * predecessor to finish, and nothing follows that.
 */
#include "internal.h"

#include <errno.h>

struct name_entry {
	struct name_entry *next;      /* in the bucket */
	struct name_entry *own_next;  /* of the same actor */
	struct qmt_actor *actor;
	uint64_t hash;
	bool shares; /* qmt_peer_up */
	char text[];
};

int qmt__registry_init(struct qmt_system *sys)
{
	struct registry *registry = &sys->registry;

	registry->bucket_count = 64;
	registry->buckets = calloc(registry->bucket_count, sizeof *registry->buckets);
	if (!registry->buckets)
		return -ENOMEM;
	return -pthread_mutex_init(&registry->lock, NULL);
}

void qmt__registry_fini(struct qmt_system *sys)
{
	if (!sys->registry.buckets)
		return;
	free(sys->registry.buckets);
	pthread_mutex_destroy(&sys->registry.lock);
}

const char *qmt__name_text(const struct name_entry *name)
{
	return name->text;
}

/* FNV-1a, 64 bit (Fowler, Noll, Vo). */
static uint64_t hash_more(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t hash_of(const char *prefix, const char *name)
{
	return hash_more(hash_more(UINT64_C(0xcbf29ce484222325), prefix), name);
}

static struct name_entry **bucket(struct registry *registry, uint64_t hash)
{
	return &registry->buckets[hash % registry->bucket_count];
}

static struct name_entry *find(struct registry *registry, uint64_t hash, const char *prefix, const char *name)
{
	size_t len = strlen(prefix);
	struct name_entry *entry = *bucket(registry, hash);

	for (; entry; entry = entry->next)
		if (entry->hash == hash && strncmp(entry->text, prefix, len) == 0 && strcmp(entry->text + len, name) == 0)
			break;
	return entry;
}

/* Without memory for it the chains get longer, that is all. */
static void grow(struct registry *registry)
{
	uint32_t count = registry->bucket_count * 2, old_count = registry->bucket_count;
	struct name_entry **old = registry->buckets, **buckets = calloc(count, sizeof *buckets);

	if (!buckets)
		return;
	registry->buckets = buckets;
	registry->bucket_count = count;
	for (uint32_t i = 0; i < old_count; i++) {
		struct name_entry *entry = old[i], *next;

		for (; entry; entry = next) {
			struct name_entry **to = bucket(registry, entry->hash);

			next = entry->next;
			entry->next = *to;
			*to = entry;
		}
	}
	free(old);
}

int qmt__registry_add(struct qmt_system *sys, const char *name, struct qmt_actor *a)
{
	struct registry *registry = &sys->registry;
	struct actor_ext *ext = qmt__actor_need_ext(a);
	size_t size = strlen(name) + 1;
	struct name_entry *entry = malloc(sizeof *entry + size), *taken;
	uint64_t hash = hash_of("", name);
	int failed = 0;

	if (!entry || !ext) {
		free(entry);
		return -ENOMEM;
	}
	entry->actor = a;
	entry->hash = hash;
	entry->shares = false;
	memcpy(entry->text, name, size);
	pthread_mutex_lock(&registry->lock);
	taken = find(registry, hash, "", name);
	if (!taken) {
		struct name_entry **to, **own = &ext->names;

		if (registry->count++ >= registry->bucket_count)
			grow(registry);
		to = bucket(registry, hash);
		entry->next = *to;
		*to = entry;
		/* last: the first name stays the one that is shown */
		while (*own)
			own = &(*own)->own_next;
		entry->own_next = NULL;
		*own = entry;
		entry = NULL;
	} else if (taken->actor != a) {
		failed = QMT_FAIL_NAME_TAKEN;
	}
	pthread_mutex_unlock(&registry->lock);
	free(entry);
	return failed;
}

static void take_out(struct registry *registry, struct name_entry *entry)
{
	struct name_entry **at = bucket(registry, entry->hash);

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	registry->count--;
	free(entry);
}

void qmt__registry_drop(struct qmt_system *sys, struct qmt_actor *a)
{
	struct actor_ext *ext = actor_ext(a);

	pthread_mutex_lock(&sys->registry.lock);
	while (ext->names) {
		struct name_entry *entry = ext->names;

		ext->names = entry->own_next;
		take_out(&sys->registry, entry);
	}
	atomic_store_explicit(&a->ext, NULL, RELAXED);
	pthread_mutex_unlock(&sys->registry.lock);
}

bool qmt__registry_hold(struct qmt_system *sys, const char *prefix, const char *name, struct qmt_ref *ret_ref)
{
	struct name_entry *entry;

	pthread_mutex_lock(&sys->registry.lock);
	entry = find(&sys->registry, hash_of(prefix, name), prefix, name);
	if (entry)
		*ret_ref = actor_ref(entry->actor);
	else
		pthread_mutex_unlock(&sys->registry.lock);
	return entry != NULL;
}

void qmt__registry_release(struct qmt_system *sys)
{
	pthread_mutex_unlock(&sys->registry.lock);
}

int qmt_register(struct qmt_ctx *ctx, const char *name)
{
	if (!ctx->cur)
		return -ENOTSUP;
	return qmt__registry_add(ctx->sys, name, ctx->cur);
}

void qmt_unregister(struct qmt_ctx *ctx, const char *name)
{
	struct registry *registry = &ctx->sys->registry;
	struct actor_ext *ext = ctx->cur ? actor_ext(ctx->cur) : NULL;

	if (!ext)
		return;
	pthread_mutex_lock(&registry->lock);
	for (struct name_entry **own = &ext->names; *own; own = &(*own)->own_next) {
		struct name_entry *entry = *own;

		if (strcmp(entry->text, name) == 0) {
			*own = entry->own_next;
			take_out(registry, entry);
			break;
		}
	}
	pthread_mutex_unlock(&registry->lock);
}

int qmt_lookup(struct qmt_ctx *ctx, const char *name, struct qmt_ref *ret_ref)
{
	if (!qmt__registry_hold(ctx->sys, "", name, ret_ref))
		return QMT_FAIL_UNKNOWN_ACTOR;
	qmt__registry_release(ctx->sys);
	return 0;
}

void qmt__registry_note(struct qmt_system *sys, const char *prefix, const char *name, bool shares)
{
	struct name_entry *entry;

	pthread_mutex_lock(&sys->registry.lock);
	entry = find(&sys->registry, hash_of(prefix, name), prefix, name);
	if (entry)
		entry->shares = shares;
	pthread_mutex_unlock(&sys->registry.lock);
}

void qmt__registry_each(struct qmt_system *sys, const char *prefix,
	void (*fn)(void *arg, const char *name, struct qmt_ref ref, bool shares), void *arg)
{
	const struct registry *registry = &sys->registry;
	size_t len = strlen(prefix);

	pthread_mutex_lock(&sys->registry.lock);
	for (uint32_t i = 0; i < registry->bucket_count; i++)
		for (const struct name_entry *entry = registry->buckets[i]; entry; entry = entry->next)
			if (strncmp(entry->text, prefix, len) == 0)
				fn(arg, entry->text + len, actor_ref(entry->actor), entry->shares);
	pthread_mutex_unlock(&sys->registry.lock);
}

/* Takes the entry away from who has it. The lock is held. */
static void disown(struct name_entry *entry)
{
	struct name_entry **own = &actor_ext(entry->actor)->names;

	while (*own != entry)
		own = &(*own)->own_next;
	*own = entry->own_next;
}

int qmt_register_over(struct qmt_ctx *ctx, const char *name, struct qmt_ref holder)
{
	struct registry *registry = &ctx->sys->registry;
	struct actor_ext *ext = ctx->cur ? qmt__actor_need_ext(ctx->cur) : NULL;
	struct name_entry *entry = NULL;

	if (!ctx->cur)
		return -ENOTSUP;
	if (!ext)
		return -ENOMEM;
	pthread_mutex_lock(&registry->lock);
	if (holder.actor)
		entry = find(registry, hash_of("", name), "", name);
	if (entry && entry->actor == holder.actor && actor_gen(holder.actor) == holder.gen) {
		struct name_entry **own = &ext->names;

		disown(entry);
		while (*own)
			own = &(*own)->own_next;
		entry->own_next = NULL;
		entry->actor = ctx->cur;
		*own = entry;
	} else {
		entry = NULL;
	}
	pthread_mutex_unlock(&registry->lock);
	return entry ? 0 : qmt__registry_add(ctx->sys, name, ctx->cur);
}
