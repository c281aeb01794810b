/*
 * See codec_peer.h. With codec_peer_border.c the only file that knows of peer.proto's
 * generated code.
 *
 * Theory of operation of the strictness: protobuf takes fields twice, several bodies,
 * strings with zeroes in them, and numbers with padding. Each of these makes a
 * message longer than the one that we would write for what was understood, so one
 * comparison of lengths refuses them all. Fields that we don't know are kept by the
 * library, and counted.
 *
 * Unpacking takes its memory from an arena on the stack: whatever a peer writes, it
 * makes nobody allocate.
 */
#include "control/codec_peer_internal.h"

#include "control/codec_arena.h"
#include "control/wire_range.h"

#include <shmnet/cast.h>
#include <shmnet/ring.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAME_BYTES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

_Static_assert((int)PEER_REFUSAL_GIVEN_UP == SHMNET__PEER__REFUSE__CODE__GIVEN_UP,
	       "the codes are the numbers of the wire");
_Static_assert((int)NETWORK_KIND_GLOBAL == SHMNET__PEER__NETWORK_KIND__KIND_GLOBAL,
	       "the kinds are the numbers of the wire");

_Static_assert((int)CAST_MODE_LANES == SHMNET__PEER__CAST_MODE__MODE_LANES,
	       "the modes are the numbers of the wire");

/* ---- encoding ---- */

/* A network's addresses of one family, one behind the other. */
struct addresses {
	uint8_t bytes[CONFIG_ADDRESSES_MAX * 16];
};

/* What the generated struct points to while it is packed. */
struct encoding {
	Shmnet__Peer__Message message;
	Shmnet__Peer__Hello hello;
	Shmnet__Peer__Networks list;
	Shmnet__Peer__Ready ready;
	Shmnet__Peer__Ring ring;
	Shmnet__Peer__Bell bell;
	Shmnet__Peer__Incarnation incarnation;
	Shmnet__Peer__Refuse refuse;
	Shmnet__Peer__Probe probe;
	Shmnet__Peer__Probed probed;
	Shmnet__Peer__Cast cast;
	Shmnet__Peer__Reads reads;
	Shmnet__Peer__Want want;
	Shmnet__Peer__Look look;
	Shmnet__Peer__Pause pause;
	struct codec_peer_border border;
	Shmnet__Peer__Life lives[1 + PEER_LIVES_MAX];
	Shmnet__Peer__Life *life_list[PEER_LIVES_MAX];
	Shmnet__Peer__Network networks[CONFIG_NETWORKS_MAX];
	Shmnet__Peer__Network *network_list[CONFIG_NETWORKS_MAX];
	struct addresses ipv4[CONFIG_NETWORKS_MAX];
	struct addresses ipv6[CONFIG_NETWORKS_MAX];
};

static size_t address_size(int family)
{
	return family == AF_INET ? 4 : 16;
}

/* Their length. */
static size_t fill_addresses(struct addresses *to, const struct peer_network *from,
			     int family)
{
	size_t size = address_size(family), used = 0;

	for (unsigned i = 0; i < from->num_addresses; i++) {
		if (from->addresses[i].family != family)
			continue;
		memcpy(to->bytes + used, from->addresses[i].bytes, size);
		used += size;
	}
	return used;
}

static void fill_network(struct encoding *to, unsigned index,
			 const struct peer_hello *hello)
{
	const struct peer_network *from = &hello->networks[index];
	Shmnet__Peer__Network *network = &to->networks[index];

	shmnet__peer__network__init(network);
	network->name = (char *)from->name;
	network->kind = (Shmnet__Peer__NetworkKind)from->kind;
	network->mtu = from->mtu;
	network->cast = (Shmnet__Peer__CastMode)from->cast;
	network->offloads = from->offloads;
	network->ipv4.data = to->ipv4[index].bytes;
	network->ipv4.len = fill_addresses(&to->ipv4[index], from, AF_INET);
	network->has_ipv4 = network->ipv4.len > 0;
	network->ipv6.data = to->ipv6[index].bytes;
	network->ipv6.len = fill_addresses(&to->ipv6[index], from, AF_INET6);
	network->has_ipv6 = network->ipv6.len > 0;
	if (from->members)
		network->members = (char *)peer_hello_members(hello, from);
	to->network_list[index] = network;
}

