/* See ctlsock_file.h. */
#include "control/ctlsock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_MODE   0660
#define BACKLOG	      16
#define LOCK_TRIES    100
#define LOCK_PAUSE_NS 10000000

static int address_set(struct sockaddr_un *address, const char *path)
{
	size_t length = strlen(path);

	if (length == 0)
		return -EINVAL;
	if (length >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, length + 1);
	return 0;
}

static int socket_new(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* The directory, locked if that can be had within a second: see ctlsock.h. */
static int directory_lock(const struct sockaddr_un *address)
{
	const struct timespec pause = {0, LOCK_PAUSE_NS};
	char path[sizeof(address->sun_path)];
	int fd;

	memcpy(path, address->sun_path, sizeof(path));
	fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) < 0; i++)
		nanosleep(&pause, NULL);
	return fd;
}

/*
 * Who listens at the path: 0 nobody, it's stale; -EADDRINUSE somebody, *ret_pid
 * is its pid or 0; -EEXIST it is no socket; or what keeps us from telling.
 */
static int holder_find(const struct sockaddr_un *address, pid_t *ret_pid)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);
	struct stat status;
	int fd, rc = -EADDRINUSE;

	if (lstat(address->sun_path, &status) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(status.st_mode))
		return -EEXIST;
	fd = socket_new();
	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
			*ret_pid = peer.pid;
	} else if (errno == ECONNREFUSED) {
		rc = 0;
	} else if (errno != EAGAIN && errno != EPROTOTYPE) {
		rc = -errno; /* those two are a full backlog, another socket type */
	}
	close(fd);
	return rc;
}

static int path_bind(struct ctlsock_file *file, pid_t *ret_pid)
{
	const struct sockaddr *address = (const struct sockaddr *)&file->address;
	int rc;

	if (bind(file->fd, address, sizeof(file->address)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	rc = holder_find(&file->address, ret_pid);
	if (rc)
		return rc;
	if (unlink(file->address.sun_path) < 0 && errno != ENOENT)
		return -errno;
	return bind(file->fd, address, sizeof(file->address)) < 0 ? -errno : 0;
}

/*
 * The file as bind made it; from here on it's ours to unlink. A link that somebody
 * put in its place is not followed, or any file's mode could be changed through us.
 */
static int path_claim(struct ctlsock_file *file)
{
	struct stat status;
	int error;

	if (lstat(file->address.sun_path, &status) < 0) {
		error = -errno;
		unlink(file->address.sun_path); /* the directory is locked */
		return error;
	}
	file->device = status.st_dev;
	file->inode = status.st_ino;
	if (fchmodat(AT_FDCWD, file->address.sun_path, SOCKET_MODE, AT_SYMLINK_NOFOLLOW) <
		    0 ||
	    listen(file->fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

int ctlsock_file_open(struct ctlsock_file *file, const char *path, pid_t *ret_pid)
{
	int rc, directory;

	file->fd = -1;
	file->inode = 0;
	rc = address_set(&file->address, path);
	if (rc)
		return rc;
	directory = directory_lock(&file->address);
	if (directory < 0)
		return directory;
	rc = file->fd = socket_new();
	if (rc < 0)
		goto out;
	/* Linux gives the file the socket's own mode, less the umask. */
	rc = fchmod(file->fd, SOCKET_MODE) < 0 ? -errno : path_bind(file, ret_pid);
	if (!rc)
		rc = path_claim(file);
	if (rc)
		ctlsock_file_close(file);
out:
	close(directory);
	return rc;
}

/* No other file has our inode number while the socket is open. */
static bool file_is_ours(const struct ctlsock_file *file, const struct stat *status)
{
	return file->inode && status->st_dev == file->device &&
	       status->st_ino == file->inode;
}

void ctlsock_file_close(struct ctlsock_file *file)
{
	struct stat status;

	if (file->fd < 0)
		return;
	if (lstat(file->address.sun_path, &status) == 0 && file_is_ours(file, &status))
		unlink(file->address.sun_path);
	close(file->fd);
	file->fd = -1;
}

/* The kernel says how much room the list takes if it's offered none. */
static bool peer_in_group(int fd, gid_t group)
{
	socklen_t size = 0;
	gid_t *groups;
	bool found = false;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 ||
	    errno != ERANGE)
		return false;
	groups = malloc(size);
	if (groups && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0) {
		for (size_t i = 0; i < size / sizeof(*groups) && !found; i++)
			found = groups[i] == group;
	}
	free(groups);
	return found;
}

bool ctlsock_file_owns(int fd)
{
	socklen_t size = sizeof(struct ucred);
	struct ucred peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

bool ctlsock_file_permits(const struct ctlsock_file *file, int fd)
{
	socklen_t size = sizeof(struct ucred);
	struct ucred peer;
	struct stat status;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	if (lstat(file->address.sun_path, &status) < 0 || !file_is_ours(file, &status))
		return false;
	return peer.gid == status.st_gid || peer_in_group(fd, status.st_gid);
}
