/*
 * The way of packets for a global address with nobody else around: three hosts in one
 * thread, whose planes have no worker, so that each turn is called for, and the test is
 * control. Time is made up. Where each kind of packet goes and what it looks like there,
 * what waits and how long; the books after every test.
 */
#include "base/clock.h"
#include "base/segment.h"
#include "data/global.h"
#include "data/plane_internal.h"

#include "cable.h"
#include "global_frames.h"
#include "shim.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOSTS 3

/* What the plane takes for the time; nothing is late unless a test wants it. */
static uint64_t now_ns = 1000 * NSEC_PER_SEC;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now); /* NOLINT */

int __wrap_clock_gettime(clockid_t clock, struct timespec *now) /* NOLINT */
{
	(void)clock;
	now->tv_sec = (time_t)(now_ns / NSEC_PER_SEC);
	now->tv_nsec = (long)(now_ns % NSEC_PER_SEC);
	return 0;
}

/* Host 0 is the border: all comes by its TAP. Node ids are 1 to 3. */
struct net {
	struct host hosts[HOSTS];
	struct cable cables[HOSTS][HOSTS];
	uint64_t written; /* packets for a global address */
};

static struct link *link_of(const struct net *net, unsigned from, unsigned to)
{
	return from < to ? net->cables[from][to].link[0] : net->cables[to][from].link[1];
}

static struct net *net_open(void)
{
	const struct plane_global global = {global_addresses, 2, 1000};
	struct net *net = calloc(1, sizeof(*net));
	bool ok = net != NULL;

	for (unsigned i = 0; ok && i < HOSTS; i++)
		ok = host_make_global(&net->hosts[i], i + 1, 0, &global);
	for (unsigned a = 0; ok && a < HOSTS; a++) {
		for (unsigned b = a + 1; ok && b < HOSTS; b++)
			ok = cable_plug(&net->cables[a][b], &net->hosts[a],
					&net->hosts[b]);
	}
	if (!ok)
		abort(); /* out of memory or fds: no test could say more */
	return net;
}

/* ---- moving ---- */

static void transmit(struct host *host)
{
	struct plane *plane = host->plane;
	unsigned frames;

	do
		path_tx(plane->view, &plane->ports[0].queues[0], &plane->scratch,
			&frames);
	while (frames);
}

/* What the worker does in a turn. */
static void turn(struct host *host)
{
	struct plane *plane = host->plane;
	const struct port_view *view = &plane->view->ports[0];
	unsigned taken;

	do {
		taken = path_global_turn(plane->view, plane->global, &plane->scratch);
		for (unsigned i = 0; i < view->num_links; i++)
			taken += path_rx(view->links[i], &plane->scratch);
	} while (taken);
	transmit(host);
}

static void turn_all(struct net *net)
{
	for (unsigned i = 0; i < HOSTS; i++)
		turn(&net->hosts[i]);
	for (unsigned i = 0; i < HOSTS; i++)
		turn(&net->hosts[i]);
}

static void send_bytes(struct net *net, const uint8_t *frame, size_t length)
{
	CHECK(host_write(&net->hosts[0], 0, frame, length));
	transmit(&net->hosts[0]);
}

static void send_frame(struct net *net, const struct global_frame *spec)
{
	static uint8_t frame[RIG_FRAME_MAX];

	send_bytes(net, frame, global_frame_make(frame, spec));
	net->written++;
}

/* The next one that the host's TAP got; 0 if there is none. */
static size_t next_frame(struct net *net, unsigned host, uint8_t *frame)
{
	ssize_t n;

	turn_all(net);
	n = recv(net->hosts[host].tap.host[0], frame, RIG_FRAME_MAX, MSG_DONTWAIT);
	return n < 0 ? 0 : (size_t)n;
}

static unsigned count_frames(struct net *net, unsigned host)
{
	static uint8_t frame[RIG_FRAME_MAX];
	unsigned count = 0;

	while (next_frame(net, host, frame))
		count++;
	return count;
}

/* ---- control ---- */

static bool next_miss(struct net *net, struct plane_miss *ret_miss)
{
	struct plane_fault fault;

	CHECK(!plane_next_fault(net->hosts[0].plane, &fault));
	return plane_next_miss(net->hosts[0].plane, ret_miss);
}

