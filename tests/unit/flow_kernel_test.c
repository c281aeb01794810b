/*
 * The kernel's reading: what base/flow takes is written to a TAP, in a network
 * namespace of its own, and what comes out of sockets must be of the flow that
 * flow_crack() named. Packets of all shapes, whole and then with bytes changed.
 *
 * Raw sockets tell which protocol, source and transport header the kernel found; UDP
 * sockets and the replies of TCP tell ports as the transports read them; error queues
 * tell what an ICMP error is about. A packet that flow_crack() refuses is not written:
 * there it is the stricter one, on purpose. One that it takes and the kernel drops is
 * harmless (see base/flow.h); what does it is written down in kernel_drops().
 */
#include "base/flow.h"
#include "base/frame.h"
#include "data/fragments.h"
#include "data/tap.h"

#include "flow_shapes.h"
#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/ipv6.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/icmp6.h>
#include <stdlib.h>
#include <sys/uio.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define PORT	   80
#define FRAMES	   60000
#define FRAME_ROOM 2048

static uint64_t random_state = 0x9e3779b97f4a7c15ull;

static size_t random_below(size_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % limit;
}

static unsigned get_be16(const uint8_t *bytes)
{
	return (unsigned)(bytes[0] << 8 | bytes[1]);
}

static void put_be16(uint8_t *bytes, size_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

/* ---- a host with the global addresses ---- */

static const struct {
	int family;
	int protocol;
} raws[] = {
	{AF_INET, IPPROTO_ICMP},     {AF_INET, IPPROTO_TCP},	 {AF_INET, IPPROTO_UDP},
	{AF_INET, IPPROTO_UDPLITE},  {AF_INET, IPPROTO_SCTP},	 {AF_INET, IPPROTO_GRE},
	{AF_INET, IPPROTO_AH},	     {AF_INET6, IPPROTO_TCP},	 {AF_INET6, IPPROTO_UDP},
	{AF_INET6, IPPROTO_UDPLITE}, {AF_INET6, IPPROTO_SCTP},	 {AF_INET6, IPPROTO_GRE},
	{AF_INET6, IPPROTO_AH},	     {AF_INET6, IPPROTO_ICMPV6},
};

struct lab {
	struct tap tap;
	int raw[COUNT(raws)];
	int udp[2]; /* IPv4, IPv6 */
};

static bool write_setting(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Martians and ICMP limits would hide what was read. */
static void set_up_settings(void)
{
	CHECK(write_setting("/proc/sys/net/ipv4/conf/all/rp_filter", "0"));
	CHECK(write_setting("/proc/sys/net/ipv4/conf/fl0/rp_filter", "0"));
	CHECK(write_setting("/proc/sys/net/ipv4/conf/fl0/accept_local", "1"));
	CHECK(write_setting("/proc/sys/net/ipv4/ipfrag_high_thresh", "67108864"));
	CHECK(write_setting("/proc/sys/net/ipv6/ip6frag_high_thresh", "67108864"));
}

static void set_up_ipv4(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	struct sockaddr_in any = address;
	struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = (char *)"fl0"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	inet_pton(AF_INET, "10.99.0.1", &address.sin_addr);
	memcpy(&ifr.ifr_addr, &address, sizeof(address));
	CHECK_INT(change_interface("fl0", SIOCSIFADDR, &ifr), 0);
	address.sin_addr.s_addr = INADDR_BROADCAST;
	memcpy(&ifr.ifr_netmask, &address, sizeof(address));
	CHECK_INT(change_interface("fl0", SIOCSIFNETMASK, &ifr), 0);
	memcpy(&route.rt_dst, &any, sizeof(any));
	memcpy(&route.rt_genmask, &any, sizeof(any));
	CHECK_INT(ioctl(fd, SIOCADDRT, &route), 0);
	close(fd);
}

static void set_up_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	unsigned ifindex = if_nametoindex("fl0");
	struct in6_ifreq address = {.ifr6_prefixlen = 128, .ifr6_ifindex = (int)ifindex};
	struct in6_rtmsg route = {
		.rtmsg_flags = RTF_UP, .rtmsg_metric = 1, .rtmsg_ifindex = (int)ifindex};

	inet_pton(AF_INET6, "fd99::1", &address.ifr6_addr);
	CHECK_INT(ioctl(fd, SIOCSIFADDR, &address), 0);
	CHECK_INT(ioctl(fd, SIOCADDRT, &route), 0);
	close(fd);
}

/* The interface knows no neighbours: everything leaves by it as it is. */
static void set_up_tap(struct tap *tap)
{
	struct ifreq address = {.ifr_hwaddr = {.sa_family = ARPHRD_ETHER}};
	struct ifreq ifr = {.ifr_flags = IFF_UP | IFF_NOARP};
	enum tap_error why;

	REQUIRE(tap_open(tap, "fl0", 1, TAP_CREATE, &why) == 0);
	CHECK_INT(tap_set_carrier(tap, true), 0);
	set_up_settings();
	shape_decode("025312340002", (uint8_t *)address.ifr_hwaddr.sa_data);
	CHECK_INT(change_interface("fl0", SIOCSIFHWADDR, &address), 0);
	CHECK_INT(change_interface("fl0", SIOCSIFFLAGS, &ifr), 0);
	set_up_ipv4();
	set_up_ipv6();
}

/* On PORT; IPv6 addresses become usable a moment after they were set. */
static int open_bound(int family, int tries)
{
	const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
	if (family == AF_INET) {
		CHECK_INT(bind(fd, (const struct sockaddr *)&v4, sizeof(v4)), 0);
		return fd;
	}
	inet_pton(AF_INET6, "fd99::1", &v6.sin6_addr);
	while (bind(fd, (const struct sockaddr *)&v6, sizeof(v6)) < 0) {
		if (!CHECK(errno == EADDRNOTAVAIL && tries-- > 0))
			break;
		poll(NULL, 0, 1);
	}
	return fd;
}

static void lab_open(struct lab *lab)
{
	set_up_tap(&lab->tap);
	if (test_failed())
		return;
	lab->udp[0] = open_bound(AF_INET, 0);
	lab->udp[1] = open_bound(AF_INET6, 5000);
	for (unsigned i = 0; i < COUNT(raws); i++) {
		lab->raw[i] =
			socket(raws[i].family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
			       raws[i].protocol);
		CHECK(lab->raw[i] >= 0);
	}
}

static void lab_close(struct lab *lab)
{
	for (unsigned i = 0; i < COUNT(raws); i++)
		close(lab->raw[i]);
	close(lab->udp[0]);
	close(lab->udp[1]);
	tap_close(&lab->tap);
}

/* ---- what the kernel read ---- */

/* Of the last frame; written and looked at by one thread, within write(2). */
struct seen {
	bool raw; /* a raw socket got it: */
	uint8_t raw_protocol;
	uint8_t raw_source[FLOW_ADDRESS_LEN];
	uint8_t raw_bytes[FRAME_ROOM]; /* from the transport header on */
	size_t raw_length;
	bool flow; /* a transport got it: */
	struct flow_key key;
};

static void read_name(const struct sockaddr_storage *name,
		      uint8_t address[FLOW_ADDRESS_LEN], uint16_t *ret_port)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)name;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)name;

	if (name->ss_family == AF_INET) {
		flow_address_map_ipv4(address, &v4->sin_addr);
		*ret_port = ntohs(v4->sin_port);
	} else {
		memcpy(address, &v6->sin6_addr, FLOW_ADDRESS_LEN);
		*ret_port = ntohs(v6->sin6_port);
	}
}

