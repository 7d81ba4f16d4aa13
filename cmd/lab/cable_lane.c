/* cmd/lab/cable_lane.c - what passes through a connection of a cable, and when: one direction is a queue of pieces
 * that wait
 * until they are due (delay, rate) or until a stall ends. Nothing is read any more when QUEUE_BYTES wait: the sender
 * feels
 * it as it would on a slow line. Faults that wait for a byte happen at that byte: the piece is cut there.
 */
#include "cmd/lab/cable_internal.h"

enum { QUEUE_BYTES = 262144, READ_BYTES = 65536 };

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void connection_freed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;

	if (--connection->open > 0)
		return;
	for (int i = 0; i < 2; i++)
		while (connection->lanes[i].first) {
			struct piece *piece = connection->lanes[i].first;
			connection->lanes[i].first = piece->next;
			free(piece);
		}
	for (struct connection **at = &connection->net->connections; *at; at = &(*at)->next)
		if (*at == connection) {
			*at = connection->next;
			break;
		}
	free(connection);
}

static void tcp_close(uv_tcp_t *tcp, bool reset)
{
	if (uv_is_closing((uv_handle_t *)tcp))
		return;
	if (!reset || uv_tcp_close_reset(tcp, connection_freed) != 0)
		uv_close((uv_handle_t *)tcp, connection_freed);
}

void cable_connection_close(struct connection *connection, bool reset)
{
	if (connection->closing)
		return;
	connection->closing = true;
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&connection->lanes[i].timer, connection_freed);
	tcp_close(&connection->near, reset);
	tcp_close(&connection->far, reset);
}

void cable_connections_close(struct net *net, const struct pair *pair, bool reset)
{
	for (struct connection *at = net->connections; at; at = at->next)
		if (at->pair == pair)
			cable_connection_close(at, reset);
}

/* ---- one direction ----------------------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle, (void)suggested;
	*buf = uv_buf_init(malloc(READ_BYTES), READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void lane_read(struct lane *lane)
{
	bool want = !lane->end_read && lane->connection->connected && lane->queued + lane->writing < QUEUE_BYTES;

	if (want == lane->reading)
		return;
	lane->reading = want;
	if (want)
		uv_read_start((uv_stream_t *)lane->from, on_alloc, on_read);
	else
		uv_read_stop((uv_stream_t *)lane->from);
}

struct writing {
	uv_write_t request;
	struct lane *lane;
	struct piece *piece;
	size_t len;
};

static void on_written(uv_write_t *request, int status)
{
	struct writing *writing = (struct writing *)request;
	struct lane *lane = writing->lane;

	lane->writing -= writing->len;
	free(writing->piece);
	free(writing);
	if (status < 0)
		cable_connection_close(lane->connection, true);
	if (!lane->connection->closing) {
		lane_read(lane);
		cable_lane_pump(lane);
	}
}

static void on_end_passed(uv_shutdown_t *request, int status)
{
	struct lane *lane = request->data;
	struct connection *connection = lane->connection;

	(void)status;
	free(request);
	lane->end_passed = true;
	if (!connection->closing && connection->lanes[0].end_passed && connection->lanes[1].end_passed)
		cable_connection_close(connection, false);
}

static void on_due(uv_timer_t *timer)
{
	cable_lane_pump((struct lane *)(void *)((char *)timer - offsetof(struct lane, timer)));
}

/* What `after=` was waiting for has passed. */
static void then(struct net *net, struct pair *pair)
{
	struct net_fault *fault = &pair->fault;

	fault->after_bytes = 0;
	player_note(net->player, "the fault that waited for bytes happens");
	if (fault->then == NET_THEN_STALL) {
		fault->block = NET_STALLED;
	} else if (fault->then == NET_THEN_RESET) {
		cable_connections_close(net, pair, true);
	} else {
		fault->block = NET_CUT;
		for (unsigned a = 1; a <= HOSTS_MAX; a++)
			for (unsigned b = a + 1; b <= HOSTS_MAX; b++)
				if (&net->pairs[a][b] == pair)
					cable_ops.apply(net, net->hosts[a], net->hosts[b]);
	}
	player_changed(net->player);
}

static bool piece_write(struct lane *lane, struct piece *piece)
{
	struct writing *writing = malloc(sizeof *writing);
	uv_buf_t buf = uv_buf_init(piece->data, (unsigned)piece->len);

	if (!writing) {
		free(piece);
		return false;
	}
	*writing = (struct writing){.lane = lane, .piece = piece, .len = piece->len};
	lane->writing += piece->len;
	if (uv_write(&writing->request, (uv_stream_t *)lane->to, &buf, 1, on_written) == 0)
		return true;
	lane->writing -= piece->len;
	free(piece);
	free(writing);
	return false;
}

/* Cuts a piece so that `len` bytes of it go now; what is left stays first. */
static struct piece *piece_split(struct lane *lane, struct piece *piece, size_t len)
{
	struct piece *head = malloc(sizeof *head + len);

