/*
 * What the running node says: that it is there, what is degraded, what its links carry,
 * and which versions its peers speak. See check.h.
 */
#include "cli/check.h"

#include "base/name.h"
#include "cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* In a command that somebody may run: names come from other machines. */
static const char *plain(const char *name)
{
	return name_is_valid(name) ? name : "NODE";
}

/* ---- the node ---- */

/* It has the networks that the file has, with their MTUs: else the file is newer. */
static const char *find_change(const struct check *check)
{
	const json_t *networks = json_object_get(check->status, "networks");
	json_t *network;
	size_t i;

	if (!check->config)
		return NULL;
	if (strcmp(text_get(check->status, "node"), check->config->name) != 0)
		return check->config->name;
	json_array_foreach(networks, i, network)
	{
		const struct config_network *wanted =
			config_find_network(check->config, text_get(network, "name"));

		if (!wanted || wanted->mtu != text_get_number(network, "mtu"))
			return text_get(network, "name");
	}
	for (unsigned j = 0; j < check->config->num_networks; j++) {
		bool is_there = false;

		json_array_foreach(networks, i, network) is_there |=
			strcmp(text_get(network, "name"),
			       check->config->networks[j].name) == 0;
		if (!is_there)
			return check->config->networks[j].name;
	}
	return NULL;
}

void check_node(struct check *check)
{
	const char *name = check->config ? check->config->name : "NAME";
	const char *change;

	if (!check->status) {
		check_fail(check, text_format("%s", check->error.message),
			   check->error.exit == CLI_NO_DAEMON
				   ? text_format("systemctl start shmnet-node@%s", name)
				   : text_format("sudo shmnetctl -n %s check", name));
		return;
	}
	change = find_change(check);
	if (change)
		check_warn(check,
			   text_format("%s runs with another config than %s: %s differs",
				       text_get(check->status, "node"), check->file,
				       change),
			   text_format("shmnetctl -n %s reload",
				       plain(text_get(check->status, "node"))));
	else
		check_pass(check, text_format("%s runs, pid %" PRIu64,
					      text_get(check->status, "node"),
					      text_get_number(check->status, "pid")));
}

/* ---- what is degraded ---- */

static const char *find_peer(const struct check *check, const char *reason)
{
	json_t *node;
	size_t i;

	json_array_foreach(json_object_get(check->status, "nodes"), i, node)
	{
		char *words = text_format("node %s (", text_get(node, "name"));
		bool is_it = strncmp(reason, words, strlen(words)) == 0;

		free(words);
		if (is_it)
			return text_get(node, "name");
	}
	return NULL;
}

/* The words of what can be told by them. */
static char *mend_reason(const struct check *check, const char *reason)
{
	const char *self = plain(text_get(check->status, "node"));
	const char *peer = find_peer(check, reason);
	const char *command = strstr(reason, "; ip link set ");

	/* No other node has a word in these. */
	if (command && strncmp(reason, "routing.nics: ", 14) == 0)
		return text_format("%s%s", check_at_taps(check), command + 2);
	if (strstr(reason, " has MTU "))
		return text_format("editor %s  # the same mtu on both nodes",
				   check->file);
	if (strstr(reason, "wire version "))
		return text_format(
			"apt install ./shmnet_*.deb  # of the newer one, on the "
			"host of the older one");
	if (strstr(reason, "was removed") || strstr(reason, "restart the node"))
		return text_format("systemctl restart shmnet-node@%s", self);
	if (strstr(reason, "no node is linked to it"))
		return text_format(
			"shmnetctl -n %s nodes  # and start another node of the "
			"cluster",
			self);
	if (peer)
		return text_format("shmnetctl -n %s nodes %s", self, plain(peer));
	return text_format("shmnetctl -n %s status", self);
}

static bool is_told(const json_t *reasons, const char *name)
{
	char *words = text_format("node %s (", name);
	json_t *reason;
	bool is_there = false;
	size_t i;

	json_array_foreach(reasons, i, reason) is_there |=
		strncmp(json_string_value(reason), words, strlen(words)) == 0;
	free(words);
	return is_there;
}

/* A node that is down has no reason: it may have been ended. */
static unsigned check_nodes(struct check *check, const json_t *reasons)
{
	unsigned missing = 0;
	json_t *node;
	size_t i;

	json_array_foreach(json_object_get(check->status, "nodes"), i, node)
	{
		const char *name = text_get(node, "name");

		if (strcmp(text_get(node, "state"), "up") == 0 || is_told(reasons, name))
			continue;
		missing++;
		check_warn(check,
			   text_format("%s is %s%s%s", name, text_get(node, "state"),
				       *text_get(node, "reason") ? ": " : "",
				       text_get(node, "reason")),
			   strcmp(text_get(node, "state"), "down") == 0
				   ? text_format("systemctl start shmnet-node@%s  # on "
						 "the host of %s",
						 plain(name), plain(name))
				   : text_format("shmnetctl -n %s nodes %s",
						 plain(text_get(check->status, "node")),
						 plain(name)));
	}
	return missing;
}

