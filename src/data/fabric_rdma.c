/*
 * The rdma fabric [4, 9]: what is written when, and what is said of it. Policy only:
 * data/qp.h carries it out. Never blocks or logs; allocates when it is made.
 *
 * Called by the worker and by the control thread, each call under the connection's
 * lock. What `tx` and `rx` point to is the worker's: control's calls touch no ring but
 * those of a link that no worker knows any more.
 *
 *
 * Theory of operation
 * -------------------
 * Memory. The transmitter's ring is a staging copy of its own, as large as the
 * receiver's and mapped twice as that is. What was submitted at a position is written
 * to the same place of the receiver's ring, so a WRITE holds any number of records and
 * may cross the end. `words` are local memory on both sides; what the peer tells is
 * stored there by us, and shmnet/ring.h, which checks it, finds it as if a peer on this
 * machine had. No other memory of the ring is believed to say anything.
 *
 * Immediates. All news travels as the immediate of a WRITE, which comes after its
 * bytes:
 *
 *     31 30..24 23..0
 *      0 ring   position   HEAD: your ring of this index is filled up to there
 *      1 ring   position   TAIL: my ring of this index is read up to there
 *      0  127   count      BEAT: we live; and so many of your BEATs have come
 *      1  127   count      NOTED: so many of your BEATs have come
 *
 * Positions are in lines of 64 bytes modulo 2^24. A ring has at most 2^23 lines, so the
 * one that is meant is found from the one before, going forward.
 *
 * What is written when. Two things cost: a WRITE, far more than its bytes if it is
 * small, and an immediate, which besides takes a receive and a completion and wakes
 * a thread.
 *   - A HEAD is *open* until a TAIL came that is not below it.
 *   - No HEAD is open: what was published goes at once, the last WRITE with the HEAD.
 *   - One is: what comes meanwhile gathers, and goes with the next HEAD: when the open
 *     ones have been answered, when a quarter ring has gathered, or when the link has
 *     nothing more to publish at the moment. GATHER bytes are worth a WRITE, which then
 *     has no immediate.
 *   - HEADS_MAX are open: no HEAD, whatever happens.
 *   - A TAIL is told when a quarter ring was read since the last one, or when all is
 *     read that was told of.
 * So under load there is one HEAD and one TAIL per round trip or quarter ring, whichever
 * is shorter, and a lone frame is one WRITE with an immediate.
 *
 * No immediate finds the peer without a receive. What may be under way or unread at the
 * other side is bounded, and fabric_rdma_receive_depth() is the sum:
 *   - HEADs of a ring: HEADS_MAX, by the rule above. The receiver posts the receive of
 *     an immediate again when it takes it, so before it answers it.
 *   - TAILs of a ring: those that told of all that was read repeat the position of a
 *     HEAD each, of different ones, which are open until these arrive: HEADS_MAX. The
 *     others are a quarter ring apart, within the ring that is not credited yet: 4.
 *   - BEATs: BEATS_MAX that have not been told to have come. NOTED is said when
 *     BEATS_NOTED have come and not been told: BEATS_MAX / BEATS_NOTED.
 * These numbers are part of the protocol: each side relies on the other's.
 *
 * Nobody sleeps while something can be done. The worker sleeps with the completion
 * queue armed for solicited immediates, which HEADs are. If something was published and
 * is not covered by a HEAD, if anything waits for a place in the send queue, or somebody
 * waits for room, it is armed for all.
 *   - What was published is covered by a HEAD when we sleep, and that wakes the peer; or
 *     HEADS_MAX are open, so a TAIL will come: the peer reads what it was told of before
 *     it sleeps, and tells when it has. Or the send queue is full: its completions need
 *     nobody at the other side but the device.
 *   - arm() arms, then takes what came before, then looks at what is known of the ring,
 *     not at what this call took: control takes completions, too (beat()).
 *   - BEATs wake nobody: control takes them when it beats itself or wants to know
 *     (pulse()), and tells then that they have come.
 *   - A failure need not wake who is armed for solicited immediates (rxe of Linux 6.4 and
 *     later doesn't). beat() finds it and says so, and control wakes the worker.
 *
 * A place of the staging ring is filled again when the peer has credited it *and* our
 * WRITEs of it are done, because the device may read it again as long as they are not.
 * `words->tail` is the lower of the two. For that HEADs are signalled, and so that the
 * send queue empties every quarter of its depth is.
 *
 * When the connection has failed, what the last HEAD covered is still to be read, and
 * only then poll() says so: nothing else returns that error, because a link that has
 * one is not looked at any more. Beyond the last HEAD nothing is read.
 *
 * A hostile peer can write what it likes into the ring that it was given the key of,
 * which is what ring.h is made for, and send immediates: what names no ring, moves back
 * or goes beyond what we gave is -EPROTO and the connection's end. What floods us uses up
 * the receives of its own connection and ends it.
 */
