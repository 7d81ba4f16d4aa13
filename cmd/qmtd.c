/* cmd/qmtd.c - `qmtd`: a node in the foreground. Reads flags and configuration, takes the home, starts the node,
 * waits for signals.
 *
 * Signals are blocked before the first thread and read here only: SIGTERM and SIGINT drain and exit 0, a second one
 * ends the process at once; when the actors have given up, it says so and exits 1. Exit codes: 0 ok, 1 failed and
 * may be
 * retried, 2 wrong usage, 78 bad configuration. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/config.h"
#include "cmd/home.h"
#include "cmd/invite_text.h"
#include "cmd/qmt_input.h"
#include "proto/invite.h"
#include "cmd/node.h"
#include "cmd/qmtd_flags.def"
#include "cmd/qr.h"
#include "proto/multiaddr.h"
#include "runtime/base/os.h"

enum flag {
#define FLAG_ID(id, name, value, optional, now, doc) FLAG_##id,
	QMTD_FLAGS(FLAG_ID)
#undef FLAG_ID
		FLAGS
};

static const struct {
	const char *name, *value, *doc;
	bool optional, now;
} flags[] = {
#define FLAG_ROW(id, name, value, optional, now, doc) {name, value, doc, optional, now},
	QMTD_FLAGS(FLAG_ROW)
#undef FLAG_ROW
};

struct daemon {
	const char *flag[FLAGS]; /* NULL: not given; "": without a value */
	const char *config_path; /* NULL: none */
	bool check;
	uint64_t stop_timeout_ms;
	struct admission_invite_create invite; /* with FLAG_mesh_invite */
};

static void complain(const char *format, ...) QMT_PRINTF(1, 2);
static void complain(const char *format, ...)
{
	va_list args;

	fputs("qmtd: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* ---- flags ------------------------------------------------------------------------------------------------------- */

static void flag_head(size_t i, char room[64])
{
	snprintf(room, 64, "--%s%s%s%s", flags[i].name,
		!flags[i].value         ? ""
			: flags[i].optional ? "[="
								: " ",
		flags[i].value ? flags[i].value : "", flags[i].value && flags[i].optional ? "]" : "");
}

static void help(void)
{
	printf("usage: qmtd [CONFIG] [FLAG]...        run a node in the foreground\n"
		   "       qmtd check CONFIG [--dump]     check a configuration\n\n");
	for (size_t i = 0; i < FLAGS; i++) {
		char head[64];
		flag_head(i, head);
		if (flags[i].now)
			printf("  %-24s %s\n", head, flags[i].doc);
	}
	printf("\nCONFIG is TOML, or INI when its name ends in .ini or .conf. When the node is ready one line says so:\n"
		   "  ready peer_id=... name=... listen=... control=...\n"
		   "SIGTERM drains and exits 0. QMT_LOG=link=debug,store=info,warn chooses what is logged (on stderr).\n"
		   "Exit: 0 ok, 1 failed and may be retried, 2 wrong usage, 78 bad configuration.\n");
}

static void man(void)
{
	printf(".TH QMTD 1 \"\" \"qmt %s\" \"User Commands\"\n.SH NAME\nqmtd \\- a node of a qmt mesh\n.SH "
		   "SYNOPSIS\n.B qmtd\n[\\fICONFIG\\fR] "
		   "[\\fIFLAG\\fR]...\n.br\n.B qmtd check\n.I CONFIG\n[\\-\\-dump]\n.SH DESCRIPTION\nRuns in the "
		   "foreground. CONFIG is TOML, or INI when its "
		   "name ends in .ini or .conf. When the node is ready it prints one line: ready peer_id=... name=... "
		   "listen=... control=...\n"
		   "SIGTERM and SIGINT drain and exit 0.\n.SH OPTIONS\n",
		QMT_VERSION);
	for (size_t i = 0; i < FLAGS; i++) {
		char head[64];
		flag_head(i, head);
		if (flags[i].now)
			printf(".TP\n.B \"%s\"\n%s\n", head, flags[i].doc);
	}
	printf(".SH EXIT STATUS\n0: done. 1: failed, and may be retried. 2: wrong usage. 78: bad configuration.\n"
		   ".SH ENVIRONMENT\n.TP\n.B QMT_HOME\nHome folder, unless \\-\\-home says otherwise.\n.TP\n.B "
		   "QMT_LOG\nWhat is logged: "
		   "a level (debug, info, warn, error, off) and component=level pairs, comma\\-separated.\n.TP\n.B "
		   "NOTIFY_SOCKET\nsystemd is told READY and STOPPING.\n"
		   ".SH SEE ALSO\n.BR qmt (1)\n");
}

static int find_flag(const char *name, size_t len)
{
	for (int i = 0; i < FLAGS; i++)
		if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0)
			return i;
	return -1;
}

/* Standard output is the journal: systemd says which file that is, as device:inode (systemd.exec(5)). */
static bool prints_into_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat info;

	if (!stream || fstat(1, &info) != 0)
		return false;
	(void)snprintf(own, sizeof own, "%llu:%llu", (unsigned long long)info.st_dev, (unsigned long long)info.st_ino);
	return strcmp(stream, own) == 0;
}

