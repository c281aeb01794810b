/* The dispatcher alone: what follows from each event, without a network. */
#include "control/dispatch.h"
#include "shim.h"

#include <errno.h>
#include <netinet/in.h>
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
	bool is_half;
	unsigned lookups;
	bool listens; /* at port 80, when it is looked for */
	unsigned looks;

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
	ret_match->is_half = rig->is_half;
	return rig->exact;
}

static int on_listen(void *arg, struct listener **ret_listeners, unsigned *ret_num)
{
	struct rig *rig = arg;

	rig->looks++;
	if (!rig->listens)
		return -ENOENT;
	*ret_listeners = calloc(1, sizeof(**ret_listeners));
	if (!*ret_listeners)
		return -ENOMEM;
	**ret_listeners = (struct listener){
		.local_port = 80, .protocol = IPPROTO_TCP, .families = LISTENER_IPV4};
	*ret_num = 1;
	return 0;
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
	.listen = on_listen,
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

/* Who has begun to listen since the lists were told. */
TEST_CASE(dispatch, listeners_are_looked_for_before_nobody_listens)
{
	struct rig *rig = open_rig(1024);

	rig->listens = true;
	miss(rig, opener(1));
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_INT(rig->looks, 1);
	close_rig(rig);
}

TEST_CASE(dispatch, listeners_are_not_looked_for_at_each_packet)
{
	struct rig *rig = open_rig(1024);

	for (uint16_t port = 1; port <= 100; port++) {
		miss(rig, opener(port));
		check_verdict(rig, 0, DROP_NO_LISTENER, DISPATCH_KEEP_SHORT);
	}
	CHECK_INT(rig->looks, 1);
	pass(rig, 20 * MS);
	miss(rig, opener(101));
	CHECK_INT(rig->looks, 2);
	close_rig(rig);
}

/* The list comes before the answer, and so is known then. */
TEST_CASE(dispatch, who_is_asked_tells_of_a_new_listener_first)
{
	struct rig *rig = open_rig(1024);
	struct flow_packet packet = opener(1);
	const struct dispatch_message query = {
		.type = DISPATCH_MESSAGE_QUERY,
		.num = 1,
		.queries = {{.token = 77, .key = packet.key}}};

	join(rig, 7);
	rig->listens = true;
	tell(rig, 7, &query);
	pass(rig, 0);
	REQUIRE(rig->num_sent == 2);
	CHECK_INT(rig->sent[0].message.type, DISPATCH_MESSAGE_LISTENERS);
	CHECK_INT(rig->sent[0].message.part.items[0].local_port, 80);
	CHECK_INT(rig->sent[1].message.type, DISPATCH_MESSAGE_ANSWER);
	CHECK_INT(rig->sent[1].message.answers[0].have, DISPATCH_HAVE_NONE);
	close_rig(rig);
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
	pass(rig, 0);
	CHECK_INT(rig->num_sent, 0); /* it waits for more */
	pass(rig, 2 * 1000000);	     /* 2 ms */
	REQUIRE(rig->num_sent == 2);
	CHECK_INT(rig->sent[0].message.type, DISPATCH_MESSAGE_PIN);
	CHECK_INT(rig->sent[0].message.pins[0].owner, 7);
	miss(rig, segment(2));
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

/* All that was sent of one type, to anybody. */
static unsigned count_sent(const struct rig *rig, enum dispatch_message_type type)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rig->num_sent; i++)
		count += rig->sent[i].message.type == type;
	return count;
}

/* The last one of that type to that member; NULL: none. */
static const struct dispatch_message *last_sent(const struct rig *rig, uint16_t to,
						enum dispatch_message_type type)
{
	for (unsigned i = rig->num_sent; i-- > 0;) {
		if (rig->sent[i].to == to && rig->sent[i].message.type == type)
			return &rig->sent[i].message;
	}
	return NULL;
}

static struct dispatch_totals counters_of(const struct rig *rig)
{
	struct dispatch_totals counters;

	dispatch_read_counters(rig->dispatch, &counters);
	return counters;
}

static uint32_t count_flows(const struct rig *rig)
{
	uint32_t count, cap;

	dispatch_read_table(rig->dispatch, &count, &cap);
	return count;
}

/* Everybody has heard everything, and the start is long ago. */
static struct rig *open_settled(uint32_t flows)
{
	struct rig *rig = open_rig(flows);

	dispatch_set_listeners(rig->dispatch, &port_80, 1);
	pass(rig, 31 * S);
	return rig;
}

static void heard_all(struct rig *rig, uint16_t from, uint32_t count)
{
	const struct dispatch_message *state =
		last_sent(rig, from, DISPATCH_MESSAGE_STATE);
	const struct dispatch_message *part =
		last_sent(rig, from, DISPATCH_MESSAGE_LISTENERS);
	struct dispatch_message message = {.type = DISPATCH_MESSAGE_HEARD};

	message.heard.state = state ? state->state.generation : 0;
	message.heard.listeners = part ? part->part.generation : 0;
	message.heard.count = count;
	tell(rig, from, &message);
}

/* A member that has heard everything. */
static void join_settled(struct rig *rig, uint16_t id)
{
	char name[16];

	snprintf(name, sizeof(name), "n%u", id);
	rig->num_sent = 0;
	dispatch_peer_up(rig->dispatch, id, name);
	heard_all(rig, id, 1);
	tell_state(rig, id, (struct dispatch_state){.generation = 1, .weight = 1});
	tell_listener(rig, id, port_80);
	pass(rig, 0);
	rig->num_sent = 0;
}

static void answer(struct rig *rig, uint16_t from, uint64_t token,
		   enum dispatch_have have)
{
	struct dispatch_message message = {.type = DISPATCH_MESSAGE_ANSWER, .num = 1};

	message.answers[0] = (struct dispatch_answer){token, have};
	tell(rig, from, &message);
}

/* The token of the only question that was sent to it. */
static uint64_t asked(const struct rig *rig, uint16_t to)
{
	const struct dispatch_message *message =
		last_sent(rig, to, DISPATCH_MESSAGE_QUERY);

	return CHECK(message != NULL) ? message->queries[0].token : 0;
}

static void pin(struct rig *rig, uint16_t from, struct flow_packet packet, uint16_t owner)
{
	struct dispatch_message message = {.type = DISPATCH_MESSAGE_PIN, .num = 1};

	message.pins[0] = (struct dispatch_pin){packet.key, owner};
	rig->num_answers = 0;
	tell(rig, from, &message);
}

/* ---- questions ---- */

TEST_CASE(dispatch, a_segment_goes_to_the_member_that_has_it)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	join_settled(rig, 8);
	miss(rig, segment(1));
	CHECK_INT(rig->num_answers, 0);
	CHECK_INT(rig->lookups, 1);
	pass(rig, 0);
	CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_QUERY), 2);
	answer(rig, 7, asked(rig, 7), DISPATCH_HAVE_NONE);
	CHECK_INT(rig->num_answers, 0);
	answer(rig, 8, asked(rig, 8), DISPATCH_HAVE_LIVE);
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_INT(rig->key.foreign_port, 1);
	/* It is in the table now. */
	miss(rig, segment(1));
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_U64(counters_of(rig).by_answer, 1);
	CHECK_U64(counters_of(rig).by_table, 1);
	close_rig(rig);
}

TEST_CASE(dispatch, what_nobody_has_is_reset_here)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	miss(rig, segment(1));
	pass(rig, 0);
	answer(rig, 7, asked(rig, 7), DISPATCH_HAVE_NONE);
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_NOT);
	CHECK_U64(counters_of(rig).reset, 1);
	close_rig(rig);
}