static void fill_hello(struct encoding *to, const struct peer_hello *from)
{
	shmnet__peer__hello__init(&to->hello);
	to->hello.wire_version = from->wire_version;
	to->hello.has_wire_min = from->wire_min > 0;
	to->hello.wire_min = from->wire_min;
	to->hello.cluster = (char *)from->cluster;
	to->hello.name = (char *)from->name;
	to->hello.has_id = true;
	to->hello.id = from->id;
	to->hello.has_nonce = true;
	to->hello.nonce = from->nonce;
	to->hello.n_networks = from->num_networks;
	to->hello.networks = to->network_list;
	for (unsigned i = 0; i < from->num_networks; i++)
		fill_network(to, i, from);
	to->message.hello = &to->hello;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_HELLO;
}

static void fill_networks(struct encoding *to, const struct peer_hello *from)
{
	shmnet__peer__networks__init(&to->list);
	to->list.n_networks = from->num_networks;
	to->list.networks = to->network_list;
	for (unsigned i = 0; i < from->num_networks; i++)
		fill_network(to, i, from);
	to->message.networks = &to->list;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_NETWORKS;
}

static void fill_ready(struct encoding *to, const struct peer_ready *from)
{
	shmnet__peer__ready__init(&to->ready);
	to->ready.floor = from->floor;
	to->ready.incarnation = from->incarnation;
	to->ready.beat_ms = from->beat_ms;
	to->message.ready = &to->ready;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_READY;
}

static void fill_wire(protobuf_c_boolean *has, ProtobufCBinaryData *to,
		      const struct peer_wire *from)
{
	*has = from->length > 0;
	to->len = from->length;
	to->data = (uint8_t *)(uintptr_t)from->bytes;
}

static void fill_ring(struct encoding *to, const struct peer_ring *from)
{
	shmnet__peer__ring__init(&to->ring);
	to->ring.network = (char *)from->network;
	to->ring.size = from->size;
	to->ring.salt = from->salt;
	to->ring.epoch = from->epoch;
	to->ring.has_heard = from->heard > 0;
	to->ring.heard = from->heard;
	fill_wire(&to->ring.has_wire, &to->ring.wire, &from->wire);
	to->message.ring = &to->ring;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_RING;
}

static void fill_bell(struct encoding *to, const struct peer_bell *from)
{
	shmnet__peer__bell__init(&to->bell);
	fill_wire(&to->bell.has_wire, &to->bell.wire, &from->wire);
	to->message.bell = &to->bell;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_BELL;
}

static void fill_incarnation(struct encoding *to, const struct peer_incarnation *from)
{
	shmnet__peer__incarnation__init(&to->incarnation);
	to->incarnation.value = from->value;
	to->message.incarnation = &to->incarnation;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_INCARNATION;
}

static void fill_refuse(struct encoding *to, const struct peer_refuse *from)
{
	shmnet__peer__refuse__init(&to->refuse);
	to->refuse.code = (Shmnet__Peer__Refuse__Code)from->code;
	to->refuse.words = (char *)from->words;
	to->message.refuse = &to->refuse;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_REFUSE;
}

static void fill_probe(struct encoding *to, const struct peer_probe *from)
{
	shmnet__peer__probe__init(&to->probe);
	to->probe.node = from->node;
	to->message.probe = &to->probe;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_PROBE;
}

static void fill_probed(struct encoding *to, const struct peer_probed *from)
{
	shmnet__peer__probed__init(&to->probed);
	to->probed.node = from->node;
	to->probed.heard = from->heard;
	to->message.probed = &to->probed;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_PROBED;
}

