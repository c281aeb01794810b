/*
 * Numbered records through the rdma fabric: two processes, on one machine or on two, and
 * between them what two nodes have, without nodes: a queue pair, a ring in each
 * direction, fabric_rdma.c. A TCP connection carries what each needs to know of the
 * other.
 *
 *     qp_pair server PORT [--device NAME]        serves one client, then ends
 *     qp_pair client ADDRESS PORT [options]
 *
 *       --mode one|both|pingpong   the client sends; both do; one record at a time
 *       --frame BYTES              of each record (default 1514)
 *       --count N                  records in each direction (default 10000)
 *       --ring BYTES               (default 1 MiB)
 *       --burst N                  records that are published at once (default 64)
 *       --poll                     never sleep
 *       --check                    every byte of every record, not only its number
 *
 * Each side prints one JSON line: what it sent and got, how long that took, what it cost
 * in work requests, and what the device says of missing receives. Exit 1 if a record is
 * missing, changed, or out of order, or if one of the two slept for STUCK_MS while there
 * was something to do.
 */
#include "net.h"

#include "base/clock.h"
#include "base/memfd.h"
#include "data/fabric_rdma.h"
#include "data/qp_verbs.h"

#include <infiniband/verbs.h>

#include <err.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#define STUCK_MS  10000
#define TRIPS_MAX (1u << 20)

enum mode { MODE_ONE, MODE_BOTH, MODE_PINGPONG };

static const char *const mode_names[] = {"one", "both", "pingpong"};

/* What the client tells the server to do. */
struct task {
	uint32_t mode;
	uint32_t frame;
	uint64_t count;
	uint64_t ring_size;
	uint32_t burst;
	uint32_t polls;
	uint32_t checks;
};

/* What each tells the other of itself. */
struct hello {
	uint8_t gid[16];
	uint32_t qp_number;
	uint32_t psn;
	uint32_t rkey;
	uint32_t pad;
	uint64_t salt; /* of the ring that the other one writes to */
};

struct device {
	struct ibv_context *context;
	uint8_t port;
	uint8_t gid_index;
	uint8_t gid[16];
	enum ibv_mtu mtu;
};

struct pair {
	struct task task;
	bool is_client;
	struct device device;
	struct qp *qp;
	struct fabric *fabric;
	struct ring_map rx_map, tx_map;
	struct shmnet_ring_rx rx;
	struct shmnet_ring_tx tx;
	uint64_t to_send, sent;
	uint64_t to_get, got;
	uint32_t sleeps;
	uint32_t *trips_ns; /* of a ping-pong */
};

static const char *device_name;

/* ---- the device ---- */

static bool device_has_gid(struct device *device)
{
	struct ibv_gid_entry entries[64];
	ssize_t num = ibv_query_gid_table(device->context, entries, 64, 0);
	struct ibv_port_attr port;

	for (ssize_t i = 0; i < num; i++) {
		const uint8_t *gid = entries[i].gid.raw;

		/* of IPv4, for the TCP connection is of that, too */
		if (entries[i].gid_type != IBV_GID_TYPE_ROCE_V2 || gid[10] != 0xff)
			continue;
		device->port = (uint8_t)entries[i].port_num;
		device->gid_index = (uint8_t)entries[i].gid_index;
		memcpy(device->gid, gid, sizeof(device->gid));
		if (ibv_query_port(device->context, device->port, &port) != 0 ||
		    port.state != IBV_PORT_ACTIVE)
			continue;
		device->mtu = port.active_mtu;
		return true;
	}
	return false;
}

static void device_open(struct device *device)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	for (struct ibv_device **at = list; at && *at; at++) {
		if (device_name && strcmp(device_name, (*at)->name) != 0)
			continue;
		device->context = ibv_open_device(*at);
		if (device->context && device_has_gid(device)) {
			ibv_free_device_list(list);
			return;
		}
	}
	errx(77, "SKIP: no RDMA device with a RoCEv2 GID of IPv4");
}

/* ---- connecting ---- */

static void map_ring(struct ring_map *map, uint64_t size)
{
	int fd, ret = memfd_ring_create(size, &fd);

	if (ret == 0)
		ret = ring_map_open(fd, size, map);
	if (ret < 0)
		errx(1, "a ring of %llu bytes: %s", (unsigned long long)size,
		     strerror(-ret));
	close(fd);
}

