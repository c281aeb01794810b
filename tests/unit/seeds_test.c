/*
 * Membership between machines, several nodes in one process: a node is a struct seeds,
 * its network a function that joins two of them by a pair of sockets. Ages and pauses are
 * short; what is waited for is a condition.
 */
#include "base/log.h"
#include "control/channel.h"
#include "control/channel_shm.h"
#include "control/seeds.h"
#include "loop.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/socket.h>

#define HOSTS_MAX 48

static const struct seeds_pace pace = {
	.look = 100,
	.change = 10,
	.patience = 2000,
	.silence = 2000,
	.retry = 20,
	.retry_most = 80,
	.lifetime = 1500,
};

struct net;

struct host {
	struct net *net;
	struct seeds *seeds; /* NULL: it does not run */
	uint16_t id;
	char name[CONFIG_NAME_MAX];
	struct config_endpoint address;
	const char *certificate; /* NULL: none */
	unsigned num_seeds;
	struct config_endpoint list[4];
	bool is_present[HOSTS_MAX + 2]; /* by id */
	unsigned appeared[HOSTS_MAX + 2];
	unsigned strangers;
};

struct net {
	struct loop loop;
	struct host hosts[HOSTS_MAX];
	unsigned count;
	unsigned refused; /* how often nobody was there */
	uint64_t last_nonce;
	struct world_channel *mute; /* the last one that nobody answers on */
};

/* ---- the log, as the tests see it ---- */

static char last_log[1024];

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...);

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	va_list args;

	(void)subject;
	if (level > LOG_LEVEL_WARNING)
		return;
	va_start(args, format);
	vsnprintf(last_log, sizeof(last_log), format, args);
	va_end(args);
}

/* ---- hosts ---- */

static void on_appeared(void *arg, uint16_t node_id)
{
	struct host *host = arg;

	if (node_id > HOSTS_MAX + 1)
		abort();
	host->is_present[node_id] = true;
	host->appeared[node_id]++;
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	struct host *host = arg;

	CHECK(host->is_present[node_id]);
	host->is_present[node_id] = false;
}

static void on_stranger(void *arg, struct world_channel *channel, const uint8_t *bytes,
			size_t length, struct world_parcel *parcel)
{
	struct host *host = arg;

	(void)parcel;
	CHECK(length > 0 && bytes[0] != 0x62); /* no LOOK */
	host->strangers++;
	world_channel_close(channel);
}

static struct host *find_host(struct net *net, const char *address)
{
	for (unsigned i = 0; i < net->count; i++) {
		if (strcmp(net->hosts[i].address.text, address) == 0)
			return &net->hosts[i];
	}
	return NULL;
}

/* ---- channels ---- */

static const struct channel_ops *plain_ops;
static struct channel_ops named_ops;
static const char *certificate_name; /* of who is at the other end of named channels */

static void named_credentials(const struct world_channel *channel,
			      struct world_credentials *ret)
{
	plain_ops->credentials(channel, ret);
	snprintf(ret->name, sizeof(ret->name), "%s", certificate_name);
}

static void name_channel(struct world_channel *channel, const char *name)
{
	plain_ops = channel->ops;
	named_ops = *channel->ops;
	named_ops.credentials = named_credentials;
	certificate_name = name;
	channel->ops = &named_ops;
}

static void make_pair(struct net *net, struct world_channel *channels[2])
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) <
	    0)
		abort();
	for (int i = 0; i < 2; i++) {
		if (channel_shm_new(net->loop.base, fds[i], &channels[i]) < 0)
			abort();
	}
}

static int on_dial(void *arg, const struct config_endpoint *address,
		   struct world_channel **ret_channel)
{
	struct host *host = arg, *other = find_host(host->net, address->text);
	struct world_channel *channels[2];

