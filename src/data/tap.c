/* See tap.h. */
#include "data/tap.h"

#include <shmnet/wire.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.2; headers may be older than the kernel. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#endif
#ifndef TUN_F_USO6
#define TUN_F_USO6 0x40
#endif

#define TUN_PATH "/dev/net/tun"

static const char *const error_texts[] = {
	[TAP_ERROR_NONE] = NULL,
	[TAP_ERROR_NO_DEVICE] =
		"there is no " TUN_PATH ": run \"modprobe tun\", or give the device "
		"to the container",
	[TAP_ERROR_NO_ACCESS] =
		"may not open " TUN_PATH ": run as root, or change the device's mode",
	[TAP_ERROR_NO_CAPABILITY] = "CAP_NET_ADMIN is missing: run as root, or "
				    "give the program that capability",
	[TAP_ERROR_EXISTS] = "an interface of that name exists: remove it, or choose "
			     "another name",
	[TAP_ERROR_HELD] = "another program has the TAP open: stop it, or choose another "
			   "name",
	[TAP_ERROR_NOT_A_TAP] =
		"the name belongs to an interface that isn't a TAP: choose "
		"another name",
	[TAP_ERROR_BAD_NAME] = "not a name for an interface: 1 to 15 bytes without "
			       "\"/\", \":\", \"%\" or spaces",
	[TAP_ERROR_UNSUPPORTED] =
		"the kernel's TAPs lack something: Linux 5.0 or later is "
		"needed (multi-queue, vnet headers, carrier)",
	[TAP_ERROR_OTHER] = NULL,
};
_Static_assert(sizeof(error_texts) / sizeof(error_texts[0]) == TAP_ERROR_NUM_,
	       "a text per error");

const char *tap_error_text(enum tap_error why)
{
	return (unsigned)why < TAP_ERROR_NUM_ ? error_texts[why] : NULL;
}

static int sys_bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	int rc = (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return rc < 0 ? -errno : rc;
}

static uint64_t bpf_pointer(const void *pointer)
{
	return (uint64_t)(uintptr_t)pointer;
}

/* Not preallocated: there is one map per network, and most have few peers. */
static int steering_new_map(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = sizeof(uint32_t);
	attr.value_size = sizeof(uint32_t);
	attr.max_entries = TAP_STEERED_MAX;
	attr.map_flags = BPF_F_NO_PREALLOC;
	return sys_bpf(BPF_MAP_CREATE, &attr);
}

#define INSN(code_, dst, src, off_, imm_)                                                \
	{                                                                                \
		.code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_),      \
		.imm = (imm_)                                                            \
	}

/*
 * queue = is a cast ? 0 : (map[node id] or 0). An absolute load reads from the
 * Ethernet header on, gives host order, wants the skb in r6, clobbers r1-r5, and
 * ends the program with 0 if the frame is too short. Jumps count from the next
 * instruction; the map's load is two.
 */
static int steering_load(int map)
{
	const struct bpf_insn program[] = {
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0),
		INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_JSET | BPF_K, BPF_REG_0, 0, 10, SHMNET_MAC_MULTICAST),
		INSN(BPF_LD | BPF_ABS | BPF_H, 0, 0, 0, 4),
		INSN(BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, BPF_REG_0, -4, 0),
		INSN(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, 0),
		INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_0, BPF_REG_0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0), /* both jumps */
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = bpf_pointer(program);
	attr.insn_cnt = sizeof(program) / sizeof(program[0]);
	attr.license = bpf_pointer(""); /* no helper used here asks for one */
	return sys_bpf(BPF_PROG_LOAD, &attr);
}

/* The device keeps the program, and the program its map, without our fds. */
static int steering_attach(struct tap *tap)
{
	int map, program, error = 0;

	map = steering_new_map();
	if (map < 0)
		return map;
	program = steering_load(map);
	if (program < 0) {
		close(map);
		return program;
	}
	if (ioctl(tap->queues[0], TUNSETSTEERINGEBPF, &program) < 0)
		error = -errno;
	close(program);
	if (error)
		close(map);
	else
		tap->steering_map = map;
	return error;
}

static bool name_is_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length >= IF_NAMESIZE)
		return false;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	/* The kernel takes "%d" for a template and would choose a name of its own. */
	return strpbrk(name, "/:% \t\n\v\f\r") == NULL;
}

static int fail(enum tap_error why, int error, enum tap_error *ret_why)
{
	*ret_why = why;
	return error;
}

/* An open device, not attached to anything yet. */
static int open_device(enum tap_error *ret_why)
{
	int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
	case ENODEV: /* the node is there, the driver is not */
	case ENXIO:
		return fail(TAP_ERROR_NO_DEVICE, -ENOENT, ret_why);
	case EACCES:
	case EPERM: /* the container's device list */
		return fail(TAP_ERROR_NO_ACCESS, -EACCES, ret_why);
	}
	return fail(TAP_ERROR_OTHER, -errno, ret_why);
}

