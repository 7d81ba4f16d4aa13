/* cmd/lab/peer_proven.c - proven peers whose frames are wrong: each of them must cut the link. */
#include <errno.h>

#include "cmd/lab/peer.h"
#include "proto/codec.h"
#include "runtime/base/os.h"
#include "transports/link_records.h"

enum { HUGE_BYTES = 32 << 20, NESTED = 1000, PIECE = 70000 };

/* Opens a link that is in use, sends the frame, and must be cut. */
static int bad_frame(struct peer *peer, const char *what, const void *frame, size_t len)
{
	struct hostile link = {0};
	struct qmt_err err = {0};
	int verdict;

	peer_next_step(peer);
	if (peer_link_open(peer, &link, 0, &err)) {
		peer_say("failed: no link: %s", err.text);
		verdict = PEER_LET;
	} else {
		peer_say("sends %s, %zu bytes", what, len);
		/* a cut while it leaves is told by the next call */
		if (hostile_put(&link, frame, len, peer->deadline_ms) == HOSTILE_E_LATE)
			peer_say("it does not leave");
		verdict = peer_must_be_cut(peer, &link);
	}
	hostile_hang_up(&link);
	return verdict;
}

int peer_mode_huge(struct peer *peer)
{
	size_t len = peer->bytes ? (size_t)peer->bytes : HUGE_BYTES;
	uint8_t *frame = calloc(1, len);
	int verdict = PEER_LET;

	if (frame) {
		frame[0] = ENVELOPE_VERSION;
		verdict = bad_frame(peer, "a frame over the limit", frame, len);
	}
	free(frame);
	return verdict;
}

int peer_mode_deep(struct peer *peer)
{
	static const struct envelope env = {
		.kind = ENVELOPE_TELL, .to_name = {"node_manager", 12}, .type = 1, .type_name = {"node.info", 9}};
	uint8_t nested[2 * NESTED + 1];
	struct qmt_buf frame QMT_CLEANUP(qmt_buf_free) = {0};

	for (size_t i = 0; i < NESTED; i++) { /* maps of one: {1: {1: … {}}} */
		nested[2 * i] = 0x81;
		nested[2 * i + 1] = 0x01;
	}
	nested[2 * NESTED] = 0x80;
	hostile_put_envelope(&frame, &env, nested, sizeof nested);
	return frame.failed ? PEER_LET : bad_frame(peer, "an envelope 1,000 deep", frame.data, frame.len);
}

int peer_mode_truncated(struct peer *peer)
{
	static const uint8_t frame[] = {ENVELOPE_VERSION, 0x98, 0x00, 0x01};

	return bad_frame(peer, "an envelope cut short", frame, sizeof frame);
}

int peer_mode_version(struct peer *peer)
{
	static const uint8_t frame[] = {0x7f, 0x98, 0, 0, 0, 0, 0, 0, 0, 0x80};

	return bad_frame(peer, "a frame of version 127", frame, sizeof frame);
}

int peer_mode_malformed(struct peer *peer)
{
	static const struct {
		const char *what, *data;
		size_t len;
	} frames[] = {
		{"an array of 2^32 - 1 elements", "\x01\xdd\xff\xff\xff\xff", 6},
		{"a name of 4 GB", "\x01\x98\x00\x00\xdb\xff\xff\xff\xff", 9},
		{"a type number that was never named",
			"\x01\x98\x00\x00\xa1"
			"a\x07\x00\x00\x00\x80",
			11},
		{"what is not msgpack", "\x01\xc1", 2},
		{"a kind of envelope that is a text", "\x01\x98\xa1x\x00\x00\x00\x00\x00\x00\x80", 11},
		{"nothing", "", 0},
	};
	int verdict = PEER_HELD;

	for (size_t i = 0; i < sizeof frames / sizeof frames[0] && verdict == PEER_HELD; i++)
		verdict = bad_frame(peer, frames[i].what, frames[i].data, frames[i].len);
	return verdict;
}

/* ---- pieces of long messages ------------------------------------------------------------------------------------- */

struct pieces {
	const char *what;
	uint64_t total;
	uint32_t len;
	uint32_t repeat;
	bool same_id;
};

static int put_piece(struct peer *peer, struct hostile *link, const struct pieces *pieces, uint32_t n)
{
	static const uint8_t data[PIECE];
	struct envelope env = {.kind = ENVELOPE_CONTROL, .type = LINK_PIECE, .id = pieces->same_id ? 1 : n + 1};
	struct link_piece piece = {.total = pieces->total, .data = {data, pieces->len}};
	struct qmt_buf frame QMT_CLEANUP(qmt_buf_free) = {0};

	hostile_put_envelope(&frame, &env, NULL, 0);
	if (codec_encode(&link_piece_record, &piece, NULL, &frame))
		return -ENOMEM;
	return hostile_put(link, frame.data, frame.len, peer->deadline_ms);
}

