/* See tls_stream.h. */
#include "control/tls_stream.h"

#include "control/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define KEY_LABEL    "EXPORTER-shmnet-qp"
#define SUBJECT_SIZE 160

/* ---- why it failed ---- */

/* The other side's words about our certificate, or about us. */
static void explain_alert(struct tls_stream *stream, int alert)
{
	const char *words = SSL_alert_desc_string_long(alert);

	switch (alert) {
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_UNKNOWN_CA:
	case SSL_AD_DECRYPT_ERROR:
		snprintf(stream->why, sizeof(stream->why),
			 "it refused the certificate of this node: %s; its log says more",
			 words);
		break;
	default:
		snprintf(stream->why, sizeof(stream->why),
			 "it ended TLS with the words '%s'; its log says more", words);
	}
}

static const char *words_of(int reason)
{
	switch (reason) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return "it shows no certificate";
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_NO_PROTOCOLS_AVAILABLE:
		return "it offers no TLS 1.3, and nothing below is taken";
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
	case SSL_R_BAD_RECORD_TYPE:
	case SSL_R_UNEXPECTED_MESSAGE:
	case SSL_R_RECORD_LENGTH_MISMATCH:
		return "what it sends is no TLS: is that a shmnet-node, and of the same "
		       "'security' in its config?";
	default:
		return NULL;
	}
}

/* OpenSSL queued an error; what tls_stream_verify() said of a certificate stays. */
static void explain(struct tls_stream *stream, unsigned long error)
{
	int reason = ERR_GET_REASON(error);
	const char *words = words_of(reason);

	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && *stream->why)
		return;
	if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
		explain_alert(stream, reason - SSL_AD_REASON_OFFSET);
		return;
	}
	if (!words)
		words = ERR_reason_error_string(error);
	snprintf(stream->why, sizeof(stream->why), "%s", words ? words : "TLS failed");
}

/* What a call that returned `result`, and left `error` in errno, means. */
static ssize_t take_result(struct tls_stream *stream, int result, int error)
{
	unsigned long queued = ERR_peek_error();
	ssize_t ret;

	switch (SSL_get_error(stream->ssl, result)) {
	case SSL_ERROR_NONE:
		ret = result;
		break;
	case SSL_ERROR_WANT_WRITE:
		stream->wants_write = true;
		ret = -EAGAIN;
		break;
	case SSL_ERROR_WANT_READ:
		ret = -EAGAIN;
		break;
	case SSL_ERROR_ZERO_RETURN:
		ret = 0;
		break;
	case SSL_ERROR_SYSCALL:
		ret = -error; /* 0: the end without a goodbye, as 1.1.1 says it */
		break;
	default:
		if (ERR_GET_REASON(queued) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
			ret = 0;
			break;
		}
		explain(stream, queued);
		ret = -EPROTO;
	}
	ERR_clear_error();
	return ret;
}

/* The queue is the thread's: what others left there must not be taken for ours. */
static void prepare(struct tls_stream *stream)
{
	ERR_clear_error();
	stream->wants_write = false;
	errno = 0;
}

/* ---- who the other one is ---- */

static int refuse_owner(struct tls_stream *stream, X509 *cert)
{
	struct tls_cert_owner owner;
	char subject[SUBJECT_SIZE];

	if (tls_cert_owner(cert, &owner) == 0) {
		if (strcmp(owner.cluster, stream->context->cluster) == 0) {
			memcpy(stream->name, owner.node, sizeof(stream->name));
			return 0;
		}
		snprintf(stream->why, sizeof(stream->why),
			 "the certificate is of node '%s' in cluster '%s', and here is "
			 "cluster '%s'",
			 owner.node, owner.cluster, stream->context->cluster);
		return -EPERM;
	}
	tls_cert_describe(cert, subject, sizeof(subject));
	snprintf(stream->why, sizeof(stream->why),
		 "%s names no node: it needs one alternative name URI:%sCLUSTER/NODE, as "
		 "shmnetctl keygen makes it",
		 subject, NAME_SCHEME);
	return -EPERM;
}

int tls_stream_verify(int is_good, X509_STORE_CTX *verification)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(verification,
					      SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_stream *stream = SSL_get_app_data(ssl);

	if (!is_good) {
		tls_cert_explain(verification, stream->why, sizeof(stream->why));
		return 0;
	}
	if (X509_STORE_CTX_get_error_depth(verification) > 0)
		return 1;
	if (refuse_owner(stream, X509_STORE_CTX_get_current_cert(verification)) == 0)
		return 1;
	X509_STORE_CTX_set_error(verification, X509_V_ERR_HOSTNAME_MISMATCH);
	return 0;
}

