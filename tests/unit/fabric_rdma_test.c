/*
 * The rdma fabric over a qp that is played (shim/qp_loop.h).
 *
 * The players below do what worker.c and path.c do with a link, a step at a time and in
 * an order that a seed makes: take and check numbered records, give back, send some, arm,
 * sleep. When all rest and nothing is under way, everything must have arrived.
 */
#include "data/fabric_rdma.h"

#include "qp_loop.h"
#include "rig.h"
#include "shim.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINKS_MAX 3
#define BURST	  64

/* ---- the memory ---- */

/* Of side s and link k; kept from seed to seed. */
struct memory {
	struct ring_map ring[2][LINKS_MAX];
	struct ring_map staging[2][LINKS_MAX];
};

static bool map_ring(struct ring_map *ret_map)
{
	struct ring_map other;

	if (!rig_ring_open(RIG_RING_SIZE, ret_map, &other))
		return false;
	ring_map_close(&other);
	return true;
}

static struct memory *memory_open(void)
{
	struct memory *memory = calloc(1, sizeof(*memory));

	for (unsigned s = 0; memory && s < 2; s++) {
		for (unsigned k = 0; k < LINKS_MAX; k++) {
			if (!map_ring(&memory->ring[s][k]) ||
			    !map_ring(&memory->staging[s][k]))
				return NULL;
		}
	}
	return memory;
}

static void memory_close(struct memory *memory)
{
	for (unsigned s = 0; s < 2; s++) {
		for (unsigned k = 0; k < LINKS_MAX; k++) {
			ring_map_close(&memory->ring[s][k]);
			ring_map_close(&memory->staging[s][k]);
		}
	}
	free(memory);
}

/* ---- both ends ---- */

struct player_link {
	struct shmnet_ring_tx tx;
	struct shmnet_ring_rx rx;
	uint64_t wanted; /* records that are to be sent, so far */
	uint64_t sent;
	uint64_t received;
	uint32_t size_max; /* of the payloads */
	bool is_blocked;
	int error;
};

struct player {
	struct fabric *fabric;
	struct player_link links[LINKS_MAX];
	uint32_t number;
	bool is_asleep;
	uint64_t random;
	uint64_t *control; /* the random numbers of all that is not the worker's */
	unsigned beats_every;
};

struct pair {
	struct memory *memory;
	struct qp_loop *loop;
	struct player players[2];
	unsigned num_links;
	uint64_t random;
};

struct shape {
	uint64_t seed;
	unsigned num_links;
	uint32_t send_depth;
	uint32_t size_max;
	uint32_t max_inline;
	bool spurious_bells;
	bool busy_wire;
	unsigned beats_every; /* looks of control's; 0: never */
};

/* As the receiver counts them; not the same at both ends, nor from 0. */
static unsigned ring_index(unsigned side, unsigned k)
{
	return 3 * k + side + 1;
}

static void add_ring(struct pair *pair, unsigned from, unsigned k)
{
	struct ring_map *staging = &pair->memory->staging[from][k];
	struct ring_map *ring = &pair->memory->ring[!from][k];
	unsigned index = ring_index(!from, k);
	struct player_link *tx = &pair->players[from].links[k];
	struct player_link *rx = &pair->players[!from].links[k];
	uint64_t salt = rig_random(&pair->random);
	const struct fabric_rdma_tx spec = {
		.index = index,
		.size = RIG_RING_SIZE,
		.words = staging->words,
		.staging = staging->data,
		.lkey = qp_loop_register(pair->loop, from, staging->data,
					 2 * RIG_RING_SIZE),
		.rkey = qp_loop_register(pair->loop, !from, ring->data,
					 2 * RIG_RING_SIZE),
	};

	memset(staging->words, 0, sizeof(*staging->words));
	memset(ring->words, 0, sizeof(*ring->words));
	shmnet_ring_tx_init(&tx->tx, staging->words, staging->data, RIG_RING_SIZE, salt);
	shmnet_ring_rx_init(&rx->rx, ring->words, ring->data, RIG_RING_SIZE, salt);
	tx->tx.index = rx->rx.index = index;
	CHECK_INT(fabric_rdma_set_rx(pair->players[!from].fabric, index, ring->words,
				     RIG_RING_SIZE),
		  0);
	CHECK_INT(fabric_rdma_set_tx(pair->players[from].fabric, &spec), 0);
}

static bool pair_open(struct pair *pair, struct memory *memory, const struct shape *shape)
{
	const struct qp_loop_options options = {
		.seed = shape->seed,
		.send_depth = shape->send_depth,
		.receive_depth = fabric_rdma_receive_depth(shape->num_links),
		.max_inline = shape->max_inline,
		.spurious_bells = shape->spurious_bells,
		.busy_wire = shape->busy_wire,
	};

	memset(pair, 0, sizeof(*pair));
	pair->memory = memory;
	pair->num_links = shape->num_links;
	pair->random = shape->seed * 0x9e3779b97f4a7c15ull | 1;
	if (!CHECK_INT(qp_loop_new(&options, &pair->loop), 0))
		return false;
	for (unsigned s = 0; s < 2; s++) {
		pair->players[s].random = rig_random(&pair->random);
		pair->players[s].control = &pair->random;
		pair->players[s].beats_every = shape->beats_every;
		if (!CHECK_INT(fabric_rdma_new(qp_loop_end(pair->loop, s), "rdma/rxe0",
					       &pair->players[s].fabric),
			       0))
			return false;
	}
	for (unsigned k = 0; k < shape->num_links; k++) {
		for (unsigned s = 0; s < 2; s++) {
			pair->players[s].links[k].size_max = shape->size_max;
			add_ring(pair, s, k);
		}
	}
	return !test_failed();
}

static void check_faults(struct pair *pair)
{
	struct qp_loop_faults faults = qp_loop_faults(pair->loop);

	CHECK_U64(faults.rnr, 0);
	CHECK_U64(faults.changed, 0);
	CHECK_U64(faults.overfull, 0);
	CHECK_U64(faults.foreign, 0);
	CHECK_U64(faults.unlike, 0);
}

