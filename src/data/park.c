/* See park.h. */
#include "data/park.h"

#include <shmnet/ring.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNIT 64

enum state { WAITING, TAKEN, FREE };

static uint32_t item_size(size_t length)
{
	return (uint32_t)(sizeof(struct park_item) + length + UNIT - 1) / UNIT * UNIT;
}

static struct park_item *item_at(const struct park *park, uint64_t position)
{
	/* Aligned: positions are multiples of the unit. */
	return (struct park_item *)(void *)(park->memory + position % PARK_BYTES);
}

/* An item by what `next`, `first` and `last` hold; not 0. */
static struct park_item *item_of(const struct park *park, uint32_t reference)
{
	return item_at(park, (uint64_t)(reference - 1) * UNIT);
}

static uint32_t reference_of(const struct park *park, const struct park_item *item)
{
	return (uint32_t)((const uint8_t *)item - park->memory) / UNIT + 1;
}

static bool item_is(const struct park_item *item, const struct park_key *key)
{
	return memcmp(&item->key, key, sizeof(*key)) == 0;
}

/* ---- lists ---- */

static void list_append(struct park *park, struct park_item *item)
{
	struct park_list *list = &park->lists[item->list];
	uint32_t reference = reference_of(park, item);

	if (list->last)
		item_of(park, list->last)->next = reference;
	else
		list->first = reference;
	list->last = reference;
}

/* The item behind `before`, or the first one if that is NULL. */
static void list_remove(struct park *park, struct park_item *item,
			struct park_item *before)
{
	struct park_list *list = &park->lists[item->list];

	if (before)
		before->next = item->next;
	else
		list->first = item->next;
	if (!item->next)
		list->last = before ? reference_of(park, before) : 0;
	item->state = TAKEN;
}

bool park_has_asked(const struct park *park, const struct park_key *key, uint64_t hash)
{
	uint32_t at = park->lists[hash % PARK_LISTS].first;

	while (at) {
		const struct park_item *item = item_of(park, at);

		if (item->has_asked && item_is(item, key))
			return true;
		at = item->next;
	}
	return false;
}

struct park_item *park_take(struct park *park, const struct park_key *key, uint64_t hash)
{
	uint32_t at = park->lists[hash % PARK_LISTS].first;
	struct park_item *before = NULL;

	while (at) {
		struct park_item *item = item_of(park, at);

		if (item_is(item, key)) {
			list_remove(park, item, before);
			return item;
		}
		before = item;
		at = item->next;
	}
	return NULL;
}

/* ---- the ring ---- */

bool park_has_room(const struct park *park, size_t length, enum park_rank rank)
{
	static const uint32_t shares[] = {
		[PARK_FRAGMENT] = PARK_BYTES / 4,
		[PARK_SEGMENT] = PARK_BYTES / 4 * 3,
		[PARK_OPENER] = PARK_BYTES,
	};

	return length <= SHMNET_RING_PAYLOAD_MAX &&
	       park->head - park->tail + item_size(length) <= shares[rank];
}

struct park_item *park_put(struct park *park, const struct park_key *key, uint64_t hash,
			   uint64_t now_ns, const uint8_t *payload, size_t length)
{
	struct park_item *item = item_at(park, park->head);

	*item = (struct park_item){
		.key = *key,
		.since_ns = now_ns,
		.size = item_size(length),
		.length = (uint32_t)length,
		.list = hash % PARK_LISTS,
	};
	memcpy(item->payload, payload, length);
	park->head += item->size;
	list_append(park, item);
	return item;
}

void park_free(struct park *park, struct park_item *item)
{
	item->state = FREE;
	while (park->tail != park->head && item_at(park, park->tail)->state == FREE)
		park->tail += item_at(park, park->tail)->size;
}

/* Behind those at the tail that are taken just now. */
static struct park_item *oldest(const struct park *park)
{
	uint64_t at = park->tail;

	while (at != park->head) {
		struct park_item *item = item_at(park, at);

		if (item->state == WAITING)
			return item;
		at += item->size;
	}
	return NULL;
}

struct park_item *park_expire(struct park *park, uint64_t now_ns)
{
	struct park_item *item = oldest(park);

	if (!item || now_ns < item->since_ns + PARK_TIME_NS)
		return NULL;
	list_remove(park, item, NULL);
	return item;
}

uint64_t park_deadline(const struct park *park)
{
	const struct park_item *item = oldest(park);

	return item ? item->since_ns + PARK_TIME_NS : UINT64_MAX;
}

/* ---- making it ---- */

int park_init(struct park *park)
{
	*park = (struct park){
		.memory = aligned_alloc(UNIT, PARK_BYTES + UNIT +
						      item_size(SHMNET_RING_PAYLOAD_MAX)),
	};
	return park->memory ? 0 : -ENOMEM;
}

void park_close(struct park *park)
{
	free(park->memory);
	*park = (struct park){0};
}