static int parse_invite(struct daemon *daemon)
{
	const char *name = daemon->flag[FLAG_mesh_invite];
	struct qmt_err err = {0};

	if (!name && (daemon->flag[FLAG_invite_ttl] || daemon->flag[FLAG_invite_uses])) {
		complain("--invite-ttl and --invite-uses go with --mesh-invite");
		return CLI_USAGE;
	}
	if (name && prints_into_journal()) {
		complain("--mesh-invite: standard output is the journal, and an invite is a secret: use qmt invite create");
		return CLI_USAGE;
	}
	daemon->invite.name = qmt_str(name);
	if (invite_name(daemon->invite.name, &err) != 0) {
		complain("--mesh-invite: %s", err.text);
		return CLI_USAGE;
	}
	if (invite_ttl(daemon->flag[FLAG_invite_ttl], &daemon->invite.ttl_s, &err) != 0) {
		complain("--invite-ttl: %s", err.text);
		return CLI_USAGE;
	}
	if (invite_uses(daemon->flag[FLAG_invite_uses], &daemon->invite.max_uses, &err) != 0) {
		complain("--invite-uses: %s", err.text);
		return CLI_USAGE;
	}
	return CLI_OK;
}

static int parse(int argc, char **argv, struct daemon *daemon)
{
	int i = 1;

	if (argc > 1 && strcmp(argv[1], "check") == 0) {
		daemon->check = true;
		i = 2;
	}
	for (; i < argc; i++) {
		const char *arg = argv[i];
		if (arg[0] != '-' || arg[1] == '\0') {
			if (daemon->config_path) {
				complain("one configuration at a time: %s, %s", daemon->config_path, arg);
				return CLI_USAGE;
			}
			daemon->config_path = arg;
			continue;
		}
		const char *equals = strchr(arg, '=');
		size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
		int flag = strcmp(arg, "-h") == 0 ? FLAG_help : len > 2 && arg[1] == '-' ? find_flag(arg + 2, len - 2) : -1;
		if (flag < 0) {
			complain("no such flag: %s (see qmtd --help)", arg);
			return CLI_USAGE;
		}
		if (!flags[flag].now) {
			complain("not in this version: --%s", flags[flag].name);
			return CLI_CONFIG;
		}
		if (!flags[flag].value && equals) {
			complain("--%s takes no value", flags[flag].name);
			return CLI_USAGE;
		}
		if (flags[flag].value && !flags[flag].optional && !equals) {
			if (i + 1 >= argc) {
				complain("--%s wants a value: %s", flags[flag].name, flags[flag].value);
				return CLI_USAGE;
			}
			daemon->flag[flag] = argv[++i];
		} else {
			daemon->flag[flag] = equals ? equals + 1 : "";
		}
	}
	if (daemon->check && !daemon->config_path && !daemon->flag[FLAG_help]) {
		complain("check wants a configuration file");
		return CLI_USAGE;
	}
	if (parse_invite(daemon) != CLI_OK)
		return CLI_USAGE;
	daemon->stop_timeout_ms = 10000;
	if (daemon->flag[FLAG_stop_timeout]) {
		char *end;
		errno = 0;
		unsigned long seconds = strtoul(daemon->flag[FLAG_stop_timeout], &end, 10);
		if (errno || *end || end == daemon->flag[FLAG_stop_timeout] || seconds > 3600) {
			complain("--stop-timeout: \"%s\" is not a number of seconds up to 3600", daemon->flag[FLAG_stop_timeout]);
			return CLI_USAGE;
		}
		daemon->stop_timeout_ms = (uint64_t)seconds * 1000;
	}
	return CLI_OK;
}

/* ---- configuration ----------------------------------------------------------------------------------------------- */

