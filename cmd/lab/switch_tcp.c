/* cmd/lab/switch_tcp.c - reads IPv4 and TCP headers (RFC 791, RFC 9293) and makes RST segments. */
#include "cmd/lab/switch_tcp.h"

#include "cmd/lab/switch.h"

enum { ETHER = 14, IP = 20, TCP = 20, UDP = 8 };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, TTL = 64 };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

struct tcp_flow {
	uint32_t address[2];
	uint16_t port[2];
	uint32_t expects[2]; /* what the side awaits: its last ACK */
	bool knows[2], finished[2];
	bool used, ended; /* ended: was reset */
};

struct segment {
	uint32_t from, to, seq, ack, payload;
	uint16_t from_port, to_port;
	uint8_t flags;
};

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value);
}

/* The sum of RFC 1071, not yet folded; len is even. */
static uint32_t sum(const uint8_t *p, size_t len)
{
	uint32_t total = 0;

	for (size_t i = 0; i < len; i += 2)
		total += get16(p + i);
	return total;
}

static uint16_t fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

/* ---- packets ----------------------------------------------------------------------------------------------------- */

static size_t ip_head(const uint8_t *frame)
{
	return (size_t)(frame[ETHER] & 15) * 4;
}

bool packet_is_ipv4(const uint8_t *frame, size_t len)
{
	return len >= ETHER + IP && get16(frame + 12) == 0x0800 && frame[ETHER] >> 4 == 4 && ip_head(frame) >= IP &&
		get16(frame + ETHER + 2) >= ip_head(frame) && (size_t)ETHER + get16(frame + ETHER + 2) <= len;
}

/* Of a fragment, only the first has the header of TCP or UDP. */
static bool has_head(const uint8_t *frame, uint8_t protocol)
{
	return frame[ETHER + 9] == protocol && (get16(frame + ETHER + 6) & 0x1fff) == 0;
}

uint32_t packet_payload(const uint8_t *frame, size_t len)
{
	if (!packet_is_ipv4(frame, len))
		return 0;
	size_t head = ip_head(frame), inside = get16(frame + ETHER + 2) - head, more = 0;
	if (has_head(frame, PROTOCOL_UDP))
		more = UDP;
	else if (has_head(frame, PROTOCOL_TCP) && inside >= TCP)
		more = (size_t)(frame[ETHER + head + 12] >> 4) * 4;
	return inside > more ? (uint32_t)(inside - more) : 0;
}

static bool segment_read(const uint8_t *frame, size_t len, struct segment *ret_segment)
{
	if (!packet_is_ipv4(frame, len) || !has_head(frame, PROTOCOL_TCP))
		return false;
	const uint8_t *tcp = frame + ETHER + ip_head(frame);
	if (get16(frame + ETHER + 2) < ip_head(frame) + TCP)
		return false;
	*ret_segment = (struct segment){.from = get32(frame + ETHER + 12),
		.to = get32(frame + ETHER + 16),
		.from_port = get16(tcp),
		.to_port = get16(tcp + 2),
		.seq = get32(tcp + 4),
		.ack = get32(tcp + 8),
		.flags = tcp[13],
		.payload = packet_payload(frame, len)};
	return true;
}