static bool event_is_there(const struct net *net)
{
	struct pollfd poll_fd = {.fd = plane_event_fd(net->hosts[0].plane),
				 .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 1;
}

static unsigned count_misses(struct net *net)
{
	struct plane_miss miss;
	unsigned count = 0;

	while (next_miss(net, &miss))
		count++;
	return count;
}

static void answer_key(struct net *net, const struct flow_key *key,
		       struct plane_verdict verdict)
{
	CHECK_INT(plane_answer_flow(net->hosts[0].plane, 0, key, &verdict), 0);
}

static void answer(struct net *net, const struct global_frame *spec,
		   struct plane_verdict verdict)
{
	struct flow_key key;

	global_key_make(&key, spec);
	answer_key(net, &key, verdict);
}

static struct plane_verdict to_node(unsigned host)
{
	return (struct plane_verdict){.owner = (uint16_t)(host + 1),
				      .keep = PLANE_KEEP_FLOW};
}

/* ---- the books ---- */

static struct port_counters port_of(const struct net *net)
{
	struct port_counters counters;

	plane_read_port(net->hosts[0].plane, 0, &counters);
	return counters;
}

static struct dispatch_counters dispatch_of(const struct net *net)
{
	return port_of(net).dispatch;
}

static uint64_t drops_of(const struct net *net, enum drop_reason reason)
{
	return port_of(net).drops[reason];
}

static void check_books(struct net *net)
{
	struct dispatch_counters counters = dispatch_of(net);

	turn_all(net);
	counters = dispatch_of(net);
	CHECK_U64(counters.packets, net->written);
	CHECK_U64(counters.packets, counters.local + counters.forwarded +
					    counters.copied + counters.dropped +
					    counters.parked);
	for (unsigned i = 0; i < HOSTS; i++) {
		for (unsigned k = 0; k < HOSTS; k++) {
			struct link_counters out, in;

			if (i == k || !link_of(net, i, k) || !link_of(net, k, i))
				continue;
			out = read_link(link_of(net, i, k));
			in = read_link(link_of(net, k, i));
			check_conservation(&out, &in);
		}
	}
}

static void net_close(struct net *net)
{
	check_books(net);
	for (unsigned a = 0; a < HOSTS; a++) {
		for (unsigned b = a + 1; b < HOSTS; b++) {
			cable_detach(&net->cables[a][b], 0, false, NULL);
			cable_detach(&net->cables[a][b], 1, false, NULL);
		}
	}
	for (unsigned i = 0; i < HOSTS; i++)
		host_close(&net->hosts[i]);
	free(net);
}

/* ---- what it looks like where it arrives ---- */

/* Of node `from`, 0xffff: of the one that isn't there; from the IP header on as made. */
static void check_frame(const uint8_t *frame, size_t length, unsigned to, unsigned from,
			const struct global_frame *spec)
{
	static uint8_t made[RIG_FRAME_MAX];
	size_t made_length = global_frame_make(made, spec);
	size_t cut = spec->tags * SHMNET_VLAN_HLEN;
	const size_t ip = SHMNET_VNET_HLEN + SHMNET_ETH_HLEN;
	uint8_t mac[SHMNET_ETH_ALEN];

	if (!CHECK_INT(length, made_length - cut))
		return;
	shmnet_mac_make(mac, RIG_TAG, (uint16_t)to);
	CHECK_MEM(frame + SHMNET_VNET_HLEN, mac, sizeof(mac));
	shmnet_mac_make(mac, RIG_TAG, (uint16_t)from);
	CHECK_MEM(frame + SHMNET_VNET_HLEN + 6, mac, sizeof(mac));
	CHECK_INT(frame[22] << 8 | frame[23], spec->is_ipv6 ? 0x86dd : 0x0800);
	CHECK(memcmp(frame + ip, made + ip + cut, length - ip) == 0);
}

static void check_vnet(const uint8_t *frame, const struct global_frame *spec)
{
	struct global_frame plain = *spec;
	uint8_t made[64];

	plain.tags = 0;
	put_global_vnet(made, &plain);
	CHECK_MEM(frame, made, SHMNET_VNET_HLEN);
}

static void check_next(struct net *net, unsigned host, unsigned from,
		       const struct global_frame *spec)
{
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length = next_frame(net, host, frame);

	if (!CHECK(length != 0))
		return;
	check_frame(frame, length, host + 1, from, spec);
	check_vnet(frame, spec);
}

static void check_all_quiet(struct net *net)
{
	for (unsigned i = 0; i < HOSTS; i++)
		CHECK_INT(count_frames(net, i), 0);
}

/* ---- flows ---- */

TEST_CASE(path_global, an_opener_is_asked_for_and_what_follows_is_known)
{
	const struct global_frame syn = {.flags = TCP_SYN};
	const struct global_frame ack = {.flags = TCP_ACK, .data = 100, .number = 5};
	struct net *net = net_open();
	struct plane_miss miss;
	struct flow_key key;

	global_key_make(&key, &syn);
	send_frame(net, &syn);
	check_all_quiet(net);
	CHECK_U64(dispatch_of(net).parked, 1);
	REQUIRE(next_miss(net, &miss));
	CHECK_INT(miss.port, 0);
	CHECK_INT(miss.packet.kind, FLOW_OPENER);
	CHECK_MEM(&miss.packet.key, &key, sizeof(key));
	answer(net, &syn, to_node(1));
	check_next(net, 1, 1, &syn);
	send_frame(net, &ack);
	check_next(net, 1, 1, &ack);
	CHECK_INT(count_misses(net), 0);
	check_all_quiet(net);
	CHECK_U64(dispatch_of(net).hits, 1);
	CHECK_U64(dispatch_of(net).forwarded, 2);
	CHECK_U64(dispatch_of(net).cached, 1);
	net_close(net);
}

TEST_CASE(path_global, an_opener_of_an_old_flow_is_told_as_such)
{
	const struct global_frame syn = {.flags = TCP_SYN};
	const struct global_frame fin = {.flags = TCP_FIN | TCP_ACK};
	struct net *net = net_open();
	struct plane_miss miss;

	send_frame(net, &syn);
	REQUIRE(next_miss(net, &miss));
	CHECK(!miss.is_old);
	answer(net, &syn, to_node(1));
	check_next(net, 1, 1, &syn);
	send_frame(net, &fin);
	check_next(net, 1, 1, &fin);
	send_frame(net, &syn);
	REQUIRE(next_miss(net, &miss));
	CHECK(miss.is_old);
	answer(net, &syn, to_node(1));
	check_next(net, 1, 1, &syn);
	net_close(net);
}

TEST_CASE(path_global, ours_comes_from_a_node_that_is_not_there)
{
	const struct global_frame syn = {.flags = TCP_SYN, .is_ipv6 = true};
	struct net *net = net_open();

	send_frame(net, &syn);
	answer(net, &syn, to_node(0));
	check_next(net, 0, 0xffff, &syn);
	CHECK_U64(dispatch_of(net).local, 1);
	net_close(net);
}

TEST_CASE(path_global, a_flow_keeps_its_order_while_it_waits)
{
	struct global_frame frames[10], other = {.client = 5, .flags = TCP_SYN};
	struct net *net = net_open();

	for (unsigned i = 0; i < 10; i++) {
		frames[i] = (struct global_frame){.flags = i ? TCP_ACK : TCP_SYN,
						  .data = i * 100,
						  .number = (uint8_t)i};
		send_frame(net, &frames[i]);
		if (i == 4)
			send_frame(net, &other);
	}
	CHECK_INT(count_misses(net), 2);
	answer(net, &other, to_node(2));
	answer(net, &frames[0], to_node(1));
	for (unsigned i = 0; i < 10; i++)
		check_next(net, 1, 1, &frames[i]);
	check_next(net, 2, 1, &other);
	check_all_quiet(net);
	net_close(net);
}

TEST_CASE(path_global, an_answer_may_come_before_the_question)
{
	const struct global_frame syn = {.flags = TCP_SYN};
	struct net *net = net_open();

	answer(net, &syn, to_node(2));
	turn_all(net);
	send_frame(net, &syn);
	check_next(net, 2, 1, &syn);
	CHECK_INT(count_misses(net), 0);
	net_close(net);
}

TEST_CASE(path_global, drops_are_remembered_for_a_while)
{
	const struct plane_verdict nobody = {.reason = DROP_NO_LISTENER,
					     .keep = PLANE_KEEP_SHORT};
	const struct global_frame syn = {.flags = TCP_SYN};
	struct net *net = net_open();

	for (unsigned i = 0; i < 3; i++)
		send_frame(net, &syn);
	CHECK_INT(count_misses(net), 1);
	answer(net, &syn, nobody);
	turn_all(net);
	send_frame(net, &syn);
	CHECK_INT(count_misses(net), 0);
	CHECK_U64(drops_of(net, DROP_NO_LISTENER), 4);
	CHECK_U64(dispatch_of(net).dropped, 4);
	check_all_quiet(net);
	net_close(net);
}

TEST_CASE(path_global, what_is_not_to_be_kept_is_asked_for_each_time)
{
	struct plane_verdict once = {.owner = 2, .keep = PLANE_KEEP_NOT};
	const struct global_frame syn = {.flags = TCP_SYN};
	struct net *net = net_open();

	for (unsigned i = 0; i < 3; i++) {
		send_frame(net, &syn);
		CHECK_INT(count_misses(net), 1);
		answer(net, &syn, once);
		check_next(net, 1, 1, &syn);
	}
	CHECK_U64(dispatch_of(net).cached, 0);
	net_close(net);
}

TEST_CASE(path_global, an_owner_without_a_link_is_no_owner)
{
	const struct global_frame syn = {.flags = TCP_SYN};
	const struct global_frame ack = {.flags = TCP_ACK};
	struct net *net = net_open();

	answer(net, &syn, to_node(1));
	turn_all(net);
	plane_remove_link(net->hosts[0].plane, link_of(net, 0, 1), false, NULL);
	net->cables[0][1].link[0] = NULL;
	send_frame(net, &ack);
	CHECK_INT(count_misses(net), 1);
	answer(net, &syn, to_node(1));
	turn_all(net);
	CHECK_U64(drops_of(net, DROP_NO_PEER), 1);
	send_frame(net, &ack);
	CHECK_INT(count_misses(net), 1);
	answer(net, &syn, to_node(2));
	check_next(net, 2, 1, &ack);
	net_close(net);
}

TEST_CASE(path_global, datagrams_are_forgotten_when_nodes_come_or_go)
{
	struct plane_verdict verdict = {.owner = 2, .keep = PLANE_KEEP_DATAGRAM};
	const struct global_frame udp = {.protocol = IPPROTO_UDP, .data = 10};
	const struct global_frame ack = {.flags = TCP_ACK};
	struct net *net = net_open();

	answer(net, &udp, verdict);
	answer(net, &ack, to_node(1));
	turn_all(net);
	send_frame(net, &udp);
	check_next(net, 1, 1, &udp);
	/* One that is under way is of the time before. */
	answer(net, &udp, verdict);
	plane_renew_datagrams(net->hosts[0].plane, 0);
	turn_all(net);
	send_frame(net, &udp);
	send_frame(net, &ack);
	check_next(net, 1, 1, &ack);
	CHECK_INT(count_misses(net), 1);
	verdict.owner = 3;
	answer(net, &udp, verdict);
	check_next(net, 2, 1, &udp);
	net_close(net);
}

/* ---- other kinds ---- */

TEST_CASE(path_global, who_is_asked_answers_and_answers_are_for_all)
{
	const struct global_frame echo = {
		.protocol = IPPROTO_ICMP, .flags = 8, .data = 56};
	const struct global_frame reply = {.protocol = IPPROTO_ICMP, .data = 56};
	struct net *net = net_open();

	send_frame(net, &echo);
	check_next(net, 0, 0xffff, &echo);
	check_all_quiet(net);
	send_frame(net, &reply);
	check_next(net, 0, 0xffff, &reply);
	check_next(net, 1, 1, &reply);
	check_next(net, 2, 1, &reply);
	check_all_quiet(net);
	CHECK_U64(dispatch_of(net).local, 1);
	CHECK_U64(dispatch_of(net).copied, 1);
	net_close(net);
}

/* "Fragmentation needed" about a segment that the address sent to the client. */
static size_t make_error(uint8_t *buffer, const struct global_frame *about)
{
	struct global_frame spec = {.protocol = IPPROTO_ICMP, .flags = 3, .data = 28};
	size_t length = global_frame_make(buffer, &spec);
	uint8_t *quoted = buffer + length - 28, swapped[4];

	put_ip(quoted, about, 1000);
	put_l4(quoted + 20, &(struct global_frame){.protocol = IPPROTO_UDP}, 0);
	memcpy(swapped, quoted + 12, 4);
	memcpy(quoted + 12, quoted + 16, 4);
	memcpy(quoted + 16, swapped, 4);
	put16(quoted + 20, 80);
	put16(quoted + 22, 40000);
	buffer[length - 35] = 4;
	return length;
}

TEST_CASE(path_global, an_error_follows_the_flow_it_is_about)
{
	const struct global_frame ack = {.flags = TCP_ACK};
	uint8_t frame[RIG_FRAME_MAX], got[RIG_FRAME_MAX];
	struct net *net = net_open();
	struct plane_miss miss;
	size_t length = make_error(frame, &ack);

	send_bytes(net, frame, length);
	net->written++;
	REQUIRE(next_miss(net, &miss));
	CHECK_INT(miss.packet.kind, FLOW_ERROR);
	answer(net, &ack, to_node(1));
	CHECK_INT(next_frame(net, 1, got), length);
	CHECK_MEM(got + 24, frame + 24, length - 24);
	net_close(net);
}

/* ---- fragments ---- */

#define FRAGMENTS 3

static void send_fragment(struct net *net, const struct global_frame *spec, unsigned i)
{
	static uint8_t frame[RIG_FRAME_MAX];
	size_t whole = 8 + spec->data, piece = whole / FRAGMENTS / 8 * 8;
	size_t length = i + 1 < FRAGMENTS ? piece : whole - i * piece;

	send_bytes(net, frame, global_fragment_make(frame, spec, 77, i * piece, length));
	net->written++;
}

/* `known`: the flow is in the cache. */
static void check_order(const unsigned order[FRAGMENTS], bool known)
{
	const struct global_frame udp = {.protocol = IPPROTO_UDP, .data = 8192};
	struct net *net = net_open();

	if (known)
		answer(net, &udp, to_node(1));
	turn_all(net);
	for (unsigned i = 0; i < FRAGMENTS; i++)
		send_fragment(net, &udp, order[i]);
	CHECK_INT(count_misses(net), !known);
	if (!known)
		answer(net, &udp, to_node(1));
	CHECK_INT(count_frames(net, 1), FRAGMENTS);
	check_all_quiet(net);
	CHECK_U64(dispatch_of(net).parked, 0);
	net_close(net);
}

TEST_CASE(path_global, fragments_follow_their_first_in_any_order)
{
	static const unsigned orders[][FRAGMENTS] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
						     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	for (unsigned i = 0; i < 6; i++) {
		check_order(orders[i], false);
		check_order(orders[i], true);
	}
}

static void wait_until_none_waits(struct net *net)
{
	while (dispatch_of(net).parked && !test_failed()) {
		int timeout_ms = -1;

		path_global_rest(net->hosts[0].plane->global, &timeout_ms);
		REQUIRE(timeout_ms >= 0 && timeout_ms <= 51);
		now_ns += (unsigned)timeout_ms * NSEC_PER_MSEC;
		turn_all(net);
	}
}

TEST_CASE(path_global, what_waits_in_vain_is_dropped_in_time)
{
	const struct global_frame udp = {.protocol = IPPROTO_UDP, .data = 8192};
	const struct global_frame syn = {.flags = TCP_SYN};
	struct net *net = net_open();
	uint64_t since = now_ns;
	int timeout_ms = -1;

	path_global_rest(net->hosts[0].plane->global, &timeout_ms);
	CHECK_INT(timeout_ms, -1);
	send_fragment(net, &udp, 2);
	send_fragment(net, &udp, 1);
	send_frame(net, &syn);
	send_frame(net, &syn);
	wait_until_none_waits(net);
	CHECK(now_ns - since >= 50 * NSEC_PER_MSEC);
	CHECK_U64(drops_of(net, DROP_LOST_FIRST), 2);
	CHECK_U64(drops_of(net, DROP_PARK_LATE), 2);
	/* Nobody answered: it is asked for again, and a late answer is an answer. */
	CHECK_INT(count_misses(net), 1);
	send_frame(net, &syn);
	CHECK_INT(count_misses(net), 1);
	answer(net, &syn, to_node(1));
	check_next(net, 1, 1, &syn);
	net_close(net);
}

/* ---- frames as NICs make them ---- */

static const struct global_frame shapes[] = {
	{.flags = TCP_ACK, .tags = 1, .data = 100},
	{.flags = TCP_ACK, .tags = 2, .data = 100, .wants_checksum = true},
	{.flags = TCP_ACK,
	 .is_ipv6 = true,
	 .tags = 1,
	 .data = 99,
	 .wants_checksum = true},
	{.flags = TCP_ACK, .data = 20000, .gso_size = 1448},
	{.flags = TCP_ACK, .data = 60000, .gso_size = 1448, .is_ipv6 = true, .tags = 1},
	{.protocol = IPPROTO_UDP, .data = 12000, .gso_size = 1200, .tags = 2},
	{.protocol = IPPROTO_UDP, .data = 12000, .gso_size = 1200},
};

TEST_CASE(path_global, tags_are_cut_off_and_super_frames_stay_whole)
{
	struct net *net = net_open();

	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		for (unsigned host = 0; host < 2; host++) {
			answer(net, &shapes[i], to_node(host));
			turn_all(net);
			send_frame(net, &shapes[i]);
			check_next(net, host, host ? 1 : 0xffff, &shapes[i]);
		}
	}
	check_all_quiet(net);
	net_close(net);
}

