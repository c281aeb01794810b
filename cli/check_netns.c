/*
 * Where what is looked at is: the network namespace of the node that runs, which is gone
 * to, and the one of its TAPs, which is opened. And how a command starts that is run from
 * here and mends something there. See check.h.
 *
 * Changes nothing but the namespace of this process, once.
 */
#include "cli/check.h"

#include "base/netns.h"
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN "/proc/self/ns/net"

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* A node that was started in another network namespace has its interfaces there. */
static void enter_node(struct check *check, const struct stat *home)
{
	struct stat theirs;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)check->pid);
	check->name = "namespace";
	fd = stat(path, &theirs) < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && is_same(&theirs, home)) {
		close(fd);
		return;
	}
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		check_warn(check,
			   text_format("which network namespace the node is in can't be "
				       "seen, so this one is looked at: %s",
				       strerror(errno)),
			   text_format("sudo shmnetctl -n %s check",
				       text_get(check->status, "node")));
	else
		check->node_place = text_format("nsenter --net=%s ", path);
	if (fd >= 0)
		close(fd);
}

/* NULL: it is where we were, or there is none. */
static char *place_of(const char *netns, const struct stat *home)
{
	const bool is_path = *netns == '/';
	char *file = text_format("%s%s", is_path ? "" : NETNS_DIR "/", netns);
	char *word = text_quote(netns), *place = NULL;
	struct stat there;

	if (stat(file, &there) == 0 && !is_same(&there, home))
		place = text_format(is_path ? "nsenter --net=%s " : "ip netns exec %s ",
				    word);
	free(file);
	free(word);
	return place;
}

/* What can't be entered is said; then nothing of it is looked at. */
static void open_netns(struct check *check)
{
	char why[NETNS_ERROR_MAX];
	int err;

	check->name = "netns";
	err = netns_open(check->config->netns, &check->netns, why, sizeof(why));
	check->is_hidden = err != 0;
	if (err == -EPERM || err == -EACCES)
		check_warn(check, text_format("%s", why), check_as_root(check));
	else if (err)
		check_fail(check, text_format("%s", why),
			   text_format("ip netns add %s", check->config->netns));
}

void check_netns_open(struct check *check)
{
	struct stat home;

	if (stat(OWN, &home) < 0)
		memset(&home, 0, sizeof(home));
	else if (check->pid)
		enter_node(check, &home);
	if (!check->config || !check->config->netns)
		return;
	check->tap_place = place_of(check->config->netns, &home);
	open_netns(check);
}

void check_netns_close(struct check *check)
{
	netns_close(check->netns);
	free(check->node_place);
	free(check->tap_place);
}

const char *check_at_node(const struct check *check)
{
	return check->node_place ? check->node_place : "";
}

const char *check_at_taps(const struct check *check)
{
	if (check->config && check->config->netns)
		return check->tap_place ? check->tap_place : "";
	return check_at_node(check);
}