static void pair_close(struct pair *pair)
{
	check_faults(pair);
	for (unsigned s = 0; s < 2; s++)
		fabric_close(pair->players[s].fabric);
	qp_loop_free(pair->loop);
}

/* One link, and nothing that chance decides. */
static bool pair_open_plain(struct pair *pair, struct memory **ret_memory)
{
	const struct shape shape = {
		.seed = 1, .num_links = 1, .send_depth = 64, .size_max = 64};

	*ret_memory = memory_open();
	return *ret_memory && pair_open(pair, *ret_memory, &shape);
}

static void pair_close_plain(struct pair *pair, struct memory *memory)
{
	pair_close(pair);
	memory_close(memory);
}

static struct fabric_rdma_counters counters_of(const struct pair *pair, unsigned side)
{
	struct fabric_rdma_counters counters;

	fabric_rdma_read(pair->players[side].fabric, &counters);
	return counters;
}

/* ---- records ---- */

static uint32_t record_length(const struct player_link *link, uint64_t number)
{
	return 16 + (uint32_t)(number * 0x9e3779b97f4a7c15ull >> 32) % link->size_max;
}

static void fill_record(uint8_t *payload, uint32_t length, uint64_t number)
{
	memset(payload, (int)(number % 251), length);
	memcpy(payload, &number, sizeof(number));
	memcpy(payload + length - sizeof(number), &number, sizeof(number));
}

static bool is_record(const struct player_link *link, const struct shmnet_record *record,
		      uint64_t number)
{
	const uint8_t *payload = record->payload;
	uint32_t length = record->length;

	if (length != record_length(link, number) ||
	    memcmp(payload, &number, sizeof(number)) != 0 ||
	    memcmp(payload + length - sizeof(number), &number, sizeof(number)) != 0)
		return false;
	for (uint32_t i = sizeof(number); i + sizeof(number) < length; i += 61) {
		if (payload[i] != number % 251)
			return false;
	}
	return true;
}

/* ---- what a worker does ---- */

/* As path.c does: by the quarter ring, and when it rests. */
static void give_back(struct player *player, struct player_link *link, bool at_rest)
{
	uint64_t due = link->rx.tail - link->rx.credited;

	if (due > 0 && (at_rest || due >= (link->rx.mask + 1) / 4))
		CHECK(player->fabric->ops->credit(player->fabric, &link->rx) >= 0);
}

static unsigned take_records(struct player *player, struct player_link *link,
			     unsigned max)
{
	struct shmnet_record record;
	unsigned taken = 0;
	int ret = player->fabric->ops->poll(player->fabric, &link->rx, &link->tx);

	while (ret > 0 && taken < max) {
		ret = shmnet_ring_peek(&link->rx, &record);
		if (ret <= 0)
			break;
		CHECK(is_record(link, &record, link->received));
		link->received++;
		shmnet_ring_release(&link->rx, &record);
		taken++;
		give_back(player, link, false);
	}
	if (ret < 0)
		link->error = ret;
	else
		give_back(player, link, true);
	return taken;
}

static bool send_record(struct player_link *link)
{
	uint32_t length = record_length(link, link->sent);
	uint8_t *place;
	int ret = shmnet_ring_reserve(&link->tx, SHMNET_RING_PAYLOAD_MAX, 0, &place);

	link->is_blocked = ret < 0;
	if (ret < 0) {
		CHECK_INT(ret, -ENOBUFS);
		return false;
	}
	fill_record(place, length, link->sent);
	shmnet_ring_submit(&link->tx, length, 0);
	link->sent++;
	return true;
}

static unsigned send_records(struct player *player, struct player_link *link,
			     unsigned max)
{
	unsigned sent = 0;

	while (sent < max && link->sent < link->wanted && send_record(link))
		sent++;
	if (sent > 0)
		CHECK(player->fabric->ops->publish(player->fabric, &link->tx) >= 0);
	return sent;
}

/* True if it found something to do. */
static bool take_turn(struct pair *pair, struct player *player)
{
	unsigned done = 0;

	for (unsigned k = 0; k < pair->num_links; k++) {
		struct player_link *link = &player->links[k];

		if (!link->error)
			done += take_records(player, link,
					     1 + rig_random(&player->random) % BURST);
	}
	for (unsigned k = 0; k < pair->num_links; k++) {
		struct player_link *link = &player->links[k];

		if (!link->error)
			done += send_records(player, link,
					     1 + rig_random(&player->random) % BURST);
	}
	return done > 0;
}

/* Control beats whenever it likes, and takes what came then. */
static void maybe_beat(const struct player *player)
{
	if (player->beats_every && rig_random(player->control) % player->beats_every == 0)
		fabric_beat(player->fabric);
}

/* True if it may sleep. */
static bool prepare_sleep(struct pair *pair, struct player *player)
{
	const struct fabric_ops *ops = player->fabric->ops;
	bool safe = true;

	player->number++;
	for (unsigned k = 0; k < pair->num_links; k++) {
		struct player_link *link = &player->links[k];

		maybe_beat(player);
		if (!link->error)
			safe &= ops->arm(player->fabric, &link->rx, player->number) == 0;
	}
	for (unsigned k = 0; k < pair->num_links; k++) {
		struct player_link *link = &player->links[k];

		maybe_beat(player);
		if (!link->error && link->is_blocked)
			safe &= ops->wait_room(player->fabric, &link->tx, player->number,
					       SHMNET_RING_PAYLOAD_MAX) == 0;
	}
	return safe;
}

