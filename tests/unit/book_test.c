/*
 * The book: what is believed of what is said, for how long, and that all books agree in
 * the end.
 */
#include "control/book.h"
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MSEC	1000000ull
#define SEC	(1000 * MSEC)
#define START	(1000 * SEC)
#define NONCE_1 0x1111

static struct peer_life life_of(uint16_t id, uint64_t nonce, uint32_t age_ms)
{
	struct peer_life life = {.id = id, .nonce = nonce, .age_ms = age_ms};
	char text[CONFIG_ENDPOINT_MAX];

	snprintf(life.name, sizeof(life.name), "n%u", id);
	snprintf(text, sizeof(text), "192.0.%u.%u:7471", id >> 8, id & 0xff);
	CHECK_INT(config_endpoint_parse(text, &life.address, NULL), 0);
	return life;
}

static struct peer_life elsewhere(struct peer_life life)
{
	snprintf(life.name, sizeof(life.name), "other");
	CHECK_INT(config_endpoint_parse("198.51.100.1:7471", &life.address, NULL), 0);
	return life;
}

/* Of node 1. */
static struct book *open_book(void)
{
	struct peer_life self = life_of(1, NONCE_1, 0);
	struct book *book;

	if (book_new(&self, BOOK_LIFETIME_MS, START, &book) < 0)
		abort();
	return book;
}

static enum book_news hear(struct book *book, struct peer_life life, uint64_t now_ns)
{
	return book_hear(book, &life, now_ns);
}

static enum book_news meet(struct book *book, struct peer_life life, uint64_t now_ns)
{
	return book_meet(book, &life, now_ns);
}

struct gone {
	unsigned count;
	uint16_t last;
};

static void on_gone(void *arg, uint16_t node_id)
{
	struct gone *gone = arg;

	gone->count++;
	gone->last = node_id;
}

static uint64_t nonce_in(const struct book *book, uint16_t id)
{
	const struct book_line *line = book_find(book, id);

	return line ? line->life.nonce : 0;
}

TEST_CASE(book, the_freshest_line_wins)
{
	struct book *book = open_book();

	CHECK_INT(hear(book, life_of(3, 7, 5000), START), BOOK_APPEARED);
	CHECK_INT(hear(book, life_of(2, 5, 0), START), BOOK_APPEARED);
	CHECK_INT(hear(book, life_of(3, 7, 5000), START), BOOK_OLD);
	CHECK_INT(hear(book, life_of(3, 7, 4999), START), BOOK_FRESHER);
	CHECK_INT(hear(book, life_of(3, 8, 6000), START), BOOK_OLD);
	CHECK_INT(nonce_in(book, 3), 7);
	CHECK_INT(hear(book, life_of(3, 8, 100), START), BOOK_APPEARED);
	CHECK_INT(nonce_in(book, 3), 8);
	CHECK_INT(hear(book, life_of(3, 7, 200), START), BOOK_OLD);
	CHECK_INT(book_count(book), 2);
	CHECK_STR(book_find(book, 2)->life.address.text, "192.0.0.2:7471");
	CHECK(!book_find(book, 1) && !book_find(book, 4));
	book_free(book);
}

TEST_CASE(book, a_line_that_grew_too_old_leaves)
{
	struct book *book = open_book();
	struct gone gone = {0};

	CHECK_INT(hear(book, life_of(2, 5, 60000), START), BOOK_OLD);
	CHECK_INT(hear(book, life_of(2, 5, UINT32_MAX), START), BOOK_OLD);
	CHECK_INT(hear(book, life_of(2, 5, 59999), START), BOOK_APPEARED);
	CHECK_INT(hear(book, life_of(3, 5, 0), START), BOOK_APPEARED);
	book_expire(book, START, on_gone, &gone);
	CHECK_INT(gone.count, 0);
	book_expire(book, START + MSEC, on_gone, &gone);
	CHECK_INT(gone.count, 1);
	CHECK_INT(gone.last, 2);
	CHECK_INT(hear(book, life_of(4, 5, 0), START + SEC), BOOK_APPEARED);
	book_expire(book, START + 60 * SEC, on_gone, &gone);
	CHECK_INT(gone.count, 2);
	CHECK_INT(gone.last, 3);
	CHECK_INT(book_count(book), 1);
	CHECK_INT(nonce_in(book, 4), 5);
	book_free(book);
}

