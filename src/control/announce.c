/* See announce.h. */
#include "control/announce.h"

#include "base/budget.h"
#include "base/clock.h"
#include "base/frame.h"
#include "base/log.h"
#include "base/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <netpacket/packet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A request with options may be a little longer than the bare one, not this long. */
#define REQUEST_MAX	  256
#define REQUESTS_PER_TURN 64
#define ND_HOPS		  255 /* what came from another link has fewer */

/* When the LAN is told, counted from the time before: one of them may get lost. Round 0
 * waits as long as `starts` says. */
static const struct timeval announce_delays[] = {{0, 0}, {0, 200000}, {1, 0}};
#define ROUNDS (sizeof(announce_delays) / sizeof(announce_delays[0]))

/* How often that begins anew, which other members can cause. */
static const struct budget_rule starts = {.interval_ns = NSEC_PER_SEC, .burst = 1};

struct announce {
	struct announce_options options;
	bool on;
	struct kernel_link link; /* index 0: there is none */
	int packets;		 /* -1: not open */
	int groups;		 /* it is a member of the multicast groups, no more */
	struct event *readable;
	struct event *again;
	unsigned rounds; /* that are done */
	struct budget starts;
	int error;	 /* why there is no answer, -errno */
	int group_error; /* why questions may not come */
	struct announce_counters counters;
	char words[512];
};

/* A solicitation, or an advertisement with the option that has our MAC. */
struct nd_packet {
	struct ip6_hdr ip;
	struct nd_neighbor_advert nd;
	struct nd_opt_hdr option;
	uint8_t mac[ETH_ALEN];
};

#define ND_MESSAGE_MIN sizeof(struct nd_neighbor_solicit)

