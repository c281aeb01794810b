/* See flow.h. */
#include "base/flow.h"

#include "base/frame.h"

#include <arpa/inet.h>
#include <endian.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP  0x0806
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8

#define VLAN_TAGS_MAX 2
#define IPV4_HLEN_MIN 20
#define IPV6_HLEN     40
#define DATAGRAM_MAX  65535
#define ARP_LEN	      28

#define IPV6_FRAGMENT_HLEN 8

#define IPV4_OPTION_END	 0
#define IPV4_OPTION_NOP	 1
#define IPV4_OPTION_LSRR 131
#define IPV4_OPTION_SSRR 137

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define SCTP_INIT	       1
#define SCTP_ABORT	       6
#define SCTP_SHUTDOWN_COMPLETE 14

/* Of an ICMP error that is quoted from: ports, and all that IPv4 has to quote. */
#define QUOTED_MIN 8

/* What the functions here answer if nothing is wrong. */
#define FINE DROP_NUM_

/* What may be read: bytes from `at` to `sight`, of a packet that ends at `end`. */
struct view {
	const uint8_t *head;
	size_t at;
	size_t sight;
	size_t end;
	bool is_quoted; /* in an ICMP error: may be cut off anywhere */
};

struct ip_view {
	uint8_t source[FLOW_ADDRESS_LEN];
	uint8_t destination[FLOW_ADDRESS_LEN];
	uint8_t version;
	uint8_t protocol; /* of what is at view.at when this has been read */
	bool has_fragment_header;
	bool is_fragment;
	bool more;
	uint32_t id;
	uint32_t offset;
	size_t data; /* where the part that is cut into fragments begins */
};

static uint16_t read_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t read_be32(const uint8_t *bytes)
{
	return (uint32_t)read_be16(bytes) << 16 | read_be16(bytes + 2);
}

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static bool in_sight(const struct view *view, size_t length)
{
	return view->at + length <= view->sight;
}

/* ---- addresses ---- */

static bool is_ipv4_source(const uint8_t *address)
{
	return address[0] != 0 && address[0] != 127 && (address[0] & 0xf0) != 0xe0 &&
	       read_be32(address) != INADDR_BROADCAST;
}

/* May this one be at the other end? */
static bool is_foreign(const uint8_t *address)
{
	static const uint8_t zero[FLOW_ADDRESS_LEN];

	if (flow_address_is_ipv4(address))
		return is_ipv4_source(address + 12);
	if (address[0] == 0xff)
		return false;
	return memcmp(address, zero, 15) != 0 || address[15] > 1;
}

/* ---- Ethernet and IP ---- */

/* Ethertype, with view->at behind it; 0 for a runt. */
static uint16_t read_ethernet(struct view *view)
{
	uint16_t type;

	view->at = SHMNET_ETH_HLEN;
	if (!in_sight(view, 0))
		return 0;
	type = read_be16(view->head + view->at - 2);
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
			break;
		if (!in_sight(view, SHMNET_VLAN_HLEN))
			return 0;
		view->at += SHMNET_VLAN_HLEN;
		type = read_be16(view->head + view->at - 2);
	}
	return type;
}

/* Well-formed, and none that sends the packet on to somewhere else. */
static bool are_ipv4_options_good(const uint8_t *options, size_t length)
{
	size_t at = 0;

	while (at < length && options[at] != IPV4_OPTION_END) {
		if (options[at] == IPV4_OPTION_NOP) {
			at++;
			continue;
		}
		if (options[at] == IPV4_OPTION_LSRR || options[at] == IPV4_OPTION_SSRR)
			return false;
		if (at + 2 > length || options[at + 1] < 2 ||
		    options[at + 1] > length - at)
			return false;
		at += options[at + 1];
	}
	return true;
}

/* A packet of that length begins here. Of a quoted one it says nothing: routers wrote
 * such lengths in either byte order, and kernels do not look. */
static bool set_end(struct view *view, size_t header_length, size_t length)
{
	if (view->is_quoted)
		return true;
	if (length < header_length || view->at + length > view->end)
		return false;
	view->end = view->at + length;
	view->sight = min_size(view->sight, view->end);
	return true;
}

