/* test/unit/transports/hello_test.c - the HELLO gate, without any connection. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/codec.h"
#include "transports/hello.h"

static struct identity alice, bob, eve;
static const struct qmt_str capabilities[] = {{"shell", 5}, {"llm", 3}};
static const char *const one_scope[] = {"lan:default"};
static const char *const other_scope[] = {"secret"};
static const char *const scopes_a[] = {"x", "lan:default", "y"};
static const char *const scopes_b[] = {"y", "z", "lan:default"};

static struct hello_self self_of(const struct identity *identity, const char *name)
{
	return (struct hello_self){
		.identity = identity,
		.node_name = name,
		.boot_id = "01890a5d-ac96-774b-bcce-b302099a8057",
		.attempt = 7,
		.capabilities = capabilities,
		.capability_count = 2,
		.scopes = one_scope,
		.scope_count = 1,
		.body_bytes = 1000,
	};
}

/* One HELLO between two sides that a test may spoil on its way. */
struct run {
	struct hello_self self_d, self_l;
	struct hello dialer, listener;
	uint8_t key_d[32], key_l[32], nonce_d[32], nonce_l[32];
	const struct peer_id *expected;
	int rc_d, rc_l;
	struct qmt_err err_d, err_l;
	/* changes the frame with this number (0, 1, 2, 3) before it arrives */
	int spoil_frame;
	void (*spoil)(struct qmt_buf *frame);
};

static void run_init(struct run *run)
{
	*run = (struct run){.self_d = self_of(&alice, "alice"), .self_l = self_of(&bob, "bob"), .spoil_frame = -1};
	memset(run->key_d, 1, 32);
	memset(run->key_l, 1, 32);
	memset(run->nonce_d, 2, 32);
	memset(run->nonce_l, 3, 32);
}

static void run_hello(struct run *run)
{
	struct qmt_buf frame = {0}, out = {0};
	int number = 0;

	hello_listen(&run->listener, &run->self_l, run->key_l, run->nonce_l);
	assert_int_equal(hello_dial(&run->dialer, &run->self_d, run->key_d, run->nonce_d, run->expected, &frame), 0);
	run->rc_d = run->rc_l = HELLO_MORE;
	for (bool to_listener = true; frame.len; to_listener = !to_listener, number++) {
		int *rc = to_listener ? &run->rc_l : &run->rc_d;

		if (number == run->spoil_frame)
			run->spoil(&frame);
		out.len = 0;
		*rc = hello_input(to_listener ? &run->listener : &run->dialer,
			(struct qmt_bytes){(uint8_t *)frame.data, (uint32_t)frame.len}, &out,
			to_listener ? &run->err_l : &run->err_d);
		frame.len = 0;
		qmt_buf_append(&frame, out.data, out.len);
		if (out.len == 0)
			break;
	}
	qmt_buf_free(&frame);
	qmt_buf_free(&out);
}

static void run_fini(struct run *run)
{
	hello_fini(&run->dialer);
	hello_fini(&run->listener);
}

/* Four frames, and each side knows who the other is and what it says of itself. */
static void both_learn(void **state)
{
	struct run run;
	const struct hello_peer *peer;

	(void)state;
	run_init(&run);
	run.expected = &bob.id;
	run_hello(&run);
	assert_int_equal(run.rc_d, HELLO_DONE);
	assert_int_equal(run.rc_l, HELLO_DONE);
	peer = &run.dialer.peer;
	assert_int_equal(peer_id_compare(&peer->id, &bob.id), 0);
	assert_true(qmt_str_is(peer->node_name, "bob"));
	assert_int_equal(peer->version, 1);
	assert_int_equal(peer->body_bytes, 1000);
	peer = &run.listener.peer;
	assert_int_equal(peer_id_compare(&peer->id, &alice.id), 0);
	assert_true(qmt_str_is(peer->node_name, "alice"));
	assert_int_equal(peer->attempt, 7);
	assert_int_equal(peer->capability_count, 2);
	assert_true(qmt_str_is(peer->capabilities[1], "llm"));
	assert_int_equal(peer->scope_count, 1);
	run_fini(&run);
}

