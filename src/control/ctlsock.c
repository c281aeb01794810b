/* See ctlsock.h. The path is ctlsock_file.c's. */
#include "control/ctlsock.h"

#include "control/ctlsock_file.h"
#include "data/tap.h"

#include <shmnet/ctl.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#define FRAME_HEADER	  4
#define ACCEPT_RETRY_MSEC 100

/*
 * A slot of the client table; free when bev is NULL. It's freed in one place,
 * its deadline's callback: whoever wants it gone finishes it, which makes the
 * deadline due.
 */
struct client {
	struct ctlsock *ctlsock;
	struct bufferevent *bev;
	struct event *deadline;
	bool has_taps;	/* it was given the node's, to take over */
	bool waiting;	/* the handler has its request, and answers later */
	bool answering; /* a reply is on its way out */
	bool at_eof;	/* nothing more will be asked */
	bool refused;	/* nothing more will be answered */
	bool full;	/* not read from until something was answered */
};

struct ctlsock {
	struct event_base *base;
	struct ctlsock_file file;
	struct evconnlistener *listener;
	struct event *retry; /* after accept failed: accept again */
	const struct ctlsock_handler *handler;
	void *arg;
	struct timeval timeout;
	struct client clients[CTLSOCK_CLIENTS_MAX];
};

struct reply {
	uint8_t *data;
	size_t size;
};

static void client_free(struct client *client)
{
	if (client->waiting)
		client->ctlsock->handler->cancel(client->ctlsock->arg, client);
	if (client->deadline)
		event_free(client->deadline);
	if (client->bev)
		bufferevent_free(client->bev);
	memset(client, 0, sizeof(*client));
}

static void client_finish(struct client *client)
{
	bufferevent_disable(client->bev, EV_READ | EV_WRITE);
	event_active(client->deadline, EV_TIMEOUT, 0);
}

static void client_deadline(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	client_free(arg);
}

static void client_start_deadline(struct client *client)
{
	event_add(client->deadline, &client->ctlsock->timeout);
}

static int reply_error(struct reply *reply, const char *code, const char *message)
{
	return codec_ctl_encode_error(code, message, &reply->data, &reply->size);
}

static int status_reply(struct ctlsock *ctlsock, struct reply *reply)
{
	struct report_status report = {0};
	int rc = ctlsock->handler->status(ctlsock->arg, &report);

	if (!rc)
		rc = codec_ctl_encode_status(&report, &reply->data, &reply->size);
	report_status_free(&report);
	return rc;
}

static int topology_reply(struct ctlsock *ctlsock, struct reply *reply)
{
	struct report_topology report = {0};
	int rc = ctlsock->handler->topology(ctlsock->arg, &report);

	if (!rc)
		rc = codec_ctl_encode_topology(&report, &reply->data, &reply->size);
	report_topology_free(&report);
	return rc;
}

static int stats_reply(struct ctlsock *ctlsock, struct reply *reply)
{
	struct report_stats report = {0};
	int rc = ctlsock->handler->stats(ctlsock->arg, &report);

	if (!rc)
		rc = codec_ctl_encode_stats(&report, &reply->data, &reply->size);
	report_stats_free(&report);
	return rc;
}

static int version_reply(struct ctlsock *ctlsock, struct reply *reply)
{
	struct report_version report = {0};
	int rc = ctlsock->handler->version(ctlsock->arg, &report);

	if (rc)
		return rc;
	return codec_ctl_encode_version(&report, &reply->data, &reply->size);
}

static int events_reply(struct ctlsock *ctlsock, struct reply *reply)
{
	struct report_events report = {0};
	int rc = ctlsock->handler->events(ctlsock->arg, &report);

	if (!rc)
		rc = codec_ctl_encode_events(&report, &reply->data, &reply->size);
	report_events_free(&report);
	return rc;
}

