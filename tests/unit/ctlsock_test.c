/*
 * A real control socket with a made-up node. Server and client share the one
 * thread: the test turns the event loop until what it waits for has come.
 */
#include "control/ctlsock.h"

#include "base/clock.h"
#include "control/takeover.h"
#include "ctl.pb-c.h"
#include "shim.h"

#include <shmnet/ctl.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#define PATIENCE_NS (10 * NSEC_PER_SEC)
#define FRAME(...)                                                                       \
	{                                                                                \
		sizeof((char[]){__VA_ARGS__}), 0, 0, 0, __VA_ARGS__                      \
	}

static const uint8_t ask_status[] = FRAME(0x08, 1, 0x12, 0);
static const uint8_t ask_topology[] = FRAME(0x08, 1, 0x1a, 0);
static const uint8_t ask_version[] = FRAME(0x08, 1, 0x2a, 0);
static const uint8_t ask_flows[] = FRAME(0x08, 1, 0x42, 6, 0x0a, 4, 's', 'v', 'c', '0');
static const uint8_t ask_listeners[] = FRAME(0x08, 1, 0x4a, 0);
static const uint8_t ask_explain[] =
	FRAME(0x08, 1, 0x52, 11, 0x0a, 3, 't', 'c', 'p', 0x12, 1, 'a', 0x1a, 1, 'b');
static const uint8_t ask_drain[] = FRAME(0x08, 1, 0x5a, 2, 0x18, 1);
static const uint8_t ask_pause[] = FRAME(0x08, 1, 0x6a, 6, 0x0a, 4, 'l', 'a', 'n', '0');
static const uint8_t ask_resume[] = FRAME(0x08, 1, 0x72, 0);
static const uint8_t ask_ping[] = FRAME(0x08, 1, 0x3a, 4, 0x0a, 2, 'n', '2');

struct fixture {
	char dir[64];
	char path[96];
	struct event_base *base;
	struct ctlsock *ctlsock;
	unsigned asked;
	int rc;		/* what the handlers return */
	unsigned nodes; /* in the topology */
	bool at_once;	/* pings are answered */
	struct client *waiting;
	unsigned cancelled;
	int kept; /* the connection of who takes over */
};

static int fake_status(void *arg, struct report_status *report)
{
	struct fixture *fixture = arg;

	fixture->asked++;
	REPORT_SET(report->node, "n1");
	report->networks = report_list_new(3, sizeof(*report->networks));
	return fixture->rc;
}

static int fake_topology(void *arg, struct report_topology *report)
{
	struct fixture *fixture = arg;

	fixture->asked++;
	report->nodes = report_list_new(fixture->nodes, sizeof(*report->nodes));
	if (!report->nodes)
		return -ENOMEM;
	report->num_nodes = fixture->nodes;
	for (unsigned i = 0; i < fixture->nodes; i++) {
		memset(report->nodes[i].name, 'n', REPORT_NAME_MAX - 1);
		memset(report->nodes[i].fabric, 'f', REPORT_NAME_MAX - 1);
	}
	return fixture->rc;
}

static int fake_stats(void *arg, struct report_stats *report)
{
	(void)report;
	return ((struct fixture *)arg)->rc;
}

static int fake_version(void *arg, struct report_version *report)
{
	((struct fixture *)arg)->asked++;
	REPORT_SET(report->version, "test");
	return ((struct fixture *)arg)->rc;
}

static int fake_events(void *arg, struct report_events *report)
{
	(void)report;
	return ((struct fixture *)arg)->rc;
}

static const struct report_ping pong = {.node = "n1", .peer = "n2", .num_answers = 1};

static int fake_ping(void *arg, const struct ctl_ping_request *request,
		     struct client *client, struct report_refusal *ret_refusal)
{
	struct fixture *fixture = arg;

	fixture->asked++;
	CHECK_STR(request->node, "n2");
	REPORT_SET(ret_refusal->code, "self");
	REPORT_SET(ret_refusal->message, "words");
	if (fixture->at_once)
		ctlsock_answer_ping(client, &pong);
	else if (fixture->rc == 0)
		fixture->waiting = client;
	return fixture->rc;
}

static int fake_flows(void *arg, const struct ctl_flows_request *request,
		      struct report_flows *report, struct report_refusal *ret_refusal)
{
	struct fixture *fixture = arg;

