/*
 * What `shmnetctl check` looks at: a config, the machine, and the node that runs, if it
 * does. Each check looks at one thing and says how that is; all of them only read.
 *
 * cmd_check.c has the table of them and prints; check_*.c are what it names. One thread.
 */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "cli/cli.h"
#include "control/config.h"

#include <jansson.h>
#include <net/if.h>
#include <sys/types.h>

struct check {
	const struct cli *cli;
	const char *name; /* of what is being looked at */
	char *file;	  /* the config's; NULL: not known */
	char *errors;	  /* of the config; NULL: none */
	struct node_config *config;
	const struct config_fabric *rdma; /* NULL: none */

	/* Of the node that runs; NULL and 0: none, or nobody asked it. */
	json_t *status;
	json_t *topology;
	json_t *version;
	pid_t pid; /* 0 also if it isn't in our PID namespace */
	struct cli_error error;

	/* Of check_netns.c. */
	struct netns *netns; /* of the TAPs; NULL: that of the node */
	bool is_hidden;	     /* that one can't be entered */
	char *node_place;
	char *tap_place;

	json_t *results;
};

/*
 * How it is. Words and commands come from text_format() and are taken; the command, in
 * what is wrong always, is for a shell, and may be a sentence where no command mends it.
 */
void check_pass(struct check *check, char *words);
void check_warn(struct check *check, char *words, char *mend);
void check_fail(struct check *check, char *words, char *mend);

/* "systemctl start shmnet-node@n1" */
char *check_restart(const struct check *check);

/* "sudo shmnetctl check /etc/shmnet/n1.yaml", as this one was asked */
char *check_as_root(const struct check *check);

/*
 * check_netns.c. Goes to the network namespace of the node, if it runs in another one,
 * and opens that of the TAPs; what can't be entered is told.
 */
void check_netns_open(struct check *check);
void check_netns_close(struct check *check);

/*
 * What a command starts with that is to mend something where the node, or where its TAPs
 * are: "ip netns exec blue "; "" if that is the namespace that this one was started in.
 */
const char *check_at_node(const struct check *check);
const char *check_at_taps(const struct check *check);

#define CHECK_LINE_SIZE 128

/*
 * check_unit.c: the line of a file of the node's process that begins so, or of ours if
 * there is none; and a property of the unit of that node's name. False: there is no such
 * line, or no such unit.
 */
bool check_read_process(const struct check *check, const char *file, const char *key,
			char ret_line[CHECK_LINE_SIZE]);
bool check_read_unit(const struct check *check, const char *key,
		     char ret_value[CHECK_LINE_SIZE]);

/* check_kernel.c */
void check_kernel(struct check *check);
void check_memfd(struct check *check);
void check_tun(struct check *check);

/* check_rdma.c */
void check_modules(struct check *check);
void check_device(struct check *check);
void check_gid(struct check *check);

/* check_memlock.c */
void check_memlock(struct check *check);

/* check_host.c: in the namespace of the TAPs */
void check_nics(struct check *check);
void check_mtu(struct check *check);
void check_rp_filter(struct check *check);
void check_forwarding(struct check *check);

/* The interface that has the address; "" if none. */
void check_find_netdev(const struct config_endpoint *endpoint,
		       char ret_name[IF_NAMESIZE]);

/* The MTU of an interface of the caller's namespace; 0: there is no such interface. */
unsigned check_get_mtu(const char *interface);

/* check_firewall.c */
void check_firewall(struct check *check);

/* check_certificate.c */
void check_certificate(struct check *check);
void check_key(struct check *check);
void check_clock(struct check *check);

/* check_peers.c: what the node says */
void check_node(struct check *check);
void check_status(struct check *check);
void check_links(struct check *check);
void check_versions(struct check *check);

#endif
