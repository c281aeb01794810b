/*
 * Announcing on a LAN that is a TAP: the test is all other hosts on it. Nothing is
 * waited for but frames; that one is not answered shows in the next answer being that
 * to a later one.
 */
#include "base/clock.h"
#include "base/frame.h"
#include "control/announce.h"
#include "data/tap.h"

#include <shmnet/wire.h>

#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <netinet/if_ether.h>
#include <stdlib.h>

#define WAIT_MS 2000

#define ENTER()                                                                          \
	do {                                                                             \
		const char *why_not = netns_enter_for_tap();                             \
                                                                                         \
		if (why_not)                                                             \
			TEST_SKIP(why_not);                                              \
	} while (0)

static char network_name[] = "web", interface_name[] = "lan0";

static const struct config_network network = {
	.name = network_name,
	.kind = NETWORK_KIND_GLOBAL,
	.announce = interface_name,
	.num_addresses = 2,
	.addresses = {{AF_INET, {10, 99, 0, 1}, 32},
		      {AF_INET6, {0xfd, 0x99, [13] = 0xaa, 0xbb, 0x01}, 128}},
};

static const uint8_t asker[6] = {0x02, 0, 0, 0, 0, 0x07};
static const uint8_t asker_ip[4] = {10, 99, 0, 7};
static const uint8_t asker_ip6[16] = {0xfe, 0x80, [15] = 7};

struct lan {
	struct tap tap;
	struct kernel *kernel;
	struct event_base *base;
	struct announce *announce;
	struct kernel_link link;
};

/* Of the announcer, or of anybody. */
struct frame {
	size_t length;
	uint8_t bytes[256];
};

static void lan_set(const char *name, unsigned long request, short flags,
		    const uint8_t mac[6])
{
	struct ifreq ifr = {0};

	if (mac) {
		ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
		memcpy(ifr.ifr_hwaddr.sa_data, mac, 6);
	} else {
		ifr.ifr_flags = flags;
	}
	CHECK_INT(change_interface(name, request, &ifr), 0);
}

static void lan_look(struct lan *lan)
{
	CHECK_INT(kernel_get_link(lan->kernel, "lan0", &lan->link), 0);
	announce_link(lan->announce, &lan->link);
}

static bool lan_open(struct lan *lan)
{
	struct announce_options options = {.network = &network};
	enum tap_error why;

	memset(lan, 0, sizeof(*lan));
	tap_init(&lan->tap);
	options.base = lan->base = event_base_new();
	return CHECK_INT(tap_open(&lan->tap, "lan0", 1, TAP_CREATE, &why), 0) &&
	       CHECK_INT(kernel_open(NULL, &lan->kernel), 0) &&
	       CHECK_INT(announce_new(&options, &lan->announce), 0);
}

static bool lan_up(struct lan *lan)
{
	if (!lan_open(lan))
		return false;
	CHECK_INT(tap_set_carrier(&lan->tap, true), 0);
	lan_set("lan0", SIOCSIFFLAGS, IFF_UP, NULL);
	lan_look(lan);
	return !test_failed();
}

static void lan_close(struct lan *lan)
{
	announce_free(lan->announce);
	kernel_close(lan->kernel);
	event_base_free(lan->base);
	tap_close(&lan->tap);
}

/* A host on the LAN sends this. */
static void lan_send(struct lan *lan, const struct frame *frame)
{
	uint8_t bytes[SHMNET_VNET_HLEN + sizeof(frame->bytes)] = {0};
	ssize_t length = (ssize_t)(SHMNET_VNET_HLEN + frame->length);

	memcpy(bytes + SHMNET_VNET_HLEN, frame->bytes, frame->length);
	CHECK_INT(write(lan->tap.queues[0], bytes, (size_t)length), length);
}

static bool is_arp(const struct frame *frame)
{
	return memcmp(frame->bytes + 12, "\x08\x06", 2) == 0;
}

static bool is_advertisement(const struct frame *frame)
{
	return memcmp(frame->bytes + 12, "\x86\xdd", 2) == 0 && frame->bytes[20] == 58 &&
	       frame->bytes[54] == 136;
}

/* The next frame of its kind that comes out of the host; its own go by. */
static bool lan_next(struct lan *lan, bool (*is_wanted)(const struct frame *),
		     struct frame *ret)
{
	uint8_t bytes[2048];

