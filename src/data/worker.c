/*
 * See worker.h.
 *
 * Theory of operation
 * -------------------
 * A turn: take up the current view; ask epoll, without waiting, which queues and
 * bells are ready; serve the rings; serve the ready queues. Rings are looked at in
 * every turn whether or not a bell rang: a peer rings only when we sleep.
 *
 * Cast rings come after the pair rings, because what their writers say in the pair
 * rings' words must be read before (path_cast_settle()).
 *
 * When a turn found nothing the worker looks around for a while (the spin
 * budget), then sleeps: it announces a new sleep number in every ring, looks at
 * every ring once more, and waits in epoll. See shmnet/ring.h for why no frame
 * is missed. The numbers in the pair rings stand for the cast rings, too: who casts to
 * us looks at them afterwards. What comes by TAP needs no announcement: epoll is
 * level-triggered. A slot of a cast ring that is being written is not waited for in
 * turns but in epoll, and for a bounded time.
 *
 * The budget pays where answers come within microseconds (a halted CPU takes
 * longer to wake than the answer took), and costs a core where they don't. Each
 * look yields the CPU to whoever has use for it, so what it costs is idle time. So
 * that it is not wasted for ever, spins are counted in windows; one without a
 * single hit is followed by a rest, twice as long as the rest before.
 *
 * What control answers for global networks is taken once a turn, and needs no
 * announcement either (data/global.h). Nor do frames that wait for such an answer: how
 * long they may is how long epoll waits.
 *
 * A queue whose link's ring is full is no longer watched for frames, or its
 * readiness would keep the worker turning; the ring's bell, or any turn that finds
 * room, changes that back. The queue of a global network may wait for a peer's ring
 * in the same way, but only for a time, which bounds epoll's.
 *
 * A process that was stopped, or starved, goes on with rings of peers that may have given
 * it up: what is in them was counted as lost, and sent again. So a worker that has not
 * run for a while, nor has control, is held: control first hears what was said meanwhile.
 * It learns that from the coarse clock, at which it looks after every wait and between
 * bursts; while it sleeps, too, so that no sleep is taken for a stop. Of a stop in the
 * middle of a burst it learns at the burst's end.
 *
 * Quiescence: worker->seen is the generation of the view taken up last. It is
 * stored at the top of a turn, when nothing of the previous turn is in use any
 * more: no link, and no event fetched from epoll.
 */
#include "data/worker.h"

#include "base/clock.h"
#include "data/path.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORKER_EVENTS_MAX 32
#define WORKER_QUEUES_MAX (PLANE_PORTS_MAX * TAP_QUEUES_MAX)
#define HOLD_NAP_US	  500
#define LATE_NS		  (500 * NSEC_PER_MSEC) /* half a client's patience */
#define SPIN_WINDOW	  16			/* spins */
#define SPIN_REST_MIN_NS  (10 * NSEC_PER_MSEC)
#define SPIN_REST_MAX_NS  (320 * NSEC_PER_MSEC)

struct worker {
	pthread_t thread;
	bool running;
	int epoll_fd;
	int event_fd;
	int wake_fd;
	struct source wake_source;

	/* Shared with the control thread. */
	const struct plane_view *view; /* release: what it points to is complete */
	uint64_t seen;		       /* release: all before that view is out of use */
	uint64_t turns;		       /* that were taken; only the thread writes it */
	uint64_t ticked_ns; /* release: control has seen to what came before; 0:
			       it has never said so, and need not */
	bool stop;
	bool rests; /* queues are not read */
	pthread_mutex_t lock;
	pthread_cond_t progress; /* `seen` moved */

	/* The thread's own. */
	uint64_t stall_ns; /* for which it always runs, or has stood still; 0: for ever */
	uint64_t ran_ns;   /* when it looked at the clock last */
	uint64_t held_ns;  /* control must have spoken since; 0: no frame waits for it */
	bool is_late; /* so long had it not run that what waits in TAPs is of no use */
	struct queue *ready[WORKER_QUEUES_MAX];
	unsigned num_ready;
	struct queue *blocked[WORKER_QUEUES_MAX];
	unsigned num_blocked;
	struct global_state *global; /* NULL: there is no global network */
	uint32_t number;	     /* of the last sleep or wait for room */
	bool woken;		     /* control's wake-up was taken in this turn */
	bool asked;		     /* it was, and may have been for commands to send */
	uint64_t spin_ns;	     /* control may change it */
	uint64_t idle_since_ns;	     /* of the spin that goes on; 0: there is none */
	unsigned window_spins;
	unsigned window_hits;
	uint64_t rest_ns; /* the next rest's length */
	uint64_t rest_until_ns;
	struct path_scratch scratch;
};

