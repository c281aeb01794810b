#include "control/sysctl.h"

#include "command_output.h"
#include "netns.h"
#include "shim.h"

#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define FILTER "net/ipv4/conf/lo/rp_filter"
#define PORTS  "net/ipv4/ip_local_port_range"

static char path[] = "sysctl_test.kernel";

static struct sysctls *open_it(void)
{
	struct sysctls *sysctls = NULL;

	CHECK_INT(sysctls_open(NULL, path, &sysctls), 0);
	return sysctls;
}

#define ENTER()                                                                          \
	do {                                                                             \
		const char *why_not = netns_enter();                                     \
                                                                                         \
		if (why_not)                                                             \
			TEST_SKIP(why_not);                                              \
		unlink(path);                                                            \
	} while (0)

static const char *file(void)
{
	static char text[1024];

	return command_output("cat sysctl_test.kernel 2>/dev/null", text, sizeof(text));
}

static const char *now(const char *name)
{
	static char value[SYSCTL_VALUE_MAX];
	struct sysctls *sysctls = open_it();

	CHECK_INT(sysctls_get(sysctls, name, value), 0);
	sysctls_close(sysctls);
	return value;
}

/* As another program would. */
static void set_behind_our_back(const char *name, const char *value)
{
	char command[256];

	snprintf(command, sizeof(command), "echo '%s' >/proc/sys/%s", value, name);
	CHECK_INT(system(command), 0);
}

TEST_CASE(sysctl, is_set_noted_and_set_back)
{
	struct sysctls *sysctls;

	sysctls_close(NULL);
	ENTER();
	set_behind_our_back(FILTER, "1");
	set_behind_our_back(PORTS, "32768 60999");
	sysctls = open_it();
	CHECK_INT(sysctls_set(sysctls, FILTER, "0"), 0);
	CHECK_STR(file(), FILTER "\t1\t0\n");
	CHECK_INT(sysctls_set(sysctls, PORTS, "40000 49999"), 0);
	CHECK_STR(now(FILTER), "0");
	CHECK_STR(now(PORTS), "40000 49999");
	CHECK_INT(sysctls_restore(sysctls, false), 0); /* both are of this life */
	CHECK_STR(now(FILTER), "0");
	CHECK_INT(sysctls_restore(sysctls, true), 0);
	CHECK_STR(now(FILTER), "1");
	CHECK_STR(now(PORTS), "32768 60999");
	CHECK(access(path, F_OK) < 0);
	sysctls_close(sysctls);
}

TEST_CASE(sysctl, that_is_right_already_is_not_ours)
{
	struct sysctls *sysctls;

	ENTER();
	set_behind_our_back(FILTER, "2");
	sysctls = open_it();
	CHECK_INT(sysctls_set(sysctls, FILTER, "2"), 0);
	CHECK_STR(file(), "");
	sysctls_close(sysctls);
}

TEST_CASE(sysctl, of_an_interface_of_our_own_is_not_noted)
{
	struct sysctls *sysctls;

	ENTER();
	sysctls = open_it();
	CHECK_INT(sysctls_set_own(sysctls, FILTER, "2"), 0);
	CHECK_STR(now(FILTER), "2");
	CHECK_STR(file(), "");
	sysctls_close(sysctls);
}

TEST_CASE(sysctl, the_next_life_knows_what_it_was)
{
	char value[SYSCTL_VALUE_MAX] = "";
	struct sysctls *sysctls;

	ENTER();
	set_behind_our_back(FILTER, "1");
	set_behind_our_back(PORTS, "32768 60999");
	sysctls = open_it();
	CHECK_INT(sysctls_set(sysctls, FILTER, "0"), 0);
	CHECK_INT(sysctls_set(sysctls, PORTS, "40000 49999"), 0);
	sysctls_close(sysctls); /* killed */

	sysctls = open_it();
	CHECK_INT(sysctls_get_original(sysctls, PORTS, value), 0);
	CHECK_STR(value, "32768 60999");
	/* Another value this time, and the other one is not wanted any more. */
	CHECK_INT(sysctls_set(sysctls, PORTS, "50000 50999"), 0);
	CHECK_INT(sysctls_restore(sysctls, false), 0);
	CHECK_STR(now(FILTER), "1");
	CHECK_STR(now(PORTS), "50000 50999");
	CHECK_STR(file(), PORTS "\t32768 60999\t50000 50999\n");
	CHECK_INT(sysctls_restore(sysctls, true), 0);
	CHECK_STR(now(PORTS), "32768 60999");
	sysctls_close(sysctls);
}

