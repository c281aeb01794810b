/* When a border's routes are there, by its NICs and what the node says of its networks.
 */
#include "control/border.h"
#include "control/config_internal.h"
#include "data/tap.h"

#include "command_output.h"
#include "netns.h"
#include "shim.h"

#include <stdlib.h>

#define HEAD "node: {name: n1, id: 1}\nfabrics: [{name: local, kind: shm}]\n"
#define LAN0 "networks:\n  - {name: lan0, tap: shm0}\n"
#define WEB                                                                              \
	"  - {name: web, kind: global, tap: shmg0, announce: routing, "                  \
	"addresses: [10.99.0.1, \"fd99::1\"]}\n"
#define SVC                                                                              \
	"  - {name: svc, kind: global, tap: shmg1, announce: eth0, address: "            \
	"10.99.0.2}\n"
#define BORDER(nics) HEAD LAN0 WEB SVC "routing: {nics: [" nics "]}\n"

enum { LAN, WEB_INDEX, SVC_INDEX };

struct fixture {
	struct kernel *kernel;
	struct tap taps[2];
	struct node_config *config;
	struct border *border;
};

static void load(struct fixture *f, const char *text)
{
	config_free(f->config);
	f->config = NULL;
	CHECK_INT(config_load_data("test", text, strlen(text), stderr, &f->config), 0);
}

/* Ports as a node has them, and a NIC: carrier is what its other end says. */
static const char *fixture_open(struct fixture *f, const char *text)
{
	const char *why_not = netns_enter_for_tap();
	enum tap_error why;

	memset(f, 0, sizeof(*f));
	tap_init(&f->taps[0]);
	tap_init(&f->taps[1]);
	if (why_not)
		return why_not;
	CHECK_INT(kernel_open(NULL, &f->kernel), 0);
	CHECK_INT(tap_open(&f->taps[0], "shmg0", 1, TAP_CREATE, &why), 0);
	CHECK_INT(tap_open(&f->taps[1], "shmg1", 1, TAP_CREATE, &why), 0);
	CHECK_INT(system("ip link set shmg0 up && ip link set shmg1 up && "
			 "ip link add nic0 mtu 1400 type veth peer name end0 && "
			 "ip link set nic0 up && ip link set end0 up"),
		  0);
	load(f, text);
	return NULL;
}

static void fixture_close(struct fixture *f)
{
	border_free(f->border);
	config_free(f->config);
	tap_destroy(&f->taps[0]);
	tap_destroy(&f->taps[1]);
	kernel_close(f->kernel);
}

#define OPEN(f, text) START_OR_SKIP(fixture_open(f, text))

static void begin(struct fixture *f)
{
	border_free(f->border);
	f->border = NULL;
	CHECK_INT(border_new(f->kernel, f->config, &f->border), 0);
	REQUIRE(f->border);
}

static const char *routes(void)
{
	static char text[1024];

	command_output("{ ip -4 route show proto 83; ip -6 route show proto 83; } | "
		       "sed 's/ *$//; s/ proto.*//; s/ metric.*//; s/ scope.*//' | xargs",
		       text, sizeof(text));
	text[strcspn(text, "\n")] = '\0';
	return text;
}

#define ALL "10.99.0.1 dev shmg0 fd99::1 dev shmg0"

/* The news that the kernel has of a NIC. */
static void see(struct fixture *f, const char *name)
{
	struct kernel_link link;

	CHECK_INT(kernel_get_link(f->kernel, name, &link), 0);
	CHECK(border_take_link(f->border, &link));
}

static const char *text_of(const struct fixture *f)
{
	static char text[PEER_BORDER_TEXT_MAX];
	struct peer_border border;

	border_describe(f->border, &border);
	peer_border_text(&border, text);
	return text;
}

static void set(struct fixture *f, enum border_bar bar, enum border_bar wanted)
{
	border_set(f->border, WEB_INDEX, bar);
	CHECK_INT(border_bar(f->border, WEB_INDEX), wanted);
}

static void add_words(const char *words, void *arg)
{
	char *all = arg;

	strcat(strcat(all, *all ? "; " : ""), words);
}

static const char *reasons(const struct fixture *f)
{
	static char all[4096];

	all[0] = '\0';
	border_each_reason(f->border, add_words, all);
	return all;
}

