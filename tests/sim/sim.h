/*
 * A world for the control logic in one thread, made of a seed.
 *
 * Everything that happens is an event in a queue ordered by (time, sequence):
 * messages, ends of channels, timers, what the rendezvous shows. Delays and
 * faults come from the seed, so a seed replays exactly; sim_hash() is that of
 * all that happened. Rings and links are fakes that record who attached what.
 *
 * Nodes are on one host unless they are told otherwise. Between hosts a channel carries
 * bytes only and is there before anybody is reached, and a connection takes a while on
 * each side, or is lost.
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
 *  - carrier is what the links say, and so is what is told of each;
 *  - who is suspected is told, once, and when that is over;
 *  - what is sent through a link comes in its order, between the news of the link and
 *    that of its end;
 *  - nobody is suspected of silence but who was paused, is dead, or is not seen
 *    (sim_blind);
 *  - a node writes to at most one cast ring of a group, not to one that was closed for
 *    longer than the news takes, and leaves none that others may write to;
 *  - who stops copying casts to a peer has the peer read the ring;
 *  - a pause of a network is told once, while there is a link, and no frames go there;
 *    when nothing has happened for a while, who is linked knows what is paused;
 *  - when nothing has happened for a while, nodes that are linked and may share write to
 *    one and the same ring of each group, and each knows that the other one reads it;
 *  - no node is told that it broke the rules, but for faults that a test made;
 *  - READY is not said before the connection is there, no link is made before both sides'
 *    is, and nobody speaks of descriptors or cast rings to another machine;
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

extern const uint8_t sim_broadcast[SHMNET_ETH_ALEN];
extern const uint8_t sim_group[SHMNET_ETH_ALEN];

struct sim;
struct sim_node;

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim);

/* A number below `limit`, from the seed. */
uint64_t sim_random(struct sim *sim, uint64_t limit);

/* Of 1000 calls that may fail so many do: dial, send, ring_new, link_new. */
void sim_set_failures(struct sim *sim, unsigned per_mille);

/* Of 1000 allocations of the logic; for tests with sim_shortage.c. */
void sim_set_shortage(struct sim *sim, unsigned per_mille);

/* Cluster "sim", networks lan0 (1500) and big0 (9000). Not started. */
struct sim_node *sim_add_node(struct sim *sim, uint16_t id, const char *name);

/* To be changed between lives. */
struct node_config *sim_config(struct sim_node *node);
void sim_set_uid(struct sim_node *node, uid_t uid);
void sim_set_host(struct sim_node *node, unsigned host); /* below SIM_NODES_MAX */
/* What other hosts see of it; its name if nothing is said. */
void sim_set_certificate(struct sim_node *node, const char *name);

void sim_start(struct sim_node *node);
void sim_kill(struct sim_node *node); /* its socket stays in the rendezvous */
void sim_stop(struct sim_node *node); /* as SIGTERM would */
void sim_pause(struct sim_node *node);
void sim_resume(struct sim_node *node);
/* Its machine was suspended for so long, which its clock doesn't know. */
void sim_suspend(struct sim_node *node, uint64_t duration_ns);
/* One of its networks, in this life, as `shmnetctl pause` and `resume` do. */
void sim_pause_network(struct sim_node *node, unsigned network, bool is_paused);
/* Does `node` send nothing to `other` there, because that one has paused it? */
bool sim_knows_pause(const struct sim_node *node, const struct sim_node *other,
		     unsigned network);
/* It is another border than before, in this life. */
void sim_set_border(struct sim_node *node, const struct peer_border *border);
/* What `node` knows of `other` as a border; all zero if that is not up there. */
struct peer_border sim_border_of(const struct sim_node *node,
				 const struct sim_node *other);
void sim_stop_all(struct sim *sim);
bool sim_is_alive(const struct sim_node *node);
bool sim_is_paused(const struct sim_node *node);

/*
 * Its machine sleeps: nothing runs, and its clock stands still; and wakes. Who only
 * pauses finds that time has passed.
 */
void sim_sleep(struct sim_node *node);
void sim_wake(struct sim_node *node);
/* Its clock is ahead by that much more; timers that are due by then fire. */
void sim_step_clock(struct sim_node *node, uint64_t by_ns);

