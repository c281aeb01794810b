/*
 * The pair ring [14, 31, 33]: one transmitter, one receiver, a byte ring of
 * records in the receiver's memory. Pure functions over that memory: no system
 * call, no allocation, no clock. C and C++.
 *
 * A transmitter uses struct shmnet_ring_tx, a receiver struct shmnet_ring_rx;
 * each belongs to one thread. All sizes are in bytes.
 *
 *
 * Theory of operation
 * -------------------
 *
 *          tail (R)                    head (W)
 *             |                           |
 *     --------+---------+------+----------+-------------------------
 *       free  | record  |record|  record  |  free     | (mapped again)
 *     --------+---------+------+----------+-------------------------
 *
 * Positions are 64-bit byte counts that never wrap; a position's place is
 * (position & (size - 1)). The data is mapped twice back to back, so a record
 * that crosses the end is contiguous and no record is ever split or padded.
 *
 * A record is a 16-byte header and a payload, padded to 64 bytes: what is
 * written by one core and read by another shares no cache line with its
 * neighbour. Records are as long as their frames: a 60-byte frame takes two
 * lines, a 64 KiB super-frame takes a thousand.
 *
 * Who owns what. W is written by the transmitter only, R by the receiver only.
 * The words in shared memory are *published copies*: each side's own position
 * lives in its private struct and is never read back. A peer that scribbles
 * over the shared words, or punches a hole into the memory, changes what we
 * believe of *it*, never what we believe of ourselves.
 *
 *   transmitter                              receiver
 *   -----------                              --------
 *   reserve: read R            (D)           poll: read W             (B)
 *     check it, use the copy                   check it, use the copy
 *   fill the payload                         peek: copy the header, check it
 *   submit: fill the header                  read the payload
 *   publish: write W           (A)           release; credit: write R (C)
 *
 * (A) release pairs with (B) acquire: who sees W sees the records below it.
 *     Without it a header could be read before it is written.
 * (C) release pairs with (D) acquire: who sees R may overwrite what lies below
 *     it; R is the transmitter's licence. Without it a payload could be
 *     overwritten while its last bytes are still being read.
 * (E) The sequence word of a header is written with release after the rest of
 *     the record and read with acquire. With (A) and (B) in force that adds
 *     nothing; it is what salvage() relies on, which reads beyond W.
 *
 * Sequence. It is the record's position XOR a random salt that both sides got
 * over the control channel when the ring was made. A header of an earlier lap,
 * or payload that looks like a header, has another one, so nothing is ever
 * zeroed. A ring that is made anew has a new salt (and new memory).
 *
 * Sleeping. A receiver that is about to sleep writes a number that it has not
 * used before into `asleep`, then looks at W once more. A transmitter writes W,
 * then looks at `asleep`, and rings the doorbell unless it is 0 or the number
 * for which it rang last. Both do "store, then load the other's word" with
 * sequential consistency (F, G), so at least one of them sees the other's
 * store: the receiver does not sleep, or the transmitter rings. The number,
 * and not a flag, because a transmitter that rang must be able to tell "still
 * asleep, my bell is on its way" from "asleep again". `waiting` and R are the
 * same protocol the other way round, for a transmitter that waits for room.
 *
 * `beat` is no part of it: the transmitter's node changes it a few times a second, by
 * its control thread, so that a ring without traffic shows life, too.
 *
 * A hostile or dead peer can
 * - publish nonsense: a W or R out of range, off the 64-byte grid or moving
 *   back is refused (-EPROTO) and nothing is consumed; so is a header whose
 *   sequence, length or flags are wrong;
 * - change a record while we read it: headers are copied once and only the
 *   copy is used; the caller does the same with the payload;
 * - stop anywhere: what it has not published is not seen, and after its death
 *   salvage() delivers the records it had finished [31];
 * - lie about sleeping: it misses its own doorbell.
 *
 * On RDMA the transmitter fills a ring of its own, from which contiguous records are
 * written to the same place of the receiver's, any number with one WRITE. Of the words
 * each side has its own, which no device reaches: W and R travel as immediates, and
 * who gets one stores it there itself. `asleep`, `waiting` and `beat` are not used, and
 * there is no salvage(): the receiver believes completions, never memory.
 *
 * What is kept free. A frame may not take the last SHMNET_RING_COMMAND_ROOM
 * bytes, so that commands find room in a ring that is full of frames.
 * A caller that does not know a frame's length beforehand reserves the largest.
 */
