/* cmd/config_modules.c - see the header. */
#include "cmd/config_modules.h"

void config_provider_fill(const struct config_provider *from, struct provider_config *ret_config)
{
	provider_config_init(ret_config, from->name, from->kind);
#define COPY_STR(name) \
	if (from->name)    \
		ret_config->name = from->name;
#define COPY_BOOL(name) ret_config->name = from->name;
#define COPY_U32(name) ret_config->name = (uint32_t)from->name;
#define COPY(type, name, dflt, min, max, kinds, doc) COPY_##type(name)
	PROVIDER_PARAMS(COPY)
#undef COPY
#undef COPY_STR
#undef COPY_BOOL
#undef COPY_U32
}

void config_session_fill(const struct config_session *from, struct session_limits *ret_limits)
{
#define SESSION_PARAM(name, dflt, min, max, doc) ret_limits->name = from->name;
#include "actors/session/session_params.def"
#undef SESSION_PARAM
}
