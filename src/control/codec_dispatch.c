/*
 * See codec_dispatch.h. The only file that knows of dispatch.proto's generated code.
 *
 * Theory of operation of the strictness: as in codec_peer.c. What protobuf takes in
 * several spellings is longer than what we would write for it, so one comparison of
 * lengths refuses it; fields that we don't know are counted. Unpacking takes its memory
 * from an arena on the stack: whatever a peer writes, it makes nobody allocate.
 */
#include "control/codec_dispatch.h"

#include "control/codec_arena.h"
#include "control/config.h"

#include <shmnet/wire.h>

#include "dispatch.pb-c.h"

#include <errno.h>
#include <string.h>

#define FAMILIES_ALL (LISTENER_IPV4 | LISTENER_IPV6)

_Static_assert((int)DISPATCH_HAVE_OVER == SHMNET__DISPATCH__ANSWER__HAVE__OVER &&
		       (int)DISPATCH_HAVE_LIVE == SHMNET__DISPATCH__ANSWER__HAVE__LIVE,
	       "the answers are the numbers of the wire");
_Static_assert(SHMNET__DISPATCH__MESSAGE__BODY_QUERY == DISPATCH_MESSAGE_QUERY + 1 &&
		       SHMNET__DISPATCH__MESSAGE__BODY_DRAIN ==
			       DISPATCH_MESSAGE_DRAIN + 1,
	       "types are in the order of the wire");

static const uint8_t any_address[16];

/* ---- encoding ---- */

#define FLOWS_MAX DISPATCH_QUERIES_MAX
_Static_assert(DISPATCH_PINS_MAX <= FLOWS_MAX, "queries and pins have flows");

/* What the generated struct points to while it is packed. */
struct encoding {
	Shmnet__Dispatch__Message message;
	union {
		Shmnet__Dispatch__Query query;
		Shmnet__Dispatch__Answer answer;
		Shmnet__Dispatch__Pin pin;
		Shmnet__Dispatch__Listeners listeners;
		Shmnet__Dispatch__State state;
		Shmnet__Dispatch__Heard heard;
		Shmnet__Dispatch__Drain drain;
	};
	Shmnet__Dispatch__Flow flows[FLOWS_MAX];
	union {
		Shmnet__Dispatch__Query__Item queries[DISPATCH_QUERIES_MAX];
		Shmnet__Dispatch__Answer__Item answers[DISPATCH_ANSWERS_MAX];
		Shmnet__Dispatch__Pin__Item pins[DISPATCH_PINS_MAX];
		Shmnet__Dispatch__Listener items[DISPATCH_PART_MAX];
	};
	union {
		Shmnet__Dispatch__Query__Item *query_list[DISPATCH_QUERIES_MAX];
		Shmnet__Dispatch__Answer__Item *answer_list[DISPATCH_ANSWERS_MAX];
		Shmnet__Dispatch__Pin__Item *pin_list[DISPATCH_PINS_MAX];
		Shmnet__Dispatch__Listener *item_list[DISPATCH_PART_MAX];
	};
};

static ProtobufCBinaryData fill_address(const uint8_t address[16])
{
	size_t skip = flow_address_is_ipv4(address) ? 12 : 0;

	return (ProtobufCBinaryData){.len = 16 - skip,
				     .data = (uint8_t *)(uintptr_t)address + skip};
}

static void fill_flow(Shmnet__Dispatch__Flow *to, const struct flow_key *from)
{
	shmnet__dispatch__flow__init(to);
	to->foreign = fill_address(from->foreign);
	to->local = fill_address(from->local);
	to->foreign_port = from->foreign_port;
	to->local_port = from->local_port;
	to->protocol = from->protocol;
}

