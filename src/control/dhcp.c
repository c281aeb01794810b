/* See dhcp.h. */
#include "control/dhcp.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/netns.h"
#include "control/child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_MIN_S	1
#define BACKOFF_MAX_S	32
#define HEALTHY_NS	(30 * NSEC_PER_SEC) /* a life that long starts the backoff anew */
#define LINES_MAX	32		    /* that a client may have in the log... */
#define LINES_WINDOW_NS (10 * NSEC_PER_SEC) /* ...in this time */

/* "%i": the interface, "%l": the lease file, "%p": the pid file. */
struct dhcp_kind {
	const char *name;
	const char *arguments[CONFIG_DHCP_ARGS_MAX];
	const char *release[CONFIG_DHCP_ARGS_MAX]; /* none: SIGTERM releases, too */
	const char *scripts[3]; /* it needs one of them; none: its package brings it */
	int renew_signal;	/* 0: it needs none */
};

/*
 * udhcpc comes second, as Debian's script for it writes /etc/resolv.conf even if the
 * server names no name server. dhcpcd is not among them: it changes its user, upon which
 * the kernel forgets to kill it with the node, and keeps its state by the interface's
 * name for all network namespaces together.
 */
static const struct dhcp_kind kinds[] = {
	{.name = "dhclient",
	 .arguments = {"-4", "-d", "-pf", "%p", "-lf", "%l", "%i"},
	 .release = {"-4", "-d", "-r", "-pf", "%p", "-lf", "%l", "%i"}},
	{.name = "udhcpc",
	 .arguments = {"-f", "-R", "-t", "3", "-T", "2", "-A", "3", "-i", "%i"},
	 .scripts = {"/etc/udhcpc/default.script", "/usr/share/udhcpc/default.script"},
	 .renew_signal = SIGUSR1},
};

static const struct dhcp_kind configured;

struct dhcp {
	struct dhcp_options options;
	struct child *child;
	struct child *release; /* the program that releases what the child has */
	struct event *retry;
	bool stopped;
	bool is_left; /* for the next life */
	unsigned backoff_s;
	uint64_t started_ns;
	uint64_t window_ns; /* of the lines that are counted */
	unsigned lines;
	char lease_file[PATH_MAX];
	char pid_file[PATH_MAX];
};

/* ---- which client ---- */

static bool is_program(const char *path)
{
	struct stat stat_;

	return stat(path, &stat_) == 0 && S_ISREG(stat_.st_mode) &&
	       access(path, X_OK) == 0;
}

/* The first one on PATH; empty parts, which mean the current directory, are not ours. */
static bool find_on_path(const char *name, char *ret_path, size_t size)
{
	const char *part = getenv("PATH");

	while (part && *part) {
		size_t len = strcspn(part, ":");
		int n = snprintf(ret_path, size, "%.*s/%s", (int)len, part, name);

		if (*part == '/' && n > 0 && (size_t)n < size && is_program(ret_path))
			return true;
		part += len + (part[len] == ':');
	}
	return false;
}

static bool has_script(const struct dhcp_kind *kind)
{
	if (!kind->scripts[0])
		return true;
	for (unsigned i = 0; kind->scripts[i]; i++) {
		if (is_program(kind->scripts[i]))
			return true;
	}
	return false;
}

static int find_configured(char *const *arguments, struct dhcp_program *ret_program,
			   char *ret_error, size_t error_size)
{
	if (!is_program(arguments[0])) {
		snprintf(ret_error, error_size,
			 "node.dhcp_client names %s, which is no program that can be run",
			 arguments[0]);
		return -ENOENT;
	}
	ret_program->kind = &configured;
	ret_program->arguments = arguments;
	snprintf(ret_program->path, sizeof(ret_program->path), "%s", arguments[0]);
	return 0;
}

int dhcp_find_program(const struct node_config *config, struct dhcp_program *ret_program,
		      char *ret_error, size_t error_size)
{
	if (config->dhcp_client[0])
		return find_configured(config->dhcp_client, ret_program, ret_error,
				       error_size);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!has_script(&kinds[i]) ||
		    !find_on_path(kinds[i].name, ret_program->path,
				  sizeof(ret_program->path)))
			continue;
		ret_program->kind = &kinds[i];
		ret_program->arguments = NULL;
		return 0;
	}
	snprintf(ret_error, error_size,
		 "no DHCP client on PATH (dhclient, udhcpc); install isc-dhcp-client "
		 "or udhcpc, or name one with "
		 "node.dhcp_client");
	return -ENOENT;
}