static uint64_t label_number(const uint8_t label[SHMNET_ETH_ALEN])
{
	uint64_t number = 0;

	for (unsigned i = 0; i < SHMNET_ETH_ALEN; i++)
		number = number << 8 | label[i];
	return number;
}

static void fill_cast(struct encoding *to, const struct peer_cast *from)
{
	shmnet__peer__cast__init(&to->cast);
	to->cast.network = (char *)from->network;
	to->cast.id = from->id;
	to->cast.depth = from->depth;
	to->cast.label = label_number(from->label);
	to->cast.epoch = from->epoch;
	to->cast.maker = from->maker;
	to->cast.lane = from->lane;
	to->message.cast = &to->cast;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_CAST;
}

static void fill_reads(struct encoding *to, const struct peer_cast_name *from)
{
	shmnet__peer__reads__init(&to->reads);
	to->reads.network = (char *)from->network;
	to->reads.id = from->id;
	to->message.reads = &to->reads;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_READS;
}

static void fill_want(struct encoding *to, const struct peer_cast_name *from)
{
	shmnet__peer__want__init(&to->want);
	to->want.network = (char *)from->network;
	to->want.id = from->id;
	to->message.want = &to->want;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_WANT;
}

static void fill_life(Shmnet__Peer__Life *to, const struct peer_life *from)
{
	shmnet__peer__life__init(to);
	to->id = from->id;
	to->name = (char *)from->name;
	to->address = (char *)from->address.text;
	to->nonce = from->nonce;
	to->age_ms = from->age_ms;
}

static void fill_look(struct encoding *to, const struct peer_look *from)
{
	shmnet__peer__look__init(&to->look);
	to->look.wire_version = from->wire_version;
	to->look.has_wire_min = from->wire_min > 0;
	to->look.wire_min = from->wire_min;
	to->look.cluster = (char *)from->cluster;
	to->look.self = &to->lives[PEER_LIVES_MAX];
	fill_life(to->look.self, &from->self);
	to->look.n_others = from->num_others;
	to->look.others = to->life_list;
	for (unsigned i = 0; i < from->num_others; i++) {
		fill_life(&to->lives[i], &from->others[i]);
		to->life_list[i] = &to->lives[i];
	}
	to->message.look = &to->look;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_LOOK;
}

static void fill_pause(struct encoding *to, const struct peer_pause *from)
{
	shmnet__peer__pause__init(&to->pause);
	to->pause.network = (char *)from->network;
	to->pause.paused = from->paused;
	to->message.pause = &to->pause;
	to->message.body_case = SHMNET__PEER__MESSAGE__BODY_PAUSE;
}

static int fill(struct encoding *to, const struct peer_message *from)
{
	shmnet__peer__message__init(&to->message);
	switch (from->type) {
	case PEER_MESSAGE_HELLO:
		fill_hello(to, &from->hello);
		return 0;
	case PEER_MESSAGE_NETWORKS:
		fill_networks(to, &from->hello);
		return 0;
	case PEER_MESSAGE_READY:
		fill_ready(to, &from->ready);
		return 0;
	case PEER_MESSAGE_RING:
		fill_ring(to, &from->ring);
		return 0;
	case PEER_MESSAGE_BELL:
		fill_bell(to, &from->bell);
		return 0;
	case PEER_MESSAGE_INCARNATION:
		fill_incarnation(to, &from->incarnation);
		return 0;
	case PEER_MESSAGE_REFUSE:
		fill_refuse(to, &from->refuse);
		return 0;
	case PEER_MESSAGE_PROBE:
		fill_probe(to, &from->probe);
		return 0;
	case PEER_MESSAGE_PROBED:
		fill_probed(to, &from->probed);
		return 0;
	case PEER_MESSAGE_CAST:
		fill_cast(to, &from->cast);
		return 0;
	case PEER_MESSAGE_READS:
		fill_reads(to, &from->reads);
		return 0;
	case PEER_MESSAGE_WANT:
		fill_want(to, &from->want);
		return 0;
	case PEER_MESSAGE_LOOK:
		fill_look(to, &from->look);
		return 0;
	case PEER_MESSAGE_PAUSE:
		fill_pause(to, &from->pause);
		return 0;
	case PEER_MESSAGE_BORDER:
		to->message.border = codec_peer_fill_border(&to->border, &from->border);
		to->message.body_case = SHMNET__PEER__MESSAGE__BODY_BORDER;
		return 0;
	case PEER_MESSAGE_NUM_:
		break;
	}
	return -EINVAL;
}