	if (!head)
		return NULL;
	*head = (struct piece){.due_ms = piece->due_ms, .len = len};
	memcpy(head->data, piece->data, len);
	memmove(piece->data, piece->data + len, piece->len - len);
	piece->len -= len;
	lane->queued -= len;
	return head;
}

/* Passes on what is due. */
void cable_lane_pump(struct lane *lane)
{
	struct connection *connection = lane->connection;
	struct net *net = connection->net;
	struct pair *pair = connection->pair;
	uint64_t now = player_now_ms(net->player);

	while (!connection->closing && connection->connected && lane->first) {
		struct piece *piece = lane->first;
		if (pair && pair->fault.block == NET_STALLED)
			return;
		if (piece->due_ms > now) {
			uv_timer_start(&lane->timer, on_due, piece->due_ms - now, 0);
			return;
		}
		bool armed = pair && pair->fault.after_bytes;
		if (armed && pair->fault.after_bytes < piece->len) {
			piece = piece_split(lane, piece, pair->fault.after_bytes);
		} else {
			lane->first = piece->next;
			if (!lane->first)
				lane->last = &lane->first;
			lane->queued -= piece->len;
		}
		size_t len = piece ? piece->len : 0;
		if (!piece || !piece_write(lane, piece)) {
			cable_connection_close(connection, true);
			return;
		}
		if (pair) {
			pair->bytes += len;
			if (armed && (pair->fault.after_bytes -= len) == 0)
				then(net, pair);
			player_changed(net->player);
		}
	}
	if (connection->closing || !connection->connected)
		return;
	if (!lane->first && lane->end_read && !lane->end_passed) {
		uv_shutdown_t *request = malloc(sizeof *request);
		if (!request) {
			cable_connection_close(connection, true);
			return;
		}
		request->data = lane;
		if (uv_shutdown(request, (uv_stream_t *)lane->to, on_end_passed) != 0) {
			free(request);
			cable_connection_close(connection, false);
		}
		return;
	}
	lane_read(lane);
}

static uint64_t due_at(struct lane *lane, size_t len)
{
	struct net *net = lane->connection->net;
	struct pair *pair = lane->connection->pair;
	uint64_t now = player_now_ms(net->player), at = now;

	if (!pair)
		return now;
	if (pair->fault.bits_per_second) {
		if (lane->busy_until_ms < now)
			lane->busy_until_ms = now;
		lane->busy_until_ms += len * 8000 / pair->fault.bits_per_second;
		at = lane->busy_until_ms;
	}
	at += pair->fault.delay_ms;
	if (pair->fault.jitter_ms) {
		struct lab_run source = {.player = net->player};
		at += lab_random(&source) % (pair->fault.jitter_ms + 1);
	}
	for (const struct piece *piece = lane->first; piece; piece = piece->next)
		if (piece->due_ms > at)
			at = piece->due_ms; /* a stream keeps its order */
	return at;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct connection *connection = stream->data;
	struct lane *lane = &connection->lanes[stream == (uv_stream_t *)&connection->far];

	if (n > 0) {
		struct piece *piece = malloc(sizeof *piece + (size_t)n);
		if (piece) {
			*piece = (struct piece){.due_ms = due_at(lane, (size_t)n), .len = (size_t)n};
			memcpy(piece->data, buf->base, (size_t)n);
			*lane->last = piece;
			lane->last = &piece->next;
			lane->queued += piece->len;
		} else {
			cable_connection_close(connection, true);
		}
	} else if (n == UV_EOF) {
		lane->end_read = true;
		lane->reading = false;
		uv_read_stop(stream);
	} else if (n < 0) {
		cable_connection_close(connection, true);
	}
	free(buf->base);
	if (!connection->closing) {
		cable_lane_pump(lane);
		lane_read(lane);
	}
}

void cable_connected(uv_connect_t *request, int status)
{
	struct connection *connection = request->data;

	if (connection->closing)
		return;
	if (status < 0) {
		cable_connection_close(connection, true);
		return;
	}
	connection->connected = true;
	for (int i = 0; i < 2; i++)
		cable_lane_pump(&connection->lanes[i]);
}

struct connection *cable_connection_new(struct net *net)
{
	struct connection *connection = calloc(1, sizeof *connection);

	if (!connection)
		return NULL;
	*connection = (struct connection){.net = net, .open = 4, .next = net->connections};
	net->connections = connection;
	for (int i = 0; i < 2; i++) {
		struct lane *lane = &connection->lanes[i];
		*lane = (struct lane){.connection = connection,
			.from = i ? &connection->far : &connection->near,
			.to = i ? &connection->near : &connection->far,
			.last = &lane->first};
		uv_timer_init(net->loop, &lane->timer);
		lane->timer.data = connection;
	}
	uv_tcp_init(net->loop, &connection->near);
	uv_tcp_init(net->loop, &connection->far);
	connection->near.data = connection->far.data = connection->connecting.data = connection;
	return connection;
}
