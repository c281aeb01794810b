/*
 * Cutting a super-frame into frames that fit, as a kernel does it that has no such
 * device: for casts, whose readers share one place of the size of the MTU, and for
 * a receiver whose TAP lacks the offload.
 *
 * The frame is private memory and stays as it is while it is cut. Nothing is
 * allocated, no byte outside the given length is read, whatever is in it. Any
 * thread.
 *
 *     struct segment segment;
 *
 *     if (!segment_is_super(payload))
 *             return send(payload, length);
 *     if (segment_begin(&segment, payload, length) < 0)
 *             return DROP_BAD_OFFLOAD;
 *     while ((length = segment_length(&segment)) > 0) {
 *             ... reserve `length` bytes at `place` ...
 *             segment_next(&segment, place);
 *             ... submit them ...
 *     }
 *
 * `payload` is what a ring's record holds: a virtio-net header, the frame. Each
 * piece is that too, and is written front to back and never read, so that it may
 * be written into a ring at once. A piece that finds no room need not be written:
 * segment_next() with any memory of that length goes past it.
 *
 * A piece's checksum is left to the receiver's kernel as that of the super-frame
 * was: FRAME_NEEDS_CSUM with the sum of its pseudo-header. Every TAP takes that, with
 * and without offloads, and what stays on the machine never needs the sum.
 *
 * What the pieces have in their headers:
 *
 *     IPv4   own length and checksum; identification + 1 from one to the next
 *     IPv6   own length; extension headers as far as frame_parse() knows them
 *     UDP    own length
 *     TCP    own sequence number; CWR on the first, FIN and PSH on the last alone
 */
#ifndef BASE_SEGMENT_H
#define BASE_SEGMENT_H

#include "base/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* frame_parse() wants 20 bytes of a TCP header in sight, which has 60 at the most. */
#define SEGMENT_HEAD_MAX (SHMNET_VNET_HLEN + FRAME_HEAD_MAX - 20 + 60)

/* The caller's, but its members are not. */
struct segment {
	const uint8_t *data; /* not yet cut off */
	size_t left;
	size_t size;	    /* of the data in all pieces but the last */
	size_t head_length; /* 0 behind the last piece */
	struct frame_layout layout;
	uint16_t sum;			/* of the pseudo-header, but for the length */
	uint8_t flags;			/* TCP's, that the next piece may have */
	uint8_t head[SEGMENT_HEAD_MAX]; /* of the next piece, being made */
};

/* Does the virtio-net header at `payload` ask for cutting? */
bool segment_is_super(const uint8_t *payload);

/*
 * -EINVAL if it is no super-frame, one that frame_fit_vnet() refuses, or one whose
 * headers name another length than it has. `payload` is used until the last
 * segment_next().
 */
int segment_begin(struct segment *segment, const uint8_t *payload, size_t length);

/* Of the next piece with its virtio-net header; 0 if there is none. */
size_t segment_length(const struct segment *segment);

/* Writes it, segment_length() bytes, and goes on. Returns that length. */
size_t segment_next(struct segment *segment, uint8_t *place);

#endif