int codec_peer_encode(const struct peer_message *message, uint8_t *bytes, size_t size,
		      size_t *ret_length)
{
	struct encoding encoding;
	size_t length;
	int ret;

	ret = fill(&encoding, message);
	if (ret < 0)
		return ret;
	length = shmnet__peer__message__get_packed_size(&encoding.message);
	if (length > size)
		return -EMSGSIZE;
	shmnet__peer__message__pack(&encoding.message, bytes);
	*ret_length = length;
	return 0;
}

/* ---- decoding ---- */

static int refuse(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -EBADMSG;
}

/* Names are logged and shown: the bytes that a config may have, and no others. */
static bool take_name(const char *from, char to[CONFIG_NAME_MAX])
{
	size_t length = from ? strlen(from) : 0;

	if (length == 0 || length >= CONFIG_NAME_MAX || from[strspn(from, NAME_BYTES)])
		return false;
	memcpy(to, from, length + 1);
	return true;
}

/* False if it is no list of addresses, or one that we would have left out. */
static bool take_addresses(const ProtobufCBinaryData *from, int family,
			   struct peer_network *to)
{
	size_t size = address_size(family), count = from->len / size;

	if (from->len == 0 || from->len % size ||
	    count > CONFIG_ADDRESSES_MAX - to->num_addresses)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct config_address *address = &to->addresses[to->num_addresses++];

		address->family = family;
		memcpy(address->bytes, from->data + i * size, size);
	}
	return true;
}

/* A name at the front of a list, and what is behind it; false if there is none. */
static bool take_member(const char **from, char name[CONFIG_NAME_MAX])
{
	size_t length = strcspn(*from, ",");

	if (length >= CONFIG_NAME_MAX)
		return false;
	memcpy(name, *from, length);
	name[length] = '\0';
	*from += length;
	return length > 0 && !name[strspn(name, NAME_BYTES)];
}

/* Only what we would write: the order of a list must not make two of it. */
static bool members_are_clean(const char *text)
{
	char name[CONFIG_NAME_MAX], last[CONFIG_NAME_MAX] = "";

	for (unsigned count = 0; count < CONFIG_MEMBERS_MAX; count++) {
		if (!take_member(&text, name) || strcmp(name, last) <= 0)
			return false;
		if (!*text++)
			return true;
		memcpy(last, name, sizeof(last));
	}
	return false;
}

static int take_members(const char *from, struct peer_hello *hello,
			struct peer_network *to, const char **ret_why)
{
	if (!from)
		return 0;
	if (to->kind != NETWORK_KIND_GLOBAL)
		return refuse("has a local network with members", ret_why);
	if (!members_are_clean(from))
		return refuse("has a network whose members are none", ret_why);
	if (peer_hello_set_members(hello, to, from) < 0)
		return refuse("has too many members of networks", ret_why);
	return 0;
}

