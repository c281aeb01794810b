/* See cable.h. */
#include "cable.h"

#include "base/clock.h"
#include "shim.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- waiting ---- */

void pause_ms(unsigned ms)
{
	const struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&time, NULL);
}

bool wait_more(unsigned *left, const char *condition)
{
	pause_ms(1);
	return CHECK_STR(--*left ? NULL : condition, NULL);
}

static uint64_t process_cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* A worker that turns for nothing never lets this become true. */
bool process_rests(void)
{
	uint64_t before = process_cpu_ns();

	pause_ms(20);
	return process_cpu_ns() - before < 5000000;
}

/* No thread of this process can do that. */
static void stop_parent(pid_t parent, void (*meanwhile)(void *arg), void *arg)
{
	kill(parent, SIGSTOP);
	pause_ms(STALL_NS / 1000000 * 5 / 4);
	if (meanwhile)
		meanwhile(arg);
	kill(parent, SIGCONT);
}

void stop_process(void (*meanwhile)(void *arg), void *arg)
{
	pid_t self = getpid(), child = fork();

	if (child == 0) {
		stop_parent(self, meanwhile, arg);
		_exit(0);
	}
	CHECK(child > 0 && waitpid(child, NULL, 0) == child);
}

/* ---- hosts ---- */

static bool make(struct host *host, unsigned id, unsigned queues, uint32_t spin_us,
		 const struct plane_global *global)
{
	const struct plane_options options = {.spin_us = spin_us, .stall_ns = STALL_NS};
	struct plane_port port = {
		.tap = &host->tap.tap,
		.node_id = (uint16_t)id,
		.tag = RIG_TAG,
		.mtu = RIG_MTU,
		.global = global,
	};

	memset(host, 0, sizeof(*host));
	host->id = id;
	return rig_tap_open(&host->tap, queues) &&
	       plane_new(&options, &host->plane) == 0 &&
	       plane_add_port(host->plane, &port, &host->port) == 0;
}

bool host_make(struct host *host, unsigned id, unsigned queues, uint32_t spin_us)
{
	return make(host, id, queues, spin_us, NULL);
}

bool host_make_global(struct host *host, unsigned id, uint32_t spin_us,
		      const struct plane_global *global)
{
	return make(host, id, 1, spin_us, global);
}

bool host_open(struct host *host, unsigned id, unsigned queues, uint32_t spin_us)
{
	return host_make(host, id, queues, spin_us) && plane_start(host->plane) == 0;
}

void host_close(struct host *host)
{
	plane_free(host->plane);
	rig_tap_close(&host->tap);
}

void host_tick(struct host *host)
{
	plane_tick(host->plane, clock_now_ns());
}

bool host_write(struct host *host, unsigned queue, const uint8_t *frame, size_t length)
{
	return send(host->tap.host[queue], frame, length, MSG_NOSIGNAL) ==
	       (ssize_t)length;
}

/* 0 if nothing comes: a wake-up was lost. */
size_t host_read(struct host *host, unsigned queue, uint8_t *frame)
{
	struct pollfd fd = {.fd = host->tap.host[queue], .events = POLLIN};
	ssize_t n;

	if (poll(&fd, 1, WAIT_MS) != 1)
		return 0;
	n = recv(fd.fd, frame, RIG_FRAME_MAX, 0);
	return n < 0 ? 0 : (size_t)n;
}

/* ---- cast rings ---- */

int host_add_cast(struct host *host, const struct cast_file *file, bool writes,
		  struct cast **ret_cast)
{
	struct plane_cast spec = {
		.port = host->port,
		.depth = file->depth,
		.id = file->id,
		.reads = true,
		.writes = writes,
	};
	int ret;

	memcpy(spec.label, file->label, sizeof(spec.label));
	ret = cast_map_open(file->fd, file->depth, RIG_MTU, true, &spec.map);
	if (ret < 0)
		return ret;
	ret = plane_add_cast(host->plane, &spec, ret_cast);
	if (ret < 0)
		cast_map_close(&spec.map);
	return ret;
}

bool cast_file_open(struct cast_file *file, uint32_t depth)
{
	static uint64_t last_id = 0x1d;

	file->depth = depth;
	file->id = ++last_id;
	memset(file->label, 0xff, sizeof(file->label));
	return memfd_cast_create(depth, RIG_MTU, &file->fd) == 0 &&
	       cast_map_open(file->fd, depth, RIG_MTU, true, &file->map) == 0;
}

void cast_file_close(struct cast_file *file)
{
	cast_map_close(&file->map);
	close(file->fd);
}

struct shmnet_cast_ring cast_file_ring(const struct cast_file *file)
{
	struct shmnet_cast_ring ring;

	shmnet_cast_ring_init(&ring, file->map.base, file->depth, RIG_MTU);
	return ring;
}

struct cast_counters read_cast(const struct cast *cast)
{
	struct cast_counters counters;
	struct cast_usage usage;

	plane_read_cast(cast, &counters, &usage);
	return counters;
}

/* ---- cables ---- */

static uint64_t next_salt(void)
{
	static uint64_t salt = RIG_SALT;

	return salt += 0x9e3779b97f4a7c15ull;
}

bool cable_attach(struct cable *cable, unsigned side, unsigned peer_id,
		  struct plane_link *spec)
{
	struct host *host = cable->host[side];

