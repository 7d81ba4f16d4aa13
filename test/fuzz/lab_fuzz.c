/* test/fuzz/lab_fuzz.c - any text as a scenario: it is taken, or refused with a line that names a place. */
#include "cmd/lab/scenario.c"
#include "cmd/lab/scenario_check.c"
#include "cmd/lab/units.c"
#include "cmd/lab/heap.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned count_steps(const struct lab_step *step)
{
	unsigned count = 0;

	for (; step; step = step->next)
		count += 1 + count_steps(step->body);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scenario *scenario = NULL;
	struct qmt_buf complaints = {0}, text = {0};

	if (memchr(data, 0, size))
		return 0; /* refused by scenario_load */
	qmt_buf_append(&text, data, size);
	int rc = load_text("f.lab", &text, &scenario, &complaints);
	if (rc == 0 ? !count_steps(scenario->steps) : strncmp(complaints.data ? complaints.data : "", "f.lab:", 6) != 0)
		abort();
	scenario_free(scenario);
	qmt_buf_free(&complaints);
	qmt_buf_free(&text);
	return 0;
}
