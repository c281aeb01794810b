/*
 * Frames: what a worker does, with the rings of shmnet/ring.h and shmnet/cast.h in plain
 * memory. Each node sends numbered frames to one peer and to all, through its links and
 * cast rings as the control plane made them; who gets a cast by the ring and who by a
 * copy follows shmnet/cast.h, as path_cast.c does. See sim_internal.h.
 *
 * Records are as long as a line, so none crosses the end of a ring and the data need not
 * be mapped twice. On another machine a frame is stored at once and seen later.
 */
#include "sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING_SIZE (32u << 10) /* half of it for frames */
#define FRAME_NS  (250 * SIM_MS)
#define WAKE_NS	  (2 * SIM_MS)
#define UNREAD_NS (500 * SIM_MS) /* a worker that runs has read it by then */
#define MTU	  0		 /* of the slots: room for a frame below */

struct frame {
	uint16_t from;
	bool is_torn; /* its writer died before it was finished */
	bool is_cast;
	uint32_t life;
	uint64_t number;
	uint64_t sent_ns;
};

struct sim_tape {
	struct shmnet_ring_words words;
	uint8_t data[RING_SIZE] __attribute__((aligned(64)));
};

/* ---- what is taken ---- */

static bool was_seen(struct sim_heard *heard, uint64_t number)
{
	uint64_t *word, bit;

	while (heard->last < number) {
		heard->last++;
		word = &heard->seen[heard->last / 64 % SIM_SEEN_WORDS];
		*word &= ~(1ull << heard->last % 64);
	}
	if (heard->last - number >= SIM_SEEN_WORDS * 64)
		return true; /* nobody could say */
	word = &heard->seen[number / 64 % SIM_SEEN_WORDS];
	bit = 1ull << number % 64;
	if (*word & bit)
		return true;
	*word |= bit;
	return false;
}

static void take(struct world_link *link, const struct frame *frame)
{
	struct sim_node *node = link->node;
	struct sim *sim = node->sim;
	struct sim_heard *heard =
		&node->heard[sim_find_index(sim, link->spec.peer_id)][frame->life % 2];
	unsigned life = link->spec.tx->memory->life;

	if (frame->from != link->spec.peer_id || frame->is_torn)
		sim_break(sim, "%s gets a %s frame of %u by its link to %u", node->name,
			  frame->is_torn ? "torn" : "whole", frame->from,
			  link->spec.peer_id);
	/* A next life may cast before we have heard of its birth. */
	if (frame->life != life && !(frame->is_cast && frame->life > life))
		sim_break(sim, "%s gets a frame of life %u of %u, linked to life %u",
			  node->name, frame->life, frame->from, life);
	if (heard->life != frame->life)
		*heard = (struct sim_heard){.life = frame->life};
	if (was_seen(heard, frame->number))
		sim_break(sim, "%s gets frame %llu of %u twice", node->name,
			  (unsigned long long)frame->number, frame->from);
	if (!frame->is_cast && frame->number <= heard->last_own[link->spec.network])
		sim_break(sim, "%s gets frames of %u in another order", node->name,
			  frame->from);
	if (!frame->is_cast)
		heard->last_own[link->spec.network] = frame->number;
	heard->count++;
	sim->num_frames++;
}

static void read_records(struct world_link *link)
{
	struct shmnet_record record;
	struct frame frame;
	int ret;

	while ((ret = shmnet_ring_peek(&link->rx, &record)) == 1) {
		memcpy(&frame, record.payload, sizeof(frame));
		if (record.length != sizeof(frame))
			ret = -EPROTO;
		else
			take(link, &frame);
		shmnet_ring_release(&link->rx, &record);
	}
	if (ret < 0)
		sim_break(link->node->sim, "%s finds nonsense in its ring for %u",
			  link->node->name, link->spec.peer_id);
	shmnet_ring_credit(&link->rx);
}

static void read_link(struct world_link *link)
{
	if (shmnet_ring_poll(&link->rx) < 0)
		sim_break(link->node->sim, "%s finds a bad W in its ring for %u",
			  link->node->name, link->spec.peer_id);
	read_records(link);
}

static bool is_for_us(const struct world_cast *cast, const struct world_link *link,
		      uint64_t position)
{
	uint64_t since;

	return shmnet_cast_find_since(link->rx.words, cast->spec.id, &since) &&
	       position >= since;
}

