/*
 * The control side of the fabric of kind rdma with real TCP and TLS: several nodes in one
 * process, each at an address of its own of the loopback network, in a namespace.
 */
#include "base/log.h"
#include "control/channel.h"
#include "control/remote.h"
#include "control/seeds.h"

#include "certs.h"
#include "loop.h"
#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <stdarg.h>

#define NODES_MAX 4
#define ERROR_MAX 512

struct rig;

struct node {
	struct rig *rig;
	struct remote *remote;
	struct config_fabric fabric;
	char name[CONFIG_NAME_MAX];
	char files[3][CERTS_PATH_MAX];
	uint16_t id;
	bool is_present[NODES_MAX + 1]; /* by id */
	unsigned strangers;
	char said[64]; /* by the last of them */
	struct world_credentials credentials;
};

struct rig {
	struct loop loop;
	struct certs certs;
	char error[ERROR_MAX];
	struct node nodes[NODES_MAX];
};

/* ---- the log, as the tests see it ---- */

static char warnings[2048];

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...);

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	size_t used = strlen(warnings);
	va_list args;

	if (level > LOG_LEVEL_WARNING)
		return;
	used += (size_t)snprintf(warnings + used, sizeof(warnings) - used,
				 "%s: ", subject);
	if (used >= sizeof(warnings))
		return;
	va_start(args, format);
	vsnprintf(warnings + used, sizeof(warnings) - used, format, args);
	va_end(args);
}

/* ---- nodes ---- */

static void on_appeared(void *arg, uint16_t node_id)
{
	struct node *node = arg;

	if (CHECK(node_id <= NODES_MAX))
		node->is_present[node_id] = true;
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	struct node *node = arg;

	if (CHECK(node_id <= NODES_MAX))
		node->is_present[node_id] = false;
}

static void on_stranger(void *arg, struct world_channel *channel, const uint8_t *bytes,
			size_t length, struct world_parcel *parcel)
{
	struct node *node = arg;

	CHECK_INT(parcel->fd, -1);
	node->strangers++;
	snprintf(node->said, sizeof(node->said), "%.*s", (int)length,
		 (const char *)bytes);
	world_channel_credentials(channel, &node->credentials);
	world_channel_close(channel);
}

static void set_endpoint(struct config_endpoint *endpoint, const char *text)
{
	CHECK_INT(config_endpoint_parse(text, endpoint, NULL), 0);
}

/* Node `id` at 127.0.0.<id>, or at ::1 if it is the last one. */
static struct node *prepare(struct rig *rig, uint16_t id, const char *seed)
{
	struct node *node = &rig->nodes[id - 1];
	char text[CONFIG_ENDPOINT_MAX] = "[::1]:7471";

	node->rig = rig;
	node->id = id;
	snprintf(node->name, sizeof(node->name), "n%u", id);
	if (id < NODES_MAX)
		snprintf(text, sizeof(text), "127.0.0.%u:7471", id);
	node->fabric =
		(struct config_fabric){.name = (char *)"roce", .kind = FABRIC_KIND_RDMA};
	set_endpoint(&node->fabric.listen, text);
	if (seed)
		set_endpoint(&node->fabric.seeds[node->fabric.num_seeds++], seed);
	node->fabric.security = FABRIC_SECURITY_NONE;
	return node;
}

static void set_files(struct node *node, const char *ca, const char *file)
{
	const struct certs *certs = &node->rig->certs;

	node->fabric.security = FABRIC_SECURITY_TLS;
	node->fabric.ca = (char *)certs_path(certs, ca, "crt", node->files[0]);
	node->fabric.certificate = (char *)certs_path(certs, file, "crt", node->files[1]);
	node->fabric.key = (char *)certs_path(certs, file, "key", node->files[2]);
}

static int start(struct node *node)
{
	const struct remote_options options = {
		.fabric = &node->fabric,
		.cluster = "lab",
		.name = node->name,
		.node_id = node->id,
		.appeared = on_appeared,
		.disappeared = on_disappeared,
		.stranger = on_stranger,
		.arg = node,
	};
	struct rig *rig = node->rig;
	int ret = remote_new(rig->loop.base, &options, &node->remote, rig->error,
			     sizeof(rig->error));

	if (ret < 0)
		return ret;
	return remote_start(node->remote);
}

static bool is_at(const struct node *node, unsigned count)
{
	unsigned present = 0;

	for (unsigned i = 1; i <= NODES_MAX; i++)
		present += node->is_present[i];
	return present == count;
}

