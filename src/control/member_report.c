/*
 * What the membership is like, for the control socket and the metrics: snapshots of its
 * peers and their links, and in words what is wrong. See member.h. Changes nothing.
 * Control thread.
 */
#include "control/member_internal.h"

#include <stdarg.h>
#include <stdio.h>

uint32_t membership_incarnation(const struct membership *membership)
{
	return membership->owner.incarnation;
}

static enum member_state report_state(enum peer_state state)
{
	switch (state) {
	case PEER_UP:
		return MEMBER_UP;
	case PEER_SUSPECT:
	case PEER_FADING:
		return MEMBER_SUSPECT;
	default:
		return MEMBER_DOWN;
	}
}

static bool is_worth_a_report(const struct peer *peer)
{
	return peer_is_known(peer) || peer_is_present(peer) || peer_has_channel(peer) ||
	       peer_state(peer) == PEER_REFUSED;
}

void membership_each_peer(const struct membership *membership,
			  void (*each)(const struct member_report *report, void *arg),
			  void *arg)
{
	for (unsigned i = 0; i < membership->num_peers; i++) {
		const struct peer *peer = membership->peers[i];
		const struct member_report report = {
			.id = peer_id(peer),
			.name = peer_name(peer),
			.state = report_state(peer_state(peer)),
			.peer_state = peer_state(peer),
			.fabric = peer_fabric(peer),
			.incarnation = peer_incarnation(peer),
			.reason = peer_reason(peer),
			.pid = peer_pid(peer),
			.wire_version = peer_spoken(peer),
		};

		if (is_worth_a_report(peer))
			each(&report, arg);
	}
}

static void report_link(const struct peer *peer, unsigned network,
			void (*each)(const struct member_link_report *report, void *arg),
			void *arg)
{
	const struct member_link_report report = {
		.network = network,
		.peer_id = peer_id(peer),
		.peer_name = peer_name(peer),
		.fabric = peer_fabric(peer),
		.link = peer_link(peer, network),
		.is_paused = peer_is_paused(peer, network),
		.reason = peer_network_reason(peer, network),
	};

	if (report.link || peer_has_network(peer, network))
		each(&report, arg);
}

void membership_each_link(const struct membership *membership,
			  void (*each)(const struct member_link_report *report,
				       void *arg),
			  void *arg)
{
	for (unsigned network = 0; network < membership->owner.config->num_networks;
	     network++) {
		for (unsigned i = 0; i < membership->num_peers; i++) {
			const struct peer *peer = membership->peers[i];

			if (report_state(peer_state(peer)) != MEMBER_DOWN)
				report_link(peer, network, each, arg);
		}
	}
}

void membership_each_border(const struct membership *membership,
			    void (*each)(const struct member_border_report *report,
					 void *arg),
			    void *arg)
{
	for (unsigned i = 0; i < membership->num_peers; i++) {
		const struct peer *peer = membership->peers[i];
		const struct member_border_report report = {
			.id = peer_id(peer),
			.name = peer_name(peer),
			.border = peer_get_border(peer),
			.says_it = peer_says_border(peer),
		};

		if (report_state(peer_state(peer)) != MEMBER_DOWN)
			each(&report, arg);
	}
}

void membership_each_cast(const struct membership *membership,
			  void (*each)(const struct cast_report *report, void *arg),
			  void *arg)
{
	casts_each(membership->owner.casts, each, arg);
}

unsigned membership_links_up(const struct membership *membership, unsigned network)
{
	return membership->links[network];
}

unsigned membership_peers_up(const struct membership *membership)
{
	unsigned count = 0;

	for (unsigned i = 0; i < membership->num_peers; i++)
		count += peer_state(membership->peers[i]) == PEER_UP;
	return count;
}

unsigned membership_peers_known(const struct membership *membership)
{
	unsigned count = 0;

	for (unsigned i = 0; i < membership->num_peers; i++)
		count += is_worth_a_report(membership->peers[i]);
	return count;
}

struct reasons {
	void (*each)(const char *words, void *arg);
	void *arg;
	unsigned count;
};

static void __attribute__((format(printf, 2, 3)))
add_reason(struct reasons *reasons, const char *format, ...)
{
	char words[MEMBER_REASON_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	reasons->each(words, reasons->arg);
	reasons->count++;
}

static void add_peer_reasons(struct reasons *reasons, const struct peer *peer,
			     unsigned num_networks)
{
	if (peer_state(peer) == PEER_REFUSED ||
	    report_state(peer_state(peer)) == MEMBER_SUSPECT)
		add_reason(reasons, "node %s (id %u): %s", peer_name(peer), peer_id(peer),
			   peer_reason(peer));
	for (unsigned i = 0; i < num_networks; i++) {
		if (*peer_network_reason(peer, i))
			add_reason(reasons, "node %s (id %u): %s", peer_name(peer),
				   peer_id(peer), peer_network_reason(peer, i));
		if (*peer_network_clash(peer, i))
			add_reason(reasons, "%s", peer_network_clash(peer, i));
	}
}

unsigned membership_each_reason(const struct membership *membership,
				void (*each)(const char *words, void *arg), void *arg)
{
	const struct node_config *config = membership->owner.config;
	struct reasons reasons = {.each = each, .arg = arg};

	for (unsigned i = 0; i < membership->num_peers; i++)
		add_peer_reasons(&reasons, membership->peers[i], config->num_networks);
	reasons.count += casts_each_reason(membership->owner.casts, each, arg);
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (config_has_network(config, i) && !membership->links[i])
			add_reason(&reasons, "network %s: no node is linked to it",
				   config->networks[i].name);
	}
	return reasons.count;
}
