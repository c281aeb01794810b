/*
 * Whose the cast ring is: three nodes that make one, take it over from a dead maker, give
 * it up if a member may be stopped in it, and agree again after a partition. The rules are
 * at the head of src/control/cast_group.c; what happens inside a ring is castepoch.pml's.
 *
 * Up to CRASHES nodes die, at any step; CUTS times one node and the other two cease to hear
 * each other, and do again. Who notices what first is left open, and so is whether the end
 * of a node of the other part is seen as an end or as silence. Everybody always wants a
 * ring. At first there is none, with SETTLED all have one. What is said is heard in one
 * step, at any time: what is under way is not said yet.
 *
 * Claims: an epoch is given to one node once; a ring is left only when it is closed; and
 * when nothing more can happen, all that live have the same open ring, know the same of
 * it, and no more than EPOCHS were needed: they don't make rings for ever.
 *
 * A ring is known by an epoch: memory and maker are those of whoever claimed that. A ring
 * that was taken over has its old memory and a new epoch.
 *
 * Who finds that somebody was first looks again later. That everything which was to be said
 * to it has come by then is taken for granted; if it were not, rings would be made anew for
 * as long as it is not.
 *
 * Negative controls, each must fail: KNOWN_EPOCH (the next epoch is the last one known plus
 * one, not from the file), NO_RENEW (who takes over does not tell those who know the ring),
 * NO_ANYWAY (who finds that somebody was first never claims itself), HASTY (it claims
 * before it has heard what there is), and with a cut KEEP (who has a ring takes no better
 * one), NO_CLOSE (the lower ring is left open).
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef EPOCHS
#define EPOCHS 12
#endif

#define N 3

/* States of a group. */
#define NONE	  0
#define HELD	  1
#define ORPHANED  2
#define CONDEMNED 3

/* The file, and what was claimed. */
byte file, memory[EPOCHS + 1], maker[EPOCHS + 1];
bit closed[EPOCHS + 1];

/* The nodes. `label` is the epoch by which a node knows its ring; 0: it has none. */
bit alive[N], anyway[N];
byte state[N], label[N], known[N];
short been_in[N]; /* a bit for each ring */

/* A session as one side sees it, and whether it told the other side of its ring. */
bit up[N * N], told[N * N];

bit is_cut; /* between APART and the other two: which one does not matter */
#define APART 0

#define PAIR(a, b)  ((a) * N + (b))
#define CUT(a, b)   (is_cut && ((a) == APART || (b) == APART))
#define RING(a)	    memory[label[a]]
#define NOT_ALONE  (up[PAIR(me, 0)] || up[PAIR(me, 1)] || up[PAIR(me, 2)])

/* Who was late looks again when what was said meanwhile has come. */
#define NO_NEWS(b)                                                             \
	(!up[PAIR(me, b)] || !alive[b] || !label[b] || told[PAIR(b, me)])
#ifdef NO_ANYWAY
#define MAY_CLAIM (!anyway[me])
#elif defined(HASTY)
#define MAY_CLAIM true
#else
#define MAY_CLAIM (!anyway[me] || (NO_NEWS(0) && NO_NEWS(1) && NO_NEWS(2)))
#endif

inline tell_all_again()
{
	told[PAIR(me, 0)] = 0;
	told[PAIR(me, 1)] = 0;
	told[PAIR(me, 2)] = 0
}

/* The ring goes; it is not taken up again. */
inline leave()
{
	assert(closed[RING(me)]);
	been_in[me] = been_in[me] | (1 << RING(me));
	label[me] = 0
}

inline give_up()
{
#ifndef NO_CLOSE
	closed[RING(me)] = 1;
#endif
	leave()
}

inline claim()
{
	if
	:: file > known[me] && !anyway[me] -> anyway[me] = 1
	:: else ->
		anyway[me] = 0;
#ifdef KNOWN_EPOCH
		epoch = known[me] + 1;
		file = (epoch > file -> epoch : file);
#else
		file++;
		epoch = file;
#endif
		assert(epoch <= EPOCHS);
		assert(!memory[epoch]); /* given to nobody else */
		known[me] = epoch;
		memory[epoch] = (state[me] == ORPHANED -> RING(me) : epoch);
		maker[epoch] = me;
		if
		:: state[me] != ORPHANED && label[me] -> give_up()
		:: else
		fi;
		label[me] = epoch;
#ifdef NO_RENEW
		if
		:: state[me] != ORPHANED -> tell_all_again()
		:: else
		fi;
#else
		tell_all_again();
#endif
		state[me] = HELD
	fi;
	epoch = 0
}

