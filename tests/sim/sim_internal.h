/*
 * What the files of the simulator share.
 *
 *     sim.c          the seed, the trace, the queue of events, running, many seeds
 *     sim_node.c     nodes: clocks and timers, their lives, what happens to them
 *     sim_channel.c  descriptors, channels, strangers
 *     sim_ring.c     connections, rings, links, what is sent through these
 *     sim_cast.c     cast rings, and the workers that want them
 *     sim_frames.c   frames through rings and cast rings, as a worker moves them
 *     sim_flows.c    a global network: dispatchers, and connections of clients
 *     sim_talk.c     what nodes write to each other, and what they are told of links
 *     sim_check.c    what must hold after every event
 *
 * One thread. Everything random comes from sim_next_random(), everything that happens is
 * said by sim_note(), which is what a replay is compared by.
 */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "sim.h"

#include "control/cast.h"
#include "control/dispatch.h"

#include <shmnet/cast.h>

#define SIM_FDS_MAX	  (1u << 16)
#define SIM_WANTS	  16
#define SIM_FLOWS	  24
#define SIM_FLOWS_NETWORK 1			 /* whose links the dispatchers use */
#define SIM_NEWS_NS	  (SIM_DELAY_MAX_NS + 1) /* of anything, at most */
#define SIM_PATIENCE_NS	  (100 * SIM_MS)	 /* with a slot in writing */

/* Everything that has to be freed at the end. */
struct sim_object {
	struct sim_object *next;
};

/* The memory of a ring, which two world_rings may show. */
struct sim_memory {
	struct sim_object object;
	uint16_t maker;
	uint64_t size;
	uint64_t beat; /* of who writes into it */
	bool is_dead;
	uint64_t died_ns;
	unsigned life; /* of its maker */
	bool was_read, was_written;
	struct sim_tape *tape;	    /* what is in it; NULL: there are no frames */
	struct sim_letter *letters; /* that the maker has not read */
	uint64_t last_letter_ns;
};

/* What was sent through a link. */
struct sim_letter {
	struct sim_object object;
	struct sim_letter *next;
	uint64_t time_ns; /* when it arrives, if there is a link then */
	size_t length;
	uint8_t bytes[WORLD_WORD_MAX];
};

/* What the nodes of the simulator say by it: each is above all before, at its reader. */
struct sim_text {
	uint32_t life;
	uint32_t link;
	uint32_t number;
	uint32_t answers; /* that it is worth */
};

/* One node, as another one has heard of it on one network. */
struct sim_talk {
	bool is_up;
	uint64_t changed_ns; /* by the node's clock */
	bool is_off;	     /* it has paused the network, as far as was told */
	uint32_t link;	     /* how often it was up */
	uint32_t said;	     /* since then */
	uint32_t heard;
	struct sim_text last;
};

/* How one end of a connection is reached: its doorbell, or its queue pair. */
struct sim_socketpair {
	struct sim_object object;
	struct world_conn *conn; /* whose it is; NULL: a stranger's */
};

/* The memory of a cast ring. */
struct sim_cast_memory {
	struct sim_object object;
	struct world_cast_spec spec;
	bool is_closed;
	uint64_t closed_ns;
	bool is_stuck[SIM_NODES_MAX];	  /* who died in a slot */
	unsigned was_left[SIM_NODES_MAX]; /* in which life */
	void *tape;			  /* what is in it; NULL: there are no frames */
};

struct sim_fd {
	struct sim_node *node;
	struct sim_memory *memory;	 /* either */
	struct sim_socketpair *doorbell; /* or */
	struct sim_cast_memory *cast;	 /* or */
	bool is_open;
};

struct world_timer {
	struct sim_object object;
	struct sim_node *node;
	void (*fire)(void *arg);
	void *arg;
	uint64_t shot; /* events of earlier ones are void */
	bool is_set;
	uint64_t due_ns; /* by the clock of its node */
	bool is_freed;
	struct world_timer *next;
};

struct world_channel {
	struct sim_object object;
	struct sim_node *node; /* NULL: a stranger's */
	struct world_channel *other;
	const struct world_channel_handler *handler;
	void *arg;
	uid_t peer_uid;
	pid_t peer_pid;	  /* tells its life, too */
	uint64_t last_ns; /* when the last thing on its way to this end arrives */
	bool is_remote;
	bool is_closed; /* by its owner */
	bool is_dead;	/* closed, cut, or its owner died */
	bool is_cut;	/* dead, but both owners live */
	bool had_end;	/* `closed` was called */
	struct world_channel *next;
	struct world_conn *conn;	   /* of its owner */
	const char *why;		   /* of its end */
	char certificate[CONFIG_NAME_MAX]; /* of the other end */
	char refusal[PEER_WORDS_MAX];
	unsigned borders;
	struct sim_message *held; /* on this side of a partition */
};

