/*
 * Nodes on several hosts, in a world made of a seed (sim.h): connections that take a
 * while or get lost, calls that reach nobody, certificates, and what is not said between
 * machines. The invariants of sim.h hold throughout.
 *
 *     SEEDS=N   so many random schedules instead of 500
 *     SEED=S    only that one, with everything that happens on stderr
 */
#include "sim.h"

#include "shim.h"

#include <shmnet/wire.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SEEDS	   500
#define SETTLED_NS (150 * SIM_S) /* two of the longest backoff, and some */

static struct sim *hosts_linked(uint64_t seed, unsigned count)
{
	struct sim *sim = sim_new_nodes(seed, count, count);

	sim_start_all(sim);
	sim_run(sim, 2 * SIM_S);
	return sim;
}

static bool all_linked(struct sim *sim)
{
	return sim_all_linked(sim, 0) && sim_all_linked(sim, 1);
}

static enum member_state view(struct sim_node *node, const struct sim_node *other)
{
	return sim_view(node, other, NULL, NULL);
}

struct fabric_of {
	const char *name;
	const char *fabric;
};

static void find_fabric(const struct member_report *report, void *arg)
{
	struct fabric_of *wanted = arg;

	if (strcmp(report->name, wanted->name) == 0)
		wanted->fabric = report->fabric;
}

static const char *fabric_of(struct sim_node *node, const char *name)
{
	struct fabric_of wanted = {name, "none"};

	membership_each_peer(sim_membership(node), find_fabric, &wanted);
	return wanted.fabric;
}

static void note_reason(const char *words, void *arg)
{
	(void)arg;
	fprintf(stderr, "  %s\n", words);
}

/* ---- what works as on one machine ---- */

TEST_CASE(hosts, find_each_other_in_any_order)
{
	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = sim_new_nodes(seed, 3, 3);
		unsigned first = (unsigned)sim_random(sim, 3);

		for (unsigned i = 0; i < 3; i++) {
			sim_start(sim_node_at(sim, (first + i * (1 + seed % 2)) % 3));
			sim_run(sim, sim_random(sim, SIM_S));
		}
		sim_run(sim, 2 * SIM_S);
		CHECK(all_linked(sim));
		CHECK_STR(fabric_of(sim_node_at(sim, 0), "n2"), "rdma/sim");
		sim_finish(sim);
	}
}

TEST_CASE(hosts, a_killed_node_is_down_at_once_and_back_when_it_starts)
{
	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = hosts_linked(seed, 3);
		struct sim_node *victim = sim_node_at(sim, (unsigned)(seed % 3));
		struct sim_node *observer = sim_node_at(sim, (unsigned)((seed + 1) % 3));
		uint32_t first, next;

		sim_view(observer, victim, &first, NULL);
		sim_kill(victim);
		sim_run(sim, SIM_DELAY_MAX_NS + 1);
		CHECK_INT(view(observer, victim), MEMBER_DOWN);
		sim_run(sim, sim_random(sim, 5 * SIM_S));
		sim_start(victim);
		sim_run(sim, 2 * SIM_S);
		CHECK(all_linked(sim));
		sim_view(observer, victim, &next, NULL);
		CHECK_INT(next, first + 1);
		sim_finish(sim);
	}
}

TEST_CASE(hosts, a_stopped_node_is_suspected_then_down_and_back_when_it_goes_on)
{
	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = hosts_linked(seed, 3);
		struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

		sim_pause(n2);
		sim_run(sim, 850 * SIM_MS);
		CHECK(view(n1, n2) != MEMBER_UP);
		sim_run(sim, 250 * SIM_MS);
		CHECK_INT(view(n1, n2), MEMBER_DOWN);
		CHECK_CONTAINS(sim_reason(n1, n2), "asked n3: nobody heard it");
		sim_run(sim, sim_random(sim, 30 * SIM_S));
		sim_resume(n2);
		sim_run(sim, 2 * SIM_S);
		CHECK(all_linked(sim));
		sim_finish(sim);
	}
}

/* ---- of one network some share memory and some don't ---- */

/* n1 and n2 on one host, n3 and n4 on another. */
static struct sim *two_and_two(uint64_t seed)
{
	struct sim *sim = sim_new_nodes(seed, 4, 4);

