/*
 * What a global network sets up in the kernel, from every state that it may find, and as
 * ip(8) and nft(8) see it. Whole nodes are in tests/netns/global_kernel.sh.
 */
#include "control/global.h"

#include "base/log.h"
#include "command_output.h"
#include "data/tap.h"
#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdlib.h>

#define MARK   KERNEL_MARK_PREFIX "n1"
#define RECORD "global_test.kernel"
#define GUARD  "shmnet/n1/www/guard"

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static char said[1024]; /* the last line */

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	int length = snprintf(said, sizeof(said), "%c %s: ", "EWID"[level],
			      subject ? subject : "");
	va_list args;

	va_start(args, format);
	vsnprintf(said + length, sizeof(said) - (size_t)length, format, args);
	va_end(args);
}

/* --- a node with a local and a global network --- */

struct fixture {
	struct kernel *kernel;
	struct sysctls *sysctls;
	struct tap taps[2];
	struct config_network networks[3];
	struct node_config config;
	struct global_options options;
	struct global *global;
};

static char node_name[] = "n1";
static char names[][8] = {"lan0", "www", "mail"}, taps[][8] = {"shm0", "shmg0", "shmg1"};

static void add_address(struct config_network *network, const char *text, unsigned prefix)
{
	struct config_address *address = &network->addresses[network->num_addresses++];

	address->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	address->prefix = prefix;
	CHECK_INT(inet_pton(address->family, text, address->bytes), 1);
}

static void fill_config(struct fixture *f)
{
	for (int i = 0; i < 3; i++) {
		f->networks[i].name = names[i];
		f->networks[i].tap = taps[i];
		f->networks[i].mtu = 9000;
		f->networks[i].kind = i ? NETWORK_KIND_GLOBAL : NETWORK_KIND_LOCAL;
	}
	add_address(&f->networks[0], "10.77.0.1", 24);
	add_address(&f->networks[0], "fd77::1", 64);
	add_address(&f->networks[1], "10.99.0.1", 32);
	add_address(&f->networks[1], "10.99.0.2", 32);
	add_address(&f->networks[1], "fd99::1", 128);
	f->config.name = node_name;
	f->config.id = 3;
	f->config.networks = f->networks;
	f->config.num_networks = 2;
	f->options = (struct global_options){.kernel = f->kernel,
					     .sysctls = f->sysctls,
					     .mark = MARK,
					     .config = &f->config,
					     .network = &f->networks[1]};
}

static void open_port(struct fixture *f, int i)
{
	uint8_t mac[6] = {2, 0x53, 0x12, 0x34, (uint8_t)i, 1};
	enum tap_error why;

	CHECK_INT(tap_open(&f->taps[i], taps[i], 1, TAP_CREATE, &why), 0);
	CHECK_INT(kernel_setup_port(f->kernel, MARK, &f->networks[i], mac), 0);
	CHECK_INT(tap_set_carrier(&f->taps[i], true), 0);
}

static const char *fixture_open(struct fixture *f)
{
	const char *why_not = netns_enter_for_tap();

	memset(f, 0, sizeof(*f));
	said[0] = '\0';
	tap_init(&f->taps[0]);
	tap_init(&f->taps[1]);
	if (why_not)
		return why_not;
	unlink(RECORD);
	CHECK_INT(system("ip link set lo up; echo 2 >/proc/sys/net/ipv4/conf/all/"
			 "rp_filter; echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"),
		  0);
	CHECK_INT(kernel_open(NULL, &f->kernel), 0);
	CHECK_INT(sysctls_open(NULL, RECORD, &f->sysctls), 0);
	fill_config(f);
	return NULL;
}

/* As the node does: what fails leaves nothing. */
static int prepare(const struct global_options *options, struct global **ret_global)
{
	struct global *global;
	int ret = global_new(options, &global);

	if (ret < 0)
		return ret;
	ret = global_prepare(global);
	if (ret < 0)
		global_free(global);
	else
		*ret_global = global;
	return ret;
}

