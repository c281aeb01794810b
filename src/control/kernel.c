/*
 * See kernel.h.
 *
 * Theory of operation. Two sockets: requests go out on one and are answered on
 * it in order, by data (NLM_F_ACK makes the kernel end even those with an
 * acknowledgement) or by a dump that ends with NLMSG_DONE; news come in on the
 * other, so that a flood of them can't push an answer out. Each request has its
 * own sequence number; whatever bears another one is a remnant of a request that
 * was given up and is passed over. A dump during which the tables changed
 * (NLM_F_DUMP_INTR) may lack entries and is asked for again.
 *
 * News that the kernel had no room for are announced by ENOBUFS once, and no
 * more come until the socket has been emptied. So: empty it first, then dump:
 * what changes after that is news again.
 */
#include "control/kernel_internal.h"

#include "base/netns.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define REQUEST_SIZE 1024  /* the longest is an alias */
#define ANSWER_SIZE  32768 /* what the kernel gives at most per read of a dump */
#define DUMP_TRIES   16
#define WATCH_READS  256 /* per call: the rest waits for the next one */

struct kernel {
	const struct netns *netns; /* of both sockets; NULL: the process's */
	struct mnl_socket *requests;
	struct mnl_socket *watch;
	unsigned sequence;
	char words[256];
	/* Aligned for a header, which is what they begin with. */
	struct nlmsghdr request[REQUEST_SIZE / sizeof(struct nlmsghdr)];
	struct nlmsghdr answer[ANSWER_SIZE / sizeof(struct nlmsghdr)];
};

/* --- words --- */

int kernel_fail(struct kernel *kernel, int error)
{
	snprintf(kernel->words, sizeof(kernel->words), "%s", strerror(-error));
	return error;
}

int kernel_fail_saying(struct kernel *kernel, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(kernel->words, sizeof(kernel->words), format, args);
	va_end(args);
	return error;
}

const char *kernel_last_error(const struct kernel *kernel)
{
	return kernel->words;
}

/* --- lists --- */

int kernel_list_add(struct kernel_list *list, const void *item)
{
	if (list->num == list->room) {
		size_t room = list->room ? 2 * list->room : 16;
		char *items = reallocarray(list->items, room, list->item_size);

		if (!items)
			return -ENOMEM;
		list->items = items;
		list->room = room;
	}
	memcpy(list->items + list->num++ * list->item_size, item, list->item_size);
	return 0;
}

static void *list_at(const struct kernel_list *list, size_t i)
{
	return list->items + i * list->item_size;
}

/* --- request and answer --- */

static void copy_string(char *to, size_t size, const struct nlattr *attr)
{
	size_t length = strnlen(mnl_attr_get_str(attr), mnl_attr_get_payload_len(attr));

	if (length >= size)
		length = size - 1;
	memcpy(to, mnl_attr_get_payload(attr), length);
	to[length] = '\0';
}

/* The kernel's own words, if it sent any, stand behind its error number. */
static int refused(struct kernel *kernel, const struct nlmsghdr *header, int error,
		   size_t offset)
{
	const struct nlattr *attr;

	if (error == 0)
		return 0;
	kernel_fail(kernel, error);
	if (!(header->nlmsg_flags & NLM_F_ACK_TLVS))
		return error;
	mnl_attr_for_each(attr, header, offset)
	{
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG)
			copy_string(kernel->words, sizeof(kernel->words), attr);
	}
	return error;
}

static int read_ack(struct kernel *kernel, const struct nlmsghdr *header)
{
	const struct nlmsgerr *ack = mnl_nlmsg_get_payload(header);
	size_t offset = sizeof(*ack);

	if (mnl_nlmsg_get_payload_len(header) < sizeof(*ack))
		return kernel_fail(kernel, -EBADMSG);
	/* Our request comes back too, but for its payload if the kernel caps it. */
	if (!(header->nlmsg_flags & NLM_F_CAPPED))
		offset += MNL_ALIGN(ack->msg.nlmsg_len) - MNL_NLMSG_HDRLEN;
	return refused(kernel, header, ack->error, offset);
}