const char *dhcp_program_name(const struct dhcp_program *program)
{
	const char *slash = strrchr(program->path, '/');

	return slash ? slash + 1 : program->path;
}

/* ---- its life ---- */

static void start(struct dhcp *dhcp);

static const char *client_name(const struct dhcp *dhcp)
{
	return dhcp_program_name(dhcp->options.program);
}

/* What a DHCP server can make a client say must not flood the log. */
static bool may_log(struct dhcp *dhcp)
{
	uint64_t now_ns = clock_now_ns();

	if (now_ns - dhcp->window_ns >= LINES_WINDOW_NS) {
		if (dhcp->lines > LINES_MAX)
			log_info(dhcp->options.network, "%s: (and %u lines more)",
				 client_name(dhcp), dhcp->lines - LINES_MAX);
		dhcp->window_ns = now_ns;
		dhcp->lines = 0;
	}
	return dhcp->lines++ < LINES_MAX;
}

static void on_said(void *arg, const char *line)
{
	struct dhcp *dhcp = arg;
	char text[512];
	size_t used = 0;

	if (!may_log(dhcp))
		return;
	for (; line[used] && used < sizeof(text) - 1; used++)
		text[used] = line[used] < ' ' || line[used] > '~' ? '?' : line[used];
	text[used] = '\0';
	log_info(dhcp->options.network, "%s: %s", client_name(dhcp), text);
}

static void on_ended(void *arg, int status)
{
	struct dhcp *dhcp = arg;
	bool by_signal = WIFSIGNALED(status);

	child_free(dhcp->child, 0);
	dhcp->child = NULL;
	if (dhcp->stopped)
		return;
	if (clock_now_ns() - dhcp->started_ns >= HEALTHY_NS)
		dhcp->backoff_s = BACKOFF_MIN_S;
	log_warn(dhcp->options.network, "%s ended (%s %d), is started again in %u s",
		 client_name(dhcp), by_signal ? "signal" : "exit status",
		 by_signal ? WTERMSIG(status) : WEXITSTATUS(status), dhcp->backoff_s);
	event_add(dhcp->retry, &(struct timeval){.tv_sec = dhcp->backoff_s});
	if (dhcp->backoff_s < BACKOFF_MAX_S)
		dhcp->backoff_s *= 2;
}

static const char *expand(const struct dhcp *dhcp, const char *argument)
{
	if (strcmp(argument, "%i") == 0)
		return dhcp->options.interface;
	if (dhcp->options.program->arguments)
		return argument;
	if (strcmp(argument, "%l") == 0)
		return dhcp->lease_file;
	return strcmp(argument, "%p") == 0 ? dhcp->pid_file : argument;
}

/* The whole command, with the path in front. */
static void fill_argv(const struct dhcp *dhcp, const char *const *arguments,
		      const char *argv[CONFIG_DHCP_ARGS_MAX + 2])
{
	unsigned num = 0;

	argv[num++] = dhcp->options.program->path;
	for (; num <= CONFIG_DHCP_ARGS_MAX && arguments[num - 1]; num++)
		argv[num] = expand(dhcp, arguments[num - 1]);
	argv[num] = NULL;
}

/* Those of the config begin with the path. */
static const char *const *own_arguments(const struct dhcp *dhcp)
{
	const struct dhcp_program *program = dhcp->options.program;

	if (program->arguments)
		return (const char *const *)program->arguments + 1;
	return program->kind->arguments;
}

static int run(struct dhcp *dhcp, const char *const argv[],
	       const struct child_handler *handler, struct child **ret_child)
{
	const struct dhcp_options *options = &dhcp->options;
	int ret = netns_enter(options->netns);

	if (ret < 0)
		return ret;
	ret = child_new(options->base, argv, handler, dhcp, ret_child);
	netns_leave(options->netns);
	return ret;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start(arg);
}

