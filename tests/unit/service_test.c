/* What the service manager is told, and what of its store becomes of use. */
#include "control/service.h"

#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_FD 3 /* of those that a manager hands over */

struct manager {
	int fd;
	char text[256]; /* of the last message */
	unsigned num_fds;
};

static void manager_open(struct manager *manager, const char *room)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];

	/* Abstract, so that nothing is left. */
	snprintf(name, sizeof(name), "shmnet-service-test-%d", (int)getpid());
	memcpy(address.sun_path + 1, name, strlen(name));
	manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	REQUIRE(bind(manager->fd, (const struct sockaddr *)&address,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				 strlen(name))) == 0);
	memmove(name + 1, name, strlen(name) + 1);
	name[0] = '@';
	setenv("NOTIFY_SOCKET", name, 1);
	if (room)
		setenv("FDSTORE", room, 1);
}

static void manager_close(struct manager *manager)
{
	unsetenv("NOTIFY_SOCKET");
	unsetenv("FDSTORE");
	close(manager->fd);
}

static bool manager_hear(struct manager *manager)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {manager->text, sizeof(manager->text) - 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	ssize_t length = recvmsg(manager->fd, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header;

	if (length < 0)
		return false;
	manager->text[length] = '\0';
	manager->num_fds = 0;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS) {
		int fd;

		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
		close(fd);
		manager->num_fds = 1;
	}
	return true;
}

static bool is_built_in(void)
{
	bool is_there;

	setenv("NOTIFY_SOCKET", "@none", 1);
	setenv("FDSTORE", "1", 1);
	is_there = service_has_store();
	unsetenv("NOTIFY_SOCKET");
	unsetenv("FDSTORE");
	return is_there;
}

#define NEED_SYSTEMD()                                                                   \
	do {                                                                             \
		if (!is_built_in())                                                      \
			TEST_SKIP("built without libsystemd");                           \
	} while (0)

TEST_CASE(service, without_a_manager_nothing_happens)
{
	struct handover handover = {0};

	CHECK(!service_has_store());
	CHECK_INT(service_take(&handover), 0);
	CHECK_INT(handover.num_taps, 0);
	CHECK_INT(service_watchdog_us(), 0);
	service_tell_ready();
	service_tell_stopping();
	service_tell_alive();
	service_forget("shm0");
}

TEST_CASE(service, it_is_told)
{
	struct manager manager;

	NEED_SYSTEMD();
	manager_open(&manager, NULL);
	CHECK(!service_has_store());
	service_tell_ready();
	REQUIRE(manager_hear(&manager));
	CHECK_STR(manager.text, "READY=1");
	service_tell_alive();
	REQUIRE(manager_hear(&manager));
	CHECK_STR(manager.text, "WATCHDOG=1");
	service_tell_stopping();
	REQUIRE(manager_hear(&manager));
	CHECK_STR(manager.text, "STOPPING=1");
	manager_close(&manager);
}

TEST_CASE(service, queues_are_kept_by_name)
{
	struct tap tap = {.name = "shm0.7", .num_queues = 3, .queues = {0, 1, 2}};
	struct manager manager;

	NEED_SYSTEMD();
	manager_open(&manager, "0");
	CHECK(!service_has_store());
	manager_close(&manager);

	manager_open(&manager, "64");
	CHECK(service_has_store());
	CHECK_INT(service_keep(&tap, 1), 0);
	REQUIRE(manager_hear(&manager));
	CHECK_STR(manager.text, "FDSTORE=1\nFDNAME=tap-shm0.7.1");
	CHECK_INT(manager.num_fds, 1);
	REQUIRE(manager_hear(&manager));
	CHECK_STR(manager.text, "FDSTORE=1\nFDNAME=tap-shm0.7.2");
	CHECK(!manager_hear(&manager));
	manager_close(&manager);
	CHECK(service_keep(&tap, 0) < 0);
}

/* Who says more than the manager has read waits: that is for a child. */
TEST_CASE(service, a_tap_is_forgotten_with_all_its_queues)
{
	struct manager manager;
	char last[64];
	pid_t child;

	NEED_SYSTEMD();
	manager_open(&manager, "64");
	child = fork();
	if (child == 0) {
		service_forget("shm0");
		_exit(0);
	}
	for (unsigned i = 0; i < TAP_QUEUES_MAX; i++) {
		struct pollfd readable = {.fd = manager.fd, .events = POLLIN};

		REQUIRE(poll(&readable, 1, 10000) == 1);
		REQUIRE(manager_hear(&manager));
		snprintf(last, sizeof(last), "FDSTOREREMOVE=1\nFDNAME=tap-shm0.%u", i);
		CHECK_STR(manager.text, last);
	}
	CHECK_INT(waitpid(child, NULL, 0), child);
	manager_close(&manager);
}

/* In a child, whose descriptors may be anything. */
static int take_in_child(const char *names, unsigned num, struct handover *handover)
{
	char text[16];

	for (unsigned i = 0; i < num; i++)
		dup2(open("/dev/null", O_RDWR | O_CLOEXEC), FIRST_FD + (int)i);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%u", num);
	setenv("LISTEN_FDS", text, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	return (int)service_take(handover);
}

static bool is_as_taken(void)
{
	static const char names[] =
		"tap-shm0.0:tap-a.b.1:tap-shm0.1:stored:tap-shm0.1:tap-shm0.16:tap-.0:"
		"tap-shm0.01:tap-a.b.0:tap-hole.1:tap-shm0";
	struct handover handover = {0};
	const struct handover_tap *tap;
	bool ok = take_in_child(names, 11, &handover) == 6 && handover.num_taps == 3;

	tap = handover_find(&handover, "shm0");
	ok = ok && tap && tap->is_kept && handover_count(tap) == 2;
	ok = ok && tap->queues[1] == FIRST_FD + 2 &&
	     fcntl(tap->queues[1], F_GETFD) == FD_CLOEXEC;
	ok = ok && handover_count(handover_find(&handover, "a.b")) == 2;
	ok = ok && handover_count(handover_find(&handover, "hole")) == 0;
	ok = ok && !handover_find(&handover, "shm1") && !getenv("LISTEN_FDS");
	handover_close(&handover);
	return ok && fcntl(FIRST_FD, F_GETFD) < 0 && fcntl(FIRST_FD + 3, F_GETFD) < 0;
}

TEST_CASE(service, queues_of_the_store_are_taken)
{
	int status = -1;
	pid_t child;

	NEED_SYSTEMD();
	child = fork();
	if (child == 0)
		_exit(is_as_taken() ? 0 : 1);
	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK_INT(status, 0);
}
