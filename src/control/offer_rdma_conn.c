/*
 * Connecting two queue pairs by the kernel's connection manager.
 *
 * Theory of operation
 * -------------------
 *
 *     active (the lower id)                       passive
 *     ---------------------                       -------
 *     OFFERED    BELL -------------------------->
 *                <-------------------------- BELL OFFERED
 *     RESOLVING, ROUTING
 *     ASKING     REQ {link id, proof} ----------> checks it, queue pair to RTS
 *     checks it  <---------- REP {link id, proof} ANSWERING
 *     queue pair to RTS
 *     READY      RTU ---------------------------> READY
 *
 * BELLs go by the channel, the rest by the connection manager, so a REQ may overtake the
 * BELL that explains it: it waits at the connection whose link id it names, one at most.
 * A REQ that names none, or proves nothing, is rejected; it costs its sender more than
 * us. The proof says who both ends are; that the REQ comes from the queue pair and the
 * GID of the BELL is checked besides, for it is those that the queue pair is connected
 * to.
 *
 * The queue pair is not the connection manager's: it takes from it what the two sides
 * agreed on (numbers of packets, path) and is moved here. Retries are set here: 6 times
 * after 0.27 s, then the connection is lost, about 2 s after the peer was. A peer that is
 * short of processors takes longer than 67 ms to answer, and a retry that comes while the
 * first one is still under way costs bandwidth, and on rxe 6.1 sometimes the connection.
 * None for want of receives, which would be an error of ours.
 */
#include "control/offer_rdma_internal.h"

#include <infiniband/verbs.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define RESOLVE_MS  2000
#define ACK_TIMEOUT 16 /* 4.096 us << 16: 0.27 s */
#define RETRIES	    6  /* not 7, which Soft-RoCE takes for ever */

/* ---- the queue pair ---- */

static int move_to(struct rdma_conn *conn, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr;
	int mask, ret = cm_qp_attr(conn->cm_id, state, &attr, &mask);

	if (ret < 0)
		return ret;
	if (state == IBV_QPS_RTR &&
	    (memcmp(attr.ah_attr.grh.dgid.raw, conn->theirs.gid, 16) != 0 ||
	     attr.dest_qp_num != conn->theirs.qp_number))
		return -EPERM;
	if (state == IBV_QPS_RTS) {
		attr.timeout = ACK_TIMEOUT;
		attr.retry_cnt = RETRIES;
		attr.rnr_retry = 0;
	}
	return qp_verbs_modify(conn->qp, &attr, mask);
}

static int connect_queue(struct rdma_conn *conn)
{
	int ret = move_to(conn, IBV_QPS_RTR);

	return ret < 0 ? ret : move_to(conn, IBV_QPS_RTS);
}

/* ---- actions: 0 or -errno and what it was that failed ---- */

static struct rdma_pair pair_of(const struct rdma_conn *conn)
{
	if (conn->active)
		return (struct rdma_pair){.asks = &conn->ours, .answers = &conn->theirs};
	return (struct rdma_pair){.asks = &conn->theirs, .answers = &conn->ours};
}

static bool is_proved(const struct rdma_conn *conn, const struct cm_event *event)
{
	const struct rdma_pair pair = pair_of(conn);

	return event->qp_number == conn->theirs.qp_number &&
	       rdma_proof_check(conn->key, &pair, conn->active ? RDMA_ANSWERS : RDMA_ASKS,
				event->data, event->length);
}

/* Sends our proof, as a request or as the answer to one. */
static int send_proof(struct rdma_conn *conn)
{
	const struct rdma_pair pair = pair_of(conn);
	uint8_t data[RDMA_PROOF_BYTES];
	struct cm_param param = {
		.qp_number = conn->ours.qp_number,
		.retry_count = RETRIES,
		.data = data,
		.length = sizeof(data),
	};
	int ret = rdma_proof_make(conn->key, &pair,
				  conn->active ? RDMA_ASKS : RDMA_ANSWERS, data);

	if (ret < 0)
		return ret;
	if (conn->active)
		return cm_connect(conn->cm_id, &param);
	return cm_accept(conn->cm_id, &param);
}