	if (!other || !other->seeds) {
		host->net->refused++;
		return -ECONNREFUSED;
	}
	make_pair(host->net, channels);
	if (host->certificate)
		name_channel(channels[1], host->certificate);
	seeds_accept(other->seeds, channels[1]);
	*ret_channel = channels[0];
	return 0;
}

/* ---- nodes ---- */

static struct host *add_host(struct net *net, const char *address)
{
	struct host *host = &net->hosts[net->count++];

	if (net->count > HOSTS_MAX)
		abort();
	host->net = net;
	host->id = (uint16_t)net->count;
	snprintf(host->name, sizeof(host->name), "n%u", net->count);
	CHECK_INT(config_endpoint_parse(address, &host->address, NULL), 0);
	return host;
}

static void add_seed(struct host *host, const char *address)
{
	CHECK_INT(config_endpoint_parse(address, &host->list[host->num_seeds++], NULL),
		  0);
}

static void start_in(struct host *host, const char *cluster)
{
	struct seeds_options options = {
		.cluster = cluster,
		.self = {.id = host->id,
			 .address = host->address,
			 .nonce = ++host->net->last_nonce},
		.seeds = host->list,
		.num_seeds = host->num_seeds,
		.pace = &pace,
		.dial = on_dial,
		.appeared = on_appeared,
		.disappeared = on_disappeared,
		.stranger = on_stranger,
		.arg = host,
	};

	memcpy(options.self.name, host->name, sizeof(options.self.name));
	if (seeds_new(host->net->loop.base, &options, &host->seeds) < 0 ||
	    seeds_start(host->seeds) < 0)
		abort();
}

static void start(struct host *host)
{
	start_in(host, "demo");
}

static void stop(struct host *host)
{
	seeds_free(host->seeds);
	host->seeds = NULL;
	memset(host->is_present, 0, sizeof(host->is_present));
}

static struct net *net_open(void)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net || !loop_open(&net->loop))
		abort();
	last_log[0] = '\0';
	return net;
}

static void net_close(struct net *net)
{
	for (unsigned i = 0; i < net->count; i++)
		stop(&net->hosts[i]);
	if (net->mute)
		world_channel_close(net->mute);
	loop_close(&net->loop);
	free(net);
}

/* Does each that runs know each other that runs, at its address, and nobody else? */
static bool all_agree(const struct net *net)
{
	for (unsigned i = 0; i < net->count; i++) {
		const struct host *host = &net->hosts[i];

		for (unsigned j = 0; host->seeds && j < net->count; j++) {
			const struct host *other = &net->hosts[j];
			const struct config_endpoint *at;

			if (i == j)
				continue;
			at = seeds_find(host->seeds, other->id);
			if (host->is_present[other->id] != !!other->seeds ||
			    !at != !other->seeds ||
			    (at && strcmp(at->text, other->address.text) != 0))
				return false;
		}
	}
	return true;
}

struct seen_seeds {
	unsigned count;
	struct seed_report list[CONFIG_SEEDS_MAX];
};

static void on_seed(const struct seed_report *report, void *arg)
{
	struct seen_seeds *seen = arg;

	seen->list[seen->count++] = *report;
}

static struct seed_report seed_of(const struct host *host, unsigned index)
{
	struct seen_seeds seen = {0};

	seeds_each(host->seeds, on_seed, &seen);
	CHECK(index < seen.count);
	return seen.list[index];
}

/* n1 <- n2 <- n3 <- n4: each has the one before as its seed. */
static struct net *make_chain(void)
{
	struct net *net = net_open();

	add_host(net, "192.0.2.1:1");
	add_seed(add_host(net, "192.0.2.2:1"), "192.0.2.1:1");
	add_seed(add_host(net, "[fd77::3]:1"), "192.0.2.2:1");
	add_seed(add_host(net, "192.0.2.4:1"), "[fd77::3]:1");
	return net;
}

