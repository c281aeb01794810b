/*
 * The commands in a link's rings: pings, asked by the control thread, and answered
 * by the other side's worker in the turn in which it finds them [42]; and messages,
 * from one control thread to the other.
 *
 * Owns a link's struct command_state. Never allocates, blocks or logs. Each function
 * says whose thread it is: the worker alone writes to the ring.
 *
 * Theory of operation
 * -------------------
 * For pings a link has some slots. Each goes from one thread to the other by two words
 * of one writer each:
 *
 *     control   token: what is asked; 0: the slot is free            (A, C)
 *     worker    done:  the token that was answered last              (B)
 *
 * Control writes `token` into a free slot (A, release) and wakes the worker, which
 * sends whatever differs from what it sent last, and stamps it. A PONG with that
 * token writes the time, then `done` (B, release). Control finds done == token (acquire),
 * reads the time, and frees the slot (C). It may free it before: a PONG that comes
 * later belongs to no slot and is counted as nobody's. Tokens are never used twice, so
 * a slot that is used again can't be answered by the PONG of its former use, and the
 * time that control reads is that of its own token.
 *
 * Messages go through two posts of the link (data/post.h): `outbox` from control to
 * the worker, which puts what it finds into the ring, and `inbox` back. They are lost
 * where there is no room, in the ring or in the inbox, and counted; who sent one
 * learns that from what does not come back.
 *
 * Room. Frames leave SHMNET_RING_COMMAND_ROOM, and messages leave COMMAND_PING_ROOM of
 * that: a ring that is full of both still takes pings and their answers.
 *
 * What a peer can do: pings beyond the answers that it has read are not answered, so
 * they take no more than COMMAND_ANSWERS_MAX records of the ring that it should read,
 * out of the room that is kept for them. Messages beyond what control has taken of
 * its link are lost, and nobody else's: no two links share a post. It delays only
 * itself, because a turn takes a burst of records from each link, whatever they are.
 */
#ifndef DATA_COMMAND_H
#define DATA_COMMAND_H

#include "data/post.h"

#include <shmnet/command.h>
#include <shmnet/ring.h>

#include <stdbool.h>
#include <stdint.h>

#define COMMAND_PINGS_MAX   16	  /* of one link, unanswered */
#define COMMAND_ANSWERS_MAX 32	  /* that the peer has not read */
#define COMMAND_PING_ROOM   4096u /* for both, records of 64 bytes */

#define COMMAND_POST_SIZE (128u << 10) /* a burst of the longest messages, and more */
#define COMMAND_BURST	  64	       /* messages to send in a turn */

struct link;

struct command_ping {
	uint64_t token;	  /* control's */
	uint64_t done;	  /* the worker's, as the rest */
	uint64_t time_ns; /* of the answer to `done` */
	uint64_t sent;	  /* the last token that was sent, or could not be */
	uint64_t sent_ns;
};

/* Zeroed at the start; without command_open() it takes no messages. */
struct command_state {
	struct post outbox; /* messages that control sends */
	struct post inbox;  /* that came for it */
	struct command_ping pings[COMMAND_PINGS_MAX];
	uint64_t answered_until; /* position behind our last PONG in the peer's ring */
	unsigned answers;	 /* that the peer may not have read */
	bool has_news;		 /* an answer or a message came: control wants to know */
	bool is_mute;		 /* the peer is dead: nothing is answered, or delivered */
};

/* Control, while no worker knows the link. 0 or -ENOMEM. */
int command_open(struct link *link);
void command_close(struct link *link); /* also if it could not be opened */

/* Control: -EBUSY if all slots are taken. The worker is still to be woken. */
int command_ask(struct link *link, uint64_t token);

/* Control: the token, if it has not been answered, is asked no more. */
bool command_forget(struct link *link, uint64_t token);

/* Control: an answer, each once. */
bool command_take_answer(struct link *link, uint64_t *ret_token, uint64_t *ret_time_ns);

/* Control: -EAGAIN: the worker has not sent what there is; -EMSGSIZE. To be woken. */
int command_say(struct link *link, const uint8_t *bytes, size_t length);

/* Control: the length of the next message of the peer; 0: there is none. */
size_t command_hear(struct link *link, uint8_t ret_bytes[SHMNET_COMMAND_MESSAGE_MAX]);

/* Worker: sends what was asked, or said; not yet published. True: there may be more. */
bool command_send(struct link *link);

/* Worker: a record with SHMNET_RECORD_COMMAND. 0, or -EPROTO. */
int command_receive(struct link *link, const struct shmnet_record *record);

#endif
