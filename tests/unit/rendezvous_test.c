/*
 * Who is on this machine: several nodes of one process in one directory. What the
 * host would have to be short of is wrapped by the linker (--wrap).
 */
#include "control/rendezvous.h"

#include "loop.h"
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define IDS 8

/* A node, and what it heard. */
struct node {
	struct rendezvous *rendezvous;
	int last_fd; /* -1 or a connection */
	unsigned connected;
	unsigned appeared[IDS];
	unsigned disappeared[IDS];
};

struct rig {
	struct loop loop;
	char error[512];
	struct node a;
	struct node b;
};

static void on_connected(void *arg, int fd)
{
	struct node *node = arg;

	node->connected++;
	if (node->last_fd >= 0)
		close(node->last_fd);
	node->last_fd = fd;
}

static void on_appeared(void *arg, uint16_t node_id)
{
	((struct node *)arg)->appeared[node_id % IDS]++;
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	((struct node *)arg)->disappeared[node_id % IDS]++;
}

static const struct rendezvous_handler handler = {
	.connected = on_connected,
	.appeared = on_appeared,
	.disappeared = on_disappeared,
};

static bool rig_open(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	rig->a.last_fd = rig->b.last_fd = -1;
	return loop_open(&rig->loop);
}

static void node_free(struct node *node)
{
	rendezvous_free(node->rendezvous);
	node->rendezvous = NULL;
	if (node->last_fd >= 0)
		close(node->last_fd);
	node->last_fd = -1;
}

static void rig_close(struct rig *rig)
{
	node_free(&rig->a);
	node_free(&rig->b);
	loop_close(&rig->loop);
}

static int node_new_at(struct rig *rig, struct node *node, const char *dir, uint16_t id)
{
	return rendezvous_new(rig->loop.base, dir, id, &handler, node, &node->rendezvous,
			      rig->error, sizeof(rig->error));
}

static int node_new(struct rig *rig, struct node *node, uint16_t id)
{
	return node_new_at(rig, node, rig->loop.dir, id);
}

static int node_start(struct rig *rig, struct node *node, uint16_t id)
{
	int ret = node_new(rig, node, id);

	return ret < 0 ? ret
		       : rendezvous_start(node->rendezvous, rig->error,
					  sizeof(rig->error));
}

static struct sockaddr_un address_of(const struct rig *rig, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", rig->loop.dir,
		 name);
	return address;
}

/* A SEQPACKET socket connected to, or bound and listening at, the name; or -errno. */
static int dial(const struct rig *rig, const char *name)
{
	struct sockaddr_un address = address_of(rig, name);
	int ret, fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

static int serve(const struct rig *rig, const char *name)
{
	struct sockaddr_un address = address_of(rig, name);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(listen(fd, 1), 0);
	return fd;
}

static bool exists(const struct rig *rig, const char *name)
{
	struct sockaddr_un address = address_of(rig, name);
	struct stat info;

	return lstat(address.sun_path, &info) == 0;
}

static void remove_file(const struct rig *rig, const char *name)
{
	CHECK_INT(unlink(address_of(rig, name).sun_path), 0);
}

/* ---- what the linker puts between ---- */

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);
int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);
int __real_bind(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);

static char lose_lock[108]; /* removed right before the next flock(2) */
static bool keep_losing;    /* and before each one after it */
static int flock_error;	    /* what it fails with */
static bool without_inotify;
static const char *swap_for;	 /* a link to it takes the next bound socket's place */
static unsigned foreign_unlinks; /* of what is in no directory of a test */

int __wrap_flock(int fd, int operation)
{
	if (lose_lock[0])
		CHECK_INT(__real_unlink(lose_lock), 0);
	if (!keep_losing)
		lose_lock[0] = '\0';
	if (!flock_error)
		return __real_flock(fd, operation);
	errno = flock_error;
	return -1;
}

int __wrap_inotify_init1(int flags)
{
	if (!without_inotify)
		return __real_inotify_init1(flags);
	errno = EMFILE;
	return -1;
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	const char *path = ((const struct sockaddr_un *)(const void *)address)->sun_path;
	int ret = __real_bind(fd, address, length);

	if (swap_for) {
		CHECK_INT(__real_unlink(path), 0);
		CHECK_INT(symlink(swap_for, path), 0);
	}
	swap_for = NULL;
	return ret;
}

