/*
 * A world for the control logic in one thread, made of a seed.
 *
 * Everything that happens is an event in a queue ordered by (time, sequence):
 * messages, ends of channels, timers, what the rendezvous shows. Delays and
 * faults come from the seed, so a seed replays exactly; sim_hash() is that of
 * all that happened. Rings and links are fakes that record who attached what.
 *
 * After every event the invariants are checked; the first that breaks is kept as
 * sim_error(), and the world stands still from then on:
 *
 *  - a node has at most one link per peer and network;
 *  - if both ends have theirs, each writes into the ring that the other one reads,
 *    with the same salt;
 *  - nobody keeps a link into memory that its owner has left, for longer than the
 *    news takes;
 *  - nothing is sent, closed or freed twice or after its close; a life that ended
 *    leaves nothing open;
 *  - a node sees another's incarnation never fall, and rise with each life as long
 *    as there are numbers;
 *  - carrier is what the links say;
 *  - nobody is suspected of silence but who was paused, is dead, or is not seen
 *    (sim_blind);
 *  - the logic logs no error: it met no event that its tables don't know.
 */
#ifndef SIM_H
#define SIM_H

#include "control/config.h"
#include "control/events.h"
#include "control/member.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_MS		 1000000ull
#define SIM_S		 1000000000ull
#define SIM_DELAY_MAX_NS (20 * SIM_MS) /* of anything that travels */
#define SIM_NODES_MAX	 8
#define SIM_NETWORKS	 2

struct sim;
struct sim_node;

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim);

/* A number below `limit`, from the seed. */
uint64_t sim_random(struct sim *sim, uint64_t limit);

/* Of 1000 calls that may fail so many do: dial, send, ring_new, link_new. */
void sim_set_failures(struct sim *sim, unsigned per_mille);

/* Cluster "sim", networks lan0 (1500) and big0 (9000). Not started. */
struct sim_node *sim_add_node(struct sim *sim, uint16_t id, const char *name);

/* To be changed between lives. */
struct node_config *sim_config(struct sim_node *node);
void sim_set_uid(struct sim_node *node, uid_t uid);

void sim_start(struct sim_node *node);
void sim_kill(struct sim_node *node); /* its socket stays in the rendezvous */
void sim_stop(struct sim_node *node); /* as SIGTERM would */
void sim_pause(struct sim_node *node);
void sim_resume(struct sim_node *node);
void sim_stop_all(struct sim *sim);
bool sim_is_alive(const struct sim_node *node);
bool sim_is_paused(const struct sim_node *node);

/* `node` does not see any more (or again) that `other` shows life. */
void sim_blind(struct sim_node *node, const struct sim_node *other, bool is_blind);

/* What `node` told of its peers, in this life. */
const struct events *sim_events(const struct sim_node *node);

/* The channel of the two breaks, both live on. */
void sim_cut(struct sim_node *a, struct sim_node *b);

/* The worker of `node` reports its link to `peer`; false if there is none. */
bool sim_fault_link(struct sim_node *node, struct sim_node *peer, unsigned network,
		    int error);

/* The rendezvous shows `node` to everybody once more. */
void sim_show_again(struct sim_node *node);

/* Somebody without a membership dials `node` and sends this; see sim_stranger_*. */
struct world_channel *sim_dial_stranger(struct sim *sim, struct sim_node *node,
					uid_t uid);
void sim_stranger_send(struct world_channel *channel, const struct peer_message *message);
void sim_stranger_send_bytes(struct world_channel *channel, const void *bytes,
			     size_t length, bool with_fd, unsigned surplus);
void sim_stranger_close(struct world_channel *channel);
/* Words of the REFUSE that it got last; "" if none. */
const char *sim_stranger_refusal(const struct world_channel *channel);
bool sim_stranger_is_closed(const struct world_channel *channel);

/* Stops early if an invariant breaks. */
void sim_run(struct sim *sim, uint64_t duration_ns);
uint64_t sim_now(const struct sim *sim);

struct membership *sim_membership(struct sim_node *node); /* NULL if it is dead */
struct sim_node *sim_node_at(struct sim *sim, unsigned index);
unsigned sim_num_nodes(const struct sim *sim);

/* Do both have a link to each other on that network? */
bool sim_linked(const struct sim_node *a, const struct sim_node *b, unsigned network);
bool sim_has_carrier(const struct sim_node *node, unsigned network);

/* The state and reason in which `node` sees `other`; DOWN and "" if it doesn't. */
enum member_state sim_view(struct sim_node *node, const struct sim_node *other,
			   uint32_t *ret_incarnation, const char **ret_reason);

/* NULL, or the first invariant that broke. */
const char *sim_error(const struct sim *sim);
uint64_t sim_hash(const struct sim *sim);

/* Everything that happens goes to standard error from now on. */
void sim_trace(struct sim *sim);

#endif
