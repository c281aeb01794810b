/* What the node has to do with the service manager that started it. See service.h. */
#include "base/log.h"
#include "control/node_internal.h"
#include "control/service.h"

#include <errno.h>
#include <string.h>

/* ---- the store ---- */

/* All from the first on, none that isn't one, and no more than the network has now. */
static bool is_usable(const struct handover_tap *tap,
		      const struct config_network *network)
{
	const unsigned num = handover_count(tap);

	for (unsigned i = 0; i < num; i++) {
		if (!tap_is_queue(tap->queues[i], tap->name))
			return false;
	}
	return num > 0 && num <= adapter_queues_max(network);
}

static void give_up(struct node *node, struct handover_tap *tap)
{
	handover_drop(tap);
	service_forget(tap->name);
	if (kernel_remove_port(node->kernel, tap->name, node->mark) < 0)
		log_warn(NULL, "can't remove interface %s%s: %s", tap->name,
			 netns_place(node->netns), kernel_last_error(node->kernel));
}

static void take_tap(struct node *node, struct handover_tap *tap)
{
	const struct config_network *network = node_find_tap(node, tap->name);

	if (network && is_usable(tap, network))
		return;
	if (network)
		log_warn(network->name,
			 "the queues of TAP %s that an earlier run left open are not "
			 "those that it needs: it is made anew",
			 tap->name);
	else
		log_info(NULL, "TAP %s of an earlier config goes", tap->name);
	give_up(node, tap);
}

int node_take_store(struct node *node)
{
	int strangers = service_take(&node->handover);

	if (strangers < 0)
		log_warn(NULL, "can't take what the service manager has kept: %s",
			 strerror(-strangers));
	if (strangers > 0)
		log_warn(NULL,
			 "closed %d descriptor%s of the service manager that are no "
			 "queues of TAPs",
			 strangers, strangers == 1 ? "" : "s");
	for (unsigned i = 0; i < node->handover.num_taps; i++)
		take_tap(node, &node->handover.taps[i]);
	return 0;
}

/* ---- signs of life: the control thread's by being here, the worker's by its turns ----
 */

static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;

	(void)fd;
	(void)what;
	if (plane_has_turned(node->plane))
		service_tell_alive();
	else
		log_err(NULL, "the worker has not taken a turn for a while: the service "
			      "manager gets no sign of life");
}

int node_start_watchdog(struct node *node)
{
	const uint64_t interval = service_watchdog_us() / 3;
	const struct timeval period = {.tv_sec = (time_t)(interval / 1000000),
				       .tv_usec = (suseconds_t)(interval % 1000000)};

	if (interval == 0)
		return 0;
	node->watchdog = event_new(node->base, -1, EV_PERSIST, on_watchdog, node);
	if (!node->watchdog || event_add(node->watchdog, &period) < 0)
		return -ENOMEM;
	plane_has_turned(node->plane);
	return 0;
}

void node_stop_watchdog(struct node *node)
{
	if (node->watchdog)
		event_free(node->watchdog);
}