static int take_network(const Shmnet__Peer__Network *from, struct peer_hello *hello,
			struct peer_network *to, const char **ret_why)
{
	if (!take_name(from->name, to->name))
		return refuse("has a network name that is none", ret_why);
	if (from->kind != SHMNET__PEER__NETWORK_KIND__KIND_LOCAL &&
	    from->kind != SHMNET__PEER__NETWORK_KIND__KIND_GLOBAL)
		return refuse("has a network of an unknown kind", ret_why);
	if (from->mtu < SHMNET_MTU_MIN || from->mtu > SHMNET_MTU_MAX)
		return refuse("has a network whose MTU is out of range", ret_why);
	if ((from->has_ipv4 && !take_addresses(&from->ipv4, AF_INET, to)) ||
	    (from->has_ipv6 && !take_addresses(&from->ipv6, AF_INET6, to)))
		return refuse("has a network whose addresses are none", ret_why);
	if (from->cast != SHMNET__PEER__CAST_MODE__MODE_SHARED &&
	    from->cast != SHMNET__PEER__CAST_MODE__MODE_LANES)
		return refuse("has a network of an unknown cast mode", ret_why);
	if (from->offloads & ~SHMNET_OFFLOADS)
		return refuse("has a network of unknown offloads", ret_why);
	to->kind = (enum network_kind)from->kind;
	to->mtu = from->mtu;
	to->cast = (enum cast_mode)from->cast;
	to->offloads = from->offloads;
	return take_members(from->members, hello, to, ret_why);
}

static bool name_is_repeated(const struct peer_hello *hello, const char *name)
{
	for (unsigned i = 0; i < hello->num_networks; i++) {
		if (strcmp(hello->networks[i].name, name) == 0)
			return true;
	}
	return false;
}

static int take_networks(Shmnet__Peer__Network *const *from, size_t count,
			 struct peer_hello *to, const char **ret_why)
{
	int ret;

	if (count > CONFIG_NETWORKS_MAX)
		return refuse("has too many networks", ret_why);
	for (size_t i = 0; i < count; i++) {
		struct peer_network *network = &to->networks[i];

		ret = take_network(from[i], to, network, ret_why);
		if (ret < 0)
			return ret;
		if (name_is_repeated(to, network->name))
			return refuse("names a network twice", ret_why);
		to->num_networks++;
	}
	return 0;
}

static int take_versions(uint32_t version, bool has_min, uint32_t min,
			 const char **ret_why)
{
	if (has_min && (min == 0 || min > version))
		return refuse("has a lowest wire version that is above its highest, or 0",
			      ret_why);
	return version ? 0 : refuse("has a wire version of 0", ret_why);
}

static int take_hello(const Shmnet__Peer__Hello *from, struct peer_hello *to,
		      const char **ret_why)
{
	to->wire_version = from->wire_version;
	to->wire_min = from->has_wire_min ? from->wire_min : 0;
	if (take_versions(from->wire_version, from->has_wire_min, from->wire_min,
			  ret_why) < 0)
		return -EBADMSG;
	if (!take_name(from->cluster, to->cluster))
		return refuse("has a cluster name that is none", ret_why);
	if (!take_name(from->name, to->name))
		return refuse("has a node name that is none", ret_why);
	if (!from->has_id || from->id < SHMNET_NODE_ID_MIN ||
	    from->id > SHMNET_NODE_ID_MAX)
		return refuse("has a node id out of range (1 to 65534)", ret_why);
	if (!from->has_nonce)
		return refuse("has no nonce", ret_why);
	to->id = (uint16_t)from->id;
	to->nonce = from->nonce;
	return take_networks(from->networks, from->n_networks, to, ret_why);
}

static int take_ready(const Shmnet__Peer__Ready *from, struct peer_ready *to,
		      const char **ret_why)
{
	if (from->floor == UINT32_MAX)
		return refuse("has a floor that nothing is above", ret_why);
	if (from->incarnation == 0)
		return refuse("has an incarnation of 0", ret_why);
	if (from->beat_ms < CONFIG_LIVENESS_INTERVAL_MS_MIN ||
	    from->beat_ms > CONFIG_LIVENESS_INTERVAL_MS_MAX)
		return refuse("has an interval of liveness out of range (20 to 10000 ms)",
			      ret_why);
	to->floor = from->floor;
	to->incarnation = from->incarnation;
	to->beat_ms = from->beat_ms;
	return 0;
}