static void segment_write(
	const struct segment *s, const uint8_t to_mac[6], const uint8_t from_mac[6], uint8_t ret_frame[TCP_RESET_BYTES])
{
	uint8_t *ip = ret_frame + ETHER, *tcp = ip + IP;

	memset(ret_frame, 0, TCP_RESET_BYTES);
	memcpy(ret_frame, to_mac, 6);
	memcpy(ret_frame + 6, from_mac, 6);
	put16(ret_frame + 12, 0x0800);
	ip[0] = 4 << 4 | IP / 4;
	put16(ip + 2, IP + TCP);
	ip[6] = 0x40; /* not to be fragmented */
	ip[8] = TTL;
	ip[9] = PROTOCOL_TCP;
	put32(ip + 12, s->from);
	put32(ip + 16, s->to);
	put16(ip + 10, fold(sum(ip, IP)));
	put16(tcp, s->from_port);
	put16(tcp + 2, s->to_port);
	put32(tcp + 4, s->seq);
	put32(tcp + 8, s->ack);
	tcp[12] = TCP / 4 << 4;
	tcp[13] = s->flags;
	put16(tcp + 16, fold(sum(ip + 12, 8) + PROTOCOL_TCP + TCP + sum(tcp, TCP)));
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static bool flow_is(const struct tcp_flow *flow, unsigned way, const struct segment *s)
{
	return flow->used && flow->port[way] == s->from_port && flow->port[!way] == s->to_port &&
		flow->address[way] == s->from && flow->address[!way] == s->to;
}

static struct tcp_flow *flow_find(struct tcp_flows *flows, unsigned way, const struct segment *s)
{
	if (flows->last < flows->count && flow_is(&flows->rows[flows->last], way, s))
		return &flows->rows[flows->last];
	for (unsigned i = 0; i < flows->count; i++)
		if (flow_is(&flows->rows[i], way, s)) {
			flows->last = i;
			return &flows->rows[i];
		}
	return NULL;
}

/* A row for a new connection. NULL: no memory; then nobody can reset it. */
static struct tcp_flow *flow_add(struct tcp_flows *flows)
{
	for (unsigned i = 0; i < flows->count; i++)
		if (!flows->rows[i].used)
			return &flows->rows[i];
	if (flows->count == SWITCH_FLOWS)
		return &flows->rows[flows->oldest++ % SWITCH_FLOWS];
	if (flows->count == flows->room) {
		unsigned room = flows->room ? 2 * flows->room : 8;
		struct tcp_flow *rows = realloc(flows->rows, room * sizeof *rows);
		if (!rows)
			return NULL;
		flows->rows = rows;
		flows->room = room;
	}
	return &flows->rows[flows->count++];
}

static void flow_begin(struct tcp_flows *flows, unsigned way, const struct segment *s)
{
	struct tcp_flow *flow = flow_find(flows, way, s);

	if (!flow)
		flow = flow_add(flows);
	if (!flow)
		return;
	*flow = (struct tcp_flow){.used = true};
	flow->address[way] = s->from;
	flow->address[!way] = s->to;
	flow->port[way] = s->from_port;
	flow->port[!way] = s->to_port;
}

enum tcp_verdict tcp_flows_see(
	struct tcp_flows *flows, unsigned way, const uint8_t *frame, size_t len, uint8_t ret_reset[TCP_RESET_BYTES])
{
	struct segment s;
	struct tcp_flow *flow;

	if (!segment_read(frame, len, &s))
		return TCP_PASS;
	if ((s.flags & (SYN | ACK)) == SYN) {
		flow_begin(flows, way, &s);
		return TCP_PASS;
	}
	flow = flow_find(flows, way, &s);
	if (!flow)
		return TCP_PASS;
	if (flow->ended && s.flags & RST)
		return TCP_DROP; /* the other side has a RST of ours */
	if (flow->ended) {
		uint32_t end = s.seq + s.payload + !!(s.flags & SYN) + !!(s.flags & FIN);
		struct segment answer = {.from = s.to, .to = s.from, .from_port = s.to_port, .to_port = s.from_port};
		answer.flags = s.flags & ACK ? RST : RST | ACK;
		answer.seq = s.flags & ACK ? s.ack : 0;
		answer.ack = s.flags & ACK ? 0 : end;
		segment_write(&answer, frame + 6, frame, ret_reset);
		return TCP_ANSWER;
	}
	if (s.flags & ACK) {
		flow->expects[way] = s.ack;
		flow->knows[way] = true;
	}
	if (s.flags & FIN)
		flow->finished[way] = true;
	flow->used = !(s.flags & RST) && !(flow->finished[0] && flow->finished[1]);
	return TCP_PASS;
}

void tcp_flows_reset(struct tcp_flows *flows, const uint8_t *const mac[2],
	void (*send)(void *arg, unsigned to_side, const uint8_t frame[TCP_RESET_BYTES]), void *arg)
{
	uint8_t frame[TCP_RESET_BYTES];

	for (unsigned i = 0; i < flows->count; i++) {
		struct tcp_flow *flow = &flows->rows[i];
		if (!flow->used || flow->ended)
			continue;
		flow->ended = true;
		for (unsigned side = 0; side < 2; side++) {
			if (!flow->knows[side])
				continue;
			struct segment s = {.from = flow->address[!side],
				.to = flow->address[side],
				.from_port = flow->port[!side],
				.to_port = flow->port[side],
				.seq = flow->expects[side],
				.flags = RST};
			segment_write(&s, mac[side], mac[!side], frame);
			send(arg, side, frame);
		}
	}
}

void tcp_flows_free(struct tcp_flows *flows)
{
	free(flows->rows);
	*flows = (struct tcp_flows){0};
}
