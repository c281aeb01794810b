/* See cert.h. */
#include "cli/cert.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERIAL_BITS 159 /* 20 bytes, and positive */

struct cert {
	X509 *x509;
	EVP_PKEY *key;
};

static int __attribute__((format(printf, 4, 5)))
refuse(char *error, size_t size, int ret, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): started a line above */
	vsnprintf(error, size, format, args);
	va_end(args);
	ERR_clear_error();
	return ret;
}

void cert_free(struct cert *cert)
{
	if (!cert)
		return;
	X509_free(cert->x509);
	EVP_PKEY_free(cert->key);
	free(cert);
}

/* ---- making ---- */

static bool set_serial(X509 *x509)
{
	BIGNUM *number = BN_new();
	bool ok = number &&
		  BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
		  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509));

	BN_free(number);
	return ok;
}

/* The common name is for people; who is who says the URI. */
static bool set_subject(X509 *x509, const struct cert_spec *spec)
{
	X509_NAME *name = X509_get_subject_name(x509);
	char text[64];

	if (spec->node)
		snprintf(text, sizeof(text), "%s", spec->node);
	else
		snprintf(text, sizeof(text), "shmnet CA of %s", spec->cluster);
	return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
					  (const unsigned char *)text, -1, -1, 0);
}

static bool add_extension(X509V3_CTX *context, X509 *x509, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, context, nid, value);
	bool ok = extension && X509_add_ext(x509, extension, -1);

	X509_EXTENSION_free(extension);
	return ok;
}

static bool add_uri(X509V3_CTX *context, X509 *x509, const struct cert_spec *spec)
{
	char text[sizeof("URI:") + NAME_URI_SIZE];

	snprintf(text, sizeof(text), "URI:%s%s%s%s", NAME_SCHEME, spec->cluster,
		 spec->node ? "/" : "", spec->node ? spec->node : "");
	return add_extension(context, x509, NID_subject_alt_name, text);
}

/* The issuer's key has to be known to the context before the others are added. */
static bool add_extensions(X509 *x509, const struct cert_spec *spec, X509 *issuer)
{
	X509V3_CTX context;
	bool is_ca = !spec->node;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
	return add_extension(&context, x509, NID_basic_constraints,
			     is_ca ? "critical,CA:TRUE,pathlen:0"
				   : "critical,CA:FALSE") &&
	       add_extension(&context, x509, NID_key_usage,
			     is_ca ? "critical,keyCertSign,cRLSign"
				   : "critical,digitalSignature") &&
	       (is_ca || add_extension(&context, x509, NID_ext_key_usage,
				       "serverAuth,clientAuth")) &&
	       add_extension(&context, x509, NID_subject_key_identifier, "hash") &&
	       add_extension(&context, x509, NID_authority_key_identifier, "keyid") &&
	       add_uri(&context, x509, spec);
}

static bool fill(struct cert *cert, const struct cert_spec *spec, const struct cert *ca)
{
	X509 *x509 = cert->x509;

	return X509_set_version(x509, X509_VERSION_3) && set_serial(x509) &&
	       ASN1_TIME_set(X509_getm_notBefore(x509), spec->from) &&
	       ASN1_TIME_set(X509_getm_notAfter(x509), spec->until) &&
	       set_subject(x509, spec) &&
	       X509_set_issuer_name(x509, X509_get_subject_name(ca->x509)) &&
	       X509_set_pubkey(x509, cert->key) && add_extensions(x509, spec, ca->x509) &&
	       X509_sign(x509, ca->key, EVP_sha256());
}

int cert_new(const struct cert_spec *spec, const struct cert *ca, struct cert **ret_cert)
{
	struct cert *cert = calloc(1, sizeof(*cert));

	if (!cert)
		return -ENOMEM;
	cert->key = EVP_EC_gen("P-256");
	cert->x509 = X509_new();
	if (!cert->key || !cert->x509 || !fill(cert, spec, ca ? ca : cert)) {
		ERR_clear_error();
		cert_free(cert);
		return -ENOMEM;
	}
	*ret_cert = cert;
	return 0;
}

/* ---- what one says ---- */