static int bad_pieces(struct peer *peer, const struct pieces *pieces)
{
	struct hostile link = {0};
	struct qmt_err err = {0};
	int verdict, rc = 0;

	peer_next_step(peer);
	if (peer_link_open(peer, &link, 0, &err)) {
		peer_say("failed: no link: %s", err.text);
		verdict = PEER_LET;
	} else {
		peer_say("sends pieces: %s", pieces->what);
		for (uint32_t n = 0; n < pieces->repeat && !rc; n++)
			rc = put_piece(peer, &link, pieces, n);
		verdict = peer_must_be_cut(peer, &link);
	}
	hostile_hang_up(&link);
	return verdict;
}

int peer_mode_pieces(struct peer *peer)
{
	static const struct pieces cases[] = {
		{"never begun", 0, 10, 1, true},
		{"longer than the whole", 5, 10, 1, true},
		{"begun twice", 100, 10, 2, true},
		{"of a message of 1 TB", 1ull << 40, 10, 1, true},
		{"of thousands of messages that have no end", 11, 10, 4000, false},
		{"of messages that fill its memory", PIECE + 1, PIECE, 4000, false},
	};
	int verdict = PEER_HELD;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0] && verdict == PEER_HELD; i++)
		verdict = bad_pieces(peer, &cases[i]);
	return verdict;
}

/* ---- flood ------------------------------------------------------------------------------------------------------- */

enum { FLOOD_SECONDS = 2, FLOOD_BATCH = 32, FLOOD_ROUNDS = 64, FLOOD_POLL_MS = 20 };

struct flood {
	struct hostile link;
	uint64_t next_id, asks, tells;
	bool cut;
};

/* One frame of asks, with a tell among them. 0; HOSTILE_E_…: it did not go. */
static int put_flood(struct flood *flood, uint64_t deadline_ms)
{
	struct qmt_buf frame QMT_CLEANUP(qmt_buf_free) = {0};

	for (int i = 0; i < FLOOD_BATCH; i++) {
		struct envelope env = {
			.kind = i ? ENVELOPE_ASK : ENVELOPE_TELL,
			.id = i ? ++flood->next_id : 0,
			.to_name = qmt_str("node_manager"),
			.type = 1,
			.type_name = flood->next_id <= 1 ? qmt_str("node.info") : (struct qmt_str){0},
			.deadline_ms = 5000,
		};

		hostile_put_envelope(&frame, &env, "\x80", 1);
	}
	return frame.failed ? -ENOMEM : hostile_put(&flood->link, frame.data, frame.len, deadline_ms);
}

/* Sends until the time is over or the link is cut. What the node answers stays unread. */
static int run_flood(struct flood *flood, uint64_t until_ms)
{
	int rc = 0;

	while (qmt_os_real_now_ms() < until_ms) {
		uint64_t now = qmt_os_real_now_ms();

		for (int i = 0; i < FLOOD_ROUNDS && !rc; i++) {
			rc = put_flood(flood, now + FLOOD_POLL_MS);
			if (!rc) {
				flood->asks += FLOOD_BATCH - 1;
				flood->tells++;
			}
		}
		if (rc < 0 || rc == HOSTILE_E_CUT)
			return rc;
		rc = 0; /* a full socket is what the node may do */
	}
	return 0;
}

int peer_mode_flood(struct peer *peer)
{
	struct flood flood = {0};
	struct qmt_err err = {0};
	uint64_t half_ms = (peer->seconds ? peer->seconds : FLOOD_SECONDS) * 500;
	int rc = peer_link_open(peer, &flood.link, HOSTILE_DEAF, &err), verdict;

	if (rc) {
		peer_say("failed: no link: %s", err.text);
		hostile_hang_up(&flood.link);
		return PEER_LET;
	}
	peer_say("flooding");
	rc = run_flood(&flood, qmt_os_real_now_ms() + half_ms);
	peer_next_step(peer);
	verdict = peer_check_alive(peer); /* the flood waits in the sockets meanwhile */
	if (!rc && verdict == PEER_HELD)
		rc = run_flood(&flood, qmt_os_real_now_ms() + half_ms);
	peer_say("sent %llu asks and %llu tells", (unsigned long long)flood.asks, (unsigned long long)flood.tells);
	peer_say(rc == HOSTILE_E_CUT ? "cut" : "held: the node takes no more than it can answer");
	hostile_hang_up(&flood.link);
	return rc < 0 ? PEER_LET : verdict;
}