struct sim_message {
	struct sim_object object;
	struct sim_message *next;
	struct world_channel *to;
	uint8_t *bytes;
	size_t length;
	struct sim_memory *memory;
	struct sim_socketpair *doorbell;
	struct sim_cast_memory *cast;
	unsigned surplus;
	int error; /* of `closed`, if there are no bytes */
};

struct world_conn {
	struct sim_object object;
	struct sim_node *node;
	struct sim_socketpair *heard; /* ours: the peer rings it */
	int fd;			      /* what rings it, to be sent; -1: that is over */
	struct sim_socketpair *rung;  /* the peer's, once it was accepted */
	struct world_channel *channel;
	bool is_ready;
	bool is_lost;
	unsigned num_links;
	unsigned num_rings;
	bool is_freed;
};

struct world_ring {
	struct sim_object object;
	struct sim_node *node;
	struct world_conn *conn;
	struct sim_memory *memory;
	bool is_ours;
	bool is_freed;
	int fd; /* of ours */
	struct world_ring *next;
};

struct world_link {
	struct sim_object object;
	struct sim_node *node;
	struct world_link_spec spec;
	struct shmnet_ring_rx rx;
	struct shmnet_ring_tx tx;
	bool is_off;		 /* carries no frames: the peer has paused the network */
	struct world_link *next; /* of those that are open */
};

struct world_cast {
	struct sim_object object;
	struct sim_node *node;
	struct sim_cast_memory *memory;
	struct world_cast_spec spec;
	bool reads, writes;
	uint64_t shown_ns;
	int fd; /* -1: of a peer's lane */
	struct world_link *readers[SIM_NODES_MAX];
	struct world_link *announced[SIM_NODES_MAX]; /* no copies go by it */
	struct shmnet_cast_reader reader;
	struct shmnet_cast_writer writer;
	unsigned index; /* in what it announces */
	uint64_t next_position;
	bool is_broken;		     /* its worker found nonsense, and reads no more */
	bool is_halfway;	     /* its worker stopped in the middle of a slot */
	uint64_t stuck_at, stuck_ns; /* the slot in writing that it waits for */
	struct world_cast *next;     /* of those that are open */
};

/* Which frames of another node came. */
#define SIM_SEEN_WORDS 64
struct sim_heard {
	uint32_t life;
	uint64_t last;
	uint64_t last_own[SIM_NETWORKS]; /* not cast */
	uint64_t count;
	uint64_t seen[SIM_SEEN_WORDS]; /* of the last numbers */
};

/* A connection of a client, to the global address. */
struct sim_flow {
	struct flow_key key;
	unsigned owner; /* whose kernel has it; SIM_NODES_MAX: nobody's */
	uint64_t ended_ns;
	/* When it was last given to that node in vain, or late; 0: never. */
	uint64_t strayed_ns[SIM_NODES_MAX];
	uint64_t half_until_ns[SIM_NODES_MAX]; /* its kernel answers such an opener */
	uint64_t opened_ns;		       /* when the client tried first */
	unsigned got;			       /* packets */
	struct sim_wait {
		bool is_open;
		enum flow_kind kind;
		uint64_t since_ns;
	} waits[SIM_NODES_MAX]; /* a packet, for a verdict, at this node */
};

/* Whose an epoch of a host's cast rings is. */
struct sim_claim {
	uint64_t ring_id; /* 0: nobody's */
	uint16_t maker;
};

/* A worker that waits for an answer. */
struct sim_want {
	unsigned network;
	uint8_t label[SHMNET_ETH_ALEN];
	bool is_open;
	uint64_t asked_ns;
};

struct sim_event {
	uint64_t time_ns;
	uint64_t sequence;
	struct sim_node *node; /* whose life it belongs to; may be NULL */
	unsigned life;
	void (*run)(struct sim *sim, struct sim_node *node, void *arg, uint64_t number);
	void *arg;
	uint64_t number;
};

