/* cmd/lab/not_yet.c - stands in for what is being built: weak, so that the real thing wins. Goes away with it. */
#include <errno.h>

#include "cmd/lab/net.h"

static int open_nothing(struct player *player, struct net **ret_net, struct qmt_err *err)
{
	(void)player, (void)ret_net;
	return qmt_err_set(err, -ENOTSUP, "netns is not built yet");
}

__attribute__((weak)) const struct net_ops packets_ops = {.open = open_nothing};
