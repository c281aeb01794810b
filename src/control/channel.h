/*
 * A channel of the daemon's world, and its kinds: channel_shm.c for the rendezvous,
 * channel_tls.c between machines.
 *
 * A kind embeds struct world_channel as its first member, receives, and hands what came
 * to channel_deliver(); who owns a channel calls the world_channel_* functions, which are
 * those of struct world_ops and know no kind. Nothing here waits. Control thread.
 */
#ifndef CONTROL_CHANNEL_H
#define CONTROL_CHANNEL_H

#include "control/world.h"

#define CHANNEL_KEY_BYTES 32

struct channel_ops {
	bool is_remote; /* of another machine: carries no descriptors */

	/* There is a handler now. NULL: whatever comes without one is dropped. */
	void (*listening)(struct world_channel *channel);
	void (*credentials)(const struct world_channel *channel,
			    struct world_credentials *ret);
	/* As in struct world_ops; `fd` is -1 if the kind is remote. */
	int (*send)(struct world_channel *channel, const uint8_t *bytes, size_t length,
		    int fd);
	/* Asked as long as channel_deliver_end() was not called. */
	bool (*at_end)(const struct world_channel *channel);
	/*
	 * Frees it; the owner hears nothing any more. What was sent may go out after
	 * that, for a bounded time. Never called while the owner's callback runs.
	 */
	void (*close)(struct world_channel *channel);
	/* What an error can't say of the end; "" if nothing. NULL: never anything. */
	const char *(*why)(const struct world_channel *channel);
	/* A secret of the two ends. NULL: there is none, zeroes are taken. */
	void (*key)(const struct world_channel *channel, uint8_t ret[CHANNEL_KEY_BYTES]);
};

/* First member of a kind's own struct; zero but for `ops`. */
struct world_channel {
	const struct channel_ops *ops;
	const struct world_channel_handler *handler; /* NULL: nobody listens */
	void *arg;
	bool is_ended;	 /* `closed` was called */
	bool is_calling; /* its handler is being called: */
	bool close_next; /* and closed it meanwhile */
};

/* ---- for its owner, as in struct world_ops ---- */

void world_channel_set_handler(struct world_channel *channel,
			       const struct world_channel_handler *handler, void *arg);
void world_channel_credentials(struct world_channel *channel,
			       struct world_credentials *ret);
bool world_channel_is_remote(const struct world_channel *channel);
int world_channel_send(struct world_channel *channel, const uint8_t *bytes, size_t length,
		       int fd);
bool world_channel_at_end(struct world_channel *channel);
const char *world_channel_why(const struct world_channel *channel);
void world_channel_close(struct world_channel *channel);

/* What only the two ends know, to vouch for a connection; zeroes without a secret. */
void world_channel_key(const struct world_channel *channel,
		       uint8_t ret[CHANNEL_KEY_BYTES]);

/* ---- for its kind ---- */

/*
 * A message came, and with it what is in the parcel: what nobody takes out is closed.
 * False if the owner closed the channel meanwhile: then it is freed already.
 */
bool channel_deliver(struct world_channel *channel, const uint8_t *bytes, size_t length,
		     struct world_parcel *parcel);

/* It is at its end, nothing comes any more: called once. False likewise. */
bool channel_deliver_end(struct world_channel *channel, int error);

#endif
