/* runtime/stream.h - bytes from a descriptor, of a child process, or made by blocking code, that arrive as messages and
 * do not overrun.
 *
 * An actor of the kind qmt_stream_desc reads and tells `to` one qmt_stream_chunk after the other, then one
 * qmt_stream_end, and ends. It begins with `credit` chunks and reads no further when they are used up, so a slow
 * consumer slows the source and nothing piles up. The consumer gives credit back by a tell of qmt_stream_more to the
 * stream (chunk->stream); it may live on another node.
 *
 *     static const struct qmt_stream_config config = {.to = …, .fd = fd, .id = 7};
 *     qmt_spawn(ctx, &qmt_stream_desc, &(struct qmt_spawn){.config = &config}, &ref, &err);
 *
 * Source:    a descriptor (pipe, socket, terminal; not a file of a disk, which is always ready and blocks: use `read`),
 *            or `read`: called again and again as a job, on a thread of the pool, never twice at once; or `child`:
 *            stdout and stderr of a process that the stream starts, in chunks of either as they are read (`source`
 *            says which). It is killed with its group when the stream ends before it. qmt_stream_end says how it ended.
 * Order:     as the bytes came. A chunk has at least one byte.
 * Ends:      end of input, an error, the end of `to` (or of the link to it; then nobody is told), or by qmt_stop. A
 *            chunk that `to` does not take (full) is offered again every 10 ms until it does.
 * Owned:     fd is the stream's from the moment it starts: made non-blocking, closed when it ends. `arg` is given back
 *            by `close`, once, when no `read` runs any more. A stream that was not started (qmt_spawn failed) owns
 *            nothing.
 * Restart:   none: spawn it as QMT_TEMPORARY (the default).
 * Threads, blocks: an actor; never.   Limits: chunk_bytes, credit.
 */
#ifndef QMT_STREAM_H
#define QMT_STREAM_H

#include "actor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QMT_STREAM_CHUNK(F, T)                 \
	F(T, REF, stream, 1, "Where credit goes.") \
	F(T, U64, id, 2, "As configured.")         \
	F(T, BYTES, data, 3, "At least one byte.") \
	F(T, U32, source, 4, "Of a child: 1 its stdout, 2 its stderr. Else 0.")
#define QMT_STREAM_END(F, T)                                        \
	F(T, U64, id, 1, "As configured.")                              \
	F(T, U32, fail, 2, "0: end of input. Else QMT_FAIL_FAILED.")    \
	F(T, STR, text, 3, "What failed.")                              \
	F(T, U64, total_bytes, 4, "In all chunks.")                     \
	F(T, I64, exit_code, 5, "Of a child; -1: it died by a signal.") \
	F(T, U32, signal, 6, "Of a child: which one.")                  \
	F(T, BOOL, timed_out, 7, "Of a child: it was killed after its timeout_ms.")
#define QMT_STREAM_MORE(F, T) F(T, U32, chunks, 1, "So many chunks more may come.")
#define QMT_STREAM_MESSAGES(M)                                                         \
	M(qmt_stream, chunk, QMT_STREAM_CHUNK, "stream", "To the consumer: bytes.")        \
	M(qmt_stream, end, QMT_STREAM_END, "stream", "To the consumer: there is no more.") \
	M(qmt_stream, more, QMT_STREAM_MORE, "stream", "To the stream: credit.")

#pragma GCC visibility push(default)
QMT_DECLARE_PROTOCOL(qmt_stream, QMT_STREAM_MESSAGES)
extern const struct qmt_actor_desc qmt_stream_desc;
#pragma GCC visibility pop

/* Fills up to `size` bytes of room, may block. Returns how many; 0: the end; <0: -errno. */
typedef int64_t qmt_stream_read_fn(void *arg, void *ret_room, uint32_t size);

/* qmt_spawn.config; lives until the stream has ended. Zero fields mean the defaults in []. */
struct qmt_stream_config {
	struct qmt_ref to;
	uint64_t id; /* the consumer's, to tell streams apart */
	int fd;      /* used when read and child are NULL */
	qmt_stream_read_fn *read;
	const struct qmt_child_options *child; /* lives as long as this; its output and output_bytes are not used */
	void (*close)(void *arg);              /* may be NULL */
	void *arg;                             /* of read and close */
	uint32_t chunk_bytes;                  /* [16384], at most QMT_STREAM_CHUNK_MAX; of a child at most 16384 */
	uint32_t credit;                       /* [8] chunks to begin with */
};
enum { QMT_STREAM_CHUNK_MAX = 1 << 20 };

#ifdef __cplusplus
}
#endif

#endif