#ifndef SHMNET_RING_H
#define SHMNET_RING_H

#include <shmnet/wire.h>

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHMNET_RING_ALIGN    64u
#define SHMNET_RING_SIZE_MIN (256u << 10)
#define SHMNET_RING_SIZE_MAX                                                             \
	(512u << 20)		    /* in lines: half of what an RDMA immediate holds */
#define SHMNET_RING_WORDS_LEN 4096u /* the page before the data, in a shared file */

/* Payload of a frame's record: virtio-net header and frame. */
#define SHMNET_RING_PAYLOAD_MAX (SHMNET_VNET_HLEN + SHMNET_FRAME_MAX)
#define SHMNET_RING_COMMAND_MAX 4080u

/* What frames leave free, in bytes. */
#define SHMNET_RING_COMMAND_ROOM 16384u

/* Record flags. */
#define SHMNET_RECORD_COMMAND 0x1u /* payload is a command, not a frame [42] */
#define SHMNET_RECORD_CAST    0x2u /* broadcast or multicast frame */
#define SHMNET_RECORD_FLAGS   0x3u

/*
 * Casts by a cast ring (see shmnet/cast.h): the transmitter's casts into the ring of
 * this id are for the receiver from that position on.
 */
#define SHMNET_RING_CASTS 64
struct shmnet_ring_cast {
	uint64_t ring; /* 0: none */
	uint64_t since;
};

struct shmnet_ring_header {
	uint32_t length; /* of the payload */
	uint32_t flags;
	uint64_t sequence; /* position ^ salt (E) */
};

/* At the start of a shared file, before the data; each line has one writer. */
struct shmnet_ring_words {
	uint64_t head;	      /* W: transmitter (A) */
	uint32_t waiting;     /* transmitter: number of its wait for room, or 0 */
	uint32_t beat;	      /* transmitter: changes as long as its node lives */
	uint64_t cast_frames; /* transmitter: in cast rings, for the receiver, so far */
	uint8_t pad0[104];
	uint64_t tail;	 /* R: receiver (C) */
	uint32_t asleep; /* receiver: number of its sleep, or 0 */
	uint8_t pad1[116];
	struct shmnet_ring_cast casts[SHMNET_RING_CASTS]; /* transmitter */
};

struct shmnet_ring_tx {
	uint8_t *data; /* mapped twice */
	struct shmnet_ring_words *words;
	uint64_t mask; /* size - 1 */
	uint64_t salt;
	uint64_t head;	    /* where the next record goes: ours, authoritative */
	uint64_t published; /* what the peer was told of it */
	uint64_t tail;	    /* the last R that passed the check */
	uint32_t rung;	    /* the sleep for which the doorbell was rung */
	uint32_t index;	    /* of the ring on its connection; for the fabric */
};

struct shmnet_ring_rx {
	const uint8_t *data; /* mapped twice */
	struct shmnet_ring_words *words;
	uint64_t mask;
	uint64_t salt;
	uint64_t tail;	   /* the next record to read: ours, authoritative */
	uint64_t credited; /* what the peer was told of it */
	uint64_t head;	   /* the last W that passed the check */
	uint32_t rung;	   /* the wait for which the doorbell was rung */
	uint32_t index;	   /* of the ring on its connection; for the fabric */
};

/* What peek() found. `payload` points into shared memory: copy before you look. */
struct shmnet_record {
	const uint8_t *payload;
	uint32_t length;
	uint32_t flags;
};

static inline uint64_t shmnet_record_size(uint64_t length)
{
	uint64_t size = sizeof(struct shmnet_ring_header) + length;

	return (size + SHMNET_RING_ALIGN - 1) & ~(uint64_t)(SHMNET_RING_ALIGN - 1);
}

