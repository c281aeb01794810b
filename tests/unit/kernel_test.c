#include "control/kernel.h"
#include "data/tap.h"

#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>

#define WAIT_MS 5000
#define MARK	KERNEL_MARK_PREFIX "n1"

static const uint8_t mac_a[6] = {2, 0x53, 0x12, 0x34, 0, 1};
static const uint8_t mac_b[6] = {2, 0x53, 0x12, 0x34, 0, 2};

/* A namespace, a handle and a TAP, as far as they were opened. */
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
	CHECK_INT(tap_open(&f->tap, "shm0", 1, TAP_CREATE, &why), 0);
	CHECK_INT(kernel_get_link(f->kernel, "shm0", &f->link), 0);
	return NULL;
}

static void fixture_close(struct fixture *f)
{
	tap_destroy(&f->tap);
	kernel_close(f->kernel);
}

#define OPEN(f) START_OR_SKIP(fixture_open(f))

/* Reads the link again. */
static const struct kernel_link *look(struct fixture *f)
{
	CHECK_INT(kernel_get_link(f->kernel, "shm0", &f->link), 0);
	return &f->link;
}

static struct config_address address(const char *text)
{
	struct config_address address = {0};
	char host[64];

	sscanf(text, "%63[^/]/%u", host, &address.prefix);
	address.family = strchr(host, ':') ? AF_INET6 : AF_INET;
	CHECK_INT(inet_pton(address.family, host, address.bytes), 1);
	return address;
}

/* "" ends the list. */
static struct config_network network(uint32_t mtu, const char *a, const char *b,
				     const char *c)
{
	static char tap[] = "shm0", name[] = "lan0";
	struct config_network network = {.name = name, .tap = tap, .mtu = mtu};
	const char *const texts[] = {a, b, c};

	for (int i = 0; i < 3 && texts[i][0]; i++)
		network.addresses[network.num_addresses++] = address(texts[i]);
	return network;
}

static int find(struct fixture *f, const char *text, struct kernel_owner *ret_owner)
{
	struct config_address wanted = address(text);

	return kernel_find_address(f->kernel, &wanted, ret_owner);
}

static bool holds(struct fixture *f, const char *text)
{
	struct kernel_owner owner = {0};

	return find(f, text, &owner) == 1 && strcmp(owner.ifname, "shm0") == 0;
}

static int add(struct fixture *f, const char *text)
{
	struct config_address wanted = address(text);

	return kernel_add_address(f->kernel, f->link.index, &wanted);
}

static int drop(struct fixture *f, const char *text)
{
	struct config_address wanted = address(text);

	return kernel_remove_address(f->kernel, f->link.index, &wanted);
}

/* What "ip address show" says of shm0. */
static bool ip_says(const char *words)
{
	char line[512];
	bool found = false;
	FILE *out = popen("ip address show dev shm0 2>&1", "re");

	while (out && fgets(line, sizeof(line), out))
		found |= strstr(line, words) != NULL;
	if (out)
		pclose(out);
	return found;
}

TEST_CASE(kernel, open_and_close)
{
	struct kernel *kernel = NULL;

	kernel_close(NULL);
	REQUIRE(kernel_open(NULL, &kernel) == 0);
	CHECK(kernel_last_error(kernel) != NULL);
	CHECK(kernel_watch_fd(kernel) >= 0);
	CHECK_INT(fcntl(kernel_watch_fd(kernel), F_GETFD), FD_CLOEXEC);
	kernel_close(kernel);
}

TEST_CASE(kernel, reads_a_tap)
{
	struct fixture f;

	OPEN(&f);
	CHECK_STR(f.link.name, "shm0");
	CHECK_STR(f.link.alias, "");
	CHECK_INT(f.link.index, if_nametoindex("shm0"));
	CHECK_INT(f.link.mtu, 1500);
	CHECK(f.link.is_tap);
	CHECK_INT(f.link.tap_queues, 1);
	CHECK(!f.link.is_up && !f.link.running && !f.link.gone);
	CHECK_INT(kernel_get_link(f.kernel, "lo", &f.link), 0);
	CHECK(!f.link.is_tap);
	CHECK_INT(f.link.tap_queues, 0);
	fixture_close(&f);
}