static void see_raw(const struct lab *lab, struct seen *seen)
{
	for (unsigned i = 0; i < COUNT(raws); i++) {
		struct sockaddr_storage name = {0};
		socklen_t size = sizeof(name);
		ssize_t n = recvfrom(lab->raw[i], seen->raw_bytes, FRAME_ROOM, 0,
				     (struct sockaddr *)&name, &size);
		uint16_t protocol;

		if (n < 0)
			continue;
		CHECK(!seen->raw);
		seen->raw = true;
		seen->raw_protocol = (uint8_t)raws[i].protocol;
		seen->raw_length = (size_t)n;
		read_name(&name, seen->raw_source, &protocol);
		if (raws[i].family == AF_INET) {
			size_t header = (size_t)(seen->raw_bytes[0] & 0xf) * 4;

			seen->raw_length -= header;
			memmove(seen->raw_bytes, seen->raw_bytes + header,
				seen->raw_length);
		}
		i--; /* once more */
		if (test_failed())
			return;
	}
}

static void see_flow(struct seen *seen, const struct flow_key *key)
{
	CHECK(!seen->flow);
	seen->flow = true;
	seen->key = *key;
}

static void see_udp(const struct lab *lab, struct seen *seen)
{
	for (int i = 0; i < 4; i++) {
		struct flow_key key = {.local_port = PORT, .protocol = IPPROTO_UDP};
		struct sockaddr_storage name = {0};
		struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof(name)};

		if (recvmsg(lab->udp[i / 2], &message, i % 2 ? MSG_ERRQUEUE : 0) < 0)
			continue;
		read_name(&name, key.foreign, &key.foreign_port);
		see_flow(seen, &key);
	}
}

