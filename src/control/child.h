/*
 * A program of the host that the node runs: started, listened to, ended, and never left
 * behind.
 *
 * It gets a session of its own, /dev/null as input, a pipe to us as output, the default
 * action for every signal, and no other descriptor. If the node dies without a word, the
 * kernel kills it. No shell is involved. Never logs; control thread only, which has to
 * be the thread that lives as long as the process.
 */
#ifndef CONTROL_CHILD_H
#define CONTROL_CHILD_H

#include <event2/event.h>

struct child;

struct child_handler {
	/* A line of what it says, without its end; cut where it is too long. */
	void (*said)(void *arg, const char *line);
	/* It ended, with this status of wait(2); the child is still the owner's to free.
	 */
	void (*ended)(void *arg, int status);
};

/*
 * Runs argv[0], a path, with the node's environment. -ENOENT, -EACCES and so on if that
 * can't be: then nothing was started. The handlers are called from the event loop.
 */
int child_new(struct event_base *base, const char *const argv[],
	      const struct child_handler *handler, void *arg, struct child **ret_child);

/* Nothing happens if it has ended. */
void child_signal(struct child *child, int signal);

/*
 * Waits for its end, at most this long; then it is killed, with all that it started in
 * its session's first process group. Nothing of it is left after this. Accepts NULL.
 */
void child_free(struct child *child, unsigned patience_ms);

#endif