	for (int turns = 0; turns < WAIT_MS; turns++) {
		ssize_t length;

		event_base_loop(lan->base, EVLOOP_NONBLOCK);
		wait_readable(lan->tap.queues[0], 1);
		length = read(lan->tap.queues[0], bytes, sizeof(bytes));
		if (length < SHMNET_VNET_HLEN + 42)
			continue;
		ret->length = (size_t)length - SHMNET_VNET_HLEN;
		memcpy(ret->bytes, bytes + SHMNET_VNET_HLEN, sizeof(ret->bytes));
		if (is_wanted(ret))
			return true;
	}
	return CHECK(!"a frame came");
}

/* --- questions -------------------------------------------------------------------- */

static struct frame arp_request(const uint8_t sender[4], const uint8_t target[4])
{
	static const uint8_t head[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};
	struct frame frame = {.length = 42};

	memset(frame.bytes, 0xff, 6);
	memcpy(frame.bytes + 6, asker, 6);
	memcpy(frame.bytes + 12, head, sizeof(head));
	memcpy(frame.bytes + 22, asker, 6);
	memcpy(frame.bytes + 28, sender, 4);
	memcpy(frame.bytes + 38, target, 4);
	return frame;
}

/* As the pseudo-header has it, before the message. */
static uint16_t icmp_sum(const struct frame *frame)
{
	uint8_t bytes[40 + 256] = {0};
	size_t length = frame->length - 54;

	memcpy(bytes, frame->bytes + 22, 32);
	bytes[35] = (uint8_t)length;
	bytes[39] = 58;
	memcpy(bytes + 40, frame->bytes + 54, length);
	return frame_checksum(bytes, 40 + length);
}

static void finish(struct frame *frame)
{
	uint16_t sum;

	memset(frame->bytes + 56, 0, 2);
	sum = htons(icmp_sum(frame));
	memcpy(frame->bytes + 56, &sum, 2);
}

static struct frame solicitation(const uint8_t sender[16], const uint8_t target[16])
{
	static const uint8_t head[] = {0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255};
	struct frame frame = {.length = 14 + 40 + 24};

	memcpy(frame.bytes, "\x33\x33\xff\xbb\x01\x00", 6);
	memcpy(frame.bytes + 6, asker, 6);
	memcpy(frame.bytes + 12, head, sizeof(head));
	memcpy(frame.bytes + 22, sender, 16);
	memcpy(frame.bytes + 38, (uint8_t[16]){0xff, 2, [11] = 1, 0xff, 0xbb, 1, 0}, 16);
	frame.bytes[54] = 135;
	memcpy(frame.bytes + 62, target, 16);
	finish(&frame);
	return frame;
}

/* --- what is said unasked --------------------------------------------------------- */

static void check_gratuitous_arp(const struct lan *lan, const struct frame *frame)
{
	struct frame expected =
		arp_request(network.addresses[0].bytes, network.addresses[0].bytes);

	memcpy(expected.bytes + 6, lan->link.mac, 6);
	memcpy(expected.bytes + 22, lan->link.mac, 6);
	CHECK_MEM(frame->bytes, expected.bytes, 42);
}

static void check_advertisement(const struct lan *lan, const struct frame *frame,
				const uint8_t to_mac[6], const uint8_t to[16], int flags)
{
	const uint8_t *address = network.addresses[1].bytes;

	CHECK_INT(frame->length, 14 + 40 + 32);
	CHECK_MEM(frame->bytes, to_mac, 6);
	CHECK_MEM(frame->bytes + 6, lan->link.mac, 6);
	CHECK_INT(frame->bytes[21], 255);
	CHECK_MEM(frame->bytes + 22, address, 16);
	CHECK_MEM(frame->bytes + 38, to, 16);
	CHECK_INT(frame->bytes[58], flags);
	CHECK_MEM(frame->bytes + 62, address, 16);
	CHECK_MEM(frame->bytes + 78, "\2\1", 2);
	CHECK_MEM(frame->bytes + 80, lan->link.mac, 6);
	CHECK_INT(icmp_sum(frame), 0);
}

static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};