/* A checksum that only the TAP's kernel knows how to place, behind tags. */
TEST_CASE(path_global, a_checksum_is_made_where_the_packet_is_then)
{
	struct global_frame odd = {.protocol = 253, .tags = 1, .data = 40};
	uint8_t frame[RIG_FRAME_MAX], got[RIG_FRAME_MAX], *body;
	struct frame_vnet vnet = {
		.flags = FRAME_NEEDS_CSUM, .csum_start = 18 + 20, .csum_offset = 4};
	struct net *net = net_open();
	struct plane_miss miss;
	size_t length;

	length = global_frame_make(frame, &odd);
	body = frame + SHMNET_VNET_HLEN + 18 + 20;
	put16(body + 4, 0);
	memcpy(frame, &vnet, sizeof(vnet));
	send_bytes(net, frame, length);
	net->written++;
	REQUIRE(next_miss(net, &miss));
	CHECK_INT(miss.packet.kind, FLOW_PAIR);
	answer_key(net, &miss.packet.key, to_node(1));
	CHECK_INT(next_frame(net, 1, got), length - 4);
	CHECK_INT(got[0], 0);
	put16(body + 4, 0);
	CHECK_INT(got[44 + 4] << 8 | got[44 + 5], frame_checksum(body, length - 48));
	net_close(net);
}

