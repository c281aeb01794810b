/* See seeds.h. From top to bottom: talks, seeds, what is said, time. */
#include "control/seeds.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/channel.h"
#include "control/wire_range.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct seeds_pace seeds_pace_default = {
	.look = 5000,
	.change = 200,
	.patience = 10000,
	.silence = 30000,
	.retry = 1000,
	.retry_most = 8000,
	.lifetime = BOOK_LIFETIME_MS,
};

struct seed {
	struct config_endpoint address;
	enum seed_state state;
	uint64_t since_ns;
	uint64_t retry_ns; /* when it is dialled next, while it waits */
	unsigned delay_ms; /* that was waited for that */
	char node[CONFIG_NAME_MAX];
	char reason[SEEDS_WORDS_MAX];
	char logged[SEEDS_WORDS_MAX]; /* the last one, so that it is logged once */
};

struct talk {
	struct talk *next;
	struct seeds *seeds;
	struct world_channel *channel;
	struct seed *seed; /* that we dialled; NULL: it dialled us */
	bool is_known;	   /* its first LOOK came: */
	struct peer_life life;
	uint64_t deadline_ns; /* for its next one */
};

struct seeds {
	struct seeds_options options;
	struct seeds_pace pace;
	struct event *tick;
	struct book *book;
	struct talk *talks; /* the latest first */
	bool has_news;	    /* to be told soon */
	uint64_t next_look_ns;
	uint64_t words_ns; /* when the book's words were news; 0: never */
	struct log_limit limit;
	unsigned num_seeds;
	struct seed list[CONFIG_SEEDS_MAX];
};

static uint64_t after(unsigned ms)
{
	return clock_now_ns() + ms * NSEC_PER_MSEC;
}

/* ---- talks ---- */

static const struct world_channel_handler talk_handler;

static struct talk *talk_new(struct seeds *seeds, struct world_channel *channel,
			     struct seed *seed)
{
	struct talk *talk = calloc(1, sizeof(*talk));

	if (!talk) {
		world_channel_close(channel);
		return NULL;
	}
	talk->seeds = seeds;
	talk->channel = channel;
	talk->seed = seed;
	talk->deadline_ns = after(seeds->pace.patience);
	talk->next = seeds->talks;
	seeds->talks = talk;
	world_channel_set_handler(channel, &talk_handler, talk);
	return talk;
}

static bool is_of_life(const struct talk *talk, const struct peer_life *life)
{
	return talk->is_known && talk->life.id == life->id &&
	       talk->life.nonce == life->nonce;
}

/* The channel is somebody else's now. */
static void talk_forget(struct talk *talk)
{
	struct seeds *seeds = talk->seeds;
	struct talk **at = &seeds->talks;
	bool is_last = talk->is_known;

	while (*at != talk)
		at = &(*at)->next;
	*at = talk->next;
	for (struct talk *other = seeds->talks; other; other = other->next)
		is_last &= !is_of_life(other, &talk->life);
	if (is_last)
		book_part(seeds->book, &talk->life);
	free(talk);
}

static void talk_close(struct talk *talk)
{
	world_channel_close(talk->channel);
	talk_forget(talk);
}

static bool is_guest(const struct talk *talk)
{
	return !talk->seed && !talk->is_known;
}

/* Room for one more: who said nothing for the longest time goes. False: there is none. */
static bool make_room(struct seeds *seeds)
{
	unsigned guests = 0, talks = 0;
	struct talk *oldest = NULL;

	for (struct talk *talk = seeds->talks; talk; talk = talk->next) {
		talks++;
		if (!is_guest(talk))
			continue;
		guests++;
		oldest = talk;
	}
	if (guests < SEEDS_GUESTS_MAX && talks < SEEDS_TALKS_MAX)
		return true;
	if (oldest)
		talk_close(oldest);
	return oldest;
}

/* However often it dials, and whatever it says of itself: its certificate has one name.
 */
static void end_surplus(const struct talk *talk)
{
	struct talk *oldest = NULL;
	unsigned count = 0;

	for (struct talk *at = talk->seeds->talks; at; at = at->next) {
		if (at == talk || at->seed || !at->is_known ||
		    strcmp(at->life.name, talk->life.name) != 0)
			continue;
		oldest = at;
		count++;
	}
	if (count >= SEEDS_NAMED_MAX)
		talk_close(oldest);
}

/* ---- seeds ---- */

static void seed_set(struct seed *seed, enum seed_state state)
{
	seed->state = state;
	seed->since_ns = clock_now_ns();
}

