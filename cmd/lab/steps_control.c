/* cmd/lab/steps_control.c - blocks. */
#include <inttypes.h>

#include "cmd/lab/player.h"

enum lab_outcome lab_step_do(struct lab_run *run)
{
	if (run->round == 0)
		run->at = run->step->body;
	return lab_sequence(run);
}

enum lab_outcome lab_step_parallel(struct lab_run *run)
{
	if (run->round == 0)
		for (const struct lab_step *step = run->step->body; step; step = step->next) {
			bool planted = run->player->options.planted;
			if (planted ? step->only_sound : step->only_planted)
				continue;
			if (!lab_run_new(run, step))
				return lab_fail(run, "memory");
		}
	for (struct lab_run *child = run->children, *next; child; child = next) {
		next = child->sibling;
		enum lab_outcome outcome = lab_run_poll(child);
		if (outcome == LAB_FAILED)
			return outcome;
		if (outcome == LAB_DONE)
			lab_run_free(child);
	}
	return run->children ? LAB_PENDING : LAB_DONE;
}

static void set_number(struct lab_run *run, const char *name, int64_t value)
{
	char text[32];

	snprintf(text, sizeof text, "%" PRId64, value);
	lab_set(run->player, name, text);
}

/* The body again as long as `next` has a round for it. */
static enum lab_outcome loop(struct lab_run *run, bool (*next)(struct lab_run *run))
{
	for (;;) {
		if (!run->at && !run->children) {
			if (!next(run))
				return run->player->failure.set ? LAB_FAILED : LAB_DONE;
			run->at = run->step->body;
		}
		enum lab_outcome outcome = lab_sequence(run);
		if (outcome != LAB_DONE)
			return outcome;
	}
}

static bool next_round(struct lab_run *run)
{
	if (run->counted == run->count)
		return false;
	set_number(run, "ROUND", ++run->counted);
	return true;
}

static enum lab_outcome count_of(struct lab_run *run)
{
	if (!lab_number(run->words[0], &run->count) || run->count < 1)
		return lab_fail(run, "a number from 1 on, not %s", run->words[0]);
	return LAB_DONE;
}

enum lab_outcome lab_step_repeat(struct lab_run *run)
{
	if (run->round == 0 && count_of(run) == LAB_FAILED)
		return LAB_FAILED;
	return loop(run, next_round);
}

static bool next_seed(struct lab_run *run)
{
	char text[32];

	if (run->counted == run->count)
		return false;
	run->counted++;
	run->random = 0; /* drawn from the generator outside */
	run->random = lab_random(run) | 1;
	snprintf(text, sizeof text, "%" PRIu64, run->random);
	lab_set(run->player, "SEED", text);
	player_note(run->player, "round %" PRId64 ", seed %s", run->counted, text);
	return true;
}

enum lab_outcome lab_step_seeds(struct lab_run *run)
{
	if (run->round == 0 && count_of(run) == LAB_FAILED)
		return LAB_FAILED;
	return loop(run, next_seed);
}

/* "1..20" gives numbers, another word itself. */
static bool is_range(const char *word, int64_t *ret_low, int64_t *ret_high)
{
	const char *dots = strstr(word, "..");
	char *low = dots ? strndup(word, (size_t)(dots - word)) : NULL;
	bool good = low && lab_number(low, ret_low) && lab_number(dots + 2, ret_high);

	free(low);
	return good;
}

static bool next_word(struct lab_run *run)
{
	for (; run->word < run->word_count; run->word++, run->counted = 0) {
		int64_t low, high;
		if (!is_range(run->words[run->word], &low, &high)) {
			lab_set(run->player, run->words[0], run->words[run->word++]);
			return true;
		}
		if (low + run->counted <= high) {
			set_number(run, run->words[0], low + run->counted++);
			return true;
		}
	}
	return false;
}

enum lab_outcome lab_step_for(struct lab_run *run)
{
	if (run->round == 0)
		run->word = 2;
	return loop(run, next_word);
}

static void joined(struct lab_run *run, struct qmt_buf *out)
{
	qmt_buf_str(out, "");
	for (unsigned i = 0; i < run->word_count; i++)
		qmt_buf_printf(out, "%s%s", i ? " " : "", run->words[i]);
}

enum lab_outcome lab_step_note(struct lab_run *run)
{
	struct qmt_buf text = {0};

	joined(run, &text);
	player_note(run->player, "%s", text.data ? text.data : "");
	qmt_buf_free(&text);
	return LAB_DONE;
}

enum lab_outcome lab_step_fail(struct lab_run *run)
{
	struct qmt_buf text = {0};

	joined(run, &text);
	lab_fail(run, "this step not to be reached");
	lab_got(run, "%s", text.data ? text.data : "");
	qmt_buf_free(&text);
	return LAB_FAILED;
}
