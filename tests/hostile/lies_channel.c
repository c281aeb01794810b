/*
 * Lies of the channel and beside it: messages, descriptors, bells, joining. See
 * hostile.h.
 */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- messages, once it is up ---- */

static void say_again(struct session *session, enum peer_message_type type)
{
	struct peer_message message = {.type = type};
	int fd = type == PEER_MESSAGE_BELL ? session->given_fd : -1;

	if (type == PEER_MESSAGE_READY)
		message.ready.beat_ms = 100;
	if (type == PEER_MESSAGE_RING)
		fill_ring(session, &message);
	if (type == PEER_MESSAGE_RING)
		fd = session->rx_fd;
	send_message(session, &message, &fd, fd >= 0);
}

static void again_hello(struct session *session, unsigned round)
{
	(void)round;
	say_hello(session);
}

static void again_ready(struct session *session, unsigned round)
{
	(void)round;
	say_again(session, PEER_MESSAGE_READY);
}

static void again_bell(struct session *session, unsigned round)
{
	(void)round;
	say_again(session, PEER_MESSAGE_BELL);
}

static void again_ring(struct session *session, unsigned round)
{
	(void)round;
	say_again(session, PEER_MESSAGE_RING);
}

static void noise(struct session *session, unsigned round)
{
	uint64_t bytes[512];
	size_t length = 1 + random_next(&session->random) % sizeof(bytes);

	(void)round;
	for (unsigned i = 0; i < 512; i++)
		bytes[i] = random_next(&session->random);
	send_bytes(session, bytes, length, NULL, 0);
}

static void nothing(struct session *session, unsigned round)
{
	(void)round;
	send_bytes(session, "", 0, NULL, 0);
}

static void too_long(struct session *session, unsigned round)
{
	static const uint8_t bytes[70000] = {0x0a};

	if (round == 0)
		send_bytes(session, bytes, sizeof(bytes), NULL, 0);
}

static void fill_border(struct session *session, struct peer_message *message)
{
	uint64_t random = random_next(&session->random);
	struct peer_border *border = &message->border;

	memset(message, 0, sizeof(*message));
	message->type = PEER_MESSAGE_BORDER;
	border->num_nics = 1 + random % CONFIG_NICS_MAX;
	for (unsigned i = 0; i < border->num_nics; i++) {
		snprintf(border->nics[i].name, PEER_NIC_MAX, "eth%u", i);
		border->nics[i].mtu = 1 + (uint32_t)(random >> 32);
		border->nics[i].is_up = random >> i & 1;
	}
	border->num_announces = (random >> 8) % (CONFIG_NETWORKS_MAX + 1);
	for (unsigned i = 0; i < border->num_announces; i++)
		snprintf(border->announces[i], CONFIG_NAME_MAX, "nobodys%u", i);
}

/* A good message of any kind; what it says is chance. */
static void fill_any(struct session *session, struct peer_message *message)
{
	uint64_t random = random_next(&session->random);
	struct peer_cast_name *name = &message->reads;

	memset(message, 0, sizeof(*message));
	switch (random % 7) {
	case 0:
		message->type = PEER_MESSAGE_INCARNATION;
		message->incarnation.value = (uint32_t)(random >> 8) | 1;
		break;
	case 1:
		message->type = PEER_MESSAGE_PROBE;
		message->probe.node = (uint16_t)(1 + (random >> 8) % 65000);
		break;
	case 2:
		message->type = PEER_MESSAGE_PROBED;
		message->probed.node = (uint16_t)(1 + (random >> 8) % 8);
		message->probed.heard = true;
		break;
	case 3:
		fill_hello(session, message);
		break;
	case 4:
		fill_border(session, message);
		break;
	default:
		message->type = random & 8 ? PEER_MESSAGE_READS : PEER_MESSAGE_WANT;
		snprintf(name->network, sizeof(name->network), "%s",
			 session->self->network);
		name->id = random | 1;
	}
}

/* A good message with some bits turned, bytes cut off, or bytes twice. */
static void mutate(struct session *session)
{
	uint8_t bytes[2 * PEER_BYTES_MAX];
	struct peer_message message;
	uint64_t random = random_next(&session->random);
	size_t length;

	fill_any(session, &message);
	if (codec_peer_encode(&message, bytes, PEER_BYTES_MAX, &length) < 0)
		return;
	for (uint64_t flips = 1 + random % 4; flips > 0; flips--) {
		uint64_t where = random_next(&session->random);

		bytes[(where >> 8) % length] ^= (uint8_t)(1 << (where & 7));
	}
	if (random >> 20 & 1)
		length = 1 + (random >> 24) % length;
	if (random >> 21 & 1) {
		memcpy(bytes + length, bytes, length);
		length *= 2;
	}
	send_bytes(session, bytes, length, NULL, 0);
}

