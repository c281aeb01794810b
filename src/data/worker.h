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
int worker_new(const struct plane_options *options, int event_fd,
	       struct worker **ret_worker);

/* Of a worker that runs, too. */
void worker_set_spin(struct worker *worker, uint32_t spin_us);

/* The port is in the view, and stays until worker_remove_port() and one worker_publish()
 * without it later. */
int worker_add_port(struct worker *worker, struct port *port);

void worker_remove_port(struct worker *worker, struct port *port);

/* Before worker_start(). It must stay. */
void worker_set_global(struct worker *worker, struct global_state *global);

int worker_start(struct worker *worker, const struct plane_view *view);

/* The worker takes a turn. Any thread. */
void worker_wake(struct worker *worker);

/* Another number than before if it took a turn since. */
uint64_t worker_turns(const struct worker *worker);

/*
 * While it rests no queue is read, and frames wait in the TAPs. So that what is ready
 * there does not keep it from sleep, each queue is told, too: after `rests` was set, or
 * before it is cleared.
 */
void worker_rest(struct worker *worker, bool rests);
void worker_rest_queue(struct worker *worker, struct queue *queue, bool rests);

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

/*
 * Control has seen to what was waiting for it at `now_ns`. It says so all the time: a
 * worker that finds itself and control not to have run for the options' stall_ns does
 * nothing before control has.
 */
void worker_tick(struct worker *worker, uint64_t now_ns);

/* A link has been given commands to send: the worker does it soon. */
void worker_send_commands(struct worker *worker);

#endif
