/*
 * Certificates of a fabric of kind rdma, and the clock that their dates are compared
 * with. See check.h. The only other file of shmnetctl, beside cert.c, that sees OpenSSL.
 *
 * Nothing secret leaves it: of a key only its file's mode is looked at, and that it is
 * the one of the certificate.
 */
#include "cli/check.h"

#include "base/name.h"
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define DAY_SEC	  86400
#define WARN_DAYS 30 /* as the node does */
#define DATE_SIZE 32

static bool has_certificates(const struct check *check)
{
	return check->rdma && check->rdma->security == FABRIC_SECURITY_TLS;
}

static const char *format_date(time_t at, char text[DATE_SIZE])
{
	struct tm tm;

	strftime(text, DATE_SIZE, "%Y-%m-%d", gmtime_r(&at, &tm));
	return text;
}

static time_t time_of(const ASN1_TIME *time)
{
	struct tm tm;

	return ASN1_TIME_to_tm(time, &tm) ? timegm(&tm) : 0;
}

/* ---- what mends ---- */

/* Of a path, malloc'ed: "/etc/shmnet" of "/etc/shmnet/n1.crt". */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return text_format(".");
	return text_format("%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* What is there has to go first: keygen overwrites nothing. */
static char *mend_away(const char *made, const char *suffix)
{
	char *file = text_format("%s%s", made, suffix);
	char *words = access(file, F_OK) < 0 ? text_format("%s", "")
					     : text_format("mv %s %s.old; ", file, file);

	free(file);
	return words;
}

/* `made`: the files of the node as keygen makes them, without their suffixes. */
static char *mend_in_place(const struct check *check, const char *dir, const char *made)
{
	const struct config_fabric *fabric = check->rdma;
	char *cert = text_format("%s.crt", made), *key = text_format("%s.key", made);
	char *away = mend_away(made, ".crt"), *key_away = mend_away(made, ".key");
	const bool is_there =
		strcmp(fabric->certificate, cert) == 0 && strcmp(fabric->key, key) == 0;
	char *bring = is_there ? text_format("%s", "")
			       : text_format("; mv %s %s; mv %s %s", cert,
					     fabric->certificate, key, fabric->key);
	char *mend = text_format("%s%sshmnetctl keygen node %s --dir %s%s", away,
				 key_away, check->config->name, dir, bring);

	free(cert);
	free(key);
	free(away);
	free(key_away);
	free(bring);
	return mend;
}

/* Where the CA's key lies beside its certificate, as keygen leaves it, here. */
static char *mend_node(const struct check *check)
{
	const char *name = check->config->name;
	char *dir = directory_of(check->rdma->ca);
	char *ca_key = text_format("%s/ca.key", dir);
	char *made = text_format("%s/%s", dir, name);
	char *mend = access(ca_key, F_OK) < 0
			     ? text_format("shmnetctl keygen node %s --dir KEYS  # where "
					   "ca.key is; bring %s.crt and %s.key here",
					   name, name, name)
			     : mend_in_place(check, dir, made);

	free(dir);
	free(ca_key);
	free(made);
	return mend;
}

static char *mend_ca(const struct check *check)
{
	return text_format("shmnetctl keygen ca --cluster %s --dir NEW  # and "
			   "keygen node for each node",
			   check->config->cluster);
}

/* ---- files ---- */

/*
 * Who may not read it learns nothing of it. The errno comes first: what mends it looks at
 * files, too.
 */
static void tell_unread(struct check *check, const char *path, int error,
			char *(*mend)(const struct check *check))
{
	if (error == EACCES)
		check_warn(check,
			   text_format("%s can't be read by user %u", path, geteuid()),
			   check_as_root(check));
	else
		check_fail(
			check,
			text_format(error ? "%s: %s" : "%s holds no certificate in PEM%s",
				    path, error ? strerror(error) : ""),
			mend(check));
}

/* NULL: there is none, and errno says why; 0: it is no PEM. */
static X509 *read_certificate(const char *path)
{
	FILE *file = fopen(path, "re");
	X509 *cert;

	if (!file)
		return NULL;
	cert = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	ERR_clear_error();
	errno = 0;
	return cert;
}

/* ---- certificates ---- */

/* True: they are good, and nothing was said. */
static bool check_dates(struct check *check, const char *what, const X509 *cert,
			char *(*mend)(const struct check *check))
{
	const time_t from = time_of(X509_get0_notBefore(cert));
	const time_t until = time_of(X509_get0_notAfter(cert));
	const time_t now = time(NULL);
	char date[DATE_SIZE], today[DATE_SIZE];

	if (from > now)
		check_fail(check,
			   text_format("%s is not valid before %s, and the clock here "
				       "says %s",
				       what, format_date(from, date),
				       format_date(now, today)),
			   text_format("timedatectl set-ntp true"));
	else if (until <= now)
		check_fail(
			check,
			text_format("%s expired on %s", what, format_date(until, date)),
			mend(check));
	else if (until - now < WARN_DAYS * DAY_SEC)
		check_warn(check,
			   text_format("%s expires on %s, in %ld days", what,
				       format_date(until, date),
				       (long)((until - now) / DAY_SEC)),
			   mend(check));
	else
		return true;
	return false;
}

/* "shmnet://CLUSTER/NODE" is among its names. */
static bool is_of(const X509 *cert, const struct node_config *config)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char *wanted = text_format(NAME_SCHEME "%s/%s", config->cluster, config->name);
	bool is_there = false;

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;

		if (name->type == GEN_URI &&
		    ASN1_STRING_length(uri) == (int)strlen(wanted) &&
		    memcmp(ASN1_STRING_get0_data(uri), wanted, strlen(wanted)) == 0)
			is_there = true;
	}
	free(wanted);
	GENERAL_NAMES_free(names);
	return is_there;
}

