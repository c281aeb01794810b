/* See rendezvous.h. From top to bottom: lock, socket, news. */
#include "control/rendezvous.h"

#include "base/log.h"
#include "control/directory.h"

#include <shmnet/wire.h>

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTEN_BACKLOG 64
#define ACCEPTS_MAX    16 /* per turn of the loop */
#define LOCK_TRIES     100
#define HOLD_TRIES     20
#define HOLD_USEC      5000

static const struct timeval look_interval = {.tv_sec = 1};

/* A node's socket as it was seen last: another inode is another life. */
struct sighting {
	uint16_t node_id;
	bool seen; /* in the look around that goes on */
	ino_t inode;
	struct timespec born;
};

struct rendezvous {
	const struct rendezvous_handler *handler;
	void *arg;
	char *directory;
	uint16_t node_id;
	int lock_fd;
	int listen_fd;
	int watch_fd; /* inotify; -1 if there is none */
	bool is_lost; /* our socket was removed */
	bool is_half; /* a look around did not get through: another one comes */
	struct event *listen_event;
	struct event *watch_event;
	struct event *look_event;
	unsigned num_sightings;
	struct sighting *sightings;
};

static void format_path(const struct rendezvous *rendezvous, uint16_t node_id,
			const char *suffix, char *path, size_t size)
{
	snprintf(path, size, "%s/node-%u.%s", rendezvous->directory, node_id, suffix);
}

void rendezvous_address(const struct rendezvous *rendezvous, uint16_t node_id,
			struct sockaddr_un *ret_address)
{
	memset(ret_address, 0, sizeof(*ret_address));
	ret_address->sun_family = AF_UNIX;
	format_path(rendezvous, node_id, "sock", ret_address->sun_path,
		    sizeof(ret_address->sun_path));
}

/* One of the node's own. */
static void remove_file(const struct rendezvous *rendezvous, const char *suffix)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	format_path(rendezvous, rendezvous->node_id, suffix, path, sizeof(path));
	unlink(path);
}

/* ---- the lock ---- */

/* The holder's pid as it wrote it, 0 if it can't be read. */
static int read_holder(int fd)
{
	char text[16] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? atoi(text) : 0;
}

/* Is the file that we locked still the one with that name? Its last holder may have
 * removed it between our open() and flock(). */
static bool is_current(int fd, const char *path)
{
	struct stat ours, theirs;

	return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 &&
	       ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

static int try_lock(struct rendezvous *rendezvous, const char *path, char *error,
		    size_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	int ret;

	if (fd < 0) {
		ret = -errno;
		snprintf(error, size, "lock file %s: %s", path, strerror(-ret));
		return ret;
	}
	ret = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	if (ret == -EWOULDBLOCK) {
		snprintf(error, size,
			 "node %u is running already (pid %d, by %s); stop it, or give "
			 "this node another id",
			 rendezvous->node_id, read_holder(fd), path);
		ret = -EADDRINUSE;
	} else if (ret < 0) {
		snprintf(error, size, "lock file %s can't be locked: %s", path,
			 strerror(-ret));
	}
	if (ret < 0) {
		close(fd);
		return ret;
	}
	if (!is_current(fd, path)) {
		snprintf(error, size, "lock file %s is removed again and again", path);
		close(fd);
		return -EAGAIN;
	}
	rendezvous->lock_fd = fd;
	return 0;
}

static int take_lock(struct rendezvous *rendezvous, char *error, size_t size)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int ret = -EAGAIN;

	format_path(rendezvous, rendezvous->node_id, "lock", path, sizeof(path));
	for (int i = 0; i < LOCK_TRIES && ret == -EAGAIN; i++)
		ret = try_lock(rendezvous, path, error, size);
	/* Another one may hold it for a moment, to clear up after our last life. */
	for (int i = 0; i < HOLD_TRIES && (ret == -EADDRINUSE || ret == -EAGAIN); i++) {
		usleep(HOLD_USEC);
		ret = try_lock(rendezvous, path, error, size);
	}
	if (ret < 0)
		return ret;
	if (ftruncate(rendezvous->lock_fd, 0) < 0 ||
	    dprintf(rendezvous->lock_fd, "%d\n", (int)getpid()) < 0) {
		snprintf(error, size, "lock file %s can't be written: %s", path,
			 strerror(errno));
		return -EIO;
	}
	/* We hold the id: a socket of that name is a dead node's. */
	remove_file(rendezvous, "sock");
	remove_file(rendezvous, "new");
	return 0;
}

