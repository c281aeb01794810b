/*
 * The cast rings of a node's networks [31-33]: who makes them, who reads them, what
 * happens when their maker dies. One per membership. Peers on other machines share no
 * memory with us: they get copies of all casts, and have no part in this.
 *
 * Knows the world only through world.h, the others only as struct peer. Says nothing
 * from within a call: what is to be told goes out from its own timer, so that no call
 * here ends a session. Control thread. Every call accepts `casts` NULL.
 */
#ifndef CONTROL_CAST_H
#define CONTROL_CAST_H

#include "control/codec_peer.h"
#include "control/world.h"

#define CAST_RINGS_MAX (1 + CONFIG_MULTICAST_RINGS_MAX) /* shared ones of a network */

struct casts;
struct peer;
struct peer_owner;

int casts_new(struct peer_owner *owner, struct casts **ret_casts);

/* Leaves the rings, before anybody's channel is closed. Accepts NULL. */
void casts_free(struct casts *casts);

/* ---- what the world says ---- */
void casts_want(struct casts *casts, unsigned network,
		const uint8_t label[SHMNET_ETH_ALEN]);
void casts_fault(struct casts *casts, struct world_cast *cast, int error);

/* ---- what happens to a peer ---- */

/* It has a link on that network now. */
void casts_link(struct casts *casts, struct peer *peer, unsigned network);
/*
 * Its session ends; the links are still there, so that what a dead one had finished is
 * read, and nobody waits for what it had not.
 */
void casts_forget(struct casts *casts, struct peer *peer, bool may_be_dead);
/*
 * The same for one network: the peer leaves it and lives on, with nothing of it half
 * written.
 */
void casts_part(struct casts *casts, struct peer *peer, unsigned network);

/* A network of ours begins; or ends, and no peer has a link on it any more. */
void casts_add_network(struct casts *casts, unsigned network);
void casts_remove_network(struct casts *casts, unsigned network);

/* After casts_forget(): its channel ended, which a dead one's does. */
void casts_end(struct casts *casts, struct peer *peer);
/* After casts_forget(): it may be stopped in the middle of a slot. */
void casts_silence(struct casts *casts, struct peer *peer);

/* ---- what a peer says ---- */

/* False, and words about it, if no honest peer says that. */
bool casts_take_offer(struct casts *casts, struct peer *peer, unsigned network,
		      const struct peer_cast *offer, struct world_parcel *parcel,
		      char *why, size_t size);
void casts_take_reads(struct casts *casts, struct peer *peer, unsigned network,
		      uint64_t id);
void casts_take_want(struct casts *casts, struct peer *peer, unsigned network,
		     uint64_t id);

/* ---- reports ---- */

/* A snapshot; strings are valid for the call. */
struct cast_report {
	unsigned network;
	const char *label; /* "broadcast", or the group's address; of a lane the former */
	uint64_t id;
	uint64_t epoch;
	uint16_t maker;
	uint32_t depth;
	bool lane;
	bool is_draining; /* closed: it is read to its end */
	unsigned readers; /* peers that said so */
	struct world_cast *cast;
};

void casts_each(const struct casts *casts,
		void (*each)(const struct cast_report *report, void *arg), void *arg);

/* What keeps casts from going through rings, in words. Returns how many. */
unsigned casts_each_reason(struct casts *casts,
			   void (*each)(const char *words, void *arg), void *arg);

#endif
