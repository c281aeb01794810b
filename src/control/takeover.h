/*
 * Taking over from the node that runs: its control socket from the other end.
 *
 * Theory of operation. The newer process asks for the TAPs' queues, gets duplicates, and
 * looks at all that it is going to need; the older one goes on meanwhile, and if the
 * newer one ends here nothing has happened. When it says that it goes on from here, the
 * older one stops to read its TAPs, gives up everything that there can be only one of
 * (id, sockets, rings, connections to peers), says so, and stays for one thing: its
 * tables of nftables, which bring packets for global addresses into the TAPs. They go
 * with it when this connection ends, which is when the newer process has its own. So what
 * comes by NICs and from the host waits in the TAPs, as far as their queues go, while
 * nobody reads them.
 *
 * Blocks, for as long as the other one says or takes something every ten seconds. `error`
 * has a line for the user. Control thread, at the start only.
 */
#ifndef CONTROL_TAKEOVER_H
#define CONTROL_TAKEOVER_H

#include "control/handover.h"
#include "control/report.h"

#include <stddef.h>
#include <sys/types.h>

struct takeover;

/* What the older one says when it has given up all: the header of a frame without a byte.
 */
#define TAKEOVER_DONE	    "\0\0\0\0"
#define TAKEOVER_DONE_BYTES 4

/*
 * The queues are there, in `handover`, and the older process goes on until
 * takeover_commit(). -ENOENT, without a line: there is none.
 */
int takeover_begin(const char *path, struct handover *handover,
		   struct takeover **ret_takeover, char *error, size_t size);

/* What the older process says of itself. */
const struct report_takeover *takeover_report(const struct takeover *takeover);

/* There is no way back. 0: it has given up all that we need. */
int takeover_commit(struct takeover *takeover, char *error, size_t size);

pid_t takeover_pid(const struct takeover *takeover);

/* Accepts NULL. */
void takeover_end(struct takeover *takeover);

#endif
