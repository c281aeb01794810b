/*
 * The tables of nftables of a global network.
 *
 * Theory of operation. Packets to a global address that come by an interface go to the
 * port before the host's IP stack sees them, by a chain at the ingress of each
 * interface. They are in a table that belongs to this process: when it ends, however it
 * ends, the table goes.
 *
 * When a newer process takes over, the older one keeps its table until the newer one has
 * one as well, which therefore has another name; and so on, in turns.
 *
 * What then reaches the IP stack would be answered there, by a reset in most cases, which
 * ends a connection that another member serves. So a second table, the guard, belongs to
 * nobody and outlives us: it drops what comes to the addresses by an interface, other
 * than the port. As long as we live nothing gets that far, except from an interface
 * that is too new to have its chain. It is there before the addresses and goes after
 * them.
 *
 * The guard drops requests of ARP as well, always: who answers for the addresses on a LAN
 * is decided among the members (announce.c), not by the kernels of all. Only requests:
 * the host's own ones are answered to the global address.
 */
#include "base/log.h"
#include "control/global_internal.h"

#include <errno.h>
#include <net/if_arp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *remedy(int error)
{
	switch (error) {
	case -EPERM:
	case -EACCES:
		return "; run as root, or with CAP_NET_ADMIN";
	case -EOPNOTSUPP:
	case -ENOENT:
	case -EINVAL:
		return "; this takes a kernel of 5.12 or later with nf_tables, its "
		       "netdev, "
		       "inet and arp families and 'fwd' (CONFIG_NFT_FWD_NETDEV)";
	default:
		return "";
	}
}

/* --- text --- */

/* "{ 10.99.0.1, 10.99.0.2 }" */
static void print_addresses(FILE *out, const struct global *global, int family)
{
	const struct config_network *network = global->network;
	char text[CONFIG_ADDRESS_TEXT_MAX];
	const char *before = "{ ";

	for (unsigned i = 0; i < network->num_addresses; i++) {
		if (network->addresses[i].family != family)
			continue;
		config_address_text(&network->addresses[i], text);
		fprintf(out, "%s%s", before, text);
		before = ", ";
	}
	fputs(" }", out);
}

static void print_guard(FILE *out, const struct global *global)
{
	const char *tap = global->network->tap, *table = global->table;

	fprintf(out, "add table inet %s" GLOBAL_NFT_GUARD "\n", table);
	fprintf(out, "delete table inet %s" GLOBAL_NFT_GUARD "\n", table);
	fprintf(out, "add table inet %s" GLOBAL_NFT_GUARD "\n", table);
	fprintf(out,
		"add chain inet %s" GLOBAL_NFT_GUARD " in { type filter hook prerouting "
		"priority -300; }\n",
		table);
	for (int v6 = 0; v6 < 2; v6++) {
		if (!global_has(global->network, v6 ? AF_INET6 : AF_INET))
			continue;
		fprintf(out,
			"add rule inet %s" GLOBAL_NFT_GUARD
			" in iifname != { \"lo\", \"%s\" } %s daddr ",
			table, tap, v6 ? "ip6" : "ip");
		print_addresses(out, global, v6 ? AF_INET6 : AF_INET);
		fputs(" drop\n", out);
	}
}

static void print_arp_guard(FILE *out, const struct global *global)
{
	const char *tap = global->network->tap, *table = global->table;

	if (!global_has(global->network, AF_INET))
		return;
	fprintf(out, "add table arp %s" GLOBAL_NFT_GUARD "\n", table);
	fprintf(out, "delete table arp %s" GLOBAL_NFT_GUARD "\n", table);
	fprintf(out, "add table arp %s" GLOBAL_NFT_GUARD "\n", table);
	fprintf(out,
		"add chain arp %s" GLOBAL_NFT_GUARD " in { type filter hook input "
		"priority 0; }\n",
		table);
	fprintf(out,
		"add rule arp %s" GLOBAL_NFT_GUARD
		" in iifname != \"%s\" arp operation request arp daddr ip ",
		table, tap);
	print_addresses(out, global, AF_INET);
	fputs(" drop\n", out);
}

