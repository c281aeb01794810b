/* See directory.h. */
#include "control/directory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_directory(const char *what, const char *path, char *error, size_t size)
{
	int ret;

	if (mkdir(path, 0750) == 0 || errno == EEXIST)
		return 0;
	ret = -errno;
	if (ret == -ENOENT)
		snprintf(error, size,
			 "%s %s can't be made: its parent is missing; make it with "
			 "'install -d -m 0750 %s'",
			 what, path, path);
	else
		snprintf(error, size,
			 "%s %s can't be made by uid %u: %s; choose another path, or "
			 "run as root",
			 what, path, geteuid(), strerror(-ret));
	return ret;
}

/* Who may write here may pose as any node, so not everybody may. */
static int check_owner(const char *what, const char *path, char *error, size_t size)
{
	struct stat info;
	int ret;

	if (stat(path, &info) < 0) {
		ret = -errno;
		snprintf(error, size, "%s %s: %s", what, path, strerror(-ret));
		return ret;
	}
	if (!S_ISDIR(info.st_mode)) {
		snprintf(error, size, "%s %s is not a directory", what, path);
		return -ENOTDIR;
	}
	if (info.st_uid != geteuid() && info.st_uid != 0) {
		snprintf(error, size,
			 "%s %s belongs to uid %u, not to this node's uid %u or root; "
			 "'chown %u %s', or choose another path",
			 what, path, info.st_uid, geteuid(), geteuid(), path);
		return -EPERM;
	}
	if (info.st_mode & S_IWOTH) {
		snprintf(error, size,
			 "%s %s is writable by everybody (mode %04o); 'chmod 0750 %s'",
			 what, path, info.st_mode & 07777, path);
		return -EPERM;
	}
	return 0;
}

static int check_access(const char *what, const char *path, char *error, size_t size)
{
	int ret;

	if (access(path, R_OK | W_OK | X_OK) == 0)
		return 0;
	ret = -errno;
	snprintf(error, size,
		 "%s %s can't be written to by uid %u: %s; make it writable, or choose "
		 "another path",
		 what, path, geteuid(), strerror(-ret));
	return ret;
}

int directory_claim(const char *what, const char *path, char *ret_error,
		    size_t error_size)
{
	int ret = make_directory(what, path, ret_error, error_size);

	if (ret == 0)
		ret = check_owner(what, path, ret_error, error_size);
	if (ret == 0)
		ret = check_access(what, path, ret_error, error_size);
	return ret;
}
