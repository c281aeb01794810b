/*
 * The versions of what nodes say to each other that a program speaks: from the lowest to
 * the highest. Two nodes use the highest that both speak, so that a cluster is upgraded
 * one node after the other. Who raises SHMNET_WIRE_VERSION goes on speaking the version
 * before it, to those who speak no higher one.
 *
 * A HELLO or LOOK is said before anything is known of the other side. So one of a newer
 * version may have fields that an older node does not know, and which that passes over;
 * all else is in the version that both use. Pure functions, any thread.
 */
#ifndef CONTROL_WIRE_RANGE_H
#define CONTROL_WIRE_RANGE_H

#include <stdint.h>

struct wire_range {
	uint32_t min, max;
};

/* Of this program: a test's speaks others, by another definition. */
extern const struct wire_range wire_spoken;

/* What it says: the highest version, and the lowest one, 0 if that is the same. */
struct wire_range wire_range_of(uint32_t version, uint32_t min);

/* The version that both use, 0: they have none in common. */
uint32_t wire_range_meet(const struct wire_range *a, const struct wire_range *b);

/* "5", "5 to 6" */
struct wire_range_text {
	char text[32];
};
const char *wire_range_print(const struct wire_range *range,
			     struct wire_range_text *buffer);

#endif
