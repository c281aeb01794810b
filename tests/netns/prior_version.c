/* A node of the version of the wire before this one. */
#include "control/wire_range.h"

#include <shmnet/wire.h>

const struct wire_range wire_spoken = {SHMNET_WIRE_VERSION - 1, SHMNET_WIRE_VERSION - 1};