TEST_CASE(sysctl, killed_before_the_kernel_was_touched)
{
	struct sysctls *sysctls;

	ENTER();
	set_behind_our_back(FILTER, "1");
	CHECK_INT(system("printf '" FILTER "\\t1\\t0\\n' >sysctl_test.kernel"), 0);
	sysctls = open_it();
	CHECK_INT(sysctls_restore(sysctls, true), 0);
	CHECK_STR(now(FILTER), "1");
	CHECK(access(path, F_OK) < 0);
	sysctls_close(sysctls);
}

TEST_CASE(sysctl, what_others_set_since_is_left_to_them)
{
	struct sysctls *sysctls;

	ENTER();
	set_behind_our_back(FILTER, "1");
	sysctls = open_it();
	CHECK_INT(sysctls_set(sysctls, FILTER, "0"), 0);
	set_behind_our_back(FILTER, "2");
	CHECK_INT(sysctls_restore(sysctls, true), 0);
	CHECK_STR(now(FILTER), "2");
	/* Set again by us, it goes back to what they made it. */
	CHECK_INT(sysctls_set(sysctls, FILTER, "0"), 0);
	set_behind_our_back(FILTER, "1");
	CHECK_INT(sysctls_set(sysctls, FILTER, "0"), 0);
	CHECK_INT(sysctls_restore(sysctls, true), 0);
	CHECK_STR(now(FILTER), "1");
	sysctls_close(sysctls);
}

TEST_CASE(sysctl, an_interface_that_is_gone_has_none)
{
	struct sysctls *sysctls;

	ENTER();
	CHECK_INT(system("ip link add v0 type veth peer name v1"), 0);
	sysctls = open_it();
	CHECK_INT(sysctls_set(sysctls, "net/ipv4/conf/v0/arp_announce", "2"), 0);
	CHECK_INT(system("ip link del v0"), 0);
	CHECK_INT(sysctls_restore(sysctls, true), 0);
	CHECK(access(path, F_OK) < 0);
	CHECK_INT(sysctls_set(sysctls, "net/ipv4/conf/v0/arp_announce", "2"), -ENOENT);
	CHECK_STR(sysctls_last_error(sysctls),
		  "can't read /proc/sys/net/ipv4/conf/v0/arp_announce: No such file or "
		  "directory");
	sysctls_close(sysctls);
}

TEST_CASE(sysctl, a_file_of_nonsense_is_passed_over)
{
	struct sysctls *sysctls;

	ENTER();
	set_behind_our_back(FILTER, "1");
	CHECK_INT(system("printf 'one\\n\\t\\t\\nkernel/hostname\\ta\\tb\\n"
			 "net/../kernel/x\\t1\\t2\\n" FILTER "\\t2\\t1\\n" FILTER
			 "\\t0\\t1\\n" FILTER "' >sysctl_test.kernel"),
		  0);
	sysctls = open_it();
	CHECK_INT(sysctls_restore(sysctls, true), 0);
	CHECK_STR(now(FILTER), "2");
	sysctls_close(sysctls);
}

TEST_CASE(sysctl, a_file_that_cannot_be_written_stops_it)
{
	struct sysctls *sysctls = NULL;

	ENTER();
	set_behind_our_back(FILTER, "1");
	CHECK_INT(sysctls_open(NULL, "no/such/place", &sysctls), 0);
	CHECK_INT(sysctls_set(sysctls, FILTER, "0"), -ENOENT);
	CHECK(strstr(sysctls_last_error(sysctls), "can't write no/such/place"));
	CHECK_STR(now(FILTER), "1");
	sysctls_close(sysctls);
}

static int set_read_only(void *arg)
{
	struct sysctls *sysctls = arg;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL) ||
	    mount(NULL, "/proc/sys", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		return 77;
	if (sysctls_set_own(sysctls, FILTER, "1") != 0) /* it is 1 */
		return 1;
	if (sysctls_set_own(sysctls, FILTER, "0") != -EROFS)
		return 2;
	return strstr(sysctls_last_error(sysctls),
		      "can't set /proc/sys/" FILTER " to '0': Read-only file system; it "
		      "is read-only here, as in a container")
		       ? 0
		       : 3;
}

TEST_CASE(sysctl, read_only_as_in_a_container)
{
	struct sysctls *sysctls;
	int status;

	ENTER();
	set_behind_our_back(FILTER, "1");
	sysctls = open_it();
	status = run_in_child(set_read_only, sysctls);
	sysctls_close(sysctls);
	if (status == 77)
		TEST_SKIP("/proc/sys can't be mounted read-only here");
	CHECK_INT(status, 0);
}