/* Those of the first header, both versions; neither version the other's. */
static bool read_addresses(const struct view *view, struct ip_view *ip)
{
	const uint8_t *header = view->head + view->at;

	if (ip->version == 4) {
		flow_address_map_ipv4(ip->source, header + 12);
		flow_address_map_ipv4(ip->destination, header + 16);
		return true;
	}
	memcpy(ip->source, header + 8, FLOW_ADDRESS_LEN);
	memcpy(ip->destination, header + 24, FLOW_ADDRESS_LEN);
	return !flow_address_is_ipv4(ip->source) &&
	       !flow_address_is_ipv4(ip->destination);
}

static enum drop_reason read_ipv4(struct view *view, struct ip_view *ip)
{
	const uint8_t *header = view->head + view->at;
	uint16_t fragment;
	size_t length;

	if (!in_sight(view, IPV4_HLEN_MIN) || header[0] >> 4 != 4)
		return DROP_BAD_PACKET;
	length = (size_t)(header[0] & 0xf) * 4;
	if (length < IPV4_HLEN_MIN || header[9] == 0 ||
	    !set_end(view, length, read_be16(header + 2)) || !in_sight(view, length) ||
	    !are_ipv4_options_good(header + IPV4_HLEN_MIN, length - IPV4_HLEN_MIN))
		return DROP_BAD_PACKET;
	ip->protocol = header[9];
	read_addresses(view, ip);
	fragment = read_be16(header + 6);
	ip->more = fragment & IP_MF;
	ip->offset = (uint32_t)(fragment & IP_OFFMASK) * 8;
	ip->is_fragment = ip->more || ip->offset;
	ip->id = read_be16(header + 4);
	view->at += length;
	ip->data = view->at;
	return FINE;
}

/* Whom AH comes for is known where its keys are; of a quote Linux reads on behind it. */
static bool is_ipv6_extension(uint8_t header, bool is_quoted)
{
	return (header == IPPROTO_AH && is_quoted) || header == IPPROTO_HOPOPTS ||
	       header == IPPROTO_ROUTING || header == IPPROTO_DSTOPTS ||
	       header == IPPROTO_FRAGMENT;
}

/* Whose headers do not all lie in this packet, or in what is in sight of it. */
static enum drop_reason too_short(const struct ip_view *ip)
{
	return ip->is_fragment ? DROP_BAD_FRAGMENT : DROP_BAD_PACKET;
}

static enum drop_reason read_fragment_header(struct view *view, struct ip_view *ip)
{
	const uint8_t *header = view->head + view->at;
	uint16_t word = read_be16(header + 2);

	if (ip->has_fragment_header || header[0] == IPPROTO_HOPOPTS ||
	    header[0] == IPPROTO_FRAGMENT)
		return DROP_BAD_PACKET;
	ip->has_fragment_header = true;
	ip->more = word & 1;
	ip->offset = word & 0xfff8;
	ip->is_fragment = ip->more || ip->offset;
	ip->id = read_be32(header + 4);
	ip->protocol = header[0];
	view->at += IPV6_FRAGMENT_HLEN;
	ip->data = view->at;
	return FINE;
}

static enum drop_reason read_extension(struct view *view, struct ip_view *ip,
				       bool is_first)
{
	const uint8_t *header = view->head + view->at;
	size_t length;

	if (!in_sight(view, 8))
		return too_short(ip);
	if (ip->protocol == IPPROTO_FRAGMENT)
		return read_fragment_header(view, ip);
	if (ip->protocol == IPPROTO_HOPOPTS && !is_first)
		return DROP_BAD_PACKET;
	if (ip->protocol == IPPROTO_ROUTING && header[3] != 0) /* not there yet */
		return DROP_BAD_PACKET;
	length = 8 + (size_t)header[1] * (ip->protocol == IPPROTO_AH ? 4 : 8);
	if (!in_sight(view, length))
		return too_short(ip);
	ip->protocol = header[0];
	view->at += length;
	return FINE;
}

static enum drop_reason read_ipv6(struct view *view, struct ip_view *ip)
{
	const uint8_t *header = view->head + view->at;
	enum drop_reason reason;

