/*
 * A cast's way with nobody else around: three hosts in one thread, whose planes have no
 * worker, so that each burst is called for. Who gets a cast by the ring and who by a
 * copy, whatever came first; laps, counted to the frame; what a hostile slot does.
 */
#include "data/plane_internal.h"

#include "cable.h"
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOSTS 3
#define DEPTH 16u

/* A cable per pair; cables[a][b] with a < b. Each host has one queue. */
struct net {
	struct host hosts[HOSTS];
	struct cable cables[HOSTS][HOSTS];
	struct cast_file file;
	struct cast *casts[HOSTS];
	uint64_t number; /* of the next cast */
};

static struct link *link_of(const struct net *net, unsigned from, unsigned to)
{
	return from < to ? net->cables[from][to].link[0] : net->cables[to][from].link[1];
}

static struct net *net_open(void)
{
	struct net *net = calloc(1, sizeof(*net));
	bool ok = net != NULL;

	for (unsigned i = 0; ok && i < HOSTS; i++)
		ok = host_make(&net->hosts[i], i + 1, 1, 0);
	for (unsigned a = 0; ok && a < HOSTS; a++) {
		for (unsigned b = a + 1; ok && b < HOSTS; b++)
			ok = cable_plug(&net->cables[a][b], &net->hosts[a],
					&net->hosts[b]);
	}
	if (!ok || !cast_file_open(&net->file, DEPTH))
		abort(); /* out of memory or fds: no test could say more */
	return net;
}

static void net_close(struct net *net)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		if (net->casts[i])
			plane_remove_cast(net->hosts[i].plane, net->casts[i], NULL);
	}
	for (unsigned a = 0; a < HOSTS; a++) {
		for (unsigned b = a + 1; b < HOSTS; b++) {
			cable_detach(&net->cables[a][b], 0, false, NULL);
			cable_detach(&net->cables[a][b], 1, false, NULL);
		}
	}
	for (unsigned i = 0; i < HOSTS; i++)
		host_close(&net->hosts[i]);
	cast_file_close(&net->file);
	free(net);
}

/* ---- moving ---- */

static void add_cast(struct net *net, unsigned host)
{
	CHECK_INT(host_add_cast(&net->hosts[host], &net->file, true, &net->casts[host]),
		  0);
}

/* The reader has said so to the writer. */
static void say_reads(struct net *net, unsigned reader, unsigned writer)
{
	plane_set_link_reads(net->hosts[writer].plane, link_of(net, writer, reader),
			     net->casts[writer]);
}

static void everybody_reads(struct net *net)
{
	for (unsigned i = 0; i < HOSTS; i++)
		add_cast(net, i);
	for (unsigned i = 0; i < HOSTS; i++) {
		for (unsigned k = 0; k < HOSTS; k++) {
			if (i != k)
				say_reads(net, i, k);
		}
	}
}

static void transmit(struct host *host)
{
	struct plane *plane = host->plane;
	unsigned frames;

	do
		path_tx(plane->view, &plane->ports[0].queues[0], &plane->scratch,
			&frames);
	while (frames);
}

static void send_frame(struct net *net, unsigned host, const uint8_t *frame,
		       size_t length)
{
	CHECK(host_write(&net->hosts[host], 0, frame, length));
	transmit(&net->hosts[host]);
}

static void cast(struct net *net, unsigned host, size_t length)
{
	static uint8_t frame[RIG_FRAME_MAX];

	rig_frame(frame, host + 1, RIG_TO_ALL, net->number++, length);
	send_frame(net, host, frame, length);
}

/* What the worker does in a turn. */
static unsigned receive(struct host *host)
{
	struct plane *plane = host->plane;
	const struct port_view *view = &plane->view->ports[0];
	bool drained = true, empty;
	unsigned taken = 0;

	for (unsigned i = 0; i < view->num_links; i++)
		taken += path_rx(view->links[i], &plane->scratch);
	for (unsigned i = 0; i < view->num_casts; i++) {
		taken += path_cast_rx(plane->view, view->casts[i], &plane->scratch,
				      &empty);
		drained &= empty;
	}
	if (drained)
		path_cast_settle(view);
	return taken;
}

static void receive_all(struct host *host)
{
	while (receive(host))
		;
}

/* The next frame that the host's TAP got. False if there is none. */
static bool next_frame(struct host *host, uint8_t *frame, size_t *ret_length)
{
	ssize_t n = recv(host->tap.host[0], frame, RIG_FRAME_MAX, MSG_DONTWAIT);

	*ret_length = n < 0 ? 0 : (size_t)n;
	return n >= 0;
}

static unsigned count_frames(struct host *host)
{
	static uint8_t frame[RIG_FRAME_MAX];
	unsigned count = 0;
	size_t length;

	while (next_frame(host, frame, &length))
		count++;
	return count;
}

static void check_next(struct net *net, unsigned host, unsigned from, uint64_t number)
{
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length;

	if (!CHECK(next_frame(&net->hosts[host], frame, &length)))
		return;
	CHECK_U64(rig_frame_number(frame), number);
	CHECK(rig_frame_is(frame, length, from + 1, RIG_TO_ALL, number));
}

/* All that was under way arrives; sent = delivered + drops for every pair. */
static void check_books(struct net *net)
{
	for (unsigned i = 0; i < HOSTS; i++)
		receive_all(&net->hosts[i]);
	for (unsigned i = 0; i < HOSTS; i++) {
		for (unsigned k = 0; k < HOSTS; k++) {
			struct link_counters out, in;

			if (i == k)
				continue;
			out = read_link(link_of(net, i, k));
			in = read_link(link_of(net, k, i));
			check_conservation(&out, &in);
		}
	}
}

