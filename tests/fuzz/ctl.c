/*
 * Fuzz target: what a client may write to the control socket.
 *
 * The first byte chooses: even, the rest is one request for the decoder; odd, it is
 * a stream that a real socket gets, in pieces whose sizes the byte gives. Beside
 * crashes and leaks it looks for results that the decoder doesn't promise, replies
 * that are not framed, and a node that is asked more often than there was room for
 * requests.
 */
#include "control/codec_ctl.h"
#include "control/ctlsock.h"
#include "control/flow_text.h"
#include "fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>

#define REQUEST_MIN 8 /* length, schema, empty body */
#define QUIET_TURNS 3 /* of the loop without a reply: there's none to come */

static char dir[] = "/tmp/ctl-fuzz.XXXXXX";
static char path[sizeof(dir) + 8];
static struct event_base *base;
static struct ctlsock *ctlsock;
static size_t asked;
static struct client *waiting; /* for the answer to its ping */

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "ctl fuzz: %s\n", what);
	abort();
}

static int fake_status(void *arg, struct report_status *report)
{
	(void)arg;
	REPORT_SET(report->node, "n1");
	asked++;
	return 0;
}

static int fake_topology(void *arg, struct report_topology *report)
{
	(void)arg;
	(void)report;
	asked++;
	return -EIO;
}

static int fake_stats(void *arg, struct report_stats *report)
{
	(void)arg;
	report->links = report_list_new(2, sizeof(*report->links));
	report->num_links = report->links ? 2 : 0;
	asked++;
	return 0;
}

static int fake_version(void *arg, struct report_version *report)
{
	(void)arg;
	(void)report;
	asked++;
	return 0;
}

static int fake_events(void *arg, struct report_events *report)
{
	(void)arg;
	report->events = report_list_new(2, sizeof(*report->events));
	report->num_events = report->events ? 2 : 0;
	asked++;
	return 0;
}

/* Answered at once, refused, or not before the next one: as the name says. */
static int fake_ping(void *arg, const struct ctl_ping_request *request,
		     struct client *client, struct report_refusal *ret_refusal)
{
	static const struct report_ping report = {.num_answers = 1};

	(void)arg;
	asked++;
	need(request->timeout_ms > 0 && request->timeout_ms <= CTL_PING_TIMEOUT_MS_MAX,
	     "a time-out out of its range");
	if (request->node[0] & 1) {
		REPORT_SET(ret_refusal->code, "self");
		return -ENOENT;
	}
	if (waiting)
		ctlsock_answer_ping(waiting, &report);
	waiting = NULL;
	if (request->node[0] & 2)
		waiting = client;
	else
		ctlsock_answer_ping(client, &report);
	return 0;
}

static int fake_flows(void *arg, const struct ctl_flows_request *request,
		      struct report_flows *report, struct report_refusal *ret_refusal)
{
	(void)arg;
	(void)ret_refusal;
	asked++;
	need(request->limit <= CTL_FLOWS_LIMIT_MAX, "a limit out of its range");
	report->flows = report_list_new(2, sizeof(*report->flows));
	report->num_flows = report->flows ? 2 : 0;
	return 0;
}

static int fake_listeners(void *arg, const struct ctl_listeners_request *request,
			  struct report_listeners *report,
			  struct report_refusal *ret_refusal)
{
	(void)arg;
	(void)report;
	asked++;
	if (!*request->network)
		return -EIO;
	REPORT_SET(ret_refusal->code, "unknown-name");
	return -ENOENT;
}

static int fake_drain(void *arg, const struct ctl_drain_request *request,
		      struct report_drain *report, struct report_refusal *ret_refusal)
{
	(void)arg;
	(void)ret_refusal;
	asked++;
	report->num_networks = request->undo ? CONFIG_NETWORKS_MAX : 0;
	return 0;
}

static int fake_reload(void *arg, struct report_reload *report)
{
	(void)arg;
	(void)report;
	asked++;
	return 0;
}

static int fake_pause(void *arg, const struct ctl_pause_request *request,
		      struct report_pause *report, struct report_refusal *ret_refusal)
{
	(void)arg;
	(void)ret_refusal;
	asked++;
	report->is_resume = request->is_resume;
	report->num_networks = *request->network ? 1 : CONFIG_NETWORKS_MAX;
	return 0;
}

