/*
 * The messages of a pair's channel: plain structs <-> bytes (proto/peer.proto).
 *
 * Decoding is strict: what passes is a message that this version would have
 * written, byte for byte as long, with every string terminated and printable,
 * every id and size in range. Nothing that was refused is half filled in. The
 * bytes are a peer's and hostile. Pure functions, any thread, no allocation.
 */
#ifndef CONTROL_CODEC_PEER_H
#define CONTROL_CODEC_PEER_H

#include "control/config.h"
#include "control/events.h"

#include <shmnet/wire.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who could name the last number would have made the last ring of all. */
#define PEER_EPOCH_MAX ((1ull << 48) - 1)

#define PEER_WORDS_MAX 512 /* of a refusal, with the terminating zero */
#define PEER_LIVES_MAX 32  /* of other nodes, in one LOOK */
#define PEER_WIRE_MAX  192 /* bytes that a fabric says */

/* Of any message as it travels; a HELLO of all networks, addresses and members has
 * almost 7000. */
#define PEER_BYTES_MAX 8192

enum peer_message_type {
	PEER_MESSAGE_HELLO,
	PEER_MESSAGE_READY,
	PEER_MESSAGE_RING,
	PEER_MESSAGE_BELL,
	PEER_MESSAGE_INCARNATION,
	PEER_MESSAGE_REFUSE,
	PEER_MESSAGE_PROBE,
	PEER_MESSAGE_PROBED,
	PEER_MESSAGE_CAST,
	PEER_MESSAGE_READS,
	PEER_MESSAGE_WANT,
	PEER_MESSAGE_LOOK,
	PEER_MESSAGE_PAUSE,
	PEER_MESSAGE_NETWORKS,
	PEER_MESSAGE_BORDER, /* from version 6 on */
	PEER_MESSAGE_NUM_
};

enum peer_refusal {
	PEER_REFUSAL_VERSION,	/* of the wire */
	PEER_REFUSAL_CLUSTER,	/* of another one */
	PEER_REFUSAL_UID,	/* neither ours nor root */
	PEER_REFUSAL_IDENTITY,	/* id or name is not what it must be, or is taken */
	PEER_REFUSAL_DUPLICATE, /* id or name of a node that lives */
	PEER_REFUSAL_PROTOCOL,	/* a message or a ring against the rules */
	PEER_REFUSAL_TIMEOUT,	/* no HELLO or READY in time, or it does not read */
	PEER_REFUSAL_BUSY,	/* quarantined, or too many at once: later */
	PEER_REFUSAL_RESOURCE,	/* we lack what a link needs */
	PEER_REFUSAL_GIVEN_UP,	/* taken for dead: welcome back */
	PEER_REFUSAL_NUM_
};

struct peer_network {
	char name[CONFIG_NAME_MAX];
	enum network_kind kind;
	uint32_t mtu;
	unsigned num_addresses;
	struct config_address addresses[CONFIG_ADDRESSES_MAX]; /* prefixes aren't told */
	enum cast_mode cast;
	uint32_t offloads; /* that its TAP takes: SHMNET_OFFLOAD_* */
	uint16_t members;  /* see peer_hello_members() */
};

/* Of one that has no wire version in common with us nothing but its range is looked at.
 */
struct peer_hello {
	uint32_t wire_version;
	uint32_t wire_min; /* the lowest one it speaks; 0: no other */
	char cluster[CONFIG_NAME_MAX];
	char name[CONFIG_NAME_MAX];
	uint16_t id;
	uint64_t nonce; /* random, one per life of the process */
	unsigned num_networks;
	struct peer_network networks[CONFIG_NETWORKS_MAX];
	unsigned members_used;
	char members[1 + CONFIG_MEMBER_BYTES_MAX]; /* texts, the first one "" */
};

/* The last of an offer. The other one must be above the floor [architecture 6]. */
struct peer_ready {
	uint32_t floor;
	uint32_t incarnation; /* the sender's */
	uint32_t beat_ms;     /* so often the sender shows life */
};

/* What a fabric says; its own to make sense of. Length 0: nothing. */
struct peer_wire {
	size_t length;
	uint8_t bytes[PEER_WIRE_MAX];
};

/* A ring in the sender's memory; on one machine its descriptor comes along. */
struct peer_ring {
	char network[CONFIG_NAME_MAX];
	uint64_t size;
	uint64_t salt;
	uint64_t epoch;
	uint32_t heard; /* NETWORKS of the receiver, in this session */
	struct peer_wire wire;
};

/* The sender's half of the connection; likewise. */
struct peer_bell {
	struct peer_wire wire;
};

struct peer_incarnation {
	uint32_t value;
};