static const uint8_t everybody[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t all_nodes_mac[ETH_ALEN] = {0x33, 0x33, 0, 0, 0, 1};
static const struct in6_addr all_nodes = {{{0xff, 2, [15] = 1}}};

/* --- frames ------------------------------------------------------------------- */

static bool is_ours(const struct announce *announce, int family, const void *bytes)
{
	const struct config_network *network = announce->options.network;

	for (unsigned i = 0; i < network->num_addresses; i++) {
		const struct config_address *address = &network->addresses[i];

		if (address->family == family &&
		    memcmp(address->bytes, bytes, family == AF_INET ? 4 : 16) == 0)
			return true;
	}
	return false;
}

static void say(struct announce *announce, const uint8_t to[ETH_ALEN], uint16_t type,
		const void *packet, size_t length, uint64_t *counter)
{
	struct {
		struct ether_header eth;
		uint8_t packet[sizeof(struct nd_packet)];
	} frame;

	memcpy(frame.eth.ether_dhost, to, ETH_ALEN);
	memcpy(frame.eth.ether_shost, announce->link.mac, ETH_ALEN);
	frame.eth.ether_type = htons(type);
	memcpy(frame.packet, packet, length);
	length += sizeof(frame.eth);
	if (send(announce->packets, &frame, length, 0) == (ssize_t)length)
		(*counter)++;
	else
		announce->counters.failed++;
}

/* "`address` is at our MAC", as an answer or as a question that none is expected to. */
static void say_arp(struct announce *announce, uint16_t operation,
		    const uint8_t address[4], const uint8_t to_mac[ETH_ALEN],
		    const uint8_t to[4], uint64_t *counter)
{
	struct ether_arp arp = {0};

	arp.arp_hrd = htons(ARPHRD_ETHER);
	arp.arp_pro = htons(ETHERTYPE_IP);
	arp.arp_hln = ETH_ALEN;
	arp.arp_pln = 4;
	arp.arp_op = htons(operation);
	memcpy(arp.arp_sha, announce->link.mac, ETH_ALEN);
	memcpy(arp.arp_spa, address, 4);
	if (operation == ARPOP_REPLY)
		memcpy(arp.arp_tha, to_mac, ETH_ALEN);
	memcpy(arp.arp_tpa, to, 4);
	say(announce, to_mac, ETHERTYPE_ARP, &arp, sizeof(arp), counter);
}

/* Of an ICMPv6 message with the header before it; 0 if the one in it is right. */
static uint16_t icmp_checksum(const struct ip6_hdr *ip, const void *message,
			      size_t length)
{
	struct {
		struct in6_addr source, destination;
		uint32_t length, protocol;
		uint8_t message[REQUEST_MAX];
	} sum = {ip->ip6_src,
		 ip->ip6_dst,
		 htonl((uint32_t)length),
		 htonl(IPPROTO_ICMPV6),
		 {0}};

	memcpy(sum.message, message, length);
	return frame_checksum((uint8_t *)&sum,
			      offsetof(__typeof__(sum), message) + length);
}

/* "`address` is at our MAC, whatever you heard"; `flags` is 0 or NA_FLAG_SOLICITED. */
static void say_nd(struct announce *announce, uint32_t flags, const uint8_t address[16],
		   const uint8_t to_mac[ETH_ALEN], const struct in6_addr *to,
		   uint64_t *counter)
{
	const size_t length = sizeof(struct nd_packet) - offsetof(struct nd_packet, nd);
	struct nd_packet packet = {0};

	packet.ip.ip6_vfc = 0x60;
	packet.ip.ip6_plen = htons((uint16_t)length);
	packet.ip.ip6_nxt = IPPROTO_ICMPV6;
	packet.ip.ip6_hlim = ND_HOPS;
	memcpy(&packet.ip.ip6_src, address, 16);
	packet.ip.ip6_dst = *to;
	packet.nd.nd_na_type = ND_NEIGHBOR_ADVERT;
	packet.nd.nd_na_flags_reserved = flags | ND_NA_FLAG_OVERRIDE;
	memcpy(&packet.nd.nd_na_target, address, 16);
	packet.option.nd_opt_type = ND_OPT_TARGET_LINKADDR;
	packet.option.nd_opt_len = 1;
	memcpy(packet.mac, announce->link.mac, ETH_ALEN);
	packet.nd.nd_na_cksum = htons(icmp_checksum(&packet.ip, &packet.nd, length));
	say(announce, to_mac, ETHERTYPE_IPV6, &packet, sizeof(packet), counter);
}

/* --- answers ------------------------------------------------------------------ */

/* One who asks is one host, and not us. */
static bool may_ask(const struct announce *announce, const uint8_t mac[ETH_ALEN])
{
	return !(mac[0] & 1) && memcmp(mac, announce->link.mac, ETH_ALEN) != 0;
}

/*
 * A probe (sender 0.0.0.0) is answered as well: the address is taken. Who asks for
 * what he says he has himself makes an announcement, and wants no answer.
 */
static void answer_arp(struct announce *announce, const uint8_t *bytes, size_t length)
{
	struct ether_arp arp;

	if (length < sizeof(arp))
		return;
	memcpy(&arp, bytes, sizeof(arp));
	if (arp.arp_hrd != htons(ARPHRD_ETHER) || arp.arp_pro != htons(ETHERTYPE_IP) ||
	    arp.arp_hln != ETH_ALEN || arp.arp_pln != 4 ||
	    arp.arp_op != htons(ARPOP_REQUEST))
		return;
	if (is_ours(announce, AF_INET, arp.arp_tpa) &&
	    !is_ours(announce, AF_INET, arp.arp_spa) && may_ask(announce, arp.arp_sha))
		say_arp(announce, ARPOP_REPLY, arp.arp_tpa, arp.arp_sha, arp.arp_spa,
			&announce->counters.answered);
}

/* The rules of RFC 4861, 7.1.1; of the options nothing is needed. */
static bool is_solicitation(const struct nd_packet *packet, const uint8_t *message,
			    size_t length)
{
	uint16_t said = ntohs(packet->ip.ip6_plen);

	return packet->ip.ip6_vfc >> 4 == 6 && packet->ip.ip6_nxt == IPPROTO_ICMPV6 &&
	       packet->ip.ip6_hlim == ND_HOPS && said >= ND_MESSAGE_MIN &&
	       said <= length && packet->nd.nd_na_type == ND_NEIGHBOR_SOLICIT &&
	       packet->nd.nd_na_code == 0 && packet->ip.ip6_src.s6_addr[0] != 0xff &&
	       icmp_checksum(&packet->ip, message, said) == 0;
}

/* One without an address looks for duplicates, and hears the answer as all do. */
static void answer_nd(struct announce *announce, const uint8_t mac[ETH_ALEN],
		      const uint8_t *bytes, size_t length)
{
	const size_t message = offsetof(struct nd_packet, nd);
	struct nd_packet packet = {0};
	const uint8_t *target = packet.nd.nd_na_target.s6_addr;

	if (length < message + ND_MESSAGE_MIN)
		return;
	memcpy(&packet, bytes, message + ND_MESSAGE_MIN);
	if (!is_solicitation(&packet, bytes + message, length - message) ||
	    !is_ours(announce, AF_INET6, target) ||
	    is_ours(announce, AF_INET6, &packet.ip.ip6_src) || !may_ask(announce, mac))
		return;
	if (IN6_IS_ADDR_UNSPECIFIED(&packet.ip.ip6_src))
		say_nd(announce, 0, target, all_nodes_mac, &all_nodes,
		       &announce->counters.answered);
	else
		say_nd(announce, ND_NA_FLAG_SOLICITED, target, mac, &packet.ip.ip6_src,
		       &announce->counters.answered);
}

static void answer(struct announce *announce, const uint8_t *bytes, size_t length)
{
	struct ether_header eth;

	if (length < sizeof(eth))
		return;
	memcpy(&eth, bytes, sizeof(eth));
	bytes += sizeof(eth);
	length -= sizeof(eth);
	if (eth.ether_type == htons(ETHERTYPE_ARP))
		answer_arp(announce, bytes, length);
	else if (eth.ether_type == htons(ETHERTYPE_IPV6))
		answer_nd(announce, eth.ether_shost, bytes, length);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct announce *announce = arg;
	uint8_t bytes[REQUEST_MAX];

	(void)what;
	for (int i = 0; i < REQUESTS_PER_TURN; i++) {
		struct sockaddr_ll from = {0};
		socklen_t from_length = sizeof(from);
		/* The length that it had: one that was cut is too long to be true. */
		ssize_t length = recvfrom(fd, bytes, sizeof(bytes), MSG_TRUNC,
					  (struct sockaddr *)&from, &from_length);

		if (length < 0)
			return; /* an interface that went down says so once */
		if (from.sll_pkttype <= PACKET_MULTICAST &&
		    (size_t)length <= sizeof(bytes))
			answer(announce, bytes, (size_t)length);
	}
}

/* --- announcements ------------------------------------------------------------ */

static void say_all(struct announce *announce)
{
	const struct config_network *network = announce->options.network;

	for (unsigned i = 0; i < network->num_addresses; i++) {
		const struct config_address *address = &network->addresses[i];

		if (address->family == AF_INET)
			say_arp(announce, ARPOP_REQUEST, address->bytes, everybody,
				address->bytes, &announce->counters.announced);
		else
			say_nd(announce, 0, address->bytes, all_nodes_mac, &all_nodes,
			       &announce->counters.announced);
	}
}

static void on_round(evutil_socket_t fd, short what, void *arg)
{
	struct announce *announce = arg;

	(void)fd;
	(void)what;
	if (announce->rounds == 0)
		budget_take(&announce->starts, &starts, clock_now_ns());
	say_all(announce);
	if (++announce->rounds < ROUNDS)
		event_add(announce->again, &announce_delays[announce->rounds]);
}

static void say_anew(struct announce *announce)
{
	const struct timeval delay =
		clock_timeval(budget_wait_ns(&announce->starts, &starts, clock_now_ns()));

	announce->rounds = 0;
	event_add(announce->again, &delay);
}

/* --- sockets ------------------------------------------------------------------ */

/*
 * ARP requests and neighbour solicitations without a VLAN tag: the kernel takes tags
 * out of the frame before we see it, so a tagged one looks like one of this LAN.
 */
static int set_filter(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 (uint32_t)(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 10),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_ARP, 0, 2),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 20),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARPOP_REQUEST, 5, 6),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_IPV6, 0, 5),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 20),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 54),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_SOLICIT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* Nothing is received before it is bound, so nothing gets past the filter. */
static int set_up_packets(const struct announce *announce)
{
	struct sockaddr_ll here = {.sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = announce->link.index};
	int yes = 1;

	if (set_filter(announce->packets) < 0 ||
	    setsockopt(announce->packets, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes,
		       sizeof(yes)) < 0 ||
	    bind(announce->packets, (struct sockaddr *)&here, sizeof(here)) < 0)
		return -errno;
	return 0;
}

