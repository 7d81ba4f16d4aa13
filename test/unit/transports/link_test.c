/* test/unit/transports/link_test.c - a link actor whose relay is the test: what it says to it, and in which order. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "test/lib/mesh_probe.h"
#include "test/lib/runtime_kit.h"
#include "transports/inbox.h"
#include "transports/link.h"

static const char boot[] = "01890a5d-ac96-774b-bcce-b302099a8057";
static const char *const scopes[] = {"lan:default"};

/* The relay, and the peer behind it: a client of this host, so that nobody chooses among links. */
static struct {
	struct identity ours, theirs;
	struct link_node node;
	struct link_config config;
	struct wire_relay_config wire;
	struct hello_self self;
	struct hello hello;
	struct qmt_ref link, probe;
	struct inbox inbox;
	struct kit_latch answered;
	uint32_t replies, errors;
	bool seen[1000];
	char order[64]; /* what the link said: o a frame, p proven, c cut */
	struct kit_latch said, proven;
} it = {.said = KIT_LATCH, .proven = KIT_LATCH, .answered = KIT_LATCH};

static const uint8_t key[HELLO_KEY] = {7}, nonce[HELLO_NONCE] = {9};

static void note(char what)
{
	size_t len = strlen(it.order);

	if (len + 1 < sizeof(it.order))
		it.order[len] = what;
	kit_latch_add(&it.said, 1);
}

static void frame_in(struct qmt_ctx *ctx, const struct qmt_buf *frame)
{
	kit_check(QMT_TELL(ctx, it.link, wire_frame, .data = {(const uint8_t *)frame->data, (uint32_t)frame->len}) == 0);
}

static int on_envelope(void *arg, const struct envelope *env)
{
	(void)arg;
	it.replies += env->kind == ENVELOPE_REPLY;
	it.errors += env->kind == ENVELOPE_ERROR;
	if (env->kind == ENVELOPE_REPLY && env->id < sizeof(it.seen))
		it.seen[env->id] = true;
	if (env->kind == ENVELOPE_REPLY || env->kind == ENVELOPE_ERROR)
		kit_latch_add(&it.answered, 1);
	return 0;
}

static void on_out(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct wire_out *msg = body;
	struct qmt_buf out = {0};
	int rc;

	(void)state;
	note('o');
	if (it.hello.state == HELLO_OVER) {
		kit_check(inbox_frame(&it.inbox, msg->data, on_envelope, NULL, NULL) == 0);
		return;
	}
	rc = hello_input(&it.hello, msg->data, &out, NULL);
	kit_check(rc >= 0);
	if (out.len)
		frame_in(ctx, &out);
	qmt_buf_free(&out);
	if (rc == HELLO_DONE)
		kit_latch_add(&it.proven, 1);
}

static void on_proven(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)state, (void)body;
	note('p');
}

static void on_cut(struct qmt_ctx *ctx, void *state, const void *body)
{
	(void)ctx, (void)state, (void)body;
	note('c');
}

static int relay_start(struct qmt_ctx *ctx, void *state, const void *config)
{
	struct qmt_buf offer = {0};

	(void)state, (void)config;
	it.wire = (struct wire_relay_config){.relay = qmt_self(ctx), .connection = 1};
	it.config = (struct link_config){.node = &it.node,
		.role = AUTHORITY_OWNER,
		.ops = &wire_relay_ops,
		.wire_config = &it.wire,
		.transport = "test",
		.address = ""};
	if (qmt_spawn(ctx, &link_desc, &(struct qmt_spawn){.config = &it.config, .restart = QMT_TEMPORARY}, &it.link, NULL))
		return -1;
	kit_check(QMT_TELL(ctx, it.link, wire_opened, .channel_key = {key, sizeof(key)}) == 0);
	kit_check(hello_dial(&it.hello, &it.self, key, nonce, NULL, &offer) == 0);
	frame_in(ctx, &offer);
	qmt_buf_free(&offer);
	return 0;
}

enum { ASKS = 80, ANSWER = 2000, ASK_ALL = 1, GIVE_CREDIT, TWICE_AND_CANCEL, LATER = 200, LAST = 999 };

static void say(struct qmt_ctx *ctx, uint64_t id, const struct probe_say *body)
{
	struct qmt_buf frame = {0};
	struct envelope env = {.kind = body ? ENVELOPE_ASK : ENVELOPE_CANCEL, .id = id};

	if (body) {
		env.to_name = qmt_str("probe");
		env.type = 1;
		env.type_name = qmt_str("probe.say");
		env.deadline_ms = 60000;
	}
	qmt_buf_append(&frame, &(uint8_t){ENVELOPE_VERSION}, 1);
	envelope_put(&frame, &env);
	if (!body)
		envelope_put_nil(&frame);
	else
		kit_check(codec_encode(&probe_say_type.record, body, NULL, &frame) == 0);
	frame_in(ctx, &frame);
	qmt_buf_free(&frame);
}

/* LATER asks that are answered after a while; the first half of them is taken back; one comes twice. */
static void twice_and_cancel(struct qmt_ctx *ctx)
{
	for (uint64_t i = 1; i <= LATER; i++)
		say(ctx, i, &(struct probe_say){.delay_ms = 50});
	say(ctx, LATER, &(struct probe_say){.n = 1});
	for (uint64_t i = 1; i <= LATER / 2; i++)
		say(ctx, i, NULL);
	say(ctx, LAST, &(struct probe_say){.delay_ms = 60});
}