TEST_CASE(dispatch, who_only_remembers_it_has_it_if_nobody_else_does)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	join_settled(rig, 8);
	miss(rig, segment(1));
	pass(rig, 0);
	answer(rig, 7, asked(rig, 7), DISPATCH_HAVE_OVER);
	CHECK_INT(rig->num_answers, 0);
	answer(rig, 8, asked(rig, 8), DISPATCH_HAVE_NONE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	rig->num_sent = 0;
	miss(rig, segment(2));
	pass(rig, 0);
	answer(rig, 7, asked(rig, 7), DISPATCH_HAVE_OVER);
	answer(rig, 8, asked(rig, 8), DISPATCH_HAVE_LIVE);
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

TEST_CASE(dispatch, who_does_not_answer_is_asked_once_more)
{
	struct rig *rig = open_settled(1024);
	uint64_t token;

	join_settled(rig, 7);
	join_settled(rig, 8);
	miss(rig, segment(1));
	pass(rig, 0);
	token = asked(rig, 7);
	answer(rig, 8, asked(rig, 8), DISPATCH_HAVE_NONE);
	rig->num_sent = 0;
	pass(rig, 29 * MS);
	CHECK_INT(rig->num_sent, 0);
	pass(rig, 2 * MS);
	CHECK_INT(rig->num_sent, 1);
	CHECK_U64(asked(rig, 7), token);
	CHECK_INT(rig->num_answers, 0);
	pass(rig, 30 * MS);
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	CHECK_U64(counters_of(rig).silent, 1);
	close_rig(rig);
}

TEST_CASE(dispatch, a_tuple_is_asked_for_once_at_a_time)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	miss(rig, segment(1));
	miss(rig, segment(1));
	CHECK_U64(counters_of(rig).joined, 1);
	/* An opener among them may go to a listener. */
	miss(rig, opener(1));
	pass(rig, 0);
	CHECK_INT(rig->num_sent, 1);
	CHECK_INT(rig->sent[0].message.num, 1);
	dispatch_set_listeners(rig->dispatch, NULL, 0);
	answer(rig, 7, asked(rig, 7), DISPATCH_HAVE_NONE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_U64(counters_of(rig).by_listener, 1);
	close_rig(rig);
}

TEST_CASE(dispatch, not_too_many_are_asked_for)
{
	struct rig *rig = open_settled(4096);
	struct dispatch_totals counters;

	join_settled(rig, 7);
	rig->send_error = -EAGAIN;
	for (unsigned i = 1; i <= DISPATCH_ASKED_MAX / 4 * 3; i++)
		miss(rig, segment((uint16_t)i));
	CHECK_INT(rig->num_answers, 0);
	miss(rig, segment(5000));
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_NOT);
	rig->num_answers = 0;
	for (unsigned i = 1; i <= DISPATCH_ASKED_MAX / 4; i++)
		miss(rig, packet_of(FLOW_DATAGRAM, IPPROTO_UDP, (uint16_t)i));
	CHECK_INT(rig->num_answers, 0);
	miss(rig, packet_of(FLOW_DATAGRAM, IPPROTO_UDP, 5000));
	check_verdict(rig, 0, DROP_NO_LISTENER, DISPATCH_KEEP_SHORT);
	rig->num_answers = 0;
	pass(rig, 100 * MS);
	CHECK_INT(rig->num_answers, DISPATCH_ASKED_MAX);
	counters = counters_of(rig);
	CHECK_U64(counters.busy, 2);
	CHECK_U64(counters.silent, DISPATCH_ASKED_MAX);
	CHECK_U64(counters.misses, counters.no_owner + counters.no_listener);
	rig->send_error = 0;
	miss(rig, segment(5000));
	CHECK_INT(rig->num_answers, 0);
	close_rig(rig);
}

TEST_CASE(dispatch, who_goes_down_is_not_waited_for)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	join_settled(rig, 8);
	miss(rig, segment(1));
	pass(rig, 0);
	answer(rig, 8, asked(rig, 8), DISPATCH_HAVE_NONE);
	CHECK_INT(rig->num_answers, 0);
	dispatch_peer_down(rig->dispatch, 7);
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	close_rig(rig);
}

TEST_CASE(dispatch, only_who_was_asked_may_answer)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	miss(rig, segment(1));
	pass(rig, 0);
	join_settled(rig, 8);
	answer(rig, 8, 0, DISPATCH_HAVE_LIVE);
	dispatch_message(rig->dispatch, 9, (const uint8_t *)"", 0);
	dispatch_message(rig->dispatch, 5, (const uint8_t *)"", 0);
	CHECK_INT(rig->num_answers, 0);
	CHECK_U64(counters_of(rig).odd_messages, 3);
	dispatch_message(rig->dispatch, 8, (const uint8_t *)"\xff", 1);
	CHECK_U64(counters_of(rig).bad_messages, 1);
	close_rig(rig);
}

/* ---- late answers ---- */

/* A question about it that nobody answers in time; its token. */
static uint64_t run_out(struct rig *rig, struct flow_packet packet)
{
	uint64_t token;

	rig->num_sent = 0;
	miss(rig, packet);
	pass(rig, 0);
	token = asked(rig, 7);
	pass(rig, 61 * MS);
	CHECK_INT(rig->num_answers, 1);
	rig->num_sent = 0;
	return token;
}

/* Members 7 and 8, and no listener of our own. */
static struct rig *open_slow(void)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	join_settled(rig, 8);
	dispatch_set_listeners(rig->dispatch, NULL, 0);
	heard_all(rig, 7, 0);
	heard_all(rig, 8, 0);
	return rig;
}

/* It is as it was, though something was said late. */
static void check_vain(const struct rig *rig, uint64_t late)
{
	CHECK_INT(rig->num_answers, 0);
	CHECK_U64(counters_of(rig).late, late);
	CHECK_U64(counters_of(rig).odd_messages, 0);
}

static void check_odd(const struct rig *rig, uint64_t odd)
{
	CHECK_INT(rig->num_answers, 0);
	CHECK_U64(counters_of(rig).late, 0);
	CHECK_U64(counters_of(rig).odd_messages, odd);
}

static void answer_late(struct rig *rig, uint16_t from, uint64_t token,
			enum dispatch_have have)
{
	rig->num_answers = 0;
	answer(rig, from, token, have);
}

/* Whose flow it is, without a question. */
static void check_known(struct rig *rig, struct flow_packet packet, uint16_t owner)
{
	rig->num_sent = 0;
	miss(rig, packet);
	CHECK_INT(rig->num_answers, 1);
	CHECK_INT(rig->verdict.owner, owner);
	pass(rig, 0);
	CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_QUERY), 0);
}

TEST_CASE(dispatch, a_late_yes_is_taken_as_one_in_time)
{
	struct rig *rig = open_slow();
	uint64_t token = run_out(rig, segment(1));
	struct dispatch_totals counters;

	CHECK_INT(rig->verdict.owner, 0);
	pass(rig, 1900 * MS);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_INT(rig->key.foreign_port, 1);
	check_known(rig, segment(1), 7);
	/* It was asked twice, and may say so twice. */
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_vain(rig, 2);
	counters = counters_of(rig);
	CHECK_U64(counters.misses, counters.by_table + counters.no_owner);
	CHECK_U64(counters.by_answer, 0);
	CHECK_U64(counters.pins_sent, 0);
	close_rig(rig);
}

