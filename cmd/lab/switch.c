/* cmd/lab/switch.c - reads frames, finds where they go, and lets the fault of each pair of ports have its way.
 *
 * A frame that nothing is wrong with is written on from the room that it was read into. What must wait is copied:
 *
 *     arrive --cut--> lost            waiting: order of their time; `late` (reordered) are a fixed time behind, so each
 *        |  \-stalled--> held         of the two queues keeps its own order: none passes the one in front
 *       draws, rate, delay
 *        |-- now --> deliver          A heal sends what waits at once, then what was held, in their order.
 *        '-- later -> waiting --timer--> deliver
 *
 * `deliver` can reach an after_bytes, which changes the fault and settles the pair: whoever loops over frames looks at
 * the pair's state anew for each.
 */
#include "cmd/lab/switch.h"

#include <errno.h>
#include <unistd.h>

#include "cmd/lab/switch_tcp.h"

enum { ETHER_HEAD = 14, FRAME_BYTES = 2048, PARTS = 10000, NS_PER_MS = 1000000 };
#define NS_PER_S 1000000000u
/* Faster than this process is: no bound. It keeps the arithmetic below within 64 bits. */
#define FASTEST_BITS 10000000000u

struct frame {
	struct frame *next;
	uint64_t due_ns;
	size_t len;
	uint8_t data[];
};

struct queue {
	struct frame *first, *last;
	size_t bytes;
};

/* One direction of a pair. */
struct lane {
	struct queue waiting, late, held;
	uint64_t free_ns; /* rate: the line is busy until then */
	uint64_t random;
};

struct pair {
	struct switch_port *ports[2]; /* the smaller index first */
	struct net_fault fault;
	struct lane lanes[2]; /* lanes[0]: from ports[0] */
	struct tcp_flows flows;
	uint64_t bytes;
	bool watched;
	struct pair *next;
};

/* What a port is plugged in with; its own block, since libuv lets go of it later. */
struct plug {
	uv_poll_t poll;
	struct switch_port *port; /* NULL: unplugged */
	int fd;
};

struct switch_port {
	struct net_switch *net_switch;
	unsigned index;
	struct plug *plug;
	unsigned segment;
	uint8_t mac[6];
	struct pair **pairs; /* with each port of a smaller index; made when first needed */
};

struct net_switch {
	uv_timer_t timer;
	uv_loop_t *loop;
	uint64_t seed;
	void (*changed)(void *arg);
	void *arg;
	struct switch_port **ports;
	unsigned port_count;
	struct pair *pairs;
	uint8_t room[FRAME_BYTES]; /* the frame that was just read */
};

/* ---- queues ------------------------------------------------------------------------------------------------------ */

static void queue_push(struct queue *queue, struct frame *frame)
{
	frame->next = NULL;
	if (queue->last)
		queue->last->next = frame;
	else
		queue->first = frame;
	queue->last = frame;
	queue->bytes += frame->len;
}

static struct frame *queue_pop(struct queue *queue)
{
	struct frame *frame = queue->first;

	if (!frame)
		return NULL;
	queue->first = frame->next;
	if (!queue->first)
		queue->last = NULL;
	queue->bytes -= frame->len;
	return frame;
}

static void queue_drop(struct queue *queue)
{
	for (struct frame *frame; (frame = queue_pop(queue));)
		free(frame);
}

/* A copy at the end of the queue; lost when that would make it longer than `most`, or memory is out. */
static void queue_copy(struct queue *queue, size_t most, const uint8_t *data, size_t len, uint64_t due_ns)
{
	struct frame *frame = queue->bytes + len <= most ? malloc(sizeof *frame + len) : NULL;

	if (!frame)
		return;
	frame->len = len;
	frame->due_ns = due_ns;
	memcpy(frame->data, data, len);
	queue_push(queue, frame);
}

/* The queue of the lane whose first frame goes first. NULL: none waits. */
static struct queue *lane_first(struct lane *lane)
{
	const struct frame *frame = lane->waiting.first, *late = lane->late.first;