static void fixture_close(struct fixture *f)
{
	if (f->global)
		global_close(f->global);
	tap_destroy(&f->taps[0]);
	tap_destroy(&f->taps[1]);
	global_free(f->global);
	sysctls_close(f->sysctls);
	kernel_close(f->kernel);
}

#define OPEN(f) START_OR_SKIP(fixture_open(f))

static void open_all(struct fixture *f)
{
	CHECK_INT(prepare(&f->options, &f->global), 0);
	REQUIRE(f->global);
	open_port(f, 0);
	open_port(f, 1);
	CHECK_INT(global_open(f->global), 0);
	CHECK_INT(global_each_reason(f->global, NULL, NULL), 0);
}

static void close_all(struct fixture *f)
{
	global_close(f->global);
	tap_destroy(&f->taps[1]);
	global_free(f->global);
	f->global = NULL;
}

static void pass_on(const struct kernel_link *link, void *arg)
{
	struct fixture *f = arg;

	global_check(f->global, link);
}

/* After somebody has changed an interface. */
static void hear(struct fixture *f)
{
	CHECK(wait_readable(kernel_watch_fd(f->kernel), 5000));
	CHECK_INT(kernel_read_watch(f->kernel, pass_on, f), 0);
}

/* The kernel has its own time for an address of IPv6, which is tentative before. */
static bool hear_until(struct fixture *f, const char *command, const char *words)
{
	while (!command_says(command, words)) {
		if (!CHECK(wait_readable(kernel_watch_fd(f->kernel), 5000)))
			return false;
		CHECK_INT(kernel_read_watch(f->kernel, pass_on, f), 0);
	}
	return true;
}

static void shell(const char *command)
{
	CHECK_INT(system(command), 0);
}

static void take_reason(const char *words, void *arg)
{
	snprintf(arg, 512, "%s", words);
}

static bool has_reason(const struct fixture *f, const char *words)
{
	char text[512] = "";

	global_each_reason(f->global, take_reason, text);
	return strstr(text, words) != NULL;
}

/* --- the order of rules --- */

/* Hears of every rule that comes or goes. */
static int open_monitor(void)
{
	struct sockaddr_nl all = {.nl_family = AF_NETLINK,
				  .nl_groups = 1u << (RTNLGRP_IPV4_RULE - 1) |
					       1u << (RTNLGRP_IPV6_RULE - 1)};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_ROUTE);

	CHECK_INT(bind(fd, (struct sockaddr *)&all, sizeof(all)), 0);
	return fd;
}

/* How many rules look up the table local, at the least, after each change since. */
static int least_locals(int monitor, int family, int num)
{
	struct {
		struct nlmsghdr header;
		struct fib_rule_hdr rule;
		char more[1024];
	} message;
	int least = num;

	while (recv(monitor, &message, sizeof(message), 0) > 0) {
		if (message.rule.family != family || message.rule.table != 255)
			continue;
		num += message.header.nlmsg_type == RTM_NEWRULE ? 1 : -1;
		least = num < least ? num : least;
	}
	return least;
}

/* What a node that was killed on the way to the last one may have left. */
static const struct {
	const char *rules; /* of priority 0: l: local, a, b: ours, by address */
	int locals;
} states[] = {
	{"l", 1},   {"la", 1},	 {"lab", 1}, {"lba", 1},  {"labl", 2},
	{"abl", 1}, {"abll", 2}, {"al", 1},  {"alb", 1},  {"albl", 2},
	{"bl", 1},  {"ll", 2},	 {"lll", 3}, {"llab", 2}, {"ab", 0},
};

static void add_rule(struct fixture *f, char letter)
{
	struct kernel_rule rule = {.family = AF_INET, .table = 255, .protocol = 2};

	if (letter != 'l') {
		rule.table = rule.protocol = 83;
		rule.to = f->networks[1].addresses[letter - 'a'];
		strcpy(rule.iifname, "lo");
	}
	CHECK_INT(kernel_add_rule(f->kernel, &rule), 0);
}