static bool is_rung(const struct player *player)
{
	struct pollfd fd = {.fd = player->fabric->wait_fd, .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

/* There are frames for a link that is not waiting for room. */
static bool has_frames(const struct pair *pair, const struct player *player)
{
	for (unsigned k = 0; k < pair->num_links; k++) {
		const struct player_link *link = &player->links[k];

		if (link->sent < link->wanted && !link->is_blocked)
			return true;
	}
	return false;
}

static bool has_reason_to_wake(const struct pair *pair, const struct player *player)
{
	return !player->is_asleep || is_rung(player) || has_frames(pair, player);
}

static void player_step(struct pair *pair, struct player *player)
{
	if (!has_reason_to_wake(pair, player))
		return;
	if (player->is_asleep)
		player->fabric->ops->drain(player->fabric);
	player->is_asleep = false;
	/* Some turns find nothing and are followed by another one: it looks around. */
	if (!take_turn(pair, player) && rig_random(&player->random) % 2)
		player->is_asleep = prepare_sleep(pair, player);
}

static void want_more(struct pair *pair, unsigned max)
{
	struct player *player = &pair->players[rig_random(&pair->random) % 2];

	player->links[rig_random(&pair->random) % pair->num_links].wanted +=
		rig_random(&pair->random) % max;
}

/* Until nobody has anything to do: asleep, no bell, nothing under way. */
static void come_to_rest(struct pair *pair)
{
	unsigned rounds = 0;
	bool busy = true;

	while (busy && CHECK(++rounds < 1000000)) {
		busy = qp_loop_step(pair->loop);
		for (unsigned s = 0; s < 2; s++) {
			busy |= has_reason_to_wake(pair, &pair->players[s]);
			if (rig_random(&pair->random) % 4 == 0)
				player_step(pair, &pair->players[s]);
		}
	}
}

static void check_all_arrived(struct pair *pair)
{
	for (unsigned s = 0; s < 2; s++) {
		for (unsigned k = 0; k < pair->num_links; k++) {
			const struct player_link *link = &pair->players[s].links[k];

			CHECK_INT(link->error, 0);
			CHECK_U64(link->sent, link->wanted);
			CHECK_U64(pair->players[!s].links[k].received, link->wanted);
		}
	}
}

/* ---- schedules ---- */

static void run_phase(struct pair *pair, unsigned steps, unsigned wanted, unsigned wire)
{
	for (unsigned i = 0; i < steps; i++) {
		if (rig_random(&pair->random) % 8 == 0)
			want_more(pair, wanted);
		maybe_beat(&pair->players[rig_random(&pair->random) % 2]);
		player_step(pair, &pair->players[rig_random(&pair->random) % 2]);
		for (unsigned n = rig_random(&pair->random) % (wire + 1); n > 0; n--)
			qp_loop_step(pair->loop);
	}
}

/* What the seed says about the lot; some rings small for what they carry, some slow. */
static void run_seed(struct memory *memory, uint64_t seed)
{
	static const uint32_t sizes[] = {48, 1500, 20000, 65000};
	static const uint32_t depths[] = {32, 40, 64, 256};
	static const unsigned wires[] = {1, 2, 8, 40};
	uint64_t random = seed * 0x2545f4914f6cdd1dull + 1;
	uint32_t size_max = sizes[rig_random(&random) % 4];
	const struct shape shape = {
		.seed = seed,
		.num_links = 1 + rig_random(&random) % LINKS_MAX,
		.send_depth = depths[rig_random(&random) % 4],
		.size_max = size_max,
		.max_inline = rig_random(&random) % 2 ? 220 : 0,
		.spurious_bells = rig_random(&random) % 2,
		.busy_wire = rig_random(&random) % 4,
		.beats_every = (unsigned)(rig_random(&random) % 8 * 8),
	};
	unsigned wire = wires[rig_random(&random) % 4];
	unsigned wanted = size_max > 10000 ? 8 : 2 + rig_random(&random) % 200;
	struct pair pair;

	if (!pair_open(&pair, memory, &shape))
		return;
	for (unsigned phase = 0; phase < 4 && !test_failed(); phase++) {
		run_phase(&pair, 100, wanted, wire);
		come_to_rest(&pair);
		check_all_arrived(&pair);
	}
	pair_close(&pair);
}

static unsigned num_seeds(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return 300;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	return 300;
#endif
#endif
	return getenv("SHMNET_TEST_LONG") ? 50000 : 3000;
}

TEST_CASE(fabric_rdma, delivers_everything_once_and_in_order)
{
	struct memory *memory = memory_open();

	REQUIRE(memory);
	for (uint64_t seed = 1; seed <= num_seeds(); seed++) {
		run_seed(memory, seed);
		if (!CHECK_STR(test_failed() ? "failed" : NULL, NULL)) {
			CHECK_U64(seed, 0); /* which one */
			break;
		}
	}
	memory_close(memory);
}

/* ---- what it costs ---- */

#define FLOOD 20000u

/* One way, and always more to send; the wire does a step every so many turns. */
static void flood(struct pair *pair, unsigned turns)
{
	struct player_link *link = &pair->players[0].links[0];

	link->wanted = FLOOD;
	for (unsigned i = 0;
	     i < 1000 * FLOOD && pair->players[1].links[0].received < FLOOD; i++) {
		take_records(&pair->players[0], link, BURST);
		send_records(&pair->players[0], link, BURST);
		take_records(&pair->players[1], &pair->players[1].links[0], BURST);
		if (turns == 0)
			qp_loop_settle(pair->loop);
		else if (i % turns == 0)
			qp_loop_step(pair->loop);
	}
}

/* V4 of the design: per frame, both sides together. */
static void check_flood(unsigned turns, unsigned frames_each)
{
	struct memory *memory;
	struct pair pair;
	struct fabric_rdma_counters a, b;

	REQUIRE(pair_open_plain(&pair, &memory));
	flood(&pair, turns);
	a = counters_of(&pair, 0);
	b = counters_of(&pair, 1);
	CHECK_U64(pair.players[1].links[0].received, FLOOD);
	CHECK((a.immediates + b.immediates) * frames_each <= FLOOD);
	CHECK((a.signalled + b.signalled) * frames_each <= FLOOD);
	CHECK((a.receives + b.receives) * frames_each <= FLOOD);
	pair_close_plain(&pair, memory);
}

TEST_CASE(fabric_rdma, a_flood_takes_one_immediate_per_burst_at_most)
{
	check_flood(0, 32); /* as if there were no wire: each is answered at once */
}

/* By the quarter ring; this is the smallest. */
TEST_CASE(fabric_rdma, a_flood_over_a_slow_wire_takes_few_immediates)
{
	check_flood(1, 128);
	check_flood(8, 128);
}

/* One turn of both, with all that is under way carried out between. */
static void turn(struct pair *pair, struct player *player)
{
	take_records(player, &player->links[0], BURST);
	send_records(player, &player->links[0], BURST);
	qp_loop_settle(pair->loop);
}

TEST_CASE(fabric_rdma, a_lone_frame_is_one_write_with_an_immediate)
{
	struct memory *memory;
	struct pair pair;
	struct fabric_rdma_counters a, b;

	REQUIRE(pair_open_plain(&pair, &memory));
	pair.players[0].links[0].wanted = 1;
	send_records(&pair.players[0], &pair.players[0].links[0], 1);
	a = counters_of(&pair, 0);
	CHECK_U64(a.writes, 1);
	CHECK_U64(a.immediates, 1);
	CHECK_U64(a.signalled, 1);
	CHECK_U64(a.written_bytes,
		  shmnet_record_size(record_length(&pair.players[0].links[0], 0)));
	qp_loop_settle(pair.loop);
	turn(&pair, &pair.players[1]);
	b = counters_of(&pair, 1);
	CHECK_U64(b.receives, 1);
	CHECK_U64(b.writes, 1);
	CHECK_U64(b.immediates, 1);
	CHECK_U64(b.signalled, 0);
	CHECK_U64(pair.players[1].links[0].received, 1);
	/* And its place is free again. */
	turn(&pair, &pair.players[0]);
	CHECK_U64(pair.players[0].links[0].tx.words->tail,
		  pair.players[0].links[0].tx.head);
	pair_close_plain(&pair, memory);
}

/* Wakes only who has to do something: the TAIL of a lone frame waits. */
TEST_CASE(fabric_rdma, a_credit_wakes_only_who_waits_for_it)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0], *b = &pair.players[1];

	REQUIRE(pair_open_plain(&pair, &memory));
	a->links[0].wanted = 1;
	CHECK(prepare_sleep(&pair, b));
	turn(&pair, a);
	CHECK(is_rung(b));
	b->fabric->ops->drain(b->fabric);
	CHECK(prepare_sleep(&pair, a));
	turn(&pair, b);
	CHECK(!is_rung(a));
	CHECK_U64(b->links[0].received, 1);
	/* Now with frames that wait for it. */
	a->links[0].wanted = 100000;
	while (!a->links[0].is_blocked)
		send_records(a, &a->links[0], BURST);
	while (!prepare_sleep(&pair, a))
		continue;
	qp_loop_settle(pair.loop);
	a->fabric->ops->drain(a->fabric); /* what it sent is done */
	while (!prepare_sleep(&pair, a))
		continue;
	while (b->links[0].received < a->links[0].sent)
		turn(&pair, b);
	CHECK(is_rung(a));
	pair_close_plain(&pair, memory);
}

