/* cmd/lab/upstream.c - `qmt-lab upstream`: an HTTP server that answers as its script says, byte by byte.
 *
 * Events on stdout, a line each; N counts requests from 1:
 *      ready url=http://IP:PORT
 *      request N METHOD PATH bytes=B line=L      L: line of the script that answers it, or default
 *      header N NAME: VALUE                      with --headers
 *      BODY                                      with --bodies, alone on its line
 *      sent B bytes, request N                   the answer is over and has left
 *      closed | reset | hanging, request N after B bytes
 *      closed by client [(reset)], request N after B bytes
 *      closed by client [(reset)] in the middle of a request
 *      idle connection closed | refused: WHY
 */
#include <errno.h>
#include <signal.h>

#include "cmd/lab/program_options.h"
#include "cmd/lab/programs.h"
#include "cmd/lab/upstream_answer.h"

/* OPTION(name, value or NULL, doc) */
#define UPSTREAM_OPTIONS(OPTION)                                                                                   \
	OPTION(listen, "IP:PORT", "Where (default 127.0.0.1:0); port 0: one that is free, the ready line says which.") \
	OPTION(bodies, NULL, "Print the body of each request, on a line of its own.")                                  \
	OPTION(headers, NULL, "Print the headers of each request.")                                                    \
	OPTION(help, NULL, "This text.")

enum upstream_option {
#define UPSTREAM_OPTION_ID(name, value, doc) OPTION_##name,
	UPSTREAM_OPTIONS(UPSTREAM_OPTION_ID)
#undef UPSTREAM_OPTION_ID
		OPTIONS
};

enum { BACKLOG = 128 };

static const struct program_option rows[OPTIONS] = {
#define UPSTREAM_OPTION_ROW(name, value, doc) {#name, value, doc},
	UPSTREAM_OPTIONS(UPSTREAM_OPTION_ROW)};

/* What the script leaves open. */
static const char defaults[] =
	"on GET /v1/models\n"
	"  header \"Content-Type: application/json\"\n"
	"  length auto\n"
	"  text {\"object\":\"list\",\"data\":[{\"id\":\"stub\",\"object\":\"model\"}]}\n"
	"on * *\n"
	"  status 404\n"
	"  header \"Content-Type: application/json\"\n"
	"  length auto\n"
	"  text {\"error\":{\"message\":\"the script of this upstream has no answer for it\",\"code\":404}}\n";

static const char *environment(const char *name)
{
	return getenv(name);
}

static void help(void)
{
	printf("usage: qmt-lab upstream [OPTION]... SCRIPT\n\n"
		   "An HTTP server that stands in for an OpenAI-compatible one and misbehaves, byte by byte, as SCRIPT says:\n"
		   "plain text, a line a step. Each event is a line on stdout.\n\nSteps\n");
	for (size_t i = 0; i < UPSTREAM_STEP_COUNT; i++)
		printf("  %s\n      %s\n", upstream_step_kinds[i].usage, upstream_step_kinds[i].doc);
	program_options_help(rows, OPTIONS);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void on_connection(uv_stream_t *listener, int status)
{
	if (status == 0)
		upstream_accept(listener->data);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct upstream *upstream = handle->data;

	(void)signum;
	upstream_close_all(upstream);
	uv_close((uv_handle_t *)&upstream->listener, NULL);
	for (size_t i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&upstream->signals[i], NULL);
}

/* "1.2.3.4:80", "[::1]:80". 0 or UV_EINVAL. */
static int parse_address(const char *text, struct sockaddr_storage *ret_addr)
{
	const char *colon = strrchr(text, ':');
	char host[64];
	char *stop;

	if (!colon || colon == text || (size_t)(colon - text) >= sizeof host || !colon[1] ||
		strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return UV_EINVAL;
	unsigned long port = strtoul(colon + 1, &stop, 10);

	if (port > 65535)
		return UV_EINVAL;
	(void)snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = '\0';
		return uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)(void *)ret_addr);
	}
	return uv_ip4_addr(host, (int)port, (struct sockaddr_in *)(void *)ret_addr);
}