static void remove_all_of_priority_0(struct fixture *f)
{
	struct kernel_rule *rules = NULL;
	size_t num = 0;

	CHECK_INT(kernel_dump_rules(f->kernel, AF_INET, &rules, &num), 0);
	for (size_t i = 0; i < num; i++) {
		if (rules[i].priority == 0)
			CHECK_INT(kernel_remove_rule(f->kernel, &rules[i]), 0);
	}
	free(rules);
}

TEST_CASE(global, rules_from_every_state_that_a_kill_may_leave)
{
	struct fixture f;
	int monitor;

	OPEN(&f);
	open_all(&f);
	REQUIRE(!test_failed());
	monitor = open_monitor();
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		char text[1024];
		const char *local;

		remove_all_of_priority_0(&f);
		for (const char *at = states[i].rules; *at; at++)
			add_rule(&f, *at);
		least_locals(monitor, AF_INET, 0);
		global_check(f.global, NULL);
		if (states[i].locals)
			CHECK(least_locals(monitor, AF_INET, states[i].locals) >= 1);
		command_output("ip rule", text, sizeof(text));
		local = strstr(text, "from all lookup local");
		if (!states[i].locals)
			local = text + strlen(text); /* the user has moved it: it stays */
		if (!CHECK(local && strstr(text, "to 10.99.0.1 iif lo") < local &&
			   strstr(text, "to 10.99.0.1 iif lo") &&
			   strstr(text, "to 10.99.0.2 iif lo") < local &&
			   strstr(text, "to 10.99.0.2 iif lo") &&
			   (!*local || !strstr(local + 1, "from all lookup local"))))
			printf("from %s:\n%s", states[i].rules, text);
	}
	close(monitor);
	add_rule(&f, 'l');
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	fixture_close(&f);
}

TEST_CASE(global, rules_are_as_before_when_it_ends)
{
	char before[1024], after[1024];
	struct fixture f;
	int monitor;

	OPEN(&f);
	command_output("ip -d rule; ip -6 -d rule", before, sizeof(before));
	monitor = open_monitor();
	open_all(&f);
	REQUIRE(!test_failed());
	CHECK(!command_says("ip rule", before));
	CHECK(command_says("ip -6 rule", "0:\tfrom all to fd99::1 iif lo lookup 83"));
	close_all(&f);
	command_output("ip -d rule; ip -6 -d rule", after, sizeof(after));
	CHECK_STR(after, before);
	CHECK(least_locals(monitor, AF_INET, 1) == 1);
	close(monitor);
	fixture_close(&f);
}

TEST_CASE(global, a_narrower_local_rule_of_others_is_not_touched)
{
	struct fixture f;

	OPEN(&f);
	remove_all_of_priority_0(&f);
	shell("ip rule add pref 0 from 10.1.0.0/16 lookup local");
	add_rule(&f, 'l');
	CHECK_INT(prepare(&f.options, &f.global), 0);
	REQUIRE(f.global);
	open_port(&f, 0);
	open_port(&f, 1);
	CHECK_INT(global_open(f.global), -EBUSY);
	CHECK_STR(said, "E www: can't set the IPv4 rules that lead this host's own "
			"packets to the port: another program has a rule of priority 0 "
			"that looks up the table 'local'; remove that");
	CHECK(command_says("ip rule", "from 10.1.0.0/16 lookup local"));
	fixture_close(&f);
}

/* --- what a killed node left --- */

