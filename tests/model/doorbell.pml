/*
 * Sleeping and waiting on a pair ring: nobody sleeps while what it waits for is
 * there. shmnet/ring.h: publish() and credit() against rx_sleep() and tx_wait().
 *
 * Spin interleaves atomic steps (sequential consistency), but the protocol is a
 * "store, then load the other's word" on each side, which is exactly what a store
 * buffer breaks. So each side has one here: a store goes into a FIFO and reaches the
 * memory at any later time (x86-TSO; neither side ever loads a word that it stores, so
 * nothing is forwarded). A store that is SEQ_CST in ring.h waits for its FIFO to
 * drain before the next load, as xchg or mfence do. Architectures that are weaker
 * than TSO give SEQ_CST operations the same order; the release-acquire pairs (A)-(D)
 * which carry the records are the subject of ring.pml.
 *
 * One socket carries the doorbells of all networks and both directions: a bell may
 * be spurious, and a full socket swallows one. Death is the EOF of that socket, and
 * comes after the last store of the dead.
 *
 * Lost wake-up: a side is blocked and nothing else can happen: invalid end state.
 * Negative controls, each must fail: WEAK_TRANSMITTER, WEAK_RECEIVER (that side's
 * stores do not wait for the FIFO), FLAG (a flag in place of the number), EARLY (sleep
 * without a second look).
 */
#ifndef RECORDS
#define RECORDS 4
#endif
#ifndef ROOM
#define ROOM 2
#endif
#ifndef SPURIOUS
#define SPURIOUS 1
#endif

#define HEAD	0
#define ASLEEP	1
#define TAIL	2
#define WAITING 3

byte word[4];
chan tx_stores = [3] of { byte, byte };
chan rx_stores = [3] of { byte, byte };
chan tx_bells = [2] of { bit };
chan rx_bells = [2] of { bit };
bool tx_gone, rx_gone;	     /* seen by the other side as EOF */
bool tx_killed, rx_killed;   /* may happen at any step */

#ifdef WEAK_TRANSMITTER
#define TX_FENCE skip
#else
#define TX_FENCE empty(tx_stores)
#endif
#ifdef WEAK_RECEIVER
#define RX_FENCE skip
#else
#define RX_FENCE empty(rx_stores)
#endif

inline ring_bell(bells)
{
	atomic {
		if
		:: nfull(bells) -> bells!1
		:: full(bells) /* EAGAIN: one is on its way */
		fi
	}
}

/* must_ring(): `value` is the other's number, `rung` ours. */
inline must_ring(place, value, rung, bells)
{
	value = word[place];
	if
#ifdef FLAG
	:: value == 0 -> rung = 0
#else
	:: value == 0
#endif
	:: value != 0 && value == rung
	:: value != 0 && value != rung ->
		rung = value;
		ring_bell(bells)
	fi
}

/* The next number; with FLAG it is always the same. */
#ifdef FLAG
#define NEXT(number) number = 1
#else
#define NEXT(number) number++
#endif

active proctype transmitter()
{
	byte head, tail, value, rung, number;

	do
	:: tx_killed -> goto gone
	:: !tx_killed && head == RECORDS -> break
	:: !tx_killed && head < RECORDS && head - tail < ROOM ->
		/* one or several records */
		head++;
		do
		:: head < RECORDS && head - tail < ROOM -> head++
		:: break
		od;
		tx_stores!HEAD,head;
		TX_FENCE;
		must_ring(ASLEEP, value, rung, rx_bells)
	:: !tx_killed && head < RECORDS && head - tail == ROOM ->
		tail = word[TAIL];
		if
		:: head - tail < ROOM
		:: head - tail == ROOM ->
			do
			:: tx_bells?_
			:: break
			od;
			NEXT(number);
			tx_stores!WAITING,number;
			TX_FENCE;
#ifndef EARLY
			tail = word[TAIL];
#endif
			if
			:: head - tail < ROOM
			:: head - tail == ROOM ->
				if
				:: tx_bells?_
				:: rx_gone -> goto gone
				:: tx_killed -> goto gone
				fi
			fi;
			tx_stores!WAITING,0
		fi
	od;
gone:
	empty(tx_stores);
	tx_gone = true
}

active proctype receiver()
{
	byte head, tail, credited, value, rung, number;
	bool last;

	do
	:: rx_killed -> goto gone
	:: !rx_killed ->
		last = tx_gone; /* first the EOF, then W: what it left is there */
		head = word[HEAD];
		assert(head >= tail && head - credited <= ROOM);
		do
		:: tail < head ->
progress:		tail++;
			if
			:: goto give_back /* a quarter of the ring is free */
			:: skip
			fi
		:: tail == head -> goto give_back
		od;
give_back:
		if
		:: credited == tail
		:: credited != tail ->
			credited = tail;
			rx_stores!TAIL,tail;
			RX_FENCE;
			must_ring(WAITING, value, rung, tx_bells)
		fi;
		if
		:: tail < head
		:: tail == head && last -> goto drained
		:: tail == head && !last ->
			/* bells that were heard before the announcement say nothing */
			do
			:: rx_bells?_
			:: break
			od;
			NEXT(number);
			rx_stores!ASLEEP,number;
			RX_FENCE;
#ifdef EARLY
			value = tail;
#else
			value = word[HEAD];
#endif
			if
			:: value != tail
			:: value == tail ->
				if
				:: rx_bells?_
				:: tx_gone
				:: rx_killed -> goto gone
				fi
			fi;
			rx_stores!ASLEEP,0
		fi
	od;
drained:
	assert(tail == word[HEAD]);
	assert(tx_killed || tail == RECORDS);
gone:
	empty(rx_stores);
	rx_gone = true
}

active proctype store_buffers()
{
	byte place, value;

end:	do
	:: atomic { tx_stores?place,value -> word[place] = value; place = 0; value = 0 }
	:: atomic { rx_stores?place,value -> word[place] = value; place = 0; value = 0 }
	od
}

/* Bells for other rings of the same pair. */
active proctype others()
{
	byte n;

	do
	:: n < SPURIOUS -> n++; ring_bell(tx_bells)
	:: n < SPURIOUS -> n++; ring_bell(rx_bells)
	:: break
	od
}

#ifdef KILL
active proctype killer()
{
	if
	:: tx_killed = true
	:: rx_killed = true
	:: skip
	fi
}
#endif
