/* cmd/lab/peer.c - `qmt-lab peer`: the command line, and what every mode ends with: the node must live on. */
#include "cmd/lab/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>

#include "cmd/lab/program_options.h"
#include "cmd/lab/programs.h"
#include "cmd/lab/scenario.h"
#include "proto/multiaddr.h"
#include "runtime/base/os.h"

/* OPTION(name, value, doc) */
#define PEER_OPTIONS(OPTION)                                                                                        \
	OPTION(within, "TIME", "Longest wait of each step (default 10s; a node needs hello_ms for what says nothing).") \
	OPTION(seconds, "N", "flood: how long.")                                                                        \
	OPTION(seed, "N", "garbage: which bytes (default 1).")                                                          \
	OPTION(count, "N", "garbage, flood-connections: how many connections.")                                         \
	OPTION(bytes, "N", "huge: length of the frame.")                                                                \
	OPTION(as, "PEERID", "lie-id: whom it claims to be (default: somebody that nobody knows).")                     \
	OPTION(help, NULL, "This text.")

enum peer_option {
#define PEER_OPTION_ID(name, value, doc) OPTION_##name,
	PEER_OPTIONS(PEER_OPTION_ID)
#undef PEER_OPTION_ID
		OPTIONS
};

static const struct program_option rows[OPTIONS] = {
#define PEER_OPTION_ROW(name, value, doc) {#name, value, doc},
	PEER_OPTIONS(PEER_OPTION_ROW)};

static const struct {
	const char *name, *doc;
	peer_mode_fn *run;
} modes[] = {
#define PEER_MODE_ROW(function, name, doc) {name, doc, peer_mode_##function},
	PEER_MODES(PEER_MODE_ROW)};

enum { MODES = sizeof modes / sizeof modes[0], WITHIN_MS = 10000, EXIT_USAGE = 2 };

void peer_say(const char *format, ...)
{
	char line[QMT_ERR_TEXT];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(line, sizeof line, format, args);
	va_end(args);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	(void)puts(line);
	(void)fflush(stdout);
}

void peer_next_step(struct peer *peer)
{
	peer->deadline_ms = qmt_os_real_now_ms() + peer->within_ms;
}

/* ---- command line ------------------------------------------------------------------------------------------------ */

static void help(void)
{
	printf(
		"usage: qmt-lab peer MODE ADDRESS [OPTION]...\n\n"
		"A hostile peer of the node at ADDRESS (/ip4/1.2.3.4/tcp/9000 or 1.2.3.4:9000). The node has to refuse or\n"
		"cut it, and to answer a peer with good manners afterwards: exit 0. Else, or when it cannot be reached: 1.\n"
		"\nModes\n");
	for (size_t i = 0; i < MODES; i++)
		printf("  %-18s %s\n", modes[i].name, modes[i].doc);
	program_options_help(rows, OPTIONS);
}

__attribute__((format(printf, 1, 2))) static int wrong_usage(const char *format, ...)
{
	va_list args;

	fputs("qmt-lab peer: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs(" (see --help)\n", stderr);
	return EXIT_USAGE;
}

/* 0 or EXIT_USAGE. */
static int read_address(struct peer *peer, const char *text)
{
	const char *colon = strrchr(text, ':');
	struct sockaddr_in *four = (struct sockaddr_in *)(void *)&peer->addr;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)&peer->addr;
	struct multiaddr addr = {0};
	struct qmt_err err = {0};
	int64_t port;
	bool ok;

	if (text[0] == '/') {
		if (multiaddr_parse(qmt_str(text), &addr, &err))
			return wrong_usage("%s", err.text);
		if (addr.transport != MULTIADDR_TCP || addr.host_kind > MULTIADDR_IP6)
			return wrong_usage("%s: only /ip4/…/tcp/… and /ip6/…/tcp/… are dialed", text);
	} else {
		size_t len = colon ? (size_t)(colon - text) : 0;

		if (len == 0 || len >= sizeof addr.host || !lab_number(colon + 1, &port) || port < 1 || port > UINT16_MAX)
			return wrong_usage("%s: neither a multiaddr nor IP:PORT", text);
		memcpy(addr.host, text, len);
		addr.port = (uint16_t)port;
		addr.host_kind = MULTIADDR_IP4;
	}
	if (addr.host_kind == MULTIADDR_IP4) {
		*four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(addr.port)};
		peer->addr_len = sizeof *four;
		ok = inet_pton(AF_INET, addr.host, &four->sin_addr) == 1;
	} else {
		*six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(addr.port)};
		peer->addr_len = sizeof *six;
		ok = inet_pton(AF_INET6, addr.host, &six->sin6_addr) == 1;
	}
	(void)snprintf(peer->endpoint, sizeof peer->endpoint,
		addr.host_kind == MULTIADDR_IP4 ? "tcp://%s:%u" : "tcp://[%s]:%u", addr.host, addr.port);
	return ok && addr.port ? 0 : wrong_usage("%s: no address that can be dialed", text);
}

static int read_option(struct peer *peer, int option, struct peer_id *ret_as)
{
	uint64_t *const numbers[OPTIONS] = {
		[OPTION_seconds] = &peer->seconds,
		[OPTION_seed] = &peer->seed,
		[OPTION_count] = &peer->count,
		[OPTION_bytes] = &peer->bytes,
	};
	struct qmt_err err = {0};
	int64_t number;

	switch (option) {
	case OPTION_within:
		return lab_time(optarg, &peer->within_ms) ? 0 : wrong_usage("--within %s: not a time (10s, 500ms)", optarg);
	case OPTION_as:
		if (peer_id_parse(qmt_str(optarg), ret_as, &err))
			return wrong_usage("--as %s: %s", optarg, err.text);
		peer->as = ret_as;
		return 0;
	default:
		if (!lab_number(optarg, &number) || number < 0 || number > UINT32_MAX)
			return wrong_usage("--%s %s: not a number from 0 to %u", rows[option].name, optarg, UINT32_MAX);
		*numbers[option] = (uint64_t)number;
		return 0;
	}
}

static int find_mode(const char *name)
{
	for (int i = 0; i < (int)MODES; i++)
		if (strcmp(modes[i].name, name) == 0)
			return i;
	return -1;
}

static int attack(struct peer *peer, int mode)
{
	int verdict;

	peer_say("ready mode=%s address=%s", modes[mode].name, peer->endpoint);
	peer_next_step(peer);
	verdict = modes[mode].run(peer);
	if (verdict == PEER_HELD) {
		peer_next_step(peer);
		verdict = peer_check_alive(peer);
	}
	return verdict;
}

int lab_peer_main(int argc, char **argv)
{
	struct peer peer = {.within_ms = WITHIN_MS, .seed = 1};
	struct peer_id as;
	struct option options[OPTIONS + 1];
	int option, mode, rc;

	program_options(rows, OPTIONS, options);
	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == OPTION_help) {
			help();
			return 0;
		}
		if (option < 0 || option >= OPTIONS)
			return wrong_usage("no such option, or a value is missing: %s", argv[optind - 1]);
		rc = read_option(&peer, option, &as);
		if (rc)
			return rc;
	}
	if (argc - optind != 2)
		return wrong_usage("MODE and ADDRESS are wanted");
	mode = find_mode(argv[optind]);
	if (mode < 0)
		return wrong_usage("no such mode: %s", argv[optind]);
	rc = read_address(&peer, argv[optind + 1]);
	if (rc)
		return rc;
	if (identity_crypto_init()) {
		fputs("qmt-lab peer: no random numbers\n", stderr);
		return PEER_LET;
	}
	return attack(&peer, mode);
}