#include "data/fabric_rdma.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* See "No immediate finds the peer without a receive" before changing one of these. */
#define HEADS_MAX   4u
#define TAILS_MAX   (HEADS_MAX + 4u)
#define BEATS_MAX   4u
#define BEATS_NOTED 2u
#define NOTED_MAX   (BEATS_MAX / BEATS_NOTED)

#define CHUNK_MAX  (256u << 10) /* bytes of one WRITE */
#define GATHER	   (16u << 10)	/* bytes that are worth one without an immediate */
#define ROUNDS_MAX 8u		/* lists of completions that one call takes */

#define IMM_BACK     0x80000000u /* TAIL or NOTED */
#define IMM_BEAT     127u	 /* in place of a ring */
#define IMM_POSITION 0xffffffu

enum ring_state {
	RING_NONE,
	RING_USED,
	RING_GONE, /* detached: what still comes of it is no news, and no error */
};

/* A ring of the peer's. The positions are in this order, the highest one first. */
struct tx_ring {
	enum ring_state state;
	struct fabric_rdma_tx spec;
	uint64_t head;	  /* was published */
	uint64_t posted;  /* WRITEs are posted */
	uint64_t covered; /* a HEAD was told */
	uint64_t done;	  /* WRITEs are done: beside `credited`, not above */
	uint64_t credited;
	uint64_t polled; /* `head` when the link was polled last */
	uint64_t open[HEADS_MAX];
	unsigned num_open;
};

/* One of ours. */
struct rx_ring {
	enum ring_state state;
	struct shmnet_ring_words *words;
	uint64_t size;
	uint64_t head; /* the last one that we were told */
	uint64_t tail; /* that is to be told */
	uint64_t told;
};

enum flight_kind { FLIGHT_DATA, FLIGHT_TAIL, FLIGHT_BEAT };

/* What a WRITE under way was for. */
struct flight {
	enum flight_kind kind;
	uint8_t ring;
	uint32_t length;
	uint64_t end; /* FLIGHT_DATA: the position behind its bytes */
};

/* Counts of BEATs. */
struct beats {
	uint32_t sent;
	uint32_t noted; /* of ours, by the peer */
	uint32_t received;
	uint32_t told; /* of those, to the peer */
	bool is_due;
};

struct rdma_fabric {
	struct fabric fabric; /* first */
	struct qp *qp;
	pthread_mutex_t lock;
	int error; /* -EIO or -EPROTO: the connection has ended */
	char name[32];
	char why[192];
	uint32_t armed; /* the number of the sleep that it was armed for */
	bool armed_all;
	uint64_t next_id;
	uint64_t signalled_id;	/* the next one after the last that was signalled */
	uint64_t done_id;	/* the next one after the last that is done */
	struct flight *flights; /* send_depth, by id */
	struct qp_write list[QP_LIST_MAX];
	unsigned num_list;
	unsigned first;	 /* tx ring whose turn it is */
	unsigned num_tx; /* one more than the highest index */
	unsigned num_rx;
	struct tx_ring tx[FABRIC_RDMA_RINGS_MAX];
	struct rx_ring rx[FABRIC_RDMA_RINGS_MAX];
	struct beats beats;
	struct fabric_rdma_counters counters; /* stored relaxed, for any thread */
};

