/* cmd/lab/scenario.c - parses a .lab file and checks all that can be known before it runs. Complaints are gathered: a
 * person mends them in one go. What a step does is in the steps_*.c files. */
#include "cmd/lab/scenario.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>

#include "runtime/base/os.h"

const struct lab_step_kind lab_step_kinds[LAB_STEP_COUNT] = {
#define LAB_STEP_ROW(group, name, usage, least, most, options, needs, traits, doc) \
	{#group, #name, usage, least, most, options, needs, traits, doc},
	LAB_STEPS(LAB_STEP_ROW)};

const struct lab_test_kind lab_test_kinds[] = {
#define LAB_TEST_ROW(name, usage, least, most, doc) {#name, usage, least, most, doc},
	LAB_TESTS(LAB_TEST_ROW){NULL, NULL, 0, 0, NULL}};

struct parser {
	struct scenario *scenario;
	struct qmt_buf *complaints;
	char *next; /* text that is not read yet */
	unsigned line;
	unsigned errors;
	bool no_memory;
	struct lab_step **tails[LAB_NESTING + 1];
	unsigned opened[LAB_NESTING + 1];
	unsigned depth;
};

/* ---- memory: all of it goes with the scenario -------------------------------------------------------------------- */

static void *keep(struct parser *p, void *block)
{
	struct scenario *s = p->scenario;
	void **heap = block ? realloc(s->heap, (s->heap_count + 1) * sizeof *heap) : NULL;

	if (!heap) {
		free(block);
		p->no_memory = true;
		return NULL;
	}
	s->heap = heap;
	heap[s->heap_count++] = block;
	return block;
}

/* Room for one more in an array that grows in steps of 16. */
static void *grow(struct parser *p, void *array, unsigned count, size_t size)
{
	if (count % 16 != 0)
		return array;
	void *more = keep(p, calloc(count + 16, size));
	if (more && count)
		memcpy(more, array, count * size);
	return more;
}

struct scenario *scenario_free(struct scenario *scenario)
{
	if (!scenario)
		return NULL;
	for (size_t i = 0; i < scenario->heap_count; i++)
		free(scenario->heap[i]);
	free(scenario->heap);
	free(scenario);
	return NULL;
}

__attribute__((format(printf, 3, 4))) static void complain(struct parser *p, unsigned line, const char *format, ...)
{
	char text[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	qmt_buf_printf(p->complaints, "%s:%u: %s\n", p->scenario->path, line, text);
	p->errors++;
}

/* ---- quantities -------------------------------------------------------------------------------------------------- */

struct unit {
	const char *name;
	double factor;
};

static bool quantity(const char *text, const struct unit *units, double *ret_value)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	double value = strtod(text, &end);
	for (; units->name; units++)
		if (strcmp(end, units->name) == 0) {
			*ret_value = value * units->factor;
			return *ret_value < 1e15;
		}
	return false;
}

bool lab_time(const char *text, uint64_t *ret_ms)
{
	static const struct unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};
	double value;

	if (!quantity(text, units, &value))
		return false;
	*ret_ms = (uint64_t)llround(value);
	return true;
}