TEST_CASE(global, a_sweep_takes_what_is_the_nodes_alone)
{
	struct fixture f;

	OPEN(&f);
	open_all(&f);
	REQUIRE(!test_failed());
	/* Of another node, of an address that this one had once, and a lone one. */
	shell("ip tuntap add other0 mode tap && ip link set other0 up alias shmnet:n2 && "
	      "ip route add 10.98.0.1 dev other0 table 83 proto 83 && "
	      "ip rule add pref 0 iif lo to 10.98.0.1 lookup 83 protocol 83 && "
	      "ip route add 10.97.0.1 dev shmg0 table 83 proto 83 && "
	      "ip rule add pref 0 iif lo to 10.97.0.1 lookup 83 protocol 83 && "
	      "ip rule add pref 0 iif lo to 10.96.0.1 lookup 83 protocol 83 && "
	      "ip rule add pref 0 lookup local protocol 20");
	CHECK_INT(global_sweep(f.kernel, &f.config, MARK, true), 2);
	CHECK(command_says("ip rule", "to 10.98.0.1 iif lo"));
	CHECK(!command_says("ip rule", "to 10.97.0.1"));
	CHECK(!command_says("ip rule", "to 10.96.0.1"));
	CHECK(!command_says("ip route show table 83", "10.97.0.1"));
	CHECK(command_says("ip rule", "to 10.99.0.1 iif lo"));
	CHECK(command_says("ip route show table 83", "10.99.0.1 dev shmg0"));
	CHECK(command_says("ip rule | grep -c 'lookup local'", "1\n"));

	CHECK_INT(global_sweep(f.kernel, &f.config, MARK, false), 3);
	CHECK(command_says("ip rule", "to 10.98.0.1 iif lo"));
	CHECK(!command_says("ip rule; ip -6 rule", "99"));
	CHECK(command_says("ip route show table 83", "10.98.0.1 dev other0"));
	CHECK_INT(global_sweep(f.kernel, &f.config, MARK, false), 0);
	fixture_close(&f);
}

TEST_CASE(global, guards_that_are_not_wanted_are_removed)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(prepare(&f.options, &f.global), 0);
	shell("nft 'add table inet shmnet/n1/old/guard; add table arp "
	      "shmnet/n1/old/guard; add table inet shmnet/n1/x; add table inet "
	      "shmnet/n10/www/guard; add table inet own'");
	CHECK_INT(global_sweep_guards(f.kernel, &f.config, true), 0);
	CHECK(!command_says("nft list tables", "old"));
	CHECK(command_says("nft list tables", "table inet " GUARD "\n"));
	CHECK(command_says("nft list tables", "table arp " GUARD "\n"));
	CHECK(command_says("nft list tables", "shmnet/n1/x\n"));
	CHECK_INT(global_sweep_guards(f.kernel, &f.config, false), 0);
	CHECK(!command_says("nft list tables", GUARD));
	CHECK(command_says("nft list tables", "shmnet/n10/www/guard"));
	CHECK(command_says("nft list tables", "table inet own"));
	fixture_close(&f);
}

/* --- a host that contradicts it --- */

static int new_without_capabilities(void *arg)
{
	struct fixture *f = arg;
	struct global *global;

	if (!drop_capabilities())
		return 1;
	return prepare(&f->options, &global) == -EPERM &&
			       strstr(said, "can't make the nftables table " GUARD) &&
			       strstr(said, "; run as root, or with CAP_NET_ADMIN")
		       ? 0
		       : 2;
}

TEST_CASE(global, refuses_in_words)
{
	struct fixture f;

	OPEN(&f);
	shell("ip route add blackhole 10.0.0.0/8 table 83");
	CHECK_INT(prepare(&f.options, &f.global), -EBUSY);
	CHECK_STR(said,
		  "E www: another program (protocol 3) has IPv4 routes in table 83, "
		  "which shmnet needs: see 'ip -4 route show table 83', and move "
		  "them to another one");
	shell("ip route flush table 83; echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter");
	CHECK_INT(prepare(&f.options, &f.global), -EINVAL);
	CHECK(strstr(said, "E www: net.ipv4.conf.all.rp_filter is 1: "));
	shell("echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter");
	CHECK(!command_says("nft list tables", "shmnet"));
	CHECK_INT(run_in_child(new_without_capabilities, &f), 0);
	memcpy(taps[1], "a\"b", 4);
	CHECK_INT(prepare(&f.options, &f.global), -EINVAL);
	CHECK_STR(said,
		  "E www: the name a\"b can't stand in a rule of nftables: give the "
		  "network another 'tap' name");
	memcpy(taps[1], "shmg0", 6);
	CHECK(!f.global);
	fixture_close(&f);
}

