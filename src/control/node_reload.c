/*
 * Loads the config file again while the node runs, by SIGHUP or `shmnetctl reload`, and
 * does what a running node can do about each change. See reload.h for which that is.
 *
 * Theory of operation
 * -------------------
 * There is one config in use, at one place, for as long as the node lives; all its parts
 * point into it and read it when they need a value. It is the control thread's alone: the
 * data plane has copies, and is told. So a change is taken up between two turns of the
 * loop by exchanging one key's value with that of the new config, and telling the part
 * that has to act on it; if that fails the values are exchanged once more. What is left
 * in the new config in the end are the old values, which are freed with it.
 *
 * The file is checked as a whole before anything is touched. Each key is then on its own:
 * what needs a restart, or fails, keeps nothing else from being done. What is in use may
 * so be a mix that stands in no file; where two keys of it exclude each other (an address
 * that is still on another interface) the host says so, and the change fails.
 *
 * A reload is done when this returns, so two can't be under way at the same time; the
 * second one finds what the first one did.
 *
 * It needs what the start needed, so who drops privileges keeps, or a reload fails in
 * words: CAP_NET_ADMIN for addresses, TAPs, rules and routes; CAP_SYS_ADMIN for what is
 * done in node.netns (setns, and a new TAP there); CAP_NET_RAW where a network's
 * addresses are announced; and the right to read the config file, so of a file that is
 * not the daemon's own, CAP_DAC_READ_SEARCH or CAP_DAC_OVERRIDE. System calls: those of
 * the start (openat and read of the file, netlink, ioctl on /dev/net/tun, setns).
 */
#include "control/node_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One that is under way. */
struct reloading {
	struct node *node;
	struct node_config *fresh;
	struct report_reload *report;
	struct reload changes;
};

/* ---- what is done about a change; the value is that of the new config already ---- */

static int apply_spin(struct reloading *self, const struct reload_change *change)
{
	(void)change;
	plane_set_spin(self->node->plane, self->node->config->spin_us);
	return 0;
}

/* Who reads it does so each time. */
static int apply_nothing(struct reloading *self, const struct reload_change *change)
{
	(void)self;
	(void)change;
	return 0;
}

static int apply_uids(struct reloading *self, const struct reload_change *change)
{
	(void)change;
	membership_expel_strangers(self->node->membership);
	return 0;
}

static int apply_seeds(struct reloading *self, const struct reload_change *change)
{
	(void)change;
	return world_event_set_seeds(self->node->world);
}

static int apply_addresses(struct reloading *self, const struct reload_change *change)
{
	struct node *node = self->node;

	return adapter_set_addresses(&node->adapters[change->old], node->kernel);
}

static int apply_dispatch(struct reloading *self, const struct reload_change *change)
{
	dispatch_reconfigure(node_find_dispatch(self->node, change->old));
	return 0;
}

static int apply_announce(struct reloading *self, const struct reload_change *change)
{
	return node_renew_announce(self->node, change->old);
}

static int apply_nics(struct reloading *self, const struct reload_change *change)
{
	(void)change;
	node_renew_routing(self->node);
	return 0;
}

static int apply_add(struct reloading *self, const struct reload_change *change)
{
	return node_add_network(self->node, &self->fresh->networks[change->fresh]);
}

static int apply_remove(struct reloading *self, const struct reload_change *change)
{
	node_remove_network(self->node, change->old);
	return 0;
}

static int (*const parts[RELOAD_PART_NUM_])(struct reloading *self,
					    const struct reload_change *change) = {
	[RELOAD_SPIN] = apply_spin,	      [RELOAD_LIVENESS] = apply_nothing,
	[RELOAD_UIDS] = apply_uids,	      [RELOAD_SEEDS] = apply_seeds,
	[RELOAD_ADDRESSES] = apply_addresses, [RELOAD_DISPATCH] = apply_dispatch,
	[RELOAD_ANNOUNCE] = apply_announce,   [RELOAD_ADD] = apply_add,
	[RELOAD_REMOVE] = apply_remove,	      [RELOAD_NICS] = apply_nics,
	[RELOAD_RENDER] = apply_nothing,
};

/* ---- one change ---- */

static void note(struct reloading *self, const struct reload_change *change,
		 enum report_change_state state, const char *reason)
{
	const char *node = self->node->config->name;
	struct report_change *to = &self->report->changes[self->report->num_changes++];

	REPORT_SET(to->key, change->name);
	REPORT_SET(to->reason, reason);
	to->state = state;
	if (state == REPORT_CHANGE_DONE)
		log_info(node, "reload: %s: done", change->name);
	else if (state == REPORT_CHANGE_NEEDS_RESTART)
		log_warn(node, "reload: %s is as it was: it needs a restart",
			 change->name);
	else
		log_err(node, "reload: %s is as it was: %s", change->name, reason);
}

static int take(struct reloading *self, const struct reload_change *change)
{
	int ret;

	if (!change->key)
		return parts[change->part](self, change);
	reload_swap(self->node->config, self->fresh, change);
	ret = parts[change->part](self, change);
	if (ret == 0)
		return 0;
	reload_swap(self->node->config, self->fresh, change);
	if (change->part == RELOAD_ADDRESSES)
		adapter_restore_addresses(&self->node->adapters[change->old],
					  self->node->kernel);
	return ret;
}

static bool can_change(const struct reloading *self, const struct reload_change *change)
{
	if (change->part == RELOAD_ADD)
		return node_can_change_network(self->node,
					       &self->fresh->networks[change->fresh]);
	if (change->part == RELOAD_REMOVE)
		return node_can_change_network(
			self->node, &self->node->config->networks[change->old]);
	return true;
}

