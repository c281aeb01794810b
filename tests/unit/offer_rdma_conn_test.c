/*
 * What comes from the connection manager, and whose it is. There is no device, and the
 * manager is the one below: it refuses, and all else that is asked of it fails, which
 * ends a connection whose request was taken.
 */
#include "control/offer_rdma_internal.h"

#include "shim.h"

#include <errno.h>
#include <string.h>

struct rdma_cm_id {
	bool rejected;
	bool destroyed;
};

int cm_reject(struct rdma_cm_id *id)
{
	id->rejected = true;
	return 0;
}

void cm_destroy(struct rdma_cm_id *id)
{
	id->destroyed = true;
}

int cm_new(struct cm *cm, struct rdma_cm_id **ret_id)
{
	(void)cm;
	(void)ret_id;
	return -ENODEV;
}

int cm_resolve_address(struct rdma_cm_id *id, const struct sockaddr *from,
		       const struct sockaddr *to, unsigned timeout_ms)
{
	(void)id;
	(void)from;
	(void)to;
	(void)timeout_ms;
	return -ENODEV;
}

int cm_resolve_route(struct rdma_cm_id *id, unsigned timeout_ms)
{
	(void)id;
	(void)timeout_ms;
	return -ENODEV;
}

int cm_connect(struct rdma_cm_id *id, const struct cm_param *param)
{
	(void)id;
	(void)param;
	return -ENODEV;
}

int cm_accept(struct rdma_cm_id *id, const struct cm_param *param)
{
	return cm_connect(id, param);
}

int cm_establish(struct rdma_cm_id *id)
{
	(void)id;
	return -ENODEV;
}

int cm_qp_attr(struct rdma_cm_id *id, unsigned state, struct ibv_qp_attr *ret_attr,
	       int *ret_mask)
{
	(void)id;
	(void)state;
	(void)ret_attr;
	(void)ret_mask;
	return -ENODEV;
}

static bool is_refused(const struct rdma_cm_id *id)
{
	return id->rejected && id->destroyed;
}

struct rig {
	struct offer offer;
	struct world world;
	struct world_handler handler;
	struct offer_rdma rdma;
	struct rdma_conn conn; /* passive, and offered */
	struct rdma_bell theirs;
	struct rdma_cm_id ids[2];
	unsigned num_lost;
};

static uint64_t no_time(struct world *world)
{
	(void)world;
	return 0;
}

static const struct world_ops ops = {.now = no_time};

static void on_lost(void *arg, struct world_conn *conn, const char *words)
{
	struct rig *rig = arg;

	CHECK(conn == &rig->conn.conn);
	CHECK(*words);
	rig->num_lost++;
}

static struct rdma_bell bell_of(uint8_t last)
{
	return (struct rdma_bell){
		.qp_number = 100u + last,
		.port = 7471,
		.gid = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = last},
		.nonce = {last},
		.link_id = 1000u + last,
	};
}

static void rig_open(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	rig->handler.conn_lost = on_lost;
	rig->world.ops = &ops;
	rig->world.handler = &rig->handler;
	rig->world.handler_arg = rig;
	rig->offer.world = &rig->world;
	rig->rdma.kind.offer = &rig->offer;
	rig->rdma.conns = &rig->conn;
	rig->conn.conn.kind = &rig->rdma.kind;
	rig->conn.rdma = &rig->rdma;
	rig->conn.state = RDMA_OFFERED;
	rig->conn.ours = bell_of(2);
	rig->theirs = bell_of(1);
}

/* What the peer asks by, if it knows both bells and the channel's secret. */
static struct cm_event request(struct rig *rig, unsigned id)
{
	const struct rdma_pair pair = {.asks = &rig->theirs, .answers = &rig->conn.ours};
	struct cm_event event = {
		.type = CM_REQUEST,
		.id = &rig->ids[id],
		.qp_number = rig->theirs.qp_number,
		.length = 56,
	};

	CHECK_INT(rdma_proof_make(rig->conn.key, &pair, RDMA_ASKS, event.data), 0);
	return event;
}

static void come(struct rig *rig, const struct cm_event *event)
{
	rdma_conn_event(&rig->rdma, event);
}

