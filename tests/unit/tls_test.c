/*
 * What a node says of its own certificate and key, and of those of others: a stream on
 * one end of a socket pair, OpenSSL as it is on the other, so that it can show what no
 * node would.
 */
#include "control/tls.h"
#include "control/tls_stream.h"

#include "base/log.h"
#include "certs.h"
#include "loop.h"
#include "shim.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define TURNS_MAX 50

struct rig {
	struct loop loop;
	struct certs certs;
};

static char logged[1024];

/* NOLINTNEXTLINE(bugprone-reserved-identifier): the linker's name */
void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	va_list args;

	(void)level;
	(void)subject;
	va_start(args, format);
	vsnprintf(logged, sizeof(logged), format, args);
	va_end(args);
}

static bool rig_open(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	logged[0] = '\0';
	if (!loop_open(&rig->loop))
		return false;
	certs_open(&rig->certs, rig->loop.dir);
	return !test_failed();
}

static void rig_close(struct rig *rig)
{
	certs_close(&rig->certs);
	loop_close(&rig->loop);
}

/* ---- our own ---- */

/* n1 of "lab" with these files is refused with these words. */
static void check_refused(const struct rig *rig, const char *ca, const char *file,
			  int error, const char *words)
{
	struct tls_context *context;
	char text[TLS_WORDS_MAX];

	CHECK_INT(certs_try(&rig->certs, ca, file, "lab", "n1", &context, text), error);
	check_words(text, words);
	tls_context_free(context);
}

static void rig_write(const struct rig *rig, const char *name, const char *text)
{
	char path[CERTS_PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", rig->loop.dir, name);
	file = fopen(path, "we");
	if (!CHECK(file))
		return;
	fputs(text, file);
	fchmod(fileno(file), 0600);
	fclose(file);
}

static void rig_copy(const struct rig *rig, const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof(command), "cp -p %s/%s %s/%s", rig->loop.dir, from,
		 rig->loop.dir, to);
	CHECK_INT(system(command), 0);
}

TEST_CASE(tls, good_files)
{
	struct tls_context *context;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	context = certs_context(&rig.certs, "ca", "n1", "lab", "n1");
	CHECK(context);
	tls_context_free(context);
	CHECK_STR(logged, "");
	tls_context_free(NULL);
	rig_close(&rig);
}

TEST_CASE(tls, files_that_are_missing)
{
	char path[CERTS_PATH_MAX], words[256];
	struct rig rig;

	REQUIRE(rig_open(&rig));
	snprintf(words, sizeof(words),
		 "CA %s: No such file or directory; shmnetctl keygen makes it",
		 certs_path(&rig.certs, "no", "crt", path));
	check_refused(&rig, "no", "n1", -ENOENT, words);
	check_refused(&rig, "ca", "no", -ENOENT, "certificate /");
	rig_copy(&rig, "n1.crt", "no.crt");
	check_refused(&rig, "ca", "no", -ENOENT, "key /");
	rig_close(&rig);
}

TEST_CASE(tls, files_that_are_something_else)
{
	char path[CERTS_PATH_MAX];
	struct rig rig;

	REQUIRE(rig_open(&rig));
	rig_write(&rig, "no.crt", "-----BEGIN NOTHING-----\n");
	check_refused(&rig, "no", "n1", -EINVAL, "no certificate in PEM");
	check_refused(&rig, "ca", "no", -EINVAL, "no certificate in PEM");
	rig_write(&rig, "bad.key", "");
	rig_copy(&rig, "n1.crt", "bad.crt");
	check_refused(&rig, "ca", "bad", -EINVAL, "bad.key holds no private key in PEM");
	CHECK_INT(mkdir(certs_path(&rig.certs, "dir", "crt", path), 0700), 0);
	check_refused(&rig, "dir", "n1", -EINVAL, "dir.crt is no file");
	CHECK_INT(rmdir(path), 0);
	CHECK_INT(mkfifo(certs_path(&rig.certs, "fifo", "crt", path), 0600), 0);
	check_refused(&rig, "fifo", "n1", -EINVAL, "fifo.crt is no file");
	CHECK_INT(truncate(certs_path(&rig.certs, "no", "crt", path), 2 << 20), 0);
	check_refused(&rig, "no", "n1", -EFBIG, "longer than a MiB");
	check_refused(&rig, "n2", "n1", -EINVAL, "may not sign others");
	rig_close(&rig);
}