/* Also when it has waited: it is cut from where it waited. */
TEST_CASE(path_global, pieces_for_a_peer_that_takes_no_super_frames)
{
	const struct global_frame super = {
		.flags = TCP_ACK, .data = 20000, .gso_size = 1448};
	uint8_t frame[RIG_FRAME_MAX];
	struct net *net = net_open();
	size_t length, sum = 0;

	link_of(net, 0, 1)->lacks = SHMNET_OFFLOAD_TSO4;
	for (unsigned i = 0; i < 2; i++) {
		send_frame(net, &super);
		answer(net, &super, to_node(1));
		turn_all(net);
	}
	for (unsigned i = 0; i < 2 * 14; i++) {
		length = next_frame(net, 1, frame);
		REQUIRE(length > 54 + 10 && length <= 1448 + 54 + 10);
		sum += length - 54 - 10;
	}
	CHECK_INT(sum, 40000);
	check_all_quiet(net);
	CHECK_U64(dispatch_of(net).forwarded, 2);
	CHECK_U64(read_link(link_of(net, 0, 1)).sent_frames, 28);
	net_close(net);
}

/* ---- what is none of its business ---- */

TEST_CASE(path_global, other_frames_go_as_on_a_local_network)
{
	uint8_t frame[RIG_FRAME_MAX];
	struct net *net = net_open();

	send_bytes(net, frame, rig_frame(frame, 1, RIG_TO_ALL, 1, 100));
	CHECK_INT(count_frames(net, 1), 1);
	CHECK_INT(count_frames(net, 2), 1);
	send_bytes(net, frame, rig_frame(frame, 1, 3, 2, 100));
	CHECK_INT(count_frames(net, 2), 1);
	send_bytes(net, frame, rig_frame(frame, 9, RIG_TO_ALL, 3, 100));
	CHECK_U64(drops_of(net, DROP_FOREIGN_SOURCE), 1);
	send_bytes(net, frame, rig_frame(frame, 1, RIG_TO_FOREIGN, 3, 100));
	CHECK_U64(drops_of(net, DROP_UNKNOWN_UNICAST), 1);
	send_bytes(net, frame, rig_frame(frame, 1, 0xffff, 3, 100));
	CHECK_U64(drops_of(net, DROP_NO_PEER), 1);
	send_bytes(net, frame, SHMNET_VNET_HLEN + 13);
	CHECK_U64(drops_of(net, DROP_RUNT), 1);
	check_all_quiet(net);
	CHECK_U64(port_of(net).unrouted_frames, 4);
	net_close(net);
}

