/* runtime/states.c - see states.h. */
#include "states.h"

#include <stdio.h>
#include <stdlib.h>

const char *qmt_state_name(const struct qmt_states *states, uint32_t state)
{
	return state < states->count ? states->rows[state].name : "?";
}

static void wrong(struct qmt_ctx *ctx, const struct qmt_states *states, uint32_t from, uint32_t to, const char *why)
{
	if (ctx) {
		qmt_fail(ctx, "%s: %s -> %s: %s", states->name, qmt_state_name(states, from), qmt_state_name(states, to), why);
		return;
	}
	(void)fprintf(
		stderr, "%s: %s -> %s: %s\n", states->name, qmt_state_name(states, from), qmt_state_name(states, to), why);
	abort();
}

static void wrong_move(struct qmt_ctx *ctx, const struct qmt_states *states, uint32_t from, uint32_t to)
{
	char why[256];
	size_t len = (size_t)snprintf(why, sizeof why, "no such move; from %s:", qmt_state_name(states, from));
	uint64_t next = from < states->count ? states->rows[from].next : 0;

	for (uint32_t i = 0; i < states->count && len < sizeof why; i++)
		if (next >> i & 1)
			len += (size_t)snprintf(why + len, sizeof why - len, " %s", states->rows[i].name);
	if (!next && len < sizeof why)
		(void)snprintf(why + len, sizeof why - len, " none");
	wrong(ctx, states, from, to, why);
}

bool qmt_state_move(
	struct qmt_ctx *ctx, const struct qmt_states *states, uint32_t *state, uint32_t to, const void *object)
{
	uint32_t from = *state;
	const char *broken;

	if (from >= states->count || to >= states->count || !(states->rows[from].next >> to & 1)) {
		wrong_move(ctx, states, from, to);
		return false;
	}
	*state = to;
	broken = states->check ? states->check(object, to) : NULL;
	if (broken)
		wrong(ctx, states, from, to, broken);
	return !broken;
}