static inline bool shmnet_ring_size_valid(uint64_t size)
{
	return size >= SHMNET_RING_SIZE_MIN && size <= SHMNET_RING_SIZE_MAX &&
	       (size & (size - 1)) == 0;
}

/* Both sides start at position 0 of fresh memory. */
static inline void shmnet_ring_tx_init(struct shmnet_ring_tx *tx,
				       struct shmnet_ring_words *words, uint8_t *data,
				       uint64_t size, uint64_t salt)
{
	memset(tx, 0, sizeof(*tx));
	tx->data = data;
	tx->words = words;
	tx->mask = size - 1;
	tx->salt = salt;
}

static inline void shmnet_ring_rx_init(struct shmnet_ring_rx *rx,
				       struct shmnet_ring_words *words,
				       const uint8_t *data, uint64_t size, uint64_t salt)
{
	memset(rx, 0, sizeof(*rx));
	rx->data = data;
	rx->words = words;
	rx->mask = size - 1;
	rx->salt = salt;
}

/* ---- life ---- */

/*
 * What the two sides see of each other's life, by any thread. Nothing is ordered by it
 * and nothing believed: all that counts is whether a number changed.
 */
static inline void shmnet_ring_beat(const struct shmnet_ring_tx *tx, uint32_t beat)
{
	__atomic_store_n(&tx->words->beat, beat, __ATOMIC_RELAXED);
}

static inline uint64_t shmnet_ring_tx_pulse(const struct shmnet_ring_tx *tx)
{
	return __atomic_load_n(&tx->words->tail, __ATOMIC_RELAXED);
}

static inline uint64_t shmnet_ring_rx_pulse(const struct shmnet_ring_rx *rx)
{
	return __atomic_load_n(&rx->words->head, __ATOMIC_RELAXED) +
	       __atomic_load_n(&rx->words->beat, __ATOMIC_RELAXED);
}

/* ---- transmitter ---- */

/* Bytes in the ring that the peer has not credited, as far as we know. */
static inline uint64_t shmnet_ring_tx_used(const struct shmnet_ring_tx *tx)
{
	return tx->head - tx->tail;
}

/* Takes the peer's word for R: between its last one and what it was shown. */
static inline int shmnet_ring_accept_tail(struct shmnet_ring_tx *tx, uint64_t tail)
{
	if (tail - tx->tail > tx->published - tx->tail || tail & (SHMNET_RING_ALIGN - 1))
		return -EPROTO;
	tx->tail = tail;
	return 0;
}

/* (D) Reads R. 0 or -EPROTO. */
static inline int shmnet_ring_update_tail(struct shmnet_ring_tx *tx)
{
	return shmnet_ring_accept_tail(
		tx, __atomic_load_n(&tx->words->tail, __ATOMIC_ACQUIRE));
}

static inline bool shmnet_ring_has_room(const struct shmnet_ring_tx *tx, uint64_t need)
{
	return tx->mask + 1 - shmnet_ring_tx_used(tx) >= need;
}

/*
 * Room for a payload of up to `length` bytes, written to in place. 0 and the
 * payload's address; -ENOBUFS if the ring is full, -EPROTO if the peer's R is
 * nonsense. A later reserve() before submit() gives the same place.
 */
static inline int shmnet_ring_reserve(struct shmnet_ring_tx *tx, uint32_t length,
				      uint32_t flags, uint8_t **ret_payload)
{
	uint64_t need = shmnet_record_size(length);
	int ret;

	if (!(flags & SHMNET_RECORD_COMMAND))
		need += SHMNET_RING_COMMAND_ROOM;
	if (!shmnet_ring_has_room(tx, need)) {
		ret = shmnet_ring_update_tail(tx);
		if (ret < 0)
			return ret;
		if (!shmnet_ring_has_room(tx, need))
			return -ENOBUFS;
	}
	*ret_payload =
		tx->data + (tx->head & tx->mask) + sizeof(struct shmnet_ring_header);
	return 0;
}

/* Finishes the record that reserve() gave room for; `length` at most what was reserved.
 */