TEST_CASE(dispatch, a_late_no_is_only_counted)
{
	struct rig *rig = open_slow();
	uint64_t token = run_out(rig, segment(1));

	answer_late(rig, 7, token, DISPATCH_HAVE_NONE);
	check_vain(rig, 1);
	answer_late(rig, 8, token, DISPATCH_HAVE_OVER);
	check_vain(rig, 2);
	CHECK_INT(count_flows(rig), 0);
	/* One says no and the other one yes. */
	answer_late(rig, 8, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

TEST_CASE(dispatch, nobody_answers_late_what_it_was_not_asked)
{
	struct rig *rig = open_slow();
	uint64_t token = run_out(rig, segment(1));

	join_settled(rig, 9);
	answer_late(rig, 9, token, DISPATCH_HAVE_LIVE);
	check_odd(rig, 1);
	answer_late(rig, 7, token + 1, DISPATCH_HAVE_LIVE);
	answer_late(rig, 7, token + DISPATCH_ASKED_MAX, DISPATCH_HAVE_LIVE);
	answer_late(rig, 7, token - DISPATCH_ASKED_MAX, DISPATCH_HAVE_LIVE);
	answer_late(rig, 7, token + (uint64_t)DISPATCH_ASKED_MAX * DISPATCH_LATE_MAX,
		    DISPATCH_HAVE_LIVE);
	answer_late(rig, 7, 0, DISPATCH_HAVE_LIVE);
	check_odd(rig, 6);
	CHECK_INT(count_flows(rig), 0);
	close_rig(rig);
}

/* Who has said no in time does not say yes later. */
TEST_CASE(dispatch, only_who_was_silent_answers_late)
{
	struct rig *rig = open_slow();
	uint64_t token;

	miss(rig, segment(1));
	pass(rig, 0);
	token = asked(rig, 7);
	answer(rig, 8, token, DISPATCH_HAVE_NONE);
	pass(rig, 61 * MS);
	CHECK_INT(rig->num_answers, 1);
	answer_late(rig, 8, token, DISPATCH_HAVE_LIVE);
	check_odd(rig, 1);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

/* Whoever has its id or its place then. */
TEST_CASE(dispatch, another_life_does_not_answer_late)
{
	struct rig *rig = open_slow();
	uint64_t token = run_out(rig, segment(1));

	dispatch_peer_down(rig->dispatch, 7);
	join_settled(rig, 7);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_odd(rig, 1);
	dispatch_peer_up(rig->dispatch, 8, "n8"); /* that it was down wasn't seen */
	answer_late(rig, 8, token, DISPATCH_HAVE_LIVE);
	check_odd(rig, 2);
	close_rig(rig);
}

TEST_CASE(dispatch, what_has_run_out_is_forgotten_after_a_while)
{
	struct rig *rig = open_slow();
	uint64_t token = run_out(rig, segment(1));

	pass(rig, 2 * S);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_odd(rig, 1);
	/* A flow that is asked for all the time. */
	for (unsigned i = 0; i < 100; i++)
		token = run_out(rig, segment(1));
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

#define RUN_OUT_AT_ONCE (DISPATCH_ASKED_MAX / 4 * 3)

/* The token of the first of them. */
static uint64_t run_many_out(struct rig *rig, unsigned first)
{
	uint64_t token;

	rig->num_sent = 0;
	for (unsigned i = 0; i < RUN_OUT_AT_ONCE; i++)
		miss(rig, segment((uint16_t)(first + i)));
	pass(rig, 0);
	CHECK_INT(rig->num_sent, RUN_OUT_AT_ONCE / DISPATCH_QUERIES_MAX);
	token = rig->sent[0].message.queries[0].token;
	rig->send_error = -EAGAIN;
	pass(rig, 61 * MS);
	rig->send_error = 0;
	return token;
}

TEST_CASE(dispatch, the_oldest_of_too_many_that_ran_out_is_forgotten)
{
	struct rig *rig = open_settled(1024);
	unsigned batches = DISPATCH_LATE_MAX / RUN_OUT_AT_ONCE + 1;
	uint64_t tokens[DISPATCH_LATE_MAX / RUN_OUT_AT_ONCE + 1];

	join_settled(rig, 7);
	for (unsigned i = 0; i < batches; i++)
		tokens[i] = run_many_out(rig, 1 + i * RUN_OUT_AT_ONCE);
	answer_late(rig, 7, tokens[0], DISPATCH_HAVE_LIVE);
	check_odd(rig, 1);
	for (unsigned i = 1; i < batches; i++) {
		answer_late(rig, 7, tokens[i], DISPATCH_HAVE_LIVE);
		check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
		CHECK_INT(rig->key.foreign_port, 1 + i * RUN_OUT_AT_ONCE);
	}
	CHECK_INT(count_flows(rig), batches - 1);
	close_rig(rig);
}

/* Of all those that are remembered it is known when something was learned. */
TEST_CASE(dispatch, too_many_that_ran_out_are_told_apart)
{
	struct rig *rig = open_settled(1024);
	uint64_t tokens[RUN_OUT_AT_ONCE];
	unsigned first = 1;

	join_settled(rig, 7);
	for (; first < 10 * DISPATCH_LATE_MAX; first += RUN_OUT_AT_ONCE)
		run_many_out(rig, first);
	first -= RUN_OUT_AT_ONCE;
	for (unsigned i = 0; i < RUN_OUT_AT_ONCE; i++)
		tokens[i] = rig->sent[i / DISPATCH_QUERIES_MAX]
				    .message.queries[i % DISPATCH_QUERIES_MAX]
				    .token;
	for (unsigned i = 0; i < RUN_OUT_AT_ONCE; i++) {
		pin(rig, 7, opener((uint16_t)(first + i)), 7);
		answer_late(rig, 7, tokens[i], DISPATCH_HAVE_LIVE);
		check_vain(rig, i + 1);
	}
	close_rig(rig);
}

/* By us, or by another border: the client may have its answer. */
TEST_CASE(dispatch, who_got_an_opener_since_keeps_it)
{
	struct rig *rig = open_slow();
	uint64_t token = run_out(rig, segment(1));
	uint16_t owner;

	miss(rig, opener(1));
	owner = rig->verdict.owner;
	CHECK(owner == 7 || owner == 8);
	answer_late(rig, owner == 7 ? 8 : 7, token, DISPATCH_HAVE_LIVE);
	check_vain(rig, 1);
	check_known(rig, segment(1), owner);

	token = run_out(rig, segment(2));
	pin(rig, 8, opener(2), 8);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_vain(rig, 2);
	check_known(rig, segment(2), 8);
	close_rig(rig);
}

/* The opener itself was asked for. */
TEST_CASE(dispatch, an_opener_that_was_placed_unanswered_stays_there)
{
	struct rig *rig = open_slow();
	const struct flow_packet packet = opener(1);
	uint16_t owner;
	uint64_t token;

	dispatch_miss_of_old(rig->dispatch, &packet);
	pass(rig, 0);
	token = asked(rig, 7);
	pass(rig, 61 * MS);
	owner = rig->verdict.owner;
	CHECK(owner == 7 || owner == 8);
	answer_late(rig, owner == 7 ? 8 : 7, token, DISPATCH_HAVE_LIVE);
	check_vain(rig, 1);
	check_known(rig, segment(1), owner);
	/* If nobody would have it, it is the member's. */
	dispatch_set_paused(rig->dispatch, 7, true);
	dispatch_set_paused(rig->dispatch, 8, true);
	token = run_out(rig, segment(2));
	miss(rig, opener(2));
	CHECK(rig->verdict.owner == 0);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

/* Without an entry that would show it. */
TEST_CASE(dispatch, who_got_an_opener_during_a_flood_keeps_it)
{
	struct rig *rig = open_slow();
	uint64_t tokens[2];

	rig->send_error = -EAGAIN;
	for (unsigned i = 0; count_flows(rig) < 1024 / 5 * 4; i++)
		miss(rig, opener((uint16_t)(1 + i)));
	rig->send_error = 0;
	pass(rig, 10 * MS);
	tokens[0] = run_out(rig, segment(50000));
	tokens[1] = run_out(rig, segment(50001));
	miss(rig, opener(50000));
	CHECK_U64(counters_of(rig).hashed, 1);
	pin(rig, 8, opener(50001), 8);
	answer_late(rig, rig->verdict.owner == 7 ? 8 : 7, tokens[0], DISPATCH_HAVE_LIVE);
	check_vain(rig, 1);
	answer_late(rig, 7, tokens[1], DISPATCH_HAVE_LIVE);
	check_vain(rig, 2);
	CHECK_INT(count_flows(rig), 1024 / 5 * 4);
	close_rig(rig);
}

TEST_CASE(dispatch, what_was_remembered_before_the_question_gives_way_to_a_late_yes)
{
	struct rig *rig = open_slow();
	uint64_t token;

	pin(rig, 8, segment(1), 8);
	pass(rig, 61 * S);
	token = run_out(rig, segment(1));
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	check_known(rig, segment(1), 7);
	close_rig(rig);
}

TEST_CASE(dispatch, the_first_late_yes_is_taken)
{
	struct rig *rig = open_slow();
	uint64_t tokens[2];

	tokens[0] = run_out(rig, segment(1));
	tokens[1] = run_out(rig, segment(1));
	answer_late(rig, 8, tokens[1], DISPATCH_HAVE_LIVE);
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	answer_late(rig, 7, tokens[1], DISPATCH_HAVE_LIVE);
	check_vain(rig, 2);
	answer_late(rig, 7, tokens[0], DISPATCH_HAVE_LIVE);
	check_vain(rig, 3);
	check_known(rig, segment(1), 8);
	close_rig(rig);
}

TEST_CASE(dispatch, no_late_yes_takes_what_our_kernel_has)
{
	struct rig *rig = open_slow();
	const struct flow_key key = segment(2).key;
	uint64_t token = run_out(rig, segment(1));

	rig->exact = 1;
	rig->lookups = 0;
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_vain(rig, 2);
	CHECK_INT(rig->lookups, 1); /* nobody makes us look as often as it likes */
	rig->exact = 0;
	/* A walk has seen it. */
	token = run_out(rig, segment(2));
	dispatch_set_connections(rig->dispatch, &key, 1);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_vain(rig, 3);
	check_known(rig, segment(2), 5);
	/* That our kernel has answered an opener of it is less than a connection. */
	rig->exact = 1;
	rig->is_half = true;
	token = run_out(rig, segment(3));
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

/* What went by the hash is gone; what follows goes to who has a socket for it. */
TEST_CASE(dispatch, a_late_yes_corrects_where_datagrams_go)
{
	struct rig *rig = open_slow();
	struct listener port_80_udp = port_80;
	struct flow_packet packet = packet_of(FLOW_DATAGRAM, IPPROTO_UDP, 1);
	uint64_t token;

	port_80_udp.protocol = IPPROTO_UDP;
	dispatch_set_listeners(rig->dispatch, &port_80_udp, 1);
	token = run_out(rig, packet);
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_DATAGRAM);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_DATAGRAM);
	check_known(rig, packet, 7);
	close_rig(rig);
}

/* What asked once more needs not wait for an answer of its own. */
TEST_CASE(dispatch, a_late_yes_answers_the_next_question)
{
	struct rig *rig = open_slow();
	uint64_t token = run_out(rig, segment(1));
	struct dispatch_totals counters;

	miss(rig, segment(1));
	pass(rig, 1 * MS);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	rig->num_answers = 0;
	pass(rig, 100 * MS);
	CHECK_INT(rig->num_answers, 0);
	counters = counters_of(rig);
	CHECK_U64(counters.by_answer, 1);
	CHECK_U64(counters.misses, counters.by_answer + counters.no_owner);
	/* Who has answered that one already has said what is true now. */
	token = run_out(rig, segment(2));
	miss(rig, segment(2));
	pass(rig, 1 * MS);
	answer(rig, 7, asked(rig, 7), DISPATCH_HAVE_NONE);
	answer_late(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_vain(rig, 2);
	close_rig(rig);
}

static enum dispatch_have ask(struct rig *rig, struct flow_packet packet)
{
	struct dispatch_message message = {.type = DISPATCH_MESSAGE_QUERY, .num = 1};
	const struct dispatch_message *answered;

	message.queries[0] = (struct dispatch_query){77, packet.key};
	rig->num_sent = 0;
	tell(rig, 7, &message);
	pass(rig, 0);
	answered = last_sent(rig, 7, DISPATCH_MESSAGE_ANSWER);
	if (!CHECK(answered && answered->answers[0].token == 77))
		return DISPATCH_HAVE_NUM_;
	return answered->answers[0].have;
}

/* With SYN cookies there is no socket yet: what was placed here just now is ours. */
/* A SYN that anybody may have sent leaves a connection where it is. */
TEST_CASE(dispatch, an_opener_of_a_flow_that_was_there_is_asked_for)
{
	struct rig *rig = open_settled(1024);
	const struct flow_packet packet = opener(1);

	join_settled(rig, 7);
	join_settled(rig, 8);
	rig->num_answers = 0;
	dispatch_miss_of_old(rig->dispatch, &packet);
	pass(rig, 0);
	CHECK_INT(rig->num_answers, 0);
	CHECK_INT(rig->lookups, 1);
	answer(rig, 8, asked(rig, 8), DISPATCH_HAVE_LIVE);
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

TEST_CASE(dispatch, others_get_answers)
{
	struct rig *rig = open_settled(1024);
	const struct flow_key key = segment(1).key;

	join_settled(rig, 7);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_NONE);
	rig->exact = 1;
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_LIVE);
	rig->is_over = true;
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_OVER);
	rig->exact = 0;
	pin(rig, 7, opener(1), 5);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_LIVE);
	pass(rig, 10 * S);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_NONE);
	rig->exact = -ENOMEM;
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_NONE);
	CHECK_U64(counters_of(rig).queries, 6);
	/* The kernel need not be asked for what a walk has just seen. */
	rig->lookups = 0;
	dispatch_set_connections(rig->dispatch, &key, 1);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_LIVE);
	CHECK_INT(rig->lookups, 0);
	pass(rig, 10 * S);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_NONE);
	CHECK_INT(rig->lookups, 1);
	close_rig(rig);
}

