/* What the kernel needs for the node's global networks. See global.h. */
#include "base/log.h"
#include "control/node_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Settings and rules that others change are no news: they are looked at now and then. */
static const struct timeval check_interval = {.tv_sec = 10};

static void name_record(const struct node *node, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s.kernel", node->config->runtime_dir,
		 node->config->name);
}

static int open_sysctls(struct node *node)
{
	char path[PATH_MAX];
	int ret;

	name_record(node, path);
	ret = sysctls_open(node->netns, path, &node->sysctls);
	if (ret < 0)
		log_err(NULL, "can't read %s: %s", path, strerror(-ret));
	return ret;
}

static void restore_sysctls(struct node *node, bool all)
{
	if (node->sysctls && sysctls_restore(node->sysctls, all) < 0)
		log_err(NULL, "%s", sysctls_last_error(node->sysctls));
}

static int make_global(struct node *node, unsigned index, struct global **ret_global)
{
	const struct global_options options = {
		.kernel = node->kernel,
		.sysctls = node->sysctls,
		.mark = node->mark,
		.config = node->config,
		.network = &node->config->networks[index],
		.hooks_later = node->takeover != NULL,
	};

	return global_new(&options, ret_global);
}

static int check_one(struct node *node, unsigned index)
{
	struct global *global = NULL;
	int ret = make_global(node, index, &global);

	if (ret == 0)
		ret = global_check_host(global);
	global_free(global);
	return ret;
}

/* The record of settings is read again, when nobody else writes to it any more. */
int node_check_prepare_global(struct node *node)
{
	const struct node_config *config = node->config;
	int ret = open_sysctls(node);

	for (unsigned i = 0; i < config->num_networks && ret == 0; i++) {
		if (config->networks[i].kind == NETWORK_KIND_GLOBAL)
			ret = check_one(node, i);
	}
	sysctls_close(node->sysctls);
	node->sysctls = NULL;
	return ret;
}

int node_prepare_global(struct node *node)
{
	const struct node_config *config = node->config;
	int ret = open_sysctls(node);

	if (ret == 0)
		ret = global_sweep(node->kernel, config, node->mark, true);
	node->has_guards = ret > 0 || config_has_global(config);
	for (unsigned i = 0; i < config->num_networks && ret >= 0; i++) {
		if (config->networks[i].kind != NETWORK_KIND_GLOBAL)
			continue;
		ret = make_global(node, i, &node->globals[i]);
		if (ret == 0)
			ret = global_prepare(node->globals[i]);
	}
	return ret < 0 ? ret : 0;
}

static void on_check(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	node_check_global(arg, NULL);
	node_check_routing(arg);
}

static int start_checks(struct node *node)
{
	node->global_timer = event_new(node->base, -1, EV_PERSIST, on_check, node);
	if (!node->global_timer || event_add(node->global_timer, &check_interval) < 0)
		return -ENOMEM;
	return 0;
}

/* The port is of use without peers: its own host has sockets, too. */
int node_open_global(struct node *node)
{
	int ret = 0;

	for (unsigned i = 0; i < node->num_adapters && ret == 0; i++) {
		if (!node->globals[i])
			continue;
		adapter_set_carrier(&node->adapters[i], true);
		ret = global_open(node->globals[i]);
	}
	if (ret == 0 && node->has_guards)
		ret = global_sweep_guards(node->kernel, node->config, true);
	if (ret == 0 && config_has_global(node->config))
		ret = start_checks(node);
	if (ret == 0)
		restore_sysctls(node, false);
	return ret;
}

void node_hook_global(struct node *node)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (node->globals[i])
			global_hook(node->globals[i]);
	}
}

void node_renew_global(struct node *node)
{
	sysctls_want_none(node->sysctls);
	node_check_global(node, NULL);
	restore_sysctls(node, false);
}

void node_check_global(struct node *node, const struct kernel_link *link)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (node->globals[i])
			global_check(node->globals[i], link);
	}
}

void node_close_global(struct node *node, enum adapter_end end)
{
	if (node->global_timer)
		event_free(node->global_timer);
	if (end == ADAPTER_LEAVE)
		return;
	for (unsigned i = 0; i < node->config->num_networks; i++) {
		if (node->globals[i])
			global_close(node->globals[i]);
	}
	restore_sysctls(node, true);
}

void node_free_global(struct node *node)
{
	for (unsigned i = 0; i < node->config->num_networks; i++)
		global_free(node->globals[i]);
	sysctls_close(node->sysctls);
}

/* ---- clean-up after a killed node ---- */

int node_clean_global(struct node *node)
{
	char path[PATH_MAX];
	int ret;

	if (!node->kernel) { /* its namespace is gone, with all settings */
		name_record(node, path);
		unlink(path);
		return 0;
	}
	ret = open_sysctls(node);
	if (ret == 0)
		ret = global_sweep(node->kernel, node->config, node->mark, false);
	node->has_guards = ret > 0 || config_has_global(node->config);
	return ret < 0 ? ret : 0;
}

int node_clean_guards(struct node *node)
{
	return node->has_guards ? global_sweep_guards(node->kernel, node->config, false)
				: 0;
}