int __wrap_unlink(const char *path)
{
	foreign_unlinks += strncmp(path, "/tmp/shmnet-test.", 17) != 0;
	return __real_unlink(path);
}

/* No descriptor is to be had until the limit is set back. */
static struct rlimit exhaust_descriptors(void)
{
	struct rlimit old, none;
	int lowest = dup(STDERR_FILENO);

	close(lowest);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = (rlim_t)lowest;
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
	return old;
}

/* ---- who is there ---- */

TEST_CASE(rendezvous, nodes_see_each_other_come_and_go)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	loop_idle(&rig.loop);
	CHECK_INT(rig.a.appeared[1], 0);
	CHECK_INT(node_start(&rig, &rig.b, 2), 0);
	LOOP_WAIT(&rig.loop, rig.a.appeared[2] && rig.b.appeared[1]);
	node_free(&rig.b);
	LOOP_WAIT(&rig.loop, rig.a.disappeared[2]);
	CHECK_INT(rig.a.appeared[2], 1);
	CHECK_INT(rig.a.disappeared[2], 1);
	CHECK_INT(rig.a.appeared[1], 0); /* itself */
	rig_close(&rig);
}

TEST_CASE(rendezvous, claimed_but_not_started_is_not_seen)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	CHECK_INT(node_new(&rig, &rig.b, 2), 0);
	loop_idle(&rig.loop);
	CHECK_INT(rig.a.appeared[2], 0);
	CHECK(exists(&rig, "node-2.lock"));
	rig_close(&rig);
}

TEST_CASE(rendezvous, next_life_appears_again)
{
	struct sockaddr_un next, shown;
	struct rig rig;
	int old, new;

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	old = serve(&rig, "node-2.sock");
	LOOP_WAIT(&rig.loop, rig.a.appeared[2] == 1);
	new = serve(&rig, "node-2.new");
	next = address_of(&rig, "node-2.new");
	shown = address_of(&rig, "node-2.sock");
	CHECK_INT(rename(next.sun_path, shown.sun_path), 0);
	LOOP_WAIT(&rig.loop, rig.a.appeared[2] == 2);
	CHECK_INT(rig.a.disappeared[2], 0);
	close(old);
	close(new);
	remove_file(&rig, "node-2.sock");
	rig_close(&rig);
}

TEST_CASE(rendezvous, only_sockets_with_a_node_s_name_are_nodes)
{
	static const char *const names[] = {
		"node-0.sock",	"node-65536.sock", "node-+3.sock",
		"node- 3.sock", "node-03.sock",	   "node-3.sock~",
		"node-3.new",	"node-.sock",	   "node--3.sock",
	};
	int fds[sizeof(names) / sizeof(names[0])], file;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fds[i] = serve(&rig, names[i]);
	file = open(address_of(&rig, "node-4.sock").sun_path,
		    O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(symlink("node-0.sock", address_of(&rig, "node-5.sock").sun_path), 0);
	CHECK_INT(node_start(&rig, &rig.b, 2), 0);
	LOOP_WAIT(&rig.loop, rig.a.appeared[2]);
	loop_idle(&rig.loop);
	for (unsigned id = 0; id < IDS; id++)
		CHECK_INT(rig.a.appeared[id], id == 2);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		close(fds[i]);
		remove_file(&rig, names[i]);
	}
	close(file);
	remove_file(&rig, "node-4.sock");
	remove_file(&rig, "node-5.sock");
	rig_close(&rig);
}

TEST_CASE(rendezvous, without_inotify_nodes_are_found_by_looking)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	without_inotify = true;
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	without_inotify = false;
	CHECK_INT(node_start(&rig, &rig.b, 2), 0);
	LOOP_WAIT(&rig.loop, rig.a.appeared[2] && rig.b.appeared[1]);
	node_free(&rig.b);
	LOOP_WAIT(&rig.loop, rig.a.disappeared[2]);
	rig_close(&rig);
}

