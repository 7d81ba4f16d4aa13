/* Each refusal is in the audit once: under the PeerId that was refused, or, when there are too many of them, under
 * nobody; never under another's. What the store did not take is told later. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "runtime/system.h"
#include "transports/peers_internal.h"

/* The actor has the state of peers and refuses whom it is told to. */
#define REFUSER_REFUSE(F, T) F(T, U32, who, 1, "Number of the peer.")
#define REFUSER_MESSAGES(M) M(refuser, refuse, REFUSER_REFUSE, "local", "A peer is refused.")
QMT_DECLARE_PROTOCOL(refuser, REFUSER_MESSAGES)
QMT_DEFINE_PROTOCOL(refuser, REFUSER_MESSAGES, "Of this test.")

static struct peer_id peer(uint32_t n)
{
	uint8_t bytes[PEER_ID_BYTES] = {0x00, 0x24, 0x08, 0x01, 0x12, 0x20};
	struct peer_id id;

	memcpy(bytes + 6, &n, sizeof(n));
	assert_int_equal(peer_id_from_bytes((struct qmt_bytes){bytes, sizeof(bytes)}, &id, NULL), 0);
	return id;
}

static void on_refuse(struct qmt_ctx *ctx, void *state, const void *body)
{
	struct peer_id id = peer(((const struct refuser_refuse *)body)->who);

	peers_audit_refused(ctx, state, &id, "", "no", "there");
}
static qmt_handler *const refuser_handlers[refuser_message_count] = {[refuser_refuse_id] = on_refuse};
static const struct qmt_actor_desc refuser_desc = {.abi = QMT_ABI,
	.name = "refuser",
	.state_size = sizeof(struct peers),
	.accepts = {{&refuser_protocol, refuser_handlers}}};

/* ---- a store that counts ----------------------------------------------------------------------------------------- */

enum { PEERS = 80 };

static uint64_t counted[PEERS + 1]; /* by number; the last one is nobody */

static void on_audit_add(struct qmt_ctx *ctx, void *state, const void *body)
{
	const struct store_audit *row = &((const struct store_audit_add *)body)->row;
	char text[PEER_ID_TEXT + 1];

	(void)ctx, (void)state;
	if (row->peer_id.len == 0) {
		counted[PEERS] += row->count;
		return;
	}
	for (uint32_t i = 0; i < PEERS; i++) {
		struct peer_id id = peer(i);

		peer_id_text(&id, text);
		if (qmt_str_is(row->peer_id, text)) {
			counted[i] += row->count;
			return;
		}
	}
	fail_msg("a row of an unknown peer");
}
static qmt_handler *const store_handlers[store_message_count] = {[store_audit_add_id] = on_audit_add};
static const struct qmt_actor_desc counting_desc = {
	.abi = QMT_ABI, .name = "counting", .accepts = {{&store_protocol, store_handlers}}};

/* ---- one thread, a virtual clock --------------------------------------------------------------------------------- */

static struct qmt_system *sys;
static struct qmt_ctx *ctx;
static struct qmt_ref refuser;

static void spawn(const struct qmt_actor_desc *desc, const char *name, struct qmt_ref *ret_ref)
{
	struct qmt_err err = {0};

	if (qmt_spawn(ctx, desc, &(struct qmt_spawn){.name = name}, ret_ref, &err))
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct qmt_err err = {0};

	(void)state;
	memset(counted, 0, sizeof(counted));
	sys =
		qmt_system_start(&(struct qmt_system_options){.seeded = true, .seed = 1, .start_wall_ms = 1700000000000}, &err);
	assert_non_null(sys);
	ctx = qmt_outside_open(sys);
	spawn(&refuser_desc, "refuser", &refuser);
	return 0;
}

static int teardown(void **state)
{
	struct qmt_err err = {0};

	(void)state;
	qmt_outside_close(ctx);
	assert_int_equal(qmt_system_stop(sys, 10000, &err), 0);
	qmt_system_free(sys);
	return 0;
}

static void refuse(uint32_t who)
{
	assert_int_equal(QMT_TELL(ctx, refuser, refuser_refuse, .who = who), 0);
}

/* 30 peers that go on take rows; a minute later further ones fill the table: from then on there is nobody's row, and
 * each of those that have one keeps its own count. */
static void nobody_has_a_row(void **state)
{
	struct qmt_ref store;

	(void)state;
	spawn(&counting_desc, "store", &store);
	for (uint32_t round = 0; round < 8; round++) {
		for (uint32_t i = 0; i < 30; i++)
			refuse(i);
		(void)qmt_system_run(sys, 9000);
	}
	for (uint32_t i = 30; i < PEERS; i++) {
		refuse(i);
		refuse(i);
	}
	(void)qmt_system_run(sys, 60000);
	for (uint32_t i = 0; i < 30; i++)
		assert_int_equal(counted[i], 8);
	assert_int_equal(counted[30] + counted[31], 4);
	for (uint32_t i = 32; i < PEERS; i++)
		assert_int_equal(counted[i], 0);
	assert_int_equal(counted[PEERS], 2 * (PEERS - 32));
}

/* What nobody took is told once there is a store. */
static void nothing_is_lost(void **state)
{
	struct qmt_ref store;

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		refuse(7);
	(void)qmt_system_run(sys, 25000);
	spawn(&counting_desc, "store", &store);
	refuse(7);
	(void)qmt_system_run(sys, 25000);
	assert_int_equal(counted[7], 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_has_a_row, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_lost, setup, teardown),
	};

	if (identity_crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
