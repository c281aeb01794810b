/* Real sockets in a namespace whose only devices are the loopback and a TAP: the one is
 * the port, 127.0.0.9 and ::1 are the global addresses. */
#include "control/listeners.h"
#include "data/tap.h"

#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <limits.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#define LO_INDEX   1
#define WAIT_TRIES 5000 /* of 1 ms */
#define FDS_MAX	   512

struct fixture {
	struct sockets *sockets;
	uint8_t addresses[2][FLOW_ADDRESS_LEN];
	struct sockets_scope scope;
	struct tap tap;
	unsigned num_fds;
	int fds[FDS_MAX];
	unsigned num; /* of the last read */
	struct listener *listeners;
	struct flow_key *keys;
};

/* ---- between the kernel and the code ---- */

ssize_t __real_mnl_socket_recvfrom(const void *socket, void *buffer, size_t size);
ssize_t __wrap_mnl_socket_recvfrom(const void *socket, void *buffer, size_t size);

static unsigned interruptions; /* still to come */
static size_t smallest_buffer;

/* The kernel says that the tables changed under the dump. */
ssize_t __wrap_mnl_socket_recvfrom(const void *socket, void *buffer, size_t size)
{
	ssize_t received = __real_mnl_socket_recvfrom(socket, buffer, size);
	struct nlmsghdr *header = buffer;

	if (size < smallest_buffer)
		smallest_buffer = size;
	if (received > 0 && header->nlmsg_flags & NLM_F_MULTI && interruptions) {
		header->nlmsg_flags |= NLM_F_DUMP_INTR;
		interruptions--;
	}
	return received;
}

/* ---- addresses ---- */

static void parse(const char *text, uint8_t ret[FLOW_ADDRESS_LEN])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	memcpy(ret, mapped, sizeof(mapped));
	if (strchr(text, ':'))
		CHECK_INT(inet_pton(AF_INET6, text, ret), 1);
	else
		CHECK_INT(inet_pton(AF_INET, text, ret + sizeof(mapped)), 1);
}

static socklen_t make_name(const char *text, uint16_t port, struct sockaddr_storage *name)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)name;
	struct sockaddr_in *in = (struct sockaddr_in *)name;

	memset(name, 0, sizeof(*name));
	if (strchr(text, ':')) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		CHECK_INT(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
		return sizeof(*in6);
	}
	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	CHECK_INT(inet_pton(AF_INET, text, &in->sin_addr), 1);
	return sizeof(*in);
}

static struct flow_key make_key(uint8_t protocol, const char *foreign,
				uint16_t foreign_port, const char *local,
				uint16_t local_port)
{
	struct flow_key key = {.protocol = protocol,
			       .foreign_port = foreign_port,
			       .local_port = local_port};

	parse(foreign, key.foreign);
	parse(local, key.local);
	return key;
}

/* ---- the namespace and its sockets ---- */

static const char *fixture_open(struct fixture *f)
{
	struct ifreq up = {.ifr_flags = IFF_UP | IFF_RUNNING};
	const char *why_not = netns_enter_for_tap();

	memset(f, 0, sizeof(*f));
	interruptions = 0;
	smallest_buffer = SIZE_MAX;
	tap_init(&f->tap);
	if (why_not)
		return why_not;
	CHECK_INT(change_interface("lo", SIOCSIFFLAGS, &up), 0);
	parse("127.0.0.9", f->addresses[0]);
	parse("::1", f->addresses[1]);
	f->scope.addresses = (const uint8_t(*)[FLOW_ADDRESS_LEN])f->addresses;
	f->scope.num_addresses = 2;
	f->scope.ifindex = LO_INDEX;
	CHECK_INT(sockets_open(NULL, &f->sockets), 0);
	return NULL;
}

static void fixture_close(struct fixture *f)
{
	while (f->num_fds)
		close(f->fds[--f->num_fds]);
	sockets_close(f->sockets);
	tap_destroy(&f->tap);
	free(f->listeners);
	free(f->keys);
}

#define OPEN(f) START_OR_SKIP(fixture_open(f))

enum option { PLAIN = 0, V6ONLY = 1, REUSEPORT = 2, ON_LO = 4, ON_TAP = 8, LISTEN = 16 };

