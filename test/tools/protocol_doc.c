/* test/tools/protocol_doc.c - writes docs/protocol.md to standard output from the tables that the programs run by
 * (`make docs`; `make lint` compares). What is prose here explains; every number and every name comes from a table. */
#include <stdio.h>

#include "proto/authority.h"
#include "proto/codec.h"
#include "proto/contract/contract.h"
#include "proto/envelope.h"
#include "runtime/names.h"
#include "transports/hello.h"
#include "transports/link_records.h"

static const char head[] =
	"<!-- Made by `make docs` (test/tools/protocol_doc.c) from proto/contract/*.def, proto/envelope.h,\n"
	"     proto/authority.c, runtime/failures.def, transports/hello.h, transports/link_records.h and\n"
	"     transports/limits.def: do not edit. -->\n"
	"# Protocol\n\n"
	"What goes over a link between two nodes, and between `qmt` and its node (the same, over a local socket). From\n"
	"the outside in: a **connection** is ZMTP over TCP or a local socket, encrypted by CURVE; on it first **HELLO**\n"
	"proves who is at either end; then **frames** carry **envelopes**, and an envelope carries the **record** of "
	"a message.\n\n"
	"Everything may grow: keys, elements at the end of an envelope, messages and control numbers that a reader does\n"
	"not know are skipped or answered with an error. Nothing is ever removed or given another meaning.\n\n"
	"## Connection\n\n"
	"Every listener uses one CURVE key pair that is published in the source: CURVE gives encryption, forward\n"
	"secrecy and proof of the dialer's own CURVE key, fresh for each connection. It says nothing of the node:\n"
	"HELLO does. One connection is one HELLO and one link; nothing is sent again after a cut.\n";

static const char hello_head[] =
	"\n## HELLO\n\n"
	"A frame is one byte, the step, and a record. Before HELLO has ended nothing else is taken.\n\n"
	"| step | from | record |\n|---|---|---|\n"
	"| %d | dialer | hello_offer |\n| %d | listener | hello_proof |\n| %d | dialer | hello_claim |\n| %d | "
	"listener | hello_welcome |\n"
	"| %d | either | hello_refusal; the last frame |\n\n"
	"- `sig_L` signs `qmt-L`, the versions, the dialer's CURVE key *as the listener's socket reports it*, and both\n"
	"  nonces. A man in the middle must dial on with a CURVE key of his own: then `sig_L` names that key, and the\n"
	"  dialer refuses.\n"
	"- `sig_D` signs `qmt-D`, the versions, the listener's PeerId, the dialer's own CURVE key and both nonces.\n"
	"- Versions are five unsigned 32-bit big-endian numbers: the dialer's lowest and highest, the listener's, the\n"
	"  chosen one. This version of qmt speaks %d to %d.\n"
	"- A scope is offered as HMAC-SHA256 (key: scope id) of `qmt-scope-D` and both nonces, and answered with\n"
	"  `qmt-scope-L`: neither side learns of a scope that it does not have itself.\n"
	"- A PeerId is the 38 bytes `00 24 08 01 12 20` and an ed25519 key; as text base58btc of them, 52 characters.\n"
	"- An address that ends in `/p2p/PEERID` must be answered by that PeerId. Without it the PeerId is pinned under\n"
	"  the peer's configured name at first contact, and a change is refused until `qmt peers forget NAME`.\n";

static const char envelope_head[] =
	"\n## Frames and envelopes\n\n"
	"A frame is one byte, the version (%d), and one or more envelopes back to back. An envelope is a msgpack "
	"array of at least 8:\n\n"
	"| element | form | meaning |\n|---|---|---|\n"
	"| kind | uint | see below |\n"
	"| id | uint | of an ask, and of what answers it |\n"
	"| to | uint, str or nil | number of an actor that the receiver exported, or name of one (at most %d bytes); "
	"replies: nil |\n"
	"| type | uint or [uint, str] | the first use on a link, in each direction, gives `module.message` (at most "
	"%d bytes) its number |\n"
	"| deadline_ms | uint | asks: time left |\n"
	"| scope | uint | number of a scope that both share, as agreed in HELLO |\n"
	"| trace | uint | 0: none |\n"
	"| body | map or nil | the message's record |\n\n"
	"| kind | number | meaning |\n|---|---|---|\n";