/* What it was refused for is a reply, too. */
static int refusal_reply(int rc, const struct report_refusal *refusal,
			 struct reply *reply)
{
	return *refusal->code ? reply_error(reply, refusal->code, refusal->message) : rc;
}

static int flows_reply(struct ctlsock *ctlsock, const struct ctl_request *request,
		       struct reply *reply)
{
	struct report_refusal refusal = {0};
	struct report_flows report = {0};
	int rc =
		ctlsock->handler->flows(ctlsock->arg, &request->flows, &report, &refusal);

	if (rc)
		rc = refusal_reply(rc, &refusal, reply);
	else
		rc = codec_ctl_encode_flows(&report, &reply->data, &reply->size);
	report_flows_free(&report);
	return rc;
}

static int listeners_reply(struct ctlsock *ctlsock, const struct ctl_request *request,
			   struct reply *reply)
{
	struct report_refusal refusal = {0};
	struct report_listeners report = {0};
	int rc = ctlsock->handler->listeners(ctlsock->arg, &request->listeners, &report,
					     &refusal);

	if (rc)
		rc = refusal_reply(rc, &refusal, reply);
	else
		rc = codec_ctl_encode_listeners(&report, &reply->data, &reply->size);
	report_listeners_free(&report);
	return rc;
}

static int drain_reply(struct ctlsock *ctlsock, const struct ctl_request *request,
		       struct reply *reply)
{
	struct report_refusal refusal = {0};
	struct report_drain report = {0};
	int rc =
		ctlsock->handler->drain(ctlsock->arg, &request->drain, &report, &refusal);

	if (rc)
		return refusal_reply(rc, &refusal, reply);
	return codec_ctl_encode_drain(&report, &reply->data, &reply->size);
}

static int reload_reply(struct ctlsock *ctlsock, struct reply *reply)
{
	struct report_reload report = {0};
	int rc = ctlsock->handler->reload(ctlsock->arg, &report);

	if (!rc)
		rc = codec_ctl_encode_reload(&report, &reply->data, &reply->size);
	report_reload_free(&report);
	return rc;
}

static int pause_reply(struct ctlsock *ctlsock, const struct ctl_request *request,
		       struct reply *reply)
{
	struct report_refusal refusal = {0};
	struct report_pause report = {0};
	int rc =
		ctlsock->handler->pause(ctlsock->arg, &request->pause, &report, &refusal);

	if (rc)
		return refusal_reply(rc, &refusal, reply);
	return codec_ctl_encode_pause(&report, &reply->data, &reply->size);
}

static int ping_start(struct client *client, const struct ctl_request *request,
		      struct report_refusal *ret_refusal)
{
	struct ctlsock *ctlsock = client->ctlsock;

	return ctlsock->handler->ping(ctlsock->arg, &request->ping, client, ret_refusal);
}

static int explain_start(struct client *client, const struct ctl_request *request,
			 struct report_refusal *ret_refusal)
{
	struct ctlsock *ctlsock = client->ctlsock;

	return ctlsock->handler->explain(ctlsock->arg, &request->explain, client,
					 ret_refusal);
}

static int takeover_start(struct client *client, const struct ctl_request *request,
			  struct report_refusal *ret_refusal)
{
	struct ctlsock *ctlsock = client->ctlsock;

	return ctlsock->handler->takeover(ctlsock->arg, &request->takeover, client,
					  ret_refusal);
}