/* Control has a link, a port, an answer or a message to look at. */
static void raise_fault(struct worker *worker)
{
	uint64_t one = 1;

	if (write(worker->event_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable */
}

static void tell_news(struct worker *worker, struct port *port)
{
	if (!port->has_news)
		return;
	port->has_news = false;
	raise_fault(worker);
}

/* ---- has the process stood still? ---- */

static uint64_t last_tick(const struct worker *worker)
{
	return __atomic_load_n(&worker->ticked_ns, __ATOMIC_ACQUIRE);
}

/*
 * Looks at the clock. True if frames must wait: no link and no queue is served then.
 * Nobody gives us up in less than stall_ns, so control that has spoken in that time has
 * heard of all who did; if it ran while we did not, the next turn is as always.
 */
static bool look(struct worker *worker)
{
	uint64_t now_ns = clock_coarse_ns(), gap_ns = now_ns - worker->ran_ns;

	worker->ran_ns = now_ns;
	if (gap_ns > worker->stall_ns && worker->stall_ns && last_tick(worker)) {
		worker->held_ns = now_ns - worker->stall_ns;
		worker->is_late |= gap_ns > LATE_NS;
	}
	return worker->held_ns != 0;
}

/* After a burst. */
static unsigned took(struct worker *worker, unsigned frames)
{
	if (frames)
		look(worker);
	return frames;
}

/* ---- queues ---- */

static int watch_queue(struct worker *worker, int op, struct queue *queue,
		       uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = &queue->source};

	return epoll_ctl(worker->epoll_fd, op, queue->fd, &event) < 0 ? -errno : 0;
}

static void queue_set_ready(struct worker *worker, struct queue *queue)
{
	if (queue->state != QUEUE_IDLE)
		return;
	queue->state = QUEUE_READY;
	worker->ready[worker->num_ready++] = queue;
}

/* It stays in epoll: to come back must not need memory, and it may vanish meanwhile. */
static void queue_set_blocked(struct worker *worker, struct queue *queue)
{
	watch_queue(worker, EPOLL_CTL_MOD, queue, 0);
	queue->state = QUEUE_BLOCKED;
	worker->blocked[worker->num_blocked++] = queue;
}

static void queue_set_gone(struct worker *worker, struct queue *queue)
{
	watch_queue(worker, EPOLL_CTL_DEL, queue, 0);
	queue->state = QUEUE_GONE;
	__atomic_store_n(&queue->port->error, -ENODEV, __ATOMIC_RELAXED);
	raise_fault(worker);
}

/* Next number for a sleep or a wait: never 0, and never the one before. */
static uint32_t next_number(struct worker *worker)
{
	if (++worker->number == 0)
		worker->number = 1;
	return worker->number;
}

/* Whose room a blocked queue waits for; NULL: nobody's any more. */
static struct link *queue_link(const struct plane_view *view, const struct queue *queue)
{
	struct link *own = view->ports[queue->port->index].by_queue[queue->index];

	if (own || !queue->waits_for)
		return own;
	return view_find_link(view, queue->port, queue->waits_for);
}

/* Room to read any frame, or nothing to wait for any more: a link at rest, or paused, has
 * room for drops. */
static bool queue_has_room(const struct plane_view *view, const struct queue *queue)
{
	struct link *link = queue_link(view, queue);
	uint8_t *place;

	if (!link || __atomic_load_n(&link->error, __ATOMIC_RELAXED) ||
	    link_is_paused(link) || port_is_paused(queue->port))
		return true;
	if (queue->waits_for && clock_now_ns() >= queue->wait_until_ns)
		return true;
	return shmnet_ring_reserve(&link->tx, link_room(link), 0, &place) != -ENOBUFS;
}

static void unblock_queues(struct worker *worker, const struct plane_view *view)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < worker->num_blocked; i++) {
		struct queue *queue = worker->blocked[i];

		if (queue->state == QUEUE_GONE)
			continue;
		if (!queue_has_room(view, queue)) {
			worker->blocked[kept++] = queue;
			continue;
		}
		watch_queue(worker, EPOLL_CTL_MOD, queue, EPOLLIN);
		queue->state = QUEUE_IDLE;
		queue_set_ready(worker, queue);
	}
	worker->num_blocked = kept;
}

