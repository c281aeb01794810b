/* What a process may still do once it has given up the rest; each case in a child. */
#include "control/confine.h"
#include "control/confine_calls.h"
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define NEEDS_ALL_CALLS TEST_SKIP("a sanitizer makes calls of its own")
#else
#define NEEDS_ALL_CALLS
#endif

enum { REFUSED = 40, OTHERWISE, NOT_CONFINED };

static const struct confine_calls strict, with_netns = {.netns = true},
					  with_programs = {.programs = true};

struct outcome {
	int status;
	char log[4096];
};

static void in_child(const struct confine_calls *calls, int (*act)(void), int log)
{
	dup2(log, STDERR_FILENO);
	_exit(confine_calls(calls) < 0 ? NOT_CONFINED : act());
}

static struct outcome try(const struct confine_calls *calls, int (*act)(void))
{
	struct outcome outcome = {.status = -1};
	size_t used = 0;
	int log[2];
	ssize_t n;
	pid_t pid;

	if (pipe(log) < 0)
		return outcome;
	pid = fork();
	if (pid == 0)
		in_child(calls, act, log[1]);
	close(log[1]);
	while ((n = read(log[0], outcome.log + used, sizeof(outcome.log) - 1 - used)) > 0)
		used += (size_t)n;
	close(log[0]);
	waitpid(pid, &outcome.status, 0);
	return outcome;
}

static bool ended_by(const struct outcome *outcome, int signal)
{
	return WIFSIGNALED(outcome->status) && WTERMSIG(outcome->status) == signal;
}

static bool exited_with(const struct outcome *outcome, int status)
{
	return WIFEXITED(outcome->status) && WEXITSTATUS(outcome->status) == status;
}

static unsigned count(const char *text, const char *word)
{
	unsigned num = 0;

	while ((text = strstr(text, word))) {
		num++;
		text++;
	}
	return num;
}

static int refused_if(long result)
{
	return result < 0 && errno == ENOSYS ? REFUSED : OTHERWISE;
}

/* ---- calls that end the process ---- */

static int call_ptrace(void)
{
	return refused_if(syscall(SYS_ptrace, 0, 0, 0, 0));
}

static int call_execve(void)
{
	const char *const argv[] = {"/bin/true", NULL};

	return execv(argv[0], (char *const *)argv);
}

static int call_fork(void)
{
	return fork() == 0 ? 0 : OTHERWISE;
}

static int call_unshare(void)
{
	return unshare(CLONE_NEWUSER);
}

static int call_setuid(void)
{
	return (int)syscall(SYS_setuid, geteuid());
}

static int call_capset(void)
{
	return (int)syscall(SYS_capset, NULL, NULL);
}

static int call_io_uring(void)
{
	return (int)syscall(SYS_io_uring_setup, 1, NULL);
}

static int call_setns(void)
{
	return setns(-1, CLONE_NEWNET);
}

static int call_setns_mount(void)
{
	return setns(-1, CLONE_NEWNS);
}

static int call_bpf_get(void)
{
	union bpf_attr attr = {.bpf_fd = 0};

	return (int)syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr));
}

static void *ptrace_thread(void *arg)
{
	call_ptrace();
	return arg;
}

static int call_in_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, ptrace_thread, NULL) != 0)
		return REFUSED;
	pthread_join(thread, NULL);
	return OTHERWISE;
}

static const struct {
	const char *words;
	int (*act)(void);
	const struct confine_calls *calls;
} forbidden[] = {
	{"(ptrace) is none", call_ptrace, &strict},
	{"(ptrace) is none", call_in_thread, &strict},
	{"(ptrace) is none", call_ptrace, &with_programs},
	{"(execve) is none", call_execve, &strict},
	{"(clone) is none", call_fork, &strict},
	{"(unshare) is none", call_unshare, &strict},
	{"(unshare) is none", call_unshare, &with_programs},
	{"(setuid) is none", call_setuid, &strict},
	{"(capset) is none", call_capset, &strict},
	{"(io_uring_setup) is none", call_io_uring, &strict},
	{"(setns) is none", call_setns, &strict},
	{"(setns) is none", call_setns_mount, &with_netns},
	{"(bpf) is none", call_bpf_get, &strict},
};

