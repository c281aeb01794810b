/*
 * What does a process see of an interface that goes down and comes back? And what becomes
 * of rdma_cm if it wants to say something meanwhile?
 *
 *     verbs_down [DEVICE ADDRESS NETDEV]        (rxe0 192.0.2.1 eth0)
 *
 * It takes the interface down, and removes the device and adds it again, so it needs root
 * and a machine of its own.
 *
 * Seen on rxe of 6.1:
 *   - IBV_EVENT_PORT_ERR and PORT_ACTIVE on async_fd; rdma_cm says nothing.
 *   - A WRITE without a route to the peer is a local QP operation error, at once. (A
 * cable that is pulled is another thing: the route is still there.)
 *   - A message of rdma_cm without a route does the same to the QP of the device itself,
 *     from which it sends all of them, and that is never mended: whoever connects by
 *     rdma_cm afterwards, from whichever process, is not heard. Destroying an id that is
 *     connected is such a message (DREQ), also if it is done by the end of the process.
 *   - QPs that are connected without rdma_cm work when the interface is back.
 *   - Removing the device and adding it again brings rdma_cm back.
 */
#include "verbs.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *device = "rxe0", *address = "192.0.2.1", *netdev = "eth0";
static int failures;

__attribute__((format(printf, 1, 2))) static void run(const char *format, ...)
{
	char line[300];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	TRY0(system(line));
}

static bool event_comes(struct ibv_context *context, enum ibv_event_type wanted)
{
	struct pollfd fd = {.fd = context->async_fd, .events = POLLIN};
	struct ibv_async_event event;

	while (poll(&fd, 1, 5000) == 1) {
		TRY0(ibv_get_async_event(context, &event));
		ibv_ack_async_event(&event);
		if (event.event_type == wanted)
			return true;
	}
	return false;
}

static enum ibv_wc_status write_between(struct verbs_end ends[2])
{
	struct verbs_write write = {
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.flags = IBV_SEND_SIGNALED,
	};
	struct ibv_wc wc;

	verbs_receive(&ends[1], 1);
	verbs_post(&ends[0], &write);
	if (!verbs_poll(&ends[0], 5, &wc))
		verbs_die("no completion");
	return wc.status;
}

static enum ibv_wc_status write_by_hand(struct ibv_context *context, bool up)
{
	struct verbs_end ends[2];
	enum ibv_wc_status status;

	verbs_end_new(context, NULL, &ends[0]);
	verbs_end_new(context, NULL, &ends[1]);
	verbs_join(&ends[0], &ends[1], verbs_gid(context, address));
	if (!up)
		run("ip link set %s down", netdev);
	status = write_between(ends);
	verbs_end_free(&ends[0]);
	verbs_end_free(&ends[1]);
	return status;
}

/* In a process of its own: librdmacm would keep the device open. */
static int connect_by_cm(bool down)
{
	struct ibv_context *context = TRY(verbs_open(device));
	struct cm_pair pair = {0};
	struct verbs_end ends[2];

	cm_listen(&pair, address);
	verbs_end_new(context, NULL, &ends[0]);
	verbs_end_new(context, NULL, &ends[1]);
	cm_join(&pair, &ends[0], &ends[1]);
	if (down)
		run("ip link set %s down", netdev);
	return 0;
}

static bool cm_works(void)
{
	char line[300];

	snprintf(line, sizeof(line),
		 "timeout 10 /proc/%d/exe %s %s %s connect >/dev/null", getpid(), device,
		 address, netdev);
	return system(line) == 0;
}

static void try_all(struct ibv_context *context)
{
	verbs_check(write_by_hand(context, true) == IBV_WC_SUCCESS, "a WRITE arrives",
		    &failures);
	verbs_check(write_by_hand(context, false) == IBV_WC_LOC_QP_OP_ERR,
		    "without a route it is a local error", &failures);
	verbs_check(event_comes(context, IBV_EVENT_PORT_ERR), "PORT_ERR comes",
		    &failures);
	run("ip link set %s up", netdev);
	verbs_check(event_comes(context, IBV_EVENT_PORT_ACTIVE), "PORT_ACTIVE comes",
		    &failures);
	verbs_check(cm_works(), "rdma_cm, which was silent meanwhile, works", &failures);
	run("/proc/%d/exe %s %s %s leave", getpid(), device, address, netdev);
	run("ip link set %s up", netdev);
	verbs_check(event_comes(context, IBV_EVENT_PORT_ACTIVE),
		    "PORT_ACTIVE comes again", &failures);
	verbs_check(!cm_works(), "rdma_cm, which had something to say, is lost",
		    &failures);
	verbs_check(write_by_hand(context, true) == IBV_WC_SUCCESS, "a WRITE arrives",
		    &failures);
}

int main(int argc, char **argv)
{
	struct ibv_context *context;

	if (argc > 3)
		device = argv[1], address = argv[2], netdev = argv[3];
	if (argc > 4)
		return connect_by_cm(!strcmp(argv[4], "leave"));
	setvbuf(stdout, NULL, _IOLBF, 0);
	context = TRY(verbs_open(device));
	try_all(context);
	TRY0(ibv_close_device(context));
	run("rdma link del %s", device);
	run("rdma link add %s type rxe netdev %s", device, netdev);
	verbs_check(cm_works(), "with the device added again, rdma_cm works", &failures);
	return failures > 0;
}