/* The clock of the machine began 10 s ago, the line is older. */
TEST_CASE(book, a_line_may_be_older_than_the_clock)
{
	struct peer_life self = life_of(1, NONCE_1, 0);
	struct gone gone = {0};
	struct book *book;

	REQUIRE(book_new(&self, BOOK_LIFETIME_MS, 10 * SEC, &book) == 0);
	CHECK_INT(hear(book, life_of(2, 5, 30000), 10 * SEC), BOOK_APPEARED);
	book_expire(book, 11 * SEC, on_gone, &gone);
	CHECK_INT(gone.count, 0);
	book_free(book);
}

TEST_CASE(book, ages_grow_while_lines_wait_and_never_shrink)
{
	struct book *book = open_book();
	struct peer_look look = {0};

	hear(book, life_of(2, 5, 1000), START);
	CHECK_INT(book_fill(book, 0, START + 1, &look), 1);
	CHECK_INT(look.self.id, 1);
	CHECK_INT(look.self.age_ms, 0);
	CHECK_INT(look.others[0].age_ms, 1001);
	CHECK_INT(book_fill(book, 0, START + 3 * SEC, &look), 1);
	CHECK_INT(look.others[0].age_ms, 4000);
	book_free(book);
}

TEST_CASE(book, many_lines_go_into_several_messages)
{
	struct book *book = open_book();
	struct peer_look look = {0};
	unsigned start = 0;

	for (unsigned i = 0; i < 2 * PEER_LIVES_MAX + 1; i++)
		hear(book, life_of((uint16_t)(2 + i), 5, 0), START);
	CHECK_INT(book_fill(book, start, START, &look), PEER_LIVES_MAX);
	start += look.num_others;
	CHECK_INT(look.others[0].id, 2);
	CHECK_INT(book_fill(book, start, START, &look), PEER_LIVES_MAX);
	start += look.num_others;
	CHECK_INT(book_fill(book, start, START, &look), 1);
	CHECK_INT(look.others[0].id, 2 + 2 * PEER_LIVES_MAX);
	CHECK_INT(book_fill(book, start + 1, START, &look), 0);
	book_free(book);
}

TEST_CASE(book, there_are_so_many_lines_and_no_more)
{
	struct book *book = open_book();

	for (unsigned i = 0; i < BOOK_LINES_MAX; i++)
		CHECK_INT(hear(book, life_of((uint16_t)(60000 - 7 * i), 5, 0), START),
			  BOOK_APPEARED);
	CHECK_INT(hear(book, life_of(2, 5, 0), START), BOOK_FULL);
	CHECK_INT(meet(book, life_of(2, 5, 0), START), BOOK_FULL);
	CHECK_INT(hear(book, life_of(60000, 6, 0), START + 1), BOOK_APPEARED);
	CHECK_INT(book_count(book), BOOK_LINES_MAX);
	book_free(book);
}

TEST_CASE(book, hearsay_does_not_move_a_node)
{
	struct book *book = open_book();

	meet(book, life_of(2, 5, 0), START);
	CHECK_INT(hear(book, elsewhere(life_of(2, 5, 0)), START + SEC), BOOK_OLD);
	CHECK_INT(hear(book, elsewhere(life_of(2, 6, 0)), START + SEC), BOOK_OLD);
	CHECK_STR(book_find(book, 2)->life.name, "n2");
	CHECK_INT(nonce_in(book, 2), 5);
	book_part(book, &book_find(book, 2)->life);
	CHECK_INT(hear(book, elsewhere(life_of(2, 5, 0)), START + SEC), BOOK_OLD);
	CHECK_INT(hear(book, elsewhere(life_of(2, 6, 0)), START + SEC), BOOK_APPEARED);
	CHECK_STR(book_find(book, 2)->life.name, "other");
	book_free(book);
}