TEST_CASE(kernel, says_that_there_is_no_such_interface)
{
	struct kernel_link link = {.index = 42};
	struct kernel_drops drops = {.tx_dropped = 42};
	struct fixture f;

	OPEN(&f);
	CHECK_INT(kernel_get_link(f.kernel, "shm1", &link), -ENODEV);
	CHECK_STR(kernel_last_error(f.kernel), strerror(ENODEV));
	CHECK_INT(kernel_get_link(f.kernel, "", &link), -ENODEV);
	CHECK_INT(kernel_get_link(f.kernel, "sixteen-letters-", &link), -ENODEV);
	CHECK_INT(kernel_get_drops(f.kernel, "shm1", &drops), -ENODEV);
	CHECK_INT(kernel_set_up(f.kernel, 4242, true), -ENODEV);
	CHECK_INT(kernel_delete_link(f.kernel, 4242), -ENODEV);
	CHECK_INT(link.index, 42);
	CHECK_INT(drops.tx_dropped, 42);
	fixture_close(&f);
}

TEST_CASE(kernel, sets_mtu_within_what_a_tap_takes)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(kernel_set_mtu(f.kernel, f.link.index, 65521), 0);
	CHECK_INT(look(&f)->mtu, 65521);
	CHECK_INT(kernel_set_mtu(f.kernel, f.link.index, 1490), 0);
	CHECK_INT(look(&f)->mtu, 1490);
	CHECK_INT(kernel_set_mtu(f.kernel, f.link.index, 65522), -EINVAL);
	CHECK_STR(kernel_last_error(f.kernel), "mtu greater than device maximum");
	CHECK_INT(look(&f)->mtu, 1490);
	fixture_close(&f);
}

TEST_CASE(kernel, sets_mac_and_state)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(kernel_set_mac(f.kernel, f.link.index, mac_a), 0);
	CHECK_MEM(look(&f)->mac, mac_a, 6);
	CHECK_INT(kernel_set_up(f.kernel, f.link.index, true), 0);
	CHECK(look(&f)->is_up);
	CHECK_INT(kernel_set_up(f.kernel, f.link.index, false), 0);
	CHECK(!look(&f)->is_up);
	fixture_close(&f);
}

TEST_CASE(kernel, sets_and_clears_the_alias)
{
	char longest[256], too_long[257];
	struct fixture f;

	OPEN(&f);
	memset(longest, 'x', 255);
	memset(too_long, 'x', 256);
	longest[255] = too_long[256] = '\0';
	CHECK_INT(kernel_set_alias(f.kernel, f.link.index, MARK), 0);
	CHECK_STR(look(&f)->alias, MARK);
	CHECK_INT(kernel_set_alias(f.kernel, f.link.index, longest), 0);
	CHECK_STR(look(&f)->alias, longest);
	CHECK_INT(kernel_set_alias(f.kernel, f.link.index, too_long), -ENAMETOOLONG);
	CHECK_STR(look(&f)->alias, longest);
	CHECK_INT(kernel_set_alias(f.kernel, f.link.index, ""), 0);
	CHECK_STR(look(&f)->alias, "");
	fixture_close(&f);
}

TEST_CASE(kernel, deletes_an_interface)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(kernel_delete_link(f.kernel, f.link.index), 0);
	CHECK_INT(kernel_get_link(f.kernel, "shm0", &f.link), -ENODEV);
	fixture_close(&f);
}

/* --- each link --- */

struct seen {
	struct kernel *kernel;
	char names[256];
	int last_index;
	unsigned num;
	bool shm0_gone;
	uint32_t shm0_mtu;
};

static void see(const struct kernel_link *link, void *arg)
{
	struct seen *seen = arg;

	CHECK(link->index > seen->last_index);
	seen->last_index = link->index;
	seen->num++;
	strcat(strcat(seen->names, link->name), " ");
}

