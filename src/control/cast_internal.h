/*
 * What the files of cast.h share.
 *
 *     cast.c         what the world says, the timer, life
 *     cast_group.c   the groups: the table, its actions
 *     cast_death.c   members that left, or fell silent
 *     cast_ring.c    the rings: who was told of one, who reads it; what we say
 *     cast_offer.c   what peers say
 *     cast_report.c  what is shown
 *
 * Control thread.
 */
#ifndef CONTROL_CAST_INTERNAL_H
#define CONTROL_CAST_INTERNAL_H

#include "base/log.h"
#include "control/cast.h"
#include "control/peer.h"

#define CAST_MSEC	  1000000ull /* ns */
#define CAST_SEC	  1000000000ull
#define CAST_WORDS_MAX	  320
#define CAST_DRAIN_NS	  CAST_SEC
#define CAST_ASK_NS	  (20 * CAST_MSEC)
#define CAST_LEFT_MAX	  64
#define CAST_MENTIONS_MAX 64 /* of one peer on one network */

/* One peer's part in a ring. */
struct cast_member {
	uint16_t id;
	bool knows; /* the epoch, too: we told it, or it told us; that it reads is not
		       enough */
	bool told;  /* that we read it */
	bool reads; /* it said so */
};

struct cast_ring {
	struct cast_ring *next;
	struct cast_group *group; /* whose ring this is now; NULL: draining, or a lane */
	struct world_cast_spec spec;
	struct world_cast *cast;
	struct cast_member *members; /* in the order of their ids */
	unsigned num_members;
	uint64_t drained_ns; /* when draining ends; 0: it is in use */
};

enum group_state {
	GROUP_NONE,	 /* no ring, nobody wants one */
	GROUP_CLAIMING,	 /* we are about to make one */
	GROUP_HELD,	 /* there is a ring */
	GROUP_ORPHANED,	 /* its maker is dead, the memory is good */
	GROUP_CONDEMNED, /* the memory is not */
	GROUP_STARVED,	 /* we can't have one, for now */
	GROUP_STATE_NUM_
};

/* What is cast to one label: [0] of a network is the broadcast, and all the rest. */
struct cast_group {
	struct casts *casts;
	unsigned network;
	bool is_used;
	uint8_t label[SHMNET_ETH_ALEN];
	enum group_state state;
	struct cast_ring *ring; /* NULL: copies only */
	bool is_wanted;		/* the worker waits for an answer */
	bool anyway;		/* the next claim does not look who was first */
	bool is_starving; /* it was said that there is none, and there was none since */
	uint64_t due_ns;  /* of EVENT_TIMER; 0: none */
	uint64_t backoff_ns;
	uint64_t remade_ns;
	uint64_t lost_ns; /* since then its ring has no maker, or is no good; 0: it has */
	uint64_t position;	     /* of the ring when it was last looked at */
	char cause[CAST_WORDS_MAX];  /* of the change that goes on */
	char reason[CAST_WORDS_MAX]; /* why there is no ring */
};

/* A peer has a ring that we don't. */
struct cast_mention {
	uint16_t peer_id;
	uint64_t ring_id;
	bool reads;	 /* it said so; else it has told us of it only */
	uint64_t ask_ns; /* 0: we have asked */
};

enum cast_event {
	EVENT_NONE,
	EVENT_WANTED,
	EVENT_TIMER,
	EVENT_BEHIND,  /* somebody has made a ring that we don't know yet */
	EVENT_CLAIMED, /* the epoch is ours */
	EVENT_MADE,
	EVENT_SHORT,   /* of memory, or of numbers */
	EVENT_OFFERED, /* a better ring is attached: it is the group's already */
	EVENT_UNFIT,   /* one was offered that we have no memory for */
	EVENT_RENEWED, /* its ring has another maker */
	EVENT_MAKER_DIED,
	EVENT_SUSPECT, /* a member may be stopped in it */
	EVENT_BROKEN,
	EVENT_CLOSED, /* by another node */
	EVENT_IDLE,
	EVENT_NUM_
};

struct cast_network {
	struct cast_group groups[CAST_RINGS_MAX];
	struct cast_ring *rings;
	struct cast_mention *mentions; /* the oldest first */
	unsigned num_mentions;
	uint64_t left[CAST_LEFT_MAX]; /* ids of rings that we were in, the last ones */
	unsigned num_left;	      /* of all */
	uint64_t epoch;		      /* the last one that we know of */
	bool is_crowded;	      /* a group found no room, and that was said */
};

/* Somebody whose channel ended: is it dead? */
struct cast_departure {
	struct cast_departure *next;
	uint16_t id;
	unsigned tries;
	uint64_t due_ns;
	char name[CONFIG_NAME_MAX];
};

struct casts {
	struct peer_owner *owner;
	struct world_timer *timer;
	struct cast_network networks[CONFIG_NETWORKS_MAX];
	struct cast_departure *departures;
	bool is_dirty; /* somebody has not been told everything */
	struct log_limit starved_limit;
	struct log_limit nonsense_limit;
};

/* ---- cast_group.c ---- */