static void mutants(struct session *session, unsigned round)
{
	(void)round;
	mutate(session);
}

/* Another border with every word, of networks that nobody has. */
static void border_storm(struct session *session, unsigned round)
{
	struct peer_message message;

	(void)round;
	for (unsigned i = 0; i < 100; i++) {
		fill_border(session, &message);
		send_message(session, &message, NULL, 0);
	}
}

/* Names that would do harm on a terminal, or are no names. */
static void border_names(struct session *session, unsigned round)
{
	static const char *const names[] = {"\033[2J", "a/b", "..", "", "a b", "a\nb"};
	struct peer_message message;

	fill_border(session, &message);
	snprintf(message.border.nics[0].name, PEER_NIC_MAX, "%s",
		 names[(session->self->seed + round) % 6]);
	send_message(session, &message, NULL, 0);
}

/* In a version that has no such message. */
static void join_border_old(struct session *session)
{
	struct peer_message message;

	fill_hello(session, &message);
	message.hello.wire_version = 5;
	send_message(session, &message, NULL, 0);
	say_bell(session);
	say_ring(session);
	say_ready(session);
	fill_border(session, &message);
	send_message(session, &message, NULL, 0);
}

static void join_border_early(struct session *session)
{
	struct peer_message message;

	say_hello(session);
	fill_border(session, &message);
	send_message(session, &message, NULL, 0);
	say_bell(session);
	say_ring(session);
	say_ready(session);
}

/* Questions, and no ear for the answers. */
static void probe_storm(struct session *session, unsigned round)
{
	const struct peer_message message = {
		.type = PEER_MESSAGE_PROBE,
		.probe = {.node = 1},
	};

	(void)round;
	session->is_deaf = true;
	for (unsigned i = 0; i < 400; i++)
		send_message(session, &message, NULL, 0);
	for (unsigned i = 0; i < 4 && !session->is_over && round > 20; i++)
		session_hear(session);
}

/* Of rings that nobody has. */
static void name_storm(struct session *session, unsigned round)
{
	struct peer_message message;

	(void)round;
	for (unsigned i = 0; i < 100; i++) {
		do
			fill_any(session, &message);
		while (message.type != PEER_MESSAGE_READS &&
		       message.type != PEER_MESSAGE_WANT);
		send_message(session, &message, NULL, 0);
	}
}

/* A network that has the victims' addresses, under another name each time. */
static void network_storm(struct session *session, unsigned round)
{
	struct peer_message message;
	struct peer_network *network = &message.hello.networks[1];

	fill_hello(session, &message);
	message.type = PEER_MESSAGE_NETWORKS;
	message.hello.num_networks = 2;
	network->kind = NETWORK_KIND_GLOBAL;
	network->mtu = 1500;
	network->num_addresses = 3;
	for (uint8_t i = 0; i < 3; i++)
		network->addresses[i] = (struct config_address){
			AF_INET, {10, 77, 0, (uint8_t)(i + 1)}, 32};
	if (peer_hello_set_members(&message.hello, network, "") < 0)
		die("NETWORKS");
	for (unsigned i = 0; i < 20; i++) {
		snprintf(network->name, sizeof(network->name), "storm%u-%u", round, i);
		send_message(session, &message, NULL, 0);
	}
}

/* The last number there is, and back. */
static void incarnations(struct session *session, unsigned round)
{
	const struct peer_message message = {
		.type = PEER_MESSAGE_INCARNATION,
		.incarnation = {round & 1 ? 1 : UINT32_MAX},
	};

	send_message(session, &message, NULL, 0);
}

/* As it says, others hear those who are dead, and not those who live. */
static void false_witness(struct session *session, unsigned round)
{
	const struct peer_message message = {
		.type = PEER_MESSAGE_PROBED,
		.probed = {.node = (uint16_t)(1 + round % 5), .heard = round & 1},
	};

	send_message(session, &message, NULL, 0);
}

static void refusal(struct session *session, unsigned round)
{
	struct peer_message message = {
		.type = PEER_MESSAGE_REFUSE,
		.refuse = {.code = PEER_REFUSAL_PROTOCOL},
	};

	memset(message.refuse.words, 'x', sizeof(message.refuse.words) - 1);
	if (round == 0)
		send_message(session, &message, NULL, 0);
}