inline hear(b)
{
	epoch = label[b];
	told[PAIR(b, me)] = 1;
	known[me] = (epoch > known[me] -> epoch : known[me]);
	if
	:: label[me] && memory[epoch] == RING(me) ->
		if
		:: epoch >= label[me] -> told[PAIR(me, b)] = 1
		:: else
		fi;
		if
		:: epoch > label[me] ->
			label[me] = epoch;
			state[me] = (state[me] == ORPHANED -> HELD : state[me])
		:: else
		fi
#ifdef KEEP
	:: !label[me] && !(been_in[me] & (1 << memory[epoch])) ->
#else
	:: !(label[me] && memory[epoch] == RING(me)) && epoch > label[me] &&
	   !(been_in[me] & (1 << memory[epoch])) ->
#endif
		if
		:: label[me] -> give_up()
		:: else
		fi;
		label[me] = epoch;
		state[me] = HELD;
		anyway[me] = 0;
		tell_all_again()
	:: else
	fi;
	epoch = 0
}

inline lose(other)
{
	up[PAIR(me, other)] = 0;
	told[PAIR(me, other)] = 0
}

/* What it does with another one. */
#define WITH(b)                                                                        \
	:: atomic { alive[me] && up[PAIR(me, b)] && up[PAIR(b, me)] && label[b] &&     \
		    !told[PAIR(b, me)] -> hear(b) }                                    \
	/* The end of its connection; its death is proved. */                          \
	:: atomic { alive[me] && up[PAIR(me, b)] && !alive[b] ->                         \
		lose(b);                                                            \
		state[me] = (state[me] == HELD && maker[label[me]] == b ->                \
			ORPHANED : state[me]) }                                         \
	/* Silence. */                                                                 \
	:: atomic { alive[me] && up[PAIR(me, b)] && CUT(me, b) ->                         \
		lose(b);                                                            \
		state[me] = (state[me] == HELD || state[me] == ORPHANED ->                \
			CONDEMNED : state[me]) }                                        \
	/* The other one has given up. */                                              \
	:: atomic { alive[me] && up[PAIR(me, b)] && alive[b] && !up[PAIR(b, me)] &&       \
		    !CUT(me, b) -> lose(b) }                                         \
	/* They find each other. */                                                    \
	:: atomic { alive[me] && alive[b] && me < b && !CUT(me, b) &&                     \
		    !up[PAIR(me, b)] && !up[PAIR(b, me)] ->                              \
		up[PAIR(me, b)] = 1;                                                    \
		up[PAIR(b, me)] = 1 }

proctype node(byte me)
{
	byte epoch;

end:	do
	:: atomic { !alive[me] -> break }
	:: atomic { alive[me] && state[me] == NONE && NOT_ALONE && MAY_CLAIM -> claim() }
	:: atomic { alive[me] && (state[me] == ORPHANED || state[me] == CONDEMNED) &&
		    MAY_CLAIM -> claim() }
	/* Somebody has closed it. */
	:: atomic { alive[me] && label[me] && closed[RING(me)] ->
		leave();
		state[me] = NONE }
	WITH((me + 1) % N)
	WITH((me + 2) % N)
	od
}

inline crash()
{
	alive[me] = 0;
	state[me] = NONE;
	label[me] = 0;
	known[me] = 0;
	anyway[me] = 0;
	been_in[me] = 0;
	tell_all_again();
	up[PAIR(me, 0)] = 0;
	up[PAIR(me, 1)] = 0;
	up[PAIR(me, 2)] = 0
}

proctype deaths()
{
	byte left = CRASHES, me;

	do
	:: left == 0 -> break
	:: atomic { left > 0 ->
		left--;
		if
		:: me = 0
		:: me = 1
		:: me = 2
		:: left = 0 -> goto done
		fi;
		if
		:: alive[me] -> crash()
		:: else
		fi;
		me = 0 }
	od;
done:
	skip
}

proctype partition()
{
	byte left = CUTS;

	do
	:: left > 0 ->
		is_cut = 1;
		atomic { is_cut = 0; left-- }
	:: else -> break
	od
}

#define AGREE(a, b)                                                                    \
	(!alive[a] || !alive[b] ||                                                     \
	 (state[a] == HELD && label[a] && label[a] == label[b] && !closed[RING(a)]))

init
{
	byte i;

	atomic {
#ifdef SETTLED
		file = 1;
		memory[1] = 1;
#endif
		do
		:: i < N ->
			alive[i] = 1;
#ifdef SETTLED
			state[i] = HELD;
			label[i] = 1;
			known[i] = 1;
			told[PAIR(i, (i + 1) % N)] = 1;
			told[PAIR(i, (i + 2) % N)] = 1;
#endif
			up[PAIR(i, (i + 1) % N)] = 1;
			up[PAIR(i, (i + 2) % N)] = 1;
			run node(i);
			i++
		:: else -> break
		od;
		i = 0;
		run deaths();
		run partition()
	}
	timeout ->
		assert(AGREE(0, 1) && AGREE(1, 2) && AGREE(0, 2))
}