static int read_done(struct kernel *kernel, const struct nlmsghdr *header)
{
	int error = 0;

	if (mnl_nlmsg_get_payload_len(header) >= sizeof(error))
		memcpy(&error, mnl_nlmsg_get_payload(header), sizeof(error));
	return refused(kernel, header, error, sizeof(error));
}

/* One message of the answer. *ret_done: it was the last; returns 0 or its error. */
static int read_message(struct kernel *kernel, const struct nlmsghdr *header,
			kernel_answer_fn each, void *arg, bool *ret_done)
{
	*ret_done = header->nlmsg_type == NLMSG_ERROR || header->nlmsg_type == NLMSG_DONE;
	if (header->nlmsg_type == NLMSG_ERROR)
		return read_ack(kernel, header);
	if (header->nlmsg_type == NLMSG_DONE)
		return read_done(kernel, header);
	if (header->nlmsg_type < NLMSG_MIN_TYPE || !each)
		return 0;
	return each(header, arg);
}

static ssize_t receive(struct kernel *kernel, struct mnl_socket *socket)
{
	ssize_t size;

	do {
		size = mnl_socket_recvfrom(socket, kernel->answer,
					   sizeof(kernel->answer));
	} while (size < 0 && errno == EINTR);
	return size < 0 ? -errno : size;
}

/*
 * Waits for the end of the answer even after `each` failed, so that the next
 * answer starts clean. -EAGAIN: the dump was interrupted.
 */
static int read_answer(struct kernel *kernel, kernel_answer_fn each, void *arg)
{
	unsigned port = mnl_socket_get_portid(kernel->requests);
	bool done = false, interrupted = false;
	int error = 0;

	while (!done) {
		const struct nlmsghdr *header = kernel->answer;
		ssize_t received = receive(kernel, kernel->requests);
		int size = (int)received;

		if (received < 0)
			return kernel_fail(kernel, (int)received);
		for (; mnl_nlmsg_ok(header, size);
		     header = mnl_nlmsg_next(header, &size)) {
			int one;

			if (header->nlmsg_seq != kernel->sequence ||
			    header->nlmsg_pid != port)
				continue;
			if (header->nlmsg_flags & NLM_F_DUMP_INTR)
				interrupted = true;
			one = read_message(kernel, header, error ? NULL : each, arg,
					   &done);
			if (one && !error)
				error = one;
		}
	}
	return !error && interrupted ? kernel_fail(kernel, -EAGAIN) : error;
}

int kernel_exchange(struct kernel *kernel, kernel_answer_fn each, void *arg)
{
	struct nlmsghdr *request = kernel->request;

	request->nlmsg_seq = ++kernel->sequence;
	if (mnl_socket_sendto(kernel->requests, request, request->nlmsg_len) < 0)
		return kernel_fail(kernel, -errno);
	return read_answer(kernel, each, arg);
}

struct nlmsghdr *kernel_start_request(struct kernel *kernel, uint16_t type,
				      uint16_t flags)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(kernel->request);

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	return request;
}

static struct nlmsghdr *start_link_request(struct kernel *kernel, uint16_t type,
					   int index)
{
	struct nlmsghdr *request = kernel_start_request(kernel, type, NLM_F_ACK);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));

	info->ifi_family = AF_UNSPEC;
	info->ifi_index = index;
	return request;
}

/* The request stands ready; the list is made anew by each try. */
int kernel_dump(struct kernel *kernel, kernel_answer_fn each, struct kernel_list *list)
{
	int error = -EAGAIN;

	for (int i = 0; error == -EAGAIN && i < DUMP_TRIES; i++) {
		list->num = 0;
		error = kernel_exchange(kernel, each, list);
	}
	return error;
}

