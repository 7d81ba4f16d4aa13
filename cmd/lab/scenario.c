/* cmd/lab/scenario.c - parses a .lab file and checks all that can be known before it runs. Complaints are gathered: a
 * person mends them in one go. What a step does is in the steps_*.c files. */
#include "cmd/lab/scenario_check.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>

#include "runtime/base/os.h"

const struct lab_step_kind lab_step_kinds[LAB_STEP_COUNT] = {
#define LAB_STEP_ROW(group, name, usage, least, most, options, needs, traits, doc) \
	{#group, #name, usage, least, most, options, needs, traits, doc},
	LAB_STEPS(LAB_STEP_ROW)};

const struct lab_test_kind lab_test_kinds[] = {
#define LAB_TEST_ROW(name, usage, least, most, doc) {#name, usage, least, most, doc},
	LAB_TESTS(LAB_TEST_ROW){NULL, NULL, 0, 0, NULL}};

/* ---- memory: all of it goes with the scenario -------------------------------------------------------------------- */

static void *keep(struct parser *p, void *block)
{
	return lab_heap_keep(&p->scenario->heap, block);
}

void *scenario_grow(struct parser *p, void *array, unsigned count, size_t size)
{
	return lab_heap_grow(&p->scenario->heap, array, count, size);
}

struct scenario *scenario_free(struct scenario *scenario)
{
	if (!scenario)
		return NULL;
	lab_heap_free(&scenario->heap);
	free(scenario);
	return NULL;
}

void scenario_complain(struct parser *p, unsigned line, const char *format, ...)
{
	char text[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	qmt_buf_printf(p->complaints, "%s:%u: %s\n", p->scenario->path, line, text);
	p->errors++;
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
		scenario_complain(p, p->line, "a %c that nothing closes", quote);
	*at = *from ? from + 1 : from;
	*to = '\0';
	return true;
}

bool scenario_in_list(const char *list, const char *word, size_t len)
{
	for (const char *at = list; *at;) {
		size_t n = strcspn(at, " ");
		if (n == len && memcmp(at, word, n) == 0)
			return true;
		at += n + (at[n] == ' ');
	}
	return false;
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
		scenario_complain(p, p->line, "a } that nothing opened");
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
				scenario_complain(p, p->line, "no such step: %s (`qmt-lab help steps` lists them)", word);
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
		if (!step->word_count && !quoted && equals &&
			scenario_in_list(step->kind->options, word, (size_t)(equals - word))) {
			char **options = scenario_grow(p, step->options, step->option_count, sizeof *options);
			if (!options)
				return;
			step->options = options;
			options[step->option_count++] = word;
			continue;
		}
		char **words = scenario_grow(p, step->words, step->word_count, sizeof *words);
		if (!words)
			return;
		step->words = words;
		words[step->word_count++] = word;
	}
	if (!step->kind)
		return;
	if (step->word_count < step->kind->least || step->word_count > step->kind->most) {
		scenario_complain(p, p->line, "usage: %s", step->kind->usage);
		return;
	}
	if (block != !!(step->kind->traits & LAB_BLOCK)) {
		scenario_complain(p, p->line, "%s wants a block: { at the end of the line", step->kind->name);
		return;
	}
	scenario_check_step(p, step);
	*p->tails[p->depth] = step;
	p->tails[p->depth] = &step->next;
	if (!block)
		return;
	if (p->depth == LAB_NESTING) {
		scenario_complain(p, p->line, "blocks nest more than %d deep", LAB_NESTING);
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
	*ret_planted = len > 14 && strcmp(line + len - 3 - 8, " planted") == 0;
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
		struct lab_file *files = scenario_grow(p, s->files, s->file_count, sizeof *files);
		unsigned line = p->line;
		char *begin = p->next, *next = NULL, *row;
		if (!files)
			return;
		while ((row = line_next(p)) && !(next = file_head(row, &next_planted)))
			if (p->next[-1] == '\0')
				p->next[-1] = '\n'; /* the file keeps its lines */
		char *end = row ? row : p->next;
		if (!path_good(name))
			scenario_complain(p, line, "\"%s\" is no name of a file (a path below the scenario's folder)", name);
		for (unsigned i = 0; i < s->file_count; i++)
			if (strcmp(files[i].name, name) == 0 && files[i].planted == planted)
				scenario_complain(p, line, "%s is there since line %u", name, files[i].line);
		s->files = files;
		files[s->file_count++] = (struct lab_file){name, qmt_strn(begin, (size_t)(end - begin)), planted, line};
		s->has_planted |= planted;
		name = next;
		planted = next_planted;
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
		scenario_complain(p, p->opened[p->depth], "a block that no } closes");
	if (!sentence.len)
		scenario_complain(p, 1, "the first line is missing: a comment with the sentence that holds");
	if (!s->steps && !p->errors)
		scenario_complain(p, 1, "no step");
	s->sentence = sentence.len ? keep(p, sentence.data) : "";
	if (!sentence.len)
		qmt_buf_free(&sentence);
	if (!s->backends)
		s->backends = LAB_LOOPBACK;
	if ((s->needs & LAB_NEED_NAT) && s->backends != LAB_NETNS)
		scenario_complain(p, 1, "`needs nat` wants `backend netns`: loopback has no NAT");
	scenario_check_files(p, s->steps);
}

/* The text of a file that is called `path`; takes the text. */
static int load_text(const char *path, struct qmt_buf *text, struct scenario **ret_scenario, struct qmt_buf *complaints)
{
	struct scenario *scenario = calloc(1, sizeof *scenario);
	struct parser parser = {.scenario = scenario, .complaints = complaints};

	if (!scenario)
		return -ENOMEM;
	scenario->path = keep(&parser, strdup(path));
	scenario->deadline_ms = 10000;
	if (text->data) {
		parser.next = keep(&parser, text->data);
		*text = (struct qmt_buf){0};
	}
	if (!scenario->heap.failed)
		parse(&parser);
	if (scenario->heap.failed || parser.errors) {
		int rc = scenario->heap.failed ? -ENOMEM : -EINVAL;
		scenario_free(scenario);
		return rc;
	}
	*ret_scenario = scenario;
	return 0;
}

int scenario_load(const char *path, struct scenario **ret_scenario, struct qmt_buf *complaints)
{
	struct qmt_buf text = {0};
	struct qmt_err err = {0};
	size_t len = strlen(path);
	int rc = len < 5 || strcmp(path + len - 4, ".lab") != 0
		? qmt_err_set(&err, -EINVAL, "%s: a scenario's name ends in .lab", path)
		: qmt_os_file_read(path, LAB_FILE_BYTES, &text, &err);

	if (rc == 0 && text.len && memchr(text.data, '\0', text.len))
		rc = qmt_err_set(&err, -EINVAL, "%s: it holds a NUL: not a text", path);
	if (rc != 0)
		qmt_buf_printf(complaints, "%s\n", err.text);
	else
		rc = load_text(path, &text, ret_scenario, complaints);
	qmt_buf_free(&text);
	return rc;
}