struct peer_refuse {
	enum peer_refusal code;
	char words[PEER_WORDS_MAX];
};

/* Does the receiver hear that node? */
struct peer_probe {
	uint16_t node;
};

struct peer_probed {
	uint16_t node;
	bool heard;
};

/* A cast ring; its descriptor comes along. */
struct peer_cast {
	char network[CONFIG_NAME_MAX];
	uint64_t id;
	uint32_t depth;
	uint8_t label[SHMNET_ETH_ALEN]; /* a group address */
	uint64_t epoch;			/* 1 to PEER_EPOCH_MAX, 0 of a lane */
	uint16_t maker;
	bool lane;
};

/* One that the other side is to know: READS and WANT. */
struct peer_cast_name {
	char network[CONFIG_NAME_MAX];
	uint64_t id;
};

/* Of the sender's network. */
struct peer_pause {
	char network[CONFIG_NAME_MAX];
	bool paused;
};

#define PEER_NIC_MAX 16 /* of an interface's name, with its terminating zero */

/* An interface to the outside. */
struct peer_nic {
	char name[PEER_NIC_MAX];
	uint32_t mtu; /* 0: it is not there */
	bool is_up;   /* with carrier */
};

/*
 * What a border is like now; of a node that is none, nothing. It starts as zeroes, and
 * what is not used stays so.
 */
struct peer_border {
	unsigned num_nics;
	struct peer_nic nics[CONFIG_NICS_MAX];
	unsigned num_announces;
	char announces[CONFIG_NETWORKS_MAX][CONFIG_NAME_MAX]; /* global networks */
};

/* A life of a node, and where it can be dialled. */
struct peer_life {
	uint16_t id;
	char name[CONFIG_NAME_MAX];
	struct config_endpoint address;
	uint64_t nonce;	 /* random, one per life of the process */
	uint32_t age_ms; /* since it said so itself, as far as the sender knows */
};

/* Of another wire version than ours nothing but the version is looked at. */
struct peer_look {
	uint32_t wire_version;
	uint32_t wire_min;
	char cluster[CONFIG_NAME_MAX];
	struct peer_life self;
	unsigned num_others;
	struct peer_life others[PEER_LIVES_MAX];
};

struct peer_message {
	enum peer_message_type type;
	union {
		struct peer_hello hello; /* of NETWORKS, too: networks and members */
		struct peer_ready ready;
		struct peer_ring ring;
		struct peer_bell bell;
		struct peer_incarnation incarnation;
		struct peer_refuse refuse;
		struct peer_probe probe;
		struct peer_probed probed;
		struct peer_cast cast;
		struct peer_cast_name reads;
		struct peer_cast_name want;
		struct peer_look look;
		struct peer_pause pause;
		struct peer_border border;
	};
};

/* The wire version from which on it is said; 0: in all. */
uint32_t peer_message_version(enum peer_message_type type);

/* "HELLO"; never NULL. */
const char *peer_message_name(enum peer_message_type type);

/*
 * The names of a global network's members, sorted, with commas between; "": every node
 * that has the network.
 */
const char *peer_hello_members(const struct peer_hello *hello,
			       const struct peer_network *network);

bool peer_border_is_same(const struct peer_border *one, const struct peer_border *other);
bool peer_border_is_none(const struct peer_border *border);
bool peer_border_announces(const struct peer_border *border, const char *network);
enum events_state peer_border_state(const struct peer_border *border);

/* "eth0 up, eth1 down; announces web" */
#define PEER_BORDER_TEXT_MAX 256
void peer_border_text(const struct peer_border *border, char text[PEER_BORDER_TEXT_MAX]);

/* -EMSGSIZE: no room, which the check of a config rules out. */
int peer_hello_set_members(struct peer_hello *hello, struct peer_network *network,
			   const char *text);

/* How many descriptors come with it: exactly that many, on a remote channel none. */
unsigned peer_message_fds(enum peer_message_type type, bool is_remote);

/* -EMSGSIZE if it does not fit. */
int codec_peer_encode(const struct peer_message *message, uint8_t *bytes, size_t size,
		      size_t *ret_length);

/* -EBADMSG, and *ret_why as the end of a sentence about it: "has a node id of 0". */
int codec_peer_decode(const uint8_t *bytes, size_t length,
		      struct peer_message *ret_message, const char **ret_why);

/*
 * The versions of a HELLO or LOOK, which are all that is the same in every version of
 * them: body 1 or 12 of the message, field 1 of the body, which is its first, and field 7
 * or 5, 0 if there is none. False: it is neither.
 */
bool codec_peer_peek(const uint8_t *bytes, size_t length,
		     enum peer_message_type *ret_type, uint32_t *ret_version,
		     uint32_t *ret_min);

#endif