/* --- interfaces: reading --- */

static void parse_tun(const struct nlattr *nest, struct kernel_link *link)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		switch (mnl_attr_get_type(attr)) {
		case IFLA_TUN_TYPE:
			link->is_tap = mnl_attr_get_u8(attr) == IFF_TAP;
			break;
		case IFLA_TUN_NUM_QUEUES:
		case IFLA_TUN_NUM_DISABLED_QUEUES:
			link->tap_queues += mnl_attr_get_u32(attr);
			break;
		}
	}
}

/* The numbers of IFLA_INFO_DATA mean something else for each kind. */
static void parse_kind(const struct nlattr *nest, struct kernel_link *link)
{
	const struct nlattr *attr, *data = NULL;
	char kind[16] = "";

	mnl_attr_for_each_nested(attr, nest)
	{
		if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
			copy_string(kind, sizeof(kind), attr);
		if (mnl_attr_get_type(attr) == IFLA_INFO_DATA)
			data = attr;
	}
	if (data && strcmp(kind, "tun") == 0)
		parse_tun(data, link);
}

static void parse_link_attr(const struct nlattr *attr, struct kernel_link *link)
{
	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		copy_string(link->name, sizeof(link->name), attr);
		break;
	case IFLA_IFALIAS:
		copy_string(link->alias, sizeof(link->alias), attr);
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(attr) == sizeof(link->mac))
			memcpy(link->mac, mnl_attr_get_payload(attr), sizeof(link->mac));
		break;
	case IFLA_MTU:
		link->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_LINKMODE:
		link->is_dormant = mnl_attr_get_u8(attr) == IF_LINK_MODE_DORMANT;
		break;
	case IFLA_LINKINFO:
		parse_kind(attr, link);
		break;
	}
}

/* False for what isn't about an interface itself, such as a bridge's view of it. */
static bool parse_link(const struct nlmsghdr *header, struct kernel_link *ret_link)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr;
	struct kernel_link link;

	if (header->nlmsg_type != RTM_NEWLINK && header->nlmsg_type != RTM_DELLINK)
		return false;
	if (mnl_nlmsg_get_payload_len(header) < sizeof(*info) ||
	    info->ifi_family != AF_UNSPEC)
		return false;
	memset(&link, 0, sizeof(link));
	link.index = info->ifi_index;
	link.type = info->ifi_type;
	link.is_up = info->ifi_flags & IFF_UP;
	link.running = info->ifi_flags & IFF_RUNNING;
	link.has_carrier = info->ifi_flags & IFF_LOWER_UP;
	link.gone = header->nlmsg_type == RTM_DELLINK;
	mnl_attr_for_each(attr, header, sizeof(*info)) parse_link_attr(attr, &link);
	*ret_link = link;
	return true;
}

static int take_link(const struct nlmsghdr *header, void *arg)
{
	parse_link(header, arg);
	return 0;
}

static int add_link(const struct nlmsghdr *header, void *arg)
{
	struct kernel_link link;

	return parse_link(header, &link) ? kernel_list_add(arg, &link) : 0;
}

static int get_link_by_index(struct kernel *kernel, int index,
			     struct kernel_link *ret_link)
{
	start_link_request(kernel, RTM_GETLINK, index);
	return kernel_exchange(kernel, take_link, ret_link);
}

static int start_get_by_name(struct kernel *kernel, const char *name)
{
	struct nlmsghdr *request = start_link_request(kernel, RTM_GETLINK, 0);

	if (!name[0] || strlen(name) >= IF_NAMESIZE)
		return kernel_fail(kernel, -ENODEV);
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	return 0;
}

int kernel_get_link(struct kernel *kernel, const char *name, struct kernel_link *ret_link)
{
	struct kernel_link link = {0};
	int error = start_get_by_name(kernel, name);

	if (!error)
		error = kernel_exchange(kernel, take_link, &link);
	if (!error)
		*ret_link = link;
	return error;
}