/* ---- the ids of the dead ---- */

int rendezvous_hold_id(const struct rendezvous *rendezvous, uint16_t node_id,
		       struct rendezvous_hold *ret_hold)
{
	struct rendezvous_hold hold = {.node_id = node_id};
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct stat info;

	format_path(rendezvous, node_id, "lock", path, sizeof(path));
	hold.fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (hold.fd < 0 && errno == ENOENT)
		hold.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			       0640);
	if (hold.fd < 0)
		return -EBUSY;
	if (flock(hold.fd, LOCK_EX | LOCK_NB) < 0 || !is_current(hold.fd, path)) {
		close(hold.fd);
		return -EBUSY;
	}
	hold.is_spare = fstat(hold.fd, &info) == 0 && info.st_size == 0;
	*ret_hold = hold;
	return 0;
}

/* The file goes under its lock, as that of a node that ends. Of several who made one at
 * once a single one has the lock, and that need not be the one whose file it is. */
void rendezvous_release_id(const struct rendezvous *rendezvous,
			   struct rendezvous_hold *hold)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	format_path(rendezvous, hold->node_id, "lock", path, sizeof(path));
	if (hold->is_spare)
		unlink(path);
	close(hold->fd);
}

/* ---- epochs ---- */

struct epoch_suffix {
	char text[32];
};

/* Rings are shared within one user. */
static const char *epoch_suffix(struct epoch_suffix *buffer)
{
	snprintf(buffer->text, sizeof(buffer->text), ".%lu.epoch",
		 (unsigned long)geteuid());
	return buffer->text;
}

/* 0 if there is no number in it. */
static uint64_t read_epoch(int fd)
{
	char text[32] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? strtoull(text, NULL, 10) : 0;
}

static int write_epoch(int fd, uint64_t epoch)
{
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%llu\n", (unsigned long long)epoch) < 0)
		return -errno;
	return 0;
}

static int claim_epoch(int fd, uint64_t known, bool anyway, uint64_t limit,
		       uint64_t *ret_epoch)
{
	uint64_t epoch = read_epoch(fd);
	int ret;

	if (epoch > limit) /* nobody wrote that */
		epoch = 0;
	if (epoch > known && !anyway)
		return -EAGAIN;
	epoch = epoch > known ? epoch : known;
	if (epoch >= limit)
		return -EOVERFLOW;
	ret = write_epoch(fd, epoch + 1);
	if (ret < 0)
		return ret;
	*ret_epoch = epoch + 1;
	return 0;
}

/* Another user who may write to the directory may have put it there, or linked it. */
static bool is_ours(int fd)
{
	struct stat info;

	return fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink <= 1 &&
	       info.st_uid == geteuid();
}

int rendezvous_claim_epoch(const struct rendezvous *rendezvous, const char *network,
			   uint64_t known, bool anyway, uint64_t limit,
			   uint64_t *ret_epoch)
{
	struct epoch_suffix suffix;
	char path[PATH_MAX];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/cast-%s%s", rendezvous->directory, network,
		 epoch_suffix(&suffix));
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* Held for a moment by honest nodes, and nobody is waited for. */
	if (!is_ours(fd))
		ret = -EPERM;
	else if (flock(fd, LOCK_EX | LOCK_NB) < 0 || !is_current(fd, path))
		ret = anyway ? -EBUSY : -EAGAIN;
	else
		ret = claim_epoch(fd, known, anyway, limit, ret_epoch);
	close(fd);
	return ret;
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t length = strlen(name);

	return length > strlen(suffix) &&
	       strcmp(name + length - strlen(suffix), suffix) == 0;
}

