/* cmd/lab/scenario_check.c - all that can be known of a step before it runs: names, quantities, tests, needs. */
#include <ctype.h>

#include "cmd/lab/scenario_check.h"

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

static const struct lab_name *name_find(const struct scenario *s, const char *name)
{
	for (unsigned i = 0; i < s->name_count; i++)
		if (strcmp(s->names[i].name, name) == 0)
			return &s->names[i];
	return NULL;
}

static void name_add(struct parser *p, const char *name, enum lab_name_kind what)
{
	struct scenario *s = p->scenario;
	const struct lab_name *there = name_find(s, name);

	if (!name_good(name)) {
		scenario_complain(
			p, p->line, "\"%s\" is no name (small letters, digits and -, a letter first, 32 at most)", name);
		return;
	}
	if (there) {
		if (what != LAB_NAME_PROCESS || there->what != LAB_NAME_PROCESS)
			scenario_complain(p, p->line, "the name %s is taken since line %u", name, there->line);
		return;
	}
	struct lab_name *names = scenario_grow(p, s->names, s->name_count, sizeof *names);
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
		scenario_complain(p, p->line, "no such host: %s (declare it above: `node %s` or `host %s`)", word, word, word);
	else if (node && name->what != LAB_NAME_NODE)
		scenario_complain(p, p->line, "%s is a host without a node (declare it as `node %s`)", word, word);
}

static void check_network(struct parser *p, const char *word)
{
	const struct lab_name *name = name_find(p->scenario, word);

	if (strcmp(word, "lan") == 0 || strcmp(word, "public") == 0)
		return;
	if (!name || name->what != LAB_NAME_NETWORK)
		scenario_complain(p, p->line, "no such network: %s (declare it above: `network %s`)", word, word);
}

static void check_test(struct parser *p, char **words, unsigned count, bool file)
{
	const struct lab_test_kind *kind = lab_test_kinds;

	if (!count) {
		scenario_complain(p, p->line, "a test is missing (`qmt-lab help tests` lists them)");
		return;
	}
	while (kind->name && strcmp(kind->name, words[0]) != 0)
		kind++;
	if (!kind->name)
		scenario_complain(p, p->line, "no such test: %s (`qmt-lab help tests` lists them)", words[0]);
	else if (count - 1 < kind->least || count - 1 > kind->most)
		scenario_complain(p, p->line, "usage: %s", kind->usage);
	else if (!file && (strcmp(words[0], "exists") == 0 || strcmp(words[0], "missing") == 0))
		scenario_complain(p, p->line, "%s is for files", words[0]);
	else if (strcmp(words[0], "save") == 0 && !var_good(words[1]))
		scenario_complain(p, p->line, "\"%s\" is no variable (capitals, digits and _)", words[1]);
	else if (strcmp(words[0], "is") == 0 && words[1][0] == '@' && is_known(words[1]) &&
		!lab_file_find(p->scenario, words[1] + 1, false))
		return; /* files are read after the steps: looked at again in check_files */
}

