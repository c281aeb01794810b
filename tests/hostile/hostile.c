/*
 * See hostile.h.
 *
 *     hostile --list
 *     hostile --directory DIR --network NAME --mtu N --id N --lie NAME --seed N
 *             [--victims N] [--patience MS]
 *
 * Joins the rendezvous, waits until as many nodes as there are victims have called (every
 * node with a lower id does), and tells each of them the lie of that name, by the seed.
 * Prints a line of JSON per victim:
 *
 *     {"lie": NAME, "id": N, "seed": N, "victim": "n1", "expect": "quarantine",
 *      "verdict": "quarantine", "words": "...", "after_us": N}
 *
 * The verdict: "quarantine", "refused", "closed", or "kept" if the victim is content
 * until the patience (2 s; ten times that if it must not be) ends; after_us is from the
 * lie to the verdict. Exit status 1 if a verdict is not what is expected, or a victim did
 * not call.
 *
 *     hostile --list    names the lies, each with what is expected
 */
#include "hostile.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define TICK_MS	     5
#define JOIN_WAIT_NS 10000000000ull

static const char *const expectations[] = {
	[EXPECT_QUARANTINE] = "quarantine",
	[EXPECT_KEPT] = "kept",
	[EXPECT_ENDED] = "ended",
	[EXPECT_EITHER] = "either",
};

static const struct lie *const families[] = {ring_lies, channel_lies, cast_lies};
#define NUM_FAMILIES (sizeof(families) / sizeof(families[0]))

static const struct lie *find_lie(const char *name)
{
	for (unsigned i = 0; i < NUM_FAMILIES; i++) {
		for (const struct lie *lie = families[i]; lie->name; lie++) {
			if (strcmp(lie->name, name) == 0)
				return lie;
		}
	}
	return NULL;
}

static int list_lies(void)
{
	for (unsigned i = 0; i < NUM_FAMILIES; i++) {
		for (const struct lie *lie = families[i]; lie->name; lie++)
			printf("%s %s\n", lie->name, expectations[lie->expectation]);
	}
	return 0;
}

/* ---- verdicts ---- */

static bool is_kept(const struct session *session)
{
	return strcmp(session->verdict, "kept") == 0;
}

static bool is_expected(const struct session *session)
{
	enum expectation expectation = session->self->lie->expectation;

	if (expectation == EXPECT_ENDED &&
	    strncmp(session->verdict, "quarantine", strlen("quarantine")) == 0)
		return false;
	return expectation == EXPECT_EITHER ||
	       (expectation == EXPECT_KEPT) == is_kept(session);
}

/* The words are a node's, which writes nothing that JSON minds but quotes. */
static void print_verdict(const struct session *session)
{
	const struct hostile *self = session->self;
	const char *words = strstr(session->verdict, ": ");
	int length =
		(int)(words ? words - session->verdict : (long)strlen(session->verdict));

	printf("{\"lie\": \"%s\", \"id\": %u, \"seed\": %llu, \"victim\": \"%s\", "
	       "\"expect\": "
	       "\"%s\", \"verdict\": \"%.*s\", \"words\": \"",
	       self->lie->name, self->id, (unsigned long long)self->seed, session->name,
	       expectations[self->lie->expectation], length, session->verdict);
	for (words = words ? words + 2 : ""; *words; words++)
		putchar(*words == '"' || *words == '\\' ? '\'' : *words);
	printf("\", \"after_us\": %llu}\n",
	       (unsigned long long)(session->over_ns - session->lied_ns) / 1000);
}

/* ---- the loop ---- */

static void *flip(void *argument)
{
	struct session *session = argument;

	session->self->lie->flip(session);
	return NULL;
}

static void lie_to(struct session *session)
{
	const struct lie *lie = session->self->lie;

	session_live(session);
	if (!session->lied_ns)
		session->lied_ns = now_ns();
	if (lie->tell)
		lie->tell(session, session->round);
	if (lie->flip && !session->has_flipper)
		session->has_flipper =
			pthread_create(&session->flipper, NULL, flip, session) == 0;
	session->round++;
}

static bool all_have_come(const struct hostile *self)
{
	if (self->num_sessions < self->victims)
		return false;
	for (unsigned i = 0; i < self->num_sessions; i++) {
		const struct session *session = self->sessions[i];

		if (!session->is_up && !session->is_over && !session->lied_ns)
			return false;
	}
	return true;
}

static bool all_are_over(const struct hostile *self)
{
	for (unsigned i = 0; i < self->num_sessions; i++) {
		if (!self->sessions[i]->is_over)
			return false;
	}
	return true;
}

