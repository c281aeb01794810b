/*
 * Which networks a pair has in common, as their HELLOs tell, and in words why others
 * are not, or what is wrong with their addresses. See peer_internal.h.
 *
 * What has to be equal: the kind and the MTU; of a global network also its addresses and
 * its members, as a node that takes packets for other addresses, or asks other nodes,
 * would dispatch what is none of its business. Control thread.
 */
#include "base/log.h"
#include "control/peer_internal.h"

#include <stdlib.h>
#include <string.h>

/* How often a peer changes what it has, which costs links, and words in the log. */
static const struct budget_rule changes = {.interval_ns = 1000000000, .burst = 32};

/* A list in words: cut there, it still tells what is meant. */
#define LIST_MAX 96

struct list {
	char text[LIST_MAX];
};

static const struct peer_network *find_network(const struct peer_hello *hello,
					       const char *name)
{
	for (unsigned i = 0; i < hello->num_networks; i++) {
		if (strcmp(hello->networks[i].name, name) == 0)
			return &hello->networks[i];
	}
	return NULL;
}

static const char *kind_name(enum network_kind kind)
{
	return kind == NETWORK_KIND_GLOBAL ? "global" : "local";
}

static void list_add(struct list *list, const char *entry)
{
	size_t used = strlen(list->text);
	int room = (int)(sizeof(list->text) - used);

	if (snprintf(list->text + used, (size_t)room, "%s%s", used ? ", " : "", entry) >=
	    room)
		memcpy(list->text + sizeof(list->text) - sizeof("..."), "...",
		       sizeof("..."));
}

/* ---- addresses ---- */

static bool address_is_among(const struct config_address *list, unsigned count,
			     const struct config_address *address)
{
	for (unsigned i = 0; i < count; i++) {
		if (list[i].family == address->family &&
		    memcmp(list[i].bytes, address->bytes, sizeof(list[i].bytes)) == 0)
			return true;
	}
	return false;
}

static bool addresses_are_among(const struct config_address *list, unsigned count,
				const struct config_address *others, unsigned num_others)
{
	for (unsigned i = 0; i < num_others; i++) {
		if (!address_is_among(list, count, &others[i]))
			return false;
	}
	return true;
}

static struct list list_addresses(const struct config_address *addresses, unsigned count)
{
	char text[CONFIG_ADDRESS_TEXT_MAX];
	struct list list = {""};

	for (unsigned i = 0; i < count; i++) {
		config_address_text(&addresses[i], text);
		list_add(&list, text);
	}
	return list;
}

/* False, with words, if they differ; their order does not count. */
static bool has_same_addresses(struct peer *peer, unsigned network,
			       const struct peer_network *theirs)
{
	const struct config_network *ours = &peer->owner->config->networks[network];
	struct peer_lane *lane = peer_lane(peer, network);
	struct list here, there;

	if (addresses_are_among(ours->addresses, ours->num_addresses, theirs->addresses,
				theirs->num_addresses) &&
	    addresses_are_among(theirs->addresses, theirs->num_addresses, ours->addresses,
				ours->num_addresses))
		return true;
	here = list_addresses(ours->addresses, ours->num_addresses);
	there = list_addresses(theirs->addresses, theirs->num_addresses);
	peer_say(lane->reason, sizeof(lane->reason),
		 "global network %s has address %s on %s and %s on %s", ours->name,
		 here.text, peer->owner->config->name, *there.text ? there.text : "none",
		 peer->name);
	return false;
}

static void note_clash(struct peer *peer, unsigned network, const char *words)
{
	struct peer_lane *lane = peer_lane(peer, network);

	peer_say(lane->clash, sizeof(lane->clash), "%s", words);
	log_warn(peer->name, "%s", lane->clash);
}

/* Hosts that share an address do talk, only not to who they think. */
static void compare_addresses(struct peer *peer, unsigned network,
			      const struct peer_network *theirs)
{
	const struct config_network *ours = &peer->owner->config->networks[network];
	char text[CONFIG_ADDRESS_TEXT_MAX], words[sizeof(peer_lane(peer, 0)->clash)];

	for (unsigned i = 0; i < theirs->num_addresses; i++) {
		const struct config_address *address = &theirs->addresses[i];

		if (!address_is_among(ours->addresses, ours->num_addresses, address))
			continue;
		config_address_text(address, text);
		if (strcmp(ours->name, theirs->name) == 0)
			peer_say(words, sizeof(words),
				 "address %s of network %s is that of %s and of %s; give "
				 "one of them another",
				 text, ours->name, peer->owner->config->name, peer->name);
		else
			peer_say(words, sizeof(words),
				 "address %s is that of the %s network %s of %s and of "
				 "the %s network %s of %s; give one of them another",
				 text, kind_name(ours->kind), ours->name,
				 peer->owner->config->name, kind_name(theirs->kind),
				 theirs->name, peer->name);
		note_clash(peer, network, words);
		return;
	}
}