/* Ours is gone by now, so who has a lock here is another one, dead or alive. */
static bool is_alone(DIR *directory)
{
	struct dirent *entry;

	rewinddir(directory);
	while ((entry = readdir(directory))) {
		if (has_suffix(entry->d_name, ".lock"))
			return false;
	}
	return true;
}

static void remove_epoch(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		unlinkat(directory, name, 0);
	close(fd);
}

/* Without nodes there are no rings, and epochs may begin anew. */
static void remove_epochs(const struct rendezvous *rendezvous)
{
	DIR *directory = opendir(rendezvous->directory);
	struct epoch_suffix suffix;
	struct dirent *entry;

	if (!directory)
		return;
	if (is_alone(directory)) {
		rewinddir(directory);
		while ((entry = readdir(directory))) {
			if (has_suffix(entry->d_name, epoch_suffix(&suffix)))
				remove_epoch(dirfd(directory), entry->d_name);
		}
	}
	closedir(directory);
}

/* ---- the socket ---- */

/*
 * Who may write to the directory may put a link in the socket's place right after
 * bind(2): what it leads to keeps its mode.
 */
static int listen_hidden(struct rendezvous *rendezvous, struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	format_path(rendezvous, rendezvous->node_id, "new", address->sun_path,
		    sizeof(address->sun_path));
	if (fd < 0)
		return -errno;
	rendezvous->listen_fd = fd;
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    fchmodat(AT_FDCWD, address->sun_path, 0660, AT_SYMLINK_NOFOLLOW) < 0 ||
	    listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	return 0;
}

static int show_socket(struct rendezvous *rendezvous, char *error, size_t size)
{
	struct sockaddr_un hidden, shown;
	int ret = listen_hidden(rendezvous, &hidden);

	rendezvous_address(rendezvous, rendezvous->node_id, &shown);
	if (ret == 0 && rename(hidden.sun_path, shown.sun_path) < 0)
		ret = -errno;
	if (ret < 0) {
		remove_file(rendezvous, "new");
		snprintf(error, size, "can't listen at %s: %s", shown.sun_path,
			 strerror(-ret));
	}
	return ret;
}

/* The socket stays readable, so it isn't listened to until the next look around. */
static void rest(struct rendezvous *rendezvous, int error)
{
	log_warn(NULL, "can't accept a node: %s; the next try is in a second",
		 strerror(error));
	event_del(rendezvous->listen_event);
	event_add(rendezvous->look_event, &look_interval);
}

static void on_connect(evutil_socket_t fd, short what, void *arg)
{
	struct rendezvous *rendezvous = arg;

	(void)what;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (peer >= 0) {
			rendezvous->handler->connected(rendezvous->arg, peer);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			rest(rendezvous, errno);
		return;
	}
}

/* ---- who is there ---- */

/* The id in "node-<id>.sock", or 0. */
static uint16_t parse_name(const char *name)
{
	char again[sizeof("node-65535.sock")];
	unsigned id;

	if (sscanf(name, "node-%5u", &id) != 1 || id < SHMNET_NODE_ID_MIN ||
	    id > SHMNET_NODE_ID_MAX)
		return 0;
	/* As a node writes it, so that there is one name for an id. */
	snprintf(again, sizeof(again), "node-%u.sock", id);
	return strcmp(name, again) == 0 ? (uint16_t)id : 0;
}

static struct sighting *find_sighting(struct rendezvous *rendezvous, uint16_t id)
{
	for (unsigned i = 0; i < rendezvous->num_sightings; i++) {
		if (rendezvous->sightings[i].node_id == id)
			return &rendezvous->sightings[i];
	}
	return NULL;
}