/* A receiver that never catches up gives room by the quarter. */
TEST_CASE(fabric_rdma, credits_come_by_the_quarter_ring)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0], *b = &pair.players[1];
	uint64_t quarter = RIG_RING_SIZE / 4;

	REQUIRE(pair_open_plain(&pair, &memory));
	a->links[0].wanted = 100000;
	while (!a->links[0].is_blocked)
		send_records(a, &a->links[0], BURST);
	prepare_sleep(&pair, a); /* what was held back */
	qp_loop_settle(pair.loop);
	for (unsigned i = 0; i < 1000 && b->links[0].rx.tail < 3 * quarter + quarter / 2;
	     i++)
		take_records(b, &b->links[0], BURST);
	CHECK_U64(counters_of(&pair, 1).immediates, 3);
	pair_close_plain(&pair, memory);
}

/* The second frame waits for the answer to the first, but not if nothing follows it. */
TEST_CASE(fabric_rdma, nothing_is_held_back_before_sleep)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0];

	REQUIRE(pair_open_plain(&pair, &memory));
	for (unsigned i = 1; i <= 6; i++) {
		a->links[0].wanted = 2 * i;
		send_records(a, &a->links[0], 1);
		send_records(a, &a->links[0], 1);
		prepare_sleep(&pair, a);
		/* Four HEADs, and then none before they are answered. */
		CHECK_U64(counters_of(&pair, 0).immediates, i < 3 ? i + 1 : 4);
	}
	pair_close_plain(&pair, memory);
}

/* Nor when the worker looks around and finds nothing. */
TEST_CASE(fabric_rdma, nothing_is_held_back_for_more_than_a_turn)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0];

	REQUIRE(pair_open_plain(&pair, &memory));
	a->links[0].wanted = 2;
	send_records(a, &a->links[0], 1);
	send_records(a, &a->links[0], 1);
	CHECK_U64(counters_of(&pair, 0).immediates, 1);
	take_records(a, &a->links[0], 1);
	CHECK_U64(counters_of(&pair, 0).immediates, 1); /* there may be more */
	take_records(a, &a->links[0], 1);
	CHECK_U64(counters_of(&pair, 0).immediates, 2);
	pair_close_plain(&pair, memory);
}

/* The position in an immediate comes round after a GiB. */
TEST_CASE(fabric_rdma, positions_go_beyond_what_an_immediate_holds)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0], *b = &pair.players[1];

	REQUIRE(pair_open_plain(&pair, &memory));
	a->links[0].size_max = b->links[0].size_max = 65000;
	a->links[0].wanted = UINT64_MAX;
	for (unsigned i = 0; i < 100000 && b->links[0].rx.tail < (1ull << 30) + (1 << 20);
	     i++) {
		turn(&pair, a);
		turn(&pair, b);
	}
	CHECK(b->links[0].rx.tail > 1ull << 30);
	CHECK_INT(a->links[0].error, 0);
	CHECK_INT(b->links[0].error, 0);
	pair_close_plain(&pair, memory);
}

/* ---- a hostile peer ---- */

#define IMM(back, ring, value)                                                           \
	((uint32_t)(back) << 31 | (uint32_t)(ring) << 24 | ((uint32_t)(value)&0xffffffu))

#define LINES (RIG_RING_SIZE / SHMNET_RING_ALIGN)