/* --- the guard --- */

TEST_CASE(global, the_guard_comes_before_the_addresses_and_goes_after_them)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(prepare(&f.options, &f.global), 0);
	REQUIRE(f.global);
	CHECK(command_says("nft list ruleset",
			   "iifname != { \"lo\", \"shmg0\" } ip daddr "
			   "{ 10.99.0.1, 10.99.0.2 } drop"));
	CHECK(command_says("nft list ruleset", "ip6 daddr fd99::1 drop"));
	CHECK(command_says("nft list ruleset",
			   "iifname != \"shmg0\" arp operation request arp daddr ip { "
			   "10.99.0.1, 10.99.0.2 } drop"));
	CHECK(!command_says("nft list tables", "netdev"));
	open_port(&f, 0);
	open_port(&f, 1);
	CHECK_INT(global_open(f.global), 0);
	CHECK(command_says("nft list tables", "netdev shmnet/n1/www\n"));
	global_close(f.global);
	CHECK(!command_says("nft list tables", "netdev"));
	CHECK(command_says("nft list tables", GUARD));
	global_free(f.global); /* the port stays */
	f.global = NULL;
	CHECK(command_says("nft list tables", GUARD));
	CHECK_INT(prepare(&f.options, &f.global), 0);
	tap_destroy(&f.taps[1]);
	global_free(f.global);
	f.global = NULL;
	CHECK_STR(command_output("nft list tables", said, sizeof(said)), "");
	fixture_close(&f);
}

TEST_CASE(global, what_others_flush_is_put_back)
{
	struct fixture f;

	OPEN(&f);
	open_all(&f);
	REQUIRE(!test_failed());
	shell("nft flush ruleset; ip rule flush protocol 83; ip route flush table 83; "
	      "echo 2 >/proc/sys/net/ipv4/conf/shmg0/rp_filter");
	CHECK(!command_says("nft list tables", GUARD));
	CHECK(command_says("nft list tables", "netdev shmnet/n1/www\n"));
	global_check(f.global, NULL);
	CHECK(command_says("nft list tables", "table inet " GUARD "\n"));
	CHECK(command_says("nft list tables", "table arp " GUARD "\n"));
	CHECK(command_says("ip rule", "0:\tfrom all to 10.99.0.1 iif lo lookup 83"));
	CHECK(command_says("ip route show table 83", "10.99.0.1 dev shmg0"));
	CHECK(command_says("cat /proc/sys/net/ipv4/conf/shmg0/rp_filter", "0\n"));
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	shell("echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter");
	global_check(f.global, NULL);
	CHECK(strstr(said, "W www: net.ipv4.conf.all.rp_filter is 1: "));
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 1);
	said[0] = '\0';
	global_check(f.global, NULL);
	CHECK_STR(said, ""); /* said once */
	shell("echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter");
	global_check(f.global, NULL);
	CHECK(strstr(said, "I www: mended: net.ipv4.conf.all.rp_filter is 1: "));
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	fixture_close(&f);
}

/* --- interfaces --- */

static bool is_hooked(const char *device)
{
	char words[64];

	snprintf(words, sizeof(words), "device \"%s\"", device);
	return command_says("nft list table netdev shmnet/n1/www", words);
}

