/*
 * shmnet-node: arguments, config, and the node's life.
 *
 * Exit status: 0 done, 1 failed, 2 wrong use or wrong config.
 */
#include "base/log.h"
#include "control/config.h"
#include "control/confine.h"
#include "control/kernel_version.h"
#include "control/node.h"
#include "control/wire_range.h"

#include <shmnet/wire.h>

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum action { ACTION_RUN, ACTION_CHECK, ACTION_CLEANUP };

struct arguments {
	enum action action;
	bool takes_over;
	const char *config;
};

#define EXIT_USAGE 2

static const char usage[] =
	"usage: shmnet-node --config FILE [--check | --cleanup | --takeover]\n"
	"                   [--log-level LEVEL]\n"
	"\n"
	"  -c, --config FILE      the node's configuration (YAML)\n"
	"      --check            print every error in it and exit: 0 good, 2 not\n"
	"      --cleanup          remove what a killed node left on this host, and exit\n"
	"      --takeover         go on where the running node of this name ends, which\n"
	"                         it does; without one: start\n"
	"  -l, --log-level LEVEL  error, warning, info (default) or debug\n"
	"      --version          print version and wire version\n"
	"  -h, --help             print this\n";

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"check", no_argument, NULL, 'k'},
	{"cleanup", no_argument, NULL, 'C'},
	{"takeover", no_argument, NULL, 'T'},
	{"version", no_argument, NULL, 'V'},
	{"log-level", required_argument, NULL, 'l'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static void fail_usage(const char *text, const char *value)
{
	if (text)
		fprintf(stderr, "shmnet-node: %s%s\n", text, value);
	fputs(usage, stderr);
	exit(EXIT_USAGE);
}

static void set_log_level(const char *name)
{
	enum log_level level;

	if (log_level_parse(name, &level) < 0)
		fail_usage("no such log level: ", name);
	log_set_level(level);
}

static void set_action(struct arguments *arguments, enum action action)
{
	if (arguments->action != ACTION_RUN && arguments->action != action)
		fail_usage("--check and --cleanup exclude each other", "");
	arguments->action = action;
}

static void handle_option(int option, struct arguments *arguments)
{
	switch (option) {
	case 'c':
		arguments->config = optarg;
		break;
	case 'k':
		set_action(arguments, ACTION_CHECK);
		break;
	case 'C':
		set_action(arguments, ACTION_CLEANUP);
		break;
	case 'T':
		arguments->takes_over = true;
		break;
	case 'l':
		set_log_level(optarg);
		break;
	case 'V':
		printf("shmnet-node %s (wire version %u)\n", SHMNET_VERSION,
		       wire_spoken.max);
		exit(EXIT_SUCCESS);
	case 'h':
		fputs(usage, stdout);
		exit(EXIT_SUCCESS);
	default: /* getopt said what is wrong */
		fail_usage(NULL, NULL);
	}
}

static struct arguments parse_arguments(int argc, char **argv)
{
	struct arguments arguments = {.action = ACTION_RUN};
	int option;

	while ((option = getopt_long(argc, argv, "c:l:h", options, NULL)) != -1)
		handle_option(option, &arguments);
	if (optind < argc)
		fail_usage("unexpected argument: ", argv[optind]);
	if (!arguments.config)
		fail_usage("--config FILE is missing", "");
	if (arguments.takes_over && arguments.action != ACTION_RUN)
		fail_usage("--takeover goes with neither --check nor --cleanup", "");
	return arguments;
}

/* Said at once, before anything is set up, rather than by whatever call fails first. */
static int check_kernel(const struct node_config *config)
{
	char why[256];
	int ret = kernel_version_check(config, why, sizeof(why));

	if (ret < 0)
		log_err("kernel", "%s", why);
	return ret;
}

static int run(struct node_config *config, bool takes_over)
{
	struct node *node = NULL;
	int ret = check_kernel(config);

	if (ret == 0)
		ret = confine(config);
	if (ret == 0)
		ret = takes_over ? node_succeed(config, &node) : node_new(config, &node);
	if (ret < 0)
		return ret;
	ret = node_run(node);
	node_free(node);
	return ret;
}

static int clean_up(struct node_config *config)
{
	int ret = confine_to_owner(config);

	if (ret == 0)
		ret = confine(config);
	return ret < 0 ? ret : node_cleanup(config);
}

int main(int argc, char **argv)
{
	struct arguments arguments = parse_arguments(argc, argv);
	struct node_config *config;
	int ret = config_load(arguments.config, stderr, &config);

	if (ret < 0)
		return EXIT_USAGE;
	if (arguments.action == ACTION_CHECK)
		printf("%s: ok\n", arguments.config);
	else if (arguments.action == ACTION_CLEANUP)
		ret = clean_up(config);
	else
		ret = run(config, arguments.takes_over);
	config_free(config);
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
