/* See book.h. */
#include "control/book.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NSEC_PER_MSEC 1000000ull

/* So much younger may the line of a former life look after it has travelled. */
#define SLACK_NS (2000 * NSEC_PER_MSEC)

struct book {
	struct peer_life self;
	uint64_t started_ns;
	uint64_t lifetime_ns;
	char words[BOOK_WORDS_MAX];
	unsigned count;
	struct book_line lines[BOOK_LINES_MAX]; /* by id */
};

int book_new(const struct peer_life *self, unsigned lifetime_ms, uint64_t now_ns,
	     struct book **ret_book)
{
	struct book *book = calloc(1, sizeof(*book));

	if (!book)
		return -ENOMEM;
	book->self = *self;
	book->self.age_ms = 0;
	book->started_ns = now_ns;
	book->lifetime_ns = lifetime_ms * NSEC_PER_MSEC;
	*ret_book = book;
	return 0;
}

void book_free(struct book *book)
{
	free(book);
}

/* ---- lines ---- */

/* Where the id is, or has to be added. */
static unsigned search(const struct book *book, uint16_t node_id)
{
	unsigned low = 0, high = book->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (book->lines[middle].life.id < node_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct book_line *book_find(const struct book *book, uint16_t node_id)
{
	const struct book_line *line = &book->lines[search(book, node_id)];

	if (line == &book->lines[book->count] || line->life.id != node_id)
		return NULL;
	return line;
}

static struct book_line *find(struct book *book, uint16_t node_id)
{
	return (struct book_line *)book_find(book, node_id);
}

unsigned book_count(const struct book *book)
{
	return book->count;
}

static enum book_news add(struct book *book, const struct book_line *line)
{
	unsigned at = search(book, line->life.id);

	if (book->count == BOOK_LINES_MAX)
		return BOOK_FULL;
	memmove(&book->lines[at + 1], &book->lines[at],
		(book->count - at) * sizeof(book->lines[0]));
	book->lines[at] = *line;
	book->count++;
	return BOOK_APPEARED;
}

/* The next life of the same id. */
static enum book_news replace(struct book_line *line, const struct book_line *next)
{
	uint64_t former = line->life.nonce;

	*line = *next;
	line->former = former;
	return BOOK_APPEARED;
}

/* ---- what is said ---- */

static enum book_news twins(struct book *book, const struct peer_life *known,
			    const struct peer_life *said)
{
	snprintf(book->words, sizeof(book->words),
		 "id %u is that of %s at %s and of %s at %s: two live nodes with one id",
		 known->id, known->name, known->address.text, said->name,
		 said->address.text);
	return BOOK_TWINS;
}

const char *book_words(const struct book *book)
{
	return book->words;
}

static bool is_same_place(const struct peer_life *a, const struct peer_life *b)
{
	return strcmp(a->name, b->name) == 0 &&
	       strcmp(a->address.text, b->address.text) == 0;
}

/* Nobody else can have the name and the address of a node: that is its next life. */
static enum book_news meet_another_life(struct book *book, struct book_line *line,
					const struct book_line *met)
{
	if (line->is_met && !is_same_place(&line->life, &met->life))
		return twins(book, &line->life, &met->life);
	return replace(line, met);
}

enum book_news book_meet(struct book *book, const struct peer_life *life, uint64_t now_ns)
{
	const struct book_line met = {
		.life = *life, .seen_ns = now_ns, .added_ns = now_ns, .is_met = true};
	struct book_line *line = find(book, life->id);
	bool is_moved;

	if (life->id == book->self.id)
		return life->nonce == book->self.nonce ? BOOK_OURSELVES
						       : twins(book, &book->self, life);
	if (!line)
		return add(book, &met);
	if (line->life.nonce != life->nonce)
		return meet_another_life(book, line, &met);
	is_moved = !is_same_place(&line->life, life); /* hearsay was wrong */
	line->life = *life;
	line->seen_ns = now_ns;
	line->is_met = true;
	return is_moved ? BOOK_APPEARED : BOOK_FRESHER;
}

void book_part(struct book *book, const struct peer_life *life)
{
	struct book_line *line = find(book, life->id);

	if (line && line->life.nonce == life->nonce)
		line->is_met = false;
}

/* Lines of our own former life may still be around, but none that are fresh. */
static enum book_news hear_own_id(struct book *book, const struct peer_life *life,
				  uint64_t seen_ns)
{
	if (life->nonce == book->self.nonce)
		return BOOK_OURSELVES;
	if (seen_ns < book->started_ns + SLACK_NS)
		return BOOK_OLD;
	return twins(book, &book->self, life);
}

static enum book_news hear_same_life(struct book_line *line,
				     const struct book_line *heard)
{
	if (heard->seen_ns <= line->seen_ns || !is_same_place(&line->life, &heard->life))
		return BOOK_OLD;
	line->seen_ns = heard->seen_ns;
	return BOOK_FRESHER;
}

static enum book_news hear_another_life(struct book *book, struct book_line *line,
					const struct book_line *heard)
{
	if (line->is_met || heard->seen_ns <= line->seen_ns)
		return BOOK_OLD;
	if (heard->life.nonce != line->former)
		return replace(line, heard);
	/* The one that this one replaced is fresher than that was long ago. */
	if (heard->seen_ns < line->added_ns + SLACK_NS)
		return BOOK_OLD;
	return twins(book, &line->life, &heard->life);
}

enum book_news book_hear(struct book *book, const struct peer_life *life, uint64_t now_ns)
{
	uint64_t age_ns = life->age_ms * NSEC_PER_MSEC;
	uint64_t seen_ns = now_ns > age_ns ? now_ns - age_ns : 0;
	const struct book_line heard = {
		.life = *life, .seen_ns = seen_ns, .added_ns = now_ns};
	struct book_line *line = find(book, life->id);

	if (age_ns >= book->lifetime_ns)
		return BOOK_OLD;
	if (life->id == book->self.id)
		return hear_own_id(book, life, seen_ns);
	if (!line)
		return add(book, &heard);
	if (line->life.nonce == life->nonce)
		return hear_same_life(line, &heard);
	return hear_another_life(book, line, &heard);
}

/* ---- what is told ---- */

void book_expire(struct book *book, uint64_t now_ns,
		 void (*gone)(void *arg, uint16_t node_id), void *arg)
{
	for (unsigned i = book->count; i-- > 0;) {
		struct book_line *line = &book->lines[i];
		uint16_t node_id = line->life.id;

		if (now_ns - line->seen_ns < book->lifetime_ns)
			continue;
		book->count--;
		memmove(line, line + 1, (book->count - i) * sizeof(*line));
		gone(arg, node_id);
	}
}

/* Never younger than it is, or a dead node's line would live on by travelling. */
static uint32_t age_of(const struct book_line *line, uint64_t now_ns)
{
	return (uint32_t)((now_ns - line->seen_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

unsigned book_fill(const struct book *book, unsigned start, uint64_t now_ns,
		   struct peer_look *look)
{
	look->self = book->self;
	look->num_others = 0;
	while (look->num_others < PEER_LIVES_MAX && start < book->count) {
		struct peer_life *life = &look->others[look->num_others++];
		const struct book_line *line = &book->lines[start++];

		*life = line->life;
		life->age_ms = age_of(line, now_ns);
	}
	return look->num_others;
}
