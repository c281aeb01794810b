/*
 * A member that joins as it should and then lies: to every node that calls it, in one
 * way, by a seed.
 *
 *     hostile.c        arguments, the loop, verdicts
 *     session.c        joining, sending, what an honest member does between two lies
 *     lies_ring.c      indices, headers, commands, frames, pages
 *     lies_channel.c   messages, descriptors, bells, joining
 *     lies_cast.c      cast rings
 *
 * One thread, and one more where pages change while they are read.
 */
#ifndef TESTS_HOSTILE_HOSTILE_H
#define TESTS_HOSTILE_HOSTILE_H

#include "base/memfd.h"
#include "control/codec_peer.h"

#include <shmnet/command.h>

#include <pthread.h>
#include <stdbool.h>

#define SESSIONS_MAX 16
#define FDS_MAX	     250

/* What becomes of who tells it. */
enum expectation {
	EXPECT_QUARANTINE,
	EXPECT_KEPT,   /* it harms itself only, and is counted */
	EXPECT_ENDED,  /* its session ends, but it broke no rule */
	EXPECT_EITHER, /* a race, or a matter of the seed */
};

struct session;

struct lie {
	const char *name;
	enum expectation expectation;
	/* In place of what is said from HELLO to READY. */
	void (*join)(struct session *session);
	/* Once it is up, and again and again; `round` counts from 0. */
	void (*tell)(struct session *session, unsigned round);
	/* By another thread, as long as the session lives. */
	void (*flip)(struct session *session);
};

struct hostile {
	const struct lie *lie;
	const char *directory;
	const char *network;
	uint16_t id;
	uint32_t mtu;
	uint64_t seed; /* as it was given */
	unsigned victims;
	unsigned patience_ms;
	int listen_fd, lock_fd;
	uint64_t random;
	uint64_t nonce;
	struct session *sessions[SESSIONS_MAX];
	unsigned num_sessions;
};

struct session {
	struct hostile *self;
	int channel;
	char name[CONFIG_NAME_MAX]; /* of the victim */
	uint16_t id;
	uint64_t random;
	int hear_fd;  /* our bell's: the victim rings, we hear */
	int given_fd; /* a copy of what the victim rings with */
	int ring_fd;  /* the victim's bell */
	int rx_fd, tx_fd;
	struct ring_map rx_map, tx_map; /* ours; the victim's */
	struct shmnet_ring_rx rx;
	struct shmnet_ring_tx tx;
	uint64_t rx_salt;
	int cast_fd;
	struct cast_map cast_map;
	struct shmnet_cast_ring cast;
	bool is_ready, is_up, is_over;
	bool is_deaf; /* it reads no messages */
	unsigned round;
	uint64_t lied_ns; /* 0: not yet */
	uint64_t over_ns;
	char verdict[PEER_WORDS_MAX + 16];
	pthread_t flipper;
	bool has_flipper;
};

extern const struct lie ring_lies[], channel_lies[], cast_lies[]; /* end: no name */

/* ---- session.c ---- */

uint64_t now_ns(void);
/* Never 0. */
uint64_t random_next(uint64_t *state);
void die(const char *what);

int hostile_listen(struct hostile *self);
void session_accept(struct hostile *self);
void session_free(struct session *session);
void session_join(struct session *session);
/* What the victim said; over when it has said its last word. */
void session_hear(struct session *session);
/* A beat, and whatever it sent us is taken. */
void session_live(struct session *session);

void send_bytes(struct session *session, const void *bytes, size_t length, const int *fds,
		unsigned num_fds);
void send_message(struct session *session, const struct peer_message *message,
		  const int *fds, unsigned num_fds);
void fill_hello(const struct session *session, struct peer_message *ret_message);
void fill_ring(const struct session *session, struct peer_message *ret_message);
void say_hello(struct session *session);
void say_bell(struct session *session);
void say_ring(struct session *session);
void say_ready(struct session *session);

void ring_bell(struct session *session);
/* False if there is no room. Not yet shown. */
bool put_record(struct session *session, const void *payload, uint32_t length,
		uint32_t flags);
void show(struct session *session);
/* The header of the record that was put last but not shown. */
struct shmnet_ring_header *last_header(struct session *session);
bool put_command(struct session *session, uint16_t type, uint16_t zero, uint32_t claimed,
		 const void *bytes, uint32_t length);
/* A frame for the victim, in the buffer; returns its length with the virtio-net header.
 */
uint32_t make_frame(const struct session *session, uint8_t *buffer, uint32_t length);
void send_frames(struct session *session, unsigned count);
void send_pings(struct session *session, unsigned count);

/* As the session lives on. */
bool flips_on(const struct session *session);

#endif
