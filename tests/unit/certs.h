/*
 * Certificates for tests, made as shmnetctl keygen makes them, as files of a directory.
 * "ca" in a name of a file is the default CA.
 */
#ifndef CERTS_H
#define CERTS_H

#include "cli/cert.h"
#include "control/tls.h"
#include "shim.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CERTS_PATH_MAX 96
#define CERTS_DAY      86400

struct certs {
	const char *dir;
	struct cert *ca;    /* of cluster "lab": ca.crt */
	struct cert *other; /* another one of the same name: other.crt */
};

static inline const char *certs_path(const struct certs *certs, const char *file,
				     const char *suffix, char path[CERTS_PATH_MAX])
{
	snprintf(path, CERTS_PATH_MAX, "%s/%s.%s", certs->dir, file, suffix);
	return path;
}

static inline void certs_write(const struct certs *certs, const char *file,
			       const struct cert *cert)
{
	char crt[CERTS_PATH_MAX], key[CERTS_PATH_MAX], error[CERT_ERROR_MAX] = "";
	const struct cert_files files = {
		.certificate = certs_path(certs, file, "crt", crt),
		.key = certs_path(certs, file, "key", key),
	};

	if (!CHECK_INT(cert_write(cert, &files, error, sizeof(error)), 0))
		CHECK_STR(error, "");
}

/* Days from now. A node of NULL: a CA. */
static inline void certs_make(const struct certs *certs, const char *file,
			      const struct cert *ca, const char *cluster,
			      const char *node, int from, int until)
{
	const struct cert_spec spec = {
		.cluster = cluster,
		.node = node,
		.from = time(NULL) + (time_t)from * CERTS_DAY,
		.until = time(NULL) + (time_t)until * CERTS_DAY,
	};
	struct cert *cert;

	if (!CHECK_INT(cert_new(&spec, ca, &cert), 0))
		return;
	certs_write(certs, file, cert);
	cert_free(cert);
}

static inline struct cert *certs_make_ca(const struct certs *certs, const char *file)
{
	const struct cert_spec spec = {
		.cluster = "lab",
		.from = time(NULL) - 2 * CERTS_DAY,
		.until = time(NULL) + 100 * CERTS_DAY,
	};
	struct cert *cert = NULL;

	if (CHECK_INT(cert_new(&spec, NULL, &cert), 0))
		certs_write(certs, file, cert);
	return cert;
}

/* Besides the CAs there are n1 and n2 of cluster "lab". */
static inline void certs_open(struct certs *certs, const char *dir)
{
	certs->dir = dir;
	certs->ca = certs_make_ca(certs, "ca");
	certs->other = certs_make_ca(certs, "other");
	certs_make(certs, "n1", certs->ca, "lab", "n1", -1, 90);
	certs_make(certs, "n2", certs->ca, "lab", "n2", -1, 90);
}

static inline void certs_close(struct certs *certs)
{
	DIR *dir = opendir(certs->dir);
	struct dirent *entry;
	char path[CERTS_PATH_MAX + 256];

	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s", certs->dir, entry->d_name);
		if (entry->d_name[0] != '.')
			unlink(path);
	}
	if (dir)
		closedir(dir);
	cert_free(certs->ca);
	cert_free(certs->other);
}

/* What tls_context_new() says; *ret_context is NULL if it failed. */
static inline int certs_try(const struct certs *certs, const char *ca, const char *file,
			    const char *cluster, const char *node,
			    struct tls_context **ret_context, char error[TLS_WORDS_MAX])
{
	char paths[3][CERTS_PATH_MAX];
	const struct tls_options options = {
		.ca = certs_path(certs, ca, "crt", paths[0]),
		.certificate = certs_path(certs, file, "crt", paths[1]),
		.key = certs_path(certs, file, "key", paths[2]),
		.cluster = cluster,
		.node = node,
	};

	*ret_context = NULL;
	error[0] = '\0';
	return tls_context_new(&options, ret_context, error, TLS_WORDS_MAX);
}

static inline struct tls_context *certs_context(const struct certs *certs, const char *ca,
						const char *file, const char *cluster,
						const char *node)
{
	struct tls_context *context;
	char error[TLS_WORDS_MAX];

	if (!CHECK_INT(certs_try(certs, ca, file, cluster, node, &context, error), 0))
		CHECK_STR(error, "");
	return context;
}

#endif
