/*
 * Certificates of a fabric of kind rdma, and the clock that their dates are compared
 * with. See check.h. The only other file of shmnetctl, beside cert.c, that sees OpenSSL.
 *
 * Whether a node can show its certificate is asked as the node itself does, before it
 * starts: control/tls_cert.h. Here are the dates, and who can read what.
 *
 * Nothing secret leaves it: of a key only its file's mode is looked at, and that it is
 * the one of the certificate.
 */
#include "cli/check.h"

#include "cli/text.h"
#include "control/tls_cert.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define DAY_SEC	  86400
#define WARN_DAYS 30 /* as the node does */
#define DATE_SIZE 32
#define WHY_MAX	  512

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
static STACK_OF(X509) * read_certificates(const char *path)
{
	FILE *file = fopen(path, "re");
	STACK_OF(X509) *certs = file ? sk_X509_new_null() : NULL;
	BIO *bio = certs ? BIO_new_fp(file, BIO_NOCLOSE) : NULL;

	if (!file)
		return NULL;
	if (bio)
		tls_cert_read(bio, certs);
	BIO_free(bio);
	fclose(file);
	ERR_clear_error();
	errno = 0;
	if (sk_X509_num(certs) > 0)
		return certs;
	sk_X509_free(certs);
	return NULL;
}

static void free_certificates(STACK_OF(X509) * certs)
{
	sk_X509_pop_free(certs, X509_free);
}

/* ---- certificates ---- */

static bool is_current(const X509 *cert)
{
	const time_t now = time(NULL);

	return time_of(X509_get0_notBefore(cert)) <= now &&
	       time_of(X509_get0_notAfter(cert)) > now;
}

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

static void pass_until(struct check *check, const char *path, const X509 *cert)
{
	char date[DATE_SIZE];

	check_pass(check,
		   text_format("%s is valid until %s", path,
			       format_date(time_of(X509_get0_notAfter(cert)), date)));
}

/* ---- the CA ---- */

/* A node starts with none that may not sign. */
static bool are_cas(const STACK_OF(X509) * ca)
{
	for (int i = 0; i < sk_X509_num(ca); i++) {
		if (!X509_check_ca(sk_X509_value(ca, i)))
			return false;
	}
	return true;
}

static bool is_any_current(const STACK_OF(X509) * ca)
{
	for (int i = 0; i < sk_X509_num(ca); i++) {
		if (is_current(sk_X509_value(ca, i)))
			return true;
	}
	return false;
}

/* Of several, while nodes go from one to the next, one that is over is in nobody's way.
 */
static void check_ca(struct check *check, const STACK_OF(X509) * ca)
{
	const char *path = check->rdma->ca;
	const bool is_enough = is_any_current(ca);

	if (!are_cas(ca)) {
		check_fail(
			check,
			text_format("%s is a certificate that may not sign others; is "
				    "it the one of a node?",
				    path),
			text_format("editor %s  # ca: the one of the CA", check->file));
		return;
	}
	for (int i = 0; i < sk_X509_num(ca); i++) {
		const X509 *cert = sk_X509_value(ca, i);

		if (is_enough && !is_current(cert))
			continue;
		if (check_dates(check, path, cert, mend_ca))
			pass_until(check, path, cert);
	}
}

/* ---- the node's ---- */

static bool is_of(const X509 *cert, const struct node_config *config)
{
	struct tls_cert_owner owner;

	return tls_cert_owner(cert, &owner) == 0 &&
	       strcmp(owner.cluster, config->cluster) == 0 &&
	       strcmp(owner.node, config->name) == 0;
}

/* By who has these CAs. */
static bool is_taken(STACK_OF(X509) * chain, const STACK_OF(X509) * ca, char why[WHY_MAX])
{
	X509_STORE *store = NULL;
	int ret = tls_cert_store_new(ca, &store);

	snprintf(why, WHY_MAX, "out of memory");
	if (ret == 0)
		ret = tls_cert_check(store, chain, why, WHY_MAX);
	X509_STORE_free(store);
	ERR_clear_error();
	return ret == 0;
}

/* Its own dates have words and a mend of their own. */
static void check_own(struct check *check, STACK_OF(X509) * chain,
		      const STACK_OF(X509) * ca)
{
	const char *path = check->rdma->certificate;
	const X509 *cert = sk_X509_value(chain, 0);
	char why[WHY_MAX];

	if (!is_of(cert, check->config))
		check_fail(check,
			   text_format("%s is not that of node %s in cluster %s", path,
				       check->config->name, check->config->cluster),
			   mend_node(check));
	else if (ca && is_current(cert) && !is_taken(chain, ca, why))
		check_fail(check,
			   text_format("%s (CA %s): %s", path, check->rdma->ca, why),
			   mend_node(check));
	else if (check_dates(check, path, cert, mend_node))
		pass_until(check, path, cert);
	ERR_clear_error();
}

void check_certificate(struct check *check)
{
	STACK_OF(X509) * ca;
	STACK_OF(X509) * chain;

	if (!has_certificates(check))
		return;
	ca = read_certificates(check->rdma->ca);
	if (ca)
		check_ca(check, ca);
	else
		tell_unread(check, check->rdma->ca, errno, mend_ca);
	chain = read_certificates(check->rdma->certificate);
	if (chain)
		check_own(check, chain, ca && are_cas(ca) ? ca : NULL);
	else
		tell_unread(check, check->rdma->certificate, errno, mend_node);
	free_certificates(ca);
	free_certificates(chain);
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
	STACK_OF(X509) *chain = read_certificates(path);
	bool is_good = key && (!chain ||
			       X509_check_private_key(sk_X509_value(chain, 0), key) == 1);

	EVP_PKEY_free(key);
	free_certificates(chain);
	ERR_clear_error();
	return is_good;
}

/* Not of root, which could read all before it gave that up. */
static char *find_process_user(const struct check *check, uid_t owner)
{
	char line[CHECK_LINE_SIZE];
	uid_t uid;

	if (!check_read_process(check, "status", "Uid:", line) ||
	    sscanf(line, "Uid: %*u %u", &uid) != 1 || uid == 0 || uid == owner)
		return NULL;
	return text_format("%u", uid);
}

static char *find_unit_user(const struct check *check, uid_t owner)
{
	const struct passwd *entry;
	char user[CHECK_LINE_SIZE];

	if (!check_read_unit(check, "User", user))
		return NULL;
	entry = getpwnam(user);
	return entry && entry->pw_uid != owner ? text_format("%s", user) : NULL;
}

/* By a drop-in of the unit; a node gives it up once it has read its files. */
static bool may_read_all(const struct check *check)
{
	char rights[CHECK_LINE_SIZE];

	return check_read_unit(check, "AmbientCapabilities", rights) &&
	       strstr(rights, "cap_dac_");
}

/* The user that the node is, or will be, if that can't read the file; or NULL. */
static char *find_other_user(const struct check *check, const char *path)
{
	struct stat info;

	if (stat(path, &info) < 0 || may_read_all(check))
		return NULL;
	return check->pid ? find_process_user(check, info.st_uid)
			  : find_unit_user(check, info.st_uid);
}

static void check_owner(struct check *check, const char *path)
{
	char *user = find_other_user(check, path);

	if (user)
		check_warn(
			check,
			text_format(check->pid
					    ? "%s can't be read by the node, which is "
					      "user %s"
					    : "%s can't be read by the unit, which runs "
					      "as user %s",
				    path, user),
			text_format("chown %s %s", user, path));
	else
		check_pass(check, text_format("%s is for its owner only", path));
	free(user);
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
		check_owner(check, path);
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
