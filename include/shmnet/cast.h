/*
 * The cast ring [13, 31, 32]: many writers, many readers, a ticker tape of slots of
 * one MTU. Pure functions over memory that all members map: no system call, no
 * allocation, no clock. C and C++.
 *
 * A writer uses struct shmnet_cast_writer, a reader struct shmnet_cast_reader; each
 * belongs to one thread. All sizes are in bytes.
 *
 *
 * Theory of operation
 * -------------------
 *
 *     a reader's cursor (private)                 head (W)
 *             |                                      |
 *     --------+---------+---------+--------+---------+---------+--------
 *      lap 7  | lap 7   | lap 6   | lap 7  | lap 7   | lap 6   | lap 6
 *      publ.  | publ.   | writing | publ.  | writing | publ.   | publ.
 *     --------+---------+---------+--------+---------+---------+--------
 *                       a hole: its writer           the stale slot:
 *                       is a lap late                next to be taken
 *
 * Positions are 64-bit slot counts that never wrap; a position's slot is
 * (position & (depth - 1)), its lap is position / depth + 1, so zeroed memory is
 * lap 0 and no position has been there. A slot is a header line and a payload. The
 * header begins with the slot's word {lap, state, writer}, and a lap in a word only
 * ever grows.
 *
 * Writers never wait for readers: they go into the stale slot. Nor do they wait for
 * each other: a slot that is still being written by somebody who is a lap late (slow,
 * stopped or dead) is passed over. Adding to W and then writing, without the
 * compare-and-swap of the word, puts two writers into one slot as soon as one of them
 * is paused for a lap, and what comes out is torn although its word looks right.
 *
 * Who owns what. A word belongs to nobody but is changed by compare-and-swap only;
 * while it says "writing" the slot behind it belongs to the writer it names. W may
 * be moved by anyone, one position at a time, once that position has been claimed or
 * passed over. Cursors and counts are private.
 *
 *   writer                                   reader
 *   ------                                   ------
 *   reserve: read W                (B)       read: read W               (B)
 *     read the word of its slot    (F)         check it, use the copy
 *     claim: {lap < L, empty or                read the word            (F)
 *       published} -> {L, writing} (C)         copy header and payload
 *     move W by one                (A)         read the word again      (D)
 *   fill the payload                             unchanged: deliver the copy
 *   submit: fill the header                      changed: lapped, the copy is void
 *     {L, writing} -> {L, published} (E)
 *
 * (A) release pairs with (B) acquire: who sees W beyond a position sees the claim of
 *     it, also if it was another writer that moved W. So an older lap in a slot below
 *     W is a hole, not a claim that is yet to come.
 * (C) The claim is an acquire: the stores into the payload stay behind it. And it is
 *     seen before them by (D): a reader that copied a byte of the new lap finds the
 *     word changed. On machines where a store may overtake the compare-and-swap
 *     before it, the fence after it is what keeps that promise.
 * (D) The payload is copied by plain loads, in any order, and an acquire fence stands
 *     between these and the second look at the word. So a copy that has a byte of the
 *     new lap comes with a second look that sees the new claim: the fence of (C) is
 *     before the store of that byte, this one after its load. The copy races with that
 *     writer, which is meant; nobody looks at it before it has proved valid.
 * (E) release pairs with (F) acquire: who sees "published" sees header and payload,
 *     and who claims the slot for the next lap writes after them.
 *
 * A writer that dies or stops between the claim and moving W blocks nobody: whoever
 * finds the slot at W claimed moves W for it.
 *
 * A writer that stopped between reading W and claiming may find, after a lap in which
 * its position was passed over, that the slot has become free, and claim it late.
 * Its word still grows, its frame is whole; readers that went by have counted a hole
 * and those that did not get the frame.
 *
 * Accounting. A reader passes each position once and counts it once: delivered, own
 * (its own frame, skipped), lapped (overwritten before it was read), hole (passed
 * over, given up by its writer, or not published in time), corrupt. So the sum of
 * these is how far the cursor moved. A position that is being written is waited for
 * until W is half a ring beyond it, or reclaim() clears it. A reader that was lapped
 * goes on three quarters of a ring behind W: in the oldest slots it would be lapped
 * again while it copies.
 *
 * Closing. close() sets a bit in W, which no writer moves from then on: reserve()
 * answers -ESHUTDOWN, readers drain to W and get -ESHUTDOWN there. A claim that had
 * not moved W by then has no position and is withdrawn by its writer. Who has a claim
 * below W may still publish it; a reader that drained sees that as any other slot that
 * is being written: it is asked again, until its owner declares the writer dead or
 * gives up on it with skip().
 *
 * Waking. There are no sleep numbers in this memory: with many readers a writer would
 * have to look at each. That is the fabric's. submit() ends, and read() begins, with
 * sequentially consistent operations, so "announce sleep, then read() once more"
 * against "submit(), then look who sleeps" loses no wake-up.
 *
 * Who gets a cast by the ring and who by a copy. A member that does not read the ring
 * (it is about to join, has no memory left, is on another machine) gets a copy in its
 * pair ring. Both sides must agree, to the frame, on which is which, although each
 * learns of the other, and of the ring, when its control plane comes to it. So the
 * writer decides, and the reader finds the decision before it finds the frame:
 *
 *   writer S, for reader R                   reader R, of a slot of S's
 *   ----------------------                   --------------------------
 *   R says that it reads the ring
 *   announce: in R's pair ring's words,
 *     {ring, since: S's next position} (G)
 *   claim, fill, submit              (E)     see "published"                   (F)
 *   no copies to R from now on               look for {ring, since}            (G)
 *                                              position >= since: deliver
 *                                              else: pass over, not counted
 *
 * (G) The announcement is a release before the claim, so with (E) and (F) in force who
 *     sees the first slot without a copy sees the announcement. It is never taken back:
 *     as long as both have the link and the ring, a position of S's is for R by the ring
 *     if and only if it is not below `since`, whenever R looks. Copies need no mark and
 *     are delivered as what they are; so each cast that S counts for R comes once,
 *     and none that S does not count.
 *     An announcement lives as long as the pair ring's memory, so the control plane sees
 *     to it that R has let go of it before S gets another ring to R, and that S never
 *     takes up a cast ring again that it has left.
 *
 * Losses. A reader can't tell whose frames it was lapped on. `cast_frames` in the pair
 * ring's words is how many S has put into cast rings for R, stored after they were
 * submitted: R, which loads it, then reads all its rings to their end, has lost what
 * is missing.
 *
 * A dead member leaves at most the slot that it was writing. Once it is certain that
 * it can't store any more (EOF of its socket; a timeout proves nothing) reclaim()
 * makes an empty slot of it. Until then the slot is a hole in every lap. A word names a
 * member, not one of its lives: whoever reclaims makes sure that the member is not back
 * and does not come back meanwhile, and who is back reclaims its own id before its
 * first reserve().
 *
 * A paused member loses nothing but its place: readers give its slot up after half a
 * ring, writers pass over it, and when it wakes its frame is whole but late.
 *
 * A hostile member, who may write to all of this, can forge and spoil frames in this
 * ring, which is why all members belong to one user. It can't do more:
 * - W moving back or beyond SHMNET_CAST_POSITION_MAX is refused (-EPROTO); W jumping
 *   ahead is as being lapped, and counted;
 * - a word with a state or writer that does not exist, or a lap that W does not
 *   account for, and a length or flags that no frame has, are counted as corrupt and
 *   passed; writers pass over such a slot too;
 * - lengths and words are copied once, checked, and the copy used: what is read lies
 *   in the slot, what is written in the caller's buffer;
 * - every call but reclaim(), which looks at each slot, ends after at most
 *   SHMNET_CAST_STEPS_MAX of them, however deep the ring.
 */
