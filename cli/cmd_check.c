/*
 * check: whether all that a node needs is there, and what mends it where it is not. See
 * cli.h and check.h.
 *
 * Which config: the one that is named, that of the node that runs, or the one of that
 * name in /etc/shmnet. Which host: the one whose TAPs the node has.
 */
#include "cli/check.h"

#include "base/netns.h"
#include "cli/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_DIR    "/etc/shmnet"
#define CONFIG_SUFFIX ".yaml"
#define NAME_WIDTH    12

const struct cli_option cli_check_options[] = {
	{"pre", 0, CLI_FLAG, offsetof(struct cli, pre), NULL, NULL,
	 "before the node runs: it is not asked"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

/* What a check needs, or it is left out. */
enum {
	NEEDS_CONFIG = 1 << 0,
	NEEDS_NODE = 1 << 1, /* that it answered */
	NEEDS_RDMA = 1 << 2, /* a fabric of that kind */
	IN_NETNS = 1 << 3,   /* it is done where the TAPs are */
	NOT_BEFORE = 1 << 4, /* not with --pre */
};

static void check_config(struct check *check);

static const struct {
	const char *name;
	void (*look)(struct check *check);
	unsigned flags;
} checks[] = {
	{"config", check_config, 0},
	{"kernel", check_kernel, NEEDS_CONFIG},
	{"memory", check_memfd, NEEDS_CONFIG},
	{"tun", check_tun, NEEDS_CONFIG},
	{"modules", check_modules, NEEDS_CONFIG | NEEDS_RDMA},
	{"device", check_device, NEEDS_CONFIG | NEEDS_RDMA},
	{"gid", check_gid, NEEDS_CONFIG | NEEDS_RDMA},
	{"memlock", check_memlock, NEEDS_CONFIG | NEEDS_RDMA},
	{"nics", check_nics, NEEDS_CONFIG | IN_NETNS},
	{"mtu", check_mtu, NEEDS_CONFIG | IN_NETNS},
	{"rp_filter", check_rp_filter, NEEDS_CONFIG | IN_NETNS},
	{"forwarding", check_forwarding, NEEDS_CONFIG | IN_NETNS},
	{"firewall", check_firewall, NEEDS_CONFIG | NEEDS_RDMA},
	{"certificate", check_certificate, NEEDS_CONFIG | NEEDS_RDMA},
	{"key", check_key, NEEDS_CONFIG | NEEDS_RDMA},
	{"clock", check_clock, NEEDS_CONFIG},
	{"node", check_node, NOT_BEFORE},
	{"status", check_status, NEEDS_NODE},
	{"links", check_links, NEEDS_NODE},
	{"versions", check_versions, NEEDS_NODE},
};

/* ---- results ---- */

static void add(struct check *check, const char *result, char *words, char *mend)
{
	json_t *row = json_pack("{s:s, s:s}", "name", check->name, "result", result);

	text_clean(words);
	json_object_set_new(row, "text", text_to_json(words));
	if (mend) {
		text_clean(mend);
		json_object_set_new(row, "mend", text_to_json(mend));
	}
	json_array_append_new(check->results, row);
	free(words);
	free(mend);
}

void check_pass(struct check *check, char *words)
{
	add(check, "pass", words, NULL);
}

void check_warn(struct check *check, char *words, char *mend)
{
	add(check, "warn", words, mend);
}

void check_fail(struct check *check, char *words, char *mend)
{
	add(check, "fail", words, mend);
}

char *check_restart(const struct check *check)
{
	return text_format("systemctl restart shmnet-node@%s",
			   check->config ? check->config->name : "NAME");
}

char *check_as_root(const struct check *check)
{
	return text_format("sudo shmnetctl check %s%s", check->cli->pre ? "--pre " : "",
			   check->file);
}

static unsigned count(const struct check *check, const char *result)
{
	unsigned number = 0;
	json_t *row;
	size_t i;

	json_array_foreach(check->results, i, row) number +=
		strcmp(text_get(row, "result"), result) == 0;
	return number;
}

static const char *worst(const struct check *check)
{
	if (count(check, "fail"))
		return "fail";
	return count(check, "warn") ? "warn" : "pass";
}

/* ---- the config ---- */

/* The first error of several; the file and its place are in it. */
static void check_config(struct check *check)
{
	char *line, *rest = check->errors;

	if (check->config) {
		check_pass(check, text_format("%s is good", check->file));
		return;
	}
	while (rest && (line = strsep(&rest, "\n"))) {
		if (*line)
			check_fail(check, text_format("%s", line),
				   text_format("editor %s", check->file));
	}
}

static void load(struct check *check)
{
	size_t size;
	FILE *errors = open_memstream(&check->errors, &size);

	if (!errors)
		abort();
	config_load(check->file, errors, &check->config);
	fclose(errors);
	if (check->config)
		check->rdma = config_find_fabric(check->config, FABRIC_KIND_RDMA);
}

/* The words of a process's command line, with zeros between and two behind. */
static bool read_command_line(pid_t pid, char *line, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, line, size - 2);
	close(fd);
	if (n <= 0)
		return false;
	line[n] = line[n + 1] = '\0';
	return true;
}

/* What follows --config on the command line of the node, or NULL. */
static char *config_of_process(pid_t pid)
{
	char line[8192], directory[PATH_MAX], path[64];
	const char *word = line, *value = NULL;
	ssize_t n;

	if (!pid || !read_command_line(pid, line, sizeof(line)))
		return NULL;
	for (; *word && !value; word += strlen(word) + 1) {
		if (strcmp(word, "--config") == 0 || strcmp(word, "-c") == 0)
			value = word + strlen(word) + 1;
		else if (strncmp(word, "--config=", 9) == 0)
			value = word + 9;
	}
	if (!value || !*value || *value == '/')
		return value && *value ? text_format("%s", value) : NULL;
	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	n = readlink(path, directory, sizeof(directory) - 1);
	return n > 0 ? text_format("%.*s/%s", (int)n, directory, value) : NULL;
}

/* The only one in the directory, or NULL. */
static char *config_only(void)
{
	DIR *dir = opendir(CONFIG_DIR);
	const struct dirent *entry;
	const size_t suffix = strlen(CONFIG_SUFFIX);
	unsigned number = 0;
	char *file = NULL;

	while (dir && (entry = readdir(dir))) {
		size_t length = strlen(entry->d_name);

		if (length <= suffix ||
		    strcmp(entry->d_name + length - suffix, CONFIG_SUFFIX) != 0)
			continue;
		number++;
		free(file);
		file = text_format(CONFIG_DIR "/%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (number == 1)
		return file;
	free(file);
	return NULL;
}

static void find_config(struct check *check)
{
	const char *node =
		check->status ? text_get(check->status, "node") : check->cli->node;

	check->file = config_of_process(check->pid);
	if (!check->file && node)
		check->file = text_format(CONFIG_DIR "/%s" CONFIG_SUFFIX, node);
	if (!check->file)
		check->file = config_only();
}

/* ---- the node ---- */

/* Ours, not that of another PID namespace. */
static bool is_node(pid_t pid)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(name, sizeof(name), file))
		name[0] = '\0';
	fclose(file);
	return strncmp(name, "shmnet-node", strlen("shmnet-node")) == 0;
}

static int ask_node(struct check *check)
{
	const unsigned timeout_ms =
		check->cli->timeout_ms ? check->cli->timeout_ms : CLI_TIMEOUT_MS;
	struct cli_error error;
	int rc = cli_query(check->cli, "status", NULL, timeout_ms, &check->status,
			   &check->error);

	if (rc)
		return rc;
	check->pid = (pid_t)text_get_number(check->status, "pid");
	if (check->pid <= 0 || !is_node(check->pid))
		check->pid = 0;
	if (cli_query(check->cli, "topology", NULL, timeout_ms, &check->topology, &error))
		check->topology = NULL;
	if (cli_query(check->cli, "version", NULL, timeout_ms, &check->version, &error))
		check->version = NULL;
	return CLI_OK;
}

/* Config and node, whichever is known leads to the other. An enum cli_exit. */
static int prepare(struct check *check, struct cli *cli, const char *argument)
{
	char *socket = NULL;
	int rc = CLI_OK;

	if (argument) {
		check->file = text_format("%s", argument);
		load(check);
	}
	if (check->config && !cli->node && !cli->socket)
		cli->socket = socket = text_format(
			"%s/%s.sock", check->config->runtime_dir, check->config->name);
	if (!cli->pre)
		rc = ask_node(check);
	if (socket)
		cli->socket = NULL;
	free(socket);
	if (check->file)
		return rc;
	if (rc == CLI_USAGE)
		return cli_report(cli, &check->error);
	find_config(check);
	if (!check->file)
		return cli_usage(
			cli, "which config? Name the file, or the node by -n: " CONFIG_DIR
			     "/NAME" CONFIG_SUFFIX);
	load(check);
	return rc;
}

/* ---- the host ---- */

static bool is_due(const struct check *check, unsigned flags)
{
	if (flags & NEEDS_CONFIG && !check->config)
		return false;
	if (flags & NEEDS_NODE && !check->status)
		return false;
	if (flags & NEEDS_RDMA && !check->rdma)
		return false;
	return !(flags & NOT_BEFORE && check->cli->pre);
}

static void look(struct check *check)
{
	check_netns_open(check);
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		const bool inside = checks[i].flags & IN_NETNS;

		check->name = checks[i].name;
		if (!is_due(check, checks[i].flags) || (inside && check->is_hidden))
			continue;
		if (inside && netns_enter(check->netns) < 0)
			abort();
		checks[i].look(check);
		if (inside)
			netns_leave(check->netns);
	}
	check_netns_close(check);
}