static int keep(struct fixture *f, int fd)
{
	CHECK(fd >= 0);
	if (fd >= 0 && f->num_fds < FDS_MAX)
		f->fds[f->num_fds++] = fd;
	return fd;
}

static int open_socket(struct fixture *f, int type, int protocol, const char *text,
		       uint16_t port, unsigned options)
{
	struct sockaddr_storage name;
	socklen_t length = make_name(text, port, &name);
	int fd = keep(f, socket(name.ss_family, type | SOCK_CLOEXEC, protocol)), on = 1;
	int v6only = options & V6ONLY ? 1 : 0;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (name.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
	if (options & REUSEPORT)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (options & ON_LO)
		CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
	if (options & ON_TAP)
		CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "shm0", 5), 0);
	CHECK_INT(bind(fd, (struct sockaddr *)&name, length), 0);
	if (options & LISTEN)
		CHECK_INT(listen(fd, 64), 0);
	return fd;
}

static int tcp_listen(struct fixture *f, const char *text, uint16_t port,
		      unsigned options)
{
	return open_socket(f, SOCK_STREAM, IPPROTO_TCP, text, port, options | LISTEN);
}

static int udp_bind(struct fixture *f, const char *text, uint16_t port, unsigned options)
{
	return open_socket(f, SOCK_DGRAM, IPPROTO_UDP, text, port, options);
}

static int connect_to(int fd, const char *text, uint16_t port)
{
	struct sockaddr_storage name;
	socklen_t length = make_name(text, port, &name);

	return connect(fd, (struct sockaddr *)&name, length) < 0 ? -errno : 0;
}

static int tcp_connect(struct fixture *f, const char *from, uint16_t from_port,
		       const char *to, uint16_t to_port)
{
	int fd = open_socket(f, SOCK_STREAM, IPPROTO_TCP, from, from_port, PLAIN);

	CHECK_INT(connect_to(fd, to, to_port), 0);
	return fd;
}

/* ---- questions ---- */

static int find(struct fixture *f, const struct flow_key *key)
{
	struct socket_match match;

	return sockets_find(f->sockets, &f->scope, key, &match);
}

static int find_text(struct fixture *f, uint8_t protocol, const char *foreign,
		     uint16_t foreign_port, const char *local, uint16_t local_port)
{
	struct flow_key key =
		make_key(protocol, foreign, foreign_port, local, local_port);

	return find(f, &key);
}

static void read_listeners(struct fixture *f)
{
	free(f->listeners);
	f->listeners = NULL;
	f->num = 0;
	CHECK_INT(listeners_read(f->sockets, &f->scope, &f->listeners, &f->num), 0);
}

/* "": any. How often. */
static unsigned count_listeners(const struct fixture *f, uint8_t protocol,
				const char *local, uint16_t port, unsigned families)
{
	struct listener wanted = {
		.local_port = port, .protocol = protocol, .families = (uint8_t)families};
	unsigned count = 0;

	if (*local)
		parse(local, wanted.local);
	for (unsigned i = 0; i < f->num; i++)
		count += memcmp(&f->listeners[i], &wanted, sizeof(wanted)) == 0;
	return count;
}

static void read_connections(struct fixture *f)
{
	free(f->keys);
	f->keys = NULL;
	f->num = 0;
	CHECK_INT(sockets_read_connections(f->sockets, &f->scope, &f->keys, &f->num), 0);
}

static unsigned count_keys(const struct fixture *f, const struct flow_key *key)
{
	unsigned count = 0;

	for (unsigned i = 0; i < f->num; i++)
		count += memcmp(&f->keys[i], key, sizeof(*key)) == 0;
	return count;
}

#define BOTH (LISTENER_IPV4 | LISTENER_IPV6)

/* ---- exact look-ups ---- */

TEST_CASE(sockets, finds_a_tcp_connection)
{
	struct fixture f;

	OPEN(&f);
	tcp_listen(&f, "127.0.0.9", 80, PLAIN);
	tcp_listen(&f, "::1", 80, PLAIN);
	tcp_connect(&f, "127.0.0.7", 4000, "127.0.0.9", 80);
	tcp_connect(&f, "::1", 4000, "::1", 80);
	CHECK_INT(find_text(&f, IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 80), 1);
	CHECK_INT(find_text(&f, IPPROTO_TCP, "::1", 4000, "::1", 80), 1);
	fixture_close(&f);
}