/*
 * The frame as it is, or, from an interface without Ethernet headers, with one that the
 * kernel makes of the port's neighbour. Frames for others that a bridge or a listener
 * of all brings here are not ours. A router that asks whether the address is still
 * here asks the announcer, who sees that before us.
 */
static void print_ethernet(FILE *out, const struct global *global, const char *chain)
{
	const char *tap = global->network->tap;

	fprintf(out, "add rule netdev %s meta pkttype != host accept\n", chain);
	if (global_has(global->network, AF_INET)) {
		fprintf(out, "add rule netdev %s ip daddr ", chain);
		print_addresses(out, global, AF_INET);
		fprintf(out, " fwd to \"%s\"\n", tap);
	}
	if (global_has(global->network, AF_INET6)) {
		fprintf(out, "add rule netdev %s ip6 daddr ", chain);
		print_addresses(out, global, AF_INET6);
		fputs(" ip6 hoplimit 255 icmpv6 type { 135, 136 } drop\n", out);
		fprintf(out, "add rule netdev %s ip6 daddr ", chain);
		print_addresses(out, global, AF_INET6);
		fprintf(out, " fwd to \"%s\"\n", tap);
	}
}

static void print_other(FILE *out, const struct global *global, const char *chain)
{
	const struct config_network *network = global->network;
	char text[CONFIG_ADDRESS_TEXT_MAX];

	for (unsigned i = 0; i < network->num_addresses; i++) {
		const char *ip = network->addresses[i].family == AF_INET ? "ip" : "ip6";

		config_address_text(&network->addresses[i], text);
		fprintf(out,
			"add rule netdev %s %s daddr %s fwd %s to %s device \"%s\"\n",
			chain, ip, text, ip, text, network->tap);
	}
}

/* Whether the chain went with an interface depends on the kernel. */
static void print_no_chain(FILE *out, const char *chain)
{
	fprintf(out, "add chain netdev %s\nflush chain netdev %s\n", chain, chain);
	fprintf(out, "delete chain netdev %s\n", chain);
}

static void name_chain(const struct global *global, const struct global_nic *nic,
		       char name[GLOBAL_CHAIN_MAX])
{
	snprintf(name, GLOBAL_CHAIN_MAX, "%s nic%d", global->hooks, nic->index);
}

static void print_chain(FILE *out, const struct global *global,
			const struct global_nic *nic)
{
	char chain[GLOBAL_CHAIN_MAX];

	name_chain(global, nic, chain);
	print_no_chain(out, chain);
	fprintf(out,
		"add chain netdev %s { type filter hook ingress device \"%s\" priority "
		"0; }\n",
		chain, nic->name);
	if (nic->type == ARPHRD_ETHER)
		print_ethernet(out, global, chain);
	else
		print_other(out, global, chain);
}

/* Is all of it there? fclose() alone doesn't say so. */
static int close_text(FILE *out, char *const *text)
{
	bool is_cut = ferror(out);

	return fclose(out) != 0 || is_cut || !*text ? -ENOMEM : 0;
}

/* Runs what `print` says of the network and, if that is a matter of one, of the NIC. */
static int run(struct global *global,
	       void (*print)(FILE *, const struct global *, const struct global_nic *),
	       const struct global_nic *nic)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int error;

	if (!out)
		return global_fail(global, -ENOMEM, "out of memory");
	print(out, global, nic);
	error = close_text(out, &text);
	if (!error)
		error = nft_run(global->nft, text);
	free(text);
	return error;
}

/* --- the guard --- */

static void print_guards(FILE *out, const struct global *global,
			 const struct global_nic *nic)
{
	(void)nic;
	print_guard(out, global);
	print_arp_guard(out, global);
}

