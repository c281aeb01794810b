/*
 * Each line that an adapter can say, from what causes it. Needs TAPs; what takes a
 * race or a broken kernel is wrapped by the linker (--wrap).
 */
#include "control/adapter.h"

#include "base/log.h"
#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <linux/if_tun.h>
#include <stdarg.h>
#include <stdlib.h>

#define MARK KERNEL_MARK_PREFIX "n1"

static const uint8_t other_mac[6] = {2, 0x53, 0x12, 0x34, 0, 9};

struct fixture {
	struct kernel *kernel;
	struct node_config config;
	struct config_network network;
	struct adapter adapter;
};

/* ---- what the linker puts between ---- */

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int __real_kernel_claim_port(struct kernel *kernel, const char *name, const char *mark,
			     struct kernel_link *ret_link);
int __wrap_kernel_claim_port(struct kernel *kernel, const char *name, const char *mark,
			     struct kernel_link *ret_link);
int __real_tap_persist(struct tap *tap);
int __wrap_tap_persist(struct tap *tap);
int __real_tap_set_carrier(struct tap *tap, bool on);
int __wrap_tap_set_carrier(struct tap *tap, bool on);

static char said[1024]; /* the last line, and its level before it */
static unsigned lines;
static void (*after_claim)(void); /* what others do behind our back, once */
static int persist_error;
static int carrier_error;

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	int length = snprintf(said, sizeof(said), "%c %s: ", "EWID"[level], subject);
	va_list args;

	va_start(args, format);
	vsnprintf(said + length, sizeof(said) - (size_t)length, format, args);
	va_end(args);
	lines += !strstr(said, "works with one queue"); /* depends on the machine */
}

int __wrap_kernel_claim_port(struct kernel *kernel, const char *name, const char *mark,
			     struct kernel_link *ret_link)
{
	int ret = __real_kernel_claim_port(kernel, name, mark, ret_link);

	if (after_claim)
		after_claim();
	after_claim = NULL;
	return ret;
}

int __wrap_tap_persist(struct tap *tap)
{
	return persist_error ? persist_error : __real_tap_persist(tap);
}

int __wrap_tap_set_carrier(struct tap *tap, bool on)
{
	return carrier_error ? carrier_error : __real_tap_set_carrier(tap, on);
}

/* ---- fixture ---- */

static struct config_address address(const char *text, unsigned prefix)
{
	struct config_address address = {.family = AF_INET, .prefix = prefix};

	CHECK_INT(inet_pton(AF_INET, text, address.bytes), 1);
	return address;
}

static const char *fixture_open(struct fixture *f)
{
	static char name[] = "lan0", tap[] = "shm0";
	const char *why_not = netns_enter_for_tap();

	memset(f, 0, sizeof(*f));
	if (why_not)
		return why_not;
	f->config.id = 1;
	f->network.name = name;
	f->network.tap = tap;
	f->network.mtu = 9000;
	f->network.num_addresses = 1;
	f->network.addresses[0] = address("10.7.0.1", 24);
	said[0] = '\0';
	lines = 0;
	CHECK_INT(kernel_open(NULL, &f->kernel), 0);
	return NULL;
}

static void fixture_close(struct fixture *f)
{
	adapter_close(&f->adapter, ADAPTER_REMOVE);
	kernel_close(f->kernel);
}

#define OPEN(f) START_OR_SKIP(fixture_open(f))

static int start(struct fixture *f)
{
	int ret = adapter_claim(&f->adapter, f->kernel, MARK, &f->config, &f->network,
				NULL);

	return ret < 0 ? ret : adapter_open(&f->adapter, f->kernel, MARK);
}

static bool exists(const char *name)
{
	return if_nametoindex(name) != 0;
}

/* Fails the test if the last line does not begin so; prints it. */
static void check_said(const char *words)
{
	CHECK_STR(strncmp(said, words, strlen(words)) == 0 ? words : said, words);
}

