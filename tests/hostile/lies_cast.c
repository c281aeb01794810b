/*
 * Lies in and about cast rings. In a shared one nobody can be named who wrote nonsense
 * (shmnet/cast.h), so these end with the ring; what is said of rings is said by somebody.
 * See hostile.h.
 */
#include "hostile.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEPTH 256

/* Later than any that there was, if later liars have higher ids. */
static uint64_t next_epoch(const struct session *session)
{
	static unsigned count;

	return session->self->id * 10000ull + count++;
}

static void fill_cast(struct session *session, struct peer_message *ret_message)
{
	struct peer_cast *cast = &ret_message->cast;

	memset(ret_message, 0, sizeof(*ret_message));
	ret_message->type = PEER_MESSAGE_CAST;
	snprintf(cast->network, sizeof(cast->network), "%s", session->self->network);
	cast->id = random_next(&session->random);
	if (session->cast_fd >= 0)
		memfd_get_id(session->cast_fd, &cast->id);
	cast->depth = DEPTH;
	memset(cast->label, 0xff, sizeof(cast->label));
	cast->epoch = next_epoch(session);
	cast->maker = session->self->id;
}

static void make_ring(struct session *session)
{
	cast_map_close(&session->cast_map);
	if (session->cast_fd >= 0)
		close(session->cast_fd);
	if (memfd_cast_create(DEPTH, session->self->mtu, &session->cast_fd) < 0 ||
	    cast_map_open(session->cast_fd, DEPTH, session->self->mtu, true,
			  &session->cast_map) < 0)
		die("cast ring");
	shmnet_cast_ring_init(&session->cast, session->cast_map.base, DEPTH,
			      session->self->mtu);
}

static void offer_as(struct session *session, uint8_t label)
{
	struct peer_message message;

	fill_cast(session, &message);
	message.cast.label[5] = label;
	send_message(session, &message, &session->cast_fd, 1);
}

/* One that all take, as its epoch is the latest. */
static void offer_ring(struct session *session)
{
	make_ring(session);
	offer_as(session, 0xff);
}

static void cast_head(struct session *session, unsigned round)
{
	if (round % 20 == 0)
		offer_ring(session);
	else
		__atomic_store_n(&session->cast.head->head, random_next(&session->random),
				 __ATOMIC_SEQ_CST);
	send_frames(session, 1);
}

static void cast_closed(struct session *session, unsigned round)
{
	if (round % 20 == 0)
		offer_ring(session);
	else
		__atomic_fetch_or(&session->cast.head->head, SHMNET_CAST_CLOSED,
				  __ATOMIC_SEQ_CST);
	send_frames(session, 1);
}

static void cast_offer(struct session *session, unsigned round)
{
	if (round == 0)
		offer_ring(session);
}

/* Words, lengths, flags and payloads of slots near W, and W itself now and then. */
static void cast_scribble(struct session *session)
{
	uint64_t random = session->random | 1;

	while (flips_on(session)) {
		uint64_t value = random_next(&random);
		struct shmnet_cast_slot *slot;

		slot = shmnet_cast_slot_at(
			&session->cast, shmnet_cast_now(&session->cast) + value % 16 - 8);
		if (value >> 60 == 0)
			__atomic_fetch_add(&session->cast.head->head, value & 7,
					   __ATOMIC_RELAXED);
		else if (value >> 60 < 6)
			__atomic_store_n(
				&slot->word,
				shmnet_cast_word(
					shmnet_cast_lap(&session->cast,
							shmnet_cast_now(&session->cast)),
					(enum shmnet_cast_state)(value >> 8 & 3),
					(uint16_t)(value >> 10 & 3)),
				__ATOMIC_RELAXED);
		else if (value >> 60 < 10)
			__atomic_store_n(&slot->length, (uint32_t)(value >> 8),
					 __ATOMIC_RELAXED);
		else
			__atomic_store_n(&slot->flags, (uint32_t)(value >> 8) & 7,
					 __ATOMIC_RELAXED);
		sched_yield();
	}
}