bool lab_rate(const char *text, uint64_t *ret_bits)
{
	static const struct unit units[] = {{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {NULL, 0}};
	double value;

	if (!quantity(text, units, &value) || value < 1)
		return false;
	*ret_bits = (uint64_t)llround(value);
	return true;
}

bool lab_bytes(const char *text, uint64_t *ret_bytes)
{
	static const struct unit units[] = {{"", 1}, {"B", 1}, {"kB", 1024}, {"MB", 1 << 20}, {"GB", 1 << 30}, {NULL, 0}};
	double value;

	if (!quantity(text, units, &value))
		return false;
	*ret_bytes = (uint64_t)llround(value);
	return true;
}

bool lab_percent(const char *text, unsigned *ret_parts)
{
	static const struct unit units[] = {{"%", 100}, {NULL, 0}};
	double value;

	if (!quantity(text, units, &value) || value > 10000)
		return false;
	*ret_parts = (unsigned)lround(value);
	return true;
}

bool lab_number(const char *text, int64_t *ret_number)
{
	char *end;

	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno || end == text || *end)
		return false;
	*ret_number = value;
	return true;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* Takes the next word of the line out of *at into *out (same memory: it only gets shorter). False: no word left. */
static bool word_next(struct parser *p, char **at, char **ret_word, bool *ret_quoted)
{
	char *from = *at, *to;
	char quote = 0;

	while (*from == ' ' || *from == '\t')
		from++;
	if (!*from || *from == '#')
		return false;
	*ret_word = to = from;
	*ret_quoted = false;
	for (; *from && (quote || (*from != ' ' && *from != '\t')); from++) {
		if (!quote && (*from == '\'' || *from == '"')) {
			quote = *from;
			*ret_quoted = true;
		} else if (quote && *from == quote) {
			quote = 0;
		} else if (quote == '"' && *from == '\\' && from[1] && strchr("\"\\$n", from[1])) {
			from++;
			*to++ = *from == '$' ? LAB_LITERAL : *from == 'n' ? '\n' : *from;
		} else {
			*to++ = quote == '\'' && *from == '$' ? LAB_LITERAL : *from;
		}
	}
	if (quote)
		complain(p, p->line, "a %c that nothing closes", quote);
	*at = *from ? from + 1 : from;
	*to = '\0';
	return true;
}

static bool in_list(const char *list, const char *word, size_t len)
{
	for (const char *at = list; *at;) {
		size_t n = strcspn(at, " ");
		if (n == len && memcmp(at, word, n) == 0)
			return true;
		at += n + (at[n] == ' ');
	}
	return false;
}

static bool name_good(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return islower((unsigned char)name[0]) && name[n] == '\0' && n <= 32;
}

static bool var_good(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	return isupper((unsigned char)name[0]) && name[n] == '\0' && n <= 64;
}

const char *lab_option(const struct lab_step *step, const char *key)
{
	size_t len = strlen(key);

	for (unsigned i = 0; i < step->option_count; i++)
		if (strncmp(step->options[i], key, len) == 0 && step->options[i][len] == '=')
			return step->options[i] + len + 1;
	return NULL;
}

const struct lab_file *lab_file_find(const struct scenario *scenario, const char *name, bool planted)
{
	const struct lab_file *found = NULL;

	for (unsigned i = 0; i < scenario->file_count; i++) {
		const struct lab_file *file = &scenario->files[i];
		if (strcmp(file->name, name) == 0 && (!file->planted || planted) && (!found || file->planted))
			found = file;
	}
	return found;
}

/* ---- one step ---------------------------------------------------------------------------------------------------- */

static const struct lab_name *name_find(const struct scenario *s, const char *name)
{
	for (unsigned i = 0; i < s->name_count; i++)
		if (strcmp(s->names[i].name, name) == 0)
			return &s->names[i];
	return NULL;
}

static void name_add(struct parser *p, const char *name, int what)
{
	struct scenario *s = p->scenario;
	const struct lab_name *there = name_find(s, name);

	if (!name_good(name)) {
		complain(p, p->line, "\"%s\" is no name (small letters, digits and -, a letter first, 32 at most)", name);
		return;
	}
	if (there) {
		if (what != LAB_NAME_PROCESS || there->what != LAB_NAME_PROCESS)
			complain(p, p->line, "the name %s is taken since line %u", name, there->line);
		return;
	}
	struct lab_name *names = grow(p, s->names, s->name_count, sizeof *names);
	if (!names)
		return;
	s->names = names;
	names[s->name_count++] = (struct lab_name){name, what, p->line};
}

/* A word with ${…} in it is known only when the step runs. */
static bool is_known(const char *word)
{
	return !strchr(word, '$');
}

static void check_host(struct parser *p, const char *word, bool node)
{
	const struct lab_name *name = is_known(word) ? name_find(p->scenario, word) : NULL;

	if (!is_known(word))
		return;
	if (!name || name->what == LAB_NAME_NETWORK || name->what == LAB_NAME_PROCESS)
		complain(p, p->line, "no such host: %s (declare it above: `node %s` or `host %s`)", word, word, word);
	else if (node && name->what != LAB_NAME_NODE)
		complain(p, p->line, "%s is a host without a node (declare it as `node %s`)", word, word);
}

static void check_network(struct parser *p, const char *word)
{
	const struct lab_name *name = name_find(p->scenario, word);

	if (strcmp(word, "lan") == 0 || strcmp(word, "public") == 0)
		return;
	if (!name || name->what != LAB_NAME_NETWORK)
		complain(p, p->line, "no such network: %s (declare it above: `network %s`)", word, word);
}

static void check_test(struct parser *p, char **words, unsigned count, bool file)
{
	const struct lab_test_kind *kind = lab_test_kinds;

	if (!count) {
		complain(p, p->line, "a test is missing (`qmt-lab help tests` lists them)");
		return;
	}
	while (kind->name && strcmp(kind->name, words[0]) != 0)
		kind++;
	if (!kind->name)
		complain(p, p->line, "no such test: %s (`qmt-lab help tests` lists them)", words[0]);
	else if (count - 1 < kind->least || count - 1 > kind->most)
		complain(p, p->line, "usage: %s", kind->usage);
	else if (!file && (strcmp(words[0], "exists") == 0 || strcmp(words[0], "missing") == 0))
		complain(p, p->line, "%s is for files", words[0]);
	else if (strcmp(words[0], "save") == 0 && !var_good(words[1]))
		complain(p, p->line, "\"%s\" is no variable (capitals, digits and _)", words[1]);
	else if (strcmp(words[0], "is") == 0 && words[1][0] == '@' && is_known(words[1]) &&
		!lab_file_find(p->scenario, words[1] + 1, false))
		return; /* files are read after the steps: looked at again in check_files */
}

static bool has_option_value(struct parser *p, const struct lab_step *step, const char *key)
{
	const char *value = lab_option(step, key);

	if (value && !*value)
		complain(p, p->line, "%s= is empty", key);
	return value && *value && is_known(value);
}

static void check_quantities(struct parser *p, const struct lab_step *step)
{
	static const struct {
		enum lab_step_id step;
		unsigned word;
		enum { TIME, RATE, PERCENT, BYTES, COUNT } what;
	} typed[] = {{LAB_STEP_deadline, 0, TIME}, {LAB_STEP_delay, 2, TIME}, {LAB_STEP_rate, 2, RATE},
		{LAB_STEP_loss, 2, PERCENT}, {LAB_STEP_duplicate, 2, PERCENT}, {LAB_STEP_reorder, 2, PERCENT},
		{LAB_STEP_disk, 1, BYTES}, {LAB_STEP_repeat, 0, COUNT}, {LAB_STEP_seeds, 0, COUNT}};
	static const char *const wants[] = {"a time (250ms, 10s, 2m)", "a rate (64kbit, 1mbit)", "percent (2%, 0.5%)",
		"bytes (64kB, 5MB)", "a number from 1 on"};
	uint64_t number;
	int64_t count;
	unsigned parts;

	for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
		if (typed[i].step != step->id || step->word_count <= typed[i].word || !is_known(step->words[typed[i].word]))
			continue;
		const char *word = step->words[typed[i].word];
		bool good = typed[i].what == TIME ? lab_time(word, &number)
			: typed[i].what == RATE       ? lab_rate(word, &number)
			: typed[i].what == PERCENT    ? lab_percent(word, &parts)
			: typed[i].what == BYTES      ? lab_bytes(word, &number)
										  : lab_number(word, &count) && count > 0;
		if (!good)
			complain(p, p->line, "\"%s\" is not %s", word, wants[typed[i].what]);
	}
	if (has_option_value(p, step, "within") && !lab_time(lab_option(step, "within"), &number))
		complain(p, p->line, "within=%s is not %s", lab_option(step, "within"), wants[TIME]);
	if (has_option_value(p, step, "jitter") && !lab_time(lab_option(step, "jitter"), &number))
		complain(p, p->line, "jitter=%s is not %s", lab_option(step, "jitter"), wants[TIME]);
	if (has_option_value(p, step, "after") && !lab_bytes(lab_option(step, "after"), &number))
		complain(p, p->line, "after=%s is not %s", lab_option(step, "after"), wants[BYTES]);
	if (has_option_value(p, step, "exit") && strcmp(lab_option(step, "exit"), "any") != 0 &&
		!lab_number(lab_option(step, "exit"), &count))
		complain(p, p->line, "exit=%s is neither a number nor \"any\"", lab_option(step, "exit"));
}

