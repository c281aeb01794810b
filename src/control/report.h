/*
 * What the node tells a client, as plain structs: one per verb of the control
 * socket. Snapshots, filled by the node, encoded by codec_ctl.c.
 *
 * Ownership: ctlsock hands a zeroed report to the handler; the handler fills it
 * and allocates the lists with report_list_new(); ctlsock encodes it and frees
 * it with report_*_free(), which frees the lists, not the struct, and accepts
 * a zeroed or half-filled one (after a handler failed, too). Strings are arrays
 * inside the structs, always terminated; what does not fit is cut.
 *
 * Control thread only.
 */
#ifndef CONTROL_REPORT_H
#define CONTROL_REPORT_H

#include "base/drop.h"
#include "control/config.h"
#include "control/events.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define REPORT_NAME_MAX	   64
#define REPORT_ADDRESS_MAX 52 /* INET6_ADDRSTRLEN, "/128" and some */
#define REPORT_OFFLOAD_MAX 8
#define REPORT_REASON_MAX  320
#define REPORT_REASONS_MAX 16
#define REPORT_PATH_MAX	   128
#define REPORT_END_MAX	   56 /* "[INET6_ADDRSTRLEN]:65535" */
#define REPORT_FLOW_MAX	   128
#define REPORT_STEPS_MAX   9
#define REPORT_KEY_MAX	   96 /* of the config */
#define REPORT_FILE_MAX	   1024
#define REPORT_ERROR_MAX   1024 /* a line about the config */

enum report_state {
	REPORT_STATE_DOWN,
	REPORT_STATE_UP,
	REPORT_STATE_SUSPECT,
	REPORT_STATE_PAUSED, /* a network or a link of it: no frames by order */
	REPORT_STATE_NUM_
};

enum report_health {
	REPORT_HEALTH_STARTING,
	REPORT_HEALTH_READY,
	REPORT_HEALTH_DEGRADED,
	REPORT_HEALTH_PAUSED, /* nothing is wrong, and a network is paused */
	REPORT_HEALTH_NUM_
};

/* A node of a global network; what only itself can tell counts if it `is_known`. */
struct report_member {
	char name[REPORT_NAME_MAX];
	enum report_state state;
	bool is_paused; /* there */
	bool is_known;
	bool drained;
	bool announces;
	uint32_t weight;
	uint64_t connections;
};

/* A network of this node. */
struct report_network {
	char name[REPORT_NAME_MAX];
	enum network_kind kind;
	uint32_t mtu;
	char tap[REPORT_NAME_MAX];
	bool dhcp; /* IPv4 addresses come by DHCP; told by `status` only */
	unsigned num_addresses;
	char addresses[CONFIG_ADDRESSES_MAX][REPORT_ADDRESS_MAX]; /* "10.77.0.1/24" */
	enum report_state state; /* up: has carrier; never suspect */
	bool is_paused;
	uint64_t paused_ms;   /* so long, if it is */
	unsigned num_members; /* of a global one, this node included */
	struct report_member *members;
	/* What follows is told by `status` only. */
	unsigned queues; /* of the TAP; 1: steering was refused */
	unsigned links_up;
	unsigned num_offloads;
	char offloads[CONFIG_OFFLOADS][REPORT_OFFLOAD_MAX]; /* "tso4" */
};

enum report_seed_state {
	REPORT_SEED_CONNECTING,
	REPORT_SEED_UP,
	REPORT_SEED_WAITING,
	REPORT_SEED_SELF,
	REPORT_SEED_NUM_
};

/* A fabric of this node; what its kind has not is empty. */
struct report_fabric {
	char name[REPORT_NAME_MAX];
	enum fabric_kind kind;
	enum report_state state; /* up or down */
	char reason[REPORT_REASON_MAX];
	char path[REPORT_PATH_MAX];
	char device[REPORT_NAME_MAX];
	char listen[REPORT_NAME_MAX];
	enum fabric_security security;
};

struct report_seed {
	char address[REPORT_NAME_MAX];
	enum report_seed_state state;
	char node[REPORT_NAME_MAX];
	char reason[REPORT_REASON_MAX];
	uint64_t since_ms; /* so long */
};