static inline void shmnet_ring_submit(struct shmnet_ring_tx *tx, uint32_t length,
				      uint32_t flags)
{
	struct shmnet_ring_header *header =
		(struct shmnet_ring_header *)(void *)(tx->data + (tx->head & tx->mask));

	header->length = length;
	header->flags = flags;
	__atomic_store_n(&header->sequence, tx->head ^ tx->salt,
			 __ATOMIC_RELEASE); /* E */
	tx->head += shmnet_record_size(length);
}

/* (A, F) Shows the peer every record submitted so far. */
static inline void shmnet_ring_publish(struct shmnet_ring_tx *tx)
{
	tx->published = tx->head;
	__atomic_store_n(&tx->words->head, tx->head, __ATOMIC_SEQ_CST);
}

/* (F) After publish(): true if the peer sleeps and has not been rung for this sleep. */
static inline bool shmnet_ring_tx_must_ring(struct shmnet_ring_tx *tx)
{
	uint32_t asleep = __atomic_load_n(&tx->words->asleep, __ATOMIC_SEQ_CST);

	if (asleep == 0 || asleep == tx->rung)
		return false;
	tx->rung = asleep;
	return true;
}

/*
 * (G) Announces that we wait for room; `number` is nonzero and new each time. 1 if
 * a frame of `length` fits by now (and the wait is withdrawn), 0 if the peer will
 * ring, or -EPROTO.
 */
static inline int shmnet_ring_tx_wait(struct shmnet_ring_tx *tx, uint32_t number,
				      uint32_t length)
{
	uint64_t need = shmnet_record_size(length) + SHMNET_RING_COMMAND_ROOM;
	int ret;

	__atomic_store_n(&tx->words->waiting, number, __ATOMIC_SEQ_CST);
	ret = shmnet_ring_accept_tail(
		tx, __atomic_load_n(&tx->words->tail, __ATOMIC_SEQ_CST));
	if (ret < 0)
		return ret;
	if (!shmnet_ring_has_room(tx, need))
		return 0;
	__atomic_store_n(&tx->words->waiting, 0, __ATOMIC_RELAXED);
	return 1;
}

static inline void shmnet_ring_tx_wait_over(struct shmnet_ring_tx *tx)
{
	__atomic_store_n(&tx->words->waiting, 0, __ATOMIC_RELAXED);
}

/* ---- receiver ---- */

/* Takes the peer's word for W: not behind its last one, not more than the ring holds. */
static inline int shmnet_ring_accept_head(struct shmnet_ring_rx *rx, uint64_t head)
{
	if (head - rx->tail > rx->mask + 1 || head - rx->tail < rx->head - rx->tail ||
	    head & (SHMNET_RING_ALIGN - 1))
		return -EPROTO;
	rx->head = head;
	return 0;
}

/* (B) Reads W. 1 if there is something to peek at, 0 if not, -EPROTO. */
static inline int shmnet_ring_poll(struct shmnet_ring_rx *rx)
{
	int ret = shmnet_ring_accept_head(
		rx, __atomic_load_n(&rx->words->head, __ATOMIC_ACQUIRE));

	return ret < 0 ? ret : rx->head != rx->tail;
}

/* One fetch of each word of the header at our tail, so that the check holds. */
static inline void shmnet_ring_copy_header(const struct shmnet_ring_rx *rx,
					   struct shmnet_ring_header *ret_header)
{
	const struct shmnet_ring_header *header =
		(const struct shmnet_ring_header *)(const void *)(rx->data +
								  (rx->tail & rx->mask));

	ret_header->sequence =
		__atomic_load_n(&header->sequence, __ATOMIC_ACQUIRE); /* E */
	ret_header->length = __atomic_load_n(&header->length, __ATOMIC_RELAXED);
	ret_header->flags = __atomic_load_n(&header->flags, __ATOMIC_RELAXED);
}

