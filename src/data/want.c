/* See want.h. */
#include "data/want.h"

#include "base/clock.h"

static enum want_state load_state(const struct want *want)
{
	return __atomic_load_n(&want->state, __ATOMIC_ACQUIRE);
}

static void store_state(struct want *want, enum want_state state)
{
	__atomic_store_n(&want->state, state, __ATOMIC_RELEASE);
}

static struct want *place_of(struct wants *wants, uint64_t key)
{
	if (key == WANT_BROADCAST)
		return &wants->broadcast;
	return &wants->groups[key * 0x9e3779b97f4a7c15ull >> 58];
}

/* Another second, or another group, begins in this place. */
static void begin(struct want *want, uint64_t key, uint64_t now_ns)
{
	want->key = key;
	want->count = 0;
	want->since_ns = now_ns;
}

static bool count_one(struct want *want, unsigned enough)
{
	if (++want->count < enough)
		return false;
	store_state(want, WANT_RAISED);
	return true;
}

bool wants_count(struct wants *wants, uint64_t key, uint64_t now_ns)
{
	struct want *want = place_of(wants, key);

	switch (load_state(want)) {
	case WANT_RAISED:
	case WANT_TAKEN:
		return false;
	case WANT_ANSWERED:
		/* Not before a second from now: until then the place is in use. */
		begin(want, want->key, now_ns + NSEC_PER_SEC);
		store_state(want, WANT_COUNTING);
		break;
	case WANT_COUNTING:
		break;
	}
	if (now_ns < want->since_ns)
		return false;
	if (want->key != key || now_ns - want->since_ns >= NSEC_PER_SEC)
		begin(want, key, now_ns);
	return count_one(want, key == WANT_BROADCAST ? 1 : WANT_GROUP_CASTS);
}

static bool take(struct want *want, uint8_t *ret_label)
{
	if (load_state(want) != WANT_RAISED)
		return false;
	memcpy(ret_label, &want->key, SHMNET_ETH_ALEN);
	store_state(want, WANT_TAKEN);
	return true;
}

bool wants_take(struct wants *wants, uint8_t ret_label[SHMNET_ETH_ALEN])
{
	if (take(&wants->broadcast, ret_label))
		return true;
	for (unsigned i = 0; i < WANT_GROUPS; i++) {
		if (take(&wants->groups[i], ret_label))
			return true;
	}
	return false;
}

void wants_answer(struct wants *wants, uint64_t key)
{
	struct want *want = place_of(wants, key);

	if (load_state(want) == WANT_TAKEN && want->key == key)
		store_state(want, WANT_ANSWERED);
}
