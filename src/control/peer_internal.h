/*
 * What the files of a peer share: the peer as it is inside, its
 * events, and the calls between them.
 *
 *     peer.c          the table, its actions, what others call
 *     peer_backoff.c  how long it waits, or is out, after a refusal
 *     peer_news.c     what is told of it
 *     peer_view.c     what it is like
 *     peer_session.c  the channel: messages out and in, and when they are legal
 *     peer_networks.c which networks are common, and why others are not
 *     peer_rings.c    what the pair has together: a connection, rings, links
 *     liveness.c      whether it shows life, and what others say of that
 *     peer_cast.c     what the two tell each other of cast rings, for cast.c
 *     peer_pause.c    which networks are paused, on either side
 *     peer_border.c   whether the two are borders, and of what
 *
 * Only the table changes a peer's state. What can end a session returns the event that
 * says so, or EVENT_NONE, up to peer_happen(). Control thread.
 */
#ifndef CONTROL_PEER_INTERNAL_H
#define CONTROL_PEER_INTERNAL_H

#include "base/budget.h"
#include "control/events.h"
#include "control/peer.h"
#include "control/wire_range.h"

/* For so long a refusal of one that does not dial again is shown. */
#define PEER_REFUSED_SHOWN_NS (2 * PEER_BACKOFF_MAX_NS)

#define PEER_REASON_MAX (PEER_WORDS_MAX + 64)
#define PEER_FABRIC_MAX 64

/* What the pair has for one network of the config. */
struct peer_lane {
	bool is_common;
	bool is_paused;	    /* at the peer */
	uint64_t paused_ns; /* since then, as far as we know */
	unsigned since; /* NETWORKS of ours, by which the peer knows of it; 0: HELLO */
	struct world_ring *rx; /* ours; the link's once there is one */
	struct world_ring *tx; /* the peer's, likewise */
	uint64_t rx_salt;
	uint64_t tx_salt;
	struct world_link *link;
	char reason[384];
	char clash[256]; /* an address that both have; they are linked all the same */
};

#define PEER_ASKED_MAX 3 /* others, about one that is silent */

/* Its signs of life. */
struct peer_pulse {
	uint64_t value;	    /* of its words; hostile, compared only */
	uint64_t heard_ns;  /* when that changed, or began to be watched */
	uint64_t gap_ns;    /* how long it had not, then */
	unsigned num_looks; /* at our ticks, since then, in vain */
	bool has_changed;   /* at least once */
	/* While it is suspected. */
	uint64_t asked_ns;
	unsigned num_asked;
	struct {
		uint16_t id;
		bool hears;
	} asked[PEER_ASKED_MAX];
};

struct peer {
	struct peer_owner *owner;
	uint16_t id;
	char name[CONFIG_NAME_MAX];
	enum peer_state state;
	bool is_present;	      /* in the rendezvous, or announced by others */
	char fabric[PEER_FABRIC_MAX]; /* of the last session; "": there was none */
	char reason[PEER_REASON_MAX];
	char logged[PEER_REASON_MAX]; /* the refusal that was logged last */
	enum events_state told;	      /* by the last event: down, up or refused */

	/* The last life that we accepted, and how far it was. */
	bool is_known;
	uint64_t nonce;
	uint32_t incarnation;

	uint64_t down_ns; /* when it was up last; 0: never */
	bool is_silent;	  /* it was taken for dead, and has not been up since */

	struct budget sessions;
	struct budget changes;	/* of its networks, whatever session */
	struct budget refusals; /* that are told */
	unsigned refusals_held; /* others than the one told last, since then */
	struct peer_changes {
		struct budget budget; /* of those that are told */
		unsigned held;	      /* that were not told since */
	} pauses, borders;

	struct world_timer *timer;
	uint64_t due_ns; /* of a handshake's end */
	uint64_t retry_ns;
	uint64_t backoff_ns;
	uint64_t ring_retry_ns;
	uint64_t quarantine_ns; /* how long the last one was, 0: there was none */
	uint64_t quarantine_until_ns;
	uint64_t quarantined_nonce;

	/* The session; all zero without a channel. */
	struct peer_session {
		struct world_channel *channel;
		struct world_credentials credentials;
		struct peer_hello hello;
		uint32_t floor;	      /* what we told it to be above */
		uint32_t claimed;     /* where it says it is */
		bool is_remote;	      /* what travels on the channel is bytes only */
		bool has_bell;	      /* it sent BELL */
		bool is_ready;	      /* it sent READY */
		bool has_said_ready;  /* we did */
		bool is_given_up;     /* or refused, by it: nothing is salvaged */
		uint64_t up_since_ns; /* 0: not yet */
		uint64_t beat_ns;     /* so often it shows life, as it says */
		struct peer_pulse pulse;
		struct peer_refuse refuse; /* what we'll say */
		struct world_conn *conn;   /* our half at first */
		unsigned generation;	   /* of the networks in our HELLO */
		uint32_t told, heard;	   /* NETWORKS: of ours, and of the peer */
		struct peer_border border; /* what it is */
		struct peer_lane lanes[CONFIG_NETWORKS_MAX];
	} session;
};

