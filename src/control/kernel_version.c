/* See kernel_version.h. */
#include "control/kernel_version.h"

#include <errno.h>
#include <stdio.h>
#include <sys/utsname.h>

int kernel_version_check_release(const struct node_config *config, const char *release,
				 char *why, size_t size)
{
	/* 5.0: carrier of TAPs; 5.12: nftables tables that vanish with their owner. */
	const unsigned major = 5, minor = config_has_global(config) ? 12 : 0;
	unsigned has_major, has_minor;

	if (sscanf(release, "%u.%u", &has_major, &has_minor) != 2)
		return 0; /* who hides it knows better */
	if (has_major > major || (has_major == major && has_minor >= minor))
		return 0;
	snprintf(why, size, "Linux %s: %u.%u or later is needed%s", release, major, minor,
		 minor ? " for a network of kind global" : "");
	return -ENOSYS;
}

int kernel_version_check(const struct node_config *config, char *why, size_t size)
{
	struct utsname name;

	if (uname(&name) < 0)
		return 0;
	return kernel_version_check_release(config, name.release, why, size);
}