	if (!in_sight(view, IPV6_HLEN) || header[0] >> 4 != 6 ||
	    !set_end(view, IPV6_HLEN, IPV6_HLEN + (size_t)read_be16(header + 4)) ||
	    !read_addresses(view, ip))
		return DROP_BAD_PACKET;
	ip->protocol = header[6];
	view->at += IPV6_HLEN;
	for (int i = 0; !ip->offset && is_ipv6_extension(ip->protocol, view->is_quoted);
	     i++) {
		if (i == FLOW_EXTENSIONS_MAX)
			return too_short(ip);
		reason = read_extension(view, ip, i == 0);
		if (reason != FINE)
			return reason;
	}
	return FINE;
}

static enum drop_reason read_ip(struct view *view, uint8_t version,
				struct ip_view *ret_ip)
{
	*ret_ip = (struct ip_view){.version = version};
	if (version == 4)
		return read_ipv4(view, ret_ip);
	if (version == 6)
		return read_ipv6(view, ret_ip);
	return DROP_BAD_PACKET;
}

static uint8_t ip_version(uint16_t ethertype)
{
	if (ethertype == ETHERTYPE_IPV4)
		return 4;
	return ethertype == ETHERTYPE_IPV6 ? 6 : 0;
}

/* The length of the datagram's headers that the limit of 65,535 counts. */
static size_t counted_headers(const struct ip_view *ip, size_t l3)
{
	if (ip->version == 4)
		return ip->data - l3;
	return ip->data - l3 - IPV6_HLEN - IPV6_FRAGMENT_HLEN;
}

static enum drop_reason read_fragment(const struct view *view, const struct ip_view *ip,
				      struct flow_packet *packet)
{
	size_t length = view->end - ip->data;

	if (length == 0 || (ip->more && length % 8 != 0) ||
	    counted_headers(ip, packet->l3) + ip->offset + length > DATAGRAM_MAX)
		return DROP_BAD_FRAGMENT;
	packet->is_fragment = true;
	packet->more = ip->more;
	packet->fragment_id = ip->id;
	packet->fragment_offset = ip->offset;
	packet->fragment_length = (uint32_t)length;
	return FINE;
}

/* ---- transport ---- */

bool flow_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_SCTP;
}