/* So that the interface, and a switch that snoops, let the questions through. */
static int join_groups(const struct announce *announce)
{
	const struct config_network *network = announce->options.network;

	for (unsigned i = 0; i < network->num_addresses; i++) {
		const uint8_t *bytes = network->addresses[i].bytes;
		struct ipv6_mreq group = {
			.ipv6mr_interface = (unsigned)announce->link.index,
			.ipv6mr_multiaddr = {{{0xff, 2, [11] = 1, 0xff, bytes[13],
					       bytes[14], bytes[15]}}}};

		if (network->addresses[i].family == AF_INET6 &&
		    setsockopt(announce->groups, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group,
			       sizeof(group)) < 0 &&
		    errno != EADDRINUSE) /* two addresses have one group */
			return -errno;
	}
	return 0;
}

static bool has_ipv6(const struct announce *announce)
{
	const struct config_network *network = announce->options.network;

	for (unsigned i = 0; i < network->num_addresses; i++) {
		if (network->addresses[i].family == AF_INET6)
			return true;
	}
	return false;
}

static int open_sockets(struct announce *announce)
{
	int ret = netns_enter(announce->options.netns);

	if (ret < 0)
		return ret;
	announce->packets = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ret = announce->packets < 0 ? -errno : 0;
	if (has_ipv6(announce)) {
		announce->groups = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		announce->group_error = announce->groups < 0 ? -errno : 0;
	}
	netns_leave(announce->options.netns);
	return ret;
}

