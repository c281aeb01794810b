/*
 * See path.h. From top to bottom: checks that both ways share, the way out, the
 * way in.
 *
 * The way out has two forms behind one function. A queue that the kernel
 * steers one peer's frames into is read straight into that peer's ring: one copy,
 * and a full ring leaves the frames in the queue, which holds up nobody else.
 * The ring's memory is the peer's too, so its first bytes are copied out and
 * only the copy is decided on and written back. A peer that changes a frame
 * before that changes what it gets itself. (A readv(2) with the private part in
 * front would spare that thought and costs 8 % of the read.)
 * A queue that peers share (casts, peers beyond the queues, no steering) is
 * read into private memory, looked up and copied; a full ring then costs the
 * frame. (path_global.c makes an exception for flows of long frames.)
 *
 * A super-frame that the peer's TAP doesn't take is cut into frames on either way, each
 * a record of its own in every count. One that lies in the ring is copied out first;
 * room for its pieces was reserved before it was read.
 */
#include "data/path.h"

#include "base/segment.h"
#include "data/path_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define LATE_FRAMES_MAX 2048 /* more than a TAP keeps */

/* The length of the next frame with its header, or -errno. */
static ssize_t read_queue(const struct queue *queue, uint8_t *payload)
{
	ssize_t n = read(queue->fd, payload, SHMNET_RING_PAYLOAD_MAX);

	if (n == 0)
		return -ENODEV; /* no frame, and none to come */
	return n < 0 ? -errno : n;
}

static enum path_tx_result tx_result(ssize_t error)
{
	return error == -EAGAIN || error == -EINTR ? PATH_TX_EMPTY : PATH_TX_GONE;
}

/* The kernel could not put the frame's offload into words, and threw it away. */
static bool is_lost(ssize_t n)
{
	return n == -EINVAL;
}

void path_count_unrouted(struct port *port, enum drop_reason reason)
{
	counter_add(&port->counters.unrouted_frames, 1);
	counter_add(&port->counters.drops[reason], 1);
}

/* ---- out: TAP to ring ---- */

/* What every frame of the host must be. `head` is private and holds `length` or more. */
static enum drop_reason check_host_frame(const struct port *port, const uint8_t *head,
					 size_t length)
{
	const uint8_t *destination = head + SHMNET_VNET_HLEN;
	const uint8_t *source = destination + SHMNET_ETH_ALEN;

	if (length < SHMNET_VNET_HLEN + SHMNET_ETH_HLEN)
		return DROP_RUNT;
	if (shmnet_mac_is_command(destination) || shmnet_mac_is_command(source))
		return DROP_TAP_COMMAND;
	if (memcmp(source, port->mac, SHMNET_ETH_ALEN) != 0)
		return DROP_FOREIGN_SOURCE;
	return DROP_NUM_;
}

/* What a frame may be sent with that asks for nothing. */
static enum drop_reason fit_no_vnet(const struct frame_layout *layout, size_t length,
				    uint32_t mtu, struct frame_vnet *ret_vnet)
{
	static const struct frame_vnet none;

	return frame_fit_vnet(layout, &none, length, mtu, ret_vnet);
}

enum drop_reason path_fit_vnet(const struct port *port, const uint8_t *head,
			       uint8_t *payload, size_t length)
{
	size_t head_length = length < PATH_HEAD_MAX ? length : PATH_HEAD_MAX;
	size_t frame_length = length - SHMNET_VNET_HLEN;
	struct frame_vnet vnet, own;
	struct frame_layout layout;
	enum drop_reason reason;

	frame_parse(head + SHMNET_VNET_HLEN, head_length - SHMNET_VNET_HLEN, &layout);
	memcpy(&vnet, head, sizeof(vnet));
	reason = frame_fit_vnet(&layout, &vnet, frame_length, port->mtu, &own);
	if (reason == DROP_BAD_HEADER &&
	    frame_finish_checksum(payload + SHMNET_VNET_HLEN, frame_length, &vnet) == 0)
		reason = fit_no_vnet(&layout, frame_length, port->mtu, &own);
	if (reason != DROP_NUM_)
		return DROP_BAD_OFFLOAD;
	memcpy(payload, &own, sizeof(own));
	return DROP_NUM_;
}

