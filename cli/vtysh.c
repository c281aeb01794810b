/*
 * Asks FRRouting, by its own shell: a child that talks to the daemons. Every way in which
 * that can fail becomes a sentence with the remedy. See cli.h.
 *
 * What it says is bounded in size and in time: a daemon may be stopped.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FRR_DIR	   "/run/frr"
#define REPLY_MAX  (16u << 20)
#define REPLY_STEP 65536

struct reply {
	char *text;
	size_t used;
	size_t room;
};

static const char *frr_dir(const struct cli *cli)
{
	const char *dir = getenv("SHMNET_FRR_DIR");

	if (cli->frr)
		return cli->frr;
	return dir && *dir ? dir : FRR_DIR;
}

static bool is_installed(void)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path ? path : ""), *rest = copy, *dir;
	bool found = false;

	while (copy && !found && (dir = strsep(&rest, ":"))) {
		char program[PATH_MAX];

		snprintf(program, sizeof(program), "%s/vtysh", *dir ? dir : ".");
		found = access(program, X_OK) == 0;
	}
	free(copy);
	return found;
}

/* vtysh says the same of a daemon that does not run and one that it may not ask. */
static int check_socket(const struct cli *cli, struct cli_error *error)
{
	char path[PATH_MAX];

	if (!is_installed()) {
		cli_error_set(
			error, CLI_FAILED, "no-frr",
			"FRRouting is not installed: no vtysh is in PATH; install the "
			"package frr");
		return CLI_FAILED;
	}
	snprintf(path, sizeof(path), "%s/ospfd.vty", frr_dir(cli));
	if (access(path, R_OK | W_OK) == 0)
		return CLI_OK;
	if (errno == EACCES)
		cli_error_set(error, CLI_FAILED, "permission",
			      "no permission to use %s; be root or a member of the group "
			      "frrvty: usermod -aG frrvty USER",
			      path);
	else
		cli_error_set(error, CLI_FAILED, "no-ospfd",
			      "ospfd does not run: %s: %s; write 'ospfd=yes' in "
			      "/etc/frr/daemons and 'systemctl restart frr'",
			      path, strerror(errno));
	return CLI_FAILED;
}

/* ---- the child ---- */

static int start(const struct cli *cli, const char *command, pid_t *ret_pid, int *ret_fd)
{
	const char *const argv[] = {"vtysh", "--vty_socket", frr_dir(cli),
				    "-c",    command,	     NULL};
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
	error = posix_spawnp(ret_pid, argv[0], &actions, NULL, (char *const *)argv,
			     environ);
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
static int read_some(int fd, struct reply *reply)
{
	ssize_t n;

	if (reply->room - reply->used < 2) {
		char *text = realloc(reply->text, reply->room + REPLY_STEP);

		if (!text)
			return -ENOMEM;
		reply->text = text;
		reply->room += REPLY_STEP;
	}
	n = read(fd, reply->text + reply->used, reply->room - reply->used - 1);
	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	reply->used += (size_t)n;
	reply->text[reply->used] = '\0';
	return reply->used > REPLY_MAX ? -EMSGSIZE : n > 0;
}

static int read_all(int fd, int64_t deadline_ms, struct reply *reply)
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
			ret = read_some(fd, reply);
	}
	return ret;
}

/* What it said. It is gone afterwards in any case. */
static int run(const struct cli *cli, const char *command, unsigned timeout_ms,
	       struct reply *reply)
{
	pid_t pid = -1;
	int fd = -1, ret = start(cli, command, &pid, &fd);

	if (ret)
		return ret;
	ret = read_all(fd, now_ms() + timeout_ms, reply);
	close(fd);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return ret;
}

static void set_run_error(struct cli_error *error, const char *command,
			  unsigned timeout_ms, int ret)
{
	if (ret == -ETIMEDOUT)
		cli_error_set(error, CLI_FAILED, "timeout",
			      "FRRouting did not answer '%s' within %u ms; is ospfd "
			      "stopped? -T gives it more time",
			      command, timeout_ms);
	else
		cli_error_set(error, CLI_FAILED, "vtysh", "can't run vtysh: %s",
			      strerror(-ret));
}

/* Such as "ospfd is not running", if it died and left its socket. */
static void set_words_error(const struct cli *cli, struct cli_error *error,
			    const char *command, char *words)
{
	words[strcspn(words, "\r\n")] = '\0';
	if (!*words)
		cli_error_set(error, CLI_FAILED, "no-ospf",
			      "ospfd at %s has ended, or has no 'router ospf' in its "
			      "configuration; deploy/frr/render makes that of the node's "
			      "file",
			      frr_dir(cli));
	else
		cli_error_set(error, CLI_FAILED, "vtysh",
			      "vtysh --vty_socket %s: '%s' gave no JSON but '%.80s'; "
			      "does ospfd run, "
			      "and is FRRouting 8 or newer?",
			      frr_dir(cli), command, words);
}

int cli_ask_vtysh(const struct cli *cli, const char *command, json_t **ret_reply,
		  struct cli_error *ret_error)
{
	const unsigned timeout_ms = cli->timeout_ms ? cli->timeout_ms : CLI_TIMEOUT_MS;
	struct reply reply = {calloc(1, REPLY_STEP), 0, REPLY_STEP};
	json_t *document = NULL;
	int ret = reply.text ? 0 : -ENOMEM;

	if (check_socket(cli, ret_error)) {
		free(reply.text);
		return CLI_FAILED;
	}
	if (!ret)
		ret = run(cli, command, timeout_ms, &reply);
	if (!ret)
		document = json_loadb(reply.text, reply.used, 0, NULL);
	if (ret)
		set_run_error(ret_error, command, timeout_ms, ret);
	else if (!json_is_object(document))
		set_words_error(cli, ret_error, command, reply.text);
	free(reply.text);
	if (!json_is_object(document)) {
		json_decref(document);
		return CLI_FAILED;
	}
	*ret_reply = document;
	return CLI_OK;
}