static bool is_local(const struct multiaddr *addr)
{
	struct ifaddrs *list = NULL;
	unsigned char want[16];
	int family = addr->host_kind == MULTIADDR_IP4 ? AF_INET : AF_INET6;
	bool found = false;

	if (multiaddr_is_wildcard(addr))
		return true;
	if (addr->host_kind != MULTIADDR_IP4 && addr->host_kind != MULTIADDR_IP6)
		return false;
	if (inet_pton(family, addr->host, want) != 1 || getifaddrs(&list) != 0)
		return false;
	for (const struct ifaddrs *entry = list; entry && !found; entry = entry->ifa_next) {
		if (!entry->ifa_addr || entry->ifa_addr->sa_family != family)
			continue;
		if (family == AF_INET) {
			const struct in_addr *have = &((const struct sockaddr_in *)(const void *)entry->ifa_addr)->sin_addr;
			found = memcmp(have, want, 4) == 0 || (want[0] == 127 && (ntohl(have->s_addr) >> 24) == 127);
		} else {
			found = memcmp(&((const struct sockaddr_in6 *)(const void *)entry->ifa_addr)->sin6_addr, want, 16) == 0;
		}
	}
	freeifaddrs(list);
	return found;
}

/* --mesh[=ADDR] without a file is a small file; with one it must not say the opposite of it. --mesh-invite alone is
 * --mesh too. */
static int mesh_text(const struct daemon *daemon, struct qmt_buf *out)
{
	const char *text = daemon->flag[FLAG_mesh] ? daemon->flag[FLAG_mesh] : "";
	struct multiaddr addr;
	struct qmt_err err = {0};

	qmt_buf_str(out, "[mesh]\nenabled = true\ndiscovery = \"none\"\n");
	if (!text[0])
		return CLI_OK;
	if (multiaddr_parse(qmt_str(text), &addr, &err) != 0) {
		complain("--mesh: %s", err.text);
		return CLI_USAGE;
	}
	if (is_local(&addr) && !addr.has_peer) {
		qmt_buf_printf(out, "listen = \"%s\"\n", text);
	} else {
		qmt_buf_printf(out, "[[mesh.peers]]\nname = \"mesh\"\naddr = \"%s\"\n", text);
		fprintf(stderr, "qmtd: --mesh: no interface here has %s: it is dialed, under the name \"mesh\"\n", text);
	}
	return CLI_OK;
}

static int load(const struct daemon *daemon, struct config **ret_config)
{
	struct config_errors errors = {0};
	struct qmt_buf text = {0};
	int rc, status = CLI_OK;

	if (daemon->config_path && daemon->flag[FLAG_mesh]) {
		complain("--mesh goes without a configuration file; there it is [mesh] enabled, listen and [[mesh.peers]]");
		return CLI_USAGE;
	}
	if (!daemon->config_path && !daemon->flag[FLAG_mesh] && !daemon->flag[FLAG_mesh_invite] &&
		!daemon->flag[FLAG_mesh_join]) {
		complain("nothing to run: give a configuration file, or --mesh (see qmtd --help)");
		return CLI_USAGE;
	}
	if (daemon->config_path) {
		rc = config_load(daemon->config_path, NULL, ret_config, &errors);
	} else {
		status = mesh_text(daemon, &text);
		rc = status != CLI_OK
			? 0
			: config_parse(qmt_buf_view(&text), CONFIG_TOML, "--mesh", "/", NULL, ret_config, &errors);
	}
	if (rc == CONFIG_E_BAD) {
		struct qmt_buf report = {0};
		config_errors_print(&errors, &report);
		fwrite(report.data, 1, report.len, stderr);
		qmt_buf_free(&report);
		status = CLI_CONFIG;
	} else if (rc != 0) {
		complain("out of memory");
		status = CLI_FAILED;
	}
	config_errors_free(&errors);
	qmt_buf_free(&text);
	return status;
}