	fixture->asked++;
	CHECK_STR(request->network, "svc0");
	report->flows = report_list_new(3, sizeof(*report->flows));
	report->num_flows = 3;
	if (fixture->rc)
		REPORT_SET(ret_refusal->code, "not-global");
	return fixture->rc;
}

/* Fails without a refusal. */
static int fake_listeners(void *arg, const struct ctl_listeners_request *request,
			  struct report_listeners *report,
			  struct report_refusal *ret_refusal)
{
	(void)request;
	(void)ret_refusal;
	report->listeners = report_list_new(1, sizeof(*report->listeners));
	report->num_listeners = 1;
	report->listeners[0].nodes = report_list_new(2, REPORT_NAME_MAX);
	report->listeners[0].num_nodes = 2;
	return ((struct fixture *)arg)->rc;
}

/* A pipe is as good as a TAP here: two queues, and one. */
static int fake_takeover(void *arg, const struct ctl_takeover_request *request,
			 struct client *client, struct report_refusal *ret_refusal)
{
	struct fixture *fixture = arg;
	struct tap taps[2] = {{.num_queues = 2, .queues = {0, 1}},
			      {.num_queues = 1, .queues = {2}}};
	struct report_takeover report = {.num_taps = 2,
					 .taps = {{"shm0", 2}, {"shm1", 1}}};

	CHECK(ctlsock_is_owner(client));
	if (fixture->rc) {
		REPORT_SET(ret_refusal->code, "permission");
		REPORT_SET(ret_refusal->message, "not you");
		return fixture->rc;
	}
	if (!request->commit) {
		ctlsock_hand_over(client, &report,
				  (const struct tap *[]){taps, taps + 1});
		return 0;
	}
	CHECK(ctlsock_has_taps(client));
	fixture->waiting = client;
	fixture->kept = ctlsock_keep_open(client);
	return 0;
}

static int fake_drain(void *arg, const struct ctl_drain_request *request,
		      struct report_drain *report, struct report_refusal *ret_refusal)
{
	(void)report;
	(void)ret_refusal;
	CHECK(request->undo);
	return ((struct fixture *)arg)->rc;
}

static int fake_reload(void *arg, struct report_reload *report)
{
	report->errors = report_list_new(1, REPORT_ERROR_MAX);
	report->changes = report_list_new(1, sizeof(*report->changes));
	report->num_errors = report->num_changes = 1;
	return ((struct fixture *)arg)->rc;
}

static int fake_pause(void *arg, const struct ctl_pause_request *request,
		      struct report_pause *report, struct report_refusal *ret_refusal)
{
	report->is_resume = request->is_resume;
	CHECK_STR(request->network, request->is_resume ? "" : "lan0");
	REPORT_SET(ret_refusal->code, "unknown-name");
	return ((struct fixture *)arg)->rc;
}

static const struct report_explain explanation = {.num_steps = 2};

static int fake_explain(void *arg, const struct ctl_explain_request *request,
			struct client *client, struct report_refusal *ret_refusal)
{
	struct fixture *fixture = arg;

	fixture->asked++;
	CHECK_STR(request->protocol, "tcp");
	REPORT_SET(ret_refusal->code, "bad-flow");
	if (fixture->at_once)
		ctlsock_answer_explain(client, &explanation);
	else if (fixture->rc == 0)
		fixture->waiting = client;
	return fixture->rc;
}

static void fake_cancel(void *arg, struct client *client)
{
	struct fixture *fixture = arg;

	CHECK(client == fixture->waiting);
	fixture->waiting = NULL;
	fixture->cancelled++;
}

static const struct ctlsock_handler handler = {
	.status = fake_status,
	.topology = fake_topology,
	.stats = fake_stats,
	.version = fake_version,
	.events = fake_events,
	.flows = fake_flows,
	.listeners = fake_listeners,
	.drain = fake_drain,
	.reload = fake_reload,
	.pause = fake_pause,
	.takeover = fake_takeover,
	.ping = fake_ping,
	.explain = fake_explain,
	.cancel = fake_cancel,
};

static int server_new(struct fixture *fixture, unsigned timeout_ms, pid_t *ret_pid,
		      struct ctlsock **ret_ctlsock)
{
	struct ctlsock_options options = {.path = fixture->path,
					  .handler = &handler,
					  .arg = fixture,
					  .timeout_ms = timeout_ms};

