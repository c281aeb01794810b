/*
 * Fuzz target: a certificate that somebody shows before anything is known of him. What
 * is said of it is printable, and a name that is taken out of it is one that a config
 * would take.
 */
#include "control/tls.h"
#include "control/tls_cert.h"
#include "fuzz.h"

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "cert fuzz: %s\n", what);
	abort();
}

static void check(const X509 *cert)
{
	struct tls_cert_owner owner;
	char text[TLS_WORDS_MAX] = "";

	if (tls_cert_owner(cert, &owner) == 0)
		need(name_is_valid(owner.cluster) && name_is_valid(owner.node),
		     "a name that is none");
	tls_cert_describe(cert, text, sizeof(text));
	need(*text, "not described");
	for (const char *at = text; *at; at++)
		need(*at >= ' ' && *at <= '~', "not printable");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const unsigned char *at = data;
	X509 *cert = d2i_X509(NULL, &at, (long)size);

	if (cert)
		check(cert);
	X509_free(cert);
	ERR_clear_error();
	return 0;
}
