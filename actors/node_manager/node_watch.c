/* actors/node_manager/node_watch.c - watchers of turns on other nodes: they hear when nothing will come any more. */
#include "actors/node_manager/node_internal.h"

static bool is_used(const struct node_manager *self, struct qmt_ref who)
{
	for (const struct node_watch *watch = self->watches; watch; watch = watch->next)
		if (qmt_ref_eq(watch->watcher, who) || qmt_ref_eq(watch->link, who))
			return true;
	return false;
}

void node_watch_add(struct qmt_ctx *ctx, struct node_manager *self, const struct node_watch *watch)
{
	struct node_watch *at = self->watches, *next;
	struct qmt_ref link_before = {0};

	while (at && !(qmt_ref_eq(at->watcher, watch->watcher) && strcmp(at->session, watch->session) == 0))
		at = at->next;
	if (at) {
		link_before = at->link;
	} else {
		at = calloc(1, sizeof *at);
		if (!at)
			return;
		at->next = self->watches;
		self->watches = at;
	}
	next = at->next;
	*at = *watch;
	at->next = next;
	(void)(qmt_monitor(ctx, at->watcher) || qmt_monitor(ctx, at->link));
	if (qmt_ref_is_set(link_before) && !is_used(self, link_before))
		qmt_demonitor(ctx, link_before);
}

void node_watch_down(struct qmt_ctx *ctx, struct node_manager *self, struct qmt_ref who)
{
	struct node_watch **at = &self->watches;

	while (*at) {
		struct node_watch *watch = *at;
		bool by_link = qmt_ref_eq(watch->link, who);
		char text[256];

		if (!by_link && !qmt_ref_eq(watch->watcher, who)) {
			at = &watch->next;
			continue;
		}
		*at = watch->next;
		if (by_link) {
			snprintf(text, sizeof text, "the link to \"%s\", where the session lives, ended", watch->peer_name);
			(void)QMT_TELL(ctx, watch->watcher, session_lost, .session = qmt_str(watch->session), .turn = watch->turn,
				.text = qmt_str(text));
		}
		if (!is_used(self, by_link ? watch->watcher : watch->link))
			qmt_demonitor(ctx, by_link ? watch->watcher : watch->link);
		free(watch);
	}
}

void node_watch_fini(struct node_manager *self)
{
	while (self->watches) {
		struct node_watch *watch = self->watches;

		self->watches = watch->next;
		free(watch);
	}
}
