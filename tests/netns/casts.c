/*
 * Numbered frames to all, from several nodes at once: one of these runs at each.
 *
 *     casts count INTERFACE ID NODES COUNT RATE DIRECTORY [TO]
 *
 * sends COUNT frames, RATE of them per second, once all NODES have left a file in the
 * directory. TO is the group's MAC address; or "each": a frame of each number to each of
 * the other nodes, whose ids are 1 to NODES, RATE of all these per second. Ends when it
 * has all of the others, or when none came for 3 s. Prints
 * {"node": ID, "own": frames of its own that came back, "from": {"2": {"seen": numbers
 * that came, "twice": that came again}, ...}}.
 *
 *     casts watch INTERFACE ID
 *
 * says "ready" and sends a frame each millisecond. On SIGUSR1 it prints how many
 * microseconds later the first one came that another node sent after it.
 */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TYPE	  0x88b5 /* for experiments */
#define NODES_MAX 16
#define PATIENCE  3000000000ull

struct frame {
	uint8_t to[6];
	uint8_t from[6];
	uint16_t type;
	uint16_t id;
	uint32_t number;
	uint64_t sent_ns;
	uint8_t padding[32];
};

struct other {
	uint8_t *seen; /* by number */
	unsigned num_seen, num_twice;
};

struct run {
	int fd;
	unsigned id, nodes, count;
	bool to_each; /* by unicast */
	struct frame frame;
	struct other others[NODES_MAX + 1];
	unsigned num_own, num_sent;
	uint64_t last_ns; /* when the last frame came */
};