static uint32_t register_ring(struct pair *pair, const struct ring_map *map,
			      bool peer_writes)
{
	struct qp_keys keys;
	int ret =
		qp_verbs_register(pair->qp, map->data, 2 * map->size, peer_writes, &keys);

	if (ret < 0)
		errx(1, "registering a ring: %s", strerror(-ret));
	return peer_writes ? keys.rkey : keys.lkey;
}

static void make_queue(struct pair *pair)
{
	const struct qp_verbs_spec spec = {
		.context = pair->device.context,
		.port = pair->device.port,
		.send_depth = 256,
		.receive_depth = fabric_rdma_receive_depth(1),
	};
	const char *why;
	int ret = qp_verbs_new(&spec, &pair->qp, &why);

	if (ret < 0)
		errx(1, "%s: %s", why, strerror(-ret));
	ret = fabric_rdma_new(pair->qp, "rdma/test", &pair->fabric);
	if (ret < 0)
		errx(1, "making a fabric: %s", strerror(-ret));
}

/* Our ring is there before the peer can know of it. */
static struct hello make_hello(struct pair *pair)
{
	struct hello hello = {.qp_number = qp_verbs_number(pair->qp)};
	int ret;

	map_ring(&pair->rx_map, pair->task.ring_size);
	map_ring(&pair->tx_map, pair->task.ring_size);
	hello.rkey = register_ring(pair, &pair->rx_map, true);
	memcpy(hello.gid, pair->device.gid, sizeof(hello.gid));
	if (getrandom(&hello.salt, sizeof(hello.salt), 0) < 0 ||
	    getrandom(&hello.psn, sizeof(hello.psn), 0) < 0)
		err(1, "random numbers");
	hello.psn &= 0xffffff;
	ret = fabric_rdma_set_rx(pair->fabric, 0, pair->rx_map.words,
				 pair->task.ring_size);
	if (ret < 0)
		errx(1, "our ring: %s", strerror(-ret));
	shmnet_ring_rx_init(&pair->rx, pair->rx_map.words, pair->rx_map.data,
			    pair->task.ring_size, hello.salt);
	return hello;
}

static void modify(struct pair *pair, struct ibv_qp_attr *attr, int mask)
{
	int ret = qp_verbs_modify(pair->qp, attr, mask | IBV_QP_STATE);

	if (ret < 0)
		errx(1, "connecting the queue pair: %s", strerror(-ret));
}

static void connect_queue(struct pair *pair, const struct hello *ours,
			  const struct hello *theirs)
{
	struct ibv_qp_attr rtr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = pair->device.mtu,
		.dest_qp_num = theirs->qp_number,
		.rq_psn = theirs->psn,
		.ah_attr = {.is_global = 1,
			    .port_num = pair->device.port,
			    .grh = {.sgid_index = pair->device.gid_index,
				    .hop_limit = 64}},
	};
	struct ibv_qp_attr rts = {
		.qp_state = IBV_QPS_RTS,
		.sq_psn = ours->psn,
		.timeout = 16, /* 0.27 s, as the nodes have it */
		.retry_cnt = 6,
		.rnr_retry = 0,
	};

	memcpy(rtr.ah_attr.grh.dgid.raw, theirs->gid, sizeof(theirs->gid));
	modify(pair, &rtr,
	       IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
		       IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
	modify(pair, &rts,
	       IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
		       IBV_QP_MAX_QP_RD_ATOMIC);
}

static void set_tx(struct pair *pair, const struct hello *theirs)
{
	const struct fabric_rdma_tx tx = {
		.size = pair->task.ring_size,
		.words = pair->tx_map.words,
		.staging = pair->tx_map.data,
		.lkey = register_ring(pair, &pair->tx_map, false),
		.rkey = theirs->rkey,
	};
	int ret = fabric_rdma_set_tx(pair->fabric, &tx);

	if (ret < 0)
		errx(1, "the peer's ring: %s", strerror(-ret));
	shmnet_ring_tx_init(&pair->tx, pair->tx_map.words, pair->tx_map.data,
			    pair->task.ring_size, theirs->salt);
}

