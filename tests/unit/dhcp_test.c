/* A network's DHCP client: which one, when it runs, what the log says of it. */
#include "control/dhcp.h"
#include "base/log.h"
#include "loop.h"
#include "shim.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char logged[16384];

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...);

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	size_t used = strlen(logged);
	va_list args;

	(void)level;
	snprintf(logged + used, sizeof(logged) - used, "%s: ", subject);
	used = strlen(logged);
	va_start(args, format);
	vsnprintf(logged + used, sizeof(logged) - used, format, args);
	va_end(args);
	used = strlen(logged);
	snprintf(logged + used, sizeof(logged) - used, "\n");
}

struct rig {
	struct loop loop;
	struct node_config config;
	struct dhcp_program program;
	struct dhcp *dhcp;
	char path[64];
};

/* A client of our own; it sees "-i shm0" as its arguments. */
static bool rig_open(struct rig *rig, const char *script)
{
	char error[256];
	FILE *file;

	memset(rig, 0, sizeof(*rig));
	logged[0] = '\0';
	if (!loop_open(&rig->loop))
		return false;
	snprintf(rig->path, sizeof(rig->path), "%s/client", rig->loop.dir);
	file = fopen(rig->path, "w");
	fprintf(file, "#!/bin/sh\ncd %s\n%s\n", rig->loop.dir, script);
	fclose(file);
	chmod(rig->path, 0755);
	rig->config.dhcp_client[0] = rig->path;
	rig->config.dhcp_client[1] = (char *)"-i";
	rig->config.dhcp_client[2] = (char *)"%i";
	return dhcp_find_program(&rig->config, &rig->program, error, sizeof(error)) == 0;
}

static int rig_start(struct rig *rig)
{
	const struct dhcp_options options = {
		.base = rig->loop.base,
		.program = &rig->program,
		.network = "lan0",
		.interface = "shm0",
		.directory = rig->loop.dir,
		.node = "n1",
	};
	int ret = dhcp_new(&options, &rig->dhcp);

	if (ret == 0)
		dhcp_carrier(rig->dhcp);
	return ret;
}

static void rig_close(struct rig *rig)
{
	CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	unlink(rig->path);
	loop_close(&rig->loop);
}

static unsigned count(const char *words)
{
	unsigned found = 0;

	for (const char *at = logged; (at = strstr(at, words)); at++)
		found++;
	return found;
}

TEST_CASE(dhcp, none_on_path)
{
	struct node_config config = {0};
	const char *path = getenv("PATH");
	char *before = strdup(path ? path : "");
	struct dhcp_program program;
	char error[256];

	setenv("PATH", "/nonexistent::.:", 1);
	CHECK_INT(dhcp_find_program(&config, &program, error, sizeof(error)), -ENOENT);
	check_words(error, "install isc-dhcp-client or udhcpc");
	check_words(error, "node.dhcp_client");
	unsetenv("PATH");
	CHECK_INT(dhcp_find_program(&config, &program, error, sizeof(error)), -ENOENT);
	setenv("PATH", before, 1);
	free(before);
}

TEST_CASE(dhcp, the_first_on_path)
{
	struct node_config config = {0};
	const char *path = getenv("PATH");
	char *before = strdup(path ? path : "");
	char client[64], other[64];
	struct dhcp_program program;
	char error[256];
	struct loop loop;

	REQUIRE(loop_open(&loop));
	snprintf(client, sizeof(client), "%s/dhclient", loop.dir);
	snprintf(other, sizeof(other), "%s/udhcpc", loop.dir);
	fclose(fopen(client, "w"));
	fclose(fopen(other, "w"));
	setenv("PATH", loop.dir, 1);
	CHECK_INT(dhcp_find_program(&config, &program, error, sizeof(error)), -ENOENT);
	chmod(client, 0755);
	chmod(other, 0755);
	CHECK_INT(dhcp_find_program(&config, &program, error, sizeof(error)), 0);
	CHECK_STR(program.path, client);
	CHECK_STR(dhcp_program_name(&program), "dhclient");
	setenv("PATH", before, 1);
	free(before);
	unlink(client);
	unlink(other);
	loop_close(&loop);
}

TEST_CASE(dhcp, the_configured_one_is_no_program)
{
	struct node_config config = {
		.dhcp_client = {(char *)"/nonexistent", (char *)"%i"}};
	struct dhcp_program program;
	char error[256];

	CHECK_INT(dhcp_find_program(&config, &program, error, sizeof(error)), -ENOENT);
	check_words(error, "node.dhcp_client names /nonexistent, which is no program");
}

TEST_CASE(dhcp, runs_and_speaks)
{
	struct rig rig;

	REQUIRE(rig_open(&rig, "trap 'echo released; exit 0' TERM; echo \"got $* \";"
			       "printf 'bad\\033[1m\\n'; while :; do sleep 0.01; done"));
	REQUIRE(rig_start(&rig) == 0);
	LOOP_WAIT(&rig.loop, count("client: bad?[1m") == 1);
	check_words(logged, "lan0: client: got -i shm0");
	dhcp_carrier(rig.dhcp);
	dhcp_stop(rig.dhcp);
	LOOP_WAIT(&rig.loop, count("client: released") == 1);
	dhcp_carrier(rig.dhcp);
	dhcp_free(rig.dhcp);
	CHECK_INT(count("asks for an address on shm0"), 1);
	CHECK_INT(count("is started again"), 0);
	rig_close(&rig);
}

TEST_CASE(dhcp, is_started_again)
{
	struct rig rig;

	REQUIRE(rig_open(&rig, "exit 4"));
	REQUIRE(rig_start(&rig) == 0);
	LOOP_WAIT(&rig.loop, count("client asks") >= 2);
	check_words(logged,
		    "lan0: client ended (exit status 4), is started again in 1 s");
	LOOP_WAIT(&rig.loop, count("is started again in 2 s") == 1);
	dhcp_free(rig.dhcp);
	rig_close(&rig);
}

TEST_CASE(dhcp, a_flood_of_lines_is_cut)
{
	struct rig rig;

	REQUIRE(rig_open(&rig, "for i in $(seq 1000); do echo flood; done; exit 0"));
	REQUIRE(rig_start(&rig) == 0);
	LOOP_WAIT(&rig.loop, count("is started again") == 1);
	CHECK_INT(count("client: flood"), 32);
	dhcp_free(rig.dhcp);
	rig_close(&rig);
}

TEST_CASE(dhcp, one_that_does_not_end_is_killed)
{
	struct rig rig;

	REQUIRE(rig_open(&rig, "trap '' TERM; echo on; while :; do sleep 0.01; done"));
	REQUIRE(rig_start(&rig) == 0);
	LOOP_WAIT(&rig.loop, count("client: on") == 1);
	dhcp_stop(rig.dhcp);
	dhcp_free(rig.dhcp);
	rig_close(&rig);
}

TEST_CASE(dhcp, a_client_that_vanished_is_tried_again)
{
	struct rig rig;

	REQUIRE(rig_open(&rig, "exit 0"));
	unlink(rig.path);
	REQUIRE(rig_start(&rig) == 0);
	check_words(logged, "can't run");
	dhcp_carrier(rig.dhcp); /* the next try has its time */
	CHECK_INT(count("can't run"), 1);
	dhcp_free(rig.dhcp);
	rig_close(&rig);
}