static void serve_queue(struct worker *worker, const struct plane_view *view,
			struct queue *queue, unsigned *frames)
{
	enum path_tx_result result;
	unsigned n;

	if (queue->state == QUEUE_GONE)
		return;
	result = path_tx(view, queue, &worker->scratch, &n);
	tell_news(worker, queue->port);
	*frames += n;
	queue->state = QUEUE_IDLE;
	if (result == PATH_TX_MORE)
		queue_set_ready(worker, queue);
	else if (result == PATH_TX_BLOCKED)
		queue_set_blocked(worker, queue);
	else if (result == PATH_TX_GONE)
		queue_set_gone(worker, queue);
}

/* ---- a turn ---- */

static void take_event(struct worker *worker, const struct epoll_event *event)
{
	struct source *source = event->data.ptr;
	struct fabric_source *bell;
	struct queue *queue;
	uint64_t count;

	switch (source->kind) {
	case SOURCE_QUEUE:
		queue = (struct queue *)(void *)source;
		if (event->events & (EPOLLERR | EPOLLHUP))
			queue_set_gone(worker, queue);
		else
			queue_set_ready(worker, queue);
		break;
	case SOURCE_FABRIC:
		bell = (struct fabric_source *)(void *)source;
		if (!bell->fabric->ops->drain(bell->fabric))
			epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, bell->fabric->wait_fd,
				  NULL);
		break;
	case SOURCE_WAKE:
		if (read(worker->wake_fd, &count, sizeof(count)) < 0)
			break; /* already taken */
		worker->woken = true;
		worker->asked = true;
		break;
	}
}

static int take_events(struct worker *worker, int timeout_ms)
{
	struct epoll_event events[WORKER_EVENTS_MAX];
	int n = epoll_wait(worker->epoll_fd, events, WORKER_EVENTS_MAX, timeout_ms);

	for (int i = 0; i < n; i++)
		take_event(worker, &events[i]);
	return n;
}

static unsigned serve_rings(struct worker *worker, const struct plane_view *view)
{
	unsigned frames = 0;

	for (unsigned i = 0; i < view->num_links && !worker->held_ns; i++) {
		struct link *link = view->links[i];

		frames += took(worker, path_rx(link, &worker->scratch));
		if (link->error && !link->error_raised) {
			link->error_raised = true;
			raise_fault(worker);
		}
		if (link->commands.has_news) {
			link->commands.has_news = false;
			raise_fault(worker);
		}
	}
	return frames;
}

static void send_commands(struct worker *worker, const struct plane_view *view)
{
	worker->asked = false;
	for (unsigned i = 0; i < view->num_links; i++) {
		worker->asked |= command_send(view->links[i]);
		path_publish(view->links[i]);
	}
}

static unsigned serve_port_casts(struct worker *worker, const struct plane_view *view,
				 const struct port_view *port)
{
	unsigned frames = 0;
	bool drained = true;

	for (unsigned i = 0; i < port->num_casts && !worker->held_ns; i++) {
		bool is_empty;

		frames += took(worker, path_cast_rx(view, port->casts[i],
						    &worker->scratch, &is_empty));
		drained &= is_empty;
	}
	if (drained && !worker->held_ns && port->port->casts_moved) {
		port->port->casts_moved = false;
		path_cast_settle(port);
	}
	tell_news(worker, port->port);
	return frames;
}

static unsigned serve_casts(struct worker *worker, const struct plane_view *view)
{
	unsigned frames = 0;

	for (unsigned p = 0; p < view->num_ports; p++) {
		if (view->ports[p].port)
			frames += serve_port_casts(worker, view, &view->ports[p]);
	}
	return frames;
}

static unsigned serve_queues(struct worker *worker, const struct plane_view *view)
{
	const bool rests = __atomic_load_n(&worker->rests, __ATOMIC_RELAXED);
	unsigned count = worker->num_ready;
	unsigned frames = 0;

	/* A queue that has more comes after those that became ready before it. */
	worker->num_ready = 0;
	for (unsigned i = 0; i < count && rests; i++) {
		if (worker->ready[i]->state == QUEUE_READY)
			worker->ready[i]->state = QUEUE_IDLE;
	}
	for (unsigned i = 0; i < count && !rests; i++) {
		if (look(worker))
			worker->ready[worker->num_ready++] = worker->ready[i];
		else
			serve_queue(worker, view, worker->ready[i], &frames);
	}
	return frames;
}