struct sim_node {
	struct world world; /* first: what the logic has */
	struct sim *sim;
	struct node_config config;
	struct config_network networks[SIM_NETWORKS];
	char name[CONFIG_NAME_MAX];
	struct membership *membership;
	unsigned life; /* 0: never started */
	bool is_alive;
	bool is_paused;
	bool is_visible;   /* its socket is in the rendezvous */
	uint64_t clock_ns; /* what its clock is ahead, modulo 2^64 */
	uint64_t stepped_ns[CONFIG_LIVENESS_MISSES_DEFAULT]; /* when, the last first */
	uint64_t asleep_ns; /* since then its machine sleeps; 0: it does not */
	struct world_timer *timers;
	unsigned host;
	bool is_fabric_down;
	bool was_short; /* of memory, in this life */
	char certificate[CONFIG_NAME_MAX];
	uint64_t resumed_ns;
	uint64_t suspended_ns;	      /* its machine, so far */
	uint64_t quiet_ns;	      /* when it was last known not to show life */
	bool is_blind[SIM_NODES_MAX]; /* to the node of that index */
	struct events events;
	uint64_t last_notice_ns; /* of the rendezvous, which keeps its order */
	struct world_link *links;
	struct world_cast *casts;
	struct sim_want wants[SIM_WANTS];
	bool is_leaving;
	bool carrier[SIM_NETWORKS];
	bool is_off[SIM_NETWORKS]; /* networks that it has paused */
	struct sim_talk talks[SIM_NODES_MAX][SIM_NETWORKS];
	bool suspects[SIM_NODES_MAX];
	struct sim_heard heard[SIM_NODES_MAX][2]; /* of the last two lives */
	struct dispatch *dispatch;		  /* NULL: dead, or there are no flows */
	struct world_timer *flow_timer;
	struct config_network flow_config;
	unsigned ports;	      /* a bit for each that it listens on */
	uint64_t unlinked_ns; /* when a link of SIM_FLOWS_NETWORK ended last */
	bool is_announcing;
	uint64_t last_frame;
	unsigned next_cast;
	unsigned num_open; /* of what it has to close, free or give away */
	struct sim_event *held;
	size_t num_held;
	/* The others as they were when they were up: incarnation, and of which life. */
	uint32_t seen[SIM_NODES_MAX];
	pid_t seen_pid[SIM_NODES_MAX];
};

struct sim {
	uint64_t state; /* of the random numbers */
	uint64_t now_ns;
	uint64_t sequence;
	uint64_t hash;
	unsigned failures;
	bool is_traced;
	struct sim_event *queue; /* a heap */
	size_t num_events, max_events;
	struct sim_object *objects;
	struct world_channel *channels;
	struct world_ring *rings;
	struct sim_node *nodes[SIM_NODES_MAX];
	unsigned num_nodes;
	struct sim_fd fds[SIM_FDS_MAX];
	unsigned num_fds;
	uint64_t epochs[SIM_NODES_MAX][SIM_NETWORKS]; /* of each host */
	uint64_t disturbed_ns; /* when something happened to the casts */
	bool casts_always;
	bool writes_always;
	bool has_flows;
	uint64_t num_moved; /* packets that went to another node's connection */
	bool is_calm;	    /* nothing is being disturbed any more */
	struct sim_flow flows[SIM_FLOWS];
	bool has_frames;
	uint64_t num_frames;
	unsigned num_warnings;
	bool dies_in_slots;
	unsigned shortage;	  /* of 1000 allocations that fail */
	struct sim_node *running; /* NULL: nobody */
	bool has_strangers;
	bool has_liars;	      /* who give out epochs as they like */
	unsigned num_changes; /* that nodes were told of */
	bool is_parted[SIM_NODES_MAX][SIM_NODES_MAX]; /* from, to */
	uint64_t joined_ns[SIM_NODES_MAX][SIM_NODES_MAX];
	struct sim_claim *claims[SIM_NODES_MAX][SIM_NETWORKS];
	uint64_t num_claims[SIM_NODES_MAX][SIM_NETWORKS];
	uint64_t broken_ns;
	char error[256];
};

/* ---- sim.c ---- */

uint64_t sim_next_random(struct sim *sim);
uint64_t sim_random_delay(struct sim *sim);
bool sim_fails(struct sim *sim); /* does this call fail? */
bool sim_is_short(void);	 /* does this allocation fail? Not our own ones */
/* The logic of this world runs from now on: its log is that of `sim`. */
void sim_enter(struct sim *sim);

void __attribute__((format(printf, 2, 3)))
sim_note(struct sim *sim, const char *format, ...);
/* The same, of what happens all the time: cheaper. */
void sim_note_step(struct sim_node *node, const char *what, const char *of);
/* An invariant broke. */
void __attribute__((format(printf, 2, 3)))
sim_break(struct sim *sim, const char *format, ...);

