/* cmd/config_modules.h - from the config structs to those of the modules, whose rows stand there under the same names.
 *
 * Threads: values.   Blocks: never.   Texts are borrowed from the config.
 */
#ifndef CMD_CONFIG_MODULES_H
#define CMD_CONFIG_MODULES_H

#include "actors/provider/provider.h"
#include "actors/session/session_limits.h"
#include "cmd/config.h"

void config_provider_fill(const struct config_provider *from, struct provider_config *ret_config);
void config_session_fill(const struct config_session *from, struct session_limits *ret_limits);

#endif