	return ctlsock_new(fixture->base, &options, ret_pid, ret_ctlsock);
}

/* Without a server. */
static bool fixture_prepare(struct fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/ctlsock-test.XXXXXX");
	if (!mkdtemp(fixture->dir))
		return false;
	snprintf(fixture->path, sizeof(fixture->path), "%s/n1.sock", fixture->dir);
	fixture->base = event_base_new();
	return fixture->base != NULL;
}

static bool fixture_start(struct fixture *fixture, unsigned timeout_ms)
{
	pid_t pid;

	return fixture_prepare(fixture) &&
	       server_new(fixture, timeout_ms, &pid, &fixture->ctlsock) == 0;
}

static void fixture_stop(struct fixture *fixture)
{
	ctlsock_free(fixture->ctlsock);
	event_base_free(fixture->base);
	CHECK_INT(access(fixture->path, F_OK), -1);
	CHECK_INT(rmdir(fixture->dir), 0);
}

static void turn(struct fixture *fixture)
{
	struct timespec pause = {0, 1000000};

	event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	nanosleep(&pause, NULL);
}

static void address_set(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
}

static int client_new(const struct fixture *fixture)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address_set(&address, fixture->path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool client_send(int fd, const void *data, size_t size)
{
	return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* Reads exactly `size`, turning the loop; false at end of file, or out of patience. */
static bool client_receive(struct fixture *fixture, int fd, uint8_t *data, size_t size)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;

	while (size > 0 && clock_now_ns() < end) {
		ssize_t n = recv(fd, data, size, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		if (n < 0) {
			turn(fixture);
			continue;
		}
		data += n;
		size -= (size_t)n;
	}
	return size == 0;
}

static bool client_sees_end(struct fixture *fixture, int fd)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;
	uint8_t byte;
	ssize_t n;

	while ((n = recv(fd, &byte, 1, 0)) < 0 && errno == EAGAIN && clock_now_ns() < end)
		turn(fixture);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static Shmnet__Ctl__Reply *client_reply(struct fixture *fixture, int fd)
{
	Shmnet__Ctl__Reply *reply = NULL;
	uint8_t header[4], *data;
	uint32_t size;

	if (!client_receive(fixture, fd, header, sizeof(header)))
		return NULL;
	size = header[0] | header[1] << 8 | header[2] << 16 | (uint32_t)header[3] << 24;
	data = malloc(size);
	if (client_receive(fixture, fd, data, size))
		reply = shmnet__ctl__reply__unpack(NULL, size, data);
	free(data);
	return reply;
}

/* The next reply has this body. */
static bool client_gets(struct fixture *fixture, int fd,
			Shmnet__Ctl__Reply__BodyCase body)
{
	Shmnet__Ctl__Reply *reply = client_reply(fixture, fd);
	bool ok = reply && CHECK_INT(reply->body_case, body);

	if (reply)
		shmnet__ctl__reply__free_unpacked(reply, NULL);
	return ok;
}

#define GETS(fixture, fd, body) client_gets(fixture, fd, SHMNET__CTL__REPLY__BODY_##body)

static bool client_gets_error(struct fixture *fixture, int fd, const char *code)
{
	Shmnet__Ctl__Reply *reply = client_reply(fixture, fd);
	bool ok = reply && reply->body_case == SHMNET__CTL__REPLY__BODY_ERROR &&
		  CHECK_STR(reply->error->code, code);

	if (reply)
		shmnet__ctl__reply__free_unpacked(reply, NULL);
	return ok;
}

TEST_CASE(ctlsock, a_client_asks_twice)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_status, sizeof(ask_status)));
	CHECK(GETS(&fixture, fd, STATUS));
	CHECK(client_send(fd, ask_version, sizeof(ask_version)));
	CHECK(GETS(&fixture, fd, VERSION));
	CHECK_INT(fixture.asked, 2);
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_request_may_come_byte_by_byte)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	for (size_t i = 0; i < sizeof(ask_status); i++) {
		CHECK_INT(fixture.asked, 0);
		CHECK(client_send(fd, ask_status + i, 1));
		turn(&fixture);
	}
	CHECK(GETS(&fixture, fd, STATUS));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, requests_in_one_write_are_answered_up_to_the_end_of_file)
{
	uint8_t both[sizeof(ask_status) + sizeof(ask_version)];
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	memcpy(both, ask_status, sizeof(ask_status));
	memcpy(both + sizeof(ask_status), ask_version, sizeof(ask_version));
	fd = client_new(&fixture);
	CHECK(client_send(fd, both, sizeof(both)));
	CHECK_INT(shutdown(fd, SHUT_WR), 0);
	CHECK(GETS(&fixture, fd, STATUS));
	CHECK(GETS(&fixture, fd, VERSION));
	CHECK(client_sees_end(&fixture, fd));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_length_above_the_limit_ends_the_connection)
{
	static const uint8_t lengths[][4] = {
		{0x01, 0x00, 0x01, 0x00}, {0xff, 0xff, 0xff, 0xff}, {'G', 'E', 'T', ' '}};
	struct fixture fixture;

	REQUIRE(fixture_start(&fixture, 0));
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		int fd = client_new(&fixture);

		CHECK(client_send(fd, lengths[i], sizeof(lengths[i])));
		CHECK(client_gets_error(&fixture, fd, "bad-request"));
		CHECK(client_sees_end(&fixture, fd));
		close(fd);
	}
	CHECK_INT(fixture.asked, 0);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, the_longest_request_is_taken)
{
	uint8_t *frame = calloc(1, 4 + SHMNET_CTL_REQUEST_MAX + 1);
	struct fixture fixture;
	size_t sent = 0;
	int fd;

	REQUIRE(frame != NULL && fixture_start(&fixture, 0));
	frame[2] = 1; /* 65,536 */
	/* schema, body, and an unknown field (31) that fills the rest */
	memcpy(frame + 4, (uint8_t[]){0x08, 1, 0x12, 0, 0xfa, 1, 0xf7, 0xff, 0x03}, 9);
	fd = client_new(&fixture);
	while (sent < 4 + SHMNET_CTL_REQUEST_MAX) {
		ssize_t n = send(fd, frame + sent, 4 + SHMNET_CTL_REQUEST_MAX - sent,
				 MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		turn(&fixture);
	}
	CHECK(GETS(&fixture, fd, STATUS));
	close(fd);
	free(frame);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, what_cannot_be_decoded_is_answered_and_the_connection_kept)
{
	static const uint8_t garbage[] = FRAME(0x7f, 0x03, 0x22, 0x11);
	static const uint8_t nothing[] = {0, 0, 0, 0};
	static const uint8_t other_schema[] = FRAME(0x08, 9, 0x12, 0);
	static const uint8_t other_verb[] = FRAME(0x08, 1, 0xfa, 1, 0);
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	CHECK(client_send(fd, garbage, sizeof(garbage)));
	CHECK(client_gets_error(&fixture, fd, "bad-request"));
	CHECK(client_send(fd, nothing, sizeof(nothing)));
	CHECK(client_gets_error(&fixture, fd, "bad-request"));
	CHECK(client_send(fd, other_schema, sizeof(other_schema)));
	CHECK(client_gets_error(&fixture, fd, "schema"));
	CHECK(client_send(fd, other_verb, sizeof(other_verb)));
	CHECK(client_gets_error(&fixture, fd, "bad-request"));
	CHECK(client_send(fd, ask_status, sizeof(ask_status)));
	CHECK(GETS(&fixture, fd, STATUS));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_handler_that_fails_is_an_internal_error)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fixture.rc = -ENOMEM;
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_status, sizeof(ask_status)));
	CHECK(client_gets_error(&fixture, fd, "internal"));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_reply_above_the_limit_is_an_internal_error)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fixture.nodes = SHMNET_CTL_REPLY_MAX / (2 * REPORT_NAME_MAX);
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_topology, sizeof(ask_topology)));
	CHECK(client_gets_error(&fixture, fd, "internal"));
	fixture.nodes /= 2;
	CHECK(client_send(fd, ask_topology, sizeof(ask_topology)));
	CHECK(GETS(&fixture, fd, TOPOLOGY));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, one_client_too_many_is_told_so)
{
	int fds[CTLSOCK_CLIENTS_MAX], fd;
	struct fixture fixture;

	REQUIRE(fixture_start(&fixture, 0));
	for (int i = 0; i < CTLSOCK_CLIENTS_MAX; i++) {
		fds[i] = client_new(&fixture);
		turn(&fixture);
	}
	fd = client_new(&fixture);
	CHECK(client_gets_error(&fixture, fd, "busy"));
	CHECK(client_sees_end(&fixture, fd));
	close(fd);
	close(fds[3]);
	turn(&fixture);
	fds[3] = client_new(&fixture);
	for (int i = 0; i < CTLSOCK_CLIENTS_MAX; i++) {
		CHECK(client_send(fds[i], ask_version, sizeof(ask_version)));
		CHECK(GETS(&fixture, fds[i], VERSION));
		close(fds[i]);
	}
	fixture_stop(&fixture);
}

