/* test/lib/http_stub.h - an HTTP server for tests that does what a script says, and remembers what it saw.
 *
 * Threads: one to accept, one a connection; every function may be called from any.   Blocks: only what takes a timeout.
 * Order:   requests are numbered from 0 as they come; request n is answered by script n, or by 500 when there is none.
 * Limits:  HTTP_STUB_REQUESTS requests, HTTP_STUB_BYTES bytes each; more ends the connection.
 */
#ifndef TEST_HTTP_STUB_H
#define TEST_HTTP_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_STUB_REQUESTS = 64, HTTP_STUB_BYTES = 8 << 20 };

enum http_do {
	HTTP_END,    /* the answer is over, the connection stays and takes another request */
	HTTP_SEND,   /* text (len bytes, or all of it when 0) */
	HTTP_CRUMBS, /* the same, one byte a send */
	HTTP_CHUNK,  /* text as one chunk of a chunked body; without text: the last one */
	HTTP_WAIT,   /* until http_stub_release; on if the client goes, too */
	HTTP_STALL,  /* until the client goes */
	HTTP_FLOOD,  /* text again and again until the client goes */
	HTTP_CLOSE,  /* in order */
	HTTP_RESET,  /* with RST */
};

struct http_step {
	enum http_do what;
	const char *text;
	size_t len;
};

struct http_stub;

struct http_stub *http_stub_start(void); /* on 127.0.0.1; NULL: no socket or no thread */
void http_stub_stop(struct http_stub *stub);
uint16_t http_stub_port(const struct http_stub *stub);
/* The script of the next request that has none; borrowed, ends with END, CLOSE or RESET. */
void http_stub_script(struct http_stub *stub, const struct http_step *steps);
/* Ends HTTP_WAIT of one script, now or when it comes there. */
void http_stub_release(struct http_stub *stub, uint32_t request);
/* Request n as text, headers and body, once all of it is there; NULL: not in time. Valid until http_stub_stop. */
const char *http_stub_request(struct http_stub *stub, uint32_t request, uint32_t timeout_ms);
/* True once the client closed the connection of request n. */
bool http_stub_gone(struct http_stub *stub, uint32_t request, uint32_t timeout_ms);
uint32_t http_stub_connections(struct http_stub *stub); /* accepted so far */
uint32_t http_stub_requests(struct http_stub *stub);

#endif
