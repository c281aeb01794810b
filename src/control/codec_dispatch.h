/*
 * The messages between the members of a global network: plain structs <-> bytes
 * (proto/dispatch.proto).
 *
 * Decoding is strict, as that of codec_peer.h: what passes is a message that this
 * version would have written, with every address, port and id in range. Nothing that
 * was refused is half filled in. The bytes are a peer's and hostile. Pure functions,
 * any thread, no allocation.
 */
#ifndef CONTROL_CODEC_DISPATCH_H
#define CONTROL_CODEC_DISPATCH_H

#include "base/flow.h"
#include "control/listener.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISPATCH_BYTES_MAX     1024 /* of any message as it travels */
#define DISPATCH_QUERIES_MAX   16   /* in one message, as the others */
#define DISPATCH_ANSWERS_MAX   32
#define DISPATCH_PINS_MAX      16
#define DISPATCH_PART_MAX      16   /* listeners */
#define DISPATCH_LISTENERS_MAX 4096 /* of one member */

enum dispatch_message_type {
	DISPATCH_MESSAGE_QUERY,
	DISPATCH_MESSAGE_ANSWER,
	DISPATCH_MESSAGE_PIN,
	DISPATCH_MESSAGE_LISTENERS,
	DISPATCH_MESSAGE_STATE,
	DISPATCH_MESSAGE_HEARD,
	DISPATCH_MESSAGE_DRAIN,
	DISPATCH_MESSAGE_NUM_
};

struct dispatch_query {
	uint64_t token;
	struct flow_key key;
};

/* Whether a node's kernel has the connection. */
enum dispatch_have {
	DISPATCH_HAVE_NONE,
	DISPATCH_HAVE_OVER, /* remembers it: something new may take its place */
	DISPATCH_HAVE_LIVE,
	DISPATCH_HAVE_NUM_
};

struct dispatch_answer {
	uint64_t token;
	enum dispatch_have have;
};

struct dispatch_pin {
	struct flow_key key;
	uint16_t owner;
};

/* A part of a list, from `first` on. */
struct dispatch_part {
	uint64_t generation;
	uint32_t first;
	uint32_t total;
	unsigned num;
	struct listener items[DISPATCH_PART_MAX];
};

struct dispatch_state {
	uint64_t generation;
	bool is_drained;
	uint32_t weight;
	bool announces;	    /* could answer for the addresses on its LAN */
	bool is_announcing; /* and does */
	uint64_t connections;
};

struct dispatch_heard {
	uint64_t listeners; /* generation */
	uint32_t count;
	uint64_t state; /* generation */
	uint64_t drain; /* serial */
};

struct dispatch_drain {
	uint64_t serial;
	bool is_drained;
};

struct dispatch_message {
	enum dispatch_message_type type;
	unsigned num; /* of queries, answers or pins */
	union {
		struct dispatch_query queries[DISPATCH_QUERIES_MAX];
		struct dispatch_answer answers[DISPATCH_ANSWERS_MAX];
		struct dispatch_pin pins[DISPATCH_PINS_MAX];
		struct dispatch_part part;
		struct dispatch_state state;
		struct dispatch_heard heard;
		struct dispatch_drain drain;
	};
};

/* -EMSGSIZE if it does not fit; DISPATCH_BYTES_MAX is room for any. */
int codec_dispatch_encode(const struct dispatch_message *message, uint8_t *bytes,
			  size_t size, size_t *ret_length);

/* -EBADMSG, and *ret_why as the end of a sentence about it: "has no flow". */
int codec_dispatch_decode(const uint8_t *bytes, size_t length,
			  struct dispatch_message *ret_message, const char **ret_why);

#endif