/* It looks at the path then, and finds who comes there. */
TEST_CASE(rendezvous, removed_directory_does_not_make_it_blind)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	loop_idle(&rig.loop);
	remove_file(&rig, "node-1.lock");
	remove_file(&rig, "node-1.sock");
	CHECK_INT(rmdir(rig.loop.dir), 0);
	loop_idle(&rig.loop);
	CHECK_INT(mkdir(rig.loop.dir, 0700), 0);
	CHECK_INT(node_start(&rig, &rig.b, 2), 0);
	LOOP_WAIT(&rig.loop, rig.a.appeared[2]);
	rig_close(&rig);
}

/* ---- connections ---- */

static void check_accept_recovers(bool with_inotify)
{
	struct rlimit limit;
	struct rig rig;
	int fd, late;

	REQUIRE(rig_open(&rig));
	without_inotify = !with_inotify;
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	without_inotify = false;
	fd = dial(&rig, "node-1.sock");
	CHECK(fd >= 0);
	LOOP_WAIT(&rig.loop, rig.a.connected == 1);
	late = dial(&rig, "node-1.sock");
	limit = exhaust_descriptors();
	loop_idle(&rig.loop);
	CHECK_INT(rig.a.connected, 1);
	setrlimit(RLIMIT_NOFILE, &limit);
	LOOP_WAIT(&rig.loop, rig.a.connected == 2);
	close(fd);
	close(late);
	rig_close(&rig);
}

TEST_CASE(rendezvous, accepts_again_after_running_out_of_descriptors)
{
	check_accept_recovers(true);
}

TEST_CASE(rendezvous, accepts_again_without_inotify)
{
	check_accept_recovers(false);
}

/* More than one turn accepts. */
TEST_CASE(rendezvous, accepts_many_at_once)
{
	struct rig rig;
	int fds[40];

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	for (int i = 0; i < 40; i++)
		fds[i] = dial(&rig, "node-1.sock");
	LOOP_WAIT(&rig.loop, rig.a.connected == 40);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	rig_close(&rig);
}

/* ---- whose id it is ---- */

TEST_CASE(rendezvous, second_instance_is_refused_and_changes_nothing)
{
	char pid[32];
	struct rig rig;
	int fd;

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	CHECK_INT(node_new(&rig, &rig.b, 1), -EADDRINUSE);
	snprintf(pid, sizeof(pid), "running already (pid %d, ", (int)getpid());
	check_words(rig.error, pid);
	check_words(rig.error, "node-1.lock");
	fd = dial(&rig, "node-1.sock");
	CHECK(fd >= 0);
	close(fd);
	rig_close(&rig);
}

TEST_CASE(rendezvous, files_of_a_dead_node_are_taken_over)
{
	struct rig rig;
	int fd;

	REQUIRE(rig_open(&rig));
	close(serve(&rig, "node-1.sock"));
	close(serve(&rig, "node-1.new"));
	fd = open(address_of(&rig, "node-1.lock").sun_path, O_RDWR | O_CREAT | O_CLOEXEC,
		  0600);
	CHECK_INT(write(fd, "4194304999\n", 11), 11);
	close(fd);
	CHECK_INT(dial(&rig, "node-1.sock"), -ECONNREFUSED);
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	fd = dial(&rig, "node-1.sock");
	CHECK(fd >= 0);
	close(fd);
	rig_close(&rig); /* the directory must be empty then */
}

/* What --cleanup does: claims, and leaves. */
TEST_CASE(rendezvous, claiming_alone_removes_what_a_dead_node_left)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	close(serve(&rig, "node-1.sock"));
	close(serve(&rig, "node-1.new"));
	CHECK_INT(node_new(&rig, &rig.a, 1), 0);
	node_free(&rig.a);
	CHECK(!exists(&rig, "node-1.sock"));
	CHECK(!exists(&rig, "node-1.new"));
	CHECK(!exists(&rig, "node-1.lock"));
	if (exists(&rig, "node-1.new"))
		remove_file(&rig, "node-1.new");
	rig_close(&rig);
}