TEST_CASE(seeds, membership_spreads_from_any_seed)
{
	struct net *net = make_chain();

	for (unsigned i = 4; i-- > 0;) /* the seeds come last */
		start(&net->hosts[i]);
	LOOP_WAIT(&net->loop, all_agree(net));
	for (unsigned i = 0; i < 4; i++)
		CHECK_INT(seeds_count_nodes(net->hosts[i].seeds), 3);
	CHECK_INT(seed_of(&net->hosts[3], 0).state, SEED_UP);
	CHECK_STR(seed_of(&net->hosts[3], 0).node, "n3");
	CHECK_STR(seed_of(&net->hosts[3], 0).reason, "");
	net_close(net);
}

TEST_CASE(seeds, a_node_that_comes_back_appears_again)
{
	struct net *net = make_chain();
	struct host *first = &net->hosts[0], *last = &net->hosts[3];

	for (unsigned i = 0; i < 4; i++)
		start(&net->hosts[i]);
	LOOP_WAIT(&net->loop, all_agree(net));
	CHECK_INT(last->appeared[1], 1);
	stop(first);
	start(first);
	LOOP_WAIT(&net->loop, last->appeared[1] == 2 && all_agree(net));
	CHECK_STR(seeds_words(first->seeds), ""); /* its former life is no twin */
	net_close(net);
}

TEST_CASE(seeds, a_node_that_is_gone_disappears_everywhere)
{
	struct net *net = make_chain();

	for (unsigned i = 0; i < 4; i++)
		start(&net->hosts[i]);
	LOOP_WAIT(&net->loop, all_agree(net));
	stop(&net->hosts[3]);
	CHECK(!all_agree(net));
	LOOP_WAIT(&net->loop, all_agree(net));
	CHECK(!net->hosts[0].is_present[4]);
	net_close(net);
}

/* More than one LOOK can tell of. */
TEST_CASE(seeds, a_crowd_finds_itself)
{
	struct net *net = net_open();

	for (unsigned i = 1; i <= HOSTS_MAX; i++) {
		char address[32];

		snprintf(address, sizeof(address), "192.0.2.%u:1", i);
		add_seed(add_host(net, address), i == 1 ? "192.0.2.9:1" : "192.0.2.1:1");
		start(&net->hosts[i - 1]);
	}
	LOOP_WAIT(&net->loop, all_agree(net));
	net_close(net);
}

TEST_CASE(seeds, a_seed_that_is_not_there_is_tried_again)
{
	struct net *net = make_chain();
	struct host *host = &net->hosts[1];

	start(host);
	LOOP_WAIT(&net->loop, net->refused >= 4);
	CHECK_INT(seed_of(host, 0).state, SEED_WAITING);
	CHECK_STR(seed_of(host, 0).address, "192.0.2.1:1");
	CHECK_STR(seed_of(host, 0).reason, "Connection refused");
	CHECK_STR(last_log, "192.0.2.1:1: Connection refused; it is tried again");
	start(&net->hosts[0]);
	LOOP_WAIT(&net->loop, seed_of(host, 0).state == SEED_UP);
	stop(&net->hosts[0]);
	LOOP_WAIT(&net->loop, seed_of(host, 0).state == SEED_WAITING);
	CHECK_STR(seed_of(host, 0).node, "n1");
	net_close(net);
}

TEST_CASE(seeds, our_own_address_among_the_seeds_is_passed_over)
{
	struct net *net = make_chain();
	struct host *host = &net->hosts[0];

	add_seed(host, "192.0.2.1:1");
	start(host);
	CHECK_INT(seed_of(host, 0).state, SEED_OURSELVES);
	loop_idle(&net->loop);
	CHECK_INT(net->refused, 0);
	net_close(net);
}