TEST_CASE(global, interfaces_come_are_renamed_and_go)
{
	struct fixture f;

	OPEN(&f);
	shell("ip link add v0 type veth peer name v1");
	open_all(&f);
	REQUIRE(!test_failed());
	CHECK(is_hooked("v0") && is_hooked("v1") && is_hooked("shm0"));
	CHECK(!is_hooked("lo") && !is_hooked("shmg0"));
	shell("ip link add v2 type veth peer name v3");
	hear(&f);
	CHECK(is_hooked("v2") && is_hooked("v3"));
	shell("ip link set v2 name w2");
	hear(&f);
	CHECK(is_hooked("w2") && !is_hooked("v2"));
	shell("ip link del w2");
	hear(&f);
	CHECK(!is_hooked("w2") && !is_hooked("v3"));
	/* One that went and came while nobody listened. */
	shell("ip link del v0; ip link add v0 type veth peer name v4");
	global_check(f.global, NULL);
	CHECK(is_hooked("v0") && is_hooked("v4") && !is_hooked("v1"));
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	fixture_close(&f);
}

TEST_CASE(global, an_interface_without_ethernet_headers_gets_some)
{
	struct fixture f;

	OPEN(&f);
	shell("ip tuntap add t0 mode tun");
	open_all(&f);
	REQUIRE(!test_failed());
	CHECK(is_hooked("t0"));
	CHECK(command_says("nft list table netdev shmnet/n1/www",
			   "ip daddr 10.99.0.1 fwd ip to 10.99.0.1 device \"shmg0\""));
	CHECK(command_says("nft list table netdev shmnet/n1/www",
			   "ip6 daddr fd99::1 fwd ip6 to fd99::1 device \"shmg0\""));
	fixture_close(&f);
}

TEST_CASE(global, an_interface_that_cannot_be_named_is_a_reason)
{
	struct fixture f;

	OPEN(&f);
	shell("ip link add 'v\"0' type veth peer name v1");
	CHECK_INT(prepare(&f.options, &f.global), 0);
	open_port(&f, 0);
	open_port(&f, 1);
	CHECK_INT(global_open(f.global), 0);
	CHECK(is_hooked("v1"));
	CHECK(has_reason(&f, "the name of interface v\"0 can't stand in a rule"));
	shell("ip link set 'v\"0' name v0");
	hear(&f);
	CHECK(is_hooked("v0"));
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	fixture_close(&f);
}

/* --- the port --- */

TEST_CASE(global, a_port_that_was_down_is_set_up_again)
{
	struct fixture f;

	OPEN(&f);
	open_all(&f);
	REQUIRE(!test_failed());
	shell("ip link set shmg0 down");
	hear(&f);
	CHECK_STR(said,
		  "W www: interface shmg0 is down: set it up with 'ip link set shmg0 "
		  "up'");
	CHECK(has_reason(&f, "interface shmg0 is down"));
	CHECK(!command_says("ip route show table 83", "10.99.0.1"));
	shell("ip link set shmg0 up");
	hear(&f);
	CHECK(command_says("ip route show table 83", "10.99.0.1 dev shmg0"));
	CHECK(command_says("ip -6 route show table 83", "fd99::1 dev shmg0"));
	CHECK(command_says("ip neigh", "10.99.0.1 dev shmg0 lladdr 02:53"));
	CHECK(command_says("ip neigh", "fd99::1 dev shmg0 lladdr 02:53"));
	CHECK(command_says("ip addr show dev shmg0", "inet6 fd99::1/128"));
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	fixture_close(&f);
}

