/* The dispatcher alone: what follows from each event, without a network. */
#include "control/dispatch.h"
#include "shim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ull
#define S  1000000000ull

#define SENT_MAX 64

struct sent {
	uint16_t to;
	struct dispatch_message message;
};

/* What the dispatcher sees, and what it did. */
struct rig {
	struct config_network config;
	struct dispatch *dispatch;
	uint64_t now_ns;
	uint64_t timer_ns; /* 0: not set */
	uint64_t random;

	int exact; /* what the kernel says */
	bool is_over;
	unsigned lookups;

	unsigned num_sent;
	struct sent sent[SENT_MAX];
	int send_error;

	unsigned num_answers;
	struct flow_key key; /* of the last one */
	struct dispatch_verdict verdict;

	unsigned renewals;
	unsigned announcements;
	bool announces;
};

static uint64_t on_now(void *arg)
{
	return ((struct rig *)arg)->now_ns;
}

static void on_random(void *arg, void *bytes, size_t length)
{
	struct rig *rig = arg;

	for (size_t i = 0; i < length; i++) {
		rig->random = rig->random * 6364136223846793005ull + 1442695040888963407;
		((uint8_t *)bytes)[i] = (uint8_t)(rig->random >> 56);
	}
}

static int on_send(void *arg, uint16_t peer_id, const uint8_t *bytes, size_t length)
{
	struct rig *rig = arg;
	struct sent *sent = &rig->sent[rig->num_sent];
	const char *why = "";

	if (rig->send_error)
		return rig->send_error;
	if (!CHECK(rig->num_sent < SENT_MAX))
		return 0;
	sent->to = peer_id;
	CHECK_INT(codec_dispatch_decode(bytes, length, &sent->message, &why), 0);
	CHECK_STR(why, "");
	rig->num_sent++;
	return 0;
}

static int on_answer(void *arg, const struct flow_key *key,
		     const struct dispatch_verdict *verdict)
{
	struct rig *rig = arg;

	rig->num_answers++;
	rig->key = *key;
	rig->verdict = *verdict;
	return 0;
}

static void on_renew(void *arg)
{
	((struct rig *)arg)->renewals++;
}

static int on_exact(void *arg, const struct flow_key *key, struct socket_match *ret_match)
{
	struct rig *rig = arg;

	(void)key;
	rig->lookups++;
	ret_match->is_over = rig->is_over;
	return rig->exact;
}

static void on_set_timer(void *arg, uint64_t delay_ns)
{
	struct rig *rig = arg;

	rig->timer_ns = rig->now_ns + delay_ns;
}

static void on_announce(void *arg, bool on)
{
	struct rig *rig = arg;

	rig->announcements++;
	rig->announces = on;
}

static const struct dispatch_ops ops = {
	.now = on_now,
	.random = on_random,
	.send = on_send,
	.answer = on_answer,
	.renew_datagrams = on_renew,
	.exact = on_exact,
	.set_timer = on_set_timer,
	.announce = on_announce,
};

/* Node 5, "n5"; the address is 10.99.0.1. */
static struct rig *open_rig(uint32_t flows)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	if (!rig)
		abort();
	rig->now_ns = 1000 * S;
	rig->config.name = (char *)"web0";
	rig->config.kind = NETWORK_KIND_GLOBAL;
	rig->config.weight = 1;
	rig->config.flows = flows;
	rig->config.announce = (char *)"eth0";
	rig->config.num_addresses = 1;
	rig->config.addresses[0] = (struct config_address){
		.family = AF_INET, .bytes = {10, 99, 0, 1}, .prefix = 32};
	if (dispatch_new(&rig->config, 5, "n5", &ops, rig, &rig->dispatch) < 0)
		abort();
	return rig;
}

static void close_rig(struct rig *rig)
{
	dispatch_free(rig->dispatch);
	free(rig);
}

