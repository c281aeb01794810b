/*
 * Tells the worker that control runs. See plane_tick(). And writes log lines that had to
 * wait.
 *
 * Owns the timer. Control thread. In one turn of libevent's loop what sockets have to say
 * is heard before timers are, but only one message of each; and in the first turn after a
 * stop nothing is: SIGCONT interrupts epoll_wait(), and then the sockets are not asked at
 * all. So when the process goes on, some turns are taken first: then the end of channels
 * that were given up meanwhile is known, with whatever was said before it.
 */
#include "base/clock.h"
#include "base/log.h"
#include "control/node_internal.h"

#include <errno.h>

#define PULSE_TURNS 32 /* until all is heard that was said during a stop */

/*
 * A pair counts in the longer one of its intervals, but its peer waits for what others
 * say of us in its own, which may be far shorter: a stop of little more than our interval
 * may be the end, whatever `misses` is.
 */
uint64_t node_stall_ns(const struct node *node)
{
	return node->config->liveness.interval_ms * NSEC_PER_MSEC;
}

static void pulse_after(struct node *node, uint64_t delay_ns)
{
	const struct timeval delay = clock_timeval(delay_ns);

	event_add(node->pulse, &delay);
}

/* After the time was taken we may be stopped once more: the worker is told that time. */
static void on_pulse(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;
	uint64_t stall_ns = node_stall_ns(node);
	uint64_t now_ns = clock_now_ns();

	(void)fd;
	(void)what;
	if (now_ns - node->pulsed_ns > stall_ns * 3 / 4)
		node->pulse_turns = PULSE_TURNS;
	else if (node->pulse_turns > 0)
		node->pulse_turns--;
	node->pulsed_ns = now_ns;
	if (node->pulse_turns == 0)
		plane_tick(node->plane, now_ns);
	log_settle();
	pulse_after(node, node->pulse_turns ? 0 : stall_ns / 2);
}

int node_open_pulse(struct node *node)
{
	node->pulse = evtimer_new(node->base, on_pulse, node);
	if (!node->pulse)
		return -ENOMEM;
	pulse_after(node, 0);
	return 0;
}

void node_close_pulse(struct node *node)
{
	if (node->pulse)
		event_free(node->pulse);
}
