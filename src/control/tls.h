/*
 * What a node needs to prove who it is and to check who others are: the CA of its
 * cluster, its certificate, its key. TLS 1.3, certificates on both sides, no sessions.
 *
 * A certificate names its node by the URI shmnet://CLUSTER/NODE (base/name.h); it has to
 * be of our cluster, and what it says is the name that credentials have. There is no
 * revocation: who must not come in any more needs a new CA for all others.
 *
 * Reads the three files once, in tls_context_new(); afterwards nothing is touched and
 * nothing blocks. Control thread.
 */
#ifndef CONTROL_TLS_H
#define CONTROL_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_KEY_BYTES 32 /* of a connection's secret, and of what tls_hmac() makes */
#define TLS_WORDS_MAX 512

struct tls_context;

struct tls_options {
	const char *ca; /* files, all in PEM */
	const char *certificate;
	const char *key;
	const char *cluster;
	const char *node;
};

/*
 * On failure *ret_error has words that name the file, what is wrong with it and what to
 * do: missing, not PEM, key readable by others, of another certificate, of another node
 * or cluster, expired, not signed by the CA. The options are not kept.
 */
int tls_context_new(const struct tls_options *options, struct tls_context **ret_context,
		    char *ret_error, size_t error_size);

/* After all streams that were made with it. Accepts NULL. */
void tls_context_free(struct tls_context *context);

/* HMAC-SHA256. -ENOMEM: nothing may be accepted then. */
int tls_hmac(const uint8_t key[TLS_KEY_BYTES], const void *data, size_t length,
	     uint8_t ret[TLS_KEY_BYTES]) __attribute__((warn_unused_result));

/* Takes as long whether they are equal or not. */
bool tls_hmac_is_equal(const uint8_t a[TLS_KEY_BYTES], const uint8_t b[TLS_KEY_BYTES]);

#endif
