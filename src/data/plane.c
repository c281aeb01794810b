/*
 * See plane.h. The control thread's half of the data plane: keeps the links and
 * connections, builds views, and takes things away in two phases.
 *
 * Everything here runs on the control thread; plane_cast.c has what is about cast
 * rings, plane_command.c what is about commands. plane->links and plane->casts are the
 * truth, a view is made from it whenever it changes; only worker_publish() hands one
 * over.
 */
#include "data/plane.h"

#include "data/global.h"
#include "data/plane_internal.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- views ---- */

static void view_done(struct plane_view *view)
{
	for (unsigned p = 0; p < PLANE_PORTS_MAX; p++) {
		for (unsigned page = 0; page < 256; page++)
			free(view->ports[p].by_id[page]);
		free(view->ports[p].links);
	}
	free(view->links);
}

static int reserve_links(struct link ***links, unsigned num_links)
{
	struct link **grown = realloc(*links, num_links * sizeof(struct link *));

	if (!grown)
		return -ENOMEM;
	*links = grown;
	return 0;
}

/* Room for what the plane has and one more link on this port. Nobody else has the view.
 */
static int view_reserve(const struct plane *plane, struct plane_view *view,
			const struct port *port, uint16_t peer_id)
{
	struct link ***page = &view->ports[port->index].by_id[peer_id >> 8];

	if (!*page)
		*page = calloc(256, sizeof(struct link *));
	if (!*page || reserve_links(&view->links, plane->num_links + 1) < 0)
		return -ENOMEM;
	for (unsigned p = 0; p < plane->num_ports; p++) {
		if (reserve_links(&view->ports[p].links, plane->num_links + 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void view_clear(struct plane_view *view)
{
	view->num_links = 0;
	for (unsigned p = 0; p < PLANE_PORTS_MAX; p++) {
		struct port_view *port = &view->ports[p];

		port->num_links = 0;
		port->num_casts = 0;
		port->num_labels = 0;
		port->broadcast = NULL;
		port->has_sharers = false;
		port->lacks = 0;
		memset(port->by_queue, 0, sizeof(port->by_queue));
		for (unsigned page = 0; page < 256; page++) {
			if (port->by_id[page])
				memset(port->by_id[page], 0, 256 * sizeof(struct link *));
		}
	}
}

static void view_add_cast(struct plane_view *view, struct cast *cast)
{
	struct port_view *port = &view->ports[cast->port->index];

	if (cast->reads)
		port->casts[port->num_casts++] = cast;
	if (!cast->writes)
		return;
	port->labels[port->num_labels] = cast->key;
	port->by_label[port->num_labels++] = cast;
	if (cast->key == WANT_BROADCAST)
		port->broadcast = cast;
}

static void view_add_port(struct plane_view *view, struct plane *plane, unsigned p)
{
	view->ports[p].port = plane->ports[p].tap ? &plane->ports[p] : NULL;
	for (unsigned i = 0; i < PLANE_CASTS_MAX; i++) {
		if (plane->casts[p].by_index[i])
			view_add_cast(view, plane->casts[p].by_index[i]);
	}
}

static void view_add_link(struct plane_view *view, struct link *link)
{
	struct port_view *port = &view->ports[link->port->index];

	port->by_id[link->peer_id >> 8][link->peer_id & 0xff] = link;
	port->links[port->num_links++] = link;
	port->has_sharers |= !link->is_remote;
	port->lacks |= link->lacks;
	if (link->queue)
		port->by_queue[link->queue] = link;
	view->links[view->num_links++] = link;
}

/*
 * Fills the spare view from the plane and hands it to the worker; the old one,
 * that nobody reads any more, is the next spare. Cannot fail: the room was made
 * when the links were added, so taking one away needs no memory.
 */
void plane_publish(struct plane *plane)
{
	struct plane_view *view = plane->spare;

	view_clear(view);
	for (unsigned i = 0; i < plane->num_links; i++)
		view_add_link(view, plane->links[i]);
	view->num_ports = plane->num_ports;
	for (unsigned p = 0; p < plane->num_ports; p++)
		view_add_port(view, plane, p);
	view->generation = plane->view->generation + 1;
	worker_publish(plane->worker, view);
	plane->spare = plane->view;
	plane->view = view;
}

/* ---- links ---- */

/*
 * A queue of the port that is no link's own, or 0 if there is none left. They take
 * turns: what a queue still holds for the peer that had it before is read and dropped
 * by the time it comes round again, and not read into the next peer's memory.
 */
static unsigned take_free_queue(const struct plane *plane, struct port *port)
{
	const struct port_view *view = &plane->view->ports[port->index];

	for (unsigned i = 1; i < port->num_queues; i++) {
		unsigned q = 1 + (port->last_queue + i - 1) % (port->num_queues - 1);

		if (view->by_queue[q])
			continue;
		port->last_queue = q;
		return q;
	}
	return 0;
}

static struct link *link_new(const struct plane *plane, struct port *port,
			     const struct plane_link *spec)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->port = port;
	link->fabric = spec->fabric;
	link->peer_id = spec->peer_id;
	link->is_remote = spec->is_remote;
	link->is_trusted = spec->is_trusted || spec->is_remote;
	link->lacks = SHMNET_OFFLOADS & ~spec->offloads;
	link->queue = take_free_queue(plane, port);
	shmnet_mac_make(link->peer_mac, port->tag, spec->peer_id);
	shmnet_ring_tx_init(&link->tx, spec->tx.words, spec->tx.data, spec->tx.size,
			    spec->tx_salt);
	shmnet_ring_rx_init(&link->rx, spec->rx.words, spec->rx.data, spec->rx.size,
			    spec->rx_salt);
	link->tx.index = spec->tx_index;
	link->rx.index = spec->rx_index;
	return link;
}

/* Accepts one that could not be made as a whole. */
static void link_free(struct link *link)
{
	command_close(link);
	free(link);
}

static void links_remove(struct plane *plane, const struct link *link)
{
	for (unsigned i = 0; i < plane->num_links; i++) {
		if (plane->links[i] == link) {
			plane->links[i] = plane->links[--plane->num_links];
			return;
		}
	}
}

int plane_add_link(struct plane *plane, const struct plane_link *spec,
		   struct link **ret_link)
{
	struct port *port = &plane->ports[spec->port];
	struct link *link;

	if (view_find_link(plane->view, port, spec->peer_id))
		return -EEXIST;
	link = link_new(plane, port, spec);
	if (!link)
		return -ENOMEM;
	if (command_open(link) < 0)
		goto err_link;
	if (view_reserve(plane, plane->spare, port, spec->peer_id) < 0 ||
	    reserve_links(&plane->links, plane->num_links + 1) < 0)
		goto err_link;
	plane->links[plane->num_links++] = link;
	plane_publish(plane);
	/* What was the worker's until now gets the same room. */
	plane->num_links--;
	if (view_reserve(plane, plane->spare, port, spec->peer_id) < 0)
		goto err_publish;
	plane->num_links++;
	/* Refused (too many are steered): its frames stay in the shared queue. */
	if (link->queue)
		tap_steer(port->tap, link->peer_id, link->queue);
	*ret_link = link;
	return 0;

err_publish:
	plane_publish(plane);
err_link:
	link_free(link);
	return -ENOMEM;
}

/* What the peer never read is lost, and this is where it is counted. */
static void count_unread(struct link *link)
{
	struct shmnet_ring_rx unread;
	struct shmnet_record record;

	shmnet_ring_update_tail(&link->tx);
	shmnet_ring_rx_init(&unread, link->tx.words, link->tx.data, link->tx.mask + 1,
			    link->tx.salt);
	unread.tail = link->tx.tail;
	unread.head = link->tx.head;
	while (shmnet_ring_peek(&unread, &record) > 0) {
		shmnet_ring_release(&unread, &record);
		if (!(record.flags & SHMNET_RECORD_COMMAND))
			counter_add(&link->counters.drops[DROP_PEER_DOWN], 1);
	}
}

void plane_remove_link(struct plane *plane, struct link *link, bool peer_is_dead,
		       struct link_counters *ret_final)
{
	if (link->queue)
		tap_unsteer(link->port->tap, link->peer_id);
	if (peer_is_dead)
		plane_drain_casts(plane, link->port);
	links_remove(plane, link);
	plane_publish(plane);

	if (peer_is_dead && !link->error)
		path_rx_salvage(link, &plane->scratch);
	path_cast_end(link);
	if (link->fabric->ops->detach)
		link->fabric->ops->detach(link->fabric, &link->tx, &link->rx);
	count_unread(link);
	if (ret_final)
		*ret_final = link->counters;
	link_free(link);
}

void link_counters_add(struct link_counters *sum, const struct link_counters *counters)
{
	sum->sent_frames += counters->sent_frames;
	sum->sent_bytes += counters->sent_bytes;
	sum->received_frames += counters->received_frames;
	sum->delivered_frames += counters->delivered_frames;
	sum->delivered_bytes += counters->delivered_bytes;
	sum->pings_answered += counters->pings_answered;
	sum->pings_unanswered += counters->pings_unanswered;
	sum->pongs_ignored += counters->pongs_ignored;
	sum->messages_sent += counters->messages_sent;
	sum->messages_received += counters->messages_received;
	sum->messages_lost += counters->messages_lost;
	sum->received_paused += counters->received_paused;
	for (unsigned reason = 0; reason < DROP_NUM_; reason++)
		sum->drops[reason] += counters->drops[reason];
}

/* A queue that waits for room at a paused peer waits no longer: the worker is woken. */
void plane_pause_port(struct plane *plane, unsigned port, bool is_paused)
{
	__atomic_store_n(&plane->ports[port].is_paused, is_paused, __ATOMIC_RELAXED);
	plane_publish(plane);
}

void plane_pause_link(struct plane *plane, struct link *link, bool is_paused)
{
	__atomic_store_n(&link->is_paused, is_paused, __ATOMIC_RELAXED);
	plane_publish(plane);
}

/* The peer writes one of the words: what they say is checked, and no more than shown. */
static uint64_t ring_used(const struct shmnet_ring_words *words, uint64_t size)
{
	uint64_t head = __atomic_load_n(&words->head, __ATOMIC_RELAXED);
	uint64_t tail = __atomic_load_n(&words->tail, __ATOMIC_RELAXED);

	return head - tail > size ? 0 : head - tail;
}

void plane_beat_link(const struct link *link, uint32_t beat)
{
	shmnet_ring_beat(&link->tx, beat);
}

uint64_t plane_pulse_link(const struct link *link)
{
	return shmnet_ring_tx_pulse(&link->tx) + shmnet_ring_rx_pulse(&link->rx);
}

void plane_read_link(const struct link *link, struct link_counters *ret_counters,
		     struct link_usage *ret_usage)
{
	plane_copy_counters((uint64_t *)ret_counters, (const uint64_t *)&link->counters,
			    sizeof(*ret_counters));
	ret_usage->ring_size = link->tx.mask + 1;
	ret_usage->ring_used = ring_used(link->tx.words, ret_usage->ring_size);
	ret_usage->received_ring_size = link->rx.mask + 1;
	ret_usage->received_ring_used =
		ring_used(link->rx.words, ret_usage->received_ring_size);
	ret_usage->bells_rung =
		__atomic_load_n(&link->fabric->bells_rung, __ATOMIC_RELAXED);
}

/* ---- ports and connections ---- */

static void port_init(struct port *port, unsigned index, const struct plane_port *spec)
{
	memset(port, 0, sizeof(*port));
	port->index = index;
	port->node_id = spec->node_id;
	port->tag = spec->tag;
	port->mtu = spec->mtu;
	port->offloads = spec->tap->offloads;
	port->tap = spec->tap;
	port->num_queues = spec->tap->num_queues;
	shmnet_mac_make(port->mac, spec->tag, spec->node_id);
	for (unsigned q = 0; q < port->num_queues; q++)
		port->queues[q] = (struct queue){
			.source = {SOURCE_QUEUE},
			.port = port,
			.fd = spec->tap->queues[q],
			.index = q,
		};
}

static unsigned find_port(const struct plane *plane)
{
	unsigned index = 0;

	while (index < plane->num_ports && plane->ports[index].tap)
		index++;
	return index;
}

/* The worker must not hear of a queue before it knows the port. */
static int start_port(struct plane *plane, struct port *port)
{
	int ret;

	if (port->index == plane->num_ports)
		plane->num_ports++;
	if (plane->is_started)
		plane_publish(plane);
	ret = worker_add_port(plane->worker, port);
	if (ret < 0)
		plane_remove_port(plane, port->index);
	return ret;
}

int plane_add_port(struct plane *plane, const struct plane_port *spec,
		   unsigned *ret_index)
{
	unsigned index = find_port(plane);
	struct port *port = &plane->ports[index];
	int ret;

	if (index == PLANE_PORTS_MAX)
		return -ENOSPC;
	port_init(port, index, spec);
	if (spec->global) {
		ret = plane_add_global(plane, port, spec->global);
		if (ret < 0) {
			port->tap = NULL;
			return ret;
		}
	}
	ret = start_port(plane, port);
	if (ret == 0)
		*ret_index = index;
	return ret;
}

void plane_remove_port(struct plane *plane, unsigned index)
{
	struct port *port = &plane->ports[index];

	worker_remove_port(plane->worker, port);
	port->tap = NULL;
	if (plane->is_started)
		plane_publish(plane);
	port_global_free(port->global);
	memset(port, 0, sizeof(*port));
}

void plane_read_port(const struct plane *plane, unsigned port,
		     struct port_counters *ret_counters)
{
	plane_copy_counters((uint64_t *)ret_counters,
			    (const uint64_t *)&plane->ports[port].counters,
			    sizeof(*ret_counters));
	plane_add_cast_counters(plane, port, &ret_counters->casts);
}

int plane_add_fabric(struct plane *plane, struct fabric *fabric)
{
	struct fabric_source *source;
	int ret;

	if (fabric->wait_fd < 0)
		return 0;
	source = calloc(1, sizeof(*source));
	if (!source)
		return -ENOMEM;
	source->source.kind = SOURCE_FABRIC;
	source->fabric = fabric;
	ret = worker_watch(plane->worker, source);
	if (ret < 0) {
		free(source);
		return ret;
	}
	source->next = plane->sources;
	plane->sources = source;
	return 0;
}

void plane_remove_fabric(struct plane *plane, struct fabric *fabric)
{
	struct fabric_source **at = &plane->sources;
	struct fabric_source *source;

	while (*at && (*at)->fabric != fabric)
		at = &(*at)->next;
	source = *at;
	if (!source)
		return;
	*at = source->next;
	worker_ignore(plane->worker, source);
	plane_publish(plane); /* the worker may have fetched an event of it */
	free(source);
}

bool plane_has_turned(struct plane *plane)
{
	uint64_t turns = worker_turns(plane->worker);
	bool has_turned = turns != plane->turns;

	plane->turns = turns;
	worker_wake(plane->worker);
	return has_turned;
}

static void rest_port(struct plane *plane, struct port *port, bool rest)
{
	for (unsigned i = 0; i < port->num_queues; i++)
		worker_rest_queue(plane->worker, &port->queues[i], rest);
}

void plane_rest_taps(struct plane *plane, bool rest)
{
	if (rest)
		worker_rest(plane->worker, true);
	for (unsigned p = 0; p < plane->num_ports; p++)
		rest_port(plane, &plane->ports[p], rest);
	if (!rest)
		worker_rest(plane->worker, false);
}

void plane_wake(struct plane *plane)
{
	worker_wake(plane->worker);
}

void plane_tick(struct plane *plane, uint64_t now_ns)
{
	worker_tick(plane->worker, now_ns);
}

/* ---- faults ---- */

int plane_event_fd(const struct plane *plane)
{
	return plane->event_fd;
}

static bool next_link_fault(struct plane *plane, struct plane_fault *ret_fault)
{
	for (unsigned i = 0; i < plane->num_links; i++) {
		struct link *link = plane->links[i];
		int error = __atomic_load_n(&link->error, __ATOMIC_RELAXED);

		if (!error || link->error_taken)
			continue;
		link->error_taken = true;
		*ret_fault = (struct plane_fault){.kind = PLANE_FAULT_LINK,
						  .link = link,
						  .port = link->port->index,
						  .error = error};
		return true;
	}
	return false;
}

static bool next_port_fault(struct plane *plane, struct plane_fault *ret_fault)
{
	for (unsigned p = 0; p < plane->num_ports; p++) {
		struct port *port = &plane->ports[p];
		int error = __atomic_load_n(&port->error, __ATOMIC_RELAXED);

		if (!error || port->error_taken)
			continue;
		port->error_taken = true;
		*ret_fault = (struct plane_fault){
			.kind = PLANE_FAULT_PORT, .port = p, .error = error};
		return true;
	}
	return false;
}

void plane_come_again(struct plane *plane)
{
	uint64_t one = 1;

	if (write(plane->event_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable */
}

bool plane_next_fault(struct plane *plane, struct plane_fault *ret_fault)
{
	uint64_t count;

	if (read(plane->event_fd, &count, sizeof(count)) < 0)
		count = 0; /* nothing new was raised; what is left is found below */
	return next_link_fault(plane, ret_fault) || next_port_fault(plane, ret_fault) ||
	       plane_next_cast_fault(plane, ret_fault) ||
	       plane_next_want(plane, ret_fault) || plane_next_stranger(plane, ret_fault);
}

/* ---- the plane ---- */

int plane_new(const struct plane_options *options, struct plane **ret_plane)
{
	struct plane *plane = calloc(1, sizeof(*plane));
	int ret;

	if (!plane)
		return -ENOMEM;
	plane->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (plane->event_fd < 0) {
		ret = -errno;
		goto err_plane;
	}
	ret = worker_new(options, plane->event_fd, &plane->worker);
	if (ret < 0)
		goto err_event;
	plane->view = &plane->views[0];
	plane->spare = &plane->views[1];
	*ret_plane = plane;
	return 0;

err_event:
	close(plane->event_fd);
err_plane:
	free(plane);
	return ret;
}

/* The ports are in the first view, also as long as there is no link. */
int plane_start(struct plane *plane)
{
	plane->is_started = true;
	plane->view->num_ports = plane->num_ports;
	for (unsigned p = 0; p < plane->num_ports; p++)
		view_add_port(plane->view, plane, p);
	return worker_start(plane->worker, plane->view);
}

void plane_set_spin(struct plane *plane, uint32_t spin_us)
{
	worker_set_spin(plane->worker, spin_us);
}

void plane_free(struct plane *plane)
{
	if (!plane)
		return;
	worker_free(plane->worker);
	plane_free_globals(plane);
	view_done(&plane->views[0]);
	view_done(&plane->views[1]);
	free(plane->links);
	close(plane->event_fd);
	free(plane);
}
