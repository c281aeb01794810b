/*
 * See sockets.h.
 *
 * Theory of operation. One netlink socket, one request at a time, each with a
 * sequence number of its own. What the kernel's interface has of traps, and where they
 * are met:
 *
 * - An exact look-up of TCP that finds no connection answers with a listener: so the
 *   answer is compared with the question. One of UDP wants the foreign side where TCP
 *   wants the local one, and answers with an unconnected socket as well.
 * - Look-ups follow the kernel's own rules for a packet that came in by the interface
 *   named: without it, sockets that are bound to the port would be missed.
 * - A dump is per protocol and family. Dual-stack sockets are of family IPv6 and have
 *   IPv4 addresses in mapped form, which is the form that we use. Which of them take
 *   IPv4 when they are bound to any, an attribute says.
 * - The kernel fills buffers of up to 32 KB, and what doesn't fit the reader's is lost.
 * - Who asks for a protocol that isn't there makes the kernel run modprobe. So each is
 *   asked for once, and SCTP, which a program may load later, once it is there.
 *
 * The address filter runs in the kernel: a host with many other connections pays for
 * looking at them, not for reading about them. It is a chain of comparisons, each with a
 * jump to the end behind it, which accepts; past the end is reject.
 */
#include "control/sockets.h"

#include "base/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_SIZE 1024
#define ANSWER_SIZE  32768
#define READ_TRIES   16
#define LOCALS_MAX   64 /* addresses of one SCTP socket */
#define SCTP_PATH    "/proc/sys/net/sctp"
#define STATE(state) (1u << (state))

/* Of the address filter: compare, what with, and a jump. */
#define STEP_SIZE                                                                        \
	(2 * sizeof(struct inet_diag_bc_op) + sizeof(struct inet_diag_hostcond) +        \
	 FLOW_ADDRESS_LEN)
#define STEPS_MAX  (SOCKETS_ADDRESSES_MAX + FAMILIES_NUM)
#define BEYOND_END 4

/* Half-open, and still without a socket; <netinet/tcp.h> ends before it. */
#define TCP_NEW_SYN_RECV 12

#define CONNECTION_STATES                                                                \
	(STATE(TCP_ESTABLISHED) | STATE(TCP_SYN_SENT) | STATE(TCP_SYN_RECV) |            \
	 STATE(TCP_NEW_SYN_RECV) | STATE(TCP_FIN_WAIT1) | STATE(TCP_FIN_WAIT2) |         \
	 STATE(TCP_CLOSE_WAIT) | STATE(TCP_LAST_ACK) | STATE(TCP_CLOSING))

#define HALF_STATES (STATE(TCP_SYN_RECV) | STATE(TCP_NEW_SYN_RECV))

static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE,
				    IPPROTO_SCTP};
static const int families[] = {AF_INET, AF_INET6};

#define PROTOCOLS_NUM (sizeof(protocols) / sizeof(protocols[0]))
#define FAMILIES_NUM  (sizeof(families) / sizeof(families[0]))

_Static_assert(STEPS_MAX *STEP_SIZE + 128 <= REQUEST_SIZE, "the longest request");

enum presence { PRESENCE_UNKNOWN, PRESENCE_YES, PRESENCE_NO };

struct sockets {
	struct mnl_socket *socket;
	unsigned sequence;
	enum presence presence[PROTOCOLS_NUM][FAMILIES_NUM];
	/* Aligned for a header, which is what they begin with. */
	struct nlmsghdr request[REQUEST_SIZE / sizeof(struct nlmsghdr)];
	struct nlmsghdr answer[ANSWER_SIZE / sizeof(struct nlmsghdr)];
};

/* One socket of an answer. */
typedef int (*take_fn)(const struct nlmsghdr *header, void *arg);

/* ---- request and answer ---- */

static int error_of(const struct nlmsghdr *header)
{
	int error = 0;

	/* struct nlmsgerr begins with it, too. */
	if (mnl_nlmsg_get_payload_len(header) >= sizeof(error))
		memcpy(&error, mnl_nlmsg_get_payload(header), sizeof(error));
	else if (header->nlmsg_type == NLMSG_ERROR)
		error = -EBADMSG;
	return error;
}