/* Ours if it was given to us just now; but with the end of a link that may come late. */
TEST_CASE(dispatch, who_has_only_answered_an_opener_is_a_weak_owner)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	join_settled(rig, 8);
	rig->exact = 1;
	rig->is_half = true;
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_OVER);
	pin(rig, 7, opener(1), 5);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_LIVE);
	dispatch_peer_down(rig->dispatch, 8);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_OVER);
	pass(rig, 11 * S);
	dispatch_peer_up(rig->dispatch, 8, "n8");
	dispatch_peer_down(rig->dispatch, 8);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_OVER);
	rig->is_half = false;
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_LIVE);
	close_rig(rig);
}

/* ---- pins ---- */

TEST_CASE(dispatch, a_pin_is_entered_and_told_to_the_data_plane)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	join_settled(rig, 8);
	pin(rig, 7, opener(1), 8);
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	miss(rig, segment(1));
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	pin(rig, 7, opener(1), 9);
	CHECK_INT(rig->num_answers, 0);
	CHECK_U64(counters_of(rig).pins_refused, 1);
	/* An old entry gives way, whoever has it. */
	pass(rig, 11 * S);
	pin(rig, 8, opener(1), 7);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	pass(rig, 11 * S);
	pin(rig, 8, opener(1), 5);
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

TEST_CASE(dispatch, no_pin_takes_what_our_kernel_has)
{
	struct rig *rig = open_settled(1024);
	const struct flow_key key = segment(1).key;

	join_settled(rig, 7);
	dispatch_set_connections(rig->dispatch, &key, 1);
	rig->exact = 1;
	pin(rig, 7, opener(1), 7);
	pass(rig, 11 * S);
	pin(rig, 7, opener(1), 7);
	CHECK_INT(rig->num_answers, 0);
	CHECK_U64(counters_of(rig).pins_refused, 2);
	miss(rig, segment(1));
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_FLOW);
	rig->is_over = true;
	pin(rig, 7, opener(1), 7);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

TEST_CASE(dispatch, a_pin_answers_a_question)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	miss(rig, segment(1));
	pin(rig, 7, opener(1), 7);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	pass(rig, 200 * MS);
	CHECK_INT(rig->num_answers, 1);
	close_rig(rig);
}

/* Of two choices made at once the better one stays, and who has the worse is told. */
TEST_CASE(dispatch, of_two_pins_the_same_one_wins_everywhere)
{
	struct rig *rig = open_settled(1024);
	unsigned kept = 0, taken = 0;

	join_settled(rig, 7);
	join_settled(rig, 8);
	for (uint16_t port = 1; port <= 20; port++) {
		const struct flow_key key = opener(port).key;
		bool wins = flow_score(&key, 7, 1) > flow_score(&key, 8, 1);

		pin(rig, 7, opener(port), 7);
		rig->num_sent = 0;
		pin(rig, 8, opener(port), 8);
		pass(rig, 2 * MS);
		miss(rig, segment(port));
		CHECK_INT(rig->verdict.owner, wins ? 7 : 8);
		CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_PIN), wins ? 1 : 0);
		CHECK(!wins ||
		      last_sent(rig, 8, DISPATCH_MESSAGE_PIN)->pins[0].owner == 7);
		kept += wins;
		taken += !wins;
	}
	CHECK(kept && taken);
	close_rig(rig);
}

TEST_CASE(dispatch, pins_of_a_turn_travel_together)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	for (uint16_t port = 1; port <= 20; port++)
		miss(rig, opener(port));
	pass(rig, 2 * MS);
	CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_PIN), 2);
	CHECK_INT(rig->sent[0].message.num, DISPATCH_PINS_MAX);
	CHECK_INT(rig->sent[1].message.num, 20 - DISPATCH_PINS_MAX);
	close_rig(rig);
}

/* ---- connections that end ---- */

TEST_CASE(dispatch, what_a_dead_member_had_is_dropped_and_then_reset)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	pin(rig, 7, opener(1), 7);
	dispatch_peer_down(rig->dispatch, 7);
	miss(rig, segment(1));
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	miss(rig, segment(2)); /* it may have had this one, too */
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	miss(rig, opener(1));
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_FLOW);
	pass(rig, 29 * S);
	miss(rig, segment(2));
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	pass(rig, 2 * S);
	miss(rig, segment(2));
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_NOT);
	close_rig(rig);
}

/* The opener that it was given may be lost with the link: who has the connection is
 * asked, and another border may have placed it since. */
TEST_CASE(dispatch, what_was_placed_before_a_link_ended_is_asked_for)
{
	struct rig *rig = open_settled(1024);
	unsigned taken = 0;

	join_settled(rig, 7);
	join_settled(rig, 8);
	pin(rig, 8, opener(1), 7);
	pass(rig, 20 * S);
	for (uint16_t port = 2; port <= 20; port++)
		pin(rig, 8, opener(port), 7);
	dispatch_peer_down(rig->dispatch, 7);
	join_settled(rig, 7);
	miss(rig, segment(1));
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW); /* of long before */
	rig->num_answers = 0;
	miss(rig, segment(2));
	CHECK_INT(rig->num_answers, 0);
	CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_QUERY), 0);
	pass(rig, 1 * MS);
	CHECK(count_sent(rig, DISPATCH_MESSAGE_QUERY) > 0);
	for (uint16_t port = 3; port <= 20; port++) {
		pin(rig, 8, opener(port), 8);
		taken += rig->verdict.owner == 8;
	}
	CHECK_INT(taken, 18);
	/* What is placed there from now on is sure again. */
	pass(rig, 2 * S);
	pin(rig, 8, opener(30), 7);
	miss(rig, segment(30));
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

/* Who stood still reads the pin first, and then hears that its links had ended: it is
 * asked by others, too, and is sure of what its kernel has only. */