static void start(struct dhcp *dhcp)
{
	static const struct child_handler handler = {.said = on_said, .ended = on_ended};
	const char *argv[CONFIG_DHCP_ARGS_MAX + 2];
	int ret;

	fill_argv(dhcp, own_arguments(dhcp), argv);
	dhcp->started_ns = clock_now_ns();
	ret = run(dhcp, argv, &handler, &dhcp->child);
	if (ret == 0) {
		log_info(dhcp->options.network, "%s asks for an address on %s", argv[0],
			 dhcp->options.interface);
		return;
	}
	log_warn(dhcp->options.network, "can't run %s: %s; next try in %d s", argv[0],
		 strerror(-ret), BACKOFF_MAX_S);
	event_add(dhcp->retry, &(struct timeval){.tv_sec = BACKOFF_MAX_S});
}

static void name_files(struct dhcp *dhcp)
{
	const struct dhcp_options *options = &dhcp->options;

	snprintf(dhcp->lease_file, sizeof(dhcp->lease_file), "%s/%s.dhcp-%s.leases",
		 options->directory, options->node, options->interface);
	snprintf(dhcp->pid_file, sizeof(dhcp->pid_file), "%s/%s.dhcp-%s.pid",
		 options->directory, options->node, options->interface);
}

int dhcp_new(const struct dhcp_options *options, struct dhcp **ret_dhcp)
{
	struct dhcp *dhcp = calloc(1, sizeof(*dhcp));

	if (!dhcp)
		return -ENOMEM;
	dhcp->options = *options;
	dhcp->backoff_s = BACKOFF_MIN_S;
	dhcp->retry = evtimer_new(options->base, on_retry, dhcp);
	if (!dhcp->retry) {
		free(dhcp);
		return -ENOMEM;
	}
	name_files(dhcp);
	*ret_dhcp = dhcp;
	return 0;
}

void dhcp_carrier(struct dhcp *dhcp)
{
	if (dhcp->stopped)
		return;
	if (dhcp->child && dhcp->options.program->kind->renew_signal)
		child_signal(dhcp->child, dhcp->options.program->kind->renew_signal);
	else if (!dhcp->child && !event_pending(dhcp->retry, EV_TIMEOUT, NULL))
		start(dhcp);
}

static void on_released(void *arg, int status)
{
	struct dhcp *dhcp = arg;

	(void)status;
	child_free(dhcp->release, 0);
	dhcp->release = NULL;
	if (dhcp->child)
		child_signal(dhcp->child, SIGTERM);
}

static bool start_release(struct dhcp *dhcp)
{
	static const struct child_handler handler = {.said = on_said,
						     .ended = on_released};
	const struct dhcp_kind *kind = dhcp->options.program->kind;
	const char *argv[CONFIG_DHCP_ARGS_MAX + 2];

	if (!kind->release[0])
		return false;
	fill_argv(dhcp, kind->release, argv);
	return run(dhcp, argv, &handler, &dhcp->release) == 0;
}

void dhcp_stop(struct dhcp *dhcp)
{
	if (dhcp->stopped)
		return;
	dhcp->stopped = true;
	event_del(dhcp->retry);
	if (dhcp->child && !start_release(dhcp))
		child_signal(dhcp->child, SIGTERM);
}

bool dhcp_is_running(const struct dhcp *dhcp)
{
	return dhcp->child || dhcp->release;
}

void dhcp_leave(struct dhcp *dhcp)
{
	dhcp->is_left = true;
}

void dhcp_free(struct dhcp *dhcp)
{
	if (!dhcp)
		return;
	child_free(dhcp->release, 0);
	child_free(dhcp->child, 0);
	event_free(dhcp->retry);
	if (!dhcp->is_left)
		dhcp_remove_state(dhcp->options.directory, dhcp->options.node,
				  dhcp->options.interface);
	free(dhcp);
}

void dhcp_remove_state(const char *directory, const char *node, const char *interface)
{
	struct dhcp files = {.options = {.directory = directory,
					 .node = node,
					 .interface = interface}};

	name_files(&files);
	unlink(files.lease_file);
	unlink(files.pid_file);
}