static void declare(struct parser *p, const struct lab_step *step)
{
	struct scenario *s = p->scenario;
	static const struct {
		const char *word;
		unsigned bit;
	} needs[] = {{"disk", LAB_NEED_DISK}, {"clock", LAB_NEED_CLOCK}, {"nat", LAB_NEED_NAT}},
	  backends[] = {{"loopback", LAB_LOOPBACK}, {"netns", LAB_NETNS}};

	if (step->id == LAB_STEP_needs || step->id == LAB_STEP_backend) {
		bool is_needs = step->id == LAB_STEP_needs;
		for (unsigned i = 0; i < step->word_count; i++) {
			unsigned bit = 0;
			for (size_t k = 0; is_needs && k < sizeof needs / sizeof needs[0]; k++)
				if (strcmp(step->words[i], needs[k].word) == 0)
					bit = needs[k].bit;
			for (size_t k = 0; !is_needs && k < sizeof backends / sizeof backends[0]; k++)
				if (strcmp(step->words[i], backends[k].word) == 0)
					bit = backends[k].bit;
			if (!bit)
				complain(p, p->line, "no such %s: %s (%s)", is_needs ? "need" : "backend", step->words[i],
					step->kind->usage);
			if (is_needs)
				s->needs |= bit;
			else
				s->backends |= bit;
		}
	} else if (step->id == LAB_STEP_deadline) {
		(void)lab_time(step->words[0], &s->deadline_ms); /* complained about already */
	} else if (step->id == LAB_STEP_network) {
		const char *behind = lab_option(step, "behind");
		if (behind && !in_list("cone symmetric full noudp", behind, strlen(behind)))
			complain(p, p->line, "behind=%s: no such NAT (cone, symmetric, full, noudp)", behind);
		if (behind && !(s->needs & LAB_NEED_NAT))
			complain(p, p->line, "behind= needs the line `needs nat` above");
		name_add(p, step->words[0], LAB_NAME_NETWORK);
	} else if (step->id == LAB_STEP_host || step->id == LAB_STEP_node) {
		if (lab_option(step, "on"))
			check_network(p, lab_option(step, "on"));
		name_add(p, step->words[0], step->id == LAB_STEP_node ? LAB_NAME_NODE : LAB_NAME_HOST);
	}
}