static int bell_comes(struct rig *rig)
{
	const char *why;

	rig->conn.theirs = rig->theirs;
	rig->conn.has_theirs = true;
	return rdma_conn_start(&rig->conn, &why);
}

TEST_CASE(offer_rdma_conn, an_id_of_no_connection_is_nobodys)
{
	struct cm_event event;
	struct rig rig;

	rig_open(&rig);
	event = request(&rig, 0);
	for (int type = CM_OTHER; type <= CM_REMOVED; type++) {
		event.type = (enum cm_event_type)type;
		if (type != CM_REQUEST)
			come(&rig, &event);
	}
	CHECK_INT(rig.conn.state, RDMA_OFFERED);
	CHECK_INT(rig.num_lost, 0);
}

TEST_CASE(offer_rdma_conn, a_request_that_proves_nothing_changes_nothing)
{
	struct cm_event event;
	struct rig rig;

	rig_open(&rig);
	CHECK_INT(bell_comes(&rig), 0);
	event = request(&rig, 0);
	event.data[RDMA_PROOF_BYTES - 1] ^= 1;
	come(&rig, &event);
	event = request(&rig, 0);
	event.qp_number++;
	come(&rig, &event);
	event = request(&rig, 0);
	event.length = RDMA_PROOF_BYTES - 1;
	come(&rig, &event);
	event = request(&rig, 0);
	event.data[7]++; /* the link id */
	come(&rig, &event);
	CHECK_INT(rig.conn.state, RDMA_OFFERED);
	CHECK(!rig.conn.cm_id && is_refused(&rig.ids[0]));
	CHECK_INT(rig.num_lost, 0);
	event = request(&rig, 0);
	come(&rig, &event);
	CHECK(rig.conn.cm_id == &rig.ids[0]);
	CHECK_INT(rig.num_lost, 1); /* there is nobody to accept it by */
}

TEST_CASE(offer_rdma_conn, a_proof_is_good_once)
{
	struct cm_event event;
	struct rig rig;

	rig_open(&rig);
	CHECK_INT(bell_comes(&rig), 0);
	rig.conn.state = RDMA_ANSWERING;
	rig.conn.cm_id = &rig.ids[0];
	event = request(&rig, 1);
	come(&rig, &event);
	CHECK(rig.conn.cm_id == &rig.ids[0]);
	CHECK_INT(rig.num_lost, 0);
}

TEST_CASE(offer_rdma_conn, one_request_waits_for_its_bell)
{
	struct cm_event event;
	struct rig rig;

	rig_open(&rig);
	event = request(&rig, 0);
	come(&rig, &event);
	CHECK(rig.conn.asked.id == &rig.ids[0]);
	event = request(&rig, 1);
	come(&rig, &event);
	CHECK(rig.conn.asked.id == &rig.ids[0]);
	CHECK_INT(rig.conn.state, RDMA_OFFERED);
	CHECK(bell_comes(&rig) < 0); /* there is nobody to accept it by */
	CHECK(rig.conn.cm_id == &rig.ids[0]);
	CHECK(!rig.conn.asked.id);
	CHECK(is_refused(&rig.ids[1]) && !is_refused(&rig.ids[0]));
}

TEST_CASE(offer_rdma_conn, who_connects_itself_takes_no_request)
{
	struct cm_event event;
	struct rig rig;

	rig_open(&rig);
	rig.conn.active = true;
	event = request(&rig, 0);
	come(&rig, &event);
	CHECK(!rig.conn.asked.id && !rig.conn.cm_id && is_refused(&rig.ids[0]));
	CHECK_INT(rig.conn.state, RDMA_OFFERED);
}

TEST_CASE(offer_rdma_conn, an_answer_that_proves_nothing_is_the_end)
{
	struct cm_event event = {.type = CM_RESPONSE, .length = 196};
	struct rig rig;

	rig_open(&rig);
	event.id = &rig.ids[0];
	rig.conn.active = true;
	rig.conn.theirs = rig.theirs;
	rig.conn.has_theirs = true;
	rig.conn.state = RDMA_ASKING;
	rig.conn.cm_id = &rig.ids[0];
	come(&rig, &event);
	CHECK_INT(rig.conn.state, RDMA_LOST);
	CHECK_INT(rig.num_lost, 1);
	come(&rig, &event);
	CHECK_INT(rig.num_lost, 1);
}