/* One message of the answer. *ret_done: it was the last; returns 0 or its error. */
static int read_message(const struct nlmsghdr *header, take_fn take, void *arg,
			bool *ret_done)
{
	bool is_end =
		header->nlmsg_type == NLMSG_ERROR || header->nlmsg_type == NLMSG_DONE;

	*ret_done = is_end || !(header->nlmsg_flags & NLM_F_MULTI);
	if (is_end)
		return error_of(header);
	if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || !take)
		return 0;
	if (mnl_nlmsg_get_payload_len(header) < sizeof(struct inet_diag_msg))
		return -EBADMSG;
	return take(header, arg);
}

static ssize_t receive(struct sockets *sockets)
{
	ssize_t size;

	do {
		size = mnl_socket_recvfrom(sockets->socket, sockets->answer,
					   sizeof(sockets->answer));
	} while (size < 0 && errno == EINTR);
	return size < 0 ? -errno : size;
}

/*
 * Waits for the end of the answer even after `take` failed, so that the next answer
 * starts clean. -EAGAIN: the dump was interrupted.
 */
static int read_answer(struct sockets *sockets, take_fn take, void *arg)
{
	bool done = false, interrupted = false;
	int error = 0;

	while (!done) {
		const struct nlmsghdr *header = sockets->answer;
		ssize_t received = receive(sockets);
		int size = (int)received;

		if (received < 0)
			return (int)received;
		for (; mnl_nlmsg_ok(header, size);
		     header = mnl_nlmsg_next(header, &size)) {
			int one;

			if (header->nlmsg_seq != sockets->sequence)
				continue;
			if (header->nlmsg_flags & NLM_F_DUMP_INTR)
				interrupted = true;
			one = read_message(header, error ? NULL : take, arg, &done);
			if (one && !error)
				error = one;
		}
	}
	return !error && interrupted ? -EAGAIN : error;
}

static int exchange(struct sockets *sockets, take_fn take, void *arg)
{
	struct nlmsghdr *request = sockets->request;

	request->nlmsg_seq = ++sockets->sequence;
	if (mnl_socket_sendto(sockets->socket, request, request->nlmsg_len) < 0)
		return -errno;
	return read_answer(sockets, take, arg);
}

static struct inet_diag_req_v2 *start_request(struct sockets *sockets, uint16_t flags,
					      int family, uint8_t protocol)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(sockets->request);
	struct inet_diag_req_v2 *body;

	request->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	request->nlmsg_flags = NLM_F_REQUEST | flags;
	body = mnl_nlmsg_put_extra_header(request, sizeof(*body));
	body->sdiag_family = (uint8_t)family;
	body->sdiag_protocol = protocol;
	body->id.idiag_cookie[0] = body->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	return body;
}

/* ---- which protocols there are ---- */

static bool may_be_there(uint8_t protocol)
{
	return protocol != IPPROTO_SCTP || access(SCTP_PATH, F_OK) == 0;
}

/* Asks for sockets in no state at all. */
static int probe(struct sockets *sockets, unsigned protocol, unsigned family)
{
	int error;

	start_request(sockets, NLM_F_DUMP, families[family], protocols[protocol]);
	error = exchange(sockets, NULL, NULL);
	if (error && error != -ENOENT)
		return error;
	sockets->presence[protocol][family] = error ? PRESENCE_NO : PRESENCE_YES;
	return 0;
}

/* 1: it is there, 0: it is not, or -errno. */
static int find_protocol(struct sockets *sockets, uint8_t number, unsigned family)
{
	unsigned i = 0;
	int error = 0;

	while (i < PROTOCOLS_NUM && protocols[i] != number)
		i++;
	if (i == PROTOCOLS_NUM)
		return 0;
	if (sockets->presence[i][family] == PRESENCE_UNKNOWN && may_be_there(number))
		error = probe(sockets, i, family);
	return error ? error : sockets->presence[i][family] == PRESENCE_YES;
}

/* ---- addresses ---- */

static const uint8_t any_address[FLOW_ADDRESS_LEN];

static void read_address(uint8_t to[FLOW_ADDRESS_LEN], int family, const void *bytes)
{
	if (family == AF_INET6)
		memcpy(to, bytes, FLOW_ADDRESS_LEN);
	else
		flow_address_map_ipv4(to, bytes);
}