#ifndef SHMNET_CAST_H
#define SHMNET_CAST_H

#include <shmnet/ring.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHMNET_CAST_DEPTH_MIN 16u
#define SHMNET_CAST_DEPTH_MAX 65536u
#define SHMNET_CAST_HEAD_LEN  4096u /* the page before the slots */

/* Slots that reserve() or read() looks at before it gives up for now. */
#define SHMNET_CAST_STEPS_MAX 1024u

/* A ring ends there: 17 years of a million frames per second. */
#define SHMNET_CAST_POSITION_MAX (1ull << 49)
#define SHMNET_CAST_CLOSED	 (1ull << 63) /* in W */

/* A slot's word: 46 bits of lap, 2 of state, 16 of the writer's node id. */
#define SHMNET_CAST_LAP_SHIFT	18
#define SHMNET_CAST_STATE_SHIFT 16

enum shmnet_cast_state {
	SHMNET_CAST_EMPTY = 0, /* fresh, withdrawn or reclaimed */
	SHMNET_CAST_WRITING = 1,
	SHMNET_CAST_PUBLISHED = 2,
};

/* The first page of a shared file. */
struct shmnet_cast_head {
	uint64_t head; /* W, and the closed bit (A) */
	uint8_t pad0[120];
	uint64_t epoch; /* written before the file is shown to anybody */
	uint8_t pad1[120];
};

