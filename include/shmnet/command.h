/*
 * Commands: what two workers say to each other among the frames [42]. A record
 * with SHMNET_RECORD_COMMAND carries one, header first; numbers are little-endian.
 *
 * A command's type says how long it may be, and the record ends with it. One that is
 * unknown, of another length, or with `zero` set breaks the ring's rules (-EPROTO), as
 * a record's header does: a type is added together with the wire version.
 *
 * Plain C and C++; no dependency but libc.
 */
#ifndef SHMNET_COMMAND_H
#define SHMNET_COMMAND_H

#include <stdint.h>

#define SHMNET_COMMAND_PING    1u /* answered by a PONG with the same token, if at all */
#define SHMNET_COMMAND_PONG    2u
/* From one node's control to the other's: bytes that mean nothing to the workers. */
#define SHMNET_COMMAND_MESSAGE 3u

#define SHMNET_COMMAND_MESSAGE_MAX 1024u /* bytes of a MESSAGE; one at least */

struct shmnet_command {
	uint16_t type;
	uint16_t zero;
	uint32_t length; /* of what follows this header */
};

/* PING and PONG. */
struct shmnet_command_ping {
	struct shmnet_command header;
	uint64_t token; /* the asker's, nonzero: means nothing to who answers */
};

#ifdef __cplusplus
static_assert(sizeof(struct shmnet_command) == 8, "part of the wire format");
static_assert(sizeof(struct shmnet_command_ping) == 16, "part of the wire format");
#else
_Static_assert(sizeof(struct shmnet_command) == 8, "part of the wire format");
_Static_assert(sizeof(struct shmnet_command_ping) == 16, "part of the wire format");
#endif

#endif
