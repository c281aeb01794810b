/*
 * The queue between two threads: order, the end of its memory, no room and too little
 * room, and two threads that find every item whole.
 */
#include "data/post.h"

#include "shim.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define ITEM_MAX 300
#define ITEMS	 50000u

/* Of a length and with bytes that its number says. */
static size_t make_item(uint64_t number, uint8_t *item)
{
	size_t length = 1 + (number * 2654435761u >> 7) % ITEM_MAX;

	for (size_t i = 0; i < length; i++)
		item[i] = (uint8_t)(number + i);
	return length;
}

static bool is_item(uint64_t number, const uint8_t *bytes, ssize_t length)
{
	uint8_t item[ITEM_MAX];

	return length == (ssize_t)make_item(number, item) &&
	       memcmp(item, bytes, (size_t)length) == 0;
}

TEST_CASE(post, items_come_out_as_they_went_in)
{
	uint8_t item[ITEM_MAX], bytes[ITEM_MAX];
	struct post post;

	REQUIRE(post_init(&post, 4096) == 0);
	CHECK_INT(post_take(&post, bytes, sizeof(bytes)), 0);
	for (uint64_t i = 0; i < 10; i++)
		CHECK_INT(post_put(&post, item, make_item(i, item)), 0);
	for (uint64_t i = 0; i < 10; i++)
		CHECK(is_item(i, bytes, post_take(&post, bytes, sizeof(bytes))));
	CHECK_INT(post_take(&post, bytes, sizeof(bytes)), 0);
	post_close(&post);
}

/* Far more than its memory holds, so that items lie across the end in every way. */
TEST_CASE(post, goes_round)
{
	uint8_t item[ITEM_MAX], bytes[ITEM_MAX];
	struct post post;
	uint64_t taken = 0;

	REQUIRE(post_init(&post, 512) == 0);
	for (uint64_t i = 0; i < 20000; i++) {
		while (post_put(&post, item, make_item(i, item)) == -EAGAIN) {
			REQUIRE(is_item(taken, bytes,
					post_take(&post, bytes, sizeof(bytes))));
			taken++;
		}
	}
	while (taken < 20000)
		REQUIRE(is_item(taken++, bytes, post_take(&post, bytes, sizeof(bytes))));
	CHECK_INT(post_take(&post, bytes, sizeof(bytes)), 0);
	post_close(&post);
}

TEST_CASE(post, has_the_room_that_was_asked_for)
{
	struct post post;
	uint8_t byte = 7;
	unsigned count = 0;

	REQUIRE(post_init(&post, 1000) == 0); /* 1024 */
	while (post_put(&post, &byte, 1) == 0)
		count++;
	CHECK_INT(count, 1024 / 8);
	CHECK_INT(post_put(&post, &byte, 1), -EAGAIN);
	CHECK_INT(post_take(&post, &byte, 1), 1);
	CHECK_INT(post_put(&post, &byte, 1), 0);
	CHECK_INT(post_put(&post, &byte, 1), -EAGAIN);
	post_close(&post);
}

TEST_CASE(post, what_never_fits_is_told_from_what_does_not_fit_now)
{
	uint8_t bytes[1024] = {1};
	struct post post;

	REQUIRE(post_init(&post, 1024) == 0);
	CHECK_INT(post_put(&post, bytes, 0), -EMSGSIZE);
	CHECK_INT(post_put(&post, bytes, 1021), -EMSGSIZE);
	CHECK_INT(post_put(&post, bytes, SIZE_MAX), -EMSGSIZE);
	CHECK_INT(post_put(&post, bytes, (size_t)UINT32_MAX + 2), -EMSGSIZE);
	CHECK_INT(post_put(&post, bytes, 1020), 0);
	CHECK_INT(post_put(&post, bytes, 1), -EAGAIN);
	CHECK_INT(post_take(&post, bytes, sizeof(bytes)), 1020);
	post_close(&post);
}

TEST_CASE(post, item_without_room_stays)
{
	uint8_t item[ITEM_MAX], bytes[ITEM_MAX];
	struct post post;

	REQUIRE(post_init(&post, 1024) == 0);
	CHECK_INT(post_put(&post, "four", 4), 0);
	CHECK_INT(post_put(&post, item, make_item(1, item)), 0);
	CHECK_INT(post_take(&post, bytes, 3), -EMSGSIZE);
	CHECK_INT(post_take(&post, bytes, 0), -EMSGSIZE);
	CHECK_INT(post_take(&post, bytes, 4), 4);
	CHECK_MEM(bytes, "four", 4);
	CHECK(is_item(1, bytes, post_take(&post, bytes, sizeof(bytes))));
	post_close(&post);
}

TEST_CASE(post, is_closed_whatever_became_of_it)
{
	struct post post = {0};

	post_close(&post);
	CHECK_INT(post_init(&post, SIZE_MAX), -ENOMEM);
	post_close(&post);
	CHECK_INT(post_init(&post, 0), 0);
	CHECK_INT(post_put(&post, "some", 4), 0);
	post_close(&post);
	post_close(&post);
}

static void *write_items(void *arg)
{
	uint8_t item[ITEM_MAX];
	struct post *post = arg;

	for (uint64_t i = 0; i < ITEMS; i++) {
		size_t length = make_item(i, item);
		int ret;

		while ((ret = post_put(post, item, length)) == -EAGAIN)
			sched_yield();
		if (!CHECK_INT(ret, 0))
			break;
	}
	return NULL;
}

/* Room for three items or so: each thread finds it full, or empty, all the time. */
TEST_CASE(post, two_threads)
{
	uint8_t bytes[ITEM_MAX];
	struct post post;
	pthread_t writer;
	uint64_t taken = 0;

	REQUIRE(post_init(&post, 1024) == 0);
	REQUIRE(pthread_create(&writer, NULL, write_items, &post) == 0);
	while (taken < ITEMS) {
		ssize_t length = post_take(&post, bytes, sizeof(bytes));

		if (length == 0)
			sched_yield();
		else if (!CHECK(is_item(taken++, bytes, length)))
			abort();
	}
	pthread_join(writer, NULL);
	CHECK_INT(post_take(&post, bytes, sizeof(bytes)), 0);
	post_close(&post);
}
