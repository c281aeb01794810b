/*
 * An event loop and an empty directory, for tests of what lives on both. Waiting is
 * for a condition, with a limit that only a failure reaches.
 */
#ifndef LOOP_H
#define LOOP_H

#include "base/clock.h"
#include "shim.h"

#include <dirent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOP_WAIT_NS (10 * NSEC_PER_SEC)

struct loop {
	struct event_base *base;
	struct event *tick; /* so that no turn waits for long */
	char dir[32];
};

static void loop_on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static inline bool loop_open(struct loop *loop)
{
	static const struct timeval interval = {.tv_usec = 10000};
	struct event_config *config = event_config_new();

	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	loop->tick = event_new(loop->base, -1, EV_PERSIST, loop_on_tick, NULL);
	snprintf(loop->dir, sizeof(loop->dir), "/tmp/shmnet-test.XXXXXX");
	return mkdtemp(loop->dir) && event_add(loop->tick, &interval) == 0;
}

/* Fails the test if the directory is not empty. */
static inline void loop_close(struct loop *loop)
{
	event_free(loop->tick);
	event_base_free(loop->base);
	CHECK_INT(rmdir(loop->dir), 0);
}

static inline unsigned loop_count_files(const struct loop *loop)
{
	DIR *dir = opendir(loop->dir);
	unsigned count = 0;

	while (dir && readdir(dir))
		count++;
	closedir(dir);
	return count - 2; /* "." and ".." */
}

static inline void loop_turn(struct loop *loop)
{
	event_base_loop(loop->base, EVLOOP_ONCE);
}

/* Several turns in which nothing is expected to happen. */
static inline void loop_idle(struct loop *loop)
{
	for (int i = 0; i < 10; i++)
		loop_turn(loop);
}

/* Fails the test if `words` are not part of `text`, and prints both. */
static inline void check_words(const char *text, const char *words)
{
	CHECK_STR(strstr(text, words) ? words : text, words);
}

#define LOOP_WAIT(loop, condition)                                                       \
	do {                                                                             \
		uint64_t deadline = clock_now_ns() + LOOP_WAIT_NS;                       \
                                                                                         \
		while (!(condition) && clock_now_ns() < deadline)                        \
			loop_turn(loop);                                                 \
		CHECK(condition);                                                        \
	} while (0)

#endif