TEST_CASE(confine, a_forbidden_call_ends_it_and_is_named)
{
	NEEDS_ALL_CALLS;
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		struct outcome outcome = try(forbidden[i].calls, forbidden[i].act);

		if (!CHECK(ended_by(&outcome, SIGSYS)) ||
		    !CHECK_INT(count(outcome.log, forbidden[i].words), 1))
			fprintf(stderr, "%s: status %#x, log: %s\n", forbidden[i].words,
				outcome.status, outcome.log);
	}
}

/* ---- calls that are refused ---- */

static int call_twice(void)
{
	for (int i = 0; i < 2; i++) {
		if (refused_if(syscall(SYS_getpriority, 0, 0)) != REFUSED)
			return OTHERWISE;
	}
	return REFUSED;
}

static int call_of_tomorrow(void)
{
	return refused_if(syscall(999));
}

static int call_beyond_all(void)
{
	return refused_if(syscall(99999));
}

static int open_strange_socket(void)
{
	return refused_if(socket(AF_ALG, SOCK_SEQPACKET, 0));
}

static int map_writable_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return refused_if(page == MAP_FAILED ? -1 : 0);
}

static int make_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	return page == MAP_FAILED ? OTHERWISE
				  : refused_if(mprotect(page, 4096, PROT_EXEC));
}

static int signal_another(void)
{
	return refused_if(kill(getppid(), 0));
}

static int limit_another(void)
{
	return refused_if(syscall(SYS_prlimit64, getppid(), 0, NULL, NULL));
}

static int trace_me_maybe(void)
{
	return refused_if(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static const struct {
	const char *words;
	int (*act)(void);
} refused[] = {
	{"(getpriority) is not on the list", call_twice},
	{"999 (unknown) is not on the list", call_of_tomorrow},
	{"", call_beyond_all},
	{"(socket) is not on the list", open_strange_socket},
	{"(mmap) is not on the list", map_writable_code},
	{"(mprotect) is not on the list", make_code},
	{"(kill) is not on the list", signal_another},
	{"(prlimit64) is not on the list", limit_another},
	{"(prctl) is not on the list", trace_me_maybe},
};

TEST_CASE(confine, another_call_is_refused_and_named_once)
{
	NEEDS_ALL_CALLS;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct outcome outcome = try(&strict, refused[i].act);

		if (!CHECK(exited_with(&outcome, REFUSED)) ||
		    !CHECK(!refused[i].words[0] ||
			   count(outcome.log, refused[i].words) == 1))
			fprintf(stderr, "%s: status %#x, log: %s\n", refused[i].words,
				outcome.status, outcome.log);
	}
}

/* ---- what works ---- */

static void *do_nothing(void *arg)
{
	return arg;
}

static int live(void)
{
	static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	pthread_t thread;

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (socket(families[i], SOCK_DGRAM, 0) < 0)
			return 1;
	}
	if (code == MAP_FAILED) /* a library that is loaded later */
		return 2;
	if (pthread_create(&thread, NULL, do_nothing, NULL) != 0)
		return 3;
	if (pthread_join(thread, NULL) != 0 || kill(getpid(), 0) < 0)
		return 4;
	return 0;
}

static int die(void)
{
	abort();
}

static int go_nowhere(void)
{
	return setns(-1, CLONE_NEWNET) < 0 && errno == EBADF ? 0 : OTHERWISE;
}

TEST_CASE(confine, what_a_node_does_works)
{
	struct outcome outcome;

	NEEDS_ALL_CALLS;
	outcome = try(&strict, live);
	CHECK(exited_with(&outcome, 0));
	CHECK_STR(outcome.log, "");
	outcome = try(&with_netns, go_nowhere);
	CHECK(exited_with(&outcome, 0));
	outcome = try(&strict, die);
	CHECK(ended_by(&outcome, SIGABRT));
}

/* Strange calls are no matter, others' namespaces are. */
static int run_shell(void)
{
	const char *const argv[] = {"/bin/sh", "-c",
				    "(exit 3); [ $? -eq 3 ] || exit 1\n"
				    "unshare -n true; [ $? -eq 159 ] && exit 7",
				    NULL};

	if (refused_if(syscall(999)) != REFUSED) /* by the kernel itself */
		return 2;
	if (syscall(SYS_getpriority, 0, 0) < 0)
		return 3;
	return execv(argv[0], (char *const *)argv);
}

