/* What global*.c share. */
#ifndef CONTROL_GLOBAL_INTERNAL_H
#define CONTROL_GLOBAL_INTERNAL_H

#include "control/global.h"
#include "control/nft.h"

#include <stddef.h>

#define GLOBAL_WORDS_MAX 512
#define GLOBAL_STEPS_MAX 12

/* "shmnet/" NODE "/" NETWORK: names have no slash. */
#define GLOBAL_NFT_PREFIX "shmnet/"
#define GLOBAL_NFT_GUARD  "/guard"
#define GLOBAL_NFT_OTHER  "/other"
#define GLOBAL_NFT_MAX                                                                   \
	(sizeof(GLOBAL_NFT_PREFIX GLOBAL_NFT_GUARD) + 2 * CONFIG_NAME_MAX + 1)

#define GLOBAL_CHAIN_MAX (GLOBAL_NFT_MAX + sizeof(GLOBAL_NFT_OTHER) + 16)

/* An interface that packets to the addresses may come by. */
struct global_nic {
	int index;
	uint16_t type;
	char name[IF_NAMESIZE];
	bool is_hooked;
};

struct global {
	struct kernel *kernel;
	struct sysctls *sysctls;
	const char *mark;
	const struct node_config *config;
	const struct config_network *network;
	struct nft *nft;
	char table[GLOBAL_NFT_MAX];
	char hooks[GLOBAL_NFT_MAX + sizeof(GLOBAL_NFT_OTHER)]; /* the table that is ours
								  alone; "": not yet */
	char *guard; /* as nftables listed it after we had made it */
	bool hooks_later;
	bool is_open, has_table;
	bool has_guard, may_have_guard; /* nobody knows after an error */
	unsigned nft_life;		/* whose the table is */
	unsigned ports[2];		/* that were divided; 0: none yet */
	unsigned num_nics;
	struct global_nic *nics;
	char why[GLOBAL_WORDS_MAX]; /* what the last failure was about */
	char words[GLOBAL_STEPS_MAX][GLOBAL_WORDS_MAX]; /* by step; "": it is done */
	char clash[GLOBAL_WORDS_MAX];			/* of the slices of two nodes */
};

/* Returns `error`; global->why has the words. */
int global_fail(struct global *global, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

bool global_has(const struct config_network *network, int family);

/* NULL: the node has no global network of this name. */
const struct config_network *global_find_network(const struct node_config *config,
						 const char *name);

/* The node has a global network with this address. */
bool global_wants(const struct node_config *config, const struct config_address *address);

/*
 * Steps. Each is done again if the host has changed, changes only what is not as it
 * should be, and fails by global_fail().
 */

/* ---- global_rule.c ---- */
int global_check_table(struct global *global);
/* And neighbours. */
int global_set_routes(struct global *global);
int global_set_rules(struct global *global);
void global_remove_routes(struct global *global);
void global_remove_rules(struct global *global);

/* How many were removed. */
int global_sweep_rules(struct kernel *kernel, const struct node_config *config,
		       const char *mark, bool keep);

/* ---- global_nft.c ---- */
int global_set_guard(struct global *global);
void global_remove_guard(struct global *global);
int global_set_nics(struct global *global);
void global_remove_nics(struct global *global);

/* Of an interface that came, changed or went. */
int global_note_nic(struct global *global, const struct kernel_link *link);

/* ---- global_sysctl.c ---- */
int global_check_settings(struct global *global);
int global_set_settings(struct global *global);
int global_check_ports(struct global *global);
int global_set_ports(struct global *global);
int global_set_announce(struct global *global);

#endif