/* How each verb is answered: by one of the three. */
static const struct verb_row {
	int (*reply)(struct ctlsock *ctlsock, struct reply *reply);
	int (*ask)(struct ctlsock *ctlsock, const struct ctl_request *request,
		   struct reply *reply);
	/* Later. */
	int (*start)(struct client *client, const struct ctl_request *request,
		     struct report_refusal *ret_refusal);
} verbs[] = {
	[CTL_VERB_STATUS] = {.reply = status_reply},
	[CTL_VERB_TOPOLOGY] = {.reply = topology_reply},
	[CTL_VERB_STATS] = {.reply = stats_reply},
	[CTL_VERB_VERSION] = {.reply = version_reply},
	[CTL_VERB_EVENTS] = {.reply = events_reply},
	[CTL_VERB_PING] = {.start = ping_start},
	[CTL_VERB_FLOWS] = {.ask = flows_reply},
	[CTL_VERB_LISTENERS] = {.ask = listeners_reply},
	[CTL_VERB_EXPLAIN] = {.start = explain_start},
	[CTL_VERB_DRAIN] = {.ask = drain_reply},
	[CTL_VERB_RELOAD] = {.reply = reload_reply},
	[CTL_VERB_PAUSE] = {.ask = pause_reply},
	[CTL_VERB_RESUME] = {.ask = pause_reply},
	[CTL_VERB_TAKEOVER] = {.start = takeover_start},
};
_Static_assert(sizeof(verbs) / sizeof(verbs[0]) == CTL_VERB_NUM_, "a row per verb");

/* No reply if it comes later. */
static int later_reply(struct client *client, const struct verb_row *verb,
		       const struct ctl_request *request, struct reply *reply)
{
	struct report_refusal refusal = {0};
	int rc;

	event_del(client->deadline);
	client->waiting = true;
	rc = verb->start(client, request, &refusal);
	if (rc == 0)
		return 0;
	client->waiting = false;
	client_start_deadline(client);
	return refusal_reply(rc, &refusal, reply);
}

static int verb_reply(struct client *client, const struct ctl_request *request,
		      struct reply *reply)
{
	const struct verb_row *verb = &verbs[request->verb];

	if (verb->start)
		return later_reply(client, verb, request, reply);
	if (verb->ask)
		return verb->ask(client->ctlsock, request, reply);
	return verb->reply(client->ctlsock, reply);
}

static int request_error(int rc, struct reply *reply)
{
	char message[128];

	switch (rc) {
	case -EBADMSG:
		return reply_error(reply, "bad-request", "the request can't be decoded");
	case -ERANGE:
		snprintf(message, sizeof(message),
			 "a ping waits for 1 to %u ms, not longer or shorter",
			 CTL_PING_TIMEOUT_MS_MAX);
		return reply_error(reply, "bad-request", message);
	case -EPROTONOSUPPORT:
		snprintf(message, sizeof(message),
			 "this node speaks schema %d of the control protocol; use the "
			 "shmnetctl of version " SHMNET_VERSION,
			 SHMNET_CTL_SCHEMA);
		return reply_error(reply, "schema", message);
	case -ENOSYS:
		return reply_error(reply, "bad-request",
				   "version " SHMNET_VERSION
				   " of the node doesn't know this request");
	case -EMSGSIZE:
		snprintf(message, sizeof(message), "the reply is longer than %u bytes",
			 SHMNET_CTL_REPLY_MAX);
		return reply_error(reply, "internal", message);
	default:
		snprintf(message, sizeof(message), "the node can't answer: %s",
			 strerror(-rc));
		return reply_error(reply, "internal", message);
	}
}

/* The reply to a request, an Error if need be; none if the client is to wait. */
static int request_answer(struct client *client, const uint8_t *data, size_t size,
			  struct reply *reply)
{
	struct ctl_request request;
	int rc = codec_ctl_decode_request(data, size, &request);

	if (!rc)
		rc = verb_reply(client, &request, reply);
	if (!rc && reply->size > SHMNET_CTL_REPLY_MAX) {
		free(reply->data);
		reply->data = NULL;
		rc = -EMSGSIZE;
	}
	return rc ? request_error(rc, reply) : 0;
}

static void frame_put_size(uint8_t header[FRAME_HEADER], size_t size)
{
	for (unsigned i = 0; i < FRAME_HEADER; i++)
		header[i] = (uint8_t)(size >> 8 * i);
}