static void cast_hole(struct session *session)
{
	while (flips_on(session)) {
		if (session->cast_fd >= 0)
			fallocate(session->cast_fd,
				  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 30);
		sched_yield();
	}
}

/* Each label that there is: the groups are few, and others need them. */
static void cast_labels(struct session *session, unsigned round)
{
	make_ring(session);
	offer_as(session, (uint8_t)round);
}

/*
 * A ring that has another label for each victim: they pass it on to one another, and each
 * has been told something else.
 */
static void cast_split(struct session *session, unsigned round)
{
	static int shared_fd = -1;

	if (session->cast_fd < 0 && shared_fd >= 0)
		session->cast_fd = dup(shared_fd);
	else if (session->cast_fd < 0)
		make_ring(session);
	shared_fd = session->cast_fd;
	offer_as(session, (uint8_t)(session->id + round));
}

/* What it says is another ring than what comes along. */
static void cast_id(struct session *session, unsigned round)
{
	struct peer_message message;

	(void)round;
	make_ring(session);
	fill_cast(session, &message);
	message.cast.id++;
	send_message(session, &message, &session->cast_fd, 1);
}

static void cast_fd(struct session *session, unsigned round)
{
	struct peer_message message;

	(void)round;
	fill_cast(session, &message);
	send_message(session, &message, &session->rx_fd, 1);
}

static void cast_network(struct session *session, unsigned round)
{
	struct peer_message message;

	(void)round;
	fill_cast(session, &message);
	snprintf(message.cast.network, sizeof(message.cast.network), "none");
	send_message(session, &message, &session->rx_fd, 1);
}

/* Another shape of what is known. */
static void cast_shape(struct session *session, unsigned round)
{
	struct peer_message message;

	if (round > 0)
		return;
	offer_ring(session);
	fill_cast(session, &message);
	message.cast.depth *= 2;
	send_message(session, &message, &session->cast_fd, 1);
}

static void cast_lane(struct session *session, unsigned round)
{
	struct peer_message message;

	if (round > 0)
		return;
	offer_ring(session);
	fill_cast(session, &message);
	message.cast.epoch = 0;
	message.cast.lane = true;
	message.cast.maker = session->id;
	send_message(session, &message, &session->cast_fd, 1);
}

/* What the pair ring's words say of casts. */
static void cast_words(struct session *session)
{
	uint64_t random = session->random | 1;
	struct shmnet_ring_words *words = session->tx.words;

	while (flips_on(session)) {
		uint64_t value = random_next(&random);

		__atomic_store_n(&words->cast_frames, value, __ATOMIC_RELAXED);
		__atomic_store_n(&words->casts[value % SHMNET_RING_CASTS].ring,
				 random_next(&random), __ATOMIC_RELAXED);
		__atomic_store_n(&words->casts[value % SHMNET_RING_CASTS].since,
				 random_next(&random), __ATOMIC_RELAXED);
		sched_yield();
	}
}

const struct lie cast_lies[] = {
	{"cast-head", EXPECT_EITHER, NULL, cast_head, NULL},
	{"cast-closed", EXPECT_EITHER, NULL, cast_closed, NULL},
	{"cast-scribble", EXPECT_EITHER, NULL, cast_offer, cast_scribble},
	{"cast-hole", EXPECT_EITHER, NULL, cast_offer, cast_hole},
	{"cast-labels", EXPECT_KEPT, NULL, cast_labels, NULL},
	{"cast-split", EXPECT_KEPT, NULL, cast_split, NULL},
	{"cast-id", EXPECT_QUARANTINE, NULL, cast_id, NULL},
	{"cast-fd", EXPECT_QUARANTINE, NULL, cast_fd, NULL},
	{"cast-network", EXPECT_QUARANTINE, NULL, cast_network, NULL},
	{"cast-shape", EXPECT_QUARANTINE, NULL, cast_shape, NULL},
	{"cast-lane", EXPECT_QUARANTINE, NULL, cast_lane, NULL},
	{"cast-words", EXPECT_KEPT, NULL, NULL, cast_words},
	{NULL, EXPECT_EITHER, NULL, NULL, NULL},
};