static uint64_t copies_to(const struct net *net, unsigned from, unsigned to)
{
	return link_of(net, from, to)->tx.head;
}

/* ---- by the ring, by a copy ---- */

TEST_CASE(cast_path, copies_without_a_ring)
{
	struct net *net = net_open();
	struct plane_fault fault;

	for (unsigned i = 0; i < 3; i++)
		cast(net, 0, 100);
	for (unsigned host = 1; host < HOSTS; host++) {
		receive_all(&net->hosts[host]);
		for (unsigned i = 0; i < 3; i++)
			check_next(net, host, 0, i);
		CHECK_U64(read_link(link_of(net, host, 0)).delivered_frames, 3);
	}
	REQUIRE(plane_next_fault(net->hosts[0].plane, &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_CAST_WANTED);
	CHECK_INT(fault.port, net->hosts[0].port);
	CHECK_U64(want_key(fault.label), WANT_BROADCAST);
	CHECK(!plane_next_fault(net->hosts[0].plane, &fault));
	check_books(net);
	net_close(net);
}

TEST_CASE(cast_path, one_slot_for_all_readers)
{
	static const size_t lengths[] = {RIG_FRAME_MIN, PATH_HEAD_MAX, PATH_HEAD_MAX + 1,
					 1500, RIG_MTU + 24};
	struct net *net = net_open();

	everybody_reads(net);
	for (unsigned i = 0; i < 5; i++) {
		cast(net, 0, lengths[i]);
		for (unsigned host = 1; host < HOSTS; host++) {
			CHECK_INT(receive(&net->hosts[host]), 1);
			check_next(net, host, 0, i);
		}
	}
	CHECK_INT(receive(&net->hosts[0]), 0);
	CHECK_INT(count_frames(&net->hosts[0]), 0);
	CHECK_U64(copies_to(net, 0, 1) + copies_to(net, 0, 2), 0);
	CHECK_U64(read_cast(net->casts[0]).written, 5);
	CHECK_U64(read_cast(net->casts[0]).own, 5);
	CHECK_U64(read_cast(net->casts[1]).received, 5);
	check_books(net);
	net_close(net);
}

/* A ring is written for all: who is paused takes what is there, and drops it. */
TEST_CASE(cast_path, pause_of_a_reader)
{
	struct net *net = net_open();

	everybody_reads(net);
	plane_pause_port(net->hosts[1].plane, 0, true);
	plane_pause_link(net->hosts[0].plane, link_of(net, 0, 1), true);
	cast(net, 0, 200);
	receive_all(&net->hosts[1]);
	receive_all(&net->hosts[2]);
	CHECK_INT(count_frames(&net->hosts[1]), 0);
	check_next(net, 2, 0, 0);
	CHECK_U64(read_link(link_of(net, 1, 0)).received_paused, 1);
	plane_pause_port(net->hosts[1].plane, 0, false);
	plane_pause_link(net->hosts[0].plane, link_of(net, 0, 1), false);
	cast(net, 0, 200);
	receive_all(&net->hosts[1]);
	receive_all(&net->hosts[2]);
	check_next(net, 1, 0, 1);
	check_next(net, 2, 0, 1);
	check_books(net);
	net_close(net);
}

/* Who has not said that he reads gets copies, and passes over what is in the ring. */
TEST_CASE(cast_path, copies_to_who_does_not_read)
{
	struct net *net = net_open();

	for (unsigned i = 0; i < HOSTS; i++)
		add_cast(net, i);
	say_reads(net, 1, 0);
	for (unsigned i = 0; i < 4; i++)
		cast(net, 0, 200);
	CHECK_U64(copies_to(net, 0, 1), 0);
	CHECK(copies_to(net, 0, 2) > 0);
	for (unsigned host = 1; host < HOSTS; host++) {
		receive_all(&net->hosts[host]);
		for (unsigned i = 0; i < 4; i++)
			check_next(net, host, 0, i);
		CHECK_INT(count_frames(&net->hosts[host]), 0);
	}
	CHECK_U64(read_cast(net->casts[2]).passed, 4);
	CHECK_U64(read_cast(net->casts[2]).received, 0);
	check_books(net);
	net_close(net);
}

/* The reader says it between two casts; only then does it see any of them. */
TEST_CASE(cast_path, reader_that_looks_late)
{
	struct net *net = net_open();

	for (unsigned i = 0; i < HOSTS; i++)
		add_cast(net, i);
	cast(net, 0, 200);
	say_reads(net, 1, 0);
	cast(net, 0, 200);
	receive_all(&net->hosts[1]);
	CHECK_INT(count_frames(&net->hosts[1]), 2);
	CHECK_U64(read_cast(net->casts[1]).passed, 1);
	CHECK_U64(read_cast(net->casts[1]).received, 1);
	check_books(net);
	net_close(net);
}

/* Of a sender that does not count us yet nothing is delivered. */
TEST_CASE(cast_path, sender_that_has_no_link_yet)
{
	struct net *net = net_open();
	struct plane *plane = net->hosts[0].plane;

	everybody_reads(net);
	plane_remove_link(plane, link_of(net, 0, 1), false, NULL);
	net->cables[0][1].link[0] = NULL;
	cast(net, 0, 200);
	receive_all(&net->hosts[1]);
	receive_all(&net->hosts[2]);
	CHECK_INT(count_frames(&net->hosts[1]), 0);
	CHECK_INT(count_frames(&net->hosts[2]), 1);
	CHECK_U64(read_cast(net->casts[1]).passed, 1);

	cable_detach(&net->cables[0][1], 0, false, NULL);
	cable_detach(&net->cables[0][1], 1, false, NULL);
	REQUIRE(cable_plug(&net->cables[0][1], &net->hosts[0], &net->hosts[1]));
	check_books(net);
	net_close(net);
}

/* All slots are being written by others: everybody gets a copy. */
TEST_CASE(cast_path, full_ring_is_no_reason_to_drop)
{
	struct net *net = net_open();
	struct shmnet_cast_ring ring = cast_file_ring(&net->file);
	struct shmnet_cast_writer writers[DEPTH];
	uint8_t *place;

	everybody_reads(net);
	for (unsigned i = 0; i < DEPTH; i++) {
		shmnet_cast_writer_init(&writers[i], &ring, 3);
		CHECK_INT(shmnet_cast_reserve(&writers[i], &place), 0);
	}
	cast(net, 0, 200);
	receive_all(&net->hosts[1]);
	check_next(net, 1, 0, 0);
	CHECK_U64(read_cast(net->casts[0]).written, 0);
	CHECK_INT(net->casts[0]->error, 0);
	CHECK_U64(plane_reclaim_cast(net->casts[1], 3), DEPTH);
	cast(net, 0, 200);
	receive_all(&net->hosts[1]);
	check_next(net, 1, 0, 1);
	CHECK_U64(read_cast(net->casts[0]).written, 1);
	check_books(net);
	net_close(net);
}

/* A super-frame is cut into frames for the ring and for copies alike. */
TEST_CASE(cast_path, super_frame_is_cut)
{
	static uint8_t frames[2][RIG_FRAME_MAX];
	struct net *net = net_open();
	size_t lengths[2] = {rig_frame_tcp(frames[0], 1, RIG_TO_ALL, 20000, 1448)};
	unsigned pieces = (20000 + 1447) / 1448;

	for (unsigned i = 0; i < HOSTS; i++)
		add_cast(net, i);
	say_reads(net, 1, 0);
	send_frame(net, 0, frames[0], lengths[0]);
	for (unsigned i = 0; i < pieces; i++) {
		for (unsigned host = 1; host < HOSTS; host++) {
			receive_all(&net->hosts[host]);
			REQUIRE(next_frame(&net->hosts[host], frames[host - 1],
					   &lengths[host - 1]));
		}
		REQUIRE(lengths[0] == lengths[1]);
		CHECK(lengths[0] <= SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + 40 + 1448);
		CHECK_MEM(frames[0], frames[1], lengths[0]);
	}
	for (unsigned host = 1; host < HOSTS; host++) {
		CHECK_INT(count_frames(&net->hosts[host]), 0);
		CHECK_U64(read_link(link_of(net, 0, host)).sent_frames, pieces);
	}
	check_books(net);
	net_close(net);
}

/* It would fit into a slot: all get it in pieces as long as one of them lacks it. */
TEST_CASE(cast_path, super_frame_is_cut_for_who_lacks_it)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct net *net = net_open();
	struct plane *plane = net->hosts[0].plane;
	size_t length = rig_frame_tcp(frame, 1, RIG_TO_ALL, 3000, 1448);

	everybody_reads(net);
	send_frame(net, 0, frame, length);
	link_of(net, 0, 2)->lacks = SHMNET_OFFLOAD_TSO4;
	plane_publish(plane);
	send_frame(net, 0, frame, length);
	link_of(net, 0, 2)->lacks = SHMNET_OFFLOAD_TSO6;
	plane_publish(plane);
	send_frame(net, 0, frame, length);
	for (unsigned host = 1; host < HOSTS; host++) {
		receive_all(&net->hosts[host]);
		CHECK_INT(count_frames(&net->hosts[host]), 1 + 3 + 1);
	}
	CHECK_U64(read_cast(net->casts[0]).written, 1 + 3 + 1);

	link_of(net, 0, 2)->lacks = SHMNET_OFFLOAD_TSO4;
	plane_publish(plane);
	frame[SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + 2] ^= 1; /* of the IP length */
	send_frame(net, 0, frame, length);
	CHECK_U64(unrouted(&net->hosts[0]), 1);
	check_books(net);
	net_close(net);
}

