/* runtime/base/os_thread.c - threads with a name and without signals.
 *
 * All signals are blocked around pthread_create, so that the new thread is born with them blocked: there is no moment
 * in which a signal could be delivered to it. Signals are read in one place, by the main program.
 */
#include "os.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

enum { THREAD_NAME = 16 }; /* the kernel's limit, with the NUL */

struct qmt_os_thread {
	pthread_t thread; /* owner: the starter */
	/* const after start */
	void (*run)(void *arg);
	void *arg;
	char name[THREAD_NAME];
};

static void *thread_main(void *arg)
{
	const struct qmt_os_thread *thread = arg;

	/* Cannot fail: the name fits. A thread without its name would still be a thread. */
	(void)pthread_setname_np(pthread_self(), thread->name);
	thread->run(thread->arg);
	return NULL;
}

int qmt_os_thread_start(const char *name, void (*run)(void *arg), void *arg, struct qmt_os_thread **ret_thread)
{
	struct qmt_os_thread *thread = calloc(1, sizeof *thread);
	sigset_t all, old;

	if (!thread)
		return -ENOMEM;
	thread->run = run;
	thread->arg = arg;
	snprintf(thread->name, sizeof thread->name, "%s", name);

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);

	int failed = pthread_create(&thread->thread, NULL, thread_main, thread);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (failed) {
		free(thread);
		return -failed;
	}
	*ret_thread = thread;
	return 0;
}

struct qmt_os_thread *qmt_os_thread_join(struct qmt_os_thread *thread)
{
	if (!thread)
		return NULL;
	pthread_join(thread->thread, NULL);
	free(thread);
	return NULL;
}