/* Where the peer listens, and we from any port. */
static void addresses(const struct rdma_conn *conn, struct sockaddr_storage *ret_from,
		      struct sockaddr_storage *ret_to)
{
	struct sockaddr_in *to = (void *)ret_to, *from = (void *)ret_from;
	struct sockaddr_in6 *to6 = (void *)ret_to, *from6 = (void *)ret_from;

	*ret_from = conn->rdma->config->listen.address;
	*ret_to = *ret_from; /* with its scope, if it has one */
	if (ret_from->ss_family == AF_INET) {
		from->sin_port = 0;
		to->sin_port = htons(conn->theirs.port);
		memcpy(&to->sin_addr, conn->theirs.gid + 12, 4);
	} else {
		from6->sin6_port = 0;
		to6->sin6_port = htons(conn->theirs.port);
		memcpy(&to6->sin6_addr, conn->theirs.gid, 16);
	}
}

static int do_resolve(struct rdma_conn *conn, const char **ret_why)
{
	struct sockaddr_storage from, to;
	int ret = cm_new(conn->rdma->cm, &conn->cm_id);

	*ret_why = "can't connect";
	if (ret < 0)
		return ret;
	addresses(conn, &from, &to);
	return cm_resolve_address(conn->cm_id, (struct sockaddr *)&from,
				  (struct sockaddr *)&to, RESOLVE_MS);
}

static int do_route(struct rdma_conn *conn, const char **ret_why)
{
	*ret_why = "can't look for a route to it";
	return cm_resolve_route(conn->cm_id, RESOLVE_MS);
}

static int do_ask(struct rdma_conn *conn, const char **ret_why)
{
	*ret_why = "can't send a request";
	return send_proof(conn);
}

static int do_answer(struct rdma_conn *conn, const char **ret_why)
{
	int ret = connect_queue(conn);

	*ret_why = "can't connect the queue pair";
	if (ret < 0)
		return ret;
	*ret_why = "can't accept its request";
	return send_proof(conn);
}

/* Frames may come: the worker looks for them from now on. */
static int do_begin(struct rdma_conn *conn, const char **ret_why)
{
	*ret_why = "can't watch the queue pair";
	return offer_set_fabric(&conn->conn, conn->fabric);
}

static int do_establish(struct rdma_conn *conn, const char **ret_why)
{
	int ret = connect_queue(conn);

	*ret_why = "can't connect the queue pair";
	if (ret < 0)
		return ret;
	*ret_why = "can't confirm its answer";
	ret = cm_establish(conn->cm_id);
	return ret < 0 ? ret : do_begin(conn, ret_why);
}

/* ---- the state machine ---- */

enum { EVENT_BELL = 100, EVENT_ASKED }; /* besides those of enum cm_event_type */

static const struct row {
	unsigned states;
	int event;
	int (*action)(struct rdma_conn *conn, const char **ret_why);
	enum rdma_state next;
} rows[] = {
	/* current      | event          | action      | next */
	{RDMA_OFFERED, EVENT_BELL, do_resolve, RDMA_RESOLVING},
	{RDMA_OFFERED, EVENT_ASKED, do_answer, RDMA_ANSWERING},
	{RDMA_RESOLVING, CM_ADDRESS, do_route, RDMA_ROUTING},
	{RDMA_ROUTING, CM_ROUTE, do_ask, RDMA_ASKING},
	{RDMA_ASKING, CM_RESPONSE, do_establish, RDMA_READY},
	{RDMA_ANSWERING, CM_ESTABLISHED, do_begin, RDMA_READY},
};

static const struct row *find_row(const struct rdma_conn *conn, int event)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].states & conn->state && rows[i].event == event)
			return &rows[i];
	}
	return NULL;
}

/* 1 if it became ready. An event that means nothing in this state changes nothing. */
static int step(struct rdma_conn *conn, int event, const char **ret_why)
{
	const struct row *row = find_row(conn, event);
	int ret;

	if (!row)
		return 0;
	ret = row->action(conn, ret_why);
	if (ret < 0)
		return ret;
	conn->state = row->next;
	return conn->state == RDMA_READY;
}

void rdma_conn_lose(struct rdma_conn *conn, const char *words)
{
	char text[OFFER_RDMA_WHY_MAX + 64];

	if (conn->state == RDMA_LOST)
		return;
	conn->state = RDMA_LOST;
	snprintf(text, sizeof(text), "%s: %s", conn->rdma->name, words);
	offer_conn_lost(&conn->conn, text);
}

