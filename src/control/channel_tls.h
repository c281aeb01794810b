/*
 * Channels between machines: messages over TCP, inside TLS unless the config says
 * `security: none`. A kind of channel.h.
 *
 * A message is its length, 32 bits in network order, and so many bytes: 1 to
 * WORLD_MESSAGE_MAX. Never waits; queues up to CHANNEL_TLS_QUEUE_MAX. Control thread.
 *
 * The ends of a channel: 0 after FIN; -EMSGSIZE: a message above the limit; -EBADMSG: an
 * empty one; -EPROTO: TLS failed; -ETIMEDOUT: not connected in time, or what was sent is
 * not acknowledged any more; else as the socket says. world_channel_why() has words with
 * the address in them.
 */
#ifndef CONTROL_CHANNEL_TLS_H
#define CONTROL_CHANNEL_TLS_H

#include "control/channel.h"

#include <sys/socket.h>

#define CHANNEL_TLS_QUEUE_MAX	   (1u << 20) /* bytes; -EAGAIN above */
#define CHANNEL_TLS_PATIENCE_SEC   5	      /* to connect, and for the handshake */
#define CHANNEL_TLS_LINGER_SEC	   1	      /* for what was said before a close */
#define CHANNEL_TLS_HANDSHAKES_MAX 64 /* of others; one more, and the oldest goes */
#define CHANNEL_TLS_LINGERING_MAX  64 /* likewise */

#define CHANNEL_TLS_ERROR_MAX	256
#define CHANNEL_TLS_ADDRESS_MAX 64 /* "10.0.0.1:7000", "[fd77::1]:7000" */

struct event_base;
struct tls_context;

/* What the channels of a fabric have in common, and where others dial it. */
struct channel_tls;

struct channel_tls_options {
	const char *name;	     /* of the fabric, for the log; has to stay */
	struct tls_context *context; /* lent; NULL: plain TCP */
	/*
	 * Somebody dialled us and, if there is TLS, proved to be of our cluster. Set a
	 * handler, or close; nothing is read, and nothing lost, until there is one.
	 */
	void (*accepted)(void *arg, struct world_channel *channel);
	void *arg;
};

int channel_tls_new(struct event_base *base, const struct channel_tls_options *options,
		    struct channel_tls **ret_self);

/* After all its channels have been closed; what lingers ends now. Accepts NULL. */
void channel_tls_free(struct channel_tls *self);

/*
 * Once; may be tried again after a failure, of which ret_error has words:
 * -EADDRNOTAVAIL: not an address of this host (yet); -EADDRINUSE: somebody else's.
 */
int channel_tls_listen(struct channel_tls *self, const struct sockaddr *address,
		       socklen_t length, char *ret_error, size_t error_size);

/*
 * The channel is there at once, and what is sent is queued until it is connected; if it
 * can't be, it ends with the reason. -errno: not even tried (no route, no memory).
 */
int channel_tls_dial(struct channel_tls *common, const struct sockaddr *address,
		     socklen_t length, struct world_channel **ret_channel);

/* "10.0.0.1:7000", of the other end. */
const char *channel_tls_address(const struct world_channel *channel);

/* The same of any address. */
void channel_tls_format_address(const struct sockaddr *address, socklen_t length,
				char text[CHANNEL_TLS_ADDRESS_MAX]);

#endif
