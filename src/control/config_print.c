/*
 * A config as text: the effective values, defaults included, as YAML that config_load()
 * takes; and the words that the file has for single values.
 *
 * Decides nothing and keeps nothing. Called by main for --check, and for single words by
 * the control thread.
 */
#include "control/config_internal.h"

#include <arpa/inet.h>
#include <string.h>

#define PLAIN_FIRST "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz/"
#define PLAIN_BYTES PLAIN_FIRST "0123456789._-"

/* In quotes unless it reads back the same without them. */
static void print_text(const char *text, FILE *out)
{
	bool plain = strchr(PLAIN_FIRST, *text) && !text[strspn(text, PLAIN_BYTES)] &&
		     strcasecmp(text, "null");

	if (plain) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void print_key(const char *key, const char *text, FILE *out)
{
	fputs(key, out);
	print_text(text, out);
	fputc('\n', out);
}

void config_address_text(const struct config_address *address,
			 char text[CONFIG_ADDRESS_TEXT_MAX])
{
	text[0] = '\0';
	inet_ntop(address->family, address->bytes, text, CONFIG_ADDRESS_TEXT_MAX);
}

static void print_address(const struct config_address *address, FILE *out)
{
	char host[CONFIG_ADDRESS_TEXT_MAX];

	config_address_text(address, host);
	fprintf(out, "\"%s/%u\"", host, address->prefix);
}

static void print_rdma(const struct config_fabric *fabric, FILE *out)
{
	if (fabric->device)
		print_key("    device: ", fabric->device, out);
	print_key("    listen: ", fabric->listen.text, out);
	fputs("    seeds: [", out);
	for (unsigned i = 0; i < fabric->num_seeds; i++) {
		fputs(i ? ", " : "", out);
		print_text(fabric->seeds[i].text, out);
	}
	fprintf(out, "]\n    security: %s\n", config_securities[fabric->security].str);
	if (fabric->security != FABRIC_SECURITY_TLS)
		return;
	print_key("    ca: ", fabric->ca, out);
	print_key("    certificate: ", fabric->certificate, out);
	print_key("    key: ", fabric->key, out);
}

static void print_shm(const struct config_fabric *fabric, FILE *out)
{
	print_key("    path: ", fabric->path, out);
	fputs("    uids: [", out);
	for (unsigned i = 0; i < fabric->num_uids; i++)
		fprintf(out, "%s%u", i ? ", " : "", fabric->uids[i]);
	fputs("]\n", out);
}

static void print_fabric(const struct config_fabric *fabric, FILE *out)
{
	print_key("  - name: ", fabric->name, out);
	fprintf(out, "    kind: %s\n", config_fabric_kinds[fabric->kind].str);
	if (fabric->kind == FABRIC_KIND_RDMA)
		print_rdma(fabric, out);
	else
		print_shm(fabric, out);
}

const char *config_offload_name(unsigned index)
{
	return config_offload_names[index].str;
}

static void print_offloads(uint32_t offloads, FILE *out)
{
	const char *separator = "";

	fputs("    offloads: [", out);
	for (unsigned i = 0; i < CONFIG_OFFLOADS; i++) {
		if (!(offloads & 1u << i))
			continue;
		fprintf(out, "%s%s", separator, config_offload_names[i].str);
		separator = ", ";
	}
	fputs("]\n", out);
}

static void print_global(const struct config_network *network, FILE *out)
{
	if (network->num_members)
		fputs("    members: [", out);
	for (unsigned i = 0; i < network->num_members; i++) {
		fputs(i ? ", " : "", out);
		print_text(network->members[i], out);
	}
	if (network->num_members)
		fputs("]\n", out);
	fprintf(out, "    balance: %s\n", config_balances[network->balance].str);
	fprintf(out, "    weight: %u\n", network->weight);
	fprintf(out, "    ephemeral: %s\n", config_ephemerals[network->ephemeral].str);
	if (network->announce)
		print_key("    announce: ", network->announce, out);
	fprintf(out, "    flows: %u\n", network->flows);
}

void config_area_text(uint32_t area, char text[CONFIG_AREA_TEXT_MAX])
{
	const struct in_addr dotted = {.s_addr = htonl(area)};

	inet_ntop(AF_INET, &dotted, text, CONFIG_AREA_TEXT_MAX);
}

static void print_routing(const struct config_routing *routing, FILE *out)
{
	char area[CONFIG_AREA_TEXT_MAX];

	if (!routing->area)
		return;
	config_area_text(routing->area, area);
	fprintf(out, "routing:\n  area: %s\n  nics: [", area);
	for (unsigned i = 0; i < routing->num_nics; i++) {
		fputs(i ? ", " : "", out);
		print_text(routing->nics[i], out);
	}
	fprintf(out, "]\n  nic_cost: %u\n", routing->nic_cost);
}

static void print_network(const struct config_network *network, FILE *out)
{
	uint32_t kib = network->ring_size >> 10;

	print_key("  - name: ", network->name, out);
	fprintf(out, "    kind: %s\n", config_network_kinds[network->kind].str);
	print_key("    tap: ", network->tap, out);
	fprintf(out, "    mtu: %u\n", network->mtu);
	fprintf(out, "    ring_size: %u%c\n", kib & 1023 ? kib : kib >> 10,
		kib & 1023 ? 'K' : 'M');
	fprintf(out, "    multicast_rings: %u\n", network->multicast_rings);
	fprintf(out, "    cast_depth: %u\n", network->cast_depth);
	fprintf(out, "    cast: %s\n", config_cast_modes[network->cast].str);
	print_offloads(network->offloads, out);
	fputs(network->dhcp ? "    addresses: [dhcp" : "    addresses: [", out);
	for (unsigned i = 0; i < network->num_addresses; i++) {
		fputs(i || network->dhcp ? ", " : "", out);
		print_address(&network->addresses[i], out);
	}
	fputs("]\n", out);
	if (network->kind == NETWORK_KIND_GLOBAL)
		print_global(network, out);
	else
		fprintf(out, "    cost: %u\n", network->cost);
}

static void print_dhcp_client(const struct node_config *config, FILE *out)
{
	if (!config->dhcp_client[0])
		return;
	fputs("  dhcp_client: [", out);
	for (unsigned i = 0; config->dhcp_client[i]; i++) {
		fputs(i ? ", " : "", out);
		print_text(config->dhcp_client[i], out);
	}
	fputs("]\n", out);
}

void config_print(const struct node_config *config, FILE *out)
{
	fputs("node:\n", out);
	print_key("  name: ", config->name, out);
	fprintf(out, "  id: %u\n", config->id);
	print_key("  cluster: ", config->cluster, out);
	print_key("  runtime_dir: ", config->runtime_dir, out);
	fprintf(out, "  spin_us: %u\n", config->spin_us);
	print_dhcp_client(config, out);
	fprintf(out, "  liveness: {interval_ms: %u, misses: %u}\n",
		config->liveness.interval_ms, config->liveness.misses);
	if (config->netns)
		print_key("  netns: ", config->netns, out);
	fputs("fabrics:\n", out);
	for (unsigned i = 0; i < config->num_fabrics; i++)
		print_fabric(&config->fabrics[i], out);
	fputs("networks:\n", out);
	for (unsigned i = 0; i < config->num_networks; i++)
		print_network(&config->networks[i], out);
	print_routing(&config->routing, out);
}