TEST_CASE(cast_path, group_has_its_own_ring)
{
	static const uint8_t group[SHMNET_ETH_ALEN] = {0x01, 0x00, 0x5e, 1, 2, 3};
	struct net *net = net_open();
	struct cast_file file;
	struct cast *casts[2];
	uint8_t frame[RIG_FRAME_MAX];

	everybody_reads(net);
	REQUIRE(cast_file_open(&file, DEPTH));
	memcpy(file.label, group, sizeof(group));
	for (unsigned i = 0; i < 2; i++)
		CHECK_INT(host_add_cast(&net->hosts[i], &file, true, &casts[i]), 0);
	plane_set_link_reads(net->hosts[0].plane, link_of(net, 0, 1), casts[0]);
	rig_frame(frame, 1, RIG_TO_ALL, 7, 300);
	memcpy(frame + SHMNET_VNET_HLEN, group, sizeof(group));
	send_frame(net, 0, frame, 300);
	CHECK_U64(read_cast(casts[0]).written, 1);
	CHECK_U64(copies_to(net, 0, 1), 0);
	CHECK(copies_to(net, 0, 2) > 0); /* reads the broadcast ring only */
	for (unsigned host = 1; host < HOSTS; host++) {
		receive_all(&net->hosts[host]);
		CHECK_INT(count_frames(&net->hosts[host]), 1);
	}
	/* Without it, into the broadcast ring. */
	plane_remove_cast(net->hosts[0].plane, casts[0], NULL);
	send_frame(net, 0, frame, 300);
	CHECK_U64(read_cast(net->casts[0]).written, 1);
	check_books(net);
	plane_remove_cast(net->hosts[1].plane, casts[1], NULL);
	cast_file_close(&file);
	net_close(net);
}

