/*
 * See global.h. What is done is in global_rule.c, global_nft.c and global_sysctl.c; this
 * file knows the order, and keeps the words of what could not be done.
 */
#include "control/global.h"

#include "base/log.h"
#include "control/global_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `undo` comes in reverse order, and also after an `ensure` that failed. */
struct step {
	const char *name;
	int (*ensure)(struct global *global);
	void (*undo)(struct global *global);
	bool may_wait; /* the network is of use without it: the start goes on */
};

/* From top to bottom; the first ones before the port has its addresses. */
static const struct step steps[] = {
	{"settings of the host", global_check_settings, NULL, false},
	{"table", global_check_table, NULL, false},
#define STEPS_LOOKING 2
	{"guard", global_set_guard, global_remove_guard, false},
#define STEPS_EARLY 3
	{"settings", global_set_settings, NULL, false},
	{"announce", global_set_announce, NULL, true},
	{"routes", global_set_routes, global_remove_routes, false},
	{"rules", global_set_rules, global_remove_rules, false},
	{"ports", global_set_ports, NULL, false},
	{"interfaces", global_set_nics, global_remove_nics, true},
};
#define NUM_STEPS (sizeof(steps) / sizeof(steps[0]))
#define STEP_NICS (NUM_STEPS - 1)

_Static_assert(NUM_STEPS <= GLOBAL_STEPS_MAX, "room for the words of each step");

int global_fail(struct global *global, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(global->why, sizeof(global->why), format, args);
	va_end(args);
	return error;
}

const struct config_network *global_find_network(const struct node_config *config,
						 const char *name)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		const struct config_network *network = &config->networks[i];

		if (network->kind == NETWORK_KIND_GLOBAL &&
		    strcmp(network->name, name) == 0)
			return network;
	}
	return NULL;
}

/* A change is news, a state is not. */
static void keep_words(struct global *global, size_t step, int error)
{
	char *words = global->words[step];

	if (error && strcmp(words, global->why) != 0)
		log_warn(global->network->name, "%s", global->why);
	else if (!error && words[0])
		log_info(global->network->name, "mended: %s", words);
	snprintf(words, GLOBAL_WORDS_MAX, "%s", error ? global->why : "");
}

/* Of a start: the first that fails ends it. */
static int do_steps(struct global *global, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		int error = steps[i].ensure(global);

		if (error && !steps[i].may_wait) {
			log_err(global->network->name, "%s", global->why);
			return error;
		}
		keep_words(global, i, error);
	}
	return 0;
}

static void undo_steps(struct global *global, size_t from, size_t to)
{
	for (size_t i = to; i > from; i--) {
		if (steps[i - 1].undo)
			steps[i - 1].undo(global);
	}
}

int global_new(const struct global_options *options, struct global **ret_global)
{
	struct global *global = calloc(1, sizeof(*global));
	int error;

	if (!global)
		return -ENOMEM;
	global->kernel = options->kernel;
	global->sysctls = options->sysctls;
	global->mark = options->mark;
	global->config = options->config;
	global->network = options->network;
	global->hooks_later = options->hooks_later;
	snprintf(global->table, sizeof(global->table), GLOBAL_NFT_PREFIX "%s/%s",
		 options->config->name, options->network->name);
	error = nft_open(kernel_netns(options->kernel), &global->nft);
	if (error) {
		log_err(options->network->name, "can't talk to nftables: %s",
			strerror(-error));
		global_free(global);
		return error;
	}
	*ret_global = global;
	return 0;
}

int global_check_host(struct global *global)
{
	int error = do_steps(global, 0, STEPS_LOOKING);

	if (error)
		return error;
	error = global_check_ports(global);
	if (error)
		log_err(global->network->name, "%s", global->why);
	return error;
}

int global_prepare(struct global *global)
{
	return do_steps(global, 0, STEPS_EARLY);
}

int global_open(struct global *global)
{
	global->is_open = true;
	return do_steps(global, STEPS_EARLY, NUM_STEPS - global->hooks_later);
}

/* --- while it runs --- */

static void check_step(struct global *global, size_t step)
{
	keep_words(global, step, steps[step].ensure(global));
}

static bool is_tap_of_ours(const struct global *global, const char *name)
{
	const struct node_config *config = global->config;

	for (unsigned i = 0; i < config->num_networks; i++) {
		if (strcmp(config->networks[i].tap, name) == 0)
			return true;
	}
	return false;
}

static bool is_announced_on(const struct global *global, const char *name)
{
	const char *nic = config_announce_nic(global->network);

	return nic && strcmp(nic, name) == 0;
}

void global_hook(struct global *global)
{
	global->hooks_later = false;
	check_step(global, STEP_NICS);
}

/* If there are words, they may be about another interface than this one. */
static void check_nic(struct global *global, const struct kernel_link *link)
{
	if (global_note_nic(global, link) < 0 || global->words[STEP_NICS][0])
		check_step(global, STEP_NICS);
}

void global_check(struct global *global, const struct kernel_link *link)
{
	if (!global->is_open)
		return;
	if (link && !global->hooks_later)
		check_nic(global, link);
	if (link && !is_tap_of_ours(global, link->name) &&
	    !is_announced_on(global, link->name))
		return;
	for (size_t i = 0; i < NUM_STEPS; i++) {
		if (i != STEP_NICS || (!link && !global->hooks_later))
			check_step(global, i);
	}
}

unsigned global_each_reason(const struct global *global,
			    void (*each)(const char *words, void *arg), void *arg)
{
	unsigned num = 0;

	for (size_t i = 0; i <= NUM_STEPS; i++) {
		const char *words = i < NUM_STEPS ? global->words[i] : global->clash;

		if (!words[0])
			continue;
		num++;
		if (each)
			each(words, arg);
	}
	return num;
}

/* --- the end --- */

void global_close(struct global *global)
{
	if (global->is_open)
		undo_steps(global, STEPS_EARLY, NUM_STEPS);
	global->is_open = false;
}

/* One that a killed node has left and this one not taken over, or not removed. */
static bool has_port(const struct global *global)
{
	struct kernel_link link;

	return kernel_get_link(global->kernel, global->network->tap, &link) == 0;
}

void global_free(struct global *global)
{
	if (!global)
		return;
	if (!has_port(global))
		undo_steps(global, 0, STEPS_EARLY);
	nft_close(global->nft);
	free(global->guard);
	free(global->nics);
	free(global);
}

int global_sweep(struct kernel *kernel, const struct node_config *config,
		 const char *mark, bool keep)
{
	int num = global_sweep_rules(kernel, config, mark, keep);

	if (num < 0)
		log_err(NULL, "can't remove the rules of an earlier run: %s",
			kernel_last_error(kernel));
	else if (num > 0)
		log_info(NULL, "removed %d rule%s of an earlier run", num,
			 num == 1 ? "" : "s");
	return num;
}
