/*
 * All borders of the cluster, as this node knows them: itself by its own NICs and routes,
 * the others by what they say. For `topology`, and in words what is wrong among them: a
 * network that nobody announces, MTUs that differ. Changes nothing. Control thread.
 */
#include "control/node_internal.h"

#include "control/border.h"
#include "control/dispatch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX REPORT_REASON_MAX

/* This node, then the others that are up, whether they are borders or not. */
static void each_node(const struct node *node,
		      void (*each)(const struct member_border_report *report, void *arg),
		      void *arg)
{
	const struct member_border_report self = {
		.id = node->config->id,
		.name = node->config->name,
		.border = &node->bordering,
		.says_it = true,
	};

	each(&self, arg);
	membership_each_border(node->membership, each, arg);
}

/* ---- a network that nobody announces ---- */

struct network_words {
	const struct node *node;
	unsigned network;
	bool is_announced;
	bool is_unknown; /* whether it is */
	unsigned num_borders;
	char text[WORDS_MAX];
};

static void __attribute__((format(printf, 2, 3)))
append(char text[WORDS_MAX], const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, WORDS_MAX - used, format, args);
	va_end(args);
}

struct member_state_of {
	uint16_t id;
	bool is_member, is_drained, is_paused;
};

static bool match_member(void *arg, const struct dispatch_member *member)
{
	struct member_state_of *state = arg;

	if (member->id != state->id)
		return true;
	state->is_member = true;
	state->is_drained = member->is_drained;
	state->is_paused = member->is_paused;
	return false;
}

/* Of a peer, as far as it can be known from here. */
static const char *why_not(const struct network_words *words,
			   const struct member_border_report *report)
{
	const struct dispatch *dispatch = node_find_dispatch(words->node, words->network);
	struct member_state_of state = {.id = report->id};
	bool has_nic = false;

	for (unsigned i = 0; i < report->border->num_nics; i++)
		has_nic |= report->border->nics[i].is_up;
	if (!has_nic)
		return border_bar_words(BORDER_BAR_NIC);
	dispatch_each_member(dispatch, match_member, &state);
	if (!state.is_member)
		return "is not linked there";
	if (state.is_paused)
		return border_bar_words(BORDER_BAR_PAUSED);
	return state.is_drained ? border_bar_words(BORDER_BAR_DRAINED)
				: "does not say why";
}

static void ask_node(const struct member_border_report *report, void *arg)
{
	struct network_words *words = arg;
	const struct node *node = words->node;
	const char *network = node->config->networks[words->network].name;
	const char *why;

	words->is_unknown |= !report->says_it;
	words->is_announced |= peer_border_announces(report->border, network);
	if (peer_border_is_none(report->border))
		return;
	if (report->id == node->config->id)
		why = border_bar_words(border_bar(node->border, words->network));
	else
		why = why_not(words, report);
	append(words->text, "%s%s %s", words->num_borders++ ? ", " : "", report->name,
	       why);
}

static void name_addresses(const struct config_network *network, char text[WORDS_MAX])
{
	char address[CONFIG_ADDRESS_TEXT_MAX];

	text[0] = '\0';
	for (unsigned i = 0; i < network->num_addresses; i++) {
		config_address_text(&network->addresses[i], address);
		append(text, "%s%s", i ? ", " : "", address);
	}
}

static void tell_network(const struct node *node, unsigned index,
			 void (*each)(const char *words, void *arg), void *arg)
{
	const struct config_network *network = &node->config->networks[index];
	struct network_words words = {.node = node, .network = index};
	char line[2 * WORDS_MAX], addresses[WORDS_MAX];

	each_node(node, ask_node, &words);
	if (words.is_announced || words.is_unknown)
		return;
	name_addresses(network, addresses);
	snprintf(line, sizeof(line), "network %s: %.64s is announced by nobody: %s",
		 network->name, addresses,
		 words.num_borders ? words.text
				   : "no node that is up has 'nics' in its section "
				     "'routing'");
	each(line, arg);
}

