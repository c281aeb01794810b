/*
 * Telling a LAN where the addresses of a global network are: for clients in their own
 * subnet, who ask for a MAC address and not for a route.
 *
 * One member of the network announces, and who that is others decide. It answers ARP
 * requests and neighbour solicitations for the addresses on one interface with that
 * interface's MAC, and when it begins to, it says so unasked: a gratuitous ARP request
 * and an unsolicited neighbour advertisement that overrides, each three times.
 *
 * Nothing of the kernel's state is changed: who answers is a packet socket of this
 * process, so a node that is killed is silent at once. The kernel itself must not answer
 * for the addresses: global.c has it drop such requests, which a packet socket sees
 * before they are dropped. (The kernel's own way for IPv6, proxy_ndp, works on
 * interfaces that route only.)
 *
 * Who asks is not trusted: a request that is odd gets no answer, and an answer goes to
 * one who asked only. Control thread.
 */
#ifndef CONTROL_ANNOUNCE_H
#define CONTROL_ANNOUNCE_H

#include "control/config.h"
#include "control/kernel.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct announce;
struct netns;

/* All of it outlives the handle. */
struct announce_options {
	struct event_base *base;
	const struct netns *netns; /* of the interface */
	const struct config_network *network;
};

struct announce_counters {
	uint64_t answered;  /* requests */
	uint64_t announced; /* what was said unasked */
	uint64_t failed;    /* what the interface did not take */
};

/* It is off, and the interface unknown, until it is told otherwise. */
int announce_new(const struct announce_options *options, struct announce **ret_announce);
void announce_free(struct announce *announce); /* accepts NULL */

/*
 * This node answers from now on, or does not any more. If it does already, the LAN is
 * told once more: another node has answered there, too, and stopped. Other members can
 * make that happen, so it is told at most once a second.
 */
void announce_set(struct announce *announce, bool on);

/*
 * The state of the interface that `network->announce` names: at start and whenever it
 * changed. NULL: there is none. If it has come, or has another MAC, the LAN is told.
 */
void announce_link(struct announce *announce, const struct kernel_link *link);

/* The interface is there, up, and has carrier. */
bool announce_is_usable(const struct announce *announce);

/* What is wrong, in words that stay for the next call; NULL: nothing. */
const char *announce_reason(struct announce *announce);

struct announce_counters announce_counters(const struct announce *announce);

#endif
