/* cmd/lab/peer_limits.c - a proven peer that wants more than a peer may have: parameters of the owner, and more
 * requests than a minute has. */
#include "cmd/lab/peer.h"
#include "proto/codec.h"
#include "proto/contract/contract.h"
#include "transports/link_records.h"

enum { ROOM = 1 << 20, REQUESTS = 100000 };

/* Asks and waits. 0: a reply; 1: refused, *ret_kind and err say how; <0: neither. */
static int ask(struct peer *peer, struct hostile *link, uint64_t id, const char *name, const struct qmt_type *type,
	const void *body, char ret_kind[40], struct qmt_err *err)
{
	uint8_t *room = malloc(ROOM);
	struct link_error *error = NULL;
	struct envelope env;
	int rc = room ? peer_ask(peer, link, id, name, 0, type->record.name, body ? &type->record : NULL, body) : -1;

	if (!rc)
		rc = peer_answer(peer, link, id, room, ROOM, &env, err) ? -1 : 0;
	if (!rc && env.kind == ENVELOPE_ERROR) {
		error = codec_decode_new(&link_error_record, env.body, NULL, err);
		rc = error ? 1 : -1;
	}
	if (error) {
		qmt_text(ret_kind, 40, "%.*s", QMT_STR_ARG(error->kind));
		(void)qmt_err_set(err, 1, "%.*s", QMT_STR_ARG(error->text));
	}
	free(error);
	free(room);
	return rc;
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

static int try_parameters(struct peer *peer, struct hostile *link)
{
	static const struct {
		const char *model, *parameters, *named;
	} tries[] = {
		{"builtin", "{\"base_url\":\"http://127.0.0.1:1/v1\"}", "parameters.base_url"},
		{"builtin", "{\"temperature\":1,\"api_base\":\"http://127.0.0.1:1\"}", "parameters.api_base"},
		{"builtin", "{\"api_key\":\"x\"}", "parameters.api_key"},
		{"builtin", "{\"extra_headers\":{\"a\":\"b\"}}", "parameters.extra_headers"},
		{"builtin", "{\"proxy\":\"http://127.0.0.1:1\"}", "parameters.proxy"},
		{"builtin", "{\"slot_save_path\":\"/etc\"}", "parameters.slot_save_path"},
		{"builtin", "{\"\":1}", "parameters.:"},
		{"/etc/passwd", "", "model"},
		{"../secret.gguf", "", "model"},
		{"http://127.0.0.1:1/m", "", "model"},
	};
	struct chat_message message = {.role = qmt_str("user"), .content = qmt_str("hello")};
	struct provider_complete complete = {.request = qmt_str("r"), .messages = {&message, 1}};
	uint64_t id = 0;
	char kind[40];

	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		struct qmt_err err = {0};

		complete.model = qmt_str(tries[i].model);
		complete.parameters = qmt_str(tries[i].parameters);
		if (ask(peer, link, ++id, "provider/llm", &provider_complete_type, &complete, kind, &err) != 1 ||
			!strstr(err.text, tries[i].named)) {
			peer_say("let: %s %s: %s", tries[i].model, tries[i].parameters, err.text);
			return PEER_LET;
		}
		peer_say("refused: %s", err.text);
	}
	complete.model = qmt_str("builtin");
	complete.parameters = qmt_str("{\"temperature\":0.5,\"seed\":1}");
	struct qmt_err err = {0};
	if (ask(peer, link, ++id, "provider/llm", &provider_complete_type, &complete, kind, &err) != 0) {
		peer_say("failed: what a peer may set is refused: %s", err.text);
		return PEER_LET;
	}
	return PEER_HELD;
}

int peer_mode_parameters(struct peer *peer)
{
	struct hostile link = {0};
	struct qmt_err err = {0};
	int verdict = PEER_LET;

	if (peer_link_open(peer, &link, 0, &err))
		peer_say("failed: no link: %s", err.text);
	else
		verdict = try_parameters(peer, &link);
	hostile_hang_up(&link);
	return verdict;
}

/* ---- requests a minute ------------------------------------------------------------------------------------------- */

/* Asks until it is refused. How often it was answered; <0: something else happened. */
static int ask_much(struct peer *peer, struct hostile *link)
{
	struct qmt_err err = {0};
	char kind[40] = "";
	int rc = 0, answered = 0;

	while (!rc && answered < REQUESTS) {
		rc = ask(peer, link, (uint64_t)answered + 1, "node_manager", &node_info_type, NULL, kind, &err);
		answered += !rc;
	}
	peer_say("%d answered, then: %s", answered, rc ? err.text : "never refused");
	return rc == 1 && strcmp(kind, "rate_limited") == 0 ? answered : -1;
}

int peer_mode_requests(struct peer *peer)
{
	struct hostile first = {0}, second = {0};
	struct qmt_err err = {0};
	int answered = peer_link_open(peer, &first, 0, &err) ? -1 : ask_much(peer, &first), again = -1;

	second.identity = first.identity;
	hostile_hang_up(&first);
	if (answered > 0) {
		peer_next_step(peer);
		if (peer_link_open(peer, &second, HOSTILE_KNOWN, &err) == 0)
			again = ask_much(peer, &second);
		hostile_hang_up(&second);
	}
	if (err.text[0])
		peer_say("failed: no link: %s", err.text);
	if (answered <= 0 || again < 0)
		return PEER_LET;
	peer_say(again < answered ? "refused: a new connection gives no more" : "let: a new connection begins anew");
	return again < answered ? PEER_HELD : PEER_LET;
}