static void see_and_delete(const struct kernel_link *link, void *arg)
{
	struct seen *seen = arg;

	CHECK_INT(kernel_delete_link(seen->kernel, link->index), 0);
	seen->num++;
}

TEST_CASE(kernel, lists_marked_interfaces_and_lets_them_be_deleted_from_the_list)
{
	static const char *const names[] = {"tc", "tb", "ta", "other"};
	struct seen seen = {0};
	struct tap taps[4];
	struct fixture f;

	OPEN(&f);
	for (int i = 0; i < 4; i++) {
		struct kernel_link link = {0};
		enum tap_error why;

		CHECK_INT(tap_open(&taps[i], names[i], 1, TAP_CREATE, &why), 0);
		CHECK_INT(kernel_get_link(f.kernel, names[i], &link), 0);
		CHECK_INT(kernel_set_alias(f.kernel, link.index, i < 3 ? MARK : "shm"),
			  0);
	}
	CHECK_INT(kernel_each_link(f.kernel, KERNEL_MARK_PREFIX, see, &seen), 0);
	CHECK_STR(seen.names, "tc tb ta ");
	seen = (struct seen){0};
	CHECK_INT(kernel_each_link(f.kernel, "shmnet:n2", see, &seen), 0);
	CHECK_STR(seen.names, "");
	CHECK_INT(kernel_each_link(f.kernel, "", see, &seen), 0);
	CHECK(seen.num >= 6); /* lo, shm0 and four */

	seen = (struct seen){.kernel = f.kernel};
	CHECK_INT(kernel_each_link(f.kernel, KERNEL_MARK_PREFIX, see_and_delete, &seen),
		  0);
	CHECK_INT(seen.num, 3);
	CHECK_INT(if_nametoindex("ta"), 0);
	CHECK(if_nametoindex("other") != 0);
	for (int i = 0; i < 4; i++)
		tap_close(&taps[i]);
	fixture_close(&f);
}

static void count(const struct kernel_link *link, void *arg)
{
	unsigned *num = arg;

	(void)link;
	++*num;
}

/* Of a kilobyte each: a dump takes several reads. */
TEST_CASE(kernel, lists_more_interfaces_than_fit_one_answer)
{
	enum { MANY = 100 };
	struct tap taps[MANY];
	unsigned num = 0;
	struct fixture f;

	OPEN(&f);
	for (int i = 0; i < MANY; i++) {
		enum tap_error why;
		char name[IF_NAMESIZE];

		snprintf(name, sizeof(name), "t%d", i);
		CHECK_INT(tap_open(&taps[i], name, 1, TAP_CREATE, &why), 0);
	}
	CHECK_INT(kernel_each_link(f.kernel, "", count, &num), 0);
	CHECK(num >= MANY + 2); /* lo, shm0 */
	for (int i = 0; i < MANY; i++)
		tap_close(&taps[i]);
	fixture_close(&f);
}

/* --- addresses --- */

TEST_CASE(kernel, adds_finds_and_removes_addresses)
{
	static const char *const texts[] = {"10.77.0.1/24", "fd77::1/64", "10.99.0.1/32",
					    "fd99::1/128"};
	struct fixture f;

	OPEN(&f);
	for (int i = 0; i < 4; i++) {
		CHECK(!holds(&f, texts[i]));
		CHECK_INT(add(&f, texts[i]), 0);
		CHECK(holds(&f, texts[i]));
		CHECK_INT(add(&f, texts[i]), -EEXIST);
		CHECK(ip_says(texts[i]));
	}
	CHECK(ip_says("10.77.0.1/24 brd 10.77.0.255"));
	CHECK(!ip_says("10.99.0.1/32 brd"));
	/* In any prefix. */
	CHECK(holds(&f, "10.77.0.1/8"));
	CHECK(!holds(&f, "10.77.0.2/24"));
	for (int i = 0; i < 4; i++) {
		CHECK_INT(drop(&f, texts[i]), 0);
		CHECK(!holds(&f, texts[i]));
		CHECK_INT(drop(&f, texts[i]), -EADDRNOTAVAIL);
	}
	fixture_close(&f);
}