/* Both sides are ready when this returns. */
static void meet(struct pair *pair, int fd)
{
	struct hello ours, theirs;
	uint8_t ready = 1;

	device_open(&pair->device);
	make_queue(pair);
	ours = make_hello(pair);
	net_write_all(fd, &ours, sizeof(ours));
	if (!net_read_all(fd, &theirs, sizeof(theirs)))
		errx(1, "the other side left");
	set_tx(pair, &theirs);
	connect_queue(pair, &ours, &theirs);
	net_write_all(fd, &ready, sizeof(ready));
	if (!net_read_all(fd, &ready, sizeof(ready)))
		errx(1, "the other side left");
}

/* ---- records ---- */

static uint64_t word_of(uint64_t number, uint32_t place)
{
	return (number + 1) * UINT64_C(0x9e3779b97f4a7c15) + place;
}

static void fill(const struct pair *pair, uint64_t number, uint8_t *payload)
{
	uint32_t length = pair->task.frame;
	uint64_t word;

	memcpy(payload, &number, sizeof(number));
	if (!pair->task.checks)
		return;
	for (uint32_t at = sizeof(number); at + sizeof(word) <= length;
	     at += sizeof(word)) {
		word = word_of(number, at);
		memcpy(payload + at, &word, sizeof(word));
	}
}

static void check(const struct pair *pair, uint64_t number,
		  const struct shmnet_record *record)
{
	uint64_t word;

	memcpy(&word, record->payload, sizeof(word));
	if (record->length != pair->task.frame || word != number)
		errx(1, "record %llu of %u bytes came instead of %llu of %u",
		     (unsigned long long)word, record->length, (unsigned long long)number,
		     pair->task.frame);
	if (!pair->task.checks)
		return;
	for (uint32_t at = sizeof(word); at + sizeof(word) <= record->length;
	     at += sizeof(word)) {
		memcpy(&word, record->payload + at, sizeof(word));
		if (word != word_of(number, at))
			errx(1, "record %llu is damaged at byte %u",
			     (unsigned long long)number, at);
	}
}

static void must(const struct pair *pair, const char *what, int ret)
{
	if (ret < 0)
		errx(1, "%s after %llu sent, %llu got: %s: %s", what,
		     (unsigned long long)pair->sent, (unsigned long long)pair->got,
		     strerror(-ret), fabric_why(pair->fabric));
}

/* True if something was sent. */
static bool send_some(struct pair *pair, uint64_t most)
{
	uint64_t before = pair->sent;
	uint8_t *payload;

	while (pair->sent < pair->to_send && pair->sent - before < most) {
		int ret = shmnet_ring_reserve(&pair->tx, pair->task.frame, 0, &payload);

		if (ret == -ENOBUFS)
			break;
		must(pair, "reserving", ret);
		fill(pair, pair->sent, payload);
		shmnet_ring_submit(&pair->tx, pair->task.frame, 0);
		pair->sent++;
	}
	if (pair->sent == before)
		return false;
	must(pair, "publishing", pair->fabric->ops->publish(pair->fabric, &pair->tx));
	return true;
}

/* True if something came. */
static bool get_some(struct pair *pair)
{
	struct shmnet_record record;
	uint64_t before = pair->got;
	int ret = pair->fabric->ops->poll(pair->fabric, &pair->rx, &pair->tx);

	must(pair, "polling", ret);
	for (unsigned i = 0; i < pair->task.burst; i++) {
		ret = shmnet_ring_peek(&pair->rx, &record);
		must(pair, "reading", ret);
		if (ret == 0)
			break;
		check(pair, pair->got++, &record);
		shmnet_ring_release(&pair->rx, &record);
	}
	if (pair->got == before)
		return false;
	must(pair, "crediting", pair->fabric->ops->credit(pair->fabric, &pair->rx));
	return true;
}

/* ---- waiting ---- */

static bool is_done(const struct pair *pair)
{
	return pair->sent == pair->to_send && pair->got == pair->to_get;
}

static void wait_bell(struct pair *pair)
{
	struct pollfd bell = {.fd = pair->fabric->wait_fd, .events = POLLIN};

	pair->sleeps++;
	if (poll(&bell, 1, STUCK_MS) == 0)
		errx(1, "stuck: %llu of %llu sent, %llu of %llu got",
		     (unsigned long long)pair->sent, (unsigned long long)pair->to_send,
		     (unsigned long long)pair->got, (unsigned long long)pair->to_get);
	pair->fabric->ops->drain(pair->fabric);
}