static void check_wait(struct parser *p, const struct lab_step *step)
{
	char **words = step->words;
	unsigned count = step->word_count;
	unsigned at;

	if (strcmp(words[0], "link") == 0) {
		if (count != 6 || strcmp(words[3], "bytes") != 0)
			complain(p, p->line, "usage: wait link A B bytes OP NUMBER");
		else
			check_host(p, words[1], false), check_host(p, words[2], false);
		return;
	}
	const struct lab_name *name = name_find(p->scenario, words[0]);
	if (!is_known(words[0]))
		return;
	if (!name || name->what == LAB_NAME_NETWORK) {
		complain(p, p->line, "%s is neither a node nor the name of a spawn above", words[0]);
		return;
	}
	const char *what = words[1];
	bool node = name->what == LAB_NAME_NODE;
	if (node && strcmp(what, "log") == 0) {
		check_test(p, words + 2, count - 2, false);
	} else if (node && strcmp(what, "event") == 0) {
		if (count < 3)
			complain(p, p->line, "usage: wait NODE event NAME [KEY=VALUE]...");
	} else if (node && strcmp(what, "state") == 0) {
		for (at = 2; at < count && strcmp(words[at], ":") != 0; at++)
			;
		if (at == 2 || at >= count)
			complain(p, p->line, "usage: wait NODE state QMT-COMMAND... : TEST");
		else
			check_test(p, words + at + 1, count - at - 1, false);
	} else if (node && strcmp(what, "metric") == 0) {
		if (count != 5)
			complain(p, p->line, "usage: wait NODE metric NAME OP NUMBER");
	} else if (strcmp(what, "exits") == 0) {
		if (count > 3)
			complain(p, p->line, "usage: wait %s exits [STATUS]", words[0]);
	} else if (strcmp(what, "stdout") == 0 || strcmp(what, "stderr") == 0) {
		check_test(p, words + 2, count - 2, false);
	} else {
		complain(p, p->line, "%s: cannot wait for \"%s\" (%s)", words[0], what,
			node ? "log, event, state, metric, exits, stdout, stderr" : "exits, stdout, stderr");
	}
}

