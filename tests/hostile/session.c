/* See hostile.h: what an honest member does. */
#include "hostile.h"

#include "data/fabric.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RING_SIZE SHMNET_RING_SIZE_MIN
#define ETHERTYPE 0x88b6 /* for experiments */

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void die(const char *what)
{
	fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- the rendezvous ---- */

static struct sockaddr_un address_of(const struct hostile *self, const char *suffix)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/node-%u.%s",
		 self->directory, self->id, suffix);
	return address;
}

int hostile_listen(struct hostile *self)
{
	struct sockaddr_un hidden = address_of(self, "new");
	struct sockaddr_un shown = address_of(self, "sock");
	struct sockaddr_un lock = address_of(self, "lock");

	self->lock_fd = open(lock.sun_path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	self->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (self->lock_fd < 0 || flock(self->lock_fd, LOCK_EX | LOCK_NB) < 0 ||
	    self->listen_fd < 0 ||
	    bind(self->listen_fd, (struct sockaddr *)&hidden, sizeof(hidden)) < 0 ||
	    listen(self->listen_fd, SESSIONS_MAX) < 0 ||
	    rename(hidden.sun_path, shown.sun_path) < 0)
		return -errno;
	return 0;
}

void session_accept(struct hostile *self)
{
	struct session *session = calloc(1, sizeof(*session));
	int fd = accept4(self->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (!session || fd < 0 || self->num_sessions == SESSIONS_MAX)
		die("accept");
	session->self = self;
	session->channel = fd;
	session->hear_fd = session->given_fd = session->ring_fd = -1;
	session->rx_fd = session->tx_fd = session->cast_fd = -1;
	session->random = random_next(&self->random);
	self->sessions[self->num_sessions++] = session;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void session_free(struct session *session)
{
	session->is_over = true;
	if (session->has_flipper)
		pthread_join(session->flipper, NULL);
	ring_map_close(&session->rx_map);
	ring_map_close(&session->tx_map);
	cast_map_close(&session->cast_map);
	fd_close(&session->cast_fd);
	fd_close(&session->hear_fd);
	fd_close(&session->given_fd);
	fd_close(&session->ring_fd);
	fd_close(&session->rx_fd);
	fd_close(&session->tx_fd);
	fd_close(&session->channel);
	free(session);
}

/* ---- messages out ---- */

void send_bytes(struct session *session, const void *bytes, size_t length, const int *fds,
		unsigned num_fds)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, length};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (num_fds) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(num_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, num_fds * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
	}
	/* Who has hung up on us has said why. */
	(void)!sendmsg(session->channel, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void send_message(struct session *session, const struct peer_message *message,
		  const int *fds, unsigned num_fds)
{
	uint8_t bytes[PEER_BYTES_MAX];
	size_t length;

	if (codec_peer_encode(message, bytes, sizeof(bytes), &length) < 0)
		die("a message that can't be encoded");
	send_bytes(session, bytes, length, fds, num_fds);
}

void fill_hello(const struct session *session, struct peer_message *ret_message)
{
	const struct hostile *self = session->self;
	struct peer_hello *hello = &ret_message->hello;

	memset(ret_message, 0, sizeof(*ret_message));
	ret_message->type = PEER_MESSAGE_HELLO;
	hello->wire_version = SHMNET_WIRE_VERSION;
	hello->id = self->id;
	hello->nonce = self->nonce;
	snprintf(hello->cluster, sizeof(hello->cluster), "default");
	snprintf(hello->name, sizeof(hello->name), "%s", self->lie->name);
	hello->num_networks = 1;
	snprintf(hello->networks[0].name, sizeof(hello->networks[0].name), "%s",
		 self->network);
	hello->networks[0].mtu = self->mtu;
	hello->networks[0].offloads = SHMNET_OFFLOADS;
	if (peer_hello_set_members(hello, &hello->networks[0], "") < 0)
		die("HELLO");
}

void say_hello(struct session *session)
{
	struct peer_message message;

	fill_hello(session, &message);
	send_message(session, &message, NULL, 0);
}

void say_bell(struct session *session)
{
	const struct peer_message message = {.type = PEER_MESSAGE_BELL};

	if (fabric_shm_bell(&session->hear_fd, &session->given_fd) < 0)
		die("bell");
	send_message(session, &message, &session->given_fd, 1);
}

void fill_ring(const struct session *session, struct peer_message *ret_message)
{
	*ret_message = (struct peer_message){
		.type = PEER_MESSAGE_RING,
		.ring = {.size = RING_SIZE, .salt = session->rx_salt, .epoch = 1},
	};
	snprintf(ret_message->ring.network, sizeof(ret_message->ring.network), "%s",
		 session->self->network);
}

void say_ring(struct session *session)
{
	struct peer_message message;

	session->rx_salt = random_next(&session->random);
	if (memfd_ring_create(RING_SIZE, &session->rx_fd) < 0 ||
	    ring_map_open(session->rx_fd, RING_SIZE, &session->rx_map) < 0)
		die("ring");
	shmnet_ring_rx_init(&session->rx, session->rx_map.words, session->rx_map.data,
			    RING_SIZE, session->rx_salt);
	fill_ring(session, &message);
	send_message(session, &message, &session->rx_fd, 1);
}

void say_ready(struct session *session)
{
	const struct peer_message message = {
		.type = PEER_MESSAGE_READY,
		.ready = {.incarnation = 1, .beat_ms = 50},
	};

	send_message(session, &message, NULL, 0);
}

void session_join(struct session *session)
{
	if (session->self->lie->join) {
		session->lied_ns = now_ns();
		session->self->lie->join(session);
		return;
	}
	say_hello(session);
	say_bell(session);
	say_ring(session);
	say_ready(session);
}

/* ---- messages in ---- */

static void take_hello(struct session *session, const struct peer_message *message)
{
	memcpy(session->name, message->hello.name, sizeof(session->name));
	session->id = message->hello.id;
	session_join(session);
}

static void take_ring(struct session *session, const struct peer_message *message,
		      int *fd)
{
	session->tx_fd = *fd;
	*fd = -1;
	if (session->tx_map.base ||
	    ring_map_open(session->tx_fd, message->ring.size, &session->tx_map) < 0)
		die("the victim's ring");
	shmnet_ring_tx_init(&session->tx, session->tx_map.words, session->tx_map.data,
			    message->ring.size, message->ring.salt);
}

/* It may still wait for more of us than we have said. */
static void take_ready(struct session *session, const struct peer_message *message)
{
	const struct peer_message raised = {
		.type = PEER_MESSAGE_INCARNATION,
		.incarnation = {message->ready.floor + 1},
	};

	session->is_ready = true;
	if (message->ready.floor)
		send_message(session, &raised, NULL, 0);
}

static void take_probe(struct session *session, const struct peer_message *message)
{
	const struct peer_message answer = {
		.type = PEER_MESSAGE_PROBED,
		.probed = {.node = message->probe.node},
	};

	send_message(session, &answer, NULL, 0);
}

static void finish(struct session *session, const char *verdict, const char *words)
{
	if (session->over_ns)
		return;
	snprintf(session->verdict, sizeof(session->verdict), "%s%s", verdict, words);
	session->over_ns = now_ns();
	__atomic_store_n(&session->is_over, true, __ATOMIC_RELAXED);
}

static void take_message(struct session *session, const struct peer_message *message,
			 int *fd)
{
	switch (message->type) {
	case PEER_MESSAGE_HELLO:
		take_hello(session, message);
		break;
	case PEER_MESSAGE_BELL:
		session->ring_fd = *fd;
		*fd = -1;
		break;
	case PEER_MESSAGE_RING:
		take_ring(session, message, fd);
		break;
	case PEER_MESSAGE_READY:
		take_ready(session, message);
		break;
	case PEER_MESSAGE_PROBE:
		take_probe(session, message);
		break;
	case PEER_MESSAGE_REFUSE:
		finish(session,
		       message->refuse.code == PEER_REFUSAL_PROTOCOL ? "quarantine: "
								     : "refused: ",
		       message->refuse.words);
		break;
	default:
		break;
	}
	session->is_up = session->is_ready && session->tx_map.base &&
			 session->rx_map.base && session->ring_fd >= 0;
}

static ssize_t receive(int channel, uint8_t *bytes, size_t size, int *ret_fd)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {bytes, size};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*ret_fd = -1;
	if (n > 0 && CMSG_FIRSTHDR(&message))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(*ret_fd));
	return n;
}

void session_hear(struct session *session)
{
	static uint8_t bytes[PEER_BYTES_MAX + 1];
	struct peer_message message;
	const char *why;
	int fd;
	ssize_t n = receive(session->channel, bytes, sizeof(bytes), &fd);

	if (n < 0 && errno == ECONNRESET) /* once; what it said comes after that */
		return;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		finish(session, "closed", "");
	else if (codec_peer_decode(bytes, (size_t)n, &message, &why) == 0)
		take_message(session, &message, &fd);
	fd_close(&fd);
}

/* ---- rings ---- */

void ring_bell(struct session *session)
{
	(void)!send(session->ring_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool put_record(struct session *session, const void *payload, uint32_t length,
		uint32_t flags)
{
	uint8_t *place;

	if (shmnet_ring_reserve(&session->tx, length, flags, &place) < 0)
		return false;
	memcpy(place, payload, length);
	shmnet_ring_submit(&session->tx, length, flags);
	return true;
}

struct shmnet_ring_header *last_header(struct session *session)
{
	return (struct shmnet_ring_header *)(void *)(session->tx.data +
						     (session->tx.published &
						      session->tx.mask));
}

void show(struct session *session)
{
	shmnet_ring_publish(&session->tx);
	if (shmnet_ring_tx_must_ring(&session->tx))
		ring_bell(session);
}

bool put_command(struct session *session, uint16_t type, uint16_t zero, uint32_t claimed,
		 const void *bytes, uint32_t length)
{
	const struct shmnet_command header = {type, zero, claimed};
	uint8_t record[sizeof(header) + 2 * SHMNET_COMMAND_MESSAGE_MAX];

	memcpy(record, &header, sizeof(header));
	memcpy(record + sizeof(header), bytes, length);
	return put_record(session, record, (uint32_t)sizeof(header) + length,
			  SHMNET_RECORD_COMMAND);
}

uint32_t make_frame(const struct session *session, uint8_t *buffer, uint32_t length)
{
	uint16_t tag = shmnet_network_tag(session->self->network);
	uint8_t *frame = buffer + SHMNET_VNET_HLEN;

	memset(buffer, 0, SHMNET_VNET_HLEN + length);
	shmnet_mac_make(frame, tag, session->id);
	shmnet_mac_make(frame + SHMNET_ETH_ALEN, tag, session->self->id);
	frame[12] = ETHERTYPE >> 8;
	frame[13] = ETHERTYPE & 0xff;
	return SHMNET_VNET_HLEN + length;
}

void send_frames(struct session *session, unsigned count)
{
	uint8_t buffer[2048];

	while (count--) {
		uint32_t length = 60 + (uint32_t)(random_next(&session->random) % 1400);

		if (!put_record(session, buffer, make_frame(session, buffer, length), 0))
			break;
	}
	show(session);
}

void send_pings(struct session *session, unsigned count)
{
	while (count--) {
		uint64_t token = random_next(&session->random);

		if (!put_command(session, SHMNET_COMMAND_PING, 0, sizeof(token), &token,
				 sizeof(token)))
			break;
	}
	show(session);
}

void session_live(struct session *session)
{
	struct shmnet_record record;

	shmnet_ring_beat(&session->tx, (uint32_t)(now_ns() / 20000000));
	if (shmnet_ring_poll(&session->rx) < 0)
		return; /* we have been at it ourselves */
	while (shmnet_ring_peek(&session->rx, &record) == 1)
		shmnet_ring_release(&session->rx, &record);
	if (session->rx.tail != session->rx.credited)
		shmnet_ring_credit(&session->rx);
	if (shmnet_ring_rx_must_ring(&session->rx))
		ring_bell(session);
}

bool flips_on(const struct session *session)
{
	return !__atomic_load_n(&session->is_over, __ATOMIC_RELAXED);
}