TEST_CASE(border, routes_are_there_while_nothing_bars_them)
{
	struct peer_border border;
	struct fixture f;

	OPEN(&f, BORDER("nic0"));
	begin(&f);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK_STR(routes(), ALL);
	CHECK_STR(text_of(&f), "nic0 up; announces web");
	border_describe(f.border, &border);
	CHECK_INT(border.nics[0].mtu, 1400);
	for (int bar = BORDER_BAR_PAUSED; bar <= BORDER_BAR_PORT; bar++) {
		set(&f, (enum border_bar)bar, (enum border_bar)bar);
		CHECK_STR(routes(), "");
		CHECK_STR(text_of(&f), "nic0 up; announces nothing");
		set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
		CHECK_STR(routes(), ALL);
	}
	CHECK_STR(reasons(&f), "");
	fixture_close(&f);
}

TEST_CASE(border, what_somebody_removed_is_put_back)
{
	struct fixture f;

	OPEN(&f, BORDER("nic0"));
	begin(&f);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK_INT(system("ip route delete 10.99.0.1 && ip -6 route delete fd99::1"), 0);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK_STR(routes(), ALL);
	fixture_close(&f);
}

TEST_CASE(border, one_that_somebody_else_has_set_is_as_good)
{
	struct fixture f;

	OPEN(&f, BORDER("nic0"));
	CHECK_INT(system("ip route add 10.99.0.1 dev shmg0"), 0);
	begin(&f);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK_STR(routes(), "fd99::1 dev shmg0");
	set(&f, BORDER_BAR_DRAINED, BORDER_BAR_DRAINED);
	CHECK_STR(routes(), "");
	CHECK(command_says("ip route", "10.99.0.1 dev shmg0"));
	fixture_close(&f);
}

/* It shows when the port has carrier, which it has not here. */
static bool port_is_dormant(void)
{
	return command_says("ip link show shmg0", "mode DORMANT");
}

/* What has to go on, but is not to be announced any more. */
TEST_CASE(border, a_port_is_dormant_while_it_is_drained)
{
	struct fixture f;

	OPEN(&f, BORDER("nic0"));
	begin(&f);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK(!port_is_dormant());
	set(&f, BORDER_BAR_DRAINED, BORDER_BAR_DRAINED);
	CHECK(port_is_dormant());
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK(!port_is_dormant());
	set(&f, BORDER_BAR_DRAINED, BORDER_BAR_DRAINED);
	begin(&f); /* another life, which is not drained */
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK(!port_is_dormant());
	set(&f, BORDER_BAR_DRAINED, BORDER_BAR_DRAINED);
	load(&f, HEAD LAN0 WEB SVC "routing: {}\n");
	begin(&f); /* nor is it a border */
	set(&f, BORDER_BAR_DRAINED, BORDER_BAR_INSIDE);
	CHECK(!port_is_dormant());
	fixture_close(&f);
}

TEST_CASE(border, a_nic_counts_while_it_has_carrier)
{
	struct fixture f;

	OPEN(&f, BORDER("nic0, nic1"));
	begin(&f);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK_STR(reasons(&f), "border without its NIC: there is no interface nic1; make "
			       "it, or change routing.nics");
	CHECK_INT(system("ip link set end0 down"), 0);
	see(&f, "nic0");
	set(&f, BORDER_BAR_DRAINED, BORDER_BAR_NIC);
	CHECK_STR(routes(), "");
	CHECK(strstr(reasons(&f), "routing.nics: nic0 has no carrier"));
	CHECK_INT(system("ip link set nic0 down"), 0);
	see(&f, "nic0");
	CHECK(strstr(reasons(&f), "routing.nics: nic0 is down; ip link set nic0 up"));
	CHECK_INT(system("ip link add nic1 type veth peer name end1 && "
			 "ip link set nic1 up && ip link set end1 up"),
		  0);
	see(&f, "nic1");
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK_STR(routes(), ALL);
	CHECK_STR(text_of(&f), "nic0 down, nic1 up; announces web");
	fixture_close(&f);
}