static void take_slot(struct world_cast *cast, const struct shmnet_cast_record *record,
		      const struct frame *frame)
{
	struct world_link *link =
		sim_find_link(cast->node, record->writer, cast->spec.network);

	if (link && is_for_us(cast, link, record->position))
		take(link, frame);
}

static void run_worker(struct sim *sim, struct sim_node *node, void *arg,
		       uint64_t number);

static void wake(struct sim_node *node, uint64_t delay_ns)
{
	struct sim *sim = node->sim;

	sim_at(sim, sim->now_ns + delay_ns, node, run_worker, NULL, 0);
}

/* Who waits for a slot in writing does so for a while; true if that is over. */
static bool gives_up(struct world_cast *cast)
{
	const struct shmnet_cast_reader *reader = &cast->reader;
	uint64_t now_ns = cast->node->sim->now_ns;

	if (reader->cursor == reader->head)
		return false;
	if (cast->stuck_at != reader->cursor || !cast->stuck_ns) {
		cast->stuck_at = reader->cursor;
		cast->stuck_ns = now_ns;
		wake(cast->node, SIM_PATIENCE_NS);
	}
	return now_ns >= cast->stuck_ns + SIM_PATIENCE_NS;
}

static void read_cast(struct world_cast *cast)
{
	struct shmnet_cast_record record;
	uint64_t buffer[8];
	int ret;

	if (!cast->reads)
		return;
	for (;;) {
		ret = shmnet_cast_read(&cast->reader, buffer, &record);
		if (ret == 1)
			take_slot(cast, &record, (const struct frame *)buffer);
		else if (ret == 0 && gives_up(cast))
			shmnet_cast_skip(&cast->reader);
		else if (ret != -EAGAIN)
			break;
	}
	if (ret == -EPROTO)
		sim_break(cast->node->sim, "%s finds nonsense in a cast ring",
			  cast->node->name);
}

static void run_worker(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	(void)sim;
	(void)arg;
	(void)number;
	for (struct world_link *link = node->links; link; link = link->next)
		read_link(link);
	for (struct world_cast *cast = node->casts; cast; cast = cast->next)
		read_cast(cast);
}

/* ---- what is sent ---- */

static struct frame new_frame(struct sim_node *node, bool is_cast)
{
	return (struct frame){
		.from = node->config.id,
		.is_cast = is_cast,
		.life = node->life,
		.number = ++node->last_frame,
		.sent_ns = node->sim->now_ns,
	};
}

static void wake_peer(const struct world_link *link)
{
	struct sim *sim = link->node->sim;
	struct sim_node *peer = sim_find_node(sim, link->spec.peer_id);

	if (peer->is_alive)
		wake(peer, link->spec.conn->channel->is_remote
				   ? sim_random_delay(sim)
				   : 1 + sim_random(sim, WAKE_NS));
}

/* All of a record but the last word of its header. */
static void tear(struct shmnet_ring_tx *tx)
{
	struct shmnet_ring_header *header =
		(struct shmnet_ring_header *)(void *)(tx->data + (tx->head & tx->mask));

	header->length = sizeof(struct frame);
	header->flags = 0;
}

/* False if there is no room, or the wire is cut. */
static bool store(struct world_link *link, const struct frame *frame, bool is_published)
{
	const struct sim_node *peer = sim_find_node(link->node->sim, link->spec.peer_id);
	uint8_t *payload;

	if (sim_are_parted(link->node, peer) ||
	    shmnet_ring_reserve(&link->tx, sizeof(*frame), 0, &payload) < 0)
		return false;
	memcpy(payload, frame, sizeof(*frame));
	if (frame->is_torn) {
		tear(&link->tx);
		return true;
	}
	shmnet_ring_submit(&link->tx, sizeof(*frame),
			   frame->is_cast ? SHMNET_RECORD_CAST : 0);
	if (is_published)
		shmnet_ring_publish(&link->tx);
	return true;
}

static void send_copy(struct world_link *link, const struct frame *frame)
{
	if (store(link, frame, true))
		wake_peer(link);
}

/* Before the next claim: no copies from now on to who has said that it reads. */
static void announce(struct world_cast *cast)
{
	const struct sim *sim = cast->node->sim;

	for (struct world_link *link = cast->node->links; link; link = link->next) {
		unsigned index = sim_find_index(sim, link->spec.peer_id);

		if (cast->readers[index] != link || cast->announced[index] == link)
			continue;
		shmnet_cast_announce(link->tx.words, cast->index, cast->spec.id,
				     cast->next_position);
		cast->announced[index] = link;
	}
}