static bool has_option_value(struct parser *p, const struct lab_step *step, const char *key)
{
	const char *value = lab_option(step, key);

	if (value && !*value)
		scenario_complain(p, p->line, "%s= is empty", key);
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
			scenario_complain(p, p->line, "\"%s\" is not %s", word, wants[typed[i].what]);
	}
	if (has_option_value(p, step, "within") && !lab_time(lab_option(step, "within"), &number))
		scenario_complain(p, p->line, "within=%s is not %s", lab_option(step, "within"), wants[TIME]);
	if (has_option_value(p, step, "jitter") && !lab_time(lab_option(step, "jitter"), &number))
		scenario_complain(p, p->line, "jitter=%s is not %s", lab_option(step, "jitter"), wants[TIME]);
	if (has_option_value(p, step, "after") && !lab_bytes(lab_option(step, "after"), &number))
		scenario_complain(p, p->line, "after=%s is not %s", lab_option(step, "after"), wants[BYTES]);
	if (has_option_value(p, step, "exit") && strcmp(lab_option(step, "exit"), "any") != 0 &&
		!lab_number(lab_option(step, "exit"), &count))
		scenario_complain(p, p->line, "exit=%s is neither a number nor \"any\"", lab_option(step, "exit"));
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
				scenario_complain(p, p->line, "no such %s: %s (%s)", is_needs ? "need" : "backend", step->words[i],
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
		if (behind && !scenario_in_list("cone symmetric full noudp", behind, strlen(behind)))
			scenario_complain(p, p->line, "behind=%s: no such NAT (cone, symmetric, full, noudp)", behind);
		if (behind && !(s->needs & LAB_NEED_NAT))
			scenario_complain(p, p->line, "behind= needs the line `needs nat` above");
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
			scenario_complain(p, p->line, "usage: wait link A B bytes OP NUMBER");
		else
			check_host(p, words[1], false), check_host(p, words[2], false);
		return;
	}
	const struct lab_name *name = name_find(p->scenario, words[0]);
	if (!is_known(words[0]))
		return;
	if (!name || name->what == LAB_NAME_NETWORK) {
		scenario_complain(p, p->line, "%s is neither a node nor the name of a spawn above", words[0]);
		return;
	}
	const char *what = words[1];
	bool node = name->what == LAB_NAME_NODE;
	if (node && strcmp(what, "log") == 0) {
		check_test(p, words + 2, count - 2, false);
	} else if (node && strcmp(what, "event") == 0) {
		if (count < 3)
			scenario_complain(p, p->line, "usage: wait NODE event NAME [KEY=VALUE]...");
	} else if (node && strcmp(what, "state") == 0) {
		for (at = 2; at < count && strcmp(words[at], ":") != 0; at++)
			;
		if (at == 2 || at >= count)
			scenario_complain(p, p->line, "usage: wait NODE state QMT-COMMAND... : TEST");
		else
			check_test(p, words + at + 1, count - at - 1, false);
	} else if (node && strcmp(what, "metric") == 0) {
		if (count != 5)
			scenario_complain(p, p->line, "usage: wait NODE metric NAME OP NUMBER");
	} else if (strcmp(what, "exits") == 0) {
		if (count > 3)
			scenario_complain(p, p->line, "usage: wait %s exits [STATUS]", words[0]);
	} else if (strcmp(what, "stdout") == 0 || strcmp(what, "stderr") == 0) {
		check_test(p, words + 2, count - 2, false);
	} else {
		scenario_complain(p, p->line, "%s: cannot wait for \"%s\" (%s)", words[0], what,
			node ? "log, event, state, metric, exits, stdout, stderr" : "exits, stdout, stderr");
	}
}

void scenario_check_step(struct parser *p, const struct lab_step *step)
{
	const struct lab_step_kind *kind = step->kind;

	if ((kind->traits & LAB_DECLARES) && p->depth > 0)
		scenario_complain(p, p->line, "%s stands at the top, not in a block", kind->name);
	if (kind->needs & ~(unsigned)LAB_NEED_PACKETS & ~p->scenario->needs)
		scenario_complain(p, p->line, "%s needs the line `needs %s` above", kind->name,
			kind->needs & LAB_NEED_DISK ? "disk" : "clock");
	if ((kind->needs & LAB_NEED_PACKETS) && p->scenario->backends != LAB_NETNS)
		scenario_complain(p, p->line, "%s works on packets: it needs the line `backend netns` above", kind->name);
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
			scenario_complain(p, p->line, "\"%s\" is no variable (capitals, digits and _)", step->words[0]);
		if (step->id == LAB_STEP_for && strcmp(step->words[1], "in") != 0)
			scenario_complain(p, p->line, "usage: %s", kind->usage);
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
			scenario_complain(p, p->line, "usage: %s", kind->usage);
		break;
	default:
		break;
	}
}

void scenario_check_files(struct parser *p, const struct lab_step *steps)
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
				scenario_complain(p, p->line, "config=%s: the scenario has no such file", config);
			if (!config && !ini && !lab_file_find(p->scenario, name, true))
				scenario_complain(p, p->line, "the config is missing: a file `-- %s --` at the end", name);
		}
		scenario_check_files(p, step->body);
	}
}
