/*
 * See path.h and path_internal.h: the way of a cast, out and in.
 *
 * Out: into the ring of its label or the broadcast ring, once for all who read it, and
 * as a copy into the pair ring of every other link. Into pair rings only if there is
 * no ring or it doesn't take the frame. A super-frame that is longer than a slot, or of
 * a kind that a peer doesn't take, is cut into frames, each a cast of its own. Which link
 * is which follows "Who gets a cast by the ring and who by a copy" in shmnet/cast.h.
 *
 * In: a frame in a slot is checked as one in the pair ring of the slot's writer is,
 * and counted on that link; a unicast, which any member could put there in another's
 * name, is never taken. What is for others (its writer has no link here, or still
 * sends us copies) is passed over. A slot in writing holds up what is behind it; we
 * wait CAST_PATIENCE_MS for its writer, asleep, and less after that was in vain.
 *
 * What a ring saves its writer is copying, not reading the TAP: nothing with one reader,
 * a third of its time with eight and frames of 1400 bytes. What it saves everybody is
 * room in the pair rings.
 *
 * What we were lapped on is found by comparing what the writer says it put there for us
 * with what we took: only when the rings are read to their end, so that nothing is
 * under way, and after the writer's number was loaded.
 */
#include "data/path_internal.h"

#include "base/clock.h"
#include "base/segment.h"

#include <errno.h>

/* Neither written nor read from now on; control is told. */
static void cast_fail(struct cast *cast, int error)
{
	__atomic_store_n(&cast->error, error, __ATOMIC_RELAXED);
	cast->port->has_news = true;
}

/* ---- out ---- */

/* NULL: there is none, not even the broadcast ring. Says so if somebody could read it. */
static struct cast *find_ring(const struct port_view *view, struct port *port,
			      const uint8_t *label)
{
	uint64_t key = want_key(label), now;

	for (unsigned i = 0; i < view->num_labels; i++) {
		if (view->labels[i] == key)
			return view->by_label[i];
	}
	if (!view->has_sharers)
		return view->broadcast;
	now = clock_now_ns();
	if (!view->broadcast)
		port->has_news |= wants_count(&port->wants, WANT_BROADCAST, now);
	if (key != WANT_BROADCAST)
		port->has_news |= wants_count(&port->wants, key, now);
	return view->broadcast;
}

/* Before the next claim: no copies to those from now on who have said that they read. */
static void announce(const struct port_view *view, const struct cast *cast)
{
	for (unsigned i = 0; i < view->num_links; i++) {
		struct link *link = view->links[i];
		struct link_cast *place = &link->casts[cast->index];

		if (place->announced || !__atomic_load_n(&place->reads, __ATOMIC_RELAXED))
			continue;
		shmnet_cast_announce(link->tx.words, cast->index, cast->id, cast->next);
		place->announced = true;
	}
}

/* False if the frame is not in the ring and won't be. */
static bool write_ring(struct cast *cast, const uint8_t *payload, size_t length)
{
	struct shmnet_cast_writer *writer = &cast->writer;
	uint8_t *place;
	int ret;

	if (cast_rests(cast) || length > writer->ring.room)
		return false;
	ret = shmnet_cast_reserve(writer, &place);
	if (ret == -EPROTO)
		cast_fail(cast, ret);
	if (ret < 0)
		return false;
	memcpy(place, payload, length);
	cast->next = writer->position + 1;
	if (shmnet_cast_submit(writer, (uint32_t)length, SHMNET_RECORD_CAST) < 0)
		return false;
	counter_add(&cast->counters.written, 1);
	counter_set(&cast->counters.skipped, writer->holes);
	return true;
}

/* `cast`: NULL if there is none. */
static void send_one(const struct port_view *view, struct cast *cast,
		     const uint8_t *payload, size_t length)
{
	bool written = cast && write_ring(cast, payload, length);

	for (unsigned i = 0; i < view->num_links; i++) {
		struct link *link = view->links[i];

		if (!written || !link->casts[cast->index].announced) {
			path_copy(link, payload, length, SHMNET_RECORD_CAST);
			continue;
		}
		count_sent(link, length);
		link->casts_sent++;
		link->cast_pending = true;
	}
}