static int attach(int fd, const char *name, int flags)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	memcpy(request.ifr_name, name, strnlen(name, IF_NAMESIZE - 1));
	request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags);
	return ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : 0;
}

static int attach_failed(int error, enum tap_mode mode, enum tap_error *ret_why)
{
	bool create = mode == TAP_CREATE;

	switch (error) {
	case -EPERM:
		return fail(TAP_ERROR_NO_CAPABILITY, error, ret_why);
	case -EBUSY:
		if (create)
			return fail(TAP_ERROR_EXISTS, -EEXIST, ret_why);
		return fail(TAP_ERROR_HELD, error, ret_why);
	case -EINVAL:
		return fail(create ? TAP_ERROR_BAD_NAME : TAP_ERROR_NOT_A_TAP, error,
			    ret_why);
	case -ENOTTY: /* not the driver that we think */
		return fail(TAP_ERROR_UNSUPPORTED, -EOPNOTSUPP, ret_why);
	}
	return fail(TAP_ERROR_OTHER, error, ret_why);
}

/* The first queue: creates or adopts. *ret_multi: may it have more of them? */
static int attach_first(int fd, const char *name, enum tap_mode mode, bool *ret_multi,
			enum tap_error *ret_why)
{
	int exclusive = mode == TAP_CREATE ? IFF_TUN_EXCL : 0;
	bool multi = true;
	int error = attach(fd, name, IFF_MULTI_QUEUE | exclusive);

	/* EINVAL is a single-queue TAP as well as any other kind of interface. */
	if (error == -EINVAL && mode == TAP_ADOPT) {
		multi = false;
		error = attach(fd, name, 0);
	}
	if (error)
		return attach_failed(error, mode, ret_why);
	*ret_multi = multi;
	return 0;
}

int tap_set_offloads(struct tap *tap, unsigned offloads)
{
	unsigned long features = TUN_F_CSUM;

	if (offloads & SHMNET_OFFLOAD_TSO4)
		features |= TUN_F_TSO4 | TUN_F_TSO_ECN;
	if (offloads & SHMNET_OFFLOAD_TSO6)
		features |= TUN_F_TSO6 | TUN_F_TSO_ECN;
	if (offloads & SHMNET_OFFLOAD_USO)
		features |= TUN_F_USO4 | TUN_F_USO6; /* both or none */
	if (ioctl(tap->queues[0], TUNSETOFFLOAD, features) < 0)
		return -errno;
	tap->offloads = offloads;
	return 0;
}

/* Settings of the device, not of the queue. */
static int set_up_device(struct tap *tap, enum tap_error *ret_why)
{
	int fd = tap->queues[0], header_size = SHMNET_VNET_HLEN;

	if (ioctl(fd, TUNSETVNETHDRSZ, &header_size) < 0)
		return fail(TAP_ERROR_UNSUPPORTED, -EOPNOTSUPP, ret_why);
	if (tap_set_offloads(tap, SHMNET_OFFLOADS) == 0 ||
	    tap_set_offloads(tap, SHMNET_OFFLOADS & ~SHMNET_OFFLOAD_USO) == 0)
		return 0;
	return fail(TAP_ERROR_UNSUPPORTED, -EOPNOTSUPP, ret_why);
}

static int add_queue(struct tap *tap)
{
	enum tap_error why;
	int error, fd = open_device(&why);

	if (fd < 0)
		return fd;
	error = attach(fd, tap->name, IFF_MULTI_QUEUE);
	if (error)
		close(fd);
	else
		tap->queues[tap->num_queues++] = fd;
	return error;
}

static void close_map(struct tap *tap)
{
	if (tap->steering_map >= 0)
		close(tap->steering_map);
	tap->steering_map = -1;
}

/*
 * From one queue to `num_queues`. The program comes first: without it the kernel
 * spreads flows over the queues by their hash. If anything is refused, one queue
 * remains; a program left on the device then says nothing, because the kernel
 * asks it only if there is a choice.
 */
static int spread(struct tap *tap, unsigned num_queues)
{
	int error = steering_attach(tap);

	while (!error && tap->num_queues < num_queues)
		error = add_queue(tap);
	if (!error)
		return 0;
	while (tap->num_queues > 1)
		close(tap->queues[--tap->num_queues]);
	close_map(tap);
	return error;
}

void tap_init(struct tap *tap)
{
	memset(tap, 0, sizeof(*tap));
	tap->steering_map = -1;
}

