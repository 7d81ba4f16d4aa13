/* cmd/lab/upstream_answer.h - one connection of an upstream: requests are read, answers written step by step.
 *
 * Threads: the loop's.   Blocks: never.
 * Order:   one request at a time; what a client sends ahead waits.
 * Limits:  UPSTREAM_HEAD_BYTES, UPSTREAM_REQUEST_BYTES; a request beyond, or one that is not HTTP/1.1 with a
 *          Content-Length, ends the connection (`refused`).
 * Events:  a line each on stdout, see upstream.c.
 */
#ifndef CMD_LAB_UPSTREAM_ANSWER_H
#define CMD_LAB_UPSTREAM_ANSWER_H

#include <uv.h>

#include "cmd/lab/upstream_script.h"

enum { UPSTREAM_HEAD_BYTES = 65536, UPSTREAM_REQUEST_BYTES = 64 << 20 };

struct upstream_connection;

struct upstream {
	uv_loop_t loop;
	uv_tcp_t listener;
	uv_signal_t signals[2];
	struct upstream_script *script, *defaults;
	bool print_bodies, print_headers;
	uint64_t requests;
	struct upstream_connection *connections;
};

/* Takes the connection that waits at the listener. */
void upstream_accept(struct upstream *upstream);
/* Ends all of them; their handles close in the loop. */
void upstream_close_all(struct upstream *upstream);
/* A line on stdout, at once. */
void upstream_event(const char *format, ...) QMT_PRINTF(1, 2);

#endif