/* ---- descriptors ---- */

static int memfd_of(unsigned flags, off_t length, int seals)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0 || ftruncate(fd, length) < 0 ||
	    (seals && fcntl(fd, F_ADD_SEALS, seals) < 0))
		die("memfd");
	return fd;
}

static int reopened(int fd, int flags)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	close(fd);
	return again;
}

/* Anything but what it should be. */
static int wrong_fd(uint64_t choice)
{
	const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	const off_t right = SHMNET_RING_WORDS_LEN + SHMNET_RING_SIZE_MIN;
	int pair[2];

	switch (choice % 14) {
	case 0:
		return open("/dev/zero", O_RDWR | O_CLOEXEC);
	case 1:
		return pipe2(pair, O_CLOEXEC) < 0 ? -1 : pair[0];
	case 2:
		return eventfd(0, EFD_CLOEXEC);
	case 3:
		return epoll_create1(EPOLL_CLOEXEC);
	case 4:
		return open("/", O_PATH | O_CLOEXEC);
	case 5:
		return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	case 6:
		return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case 7:
		return memfd_of(0, right, 0);
	case 8:
		return memfd_of(0, right, all & ~F_SEAL_SHRINK);
	case 9:
		return memfd_of(0, right, all | F_SEAL_WRITE);
	case 10:
		return memfd_of(0, right, all | F_SEAL_FUTURE_WRITE);
	case 11:
		return reopened(memfd_of(0, right, all), O_RDONLY);
	case 12:
		return reopened(memfd_of(0, right, all), O_PATH);
	default:
		return memfd_of(0, right - 1, all);
	}
}

static void join_ring_fd(struct session *session)
{
	int fd = wrong_fd(session->self->seed * 3 + session->id);
	struct peer_message message;

	say_hello(session);
	say_bell(session);
	fill_ring(session, &message);
	send_message(session, &message, &fd, 1);
	close(fd);
}

/* Each but the seventh, which is a socket, though of another kind. */
static void join_bell_fd(struct session *session)
{
	const struct peer_message message = {.type = PEER_MESSAGE_BELL};
	int fd = wrong_fd(session->self->seed * 3 + session->id);

	say_hello(session);
	send_message(session, &message, &fd, 1);
	close(fd);
}

/* It is good while it is looked at. */
static void join_ring_flags(struct session *session)
{
	say_hello(session);
	say_bell(session);
	say_ring(session);
	fcntl(session->rx_fd, F_SETFL, O_NONBLOCK | O_APPEND | O_NOATIME | O_ASYNC);
	fcntl(session->given_fd, F_SETFL, 0);
	say_ready(session);
}

static void surplus(struct session *session, unsigned round)
{
	struct peer_message message = {
		.type = PEER_MESSAGE_PROBE,
		.probe = {.node = 1},
	};
	int fds[FDS_MAX];
	unsigned count = session->self->seed & 1 ? FDS_MAX : 64;

	if (round > 0)
		return;
	for (unsigned i = 0; i < count; i++)
		fds[i] = session->rx_fd;
	send_message(session, &message, fds, count);
}

/* ---- bells ---- */

