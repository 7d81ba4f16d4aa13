/* Prints the table of proto/authority.def as it stands in docs/security.md. */
#include <stdio.h>

#include "proto/authority.h"

int main(void)
{
	printf("| operation | ");
	for (int role = 0; role < AUTHORITY_ROLES; role++)
		printf("%s | ", authority_role_words[role].title);
	printf("what it covers |\n|---|");
	for (int role = 0; role < AUTHORITY_ROLES; role++)
		printf("---|");
	printf("---|\n");
	for (const struct authority_row *row = authority_rows; row->operation; row++) {
		printf("| %s | ", row->operation);
		for (int role = 0; role < AUTHORITY_ROLES; role++)
			printf("%s | ", authority_rule_words[row->rules[role]].title);
		printf("%s |\n", row->doc);
	}
	printf("\n| role | who has it |\n|---|---|\n");
	for (int role = 0; role < AUTHORITY_ROLES; role++)
		printf("| %s | %s |\n", authority_role_words[role].title, authority_role_words[role].doc);
	printf("\n| cell | meaning |\n|---|---|\n");
	for (int rule = 0; rule < AUTHORITY_RULES; rule++)
		printf("| %s | %s |\n", authority_rule_words[rule].title, authority_rule_words[rule].doc);
	return 0;
}