TEST_CASE(dispatch, what_was_placed_here_before_any_link_ended_is_asked_for)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	join_settled(rig, 8);
	pin(rig, 8, opener(1), 5);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_LIVE);
	dispatch_peer_down(rig->dispatch, 8);
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_OVER);
	rig->exact = 1;
	CHECK_INT(ask(rig, segment(1)), DISPATCH_HAVE_LIVE);
	rig->exact = 0;
	rig->num_answers = 0;
	miss(rig, segment(1));
	CHECK_INT(rig->num_answers, 0);
	pass(rig, 1 * MS);
	CHECK(count_sent(rig, DISPATCH_MESSAGE_QUERY) > 0);
	close_rig(rig);
}

TEST_CASE(dispatch, a_suspect_keeps_what_it_has_and_gets_nothing_new)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	dispatch_set_listeners(rig->dispatch, NULL, 0);
	miss(rig, opener(1));
	CHECK_INT(rig->verdict.owner, 7);
	dispatch_peer_suspect(rig->dispatch, 7, true);
	miss(rig, segment(1));
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	miss(rig, opener(2));
	check_verdict(rig, 0, DROP_NO_LISTENER, DISPATCH_KEEP_SHORT);
	dispatch_peer_suspect(rig->dispatch, 7, false);
	miss(rig, segment(1));
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

/* A border that starts again meets the members one by one. */
TEST_CASE(dispatch, nothing_is_reset_right_after_the_start)
{
	struct rig *rig = open_rig(1024);

	miss(rig, segment(1));
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	pass(rig, 30 * S);
	miss(rig, segment(1));
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_NOT);
	close_rig(rig);
}

TEST_CASE(dispatch, own_connections_are_in_the_table_as_long_as_they_live)
{
	struct rig *rig = open_settled(1024);
	const struct flow_key keys[] = {segment(1).key, segment(2).key};

	join_settled(rig, 7);
	dispatch_set_connections(rig->dispatch, keys, 2);
	CHECK_INT(last_sent(rig, 7, DISPATCH_MESSAGE_STATE)->state.connections, 2);
	miss(rig, segment(1));
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_INT(rig->lookups, 0);
	for (unsigned i = 0; i < 20; i++) {
		pass(rig, 10 * S);
		heard_all(rig, 7, 1);
		rig->num_sent = 0;
		dispatch_set_connections(rig->dispatch, keys, 1);
	}
	CHECK_INT(count_flows(rig), 1);
	/* What another member was given meanwhile is its own, if ours ends in time. */
	pin(rig, 7, opener(1), 7);
	dispatch_set_connections(rig->dispatch, keys, 1);
	miss(rig, segment(1));
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	pass(rig, 10 * S);
	dispatch_set_connections(rig->dispatch, keys, 1);
	miss(rig, segment(1));
	check_verdict(rig, 5, DROP_NUM_, DISPATCH_KEEP_FLOW);
	close_rig(rig);
}

TEST_CASE(dispatch, flows_of_others_are_forgotten_when_nobody_uses_them)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	pin(rig, 7, opener(1), 7);
	pass(rig, 599 * S);
	CHECK_INT(count_flows(rig), 1);
	pass(rig, 80 * S);
	CHECK_INT(count_flows(rig), 0);
	close_rig(rig);
}

TEST_CASE(dispatch, flows_of_who_is_gone_are_forgotten)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	pin(rig, 7, opener(1), 7);
	dispatch_peer_down(rig->dispatch, 7);
	pass(rig, 25 * S);
	CHECK_INT(count_flows(rig), 1);
	pass(rig, 75 * S);
	CHECK_INT(count_flows(rig), 0);
	close_rig(rig);
}

/* ---- flood ---- */

TEST_CASE(dispatch, openers_are_placed_by_hash_when_the_table_is_nearly_full)
{
	struct rig *rig = open_settled(1024);
	unsigned filled = 1024 / 5 * 4;
	uint16_t owner;

	join_settled(rig, 7);
	rig->send_error = -EAGAIN;
	for (unsigned i = 0; i < filled; i++)
		miss(rig, opener((uint16_t)(1 + i)));
	CHECK_INT(count_flows(rig), filled);
	CHECK_U64(counters_of(rig).hashed, 0);
	miss(rig, opener(50000));
	owner = rig->verdict.owner;
	check_verdict(rig, owner, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_INT(count_flows(rig), filled);
	CHECK_U64(counters_of(rig).hashed, 1);
	CHECK_U64(counters_of(rig).pins_sent, filled);
	/* Its next packet finds it, without a socket and without an entry. */
	rig->send_error = 0;
	pass(rig, 0);
	rig->num_sent = 0;
	miss(rig, segment(50000));
	pass(rig, 0);
	answer(rig, 7, asked(rig, 7), DISPATCH_HAVE_NONE);
	check_verdict(rig, owner, DROP_NUM_, DISPATCH_KEEP_NOT);
	/* What was placed and not seen again goes soon. */
	pass(rig, 40 * S);
	CHECK(count_flows(rig) < filled);
	close_rig(rig);
}

/* It may be one that had an entry before: what follows goes by the hash, too. */
TEST_CASE(dispatch, an_opener_without_an_entry_takes_the_place_of_one_with)
{
	struct rig *rig = open_settled(1024);
	uint16_t owner;

	join_settled(rig, 7);
	miss(rig, opener(50000));
	owner = rig->verdict.owner == 5 ? 7 : 5;
	pass(rig, 11 * S);
	pin(rig, 7, opener(50000), owner); /* not where the policy had it */
	pass(rig, 11 * S);
	rig->send_error = -EAGAIN;
	for (unsigned i = 0; count_flows(rig) < 1024 / 5 * 4; i++)
		miss(rig, opener((uint16_t)(1 + i)));
	miss(rig, opener(50000));
	pass(rig, 100 * MS); /* nobody answers */
	CHECK_U64(counters_of(rig).hashed, 1);
	CHECK_INT(count_flows(rig), 1024 / 5 * 4 - 1);
	close_rig(rig);
}

/* A pin that comes then changes what is there, and adds nothing. */
TEST_CASE(dispatch, pins_add_nothing_during_a_flood)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	rig->send_error = -EAGAIN;
	for (unsigned i = 0; count_flows(rig) < 1024 / 5 * 4; i++)
		miss(rig, opener((uint16_t)(1 + i)));
	pin(rig, 7, opener(50000), 7);
	check_verdict(rig, 7, DROP_NUM_, DISPATCH_KEEP_FLOW);
	CHECK_INT(count_flows(rig), 1024 / 5 * 4);
	close_rig(rig);
}

/* ---- listeners ---- */

static void set_many(struct rig *rig, unsigned num)
{
	struct listener *listeners = calloc(num, sizeof(*listeners));

	if (!listeners)
		abort();
	for (unsigned i = 0; i < num; i++) {
		listeners[i] = port_80;
		listeners[i].local_port = (uint16_t)(num - i);
	}
	dispatch_set_listeners(rig->dispatch, listeners, num);
	free(listeners);
}

TEST_CASE(dispatch, a_long_list_goes_in_parts_as_it_is_heard)
{
	struct rig *rig = open_settled(1024);
	unsigned total = 10 * DISPATCH_PART_MAX + 3, heard = 0;

	join_settled(rig, 7);
	set_many(rig, total);
	CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_LISTENERS), 8);
	for (unsigned i = 0; i < 20 && heard < total; i++) {
		const struct dispatch_part *part =
			&last_sent(rig, 7, DISPATCH_MESSAGE_LISTENERS)->part;

		CHECK_INT(part->total, total);
		heard = part->first + part->num;
		heard_all(rig, 7, heard);
	}
	CHECK_INT(heard, total);
	rig->num_sent = 0;
	pass(rig, S);
	CHECK_INT(rig->num_sent, 0);
	close_rig(rig);
}

TEST_CASE(dispatch, what_is_not_heard_is_said_again)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	set_many(rig, 3);
	rig->num_sent = 0;
	pass(rig, 1001 * MS);
	CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_LISTENERS), 5);
	heard_all(rig, 7, 3);
	rig->num_sent = 0;
	pass(rig, S);
	CHECK_INT(rig->num_sent, 0);
	close_rig(rig);
}