TEST_CASE(tls, key_that_others_can_read)
{
	char path[CERTS_PATH_MAX];
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(chmod(certs_path(&rig.certs, "n1", "key", path), 0640), 0);
	check_refused(&rig, "ca", "n1", -EPERM,
		      "can be read by others than its owner (mode 0640): chmod 600 /");
	CHECK_INT(chmod(path, 0604), 0);
	check_refused(&rig, "ca", "n1", -EPERM, "mode 0604");
	CHECK_INT(chmod(path, 0400), 0);
	tls_context_free(certs_context(&rig.certs, "ca", "n1", "lab", "n1"));
	rig_close(&rig);
}

TEST_CASE(tls, key_with_a_passphrase)
{
	char command[512];
	struct rig rig;

	REQUIRE(rig_open(&rig));
	snprintf(command, sizeof(command),
		 "cd %s && cp n1.crt x.crt && openssl pkey -in n1.key -aes128 -passout "
		 "pass:secret -out x.key && chmod 600 x.key",
		 rig.loop.dir);
	if (system(command) == 0)
		check_refused(&rig, "ca", "x", -EINVAL, "is encrypted");
	rig_close(&rig);
}

TEST_CASE(tls, key_of_another_certificate)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	rig_copy(&rig, "n1.crt", "x.crt");
	rig_copy(&rig, "n2.key", "x.key");
	check_refused(&rig, "ca", "x", -EINVAL, "x.key is not the key of certificate /");
	rig_close(&rig);
}

TEST_CASE(tls, certificate_of_somebody_else)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	check_refused(&rig, "ca", "n2", -EINVAL,
		      "is of node 'n2' in cluster 'lab', and the config says node 'n1' "
		      "in cluster 'lab'");
	certs_make(&rig.certs, "x", rig.certs.ca, "prod", "n1", -1, 90);
	check_refused(&rig, "ca", "x", -EINVAL, "is of node 'n1' in cluster 'prod'");
	check_refused(&rig, "ca", "ca", -EINVAL,
		      "names no node: it needs one alternative name "
		      "URI:shmnet://lab/n1");
	rig_close(&rig);
}

TEST_CASE(tls, certificate_of_another_time)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	certs_make(&rig.certs, "x", rig.certs.ca, "lab", "n1", -9, -1);
	check_refused(&rig, "ca", "x", -EINVAL, "' in cluster 'lab' expired on 20");
	check_refused(&rig, "ca", "x", -EINVAL, "and the clock here says 20");
	certs_make(&rig.certs, "y", rig.certs.ca, "lab", "n1", 1, 9);
	check_refused(&rig, "ca", "y", -EINVAL, "is not valid before 20");
	certs_make(&rig.certs, "z", NULL, "lab", NULL, -9, -1);
	check_refused(&rig, "z", "n1", -EINVAL, "was signed by 'shmnet CA of lab'");
	rig_close(&rig);
}

TEST_CASE(tls, certificate_of_another_ca)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	check_refused(&rig, "other", "n1", -EINVAL,
		      "was signed by 'shmnet CA of lab', which is not the CA that the "
		      "config names, or one of the same name with another key");
	certs_make(&rig.certs, "x", NULL, "lab", "n1", -1, 90); /* by itself */
	check_refused(&rig, "ca", "x", -EINVAL, "was signed by 'n1'");
	rig_close(&rig);
}

TEST_CASE(tls, end_that_is_near_is_told)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	certs_make(&rig.certs, "x", rig.certs.ca, "lab", "n1", -1, 10);
	tls_context_free(certs_context(&rig.certs, "ca", "x", "lab", "n1"));
	check_words(logged, "x.crt expires in ");
	rig_close(&rig);
}

/* ---- those of others ---- */

/* A stream, and somebody who is no node, greeting each other. */
struct pair {
	int fds[2];
	struct tls_context *context;
	struct tls_stream *stream;
	SSL_CTX *ctx;
	SSL *ssl;
};

static int accept_all(int is_good, X509_STORE_CTX *verification)
{
	(void)is_good;
	(void)verification;
	return 1;
}

