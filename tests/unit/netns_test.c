/*
 * Going into another network namespace and back: what is named and what is held, and
 * each way in which it can't be. The namespaces are of processes of our own.
 */
#include "base/netns.h"
#include "shim.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A process that does nothing, in a network namespace of its own. */
struct other {
	pid_t pid;
	char path[64];
	ino_t inode;
};

static ino_t inode_of(const char *path)
{
	struct stat stat_;

	return stat(path, &stat_) < 0 ? 0 : stat_.st_ino;
}

static ino_t here(void)
{
	return inode_of("/proc/thread-self/ns/net");
}

static void __attribute__((noreturn)) be_other(int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNET) < 0 || write(ready, "", 1) != 1)
		_exit(1);
	while (true)
		pause();
}

static bool other_start(struct other *other)
{
	int ready[2];
	char byte;
	bool ok;

	if (pipe(ready) < 0)
		return false;
	other->pid = fork();
	if (other->pid == 0)
		be_other(ready[1]);
	close(ready[1]);
	ok = read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	snprintf(other->path, sizeof(other->path), "/proc/%d/ns/net", (int)other->pid);
	other->inode = inode_of(other->path);
	return ok && other->inode;
}

static void other_end(struct other *other)
{
	kill(other->pid, SIGKILL);
	waitpid(other->pid, NULL, 0);
}

/* Whatever comes of it, the thread is where it was. */
static int open_it(const char *name, struct netns **ret_netns,
		   char error[NETNS_ERROR_MAX])
{
	ino_t home = here();
	int ret;

	*error = '\0';
	ret = netns_open(name, ret_netns, error, NETNS_ERROR_MAX);
	return here() == home ? ret : -EXDEV;
}

static void check_refusal(const char *name, int want, const char *words)
{
	struct netns *netns = NULL;
	char error[NETNS_ERROR_MAX];

	CHECK_INT(open_it(name, &netns, error), want);
	CHECK(netns == NULL);
	if (!strstr(error, words))
		CHECK_STR(error, words);
}

static bool enter_one_of_our_own(void)
{
	return unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
}

#define OWN()                                                                            \
	do {                                                                             \
		if (!enter_one_of_our_own())                                             \
			TEST_SKIP("no namespaces may be made here");                     \
	} while (0)

TEST_CASE(netns, there_and_back)
{
	char error[NETNS_ERROR_MAX];
	struct netns *netns = NULL;
	struct other other;
	ino_t home;

	OWN();
	home = here();
	REQUIRE(other_start(&other));
	CHECK(other.inode != home);
	REQUIRE(open_it(other.path, &netns, error) == 0);
	CHECK(strncmp(netns_place(netns), " in namespace /proc/", 20) == 0);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(netns_enter(netns), 0);
		CHECK(here() == other.inode);
		netns_leave(netns);
		CHECK(here() == home);
	}
	CHECK(netns_is_current(netns));
	other_end(&other);
	CHECK(!netns_is_current(netns));
	CHECK_INT(netns_enter(netns), 0); /* it is there as long as it is held */
	CHECK(here() == other.inode);
	netns_leave(netns);
	CHECK(here() == home);
	netns_close(netns);
}

TEST_CASE(netns, none)
{
	CHECK_INT(netns_enter(NULL), 0);
	netns_leave(NULL);
	CHECK(netns_is_current(NULL));
	CHECK_STR(netns_place(NULL), "");
	netns_close(NULL);
}

TEST_CASE(netns, what_is_none)
{
	OWN();
	check_refusal("shmnet-no-such", -ENOENT, "ip netns add shmnet-no-such");
	check_refusal("/nonexistent/net", -ENOENT, "there is no /nonexistent/net");
	check_refusal("/etc/passwd/net", -ENOENT, "there is no /etc/passwd/net");
	check_refusal("/proc/self/cmdline", -EINVAL, "is no network namespace");
	check_refusal("/proc/self/ns/mnt", -EINVAL, "is no network namespace");
	check_refusal("/", -EINVAL, "is no network namespace");
}

/* ---- in a child, which says by its status how it went ---- */

enum { REFUSED, NOT_REFUSED, NOT_POSSIBLE };

static int is_refused(const char *name)
{
	struct netns *netns = NULL;
	char error[NETNS_ERROR_MAX];
	int ret = open_it(name, &netns, error);

	return ret == -EPERM && strstr(error, "CAP_SYS_ADMIN in both") ? REFUSED
								       : NOT_REFUSED;
}

static int in_child(int (*run)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run());
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static int without_capability(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2];

	memset(none, 0, sizeof(none));
	if (syscall(SYS_capset, &header, none) < 0)
		return NOT_POSSIBLE;
	return is_refused("/proc/self/ns/net");
}

TEST_CASE(netns, without_capability)
{
	CHECK_INT(in_child(without_capability), REFUSED);
}

/* Root of a user namespace to which the network namespace that it is in is foreign. */
static int no_way_back(void)
{
	struct other other;
	int ret;

	if (unshare(CLONE_NEWUSER) < 0 || !other_start(&other))
		return NOT_POSSIBLE;
	ret = is_refused(other.path);
	other_end(&other);
	return ret;
}

TEST_CASE(netns, no_way_back)
{
	int status = in_child(no_way_back);

	if (status == NOT_POSSIBLE)
		TEST_SKIP("no user namespaces may be made here");
	CHECK_INT(status, REFUSED);
}