bool __wrap_ctlsock_file_owns(int fd);
bool __real_ctlsock_file_owns(int fd);

static bool are_others; /* who connect now: members of the socket's group, say */

bool __wrap_ctlsock_file_owns(int fd)
{
	return !are_others && __real_ctlsock_file_owns(fd);
}

TEST_CASE(ctlsock, the_last_place_is_kept_for_the_owner)
{
	int fds[CTLSOCK_CLIENTS_MAX - 1], fd;
	struct fixture fixture;

	REQUIRE(fixture_start(&fixture, 0));
	are_others = true;
	for (int i = 0; i < CTLSOCK_CLIENTS_MAX - 1; i++) {
		fds[i] = client_new(&fixture);
		turn(&fixture);
	}
	fd = client_new(&fixture);
	CHECK(client_gets_error(&fixture, fd, "busy"));
	close(fd);
	are_others = false;
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_version, sizeof(ask_version)));
	CHECK(GETS(&fixture, fd, VERSION));
	close(fd);
	for (int i = 0; i < CTLSOCK_CLIENTS_MAX - 1; i++)
		close(fds[i]);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, an_idle_client_is_dropped)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 20));
	fd = client_new(&fixture);
	CHECK(client_sees_end(&fixture, fd));
	close(fd);
	fixture_stop(&fixture);
}

