/* What two nodes tell each other to connect by RDMA, and how they prove it. */
#include "control/offer_rdma_wire.h"

#include "shim.h"

#include <errno.h>
#include <string.h>

static struct rdma_bell bell_of(uint8_t last)
{
	return (struct rdma_bell){
		.qp_number = 0x1234 + last,
		.port = 7471,
		.gid = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = last},
		.nonce = {last, 1, 2, 3},
		.link_id = 0x1122334455667700u + last,
	};
}

TEST_CASE(offer_rdma_wire, a_bell_arrives)
{
	const struct rdma_bell bell = bell_of(7);
	uint8_t bytes[RDMA_BELL_BYTES];
	struct rdma_bell got;
	const char *why;

	rdma_bell_encode(&bell, bytes);
	CHECK_INT(rdma_bell_decode(bytes, sizeof(bytes), &got, &why), 0);
	CHECK_INT(got.qp_number, bell.qp_number);
	CHECK_INT(got.port, bell.port);
	CHECK_INT(got.link_id, bell.link_id);
	CHECK(memcmp(got.gid, bell.gid, sizeof(got.gid)) == 0);
	CHECK(memcmp(got.nonce, bell.nonce, sizeof(got.nonce)) == 0);
}

static const char *refusal(const struct rdma_bell *bell)
{
	uint8_t bytes[RDMA_BELL_BYTES];
	struct rdma_bell got;
	const char *why;

	rdma_bell_encode(bell, bytes);
	return rdma_bell_decode(bytes, sizeof(bytes), &got, &why) == -EPROTO ? why : "";
}

TEST_CASE(offer_rdma_wire, a_bell_of_nothing_is_refused)
{
	struct rdma_bell bell = bell_of(7);

	bell.qp_number = 0;
	CHECK_STR(refusal(&bell), "its queue pair or its link has no number");
	bell.qp_number = 1 << 24;
	CHECK_STR(refusal(&bell), "its queue pair or its link has no number");
	bell = bell_of(7);
	bell.link_id = 0;
	CHECK_STR(refusal(&bell), "its queue pair or its link has no number");
	bell = bell_of(7);
	bell.port = 0;
	CHECK_STR(refusal(&bell), "its GID is of no node");
	bell = bell_of(7);
	bell.gid[12] = 239;
	CHECK_STR(refusal(&bell), "its GID is of no node");
	bell.gid[12] = 0;
	CHECK_STR(refusal(&bell), "its GID is of no node");
	memset(bell.gid, 0, sizeof(bell.gid));
	CHECK_STR(refusal(&bell), "its GID is of no node");
	bell.gid[15] = 1;
	CHECK_STR(refusal(&bell), "its GID is of no node");
	bell.gid[0] = 0xff;
	CHECK_STR(refusal(&bell), "its GID is of no node");
	bell.gid[0] = 0xfd;
	CHECK_STR(refusal(&bell), "");
}

TEST_CASE(offer_rdma_wire, a_bell_of_another_shape_is_refused)
{
	const struct rdma_bell bell = bell_of(7);
	uint8_t bytes[RDMA_BELL_BYTES + 1] = {0};
	struct rdma_bell got;
	const char *why;

	rdma_bell_encode(&bell, bytes);
	CHECK_INT(rdma_bell_decode(bytes, RDMA_BELL_BYTES + 1, &got, &why), -EPROTO);
	CHECK_INT(rdma_bell_decode(bytes, RDMA_BELL_BYTES - 1, &got, &why), -EPROTO);
	CHECK_INT(rdma_bell_decode(bytes, 0, &got, &why), -EPROTO);
	CHECK_STR(why, "it is not of a queue pair");
	bytes[0] = 2;
	CHECK_INT(rdma_bell_decode(bytes, RDMA_BELL_BYTES, &got, &why), -EPROTO);
	bytes[0] = 1;
	bytes[1] = 1;
	CHECK_INT(rdma_bell_decode(bytes, RDMA_BELL_BYTES, &got, &why), -EPROTO);
}

