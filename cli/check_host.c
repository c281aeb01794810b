/*
 * Interfaces to the outside and the host's settings, as far as the config's networks
 * depend on them. See check.h. Done in the network namespace of the TAPs.
 */
#include "cli/check.h"

#include "cli/text.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NICS_MAX (CONFIG_NICS_MAX + CONFIG_NETWORKS_MAX)

/* ---- interfaces ---- */

void check_find_netdev(const struct config_endpoint *endpoint, char ret_name[IF_NAMESIZE])
{
	const struct sockaddr_in *in = (const void *)&endpoint->address;
	const struct sockaddr_in6 *in6 = (const void *)&endpoint->address;
	struct ifaddrs *all;

	ret_name[0] = '\0';
	if (getifaddrs(&all) < 0)
		return;
	for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
		const struct sockaddr_in *its = (const void *)at->ifa_addr;
		const struct sockaddr_in6 *its6 = (const void *)at->ifa_addr;

		if (!its || its->sin_family != endpoint->address.ss_family)
			continue;
		if (its->sin_family == AF_INET
			    ? its->sin_addr.s_addr == in->sin_addr.s_addr
			    : memcmp(&its6->sin6_addr, &in6->sin6_addr, 16) == 0)
			snprintf(ret_name, IF_NAMESIZE, "%s", at->ifa_name);
	}
	freeifaddrs(all);
}