TEST_CASE(book, the_node_itself_corrects_hearsay)
{
	struct book *book = open_book();

	hear(book, elsewhere(life_of(2, 5, 0)), START);
	CHECK_INT(meet(book, life_of(2, 5, 0), START + 1), BOOK_APPEARED);
	CHECK_STR(book_find(book, 2)->life.address.text, "192.0.0.2:7471");
	CHECK_INT(meet(book, life_of(2, 5, 0), START + 2), BOOK_FRESHER);
	book_free(book);
}

TEST_CASE(book, a_former_life_of_our_own_is_no_twin)
{
	struct book *book = open_book();

	CHECK_INT(hear(book, life_of(1, NONCE_1, 0), START + 9 * SEC), BOOK_OURSELVES);
	CHECK_INT(hear(book, life_of(1, 5, 0), START), BOOK_OLD);
	CHECK_INT(hear(book, life_of(1, 5, 9000), START + 9 * SEC), BOOK_OLD);
	CHECK_STR(book_words(book), "");
	CHECK_INT(hear(book, elsewhere(life_of(1, 5, 1000)), START + 9 * SEC),
		  BOOK_TWINS);
	CHECK_STR(book_words(book), "id 1 is that of n1 at 192.0.0.1:7471 and of other "
				    "at 198.51.100.1:7471: two live nodes with one id");
	CHECK_INT(book_count(book), 0);
	book_free(book);
}

TEST_CASE(book, who_comes_himself_with_our_id_is_a_twin)
{
	struct book *book = open_book();

	CHECK_INT(meet(book, life_of(1, NONCE_1, 0), START), BOOK_OURSELVES);
	CHECK_INT(meet(book, elsewhere(life_of(1, 5, 0)), START), BOOK_TWINS);
	book_free(book);
}

TEST_CASE(book, two_others_with_one_id_are_twins)
{
	struct book *book = open_book();

	meet(book, life_of(2, 5, 0), START);
	CHECK_INT(meet(book, elsewhere(life_of(2, 6, 0)), START + SEC), BOOK_TWINS);
	CHECK_INT(nonce_in(book, 2), 5);
	CHECK_INT(meet(book, life_of(2, 7, 0), START + SEC), BOOK_APPEARED);
	book_part(book, &book_find(book, 2)->life);
	CHECK_INT(meet(book, elsewhere(life_of(2, 6, 0)), START + SEC), BOOK_APPEARED);
	book_free(book);
}

/* Heard of by turns, from two others; of a former life there are no fresh lines. */
TEST_CASE(book, twins_are_told_from_a_former_life_by_hearsay)
{
	struct book *book = open_book();

	hear(book, life_of(2, 5, 0), START);
	CHECK_INT(hear(book, elsewhere(life_of(2, 6, 0)), START + SEC), BOOK_APPEARED);
	CHECK_INT(hear(book, life_of(2, 5, 900), START + SEC), BOOK_OLD);
	CHECK_INT(hear(book, life_of(2, 5, 0), START + 2 * SEC), BOOK_OLD);
	CHECK_STR(book_words(book), "");
	CHECK_INT(hear(book, life_of(2, 5, 0), START + 6 * SEC), BOOK_TWINS);
	CHECK_INT(nonce_in(book, 2), 6);
	book_free(book);
}

/* ---- all books agree in the end ---- */

#define CROWD 12

struct crowd {
	unsigned seed;
	uint64_t now_ns;
	bool is_dead[CROWD];
	uint64_t nonces[CROWD];
	struct book *books[CROWD]; /* of node i + 1 */
};

static unsigned draw(struct crowd *crowd, unsigned below)
{
	crowd->seed = crowd->seed * 1103515245u + 12345u;
	return (crowd->seed >> 16) % below;
}

static void crowd_start(struct crowd *crowd, unsigned i)
{
	struct peer_life self;

	book_free(crowd->books[i]);
	crowd->nonces[i]++;
	self = life_of((uint16_t)(i + 1), (i + 1) * 1000 + crowd->nonces[i], 0);
	REQUIRE(book_new(&self, BOOK_LIFETIME_MS, crowd->now_ns, &crowd->books[i]) == 0);
}