TEST_CASE(kernel, names_the_foreign_owner_of_an_address)
{
	struct kernel_owner owner = {.alias = "untouched"};
	struct kernel_link lo = {0};
	struct config_address shared;
	struct fixture f;

	OPEN(&f);
	shared = address("10.5.0.1/24");
	CHECK_INT(find(&f, "10.5.0.1/24", &owner), 0);
	CHECK_STR(owner.alias, "untouched");
	CHECK_INT(kernel_set_alias(f.kernel, f.link.index, MARK), 0);
	CHECK_INT(add(&f, "10.5.0.1/24"), 0);
	CHECK_INT(find(&f, "10.5.0.1/24", &owner), 1);
	CHECK_STR(owner.ifname, "shm0");
	CHECK_STR(owner.alias, MARK);

	CHECK_INT(kernel_get_link(f.kernel, "lo", &lo), 0);
	CHECK_INT(kernel_add_address(f.kernel, lo.index, &shared), 0);
	CHECK_INT(find(&f, "10.5.0.1/16", &owner), 1);
	CHECK_STR(owner.ifname, "lo");
	CHECK_STR(owner.alias, "");
	fixture_close(&f);
}

/* --- claiming --- */

TEST_CASE(kernel, claims_what_is_free_or_ours_and_not_held)
{
	struct kernel_link link = {0};
	struct fixture f;

	OPEN(&f);
	CHECK_INT(kernel_claim_port(f.kernel, "shm1", MARK, &link), 0);
	CHECK_INT(kernel_claim_port(f.kernel, "lo", MARK, &link), -EEXIST);
	CHECK_STR(kernel_last_error(f.kernel), "lo exists and is not a TAP");
	CHECK_INT(kernel_claim_port(f.kernel, "shm0", MARK, &link), -EEXIST);
	CHECK_STR(kernel_last_error(f.kernel), "shm0 is a TAP that shmnet didn't make");
	CHECK_INT(kernel_set_alias(f.kernel, f.link.index, "shmnet:n2"), 0);
	CHECK_INT(kernel_claim_port(f.kernel, "shm0", MARK, &link), -EEXIST);
	CHECK_STR(kernel_last_error(f.kernel), "shm0 belongs to \"shmnet:n2\"");
	CHECK_INT(kernel_set_alias(f.kernel, f.link.index, MARK), 0);
	CHECK_INT(kernel_claim_port(f.kernel, "shm0", MARK, &link), -EBUSY);
	CHECK_STR(kernel_last_error(f.kernel), "another program holds the TAP shm0");
	CHECK_INT(link.index, 0);
	CHECK_INT(tap_persist(&f.tap), 0);
	tap_close(&f.tap);
	CHECK_INT(kernel_claim_port(f.kernel, "shm0", MARK, &link), 1);
	CHECK_INT(link.index, f.link.index);
	fixture_close(&f);
}

/* --- the state of a port --- */

TEST_CASE(kernel, sets_up_a_port)
{
	struct config_network lan;
	struct fixture f;

	OPEN(&f);
	lan = network(9000, "10.77.0.1/24", "fd77::1/64", "");
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
	look(&f);
	CHECK_STR(f.link.alias, MARK);
	CHECK_MEM(f.link.mac, mac_a, 6);
	CHECK_INT(f.link.mtu, 9000);
	CHECK(f.link.is_up);
	CHECK(holds(&f, "10.77.0.1/24"));
	CHECK(holds(&f, "fd77::1/64"));
	/* DAD is on: without carrier it waits. */
	CHECK(ip_says("fd77::1/64 scope global tentative"));
	fixture_close(&f);
}