static size_t frame_get_size(const uint8_t header[FRAME_HEADER])
{
	return (size_t)header[0] | (size_t)header[1] << 8 | (size_t)header[2] << 16 |
	       (size_t)header[3] << 24;
}

/* Takes the reply's data. */
static int client_send(struct client *client, struct reply *reply)
{
	struct evbuffer *output = bufferevent_get_output(client->bev);
	uint8_t header[FRAME_HEADER];
	int rc = 0;

	frame_put_size(header, reply->size);
	if (evbuffer_add(output, header, sizeof(header)) < 0 ||
	    evbuffer_add(output, reply->data, reply->size) < 0)
		rc = -ENOMEM;
	free(reply->data);
	client->answering = true;
	return rc;
}

static void client_refuse(struct client *client, const char *code, const char *message)
{
	struct reply reply = {0};

	client->refused = true;
	bufferevent_disable(client->bev, EV_READ);
	if (reply_error(&reply, code, message) < 0 || client_send(client, &reply) < 0)
		client_finish(client);
}

/* Not by a watermark: libevent 2.1 crashes if there is no memory for that. */
static void client_limit(struct client *client)
{
	size_t length = evbuffer_get_length(bufferevent_get_input(client->bev));
	bool is_full = length >= FRAME_HEADER + SHMNET_CTL_REQUEST_MAX;

	if (is_full == client->full || client->refused)
		return;
	client->full = is_full;
	if (is_full)
		bufferevent_disable(client->bev, EV_READ);
	else
		bufferevent_enable(client->bev, EV_READ);
}

static void client_answer(struct client *client, struct evbuffer *input, size_t size)
{
	const uint8_t *frame = evbuffer_pullup(input, (ev_ssize_t)(FRAME_HEADER + size));
	struct reply reply = {0};

	if (!frame || request_answer(client, frame + FRAME_HEADER, size, &reply) < 0 ||
	    (reply.data && client_send(client, &reply) < 0)) {
		client_finish(client);
		return;
	}
	evbuffer_drain(input, FRAME_HEADER + size);
	client_limit(client);
}

/* Looks for a whole request in the input and answers it. */
static void client_advance(struct client *client)
{
	struct evbuffer *input = bufferevent_get_input(client->bev);
	uint8_t header[FRAME_HEADER];
	char message[96];
	size_t size;

	if (client->answering || client->waiting)
		return;
	if (evbuffer_copyout(input, header, sizeof(header)) == FRAME_HEADER) {
		size = frame_get_size(header);
		if (size > SHMNET_CTL_REQUEST_MAX) {
			snprintf(message, sizeof(message),
				 "a request of %zu bytes is longer than %u bytes", size,
				 SHMNET_CTL_REQUEST_MAX);
			client_refuse(client, "bad-request", message);
			return;
		}
		if (evbuffer_get_length(input) >= FRAME_HEADER + size) {
			client_answer(client, input, size);
			return;
		}
	}
	if (client->at_eof)
		client_finish(client);
}

static void client_readable(struct bufferevent *bev, void *arg)
{
	(void)bev;
	client_limit(arg);
	client_advance(arg);
}

/* The reply has left. */
static void client_drained(struct bufferevent *bev, void *arg)
{
	struct client *client = arg;

	(void)bev;
	if (!client->answering)
		return;
	client->answering = false;
	client_start_deadline(client);
	if (client->refused)
		client_finish(client);
	else
		client_advance(client);
}

/* It closed, and did not just say that it has no more to ask. */
static bool client_has_left(const struct client *client)
{
	struct pollfd fd = {.fd = bufferevent_getfd(client->bev)};

	return poll(&fd, 1, 0) == 1 && fd.revents & POLLHUP;
}

/* End of file: what was asked before it is still answered. */
static void client_event(struct bufferevent *bev, short events, void *arg)
{
	struct client *client = arg;

	(void)bev;
	if (!(events & BEV_EVENT_EOF) || (client->waiting && client_has_left(client))) {
		client_finish(client);
		return;
	}
	client->at_eof = true;
	client_advance(client);
}