static const char record_head[] =
	"\n## Records\n\n"
	"A record is a msgpack map from small unsigned keys to values. A field that is zero, false, empty or unset is\n"
	"left out. A known key comes at most once; unknown keys are skipped with their values. Anything else that does\n"
	"not fit is refused as a whole, with the name of the field.\n\n"
	"| kind | msgpack | meaning |\n|---|---|---|\n"
	"| BOOL | true, false | |\n"
	"| U32, U64, I64 | integer of any width that fits | |\n"
	"| F64 | float 64; float 32 and integers are read too | |\n"
	"| STR | str | UTF-8 |\n"
	"| BYTES | bin | |\n"
	"| REF | uint | an actor of the sender, by the number under which the sender exports it on this link |\n"
	"| record | map | embedded |\n"
	"| list of record | array of maps | |\n"
	"| STRS | array of str | |\n\n"
	"Limits: at most %d levels deep, also of what is skipped; the variable parts of a record of n bytes may need at\n"
	"most %d + %d n bytes when decoded (a list of empty maps costs one byte an item), and at most n + %d; %d\n"
	"fields.\n";

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static const char *const kind_names[] = {[QMT_KIND_BOOL] = "BOOL",
	[QMT_KIND_U32] = "U32",
	[QMT_KIND_U64] = "U64",
	[QMT_KIND_I64] = "I64",
	[QMT_KIND_F64] = "F64",
	[QMT_KIND_STR] = "STR",
	[QMT_KIND_BYTES] = "BYTES",
	[QMT_KIND_REF] = "REF",
	[QMT_KIND_STRS] = "STRS"};

/* A cell of a table: a bar would end it. */
static void cell(const char *text)
{
	for (; *text; text++)
		printf(*text == '|' ? "\\|" : "%c", *text);
}

static void print_fields(const struct qmt_record *record)
{
	if (record->fields->kind == QMT_KIND_END) {
		printf("No fields.\n");
		return;
	}
	printf("| key | field | kind | meaning |\n|---|---|---|---|\n");
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		printf("| %u | %s | ", field->key, field->name);
		if (field->kind == QMT_KIND_LIST)
			printf("list of %s", field->record->name);
		else
			printf("%s", field->record ? field->record->name : kind_names[field->kind]);
		printf(" | ");
		cell(field->doc);
		printf(" |\n");
	}
}

static void print_record(const struct qmt_record *record)
{
	printf("\n### %s\n\n%s\n\n", record->name, record->doc);
	print_fields(record);
}

/* Shared records, each once, those first that others hold. */
struct seen {
	const struct qmt_record *records[256];
	size_t count;
};

static void print_parts(struct seen *seen, const struct qmt_record *record)
{
	for (const struct qmt_field *field = record->fields; field->kind != QMT_KIND_END; field++) {
		bool known = !field->record;

		for (size_t i = 0; i < seen->count && !known; i++)
			known = seen->records[i] == field->record;
		if (known || seen->count == sizeof seen->records / sizeof *seen->records)
			continue;
		seen->records[seen->count++] = field->record;
		print_parts(seen, field->record);
		print_record(field->record);
	}
}

static void print_hello(void)
{
	static const struct qmt_record *const records[] = {
		&hello_offer_record, &hello_proof_record, &hello_claim_record, &hello_welcome_record, &hello_refusal_record};

	printf(hello_head, HELLO_STEP_OFFER, HELLO_STEP_PROOF, HELLO_STEP_CLAIM, HELLO_STEP_WELCOME, HELLO_STEP_REFUSAL,
		HELLO_VERSION_MIN, HELLO_VERSION_MAX);
	for (size_t i = 0; i < sizeof records / sizeof *records; i++)
		print_record(records[i]);
}

static void print_envelope(void)
{
	printf(envelope_head, ENVELOPE_VERSION, ENVELOPE_NAME, ENVELOPE_TYPE);
#define KIND(name, number, doc) printf("| %s | %d | %s |\n", #name, number, doc);
	ENVELOPE_KIND_LIST(KIND)
#undef KIND
}

static void print_control(void)
{
	static const struct {
		const char *name;
		enum link_control number;
		const struct qmt_record *body;
		const char *doc;
	} rows[] = {
		{"PING", LINK_PING, &link_stamp_record, "Answered at once with the same stamp in a PONG."},
		{"PONG", LINK_PONG, &link_stamp_record, "Answer to PING."},
		{"USE", LINK_USE, &link_number_record,
			"From the smaller PeerId: of several links between us, this one; the highest number holds."},
		{"BYE", LINK_BYE, NULL, "This side sends nothing new to names here; all that went before is in front of it."},
		{"BYE_ACK", LINK_BYE_ACK, NULL, "What was in front of your BYE has been handed on."},
		{"FIN", LINK_FIN, NULL, "This side has nothing under way any more; its last envelope."},
		{"DROP", LINK_DROP, &link_number_record, "That export is gone: its actor has ended."},
		{"PIECE", LINK_PIECE, &link_piece_record, "The next piece of one long envelope; id numbers the transfer."},
		{"CUT", LINK_CUT, &link_error_record, "This side ends the connection, and why."},
		{"BOND", LINK_BOND, &link_bond_record,
			"An actor of this side is linked with one of yours. Only to whom `features` in HELLO says so."},
		{"BOND_OVER", LINK_BOND_OVER, &link_bond_over_record,
			"One of them has ended, undone it, or was not to be linked."},
		{"KNOWN", LINK_KNOWN, NULL, "This side's configuration names you, so it takes qmt_names.sync from you."},
	};
	static const struct qmt_record *const bodies[] = {
		&link_stamp_record, &link_number_record, &link_piece_record, &link_error_record, &link_bond_record,
		&link_bond_over_record};

	printf("\n## Control\n\nEnvelopes of kind CONTROL are the link's own. An envelope of kind ERROR has a link_error "
		   "as its body.\n\n"
		   "| name | type | body | meaning |\n|---|---|---|---|\n");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		printf("| %s | %d | %s | %s |\n", rows[i].name, (int)rows[i].number, rows[i].body ? rows[i].body->name : "nil",
			rows[i].doc);
	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
		print_record(bodies[i]);
}