/* Until something comes, or, if there is something to send, there is room for it. */
static void rest(struct pair *pair, bool sends)
{
	static uint32_t number;
	const struct fabric_ops *ops = pair->fabric->ops;
	int safe;

	if (pair->task.polls)
		return;
	safe = ops->arm(pair->fabric, &pair->rx, ++number);
	must(pair, "arming", safe);
	if (safe == 0 && sends) {
		safe = ops->wait_room(pair->fabric, &pair->tx, number, pair->task.frame);
		must(pair, "waiting", safe);
	}
	if (safe == 0)
		wait_bell(pair);
	ops->disarm(pair->fabric, &pair->rx);
}

/* ---- what is measured ---- */

static void stream(struct pair *pair)
{
	while (!is_done(pair)) {
		bool busy = send_some(pair, pair->task.burst);

		busy |= get_some(pair);
		if (!busy)
			rest(pair, pair->sent < pair->to_send);
	}
}

static void get_one(struct pair *pair)
{
	uint64_t before = pair->got;

	while (pair->got == before) {
		if (!get_some(pair))
			rest(pair, false);
	}
}

static void pingpong(struct pair *pair)
{
	while (!is_done(pair)) {
		uint64_t start = clock_now_ns();

		if (!pair->is_client)
			get_one(pair);
		while (!send_some(pair, 1))
			rest(pair, true);
		if (pair->is_client) {
			get_one(pair);
			if (pair->got <= TRIPS_MAX)
				pair->trips_ns[pair->got - 1] =
					(uint32_t)(clock_now_ns() - start);
		}
	}
}

/* A counter of the device by its name; 0 if it has none. */
static uint64_t read_hw_counter(const struct pair *pair, const char *name)
{
	unsigned long long value = 0;
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/%u/hw_counters/%s",
		 pair->device.context->device->name, pair->device.port, name);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%llu", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

static uint64_t read_rnr(const struct pair *pair)
{
	return read_hw_counter(pair, "rcvd_rnr_err") +
	       read_hw_counter(pair, "send_rnr_err") +
	       read_hw_counter(pair, "out_of_buffer");
}

static double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print_trips(struct pair *pair)
{
	uint64_t num = pair->got < TRIPS_MAX ? pair->got : TRIPS_MAX;
	uint32_t median, slow;

	if (pair->task.mode != MODE_PINGPONG || !pair->is_client || !num)
		return;
	qsort(pair->trips_ns, num, sizeof(*pair->trips_ns), compare_u32);
	median = pair->trips_ns[num / 2];
	slow = pair->trips_ns[num * 99 / 100];
	printf(", \"p50_us\": %.2f, \"p99_us\": %.2f", median / 1e3, slow / 1e3);
}

static void print_result(struct pair *pair, double seconds, double cpu, uint64_t rnr)
{
	struct fabric_rdma_counters counters;
	uint64_t frames = pair->sent + pair->got;

	fabric_rdma_read(pair->fabric, &counters);
	printf("{\"mode\": \"%s\", \"frame\": %u, \"sent\": %llu, \"got\": %llu, "
	       "\"seconds\": %.3f, \"cpu_seconds\": %.3f, \"frames_per_s\": %.0f, "
	       "\"megabytes_per_s\": %.2f",
	       mode_names[pair->task.mode], pair->task.frame,
	       (unsigned long long)pair->sent, (unsigned long long)pair->got, seconds,
	       cpu, (double)frames / seconds,
	       (double)frames * pair->task.frame / seconds / 1e6);
	printf(", \"writes\": %llu, \"immediates\": %llu, \"signalled\": %llu, "
	       "\"receives\": %llu, \"send_queue_full\": %llu, \"sleeps\": %u, "
	       "\"rnr\": %llu",
	       (unsigned long long)counters.writes,
	       (unsigned long long)counters.immediates,
	       (unsigned long long)counters.signalled,
	       (unsigned long long)counters.receives,
	       (unsigned long long)counters.send_queue_full, pair->sleeps,
	       (unsigned long long)rnr);
	print_trips(pair);
	printf("}\n");
}

