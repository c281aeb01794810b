/*
 * The book: which nodes there are on other machines, as they and others say it. A line
 * is a life of a node: id, name, nonce, where to dial it, and when it last said so
 * itself. seeds.c feeds it and asks it.
 *
 * Theory of operation
 *
 * Every node repeats its own line every few seconds, with an age of 0; others pass it on
 * with the age it has meanwhile, rounded up. So all books agree in the end, whatever the
 * ways and the order in which lines travel: of each id the freshest line wins. A line
 * that grew too old leaves, and as its age travels with it, it leaves everywhere at about
 * the same time and nobody brings it back. No clock is compared with another machine's.
 *
 * What a node says of itself over a channel of its own (book_meet) is a fact as long as
 * that channel is open (book_part); what others say of it (book_hear) is hearsay then,
 * and in one life of a node it never changes a name or an address. Hearsay is enough to
 * dial somebody, who then has to prove who he is; more is never made of it.
 *
 * Two live nodes with one id are told from a node and its former life by their lines:
 * of a former life there are no fresh ones. The one that was there stays in the book.
 *
 * Pure logic: the time is given, in nanoseconds of a clock that only grows. Control
 * thread.
 */
#ifndef CONTROL_BOOK_H
#define CONTROL_BOOK_H

#include "control/codec_peer.h"

#include <stdbool.h>
#include <stdint.h>

#define BOOK_LINES_MAX	 1024
#define BOOK_LIFETIME_MS 60000
#define BOOK_WORDS_MAX	 320

struct book;

struct book_line {
	struct peer_life life; /* its age is that of the moment it was heard */
	uint64_t seen_ns;      /* when it said so itself */
	uint64_t added_ns;     /* when this life was added */
	uint64_t former;       /* nonce of the life that this one replaced; 0: none */
	bool is_met;	       /* over a channel of its own that is open */
};

enum book_news {
	BOOK_OLD,	/* nothing that was not known */
	BOOK_FRESHER,	/* known, and it is alive */
	BOOK_APPEARED,	/* a node that was not known, or its next life */
	BOOK_OURSELVES, /* our own line */
	BOOK_TWINS,	/* two live nodes with one id: book_words() */
	BOOK_FULL,
};

/* `self` is ourselves; its age is not looked at. */
int book_new(const struct peer_life *self, unsigned lifetime_ms, uint64_t now_ns,
	     struct book **ret_book);
void book_free(struct book *book); /* accepts NULL */

/* The node itself said it. */
enum book_news book_meet(struct book *book, const struct peer_life *life,
			 uint64_t now_ns);
/* Its channel is closed, the last one if there were several. */
void book_part(struct book *book, const struct peer_life *life);
/* Another one said it. */
enum book_news book_hear(struct book *book, const struct peer_life *life,
			 uint64_t now_ns);

/* Drops what is too old; `gone` is told of each, after it went, and must add nothing. */
void book_expire(struct book *book, uint64_t now_ns,
		 void (*gone)(void *arg, uint16_t node_id), void *arg);

/* NULL: not known. Valid until the book is changed. */
const struct book_line *book_find(const struct book *book, uint16_t node_id);
unsigned book_count(const struct book *book);

/*
 * Puts ourselves and the next lines after the first `start` into a LOOK, with the ages
 * that they have now; returns how many were put. The rest of the LOOK is the caller's.
 */
unsigned book_fill(const struct book *book, unsigned start, uint64_t now_ns,
		   struct peer_look *look);

/* Of the last BOOK_TWINS: "id 3 is that of n3 at ... and of n7 at ...: two live ...". */
const char *book_words(const struct book *book);

#endif
