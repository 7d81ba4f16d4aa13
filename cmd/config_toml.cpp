/* cmd/config_toml.cpp - the C face over toml++: TOML text to our tree, with the place of every key and value.
 *
 * The only C++ in the tree. toml++ stops at the first error of syntax, so a broken file gives one complaint.
 * Its tables are sorted by key; we put their entries back into the order of the file.
 * A dotted key nests one table per part and toml++ has no bound for that, but frees tables recursively: a megabyte of
 * "a.a.a.a…" would use up the stack. So keys are measured first.
 */
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 16
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "cmd/config_read.h"

namespace
{

/* Just enough of TOML's lexer to know what is inside a string or a comment. */
class key_meter
{
public:
	explicit key_meter(std::string_view text) : text(text)
	{
	}

	/* Whether a key has too many parts; ret_line and ret_col say where. */
	bool too_deep(uint32_t &ret_line, uint32_t &ret_col)
	{
		unsigned dots = 0;

		while (at < text.size()) {
			char c = text[at];

			if (c == '#') {
				while (at < text.size() && text[at] != '\n')
					step();
			} else if (c == '"' || c == '\'') {
				skip_string(c);
			} else {
				if (c == '.')
					dots++;
				else if (c == '=' || c == ',' || c == '\n' || c == '[' || c == ']' || c == '{' || c == '}')
					dots = 0;
				if (dots >= CONFIG_KEY_PARTS) {
					ret_line = line;
					ret_col = col;
					return true;
				}
				step();
			}
		}
		return false;
	}

private:
	void step()
	{
		if (text[at] == '\n') {
			line++;
			col = 1;
		} else if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80) {
			col++;
		}
		at++;
	}

	bool triple(char quote) const
	{
		return at + 2 < text.size() && text[at] == quote && text[at + 1] == quote && text[at + 2] == quote;
	}

	void steps(unsigned n)
	{
		while (n-- > 0 && at < text.size())
			step();
	}

	void skip_string(char quote)
	{
		bool lines = triple(quote);

		steps(lines ? 3 : 1);
		while (at < text.size()) {
			if (text[at] == '\\' && quote == '"') {
				steps(2);
			} else if (!lines && (text[at] == quote || text[at] == '\n')) {
				step();
				return;
			} else if (lines && triple(quote)) {
				steps(3);
				/* Up to two quotes may stand before the closing three. */
				for (int i = 0; i < 2 && at < text.size() && text[at] == quote; i++)
					step();
				return;
			} else {
				step();
			}
		}
	}

	std::string_view text;
	size_t at = 0;
	uint32_t line = 1, col = 1;
};

struct qmt_str str(std::string_view text)
{
	return qmt_strn(text.data(), text.size());
}

class converter
{
public:
	explicit converter(config_arena *arena) : arena(arena)
	{
	}

	bool table(const toml::table &from, config_node *to)
	{
		struct entry {
			const toml::key *key;
			const toml::node *value;
		};
		std::vector<entry> entries;

		entries.reserve(from.size());
		for (auto &&[key, value] : from)
			entries.push_back({&key, &value});
		std::sort(entries.begin(), entries.end(),
			[](const entry &a, const entry &b) { return a.key->source().begin < b.key->source().begin; });
		for (const entry &e : entries) {
			config_node *node = add(to, *e.value, str(e.key->str()));

			if (!node)
				return false;
			node->key_line = e.key->source().begin.line;
			node->key_col = e.key->source().begin.column;
			if (node->line == 0) { /* toml++ gives tables that only a dotted key made no place */
				node->line = node->key_line;
				node->col = node->key_col;
			}
			if (!fill(*e.value, node))
				return false;
		}
		return true;
	}

private:
	config_node *add(config_node *parent, const toml::node &value, struct qmt_str key)
	{
		config_node *node = config_node_add(arena, parent, kind_of(value), key);

		if (node) {
			node->line = value.source().begin.line;
			node->col = value.source().begin.column;
		}
		return node;
	}

	static config_node_kind kind_of(const toml::node &value)
	{
		switch (value.type()) {
		case toml::node_type::table:
			return CONFIG_NODE_TABLE;
		case toml::node_type::array:
			return CONFIG_NODE_ARRAY;
		case toml::node_type::string:
			return CONFIG_NODE_STRING;
		case toml::node_type::integer:
			return CONFIG_NODE_INTEGER;
		case toml::node_type::floating_point:
			return CONFIG_NODE_REAL;
		case toml::node_type::boolean:
			return CONFIG_NODE_BOOLEAN;
		default:
			return CONFIG_NODE_DATE;
		}
	}

	bool fill(const toml::node &value, config_node *node)
	{
		if (const toml::table *t = value.as_table())
			return table(*t, node);
		if (const toml::array *a = value.as_array()) {
			for (const toml::node &item : *a) {
				config_node *child = add(node, item, qmt_str(nullptr));

				if (!child)
					return false;
				child->key_line = child->line;
				child->key_col = child->col;
				if (!fill(item, child))
					return false;
			}
			return true;
		}
		if (const auto *s = value.as_string()) {
			char *copy = config_arena_text(arena, str(s->get()));

			node->text = qmt_strn(copy, s->get().size());
			return copy != nullptr;
		}
		if (const auto *i = value.as_integer())
			node->integer = i->get();
		else if (const auto *r = value.as_floating_point())
			node->real = r->get();
		else if (const auto *b = value.as_boolean())
			node->boolean = b->get();
		return true;
	}

	config_arena *arena;
};

int read(struct qmt_str text, config_arena *arena, config_node *root, config_errors *errors)
{
	std::string_view view(text.p ? text.p : "", text.len);
	uint32_t line = 0, col = 0;

	if (key_meter(view).too_deep(line, col)) {
		config_complain(errors, line, col, nullptr, nullptr, "a key of more than %d parts", CONFIG_KEY_PARTS);
		return 0;
	}

	toml::parse_result result = toml::parse(view);

	if (!result) {
		const toml::parse_error &error = result.error();
		std::string_view what = error.description();

		config_complain(errors, error.source().begin.line, error.source().begin.column, nullptr, nullptr,
			"not valid TOML: %.*s", static_cast<int>(what.size()), what.data());
		return 0;
	}
	return converter(arena).table(result.table(), root) ? 0 : -ENOMEM;
}

} // namespace

extern "C" int config_toml_read(struct qmt_str text, config_arena *arena, config_node *root, config_errors *errors)
{
	/* Nothing here throws but the standard library when memory is out, and that must not unwind into C. */
	try {
		return read(text, arena, root, errors);
	} catch (...) {
		return -ENOMEM;
	}
}