TEST_CASE(offer_rdma_wire, a_ring_arrives)
{
	const struct rdma_ring ring = {.index = 3, .rkey = 0xcafe1234, .size = 1 << 20};
	uint8_t bytes[RDMA_RING_BYTES];
	struct rdma_ring got;
	const char *why;

	rdma_ring_encode(&ring, bytes);
	CHECK_INT(rdma_ring_decode(bytes, sizeof(bytes), ring.size, &got, &why), 0);
	CHECK_INT(got.index, ring.index);
	CHECK_INT(got.rkey, ring.rkey);
	CHECK_INT(got.size, ring.size);
	CHECK_INT(rdma_ring_decode(bytes, sizeof(bytes), 1 << 19, &got, &why), -EPROTO);
	CHECK_STR(why, "its memory has another size than the ring");
	CHECK_INT(rdma_ring_decode(bytes, sizeof(bytes) - 1, ring.size, &got, &why),
		  -EPROTO);
	CHECK_STR(why, "it is not of registered memory");
}

struct proof {
	uint8_t key[32];
	struct rdma_bell asks;
	struct rdma_bell answers;
	struct rdma_pair pair;
	uint8_t data[56]; /* the wire pads it */
};

static void proof_setup(struct proof *proof)
{
	*proof = (struct proof){
		.key = {1, 2, 3},
		.asks = bell_of(1),
		.answers = bell_of(2),
	};
	proof->pair = (struct rdma_pair){&proof->asks, &proof->answers};
	REQUIRE(rdma_proof_make(proof->key, &proof->pair, RDMA_ASKS, proof->data) == 0);
}

static bool is_good(const struct proof *proof, enum rdma_role role)
{
	return rdma_proof_check(proof->key, &proof->pair, role, proof->data,
				sizeof(proof->data));
}

TEST_CASE(offer_rdma_wire, a_proof_is_of_its_message)
{
	struct proof proof;

	proof_setup(&proof);
	CHECK_INT(rdma_proof_link(proof.data, sizeof(proof.data)), proof.answers.link_id);
	CHECK(is_good(&proof, RDMA_ASKS));
	CHECK(!is_good(&proof, RDMA_ANSWERS));
	REQUIRE(rdma_proof_make(proof.key, &proof.pair, RDMA_ANSWERS, proof.data) == 0);
	CHECK_INT(rdma_proof_link(proof.data, sizeof(proof.data)), proof.asks.link_id);
	CHECK(is_good(&proof, RDMA_ANSWERS));
	CHECK(!is_good(&proof, RDMA_ASKS));
}

TEST_CASE(offer_rdma_wire, a_changed_proof_is_none)
{
	struct proof proof;

	proof_setup(&proof);
	for (unsigned i = 0; i < RDMA_PROOF_BYTES; i++) {
		proof.data[i] ^= 1;
		CHECK(!is_good(&proof, RDMA_ASKS));
		proof.data[i] ^= 1;
	}
	CHECK(!rdma_proof_check(proof.key, &proof.pair, RDMA_ASKS, proof.data,
				RDMA_PROOF_BYTES - 1));
	CHECK_INT(rdma_proof_link(proof.data, RDMA_PROOF_BYTES - 1), 0);
	CHECK(is_good(&proof, RDMA_ASKS));
}

TEST_CASE(offer_rdma_wire, a_proof_is_of_its_connection)
{
	struct proof proof;

	proof_setup(&proof);
	proof.key[31] ^= 1;
	CHECK(!is_good(&proof, RDMA_ASKS));
	proof.key[31] ^= 1;
	proof.asks.qp_number++;
	CHECK(!is_good(&proof, RDMA_ASKS));
	proof.asks.qp_number--;
	proof.asks.gid[15]++;
	CHECK(!is_good(&proof, RDMA_ASKS));
	proof.asks.gid[15]--;
	proof.asks.nonce[5]++;
	CHECK(!is_good(&proof, RDMA_ASKS));
	proof.asks.nonce[5]--;
	proof.answers.nonce[5]++;
	CHECK(!is_good(&proof, RDMA_ASKS));
	proof.answers.nonce[5]--;
	proof.answers.link_id++;
	CHECK(!is_good(&proof, RDMA_ASKS));
	proof.answers.link_id--;
	CHECK(is_good(&proof, RDMA_ASKS));
}