static struct rdma_fabric *rdma_of(const struct fabric *fabric)
{
	return (struct rdma_fabric *)(uintptr_t)fabric;
}

/* The store is a builtin, which the check doesn't know for one. */
/* NOLINTNEXTLINE(readability-non-const-parameter) */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* ---- the end ---- */

__attribute__((format(printf, 3, 4))) static void fail(struct rdma_fabric *rdma,
						       int error, const char *format, ...)
{
	va_list args;
	int used;

	if (rdma->error)
		return;
	rdma->error = error;
	used = snprintf(rdma->why, sizeof(rdma->why), "%s: ", rdma->name);
	va_start(args, format);
	vsnprintf(rdma->why + used, sizeof(rdma->why) - (size_t)used, format, args);
	va_end(args);
}

static void fail_flight(struct rdma_fabric *rdma, const struct flight *flight,
			const char *words)
{
	switch (flight->kind) {
	case FLIGHT_DATA:
		fail(rdma, -EIO, "WRITE of %u bytes to ring %u: %s", flight->length,
		     flight->ring, words);
		return;
	case FLIGHT_TAIL:
		fail(rdma, -EIO, "credit of ring %u: %s", flight->ring, words);
		return;
	case FLIGHT_BEAT:
		fail(rdma, -EIO, "beat: %s", words);
		return;
	}
}

static void fail_qp(struct rdma_fabric *rdma)
{
	uint64_t id;
	const char *words = rdma->qp->ops->why(rdma->qp, &id);

	if (id - rdma->done_id < rdma->next_id - rdma->done_id)
		fail_flight(rdma, &rdma->flights[id % rdma->qp->send_depth], words);
	else
		fail(rdma, -EIO, "%s", words);
}

/* ---- posting ---- */

/* That it failed is the qp's poll() to say, after all that came before. */
static void post_list(struct rdma_fabric *rdma)
{
	unsigned num = rdma->num_list;

	rdma->num_list = 0;
	if (num > 0 && !rdma->error)
		rdma->qp->ops->post(rdma->qp, rdma->list, num);
}

static bool must_signal(const struct rdma_fabric *rdma, const struct flight *flight,
			uint32_t flags)
{
	return (flight->kind == FLIGHT_DATA && flags & QP_IMM) ||
	       rdma->next_id - rdma->signalled_id + 1 >= rdma->qp->send_depth / 4;
}

static void count_write(struct rdma_fabric *rdma, const struct qp_write *write)
{
	struct fabric_rdma_counters *counters = &rdma->counters;

	count(&counters->writes, 1);
	count(&counters->written_bytes, write->length);
	count(&counters->immediates, !!(write->flags & QP_IMM));
	count(&counters->signalled, !!(write->flags & QP_SIGNALLED));
}

/* False, and nothing was done, if the send queue is full: what is due stays due. */
static bool put_write(struct rdma_fabric *rdma, struct qp_write write,
		      const struct flight *flight)
{
	if (rdma->next_id - rdma->done_id == rdma->qp->send_depth) {
		count(&rdma->counters.send_queue_full, 1);
		return false;
	}
	if (must_signal(rdma, flight, write.flags)) {
		write.flags |= QP_SIGNALLED;
		rdma->signalled_id = rdma->next_id + 1;
	}
	if (write.length > 0 && write.length <= rdma->qp->max_inline)
		write.flags |= QP_INLINE;
	rdma->flights[rdma->next_id % rdma->qp->send_depth] = *flight;
	write.id = rdma->next_id++;
	count_write(rdma, &write);
	rdma->list[rdma->num_list++] = write;
	if (rdma->num_list == QP_LIST_MAX)
		post_list(rdma);
	return true;
}

static uint32_t imm_make(uint32_t kind, unsigned ring, uint64_t value)
{
	return kind | ring << 24 | ((uint32_t)value & IMM_POSITION);
}