/*
 * Each side sent ten records of a line each, and read and credited those of the other.
 */
static bool pair_open_midway(struct pair *pair, struct memory **ret_memory)
{
	struct player *a, *b;

	if (!pair_open_plain(pair, ret_memory))
		return false;
	a = &pair->players[0];
	b = &pair->players[1];
	a->links[0].size_max = b->links[0].size_max = 1; /* 16 bytes */
	a->links[0].wanted = b->links[0].wanted = 10;
	turn(pair, b);
	turn(pair, a);
	turn(pair, b);
	return CHECK_U64(a->links[0].received, 10) && CHECK_U64(b->links[0].received, 10);
}

/* What side 0 says to an immediate that comes then. */
static int answer_to(uint32_t imm, bool *ret_why)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0];
	int ret = 1;

	if (pair_open_midway(&pair, &memory)) {
		qp_loop_inject(pair.loop, 0, imm);
		ret = a->fabric->ops->poll(a->fabric, &a->links[0].rx, &a->links[0].tx);
		*ret_why = fabric_why(a->fabric)[0] != '\0';
	}
	pair_close_plain(&pair, memory);
	return ret;
}

static void check_answer(uint32_t imm, int expected)
{
	bool why = false;

	if (!CHECK_INT(answer_to(imm, &why), expected))
		CHECK_U64(imm, 0); /* which one */
	CHECK_INT(why, expected < 0);
}

TEST_CASE(fabric_rdma, refuses_heads_that_make_no_sense)
{
	unsigned ring = ring_index(0, 0);

	check_answer(IMM(0, ring, 10), -EPROTO); /* nothing new */
	check_answer(IMM(0, ring, 9), -EPROTO);	 /* back */
	check_answer(IMM(0, ring, 0), -EPROTO);
	check_answer(IMM(0, ring, 11), 1);
	check_answer(IMM(0, ring, 10 + LINES), 1); /* all that it may hold */
	check_answer(IMM(0, ring, 11 + LINES), -EPROTO);
	check_answer(IMM(0, ring, 0xffffff), -EPROTO);
	check_answer(IMM(0, ring + 1, 11), -EPROTO);
	check_answer(IMM(0, 0, 11), -EPROTO);
	check_answer(IMM(0, 126, 11), -EPROTO);
}

TEST_CASE(fabric_rdma, refuses_tails_that_make_no_sense)
{
	unsigned ring = ring_index(1, 0);

	check_answer(IMM(1, ring, 10), -EPROTO); /* nothing new */
	check_answer(IMM(1, ring, 11), -EPROTO); /* more than was told of */
	check_answer(IMM(1, ring, 9), -EPROTO);
	check_answer(IMM(1, ring, 10 + LINES), -EPROTO);
	check_answer(IMM(1, ring_index(0, 0), 11), -EPROTO);
	check_answer(IMM(1, 0, 11), -EPROTO);
	check_answer(IMM(1, 126, 0), -EPROTO);
}

TEST_CASE(fabric_rdma, refuses_beats_that_make_no_sense)
{
	check_answer(IMM(0, 127, 0), 0);
	check_answer(IMM(0, 127, 1), -EPROTO); /* we sent none */
	check_answer(IMM(0, 127, 0xffffff), -EPROTO);
	check_answer(IMM(1, 127, 0), -EPROTO);
	check_answer(IMM(1, 127, 1), -EPROTO);
}

/* A flood of beats is either the connection's end or finds no receive. */
TEST_CASE(fabric_rdma, answers_no_flood_of_beats)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0];
	int ret = 0;

	REQUIRE(pair_open_midway(&pair, &memory));
	for (unsigned i = 0; i < 5; i++)
		qp_loop_inject(pair.loop, 0, IMM(0, 127, 0));
	ret = a->fabric->ops->poll(a->fabric, &a->links[0].rx, &a->links[0].tx);
	CHECK_INT(ret, -EPROTO);
	CHECK_STR(fabric_why(a->fabric),
		  "rdma/rxe0: the peer's beats don't add up: immediate 0x7f000000");
	pair_close_plain(&pair, memory);
}

/* Whatever comes: an answer that the rules allow, and nothing out of bounds. */
TEST_CASE(fabric_rdma, survives_any_immediate)
{
	uint64_t random = 0xbad1dea;

	for (unsigned i = 0; i < 500 && !test_failed(); i++) {
		uint32_t imm = (uint32_t)rig_random(&random);
		bool why;
		int ret;

		if (i % 2)
			imm = IMM(imm & 1, 1 + (imm >> 1 & 1), imm >> 8 & 0x1fff);
		ret = answer_to(imm, &why);
		CHECK(ret == -EPROTO || (ret == 1 && !(imm >> 31)) ||
		      (ret == 0 && (imm >> 24 & 127) == 127));
	}
}

/* A ring of the largest size, filled by one HEAD. */
TEST_CASE(fabric_rdma, tells_positions_apart_in_the_largest_ring)
{
	const struct qp_loop_options options = {
		.seed = 1, .send_depth = 64, .receive_depth = 64};
	static struct shmnet_ring_words words;
	struct shmnet_ring_rx rx;
	struct shmnet_ring_tx tx;
	struct qp_loop *loop;
	struct fabric *fabric, *peer;

	REQUIRE(qp_loop_new(&options, &loop) == 0);
	REQUIRE(fabric_rdma_new(qp_loop_end(loop, 0), "rdma/rxe0", &fabric) == 0);
	REQUIRE(fabric_rdma_new(qp_loop_end(loop, 1), "rdma/rxe0", &peer) == 0);
	CHECK_INT(fabric_rdma_set_rx(fabric, 0, &words, SHMNET_RING_SIZE_MAX), 0);
	shmnet_ring_rx_init(&rx, &words, NULL, SHMNET_RING_SIZE_MAX, RIG_SALT);
	memset(&tx, 0, sizeof(tx));
	qp_loop_inject(loop, 0, IMM(0, 0, SHMNET_RING_SIZE_MAX / SHMNET_RING_ALIGN));
	CHECK_INT(fabric->ops->poll(fabric, &rx, &tx), 1);
	CHECK_U64(rx.head, SHMNET_RING_SIZE_MAX);
	rx.tail = rx.head;
	CHECK_INT(fabric->ops->credit(fabric, &rx), 0);
	qp_loop_inject(loop, 0, IMM(0, 0, 0)); /* twice that: 2^24 lines */
	CHECK_INT(fabric->ops->poll(fabric, &rx, &tx), 1);
	CHECK_U64(rx.head, 2ull * SHMNET_RING_SIZE_MAX);
	qp_loop_inject(loop, 0, IMM(0, 0, 1)); /* nothing was read since */
	CHECK_INT(fabric->ops->poll(fabric, &rx, &tx), -EPROTO);
	fabric_close(fabric);
	fabric_close(peer);
	qp_loop_free(loop);
}