/*
 * False if sleep may follow. Not after control's wake-up: it may be for a view that
 * is newer than this turn's, and there is no second one.
 */
static bool worker_turn(struct worker *worker, const struct plane_view *view)
{
	unsigned frames;

	take_events(worker, 0);
	if (look(worker))
		return true;
	if (worker->asked)
		send_commands(worker, view);
	frames = serve_rings(worker, view);
	frames += serve_casts(worker, view);
	if (worker->held_ns)
		return true;
	if (worker->global)
		frames += path_global_turn(view, worker->global, &worker->scratch);
	if (worker->num_blocked && !__atomic_load_n(&worker->rests, __ATOMIC_RELAXED))
		unblock_queues(worker, view);
	frames += serve_queues(worker, view);
	return frames > 0 || worker->num_ready > 0 || worker->woken || worker->asked;
}

/* ---- waiting ---- */

/* True as long as it pays to look around once more. */
static bool worker_spins(struct worker *worker)
{
	uint64_t budget = __atomic_load_n(&worker->spin_ns, __ATOMIC_RELAXED), now;

	if (budget == 0)
		return false;
	now = clock_now_ns();
	if (worker->idle_since_ns == 0) {
		if (now < worker->rest_until_ns)
			return false;
		worker->idle_since_ns = now;
	}
	if (now - worker->idle_since_ns >= budget)
		return false;
	sched_yield();
	return true;
}

static void judge_window(struct worker *worker)
{
	if (worker->window_hits) {
		worker->rest_ns = SPIN_REST_MIN_NS;
	} else {
		worker->rest_until_ns = clock_now_ns() + worker->rest_ns;
		worker->rest_ns *= 2;
		if (worker->rest_ns > SPIN_REST_MAX_NS)
			worker->rest_ns = SPIN_REST_MAX_NS;
	}
	worker->window_spins = 0;
	worker->window_hits = 0;
}

/* Something came, or the budget is used up. */
static void spin_end(struct worker *worker, bool hit)
{
	if (worker->idle_since_ns == 0)
		return;
	worker->idle_since_ns = 0;
	worker->window_hits += hit;
	if (++worker->window_spins == SPIN_WINDOW)
		judge_window(worker);
}

/* `ret` is what arm() or wait_room() said: is it safe to sleep, as to this link? */
static bool link_is_safe(struct link *link, int ret)
{
	if (ret < 0)
		link_fail(link, ret); /* not safe: the next turn raises it */
	return ret == 0;
}

static bool arm_link(struct link *link, uint32_t number)
{
	if (link->error)
		return true;
	return link_is_safe(link,
			    link->fabric->ops->arm(link->fabric, &link->rx, number));
}

static bool arm_queue(const struct plane_view *view, const struct queue *queue,
		      uint32_t number)
{
	struct link *link = queue_link(view, queue);

	if (!link || link->error)
		return false; /* nothing to wait for: the next turn unblocks it */
	return link_is_safe(link, link->fabric->ops->wait_room(link->fabric, &link->tx,
							       number, link_room(link)));
}

/* True if nothing came meanwhile and every peer will ring. */
static bool arm_rings(struct worker *worker, const struct plane_view *view)
{
	uint32_t number = next_number(worker);
	bool safe = true;

	for (unsigned i = 0; i < view->num_links; i++)
		safe &= arm_link(view->links[i], number);
	for (unsigned i = 0; i < worker->num_blocked; i++)
		safe &= arm_queue(view, worker->blocked[i], number);
	return safe;
}

/* After arm_rings(): the same for the cast rings. */
static bool look_at_casts(const struct plane_view *view, int *timeout_ms)
{
	bool safe = true;

	for (unsigned p = 0; p < view->num_ports; p++) {
		const struct port_view *port = &view->ports[p];

		for (unsigned i = 0; i < port->num_casts; i++)
			safe &= path_cast_is_quiet(port->casts[i], timeout_ms);
	}
	return safe;
}

static void disarm_rings(const struct plane_view *view)
{
	for (unsigned i = 0; i < view->num_links; i++) {
		struct link *link = view->links[i];

		link->fabric->ops->disarm(link->fabric, &link->rx);
	}
}

