/* transports/control_internal.h - the state of a control client; for control_client.c (sockets, waiting) and
 * control_in.c (what comes in).
 */
#ifndef TRANSPORTS_CONTROL_INTERNAL_H
#define TRANSPORTS_CONTROL_INTERNAL_H

#include <sys/un.h>

#include "proto/identity.h"
#include "transports/channel_key.h"
#include "transports/control_client.h"
#include "transports/hello.h"
#include "transports/inbox.h"
#include "transports/outbox.h"
#include "transports/type_table.h"

struct told {
	struct told *next;
	struct control_event event;
	size_t bytes;
};

struct control_client {
	struct _zsock_t *sock, *monitor; /* czmq's */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int wake_fd;
	struct identity identity;
	char boot_id[HELLO_BOOT + 1], node_id[PEER_ID_TEXT + 1], node_name[HELLO_NAME + 1];
	uint8_t key[CHANNEL_KEY], nonce[HELLO_NONCE];
	struct hello_self self;
	struct hello hello;
	bool connected, proven;
	int gone; /* -errno: why nothing goes any more */
	char why[QMT_ERR_TEXT];
	struct outbox outbox;
	struct inbox inbox;
	struct type_out types_out;
	struct type_in types_in;
	uint64_t trace;
	uint32_t watches; /* refs given out: 1 .. watches */
	struct told *first_told, *last_told;
	size_t told_bytes;
	/* the ask under way */
	uint64_t ask_id; /* 0: none */
	const struct qmt_type *asked;
	struct control_reply *reply;
	bool answered;
};

int control_ref_out(void *arg, struct qmt_ref ref, uint64_t *ret_number);
int control_ref_in(void *arg, uint64_t number, struct qmt_ref *ret_ref);
/* Nothing goes any more; the first reason stays. Returns 1, for on_envelope. */
int control_set_gone(struct control_client *client, int code, const char *why);
int control_on_envelope(void *client, const struct envelope *env); /* an inbox_fn */

#endif