TEST_CASE(announce, says_each_address_three_times)
{
	struct frame frame;
	struct lan lan;

	ENTER();
	REQUIRE(lan_up(&lan));
	announce_set(lan.announce, true);
	CHECK_STR(announce_reason(lan.announce), NULL);
	for (int i = 0; i < 3; i++) {
		if (lan_next(&lan, is_arp, &frame))
			check_gratuitous_arp(&lan, &frame);
		if (lan_next(&lan, is_advertisement, &frame))
			check_advertisement(&lan, &frame, all_nodes_mac, all_nodes, 0x20);
	}
	CHECK_INT(announce_counters(lan.announce).announced, 6);
	CHECK_INT(announce_counters(lan.announce).failed, 0);
	lan_close(&lan);
}

TEST_CASE(announce, says_it_again_if_it_is_told_to_again)
{
	struct frame frame;
	struct lan lan;

	ENTER();
	REQUIRE(lan_up(&lan));
	announce_set(lan.announce, true);
	for (int i = 0; i < 3; i++)
		CHECK(lan_next(&lan, is_arp, &frame));
	announce_set(lan.announce, true);
	for (int i = 0; i < 3; i++)
		CHECK(lan_next(&lan, is_arp, &frame));
	CHECK_INT(announce_counters(lan.announce).announced, 12);
	lan_close(&lan);
}

/* As if members came and went: on and off, or on for some other reason. */
TEST_CASE(announce, begins_anew_once_a_second)
{
	uint64_t begin_ns = clock_now_ns(), seconds;
	struct frame frame;
	struct lan lan;

	ENTER();
	REQUIRE(lan_up(&lan));
	announce_set(lan.announce, true);
	CHECK(lan_next(&lan, is_arp, &frame));
	for (int i = 0; i < 100; i++) {
		announce_set(lan.announce, i % 10 != 0);
		announce_set(lan.announce, true);
		event_base_loop(lan.base, EVLOOP_NONBLOCK);
	}
	for (int i = 0; i < 3; i++)
		CHECK(lan_next(&lan, is_arp, &frame));
	seconds = (clock_now_ns() - begin_ns) / NSEC_PER_SEC;
	/* Of two addresses; two rounds until the next begins, three of the last one. */
	CHECK(announce_counters(lan.announce).announced <= 4 * (seconds + 1) + 6);
	lan_close(&lan);
}

TEST_CASE(announce, says_it_again_if_the_interface_has_another_mac)
{
	static const uint8_t mac[6] = {0x02, 1, 2, 3, 4, 5};
	struct frame frame;
	struct lan lan;

	ENTER();
	REQUIRE(lan_up(&lan));
	announce_set(lan.announce, true);
	CHECK(lan_next(&lan, is_advertisement, &frame));
	lan_set("lan0", SIOCSIFHWADDR, 0, mac);
	lan_look(&lan);
	CHECK_MEM(lan.link.mac, mac, 6);
	if (lan_next(&lan, is_arp, &frame))
		check_gratuitous_arp(&lan, &frame);
	lan_close(&lan);
}

/* --- answers ---------------------------------------------------------------------- */

/* On, and the first round is over, so that what comes first is an answer. */
static bool lan_announces(struct lan *lan)
{
	struct frame frame;

	if (!lan_up(lan))
		return false;
	announce_set(lan->announce, true);
	return lan_next(lan, is_advertisement, &frame);
}

static bool is_arp_reply(const struct frame *frame)
{
	return is_arp(frame) && frame->bytes[21] == 2;
}

static void check_arp_reply(struct lan *lan, const uint8_t to[4])
{
	struct frame frame;

	if (!lan_next(lan, is_arp_reply, &frame))
		return;
	CHECK_MEM(frame.bytes, asker, 6);
	CHECK_MEM(frame.bytes + 6, lan->link.mac, 6);
	CHECK_MEM(frame.bytes + 22, lan->link.mac, 6);
	CHECK_MEM(frame.bytes + 28, network.addresses[0].bytes, 4);
	CHECK_MEM(frame.bytes + 32, asker, 6);
	CHECK_MEM(frame.bytes + 38, to, 4);
}

