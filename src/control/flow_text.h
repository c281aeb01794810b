/*
 * A flow as people write it, and the packet that is meant by that. Pure functions, any
 * thread; the text is a client's and hostile.
 */
#ifndef CONTROL_FLOW_TEXT_H
#define CONTROL_FLOW_TEXT_H

#include "base/flow.h"

#include <stdbool.h>
#include <stddef.h>

#define FLOW_PROTOCOL_MAX 8

/* "tcp", "esp"; its number if it has no name here. Returns `text`. */
const char *flow_protocol_text(uint8_t protocol, char text[FLOW_PROTOCOL_MAX]);

struct flow_text {
	const char *protocol;
	const char *source; /* "198.51.100.7:40112"; without a port if it has none */
	const char *destination;
	bool established; /* not one that opens a connection */
};

/* Why it is refused, as a sentence that names the value. */
struct flow_why {
	char text[256];
};

/* -EINVAL. Of the packet only key and kind are set. */
int flow_text_parse(const struct flow_text *text, struct flow_packet *ret_packet,
		    struct flow_why *ret_why);

#endif
