/* What dispatch*.c share. */
#ifndef CONTROL_DISPATCH_INTERNAL_H
#define CONTROL_DISPATCH_INTERNAL_H

#include "control/dispatch.h"

#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_SEC  1000000000ull

#define DISPATCH_ANSWER_NS (30 * NSEC_PER_MSEC) /* so long an answer may take */
#define DISPATCH_LATE_NS   (2 * NSEC_PER_SEC)	/* and so long it counts */
#define DISPATCH_REPEAT_NS                                                               \
	(200 * NSEC_PER_MSEC)			/* what has to be heard is said again    \
						 */
#define DISPATCH_PINS_NS  (2 * NSEC_PER_MSEC)	/* so long a pin waits for others */
#define DISPATCH_RENEW_NS (100 * NSEC_PER_MSEC) /* between two renewals at the least */
#define DISPATCH_LOOK_NS  (20 * NSEC_PER_MSEC)	/* listeners are looked for no oftener */
#define DISPATCH_TICK_NS  NSEC_PER_SEC		/* of the sweep */
#define DISPATCH_GRACE_NS (30 * NSEC_PER_SEC)	/* a member that is down may come back */
#define DISPATCH_HOLD_NS                                                                 \
	NSEC_PER_SEC	   /* nothing is announced right after the start, or the end */
#define DISPATCH_WINDOW 8  /* parts of a list under way */
#define DISPATCH_DRAINS 25 /* times that a member is asked to be drained */

#define DISPATCH_FLOOD(cap) ((cap) / 5 * 4)

#define DISPATCH_PENDING_WORDS (DISPATCH_MEMBERS_MAX / 64)

/* A list of one member; by protocol and port. */
struct listener_list {
	unsigned num;
	struct listener *items;
};

/* Messages that are filled until the loop's turn ends. */
enum dispatch_box {
	DISPATCH_BOX_QUERIES,
	DISPATCH_BOX_ANSWERS,
	DISPATCH_BOX_PINS,
	DISPATCH_BOX_NUM_
};

struct member {
	uint16_t id;
	unsigned slot; /* in dispatch.members, as long as it is there */
	char name[CONFIG_NAME_MAX];
	bool is_up;
	bool is_suspect;
	bool is_paused;
	uint64_t down_ns; /* since when, if it isn't up */
	uint64_t lost_ns; /* when its link (ours: any) ended last; 0: it never did */

	/* What it told, of this life. */
	struct dispatch_state state;	/* generation 0: nothing yet */
	uint64_t placed;		/* connections, since it told how many it has */
	uint64_t generation;		/* of its list; 0: not heard of */
	struct listener_list listeners; /* the last that was complete */
	uint32_t coming_total;
	struct listener_list coming; /* of `generation`, as far as it came */
	bool is_complete;	     /* nothing is coming */

	/* What it heard of us. */
	bool heard_listeners; /* all of them */
	uint32_t heard_count; /* or so many */
	uint32_t sent_count;
	bool heard_state;
	struct dispatch_drain wish; /* the last one, serial 0: none yet */
	bool heard_wish;
	unsigned wishes;       /* times that it was told */
	uint64_t drain_serial; /* of what it wished last */

	struct dispatch_message boxes[DISPATCH_BOX_NUM_]; /* num 0: nothing to send */
};

/* A flow that the members are asked for. */
struct query {
	struct query *chain;	     /* of the same bucket, or of those that are free */
	struct query *older, *newer; /* by the time of asking */
	struct dispatch_explain *explain; /* who asks; NULL: a packet */
	uint64_t token;			  /* 0: free */
	uint64_t deadline_ns;
	bool is_second; /* asked again */
	uint16_t over;	/* a member that only remembers it; 0: none */
	uint64_t pending[DISPATCH_PENDING_WORDS]; /* members, by slot */
	struct resolve resolve;
};