/* A start that fails with one line and leaves nothing open. */
static void check_fails(struct fixture *f, int error, const char *words)
{
	lines = 0;
	CHECK_INT(start(f), error);
	check_said(words);
	CHECK_INT(lines, 1);
	CHECK(!f->adapter.is_open);
}

/* A TAP of somebody else's, or of an earlier run. */
static void make_tap(struct tap *tap, const char *name)
{
	enum tap_error why;

	tap_init(tap);
	CHECK_INT(tap_open(tap, name, 1, TAP_CREATE, &why), 0);
}

static void mark_tap(struct fixture *f, const char *mark)
{
	CHECK_INT(kernel_set_alias(f->kernel, (int)if_nametoindex("shm0"), mark), 0);
}

/* ---- a start that works ---- */

TEST_CASE(adapter, opens_and_leaves_nothing)
{
	struct kernel_link link;
	struct fixture f;

	OPEN(&f);
	REQUIRE(start(&f) == 0);
	CHECK_INT(kernel_get_link(f.kernel, "shm0", &link), 0);
	CHECK_STR(link.alias, MARK);
	CHECK_INT(link.mtu, 9000);
	CHECK_MEM(link.mac, f.adapter.mac, 6);
	CHECK(link.is_up);
	CHECK(!link.running);
	adapter_close(&f.adapter, ADAPTER_RESTORE); /* not adopted: it goes even so */
	CHECK(!exists("shm0"));
	adapter_close(&f.adapter, ADAPTER_REMOVE);
	fixture_close(&f);
}

TEST_CASE(adapter, adopts_its_own_and_a_failed_start_leaves_it)
{
	struct tap earlier;
	struct fixture f;

	OPEN(&f);
	make_tap(&earlier, "shm0");
	mark_tap(&f, MARK);
	CHECK_INT(tap_persist(&earlier), 0);
	tap_close(&earlier);
	f.network.mtu = 1 << 20;
	CHECK(start(&f) < 0);
	CHECK(exists("shm0"));
	f.network.mtu = 9000;
	CHECK_INT(start(&f), 0);
	CHECK(f.adapter.adopted);
	adapter_close(&f.adapter, ADAPTER_RESTORE);
	CHECK(exists("shm0"));
	CHECK_INT(start(&f), 0);
	adapter_close(&f.adapter, ADAPTER_REMOVE);
	CHECK(!exists("shm0"));
	fixture_close(&f);
}

/* ---- a start that fails ---- */

TEST_CASE(adapter, says_who_has_the_address)
{
	struct config_address wanted;
	struct tap other;
	struct fixture f;

	OPEN(&f);
	wanted = f.network.addresses[0];
	make_tap(&other, "other0");
	CHECK_INT(kernel_add_address(f.kernel, (int)if_nametoindex("other0"), &wanted),
		  0);
	check_fails(&f, -EADDRINUSE,
		    "E lan0: address 10.7.0.1 is on interface other0 of this host "
		    "already; remove it there ('ip addr del') or give the network "
		    "another one");
	CHECK(!exists("shm0"));
	tap_destroy(&other);
	fixture_close(&f);
}

/* It moves to another network, or its network to another TAP, with a start. */
TEST_CASE(adapter, an_address_may_be_on_a_tap_that_gives_it_up)
{
	static char name[] = "other", tap[] = "other0";
	struct config_network networks[1] = {{.name = name, .tap = tap}};
	struct tap other;
	struct fixture f;
	int index;

	OPEN(&f);
	make_tap(&other, "other0");
	index = (int)if_nametoindex("other0");
	CHECK_INT(kernel_add_address(f.kernel, index, &f.network.addresses[0]), 0);
	CHECK_INT(kernel_set_alias(f.kernel, index, MARK), 0);
	CHECK_INT(start(&f), 0); /* a TAP of an earlier config */
	adapter_close(&f.adapter, ADAPTER_REMOVE);

	f.config.networks = networks;
	f.config.num_networks = 1;
	CHECK_INT(start(&f), 0);
	adapter_close(&f.adapter, ADAPTER_REMOVE);
	networks[0].dhcp = true; /* a lease that may go on */
	check_fails(&f, -EADDRINUSE, "E lan0: address 10.7.0.1 is on interface other0");
	networks[0].dhcp = false;
	networks[0].num_addresses = 1;
	networks[0].addresses[0] = f.network.addresses[0];
	check_fails(&f, -EADDRINUSE, "E lan0: address 10.7.0.1 is on interface other0");
	tap_destroy(&other);
	fixture_close(&f);
}

