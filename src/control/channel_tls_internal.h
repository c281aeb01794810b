/* What channel_tls.c and channel_tls_listen.c share. */
#ifndef CONTROL_CHANNEL_TLS_INTERNAL_H
#define CONTROL_CHANNEL_TLS_INTERNAL_H

#include "base/log.h"
#include "control/channel_tls.h"
#include "control/tls.h"

#define CHANNEL_TLS_WHY_MAX (CHANNEL_TLS_ADDRESS_MAX + TLS_WORDS_MAX)

struct evconnlistener;
struct event;
struct tls_channel;

struct channel_tls {
	struct event_base *base;
	struct channel_tls_options options;
	struct evconnlistener *listener; /* NULL until it listens */
	struct event *retry;		 /* after accept failed: accept again */
	struct tls_channel *channels;	 /* the youngest first */
	struct log_limit greeting_limit;
	struct log_limit accept_limit;
};

/* ---- channel_tls.c ---- */

/* Somebody who has connected. Takes the fd. */
void channel_tls_take(struct channel_tls *common, int fd, const struct sockaddr *address,
		      socklen_t length);

void channel_tls_drop_all(struct channel_tls *common);

/* ---- channel_tls_listen.c ---- */

/* Of what strangers can provoke. */
void channel_tls_warn(struct channel_tls *self, struct log_limit *limit,
		      const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
