/*
 * What the kernel needs for a global network: packets to its addresses go to the port's
 * TAP, whether they come from a NIC or from a program of this host; what the node
 * writes into the TAP is delivered here.
 *
 * Owns tables of nftables, rules, routes, neighbours and settings of the kernel, from
 * making them to leaving nothing behind. Moves no packet and knows no flow. Says in the
 * log what is wrong, with the remedy, and returns -errno. Control thread.
 *
 * In this order:
 *
 *	global_sweep()		rules that a killed node left and this config doesn't want
 *	global_new(), global_prepare()
 *				before the port has its addresses
 *	global_open()		when all ports of the node are there
 *	global_sweep_guards()	when those are gone that the config doesn't want
 *	global_check() ...	when the host changed, and now and then
 *	global_close()		while the ports are still there
 *	global_free()		when they are gone
 */
#ifndef CONTROL_GLOBAL_H
#define CONTROL_GLOBAL_H

#include "control/config.h"
#include "control/kernel.h"
#include "control/sysctl.h"

#include <stdbool.h>
#include <stdint.h>

/* Rules and routes, and the mark on all that the kernel lets us put one on. */
#define GLOBAL_TABLE	83
#define GLOBAL_PROTOCOL 83

struct global;

/* All of it outlives the handle. */
struct global_options {
	struct kernel *kernel;
	struct sysctls *sysctls; /* of the node: one file for all its networks */
	const char *mark;	 /* of the node's TAPs */
	const struct node_config *config;
	const struct config_network *network;
	bool hooks_later; /* packets come from NICs from global_hook() on */
};

int global_new(const struct global_options *options, struct global **ret_global);

/* Would the next one refuse the host, or global_open() its ports? Changes nothing. */
int global_check_host(struct global *global);

/*
 * Refuses a host that contradicts it: -EBUSY, -EINVAL. From here on no packet to an
 * address of the network reaches this host's own sockets but through the port.
 */
int global_prepare(struct global *global);

/* On failure call global_close() as well. */
int global_open(struct global *global);

/* For as long as another process does it, it need not be done by this one. */
void global_hook(struct global *global);

/* `link` changed; NULL: look at all. What is wrong then is a reason, and mended later. */
void global_check(struct global *global, const struct kernel_link *link);

/* Ids of other live nodes of the network: two in one slice of ports are a reason. */
void global_set_peers(struct global *global, const uint16_t *ids, unsigned num);

/* What is wrong now, in words. Returns how many. `each` may be NULL. */
unsigned global_each_reason(const struct global *global,
			    void (*each)(const char *words, void *arg), void *arg);

/*
 * Local programs and NICs are as before. The settings of the kernel are for the caller to
 * set back, by sysctls_restore().
 */
void global_close(struct global *global);

/* If the port stays for the next start, its addresses stay silent. Accepts NULL. */
void global_free(struct global *global);

/*
 * Removes what a killed node of this name left. With `keep` only that which this
 * config does not want: the rest is taken over without ever being absent. The rules come
 * first, while the node's TAPs are there, which say whose they are; returns how many
 * there were. The guards stay until the addresses are gone with the TAPs.
 */
int global_sweep(struct kernel *kernel, const struct node_config *config,
		 const char *mark, bool keep);
int global_sweep_guards(struct kernel *kernel, const struct node_config *config,
			bool keep);

/*
 * The ports `slot` of `slots` has of first..last: disjoint and of one size. -ERANGE if
 * they are too few.
 */
int global_slice(unsigned first, unsigned last, unsigned slots, unsigned slot,
		 unsigned *ret_first, unsigned *ret_last);

#endif