/* A key that the channel reports differs from the dialer's own: somebody relays. The dialer refuses, and says so to
 * the other side. */
static void middle_is_noticed(void **state)
{
	struct run run;

	(void)state;
	run_init(&run);
	run.key_l[5] ^= 1;
	run_hello(&run);
	assert_int_equal(run.rc_d, -EKEYREJECTED);
	assert_int_equal(run.rc_l, -ECONNREFUSED);
	assert_non_null(strstr(run.err_l.text, "in the middle"));
	run_fini(&run);
}

/* Another PeerId than expected, this node's own, and no common scope are refused, each under its own code. */
static void refuses_the_wrong_one(void **state)
{
	struct run run;

	(void)state;
	run_init(&run);
	run.expected = &eve.id;
	run_hello(&run);
	assert_int_equal(run.rc_d, -EACCES);
	assert_int_equal(run.listener.peer.node_name.len, 0); /* the dialer had not said yet who it is */
	run_fini(&run);

	run_init(&run);
	run.self_l.identity = &alice;
	run.self_l.boot_id = "01890a5d-ac96-774b-bcce-b302099a8099";
	run_hello(&run);
	assert_int_equal(run.rc_d, -ELOOP);
	assert_int_equal(run.rc_l, -ELOOP);
	run_fini(&run);

	run_init(&run); /* itself, and no other node with its key */
	run.self_l.identity = &alice;
	run.self_l.boot_id = run.self_d.boot_id;
	run_hello(&run);
	assert_int_equal(run.rc_d, -EALREADY);
	assert_int_equal(run.rc_l, -EALREADY);
	run_fini(&run);

	run_init(&run);
	run.self_l.scopes = other_scope;
	run_hello(&run);
	assert_int_equal(run.rc_l, -ENOLINK);
	assert_int_equal(run.rc_d, -ECONNREFUSED);
	run_fini(&run);
}

/* Scopes that both have get numbers in the order of the offer, the same at both ends; others stay unknown. */
static void scopes_are_numbered(void **state)
{
	struct run run;

	(void)state;
	run_init(&run);
	run.self_d.scopes = scopes_a;
	run.self_l.scopes = scopes_b;
	run.self_d.scope_count = run.self_l.scope_count = 3;
	run_hello(&run);
	assert_int_equal(run.rc_d, HELLO_DONE);
	assert_int_equal(run.dialer.peer.scope_count, 2);
	assert_int_equal(run.listener.peer.scope_count, 2);
	for (int i = 0; i < 2; i++)
		assert_string_equal(scopes_a[run.dialer.peer.scopes[i]], scopes_b[run.listener.peer.scopes[i]]);
	assert_string_equal(scopes_a[run.dialer.peer.scopes[0]], "lan:default");
	run_fini(&run);
}

static size_t flip_at;
static void flip(struct qmt_buf *frame)
{
	frame->data[flip_at % frame->len] ^= 0x10;
}

static void cut(struct qmt_buf *frame)
{
	frame->len = flip_at < frame->len ? flip_at : frame->len - 1;
	if (frame->len == 0)
		frame->len = 1;
}

/* Whatever single byte is changed, wherever a frame is cut: nobody crashes, and no claim or proof that was changed is
 * accepted (names in it are not signed; the channel protects those). */
static void survives_damage(void **state)
{
	(void)state;
	for (int frame = 0; frame < 4; frame++) {
		for (flip_at = 0; flip_at < 300; flip_at++) {
			struct run run;

			run_init(&run);
			run.spoil_frame = frame;
			run.spoil = flip_at % 2 ? flip : cut;
			run_hello(&run);
			if (run.rc_d == HELLO_DONE && run.rc_l == HELLO_DONE) {
				assert_int_equal(peer_id_compare(&run.dialer.peer.id, &bob.id), 0);
				assert_int_equal(peer_id_compare(&run.listener.peer.id, &alice.id), 0);
				assert_int_not_equal(frame, 1);
			}
			run_fini(&run);
		}
	}
}