static void read_socket_address(uint8_t to[FLOW_ADDRESS_LEN],
				const struct sockaddr_storage *from)
{
	if (from->ss_family == AF_INET6)
		read_address(to, AF_INET6,
			     &((const struct sockaddr_in6 *)from)->sin6_addr);
	else
		read_address(to, AF_INET, &((const struct sockaddr_in *)from)->sin_addr);
}

static void write_address(__be32 to[4], const uint8_t address[FLOW_ADDRESS_LEN])
{
	if (flow_address_is_ipv4(address))
		memcpy(to, address + FLOW_ADDRESS_LEN - 4, 4);
	else
		memcpy(to, address, FLOW_ADDRESS_LEN);
}

/* Of either family, and of a dual-stack socket that was bound to ::ffff:0.0.0.0. */
static bool is_any(const uint8_t address[FLOW_ADDRESS_LEN])
{
	size_t start = flow_address_is_ipv4(address) ? FLOW_ADDRESS_LEN - 4 : 0;

	return memcmp(address + start, any_address, FLOW_ADDRESS_LEN - start) == 0;
}

static uint8_t family_bit(const uint8_t address[FLOW_ADDRESS_LEN])
{
	return flow_address_is_ipv4(address) ? LISTENER_IPV4 : LISTENER_IPV6;
}

static bool has_address(const struct sockets_scope *scope,
			const uint8_t address[FLOW_ADDRESS_LEN])
{
	for (unsigned i = 0; i < scope->num_addresses; i++) {
		if (memcmp(scope->addresses[i], address, FLOW_ADDRESS_LEN) == 0)
			return true;
	}
	return false;
}

/* ---- exact look-ups ---- */

struct look_up {
	const struct flow_key *key;
	bool found;
	struct socket_match match;
};

/* UDP looks as the packet does: from its source to its destination. */
static bool is_reversed(uint8_t protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}

static void start_look_up(struct sockets *sockets, const struct sockets_scope *scope,
			  const struct flow_key *key, int family)
{
	struct inet_diag_req_v2 *body = start_request(sockets, 0, family, key->protocol);
	bool reversed = is_reversed(key->protocol);

	body->idiag_states = ~0u;
	body->id.idiag_if = scope->ifindex;
	body->id.idiag_sport = htons(reversed ? key->foreign_port : key->local_port);
	body->id.idiag_dport = htons(reversed ? key->local_port : key->foreign_port);
	write_address(body->id.idiag_src, reversed ? key->foreign : key->local);
	write_address(body->id.idiag_dst, reversed ? key->local : key->foreign);
}

static void read_key(const struct inet_diag_msg *socket, uint8_t protocol,
		     struct flow_key *ret_key)
{
	memset(ret_key, 0, sizeof(*ret_key));
	read_address(ret_key->local, socket->idiag_family, socket->id.idiag_src);
	read_address(ret_key->foreign, socket->idiag_family, socket->id.idiag_dst);
	ret_key->local_port = ntohs(socket->id.idiag_sport);
	ret_key->foreign_port = ntohs(socket->id.idiag_dport);
	ret_key->protocol = protocol;
}

/* An association has several addresses and names one: the kernel has compared them. */
static int take_match(const struct nlmsghdr *header, void *arg)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(header);
	struct look_up *look_up = arg;
	struct flow_key key;

	read_key(socket, look_up->key->protocol, &key);
	if (look_up->key->protocol == IPPROTO_SCTP)
		look_up->found = key.local_port == look_up->key->local_port &&
				 key.foreign_port == look_up->key->foreign_port;
	else
		look_up->found = memcmp(&key, look_up->key, sizeof(key)) == 0;
	look_up->match.is_over = look_up->key->protocol == IPPROTO_TCP &&
				 socket->idiag_state == TCP_TIME_WAIT;
	look_up->match.is_half = look_up->key->protocol == IPPROTO_TCP &&
				 (STATE(socket->idiag_state) & HALF_STATES);
	return 0;
}