/* All that came, within a tick. */
static void hear_all(struct hostile *self)
{
	struct pollfd fds[1 + SESSIONS_MAX] = {{self->listen_fd, POLLIN, 0}};
	unsigned count = self->num_sessions;

	if (count == self->victims)
		fds[0].fd = -1; /* who comes again was told enough */
	for (unsigned i = 0; i < count; i++) {
		const struct session *session = self->sessions[i];
		bool listens = !session->is_over && !session->is_deaf;

		fds[1 + i] = (struct pollfd){listens ? session->channel : -1, POLLIN, 0};
	}
	poll(fds, 1 + count, TICK_MS);
	if (fds[0].revents)
		session_accept(self);
	for (unsigned i = 0; i < count; i++) {
		if (fds[1 + i].revents)
			session_hear(self->sessions[i]);
	}
}

/* A victim that must mind may need a while to meet with a lie, and ends it by that. */
static uint64_t patience_ns(const struct hostile *self)
{
	const unsigned times = self->lie->expectation == EXPECT_QUARANTINE ? 10 : 1;

	return (uint64_t)self->patience_ms * times * 1000000;
}

static void run(struct hostile *self)
{
	uint64_t end_ns = now_ns() + JOIN_WAIT_NS, started_ns = 0;

	while (now_ns() < end_ns) {
		hear_all(self);
		if (!started_ns && all_have_come(self)) {
			started_ns = now_ns();
			end_ns = started_ns + patience_ns(self);
		}
		if (started_ns && all_are_over(self))
			break;
		for (unsigned i = 0; i < self->num_sessions; i++) {
			struct session *session = self->sessions[i];

			if (session->is_up && !session->is_over && started_ns)
				lie_to(session);
			else if (session->is_up && !session->is_over)
				session_live(session);
		}
	}
}

/* A deaf one looks now, which is late. */
static void end_session(struct session *session)
{
	for (int i = 0; i < 1000 && session->is_deaf && !session->is_over; i++)
		session_hear(session);
	if (!session->is_over)
		snprintf(session->verdict, sizeof(session->verdict), "kept");
	if (!session->over_ns)
		session->over_ns = now_ns();
}

static int finish(struct hostile *self)
{
	bool ok = self->num_sessions >= self->victims;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	for (unsigned i = 0; i < self->num_sessions; i++) {
		end_session(self->sessions[i]);
		print_verdict(self->sessions[i]);
		ok &= is_expected(self->sessions[i]);
	}
	for (unsigned i = 0; i < self->num_sessions; i++)
		session_free(self->sessions[i]);
	snprintf(path, sizeof(path), "%s/node-%u.sock", self->directory, self->id);
	unlink(path);
	snprintf(path, sizeof(path), "%s/node-%u.lock", self->directory, self->id);
	unlink(path);
	if (self->num_sessions < self->victims)
		fprintf(stderr, "hostile: %u of %u victims called\n", self->num_sessions,
			self->victims);
	return ok ? 0 : 1;
}

/* ---- arguments ---- */

static int usage(void)
{
	fputs("usage: see the top of hostile.c\n", stderr);
	return 2;
}

static bool take_option(struct hostile *self, int option, const char *value)
{
	switch (option) {
	case 'd':
		self->directory = value;
		break;
	case 'n':
		self->network = value;
		break;
	case 'm':
		self->mtu = (uint32_t)atoi(value);
		break;
	case 'i':
		self->id = (uint16_t)atoi(value);
		break;
	case 'l':
		self->lie = find_lie(value);
		break;
	case 's':
		self->seed = strtoull(value, NULL, 10);
		break;
	case 'v':
		self->victims = (unsigned)atoi(value);
		break;
	case 'p':
		self->patience_ms = (unsigned)atoi(value);
		break;
	default:
		return false;
	}
	return true;
}

static const struct option options[] = {
	{"directory", required_argument, NULL, 'd'},
	{"network", required_argument, NULL, 'n'},
	{"mtu", required_argument, NULL, 'm'},
	{"id", required_argument, NULL, 'i'},
	{"lie", required_argument, NULL, 'l'},
	{"seed", required_argument, NULL, 's'},
	{"victims", required_argument, NULL, 'v'},
	{"patience", required_argument, NULL, 'p'},
	{"list", no_argument, NULL, 'L'},
	{NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
	struct hostile self = {.victims = 1, .patience_ms = 2000, .mtu = 1500};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'L')
			return list_lies();
		if (!take_option(&self, option, optarg))
			return usage();
	}
	if (!self.lie || !self.directory || !self.network || !self.id ||
	    self.victims > SESSIONS_MAX)
		return usage();
	self.random = (self.seed + 1) * 0x9e3779b97f4a7c15ull;
	self.nonce = random_next(&self.random) ^ now_ns();
	if (hostile_listen(&self) < 0)
		die(self.directory);
	run(&self);
	return finish(&self);
}
