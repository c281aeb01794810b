/*
 * Channels between machines: two ends in one process over the loopback of a network
 * namespace, raw sockets for what no channel would send, and openssl's own client and
 * server for what TLS says.
 */
#include "base/log.h"
#include "control/channel_tls.h"

#include "certs.h"
#include "loop.h"
#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/resource.h>

#define PORT	 7000
#define LOG_MAX	 8
#define LAST_MAX 16

/* A channel's owner, and what it heard. */
struct ear {
	struct world_channel *channel;
	unsigned messages;
	size_t lengths[LOG_MAX];
	size_t bytes;
	char last[LAST_MAX];
	bool is_torn; /* a message was not what say() makes */
	unsigned closed;
	int error;
	bool close_on_message;
	bool close_on_closed;
};

struct end {
	struct tls_context *context;
	struct channel_tls *common;
};

struct rig {
	struct loop loop;
	struct certs certs;
	struct end a; /* node n1; it dials */
	struct end b; /* node n2; it listens */
	struct ear caller;
	struct ear ear; /* of what n2 accepted last */
	unsigned accepted;
	bool deaf; /* no handler is set */
};

/* ---- a channel ---- */

static void ear_close(struct ear *ear)
{
	if (ear->channel)
		world_channel_close(ear->channel);
	ear->channel = NULL;
}

static void on_message(void *arg, const uint8_t *bytes, size_t length,
		       struct world_parcel *parcel)
{
	struct ear *ear = arg;

	CHECK_INT(parcel->fd, -1);
	if (ear->messages < LOG_MAX)
		ear->lengths[ear->messages] = length;
	for (size_t i = 1; i < length; i++)
		ear->is_torn = ear->is_torn || bytes[i] != (uint8_t)(bytes[0] + i);
	snprintf(ear->last, sizeof(ear->last), "%.*s",
		 (int)(length < LAST_MAX ? length : LAST_MAX - 1), (const char *)bytes);
	ear->bytes += length;
	ear->messages++;
	if (ear->close_on_message)
		ear_close(ear);
}

static void on_closed(void *arg, int error)
{
	struct ear *ear = arg;

	ear->closed++;
	ear->error = error;
	if (ear->close_on_closed)
		ear_close(ear);
}

static const struct world_channel_handler ear_handler = {
	.message = on_message,
	.closed = on_closed,
};

static void ear_attach(struct ear *ear, struct world_channel *channel)
{
	ear->channel = channel;
	world_channel_set_handler(channel, &ear_handler, ear);
}

/* A message in which every byte can be checked. */
static int say(struct world_channel *channel, uint8_t first, size_t length)
{
	static uint8_t bytes[WORLD_MESSAGE_MAX + 1];

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(first + i);
	return world_channel_send(channel, bytes, length, -1);
}

static int say_words(struct world_channel *channel, const char *words)
{
	return world_channel_send(channel, (const uint8_t *)words, strlen(words), -1);
}

/* ---- two ends ---- */

static void on_accepted(void *arg, struct world_channel *channel)
{
	struct rig *rig = arg;

	rig->accepted++;
	ear_close(&rig->ear);
	memset(&rig->ear, 0, sizeof(rig->ear));
	rig->ear.channel = channel;
	if (!rig->deaf)
		ear_attach(&rig->ear, channel);
}

static struct sockaddr_in address_of(uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = {htonl(INADDR_LOOPBACK)},
	};

	return address;
}

static int end_listen(struct end *end, uint16_t port, char *error, size_t size)
{
	struct sockaddr_in address = address_of(port);

	return channel_tls_listen(end->common, (struct sockaddr *)&address,
				  sizeof(address), error, size);
}

static void end_open(struct rig *rig, struct end *end, struct tls_context *context)
{
	const struct channel_tls_options options = {
		.name = "between",
		.context = context,
		.accepted = on_accepted,
		.arg = rig,
	};

	end->context = context;
	CHECK_INT(channel_tls_new(rig->loop.base, &options, &end->common), 0);
}

static void end_close(struct end *end)
{
	channel_tls_free(end->common);
	tls_context_free(end->context);
	memset(end, 0, sizeof(*end));
}

static bool loopback_up(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_UP};

	return change_interface("lo", SIOCSIFFLAGS, &ifr) == 0;
}

/* Another end for n1 than the usual one. */
static void rig_set_caller(struct rig *rig, struct tls_context *context)
{
	ear_close(&rig->caller);
	end_close(&rig->a);
	end_open(rig, &rig->a, context);
}

