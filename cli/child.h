/*
 * A program of the host that a command asks: what it says, bounded in size and in time,
 * because it may hang and what it asks may be stopped.
 *
 * It gets /dev/null as input and for its errors, and no other descriptor; no shell is
 * involved. Nothing of it is left afterwards. Stateless; never prints.
 */
#ifndef CLI_CHILD_H
#define CLI_CHILD_H

#include <stdbool.h>
#include <stddef.h>

struct child_reply {
	char *text; /* what it said, with a zero behind it; to be freed */
	size_t length;
	int status; /* its exit status; -1: it was killed */
};

/*
 * argv[0] is looked for in PATH, which is a fixed one if `environment` is not NULL: then
 * the child has that instead of ours. -ENOENT: there is no such program; -ETIMEDOUT: it
 * went on, and was killed; -EMSGSIZE: it says too much.
 */
int child_run(const char *const argv[], char *const environment[], unsigned timeout_ms,
	      struct child_reply *ret_reply);

/* It is in our PATH, and may be started. */
bool child_is_installed(const char *name);

/* Nothing but where programs are, and the language that they speak. */
extern char *const child_plain_environment[];

#endif