static void on_poke(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct qmt_buf frame = {0};

	(void)state;
	if (((const struct kit_poke *)body)->value == TWICE_AND_CANCEL) {
		twice_and_cancel(ctx);
		kit_check(QMT_TELL(ctx, it.link, wire_credit, .frames = 10000) == 0);
		kit_answer(ctx, 0);
		return;
	}
	if (((const struct kit_poke *)body)->value == GIVE_CREDIT) {
		kit_check(QMT_TELL(ctx, it.link, wire_credit, .frames = 10000) == 0);
		kit_answer(ctx, 0);
		return;
	}
	for (uint32_t i = 1; i <= ASKS + 1; i++) { /* the last one is a note, to count */
		bool is_note = i > ASKS;
		struct envelope env = {.kind = is_note ? ENVELOPE_TELL : ENVELOPE_ASK,
			.id = is_note ? 0 : i,
			.to_name = qmt_str("probe"),
			.type = is_note ? 2 : 1,
			.type_name = qmt_str(is_note ? "probe.note" : "probe.say"),
			.deadline_ms = 60000};

		frame.len = 0;
		qmt_buf_append(&frame, &(uint8_t){ENVELOPE_VERSION}, 1);
		envelope_put(&frame, &env);
		if (is_note)
			envelope_put_nil(&frame);
		else
			kit_check(codec_encode(&probe_say_type.record, &(struct probe_say){.pad = ANSWER}, NULL, &frame) == 0);
		frame_in(ctx, &frame);
	}
	qmt_buf_free(&frame);
	kit_answer(ctx, 0);
}

static qmt_handler *const poke_handlers[kit_message_count] = {[kit_poke_id] = on_poke};
static qmt_handler *const relay_handlers[wire_message_count] = {
	[wire_out_id] = on_out, [wire_proven_id] = on_proven, [wire_cut_id] = on_cut};
static const struct qmt_actor_desc relay_desc = {.abi = QMT_ABI,
	.name = "relay",
	.accepts = {{&wire_protocol, relay_handlers}, {&kit_protocol, poke_handlers}},
	.start = relay_start};

static struct qmt_ref open_link(struct kit *kit, uint64_t queue_bytes)
{
	identity_generate(&it.ours);
	identity_generate(&it.theirs);
	memset(it.order, 0, sizeof(it.order));
	kit_latch_reset(&it.said);
	kit_latch_reset(&it.proven);
	it.node = (struct link_node){.identity = &it.ours, .node_name = "here", .scopes = scopes, .scope_count = 1};
	(void)snprintf(it.node.boot_id, sizeof(it.node.boot_id), "%s", boot);
	transports_limits_default(&it.node.limits);
	it.node.limits.queue_bytes = queue_bytes;
	it.node.limits.piece_bytes = 1024;
	it.node.limits.hold_ms = 0;
	inbox_init(&it.inbox, it.node.limits.body_bytes, it.node.limits.reassembly_bytes);
	it.replies = it.errors = 0;
	memset(it.seen, 0, sizeof(it.seen));
	kit_latch_reset(&it.answered);
	it.self = (struct hello_self){.identity = &it.theirs,
		.node_name = "there",
		.boot_id = boot,
		.scopes = scopes,
		.scope_count = 1,
		.body_bytes = it.node.limits.body_bytes};
	kit_start(kit, 1);
	it.probe = kit_spawn(kit, &probe_desc, &(struct qmt_spawn){.name = "probe"});
	struct qmt_ref relay = kit_spawn(kit, &relay_desc, NULL);
	kit_latch_wait(&it.proven, 1);
	return relay;
}

static void close_link(struct kit *kit)
{
	kit_stop(kit);
	hello_fini(&it.hello);
	inbox_fini(&it.inbox);
	identity_fini(&it.ours);
	identity_fini(&it.theirs);
}

/* The relay knows that the link is proven before the peer does: from then on the peer may send long frames. */
static void proven_before_welcome(void **state)
{
	struct kit kit;

	(void)state;
	(void)open_link(&kit, 1 << 20);
	kit_latch_wait(&it.said, 3);
	assert_string_equal(it.order, "opo"); /* proof, proven, welcome */
	close_link(&kit);
}

/* Answers that a peer waits for go past queue_bytes, up to twice of it: none becomes "could not be sent". */
static void answers_are_forced(void **state)
{
	struct kit kit;
	struct qmt_ref relay = open_link(&kit, 100000);
	struct qmt_result result;

	(void)state;
	assert_int_equal(kit_ask(&kit, relay, ASK_ALL, 0, NULL), 0);
	do { /* the note is behind the asks, and the credit will be behind the answers */
		assert_int_equal(qmt_outside_ask(kit.out, it.probe, &probe_total_type, &(struct probe_total){}, 0, &result), 0);
	} while (((const struct probe_totals *)result.body)->notes == 0);
	assert_int_equal(kit_ask(&kit, relay, GIVE_CREDIT, 0, NULL), 0);
	kit_latch_wait(&it.answered, ASKS);
	assert_int_equal(it.errors, 0);
	assert_int_equal(it.replies, ASKS);
	close_link(&kit);
}

/* An ask that the peer takes back is not answered; one under the id of another that is under way is refused. */
static void cancelled_and_twice(void **state)
{
	struct kit kit;
	struct qmt_ref relay = open_link(&kit, 1 << 20);

	(void)state;
	assert_int_equal(kit_ask(&kit, relay, TWICE_AND_CANCEL, 0, NULL), 0);
	kit_latch_wait(&it.answered, 2 + LATER - LATER / 2);
	assert_int_equal(it.errors, 1);
	assert_int_equal(it.replies, 1 + LATER - LATER / 2);
	for (uint32_t i = 0; i < LATER; i++)
		assert_int_equal(it.seen[i + 1], i >= LATER / 2);
	close_link(&kit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(proven_before_welcome),
		cmocka_unit_test(answers_are_forced),
		cmocka_unit_test(cancelled_and_twice),
	};

	assert(identity_crypto_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
