/* transports/peers_dial.c - configured peers: whom to expect there, where that is, dialing, waiting, dialing again.
 *
 *      IDLE --> PIN --> RESOLVE --> DIALING --> CONNECTED
 *                ^  \      |  \        |  \        |
 *                |   `-----+---`-------+---`--> WAITING   (backoff with jitter, for ever)
 *                `-------------------------------'
 *
 * BLOCKED, out of any state: the owner said so (peers_policy.c); it is dialed no more until he takes it back. Nothing
 * leaves IDLE before it is known of whom he did.
 *
 * PIN asks the store once which PeerId answered under this name before; addresses with /p2p/… skip it, numeric ones
 * skip RESOLVE. CONNECTED: some link to that PeerId is in use, whoever dialed it.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <arpa/inet.h>

#include "transports/peers_internal.h"

enum { PIN_ASK_MS = 5000, BACKOFF_DOUBLINGS = 16 };

static void keep_error(struct target *target, const char *why)
{
	if (why && why[0])
		qmt_text(target->last_error, sizeof(target->last_error), "%s", why);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void on_wait_over(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct target *target = arg;

	target->timer = (struct qmt_timer){0};
	if (target->state == TARGET_WAITING)
		target_go(ctx, state, target);
}

void target_later(struct qmt_ctx *ctx, struct peers *peers, struct target *target, const char *why)
{
	uint32_t doublings = target->failures < BACKOFF_DOUBLINGS ? target->failures : BACKOFF_DOUBLINGS;
	uint64_t delay = peers->limits->redial_min_ms << doublings, dice;

	keep_error(target, why);
	if (target->gone) {
		target->state = TARGET_IDLE;
		return;
	}
	target->addr_at++;
	if (delay > peers->limits->redial_max_ms)
		delay = peers->limits->redial_max_ms;
	qmt_random(ctx, &dice, sizeof(dice));
	delay =
		delay / 2 + dice % (delay + 1) / 2 + 1; /* half to all of it: peers that lost each other do not dial in step */
	target->failures++;
	target->state = TARGET_WAITING;
	qmt_timer_cancel(ctx, &target->timer);
	if (qmt_timer_start(ctx, delay, on_wait_over, target, &target->timer))
		qmt_fail(ctx, "out of memory"); /* without a timer this peer would never be dialed again */
}

/* The next one to answer under this name is the one, as at first contact. */
static void forget_identity(struct target *target)
{
	target->has_expected = target->pin_read = target->refused = target->forgotten = false;
}

struct target *target_first(const struct peers *peers)
{
	return peers->config->peer_count ? peers->targets : peers->found;
}

struct target *target_next(const struct peers *peers, const struct target *target)
{
	if (target < peers->targets || target >= peers->targets + peers->config->peer_count)
		return target->next;
	return target + 1 < peers->targets + peers->config->peer_count ? &peers->targets[target + 1 - peers->targets]
																   : peers->found;
}

void targets_of(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, bool connected)
{
	for (struct target *target = target_first(peers); target; target = target_next(peers, target)) {
		if (!target->has_expected || peer_id_compare(&target->expected, id) != 0 || target->gone)
			continue;
		if (connected) {
			target->state = TARGET_CONNECTED;
			target->failures = 0;
			target->refused = false;
			target->last_error[0] = target->logged[0] = '\0';
			qmt_timer_cancel(ctx, &target->timer);
		} else if (target->state == TARGET_CONNECTED) {
			target->failures = 0;
			if (target->forgotten)
				forget_identity(target);
			target_later(ctx, peers, target, NULL);
		}
	}
}

static struct dial *dial_of(const struct peers *peers, const struct target *target)
{
	for (struct dial *dial = peers->dials; dial; dial = dial->next)
		if (dial->target == target && !dial->proven)
			return dial;
	return NULL;
}

bool target_is_dialing(const struct peers *peers, const struct peer_id *id)
{
	for (const struct dial *dial = peers->dials; dial; dial = dial->next)
		if (!dial->proven && dial->target->has_expected && peer_id_compare(&dial->target->expected, id) == 0)
			return true;
	return false;
}

/* ---- dialing ----------------------------------------------------------------------------------------------------- */

static void endpoint_of(const struct multiaddr *addr, const char *host, char ret_endpoint[ZMQ_ENDPOINT])
{
	bool colons = strchr(host, ':') != NULL;

	(void)snprintf(
		ret_endpoint, ZMQ_ENDPOINT, "tcp://%s%s%s:%u", colons ? "[" : "", host, colons ? "]" : "", addr->port);
}

