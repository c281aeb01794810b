/*
 * shmnet-node: arguments, config, and the node's life.
 *
 * Exit status: 0 done, 1 failed, 2 wrong use or wrong config.
 */
#include "base/log.h"
#include "control/config.h"
#include "control/node.h"

#include <shmnet/wire.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum action { ACTION_RUN, ACTION_CHECK, ACTION_CLEANUP };

struct arguments {
	enum action action;
	const char *config;
};

#define EXIT_USAGE 2

static const char usage[] =
	"usage: shmnet-node --config FILE [--check | --cleanup] [--log-level LEVEL]\n"
	"\n"
	"  -c, --config FILE      the node's configuration (YAML)\n"
	"      --check            print every error in it and exit: 0 good, 2 not\n"
	"      --cleanup          remove what a killed node left on this host, and exit\n"
	"  -l, --log-level LEVEL  error, warning, info (default) or debug\n"
	"      --version          print version and wire version\n"
	"  -h, --help             print this\n";

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"check", no_argument, NULL, 'k'},
	{"cleanup", no_argument, NULL, 'C'},
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
	case 'l':
		set_log_level(optarg);
		break;
	case 'V':
		printf("shmnet-node %s (wire version %d)\n", SHMNET_VERSION,
		       SHMNET_WIRE_VERSION);
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
	return arguments;
}

static int run(const struct node_config *config)
{
	struct node *node;
	int ret = node_new(config, &node);

	if (ret < 0)
		return ret;
	ret = node_run(node);
	node_free(node);
	return ret;
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
		ret = node_cleanup(config);
	else
		ret = run(config);
	config_free(config);
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