/* Hears of every address and route that comes, goes or changes. */
static int open_monitor(void)
{
	struct sockaddr_nl all = {.nl_family = AF_NETLINK,
				  .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
					       RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_ROUTE);

	CHECK_INT(bind(fd, (struct sockaddr *)&all, sizeof(all)), 0);
	return fd;
}

TEST_CASE(kernel, setting_up_again_changes_nothing)
{
	struct config_network lan;
	unsigned num = 0;
	struct fixture f;
	char message[1];
	int monitor;

	OPEN(&f);
	lan = network(9000, "10.77.0.1/24", "10.77.0.2/24", "fd77::1/64");
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
	CHECK_INT(kernel_read_watch(f.kernel, count, &num), 0);
	CHECK(num > 0);
	monitor = open_monitor();
	/* The kernel may still say that there is no carrier: once. */
	for (int i = 0; num && i < 3; i++) {
		num = 0;
		CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
		CHECK_INT(kernel_read_watch(f.kernel, count, &num), 0);
	}
	CHECK_INT(num, 0);
	CHECK_INT(recv(monitor, message, sizeof(message), 0), -1);
	CHECK_INT(errno, EAGAIN);
	close(monitor);
	fixture_close(&f);
}

/* A listener's connection over shm0's own address, held across an adoption. */
static int connect_over(const char *text, int ends[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t size = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

	inet_pton(AF_INET, text, &at.sin_addr);
	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ends[1] = -1;
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &size) < 0 ||
	    connect(ends[0], (struct sockaddr *)&at, sizeof(at)) < 0)
		error = -errno;
	else
		ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	return error;
}

TEST_CASE(kernel, an_adopted_port_keeps_addresses_and_connections)
{
	struct config_network lan;
	struct kernel_link link;
	enum tap_error why;
	struct fixture f;
	char byte = 0;
	int ends[2];

	OPEN(&f);
	lan = network(9000, "10.77.0.1/24", "fd77::1/64", "");
	CHECK_INT(kernel_get_link(f.kernel, "lo", &link), 0);
	CHECK_INT(kernel_set_up(f.kernel, link.index, true), 0);
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
	CHECK_INT(tap_persist(&f.tap), 0);
	CHECK_INT(connect_over("10.77.0.1", ends), 0);
	tap_close(&f.tap);
	CHECK(!look(&f)->running);
	CHECK(holds(&f, "10.77.0.1/24"));

	CHECK_INT(kernel_claim_port(f.kernel, "shm0", MARK, &link), 1);
	CHECK_INT(tap_open(&f.tap, "shm0", 1, TAP_ADOPT, &why), 0);
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
	CHECK(holds(&f, "10.77.0.1/24"));
	CHECK(holds(&f, "fd77::1/64"));
	CHECK_INT(write(ends[0], "x", 1), 1);
	CHECK_INT(read(ends[1], &byte, 1), 1);
	CHECK_INT(byte, 'x');
	close(ends[0]);
	close(ends[1]);
	fixture_close(&f);
}

TEST_CASE(kernel, a_changed_config_changes_only_the_difference)
{
	struct config_network lan;
	struct fixture f;

	OPEN(&f);
	lan = network(9000, "10.77.0.1/24", "10.77.0.2/24", "fd77::1/64");
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
	/* The first one leaves: those added after it are its secondaries. */
	lan = network(1490, "10.77.0.2/24", "fd77::1/64", "fd77::2/64");
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_b), 0);
	CHECK(!holds(&f, "10.77.0.1/24"));
	CHECK(ip_says("10.77.0.2/24"));
	CHECK(!ip_says("secondary"));
	CHECK(ip_says("fd77::1/64"));
	CHECK(ip_says("fd77::2/64"));
	CHECK_INT(look(&f)->mtu, 1490);
	CHECK_MEM(f.link.mac, mac_b, 6);
	CHECK(f.link.is_up);
	/* Another prefix of the same address. */
	lan = network(1490, "10.77.0.2/16", "fd77::1/48", "");
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_b), 0);
	CHECK(ip_says("10.77.0.2/16"));
	CHECK(!ip_says("10.77.0.2/24"));
	CHECK(ip_says("fd77::1/48"));
	CHECK(!ip_says("fd77::1/64"));
	CHECK(!ip_says("fd77::2"));
	fixture_close(&f);
}