static size_t make_arp(uint8_t *buffer, uint8_t last)
{
	uint8_t *arp = buffer + SHMNET_VNET_HLEN + SHMNET_ETH_HLEN;

	rig_frame(buffer, 1, RIG_TO_ALL, 0, SHMNET_VNET_HLEN + 42);
	put16(arp - 2, 0x0806);
	memset(arp, 0, 28);
	arp[1] = 1, arp[2] = 8, arp[4] = 6, arp[5] = 4, arp[7] = 1;
	shmnet_mac_make(arp + 8, RIG_TAG, 1);
	memcpy(arp + 24, (uint8_t[4]){10, 99, 0, last}, 4);
	return SHMNET_VNET_HLEN + 42;
}

TEST_CASE(path_global, nobody_is_asked_who_has_the_address)
{
	uint8_t frame[RIG_FRAME_MAX];
	struct net *net = net_open();

	send_bytes(net, frame, make_arp(frame, 1));
	CHECK_U64(drops_of(net, DROP_GLOBAL_NEIGH), 1);
	check_all_quiet(net);
	send_bytes(net, frame, make_arp(frame, 2));
	CHECK_INT(count_frames(net, 1), 1);
	CHECK_INT(count_frames(net, 2), 1);
	CHECK_U64(port_of(net).unrouted_frames, 1);
	net_close(net);
}