/* Only when it is complete; until then what was there before counts. */
TEST_CASE(dispatch, half_a_list_changes_nothing)
{
	struct rig *rig = open_settled(1024);
	struct dispatch_message message = {
		.type = DISPATCH_MESSAGE_LISTENERS,
		.part = {.generation = 2, .total = 2, .num = 1, .items = {port_80}}};

	join_settled(rig, 7);
	dispatch_set_listeners(rig->dispatch, NULL, 0);
	message.part.items[0].local_port = 81;
	tell(rig, 7, &message);
	CHECK_INT(last_sent(rig, 7, DISPATCH_MESSAGE_HEARD)->heard.count, 1);
	miss(rig, opener(1));
	CHECK_INT(rig->verdict.owner, 7);
	tell(rig, 7, &message); /* again: nothing of it is new */
	CHECK_INT(last_sent(rig, 7, DISPATCH_MESSAGE_HEARD)->heard.count, 1);
	message.part.first = 1;
	message.part.items[0].local_port = 82;
	tell(rig, 7, &message);
	miss(rig, opener(2));
	pass(rig, 60 * MS); /* it is asked twice, and says nothing */
	check_verdict(rig, 0, DROP_NO_LISTENER, DISPATCH_KEEP_SHORT);
	/* An older list comes too late. */
	tell_listener(rig, 7, port_80);
	miss(rig, opener(3));
	pass(rig, 60 * MS);
	check_verdict(rig, 0, DROP_NO_LISTENER, DISPATCH_KEEP_SHORT);
	close_rig(rig);
}

/* Which listeners take a packet from 198.51.100.7 to 10.99.0.1:80. */
TEST_CASE(dispatch, listeners_that_match)
{
	static const struct {
		uint8_t local[4], foreign[4]; /* 0: any */
		uint16_t foreign_port;
		uint8_t protocol, families;
		bool takes;
	} rows[] = {
		{{0}, {0}, 0, IPPROTO_TCP, LISTENER_IPV4, true},
		{{0}, {0}, 0, IPPROTO_TCP, LISTENER_IPV6, false},
		{{0}, {0}, 0, IPPROTO_TCP, LISTENER_IPV4 | LISTENER_IPV6, true},
		{{0}, {0}, 0, IPPROTO_SCTP, LISTENER_IPV4, false},
		{{10, 99, 0, 1}, {0}, 0, IPPROTO_TCP, LISTENER_IPV4, true},
		{{10, 99, 0, 2}, {0}, 0, IPPROTO_TCP, LISTENER_IPV4, false},
		{{0}, {198, 51, 100, 7}, 1, IPPROTO_TCP, LISTENER_IPV4, true},
		{{0}, {198, 51, 100, 7}, 2, IPPROTO_TCP, LISTENER_IPV4, false},
		{{0}, {198, 51, 100, 8}, 1, IPPROTO_TCP, LISTENER_IPV4, false},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rig *rig = open_rig(1024);
		struct listener listener = {.local_port = 80,
					    .foreign_port = rows[i].foreign_port,
					    .protocol = rows[i].protocol,
					    .families = rows[i].families};

		if (rows[i].local[0])
			flow_address_map_ipv4(listener.local, rows[i].local);
		if (rows[i].foreign[0])
			flow_address_map_ipv4(listener.foreign, rows[i].foreign);
		dispatch_set_listeners(rig->dispatch, &listener, 1);
		miss(rig, opener(1));
		CHECK_INT(rig->verdict.owner, rows[i].takes ? 5 : 0);
		close_rig(rig);
	}
}

TEST_CASE(dispatch, datagrams_are_renewed_when_they_might_go_elsewhere)
{
	struct rig *rig = open_settled(1024);

	rig->renewals = 0;
	join_settled(rig, 7);
	CHECK_INT(rig->renewals, 1); /* once a turn */
	pass(rig, S);
	tell_listener(rig, 7, port_80);
	dispatch_set_listeners(rig->dispatch, &port_80, 1);
	pass(rig, S);
	CHECK_INT(rig->renewals, 1);
	tell_state(rig, 7, (struct dispatch_state){.generation = 2, .weight = 2});
	pass(rig, 0);
	CHECK_INT(rig->renewals, 2);
	pass(rig, S);
	dispatch_peer_suspect(rig->dispatch, 7, true);
	pass(rig, 0);
	CHECK_INT(rig->renewals, 3);
	pass(rig, S);
	/* However often a member changes, packets are not asked for again each time. */
	for (unsigned i = 0; i < 1000; i++) {
		dispatch_peer_suspect(rig->dispatch, 7, i % 2);
		pass(rig, MS);
	}
	CHECK_INT(rig->renewals, 14);
	pass(rig, S);
	CHECK_INT(rig->renewals, 14);
	dispatch_peer_down(rig->dispatch, 7);
	pass(rig, 0);
	CHECK_INT(rig->renewals, 15);
	close_rig(rig);
}

/* ---- state ---- */

static void check_drain_refused(struct rig *rig, const char *node, int error)
{
	char words[DISPATCH_WORDS_MAX] = "";

	CHECK_INT(dispatch_drain(rig->dispatch, node, true, words), error);
	CHECK(strstr(words, node) && strstr(words, "web0"));
}

TEST_CASE(dispatch, a_drained_node_gets_nothing_new)
{
	struct rig *rig = open_settled(1024);
	char words[DISPATCH_WORDS_MAX];

	join_settled(rig, 7);
	CHECK_INT(dispatch_drain(rig->dispatch, NULL, true, words), 0);
	CHECK(dispatch_is_drained(rig->dispatch));
	CHECK(last_sent(rig, 7, DISPATCH_MESSAGE_STATE)->state.is_drained);
	heard_all(rig, 7, 1);
	for (uint16_t port = 1; port < 10; port++) {
		miss(rig, opener(port));
		CHECK_INT(rig->verdict.owner, 7);
	}
	CHECK_INT(dispatch_drain(rig->dispatch, "n5", false, words), 0);
	CHECK(!dispatch_is_drained(rig->dispatch));
	check_drain_refused(rig, "n9", -ENOENT);
	dispatch_peer_down(rig->dispatch, 7);
	check_drain_refused(rig, "n7", -ENOTCONN);
	close_rig(rig);
}

static void tell_drained(struct rig *rig, uint16_t from, uint64_t serial, bool on)
{
	const struct dispatch_message message = {.type = DISPATCH_MESSAGE_DRAIN,
						 .drain = {serial, on}};

	tell(rig, from, &message);
}

TEST_CASE(dispatch, another_member_is_asked_to_be_drained_until_it_heard)
{
	struct rig *rig = open_settled(1024);
	struct dispatch_message message = {.type = DISPATCH_MESSAGE_HEARD};
	char words[DISPATCH_WORDS_MAX];

	join_settled(rig, 7);
	CHECK_INT(dispatch_drain(rig->dispatch, "n7", true, words), 0);
	pass(rig, 401 * MS);
	CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_DRAIN), 3);
	CHECK_U64(rig->sent[0].message.drain.serial, 1);
	message.heard.drain = 1;
	tell(rig, 7, &message);
	rig->num_sent = 0;
	pass(rig, S);
	CHECK_INT(rig->num_sent, 0);
	/* Who never hears it is not asked for ever. */
	CHECK_INT(dispatch_drain(rig->dispatch, "n7", false, words), 0);
	pass(rig, 20 * S);
	CHECK_INT(count_sent(rig, DISPATCH_MESSAGE_DRAIN), 25);
	close_rig(rig);
}

TEST_CASE(dispatch, what_was_wished_once_is_done_once)
{
	struct rig *rig = open_settled(1024);

	join_settled(rig, 7);
	join_settled(rig, 8);
	tell_drained(rig, 7, 1, true);
	CHECK(dispatch_is_drained(rig->dispatch));
	CHECK_U64(last_sent(rig, 7, DISPATCH_MESSAGE_HEARD)->heard.drain, 1);
	tell_drained(rig, 8, 1, false);
	CHECK(!dispatch_is_drained(rig->dispatch));
	tell_drained(rig, 7, 1, true);
	CHECK(!dispatch_is_drained(rig->dispatch));
	tell_drained(rig, 7, 2, true);
	CHECK(dispatch_is_drained(rig->dispatch));
	close_rig(rig);
}

/* Wherever it is paused; what somebody has it keeps, and it is still asked. */
TEST_CASE(dispatch, a_paused_node_gets_nothing_new)
{
	struct rig *rig = open_settled(1024);

	dispatch_set_listeners(rig->dispatch, NULL, 0);
	join_settled(rig, 7);
	join_settled(rig, 8);
	dispatch_set_paused(rig->dispatch, 7, true);
	for (uint16_t port = 1; port < 10; port++) {
		miss(rig, opener(port));
		CHECK_INT(rig->verdict.owner, 8);
	}
	dispatch_set_paused(rig->dispatch, 8, true);
	miss(rig, opener(20));
	CHECK(rig->verdict.owner == 0 || rig->num_answers == 0);
	miss(rig, segment(1));
	check_verdict(rig, 8, DROP_NUM_, DISPATCH_KEEP_FLOW);
	rig->num_sent = 0;
	miss(rig, segment(100));
	pass(rig, 0);
	CHECK(last_sent(rig, 7, DISPATCH_MESSAGE_QUERY) != NULL);
	CHECK(last_sent(rig, 8, DISPATCH_MESSAGE_QUERY) != NULL);
	dispatch_set_paused(rig->dispatch, 7, false);
	miss(rig, opener(21));
	CHECK_INT(rig->verdict.owner, 7);
	/* A new life is told of its own pauses. */
	dispatch_peer_down(rig->dispatch, 8);
	dispatch_set_paused(rig->dispatch, 8, true);
	join_settled(rig, 8);
	dispatch_set_paused(rig->dispatch, 7, true);
	miss(rig, opener(22));
	CHECK_INT(rig->verdict.owner, 8);
	close_rig(rig);
}