TEST_CASE(kernel, leaves_link_local_and_expiring_addresses_alone)
{
	struct config_network lan;
	struct fixture f;

	OPEN(&f);
	lan = network(1500, "fd77::1/64", "", "");
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
	CHECK_INT(tap_set_carrier(&f.tap, true), 0);
	/* The kernel makes its link-local address when the carrier arrives. */
	for (int i = 0; !ip_says("fe80::53:12ff:fe34:1/64"); i++) {
		REQUIRE(i < 1000);
		wait_readable(kernel_watch_fd(f.kernel), 10);
	}
	CHECK_INT(system("ip address add 10.1.0.1/24 dev shm0 valid_lft 999 "
			 "preferred_lft 999"),
		  0);
	CHECK_INT(system("ip address add fd01::1/64 dev shm0 valid_lft 999 "
			 "preferred_lft 999"),
		  0);
	CHECK_INT(system("ip address add 10.2.0.1/24 dev shm0"), 0);
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
	CHECK(ip_says("fe80::53:12ff:fe34:1/64"));
	CHECK(ip_says("10.1.0.1/24"));
	CHECK(ip_says("fd01::1/64"));
	CHECK(!ip_says("10.2.0.1/24"));
	/* In the config, they have to stay. */
	lan = network(1500, "10.1.0.1/24", "fd01::1/64", "");
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), 0);
	CHECK(ip_says("10.1.0.1/24"));
	CHECK(ip_says("fd01::1/64"));
	CHECK(!ip_says("dynamic"));
	fixture_close(&f);
}

TEST_CASE(kernel, sets_up_nothing_that_is_not_ours)
{
	static char lo[] = "lo";
	struct config_network lan;
	struct fixture f;

	OPEN(&f);
	lan = network(1500, "10.77.0.1/24", "", "");
	CHECK_INT(kernel_set_alias(f.kernel, f.link.index, "uplink"), 0);
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), -EEXIST);
	CHECK_STR(kernel_last_error(f.kernel), "shm0 belongs to \"uplink\"");
	CHECK(!holds(&f, "10.77.0.1/24"));
	CHECK_STR(look(&f)->alias, "uplink");
	lan.tap = lo;
	CHECK_INT(kernel_setup_port(f.kernel, MARK, &lan, mac_a), -EINVAL);
	CHECK_STR(kernel_last_error(f.kernel), "lo is not a TAP");
	fixture_close(&f);
}

static int setup_without_capabilities(void *arg)
{
	struct config_network lan = network(9000, "10.77.0.1/24", "", "");
	struct fixture *f = arg;

	if (!drop_capabilities())
		return 1;
	return kernel_setup_port(f->kernel, MARK, &lan, mac_a) == -EPERM ? 0 : 2;
}

TEST_CASE(kernel, says_that_a_capability_is_missing)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(run_in_child(setup_without_capabilities, &f), 0);
	fixture_close(&f);
}

/* --- counters --- */

TEST_CASE(kernel, counts_frames_that_nobody_reads)
{
	struct kernel_drops drops = {0};
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	uint8_t frame[60] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5};
	uint8_t nothing[10 + 60] = {0};
	struct fixture f;
	int fd;

	OPEN(&f);
	/* While it is down, what we write is refused. */
	CHECK_INT(write(f.tap.queues[0], nothing, sizeof(nothing)), -1);
	CHECK_INT(errno, EIO);
	CHECK_INT(tap_set_carrier(&f.tap, true), 0);
	CHECK_INT(kernel_set_up(f.kernel, f.link.index, true), 0);
	while (!look(&f)->running)
		REQUIRE(wait_readable(kernel_watch_fd(f.kernel), WAIT_MS));
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	to.sll_ifindex = f.link.index;
	for (int i = 0; i < 3000; i++)
		sendto(fd, frame, sizeof(frame), MSG_DONTWAIT, (struct sockaddr *)&to,
		       sizeof(to));
	CHECK_INT(kernel_get_drops(f.kernel, "shm0", &drops), 0);
	CHECK(drops.tx_dropped >= 1000);
	CHECK(drops.tx_dropped < 3000);
	close(fd);
	fixture_close(&f);
}