/* The kernel answers with the listener in place of a connection that it has not. */
TEST_CASE(sockets, takes_no_listener_for_a_connection)
{
	struct fixture f;

	OPEN(&f);
	tcp_listen(&f, "127.0.0.9", 80, PLAIN);
	tcp_listen(&f, "::", 81, PLAIN);
	CHECK_INT(find_text(&f, IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 80), 0);
	CHECK_INT(find_text(&f, IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 81), 0);
	CHECK_INT(find_text(&f, IPPROTO_TCP, "::2", 4000, "::1", 81), 0);
	CHECK_INT(find_text(&f, IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 82), 0);
	fixture_close(&f);
}

TEST_CASE(sockets, finds_ipv4_on_a_dual_stack_socket)
{
	struct flow_key key = make_key(IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 80);
	struct fixture f;
	int udp;

	OPEN(&f);
	tcp_listen(&f, "::", 80, PLAIN);
	tcp_connect(&f, "127.0.0.7", 4000, "127.0.0.9", 80);
	CHECK_INT(find(&f, &key), 1);
	read_connections(&f);
	CHECK_INT(count_keys(&f, &key), 1);
	udp = udp_bind(&f, "::ffff:127.0.0.9", 53, PLAIN);
	CHECK_INT(connect_to(udp, "::ffff:127.0.0.7", 4000), 0);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.7", 4000, "127.0.0.9", 53), 1);
	key = make_key(IPPROTO_UDP, "127.0.0.7", 4000, "127.0.0.9", 53);
	read_connections(&f);
	CHECK_INT(count_keys(&f, &key), 1);
	fixture_close(&f);
}

/*
 * A backlog of one: the next SYN gets no answer. One that is half open is found, and not
 * listed: the client may have gone on with another node.
 */
TEST_CASE(sockets, finds_connections_that_are_being_made)
{
	struct flow_key opening =
		make_key(IPPROTO_TCP, "127.0.0.7", 80, "127.0.0.9", 4009);
	struct flow_key half = make_key(IPPROTO_TCP, "127.0.0.7", 4001, "127.0.0.9", 81);
	struct socket_match match;
	struct fixture f;
	int fd, wait_s = 5;

	OPEN(&f);
	fd = open_socket(&f, SOCK_STREAM, IPPROTO_TCP, "127.0.0.7", 80, PLAIN);
	CHECK_INT(listen(fd, 0), 0);
	tcp_connect(&f, "127.0.0.9", 4008, "127.0.0.7", 80);
	fd = open_socket(&f, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP, "127.0.0.9", 4009,
			 PLAIN);
	CHECK_INT(connect_to(fd, "127.0.0.7", 80), -EINPROGRESS);
	CHECK_INT(find(&f, &opening), 1);
	/* The server's kernel keeps it half open until there is something to read. */
	fd = tcp_listen(&f, "127.0.0.9", 81, PLAIN);
	CHECK_INT(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &wait_s, sizeof(wait_s)),
		  0);
	tcp_connect(&f, "127.0.0.7", 4001, "127.0.0.9", 81);
	CHECK_INT(sockets_find(f.sockets, &f.scope, &half, &match), 1);
	CHECK(match.is_half);
	CHECK_INT(sockets_find(f.sockets, &f.scope, &opening, &match), 1);
	CHECK(!match.is_half);
	read_connections(&f);
	CHECK_INT(count_keys(&f, &opening), 1);
	CHECK_INT(count_keys(&f, &half), 0);
	fixture_close(&f);
}