struct shmnet_cast_slot {
	uint64_t word; /* (C, E, F) */
	uint32_t length;
	uint32_t flags; /* SHMNET_RECORD_* */
	uint8_t pad[48];
	/* the payload follows */
};

/* Where it is mapped, and its geometry, which comes over the control channel. */
struct shmnet_cast_ring {
	struct shmnet_cast_head *head;
	uint8_t *slots;
	uint64_t depth;
	uint32_t room;	/* for a payload, in a slot */
	uint32_t shift; /* log2(depth) */
};

struct shmnet_cast_writer {
	struct shmnet_cast_ring ring;
	uint64_t position; /* of the claim */
	uint64_t head;	   /* the last W that passed the check */
	uint64_t holes;	   /* positions that this writer passed over */
	uint16_t id;
	bool claimed;
};

struct shmnet_cast_reader {
	struct shmnet_cast_ring ring;
	uint64_t cursor; /* the next position: ours, authoritative */
	uint64_t head;	 /* the last W that passed the check */
	uint64_t delivered, own, lapped, holes, corrupt;
	uint16_t id; /* whose frames are skipped; 0: nobody's */
	bool closed;
};

/* What read() copied. */
struct shmnet_cast_record {
	uint64_t position;
	uint32_t length;
	uint32_t flags;
	uint16_t writer;
};

/* ---- shapes ---- */

static inline bool shmnet_cast_depth_valid(uint64_t depth)
{
	return depth >= SHMNET_CAST_DEPTH_MIN && depth <= SHMNET_CAST_DEPTH_MAX &&
	       (depth & (depth - 1)) == 0;
}

/* Room for a payload: virtio-net header and a frame of one MTU with a VLAN tag. */
static inline uint32_t shmnet_cast_room(uint32_t mtu)
{
	return (mtu + SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + SHMNET_VLAN_HLEN +
		SHMNET_RING_ALIGN - 1) &
	       ~(SHMNET_RING_ALIGN - 1);
}

static inline uint64_t shmnet_cast_file_size(uint32_t depth, uint32_t mtu)
{
	return SHMNET_CAST_HEAD_LEN + (uint64_t)depth * (sizeof(struct shmnet_cast_slot) +
							 shmnet_cast_room(mtu));
}

static inline uint64_t shmnet_cast_word(uint64_t lap, enum shmnet_cast_state state,
					uint16_t writer)
{
	return lap << SHMNET_CAST_LAP_SHIFT | (uint64_t)state << SHMNET_CAST_STATE_SHIFT |
	       writer;
}

static inline uint64_t shmnet_cast_word_lap(uint64_t word)
{
	return word >> SHMNET_CAST_LAP_SHIFT;
}