/* The next bytes of the ring, up to `end`, which a HEAD is told of if `tell`. */
static bool put_data(struct rdma_fabric *rdma, struct tx_ring *tx, uint64_t end,
		     bool tell)
{
	unsigned ring = tx->spec.index;
	uint64_t place = tx->posted & (tx->spec.size - 1);
	const struct qp_write write = {
		.local = tx->spec.staging + place,
		.remote = place,
		.lkey = tx->spec.lkey,
		.rkey = tx->spec.rkey,
		.length = (uint32_t)(end - tx->posted),
		.flags = tell ? QP_IMM | QP_SOLICITED : 0,
		.imm = imm_make(0, ring, end / SHMNET_RING_ALIGN),
	};
	const struct flight flight = {FLIGHT_DATA, (uint8_t)ring, write.length, end};

	if (!put_write(rdma, write, &flight))
		return false;
	tx->posted = end;
	if (!tell)
		return true;
	tx->covered = end;
	tx->open[tx->num_open++] = end;
	count(&rdma->fabric.bells_rung, 1);
	return true;
}

/* An immediate that tells nothing of what was written. */
static bool put_imm(struct rdma_fabric *rdma, uint32_t imm, const struct flight *flight)
{
	const struct qp_write write = {.flags = QP_IMM, .imm = imm};

	return put_write(rdma, write, flight);
}

/* ---- what is due ---- */

/* A HEAD, now? `last`: the link has nothing more to publish at the moment. */
static bool may_tell(const struct tx_ring *tx, bool last)
{
	uint64_t uncovered = tx->head - tx->covered;

	if (uncovered == 0 || tx->num_open == HEADS_MAX)
		return false;
	return tx->num_open == 0 || last || uncovered >= tx->spec.size / 4;
}

/* False if the send queue is full. */
static bool push_tx(struct rdma_fabric *rdma, struct tx_ring *tx, bool last)
{
	bool tell = may_tell(tx, last);

	if (tx->state != RING_USED || (!tell && tx->head - tx->posted < GATHER))
		return true;
	do {
		uint64_t left = tx->head - tx->posted;
		uint64_t end = tx->posted + (left < CHUNK_MAX ? left : CHUNK_MAX);

		if (!put_data(rdma, tx, end, tell && end == tx->head))
			return false;
	} while (tx->posted != tx->head);
	return true;
}

static bool push_rx(struct rdma_fabric *rdma, struct rx_ring *rx)
{
	unsigned ring = (unsigned)(rx - rdma->rx);
	const struct flight flight = {.kind = FLIGHT_TAIL, .ring = (uint8_t)ring};

	if (rx->state != RING_USED || rx->tail == rx->told)
		return true;
	if (!put_imm(rdma, imm_make(IMM_BACK, ring, rx->tail / SHMNET_RING_ALIGN),
		     &flight))
		return false;
	rx->told = rx->tail;
	return true;
}

static bool push_beats(struct rdma_fabric *rdma)
{
	static const struct flight flight = {.kind = FLIGHT_BEAT};
	struct beats *beats = &rdma->beats;
	uint32_t kind = beats->is_due ? 0 : IMM_BACK;

	if (!beats->is_due && beats->received - beats->told < BEATS_NOTED)
		return true;
	if (!put_imm(rdma, imm_make(kind, IMM_BEAT, beats->received), &flight))
		return false;
	beats->told = beats->received;
	beats->sent += beats->is_due;
	beats->is_due = false;
	return true;
}

/* Whose turn it is begins next time, when the send queue has no place for all. */
static bool push_all_tx(struct rdma_fabric *rdma)
{
	for (unsigned i = 0; i < rdma->num_tx; i++) {
		unsigned ring = (rdma->first + i) % rdma->num_tx;

		if (!push_tx(rdma, &rdma->tx[ring], true)) {
			rdma->first = ring;
			return false;
		}
	}
	return true;
}

/* All that is due on all rings, before sleep. */
static void push_all(struct rdma_fabric *rdma)
{
	bool room = push_beats(rdma);

	for (unsigned i = 0; room && i < rdma->num_rx; i++)
		room = push_rx(rdma, &rdma->rx[i]);
	if (room)
		push_all_tx(rdma);
	post_list(rdma);
}