/* Lets the time pass, with all timers on the way. */
static void pass(struct rig *rig, uint64_t duration_ns)
{
	uint64_t end_ns = rig->now_ns + duration_ns;

	while (rig->timer_ns && rig->timer_ns <= end_ns) {
		rig->now_ns = rig->timer_ns;
		rig->timer_ns = 0;
		dispatch_timer(rig->dispatch);
	}
	rig->now_ns = end_ns;
}

static struct flow_packet packet_of(enum flow_kind kind, uint8_t protocol, uint16_t port)
{
	static const uint8_t foreign[4] = {198, 51, 100, 7}, local[4] = {10, 99, 0, 1};
	struct flow_packet packet = {.kind = kind};

	flow_address_map_ipv4(packet.key.foreign, foreign);
	flow_address_map_ipv4(packet.key.local, local);
	packet.key.foreign_port = port;
	packet.key.local_port = 80;
	packet.key.protocol = protocol;
	return packet;
}

static struct flow_packet opener(uint16_t port)
{
	return packet_of(FLOW_OPENER, IPPROTO_TCP, port);
}

static struct flow_packet segment(uint16_t port)
{
	return packet_of(FLOW_SEGMENT, IPPROTO_TCP, port);
}

static void miss(struct rig *rig, struct flow_packet packet)
{
	rig->num_answers = 0;
	dispatch_miss(rig->dispatch, &packet);
}

static void tell(struct rig *rig, uint16_t from, const struct dispatch_message *message)
{
	uint8_t bytes[DISPATCH_BYTES_MAX];
	size_t length;

	CHECK_INT(codec_dispatch_encode(message, bytes, sizeof(bytes), &length), 0);
	dispatch_message(rig->dispatch, from, bytes, length);
}

static const struct listener port_80 = {
	.local_port = 80, .protocol = IPPROTO_TCP, .families = LISTENER_IPV4};

static void tell_state(struct rig *rig, uint16_t from, struct dispatch_state state)
{
	const struct dispatch_message message = {.type = DISPATCH_MESSAGE_STATE,
						 .state = state};

	tell(rig, from, &message);
}

static void tell_listener(struct rig *rig, uint16_t from, struct listener listener)
{
	const struct dispatch_message message = {
		.type = DISPATCH_MESSAGE_LISTENERS,
		.part = {.generation = 1, .total = 1, .num = 1, .items = {listener}}};

	tell(rig, from, &message);
}

/* A member that listens at port 80. */
static void join(struct rig *rig, uint16_t id)
{
	char name[16];

	snprintf(name, sizeof(name), "n%u", id);
	dispatch_peer_up(rig->dispatch, id, name);
	tell_state(rig, id, (struct dispatch_state){.generation = 1, .weight = 1});
	tell_listener(rig, id, port_80);
	rig->num_sent = 0;
}

static void check_verdict(const struct rig *rig, uint16_t owner, enum drop_reason reason,
			  enum dispatch_keep keep)
{
	CHECK_INT(rig->num_answers, 1);
	CHECK_INT(rig->verdict.owner, owner);
	CHECK_INT(rig->verdict.reason, reason);
	CHECK_INT(rig->verdict.keep, keep);
}

TEST_CASE(dispatch, an_opener_goes_to_the_only_listener_and_is_told)
{
	struct rig *rig = open_rig(1024);

	miss(rig, opener(1));
	check_verdict(rig, 0, DROP_NO_LISTENER, DISPATCH_KEEP_SHORT);
	join(rig, 7);
	join(rig, 8);
	tell_state(rig, 8, (struct dispatch_state){.generation = 2, .weight = 0});
	rig->num_sent = 0;
	miss(rig, opener(2));
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_INT(rig->lookups, 0);
	CHECK_INT(rig->num_sent, 0);
	pass(rig, 0);
	REQUIRE(rig->num_sent == 2);
	CHECK_INT(rig->sent[0].message.type, DISPATCH_MESSAGE_PIN);
	CHECK_INT(rig->sent[0].message.pins[0].owner, 7);
	miss(rig, segment(2));
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}
