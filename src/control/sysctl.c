/*
 * See sysctl.h.
 *
 * Theory of operation. The file has a line "name TAB old TAB new" per setting and is
 * replaced as a whole before the kernel is touched. So whoever is killed at any point
 * leaves either no line and the old value, or a line; with the old value still in place
 * there is nothing to set back, with the new one there is, and any other is somebody
 * else's. A line that is there already keeps its old value when the next life sets
 * the setting again.
 */
#include "control/sysctl.h"

#include "base/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT "/proc/sys/"

struct setting {
	struct setting *next;
	char name[SYSCTL_NAME_MAX];
	char old[SYSCTL_VALUE_MAX], new[SYSCTL_VALUE_MAX];
	bool is_wanted; /* set since sysctls_want_none(), if not in an earlier life */
};

struct sysctls {
	const struct netns *netns;
	struct setting *settings;
	char words[512];
	char path[PATH_MAX];
};

/* --- words --- */

static int fail(struct sysctls *sysctls, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct sysctls *sysctls, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(sysctls->words, sizeof(sysctls->words), format, args);
	va_end(args);
	return error;
}

const char *sysctls_last_error(const struct sysctls *sysctls)
{
	return sysctls->words;
}

static int fail_write(struct sysctls *sysctls, const char *name, const char *value,
		      int error)
{
	const char *remedy = "";

	if (error == -EROFS)
		remedy = "; it is read-only here, as in a container: set it to that from "
			 "outside, or mount /proc/sys writable";
	else if (error == -EACCES || error == -EPERM)
		remedy = "; run as root, or set it to that beforehand";
	else if (error == -ENOENT)
		remedy = "; this kernel lacks it, or the interface is gone";
	return fail(sysctls, error, "can't set " ROOT "%s to '%s': %s%s", name, value,
		    strerror(-error), remedy);
}

/* --- the kernel --- */

/* Words with one space between them. */
static void normalise(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		bool is_space = strchr(" \t\n", *from);

		if (!is_space)
			*to++ = *from;
		else if (to > text && to[-1] != ' ')
			*to++ = ' ';
	}
	if (to > text && to[-1] == ' ')
		to--;
	*to = '\0';
}

/* What /proc/sys/net holds depends on the namespace of the thread that opens it. */
static int open_setting(const struct sysctls *sysctls, const char *name, int flags)
{
	char path[sizeof(ROOT) + SYSCTL_NAME_MAX];
	int fd, error = netns_enter(sysctls->netns);

	if (error)
		return error;
	snprintf(path, sizeof(path), ROOT "%s", name);
	fd = open(path, flags | O_CLOEXEC);
	error = errno;
	netns_leave(sysctls->netns);
	return fd < 0 ? -error : fd;
}

static int read_setting(const struct sysctls *sysctls, const char *name,
			char value[SYSCTL_VALUE_MAX])
{
	int fd = open_setting(sysctls, name, O_RDONLY);
	ssize_t size;
	int error;

	if (fd < 0)
		return fd;
	size = read(fd, value, SYSCTL_VALUE_MAX - 1);
	error = errno;
	close(fd);
	if (size < 0)
		return -error;
	value[size] = '\0';
	normalise(value);
	return 0;
}

static int write_setting(const struct sysctls *sysctls, const char *name,
			 const char *value)
{
	int fd = open_setting(sysctls, name, O_WRONLY);
	ssize_t size;
	int error;

	if (fd < 0)
		return fd;
	size = write(fd, value, strlen(value));
	error = errno;
	close(fd);
	return size < 0 ? -error : 0;
}

int sysctls_get(struct sysctls *sysctls, const char *name, char value[SYSCTL_VALUE_MAX])
{
	int error = read_setting(sysctls, name, value);

	if (error)
		fail(sysctls, error, "can't read " ROOT "%s: %s", name, strerror(-error));
	return error;
}

/* --- the file --- */

static struct setting *find(const struct sysctls *sysctls, const char *name)
{
	struct setting *at = sysctls->settings;

	while (at && strcmp(at->name, name) != 0)
		at = at->next;
	return at;
}

static void forget(struct sysctls *sysctls, struct setting *setting)
{
	struct setting **at = &sysctls->settings;

	while (*at != setting)
		at = &(*at)->next;
	*at = setting->next;
	free(setting);
}

static int write_lines(const struct sysctls *sysctls, const char *path)
{
	FILE *file = fopen(path, "we");
	bool ok;

	if (!file)
		return -errno;
	for (const struct setting *at = sysctls->settings; at; at = at->next)
		fprintf(file, "%s\t%s\t%s\n", at->name, at->old, at->new);
	ok = !ferror(file);
	if (fclose(file) != 0 || !ok)
		return -EIO;
	return 0;
}

/* Whole or not at all; none if there is nothing to tell. */
static int save(struct sysctls *sysctls)
{
	char path[PATH_MAX + 8];
	int error;

	if (!sysctls->settings) {
		if (unlink(sysctls->path) < 0 && errno != ENOENT)
			return -errno;
		return 0;
	}
	snprintf(path, sizeof(path), "%s.new", sysctls->path);
	error = write_lines(sysctls, path);
	if (!error && rename(path, sysctls->path) < 0)
		error = -errno;
	if (error)
		unlink(path);
	return error;
}