TEST_CASE(sockets, says_when_a_connection_is_over)
{
	struct flow_key key = make_key(IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 80);
	struct socket_match match = {.is_over = true};
	struct fixture f;
	int client, server, listener;

	OPEN(&f);
	listener = tcp_listen(&f, "127.0.0.9", 80, PLAIN);
	client = tcp_connect(&f, "127.0.0.7", 4000, "127.0.0.9", 80);
	server = keep(&f, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	CHECK_INT(sockets_find(f.sockets, &f.scope, &key, &match), 1);
	CHECK(!match.is_over);
	/* Who closes first has it in TIME_WAIT. */
	shutdown(server, SHUT_RDWR);
	shutdown(client, SHUT_RDWR);
	for (int i = 0; i < WAIT_TRIES && !match.is_over; i++) {
		CHECK_INT(sockets_find(f.sockets, &f.scope, &key, &match), 1);
		usleep(1000);
	}
	CHECK(match.is_over);
	read_connections(&f);
	CHECK_INT(count_keys(&f, &key), 0);
	fixture_close(&f);
}

TEST_CASE(sockets, finds_udp_with_its_peer_only)
{
	struct fixture f;
	int fd;

	OPEN(&f);
	udp_bind(&f, "127.0.0.9", 52, PLAIN);
	fd = udp_bind(&f, "127.0.0.9", 53, PLAIN);
	CHECK_INT(connect_to(fd, "127.0.0.7", 4000), 0);
	fd = udp_bind(&f, "::1", 53, PLAIN);
	CHECK_INT(connect_to(fd, "::1", 4000), 0);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.7", 4000, "127.0.0.9", 53), 1);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "::1", 4000, "::1", 53), 1);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.7", 4001, "127.0.0.9", 53), 0);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.8", 4000, "127.0.0.9", 53), 0);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.7", 4000, "127.0.0.9", 52), 0);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.7", 4000, "127.0.0.9", 51), 0);
	/* The other way round it is not the same. */
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.9", 53, "127.0.0.7", 4000), 0);
	fixture_close(&f);
}

TEST_CASE(sockets, knows_no_connection_of_other_protocols)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(find_text(&f, IPPROTO_ICMP, "127.0.0.7", 0, "127.0.0.9", 0), 0);
	CHECK_INT(find_text(&f, IPPROTO_GRE, "127.0.0.7", 0, "127.0.0.9", 0), 0);
	CHECK_INT(find_text(&f, IPPROTO_SCTP, "127.0.0.7", 1, "127.0.0.9", 1), 0);
	fixture_close(&f);
}

TEST_CASE(sockets, finds_those_bound_to_the_port)
{
	enum tap_error why;
	struct fixture f;
	int fd;

	OPEN(&f);
	CHECK_INT(tap_open(&f.tap, "shm0", 1, TAP_CREATE, &why), 0);
	tcp_listen(&f, "127.0.0.9", 80, ON_LO);
	tcp_connect(&f, "127.0.0.7", 4000, "127.0.0.9", 80);
	fd = udp_bind(&f, "127.0.0.9", 53, ON_LO);
	CHECK_INT(connect_to(fd, "127.0.0.7", 4000), 0);
	CHECK_INT(find_text(&f, IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 80), 1);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.7", 4000, "127.0.0.9", 53), 1);
	read_connections(&f);
	CHECK_INT(f.num, 2);
	f.scope.ifindex = if_nametoindex("shm0");
	CHECK_INT(find_text(&f, IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 80), 0);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.7", 4000, "127.0.0.9", 53), 0);
	read_connections(&f);
	CHECK_INT(f.num, 0);
	fixture_close(&f);
}

/* ---- all connections ---- */

TEST_CASE(sockets, reads_those_of_the_addresses_only)
{
	struct flow_key v4 = make_key(IPPROTO_TCP, "127.0.0.7", 4000, "127.0.0.9", 80);
	struct flow_key v6 = make_key(IPPROTO_TCP, "::1", 4000, "::1", 80);
	struct flow_key other = make_key(IPPROTO_TCP, "::1", 80, "::1", 4000);
	struct fixture f;

	OPEN(&f);
	read_connections(&f);
	CHECK_INT(f.num, 0);
	CHECK(!f.keys);
	tcp_listen(&f, "0.0.0.0", 80, PLAIN);
	tcp_listen(&f, "::1", 80, PLAIN);
	tcp_connect(&f, "127.0.0.7", 4000, "127.0.0.9", 80);
	tcp_connect(&f, "127.0.0.7", 4001, "127.0.0.8", 80);
	tcp_connect(&f, "::1", 4000, "::1", 80);
	read_connections(&f);
	CHECK_INT(f.num, 3);
	CHECK_INT(count_keys(&f, &v4), 1);
	CHECK_INT(count_keys(&f, &v6), 1);    /* of the server, */
	CHECK_INT(count_keys(&f, &other), 1); /* and of the client */
	f.scope.num_addresses = 1;
	read_connections(&f);
	CHECK_INT(f.num, 1);
	fixture_close(&f);
}