TEST_CASE(adapter, says_that_another_process_holds_the_tap)
{
	struct tap earlier;
	struct fixture f;

	OPEN(&f);
	make_tap(&earlier, "shm0");
	mark_tap(&f, MARK);
	check_fails(&f, -EBUSY, "E lan0: TAP shm0 is held by another process");
	CHECK(exists("shm0"));
	tap_destroy(&earlier);
	fixture_close(&f);
}

TEST_CASE(adapter, says_what_the_interface_is_that_it_can_not_have)
{
	struct tap other;
	struct fixture f;
	char lo[] = "lo";

	OPEN(&f);
	make_tap(&other, "shm0");
	check_fails(&f, -EEXIST, "E lan0: can't have interface shm0: ");
	CHECK(strstr(said, "; give the network another 'tap' name"));
	mark_tap(&f, KERNEL_MARK_PREFIX "n2");
	check_fails(&f, -EEXIST, "E lan0: can't have interface shm0: ");
	CHECK(strstr(said, KERNEL_MARK_PREFIX "n2"));
	f.network.tap = lo;
	check_fails(&f, -EEXIST, "E lan0: can't have interface lo: ");
	tap_destroy(&other);
	fixture_close(&f);
}

/* Another program makes the interface between our look and our opening. */
static struct tap intruder;

static void make_intruder(void)
{
	make_tap(&intruder, "shm0");
}

TEST_CASE(adapter, says_that_the_tap_came_up_behind_its_back)
{
	struct fixture f;

	OPEN(&f);
	after_claim = make_intruder;
	check_fails(&f, -EEXIST, "E lan0: can't open TAP shm0: ");
	CHECK(exists("shm0"));
	tap_destroy(&intruder);
	fixture_close(&f);
}

/* Another program attaches to the TAP that we are about to adopt. */
static void attach_intruder(void)
{
	enum tap_error why;

	tap_init(&intruder);
	CHECK_INT(tap_open(&intruder, "shm0", 1, TAP_ADOPT, &why), 0);
}

TEST_CASE(adapter, says_that_another_process_attached_meanwhile)
{
	struct tap earlier;
	struct fixture f;

	OPEN(&f);
	make_tap(&earlier, "shm0");
	mark_tap(&f, MARK);
	CHECK_INT(tap_persist(&earlier), 0);
	tap_close(&earlier);
	after_claim = attach_intruder;
	check_fails(&f, -EBUSY, "E lan0: TAP shm0 is held by another process");
	CHECK(exists("shm0"));
	tap_destroy(&intruder);
	fixture_close(&f);
}

TEST_CASE(adapter, says_why_it_can_not_be_set_up)
{
	struct fixture f;

	OPEN(&f);
	f.network.mtu = 1 << 20;
	check_fails(&f, -EINVAL, "E lan0: can't set up interface shm0: ");
	CHECK(strstr(said, "mtu"));
	CHECK(!exists("shm0"));
	fixture_close(&f);
}

TEST_CASE(adapter, says_why_it_can_not_be_made_to_stay)
{
	struct fixture f;

	OPEN(&f);
	persist_error = -EPERM;
	check_fails(&f, -EPERM,
		    "E lan0: can't make TAP shm0 stay: Operation not permitted");
	persist_error = 0;
	CHECK(!exists("shm0"));
	fixture_close(&f);
}

/* In a child: the process is without capabilities then. */
static int open_without_capability(void *arg)
{
	struct fixture *f = arg;

	if (!drop_capabilities() || start(f) != -EPERM)
		return 1;
	if (strncmp(said, "E lan0: can't open TAP shm0: ", 29) != 0)
		return 2;
	return strstr(said, "CAP_NET_ADMIN") ? 0 : 3;
}

