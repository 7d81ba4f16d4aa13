/* cmd/lab/lab_help.c - help, the reference of steps and the man page, from the tables. */
#include "cmd/lab/lab_help.h"

#include "cmd/lab/scenario.h"
#include "cmd/roff.h"

const struct lab_option_row lab_option_rows[LAB_OPTION_COUNT] = {
#define LAB_OPTION_ROW(id, value, doc) {#id, value, doc},
	LAB_OPTIONS(LAB_OPTION_ROW)};

/* "run FILE... [OPTION]..." */
static const char *head_of(const struct lab_command *command, char room[80])
{
	snprintf(room, 80, "%s %s", command->name, command->arguments);
	return room;
}

static const struct {
	const char *id, *title;
} groups[] = {{"set_up", "Set up"}, {"life", "Nodes"}, {"run", "Commands"}, {"look", "Look and wait"},
	{"faults", "Faults"}, {"control", "Blocks"}};

void lab_help(void)
{
	printf("usage: qmt-lab COMMAND\n\n");
	for (const struct lab_command *command = lab_commands; command->name; command++)
		printf("  %-34s %s\n", head_of(command, (char[80]){0}), command->doc);
	printf("\nOptions of run\n");
	for (int i = 0; i < LAB_OPTION_COUNT; i++) {
		char head[48];
		snprintf(head, sizeof head, "--%s%s%s", lab_option_rows[i].name, lab_option_rows[i].value ? " " : "",
			lab_option_rows[i].value ? lab_option_rows[i].value : "");
		printf("  %-20s %s\n", head, lab_option_rows[i].doc);
	}
	printf("\nExit: 0 all hold (or were skipped), 1 a scenario failed, 2 wrong usage or a scenario that cannot "
		   "be read.\n");
}

static void help_steps(void)
{
	for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
		printf("%s%s\n", g ? "\n" : "", groups[g].title);
		for (int i = 0; i < LAB_STEP_COUNT; i++)
			if (strcmp(lab_step_kinds[i].group, groups[g].id) == 0)
				printf("  %s\n      %s\n", lab_step_kinds[i].usage, lab_step_kinds[i].doc);
	}
}

static void help_tests(void)
{
	for (const struct lab_test_kind *kind = lab_test_kinds; kind->name; kind++)
		printf("  %s\n      %s\n", kind->usage, kind->doc);
}

static void entry(const char *head, const char *doc)
{
	printf(".TP\n.B ");
	roff_text(head);
	printf("\n");
	roff_text(doc);
	printf("\n");
}

static void help_man(void)
{
	printf(
		".TH QMT\\-LAB 1 \"\" \"qmt %s\" \"User Commands\"\n.SH NAME\nqmt\\-lab \\- script a mesh of nodes, "
		"break it, and "
		"see what it does\n.SH SYNOPSIS\n.B qmt\\-lab\n\\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n.SH DESCRIPTION\n"
		"A file that ends in .lab is one scenario: a line a step, files at the end. qmt\\-lab starts real nodes, joins "
		"them by links that can be cut, stalled and slowed down, and looks whether what the scenario says holds.\n"
		".SH COMMANDS\n",
		QMT_VERSION);
	for (const struct lab_command *command = lab_commands; command->name; command++)
		entry(head_of(command, (char[80]){0}), command->doc);
	printf(".SH OPTIONS\n");
	for (int i = 0; i < LAB_OPTION_COUNT; i++) {
		char head[48];
		snprintf(head, sizeof head, "--%s %s", lab_option_rows[i].name,
			lab_option_rows[i].value ? lab_option_rows[i].value : "");
		entry(head, lab_option_rows[i].doc);
	}
	printf(".SH STEPS\n");
	for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
		printf(".SS %s\n", groups[g].title);
		for (int i = 0; i < LAB_STEP_COUNT; i++)
			if (strcmp(lab_step_kinds[i].group, groups[g].id) == 0)
				entry(lab_step_kinds[i].usage, lab_step_kinds[i].doc);
	}
	printf(".SH TESTS\n");
	for (const struct lab_test_kind *kind = lab_test_kinds; kind->name; kind++)
		entry(kind->usage, kind->doc);
	printf(
		".SH EXIT STATUS\n0: all hold or were skipped. 1: a scenario failed. 2: wrong usage, or a scenario "
		"that cannot be "
		"read. 130: interrupted.\n.SH ENVIRONMENT\n.TP\n.B TMPDIR\nWhere scenarios have their folders (default /tmp).\n"
		".SH SEE ALSO\n.BR qmtd (1),\n.BR qmt (1)\n");
}

bool lab_help_topic(const char *topic)
{
	if (strcmp(topic, "steps") == 0)
		help_steps();
	else if (strcmp(topic, "tests") == 0)
		help_tests();
	else if (strcmp(topic, "man") == 0)
		help_man();
	else
		return false;
	return true;
}