TEST_CASE(sockets, reads_more_than_a_buffer_holds)
{
	const unsigned wanted = 400;
	struct fixture f;

	OPEN(&f);
	for (unsigned i = 0; i < wanted; i++) {
		int fd = udp_bind(&f, "127.0.0.9", (uint16_t)(2000 + i), PLAIN);

		CHECK_INT(connect_to(fd, "127.0.0.7", 4000), 0);
	}
	read_connections(&f);
	CHECK_INT(f.num, wanted);
	/* The kernel fills that much, and what has no room is lost without a word. */
	CHECK(smallest_buffer >= 32768);
	for (unsigned i = 0; i < wanted; i++) {
		struct flow_key key = make_key(IPPROTO_UDP, "127.0.0.7", 4000,
					       "127.0.0.9", (uint16_t)(2000 + i));

		CHECK_INT(count_keys(&f, &key), 1);
	}
	fixture_close(&f);
}

TEST_CASE(sockets, reads_again_what_was_interrupted)
{
	struct fixture f;

	OPEN(&f);
	tcp_listen(&f, "127.0.0.9", 80, PLAIN);
	tcp_connect(&f, "127.0.0.7", 4000, "127.0.0.9", 80);
	interruptions = 1;
	read_connections(&f);
	CHECK_INT(f.num, 1);
	interruptions = 3;
	read_listeners(&f);
	CHECK_INT(f.num, 1);
	interruptions = UINT_MAX;
	CHECK_INT(listeners_read(f.sockets, &f.scope, &f.listeners, &f.num), -EAGAIN);
	interruptions = 0;
	read_listeners(&f);
	CHECK_INT(f.num, 1);
	fixture_close(&f);
}

TEST_CASE(sockets, takes_sixteen_addresses)
{
	uint8_t addresses[SOCKETS_ADDRESSES_MAX + 1][FLOW_ADDRESS_LEN];
	struct fixture f;

	OPEN(&f);
	for (unsigned i = 0; i < SOCKETS_ADDRESSES_MAX; i++) {
		char text[32];

		snprintf(text, sizeof(text), i % 2 ? "127.0.0.%u" : "fd99::%u", i + 1);
		parse(text, addresses[i]);
	}
	parse("127.0.0.9", addresses[SOCKETS_ADDRESSES_MAX - 1]);
	f.scope.addresses = (const uint8_t(*)[FLOW_ADDRESS_LEN])addresses;
	f.scope.num_addresses = SOCKETS_ADDRESSES_MAX;
	tcp_listen(&f, "127.0.0.9", 80, PLAIN);
	tcp_listen(&f, "127.0.0.2", 80, PLAIN);
	tcp_listen(&f, "127.0.0.3", 80, PLAIN);
	tcp_listen(&f, "::", 81, V6ONLY);
	read_listeners(&f);
	CHECK_INT(f.num, 3);
	f.scope.num_addresses++;
	CHECK_INT(listeners_read(f.sockets, &f.scope, &f.listeners, &f.num), -E2BIG);
	fixture_close(&f);
}

/* ---- listeners ---- */

TEST_CASE(listeners, of_tcp)
{
	struct fixture f;

	OPEN(&f);
	read_listeners(&f);
	CHECK_INT(f.num, 0);
	CHECK(!f.listeners);
	tcp_listen(&f, "127.0.0.9", 80, PLAIN);
	tcp_listen(&f, "127.0.0.8", 80, PLAIN); /* somebody else's */
	tcp_listen(&f, "::1", 80, PLAIN);
	tcp_listen(&f, "0.0.0.0", 81, PLAIN);
	tcp_listen(&f, "::", 82, PLAIN);
	tcp_listen(&f, "::", 83, V6ONLY);
	tcp_listen(&f, "::ffff:0.0.0.0", 84, PLAIN);
	tcp_listen(&f, "::ffff:127.0.0.9", 85, PLAIN);
	/* Bound, but it does not listen. */
	open_socket(&f, SOCK_STREAM, IPPROTO_TCP, "127.0.0.9", 86, PLAIN);
	tcp_connect(&f, "127.0.0.7", 4000, "127.0.0.9", 80);
	read_listeners(&f);
	CHECK_INT(f.num, 7);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "127.0.0.9", 80, LISTENER_IPV4), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "::1", 80, LISTENER_IPV6), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "", 81, LISTENER_IPV4), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "", 82, BOTH), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "", 83, LISTENER_IPV6), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "", 84, LISTENER_IPV4), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "127.0.0.9", 85, LISTENER_IPV4), 1);
	fixture_close(&f);
}