/* It is tried again; `words` are the end of a sentence that begins with its address. */
static void seed_failed(struct seeds *seeds, struct seed *seed, const char *words)
{
	if (seed->state != SEED_WAITING)
		seed_set(seed, SEED_WAITING);
	seed->delay_ms = seed->delay_ms ? seed->delay_ms * 2 : seeds->pace.retry;
	if (seed->delay_ms > seeds->pace.retry_most)
		seed->delay_ms = seeds->pace.retry_most;
	seed->retry_ns = after(seed->delay_ms);
	snprintf(seed->reason, sizeof(seed->reason), "%s", words);
	if (strcmp(seed->logged, seed->reason) == 0)
		return;
	memcpy(seed->logged, seed->reason, sizeof(seed->logged));
	if (strstr(words, seed->address.text))
		log_warn("seed", "%s; it is tried again", words);
	else
		log_warn("seed", "%s: %s; it is tried again", seed->address.text, words);
}

static void seed_up(struct seed *seed, const struct peer_life *life)
{
	if (seed->state == SEED_UP)
		return;
	seed_set(seed, SEED_UP);
	seed->delay_ms = 0;
	seed->reason[0] = '\0';
	seed->logged[0] = '\0';
	snprintf(seed->node, sizeof(seed->node), "%s", life->name);
	log_info("seed", "%s: %s (id %u) is there", seed->address.text, life->name,
		 life->id);
}

static void seed_is_ourselves(struct seed *seed)
{
	seed_set(seed, SEED_OURSELVES);
	seed->reason[0] = '\0';
}

static void send_book(struct talk *talk);

static void seed_dial(struct seeds *seeds, struct seed *seed)
{
	struct world_channel *channel;
	struct talk *talk;
	int ret = seeds->options.dial(seeds->options.arg, &seed->address, &channel);

	if (ret < 0) {
		seed_failed(seeds, seed, strerror(-ret));
		return;
	}
	talk = talk_new(seeds, channel, seed);
	if (!talk) {
		seed_failed(seeds, seed, "out of memory");
		return;
	}
	/* Its state is that of the last failure until there is something better. */
	if (seed->state != SEED_WAITING)
		seed_set(seed, SEED_DIALLING);
	seed->retry_ns = UINT64_MAX;
	send_book(talk);
}

/* ---- what we say ---- */

static int talk_send(struct talk *talk, const struct peer_message *message)
{
	uint8_t bytes[PEER_BYTES_MAX];
	size_t length;
	int ret = codec_peer_encode(message, bytes, sizeof(bytes), &length);

	return ret < 0 ? ret : world_channel_send(talk->channel, bytes, length, -1);
}

/* Who does not read it gets the rest the next time; who is gone is told of later. */
static void send_book(struct talk *talk)
{
	const struct seeds *seeds = talk->seeds;
	struct peer_message message = {.type = PEER_MESSAGE_LOOK};
	struct peer_look *look = &message.look;
	unsigned start = 0;
	int ret;

	look->wire_version = wire_spoken.max;
	look->wire_min = wire_spoken.min;
	snprintf(look->cluster, sizeof(look->cluster), "%s", seeds->options.cluster);
	do {
		start += book_fill(seeds->book, start, clock_now_ns(), look);
		ret = talk_send(talk, &message);
	} while (ret == 0 && look->num_others == PEER_LIVES_MAX);
}

static void send_all(struct seeds *seeds)
{
	for (struct talk *talk = seeds->talks; talk; talk = talk->next) {
		if (talk->is_known)
			send_book(talk);
	}
	seeds->has_news = false;
	seeds->next_look_ns = after(seeds->pace.look);
}

/* ---- the end of a talk ---- */

/* Anybody who may dial us can make us say this. */
static void log_caller(struct seeds *seeds, const char *words)
{
	unsigned held_back;

	if (!log_limit_pass(&seeds->limit, clock_now_ns(), &held_back))
		return;
	if (held_back)
		log_warn("look", "%s (and %u more before)", words, held_back);
	else
		log_warn("look", "%s", words);
}

static void talk_end(struct talk *talk, const char *words)
{
	if (talk->seed)
		seed_failed(talk->seeds, talk->seed, words);
	talk_close(talk);
}