/* True if something is due that only a completion lets go on. */
static bool is_anything_due(const struct rdma_fabric *rdma)
{
	const struct beats *beats = &rdma->beats;

	for (unsigned i = 0; i < rdma->num_tx; i++) {
		if (rdma->tx[i].state == RING_USED &&
		    rdma->tx[i].covered != rdma->tx[i].head)
			return true;
	}
	for (unsigned i = 0; i < rdma->num_rx; i++) {
		if (rdma->rx[i].state == RING_USED &&
		    rdma->rx[i].told != rdma->rx[i].tail)
			return true;
	}
	return beats->is_due || beats->received - beats->told >= BEATS_NOTED;
}

/* ---- what came ---- */

/* For the transmitter, which fills again what is below. */
static void show_tail(const struct tx_ring *tx)
{
	uint64_t tail = tx->credited < tx->done ? tx->credited : tx->done;

	__atomic_store_n(&tx->spec.words->tail, tail, __ATOMIC_RELEASE);
}

/* The next position after `from` that is told as `imm`; `from` itself: nonsense. */
static uint64_t find_position(uint64_t from, uint32_t imm)
{
	uint32_t lines = (imm - (uint32_t)(from / SHMNET_RING_ALIGN)) & IMM_POSITION;

	return from + (uint64_t)lines * SHMNET_RING_ALIGN;
}

static void take_head(struct rdma_fabric *rdma, struct rx_ring *rx, uint32_t imm)
{
	uint64_t head = find_position(rx->head, imm);

	if (head == rx->head || head - rx->told > rx->size) {
		fail(rdma, -EPROTO,
		     "the peer says that ring %u is filled up to %u, after %u",
		     (unsigned)(rx - rdma->rx), imm & IMM_POSITION,
		     (unsigned)(rx->head / SHMNET_RING_ALIGN) & IMM_POSITION);
		return;
	}
	rx->head = head;
	__atomic_store_n(&rx->words->head, head, __ATOMIC_RELEASE);
}

static void take_tail(struct rdma_fabric *rdma, struct tx_ring *tx, uint32_t imm)
{
	uint64_t tail = find_position(tx->credited, imm);
	unsigned closed = 0;

	if (tail == tx->credited || tail > tx->covered) {
		fail(rdma, -EPROTO,
		     "the peer says that its ring %u is read up to %u, after %u",
		     tx->spec.index, imm & IMM_POSITION,
		     (unsigned)(tx->credited / SHMNET_RING_ALIGN) & IMM_POSITION);
		return;
	}
	tx->credited = tail;
	while (closed < tx->num_open && tx->open[closed] <= tail)
		closed++;
	tx->num_open -= closed;
	for (unsigned i = 0; i < tx->num_open; i++)
		tx->open[i] = tx->open[i + closed];
	show_tail(tx);
}

static void take_beat(struct rdma_fabric *rdma, uint32_t imm)
{
	struct beats *beats = &rdma->beats;
	uint32_t news = (imm - beats->noted) & IMM_POSITION;
	bool is_beat = !(imm & IMM_BACK);

	beats->received += is_beat;
	if (news > beats->sent - beats->noted || (!is_beat && news == 0) ||
	    beats->received - beats->told > BEATS_MAX) {
		fail(rdma, -EPROTO, "the peer's beats don't add up: immediate %#x", imm);
		return;
	}
	beats->noted += news;
}

static void take_imm(struct rdma_fabric *rdma, uint32_t imm)
{
	unsigned ring = imm >> 24 & 127;
	bool is_tail = imm & IMM_BACK;
	enum ring_state state;

	count(&rdma->counters.receives, 1);
	if (ring == IMM_BEAT) {
		take_beat(rdma, imm);
		return;
	}
	state = is_tail ? rdma->tx[ring].state : rdma->rx[ring].state;
	if (state == RING_NONE)
		fail(rdma, -EPROTO, "the peer speaks of ring %u, which it was not %s",
		     ring, is_tail ? "shown" : "given");
	else if (state == RING_USED && is_tail)
		take_tail(rdma, &rdma->tx[ring], imm);
	else if (state == RING_USED)
		take_head(rdma, &rdma->rx[ring], imm);
}

