/*
 * Asks FRRouting, by its own shell: a child that talks to the daemons. Every way in which
 * that can fail becomes a sentence with the remedy. See cli.h.
 *
 * What it says is bounded in size and in time: a daemon may be stopped.
 */
#include "cli/cli.h"

#include "cli/child.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRR_DIR "/run/frr"

static const char *frr_dir(const struct cli *cli)
{
	const char *dir = getenv("SHMNET_FRR_DIR");

	if (cli->frr)
		return cli->frr;
	return dir && *dir ? dir : FRR_DIR;
}

/* vtysh says the same of a daemon that does not run and one that it may not ask. */
static int check_socket(const struct cli *cli, struct cli_error *error)
{
	char path[PATH_MAX];

	if (!child_is_installed("vtysh")) {
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
	const char *const argv[] = {"vtysh", "--vty_socket", frr_dir(cli),
				    "-c",    command,	     NULL};
	struct child_reply reply = {.text = NULL};
	json_t *document;
	int ret;

	if (check_socket(cli, ret_error))
		return CLI_FAILED;
	ret = child_run(argv, NULL, timeout_ms, &reply);
	if (ret) {
		set_run_error(ret_error, command, timeout_ms, ret);
		return CLI_FAILED;
	}
	document = json_loadb(reply.text, reply.length, 0, NULL);
	if (!json_is_object(document))
		set_words_error(cli, ret_error, command, reply.text);
	free(reply.text);
	if (!json_is_object(document)) {
		json_decref(document);
		return CLI_FAILED;
	}
	*ret_reply = document;
	return CLI_OK;
}
