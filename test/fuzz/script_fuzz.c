/* test/fuzz/script_fuzz.c - any bytes as a script: there are complaints that can be shown, or turns within the limits,
 * whose texts come back from their pieces and which can all be chosen. */
#include "actors/provider/script_file.c"

#define MUST(x)                                                     \
	do {                                                            \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

static const struct script_limits limits = {.file_bytes = 4096, .turns = 20, .answer_bytes = 5000};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_complaint(void *arg, uint32_t line, const char *what, const char *hint)
{
	MUST(what[0] && line <= 4097);
	for (const char *p = what; *p; p++)
		MUST((unsigned char)*p >= 0x20 && *p != 0x7f); /* one line, and nothing for the terminal */
	MUST(utf8_check(qmt_str(what)) && utf8_check(qmt_str(hint)));
	++*(uint32_t *)arg;
}

static void step_look(const struct script_step *step, bool last)
{
	uint32_t at = 0;
	bool ends = step->kind == SCRIPT_FINISH || step->kind == SCRIPT_ERROR || step->kind == SCRIPT_CUT ||
		step->kind == SCRIPT_HANG;

	MUST(!ends || last);
	MUST((step->kind == SCRIPT_TOOL) == (step->tool != NULL));
	MUST((step->kind == SCRIPT_FINISH || step->kind == SCRIPT_ERROR) == (step->word != NULL));
	MUST(step->time_ms <= SCRIPT_TIME_MAX_MS && step->every_ms <= SCRIPT_TIME_MAX_MS);
	MUST(utf8_check(step->text));
	if (step->kind != SCRIPT_TEXT && step->kind != SCRIPT_REASONING && step->kind != SCRIPT_TOOL)
		return;
	MUST(step->repeat > 0 && step->text.p);
	while (at < step->text.len) {
		struct qmt_str piece = script_piece(step, at);

		MUST(piece.len > 0 && piece.p == step->text.p + at && utf8_check(piece));
		MUST(step->split == 0 || piece.len <= (step->split > 4 ? step->split : 4));
		at += piece.len;
	}
	MUST(at == step->text.len);
}

static void script_look(const struct script *script)
{
	uint32_t *places = calloc(script->row_count, sizeof *places), seen = 0;

	MUST(places && script->turn_count > 0 && script->turn_count <= limits.turns && script->model_count > 0);
	script_places_init(script, places);
	for (uint32_t i = 0; i < script->turn_count; i++) {
		const struct script_turn *turn = &script->turns[i];

		MUST(turn->bytes <= limits.answer_bytes && turn->step_count > 0);
		for (uint32_t j = 0; j < turn->step_count; j++)
			step_look(&turn->steps[j], j + 1 == turn->step_count);
	}
	for (uint32_t i = 0; i < script->row_count; i++) /* the turns of the rows are all turns */
		for (uint32_t at = script->rows[i].first; at != SCRIPT_NO_TURN; at = script->turns[at].next)
			seen++;
	MUST(seen == script->turn_count);
	for (uint32_t i = 0; i < 2 * script->row_count; i++) {
		const struct script_turn *turn = NULL;
		int ret = script_next(script, places, script->rows[i / 2].when, &turn);

		MUST(ret == 0 ? turn != NULL : ret == SCRIPT_E_AT_END || ret == SCRIPT_E_NO_ROW);
	}
	free(places);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script *script = NULL;
	uint32_t complaints = 0;
	int ret = script_parse(qmt_strn((const char *)data, size), &limits, on_complaint, &complaints, &script);

	MUST((ret == 0) == (complaints == 0) && (ret == 0) == (script != NULL) && (ret == 0 || ret == SCRIPT_E_BAD));
	if (script)
		script_look(script);
	script_free(script);
	return 0;
}