/* Rings come and go in all places; none inherits what a link knew of another one. */
TEST_CASE(cast_path, places_are_used_again)
{
	struct net *net = net_open();

	for (unsigned i = 0; i < 3 * PLANE_CASTS_MAX; i++) {
		struct cast_file file;
		struct cast *casts[2];

		REQUIRE(cast_file_open(&file, DEPTH));
		for (unsigned k = 0; k < 2; k++)
			CHECK_INT(host_add_cast(&net->hosts[k], &file, true, &casts[k]),
				  0);
		cast(net, 0, 100);
		CHECK(!link_of(net, 0, 1)->casts[casts[0]->index].announced);
		plane_set_link_reads(net->hosts[0].plane, link_of(net, 0, 1), casts[0]);
		cast(net, 0, 100);
		receive_all(&net->hosts[1]);
		receive_all(&net->hosts[2]);
		CHECK_INT(count_frames(&net->hosts[1]), 2);
		CHECK_INT(count_frames(&net->hosts[2]), 2);
		for (unsigned k = 0; k < 2; k++)
			plane_remove_cast(net->hosts[k].plane, casts[k], NULL);
		cast_file_close(&file);
	}
	check_books(net);
	net_close(net);
}

TEST_CASE(cast_path, no_more_rings_than_places)
{
	struct net *net = net_open();
	struct cast *casts[PLANE_CASTS_MAX], *none = NULL;

	for (unsigned i = 0; i < PLANE_CASTS_MAX; i++)
		CHECK_INT(host_add_cast(&net->hosts[0], &net->file, true, &casts[i]), 0);
	CHECK_INT(host_add_cast(&net->hosts[0], &net->file, true, &none), -ENOSPC);
	CHECK(none == NULL);
	cast(net, 0, 100);
	CHECK_U64(read_cast(casts[PLANE_CASTS_MAX - 1]).written, 1);
	for (unsigned i = 0; i < PLANE_CASTS_MAX; i++)
		plane_remove_cast(net->hosts[0].plane, casts[i], NULL);
	check_books(net);
	net_close(net);
}

/* ---- any order ---- */

/*
 * Host 0 casts to host 1 while control on both sides makes links, rings, and the rings
 * that replace them, in an order that chance gives, and the reader sleeps at times. What
 * the order must be is kept: READS after the reader has link and ring; a ring is
 * superseded, closed, read to its end, removed.
 */
struct life {
	struct net *net;
	uint64_t random;
	struct cast_file files[2]; /* the one in use and the one before */
	struct cast *writers[2];
	struct cast *readers[2];
	bool said[2];
	unsigned had[4096]; /* how often host 1 had cast number n */
	bool due[4096];	    /* host 0 counted it for host 1 */
};

static void life_read(struct life *life)
{
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length;

	receive(&life->net->hosts[1]);
	while (next_frame(&life->net->hosts[1], frame, &length))
		life->had[rig_frame_number(frame)]++;
}

static void life_cast(struct life *life)
{
	struct link *link = link_of(life->net, 0, 1);
	uint64_t number = life->net->number, before = link->counters.sent_frames;

	if (number >= sizeof(life->had) / sizeof(life->had[0]))
		return;
	cast(life->net, 0, 60 + number % 100);
	life->due[number] = link->counters.sent_frames > before;
}

static void life_remove(struct life *life, unsigned which)
{
	struct cast **writer = &life->writers[which], **reader = &life->readers[which];

	if (*writer)
		plane_remove_cast(life->net->hosts[0].plane, *writer, NULL);
	if (*reader)
		plane_remove_cast(life->net->hosts[1].plane, *reader, NULL);
	if (life->files[which].map.base)
		cast_file_close(&life->files[which]);
	memset(&life->files[which], 0, sizeof(life->files[which]));
	*writer = *reader = NULL;
	life->said[which] = false;
}

/* A new ring for both, if the one before is read to its end. */
static void life_replace(struct life *life)
{
	if (life->readers[1] && !cast_rests(life->readers[1]))
		return;
	if (life->files[0].map.base && (!life->writers[0] || !life->readers[0]))
		return;
	life_remove(life, 1);
	life->files[1] = life->files[0];
	life->writers[1] = life->writers[0];
	life->readers[1] = life->readers[0];
	life->said[1] = life->said[0];
	life->writers[0] = life->readers[0] = NULL;
	life->said[0] = false;
	REQUIRE(cast_file_open(&life->files[0], 256));
	if (life->writers[1]) {
		plane_set_cast_writes(life->net->hosts[0].plane, life->writers[1], false);
		plane_close_cast(life->writers[1]);
	}
}