int sockets_find(struct sockets *sockets, const struct sockets_scope *scope,
		 const struct flow_key *key, struct socket_match *ret_match)
{
	unsigned family = flow_address_is_ipv4(key->local) ? 0 : 1;
	struct look_up look_up = {.key = key};
	int ret = find_protocol(sockets, key->protocol, family);

	if (ret <= 0)
		return ret;
	start_look_up(sockets, scope, key, families[family]);
	ret = exchange(sockets, take_match, &look_up);
	if (ret < 0 && ret != -ENOENT)
		return ret;
	if (look_up.found)
		*ret_match = look_up.match;
	return look_up.found;
}

/* ---- dumps ---- */

enum { LOCAL_NAMED = 1, LOCAL_ANY = 2 };

/* A dump of each family that there is. */
struct query {
	uint8_t protocol;
	uint32_t states;
	unsigned locals; /* LOCAL_* */
};

static const struct query connection_queries[] = {
	{IPPROTO_TCP, CONNECTION_STATES & ~HALF_STATES, LOCAL_NAMED},
	{IPPROTO_UDP, STATE(TCP_ESTABLISHED), LOCAL_NAMED},
	{IPPROTO_UDPLITE, STATE(TCP_ESTABLISHED), LOCAL_NAMED},
	{IPPROTO_SCTP, CONNECTION_STATES, LOCAL_NAMED},
	{0, 0, 0},
};

/* A datagram socket gets a local address with its peer, unless the host has none. */
static const struct query listener_queries[] = {
	{IPPROTO_TCP, STATE(TCP_LISTEN), LOCAL_NAMED | LOCAL_ANY},
	{IPPROTO_UDP, STATE(TCP_CLOSE), LOCAL_NAMED | LOCAL_ANY},
	{IPPROTO_UDP, STATE(TCP_ESTABLISHED), LOCAL_ANY},
	{IPPROTO_UDPLITE, STATE(TCP_CLOSE), LOCAL_NAMED | LOCAL_ANY},
	{IPPROTO_UDPLITE, STATE(TCP_ESTABLISHED), LOCAL_ANY},
	{IPPROTO_SCTP, STATE(TCP_LISTEN), LOCAL_NAMED | LOCAL_ANY},
	{0, 0, 0},
};

/* What a read fills. */
struct found {
	const struct sockets_scope *scope;
	const struct query *query; /* that is being answered */
	uint8_t families;	   /* of the scope's addresses */
	size_t item_size;
	unsigned num;
	unsigned room;
	char *items;
};

static int found_add(struct found *found, const void *item)
{
	if (found->num == found->room) {
		unsigned room = found->room ? 2 * found->room : 64;
		char *items = reallocarray(found->items, room, found->item_size);

		if (!items)
			return -ENOMEM;
		found->items = items;
		found->room = room;
	}
	memcpy(found->items + found->num++ * found->item_size, item, found->item_size);
	return 0;
}

/*
 * Compares the local address and accepts, or goes on to the `left` bytes of steps that
 * follow. Past the end is reject.
 */
static void put_step(uint8_t step[STEP_SIZE], const uint8_t address[FLOW_ADDRESS_LEN],
		     int family, size_t left)
{
	const struct inet_diag_bc_op jump = {
		.code = INET_DIAG_BC_JMP,
		.yes = sizeof(jump),
		.no = (uint16_t)(sizeof(jump) + left),
	};
	const struct inet_diag_bc_op compare = {
		.code = INET_DIAG_BC_S_COND,
		.yes = STEP_SIZE - sizeof(jump),
		.no = left ? STEP_SIZE : STEP_SIZE + BEYOND_END,
	};
	const struct inet_diag_hostcond host = {
		.family = (uint8_t)family,
		.prefix_len = family == AF_INET ? 32 : 128,
		.port = -1,
	};
	__be32 bytes[4] = {0};

	write_address(bytes, address);
	memcpy(step, &compare, sizeof(compare));
	memcpy(step + sizeof(compare), &host, sizeof(host));
	memcpy(step + sizeof(compare) + sizeof(host), bytes, sizeof(bytes));
	memcpy(step + STEP_SIZE - sizeof(jump), &jump, sizeof(jump));
}