/* --- news --- */

static void note(const struct kernel_link *link, void *arg)
{
	struct seen *seen = arg;

	if (strcmp(link->name, "shm0") != 0)
		return;
	seen->num++;
	seen->shm0_gone = link->gone;
	seen->shm0_mtu = link->mtu;
}

static int change_mtu(int mtu)
{
	return change_interface("shm0", SIOCSIFMTU, &(struct ifreq){.ifr_mtu = mtu});
}

TEST_CASE(kernel, sees_changes_from_outside)
{
	struct seen seen = {0};
	unsigned ignored = 0;
	struct fixture f;

	OPEN(&f);
	CHECK_INT(kernel_read_watch(f.kernel, count, &ignored), 0);
	CHECK(!wait_readable(kernel_watch_fd(f.kernel), 0));
	CHECK_INT(kernel_read_watch(f.kernel, note, &seen), 0);
	CHECK_INT(seen.num, 0);

	CHECK_INT(change_mtu(1700), 0);
	CHECK_INT(change_mtu(1800), 0);
	REQUIRE(wait_readable(kernel_watch_fd(f.kernel), WAIT_MS));
	CHECK_INT(kernel_read_watch(f.kernel, note, &seen), 0);
	CHECK_INT(seen.num, 1); /* once, with the latest */
	CHECK_INT(seen.shm0_mtu, 1800);
	CHECK(!seen.shm0_gone);

	tap_close(&f.tap);
	REQUIRE(wait_readable(kernel_watch_fd(f.kernel), WAIT_MS));
	CHECK_INT(kernel_read_watch(f.kernel, note, &seen), 0);
	CHECK_INT(seen.num, 2);
	CHECK(seen.shm0_gone);
	fixture_close(&f);
}

TEST_CASE(kernel, lost_news_are_read_anew)
{
	struct seen seen = {0};
	int lost = 0;
	struct fixture f;

	OPEN(&f);
	for (int i = 0; i < 4000; i++)
		change_mtu(1490 + i % 100);
	CHECK_INT(change_mtu(9000), 0);
	for (int i = 0; !lost && wait_readable(kernel_watch_fd(f.kernel), 0); i++) {
		REQUIRE(i < 100);
		seen = (struct seen){0};
		lost = kernel_read_watch(f.kernel, note, &seen);
	}
	CHECK_INT(lost, 1);
	CHECK_INT(seen.num, 1);
	CHECK_INT(seen.shm0_mtu, 9000);
	/* And what comes after is heard again. */
	CHECK_INT(change_mtu(1600), 0);
	REQUIRE(wait_readable(kernel_watch_fd(f.kernel), WAIT_MS));
	CHECK_INT(kernel_read_watch(f.kernel, note, &seen), 0);
	CHECK_INT(seen.shm0_mtu, 1600);
	fixture_close(&f);
}

static void change_again(const struct kernel_link *link, void *arg)
{
	struct seen *seen = arg;

	seen->num++;
	CHECK_INT(kernel_set_alias(seen->kernel, link->index, "from the callback"), 0);
}

TEST_CASE(kernel, a_callback_may_use_the_handle)
{
	struct seen seen = {0};
	struct fixture f;

	OPEN(&f);
	seen.kernel = f.kernel;
	CHECK_INT(change_mtu(1700), 0);
	CHECK_INT(kernel_read_watch(f.kernel, change_again, &seen), 0);
	CHECK(seen.num >= 1);
	CHECK_STR(look(&f)->alias, "from the callback");
	fixture_close(&f);
}