static bool rig_open_with(struct rig *rig, bool has_tls)
{
	char error[CHANNEL_TLS_ERROR_MAX] = "";

	memset(rig, 0, sizeof(*rig));
	if (!loop_open(&rig->loop) || !loopback_up())
		return false;
	certs_open(&rig->certs, rig->loop.dir);
	end_open(rig, &rig->a,
		 has_tls ? certs_context(&rig->certs, "ca", "n1", "lab", "n1") : NULL);
	end_open(rig, &rig->b,
		 has_tls ? certs_context(&rig->certs, "ca", "n2", "lab", "n2") : NULL);
	CHECK_INT(end_listen(&rig->b, PORT, error, sizeof(error)), 0);
	return !test_failed();
}

static void rig_close(struct rig *rig)
{
	ear_close(&rig->caller);
	ear_close(&rig->ear);
	end_close(&rig->a);
	end_close(&rig->b);
	certs_close(&rig->certs);
	loop_close(&rig->loop);
}

#define RIG_OPEN(rig, has_tls)                                                           \
	do {                                                                             \
		const char *why = netns_enter();                                         \
                                                                                         \
		if (why)                                                                 \
			TEST_SKIP(why);                                                  \
		REQUIRE(rig_open_with(rig, has_tls));                                    \
	} while (0)

static bool rig_dial_port(struct rig *rig, uint16_t port)
{
	struct sockaddr_in address = address_of(port);
	struct world_channel *channel;

	memset(&rig->caller, 0, sizeof(rig->caller));
	if (!CHECK_INT(channel_tls_dial(rig->a.common, (struct sockaddr *)&address,
					sizeof(address), &channel),
		       0))
		return false;
	ear_attach(&rig->caller, channel);
	return true;
}

static bool rig_connect(struct rig *rig)
{
	unsigned before = rig->accepted;

	if (!rig_dial_port(rig, PORT))
		return false;
	LOOP_WAIT(&rig->loop, rig->accepted > before || rig->caller.closed);
	return CHECK_STR(rig->caller.closed ? world_channel_why(rig->caller.channel) : "",
			 "");
}

/* Somebody who is no node. */
static int rig_intrude(void)
{
	struct sockaddr_in address = address_of(PORT);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void put(int fd, const void *bytes, size_t length)
{
	CHECK_INT(send(fd, bytes, length, MSG_NOSIGNAL), length);
}

/* Has the other side closed the socket? What it said before is read. */
static bool is_shut(int fd)
{
	char bytes[256];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 || errno != EAGAIN;
}

/* ---- both kinds: a pair of good ones ---- */

static void check_talk(struct rig *rig)
{
	REQUIRE(rig_connect(rig));
	CHECK(world_channel_is_remote(rig->caller.channel));
	CHECK_INT(say(rig->caller.channel, 'a', 1), 0);
	CHECK_INT(say(rig->caller.channel, 'b', 1000), 0);
	CHECK_INT(say(rig->caller.channel, 'c', WORLD_MESSAGE_MAX), 0);
	CHECK_INT(say(rig->ear.channel, 'd', 77), 0);
	LOOP_WAIT(&rig->loop, rig->ear.messages == 3 && rig->caller.messages == 1);
	CHECK_INT(rig->ear.lengths[0], 1);
	CHECK_INT(rig->ear.lengths[1], 1000);
	CHECK_INT(rig->ear.lengths[2], WORLD_MESSAGE_MAX);
	CHECK_INT(rig->caller.lengths[0], 77);
	CHECK(!rig->ear.is_torn && !rig->caller.is_torn);
	CHECK_INT(say(rig->caller.channel, 0, WORLD_MESSAGE_MAX + 1), -EMSGSIZE);
	CHECK_INT(say(rig->caller.channel, 0, 0), -EMSGSIZE);
	CHECK(!world_channel_at_end(rig->ear.channel));
	ear_close(&rig->caller);
	LOOP_WAIT(&rig->loop, rig->ear.closed);
	CHECK_INT(rig->ear.error, 0);
	CHECK_STR(world_channel_why(rig->ear.channel), "");
	CHECK(world_channel_at_end(rig->ear.channel));
	CHECK_INT(say(rig->ear.channel, 'x', 1), -EPIPE);
}

TEST_CASE(channel_tls, messages_both_ways)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	check_talk(&rig);
	rig_close(&rig);
}

TEST_CASE(channel_tls, messages_both_ways_in_the_clear)
{
	struct rig rig;

	RIG_OPEN(&rig, false);
	check_talk(&rig);
	rig_close(&rig);
}