TEST_CASE(border, a_nic_is_who_has_its_name)
{
	struct kernel_link link;
	struct fixture f;

	OPEN(&f, BORDER("nic0"));
	begin(&f);
	CHECK_INT(kernel_get_link(f.kernel, "nic0", &link), 0);
	CHECK_INT(system("ip link set nic0 down && ip link set nic0 name other && "
			 "ip link set other up"),
		  0);
	see(&f, "other"); /* which it was */
	CHECK(!border_take_link(f.border, &(struct kernel_link){.index = 1}));
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NIC);
	CHECK_INT(system("ip link set other down && ip link set other name nic0 && "
			 "ip link set nic0 up"),
		  0);
	see(&f, "nic0");
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	link.gone = true;
	CHECK(border_take_link(f.border, &link));
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NIC);
	border_look(f.border);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	fixture_close(&f);
}

TEST_CASE(border, only_networks_that_are_routed)
{
	struct fixture f;

	OPEN(&f, BORDER("nic0"));
	begin(&f);
	border_set(f.border, LAN, BORDER_BAR_NONE);
	border_set(f.border, SVC_INDEX, BORDER_BAR_NONE);
	set(&f, BORDER_BAR_DRAINED, BORDER_BAR_DRAINED);
	CHECK_INT(border_bar(f.border, LAN), BORDER_BAR_INSIDE);
	CHECK_INT(border_bar(f.border, SVC_INDEX), BORDER_BAR_INSIDE);
	CHECK_STR(routes(), "");
	CHECK_STR(text_of(&f), "nic0 up; announces nothing");
	load(&f, HEAD LAN0 WEB SVC "routing: {}\n");
	begin(&f);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_INSIDE);
	CHECK_STR(routes(), "");
	CHECK_STR(text_of(&f), "announces nothing");
	CHECK_STR(reasons(&f), "");
	fixture_close(&f);
}

#define LEFT                                                                             \
	"ip route add 10.99.0.1 dev shmg0 proto 83 && "                                  \
	"ip route add 10.99.0.7 dev shmg0 proto 83 && "                                  \
	"ip route add 10.99.0.2 dev shmg1 proto 83 && "                                  \
	"ip route add 10.99.0.9 dev nic0 proto 83 && "                                   \
	"ip route add 10.99.0.8 dev shmg0 proto 4"

/* What is wanted is never absent; what is another node's stays. */
TEST_CASE(border, what_an_earlier_life_left)
{
	struct fixture f;

	OPEN(&f, BORDER("nic0"));
	CHECK_INT(system(LEFT), 0);
	begin(&f);
	CHECK_STR(routes(), "10.99.0.1 dev shmg0 10.99.0.9 dev nic0");
	CHECK(command_says("ip route", "10.99.0.8 dev shmg0"));
	set(&f, BORDER_BAR_PAUSED, BORDER_BAR_PAUSED);
	CHECK_STR(routes(), "10.99.0.9 dev nic0");
	fixture_close(&f);
}

TEST_CASE(border, a_port_that_is_down_is_a_reason)
{
	struct fixture f;

	OPEN(&f, BORDER("nic0"));
	begin(&f);
	CHECK_INT(system("ip link set shmg0 down"), 0);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_ROUTE);
	CHECK(strstr(reasons(&f), "network web: the route that announces it can't be "
				  "set: "));
	CHECK_STR(text_of(&f), "nic0 up; announces nothing");
	CHECK_INT(system("ip link set shmg0 up"), 0);
	set(&f, BORDER_BAR_NONE, BORDER_BAR_NONE);
	CHECK_STR(reasons(&f), "");
	fixture_close(&f);
}

TEST_CASE(border, a_long_text_is_cut)
{
	struct peer_border border = {.num_nics = CONFIG_NICS_MAX};
	char text[PEER_BORDER_TEXT_MAX];

	for (unsigned i = 0; i < CONFIG_NICS_MAX; i++)
		snprintf(border.nics[i].name, PEER_NIC_MAX, "abcdefghijklm%02u", i);
	border.num_announces = CONFIG_NETWORKS_MAX;
	for (unsigned i = 0; i < CONFIG_NETWORKS_MAX; i++)
		snprintf(border.announces[i], CONFIG_NAME_MAX, "abcdefghijklm%02u", i);
	peer_border_text(&border, text);
	CHECK_INT(strlen(text), sizeof(text) - 1);
}

TEST_CASE(border, words)
{
	for (int bar = 0; bar <= BORDER_BAR_NUM_; bar++)
		CHECK(*border_bar_words((enum border_bar)bar));
	border_free(NULL);
}