static struct sighting *add_sighting(struct rendezvous *rendezvous, uint16_t id)
{
	unsigned count = rendezvous->num_sightings;
	struct sighting *grown =
		realloc(rendezvous->sightings, (count + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	rendezvous->sightings = grown;
	rendezvous->num_sightings = count + 1;
	grown[count] = (struct sighting){.node_id = id};
	return &grown[count];
}

static bool is_same_life(const struct sighting *sighting, const struct stat *info)
{
	return sighting->inode == info->st_ino &&
	       sighting->born.tv_sec == info->st_ctim.tv_sec &&
	       sighting->born.tv_nsec == info->st_ctim.tv_nsec;
}

static void see_node(struct rendezvous *rendezvous, int directory, const char *name,
		     uint16_t id)
{
	struct sighting *sighting = find_sighting(rendezvous, id);
	struct stat info;

	if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) < 0) {
		rendezvous->is_half |= errno != ENOENT;
		return;
	}
	if (!S_ISSOCK(info.st_mode))
		return;
	if (!sighting)
		sighting = add_sighting(rendezvous, id);
	if (!sighting) {
		rendezvous->is_half = true;
		return;
	}
	sighting->seen = true;
	if (is_same_life(sighting, &info))
		return;
	sighting->inode = info.st_ino;
	sighting->born = info.st_ctim;
	rendezvous->handler->appeared(rendezvous->arg, id);
}

static void forget_absent(struct rendezvous *rendezvous)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < rendezvous->num_sightings; i++) {
		struct sighting sighting = rendezvous->sightings[i];

		if (!sighting.seen) {
			rendezvous->handler->disappeared(rendezvous->arg,
							 sighting.node_id);
			continue;
		}
		rendezvous->sightings[kept++] = sighting;
	}
	rendezvous->num_sightings = kept;
}

/*
 * Somebody removed our socket, perhaps with the directory: the watch may be of a
 * directory that has no name any more, so from now on its path is looked at.
 */
static void check_own_socket(struct rendezvous *rendezvous, bool is_there)
{
	if (is_there || rendezvous->is_lost)
		return;
	rendezvous->is_lost = true;
	log_err(NULL,
		"node-%u.sock was removed from %s: other nodes can't find this one until "
		"it is restarted",
		rendezvous->node_id, rendezvous->directory);
	event_add(rendezvous->look_event, &look_interval);
}

/* Is our own socket among them? */
static bool see_all(struct rendezvous *rendezvous, DIR *directory)
{
	bool is_there = false;
	struct dirent *entry;

	for (unsigned i = 0; i < rendezvous->num_sightings; i++)
		rendezvous->sightings[i].seen = false;
	while (errno = 0, (entry = readdir(directory))) {
		uint16_t id = parse_name(entry->d_name);

		if (id == rendezvous->node_id)
			is_there = true;
		else if (id != 0)
			see_node(rendezvous, dirfd(directory), entry->d_name, id);
	}
	rendezvous->is_half |= errno != 0;
	return is_there;
}

/* News come once only: what we were out of descriptors or memory for is looked for
 * again, and who was not seen then is not taken for gone. */
static void look_around(struct rendezvous *rendezvous)
{
	DIR *directory = opendir(rendezvous->directory);
	bool is_there;

	rendezvous->is_half = !directory && errno != ENOENT;
	is_there = directory ? see_all(rendezvous, directory) : rendezvous->is_half;
	if (directory)
		closedir(directory);
	if (rendezvous->is_half) {
		event_add(rendezvous->look_event, &look_interval);
		return;
	}
	if (directory)
		forget_absent(rendezvous);
	check_own_socket(rendezvous, is_there);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct rendezvous *rendezvous = arg;

	(void)fd;
	(void)what;
	event_add(rendezvous->listen_event, NULL);
	look_around(rendezvous);
	if (!rendezvous->watch_event || rendezvous->is_lost)
		event_add(rendezvous->look_event, &look_interval);
}

void rendezvous_look(struct rendezvous *rendezvous)
{
	event_active(rendezvous->look_event, EV_TIMEOUT, 0);
}

