/* See tls.h. What a certificate is worth says tls_cert.c. */
#include "control/tls_internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (1 << 20)
#define CHAIN_MAX     (32 << 10)   /* bytes of certificates that a peer may show */
#define WARN_SEC      (30 * 86400) /* before a certificate's end */

/* What was read, until the context is made of it. */
struct material {
	const struct tls_options *options;
	STACK_OF(X509) * ca;
	STACK_OF(X509) * chain; /* our certificate first */
	EVP_PKEY *key;
	char *error;
	size_t error_size;
};

static int __attribute__((format(printf, 3, 4)))
refuse(const struct material *material, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(material->error, material->error_size, format, args);
	va_end(args);
	ERR_clear_error();
	return error;
}

static int refuse_memory(const struct material *material)
{
	return refuse(material, -ENOMEM, "out of memory");
}

/* ---- files ---- */

static int check_file(const struct material *material, const char *what, const char *path,
		      const struct stat *st, bool is_secret)
{
	if (!S_ISREG(st->st_mode))
		return refuse(material, -EINVAL, "%s %s is no file", what, path);
	if (st->st_size > FILE_SIZE_MAX)
		return refuse(material, -EFBIG, "%s %s is longer than a MiB", what, path);
	if (is_secret && st->st_mode & 077)
		return refuse(material, -EPERM,
			      "%s %s can be read by others than its owner (mode %04o): "
			      "chmod 600 %s",
			      what, path, (unsigned)st->st_mode & 07777, path);
	return 0;
}

/* Looks at what it opened, so that nobody can exchange it in between. */
static int open_file(const struct material *material, const char *what, const char *path,
		     bool is_secret, BIO **ret_bio)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	FILE *file;
	int ret;

	if (fd < 0)
		return refuse(material, -errno, "%s %s: %s%s", what, path,
			      strerror(errno),
			      errno == ENOENT ? "; shmnetctl keygen makes it" : "");
	ret = fstat(fd, &st) < 0
		      ? refuse(material, -errno, "%s %s: %s", what, path, strerror(errno))
		      : check_file(material, what, path, &st, is_secret);
	file = ret < 0 ? NULL : fdopen(fd, "r");
	if (!file) {
		close(fd);
		return ret < 0 ? ret : refuse_memory(material);
	}
	*ret_bio = BIO_new_fp(file, BIO_CLOSE);
	if (*ret_bio)
		return 0;
	fclose(file);
	return refuse_memory(material);
}

static int read_certs(const struct material *material, const char *what, const char *path,
		      STACK_OF(X509) * certs)
{
	BIO *bio = NULL;
	int ret = open_file(material, what, path, false, &bio);

	if (ret < 0)
		return ret;
	tls_cert_read(bio, certs);
	BIO_free(bio);
	if (sk_X509_num(certs) == 0)
		return refuse(material, -EINVAL,
			      "%s %s holds no certificate in PEM ('-----BEGIN "
			      "CERTIFICATE-----')",
			      what, path);
	ERR_clear_error(); /* of the end of the file */
	return 0;
}

/* Nobody is there to type one. */
static int on_passphrase(char *buffer, int size, int is_writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)is_writing;
	*(bool *)arg = true;
	return -1;
}

static int read_key(struct material *material)
{
	const char *path = material->options->key;
	bool is_encrypted = false;
	BIO *bio = NULL;
	int ret = open_file(material, "key", path, true, &bio);

	if (ret < 0)
		return ret;
	material->key = PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &is_encrypted);
	BIO_free(bio);
	if (material->key)
		return 0;
	if (is_encrypted)
		return refuse(material, -EINVAL,
			      "key %s is encrypted, and nobody is asked for a "
			      "passphrase: openssl pkey removes it",
			      path);
	return refuse(material, -EINVAL,
		      "key %s holds no private key in PEM ('-----BEGIN PRIVATE "
		      "KEY-----')",
		      path);
}

static int read_files(struct material *material)
{
	const struct tls_options *options = material->options;
	int ret;

	material->ca = sk_X509_new_null();
	material->chain = sk_X509_new_null();
	if (!material->ca || !material->chain)
		return refuse_memory(material);
	ret = read_certs(material, "CA", options->ca, material->ca);
	if (ret == 0)
		ret = read_certs(material, "certificate", options->certificate,
				 material->chain);
	return ret < 0 ? ret : read_key(material);
}

static void material_free(struct material *material)
{
	sk_X509_pop_free(material->ca, X509_free);
	sk_X509_pop_free(material->chain, X509_free);
	EVP_PKEY_free(material->key);
}

static X509 *own_cert(const struct material *material)
{
	return sk_X509_value(material->chain, 0);
}

/* ---- do they belong together? ---- */

static int check_ca(const struct material *material)
{
	for (int i = 0; i < sk_X509_num(material->ca); i++) {
		if (!X509_check_ca(sk_X509_value(material->ca, i)))
			return refuse(material, -EINVAL,
				      "CA %s is a certificate that may not sign others; "
				      "is it the one of a node?",
				      material->options->ca);
	}
	return 0;
}