static void fill_query(struct encoding *to, const struct dispatch_message *from)
{
	shmnet__dispatch__query__init(&to->query);
	to->query.n_items = from->num;
	to->query.items = to->query_list;
	for (unsigned i = 0; i < from->num; i++) {
		shmnet__dispatch__query__item__init(&to->queries[i]);
		fill_flow(&to->flows[i], &from->queries[i].key);
		to->queries[i].flow = &to->flows[i];
		to->queries[i].token = from->queries[i].token;
		to->query_list[i] = &to->queries[i];
	}
	to->message.query = &to->query;
}

static void fill_answer(struct encoding *to, const struct dispatch_message *from)
{
	shmnet__dispatch__answer__init(&to->answer);
	to->answer.n_items = from->num;
	to->answer.items = to->answer_list;
	for (unsigned i = 0; i < from->num; i++) {
		shmnet__dispatch__answer__item__init(&to->answers[i]);
		to->answers[i].token = from->answers[i].token;
		to->answers[i].have =
			(Shmnet__Dispatch__Answer__Have)from->answers[i].have;
		to->answer_list[i] = &to->answers[i];
	}
	to->message.answer = &to->answer;
}

static void fill_pin(struct encoding *to, const struct dispatch_message *from)
{
	shmnet__dispatch__pin__init(&to->pin);
	to->pin.n_items = from->num;
	to->pin.items = to->pin_list;
	for (unsigned i = 0; i < from->num; i++) {
		shmnet__dispatch__pin__item__init(&to->pins[i]);
		fill_flow(&to->flows[i], &from->pins[i].key);
		to->pins[i].flow = &to->flows[i];
		to->pins[i].owner = from->pins[i].owner;
		to->pin_list[i] = &to->pins[i];
	}
	to->message.pin = &to->pin;
}

static void fill_listener(Shmnet__Dispatch__Listener *to, const struct listener *from)
{
	shmnet__dispatch__listener__init(to);
	to->has_local = memcmp(from->local, any_address, 16) != 0;
	to->local = fill_address(from->local);
	to->has_foreign = memcmp(from->foreign, any_address, 16) != 0;
	to->foreign = fill_address(from->foreign);
	to->local_port = from->local_port;
	to->foreign_port = from->foreign_port;
	to->protocol = from->protocol;
	to->families = from->families;
}

static void fill_part(struct encoding *to, const struct dispatch_message *from)
{
	const struct dispatch_part *part = &from->part;

	shmnet__dispatch__listeners__init(&to->listeners);
	to->listeners.generation = part->generation;
	to->listeners.first = part->first;
	to->listeners.total = part->total;
	to->listeners.n_items = part->num;
	to->listeners.items = to->item_list;
	for (unsigned i = 0; i < part->num; i++) {
		fill_listener(&to->items[i], &part->items[i]);
		to->item_list[i] = &to->items[i];
	}
	to->message.listeners = &to->listeners;
}

static void fill_state(struct encoding *to, const struct dispatch_message *from)
{
	shmnet__dispatch__state__init(&to->state);
	to->state.generation = from->state.generation;
	to->state.drained = from->state.is_drained;
	to->state.weight = from->state.weight;
	to->state.announces = from->state.announces;
	to->state.announcing = from->state.is_announcing;
	to->state.connections = from->state.connections;
	to->message.state = &to->state;
}

static void fill_heard(struct encoding *to, const struct dispatch_message *from)
{
	shmnet__dispatch__heard__init(&to->heard);
	to->heard.listeners = from->heard.listeners;
	to->heard.count = from->heard.count;
	to->heard.state = from->heard.state;
	to->heard.drain = from->heard.drain;
	to->message.heard = &to->heard;
}

static void fill_drain(struct encoding *to, const struct dispatch_message *from)
{
	shmnet__dispatch__drain__init(&to->drain);
	to->drain.serial = from->drain.serial;
	to->drain.drained = from->drain.is_drained;
	to->message.drain = &to->drain;
}