/* A super-frame is cut only if that is what it takes to be taken, or fit into a slot. */
static bool must_cut(const struct port_view *view, const struct cast *cast,
		     const uint8_t *payload, size_t length)
{
	if (path_lacks(view->lacks, payload))
		return true;
	return cast && !cast_rests(cast) && length > cast->writer.ring.room &&
	       segment_is_super(payload);
}

enum drop_reason path_cast(const struct port_view *view, struct port *port,
			   struct path_scratch *scratch, size_t length)
{
	uint8_t *payload = scratch->frame, *piece = (uint8_t *)scratch->cast;
	struct cast *cast = find_ring(view, port, payload + SHMNET_VNET_HLEN);
	struct segment segment;

	if (cast)
		announce(view, cast);
	if (!must_cut(view, cast, payload, length)) {
		send_one(view, cast, payload, length);
		return DROP_NUM_;
	}
	if (segment_begin(&segment, payload, length) < 0)
		return DROP_BAD_OFFLOAD;
	while ((length = segment_length(&segment)) > 0) {
		segment_next(&segment, piece);
		send_one(view, cast, piece, length);
	}
	return DROP_NUM_;
}

void path_cast_wake(struct link *link)
{
	int ret;

	if (!link->cast_pending)
		return;
	link->cast_pending = false;
	__atomic_store_n(&link->tx.words->cast_frames, link->casts_sent,
			 __ATOMIC_RELEASE);
	if (link_rests(link) || !link->fabric->ops->wake)
		return;
	ret = link->fabric->ops->wake(link->fabric, &link->tx);
	if (ret < 0)
		link_fail(link, ret);
}

/* ---- in ---- */

/* True if the peer says that it put more there. */
static bool load_told(struct link *link)
{
	uint64_t told;

	told = __atomic_load_n(&link->rx.words->cast_frames, __ATOMIC_ACQUIRE);
	if ((int64_t)(told - link->casts_told) <= 0)
		return false; /* nothing new, or nonsense */
	link->casts_told = told;
	return true;
}

bool path_cast_listen(struct link *link)
{
	if (!load_told(link))
		return false;
	link->port->casts_moved = true;
	return true;
}

static bool is_for_us(const struct cast *cast, struct link *link, uint64_t position)
{
	struct link_cast *place = &link->casts[cast->index];

	if (!place->is_known)
		place->is_known =
			shmnet_cast_find_since(link->rx.words, cast->id, &place->since);
	return place->is_known && position >= place->since;
}

/* What a slot may not hold, and a pair ring may. `writer`: whose it must be. */
static enum drop_reason check_slot(const struct shmnet_cast_record *record,
				   uint16_t writer)
{
	if (record->writer != writer)
		return DROP_BAD_SOURCE; /* in a lane */
	if (!(record->flags & SHMNET_RECORD_CAST))
		return DROP_BAD_DESTINATION; /* for one: whoever forged it */
	return DROP_NUM_;
}

/* Who is heard but not linked may have been overlooked [33]. */
static void hear_stranger(struct port *port, uint16_t id)
{
	uint64_t now = clock_now_ns();

	if (now < port->stranger_ns)
		return;
	port->stranger_ns = now + NSEC_PER_SEC;
	__atomic_store_n(&port->stranger, id, __ATOMIC_RELAXED);
	port->has_news = true;
}

static void take(const struct plane_view *view, struct cast *cast,
		 struct path_scratch *scratch, const struct shmnet_cast_record *record)
{
	uint16_t writer = cast->only_writer ? cast->only_writer : record->writer;
	struct link *link = view_find_link(view, cast->port, writer);
	const struct shmnet_record frame = {(const uint8_t *)scratch->cast,
					    record->length, record->flags};
	enum drop_reason reason = check_slot(record, writer);

	if (!link)
		hear_stranger(cast->port, writer);
	/* This wire version has no commands. */
	if (!link || link_rests(link) || record->flags & SHMNET_RECORD_COMMAND ||
	    !is_for_us(cast, link, record->position)) {
		counter_add(&cast->counters.passed, 1);
		return;
	}
	counter_add(&cast->counters.received, 1);
	link->casts_taken++;
	if (reason == DROP_NUM_) {
		path_receive(link, scratch, &frame);
		return;
	}
	counter_add(&link->counters.received_frames, 1);
	count_drop(link, reason);
}

/* Whoever leaves one slot in writing, and under whatever name, may leave many. */
static uint64_t patience(const struct cast *cast, uint64_t now)
{
	return now < cast->impatient_ns ? CAST_IMPATIENCE_MS : CAST_PATIENCE_MS;
}

