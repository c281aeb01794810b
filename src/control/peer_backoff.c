/*
 * How long a peer waits: one that is to be dialled again, one that was refused, one that
 * broke the rules, and one that begins a session too often. See peer_internal.h; the
 * theory is at the head of peer.c. Control thread.
 */
#include "control/peer_internal.h"

/* Up for so long, the past is forgiven: that of dialling, and that of refusals. */
#define STEADY_NS (5 * PEER_RETRY_MAX_NS)
#define STABLE_NS PEER_BACKOFF_MAX_NS

/* Sessions, whatever becomes of them: more than who is killed and started in a loop. */
static const struct budget_rule sessions = {.interval_ns = 250000000, .burst = 64};

/* ---- dialling again ---- */

void peer_forgive(struct peer *peer)
{
	uint64_t since = peer->session.up_since_ns;

	if (since && peer_now(peer) - since >= STEADY_NS)
		peer->retry_ns = PEER_RETRY_MIN_NS;
	if (since && peer_now(peer) - since >= STABLE_NS)
		peer->backoff_ns = PEER_BACKOFF_MIN_NS;
}

void peer_retry(struct peer *peer)
{
	uint64_t wait = peer_session_wait_ns(peer);

	peer_ops(peer)->timer_set(peer->timer,
				  wait > peer->retry_ns ? wait : peer->retry_ns);
	peer->retry_ns = peer_doubled(peer->retry_ns, PEER_RETRY_MAX_NS);
}

uint64_t peer_session_wait_ns(const struct peer *peer)
{
	return budget_wait_ns(&peer->sessions, &sessions, peer_now(peer));
}

void peer_count_session(struct peer *peer)
{
	budget_take(&peer->sessions, &sessions, peer_now(peer));
}

/* ---- refusals ---- */

/*
 * The dialler comes again after the backoff; who is dialled just shows the refusal
 * for a while, and takes any HELLO that comes meanwhile.
 */
static void wait_before_recall(struct peer *peer, uint64_t delay_ns)
{
	peer_ops(peer)->timer_set(peer->timer,
				  peer_we_dial(peer) ? delay_ns : PEER_REFUSED_SHOWN_NS);
}

void peer_back_off(struct peer *peer)
{
	uint64_t delay = peer->backoff_ns;

	peer->backoff_ns = peer_doubled(delay, PEER_BACKOFF_MAX_NS);
	wait_before_recall(peer, delay);
}

void peer_quarantine(struct peer *peer)
{
	uint64_t length = peer_doubled(peer->quarantine_ns, PEER_QUARANTINE_MAX_NS);

	if (!length ||
	    peer_now(peer) >= peer->quarantine_until_ns + PEER_QUARANTINE_MAX_NS)
		length = PEER_QUARANTINE_MIN_NS;
	peer->quarantine_ns = length;
	peer->quarantine_until_ns = peer_now(peer) + length;
	peer->quarantined_nonce = peer->session.hello.nonce;
	peer_news_quarantine(peer);
	wait_before_recall(peer, length);
}

bool peer_is_shut_out(const struct peer *peer)
{
	return peer_now(peer) < peer->quarantine_until_ns &&
	       peer->quarantine_ns >= PEER_QUARANTINE_LIFE_NS;
}

bool peer_is_quarantined(const struct peer *peer, uint64_t nonce)
{
	return peer_is_shut_out(peer) || (peer->quarantined_nonce == nonce &&
					  peer_now(peer) < peer->quarantine_until_ns);
}