static bool write_slot(struct world_cast *cast, const struct frame *frame)
{
	uint8_t *place;

	if (shmnet_cast_reserve(&cast->writer, &place) < 0)
		return false;
	memcpy(place, frame, sizeof(*frame));
	cast->next_position = cast->writer.position + 1;
	return frame->is_torn ||
	       shmnet_cast_submit(&cast->writer, sizeof(*frame), SHMNET_RECORD_CAST) == 0;
}

void sim_frames_cast(struct sim_node *node, unsigned network, const uint8_t *label)
{
	struct frame frame = new_frame(node, true);
	struct world_cast *cast = sim_find_cast(node, network, label);
	bool is_written;

	if (!cast)
		cast = sim_find_cast(node, network, sim_broadcast);
	if (cast)
		announce(cast);
	is_written = cast && write_slot(cast, &frame);
	for (struct world_link *link = node->links; link; link = link->next) {
		unsigned index = sim_find_index(node->sim, link->spec.peer_id);

		if (link->spec.network != network)
			continue;
		if (is_written && cast->announced[index] == link)
			wake_peer(link);
		else
			send_copy(link, &frame);
	}
}

void sim_frames_unicast(struct world_link *link)
{
	struct frame frame = new_frame(link->node, false);

	send_copy(link, &frame);
}

void sim_run_frames(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	unsigned network = (unsigned)sim_random(sim, SIM_NETWORKS);
	const struct sim_node *peer = sim->nodes[sim_random(sim, sim->num_nodes)];
	struct world_link *link = sim_find_link(node, peer->config.id, network);

	(void)arg;
	(void)number;
	if (!sim->has_frames)
		return;
	if (link)
		sim_frames_unicast(link);
	sim_frames_cast(node, network, sim_random(sim, 2) ? sim_broadcast : sim_group);
	sim_at(sim, sim->now_ns + FRAME_NS, node, sim_run_frames, NULL, 0);
}

/* ---- rings come and go ---- */

static struct sim_tape *tape_of(struct sim *sim, struct sim_memory *memory)
{
	if (!memory->tape)
		memory->tape = sim_alloc_lines(sim, sizeof(struct sim_tape));
	return memory->tape;
}

void sim_frames_link(struct world_link *link)
{
	const struct world_link_spec *spec = &link->spec;
	struct sim *sim = link->node->sim;
	struct sim_tape *rx = tape_of(sim, spec->rx->memory);
	struct sim_tape *tx = tape_of(sim, spec->tx->memory);

	if (spec->rx->memory->was_read || spec->tx->memory->was_written)
		sim_break(sim, "%s links memory that was linked before",
			  link->node->name);
	spec->rx->memory->was_read = true;
	spec->tx->memory->was_written = true;
	shmnet_ring_rx_init(&link->rx, &rx->words, rx->data, RING_SIZE, spec->rx_salt);
	shmnet_ring_tx_init(&link->tx, &tx->words, tx->data, RING_SIZE, spec->tx_salt);
	wake(link->node, WAKE_NS);
}

/* What a dead one had finished is taken: in cast rings, and published or not. */
void sim_frames_unlink(struct world_link *link, bool peer_is_dead)
{
	if (!peer_is_dead || !link->node->is_alive)
		return;
	for (struct world_cast *cast = link->node->casts; cast; cast = cast->next)
		read_cast(cast);
	read_link(link);
	shmnet_ring_salvage(&link->rx);
	read_records(link);
}

void sim_frames_show(struct world_cast *cast)
{
	struct sim_node *node = cast->node;
	struct sim_cast_memory *memory = cast->memory;
	struct shmnet_cast_ring ring;
	uint64_t now;

	if (!memory->tape)
		memory->tape = sim_alloc_lines(
			node->sim, shmnet_cast_file_size(memory->spec.depth, MTU));
	shmnet_cast_ring_init(&ring, memory->tape, memory->spec.depth, MTU);
	if (!cast->spec.lane)
		shmnet_cast_reclaim(&ring, node->config.id);
	now = shmnet_cast_now(&ring);
	shmnet_cast_reader_init(&cast->reader, &ring, node->config.id, now);
	shmnet_cast_writer_init(&cast->writer, &ring, node->config.id);
	cast->next_position = now;
	cast->index = node->next_cast++ % SHMNET_RING_CASTS;
}

