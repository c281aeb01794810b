/*
 * Where packets to an address go: rules, routes, neighbours. Messages only; who needs
 * which, and in what order, is decided in global_rule.c.
 */
#include "control/kernel_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

static unsigned address_bits(const struct config_address *address)
{
	return (unsigned)(8 * kernel_address_size(address->family));
}

static void put_address(struct nlmsghdr *request, uint16_t type,
			const struct config_address *address)
{
	mnl_attr_put(request, type, kernel_address_size(address->family), address->bytes);
}

/* Leaves it alone if the attribute has another length than the family's. */
static void take_address(const struct nlattr *attr, int family, unsigned prefix,
			 struct config_address *address)
{
	if (mnl_attr_get_payload_len(attr) != kernel_address_size(family))
		return;
	address->family = family;
	address->prefix = prefix;
	memcpy(address->bytes, mnl_attr_get_payload(attr), kernel_address_size(family));
}

static int finish_dump(struct kernel *kernel, kernel_answer_fn each,
		       struct kernel_list *list)
{
	int error = kernel_dump(kernel, each, list);

	if (!error)
		return 0;
	free(list->items);
	list->items = NULL;
	list->num = 0;
	return error == -ENOMEM ? kernel_fail(kernel, error) : error;
}

/* --- rules --- */

static struct nlmsghdr *start_rule(struct kernel *kernel, uint16_t type, uint16_t flags,
				   const struct kernel_rule *rule)
{
	struct nlmsghdr *request = kernel_start_request(kernel, type, NLM_F_ACK | flags);
	struct fib_rule_hdr *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));

	info->family = (uint8_t)rule->family;
	info->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(request, FRA_PRIORITY, rule->priority);
	mnl_attr_put_u32(request, FRA_TABLE, rule->table);
	if (rule->protocol)
		mnl_attr_put_u8(request, FRA_PROTOCOL, rule->protocol);
	if (rule->to.family) {
		info->dst_len = (uint8_t)rule->to.prefix;
		put_address(request, FRA_DST, &rule->to);
	}
	if (rule->iifname[0])
		mnl_attr_put_strz(request, FRA_IIFNAME, rule->iifname);
	return request;
}

/* Without NLM_F_EXCL the kernel takes a second one that is like the first. */
int kernel_add_rule(struct kernel *kernel, const struct kernel_rule *rule)
{
	start_rule(kernel, RTM_NEWRULE, NLM_F_CREATE, rule);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_remove_rule(struct kernel *kernel, const struct kernel_rule *rule)
{
	start_rule(kernel, RTM_DELRULE, 0, rule);
	return kernel_exchange(kernel, NULL, NULL);
}

static void parse_rule_attr(const struct nlattr *attr, const struct fib_rule_hdr *info,
			    struct kernel_rule *rule)
{
	switch (mnl_attr_get_type(attr)) {
	case FRA_PRIORITY:
		rule->priority = mnl_attr_get_u32(attr);
		break;
	case FRA_TABLE:
		rule->table = mnl_attr_get_u32(attr);
		break;
	case FRA_PROTOCOL:
		rule->protocol = mnl_attr_get_u8(attr);
		break;
	case FRA_DST:
		take_address(attr, info->family, info->dst_len, &rule->to);
		break;
	case FRA_IIFNAME:
		strncpy(rule->iifname, mnl_attr_get_str(attr), IF_NAMESIZE - 1);
		break;
	case FRA_SUPPRESS_PREFIXLEN: /* is always there; -1 says: no */
		rule->has_more |= mnl_attr_get_u32(attr) != UINT32_MAX;
		break;
	case FRA_PAD:
		break;
	default:
		rule->has_more = true;
	}
}

static int add_rule(const struct nlmsghdr *header, void *arg)
{
	const struct fib_rule_hdr *info = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr;
	struct kernel_rule rule;

	if (header->nlmsg_type != RTM_NEWRULE)
		return 0;
	memset(&rule, 0, sizeof(rule));
	rule.family = info->family;
	rule.table = info->table;
	rule.has_more = info->src_len || info->tos || info->action != FR_ACT_TO_TBL ||
			(info->flags & FIB_RULE_INVERT);
	mnl_attr_for_each(attr, header, sizeof(*info)) parse_rule_attr(attr, info, &rule);
	return kernel_list_add(arg, &rule);
}

int kernel_dump_rules(struct kernel *kernel, int family, struct kernel_rule **ret_rules,
		      size_t *ret_num)
{
	struct nlmsghdr *request = kernel_start_request(kernel, RTM_GETRULE, NLM_F_DUMP);
	struct fib_rule_hdr *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	struct kernel_list list = {.item_size = sizeof(struct kernel_rule)};
	int error;

	info->family = (uint8_t)family;
	error = finish_dump(kernel, add_rule, &list);
	if (error)
		return error;
	*ret_rules = (struct kernel_rule *)list.items;
	*ret_num = list.num;
	return 0;
}

/* --- routes --- */

static struct nlmsghdr *start_route(struct kernel *kernel, uint16_t type, uint16_t flags,
				    const struct kernel_route *route)
{
	struct nlmsghdr *request = kernel_start_request(kernel, type, NLM_F_ACK | flags);
	struct rtmsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));

	info->rtm_family = (uint8_t)route->to.family;
	info->rtm_dst_len = (uint8_t)address_bits(&route->to);
	info->rtm_protocol = route->protocol;
	info->rtm_type = RTN_UNICAST;
	/* To delete in IPv6 takes no scope, in IPv4 the same one. */
	if (route->to.family == AF_INET)
		info->rtm_scope = RT_SCOPE_LINK;
	mnl_attr_put_u32(request, RTA_TABLE, route->table);
	put_address(request, RTA_DST, &route->to);
	if (route->index)
		mnl_attr_put_u32(request, RTA_OIF, (uint32_t)route->index);
	return request;
}

