/* Prints the table of proto/authority.def as it stands in docs/security.md. */
#include <stdio.h>

#include "proto/authority.h"
#include "proto/contract/contract.h"

int main(void)
{
	printf("| operation | ");
	for (int role = 0; role < AUTHORITY_ROLES; role++)
		printf("%s | ", authority_role_words[role].title);
	printf("requests a minute | what it covers |\n|---|");
	for (int role = 0; role < AUTHORITY_ROLES; role++)
		printf("---|");
	printf("---|---|\n");
	for (const struct authority_row *row = authority_rows; row->operation; row++) {
		printf("| %s | ", row->operation);
		for (int role = 0; role < AUTHORITY_ROLES; role++)
			printf("%s | ", authority_rule_words[row->rules[role]].title);
		printf("%s | %s |\n", authority_pace_words[row->pace].title, row->doc);
	}
	printf("\n| role | who has it |\n|---|---|\n");
	for (int role = 0; role < AUTHORITY_ROLES; role++)
		printf("| %s | %s |\n", authority_role_words[role].title, authority_role_words[role].doc);
	printf("\n| cell | meaning |\n|---|---|\n");
	for (int rule = 0; rule < AUTHORITY_RULES; rule++)
		printf("| %s | %s |\n", authority_rule_words[rule].title, authority_rule_words[rule].doc);
	printf("\n| requests a minute | meaning |\n|---|---|\n");
	for (int pace = 0; pace < AUTHORITY_PACES; pace++)
		printf("| %s | %s |\n", authority_pace_words[pace].title, authority_pace_words[pace].doc);
	printf("\n| parameter of a model call that a peer may set | |\n|---|---|\n");
#define PARAMETER(name, doc) printf("| %s | %s |\n", #name, doc);
	PROVIDER_PEER_PARAMETERS(PARAMETER)
#undef PARAMETER
	return 0;
}
