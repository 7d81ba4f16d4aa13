/* cmd/lab/not_yet.c - stands in for what is being built: weak, so that the real thing wins. Goes away with it. */
#include <errno.h>

#include "cmd/lab/net.h"
#include "cmd/lab/programs.h"

static int open_nothing(struct player *player, struct net **ret_net, struct qmt_err *err)
{
	(void)player, (void)ret_net;
	return qmt_err_set(err, -ENOTSUP, "netns is not built yet");
}

__attribute__((weak)) const struct net_ops packets_ops = {.open = open_nothing};

__attribute__((weak)) int lab_upstream_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	return 2;
}

__attribute__((weak)) int lab_peer_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	return 2;
}