static void on_seed(const struct seed_report *report, void *arg)
{
	*(struct seed_report *)arg = *report;
}

/* Of a node that has one. */
static struct seed_report seed_of(const struct node *node)
{
	struct seed_report report = {0};

	seeds_each(remote_seeds(node->remote), on_seed, &report);
	return report;
}

/* ---- surroundings ---- */

static bool loopback_up(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_UP};

	return change_interface("lo", SIOCSIFFLAGS, &ifr) == 0;
}

/* NULL, or why there can be none. */
static const char *rig_open(struct rig *rig)
{
	const char *why = netns_enter();

	memset(rig, 0, sizeof(*rig));
	warnings[0] = '\0';
	if (why)
		return why;
	if (!loopback_up() || !loop_open(&rig->loop))
		abort();
	certs_open(&rig->certs, rig->loop.dir);
	certs_make(&rig->certs, "n3", rig->certs.ca, "lab", "n3", -1, 90);
	certs_make(&rig->certs, "n4", rig->certs.ca, "lab", "n4", -1, 90);
	return NULL;
}

static void rig_close(struct rig *rig)
{
	for (unsigned i = 0; i < NODES_MAX; i++)
		remote_free(rig->nodes[i].remote);
	certs_close(&rig->certs);
	loop_close(&rig->loop);
}

/* n1 <- n2 <- n3 <- n4, which has the IPv6 address. */
static void prepare_chain(struct rig *rig)
{
	prepare(rig, 1, NULL);
	prepare(rig, 2, "127.0.0.1:7471");
	prepare(rig, 3, "127.0.0.2:7471");
	prepare(rig, 4, "127.0.0.3:7471");
}

/* All of it once: who finds whom, and who says something else is a stranger. */
static void check_chain(struct rig *rig, const char *name_of_dialler)
{
	struct world_channel *channel = NULL;
	struct node *last = &rig->nodes[3];

	for (unsigned i = 4; i-- > 0;)
		CHECK_INT(start(&rig->nodes[i]), 0);
	CHECK_STR(rig->error, "");
	for (unsigned i = 0; i < 4; i++)
		LOOP_WAIT(&rig->loop, is_at(&rig->nodes[i], 3));
	CHECK_INT(seed_of(&rig->nodes[1]).state, SEED_UP);
	CHECK_STR(seed_of(&rig->nodes[1]).node, "n1");
	REQUIRE(remote_has(rig->nodes[0].remote, 4));
	REQUIRE(remote_dial(rig->nodes[0].remote, 4, &channel) == 0);
	CHECK_INT(world_channel_send(channel, (const uint8_t *)"hello", 5, -1), 0);
	LOOP_WAIT(&rig->loop, last->strangers == 1);
	CHECK_STR(last->said, "hello");
	CHECK(last->credentials.is_remote);
	CHECK_STR(last->credentials.name, name_of_dialler);
	world_channel_close(channel);
	CHECK_INT(remote_dial(rig->nodes[0].remote, 1, &channel), -ENOENT);
}

TEST_CASE(remote, nodes_find_each_other_by_tls)
{
	struct rig rig;
	const char *why;

	why = rig_open(&rig);
	if (why)
		TEST_SKIP(why);
	prepare_chain(&rig);
	for (unsigned i = 0; i < 4; i++)
		set_files(&rig.nodes[i], "ca", rig.nodes[i].name);
	check_chain(&rig, "n1");
	rig_close(&rig);
}

TEST_CASE(remote, plain_tcp_works_and_is_warned_of)
{
	struct rig rig;
	const char *why;

	why = rig_open(&rig);
	if (why)
		TEST_SKIP(why);
	prepare_chain(&rig);
	check_chain(&rig, "");
	check_words(warnings, "roce: security is none");
	rig_close(&rig);
}

/* ---- what is wrong, in words ---- */

TEST_CASE(remote, a_certificate_that_is_not_there_is_named)
{
	struct rig rig;
	struct node *node;
	const char *why;

	why = rig_open(&rig);
	if (why)
		TEST_SKIP(why);
	node = prepare(&rig, 1, NULL);
	set_files(node, "ca", "nobody");
	CHECK_INT(start(node), -ENOENT);
	check_words(rig.error, "fabric roce: ");
	check_words(rig.error, "nobody.crt");
	set_files(node, "ca", "n2");
	CHECK(start(node) < 0);
	check_words(rig.error, "n2");
	rig_close(&rig);
}

