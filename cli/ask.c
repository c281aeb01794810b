/*
 * Which socket, and the question: every way in which asking can fail becomes a
 * sentence that names the socket and the remedy. See cli.h.
 */
#include "cli/cli.h"

#include <shmnet/ctl.h>

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX ".sock"

static const char *runtime_dir(void)
{
	const char *dir = getenv("SHMNET_RUNTIME_DIR");

	return dir && *dir ? dir : CLI_RUNTIME_DIR;
}

static int is_socket_name(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return length > strlen(SUFFIX) &&
	       strcmp(entry->d_name + length - strlen(SUFFIX), SUFFIX) == 0;
}

/* Does somebody listen there, or might at least? */
static bool is_alive(const char *path)
{
	struct shmnet_ctl *ctl;
	int rc = shmnet_ctl_open(path, CLI_TIMEOUT_MS, &ctl);

	if (!rc)
		shmnet_ctl_close(ctl);
	return rc != -ECONNREFUSED && rc != -ENOENT;
}

/* Group `gid` of `path` by name; empty if it's root's, which nobody should join. */
static void group_name(const char *path, char *name, size_t size)
{
	struct stat status;
	struct group *group;

	name[0] = '\0';
	if (stat(path, &status) < 0 || status.st_gid == 0)
		return;
	group = getgrgid(status.st_gid);
	if (group)
		snprintf(name, size, "%s", group->gr_name);
}

/* The directory of a socket, or the path itself if it is one. */
static void directory_of(const char *path, char *directory, size_t size)
{
	char copy[PATH_MAX];
	struct stat status;

	snprintf(copy, sizeof(copy), "%s", path);
	if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		snprintf(directory, size, "%s", path);
	else
		snprintf(directory, size, "%s", dirname(copy));
}

static void error_set_permission(struct cli_error *error, const char *path)
{
	char group[64], directory[PATH_MAX];

	directory_of(path, directory, sizeof(directory));
	group_name(path, group, sizeof(group));
	if (!group[0])
		group_name(directory, group, sizeof(group));
	if (group[0])
		cli_error_set(error, CLI_FAILED, "permission",
			      "no permission to use %s; be root or a member of the group "
			      "%s: usermod -aG %s USER",
			      path, group, group);
	else
		cli_error_set(error, CLI_FAILED, "permission",
			      "no permission to use %s; be root, or give %s a group of "
			      "which you are a member",
			      path, directory);
}

static void error_set_no_daemon(struct cli_error *error, const char *what)
{
	cli_error_set(
		error, CLI_NO_DAEMON, "no-daemon",
		"no shmnet-node listens at %s; start one: shmnet-node --config FILE",
		what);
}

/* Sockets in the runtime directory: their names, and the path of the last one. */
struct found {
	unsigned count;
	char names[256];
	char path[PATH_MAX];
};

static void found_add(struct found *found, const char *name, bool only_alive)
{
	size_t used = strlen(found->names);
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", runtime_dir(), name);
	if (only_alive && !is_alive(path))
		return;
	found->count++;
	memcpy(found->path, path, sizeof(path));
	snprintf(found->names + used, sizeof(found->names) - used, " %.*s",
		 (int)(strlen(name) - strlen(SUFFIX)), name);
}