static void check_step(struct parser *p, const struct lab_step *step)
{
	const struct lab_step_kind *kind = step->kind;

	if ((kind->traits & LAB_DECLARES) && p->depth > 0)
		complain(p, p->line, "%s stands at the top, not in a block", kind->name);
	if (kind->needs & ~(unsigned)LAB_NEED_PACKETS & ~p->scenario->needs)
		complain(p, p->line, "%s needs the line `needs %s` above", kind->name,
			kind->needs & LAB_NEED_DISK ? "disk" : "clock");
	if ((kind->needs & LAB_NEED_PACKETS) && p->scenario->backends != LAB_NETNS)
		complain(p, p->line, "%s works on packets: it needs the line `backend netns` above", kind->name);
	unsigned hosts = kind->traits & LAB_HOSTS_ALL ? step->word_count
		: kind->traits & LAB_HOSTS_2              ? 2
		: kind->traits & LAB_HOSTS_1              ? 1
												  : 0;
	for (unsigned i = 0; i < hosts && i < step->word_count; i++)
		check_host(p, step->words[i], kind->traits & LAB_HOSTS_ALL);
	check_quantities(p, step);
	if (kind->traits & LAB_DECLARES)
		declare(p, step);
	switch (step->id) {
	case LAB_STEP_spawn:
		name_add(p, step->words[0], LAB_NAME_PROCESS);
		check_host(p, step->words[1], false);
		break;
	case LAB_STEP_set:
	case LAB_STEP_random:
	case LAB_STEP_for:
		if (!var_good(step->words[0]))
			complain(p, p->line, "\"%s\" is no variable (capitals, digits and _)", step->words[0]);
		if (step->id == LAB_STEP_for && strcmp(step->words[1], "in") != 0)
			complain(p, p->line, "usage: %s", kind->usage);
		break;
	case LAB_STEP_move:
		if (is_known(step->words[1]))
			check_network(p, step->words[1]);
		break;
	case LAB_STEP_stdout:
	case LAB_STEP_stderr:
		check_test(p, step->words, step->word_count, false);
		break;
	case LAB_STEP_log:
	case LAB_STEP_file:
		check_test(p, step->words + 1, step->word_count - 1, step->id == LAB_STEP_file);
		break;
	case LAB_STEP_wait:
		check_wait(p, step);
		break;
	case LAB_STEP_heal:
		if (step->word_count == 2)
			check_host(p, step->words[0], false), check_host(p, step->words[1], false);
		else if (strcmp(step->words[0], "all") != 0)
			complain(p, p->line, "usage: %s", kind->usage);
		break;
	default:
		break;
	}
}

static const struct lab_step_kind *kind_find(const char *name)
{
	for (int i = 0; i < LAB_STEP_COUNT; i++)
		if (strcmp(lab_step_kinds[i].name, name) == 0)
			return &lab_step_kinds[i];
	return NULL;
}

static void block_close(struct parser *p)
{
	if (p->depth == 0) {
		complain(p, p->line, "a } that nothing opened");
		return;
	}
	p->depth--;
}

