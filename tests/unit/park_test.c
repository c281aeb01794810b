/* Frames that wait: by whom they are found, in which order, and how long; against a
 * model. Time is made up. */
#include "data/park.h"

#include <shmnet/ring.h>

#include "rig.h"
#include "shim.h"

#include <stdlib.h>
#include <string.h>

#define KEYS	  40u
#define NAMES_MAX 16384u

static struct park_key key_of(unsigned n)
{
	struct park_key key = {.fragment_id = n / 8, .port = (uint8_t)(n % 2)};

	key.flow.local_port = (uint16_t)(n / 2);
	return key;
}

/* Keys share lists. */
static uint64_t hash_of(unsigned n)
{
	return n % 3 + (uint64_t)n % 2 * PARK_LISTS;
}

static void fill(uint8_t *payload, size_t length, unsigned number)
{
	memset(payload, (int)(number * 7), length);
	memcpy(payload, &number, sizeof(number));
}

static struct park_item *put(struct park *park, unsigned key, uint64_t now_ns,
			     unsigned number, size_t length)
{
	static uint8_t payload[SHMNET_RING_PAYLOAD_MAX];
	struct park_key park_key = key_of(key);

	fill(payload, length, number);
	return park_put(park, &park_key, hash_of(key), now_ns, payload, length);
}

static bool item_is(const struct park_item *item, unsigned number, size_t length)
{
	static uint8_t payload[SHMNET_RING_PAYLOAD_MAX];

	fill(payload, length, number);
	return item->length == length && memcmp(item->payload, payload, length) == 0;
}

static struct park_item *take(struct park *park, unsigned key)
{
	struct park_key park_key = key_of(key);

	return park_take(park, &park_key, hash_of(key));
}

static bool has_asked(const struct park *park, unsigned key)
{
	struct park_key park_key = key_of(key);

	return park_has_asked(park, &park_key, hash_of(key));
}

TEST_CASE(park, who_asked_is_known_until_it_left)
{
	struct park_item *item;
	struct park park;

	REQUIRE(park_init(&park) == 0);
	CHECK(!has_asked(&park, 1));
	put(&park, 1, 0, 1, 100);
	CHECK(!has_asked(&park, 1));
	put(&park, 1, 0, 2, 100)->has_asked = true;
	CHECK(has_asked(&park, 1) && !has_asked(&park, 4));
	for (unsigned i = 1; i <= 2; i++) {
		CHECK(has_asked(&park, 1));
		item = take(&park, 1);
		REQUIRE(item != NULL && item_is(item, i, 100));
		park_free(&park, item);
	}
	CHECK(!has_asked(&park, 1));
	park_close(&park);
	park_close(&park);
}

TEST_CASE(park, full_until_the_oldest_leave)
{
	const size_t longest = SHMNET_RING_PAYLOAD_MAX;
	struct park_item *item;
	unsigned count = 0;
	struct park park;

	REQUIRE(park_init(&park) == 0);
	CHECK(!park_has_room(&park, longest + 1, PARK_OPENER));
	while (park_has_room(&park, longest, PARK_OPENER))
		put(&park, count, 0, count, longest), count++;
	CHECK(count >= PARK_BYTES / (longest + 256) - 1 && count > 10);
	CHECK(park_has_room(&park, 100, PARK_OPENER));
	/* Out of turn: its room is another's only when those before it have left. */
	item = take(&park, 1);
	REQUIRE(item != NULL);
	park_free(&park, item);
	CHECK(!park_has_room(&park, longest, PARK_OPENER));
	item = take(&park, 0);
	REQUIRE(item != NULL);
	CHECK(!park_has_room(&park, longest, PARK_OPENER));
	park_free(&park, item);
	CHECK(park_has_room(&park, 2 * longest / 2, PARK_OPENER));
	put(&park, 30, 0, 30, longest);
	CHECK(park_has_room(&park, longest, PARK_OPENER));
	item = take(&park, 30);
	REQUIRE(item != NULL && item_is(item, 30, longest));
	park_close(&park);
}