/* Memory that is never short. */
void *sim_grow(void *array, size_t count, size_t size);
void *sim_alloc(struct sim *sim, size_t size); /* an object, zeroed */
/* The same, at the beginning of a line. */
void *sim_alloc_lines(struct sim *sim, size_t size);
void sim_push(struct sim *sim, const struct sim_event *event);
/* `run` is called at that time, unless the node's life (NULL: nobody's) is over. */
void sim_at(struct sim *sim, uint64_t time_ns, struct sim_node *node,
	    void (*run)(struct sim *sim, struct sim_node *node, void *arg,
			uint64_t number),
	    void *arg, uint64_t number);

/* ---- sim_node.c ---- */

struct sim_node *sim_node_of(struct world *world);
struct sim_node *sim_find_node(struct sim *sim, uint16_t id); /* NULL: a stranger */
unsigned sim_find_index(const struct sim *sim, uint16_t id);  /* num_nodes: likewise */
unsigned sim_index_of(const struct sim_node *node);
/* Nothing gets from one to the other, or lately did not. */
bool sim_is_parted(const struct sim_node *from, const struct sim_node *to);
bool sim_are_parted(const struct sim_node *a, const struct sim_node *b); /* or back */
uint64_t sim_joined_ns(const struct sim_node *from, const struct sim_node *to);
/* Tells its life, too. */
pid_t sim_pid_of(const struct sim_node *node);
void sim_fill_time_ops(struct world_ops *ops);

/* ---- sim_channel.c ---- */

int sim_open_fd(struct sim_node *node, struct sim_memory *memory,
		struct sim_socketpair *doorbell);
/* NULL: it is not open. */
struct sim_fd *sim_find_fd(struct sim_node *node, int fd);
void sim_close_fd(struct sim_node *node, int fd);
const char *sim_end_name(const struct world_channel *channel);
/* This end is gone: the other one will hear of it. */
void sim_end_channel(struct sim *sim, struct world_channel *channel, int error);
/* What a partition held on its way. */
void sim_flush(struct sim_node *from, struct sim_node *to);
void sim_close_backlog(struct sim_node *node);
void sim_fill_channel_ops(struct world_ops *ops);

/* ---- sim_ring.c ---- */

struct world_conn *sim_other_conn(const struct world_conn *conn);
/* NULL: there is none. */
struct world_link *sim_find_link(const struct sim_node *node, uint16_t peer_id,
				 unsigned network);
void sim_leave_memory(struct world_ring *ring);
void sim_lose_half(struct world_conn *conn);
void sim_lose_parted(struct sim_node *a, struct sim_node *b);
void sim_fill_ring_ops(struct world_ops *ops);

/* ---- sim_cast.c ---- */

/* That it writes to. */
struct world_cast *sim_find_cast(const struct sim_node *node, unsigned network,
				 const uint8_t *label);
void sim_run_casts(struct sim *sim, struct sim_node *node, void *arg, uint64_t number);
void sim_fill_cast_ops(struct world_ops *ops);

/* ---- sim_frames.c; without frames nothing happens ---- */

void sim_run_frames(struct sim *sim, struct sim_node *node, void *arg, uint64_t number);
void sim_frames_unicast(struct world_link *link);
void sim_frames_cast(struct sim_node *node, unsigned network, const uint8_t *label);
void sim_frames_link(struct world_link *link);
/* While it and its cast rings are there. */
void sim_frames_unlink(struct world_link *link, bool peer_is_dead);
void sim_frames_show(struct world_cast *cast);
void sim_frames_hide(struct world_cast *cast);
bool sim_frames_drain(struct world_cast *cast); /* is it read to its end? */
void sim_frames_close(struct world_cast *cast);
void sim_frames_reclaim(struct world_cast *cast, uint16_t id);
void sim_frames_pause(struct sim_node *node);
void sim_frames_resume(struct sim_node *node);
void sim_frames_die(struct sim_node *node);

/* ---- sim_flows.c; if there are flows ---- */

void sim_flows_start(struct sim_node *node);
void sim_flows_end(struct sim_node *node); /* after its membership */
void sim_flows_check(struct sim_node *node);

/* ---- sim_talk.c ---- */

extern const struct membership_handler sim_talk_handler;
void sim_talks_start(struct sim_node *node); /* a new life: no links */
void sim_run_writes(struct sim *sim, struct sim_node *node, void *arg, uint64_t number);

/* ---- sim_check.c ---- */

void sim_check(struct sim *sim);

#endif