struct queries {
	unsigned count;
	uint64_t serial;
	struct flow_secret secret; /* of the buckets */
	struct query *free;
	struct query *oldest, *newest;
	struct query *buckets[DISPATCH_ASKED_MAX];
	struct query pool[DISPATCH_ASKED_MAX];
};

/* A question that has run out. */
struct late {
	struct late *chain; /* of the same bucket */
	uint64_t token;	    /* 0: none */
	uint64_t until_ns;
	uint64_t pending[DISPATCH_PENDING_WORDS]; /* who may still answer it, by slot */
	struct flow_key key;
	enum resolve_class class;
	bool is_known; /* who has the flow was learned since */
};

struct late_ones {
	struct late *buckets[DISPATCH_LATE_MAX];
	struct late places[DISPATCH_LATE_MAX]; /* by the serials of tokens */
};

struct dispatch_explain {
	void (*done)(void *arg, const struct dispatch_explanation *);
	void *arg;
	struct query *query; /* that it waits for */
	struct dispatch_explanation explanation;
};

struct dispatch {
	const struct config_network *config;
	const struct dispatch_ops *ops;
	void *arg;
	struct member *members[DISPATCH_MEMBERS_MAX]; /* [0]: ourselves; holes are NULL */
	/* Theirs: who comes up is told once, and must not be left out for want of memory.
	 */
	struct member places[DISPATCH_MEMBERS_MAX];
	struct member *self;
	unsigned surplus; /* members that there was no room for */

	struct flowtable *table;
	struct balance *balance;
	struct queries queries;
	struct late_ones late;

	uint64_t generation; /* of our own list */
	unsigned unlisted;   /* own listeners that were too many */
	int kernel_error;    /* of the last look-up; 0: it went well */
	bool nic_is_usable;
	bool is_announcing;
	uint64_t started_ns;
	uint64_t hold_ns; /* nothing is announced before */

	uint64_t looked_ns; /* for listeners, because of a packet */
	uint64_t mail_ns;   /* when the boxes are due; 0: they are empty */
	bool must_renew;    /* the data plane's verdicts about datagrams */
	uint64_t renew_ns;  /* but not before: members change as often as they like */
	uint64_t repeat_ns; /* when what wasn't heard is said again; 0: all was */
	uint64_t tick_ns;   /* next sweep */
	uint64_t armed_ns;  /* when the timer comes; 0: it isn't set */

	unsigned num_explains;
	struct dispatch_explain *explaining; /* whose steps are being noted */
	struct dispatch_totals counters;
};

static inline uint64_t dispatch_now(const struct dispatch *dispatch)
{
	return dispatch->ops->now(dispatch->arg);
}

/* ---- dispatch.c ---- */

/* At the end of every call from outside. */
void dispatch_arm(struct dispatch *dispatch);

/* The decision is made, and this is what follows from it. */
void dispatch_settle(struct dispatch *dispatch, const struct resolve *resolve);

/* A member has a flow, and says so late. */
void dispatch_settle_late(struct dispatch *dispatch, const struct flow_key *key,
			  enum resolve_class class, uint16_t owner);

/* May another one have the connection, or nobody? */
bool dispatch_is_doubtful(const struct dispatch *dispatch,
			  const struct flowtable_entry *entry);

extern const struct resolve_ops dispatch_resolve_ops, dispatch_explain_ops;

/* ---- dispatch_member.c ---- */

struct member *dispatch_find(const struct dispatch *dispatch, uint16_t id);
enum resolve_member dispatch_member_state(const struct dispatch *dispatch,
					  const struct member *member);
/* May there be members with connections who can't be asked? Right after the start there
 * may: who starts again must not reset what others have. */
bool dispatch_is_unsure(const struct dispatch *dispatch);
void dispatch_add_self(struct dispatch *dispatch, uint16_t id, const char *name);
void dispatch_forget_members(struct dispatch *dispatch); /* that are gone */
void dispatch_free_members(struct dispatch *dispatch);