TEST_CASE(global, the_source_is_the_local_networks_address)
{
	struct fixture f;

	OPEN(&f);
	open_all(&f);
	REQUIRE(!test_failed());
	CHECK(command_says("ip route show table 83", "src 10.77.0.1"));
	CHECK(hear_until(&f, "ip -6 route show table 83", "src fd77::1"));
	CHECK(command_says("ip route get 10.99.0.1", "dev shmg0 table 83 src 10.77.0.1"));
	shell("ip addr del 10.77.0.1/24 dev shm0; ip addr del fd77::1/64 dev shm0");
	hear(&f);
	CHECK(!command_says("ip route show table 83", "src"));
	CHECK(!command_says("ip -6 route show table 83", "src"));
	shell("ip addr add 10.78.0.1/24 dev shm0; ip addr add fd78::1/64 dev shm0 nodad");
	hear(&f);
	CHECK(command_says("ip route show table 83", "src 10.78.0.1"));
	CHECK(hear_until(&f, "ip -6 route show table 83", "src fd78::1"));
	fixture_close(&f);
}

TEST_CASE(global, settings_of_ports)
{
	struct fixture f;

	OPEN(&f);
	shell("echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter; "
	      "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter");
	open_all(&f);
	REQUIRE(!test_failed());
	CHECK(command_says("cat /proc/sys/net/ipv4/conf/shmg0/rp_filter", "0\n"));
	CHECK(command_says("cat /proc/sys/net/ipv4/conf/shmg0/accept_local", "1\n"));
	CHECK(command_says("cat /proc/sys/net/ipv6/conf/shmg0/keep_addr_on_down", "1\n"));
	CHECK(command_says("cat /proc/sys/net/ipv4/conf/shm0/rp_filter", "0\n"));
	fixture_close(&f);
}

TEST_CASE(global, an_interface_to_announce_on_may_come_later)
{
	static char nic[] = "v0";
	struct fixture f;

	OPEN(&f);
	f.networks[1].announce = nic;
	CHECK_INT(prepare(&f.options, &f.global), 0);
	open_port(&f, 0);
	open_port(&f, 1);
	CHECK_INT(global_open(f.global), 0);
	CHECK(has_reason(&f, "there is no interface v0, which 'announce' names"));
	shell("ip link add v0 type veth peer name v1");
	hear(&f);
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	CHECK(command_says("cat /proc/sys/net/ipv4/conf/v0/arp_announce", "2\n"));
	CHECK_INT(sysctls_restore(f.sysctls, true), 0);
	CHECK(command_says("cat /proc/sys/net/ipv4/conf/v0/arp_announce", "0\n"));
	fixture_close(&f);
}

/* --- slices of ports --- */

TEST_CASE(global, slices_are_disjoint_and_even)
{
	for (unsigned slots = 1; slots <= 64; slots++) {
		unsigned end = 32768, first = 0, last = 0;

		for (unsigned slot = 0; slot < slots; slot++) {
			CHECK_INT(global_slice(32768, 60999, slots, slot, &first, &last),
				  0);
			CHECK_INT(first, end);
			CHECK((last - first) % 2 == 1);
			end = last + 1;
		}
		CHECK(end <= 61000 && end > 61000 - 2 * slots);
		CHECK_INT(global_slice(32768, 60999, slots, slots, &first, &last),
			  -ERANGE);
	}
	CHECK_INT(global_slice(1000, 1014, 8, 0, &(unsigned){0}, &(unsigned){0}),
		  -ERANGE);
	CHECK_INT(global_slice(1000, 999, 8, 0, &(unsigned){0}, &(unsigned){0}), -ERANGE);
}

static bool ports_are(const char *text)
{
	return command_says("cat /proc/sys/net/ipv4/ip_local_port_range", text);
}

TEST_CASE(global, a_slice_is_taken_and_given_back)
{
	static char z[] = "zoe", a[] = "abe";
	struct fixture f;

	OPEN(&f);
	shell("echo 40000 49999 >/proc/sys/net/ipv4/ip_local_port_range");
	open_all(&f);
	REQUIRE(!test_failed());
	CHECK(ports_are("42500\t43749\n")); /* id 3: the third of eight */
	close_all(&f);
	CHECK_INT(sysctls_restore(f.sysctls, true), 0);
	CHECK(ports_are("40000\t49999\n"));

	/* By the order of the names, not of the list. */
	f.networks[1].members[0] = z;
	f.networks[1].members[1] = node_name;
	f.networks[1].members[2] = a;
	f.networks[1].num_members = 3;
	tap_destroy(&f.taps[0]);
	open_all(&f);
	CHECK(ports_are("43332\t46663\n"));
	close_all(&f);
	CHECK_INT(sysctls_restore(f.sysctls, true), 0);
	f.networks[1].ephemeral = CONFIG_EPHEMERAL_SHARED;
	tap_destroy(&f.taps[0]);
	open_all(&f);
	CHECK(ports_are("40000\t49999\n"));
	fixture_close(&f);
}