TEST_CASE(channel_tls, what_is_said_before_it_is_connected_arrives)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	REQUIRE(rig_dial_port(&rig, PORT));
	CHECK_INT(say(rig.caller.channel, 'a', 10), 0);
	CHECK_INT(say(rig.caller.channel, 'b', 20), 0);
	CHECK(!world_channel_at_end(rig.caller.channel));
	LOOP_WAIT(&rig.loop, rig.ear.messages == 2);
	CHECK_INT(rig.ear.lengths[1], 20);
	rig_close(&rig);
}

static void check_queue(struct rig *rig)
{
	unsigned sent = 0;
	int ret = 0;

	REQUIRE(rig_connect(rig));
	for (; ret == 0 && sent < 100000; sent++)
		ret = say(rig->caller.channel, (uint8_t)sent, 5000);
	CHECK_INT(ret, -EAGAIN);
	CHECK(sent > CHANNEL_TLS_QUEUE_MAX / 5004);
	LOOP_WAIT(&rig->loop, rig->ear.messages == sent - 1);
	CHECK_INT(rig->ear.bytes, (sent - 1) * 5000);
	CHECK(!rig->ear.is_torn);
	CHECK_INT(say(rig->caller.channel, 'x', 5000), 0);
	LOOP_WAIT(&rig->loop, rig->ear.messages == sent);
}

TEST_CASE(channel_tls, reader_that_does_not_read_is_not_waited_for)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	check_queue(&rig);
	rig_close(&rig);
}

TEST_CASE(channel_tls, reader_that_does_not_read_in_the_clear)
{
	struct rig rig;

	RIG_OPEN(&rig, false);
	check_queue(&rig);
	rig_close(&rig);
}

/* ---- who is there ---- */

TEST_CASE(channel_tls, names_and_keys)
{
	uint8_t keys[4][CHANNEL_KEY_BYTES];
	const uint8_t none[CHANNEL_KEY_BYTES] = {0};
	struct world_credentials credentials;
	struct rig rig;

	RIG_OPEN(&rig, true);
	REQUIRE(rig_connect(&rig));
	CHECK_INT(say(rig.ear.channel, 'a', 1), 0);
	LOOP_WAIT(&rig.loop, rig.caller.messages);
	world_channel_credentials(rig.caller.channel, &credentials);
	CHECK(credentials.is_remote);
	CHECK_STR(credentials.name, "n2");
	world_channel_credentials(rig.ear.channel, &credentials);
	CHECK_STR(credentials.name, "n1");
	world_channel_key(rig.caller.channel, keys[0]);
	world_channel_key(rig.ear.channel, keys[1]);
	CHECK_STR(channel_tls_address(rig.caller.channel), "127.0.0.1:7000");
	ear_close(&rig.caller);
	REQUIRE(rig_connect(&rig));
	world_channel_key(rig.ear.channel, keys[3]);
	CHECK_MEM(keys[0], keys[1], CHANNEL_KEY_BYTES);
	CHECK(memcmp(keys[1], keys[3], CHANNEL_KEY_BYTES) != 0);
	CHECK(memcmp(keys[1], none, CHANNEL_KEY_BYTES) != 0);
	rig_close(&rig);
}

TEST_CASE(channel_tls, in_the_clear_there_is_no_name_and_no_key)
{
	const uint8_t none[CHANNEL_KEY_BYTES] = {0};
	struct world_credentials credentials;
	uint8_t key[CHANNEL_KEY_BYTES];
	struct rig rig;

	RIG_OPEN(&rig, false);
	REQUIRE(rig_connect(&rig));
	world_channel_credentials(rig.ear.channel, &credentials);
	CHECK_STR(credentials.name, "");
	CHECK(credentials.is_remote);
	world_channel_key(rig.ear.channel, key);
	CHECK_MEM(key, none, sizeof(key));
	rig_close(&rig);
}

/* ---- what the log says ---- */

static char logged[1024];
static unsigned log_lines;

/* NOLINTNEXTLINE(bugprone-reserved-identifier): the linker's name */
void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	va_list args;

	(void)level;
	(void)subject;
	log_lines++;
	va_start(args, format);
	vsnprintf(logged, sizeof(logged), format, args);
	va_end(args);
}

static void log_clear(void)
{
	logged[0] = '\0';
	log_lines = 0;
}

/* ---- who is not let in ---- */

static void check_refused(struct rig *rig, const char *words)
{
	REQUIRE(rig_dial_port(rig, PORT));
	LOOP_WAIT(&rig->loop, rig->caller.closed);
	CHECK_INT(rig->caller.error, -EPROTO);
	check_words(world_channel_why(rig->caller.channel), "127.0.0.1:7000: ");
	check_words(world_channel_why(rig->caller.channel), words);
	CHECK(world_channel_at_end(rig->caller.channel));
	CHECK_INT(say(rig->caller.channel, 'a', 1), -EPIPE);
	LOOP_WAIT(&rig->loop, log_lines);
	CHECK_INT(rig->accepted, 0);
}