/* An address that leads to ourselves without being ours, as NAT makes them. */
TEST_CASE(seeds, who_answers_with_our_own_nonce_is_ourselves)
{
	struct net *net = make_chain();
	struct host *host = &net->hosts[1];

	start(host);
	net->hosts[0].seeds = host->seeds;
	LOOP_WAIT(&net->loop, seed_of(host, 0).state == SEED_OURSELVES);
	CHECK_INT(seeds_count_nodes(host->seeds), 0);
	net->hosts[0].seeds = NULL;
	net_close(net);
}

/* ---- who is refused ---- */

TEST_CASE(seeds, a_seed_of_another_cluster_is_refused_in_words)
{
	const char *words = "cluster other of n2 (id 2) and cluster demo of n1 (id 1) "
			    "differ";
	struct net *net = make_chain();
	struct host *host = &net->hosts[1];

	start(&net->hosts[0]);
	start_in(host, "other");
	LOOP_WAIT(&net->loop, seed_of(host, 0).state == SEED_WAITING);
	check_words(seed_of(host, 0).reason, words);
	check_words(last_log, words);
	CHECK_INT(seeds_count_nodes(host->seeds), 0);
	CHECK_INT(seeds_count_nodes(net->hosts[0].seeds), 0);
	net_close(net);
}

TEST_CASE(seeds, a_certificate_is_of_the_node_that_presents_it)
{
	struct net *net = make_chain();
	struct host *host = &net->hosts[1];

	host->certificate = "n3";
	start(&net->hosts[0]);
	start(host);
	LOOP_WAIT(&net->loop, seed_of(host, 0).state == SEED_WAITING);
	check_words(seed_of(host, 0).reason, "certificate of n3 presented by node n2");
	host->certificate = "n2";
	LOOP_WAIT(&net->loop, seed_of(host, 0).state == SEED_UP);
	net_close(net);
}

TEST_CASE(seeds, two_live_nodes_with_one_id_are_told)
{
	struct net *net = make_chain();
	struct host *twin = add_host(net, "192.0.2.5:1");

	add_seed(twin, "192.0.2.1:1");
	twin->id = 2;
	start(&net->hosts[0]);
	start(&net->hosts[1]);
	LOOP_WAIT(&net->loop, seeds_count_nodes(net->hosts[0].seeds) == 1);
	start(twin);
	LOOP_WAIT(&net->loop, seed_of(twin, 0).state == SEED_WAITING);
	check_words(seed_of(twin, 0).reason,
		    "id 2 is that of n2 at 192.0.2.2:1 and of n5 at 192.0.2.5:1: two "
		    "live nodes with one id");
	check_words(seeds_words(net->hosts[0].seeds), "two live nodes with one id");
	CHECK_STR(seeds_find(net->hosts[0].seeds, 2)->text, "192.0.2.2:1");
	stop(&net->hosts[1]); /* now there is room for it */
	LOOP_WAIT(&net->loop, seed_of(twin, 0).state == SEED_UP);
	net_close(net);
}

TEST_CASE(seeds, a_seed_with_our_own_id_is_told)
{
	struct net *net = make_chain();
	struct host *twin = &net->hosts[1];

	twin->id = 1;
	start(&net->hosts[0]);
	start(twin);
	LOOP_WAIT(&net->loop, seed_of(twin, 0).state == SEED_WAITING);
	check_words(seed_of(twin, 0).reason, "two live nodes with one id");
	net_close(net);
}

/* ---- who is no node of ours ---- */

/* Something that dialled a host, and what it was told last. */
struct caller {
	struct world_channel *channel;
	bool is_closed;
	struct peer_message heard;
	unsigned count;
};

static void caller_message(void *arg, const uint8_t *bytes, size_t length,
			   struct world_parcel *parcel)
{
	struct caller *caller = arg;
	const char *why;

	(void)parcel;
	CHECK_INT(codec_peer_decode(bytes, length, &caller->heard, &why), 0);
	caller->count++;
}

static void caller_closed(void *arg, int error)
{
	struct caller *caller = arg;

	(void)error;
	caller->is_closed = true;
}

