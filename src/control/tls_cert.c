/* See tls_cert.h. */
#include "control/tls_cert.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <time.h>

#define CERTS_MAX    16 /* in a file */
#define DATE_SIZE    32
#define SUBJECT_SIZE 128

/* ---- whose it is ---- */

/* "CLUSTER/NODE" */
static int parse_owner(const char *text, struct tls_cert_owner *ret_owner)
{
	const char *slash = strchr(text, '/');
	struct tls_cert_owner owner;

	if (!slash || (size_t)(slash - text) >= sizeof(owner.cluster) ||
	    strlen(slash + 1) >= sizeof(owner.node))
		return -EINVAL;
	memset(&owner, 0, sizeof(owner));
	memcpy(owner.cluster, text, (size_t)(slash - text));
	strcpy(owner.node, slash + 1);
	if (!name_is_valid(owner.cluster) || !name_is_valid(owner.node))
		return -EINVAL;
	*ret_owner = owner;
	return 0;
}

/* What follows the scheme in a name of ours; NULL: a name of another kind. */
static const char *uri_of(const GENERAL_NAME *name, char text[NAME_URI_SIZE])
{
	const ASN1_IA5STRING *uri;
	int length;

	if (name->type != GEN_URI)
		return NULL;
	uri = name->d.uniformResourceIdentifier;
	length = ASN1_STRING_length(uri);
	if (length < (int)strlen(NAME_SCHEME) ||
	    memcmp(ASN1_STRING_get0_data(uri), NAME_SCHEME, strlen(NAME_SCHEME)) != 0)
		return NULL;
	/* A zero in it, or one that is too long: what is left is no name either. */
	if (length >= (int)NAME_URI_SIZE)
		return "";
	memcpy(text, ASN1_STRING_get0_data(uri), (size_t)length);
	text[length] = '\0';
	return (int)strlen(text) == length ? text + strlen(NAME_SCHEME) : "";
}

int tls_cert_owner(const X509 *cert, struct tls_cert_owner *ret_owner)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char text[NAME_URI_SIZE];
	int ret = -ENOENT;

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const char *uri = uri_of(sk_GENERAL_NAME_value(names, i), text);

		if (uri)
			ret = ret == -ENOENT ? parse_owner(uri, ret_owner) : -EINVAL;
	}
	GENERAL_NAMES_free(names);
	return ret;
}

/* ---- in words ---- */

/* The last common name, made printable: it is somebody else's text. */
static const char *common_name(const X509_NAME *name, char text[SUBJECT_SIZE])
{
	if (X509_NAME_get_text_by_NID(name, NID_commonName, text, SUBJECT_SIZE) <= 0)
		return "without a name";
	for (char *at = text; *at; at++) {
		if (*at < ' ' || *at > '~')
			*at = '?';
	}
	return text;
}

void tls_cert_describe(const X509 *cert, char *text, size_t size)
{
	struct tls_cert_owner owner;
	char name[SUBJECT_SIZE];

	if (tls_cert_owner(cert, &owner) == 0)
		snprintf(text, size, "the certificate of node '%s' in cluster '%s'",
			 owner.node, owner.cluster);
	else
		snprintf(text, size, "the certificate '%s'",
			 common_name(X509_get_subject_name(cert), name));
}

static const char *format_tm(const struct tm *tm, char text[DATE_SIZE])
{
	strftime(text, DATE_SIZE, "%Y-%m-%d %H:%M:%S UTC", tm);
	return text;
}

static const char *format_date(const ASN1_TIME *time, char text[DATE_SIZE])
{
	struct tm tm;

	return ASN1_TIME_to_tm(time, &tm) ? format_tm(&tm, text) : "a date that is none";
}

static const char *format_now(char text[DATE_SIZE])
{
	time_t now = time(NULL);
	struct tm tm;

	return format_tm(gmtime_r(&now, &tm), text);
}

static void explain_dates(const X509 *cert, const char *subject, bool is_expired,
			  char *text, size_t size)
{
	char date[DATE_SIZE], now[DATE_SIZE];

	if (is_expired)
		snprintf(text, size,
			 "%s expired on %s, and the clock here says %s: make a new one "
			 "with shmnetctl keygen",
			 subject, format_date(X509_get0_notAfter(cert), date),
			 format_now(now));
	else
		snprintf(text, size,
			 "%s is not valid before %s, and the clock here says %s: set the "
			 "clock that is wrong",
			 subject, format_date(X509_get0_notBefore(cert), date),
			 format_now(now));
}

static void explain_signer(const X509 *cert, const char *subject, char *text, size_t size)
{
	char issuer[SUBJECT_SIZE];

	snprintf(text, size,
		 "%s was signed by '%s', which is not the CA that the config names, or "
		 "one of the same name with another key: all nodes of a cluster need "
		 "certificates of one CA",
		 subject, common_name(X509_get_issuer_name(cert), issuer));
}

void tls_cert_explain(X509_STORE_CTX *verification, char *text, size_t size)
{
	const X509 *cert = X509_STORE_CTX_get_current_cert(verification);
	int error = X509_STORE_CTX_get_error(verification);
	char subject[SUBJECT_SIZE + 32] = "the certificate";

	if (cert)
		tls_cert_describe(cert, subject, sizeof(subject));
	switch (cert ? error : X509_V_ERR_UNSPECIFIED) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		explain_dates(cert, subject, error == X509_V_ERR_CERT_HAS_EXPIRED, text,
			      size);
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		explain_signer(cert, subject, text, size);
		break;
	case X509_V_ERR_INVALID_PURPOSE:
		snprintf(text, size,
			 "%s is not made for a node's TLS: it is a CA's, or its extended "
			 "key usage does not name both servers and clients",
			 subject);
		break;
	default:
		snprintf(text, size, "%s: %s", subject,
			 X509_verify_cert_error_string(error));
	}
}

/* ---- can a node show it? ---- */

void tls_cert_read(BIO *bio, STACK_OF(X509) * certs)
{
	X509 *cert;

	while (sk_X509_num(certs) < CERTS_MAX &&
	       (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (!sk_X509_push(certs, cert))
			X509_free(cert);
	}
}

int tls_cert_store_new(const STACK_OF(X509) * ca, X509_STORE **ret_store)
{
	X509_STORE *store = X509_STORE_new();

	if (!store)
		return -ENOMEM;
	for (int i = 0; i < sk_X509_num(ca); i++) {
		if (!X509_STORE_add_cert(store, sk_X509_value(ca, i))) {
			X509_STORE_free(store);
			return -ENOMEM;
		}
	}
	*ret_store = store;
	return 0;
}

/* As a peer will do it. */
int tls_cert_check(X509_STORE *store, STACK_OF(X509) * chain, char *ret_why, size_t size)
{
	X509_STORE_CTX *verification = X509_STORE_CTX_new();
	X509 *cert = sk_X509_value(chain, 0);
	int ret = 0;

	if (!verification || !X509_STORE_CTX_init(verification, store, cert, chain)) {
		X509_STORE_CTX_free(verification);
		return -ENOMEM;
	}
	X509_STORE_CTX_set_purpose(verification, X509_PURPOSE_SSL_SERVER);
	if (X509_verify_cert(verification) == 1 &&
	    !X509_check_purpose(cert, X509_PURPOSE_SSL_CLIENT, 0))
		X509_STORE_CTX_set_error(verification, X509_V_ERR_INVALID_PURPOSE);
	if (X509_STORE_CTX_get_error(verification) != X509_V_OK) {
		tls_cert_explain(verification, ret_why, size);
		ret = -EINVAL;
	}
	X509_STORE_CTX_free(verification);
	return ret;
}