/* The stranger shows `file`, or nothing if that is NULL. */
static bool pair_open(struct pair *pair, const struct rig *rig, bool we_listen,
		      const char *file)
{
	char crt[CERTS_PATH_MAX], key[CERTS_PATH_MAX];

	memset(pair, 0, sizeof(*pair));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		       pair->fds) < 0)
		return false;
	pair->context = certs_context(&rig->certs, "ca", "n1", "lab", "n1");
	pair->ctx = SSL_CTX_new(TLS_method());
	SSL_CTX_set_verify(pair->ctx, SSL_VERIFY_PEER, accept_all);
	SSL_CTX_set_num_tickets(pair->ctx, 0);
	if (file &&
	    (!SSL_CTX_use_certificate_file(pair->ctx,
					   certs_path(&rig->certs, file, "crt", crt),
					   SSL_FILETYPE_PEM) ||
	     !SSL_CTX_use_PrivateKey_file(pair->ctx,
					  certs_path(&rig->certs, file, "key", key),
					  SSL_FILETYPE_PEM)))
		return false;
	pair->ssl = SSL_new(pair->ctx);
	SSL_set_fd(pair->ssl, pair->fds[1]);
	if (we_listen)
		SSL_set_connect_state(pair->ssl);
	else
		SSL_set_accept_state(pair->ssl);
	return pair->context &&
	       tls_stream_new(pair->context, pair->fds[0], we_listen, &pair->stream) == 0;
}

static void pair_close(struct pair *pair)
{
	tls_stream_free(pair->stream);
	tls_context_free(pair->context);
	SSL_free(pair->ssl);
	SSL_CTX_free(pair->ctx);
	close(pair->fds[0]);
	close(pair->fds[1]);
}

/* What the stream's handshake comes to. */
static int pair_greet(struct pair *pair)
{
	int ret = -EAGAIN;

	for (int i = 0; i < TURNS_MAX && ret == -EAGAIN; i++) {
		SSL_do_handshake(pair->ssl);
		ret = tls_stream_handshake(pair->stream);
	}
	SSL_do_handshake(pair->ssl);
	return ret;
}

static void check_stranger(const struct rig *rig, bool we_listen, const char *file,
			   const char *words)
{
	struct pair pair;

	REQUIRE(pair_open(&pair, rig, we_listen, file));
	CHECK_INT(pair_greet(&pair), -EPROTO);
	check_words(tls_stream_why(pair.stream), words);
	CHECK_STR(tls_stream_name(pair.stream), "");
	pair_close(&pair);
}

static void check_strangers(bool we_listen)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	certs_make(&rig.certs, "old", rig.certs.ca, "lab", "n9", -9, -1);
	check_stranger(&rig, we_listen, "old",
		       "the certificate of node 'n9' in cluster 'lab' expired on 20");
	certs_make(&rig.certs, "new", rig.certs.ca, "lab", "n9", 1, 9);
	check_stranger(&rig, we_listen, "new", "is not valid before 20");
	certs_make(&rig.certs, "alien", rig.certs.other, "lab", "n9", -1, 9);
	check_stranger(&rig, we_listen, "alien", "was signed by 'shmnet CA of lab'");
	certs_make(&rig.certs, "alone", NULL, "lab", "n9", -1, 9);
	check_stranger(&rig, we_listen, "alone", "was signed by 'n9'");
	certs_make(&rig.certs, "prod", rig.certs.ca, "prod", "n9", -1, 9);
	check_stranger(&rig, we_listen, "prod",
		       "the certificate is of node 'n9' in cluster 'prod', and here is "
		       "cluster 'lab'");
	certs_make(&rig.certs, "odd", rig.certs.ca, "lab", "n/9", -1, 9);
	check_stranger(&rig, we_listen, "odd", "'n/9' names no node");
	certs_make(&rig.certs, "nested", rig.certs.ca, "lab", NULL, -1, 9);
	check_stranger(&rig, we_listen, "nested", "is not made for a node's TLS");
	rig_close(&rig);
}

TEST_CASE(tls, clients_that_are_not_let_in)
{
	check_strangers(true);
}

TEST_CASE(tls, servers_that_are_not_believed)
{
	check_strangers(false);
}

TEST_CASE(tls, client_without_a_certificate)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	check_stranger(&rig, true, NULL, "it shows no certificate");
	rig_close(&rig);
}

TEST_CASE(tls, older_versions)
{
	struct pair pair;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	REQUIRE(pair_open(&pair, &rig, true, "n2"));
	SSL_set_max_proto_version(pair.ssl, TLS1_2_VERSION);
	CHECK_INT(pair_greet(&pair), -EPROTO);
	check_words(tls_stream_why(pair.stream), "it offers no TLS 1.3");
	pair_close(&pair);
	REQUIRE(pair_open(&pair, &rig, false, "n2"));
	SSL_set_max_proto_version(pair.ssl, TLS1_2_VERSION);
	CHECK_INT(pair_greet(&pair), -EPROTO);
	check_words(tls_stream_why(pair.stream), "protocol version");
	pair_close(&pair);
	rig_close(&rig);
}

