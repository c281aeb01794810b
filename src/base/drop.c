/* See drop.h. */
#include "base/drop.h"

#include <stddef.h>

static const char *const names[] = {
	[DROP_RUNT] = "runt",
	[DROP_FOREIGN_SOURCE] = "foreign-source",
	[DROP_TAP_COMMAND] = "tap-command",
	[DROP_UNKNOWN_UNICAST] = "unknown-unicast",
	[DROP_NO_PEER] = "no-peer",
	[DROP_BAD_OFFLOAD] = "bad-offload",
	[DROP_RING_FULL] = "ring-full",
	[DROP_PEER_DOWN] = "peer-down",
	[DROP_MISROUTED] = "misrouted",
	[DROP_BAD_LENGTH] = "bad-length",
	[DROP_BAD_SOURCE] = "bad-source",
	[DROP_BAD_DESTINATION] = "bad-destination",
	[DROP_BAD_HEADER] = "bad-header",
	[DROP_OVERSIZE] = "oversize",
	[DROP_TAP_DOWN] = "tap-down",
	[DROP_TAP_ERROR] = "tap-error",
	[DROP_CAST_LOST] = "cast-lost",
	[DROP_GLOBAL_NEIGH] = "global-neigh",
	[DROP_BAD_PACKET] = "bad-packet",
	[DROP_BAD_FRAGMENT] = "bad-fragment",
	[DROP_NO_LISTENER] = "no-listener",
	[DROP_NO_OWNER] = "no-owner",
	[DROP_PARK_FULL] = "park-full",
	[DROP_PARK_LATE] = "park-late",
	[DROP_LOST_FIRST] = "lost-first",
	[DROP_PAUSED] = "paused",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == DROP_NUM_, "a name per reason");

const char *drop_reason_name(unsigned reason)
{
	return reason < DROP_NUM_ ? names[reason] : NULL;
}