	for (unsigned i = 0; i < 4; i++)
		sim_set_host(sim_node_at(sim, i), i / 2);
	sim_start_all(sim);
	sim_run(sim, 2 * SIM_S);
	return sim;
}

TEST_CASE(hosts, each_pair_has_the_fabric_of_its_channel)
{
	struct sim *sim = two_and_two(1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n4 = sim_node_at(sim, 3);

	CHECK(all_linked(sim));
	CHECK_STR(fabric_of(n1, "n2"), "shm");
	CHECK_STR(fabric_of(n1, "n3"), "rdma/sim");
	CHECK_STR(fabric_of(n4, "n2"), "rdma/sim");
	CHECK_STR(fabric_of(n4, "n3"), "shm");
	sim_finish(sim);
}

static bool casts_go_right(struct sim *sim)
{
	bool ok = true;

	for (unsigned i = 0; i < 4; i++) {
		for (unsigned j = 0; j < 4; j++)
			ok = ok &&
			     (i == j ||
			      sim_casts_by_ring(sim_node_at(sim, i), sim_node_at(sim, j),
						0, sim_broadcast) == (i / 2 == j / 2));
	}
	return ok;
}

TEST_CASE(hosts, casts_go_by_rings_at_home_and_as_copies_abroad)
{
	for (uint64_t seed = 1; seed <= 20 && !test_failed(); seed++) {
		struct sim *sim = two_and_two(seed);
		struct sim_node *n1 = sim_node_at(sim, 0), *n3 = sim_node_at(sim, 2);

		sim_cast_always(sim);
		sim_run(sim, 10 * SIM_S);
		CHECK(casts_go_right(sim));
		CHECK(sim_cast_id(n1, 0, sim_broadcast) !=
		      sim_cast_id(n3, 0, sim_broadcast));
		sim_kill(n3);
		sim_run(sim, 5 * SIM_S);
		sim_start(n3);
		sim_run(sim, 20 * SIM_S);
		CHECK(casts_go_right(sim));
		for (unsigned i = 0; i < 4; i++)
			CHECK_INT(membership_each_reason(
					  sim_membership(sim_node_at(sim, i)),
					  note_reason, NULL),
				  0);
		sim_finish(sim);
	}
}

TEST_CASE(hosts, who_is_alone_on_its_host_makes_no_cast_ring)
{
	struct sim *sim = hosts_linked(3, 3);

	sim_cast_always(sim);
	sim_run(sim, 10 * SIM_S);
	CHECK_INT(sim_count_casts(sim), 0);
	sim_finish(sim);
}

/* A silent peer abroad can't be in the middle of a slot at home. */
TEST_CASE(hosts, a_silent_node_abroad_leaves_cast_rings_alone)
{
	struct sim *sim = two_and_two(4);
	struct sim_node *n1 = sim_node_at(sim, 0), *n3 = sim_node_at(sim, 2);
	uint64_t id;

	sim_cast_always(sim);
	sim_run(sim, 10 * SIM_S);
	id = sim_cast_id(n1, 0, sim_broadcast);
	sim_pause(n3);
	sim_run(sim, 5 * SIM_S);
	CHECK_INT(view(n1, n3), MEMBER_DOWN);
	CHECK_U64(sim_cast_id(n1, 0, sim_broadcast), id);
	sim_finish(sim);
}

/* ---- connections that are lost, calls that reach nobody ---- */

TEST_CASE(hosts, a_lost_connection_is_named_and_comes_back)
{
	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = hosts_linked(seed, 3);
		struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
		struct sim_node *n3 = sim_node_at(sim, 2);

		CHECK(sim_lose_conn(seed % 2 ? n1 : n2, seed % 2 ? n2 : n1));
		sim_run(sim, SIM_DELAY_MAX_NS + 1);
		CHECK(sim_linked(n1, n3, 0) && sim_linked(n2, n3, 0));
		CHECK_CONTAINS(seed % 2 ? sim_reason(n1, n2) : sim_reason(n2, n1),
			       "its connection died: the wire was cut in the simulator");
		sim_run(sim, 2 * SIM_S);
		CHECK(all_linked(sim));
		sim_finish(sim);
	}
}