static int check_key(const struct material *material)
{
	if (X509_check_private_key(own_cert(material), material->key))
		return 0;
	return refuse(material, -EINVAL,
		      "key %s is not the key of certificate %s; both have to come from "
		      "one run of shmnetctl keygen",
		      material->options->key, material->options->certificate);
}

static int check_owner(const struct material *material)
{
	const struct tls_options *options = material->options;
	struct tls_cert_owner owner;

	if (tls_cert_owner(own_cert(material), &owner) < 0)
		return refuse(material, -EINVAL,
			      "certificate %s names no node: it needs one alternative "
			      "name URI:%s%s/%s, as shmnetctl keygen makes it",
			      options->certificate, NAME_SCHEME, options->cluster,
			      options->node);
	if (strcmp(owner.cluster, options->cluster) == 0 &&
	    strcmp(owner.node, options->node) == 0)
		return 0;
	return refuse(material, -EINVAL,
		      "certificate %s is of node '%s' in cluster '%s', and the config "
		      "says node '%s' in cluster '%s'",
		      options->certificate, owner.node, owner.cluster, options->node,
		      options->cluster);
}

static int check_signer(const struct material *material, X509_STORE *store)
{
	char why[TLS_WORDS_MAX];
	int ret = tls_cert_check(store, material->chain, why, sizeof(why));

	if (ret == -ENOMEM)
		return refuse_memory(material);
	if (ret < 0)
		return refuse(material, ret, "certificate %s (CA %s): %s",
			      material->options->certificate, material->options->ca, why);
	return 0;
}

static void warn_of_end(const struct material *material)
{
	int days, seconds;

	if (!ASN1_TIME_diff(&days, &seconds, NULL,
			    X509_get0_notAfter(own_cert(material))))
		return;
	if (days >= 0 && days * 86400ll + seconds < WARN_SEC)
		log_warn("tls",
			 "certificate %s expires in %d days: make a new one with "
			 "shmnetctl keygen",
			 material->options->certificate, days);
}

/* ---- the context ---- */

/* No session is ever resumed: each connection proves anew who is there. */
static void restrict_context(SSL_CTX *ssl)
{
	SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION);
	SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ssl, 0);
	SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_max_cert_list(ssl, CHAIN_MAX);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
			   tls_stream_verify);
}

static int show_certs(const struct material *material, SSL_CTX *ssl)
{
	int ok = SSL_CTX_use_certificate(ssl, own_cert(material)) == 1 &&
		 SSL_CTX_use_PrivateKey(ssl, material->key) == 1;

	for (int i = 1; ok && i < sk_X509_num(material->chain); i++)
		ok = SSL_CTX_add1_chain_cert(ssl, sk_X509_value(material->chain, i)) == 1;
	if (ok)
		return 0;
	return refuse(material, -EINVAL, "certificate %s: %s",
		      material->options->certificate,
		      ERR_reason_error_string(ERR_peek_last_error()));
}

static int make_context(const struct material *material, struct tls_context *context)
{
	X509_STORE *store = NULL;
	int ret = tls_cert_store_new(material->ca, &store);

	if (ret < 0)
		return refuse_memory(material);
	ret = check_signer(material, store);
	context->ssl = ret < 0 ? NULL : SSL_CTX_new(TLS_method());
	if (!context->ssl) {
		X509_STORE_free(store);
		return ret < 0 ? ret : refuse_memory(material);
	}
	SSL_CTX_set_cert_store(context->ssl, store); /* takes it */
	restrict_context(context->ssl);
	snprintf(context->cluster, sizeof(context->cluster), "%s",
		 material->options->cluster);
	return show_certs(material, context->ssl);
}

int tls_context_new(const struct tls_options *options, struct tls_context **ret_context,
		    char *ret_error, size_t error_size)
{
	struct material material = {
		.options = options,
		.error = ret_error,
		.error_size = error_size,
	};
	struct tls_context *context = calloc(1, sizeof(*context));
	int ret;

	if (!context)
		return refuse_memory(&material);
	ret = read_files(&material);
	if (ret == 0)
		ret = check_ca(&material);
	if (ret == 0)
		ret = check_key(&material);
	if (ret == 0)
		ret = check_owner(&material);
	if (ret == 0)
		ret = make_context(&material, context);
	if (ret == 0) {
		warn_of_end(&material);
		*ret_context = context;
	} else {
		tls_context_free(context);
	}
	material_free(&material);
	return ret;
}

void tls_context_free(struct tls_context *context)
{
	if (!context)
		return;
	SSL_CTX_free(context->ssl);
	free(context);
}

/* ---- HMAC ---- */

int tls_hmac(const uint8_t key[TLS_KEY_BYTES], const void *data, size_t length,
	     uint8_t ret[TLS_KEY_BYTES])
{
	if (HMAC(EVP_sha256(), key, TLS_KEY_BYTES, data, length, ret, NULL))
		return 0;
	ERR_clear_error();
	return -ENOMEM;
}

bool tls_hmac_is_equal(const uint8_t a[TLS_KEY_BYTES], const uint8_t b[TLS_KEY_BYTES])
{
	return CRYPTO_memcmp(a, b, TLS_KEY_BYTES) == 0;
}