/* Of several, sockets that dead daemons left behind don't count. */
static int found_scan(struct found *found)
{
	struct dirent **entries;
	int count = scandir(runtime_dir(), &entries, is_socket_name, alphasort);

	memset(found, 0, sizeof(*found));
	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		found_add(found, entries[i]->d_name, count > 1);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

void cli_each_socket(void (*each)(const char *node, void *arg), void *arg)
{
	struct dirent **entries;
	int count = scandir(runtime_dir(), &entries, is_socket_name, alphasort);

	for (int i = 0; i < count; i++) {
		char *name = entries[i]->d_name;

		name[strlen(name) - strlen(SUFFIX)] = '\0';
		each(name, arg);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

static int socket_find(char *path, size_t size, struct cli_error *error)
{
	struct found found;
	int rc = found_scan(&found);

	if (rc == -EACCES) {
		error_set_permission(error, runtime_dir());
	} else if (found.count == 0) {
		snprintf(path, size, "%s/*" SUFFIX, runtime_dir());
		error_set_no_daemon(error, path);
	} else if (found.count > 1) {
		cli_error_set(error, CLI_USAGE, "usage",
			      "several nodes run here, choose one with -n:%s",
			      found.names);
	} else {
		snprintf(path, size, "%s", found.path);
		return CLI_OK;
	}
	return error->exit;
}

static int socket_choose(const struct cli *cli, char *path, size_t size,
			 struct cli_error *error)
{
	const char *variable = getenv("SHMNET_SOCKET");

	if (cli->socket && *cli->socket) {
		snprintf(path, size, "%s", cli->socket);
	} else if (cli->socket ||
		   (cli->node && (!*cli->node || strchr(cli->node, '/')))) {
		cli_error_set(error, CLI_USAGE, "usage",
			      cli->socket ? "-s wants a path"
					  : "-n wants the name of a node; a path is -s");
		return error->exit;
	} else if (cli->node) {
		snprintf(path, size, "%s/%s" SUFFIX, runtime_dir(), cli->node);
	} else if (variable && *variable) {
		snprintf(path, size, "%s", variable);
	} else {
		return socket_find(path, size, error);
	}
	return CLI_OK;
}

static void error_set_reply(struct cli_error *error, const struct shmnet_ctl *ctl,
			    const char *path)
{
	const char *code = shmnet_ctl_error_code(ctl);

	if (strcmp(code, "permission") == 0)
		error_set_permission(error, path);
	else
		cli_error_set(error, CLI_FAILED, code, "%s: %s", path,
			      shmnet_ctl_error_message(ctl));
}

static void error_set_rc(struct cli_error *error, int rc, const char *path,
			 unsigned timeout_ms)
{
	switch (rc) {
	case -ENOENT:
	case -ECONNREFUSED:
	case -ENOTDIR:
		error_set_no_daemon(error, path);
		break;
	case -EACCES:
	case -EPERM:
		error_set_permission(error, path);
		break;
	case -ENAMETOOLONG:
		cli_error_set(error, CLI_USAGE, "usage",
			      "%s is too long for a Unix socket's path", path);
		break;
	case -ETIMEDOUT:
		cli_error_set(error, CLI_FAILED, "timeout",
			      "%s: no answer within %g s; -T waits longer", path,
			      timeout_ms / 1000.0);
		break;
	case -ECONNRESET:
		cli_error_set(error, CLI_FAILED, "hung-up",
			      "%s: the node hung up without an answer", path);
		break;
	case -EPROTO:
	case -EINVAL:
		cli_error_set(error, CLI_FAILED, "protocol",
			      "%s: what answers there is no shmnet-node that this "
			      "version (" SHMNET_VERSION ") understands",
			      path);
		break;
	default:
		cli_error_set(error, CLI_FAILED, "failed", "%s: %s", path, strerror(-rc));
	}
}

int cli_query(const struct cli *cli, const char *verb, const json_t *request,
	      unsigned timeout_ms, json_t **ret_reply, struct cli_error *ret_error)
{
	struct shmnet_ctl *ctl = NULL;
	char path[PATH_MAX];
	int rc;

	rc = socket_choose(cli, path, sizeof(path), ret_error);
	if (rc)
		return rc;
	rc = shmnet_ctl_open(path, timeout_ms, &ctl);
	if (!rc)
		rc = shmnet_ctl_ask(ctl, verb, request, ret_reply);
	if (rc == -EREMOTEIO)
		error_set_reply(ret_error, ctl, path);
	else if (rc)
		error_set_rc(ret_error, rc, path, timeout_ms);
	shmnet_ctl_close(ctl);
	return rc ? (int)ret_error->exit : CLI_OK;
}

static int ask(const struct cli *cli, const char *verb, const json_t *request,
	       json_t **ret_reply)
{
	struct cli_error error;
	unsigned timeout_ms = cli->timeout_ms ? cli->timeout_ms : CLI_TIMEOUT_MS;

	if (cli_query(cli, verb, request, timeout_ms, ret_reply, &error))
		return cli_report(cli, &error);
	return CLI_OK;
}

int cli_ask(const struct cli *cli, const char *verb, json_t **ret_reply)
{
	return ask(cli, verb, NULL, ret_reply);
}

int cli_ask_and_print(const struct cli *cli, const char *verb, json_t *request,
		      void (*print)(json_t *reply))
{
	json_t *reply;
	int rc;

	if (!request)
		return cli_usage(cli, "%s wants words in UTF-8", verb);
	rc = ask(cli, verb, request, &reply);
	json_decref(request);
	if (rc)
		return rc;
	if (cli->json)
		cli_print_json(reply);
	else
		print(reply);
	json_decref(reply);
	return CLI_OK;
}