static int check(const struct daemon *daemon, const struct config *config)
{
	struct qmt_buf out = {0};

	for (uint32_t i = 0; i < config->notices.count; i++)
		fprintf(stderr, "note: %s\n", config->notices.items[i]);
	if (!daemon->flag[FLAG_dump]) {
		printf("%s: ok\n", daemon->config_path);
		return CLI_OK;
	}
	if (config_dump(config, &out) != 0) {
		complain("out of memory");
		return CLI_FAILED;
	}
	fwrite(out.data, 1, out.len, stdout);
	qmt_buf_free(&out);
	return CLI_OK;
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

/* How the runtime's threads tell the main thread that they have given up; no signal that others send us. */
#define GAVE_UP SIGRTMIN

static void gave_up(void *unused)
{
	(void)unused;
	sigqueue(getpid(), GAVE_UP, (union sigval){0});
}

/* The next signal that means something: TERM, INT, or GAVE_UP from this process. */
static int signal_wait(const sigset_t *signals)
{
	siginfo_t info;
	int number;

	do
		number = sigwaitinfo(signals, &info);
	while (number < 0 || (number == GAVE_UP && info.si_pid != getpid()));
	return number;
}

/* Tells systemd, when it asked for it (sd_notify(3): a datagram to $NOTIFY_SOCKET; '@' is the abstract namespace). */
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (len < 2 || len >= sizeof to.sun_path)
		return;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		complain("NOTIFY_SOCKET %s: %s", path, strerror(errno));
	close(fd);
}

static void ready(const struct node *node, const struct config *config, const struct identity *identity)
{
	struct qmt_buf line = {0};
	char peer_id[PEER_ID_TEXT + 1];

	peer_id_text(&identity->id, peer_id);
	qmt_buf_printf(&line, "ready peer_id=%s name=%s listen=", peer_id, config->node_name);
	node_listening(node, &line);
	qmt_buf_printf(&line, " control=%s\n", node_control_path(node));
	fwrite(line.data, 1, line.len, stdout);
	fflush(stdout);
	qmt_buf_free(&line);
	notify("READY=1");
}

/* --mesh-invite: on standard output, behind the line that says that the node is ready; on a terminal as QR code,
 * too. */
static int print_invite(const struct daemon *daemon, struct node *node, struct qmt_err *err)
{
	struct qmt_result result;
	struct qmt_buf drawn = {0};
	struct invite_urls urls = {0};
	struct qr qr = {0};
	char summary[INVITE_SUMMARY];
	int rc = node_ask_own(node, "admission", &admission_invite_create_type, &daemon->invite, &result, err);

	if (rc != 0)
		return qmt_err_prefix(err, "--mesh-invite");
	if (invite_urls_make(result.body, &urls) != 0)
		return qmt_err_set(err, -ENOMEM, "out of memory");
	invite_summary(&((const struct admission_invite_created *)result.body)->invite, summary);
	printf("invite %s\n", summary);
	for (uint32_t i = 0; i < urls.count; i++)
		printf("invite %s\n", urls.items[i]);
	if (isatty(1) && qr_make(invite_urls_best(&urls), &qr, err) == 0) {
		qr_terminal(&qr, &drawn);
		if (!drawn.failed)
			fwrite(drawn.data, 1, drawn.len, stdout);
		qmt_buf_free(&drawn);
		qr_free(&qr);
	}
	fflush(stdout);
	invite_urls_free(&urls);
	return 0;
}

/* --mesh-join, else [mesh] invite. Looked at before anything is started: a token that is none is a mistake of whoever
 * wrote it. Empty: none. An exit code. */
static int read_invite(const struct daemon *daemon, const struct config *config, struct qmt_buf *ret_token)
{
	const char *argument = daemon->flag[FLAG_mesh_join], *configured = config->root.mesh.invite;
	struct qmt_err err = {0};
	struct multiaddr addr;
	struct invite invite;
	struct qmt_str token;
	bool has_addr;
	int rc = 0;

	if (!argument && !(configured && config->root.mesh.enabled))
		return CLI_OK;
	if (identity_crypto_init() != 0)
		rc = qmt_err_set(&err, -EIO, "libsodium cannot be used on this machine");
	else if (argument)
		rc = input_argument(argument, 2 * INVITE_TEXT_MAX, ret_token, &err);
	else
		qmt_buf_str(ret_token, configured);
	if (rc == 0 && argument)
		input_hide(argument);
	if (rc == 0)
		rc = invite_split(qmt_buf_view(ret_token), &token, &has_addr, &addr, &err);
	if (rc == 0)
		rc = invite_decode(token, &invite, &err);
	/* Whether it has expired is a question for who is not in yet: that is seen when it is used. */
	if (rc == 0)
		rc = invite_verify(&invite, 0, &err);
	if (rc == 0)
		return CLI_OK;
	complain("%s: %s%s%s", argument ? "--mesh-join" : "mesh.invite", rc > 0 ? invite_outcome_name(rc) : "",
		rc > 0 ? ": " : "", err.text);
	return argument ? CLI_FAILED : CLI_CONFIG;
}