/* One that is out of its list holds nobody's deadline up. */
TEST_CASE(park, time_is_counted_from_each_ones_coming)
{
	struct park_item *first, *second;
	struct park park;

	REQUIRE(park_init(&park) == 0);
	CHECK_U64(park_deadline(&park), UINT64_MAX);
	put(&park, 1, 1000, 1, 60);
	put(&park, 2, 2000, 2, 60);
	put(&park, 1, 3000, 3, 60);
	CHECK_U64(park_deadline(&park), 1000 + PARK_TIME_NS);
	CHECK(!park_expire(&park, 999 + PARK_TIME_NS));
	first = park_expire(&park, 1000 + PARK_TIME_NS);
	REQUIRE(first != NULL && item_is(first, 1, 60));
	CHECK_U64(park_deadline(&park), 2000 + PARK_TIME_NS);
	CHECK(!park_expire(&park, 1000 + PARK_TIME_NS));
	second = park_expire(&park, 2500 + PARK_TIME_NS);
	REQUIRE(second != NULL && item_is(second, 2, 60));
	park_free(&park, second);
	park_free(&park, first);
	first = take(&park, 1);
	REQUIRE(first != NULL && item_is(first, 3, 60));
	park_free(&park, first);
	CHECK(!take(&park, 1));
	CHECK_U64(park.head, park.tail);
	park_close(&park);
}

/* ---- against a model ---- */

struct model {
	struct waiting {
		unsigned key;
		uint64_t since_ns;
		size_t length;
		bool waits;
	} frames[NAMES_MAX];
	unsigned first, next;
};

static unsigned model_find(struct model *model, unsigned key)
{
	for (unsigned i = model->first; i < model->next; i++) {
		if (model->frames[i].waits && model->frames[i].key == key)
			return i;
	}
	return NAMES_MAX;
}

static unsigned model_oldest(struct model *model)
{
	while (model->first < model->next && !model->frames[model->first].waits)
		model->first++;
	return model->first < model->next ? model->first : NAMES_MAX;
}

/* It is what the model says, and leaves both. */
static void check_out(struct model *model, struct park *park, struct park_item *item,
		      unsigned number)
{
	REQUIRE((item != NULL) == (number != NAMES_MAX));
	if (!item)
		return;
	REQUIRE(item_is(item, number, model->frames[number].length));
	model->frames[number].waits = false;
	park_free(park, item);
}

static void expire_all(struct model *model, struct park *park, uint64_t now_ns)
{
	unsigned number;

	while ((number = model_oldest(model)) != NAMES_MAX &&
	       model->frames[number].since_ns + PARK_TIME_NS <= now_ns)
		check_out(model, park, park_expire(park, now_ns), number);
	REQUIRE(!park_expire(park, now_ns));
	REQUIRE(park_deadline(park) ==
		(number == NAMES_MAX ? UINT64_MAX
				     : model->frames[number].since_ns + PARK_TIME_NS));
}

static void step(struct model *model, struct park *park, uint64_t now_ns, uint64_t dice)
{
	unsigned key = dice % KEYS, number = model->next;
	size_t length = 4 + dice / KEYS % (dice % 7 ? 1500 : 65000);

	if (dice / 64 % 8 < 3) {
		check_out(model, park, take(park, key), model_find(model, key));
		return;
	}
	if (!park_has_room(park, length, PARK_OPENER))
		return;
	put(park, key, now_ns, number, length);
	model->frames[model->next++] = (struct waiting){key, now_ns, length, true};
}

TEST_CASE(park, randomized_against_a_model)
{
	struct model *model = calloc(1, sizeof(*model));
	uint64_t state = 99, now_ns = 0;
	struct park park;

	REQUIRE(model != NULL && park_init(&park) == 0);
	while (model->next < NAMES_MAX && !test_failed()) {
		uint64_t dice = rig_random(&state) >> 3;

		now_ns += dice % 300000;
		expire_all(model, &park, now_ns);
		step(model, &park, now_ns, dice / 1000);
	}
	expire_all(model, &park, now_ns + PARK_TIME_NS);
	CHECK_U64(park.head, park.tail);
	CHECK(park.head > 20 * PARK_BYTES); /* it went round */
	park_close(&park);
	free(model);
}

/* Fragments without a first one, then segments of no connection, come as fast as can be.
 */
TEST_CASE(park, what_opens_connections_has_room_when_others_have_none)
{
	static const enum park_rank ranks[] = {PARK_FRAGMENT, PARK_SEGMENT, PARK_OPENER};
	struct park_key key = {.port = 1};
	uint8_t payload[1000] = {0};
	struct park park;
	unsigned num = 0, before;

	REQUIRE(park_init(&park) == 0);
	for (unsigned i = 0; i < 3; i++) {
		before = num;
		while (park_has_room(&park, sizeof(payload), ranks[i])) {
			park_put(&park, &key, num, 1, payload, sizeof(payload));
			num++;
		}
		CHECK(num - before >= PARK_BYTES / 4 / 1200);
	}
	park_close(&park);
}