void check_status(struct check *check)
{
	const json_t *reasons = json_object_get(check->status, "reasons");
	json_t *reason;
	size_t i;

	json_array_foreach(reasons, i, reason)
	{
		const char *words = json_string_value(reason);

		check_warn(check, text_format("%s", words), mend_reason(check, words));
	}
	if (check_nodes(check, reasons) + json_array_size(reasons) == 0)
		check_pass(check,
			   text_format("%s, %" PRIu64 " of the other nodes up",
				       text_get(check->status, "state"),
				       text_get_number(check->status, "nodes_up")));
}

/* ---- MTU end to end ---- */

static uint64_t find_mtu(const struct check *check, const char *network)
{
	json_t *member;
	size_t i;

	json_array_foreach(json_object_get(check->status, "networks"), i, member)
	{
		if (strcmp(text_get(member, "name"), network) == 0)
			return text_get_number(member, "mtu");
	}
	return 0;
}

/* By this node, and not by the other one. */
static bool is_paused_here(const struct check *check, const char *network)
{
	json_t *member;
	size_t i;

	json_array_foreach(json_object_get(check->status, "networks"), i, member)
	{
		if (strcmp(text_get(member, "name"), network) == 0)
			return json_is_true(json_object_get(member, "paused"));
	}
	return false;
}

/* Both sides have the same MTU, or there is no link; what is sent may be as long. */
static void check_link(struct check *check, const json_t *link)
{
	const char *self = plain(text_get(check->status, "node"));
	const char *peer = text_get(link, "to"), *network = text_get(link, "network");
	const char *state = text_get(link, "state");

	if (strcmp(state, "up") == 0)
		check_pass(check, text_format("network %s to %s carries MTU %" PRIu64,
					      network, peer, find_mtu(check, network)));
	else if (strcmp(state, "paused") != 0)
		check_warn(check,
			   text_format("network %s to %s is %s", network, peer, state),
			   text_format("shmnetctl -n %s nodes %s", self, plain(peer)));
	else if (is_paused_here(check, network))
		check_warn(
			check, text_format("network %s is paused here", network),
			text_format("shmnetctl -n %s resume %s", self, plain(network)));
	else
		check_warn(check,
			   text_format("network %s is paused by %s", network, peer),
			   text_format("shmnetctl -n %s resume %s  # on the host of %s",
				       plain(peer), plain(network), plain(peer)));
}

/* Of a node that has another MTU there is none: that is among what is degraded. */
void check_links(struct check *check)
{
	json_t *link;
	size_t i;

	json_array_foreach(json_object_get(check->topology, "links"), i, link)
	{
		if (strcmp(text_get(link, "from"), text_get(check->status, "node")) == 0)
			check_link(check, link);
	}
}

/* ---- versions ---- */

static void check_version(struct check *check, const char *peer, uint64_t theirs,
			  uint64_t ours)
{
	const char *self = text_get(check->status, "node");
	const char *older = theirs < ours ? peer : self;

	if (theirs == ours)
		check_pass(check,
			   text_format("%s speaks wire version %" PRIu64, peer, theirs));
	else
		check_warn(check,
			   text_format("%s speaks wire version %" PRIu64
				       " at most, and %s %" PRIu64 ": upgrade %s",
				       peer, theirs, self, ours, older),
			   text_format("apt install ./shmnet_*.deb && systemctl "
				       "restart shmnet-node@%s  # on the host of %s",
				       plain(older), plain(older)));
}

void check_versions(struct check *check)
{
	const uint64_t ours = text_get_number(check->version, "wire_version");
	const char *running = text_get(check->version, "version");
	json_t *node;
	size_t i;

	if (!check->version)
		return;
	if (strcmp(running, SHMNET_VERSION) != 0)
		check_warn(check,
			   text_format("the node is version %s, and this is %s", running,
				       SHMNET_VERSION),
			   check_restart(check));
	else
		check_pass(check,
			   text_format("the node is version %s, as this is", running));
	json_array_foreach(json_object_get(check->status, "nodes"), i, node)
	{
		const uint64_t theirs = text_get_number(node, "wire_version");

		if (theirs)
			check_version(check, text_get(node, "name"), theirs, ours);
	}
}