TEST_CASE(path_global, bad_packets)
{
	struct global_frame syn = {.flags = TCP_SYN};
	uint8_t frame[RIG_FRAME_MAX];
	struct net *net = net_open();
	size_t length = global_frame_make(frame, &syn);

	/* To all on the LAN: each of the nodes there has it, too. */
	memset(frame + SHMNET_VNET_HLEN, 0xff, 6);
	send_bytes(net, frame, length);
	CHECK_U64(drops_of(net, DROP_BAD_PACKET), 1);
	/* A land packet. */
	global_frame_make(frame, &syn);
	memcpy(frame + 24 + 12, frame + 24 + 16, 4);
	put16(frame + 44, 80);
	send_bytes(net, frame, length);
	CHECK_U64(drops_of(net, DROP_BAD_PACKET), 2);
	/* Commands are nobody's. */
	global_frame_make(frame, &syn);
	shmnet_mac_make(frame + SHMNET_VNET_HLEN + 6, RIG_TAG, 2);
	frame[SHMNET_VNET_HLEN + 6] |= SHMNET_MAC_COMMAND;
	send_bytes(net, frame, length);
	CHECK_U64(drops_of(net, DROP_TAP_COMMAND), 1);
	/* A header that contradicts the packet. */
	answer(net, &syn, to_node(1));
	turn_all(net);
	length = global_frame_make(frame, &syn);
	frame[0] = FRAME_NEEDS_CSUM;
	put16(frame + 6, 0xffff);
	send_bytes(net, frame, length);
	CHECK_U64(drops_of(net, DROP_BAD_OFFLOAD), 1);
	net->written += 3;
	check_all_quiet(net);
	net_close(net);
}

/* Whatever comes is counted once, and nothing of it is read beyond its end. */
TEST_CASE(path_global, random_bytes)
{
	static uint8_t frame[RIG_FRAME_MAX];
	uint64_t state = 4711;
	struct net *net = net_open();
	struct plane_miss miss;

	for (unsigned i = 0; i < 20000 / SLOWED; i++) {
		const struct global_frame *shape = &shapes[rig_random(&state) % 7];
		size_t length = global_frame_make(frame, shape);

		for (unsigned n = rig_random(&state) % 6; n; n--)
			frame[rig_random(&state) % 100] = (uint8_t)rig_random(&state);
		if (i % 5 == 0)
			length = rig_random(&state) % length + 1;
		send_bytes(net, frame, length);
		while (next_miss(net, &miss))
			answer_key(net, &miss.packet.key,
				   to_node(rig_random(&state) % 4));
		for (unsigned k = 0; k < HOSTS; k++)
			count_frames(net, k);
	}
	net->written = dispatch_of(net).packets;
	CHECK(net->written > 10000 / SLOWED);
	net_close(net);
}

/* ---- too much ---- */

TEST_CASE(path_global, no_room_to_wait)
{
	struct global_frame syn = {.flags = TCP_SYN, .data = 40000};
	struct net *net = net_open();
	unsigned sent = 0;

	while (!drops_of(net, DROP_PARK_FULL) && sent < 100) {
		syn.client = (uint16_t)(1000 + sent++);
		send_frame(net, &syn);
	}
	CHECK(sent > 20 && sent < 30);
	/* What found no room was not asked for. */
	CHECK_INT(count_misses(net), sent - 1);
	wait_until_none_waits(net);
	CHECK_U64(drops_of(net, DROP_PARK_LATE), sent - 1);
	net_close(net);
}

TEST_CASE(path_global, control_that_does_not_ask)
{
	struct global_frame syn = {.flags = TCP_SYN};
	struct net *net = net_open();
	struct plane_miss miss;
	unsigned i, turns = 0;

	for (i = 0; i < 3000; i++) {
		syn.client = (uint16_t)(1000 + i);
		send_frame(net, &syn);
	}
	CHECK(drops_of(net, DROP_PARK_FULL) > 100);
	CHECK(dispatch_of(net).asked >= GLOBAL_MISSES);
	/* In between it can do something else. */
	do {
		turns++;
		while (next_miss(net, &miss))
			answer_key(net, &miss.packet.key, to_node(0));
	} while (event_is_there(net));
	CHECK(turns >= GLOBAL_MISSES / PLANE_MISSES_MAX);
	turn_all(net);
	wait_until_none_waits(net);
	net_close(net);
}

