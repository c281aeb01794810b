/*
 * See confine_calls.h.
 *
 * Theory of operation. The list below is that of the calls which the node and its
 * libraries make; some of them with certain arguments only. What becomes of another one
 * depends on what it is:
 *
 * - One that nobody here makes by mistake, as ptrace(2) or execve(2), ends the process:
 * who makes it is not the node. The log names it.
 * - Any other is answered with ENOSYS, as by a kernel that is too old for it. A newer
 * libc or provider of verbs may try one that this list doesn't know yet, and has to get
 * along without it on such a kernel, too. The log names it, once.
 *
 * Both are decided by the handler of SIGSYS, which the kernel sends instead of making the
 * call. That signal is synchronous: the thread is at a call that it made itself, so a
 * handler may log.
 *
 * Programs that the node starts inherit the filter, and nobody knows what a DHCP client
 * and its scripts call. So with them there is no list of what is allowed, but only the
 * one of what is forbidden, less what it takes to start a program. In them there is no
 * handler, and a forbidden call is their end: child.c sees it.
 *
 * The filter costs nothing to calls that are allowed whatever their arguments: the kernel
 * keeps a bitmap of those (since 5.11; before that it is a search in a tree). So read(2),
 * writev(2), epoll_wait(2) and the like must not get conditions.
 */
#include "control/confine_calls.h"

#include "base/log.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#define NUMBERS_MAX   1024
#define NUM_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Both names of what has one on old architectures and another one on new ones. */
static const char *const allowed[] = {
	/* threads, signals, the end */
	"exit", "exit_group", "futex", "getpid", "gettid", "restart_syscall", "rseq",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity",
	"sched_yield", "set_robust_list",
	/* time */
	"clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep",
	"time", "timerfd_create", "timerfd_settime",
	/* memory; with conditions: mmap, mprotect */
	"brk", "madvise", "memfd_create", "mlock", "mremap", "munlock", "munmap",
	/* who and where we are */
	"getegid", "geteuid", "getgid", "getppid", "getrandom", "getrlimit", "getuid",
	"sysinfo", "uname",
	/* files */
	"access", "chmod", "close", "dup", "dup2", "dup3", "faccessat", "faccessat2",
	"fchmod", "fchmodat", "fchmodat2", "fcntl", "flock", "fstat", "fstatfs", "fsync",
	"ftruncate", "getcwd", "getdents64", "inotify_add_watch", "inotify_init1",
	"inotify_rm_watch", "ioctl", "lseek", "lstat", "mkdir", "mkdirat", "newfstatat",
	"open", "openat", "pread64", "pwrite64", "read", "readlink", "readlinkat",
	"readv", "rename", "renameat", "renameat2", "stat", "statfs", "statx", "umask",
	"unlink", "unlinkat", "write", "writev",
	/* waiting */
	"epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
	"eventfd2", "pidfd_open", "pipe2", "poll", "ppoll", "pselect6", "select",
	/* sockets; with conditions: socket */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname",
	"getsockopt", "listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg",
	"sendto", "setsockopt", "shutdown", "socketpair"};

/* What neither the node nor a program that it starts calls by mistake. */
static const char *const forbidden[] = {
	/* others' memory and descriptors */
	"kcmp", "pidfd_getfd", "process_vm_readv", "process_vm_writev", "ptrace",
	"userfaultfd",
	/* file systems and namespaces */
	"chroot", "fsmount", "fsopen", "mount", "mount_setattr", "move_mount",
	"name_to_handle_at", "open_by_handle_at", "open_tree", "pivot_root", "quotactl",
	"umount2", "unshare",
	/* the kernel and its keys, the machine */
	"acct", "add_key", "delete_module", "finit_module", "init_module", "ioperm",
	"iopl", "kexec_file_load", "kexec_load", "keyctl", "perf_event_open", "reboot",
	"request_key", "sethostname", "settimeofday", "swapoff", "swapon",
	/* a way around this filter */
	"io_uring_enter", "io_uring_register", "io_uring_setup"};

/* What programs may, and a node without them does not. */
static const char *const of_programs[] = {
	/* to start one */
	"clone", "execve", "execveat", "fork", "vfork",
	/* credentials, which must not change once an RDMA device is open */
	"capset", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid",
	"setuid",
	/* with other arguments than ours */
	"bpf", "personality", "setns"};

/* An argument that a call is allowed with, as far as the mask goes. */
struct condition {
	const char *call;
	unsigned argument;
	uint32_t mask, value;
};

#define ALL UINT32_MAX /* no more is looked at by the kernel of an int */

static const struct condition conditions[] = {
	{"socket", 0, ALL, AF_UNIX},
	{"socket", 0, ALL, AF_INET},
	{"socket", 0, ALL, AF_INET6},
	{"socket", 0, ALL, AF_NETLINK},
	{"socket", 0, ALL, AF_PACKET},
	/* never writable and executable at once */
	{"mmap", 2, PROT_WRITE, 0},
	{"mmap", 2, PROT_EXEC, 0},
	{"mprotect", 2, PROT_EXEC, 0},
	{"clone", 0, CLONE_THREAD, CLONE_THREAD},
	{"prctl", 0, ALL, PR_SET_NAME},
	{"prctl", 0, ALL, PR_SET_VMA},
	{"bpf", 0, ALL, BPF_MAP_CREATE},
	{"bpf", 0, ALL, BPF_MAP_UPDATE_ELEM},
	{"bpf", 0, ALL, BPF_MAP_DELETE_ELEM},
	{"bpf", 0, ALL, BPF_PROG_LOAD},
	{"prlimit64", 0, ALL, 0}, /* of ourselves */
};