TEST_CASE(channel_tls, node_of_another_ca)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	log_clear();
	certs_make(&rig.certs, "x1", rig.certs.other, "lab", "n1", -1, 90);
	rig_set_caller(&rig, certs_context(&rig.certs, "other", "x1", "lab", "n1"));
	check_refused(&rig, "the certificate of node 'n2' in cluster 'lab' was signed by "
			    "'shmnet CA of lab', which is not the CA that the config");
	check_words(logged, "it refused the certificate of this node");
	rig_close(&rig);
}

TEST_CASE(channel_tls, node_of_another_cluster)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	log_clear();
	certs_make(&rig.certs, "x1", rig.certs.ca, "prod", "n1", -1, 90);
	rig_set_caller(&rig, certs_context(&rig.certs, "ca", "x1", "prod", "n1"));
	check_refused(&rig, "the certificate is of node 'n2' in cluster 'lab', and here "
			    "is cluster 'prod'");
	rig_close(&rig);
}

/* The one that dials has taken TLS for done when it hears of it. */
TEST_CASE(channel_tls, who_listens_refuses)
{
	char path[CERTS_PATH_MAX], other[CERTS_PATH_MAX], command[300];
	struct rig rig;

	RIG_OPEN(&rig, true);
	log_clear();
	snprintf(command, sizeof(command), "cat %s >>%s",
		 certs_path(&rig.certs, "other", "crt", other),
		 certs_path(&rig.certs, "ca", "crt", path));
	REQUIRE(system(command) == 0);
	rig_set_caller(&rig, certs_context(&rig.certs, "ca", "n1", "lab", "n1"));
	end_close(&rig.b);
	certs_make(&rig.certs, "x2", rig.certs.other, "lab", "n2", -1, 90);
	end_open(&rig, &rig.b, certs_context(&rig.certs, "other", "x2", "lab", "n2"));
	CHECK_INT(end_listen(&rig.b, PORT, command, sizeof(command)), 0);
	check_refused(&rig, "it refused the certificate of this node");
	check_words(logged,
		    "the certificate of node 'n1' in cluster 'lab' was signed by");
	rig_close(&rig);
}

TEST_CASE(channel_tls, one_in_the_clear_and_one_with_tls)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	log_clear();
	rig_set_caller(&rig, NULL);
	REQUIRE(rig_dial_port(&rig, PORT));
	CHECK_INT(say(rig.caller.channel, 'a', 100), 0);
	LOOP_WAIT(&rig.loop, rig.caller.closed);
	check_words(logged, "what it sends is no TLS");
	CHECK_INT(rig.accepted, 0);
	rig_close(&rig);
}

TEST_CASE(channel_tls, one_with_tls_and_one_in_the_clear)
{
	struct rig rig;

	RIG_OPEN(&rig, false);
	rig_set_caller(&rig, certs_context(&rig.certs, "ca", "n1", "lab", "n1"));
	REQUIRE(rig_dial_port(&rig, PORT));
	LOOP_WAIT(&rig.loop, rig.ear.closed);
	CHECK_INT(rig.ear.error, -EMSGSIZE);
	ear_close(&rig.ear);
	LOOP_WAIT(&rig.loop, rig.caller.closed);
	check_words(world_channel_why(rig.caller.channel), "before the TLS handshake");
	rig_close(&rig);
}

TEST_CASE(channel_tls, garbage_on_the_port)
{
	static const char garbage[] = "GET / HTTP/1.0\r\n\r\n";
	struct rig rig;
	int fd;

	RIG_OPEN(&rig, true);
	log_clear();
	fd = rig_intrude();
	put(fd, garbage, sizeof(garbage));
	LOOP_WAIT(&rig.loop, is_shut(fd));
	CHECK_INT(rig.accepted, 0);
	CHECK_INT(log_lines, 1);
	check_words(logged, "127.0.0.1:");
	check_words(logged, "what it sends is no TLS");
	close(fd);
	/* A second within the same second is not told of. */
	fd = rig_intrude();
	put(fd, garbage, sizeof(garbage));
	LOOP_WAIT(&rig.loop, is_shut(fd));
	CHECK_INT(log_lines, 1);
	close(fd);
	REQUIRE(rig_connect(&rig));
	rig_close(&rig);
}