static void life_control(struct life *life)
{
	struct net *net = life->net;
	unsigned which = rig_random(&life->random) % 2;

	switch (rig_random(&life->random) % 5) {
	case 0:
		life_replace(life);
		break;
	case 1:
		if (life->files[0].map.base && !life->writers[0])
			CHECK_INT(host_add_cast(&net->hosts[0], &life->files[0], true,
						&life->writers[0]),
				  0);
		break;
	case 2:
		if (life->files[0].map.base && !life->readers[0])
			CHECK_INT(host_add_cast(&net->hosts[1], &life->files[0], false,
						&life->readers[0]),
				  0);
		break;
	case 3:
	case 4:
		if (!life->readers[which] || !life->writers[which])
			break;
		plane_set_link_reads(net->hosts[0].plane, link_of(net, 0, 1),
				     life->writers[which]);
		break;
	}
}

static void check_life(uint64_t seed)
{
	struct life *life = calloc(1, sizeof(*life));

	if (!life)
		abort();
	life->net = net_open();
	life->random = seed;
	for (unsigned i = 0; i < 3000; i++) {
		switch (rig_random(&life->random) % 4) {
		case 0:
			life_control(life);
			break;
		case 1:
			life_read(life);
			break;
		default:
			life_cast(life);
			break;
		}
		/* No lap in this test. */
		if (i % 100 == 99)
			life_read(life);
	}
	for (unsigned i = 0; i < 20; i++)
		life_read(life);
	for (unsigned i = 0; i < life->net->number; i++)
		CHECK_INT(life->had[i], life->due[i]);
	CHECK(life->net->number > 1000);
	check_books(life->net);
	for (unsigned i = 0; i < 2; i++)
		life_remove(life, i);
	net_close(life->net);
	free(life);
}

TEST_CASE(cast_path, exactly_once_whatever_comes_first)
{
	for (uint64_t seed = 1; seed <= 100 && !test_failed(); seed++)
		check_life(seed * 0x9e3779b97f4a7c15ull);
}

/* ---- laps ---- */

/* Three writers, and a reader that is one of them and stands still. */
TEST_CASE(cast_path, laps_are_counted_to_the_frame)
{
	struct net *net = net_open();
	struct link_counters in[2];
	struct cast_counters counters;

	everybody_reads(net);
	for (unsigned i = 0; i < 200; i++) {
		cast(net, i % 5 == 0 ? 1 : i % 3 == 0 ? 2 : 0, 100);
		receive_all(&net->hosts[0]);
		receive_all(&net->hosts[2]);
	}
	receive_all(&net->hosts[1]);
	in[0] = read_link(link_of(net, 1, 0));
	in[1] = read_link(link_of(net, 1, 2));
	counters = read_cast(net->casts[1]);
	CHECK_U64(counters.lapped, 200 - 3 * DEPTH / 4);
	CHECK_U64(counters.received + counters.own, 3 * DEPTH / 4);
	CHECK_U64(in[0].delivered_frames + in[1].delivered_frames, counters.received);
	CHECK(in[0].drops[DROP_CAST_LOST] > 50 && in[1].drops[DROP_CAST_LOST] > 20);
	CHECK_U64(read_link(link_of(net, 0, 1)).drops[DROP_CAST_LOST], 0);
	check_books(net);
	net_close(net);
}

/* Lapped while it still gets copies: what it was lapped on was not for it. */
TEST_CASE(cast_path, laps_over_what_came_as_copies)
{
	struct net *net = net_open();

	for (unsigned i = 0; i < HOSTS; i++)
		add_cast(net, i);
	for (unsigned i = 0; i < 50; i++)
		cast(net, 0, 100);
	say_reads(net, 1, 0);
	for (unsigned i = 0; i < 4; i++)
		cast(net, 0, 100);
	receive_all(&net->hosts[1]);
	CHECK_INT(count_frames(&net->hosts[1]), 54);
	CHECK_U64(read_cast(net->casts[1]).lapped, 54 - 3 * DEPTH / 4);
	CHECK_U64(read_link(link_of(net, 1, 0)).drops[DROP_CAST_LOST], 0);
	check_books(net);
	net_close(net);
}

/* A ring that goes with frames in it: they were lost. */
TEST_CASE(cast_path, unread_frames_of_a_removed_ring)
{
	struct net *net = net_open();
	struct port_counters port;

	everybody_reads(net);
	for (unsigned i = 0; i < 5; i++)
		cast(net, 0, 100);
	plane_remove_cast(net->hosts[1].plane, net->casts[1], NULL);
	net->casts[1] = NULL;
	receive_all(&net->hosts[1]);
	CHECK_U64(read_link(link_of(net, 1, 0)).drops[DROP_CAST_LOST], 5);
	receive_all(&net->hosts[2]);
	plane_remove_cast(net->hosts[2].plane, net->casts[2], NULL);
	net->casts[2] = NULL;
	plane_read_port(net->hosts[2].plane, net->hosts[2].port, &port);
	CHECK_U64(port.casts.received, 5);
	check_books(net);
	net_close(net);
}

/* ---- slots that no honest writer writes ---- */

/* As host 0, whom host 1 has a link with, and behind its back. */
static void forge(struct net *net, uint16_t writer_id, const uint8_t *payload,
		  uint32_t length, uint32_t flags)
{
	struct shmnet_cast_ring ring = cast_file_ring(&net->file);
	struct shmnet_cast_writer writer;
	uint8_t *place = NULL;

	shmnet_cast_writer_init(&writer, &ring, writer_id);
	REQUIRE(shmnet_cast_reserve(&writer, &place) == 0);
	memcpy(place, payload, length <= ring.room ? length : ring.room);
	CHECK_INT(shmnet_cast_submit(&writer, length, flags), 0);
}

