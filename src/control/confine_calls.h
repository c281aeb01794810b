/* The system calls that are left to the process. See confine_calls.c. Main thread. */
#ifndef CONTROL_CONFINE_CALLS_H
#define CONTROL_CONFINE_CALLS_H

#include <stdbool.h>

struct confine_calls {
	bool programs; /* others' programs run as its children */
	bool netns;    /* it goes to another network namespace and back */
};

/* From now on, for threads and programs that are started, too. -errno. */
int confine_calls(const struct confine_calls *calls);

#endif
