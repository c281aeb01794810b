/*
 * The policies: which of several members gets what is new [47].
 *
 * round-robin	     each in turn, as often as its weight says, per service (protocol and
 *		     port): two services don't take turns with each other
 * least-connections the one with the fewest connections for its weight
 * consistent-hash   rendezvous hash of the flow: every node chooses alike, and when a
 *		     member leaves only its own flows go elsewhere
 *
 * Deterministic: the same calls give the same choices. Control thread.
 */
#ifndef CONTROL_BALANCE_H
#define CONTROL_BALANCE_H

#include "base/flow.h"
#include "control/config.h"

#include <stdint.h>

#define BALANCE_NODES_MAX    128
#define BALANCE_SERVICES_MAX 64 /* the one that was used least lately is forgotten */

struct balance;

struct balance_node {
	uint16_t id;
	uint32_t weight; /* never 0 */
	uint64_t load;	 /* connections that it has */
};

int balance_new(enum config_balance policy, struct balance **ret_balance);
/* From now on; whose turn it is stays known. */
void balance_set_policy(struct balance *balance, enum config_balance policy);
void balance_free(struct balance *balance); /* accepts NULL */

/* Who gets it; changes nothing. `num` is 1 to BALANCE_NODES_MAX. */
uint16_t balance_choose(const struct balance *balance, const struct flow_key *key,
			const struct balance_node *nodes, unsigned num);

/* It got it, of these. */
void balance_placed(struct balance *balance, const struct flow_key *key,
		    const struct balance_node *nodes, unsigned num, uint16_t node_id);

/* The consistent hash, whatever the policy. */
uint16_t balance_hash(const struct flow_key *key, const struct balance_node *nodes,
		      unsigned num);

#endif