/* A global address is of one network's members and of nothing else. */
static void compare_others(struct peer *peer, unsigned network)
{
	const struct config_network *ours = &peer->owner->config->networks[network];
	const struct peer_hello *hello = &peer->session.hello;

	for (unsigned i = 0; i < hello->num_networks; i++) {
		const struct peer_network *theirs = &hello->networks[i];

		if (strcmp(theirs->name, ours->name) != 0 &&
		    (ours->kind == NETWORK_KIND_GLOBAL ||
		     theirs->kind == NETWORK_KIND_GLOBAL) &&
		    !peer_lane(peer, network)->clash[0])
			compare_addresses(peer, network, theirs);
	}
}

/* ---- members ---- */

static int compare_names(const void *left, const void *right)
{
	return strcmp(*(const char *const *)left, *(const char *const *)right);
}

void peer_members_text(const struct config_network *network,
		       char text[CONFIG_MEMBER_BYTES_MAX])
{
	const char *names[CONFIG_MEMBERS_MAX];
	size_t used = 0;

	text[0] = '\0';
	memcpy(names, network->members, network->num_members * sizeof(names[0]));
	qsort(names, network->num_members, sizeof(names[0]), compare_names);
	for (unsigned i = 0; i < network->num_members; i++)
		used += (size_t)snprintf(text + used, CONFIG_MEMBER_BYTES_MAX - used,
					 "%s%s", i ? "," : "", names[i]);
}

static struct list list_members(const char *text)
{
	struct list list = {""};
	char name[CONFIG_NAME_MAX];

	while (*text) {
		size_t length = strcspn(text, ",");

		peer_say(name, sizeof(name), "%.*s", (int)length, text);
		list_add(&list, name);
		text += length + (text[length] == ',');
	}
	if (!*list.text)
		list_add(&list, "all nodes");
	return list;
}

static bool is_named(const char *members, const char *name)
{
	const size_t length = strlen(name);

	while (*members) {
		size_t end = strcspn(members, ",");

		if (end == length && memcmp(members, name, length) == 0)
			return true;
		members += end + (members[end] == ',');
	}
	return false;
}

/* False, with words, if they differ, or if one of the two nodes is none of them. */
static bool has_same_members(struct peer *peer, unsigned network,
			     const struct peer_network *theirs)
{
	const struct config_network *ours = &peer->owner->config->networks[network];
	const char *there = peer_hello_members(&peer->session.hello, theirs);
	const char *self = peer->owner->config->name;
	struct peer_lane *lane = peer_lane(peer, network);
	char here[CONFIG_MEMBER_BYTES_MAX];

	peer_members_text(ours, here);
	if (strcmp(here, there) != 0)
		peer_say(lane->reason, sizeof(lane->reason),
			 "global network %s has members %s on %s and %s on %s",
			 ours->name, list_members(here).text, self,
			 list_members(there).text, peer->name);
	else if (*there && !(is_named(there, peer->name) && is_named(there, self)))
		peer_say(lane->reason, sizeof(lane->reason),
			 "global network %s is for its members only: %s", ours->name,
			 list_members(there).text);
	else
		return true;
	return false;
}

/* ---- networks ---- */

/* Or words why it is not. */
static bool is_common(struct peer *peer, unsigned network,
		      const struct peer_network *theirs)
{
	const struct config_network *ours = &peer->owner->config->networks[network];
	struct peer_lane *lane = peer_lane(peer, network);

	if (theirs->kind != ours->kind) {
		peer_say(lane->reason, sizeof(lane->reason),
			 "network %s is %s on %s and %s on %s", ours->name,
			 kind_name(ours->kind), peer->owner->config->name,
			 kind_name(theirs->kind), peer->name);
		return false;
	}
	if (theirs->mtu != ours->mtu) {
		peer_say(lane->reason, sizeof(lane->reason),
			 "network %s has MTU %u on %s and MTU %u on %s", ours->name,
			 ours->mtu, peer->owner->config->name, theirs->mtu, peer->name);
		return false;
	}
	return ours->kind == NETWORK_KIND_LOCAL ||
	       (has_same_addresses(peer, network, theirs) &&
		has_same_members(peer, network, theirs));
}

