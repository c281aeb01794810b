/* Rules, routes and neighbours, read back and as ip(8) sees them. */
#include "control/kernel.h"
#include "data/tap.h"

#include "command_output.h"
#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define TABLE	 83
#define PROTOCOL 83

struct fixture {
	struct kernel *kernel;
	struct tap tap;
	struct kernel_link link;
};

static const char *fixture_open(struct fixture *f)
{
	const char *why_not = netns_enter_for_tap();
	enum tap_error why;

	memset(f, 0, sizeof(*f));
	tap_init(&f->tap);
	if (why_not)
		return why_not;
	CHECK_INT(kernel_open(NULL, &f->kernel), 0);
	CHECK_INT(tap_open(&f->tap, "shmg0", 1, TAP_CREATE, &why), 0);
	CHECK_INT(system("ip link set shmg0 up"), 0);
	CHECK_INT(kernel_get_link(f->kernel, "shmg0", &f->link), 0);
	return NULL;
}

static void fixture_close(struct fixture *f)
{
	tap_destroy(&f->tap);
	kernel_close(f->kernel);
}

#define OPEN(f) START_OR_SKIP(fixture_open(f))

static struct config_address address(const char *text)
{
	struct config_address address = {.family =
						 strchr(text, ':') ? AF_INET6 : AF_INET};

	address.prefix = address.family == AF_INET ? 32 : 128;
	CHECK_INT(inet_pton(address.family, text, address.bytes), 1);
	return address;
}

static const char *text_of(const struct config_address *address)
{
	static char text[CONFIG_ADDRESS_TEXT_MAX];

	if (!address->family)
		return "";
	config_address_text(address, text);
	return text;
}

/* --- rules --- */

static struct kernel_rule own_rule(const char *to)
{
	struct kernel_rule rule = {
		.table = TABLE, .protocol = PROTOCOL, .iifname = "lo", .to = address(to)};

	rule.family = rule.to.family;
	return rule;
}

static void check_rules(struct fixture *f, int family, const char *to, const char *ip)
{
	const struct kernel_rule local = {
		.family = family, .table = 255, .protocol = 2 /* kernel */};
	struct kernel_rule own = own_rule(to), *rules = NULL;
	size_t num = 0;

	CHECK_INT(kernel_add_rule(f->kernel, &own), 0);
	CHECK_INT(kernel_add_rule(f->kernel, &local), 0);
	CHECK_INT(kernel_dump_rules(f->kernel, family, &rules, &num), 0);
	REQUIRE(num >= 4);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(rules[i].family, family);
		CHECK_INT(rules[i].priority, 0);
		CHECK(!rules[i].has_more);
	}
	CHECK_INT(rules[0].table, 255);
	CHECK_INT(rules[1].table, TABLE);
	CHECK_INT(rules[1].protocol, PROTOCOL);
	CHECK_STR(text_of(&rules[1].to), to);
	CHECK_INT(rules[1].to.prefix, own.to.prefix);
	CHECK_STR(rules[1].iifname, "lo");
	CHECK_INT(rules[2].table, 255);
	CHECK_INT(rules[2].protocol, 2);
	CHECK_INT(rules[2].to.family, 0);
	CHECK_STR(rules[2].iifname, "");
	free(rules);

	CHECK_INT(kernel_remove_rule(f->kernel, &local), 0);
	CHECK_INT(kernel_dump_rules(f->kernel, family, &rules, &num), 0);
	CHECK_INT(rules[0].table, TABLE);
	CHECK_INT(rules[1].table, 255);
	free(rules);
	CHECK(command_says(ip, "iif lo lookup 83"));
	CHECK_INT(kernel_remove_rule(f->kernel, &own), 0);
	CHECK_INT(kernel_remove_rule(f->kernel, &own), -ENOENT);
	CHECK(!command_says(ip, "83"));
}

TEST_CASE(kernel_rule, comes_behind_its_equals_and_the_first_goes)
{
	struct fixture f;

	OPEN(&f);
	check_rules(&f, AF_INET, "10.99.0.1", "ip -4 rule");
	check_rules(&f, AF_INET6, "fd99::1", "ip -6 rule");
	fixture_close(&f);
}

TEST_CASE(kernel_rule, reads_what_others_made)
{
	struct kernel_rule *rules = NULL;
	size_t num = 0;
	struct fixture f;

	OPEN(&f);
	CHECK_INT(system("ip rule add pref 5 from 10.1.0.0/16 lookup 1000"), 0);
	CHECK_INT(system("ip rule add pref 6 fwmark 7 lookup 83 protocol 83"), 0);
	CHECK_INT(system("ip rule add pref 7 not to 10.1.0.0/16 lookup 83"), 0);
	CHECK_INT(system("ip rule add pref 8 unreachable"), 0);
	CHECK_INT(kernel_dump_rules(f.kernel, AF_INET, &rules, &num), 0);
	CHECK_INT(num, 7);
	CHECK(!rules[0].has_more);
	CHECK(rules[1].has_more && rules[2].has_more && rules[3].has_more);
	CHECK(rules[4].has_more);
	CHECK_INT(rules[1].priority, 5);
	CHECK_INT(rules[1].table, 1000);
	CHECK_INT(rules[2].protocol, 83);
	CHECK_INT(rules[3].to.prefix, 16);
	CHECK(!rules[5].has_more);
	free(rules);
	fixture_close(&f);
}