/* The last holder removes the file between our open(2) and flock(2). */
TEST_CASE(rendezvous, lock_on_a_removed_file_is_none)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	memcpy(lose_lock, address_of(&rig, "node-1.lock").sun_path, sizeof(lose_lock));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	CHECK_STR(lose_lock, "");
	CHECK(exists(&rig, "node-1.lock"));
	CHECK_INT(node_new(&rig, &rig.b, 1), -EADDRINUSE);
	rig_close(&rig);
}

TEST_CASE(rendezvous, lock_that_never_stays_is_given_up)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	memcpy(lose_lock, address_of(&rig, "node-1.lock").sun_path, sizeof(lose_lock));
	keep_losing = true;
	CHECK_INT(node_new(&rig, &rig.a, 1), -EAGAIN);
	keep_losing = false;
	lose_lock[0] = '\0';
	check_words(rig.error, "node-1.lock is removed again and again");
	rig_close(&rig);
}

/* Somebody cleared the directory, and another instance came. */
TEST_CASE(rendezvous, files_of_the_next_instance_are_left_alone)
{
	struct rig rig;
	int fd;

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_start(&rig, &rig.a, 1), 0);
	remove_file(&rig, "node-1.lock");
	remove_file(&rig, "node-1.sock");
	CHECK_INT(node_start(&rig, &rig.b, 1), 0);
	node_free(&rig.a);
	CHECK(exists(&rig, "node-1.lock"));
	fd = dial(&rig, "node-1.sock");
	CHECK(fd >= 0);
	close(fd);
	rig_close(&rig);
}

TEST_CASE(rendezvous, failing_lock_is_not_another_instance)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	flock_error = ENOLCK;
	CHECK_INT(node_new(&rig, &rig.a, 1), -ENOLCK);
	flock_error = 0;
	check_words(rig.error, "node-1.lock");
	check_words(rig.error, strerror(ENOLCK));
	remove_file(&rig, "node-1.lock");
	rig_close(&rig);
}

TEST_CASE(rendezvous, lock_file_must_be_a_file)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(symlink("/dev/null", address_of(&rig, "node-1.lock").sun_path), 0);
	CHECK_INT(node_new(&rig, &rig.a, 1), -ELOOP);
	check_words(rig.error, "node-1.lock");
	remove_file(&rig, "node-1.lock");
	CHECK_INT(mkdir(address_of(&rig, "node-1.lock").sun_path, 0700), 0);
	CHECK_INT(node_new(&rig, &rig.a, 1), -EISDIR);
	CHECK_INT(rmdir(address_of(&rig, "node-1.lock").sun_path), 0);
	rig_close(&rig);
}

/* ---- the directory ---- */

TEST_CASE(rendezvous, directory_is_made_if_only_it_is_missing)
{
	char inner[64], deep[64];
	struct stat info;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	snprintf(inner, sizeof(inner), "%s/r", rig.loop.dir);
	snprintf(deep, sizeof(deep), "%s/r/s", rig.loop.dir);
	CHECK_INT(node_new_at(&rig, &rig.a, deep, 1), -ENOENT);
	check_words(rig.error, "its parent is missing");
	check_words(rig.error, deep);
	CHECK_INT(node_new_at(&rig, &rig.a, inner, 1), 0);
	CHECK_INT(stat(inner, &info), 0);
	CHECK_INT(info.st_mode & 07, 0);
	node_free(&rig.a);
	CHECK_INT(rmdir(inner), 0);
	rig_close(&rig);
}

TEST_CASE(rendezvous, file_is_no_directory)
{
	char path[64];
	struct rig rig;

	REQUIRE(rig_open(&rig));
	snprintf(path, sizeof(path), "%s/r", rig.loop.dir);
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	CHECK_INT(node_new_at(&rig, &rig.a, path, 1), -ENOTDIR);
	check_words(rig.error, "is not a directory");
	CHECK_INT(unlink(path), 0);
	CHECK_INT(symlink("nowhere", path), 0);
	CHECK_INT(node_new_at(&rig, &rig.a, path, 1), -ENOENT);
	check_words(rig.error, path);
	CHECK_INT(unlink(path), 0);
	rig_close(&rig);
}