TEST_CASE(channel_tls, oldest_of_too_many_unfinished_handshakes_goes)
{
	int fds[CHANNEL_TLS_HANDSHAKES_MAX + 1];
	struct rig rig;

	RIG_OPEN(&rig, true);
	log_clear();
	for (int i = 0; i <= CHANNEL_TLS_HANDSHAKES_MAX; i++)
		fds[i] = rig_intrude();
	LOOP_WAIT(&rig.loop, is_shut(fds[0]));
	check_words(logged, "the oldest of 64 unfinished TLS handshakes");
	for (int i = 1; i <= CHANNEL_TLS_HANDSHAKES_MAX; i++)
		CHECK(!is_shut(fds[i]));
	REQUIRE(rig_connect(&rig));
	CHECK(is_shut(fds[1]) && !is_shut(fds[2]));
	for (int i = 0; i <= CHANNEL_TLS_HANDSHAKES_MAX; i++)
		close(fds[i]);
	rig_close(&rig);
}

static int listen_mutely(uint16_t port)
{
	struct sockaddr_in address = address_of(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(listen(fd, 1), 0);
	return fd;
}

/* One in the middle of its greeting, and one that is dialled and says nothing. */
TEST_CASE(channel_tls, handshake_that_stalls)
{
	static const uint8_t hello[] = {0x16, 3, 1, 1, 0, 1, 0};
	struct rig rig;
	int fd, mute;

	RIG_OPEN(&rig, true);
	log_clear();
	fd = rig_intrude();
	put(fd, hello, sizeof(hello));
	mute = listen_mutely(PORT + 1);
	REQUIRE(rig_dial_port(&rig, PORT + 1));
	LOOP_WAIT(&rig.loop, is_shut(fd) && rig.caller.closed);
	check_words(logged, "no TLS handshake within 5 s");
	CHECK_INT(rig.caller.error, -ETIMEDOUT);
	check_words(world_channel_why(rig.caller.channel),
		    "127.0.0.1:7001: no TLS handshake within 5 s");
	CHECK_INT(rig.accepted, 0);
	close(fd);
	close(mute);
	rig_close(&rig);
}

TEST_CASE(channel_tls, nobody_listens)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	REQUIRE(rig_dial_port(&rig, PORT + 1));
	LOOP_WAIT(&rig.loop, rig.caller.closed);
	CHECK_INT(rig.caller.error, -ECONNREFUSED);
	CHECK_STR(world_channel_why(rig.caller.channel),
		  "can't connect to 127.0.0.1:7001: Connection refused");
	rig_close(&rig);
}

TEST_CASE(channel_tls, no_way_to_the_address)
{
	struct sockaddr_in address = address_of(PORT);
	struct world_channel *channel;
	struct rig rig;

	RIG_OPEN(&rig, true);
	address.sin_addr.s_addr = htonl(0x0a000001);
	CHECK_INT(channel_tls_dial(rig.a.common, (struct sockaddr *)&address,
				   sizeof(address), &channel),
		  -ENETUNREACH);
	rig_close(&rig);
}

/* ---- listening ---- */

TEST_CASE(channel_tls, address_that_can_not_be_listened_on)
{
	struct sockaddr_in address = address_of(PORT);
	char error[CHANNEL_TLS_ERROR_MAX];
	struct rig rig;

	RIG_OPEN(&rig, true);
	CHECK_INT(end_listen(&rig.a, PORT, error, sizeof(error)), -EADDRINUSE);
	check_words(error, "can't listen on 127.0.0.1:7000: Address already in use: "
			   "another process listens there");
	address.sin_addr.s_addr = htonl(0x0a000001);
	CHECK_INT(channel_tls_listen(rig.a.common, (struct sockaddr *)&address,
				     sizeof(address), error, sizeof(error)),
		  -EADDRNOTAVAIL);
	check_words(error, "can't listen on 10.0.0.1:7000");
	check_words(error, "no interface of this host has it");
	CHECK_INT(end_listen(&rig.a, PORT + 1, error, sizeof(error)), 0);
	rig_close(&rig);
}

TEST_CASE(channel_tls, addresses_of_both_families)
{
	struct sockaddr_in6 six = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(PORT),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT,
	};
	struct world_channel *channel;
	char error[CHANNEL_TLS_ERROR_MAX], text[CHANNEL_TLS_ADDRESS_MAX];
	struct rig rig;

	RIG_OPEN(&rig, true);
	CHECK_INT(channel_tls_listen(rig.a.common, (struct sockaddr *)&six, sizeof(six),
				     error, sizeof(error)),
		  0);
	CHECK_INT(channel_tls_dial(rig.b.common, (struct sockaddr *)&six, sizeof(six),
				   &channel),
		  0);
	ear_attach(&rig.caller, channel);
	LOOP_WAIT(&rig.loop, rig.accepted);
	CHECK_STR(channel_tls_address(channel), "[::1]:7000");
	channel_tls_format_address((struct sockaddr *)&six, 3, text);
	CHECK_STR(text, "an unknown address");
	rig_close(&rig);
}

