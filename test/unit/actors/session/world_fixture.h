/* A world (test/lib/session_world.h) with a temporary workspace, for one test. */
#ifndef SESSION_WORLD_FIXTURE_H
#define SESSION_WORLD_FIXTURE_H

#include "fixture.h"

#include "test/lib/session_world.h"

struct place {
	struct fixture *f;
	struct world *w;
};

static inline int place_up(void **state, bool seeded)
{
	struct place *p = calloc(1, sizeof(*p));
	fixture_up((void **)&p->f);
	p->w = world_new(seeded, p->f->root);
	*state = p;
	return 0;
}

static inline int place_up_seeded(void **state)
{
	return place_up(state, true);
}

static inline int place_up_real(void **state)
{
	return place_up(state, false);
}

static inline int place_down(void **state)
{
	struct place *p = *state;
	world_free(p->w);
	fixture_down((void **)&p->f);
	free(p);
	return 0;
}

/* Both texts in full when they differ. */
static inline void same_text(const char *got, const char *want, const char *file, int line)
{
	if (strcmp(got, want) != 0)
		print_error("%s:%d: got:\n%swant:\n%s", file, line, got, want);
	assert_string_equal(got, want);
}
/* The text has the part; otherwise it is printed in full. */
static inline void has_part(const char *text, const char *part, const char *file, int line)
{
	if (!text || !strstr(text, part))
		print_error("%s:%d: no \"%s\" in:\n%s", file, line, part, text ? text : "");
	assert_true(text && strstr(text, part));
}
#define assert_seen(text, part) has_part(text, part, __FILE__, __LINE__)
#define assert_log(w, want) same_text(world_log(w), want, __FILE__, __LINE__)
#define assert_stored(w, want) same_text(world_stored(w), want, __FILE__, __LINE__)

#define SEEDED(fn) cmocka_unit_test_setup_teardown(fn, place_up_seeded, place_down)
#define REAL(fn) cmocka_unit_test_setup_teardown(fn, place_up_real, place_down)

#endif