/* read() found nothing. True if that is for a slot in writing, and we wait no longer. */
static bool patience_ends(struct cast *cast)
{
	const struct shmnet_cast_reader *reader = &cast->reader;
	uint64_t now;

	if (reader->cursor == reader->head) {
		cast->patient_ns = 0;
		return false;
	}
	now = clock_now_ns();
	if (!cast->patient_ns || cast->stuck_at != reader->cursor) {
		cast->stuck_at = reader->cursor;
		cast->patient_ns = now + patience(cast, now) * NSEC_PER_MSEC;
		return false;
	}
	if (now < cast->patient_ns)
		return false;
	cast->impatient_ns = now + CAST_IMPATIENT_MS * NSEC_PER_MSEC;
	return true;
}

static void show_counters(struct cast *cast)
{
	const struct shmnet_cast_reader *reader = &cast->reader;

	counter_set(&cast->cursor, reader->cursor);
	counter_set(&cast->counters.own, reader->own);
	counter_set(&cast->counters.lapped, reader->lapped);
	counter_set(&cast->counters.holes, reader->holes);
	counter_set(&cast->counters.corrupt, reader->corrupt);
}

/* Slots that the reader looked at so far. */
static uint64_t count_looks(const struct shmnet_cast_reader *reader)
{
	return reader->cursor - reader->lapped;
}

unsigned path_cast_rx(const struct plane_view *view, struct cast *cast,
		      struct path_scratch *scratch, bool *ret_drained)
{
	struct shmnet_cast_record record;
	uint64_t start = count_looks(&cast->reader);
	unsigned taken = 0;
	int ret = 1;

	*ret_drained = true;
	if (cast_rests(cast))
		return 0;
	while (taken < PATH_BURST &&
	       count_looks(&cast->reader) - start < CAST_LOOKS_MAX) {
		ret = shmnet_cast_read(&cast->reader, scratch->cast, &record);
		if (ret == 1) {
			take(view, cast, scratch, &record);
			taken++;
		} else if (ret == 0 && patience_ends(cast)) {
			shmnet_cast_skip(&cast->reader);
		} else {
			break;
		}
	}
	show_counters(cast);
	*ret_drained = ret <= 0 && ret != -EAGAIN && !(ret == 0 && cast->patient_ns);
	if (ret < 0 && ret != -EAGAIN)
		cast_fail(cast, ret);
	return taken + (ret == -EAGAIN);
}

static void settle(struct link *link)
{
	uint64_t *lost = &link->counters.drops[DROP_CAST_LOST];
	uint64_t missing = link->casts_told - link->casts_taken - *lost;

	if ((int64_t)missing > 0)
		counter_add(lost, missing);
}

void path_cast_settle(const struct port_view *view)
{
	for (unsigned i = 0; i < view->num_links; i++)
		settle(view->links[i]);
}

void path_cast_end(struct link *link)
{
	load_told(link);
	settle(link);
}

/* ---- before sleep ---- */

/* What read() would wait for: the slot at the cursor is in writing, and W not far. */
static bool waits_for_writer(const struct shmnet_cast_reader *reader)
{
	uint64_t word =
		shmnet_cast_load_word(shmnet_cast_slot_at(&reader->ring, reader->cursor));

	return shmnet_cast_judge(reader, word) == SHMNET_CAST_FOUND_WRITING &&
	       reader->head - reader->cursor <= reader->ring.depth / 2;
}

bool path_cast_is_quiet(const struct cast *cast, int *timeout_ms)
{
	const struct shmnet_cast_reader *reader = &cast->reader;
	uint64_t head, now;
	int left;

	if (cast_rests(cast))
		return true;
	head = shmnet_cast_load_head(&reader->ring);
	if ((head & ~SHMNET_CAST_CLOSED) != reader->head)
		return false;
	if (reader->cursor == reader->head)
		return !(head & SHMNET_CAST_CLOSED); /* that is to be said */
	if (!waits_for_writer(reader))
		return false;
	now = clock_now_ns();
	if (now >= cast->patient_ns)
		return false;
	left = (int)((cast->patient_ns - now) / NSEC_PER_MSEC) + 1;
	if (*timeout_ms < 0 || left < *timeout_ms)
		*timeout_ms = left;
	return true;
}