void path_publish(struct link *link)
{
	int ret;

	if (!link->tx_pending || link_rests(link))
		return;
	link->tx_pending = false;
	ret = link->fabric->ops->publish(link->fabric, &link->tx);
	if (ret < 0)
		link_fail(link, ret);
}

void path_submit(struct link *link, size_t length, uint32_t flags)
{
	struct shmnet_ring_tx *tx = &link->tx;

	shmnet_ring_submit(tx, (uint32_t)length, flags);
	link->tx_pending = true;
	if (tx->head - tx->published >= (tx->mask + 1) / 4)
		path_publish(link);
}

/* For one frame, which is counted as sent; NULL if it must be dropped, counted too. */
static uint8_t *find_place(struct link *link, size_t length, uint32_t flags)
{
	uint8_t *place;
	int ret;

	count_sent(link, length);
	if (link_rests(link)) {
		count_drop(link, DROP_PEER_DOWN);
		return NULL;
	}
	if (link_is_paused(link)) {
		count_drop(link, DROP_PAUSED);
		return NULL;
	}
	ret = shmnet_ring_reserve(&link->tx, (uint32_t)length, flags, &place);
	if (ret < 0) {
		if (ret == -EPROTO)
			link_fail(link, ret);
		count_drop(link, ret == -ENOBUFS ? DROP_RING_FULL : DROP_PEER_DOWN);
		return NULL;
	}
	return place;
}

void path_copy(struct link *link, const uint8_t *payload, size_t length, uint32_t flags)
{
	uint8_t *place = find_place(link, length, flags);

	if (!place)
		return;
	memcpy(place, payload, length);
	path_submit(link, length, flags);
}

/* Piece by piece. */
static enum drop_reason tx_cut(struct link *link, struct path_scratch *scratch,
			       const uint8_t *payload, size_t length)
{
	struct segment segment;
	uint8_t *place;

	if (segment_begin(&segment, payload, length) < 0)
		return DROP_BAD_OFFLOAD;
	while ((length = segment_length(&segment)) > 0) {
		place = find_place(link, length, 0);
		segment_next(&segment, place ? place : (uint8_t *)scratch->cast);
		if (place)
			path_submit(link, length, 0);
	}
	return DROP_NUM_;
}

enum drop_reason path_send(struct link *link, struct path_scratch *scratch,
			   const uint8_t *payload, size_t length)
{
	if (path_lacks(link->lacks, payload))
		return tx_cut(link, scratch, payload, length);
	path_copy(link, payload, length, 0);
	return DROP_NUM_;
}

static enum drop_reason tx_route(const struct plane_view *view, struct port *port,
				 struct path_scratch *scratch, size_t length)
{
	const uint8_t *payload = scratch->frame;
	const uint8_t *destination = payload + SHMNET_VNET_HLEN;
	const struct port_view *links = &view->ports[port->index];
	struct link *link;

	if (shmnet_mac_is_cast(destination)) {
		if (links->num_links == 0)
			return DROP_NO_PEER;
		return path_cast(links, port, scratch, length);
	}
	if (!shmnet_mac_is_node(destination, port->tag))
		return DROP_UNKNOWN_UNICAST;
	link = view_find_link(view, port, shmnet_mac_node_id(destination));
	if (!link)
		return DROP_NO_PEER;
	return path_send(link, scratch, payload, length);
}

static enum drop_reason check_shared(struct port *port, uint8_t *payload, size_t length)
{
	enum drop_reason reason = check_host_frame(port, payload, length);

	return reason == DROP_NUM_ ? path_fit_vnet(port, payload, payload, length)
				   : reason;
}

static void tx_finish_shared(const struct plane_view *view, struct port *port,
			     struct path_scratch *scratch, size_t length)
{
	enum drop_reason reason;