/* What is written reads as a flow, or not. */
static int fake_explain(void *arg, const struct ctl_explain_request *request,
			struct client *client, struct report_refusal *ret_refusal)
{
	const struct flow_text text = {request->protocol, request->source,
				       request->destination, request->established};
	static const struct report_explain report = {.num_steps = REPORT_STEPS_MAX};
	struct flow_packet packet;
	struct flow_why why;

	(void)arg;
	asked++;
	if (flow_text_parse(&text, &packet, &why) < 0) {
		need(strnlen(why.text, sizeof(why.text)) < sizeof(why.text), "words");
		REPORT_SET(ret_refusal->code, "bad-flow");
		return -EINVAL;
	}
	ctlsock_answer_explain(client, &report);
	return 0;
}

/* Nothing is handed over here. */
static int fake_takeover(void *arg, const struct ctl_takeover_request *request,
			 struct client *client, struct report_refusal *ret_refusal)
{
	(void)arg;
	(void)request;
	(void)client;
	asked++;
	REPORT_SET(ret_refusal->code, "permission");
	return -EPERM;
}

static void fake_cancel(void *arg, struct client *client)
{
	(void)arg;
	need(client == waiting, "nobody waits");
	waiting = NULL;
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

static void stop(void)
{
	ctlsock_free(ctlsock);
	event_base_free(base);
	rmdir(dir);
}

/* The socket is made once; a client per input leaves nothing in it. */
static void start_once(void)
{
	struct ctlsock_options options = {.path = path, .handler = &handler};
	pid_t pid;

	if (base)
		return;
	need(mkdtemp(dir), "no directory");
	snprintf(path, sizeof(path), "%s/s", dir);
	base = event_base_new();
	need(base && ctlsock_new(base, &options, &pid, &ctlsock) == 0, "no socket");
	atexit(stop);
}

static int client_new(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	need(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0,
	     "no connection");
	return fd;
}

/* Replies are skipped by their lengths; true if the stream ends between two. */
struct framing {
	uint32_t left;	/* of the message */
	unsigned known; /* bytes of the length */
};

static bool replies_read(struct framing *framing, int fd)
{
	uint8_t bytes[4096];
	ssize_t size = recv(fd, bytes, sizeof(bytes), 0);

	for (ssize_t i = 0; i < size; i++) {
		if (framing->known == 4) {
			framing->left--;
		} else {
			framing->left |= (uint32_t)bytes[i] << 8 * framing->known;
			framing->known++;
		}
		need(framing->known < 4 || framing->left < 4096, "length of a reply");
		if (framing->known == 4 && framing->left == 0)
			framing->known = 0;
	}
	return size > 0;
}

static void replies_drain(struct framing *framing, int fd)
{
	for (unsigned quiet = 0; quiet < QUIET_TURNS; quiet++) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		if (replies_read(framing, fd))
			quiet = 0;
	}
}

static void fuzz_stream(const uint8_t *data, size_t size, size_t piece)
{
	struct framing framing = {0, 0};
	size_t sent = 0;
	int fd;

	start_once();
	fd = client_new();
	asked = 0;
	while (sent < size) {
		size_t want = size - sent < piece ? size - sent : piece;
		ssize_t n = send(fd, data + sent, want, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break; /* refused and closed */
		sent += n > 0 ? (size_t)n : 0;
		event_base_loop(base, EVLOOP_NONBLOCK);
		replies_read(&framing, fd);
	}
	shutdown(fd, SHUT_WR);
	replies_drain(&framing, fd);
	need(framing.known == 0, "a reply is cut off");
	need(asked <= sent / REQUEST_MIN, "more answers than requests");
	close(fd);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static void fuzz_decode(const uint8_t *data, size_t size)
{
	struct ctl_request request = {.verb = CTL_VERB_NUM_};
	int rc = codec_ctl_decode_request(data, size, &request);

	need(rc == 0 || rc == -EBADMSG || rc == -EPROTONOSUPPORT || rc == -ENOSYS ||
		     rc == -ERANGE,
	     "result");
	need((rc == 0) == (request.verb < CTL_VERB_NUM_),
	     "verb without success, or vice versa");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		fuzz_stream(data + 1, size - 1, (size_t)data[0] * 2);
	else
		fuzz_decode(data + 1, size - 1);
	return 0;
}