/* A node; reason and pid are told by `status` only. */
struct report_node {
	char name[REPORT_NAME_MAX];
	uint32_t id;
	enum report_state state;
	char fabric[REPORT_NAME_MAX]; /* "shm", "rdma/rxe0"; "self" for this node */
	char fabric_reason[REPORT_NAME_MAX];
	uint32_t incarnation;		/* 0: not known yet */
	char reason[REPORT_REASON_MAX]; /* why it is not up, in words; may be empty */
	uint32_t pid;			/* 0: unknown or on another machine */
	uint32_t wire_version;		/* the highest that it speaks; 0: unknown */
	unsigned num_paused;		/* networks that it has paused */
	char paused[CONFIG_NETWORKS_MAX][REPORT_NAME_MAX];
};

struct report_link {
	char network[REPORT_NAME_MAX];
	char from[REPORT_NAME_MAX]; /* names of nodes */
	char to[REPORT_NAME_MAX];
	char fabric[REPORT_NAME_MAX];
	enum report_state state; /* up, down, or paused by either */
};

struct report_status {
	char node[REPORT_NAME_MAX];
	uint32_t id;
	char cluster[REPORT_NAME_MAX];
	uint32_t pid;
	enum report_health state;
	unsigned num_reasons;
	char reasons[REPORT_REASONS_MAX][REPORT_REASON_MAX]; /* what is degraded */
	uint64_t uptime_ms;
	uint32_t incarnation;
	unsigned nodes_up; /* others, not itself */
	unsigned nodes_known;
	uint64_t drops;		      /* frames, of all networks and links */
	char netns[CONFIG_NETNS_MAX]; /* of the TAPs; empty: the node's own */
	unsigned num_networks;
	struct report_network *networks;
	unsigned num_nodes; /* the others */
	struct report_node *nodes;
	unsigned num_fabrics;
	struct report_fabric *fabrics;
	unsigned num_seeds;
	struct report_seed *seeds;
};

struct report_nic {
	char name[REPORT_NAME_MAX];
	uint32_t mtu; /* 0: it is not there */
	bool is_up;
};

struct report_announced {
	char network[REPORT_NAME_MAX];
	unsigned num_addresses;
	char addresses[CONFIG_ADDRESSES_MAX][REPORT_ADDRESS_MAX]; /* "10.99.0.1" */
};

/* A node that leads to the outside. */
struct report_border {
	char node[REPORT_NAME_MAX];
	unsigned num_nics;
	struct report_nic nics[CONFIG_NICS_MAX];
	unsigned num_announces;
	struct report_announced announces[CONFIG_NETWORKS_MAX];
};

struct report_topology {
	char node[REPORT_NAME_MAX];
	unsigned num_networks;
	struct report_network *networks;
	unsigned num_nodes; /* this one included */
	struct report_node *nodes;
	unsigned num_links;
	struct report_link *links;
	unsigned num_borders;
	struct report_border *borders;
};

/* Frames by enum drop_reason. */
struct report_drops {
	uint64_t frames[DROP_NUM_];
};

/* Slots of cast rings, see ctl.proto. */
struct report_cast_stats {
	uint64_t written;
	uint64_t skipped;
	uint64_t received;
	uint64_t own;
	uint64_t passed;
	uint64_t lapped;
	uint64_t holes;
	uint64_t corrupt;
};

/* Packets for global addresses, see ctl.proto. */
struct report_dispatch_stats {
	uint64_t packets;
	uint64_t local;
	uint64_t forwarded;
	uint64_t copied;
	uint64_t dropped;
	uint64_t parked;
	uint64_t hits;
	uint64_t waited;
	uint64_t asked;
	uint64_t answers;
	uint64_t cached;
	uint64_t evicted;
};

/* Of flows, see ctl.proto. */
struct report_decisions {
	uint64_t misses;
	uint64_t by_table;
	uint64_t by_kernel;
	uint64_t by_answer;
	uint64_t by_wildcard;
	uint64_t by_listener;
	uint64_t by_flood;
	uint64_t by_pair;
	uint64_t reset;
	uint64_t no_listener;
	uint64_t no_owner;
	uint64_t joined;
	uint64_t hashed;
	uint64_t asked;
	uint64_t asked_again;
	uint64_t silent;
	uint64_t busy;
	uint64_t queries;
	uint64_t pins_sent;
	uint64_t pins_received;
	uint64_t pins_refused;
	uint64_t bad_messages;
	uint64_t odd_messages;
	uint64_t not_sent;
	uint64_t not_answered;
	uint64_t full;
	uint64_t late;
};

