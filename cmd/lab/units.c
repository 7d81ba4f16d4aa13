/* cmd/lab/units.c - quantities as people write them: times, rates, bytes, percent. */
#include <ctype.h>
#include <errno.h>
#include <math.h>

#include "cmd/lab/scenario.h"

struct unit {
	const char *name;
	double factor;
};

static bool quantity(const char *text, const struct unit *units, double *ret_value)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	double value = strtod(text, &end);
	for (; units->name; units++)
		if (strcmp(end, units->name) == 0) {
			*ret_value = value * units->factor;
			return *ret_value < 1e15;
		}
	return false;
}

bool lab_time(const char *text, uint64_t *ret_ms)
{
	static const struct unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};
	double value;

	if (!quantity(text, units, &value))
		return false;
	*ret_ms = (uint64_t)llround(value);
	return true;
}

bool lab_rate(const char *text, uint64_t *ret_bits)
{
	static const struct unit units[] = {{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {NULL, 0}};
	double value;

	if (!quantity(text, units, &value) || value < 1)
		return false;
	*ret_bits = (uint64_t)llround(value);
	return true;
}

bool lab_bytes(const char *text, uint64_t *ret_bytes)
{
	static const struct unit units[] = {{"", 1}, {"B", 1}, {"kB", 1024}, {"MB", 1 << 20}, {"GB", 1 << 30}, {NULL, 0}};
	double value;

	if (!quantity(text, units, &value))
		return false;
	*ret_bytes = (uint64_t)llround(value);
	return true;
}

bool lab_percent(const char *text, unsigned *ret_parts)
{
	static const struct unit units[] = {{"%", 100}, {NULL, 0}};
	double value;

	if (!quantity(text, units, &value) || value > 10000)
		return false;
	*ret_parts = (unsigned)lround(value);
	return true;
}

bool lab_number(const char *text, int64_t *ret_number)
{
	char *end;

	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno || end == text || *end)
		return false;
	*ret_number = value;
	return true;
}