static void bell_storm(struct session *session)
{
	while (flips_on(session)) {
		if (send(session->ring_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			continue;
		if (errno != EAGAIN)
			return;
		sched_yield();
	}
}

static void bell_long(struct session *session, unsigned round)
{
	static const uint8_t bytes[60000];

	(void)round;
	(void)!send(session->ring_fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
	send_frames(session, 1);
}

/* It looks like the end. */
static void bell_empty(struct session *session, unsigned round)
{
	(void)round;
	(void)!send(session->ring_fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL);
	send_frames(session, 1);
}

static void bell_shutdown(struct session *session, unsigned round)
{
	if (round == 0)
		shutdown(session->ring_fd, SHUT_RDWR);
	send_frames(session, 1);
}

static void bell_files(struct session *session, unsigned round)
{
	struct session bell = {.channel = session->ring_fd};

	(void)round;
	send_bytes(&bell, "x", 1, &session->rx_fd, 1);
}

/* The end that the victim rings with is full, and would wait if it were asked. */
static void bell_full(struct session *session, unsigned round)
{
	if (round == 0) {
		while (send(session->given_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			continue;
		fcntl(session->given_fd, F_SETFL, 0);
	}
	send_pings(session, 4);
	__atomic_store_n(&session->rx.words->asleep,
			 (uint32_t)random_next(&session->random), __ATOMIC_RELAXED);
}

/* ---- joining ---- */

static void join_mutant(struct session *session)
{
	uint8_t bytes[PEER_BYTES_MAX];
	struct peer_message message;
	uint64_t random = random_next(&session->random);
	size_t length;

	fill_hello(session, &message);
	if (codec_peer_encode(&message, bytes, sizeof(bytes), &length) < 0)
		return;
	bytes[(random >> 8) % length] ^= (uint8_t)(1 << (random & 7));
	if (random >> 40 & 1)
		length = 1 + (random >> 44) % length;
	send_bytes(session, bytes, length, NULL, 0);
	say_bell(session);
	say_ring(session);
	say_ready(session);
}

/* All that a handshake has, in any order, some of it twice. */
static void join_shuffled(struct session *session)
{
	void (*const steps[])(struct session *) = {say_ready, say_hello, say_bell};

	say_hello(session);
	if (session->self->seed % 3 == 0)
		say_ready(session);
	say_bell(session);
	for (unsigned i = 0; i < 8; i++)
		steps[random_next(&session->random) % 2](session);
}

static void join_flood(struct session *session)
{
	for (unsigned i = 0; i < 300; i++)
		mutate(session);
}

/* Callers that say nothing; the victim's peers come in all the same. */
static void guests(struct session *session, unsigned round)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (round > 64)
		return;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/node-%u.sock",
		 session->self->directory, session->id);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Left open: that is what it is about. */
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		close(fd);
}

const struct lie channel_lies[] = {
	{"again-hello", EXPECT_QUARANTINE, NULL, again_hello, NULL},
	{"again-ready", EXPECT_QUARANTINE, NULL, again_ready, NULL},
	{"again-bell", EXPECT_QUARANTINE, NULL, again_bell, NULL},
	{"again-ring", EXPECT_QUARANTINE, NULL, again_ring, NULL},
	{"noise", EXPECT_QUARANTINE, NULL, noise, NULL},
	{"nothing", EXPECT_QUARANTINE, NULL, nothing, NULL},
	{"too-long", EXPECT_QUARANTINE, NULL, too_long, NULL},
	{"mutants", EXPECT_QUARANTINE, NULL, mutants, NULL},
	{"probe-storm", EXPECT_ENDED, NULL, probe_storm, NULL},
	{"name-storm", EXPECT_KEPT, NULL, name_storm, NULL},
	{"network-storm", EXPECT_ENDED, NULL, network_storm, NULL},
	{"border-storm", EXPECT_KEPT, NULL, border_storm, NULL},
	{"border-names", EXPECT_QUARANTINE, NULL, border_names, NULL},
	{"border-old", EXPECT_QUARANTINE, join_border_old, NULL, NULL},
	{"border-early", EXPECT_QUARANTINE, join_border_early, NULL, NULL},
	{"incarnations", EXPECT_EITHER, NULL, incarnations, NULL},
	{"false-witness", EXPECT_KEPT, NULL, false_witness, NULL},
	{"refusal", EXPECT_EITHER, NULL, refusal, NULL},
	{"ring-fd", EXPECT_QUARANTINE, join_ring_fd, NULL, NULL},
	{"bell-fd", EXPECT_QUARANTINE, join_bell_fd, NULL, NULL},
	{"ring-flags", EXPECT_KEPT, join_ring_flags, NULL, NULL},
	{"surplus", EXPECT_QUARANTINE, NULL, surplus, NULL},
	{"bell-storm", EXPECT_QUARANTINE, NULL, NULL, bell_storm},
	{"bell-long", EXPECT_EITHER, NULL, bell_long, NULL},
	{"bell-empty", EXPECT_EITHER, NULL, bell_empty, NULL},
	{"bell-shutdown", EXPECT_EITHER, NULL, bell_shutdown, NULL},
	{"bell-files", EXPECT_KEPT, NULL, bell_files, NULL},
	{"bell-full", EXPECT_KEPT, NULL, bell_full, NULL},
	{"hello-mutant", EXPECT_EITHER, join_mutant, NULL, NULL},
	{"shuffled", EXPECT_QUARANTINE, join_shuffled, NULL, NULL},
	{"flood", EXPECT_QUARANTINE, join_flood, NULL, NULL},
	{"guests", EXPECT_KEPT, NULL, guests, NULL},
	{NULL, EXPECT_EITHER, NULL, NULL, NULL},
};