static void (*const fillers[])(struct encoding *, const struct dispatch_message *) = {
	[DISPATCH_MESSAGE_QUERY] = fill_query, [DISPATCH_MESSAGE_ANSWER] = fill_answer,
	[DISPATCH_MESSAGE_PIN] = fill_pin,     [DISPATCH_MESSAGE_LISTENERS] = fill_part,
	[DISPATCH_MESSAGE_STATE] = fill_state, [DISPATCH_MESSAGE_HEARD] = fill_heard,
	[DISPATCH_MESSAGE_DRAIN] = fill_drain,
};
_Static_assert(sizeof(fillers) / sizeof(fillers[0]) == DISPATCH_MESSAGE_NUM_,
	       "one per type");

int codec_dispatch_encode(const struct dispatch_message *message, uint8_t *bytes,
			  size_t size, size_t *ret_length)
{
	struct encoding encoding;
	size_t length;

	shmnet__dispatch__message__init(&encoding.message);
	encoding.message.body_case =
		(Shmnet__Dispatch__Message__BodyCase)(message->type +
						      SHMNET__DISPATCH__MESSAGE__BODY_QUERY);
	fillers[message->type](&encoding, message);
	length = shmnet__dispatch__message__get_packed_size(&encoding.message);
	if (length > size)
		return -EMSGSIZE;
	shmnet__dispatch__message__pack(&encoding.message, bytes);
	*ret_length = length;
	return 0;
}

/* ---- decoding ---- */

static int refuse(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -EBADMSG;
}

/* One that we would have written in so many bytes. */
static bool take_address(const ProtobufCBinaryData *from, uint8_t to[16])
{
	if (from->len == 4) {
		flow_address_map_ipv4(to, from->data);
		return true;
	}
	if (from->len != 16)
		return false;
	memcpy(to, from->data, 16);
	return !flow_address_is_ipv4(to) && memcmp(to, any_address, 16) != 0;
}

static bool take_port(uint32_t from, uint16_t *to)
{
	*to = (uint16_t)from;
	return from <= UINT16_MAX;
}

static bool take_flow(const Shmnet__Dispatch__Flow *from, struct flow_key *to)
{
	if (from->foreign.len != from->local.len || from->protocol == 0 ||
	    from->protocol > UINT8_MAX)
		return false;
	to->protocol = (uint8_t)from->protocol;
	return take_address(&from->foreign, to->foreign) &&
	       take_address(&from->local, to->local) &&
	       take_port(from->foreign_port, &to->foreign_port) &&
	       take_port(from->local_port, &to->local_port);
}

static int take_query(const Shmnet__Dispatch__Message *message,
		      struct dispatch_message *to, const char **ret_why)
{
	const Shmnet__Dispatch__Query *from = message->query;

	if (from->n_items == 0 || from->n_items > DISPATCH_QUERIES_MAX)
		return refuse("has too many or too few items", ret_why);
	to->num = (unsigned)from->n_items;
	for (unsigned i = 0; i < to->num; i++) {
		to->queries[i].token = from->items[i]->token;
		if (!take_flow(from->items[i]->flow, &to->queries[i].key))
			return refuse("has a flow that is none", ret_why);
	}
	return 0;
}

static int take_answer(const Shmnet__Dispatch__Message *message,
		       struct dispatch_message *to, const char **ret_why)
{
	const Shmnet__Dispatch__Answer *from = message->answer;

	if (from->n_items == 0 || from->n_items > DISPATCH_ANSWERS_MAX)
		return refuse("has too many or too few items", ret_why);
	to->num = (unsigned)from->n_items;
	for (unsigned i = 0; i < to->num; i++) {
		if ((unsigned)from->items[i]->have >= DISPATCH_HAVE_NUM_)
			return refuse("has an unknown answer", ret_why);
		to->answers[i].token = from->items[i]->token;
		to->answers[i].have = (enum dispatch_have)from->items[i]->have;
	}
	return 0;
}