static void __attribute__((format(printf, 3, 4)))
talk_refuse(struct talk *talk, enum peer_refusal code, const char *format, ...)
{
	struct peer_message message = {.type = PEER_MESSAGE_REFUSE};
	struct peer_refuse *refuse = &message.refuse;
	char words[SEEDS_WORDS_MAX];
	va_list args;

	refuse->code = code;
	va_start(args, format);
	vsnprintf(refuse->words, sizeof(refuse->words), format, args);
	va_end(args);
	(void)talk_send(talk, &message); /* who doesn't read it has itself to blame */
	snprintf(words, sizeof(words), "refused: %s", refuse->words);
	if (!talk->seed)
		log_caller(talk->seeds, words);
	talk_end(talk, words);
}

/* ---- what others say ---- */

static bool admit_version(struct talk *talk, const struct peer_look *look)
{
	const struct wire_range theirs =
		wire_range_of(look->wire_version, look->wire_min);
	struct wire_range_text their_text, own_text;

	if (wire_range_meet(&wire_spoken, &theirs))
		return true;
	talk_refuse(talk, PEER_REFUSAL_VERSION,
		    "wire version %s of the peer and wire version %s of %s differ",
		    wire_range_print(&theirs, &their_text),
		    wire_range_print(&wire_spoken, &own_text),
		    talk->seeds->options.self.name);
	return false;
}

static bool admit_cluster(struct talk *talk, const struct peer_look *look)
{
	const struct seeds_options *options = &talk->seeds->options;

	if (strcmp(look->cluster, options->cluster) == 0)
		return true;
	talk_refuse(talk, PEER_REFUSAL_CLUSTER,
		    "cluster %s of %s (id %u) and cluster %s of %s (id %u) differ",
		    look->cluster, look->self.name, look->self.id, options->cluster,
		    options->self.name, options->self.id);
	return false;
}

/* Who it is stays the same as long as the channel is open. */
static bool admit_identity(struct talk *talk, const struct peer_look *look)
{
	struct world_credentials credentials;

	if (talk->is_known && !is_of_life(talk, &look->self)) {
		talk_refuse(talk, PEER_REFUSAL_PROTOCOL,
			    "%s (id %u) says that it is %s (id %u), or another life",
			    talk->life.name, talk->life.id, look->self.name,
			    look->self.id);
		return false;
	}
	world_channel_credentials(talk->channel, &credentials);
	if (!credentials.name[0] || strcmp(credentials.name, look->self.name) == 0)
		return true;
	talk_refuse(talk, PEER_REFUSAL_IDENTITY, "certificate of %s presented by node %s",
		    credentials.name, look->self.name);
	return false;
}

static void tell_appeared(struct seeds *seeds, uint16_t node_id)
{
	seeds->has_news = true;
	seeds->options.appeared(seeds->options.arg, node_id);
}

static void note_twins(struct seeds *seeds)
{
	bool is_new = !*seeds_words(seeds);

	seeds->words_ns = clock_now_ns();
	if (is_new)
		log_warn("look", "%s; stop one of them", book_words(seeds->book));
}

static void hear_others(struct seeds *seeds, const struct peer_look *look)
{
	for (unsigned i = 0; i < look->num_others; i++) {
		enum book_news news =
			book_hear(seeds->book, &look->others[i], clock_now_ns());

		if (news == BOOK_APPEARED)
			tell_appeared(seeds, look->others[i].id);
		else if (news == BOOK_TWINS)
			note_twins(seeds);
	}
}

/* False: the talk is over. */
static bool meet(struct talk *talk, const struct peer_life *life)
{
	struct seeds *seeds = talk->seeds;
	struct seed *seed = talk->seed;

	switch (book_meet(seeds->book, life, clock_now_ns())) {
	case BOOK_TWINS:
		note_twins(seeds);
		talk_refuse(talk, PEER_REFUSAL_DUPLICATE, "%s", book_words(seeds->book));
		return false;
	case BOOK_FULL:
		talk_refuse(talk, PEER_REFUSAL_BUSY,
			    "%s knows %u nodes already, which is all it can",
			    seeds->options.self.name, book_count(seeds->book));
		return false;
	case BOOK_OURSELVES:
		if (!seed)
			return true; /* our other end has to hear it, too */
		seed_is_ourselves(seed);
		talk_close(talk);
		return false;
	case BOOK_APPEARED:
		tell_appeared(seeds, life->id);
		return true;
	default:
		return true;
	}
}

