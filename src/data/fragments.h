/*
 * Which flow the fragments of a datagram belong to: only the first one has ports.
 *
 * A bounded table of datagrams whose first fragment was seen, by addresses, id and, in
 * IPv4, protocol. Holds no fragments: those that come before their first are the
 * caller's to keep. Allocates nothing, never logs. One worker's.
 *
 * Nothing is put together here, so nobody can make this table and the owner's kernel
 * read a datagram differently: the kernel takes the ports from the fragment at offset
 * 0, all fragments of a datagram go where that one went, and a second one that says
 * something else spoils the datagram, there as here. What else is looked at costs
 * little and tells attacks from bad luck:
 *
 *     a later one that begins within the first, or ends behind the last      bad
 *     a last one elsewhere than the last one before                          bad
 *     more than FRAGMENTS_OF_ONE of a datagram                               bad
 *
 * Overlaps among the later ones are left to the kernel, which drops the datagram.
 *
 * A sender's ids repeat, after 65,536 datagrams in IPv4. So a datagram that has all its
 * bytes makes way for the next first one of that id; until that comes its later ones
 * still find the flow, since they might be repetitions. Repetitions count as bytes, too:
 * such a datagram is only finished earlier, and is not lost.
 */
#ifndef DATA_FRAGMENTS_H
#define DATA_FRAGMENTS_H

#include "base/clock.h"
#include "base/flow.h"

#define FRAGMENTS_PLACES     8 /* datagrams that share a hash */
#define FRAGMENTS_DATAGRAMS  1024
#define FRAGMENTS_TIMEOUT_NS (5 * NSEC_PER_SEC)

/* 65,535 bytes over a link of 576 make 119, and twice that if all come twice. */
#define FRAGMENTS_OF_ONE 512

struct fragments_datagram {
	struct flow_packet first;
	uint64_t since_ns; /* 0: a free place */
	uint32_t bytes;
	uint32_t reach; /* where the one that reached furthest ended */
	uint32_t end;	/* where the last one ends; 0: not seen */
	uint16_t count;
	bool is_bad;
};

struct fragments {
	struct flow_secret secret;
	struct fragments_datagram datagrams[FRAGMENTS_DATAGRAMS / FRAGMENTS_PLACES]
					   [FRAGMENTS_PLACES];
};

void fragments_init(struct fragments *fragments, const struct flow_secret *secret);

/*
 * A first fragment, as flow_crack() took it: later ones belong to its flow from now on.
 * If there is no place, that of a finished datagram is taken, or the oldest one. -EINVAL:
 * the datagram is bad, and so are the rest of it. `now_ns` is never 0.
 */
int fragments_place(struct fragments *fragments, const struct flow_packet *first,
		    uint64_t now_ns);

/*
 * The first fragment (key, kind) that this later one follows; valid until the next
 * call. -ENOENT: not seen yet; -EINVAL: the datagram is bad.
 */
int fragments_find(struct fragments *fragments, const struct flow_packet *later,
		   uint64_t now_ns, const struct flow_packet **ret_first);

#endif