	spec->port = host->port;
	spec->peer_id = (uint16_t)peer_id;
	spec->fabric = cable->fabric[side];
	cable->maps[side][0] = spec->tx;
	cable->maps[side][1] = spec->rx;
	return plane_add_fabric(host->plane, spec->fabric) == 0 &&
	       plane_add_link(host->plane, spec, &cable->link[side]) == 0;
}

/* Maps for both sides; specs[0] transmits on the first ring. */
bool make_rings(struct plane_link specs[2])
{
	memset(specs, 0, 2 * sizeof(*specs));
	specs[0].tx_salt = specs[1].rx_salt = next_salt();
	specs[1].tx_salt = specs[0].rx_salt = next_salt();
	specs[0].offloads = specs[1].offloads = SHMNET_OFFLOADS;
	specs[0].is_trusted = specs[1].is_trusted = true;
	return rig_ring_open(RIG_RING_SIZE, &specs[0].tx, &specs[1].rx) &&
	       rig_ring_open(RIG_RING_SIZE, &specs[1].tx, &specs[0].rx);
}

static bool make_fabrics(struct cable *cable)
{
	int hear[2];

	return fabric_shm_bell(&hear[0], &cable->ring[1]) == 0 &&
	       fabric_shm_bell(&hear[1], &cable->ring[0]) == 0 &&
	       fabric_shm_new(hear[0], cable->ring[0], &cable->fabric[0]) == 0 &&
	       fabric_shm_new(hear[1], cable->ring[1], &cable->fabric[1]) == 0;
}

static bool plug(struct cable *cable, struct host *a, struct host *b, bool is_remote)
{
	struct plane_link specs[2];

	memset(cable, 0, sizeof(*cable));
	cable->host[0] = a;
	cable->host[1] = b;
	if (!make_rings(specs) || !make_fabrics(cable))
		return false;
	specs[0].is_remote = specs[1].is_remote = is_remote;
	return cable_attach(cable, 0, b->id, &specs[0]) &&
	       cable_attach(cable, 1, a->id, &specs[1]);
}

bool cable_plug(struct cable *cable, struct host *a, struct host *b)
{
	return plug(cable, a, b, false);
}

bool cable_plug_remote(struct cable *cable, struct host *a, struct host *b)
{
	return plug(cable, a, b, true);
}

/* Side 1 is played by the test. */
bool cable_plug_played(struct cable *cable, struct host *a, unsigned peer_id)
{
	struct plane_link specs[2];

	memset(cable, 0, sizeof(*cable));
	cable->host[0] = a;
	if (!make_rings(specs) || !make_fabrics(cable))
		return false;
	cable->tx_map = specs[1].tx;
	cable->rx_map = specs[1].rx;
	shmnet_ring_tx_init(&cable->tx, specs[1].tx.words, specs[1].tx.data,
			    RIG_RING_SIZE, specs[1].tx_salt);
	shmnet_ring_rx_init(&cable->rx, specs[1].rx.words, specs[1].rx.data,
			    RIG_RING_SIZE, specs[1].rx_salt);
	return cable_attach(cable, 0, peer_id, &specs[0]);
}

void cable_detach(struct cable *cable, unsigned side, bool peer_is_dead,
		  struct link_counters *ret_final)
{
	struct host *host = cable->host[side];

	if (cable->link[side])
		plane_remove_link(host->plane, cable->link[side], peer_is_dead,
				  ret_final);
	ring_map_close(&cable->maps[side][0]);
	ring_map_close(&cable->maps[side][1]);
	plane_remove_fabric(host->plane, cable->fabric[side]);
	fabric_close(cable->fabric[side]);
	cable->fabric[side] = NULL;
}

void cable_hang_up(struct cable *cable)
{
	fabric_close(cable->fabric[1]);
	cable->fabric[1] = NULL;
}

void cable_free_played(struct cable *cable)
{
	ring_map_close(&cable->tx_map);
	ring_map_close(&cable->rx_map);
	fabric_close(cable->fabric[1]);
}

struct link_counters read_link(const struct link *link)
{
	struct link_counters counters;
	struct link_usage usage;

	plane_read_link(link, &counters, &usage);
	return counters;
}

uint64_t unrouted(const struct host *host)
{
	struct port_counters counters;

	plane_read_port(host->plane, host->port, &counters);
	return counters.unrouted_frames;
}

bool host_wait_fault(struct host *host, struct plane_fault *ret_fault)
{
	struct pollfd fd = {.fd = plane_event_fd(host->plane), .events = POLLIN};

	return poll(&fd, 1, WAIT_MS) == 1 && plane_next_fault(host->plane, ret_fault);
}

uint64_t sum_drops(const struct link_counters *counters, bool sent)
{
	uint64_t sum = sent ? 0 : counters->received_paused;

	for (unsigned reason = 0; reason < DROP_NUM_; reason++)
		sum += drop_reason_is_sent(reason) == sent ? counters->drops[reason] : 0;
	return sum;
}

/* One way: what `sender` counted of it and what `receiver` did. */
void check_conservation(const struct link_counters *sender,
			const struct link_counters *receiver)
{
	CHECK_U64(sender->sent_frames, receiver->delivered_frames +
					       sum_drops(sender, true) +
					       sum_drops(receiver, false));
}