/* Is this copy a record that fits into the `room` bytes from our tail on? */
static inline bool shmnet_ring_header_valid(const struct shmnet_ring_rx *rx,
					    const struct shmnet_ring_header *header,
					    uint64_t room)
{
	uint32_t max = header->flags & SHMNET_RECORD_COMMAND ? SHMNET_RING_COMMAND_MAX
							     : SHMNET_RING_PAYLOAD_MAX;

	return header->sequence == (rx->tail ^ rx->salt) && header->length > 0 &&
	       header->length <= max && !(header->flags & ~SHMNET_RECORD_FLAGS) &&
	       shmnet_record_size(header->length) <= room;
}

/* The next record below the last W that poll() saw. 1, 0 if there is none, -EPROTO. */
static inline int shmnet_ring_peek(const struct shmnet_ring_rx *rx,
				   struct shmnet_record *ret_record)
{
	struct shmnet_ring_header header;

	if (rx->head == rx->tail)
		return 0;
	shmnet_ring_copy_header(rx, &header);
	if (!shmnet_ring_header_valid(rx, &header, rx->head - rx->tail))
		return -EPROTO;
	ret_record->payload = rx->data + (rx->tail & rx->mask) + sizeof(header);
	ret_record->length = header.length;
	ret_record->flags = header.flags;
	return 1;
}

/* Done with the record that peek() gave. The peer is not told before credit(). */
static inline void shmnet_ring_release(struct shmnet_ring_rx *rx,
				       const struct shmnet_record *record)
{
	rx->tail += shmnet_record_size(record->length);
}

/* (C, G) Gives everything released back to the peer. */
static inline void shmnet_ring_credit(struct shmnet_ring_rx *rx)
{
	rx->credited = rx->tail;
	__atomic_store_n(&rx->words->tail, rx->tail, __ATOMIC_SEQ_CST);
}

/* (G) After credit(): true if the peer waits for room and has not been rung for it. */
static inline bool shmnet_ring_rx_must_ring(struct shmnet_ring_rx *rx)
{
	uint32_t waiting = __atomic_load_n(&rx->words->waiting, __ATOMIC_SEQ_CST);

	if (waiting == 0 || waiting == rx->rung)
		return false;
	rx->rung = waiting;
	return true;
}

/*
 * (F) Announces sleep; `number` is nonzero and new each time. True if the
 * transmitter has published meanwhile: do not sleep (the sleep is withdrawn).
 */
static inline bool shmnet_ring_rx_sleep(struct shmnet_ring_rx *rx, uint32_t number)
{
	__atomic_store_n(&rx->words->asleep, number, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&rx->words->head, __ATOMIC_SEQ_CST) == rx->tail)
		return false;
	__atomic_store_n(&rx->words->asleep, 0, __ATOMIC_RELAXED);
	return true;
}

static inline void shmnet_ring_rx_wake(struct shmnet_ring_rx *rx)
{
	__atomic_store_n(&rx->words->asleep, 0, __ATOMIC_RELAXED);
}

/*
 * For a transmitter that is known to be dead and can't store any more: moves our
 * view of W over the records that it had finished, published or not [31]. From then
 * on W is behind our view, so no more poll(): peek() until there is nothing.
 */
static inline void shmnet_ring_salvage(struct shmnet_ring_rx *rx)
{
	struct shmnet_ring_rx walk = *rx;
	struct shmnet_ring_header header;

	walk.tail = rx->head;
	for (;;) {
		shmnet_ring_copy_header(&walk, &header);
		if (!shmnet_ring_header_valid(&walk, &header,
					      rx->mask + 1 - (walk.tail - rx->tail)))
			break;
		walk.tail += shmnet_record_size(header.length);
	}
	rx->head = walk.tail;
}

#ifdef __cplusplus
}

static_assert(sizeof(struct shmnet_ring_header) == 16, "part of the wire format");
static_assert(sizeof(struct shmnet_ring_words) == 1280, "part of the wire format");
#else
_Static_assert(sizeof(struct shmnet_ring_header) == 16, "part of the wire format");
_Static_assert(sizeof(struct shmnet_ring_words) == 1280, "part of the wire format");
_Static_assert(offsetof(struct shmnet_ring_words, tail) == 128, "a line per writer");
#endif

#endif