TEST_CASE(channel_tls, no_descriptors_left)
{
	struct rlimit limit, none;
	struct rig rig;
	int fd;

	RIG_OPEN(&rig, true);
	log_clear();
	fd = rig_intrude();
	REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	none = limit;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	LOOP_WAIT(&rig.loop, log_lines);
	setrlimit(RLIMIT_NOFILE, &limit);
	check_words(logged, "can't accept a connection: Too many open files");
	put(fd, "x\r\n\r\n.....", 10);
	LOOP_WAIT(&rig.loop, is_shut(fd));
	close(fd);
	REQUIRE(rig_connect(&rig));
	rig_close(&rig);
}

/* ---- framing, from a socket that is no channel ---- */

static int rig_intrude_in_the_clear(struct rig *rig)
{
	int fd = rig_intrude();

	LOOP_WAIT(&rig->loop, rig->ear.channel);
	return fd;
}

TEST_CASE(channel_tls, message_that_comes_byte_by_byte)
{
	static const uint8_t bytes[] = {0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 1, 'd'};
	struct rig rig;
	int fd;

	RIG_OPEN(&rig, false);
	fd = rig_intrude_in_the_clear(&rig);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		CHECK(rig.ear.messages <= (i >= 7));
		put(fd, bytes + i, 1);
		loop_turn(&rig.loop);
		loop_turn(&rig.loop);
	}
	LOOP_WAIT(&rig.loop, rig.ear.messages == 2);
	CHECK_INT(rig.ear.lengths[0], 3);
	CHECK_STR(rig.ear.last, "d");
	close(fd);
	LOOP_WAIT(&rig.loop, rig.ear.closed);
	CHECK_INT(rig.ear.error, 0);
	rig_close(&rig);
}

TEST_CASE(channel_tls, many_messages_at_once_and_then_the_end)
{
	static const uint8_t message[] = {0, 0, 0, 2, 7, 8};
	uint8_t bytes[500 * sizeof(message)];
	struct rig rig;
	int fd;

	RIG_OPEN(&rig, false);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = message[i % sizeof(message)];
	fd = rig_intrude();
	put(fd, bytes, sizeof(bytes));
	close(fd);
	LOOP_WAIT(&rig.loop, rig.ear.closed);
	CHECK_INT(rig.ear.messages, 500);
	CHECK_INT(rig.ear.bytes, 1000);
	CHECK_INT(rig.ear.error, 0);
	CHECK(!rig.ear.is_torn);
	rig_close(&rig);
}

static void check_broken(const uint8_t *bytes, size_t length, int error,
			 const char *words)
{
	struct rig rig;
	int fd;

	RIG_OPEN(&rig, false);
	fd = rig_intrude_in_the_clear(&rig);
	put(fd, bytes, length);
	if (error == -ECONNRESET)
		close(fd);
	LOOP_WAIT(&rig.loop, rig.ear.closed);
	CHECK_INT(rig.ear.error, error);
	CHECK_INT(rig.ear.messages, 1);
	CHECK_INT(rig.ear.closed, 1);
	check_words(world_channel_why(rig.ear.channel), words);
	if (error != -ECONNRESET) {
		ear_close(&rig.ear);
		CHECK(is_shut(fd));
		close(fd);
	}
	rig_close(&rig);
}

TEST_CASE(channel_tls, huge_message)
{
	static const uint8_t bytes[] = {0, 0, 0, 1, 'a', 0, 1, 0, 1};

	check_broken(bytes, sizeof(bytes), -EMSGSIZE, "more than 65536 bytes");
}

TEST_CASE(channel_tls, length_of_four_gigabytes)
{
	static const uint8_t bytes[] = {0, 0, 0, 1, 'a', 255, 255, 255, 255};

	check_broken(bytes, sizeof(bytes), -EMSGSIZE, "more than 65536 bytes");
}

TEST_CASE(channel_tls, empty_message)
{
	static const uint8_t bytes[] = {0, 0, 0, 1, 'a', 0, 0, 0, 0};

	check_broken(bytes, sizeof(bytes), -EBADMSG, "an empty message");
}