/* ---- the output ---- */

static void print(const struct check *check)
{
	json_t *row;
	size_t i;

	json_array_foreach(check->results, i, row)
	{
		const char *result = text_get(row, "result");
		enum text_style style = strcmp(result, "pass") == 0   ? TEXT_GOOD
					: strcmp(result, "warn") == 0 ? TEXT_WARN
								      : TEXT_BAD;

		printf("%s%s%s  %-*s %s\n", text_on(style), result, text_off(style),
		       NAME_WIDTH, text_get(row, "name"), text_get(row, "text"));
		if (json_object_get(row, "mend"))
			printf("%*s mend: %s\n", NAME_WIDTH + 6, "",
			       text_get(row, "mend"));
	}
	printf("%u passed, %u warned, %u failed\n", count(check, "pass"),
	       count(check, "warn"), count(check, "fail"));
}

static void print_json(const struct check *check)
{
	json_t *document =
		json_pack("{s:i, s:o, s:o, s:b, s:s, s:O}", "schema", 1, "node",
			  check->config ? json_string(check->config->name) : json_null(),
			  "config", text_to_json(check->file), "pre", check->cli->pre,
			  "result", worst(check), "checks", check->results);

	cli_print_json(document);
	json_decref(document);
}

static void done(struct check *check)
{
	json_decref(check->results);
	json_decref(check->status);
	json_decref(check->topology);
	json_decref(check->version);
	config_free(check->config);
	free(check->errors);
	free(check->file);
}

/* A config with errors comes first, then that no node answers. */
static int exit_of(const struct check *check, int asked)
{
	if (!check->config)
		return CLI_USAGE;
	if (asked)
		return asked;
	return strcmp(worst(check), "pass") == 0 ? CLI_OK : CLI_DEGRADED;
}

int cli_run_check(struct cli *cli, const char *argument)
{
	struct check check = {.cli = cli, .results = json_array()};
	int rc = prepare(&check, cli, argument);

	if (!check.file) {
		done(&check);
		return rc;
	}
	look(&check);
	if (cli->json)
		print_json(&check);
	else
		print(&check);
	rc = exit_of(&check, rc);
	done(&check);
	return rc;
}