static void put_filter(struct nlmsghdr *request, const struct sockets_scope *scope,
		       unsigned locals)
{
	unsigned num = (locals & LOCAL_NAMED ? scope->num_addresses : 0) +
		       (locals & LOCAL_ANY ? FAMILIES_NUM : 0);
	uint8_t steps[STEPS_MAX][STEP_SIZE];
	unsigned i = 0;

	for (unsigned a = 0; locals & LOCAL_NAMED && a < scope->num_addresses; a++, i++)
		put_step(steps[i], scope->addresses[a],
			 flow_address_is_ipv4(scope->addresses[a]) ? AF_INET : AF_INET6,
			 (num - 1 - i) * STEP_SIZE);
	for (unsigned f = 0; locals & LOCAL_ANY && f < FAMILIES_NUM; f++, i++)
		put_step(steps[i], any_address, families[f], (num - 1 - i) * STEP_SIZE);
	mnl_attr_put(request, INET_DIAG_REQ_BYTECODE, num * STEP_SIZE, steps);
}

/* The one that it names, or all of an SCTP socket. */
static unsigned read_locals(const struct nlmsghdr *header,
			    uint8_t ret_locals[LOCALS_MAX][FLOW_ADDRESS_LEN])
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(header);
	const struct sockaddr_storage *all;
	const struct nlattr *attr;
	unsigned num = 0;

	mnl_attr_for_each(attr, header, sizeof(*socket))
	{
		if (mnl_attr_get_type(attr) != INET_DIAG_LOCALS)
			continue;
		all = mnl_attr_get_payload(attr);
		num = mnl_attr_get_payload_len(attr) / sizeof(*all);
		num = num < LOCALS_MAX ? num : LOCALS_MAX;
		for (unsigned i = 0; i < num; i++)
			read_socket_address(ret_locals[i], &all[i]);
	}
	if (num == 0)
		read_address(ret_locals[num++], socket->idiag_family,
			     socket->id.idiag_src);
	return num;
}

/* Does what comes in by the port reach it? */
static bool is_on_port(const struct inet_diag_msg *socket, const struct found *found)
{
	return socket->id.idiag_if == 0 || socket->id.idiag_if == found->scope->ifindex;
}

static int take_connection(const struct nlmsghdr *header, void *arg)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(header);
	uint8_t locals[LOCALS_MAX][FLOW_ADDRESS_LEN];
	struct found *found = arg;
	struct flow_key key;
	int error = 0;

	read_key(socket, found->query->protocol, &key);
	if (!is_on_port(socket, found) || key.foreign_port == 0)
		return 0;
	for (unsigned i = read_locals(header, locals); i-- > 0 && error == 0;) {
		memcpy(key.local, locals[i], FLOW_ADDRESS_LEN);
		if (has_address(found->scope, key.local))
			error = found_add(found, &key);
	}
	return error;
}

/* Whose packets it takes for a local address that is any. */
static uint8_t any_families(const struct nlmsghdr *header, const uint8_t *local)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(header);
	const struct nlattr *attr;

	if (socket->idiag_family == AF_INET || flow_address_is_ipv4(local))
		return LISTENER_IPV4;
	mnl_attr_for_each(attr, header, sizeof(*socket))
	{
		if (mnl_attr_get_type(attr) == INET_DIAG_SKV6ONLY &&
		    mnl_attr_get_payload_len(attr) == 1 && mnl_attr_get_u8(attr))
			return LISTENER_IPV6;
	}
	return LISTENER_IPV4 | LISTENER_IPV6;
}

static int add_listener(const struct nlmsghdr *header, const uint8_t *local,
			struct found *found)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(header);
	struct listener listener = {
		.local_port = ntohs(socket->id.idiag_sport),
		.foreign_port = ntohs(socket->id.idiag_dport),
		.protocol = found->query->protocol,
	};

	if (listener.foreign_port)
		read_address(listener.foreign, socket->idiag_family,
			     socket->id.idiag_dst);
	if (is_any(local)) {
		listener.families = listener.foreign_port ? family_bit(listener.foreign)
							  : any_families(header, local);
	} else if (has_address(found->scope, local)) {
		memcpy(listener.local, local, FLOW_ADDRESS_LEN);
		listener.families = family_bit(local);
	}
	listener.families &= found->families;
	return listener.families ? found_add(found, &listener) : 0;
}