static volatile sig_atomic_t is_signalled;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "casts: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void open_socket(struct run *run, const char *interface)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(TYPE),
		.sll_ifindex = (int)if_nametoindex(interface),
	};
	struct ifreq request = {0};
	int size = 64 << 20;

	run->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(TYPE));
	if (run->fd < 0)
		die("socket");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	if (!address.sll_ifindex || ioctl(run->fd, SIOCGIFHWADDR, &request) < 0 ||
	    setsockopt(run->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    bind(run->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(interface);
	memcpy(run->frame.from, request.ifr_hwaddr.sa_data, sizeof(run->frame.from));
	run->frame.type = htons(TYPE);
	run->frame.id = (uint16_t)run->id;
}

/* Of the frame that is sent next: its number, and whom to. */
static void address_frame(struct run *run)
{
	unsigned others = run->nodes - 1, to;

	run->frame.number = run->num_sent;
	if (!run->to_each)
		return;
	run->frame.number = run->num_sent / others;
	to = run->num_sent % others + 1;
	to += to >= run->id;
	memcpy(run->frame.to, run->frame.from, 4); /* wire.h: then comes the id */
	run->frame.to[4] = (uint8_t)(to >> 8);
	run->frame.to[5] = (uint8_t)to;
}

/* True if it went: the interface may be full, or down for a moment. */
static bool send_frame(struct run *run)
{
	address_frame(run);
	run->frame.sent_ns = now_ns();
	return send(run->fd, &run->frame, sizeof(run->frame), 0) > 0;
}

static bool receive_frame(struct run *run, struct frame *ret_frame)
{
	struct sockaddr_ll from;
	socklen_t length = sizeof(from);
	ssize_t n;

	for (;;) {
		n = recvfrom(run->fd, ret_frame, sizeof(*ret_frame), 0,
			     (struct sockaddr *)&from, &length);
		if (n < 0 && errno != EAGAIN) /* the interface went down, or came */
			continue;
		if (n < 0)
			return false;
		if (n == sizeof(*ret_frame) && from.sll_pkttype != PACKET_OUTGOING)
			return true;
	}
}

/* Until then, or until a frame is there. */
static void wait_until(const struct run *run, uint64_t until_ns)
{
	struct pollfd poll_fd = {.fd = run->fd, .events = POLLIN};
	uint64_t time_ns = now_ns();
	struct timespec left = {0};

	if (until_ns > time_ns)
		left.tv_nsec = (long)((until_ns - time_ns) % 1000000000);
	ppoll(&poll_fd, 1, &left, NULL);
}

/* ---- counting ---- */

static void note_frame(struct run *run, const struct frame *frame)
{
	struct other *other = &run->others[frame->id <= NODES_MAX ? frame->id : 0];

	run->last_ns = now_ns();
	if (frame->id == run->id)
		run->num_own++;
	if (frame->id == run->id || !other->seen || frame->number >= run->count)
		return;
	if (other->seen[frame->number])
		other->num_twice++;
	else
		other->num_seen++;
	other->seen[frame->number] = 1;
}

static bool is_complete(const struct run *run)
{
	for (unsigned i = 1; i <= run->nodes; i++) {
		if (i != run->id && run->others[i].num_seen < run->count)
			return false;
	}
	return true;
}

static void meet(const struct run *run, const char *directory)
{
	char path[512];

	for (unsigned i = 1; i <= run->nodes; i++) {
		snprintf(path, sizeof(path), "%s/%u", directory, i);
		while (access(path, F_OK) < 0)
			usleep(1000);
	}
}

static void show_self(const struct run *run, const char *directory)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%u", directory, run->id);
	file = fopen(path, "w");
	if (!file)
		die(path);
	fclose(file);
}

static void print_count(const struct run *run)
{
	const char *comma = "";

	printf("{\"node\": %u, \"sent\": %u, \"own\": %u, \"from\": {", run->id,
	       run->num_sent, run->num_own);
	for (unsigned i = 1; i <= run->nodes; i++) {
		if (i == run->id)
			continue;
		printf("%s\"%u\": {\"seen\": %u, \"twice\": %u}", comma, i,
		       run->others[i].num_seen, run->others[i].num_twice);
		comma = ", ";
	}
	puts("}}");
}

static void count(struct run *run, unsigned rate, const char *directory)
{
	unsigned to_send = run->to_each ? run->count * (run->nodes - 1) : run->count;
	uint64_t start_ns, next_ns;
	struct frame frame;

	for (unsigned i = 1; i <= run->nodes; i++)
		run->others[i].seen = calloc(run->count, 1);
	show_self(run, directory);
	meet(run, directory);
	start_ns = run->last_ns = now_ns();
	while (run->num_sent < to_send || !is_complete(run)) {
		next_ns = run->num_sent < to_send
				  ? start_ns + run->num_sent * 1000000000ull / rate
				  : now_ns() + 10000000;
		if (run->num_sent < to_send && now_ns() >= next_ns)
			run->num_sent += send_frame(run);
		else
			wait_until(run, next_ns);
		for (unsigned i = 0; i < 64 && receive_frame(run, &frame); i++)
			note_frame(run, &frame);
		if (run->num_sent == to_send && now_ns() - run->last_ns > PATIENCE)
			break;
	}
	print_count(run);
	for (unsigned i = 1; i <= run->nodes; i++)
		free(run->others[i].seen);
}

/* ---- watching ---- */

static void on_signal(int signal)
{
	(void)signal;
	is_signalled = 1;
}

static void watch(struct run *run)
{
	uint64_t next_ns = now_ns(), since_ns = 0;
	struct frame frame;

	signal(SIGUSR1, on_signal);
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (is_signalled) {
			is_signalled = 0;
			since_ns = now_ns();
		}
		if (now_ns() >= next_ns) {
			run->num_sent++;
			send_frame(run);
			next_ns += 1000000;
		}
		wait_until(run, next_ns);
		while (receive_frame(run, &frame)) {
			if (!since_ns || frame.id == run->id || frame.sent_ns < since_ns)
				continue;
			printf("%llu\n",
			       (unsigned long long)(now_ns() - since_ns) / 1000);
			fflush(stdout);
			since_ns = 0;
		}
	}
}

/* A group's MAC address, or "each". */
static bool parse_to(struct run *run, const char *to)
{
	uint8_t *mac = run->frame.to;

	run->to_each = strcmp(to, "each") == 0;
	return run->to_each || sscanf(to, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0],
				      &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) == 6;
}

int main(int argc, char **argv)
{
	struct run run = {.frame.to = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

	if (argc >= 4)
		run.id = (unsigned)atoi(argv[3]);
	if (argc >= 8 && strcmp(argv[1], "count") == 0) {
		run.nodes = (unsigned)atoi(argv[4]);
		run.count = (unsigned)atoi(argv[5]);
	}
	if (run.id == 0 || run.id > NODES_MAX || run.nodes > NODES_MAX ||
	    (argc == 9 && !parse_to(&run, argv[8]))) {
		fprintf(stderr, "usage: see the top of casts.c\n");
		return 2;
	}
	open_socket(&run, argv[2]);
	if (run.count)
		count(&run, (unsigned)atoi(argv[6]), argv[7]);
	else
		watch(&run);
	return 0;
}