static void print_list(FILE *out, const struct global *global,
		       const struct global_nic *nic)
{
	(void)nic;
	fprintf(out, "list table inet %s" GLOBAL_NFT_GUARD "\n", global->table);
}

static void print_arp_list(FILE *out, const struct global *global,
			   const struct global_nic *nic)
{
	(void)nic;
	fprintf(out, "list table arp %s" GLOBAL_NFT_GUARD "\n", global->table);
}

/* One by one: libnftables 1.0.6 knows of one family per run. free(*ret_text). */
static int list_guards(struct global *global, char **ret_text)
{
	char *first, *text = NULL;
	int error = run(global, print_list, NULL);

	if (error)
		return error;
	first = strdup(nft_output(global->nft));
	if (global_has(global->network, AF_INET))
		error = run(global, print_arp_list, NULL);
	if (!error &&
	    (!first || asprintf(&text, "%s%s", first, nft_output(global->nft)) < 0))
		error = -ENOMEM;
	free(first);
	if (!error)
		*ret_text = text;
	return error;
}

static bool guard_is_as_made(struct global *global)
{
	char *text;
	bool is_same;

	if (!global->guard || list_guards(global, &text) != 0)
		return false;
	is_same = strcmp(text, global->guard) == 0;
	free(text);
	return is_same;
}

int global_set_guard(struct global *global)
{
	int error;

	if (!nft_can_quote(global->network->tap))
		return global_fail(global, -EINVAL,
				   "the name %s can't stand in a rule of nftables: give "
				   "the network another 'tap' name",
				   global->network->tap);
	if (guard_is_as_made(global))
		return 0;
	global->may_have_guard = true;
	error = run(global, print_guards, NULL);
	if (error == 0) {
		free(global->guard);
		global->guard = NULL;
		global->has_guard = true;
		error = list_guards(global, &global->guard);
	}
	if (error)
		return global_fail(
			global, error,
			"can't make the nftables table %s" GLOBAL_NFT_GUARD ": %s%s",
			global->table, nft_last_error(global->nft), remedy(error));
	return 0;
}

static void print_no_guard(FILE *out, const struct global *global,
			   const struct global_nic *nic)
{
	(void)nic;
	fprintf(out, "add table inet %s" GLOBAL_NFT_GUARD "\n", global->table);
	fprintf(out, "delete table inet %s" GLOBAL_NFT_GUARD "\n", global->table);
	if (!global_has(global->network, AF_INET))
		return;
	fprintf(out, "add table arp %s" GLOBAL_NFT_GUARD "\n", global->table);
	fprintf(out, "delete table arp %s" GLOBAL_NFT_GUARD "\n", global->table);
}

void global_remove_guard(struct global *global)
{
	if (global->may_have_guard && run(global, print_no_guard, NULL) < 0 &&
	    global->has_guard)
		log_err(global->network->name,
			"can't remove the nftables table %s" GLOBAL_NFT_GUARD ": %s",
			global->table, nft_last_error(global->nft));
	global->has_guard = global->may_have_guard = false;
}

/* --- interfaces --- */

static void print_table(FILE *out, const struct global *global,
			const struct global_nic *nic)
{
	(void)nic;
	fprintf(out, "add table netdev %s { flags owner; }\n", global->hooks);
}

static void print_no_table(FILE *out, const struct global *global,
			   const struct global_nic *nic)
{
	(void)nic;
	fprintf(out, "delete table netdev %s\n", global->hooks);
}

static void print_nic(FILE *out, const struct global *global,
		      const struct global_nic *nic)
{
	print_chain(out, global, nic);
}

static void print_no_nic(FILE *out, const struct global *global,
			 const struct global_nic *nic)
{
	char chain[GLOBAL_CHAIN_MAX];

	name_chain(global, nic, chain);
	print_no_chain(out, chain);
}