/* ---- rings that can't be ---- */

TEST_CASE(fabric_rdma, refuses_rings_that_it_has_no_receives_for)
{
	const struct qp_loop_options options = {.seed = 1,
						.send_depth = 64,
						.receive_depth =
							fabric_rdma_receive_depth(2)};
	static struct shmnet_ring_words words;
	struct fabric_rdma_tx tx = {.size = RIG_RING_SIZE, .words = &words};
	struct qp_loop *loop;
	struct fabric *fabric, *peer;

	REQUIRE(qp_loop_new(&options, &loop) == 0);
	REQUIRE(fabric_rdma_new(qp_loop_end(loop, 0), "rdma/rxe0", &fabric) == 0);
	REQUIRE(fabric_rdma_new(qp_loop_end(loop, 1), "rdma/rxe0", &peer) == 0);
	CHECK_INT(fabric_rdma_set_rx(fabric, 127, &words, RIG_RING_SIZE), -EINVAL);
	CHECK_INT(fabric_rdma_set_rx(fabric, 0, &words, RIG_RING_SIZE + 1), -EINVAL);
	CHECK_INT(fabric_rdma_set_rx(fabric, 126, &words, RIG_RING_SIZE), 0);
	CHECK_INT(fabric_rdma_set_rx(fabric, 126, &words, RIG_RING_SIZE), -EEXIST);
	CHECK_INT(fabric_rdma_set_rx(fabric, 0, &words, RIG_RING_SIZE), 0);
	tx.index = 5;
	CHECK_INT(fabric_rdma_set_tx(fabric, &tx), 0);
	CHECK_INT(fabric_rdma_set_tx(fabric, &tx), -EEXIST);
	tx.index = 6;
	CHECK_INT(fabric_rdma_set_tx(fabric, &tx), 0);
	tx.index = 7;
	CHECK_INT(fabric_rdma_set_tx(fabric, &tx), -ENOSPC);
	CHECK_INT(fabric_rdma_set_rx(fabric, 1, &words, RIG_RING_SIZE), -ENOSPC);
	fabric_close(fabric);
	fabric_close(peer);
	qp_loop_free(loop);
}

/* ---- beats ---- */

/* The peer's worker does nothing: so many beats may be under way. */
TEST_CASE(fabric_rdma, beats_no_more_than_are_noted)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0], *b = &pair.players[1];
	uint64_t pulse;

	REQUIRE(pair_open_plain(&pair, &memory));
	CHECK_U64(fabric_pulse(b->fabric), 0);
	for (unsigned i = 0; i < 100; i++) {
		fabric_beat(a->fabric);
		qp_loop_settle(pair.loop);
	}
	CHECK_U64(counters_of(&pair, 0).immediates, 4);
	pulse = fabric_pulse(a->fabric);
	turn(&pair, b);
	CHECK_U64(fabric_pulse(b->fabric), 4);
	CHECK_U64(counters_of(&pair, 1).immediates, 1); /* all four with one */
	fabric_beat(a->fabric);
	CHECK(fabric_pulse(a->fabric) > pulse);
	CHECK_U64(counters_of(&pair, 0).immediates, 5);
	pair_close_plain(&pair, memory);
}

/* An idle node's worker sleeps: it is control that beats and looks. */
TEST_CASE(fabric_rdma, beats_wake_no_worker)
{
	struct memory *memory;
	struct pair pair;
	uint64_t pulse[2] = {0, 0};

	REQUIRE(pair_open_plain(&pair, &memory));
	CHECK(prepare_sleep(&pair, &pair.players[0]));
	CHECK(prepare_sleep(&pair, &pair.players[1]));
	for (unsigned i = 0; i < 100 && !test_failed(); i++) {
		for (unsigned s = 0; s < 2; s++) {
			/* One of them beats ten times as often. */
			if (s == 0 || i % 10 == 9)
				fabric_beat(pair.players[s].fabric);
		}
		qp_loop_settle(pair.loop);
		for (unsigned s = 0; s < 2 && i % 10 == 9; s++) {
			CHECK(fabric_pulse(pair.players[s].fabric) > pulse[s]);
			pulse[s] = fabric_pulse(pair.players[s].fabric);
		}
	}
	CHECK(!is_rung(&pair.players[0]));
	CHECK(!is_rung(&pair.players[1]));
	pair_close_plain(&pair, memory);
}

/* Whatever crosses whatever: beats go on. */
TEST_CASE(fabric_rdma, beats_never_stop)
{
	struct memory *memory;
	struct pair pair;
	uint64_t pulse[2];

	REQUIRE(pair_open_plain(&pair, &memory));
	for (unsigned i = 0; i < 2000 && !test_failed(); i++) {
		for (unsigned n = rig_random(&pair.random) % 20; n > 0; n--) {
			struct player *player =
				&pair.players[rig_random(&pair.random) % 2];

			fabric_beat(player->fabric);
			if (rig_random(&pair.random) % 3 == 0)
				take_records(player, &player->links[0], 1);
			qp_loop_step(pair.loop);
		}
		come_to_rest(&pair);
		for (unsigned s = 0; s < 2; s++)
			pulse[s] = fabric_pulse(pair.players[s].fabric);
		/* Twice: who sent as many as it may hears only now that they came. */
		for (unsigned n = 0; n < 4; n++) {
			fabric_beat(pair.players[n % 2].fabric);
			come_to_rest(&pair);
		}
		for (unsigned s = 0; s < 2; s++)
			CHECK(fabric_pulse(pair.players[s].fabric) > pulse[s]);
	}
	pair_close_plain(&pair, memory);
}