struct report_network_stats {
	char network[REPORT_NAME_MAX];
	enum network_kind kind;
	uint64_t unrouted_frames; /* dropped before a receiver was known */
	struct report_drops drops;
	uint64_t kernel_tx_dropped;
	uint64_t kernel_rx_dropped;
	struct report_cast_stats casts;
	struct report_dispatch_stats dispatch; /* of a global one */
	struct report_decisions decisions;     /* likewise */
};

struct report_link_stats {
	char network[REPORT_NAME_MAX];
	char peer[REPORT_NAME_MAX];
	uint64_t sent_frames; /* handed to this link, dropped or not */
	uint64_t sent_bytes;
	struct report_drops sent_drops;
	uint64_t received_frames; /* taken from the peer's ring */
	uint64_t delivered_frames;
	uint64_t delivered_bytes;
	struct report_drops received_drops;
	uint64_t doorbells_rung;
	uint64_t ring_used; /* bytes, of the ring that we write */
	uint64_t ring_size;
	uint64_t received_ring_used; /* of the ring that the peer writes */
	uint64_t received_ring_size;
	uint64_t pings_answered; /* the peer's */
	uint64_t pings_unanswered;
	uint64_t pongs_ignored; /* the peer's, too late or never asked for */
	uint64_t messages_sent;
	uint64_t messages_received;
	uint64_t messages_lost; /* for want of room, at either end of it here */
};

struct report_cast {
	char network[REPORT_NAME_MAX];
	char label[REPORT_NAME_MAX]; /* "broadcast", or the group's address */
	bool lane;
	uint64_t epoch;
	uint32_t maker;
	uint32_t depth;	  /* slots */
	uint32_t readers; /* other nodes */
	bool is_draining;
	struct report_cast_stats counts;
};

struct report_stats {
	char node[REPORT_NAME_MAX];
	unsigned num_networks;
	struct report_network_stats *networks;
	unsigned num_links;
	struct report_link_stats *links;
	unsigned num_casts;
	struct report_cast *casts;
};

struct report_version {
	char node[REPORT_NAME_MAX];
	char version[REPORT_NAME_MAX];
	uint32_t wire_version;
};

struct report_event {
	uint64_t sequence;
	uint64_t monotonic_ms;
	uint64_t wall_ms; /* Unix time, by the clock as it is when asked */
	enum events_kind kind;
	char name[REPORT_NAME_MAX];
	enum events_state old;
	enum events_state state;
	bool has_gap;
	uint64_t gap_ms; /* see events.h */
	char cause[EVENTS_CAUSE_MAX];
};

struct report_events {
	char node[REPORT_NAME_MAX];
	uint32_t pid;
	unsigned num_events;
	struct report_event *events; /* the oldest first */
};

/* One ping on each of some networks. */
struct report_ping_answer {
	char network[REPORT_NAME_MAX];
	char fabric[REPORT_NAME_MAX];
	uint64_t time_ns; /* there and back; 0: no answer came */
	bool link_ended;  /* before it came: none will */
};

struct report_ping {
	char node[REPORT_NAME_MAX];
	char peer[REPORT_NAME_MAX];
	unsigned num_answers;
	struct report_ping_answer answers[CONFIG_NETWORKS_MAX];
};

/* How much one of the node's global networks remembers. */
struct report_flow_table {
	char network[REPORT_NAME_MAX];
	uint32_t flows; /* all, told or not */
	uint32_t room;
};

struct report_flow {
	char network[REPORT_NAME_MAX];
	char protocol[REPORT_NAME_MAX]; /* "tcp", or its number */
	char foreign[REPORT_END_MAX];	/* see flow_end_text() */
	char local[REPORT_END_MAX];
	char owner[REPORT_NAME_MAX]; /* a node's name */
	char via[REPORT_NAME_MAX];
	uint64_t age_ms;
};