/* ---- without TLS ---- */

static ssize_t plain_result(struct tls_stream *stream, ssize_t n, bool is_writing)
{
	if (n >= 0)
		return n;
	if (errno != EAGAIN && errno != EINTR)
		return -errno;
	stream->wants_write = is_writing;
	return -EAGAIN;
}

/* ---- the stream ---- */

static int start_tls(struct tls_stream *stream, bool is_server)
{
	stream->ssl = SSL_new(stream->context->ssl);
	if (!stream->ssl || !SSL_set_fd(stream->ssl, stream->fd)) {
		ERR_clear_error();
		return -ENOMEM;
	}
	SSL_set_app_data(stream->ssl, stream);
	if (is_server)
		SSL_set_accept_state(stream->ssl);
	else
		SSL_set_connect_state(stream->ssl);
	return 0;
}

int tls_stream_new(struct tls_context *context, int fd, bool is_server,
		   struct tls_stream **ret_stream)
{
	struct tls_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return -ENOMEM;
	stream->fd = fd;
	stream->context = context;
	stream->is_done = !context;
	if (context && start_tls(stream, is_server) < 0) {
		tls_stream_free(stream);
		return -ENOMEM;
	}
	*ret_stream = stream;
	return 0;
}

void tls_stream_free(struct tls_stream *stream)
{
	if (!stream)
		return;
	SSL_free(stream->ssl);
	OPENSSL_cleanse(stream->key, sizeof(stream->key));
	free(stream);
}

static int finish_handshake(struct tls_stream *stream)
{
	prepare(stream);
	if (SSL_export_keying_material(stream->ssl, stream->key, sizeof(stream->key),
				       KEY_LABEL, strlen(KEY_LABEL), NULL, 0, 0) != 1) {
		explain(stream, ERR_peek_error());
		ERR_clear_error();
		return -EPROTO;
	}
	stream->is_done = true;
	return 0;
}

int tls_stream_handshake(struct tls_stream *stream)
{
	int result;
	ssize_t ret;

	if (stream->is_done)
		return 0;
	prepare(stream);
	result = SSL_do_handshake(stream->ssl);
	ret = take_result(stream, result, errno);
	if (ret < 0)
		return (int)ret;
	if (ret > 0)
		return finish_handshake(stream);
	snprintf(stream->why, sizeof(stream->why),
		 "it closed the connection before the TLS handshake was done");
	return -EPROTO;
}

ssize_t tls_stream_read(struct tls_stream *stream, uint8_t *bytes, size_t size)
{
	int result;

	prepare(stream);
	if (!stream->ssl)
		return plain_result(stream, recv(stream->fd, bytes, size, MSG_DONTWAIT),
				    false);
	result = SSL_read(stream->ssl, bytes, (int)size);
	return take_result(stream, result, errno);
}

ssize_t tls_stream_write(struct tls_stream *stream, const uint8_t *bytes, size_t length)
{
	ssize_t ret;
	int result;

	prepare(stream);
	if (!stream->ssl)
		return plain_result(
			stream,
			send(stream->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL),
			true);
	result = SSL_write(stream->ssl, bytes, (int)length);
	ret = take_result(stream, result, errno);
	return ret == 0 ? -EPIPE : ret;
}

int tls_stream_shutdown(struct tls_stream *stream)
{
	ssize_t ret;
	int result;

	prepare(stream);
	if (stream->ssl && stream->is_done) {
		result = SSL_shutdown(stream->ssl); /* 0: ours is sent, theirs to come */
		ret = result < 0 ? take_result(stream, result, errno) : 0;
		if (ret < 0)
			return (int)ret;
	}
	return shutdown(stream->fd, SHUT_WR) < 0 ? -errno : 0;
}

bool tls_stream_wants_write(const struct tls_stream *stream)
{
	return stream->wants_write;
}

const char *tls_stream_name(const struct tls_stream *stream)
{
	return stream->is_done ? stream->name : "";
}

const uint8_t *tls_stream_key(const struct tls_stream *stream)
{
	return stream->key;
}

const char *tls_stream_why(const struct tls_stream *stream)
{
	return stream->why;
}
