/*
 * shmnetctl keygen: a CA for a cluster, and certificates of its nodes. Asks no node;
 * cert.c does the work. See cli.h.
 */
#include "cli/cli.h"

#include "cli/cert.h"
#include "cli/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DAY	    86400
#define CA_DAYS	    3650
#define NODE_DAYS   730
#define DAYS_MAX    36500
#define EARLIER_SEC 3600 /* clocks of machines differ */
#define DATE_SIZE   16
#define CLUSTER	    "default" /* as in the config of a node */
#define WHAT	    "keygen wants 'ca' or 'node NAME'"

const struct cli_option cli_keygen_options[] = {
	{"dir", 'd', CLI_WORD, offsetof(struct cli, dir), "DIR", NULL,
	 "where the files are, or go"},
	{"cluster", 0, CLI_WORD, offsetof(struct cli, cluster), "NAME", NULL,
	 "ca: of the cluster (" CLUSTER ")"},
	{"days", 0, CLI_NUMBER, offsetof(struct cli, days), "DAYS", NULL,
	 "until it expires (ca 3650; node 730)"},
	{NULL, 0, CLI_FLAG, 0, NULL, NULL, NULL},
};

/* The two files of one certificate. */
struct names {
	char *certificate;
	char *key;
};

static void names_init(struct names *names, const char *dir, const char *name)
{
	names->certificate = text_format("%s/%s.crt", dir, name);
	names->key = text_format("%s/%s.key", dir, name);
}

static void names_done(struct names *names)
{
	free(names->certificate);
	free(names->key);
}

static struct cert_files files_of(const struct names *names)
{
	return (struct cert_files){names->certificate, names->key};
}

static int fail(const struct cli *cli, const char *words)
{
	struct cli_error error;

	cli_error_set(&error, CLI_FAILED, "keygen", "%s", words);
	return cli_report(cli, &error);
}

/* ---- what was made ---- */

static void show_text(const struct names *names, const struct cert_spec *spec,
		      const char *until)
{
	if (spec->node)
		printf("node %s of cluster %s, until %s\n", spec->node, spec->cluster,
		       until);
	else
		printf("CA of cluster %s, until %s\n", spec->cluster, until);
	printf("  certificate  %s\n  key          %s\n", names->certificate, names->key);
}

/* A path that is no UTF-8 can't be told. */
static json_t *path_json(const char *path)
{
	json_t *string = json_string(path);

	return string ? string : json_null();
}

static int show(const struct cli *cli, const struct names *names,
		const struct cert_spec *spec)
{
	char until[DATE_SIZE];
	json_t *document;
	struct tm tm;

	strftime(until, sizeof(until), "%Y-%m-%d", gmtime_r(&spec->until, &tm));
	if (!cli->json) {
		show_text(names, spec, until);
		return CLI_OK;
	}
	document = json_pack("{s:i, s:s, s:s?, s:s, s:o, s:o}", "schema", 1, "cluster",
			     spec->cluster, "node", spec->node, "until", until,
			     "certificate", path_json(names->certificate), "key",
			     path_json(names->key));
	cli_print_json(document);
	json_decref(document);
	return CLI_OK;
}

/* ---- making it ---- */

static int make_dir(const struct cli *cli)
{
	char words[CERT_ERROR_MAX];

	if (mkdir(cli->dir, 0700) == 0 || errno == EEXIST)
		return CLI_OK;
	snprintf(words, sizeof(words), "can't make the directory %s: %s", cli->dir,
		 strerror(errno));
	return fail(cli, words);
}

/* `name`: of the files. */
static int make(const struct cli *cli, const struct cert_spec *spec,
		const struct cert *ca, const char *name)
{
	char words[CERT_ERROR_MAX];
	struct cert_files files;
	struct names names;
	struct cert *cert;
	int rc;

	if (cert_new(spec, ca, &cert) < 0)
		return fail(cli, "can't make a certificate: out of memory");
	names_init(&names, cli->dir, name);
	files = files_of(&names);
	if (cert_write(cert, &files, words, sizeof(words)) < 0)
		rc = fail(cli, words);
	else
		rc = show(cli, &names, spec);
	names_done(&names);
	cert_free(cert);
	return rc;
}