/* Before it was ready on one side, on both, or on none. */
TEST_CASE(hosts, a_connection_lost_in_the_handshake_is_tried_again)
{
	for (uint64_t seed = 1; seed <= 200 && !test_failed(); seed++) {
		struct sim *sim = sim_new_nodes(seed, 2, 2);
		struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
		bool lost = false;

		sim_start_all(sim);
		for (unsigned i = 0; i < 100 && !lost; i++) {
			sim_run(sim, 5 * SIM_MS);
			lost = sim_lose_conn(seed % 2 ? n1 : n2, seed % 2 ? n2 : n1);
			sim_run(sim, sim_random(sim, 5 * SIM_MS));
		}
		CHECK(lost);
		sim_run(sim, 3 * SIM_S);
		CHECK(all_linked(sim));
		sim_finish(sim);
	}
}

TEST_CASE(hosts, one_that_is_not_reached_is_called_again_and_said_once)
{
	struct sim *sim = hosts_linked(5, 2);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	unsigned before;

	sim_kill(n2);
	sim_run(sim, 2 * SIM_S);
	CHECK_INT(view(n1, n2), MEMBER_DOWN);
	CHECK_STR(sim_reason(n1, n2), "it can't be reached: connect: Connection refused");
	before = sim_count_warnings(sim);
	sim_run(sim, 300 * SIM_S);
	CHECK_INT(sim_count_warnings(sim), before);
	CHECK_STR(sim_reason(n1, n2), "it can't be reached: connect: Connection refused");
	sim_start(n2);
	sim_run(sim, 2 * SIM_S);
	CHECK(all_linked(sim));
	CHECK_STR(sim_reason(n1, n2), "");
	sim_finish(sim);
}

/* However long it was: who is without a device is not in disgrace. */
TEST_CASE(hosts, a_device_that_is_back_is_used_at_once)
{
	for (unsigned i = 0; i < 3 && !test_failed(); i++) {
		struct sim *sim = hosts_linked(13 + i, 3);
		struct sim_node *victim = sim_node_at(sim, i);
		struct sim_node *observer = sim_node_at(sim, (i + 1) % 3);
		unsigned before;

		sim_set_fabric_down(victim, true);
		for (unsigned j = 0; j < 3; j++)
			sim_lose_conn(victim, sim_node_at(sim, j));
		sim_run(sim, 2 * SIM_S);
		before = sim_count_warnings(sim);
		sim_run(sim, 300 * SIM_S);
		CHECK_INT(sim_count_warnings(sim), before);
		CHECK_CONTAINS(sim_reason(victim, observer),
			       "the simulator has no device");
		CHECK_CONTAINS(sim_reason(observer, victim),
			       "the simulator has no device");
		CHECK(sim_linked(observer, sim_node_at(sim, (i + 2) % 3), 0));
		sim_set_fabric_down(victim, false);
		sim_run(sim, 2 * SIM_S);
		CHECK(all_linked(sim));
		sim_finish(sim);
	}
}

/* It may be another one that is there, and waits longer than we. */
TEST_CASE(hosts, one_that_takes_the_call_and_says_nothing_is_called_again)
{
	struct sim *sim = sim_new_nodes(5, 2, 2);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	unsigned before = sim_count_warnings(sim);

	sim_start_all(sim);
	sim_pause(n2);
	sim_run(sim, 9 * SIM_S);
	CHECK_INT(sim_count_warnings(sim), before);
	sim_run(sim, 300 * SIM_S);
	CHECK_INT(sim_count_warnings(sim), before + 1);
	CHECK_STR(sim_reason(n1, n2), "it takes the call and does not answer: stopped?");
	sim_resume(n2);
	sim_run(sim, 2 * SIM_S);
	CHECK(all_linked(sim));
	sim_finish(sim);
}

static void find_big0(const struct member_link_report *report, void *arg)
{
	if (report->network == 1)
		*(const char **)arg = report->reason;
}

/* Why it has no link on big0. */
static const char *big0_reason(struct sim_node *node)
{
	const char *words = "";

	membership_each_link(sim_membership(node), find_big0, &words);
	return words;
}

TEST_CASE(hosts, rings_of_another_size_refuse_that_network_only)
{
	struct sim *sim = sim_new_nodes(5, 2, 2);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_config(n2)->networks[1].ring_size *= 2;
	sim_start_all(sim);
	sim_run(sim, 30 * SIM_S);
	CHECK(sim_linked(n1, n2, 0));
	CHECK(!sim_linked(n1, n2, 1));
	CHECK_INT(view(n1, n2), MEMBER_UP);
	CHECK_STR(big0_reason(n1),
		  "network big0 has rings of 1024 KiB on n1 and of 2048 KiB on n2");
	CHECK_STR(big0_reason(n2),
		  "network big0 has rings of 2048 KiB on n2 and of 1024 KiB on n1");
	sim_finish(sim);
}

