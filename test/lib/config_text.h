/* test/lib/config_text.h - parsing configs from text in tests, and comparing what is complained about. */
#ifndef TEST_CONFIG_TEXT_H
#define TEST_CONFIG_TEXT_H

#include "cmd/config.h"

/* Variables of the tests: name, value, …, NULL. */
extern const char *const *config_text_env;

/* The text must be fine; free the config. name: "x.toml" or "x.ini"; the folder is /base. */
struct config *config_text_good(const char *name, const char *text);
/* The complaints must be exactly these lines, each without the file's name, each ended by a line end. */
void config_text_bad(const char *name, const char *text, const char *lines);

#endif