TEST_CASE(rendezvous, directory_of_everybody_is_refused)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(chmod(rig.loop.dir, 01777), 0);
	CHECK_INT(node_new(&rig, &rig.a, 1), -EPERM);
	check_words(rig.error, "writable by everybody (mode 1777)");
	check_words(rig.error, "'chmod 0750 ");
	CHECK_INT(loop_count_files(&rig.loop), 0);
	rig_close(&rig);
}

TEST_CASE(rendezvous, directory_of_a_stranger_is_refused)
{
	struct rig rig;

	if (geteuid() != 0)
		TEST_SKIP("only root can give a directory away");
	REQUIRE(rig_open(&rig));
	CHECK_INT(chown(rig.loop.dir, 65534, 0), 0);
	CHECK_INT(node_new(&rig, &rig.a, 1), -EPERM);
	check_words(rig.error, "belongs to uid 65534, not to this node's uid 0 or root");
	CHECK_INT(loop_count_files(&rig.loop), 0);
	rig_close(&rig);
}

/* ---- what can fail at the start ---- */

TEST_CASE(rendezvous, start_without_descriptors_says_so_and_removes_nothing_else)
{
	struct rlimit limit;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(node_new(&rig, &rig.a, 1), 0);
	foreign_unlinks = 0;
	limit = exhaust_descriptors();
	CHECK_INT(rendezvous_start(rig.a.rendezvous, rig.error, sizeof(rig.error)),
		  -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	check_words(rig.error, "can't listen at ");
	check_words(rig.error, "node-1.sock: Too many open files");
	CHECK_INT(foreign_unlinks, 0);
	rig_close(&rig);
}

TEST_CASE(rendezvous, start_at_a_directory_in_the_way_says_so)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(mkdir(address_of(&rig, "node-1.sock").sun_path, 0700), 0);
	CHECK_INT(node_start(&rig, &rig.a, 1), -EISDIR);
	check_words(rig.error, "can't listen at ");
	node_free(&rig.a);
	CHECK_INT(loop_count_files(&rig.loop), 1);
	CHECK_INT(rmdir(address_of(&rig, "node-1.sock").sun_path), 0);
	rig_close(&rig);
}

