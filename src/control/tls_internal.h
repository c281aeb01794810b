/* What tls.c and tls_stream.c share, which see OpenSSL as tls_cert.c does. */
#ifndef CONTROL_TLS_INTERNAL_H
#define CONTROL_TLS_INTERNAL_H

#include "control/tls.h"
#include "control/tls_cert.h"

#include <openssl/ssl.h>

struct tls_context {
	SSL_CTX *ssl;
	char cluster[NAME_SIZE];
};

struct tls_stream {
	SSL *ssl; /* NULL: no TLS */
	int fd;
	const struct tls_context *context;
	bool is_done; /* the handshake */
	bool wants_write;
	char name[NAME_SIZE]; /* to be believed when it is */
	uint8_t key[TLS_KEY_BYTES];
	char why[TLS_WORDS_MAX];
};

/*
 * tls_stream.c. As SSL_CTX_set_verify() wants it: what OpenSSL checked, and then the
 * cluster.
 */
int tls_stream_verify(int is_good, X509_STORE_CTX *verification);

#endif
