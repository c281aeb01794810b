/*
 * The config file: golden files, and what a file in the tree can't show.
 *
 * tests/golden/config/X.yaml is loaded; what comes out, the errors or the printed
 * config, must equal X.err or X.ok. A printed config must load again and print
 * the same. With GOLDEN_UPDATE=1 in the environment the expected files are
 * written instead, to be read before they are committed.
 */
#include "control/config_internal.h"
#include "shim.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a stream wrote; stream_end() ends the writing, the caller frees the text. */
struct stream {
	FILE *file;
	char *text;
	size_t size;
};

static void stream_start(struct stream *stream)
{
	stream->file = open_memstream(&stream->text, &stream->size);
	if (!stream->file)
		abort();
}

static char *stream_end(struct stream *stream)
{
	fclose(stream->file);
	return stream->text;
}

static char *print_config(const struct node_config *config)
{
	struct stream out;

	stream_start(&out);
	config_print(config, out.file);
	return stream_end(&out);
}

/* config_load() with its errors as a text. */
static int load(const char *path, struct node_config **ret_config, char **ret_errors)
{
	struct stream errors;
	int err;

	stream_start(&errors);
	err = config_load(path, errors.file, ret_config);
	*ret_errors = stream_end(&errors);
	return err;
}

/* ---- golden files ---- */

static char *read_text(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;

	if (!file)
		return NULL;
	if (getdelim(&text, &size, '\0', file) < 0 && text)
		text[0] = '\0';
	fclose(file);
	return text;
}

static void update_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	REQUIRE(file);
	fputs(text, file);
	fclose(file);
}

/* On standard output; `path` may not exist. */
static void print_diff(const char *path, const char *actual)
{
	char command[400];
	FILE *diff;

	snprintf(command, sizeof(command), "diff -uN %s -", path);
	diff = popen(command, "w");
	REQUIRE(diff);
	fputs(actual, diff);
	pclose(diff);
}

static void compare_with_file(const char *path, const char *actual)
{
	char *expected;

	if (getenv("GOLDEN_UPDATE"))
		update_text(path, actual);
	expected = read_text(path);
	if (!CHECK(expected && !strcmp(actual, expected)))
		print_diff(path, actual);
	free(expected);
}

static void check_round_trip(const char *printed)
{
	struct node_config *config = NULL;
	struct stream errors;
	char *text, *again;

	stream_start(&errors);
	CHECK_INT(config_load_data("printed", printed, strlen(printed), errors.file,
				   &config),
		  0);
	text = stream_end(&errors);
	CHECK_STR(text, "");
	free(text);
	REQUIRE(config);
	again = print_config(config);
	CHECK_STR(again, printed);
	free(again);
	config_free(config);
}

static void check_golden(const char *name)
{
	size_t stem = strlen(name) - strlen(".yaml");
	struct node_config *config = NULL;
	char expected[300], *errors, *printed;
	int err;

	err = load(name, &config, &errors);
	snprintf(expected, sizeof(expected), "%.*s.%s", (int)stem, name,
		 err ? "err" : "ok");
	if (err) {
		CHECK_INT(err, -EINVAL);
		CHECK(!config);
		compare_with_file(expected, errors);
	} else {
		CHECK_STR(errors, "");
		printed = print_config(config);
		compare_with_file(expected, printed);
		check_round_trip(printed);
		free(printed);
	}
	free(errors);
	config_free(config);
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name);

	return len > strlen(suffix) && !strcmp(name + len - strlen(suffix), suffix);
}

static int is_yaml(const struct dirent *entry)
{
	return has_suffix(entry->d_name, ".yaml");
}

static int is_expected(const struct dirent *entry)
{
	return has_suffix(entry->d_name, ".err") || has_suffix(entry->d_name, ".ok");
}

static int count_entries(int (*filter)(const struct dirent *))
{
	struct dirent **entries;
	int count;

	count = scandir(".", &entries, filter, alphasort);
	for (int i = 0; i < count; i++)
		free(entries[i]);
	if (count >= 0)
		free(entries);
	return count;
}