/* The states that were asked for are the kernel's; SCTP has others for associations. */
static int take_listener(const struct nlmsghdr *header, void *arg)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(header);
	uint8_t locals[LOCALS_MAX][FLOW_ADDRESS_LEN];
	struct found *found = arg;
	int error = 0;

	if (!is_on_port(socket, found) ||
	    !(found->query->states & STATE(socket->idiag_state)))
		return 0;
	for (unsigned i = read_locals(header, locals); i-- > 0 && error == 0;)
		error = add_listener(header, locals[i], found);
	return error;
}

static int run_query(struct sockets *sockets, unsigned family, take_fn take,
		     struct found *found)
{
	const struct query *query = found->query;
	int ret = find_protocol(sockets, query->protocol, family);

	if (ret <= 0)
		return ret;
	start_request(sockets, NLM_F_DUMP, families[family], query->protocol)
		->idiag_states = query->states;
	put_filter(sockets->request, found->scope, query->locals);
	return exchange(sockets, take, found);
}

static int run_queries(struct sockets *sockets, const struct query *query, take_fn take,
		       struct found *found)
{
	int error = 0;

	found->num = 0;
	for (; query->protocol && error == 0; query++) {
		found->query = query;
		for (unsigned i = 0; i < FAMILIES_NUM && error == 0; i++)
			error = run_query(sockets, i, take, found);
	}
	return error;
}

/* All of it again if the tables changed meanwhile. */
static int read_all(struct sockets *sockets, const struct query *queries, take_fn take,
		    struct found *found)
{
	int error = -EAGAIN;

	if (found->scope->num_addresses > SOCKETS_ADDRESSES_MAX)
		return -E2BIG;
	for (unsigned i = 0; i < found->scope->num_addresses; i++)
		found->families |= family_bit(found->scope->addresses[i]);
	for (int i = 0; error == -EAGAIN && i < READ_TRIES; i++)
		error = run_queries(sockets, queries, take, found);
	if (error || found->num == 0) {
		free(found->items);
		found->items = NULL;
	}
	return error;
}

int sockets_read_connections(struct sockets *sockets, const struct sockets_scope *scope,
			     struct flow_key **ret_keys, unsigned *ret_num)
{
	struct found found = {.scope = scope, .item_size = sizeof(**ret_keys)};
	int error = read_all(sockets, connection_queries, take_connection, &found);

	if (error)
		return error;
	*ret_keys = (struct flow_key *)(void *)found.items;
	*ret_num = found.num;
	return 0;
}

int sockets_read_listeners(struct sockets *sockets, const struct sockets_scope *scope,
			   struct listener **ret_listeners, unsigned *ret_num)
{
	struct found found = {.scope = scope, .item_size = sizeof(**ret_listeners)};
	int error = read_all(sockets, listener_queries, take_listener, &found);

	if (error)
		return error;
	*ret_listeners = (struct listener *)(void *)found.items;
	*ret_num = found.num;
	return 0;
}

/* ---- the handle ---- */

static int open_socket(struct sockets *sockets)
{
	int error;

	sockets->socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	if (!sockets->socket)
		return -errno;
	error = mnl_socket_bind(sockets->socket, 0, MNL_SOCKET_AUTOPID);
	return error < 0 ? -errno : 0;
}

/* A kernel that has no netlink of this kind says -EPROTONOSUPPORT by itself. */
static int check_protocols(struct sockets *sockets)
{
	int tcp = find_protocol(sockets, IPPROTO_TCP, 0);
	int udp = find_protocol(sockets, IPPROTO_UDP, 0);

	if (tcp < 0 || udp < 0)
		return tcp < 0 ? tcp : udp;
	return tcp && udp ? 0 : -EPROTONOSUPPORT;
}

int sockets_open(const struct netns *netns, struct sockets **ret_sockets)
{
	struct sockets *sockets = calloc(1, sizeof(*sockets));
	int error;

	if (!sockets)
		return -ENOMEM;
	error = netns_enter(netns);
	if (error == 0) {
		error = open_socket(sockets);
		netns_leave(netns);
	}
	if (error == 0)
		error = check_protocols(sockets);
	if (error) {
		sockets_close(sockets);
		return error;
	}
	*ret_sockets = sockets;
	return 0;
}

void sockets_close(struct sockets *sockets)
{
	if (!sockets)
		return;
	if (sockets->socket)
		mnl_socket_close(sockets->socket);
	free(sockets);
}