static void run(struct pair *pair, int fd)
{
	bool sends = pair->is_client || pair->task.mode != MODE_ONE;
	bool gets = !pair->is_client || pair->task.mode != MODE_ONE;
	uint64_t rnr, start;
	double cpu, seconds;
	uint8_t done = 1;

	meet(pair, fd);
	pair->to_send = sends ? pair->task.count : 0;
	pair->to_get = gets ? pair->task.count : 0;
	pair->trips_ns = calloc(TRIPS_MAX, sizeof(*pair->trips_ns));
	if (!pair->trips_ns)
		err(1, "round trips");
	rnr = read_rnr(pair);
	cpu = cpu_seconds();
	start = clock_now_ns();
	if (pair->task.mode == MODE_PINGPONG)
		pingpong(pair);
	else
		stream(pair);
	/* Until the other side has all that was sent, which wakes nobody up. */
	while (pair->tx.words->tail != pair->tx.head)
		get_some(pair);
	seconds = (double)(clock_now_ns() - start) / 1e9;
	print_result(pair, seconds, cpu_seconds() - cpu, read_rnr(pair) - rnr);
	/* Whoever is last here is what keeps the connection. */
	net_write_all(fd, &done, sizeof(done));
	net_read_all(fd, &done, sizeof(done));
	fabric_close(pair->fabric);
	ibv_close_device(pair->device.context);
	free(pair->trips_ns);
}

/* ---- arguments ---- */

static const struct option options[] = {
	{"device", required_argument, NULL, 'd'},
	{"mode", required_argument, NULL, 'm'},
	{"frame", required_argument, NULL, 'f'},
	{"count", required_argument, NULL, 'c'},
	{"ring", required_argument, NULL, 'r'},
	{"burst", required_argument, NULL, 'b'},
	{"poll", no_argument, NULL, 'p'},
	{"check", no_argument, NULL, 'k'},
	{NULL, 0, NULL, 0},
};

static uint32_t parse_mode(const char *name)
{
	for (uint32_t i = 0; i < sizeof(mode_names) / sizeof(mode_names[0]); i++) {
		if (strcmp(name, mode_names[i]) == 0)
			return i;
	}
	errx(2, "no such mode: %s", name);
}

static uint64_t parse_number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end || value < least || value > most)
		errx(2, "%s is not a number from %llu to %llu", text,
		     (unsigned long long)least, (unsigned long long)most);
	return value;
}

static void handle_option(struct task *task, int option)
{
	switch (option) {
	case 'd':
		device_name = optarg;
		break;
	case 'm':
		task->mode = parse_mode(optarg);
		break;
	case 'f':
		task->frame = (uint32_t)parse_number(optarg, 8, SHMNET_RING_PAYLOAD_MAX);
		break;
	case 'c':
		task->count = parse_number(optarg, 1, UINT64_C(1) << 40);
		break;
	case 'r':
		task->ring_size =
			parse_number(optarg, SHMNET_RING_SIZE_MIN, SHMNET_RING_SIZE_MAX);
		break;
	case 'b':
		task->burst = (uint32_t)parse_number(optarg, 1, 1u << 20);
		break;
	case 'p':
		task->polls = 1;
		break;
	case 'k':
		task->checks = 1;
		break;
	default:
		errx(2, "usage: see the head of qp_pair.c");
	}
}

static void serve(uint16_t port)
{
	struct pair pair = {.is_client = false};
	int listener = net_tcp_listen(port);
	int fd;

	net_announce();
	fd = net_tcp_accept(listener);
	if (!net_read_all(fd, &pair.task, sizeof(pair.task)))
		errx(1, "the client left");
	run(&pair, fd);
	close(fd);
	close(listener);
}

static void ask(const struct task *task, const char *address, uint16_t port)
{
	struct pair pair = {.is_client = true, .task = *task};
	int fd = net_tcp_connect(address, port);

	net_write_all(fd, task, sizeof(*task));
	run(&pair, fd);
	close(fd);
}

int main(int argc, char **argv)
{
	struct task task = {
		.frame = 1514,
		.count = 10000,
		.ring_size = 1u << 20,
		.burst = 64,
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		handle_option(&task, option);
	argc -= optind;
	argv += optind;
	if (argc == 2 && strcmp(argv[0], "server") == 0)
		serve(net_parse_port(argv[1]));
	else if (argc == 3 && strcmp(argv[0], "client") == 0)
		ask(&task, argv[1], net_parse_port(argv[2]));
	else
		errx(2, "usage: qp_pair server PORT | client ADDRESS PORT [options]");
	return 0;
}
