/* actors/provider/transfer.h - one HTTP request and its answer, with limits on time and size.
 *
 * Threads: belongs to one actor, on whose turns everything is called.   Blocks: never.
 * Order:   head once, when status and headers are there (none for an answer that breaks before); body for each piece;
 *          done once unless transfer_free came first. head and body run inside libcurl: transfer_free is not allowed
 *          there, they stop the transfer by returning non-zero.
 * Limits:  options.
 * Secrets: the bearer token goes to the host of the URL only: redirects are not followed, the environment is not read.
 */
#ifndef PROVIDER_TRANSFER_H
#define PROVIDER_TRANSFER_H

#include "actors/provider/curl_loop.h"
#include "runtime/base/bytes.h"

struct transfer;

enum transfer_outcome {
	TRANSFER_COMPLETE,
	TRANSFER_STOPPED, /* by head or body */
	TRANSFER_TIMEOUT,
	TRANSFER_BROKEN,    /* no connection, or it broke */
	TRANSFER_TOO_LARGE, /* headers or body */
};

struct transfer_end {
	enum transfer_outcome outcome;
	const char *text;   /* for people, without addresses; "" when complete or stopped */
	const char *detail; /* for the log of this node: may hold the address */
};

struct transfer_events {
	int (*head)(struct qmt_ctx *ctx, void *arg);
	int (*body)(struct qmt_ctx *ctx, void *arg, struct qmt_str bytes);
	void (*header)(void *arg, struct qmt_str line);                               /* each header line; may be NULL */
	void (*done)(struct qmt_ctx *ctx, void *arg, const struct transfer_end *end); /* may call transfer_free */
};

struct transfer_options {
	const char *url;
	const char *accept;  /* media type */
	const char *bearer;  /* empty: none */
	const char *proxy;   /* empty: none */
	const char *ca_file; /* empty: the system's */
	bool post;           /* with *body as JSON; else GET */
	/* 0: no bound. For texts of errors, the names of the parameters that they come from. */
	uint32_t connect_ms, first_byte_ms, idle_ms, total_ms;
	const char *total_name;
	uint32_t header_bytes, body_bytes;
};

/* Copies the options' texts, takes *body on success only. NULL: out of memory. */
struct transfer *transfer_new(struct qmt_ctx *ctx, struct curl_loop *loop, const struct transfer_options *options,
	struct qmt_buf *body, const struct transfer_events *events, void *arg);
/* Ends it at once, if it still runs: the server sees the connection close. NULL is fine. Returns NULL. */
struct transfer *transfer_free(struct qmt_ctx *ctx, struct transfer *transfer);
/* From now on it has so many ms to its end. */
void transfer_drain(struct qmt_ctx *ctx, struct transfer *transfer, uint32_t ms);

unsigned transfer_status(const struct transfer *transfer); /* from head on */
/* The media type without parameters, "" for none; from head on. */
struct qmt_str transfer_content_type(const struct transfer *transfer);

/* Of the loop that these transfers run in. */
void transfer_loop_done(struct qmt_ctx *ctx, void *state, const struct curl_api *curl, CURL *easy, CURLcode result);

#endif
