/*
 * Certificates of a cluster: made, read, and written to files.
 *
 * ECDSA on P-256. A CA's names its cluster, a node's also the node (base/name.h). The
 * only file of shmnetctl that sees OpenSSL.
 */
#ifndef CLI_CERT_H
#define CLI_CERT_H

#include "base/name.h"

#include <stddef.h>
#include <time.h>

#define CERT_ERROR_MAX 384

struct cert; /* a certificate and its key */

struct cert_spec {
	const char *cluster;
	const char *node; /* NULL: it is a CA */
	time_t from;
	time_t until;
};

struct cert_files {
	const char *certificate;
	const char *key;
};

/* Signed by `ca`, or by itself if that is NULL. -ENOMEM. */
int cert_new(const struct cert_spec *spec, const struct cert *ca, struct cert **ret_cert);
void cert_free(struct cert *cert); /* accepts NULL */

/* One of a CA; ret_error has words. */
int cert_read_ca(const struct cert_files *files, struct cert **ret_cert, char *ret_error,
		 size_t error_size);

/*
 * Both files or none, never over existing ones; only their owner can read the key.
 * ret_error has words.
 */
int cert_write(const struct cert *cert, const struct cert_files *files, char *ret_error,
	       size_t error_size);

/* -EINVAL: it names none. */
int cert_get_cluster(const struct cert *cert, char ret_cluster[NAME_SIZE]);

time_t cert_get_until(const struct cert *cert);

#endif