	if (port->global && path_global(view, port, scratch, length))
		return;
	reason = check_shared(port, scratch->frame, length);
	if (reason == DROP_NUM_)
		reason = tx_route(view, port, scratch, length);
	if (reason != DROP_NUM_)
		path_count_unrouted(port, reason);
}

static void tx_finish(const struct plane_view *view, struct port *port,
		      struct path_scratch *scratch, uint8_t *place, size_t length)
{
	if (place != scratch->frame &&
	    path_global_direct(view, port, scratch, place, length))
		return;
	tx_finish_shared(view, port, scratch, length);
}

/* A queue that several peers share: read, look up, copy. */
static enum path_tx_result tx_shared(const struct plane_view *view, struct queue *queue,
				     struct path_scratch *scratch, unsigned *frames)
{
	ssize_t n;

	while (*frames < PATH_BURST) {
		uint8_t *place = scratch->frame;

		if (queue->port->global && !path_global_place(view, queue, &place))
			return PATH_TX_BLOCKED;
		n = read_queue(queue, place);
		if (n < 0 && !is_lost(n))
			return tx_result(n);
		++*frames;
		if (is_lost(n))
			path_count_unrouted(queue->port, DROP_BAD_OFFLOAD);
		else
			tx_finish(view, queue->port, scratch, place, (size_t)n);
	}
	return PATH_TX_MORE;
}

/*
 * As check_shared(), for a frame that lies in the ring. One that was steered here
 * when the peer was another one lies in the wrong peer's memory, so it can only be
 * dropped.
 */
static enum drop_reason check_direct(const struct link *link, uint8_t *head,
				     uint8_t *place, size_t length)
{
	size_t head_length = length < PATH_HEAD_MAX ? length : PATH_HEAD_MAX;
	enum drop_reason reason;

	memcpy(head, place, head_length);
	reason = check_host_frame(link->port, head, length);
	if (reason != DROP_NUM_)
		return reason;
	if (memcmp(head + SHMNET_VNET_HLEN, link->peer_mac, SHMNET_ETH_ALEN) != 0)
		return DROP_MISROUTED;
	memcpy(place, head, head_length);
	return path_fit_vnet(link->port, head, place, length);
}

/* What was decided on stays: the head is not copied from the ring a second time. */
static enum drop_reason tx_cut_direct(struct link *link, struct path_scratch *scratch,
				      const uint8_t *place, size_t length)
{
	memcpy(scratch->frame, place, length);
	memcpy(scratch->frame, scratch->head,
	       length < PATH_HEAD_MAX ? length : PATH_HEAD_MAX);
	return tx_cut(link, scratch, scratch->frame, length);
}

static void tx_finish_direct(struct link *link, struct path_scratch *scratch,
			     uint8_t *place, size_t length)
{
	enum drop_reason reason = check_direct(link, scratch->head, place, length);

	if (reason == DROP_NUM_ && path_lacks(link->lacks, scratch->head)) {
		reason = tx_cut_direct(link, scratch, place, length);
	} else if (reason == DROP_NUM_) {
		count_sent(link, length);
		path_submit(link, length, 0);
	}
	if (reason != DROP_NUM_)
		path_count_unrouted(link->port, reason);
}

/* A queue that is one peer's own: read into its ring. */
static enum path_tx_result tx_direct(struct link *link, struct queue *queue,
				     struct path_scratch *scratch, unsigned *frames)
{
	uint8_t *place;
	ssize_t n;
	int ret;

	while (*frames < PATH_BURST) {
		ret = shmnet_ring_reserve(&link->tx, link_room(link), 0, &place);
		if (ret == -ENOBUFS)
			return PATH_TX_BLOCKED;
		if (ret < 0) {
			link_fail(link, ret);
			return PATH_TX_MORE;
		}
		n = read_queue(queue, place);
		if (n < 0 && !is_lost(n))
			return tx_result(n);
		++*frames;
		if (is_lost(n))
			path_count_unrouted(queue->port, DROP_BAD_OFFLOAD);
		else
			tx_finish_direct(link, scratch, place, (size_t)n);
	}
	return PATH_TX_MORE;
}