static const struct world_channel_handler caller_handler = {caller_message,
							    caller_closed};

static void call(struct host *host, struct caller *caller)
{
	struct world_channel *channels[2];

	memset(caller, 0, sizeof(*caller));
	make_pair(host->net, channels);
	caller->channel = channels[0];
	world_channel_set_handler(channels[0], &caller_handler, caller);
	seeds_accept(host->seeds, channels[1]);
}

static void say(struct caller *caller, const void *bytes, size_t length)
{
	CHECK_INT(world_channel_send(caller->channel, bytes, length, -1), 0);
}

static void say_look(struct caller *caller, uint16_t id, uint64_t nonce)
{
	struct peer_message message = {.type = PEER_MESSAGE_LOOK};
	struct peer_look *look = &message.look;
	uint8_t bytes[1024];
	size_t length;

	look->wire_version = SHMNET_WIRE_VERSION;
	snprintf(look->cluster, sizeof(look->cluster), "demo");
	look->self = (struct peer_life){.id = id, .name = "caller", .nonce = nonce};
	CHECK_INT(config_endpoint_parse("192.0.2.77:1", &look->self.address, NULL), 0);
	CHECK_INT(codec_peer_encode(&message, bytes, sizeof(bytes), &length), 0);
	say(caller, bytes, length);
}

TEST_CASE(seeds, another_wire_version_is_refused_with_both)
{
	static const uint8_t look_of_77[] = {0x62, 0x04, 0x08, 0x4d, 0x10, 0x05};
	struct net *net = make_chain();
	struct caller caller;

	start(&net->hosts[0]);
	call(&net->hosts[0], &caller);
	say(&caller, look_of_77, sizeof(look_of_77));
	LOOP_WAIT(&net->loop, caller.is_closed);
	CHECK_INT(caller.heard.type, PEER_MESSAGE_REFUSE);
	CHECK_INT(caller.heard.refuse.code, PEER_REFUSAL_VERSION);
	check_words(caller.heard.refuse.words, "wire version 77 of the peer and wire "
					       "version");
	world_channel_close(caller.channel);
	net_close(net);
}

TEST_CASE(seeds, what_does_not_begin_with_look_is_a_stranger)
{
	static const uint8_t hello[] = {0x0a, 0x02, 0x08, 0x4d};
	struct net *net = make_chain();
	struct caller callers[2];

	start(&net->hosts[0]);
	call(&net->hosts[0], &callers[0]);
	call(&net->hosts[0], &callers[1]);
	say(&callers[0], hello, sizeof(hello));
	say(&callers[1], "garbage", 7);
	LOOP_WAIT(&net->loop, callers[0].is_closed && callers[1].is_closed);
	CHECK_INT(net->hosts[0].strangers, 2);
	world_channel_close(callers[0].channel);
	world_channel_close(callers[1].channel);
	net_close(net);
}

TEST_CASE(seeds, garbage_after_look_ends_the_talk)
{
	struct net *net = make_chain();
	struct caller caller;

	start(&net->hosts[0]);
	call(&net->hosts[0], &caller);
	say_look(&caller, 40, 1);
	LOOP_WAIT(&net->loop, caller.count > 0);
	CHECK_INT(caller.heard.type, PEER_MESSAGE_LOOK);
	CHECK(net->hosts[0].is_present[40]);
	say(&caller, "garbage", 7);
	LOOP_WAIT(&net->loop, caller.is_closed);
	CHECK_INT(caller.heard.type, PEER_MESSAGE_REFUSE);
	CHECK_INT(net->hosts[0].strangers, 0);
	world_channel_close(caller.channel);
	net_close(net);
}