	if (!frame && !late)
		return NULL;
	return frame && (!late || frame->due_ns <= late->due_ns) ? &lane->waiting : &lane->late;
}

static void lane_drop(struct lane *lane)
{
	queue_drop(&lane->waiting);
	queue_drop(&lane->late);
	queue_drop(&lane->held);
}

/* ---- random: splitmix64 ------------------------------------------------------------------------------------------ */

static uint64_t draw(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Draws even when the answer is known: turning one fault on does not change the draws of another. */
static bool happens(struct lane *lane, unsigned parts)
{
	return draw(&lane->random) % PARTS < parts;
}

/* ---- pairs ------------------------------------------------------------------------------------------------------- */

/* NULL: memory, or a port with itself. */
static struct pair *pair_of(struct switch_port *a, struct switch_port *b)
{
	struct switch_port *low = a->index < b->index ? a : b, *high = low == a ? b : a;
	struct net_switch *net_switch = a->net_switch;
	struct pair *pair;

	if (a == b)
		return NULL;
	pair = high->pairs[low->index];
	if (pair)
		return pair;
	pair = calloc(1, sizeof *pair);
	if (!pair)
		return NULL;
	pair->ports[0] = low;
	pair->ports[1] = high;
	for (unsigned way = 0; way < 2; way++) {
		uint64_t state = net_switch->seed ^ ((uint64_t)high->index << 32 | (uint64_t)low->index << 1 | way);
		pair->lanes[way].random = draw(&state);
	}
	pair->next = net_switch->pairs;
	net_switch->pairs = pair;
	high->pairs[low->index] = pair;
	return pair;
}

static void tell_changed(struct net_switch *net_switch)
{
	if (net_switch->changed)
		net_switch->changed(net_switch->arg);
}

static void send_to(const struct switch_port *port, const uint8_t *data, size_t len)
{
	/* An interface that is down or full loses it, as on a real wire. */
	if (port->plug && write(port->plug->fd, data, len) < 0)
		return;
}

static void send_reset(void *arg, unsigned to_side, const uint8_t frame[TCP_RESET_BYTES])
{
	const struct pair *pair = arg;

	send_to(pair->ports[to_side], frame, TCP_RESET_BYTES);
}

static void pair_reset(struct pair *pair)
{
	const uint8_t *const mac[2] = {pair->ports[0]->mac, pair->ports[1]->mac};

	tcp_flows_reset(&pair->flows, mac, send_reset, pair);
}

static void pair_settle(struct pair *pair);

/* The fault says what happens when so many bytes have passed: now they have. */
static void pair_then(struct pair *pair)
{
	pair->fault.after_bytes = 0;
	if (pair->fault.then == NET_THEN_RESET) {
		pair_reset(pair);
	} else {
		pair->fault.block = pair->fault.then == NET_THEN_CUT ? NET_CUT : NET_STALLED;
		pair_settle(pair);
	}
	tell_changed(pair->ports[0]->net_switch);
}

static void deliver(struct pair *pair, unsigned way, const uint8_t *data, size_t len)
{
	uint64_t bytes = packet_payload(data, len);

	send_to(pair->ports[!way], data, len);
	pair->bytes += bytes;
	if (bytes > 0 && pair->watched) {
		pair->watched = false;
		tell_changed(pair->ports[0]->net_switch);
	}
	if (pair->fault.after_bytes > bytes)
		pair->fault.after_bytes -= bytes;
	else if (pair->fault.after_bytes > 0)
		pair_then(pair);
}

/* When the rate lets go of a frame that comes now. False: the queue in front of it is full. */
static bool rate_passes(struct lane *lane, uint64_t bits_per_second, size_t len, uint64_t *due_ns)
{
	uint64_t fits_ns = (uint64_t)SWITCH_QUEUE_MS * NS_PER_MS,
			 least_ns = (uint64_t)SWITCH_QUEUE_BYTES * 8 * NS_PER_S / bits_per_second;
	uint64_t begin = lane->free_ns > *due_ns ? lane->free_ns : *due_ns;

	if (begin - *due_ns > (fits_ns > least_ns ? fits_ns : least_ns))
		return false;
	*due_ns = lane->free_ns = begin + (uint64_t)len * 8 * NS_PER_S / bits_per_second;
	return true;
}

static uint64_t bounded_ns(uint64_t ms)
{
	return (ms < SWITCH_DELAY_MS ? ms : SWITCH_DELAY_MS) * NS_PER_MS;
}

static bool has_rate(const struct net_fault *fault)
{
	return fault->bits_per_second > 0 && fault->bits_per_second < FASTEST_BITS;
}

/* An IPv4 frame on an open pair: its draws, and when it goes. */
static void lane_pass(struct pair *pair, unsigned way, const uint8_t *data, size_t len)
{
	const struct net_fault *fault = &pair->fault;
	struct lane *lane = &pair->lanes[way];
	bool lost = happens(lane, fault->lose), twice = happens(lane, fault->duplicate),
		 late = happens(lane, fault->reorder);
	uint64_t jitter = draw(&lane->random), now = uv_hrtime(), due = now;

	if (lost || (has_rate(fault) && !rate_passes(lane, fault->bits_per_second, len, &due)))
		return;
	due += bounded_ns(fault->delay_ms) + jitter % (bounded_ns(fault->jitter_ms) + 1);
	for (unsigned i = 0; i <= twice; i++) {
		/* Looked at anew: the first copy may have cut the pair. */
		if (pair->fault.block != NET_OPEN)
			return;
		size_t most = SWITCH_LANE_BYTES;
		if (late) {
			queue_copy(&lane->late, most - lane->waiting.bytes, data, len, due + SWITCH_REORDER_MS * NS_PER_MS);
		} else if (due > now || lane->waiting.first) {
			queue_copy(&lane->waiting, most - lane->late.bytes, data, len, due);
		} else {
			deliver(pair, way, data, len);
		}
	}
}

/* A frame that comes to the pair, or comes again after a stall. */
static void arrive(struct pair *pair, unsigned way, const uint8_t *data, size_t len)
{
	struct lane *lane = &pair->lanes[way];

	switch (pair->fault.block) {
	case NET_CUT:
		break;
	case NET_STALLED:
		queue_copy(&lane->held, SWITCH_HELD_BYTES, data, len, 0);
		break;
	case NET_OPEN:
		if (packet_is_ipv4(data, len))
			lane_pass(pair, way, data, len);
		else
			deliver(pair, way, data, len);
		break;
	}
}

/* Does with one frame that was on its way, or held, what the fault says by now. */
static void lane_settle(struct pair *pair, unsigned way)
{
	struct lane *lane = &pair->lanes[way];
	struct queue held = lane->held, before = {0};

	for (struct queue *first; (first = lane_first(lane));)
		queue_push(&before, queue_pop(first));
	lane->held = (struct queue){0};
	if (!has_rate(&pair->fault))
		lane->free_ns = 0;
	for (struct frame *frame; (frame = queue_pop(&before));) {
		const struct net_fault *fault = &pair->fault;
		if (fault->block != NET_OPEN) {
			arrive(pair, way, frame->data, frame->len);
		} else if (fault->delay_ms || fault->jitter_ms || has_rate(fault)) {
			queue_push(&lane->waiting, frame);
			continue;
		} else {
			deliver(pair, way, frame->data, frame->len);
		}
		free(frame);
	}
	for (struct frame *frame; (frame = queue_pop(&held));) {
		arrive(pair, way, frame->data, frame->len);
		free(frame);
	}
}

static void pair_settle(struct pair *pair)
{
	lane_settle(pair, 0);
	lane_settle(pair, 1);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static void schedule(struct net_switch *net_switch);

static void lane_release(struct pair *pair, unsigned way, uint64_t now)
{
	struct queue *first;

	while ((first = lane_first(&pair->lanes[way])) && first->first->due_ns <= now) {
		struct frame *frame = queue_pop(first);
		deliver(pair, way, frame->data, frame->len);
		free(frame);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct net_switch *net_switch = timer->data;
	uint64_t now = uv_hrtime();

	for (struct pair *pair = net_switch->pairs; pair; pair = pair->next) {
		lane_release(pair, 0, now);
		lane_release(pair, 1, now);
	}
	schedule(net_switch);
}

/* Sets the timer to the first frame that is due; what comes too early by the loop's clock is asked again. */
static void schedule(struct net_switch *net_switch)
{
	uint64_t first = UINT64_MAX, now = uv_hrtime();

	for (struct pair *pair = net_switch->pairs; pair; pair = pair->next)
		for (unsigned way = 0; way < 2; way++) {
			const struct queue *queue = lane_first(&pair->lanes[way]);
			if (queue && queue->first->due_ns < first)
				first = queue->first->due_ns;
		}
	if (first == UINT64_MAX)
		uv_timer_stop(&net_switch->timer);
	else
		uv_timer_start(&net_switch->timer, on_timer, first > now ? (first - now + NS_PER_MS - 1) / NS_PER_MS : 0, 0);
}

/* ---- frames come ------------------------------------------------------------------------------------------------- */

static void pass_on(struct switch_port *from, struct switch_port *to, const uint8_t *data, size_t len)
{
	struct pair *pair = pair_of(from, to);
	uint8_t answer[TCP_RESET_BYTES];

	if (!pair)
		return;
	unsigned way = pair->ports[0] != from;
	switch (tcp_flows_see(&pair->flows, way, data, len, answer)) {
	case TCP_DROP:
		break;
	case TCP_ANSWER:
		if (pair->fault.block == NET_OPEN)
			send_to(from, answer, sizeof answer);
		break;
	case TCP_PASS:
		arrive(pair, way, data, len);
		break;
	}
}

static void forward(struct switch_port *from, const uint8_t *data, size_t len)
{
	struct net_switch *net_switch = from->net_switch;
	bool group = data[0] & 1;

	for (unsigned i = 0; !group && i < net_switch->port_count; i++) {
		struct switch_port *to = net_switch->ports[i];
		if (to->plug && to->segment == from->segment && memcmp(to->mac, data, sizeof to->mac) == 0) {
			if (to != from)
				pass_on(from, to, data, len);
			return;
		}
	}
	for (unsigned i = 0; i < net_switch->port_count; i++) {
		struct switch_port *to = net_switch->ports[i];
		if (to->plug && to->segment == from->segment && to != from)
			pass_on(from, to, data, len);
	}
}

static void on_frames(uv_poll_t *poll, int status, int events)
{
	struct plug *plug = poll->data;
	struct net_switch *net_switch = plug->port->net_switch;
	bool broken = status < 0;

	(void)events;
	for (unsigned i = 0; !broken && i < SWITCH_BATCH; i++) {
		ssize_t n = read(plug->fd, net_switch->room, sizeof net_switch->room);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		broken = n <= 0;
		if (n >= ETHER_HEAD)
			forward(plug->port, net_switch->room, (size_t)n);
	}
	if (broken) /* somebody deleted the interface from inside: it says so for ever */
		uv_poll_stop(poll);
	schedule(net_switch);
}

/* ---- what the owner calls ---------------------------------------------------------------------------------------- */

struct net_switch *switch_new(uv_loop_t *loop, uint64_t seed, void (*changed)(void *arg), void *arg)
{
	struct net_switch *net_switch = calloc(1, sizeof *net_switch);

	if (!net_switch)
		return NULL;
	*net_switch = (struct net_switch){.loop = loop, .seed = seed, .changed = changed, .arg = arg};
	uv_timer_init(loop, &net_switch->timer);
	net_switch->timer.data = net_switch;
	return net_switch;
}

static void switch_closed(uv_handle_t *timer)
{
	free(timer->data);
}

void switch_close(struct net_switch *net_switch)
{
	if (!net_switch)
		return;
	for (unsigned i = 0; i < net_switch->port_count; i++) {
		switch_unplug(net_switch->ports[i]);
		free(net_switch->ports[i]->pairs);
		free(net_switch->ports[i]);
	}
	free(net_switch->ports);
	while (net_switch->pairs) {
		struct pair *pair = net_switch->pairs;
		net_switch->pairs = pair->next;
		lane_drop(&pair->lanes[0]);
		lane_drop(&pair->lanes[1]);
		tcp_flows_free(&pair->flows);
		free(pair);
	}
	uv_close((uv_handle_t *)&net_switch->timer, switch_closed);
}

struct switch_port *switch_port_new(struct net_switch *net_switch)
{
	unsigned index = net_switch->port_count;
	struct switch_port **ports = realloc(net_switch->ports, (index + 1) * sizeof *ports);
	struct switch_port *port = calloc(1, sizeof *port);

	if (ports)
		net_switch->ports = ports;
	if (port)
		*port = (struct switch_port){
			.net_switch = net_switch, .index = index, .pairs = calloc(index + 1, sizeof *port->pairs)};
	if (!ports || !port || !port->pairs) {
		if (port)
			free(port->pairs);
		free(port);
		return NULL;
	}
	ports[net_switch->port_count++] = port;
	return port;
}

static void plug_closed(uv_handle_t *poll)
{
	free(poll->data);
}

int switch_plug(struct switch_port *port, unsigned segment, const uint8_t mac[6], int fd)
{
	struct plug *plug = calloc(1, sizeof *plug);
	int rc = plug ? uv_poll_init(port->net_switch->loop, &plug->poll, fd) : -ENOMEM;

	if (rc != 0) {
		free(plug);
		return rc;
	}
	plug->poll.data = plug;
	plug->port = port;
	plug->fd = fd;
	rc = uv_poll_start(&plug->poll, UV_READABLE, on_frames);
	if (rc != 0) {
		uv_close((uv_handle_t *)&plug->poll, plug_closed);
		return rc;
	}
	switch_unplug(port);
	port->plug = plug;
	port->segment = segment;
	memcpy(port->mac, mac, sizeof port->mac);
	return 0;
}

void switch_unplug(struct switch_port *port)
{
	struct plug *plug = port->plug;

	if (!plug)
		return;
	port->plug = NULL;
	uv_close((uv_handle_t *)&plug->poll, plug_closed); /* leaves epoll at once, so the descriptor may go */
	close(plug->fd);
	for (struct pair *pair = port->net_switch->pairs; pair; pair = pair->next)
		if (pair->ports[0] == port || pair->ports[1] == port) {
			lane_drop(&pair->lanes[0]);
			lane_drop(&pair->lanes[1]);
			tcp_flows_free(&pair->flows);
		}
}

struct net_fault *switch_fault(struct switch_port *a, struct switch_port *b)
{
	struct pair *pair = pair_of(a, b);

	return pair ? &pair->fault : NULL;
}

void switch_apply(struct switch_port *a, struct switch_port *b)
{
	struct pair *pair = pair_of(a, b);

	if (!pair)
		return;
	pair_settle(pair);
	schedule(a->net_switch);
}

void switch_reset(struct switch_port *a, struct switch_port *b)
{
	struct pair *pair = pair_of(a, b);

	if (pair)
		pair_reset(pair);
}

uint64_t switch_bytes(struct switch_port *a, struct switch_port *b)
{
	struct pair *pair = pair_of(a, b);

	if (!pair)
		return 0;
	pair->watched = true;
	return pair->bytes;
}

void switch_heal_all(struct net_switch *net_switch)
{
	for (struct pair *pair = net_switch->pairs; pair; pair = pair->next) {
		pair->fault = (struct net_fault){0};
		pair_settle(pair);
	}
	schedule(net_switch);
}
