/* cmd/config_table.c - config_params.def as data: one array of fields for each table. */
#include "config.h"

#define CONFIG_ROW_BOOL .kind = CONFIG_BOOL
#define CONFIG_ROW_U32 .kind = CONFIG_U32
#define CONFIG_ROW_U64 .kind = CONFIG_U64
#define CONFIG_ROW_F64 .kind = CONFIG_F64
#define CONFIG_ROW_TEXT .kind = CONFIG_TEXT
#define CONFIG_ROW_NAME .kind = CONFIG_NAME
#define CONFIG_ROW_LABEL .kind = CONFIG_LABEL
#define CONFIG_ROW_WORD .kind = CONFIG_WORD
#define CONFIG_ROW_PATH .kind = CONFIG_PATH
#define CONFIG_ROW_LISTEN .kind = CONFIG_LISTEN
#define CONFIG_ROW_DIAL .kind = CONFIG_DIAL
#define CONFIG_ROW_URL .kind = CONFIG_URL
#define CONFIG_ROW_SECRET .kind = CONFIG_SECRET
#define CONFIG_ROW_PROMPT .kind = CONFIG_PROMPT
#define CONFIG_ROW_MAP .kind = CONFIG_MAP
#define CONFIG_ROW_TEXTS .kind = CONFIG_TEXTS
#define CONFIG_ROW_NAMES .kind = CONFIG_NAMES
#define CONFIG_ROW_WORDS .kind = CONFIG_WORDS
#define CONFIG_ROW_DIALS .kind = CONFIG_DIALS
#define CONFIG_ROW_ANY .kind = CONFIG_ANY
#define CONFIG_ROW_SEC(s) .kind = CONFIG_SEC, .section = &config_##s##_section
#define CONFIG_ROW_LIST(s) .kind = CONFIG_LIST, .section = &config_##s##_section

#define CONFIG_FIELD(T, row, member, default_, doc_, ...) \
	{.name = #member, .dflt = default_, .doc = doc_, .offset = (uint32_t)offsetof(T, member), CONFIG_ROW_##row, \
		##__VA_ARGS__},

/* ---- tables of other modules ------------------------------------------------------------------------------------- */

#define CONFIG_LIMIT_ROW(T, name_, default_, min_, max_, doc_) \
	{.name = #name_, .number = (default_), .min = (min_), .max = (max_), .doc = doc_, .kind = CONFIG_U64, \
		.offset = (uint32_t)offsetof(T, name_)},

static const struct config_field link_fields[] = {
#define LIMIT(name, dflt, min, max, doc) CONFIG_LIMIT_ROW(struct config_link, name, dflt, min, max, doc)
#include "transports/limits.def"
#undef LIMIT
	{.name = NULL},
};

static const struct config_field session_fields[] = {
#define SESSION_PARAM(name, dflt, min, max, doc) CONFIG_LIMIT_ROW(struct config_session, name, dflt, min, max, doc)
#include "actors/session/session_params.def"
#undef SESSION_PARAM
	{.name = NULL},
};

static const struct config_field store_fields[] = {
#define STORE_ROW(name, dflt, min, max, doc) CONFIG_LIMIT_ROW(struct config_store, name, dflt, min, max, doc)
	STORE_LIMITS(STORE_ROW)
	{.name = NULL},
};

/* A provider's texts have no rules of their own in its table; ours come by name. */
#define PROVIDER_TEXT_base_url CONFIG_URL
#define PROVIDER_TEXT_api_key CONFIG_SECRET
#define PROVIDER_TEXT_model CONFIG_TEXT
#define PROVIDER_TEXT_proxy CONFIG_SECRET /* it may hold a password */
#define PROVIDER_TEXT_ca_file CONFIG_PATH
#define PROVIDER_TEXT_script CONFIG_PATH
#define PROVIDER_TEXT_peer_parameters CONFIG_TEXT
#define PROVIDER_KIND_STR(name) PROVIDER_TEXT_##name
#define PROVIDER_KIND_BOOL(name) CONFIG_BOOL
#define PROVIDER_KIND_U32(name) CONFIG_U32
#define PROVIDER_ONLY_OPENAI "openai"
#define PROVIDER_ONLY_BUILTIN "builtin"
#define PROVIDER_ONLY_SCRIPT "script"
#define PROVIDER_ONLY_OPENAI_BUILTIN "openai builtin"
#define PROVIDER_ONLY_OPENAI_SCRIPT "openai script"
#define PROVIDER_ONLY_ALL NULL
#define PROVIDER_OFFSET(member) (uint32_t)offsetof(struct config_provider, member)
#define PROVIDER_ROW(type, name_, default_, min_, max_, kinds, doc_) \
	{.name = #name_, .dflt = default_, .min = (min_), .max = (max_), .only = PROVIDER_ONLY_##kinds, .doc = doc_, \
		.blank = true, .kind = PROVIDER_KIND_##type(name_), .offset = PROVIDER_OFFSET(name_)},

static const struct config_field provider_fields[] = {
	{.name = "name", .kind = CONFIG_NAME, .required = true, .blank = true, .offset = PROVIDER_OFFSET(name),
		.doc = "Name for agents and peers; unique."},
	{.name = "kind", .kind = CONFIG_WORD, .words = "openai builtin script", .required = true, .blank = true,
		.offset = PROVIDER_OFFSET(kind),
		.doc = "openai: any server that speaks /v1/chat/completions. builtin: rules, no network, to try things out. "
			   "script: turns from a file, to test with."},
	PROVIDER_PARAMS(PROVIDER_ROW)
	{.name = NULL},
};

#define CONFIG_SECTION(s) \
	const struct config_section config_##s##_section = {#s, (uint32_t)sizeof(struct config_##s), s##_fields};
#define CONFIG_EXTERN(s, FIELDS) extern const struct config_section config_##s##_section;

CONFIG_EXTERN(link, )
CONFIG_EXTERN(provider, )
CONFIG_EXTERN(session, )
CONFIG_EXTERN(store, )
CONFIG_SECTION(link)
CONFIG_SECTION(provider)
CONFIG_SECTION(session)
CONFIG_SECTION(store)

/* ---- our own ----------------------------------------------------------------------------------------------------- */

#define CONFIG_DEFINE(s, FIELDS) \
	static const struct config_field s##_fields[] = {FIELDS(CONFIG_FIELD, struct config_##s){.name = NULL}}; \
	CONFIG_SECTION(s)

CONFIG_SECTIONS(CONFIG_EXTERN)
CONFIG_SECTIONS(CONFIG_DEFINE)
