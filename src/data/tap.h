/*
 * The TAP of a port: opening, adopting, steering, leaving, removing.
 *
 * Owns the queue fds and the steering map; moves no frame and configures no
 * address (that is control/kernel.h). Never logs. All of it belongs to the
 * control thread, before, while and after the workers have the queue fds, which
 * they only read(2) and write(2).
 *
 * The kernel attaches a second program to a multi-queue TAP without a word, and
 * adopting is just attaching. So the caller asks first and looks once more
 * after (is_tap, alias and tap_queues of kernel_get_link()):
 *
 *     no such interface             tap_open(..., TAP_CREATE)
 *     a TAP with our alias,
 *       tap_queues == 0             tap_open(..., TAP_ADOPT)
 *     our alias, tap_queues > 0     refuse: another process holds it
 *     anything else                 refuse: not ours
 *
 * which is kernel_claim_port(). Afterwards
 *
 *     1. kernel_get_link(): more tap_queues than num_queues mean that somebody
 *        else attached in between: tap_close(), refuse;
 *     2. kernel_setup_port() marks and configures it;
 *     3. tap_persist(), only now: who is killed before leaves no interface
 *        without a mark, which no later start would take.
 *
 * From tap_persist() on the interface outlives the process and keeps its
 * addresses, so that the host's connections live on after SIGKILL.
 *
 * Every TAP is multi-queue, even with one queue: the kernel refuses to reopen a
 * device in the other mode, and this way any start may adopt what any earlier
 * one left, whatever number of queues it has. A single-queue device made by
 * somebody else and marked as ours is taken too, in one-queue mode.
 *
 * Steering. A cast goes to queue 0; any other frame to the queue that the last
 * two bytes of its destination are mapped to (the node id, see shmnet/wire.h),
 * or to queue 0. It is a hint: frames queued before tap_steer() stay where they
 * are, so a reader decides by the frame, not by the queue. Where the kernel
 * refuses (BPF needs CAP_BPF of the first user namespace), the TAP works with one
 * queue: steering_refused is set and steering_errno says why.
 */
#ifndef DATA_TAP_H
#define DATA_TAP_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#define TAP_QUEUES_MAX 16

/* Node ids that can be steered at once; the others stay in queue 0. */
#define TAP_STEERED_MAX 4096

enum tap_mode {
	TAP_CREATE, /* the name must be free */
	TAP_ADOPT,  /* take what is there, or create it */
};

/* What an -errno alone doesn't tell. */
enum tap_error {
	TAP_ERROR_NONE,
	TAP_ERROR_NO_DEVICE,	 /* -ENOENT: no /dev/net/tun */
	TAP_ERROR_NO_ACCESS,	 /* -EACCES: may not open it */
	TAP_ERROR_NO_CAPABILITY, /* -EPERM: CAP_NET_ADMIN is missing */
	TAP_ERROR_EXISTS,	 /* -EEXIST: TAP_CREATE, and the name is taken */
	TAP_ERROR_HELD,		 /* -EBUSY: another process has it open */
	TAP_ERROR_NOT_A_TAP,	 /* -EINVAL: the name is another kind of interface */
	TAP_ERROR_BAD_NAME,	 /* -EINVAL: the kernel takes no such name */
	TAP_ERROR_UNSUPPORTED,	 /* -EOPNOTSUPP: the kernel's TAPs lack something */
	TAP_ERROR_OTHER,	 /* -errno says all */
	TAP_ERROR_NUM_
};

struct tap {
	char name[IF_NAMESIZE];
	unsigned num_queues;
	int queues[TAP_QUEUES_MAX]; /* O_NONBLOCK; frames of SHMNET_VNET_HLEN + frame */
	unsigned offloads;	    /* SHMNET_OFFLOAD_*: what it gives and takes */
	bool steering_refused;	    /* several queues were wanted and one was given */
	int steering_errno;	    /* why; 0 if not refused */
	int steering_map;	    /* -1 without steering */
};

/* No queue open: what tap_close() accepts and does nothing with. */
void tap_init(struct tap *tap);

/*
 * Opens 1..TAP_QUEUES_MAX queues, carrier off, with all offloads that the kernel
 * has. Queues are never detached while running: that would renumber the others.
 *
 * On failure *tap is as after tap_init(), nothing is left open, a created device
 * is gone, and *ret_why (the one out-param that is always set) tells why.
 */
int tap_open(struct tap *tap, const char *name, unsigned num_queues, enum tap_mode mode,
	     enum tap_error *ret_why);

/* Is this an open queue of the TAP of that name, of the kind that we make? */
bool tap_is_queue(int fd, const char *name);

/*
 * The same with queues that are open already, in their order: whoever opened them, they
 * were never all closed since, so that the carrier is what it was and frames may wait.
 * Neither is changed. On success they are the tap's; on failure the caller's, and none
 * is closed: -EINVAL if they are not queues of this TAP.
 */
int tap_inherit(struct tap *tap, const char *name, const int *queues, unsigned num,
		unsigned num_queues, enum tap_error *ret_why);

/*
 * What the kernel may hand over: SHMNET_OFFLOAD_*, checksums always. -EINVAL if it
 * lacks one; then nothing changes. What a kernel has here it also takes in a
 * write(2), and without a word from here: to take less is up to the caller.
 */
int tap_set_offloads(struct tap *tap, unsigned offloads);

/* One line for the user: what is wrong and what helps. NULL for NONE and OTHER. */
const char *tap_error_text(enum tap_error why);

/* The device outlives its queues from here on: see above. Idempotent. */
int tap_persist(struct tap *tap);

/* It does not; who has a duplicate of a queue keeps it. Idempotent. */
int tap_unpersist(struct tap *tap);

/* Carrier as the host sees it. */
int tap_set_carrier(struct tap *tap, bool on);

/*
 * Frames to `node_id` come out of `queue` from now on. 0 without steering, where
 * all come out of queue 0; -EINVAL for a queue that isn't there; -E2BIG if
 * TAP_STEERED_MAX are. The map's fd is enough for it: works without any
 * capability (kernel 5.19 and later; -EPERM before).
 */
int tap_steer(struct tap *tap, uint16_t node_id, unsigned queue);

/* Back to queue 0; 0 also if it wasn't steered. */
int tap_unsteer(struct tap *tap, uint16_t node_id);

/* Closes the fds; a persistent device stays, without carrier. Idempotent. */
void tap_close(struct tap *tap);

/* The device vanishes with its addresses. Idempotent; needs no capability. */
void tap_destroy(struct tap *tap);

#endif
