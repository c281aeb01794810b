/*
 * See channel_tls.h: a single channel. TLS itself is tls_stream.c's, listening is
 * channel_tls_listen.c's.
 *
 * Theory of operation. A channel goes through its states in their order and may leave
 * out some:
 *
 *     state        ends after   leaves it when
 *     CONNECTING   5 s          connect() is done
 *     GREETING     5 s          the TLS handshake is done
 *     OPEN         -            the other side closed, or something failed
 *     ENDED        -            its owner closed it
 *     LINGERING    1 s          the other side closed, too
 *
 * Up to GREETING one that was accepted belongs to nobody and ends in a line of the log;
 * from OPEN on it is the owner's. `closed` is called from the event loop in ENDED.
 *
 * Reading stops as long as there is no handler; what was taken out of TLS meanwhile
 * waits in `in`. The socket's event can't know of that, so whoever goes on makes it
 * active. A write that fails ends nothing: what the peer said before it closed is still
 * there to be read, and the end comes behind it, with the error of the write if reading
 * has none.
 *
 * Closing. What was said last, a refusal above all, must arrive; a socket that is closed
 * with something unread resets the connection, and takes with it what is on its way. So
 * the channel says its goodbye, half-closes, and throws away what comes until the other
 * side closes, too.
 */
#include "control/channel_tls_internal.h"

#include "control/tls_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER		  4
#define CHUNK		  16384 /* bytes read or written in one go: a TLS record */
#define CHUNKS_MAX	  16	/* in one turn, then others have theirs */
#define USER_TIMEOUT_MSEC 10000
#define KEEPALIVE_SEC	  5

enum tls_state {
	TLS_STATE_CONNECTING,
	TLS_STATE_GREETING,
	TLS_STATE_OPEN,
	TLS_STATE_ENDED,
	TLS_STATE_LINGERING,
};

struct tls_channel {
	struct world_channel channel; /* first */
	struct channel_tls *common;
	struct tls_channel *next;
	struct tls_channel **at; /* what points to this one */
	enum tls_state state;
	bool is_accepted; /* not dialled */
	bool is_half_closed;
	int fd;
	int send_error; /* of the first write that failed */
	int end_error;	/* for `closed` */
	struct tls_stream *stream;
	struct event *readable;
	struct event *writable; /* added when there is something to wait for */
	struct event *deadline;
	struct evbuffer *in;
	struct evbuffer *out;
	char address[CHANNEL_TLS_ADDRESS_MAX];
	char why[CHANNEL_TLS_WHY_MAX];
};

static struct tls_channel *tls_channel_of(const struct world_channel *channel)
{
	return (struct tls_channel *)(uintptr_t)channel; /* its first member */
}

/* ---- life ---- */

static void destroy(struct tls_channel *self)
{
	*self->at = self->next;
	if (self->next)
		self->next->at = self->at;
	if (self->readable)
		event_free(self->readable);
	if (self->writable)
		event_free(self->writable);
	if (self->deadline)
		event_free(self->deadline);
	if (self->in)
		evbuffer_free(self->in);
	if (self->out)
		evbuffer_free(self->out);
	tls_stream_free(self->stream);
	close(self->fd);
	free(self);
}

static void set_deadline(struct tls_channel *self, long seconds)
{
	const struct timeval delay = {.tv_sec = seconds};

	event_add(self->deadline, &delay);
}

/* ---- the end ---- */

static void explain(struct tls_channel *self, int error)
{
	const char *words = self->stream ? tls_stream_why(self->stream) : "";

	if (self->state == TLS_STATE_CONNECTING)
		snprintf(self->why, sizeof(self->why), "can't connect to %s: %s",
			 self->address, strerror(-error));
	else if (error == -EPROTO && *words)
		snprintf(self->why, sizeof(self->why), "%s: %s", self->address, words);
	else if (error && !*self->why)
		snprintf(self->why, sizeof(self->why), "%s: %s", self->address,
			 strerror(-error));
}

/* False: it is gone. */
static bool deliver_end(struct tls_channel *self)
{
	return channel_deliver_end(&self->channel, self->end_error);
}

/* May free it: who calls this returns at once. */
static void end(struct tls_channel *self, int error)
{
	bool is_stranger = self->is_accepted && self->state < TLS_STATE_OPEN;

	explain(self, error);
	if (is_stranger) {
		channel_tls_warn(self->common, &self->common->greeting_limit, "%s",
				 self->why);
		destroy(self);
		return;
	}
	event_del(self->readable);
	event_del(self->writable);
	event_del(self->deadline);
	self->state = TLS_STATE_ENDED;
	self->end_error = error;
	if (self->channel.handler)
		deliver_end(self);
}