static struct net *net_open_forged(uint16_t writer_id, const uint8_t *payload,
				   uint32_t length, uint32_t flags)
{
	struct net *net = net_open();

	everybody_reads(net);
	cast(net, 0, 100);
	receive_all(&net->hosts[1]);
	CHECK_INT(count_frames(&net->hosts[1]), 1);
	forge(net, writer_id, payload, length, flags);
	receive_all(&net->hosts[1]);
	CHECK_INT(net->casts[1]->error, 0);
	return net;
}

static void check_forged(const uint8_t *payload, uint32_t length, uint32_t flags,
			 enum drop_reason reason)
{
	struct net *net = net_open_forged(1, payload, length, flags);

	if (!CHECK_U64(read_link(link_of(net, 1, 0)).drops[reason], 1))
		CHECK_STR("drop", drop_reason_name(reason));
	CHECK_INT(count_frames(&net->hosts[1]), 0);
	net_close(net);
}

TEST_CASE(cast_path, forged_frames)
{
	static uint8_t frame[RIG_FRAME_MAX];
	uint32_t length;

	rig_frame(frame, 1, RIG_TO_ALL, 0, 100);
	check_forged(frame, 100, 0, DROP_BAD_DESTINATION);
	check_forged(frame, SHMNET_VNET_HLEN + SHMNET_ETH_HLEN - 1, SHMNET_RECORD_CAST,
		     DROP_BAD_LENGTH);
	rig_frame(frame, 3, RIG_TO_ALL, 0, 100);
	check_forged(frame, 100, SHMNET_RECORD_CAST, DROP_BAD_SOURCE);
	rig_frame(frame, 1, 2, 0, 100);
	check_forged(frame, 100, SHMNET_RECORD_CAST, DROP_BAD_DESTINATION);
	check_forged(frame, 100, 0, DROP_BAD_DESTINATION);
	length = (uint32_t)rig_frame_tcp(frame, 1, RIG_TO_ALL, 3000, 1448);
	frame[1] = 4;
	check_forged(frame, length, SHMNET_RECORD_CAST, DROP_BAD_HEADER);
	length = SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + RIG_MTU + 5;
	rig_frame(frame, 1, RIG_TO_ALL, 0, length);
	check_forged(frame, length, SHMNET_RECORD_CAST, DROP_OVERSIZE);
}

/* Control is told of it once, however much it casts. */
TEST_CASE(cast_path, stranger_is_heard)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct plane_fault fault;
	struct plane *plane;
	struct net *net;

	rig_frame(frame, 9, RIG_TO_ALL, 0, 100);
	net = net_open_forged(9, frame, 100, SHMNET_RECORD_CAST);
	plane = net->hosts[1].plane;
	REQUIRE(plane_next_fault(plane, &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_STRANGER);
	CHECK_INT(fault.peer_id, 9);
	CHECK(!plane_next_fault(plane, &fault));
	forge(net, 9, frame, 100, SHMNET_RECORD_CAST);
	receive_all(&net->hosts[1]);
	CHECK(!plane_next_fault(plane, &fault));
	CHECK_U64(read_cast(net->casts[1]).passed, 2);
	net_close(net);
}

/* Passed over, or counted by the ring: nobody's link has to do with it. */
static void check_passed(uint16_t writer, uint32_t length, uint32_t flags, bool corrupt)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct cast_counters counters;
	struct net *net;

	rig_frame(frame, 1, RIG_TO_ALL, 0, 100);
	net = net_open_forged(writer, frame, length, flags);
	counters = read_cast(net->casts[1]);
	CHECK_U64(counters.corrupt, corrupt);
	CHECK_U64(counters.passed, !corrupt);
	CHECK_INT(count_frames(&net->hosts[1]), 0);
	check_books(net);
	net_close(net);
}

TEST_CASE(cast_path, forged_slots)
{
	check_passed(1, 0, SHMNET_RECORD_CAST, true);
	check_passed(1, shmnet_cast_room(RIG_MTU) + 1, SHMNET_RECORD_CAST, true);
	check_passed(1, UINT32_MAX, SHMNET_RECORD_CAST, true);
	check_passed(1, 100, 0xf0, true);
	check_passed(0xffff, 100, SHMNET_RECORD_CAST, true);
	check_passed(1, 100, SHMNET_RECORD_COMMAND, false);
	check_passed(77, 100, SHMNET_RECORD_CAST, false);
}

