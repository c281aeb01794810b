/* What tls.c, tls_cert.c and tls_stream.c share: the only ones that see OpenSSL. */
#ifndef CONTROL_TLS_INTERNAL_H
#define CONTROL_TLS_INTERNAL_H

#include "base/name.h"
#include "control/tls.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

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

/* ---- tls_cert.c: whose a certificate is, and what is wrong with one ---- */

struct tls_cert_owner {
	char cluster[NAME_SIZE];
	char node[NAME_SIZE];
};

/* -ENOENT: none is named; -EINVAL: several, or what no config would take. */
int tls_cert_owner(const X509 *cert, struct tls_cert_owner *ret_owner);

/* "the certificate of node 'n2' in cluster 'lab'", whether that is true or not. */
void tls_cert_describe(const X509 *cert, char *text, size_t size);

/* Why the verification failed. */
void tls_cert_explain(X509_STORE_CTX *verification, char *text, size_t size);

/* As SSL_CTX_set_verify() wants it: what OpenSSL checked, and then the cluster. */
int tls_cert_verify(int is_good, X509_STORE_CTX *verification);

#endif