enum peer_event {
	EVENT_NONE,
	EVENT_APPEARED, /* in the rendezvous, and it dials */
	EVENT_CALLABLE, /* in the rendezvous, and we dial */
	EVENT_DISAPPEARED,
	EVENT_RETRY, /* we dial, but not at once */
	EVENT_TIMER,
	EVENT_NO_ANSWER,   /* dialling failed */
	EVENT_GREETED,	   /* its HELLO was admitted */
	EVENT_CONNECTED,   /* the connection is ready on our side */
	EVENT_COMPLETE,	   /* both offers are there */
	EVENT_SILENT,	   /* no sign of life for too long */
	EVENT_HEARD,	   /* a sign of life of one that was silent */
	EVENT_UNHEARD,	   /* nobody who was asked has heard it */
	EVENT_LOST,	   /* the doorbell, or the connection, died */
	EVENT_CLOSED,	   /* the peer closed the channel */
	EVENT_BROKEN,	   /* the channel is of no use any more */
	EVENT_GIVEN_UP,	   /* the peer took us, or the connection, for dead */
	EVENT_REFUSE,	   /* we end it, for session.refuse */
	EVENT_REFUSED,	   /* it ended it */
	EVENT_NETWORKS,	   /* those of one of the two are others now */
	EVENT_TURNED_AWAY, /* it dialled us, and its HELLO was refused */
	EVENT_NUM_
};

/* Sets of states. */
#define ABSENT	 (1u << PEER_ABSENT)
#define WAITING	 (1u << PEER_WAITING)
#define DIALLED	 (1u << PEER_DIALLED)
#define OFFERING (1u << PEER_OFFERING)
#define UP	 (1u << PEER_UP)
#define SUSPECT	 (1u << PEER_SUSPECT)
#define FADING	 (1u << PEER_FADING)
#define REFUSED	 (1u << PEER_REFUSED)
#define ALIVE	 (DIALLED | OFFERING | UP | SUSPECT | FADING) /* has a channel */

#define OFFERED (OFFERING | UP | SUSPECT | FADING)

#define SUSPECTED (SUSPECT | FADING)

/* ---- peer.c ---- */

void peer_happen(struct peer *peer, enum peer_event event);

void __attribute__((format(printf, 3, 4)))
peer_say(char *text, size_t size, const char *format, ...);

/* What we'll tell the peer, and remember as the reason; returns EVENT_REFUSE. */
enum peer_event __attribute__((format(printf, 3, 4)))
peer_complain(struct peer *peer, enum peer_refusal code, const char *format, ...);

/* ---- peer_backoff.c ---- */

/* What was held against it is forgotten, if it was up for long; before it hangs up. */
void peer_forgive(struct peer *peer);
/* The timer is set to when it is dialled again, later and later. */
void peer_retry(struct peer *peer);
/* A session begins; and until the next one may, 0: now. */
void peer_count_session(struct peer *peer);
uint64_t peer_session_wait_ns(const struct peer *peer);
/* It was refused, or refused us: it is dialled again later and later. */
void peer_back_off(struct peer *peer);
/* It broke the rules, by session.refuse. */
void peer_quarantine(struct peer *peer);
/* Any life of it? And this one? */
bool peer_is_shut_out(const struct peer *peer);
bool peer_is_quarantined(const struct peer *peer, uint64_t nonce);

/* ---- peer_news.c ---- */

void peer_news_up(struct peer *peer);
void peer_news_down(struct peer *peer);
void peer_news_suspect(struct peer *peer);
void peer_news_trust(struct peer *peer); /* no more suspected */
void peer_news_quarantine(struct peer *peer);
void peer_news_refusal(struct peer *peer);
void peer_news_unreached(struct peer *peer);
/* What the peer may change at will: each is acted on, but not each is told. `change` has
 * the states and the gap. */
void peer_news_change(struct peer *peer, struct peer_changes *changes,
		      struct events_change change, const char *cause);

/* ---- peer_session.c ---- */

/* The session begins: the channel is the peer's. */
void peer_take_channel(struct peer *peer, struct world_channel *channel);
void peer_hang_up(struct peer *peer);

/* EVENT_NONE, or EVENT_REFUSE. */
enum peer_event peer_send(struct peer *peer, const struct peer_message *message, int fd);
enum peer_event peer_send_hello(struct peer *peer);
/* All of ours, as they are now. */
enum peer_event peer_send_networks(struct peer *peer);
/* What the peer has to be above, as of now; before anything of its session counts. */
void peer_set_floor(struct peer *peer);
/* READY, if the connection is; EVENT_COMPLETE if nothing else is missing. */
enum peer_event peer_declare(struct peer *peer);

/* Its HELLO was admitted. */
enum peer_event peer_greet(struct peer *peer, const struct peer_hello *hello);

/* ---- peer_networks.c ---- */

