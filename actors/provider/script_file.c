/* actors/provider/script_file.c - see script_file.h.
 *
 * Line by line, word by word; a line that is wrong is complained about and left, so that one look at the file shows
 * all of it.
 */
#include "script_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "proto/utf8.h"
#include "provider.h"
#include "runtime/base/os.h"
#include "script_line.h"

struct parser {
	struct script_line in;
	const struct script_limits *limits;
	struct script *script; /* so far */
	bool in_turn;          /* the last of script->turns is open */
	bool touched;          /* it has a step, or something wrong that was to be one */
	bool ended;            /* the last step let nothing follow */
	bool has_usage, has_end;
};

#define WRONG(p, hint, ...) script_wrong(&(p)->in, (p)->in.number, hint, __VA_ARGS__)

#define LINE_WORD(word, form, doc) " " #word
static const char known_heads[] = "there is:" SCRIPT_HEADS(LINE_WORD);
static const char known_steps[] = "a step is one of:" SCRIPT_STEPS(LINE_WORD);

/* ---- the file as it grows ---------------------------------------------------------------------------------------- */

/* Makes room for one more item behind `count` items. */
static bool grow(struct parser *p, void **items, uint32_t count, size_t size)
{
	if ((count & (count - 1)) != 0) /* room is a power of two */
		return true;

	void *more_items = realloc(*items, (count > 0 ? (size_t)count * 2 : 1) * size);

	if (!more_items)
		return script_no_memory(&p->in);
	*items = more_items;
	return true;
}

static struct script_turn *turn_of(struct parser *p)
{
	return &p->script->turns[p->script->turn_count - 1];
}

static void step_free(struct script_step *step)
{
	free((char *)(uintptr_t)step->text.p);
	free(step->tool);
}

static void turn_close(struct parser *p)
{
	if (p->in_turn && !p->touched)
		script_wrong(&p->in, turn_of(p)->line, "finish stop, for an answer that says nothing", "a turn without a step");
	p->in_turn = false;
}

/* Takes *step. */
static bool step_add(struct parser *p, struct script_step *step)
{
	struct script_turn *turn = turn_of(p);
	uint64_t once = (step->text.len > 0 ? step->text.len : 1) + (step->tool ? strlen(step->tool) : 0);
	bool says = step->kind == SCRIPT_TEXT || step->kind == SCRIPT_REASONING || step->kind == SCRIPT_TOOL;
	void *steps = turn->steps;

	if (says)
		turn->bytes += once * step->repeat;
	if (says && turn->bytes > p->limits->answer_bytes)
		WRONG(p, "response_limit_bytes is its limit", "the answer is longer than %u bytes", p->limits->answer_bytes);
	else if (grow(p, &steps, turn->step_count, sizeof *step)) {
		turn->steps = steps;
		step->line = p->in.number;
		turn->steps[turn->step_count++] = *step;
		p->ended = step->kind == SCRIPT_FINISH || step->kind == SCRIPT_ERROR || step->kind == SCRIPT_CUT ||
			step->kind == SCRIPT_HANG;
		*step = (struct script_step){0};
		return true;
	}
	return false;
}

/* The row of turns with this text; takes it. NULL: no memory. */
static struct script_row *row_of(struct parser *p, struct qmt_str *when)
{
	struct script *script = p->script;
	void *rows = script->rows;

	for (uint32_t i = 0; i < script->row_count; i++)
		if (qmt_str_eq(script->rows[i].when, *when))
			return &script->rows[i];
	if (!grow(p, &rows, script->row_count, sizeof *script->rows))
		return NULL;
	script->rows = rows;
	script->rows[script->row_count] =
		(struct script_row){.when = *when, .first = SCRIPT_NO_TURN, .last = SCRIPT_NO_TURN};
	*when = (struct qmt_str){0};
	return &script->rows[script->row_count++];
}

/* ---- lines outside of a turn ------------------------------------------------------------------------------------- */

static void text_drop(struct qmt_str *text)
{
	free((char *)(uintptr_t)text->p);
}