static int ask_interface(unsigned long request, struct ifreq *ifreq, const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	memset(ifreq, 0, sizeof(*ifreq));
	snprintf(ifreq->ifr_name, sizeof(ifreq->ifr_name), "%s", name);
	ret = ioctl(fd, request, ifreq) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

unsigned check_get_mtu(const char *interface)
{
	struct ifreq ifreq = {.ifr_mtu = 0};

	return ask_interface(SIOCGIFMTU, &ifreq, interface) ? 0 : (unsigned)ifreq.ifr_mtu;
}

/* Those that the config names, each once. */
static unsigned list_nics(const struct node_config *config, const char *nics[NICS_MAX])
{
	unsigned number = 0;

	for (unsigned i = 0; i < config->routing.num_nics; i++)
		nics[number++] = config->routing.nics[i];
	for (unsigned i = 0; i < config->num_networks; i++) {
		const char *nic = config_announce_nic(&config->networks[i]);
		bool is_new = nic != NULL;

		for (unsigned j = 0; j < number && is_new; j++)
			is_new = strcmp(nics[j], nic) != 0;
		if (is_new)
			nics[number++] = nic;
	}
	return number;
}

static void check_nic(struct check *check, const char *nic)
{
	struct ifreq ifreq = {.ifr_flags = 0};

	if (ask_interface(SIOCGIFFLAGS, &ifreq, nic))
		check_fail(
			check, text_format("there is no interface %s", nic),
			text_format("editor %s  # name one that is there", check->file));
	else if (!(ifreq.ifr_flags & IFF_UP))
		check_fail(check, text_format("%s is down", nic),
			   text_format("%sip link set %s up", check_at_taps(check), nic));
	else if (!(ifreq.ifr_flags & IFF_RUNNING))
		check_warn(check, text_format("%s has no carrier", nic),
			   text_format("%sip link show %s  # connect it",
				       check_at_taps(check), nic));
	else
		check_pass(check, text_format("%s is up", nic));
}

void check_nics(struct check *check)
{
	const char *nics[NICS_MAX];
	unsigned number = list_nics(check->config, nics);

	for (unsigned i = 0; i < number; i++)
		check_nic(check, nics[i]);
}

/* ---- MTUs ---- */

/* Of what comes in by a NIC a global network has to carry all, or it is cut. */
static bool check_nic_mtu(struct check *check, const struct config_network *network,
			  const char *nic)
{
	unsigned mtu = check_get_mtu(nic);

	if (mtu <= network->mtu)
		return true;
	check_warn(check,
		   text_format("network %s has MTU %u, and %s brings packets of up to %u",
			       network->name, network->mtu, nic, mtu),
		   text_format("%sip link set %s mtu %u", check_at_taps(check), nic,
			       network->mtu));
	return false;
}

static void check_network_mtu(struct check *check, const struct config_network *network)
{
	const char *nics[NICS_MAX];
	unsigned number =
		network->kind == NETWORK_KIND_GLOBAL ? list_nics(check->config, nics) : 0;
	unsigned mtu = check_get_mtu(network->tap);
	bool is_good = true;

	if (mtu && check->status && mtu != network->mtu) {
		check_warn(check,
			   text_format("network %s has MTU %u, and its interface %s %u",
				       network->name, network->mtu, network->tap, mtu),
			   text_format("%sip link set %s mtu %u", check_at_taps(check),
				       network->tap, network->mtu));
		is_good = false;
	}
	for (unsigned i = 0; i < number; i++)
		is_good = check_nic_mtu(check, network, nics[i]) && is_good;
	if (is_good)
		check_pass(check,
			   text_format("network %s: %u", network->name, network->mtu));
}

void check_mtu(struct check *check)
{
	for (unsigned i = 0; i < check->config->num_networks; i++)
		check_network_mtu(check, &check->config->networks[i]);
}

/* ---- settings ---- */

/* -1: it can't be read. */
static int read_setting(const char *format, const char *interface)
{
	char name[128], path[192];
	int value = -1;
	FILE *file;

	snprintf(name, sizeof(name), format, interface);
	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	file = fopen(path, "re");
	if (!file)
		return -1;
	if (fscanf(file, "%d", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

static bool has_global_ipv4(const struct node_config *config)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		const struct config_network *network = &config->networks[i];

		for (unsigned j = 0;
		     network->kind == NETWORK_KIND_GLOBAL && j < network->num_addresses;
		     j++) {
			if (network->addresses[j].family == AF_INET)
				return true;
		}
	}
	return false;
}

/* As sysctl wants it: a dot in a name, as VLANs have it, is a slash. */
static char *mend_nic(const struct check *check, const char *nic)
{
	char name[IF_NAMESIZE];

	snprintf(name, sizeof(name), "%s", nic);
	for (char *at = name; *at; at++) {
		if (*at == '.')
			*at = '/';
	}
	return text_format("%ssysctl -w net.ipv4.conf.%s.rp_filter=2",
			   check_at_taps(check), name);
}

/* The kernel takes the higher one of "all" and the interface. */
void check_rp_filter(struct check *check)
{
	const char *nics[NICS_MAX];
	unsigned number = list_nics(check->config, nics);
	const int all = read_setting("ipv4/conf/%s/rp_filter", "all");

	if (!has_global_ipv4(check->config))
		return;
	if (all == 1)
		check_fail(check,
			   text_format("net.ipv4.conf.all.rp_filter is 1, with which a "
				       "global network does not start"),
			   text_format("%ssysctl -w net.ipv4.conf.all.rp_filter=2",
				       check_at_taps(check)));
	else if (all < 0)
		check_warn(check,
			   text_format("net.ipv4.conf.all.rp_filter can't be read"),
			   text_format("mount -t proc proc /proc"));
	else
		check_pass(check, text_format("net.ipv4.conf.all.rp_filter is %d", all));
	for (unsigned i = 0; i < number; i++) {
		int value = read_setting("ipv4/conf/%s/rp_filter", nics[i]);

		if (value == 1 && all != 2)
			check_warn(check,
				   text_format("%s drops packets whose senders are "
					       "reached by another way, as by another "
					       "border",
					       nics[i]),
				   mend_nic(check, nics[i]));
		else if (value >= 0)
			check_pass(check,
				   text_format("%s is not strict: %d", nics[i], value));
	}
}

/* What other nodes have to do with the outside goes through a border. */
void check_forwarding(struct check *check)
{
	if (!check->config->routing.num_nics)
		return;
	if (read_setting("ipv4/%s", "ip_forward") == 1)
		check_pass(check, text_format("net.ipv4.ip_forward is 1"));
	else
		check_warn(check,
			   text_format("a border has to forward, and "
				       "net.ipv4.ip_forward is 0"),
			   text_format("%ssysctl -w net.ipv4.ip_forward=1",
				       check_at_taps(check)));
}