/*
 * What `from` sends to `to` on another host does not get there, or does so again: then
 * what channels hold arrives, in its order. Letters and signs of life are lost.
 */
void sim_part(struct sim_node *from, struct sim_node *to, bool is_parted);

/* `node` does not see any more (or again) that `other` shows life. */
void sim_blind(struct sim_node *node, const struct sim_node *other, bool is_blind);

/* What `node` told of its peers, in this life. */
const struct events *sim_events(const struct sim_node *node);

/* From now on `node` has no fabric to other hosts, or has one again. */
void sim_set_fabric_down(struct sim_node *node, bool is_down);

/* The connection of the two is lost on `node`'s side; false if they have none. */
bool sim_lose_conn(struct sim_node *node, struct sim_node *peer);

/* The channel of the two breaks, both live on. */
void sim_cut(struct sim_node *a, struct sim_node *b);

/* The worker of `node` reports its link to `peer`; false if there is none. */
bool sim_fault_link(struct sim_node *node, struct sim_node *peer, unsigned network,
		    int error);

/* The worker of `node` has copied casts to that group; false if it has a ring. */
bool sim_want_cast(struct sim_node *node, unsigned network, const uint8_t *label);
/* From now on all nodes cast, to the broadcast and to one group, all the time. */
void sim_cast_always(struct sim *sim);
/* The worker of `node` reports the ring of that group; false if there is none. */
bool sim_fault_cast(struct sim_node *node, unsigned network, const uint8_t *label,
		    int error);
/* The same of the lane that `node` reads `peer`'s casts from. */
bool sim_fault_lane(struct sim_node *node, const struct sim_node *peer, unsigned network,
		    int error);
/* Who is killed from now on dies in the middle of a slot of each ring. */
void sim_die_in_slots(struct sim *sim);
/* Of the ring that it writes to; 0: none. */
uint64_t sim_cast_id(const struct sim_node *node, unsigned network, const uint8_t *label);
uint64_t sim_cast_epoch(const struct sim_node *node, unsigned network,
			const uint8_t *label);
/* Is somebody dead in the middle of a slot of it? */
bool sim_cast_is_stuck(const struct sim_node *node, unsigned network,
		       const uint8_t *label);
/* Of all nodes together: views of memory, used or draining. */
unsigned sim_count_casts(const struct sim *sim);
/* Goes `a`'s casts to `b` by the ring? Else as a copy. */
bool sim_casts_by_ring(const struct sim_node *a, const struct sim_node *b,
		       unsigned network, const uint8_t *label);

/*
 * What nodes send through their links, numbered: one message, false if there is no
 * link; how many have come of another node in this life; and from now on, for nodes that
 * start, all the time and with answers.
 */
bool sim_write(struct sim_node *node, const struct sim_node *to, unsigned network);
unsigned sim_count_heard(struct sim_node *node, const struct sim_node *from,
			 unsigned network);
void sim_write_always(struct sim *sim);

/*
 * From now on, for nodes that start: each sends numbered frames to one peer and to all,
 * all the time, through real rings (shmnet/ring.h, shmnet/cast.h). No frame comes twice,
 * torn, of another life than the link's, or (if it is for one) out of order; memory is
 * linked once; who runs has read a cast ring when it leaves it.
 */
void sim_frames_always(struct sim *sim);
/* All of them send to all by each way, once, and nothing else: did all of it arrive? Ends
 * the frames. */
bool sim_roll_call(struct sim *sim);
uint64_t sim_count_frames(const struct sim *sim); /* that came */

/*
 * A global network, for nodes that start from now on: each has a dispatcher, which talks
 * by the links of big0, and clients' connections, which come in at any of them. A packet
 * of a connection never goes to another node than its own, if that one can be reached,
 * and no table is above its cap.
 */
void sim_flows_always(struct sim *sim);
void sim_flows_open_ports(struct sim_node *node); /* it listens on some */
uint64_t sim_count_moved(const struct sim *sim);  /* packets, from node to node */
/* When all is quiet: one node announces, and each knows whose each connection is. */
bool sim_flows_agree(struct sim *sim);

