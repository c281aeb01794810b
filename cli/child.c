/* See child.h. */
#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REPLY_MAX  (16u << 20)
#define REPLY_STEP 65536
#define WAIT_NSEC  1000000
#define PLAIN_PATH "/usr/sbin:/usr/bin:/sbin:/bin"

struct buffer {
	char *text;
	size_t used;
	size_t room;
};

char *const child_plain_environment[] = {(char *)"PATH=" PLAIN_PATH, (char *)"LC_ALL=C",
					 NULL};

/* posix_spawnp() would look in our PATH, whatever the child gets. */
static int find(const char *name, const char *directories, char path[PATH_MAX])
{
	char *copy = strdup(directories ? directories : ""), *rest = copy, *dir;
	int ret = -ENOENT;

	while (copy && ret && (dir = strsep(&rest, ":"))) {
		snprintf(path, PATH_MAX, "%s/%s", *dir ? dir : ".", name);
		ret = access(path, X_OK) == 0 ? 0 : -ENOENT;
	}
	free(copy);
	return ret;
}

bool child_is_installed(const char *name)
{
	char path[PATH_MAX];

	return find(name, getenv("PATH"), path) == 0;
}

static int start(const char *path, const char *const argv[], char *const environment[],
		 pid_t *ret_pid, int *ret_fd)
{
	posix_spawn_file_actions_t actions;
	int pipes[2], error;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY,
					 0);
	posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY,
					 0);
	error = posix_spawn(ret_pid, path, &actions, NULL, (char *const *)argv,
			    environment);
	posix_spawn_file_actions_destroy(&actions);
	close(pipes[1]);
	if (error)
		close(pipes[0]);
	else
		*ret_fd = pipes[0];
	return -error;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* 1 if there may be more, 0 at the end. */
static int read_some(int fd, struct buffer *buffer)
{
	ssize_t n;

	if (buffer->room - buffer->used < 2) {
		char *text = realloc(buffer->text, buffer->room + REPLY_STEP);

		if (!text)
			return -ENOMEM;
		buffer->text = text;
		buffer->room += REPLY_STEP;
	}
	n = read(fd, buffer->text + buffer->used, buffer->room - buffer->used - 1);
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	buffer->used += (size_t)n;
	buffer->text[buffer->used] = '\0';
	return buffer->used > REPLY_MAX ? -EMSGSIZE : n > 0;
}

static int read_all(int fd, int64_t deadline_ms, struct buffer *buffer)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	int ret = 1;

	while (ret > 0) {
		int64_t left = deadline_ms - now_ms();
		int ready = left > 0 ? poll(&poller, 1, (int)left) : 0;

		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready == 0)
			return -ETIMEDOUT;
		if (ready > 0)
			ret = read_some(fd, buffer);
	}
	return ret;
}

/* Who closed its output is about to end. Its exit status, or -1. */
static int end(pid_t pid, int64_t deadline_ms)
{
	const struct timespec pause = {0, WAIT_NSEC};
	int status = -1;
	pid_t ended;

	while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && now_ms() < deadline_ms)
		nanosleep(&pause, NULL);
	if (ended == 0) {
		kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int child_run(const char *const argv[], char *const environment[], unsigned timeout_ms,
	      struct child_reply *ret_reply)
{
	const int64_t deadline_ms = now_ms() + timeout_ms;
	struct buffer buffer = {calloc(1, REPLY_STEP), 0, REPLY_STEP};
	char path[PATH_MAX];
	pid_t pid = -1;
	int fd = -1, status = -1;
	int ret = buffer.text
			  ? find(argv[0], environment ? PLAIN_PATH : getenv("PATH"), path)
			  : -ENOMEM;

	if (ret == 0)
		ret = start(path, argv, environment ? environment : environ, &pid, &fd);
	if (ret == 0) {
		ret = read_all(fd, deadline_ms, &buffer);
		close(fd);
		status = end(pid, ret < 0 ? 0 : deadline_ms);
	}
	if (ret < 0) {
		free(buffer.text);
		return ret;
	}
	*ret_reply = (struct child_reply){buffer.text, buffer.used, status};
	return 0;
}
