/*
 * What a certificate says, what is wrong with one, and whether a node can show it: the
 * same answer for the node that has it, for a peer, and for `shmnetctl check`.
 *
 * Reads no file but what it is given open, keeps nothing, never logs. OpenSSL's queue of
 * errors is the caller's to clear.
 */
#ifndef CONTROL_TLS_CERT_H
#define CONTROL_TLS_CERT_H

#include "base/name.h"

#include <openssl/x509v3.h>
#include <stddef.h>

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

/* Adds those of a file in PEM to `certs`, of which there are 16 at most. */
void tls_cert_read(BIO *bio, STACK_OF(X509) * certs);

/* Of the CAs that a config names. -ENOMEM. */
int tls_cert_store_new(const STACK_OF(X509) * ca, X509_STORE **ret_store);

/*
 * Whether the first of `chain` is one that peers take of a node, with the others of it
 * between that and a CA: signed, dated, made for TLS on both sides. -EINVAL: *ret_why has
 * the words; -ENOMEM: it has none.
 */
int tls_cert_check(X509_STORE *store, STACK_OF(X509) * chain, char *ret_why, size_t size);

#endif
