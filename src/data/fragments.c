/* See fragments.h. */
#include "data/fragments.h"

#include <errno.h>

#define BUCKETS (FRAGMENTS_DATAGRAMS / FRAGMENTS_PLACES)

/* What the kernel knows a datagram by. In IPv6 fragments may name any next header. */
static uint8_t protocol_of(const struct flow_packet *packet)
{
	return flow_address_is_ipv4(packet->key.local) ? packet->key.protocol : 0;
}

static struct fragments_datagram *bucket_of(struct fragments *fragments,
					    const struct flow_packet *packet)
{
	struct flow_key key = packet->key;

	key.protocol = protocol_of(packet);
	key.foreign_port = (uint16_t)(packet->fragment_id >> 16);
	key.local_port = (uint16_t)packet->fragment_id;
	return fragments->datagrams[flow_hash(&key, &fragments->secret) % BUCKETS];
}

static bool is_live(const struct fragments_datagram *datagram, uint64_t now_ns)
{
	return datagram->since_ns && now_ns - datagram->since_ns < FRAGMENTS_TIMEOUT_NS;
}

static bool is_finished(const struct fragments_datagram *datagram)
{
	return !datagram->is_bad && datagram->end && datagram->bytes >= datagram->end;
}

static bool is_of(const struct fragments_datagram *datagram,
		  const struct flow_packet *packet)
{
	const struct flow_packet *first = &datagram->first;

	return first->fragment_id == packet->fragment_id &&
	       protocol_of(first) == protocol_of(packet) &&
	       memcmp(first->key.foreign, packet->key.foreign, FLOW_ADDRESS_LEN) == 0 &&
	       memcmp(first->key.local, packet->key.local, FLOW_ADDRESS_LEN) == 0;
}

static struct fragments_datagram *
look_up(struct fragments *fragments, const struct flow_packet *packet, uint64_t now_ns)
{
	struct fragments_datagram *bucket = bucket_of(fragments, packet);

	for (unsigned i = 0; i < FRAGMENTS_PLACES; i++) {
		if (is_live(&bucket[i], now_ns) && is_of(&bucket[i], packet))
			return &bucket[i];
	}
	return NULL;
}

/* Free and finished places are as old as can be. */
static struct fragments_datagram *oldest(struct fragments_datagram *bucket)
{
	struct fragments_datagram *ret = NULL;
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < FRAGMENTS_PLACES; i++) {
		uint64_t since = is_finished(&bucket[i]) ? 0 : bucket[i].since_ns;

		if (!ret || since < least) {
			least = since;
			ret = &bucket[i];
		}
	}
	return ret;
}

static void begin(struct fragments_datagram *datagram, const struct flow_packet *first,
		  uint64_t now_ns)
{
	*datagram = (struct fragments_datagram){
		.first = *first,
		.since_ns = now_ns,
		.bytes = first->fragment_length,
		.reach = first->fragment_length,
		.count = 1,
	};
}

static int spoil(struct fragments_datagram *datagram)
{
	datagram->is_bad = true;
	return -EINVAL;
}

/* Said twice, or said differently? */
static bool is_same_first(const struct flow_packet *a, const struct flow_packet *b)
{
	return a->kind == b->kind && a->fragment_length == b->fragment_length &&
	       memcmp(&a->key, &b->key, sizeof(a->key)) == 0;
}

void fragments_init(struct fragments *fragments, const struct flow_secret *secret)
{
	memset(fragments, 0, sizeof(*fragments));
	fragments->secret = *secret;
}

int fragments_place(struct fragments *fragments, const struct flow_packet *first,
		    uint64_t now_ns)
{
	struct fragments_datagram *datagram = look_up(fragments, first, now_ns);

	if (!datagram)
		datagram = oldest(bucket_of(fragments, first));
	else if (datagram->is_bad)
		return -EINVAL;
	else if (!is_finished(datagram)) {
		if (++datagram->count > FRAGMENTS_OF_ONE ||
		    !is_same_first(&datagram->first, first))
			return spoil(datagram);
		return 0;
	}
	begin(datagram, first, now_ns);
	return 0;
}

static bool fits(const struct fragments_datagram *datagram,
		 const struct flow_packet *later)
{
	uint32_t end = later->fragment_offset + later->fragment_length;

	if (later->fragment_offset < datagram->first.fragment_length)
		return false;
	if (!later->more && end < datagram->reach)
		return false;
	return !datagram->end ||
	       (later->more ? end <= datagram->end : end == datagram->end);
}

static void add(struct fragments_datagram *datagram, const struct flow_packet *later)
{
	uint32_t end = later->fragment_offset + later->fragment_length;

	datagram->bytes += later->fragment_length;
	if (end > datagram->reach)
		datagram->reach = end;
	if (!later->more)
		datagram->end = end;
}

int fragments_find(struct fragments *fragments, const struct flow_packet *later,
		   uint64_t now_ns, const struct flow_packet **ret_first)
{
	struct fragments_datagram *datagram = look_up(fragments, later, now_ns);

	if (!datagram)
		return -ENOENT;
	if (datagram->is_bad || ++datagram->count > FRAGMENTS_OF_ONE)
		return spoil(datagram);
	if (!is_finished(datagram)) {
		if (!fits(datagram, later))
			return spoil(datagram);
		add(datagram, later);
	}
	*ret_first = &datagram->first;
	return 0;
}