static void take_look(struct talk *talk, const struct peer_look *look)
{
	struct seeds *seeds = talk->seeds;
	bool is_first = !talk->is_known;

	if (!admit_version(talk, look) || !admit_cluster(talk, look) ||
	    !admit_identity(talk, look) || !meet(talk, &look->self))
		return;
	talk->is_known = true;
	talk->life = look->self;
	talk->deadline_ns = after(seeds->pace.silence);
	hear_others(seeds, look);
	if (talk->seed) {
		seed_up(talk->seed, &look->self);
	} else if (is_first) {
		end_surplus(talk);
		send_book(talk);
	}
}

static void take_refuse(struct talk *talk, const struct peer_refuse *refuse)
{
	char words[SEEDS_WORDS_MAX];

	snprintf(words, sizeof(words), "it refused: %s", refuse->words);
	if (!talk->seed)
		log_caller(talk->seeds, words);
	talk_end(talk, words);
}

static void pass_stranger(struct talk *talk, const uint8_t *bytes, size_t length,
			  struct world_parcel *parcel)
{
	const struct seeds_options *options = &talk->seeds->options;
	struct world_channel *channel = talk->channel;

	talk_forget(talk);
	options->stranger(options->arg, channel, bytes, length, parcel);
}

static void on_message(void *arg, const uint8_t *bytes, size_t length,
		       struct world_parcel *parcel)
{
	struct talk *talk = arg;
	struct peer_message message;
	const char *why;
	int ret = codec_peer_decode(bytes, length, &message, &why);

	if (is_guest(talk) && (ret < 0 || message.type != PEER_MESSAGE_LOOK))
		pass_stranger(talk, bytes, length, parcel);
	else if (ret < 0)
		talk_refuse(talk, PEER_REFUSAL_PROTOCOL, "a message of %s %s",
			    talk->is_known ? talk->life.name : "the seed", why);
	else if (message.type == PEER_MESSAGE_LOOK)
		take_look(talk, &message.look);
	else if (message.type == PEER_MESSAGE_REFUSE)
		take_refuse(talk, &message.refuse);
	else
		talk_refuse(talk, PEER_REFUSAL_PROTOCOL,
			    "%s where LOOK is right, after LOOK",
			    peer_message_name(message.type));
}

static void on_closed(void *arg, int error)
{
	struct talk *talk = arg;
	const char *why = world_channel_why(talk->channel);
	char words[SEEDS_WORDS_MAX];

	if (!error)
		why = "it closed the connection";
	else if (!*why)
		why = strerror(-error);
	snprintf(words, sizeof(words), "%s", why);
	talk_end(talk, words);
}

static const struct world_channel_handler talk_handler = {
	.message = on_message,
	.closed = on_closed,
};

void seeds_accept(struct seeds *seeds, struct world_channel *channel)
{
	if (make_room(seeds))
		talk_new(seeds, channel, NULL);
	else
		world_channel_close(channel);
}

/* ---- time ---- */

static void on_gone(void *arg, uint16_t node_id)
{
	struct seeds *seeds = arg;

	seeds->options.disappeared(seeds->options.arg, node_id);
}

static void end_silent_talks(struct seeds *seeds, uint64_t now_ns)
{
	struct talk *next;

	for (struct talk *talk = seeds->talks; talk; talk = next) {
		next = talk->next;
		if (now_ns >= talk->deadline_ns)
			talk_end(talk, "it does not say who is there");
	}
}

static void dial_seeds(struct seeds *seeds, uint64_t now_ns)
{
	for (unsigned i = 0; i < seeds->num_seeds; i++) {
		struct seed *seed = &seeds->list[i];

		if (seed->state != SEED_OURSELVES && seed->state != SEED_UP &&
		    now_ns >= seed->retry_ns)
			seed_dial(seeds, seed);
	}
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct seeds *seeds = arg;
	uint64_t now_ns = clock_now_ns();

	(void)fd;
	(void)what;
	book_expire(seeds->book, now_ns, on_gone, seeds);
	end_silent_talks(seeds, now_ns);
	dial_seeds(seeds, now_ns);
	if (seeds->has_news || now_ns >= seeds->next_look_ns)
		send_all(seeds);
}

/* ---- for its owner ---- */

const struct config_endpoint *seeds_find(const struct seeds *seeds, uint16_t node_id)
{
	const struct book_line *line = book_find(seeds->book, node_id);

	return line ? &line->life.address : NULL;
}

unsigned seeds_count_nodes(const struct seeds *seeds)
{
	return book_count(seeds->book);
}

