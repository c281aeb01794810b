/*
 * See plane.h: what control asks of and tells a global network's port. global.h says how
 * the two threads hear of it.
 */
#include "data/global.h"
#include "data/plane_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

/* What a queue's item takes. */
#define POST_ITEM(type) ((sizeof(type) + 4 + 7) / 8 * 8)

/* ---- making and freeing ---- */

static void state_free(struct global_state *global)
{
	if (!global)
		return;
	post_close(&global->misses);
	post_close(&global->answers);
	park_close(&global->park);
	free(global);
}

static int state_new(struct global_state **ret_global)
{
	struct global_state *global = calloc(1, sizeof(*global));
	int ret = -ENOMEM;

	if (!global)
		return ret;
	if (getrandom(&global->secret, sizeof(global->secret), 0) !=
	    sizeof(global->secret)) {
		ret = -errno;
		goto err;
	}
	if (post_init(&global->misses, GLOBAL_MISSES * POST_ITEM(struct plane_miss)) <
		    0 ||
	    post_init(&global->answers,
		      GLOBAL_ANSWERS * POST_ITEM(struct global_answer)) < 0 ||
	    park_init(&global->park) < 0)
		goto err;
	fragments_init(&global->fragments, &global->secret);
	*ret_global = global;
	return 0;

err:
	state_free(global);
	return ret;
}

static int port_global_new(struct global_state *global, const struct plane_global *spec,
			   uint16_t tag, struct port_global **ret_port)
{
	struct port_global *port;
	int ret;

	if (spec->num_addresses == 0 || spec->num_addresses > PLANE_ADDRESSES_MAX)
		return -EINVAL;
	port = calloc(1, sizeof(*port));
	if (!port)
		return -ENOMEM;
	ret = flowcache_init(&port->cache,
			     spec->flows ? spec->flows : PLANE_FLOWS_DEFAULT);
	if (ret < 0) {
		free(port);
		return ret;
	}
	port->global = global;
	port->num_addresses = spec->num_addresses;
	memcpy(port->addresses, spec->addresses,
	       spec->num_addresses * sizeof(port->addresses[0]));
	shmnet_mac_make(port->mac, tag, GLOBAL_NODE_ID);
	*ret_port = port;
	return 0;
}

void port_global_free(struct port_global *port)
{
	if (!port)
		return;
	flowcache_close(&port->cache);
	free(port);
}

int plane_add_global(struct plane *plane, struct port *port,
		     const struct plane_global *spec)
{
	int ret;

	/* A queue is some peer's own by its MAC, and these packets have a NIC's. */
	if (port->num_queues != 1)
		return -EINVAL;
	if (!plane->global) {
		ret = state_new(&plane->global);
		if (ret < 0)
			return ret;
		worker_set_global(plane->worker, plane->global);
	}
	return port_global_new(plane->global, spec, port->tag, &port->global);
}

void plane_free_globals(struct plane *plane)
{
	for (unsigned p = 0; p < PLANE_PORTS_MAX; p++)
		port_global_free(plane->ports[p].global);
	state_free(plane->global);
}

/* ---- misses and answers ---- */

bool plane_next_miss(struct plane *plane, struct plane_miss *ret_miss)
{
	if (!plane->global)
		return false;
	if (plane->misses_in_row == PLANE_MISSES_MAX) {
		plane->misses_in_row = 0;
		plane_come_again(plane);
		return false;
	}
	if (post_take(&plane->global->misses, ret_miss, sizeof(*ret_miss)) > 0) {
		plane->misses_in_row++;
		return true;
	}
	plane->misses_in_row = 0;
	return false;
}

int plane_answer_flow(struct plane *plane, unsigned port, const struct flow_key *key,
		      const struct plane_verdict *verdict)
{
	struct global_answer answer = {.key = *key, .verdict = *verdict, .port = port};
	struct port_global *own;
	int ret;

	own = port < plane->num_ports ? plane->ports[port].global : NULL;
	if (!own || (!verdict->owner && verdict->reason >= DROP_NUM_))
		return -EINVAL;
	answer.generation = own->generation;
	ret = post_put(&plane->global->answers, &answer, sizeof(answer));
	if (ret == 0 &&
	    !__atomic_exchange_n(&plane->global->told, true, __ATOMIC_ACQ_REL))
		worker_wake(plane->worker);
	return ret;
}

void plane_renew_datagrams(struct plane *plane, unsigned port)
{
	struct port_global *own = plane->ports[port].global;

	if (own)
		__atomic_store_n(&own->generation, own->generation + 1, __ATOMIC_RELAXED);
}