TEST_CASE(seeds, nobody_becomes_another_one)
{
	struct net *net = make_chain();
	struct caller caller;

	start(&net->hosts[0]);
	call(&net->hosts[0], &caller);
	say_look(&caller, 40, 1);
	LOOP_WAIT(&net->loop, caller.count > 0);
	say_look(&caller, 41, 1);
	LOOP_WAIT(&net->loop, caller.is_closed);
	CHECK_INT(caller.heard.refuse.code, PEER_REFUSAL_PROTOCOL);
	CHECK(!net->hosts[0].is_present[41]);
	world_channel_close(caller.channel);
	net_close(net);
}

TEST_CASE(seeds, who_says_nothing_goes_when_others_come)
{
	struct caller callers[SEEDS_GUESTS_MAX + 3];
	struct net *net = make_chain();
	unsigned i;

	start(&net->hosts[0]);
	call(&net->hosts[0], &callers[0]);
	say_look(&callers[0], 40, 1);
	LOOP_WAIT(&net->loop, callers[0].count > 0);
	for (i = 1; i < SEEDS_GUESTS_MAX + 3; i++)
		call(&net->hosts[0], &callers[i]);
	LOOP_WAIT(&net->loop, callers[1].is_closed && callers[2].is_closed);
	CHECK(!callers[0].is_closed && !callers[3].is_closed);
	LOOP_WAIT(&net->loop, callers[i - 1].is_closed); /* patience has an end */
	for (i = 0; i < SEEDS_GUESTS_MAX + 3; i++)
		world_channel_close(callers[i].channel);
	net_close(net);
}

TEST_CASE(seeds, one_node_has_so_many_talks_and_no_more)
{
	struct caller callers[SEEDS_NAMED_MAX + 1];
	struct net *net = make_chain();

	start(&net->hosts[0]);
	for (unsigned i = 0; i <= SEEDS_NAMED_MAX; i++) {
		call(&net->hosts[0], &callers[i]);
		say_look(&callers[i], (uint16_t)(2 + i % 3), 1);
		LOOP_WAIT(&net->loop, callers[i].count > 0);
		CHECK_INT(callers[i].heard.type, PEER_MESSAGE_LOOK);
	}
	LOOP_WAIT(&net->loop, callers[0].is_closed);
	CHECK(!callers[1].is_closed && !callers[SEEDS_NAMED_MAX].is_closed);
	for (unsigned i = 0; i <= SEEDS_NAMED_MAX; i++)
		world_channel_close(callers[i].channel);
	net_close(net);
}

/* It can be dialled, and does not answer. */
static int dial_mute(void *arg, const struct config_endpoint *address,
		     struct world_channel **ret_channel)
{
	struct host *host = arg;
	struct world_channel *channels[2];

	(void)address;
	make_pair(host->net, channels);
	*ret_channel = channels[0];
	if (host->net->mute)
		world_channel_close(host->net->mute);
	host->net->mute = channels[1];
	host->net->refused++;
	return 0;
}

TEST_CASE(seeds, a_seed_that_does_not_answer_is_tried_again)
{
	static const struct seeds_pace hasty = {.look = 50,
						.change = 10,
						.patience = 50,
						.silence = 50,
						.retry = 10,
						.retry_most = 20,
						.lifetime = 1000};
	struct net *net = make_chain();
	struct host *host = &net->hosts[1];
	struct seeds_options options = {
		.cluster = "demo",
		.self = {.id = 2, .name = "n2", .address = host->address, .nonce = 1},
		.seeds = host->list,
		.num_seeds = 1,
		.pace = &hasty,
		.dial = dial_mute,
		.arg = host,
	};

	REQUIRE(seeds_new(net->loop.base, &options, &host->seeds) == 0);
	REQUIRE(seeds_start(host->seeds) == 0);
	LOOP_WAIT(&net->loop, net->refused >= 3);
	CHECK_INT(seed_of(host, 0).state, SEED_WAITING);
	CHECK_STR(seed_of(host, 0).reason, "it does not say who is there");
	net_close(net);
}

TEST_CASE(seeds, free_accepts_null)
{
	seeds_free(NULL);
}