/* Read from its replies: plain headers that it made itself. */
static void see_tcp(const struct lab *lab, struct seen *seen)
{
	uint8_t bytes[FRAME_ROOM], *frame = bytes + SHMNET_VNET_HLEN;

	while (read(lab->tap.queues[0], bytes, sizeof(bytes)) > 0) {
		bool is_ipv4 = frame[12] == 0x08 && frame[13] == 0x00;
		const uint8_t *tcp = frame + 14 + (is_ipv4 ? 20 : 40);
		struct flow_key key = {.protocol = IPPROTO_TCP};

		if (frame[14 + (is_ipv4 ? 9 : 6)] != IPPROTO_TCP)
			continue;
		if (is_ipv4)
			flow_address_map_ipv4(key.foreign, frame + 14 + 16);
		else
			memcpy(key.foreign, frame + 14 + 24, FLOW_ADDRESS_LEN);
		key.local_port = (uint16_t)get_be16(tcp);
		key.foreign_port = (uint16_t)get_be16(tcp + 2);
		see_flow(seen, &key);
	}
}

/*
 * Checksums are said to be missing and due at the last two bytes, behind whatever
 * header the kernel finds: so it trusts them all, and nothing here has to know which
 * ones there are.
 */
static struct frame_vnet trusted(const uint8_t *frame)
{
	size_t end = get_be16(frame + 12) == 0x0800
			     ? 14 + get_be16(frame + 16)
			     : 14 + 40 + (size_t)get_be16(frame + 18);

	return (struct frame_vnet){.flags = FRAME_NEEDS_CSUM,
				   .csum_start = (uint16_t)(end - 2)};
}

static bool write_frame(const struct lab *lab, uint8_t *frame, size_t length)
{
	struct frame_vnet vnet = trusted(frame);
	const struct iovec iov[2] = {{&vnet, sizeof(vnet)}, {frame, length}};

	return writev(lab->tap.queues[0], iov, 2) > 0;
}

static void show(const struct lab *lab, uint8_t *frame, size_t length, struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	CHECK(write_frame(lab, frame, length));
	see_raw(lab, seen);
	see_udp(lab, seen);
	see_tcp(lab, seen);
}

/* ---- packets ---- */

#define DATA "0102030405060708"