static void compare_network(struct peer *peer, unsigned network)
{
	const struct config_network *ours = &peer->owner->config->networks[network];
	const struct peer_network *theirs =
		find_network(&peer->session.hello, ours->name);
	struct peer_lane *lane = peer_lane(peer, network);

	if (!theirs)
		return;
	lane->is_common = is_common(peer, network, theirs);
	if (!lane->is_common)
		log_warn(peer->name, "%s: not connected", lane->reason);
	else if (ours->kind == NETWORK_KIND_LOCAL)
		compare_addresses(peer, network, theirs);
}

void peer_compare_networks(struct peer *peer)
{
	for (unsigned i = 0; i < peer_num_networks(peer); i++) {
		compare_network(peer, i);
		compare_others(peer, i);
	}
}

/* ---- changes ---- */

/* What a network can't change while it is there. */
static bool is_other(const struct peer_network *former, const struct peer_network *theirs)
{
	return former && theirs &&
	       (former->kind != theirs->kind || former->mtu != theirs->mtu ||
		former->cast != theirs->cast || former->offloads != theirs->offloads);
}

static bool check_networks(struct peer *peer, const struct peer_hello *theirs)
{
	for (unsigned i = 0; i < theirs->num_networks; i++) {
		const struct peer_network *network = &theirs->networks[i];

		if (is_other(find_network(&peer->session.hello, network->name), network))
			return false;
	}
	return true;
}

/* What it has left it does not write to any more: what is there is delivered. */
static enum peer_event compare_again(struct peer *peer, unsigned network)
{
	struct peer_lane *lane = peer_lane(peer, network);
	bool was_common = lane->is_common;

	lane->is_common = false;
	lane->reason[0] = '\0';
	lane->clash[0] = '\0';
	compare_network(peer, network);
	compare_others(peer, network);
	if (was_common && !lane->is_common)
		peer_leave_lane(peer, network, true);
	if (!was_common && lane->is_common && peer->owner->paused[network])
		return peer_say_pause(peer, network);
	return EVENT_NONE;
}

enum peer_event peer_take_networks(struct peer *peer, const struct peer_message *message,
				   struct world_parcel *parcel)
{
	struct peer_hello *hello = &peer->session.hello;
	enum peer_event event;

	(void)parcel;
	if (!check_networks(peer, &message->hello))
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s changed a network that it has", peer->name);
	if (!budget_spend(&peer->changes, &changes, peer_now(peer)))
		return peer_complain(peer, PEER_REFUSAL_BUSY,
				     "%s changed its networks more than %u times in a "
				     "row; once a second is fine",
				     peer->name, changes.burst);
	hello->num_networks = message->hello.num_networks;
	memcpy(hello->networks, message->hello.networks, sizeof(hello->networks));
	hello->members_used = message->hello.members_used;
	memcpy(hello->members, message->hello.members, sizeof(hello->members));
	peer->session.heard++;
	for (unsigned i = 0; i < peer_num_networks(peer); i++) {
		event = compare_again(peer, i);
		if (event != EVENT_NONE)
			return event;
	}
	return EVENT_NETWORKS;
}

void peer_open_network(struct peer *peer, unsigned network)
{
	if (!(OFFERED & (1u << peer->state)))
		return;
	memset(peer_lane(peer, network), 0, sizeof(struct peer_lane));
	peer_lane(peer, network)->since = peer->session.told + 1;
	compare_network(peer, network);
	compare_others(peer, network);
}

/* The peer may store into the ring until it has heard. */
void peer_close_network(struct peer *peer, unsigned network)
{
	if (!(OFFERED & (1u << peer->state)))
		return;
	peer_leave_lane(peer, network, false);
	memset(peer_lane(peer, network), 0, sizeof(struct peer_lane));
}

void peer_tell_networks(struct peer *peer)
{
	enum peer_event event;

	if (!(OFFERED & (1u << peer->state)) || peer->session.is_remote)
		return;
	event = peer_send_networks(peer);
	peer_happen(peer, event == EVENT_NONE ? EVENT_NETWORKS : event);
}

uint32_t peer_offloads(const struct peer *peer, unsigned network)
{
	const struct peer_network *theirs =
		find_network(&peer->session.hello, peer_network_name(peer, network));

	return theirs ? theirs->offloads : 0;
}

enum cast_mode peer_cast_mode(const struct peer *peer, unsigned network)
{
	const struct peer_network *theirs =
		find_network(&peer->session.hello, peer_network_name(peer, network));

	return theirs ? theirs->cast : CAST_MODE_SHARED;
}

bool peer_has_network(const struct peer *peer, unsigned network)
{
	return find_network(&peer->session.hello, peer_network_name(peer, network)) !=
	       NULL;
}
