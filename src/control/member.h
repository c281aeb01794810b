/*
 * The membership: the table of all other nodes, who may enter it, and our own
 * incarnation. Takes the callbacks of the world, hands each to the peer it is
 * about, and adds up what the peers have to say.
 *
 * No clock, no descriptor, no libevent: all of that is the world's. Control
 * thread.
 */
#ifndef CONTROL_MEMBER_H
#define CONTROL_MEMBER_H

#include "control/cast.h"
#include "control/config.h"
#include "control/peer.h"
#include "control/world.h"

#include <stdbool.h>
#include <stdint.h>

#define MEMBER_GUESTS_MAX 32   /* accepted, but have not said HELLO yet */
#define MEMBER_PEERS_MAX  1024 /* ids that are remembered: who is gone makes room */
#define MEMBER_REASON_MAX 640

struct membership;

struct membership_handler {
	/* The first live link of a network came, or the last one went. */
	void (*network_carrier)(void *arg, unsigned network, bool has_carrier);

	/*
	 * The rest may be NULL. None of these calls the membership, but for
	 * membership_send().
	 *
	 * From link_up() to link_down() what is sent to the peer on this network may
	 * arrive, and what it sends there comes. Each is told once, in turns.
	 */
	void (*link_up)(void *arg, unsigned network, uint16_t peer_id, const char *name);
	void (*link_down)(void *arg, unsigned network, uint16_t peer_id);
	/*
	 * The peer became MEMBER_SUSPECT, links or not; or it is that no more: it was
	 * heard again, or is down, which link_down() has told before.
	 */
	void (*peer_suspect)(void *arg, uint16_t peer_id, bool is_suspect);
	/* The peer has paused the network, or goes on; between link_up() and link_down().
	 */
	void (*peer_paused)(void *arg, unsigned network, uint16_t peer_id,
			    bool is_paused);
	/* In the order in which the peer sent them, perhaps not all. Hostile. */
	void (*message)(void *arg, unsigned network, uint16_t peer_id,
			const uint8_t *bytes, size_t length);
};

enum member_state { MEMBER_DOWN, MEMBER_UP, MEMBER_SUSPECT };

/* A snapshot of one peer; the strings are the peer's until anything happens. */
struct member_report {
	uint16_t id;
	const char *name;
	enum member_state state;
	enum peer_state peer_state;
	const char *fabric; /* it is reached by, or was; "" if it never was */
	uint32_t incarnation;
	const char *reason;    /* "" if it is up */
	pid_t pid;	       /* 0 if unknown */
	uint32_t wire_version; /* the highest that it speaks; 0 if unknown */
};

/* One peer on one network, both have it. */
struct member_link_report {
	unsigned network; /* index in the config */
	uint16_t peer_id;
	const char *peer_name;
	const char *fabric;
	struct world_link *link; /* NULL: down */
	bool is_paused;		 /* at the peer */
	const char *reason;	 /* why it is down; "" if it is up */
};

/* A peer that is up, whether it is a border or not. */
struct member_border_report {
	uint16_t id;
	const char *name;
	const struct peer_border *border;
	bool says_it; /* false: nobody knows, for want of a wire version */
};

/*
 * Sets itself as the world's handler, so before the world runs. The config, the
 * world and `events`, where the peers' changes are kept unless it is NULL, outlive it.
 */
int membership_new(const struct node_config *config, struct world *world,
		   struct events *events, const struct membership_handler *handler,
		   void *arg, struct membership **ret_membership);

/* What the network's TAP takes, if that is less than the config says. Before the world
 * runs. */
void membership_set_offloads(struct membership *membership, unsigned network,
			     uint32_t offloads);

/* The network is paused here, or goes on: all peers are told, those to come, too. */
void membership_pause(struct membership *membership, unsigned network, bool is_paused);

/* This node is another border than before: all peers are told, those to come, too. */
void membership_set_border(struct membership *membership,
			   const struct peer_border *border);

/*
 * Leaves: links first, so that every peer salvages what was finished; the handler is
 * told of each network that loses its last one. Accepts NULL.
 */
void membership_free(struct membership *membership);

/*
 * To the peer, through the rings of the network; may be lost, but is not overtaken.
 * -ENOTCONN: there is no link; -EAGAIN: too much at once; -EMSGSIZE: no bytes, or more
 * than WORLD_WORD_MAX.
 */
int membership_send(struct membership *membership, unsigned network, uint16_t peer_id,
		    const uint8_t *bytes, size_t length);

/*
 * A network of the config is there now (its offloads are set), or goes: no link of it is
 * left when this returns. When all is done, peers are told.
 */
void membership_add_network(struct membership *membership, unsigned network);
void membership_remove_network(struct membership *membership, unsigned network);
void membership_tell_networks(struct membership *membership);

/* Whom the config admits no more, by their uid, is refused. */
void membership_expel_strangers(struct membership *membership);

uint32_t membership_incarnation(const struct membership *membership);

/* In the order of their ids; those that are or were there, not those merely named. */
void membership_each_peer(const struct membership *membership,
			  void (*each)(const struct member_report *report, void *arg),
			  void *arg);

/* For each network of the config, each peer that is up. */
void membership_each_link(const struct membership *membership,
			  void (*each)(const struct member_link_report *report,
				       void *arg),
			  void *arg);

/* In the order of their ids. */
void membership_each_border(const struct membership *membership,
			    void (*each)(const struct member_border_report *report,
					 void *arg),
			    void *arg);

/* Each cast ring that this node has. */
void membership_each_cast(const struct membership *membership,
			  void (*each)(const struct cast_report *report, void *arg),
			  void *arg);

unsigned membership_links_up(const struct membership *membership, unsigned network);
unsigned membership_peers_up(const struct membership *membership);
unsigned membership_peers_known(const struct membership *membership);

/*
 * What is degraded, in words: peers that are suspected or refused, networks of a
 * peer that can't be connected, networks without carrier. Returns how many.
 */
unsigned membership_each_reason(const struct membership *membership,
				void (*each)(const char *words, void *arg), void *arg);

#endif