/* What changed is not read: a look around finds it, in whatever order it came. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	char events[4096];

	(void)what;
	while (read(fd, events, sizeof(events)) > 0)
		;
	look_around(arg);
}

static int open_watch(struct rendezvous *rendezvous, struct event_base *base)
{
	const uint32_t mask =
		IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR;

	rendezvous->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (rendezvous->watch_fd < 0 ||
	    inotify_add_watch(rendezvous->watch_fd, rendezvous->directory, mask) < 0) {
		log_warn(NULL,
			 "no inotify (%s): new nodes are found within a second only",
			 strerror(errno));
		return 0;
	}
	rendezvous->watch_event = event_new(base, rendezvous->watch_fd,
					    EV_READ | EV_PERSIST, on_watch, rendezvous);
	if (!rendezvous->watch_event || event_add(rendezvous->watch_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

/* ---- life ---- */

int rendezvous_start(struct rendezvous *rendezvous, char *ret_error, size_t error_size)
{
	struct event_base *base = event_get_base(rendezvous->look_event);
	int ret = show_socket(rendezvous, ret_error, error_size);

	if (ret < 0)
		return ret;
	rendezvous->listen_event =
		event_new(base, rendezvous->listen_fd, EV_READ | EV_PERSIST, on_connect,
			  rendezvous);
	if (!rendezvous->listen_event || event_add(rendezvous->listen_event, NULL) < 0)
		ret = -ENOMEM;
	/* The watch before the first look, so that nobody slips between them. */
	if (ret == 0)
		ret = open_watch(rendezvous, base);
	if (ret < 0)
		snprintf(ret_error, error_size, "can't watch %s: %s",
			 rendezvous->directory, strerror(-ret));
	else
		event_active(rendezvous->look_event, EV_TIMEOUT, 0);
	return ret;
}

int rendezvous_check(const char *directory, char *ret_error, size_t error_size)
{
	return directory_claim("rendezvous directory", directory, ret_error, error_size);
}

int rendezvous_new(struct event_base *base, const char *directory, uint16_t node_id,
		   const struct rendezvous_handler *handler, void *arg,
		   struct rendezvous **ret_rendezvous, char *ret_error, size_t error_size)
{
	struct rendezvous *rendezvous;
	int ret = rendezvous_check(directory, ret_error, error_size);

	if (ret < 0)
		return ret;
	snprintf(ret_error, error_size, "out of memory");
	rendezvous = calloc(1, sizeof(*rendezvous));
	if (!rendezvous)
		return -ENOMEM;
	rendezvous->handler = handler;
	rendezvous->arg = arg;
	rendezvous->node_id = node_id;
	rendezvous->lock_fd = rendezvous->listen_fd = rendezvous->watch_fd = -1;
	rendezvous->directory = strdup(directory);
	rendezvous->look_event = event_new(base, -1, 0, on_look, rendezvous);
	ret = rendezvous->directory && rendezvous->look_event ? 0 : -ENOMEM;
	if (ret == 0)
		ret = take_lock(rendezvous, ret_error, error_size);
	if (ret < 0) {
		rendezvous_free(rendezvous);
		return ret;
	}
	*ret_rendezvous = rendezvous;
	return 0;
}

static void event_free_any(struct event *event)
{
	if (event)
		event_free(event);
}

static void close_any(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* The socket before the lock: who holds the lock may take the name. */
static void remove_files(const struct rendezvous *rendezvous)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	if (!rendezvous->directory || rendezvous->lock_fd < 0)
		return;
	format_path(rendezvous, rendezvous->node_id, "lock", path, sizeof(path));
	/* Without our lock in its place they are another instance's. */
	if (!is_current(rendezvous->lock_fd, path))
		return;
	remove_file(rendezvous, "sock");
	remove_file(rendezvous, "lock");
	remove_epochs(rendezvous);
}

void rendezvous_free(struct rendezvous *rendezvous)
{
	if (!rendezvous)
		return;
	remove_files(rendezvous);
	event_free_any(rendezvous->listen_event);
	event_free_any(rendezvous->watch_event);
	event_free_any(rendezvous->look_event);
	close_any(rendezvous->listen_fd);
	close_any(rendezvous->watch_fd);
	close_any(rendezvous->lock_fd);
	free(rendezvous->sightings);
	free(rendezvous->directory);
	free(rendezvous);
}