/* All of which reach a socket as they are. */
static const char *const shapes[] = {
	V4("06") SYN DATA,
	V4("06") ACK_ DATA,
	V4("06") TCP_OF(PORTS, "7", "12") ZERO8 DATA,
	V4("11") UDP_OF(PORTS, "0010") DATA,
	V4("88") UDP8 DATA,
	V4("84") INIT DATA,
	V4("2f") "ffff0000" DATA,
	V4("33") "06040000" DATA SYN,
	V4("01") ICMP_OF("08") DATA,
	V4("01") ICMP_OF("00") DATA,
	V4_OPTIONS("6", "06") "01010101" SYN DATA,
	V4_OPTIONS("8", "11") "0101010107080400"
			      "00000000" UDP_OF(PORTS, "0010") DATA,
	V4_FRAG("4000", "11") UDP_OF(PORTS, "0010") DATA,
	V4("01") ICMP_OF("03") BACK4("0000", "11") PORTS_BACK DATA,
	V4("01") ICMP_OF("0b") BACK4("2000", "11") PORTS_BACK DATA,
	V4("01") ICMP_OF("03") HEAD4("7", "0000", "11", GLOBAL4,
				     CLIENT4) "0101010101010101" PORTS_BACK DATA,
	V4("01") ICMP_OF("03") BACK4("0000", "06") PORTS_BACK DATA,
	V4("01") ICMP_OF("03") BACK4("0000", "01") ICMP_OF("08") DATA,
	V6("06") SYN DATA,
	V6("06") ACK_ DATA,
	V6("11") UDP_OF(PORTS, "0010") DATA,
	V6("88") UDP8 DATA,
	V6("84") INIT DATA,
	V6("2f") "ffff0000" DATA,
	V6("33") "06040000" DATA SYN,
	V6("3a") ICMP_OF("80") DATA,
	V6("3a") ICMP_OF("81") DATA,
	V6("00") "0600010400000000" SYN DATA,
	V6("3c") "11011e0c00000000" ZERO8 UDP_OF(PORTS, "0010") DATA,
	V6("00") "3c00010400000000"
		 "2b00010400000000"
		 "1102000000000000" ZERO8 ZERO8 UDP_OF(PORTS, "0010") DATA,
	V6("2c") FRAG6("06", "0000") SYN DATA,
	V6("3c") "2c00010400000000" FRAG6("3c", "0000") "1100010400000000" UDP_OF(
		PORTS, "0010") DATA,
	V6("3a") ICMP_OF("01") BACK6("11") PORTS_BACK DATA,
	V6("3a") ICMP_OF("02") BACK6("2c") FRAG6("11", "0001") PORTS_BACK DATA,
	V6("3a") ICMP_OF("03") BACK6("00") "3c00010400000000"
					   "1100010400000000" PORTS_BACK DATA,
	V6("3a") ICMP_OF("03") BACK6("33") "11010000" ZERO8 PORTS_BACK DATA,
	V6("3a") ICMP_OF("01") BACK6("06") PORTS_BACK DATA,
	V6("3a") ICMP_OF("01") BACK6("3a") ICMP_OF("80") DATA,
};

static uint16_t checksum4(const uint8_t *ip)
{
	return frame_checksum(ip, (size_t)(ip[0] & 0xf) * 4);
}

static void finish_ipv4(uint8_t *frame)
{
	if (get_be16(frame + 12) != 0x0800)
		return;
	put_be16(frame + 14 + 10, 0);
	put_be16(frame + 14 + 10, checksum4(frame + 14));
}

/* Numbers that mean something somewhere in a header, and any other. */
static uint8_t random_byte(void)
{
	static const uint8_t telling[] = {0,  1,   2,  4,    5,	   6,	 8,    17,
					  43, 44,  50, 51,   58,   59,	 60,   132,
					  47, 136, 80, 0x45, 0x60, 0x20, 0xff, 0x80};

	return random_below(2) ? telling[random_below(sizeof(telling))]
			       : (uint8_t)random_below(256);
}

/* Anything but MAC addresses. */
static size_t make_frame(unsigned i, uint8_t *frame, size_t changes)
{
	size_t length = flow_shape_decode(shapes[i], frame);

	memset(frame + length, 0, FRAME_ROOM - length);
	while (changes--)
		frame[14 + random_below(length - 14)] = random_byte();
	finish_ipv4(frame);
	return length + (random_below(4) ? 0 : random_below(20));
}