/* A certificate that a node signed, with the node's own beside it. */
TEST_CASE(tls, node_that_plays_ca)
{
	const struct cert_spec spec = {
		.cluster = "lab",
		.node = "n2",
		.from = time(NULL) - CERTS_DAY,
		.until = time(NULL) + CERTS_DAY,
	};
	char path[CERTS_PATH_MAX];
	struct cert *node;
	struct pair pair;
	struct rig rig;
	X509 *middle;
	FILE *file;

	REQUIRE(rig_open(&rig));
	REQUIRE(cert_new(&spec, rig.certs.ca, &node) == 0);
	certs_write(&rig.certs, "middle", node);
	certs_make(&rig.certs, "forged", node, "lab", "n3", -1, 9);
	cert_free(node);
	REQUIRE(pair_open(&pair, &rig, true, "forged"));
	file = fopen(certs_path(&rig.certs, "middle", "crt", path), "re");
	REQUIRE(file);
	middle = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	CHECK_INT(SSL_add0_chain_cert(pair.ssl, middle), 1);
	CHECK_INT(pair_greet(&pair), -EPROTO);
	check_words(tls_stream_why(pair.stream),
		    "the certificate of node 'n2' in cluster 'lab': invalid CA");
	pair_close(&pair);
	rig_close(&rig);
}

TEST_CASE(tls, streams_that_end)
{
	static const char label[] = "EXPORTER-shmnet-qp";
	uint8_t key[TLS_KEY_BYTES], bytes[64];
	struct pair pair;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	REQUIRE(pair_open(&pair, &rig, true, "n2"));
	REQUIRE(CHECK_INT(pair_greet(&pair), 0));
	CHECK_STR(tls_stream_name(pair.stream), "n2");
	CHECK_INT(SSL_session_reused(pair.ssl), 0);
	SSL_export_keying_material(pair.ssl, key, sizeof(key), label, strlen(label), NULL,
				   0, 0);
	CHECK_MEM(tls_stream_key(pair.stream), key, sizeof(key));
	CHECK_INT(tls_stream_read(pair.stream, bytes, sizeof(bytes)), -EAGAIN);
	CHECK(!tls_stream_wants_write(pair.stream));
	CHECK_INT(SSL_write(pair.ssl, "hello", 5), 5);
	CHECK_INT(tls_stream_read(pair.stream, bytes, sizeof(bytes)), 5);
	CHECK_INT(tls_stream_write(pair.stream, bytes, 5), 5);
	CHECK_INT(tls_stream_shutdown(pair.stream), 0);
	CHECK_INT(SSL_read(pair.ssl, bytes, sizeof(bytes)), 5);
	CHECK_INT(SSL_read(pair.ssl, bytes, sizeof(bytes)), 0);
	CHECK_INT(SSL_get_error(pair.ssl, 0), SSL_ERROR_ZERO_RETURN);
	CHECK(!SSL_SESSION_is_resumable(SSL_get_session(pair.ssl)));
	CHECK_INT(shutdown(pair.fds[1], SHUT_WR), 0); /* without a goodbye */
	CHECK_INT(tls_stream_read(pair.stream, bytes, sizeof(bytes)), 0);
	pair_close(&pair);
	rig_close(&rig);
}

TEST_CASE(tls, records_that_are_spoilt)
{
	uint8_t bytes[64] = {0x17, 3, 3, 0, 32};
	struct pair pair;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	REQUIRE(pair_open(&pair, &rig, true, "n2"));
	REQUIRE(CHECK_INT(pair_greet(&pair), 0));
	CHECK_INT(send(pair.fds[1], bytes, 37, MSG_NOSIGNAL), 37);
	CHECK_INT(tls_stream_read(pair.stream, bytes, sizeof(bytes)), -EPROTO);
	check_words(tls_stream_why(pair.stream), "bad record mac");
	pair_close(&pair);
	rig_close(&rig);
}

/* ---- HMAC: RFC 4231, test case 1 with its key of 20 bytes filled up with zeroes ---- */

TEST_CASE(tls, hmac_is_that_of_the_rfc)
{
	static const uint8_t expected[TLS_KEY_BYTES] = {
		0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf,
		0xce, 0xaf, 0x0b, 0xf1, 0x2b, 0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83,
		0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7};
	uint8_t key[TLS_KEY_BYTES] = {0}, out[TLS_KEY_BYTES];

	memset(key, 0x0b, 20);
	CHECK_INT(tls_hmac(key, "Hi There", 8, out), 0);
	CHECK_MEM(out, expected, sizeof(out));
	CHECK(tls_hmac_is_equal(out, expected));
	out[31] ^= 1;
	CHECK(!tls_hmac_is_equal(out, expected));
}