TEST_CASE(dispatch, this_node_is_paused)
{
	struct rig *rig = open_settled(1024);
	unsigned renewals;

	rig->listens = true;
	miss(rig, opener(1));
	CHECK_INT(rig->verdict.owner, 5);
	pass(rig, S);
	renewals = rig->renewals;
	dispatch_set_paused(rig->dispatch, 5, true);
	pass(rig, S);
	CHECK(rig->renewals > renewals);
	miss(rig, opener(2));
	CHECK_INT(rig->verdict.owner, 0);
	dispatch_set_paused(rig->dispatch, 5, false);
	pass(rig, 2 * S);
	miss(rig, opener(3));
	CHECK_INT(rig->verdict.owner, 5);
	close_rig(rig);
}

/* Another one takes over, told by whichever way is the faster. */
TEST_CASE(dispatch, who_is_paused_does_not_announce)
{
	struct rig *rig = open_rig(1024);
	struct dispatch_state state = {.generation = 1, .weight = 1, .announces = true};

	dispatch_set_nic(rig->dispatch, true);
	dispatch_peer_up(rig->dispatch, 3, "n3");
	tell_state(rig, 3, state);
	pass(rig, 2 * S);
	CHECK(!rig->announces);
	dispatch_set_paused(rig->dispatch, 3, true);
	CHECK(rig->announces);
	dispatch_set_paused(rig->dispatch, 3, false);
	CHECK(!rig->announces);
	dispatch_peer_down(rig->dispatch, 3);
	pass(rig, 2 * S);
	CHECK(rig->announces);
	dispatch_peer_up(rig->dispatch, 7, "n7");
	rig->num_sent = 0;
	dispatch_set_paused(rig->dispatch, 5, true);
	CHECK(!rig->announces);
	CHECK(!last_sent(rig, 7, DISPATCH_MESSAGE_STATE)->state.announces);
	dispatch_set_paused(rig->dispatch, 5, false);
	CHECK(last_sent(rig, 7, DISPATCH_MESSAGE_STATE)->state.announces);
	pass(rig, 2 * S);
	CHECK(rig->announces);
	close_rig(rig);
}

TEST_CASE(dispatch, the_lowest_member_announces)
{
	struct rig *rig = open_rig(1024);
	struct dispatch_state state = {.generation = 1, .weight = 1, .announces = true};

	dispatch_set_nic(rig->dispatch, true);
	CHECK(!rig->announces);
	dispatch_peer_up(rig->dispatch, 7, "n7");
	tell_state(rig, 7, state);
	rig->num_sent = 0;
	pass(rig, 900 * MS);
	rig->num_sent = 0;
	pass(rig, 200 * MS);
	CHECK(rig->announces && dispatch_is_announcing(rig->dispatch));
	CHECK(last_sent(rig, 7, DISPATCH_MESSAGE_STATE)->state.is_announcing);
	/* A lower one appears: it takes over when it has said that it can. */
	rig->num_sent = 0;
	dispatch_peer_up(rig->dispatch, 3, "n3");
	CHECK(rig->announces);
	tell_state(rig, 3, state);
	CHECK(!rig->announces);
	/* That one ends: not before a second is over, however often it does so. */
	dispatch_peer_down(rig->dispatch, 3);
	CHECK(!rig->announces);
	pass(rig, 2 * S);
	CHECK(rig->announces);
	dispatch_set_nic(rig->dispatch, false);
	CHECK(!rig->announces);
	close_rig(rig);
}

/* Two parts of a network meet: neighbours have learned the one that stops. */
TEST_CASE(dispatch, who_goes_on_announcing_says_so_again)
{
	struct rig *rig = open_rig(1024);
	struct dispatch_state state = {
		.generation = 1, .weight = 1, .announces = true, .is_announcing = true};

	dispatch_set_nic(rig->dispatch, true);
	pass(rig, 2 * S);
	CHECK_INT(rig->announcements, 1);
	dispatch_peer_up(rig->dispatch, 7, "n7");
	tell_state(rig, 7, state);
	CHECK_INT(rig->announcements, 1);
	state.generation = 2;
	state.is_announcing = false;
	tell_state(rig, 7, state);
	CHECK_INT(rig->announcements, 2);
	CHECK(rig->announces);
	close_rig(rig);
}

/* That it did was not heard, or that it ceased to was not said. */
TEST_CASE(dispatch, who_goes_on_announcing_says_so_again_whatever_was_lost)
{
	struct rig *rig = open_rig(1024);
	struct dispatch_state state = {.generation = 5, .weight = 1, .announces = true};

	dispatch_set_nic(rig->dispatch, true);
	pass(rig, 2 * S);
	dispatch_peer_up(rig->dispatch, 7, "n7");
	tell_state(rig, 7, state);
	CHECK_INT(rig->announcements, 2);
	state.generation = 6;
	state.is_announcing = true;
	tell_state(rig, 7, state);
	CHECK_INT(rig->announcements, 2);
	dispatch_peer_down(rig->dispatch, 7);
	CHECK_INT(rig->announcements, 3);
	dispatch_peer_up(rig->dispatch, 8, "n8");
	dispatch_peer_down(rig->dispatch, 8);
	CHECK_INT(rig->announcements, 4);
	dispatch_peer_up(rig->dispatch, 9, "n9"); /* one that never did */
	tell_state(rig, 9, (struct dispatch_state){.generation = 1, .weight = 1});
	CHECK_INT(rig->announcements, 4);
	tell_state(rig, 9, (struct dispatch_state){.generation = 2, .weight = 1});
	CHECK_INT(rig->announcements, 4);
	tell_state(rig, 9, (struct dispatch_state){.generation = 4, .weight = 1});
	CHECK_INT(rig->announcements, 5);
	close_rig(rig);
}

/* Nobody takes over before a lower one has said what it is. */
TEST_CASE(dispatch, who_does_not_announce_waits_for_lower_ones)
{
	struct rig *rig = open_rig(1024);

	dispatch_set_nic(rig->dispatch, true);
	dispatch_peer_up(rig->dispatch, 3, "n3");
	rig->num_sent = 0;
	pass(rig, 2 * S);
	CHECK(!rig->announces);
	tell_state(rig, 3, (struct dispatch_state){.generation = 1, .weight = 1});
	CHECK(rig->announces);
	close_rig(rig);
}

TEST_CASE(dispatch, members_beyond_the_limit_are_left_out)
{
	struct rig *rig = open_settled(1024);

	rig->send_error = -EAGAIN;
	for (uint16_t id = 10; id < 10 + DISPATCH_MEMBERS_MAX; id++)
		dispatch_peer_up(rig->dispatch, id, "n");
	pass(rig, S);
	dispatch_peer_down(rig->dispatch, 10 + DISPATCH_MEMBERS_MAX - 1);
	dispatch_peer_suspect(rig->dispatch, 10 + DISPATCH_MEMBERS_MAX - 1, true);
	/* One that is long gone makes room. */
	dispatch_peer_down(rig->dispatch, 10);
	pass(rig, 32 * S);
	dispatch_peer_up(rig->dispatch, 1000, "n1000");
	rig->send_error = 0;
	rig->num_sent = 0;
	tell_state(rig, 1000, (struct dispatch_state){.generation = 1, .weight = 1});
	CHECK_INT(rig->num_sent, 1);
	/* What nobody has may be of one of those that were left out: no reset. */
	dispatch_peer_down(rig->dispatch, 1000);
	for (uint16_t id = 10; id < 10 + DISPATCH_MEMBERS_MAX; id++)
		dispatch_peer_down(rig->dispatch, id);
	pass(rig, 32 * S);
	miss(rig, segment(1));
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	close_rig(rig);
}

/* ---- explain ---- */

struct explained {
	unsigned count;
	struct dispatch_explanation explanation;
};

static void on_done(void *arg, const struct dispatch_explanation *explanation)
{
	struct explained *explained = arg;

	explained->count++;
	explained->explanation = *explanation;
}