static bool is_for_us(const uint8_t *frame, size_t length)
{
	uint8_t address[FLOW_ADDRESS_LEN], v4[FLOW_ADDRESS_LEN], v6[FLOW_ADDRESS_LEN];

	shape_decode("00000000000000000000ffff" GLOBAL4, v4);
	shape_decode(GLOBAL6, v6);
	return flow_destination(frame, length, address) &&
	       (memcmp(address, v4, sizeof(v4)) == 0 ||
		memcmp(address, v6, sizeof(v6)) == 0);
}

static enum drop_reason crack(const uint8_t *frame, size_t length,
			      struct flow_packet *packet)
{
	return flow_crack(frame, length < FRAME_HEAD_MAX ? length : FRAME_HEAD_MAX,
			  length, packet);
}

static bool is_icmp_kind(const struct flow_packet *packet)
{
	return packet->kind == FLOW_ERROR || packet->kind == FLOW_ECHO ||
	       packet->kind == FLOW_REPLY;
}

static void compare_raw(const uint8_t *frame, const struct flow_packet *packet,
			const struct seen *seen)
{
	uint8_t protocol = packet->key.protocol;

	if (is_icmp_kind(packet))
		protocol = flow_address_is_ipv4(packet->key.local) ? IPPROTO_ICMP
								   : IPPROTO_ICMPV6;
	CHECK_INT(seen->raw_protocol, protocol);
	CHECK_MEM(seen->raw_bytes, frame + packet->l4,
		  seen->raw_length < 24 ? seen->raw_length : 24);
	if (packet->kind != FLOW_ERROR)
		CHECK_MEM(seen->raw_source, packet->key.foreign, FLOW_ADDRESS_LEN);
	if (flow_has_ports(protocol)) {
		CHECK_INT(get_be16(seen->raw_bytes), packet->key.foreign_port);
		CHECK_INT(get_be16(seen->raw_bytes + 2), packet->key.local_port);
	}
}

static void compare_flow(const struct flow_packet *packet, const struct seen *seen)
{
	CHECK_INT(seen->key.protocol, packet->key.protocol);
	CHECK_INT(seen->key.foreign_port, packet->key.foreign_port);
	CHECK_INT(seen->key.local_port, packet->key.local_port);
	CHECK_MEM(seen->key.foreign, packet->key.foreign, FLOW_ADDRESS_LEN);
}

/*
 * What passes here and need not there: options, which Linux reads one by one, in IPv6
 * also the padding; and protocols that no socket is open for.
 */
static bool kernel_drops(const struct flow_packet *packet)
{
	bool is_ipv4 = flow_address_is_ipv4(packet->key.local);

	return packet->l4 - packet->l3 > (is_ipv4 ? 20 : 40) || packet->kind == FLOW_PAIR;
}

struct tally {
	unsigned raw, flow, dropped;
};

static void compare(const struct lab *lab, uint8_t *frame, size_t length, bool is_whole,
		    struct tally *tally)
{
	struct flow_packet packet;
	static struct seen seen;

	if (!is_for_us(frame, length) || crack(frame, length, &packet) != DROP_NUM_ ||
	    packet.is_fragment) {
		CHECK(!is_whole);
		return;
	}
	show(lab, frame, length, &seen);
	if (seen.raw)
		compare_raw(frame, &packet, &seen);
	else
		CHECK(!is_whole && kernel_drops(&packet));
	if (seen.flow)
		compare_flow(&packet, &seen);
	tally->raw += seen.raw;
	tally->flow += seen.flow;
	tally->dropped += !seen.raw;
}

static void report(const uint8_t *frame, size_t length)
{
	char text[2 * FRAME_HEAD_MAX + 1] = "";

	for (size_t i = 0; i < length && i < FRAME_HEAD_MAX; i++)
		snprintf(text + 2 * i, 3, "%02x", frame[i]);
	CHECK_STR(text, "another one than this");
}