static void set_times(const struct cli *cli, struct cert_spec *spec, unsigned days)
{
	time_t now = time(NULL);

	spec->from = now - EARLIER_SEC;
	spec->until = now + (time_t)(cli->days ? cli->days : days) * DAY;
}

static int keygen_ca(const struct cli *cli)
{
	struct cert_spec spec = {.cluster = cli->cluster ? cli->cluster : CLUSTER};
	int rc;

	if (!name_is_valid(spec.cluster))
		return cli_usage(cli,
				 "a cluster's name has 1 to %d letters, digits, '.', '_' "
				 "and '-', not '%s'",
				 NAME_SIZE - 1, spec.cluster);
	set_times(cli, &spec, CA_DAYS);
	rc = make_dir(cli);
	return rc ? rc : make(cli, &spec, NULL, "ca");
}

static int read_ca(const struct cli *cli, struct cert **ret_ca, char cluster[NAME_SIZE])
{
	char words[CERT_ERROR_MAX];
	struct cert_files files;
	struct names names;
	int rc = CLI_OK;

	names_init(&names, cli->dir, "ca");
	files = files_of(&names);
	if (cert_read_ca(&files, ret_ca, words, sizeof(words)) < 0) {
		rc = fail(cli, words);
	} else if (cert_get_cluster(*ret_ca, cluster) < 0) {
		snprintf(words, sizeof(words),
			 "%s names no cluster; was it made by shmnetctl keygen ca?",
			 names.certificate);
		cert_free(*ret_ca);
		rc = fail(cli, words);
	}
	names_done(&names);
	return rc;
}

/* A node's would end with the CA's, only less clearly. */
static int check_until(const struct cli *cli, const struct cert_spec *spec,
		       const struct cert *ca)
{
	char words[CERT_ERROR_MAX];
	long long days = (long long)(cert_get_until(ca) - time(NULL)) / DAY;

	if (spec->until <= cert_get_until(ca))
		return CLI_OK;
	if (days < 1)
		snprintf(words, sizeof(words),
			 "the CA in %s has expired, or does within a day; make a new one",
			 cli->dir);
	else
		snprintf(words, sizeof(words),
			 "the CA in %s expires before that: --days can be %lld at most",
			 cli->dir, days);
	return fail(cli, words);
}

static int keygen_node(const struct cli *cli, const char *name)
{
	char cluster[NAME_SIZE];
	struct cert_spec spec = {.cluster = cluster, .node = name};
	struct cert *ca;
	int rc;

	if (!name_is_valid(name))
		return cli_usage(
			cli,
			"a node's name has 1 to %d letters, digits, '.', '_' and "
			"'-', not '%s'",
			NAME_SIZE - 1, name);
	if (strcmp(name, "ca") == 0)
		return cli_usage(cli,
				 "the files of a node 'ca' would be those of the CA");
	if (cli->cluster)
		return cli_usage(cli, "the cluster of a node is that of its CA: no "
				      "--cluster here");
	rc = read_ca(cli, &ca, cluster);
	if (rc)
		return rc;
	set_times(cli, &spec, NODE_DAYS);
	rc = check_until(cli, &spec, ca);
	if (!rc)
		rc = make(cli, &spec, ca, name);
	cert_free(ca);
	return rc;
}

int cli_run_keygen(struct cli *cli, const char *argument)
{
	bool is_ca = argument && strcmp(argument, "ca") == 0;

	if (!argument)
		return cli_usage(cli, WHAT "; see shmnetctl help keygen");
	if (!is_ca && strcmp(argument, "node") != 0)
		return cli_usage(cli, WHAT ", not '%s'", argument);
	if (is_ca && cli->second)
		return cli_usage(cli, "unexpected argument '%s' after keygen ca",
				 cli->second);
	if (!is_ca && !cli->second)
		return cli_usage(cli, "keygen node wants the name of the node");
	if (!cli->dir)
		return cli_usage(cli, "keygen wants --dir DIR");
	if (cli->days > DAYS_MAX)
		return cli_usage(cli, "--days wants a number from 1 to %d, not '%u'",
				 DAYS_MAX, cli->days);
	return is_ca ? keygen_ca(cli) : keygen_node(cli, cli->second);
}