/* host: numeric. */
static void start_dial(struct qmt_ctx *ctx, struct peers *peers, struct target *target, const char *host)
{
	struct dial *dial = calloc(1, sizeof(*dial));
	struct qmt_err err = {0};

	if (!dial) {
		target_later(ctx, peers, target, "out of memory");
		return;
	}
	dial->target = target;
	dial->tag = ++peers->tags;
	multiaddr_text(&target->config->addr, dial->address);
	dial->link_config = (struct link_config){
		.node = peers->node,
		.role = AUTHORITY_NONE,
		.dialed = true,
		.of_mesh = true,
		.attempt = ++peers->attempts,
		.any_peer = !target->has_expected,
		.expected = target->expected,
		.address = dial->address,
		.tag = dial->tag,
	};
	if (peers->config->loop) {
		dial->loop = (struct loop_dial_config){.hub = peers->config->loop, .port = target->config->addr.port};
		dial->link_config.ops = &loop_dial_ops;
		dial->link_config.wire_config = &dial->loop;
		dial->link_config.transport = "loop";
	} else {
		dial->zmq.context = peers->config->context;
		dial->zmq.limits = peers->limits;
		endpoint_of(&target->config->addr, host, dial->zmq.endpoint);
		dial->link_config.ops = &zmq_dialer_ops;
		dial->link_config.wire_config = &dial->zmq;
		dial->link_config.transport = "tcp";
	}
	if (qmt_spawn(ctx, &link_desc, &(struct qmt_spawn){.config = &dial->link_config, .restart = QMT_TEMPORARY},
			&dial->link, &err)) {
		free(dial);
		target_later(ctx, peers, target, "no link could be started");
		return;
	}
	dial->next = peers->dials;
	peers->dials = dial;
	target->state = TARGET_DIALING;
}

/* A peer that stays away is dialed for ever; the same reason is logged once. */
static void log_failure(struct qmt_ctx *ctx, struct target *target, const char *address, const char *why)
{
	if (strcmp(target->logged, why) == 0)
		return;
	qmt_text(target->logged, sizeof(target->logged), "%s", why);
	QMT_LOG(ctx, target->refused ? QMT_WARN : QMT_INFO, "peers.dial_failed", "name", target->config->name, "address",
		address, "reason", why, "note", "dialed again; the same reason is not logged again");
}

static void dial_drop(struct qmt_ctx *ctx, struct peers *peers, struct dial *dial)
{
	struct target *target = dial->target;
	struct dial **at = &peers->dials;

	while (*at != dial)
		at = &(*at)->next;
	*at = dial->next;
	free(dial);
	if (target->state == TARGET_DIALING && !dial_of(peers, target))
		target_later(ctx, peers, target, NULL);
	if (target->has_expected)
		peers_reconsider(ctx, peers, &target->expected);
}

void dial_ended(struct qmt_ctx *ctx, struct peers *peers, const struct link_ended *msg)
{
	char why[300];

	for (struct dial *dial = peers->dials; dial; dial = dial->next) {
		if (dial->tag != msg->tag)
			continue;
		struct target *target = dial->target;
		bool gone = dial->gone;
		if (dial->told) { /* only our own word that it is gone */
			if (gone)
				dial_drop(ctx, peers, dial);
			return;
		}
		dial->told = true;
		bool refused_before = target->refused;
		peers->counts.dials_failed += !dial->proven;
		qmt_text(why, sizeof(why), "%.*s", QMT_STR_ARG(msg->why));
		if (!dial->proven)
			target->refused = msg->code == -EACCES;
		if (target->refused && !target->config->addr.has_peer)
			qmt_text(target->last_error, sizeof(target->last_error),
				"%.200s; that is what was noted at the first contact; to accept a change: qmt peers forget %.64s", why,
				target->config->name);
		else if (target->state != TARGET_CONNECTED)
			keep_error(target, why);
		if (target->refused && !refused_before) /* it is dialed on; this is said once */
			QMT_LOG(ctx, QMT_WARN, "peer.refused", "name", target->config->name, "reason",
				target->last_error[0] ? target->last_error : why);
		if (!dial->proven)
			log_failure(ctx, target, dial->address, why);
		if (gone)
			dial_drop(ctx, peers, dial);
		return;
	}
}

bool dial_child_ended(struct qmt_ctx *ctx, struct peers *peers, struct qmt_ref child)
{
	for (struct dial *dial = peers->dials; dial; dial = dial->next) {
		if (!qmt_ref_eq(dial->link, child))
			continue;
		/* The end of a child passes what it told before: a link that fails says why and ends in one turn. So its end
		 * is put
		 * behind its words; one that ended without any (its start failed) is told of by these. */
		dial->gone = true;
		if (dial->told ||
			QMT_TELL(ctx, qmt_self(ctx), link_ended, .dialed = true, .tag = dial->tag,
				.why = qmt_str("the link ended without a word")) != 0)
			dial_drop(ctx, peers, dial);
		return true;
	}
	return false;
}