static int run(const struct daemon *daemon, const struct config *config, const char *home, const struct qmt_log *log,
	const sigset_t *signals)
{
	struct qmt_err err = {0};
	struct identity identity;
	struct node *node = NULL;
	bool created = false;
	char *own = config->root.mesh.identity_file ? NULL : home_file(home, "mesh_identity.key");
	const char *path = own ? own : config->root.mesh.identity_file;
	struct qmt_buf token = {0};
	int signal_number, status = read_invite(daemon, config, &token);
	sigset_t final;

	if (status != CLI_OK) {
		input_wipe(&token);
		free(own);
		return status;
	}
	status = CLI_FAILED;
	if (!path || home_identity(path, true, &identity, &created, &err) != 0) {
		complain("%s", path ? err.text : "out of memory");
		free(own);
		return CLI_FAILED;
	}
	(void)home_identity_hold(path); /* until the process ends */
	if (created)
		qmt_log(log, QMT_INFO, "node.identity_made", "file", path, NULL);
	free(own);
	for (uint32_t i = 0; i < config->notices.count; i++)
		qmt_log(log, QMT_WARN, "config.notice", "text", config->notices.items[i], NULL);
	if (node_start(
			&(struct node_options){
				.config = config, .home = home, .identity = &identity, .log = log, .gave_up = gave_up},
			&node, &err) != 0) {
		complain("%s", err.text);
	} else {
		ready(node, config, &identity);
		bool invited = !daemon->flag[FLAG_mesh_invite] || print_invite(daemon, node, &err) == 0;
		if (!invited)
			complain("%s", err.text);
		if (token.len)
			node_join(node, qmt_buf_view(&token));
		input_wipe(&token);
		signal_number = invited ? signal_wait(signals) : SIGTERM;
		if (signal_number == GAVE_UP)
			complain("an actor failed again and again, the node cannot go on: \"actor.failed\" in the log says why");
		else
			qmt_log(log, QMT_INFO, "node.stopping", "signal", signal_number == SIGINT ? "INT" : "TERM", NULL);
		notify("STOPPING=1");
		/* from here on a second signal ends the process */
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		sigemptyset(&final);
		sigaddset(&final, SIGTERM);
		sigaddset(&final, SIGINT);
		pthread_sigmask(SIG_UNBLOCK, &final, NULL);
		if (node_stop(node, daemon->stop_timeout_ms, &err) != 0)
			complain("%s", err.text);
		else if (signal_number != GAVE_UP && invited)
			status = CLI_OK;
	}
	input_wipe(&token);
	identity_fini(&identity);
	return status;
}

int main(int argc, char **argv)
{
	struct daemon daemon = {0};
	struct config *config = NULL;
	struct qmt_err err = {0};
	struct qmt_log *log = NULL;
	char *home = NULL;
	sigset_t signals;
	int lock = -1;
	int status = parse(argc, argv, &daemon);

	if (status != CLI_OK)
		return status;
	if (daemon.flag[FLAG_help] || daemon.flag[FLAG_man] || daemon.flag[FLAG_version]) {
		if (daemon.flag[FLAG_help])
			help();
		else if (daemon.flag[FLAG_man])
			man();
		else
			printf("qmtd %s\n", QMT_VERSION);
		return CLI_OK;
	}
	qmt_os_heap_keep();
	signal(SIGPIPE, SIG_IGN);
	/* Tools run as the same user: they shall not find keys in this process's environment or memory. */
	prctl(PR_SET_DUMPABLE, 0);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, GAVE_UP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);

	status = load(&daemon, &config);
	if (status == CLI_OK && daemon.check)
		status = check(&daemon, config);
	else if (status == CLI_OK) {
		log = qmt_log_new(2, getenv("QMT_LOG"), qmt_os_real_wall_ms, NULL, &err);
		if (!log) {
			complain("QMT_LOG: %s", err.text);
			status = CLI_USAGE;
		} else if (identity_crypto_init() != 0) {
			complain("libsodium cannot be used on this machine");
			status = CLI_FAILED;
		} else if (!(home = home_path(daemon.flag[FLAG_home], &err)) || (lock = home_lock(home, &err)) < 0) {
			complain("%s", err.text);
			status = CLI_FAILED;
		} else {
			status = run(&daemon, config, home, log, &signals);
		}
	}
	if (lock >= 0)
		close(lock);
	free(home);
	qmt_log_free(log);
	config_free(config);
	return status;
}