static int take_wire(protobuf_c_boolean has, const ProtobufCBinaryData *from,
		     struct peer_wire *to, const char **ret_why)
{
	if (!has)
		return 0;
	if (from->len == 0 || from->len > PEER_WIRE_MAX)
		return refuse("has too many or too few bytes for a fabric (1 to 192)",
			      ret_why);
	to->length = from->len;
	memcpy(to->bytes, from->data, from->len);
	return 0;
}

static int take_ring(const Shmnet__Peer__Ring *from, struct peer_ring *to,
		     const char **ret_why)
{
	if (!take_name(from->network, to->network))
		return refuse("has a network name that is none", ret_why);
	if (!shmnet_ring_size_valid(from->size))
		return refuse("has a ring size that no ring has", ret_why);
	to->size = from->size;
	to->salt = from->salt;
	to->epoch = from->epoch;
	if (from->has_heard && from->heard == 0)
		return refuse("has a number of 0 that is to be left out", ret_why);
	to->heard = from->heard;
	return take_wire(from->has_wire, &from->wire, &to->wire, ret_why);
}

static int take_incarnation(const Shmnet__Peer__Incarnation *from,
			    struct peer_incarnation *to, const char **ret_why)
{
	if (from->value == 0)
		return refuse("has an incarnation of 0", ret_why);
	to->value = from->value;
	return 0;
}

/* The words go to the log and to a terminal: printable ASCII only. */
static bool words_are_clean(const char *words)
{
	for (; *words; words++) {
		if (*words < 0x20 || *words > 0x7e)
			return false;
	}
	return true;
}

static int take_refuse(const Shmnet__Peer__Refuse *from, struct peer_refuse *to,
		       const char **ret_why)
{
	size_t length = strlen(from->words);

	if ((unsigned)from->code >= PEER_REFUSAL_NUM_)
		return refuse("has an unknown code", ret_why);
	if (length == 0 || length >= PEER_WORDS_MAX || !words_are_clean(from->words))
		return refuse("has words that can't be shown", ret_why);
	to->code = (enum peer_refusal)from->code;
	memcpy(to->words, from->words, length + 1);
	return 0;
}

static int take_node(uint32_t from, uint16_t *to, const char **ret_why)
{
	if (from < SHMNET_NODE_ID_MIN || from > SHMNET_NODE_ID_MAX)
		return refuse("has a node id out of range (1 to 65534)", ret_why);
	*to = (uint16_t)from;
	return 0;
}

static int take_probed(const Shmnet__Peer__Probed *from, struct peer_probed *to,
		       const char **ret_why)
{
	to->heard = from->heard;
	return take_node(from->node, &to->node, ret_why);
}

static int take_label(uint64_t number, uint8_t label[SHMNET_ETH_ALEN],
		      const char **ret_why)
{
	if (number >> 48 || !(number >> 40 & 1))
		return refuse("has a label that is no group's address", ret_why);
	for (unsigned i = SHMNET_ETH_ALEN; i-- > 0; number >>= 8)
		label[i] = (uint8_t)number;
	return 0;
}

static int take_cast(const Shmnet__Peer__Cast *from, struct peer_cast *to,
		     const char **ret_why)
{
	if (!take_name(from->network, to->network))
		return refuse("has a network name that is none", ret_why);
	if (from->id == 0)
		return refuse("has a ring id of 0", ret_why);
	if (!shmnet_cast_depth_valid(from->depth))
		return refuse("has a depth that no cast ring has", ret_why);
	if (from->maker < SHMNET_NODE_ID_MIN || from->maker > SHMNET_NODE_ID_MAX)
		return refuse("has a maker whose id is out of range (1 to 65534)",
			      ret_why);
	if (from->epoch > PEER_EPOCH_MAX || (from->epoch == 0) != (from->lane != 0))
		return refuse("has an epoch out of range", ret_why);
	to->id = from->id;
	to->depth = from->depth;
	to->epoch = from->epoch;
	to->maker = (uint16_t)from->maker;
	to->lane = from->lane != 0;
	return take_label(from->label, to->label, ret_why);
}