static bool is_global_port(const struct global *global, const struct kernel_link *link)
{
	const struct node_config *config = global->config;

	for (unsigned i = 0; i < config->num_networks; i++) {
		if (config->networks[i].kind == NETWORK_KIND_GLOBAL &&
		    strcmp(config->networks[i].tap, link->name) == 0)
			return strcmp(link->alias, global->mark) == 0;
	}
	return false;
}

static struct global_nic *find_nic(struct global *global, int index)
{
	for (unsigned i = 0; i < global->num_nics; i++) {
		if (global->nics[i].index == index)
			return &global->nics[i];
	}
	return NULL;
}

static struct global_nic *add_nic(struct global *global, const struct kernel_link *link)
{
	struct global_nic *nics =
		reallocarray(global->nics, global->num_nics + 1, sizeof(*global->nics));

	if (!nics)
		return NULL;
	global->nics = nics;
	nics[global->num_nics] =
		(struct global_nic){.index = link->index, .type = link->type};
	return &nics[global->num_nics++];
}

/* What the kernel has left of its chain goes; that there is none is no failure. */
static void remove_nic(struct global *global, struct global_nic *nic)
{
	if (nic->is_hooked)
		run(global, print_no_nic, nic);
	*nic = global->nics[--global->num_nics];
}

static int hook(struct global *global, struct global_nic *nic)
{
	int error;

	if (!nft_can_quote(nic->name))
		return global_fail(global, -EINVAL,
				   "the name of interface %s can't stand in a rule of "
				   "nftables: packets from there get no answer",
				   nic->name);
	error = run(global, print_nic, nic);
	if (error)
		return global_fail(global, error,
				   "can't take packets from interface %s, they get no "
				   "answer: nftables says: %s%s",
				   nic->name, nft_last_error(global->nft), remedy(error));
	nic->is_hooked = true;
	return 0;
}

/* Our table was that of another socket: until it is made anew the guard drops. */
static void notice_loss(struct global *global)
{
	if (global->nft_life == nft_life(global->nft))
		return;
	global->nft_life = nft_life(global->nft);
	global->has_table = false;
	for (unsigned i = 0; i < global->num_nics; i++)
		global->nics[i].is_hooked = false;
}

/* A chain belongs to a name as much as to an interface: with another one it ends. */
int global_note_nic(struct global *global, const struct kernel_link *link)
{
	struct global_nic *nic = find_nic(global, link->index);

	if (link->gone) {
		if (nic)
			remove_nic(global, nic);
		return 0;
	}
	if (link->type == ARPHRD_LOOPBACK || is_global_port(global, link))
		return 0;
	if (nic && nic->is_hooked && strcmp(nic->name, link->name) == 0)
		return 0;
	if (!nic)
		nic = add_nic(global, link);
	if (!nic)
		return global_fail(global, -ENOMEM, "out of memory");
	memcpy(nic->name, link->name, sizeof(nic->name));
	return hook(global, nic);
}

/* Those that are there; what is not named any more is gone. */
struct survey {
	struct global *global;
	int error; /* the first, with its words in global->why */
	char why[GLOBAL_WORDS_MAX];
	unsigned num;
	int *indices;
};

static void note_each(const struct kernel_link *link, void *arg)
{
	struct survey *survey = arg;
	int *indices = reallocarray(survey->indices, survey->num + 1, sizeof(*indices));
	int error = indices ? global_note_nic(survey->global, link) : -ENOMEM;

	if (indices) {
		survey->indices = indices;
		indices[survey->num++] = link->index;
	}
	if (error && !survey->error) {
		survey->error = error;
		memcpy(survey->why, survey->global->why, sizeof(survey->why));
	}
}

static bool was_named(const struct survey *survey, int index)
{
	for (unsigned i = 0; i < survey->num; i++) {
		if (survey->indices[i] == index)
			return true;
	}
	return false;
}