/* Bytes that complete nothing don't extend the deadline. */
TEST_CASE(ctlsock, a_client_that_trickles_is_dropped)
{
	static const uint8_t header[] = {0, 0, 1, 0};
	uint64_t end = clock_now_ns() + PATIENCE_NS;
	struct fixture fixture;
	unsigned sent = 0;
	int fd;

	REQUIRE(fixture_start(&fixture, 50));
	fd = client_new(&fixture);
	CHECK(client_send(fd, header, sizeof(header)));
	while (clock_now_ns() < end && client_send(fd, "x", 1)) {
		sent++;
		turn(&fixture);
	}
	CHECK(sent > 0);
	CHECK(clock_now_ns() < end);
	close(fd);
	fixture_stop(&fixture);
}

/* It asks and asks and never reads: one reply is made, then its time is up. */
TEST_CASE(ctlsock, a_client_that_does_not_read_is_dropped)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;
	struct pollfd hang_up = {.events = 0};
	struct fixture fixture;

	REQUIRE(fixture_start(&fixture, 100));
	fixture.nodes = 20000;
	hang_up.fd = client_new(&fixture);
	for (int i = 0; i < 20; i++)
		CHECK(client_send(hang_up.fd, ask_topology, sizeof(ask_topology)));
	while (poll(&hang_up, 1, 0) == 0 && clock_now_ns() < end)
		turn(&fixture);
	CHECK(hang_up.revents & POLLHUP);
	CHECK_INT(fixture.asked, 1);
	close(hang_up.fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_client_may_vanish_at_any_time)
{
	struct fixture fixture;

	REQUIRE(fixture_start(&fixture, 0));
	fixture.nodes = 20000;
	for (int i = 0; i < 40; i++) {
		int fd = client_new(&fixture);

		CHECK(client_send(fd, ask_topology, i % 2 ? sizeof(ask_topology) : 6));
		for (int n = 0; n < i % 5; n++)
			turn(&fixture);
		close(fd);
		turn(&fixture);
	}
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, clients_are_dropped_with_the_socket)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fixture.nodes = 20000;
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_topology, sizeof(ask_topology)));
	turn(&fixture);
	fixture_stop(&fixture);
	close(fd);
}

/* ---- answers that come later ---- */

static bool wait_for_ping(struct fixture *fixture)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;

	while (!fixture->waiting && clock_now_ns() < end)
		turn(fixture);
	return fixture->waiting != NULL;
}

static bool wait_for_cancel(struct fixture *fixture)
{
	uint64_t end = clock_now_ns() + PATIENCE_NS;

	while (fixture->waiting && clock_now_ns() < end)
		turn(fixture);
	return fixture->cancelled == 1;
}

