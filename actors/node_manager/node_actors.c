/* actors/node_manager/node_actors.c - node.actors: a picture of what runs here, as a tree. */
#include "actors/node_manager/node_internal.h"

#include <stdlib.h>

#include "runtime/system.h"

enum { NAME_SHOWN = 128, AT_ONCE_MAX = 100000 };

struct picture {
	struct row {
		const void *self, *parent, *waits_for;
		char kind[NAME_SHOWN], name[NAME_SHOWN];
		struct node_actor shown;
	} * rows;
	uint32_t count, room;
	bool failed;
};

static void take(const struct qmt_actor_info *info, void *arg)
{
	struct picture *picture = arg;

	if (picture->count == picture->room && !picture->failed) {
		uint32_t room = picture->room ? picture->room * 2 : 64;
		struct row *rows = room <= AT_ONCE_MAX * 2 ? realloc(picture->rows, room * sizeof *rows) : NULL;

		if (rows) {
			picture->rows = rows;
			picture->room = room;
		}
		picture->failed = !rows;
	}
	if (picture->failed)
		return;
	struct row *row = &picture->rows[picture->count++];

	*row = (struct row){.self = info->self,
		.parent = info->parent,
		.waits_for = info->waits_for,
		.shown = {.waiting = info->depth,
			.handled = info->handled,
			.restarts = info->restarts,
			.status = qmt_str(qmt_actor_status_name(info->status)),
			.busy_us = info->busy_us,
			.waits_ms = info->waits_ms,
			.deadlocked = info->deadlocked,
			.slow_ms = info->slow_ms}};
	snprintf(row->kind, sizeof row->kind, "%s", info->kind);
	snprintf(row->name, sizeof row->name, "%s", info->name ? info->name : "");
}

/* Siblings in an order that does not depend on where they lie in memory. */
static int by_name(const void *a_, const void *b_)
{
	const struct row *a = a_, *b = b_;
	int order = strcmp(a->kind, b->kind);

	return order ? order : strcmp(a->name, b->name);
}

/* Numbers the children of `parent`, each followed by its own: so a list in order of numbers is the tree. */
static uint32_t number(struct picture *picture, const void *parent, uint32_t parent_id, uint32_t last)
{
	for (uint32_t i = 0; i < picture->count; i++) {
		struct row *row = &picture->rows[i];

		if (row->shown.id || row->parent != parent)
			continue;
		row->shown.id = ++last;
		row->shown.parent = parent_id;
		last = number(picture, row->self, row->shown.id, last);
	}
	return last;
}

static int by_self(const void *a_, const void *b_)
{
	const struct row *a = a_, *b = b_;

	return a->self < b->self ? -1 : a->self > b->self;
}

/* Says whom each one waits for, by its number. Leaves the rows in the order of addresses, to find them by. */
static void resolve(struct picture *picture)
{
	qsort(picture->rows, picture->count, sizeof *picture->rows, by_self);
	for (uint32_t i = 0; i < picture->count; i++) {
		struct row *row = &picture->rows[i];
		const struct row *on = row->waits_for ? bsearch(&(struct row){.self = row->waits_for}, picture->rows,
			picture->count, sizeof *picture->rows, by_self) : NULL;

		if (on)
			row->shown.waits_for = on->shown.id;
	}
}

void node_on_actors(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct picture picture = {0};
	struct node_actor *actors = NULL;

	(void)state, (void)body;
	qmt_system_actors(qmt_system_of(ctx), take, &picture);
	if (!picture.failed && picture.count)
		actors = calloc(picture.count, sizeof *actors);
	if (!actors) {
		(void)qmt_reply_fail(ctx, qmt_token(ctx), QMT_FAIL_FAILED, NULL, 0, "no memory for a list of all actors");
		free(picture.rows);
		return;
	}
	qsort(picture.rows, picture.count, sizeof *picture.rows, by_name);
	/* A moment's picture is not of one moment: whose parent was not seen stands at the top. */
	uint32_t last = number(&picture, NULL, 0, 0);
	for (uint32_t i = 0; i < picture.count; i++) {
		struct row *row = &picture.rows[i];

		if (!row->shown.id) {
			row->shown.id = ++last;
			last = number(&picture, row->self, row->shown.id, last);
		}
	}
	resolve(&picture);
	for (uint32_t i = 0; i < picture.count; i++) {
		struct row *row = &picture.rows[i];

		row->shown.kind = qmt_str(row->kind);
		row->shown.name = qmt_str(row->name);
		actors[row->shown.id - 1] = row->shown;
	}
	(void)QMT_REPLY(ctx, qmt_token(ctx), node_actors_reply, .actors = {actors, picture.count});
	free(actors);
	free(picture.rows);
}
