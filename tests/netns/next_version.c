/* A node of the next version of the wire, which still speaks this one. */
#include "control/wire_range.h"

#include <shmnet/wire.h>

const struct wire_range wire_spoken = {SHMNET_WIRE_VERSION, SHMNET_WIRE_VERSION + 1};