static void do_change(struct reloading *self, const struct reload_change *change)
{
	char why[REPORT_REASON_MAX] = "";
	int ret;

	if (!parts[change->part] || !can_change(self, change)) {
		note(self, change, REPORT_CHANGE_NEEDS_RESTART, NULL);
		return;
	}
	log_keep_error(why, sizeof(why));
	ret = take(self, change);
	log_keep_error(NULL, 0);
	if (ret < 0)
		note(self, change, REPORT_CHANGE_FAILED, *why ? why : strerror(-ret));
	else
		note(self, change, REPORT_CHANGE_DONE, NULL);
}

/*
 * An address that goes from one network to another has to leave before it can come. If
 * the other one fails it is on neither, as the log tells; if its own does, it is back.
 */
static void part_with_address(struct reloading *self, const struct reload_change *change,
			      const struct config_address *address)
{
	const struct config_network *stays = &self->fresh->networks[change->fresh];

	for (unsigned i = 0; i < self->fresh->num_networks; i++) {
		const struct config_network *network = &self->fresh->networks[i];

		if (network != stays && config_has_address(network, address) &&
		    !config_has_address(stays, address))
			adapter_drop_address(&self->node->adapters[change->old],
					     self->node->kernel, address);
	}
}

static void part_with_addresses(struct reloading *self,
				const struct reload_change *change)
{
	const struct config_network *old = &self->node->config->networks[change->old];

	for (unsigned i = 0; i < old->num_addresses; i++)
		part_with_address(self, change, &old->addresses[i]);
}

static void do_part(struct reloading *self, enum reload_part part)
{
	for (unsigned i = 0; i < self->changes.num; i++) {
		if (self->changes.changes[i].part == part)
			do_change(self, &self->changes.changes[i]);
	}
}

/* Networks, and their addresses: peers say if two have the same. */
static bool is_told_to_peers(const struct reloading *self)
{
	for (unsigned i = 0; i < self->changes.num; i++) {
		const enum reload_part part = self->changes.changes[i].part;

		if (part == RELOAD_REMOVE || part == RELOAD_ADDRESSES ||
		    part == RELOAD_ADD)
			return true;
	}
	return false;
}

static void do_all(struct reloading *self)
{
	for (unsigned i = 0; i < self->changes.num; i++) {
		if (self->changes.changes[i].part == RELOAD_ADDRESSES)
			part_with_addresses(self, &self->changes.changes[i]);
	}
	for (unsigned part = 0; part < RELOAD_PART_NUM_; part++)
		do_part(self, (enum reload_part)part);
	if (is_told_to_peers(self))
		membership_tell_networks(self->node->membership);
}

/* ---- the file ---- */

static int count_lines(const char *text)
{
	int lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

/* A file whose every line is wrong is not told of as a whole. */
#define ERRORS_MAX 64

static int take_errors(const struct node *node, char *text, struct report_reload *report)
{
	char *line, *rest = text;

	report->errors = report_list_new((size_t)count_lines(text) + 1, REPORT_ERROR_MAX);
	if (!report->errors)
		return -ENOMEM;
	while ((line = strsep(&rest, "\n")) && report->num_errors < ERRORS_MAX) {
		if (!*line)
			continue;
		log_err(node->config->name, "reload: %s", line);
		report_string_set(report->errors[report->num_errors++], REPORT_ERROR_MAX,
				  line);
	}
	log_err(node->config->name, "reload: nothing was changed, the file is wrong");
	return 0;
}

/* NULL, with errors in the report, if the file is not good. */
static int load(const struct node *node, struct report_reload *report,
		struct node_config **ret_fresh)
{
	char *text = NULL;
	size_t size;
	FILE *errors = open_memstream(&text, &size);
	int ret;

	if (!errors)
		return -ENOMEM;
	*ret_fresh = NULL;
	ret = config_load(node->config->file, errors, ret_fresh);
	if (fclose(errors) != 0 || !text) { /* which memory was short for */
		config_free(*ret_fresh);
		*ret_fresh = NULL;
		ret = -ENOMEM;
	} else if (ret < 0) {
		ret = take_errors(node, text, report);
	}
	free(text);
	return ret;
}

/* ---- the reload ---- */

static unsigned count(const struct report_reload *report, enum report_change_state state)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < report->num_changes; i++)
		sum += report->changes[i].state == state;
	return sum;
}

static void tell(struct node *node, const struct report_reload *report)
{
	const struct events_change change = {
		.level = LOG_LEVEL_INFO,
		.kind = EVENTS_NODE,
		.subject = node->config->name,
		.old = EVENTS_READY,
		.state = EVENTS_RELOADED,
	};

	events_tell(&node->events, clock_now_ns(), &change,
		    "%s: %u done, %u need a restart, %u failed", report->file,
		    count(report, REPORT_CHANGE_DONE),
		    count(report, REPORT_CHANGE_NEEDS_RESTART),
		    count(report, REPORT_CHANGE_FAILED));
}

int node_reload(void *arg, struct report_reload *report)
{
	struct node *node = arg;
	struct reloading *self = calloc(1, sizeof(*self));
	int ret = node->is_stopping ? -ESHUTDOWN : self ? 0 : -ENOMEM;

	REPORT_SET(report->node, node->config->name);
	REPORT_SET(report->file, node->config->file);
	if (ret == 0)
		ret = load(node, report, &self->fresh);
	if (ret < 0 || !self->fresh)
		goto out;
	self->node = node;
	self->report = report;
	reload_diff(node->config, self->fresh, &self->changes);
	report->changes = report_list_new(self->changes.num, sizeof(*report->changes));
	if (report->changes)
		do_all(self);
	if (report->changes && report->num_changes > 0)
		tell(node, report);
	ret = report->changes ? 0 : -ENOMEM;
	config_free(self->fresh);
out:
	free(self);
	return ret;
}