/* A file of root's or ours: what isn't a line of ours is passed over. */
static int load_line(struct sysctls *sysctls, const char *line)
{
	struct setting read = {.next = NULL}, *setting;

	if (sscanf(line, "%127[^\t\n]\t%63[^\t\n]\t%63[^\t\n]", read.name, read.old,
		   read.new) != 3)
		return 0;
	if (strncmp(read.name, "net/", 4) != 0 || strstr(read.name, "..") ||
	    find(sysctls, read.name))
		return 0;
	setting = malloc(sizeof(*setting));
	if (!setting)
		return -ENOMEM;
	*setting = read;
	setting->next = sysctls->settings;
	sysctls->settings = setting;
	return 0;
}

static int load(struct sysctls *sysctls)
{
	char line[SYSCTL_NAME_MAX + 2 * SYSCTL_VALUE_MAX];
	FILE *file = fopen(sysctls->path, "re");
	int error = 0;

	if (!file)
		return errno == ENOENT ? 0 : -errno;
	while (!error && fgets(line, sizeof(line), file))
		error = load_line(sysctls, line);
	if (!error && ferror(file))
		error = -EIO;
	fclose(file);
	return error;
}

/* --- setting --- */

static int note(struct sysctls *sysctls, const char *name, const char *old,
		const char *new)
{
	struct setting *setting = find(sysctls, name);

	if (!setting) {
		setting = calloc(1, sizeof(*setting));
		if (!setting)
			return -ENOMEM;
		snprintf(setting->name, sizeof(setting->name), "%s", name);
		snprintf(setting->old, sizeof(setting->old), "%s", old);
		setting->next = sysctls->settings;
		sysctls->settings = setting;
	} else if (strcmp(setting->new, old) != 0) {
		/* Somebody else has set it since: that is what it goes back to. */
		snprintf(setting->old, sizeof(setting->old), "%s", old);
	}
	snprintf(setting->new, sizeof(setting->new), "%s", new);
	return save(sysctls);
}

static int fail_save(struct sysctls *sysctls, int error)
{
	return fail(sysctls, error,
		    "can't write %s, which has to tell what settings of the kernel were: "
		    "%s",
		    sysctls->path, strerror(-error));
}

int sysctls_set_own(struct sysctls *sysctls, const char *name, const char *value)
{
	char now[SYSCTL_VALUE_MAX];
	int error = sysctls_get(sysctls, name, now);

	if (error || strcmp(now, value) == 0)
		return error;
	error = write_setting(sysctls, name, value);
	return error ? fail_write(sysctls, name, value, error) : 0;
}

int sysctls_set(struct sysctls *sysctls, const char *name, const char *value)
{
	struct setting *setting = find(sysctls, name);
	char old[SYSCTL_VALUE_MAX];
	int error = sysctls_get(sysctls, name, old);

	if (setting)
		setting->is_wanted = true;
	if (error || strcmp(old, value) == 0)
		return error;
	error = note(sysctls, name, old, value);
	if (error)
		return fail_save(sysctls, error);
	find(sysctls, name)->is_wanted = true;
	error = write_setting(sysctls, name, value);
	return error ? fail_write(sysctls, name, value, error) : 0;
}

int sysctls_get_original(struct sysctls *sysctls, const char *name,
			 char value[SYSCTL_VALUE_MAX])
{
	const struct setting *setting = find(sysctls, name);
	int error = sysctls_get(sysctls, name, value);

	if (!error && setting && strcmp(value, setting->new) == 0)
		strcpy(value, setting->old);
	return error;
}

/* An interface that is gone has taken its settings along. */
static int restore_one(struct sysctls *sysctls, const struct setting *setting)
{
	char now[SYSCTL_VALUE_MAX];
	int error = sysctls_get(sysctls, setting->name, now);

	if (error)
		return error == -ENOENT ? 0 : error;
	if (strcmp(now, setting->new) != 0)
		return 0;
	error = write_setting(sysctls, setting->name, setting->old);
	if (error)
		fail_write(sysctls, setting->name, setting->old, error);
	return error;
}

void sysctls_want_none(struct sysctls *sysctls)
{
	for (struct setting *at = sysctls->settings; at; at = at->next)
		at->is_wanted = false;
}

int sysctls_restore(struct sysctls *sysctls, bool all)
{
	struct setting *next;
	int error, first = 0;

	for (struct setting *at = sysctls->settings; at; at = next) {
		next = at->next;
		if (at->is_wanted && !all)
			continue;
		error = restore_one(sysctls, at);
		if (!error)
			forget(sysctls, at);
		else if (!first)
			first = error;
	}
	error = save(sysctls);
	if (error && !first)
		first = fail_save(sysctls, error);
	return first;
}

int sysctls_open(const struct netns *netns, const char *path, struct sysctls **ret)
{
	struct sysctls *sysctls = calloc(1, sizeof(*sysctls));
	int error;

	if (!sysctls)
		return -ENOMEM;
	sysctls->netns = netns;
	snprintf(sysctls->path, sizeof(sysctls->path), "%s", path);
	fail(sysctls, 0, "no error");
	error = load(sysctls);
	if (error) {
		sysctls_close(sysctls);
		return error;
	}
	*ret = sysctls;
	return 0;
}

void sysctls_close(struct sysctls *sysctls)
{
	if (!sysctls)
		return;
	while (sysctls->settings)
		forget(sysctls, sysctls->settings);
	free(sysctls);
}