/* The rendezvous shows `node` to everybody once more. */
void sim_show_again(struct sim_node *node);

/* Somebody without a membership dials `node` and sends this; see sim_stranger_*. */
struct world_channel *sim_dial_stranger(struct sim *sim, struct sim_node *node,
					uid_t uid);
/* The same from another host. */
struct world_channel *sim_dial_foreigner(struct sim *sim, struct sim_node *node,
					 const char *certificate);
void sim_stranger_send(struct world_channel *channel, const struct peer_message *message);
void sim_stranger_send_bytes(struct world_channel *channel, const void *bytes,
			     size_t length, bool with_fd, unsigned surplus);
/*
 * A stranger that goes through the handshake as a node of lan0 does, its links and all;
 * after 200 ms it is up. What it says then of casts comes with a descriptor of memory
 * of `depth` slots, if one belongs to it.
 */
struct world_channel *sim_dial_member(struct sim *sim, struct sim_node *node, uint16_t id,
				      const char *name);
/* The same in another version than ours. */
struct world_channel *sim_dial_member_of(struct sim *sim, struct sim_node *node,
					 uint16_t id, const char *name, uint32_t version);
/* How many BORDERs it was told. */
unsigned sim_stranger_borders(const struct world_channel *channel);
void sim_stranger_send_cast(struct world_channel *channel,
			    const struct peer_message *message, uint32_t depth);
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

/* Links and suspicions that nodes were told of, all together. */
unsigned sim_count_changes(const struct sim *sim);

/* Lines that all nodes together have logged as warnings. */
unsigned sim_count_warnings(const struct sim *sim);

/* NULL, or the first invariant that broke. */
const char *sim_error(const struct sim *sim);
uint64_t sim_hash(const struct sim *sim);

/* ---- what tests do again and again ---- */

/* Named n1 and so on, by their ids, which follow each other. Not started. */
struct sim_node *sim_add_next(struct sim *sim);
/* The same, so many on so many hosts in turn. */
void sim_add_nodes(struct sim *sim, unsigned count, unsigned hosts);
struct sim *sim_new_nodes(uint64_t seed, unsigned count, unsigned hosts);
void sim_start_all(struct sim *sim);
/* Started a second ago. */
struct sim *sim_new_started(uint64_t seed, unsigned count, unsigned hosts);
/* The end of all: no invariant is broken, and no cast ring is left. */
void sim_finish(struct sim *sim);

bool sim_all_linked(struct sim *sim, unsigned network);
/* As sim_view() has it. */
const char *sim_reason(struct sim_node *node, const struct sim_node *other);
/* Those of `node` that have this state: about one node, or, with NULL, about all. */
unsigned sim_count_events(const struct sim_node *node, enum events_state state,
			  const char *about);

struct sim_node *sim_some_node(struct sim *sim);
/* Of a node that lives; perhaps it starts again at once. */
void sim_end_some_life(struct sim *sim, struct sim_node *node);
/* The same, and one that is dead starts. */
void sim_end_or_start(struct sim *sim, struct sim_node *node);
void sim_pause_or_resume(struct sim_node *node);
/* It dies or starts, is paused or resumed, or loses its channel or connection to another.
 */
void sim_make_fault(struct sim *sim, struct sim_node *node);
/* So many, with up to `pause_max_ns` after each. */
void sim_make_faults(struct sim *sim, unsigned count, void (*make_one)(struct sim *sim),
		     uint64_t pause_max_ns);
/* No call fails any more, all nodes run, and see each other. */
void sim_heal(struct sim *sim);

/* Everything that happens goes to standard error from now on. */
void sim_trace(struct sim *sim);

/* Random faults, healed in the end, and what has to be true then. */
struct sim_schedule {
	void (*run)(struct sim *sim);
	bool (*agree)(struct sim *sim);
	const char *complaint; /* if they don't */
};

/* The hash of all that happened with this seed, or 0 and the complaint. */
uint64_t sim_try_seed(const struct sim_schedule *schedule, uint64_t seed, bool is_traced);

/* `count` seeds, or what SEEDS (a number, or first-last) and SEED say. How many failed.
 */
unsigned sim_try_seeds(const struct sim_schedule *schedule, uint64_t count);

#endif
