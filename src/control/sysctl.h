/*
 * Settings of the kernel under /proc/sys/net, in a network namespace, and what they were
 * before.
 *
 * What is set is written into a file first, with the old value, so that it can be set
 * back in this life or, if that ends too early, in the next one. A setting that somebody
 * else has changed since is left to them. A name is the path below /proc/sys:
 * "net/ipv4/conf/eth0/rp_filter"; a value is its words with one space between them.
 *
 * Errors are -errno, and sysctls_last_error() has words with the remedy. Never logs.
 * Control thread.
 */
#ifndef CONTROL_SYSCTL_H
#define CONTROL_SYSCTL_H

#include <stdbool.h>
#include <stddef.h>

#define SYSCTL_NAME_MAX	 128 /* with the terminating zero */
#define SYSCTL_VALUE_MAX 64

struct netns;
struct sysctls;

/*
 * `path` is the file of old values, which need not exist; the string is copied. `netns`
 * outlives the handle; NULL: the thread's own.
 */
int sysctls_open(const struct netns *netns, const char *path, struct sysctls **ret);

/* Sets nothing back. Accepts NULL. */
void sysctls_close(struct sysctls *sysctls);

/* -ENOENT: this kernel has no such setting, or there is no such interface. */
int sysctls_get(struct sysctls *sysctls, const char *name, char value[SYSCTL_VALUE_MAX]);

/* As it was before we set it, in whichever life. */
int sysctls_get_original(struct sysctls *sysctls, const char *name,
			 char value[SYSCTL_VALUE_MAX]);

/* Nothing is written if it has this value. */
int sysctls_set(struct sysctls *sysctls, const char *name, const char *value);

/* The same without a note, of an interface that goes when we go. */
int sysctls_set_own(struct sysctls *sysctls, const char *name, const char *value);

/* From here on those are wanted that are set again. */
void sysctls_want_none(struct sysctls *sysctls);

/*
 * Back to what they were: all of them, or only those that are not wanted, as an earlier
 * life has set them and this one has not. 0, or the first error of those that could not
 * be set back; they stay in the file.
 */
int sysctls_restore(struct sysctls *sysctls, bool all);

/* Never NULL; valid until the next call. */
const char *sysctls_last_error(const struct sysctls *sysctls);

#endif