/* As step(), from the event loop: its owner hears what became of it. */
static void step_and_tell(struct rdma_conn *conn, int event)
{
	const char *why = "";
	char words[256];
	int ret = step(conn, event, &why);

	if (ret < 0) {
		snprintf(words, sizeof(words), "%s: %s", why, strerror(-ret));
		rdma_conn_lose(conn, words);
	} else if (ret > 0) {
		offer_conn_ready(&conn->conn);
	}
}

/* ---- requests ---- */

/* Or one whose session here has ended meanwhile: it can't be told from a stranger. */
static void refuse_stranger(struct offer_rdma *rdma, struct rdma_cm_id *id)
{
	struct world *world = rdma->kind.offer->world;
	char more[32] = "";
	unsigned held;

	cm_reject(id);
	cm_destroy(id);
	if (!log_limit_pass(&rdma->strangers, world->ops->now(world), &held))
		return;
	if (held)
		snprintf(more, sizeof(more), ", and %u more", held);
	log_warn(rdma->name, "refused a connection that no session waits for%s", more);
}

/* The peer's BELL is here, and so is its request. */
static int take_request(struct rdma_conn *conn, const struct cm_event *event,
			const char **ret_why)
{
	if (!is_proved(conn, event)) {
		refuse_stranger(conn->rdma, event->id);
		return 0;
	}
	conn->cm_id = event->id;
	return step(conn, EVENT_ASKED, ret_why);
}

static struct rdma_conn *find_link(struct offer_rdma *rdma, uint64_t link_id)
{
	struct rdma_conn *conn = rdma->conns;

	while (conn && conn->ours.link_id != link_id)
		conn = conn->next;
	return conn;
}

static void on_request(struct offer_rdma *rdma, const struct cm_event *event)
{
	uint64_t link_id = rdma_proof_link(event->data, event->length);
	struct rdma_conn *conn = find_link(rdma, link_id);
	const char *why = "";
	char words[256];
	int ret;

	if (!conn || conn->active || conn->state != RDMA_OFFERED || conn->asked.id) {
		refuse_stranger(rdma, event->id);
		return;
	}
	if (!conn->has_theirs) {
		conn->asked = *event;
		return;
	}
	ret = take_request(conn, event, &why);
	if (ret < 0) {
		snprintf(words, sizeof(words), "%s: %s", why, strerror(-ret));
		rdma_conn_lose(conn, words);
	}
}

int rdma_conn_start(struct rdma_conn *conn, const char **ret_why)
{
	struct cm_event asked = conn->asked;

	if (conn->active)
		return step(conn, EVENT_BELL, ret_why);
	conn->asked.id = NULL;
	return asked.id ? take_request(conn, &asked, ret_why) : 0;
}

/* ---- events ---- */

static void on_conn_event(struct rdma_conn *conn, const struct cm_event *event)
{
	switch (event->type) {
	case CM_RESPONSE:
		if (!is_proved(conn, event))
			rdma_conn_lose(conn, "its answer proves nothing");
		else
			step_and_tell(conn, CM_RESPONSE);
		break;
	case CM_ADDRESS:
	case CM_ROUTE:
	case CM_ESTABLISHED:
		step_and_tell(conn, event->type);
		break;
	case CM_REJECTED:
	case CM_FAILED:
		rdma_conn_lose(conn, event->words);
		break;
	case CM_DISCONNECTED:
		rdma_conn_lose(conn, "the peer closed the connection");
		break;
	case CM_REMOVED:
		rdma_conn_lose(conn, "the device was removed");
		break;
	case CM_REQUEST:
	case CM_OTHER:
		break;
	}
}

/* None: ids that wait for the port to be destroyed (offer_rdma.c) still tell of theirs.
 */
static struct rdma_conn *find_id(const struct offer_rdma *rdma,
				 const struct rdma_cm_id *id)
{
	struct rdma_conn *conn = rdma->conns;

	while (conn && conn->cm_id != id)
		conn = conn->next;
	return conn;
}

void rdma_conn_event(struct offer_rdma *rdma, const struct cm_event *event)
{
	struct rdma_conn *conn = find_id(rdma, event->id);

	if (event->type == CM_REQUEST)
		on_request(rdma, event);
	else if (conn)
		on_conn_event(conn, event);
}
