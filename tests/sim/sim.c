/*
 * The seed, the trace, the queue of events, running, and many seeds. See sim.h.
 *
 * Objects of the world stay until sim_free(), so that a late use is seen.
 */
#include "sim_internal.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAILED_MAX 10 /* seeds; that is enough to look at */

/* The world that runs, for the log. */
static struct sim *current;
/* The simulator itself allocates. The compiler knows realloc(), and that it reads no such
 * thing: not when it is wrapped. */
static volatile bool is_quiet;

/* ---- seed, trace, errors ---- */

uint64_t sim_next_random(struct sim *sim)
{
	uint64_t x = sim->state += 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

uint64_t sim_random(struct sim *sim, uint64_t limit)
{
	return sim_next_random(sim) % limit;
}

uint64_t sim_random_delay(struct sim *sim)
{
	return 1 + sim_random(sim, SIM_DELAY_MAX_NS);
}

bool sim_fails(struct sim *sim)
{
	if (!sim->failures || sim_random(sim, 1000) >= sim->failures)
		return false;
	sim->disturbed_ns = sim->now_ns;
	return true;
}

bool sim_is_short(void)
{
	if (!current || is_quiet || !current->shortage ||
	    sim_random(current, 1000) >= current->shortage)
		return false;
	current->disturbed_ns = current->now_ns;
	if (current->running)
		current->running->was_short = true;
	sim_note(current, "    no memory");
	return true;
}

static void hash_text(struct sim *sim, const char *text)
{
	for (const char *c = text; *c; c++)
		sim->hash = (sim->hash ^ (uint8_t)*c) * 0x100000001b3u;
}

void __attribute__((format(printf, 2, 3)))
sim_note(struct sim *sim, const char *format, ...)
{
	char text[1200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	hash_text(sim, text);
	sim->hash ^= sim->now_ns;
	if (sim->is_traced)
		fprintf(stderr, "%12.6f %s\n", (double)sim->now_ns / 1e9, text);
}

void sim_note_step(struct sim_node *node, const char *what, const char *of)
{
	struct sim *sim = node->sim;

	hash_text(sim, node->name);
	hash_text(sim, what);
	hash_text(sim, of);
	sim->hash ^= sim->now_ns;
	if (sim->is_traced)
		fprintf(stderr, "%12.6f %s: %s%s\n", (double)sim->now_ns / 1e9,
			node->name, what, of);
}

void __attribute__((format(printf, 2, 3)))
sim_break(struct sim *sim, const char *format, ...)
{
	va_list args;

	if (sim->error[0])
		return;
	va_start(args, format);
	vsnprintf(sim->error, sizeof(sim->error), format, args);
	va_end(args);
	sim->broken_ns = sim->now_ns;
	sim_note(sim, "BROKEN: %s", sim->error);
}

void sim_enter(struct sim *sim)
{
	current = sim;
}

/* The linker sends the logic's log here (--wrap). */
void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!current)
		return;
	sim_note(current, "    log %s: %s", subject ? subject : "", text);
	if (level == LOG_LEVEL_WARNING)
		current->num_warnings++;
	if (level == LOG_LEVEL_ERROR)
		sim_break(current, "an error was logged: %s: %s", subject ? subject : "",
			  text);
}
/* ---- the queue ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->time_ns != b->time_ns ? a->time_ns < b->time_ns
					: a->sequence < b->sequence;
}

static void swap_events(struct sim_event *a, struct sim_event *b)
{
	struct sim_event event = *a;

	*a = *b;
	*b = event;
}

void *sim_grow(void *array, size_t count, size_t size)
{
	is_quiet = true;
	array = realloc(array, count * size);
	is_quiet = false;
	if (!array)
		abort();
	return array;
}

void *sim_alloc_lines(struct sim *sim, size_t size)
{
	uint8_t *object = sim_alloc(sim, sizeof(struct sim_object) + 64 + size);

	object += sizeof(struct sim_object) + 63;
	return object - (uintptr_t)object % 64;
}

void sim_push(struct sim *sim, const struct sim_event *event)
{
	size_t i = sim->num_events++;

	if (sim->num_events > sim->max_events) {
		sim->max_events = 2 * sim->num_events;
		sim->queue = sim_grow(sim->queue, sim->max_events, sizeof(*sim->queue));
	}
	sim->queue[i] = *event;
	sim->queue[i].sequence = sim->sequence++;
	for (; i && is_before(&sim->queue[i], &sim->queue[(i - 1) / 2]); i = (i - 1) / 2)
		swap_events(&sim->queue[i], &sim->queue[(i - 1) / 2]);
}

static struct sim_event pop_event(struct sim *sim)
{
	struct sim_event first = sim->queue[0];
	size_t i = 0, child;

	sim->queue[0] = sim->queue[--sim->num_events];
	while ((child = 2 * i + 1) < sim->num_events) {
		if (child + 1 < sim->num_events &&
		    is_before(&sim->queue[child + 1], &sim->queue[child]))
			child++;
		if (!is_before(&sim->queue[child], &sim->queue[i]))
			break;
		swap_events(&sim->queue[child], &sim->queue[i]);
		i = child;
	}
	return first;
}

void sim_at(struct sim *sim, uint64_t time_ns, struct sim_node *node,
	    void (*run)(struct sim *sim, struct sim_node *node, void *arg,
			uint64_t number),
	    void *arg, uint64_t number)
{
	const struct sim_event event = {
		.time_ns = time_ns,
		.node = node,
		.life = node ? node->life : 0,
		.run = run,
		.arg = arg,
		.number = number,
	};

	sim_push(sim, &event);
}

void *sim_alloc(struct sim *sim, size_t size)
{
	struct sim_object *object = sim_grow(NULL, 1, size);

	memset(object, 0, size);
	object->next = sim->objects;
	sim->objects = object;
	return object;
}
/* ---- running ---- */