/* ---- MTUs that differ ---- */

/* The first border, and the first one after it whose NICs have another MTU. */
struct mtu_words {
	bool has_first, has_other;
	uint32_t mtu;
	char first[CONFIG_NAME_MAX], nic[PEER_NIC_MAX];
	char text[WORDS_MAX];
};

/* What fits all NICs of a border; NULL: none is there. */
static const struct peer_nic *find_narrowest(const struct peer_border *border)
{
	const struct peer_nic *nic = NULL;

	for (unsigned i = 0; i < border->num_nics; i++) {
		if (border->nics[i].mtu && (!nic || border->nics[i].mtu < nic->mtu))
			nic = &border->nics[i];
	}
	return nic;
}

static void compare_mtu(const struct member_border_report *report, void *arg)
{
	const struct peer_nic *nic = find_narrowest(report->border);
	struct mtu_words *words = arg;

	if (!nic || words->has_other)
		return;
	if (!words->has_first) {
		words->has_first = true;
		words->mtu = nic->mtu;
		snprintf(words->first, sizeof(words->first), "%s", report->name);
		snprintf(words->nic, sizeof(words->nic), "%s", nic->name);
		return;
	}
	words->has_other = nic->mtu != words->mtu;
	if (words->has_other)
		snprintf(words->text, sizeof(words->text),
			 "%s's %s has MTU %u, %s's %s %u: what comes in by one border "
			 "may not fit the way out by the other; give both the same MTU",
			 words->first, words->nic, words->mtu, report->name, nic->name,
			 nic->mtu);
}

void node_each_border_reason(const struct node *node,
			     void (*each)(const char *words, void *arg), void *arg)
{
	struct mtu_words mtus = {0};

	border_each_reason(node->border, each, arg);
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (config_has_network(node->config, i) &&
		    config_is_routed(&node->config->networks[i]))
			tell_network(node, i, each, arg);
	}
	each_node(node, compare_mtu, &mtus);
	if (mtus.has_other)
		each(mtus.text, arg);
}

/* ---- topology ---- */

struct border_list {
	const struct node *node;
	struct report_border *borders;
	unsigned count, room;
};

static void count_border(const struct member_border_report *report, void *arg)
{
	*(unsigned *)arg += !peer_border_is_none(report->border);
}

/* Of a network that we have not only the name is known. */
static void fill_announced(const struct node_config *config, const char *name,
			   struct report_announced *to)
{
	const struct config_network *network = config_find_network(config, name);

	REPORT_SET(to->network, name);
	if (!network || !config_is_routed(network))
		return;
	for (unsigned i = 0; i < network->num_addresses; i++)
		config_address_text(&network->addresses[i], to->addresses[i]);
	to->num_addresses = network->num_addresses;
}

static void add_border(const struct member_border_report *report, void *arg)
{
	const struct peer_border *from = report->border;
	struct border_list *list = arg;
	struct report_border *to;

	if (peer_border_is_none(from) || list->count == list->room)
		return;
	to = &list->borders[list->count++];
	REPORT_SET(to->node, report->name);
	for (unsigned i = 0; i < from->num_nics; i++) {
		struct report_nic *nic = &to->nics[to->num_nics++];

		REPORT_SET(nic->name, from->nics[i].name);
		nic->mtu = from->nics[i].mtu;
		nic->is_up = from->nics[i].is_up;
	}
	for (unsigned i = 0; i < from->num_announces; i++)
		fill_announced(list->node->config, from->announces[i],
			       &to->announces[to->num_announces++]);
}

int node_fill_borders(const struct node *node, struct report_topology *report)
{
	struct border_list list = {.node = node};

	each_node(node, count_border, &list.room);
	list.borders = report_list_new(list.room, sizeof(*list.borders));
	if (!list.borders)
		return -ENOMEM;
	each_node(node, add_border, &list);
	report->borders = list.borders;
	report->num_borders = list.count;
	return 0;
}