bool sim_frames_drain(struct world_cast *cast)
{
	read_cast(cast);
	return !cast->reads || cast->reader.cursor == cast->reader.head;
}

/* A node that ran all the time has read what was for it. */
void sim_frames_hide(struct world_cast *cast)
{
	struct sim_node *node = cast->node;
	struct sim *sim = node->sim;
	struct shmnet_cast_record record;
	uint64_t buffer[8];

	if (!cast->reads || cast->is_broken || !node->is_alive || node->is_leaving ||
	    sim->now_ns < node->resumed_ns + UNREAD_NS)
		return;
	while (shmnet_cast_read(&cast->reader, buffer, &record) == 1) {
		const struct frame *frame = (const struct frame *)buffer;
		const struct world_link *link =
			sim_find_link(node, record.writer, cast->spec.network);

		if (link && is_for_us(cast, link, record.position) &&
		    (!cast->spec.lane || sim->now_ns > frame->sent_ns + UNREAD_NS))
			sim_break(sim, "%s leaves a cast ring before it has read it",
				  node->name);
	}
}

void sim_frames_close(struct world_cast *cast)
{
	shmnet_cast_close(&cast->reader.ring);
}

void sim_frames_reclaim(struct world_cast *cast, uint16_t id)
{
	shmnet_cast_reclaim(&cast->reader.ring, id);
}

/* In the middle of a slot, which is its own until it goes on. */
void sim_frames_pause(struct sim_node *node)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		const struct frame frame = new_frame(node, true);
		uint8_t *place;

		if (!cast->writes || sim_random(node->sim, 2) ||
		    shmnet_cast_reserve(&cast->writer, &place) < 0)
			continue;
		memcpy(place, &frame, sizeof(frame));
		cast->next_position = cast->writer.position + 1;
		cast->is_halfway = true;
	}
}

void sim_frames_resume(struct sim_node *node)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		if (cast->is_halfway &&
		    shmnet_cast_submit(&cast->writer, sizeof(struct frame),
				       SHMNET_RECORD_CAST) < 0)
			sim_break(node->sim, "%s finds its slot taken away", node->name);
		cast->is_halfway = false;
	}
	for (struct world_link *link = node->links; link; link = link->next)
		wake_peer(link);
}

/* In the middle of a record or a slot, or between two of them. */
void sim_frames_die(struct sim_node *node)
{
	struct sim *sim = node->sim;

	for (struct world_link *link = node->links; link; link = link->next) {
		struct frame frame = new_frame(node, false);

		frame.is_torn = sim_random(sim, 2);
		store(link, &frame, false);
	}
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		struct frame frame = new_frame(node, true);

		frame.is_torn = true;
		if (cast->writes)
			write_slot(cast, &frame);
	}
}

/* ---- all that is sent arrives ---- */

static void call(struct sim_node *node)
{
	static const uint8_t *const labels[] = {sim_broadcast, sim_group};

	for (struct world_link *link = node->links; link; link = link->next)
		sim_frames_unicast(link);
	for (unsigned i = 0; i < SIM_NETWORKS * 2; i++)
		sim_frames_cast(node, i / 2, labels[i % 2]);
}

static uint64_t count_missing(const struct sim *sim, bool is_start)
{
	uint64_t missing = 0;

	for (unsigned i = 0; i < sim->num_nodes * sim->num_nodes; i++) {
		struct sim_node *node = sim->nodes[i / sim->num_nodes];
		struct sim_heard *heard = node->heard[i % sim->num_nodes];

		if (i / sim->num_nodes == i % sim->num_nodes)
			continue;
		if (is_start)
			heard[0].count = heard[1].count = 0;
		missing += heard[0].count + heard[1].count != 3 * SIM_NETWORKS;
	}
	return missing;
}

bool sim_roll_call(struct sim *sim)
{
	if (!sim->has_frames)
		return true;
	sim->has_frames = false; /* nothing else under way */
	sim_run(sim, SIM_S);
	count_missing(sim, true);
	for (unsigned i = 0; i < sim->num_nodes; i++)
		call(sim->nodes[i]);
	sim_run(sim, SIM_S);
	return count_missing(sim, false) == 0;
}

void sim_frames_always(struct sim *sim)
{
	sim->has_frames = true;
}

uint64_t sim_count_frames(const struct sim *sim)
{
	return sim->num_frames;
}
