/* What is told of the cast rings, in words and as snapshots. See cast_internal.h. */
#include "control/cast_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const uint8_t cast_broadcast[SHMNET_ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

void cast_say(char *text, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, size, format, args);
	va_end(args);
}

const char *cast_label_text(const uint8_t label[SHMNET_ETH_ALEN],
			    struct cast_label_text *buffer)
{
	if (memcmp(label, cast_broadcast, sizeof(cast_broadcast)) == 0)
		cast_say(buffer->text, sizeof(buffer->text), "broadcast");
	else
		cast_say(buffer->text, sizeof(buffer->text),
			 "%02x:%02x:%02x:%02x:%02x:%02x", label[0], label[1], label[2],
			 label[3], label[4], label[5]);
	return buffer->text;
}

/* ---- reports ---- */

bool cast_no_sharer_reason(const struct casts *casts, const struct peer *peer,
			   unsigned network, char *words, size_t size)
{
	static const char *const modes[] = {
		[CAST_MODE_SHARED] = "shared",
		[CAST_MODE_LANES] = "lanes",
	};
	const struct node_config *config = casts->owner->config;
	const char *name = cast_config(casts, network)->name;
	enum cast_mode ours = cast_config(casts, network)->cast;
	enum cast_mode theirs = peer_cast_mode(peer, network);

	if (peer_is_remote(peer) || !peer_link(peer, network) ||
	    cast_may_share(casts, peer, network))
		return false;
	if (ours != theirs)
		cast_say(words, size,
			 "network %s has cast: %s on %s and cast: %s on %s: it gets a "
			 "copy of "
			 "each cast",
			 name, modes[ours], config->name, modes[theirs], peer_name(peer));
	else
		cast_say(words, size,
			 "network %s: %s is of uid %lu and %s of uid %lu, and a shared "
			 "cast "
			 "ring is for one: it gets a copy of each cast; set cast: lanes "
			 "on "
			 "all nodes",
			 name, peer_name(peer), (unsigned long)peer_uid(peer),
			 config->name, (unsigned long)casts->owner->world->uid);
	return true;
}

static void report_ring(const struct cast_ring *ring,
			void (*each)(const struct cast_report *report, void *arg),
			void *arg)
{
	struct cast_label_text label;
	struct cast_report report = {
		.network = ring->spec.network,
		.label = cast_label_text(ring->spec.label, &label),
		.id = ring->spec.id,
		.epoch = ring->spec.epoch,
		.maker = ring->spec.maker,
		.depth = ring->spec.depth,
		.lane = ring->spec.lane,
		.is_draining = ring->drained_ns != 0,
		.cast = ring->cast,
	};

	for (unsigned i = 0; i < ring->num_members; i++)
		report.readers += ring->members[i].reads;
	each(&report, arg);
}

void casts_each(const struct casts *casts,
		void (*each)(const struct cast_report *report, void *arg), void *arg)
{
	if (!casts)
		return;
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++) {
		for (const struct cast_ring *ring = casts->networks[i].rings; ring;
		     ring = ring->next)
			report_ring(ring, each, arg);
	}
}

struct reasons {
	void (*each)(const char *words, void *arg);
	void *arg;
	unsigned count;
};

static void add_starved(struct cast_group *group, void *arg)
{
	struct reasons *reasons = arg;
	char words[2 * CAST_WORDS_MAX];
	struct cast_label_text name;

	if (group->state != GROUP_STARVED)
		return;
	cast_say(words, sizeof(words),
		 "network %s: no ring for %s: %s; each node gets copies",
		 cast_config(group->casts, group->network)->name,
		 cast_label_text(group->label, &name), group->reason);
	reasons->each(words, reasons->arg);
	reasons->count++;
}

unsigned casts_each_reason(struct casts *casts,
			   void (*each)(const char *words, void *arg), void *arg)
{
	struct reasons reasons = {each, arg, 0};
	struct peer *peer;
	char words[CAST_WORDS_MAX];

	if (!casts)
		return 0;
	for (unsigned i = 0; (peer = casts->owner->peer_at(casts->owner, i)); i++) {
		for (unsigned j = 0; j < casts->owner->config->num_networks; j++) {
			if (!cast_no_sharer_reason(casts, peer, j, words, sizeof(words)))
				continue;
			each(words, arg);
			reasons.count++;
		}
	}
	casts_each_group(casts, add_starved, &reasons);
	return reasons.count;
}