TEST_CASE(remote, an_address_that_can_not_be_had_is_named)
{
	struct node *first, *second;
	struct rig rig;
	const char *why;

	why = rig_open(&rig);
	if (why)
		TEST_SKIP(why);
	first = prepare(&rig, 1, NULL);
	second = prepare(&rig, 2, NULL);
	set_endpoint(&second->fabric.listen, "192.0.2.1:7471");
	CHECK_INT(start(second), -EADDRNOTAVAIL);
	check_words(rig.error, "fabric roce: can't listen on 192.0.2.1:7471");
	rig.error[0] = '\0';
	second->fabric.listen = first->fabric.listen;
	CHECK_INT(start(first), 0);
	CHECK_INT(start(second), -EADDRINUSE);
	check_words(rig.error, "can't listen on 127.0.0.1:7471");
	rig_close(&rig);
}

TEST_CASE(remote, a_seed_that_nobody_is_at_is_named)
{
	struct rig rig;
	struct node *node;
	const char *why;

	why = rig_open(&rig);
	if (why)
		TEST_SKIP(why);
	node = prepare(&rig, 2, "127.0.0.1:7471");
	CHECK_INT(start(node), 0);
	LOOP_WAIT(&rig.loop, seed_of(node).state == SEED_WAITING);
	CHECK_STR(seed_of(node).reason,
		  "can't connect to 127.0.0.1:7471: Connection refused");
	check_words(warnings,
		    "seed: can't connect to 127.0.0.1:7471: Connection refused; "
		    "it is tried again");
	CHECK_INT(start(prepare(&rig, 1, NULL)), 0);
	LOOP_WAIT(&rig.loop, seed_of(node).state == SEED_UP);
	rig_close(&rig);
}

TEST_CASE(remote, a_seed_of_another_ca_is_told)
{
	struct rig rig;
	struct node *node;
	const char *why;

	why = rig_open(&rig);
	if (why)
		TEST_SKIP(why);
	set_files(prepare(&rig, 1, NULL), "ca", "n1");
	certs_make(&rig.certs, "x2", rig.certs.other, "lab", "n2", -1, 90);
	node = prepare(&rig, 2, "127.0.0.1:7471");
	set_files(node, "other", "x2");
	CHECK_INT(start(&rig.nodes[0]), 0);
	CHECK_INT(start(node), 0);
	LOOP_WAIT(&rig.loop, seed_of(node).state == SEED_WAITING);
	check_words(seed_of(node).reason, "certificate");
	CHECK(is_at(&rig.nodes[0], 0) && is_at(node, 0));
	rig_close(&rig);
}

/* One side has TLS, the other one none. */
TEST_CASE(remote, a_seed_of_another_security_is_told)
{
	struct rig rig;
	struct node *node;
	const char *why;

	why = rig_open(&rig);
	if (why)
		TEST_SKIP(why);
	set_files(prepare(&rig, 1, NULL), "ca", "n1");
	node = prepare(&rig, 2, "127.0.0.1:7471");
	CHECK_INT(start(&rig.nodes[0]), 0);
	CHECK_INT(start(node), 0);
	LOOP_WAIT(&rig.loop, seed_of(node).state == SEED_WAITING);
	CHECK(*seed_of(node).reason);
	CHECK(is_at(&rig.nodes[0], 0) && is_at(node, 0));
	rig_close(&rig);
}

static int connect_to(const struct config_endpoint *endpoint)
{
	int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(connect(fd, (const struct sockaddr *)&endpoint->address,
			  endpoint->length),
		  0);
	return fd;
}

static bool is_closed(int fd)
{
	char bytes[256];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN);
}

TEST_CASE(remote, garbage_on_the_port_is_nobody)
{
	static const char garbage[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
	struct rig rig;
	struct node *node;
	const char *why;

	why = rig_open(&rig);
	if (why)
		TEST_SKIP(why);
	set_files(prepare(&rig, 1, NULL), "ca", "n1");
	prepare(&rig, 2, NULL);
	for (unsigned i = 0; i < 2; i++) {
		int fd;

		node = &rig.nodes[i];
		CHECK_INT(start(node), 0);
		fd = connect_to(&node->fabric.listen);
		CHECK_INT(send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL),
			  sizeof(garbage));
		LOOP_WAIT(&rig.loop, is_closed(fd));
		CHECK_INT(node->strangers, 0);
		close(fd);
	}
	rig_close(&rig);
}

TEST_CASE(remote, free_accepts_null)
{
	remote_free(NULL);
}