/* ---- the end ---- */

/* Side 0 has sent 100, of which the wire carries all or what was told of. */
static bool pair_open_dying(struct pair *pair, struct memory **ret_memory)
{
	struct player *a;

	if (!pair_open_plain(pair, ret_memory))
		return false;
	a = &pair->players[0];
	a->links[0].wanted = 10;
	turn(pair, a);
	a->links[0].wanted = 100;
	turn(pair, a); /* held back: the first HEAD has no answer */
	qp_loop_fail(pair->loop, 1, "transport retry counter exceeded");
	return !test_failed();
}

TEST_CASE(fabric_rdma, delivers_what_a_dead_peer_told_of_before_it_says_so)
{
	struct memory *memory;
	struct pair pair;
	struct player *b = &pair.players[1];

	REQUIRE(pair_open_dying(&pair, &memory));
	CHECK_U64(take_records(b, &b->links[0], 4), 4);
	CHECK_U64(take_records(b, &b->links[0], 4), 4);
	CHECK(!prepare_sleep(&pair, b));
	CHECK_INT(b->links[0].error, 0);
	CHECK_U64(take_records(b, &b->links[0], 4), 2);
	CHECK_INT(b->links[0].error, 0);
	CHECK(!prepare_sleep(&pair, b));
	CHECK_U64(take_records(b, &b->links[0], 4), 0);
	CHECK_INT(b->links[0].error, -EIO);
	CHECK_STR(fabric_why(b->fabric), "rdma/rxe0: transport retry counter exceeded");
	pair_close_plain(&pair, memory);
}

TEST_CASE(fabric_rdma, salvages_what_a_dead_peer_told_of)
{
	struct memory *memory;
	struct pair pair;
	struct player *b = &pair.players[1];
	struct player_link *link = &b->links[0];
	struct shmnet_record record;

	REQUIRE(pair_open_dying(&pair, &memory));
	CHECK_INT(b->fabric->ops->salvage(b->fabric, &link->rx), 0);
	while (shmnet_ring_peek(&link->rx, &record) > 0) {
		CHECK(is_record(link, &record, link->received));
		link->received++;
		shmnet_ring_release(&link->rx, &record);
	}
	CHECK_U64(link->received, 10);
	pair_close_plain(&pair, memory);
}

TEST_CASE(fabric_rdma, says_what_failed)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0];

	REQUIRE(pair_open_plain(&pair, &memory));
	CHECK_STR(fabric_why(a->fabric), "");
	a->links[0].wanted = 1;
	send_records(a, &a->links[0], 1);
	qp_loop_fail(pair.loop, 0, "remote access error");
	take_records(a, &a->links[0], 1);
	CHECK_INT(a->links[0].error, -EIO);
	CHECK_STR(fabric_why(a->fabric),
		  "rdma/rxe0: WRITE of 64 bytes to ring 2: remote access error");
	fabric_beat(a->fabric); /* is of no use, and does no harm */
	CHECK_INT(a->fabric->ops->publish(a->fabric, &a->links[0].tx), 0);
	pair_close_plain(&pair, memory);
}

/* Who waits for nothing but frames: control finds it, and tells who beats. */
TEST_CASE(fabric_rdma, a_failure_is_found_while_the_worker_sleeps)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0];

	REQUIRE(pair_open_plain(&pair, &memory));
	CHECK(prepare_sleep(&pair, a));
	CHECK_INT(fabric_beat(a->fabric), 0);
	qp_loop_fail(pair.loop, 0, "device removed");
	CHECK(!is_rung(a));
	CHECK_INT(fabric_beat(a->fabric), -EIO);
	CHECK_INT(fabric_beat(a->fabric), -EIO);
	CHECK_STR(fabric_why(a->fabric), "rdma/rxe0: beat: device removed");
	CHECK(!prepare_sleep(&pair, a));
	take_records(a, &a->links[0], 1);
	CHECK_INT(a->links[0].error, -EIO);
	pair_close_plain(&pair, memory);
}

/* Who waits for an answer is woken. */
TEST_CASE(fabric_rdma, a_failure_wakes_who_waits)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0];

	REQUIRE(pair_open_plain(&pair, &memory));
	a->links[0].wanted = 100000;
	while (!a->links[0].is_blocked)
		send_records(a, &a->links[0], BURST);
	while (!prepare_sleep(&pair, a))
		continue;
	CHECK(!is_rung(a));
	qp_loop_fail(pair.loop, 0, "transport retry counter exceeded");
	CHECK(is_rung(a));
	pair_close_plain(&pair, memory);
}

/* Posting fails while what came before has not been looked at. */
TEST_CASE(fabric_rdma, delivers_what_came_before_posting_failed)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0], *b = &pair.players[1];

	REQUIRE(pair_open_plain(&pair, &memory));
	a->links[0].wanted = b->links[0].wanted = 10;
	turn(&pair, a);
	qp_loop_fail(pair.loop, 1, "device removed");
	CHECK_U64(send_records(b, &b->links[0], BURST), 10);
	CHECK_U64(take_records(b, &b->links[0], BURST), 10);
	CHECK_INT(b->links[0].error, 0);
	take_records(b, &b->links[0], BURST);
	CHECK_INT(b->links[0].error, -EIO);
	CHECK_STR(fabric_why(b->fabric), "rdma/rxe0: device removed");
	pair_close_plain(&pair, memory);
}

static struct qp_loop *removed_loop;
static const struct qp_ops *removed_ops;

static int arm_too_late(struct qp *qp, bool all)
{
	qp_loop_fail(removed_loop, 0, "device removed");
	return removed_ops->arm(qp, all);
}