/* A queue of a network that is paused: whatever the host has left there goes nowhere. */
static enum path_tx_result tx_paused(struct queue *queue, struct path_scratch *scratch,
				     unsigned *frames)
{
	ssize_t n;

	queue->waits_for = 0;
	while (*frames < PATH_BURST) {
		n = read_queue(queue, scratch->frame);
		if (n < 0 && !is_lost(n))
			return tx_result(n);
		++*frames;
		path_count_unrouted(queue->port,
				    is_lost(n) ? DROP_BAD_OFFLOAD : DROP_PAUSED);
	}
	return PATH_TX_MORE;
}

enum path_tx_result path_tx(const struct plane_view *view, struct queue *queue,
			    struct path_scratch *scratch, unsigned *ret_frames)
{
	const struct port_view *links = &view->ports[queue->port->index];
	struct link *own = links->by_queue[queue->index];
	enum path_tx_result result;

	*ret_frames = 0;
	if (port_is_paused(queue->port))
		return tx_paused(queue, scratch, ret_frames);
	if (own && !link_rests(own) && !link_is_paused(own)) {
		result = tx_direct(own, queue, scratch, ret_frames);
		path_publish(own);
		return result;
	}
	if (queue->port->global)
		path_global_begin(queue->port);
	result = tx_shared(view, queue, scratch, ret_frames);
	if (queue->port->global)
		path_global_end(queue->port);
	for (unsigned i = 0; i < links->num_links; i++) {
		path_publish(links->links[i]);
		path_cast_wake(links->links[i]);
	}
	return result;
}

static void forget_queue(struct queue *queue, struct path_scratch *scratch)
{
	for (unsigned i = 0; i < LATE_FRAMES_MAX; i++) {
		ssize_t n = read_queue(queue, scratch->frame);

		if (n < 0 && !is_lost(n))
			return;
		path_count_unrouted(queue->port, DROP_PARK_LATE);
	}
}

void path_forget_late(const struct plane_view *view, struct path_scratch *scratch)
{
	for (unsigned p = 0; p < view->num_ports; p++) {
		struct port *port = view->ports[p].port;

		if (!port || !port->global)
			continue; /* a network that went leaves its place */
		for (unsigned q = 0; q < port->num_queues; q++)
			forget_queue(&port->queues[q], scratch);
	}
}

/* ---- in: ring to TAP ---- */

static enum drop_reason check_addresses(const struct link *link, const uint8_t *frame,
					uint32_t flags)
{
	bool is_cast = shmnet_mac_is_cast(frame);

	if (memcmp(frame + SHMNET_ETH_ALEN, link->peer_mac, SHMNET_ETH_ALEN) != 0)
		return DROP_BAD_SOURCE;
	if (is_cast != !!(flags & SHMNET_RECORD_CAST))
		return DROP_BAD_DESTINATION;
	if (!is_cast && memcmp(frame, link->port->mac, SHMNET_ETH_ALEN) != 0)
		return DROP_BAD_DESTINATION;
	return DROP_NUM_;
}

/* Checks the private copy of a frame's head, and makes the header our kernel gets. */
static enum drop_reason check_peer_frame(const struct link *link, uint8_t *head,
					 size_t head_length,
					 const struct shmnet_record *record)
{
	struct frame_layout layout;
	struct frame_vnet vnet;
	enum drop_reason reason;

	if (record->length < SHMNET_VNET_HLEN + SHMNET_ETH_HLEN)
		return DROP_BAD_LENGTH;
	reason = check_addresses(link, head + SHMNET_VNET_HLEN, record->flags);
	if (reason != DROP_NUM_)
		return reason;
	frame_parse(head + SHMNET_VNET_HLEN, head_length - SHMNET_VNET_HLEN, &layout);
	memcpy(&vnet, head, sizeof(vnet));
	reason = frame_fit_vnet(&layout, &vnet, record->length - SHMNET_VNET_HLEN,
				link->port->mtu, &vnet);
	if (reason != DROP_NUM_)
		return reason;
	if (frame_offload(&vnet) & ~link->port->offloads)
		return DROP_BAD_HEADER;
	memcpy(head, &vnet, sizeof(vnet));
	return DROP_NUM_;
}