static inline unsigned shmnet_cast_word_state(uint64_t word)
{
	return word >> SHMNET_CAST_STATE_SHIFT & 3;
}

static inline uint16_t shmnet_cast_word_writer(uint64_t word)
{
	return (uint16_t)word;
}

/* ---- the ring ---- */

/* `memory` is file_size() bytes, 64-byte aligned; the depth is a valid one. */
static inline void shmnet_cast_ring_init(struct shmnet_cast_ring *ring, void *memory,
					 uint32_t depth, uint32_t mtu)
{
	ring->head = (struct shmnet_cast_head *)memory;
	ring->slots = (uint8_t *)memory + SHMNET_CAST_HEAD_LEN;
	ring->depth = depth;
	ring->room = shmnet_cast_room(mtu);
	ring->shift = (uint32_t)__builtin_ctz(depth);
}

static inline struct shmnet_cast_slot *
shmnet_cast_slot_at(const struct shmnet_cast_ring *ring, uint64_t position)
{
	uint64_t size = sizeof(struct shmnet_cast_slot) + ring->room;

	return (struct shmnet_cast_slot *)(void *)(ring->slots +
						   (position & (ring->depth - 1)) * size);
}

static inline uint64_t shmnet_cast_lap(const struct shmnet_cast_ring *ring,
				       uint64_t position)
{
	return (position >> ring->shift) + 1;
}

/* Two laps of a ring that isn't deep. */
static inline uint64_t shmnet_cast_steps(const struct shmnet_cast_ring *ring)
{
	uint64_t laps = 2 * ring->depth;

	return laps < SHMNET_CAST_STEPS_MAX ? laps : SHMNET_CAST_STEPS_MAX;
}

/* (B) W with its closed bit, unchecked. */
static inline uint64_t shmnet_cast_load_head(const struct shmnet_cast_ring *ring)
{
	return __atomic_load_n(&ring->head->head, __ATOMIC_SEQ_CST);
}

/* (F) */
static inline uint64_t shmnet_cast_load_word(const struct shmnet_cast_slot *slot)
{
	return __atomic_load_n(&slot->word, __ATOMIC_SEQ_CST);
}

