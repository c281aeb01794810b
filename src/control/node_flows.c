/*
 * What the node says of its global networks, and is told to do there: flows, listeners,
 * who gets a packet and why, which members are drained. As struct ctlsock_handler has
 * the calls. Control thread.
 */
#include "control/node_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- which networks ---- */

static int __attribute__((format(printf, 3, 4)))
refuse(struct report_refusal *refusal, const char *code, const char *format, ...)
{
	va_list args;

	REPORT_SET(refusal->code, code);
	va_start(args, format);
	vsnprintf(refusal->message, sizeof(refusal->message), format, args);
	va_end(args);
	return -ENOENT;
}

static bool is_global(const struct node *node, unsigned network)
{
	return node->config->networks[network].kind == NETWORK_KIND_GLOBAL;
}

static bool is_chosen(const struct node *node, unsigned network, const char *name)
{
	return is_global(node, network) &&
	       (!*name || strcmp(node->config->networks[network].name, name) == 0);
}

/* The words for a name that chose nothing; "": any of them. */
static int refuse_network(const struct node *node, const char *name,
			  struct report_refusal *refusal)
{
	char known[256] = "";
	size_t used = 0;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		const struct config_network *network = &node->config->networks[i];

		if (strcmp(network->name, name) == 0)
			return refuse(refusal, "not-global",
				      "network %s is local: it has no flows that a node "
				      "is chosen for",
				      name);
		if (is_global(node, i) &&
		    used + strlen(network->name) + 2 < sizeof(known))
			used += (size_t)snprintf(known + used, sizeof(known) - used,
						 " %s", network->name);
	}
	if (!*known)
		return refuse(refusal, "no-global-network",
			      "this node has no network of kind global");
	return refuse(refusal, "unknown-name", "no network '%s' here; global ones are:%s",
		      name, known);
}

/* Is there one of that name, or with "" at all? */
static int check_network(const struct node *node, const char *name,
			 struct report_refusal *refusal)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (is_chosen(node, i, name))
			return 0;
	}
	return refuse_network(node, name, refusal);
}

/* ---- the verbs ---- */

int node_flows(void *arg, const struct ctl_flows_request *request,
	       struct report_flows *report, struct report_refusal *ret_refusal)
{
	const struct node *node = arg;

	REPORT_SET(report->node, node->config->name);
	return check_network(node, request->network, ret_refusal);
}

int node_listeners(void *arg, const struct ctl_listeners_request *request,
		   struct report_listeners *report, struct report_refusal *ret_refusal)
{
	const struct node *node = arg;

	REPORT_SET(report->node, node->config->name);
	return check_network(node, request->network, ret_refusal);
}

int node_drain(void *arg, const struct ctl_drain_request *request,
	       struct report_drain *report, struct report_refusal *ret_refusal)
{
	const struct node *node = arg;

	REPORT_SET(report->node, node->config->name);
	return check_network(node, request->network, ret_refusal);
}

int node_explain(void *arg, const struct ctl_explain_request *request,
		 struct client *client, struct report_refusal *ret_refusal)
{
	const struct node *node = arg;

	(void)request;
	(void)client;
	return refuse_network(node, "", ret_refusal);
}