static void take_sent(struct rdma_fabric *rdma, uint64_t id)
{
	while (rdma->done_id <= id) {
		const struct flight *flight =
			&rdma->flights[rdma->done_id++ % rdma->qp->send_depth];
		struct tx_ring *tx = &rdma->tx[flight->ring];

		if (flight->kind != FLIGHT_DATA || tx->state != RING_USED)
			continue;
		tx->done = flight->end;
		show_tail(tx);
	}
}

static bool take_list(struct rdma_fabric *rdma, bool *ret_more)
{
	struct qp_done list[QP_LIST_MAX];
	int n = rdma->qp->ops->poll(rdma->qp, list, QP_LIST_MAX);

	*ret_more = n == QP_LIST_MAX;
	if (n < 0)
		fail_qp(rdma);
	for (int i = 0; i < n && !rdma->error; i++) {
		if (list[i].kind == QP_DONE_SENT)
			take_sent(rdma, list[i].id);
		else
			take_imm(rdma, list[i].imm);
	}
	return n != 0;
}

/* True if there was anything, or may be. */
static bool take_all(struct rdma_fabric *rdma)
{
	bool any = false, more = true;

	for (unsigned i = 0; more && i < ROUNDS_MAX && !rdma->error; i++)
		any |= take_list(rdma, &more);
	return any;
}

/* ---- the worker's operations ---- */

static struct rdma_fabric *rdma_lock(struct fabric *fabric)
{
	struct rdma_fabric *rdma = rdma_of(fabric);

	pthread_mutex_lock(&rdma->lock);
	return rdma;
}

static void rdma_unlock(struct rdma_fabric *rdma)
{
	post_list(rdma);
	pthread_mutex_unlock(&rdma->lock);
}

static int rdma_publish(struct fabric *fabric, struct shmnet_ring_tx *tx)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	struct tx_ring *ring = &rdma->tx[tx->index];

	shmnet_ring_publish(tx);
	ring->head = tx->head;
	push_tx(rdma, ring, false);
	rdma_unlock(rdma);
	return 0;
}

/* What may be read of a ring: an error only when that is nothing, but for nonsense. */
static int look(const struct rdma_fabric *rdma, struct shmnet_ring_rx *rx)
{
	int ret = rdma->error == -EPROTO ? -EPROTO : shmnet_ring_poll(rx);

	return ret == 0 ? rdma->error : ret;
}

static int rdma_poll(struct fabric *fabric, struct shmnet_ring_rx *rx,
		     struct shmnet_ring_tx *tx)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	struct tx_ring *ring = &rdma->tx[tx->index];
	int ret;

	take_all(rdma);
	push_beats(rdma);
	push_rx(rdma, &rdma->rx[rx->index]);
	push_tx(rdma, ring, ring->head == ring->polled);
	ring->polled = ring->head;
	ret = look(rdma, rx);
	rdma_unlock(rdma);
	return ret;
}

static int rdma_credit(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	struct rx_ring *ring = &rdma->rx[rx->index];
	uint64_t due = rx->tail - rx->credited;

	if (due > 0 && (due >= ring->size / 4 || rx->tail == ring->head)) {
		shmnet_ring_credit(rx);
		ring->tail = rx->tail;
		push_rx(rdma, ring);
	}
	rdma_unlock(rdma);
	return 0;
}

/* For the sleep of this number; several links ask for the same one. If it fails the look
 * that follows finds that. */
static void arm_qp(struct rdma_fabric *rdma, uint32_t number, bool all)
{
	bool is_new = rdma->armed != number;

	if (!is_new && (rdma->armed_all || !all))
		return;
	rdma->armed = number;
	rdma->armed_all = all;
	rdma->qp->ops->arm(rdma->qp, all);
}

