/* See wire_range.h: alone in its file, so that a test's program can speak others. */
#include "control/wire_range.h"

#include <shmnet/wire.h>

/* Before it nobody said how far down it goes. What is not said in it: BORDER. */
#define LOWEST_VERSION 5

const struct wire_range wire_spoken = {LOWEST_VERSION, SHMNET_WIRE_VERSION};