/* A line that holds a step: splits it, checks it, hangs it in. */
static void step_parse(struct parser *p, char *line)
{
	char *text = keep(p, strdup(line)), *word;
	char *words_at = keep(p, strdup(line));
	bool quoted, block = false;
	struct lab_step *step = keep(p, calloc(1, sizeof *step));

	if (!text || !words_at || !step)
		return;
	*step = (struct lab_step){.line = p->line, .text = text};
	while (word_next(p, &words_at, &word, &quoted)) {
		if (!step->kind && !quoted && strcmp(word, "planted") == 0) {
			step->only_planted = p->scenario->has_planted = true;
			continue;
		}
		if (!step->kind && !quoted && strcmp(word, "sound") == 0) {
			step->only_sound = p->scenario->has_planted = true;
			continue;
		}
		if (!step->kind) {
			step->kind = kind_find(word);
			if (!step->kind) {
				complain(p, p->line, "no such step: %s (`qmt-lab help steps` lists them)", word);
				return;
			}
			step->id = (enum lab_step_id)(step->kind - lab_step_kinds);
			continue;
		}
		if (!quoted && strcmp(word, "{") == 0 && (step->kind->traits & LAB_BLOCK)) {
			block = true;
			continue;
		}
		char *equals = strchr(word, '=');
		if (!step->word_count && !quoted && equals && in_list(step->kind->options, word, (size_t)(equals - word))) {
			char **options = grow(p, step->options, step->option_count, sizeof *options);
			if (!options)
				return;
			step->options = options;
			options[step->option_count++] = word;
			continue;
		}
		char **words = grow(p, step->words, step->word_count, sizeof *words);
		if (!words)
			return;
		step->words = words;
		words[step->word_count++] = word;
	}
	if (!step->kind)
		return;
	if (step->word_count < step->kind->least || step->word_count > step->kind->most) {
		complain(p, p->line, "usage: %s", step->kind->usage);
		return;
	}
	if (block != !!(step->kind->traits & LAB_BLOCK)) {
		complain(p, p->line, "%s wants a block: { at the end of the line", step->kind->name);
		return;
	}
	check_step(p, step);
	*p->tails[p->depth] = step;
	p->tails[p->depth] = &step->next;
	if (!block)
		return;
	if (p->depth == LAB_NESTING) {
		complain(p, p->line, "blocks nest more than %d deep", LAB_NESTING);
		return;
	}
	p->depth++;
	p->tails[p->depth] = &step->body;
	p->opened[p->depth] = p->line;
}

/* ---- the whole file ---------------------------------------------------------------------------------------------- */

static char *line_next(struct parser *p)
{
	char *line = p->next;
	char *end = line ? strchr(line, '\n') : NULL;

	if (!line || !*line)
		return NULL;
	if (end) {
		*end = '\0';
		p->next = end + 1;
	} else {
		p->next = line + strlen(line);
	}
	p->line++;
	return line;
}

/* "-- NAME --" or "-- NAME planted --": NAME, cut out of the line; NULL: another line. */
static char *file_head(char *line, bool *ret_planted)
{
	size_t len = strlen(line);

	while (len && isspace((unsigned char)line[len - 1]))
		len--;
	if (len < 7 || strncmp(line, "-- ", 3) != 0 || strncmp(line + len - 3, " --", 3) != 0)
		return NULL;
	line[len - 3] = '\0';
	*ret_planted = len > 16 && strcmp(line + len - 3 - 8, " planted") == 0;
	if (*ret_planted)
		line[len - 3 - 8] = '\0';
	return line + 3;
}

static bool path_good(const char *name)
{
	return name[0] && name[0] != '/' && name[0] != '.' && !strstr(name, "..") && !strchr(name, ' ');
}

static void files_parse(struct parser *p, char *head)
{
	struct scenario *s = p->scenario;
	bool planted = false, next_planted;
	char *name = file_head(head, &planted);

	while (name) {
		struct lab_file *files = grow(p, s->files, s->file_count, sizeof *files);
		unsigned line = p->line;
		char *begin = p->next, *next = NULL, *row;
		if (!files)
			return;
		while ((row = line_next(p)) && !(next = file_head(row, &next_planted)))
			if (p->next[-1] == '\0')
				p->next[-1] = '\n'; /* the file keeps its lines */
		char *end = row ? row : p->next;
		if (!path_good(name))
			complain(p, line, "\"%s\" is no name of a file (a path below the scenario's folder)", name);
		for (unsigned i = 0; i < s->file_count; i++)
			if (strcmp(files[i].name, name) == 0 && files[i].planted == planted)
				complain(p, line, "%s is there since line %u", name, files[i].line);
		s->files = files;
		files[s->file_count++] = (struct lab_file){name, qmt_strn(begin, (size_t)(end - begin)), planted, line};
		s->has_planted |= planted;
		name = next;
		planted = next_planted;
	}
}

