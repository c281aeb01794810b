/*
 * Who answers for the addresses of a global network on a LAN, and whom the neighbours there
 * take for it: src/control/dispatch_member.c. Three members, all of which could.
 *
 * Up to CRASHES of them die, at any step; CUTS times one and the other two cease to hear
 * each other and do again, while the LAN still has all of them; FLAPS times the interface
 * of the first one is gone for a while; ASKS times a neighbour asks, and takes whoever
 * answers. Each side notices the end of a session by itself. What a member says of itself
 * is heard at some time, by each other one, in its last version only: those in between
 * may be lost, which its generation shows.
 *
 * Claim: when nothing more can happen, of those who live the one with the lowest id answers,
 * no other does, and the neighbours have learned it last.
 *
 * What no member can notice is left out: that the last one to be learned dies while others
 * don't hear it anyway. There neighbours have to find out themselves.
 *
 * Negative controls, each must fail: NEVER (who goes on says nothing), HEARD_ONLY (it does if
 * it heard the other one say that it answers, and then that it does not), FIRST_ONLY (or if
 * that is the first that it heard of it; with FLAPS), NO_DEATH (not at
 * the end of another one), KEEP_ON (nobody stops for a lower one), FORGET (what a member said
 * when it was cut off is not said again).
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef FLAPS
#define FLAPS 0
#endif
#ifndef ASKS
#define ASKS 1
#endif

#define N	   3
#define PAIR(a, b) ((a) * N + (b))

/* What a member says of itself. */
#define CANNOT	  1
#define CAN	  2
#define ANNOUNCES 3

bit alive[N], usable[N];
byte said[N];

/* A session as one side sees it, and what it has heard of the other side. */
bit up[N * N];
byte view[N * N]; /* 0: nothing yet */
/* How many versions of the first one the second has not heard; 2: or more. */
byte behind[N * N];

bit is_cut; /* between APART and the other two */
#ifndef APART
#define APART 0
#endif
#define CUT(a, b) (is_cut && ((a) == APART || (b) == APART))

byte lan; /* who the neighbours learned last */
byte asks;

#define ONE_MORE(b) behind[PAIR(me, b)] = (behind[PAIR(me, b)] -> 2 : 1)

inline publish()
{
	ONE_MORE(0);
	ONE_MORE(1);
	ONE_MORE(2);
	behind[PAIR(me, me)] = 0
}

/* Nobody starts before all lower ones have said what they are. */
#ifdef KEEP_ON
#define YIELDS(b)                                                              \
	(b < me && up[PAIR(me, b)] && said[me] != ANNOUNCES &&                 \
	 view[PAIR(me, b)] != CANNOT)
#else
#define YIELDS(b)                                                              \
	(b < me && up[PAIR(me, b)] &&                                          \
	 (view[PAIR(me, b)] == 0 -> said[me] != ANNOUNCES                      \
				  : view[PAIR(me, b)] != CANNOT))
#endif
#define SHOULD (usable[me] && !YIELDS(0) && !YIELDS(1))

/* `ceased`: somebody who may have answered, too. */
inline elect(ceased)
{
	if
	:: SHOULD && said[me] != ANNOUNCES ->
		said[me] = ANNOUNCES;
		lan = me;
		publish()
#ifndef NEVER
	:: SHOULD && said[me] == ANNOUNCES && (ceased) -> lan = me
#endif
	:: !SHOULD && said[me] != (usable[me] -> CAN : CANNOT) ->
		said[me] = (usable[me] -> CAN : CANNOT);
		publish()
	:: else
	fi
}

inline hear(b)
{
	former = view[PAIR(me, b)];
	is_gap = behind[PAIR(b, me)] == 2;
	view[PAIR(me, b)] = said[b];
	behind[PAIR(b, me)] = 0;
#ifdef HEARD_ONLY
	elect(former == ANNOUNCES && said[b] != ANNOUNCES);
#elif defined(FIRST_ONLY)
	elect((former == ANNOUNCES || former == 0) && said[b] != ANNOUNCES);
#else
	elect((former == ANNOUNCES || is_gap) && said[b] != ANNOUNCES);
#endif
	former = 0;
	is_gap = 0
}