static const struct condition namespace = {"setns", 1, ALL, CLONE_NEWNET};

/* By number, for the handler. */
static struct {
	char *name; /* NULL: the library has none */
	bool is_forbidden, is_told;
} calls_by_number[NUMBERS_MAX];

/* ---- when one is made ---- */

#if defined(__x86_64__)
static void answer(ucontext_t *context, int result)
{
	context->uc_mcontext.gregs[REG_RAX] = result;
}
#elif defined(__aarch64__)
static void answer(ucontext_t *context, int result)
{
	context->uc_mcontext.regs[0] = (unsigned long long)(long long)result;
}
#else
#error "where is the result of a system call?"
#endif

static void on_call(int signal_, siginfo_t *info, void *context)
{
	const unsigned number = (unsigned)info->si_syscall;
	const char *name = "unknown";
	bool is_known = number < NUMBERS_MAX;

	if (is_known && calls_by_number[number].name)
		name = calls_by_number[number].name;
	if (is_known && calls_by_number[number].is_forbidden) {
		log_err(NULL,
			"system call %u (%s) is none that a node makes: somebody else "
			"may act in its place, so it ends here",
			number, name);
		signal(signal_, SIG_DFL);
		raise(signal_);
	}
	if (is_known && !__atomic_exchange_n(&calls_by_number[number].is_told, true,
					     __ATOMIC_RELAXED))
		log_warn(NULL,
			 "system call %u (%s) is not on the list of those that a node "
			 "makes, and was refused; it goes on without it",
			 number, name);
	answer(context, -ENOSYS);
}

static int set_handler(void)
{
	struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};

	action.sa_sigaction = on_call;
	sigemptyset(&action.sa_mask);
	return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}

/* Resolving takes memory, so it is done before. */
static void name_numbers(void)
{
	for (int i = 0; i < NUMBERS_MAX; i++)
		calls_by_number[i].name =
			seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
}

static void mark_forbidden(const char *const names[], size_t num)
{
	for (size_t i = 0; i < num; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);

		if (number >= 0 && number < NUMBERS_MAX)
			calls_by_number[number].is_forbidden = true;
	}
}

/* ---- the filter ---- */

/* A name that the library is too old for, or the architecture too new, has no number. */
static int add(scmp_filter_ctx filter, uint32_t action, const char *const names[],
	       size_t num)
{
	int ret = 0;

	for (size_t i = 0; i < num && ret == 0; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);

		if (number >= 0)
			ret = seccomp_rule_add(filter, action, number, 0);
	}
	return ret;
}

static int add_condition(scmp_filter_ctx filter, const struct condition *condition)
{
	const struct scmp_arg_cmp compare =
		SCMP_CMP(condition->argument, SCMP_CMP_MASKED_EQ, condition->mask,
			 condition->value);

	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW,
				      seccomp_syscall_resolve_name(condition->call), 1,
				      &compare);
}

/* abort(3), and what a test does to a node. */
static int allow_own_end(scmp_filter_ctx filter)
{
	const struct condition calls[] = {
		{"kill", 0, ALL, (uint32_t)getpid()},
		{"tgkill", 0, ALL, (uint32_t)getpid()},
	};
	int ret = add_condition(filter, &calls[0]);

	return ret == 0 ? add_condition(filter, &calls[1]) : ret;
}

static int fill_without_programs(scmp_filter_ctx filter, bool netns)
{
	int ret = add(filter, SCMP_ACT_ALLOW, allowed, NUM_OF(allowed));

	for (size_t i = 0; i < NUM_OF(conditions) && ret == 0; i++)
		ret = add_condition(filter, &conditions[i]);
	if (ret == 0 && netns)
		ret = add_condition(filter, &namespace);
	if (ret == 0)
		ret = allow_own_end(filter);
	/* Its flags lie in memory; libc then takes clone(2). */
	if (ret == 0)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
				       seccomp_syscall_resolve_name("clone3"), 0);
	return ret;
}

static int fill(scmp_filter_ctx filter, const struct confine_calls *calls)
{
	int ret = 0;

	mark_forbidden(forbidden, NUM_OF(forbidden));
	if (!calls->programs)
		mark_forbidden(of_programs, NUM_OF(of_programs));
	/* Speculation is for who runs others' code; the error of load() as it is. */
	ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	if (ret == 0)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (ret == 0)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
	if (ret == 0 && calls->programs)
		return add(filter, SCMP_ACT_TRAP, forbidden, NUM_OF(forbidden));
	return ret == 0 ? fill_without_programs(filter, calls->netns) : ret;
}

int confine_calls(const struct confine_calls *calls)
{
	scmp_filter_ctx filter =
		seccomp_init(calls->programs ? SCMP_ACT_ALLOW : SCMP_ACT_TRAP);
	int ret;

	if (!filter)
		return -ENOMEM;
	name_numbers();
	ret = fill(filter, calls);
	if (ret == 0)
		ret = set_handler();
	if (ret == 0)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	return ret;
}