/* The frame with the claim of somebody else, or with another's signature, does not pass. */
static void foreign_signature(void **state)
{
	struct run mine, other;
	struct qmt_buf out = {0}, claim = {0};
	struct qmt_err err = {0};

	(void)state;
	/* eve listens, gets alice's claim for her own HELLO, and shows it to bob */
	run_init(&other);
	other.self_l.identity = &eve;
	hello_listen(&other.listener, &other.self_l, other.key_l, other.nonce_l);
	assert_int_equal(hello_dial(&other.dialer, &other.self_d, other.key_d, other.nonce_d, NULL, &out), 0);
	assert_int_equal(
		hello_input(&other.listener, (struct qmt_bytes){(uint8_t *)out.data, (uint32_t)out.len}, &claim, &err),
		HELLO_MORE);
	out.len = 0;
	assert_int_equal(
		hello_input(&other.dialer, (struct qmt_bytes){(uint8_t *)claim.data, (uint32_t)claim.len}, &out, &err),
		HELLO_MORE);
	run_init(&mine);
	hello_listen(&mine.listener, &mine.self_l, mine.key_l, mine.nonce_l);
	claim.len = 0;
	assert_int_equal(hello_dial(&mine.dialer, &mine.self_d, mine.key_d, mine.nonce_d, NULL, &claim), 0);
	struct qmt_buf proof = {0};
	assert_int_equal(
		hello_input(&mine.listener, (struct qmt_bytes){(uint8_t *)claim.data, (uint32_t)claim.len}, &proof, &err),
		HELLO_MORE);
	proof.len = 0;
	assert_int_equal(
		hello_input(&mine.listener, (struct qmt_bytes){(uint8_t *)out.data, (uint32_t)out.len}, &proof, &err),
		-EKEYREJECTED);
	qmt_buf_free(&out);
	qmt_buf_free(&claim);
	qmt_buf_free(&proof);
	run_fini(&mine);
	run_fini(&other);
}

/* The bytes that sig_D covers, written down once more: they are the protocol. */
static void claim_by_hand(const struct run *run, const struct identity *who, struct qmt_buf *ret_frame)
{
	static const uint8_t versions[20] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1};
	uint8_t text[5 + 20 + 32 * 4], signature[IDENTITY_SIGNATURE], id[PEER_ID_BYTES];
	struct hello_claim claim = {.node = qmt_str("x"), .boot = qmt_str("01890a5d-ac96-774b-bcce-b302099a8058")};

	memcpy(text, "qmt-D", 5);
	memcpy(text + 5, versions, 20);
	memcpy(text + 25, run->self_l.identity->id.key, 32);
	memcpy(text + 57, run->key_l, 32);
	memcpy(text + 89, run->nonce_d, 32);
	memcpy(text + 121, run->nonce_l, 32);
	identity_sign(who, text, sizeof(text), signature);
	peer_id_bytes(&who->id, id);
	claim.peer = (struct qmt_bytes){id, sizeof(id)};
	claim.signature = (struct qmt_bytes){signature, sizeof(signature)};
	qmt_buf_append(ret_frame, "\3", 1);
	assert_int_equal(codec_encode(&hello_claim_record, &claim, NULL, ret_frame), 0);
}

/* A dialer that proves to be the listener itself (its identity was copied) is refused by the listener too; one that
 * proves
 * to be somebody and offers no scope is refused for that. */
