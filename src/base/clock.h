/*
 * The monotonic clock, read by the worker (data), by the libevent
 * back end of the control plane's world, and by what the daemon has around both
 * (node, node_report, adapter). The membership and its peers are told the time, so
 * that the simulator can make it up.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

#define NSEC_PER_SEC  1000000000ull
#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_USEC 1000ull

static inline uint64_t clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/*
 * For how long the machine was suspended so far, which the clock above leaves out. The
 * two looks belong together only if we ran in between.
 */
static inline uint64_t clock_suspended_ns(void)
{
	struct timespec all;
	uint64_t now_ns;

	do {
		now_ns = clock_now_ns();
		clock_gettime(CLOCK_BOOTTIME, &all);
	} while (clock_now_ns() - now_ns > NSEC_PER_MSEC);
	return (uint64_t)all.tv_sec * NSEC_PER_SEC + (uint64_t)all.tv_nsec - now_ns;
}

/* The same, as of the last tick of the kernel: up to 10 ms old, and ten times cheaper. */
static inline uint64_t clock_coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* For a timer of libevent, which is due no sooner. */
static inline struct timeval clock_timeval(uint64_t ns)
{
	const uint64_t us = ns / NSEC_PER_USEC + (ns % NSEC_PER_USEC != 0);

	return (struct timeval){.tv_sec = (time_t)(us / 1000000),
				.tv_usec = (suseconds_t)(us % 1000000)};
}

#endif