static void __attribute__((format(printf, 3, 4)))
end_with(struct tls_channel *self, int error, const char *format, ...)
{
	size_t used =
		(size_t)snprintf(self->why, sizeof(self->why), "%s: ", self->address);
	va_list args;

	va_start(args, format);
	vsnprintf(self->why + used, sizeof(self->why) - used, format, args);
	va_end(args);
	end(self, error);
}

/* One more is about to be in this state, of those that nobody owns. */
static void make_room(struct channel_tls *common, enum tls_state state, unsigned limit)
{
	struct tls_channel *oldest = NULL;
	unsigned count = 0;

	for (struct tls_channel *at = common->channels; at; at = at->next) {
		if (at->state != state ||
		    (state == TLS_STATE_GREETING && !at->is_accepted))
			continue;
		oldest = at;
		count++;
	}
	if (count < limit)
		return;
	if (state == TLS_STATE_LINGERING)
		destroy(oldest);
	else
		end_with(oldest, -EBUSY, "the oldest of %u unfinished TLS handshakes",
			 count);
}

/* ---- sending ---- */

static void await(struct tls_channel *self)
{
	if (tls_stream_wants_write(self->stream))
		event_add(self->writable, NULL);
}

/* -EAGAIN: there is more to be written, later. */
static int flush(struct tls_channel *self)
{
	size_t length;

	while ((length = evbuffer_get_length(self->out)) > 0) {
		size_t size = length < CHUNK ? length : CHUNK;
		const uint8_t *bytes = evbuffer_pullup(self->out, (ev_ssize_t)size);
		ssize_t n = bytes ? tls_stream_write(self->stream, bytes, size) : -ENOMEM;

		if (n == -EAGAIN)
			await(self);
		if (n < 0)
			return (int)n;
		evbuffer_drain(self->out, (size_t)n);
	}
	return 0;
}

/* Reading finds out what it means, behind all that was said before. */
static int flush_or_note(struct tls_channel *self)
{
	int ret;

	if (self->send_error)
		return -EPIPE;
	ret = flush(self);
	if (ret == 0 || ret == -EAGAIN)
		return 0;
	self->send_error = ret;
	event_active(self->readable, EV_READ, 0);
	return -EPIPE;
}

static int tls_send(struct world_channel *channel, const uint8_t *bytes, size_t length,
		    int fd)
{
	struct tls_channel *self = tls_channel_of(channel);
	uint32_t header = htonl((uint32_t)length);

	(void)fd;
	if (self->state == TLS_STATE_ENDED || self->send_error)
		return -EPIPE;
	if (length == 0 || length > WORLD_MESSAGE_MAX)
		return -EMSGSIZE;
	if (evbuffer_get_length(self->out) + HEADER + length > CHANNEL_TLS_QUEUE_MAX)
		return -EAGAIN;
	if (evbuffer_expand(self->out, HEADER + length) < 0)
		return -ENOMEM;
	evbuffer_add(self->out, &header, HEADER);
	evbuffer_add(self->out, bytes, length);
	return self->state == TLS_STATE_OPEN ? flush_or_note(self) : 0;
}

/* ---- receiving ---- */

/* Bytes of the message at the beginning, 0 if it isn't there in full, or -errno. */
static ssize_t next_length(struct evbuffer *in)
{
	uint32_t header;

	if (evbuffer_copyout(in, &header, HEADER) < HEADER)
		return 0;
	header = ntohl(header);
	if (header == 0)
		return -EBADMSG;
	if (header > WORLD_MESSAGE_MAX)
		return -EMSGSIZE;
	return evbuffer_get_length(in) < HEADER + header ? 0 : (ssize_t)header;
}

static void end_broken(struct tls_channel *self, int error)
{
	if (error == -EMSGSIZE)
		end_with(self, error, "it announced a message of more than %d bytes",
			 WORLD_MESSAGE_MAX);
	else
		end_with(self, error, "it sent an empty message");
}

/* False: no more now; it may be gone. */
static bool deliver(struct tls_channel *self)
{
	struct world_parcel parcel = {.fd = -1};
	const uint8_t *bytes;
	ssize_t length = 0;

	while (self->channel.handler && (length = next_length(self->in)) > 0) {
		bytes = evbuffer_pullup(self->in, HEADER + length);
		if (!bytes) {
			end(self, -ENOMEM);
			return false;
		}
		if (!channel_deliver(&self->channel, bytes + HEADER, (size_t)length,
				     &parcel))
			return false;
		evbuffer_drain(self->in, (size_t)(HEADER + length));
	}
	if (!self->channel.handler) {
		event_del(self->readable);
		return false;
	}
	if (length < 0)
		end_broken(self, (int)length);
	return length == 0;
}