static int open_first(struct tap *tap, const char *name, enum tap_mode mode,
		      bool *ret_multi, enum tap_error *ret_why)
{
	int error, fd = open_device(ret_why);

	if (fd < 0)
		return fd;
	error = attach_first(fd, name, mode, ret_multi, ret_why);
	if (error) {
		close(fd);
		return error;
	}
	strncpy(tap->name, name, sizeof(tap->name) - 1);
	tap->queues[0] = fd;
	tap->num_queues = 1;
	return set_up_device(tap, ret_why);
}

int tap_open(struct tap *tap, const char *name, unsigned num_queues, enum tap_mode mode,
	     enum tap_error *ret_why)
{
	bool multi;
	int error;

	tap_init(tap);
	*ret_why = TAP_ERROR_NONE;
	if (num_queues == 0 || num_queues > TAP_QUEUES_MAX)
		return fail(TAP_ERROR_OTHER, -EINVAL, ret_why);
	if (!name_is_valid(name))
		return fail(TAP_ERROR_BAD_NAME, -EINVAL, ret_why);

	error = open_first(tap, name, mode, &multi, ret_why);
	if (error)
		goto err_close;
	if (num_queues > 1) {
		tap->steering_errno = multi ? -spread(tap, num_queues) : EINVAL;
		tap->steering_refused = tap->steering_errno != 0;
	}
	/* Last: every attach above has put the carrier on. */
	if (tap_set_carrier(tap, false) < 0) {
		error = fail(TAP_ERROR_UNSUPPORTED, -EOPNOTSUPP, ret_why);
		goto err_close;
	}
	return 0;

err_close:
	tap_close(tap);
	tap_init(tap);
	return error;
}

static int check_queue(int fd, const char *name, bool *ret_multi)
{
	const int kind = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	if (ioctl(fd, TUNGETIFF, &request) < 0)
		return -errno;
	if ((request.ifr_flags & kind) != kind ||
	    strncmp(request.ifr_name, name, IF_NAMESIZE) != 0)
		return -EINVAL;
	*ret_multi = request.ifr_flags & IFF_MULTI_QUEUE;
	return 0;
}

bool tap_is_queue(int fd, const char *name)
{
	bool multi;

	return check_queue(fd, name, &multi) == 0;
}

int tap_inherit(struct tap *tap, const char *name, const int *queues, unsigned num,
		unsigned num_queues, enum tap_error *ret_why)
{
	bool multi = false;
	int error = num > 0 && num <= TAP_QUEUES_MAX ? 0 : -EINVAL;

	tap_init(tap);
	*ret_why = TAP_ERROR_NONE;
	for (unsigned i = 0; i < num && !error; i++)
		error = check_queue(queues[i], name, &multi);
	if (error)
		return fail(TAP_ERROR_NOT_A_TAP, -EINVAL, ret_why);
	strncpy(tap->name, name, sizeof(tap->name) - 1);
	memcpy(tap->queues, queues, num * sizeof(*queues));
	tap->num_queues = num;
	error = set_up_device(tap, ret_why);
	if (error) {
		tap_init(tap);
		return error;
	}
	if (num_queues > 1) {
		tap->steering_errno = multi ? -spread(tap, num_queues) : EINVAL;
		tap->steering_refused = tap->steering_errno != 0;
	}
	return 0;
}

int tap_persist(struct tap *tap)
{
	return ioctl(tap->queues[0], TUNSETPERSIST, 1ul) < 0 ? -errno : 0;
}

int tap_unpersist(struct tap *tap)
{
	return ioctl(tap->queues[0], TUNSETPERSIST, 0ul) < 0 ? -errno : 0;
}

int tap_set_carrier(struct tap *tap, bool on)
{
	int carrier = on;

	return ioctl(tap->queues[0], TUNSETCARRIER, &carrier) < 0 ? -errno : 0;
}

int tap_steer(struct tap *tap, uint16_t node_id, unsigned queue)
{
	uint32_t key = node_id, value = queue;
	union bpf_attr attr;

	if (queue >= tap->num_queues)
		return -EINVAL;
	if (tap->steering_map < 0)
		return 0;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)tap->steering_map;
	attr.key = bpf_pointer(&key);
	attr.value = bpf_pointer(&value);
	attr.flags = BPF_ANY;
	return sys_bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

int tap_unsteer(struct tap *tap, uint16_t node_id)
{
	uint32_t key = node_id;
	union bpf_attr attr;
	int error;

	if (tap->steering_map < 0)
		return 0;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)tap->steering_map;
	attr.key = bpf_pointer(&key);
	error = sys_bpf(BPF_MAP_DELETE_ELEM, &attr);
	return error == -ENOENT ? 0 : error;
}

void tap_close(struct tap *tap)
{
	while (tap->num_queues > 0)
		close(tap->queues[--tap->num_queues]);
	close_map(tap);
}

void tap_destroy(struct tap *tap)
{
	if (tap->num_queues > 0)
		tap_unpersist(tap);
	tap_close(tap);
}