TEST_CASE(confine, programs_work_if_there_are_any)
{
	struct outcome outcome;

	NEEDS_ALL_CALLS;
	outcome = try(&with_programs, run_shell);
	if (!CHECK(exited_with(&outcome, 7)))
		fprintf(stderr, "status %#x, log: %s\n", outcome.status, outcome.log);
}

/* ---- the whole, by a config ---- */

static char blue[] = "blue", of_process[] = "/proc/1/ns/net";
static struct config_network networks[2];
static struct config_fabric fabrics[] = {{.kind = FABRIC_KIND_SHM},
					 {.kind = FABRIC_KIND_RDMA}};

static struct node_config config_make(void)
{
	networks[0].dhcp = networks[1].dhcp = false;
	fabrics[0].num_uids = 0;
	return (struct node_config){.num_fabrics = 1,
				    .fabrics = fabrics,
				    .num_networks = 2,
				    .networks = networks};
}

/* A number of /proc/self/status. */
static uint64_t read_status(const char *key)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t value = UINT64_MAX;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtoull(line + strlen(key), NULL, 16);
	}
	if (file)
		fclose(file);
	return value;
}

#define BIT(capability) (1ull << (capability))
#define ALWAYS		(BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) | BIT(CAP_BPF))

static uint64_t expected, ambient;

static int is_confined(const struct node_config *config)
{
	uint64_t had = read_status("CapPrm:"), bound = read_status("CapBnd:");
	bool may_bound = had & BIT(CAP_SETPCAP);

	errno = 0;
	if (confine(config) < 0)
		return 1;
	if (read_status("CapEff:") != (expected & had) ||
	    read_status("CapPrm:") != (expected & had))
		return 2;
	if (read_status("CapBnd:") != (may_bound ? expected & had & bound : bound))
		return 3;
	if (read_status("CapAmb:") != (ambient & had) ||
	    read_status("CapInh:") != (ambient & had))
		return 4;
	if (read_status("NoNewPrivs:") != 1)
		return 5;
	if (read_status("Seccomp:") != 2)
		return 6;
	/* With programs, it can be asked. */
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 && errno != ENOSYS)
		return 7;
	return 0;
}

static int status_in_child(const struct node_config *config)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(is_confined(config));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE(confine, what_is_kept_follows_from_the_config)
{
	struct node_config config = config_make();

	NEEDS_ALL_CALLS;
	expected = ALWAYS, ambient = 0;
	CHECK_INT(status_in_child(&config), 0);
	config.netns = blue, expected = ALWAYS | BIT(CAP_SYS_ADMIN);
	CHECK_INT(status_in_child(&config), 0);
	config.netns = of_process, expected |= BIT(CAP_SYS_PTRACE);
	CHECK_INT(status_in_child(&config), 0);
	config.netns = NULL, config.num_fabrics = 2;
	expected = ALWAYS | BIT(CAP_IPC_LOCK) | BIT(CAP_NET_BIND_SERVICE);
	CHECK_INT(status_in_child(&config), 0);
	config.num_fabrics = 1, fabrics[0].num_uids = 1;
	expected = ALWAYS | BIT(CAP_DAC_OVERRIDE);
	CHECK_INT(status_in_child(&config), 0);
}

TEST_CASE(confine, a_client_gets_its_part)
{
	struct node_config config = config_make();

	NEEDS_ALL_CALLS;
	networks[0].dhcp = true;
	ambient = BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) | BIT(CAP_NET_BIND_SERVICE);
	expected = ambient | BIT(CAP_BPF);
	CHECK_INT(status_in_child(&config), 0);
}

/* 1: a config that is loaded later may have other users. */
static int later(const struct node_config *config)
{
	if (!confine_permits_uids() || confine(config) < 0)
		return OTHERWISE;
	return confine_permits_uids();
}

static int later_in_child(const struct node_config *config)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(later(config));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE(confine, what_is_given_up_is_no_matter_of_a_reload)
{
	const bool has_override = read_status("CapPrm:") & BIT(CAP_DAC_OVERRIDE);
	struct node_config config = config_make();

	CHECK_INT(later_in_child(&config), !has_override);
	fabrics[0].num_uids = 1;
	CHECK_INT(later_in_child(&config), 1);
}
