/*
 * Cracking a packet: which flow it belongs to, seen from a global address [46].
 *
 * Works on the first bytes of a frame in private memory and reads nothing beyond the
 * length it is given. No policy, no state, any thread.
 *
 * What is cracked here goes to the node that the key says, and is then read once more
 * by that node's kernel. The two must never read differently: whoever could make them
 * would talk to a node that the dispatcher chose for another flow. So what is taken
 * here is what Linux takes, and where Linux is generous (overlong extension headers,
 * source routes, ports in a second fragment) the packet is bad. The reverse is
 * harmless: a packet that passes here and that the kernel drops (wrong checksums, bad
 * options of IPv6) has cost a look-up. tests/unit/flow_kernel_test.c compares.
 *
 * Out of sight. Only FRAME_HEAD_MAX bytes are looked at. A packet whose transport
 * header (or, in an ICMP error, the quoted one) does not lie within them, or lies
 * behind more than FLOW_EXTENSIONS_MAX extension headers, is bad.
 *
 * Lengths. A frame may be longer than its IP packet (padding), never shorter, and no
 * byte of the padding is read. Super-frames have true lengths: kernels write a length
 * of 0 only beyond 65,535 bytes, which no TAP hands over.
 *
 * Extension headers of IPv6 are read through as Linux does: hop-by-hop options only as
 * the first, destination options, routing headers that have arrived, one fragment
 * header. An atomic fragment is a packet like any other. AH, ESP and whatever else has
 * no ports here make a FLOW_PAIR, in both versions; what an IPv6 error quotes is read
 * through AH, too, and is then about the flow within.
 */
#ifndef BASE_FLOW_H
#define BASE_FLOW_H

#include "base/drop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FLOW_ADDRESS_LEN    16
#define FLOW_EXTENSIONS_MAX 8

/*
 * An IPv4 address is ::ffff:a.b.c.d; an IPv6 packet that has such a one is no packet.
 * Without padding: compared by memcmp(), hashed as bytes.
 */
struct flow_key {
	uint8_t foreign[FLOW_ADDRESS_LEN];
	uint8_t local[FLOW_ADDRESS_LEN]; /* the global address */
	uint16_t foreign_port;		 /* host byte order; 0 without ports */
	uint16_t local_port;
	uint8_t protocol; /* IPPROTO_* */
	uint8_t zero[3];
};
_Static_assert(sizeof(struct flow_key) == 40, "no padding");

enum flow_kind {
	FLOW_OPENER,   /* TCP SYN without ACK, SCTP INIT: may go to a listener */
	FLOW_DATAGRAM, /* UDP, UDP-Lite: likewise */
	FLOW_SEGMENT,  /* of a connection: any other of TCP, SCTP */
	FLOW_ERROR,    /* of ICMP; the key is that of the flow it is about */
	FLOW_ECHO,     /* a question of ICMP: the node that has it answers */
	FLOW_REPLY, /* any other of ICMP, and an error about ICMP: who asked is unknown */
	FLOW_PAIR,  /* a protocol without ports: placed by addresses and protocol */
	FLOW_FRAGMENT, /* not the first of its datagram: ports unknown */
	FLOW_KIND_NUM_
};

struct flow_packet {
	struct flow_key key;
	enum flow_kind kind;
	bool ends;	  /* RST, FIN; ABORT, SHUTDOWN COMPLETE */
	bool is_fragment; /* the first or a later one */
	bool more;	  /* fragments behind it */
	uint32_t fragment_id;
	uint32_t fragment_offset; /* bytes */
	uint32_t fragment_length; /* bytes of the datagram in it */
	uint16_t l3;		  /* offset of the IP header in the frame */
	uint16_t l4;		  /* of the transport header; 0 for FLOW_FRAGMENT */
};

/*
 * `head` are the first `head_length` bytes of a frame of `frame_length` bytes, from
 * its Ethernet header on. DROP_NUM_ if it is an IP packet that has a flow, and *ret
 * is set; otherwise
 *
 *     DROP_BAD_PACKET    no IP; headers that contradict each other, the frame or the
 *                        rules (a source that is no unicast address, a land packet, a
 *                        source route, an error about a packet that the address never
 *                        sent); what matters is out of sight
 *     DROP_BAD_FRAGMENT  the first without the transport header, an empty one, one
 *                        with a length that is no multiple of 8 before others, one
 *                        that ends beyond 65,535; fragments of ICMP errors
 *     DROP_GLOBAL_NEIGH  neighbour and router discovery, which is of one link
 *
 * A land packet has source and destination in common, ports included: a node may talk
 * to its own global address from another port, ping it, and be told of an error.
 */
enum drop_reason flow_crack(const uint8_t *head, size_t head_length, size_t frame_length,
			    struct flow_packet *ret);

/* Where an IP packet goes to; false if it is none. Cheap, and checks nothing else. */
bool flow_destination(const uint8_t *head, size_t head_length,
		      uint8_t ret_address[FLOW_ADDRESS_LEN]);

/* ARP with this address as sender or target; NS and NA with it as target. */
bool flow_is_neighbour(const uint8_t *head, size_t head_length,
		       const uint8_t address[FLOW_ADDRESS_LEN]);

/* TCP, UDP, UDP-Lite, SCTP. */
bool flow_has_ports(uint8_t protocol);

/* From a process's own random source: who knows it can choose collisions. */
struct flow_secret {
	uint64_t word[2];
};

/* SipHash-1-3. */
uint64_t flow_hash(const struct flow_key *key, const struct flow_secret *secret);

/*
 * Rendezvous: the node with the highest score has the flow, of equal ones that with
 * the lowest id; a weight of 0 scores 0, which never wins. Each node gets flows in
 * proportion to its weight, and one that comes or goes moves only its own share. In
 * integers and without a secret: every node of every version gets the same.
 */
uint64_t flow_score(const struct flow_key *key, uint16_t node_id, uint32_t weight);

/* "198.51.100.7:40112", "[2001:db8::7]:443"; "2001:db8::7" if it `has_port` not */
#define FLOW_END_MAX 55
const char *flow_end_text(const uint8_t address[FLOW_ADDRESS_LEN], uint16_t port,
			  bool has_port, char text[FLOW_END_MAX]);

/* "tcp 198.51.100.7:40112 > 10.99.0.1:80", "icmpv6 2001:db8::7 > fd99::1" */
#define FLOW_TEXT_MAX 128
const char *flow_key_text(const struct flow_key *key, char text[FLOW_TEXT_MAX]);

static inline bool flow_address_is_ipv4(const uint8_t address[FLOW_ADDRESS_LEN])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(address, mapped, sizeof(mapped)) == 0;
}

/* From 4 bytes in network byte order. */
static inline void flow_address_map_ipv4(uint8_t address[FLOW_ADDRESS_LEN],
					 const void *ipv4)
{
	memset(address, 0, 10);
	memset(address + 10, 0xff, 2);
	memcpy(address + 12, ipv4, 4);
}

#endif