TEST_CASE(dispatch, explain_leaves_no_trace)
{
	struct rig *rig = open_settled(1024);
	const struct flow_packet packet = opener(1);
	struct explained explained = {0};
	struct dispatch_explain *handle;

	join_settled(rig, 7);
	CHECK_INT(dispatch_explain(rig->dispatch, &packet, on_done, &explained, &handle),
		  0);
	CHECK(!handle);
	CHECK_INT(explained.count, 1);
	CHECK_INT(explained.explanation.num_steps, 5);
	CHECK_STR(explained.explanation.steps[0].name, "connection table");
	CHECK_STR(explained.explanation.steps[0].words, "no entry");
	CHECK_STR(explained.explanation.steps[4].name, "foreign part dropped");
	CHECK(explained.explanation.verdict.owner == 5 ||
	      explained.explanation.verdict.owner == 7);
	CHECK_INT(explained.explanation.node[0], 'n');
	pass(rig, 0);
	CHECK_INT(rig->num_sent, 0);
	CHECK_INT(count_flows(rig), 0);
	CHECK_INT(rig->num_answers, 0);
	close_rig(rig);
}

TEST_CASE(dispatch, explain_asks_the_members)
{
	struct rig *rig = open_settled(1024);
	const struct flow_packet packet = segment(1);
	struct explained explained = {0};
	struct dispatch_explain *handle = NULL;

	join_settled(rig, 7);
	CHECK_INT(dispatch_explain(rig->dispatch, &packet, on_done, &explained, &handle),
		  0);
	CHECK(handle && explained.count == 0);
	miss(rig, packet); /* asks for itself */
	pass(rig, 0);
	REQUIRE(rig->num_sent == 1 && rig->sent[0].message.num == 2);
	answer(rig, 7, rig->sent[0].message.queries[0].token, DISPATCH_HAVE_LIVE);
	CHECK_INT(explained.count, 1);
	CHECK_STR(explained.explanation.node, "n7");
	CHECK_INT(rig->num_answers, 0);
	CHECK_INT(count_flows(rig), 0);
	answer(rig, 7, rig->sent[0].message.queries[1].token, DISPATCH_HAVE_LIVE);
	CHECK_INT(rig->num_answers, 1);
	CHECK_INT(explained.count, 1);
	close_rig(rig);
}

TEST_CASE(dispatch, explain_can_be_cancelled_and_is_bounded)
{
	struct rig *rig = open_settled(1024);
	const struct flow_packet packet = segment(1);
	struct explained explained = {0};
	struct dispatch_explain *handles[DISPATCH_EXPLAINS_MAX + 1];
	uint64_t token;

	join_settled(rig, 7);
	for (unsigned i = 0; i <= DISPATCH_EXPLAINS_MAX; i++)
		CHECK_INT(dispatch_explain(rig->dispatch, &packet, on_done, &explained,
					   &handles[i]),
			  i < DISPATCH_EXPLAINS_MAX ? 0 : -EAGAIN);
	dispatch_explain_cancel(rig->dispatch, handles[3]);
	CHECK_INT(dispatch_explain(rig->dispatch, &packet, on_done, &explained,
				   &handles[3]),
		  0);
	dispatch_explain_cancel(rig->dispatch, handles[0]);
	pass(rig, S); /* nobody answers */
	CHECK_INT(explained.count, DISPATCH_EXPLAINS_MAX - 1);
	CHECK_STR(explained.explanation.node, "");
	CHECK_INT(explained.explanation.verdict.reason, DROP_NO_OWNER);
	CHECK_INT(dispatch_explain(rig->dispatch, &packet, on_done, &explained,
				   &handles[0]),
		  0);
	/* What was asked for it counts for nothing else. */
	rig->num_sent = 0;
	pass(rig, 1 * MS);
	token = asked(rig, 7);
	pass(rig, S);
	answer(rig, 7, token, DISPATCH_HAVE_LIVE);
	check_odd(rig, 1);
	CHECK_INT(count_flows(rig), 0);
	CHECK_INT(dispatch_explain(rig->dispatch, &packet, on_done, &explained,
				   &handles[0]),
		  0);
	close_rig(rig); /* and is cancelled with the dispatcher */
}

TEST_CASE(dispatch, explain_of_what_needs_no_decision)
{
	struct rig *rig = open_rig(1024);
	const struct flow_packet packet = packet_of(FLOW_ECHO, IPPROTO_ICMP, 0);
	struct explained explained = {0};
	struct dispatch_explain *handle;

	CHECK_INT(dispatch_explain(rig->dispatch, &packet, on_done, &explained, &handle),
		  0);
	CHECK_INT(explained.count, 1);
	CHECK_STR(explained.explanation.node, "n5");
	CHECK_INT(explained.explanation.num_steps, 1);
	miss(rig, packet);
	check_verdict(rig, 0, DROP_NO_OWNER, DISPATCH_KEEP_NOT);
	close_rig(rig);
}

/* ---- reports ---- */

struct seen {
	unsigned count;
	char text[512];
};

static bool see_service(void *arg, const struct dispatch_service *service)
{
	struct seen *seen = arg;
	size_t used = strlen(seen->text);

	seen->count++;
	snprintf(seen->text + used, sizeof(seen->text) - used,
		 "%u:", service->listener.local_port);
	for (unsigned i = 0; i < service->num_nodes; i++) {
		used = strlen(seen->text);
		snprintf(seen->text + used, sizeof(seen->text) - used, " %s",
			 service->nodes[i]);
	}
	strcat(seen->text, "; ");
	return true;
}

static bool see_member(void *arg, const struct dispatch_member *member)
{
	struct seen *seen = arg;
	size_t used = strlen(seen->text);

	seen->count++;
	snprintf(seen->text + used, sizeof(seen->text) - used, "%s%s %u/%llu; ",
		 member->name, member->is_drained ? " drained" : "",
		 member->num_listeners, (unsigned long long)member->connections);
	return true;
}

static bool see_flow(void *arg, const struct dispatch_flow *flow)
{
	struct seen *seen = arg;
	size_t used = strlen(seen->text);

	seen->count++;
	snprintf(seen->text + used, sizeof(seen->text) - used, "%u %s %s %llu; ",
		 flow->key.foreign_port, flow->node, flow->via,
		 (unsigned long long)flow->age_ms);
	return false;
}

static void see_reason(void *arg, const char *words)
{
	struct seen *seen = arg;

	seen->count++;
	snprintf(seen->text, sizeof(seen->text), "%s", words);
}

TEST_CASE(dispatch, reports)
{
	struct rig *rig = open_settled(1024);
	struct seen services = {0}, members = {0}, flows = {0}, reasons = {0};

	join_settled(rig, 7);
	set_many(rig, 2);
	heard_all(rig, 7, 2);
	tell_state(rig, 7,
		   (struct dispatch_state){.generation = 2,
					   .is_drained = true,
					   .weight = 1,
					   .connections = 12});
	pin(rig, 7, opener(1), 7);
	pin(rig, 7, opener(2), 7);
	rig->now_ns += 3 * S;
	dispatch_each_listener(rig->dispatch, see_service, &services);
	CHECK_STR(services.text, "1: n5; 2: n5; 80: n7; ");
	dispatch_each_member(rig->dispatch, see_member, &members);
	CHECK_STR(members.text, "n5 2/0; n7 drained 1/14; ");
	dispatch_each_flow(rig->dispatch, see_flow, &flows);
	CHECK_INT(flows.count, 1);
	CHECK(strstr(flows.text, "n7 pin 3000; ") != NULL);
	dispatch_each_reason(rig->dispatch, see_reason, &reasons);
	CHECK_INT(reasons.count, 0);
	close_rig(rig);
}

TEST_CASE(dispatch, reasons_say_what_is_wrong)
{
	struct rig *rig = open_settled(1024);
	struct seen reasons = {0};

	set_many(rig, DISPATCH_LISTENERS_MAX + 5);
	dispatch_each_reason(rig->dispatch, see_reason, &reasons);
	CHECK_INT(reasons.count, 1);
	CHECK(strstr(reasons.text, "5 listening sockets") != NULL);
	rig->exact = -EPERM;
	miss(rig, segment(1));
	dispatch_each_reason(rig->dispatch, see_reason, &reasons);
	CHECK_INT(reasons.count, 3);
	CHECK(strstr(reasons.text, "Operation not permitted") != NULL);
	rig->exact = 0;
	miss(rig, segment(1));
	for (unsigned i = 0; count_flows(rig) < 1024 / 5 * 4; i++) {
		rig->num_sent = 0;
		miss(rig, opener((uint16_t)(1 + i)));
		pass(rig, 0);
	}
	reasons.count = 0;
	set_many(rig, 1);
	dispatch_each_reason(rig->dispatch, see_reason, &reasons);
	CHECK_INT(reasons.count, 1);
	CHECK(strstr(reasons.text, "816 of 1024 flows") != NULL);
	close_rig(rig);
}