TEST_CASE(flow_kernel, reads_what_we_read)
{
	static uint8_t frame[FRAME_ROOM];
	const char *why_not = netns_enter_for_tap();
	struct tally tally = {0};
	struct lab lab;

	if (why_not)
		TEST_SKIP(why_not);
	lab_open(&lab);
	for (unsigned i = 0; i < FRAMES && !test_failed(); i++) {
		bool is_whole = i < COUNT(shapes);
		size_t length = make_frame(i % COUNT(shapes), frame,
					   is_whole ? 0 : random_below(4));

		compare(&lab, frame, length, is_whole, &tally);
		if (test_failed())
			report(frame, length);
	}
	CHECK(tally.raw > FRAMES / 2 && tally.flow > FRAMES / 5);
	CHECK(tally.dropped < FRAMES / 20);
	lab_close(&lab);
}

/* ---- fragments ---- */

#define ROUNDS	     1500 /* of either version */
#define PORT_ELSE    81	  /* of a flow that another node has */
#define DATAGRAM_MAX 1400
#define PIECES_MAX   32

struct piece {
	uint8_t frame[FRAME_ROOM];
	size_t length;
};

struct pile {
	struct piece pieces[PIECES_MAX];
	unsigned count;
};

static size_t make_datagram(uint8_t *udp, uint16_t port)
{
	size_t length = 16 + random_below(DATAGRAM_MAX - 16);

	put_be16(udp, 40112);
	put_be16(udp + 2, port);
	put_be16(udp + 4, length);
	put_be16(udp + 6, 0);
	for (size_t i = 8; i < length; i++)
		udp[i] = (uint8_t)(i * 7 + i / 256);
	return length;
}

static void make_piece(struct piece *piece, bool is_ipv4, unsigned id, size_t offset,
		       bool more)
{
	uint8_t *frame = piece->frame;

	if (is_ipv4) {
		piece->length = shape_decode(V4_FRAG("0000", "11"), frame);
		put_be16(frame + 14 + 4, id);
		put_be16(frame + 14 + 6, offset / 8 | (more ? 0x2000 : 0));
	} else {
		piece->length = shape_decode(V6("2c") FRAG6("11", "0000"), frame);
		put_be16(frame + 54 + 2, offset | more);
		put_be16(frame + 54 + 6, id);
	}
}

static void fill_piece(struct piece *piece, const uint8_t *bytes, size_t length)
{
	bool is_ipv4 = get_be16(piece->frame + 12) == 0x0800;

	memcpy(piece->frame + piece->length, bytes, length);
	piece->length += length;
	put_be16(piece->frame + (is_ipv4 ? 16 : 18), piece->length - (is_ipv4 ? 14 : 54));
	finish_ipv4(piece->frame);
}

static void cut(struct pile *pile, const uint8_t *udp, size_t length, bool is_ipv4,
		unsigned id)
{
	size_t most = 8 * (8 + random_below(length / 16 + 8)), n;

	for (size_t at = 0; at < length && pile->count < PIECES_MAX; at += n) {
		struct piece *piece = &pile->pieces[pile->count++];
		bool more;

		n = 8 * (1 + random_below(most / 8));
		more = at + n < length && pile->count < PIECES_MAX;
		if (!more)
			n = length - at;
		make_piece(piece, is_ipv4, id, at, more);
		fill_piece(piece, udp + at, n);
	}
}

static void shuffle(struct pile *pile)
{
	static struct piece spare;

	for (unsigned i = pile->count; i > 1; i--) {
		size_t other = random_below(i);

		spare = pile->pieces[i - 1];
		pile->pieces[i - 1] = pile->pieces[other];
		pile->pieces[other] = spare;
	}
}