TEST_CASE(listeners, of_datagrams)
{
	struct fixture f;
	int fd;

	OPEN(&f);
	udp_bind(&f, "127.0.0.9", 53, PLAIN);
	udp_bind(&f, "127.0.0.8", 54, PLAIN);
	udp_bind(&f, "::", 55, PLAIN);
	udp_bind(&f, "::", 56, V6ONLY);
	udp_bind(&f, "::ffff:0.0.0.0", 57, PLAIN);
	fd = udp_bind(&f, "127.0.0.9", 58, PLAIN);
	CHECK_INT(connect_to(fd, "127.0.0.7", 4000), 0); /* a connection, by now */
	read_listeners(&f);
	CHECK_INT(f.num, 4);
	CHECK_INT(count_listeners(&f, IPPROTO_UDP, "127.0.0.9", 53, LISTENER_IPV4), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_UDP, "", 55, BOTH), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_UDP, "", 56, LISTENER_IPV6), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_UDP, "", 57, LISTENER_IPV4), 1);
	fixture_close(&f);
}

TEST_CASE(listeners, of_udplite)
{
	struct fixture f;
	int fd;

	OPEN(&f);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDPLITE);
	if (fd < 0) {
		fixture_close(&f);
		TEST_SKIP("the kernel has no UDP-Lite");
	}
	keep(&f, fd);
	open_socket(&f, SOCK_DGRAM, IPPROTO_UDPLITE, "127.0.0.9", 53, PLAIN);
	fd = open_socket(&f, SOCK_DGRAM, IPPROTO_UDPLITE, "127.0.0.9", 54, PLAIN);
	CHECK_INT(connect_to(fd, "127.0.0.7", 4000), 0);
	read_listeners(&f);
	CHECK_INT(f.num, 1);
	CHECK_INT(count_listeners(&f, IPPROTO_UDPLITE, "127.0.0.9", 53, LISTENER_IPV4),
		  1);
	CHECK_INT(find_text(&f, IPPROTO_UDPLITE, "127.0.0.7", 4000, "127.0.0.9", 54), 1);
	CHECK_INT(find_text(&f, IPPROTO_UDP, "127.0.0.7", 4000, "127.0.0.9", 54), 0);
	fixture_close(&f);
}

TEST_CASE(listeners, of_sctp)
{
	struct flow_key key = make_key(IPPROTO_SCTP, "127.0.0.7", 4000, "127.0.0.9", 80);
	struct fixture f;
	int fd;

	OPEN(&f);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP);
	if (fd < 0) {
		fixture_close(&f);
		TEST_SKIP("the kernel has no SCTP");
	}
	keep(&f, fd);
	open_socket(&f, SOCK_STREAM, IPPROTO_SCTP, "127.0.0.9", 80, LISTEN);
	open_socket(&f, SOCK_STREAM, IPPROTO_SCTP, "0.0.0.0", 81, LISTEN);
	open_socket(&f, SOCK_STREAM, IPPROTO_SCTP, "127.0.0.8", 82, LISTEN);
	fd = open_socket(&f, SOCK_STREAM, IPPROTO_SCTP, "127.0.0.7", 4000, PLAIN);
	CHECK_INT(connect_to(fd, "127.0.0.9", 80), 0);
	read_listeners(&f);
	CHECK_INT(count_listeners(&f, IPPROTO_SCTP, "127.0.0.9", 80, LISTENER_IPV4), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_SCTP, "", 81, LISTENER_IPV4), 1);
	CHECK_INT(f.num, 2);
	CHECK_INT(find(&f, &key), 1);
	CHECK_INT(find_text(&f, IPPROTO_SCTP, "127.0.0.7", 4001, "127.0.0.9", 80), 0);
	read_connections(&f);
	CHECK_INT(count_keys(&f, &key), 1);
	fixture_close(&f);
}