/* ---- names of hosts ---------------------------------------------------------------------------------------------- */

struct resolve {
	struct target *target;
	bool ip6;
	char host[MULTIADDR_HOST];
	char numeric[INET6_ADDRSTRLEN];
	char error[128];
};

static void resolve_run(void *arg)
{
	struct resolve *resolve = arg;
	struct addrinfo hints = {.ai_family = resolve->ip6 ? AF_INET6 : AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
	int rc = getaddrinfo(resolve->host, NULL, &hints, &found);

	if (!rc)
		rc = getnameinfo(
			found->ai_addr, found->ai_addrlen, resolve->numeric, sizeof(resolve->numeric), NULL, 0, NI_NUMERICHOST);
	if (rc)
		qmt_text(resolve->error, sizeof(resolve->error), "%s", gai_strerror(rc));
	if (found)
		freeaddrinfo(found);
}

static void resolve_done(struct qmt_ctx *ctx, void *state, void *arg)
{
	struct peers *peers = state;
	struct resolve *resolve = arg;
	struct target *target = resolve->target;
	char why[400];

	if (target->state == TARGET_RESOLVE) {
		qmt_text(why, sizeof(why), "%s: %s", resolve->host, resolve->error);
		if (resolve->error[0])
			target_later(ctx, peers, target, why);
		else
			start_dial(ctx, peers, target, resolve->numeric);
	}
	free(resolve);
}

static void resolve_start(struct qmt_ctx *ctx, struct peers *peers, struct target *target)
{
	static const struct qmt_job job = {.run = resolve_run, .done = resolve_done, .drop = free};
	struct resolve *resolve = calloc(1, sizeof(*resolve));

	target->state = TARGET_RESOLVE;
	if (resolve) {
		resolve->target = target;
		resolve->ip6 = target->config->addr.host_kind == MULTIADDR_DNS6;
		(void)snprintf(resolve->host, sizeof(resolve->host), "%s", target->config->addr.host);
	}
	if (!resolve || qmt_job_start(ctx, &job, resolve)) {
		free(resolve);
		target_later(ctx, peers, target, "no thread to resolve the name");
	}
}

/* ---- pins -------------------------------------------------------------------------------------------------------- */

void ask_store(struct qmt_ctx *ctx, const struct qmt_type *type, const void *body, qmt_continuation *then, void *arg)
{
	struct qmt_ref store;

	if (qmt_lookup(ctx, "store", &store))
		store = (struct qmt_ref){0}; /* then the answer is: not running */
	qmt_ask_or(ctx, store, type, body, PIN_ASK_MS, then, arg);
}

static void on_pin(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct peers *peers = state;
	struct target *target = arg;
	char why[300];

	if (target->state != TARGET_PIN)
		return;
	if (result->fail || result->type != &store_pin_type) {
		qmt_text(why, sizeof(why), "its pinned PeerId could not be read: %s", qmt_fail_name(result->fail));
		target_later(ctx, peers, target, why);
		return;
	}
	const struct store_pin *pin = result->body;
	target->pin_read = true;
	if (pin->peer_id.len) {
		if (peer_id_parse(pin->peer_id, &target->expected, NULL)) {
			target->pin_read = false;
			target_later(ctx, peers, target, "the pinned PeerId is damaged; `qmt peers forget` drops it");
			return;
		}
		target->has_expected = true;
		(void)peers_judge_again(ctx, peers, &target->expected);
	}
	target_go(ctx, peers, target);
}

static void on_pinned(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct peers *peers = state;
	struct target *target = arg;
	char why[200];
	struct qmt_ref link = target->pinning;

	target->pinning = (struct qmt_ref){0};
	qmt_text(why, sizeof(why), "its PeerId could not be pinned: %s", qmt_fail_name(result->fail));
	if (result->fail)
		target->has_expected = false;
	peers_pinned(ctx, peers, link, result->fail ? why : NULL);
}

/* First contact: whoever answered under this name is the one from now on. */
void target_pin(struct qmt_ctx *ctx, struct peers *peers, struct known_link *link)
{
	struct target *target = link->target;
	struct store_pin_put msg = {.name = qmt_str(target->config->name), .peer_id = qmt_str(link->remote->text)};

	target->expected = link->remote->id;
	target->has_expected = true;
	(void)peers_judge_again(ctx, peers, &target->expected);
	target->pinning = link->ref;
	ask_store(ctx, &store_pin_put_type, &msg, on_pinned, target);
}

struct forgetting {
	struct qmt_token token;
	uint32_t target; /* index; UINT32_MAX: none of that name */
	bool was_policy;
};

static void on_forgotten(struct qmt_ctx *ctx, void *state, const struct qmt_result *result, void *arg)
{
	struct peers *peers = state;
	struct forgetting *forgetting = arg;

	if (result->fail == 0 && forgetting->target != UINT32_MAX) {
		struct target *target = &peers->targets[forgetting->target];
		struct peer_id id = target->expected;
		bool had = target->has_expected;

		if (!target->config->addr.has_peer && target->state == TARGET_CONNECTED) {
			target->forgotten = true; /* its link goes on, and has its name until it ends */
		} else if (!target->config->addr.has_peer) {
			forget_identity(target);
			target->failures = 0;
			target->last_error[0] = '\0';
			if (had)
				(void)peers_judge_again(ctx, peers, &id);
			if (target->state == TARGET_WAITING || target->state == TARGET_BLOCKED)
				target_go(ctx, peers, target);
		}
	}
	if (result->fail && !(forgetting->was_policy && result->fail == QMT_FAIL_NOT_FOUND))
		(void)qmt_reply_result(ctx, forgetting->token, result);
	else
		(void)QMT_REPLY(ctx, forgetting->token, peers_done, );
	free(forgetting);
}

void target_forget(
	struct qmt_ctx *ctx, struct peers *peers, struct qmt_token token, struct qmt_str name, bool was_policy)
{
	struct forgetting *forgetting = calloc(1, sizeof(*forgetting));
	struct store_pin_forget forget = {.name = name};

	if (!forgetting) {
		(void)qmt_reply_fail(ctx, token, QMT_FAIL_FAILED, NULL, 0, "out of memory");
		return;
	}
	*forgetting = (struct forgetting){.token = token, .target = UINT32_MAX, .was_policy = was_policy};
	for (uint32_t i = 0; i < peers->config->peer_count; i++)
		if (qmt_str_is(name, peers->targets[i].config->name))
			forgetting->target = i;
	ask_store(ctx, &store_pin_forget_type, &forget, on_forgotten, forgetting);
}

/* ---- policies ---------------------------------------------------------------------------------------------------- */

void target_may_go(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id)
{
	for (struct target *target = target_first(peers); target; target = target_next(peers, target)) {
		if (!target->has_expected || peer_id_compare(&target->expected, id) != 0 || peer_is_blocked(peers, id) ||
			(target->state != TARGET_BLOCKED && target->state != TARGET_WAITING))
			continue;
		target->failures = 0;
		target->last_error[0] = '\0';
		target_go(ctx, peers, target);
	}
}

void dials_end(struct qmt_ctx *ctx, struct peers *peers, const struct peer_id *id, const char *why)
{
	for (const struct dial *dial = peers->dials; dial; dial = dial->next)
		if (!dial->proven && dial->target->has_expected && peer_id_compare(&dial->target->expected, id) == 0)
			(void)QMT_TELL(ctx, dial->link, link_end, .why = qmt_str(why));
	for (struct target *target = target_first(peers); target; target = target_next(peers, target))
		if (target->state == TARGET_WAITING && target->has_expected && peer_id_compare(&target->expected, id) == 0)
			target_go(ctx, peers, target);
}

void targets_say(struct peers *peers, const char *why)
{
	for (struct target *target = target_first(peers); target; target = target_next(peers, target))
		keep_error(target, why);
}

void targets_go(struct qmt_ctx *ctx, struct peers *peers)
{
	for (struct target *target = target_first(peers); target; target = target_next(peers, target)) {
		target->last_error[0] = '\0';
		target_go(ctx, peers, target);
	}
}

/* ---- the next step ----------------------------------------------------------------------------------------------- */

void target_go(struct qmt_ctx *ctx, struct peers *peers, struct target *target)
{
	const struct multiaddr *addr = &target->config->addr;
	struct remote *remote = target->has_expected ? peers_remote(peers, &target->expected) : NULL;
	struct store_pin_get get = {.name = qmt_str(target->config->name)};

	qmt_timer_cancel(ctx, &target->timer);
	if (target->addr_count)
		target->own.addr = target->addrs[target->addr_at % target->addr_count];
	if (!peers->policies_known || target->gone) {
		target->state = TARGET_IDLE;
	} else if (target->has_expected && peer_is_blocked(peers, &target->expected)) {
		target->state = TARGET_BLOCKED;
		keep_error(target, "blocked by qmt peers block");
	} else if (remote && remote->in_use) {
		target->state = TARGET_CONNECTED;
		target->failures = 0;
	} else if (dial_of(peers, target)) {
		target->state = TARGET_DIALING;
	} else if (!target->has_expected && !target->pin_read) {
		target->state = TARGET_PIN;
		ask_store(ctx, &store_pin_get_type, &get, on_pin, target);
	} else if (!peers->config->loop && (addr->host_kind == MULTIADDR_DNS4 || addr->host_kind == MULTIADDR_DNS6)) {
		resolve_start(ctx, peers, target);
	} else {
		start_dial(ctx, peers, target, addr->host);
	}
}
