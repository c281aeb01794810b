/* The kernel, and what every node needs of it. See check.h. */
#include "cli/check.h"

#include "cli/text.h"
#include "control/kernel_version.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define TUN "/dev/net/tun"

void check_kernel(struct check *check)
{
	struct utsname name;
	char why[256];

	if (kernel_version_check(check->config, why, sizeof(why)) < 0)
		check_fail(check, text_format("%s", why),
			   text_format("apt install linux-image-amd64 && reboot"));
	else if (uname(&name) == 0)
		check_pass(check, text_format("Linux %s is new enough", name.release));
}

static bool has_lanes(const struct node_config *config)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (config->networks[i].cast == CAST_MODE_LANES)
			return true;
	}
	return false;
}

/* Rings are memory that nobody can make shorter; lanes, that others can't write to. */
void check_memfd(struct check *check)
{
	const bool lanes = has_lanes(check->config);
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | (lanes ? F_SEAL_FUTURE_WRITE : 0);
	int fd = memfd_create("shmnet check", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error = fd < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	if (!error)
		check_pass(check, text_format("memory for rings can be sealed"));
	else if (lanes && error == EINVAL)
		check_fail(check,
			   text_format("memory can't be sealed for lanes, which takes "
				       "Linux 5.1"),
			   text_format("editor %s  # cast: shared", check->file));
	else
		check_fail(check,
			   text_format("memory for rings can't be sealed: %s",
				       strerror(error)),
			   text_format("docker run --security-opt seccomp=PROFILE  # one "
				       "that allows memfd_create(2)"));
}

/* Opening it makes no interface yet. */
void check_tun(struct check *check)
{
	int fd = open(TUN, O_RDWR | O_CLOEXEC), error = fd < 0 ? errno : 0;
	struct stat info;

	if (fd >= 0)
		close(fd);
	if (!error)
		check_pass(check, text_format(TUN " can be opened"));
	else if (error == EACCES && stat(TUN, &info) == 0)
		check_fail(check,
			   text_format(TUN " has mode %04o and owner %u:%u, and this is "
					   "user %u",
				       info.st_mode & 07777, info.st_uid, info.st_gid,
				       geteuid()),
			   text_format("chmod 0666 " TUN));
	else if (error == EPERM)
		check_fail(check, text_format(TUN " is refused by the control group"),
			   text_format("systemctl edit shmnet-node@%s  # DeviceAllow=" TUN
				       " rw; or the container's device c 10:200",
				       check->config->name));
	else if (error == ENOENT && access("/sys/class/misc/tun", F_OK) == 0)
		check_fail(check,
			   text_format(TUN " is missing, though the kernel has it"),
			   text_format("mkdir -p /dev/net && mknod -m 0666 " TUN
				       " c 10 200"));
	else
		check_fail(check, text_format(TUN ": %s", strerror(error)),
			   text_format("modprobe tun"));
}