/* `rc` is what became of the encoding. */
static void answer_later(struct client *client, int rc, struct reply *reply)
{
	client->waiting = false;
	client_start_deadline(client);
	if (rc < 0 || client_send(client, reply) < 0)
		client_finish(client);
}

void ctlsock_answer_ping(struct client *client, const struct report_ping *report)
{
	struct reply reply = {0};
	int rc = codec_ctl_encode_ping(report, &reply.data, &reply.size);

	answer_later(client, rc, &reply);
}

void ctlsock_answer_explain(struct client *client, const struct report_explain *report)
{
	struct reply reply = {0};
	int rc = codec_ctl_encode_explain(report, &reply.data, &reply.size);

	answer_later(client, rc, &reply);
}

/* ---- a takeover: no more than fits into the socket, and none of it waits ---- */

static bool send_now(int fd, const void *bytes, size_t size)
{
	return send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

static bool send_queues(int fd, const struct tap *tap)
{
	union {
		char bytes[CMSG_SPACE(TAP_QUEUES_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(char[]){0}, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen =
					 CMSG_SPACE(tap->num_queues * sizeof(int))};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(tap->num_queues * sizeof(int));
	memcpy(CMSG_DATA(header), tap->queues, tap->num_queues * sizeof(int));
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

static bool send_taps(int fd, const struct report_takeover *report,
		      const struct tap *const taps[])
{
	uint8_t header[FRAME_HEADER];
	struct reply reply = {0};
	bool sent;

	if (codec_ctl_encode_takeover(report, &reply.data, &reply.size) < 0)
		return false;
	frame_put_size(header, reply.size);
	sent = send_now(fd, header, sizeof(header)) &&
	       send_now(fd, reply.data, reply.size);
	free(reply.data);
	for (unsigned i = 0; i < report->num_taps && sent; i++)
		sent = send_queues(fd, taps[i]);
	return sent;
}

void ctlsock_hand_over(struct client *client, const struct report_takeover *report,
		       const struct tap *const taps[])
{
	client->waiting = false;
	client_start_deadline(client);
	client->has_taps = send_taps(bufferevent_getfd(client->bev), report, taps);
	if (!client->has_taps)
		client_finish(client);
}

bool ctlsock_has_taps(const struct client *client)
{
	return client->has_taps;
}

bool ctlsock_is_owner(const struct client *client)
{
	return ctlsock_file_owns(bufferevent_getfd(client->bev));
}

int ctlsock_keep_open(const struct client *client)
{
	int fd = fcntl(bufferevent_getfd(client->bev), F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* One is kept for the node's own user, who may have to do what nobody else may. */
static struct client *client_slot(struct ctlsock *ctlsock, bool is_owner)
{
	const unsigned num = is_owner ? CTLSOCK_CLIENTS_MAX : CTLSOCK_CLIENTS_MAX - 1;

	for (unsigned i = 0; i < num; i++) {
		if (!ctlsock->clients[i].bev)
			return &ctlsock->clients[i];
	}
	return NULL;
}

static int client_new(struct ctlsock *ctlsock, int fd, struct client *client)
{
	client->ctlsock = ctlsock;
	client->bev = bufferevent_socket_new(ctlsock->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!client->bev) {
		close(fd);
		return -ENOMEM;
	}
	client->deadline =
		event_new(ctlsock->base, -1, EV_TIMEOUT, client_deadline, client);
	if (!client->deadline) {
		client_free(client);
		return -ENOMEM;
	}
	bufferevent_setcb(client->bev, client_readable, client_drained, client_event,
			  client);
	client_start_deadline(client);
	return 0;
}

/* Too many clients: say so, if it can be said without waiting. */
static void refuse_busy(int fd)
{
	uint8_t header[FRAME_HEADER];
	struct reply reply = {0};

	if (reply_error(&reply, "busy", "too many clients; try again") == 0) {
		frame_put_size(header, reply.size);
		send(fd, header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL);
		send(fd, reply.data, reply.size, MSG_DONTWAIT | MSG_NOSIGNAL);
		free(reply.data);
	}
	close(fd);
}

static void ctlsock_accept(struct evconnlistener *listener, evutil_socket_t fd,
			   struct sockaddr *address, int size, void *arg)
{
	struct ctlsock *ctlsock = arg;
	struct client *client = client_slot(ctlsock, ctlsock_file_owns(fd));

	(void)listener;
	(void)address;
	(void)size;
	if (!client) {
		refuse_busy(fd);
		return;
	}
	if (client_new(ctlsock, fd, client) < 0)
		return;
	if (ctlsock_file_permits(&ctlsock->file, fd))
		bufferevent_enable(client->bev, EV_READ | EV_WRITE);
	else
		client_refuse(client, "permission",
			      "only root, the node's own user and members of the "
			      "socket's group may ask");
}

/* Out of fds, say: the connection stays in the backlog, so don't spin on it. */
static void ctlsock_accept_error(struct evconnlistener *listener, void *arg)
{
	struct timeval delay = {0, ACCEPT_RETRY_MSEC * 1000L};
	struct ctlsock *ctlsock = arg;

	evconnlistener_disable(listener);
	event_add(ctlsock->retry, &delay);
}

static void ctlsock_retry(evutil_socket_t fd, short events, void *arg)
{
	struct ctlsock *ctlsock = arg;

	(void)fd;
	(void)events;
	evconnlistener_enable(ctlsock->listener);
}

static void ignore_sigpipe(void)
{
	struct sigaction action;

	if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

/* The fd stays the file's, which closes it. */
static int ctlsock_start(struct ctlsock *ctlsock)
{
	ctlsock->retry = event_new(ctlsock->base, -1, EV_TIMEOUT, ctlsock_retry, ctlsock);
	ctlsock->listener =
		evconnlistener_new(ctlsock->base, ctlsock_accept, ctlsock,
				   LEV_OPT_CLOSE_ON_EXEC, 0, ctlsock->file.fd);
	if (!ctlsock->retry || !ctlsock->listener)
		return -ENOMEM;
	evconnlistener_set_error_cb(ctlsock->listener, ctlsock_accept_error);
	return 0;
}

int ctlsock_new(struct event_base *base, const struct ctlsock_options *options,
		pid_t *ret_pid, struct ctlsock **ret_ctlsock)
{
	unsigned msec = options->timeout_ms ? options->timeout_ms : CTLSOCK_TIMEOUT_MS;
	struct ctlsock *ctlsock = calloc(1, sizeof(*ctlsock));
	int rc;

	*ret_pid = 0;
	if (!ctlsock)
		return -ENOMEM;
	ctlsock->base = base;
	ctlsock->handler = options->handler;
	ctlsock->arg = options->arg;
	ctlsock->timeout.tv_sec = msec / 1000;
	ctlsock->timeout.tv_usec = msec % 1000 * 1000L;
	ctlsock->file.fd = -1;
	rc = ctlsock_file_open(&ctlsock->file, options->path, ret_pid);
	if (!rc)
		rc = ctlsock_start(ctlsock);
	if (rc) {
		ctlsock_free(ctlsock);
		return rc;
	}
	ignore_sigpipe();
	*ret_ctlsock = ctlsock;
	return 0;
}

void ctlsock_free(struct ctlsock *ctlsock)
{
	if (!ctlsock)
		return;
	for (unsigned i = 0; i < CTLSOCK_CLIENTS_MAX; i++)
		client_free(&ctlsock->clients[i]);
	if (ctlsock->listener)
		evconnlistener_free(ctlsock->listener);
	if (ctlsock->retry)
		event_free(ctlsock->retry);
	ctlsock_file_close(&ctlsock->file);
	free(ctlsock);
}