/* What can be asked only when steps and files are both known. */
static void check_files(struct parser *p, const struct lab_step *steps)
{
	for (const struct lab_step *step = steps; step; step = step->next) {
		p->line = step->line;
		if (step->id == LAB_STEP_node) {
			char name[64];
			const char *config = lab_option(step, "config");
			snprintf(name, sizeof name, "%s.ini", step->words[0]);
			bool ini = lab_file_find(p->scenario, name, true);
			snprintf(name, sizeof name, "%s.toml", step->words[0]);
			if (config && is_known(config) && !lab_file_find(p->scenario, config, true))
				complain(p, p->line, "config=%s: the scenario has no such file", config);
			if (!config && !ini && !lab_file_find(p->scenario, name, true))
				complain(p, p->line, "the config is missing: a file `-- %s --` at the end", name);
		}
		check_files(p, step->body);
	}
}

static void parse(struct parser *p)
{
	struct scenario *s = p->scenario;
	struct qmt_buf sentence = {0};
	char *line;

	p->tails[0] = &s->steps;
	while ((line = line_next(p))) {
		while (isspace((unsigned char)*line))
			line++;
		size_t len = strlen(line);
		while (len && isspace((unsigned char)line[len - 1]))
			line[--len] = '\0';
		if (!len)
			continue;
		if (line[0] == '#') {
			if (!s->steps && !sentence.failed) {
				char *text = line + 1 + strspn(line + 1, " ");
				qmt_buf_printf(&sentence, "%s%s", sentence.len ? " " : "", text);
			}
			continue;
		}
		if (strncmp(line, "-- ", 3) == 0 && len > 6 && strcmp(line + len - 3, " --") == 0) {
			files_parse(p, line);
			break;
		}
		if (strcmp(line, "}") == 0)
			block_close(p);
		else
			step_parse(p, line);
	}
	for (; p->depth > 0; p->depth--)
		complain(p, p->opened[p->depth], "a block that no } closes");
	if (!sentence.len)
		complain(p, 1, "the first line is missing: a comment with the sentence that holds");
	if (!s->steps && !p->errors)
		complain(p, 1, "no step");
	s->sentence = sentence.len ? keep(p, sentence.data) : "";
	if (!sentence.len)
		qmt_buf_free(&sentence);
	if (!s->backends)
		s->backends = LAB_LOOPBACK;
	if ((s->needs & LAB_NEED_NAT) && s->backends != LAB_NETNS)
		complain(p, 1, "`needs nat` wants `backend netns`: loopback has no NAT");
	check_files(p, s->steps);
}

int scenario_load(const char *path, struct scenario **ret_scenario, struct qmt_buf *complaints)
{
	struct scenario *scenario = calloc(1, sizeof *scenario);
	struct parser parser = {.scenario = scenario, .complaints = complaints};
	struct qmt_buf text = {0};
	struct qmt_err err = {0};
	size_t len = strlen(path);
	int rc;

	if (!scenario)
		return -ENOMEM;
	scenario->path = keep(&parser, strdup(path));
	scenario->deadline_ms = 10000;
	if (!scenario->path) {
		scenario_free(scenario);
		return -ENOMEM;
	}
	rc = len < 5 || strcmp(path + len - 4, ".lab") != 0
		? qmt_err_set(&err, -EINVAL, "%s: a scenario's name ends in .lab", path)
		: qmt_os_file_read(path, LAB_FILE_BYTES, &text, &err);
	if (rc == 0 && text.len && memchr(text.data, '\0', text.len))
		rc = qmt_err_set(&err, -EINVAL, "%s: it holds a NUL: not a text", path);
	if (rc != 0) {
		qmt_buf_printf(complaints, "%s\n", err.text);
		qmt_buf_free(&text);
		scenario_free(scenario);
		return rc;
	}
	parser.next = text.data ? keep(&parser, text.data) : NULL;
	parse(&parser);
	if (parser.no_memory || parser.errors) {
		scenario_free(scenario);
		return parser.no_memory ? -ENOMEM : -EINVAL;
	}
	*ret_scenario = scenario;
	return 0;
}