static int take_pin(const Shmnet__Dispatch__Message *message, struct dispatch_message *to,
		    const char **ret_why)
{
	const Shmnet__Dispatch__Pin *from = message->pin;

	if (from->n_items == 0 || from->n_items > DISPATCH_PINS_MAX)
		return refuse("has too many or too few items", ret_why);
	to->num = (unsigned)from->n_items;
	for (unsigned i = 0; i < to->num; i++) {
		uint32_t owner = from->items[i]->owner;

		if (!take_flow(from->items[i]->flow, &to->pins[i].key))
			return refuse("has a flow that is none", ret_why);
		if (owner < SHMNET_NODE_ID_MIN || owner > SHMNET_NODE_ID_MAX)
			return refuse("has a node id out of range (1 to 65534)", ret_why);
		to->pins[i].owner = (uint16_t)owner;
	}
	return 0;
}

static bool take_listener(const Shmnet__Dispatch__Listener *from, struct listener *to)
{
	if ((from->has_local && !take_address(&from->local, to->local)) ||
	    (from->has_foreign && !take_address(&from->foreign, to->foreign)) ||
	    !take_port(from->local_port, &to->local_port) ||
	    !take_port(from->foreign_port, &to->foreign_port))
		return false;
	to->protocol = (uint8_t)from->protocol;
	to->families = (uint8_t)from->families;
	return from->protocol > 0 && from->protocol <= UINT8_MAX && from->families > 0 &&
	       from->families <= FAMILIES_ALL && from->local_port > 0 &&
	       (from->foreign_port == 0 || from->has_foreign);
}

static int take_part(const Shmnet__Dispatch__Message *message,
		     struct dispatch_message *to, const char **ret_why)
{
	const Shmnet__Dispatch__Listeners *from = message->listeners;
	struct dispatch_part *part = &to->part;

	if (from->generation == 0)
		return refuse("has a generation of 0", ret_why);
	if (from->n_items > DISPATCH_PART_MAX ||
	    (from->n_items == 0) != (from->total == 0))
		return refuse("has too many or too few listeners", ret_why);
	if (from->total > DISPATCH_LISTENERS_MAX || from->first > from->total ||
	    from->n_items > from->total - from->first)
		return refuse("is a part of no list", ret_why);
	part->generation = from->generation;
	part->first = from->first;
	part->total = from->total;
	part->num = (unsigned)from->n_items;
	for (unsigned i = 0; i < part->num; i++) {
		if (!take_listener(from->items[i], &part->items[i]))
			return refuse("has a listener that is none", ret_why);
	}
	return 0;
}

static int take_state(const Shmnet__Dispatch__Message *message,
		      struct dispatch_message *to, const char **ret_why)
{
	const Shmnet__Dispatch__State *from = message->state;

	if (from->generation == 0)
		return refuse("has a generation of 0", ret_why);
	if (from->weight > CONFIG_WEIGHT_MAX)
		return refuse("has a weight out of range", ret_why);
	to->state.generation = from->generation;
	to->state.is_drained = from->drained != 0;
	to->state.weight = from->weight;
	to->state.announces = from->announces != 0;
	to->state.is_announcing = from->announcing != 0;
	to->state.connections = from->connections;
	return 0;
}

static int take_heard(const Shmnet__Dispatch__Message *message,
		      struct dispatch_message *to, const char **ret_why)
{
	const Shmnet__Dispatch__Heard *from = message->heard;

	if (from->count > DISPATCH_LISTENERS_MAX)
		return refuse("has heard more listeners than there can be", ret_why);
	to->heard.listeners = from->listeners;
	to->heard.count = from->count;
	to->heard.state = from->state;
	to->heard.drain = from->drain;
	return 0;
}

static int take_drain(const Shmnet__Dispatch__Message *message,
		      struct dispatch_message *to, const char **ret_why)
{
	if (message->drain->serial == 0)
		return refuse("has a serial of 0", ret_why);
	to->drain.serial = message->drain->serial;
	to->drain.is_drained = message->drain->drained != 0;
	return 0;
}