static int take_cast_name(const char *network, uint64_t id, struct peer_cast_name *to,
			  const char **ret_why)
{
	if (!take_name(network, to->network))
		return refuse("has a network name that is none", ret_why);
	if (id == 0)
		return refuse("has a ring id of 0", ret_why);
	to->id = id;
	return 0;
}

/* An address is as hostile as the rest: nobody dials what is none. */
static int take_life(const Shmnet__Peer__Life *from, struct peer_life *to,
		     const char **ret_why)
{
	if (!take_name(from->name, to->name))
		return refuse("has a node name that is none", ret_why);
	if (config_endpoint_parse(from->address, &to->address, NULL) < 0 ||
	    strcmp(from->address, to->address.text) != 0)
		return refuse("has an address that can't be dialled", ret_why);
	to->nonce = from->nonce;
	to->age_ms = from->age_ms;
	return take_node(from->id, &to->id, ret_why);
}

static int take_look(const Shmnet__Peer__Look *from, struct peer_look *to,
		     const char **ret_why)
{
	int ret;

	to->wire_version = from->wire_version;
	to->wire_min = from->has_wire_min ? from->wire_min : 0;
	if (take_versions(from->wire_version, from->has_wire_min, from->wire_min,
			  ret_why) < 0)
		return -EBADMSG;
	if (!take_name(from->cluster, to->cluster))
		return refuse("has a cluster name that is none", ret_why);
	if (!from->self)
		return refuse("does not say whose it is", ret_why);
	if (from->n_others > PEER_LIVES_MAX)
		return refuse("has too many nodes", ret_why);
	ret = take_life(from->self, &to->self, ret_why);
	for (size_t i = 0; i < from->n_others && ret == 0; i++)
		ret = take_life(from->others[i], &to->others[to->num_others++], ret_why);
	return ret;
}

static int take_pause(const Shmnet__Peer__Pause *from, struct peer_pause *to,
		      const char **ret_why)
{
	if (!take_name(from->network, to->network))
		return refuse("has a network name that is none", ret_why);
	to->paused = from->paused != 0;
	return 0;
}