TEST_CASE(rendezvous, link_in_the_socket_s_place_is_not_followed)
{
	struct sockaddr_un victim;
	struct stat status;
	struct rig rig;
	int fd;

	REQUIRE(rig_open(&rig));
	victim = address_of(&rig, "victim");
	fd = open(victim.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	REQUIRE(fd >= 0);
	CHECK_INT(node_new(&rig, &rig.a, 1), 0);
	swap_for = victim.sun_path;
	CHECK_INT(rendezvous_start(rig.a.rendezvous, rig.error, sizeof(rig.error)),
		  -EOPNOTSUPP);
	CHECK_INT(fstat(fd, &status), 0);
	CHECK_INT(status.st_mode & 07777, 0600);
	close(fd);
	CHECK_INT(unlink(victim.sun_path), 0);
	rig_close(&rig);
}

/* ---- ids of the dead, epochs ---- */

static bool has_file(const struct rig *rig, const char *name)
{
	return access(address_of(rig, name).sun_path, F_OK) == 0;
}

TEST_CASE(rendezvous, only_the_id_of_a_dead_node_can_be_held)
{
	struct rendezvous_hold hold, again;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	REQUIRE(node_new(&rig, &rig.b, 2) == 0);
	CHECK_INT(rendezvous_hold_id(rig.a.rendezvous, 2, &hold), -EBUSY);
	node_free(&rig.b);
	REQUIRE(rendezvous_hold_id(rig.a.rendezvous, 2, &hold) == 0);
	CHECK_INT(rendezvous_hold_id(rig.a.rendezvous, 2, &again), -EBUSY);
	CHECK_INT(node_new(&rig, &rig.b, 2), -EADDRINUSE);
	rendezvous_release_id(rig.a.rendezvous, &hold);
	CHECK(!has_file(&rig, "node-2.lock"));
	CHECK_INT(node_new(&rig, &rig.b, 2), 0);
	rig_close(&rig);
}

static void leave_lock(const struct rig *rig, const char *text)
{
	int fd = open(address_of(rig, "node-2.lock").sun_path,
		      O_RDWR | O_CREAT | O_CLOEXEC, 0640);

	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* One that was killed left its file, which is not ours to remove. */
TEST_CASE(rendezvous, holding_leaves_the_file_of_a_killed_node)
{
	struct rendezvous_hold hold;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	leave_lock(&rig, "4711\n");
	REQUIRE(rendezvous_hold_id(rig.a.rendezvous, 2, &hold) == 0);
	rendezvous_release_id(rig.a.rendezvous, &hold);
	CHECK(has_file(&rig, "node-2.lock"));
	unlink(address_of(&rig, "node-2.lock").sun_path);
	rig_close(&rig);
}

/* Another one made it for the same reason, and found it locked by us. */
TEST_CASE(rendezvous, holding_removes_a_file_that_nobody_lives_by)
{
	struct rendezvous_hold hold;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	leave_lock(&rig, "");
	REQUIRE(rendezvous_hold_id(rig.a.rendezvous, 2, &hold) == 0);
	rendezvous_release_id(rig.a.rendezvous, &hold);
	CHECK(!has_file(&rig, "node-2.lock"));
	rig_close(&rig);
}

TEST_CASE(rendezvous, each_epoch_is_given_out_once)
{
	struct rig rig;
	uint64_t epoch = 0;

	REQUIRE(rig_open(&rig));
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	REQUIRE(node_new(&rig, &rig.b, 2) == 0);
	CHECK_INT(rendezvous_claim_epoch(rig.a.rendezvous, "lan0", 0, false, 9, &epoch),
		  0);
	CHECK_U64(epoch, 1);
	CHECK_INT(rendezvous_claim_epoch(rig.b.rendezvous, "lan0", 0, false, 9, &epoch),
		  -EAGAIN);
	CHECK_INT(rendezvous_claim_epoch(rig.b.rendezvous, "lan0", 0, true, 9, &epoch),
		  0);
	CHECK_U64(epoch, 2);
	CHECK_INT(rendezvous_claim_epoch(rig.b.rendezvous, "lan1", 0, false, 9, &epoch),
		  0);
	CHECK_U64(epoch, 1);
	CHECK_INT(rendezvous_claim_epoch(rig.a.rendezvous, "lan0", 7, false, 9, &epoch),
		  0);
	CHECK_U64(epoch, 8);
	CHECK_INT(rendezvous_claim_epoch(rig.a.rendezvous, "lan0", 8, false, 9, &epoch),
		  0);
	CHECK_INT(rendezvous_claim_epoch(rig.a.rendezvous, "lan0", 9, true, 9, &epoch),
		  -EOVERFLOW);
	rig_close(&rig);
}

TEST_CASE(rendezvous, the_last_node_takes_the_epochs_along)
{
	struct rig rig;
	uint64_t epoch;
	char name[64];

	REQUIRE(rig_open(&rig));
	snprintf(name, sizeof(name), "cast-lan0.%lu.epoch", (unsigned long)geteuid());
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	REQUIRE(node_new(&rig, &rig.b, 2) == 0);
	CHECK_INT(rendezvous_claim_epoch(rig.a.rendezvous, "lan0", 0, false, 9, &epoch),
		  0);
	node_free(&rig.a);
	CHECK(has_file(&rig, name));
	node_free(&rig.b);
	CHECK(!has_file(&rig, name));
	rig_close(&rig);
}

/* Somebody who holds it for ever makes nobody wait. */
TEST_CASE(rendezvous, an_epoch_file_that_is_held_is_not_waited_for)
{
	struct rig rig;
	uint64_t epoch;
	char name[64];
	int fd;

	REQUIRE(rig_open(&rig));
	snprintf(name, sizeof(name), "cast-lan0.%lu.epoch", (unsigned long)geteuid());
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	fd = open(address_of(&rig, name).sun_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_INT(flock(fd, LOCK_EX), 0);
	CHECK_INT(rendezvous_claim_epoch(rig.a.rendezvous, "lan0", 0, false, 9, &epoch),
		  -EAGAIN);
	CHECK_INT(rendezvous_claim_epoch(rig.a.rendezvous, "lan0", 0, true, 9, &epoch),
		  -EBUSY);
	unlink(address_of(&rig, name).sun_path);
	close(fd);
	rig_close(&rig);
}

#define EPOCH_LIMIT 1000

static int claim(struct rig *rig, uint64_t known, bool anyway, uint64_t *ret_epoch)
{
	*ret_epoch = 0;
	return rendezvous_claim_epoch(rig->a.rendezvous, "lan0", known, anyway,
				      EPOCH_LIMIT, ret_epoch);
}

static struct sockaddr_un epoch_file(const struct rig *rig)
{
	char name[64];

	snprintf(name, sizeof(name), "cast-lan0.%u.epoch", geteuid());
	return address_of(rig, name);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* Somebody died while it wrote, or it was no node that did. */
TEST_CASE(rendezvous, nonsense_in_the_place_of_an_epoch_is_written_over)
{
	static const char *const texts[] = {
		"", "\n", "lan0", "-1", "1001", "99999999999999999999999999999999999999",
	};
	struct rig rig;
	uint64_t epoch;

	REQUIRE(rig_open(&rig));
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		write_file(epoch_file(&rig).sun_path, texts[i]);
		CHECK_INT(claim(&rig, 4, false, &epoch), 0);
		CHECK_U64(epoch, 5);
		CHECK_INT(claim(&rig, 5, false, &epoch), 0);
		CHECK_U64(epoch, 6);
	}
	rig_close(&rig);
}

/* Who may write to the directory makes us write to nothing but our own file. */
TEST_CASE(rendezvous, what_stands_in_the_place_of_the_epochs_is_left_alone)
{
	struct sockaddr_un file, victim;
	struct stat status;
	struct rig rig;
	uint64_t epoch;

	REQUIRE(rig_open(&rig));
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	file = epoch_file(&rig);
	victim = address_of(&rig, "victim");
	write_file(victim.sun_path, "precious");
	CHECK_INT(symlink(victim.sun_path, file.sun_path), 0);
	CHECK_INT(claim(&rig, 0, true, &epoch), -ELOOP);
	CHECK_INT(unlink(file.sun_path), 0);
	CHECK_INT(link(victim.sun_path, file.sun_path), 0);
	CHECK_INT(claim(&rig, 0, true, &epoch), -EPERM);
	CHECK_INT(stat(victim.sun_path, &status), 0);
	CHECK_INT(status.st_size, 8);
	CHECK_INT(unlink(file.sun_path), 0);
	CHECK_INT(mkfifo(file.sun_path, 0600), 0);
	CHECK_INT(claim(&rig, 0, true, &epoch), -EPERM);
	CHECK_INT(unlink(file.sun_path), 0);
	CHECK_INT(mkdir(file.sun_path, 0700), 0);
	CHECK_INT(claim(&rig, 0, true, &epoch), -EISDIR);
	CHECK_INT(rmdir(file.sun_path), 0);
	CHECK_INT(unlink(victim.sun_path), 0);
	CHECK_INT(claim(&rig, 0, true, &epoch), 0);
	rig_close(&rig);
}

TEST_CASE(rendezvous, another_user_s_epochs_are_not_ours)
{
	struct rig rig;
	uint64_t epoch;

	if (geteuid() != 0)
		TEST_SKIP("only root can give a file away");
	REQUIRE(rig_open(&rig));
	REQUIRE(node_new(&rig, &rig.a, 1) == 0);
	write_file(epoch_file(&rig).sun_path, "3\n");
	CHECK_INT(chown(epoch_file(&rig).sun_path, 65534, 0), 0);
	CHECK_INT(claim(&rig, 0, true, &epoch), -EPERM);
	CHECK_INT(unlink(epoch_file(&rig).sun_path), 0);
	rig_close(&rig);
}

TEST_CASE(rendezvous, free_accepts_null)
{
	rendezvous_free(NULL);
}
