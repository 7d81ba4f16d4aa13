/* transports/zmq_connections.c - see zmq_connections.h. */
#include "transports/zmq_connections.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static uint32_t home(const struct connections *all, uint32_t router_id)
{
	return (router_id * 0x9e3779b1u >> 7) & (all->hash_room - 1);
}

static void hash_put(struct connections *all, struct connection *connection)
{
	uint32_t at = home(all, connection->router_id);

	while (all->by_router_id[at])
		at = (at + 1) & (all->hash_room - 1);
	all->by_router_id[at] = connection;
}

/* Takes one out and puts the rest of its cluster in again. */
static void hash_take(struct connections *all, struct connection *connection)
{
	uint32_t mask = all->hash_room - 1, at = home(all, connection->router_id);

	while (all->by_router_id[at] != connection)
		at = (at + 1) & mask;
	all->by_router_id[at] = NULL;
	for (at = (at + 1) & mask; all->by_router_id[at]; at = (at + 1) & mask) {
		struct connection *moved = all->by_router_id[at];

		all->by_router_id[at] = NULL;
		hash_put(all, moved);
	}
}

static int hash_grow(struct connections *all)
{
	uint32_t old_room = all->hash_room, room = old_room ? old_room * 2 : 32;
	struct connection **old = all->by_router_id, **bigger = calloc(room, sizeof(struct connection *));

	if (!bigger)
		return -1;
	all->by_router_id = bigger;
	all->hash_room = room;
	for (uint32_t i = 0; i < old_room; i++)
		if (old[i])
			hash_put(all, old[i]);
	free(old);
	return 0;
}

static int slots_grow(struct connections *all)
{
	uint32_t room = all->room ? all->room * 2 : 16;
	struct connection **slots = realloc(all->slots, room * sizeof(struct connection *));
	uint32_t *generations;

	if (!slots)
		return -1;
	all->slots = slots;
	generations = realloc(all->generations, room * sizeof(*generations));
	if (!generations)
		return -1;
	all->generations = generations;
	for (uint32_t i = all->room; i < room; i++) {
		all->slots[i] = NULL;
		all->generations[i] = 0;
	}
	all->room = room;
	return 0;
}

void connections_fini(struct connections *all)
{
	for (uint32_t i = 0; i < all->room; i++)
		free(all->slots[i]);
	free(all->slots);
	free(all->generations);
	free(all->by_router_id);
	free(all->descriptors);
	*all = (struct connections){0};
}

struct connection *connections_add(struct connections *all, uint32_t router_id)
{
	struct connection *connection;
	uint32_t slot = 0;

	if ((all->count == all->room && slots_grow(all)) || ((all->count + 1) * 2 > all->hash_room && hash_grow(all)))
		return NULL;
	connection = calloc(1, sizeof(*connection));
	if (!connection)
		return NULL;
	while (all->slots[slot])
		slot++;
	connection->router_id = router_id;
	connection->slot = slot;
	connection->generation = ++all->generations[slot];
	connection->fd = -1;
	all->slots[slot] = connection;
	all->count++;
	hash_put(all, connection);
	return connection;
}

void connections_remove(struct connections *all, struct connection *connection)
{
	hash_take(all, connection);
	all->slots[connection->slot] = NULL;
	all->count--;
	free(connection);
}

struct connection *connections_by_router_id(const struct connections *all, uint32_t router_id)
{
	if (all->hash_room == 0)
		return NULL;
	for (uint32_t at = home(all, router_id); all->by_router_id[at]; at = (at + 1) & (all->hash_room - 1))
		if (all->by_router_id[at]->router_id == router_id)
			return all->by_router_id[at];
	return NULL;
}

bool connection_has_said_all(const struct connections *all, const struct connection *connection, uint64_t taken)
{
	enum { UNKNOWN_YET = 64 }; /* connections of which no event has been read */

	return taken - connection->heard_at > (uint64_t)all->count + all->open + UNKNOWN_YET;
}

uint64_t connection_number(const struct connection *connection)
{
	return (uint64_t)connection->generation << 32 | connection->slot;
}

struct connection *connections_by_number(const struct connections *all, uint64_t number)
{
	uint32_t slot = (uint32_t)number;

	if (slot >= all->room || !all->slots[slot] || all->slots[slot]->generation != number >> 32)
		return NULL;
	return all->slots[slot];
}

struct descriptor *connections_descriptor(struct connections *all, int fd)
{
	if (fd < 0 || fd > 1 << 24)
		return NULL;
	if ((uint32_t)fd >= all->descriptor_room) {
		uint32_t room = all->descriptor_room ? all->descriptor_room : 64;
		struct descriptor *descriptors;

		while (room <= (uint32_t)fd)
			room *= 2;
		descriptors = realloc(all->descriptors, room * sizeof(*descriptors));
		if (!descriptors)
			return NULL;
		memset(descriptors + all->descriptor_room, 0, (room - all->descriptor_room) * sizeof(*descriptors));
		all->descriptors = descriptors;
		all->descriptor_room = room;
	}
	return &all->descriptors[fd];
}

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
	struct sockaddr_storage storage;
};

static bool is_of_listener(int fd, const char *endpoint)
{
	union address local = {.storage = {0}};
	socklen_t size = sizeof(local);
	const char *colon = strrchr(endpoint, ':');
	unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;

	if (getsockname(fd, &local.any, &size))
		return false;
	if (strncmp(endpoint, "ipc://", 6) == 0)
		return local.any.sa_family == AF_UNIX &&
			strncmp(local.un.sun_path, endpoint + 6, sizeof(local.un.sun_path)) == 0;
	if (local.any.sa_family == AF_INET)
		return ntohs(local.in.sin_port) == port;
	return local.any.sa_family == AF_INET6 && ntohs(local.in6.sin6_port) == port;
}

void connection_shutdown(int fd, const char *endpoint)
{
	if (is_of_listener(fd, endpoint))
		(void)shutdown(fd, SHUT_RDWR);
}

uint64_t connection_received(int fd, const char *endpoint)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	if (!is_of_listener(fd, endpoint) || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) ||
		size < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
		return 0;
	return info.tcpi_bytes_received;
}

void connection_address(int fd, const char *endpoint, char *ret_text, size_t room)
{
	union address peer = {.storage = {0}};
	socklen_t size = sizeof(peer);
	char text[INET6_ADDRSTRLEN] = "";

	ret_text[0] = '\0';
	if (!is_of_listener(fd, endpoint) || getpeername(fd, &peer.any, &size))
		return;
	if (peer.any.sa_family == AF_INET && inet_ntop(AF_INET, &peer.in.sin_addr, text, sizeof(text))) {
		(void)snprintf(ret_text, room, "/ip4/%s/tcp/%u", text, ntohs(peer.in.sin_port));
	} else if (peer.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &peer.in6.sin6_addr, text, sizeof(text))) {
		bool mapped = IN6_IS_ADDR_V4MAPPED(&peer.in6.sin6_addr); /* the listener's socket is of both families */

		(void)snprintf(ret_text, room, "/%s/%s/tcp/%u", mapped ? "ip4" : "ip6", mapped ? strrchr(text, ':') + 1 : text,
			ntohs(peer.in6.sin6_port));
	}
}