const char *seeds_words(const struct seeds *seeds)
{
	uint64_t age_ns = clock_now_ns() - seeds->words_ns;

	if (!seeds->words_ns || age_ns >= seeds->pace.lifetime * NSEC_PER_MSEC)
		return "";
	return book_words(seeds->book);
}

void seeds_each(const struct seeds *seeds,
		void (*each)(const struct seed_report *report, void *arg), void *arg)
{
	for (unsigned i = 0; i < seeds->num_seeds; i++) {
		const struct seed *seed = &seeds->list[i];
		const struct seed_report report = {
			.address = seed->address.text,
			.state = seed->state,
			.node = seed->node,
			.reason = seed->reason,
			.since_ns = seed->since_ns,
		};

		each(&report, arg);
	}
}

static void fill_seed(const struct seeds *seeds, struct seed *seed,
		      const struct config_endpoint *address)
{
	seed->address = *address;
	seed_set(seed, SEED_DIALLING);
	if (strcmp(address->text, seeds->options.self.address.text) == 0)
		seed_is_ourselves(seed);
}

static struct seed *find_seed(struct seeds *seeds, const struct config_endpoint *address)
{
	for (unsigned i = 0; i < seeds->num_seeds; i++) {
		if (strcmp(seeds->list[i].address.text, address->text) == 0)
			return &seeds->list[i];
	}
	return NULL;
}

static void move_talks(struct seeds *seeds, const struct seed *from, struct seed *to)
{
	for (struct talk *talk = seeds->talks; talk; talk = talk->next) {
		if (talk->seed == from)
			talk->seed = to;
	}
}

/* Who is talked with already stays, as one that dialled us; others are not dialled. */
static void leave_seed(struct seeds *seeds, const struct seed *seed)
{
	struct talk *next;

	for (struct talk *talk = seeds->talks; talk; talk = next) {
		next = talk->next;
		if (talk->seed != seed)
			continue;
		talk->seed = NULL;
		if (!talk->is_known)
			talk_close(talk);
	}
}

int seeds_set(struct seeds *seeds, const struct config_endpoint *addresses, unsigned num)
{
	struct seed *list = calloc(CONFIG_SEEDS_MAX, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (unsigned i = 0; i < num; i++) {
		struct seed *former = find_seed(seeds, &addresses[i]);

		if (former)
			list[i] = *former;
		else
			fill_seed(seeds, &list[i], &addresses[i]);
		if (former)
			move_talks(seeds, former, &list[i]);
	}
	for (unsigned i = 0; i < seeds->num_seeds; i++)
		leave_seed(seeds, &seeds->list[i]);
	for (unsigned i = 0; i < num; i++)
		move_talks(seeds, &list[i], &seeds->list[i]);
	memcpy(seeds->list, list, sizeof(seeds->list));
	seeds->num_seeds = num;
	free(list);
	return 0;
}

int seeds_new(struct event_base *base, const struct seeds_options *options,
	      struct seeds **ret_seeds)
{
	struct seeds *seeds = calloc(1, sizeof(*seeds));
	int ret = -ENOMEM;

	if (!seeds)
		return ret;
	seeds->options = *options;
	seeds->pace = options->pace ? *options->pace : seeds_pace_default;
	for (unsigned i = 0; i < options->num_seeds; i++)
		fill_seed(seeds, &seeds->list[seeds->num_seeds++], &options->seeds[i]);
	seeds->tick = event_new(base, -1, EV_PERSIST, on_tick, seeds);
	if (seeds->tick)
		ret = book_new(&options->self, seeds->pace.lifetime, clock_now_ns(),
			       &seeds->book);
	if (ret < 0) {
		seeds_free(seeds);
		return ret;
	}
	*ret_seeds = seeds;
	return 0;
}

int seeds_start(struct seeds *seeds)
{
	const struct timeval interval = clock_timeval(seeds->pace.change * NSEC_PER_MSEC);

	if (event_add(seeds->tick, &interval) < 0)
		return -ENOMEM;
	event_active(seeds->tick, EV_TIMEOUT, 0); /* the first turn */
	return 0;
}

static void close_talks(struct seeds *seeds)
{
	struct talk *next;

	for (struct talk *talk = seeds->talks; talk; talk = next) {
		next = talk->next;
		talk_close(talk);
	}
}

void seeds_free(struct seeds *seeds)
{
	if (!seeds)
		return;
	if (seeds->tick)
		event_free(seeds->tick);
	close_talks(seeds);
	book_free(seeds->book);
	free(seeds);
}