static bool is_icmp(const struct ip_view *ip)
{
	return ip->protocol == (ip->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* What must be in sight of it; with SCTP the first chunk's header. */
static size_t transport_min(const struct ip_view *ip)
{
	if (ip->protocol == IPPROTO_TCP)
		return 20;
	if (ip->protocol == IPPROTO_SCTP)
		return 16;
	return flow_has_ports(ip->protocol) || is_icmp(ip) ? 8 : 0;
}

/* A source port of 0 is a UDP sender that wants no answer. */
static bool set_ports(struct flow_key *key, uint16_t foreign, uint16_t local)
{
	key->foreign_port = foreign;
	key->local_port = local;
	return local != 0 && (foreign != 0 || key->protocol == IPPROTO_UDP ||
			      key->protocol == IPPROTO_UDPLITE);
}

static enum drop_reason crack_tcp(const uint8_t *tcp, size_t length,
				  const struct ip_view *ip, struct flow_packet *packet)
{
	size_t header_length = (size_t)(tcp[12] >> 4) * 4;
	uint8_t flags = tcp[13];

	if (header_length < 20)
		return DROP_BAD_PACKET;
	if (header_length > length)
		return too_short(ip);
	if (flags & TCP_SYN && flags & (TCP_FIN | TCP_RST))
		return DROP_BAD_PACKET;
	packet->kind = flags & TCP_SYN && !(flags & TCP_ACK) ? FLOW_OPENER : FLOW_SEGMENT;
	packet->ends = flags & (TCP_FIN | TCP_RST);
	return FINE;
}

/* UDP's length, UDP-Lite's coverage; they count fragments together. */
static enum drop_reason crack_udp(const uint8_t *udp, size_t length,
				  const struct ip_view *ip, struct flow_packet *packet)
{
	uint16_t covered = read_be16(udp + 4);
	bool covers_all = covered == 0 && ip->protocol == IPPROTO_UDPLITE;

	if (!covers_all && (covered < 8 || (!ip->is_fragment && covered > length)))
		return DROP_BAD_PACKET;
	packet->kind = FLOW_DATAGRAM;
	return FINE;
}

static enum drop_reason crack_sctp(const uint8_t *sctp, struct flow_packet *packet)
{
	uint8_t chunk = sctp[12];

	if (chunk == SCTP_INIT && read_be32(sctp + 4) != 0) /* its tag is 0 */
		return DROP_BAD_PACKET;
	packet->kind = chunk == SCTP_INIT ? FLOW_OPENER : FLOW_SEGMENT;
	packet->ends = chunk == SCTP_ABORT || chunk == SCTP_SHUTDOWN_COMPLETE;
	return FINE;
}

static bool is_icmp_error(const struct ip_view *ip, uint8_t type)
{
	if (ip->version == 6)
		return type < 128;
	return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH ||
	       type == ICMP_REDIRECT || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

static bool is_icmp_question(const struct ip_view *ip, uint8_t type)
{
	if (ip->version == 6)
		return type == ICMP6_ECHO_REQUEST || type == ICMPV6_EXT_ECHO_REQUEST;
	return type == ICMP_ECHO || type == ICMP_TIMESTAMP || type == ICMP_EXT_ECHO;
}

static bool is_icmp_neighbour(const struct ip_view *ip, uint8_t type)
{
	return ip->version == 6 && type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT;
}

/* The key of what is quoted: a packet that the address sent, read from outside. */
static enum drop_reason crack_quoted(const struct view *view,
				     const struct ip_view *quoted,
				     struct flow_packet *packet)
{
	const uint8_t *header = view->head + view->at;
	struct flow_key *key = &packet->key;

	if (quoted->offset || !in_sight(view, QUOTED_MIN) ||
	    memcmp(quoted->source, key->local, FLOW_ADDRESS_LEN) != 0 ||
	    !is_foreign(quoted->destination))
		return DROP_BAD_PACKET;
	if (is_icmp(quoted)) {
		packet->kind = FLOW_REPLY;
		return is_icmp_error(quoted, header[0]) ? DROP_BAD_PACKET : FINE;
	}
	packet->kind = FLOW_ERROR;
	key->protocol = quoted->protocol;
	memcpy(key->foreign, quoted->destination, FLOW_ADDRESS_LEN);
	if (flow_has_ports(quoted->protocol) &&
	    !set_ports(key, read_be16(header + 2), read_be16(header)))
		return DROP_BAD_PACKET;
	return FINE;
}

static enum drop_reason crack_icmp_error(const struct view *view,
					 const struct ip_view *ip,
					 struct flow_packet *packet)
{
	struct view quote = *view;
	struct ip_view quoted;

	if (ip->is_fragment)
		return DROP_BAD_FRAGMENT;
	quote.at += 8;
	quote.is_quoted = true;
	if (read_ip(&quote, ip->version, &quoted) != FINE)
		return DROP_BAD_PACKET;
	return crack_quoted(&quote, &quoted, packet);
}

static enum drop_reason crack_icmp(const struct view *view, const struct ip_view *ip,
				   struct flow_packet *packet)
{
	uint8_t type = view->head[view->at];

	if (is_icmp_error(ip, type))
		return crack_icmp_error(view, ip, packet);
	if (is_icmp_neighbour(ip, type))
		return DROP_GLOBAL_NEIGH;
	packet->kind = is_icmp_question(ip, type) ? FLOW_ECHO : FLOW_REPLY;
	return FINE;
}

static enum drop_reason crack_transport(const struct view *view, const struct ip_view *ip,
					struct flow_packet *packet)
{
	const uint8_t *header = view->head + view->at;
	size_t length = view->end - view->at;

	if (!in_sight(view, transport_min(ip)))
		return too_short(ip);
	packet->l4 = (uint16_t)view->at;
	if (is_icmp(ip))
		return crack_icmp(view, ip, packet);
	if (flow_has_ports(ip->protocol) &&
	    !set_ports(&packet->key, read_be16(header), read_be16(header + 2)))
		return DROP_BAD_PACKET;
	switch (ip->protocol) {
	case IPPROTO_TCP:
		return crack_tcp(header, length, ip, packet);
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return crack_udp(header, length, ip, packet);
	case IPPROTO_SCTP:
		return crack_sctp(header, packet);
	default:
		packet->kind = FLOW_PAIR;
		return FINE;
	}
}

static bool is_land(const struct flow_packet *packet)
{
	const struct flow_key *key = &packet->key;

	return packet->kind != FLOW_ECHO && packet->kind != FLOW_REPLY &&
	       packet->kind != FLOW_FRAGMENT && key->foreign_port == key->local_port &&
	       memcmp(key->foreign, key->local, FLOW_ADDRESS_LEN) == 0;
}

static enum drop_reason crack(struct view *view, struct flow_packet *packet)
{
	uint8_t version = ip_version(read_ethernet(view));
	enum drop_reason reason;
	struct ip_view ip;

	packet->l3 = (uint16_t)view->at;
	reason = read_ip(view, version, &ip);
	if (reason != FINE)
		return reason;
	if (!is_foreign(ip.source))
		return DROP_BAD_PACKET;
	memcpy(packet->key.foreign, ip.source, FLOW_ADDRESS_LEN);
	memcpy(packet->key.local, ip.destination, FLOW_ADDRESS_LEN);
	packet->key.protocol = ip.protocol;
	if (ip.is_fragment)
		reason = read_fragment(view, &ip, packet);
	if (reason != FINE)
		return reason;
	packet->kind = FLOW_FRAGMENT;
	if (!ip.offset)
		reason = crack_transport(view, &ip, packet);
	return reason == FINE && is_land(packet) ? DROP_BAD_PACKET : reason;
}

static struct view view_make(const uint8_t *head, size_t head_length, size_t frame_length)
{
	return (struct view){
		.head = head,
		.sight = min_size(min_size(head_length, frame_length), FRAME_HEAD_MAX),
		.end = frame_length,
	};
}

enum drop_reason flow_crack(const uint8_t *head, size_t head_length, size_t frame_length,
			    struct flow_packet *ret)
{
	struct view view = view_make(head, head_length, frame_length);
	struct flow_packet packet = {0};
	enum drop_reason reason = crack(&view, &packet);

	if (reason == FINE)
		*ret = packet;
	return reason;
}

/* ---- at a glance ---- */

bool flow_destination(const uint8_t *head, size_t head_length,
		      uint8_t ret_address[FLOW_ADDRESS_LEN])
{
	struct view view = view_make(head, head_length, head_length);
	struct ip_view ip = {.version = ip_version(read_ethernet(&view))};

	if (ip.version == 0 ||
	    !in_sight(&view, ip.version == 4 ? IPV4_HLEN_MIN : IPV6_HLEN) ||
	    head[view.at] >> 4 != ip.version || !read_addresses(&view, &ip))
		return false;
	memcpy(ret_address, ip.destination, FLOW_ADDRESS_LEN);
	return true;
}

static bool is_arp_about(const struct view *view, const uint8_t *address)
{
	const uint8_t *arp = view->head + view->at;

	return in_sight(view, ARP_LEN) && flow_address_is_ipv4(address) &&
	       read_be16(arp + 2) == ETHERTYPE_IPV4 && arp[4] == SHMNET_ETH_ALEN &&
	       arp[5] == 4 &&
	       (memcmp(arp + 14, address + 12, 4) == 0 ||
		memcmp(arp + 24, address + 12, 4) == 0);
}

static bool is_discovery_about(struct view *view, const uint8_t *address)
{
	const uint8_t *icmp;
	struct ip_view ip;

	if (read_ip(view, 6, &ip) != FINE || ip.offset || !is_icmp(&ip) ||
	    !in_sight(view, 8 + FLOW_ADDRESS_LEN))
		return false;
	icmp = view->head + view->at;
	return (icmp[0] == ND_NEIGHBOR_SOLICIT || icmp[0] == ND_NEIGHBOR_ADVERT) &&
	       memcmp(icmp + 8, address, FLOW_ADDRESS_LEN) == 0;
}

bool flow_is_neighbour(const uint8_t *head, size_t head_length,
		       const uint8_t address[FLOW_ADDRESS_LEN])
{
	struct view view = view_make(head, head_length, SHMNET_FRAME_MAX);
	uint16_t type = read_ethernet(&view);

	if (type == ETHERTYPE_ARP)
		return is_arp_about(&view, address);
	return type == ETHERTYPE_IPV6 && is_discovery_about(&view, address);
}

/* ---- hashes ---- */

static uint64_t rotate(uint64_t word, int bits)
{
	return word << bits | word >> (64 - bits);
}

/* Asked for per packet: its state belongs in registers. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

ALWAYS_INLINE void sip_add(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
}

static uint64_t read_le64(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return le64toh(word);
}

uint64_t flow_hash(const struct flow_key *key, const struct flow_secret *secret)
{
	uint64_t v[4] = {
		secret->word[0] ^ 0x736f6d6570736575ull,
		secret->word[1] ^ 0x646f72616e646f6dull,
		secret->word[0] ^ 0x6c7967656e657261ull,
		secret->word[1] ^ 0x7465646279746573ull,
	};

	sip_add(v, read_le64(key->foreign));
	sip_add(v, read_le64(key->foreign + 8));
	sip_add(v, read_le64(key->local));
	sip_add(v, read_le64(key->local + 8));
	sip_add(v, (uint64_t)key->protocol << 32 | (uint64_t)key->local_port << 16 |
			   key->foreign_port);
	sip_add(v, (uint64_t)sizeof(*key) << 56);
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/*
 * -log2 of a number in (0, 1], of which the hash is what follows the point; with 32
 * bits behind the point. The logarithm's bits come from squaring a number of [1, 2).
 */
static uint64_t minus_log2(uint64_t hash)
{
	int zeros = __builtin_clzll(hash | 1);
	uint64_t mantissa = (hash | 1) << zeros >> 32;
	uint64_t log = 0;

	for (int i = 0; i < 32; i++) {
		mantissa = mantissa * mantissa >> 31;
		log = log << 1 | mantissa >> 32;
		mantissa >>= mantissa >> 32;
	}
	return ((uint64_t)(zeros + 1) << 32) - log;
}

/*
 * The least of -log(random) / weight has the flow. That quotient is distributed as the
 * time to the first event of a process of this rate, so a node is first in proportion
 * to its weight.
 */
uint64_t flow_score(const struct flow_key *key, uint16_t node_id, uint32_t weight)
{
	const struct flow_secret not_secret = {{node_id, 0x73686d6e65742d31ull}};

	if (weight == 0)
		return 0;
	return UINT64_MAX - (minus_log2(flow_hash(key, &not_secret)) << 24) / weight;
}

/* ---- text ---- */

static const char *protocol_text(uint8_t protocol, char text[16])
{
	switch (protocol) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_UDPLITE:
		return "udplite";
	case IPPROTO_SCTP:
		return "sctp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "icmpv6";
	default:
		snprintf(text, 16, "protocol %u", protocol);
		return text;
	}
}

_Static_assert(FLOW_END_MAX == INET6_ADDRSTRLEN + sizeof("[]:65535"), "just room");

const char *flow_end_text(const uint8_t address[FLOW_ADDRESS_LEN], uint16_t port,
			  bool has_port, char text[FLOW_END_MAX])
{
	bool is_ipv4 = flow_address_is_ipv4(address);
	char words[INET6_ADDRSTRLEN];

	if (is_ipv4)
		inet_ntop(AF_INET, address + 12, words, sizeof(words));
	else
		inet_ntop(AF_INET6, address, words, sizeof(words));
	if (!has_port)
		snprintf(text, FLOW_END_MAX, "%s", words);
	else
		snprintf(text, FLOW_END_MAX, is_ipv4 ? "%s:%u" : "[%s]:%u", words, port);
	return text;
}

const char *flow_key_text(const struct flow_key *key, char text[FLOW_TEXT_MAX])
{
	bool has_ports = flow_has_ports(key->protocol);
	char foreign[FLOW_END_MAX], local[FLOW_END_MAX];
	char protocol[16];

	flow_end_text(key->foreign, key->foreign_port, has_ports, foreign);
	flow_end_text(key->local, key->local_port, has_ports, local);
	snprintf(text, FLOW_TEXT_MAX, "%s %s > %s",
		 protocol_text(key->protocol, protocol), foreign, local);
	return text;
}