/* Another node on the host, say, with which this one would divide for ever. */
TEST_CASE(global, a_slice_is_not_divided_again)
{
	struct fixture f;

	OPEN(&f);
	shell("echo 40000 49999 >/proc/sys/net/ipv4/ip_local_port_range");
	open_all(&f);
	REQUIRE(!test_failed());
	shell("echo 43000 43099 >/proc/sys/net/ipv4/ip_local_port_range");
	global_check(f.global, NULL);
	CHECK(ports_are("43000\t43099\n"));
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 1);
	/* As it was, or others: they are divided. */
	shell("echo 40000 49999 >/proc/sys/net/ipv4/ip_local_port_range");
	global_check(f.global, NULL);
	CHECK(ports_are("42500\t43749\n"));
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	shell("echo 20000 59999 >/proc/sys/net/ipv4/ip_local_port_range");
	global_check(f.global, NULL);
	CHECK(ports_are("30000\t34999\n"));
	fixture_close(&f);
}

/* Of these members the node is the first. */
static void name_members(struct config_network *network)
{
	static char z[] = "zoe";

	network->members[0] = node_name;
	network->members[1] = z;
	network->num_members = 2;
}

TEST_CASE(global, slices_of_several_networks)
{
	struct fixture f;

	OPEN(&f);
	shell("echo 40000 49999 >/proc/sys/net/ipv4/ip_local_port_range");
	f.config.num_networks = 3;
	add_address(&f.networks[2], "10.98.0.1", 32);
	name_members(&f.networks[2]);
	f.config.id = 2;
	open_all(&f);
	CHECK(ports_are("41250\t42499\n"));
	close_all(&f);
	CHECK_INT(sysctls_restore(f.sysctls, true), 0);
	tap_destroy(&f.taps[0]);
	/* The last eighth of the one, the first half of the other: the first one counts.
	 */
	f.config.id = 8;
	open_all(&f);
	CHECK(ports_are("48750\t49999\n"));
	fixture_close(&f);
}

TEST_CASE(global, slices_that_cannot_be)
{
	struct fixture f;

	OPEN(&f);
	shell("echo 40000 40014 >/proc/sys/net/ipv4/ip_local_port_range");
	CHECK_INT(prepare(&f.options, &f.global), 0);
	open_port(&f, 0);
	open_port(&f, 1);
	CHECK_INT(global_open(f.global), -ERANGE);
	CHECK_STR(said, "E www: the ports 40000 to 40014 of net/ipv4/ip_local_port_range "
			"can't be divided among 8 nodes: make it larger, or set "
			"'ephemeral: shared' on network www");
	CHECK(ports_are("40000\t40014\n"));
	fixture_close(&f);
}

TEST_CASE(global, two_nodes_in_one_slice_are_a_reason)
{
	static const uint16_t apart[] = {1, 2, 4, 10}, same[] = {2, 11};
	struct fixture f;

	OPEN(&f);
	CHECK_INT(prepare(&f.options, &f.global), 0);
	global_set_peers(f.global, apart, 4);
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	global_set_peers(f.global, same, 2);
	CHECK(has_reason(&f, "this node and the node with id 11 have the same slice"));
	global_set_peers(f.global, NULL, 0);
	CHECK_INT(global_each_reason(f.global, NULL, NULL), 0);
	fixture_close(&f);
}