static bool line_turn(struct parser *p)
{
	struct script *script = p->script;
	struct qmt_str when QMT_CLEANUP(text_drop) = {0}, word;
	void *turns = script->turns;
	struct script_row *row;

	turn_close(p);
	p->in_turn = p->touched = true; /* steps of a turn that is wrong here are looked at all the same */
	p->ended = p->has_usage = false;
	if (script->turn_count == p->limits->turns)
		return WRONG(p, "max_turns is the limit", "more than %u turns", p->limits->turns);
	if (!grow(p, &turns, script->turn_count, sizeof *script->turns))
		return false;
	script->turns = turns;
	script->turns[script->turn_count++] = (struct script_turn){.line = p->in.number, .next = SCRIPT_NO_TURN};
	word = script_word(&p->in);
	if (word.len > 0 && !qmt_str_is(word, "when"))
		return WRONG(p, "turn when \"…\"", "%s is too much here", script_show(word).text);
	if (word.len > 0 && !script_text(&p->in, "when", &when))
		return false;
	if (word.len > 0 && when.len == 0)
		return WRONG(p, "leave when out", "when: an empty text is in every prompt");
	if (!script_no_more(&p->in))
		return false;
	row = row_of(p, &when);
	if (!row)
		return false;
	if (row->first == SCRIPT_NO_TURN)
		row->first = script->turn_count - 1;
	else
		script->turns[row->last].next = script->turn_count - 1;
	row->last = script->turn_count - 1;
	p->touched = false;
	return true;
}

static bool line_model(struct parser *p)
{
	struct script *script = p->script;
	struct qmt_str word = script_word(&p->in);
	void *models = script->models;

	turn_close(p);
	if (word.len == 0 || word.len > SCRIPT_NAME_BYTES)
		return WRONG(p, "model NAME", "model: wants a name of 1 to %d bytes", SCRIPT_NAME_BYTES);
	if (!script_no_more(&p->in))
		return false;
	for (uint32_t i = 0; i < script->model_count; i++)
		if (qmt_str_is(word, script->models[i]))
			return WRONG(p, NULL, "model: %s is there already", script_show(word).text);
	if (!grow(p, &models, script->model_count, sizeof *script->models))
		return false;
	script->models = models;
	script->models[script->model_count] = qmt_str_dup(word);
	if (!script->models[script->model_count])
		return script_no_memory(&p->in);
	script->model_count++;
	return true;
}