/* What was asked behind it waits, too; the deadline does not run meanwhile. */
TEST_CASE(ctlsock, a_ping_is_answered_later)
{
	uint8_t both[sizeof(ask_ping) + sizeof(ask_version)];
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 30));
	memcpy(both, ask_ping, sizeof(ask_ping));
	memcpy(both + sizeof(ask_ping), ask_version, sizeof(ask_version));
	fd = client_new(&fixture);
	CHECK(client_send(fd, both, sizeof(both)));
	CHECK_INT(shutdown(fd, SHUT_WR), 0);
	REQUIRE(wait_for_ping(&fixture));
	for (int i = 0; i < 60; i++)
		turn(&fixture);
	CHECK_INT(fixture.asked, 1);
	CHECK_INT(fixture.cancelled, 0);
	ctlsock_answer_ping(fixture.waiting, &pong);
	CHECK(GETS(&fixture, fd, PING));
	CHECK(GETS(&fixture, fd, VERSION));
	CHECK(client_sees_end(&fixture, fd));
	CHECK_INT(fixture.cancelled, 0);
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_ping_may_be_answered_at_once)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fixture.at_once = true;
	fd = client_new(&fixture);
	for (int i = 0; i < 3; i++) {
		CHECK(client_send(fd, ask_ping, sizeof(ask_ping)));
		CHECK(GETS(&fixture, fd, PING));
	}
	close(fd);
	fixture_stop(&fixture);
	CHECK_INT(fixture.cancelled, 0);
}

TEST_CASE(ctlsock, a_ping_may_be_refused)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fixture.rc = -ENOENT;
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_ping, sizeof(ask_ping)));
	CHECK(client_gets_error(&fixture, fd, "self"));
	fixture.rc = 0;
	CHECK(client_send(fd, ask_status, sizeof(ask_status)));
	CHECK(GETS(&fixture, fd, STATUS));
	close(fd);
	fixture_stop(&fixture);
	CHECK_INT(fixture.cancelled, 0);
}

TEST_CASE(ctlsock, a_ping_ends_with_its_client)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_ping, sizeof(ask_ping)));
	REQUIRE(wait_for_ping(&fixture));
	close(fd);
	CHECK(wait_for_cancel(&fixture));
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_ping_ends_with_the_socket)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_ping, sizeof(ask_ping)));
	REQUIRE(wait_for_ping(&fixture));
	fixture_stop(&fixture);
	CHECK_INT(fixture.cancelled, 1);
	close(fd);
}

TEST_CASE(ctlsock, an_explanation_is_answered_later)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_explain, sizeof(ask_explain)));
	REQUIRE(wait_for_ping(&fixture));
	ctlsock_answer_explain(fixture.waiting, &explanation);
	CHECK(GETS(&fixture, fd, EXPLAIN));
	fixture.at_once = true;
	CHECK(client_send(fd, ask_explain, sizeof(ask_explain)));
	CHECK(GETS(&fixture, fd, EXPLAIN));
	fixture.at_once = false;
	fixture.rc = -EINVAL;
	CHECK(client_send(fd, ask_explain, sizeof(ask_explain)));
	CHECK(client_gets_error(&fixture, fd, "bad-flow"));
	fixture.rc = 0;
	CHECK_INT(fixture.cancelled, 0);
	CHECK(client_send(fd, ask_explain, sizeof(ask_explain)));
	fixture.waiting = NULL;
	REQUIRE(wait_for_ping(&fixture));
	close(fd);
	CHECK(wait_for_cancel(&fixture));
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_reload_is_answered)
{
	static const uint8_t ask_reload[] = FRAME(0x08, 1, 0x62, 0);
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_reload, sizeof(ask_reload)));
	CHECK(GETS(&fixture, fd, RELOAD));
	fixture.rc = -ESHUTDOWN;
	CHECK(client_send(fd, ask_reload, sizeof(ask_reload)));
	CHECK(client_gets_error(&fixture, fd, "internal"));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, verbs_of_global_networks_are_answered_or_refused)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_flows, sizeof(ask_flows)));
	CHECK(GETS(&fixture, fd, FLOWS));
	CHECK(client_send(fd, ask_listeners, sizeof(ask_listeners)));
	CHECK(GETS(&fixture, fd, LISTENERS));
	CHECK(client_send(fd, ask_drain, sizeof(ask_drain)));
	CHECK(GETS(&fixture, fd, DRAIN));
	fixture.rc = -EINVAL;
	CHECK(client_send(fd, ask_flows, sizeof(ask_flows)));
	CHECK(client_gets_error(&fixture, fd, "not-global"));
	CHECK(client_send(fd, ask_listeners, sizeof(ask_listeners)));
	CHECK(client_gets_error(&fixture, fd, "internal"));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, pause_and_resume_are_answered_or_refused)
{
	struct fixture fixture;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_pause, sizeof(ask_pause)));
	CHECK(GETS(&fixture, fd, PAUSE));
	CHECK(client_send(fd, ask_resume, sizeof(ask_resume)));
	CHECK(GETS(&fixture, fd, RESUME));
	fixture.rc = -ENOENT;
	CHECK(client_send(fd, ask_pause, sizeof(ask_pause)));
	CHECK(client_gets_error(&fixture, fd, "unknown-name"));
	close(fd);
	fixture_stop(&fixture);
}