/* Sixteen twins, and the two halves of what is open to both families. */
TEST_CASE(listeners, are_there_once)
{
	struct fixture f;

	OPEN(&f);
	for (int i = 0; i < 16; i++) {
		tcp_listen(&f, "127.0.0.9", 80, REUSEPORT);
		udp_bind(&f, "::", 53, REUSEPORT);
	}
	tcp_listen(&f, "0.0.0.0", 81, PLAIN);
	tcp_listen(&f, "::", 81, V6ONLY);
	read_listeners(&f);
	CHECK_INT(f.num, 3);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "127.0.0.9", 80, LISTENER_IPV4), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_UDP, "", 53, BOTH), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "", 81, BOTH), 1);
	fixture_close(&f);
}

TEST_CASE(listeners, of_another_family_are_none)
{
	struct fixture f;

	OPEN(&f);
	tcp_listen(&f, "::", 80, PLAIN);
	tcp_listen(&f, "::", 81, V6ONLY);
	udp_bind(&f, "::", 53, V6ONLY);
	f.scope.num_addresses = 1;
	read_listeners(&f);
	CHECK_INT(f.num, 1);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "", 80, LISTENER_IPV4), 1);
	fixture_close(&f);
}

TEST_CASE(listeners, of_another_device_are_none)
{
	enum tap_error why;
	struct fixture f;

	OPEN(&f);
	CHECK_INT(tap_open(&f.tap, "shm0", 1, TAP_CREATE, &why), 0);
	tcp_listen(&f, "0.0.0.0", 80, ON_LO);
	tcp_listen(&f, "0.0.0.0", 81, ON_TAP);
	udp_bind(&f, "127.0.0.9", 53, ON_LO);
	udp_bind(&f, "127.0.0.9", 54, ON_TAP);
	read_listeners(&f);
	CHECK_INT(f.num, 2);
	CHECK_INT(count_listeners(&f, IPPROTO_TCP, "", 80, LISTENER_IPV4), 1);
	CHECK_INT(count_listeners(&f, IPPROTO_UDP, "127.0.0.9", 53, LISTENER_IPV4), 1);
	fixture_close(&f);
}

/* A host without an address gives a datagram socket none when it takes a peer. */
TEST_CASE(listeners, with_a_peer)
{
	struct ifreq up = {.ifr_flags = IFF_UP};
	struct listener wanted = {.local_port = 53,
				  .foreign_port = 4000,
				  .protocol = IPPROTO_UDP,
				  .families = LISTENER_IPV4};
	enum tap_error why;
	struct fixture f;
	int fd;

	OPEN(&f);
	CHECK_INT(tap_open(&f.tap, "shm0", 1, TAP_CREATE, &why), 0);
	CHECK_INT(change_interface("shm0", SIOCSIFFLAGS, &up), 0);
	CHECK_INT(system("ip route add 198.51.100.0/24 dev shm0"), 0);
	fd = udp_bind(&f, "0.0.0.0", 53, PLAIN);
	CHECK_INT(connect_to(fd, "198.51.100.7", 4000), 0);
	parse("198.51.100.7", wanted.foreign);
	read_listeners(&f);
	REQUIRE(f.num == 1);
	CHECK_MEM(&f.listeners[0], &wanted, sizeof(wanted));
	CHECK_INT(find_text(&f, IPPROTO_UDP, "198.51.100.7", 4000, "127.0.0.9", 53), 0);
	fixture_close(&f);
}

TEST_CASE(listeners, are_sorted)
{
	const struct listener high = {
		.local = {1}, .local_port = 1, .protocol = 6, .families = 1};
	const struct listener low = {
		.local = {0}, .local_port = 2, .protocol = 6, .families = 2};
	struct listener list[] = {high, low, high};

	CHECK_INT(listeners_sort(list, 3), 2);
	CHECK_MEM(&list[0], &low, sizeof(low));
	CHECK_MEM(&list[1], &high, sizeof(high));
	CHECK_INT(listeners_sort(NULL, 0), 0);
}

/* ---- the handle ---- */

TEST_CASE(sockets, open_and_close)
{
	struct sockets *sockets = NULL;

	sockets_close(NULL);
	REQUIRE(sockets_open(NULL, &sockets) == 0);
	sockets_close(sockets);
}