/* One tells another all it knows; the message takes up to 20 ms. */
static void crowd_tell(struct crowd *crowd, unsigned from, unsigned to)
{
	struct peer_look look = {0};
	uint64_t sent_ns = crowd->now_ns;
	enum book_news news;

	if (from == to || crowd->is_dead[from] || crowd->is_dead[to])
		return;
	book_fill(crowd->books[from], 0, sent_ns, &look);
	crowd->now_ns += draw(crowd, 20) * MSEC;
	news = book_meet(crowd->books[to], &look.self, crowd->now_ns);
	CHECK(news == BOOK_APPEARED || news == BOOK_FRESHER);
	for (unsigned i = 0; i < look.num_others; i++)
		CHECK(book_hear(crowd->books[to], &look.others[i], crowd->now_ns) !=
		      BOOK_TWINS);
	book_part(crowd->books[to], &look.self);
}

/* Each tells its neighbours in a ring, both ways: seeds, at their worst. */
static void crowd_round(struct crowd *crowd)
{
	struct gone gone;

	for (unsigned i = 0; i < CROWD; i++) {
		unsigned at = draw(crowd, CROWD);

		crowd_tell(crowd, at, (at + 1) % CROWD);
		crowd_tell(crowd, i, (i + CROWD - 1) % CROWD);
		crowd_tell(crowd, (i + 1) % CROWD, i);
	}
	crowd->now_ns += draw(crowd, 5000) * MSEC;
	for (unsigned i = 0; i < CROWD; i++)
		book_expire(crowd->books[i], crowd->now_ns, on_gone, &gone);
}

static void crowd_change(struct crowd *crowd)
{
	unsigned i = draw(crowd, CROWD);

	if (draw(crowd, 3)) {
		crowd_start(crowd, i);
		crowd->is_dead[i] = false;
	} else {
		crowd->is_dead[0] = true; /* two would cut the ring */
	}
}

static void crowd_check(const struct crowd *crowd)
{
	for (unsigned i = 0; i < CROWD; i++) {
		for (unsigned j = 0; j < CROWD; j++) {
			uint64_t wanted = (j + 1) * 1000 + crowd->nonces[j];

			if (crowd->is_dead[i] || i == j)
				continue;
			if (crowd->is_dead[j])
				wanted = 0;
			CHECK_U64(nonce_in(crowd->books[i], (uint16_t)(j + 1)), wanted);
		}
	}
}

TEST_CASE(book, all_agree_in_the_end)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		struct crowd crowd = {.seed = seed, .now_ns = START};

		for (unsigned i = 0; i < CROWD; i++)
			crowd_start(&crowd, i);
		for (unsigned i = 0; i < 60; i++) {
			if (draw(&crowd, 4) == 0)
				crowd_change(&crowd);
			crowd_round(&crowd);
		}
		/* Long enough for the lines of the dead. */
		for (unsigned i = 0; i < 60; i++)
			crowd_round(&crowd);
		crowd_check(&crowd);
		for (unsigned i = 0; i < CROWD; i++)
			book_free(crowd.books[i]);
	}
}

/* Whatever order lines come in, what is left is the same. */
TEST_CASE(book, the_order_does_not_matter)
{
	struct peer_life lines[64];

	for (unsigned i = 0; i < 64; i++)
		lines[i] = life_of((uint16_t)(2 + i % 8), 1 + i / 8, (i * 37 % 64) * 900);
	for (unsigned seed = 1; seed <= 50; seed++) {
		struct crowd crowd = {.seed = seed};
		struct book *book = open_book();

		for (unsigned i = 0; i < 256; i++)
			hear(book, lines[draw(&crowd, 64)], START);
		for (unsigned i = 0; i < 64; i++)
			hear(book, lines[i], START);
		for (uint16_t id = 2; id < 10; id++) {
			const struct peer_life *best = NULL;

			for (unsigned i = 0; i < 64; i++)
				if (lines[i].id == id &&
				    (!best || lines[i].age_ms < best->age_ms))
					best = &lines[i];
			CHECK_U64(nonce_in(book, id), best->nonce);
		}
		book_free(book);
	}
}
