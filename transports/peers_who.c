/* transports/peers_who.c - whom a name or PeerId stands for.
 *
 * One reading for all who ask: who may be resolved by a name, and of whom the owner speaks, must be the same peer.
 */
#include "transports/peers_internal.h"

struct target *peers_target_of(const struct peers *peers, const struct peer_id *id)
{
	for (uint32_t i = 0; i < peers->config->peer_count; i++)
		if (peers->targets[i].has_expected && peer_id_compare(&peers->targets[i].expected, id) == 0)
			return &peers->targets[i];
	return NULL;
}

struct target *peers_target_called(const struct peers *peers, struct qmt_str name)
{
	for (uint32_t i = 0; i < peers->config->peer_count; i++)
		if (qmt_str_is(name, peers->targets[i].config->name))
			return &peers->targets[i];
	return NULL;
}

bool peers_meant(const struct peers *peers, struct qmt_str who, struct peer_meant *ret_meant)
{
	struct peer_meant meant = {.target = peers_target_called(peers, who)};
	const struct policy *policy = policy_called(peers, who);

	if (meant.target) {
		meant.is_known = meant.target->has_expected;
		meant.id = meant.target->expected;
	} else {
		if (policy)
			meant.id = policy->id;
		else if (peer_id_parse(who, &meant.id, NULL))
			return false;
		meant.is_known = true;
		meant.target = peers_target_of(peers, &meant.id);
	}
	*ret_meant = meant;
	return true;
}