inline lose(other)
{
	up[PAIR(me, other)] = 0;
	view[PAIR(me, other)] = 0;
#ifdef NO_DEATH
	elect(false)
#else
	elect(true)
#endif
}

inline find(other)
{
	up[PAIR(me, other)] = 1;
	up[PAIR(other, me)] = 1;
#ifndef FORGET
	behind[PAIR(me, other)] = 2;
	behind[PAIR(other, me)] = 2
#endif
}

/* What it does with another one. */
#define WITH(b)                                                                \
	:: atomic { alive[me] && up[PAIR(me, b)] && up[PAIR(b, me)] &&         \
		    behind[PAIR(b, me)] -> hear(b) }                           \
	/* Its death, or silence. */                                           \
	:: atomic { alive[me] && up[PAIR(me, b)] && (!alive[b] || CUT(me, b)) -> \
		lose(b) }                                                      \
	/* The other one has given up. */                                      \
	:: atomic { alive[me] && up[PAIR(me, b)] && alive[b] &&                \
		    !up[PAIR(b, me)] && !CUT(me, b) -> lose(b) }               \
	:: atomic { alive[me] && alive[b] && me < b && !CUT(me, b) &&          \
		    !up[PAIR(me, b)] && !up[PAIR(b, me)] -> find(b) }

proctype member(byte me)
{
	byte former;
	bit is_gap;

end:	do
	:: atomic { !alive[me] -> break }
	/* Its interface came, or went. */
	:: atomic { alive[me] && usable[me] == (said[me] == CANNOT) -> elect(false) }
	:: atomic { alive[me] && said[me] == ANNOUNCES && asks < ASKS ->
		asks++;
		if
		:: lan = me
		:: true /* nobody asks */
		fi }
	WITH((me + 1) % N)
	WITH((me + 2) % N)
	od
}

inline crash()
{
	alive[me] = 0;
	said[me] = CANNOT;
	up[PAIR(me, 0)] = 0;
	up[PAIR(me, 1)] = 0;
	up[PAIR(me, 2)] = 0;
	view[PAIR(me, 0)] = 0;
	view[PAIR(me, 1)] = 0;
	view[PAIR(me, 2)] = 0
}

#define NOTICED_BY(a) (a == me || !alive[a] || up[PAIR(a, me)])

proctype deaths()
{
	byte left = CRASHES, me;

	do
	:: atomic { left > 0 ->
		left--;
		if
		:: me = 0
		:: me = 1
		:: me = 2
		fi;
		if
		:: alive[me] && (lan != me || (NOTICED_BY(0) && NOTICED_BY(1) &&
						NOTICED_BY(2))) -> crash()
		:: else
		fi;
		me = 0 }
	:: atomic { true -> left = 0; break }
	od
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

proctype interface()
{
	byte left = FLAPS;

	do
	:: left > 0 ->
		usable[0] = 0;
		atomic { usable[0] = 1; left-- }
	:: else -> break
	od
}

/* Of those who live, that is the lowest. */
#define IS_FIRST(a) (alive[a] && (a == 0 || !alive[0]) && (a < 2 || !alive[1]))
#define RIGHT(a)                                                               \
	(!alive[a] ||                                                          \
	 (IS_FIRST(a) -> (said[a] == ANNOUNCES && lan == a) : said[a] == CAN))

init
{
	byte i;

	atomic {
		do
		:: i < N ->
			alive[i] = 1;
			usable[i] = 1;
			said[i] = (i == 0 -> ANNOUNCES : CAN);
			up[PAIR(i, (i + 1) % N)] = 1;
			up[PAIR(i, (i + 2) % N)] = 1;
			view[PAIR((i + 1) % N, i)] = said[i];
			view[PAIR((i + 2) % N, i)] = said[i];
			run member(i);
			i++
		:: else -> break
		od;
		i = 0;
		run deaths();
		run partition();
		run interface()
	}
	timeout ->
		assert(RIGHT(0) && RIGHT(1) && RIGHT(2))
}