/* ---- who is who ---- */

TEST_CASE(hosts, a_certificate_of_another_name_is_refused_by_who_is_called)
{
	struct sim *sim = sim_new_nodes(6, 3, 3);
	struct sim_node *n1 = sim_node_at(sim, 0), *n3 = sim_node_at(sim, 2);

	sim_set_certificate(n1, "n9");
	sim_start_all(sim);
	sim_run(sim, 5 * SIM_S);
	CHECK(!sim_linked(n1, n3, 0));
	CHECK_CONTAINS(sim_reason(n3, n1), "certificate of n9 presented by node n1");
	CHECK_CONTAINS(sim_reason(n1, n3),
		       "refused: certificate of n9 presented by node n1");
	CHECK(sim_linked(sim_node_at(sim, 1), n3, 0));
	sim_finish(sim);
}

TEST_CASE(hosts, a_certificate_of_another_name_is_refused_by_who_calls)
{
	struct sim *sim = sim_new_nodes(7, 3, 3);
	struct sim_node *n1 = sim_node_at(sim, 0), *n3 = sim_node_at(sim, 2);

	sim_set_certificate(n3, "n9");
	sim_start_all(sim);
	sim_run(sim, 5 * SIM_S);
	CHECK(!sim_linked(n1, n3, 0));
	CHECK_CONTAINS(sim_reason(n1, n3), "certificate of n9 presented by node n3");
	CHECK_CONTAINS(sim_reason(n3, n1), "certificate of n9 presented by node n3");
	sim_finish(sim);
}

TEST_CASE(hosts, without_certificates_there_is_nothing_to_compare)
{
	struct sim *sim = sim_new_nodes(8, 2, 2);

	sim_set_certificate(sim_node_at(sim, 0), "");
	sim_set_certificate(sim_node_at(sim, 1), "");
	sim_start_all(sim);
	sim_run(sim, 2 * SIM_S);
	CHECK(all_linked(sim));
	sim_finish(sim);
}

/* Users are of one machine. */
TEST_CASE(hosts, another_uid_on_another_machine_is_no_matter)
{
	struct sim *sim = sim_new_nodes(9, 2, 2);

	sim_set_uid(sim_node_at(sim, 0), 1000);
	sim_set_uid(sim_node_at(sim, 1), 1001);
	sim_start_all(sim);
	sim_run(sim, 2 * SIM_S);
	CHECK(all_linked(sim));
	sim_finish(sim);
}

/* ---- strangers ---- */

static struct peer_message hello_of(uint16_t id, const char *name)
{
	struct peer_message message = {
		.type = PEER_MESSAGE_HELLO,
		.hello = {.wire_version = SHMNET_WIRE_VERSION,
			  .cluster = "sim",
			  .id = id,
			  .nonce = 77,
			  .num_networks = 1,
			  .networks = {{.name = "lan0", .mtu = 1500}}},
	};

	snprintf(message.hello.name, sizeof(message.hello.name), "%s", name);
	return message;
}

/* Says HELLO as x, id 1, then the message, with a descriptor or without. */
static void check_foreigner(const struct peer_message *message, bool with_fd,
			    const char *words)
{
	struct peer_message hello = hello_of(1, "x");
	struct sim *sim = sim_new_nodes(10, 2, 2);
	struct sim_node *n2 = sim_node_at(sim, 1);
	struct world_channel *channel;
	uint8_t bytes[4096];
	size_t length;

	sim_start(n2);
	channel = sim_dial_foreigner(sim, n2, "x");
	sim_stranger_send(channel, &hello);
	if (message) {
		REQUIRE(codec_peer_encode(message, bytes, sizeof(bytes), &length) == 0);
		sim_stranger_send_bytes(channel, bytes, length, with_fd, 0);
	}
	sim_run(sim, 11 * SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), words);
	CHECK(sim_stranger_is_closed(channel));
	sim_finish(sim);
}