void cast_happen(struct cast_group *group, enum cast_event event);
/* That of the label, or a new one. NULL if all are taken. */
struct cast_group *cast_group_need(struct casts *casts, unsigned network,
				   const uint8_t label[SHMNET_ETH_ALEN]);
/* The ring is the group's from now on; the former one is retired. Takes both. */
void cast_group_use(struct cast_group *group, struct cast_ring *ring,
		    struct world_cast *cast);

void cast_group_init(struct casts *casts, unsigned network, struct cast_group *group,
		     const uint8_t label[SHMNET_ETH_ALEN]);
/* Members can make us say it of one ring after the other, so the log has a limit. */
void __attribute__((format(printf, 3, 4)))
cast_warn(struct cast_group *group, struct log_limit *limit, const char *format, ...);

/* ---- cast_death.c ---- */

void cast_check_departures(struct casts *casts, uint64_t time_ns);

/* ---- cast.c ---- */

/* Sets the timer to what is due next; the last thing that every entry does. */
void casts_plan(struct casts *casts);

void casts_each_group(struct casts *casts,
		      void (*each)(struct cast_group *group, void *arg), void *arg);
/* `each` may free the ring that it is given. */
void casts_each_ring(struct casts *casts,
		     void (*each)(struct casts *casts, struct cast_ring *ring, void *arg),
		     void *arg);

/* ---- cast_ring.c ---- */

/*
 * NULL if memory is short. That has to be known before the ring's memory is taken up:
 * what was taken up and left is not taken up again. Until it is added it is free()d.
 */
struct cast_ring *cast_ring_new(const struct world_cast_spec *spec);
/* Takes `cast`. */
void cast_ring_add(struct casts *casts, struct cast_ring *ring, struct world_cast *cast);
void cast_ring_free(struct casts *casts, struct cast_ring *ring);
struct cast_ring *cast_ring_find(const struct casts *casts, unsigned network,
				 uint64_t id);
/* A ring that was left is closed: it is not taken up again. */
bool cast_ring_was_left(const struct casts *casts, unsigned network, uint64_t id);
/* Closes it for everybody, and reads it to its end. */
void cast_ring_retire(struct casts *casts, struct cast_ring *ring);
/* All are to be told of it again. */
void cast_ring_renew(struct cast_ring *ring);
/* NULL: memory is short, or `create` is false and there is none. */
struct cast_member *cast_ring_member(struct cast_ring *ring, uint16_t id, bool create);
void cast_ring_remove_member(struct cast_ring *ring, uint16_t id);
/* Takes over who was mentioned as a reader. */
void cast_ring_recall(struct casts *casts, struct cast_ring *ring);

void cast_mention(struct casts *casts, const struct peer *peer, unsigned network,
		  uint64_t ring_id, bool reads);
void cast_forget_mentions(struct cast_network *network, uint16_t peer_id);
/* Whatever was mentioned on that network is asked for again. */
void cast_ask_again(struct casts *casts, unsigned network);

/* NULL: not known, or ourselves. */
struct peer *cast_find_peer(const struct casts *casts, uint16_t id);
/* May the two have rings in common on that network? And do they have a link, too? */
bool cast_may_share(const struct casts *casts, const struct peer *peer, unsigned network);
bool cast_is_sharer(const struct casts *casts, const struct peer *peer, unsigned network);

void cast_tell_all(struct casts *casts);
void cast_ask_due(struct casts *casts, uint64_t now_ns);
/* The earlier of `due_ns` (0: never) and what is to be asked. */
uint64_t cast_ask_next(const struct casts *casts, uint64_t due_ns);

/* ---- cast_report.c ---- */

extern const uint8_t cast_broadcast[SHMNET_ETH_ALEN];

void __attribute__((format(printf, 3, 4)))
cast_say(char *text, size_t size, const char *format, ...);

struct cast_label_text {
	char text[32];
};
/* "broadcast", or the group's address. */
const char *cast_label_text(const uint8_t label[SHMNET_ETH_ALEN],
			    struct cast_label_text *buffer);
/* Why the peer gets copies though it has a link; false if it need not. */
bool cast_no_sharer_reason(const struct casts *casts, const struct peer *peer,
			   unsigned network, char *words, size_t size);

/* ---- shorthands ---- */

static inline const struct world_ops *cast_ops(const struct casts *casts)
{
	return casts->owner->world->ops;
}

static inline const struct config_network *cast_config(const struct casts *casts,
						       unsigned network)
{
	return &casts->owner->config->networks[network];
}

static inline bool cast_has_lanes(const struct casts *casts, unsigned network)
{
	return cast_config(casts, network)->cast == CAST_MODE_LANES;
}

static inline const char *cast_network_name(const struct cast_group *group)
{
	return cast_config(group->casts, group->network)->name;
}

static inline uint64_t cast_now(const struct casts *casts)
{
	return cast_ops(casts)->now(casts->owner->world);
}

static inline uint64_t cast_earlier(uint64_t a, uint64_t b)
{
	if (!a || !b)
		return a ? a : b;
	return a < b ? a : b;
}

#endif