/* The device goes when all was looked at, and can't be armed. */
TEST_CASE(fabric_rdma, does_not_sleep_if_it_can_t_be_woken)
{
	struct memory *memory;
	struct pair pair;
	struct player *a = &pair.players[0];
	struct qp_ops ops;

	REQUIRE(pair_open_plain(&pair, &memory));
	removed_loop = pair.loop;
	removed_ops = qp_loop_end(pair.loop, 0)->ops;
	ops = *removed_ops;
	ops.arm = arm_too_late;
	qp_loop_end(pair.loop, 0)->ops = &ops;
	CHECK(!prepare_sleep(&pair, a));
	take_records(a, &a->links[0], 1);
	CHECK_INT(a->links[0].error, -EIO);
	pair_close_plain(&pair, memory);
}

/* Detached by one side, the other one has not heard of it yet. */
TEST_CASE(fabric_rdma, forgets_a_ring_and_what_still_comes_of_it)
{
	struct memory *memory;
	const struct shape shape = {
		.seed = 1, .num_links = 2, .send_depth = 64, .size_max = 64};
	struct pair pair;
	struct player *a = &pair.players[0], *b = &pair.players[1];

	memory = memory_open();
	REQUIRE(memory && pair_open(&pair, memory, &shape));
	a->links[0].wanted = b->links[0].wanted = b->links[1].wanted = 10;
	turn(&pair, a);
	turn(&pair, b);
	a->fabric->ops->detach(a->fabric, &a->links[0].tx, &a->links[0].rx);
	/* All read there, so nothing is lost, whatever our WRITEs did. */
	CHECK_U64(a->links[0].tx.words->tail, a->links[0].tx.head);
	ring_map_close(&memory->staging[0][0]);
	b->links[0].wanted = 20;
	turn(&pair, b);
	send_records(b, &b->links[1], BURST);
	qp_loop_settle(pair.loop);
	CHECK_U64(take_records(a, &a->links[1], BURST), 10);
	CHECK_INT(a->links[1].error, 0);
	pair_close_plain(&pair, memory);
}

/* As a session ends in which the peer made no link of it, and speaks of it now. */
TEST_CASE(fabric_rdma, stores_nothing_into_a_ring_that_was_dropped)
{
	struct memory *memory;
	const struct shape shape = {
		.seed = 1, .num_links = 2, .send_depth = 64, .size_max = 64};
	struct pair pair;
	struct player *a = &pair.players[0];
	struct shmnet_ring_rx rx;

	memory = memory_open();
	REQUIRE(memory && pair_open(&pair, memory, &shape));
	rx = a->links[1].rx;
	fabric_rdma_drop_rx(a->fabric, ring_index(0, 0));
	fabric_rdma_drop_tx(a->fabric, ring_index(1, 0));
	ring_map_close(&memory->ring[0][0]);
	ring_map_close(&memory->staging[0][0]);
	qp_loop_inject(pair.loop, 0, IMM(0, ring_index(0, 0), 1));
	qp_loop_inject(pair.loop, 0, IMM(1, ring_index(1, 0), 1));
	CHECK_INT(a->fabric->ops->salvage(a->fabric, &rx), 0);
	CHECK_STR(fabric_why(a->fabric), "");
	pair_close_plain(&pair, memory);
}

/* ---- threads ---- */

struct worker_thread {
	pthread_t thread;
	struct pair *pair;
	struct player *player;
	uint64_t *stop;
};

static void *run_worker(void *arg)
{
	struct worker_thread *self = arg;
	struct player *player = self->player;
	struct pollfd fd = {.fd = player->fabric->wait_fd, .events = POLLIN};

	while (!__atomic_load_n(self->stop, __ATOMIC_RELAXED)) {
		if (take_turn(self->pair, player) || !prepare_sleep(self->pair, player))
			continue;
		/* Frames of our own don't wake us; they were all sent, or wait for room.
		 */
		if (has_frames(self->pair, player) || poll(&fd, 1, 20000) != 1)
			continue;
		player->fabric->ops->drain(player->fabric);
	}
	return NULL;
}

/* Control of both nodes: beats, looks, and carries what is under way. */
static bool run_control(struct pair *pair, uint64_t until)
{
	struct fabric_rdma_counters counters;
	uint64_t last = 0;

	for (unsigned i = 0; i < 50000000; i++) {
		qp_loop_step(pair->loop);
		if (i % 1024 != 0)
			continue;
		for (unsigned s = 0; s < 2; s++) {
			fabric_beat(pair->players[s].fabric);
			last += fabric_pulse(pair->players[s].fabric);
			CHECK_STR(fabric_why(pair->players[s].fabric), "");
			fabric_rdma_read(pair->players[s].fabric, &counters);
		}
		if (__atomic_load_n(&pair->players[0].links[0].rx.words->tail,
				    __ATOMIC_ACQUIRE) >= until &&
		    __atomic_load_n(&pair->players[1].links[0].rx.words->tail,
				    __ATOMIC_ACQUIRE) >= until)
			return last > 0;
	}
	return false;
}

TEST_CASE(fabric_rdma, worker_and_control_share_a_connection)
{
	const struct shape shape = {
		.seed = 7, .num_links = 1, .send_depth = 64, .size_max = 1};
	struct memory *memory = memory_open();
	struct worker_thread threads[2];
	struct pair pair;
	uint64_t stop = 0;

	REQUIRE(memory && pair_open(&pair, memory, &shape));
	for (unsigned s = 0; s < 2; s++) {
		threads[s] = (struct worker_thread){
			.pair = &pair, .player = &pair.players[s], .stop = &stop};
		pair.players[s].links[0].wanted = 20000;
	}
	for (unsigned s = 0; s < 2; s++)
		REQUIRE(pthread_create(&threads[s].thread, NULL, run_worker,
				       &threads[s]) == 0);
	CHECK(run_control(&pair, 20000 * shmnet_record_size(16)));
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (unsigned s = 0; s < 2; s++) {
		uint64_t one = 1;

		CHECK(write(pair.players[s].fabric->wait_fd, &one, sizeof(one)) > 0);
		pthread_join(threads[s].thread, NULL);
	}
	check_all_arrived(&pair);
	pair_close_plain(&pair, memory);
}