TEST_CASE(channel_tls, end_within_a_message)
{
	static const uint8_t bytes[] = {0, 0, 0, 1, 'a', 0, 0, 0, 2, 'b'};

	check_broken(bytes, sizeof(bytes), -ECONNRESET, "in the middle of a message");
}

static void reset(int fd)
{
	const struct linger hard = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

TEST_CASE(channel_tls, reset_behind_a_message)
{
	struct rig rig;
	int fd;

	RIG_OPEN(&rig, false);
	fd = rig_intrude_in_the_clear(&rig);
	put(fd, "\0\0\0\1a", 5);
	reset(fd);
	CHECK(world_channel_at_end(rig.ear.channel));
	LOOP_WAIT(&rig.loop, rig.ear.closed);
	CHECK_INT(rig.ear.messages, 1);
	CHECK_INT(rig.ear.error, -ECONNRESET);
	rig_close(&rig);
}

/* The write hears of the reset first. */
TEST_CASE(channel_tls, what_was_said_before_a_reset_is_heard)
{
	struct rig rig;
	int fd;

	RIG_OPEN(&rig, false);
	fd = rig_intrude_in_the_clear(&rig);
	put(fd, "\0\0\0\1a", 5);
	reset(fd);
	CHECK_INT(say(rig.ear.channel, 'x', 1), -EPIPE);
	CHECK_INT(say(rig.ear.channel, 'x', 1), -EPIPE);
	LOOP_WAIT(&rig.loop, rig.ear.closed);
	CHECK_INT(rig.ear.messages, 1);
	CHECK_INT(rig.ear.error, -ECONNRESET);
	rig_close(&rig);
}

/* ---- handlers ---- */

static void check_late_handler(struct rig *rig)
{
	rig->deaf = true;
	REQUIRE(rig_connect(rig));
	for (int i = 0; i < 5; i++)
		CHECK_INT(say(rig->caller.channel, (uint8_t)i, 30000), 0);
	loop_idle(&rig->loop);
	ear_attach(&rig->ear, rig->ear.channel);
	LOOP_WAIT(&rig->loop, rig->ear.messages == 5);
	world_channel_set_handler(rig->ear.channel, NULL, NULL);
	CHECK_INT(say(rig->caller.channel, 'x', 10), 0);
	ear_close(&rig->caller);
	loop_idle(&rig->loop);
	CHECK_INT(rig->ear.closed, 0);
	ear_attach(&rig->ear, rig->ear.channel);
	LOOP_WAIT(&rig->loop, rig->ear.closed);
	CHECK_INT(rig->ear.messages, 6);
	CHECK_INT(rig->ear.error, 0);
	CHECK(!rig->ear.is_torn);
}

TEST_CASE(channel_tls, nothing_is_lost_while_there_is_no_handler)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	check_late_handler(&rig);
	rig_close(&rig);
}

TEST_CASE(channel_tls, nothing_is_lost_in_the_clear_either)
{
	struct rig rig;

	RIG_OPEN(&rig, false);
	check_late_handler(&rig);
	rig_close(&rig);
}

TEST_CASE(channel_tls, end_waits_for_a_handler)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	REQUIRE(rig_dial_port(&rig, PORT + 1));
	world_channel_set_handler(rig.caller.channel, NULL, NULL);
	loop_idle(&rig.loop);
	CHECK(world_channel_at_end(rig.caller.channel));
	ear_attach(&rig.caller, rig.caller.channel);
	CHECK_INT(rig.caller.closed, 0);
	LOOP_WAIT(&rig.loop, rig.caller.closed);
	CHECK_INT(rig.caller.error, -ECONNREFUSED);
	loop_idle(&rig.loop);
	CHECK_INT(rig.caller.closed, 1);
	rig_close(&rig);
}

TEST_CASE(channel_tls, channel_may_be_closed_within_its_own_callbacks)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	REQUIRE(rig_connect(&rig));
	rig.ear.close_on_message = true;
	rig.caller.close_on_closed = true;
	CHECK_INT(say(rig.caller.channel, 'a', 1), 0);
	CHECK_INT(say(rig.caller.channel, 'b', 1), 0);
	LOOP_WAIT(&rig.loop, rig.caller.closed);
	loop_idle(&rig.loop);
	CHECK_INT(rig.ear.messages, 1);
	CHECK_INT(rig.ear.closed, 0);
	CHECK_INT(rig.caller.closed, 1);
	CHECK(!rig.caller.channel && !rig.ear.channel);
	rig_close(&rig);
}

/* ---- last words ---- */