static void claims_by_hand(void **state)
{
	const struct identity *who[] = {&bob, &eve};
	const int expected[] = {-ELOOP, -ENOLINK};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct run run;
		struct qmt_buf frame = {0}, out = {0};
		struct qmt_err err = {0};

		run_init(&run);
		hello_listen(&run.listener, &run.self_l, run.key_l, run.nonce_l);
		assert_int_equal(hello_dial(&run.dialer, &run.self_d, run.key_d, run.nonce_d, NULL, &frame), 0);
		assert_int_equal(
			hello_input(&run.listener, (struct qmt_bytes){(uint8_t *)frame.data, (uint32_t)frame.len}, &out, &err), 1);
		frame.len = 0;
		claim_by_hand(&run, who[i], &frame);
		assert_int_equal(
			hello_input(&run.listener, (struct qmt_bytes){(uint8_t *)frame.data, (uint32_t)frame.len}, &out, &err),
			expected[i]);
		qmt_buf_free(&frame);
		qmt_buf_free(&out);
		run_fini(&run);
	}
}

/* Versions that do not overlap are refused with both ranges; names that are too long or unprintable are refused. */
static void versions_and_names(void **state)
{
	static const struct hello_offer offers[] = {
		{.min = 2, .max = 9}, {.min = 0, .max = 0}, {.min = 1, .max = 9}, {.min = 5, .max = 1}};
	static const int expected[] = {-EPROTONOSUPPORT, -EPROTONOSUPPORT, HELLO_MORE, -EPROTONOSUPPORT};
	static const char *const names[] = {"a\nb",
		"0123456789012345678901234567890123456789012345678901234567890123456789",
		"a\xc2\x9b"
		"31m",
		"a\xe2\x80\xae"
		"b"};
	struct qmt_err err = {0};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct run run;
		struct hello_offer offer = offers[i];
		struct qmt_buf frame = {0}, out = {0};

		run_init(&run);
		offer.nonce = (struct qmt_bytes){run.nonce_d, 32};
		qmt_buf_append(&frame, "\1", 1);
		assert_int_equal(codec_encode(&hello_offer_record, &offer, NULL, &frame), 0);
		hello_listen(&run.listener, &run.self_l, run.key_l, run.nonce_l);
		assert_int_equal(
			hello_input(&run.listener, (struct qmt_bytes){(uint8_t *)frame.data, (uint32_t)frame.len}, &out, &err),
			expected[i]);
		qmt_buf_free(&frame);
		qmt_buf_free(&out);
		hello_fini(&run.listener);
	}
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct run run;

		run_init(&run);
		run.self_d.node_name = names[i];
		run_hello(&run);
		assert_int_equal(run.rc_l, -EBADMSG);
		run_fini(&run);
	}
}

/* Frames out of turn, after the end, and empty ones are refused. */
static void out_of_turn(void **state)
{
	struct run run;
	struct qmt_buf out = {0};
	struct qmt_err err = {0};
	uint8_t claim[] = {3, 0x80};

	(void)state;
	run_init(&run);
	hello_listen(&run.listener, &run.self_l, run.key_l, run.nonce_l);
	assert_int_equal(hello_input(&run.listener, (struct qmt_bytes){claim, 2}, &out, &err), -EBADMSG);
	assert_int_equal(
		hello_input(&run.listener, (struct qmt_bytes){claim, 2}, &out, &err), -EBADMSG); /* refused stays refused */
	hello_fini(&run.listener);
	run_init(&run);
	run_hello(&run);
	assert_int_equal(hello_input(&run.listener, (struct qmt_bytes){claim, 2}, &out, &err), -EBADMSG);
	assert_int_equal(hello_input(&run.dialer, (struct qmt_bytes){claim, 0}, &out, &err), -EBADMSG);
	run_fini(&run);
	qmt_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_learn),
		cmocka_unit_test(middle_is_noticed),
		cmocka_unit_test(refuses_the_wrong_one),
		cmocka_unit_test(scopes_are_numbered),
		cmocka_unit_test(survives_damage),
		cmocka_unit_test(foreign_signature),
		cmocka_unit_test(claims_by_hand),
		cmocka_unit_test(versions_and_names),
		cmocka_unit_test(out_of_turn),
	};

	if (identity_crypto_init())
		return 1;
	identity_generate(&alice);
	identity_generate(&bob);
	identity_generate(&eve);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
