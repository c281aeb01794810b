/*
 * Does TUNSETSTEERINGEBPF send frames to the queue that a map names?
 *
 *     cc -o tun_steering tun_steering.c && ./tun_steering
 *
 * Seen on 6.18: yes, also after the process has dropped every capability
 * (updates need only the map's fd since 5.19); in a user namespace BPF_MAP_CREATE
 * is EPERM, because CAP_BPF is asked of the first namespace.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INSN(c, d, s, o, i) ((struct bpf_insn){(c), (d), (s), (o), (i)})
#define BPF(cmd, attr)	    (int)syscall(SYS_bpf, cmd, attr, sizeof(*(attr)))

int main(void)
{
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_HASH,
			      .key_size = 4,
			      .value_size = 4,
			      .max_entries = 16};
	struct ifreq ifr = {.ifr_name = "steer0",
			    .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE};
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0}};
	int queue[3], prog, map_fd, s;

	if (unshare(CLONE_NEWNET) < 0 || (map_fd = BPF(BPF_MAP_CREATE, &map)) < 0)
		return perror("unshare, map"), 77;
	struct bpf_insn code[] = {
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
		INSN(BPF_LD | BPF_ABS | BPF_H, 0, 0, 0, 4),
		INSN(BPF_STX | BPF_MEM | BPF_W, 10, 0, -4, 0),
		INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map_fd),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1, 0),
		INSN(BPF_LDX | BPF_MEM | BPF_W, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)};
	union bpf_attr load = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
			       .insns = (unsigned long)code,
			       .insn_cnt = sizeof(code) / sizeof(code[0]),
			       .license = (unsigned long)""};
	if ((prog = BPF(BPF_PROG_LOAD, &load)) < 0)
		return perror("load"), 1;
	for (int i = 0; i < 3; i++)
		if ((queue[i] = open("/dev/net/tun", O_RDWR | O_NONBLOCK)) < 0 ||
		    ioctl(queue[i], TUNSETIFF, &ifr) < 0)
			return perror("queue"), 1;
	ifr.ifr_flags = IFF_UP;
	s = socket(AF_PACKET, SOCK_RAW, 0);
	if (ioctl(queue[0], TUNSETSTEERINGEBPF, &prog) < 0 ||
	    ioctl(s, SIOCSIFFLAGS, &ifr) < 0)
		return perror("steering, up"), 1;
	syscall(SYS_capset, &head, none);
	for (unsigned id = 0; id < 4; id++) {
		unsigned want = id % 3, seen = 0;
		unsigned char frame[60] = {2, 0, 0, 0, 0, id,	2,
					   0, 0, 0, 0, 9, 0x88, 0xb5},
			      got[2000];
		struct sockaddr_ll to = {.sll_family = AF_PACKET,
					 .sll_ifindex = if_nametoindex("steer0")};
		union bpf_attr set = {.map_fd = map_fd,
				      .key = (unsigned long)&id,
				      .value = (unsigned long)&want};
		if (id < 3 && BPF(BPF_MAP_UPDATE_ELEM, &set) < 0)
			return perror("update"), 1;
		sendto(s, frame, sizeof(frame), 0, (void *)&to, sizeof(to));
		for (usleep(20000);
		     seen < 3 && !(read(queue[seen], got, 60) == 60 && got[12] == 0x88);)
			seen += !poll(
				&(struct pollfd){.fd = queue[seen], .events = POLLIN}, 1,
				0);
		printf("id %u%s: queue %u\n", id, id < 3 ? "" : " (not in the map)",
		       seen);
	}
	return 0;
}