static void check_last_words(struct rig *rig)
{
	REQUIRE(rig_connect(rig));
	for (int i = 0; i < 100; i++) /* unread when it closes */
		CHECK_INT(say(rig->caller.channel, 'a', 1000), 0);
	CHECK_INT(say_words(rig->ear.channel, "refused"), 0);
	ear_close(&rig->ear);
	LOOP_WAIT(&rig->loop, rig->caller.closed);
	CHECK_STR(rig->caller.last, "refused");
	CHECK_INT(rig->caller.error, 0);
}

TEST_CASE(channel_tls, last_words_arrive_though_the_other_side_still_talks)
{
	struct rig rig;

	RIG_OPEN(&rig, true);
	check_last_words(&rig);
	rig_close(&rig);
}

TEST_CASE(channel_tls, last_words_in_the_clear)
{
	struct rig rig;

	RIG_OPEN(&rig, false);
	check_last_words(&rig);
	rig_close(&rig);
}

TEST_CASE(channel_tls, much_that_was_said_last_arrives)
{
	unsigned sent = 0;
	struct rig rig;

	RIG_OPEN(&rig, true);
	REQUIRE(rig_connect(&rig));
	while (say(rig.ear.channel, (uint8_t)sent, 50000) == 0)
		sent++;
	ear_close(&rig.ear);
	LOOP_WAIT(&rig.loop, rig.caller.closed);
	CHECK_INT(rig.caller.messages, sent);
	CHECK_INT(rig.caller.error, 0);
	rig_close(&rig);
}

/* It neither reads nor closes. */
TEST_CASE(channel_tls, lingering_is_bounded)
{
	struct rig rig;
	int fd;

	RIG_OPEN(&rig, false);
	fd = rig_intrude_in_the_clear(&rig);
	while (say(rig.ear.channel, 0, 50000) == 0)
		;
	ear_close(&rig.ear);
	/* Gone when the port is reset: what it says is not thrown away any more. */
	LOOP_WAIT(&rig.loop,
		  send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN);
	close(fd);
	rig_close(&rig);
}

/* ---- openssl as the other side ---- */

static pid_t run_openssl(const char *dir, const char *command)
{
	char line[512];
	pid_t pid;

	snprintf(line, sizeof(line), "cd %s && %s >out 2>&1", dir, command);
	pid = fork();
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	return pid;
}

/* *pid is 0 from then on. */
static bool has_ended(pid_t *pid)
{
	if (*pid && waitpid(*pid, NULL, WNOHANG) == *pid)
		*pid = 0;
	return *pid == 0;
}

TEST_CASE(channel_tls, openssl_as_a_client)
{
	struct rig rig;
	pid_t pid;

	if (system("openssl version >/dev/null 2>&1") != 0)
		TEST_SKIP("no openssl program");
	RIG_OPEN(&rig, true);
	pid = run_openssl(rig.loop.dir,
			  "printf '\\000\\000\\000\\005hello' | openssl s_client -quiet "
			  "-no_ign_eof -connect 127.0.0.1:7000 -CAfile ca.crt -cert "
			  "n1.crt -key n1.key -verify_return_error");
	LOOP_WAIT(&rig.loop, rig.ear.closed);
	CHECK_INT(rig.ear.messages, 1);
	CHECK_STR(rig.ear.last, "hello");
	CHECK_INT(rig.ear.error, 0);
	LOOP_WAIT(&rig.loop, has_ended(&pid));
	rig_close(&rig);
}

static void check_openssl(const char *options, const char *words)
{
	char command[256];
	struct rig rig;
	pid_t pid;

	if (system("openssl version >/dev/null 2>&1") != 0)
		TEST_SKIP("no openssl program");
	RIG_OPEN(&rig, true);
	log_clear();
	certs_make(&rig.certs, "old", rig.certs.ca, "lab", "n1", -9, -1);
	snprintf(command, sizeof(command),
		 "openssl s_client -quiet -connect 127.0.0.1:7000 %s </dev/null",
		 options);
	pid = run_openssl(rig.loop.dir, command);
	LOOP_WAIT(&rig.loop, log_lines);
	check_words(logged, words);
	CHECK_INT(rig.accepted, 0);
	LOOP_WAIT(&rig.loop, has_ended(&pid));
	rig_close(&rig);
}

TEST_CASE(channel_tls, openssl_without_a_certificate)
{
	check_openssl("", "it shows no certificate");
}

TEST_CASE(channel_tls, openssl_with_an_older_tls)
{
	check_openssl("-tls1_2 -cert n1.crt -key n1.key", "it offers no TLS 1.3");
}

TEST_CASE(channel_tls, openssl_with_an_expired_certificate)
{
	check_openssl("-cert old.crt -key old.key",
		      "the certificate of node 'n1' in cluster 'lab' expired on ");
}