/* Which networks are common, now that its HELLO is there. */
void peer_compare_networks(struct peer *peer);
enum peer_event peer_take_networks(struct peer *peer, const struct peer_message *message,
				   struct world_parcel *parcel);
/* That its TAP takes. */
uint32_t peer_offloads(const struct peer *peer, unsigned network);
/* As a HELLO has them: sorted, with commas between. */
void peer_members_text(const struct config_network *network,
		       char text[CONFIG_MEMBER_BYTES_MAX]);

/* ---- peer_rings.c ---- */

/* Our half of the connection, and BELL. */
enum peer_event peer_offer_bell(struct peer *peer);
/* Those that are missing. */
enum peer_event peer_offer_rings(struct peer *peer);
enum peer_event peer_take_ring(struct peer *peer, const struct peer_message *message,
			       struct world_parcel *parcel);
enum peer_event peer_take_bell(struct peer *peer, const struct peer_message *message,
			       struct world_parcel *parcel);
/* The index of a network that is common; -1: no such. */
int peer_find_lane(struct peer *peer, const char *name);
/* True if each common network has a ring of ours. */
bool peer_has_all_rings(struct peer *peer);

/* A link where both rings are there and there is none yet. */
enum peer_event peer_attach_lanes(struct peer *peer);
unsigned peer_count_links(struct peer *peer);

/* The network is common no more. See link_free() of struct world_ops. */
void peer_leave_lane(struct peer *peer, unsigned network, bool peer_is_done);

/* From here on we store nothing into the peer's memory. */
void peer_detach(struct peer *peer, bool peer_is_dead);

/* ---- liveness.c ---- */

/* Between two ticks. */
uint64_t peer_interval_ns(const struct peer_owner *owner);

/* Its links are there: from now on it should show life. */
void peer_pulse_start(struct peer *peer);

/* Since the last sign of life that was seen; 0: it need not show any. */
uint64_t peer_silence_ns(struct peer *peer);

/* Whether they hear it; says in `reason` whom. */
void peer_ask_others(struct peer *peer);
enum peer_event peer_take_probe(struct peer *peer, const struct peer_message *message,
				struct world_parcel *parcel);
enum peer_event peer_take_probed(struct peer *peer, const struct peer_message *message,
				 struct world_parcel *parcel);
/* ---- peer_cast.c ---- */

enum peer_event peer_take_cast(struct peer *peer, const struct peer_message *message,
			       struct world_parcel *parcel);
enum peer_event peer_take_reads(struct peer *peer, const struct peer_message *message,
				struct world_parcel *parcel);
enum peer_event peer_take_want(struct peer *peer, const struct peer_message *message,
			       struct world_parcel *parcel);

/* ---- peer_pause.c ---- */

/* All that there are, before READY. */
enum peer_event peer_send_pauses(struct peer *peer);
/* Of this one, whatever it is. */
enum peer_event peer_say_pause(struct peer *peer, unsigned network);
enum peer_event peer_take_pause(struct peer *peer, const struct peer_message *message,
				struct world_parcel *parcel);
/* The link was made just now. */
void peer_attach_pause(struct peer *peer, unsigned network);
/* As events: the peer is up. */
void peer_tell_pauses(struct peer *peer);

/* ---- peer_border.c ---- */

/* If there is something to say, after READY. */
enum peer_event peer_say_border(struct peer *peer);
enum peer_event peer_take_border(struct peer *peer, const struct peer_message *message,
				 struct world_parcel *parcel);
/* As an event: the peer is up. */
void peer_tell_border(struct peer *peer);

/* ---- shorthands ---- */

/* That both use in this session. */
static inline uint32_t peer_wire_version(const struct peer *peer)
{
	const struct wire_range theirs = wire_range_of(peer->session.hello.wire_version,
						       peer->session.hello.wire_min);

	return wire_range_meet(&wire_spoken, &theirs);
}

static inline const struct world_ops *peer_ops(const struct peer *peer)
{
	return peer->owner->world->ops;
}

static inline uint64_t peer_now(const struct peer *peer)
{
	return peer_ops(peer)->now(peer->owner->world);
}

static inline uint64_t peer_doubled(uint64_t value, uint64_t limit)
{
	return value * 2 < limit ? value * 2 : limit;
}

static inline bool peer_we_dial(const struct peer *peer)
{
	return peer->owner->config->id < peer->id;
}

/* Of the whole handshake. */
static inline uint64_t peer_patience_ns(const struct peer *peer)
{
	return peer->session.is_remote ? PEER_PATIENCE_REMOTE_NS : PEER_PATIENCE_NS;
}

static inline struct peer_lane *peer_lane(struct peer *peer, unsigned network)
{
	return &peer->session.lanes[network];
}

static inline unsigned peer_num_networks(const struct peer *peer)
{
	return peer->owner->config->num_networks;
}

static inline const char *peer_network_name(const struct peer *peer, unsigned network)
{
	return peer->owner->config->networks[network].name;
}

#endif
