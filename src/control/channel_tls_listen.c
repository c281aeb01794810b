/*
 * See channel_tls.h: what the channels of a fabric have in common, and the socket that
 * others dial. What is accepted there is channel_tls.c's.
 */
#include "control/channel_tls_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG		  128
#define ACCEPT_RETRY_MSEC 100

/* ---- words ---- */

void channel_tls_format_address(const struct sockaddr *address, socklen_t length,
				char text[CHANNEL_TLS_ADDRESS_MAX])
{
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1], port[8];

	if (getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		strcpy(text, "an unknown address");
	else
		snprintf(text, CHANNEL_TLS_ADDRESS_MAX,
			 strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

void channel_tls_warn(struct channel_tls *self, struct log_limit *limit,
		      const char *format, ...)
{
	char text[CHANNEL_TLS_WHY_MAX + 32], held[48] = "";
	unsigned held_back;
	va_list args;

	if (!log_limit_pass(limit, clock_now_ns(), &held_back))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (held_back)
		snprintf(held, sizeof(held), " (and %u more such lines)", held_back);
	log_warn(self->options.name, "%s%s", text, held);
}

/* ---- accepting ---- */

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd,
		      struct sockaddr *address, int length, void *arg)
{
	(void)listener;
	channel_tls_take(arg, fd, address, (socklen_t)length);
}

/* Out of descriptors, or of memory: not at once again, as nothing changes by that. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	static const struct timeval delay = {.tv_usec = ACCEPT_RETRY_MSEC * 1000};
	struct channel_tls *self = arg;

	channel_tls_warn(self, &self->accept_limit, "can't accept a connection: %s",
			 strerror(EVUTIL_SOCKET_ERROR()));
	evconnlistener_disable(listener);
	event_add(self->retry, &delay);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	evconnlistener_enable(((struct channel_tls *)arg)->listener);
}

static int bind_socket(const struct sockaddr *address, socklen_t length, int *ret_fd)
{
	int fd =
		socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1, ret;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, address, length) == 0 && listen(fd, BACKLOG) == 0) {
		*ret_fd = fd;
		return 0;
	}
	ret = -errno;
	close(fd);
	return ret;
}

static const char *remedy_of(int error)
{
	switch (error) {
	case -EADDRNOTAVAIL:
		return ": no interface of this host has it; set it up, or change "
		       "'listen'";
	case -EADDRINUSE:
		return ": another process listens there (ss -ltnp names it); end it, or "
		       "change the port in 'listen'";
	case -EACCES:
		return ": ports below 1024 need CAP_NET_BIND_SERVICE; change the port in "
		       "'listen'";
	default:
		return "";
	}
}

int channel_tls_listen(struct channel_tls *self, const struct sockaddr *address,
		       socklen_t length, char *ret_error, size_t error_size)
{
	char text[CHANNEL_TLS_ADDRESS_MAX];
	int fd = -1, ret = bind_socket(address, length, &fd);

	channel_tls_format_address(address, length, text);
	if (ret < 0) {
		snprintf(ret_error, error_size, "can't listen on %s: %s%s", text,
			 strerror(-ret), remedy_of(ret));
		return ret;
	}
	self->listener =
		evconnlistener_new(self->base, on_accept, self,
				   LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!self->listener) {
		close(fd);
		snprintf(ret_error, error_size, "can't listen on %s: out of memory",
			 text);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(self->listener, on_accept_error);
	return 0;
}

/* ---- life ---- */

/* OpenSSL writes with send(2) and without MSG_NOSIGNAL. */
static void ignore_sigpipe(void)
{
	struct sigaction action;

	if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

int channel_tls_new(struct event_base *base, const struct channel_tls_options *options,
		    struct channel_tls **ret_self)
{
	struct channel_tls *self = calloc(1, sizeof(*self));

	if (!self)
		return -ENOMEM;
	ignore_sigpipe();
	self->base = base;
	self->options = *options;
	self->retry = evtimer_new(base, on_retry, self);
	if (!self->retry) {
		free(self);
		return -ENOMEM;
	}
	*ret_self = self;
	return 0;
}

void channel_tls_free(struct channel_tls *self)
{
	if (!self)
		return;
	channel_tls_drop_all(self);
	if (self->listener)
		evconnlistener_free(self->listener);
	event_free(self->retry);
	free(self);
}
