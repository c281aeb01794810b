/*
 * Bytes over a connected, nonblocking socket: inside TLS, or as they are.
 *
 * Knows neither messages nor the event loop. What can't go on returns -EAGAIN, and then
 * tls_stream_wants_write() says what to wait for. The socket stays the caller's, who
 * ignores SIGPIPE. Control thread.
 */
#ifndef CONTROL_TLS_STREAM_H
#define CONTROL_TLS_STREAM_H

#include "control/tls.h"

#include <sys/types.h>

struct tls_stream;

/* `context` NULL: no TLS. It has to outlive the stream. */
int tls_stream_new(struct tls_context *context, int fd, bool is_server,
		   struct tls_stream **ret_stream);
void tls_stream_free(struct tls_stream *stream); /* accepts NULL */

/*
 * 0: done. -EPROTO: it failed, and the words say why; else as the socket says. Who
 * dialled is done before the other side has looked at its certificate: a refusal comes
 * with the first read.
 */
int tls_stream_handshake(struct tls_stream *stream);

/*
 * 0: the other side closed; -EPROTO: as above. A FIN without TLS's own goodbye is an end
 * like any other, as it is what the death of a process looks like.
 */
ssize_t tls_stream_read(struct tls_stream *stream, uint8_t *bytes, size_t size);

/* After -EAGAIN the same bytes have to come again, perhaps with more behind them. */
ssize_t tls_stream_write(struct tls_stream *stream, const uint8_t *bytes, size_t length);

/* Nothing will be written any more. */
int tls_stream_shutdown(struct tls_stream *stream);

bool tls_stream_wants_write(const struct tls_stream *stream);

/* Of the other side's certificate; "" if there is none or before the handshake. */
const char *tls_stream_name(const struct tls_stream *stream);

/* What only the two ends know; zeroes without TLS and before the handshake. */
const uint8_t *tls_stream_key(const struct tls_stream *stream);

/* Of the last -EPROTO, else "". */
const char *tls_stream_why(const struct tls_stream *stream);

#endif