static bool line_end(struct parser *p)
{
	static const char *const words[] = {[SCRIPT_AGAIN] = "again", [SCRIPT_STAY] = "stay", [SCRIPT_END_ERROR] = "error"};
	struct qmt_str word = script_word(&p->in);
	int at = 0;

	turn_close(p);
	while (at <= SCRIPT_END_ERROR && !qmt_str_is(word, words[at]))
		at++;
	if (at > SCRIPT_END_ERROR)
		return WRONG(p, "end again, end stay or end error", "end: %s is none of the choices", script_show(word).text);
	if (p->has_end)
		return WRONG(p, NULL, "end is there already");
	p->has_end = true;
	p->script->end = (enum script_end)at;
	return script_no_more(&p->in);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void step_drop(struct script_step *step)
{
	step_free(step);
}

static bool step_plain(struct parser *p, enum script_step_kind kind)
{
	struct script_step step = {.kind = (uint8_t)kind};

	return script_no_more(&p->in) && step_add(p, &step);
}

static bool line_accept(struct parser *p)
{
	return step_plain(p, SCRIPT_ACCEPT);
}

static bool line_cut(struct parser *p)
{
	return step_plain(p, SCRIPT_CUT);
}

static bool line_hang(struct parser *p)
{
	return step_plain(p, SCRIPT_HANG);
}

/* [split N] [every TIME], the end of the line. */
static bool take_pieces(struct parser *p, struct script_step *step)
{
	bool every = false;

	while (script_more(&p->in)) {
		struct qmt_str word = script_word(&p->in);

		if (qmt_str_is(word, "split") && step->split == 0) {
			if (!script_count(&p->in, "split", UINT32_MAX, &step->split))
				return false;
		} else if (qmt_str_is(word, "every") && !every) {
			every = true;
			if (!script_time(&p->in, "every", script_word(&p->in), &step->every_ms))
				return false;
		} else {
			return WRONG(p, "[split N] [every TIME]", "%s is too much here", script_show(word).text);
		}
	}
	if (every && step->split == 0 && step->repeat == 1)
		return WRONG(p, "split N makes several, repeat N too", "every: there is only one piece");
	return true;
}

static bool said(struct parser *p, enum script_step_kind kind, uint32_t repeat)
{
	struct script_step step QMT_CLEANUP(step_drop) = {.kind = (uint8_t)kind, .repeat = repeat};

	return script_text(&p->in, kind == SCRIPT_TEXT ? "text" : "reasoning", &step.text) && take_pieces(p, &step) &&
		step_add(p, &step);
}

static bool called(struct parser *p, uint32_t repeat)
{
	struct script_step step QMT_CLEANUP(step_drop) = {.kind = SCRIPT_TOOL, .repeat = repeat};
	struct qmt_str name = script_word(&p->in);

	if (name.len == 0 || name.len > SCRIPT_NAME_BYTES || name.p[0] == '{' || name.p[0] == '"')
		return WRONG(p, "tool NAME {JSON}", "tool: wants a name of 1 to %d bytes, got %s", SCRIPT_NAME_BYTES,
			script_show(name).text);
	step.tool = qmt_str_dup(name);
	if (!step.tool)
		return script_no_memory(&p->in);
	if (!script_more(&p->in))
		return WRONG(p, "{} for none", "tool: arguments are missing");
	if (*p->in.at == '{' ? !script_object(&p->in, "tool", &step.text) : !script_text(&p->in, "tool", &step.text))
		return false;
	return take_pieces(p, &step) && step_add(p, &step);
}

static bool line_text(struct parser *p)
{
	return said(p, SCRIPT_TEXT, 1);
}

static bool line_reasoning(struct parser *p)
{
	return said(p, SCRIPT_REASONING, 1);
}

static bool line_tool(struct parser *p)
{
	return called(p, 1);
}

static bool line_repeat(struct parser *p)
{
	uint32_t count;
	struct qmt_str word;

	if (!script_count(&p->in, "repeat", SCRIPT_REPEAT_MAX, &count))
		return false;
	word = script_word(&p->in);
	if (qmt_str_is(word, "text"))
		return said(p, SCRIPT_TEXT, count);
	if (qmt_str_is(word, "reasoning"))
		return said(p, SCRIPT_REASONING, count);
	if (qmt_str_is(word, "tool"))
		return called(p, count);
	return WRONG(p, "text, reasoning and tool can", "repeat: %s cannot be repeated", script_show(word).text);
}

static bool line_wait(struct parser *p)
{
	struct script_step step = {.kind = SCRIPT_WAIT};

	return script_time(&p->in, "wait", script_word(&p->in), &step.time_ms) && script_no_more(&p->in) &&
		step_add(p, &step);
}

/* key=value: the value, when the key is this one. */
static bool value_of(struct qmt_str word, const char *key, struct qmt_str *ret_value)
{
	uint32_t len = (uint32_t)strlen(key);

	if (word.len <= len || memcmp(word.p, key, len) != 0 || word.p[len] != '=')
		return false;
	*ret_value = qmt_strn(word.p + len + 1, word.len - len - 1);
	return true;
}

static bool line_usage(struct parser *p)
{
	struct chat_usage usage = {0};
	const struct {
		const char *name;
		uint64_t *to;
	} keys[] = {{"input", &usage.input_tokens}, {"output", &usage.output_tokens}, {"cached", &usage.cached_tokens},
		{"reasoning", &usage.reasoning_tokens}};
	enum { KEYS = sizeof keys / sizeof *keys };

	if (p->has_usage)
		return WRONG(p, "one line for all of them", "usage is there already in this turn");
	while (script_more(&p->in)) {
		struct qmt_str word = script_word(&p->in), value;
		int at = 0;

		while (at < KEYS && !value_of(word, keys[at].name, &value))
			at++;
		if (at == KEYS || !script_number(value, INT64_MAX, keys[at].to))
			return WRONG(p, "usage input=10 output=5 cached=0 reasoning=0", "usage: %s is no count of tokens",
				script_show(word).text);
	}
	p->has_usage = true;
	turn_of(p)->usage = usage;
	return true;
}

static bool line_finish(struct parser *p)
{
	static const char *const reasons[] = {"stop", "tool_calls", "length", "content_filter"};
	struct script_step step = {.kind = SCRIPT_FINISH};
	struct qmt_str word = script_word(&p->in);

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (qmt_str_is(word, reasons[i]))
			step.word = reasons[i];
	if (!step.word)
		return WRONG(
			p, "stop, tool_calls, length or content_filter", "finish: %s is no reason", script_show(word).text);
	return script_no_more(&p->in) && step_add(p, &step);
}

static bool line_error(struct parser *p)
{
#define ERROR_CLASS(name, retry, doc) provider_error_##name,
	static const char *const classes[] = {PROVIDER_ERRORS(ERROR_CLASS)};
#define ERROR_NAME(name, retry, doc) " " #name
	static const char known[] = "a class is one of:" PROVIDER_ERRORS(ERROR_NAME);
	struct script_step step QMT_CLEANUP(step_drop) = {.kind = SCRIPT_ERROR};
	struct qmt_str word = script_word(&p->in), value;

	for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
		if (qmt_str_is(word, classes[i]))
			step.word = classes[i];
	if (!step.word)
		return WRONG(p, known, "error: %s is no class", script_show(word).text);
	if (script_more(&p->in) && *p->in.at == '"' && !script_text(&p->in, "error", &step.text))
		return false;
	if (step.text.len > 0 && memchr(step.text.p, '\0', step.text.len))
		return WRONG(p, NULL, "error: the text of an error has no NUL");
	if (script_more(&p->in)) {
		word = script_word(&p->in);
		if (!value_of(word, "retry_after", &value))
			return WRONG(p, "error CLASS \"…\" retry_after=2s", "%s is too much here", script_show(word).text);
		if (!script_time(&p->in, "retry_after", value, &step.time_ms))
			return false;
	}
	return script_no_more(&p->in) && step_add(p, &step);
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *word;
	bool (*parse)(struct parser *p);
	bool step;
} lines[] = {
#define LINE_HEAD(word, form, doc) {#word, line_##word, false},
#define LINE_STEP(word, form, doc) {#word, line_##word, true},
	SCRIPT_HEADS(LINE_HEAD) SCRIPT_STEPS(LINE_STEP)};
enum { LINES = sizeof lines / sizeof *lines };

static bool bytes_check(struct parser *p, struct qmt_str line)
{
	uint32_t good = utf8_valid_prefix(line);

	if (good < line.len)
		return WRONG(p, "a script is UTF-8 text", "byte 0x%02x is no UTF-8", (unsigned char)line.p[good]);
	for (uint32_t i = 0; i < line.len; i++)
		if (((unsigned char)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 0x7f)
			return WRONG(p, "as \\u0000 in a text", "control character 0x%02x", (unsigned char)line.p[i]);
	return true;
}

static void line_parse(struct parser *p, struct qmt_str line)
{
	struct qmt_str word;
	int at = 0;

	if (line.len > 0 && line.p[line.len - 1] == '\r')
		line.len--;
	if (!bytes_check(p, line)) {
		p->touched = true;
		return;
	}
	p->in.at = line.p;
	p->in.stop = line.p + line.len;
	word = script_word(&p->in);
	if (word.len == 0)
		return;
	while (at < LINES && !qmt_str_is(word, lines[at].word))
		at++;
	if (at == LINES) {
		p->touched = true;
		WRONG(p, p->in_turn ? known_steps : known_heads, "%s is no line of a script", script_show(word).text);
		return;
	}
	if (lines[at].step && !p->in_turn) {
		WRONG(p, "begin one with a line: turn", "%s outside of a turn", lines[at].word);
		return;
	}
	if (lines[at].step && p->ended && lines[at].parse != line_usage) {
		WRONG(p, "begin the next turn", "%s behind the end of the turn", lines[at].word);
		return;
	}

	bool taken = lines[at].parse(p);

	if (lines[at].step && (!taken || lines[at].parse != line_usage))
		p->touched = true;
}

static void parse(struct parser *p, struct qmt_str text)
{
	if (text.len >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
		text = qmt_strn(text.p + 3, text.len - 3);
	while (text.len > 0 && !p->in.failed && p->in.complaints <= SCRIPT_ERRORS) {
		const char *end = memchr(text.p, '\n', text.len);
		uint32_t len = end ? (uint32_t)(end - text.p) : text.len;

		p->in.number++;
		line_parse(p, qmt_strn(text.p, len));
		len += end != NULL;
		text = qmt_strn(text.p + len, text.len - len);
	}
	turn_close(p);
	if (p->script->turn_count == 0 && p->in.complaints == 0 && !p->in.failed)
		script_wrong(&p->in, 0, "docs/guide/script.md shows one", "no turn in the script");
}

static void script_drop(struct script **script)
{
	script_free(*script);
}

int script_parse(struct qmt_str text, const struct script_limits *limits, script_complain *complain, void *arg,
	struct script **ret_script)
{
	struct script *script QMT_CLEANUP(script_drop) = calloc(1, sizeof *script);
	struct parser p = {.in = {.complain = complain, .arg = arg}, .limits = limits, .script = script};

	if (!script)
		return -ENOMEM;
	if (text.len > limits->file_bytes)
		script_wrong(&p.in, 0, "script_limit_bytes is its limit", "longer than %u bytes", limits->file_bytes);
	else
		parse(&p, text);
	if (script->model_count == 0 && !p.in.failed) {
		script->models = calloc(1, sizeof *script->models);
		if (script->models)
			script->models[0] = qmt_str_dup(qmt_str("script"));
		p.in.failed = !script->models || !script->models[0];
		script->model_count = !p.in.failed;
	}
	if (p.in.failed)
		return -ENOMEM;
	if (p.in.complaints > 0)
		return SCRIPT_E_BAD;
	*ret_script = script;
	script = NULL;
	return 0;
}

int script_load(const char *path, const struct script_limits *limits, script_complain *complain, void *arg,
	struct script **ret_script)
{
	struct qmt_buf text QMT_CLEANUP(qmt_buf_free) = {0};
	struct qmt_err err = {0};
	char what[128];
	struct stat st;
	int ret = 0;

	/* Looks before it opens: a pipe without a writer would hang, a device go on. */
	if (stat(path, &st) < 0)
		ret = -errno;
	else if (!S_ISREG(st.st_mode))
		snprintf(what, sizeof what, "no regular file");
	else
		ret = qmt_os_file_read(path, limits->file_bytes, &text, &err);
	if (ret == 0 && S_ISREG(st.st_mode))
		return script_parse(qmt_buf_view(&text), limits, complain, arg, ret_script);
	if (ret == -ENOMEM)
		return ret;
	if (ret == -EFBIG)
		snprintf(what, sizeof what, "longer than %u bytes", limits->file_bytes);
	else if (ret < 0)
		snprintf(what, sizeof what, "cannot be read: %s", strerror(-ret));
	complain(arg, 0, what, ret == -EFBIG ? "script_limit_bytes is its limit" : NULL);
	return SCRIPT_E_BAD;
}

struct script *script_free(struct script *script)
{
	if (!script)
		return NULL;
	for (uint32_t i = 0; i < script->turn_count; i++) {
		for (uint32_t j = 0; j < script->turns[i].step_count; j++)
			step_free(&script->turns[i].steps[j]);
		free(script->turns[i].steps);
	}
	for (uint32_t i = 0; i < script->row_count; i++)
		text_drop(&script->rows[i].when);
	for (uint32_t i = 0; i < script->model_count; i++)
		free(script->models[i]);
	free(script->turns);
	free(script->rows);
	free(script->models);
	free(script);
	return NULL;
}

/* ---- choice ------------------------------------------------------------------------------------------------------ */

void script_places_init(const struct script *script, uint32_t *places)
{
	for (uint32_t i = 0; i < script->row_count; i++)
		places[i] = script->rows[i].first;
}

int script_next(
	const struct script *script, uint32_t *places, struct qmt_str prompt, const struct script_turn **ret_turn)
{
	uint32_t found = script->row_count;

	for (uint32_t i = 0; i < script->row_count; i++) {
		struct qmt_str when = script->rows[i].when;

		if (when.len > 0 && prompt.len > 0 && memmem(prompt.p, prompt.len, when.p, when.len)) {
			found = i;
			break;
		}
		if (when.len == 0)
			found = i;
	}
	if (found == script->row_count)
		return SCRIPT_E_NO_ROW;
	if (places[found] == SCRIPT_NO_TURN)
		return SCRIPT_E_AT_END;

	const struct script_turn *turn = &script->turns[places[found]];

	if (turn->next != SCRIPT_NO_TURN || script->end == SCRIPT_END_ERROR)
		places[found] = turn->next;
	else if (script->end == SCRIPT_AGAIN)
		places[found] = script->rows[found].first;
	*ret_turn = turn;
	return 0;
}

static bool continues(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80;
}

struct qmt_str script_piece(const struct script_step *step, uint32_t at)
{
	struct qmt_str rest = qmt_strn(step->text.p + at, step->text.len - at);
	uint32_t len = step->split;

	if (len == 0 || len >= rest.len)
		return rest;
	while (len > 0 && continues(rest.p[len]))
		len--;
	if (len == 0)
		for (len = 1; len < rest.len && continues(rest.p[len]);)
			len++;
	return qmt_strn(rest.p, len);
}
