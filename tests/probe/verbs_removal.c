/*
 * What happens when a device is removed that a process has open, and what has to be
 * closed until the removal is done? Can the process use the device when it is back?
 *
 *     verbs_removal [DEVICE ADDRESS NETDEV]        (rxe0 192.0.2.1 eth0)
 *
 * It removes the device and adds it again, so it needs root and a machine of its own.
 *
 * Seen on rxe of 6.1 with rdma-core 44:
 *   - The first and only sign is RDMA_CM_EVENT_DEVICE_REMOVAL, on the listener and on
 * every other id (a connected one may say DISCONNECTED before). There is no
 *     IBV_EVENT_DEVICE_FATAL, nothing at all on async_fd, no completion: rxe does not
 * know how to take the device away from its users. Who has no id hears nothing.
 *   - Then `rdma link del` waits until every file of the device is closed, in every
 *     process. Queues that are mapped hold it open, so QPs and CQs go before the context.
 *   - librdmacm has opened a context of its own (id->verbs) and keeps it when no device
 * is left: sync_devices_list() returns before it gets to that, from rdma_get_devices(),
 *     too. /dev/null in the place of its two files lets go of the device; the context
 *     stays usable for what librdmacm does with it later, which is to close it.
 *   - When the device is back, with another index, librdmacm finds it by itself.
 */
#include "verbs.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE 1.5 /* seconds that count as "it doesn't" */

static const char *device = "rxe0", *address = "192.0.2.1", *netdev = "eth0";
static int failures;
static pid_t command;
static double begun;
static int removals, async_events;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list args;

	printf("%7.3f s  ", verbs_now() - begun);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

/* Not fork: uverbs answers EACCES in the child of one who has it open. */
static void run(const char *format, ...)
{
	char line[160];
	char *argv[] = {(char *)"sh", (char *)"-c", line, NULL};
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	begun = verbs_now();
	say("%s", line);
	TRY0(posix_spawn(&command, "/bin/sh", NULL, NULL, argv, environ));
}

static bool has_ended(double seconds)
{
	double until = verbs_now() + seconds;
	int status;

	do {
		if (waitpid(command, &status, WNOHANG) == command) {
			say("the command is done, status %d", WEXITSTATUS(status));
			command = 0;
			return true;
		}
		usleep(1000);
	} while (verbs_now() < until);
	return false;
}

static void take_cm_event(struct cm_pair *pair)
{
	struct rdma_cm_event *event;
	const char *whose = "passive";

	TRY0(rdma_get_cm_event(pair->channel, &event));
	if (event->id == pair->listener || event->id == pair->active)
		whose = event->id == pair->active ? "active" : "listener";
	say("%s, %s id", rdma_event_str(event->event), whose);
	removals += event->event == RDMA_CM_EVENT_DEVICE_REMOVAL;
	TRY0(rdma_ack_cm_event(event));
}

static void take_async_event(struct ibv_context *context)
{
	struct ibv_async_event event;

	TRY0(ibv_get_async_event(context, &event));
	say("%s", ibv_event_type_str(event.event_type));
	async_events++;
	ibv_ack_async_event(&event);
}

static void watch(struct cm_pair *pair, struct ibv_context *context)
{
	struct pollfd fds[] = {
		{.fd = pair->channel->fd, .events = POLLIN},
		{.fd = context->async_fd, .events = POLLIN},
	};

	while (poll(fds, 2, (int)(PATIENCE * 1000)) > 0) {
		if (fds[0].revents)
			take_cm_event(pair);
		if (fds[1].revents)
			take_async_event(context);
	}
}

static void let_go(struct ibv_context *of_librdmacm)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, of_librdmacm->cmd_fd) < 0 ||
	    dup2(null, of_librdmacm->async_fd) < 0)
		verbs_die("/dev/null");
	close(null);
}

static void remove_under(struct cm_pair *pair, struct verbs_end ends[2],
			 struct ibv_context *context)
{
	struct ibv_context *of_librdmacm = pair->listener->verbs;
	struct ibv_wc wc;

	verbs_receive(&ends[1], 3);
	run("rdma link del %s", device);
	watch(pair, context);
	verbs_check(removals == 3, "DEVICE_REMOVAL for each id", &failures);
	verbs_check(!async_events, "no asynchronous event", &failures);
	verbs_check(!verbs_poll(&ends[1], 0, &wc), "no receive is flushed", &failures);
	cm_free(pair);
	verbs_end_free(&ends[0]);
	verbs_end_free(&ends[1]);
	verbs_check(!has_ended(PATIENCE), "it waits for more than ids and QPs",
		    &failures);
	TRY0(ibv_close_device(context));
	verbs_check(!has_ended(PATIENCE), "and for more than the context", &failures);
	verbs_check(!rdma_get_devices(NULL), "rdma_get_devices finds nothing", &failures);
	verbs_check(!has_ended(PATIENCE), "and does not help", &failures);
	let_go(of_librdmacm);
	verbs_check(has_ended(5), "without librdmacm's files it goes on", &failures);
}

static void use(struct ibv_context *context, struct cm_pair *pair,
		struct verbs_end ends[2])
{
	struct verbs_write write = {.opcode = IBV_WR_RDMA_WRITE_WITH_IMM};
	struct ibv_wc wc;

	cm_listen(pair, address);
	verbs_end_new(context, NULL, &ends[0]);
	verbs_end_new(context, NULL, &ends[1]);
	cm_join(pair, &ends[0], &ends[1]);
	verbs_receive(&ends[1], 1);
	verbs_post(&ends[0], &write);
	verbs_check(verbs_poll(&ends[1], 5, &wc) && wc.status == IBV_WC_SUCCESS,
		    "the device works", &failures);
}

int main(int argc, char **argv)
{
	struct cm_pair pair = {0};
	struct verbs_end ends[2];
	struct ibv_context *context;

	if (argc > 3)
		device = argv[1], address = argv[2], netdev = argv[3];
	setvbuf(stdout, NULL, _IOLBF, 0);
	context = TRY(verbs_open(device));
	use(context, &pair, ends);
	remove_under(&pair, ends, context);
	if (command)
		return 1; /* which ends it */
	run("rdma link add %s type rxe netdev %s", device, netdev);
	verbs_check(has_ended(5), "it is added again", &failures);
	context = TRY(verbs_open(device));
	pair = (struct cm_pair){0};
	use(context, &pair, ends);
	return failures > 0;
}
