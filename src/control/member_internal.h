/*
 * What the files of the membership share: its struct, and the calls between them.
 *
 *     member.c        the table, what the world and the peers say, its own life
 *     member_admit.c  who may come in
 *     member_guests.c who has called and has not said HELLO yet
 *     member_report.c what it is like
 *
 * Control thread.
 */
#ifndef CONTROL_MEMBER_INTERNAL_H
#define CONTROL_MEMBER_INTERNAL_H

#include "base/log.h"
#include "control/member.h"

struct guest;

struct membership {
	struct peer_owner owner; /* first: the peers know this much of us */
	const struct membership_handler *handler;
	void *arg;
	struct peer **peers; /* in the order of their ids */
	unsigned num_peers;
	struct liveness *liveness;
	struct guest *guests;
	unsigned num_guests;
	unsigned links[CONFIG_NETWORKS_MAX]; /* live ones, of each network */
	struct log_limit guest_limit;
	struct log_limit full_limit;
	struct log_limit forget_limit;
	struct overlooked *overlooked;
};

static inline const char *member_own_name(const struct peer_owner *owner)
{
	return owner->config->name;
}

/* ---- member.c ---- */

/* Made if there is none. -ENOSPC: too many are remembered. */
int member_need(struct membership *membership, uint16_t id, struct peer **ret_peer);

/* ---- member_admit.c: true, or a refusal that names both sides' values ---- */

/* Returns false. */
bool __attribute__((format(printf, 3, 4)))
member_turn_away(struct peer_refuse *refuse, enum peer_refusal code, const char *format,
		 ...);
bool member_admit_user(const struct peer_owner *owner,
		       const struct world_credentials *credentials,
		       struct peer_refuse *ret_refuse);
/* `admit` of struct peer_owner. */
bool member_admit_dialled(struct peer_owner *owner, struct peer *peer,
			  const struct world_credentials *credentials,
			  const struct peer_hello *hello, struct peer_refuse *ret_refuse);
bool member_admit_caller(const struct membership *membership,
			 const struct world_credentials *credentials,
			 const struct peer_hello *hello, struct peer_refuse *ret_refuse);
/* Besides: the peer that it says it is may have a channel. */
bool member_admit_again(const struct membership *membership, struct peer *peer,
			const struct peer_hello *hello, struct peer_refuse *ret_refuse);

/* ---- member_guests.c ---- */

/* Somebody dialled us: the channel is the guest's, or refused. */
void member_accept(struct membership *membership, struct world_channel *channel);
/* The peer's channel is gone: who waits for that goes on. */
void member_wake_guests(struct membership *membership, uint16_t id);
void member_free_guests(struct membership *membership);

#endif
