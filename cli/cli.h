/*
 * What the files of shmnetctl share: the commands' table, the options, asking
 * the node, failing.
 *
 * A command asks, gets a json_t, and prints it as JSON or renders text from it:
 * both show one model. One thread; memory that runs out ends the program.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLI_RUNTIME_DIR	    "/run/shmnet"
#define CLI_TIMEOUT_MS	    5000
#define CLI_WAIT_TIMEOUT_MS 30000

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2, /* or config */
	CLI_NO_DAEMON = 3,
	CLI_DEGRADED = 4,
};

struct cli {
	const struct cli_command *commands; /* ends with a NULL name */
	const char *node;
	const char *socket;
	bool json;
	bool help;
	bool version;
	unsigned timeout_ms; /* 0: not given */

	/* Of single commands. */
	const char *format;
	const char *wait;
	bool drops;
	bool follow;
	unsigned count;	      /* 0: not given */
	unsigned interval_ms; /* 0: not given */
	const char *second;   /* the second argument, or NULL */
	const char *third;
	const char *network;
	bool established;
	const char *dir;
	const char *cluster;
	unsigned days; /* 0: not given */
	const char *frr;
	bool pre;
};

enum cli_value { CLI_FLAG, CLI_WORD, CLI_SECONDS, CLI_NUMBER };

/* Where an option's value goes: a bool, const char * or unsigned of struct cli. */
struct cli_option {
	const char *name; /* NULL ends a list */
	char letter;	  /* 0: none */
	enum cli_value type;
	size_t offset;
	const char *argument;	  /* its name in the help text */
	const char *const *words; /* what a CLI_WORD may be, NULL-terminated; or NULL */
	const char *help;
};

/* Of the verbs about global networks. */
#define CLI_OPTION_NETWORK                                                               \
	{                                                                                \
		"network", 0, CLI_WORD, offsetof(struct cli, network), "NETWORK", NULL,  \
			"of this network only"                                           \
	}

/* What a command's argument may name. */
enum cli_names {
	CLI_NAMES_NONE,
	CLI_NAMES_COMMANDS,
	CLI_NAMES_NETWORKS,
	CLI_NAMES_NODES,
	CLI_NAMES_KEYS, /* what keygen makes */
	CLI_NAMES_PROTOCOLS,
};

/* Drives the parser, the help text and completion. */
struct cli_command {
	const char *name;
	const char *summary;
	const struct cli_option *options; /* or NULL */
	const char *argument;		  /* takes one, optional; or NULL */
	int (*run)(struct cli *cli, const char *argument); /* an enum cli_exit */
	enum cli_names names;				   /* what is completed */
	const char *second; /* takes one more, as the help has it */
	enum cli_names second_names;
	const char *third;   /* likewise */
	const char *details; /* of its help, or NULL; ends with a newline */
};

struct cli_error {
	enum cli_exit exit;
	char code[32]; /* a word for programs */
	char message[512];
};

/* options.c */

extern const struct cli_option cli_common_options[]; /* of every command */

/*
 * Reads options and command; *ret_argument is the command's argument or NULL. On
 * CLI_OK the command is to be run, on anything else the error has been printed.
 */
int cli_parse(struct cli *cli, int argc, char **argv,
	      const struct cli_command **ret_command, const char **ret_argument);

/* The help text, of one command if it isn't NULL. */
void cli_help_print(const struct cli *cli, const struct cli_command *command, FILE *out);
int cli_run_help(struct cli *cli, const char *argument);

/* ask.c */

/*
 * Asks the node that the options name; `request` has the verb's parameters or is NULL.
 * Waits `timeout_ms`. Returns 0 or, with *ret_error set, an enum cli_exit; prints
 * nothing.
 */
int cli_query(const struct cli *cli, const char *verb, const json_t *request,
	      unsigned timeout_ms, json_t **ret_reply, struct cli_error *ret_error);

/* The same with the options' time-out, and an error is printed. */
int cli_ask(const struct cli *cli, const char *verb, json_t **ret_reply);

/*
 * Likewise with parameters, and prints the reply: with `print`, or as it is if the
 * options ask for JSON. Takes `request`, NULL if the words in it were no UTF-8.
 */
int cli_ask_and_print(const struct cli *cli, const char *verb, json_t *request,
		      void (*print)(json_t *reply));

/* The nodes that have a socket in the runtime directory, whether they live or not. */
void cli_each_socket(void (*each)(const char *node, void *arg), void *arg);

/* vtysh.c */

/*
 * What FRRouting says to a command that gives an object of JSON, within the options'
 * time-out. Returns 0 or, with *ret_error set, an enum cli_exit; prints nothing.
 */
int cli_ask_vtysh(const struct cli *cli, const char *command, json_t **ret_reply,
		  struct cli_error *ret_error);

/* complete.c */

/* Prints what bash may complete the line in COMP_LINE with; an enum cli_exit. */
int cli_complete(struct cli *cli);

/* man.c: the manual page */

void cli_man_print(const struct cli *cli, FILE *out);

/* fail.c */

void cli_error_set(struct cli_error *error, enum cli_exit exit, const char *code,
		   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Text on stderr, or a JSON document on stdout; returns the exit status. */
int cli_report(const struct cli *cli, const struct cli_error *error);
int cli_usage(const struct cli *cli, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Prints the document; returns CLI_OK. */
int cli_print_json(const json_t *document);

/* The member of a list of words that `word` may be a slip of, or NULL. */
const char *cli_nearest(const char *word, const char *const *words);

/* cmd_list.c: tables that several commands show, of what text_clean_json() cleaned */

void cli_print_networks(const json_t *list);
void cli_print_nodes(const json_t *list);
void cli_print_fabrics(const json_t *list);
void cli_print_seeds(const json_t *list);

/* topology_dot.c */

void cli_print_topology_dot(json_t *topology);

/* cmd_*.c */

extern const struct cli_option cli_status_options[];
extern const struct cli_option cli_topology_options[];
extern const struct cli_option cli_stats_options[];
extern const struct cli_option cli_events_options[];
extern const struct cli_option cli_ping_options[];
extern const struct cli_option cli_flows_options[];
extern const struct cli_option cli_listeners_options[];
extern const struct cli_option cli_explain_options[];
extern const struct cli_option cli_drain_options[];
extern const struct cli_option cli_neighbors_options[];
extern const struct cli_option cli_keygen_options[];
extern const struct cli_option cli_check_options[];

int cli_run_status(struct cli *cli, const char *argument);
int cli_run_topology(struct cli *cli, const char *argument);
int cli_run_networks(struct cli *cli, const char *argument);
int cli_run_nodes(struct cli *cli, const char *argument);
int cli_run_rings(struct cli *cli, const char *argument);
int cli_run_stats(struct cli *cli, const char *argument);
int cli_run_events(struct cli *cli, const char *argument);
int cli_run_ping(struct cli *cli, const char *argument);
int cli_run_flows(struct cli *cli, const char *argument);
int cli_run_listeners(struct cli *cli, const char *argument);
int cli_run_explain(struct cli *cli, const char *argument);
int cli_run_drain(struct cli *cli, const char *argument);
int cli_run_undrain(struct cli *cli, const char *argument);
int cli_run_reload(struct cli *cli, const char *argument);
int cli_run_pause(struct cli *cli, const char *argument);
int cli_run_resume(struct cli *cli, const char *argument);
int cli_run_neighbors(struct cli *cli, const char *argument);
int cli_run_keygen(struct cli *cli, const char *argument);
int cli_run_check(struct cli *cli, const char *argument);
int cli_run_version(struct cli *cli, const char *argument);

#endif