static int compare_index(const void *a, const void *b)
{
	const struct kernel_link *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

static int dump_links(struct kernel *kernel, struct kernel_list *list)
{
	struct nlmsghdr *request = start_link_request(kernel, RTM_GETLINK, 0);
	int error;

	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	error = kernel_dump(kernel, add_link, list);
	if (error == -ENOMEM)
		kernel_fail(kernel, error);
	if (!error && list->num)
		qsort(list->items, list->num, list->item_size, compare_index);
	return error;
}

int kernel_each_link(struct kernel *kernel, const char *alias_prefix,
		     void (*each)(const struct kernel_link *link, void *arg), void *arg)
{
	struct kernel_list list = {.item_size = sizeof(struct kernel_link)};
	int error = dump_links(kernel, &list);

	for (size_t i = 0; !error && i < list.num; i++) {
		const struct kernel_link *link = list_at(&list, i);

		if (strncmp(link->alias, alias_prefix, strlen(alias_prefix)) == 0)
			each(link, arg);
	}
	free(list.items);
	return error;
}

static int take_drops(const struct nlmsghdr *header, void *arg)
{
	struct kernel_drops *drops = arg;
	struct rtnl_link_stats64 stats;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, header, sizeof(struct ifinfomsg))
	{
		size_t size = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) != IFLA_STATS64)
			continue;
		memset(&stats, 0, sizeof(stats));
		memcpy(&stats, mnl_attr_get_payload(attr),
		       size < sizeof(stats) ? size : sizeof(stats));
		drops->tx_dropped = stats.tx_dropped;
		drops->rx_dropped = stats.rx_dropped;
	}
	return 0;
}

int kernel_get_drops(struct kernel *kernel, const char *name,
		     struct kernel_drops *ret_drops)
{
	struct kernel_drops drops = {0};
	int error = start_get_by_name(kernel, name);

	if (!error)
		error = kernel_exchange(kernel, take_drops, &drops);
	if (!error)
		*ret_drops = drops;
	return error;
}

/* --- interfaces: changing --- */