TEST_CASE(announce, answers_arp_requests_and_probes)
{
	static const uint8_t nobody[4];
	const uint8_t *address = network.addresses[0].bytes;
	struct frame frame = arp_request(asker_ip, address);
	struct lan lan;

	ENTER();
	REQUIRE(lan_announces(&lan));
	lan_send(&lan, &frame);
	check_arp_reply(&lan, asker_ip);
	frame = arp_request(nobody, address);
	lan_send(&lan, &frame);
	check_arp_reply(&lan, nobody);
	lan_close(&lan);
}

/* Each with a byte that makes it none of our questions. */
static const struct {
	unsigned at;
	uint8_t byte;
} odd_arps[] = {
	{15, 2},	       /* not of Ethernet */
	{16, 9},	       /* not of IPv4 */
	{18, 5},	       /* lengths */
	{19, 16},  {21, 3},    /* operations */
	{21, 4},   {22, 0x03}, /* the sender's MAC is a group */
	{41, 200},	       /* another address */
};

TEST_CASE(announce, answers_no_odd_arp)
{
	static const uint8_t later[4] = {10, 99, 0, 8};
	const uint8_t *address = network.addresses[0].bytes;
	struct frame frame;
	struct lan lan;

	ENTER();
	REQUIRE(lan_announces(&lan));
	for (unsigned i = 0; i < sizeof(odd_arps) / sizeof(odd_arps[0]); i++) {
		frame = arp_request(asker_ip, address);
		frame.bytes[odd_arps[i].at] = odd_arps[i].byte;
		lan_send(&lan, &frame);
	}
	frame = arp_request(address, address); /* another one that announces */
	lan_send(&lan, &frame);
	frame = arp_request(asker_ip, address);
	frame.length = 41;
	lan_send(&lan, &frame);
	memmove(frame.bytes + 16, frame.bytes + 12, 42 - 12); /* of a VLAN */
	memcpy(frame.bytes + 12, "\x81\x00\x00\x64", 4);
	frame.length = 46;
	lan_send(&lan, &frame);
	frame = arp_request(later, address);
	lan_send(&lan, &frame);
	check_arp_reply(&lan, later);
	CHECK_INT(announce_counters(lan.announce).answered, 1);
	lan_close(&lan);
}

static bool is_answer(const struct frame *frame)
{
	return is_advertisement(frame) && memcmp(frame->bytes + 38, all_nodes, 16) != 0;
}

TEST_CASE(announce, answers_solicitations)
{
	struct frame frame = solicitation(asker_ip6, network.addresses[1].bytes);
	struct lan lan;

	ENTER();
	REQUIRE(lan_announces(&lan));
	lan_send(&lan, &frame);
	if (lan_next(&lan, is_answer, &frame))
		check_advertisement(&lan, &frame, asker, asker_ip6, 0x60);
	frame = solicitation(asker_ip6, network.addresses[1].bytes);
	memcpy(frame.bytes, lan.link.mac, 6); /* is it still there? */
	memcpy(frame.bytes + 38, network.addresses[1].bytes, 16);
	finish(&frame);
	lan_send(&lan, &frame);
	if (lan_next(&lan, is_answer, &frame))
		check_advertisement(&lan, &frame, asker, asker_ip6, 0x60);
	lan_close(&lan);
}

/* Who has no address yet hears it as all do, so it is counted instead of looked at. */
TEST_CASE(announce, defends_its_address)
{
	static const uint8_t nobody[16];
	struct frame frame = solicitation(nobody, network.addresses[1].bytes);
	struct lan lan;

	ENTER();
	REQUIRE(lan_announces(&lan));
	lan_send(&lan, &frame);
	while (announce_counters(lan.announce).answered == 0 &&
	       lan_next(&lan, is_advertisement, &frame))
		;
	CHECK_INT(announce_counters(lan.announce).answered, 1);
	lan_close(&lan);
}

static const struct {
	unsigned at;
	uint8_t byte;
	bool finished; /* the checksum is right all the same */
} odd_solicitations[] = {
	{56, 0x55, false}, {14, 0x40, true}, {19, 23, true},   {19, 200, true},
	{21, 254, true},   {55, 1, true},    {22, 0xff, true}, {77, 0x99, true},
};

