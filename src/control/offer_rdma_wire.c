/* See offer_rdma_wire.h. All numbers are big-endian. */
#include "control/offer_rdma_wire.h"

#include "control/tls.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define BELL_VERSION 1

struct bell_bytes {
	uint8_t version;
	uint8_t zero;
	uint16_t port;
	uint32_t qp_number;
	uint8_t gid[16];
	uint8_t nonce[RDMA_NONCE_BYTES];
	uint64_t link_id;
};

struct ring_bytes {
	uint32_t index;
	uint32_t rkey;
	uint64_t size;
};

struct proof_bytes {
	uint64_t link_id; /* of whom it is sent to */
	uint8_t mac[TLS_KEY_BYTES];
};

/* What the MAC is of. */
struct proved {
	char label[16];
	uint8_t asks[RDMA_BELL_BYTES];
	uint8_t answers[RDMA_BELL_BYTES];
};

_Static_assert(sizeof(struct bell_bytes) == RDMA_BELL_BYTES, "no padding");
_Static_assert(sizeof(struct ring_bytes) == RDMA_RING_BYTES, "no padding");
_Static_assert(sizeof(struct proof_bytes) == RDMA_PROOF_BYTES, "no padding");

void rdma_bell_encode(const struct rdma_bell *bell, uint8_t ret[RDMA_BELL_BYTES])
{
	struct bell_bytes bytes = {
		.version = BELL_VERSION,
		.port = htobe16(bell->port),
		.qp_number = htobe32(bell->qp_number),
		.link_id = htobe64(bell->link_id),
	};

	memcpy(bytes.gid, bell->gid, sizeof(bytes.gid));
	memcpy(bytes.nonce, bell->nonce, sizeof(bytes.nonce));
	memcpy(ret, &bytes, sizeof(bytes));
}

/* Of one node: not ::, ::1, 0.0.0.0, nor multicast. */
static bool gid_is_valid(const uint8_t gid[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t low[15];

	if (memcmp(gid, mapped, sizeof(mapped)) == 0)
		return gid[12] != 0 && gid[12] < 224;
	return gid[0] != 0xff && memcmp(gid, low, sizeof(low)) != 0;
}

int rdma_bell_decode(const uint8_t *from, size_t length, struct rdma_bell *ret_bell,
		     const char **ret_why)
{
	struct bell_bytes bytes;

	*ret_why = "it is not of a queue pair";
	if (length != sizeof(bytes))
		return -EPROTO;
	memcpy(&bytes, from, sizeof(bytes));
	if (bytes.version != BELL_VERSION || bytes.zero)
		return -EPROTO;
	*ret_why = "its GID is of no node";
	if (!gid_is_valid(bytes.gid) || !bytes.port)
		return -EPROTO;
	*ret_why = "its queue pair or its link has no number";
	if (!bytes.qp_number || be32toh(bytes.qp_number) >> 24 || !bytes.link_id)
		return -EPROTO;
	*ret_bell = (struct rdma_bell){
		.qp_number = be32toh(bytes.qp_number),
		.port = be16toh(bytes.port),
		.link_id = be64toh(bytes.link_id),
	};
	memcpy(ret_bell->gid, bytes.gid, sizeof(bytes.gid));
	memcpy(ret_bell->nonce, bytes.nonce, sizeof(bytes.nonce));
	return 0;
}

void rdma_ring_encode(const struct rdma_ring *ring, uint8_t ret[RDMA_RING_BYTES])
{
	const struct ring_bytes bytes = {
		.index = htobe32(ring->index),
		.rkey = htobe32(ring->rkey),
		.size = htobe64(ring->size),
	};

	memcpy(ret, &bytes, sizeof(bytes));
}

int rdma_ring_decode(const uint8_t *from, size_t length, uint64_t size,
		     struct rdma_ring *ret_ring, const char **ret_why)
{
	struct ring_bytes bytes;

	*ret_why = "it is not of registered memory";
	if (length != sizeof(bytes))
		return -EPROTO;
	memcpy(&bytes, from, sizeof(bytes));
	*ret_why = "its memory has another size than the ring";
	if (be64toh(bytes.size) != size)
		return -EPROTO;
	*ret_ring = (struct rdma_ring){
		.index = be32toh(bytes.index),
		.rkey = be32toh(bytes.rkey),
		.size = size,
	};
	return 0;
}

static int make_mac(const uint8_t *key, const struct rdma_pair *pair, enum rdma_role role,
		    uint8_t ret[TLS_KEY_BYTES])
{
	struct proved proved = {.label = "shmnet rdma ask"};

	if (role == RDMA_ANSWERS)
		memcpy(proved.label, "shmnet rdma say", sizeof(proved.label));
	rdma_bell_encode(pair->asks, proved.asks);
	rdma_bell_encode(pair->answers, proved.answers);
	return tls_hmac(key, &proved, sizeof(proved), ret);
}

int rdma_proof_make(const uint8_t *key, const struct rdma_pair *pair, enum rdma_role role,
		    uint8_t ret[RDMA_PROOF_BYTES])
{
	const struct rdma_bell *to = role == RDMA_ASKS ? pair->answers : pair->asks;
	struct proof_bytes bytes = {.link_id = htobe64(to->link_id)};
	int err = make_mac(key, pair, role, bytes.mac);

	if (err < 0)
		return err;
	memcpy(ret, &bytes, sizeof(bytes));
	return 0;
}

/* The wire pads private data with zeroes: it may be longer. */
bool rdma_proof_check(const uint8_t *key, const struct rdma_pair *pair,
		      enum rdma_role role, const uint8_t *data, size_t length)
{
	const struct rdma_bell *to = role == RDMA_ASKS ? pair->answers : pair->asks;
	struct proof_bytes bytes;
	uint8_t mac[TLS_KEY_BYTES];

	if (length < sizeof(bytes) || make_mac(key, pair, role, mac) < 0)
		return false;
	memcpy(&bytes, data, sizeof(bytes));
	return be64toh(bytes.link_id) == to->link_id && tls_hmac_is_equal(bytes.mac, mac);
}

uint64_t rdma_proof_link(const uint8_t *data, size_t length)
{
	struct proof_bytes bytes;

	if (length < sizeof(bytes))
		return 0;
	memcpy(&bytes, data, sizeof(bytes));
	return be64toh(bytes.link_id);
}