/* (C, E) */
static inline bool shmnet_cast_swap(uint64_t *place, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(place, &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/* No position is given out any more. Who closes twice closes once. */
static inline void shmnet_cast_close(struct shmnet_cast_ring *ring)
{
	__atomic_fetch_or(&ring->head->head, SHMNET_CAST_CLOSED, __ATOMIC_SEQ_CST);
}

/*
 * For a writer that is known to be dead, can't store any more and is not back: what it
 * was writing becomes empty. Answers how many slots that were; one, unless somebody
 * forged them.
 */
static inline uint64_t shmnet_cast_reclaim(struct shmnet_cast_ring *ring, uint16_t writer)
{
	uint64_t reclaimed = 0;

	for (uint64_t i = 0; i < ring->depth; i++) {
		struct shmnet_cast_slot *slot = shmnet_cast_slot_at(ring, i);
		uint64_t word = shmnet_cast_load_word(slot);

		if (shmnet_cast_word_state(word) != SHMNET_CAST_WRITING ||
		    shmnet_cast_word_writer(word) != writer)
			continue;
		reclaimed +=
			shmnet_cast_swap(&slot->word, word,
					 shmnet_cast_word(shmnet_cast_word_lap(word),
							  SHMNET_CAST_EMPTY, writer));
	}
	return reclaimed;
}

/* ---- by the ring, or by a copy ---- */

/*
 * (G) The writer tells the receiver of this pair ring that it gets what the writer
 * submits to the cast ring `id` at `since` or later by that ring only. `index` is the
 * writer's choice below SHMNET_RING_CASTS, one per ring; what was there is forgotten.
 */
static inline void shmnet_cast_announce(struct shmnet_ring_words *words, unsigned index,
					uint64_t id, uint64_t since)
{
	struct shmnet_ring_cast *cast = &words->casts[index];

	__atomic_store_n(&cast->ring, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&cast->since, since, __ATOMIC_SEQ_CST);
	__atomic_store_n(&cast->ring, id, __ATOMIC_SEQ_CST);
}

/* (G) The receiver looks: false if the writer has announced nothing for this ring. */
static inline bool shmnet_cast_find_since(const struct shmnet_ring_words *words,
					  uint64_t id, uint64_t *ret_since)
{
	for (unsigned i = 0; i < SHMNET_RING_CASTS; i++) {
		const struct shmnet_ring_cast *cast = &words->casts[i];
		uint64_t since;

		if (__atomic_load_n(&cast->ring, __ATOMIC_SEQ_CST) != id)
			continue;
		since = __atomic_load_n(&cast->since, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&cast->ring, __ATOMIC_SEQ_CST) != id)
			continue;
		*ret_since = since;
		return true;
	}
	return false;
}

/* ---- writer ---- */

/* `id` is the member's node id, not 0. */
static inline void shmnet_cast_writer_init(struct shmnet_cast_writer *writer,
					   const struct shmnet_cast_ring *ring,
					   uint16_t id)
{
	memset(writer, 0, sizeof(*writer));
	writer->ring = *ring;
	writer->id = id;
}

/* (B) 0, -ESHUTDOWN if the ring was closed, -EPROTO. */
static inline int shmnet_cast_writer_update(struct shmnet_cast_writer *writer)
{
	uint64_t head = shmnet_cast_load_head(&writer->ring);

	if (head & SHMNET_CAST_CLOSED)
		return -ESHUTDOWN;
	if (head < writer->head || head >= SHMNET_CAST_POSITION_MAX)
		return -EPROTO;
	writer->head = head;
	return 0;
}

/* Our claim's word in another state. False if somebody has changed it. */
static inline bool shmnet_cast_finish(struct shmnet_cast_writer *writer,
				      enum shmnet_cast_state state)
{
	struct shmnet_cast_slot *slot =
		shmnet_cast_slot_at(&writer->ring, writer->position);
	uint64_t lap = shmnet_cast_lap(&writer->ring, writer->position);

	writer->claimed = false;
	return shmnet_cast_swap(&slot->word,
				shmnet_cast_word(lap, SHMNET_CAST_WRITING, writer->id),
				shmnet_cast_word(lap, state, writer->id));
}

/*
 * (A) Moves W over the claim. It may have been moved by another; else the ring was
 * closed meanwhile and the claim has no position.
 */
static inline int shmnet_cast_settle(struct shmnet_cast_writer *writer)
{
	uint64_t *place = &writer->ring.head->head, position = writer->position;
	uint64_t head;

	writer->claimed = true;
	if (shmnet_cast_swap(place, position, position + 1))
		return 0;
	head = shmnet_cast_load_head(&writer->ring);
	if ((head & ~SHMNET_CAST_CLOSED) > position)
		return 0;
	shmnet_cast_finish(writer, SHMNET_CAST_EMPTY);
	return head & SHMNET_CAST_CLOSED ? -ESHUTDOWN : -EPROTO;
}

/* Moves W past a slot that is claimed already or can't be. */
static inline void shmnet_cast_pass(struct shmnet_cast_writer *writer, bool hole)
{
	uint64_t *place = &writer->ring.head->head;

	if (shmnet_cast_swap(place, writer->head, writer->head + 1) && hole)
		writer->holes++;
}

/* One try at the slot at W: 1 if it is ours (C), 0 if W is to be read again. */
static inline int shmnet_cast_claim(struct shmnet_cast_writer *writer)
{
	struct shmnet_cast_slot *slot = shmnet_cast_slot_at(&writer->ring, writer->head);
	uint64_t lap = shmnet_cast_lap(&writer->ring, writer->head);
	uint64_t word = shmnet_cast_load_word(slot);
	uint64_t found = shmnet_cast_word_lap(word);

	if (found >= lap) {
		/* Later than W knows: only the truth if W has moved on by now. */
		if (found == lap || shmnet_cast_load_head(&writer->ring) == writer->head)
			shmnet_cast_pass(writer, found > lap);
		return 0;
	}
	if (shmnet_cast_word_state(word) == SHMNET_CAST_WRITING) {
		shmnet_cast_pass(writer, true);
		return 0;
	}
	if (!shmnet_cast_swap(&slot->word, word,
			      shmnet_cast_word(lap, SHMNET_CAST_WRITING, writer->id)))
		return 0;
#if !defined(__x86_64__)
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
	writer->position = writer->head;
	return 1;
}

/*
 * A slot for the next frame, written to in place; there are ring.room bytes. 0 and the
 * payload's address; -ESHUTDOWN if the ring is closed, -ENOBUFS if all slots are held,
 * or SHMNET_CAST_STEPS_MAX in a row, or others were faster each time, -EPROTO if W is
 * nonsense. A later reserve() before submit() gives the same place. Be quick: readers
 * wait for what is reserved.
 */
static inline int shmnet_cast_reserve(struct shmnet_cast_writer *writer,
				      uint8_t **ret_payload)
{
	uint64_t tries = shmnet_cast_steps(&writer->ring);
	int ret;

	while (!writer->claimed) {
		ret = shmnet_cast_writer_update(writer);
		if (ret < 0)
			return ret;
		if (shmnet_cast_claim(writer)) {
			ret = shmnet_cast_settle(writer);
			if (ret < 0)
				return ret;
		} else if (--tries == 0) {
			return -ENOBUFS;
		}
	}
	*ret_payload =
		(uint8_t *)(shmnet_cast_slot_at(&writer->ring, writer->position) + 1);
	return 0;
}

/*
 * (E) Publishes what reserve() gave room for; `length` is 1 to ring.room. -EPROTO if
 * the slot was taken away: then others took this writer for dead.
 */
static inline int shmnet_cast_submit(struct shmnet_cast_writer *writer, uint32_t length,
				     uint32_t flags)
{
	struct shmnet_cast_slot *slot =
		shmnet_cast_slot_at(&writer->ring, writer->position);

	__atomic_store_n(&slot->length, length, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->flags, flags, __ATOMIC_RELAXED);
	return shmnet_cast_finish(writer, SHMNET_CAST_PUBLISHED) ? 0 : -EPROTO;
}

/* Gives back what reserve() gave: a hole to all readers. */
static inline void shmnet_cast_withdraw(struct shmnet_cast_writer *writer)
{
	if (writer->claimed)
		shmnet_cast_finish(writer, SHMNET_CAST_EMPTY);
}

/* ---- reader ---- */

/* Where a reader begins that wants nothing of what went before. */
static inline uint64_t shmnet_cast_now(const struct shmnet_cast_ring *ring)
{
	return shmnet_cast_load_head(ring) & (SHMNET_CAST_POSITION_MAX - 1);
}

/* Begins at `position`: 0 for a ring from its start, or now(). */
static inline void shmnet_cast_reader_init(struct shmnet_cast_reader *reader,
					   const struct shmnet_cast_ring *ring,
					   uint16_t id, uint64_t position)
{
	memset(reader, 0, sizeof(*reader));
	reader->ring = *ring;
	reader->id = id;
	reader->cursor = reader->head = position;
}

/* Goes on where there is time to copy before the next lap comes. */
static inline void shmnet_cast_jump(struct shmnet_cast_reader *reader)
{
	uint64_t depth = reader->ring.depth;
	uint64_t to = reader->head - depth + depth / 4;

	reader->lapped += to - reader->cursor;
	reader->cursor = to;
}

/* (B) Reads W, and jumps if it is more than a ring ahead. 0 or -EPROTO. */
static inline int shmnet_cast_reader_update(struct shmnet_cast_reader *reader)
{
	uint64_t head = shmnet_cast_load_head(&reader->ring);
	bool closed = head & SHMNET_CAST_CLOSED;

	head &= ~SHMNET_CAST_CLOSED;
	if (head < reader->head || head > SHMNET_CAST_POSITION_MAX ||
	    (reader->closed && (!closed || head != reader->head)))
		return -EPROTO;
	reader->head = head;
	reader->closed = closed;
	if (head - reader->cursor > reader->ring.depth)
		shmnet_cast_jump(reader);
	return 0;
}

/* Passes a position whose writer takes too long. */
static inline void shmnet_cast_skip(struct shmnet_cast_reader *reader)
{
	if (reader->cursor == reader->head)
		return;
	reader->holes++;
	reader->cursor++;
}

/*
 * (D) The thread sanitizer is kept out of this: the race with the writer of the next
 * lap is meant, and found out by the second look at the word. For it `length` is rounded
 * up to 8: the buffer has ring.room bytes, as the slot has.
 */
#if defined(__SANITIZE_THREAD__)
#define SHMNET_CAST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHMNET_CAST_TSAN 1
#endif
#endif
#ifdef SHMNET_CAST_TSAN
__attribute__((no_sanitize("thread")))
#endif
static inline void
shmnet_cast_copy(uint64_t *to, const uint64_t *from, uint32_t length)
{
#ifdef SHMNET_CAST_TSAN
	for (uint32_t i = 0; i < (length + 7) / 8; i++)
		to[i] = *(const volatile uint64_t *)&from[i];
#else
	memcpy(to, from, length);
#endif
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

/* What a look at the slot at the cursor may find. */
enum shmnet_cast_found {
	SHMNET_CAST_FOUND_FRAME,
	SHMNET_CAST_FOUND_OWN,
	SHMNET_CAST_FOUND_HOLE,
	SHMNET_CAST_FOUND_WRITING,
	SHMNET_CAST_FOUND_LATER, /* a later lap */
	SHMNET_CAST_FOUND_CORRUPT,
};

/* By the word alone. */
static inline enum shmnet_cast_found
shmnet_cast_judge(const struct shmnet_cast_reader *reader, uint64_t word)
{
	uint64_t lap = shmnet_cast_lap(&reader->ring, reader->cursor);
	uint16_t writer = shmnet_cast_word_writer(word);

	if (shmnet_cast_word_lap(word) != lap)
		return shmnet_cast_word_lap(word) < lap ? SHMNET_CAST_FOUND_HOLE
							: SHMNET_CAST_FOUND_LATER;
	if (writer < SHMNET_NODE_ID_MIN || writer > SHMNET_NODE_ID_MAX)
		return SHMNET_CAST_FOUND_CORRUPT;
	switch (shmnet_cast_word_state(word)) {
	case SHMNET_CAST_EMPTY:
		return SHMNET_CAST_FOUND_HOLE;
	case SHMNET_CAST_WRITING:
		return SHMNET_CAST_FOUND_WRITING;
	case SHMNET_CAST_PUBLISHED:
		return writer == reader->id ? SHMNET_CAST_FOUND_OWN
					    : SHMNET_CAST_FOUND_FRAME;
	default:
		return SHMNET_CAST_FOUND_CORRUPT;
	}
}

/* Copies, looks again, and only then believes what it copied. */
static inline enum shmnet_cast_found
shmnet_cast_look(const struct shmnet_cast_reader *reader, uint64_t *buffer,
		 struct shmnet_cast_record *record)
{
	const struct shmnet_cast_slot *slot =
		shmnet_cast_slot_at(&reader->ring, reader->cursor);
	uint64_t word = shmnet_cast_load_word(slot), again;
	enum shmnet_cast_found found = shmnet_cast_judge(reader, word);
	bool valid;

	if (found != SHMNET_CAST_FOUND_FRAME)
		return found;
	record->position = reader->cursor;
	record->writer = shmnet_cast_word_writer(word);
	record->length = __atomic_load_n(&slot->length, __ATOMIC_ACQUIRE);
	record->flags = __atomic_load_n(&slot->flags, __ATOMIC_ACQUIRE);
	valid = record->length > 0 && record->length <= reader->ring.room &&
		!(record->flags & ~SHMNET_RECORD_FLAGS);
	if (valid)
		shmnet_cast_copy(buffer, (const uint64_t *)(const void *)(slot + 1),
				 record->length);
	again = shmnet_cast_load_word(slot); /* D */
	if (again == word)
		return valid ? SHMNET_CAST_FOUND_FRAME : SHMNET_CAST_FOUND_CORRUPT;
	return shmnet_cast_judge(reader, again) == SHMNET_CAST_FOUND_LATER
		       ? SHMNET_CAST_FOUND_LATER
		       : SHMNET_CAST_FOUND_CORRUPT;
}

/*
 * A slot of a later lap, or one that is being written: W decides. 1 if the cursor has
 * moved, 0 if there is nothing to do but wait, -EPROTO.
 */
static inline int shmnet_cast_resolve(struct shmnet_cast_reader *reader,
				      enum shmnet_cast_found found)
{
	uint64_t cursor = reader->cursor;
	int ret = shmnet_cast_reader_update(reader);

	if (ret < 0)
		return ret;
	if (reader->cursor != cursor)
		return 1;
	if (found == SHMNET_CAST_FOUND_WRITING) {
		if (reader->head - cursor <= reader->ring.depth / 2)
			return 0;
		shmnet_cast_skip(reader);
	} else if (reader->head - cursor == reader->ring.depth) {
		shmnet_cast_jump(reader);
	} else {
		reader->corrupt++;
		reader->cursor++;
	}
	return 1;
}

/* Counts what was found at the cursor and moves it. */
static inline void shmnet_cast_count(struct shmnet_cast_reader *reader,
				     enum shmnet_cast_found found)
{
	reader->cursor++;
	reader->delivered += found == SHMNET_CAST_FOUND_FRAME;
	reader->own += found == SHMNET_CAST_FOUND_OWN;
	reader->holes += found == SHMNET_CAST_FOUND_HOLE;
	reader->corrupt += found == SHMNET_CAST_FOUND_CORRUPT;
}

/*
 * The next frame that is not our own, copied to `buffer` of ring.room bytes, 8-byte
 * aligned. 1 and the record; 0 if there is none now (what was passed is counted);
 * -EAGAIN if there was none in many positions: there may be more, don't sleep;
 * -ESHUTDOWN if the ring is closed and drained, -EPROTO if W is nonsense. What is in
 * the buffer counts only with 1.
 */
static inline int shmnet_cast_read(struct shmnet_cast_reader *reader, void *buffer,
				   struct shmnet_cast_record *ret_record)
{
	struct shmnet_cast_record record;
	enum shmnet_cast_found found;
	int ret;

	for (uint64_t steps = shmnet_cast_steps(&reader->ring); steps > 0; steps--) {
		if (reader->cursor == reader->head) {
			ret = shmnet_cast_reader_update(reader);
			if (ret < 0)
				return ret;
			if (reader->cursor == reader->head)
				return reader->closed ? -ESHUTDOWN : 0;
		}
		found = shmnet_cast_look(reader, (uint64_t *)buffer, &record);
		if (found == SHMNET_CAST_FOUND_WRITING ||
		    found == SHMNET_CAST_FOUND_LATER) {
			ret = shmnet_cast_resolve(reader, found);
			if (ret <= 0)
				return ret;
			continue;
		}
		shmnet_cast_count(reader, found);
		if (found == SHMNET_CAST_FOUND_FRAME) {
			*ret_record = record;
			return 1;
		}
	}
	return -EAGAIN;
}

#ifdef __cplusplus
}

static_assert(sizeof(struct shmnet_cast_head) == 256, "part of the wire format");
static_assert(sizeof(struct shmnet_cast_slot) == 64, "part of the wire format");
#else
_Static_assert(sizeof(struct shmnet_cast_head) == 256, "part of the wire format");
_Static_assert(sizeof(struct shmnet_cast_slot) == 64, "part of the wire format");
#endif

#endif