TEST_CASE(config, golden_files)
{
	struct dirent **entries;
	int count;

	REQUIRE(!chdir(GOLDEN_DIR));
	count = scandir(".", &entries, is_yaml, alphasort);
	REQUIRE(count > 50);
	for (int i = 0; i < count; i++) {
		check_golden(entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	CHECK_INT(count_entries(is_expected), count); /* none is left over */
	REQUIRE(!chdir("/"));
}

/* ---- files that are none ---- */

static void check_refused(const char *path, int expected_err, const char *expected_errors)
{
	struct node_config *config = NULL;
	char *errors;

	CHECK_INT(load(path, &config, &errors), expected_err);
	CHECK_STR(errors, expected_errors);
	CHECK(!config);
	free(errors);
}

TEST_CASE(config, refuses_a_missing_file)
{
	check_refused("/nonexistent/n1.yaml", -ENOENT,
		      "/nonexistent/n1.yaml: error: cannot read the config file: "
		      "No such file or directory\n");
}

TEST_CASE(config, refuses_a_directory)
{
	check_refused("/tmp", -EISDIR, "/tmp: error: a directory, not a config file\n");
}

/* /dev/zero has no size to ask for and never ends. */
TEST_CASE(config, refuses_an_endless_file)
{
	check_refused(
		"/dev/zero", -EFBIG,
		"/dev/zero: error: larger than 1 MiB, too large for a config file\n");
}

/* A valid config, padded with a comment to `size` bytes. */
static void write_padded(FILE *file, long size)
{
	fputs("node: {name: n1, id: 1}\nfabrics: [{name: a}]\nnetworks: [{name: b}]\n#",
	      file);
	while (ftell(file) < size)
		fputc('x', file);
	REQUIRE(!fflush(file));
}

static void check_size(long size, int expected_err)
{
	struct node_config *config = NULL;
	char path[64], *errors;
	FILE *file = tmpfile();

	REQUIRE(file);
	write_padded(file, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fileno(file));
	CHECK_INT(load(path, &config, &errors), expected_err);
	CHECK((config != NULL) == !expected_err);
	CHECK((errors[0] != '\0') == (expected_err != 0));
	free(errors);
	config_free(config);
	fclose(file);
}

TEST_CASE(config, takes_a_file_of_1_mib_and_no_more)
{
	check_size(1 << 20, 0);
	check_size((1 << 20) + 1, -EFBIG);
}

/* ---- values ---- */

#define FULL GOLDEN_DIR "/ok-full.yaml"

TEST_CASE(config, fills_the_struct)
{
	static const uint8_t fd77[16] = {0xfd, 0x77, [15] = 1};
	const struct config_network *network;
	struct node_config *config = NULL;

	REQUIRE(!config_load(FULL, stderr, &config));
	CHECK_STR(config->name, "n1");
	CHECK_INT(config->id, 65534);
	CHECK_STR(config->cluster, "demo");
	CHECK_STR(config->runtime_dir, "/run/shmnet-demo");
	CHECK_INT(config->spin_us, 0);
	CHECK_INT(config->liveness.interval_ms, 100);
	CHECK_INT(config->liveness.misses, 5);
	CHECK_INT(config->num_fabrics, 1);
	CHECK_INT(config->fabrics[0].kind, FABRIC_KIND_SHM);
	CHECK_STR(config->fabrics[0].path, "/run/shmnet-demo/rendezvous");
	CHECK_INT(config->num_networks, 3);
	network = &config->networks[0];
	CHECK_INT(network->kind, NETWORK_KIND_LOCAL);
	CHECK_INT(network->mtu, 9000);
	CHECK_INT(network->ring_size, 512 << 10);
	CHECK_INT(network->num_addresses, 3);
	CHECK_INT(network->addresses[0].family, AF_INET);
	CHECK_MEM(network->addresses[0].bytes, "\x0a\x4d\x00\x01", 4);
	CHECK_INT(network->addresses[0].prefix, 24);
	CHECK_INT(network->addresses[1].family, AF_INET6);
	CHECK_MEM(network->addresses[1].bytes, fd77, 16);
	CHECK_INT(network->addresses[1].prefix, 64);
	CHECK_INT(config->networks[1].num_addresses, 0);
	CHECK_INT(config->networks[1].ring_size, 4 << 20);
	CHECK_INT(config->networks[2].ring_size, 512 << 20);
	CHECK_STR(config->networks[2].tap, "lan2");
	config_free(config);
}

TEST_CASE(config, fills_a_fabric_of_kind_rdma)
{
	struct node_config *config = NULL;
	const struct config_fabric *fabric;
	const struct sockaddr_in *address;

	REQUIRE(!config_load(GOLDEN_DIR "/ok-rdma.yaml", stderr, &config));
	CHECK_STR(config_find_fabric(config, FABRIC_KIND_SHM)->name, "local");
	fabric = config_find_fabric(config, FABRIC_KIND_RDMA);
	REQUIRE(fabric);
	CHECK_STR(fabric->device, "rxe0");
	CHECK(!fabric->path);
	address = (const struct sockaddr_in *)&fabric->listen.address;
	CHECK_INT(fabric->listen.length, sizeof(*address));
	CHECK_INT(address->sin_family, AF_INET);
	CHECK_INT(ntohl(address->sin_addr.s_addr), 0xc0000201);
	CHECK_INT(ntohs(address->sin_port), 7471);
	CHECK_INT(fabric->num_seeds, 2);
	CHECK_STR(fabric->seeds[1].text, "192.0.2.2:7471");
	CHECK_INT(fabric->security, FABRIC_SECURITY_TLS);
	CHECK_STR(fabric->key, "/etc/shmnet/n1.key");
	config_free(config);
}

TEST_CASE(config, a_node_may_have_no_fabric_of_kind_shm)
{
	struct node_config *config = NULL;
	const struct config_fabric *fabric;
	const struct sockaddr_in6 *address;

	REQUIRE(!config_load(GOLDEN_DIR "/ok-rdma-alone.yaml", stderr, &config));
	CHECK(!config_find_fabric(config, FABRIC_KIND_SHM));
	fabric = config_find_fabric(config, FABRIC_KIND_RDMA);
	REQUIRE(fabric);
	CHECK(!fabric->device && !fabric->ca && !fabric->certificate && !fabric->key);
	CHECK_STR(fabric->listen.text, "[fd77::1]:65535");
	address = (const struct sockaddr_in6 *)&fabric->listen.address;
	CHECK_INT(fabric->listen.length, sizeof(*address));
	CHECK_INT(address->sin6_family, AF_INET6);
	CHECK_INT(ntohs(address->sin6_port), 65535);
	CHECK_INT(fabric->security, FABRIC_SECURITY_NONE);
	config_free(config);
}

static void check_global_defaults(const struct config_network *network)
{
	CHECK_INT(network->kind, NETWORK_KIND_GLOBAL);
	CHECK_INT(network->mtu, 65521);
	CHECK_INT(network->num_addresses, 1);
	CHECK_INT(network->addresses[0].family, AF_INET);
	CHECK_MEM(network->addresses[0].bytes, "\x0a\x63\x00\x01", 4);
	CHECK_INT(network->addresses[0].prefix, 32);
	CHECK_INT(network->num_members, 0);
	CHECK_INT(network->balance, CONFIG_BALANCE_ROUND_ROBIN);
	CHECK_INT(network->weight, 1);
	CHECK_INT(network->ephemeral, CONFIG_EPHEMERAL_SLICE);
	CHECK(!network->announce);
	CHECK_INT(network->flows, 65536);
}

TEST_CASE(config, fills_networks_of_kind_global)
{
	struct node_config *config = NULL;
	const struct config_network *network;

	REQUIRE(!config_load(GOLDEN_DIR "/ok-global.yaml", stderr, &config));
	REQUIRE(config->num_networks == 5);
	network = &config->networks[0];
	CHECK(!network->num_members && !network->announce && !network->flows);
	check_global_defaults(&config->networks[1]);
	network = &config->networks[2];
	CHECK_INT(network->mtu, 9000);
	CHECK_INT(network->num_addresses, 3);
	CHECK_INT(network->addresses[1].family, AF_INET6);
	CHECK_INT(network->addresses[1].prefix, 128);
	CHECK_INT(network->num_members, 3);
	CHECK_STR(network->members[0], "n3");
	CHECK_STR(network->members[2], "0");
	CHECK_INT(network->balance, CONFIG_BALANCE_LEAST_CONNECTIONS);
	CHECK_INT(network->weight, 256);
	CHECK_INT(network->ephemeral, CONFIG_EPHEMERAL_SHARED);
	CHECK_STR(network->announce, "eth0.7");
	CHECK_INT(network->flows, 4 << 20);
	CHECK_INT(config->networks[3].balance, CONFIG_BALANCE_CONSISTENT_HASH);
	CHECK_INT(config->networks[3].weight, 0);
	config_free(config);
}

TEST_CASE(config, fills_in_routing)
{
	struct node_config *config = NULL;
	const struct config_network *network;

	REQUIRE(!config_load(GOLDEN_DIR "/ok-routing.yaml", stderr, &config));
	CHECK_U64(config->routing.area, 0x0a010002);
	CHECK_INT(config->routing.nic_cost, 65535);
	REQUIRE(config->routing.num_nics == 2);
	CHECK_STR(config->routing.nics[1], "eth1.7");
	REQUIRE(config->num_networks == 6);
	network = config->networks;
	CHECK_INT(network[0].cost, 10);
	CHECK_INT(network[1].cost, 20);
	CHECK_INT(network[2].cost, 0);
	CHECK_INT(network[3].cost, 65535);
	CHECK(config_is_routed(&network[4]) && !config_announce_nic(&network[4]));
	CHECK(!config_is_routed(&network[5]));
	CHECK_STR(config_announce_nic(&network[5]), "eth0");
	CHECK_INT(network[4].cost, 0);
	config_free(config);
}

TEST_CASE(config, routing_has_defaults)
{
	static const char text[] = "node: {name: n1, id: 1}\n"
				   "fabrics: [{name: local}]\n"
				   "networks: [{name: lan0}]\n"
				   "routing: {}\n";
	struct node_config *config = NULL;

	REQUIRE(!config_load_data("test", text, strlen(text), stderr, &config));
	CHECK_U64(config->routing.area, 1);
	CHECK_INT(config->routing.nic_cost, 100);
	CHECK_INT(config->routing.num_nics, 0);
	CHECK(!config_is_routed(&config->networks[0]));
	config_free(config);
	REQUIRE(!config_load(GOLDEN_DIR "/ok-rdma.yaml", stderr, &config));
	CHECK_U64(config->routing.area, 0);
	config_free(config);
}

TEST_CASE(config, free_accepts_null)
{
	config_free(NULL);
}

TEST_CASE(config, parses_plain_numbers_only)
{
	uint64_t value = 7;

	CHECK_INT(config_parse_uint("18446744073709551615", &value), 0);
	CHECK_U64(value, UINT64_MAX);
	CHECK_INT(config_parse_uint("18446744073709551616", &value), -ERANGE);
	CHECK_INT(config_parse_uint("99999999999999999999999", &value), -ERANGE);
	CHECK_INT(config_parse_uint("-1", &value), -ERANGE);
	CHECK_INT(config_parse_uint("", &value), -EINVAL);
	CHECK_INT(config_parse_uint("-", &value), -EINVAL);
	CHECK_INT(config_parse_uint("00", &value), -EINVAL);
	CHECK_INT(config_parse_uint("1k5", &value), -EINVAL);
	CHECK_U64(value, UINT64_MAX);
	CHECK_INT(config_parse_uint("0", &value), 0);
	CHECK_U64(value, 0);
}

static int check_area(const char *text, uint32_t *ret_area)
{
	struct config_why why;

	return config_parse_area(text, ret_area, &why);
}

TEST_CASE(config, parses_areas)
{
	static const char *const bad[] = {"0",	       "0.0.0.0", "1.2.3",
					  "256.0.0.1", "-1",	  "01",
					  "0.0.0.0.1", "",	  "4294967296",
					  "1 ",	       "0x1",	  "99999999999999999999"};
	uint32_t area = 0;

	CHECK_INT(check_area("1", &area), 0);
	CHECK_U64(area, 1);
	CHECK_INT(check_area("255.255.255.255", &area), 0);
	CHECK_U64(area, UINT32_MAX);
	CHECK_INT(check_area("4294967295", &area), 0);
	CHECK_INT(check_area("0.0.1.0", &area), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(check_area(bad[i], &area), -EINVAL);
	CHECK_U64(area, 256);
}

TEST_CASE(config, quotes_hostile_text)
{
	char text[300];
	struct config_quote quote;

	CHECK_STR(config_quote("a\033[1m\xc3\xa4\n", &quote),
		  "'a\\x1b[1m\\xc3\\xa4\\x0a'");
	memset(text, 0xff, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	config_quote(text, &quote);
	CHECK(strlen(quote.text) < sizeof(quote.text));
	CHECK_STR(quote.text + strlen(quote.text) - 8, "\\xff...'");
}

/* ---- cost ---- */

/* A megabyte of `unit`; must end, and soon enough for the test's time limit. */
static void check_cost(const char *head, const char *unit)
{
	struct node_config *config = NULL;
	struct stream errors, data;

	stream_start(&data);
	fputs(head, data.file);
	while (ftell(data.file) < (1 << 20) - 64)
		fputs(unit, data.file);
	stream_end(&data);
	stream_start(&errors);
	CHECK_INT(config_load_data("big", data.text, data.size, errors.file, &config),
		  -EINVAL);
	stream_end(&errors);
	CHECK(errors.size > 0);
	free(errors.text);
	free(data.text);
}

TEST_CASE(config, hostile_megabytes_cost_little)
{
	check_cost("", "[");
	check_cost("", "{");
	check_cost("", "- ");
	check_cost("", "? ");
	check_cost("", "a: \n");
	check_cost("", "node: \n");
	check_cost("networks: [", "{},");
	check_cost("networks: [{addresses: [", "10.0.0.1/24,");
	check_cost("networks: [{kind: global, members: [", "n1,");
	check_cost("node: {name: ", "x");
	check_cost("node: &a [", "*a,");
	check_cost("", "\"");
	check_cost("%", "x");
}
