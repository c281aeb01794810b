/*
 * Showing life on RDMA: the BEATs and NOTEDs of src/data/fabric_rdma.c. Each side may
 * have BEATS of its own that it was not told to have come; a BEAT tells how many came
 * since the last time, and NOTED does once that is NOTED_AT. Both cost the other side
 * a receive until it takes them.
 *
 * Neither side ever lacks a receive, and whatever crosses whatever, one of them can go
 * on: a state in which nobody can is an invalid end state. Nobody ends.
 *
 * Negative controls, each must fail: SILENT (no NOTED), MANY (a BEAT more), ECHO (a NOTED
 * for each BEAT).
 */
#define BEATS	 4
#define NOTED_AT 2
#define RECEIVES (BEATS + BEATS / NOTED_AT)

#ifdef ECHO
#define NOTED_NOW 1
#else
#define NOTED_NOW NOTED_AT
#endif
#ifdef MANY
#define MAY_BEAT (unnoted <= BEATS)
#else
#define MAY_BEAT (unnoted < BEATS)
#endif

/* What was sent and not taken yet: is it a BEAT, and how many does it tell of? */
chan wire[2] = [RECEIVES + 1] of { bit, byte };

proctype node(bit me)
{
	byte unnoted, unsaid, news;
	bit is_beat;

	do
	:: atomic {
		MAY_BEAT ->
		assert(len(wire[me]) < RECEIVES);
		wire[me]!1,unsaid;
		unnoted++;
		unsaid = 0
	}
#ifndef SILENT
	:: atomic {
		unsaid >= NOTED_NOW ->
		assert(len(wire[me]) < RECEIVES);
		wire[me]!0,unsaid;
		unsaid = 0
	}
#endif
	:: atomic {
		wire[1 - me]?is_beat,news ->
		assert(news <= unnoted && (is_beat || news > 0));
		unnoted = unnoted - news;
		unsaid = unsaid + is_beat;
		assert(unsaid <= BEATS);
		is_beat = 0;
		news = 0
	}
	od
}

init
{
	atomic {
		run node(0);
		run node(1)
	}
}