static void print_ready(const struct upstream *upstream)
{
	struct sockaddr_storage addr = {0};
	int len = sizeof addr;
	char host[64] = "";
	bool six;

	(void)uv_tcp_getsockname(&upstream->listener, (struct sockaddr *)&addr, &len);
	six = addr.ss_family == AF_INET6;
	(void)uv_ip_name((struct sockaddr *)&addr, host, sizeof host);
	upstream_event("ready url=http://%s%s%s:%u", six ? "[" : "", host, six ? "]" : "",
		ntohs(
			six ? ((struct sockaddr_in6 *)(void *)&addr)->sin6_port : ((struct sockaddr_in *)(void *)&addr)->sin_port));
}

static int serve(struct upstream *upstream, const char *listen)
{
	static const int signals[2] = {SIGTERM, SIGINT};
	struct sockaddr_storage addr = {0};
	int rc;

	if (parse_address(listen, &addr)) {
		fprintf(stderr, "qmt-lab upstream: --listen %s: not IP:PORT (127.0.0.1:0, [::1]:8080)\n", listen);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN); /* a client that has gone is an error of the write */
	if (uv_loop_init(&upstream->loop))
		return 1;
	upstream->listener.data = upstream;
	for (size_t i = 0; i < 2; i++) {
		upstream->signals[i].data = upstream;
		(void)uv_signal_init(&upstream->loop, &upstream->signals[i]);
		(void)uv_signal_start(&upstream->signals[i], on_signal, signals[i]);
	}
	(void)uv_tcp_init(&upstream->loop, &upstream->listener);
	rc = uv_tcp_bind(&upstream->listener, (struct sockaddr *)&addr, 0);
	if (!rc)
		rc = uv_listen((uv_stream_t *)&upstream->listener, BACKLOG, on_connection);
	if (rc) {
		fprintf(stderr, "qmt-lab upstream: --listen %s: %s\n", listen, uv_strerror(rc));
		on_signal(&upstream->signals[0], 0);
	} else {
		print_ready(upstream);
	}
	(void)uv_run(&upstream->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&upstream->loop);
	return rc ? 1 : 0;
}

static int load(struct upstream *upstream, const char *path)
{
	struct qmt_buf complaints QMT_CLEANUP(qmt_buf_free) = {0};
	int rc = upstream_script_parse("defaults", qmt_str(defaults), environment, &upstream->defaults, &complaints);

	if (!rc)
		rc = upstream_script_load(path, environment, &upstream->script, &complaints);
	if (rc)
		fprintf(stderr, "%s", complaints.len ? complaints.data : "qmt-lab upstream: out of memory\n");
	return rc == -ENOMEM ? 1 : rc ? 2 : 0;
}

int lab_upstream_main(int argc, char **argv)
{
	struct upstream upstream = {0};
	const char *listen = "127.0.0.1:0";
	struct option options[OPTIONS + 1];
	int option, code;

	program_options(rows, OPTIONS, options);
	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case OPTION_listen:
			listen = optarg;
			break;
		case OPTION_bodies:
			upstream.print_bodies = true;
			break;
		case OPTION_headers:
			upstream.print_headers = true;
			break;
		case OPTION_help:
			help();
			return 0;
		default:
			fprintf(
				stderr, "qmt-lab upstream: no such option, or a value is missing: %s (see --help)\n", argv[optind - 1]);
			return 2;
		}
	if (optind != argc - 1) {
		fprintf(stderr, "qmt-lab upstream: one SCRIPT is wanted behind the options (see --help)\n");
		return 2;
	}
	code = load(&upstream, argv[optind]);
	if (!code)
		code = serve(&upstream, listen);
	upstream_script_free(upstream.script);
	upstream_script_free(upstream.defaults);
	return code;
}