static enum drop_reason write_tap(struct link *link, const uint8_t *head,
				  size_t head_length, const struct shmnet_record *record)
{
	struct port *port = link->port;
	const struct iovec iov[2] = {
		{(void *)(uintptr_t)head, head_length},
		{(void *)(uintptr_t)(record->payload + head_length),
		 record->length - head_length},
	};

	if (writev(port->queues[link->queue].fd, iov, iov[1].iov_len ? 2 : 1) >= 0)
		return DROP_NUM_;
	return errno == EIO ? DROP_TAP_DOWN : DROP_TAP_ERROR;
}

void path_receive(struct link *link, struct path_scratch *scratch,
		  const struct shmnet_record *record)
{
	size_t head_length =
		record->length < PATH_HEAD_MAX ? record->length : PATH_HEAD_MAX;
	enum drop_reason reason;

	counter_add(&link->counters.received_frames, 1);
	if (port_is_paused(link->port)) {
		counter_add(&link->counters.received_paused, 1);
		return;
	}
	memcpy(scratch->head, record->payload, head_length);
	reason = check_peer_frame(link, scratch->head, head_length, record);
	if (reason == DROP_NUM_)
		reason = write_tap(link, scratch->head, head_length, record);
	if (reason != DROP_NUM_) {
		count_drop(link, reason);
		return;
	}
	counter_add(&link->counters.delivered_frames, 1);
	counter_add(&link->counters.delivered_bytes, record->length - SHMNET_VNET_HLEN);
}

/* One record of those that the last poll showed. 1, 0 if there is none, or -errno. */
static int rx_one(struct link *link, struct path_scratch *scratch)
{
	struct shmnet_record record;
	int ret = shmnet_ring_peek(&link->rx, &record);

	if (ret <= 0)
		return ret;
	if (!(record.flags & SHMNET_RECORD_COMMAND))
		path_receive(link, scratch, &record);
	else if (command_receive(link, &record) < 0)
		return -EPROTO;
	shmnet_ring_release(&link->rx, &record);
	return 1;
}

/* Room is worth telling of by the quarter ring; the rest follows when it rests. */
static int rx_credit(struct link *link, bool at_rest)
{
	uint64_t due = link->rx.tail - link->rx.credited;

	if (due == 0 || (!at_rest && due < (link->rx.mask + 1) / 4))
		return 0;
	return link->fabric->ops->credit(link->fabric, &link->rx);
}

/* What the peer rang for was found, or it may have rung because it read of ours. */
static void excuse_bells(struct link *link, bool has_news)
{
	unsigned *bells = &link->fabric->idle_bells;
	uint64_t tail;

	if (!has_news && *bells > FABRIC_IDLE_BELLS_MAX / 2) {
		tail = shmnet_ring_tx_pulse(&link->tx);
		has_news = tail != link->bell_tail;
		link->bell_tail = tail;
	}
	if (has_news && *bells)
		__atomic_store_n(bells, 0, __ATOMIC_RELAXED);
}

unsigned path_rx(struct link *link, struct path_scratch *scratch)
{
	unsigned taken = 0;
	bool has_cast;
	int ret;

	if (link_rests(link))
		return 0;
	has_cast = path_cast_listen(link);
	ret = link->fabric->ops->poll(link->fabric, &link->rx, &link->tx);
	while (ret > 0 && taken < PATH_BURST) {
		ret = rx_one(link, scratch);
		if (ret <= 0)
			break;
		taken++;
		ret = rx_credit(link, false) < 0 ? -EIO : 1;
	}
	if (ret >= 0)
		ret = rx_credit(link, true);
	if (ret < 0)
		link_fail(link, ret);
	excuse_bells(link, taken > 0 || has_cast);
	path_publish(link); /* answers to commands */
	return taken;
}

void path_rx_salvage(struct link *link, struct path_scratch *scratch)
{
	if (link->fabric->ops->salvage(link->fabric, &link->rx) < 0)
		return;
	link->commands.is_mute = true;
	while (rx_one(link, scratch) > 0)
		;
}