/* Of short frames, which are copied. */
TEST_CASE(path_global, a_full_ring_costs_the_frame)
{
	const struct global_frame ack = {.flags = TCP_ACK, .data = 3000};
	struct net *net = net_open();

	answer(net, &ack, to_node(1));
	turn(&net->hosts[0]);
	for (unsigned i = 0; i < 150; i++)
		send_frame(net, &ack);
	CHECK(read_link(link_of(net, 0, 1)).drops[DROP_RING_FULL] > 50);
	CHECK_U64(dispatch_of(net).forwarded, 150);
	count_frames(net, 1);
	net_close(net);
}

/* ---- straight into the ring ---- */

static const struct global_frame bulk = {
	.flags = TCP_ACK, .data = 20000, .gso_size = 1448};

/* From here on the next one is read into the ring of host 1. */
static struct net *net_open_bulk(void)
{
	struct net *net = net_open();

	answer(net, &bulk, to_node(1));
	turn_all(net);
	for (unsigned i = 0; i < GLOBAL_STREAK; i++) {
		send_frame(net, &bulk);
		check_next(net, 1, 1, &bulk);
	}
	return net;
}

/* Whether it was not read into private memory. */
static bool send_direct(struct net *net, const struct global_frame *spec)
{
	struct path_scratch *scratch = &net->hosts[0].plane->scratch;

	memset(scratch->frame, 0x5a, 100);
	send_frame(net, spec);
	return scratch->frame[0] == 0x5a &&
	       memcmp(scratch->frame, scratch->frame + 1, 99) == 0;
}

TEST_CASE(path_global, a_flow_of_long_frames_is_read_into_its_ring)
{
	const struct global_frame end = {.flags = TCP_ACK | TCP_FIN, .data = 10};
	struct net *net = net_open_bulk();

	for (unsigned i = 0; i < 30; i++) {
		CHECK(send_direct(net, &bulk));
		check_next(net, 1, 1, &bulk);
	}
	CHECK(send_direct(net, &end));
	check_next(net, 1, 1, &end);
	CHECK(send_direct(net, &bulk));
	check_next(net, 1, 1, &bulk);
	check_all_quiet(net);
	CHECK_U64(dispatch_of(net).forwarded, GLOBAL_STREAK + 32);
	CHECK_U64(dispatch_of(net).hits, GLOBAL_STREAK + 32);
	net_close(net);
}

/* A paused owner keeps its flows: their packets are dropped for it, not given away. */
TEST_CASE(path_global, the_owner_is_paused)
{
	struct net *net = net_open_bulk();
	struct link *link = link_of(net, 0, 1);

	plane_pause_link(net->hosts[0].plane, link, true);
	CHECK(!send_direct(net, &bulk));
	check_all_quiet(net);
	CHECK_INT(count_misses(net), 0);
	CHECK_U64(read_link(link).drops[DROP_PAUSED], 1);
	plane_pause_link(net->hosts[0].plane, link, false);
	send_frame(net, &bulk);
	check_next(net, 1, 1, &bulk);
	net_close(net);
}

/* What comes to a border that is paused is none of its dispatch's. */
TEST_CASE(path_global, the_border_is_paused)
{
	const struct global_frame syn = {.flags = TCP_SYN};
	static uint8_t frame[RIG_FRAME_MAX];
	struct net *net = net_open();

	plane_pause_port(net->hosts[0].plane, 0, true);
	send_bytes(net, frame, global_frame_make(frame, &syn));
	check_all_quiet(net);
	CHECK_INT(count_misses(net), 0);
	CHECK_U64(drops_of(net, DROP_PAUSED), 1);
	CHECK_U64(port_of(net).unrouted_frames, 1);
	net_close(net);
}

/* Whatever else comes to lie there goes its own way. */
TEST_CASE(path_global, what_is_read_into_another_ones_ring)
{
	const struct global_frame others[] = {
		{.client = 7, .flags = TCP_ACK, .data = 30000, .gso_size = 1448},
		{.flags = TCP_ACK, .data = 500, .tags = 1},
		{.protocol = IPPROTO_ICMP, .flags = 8, .data = 56},
		{.client = 8, .flags = TCP_SYN},
	};
	const unsigned hosts[] = {2, 1, 0, 2};
	static uint8_t frame[RIG_FRAME_MAX];

	for (unsigned i = 0; i < 4; i++) {
		struct net *net = net_open_bulk();

		if (hosts[i] == 2)
			answer(net, &others[i], to_node(2));
		turn_all(net);
		CHECK(!send_direct(net, &others[i]));
		check_next(net, hosts[i], hosts[i] ? 1 : 0xffff, &others[i]);
		send_bytes(net, frame, rig_frame(frame, 1, RIG_TO_ALL, 1, 100));
		CHECK_INT(count_frames(net, 1), 1);
		CHECK_INT(count_frames(net, 2), 1);
		send_bytes(net, frame, SHMNET_VNET_HLEN + 5);
		CHECK_U64(drops_of(net, DROP_RUNT), 1);
		send_frame(net, &bulk);
		check_next(net, 1, 1, &bulk);
		check_all_quiet(net);
		net_close(net);
	}
}

/* It gets no sight of what might be another's; its room is waited for as others' is. */
TEST_CASE(path_global, the_ring_of_a_peer_that_is_not_trusted)
{
	struct net *net = net_open_bulk();

	link_of(net, 0, 1)->is_trusted = false;
	CHECK(!send_direct(net, &bulk));
	check_next(net, 1, 1, &bulk);
	for (unsigned i = 0; i < 30; i++)
		send_frame(net, &bulk);
	CHECK_INT(net->hosts[0].plane->ports[0].queues[0].waits_for, 2);
	CHECK_INT(count_frames(net, 1), 30);
	CHECK_U64(read_link(link_of(net, 0, 1)).drops[DROP_RING_FULL], 0);
	net_close(net);
}