static void receive_failed(struct tls_channel *self, ssize_t n)
{
	if (n == -EAGAIN && !self->send_error)
		await(self);
	else if (n == -EAGAIN || (n == 0 && self->send_error))
		end(self, self->send_error == -EPIPE ? 0 : self->send_error);
	else if (n == 0 && evbuffer_get_length(self->in))
		end_with(self, -ECONNRESET, "it closed in the middle of a message");
	else
		end(self, (int)n);
}

static void receive(struct tls_channel *self)
{
	static uint8_t bytes[CHUNK];

	for (int i = 0; i < CHUNKS_MAX; i++) {
		ssize_t n;

		if (!deliver(self))
			return;
		n = tls_stream_read(self->stream, bytes, sizeof(bytes));
		if (n > 0 && evbuffer_add(self->in, bytes, (size_t)n) < 0)
			n = -ENOMEM;
		if (n <= 0) {
			receive_failed(self, n);
			return;
		}
	}
	event_active(self->readable, EV_READ, 0);
}

/* ---- getting there ---- */

/* What comes right behind the handshake may be in TLS already. */
static void open_channel(struct tls_channel *self)
{
	struct channel_tls_options *options = &self->common->options;

	event_del(self->deadline);
	self->state = TLS_STATE_OPEN;
	self->in = evbuffer_new();
	if (!self->out)
		self->out = evbuffer_new();
	if (!self->in || !self->out) {
		destroy(self);
		return;
	}
	event_active(self->readable, EV_READ, 0);
	options->accepted(options->arg, &self->channel); /* may free it */
}

static void open_dialled(struct tls_channel *self)
{
	event_del(self->deadline);
	self->state = TLS_STATE_OPEN;
	event_active(self->readable, EV_READ, 0);
	flush_or_note(self);
}

static void greet(struct tls_channel *self)
{
	int ret = tls_stream_handshake(self->stream);

	if (ret == -EAGAIN)
		await(self);
	else if (ret < 0)
		end(self, ret);
	else if (self->is_accepted)
		open_channel(self);
	else
		open_dialled(self);
}