TEST_CASE(adapter, says_which_capability_is_missing)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(run_in_child(open_without_capability, &f), 0);
	CHECK(!exists("shm0"));
	fixture_close(&f);
}

static int open_without_bpf(void *arg)
{
	struct fixture *f = arg;

	if (!keep_capability(CAP_NET_ADMIN) || start(f) != 0)
		return 1;
	if (f->adapter.tap.num_queues > 1)
		return 77;
	if (strcmp(said, "I lan0: TAP shm0 works with one queue, frames are copied: "
			 "steering was refused (Operation not permitted)") != 0)
		return 2;
	adapter_close(&f->adapter, ADAPTER_REMOVE);
	return 0;
}

TEST_CASE(adapter, says_that_it_has_one_queue)
{
	struct fixture f;
	int ret;

	OPEN(&f);
	ret = run_in_child(open_without_bpf, &f);
	CHECK(ret == 77 || !exists("shm0"));
	fixture_close(&f);
	if (ret == 77)
		TEST_SKIP("everybody may use BPF here");
	CHECK_INT(ret, 0);
}

/* ---- a kernel that can't be asked ---- */

static int mute_fd = -1; /* another handle's socket, in the place of ours */

static void mute(void)
{
	int ends[2];

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	close(ends[1]);
	dup3(ends[0], mute_fd, O_CLOEXEC);
	close(ends[0]);
}

/* A handle whose requests fail from now on, or from the claim on. */
static void open_deaf(struct fixture *f)
{
	kernel_close(f->kernel);
	mute_fd = dup(STDERR_FILENO); /* the lowest free one is the requests' socket */
	close(mute_fd);
	CHECK_INT(kernel_open(NULL, &f->kernel), 0);
}

TEST_CASE(adapter, says_that_it_can_not_look_at_the_interface)
{
	struct fixture f;

	OPEN(&f);
	open_deaf(&f);
	mute();
	CHECK(start(&f) < 0);
	check_said("E lan0: can't look at interface shm0: ");
	CHECK_INT(lines, 1);
	fixture_close(&f);
}

TEST_CASE(adapter, says_that_it_can_not_list_the_addresses)
{
	struct fixture f;

	OPEN(&f);
	open_deaf(&f);
	after_claim = mute;
	CHECK(start(&f) < 0);
	check_said("E lan0: can't list the host's addresses: ");
	CHECK_INT(lines, 1);
	fixture_close(&f);
}

TEST_CASE(adapter, says_that_it_can_not_look_again)
{
	struct fixture f;

	OPEN(&f);
	open_deaf(&f);
	f.network.num_addresses = 0;
	after_claim = mute;
	CHECK(start(&f) < 0);
	check_said("E lan0: can't look at interface shm0: ");
	CHECK_INT(lines, 1);
	CHECK(!exists("shm0"));
	fixture_close(&f);
}

/* ---- afterwards ---- */

TEST_CASE(adapter, carrier_is_said_once)
{
	struct kernel_link link;
	struct fixture f;

	OPEN(&f);
	REQUIRE(start(&f) == 0);
	lines = 0;
	adapter_set_carrier(&f.adapter, true);
	adapter_set_carrier(&f.adapter, true);
	check_said("I lan0: carrier on");
	CHECK_INT(lines, 1);
	CHECK_INT(kernel_get_link(f.kernel, "shm0", &link), 0);
	CHECK(link.running);
	adapter_set_carrier(&f.adapter, false);
	check_said("I lan0: carrier off: no live peer");
	CHECK_INT(lines, 2);
	fixture_close(&f);
}

