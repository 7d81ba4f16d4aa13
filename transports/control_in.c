/* transports/control_in.c - a control client: refs, and what comes in from the node. */
#include <errno.h>

#include "proto/codec.h"
#include "runtime/port.h"
#include "transports/control_internal.h"
#include "transports/link_records.h"

/* ---- refs -------------------------------------------------------------------------------------------------------- */

/* Refs here are numbers in disguise: `actor` only says whose. gen 0: ours, given out by control_client_watch; 1: the
 * node's. */
int control_ref_out(void *arg, struct qmt_ref ref, uint64_t *ret_number)
{
	if ((void *)ref.actor != arg)
		return -EINVAL;
	*ret_number = (uint64_t)ref.rid << 1 | ref.gen;
	return 0;
}

int control_ref_in(void *arg, uint64_t number, struct qmt_ref *ret_ref)
{
	if (number >> 33 || number >> 1 == 0)
		return -EBADMSG;
	*ret_ref = (struct qmt_ref){.actor = arg, .gen = !(number & 1), .rid = (uint32_t)(number >> 1)};
	return 0;
}

struct qmt_ref control_client_watch(struct control_client *client)
{
	return (struct qmt_ref){.actor = (struct qmt_actor *)(void *)client, .rid = ++client->watches};
}

/* ---- what comes in ----------------------------------------------------------------------------------------------- */

int control_set_gone(struct control_client *client, int code, const char *why)
{
	if (!client->gone) {
		client->gone = code;
		(void)snprintf(client->why, sizeof(client->why), "%s", why);
	}
	return 1;
}

/* A message without a body is one with only empty fields. */
static struct qmt_bytes map_of(const struct envelope *env)
{
	static const uint8_t empty = 0x80;

	return env->body.len ? env->body : (struct qmt_bytes){&empty, 1};
}

static const struct qmt_type *contract_type(const char *name)
{
	for (const struct qmt_protocol *const *protocol = contract_protocols; *protocol; protocol++) {
		const struct qmt_type *type = qmt_protocol_find(*protocol, qmt_str(name));

		if (type)
			return type;
	}
	return NULL;
}

static int take_told(struct control_client *client, const struct envelope *env)
{
	struct codec_refs refs = {control_ref_out, control_ref_in, client};
	const char *why = "";
	struct type_in_row *row = type_in_row(&client->types_in, env->type, env->type_name, &why);
	const struct qmt_type *type = row ? contract_type(row->name) : NULL;
	struct told *told;

	if (!row)
		return control_set_gone(client, -EPROTO, why);
	if (!type || env->to == 0 || env->to > client->watches)
		return 0; /* not for us */
	told = calloc(1, sizeof(*told));
	if (told)
		told->event.memory = codec_decode_new(&type->record, map_of(env), &refs, NULL);
	if (!told || !told->event.memory) {
		free(told);
		return control_set_gone(client, -ENOMEM, "a message could not be read");
	}
	told->event.to = (struct qmt_ref){.actor = (struct qmt_actor *)(void *)client, .rid = env->to};
	told->event.type = type;
	told->event.body = told->event.memory;
	told->bytes = sizeof(*told) + env->body.len;
	client->told_bytes += told->bytes;
	if (client->last_told)
		client->last_told->next = told;
	else
		client->first_told = told;
	client->last_told = told;
	return client->told_bytes > CONTROL_QUEUE_BYTES
		? control_set_gone(client, -ENOBUFS, "more messages than CONTROL_QUEUE_BYTES that nobody took")
		: 0;
}

static void take_reply(struct control_client *client, const struct envelope *env)
{
	struct codec_refs refs = {control_ref_out, control_ref_in, client};
	struct control_reply *reply = client->reply;
	const char *why = "";
	struct type_in_row *row = type_in_row(&client->types_in, env->type, env->type_name, &why);
	const struct qmt_type *type = client->asked ? client->asked->answer : NULL;
	struct qmt_err err = {0};

	if (!client->reply || env->id != client->ask_id || client->answered)
		return; /* late */
	client->answered = true;
	if (!row)
		qmt_err_set(&err, -EPROTO, "%s", why);
	else if (strcmp(row->name, type->record.name) != 0)
		qmt_err_set(&err, -EPROTO, "%s was answered with %s, not with %s", client->asked->record.name, row->name,
			type->record.name);
	reply->memory = !err.code ? codec_decode_new(&type->record, map_of(env), &refs, &err) : NULL;
	if (!reply->memory) {
		reply->fail = QMT_FAIL_FAILED;
		reply->memory = qmt_str_dup(qmt_str(err.text));
		reply->text = qmt_str(reply->memory);
		return;
	}
	reply->type = type;
	reply->body = reply->memory;
}

static void take_error(struct control_client *client, const struct envelope *env)
{
	struct control_reply *reply = client->reply;
	struct link_error *error;

	if (!client->reply || env->id != client->ask_id || client->answered)
		return;
	client->answered = true;
	error = codec_decode_new(&link_error_record, env->body, NULL, NULL);
	reply->fail = error && error->fail ? (int)error->fail : QMT_FAIL_FAILED;
	reply->memory = error;
	if (error) {
		reply->kind = error->kind;
		reply->text = error->text;
		reply->retry_after_ms = error->retry_after_ms;
	}
}

static int put_control(
	struct control_client *client, enum link_control what, const struct qmt_record *record, const void *body)
{
	struct envelope env = {.kind = ENVELOPE_CONTROL, .type = what};
	struct qmt_buf *buf = outbox_control_begin(&client->outbox);

	envelope_put(buf, &env);
	if (codec_encode(record, body, NULL, buf))
		buf->failed = true;
	return outbox_control_end(&client->outbox);
}

static int take_control(struct control_client *client, const struct envelope *env)
{
	void *body;
	char why[300];
	int rc = 0;

	if (env->type == LINK_PING) {
		body = codec_decode_new(&link_stamp_record, env->body, NULL, NULL);
		if (body)
			rc = put_control(client, LINK_PONG, &link_stamp_record, body)
				? control_set_gone(client, -ENOMEM, "out of memory")
				: 0;
		free(body);
	} else if (env->type == LINK_CUT) {
		struct link_error *error = codec_decode_new(&link_error_record, env->body, NULL, NULL);

		qmt_text(why, sizeof(why), "the node ended it: %.*s", error ? (int)error->text.len : 0,
			error && error->text.p ? error->text.p : "");
		free(error);
		rc = control_set_gone(client, -EPIPE, why);
	}
	return rc;
}

int control_on_envelope(void *arg, const struct envelope *env)
{
	struct control_client *client = arg;

	switch (env->kind) {
	case ENVELOPE_TELL:
		return take_told(client, env);
	case ENVELOPE_REPLY:
		take_reply(client, env);
		return 0;
	case ENVELOPE_ERROR:
		take_error(client, env);
		return 0;
	case ENVELOPE_CONTROL:
		return take_control(client, env);
	default: /* nobody asks a client */
		return 0;
	}
}
