/* runtime/base/os.c - clock, random and uuid: the real ones, or ones that a seed owns.
 *
 * Seeded random is xoshiro256** 1.0 (Blackman, Vigna: "Scrambled linear pseudorandom number generators", 2021), its
 * state filled by SplitMix64 from the seed as its authors advise. It repeats runs; it is no source of keys.
 */
#include "os.h"

#include <errno.h>
#include <malloc.h>
#include <sys/random.h>
#include <time.h>

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

/* A seeded clock does not start at 0: in many places zero stands for "no time". */
enum { SEEDED_START_NS = NS_PER_S };

struct qmt_os {
	bool seeded; /* const after new */
	/* owner: the thread that runs the seeded system; unused by the real one */
	uint64_t now_ns;
	uint64_t start_wall_ms;
	uint64_t state[4];
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	/* Both clocks exist on every Linux; a failure would be a broken system, on which no deadline can be kept. */
	if (clock_gettime(clock, &now) < 0)
		abort();
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t rotate_left(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static uint64_t splitmix64(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t xoshiro256ss(uint64_t s[4])
{
	uint64_t result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

struct qmt_os *qmt_os_new(bool seeded, uint64_t seed, uint64_t start_wall_ms)
{
	struct qmt_os *os = calloc(1, sizeof *os);

	if (!os)
		return NULL;
	os->seeded = seeded;
	os->now_ns = SEEDED_START_NS;
	os->start_wall_ms = start_wall_ms;
	for (unsigned i = 0; i < 4; i++)
		os->state[i] = splitmix64(&seed);
	return os;
}

struct qmt_os *qmt_os_free(struct qmt_os *os)
{
	free(os);
	return NULL;
}

bool qmt_os_seeded(const struct qmt_os *os)
{
	return os->seeded;
}

uint64_t qmt_os_now_ns(const struct qmt_os *os)
{
	return os->seeded ? os->now_ns : clock_ns(CLOCK_MONOTONIC);
}

uint64_t qmt_os_wall_ms(const struct qmt_os *os)
{
	if (os->seeded)
		return os->start_wall_ms + (os->now_ns - SEEDED_START_NS) / NS_PER_MS;
	return qmt_os_real_wall_ms(NULL);
}

void qmt_os_advance(struct qmt_os *os, uint64_t ns)
{
	if (os->seeded)
		os->now_ns += ns;
}

static void random_real(void *ret_bytes, size_t len)
{
	uint8_t *to = ret_bytes;

	while (len > 0) {
		ssize_t got = getrandom(to, len, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort(); /* ids and nonces without entropy would be worse than no process */
		to += got;
		len -= (size_t)got;
	}
}

/* Bytes are taken from each word lowest first, so that a trace repeats on a machine of the other byte order. */
static void random_seeded(struct qmt_os *os, void *ret_bytes, size_t len)
{
	uint8_t *to = ret_bytes;
	uint64_t word = 0;

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			word = xoshiro256ss(os->state);
		to[i] = (uint8_t)(word >> i % 8 * 8);
	}
}

void qmt_os_random(struct qmt_os *os, void *ret_bytes, size_t len)
{
	if (os->seeded)
		random_seeded(os, ret_bytes, len);
	else
		random_real(ret_bytes, len);
}

/* RFC 9562 section 5.7: 48 bits of milliseconds, version, 12 random bits, variant, 62 random bits. */
void qmt_os_uuid(struct qmt_os *os, char ret_text[37])
{
	static const char hex[] = "0123456789abcdef";
	uint64_t ms = qmt_os_wall_ms(os);
	uint8_t id[16];
	char *to = ret_text;

	for (unsigned i = 0; i < 6; i++)
		id[i] = (uint8_t)(ms >> (40 - 8 * i));
	qmt_os_random(os, id + 6, sizeof id - 6);
	id[6] = (uint8_t)(0x70 | (id[6] & 0x0f));
	id[8] = (uint8_t)(0x80 | (id[8] & 0x3f));
	for (unsigned i = 0; i < sizeof id; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = hex[id[i] >> 4];
		*to++ = hex[id[i] & 15];
	}
	*to = '\0';
}

uint64_t qmt_os_real_now_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / NS_PER_MS;
}

uint64_t qmt_os_real_wall_ms(void *unused)
{
	(void)unused;
	return clock_ns(CLOCK_REALTIME) / NS_PER_MS;
}

void qmt_os_heap_keep(void)
{
	enum { KEEP = 1 << 20, GROW = 256 << 10, OWN_MAPPING = 512 << 10 };

	/* Each of them also stops glibc from moving the other two by itself. */
	(void)mallopt(M_TRIM_THRESHOLD, KEEP);
	(void)mallopt(M_TOP_PAD, GROW);
	(void)mallopt(M_MMAP_THRESHOLD, OWN_MAPPING);
}