static int take(const Shmnet__Peer__Message *from, struct peer_message *to,
		const char **ret_why)
{
	to->type = (enum peer_message_type)(from->body_case - 1);
	switch (from->body_case) {
	case SHMNET__PEER__MESSAGE__BODY_HELLO:
		return take_hello(from->hello, &to->hello, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_READY:
		return take_ready(from->ready, &to->ready, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_RING:
		return take_ring(from->ring, &to->ring, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_BELL:
		return take_wire(from->bell->has_wire, &from->bell->wire, &to->bell.wire,
				 ret_why);
	case SHMNET__PEER__MESSAGE__BODY_INCARNATION:
		return take_incarnation(from->incarnation, &to->incarnation, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_REFUSE:
		return take_refuse(from->refuse, &to->refuse, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_PROBE:
		return take_node(from->probe->node, &to->probe.node, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_PROBED:
		return take_probed(from->probed, &to->probed, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_CAST:
		return take_cast(from->cast, &to->cast, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_READS:
		return take_cast_name(from->reads->network, from->reads->id, &to->reads,
				      ret_why);
	case SHMNET__PEER__MESSAGE__BODY_WANT:
		return take_cast_name(from->want->network, from->want->id, &to->want,
				      ret_why);
	case SHMNET__PEER__MESSAGE__BODY_LOOK:
		return take_look(from->look, &to->look, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_PAUSE:
		return take_pause(from->pause, &to->pause, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_NETWORKS:
		return take_networks(from->networks->networks, from->networks->n_networks,
				     &to->hello, ret_why);
	case SHMNET__PEER__MESSAGE__BODY_BORDER:
		return codec_peer_take_border(from->border, &to->border, ret_why);
	default:
		return refuse("is of an unknown type", ret_why);
	}
}
_Static_assert(SHMNET__PEER__MESSAGE__BODY_HELLO == PEER_MESSAGE_HELLO + 1 &&
		       SHMNET__PEER__MESSAGE__BODY_BORDER == PEER_MESSAGE_BORDER + 1,
	       "types are in the order of the wire");

static unsigned unknown_of_look(const Shmnet__Peer__Look *look)
{
	unsigned count = look->self ? look->self->base.n_unknown_fields : 0;

	for (size_t i = 0; i < look->n_others; i++)
		count += look->others[i]->base.n_unknown_fields;
	return count;
}

static unsigned unknown_of_networks(Shmnet__Peer__Network *const *networks, size_t count)
{
	unsigned sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += networks[i]->base.n_unknown_fields;
	return sum;
}

static bool has_unknown_fields(const Shmnet__Peer__Message *message)
{
	/* Every body starts with its base, and the bodies are a union of pointers. */
	unsigned count =
		message->base.n_unknown_fields + message->hello->base.n_unknown_fields;

	if (message->body_case == SHMNET__PEER__MESSAGE__BODY_HELLO)
		count += unknown_of_networks(message->hello->networks,
					     message->hello->n_networks);
	if (message->body_case == SHMNET__PEER__MESSAGE__BODY_NETWORKS)
		count += unknown_of_networks(message->networks->networks,
					     message->networks->n_networks);
	if (message->body_case == SHMNET__PEER__MESSAGE__BODY_LOOK)
		count += unknown_of_look(message->look);
	if (message->body_case == SHMNET__PEER__MESSAGE__BODY_BORDER)
		count += codec_peer_unknown_of_border(message->border);
	return count > 0;
}

static int unpack(const uint8_t *bytes, size_t length, bool is_newer,
		  struct peer_message *to, const char **ret_why)
{
	struct codec_arena arena;
	ProtobufCAllocator allocator = {codec_arena_alloc, codec_arena_free, &arena};
	Shmnet__Peer__Message *message;

	arena.used = 0;
	message = shmnet__peer__message__unpack(&allocator, length, bytes);
	if (!message)
		return refuse("is malformed", ret_why);
	if (message->body_case == SHMNET__PEER__MESSAGE__BODY__NOT_SET)
		return refuse("is of an unknown type", ret_why);
	if (shmnet__peer__message__get_packed_size(message) != length ||
	    (!is_newer && has_unknown_fields(message)))
		return refuse("has fields that don't belong there", ret_why);
	return take(message, to, ret_why);
}

int codec_peer_decode(const uint8_t *bytes, size_t length,
		      struct peer_message *ret_message, const char **ret_why)
{
	struct wire_range theirs = wire_spoken;
	struct peer_message message;
	enum peer_message_type type = PEER_MESSAGE_HELLO;
	uint32_t version = 0, min = 0;
	int ret;

	memset(&message, 0, sizeof(message));
	if (codec_peer_peek(bytes, length, &type, &version, &min))
		theirs = wire_range_of(version, min);
	if (wire_range_meet(&wire_spoken, &theirs) == 0) {
		message.type = type;
		if (type == PEER_MESSAGE_HELLO) {
			message.hello.wire_version = version;
			message.hello.wire_min = min;
		} else {
			message.look.wire_version = version;
			message.look.wire_min = min;
		}
	} else {
		ret = unpack(bytes, length, theirs.max > wire_spoken.max, &message,
			     ret_why);
		if (ret < 0)
			return ret;
	}
	*ret_message = message;
	return 0;
}