static void finish_connect(struct tls_channel *self)
{
	socklen_t length = sizeof(int);
	int error = 0;

	if (getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (error) {
		end(self, -error);
		return;
	}
	self->state = TLS_STATE_GREETING;
	event_add(self->readable, NULL);
	greet(self);
}

/* ---- going ---- */

static bool throw_away(struct tls_channel *self)
{
	static uint8_t bytes[CHUNK];
	ssize_t n = 1;

	for (int i = 0; n > 0 && i < CHUNKS_MAX; i++)
		n = recv(self->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* False: nothing is left to wait for. */
static bool linger(struct tls_channel *self)
{
	int ret = flush(self);

	if (ret == 0 && !self->is_half_closed) {
		ret = tls_stream_shutdown(self->stream);
		self->is_half_closed = ret == 0;
		if (ret == -EAGAIN)
			await(self);
	}
	if (ret < 0 && ret != -EAGAIN)
		return false;
	return throw_away(self);
}

static void tls_close(struct world_channel *channel)
{
	struct tls_channel *self = tls_channel_of(channel);

	if (self->state != TLS_STATE_OPEN || self->send_error) {
		destroy(self);
		return;
	}
	make_room(self->common, TLS_STATE_LINGERING, CHANNEL_TLS_LINGERING_MAX);
	self->state = TLS_STATE_LINGERING;
	event_add(self->readable, NULL);
	set_deadline(self, CHANNEL_TLS_LINGER_SEC);
	if (!linger(self))
		destroy(self);
}

/* ---- events ---- */

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	struct tls_channel *self = arg;

	(void)fd;
	(void)what;
	switch (self->state) {
	case TLS_STATE_CONNECTING:
		finish_connect(self);
		break;
	case TLS_STATE_GREETING:
		greet(self);
		break;
	case TLS_STATE_OPEN:
		flush_or_note(self);
		receive(self);
		break;
	case TLS_STATE_ENDED: /* its handler came late */
		if (!self->channel.is_ended && self->channel.handler)
			deliver_end(self);
		break;
	case TLS_STATE_LINGERING:
		if (!linger(self))
			destroy(self);
		break;
	}
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct tls_channel *self = arg;

	(void)fd;
	(void)what;
	if (self->state == TLS_STATE_LINGERING)
		destroy(self);
	else if (self->state == TLS_STATE_CONNECTING)
		end(self, -ETIMEDOUT);
	else
		end_with(self, -ETIMEDOUT, "no TLS handshake within %d s",
			 CHANNEL_TLS_PATIENCE_SEC);
}

/* ---- what an owner asks ---- */

static void tls_listening(struct world_channel *channel)
{
	struct tls_channel *self = tls_channel_of(channel);

	if (self->state == TLS_STATE_OPEN)
		event_add(self->readable, NULL);
	if (self->state == TLS_STATE_OPEN || self->state == TLS_STATE_ENDED)
		event_active(self->readable, EV_READ, 0);
}

static void tls_credentials(const struct world_channel *channel,
			    struct world_credentials *ret)
{
	const struct tls_channel *self = tls_channel_of(channel);

	memset(ret, 0, sizeof(*ret));
	ret->is_remote = true;
	if (self->stream)
		snprintf(ret->name, sizeof(ret->name), "%s",
			 tls_stream_name(self->stream));
}

static bool tls_at_end(const struct world_channel *channel)
{
	const struct tls_channel *self = tls_channel_of(channel);
	struct pollfd poll_fd = {.fd = self->fd, .events = POLLRDHUP};

	if (self->state != TLS_STATE_OPEN)
		return self->state == TLS_STATE_ENDED;
	return self->send_error || (poll(&poll_fd, 1, 0) > 0 &&
				    poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static const char *tls_why(const struct world_channel *channel)
{
	return tls_channel_of(channel)->why;
}

static void tls_key(const struct world_channel *channel, uint8_t ret[CHANNEL_KEY_BYTES])
{
	const struct tls_channel *self = tls_channel_of(channel);

	if (self->stream)
		memcpy(ret, tls_stream_key(self->stream), CHANNEL_KEY_BYTES);
}

static const struct channel_ops tls_ops = {
	.is_remote = true,
	.listening = tls_listening,
	.credentials = tls_credentials,
	.send = tls_send,
	.at_end = tls_at_end,
	.close = tls_close,
	.why = tls_why,
	.key = tls_key,
};

const char *channel_tls_address(const struct world_channel *channel)
{
	return tls_channel_of(channel)->address;
}

/* ---- beginnings ---- */

/* So that a machine that is gone is noticed, and small messages don't wait. */
static void tune_socket(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MSEC},
		{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_SEC},
		{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_SEC},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
	};

	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			   sizeof(options[i].value));
}

static bool make_parts(struct tls_channel *self)
{
	struct event_base *base = self->common->base;

	self->readable = event_new(base, self->fd, EV_READ | EV_PERSIST, on_io, self);
	self->writable = event_new(base, self->fd, EV_WRITE, on_io, self);
	self->deadline = evtimer_new(base, on_deadline, self);
	return self->readable && self->writable && self->deadline &&
	       tls_stream_new(self->common->options.context, self->fd, self->is_accepted,
			      &self->stream) == 0;
}

/* Takes the fd, also on failure. */
static int new_channel(struct channel_tls *common, int fd, bool is_accepted,
		       struct tls_channel **ret_self)
{
	struct tls_channel *self = calloc(1, sizeof(*self));

	if (!self) {
		close(fd);
		return -ENOMEM;
	}
	self->channel.ops = &tls_ops;
	self->common = common;
	self->fd = fd;
	self->is_accepted = is_accepted;
	self->next = common->channels;
	self->at = &common->channels;
	if (self->next)
		self->next->at = &self->next;
	common->channels = self;
	if (!make_parts(self)) {
		destroy(self);
		return -ENOMEM;
	}
	tune_socket(fd);
	set_deadline(self, CHANNEL_TLS_PATIENCE_SEC);
	*ret_self = self;
	return 0;
}

void channel_tls_take(struct channel_tls *common, int fd, const struct sockaddr *address,
		      socklen_t length)
{
	struct tls_channel *self;

	make_room(common, TLS_STATE_GREETING, CHANNEL_TLS_HANDSHAKES_MAX);
	if (new_channel(common, fd, true, &self) < 0)
		return; /* the other side is told by the end of its connection */
	channel_tls_format_address(address, length, self->address);
	self->state = TLS_STATE_GREETING;
	event_add(self->readable, NULL);
	greet(self);
}

int channel_tls_dial(struct channel_tls *common, const struct sockaddr *address,
		     socklen_t length, struct world_channel **ret_channel)
{
	int fd =
		socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct tls_channel *self;
	int ret;

	if (fd < 0)
		return -errno;
	if (connect(fd, address, length) < 0 && errno != EINPROGRESS) {
		ret = -errno;
		close(fd);
		return ret;
	}
	ret = new_channel(common, fd, false, &self);
	if (ret < 0)
		return ret;
	self->in = evbuffer_new();
	self->out = evbuffer_new();
	if (!self->in || !self->out) {
		destroy(self);
		return -ENOMEM;
	}
	channel_tls_format_address(address, length, self->address);
	event_add(self->writable, NULL);
	*ret_channel = &self->channel;
	return 0;
}

void channel_tls_drop_all(struct channel_tls *common)
{
	struct tls_channel *next;

	for (struct tls_channel *at = common->channels; at; at = next) {
		next = at->next;
		destroy(at);
	}
}