struct report_flows {
	char node[REPORT_NAME_MAX];
	unsigned num_tables;
	struct report_flow_table *tables;
	unsigned num_flows;
	struct report_flow *flows;
};

/* One that several nodes may have alike. */
struct report_listener {
	char network[REPORT_NAME_MAX];
	char protocol[REPORT_NAME_MAX];
	char local[REPORT_END_MAX];
	char foreign[REPORT_END_MAX]; /* empty: any */
	unsigned num_nodes;
	char (*nodes)[REPORT_NAME_MAX];
};

struct report_listeners {
	char node[REPORT_NAME_MAX];
	unsigned num_listeners;
	struct report_listener *listeners;
};

enum report_verdict {
	REPORT_VERDICT_DROP,
	REPORT_VERDICT_LOCAL,
	REPORT_VERDICT_FORWARD,
	REPORT_VERDICT_NUM_
};

struct report_step {
	char step[REPORT_NAME_MAX];
	char result[REPORT_REASON_MAX];
};

struct report_explain {
	char node[REPORT_NAME_MAX];
	char network[REPORT_NAME_MAX];
	char flow[REPORT_FLOW_MAX];
	unsigned num_steps;
	struct report_step steps[REPORT_STEPS_MAX];
	enum report_verdict verdict;
	char owner[REPORT_NAME_MAX];  /* who gets it; empty if it is dropped */
	char fabric[REPORT_NAME_MAX]; /* if it is forwarded */
	enum drop_reason reason;      /* if it is dropped */
};

struct report_drained {
	char network[REPORT_NAME_MAX];
	char member[REPORT_NAME_MAX];
	bool drained;
	uint64_t connections;
};

struct report_drain {
	char node[REPORT_NAME_MAX];
	unsigned num_networks;
	struct report_drained networks[CONFIG_NETWORKS_MAX];
};

enum report_change_state {
	REPORT_CHANGE_DONE,
	REPORT_CHANGE_NEEDS_RESTART,
	REPORT_CHANGE_FAILED,
	REPORT_CHANGE_NUM_
};

struct report_change {
	char key[REPORT_KEY_MAX];
	enum report_change_state state;
	char reason[REPORT_REASON_MAX]; /* of a failure */
};

struct report_reload {
	char node[REPORT_NAME_MAX];
	char file[REPORT_FILE_MAX];
	unsigned num_errors; /* then there are no changes */
	char (*errors)[REPORT_ERROR_MAX];
	unsigned num_changes;
	struct report_change *changes;
};

struct report_paused {
	char network[REPORT_NAME_MAX];
	bool is_paused;	    /* now */
	bool has_changed;   /* just now */
	uint64_t paused_ms; /* it was so long, until now, or is */
};

/* Of pause and resume. */
struct report_pause {
	char node[REPORT_NAME_MAX];
	bool is_resume;
	unsigned num_networks;
	struct report_paused networks[CONFIG_NETWORKS_MAX];
};

/* The TAPs that a newer process gets. */
struct report_takeover_tap {
	char name[IF_NAMESIZE];
	unsigned num_queues;
};

struct report_takeover {
	uint16_t id;			  /* of the node that runs */
	char listen[CONFIG_ENDPOINT_MAX]; /* of its fabric of kind rdma; "": none */
	unsigned num_taps;
	struct report_takeover_tap taps[CONFIG_NETWORKS_MAX];
};

/* Why the node does not do what it was asked for. */
struct report_refusal {
	char code[REPORT_NAME_MAX]; /* a word for programs */
	char message[512];
};

/* `count` zeroed elements of `size` bytes; NULL only if memory is short. */
void *report_list_new(size_t count, size_t size);

/* Copies with termination, cutting what does not fit; `source` NULL is "". */
void report_string_set(char *field, size_t size, const char *source);
#define REPORT_SET(field, source) report_string_set((field), sizeof(field), (source))

void report_status_free(struct report_status *report);
void report_topology_free(struct report_topology *report);
void report_stats_free(struct report_stats *report);
void report_events_free(struct report_events *report);
void report_flows_free(struct report_flows *report);
void report_listeners_free(struct report_listeners *report);
void report_reload_free(struct report_reload *report);

#endif
