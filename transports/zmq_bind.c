/* transports/zmq_bind.c - binding the ROUTER of a listener. */
#include <errno.h>
#include <sys/stat.h>
#include <zmq.h>

#include "transports/channel_key.h"
#include "transports/zmq_listener.h"

void zlistener_unbind(struct zlistener_config *config)
{
	zcontext_close_both(config->context, config->socket, config->monitor);
	config->socket = config->monitor = NULL;
}

static int set_up(struct zlistener_config *config)
{
	uint8_t public_key[CHANNEL_KEY], secret[CHANNEL_KEY];
	int one = 1;
	void *socket = config->socket;

	channel_key_published(public_key, secret);
	return zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &one, sizeof(one)) ||
		zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, sizeof(secret)) ||
		zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, config->domain, strlen(config->domain)) ||
		zmq_setsockopt(socket, ZMQ_ROUTER_MANDATORY, &one, sizeof(one));
}

int zlistener_bind(struct zlistener_config *config, struct qmt_err *err)
{
	bool is_file = strncmp(config->endpoint, "ipc://", 6) == 0;
	mode_t mask;
	size_t size = sizeof(config->endpoint);
	int rc;

	config->socket = zcontext_socket(config->context, ZMQ_ROUTER, config->node ? &config->node->limits : NULL, err);
	if (!config->socket)
		return -EMFILE;
	config->monitor = zcontext_monitor(config->context, config->socket, err);
	if (!config->monitor) {
		zlistener_unbind(config);
		return -EMFILE;
	}
	mask = is_file ? umask(0177) : 0; /* nobody else's from its first moment on */
	rc = set_up(config) || zmq_bind(config->socket, config->endpoint) ? -zmq_errno() : 0;
	if (is_file)
		umask(mask);
	if (!rc && zmq_getsockopt(config->socket, ZMQ_LAST_ENDPOINT, config->endpoint, &size))
		rc = -zmq_errno();
	if (rc) {
		qmt_err_set(err, rc, "%s", zmq_strerror(-rc));
		zlistener_unbind(config);
	}
	return rc;
}