static int listen_to(struct announce *announce)
{
	int ret = set_up_packets(announce);

	if (ret < 0)
		return ret;
	announce->readable = event_new(announce->options.base, announce->packets,
				       EV_READ | EV_PERSIST, on_readable, announce);
	if (!announce->readable || event_add(announce->readable, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static void close_socket(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void be_silent(struct announce *announce)
{
	event_del(announce->again);
	if (announce->readable)
		event_free(announce->readable);
	announce->readable = NULL;
	close_socket(&announce->packets);
	close_socket(&announce->groups);
	announce->error = 0;
	announce->group_error = 0;
}

static void speak(struct announce *announce)
{
	const char *name = announce->options.network->name;
	int error = open_sockets(announce);

	if (error == 0)
		error = listen_to(announce);
	if (error == 0 && announce->groups >= 0)
		announce->group_error = join_groups(announce);
	if (error < 0) {
		be_silent(announce);
		announce->error = error;
	} else {
		say_anew(announce);
	}
	if (announce_reason(announce))
		log_warn(name, "%s", announce->words);
}

/* From the start: whatever changed, the LAN is told. */
static void begin_anew(struct announce *announce)
{
	be_silent(announce);
	if (announce->on && announce->link.index && announce->link.is_up)
		speak(announce);
}

/* --- the handle --------------------------------------------------------------- */

int announce_new(const struct announce_options *options, struct announce **ret_announce)
{
	struct announce *announce = calloc(1, sizeof(*announce));

	if (!announce)
		return -ENOMEM;
	announce->options = *options;
	announce->packets = -1;
	announce->groups = -1;
	announce->again = evtimer_new(options->base, on_round, announce);
	if (!announce->again) {
		free(announce);
		return -ENOMEM;
	}
	*ret_announce = announce;
	return 0;
}

void announce_free(struct announce *announce)
{
	if (!announce)
		return;
	be_silent(announce);
	event_free(announce->again);
	free(announce);
}

void announce_set(struct announce *announce, bool on)
{
	const struct config_network *network = announce->options.network;

	if (announce->on != on)
		log_info(network->name,
			 on ? "this node answers for the network's addresses on %s"
			    : "this node no longer answers on %s",
			 network->announce);
	else if (!on)
		return;
	announce->on = on;
	if (on && announce->packets >= 0)
		say_anew(announce);
	else
		begin_anew(announce);
}

void announce_link(struct announce *announce, const struct kernel_link *link)
{
	static const struct kernel_link none;
	struct kernel_link before = announce->link;

	announce->link = link && !link->gone ? *link : none;
	if (before.index == announce->link.index &&
	    before.is_up == announce->link.is_up &&
	    before.running == announce->link.running &&
	    memcmp(before.mac, announce->link.mac, sizeof(before.mac)) == 0)
		return;
	announce->starts = (struct budget){0}; /* the host's own doing */
	begin_anew(announce);
}

bool announce_is_usable(const struct announce *announce)
{
	return announce->link.index && announce->link.is_up && announce->link.running;
}

static const char *link_reason(struct announce *announce)
{
	const char *interface = announce->options.network->announce;
	const char *place = netns_place(announce->options.netns);

	if (!announce->link.index)
		snprintf(announce->words, sizeof(announce->words),
			 "there is no interface %s%s to announce the addresses on; make "
			 "it, or change announce",
			 interface, place);
	else if (!announce->link.is_up)
		snprintf(announce->words, sizeof(announce->words),
			 "announce: %s%s is down; ip link set %s up", interface, place,
			 interface);
	else if (!announce->link.running)
		snprintf(announce->words, sizeof(announce->words),
			 "announce: %s%s has no carrier", interface, place);
	else
		return NULL;
	return announce->words;
}

const char *announce_reason(struct announce *announce)
{
	const char *interface = announce->options.network->announce;

	if (link_reason(announce))
		return announce->words;
	if (announce->error)
		snprintf(announce->words, sizeof(announce->words),
			 "the addresses can't be announced on %s: %s%s", interface,
			 strerror(-announce->error),
			 announce->error == -EPERM ? "; the node needs CAP_NET_RAW" : "");
	else if (announce->group_error)
		snprintf(announce->words, sizeof(announce->words),
			 "IPv6 neighbours on %s may not find the addresses: %s; has the "
			 "interface IPv6, and an MTU of 1280 at least?",
			 interface, strerror(-announce->group_error));
	else
		return NULL;
	return announce->words;
}

struct announce_counters announce_counters(const struct announce *announce)
{
	return announce->counters;
}