static void hold(struct sim_node *node, const struct sim_event *event)
{
	node->held = sim_grow(node->held, node->num_held + 1, sizeof(*node->held));
	node->held[node->num_held++] = *event;
}

/* What is not said did not happen: a worker found nothing, a timer was set anew. */
static void step(struct sim *sim)
{
	struct sim_event event = pop_event(sim);
	struct sim_node *node = event.node;
	uint64_t hash = sim->hash;

	sim->now_ns = event.time_ns;
	if (node && (node->life != event.life || !node->is_alive))
		return;
	if (node && node->is_paused) {
		hold(node, &event);
		return;
	}
	sim->running = node;
	event.run(sim, node, event.arg, event.number);
	if (sim->hash != hash)
		sim_check(sim);
}

void sim_run(struct sim *sim, uint64_t duration_ns)
{
	uint64_t end_ns = sim->now_ns + duration_ns;

	sim_enter(sim);
	while (!sim->error[0] && sim->num_events && sim->queue[0].time_ns <= end_ns)
		step(sim);
	sim->now_ns = end_ns;
}

uint64_t sim_now(const struct sim *sim)
{
	return sim->now_ns;
}
const char *sim_error(const struct sim *sim)
{
	return sim->error[0] ? sim->error : NULL;
}

uint64_t sim_hash(const struct sim *sim)
{
	return sim->hash;
}

void sim_trace(struct sim *sim)
{
	sim->is_traced = true;
}

void sim_set_failures(struct sim *sim, unsigned per_mille)
{
	sim->failures = per_mille;
}

void sim_set_shortage(struct sim *sim, unsigned per_mille)
{
	sim->shortage = per_mille;
}

struct sim *sim_new(uint64_t seed)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	if (!sim)
		abort();
	sim->state = seed;
	sim->now_ns = SIM_S;
	sim_enter(sim);
	return sim;
}

void sim_stop_all(struct sim *sim)
{
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->is_alive)
			sim_stop(sim->nodes[i]);
	}
}

void sim_free(struct sim *sim)
{
	sim_stop_all(sim);
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		free(sim->nodes[i]->held);
		free(sim->nodes[i]);
	}
	for (struct sim_object *object = sim->objects, *next; object; object = next) {
		next = object->next;
		free(object);
	}
	for (unsigned i = 0; i < SIM_NODES_MAX * SIM_NETWORKS; i++)
		free(sim->claims[i / SIM_NETWORKS][i % SIM_NETWORKS]);
	free(sim->queue);
	free(sim);
	current = NULL;
}

/* ---- schedules ---- */

/* By all schedules since sim_try_seeds() began. */
static uint64_t simulated_ns;

static uint64_t cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * SIM_S + (uint64_t)time.tv_nsec;
}

static void show_speed(uint64_t seeds, uint64_t spent_ns)
{
	printf("%llu seeds, %.0f s simulated in %.1f s of CPU: %.0f seeds/s, %.0f : 1\n",
	       (unsigned long long)seeds, (double)simulated_ns / SIM_S,
	       (double)spent_ns / SIM_S, (double)seeds * SIM_S / (double)spent_ns,
	       (double)simulated_ns / (double)spent_ns);
}

uint64_t sim_try_seed(const struct sim_schedule *schedule, uint64_t seed, bool is_traced)
{
	struct sim *sim = sim_new(seed);
	const char *error;
	bool agreed;
	uint64_t hash, stopped_ns;

	if (is_traced)
		sim_trace(sim);
	schedule->run(sim);
	agreed = !sim_error(sim) && schedule->agree(sim);
	stopped_ns = sim->broken_ns ? sim->broken_ns : sim->now_ns;
	sim_stop_all(sim);
	error = sim_error(sim);
	if (error || !agreed)
		fprintf(stderr, "seed %llu: at %.6f s: %s; see it with SEED=%llu\n",
			(unsigned long long)seed, (double)stopped_ns / SIM_S,
			error ? error : schedule->complaint, (unsigned long long)seed);
	hash = error || !agreed ? 0 : sim_hash(sim);
	simulated_ns += stopped_ns;
	sim_free(sim);
	return hash;
}

/* "2000", or "2001-4000". */
static void read_range(const char *text, uint64_t *first, uint64_t *last)
{
	char *end;

	*last = strtoull(text, &end, 10);
	if (*end != '-')
		return;
	*first = *last;
	*last = strtoull(end + 1, NULL, 10);
}

unsigned sim_try_seeds(const struct sim_schedule *schedule, uint64_t count)
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS");
	uint64_t start_ns = cpu_ns(), first = 1, seed;
	unsigned failed = 0;

	if (one)
		return sim_try_seed(schedule, strtoull(one, NULL, 10), true) == 0;
	if (many)
		read_range(many, &first, &count);
	simulated_ns = 0;
	for (seed = first; seed <= count && failed < FAILED_MAX; seed++)
		failed += sim_try_seed(schedule, seed, false) == 0;
	show_speed(seed - first, cpu_ns() - start_ns);
	return failed;
}