TEST_CASE(adapter, carrier_that_fails_is_tried_again)
{
	struct fixture f;

	OPEN(&f);
	REQUIRE(start(&f) == 0);
	carrier_error = -EIO;
	adapter_set_carrier(&f.adapter, true);
	check_said("W lan0: can't set the carrier of shm0: Input/output error");
	CHECK(!f.adapter.has_carrier);
	carrier_error = 0;
	adapter_set_carrier(&f.adapter, true);
	CHECK(f.adapter.has_carrier);
	fixture_close(&f);
}

static bool is_running(const struct fixture *f)
{
	struct kernel_link link;

	return CHECK_INT(kernel_get_link(f->kernel, "shm0", &link), 0) && link.running;
}

TEST_CASE(adapter, pause_takes_the_carrier_and_keeps_it)
{
	struct fixture f;

	OPEN(&f);
	REQUIRE(start(&f) == 0);
	adapter_set_carrier(&f.adapter, true);
	lines = 0;
	adapter_pause(&f.adapter);
	adapter_pause(&f.adapter);
	check_said("I lan0: paused: no frames go in or out");
	adapter_set_carrier(&f.adapter, true);
	CHECK_INT(lines, 1);
	CHECK(!is_running(&f));
	adapter_resume(&f.adapter);
	adapter_resume(&f.adapter);
	CHECK_INT(lines, 2);
	CHECK(!is_running(&f));
	adapter_set_carrier(&f.adapter, true);
	CHECK(is_running(&f));
	fixture_close(&f);
}

TEST_CASE(adapter, mac_is_set_back)
{
	struct kernel_link link;
	struct fixture f;

	OPEN(&f);
	REQUIRE(start(&f) == 0);
	lines = 0;
	CHECK_INT(kernel_get_link(f.kernel, "shm0", &link), 0);
	adapter_check(&f.adapter, f.kernel, &link);
	CHECK_INT(lines, 0);
	CHECK_INT(kernel_set_mac(f.kernel, link.index, other_mac), 0);
	CHECK_INT(kernel_get_link(f.kernel, "shm0", &link), 0);
	adapter_check(&f.adapter, f.kernel, &link);
	check_said("W lan0: somebody changed the MAC address of shm0, setting it back "
		   "(udev? see MACAddressPolicy in systemd.link(5))");
	CHECK_INT(lines, 1);
	CHECK_INT(kernel_get_link(f.kernel, "shm0", &link), 0);
	CHECK_MEM(link.mac, f.adapter.mac, 6);
	f.adapter.index = link.index = 1 << 20;
	memcpy(link.mac, other_mac, sizeof(link.mac));
	adapter_check(&f.adapter, f.kernel, &link);
	check_said("E lan0: can't set the MAC address of shm0: ");
	fixture_close(&f);
}

/* The news come later than what they are of: of a TAP before it that had its name. */
TEST_CASE(adapter, another_interface_of_its_name_may_go)
{
	struct kernel_link link = {.gone = true};
	struct fixture f;

	OPEN(&f);
	REQUIRE(start(&f) == 0);
	link.index = (int)if_nametoindex("shm0") + 1;
	lines = 0;
	adapter_check(&f.adapter, f.kernel, &link);
	link.gone = false;
	adapter_check(&f.adapter, f.kernel, &link);
	CHECK_INT(lines, 0);
	CHECK(!f.adapter.gone);
	fixture_close(&f);
}

TEST_CASE(adapter, removed_interface_is_said_once)
{
	struct kernel_link link = {.gone = true};
	struct fixture f;

	OPEN(&f);
	REQUIRE(start(&f) == 0);
	adapter_set_carrier(&f.adapter, true);
	CHECK_INT(kernel_delete_link(f.kernel, (int)if_nametoindex("shm0")), 0);
	lines = 0;
	adapter_check(&f.adapter, f.kernel, &link);
	adapter_check(&f.adapter, f.kernel, &link);
	check_said("E lan0: interface shm0 was removed; the network is down until the "
		   "node is restarted");
	CHECK_INT(lines, 1);
	CHECK(!f.adapter.has_carrier);
	adapter_set_carrier(&f.adapter, true);
	CHECK(!f.adapter.has_carrier);
	fixture_close(&f);
}