TEST_CASE(path_global, a_bad_header_in_the_ring)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct net *net = net_open_bulk();
	size_t length = global_frame_make(frame, &bulk);

	frame[1] = 77;
	send_bytes(net, frame, length);
	net->written++;
	CHECK_U64(drops_of(net, DROP_BAD_OFFLOAD), 1);
	check_all_quiet(net);
	net_close(net);
}

static struct queue *queue_of(const struct net *net)
{
	return &net->hosts[0].plane->ports[0].queues[0];
}

TEST_CASE(path_global, a_full_ring_is_waited_for_for_a_while)
{
	struct net *net = net_open_bulk();
	uint64_t forwarded;

	for (unsigned i = 0; i < 30; i++)
		send_frame(net, &bulk);
	forwarded = dispatch_of(net).forwarded;
	CHECK(forwarded < 20);
	CHECK_INT(queue_of(net)->waits_for, 2);
	CHECK_U64(queue_of(net)->wait_until_ns, now_ns + GLOBAL_PATIENCE_NS);
	/* It reads, and all arrives. */
	CHECK_INT(count_frames(net, 1), 30);
	CHECK_U64(read_link(link_of(net, 0, 1)).drops[DROP_RING_FULL], 0);
	/* It doesn't: once that costs the others time, and then the frames. */
	for (unsigned i = 0; i < 30; i++)
		send_frame(net, &bulk);
	now_ns += GLOBAL_PATIENCE_NS;
	transmit(&net->hosts[0]);
	CHECK_INT(queue_of(net)->waits_for, 0);
	CHECK_U64(dispatch_of(net).forwarded, GLOBAL_STREAK + 60);
	CHECK(read_link(link_of(net, 0, 1)).drops[DROP_RING_FULL] > 10);
	send_frame(net, &bulk);
	CHECK_U64(dispatch_of(net).forwarded, GLOBAL_STREAK + 61);
	now_ns += GLOBAL_IMPATIENCE_NS;
	send_frame(net, &bulk);
	CHECK_INT(queue_of(net)->waits_for, 2);
	/* Who is gone is not waited for. */
	plane_remove_link(net->hosts[0].plane, link_of(net, 0, 1), false, NULL);
	net->cables[0][1].link[0] = NULL;
	transmit(&net->hosts[0]);
	CHECK_INT(queue_of(net)->waits_for, 0);
	CHECK_INT(count_misses(net), 1);
	net_close(net);
}

TEST_CASE(path_global, a_tap_that_takes_nothing)
{
	const struct global_frame echo = {.protocol = IPPROTO_ICMP, .flags = 8};
	const struct global_frame reply = {.protocol = IPPROTO_ICMP};
	struct net *net = net_open();

	while (!drops_of(net, DROP_TAP_ERROR) && net->written < 10000)
		send_frame(net, &echo);
	CHECK_U64(dispatch_of(net).local, net->written - 1);
	send_frame(net, &reply);
	CHECK_U64(dispatch_of(net).copied, 0);
	CHECK_U64(dispatch_of(net).dropped, 2);
	net_close(net);
}

TEST_CASE(path_global, what_control_may_not_say)
{
	const struct plane_verdict wrong = {.reason = DROP_NUM_};
	struct net *net = net_open();
	struct flow_key key = {.protocol = IPPROTO_TCP};
	struct plane_verdict right = to_node(1);
	struct plane *plane = net->hosts[0].plane;
	unsigned count = 0;

	CHECK_INT(plane_answer_flow(plane, 0, &key, &wrong), -EINVAL);
	CHECK_INT(plane_answer_flow(plane, 1, &key, &right), -EINVAL);
	while (plane_answer_flow(plane, 0, &key, &right) == 0 && count < 1000000)
		count++;
	CHECK(count >= GLOBAL_ANSWERS && count < 4 * GLOBAL_ANSWERS);
	CHECK_INT(plane_answer_flow(plane, 0, &key, &right), -EAGAIN);
	turn_all(net);
	CHECK_U64(dispatch_of(net).answers, count);
	CHECK_INT(plane_answer_flow(plane, 0, &key, &right), 0);
	net_close(net);
}

TEST_CASE(path_global, ports_of_global_networks_have_one_queue)
{
	const struct plane_global global = {global_addresses, 2, 1000};
	const struct plane_global none = {global_addresses, 0, 1000};
	struct plane_port spec = {.node_id = 1, .tag = RIG_TAG, .mtu = RIG_MTU};
	struct rig_tap tap;
	struct host host;
	unsigned index;

	REQUIRE(host_make(&host, 1, 1, 0) && rig_tap_open(&tap, 2));
	spec.tap = &tap.tap;
	spec.global = &global;
	CHECK_INT(plane_add_port(host.plane, &spec, &index), -EINVAL);
	spec.tap->num_queues = 1;
	spec.global = &none;
	CHECK_INT(plane_add_port(host.plane, &spec, &index), -EINVAL);
	spec.global = &global;
	CHECK_INT(plane_add_port(host.plane, &spec, &index), 0);
	host_close(&host);
	spec.tap->num_queues = 2;
	rig_tap_close(&tap);
}
