/* Which kernels are refused, and in which words. */
#include "control/kernel_version.h"

#include "shim.h"

#include <errno.h>
#include <string.h>

static struct config_network networks[2];
static struct node_config config = {.num_networks = 2, .networks = networks};

static int check(const char *release, bool is_global, char why[128])
{
	networks[1].kind = is_global ? NETWORK_KIND_GLOBAL : NETWORK_KIND_LOCAL;
	why[0] = '\0';
	return kernel_version_check_release(&config, release, why, 128);
}

TEST_CASE(kernel_version, local)
{
	char why[128];

	CHECK_INT(check("5.0.0", false, why), 0);
	CHECK_INT(check("6.1.0-18-amd64", false, why), 0);
	CHECK_INT(check("4.19.0-26-amd64", false, why), -ENOSYS);
	CHECK_STR(why, "Linux 4.19.0-26-amd64: 5.0 or later is needed");
}

TEST_CASE(kernel_version, global)
{
	char why[128];

	CHECK_INT(check("5.12.0", true, why), 0);
	CHECK_INT(check("6.0", true, why), 0);
	CHECK_INT(check("5.9.16", true, why), -ENOSYS);
	CHECK_STR(why, "Linux 5.9.16: 5.12 or later is needed for a network of kind "
		       "global");
}

TEST_CASE(kernel_version, hidden)
{
	char why[128];

	CHECK_INT(check("generic", true, why), 0);
	CHECK_STR(why, "");
}

TEST_CASE(kernel_version, this_one)
{
	char why[128];

	networks[1].kind = NETWORK_KIND_GLOBAL;
	CHECK_INT(kernel_version_check(&config, why, sizeof(why)), 0);
}