static int survey_nics(struct global *global)
{
	struct survey survey = {.global = global};
	int error = kernel_each_link(global->kernel, "", note_each, &survey);

	if (error)
		global_fail(global, error, "can't list the host's interfaces: %s",
			    kernel_last_error(global->kernel));
	for (unsigned i = global->num_nics; !error && i > 0; i--) {
		if (!was_named(&survey, global->nics[i - 1].index))
			remove_nic(global, &global->nics[i - 1]);
	}
	free(survey.indices);
	if (!error && survey.error) {
		error = survey.error;
		memcpy(global->why, survey.why, sizeof(global->why));
	}
	return error;
}

/* The name is another's as long as that lives: the process that we take over from. */
static int make_table(struct global *global)
{
	int error;

	snprintf(global->hooks, sizeof(global->hooks), "%s", global->table);
	error = run(global, print_table, NULL);
	if (error != -EPERM)
		return error;
	snprintf(global->hooks, sizeof(global->hooks), "%s" GLOBAL_NFT_OTHER,
		 global->table);
	return run(global, print_table, NULL);
}

int global_set_nics(struct global *global)
{
	int error;

	notice_loss(global);
	error = global->has_table ? 0 : make_table(global);
	if (error)
		return global_fail(
			global, error, "can't make the nftables table %s: %s%s",
			global->hooks, nft_last_error(global->nft), remedy(error));
	global->has_table = true;
	return survey_nics(global);
}

void global_remove_nics(struct global *global)
{
	notice_loss(global);
	if (global->has_table && run(global, print_no_table, NULL) < 0)
		log_err(global->network->name, "can't remove the nftables table %s: %s",
			global->hooks, nft_last_error(global->nft));
	global->has_table = false;
	free(global->nics);
	global->nics = NULL;
	global->num_nics = 0;
}

/* --- what a killed node left --- */

/* "table inet shmnet/NODE/NETWORK/guard": prints what removes it, unless it is wanted. */
static void print_sweep(FILE *out, const struct node_config *config, const char *line,
			bool keep)
{
	const size_t guard = strlen(GLOBAL_NFT_GUARD);
	char family[16], table[256], prefix[GLOBAL_NFT_MAX], *name;
	size_t size;

	snprintf(prefix, sizeof(prefix), GLOBAL_NFT_PREFIX "%s/", config->name);
	if (sscanf(line, "table %15s %255s", family, table) != 2 ||
	    strncmp(table, prefix, strlen(prefix)) != 0)
		return;
	name = table + strlen(prefix);
	size = strlen(name);
	if (size <= guard || strcmp(name + size - guard, GLOBAL_NFT_GUARD) != 0)
		return;
	name[size - guard] = '\0';
	if (!keep || !global_find_network(config, name))
		fprintf(out, "delete table %s %s%s" GLOBAL_NFT_GUARD "\n", family, prefix,
			name);
}

/* What the commands of `text` would do, line by line. */
static int sweep(struct nft *nft, const struct node_config *config, bool keep)
{
	int error = nft_run(nft, "list tables");
	char *text = NULL, *list, *rest, *line;
	size_t size;
	FILE *out;

	if (error)
		return error;
	list = strdup(nft_output(nft));
	out = list ? open_memstream(&text, &size) : NULL;
	if (!out) {
		free(list);
		return -ENOMEM;
	}
	rest = list;
	while ((line = strsep(&rest, "\n")))
		print_sweep(out, config, line, keep);
	error = close_text(out, &text);
	if (!error && *text)
		error = nft_run(nft, text);
	free(text);
	free(list);
	return error;
}

int global_sweep_guards(struct kernel *kernel, const struct node_config *config,
			bool keep)
{
	struct nft *nft;
	int error = nft_open(kernel_netns(kernel), &nft);

	if (error) {
		log_err(NULL, "can't talk to nftables: %s", strerror(-error));
		return error;
	}
	error = sweep(nft, config, keep);
	if (error)
		log_err(NULL, "can't remove the nftables tables of an earlier run: %s%s",
			nft_last_error(nft), remedy(error));
	nft_close(nft);
	return error;
}