/* The contracts, and what a ready-made actor of the runtime says over links. */
static const struct qmt_protocol *const documented[] = {&node_protocol, &provider_protocol, &session_protocol,
	&store_protocol, &router_protocol, &peers_protocol, &metrics_protocol, &qmt_names_protocol, NULL};

static void print_authority(void)
{
	printf("\n## Who may send what\n\nEach message names an operation; docs/security.md has the table of operations "
		   "and roles. A field called `origin` is set\nby the receiver's link, whatever the sender wrote.\n");
}

static void print_failures(void)
{
	printf("\n## Failures\n\n`fail` of an ERROR, and of messages that tell of one.\n\n| number | text | meaning "
		   "|\n|---|---|---|\n");
#define QMT_FAILURE(name, number, text, doc) printf("| %d | %s | %s |\n", number, text, doc);
#include "runtime/failures.def"
#undef QMT_FAILURE
	printf("\nClasses of provider errors (`kind`):\n\n| class | worth a retry | meaning |\n|---|---|---|\n");
#define ERROR_ROW(name, retry, doc) printf("| %s | %s | %s |\n", #name, retry ? "yes" : "no", doc);
	PROVIDER_ERRORS(ERROR_ROW)
#undef ERROR_ROW
}

static void print_limits(void)
{
	printf("\n## Limits of a link\n\n| parameter | default | from | to | meaning |\n|---|---|---|---|---|\n");
#define LIMIT(name, dflt, least, most, doc) \
	printf("| %s | %llu | %llu | %llu | %s |\n", #name, dflt##ull, least##ull, most##ull, doc);
#include "transports/limits.def"
#undef LIMIT
}

static void print_metrics(void)
{
	printf(
		"\n## Metrics\n\nWhat `node.metrics` is answered with, and `qmt metrics` prints. A counter grows from 0 at the "
		"node's start\n(or that of the actor that keeps it, when it failed and was restarted); a gauge is as it is "
		"now. The label says of\nwhich peer (by the name that `qmt peers` shows; peers that share one are counted "
		"together), provider or outcome.\n\n"
		"| metric | kind | unit | label | meaning |\n|---|---|---|---|---|\n");
	for (size_t i = 0; i < METRIC_COUNT; i++)
		printf("| %s | %s | %s | %s | %s |\n", metric_rows[i].name, metric_rows[i].kind, metric_rows[i].unit,
			metric_rows[i].label, metric_rows[i].doc);
}

static void print_messages(void)
{
	struct seen seen = {.count = 0};

	printf("\n## Shared records\n");
	for (const struct qmt_protocol *const *protocol = documented; *protocol; protocol++) {
		for (uint32_t i = 0; i < (*protocol)->count; i++)
			print_parts(&seen, &(*protocol)->types[i]->record);
	}
	for (const struct qmt_protocol *const *protocol = documented; *protocol; protocol++) {
		printf("\n## Messages: %s\n\n%s\n", (*protocol)->name, (*protocol)->doc);
		for (uint32_t i = 0; i < (*protocol)->count; i++) {
			const struct qmt_type *type = (*protocol)->types[i];

			printf("\n### %s\n\n%s Operation: `%s`.", type->record.name, type->record.doc, type->access);
			if (type->answer)
				printf(" Answered with `%s`.", type->answer->record.name);
			printf("\n\n");
			print_fields(&type->record);
		}
	}
}

int main(void)
{
	fputs(head, stdout);
	print_hello();
	print_envelope();
	print_control();
	printf(record_head, CODEC_DEPTH, CODEC_EXTRA_BASE, CODEC_EXTRA_FACTOR, CODEC_EXTRA_MAX, CODEC_FIELDS);
	print_authority();
	print_failures();
	print_limits();
	print_metrics();
	print_messages();
	return fflush(stdout) != 0 || ferror(stdout);
}