static int make_route(struct kernel *kernel, uint16_t flags,
		      const struct kernel_route *route)
{
	struct nlmsghdr *request =
		start_route(kernel, RTM_NEWROUTE, NLM_F_CREATE | flags, route);

	if (route->source.family)
		put_address(request, RTA_PREFSRC, &route->source);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_set_route(struct kernel *kernel, const struct kernel_route *route)
{
	return make_route(kernel, NLM_F_REPLACE, route);
}

int kernel_add_route(struct kernel *kernel, const struct kernel_route *route)
{
	return make_route(kernel, NLM_F_EXCL, route);
}

int kernel_remove_route(struct kernel *kernel, const struct kernel_route *route)
{
	start_route(kernel, RTM_DELROUTE, 0, route);
	return kernel_exchange(kernel, NULL, NULL);
}

/* Which table is in the attribute; the header has room for numbers below 256. */
struct route_dump {
	struct kernel_list list;
	uint32_t table;
	uint8_t protocol;
};

static int add_route(const struct nlmsghdr *header, void *arg)
{
	const struct rtmsg *info = mnl_nlmsg_get_payload(header);
	struct route_dump *dump = arg;
	const struct nlattr *attr;
	struct kernel_route route;

	if (header->nlmsg_type != RTM_NEWROUTE || (info->rtm_flags & RTM_F_CLONED))
		return 0;
	memset(&route, 0, sizeof(route));
	route.table = info->rtm_table;
	route.protocol = info->rtm_protocol;
	route.to.family = info->rtm_family; /* the default route has no RTA_DST */
	mnl_attr_for_each(attr, header, sizeof(*info))
	{
		if (mnl_attr_get_type(attr) == RTA_TABLE)
			route.table = mnl_attr_get_u32(attr);
		if (mnl_attr_get_type(attr) == RTA_OIF)
			route.index = (int)mnl_attr_get_u32(attr);
		if (mnl_attr_get_type(attr) == RTA_DST)
			take_address(attr, info->rtm_family, info->rtm_dst_len,
				     &route.to);
		if (mnl_attr_get_type(attr) == RTA_PREFSRC)
			take_address(attr, info->rtm_family, address_bits(&route.to),
				     &route.source);
	}
	if (route.table != dump->table ||
	    (dump->protocol && route.protocol != dump->protocol))
		return 0;
	return kernel_list_add(&dump->list, &route);
}

int kernel_dump_routes(struct kernel *kernel, int family, uint32_t table,
		       uint8_t protocol, struct kernel_route **ret_routes,
		       size_t *ret_num)
{
	struct nlmsghdr *request = kernel_start_request(kernel, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	struct route_dump dump = {.list.item_size = sizeof(struct kernel_route)};
	int error;

	dump.table = table;
	dump.protocol = protocol;
	info->rtm_family = (uint8_t)family;
	info->rtm_protocol = protocol;
	/* A kernel that knows of strict checks gives these routes only. */
	mnl_attr_put_u32(request, RTA_TABLE, table);
	error = finish_dump(kernel, add_route, &dump.list);
	if (error && error != -ENOENT) /* no table is an empty one */
		return error;
	*ret_routes = (struct kernel_route *)dump.list.items;
	*ret_num = dump.list.num;
	return 0;
}

/* --- neighbours --- */

static struct nlmsghdr *start_neighbour(struct kernel *kernel, uint16_t type,
					uint16_t flags,
					const struct kernel_neighbour *neighbour)
{
	struct nlmsghdr *request = kernel_start_request(kernel, type, NLM_F_ACK | flags);
	struct ndmsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));

	info->ndm_family = (uint8_t)neighbour->address.family;
	info->ndm_ifindex = neighbour->index;
	info->ndm_state = NUD_PERMANENT;
	put_address(request, NDA_DST, &neighbour->address);
	return request;
}

int kernel_set_neighbour(struct kernel *kernel, const struct kernel_neighbour *neighbour)
{
	struct nlmsghdr *request = start_neighbour(
		kernel, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, neighbour);

	mnl_attr_put(request, NDA_LLADDR, sizeof(neighbour->mac), neighbour->mac);
	if (neighbour->protocol)
		mnl_attr_put_u8(request, NDA_PROTOCOL, neighbour->protocol);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_remove_neighbour(struct kernel *kernel,
			    const struct kernel_neighbour *neighbour)
{
	start_neighbour(kernel, RTM_DELNEIGH, 0, neighbour);
	return kernel_exchange(kernel, NULL, NULL);
}