static void check_own(struct check *check, X509 *cert, X509 *ca)
{
	const char *path = check->rdma->certificate;
	char date[DATE_SIZE];

	if (!is_of(cert, check->config))
		check_fail(check,
			   text_format("%s is not that of node %s in cluster %s", path,
				       check->config->name, check->config->cluster),
			   mend_node(check));
	else if (ca && X509_verify(cert, X509_get0_pubkey(ca)) != 1)
		check_fail(check,
			   text_format("%s was not signed by %s", path, check->rdma->ca),
			   mend_node(check));
	else if (check_dates(check, path, cert, mend_node))
		check_pass(check,
			   text_format(
				   "%s is valid until %s", path,
				   format_date(time_of(X509_get0_notAfter(cert)), date)));
	ERR_clear_error();
}

void check_certificate(struct check *check)
{
	X509 *ca, *cert;
	char date[DATE_SIZE];

	if (!has_certificates(check))
		return;
	ca = read_certificate(check->rdma->ca);
	if (!ca)
		tell_unread(check, check->rdma->ca, errno, mend_ca);
	else if (check_dates(check, check->rdma->ca, ca, mend_ca))
		check_pass(check, text_format("%s is valid until %s", check->rdma->ca,
					      format_date(time_of(X509_get0_notAfter(ca)),
							  date)));
	cert = read_certificate(check->rdma->certificate);
	if (cert)
		check_own(check, cert, ca);
	else
		tell_unread(check, check->rdma->certificate, errno, mend_node);
	X509_free(ca);
	X509_free(cert);
}

/* ---- the key ---- */

static int on_passphrase(char *buffer, int size, int is_writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)is_writing;
	(void)arg;
	return -1; /* nobody is asked */
}

/* Of the certificate, if that can be read. */
static bool is_key_of(FILE *file, const char *path)
{
	EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, on_passphrase, NULL);
	X509 *cert = read_certificate(path);
	bool is_good = key && (!cert || X509_check_private_key(cert, key) == 1);

	EVP_PKEY_free(key);
	X509_free(cert);
	ERR_clear_error();
	return is_good;
}

void check_key(struct check *check)
{
	const char *path = has_certificates(check) ? check->rdma->key : NULL;
	struct stat info;
	FILE *file;

	if (!path)
		return;
	if (stat(path, &info) == 0 && info.st_mode & 077) {
		check_fail(check,
			   text_format("%s can be read by others than its owner: mode "
				       "%04o",
				       path, info.st_mode & 07777),
			   text_format("chmod 600 %s", path));
		return;
	}
	file = fopen(path, "re");
	if (!file) {
		tell_unread(check, path, errno, mend_node);
		return;
	}
	if (is_key_of(file, check->rdma->certificate))
		check_pass(check, text_format("%s is for its owner only", path));
	else
		check_fail(check,
			   text_format("%s is not the key of %s", path,
				       check->rdma->certificate),
			   mend_node(check));
	fclose(file);
}

/* ---- the clock ---- */

/* Nothing but dates of certificates is compared with it. Asking changes nothing. */
void check_clock(struct check *check)
{
	struct timex timex = {.modes = 0};

	if (!has_certificates(check)) {
		check_pass(check, text_format("no certificate asks what time it is"));
		return;
	}
	if (adjtimex(&timex) == TIME_ERROR || timex.status & STA_UNSYNC)
		check_warn(check,
			   text_format("the clock is not synchronised: dates of "
				       "certificates are compared with it"),
			   text_format("timedatectl set-ntp true"));
	else
		check_pass(check, text_format("the clock is synchronised"));
}