int kernel_set_mac(struct kernel *kernel, int index, const uint8_t mac[6])
{
	struct nlmsghdr *request = start_link_request(kernel, RTM_SETLINK, index);

	mnl_attr_put(request, IFLA_ADDRESS, 6, mac);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_set_mtu(struct kernel *kernel, int index, uint32_t mtu)
{
	struct nlmsghdr *request = start_link_request(kernel, RTM_SETLINK, index);

	mnl_attr_put_u32(request, IFLA_MTU, mtu);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_set_alias(struct kernel *kernel, int index, const char *alias)
{
	struct nlmsghdr *request = start_link_request(kernel, RTM_SETLINK, index);

	if (strlen(alias) >= sizeof(((struct kernel_link *)0)->alias))
		return kernel_fail(kernel, -ENAMETOOLONG);
	mnl_attr_put_str(request, IFLA_IFALIAS, alias);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_set_up(struct kernel *kernel, int index, bool up)
{
	struct nlmsghdr *request = start_link_request(kernel, RTM_SETLINK, index);
	struct ifinfomsg *info = mnl_nlmsg_get_payload(request);

	info->ifi_flags = up ? IFF_UP : 0;
	info->ifi_change = IFF_UP;
	return kernel_exchange(kernel, NULL, NULL);
}

/* The mode is for when carrier comes. */
int kernel_set_dormant(struct kernel *kernel, int index, bool dormant)
{
	struct nlmsghdr *request = start_link_request(kernel, RTM_SETLINK, index);

	mnl_attr_put_u8(request, IFLA_LINKMODE,
			dormant ? IF_LINK_MODE_DORMANT : IF_LINK_MODE_DEFAULT);
	mnl_attr_put_u8(request, IFLA_OPERSTATE, dormant ? IF_OPER_DORMANT : IF_OPER_UP);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_promote_secondaries(struct kernel *kernel, int index)
{
	struct nlmsghdr *request = start_link_request(kernel, RTM_SETLINK, index);
	struct nlattr *spec = mnl_attr_nest_start(request, IFLA_AF_SPEC);
	struct nlattr *inet = mnl_attr_nest_start(request, AF_INET);
	struct nlattr *conf = mnl_attr_nest_start(request, IFLA_INET_CONF);

	mnl_attr_put_u32(request, IPV4_DEVCONF_PROMOTE_SECONDARIES, 1);
	mnl_attr_nest_end(request, conf);
	mnl_attr_nest_end(request, inet);
	mnl_attr_nest_end(request, spec);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_delete_link(struct kernel *kernel, int index)
{
	start_link_request(kernel, RTM_DELLINK, index);
	return kernel_exchange(kernel, NULL, NULL);
}

/* --- addresses --- */

size_t kernel_address_size(int family)
{
	return family == AF_INET ? 4 : 16;
}

bool kernel_same_address(const struct config_address *a, const struct config_address *b)
{
	return a->family == b->family &&
	       memcmp(a->bytes, b->bytes, kernel_address_size(a->family)) == 0;
}

/* The subnet's last address; subnets of one or two addresses have none. */
static void put_broadcast(struct nlmsghdr *request, const struct config_address *address)
{
	uint32_t bytes;

	if (address->family != AF_INET || address->prefix > 30)
		return;
	memcpy(&bytes, address->bytes, sizeof(bytes));
	mnl_attr_put_u32(request, IFA_BROADCAST,
			 bytes | htonl((uint32_t)(0xffffffffull >> address->prefix)));
}

static int change_address(struct kernel *kernel, uint16_t type, uint16_t flags, int index,
			  const struct config_address *address, unsigned ifa_flags)
{
	struct nlmsghdr *request = kernel_start_request(kernel, type, NLM_F_ACK | flags);
	struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	size_t size = kernel_address_size(address->family);

	info->ifa_family = (uint8_t)address->family;
	info->ifa_prefixlen = (uint8_t)address->prefix;
	info->ifa_scope = RT_SCOPE_UNIVERSE;
	info->ifa_index = (unsigned)index;
	mnl_attr_put(request, IFA_LOCAL, size, address->bytes);
	mnl_attr_put(request, IFA_ADDRESS, size, address->bytes);
	if (type == RTM_NEWADDR)
		put_broadcast(request, address);
	if (ifa_flags)
		mnl_attr_put_u32(request, IFA_FLAGS, ifa_flags);
	return kernel_exchange(kernel, NULL, NULL);
}

int kernel_add_address(struct kernel *kernel, int index,
		       const struct config_address *address)
{
	return change_address(kernel, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index,
			      address, 0);
}

int kernel_keep_address(struct kernel *kernel, int index,
			const struct config_address *address, bool is_shared)
{
	return change_address(kernel, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index,
			      address, is_shared ? IFA_F_NODAD : 0);
}

int kernel_remove_address(struct kernel *kernel, int index,
			  const struct config_address *address)
{
	return change_address(kernel, RTM_DELADDR, 0, index, address, 0);
}

/* On a point-to-point link IFA_ADDRESS is the peer's, and IFA_LOCAL ours. */
static int add_held(const struct nlmsghdr *header, void *arg)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr, *local = NULL, *address = NULL;
	struct kernel_held held;
	unsigned flags;

	if (header->nlmsg_type != RTM_NEWADDR ||
	    (info->ifa_family != AF_INET && info->ifa_family != AF_INET6))
		return 0;
	memset(&held, 0, sizeof(held));
	held.index = (int)info->ifa_index;
	flags = info->ifa_flags;
	held.address.family = info->ifa_family;
	held.address.prefix = info->ifa_prefixlen;
	mnl_attr_for_each(attr, header, sizeof(*info))
	{
		if (mnl_attr_get_type(attr) == IFA_LOCAL)
			local = attr;
		if (mnl_attr_get_type(attr) == IFA_ADDRESS)
			address = attr;
		if (mnl_attr_get_type(attr) == IFA_FLAGS)
			flags = mnl_attr_get_u32(attr);
	}
	held.is_permanent = flags & IFA_F_PERMANENT;
	if (local)
		address = local;
	if (!address ||
	    mnl_attr_get_payload_len(address) != kernel_address_size(info->ifa_family))
		return 0;
	memcpy(held.address.bytes, mnl_attr_get_payload(address),
	       kernel_address_size(info->ifa_family));
	return kernel_list_add(arg, &held);
}

int kernel_dump_addresses(struct kernel *kernel, int family,
			  struct kernel_held **ret_held, size_t *ret_num)
{
	struct nlmsghdr *request = kernel_start_request(kernel, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	struct kernel_list list = {.item_size = sizeof(struct kernel_held)};
	int error;

	info->ifa_family = (uint8_t)family;
	error = kernel_dump(kernel, add_held, &list);
	if (error) {
		free(list.items);
		return error == -ENOMEM ? kernel_fail(kernel, error) : error;
	}
	*ret_held = (struct kernel_held *)list.items;
	*ret_num = list.num;
	return 0;
}

static bool is_marked(const char *alias)
{
	return strncmp(alias, KERNEL_MARK_PREFIX, strlen(KERNEL_MARK_PREFIX)) == 0;
}

/* 1 unless the interface went away in the meantime. */
static int name_owner(struct kernel *kernel, int index, struct kernel_owner *ret_owner)
{
	struct kernel_link link = {0};
	int error = get_link_by_index(kernel, index, &link);

	if (error)
		return error == -ENODEV ? 0 : error;
	memcpy(ret_owner->ifname, link.name, sizeof(ret_owner->ifname));
	memcpy(ret_owner->alias, link.alias, sizeof(ret_owner->alias));
	return 1;
}

int kernel_find_address(struct kernel *kernel, const struct config_address *address,
			struct kernel_owner *ret_owner)
{
	struct kernel_owner owner = {.alias = KERNEL_MARK_PREFIX};
	struct kernel_held *held = NULL;
	size_t num = 0;
	int found = 0, rc = kernel_dump_addresses(kernel, address->family, &held, &num);

	if (rc < 0)
		return rc;
	for (size_t i = 0; rc >= 0 && is_marked(owner.alias) && i < num; i++) {
		if (!kernel_same_address(&held[i].address, address))
			continue;
		rc = name_owner(kernel, held[i].index, &owner);
		found |= rc > 0;
	}
	free(held);
	if (rc < 0)
		return rc;
	if (found)
		*ret_owner = owner;
	return found;
}

/* --- news --- */

int kernel_watch_fd(struct kernel *kernel)
{
	return mnl_socket_get_fd(kernel->watch);
}

/* The latest state of an interface replaces earlier ones. */
static int note_link(struct kernel_list *list, const struct kernel_link *link)
{
	for (size_t i = 0; i < list->num; i++) {
		struct kernel_link *earlier = list_at(list, i);

		if (earlier->index == link->index) {
			*earlier = *link;
			return 0;
		}
	}
	return kernel_list_add(list, link);
}

/*
 * An address came or went: the interface stands in the list by its index alone, unless
 * it does already, until its state is read.
 */
static int note_address(struct kernel_list *list, const struct nlmsghdr *header)
{
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(header);
	struct kernel_link link = {.index = (int)info->ifa_index};

	for (size_t i = 0; i < list->num; i++) {
		const struct kernel_link *earlier = list_at(list, i);

		if (earlier->index == link.index)
			return 0;
	}
	return kernel_list_add(list, &link);
}

static int note_links(struct kernel *kernel, ssize_t received, struct kernel_list *list)
{
	const struct nlmsghdr *header = kernel->answer;
	int size = (int)received, error = 0;

	for (; !error && mnl_nlmsg_ok(header, size);
	     header = mnl_nlmsg_next(header, &size)) {
		struct kernel_link link;

		if (header->nlmsg_type == RTM_NEWADDR ||
		    header->nlmsg_type == RTM_DELADDR)
			error = note_address(list, header);
		else if (parse_link(header, &link))
			error = note_link(list, &link);
	}
	return error;
}

/* 1 if news were lost, 0 if not, or -errno. */
static int drain_watch(struct kernel *kernel, struct kernel_list *list)
{
	int lost = 0, error = 0;

	for (int i = 0; !error && (lost || i < WATCH_READS); i++) {
		ssize_t received = receive(kernel, kernel->watch);

		if (received >= 0)
			error = note_links(kernel, received, list);
		else if (received == -ENOBUFS || received == -ENOSPC)
			lost = 1;
		else if (received == -EAGAIN)
			break;
		else
			error = (int)received;
	}
	return error ? kernel_fail(kernel, error) : lost;
}

/* Of those that only an address was heard of. One that is gone will be news itself. */
static int complete(struct kernel *kernel, struct kernel_list *list)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < list->num; i++) {
		struct kernel_link *link = list_at(list, i);

		if (link->name[0])
			continue;
		error = get_link_by_index(kernel, link->index, link);
		if (error == -ENODEV)
			error = 0;
	}
	return error;
}

int kernel_read_watch(struct kernel *kernel,
		      void (*changed)(const struct kernel_link *link, void *arg),
		      void *arg)
{
	struct kernel_list list = {.item_size = sizeof(struct kernel_link)};
	int error = 0, lost = drain_watch(kernel, &list);

	if (lost > 0)
		error = dump_links(kernel, &list);
	if (lost < 0)
		error = lost;
	if (!error)
		error = complete(kernel, &list);
	for (size_t i = 0; !error && i < list.num; i++) {
		const struct kernel_link *link = list_at(&list, i);

		if (link->name[0])
			changed(link, arg);
	}
	free(list.items);
	return error ? error : lost;
}

/* --- the handle --- */

/* All options are niceties: an old kernel without them says and sends more or less. */
static struct mnl_socket *open_socket(int flags, unsigned groups)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | flags);
	int error, on = 1;

	if (!socket)
		return NULL;
	mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (mnl_socket_bind(socket, groups, MNL_SOCKET_AUTOPID) == 0)
		return socket;
	error = errno;
	mnl_socket_close(socket);
	errno = error;
	return NULL;
}

static int open_sockets(struct kernel *kernel)
{
	kernel->requests = open_socket(0, 0);
	if (kernel->requests)
		kernel->watch =
			open_socket(SOCK_NONBLOCK, RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
							   RTMGRP_IPV6_IFADDR);
	return kernel->watch ? 0 : -errno;
}

int kernel_open(const struct netns *netns, struct kernel **ret_kernel)
{
	struct kernel *kernel = calloc(1, sizeof(*kernel));
	int error;

	if (!kernel)
		return -ENOMEM;
	kernel->netns = netns;
	kernel_fail_saying(kernel, 0, "no error");
	error = netns_enter(netns);
	if (error == 0) {
		error = open_sockets(kernel);
		netns_leave(netns);
	}
	if (error) {
		kernel_close(kernel);
		return error;
	}
	*ret_kernel = kernel;
	return 0;
}

const struct netns *kernel_netns(const struct kernel *kernel)
{
	return kernel->netns;
}

void kernel_close(struct kernel *kernel)
{
	if (!kernel)
		return;
	if (kernel->watch)
		mnl_socket_close(kernel->watch);
	if (kernel->requests)
		mnl_socket_close(kernel->requests);
	free(kernel);
}
