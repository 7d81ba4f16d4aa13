/* actors/provider/provider.h - provider actors, and what a [[providers]] entry may say.
 *
 * One actor stands for one configured provider and is registered as "provider/<name>"; it serves
 * proto/contract/provider.def.
 * Start:   qmt_spawn(ctx, provider_desc(config->kind), &(struct qmt_spawn){.name = …, .config = config, .restart =
 *          QMT_PERMANENT}); config and its texts are borrowed until the actor has ended.
 * Threads: none of their own; they run on the pool. Blocks: never.
 * Cancel:  only who asked (the same actor, or the same link when it is a peer) or the sink may cancel a request.
 * Limits:  all of them are parameters, see provider_params.def.
 */
#ifndef PROVIDER_PROVIDER_H
#define PROVIDER_PROVIDER_H

#include "proto/contract/contract.h"
#include "provider_params.def"
#include "runtime/actor.h"

extern const struct qmt_actor_desc provider_openai_desc, provider_builtin_desc, provider_script_desc;

#define PROVIDER__C_STR const char *
#define PROVIDER__C_BOOL bool
#define PROVIDER__C_U32 uint32_t
#define PROVIDER__MEMBER(type, name, dflt, min, max, kinds, doc) PROVIDER__C_##type name;

struct provider_config {
	const char *name; /* as in [[providers]] */
	const char *kind; /* "openai", "builtin", "script" */
	PROVIDER_PARAMS(PROVIDER__MEMBER)
};

/* The parameters, offsets into struct provider_config; closed by name == NULL. dflt is never NULL. */
extern const struct qmt_param provider_params[];
/* All parameters at their defaults; name and kind as given. */
void provider_config_init(struct provider_config *config, const char *name, const char *kind);
/* Checks kind, ranges, the address and what hangs together. 0; -EINVAL with err: "base_url: …"; -ENOMEM. A start that
 * comes behind it can fail only for what the machine lacks. */
QMT_MUST_CHECK int provider_config_check(const struct provider_config *config, struct qmt_err *err);
/* The module of a kind; NULL: no such kind here. */
const struct qmt_actor_desc *provider_desc(const char *kind);

/* Whether the member `parameters` of a request is a JSON object, or empty: what an openai provider would pass on. */
bool provider_parameters_fit(struct qmt_str parameters);

/* Names of the error classes: provider_error_busy is "busy". */
#define PROVIDER__ERROR_DECLARE(name, retry, doc) extern const char provider_error_##name[];
PROVIDER_ERRORS(PROVIDER__ERROR_DECLARE)

#endif
