/*
 * The worker: one thread that waits on all TAP queues and all bells, and calls
 * path_tx() and path_rx().
 *
 * One thread for both ways, because the wake-up between two threads costs more
 * than what the second one could do meanwhile. Created and stopped by the control
 * thread (plane.c); what runs on the thread itself is private to worker.c.
 */
#ifndef DATA_WORKER_H
#define DATA_WORKER_H

#include "data/link.h"

struct worker;

/* `event_fd`: an eventfd that is raised when a link or port has a new fault, a
 * pong or a message. */
int worker_new(uint32_t spin_us, int event_fd, struct worker **ret_worker);

/* Before worker_start(). The port must stay. */
int worker_add_port(struct worker *worker, struct port *port);

/* Before worker_start(). It must stay. */
void worker_set_global(struct worker *worker, struct global_state *global);

int worker_start(struct worker *worker, const struct plane_view *view);

/* The worker takes a turn. Any thread. */
void worker_wake(struct worker *worker);

/* Joins the thread if it runs. Accepts NULL. */
void worker_free(struct worker *worker);

/* The source must stay until worker_ignore() and one worker_publish() later. */
int worker_watch(struct worker *worker, struct fabric_source *source);
void worker_ignore(struct worker *worker, struct fabric_source *source);

/*
 * From when this returns on the worker knows only `view`, and no event that it
 * fetched before is still to be handled. Blocks for at most one turn.
 */
void worker_publish(struct worker *worker, const struct plane_view *view);

/* A link has been given commands to send: the worker does it soon. */
void worker_send_commands(struct worker *worker);

#endif
