/*
 * The commands in a link's rings: pings, asked by the control thread, and answered
 * by the other side's worker in the turn in which it finds them [42].
 *
 * Owns a link's struct command_state. Never allocates, blocks or logs. Each function
 * says whose thread it is: the worker alone writes to the ring.
 *
 * Theory of operation
 * -------------------
 * A link has some slots. Each goes from one thread to the other by two words of one
 * writer each:
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
 * What a peer can do: pings beyond the answers that it has read are not answered, so
 * they take no more than COMMAND_ANSWERS_MAX records of the ring that it should read,
 * out of the room that is kept for commands; it delays only itself, because a turn
 * takes a burst of records from each link, whatever they are.
 */
#ifndef DATA_COMMAND_H
#define DATA_COMMAND_H

#include <shmnet/ring.h>

#include <stdbool.h>
#include <stdint.h>

#define COMMAND_PINGS_MAX   16 /* of one link, unanswered */
#define COMMAND_ANSWERS_MAX 32 /* records of 64 bytes: half of the commands' room */

struct link;

struct command_ping {
	uint64_t token;	  /* control's */
	uint64_t done;	  /* the worker's, as the rest */
	uint64_t time_ns; /* of the answer to `done` */
	uint64_t sent;	  /* the last token that was sent, or could not be */
	uint64_t sent_ns;
};

/* Zeroed at the start. */
struct command_state {
	struct command_ping pings[COMMAND_PINGS_MAX];
	uint64_t answered_until; /* position behind our last PONG in the peer's ring */
	unsigned answers;	 /* that the peer may not have read */
	bool has_news;		 /* a ping was answered: control wants to know */
	bool is_mute;		 /* the peer is dead: nothing is answered */
};

/* Control: -EBUSY if all slots are taken. The worker is still to be woken. */
int command_ask(struct link *link, uint64_t token);

/* Control: the token, if it has not been answered, is asked no more. */
bool command_forget(struct link *link, uint64_t token);

/* Control: an answer, each once. */
bool command_take_answer(struct link *link, uint64_t *ret_token, uint64_t *ret_time_ns);

/* Worker: sends what was asked; not yet published. */
void command_send_pings(struct link *link);

/* Worker: a record with SHMNET_RECORD_COMMAND. 0, or -EPROTO. */
int command_receive(struct link *link, const struct shmnet_record *record);

#endif