/* For queues that wait for a peer, and not for ever. */
static void look_at_blocked(const struct worker *worker, int *timeout_ms)
{
	uint64_t now = worker->num_blocked ? clock_now_ns() : 0;

	for (unsigned i = 0; i < worker->num_blocked; i++) {
		const struct queue *queue = worker->blocked[i];
		int left = 0;

		if (!queue->waits_for)
			continue;
		if (now < queue->wait_until_ns)
			left = (int)((queue->wait_until_ns - now) / NSEC_PER_MSEC) + 1;
		if (*timeout_ms < 0 || left < *timeout_ms)
			*timeout_ms = left;
	}
}

/* In slices, to look at the clock often enough. */
static void wait_for_events(struct worker *worker, int timeout_ms)
{
	int slice_ms = (int)(worker->stall_ns / 2 / NSEC_PER_MSEC);

	while (slice_ms && (timeout_ms < 0 || timeout_ms > slice_ms)) {
		if (take_events(worker, slice_ms) > 0 || look(worker))
			return;
		if (timeout_ms > 0)
			timeout_ms -= slice_ms;
	}
	take_events(worker, timeout_ms);
}

static void worker_sleep(struct worker *worker, const struct plane_view *view)
{
	int timeout_ms = -1;

	spin_end(worker, false);
	look_at_blocked(worker, &timeout_ms);
	if (worker->global)
		path_global_rest(worker->global, &timeout_ms);
	if (arm_rings(worker, view) && look_at_casts(view, &timeout_ms))
		wait_for_events(worker, timeout_ms);
	disarm_rings(view);
}

/* ---- the thread, and control's side of it ---- */

static unsigned keep_queues(const struct plane_view *view, struct queue **queues,
			    unsigned num)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < num; i++) {
		if (view->ports[queues[i]->port->index].port == queues[i]->port)
			queues[kept++] = queues[i];
	}
	return kept;
}

/* Queues of a port that is not there any more are forgotten: nothing comes by them. */
static void forget_queues(struct worker *worker, const struct plane_view *view)
{
	worker->num_ready = keep_queues(view, worker->ready, worker->num_ready);
	worker->num_blocked = keep_queues(view, worker->blocked, worker->num_blocked);
}

static const struct plane_view *take_view(struct worker *worker)
{
	const struct plane_view *view = __atomic_load_n(&worker->view, __ATOMIC_ACQUIRE);

	if (view->generation == worker->seen)
		return view;
	forget_queues(worker, view);
	pthread_mutex_lock(&worker->lock);
	worker->seen = view->generation;
	pthread_cond_signal(&worker->progress);
	pthread_mutex_unlock(&worker->lock);
	return view;
}

static bool is_stopping(const struct worker *worker)
{
	return __atomic_load_n(&worker->stop, __ATOMIC_ACQUIRE);
}

/* Not if the TAPs are to wait for the next process, or for links. */
static void forget_late(struct worker *worker, const struct plane_view *view)
{
	if (is_stopping(worker) || __atomic_load_n(&worker->rests, __ATOMIC_RELAXED))
		return;
	if (worker->is_late)
		path_forget_late(view, &worker->scratch);
	if (worker->global)
		path_global_expire(view, worker->global);
}

/*
 * In place of a turn. Views are taken up meanwhile: taking a peer's links away waits for
 * that. Control that lives takes milliseconds; if it hangs, frames don't wait for it.
 */
static void worker_hold(struct worker *worker, const struct plane_view *view)
{
	look(worker);
	if (last_tick(worker) < worker->held_ns &&
	    worker->ran_ns - worker->held_ns <= 2 * worker->stall_ns) {
		usleep(HOLD_NAP_US);
		return;
	}
	worker->held_ns = 0;
	forget_late(worker, view);
	worker->is_late = false;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;

	while (!is_stopping(worker)) {
		const struct plane_view *view = take_view(worker);

		__atomic_store_n(&worker->turns, worker->turns + 1, __ATOMIC_RELAXED);
		worker->woken = false;
		if (worker->held_ns)
			worker_hold(worker, view);
		else if (worker_turn(worker, view))
			spin_end(worker, true);
		else if (!worker_spins(worker))
			worker_sleep(worker, view);
	}
	return NULL;
}

