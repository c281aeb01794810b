/*
 * Records on a pair ring, with either side killed and restarted at any step.
 *
 * A receiver that starts (again), or sees its transmitter's death, offers a ring of a
 * new epoch: new memory, new salt. Both sides begin at position 0 of it. Who sees
 * the other's death salvages (receiver) or drops what it had sent (transmitter).
 *
 * Claims: a record is delivered at most once, in order, only when it was finished,
 * and as it was written; after a transmitter's death exactly the finished records
 * have been delivered, published or not; W and R are never refused between honest
 * sides; what a receiver reads is not overwritten before it is credited.
 *
 * Spin explores sequentially consistent interleavings. That is enough here: every
 * location but W, R and the sequence words has one writer at a time, and its readers
 * are ordered behind it by the release-acquire pairs (A)-(B), (C)-(D) and, for
 * salvage, (E) and the EOF; there is no race in which a weaker order could show. The
 * one place with a store and a load that race is the doorbell: see doorbell.pml,
 * which has store buffers.
 *
 * A step of the model is a load or store of shared memory. Records take one or two
 * slots; the second slot of a long one keeps whatever header was there before.
 *
 * Negative controls, each must fail: EARLY_SEQUENCE (written before the payload),
 * EARLY_PUBLISH (W before the header), EARLY_CREDIT (R before the payload is read),
 * NO_SALVAGE, SAME_MEMORY (a new epoch in the old memory, with the old salt).
 */
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef RECORDS
#define RECORDS 4
#endif
#ifndef KILLS
#define KILLS 2
#endif
#define EPOCHS (KILLS + 2)

#ifdef SAME_MEMORY
#define MEMORY(epoch)		  memory[0]
#define SEQUENCE(epoch, position) (position + 1)
#else
#define MEMORY(epoch)		  memory[epoch]
#define SEQUENCE(epoch, position) (epoch * 32 + position + 1)
#endif

typedef ring_memory {
	byte head;
	byte tail;
	byte sequence[SLOTS];
	byte length[SLOTS];
	byte payload[SLOTS]
}
ring_memory memory[EPOCHS];

/* The control channel: the newest offer, and EOFs. */
byte offer;
bool tx_dead[EPOCHS], rx_dead[EPOCHS];

/* What an onlooker knows. */
byte sent;		/* the last record begun: its number is its payload */
byte kills;
bool finished[RECORDS + 1];
byte finished_last[EPOCHS];
byte delivered_last;	/* of all epochs */
byte delivered_in[EPOCHS];

#define SLOT(position) ((position) % SLOTS)

active proctype transmitter()
{
	byte epoch, head, published, tail, length;

idle:
end_idle:
	atomic {
		offer > epoch && !rx_dead[offer];
		epoch = offer;
		head = 0; published = 0; tail = 0; length = 0
	}
end:	do
	:: sent < RECORDS && SLOTS - (head - tail) >= 1 ->
		atomic {
			if
			:: length = 1
			:: SLOTS - (head - tail) >= 2 -> length = 2
			fi;
			sent++
		}
#ifdef EARLY_PUBLISH
		MEMORY(epoch).head = head + length;
#endif
		if
		:: kills < KILLS -> goto killed
		:: skip
		fi;
#ifdef EARLY_SEQUENCE
		MEMORY(epoch).length[SLOT(head)] = length;
		MEMORY(epoch).sequence[SLOT(head)] = SEQUENCE(epoch, head);
		if
		:: kills < KILLS -> goto killed
		:: skip
		fi;
		MEMORY(epoch).payload[SLOT(head)] = sent;
#else
		MEMORY(epoch).payload[SLOT(head)] = sent;
		if
		:: kills < KILLS -> goto killed
		:: skip
		fi;
		MEMORY(epoch).length[SLOT(head)] = length;
		if
		:: kills < KILLS -> goto killed
		:: skip
		fi;
#endif
		atomic {
			MEMORY(epoch).sequence[SLOT(head)] = SEQUENCE(epoch, head);
			finished[sent] = true;
			finished_last[epoch] = sent;
			head = head + length
		}
	:: head - tail > 0 && tail != MEMORY(epoch).tail ->
		tail = MEMORY(epoch).tail;
		assert(tail <= published)
	:: published != head ->
		MEMORY(epoch).head = head;
		published = head
	:: rx_dead[epoch] -> goto idle
	:: kills < KILLS -> goto killed
	od;
killed:
	atomic {
		kills++;
		tx_dead[epoch] = true;
		goto idle
	}
}

/* Is there a finished record at this position? */
#define VALID(position)                                                          \
	(MEMORY(epoch).sequence[SLOT(position)] == SEQUENCE(epoch, position))

active proctype receiver()
{
	byte epoch, head, tail, credited, payload, length;
	bool salvaged;

restart:
	atomic {
		offer++;
		epoch = offer;
		head = 0; tail = 0; credited = 0; payload = 0; length = 0;
		salvaged = false
	}
end:	do
	:: tail != head ->
		assert(VALID(tail));
		length = MEMORY(epoch).length[SLOT(tail)];
		assert(length > 0 && length <= head - tail);
#ifdef EARLY_CREDIT
		MEMORY(epoch).tail = tail + length;
#endif
		if
		:: kills < KILLS -> goto killed
		:: skip
		fi;
		atomic {
			payload = MEMORY(epoch).payload[SLOT(tail)];
			assert(finished[payload]);
			assert(payload > delivered_last);
			delivered_last = payload;
			delivered_in[epoch] = payload
		}
		/* still the same when the last byte has been read */
		assert(MEMORY(epoch).payload[SLOT(tail)] == payload);
		tail = tail + length
	:: !salvaged && tail == head && MEMORY(epoch).head != head ->
		head = MEMORY(epoch).head;
		assert(head >= tail && head - tail <= SLOTS)
	:: credited != tail ->
		credited = tail;
		MEMORY(epoch).tail = tail
	:: tx_dead[epoch] ->
		salvaged = true; /* W is not believed any more */
#ifndef NO_SALVAGE
		do
		:: SLOTS - (head - tail) > 0 && VALID(head) ->
			length = MEMORY(epoch).length[SLOT(head)];
			if
			:: length <= SLOTS - (head - tail) -> head = head + length
			:: else -> break
			fi
		:: else -> break
		od;
#endif
		if
		:: tail != head /* deliver it: back to the loop */
		:: tail == head ->
			assert(delivered_in[epoch] == finished_last[epoch]);
			goto restart
		fi
	:: kills < KILLS -> goto killed
	od;
killed:
	atomic {
		kills++;
		rx_dead[epoch] = true;
		goto restart
	}
}

/* When nothing moves any more, all that the last epoch was given has arrived. */
active proctype onlooker()
{
	timeout ->
	assert(rx_dead[offer] || delivered_in[offer] == finished_last[offer]);
	assert(sent == RECORDS)
}