/* ---- who takes over blocks, in a thread ---- */

struct successor {
	const char *path;
	struct handover handover;
	int begun, committed;
	char error[256];
	bool done;
};

static void *succeed(void *arg)
{
	struct successor *successor = arg;
	struct takeover *takeover = NULL;

	successor->begun =
		takeover_begin(successor->path, &successor->handover, &takeover,
			       successor->error, sizeof(successor->error));
	if (successor->begun == 0)
		successor->committed = takeover_commit(takeover, successor->error,
						       sizeof(successor->error));
	takeover_end(takeover);
	__atomic_store_n(&successor->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Until it is done, or says that it goes on from here. */
static void serve_successor(struct fixture *fixture, struct successor *successor)
{
	pthread_t thread;

	successor->path = fixture->path;
	fixture->kept = -1;
	REQUIRE(pthread_create(&thread, NULL, succeed, successor) == 0);
	while (!__atomic_load_n(&successor->done, __ATOMIC_ACQUIRE)) {
		turn(fixture);
		if (fixture->kept < 0)
			continue;
		CHECK(client_send(fixture->kept, TAKEOVER_DONE, TAKEOVER_DONE_BYTES));
		close(fixture->kept);
		fixture->kept = -1;
	}
	pthread_join(thread, NULL);
}

TEST_CASE(ctlsock, a_successor_gets_the_queues)
{
	struct successor successor = {.begun = 1, .committed = 1};
	struct fixture fixture;

	REQUIRE(fixture_start(&fixture, 0));
	serve_successor(&fixture, &successor);
	CHECK_INT(successor.begun, 0);
	CHECK_INT(successor.committed, 0);
	CHECK_INT(successor.handover.num_taps, 2);
	CHECK_INT(handover_count(handover_find(&successor.handover, "shm0")), 2);
	CHECK_INT(handover_count(handover_find(&successor.handover, "shm1")), 1);
	handover_close(&successor.handover);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock, a_successor_that_is_refused_learns_why)
{
	struct successor successor = {.begun = 1};
	struct fixture fixture;

	REQUIRE(fixture_start(&fixture, 0));
	fixture.rc = -EPERM;
	serve_successor(&fixture, &successor);
	CHECK_INT(successor.begun, -EREMOTEIO);
	CHECK_STR(successor.error, "it refuses: not you");
	CHECK_INT(successor.handover.num_taps, 0);
	fixture_stop(&fixture);
	CHECK_INT(takeover_begin("/nonexistent/n1.sock", &successor.handover, NULL,
				 successor.error, sizeof(successor.error)),
		  -ENOENT);
}

/* ---- the path ---- */

static bool path_bind(const struct fixture *fixture)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	address_set(&address, fixture->path);
	ok = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return ok;
}

static const char *swap_for; /* a link to it takes the next bound socket's place */

int __real_bind(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length);

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	const char *path = ((const struct sockaddr_un *)(const void *)address)->sun_path;
	int rc = __real_bind(fd, address, length);

	if (swap_for) {
		CHECK_INT(unlink(path), 0);
		CHECK_INT(symlink(swap_for, path), 0);
	}
	swap_for = NULL;
	return rc;
}