void worker_wake(struct worker *worker)
{
	uint64_t one = 1;

	if (write(worker->wake_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable */
}

void worker_rest(struct worker *worker, bool rests)
{
	__atomic_store_n(&worker->rests, rests, __ATOMIC_RELAXED);
	worker_wake(worker);
}

/* One that is gone, and so not watched any more, has nothing to rest from. */
void worker_rest_queue(struct worker *worker, struct queue *queue, bool rests)
{
	watch_queue(worker, EPOLL_CTL_MOD, queue, rests ? 0 : EPOLLIN);
}

uint64_t worker_turns(const struct worker *worker)
{
	return __atomic_load_n(&worker->turns, __ATOMIC_RELAXED);
}

void worker_publish(struct worker *worker, const struct plane_view *view)
{
	__atomic_store_n(&worker->view, view, __ATOMIC_RELEASE);
	if (!worker->running)
		return;
	worker_wake(worker);
	pthread_mutex_lock(&worker->lock);
	while (worker->seen != view->generation)
		pthread_cond_wait(&worker->progress, &worker->lock);
	pthread_mutex_unlock(&worker->lock);
}

void worker_tick(struct worker *worker, uint64_t now_ns)
{
	__atomic_store_n(&worker->ticked_ns, now_ns, __ATOMIC_RELEASE);
}

void worker_send_commands(struct worker *worker)
{
	worker_wake(worker);
}

int worker_watch(struct worker *worker, struct fabric_source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &source->source};

	if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, source->fabric->wait_fd, &event) <
	    0)
		return -errno;
	return 0;
}

void worker_ignore(struct worker *worker, struct fabric_source *source)
{
	epoll_ctl(worker->epoll_fd, EPOLL_CTL_DEL, source->fabric->wait_fd, NULL);
}

int worker_add_port(struct worker *worker, struct port *port)
{
	int ret;

	for (unsigned i = 0; i < port->num_queues; i++) {
		ret = watch_queue(worker, EPOLL_CTL_ADD, &port->queues[i], EPOLLIN);
		if (ret < 0)
			return ret;
	}
	return 0;
}

void worker_remove_port(struct worker *worker, struct port *port)
{
	for (unsigned i = 0; i < port->num_queues; i++)
		watch_queue(worker, EPOLL_CTL_DEL, &port->queues[i], 0);
}

void worker_set_global(struct worker *worker, struct global_state *global)
{
	worker->global = global;
}

/* Signals from outside are control's; those that a thread causes itself stay its own. */
static void block_signals(sigset_t *ret_former)
{
	static const int own[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL,
				  SIGSEGV, SIGSYS, SIGTRAP};
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&set, own[i]);
	pthread_sigmask(SIG_SETMASK, &set, ret_former);
}

int worker_start(struct worker *worker, const struct plane_view *view)
{
	sigset_t former;
	int ret;

	worker->view = view;
	worker->seen = view->generation;
	worker->ran_ns = clock_coarse_ns();
	block_signals(&former);
	ret = pthread_create(&worker->thread, NULL, worker_main, worker);
	pthread_sigmask(SIG_SETMASK, &former, NULL);
	worker->running = ret == 0;
	return -ret;
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	if (worker->running) {
		__atomic_store_n(&worker->stop, true, __ATOMIC_RELEASE);
		worker_wake(worker);
		pthread_join(worker->thread, NULL);
	}
	close(worker->epoll_fd);
	close(worker->wake_fd);
	pthread_cond_destroy(&worker->progress);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
}

static int open_wait(struct worker *worker)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &worker->wake_source};
	int ret;

	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (worker->epoll_fd < 0)
		return -errno;
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->wake_fd < 0)
		goto err_epoll;
	worker->wake_source.kind = SOURCE_WAKE;
	if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event) < 0)
		goto err_wake;
	return 0;

err_wake:
	ret = -errno;
	close(worker->wake_fd);
	errno = -ret;
err_epoll:
	ret = -errno;
	close(worker->epoll_fd);
	return ret;
}

void worker_set_spin(struct worker *worker, uint32_t spin_us)
{
	__atomic_store_n(&worker->spin_ns, spin_us * NSEC_PER_USEC, __ATOMIC_RELAXED);
}

int worker_new(const struct plane_options *options, int event_fd,
	       struct worker **ret_worker)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int ret;

	if (!worker)
		return -ENOMEM;
	ret = open_wait(worker);
	if (ret < 0) {
		free(worker);
		return ret;
	}
	worker->event_fd = event_fd;
	worker->spin_ns = options->spin_us * NSEC_PER_USEC;
	worker->stall_ns = options->stall_ns;
	worker->rest_ns = SPIN_REST_MIN_NS;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->progress, NULL);
	*ret_worker = worker;
	return 0;
}