/* 0 if it is safe to sleep, as to what this connection waits for. */
static int prepare_sleep(struct rdma_fabric *rdma, uint32_t number, bool all)
{
	take_all(rdma);
	push_all(rdma);
	if (rdma->error)
		return 1; /* that is poll()'s to say */
	arm_qp(rdma, number, all || is_anything_due(rdma));
	return take_all(rdma);
}

static int rdma_wait_room(struct fabric *fabric, struct shmnet_ring_tx *tx,
			  uint32_t number, uint32_t length)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	int ret = prepare_sleep(rdma, number, true);
	uint8_t *place;

	if (ret == 0)
		ret = shmnet_ring_reserve(tx, length, 0, &place) == 0;
	rdma_unlock(rdma);
	return ret;
}

static int rdma_arm(struct fabric *fabric, struct shmnet_ring_rx *rx, uint32_t number)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	int ret = prepare_sleep(rdma, number, false);

	if (ret == 0)
		ret = rdma->rx[rx->index].head != rx->tail;
	rdma_unlock(rdma);
	return ret;
}

/* What was armed rings once, sleep or not: a bell too many. */
static void rdma_disarm(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	(void)fabric;
	(void)rx;
}

static bool rdma_drain(struct fabric *fabric)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);

	rdma->qp->ops->drain(rdma->qp);
	rdma_unlock(rdma);
	return true;
}

/* ---- control's ---- */

static int rdma_salvage(struct fabric *fabric, struct shmnet_ring_rx *rx)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	int ret;

	take_all(rdma);
	ret = look(rdma, rx);
	rdma_unlock(rdma);
	return ret == -EPROTO ? ret : 0;
}

static void rdma_detach(struct fabric *fabric, struct shmnet_ring_tx *tx,
			const struct shmnet_ring_rx *rx)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	struct tx_ring *ring = &rdma->tx[tx->index];

	take_all(rdma);
	/* Nothing is filled in there any more, so it matters no longer what is done. */
	ring->done = ring->credited;
	show_tail(ring);
	ring->state = RING_GONE;
	rdma->rx[rx->index].state = RING_GONE;
	rdma_unlock(rdma);
}

static int rdma_beat(struct fabric *fabric)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	int ret;

	take_all(rdma);
	if (rdma->beats.sent - rdma->beats.noted < BEATS_MAX)
		rdma->beats.is_due = true;
	push_all(rdma);
	ret = rdma->error;
	rdma_unlock(rdma);
	return ret;
}

static uint64_t rdma_pulse(struct fabric *fabric)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	uint64_t receives;

	take_all(rdma);
	push_beats(rdma);
	receives = rdma->counters.receives;
	rdma_unlock(rdma);
	return receives;
}

static const char *rdma_why(const struct fabric *fabric)
{
	struct rdma_fabric *rdma = rdma_of(fabric);
	const char *why;

	/* Once there is an error the words stay as they are. */
	pthread_mutex_lock(&rdma->lock);
	why = rdma->error ? rdma->why : "";
	pthread_mutex_unlock(&rdma->lock);
	return why;
}

static void rdma_close(struct fabric *fabric)
{
	struct rdma_fabric *rdma = rdma_of(fabric);

	rdma->qp->ops->close(rdma->qp);
	pthread_mutex_destroy(&rdma->lock);
	free(rdma->flights);
	free(rdma);
}

static const struct fabric_ops rdma_ops = {
	.name = "rdma",
	.publish = rdma_publish,
	.poll = rdma_poll,
	.credit = rdma_credit,
	.wait_room = rdma_wait_room,
	.arm = rdma_arm,
	.disarm = rdma_disarm,
	.drain = rdma_drain,
	.salvage = rdma_salvage,
	.detach = rdma_detach,
	.beat = rdma_beat,
	.pulse = rdma_pulse,
	.why = rdma_why,
	.close = rdma_close,
};

/* ---- making one ---- */

uint32_t fabric_rdma_receive_depth(unsigned num_rings)
{
	return num_rings * (HEADS_MAX + TAILS_MAX) + BEATS_MAX + NOTED_MAX;
}