TEST_CASE(ctlsock_path, a_link_in_the_sockets_place_is_not_followed)
{
	struct ctlsock *ctlsock = NULL;
	struct fixture fixture;
	struct stat status;
	char victim[128];
	pid_t pid;
	int fd;

	REQUIRE(fixture_prepare(&fixture));
	snprintf(victim, sizeof(victim), "%s.victim", fixture.path);
	fd = open(victim, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	REQUIRE(fd >= 0);
	swap_for = victim;
	CHECK_INT(server_new(&fixture, 0, &pid, &ctlsock), -EOPNOTSUPP);
	CHECK_INT(fstat(fd, &status), 0);
	CHECK_INT(status.st_mode & 07777, 0600);
	close(fd);
	CHECK_INT(unlink(victim), 0);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock_path, a_dead_daemons_socket_is_replaced)
{
	struct fixture fixture;
	pid_t pid = -1;
	int fd;

	REQUIRE(fixture_prepare(&fixture) && path_bind(&fixture));
	CHECK_INT(server_new(&fixture, 0, &pid, &fixture.ctlsock), 0);
	CHECK_INT(pid, 0);
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_status, sizeof(ask_status)));
	CHECK(GETS(&fixture, fd, STATUS));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock_path, a_live_daemons_socket_is_refused_with_its_pid)
{
	struct ctlsock *second = NULL;
	struct fixture fixture;
	pid_t pid = -1;
	int fd;

	REQUIRE(fixture_start(&fixture, 0));
	CHECK_INT(server_new(&fixture, 0, &pid, &second), -EADDRINUSE);
	CHECK_INT(pid, getpid());
	CHECK(second == NULL);
	fd = client_new(&fixture);
	CHECK(client_send(fd, ask_status, sizeof(ask_status)));
	CHECK(GETS(&fixture, fd, STATUS));
	close(fd);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock_path, a_file_that_is_no_socket_is_left_alone)
{
	struct ctlsock *ctlsock = NULL;
	struct fixture fixture;
	pid_t pid = -1;
	int fd;

	REQUIRE(fixture_prepare(&fixture));
	fd = open(fixture.path, O_CREAT | O_WRONLY, 0600);
	CHECK(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
	CHECK_INT(server_new(&fixture, 0, &pid, &ctlsock), -EEXIST);
	CHECK_INT(unlink(fixture.path), 0);
	CHECK_INT(symlink("/tmp/nowhere", fixture.path), 0);
	CHECK_INT(server_new(&fixture, 0, &pid, &ctlsock), -EEXIST);
	CHECK_INT(unlink(fixture.path), 0);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock_path, bad_paths_are_refused)
{
	struct ctlsock_options options = {.handler = &handler};
	struct ctlsock *ctlsock = NULL;
	struct fixture fixture;
	char path[200];
	pid_t pid;

	REQUIRE(fixture_prepare(&fixture));
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	options.path = path;
	CHECK_INT(ctlsock_new(fixture.base, &options, &pid, &ctlsock), -ENAMETOOLONG);
	options.path = "";
	CHECK_INT(ctlsock_new(fixture.base, &options, &pid, &ctlsock), -EINVAL);
	options.path = "/nonexistent/n1.sock";
	CHECK_INT(ctlsock_new(fixture.base, &options, &pid, &ctlsock), -ENOENT);
	ctlsock_free(NULL);
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock_path, the_mode_does_not_depend_on_the_umask)
{
	static const mode_t masks[] = {0, 077, 0777};
	struct fixture fixture;
	struct stat status;
	pid_t pid;

	REQUIRE(fixture_prepare(&fixture));
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		mode_t saved = umask(masks[i]);

		CHECK_INT(server_new(&fixture, 0, &pid, &fixture.ctlsock), 0);
		umask(saved);
		CHECK_INT(stat(fixture.path, &status), 0);
		CHECK_INT(status.st_mode & 07777, 0660);
		ctlsock_free(fixture.ctlsock);
		fixture.ctlsock = NULL;
	}
	fixture_stop(&fixture);
}

TEST_CASE(ctlsock_path, somebody_elses_socket_is_not_unlinked)
{
	struct fixture fixture;

	REQUIRE(fixture_start(&fixture, 0));
	CHECK_INT(unlink(fixture.path), 0);
	CHECK(path_bind(&fixture));
	ctlsock_free(fixture.ctlsock);
	fixture.ctlsock = NULL;
	CHECK_INT(unlink(fixture.path), 0);
	fixture_stop(&fixture);
}