int cert_get_cluster(const struct cert *cert, char ret_cluster[NAME_SIZE])
{
	GENERAL_NAMES *names =
		X509_get_ext_d2i(cert->x509, NID_subject_alt_name, NULL, NULL);
	const size_t scheme = strlen(NAME_SCHEME);
	char text[NAME_URI_SIZE] = "";
	int ret = -EINVAL;

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_URI)
			snprintf(text, sizeof(text), "%s",
				 ASN1_STRING_get0_data(name->d.ia5));
		if (strncmp(text, NAME_SCHEME, scheme) == 0 &&
		    name_is_valid(text + scheme)) {
			strcpy(ret_cluster, text + scheme);
			ret = 0;
		}
	}
	GENERAL_NAMES_free(names);
	return ret;
}

time_t cert_get_until(const struct cert *cert)
{
	struct tm tm;

	return ASN1_TIME_to_tm(X509_get0_notAfter(cert->x509), &tm) ? timegm(&tm) : 0;
}

/* ---- files ---- */

static int on_passphrase(char *buffer, int size, int is_writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)is_writing;
	(void)arg;
	return -1; /* keygen asks for none */
}

static int open_to_read(const char *path, FILE **ret_file, char *error, size_t size)
{
	*ret_file = fopen(path, "re");
	if (*ret_file)
		return 0;
	return refuse(error, size, -errno, "can't read %s: %s%s", path, strerror(errno),
		      errno == ENOENT ? "; shmnetctl keygen ca makes it" : "");
}

static int read_both(struct cert *cert, const struct cert_files *files, char *error,
		     size_t size)
{
	FILE *file = NULL;
	int ret = open_to_read(files->certificate, &file, error, size);

	if (ret < 0)
		return ret;
	cert->x509 = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	if (!cert->x509)
		return refuse(error, size, -EINVAL, "%s holds no certificate in PEM",
			      files->certificate);
	ret = open_to_read(files->key, &file, error, size);
	if (ret < 0)
		return ret;
	cert->key = PEM_read_PrivateKey(file, NULL, on_passphrase, NULL);
	fclose(file);
	if (!cert->key)
		return refuse(error, size, -EINVAL,
			      "%s holds no plain private key in PEM", files->key);
	return 0;
}

int cert_read_ca(const struct cert_files *files, struct cert **ret_cert, char *ret_error,
		 size_t error_size)
{
	struct cert *cert = calloc(1, sizeof(*cert));
	int ret;

	if (!cert)
		return refuse(ret_error, error_size, -ENOMEM, "out of memory");
	ret = read_both(cert, files, ret_error, error_size);
	if (ret == 0 && !X509_check_ca(cert->x509))
		ret = refuse(ret_error, error_size, -EINVAL,
			     "%s is no certificate of a CA", files->certificate);
	if (ret == 0 && !X509_check_private_key(cert->x509, cert->key))
		ret = refuse(ret_error, error_size, -EINVAL, "%s is not the key of %s",
			     files->key, files->certificate);
	if (ret < 0)
		cert_free(cert);
	else
		*ret_cert = cert;
	return ret;
}

static int open_new(const char *path, mode_t mode, FILE **ret_file, char *error,
		    size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);

	if (fd < 0)
		return refuse(error, size, -errno, "can't make %s: %s%s", path,
			      strerror(errno),
			      errno == EEXIST ? "; nothing is ever overwritten: move it "
						"away first"
					      : "");
	*ret_file = fdopen(fd, "w");
	if (*ret_file)
		return 0;
	close(fd);
	unlink(path);
	return refuse(error, size, -ENOMEM, "out of memory");
}

/* Takes the file; `ok`: all was written to it so far. */
static int finish_file(FILE *file, const char *path, bool ok, char *error, size_t size)
{
	ok = ok && fflush(file) == 0 && fsync(fileno(file)) == 0;
	if (fclose(file) == 0 && ok)
		return 0;
	refuse(error, size, 0, "can't write %s: %s", path, strerror(errno));
	unlink(path);
	return -EIO;
}

int cert_write(const struct cert *cert, const struct cert_files *files, char *ret_error,
	       size_t error_size)
{
	FILE *file = NULL;
	int ret = open_new(files->key, 0600, &file, ret_error, error_size);

	if (ret < 0)
		return ret;
	ret = finish_file(
		file, files->key,
		PEM_write_PrivateKey(file, cert->key, NULL, NULL, 0, NULL, NULL),
		ret_error, error_size);
	if (ret < 0)
		return ret;
	ret = open_new(files->certificate, 0644, &file, ret_error, error_size);
	if (ret == 0)
		ret = finish_file(file, files->certificate,
				  PEM_write_X509(file, cert->x509), ret_error,
				  error_size);
	if (ret < 0)
		unlink(files->key);
	return ret;
}