static void check_broken(uint64_t head)
{
	struct net *net = net_open();
	struct plane_fault fault;

	everybody_reads(net);
	for (unsigned i = 0; i < 5; i++)
		cast(net, 0, 100);
	receive_all(&net->hosts[1]);
	CHECK_INT(count_frames(&net->hosts[1]), 5);
	__atomic_store_n(&cast_file_ring(&net->file).head->head, head, __ATOMIC_SEQ_CST);
	receive_all(&net->hosts[1]);
	REQUIRE(plane_next_fault(net->hosts[1].plane, &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_CAST);
	CHECK(fault.cast == net->casts[1]);
	CHECK_INT(fault.error, -EPROTO);
	CHECK(!plane_next_fault(net->hosts[1].plane, &fault));
	/* Left alone, and the writer, who finds out by itself, sends copies. */
	cast(net, 0, 100);
	receive_all(&net->hosts[1]);
	check_next(net, 1, 0, 5);
	REQUIRE(plane_next_fault(net->hosts[0].plane, &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_CAST);
	CHECK_INT(fault.error, -EPROTO);
	net_close(net);
}

TEST_CASE(cast_path, w_that_is_nonsense)
{
	check_broken(2);
	check_broken(SHMNET_CAST_POSITION_MAX + 1);
}

/* W far ahead is as being lapped: what is there afterwards is read. */
TEST_CASE(cast_path, w_that_is_moved_ahead)
{
	struct net *net = net_open();

	everybody_reads(net);
	cast(net, 0, 100);
	receive_all(&net->hosts[1]);
	__atomic_store_n(&cast_file_ring(&net->file).head->head, 1000, __ATOMIC_SEQ_CST);
	cast(net, 0, 100);
	receive_all(&net->hosts[1]);
	CHECK_INT(count_frames(&net->hosts[1]), 2);
	CHECK_INT(net->casts[1]->error, 0);
	CHECK(read_cast(net->casts[1]).lapped > 900);
	CHECK_U64(read_link(link_of(net, 1, 0)).drops[DROP_CAST_LOST], 0);
	check_books(net);
	net_close(net);
}

/* What it says that it put there harms the sender's own figures only. */
TEST_CASE(cast_path, sender_that_lies_about_its_number)
{
	struct net *net = net_open();
	struct link *link = link_of(net, 1, 0);

	everybody_reads(net);
	cast(net, 0, 100);
	cast(net, 2, 100);
	receive_all(&net->hosts[1]);
	link->rx.words->cast_frames = 0;
	receive_all(&net->hosts[1]);
	CHECK_U64(read_link(link).drops[DROP_CAST_LOST], 0);
	link->rx.words->cast_frames = 1000;
	receive_all(&net->hosts[1]);
	CHECK_U64(read_link(link).drops[DROP_CAST_LOST], 999);
	CHECK_U64(read_link(link_of(net, 1, 2)).drops[DROP_CAST_LOST], 0);
	CHECK_INT(count_frames(&net->hosts[1]), 2);
	net_close(net);
}

/* A map that is shorter than the ring would be read beyond its end. */
TEST_CASE(cast_path, map_of_another_shape)
{
	struct net *net = net_open();
	struct plane_cast spec = {.depth = DEPTH, .id = 1, .reads = true};
	struct cast *cast = NULL;

	spec.map = net->file.map;
	spec.depth = 2 * DEPTH;
	CHECK_INT(plane_add_cast(net->hosts[0].plane, &spec, &cast), -EINVAL);
	spec.depth = DEPTH - 1;
	CHECK_INT(plane_add_cast(net->hosts[0].plane, &spec, &cast), -EINVAL);
	spec.depth = DEPTH;
	spec.map.length = shmnet_cast_file_size(DEPTH, RIG_MTU - 64);
	CHECK_INT(plane_add_cast(net->hosts[0].plane, &spec, &cast), -EINVAL);
	spec.map = net->file.map;
	spec.map.writable = false;
	spec.writes = true;
	CHECK_INT(plane_add_cast(net->hosts[0].plane, &spec, &cast), -EINVAL);
	CHECK(cast == NULL);
	net_close(net);
}

/* ---- lanes ---- */

static struct cast *add_lane(struct host *host, int fd, struct cast_map *map,
			     uint16_t writer)
{
	struct plane_cast spec = {
		.port = host->port,
		.depth = DEPTH,
		.id = 0x1a4e,
		.label = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		.reads = writer != 0,
		.writes = writer == 0,
		.only_writer = writer,
	};
	struct cast *ret = NULL;

	if (map)
		spec.map = *map;
	else
		CHECK_INT(cast_map_open(fd, DEPTH, RIG_MTU, false, &spec.map), 0);
	CHECK_INT(plane_add_cast(host->plane, &spec, &ret), 0);
	return ret;
}

/* Read through a mapping that can't be written to: nothing may be stored. */
TEST_CASE(cast_path, lane)
{
	struct net *net = net_open();
	struct cast_map map;
	const char *why;
	int fd;

	REQUIRE(memfd_cast_create_lane(DEPTH, RIG_MTU, &fd, &map) == 0);
	CHECK_INT(memfd_cast_check(fd, DEPTH, RIG_MTU, true, &why), 0);
	net->casts[0] = add_lane(&net->hosts[0], fd, &map, 0);
	net->casts[1] = add_lane(&net->hosts[1], fd, NULL, 1);
	say_reads(net, 1, 0);
	for (unsigned i = 0; i < 3; i++)
		cast(net, 0, 100);
	receive_all(&net->hosts[1]);
	for (unsigned i = 0; i < 3; i++)
		check_next(net, 1, 0, i);
	CHECK_U64(copies_to(net, 0, 1), 0);
	CHECK_INT(receive(&net->hosts[0]), 0);
	/* Not ours to close or to mend. */
	CHECK_U64(plane_reclaim_cast(net->casts[1], 1), 0);
	plane_close_cast(net->casts[1]);
	plane_close_cast(net->casts[0]);
	cast(net, 0, 100);
	receive_all(&net->hosts[1]);
	check_next(net, 1, 0, 3);
	CHECK_INT(net->casts[1]->error, -ESHUTDOWN);
	check_books(net);
	close(fd);
	net_close(net);
}

/* In its lane a node can speak for itself only. */
TEST_CASE(cast_path, lane_under_anothers_name)
{
	struct net *net = net_open();
	struct shmnet_cast_writer writer;
	struct shmnet_cast_ring ring;
	struct cast_map map;
	uint8_t *place = NULL;
	int fd;

	REQUIRE(memfd_cast_create_lane(DEPTH, RIG_MTU, &fd, &map) == 0);
	net->casts[0] = add_lane(&net->hosts[0], fd, &map, 0);
	net->casts[1] = add_lane(&net->hosts[1], fd, NULL, 1);
	say_reads(net, 1, 0);
	cast(net, 0, 100);
	shmnet_cast_ring_init(&ring, map.base, DEPTH, RIG_MTU);
	shmnet_cast_writer_init(&writer, &ring, 3);
	REQUIRE(shmnet_cast_reserve(&writer, &place) == 0);
	rig_frame(place, 3, RIG_TO_ALL, 0, 100);
	CHECK_INT(shmnet_cast_submit(&writer, 100, SHMNET_RECORD_CAST), 0);
	receive_all(&net->hosts[1]);
	CHECK_INT(count_frames(&net->hosts[1]), 1);
	CHECK_U64(read_link(link_of(net, 1, 0)).drops[DROP_BAD_SOURCE], 1);
	CHECK_U64(read_link(link_of(net, 1, 2)).received_frames, 0);
	close(fd);
	net_close(net);
}

/* ---- before sleep ---- */

TEST_CASE(cast_path, slot_in_writing_is_slept_over)
{
	struct net *net = net_open();
	struct shmnet_cast_ring ring = cast_file_ring(&net->file);
	struct shmnet_cast_writer writer;
	uint8_t *place;
	int timeout_ms = -1;

	everybody_reads(net);
	CHECK(path_cast_is_quiet(net->casts[1], &timeout_ms));
	CHECK_INT(timeout_ms, -1);
	shmnet_cast_writer_init(&writer, &ring, 3);
	CHECK_INT(shmnet_cast_reserve(&writer, &place), 0);
	cast(net, 0, 100);
	CHECK(!path_cast_is_quiet(net->casts[1], &timeout_ms)); /* W moved */
	CHECK_INT(receive(&net->hosts[1]), 0);
	CHECK(path_cast_is_quiet(net->casts[1], &timeout_ms));
	CHECK(timeout_ms > 0 && timeout_ms <= CAST_PATIENCE_MS + 1);
	CHECK_INT(shmnet_cast_submit(&writer, 0, SHMNET_RECORD_CAST), 0);
	CHECK(!path_cast_is_quiet(net->casts[1], &timeout_ms));
	CHECK_INT(receive(&net->hosts[1]), 1);
	timeout_ms = -1;
	CHECK(path_cast_is_quiet(net->casts[1], &timeout_ms));
	CHECK_INT(timeout_ms, -1);
	shmnet_cast_close(&ring);
	CHECK(!path_cast_is_quiet(net->casts[1], &timeout_ms)); /* that is to be said */
	CHECK_INT(receive(&net->hosts[1]), 0);
	CHECK(path_cast_is_quiet(net->casts[1], &timeout_ms));
	CHECK_INT(net->casts[1]->error, -ESHUTDOWN);
	check_books(net);
	net_close(net);
}

/* The slots that a dead member left in writing are waited for asleep, too. */
TEST_CASE(cast_path, closed_ring_with_a_slot_in_writing)
{
	struct net *net = net_open();
	struct shmnet_cast_ring ring = cast_file_ring(&net->file);
	struct shmnet_cast_writer writer;
	uint8_t *place;
	int timeout_ms = -1;

	everybody_reads(net);
	shmnet_cast_writer_init(&writer, &ring, 3);
	CHECK_INT(shmnet_cast_reserve(&writer, &place), 0);
	shmnet_cast_close(&ring);
	CHECK(!path_cast_is_quiet(net->casts[1], &timeout_ms)); /* W moved */
	CHECK_INT(receive(&net->hosts[1]), 0);
	CHECK(path_cast_is_quiet(net->casts[1], &timeout_ms));
	CHECK(timeout_ms > 0 && timeout_ms <= CAST_PATIENCE_MS + 1);
	CHECK_INT(net->casts[1]->error, 0);
	shmnet_cast_withdraw(&writer);
	CHECK(!path_cast_is_quiet(net->casts[1], &timeout_ms));
	receive_all(&net->hosts[1]);
	CHECK_INT(net->casts[1]->error, -ESHUTDOWN);
	net_close(net);
}

/* W and a slot now and then are cheap to forge; to look at all the others is not. */
TEST_CASE(cast_path, deep_ring_of_holes)
{
	struct net *net = net_open();
	struct shmnet_cast_ring ring;
	uint64_t passed = 0, before;
	struct shmnet_cast_slot *slot;

	cast_file_close(&net->file);
	REQUIRE(cast_file_open(&net->file, SHMNET_CAST_DEPTH_MAX / 4));
	add_cast(net, 1);
	ring = cast_file_ring(&net->file);
	for (uint64_t i = 0; i < ring.depth; i += SHMNET_CAST_STEPS_MAX) {
		slot = shmnet_cast_slot_at(&ring, i);
		slot->word = shmnet_cast_word(1, SHMNET_CAST_PUBLISHED, 1);
		slot->length = 100;
	}
	ring.head->head = ring.depth;
	while (receive(&net->hosts[1])) {
		before = passed;
		passed = net->casts[1]->reader.cursor;
		CHECK(passed - before <= 2 * (uint64_t)SHMNET_CAST_STEPS_MAX);
	}
	CHECK_U64(read_cast(net->casts[1]).passed, ring.depth / SHMNET_CAST_STEPS_MAX);
	CHECK_U64(net->casts[1]->reader.cursor, ring.depth);
	net_close(net);
}