TEST_CASE(hosts, what_another_machine_may_not_say)
{
	struct peer_message message = {.type = PEER_MESSAGE_BELL};

	check_foreigner(&message, true, "x sent BELL with 1 descriptors, 0 is right");
	check_foreigner(&message, false, "the doorbell of x: is no doorbell");
	message.bell.wire = (struct peer_wire){.length = 8, .bytes = {1, 2, 3}};
	check_foreigner(&message, false, "the doorbell of x: is no doorbell");
	message = (struct peer_message){.type = PEER_MESSAGE_CAST,
					.cast = {"lan0",
						 5,
						 256,
						 {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
						 1,
						 1,
						 false}};
	check_foreigner(&message, false, "x sent CAST from another machine");
	message = (struct peer_message){.type = PEER_MESSAGE_READS, .reads = {"lan0", 5}};
	check_foreigner(&message, false, "x sent READS from another machine");
	message = (struct peer_message){.type = PEER_MESSAGE_WANT, .want = {"lan0", 5}};
	check_foreigner(&message, false, "x sent WANT from another machine");
	check_foreigner(NULL, false, "the handshake of n2 and x took more than 10 s");
}

TEST_CASE(hosts, a_second_life_of_an_id_is_refused_in_words)
{
	struct peer_message hello = hello_of(1, "x");
	struct sim *sim = hosts_linked(11, 2);
	struct sim_node *n2 = sim_node_at(sim, 1);
	struct world_channel *channel = sim_dial_foreigner(sim, n2, "x");

	sim_stranger_send(channel, &hello);
	sim_run(sim, SIM_S);
	CHECK_STR(sim_stranger_refusal(channel),
		  "id 1 of x is that of n1 (on another machine), which is connected to "
		  "n2");
	CHECK(all_linked(sim));
	sim_finish(sim);
}

TEST_CASE(hosts, one_that_says_nothing_has_ten_seconds)
{
	struct sim *sim = sim_new_nodes(12, 2, 2);
	struct sim_node *n2 = sim_node_at(sim, 1);
	struct world_channel *channel;

	sim_start(n2);
	channel = sim_dial_foreigner(sim, n2, "x");
	sim_run(sim, 9 * SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), "");
	sim_run(sim, 2 * SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), "no HELLO reached n2 within 10 s");
	sim_finish(sim);
}

/* ---- random schedules ---- */

static void hurt_some_link(struct sim *sim, struct sim_node *node)
{
	if (sim_is_alive(node))
		sim_fault_link(node, sim_some_node(sim),
			       (unsigned)sim_random(sim, SIM_NETWORKS),
			       sim_random(sim, 2) ? -EPROTO : -EIO);
}

static void do_something(struct sim *sim)
{
	struct sim_node *node = sim_some_node(sim);

	switch (sim_random(sim, 8)) {
	case 0:
	case 1:
		sim_end_or_start(sim, node);
		break;
	case 2:
		sim_pause_or_resume(node);
		break;
	case 3:
		sim_cut(node, sim_some_node(sim));
		break;
	case 4:
		hurt_some_link(sim, node);
		break;
	case 5:
	case 6:
		sim_lose_conn(node, sim_some_node(sim));
		break;
	case 7:
		sim_show_again(node);
		break;
	}
}

static void run_schedule(struct sim *sim)
{
	unsigned num_nodes = 3 + (unsigned)sim_random(sim, 3);
	unsigned num_hosts = 2 + (unsigned)sim_random(sim, num_nodes - 1);
	unsigned num_faults = 10 + (unsigned)sim_random(sim, 50);

	for (unsigned i = 0; i < num_nodes; i++) {
		struct sim_node *node = sim_add_next(sim);

		sim_set_host(node, (unsigned)sim_random(sim, num_hosts));
		sim_start(node);
	}
	if (sim_random(sim, 2))
		sim_cast_always(sim);
	sim_set_failures(sim, (unsigned)sim_random(sim, 4) * 10);
	sim_make_faults(sim, num_faults, do_something, 3 * SIM_S);
	sim_heal(sim);
	sim_run(sim, SETTLED_NS);
}

static bool agree(struct sim *sim)
{
	return all_linked(sim);
}

static const struct sim_schedule schedule = {
	.run = run_schedule,
	.agree = agree,
	.complaint = "the nodes did not find each other again",
};

TEST_CASE(host_schedule, random_faults_break_nothing)
{
	CHECK_INT(sim_try_seeds(&schedule, SEEDS), 0);
}