/* --- routes --- */

static struct kernel_route own_route(struct fixture *f, const char *to)
{
	return (struct kernel_route){.to = address(to),
				     .index = f->link.index,
				     .table = TABLE,
				     .protocol = PROTOCOL};
}

static void check_route(struct fixture *f, const char *to, const char *source)
{
	struct kernel_route route = own_route(f, to), *routes = NULL;
	size_t num = 42;

	CHECK_INT(kernel_dump_routes(f->kernel, route.to.family, TABLE, 0, &routes, &num),
		  0);
	CHECK_INT(num, 0);
	CHECK_INT(kernel_set_route(f->kernel, &route), 0);
	route.source = address(source);
	CHECK_INT(kernel_set_route(f->kernel, &route), 0);
	CHECK_INT(kernel_dump_routes(f->kernel, route.to.family, TABLE, 0, &routes, &num),
		  0);
	REQUIRE(num == 1);
	CHECK_STR(text_of(&routes->to), to);
	CHECK_STR(text_of(&routes->source), source);
	CHECK_INT(routes->index, f->link.index);
	CHECK_INT(routes->table, TABLE);
	CHECK_INT(routes->protocol, PROTOCOL);
	free(routes);
	route.source.family = 0;
	CHECK_INT(kernel_set_route(f->kernel, &route), 0);
	CHECK_INT(kernel_dump_routes(f->kernel, route.to.family, TABLE, 0, &routes, &num),
		  0);
	REQUIRE(num == 1);
	CHECK_INT(routes->source.family, 0);
	free(routes);
	CHECK_INT(kernel_remove_route(f->kernel, &route), 0);
	CHECK_INT(kernel_remove_route(f->kernel, &route), -ESRCH);
}

TEST_CASE(kernel_rule, a_route_is_replaced)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(system("ip addr add 10.77.0.1/24 dev shmg0"), 0);
	CHECK_INT(system("ip addr add fd77::1/64 dev shmg0 nodad"), 0);
	check_route(&f, "10.99.0.1", "10.77.0.1");
	check_route(&f, "fd99::1", "fd77::1");
	fixture_close(&f);
}

TEST_CASE(kernel_rule, a_source_that_the_host_has_not_is_refused)
{
	struct kernel_route route;
	struct fixture f;

	OPEN(&f);
	route = own_route(&f, "10.99.0.1");
	route.source = address("10.77.0.1");
	CHECK_INT(kernel_set_route(f.kernel, &route), -EINVAL);
	route = own_route(&f, "fd99::1");
	route.source = address("fd77::1");
	CHECK_INT(kernel_set_route(f.kernel, &route), -EINVAL);
	fixture_close(&f);
}

TEST_CASE(kernel_rule, routes_of_other_tables_and_kinds)
{
	struct kernel_route *routes = NULL;
	size_t num = 0;
	struct fixture f;

	OPEN(&f);
	CHECK_INT(system("ip route add 10.0.0.0/8 dev shmg0 table 1000"), 0);
	CHECK_INT(system("ip route add blackhole 10.5.0.0/16 table 83"), 0);
	CHECK_INT(system("ip route add default dev shmg0 table 83 protocol 4"), 0);
	CHECK_INT(kernel_dump_routes(f.kernel, AF_INET, TABLE, 0, &routes, &num), 0);
	CHECK_INT(num, 2);
	CHECK_INT(routes[0].to.prefix, 0);
	CHECK_INT(routes[0].protocol, 4);
	CHECK_INT(routes[1].to.prefix, 16);
	CHECK_INT(routes[1].index, 0);
	free(routes);
	CHECK_INT(kernel_dump_routes(f.kernel, AF_INET, 1000, 0, &routes, &num), 0);
	CHECK_INT(num, 1);
	free(routes);
	fixture_close(&f);
}