int fabric_rdma_new(struct qp *qp, const char *name, struct fabric **ret_fabric)
{
	struct rdma_fabric *rdma = calloc(1, sizeof(*rdma));

	if (!rdma)
		goto err_qp;
	rdma->flights = calloc(qp->send_depth, sizeof(*rdma->flights));
	if (!rdma->flights)
		goto err_rdma;
	rdma->fabric.ops = &rdma_ops;
	rdma->fabric.wait_fd = qp->wait_fd;
	rdma->qp = qp;
	snprintf(rdma->name, sizeof(rdma->name), "%s", name);
	pthread_mutex_init(&rdma->lock, NULL);
	*ret_fabric = &rdma->fabric;
	return 0;

err_rdma:
	free(rdma);
err_qp:
	qp->ops->close(qp);
	return -ENOMEM;
}

/* Have the rings that there are, and one more, receives for what they bring? */
static bool has_receives(const struct rdma_fabric *rdma, unsigned more)
{
	uint32_t depth = BEATS_MAX + NOTED_MAX + more;

	for (unsigned i = 0; i < rdma->num_rx; i++)
		depth += rdma->rx[i].state != RING_NONE ? HEADS_MAX : 0;
	for (unsigned i = 0; i < rdma->num_tx; i++)
		depth += rdma->tx[i].state != RING_NONE ? TAILS_MAX : 0;
	return depth <= rdma->qp->receive_depth;
}

static int check_ring(const struct rdma_fabric *rdma, unsigned index, uint64_t size,
		      unsigned receives)
{
	if (index >= FABRIC_RDMA_RINGS_MAX || !shmnet_ring_size_valid(size))
		return -EINVAL;
	return has_receives(rdma, receives) ? 0 : -ENOSPC;
}

static int set_rx_locked(struct rdma_fabric *rdma, unsigned index,
			 struct shmnet_ring_words *words, uint64_t size)
{
	int ret = check_ring(rdma, index, size, HEADS_MAX);

	if (ret < 0)
		return ret;
	if (rdma->rx[index].state != RING_NONE)
		return -EEXIST;
	rdma->rx[index] =
		(struct rx_ring){.state = RING_USED, .words = words, .size = size};
	if (rdma->num_rx <= index)
		rdma->num_rx = index + 1;
	return 0;
}

static int set_tx_locked(struct rdma_fabric *rdma, const struct fabric_rdma_tx *tx)
{
	int ret = check_ring(rdma, tx->index, tx->size, TAILS_MAX);

	if (ret < 0)
		return ret;
	if (rdma->tx[tx->index].state != RING_NONE)
		return -EEXIST;
	rdma->tx[tx->index] = (struct tx_ring){.state = RING_USED, .spec = *tx};
	if (rdma->num_tx <= tx->index)
		rdma->num_tx = tx->index + 1;
	return 0;
}

int fabric_rdma_set_rx(struct fabric *fabric, unsigned index,
		       struct shmnet_ring_words *words, uint64_t size)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	int ret = set_rx_locked(rdma, index, words, size);

	rdma_unlock(rdma);
	return ret;
}

int fabric_rdma_set_tx(struct fabric *fabric, const struct fabric_rdma_tx *tx)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);
	int ret = set_tx_locked(rdma, tx);

	rdma_unlock(rdma);
	return ret;
}

void fabric_rdma_drop_rx(struct fabric *fabric, unsigned index)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);

	rdma->rx[index].state = RING_GONE;
	rdma_unlock(rdma);
}

void fabric_rdma_drop_tx(struct fabric *fabric, unsigned index)
{
	struct rdma_fabric *rdma = rdma_lock(fabric);

	rdma->tx[index].state = RING_GONE;
	rdma_unlock(rdma);
}

void fabric_rdma_read(const struct fabric *fabric,
		      struct fabric_rdma_counters *ret_counters)
{
	const uint64_t *from = (const uint64_t *)&rdma_of(fabric)->counters;
	uint64_t *to = (uint64_t *)ret_counters;

	for (size_t i = 0; i < sizeof(*ret_counters) / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
