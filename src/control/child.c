/* See child.h. */
#include "control/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_BYTES 512
#define LAST_READS     64 /* somebody whom it left may go on */

struct child {
	const struct child_handler *handler;
	void *arg;
	pid_t pid; /* 0: it was waited for */
	int pidfd; /* readable once it has ended */
	int output;
	struct event *end;
	struct event *speech;
	size_t used;
	char line[LINE_MAX_BYTES];
};

/* ---- in the child, between fork and exec: async-signal-safe calls only ---- */

static void reset_signals(void)
{
	const struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int signal = 1; signal < NSIG; signal++)
		sigaction(signal, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int set_stdio(int output)
{
	int input = open("/dev/null", O_RDONLY);

	if (input < 0)
		return -errno;
	if (dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
	    dup2(output, STDERR_FILENO) < 0)
		return -errno;
	return 0;
}

/*
 * Every descriptor of ours closes at exec by itself; this is for those that we were
 * started with.
 */
static void close_the_rest(void)
{
#ifdef SYS_close_range
	const unsigned on_exec = 1 << 2; /* CLOSE_RANGE_CLOEXEC: `failed` is needed yet */

	syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, on_exec);
#endif
}

static void __attribute__((noreturn))
become(const char *const argv[], int output, int failed, pid_t parent)
{
	int err;

	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* it died before that */
		_exit(EXIT_FAILURE);
	err = set_stdio(output);
	if (err == 0) {
		reset_signals();
		close_the_rest();
		execv(argv[0], (char *const *)argv);
		err = -errno;
	}
	while (write(failed, &err, sizeof(err)) < 0 && errno == EINTR)
		;
	_exit(EXIT_FAILURE);
}

/* ---- in the node ---- */

/* What it started and left goes, too, while the zombie still holds the group's id. */
static void wait_for_end(struct child *child, int *ret_status)
{
	siginfo_t info;

	while (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT) < 0 &&
	       errno == EINTR)
		;
	kill(-child->pid, SIGKILL);
	while (waitpid(child->pid, ret_status, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
}

/* What exec says, or 0 once it has worked: then the pipe has an end and no content. */
static int read_failure(int fd)
{
	ssize_t n;
	int err = 0;

	do
		n = read(fd, &err, sizeof(err));
	while (n < 0 && errno == EINTR);
	return n == sizeof(err) ? err : 0;
}

/*
 * Signals wait until the child has the default actions: a handler of ours that ran there
 * would write into a descriptor that is ours, too.
 */
static pid_t fork_quietly(const char *const argv[], int output, int failed)
{
	pid_t pid, parent = getpid();
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		become(argv, output, failed, parent);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static int start(struct child *child, const char *const argv[])
{
	int output[2], failed[2], status, err = 0;
	pid_t pid;

	if (pipe2(output, O_CLOEXEC) < 0)
		return -errno;
	child->output = output[0];
	if (pipe2(failed, O_CLOEXEC) < 0) {
		err = -errno;
		close(output[1]);
		return err;
	}
	pid = fork_quietly(argv, output[1], failed[1]);
	close(output[1]);
	close(failed[1]);
	if (pid > 0) {
		child->pid = pid;
		err = read_failure(failed[0]);
		if (err < 0)
			wait_for_end(child, &status);
	} else {
		err = (int)pid;
	}
	close(failed[0]);
	return err;
}

static void say_line(struct child *child)
{
	while (child->used && strchr("\r\n", child->line[child->used - 1]))
		child->used--;
	child->line[child->used] = '\0';
	if (child->used)
		child->handler->said(child->arg, child->line);
	child->used = 0;
}

/* False once there is nothing more now. */
static bool listen_once(struct child *child)
{
	char bytes[512];
	ssize_t n = read(child->output, bytes, sizeof(bytes));

	for (ssize_t i = 0; i < n; i++) {
		child->line[child->used++] = bytes[i] ? bytes[i] : ' ';
		if (bytes[i] == '\n' || child->used == sizeof(child->line) - 1)
			say_line(child);
	}
	if (n == 0)
		event_del(child->speech);
	return n > 0;
}

static void on_speech(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	listen_once(arg);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	struct child *child = arg;
	int status = 0;

	(void)fd;
	(void)what;
	event_del(child->end);
	for (int i = 0; i < LAST_READS && listen_once(child); i++)
		; /* its last words come before the news of its end */
	say_line(child);
	event_del(child->speech);
	wait_for_end(child, &status);
	child->handler->ended(child->arg, status); /* may free it */
}

static int watch(struct child *child, struct event_base *base)
{
	child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	if (child->pidfd < 0)
		return -errno;
	if (fcntl(child->output, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	child->end = event_new(base, child->pidfd, EV_READ | EV_PERSIST, on_end, child);
	child->speech =
		event_new(base, child->output, EV_READ | EV_PERSIST, on_speech, child);
	if (!child->end || !child->speech || event_add(child->end, NULL) < 0 ||
	    event_add(child->speech, NULL) < 0)
		return -ENOMEM;
	return 0;
}

int child_new(struct event_base *base, const char *const argv[],
	      const struct child_handler *handler, void *arg, struct child **ret_child)
{
	struct child *child = calloc(1, sizeof(*child));
	int ret;

	if (!child)
		return -ENOMEM;
	child->handler = handler;
	child->arg = arg;
	child->pidfd = child->output = -1;
	ret = start(child, argv);
	if (ret == 0)
		ret = watch(child, base);
	if (ret < 0) {
		child_free(child, 0);
		return ret;
	}
	*ret_child = child;
	return 0;
}

void child_signal(struct child *child, int signal)
{
	if (child->pid)
		kill(child->pid, signal); /* a zombie at the worst: the pid is ours */
}

/* Without patience, or without a pidfd to wait at, it is killed at once. */
static void end(struct child *child, unsigned patience_ms)
{
	struct pollfd wait = {.fd = child->pidfd, .events = POLLIN};
	int status;

	if (child->pidfd < 0 || poll(&wait, 1, (int)patience_ms) <= 0)
		kill(child->pid, SIGKILL);
	wait_for_end(child, &status);
}

void child_free(struct child *child, unsigned patience_ms)
{
	if (!child)
		return;
	if (child->pid)
		end(child, patience_ms);
	if (child->end)
		event_free(child->end);
	if (child->speech)
		event_free(child->speech);
	if (child->pidfd >= 0)
		close(child->pidfd);
	if (child->output >= 0)
		close(child->output);
	free(child);
}