static void check_add(struct fixture *f, const char *to, const char *other)
{
	struct kernel_route route = own_route(f, to), *routes = NULL;
	size_t num = 0;

	route.table = 254;
	CHECK_INT(system(other), 0);
	CHECK_INT(kernel_add_route(f->kernel, &route), 0);
	CHECK_INT(kernel_add_route(f->kernel, &route), -EEXIST);
	CHECK_INT(kernel_dump_routes(f->kernel, route.to.family, 254, PROTOCOL, &routes,
				     &num),
		  0);
	REQUIRE(num == 1);
	CHECK_STR(text_of(&routes->to), to);
	free(routes);
	CHECK_INT(kernel_remove_route(f->kernel, &route), 0);
	CHECK_INT(kernel_remove_route(f->kernel, &route), -ESRCH);
	CHECK_INT(kernel_dump_routes(f->kernel, route.to.family, 254, 4, &routes, &num),
		  0);
	CHECK_INT(num, 1);
	free(routes);
}

/* Of others to the same address, with another metric, none is touched. */
TEST_CASE(kernel_rule, a_route_is_added_beside_others)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(system("ip addr add fd99::1/128 dev shmg0 nodad"), 0);
	check_add(&f, "10.99.0.1", "ip route add 10.99.0.1 dev shmg0 metric 20 proto 4");
	check_add(&f, "fd99::1", "ip -6 route add fd99::1 dev shmg0 metric 20 proto 4");
	CHECK(command_says("ip -6 route", "fd99::1 dev shmg0 proto kernel"));
	fixture_close(&f);
}

/* --- neighbours --- */

TEST_CASE(kernel_rule, a_neighbour_is_for_good)
{
	struct kernel_neighbour neighbour = {.mac = {2, 0x53, 0x12, 0x34, 0xff, 0xff},
					     .protocol = PROTOCOL};
	struct fixture f;

	OPEN(&f);
	neighbour.index = f.link.index;
	neighbour.address = address("10.99.0.1");
	CHECK_INT(kernel_set_neighbour(f.kernel, &neighbour), 0);
	CHECK_INT(kernel_set_neighbour(f.kernel, &neighbour), 0);
	CHECK(command_says("ip neigh", "10.99.0.1 dev shmg0 lladdr 02:53:12:34:ff:ff "
				       "PERMANENT proto 83"));
	CHECK_INT(kernel_remove_neighbour(f.kernel, &neighbour), 0);
	CHECK(!command_says("ip neigh", "02:53:12:34:ff:ff"));
	CHECK_INT(kernel_remove_neighbour(f.kernel, &neighbour), -ENOENT);
	neighbour.address = address("fd99::1");
	CHECK_INT(kernel_set_neighbour(f.kernel, &neighbour), 0);
	CHECK(command_says("ip neigh", "fd99::1 dev shmg0 lladdr 02:53:12:34:ff:ff"));
	fixture_close(&f);
}

/* --- news --- */

static void count_shmg0(const struct kernel_link *link, void *arg)
{
	if (strcmp(link->name, "shmg0") == 0 && !link->gone)
		(*(unsigned *)arg)++;
}

TEST_CASE(kernel_rule, an_address_that_comes_or_goes_is_news_of_its_interface)
{
	static const char *const commands[] = {"ip addr add 10.1.0.1/24 dev shmg0",
					       "ip addr del 10.1.0.1/24 dev shmg0",
					       "ip addr add fd01::1/64 dev shmg0 nodad",
					       "ip addr del fd01::1/64 dev shmg0"};
	struct fixture f;

	OPEN(&f);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		unsigned num = 0;

		CHECK_INT(kernel_read_watch(f.kernel, count_shmg0, &num), 0);
		num = 0;
		CHECK_INT(system(commands[i]), 0);
		CHECK(wait_readable(kernel_watch_fd(f.kernel), 5000));
		CHECK_INT(kernel_read_watch(f.kernel, count_shmg0, &num), 0);
		CHECK_INT(num, 1);
	}
	/* Of one that is gone by now, the end alone is news. */
	CHECK_INT(system("ip addr add 10.1.0.1/24 dev shmg0"), 0);
	tap_close(&f.tap);
	CHECK_INT(kernel_read_watch(f.kernel, count_shmg0, &(unsigned){0}), 0);
	fixture_close(&f);
}

/* --- addresses of several hosts --- */

TEST_CASE(kernel_rule, nobody_is_asked_for_duplicates_of_a_global_address)
{
	static char tap[] = "shmg0", name[] = "www";
	static const uint8_t mac[6] = {2, 0x53, 0x12, 0x34, 0, 1};
	struct config_network network = {
		.name = name, .tap = tap, .mtu = 9000, .kind = NETWORK_KIND_GLOBAL};
	struct fixture f;

	OPEN(&f);
	network.addresses[network.num_addresses++] = address("10.99.0.1");
	network.addresses[network.num_addresses++] = address("fd99::1");
	CHECK_INT(kernel_setup_port(f.kernel, "shmnet:n1", &network, mac), 0);
	CHECK(command_says("ip addr show dev shmg0", "inet 10.99.0.1/32 scope global"));
	CHECK(command_says("ip addr show dev shmg0",
			   "inet6 fd99::1/128 scope global nodad"));
	fixture_close(&f);
}
