/*
 * Preloaded into a shmnet-node, makes a system call that the node never makes, with zeros
 * for arguments, when one of its threads goes to wait:
 *
 *	SHMNET_STRAY_CALL=ptrace	which one: of struct stray below
 *	SHMNET_STRAY_AFTER=FILE		once that file exists; it is removed
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma GCC visibility push(default)

static const struct stray {
	const char *name;
	long number;
} strays[] = {
	{"execve", SYS_execve},
	{"getpriority", SYS_getpriority},
	{"ptrace", SYS_ptrace},
};

static void make_call(const char *name)
{
	for (size_t i = 0; i < sizeof(strays) / sizeof(strays[0]); i++) {
		if (strcmp(strays[i].name, name) == 0)
			syscall(strays[i].number, 0, 0, 0, 0, 0, 0);
	}
}

/* libc declares it with names of its own. */
/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	const char *name = getenv("SHMNET_STRAY_CALL"),
		   *after = getenv("SHMNET_STRAY_AFTER");
	int (*real)(int, struct epoll_event *, int, int);

	if (name && after && unlink(after) == 0)
		make_call(name);
	*(void **)&real = dlsym(RTLD_NEXT, "epoll_wait");
	return real(fd, events, max, timeout);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