static int (*const takers[])(const Shmnet__Dispatch__Message *, struct dispatch_message *,
			     const char **) = {
	[DISPATCH_MESSAGE_QUERY] = take_query, [DISPATCH_MESSAGE_ANSWER] = take_answer,
	[DISPATCH_MESSAGE_PIN] = take_pin,     [DISPATCH_MESSAGE_LISTENERS] = take_part,
	[DISPATCH_MESSAGE_STATE] = take_state, [DISPATCH_MESSAGE_HEARD] = take_heard,
	[DISPATCH_MESSAGE_DRAIN] = take_drain,
};
_Static_assert(sizeof(takers) / sizeof(takers[0]) == DISPATCH_MESSAGE_NUM_,
	       "one per type");

static unsigned unknown_of_query(const Shmnet__Dispatch__Query *query)
{
	unsigned count = query->base.n_unknown_fields;

	for (size_t i = 0; i < query->n_items; i++)
		count += query->items[i]->base.n_unknown_fields +
			 query->items[i]->flow->base.n_unknown_fields;
	return count;
}

static unsigned unknown_of_answer(const Shmnet__Dispatch__Answer *answer)
{
	unsigned count = answer->base.n_unknown_fields;

	for (size_t i = 0; i < answer->n_items; i++)
		count += answer->items[i]->base.n_unknown_fields;
	return count;
}

static unsigned unknown_of_pin(const Shmnet__Dispatch__Pin *pin)
{
	unsigned count = pin->base.n_unknown_fields;

	for (size_t i = 0; i < pin->n_items; i++)
		count += pin->items[i]->base.n_unknown_fields +
			 pin->items[i]->flow->base.n_unknown_fields;
	return count;
}

static unsigned unknown_of_part(const Shmnet__Dispatch__Listeners *listeners)
{
	unsigned count = listeners->base.n_unknown_fields;

	for (size_t i = 0; i < listeners->n_items; i++)
		count += listeners->items[i]->base.n_unknown_fields;
	return count;
}

static bool has_unknown_fields(const Shmnet__Dispatch__Message *message)
{
	if (message->base.n_unknown_fields)
		return true;
	switch (message->body_case) {
	case SHMNET__DISPATCH__MESSAGE__BODY_QUERY:
		return unknown_of_query(message->query) > 0;
	case SHMNET__DISPATCH__MESSAGE__BODY_ANSWER:
		return unknown_of_answer(message->answer) > 0;
	case SHMNET__DISPATCH__MESSAGE__BODY_PIN:
		return unknown_of_pin(message->pin) > 0;
	case SHMNET__DISPATCH__MESSAGE__BODY_LISTENERS:
		return unknown_of_part(message->listeners) > 0;
	default:
		/* Every body starts with its base, in a union of pointers. */
		return message->state->base.n_unknown_fields > 0;
	}
}

int codec_dispatch_decode(const uint8_t *bytes, size_t length,
			  struct dispatch_message *ret_message, const char **ret_why)
{
	struct codec_arena arena;
	ProtobufCAllocator allocator = {codec_arena_alloc, codec_arena_free, &arena};
	Shmnet__Dispatch__Message *from;
	struct dispatch_message message;
	int ret;

	arena.used = 0;
	from = shmnet__dispatch__message__unpack(&allocator, length, bytes);
	if (!from)
		return refuse("is malformed", ret_why);
	if (from->body_case == SHMNET__DISPATCH__MESSAGE__BODY__NOT_SET)
		return refuse("is of an unknown type", ret_why);
	if (shmnet__dispatch__message__get_packed_size(from) != length ||
	    has_unknown_fields(from))
		return refuse("has fields that don't belong there", ret_why);
	memset(&message, 0, sizeof(message));
	message.type = (enum dispatch_message_type)(
		from->body_case - SHMNET__DISPATCH__MESSAGE__BODY_QUERY);
	ret = takers[message.type](from, &message, ret_why);
	if (ret < 0)
		return ret;
	*ret_message = message;
	return 0;
}