/* The port that it is for, or -errno: -ENOENT if that is not known yet. */
static int port_of(struct fragments *fragments, const struct piece *piece,
		   uint64_t now_ns)
{
	const struct flow_packet *first;
	struct flow_packet packet;
	int ret;

	if (crack(piece->frame, piece->length, &packet) != DROP_NUM_)
		return -EINVAL;
	if (!packet.is_fragment)
		return packet.key.local_port;
	first = &packet;
	if (packet.kind == FLOW_FRAGMENT)
		ret = fragments_find(fragments, &packet, now_ns, &first);
	else
		ret = fragments_place(fragments, &packet, now_ns);
	return ret < 0 ? ret : first->key.local_port;
}

struct gate {
	struct lab lab;
	struct fragments fragments;
	struct seen seen;
	unsigned delivered;
};

/* As a node gets it, if the flow is that node's. */
static void deliver(struct gate *gate, struct piece *piece)
{
	struct frame_vnet vnet = {0};
	const struct iovec iov[2] = {{&vnet, sizeof(vnet)},
				     {piece->frame, piece->length}};

	gate->seen.raw = gate->seen.flow = false;
	CHECK(writev(gate->lab.tap.queues[0], iov, 2) > 0);
	see_raw(&gate->lab, &gate->seen);
	see_udp(&gate->lab, &gate->seen);
	see_tcp(&gate->lab, &gate->seen);
	if (!gate->seen.raw)
		return;
	gate->delivered++;
	CHECK_INT(gate->seen.raw_protocol, IPPROTO_UDP);
	CHECK_INT(get_be16(gate->seen.raw_bytes + 2), PORT);
}

/* In the order of the pile; who is not known yet waits until the others are through. */
static void pass(struct gate *gate, struct pile *pile, uint64_t now_ns)
{
	bool is_waiting[PIECES_MAX] = {false};

	for (unsigned i = 0; i < 2 * pile->count; i++) {
		unsigned at = i % pile->count;
		int port;

		if (i >= pile->count && !is_waiting[at])
			continue;
		port = port_of(&gate->fragments, &pile->pieces[at], now_ns);
		is_waiting[at] = port == -ENOENT;
		if (port == PORT)
			deliver(gate, &pile->pieces[at]);
	}
}

static void pass_one(struct gate *gate, bool is_ipv4, unsigned round, uint64_t now_ns)
{
	static uint8_t udp[DATAGRAM_MAX];
	static struct pile pile;
	unsigned before = gate->delivered;
	size_t length = make_datagram(udp, PORT);

	pile.count = 0;
	cut(&pile, udp, length, is_ipv4, round);
	shuffle(&pile);
	pass(gate, &pile, now_ns);
	CHECK_INT(gate->delivered, before + 1);
	CHECK_INT(gate->seen.raw_length, length);
	CHECK_MEM(gate->seen.raw_bytes, udp, length);
}

/* Fragments of two datagrams that say they are one: whatever comes of it is ours. */
static void pass_mixed(struct gate *gate, bool is_ipv4, unsigned round, uint64_t now_ns)
{
	static uint8_t udp[DATAGRAM_MAX];
	static struct pile pile;
	size_t length;

	pile.count = 0;
	for (int i = 0; i < 2; i++) {
		length = make_datagram(udp, random_below(2) ? PORT : PORT_ELSE);
		cut(&pile, udp, length, is_ipv4, round);
	}
	shuffle(&pile);
	pass(gate, &pile, now_ns);
}

TEST_CASE(flow_kernel, puts_together_what_is_of_one_flow)
{
	static struct gate gate;
	const char *why_not = netns_enter_for_tap();
	const struct flow_secret secret = {{1, 2}};

	if (why_not)
		TEST_SKIP(why_not);
	lab_open(&gate.lab);
	fragments_init(&gate.fragments, &secret);
	for (unsigned i = 0; i < 2 * ROUNDS && !test_failed(); i++) {
		if (i % 4 < 2)
			pass_one(&gate, i % 2, i + 1, 1 + i * NSEC_PER_MSEC);
		else
			pass_mixed(&gate, i % 2, i + 1, 1 + i * NSEC_PER_MSEC);
	}
	CHECK(gate.delivered > ROUNDS);
	lab_close(&gate.lab);
}