/* At once. */
void dispatch_send(struct dispatch *dispatch, const struct member *member,
		   const struct dispatch_message *message);
/* Room for one more item of this kind, to be sent with others. */
struct dispatch_message *dispatch_box(struct dispatch *dispatch, struct member *member,
				      enum dispatch_box box);
void dispatch_send_boxes(struct dispatch *dispatch);

/* Finds out what our host listens for now, and tells all. False: that was just now. */
bool dispatch_look(struct dispatch *dispatch);

/* Says again what wasn't heard, and when that is to be done next. */
void dispatch_repeat(struct dispatch *dispatch);
void dispatch_take_state(struct dispatch *dispatch, struct member *member,
			 const struct dispatch_state *state);
void dispatch_take_heard(struct dispatch *dispatch, struct member *member,
			 const struct dispatch_heard *heard);
void dispatch_take_drain(struct dispatch *dispatch, struct member *member,
			 const struct dispatch_drain *drain);
/* Our own state is another one: everybody is told. */
void dispatch_publish(struct dispatch *dispatch);
/* Who answers for the addresses? */
void dispatch_elect(struct dispatch *dispatch);

/* ---- dispatch_listeners.c ---- */

/* What the member hasn't heard of our list, as much as may be under way. */
void dispatch_push_listeners(struct dispatch *dispatch, struct member *member);
void dispatch_take_part(struct dispatch *dispatch, struct member *member,
			const struct dispatch_part *part);
void dispatch_tell_heard(struct dispatch *dispatch, const struct member *member);
void dispatch_drop_listeners(struct member *member);
/* The order of lists. */
int dispatch_compare_listeners(const struct listener *a, const struct listener *b);
unsigned dispatch_candidates(void *arg, const struct flow_key *key,
			     enum resolve_match match,
			     struct balance_node nodes[BALANCE_NODES_MAX]);

/* ---- dispatch_query.c ---- */

void dispatch_init_queries(struct dispatch *dispatch);
/* False if there is one about this flow, which is enough. */
bool dispatch_join(struct dispatch *dispatch, const struct flow_key *key,
		   enum resolve_class class);
/* Asks, or decides without if too many are being asked. NULL: it is decided. */
struct query *dispatch_ask(struct dispatch *dispatch, const struct resolve *resolve,
			   struct dispatch_explain *explain);
/* The flow's owner is known otherwise. */
void dispatch_stop_asking(struct dispatch *dispatch, const struct flow_key *key);
void dispatch_end_query(struct dispatch *dispatch, struct query *query);
void dispatch_query_timer(struct dispatch *dispatch);
void dispatch_query_lost(struct dispatch *dispatch, const struct member *member);
void dispatch_take_queries(struct dispatch *dispatch, struct member *member,
			   const struct dispatch_message *message);
void dispatch_take_answers(struct dispatch *dispatch, const struct member *member,
			   const struct dispatch_message *message);
/* The member has the flow, as it says to a former question: that answers the one that is
 * under way, if the member was asked that one, too. False: there is none. */
bool dispatch_answer_next(struct dispatch *dispatch, const struct member *member,
			  const struct flow_key *key);

/* ---- dispatch_late.c ---- */

/* It has run out. */
void dispatch_remember(struct dispatch *dispatch, const struct query *query);
/* Who has the flow is known, or who got its opener: no late answer changes that. */
void dispatch_learn(struct dispatch *dispatch, const struct flow_key *key);
/* It doesn't answer any more. */
void dispatch_late_lost(struct dispatch *dispatch, const struct member *member);
/* False: nothing that it was asked for. */
bool dispatch_take_late(struct dispatch *dispatch, const struct member *member,
			const struct dispatch_answer *answer);

/* ---- dispatch_report.c ---- */

void dispatch_finish_explain(struct dispatch *dispatch, struct dispatch_explain *explain,
			     const struct resolve *resolve);

#endif