TEST_CASE(announce, answers_no_odd_solicitation)
{
	const uint8_t *address = network.addresses[1].bytes;
	struct frame frame;
	struct lan lan;

	ENTER();
	REQUIRE(lan_announces(&lan));
	for (unsigned i = 0; i < sizeof(odd_solicitations) / sizeof(odd_solicitations[0]);
	     i++) {
		frame = solicitation(asker_ip6, address);
		frame.bytes[odd_solicitations[i].at] = odd_solicitations[i].byte;
		if (odd_solicitations[i].finished)
			finish(&frame);
		lan_send(&lan, &frame);
	}
	frame = solicitation(asker_ip6, address);
	frame.length--;
	lan_send(&lan, &frame);
	frame = solicitation(asker_ip6, address);
	frame.bytes[37] = 8; /* the only one that is right: of fe80::8 */
	finish(&frame);
	lan_send(&lan, &frame);
	if (lan_next(&lan, is_answer, &frame))
		CHECK_INT(frame.bytes[53], 8);
	CHECK_INT(announce_counters(lan.announce).answered, 1);
	lan_close(&lan);
}

TEST_CASE(announce, is_silent_once_it_is_off)
{
	static const uint8_t later[4] = {10, 99, 0, 8};
	const uint8_t *address = network.addresses[0].bytes;
	struct frame frame = arp_request(asker_ip, address);
	struct lan lan;

	ENTER();
	REQUIRE(lan_announces(&lan));
	announce_set(lan.announce, false);
	lan_send(&lan, &frame);
	event_base_loop(lan.base, EVLOOP_NONBLOCK);
	announce_set(lan.announce, true);
	frame = arp_request(later, address);
	lan_send(&lan, &frame);
	check_arp_reply(&lan, later);
	lan_close(&lan);
}

/* --- the interface ---------------------------------------------------------------- */

TEST_CASE(announce, has_words_for_the_interface)
{
	struct lan lan;

	ENTER();
	REQUIRE(lan_open(&lan));
	announce_set(lan.announce, true);
	CHECK(!announce_is_usable(lan.announce));
	CHECK_STR(announce_reason(lan.announce),
		  "there is no interface lan0 to announce the addresses on; make it, or "
		  "change announce");
	lan_look(&lan);
	CHECK_STR(announce_reason(lan.announce),
		  "announce: lan0 is down; ip link set lan0 up");
	CHECK_INT(tap_set_carrier(&lan.tap, false), 0);
	lan_set("lan0", SIOCSIFFLAGS, IFF_UP, NULL);
	lan_look(&lan);
	CHECK(!announce_is_usable(lan.announce));
	CHECK_STR(announce_reason(lan.announce), "announce: lan0 has no carrier");
	CHECK_INT(tap_set_carrier(&lan.tap, true), 0);
	lan_look(&lan);
	CHECK(announce_is_usable(lan.announce));
	CHECK_STR(announce_reason(lan.announce), NULL);
	announce_link(lan.announce, NULL);
	CHECK(!announce_is_usable(lan.announce));
	CHECK(announce_reason(lan.announce) != NULL);
	lan_close(&lan);
}

/* It has no IPv6 then. */
static void lan_shrink(void)
{
	struct ifreq ifr = {.ifr_mtu = 1000};

	CHECK_INT(change_interface("lan0", SIOCSIFMTU, &ifr), 0);
}

TEST_CASE(announce, has_words_for_an_interface_without_ipv6)
{
	struct frame frame;
	struct lan lan;

	ENTER();
	REQUIRE(lan_up(&lan));
	lan_shrink();
	announce_set(lan.announce, true);
	CHECK_STR(announce_reason(lan.announce),
		  "IPv6 neighbours on lan0 may not find the addresses: Invalid argument; "
		  "has the interface IPv6, and an MTU of 1280 at least?");
	CHECK(lan_next(&lan, is_arp, &frame)); /* IPv4 is as good as ever */
	lan_close(&lan);
}

static int announce_unprivileged(void *arg)
{
	struct lan *lan = arg;

	drop_capabilities();
	announce_set(lan->announce, true);
	return strstr(announce_reason(lan->announce), "CAP_NET_RAW") ? 0 : 1;
}

TEST_CASE(announce, has_words_for_a_capability_that_is_missing)
{
	struct lan lan;

	ENTER();
	REQUIRE(lan_up(&lan));
	CHECK_INT(run_in_child(announce_unprivileged, &lan), 0);
	lan_close(&lan);
}
