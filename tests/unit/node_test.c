/*
 * A node that can't start says why and leaves nothing behind, wherever memory runs
 * out: every allocation of ours and every event of libevent fails in its turn.
 */
#include "control/node.h"

#include "base/log.h"
#include "loop.h"
#include "netns.h"
#include "shim.h"

#include <event2/event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char config_text[] =
	"node: {name: n1, id: 1, runtime_dir: %s/run}\n"
	"fabrics:\n"
	"  - {name: local, kind: shm, path: %s/rendezvous}\n"
	"networks:\n"
	"  - {name: lan0, kind: local, tap: shm0, mtu: 9000, address: 10.7.0.1/24}\n"
	"  - {name: lan1, kind: local, tap: shm1, mtu: 1500, address: none}\n"
	"  - {name: web, kind: global, tap: shmg0, address: 10.99.0.1, announce: lo}\n";

/* ---- what the linker puts between ---- */

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
struct event *__real_event_new(struct event_base *base, evutil_socket_t fd, short what,
			       event_callback_fn call, void *arg);
struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd, short what,
			       event_callback_fn call, void *arg);

static unsigned countdown; /* to the allocation that fails; 0: none does */
static unsigned errors;	   /* that were logged */
static char said[512];	   /* the last of them */

static bool fails(void)
{
	return countdown && --countdown == 0;
}

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	va_list args;

	(void)subject;
	if (level != LOG_LEVEL_ERROR)
		return;
	errors++;
	va_start(args, format);
	vsnprintf(said, sizeof(said), format, args);
	va_end(args);
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return fails() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

struct event *__wrap_event_new(struct event_base *base, evutil_socket_t fd, short what,
			       event_callback_fn call, void *arg)
{
	return fails() ? NULL : __real_event_new(base, fd, what, call, arg);
}

/* ---- fixture ---- */

struct fixture {
	char dir[32];
	char run[64];
	char rendezvous[64];
	struct node_config *config;
};

static const char *fixture_open(struct fixture *f)
{
	const char *why_not = netns_enter_for_tap();
	char path[64];
	FILE *file;

	if (why_not)
		return why_not;
	countdown = errors = 0;
	snprintf(f->dir, sizeof(f->dir), "/tmp/shmnet-test.XXXXXX");
	CHECK(mkdtemp(f->dir));
	snprintf(f->run, sizeof(f->run), "%s/run", f->dir);
	snprintf(f->rendezvous, sizeof(f->rendezvous), "%s/rendezvous", f->dir);
	snprintf(path, sizeof(path), "%s/config", f->dir);
	file = fopen(path, "we");
	CHECK(file && fprintf(file, config_text, f->dir, f->dir) > 0);
	fclose(file);
	CHECK_INT(config_load(path, stderr, &f->config), 0);
	CHECK_INT(unlink(path), 0);
	return NULL;
}

static void fixture_close(struct fixture *f)
{
	config_free(f->config);
	rmdir(f->run);
	rmdir(f->rendezvous);
	CHECK_INT(rmdir(f->dir), 0);
}

#define OPEN(f) START_OR_SKIP(fixture_open(f))

static bool is_empty(const char *path)
{
	return rmdir(path) == 0 || errno == ENOENT;
}

static void check_nothing_is_left(const struct fixture *f)
{
	CHECK(is_empty(f->run));
	CHECK(is_empty(f->rendezvous));
	CHECK(!if_nametoindex("shm0"));
	CHECK(!if_nametoindex("shm1"));
}

/* ---- tests ---- */

TEST_CASE(node, start_without_memory_says_so_and_leaves_nothing)
{
	struct fixture f;
	unsigned failed = 0;
	bool all = false;

	OPEN(&f);
	for (unsigned k = 1; k < 1000 && !all && !test_failed(); k++) {
		struct node *node = NULL;
		int ret;

		errors = 0;
		countdown = k;
		ret = node_new(f.config, &node);
		all = countdown != 0;
		countdown = 0;
		failed += ret < 0;
		if (ret == 0)
			node_free(node);
		else if (!CHECK(errors > 0))
			fprintf(stderr, "allocation %u: no message\n", k);
		check_nothing_is_left(&f);
	}
	CHECK(all);
	CHECK(failed >= 15);
	fixture_close(&f);
}

/* A signal that comes during the start ends the node that it finds. */
TEST_CASE(node, signal_during_the_start_is_not_lost)
{
	struct node *node;
	struct fixture f;

	OPEN(&f);
	REQUIRE(node_new(f.config, &node) == 0);
	CHECK_INT(raise(SIGTERM), 0);
	CHECK_INT(node_run(node), 0);
	node_free(node);
	check_nothing_is_left(&f);
	fixture_close(&f);
}

TEST_CASE(node, second_instance_and_clean_up_are_refused_while_it_lives)
{
	struct node *node, *again;
	struct fixture f;

	OPEN(&f);
	REQUIRE(node_new(f.config, &node) == 0);
	CHECK_INT(node_new(f.config, &again), -EADDRINUSE);
	check_words(said, "node 1 is running already");
	CHECK_INT(node_cleanup(f.config), -EADDRINUSE);
	CHECK(if_nametoindex("shm0"));
	CHECK(if_nametoindex("shm1"));
	node_free(node);
	check_nothing_is_left(&f);
	fixture_close(&f);
}

static int start_and_die(void *arg)
{
	struct node *node;

	return node_new(((struct fixture *)arg)->config, &node) == 0 ? 0 : 1;
}

TEST_CASE(node, clean_up_removes_what_a_killed_node_left)
{
	struct fixture f;

	OPEN(&f);
	CHECK_INT(run_in_child(start_and_die, &f), 0);
	CHECK(if_nametoindex("shm0"));
	CHECK_INT(node_cleanup(f.config), 0);
	check_nothing_is_left(&f);
	CHECK_INT(node_cleanup(f.config), 0); /* of nothing */
	CHECK_INT(errors, 0);
	fixture_close(&f);
}

TEST_CASE(node, clean_up_without_memory_says_so)
{
	struct fixture f;
	bool all = false;

	OPEN(&f);
	for (unsigned k = 1; k < 1000 && !all && !test_failed(); k++) {
		int ret;

		CHECK_INT(run_in_child(start_and_die, &f), 0);
		errors = 0;
		countdown = k;
		ret = node_cleanup(f.config);
		all = countdown != 0;
		countdown = 0;
		CHECK(ret == 0 || errors > 0);
	}
	CHECK(all);
	CHECK_INT(node_cleanup(f.config), 0);
	check_nothing_is_left(&f);
	fixture_close(&f);
}

TEST_CASE(node, killed_node_starts_again)
{
	struct node *node;
	struct fixture f;

	OPEN(&f);
	CHECK_INT(run_in_child(start_and_die, &f), 0);
	CHECK_INT(node_new(f.config, &node), 0);
	node_free(node);
	check_nothing_is_left(&f);
	fixture_close(&f);
}

TEST_CASE(node, free_accepts_null)
{
	node_free(NULL);
}
