/* See resolve.h. */
#include "control/resolve.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum step_result { STEP_NEXT, STEP_DECIDED, STEP_ASK };

struct step {
	const char *name;
	unsigned classes; /* bit per enum resolve_class */
	enum step_result (*run)(struct resolve *);
};

#define OPENER	       (1u << RESOLVE_OPENER)
#define DATAGRAM       (1u << RESOLVE_DATAGRAM)
#define SEGMENT	       (1u << RESOLVE_SEGMENT)
#define ERROR	       (1u << RESOLVE_ERROR)
#define ERROR_DATAGRAM (1u << RESOLVE_ERROR_DATAGRAM)
#define PAIR	       (1u << RESOLVE_PAIR)

#define DATAGRAMS (DATAGRAM | ERROR_DATAGRAM) /* placed by hash: all choose alike */
#define OPENERS	  (OPENER | DATAGRAMS)	      /* may go to a listener */
#define EXACT	  (OPENERS | SEGMENT | ERROR) /* may have a connection */
#define ALL	  (EXACT | PAIR)

static bool is_of(const struct resolve *resolve, unsigned classes)
{
	return 1u << resolve->class & classes;
}

__attribute__((format(printf, 2, 3))) static void say(struct resolve *resolve,
						      const char *format, ...);

static const char *name_of(const struct resolve *resolve, uint16_t id)
{
	return resolve->ops->name(resolve->arg, id);
}

/* ---- decisions ---- */

static enum step_result give(struct resolve *resolve, uint16_t owner,
			     enum dispatch_keep keep)
{
	resolve->verdict = (struct dispatch_verdict){
		.owner = owner, .reason = DROP_NUM_, .keep = keep};
	return STEP_DECIDED;
}

static enum step_result drop(struct resolve *resolve, enum drop_reason reason,
			     enum dispatch_keep keep)
{
	resolve->verdict = (struct dispatch_verdict){.reason = reason, .keep = keep};
	return STEP_DECIDED;
}

/* Of one that has a connection for it. */
enum dispatch_keep resolve_keep(enum resolve_class class)
{
	return 1u << class & DATAGRAMS ? DISPATCH_KEEP_DATAGRAM : DISPATCH_KEEP_FLOW;
}

static enum step_result give_connection(struct resolve *resolve, uint16_t owner,
					enum flow_via via)
{
	resolve->via = via;
	resolve->enters = true;
	return give(resolve, owner, resolve_keep(resolve->class));
}

/* ---- the steps ---- */

/*
 * An opener may be that of the next connection, and nobody tells when a datagram socket
 * ends.
 */
static bool is_sure(const struct resolve *resolve, const struct flowtable_entry *entry)
{
	return entry->made_s < RESOLVE_FRESH_S ||
	       (is_of(resolve, SEGMENT | ERROR) && entry->heard_s < RESOLVE_USED_S);
}

static enum step_result step_table(struct resolve *resolve)
{
	struct flowtable_entry entry;
	enum resolve_member owner;

	if (!resolve->ops->table(resolve->arg, &resolve->key, &entry)) {
		say(resolve, "no entry");
		return STEP_NEXT;
	}
	owner = resolve->ops->member(resolve->arg, entry.owner);
	if (owner == RESOLVE_MEMBER_UP && is_sure(resolve, &entry)) {
		say(resolve, "%s, for %u s, by %s", name_of(resolve, entry.owner),
		    entry.made_s, flow_via_name(entry.via));
		resolve->hears = true;
		return give(resolve, entry.owner, resolve_keep(resolve->class));
	}
	if (owner == RESOLVE_MEMBER_UP) {
		say(resolve, "%s, but that is %u s old", name_of(resolve, entry.owner),
		    entry.made_s);
		resolve->is_stale = true;
		resolve->is_ours = entry.owner == resolve->self;
		return STEP_NEXT;
	}
	if (owner == RESOLVE_MEMBER_GONE) {
		say(resolve, "%s, which is gone", name_of(resolve, entry.owner));
		return STEP_NEXT;
	}
	say(resolve, "%s, which is not up now", name_of(resolve, entry.owner));
	resolve->overrides = true;
	return is_of(resolve, OPENERS)
		       ? STEP_NEXT
		       : drop(resolve, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
}

/*
 * Others tell at once whom they gave an opener to, and what our own kernel has came by
 * the walk: without an entry it is a new one.
 */
static bool needs_no_proof(const struct resolve *resolve)
{
	return resolve->overrides || (is_of(resolve, OPENER) && !resolve->is_stale);
}

/* A connection that is over stands in nobody's way, but has to answer its last packets.
 */
static bool is_match(const struct resolve *resolve, bool is_over)
{
	return !is_over || !is_of(resolve, OPENER);
}

static enum step_result step_kernel(struct resolve *resolve)
{
	struct socket_match match = {.is_over = false};
	int found;

	if (needs_no_proof(resolve)) {
		say(resolve, "not asked: nothing says that it is an old one");
		return STEP_NEXT;
	}
	found = resolve->ops->kernel(resolve->arg, &resolve->key, &match);
	if (found != 1 || !is_match(resolve, match.is_over)) {
		say(resolve, "%s",
		    found == 1 ? "only remembers it"
			       : (found < 0 ? "could not be asked" : "has none"));
		return STEP_NEXT;
	}
	if (match.is_half && is_of(resolve, SEGMENT)) {
		say(resolve, "has answered its opener");
		resolve->has_half = true;
		return STEP_NEXT;
	}
	say(resolve, "has it");
	return give_connection(resolve, resolve->self, FLOW_VIA_KERNEL);
}

static bool may_be_elsewhere(const struct resolve *resolve)
{
	return resolve->was_unsure || resolve->ops->is_unsure(resolve->arg);
}

/* Whose answer to the opener was taken, the first packet tells. */
static enum step_result nobody_has_it(struct resolve *resolve)
{
	if (!resolve->has_half || (!resolve->is_ours && may_be_elsewhere(resolve)))
		return STEP_NEXT;
	return give(resolve, resolve->self, DISPATCH_KEEP_NOT);
}

static enum step_result take_answer(struct resolve *resolve)
{
	switch (resolve->answer) {
	case RESOLVE_ANSWER_YES:
		say(resolve, "%s has it", name_of(resolve, resolve->answered_by));
		return give_connection(resolve, resolve->answered_by, FLOW_VIA_ANSWER);
	case RESOLVE_ANSWER_SILENT:
		say(resolve, "not all have answered");
		return is_of(resolve, OPENERS)
			       ? STEP_NEXT
			       : drop(resolve, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	case RESOLVE_ANSWER_BUSY:
		say(resolve, "not asked: too many questions are open");
		resolve->by_hash = true;
		return is_of(resolve, OPENERS)
			       ? STEP_NEXT
			       : drop(resolve, DROP_NO_OWNER, DISPATCH_KEEP_NOT);
	default:
		say(resolve, "none has it");
		return nobody_has_it(resolve);
	}
}

static enum step_result step_members(struct resolve *resolve)
{
	if (needs_no_proof(resolve)) {
		say(resolve, "not asked");
		return STEP_NEXT;
	}
	if (resolve->answer != RESOLVE_ANSWER_NONE)
		return take_answer(resolve);
	if (resolve->ops->count_others(resolve->arg) == 0) {
		say(resolve, "there are none");
		return nobody_has_it(resolve);
	}
	resolve->was_unsure = resolve->ops->is_unsure(resolve->arg);
	return STEP_ASK;
}

/* Something new for one of those that would take it. */
static enum step_result place(struct resolve *resolve, enum resolve_match match)
{
	struct balance_node nodes[BALANCE_NODES_MAX];
	bool by_hash = resolve->by_hash || is_of(resolve, DATAGRAMS) ||
		       resolve->ops->is_flooded(resolve->arg);
	unsigned num =
		resolve->ops->candidates(resolve->arg, &resolve->key, match, nodes);
	uint16_t owner;

	if (num == 0) {
		say(resolve, "no member listens");
		return STEP_NEXT;
	}
	owner = by_hash ? balance_hash(&resolve->key, nodes, num)
			: resolve->ops->choose(resolve->arg, &resolve->key, nodes, num);
	say(resolve, "%s%s, of %u", name_of(resolve, owner),
	    by_hash ? " by its hash" : (num > 1 ? " by policy" : ""), num);
	if (is_of(resolve, DATAGRAMS))
		return give(resolve, owner, DISPATCH_KEEP_DATAGRAM);
	resolve->via = num > 1 ? FLOW_VIA_POLICY : FLOW_VIA_ONLY;
	resolve->match = match;
	resolve->is_hashed = by_hash;
	resolve->enters = resolve->is_placed = !by_hash;
	return give(resolve, owner, DISPATCH_KEEP_FLOW);
}

static enum step_result step_wildcard(struct resolve *resolve)
{
	return place(resolve, RESOLVE_MATCH_PEER);
}

static enum step_result step_listener(struct resolve *resolve)
{
	return place(resolve, RESOLVE_MATCH_ANY);
}

/*
 * Who has begun to listen just now is on no list yet. A member that is asked looks at
 * its kernel again and tells what is new there before it answers.
 */
static enum step_result step_again(struct resolve *resolve)
{
	if (!resolve->is_again && !resolve->ops->look(resolve->arg)) {
		say(resolve, "not again so soon");
		return STEP_NEXT;
	}
	if (!resolve->is_again && resolve->answer == RESOLVE_ANSWER_NONE &&
	    resolve->ops->count_others(resolve->arg) > 0) {
		resolve->is_again = true;
		return STEP_ASK;
	}
	if (resolve->answer == RESOLVE_ANSWER_YES)
		return take_answer(resolve);
	if (place(resolve, RESOLVE_MATCH_PEER) == STEP_DECIDED)
		return STEP_DECIDED;
	return place(resolve, RESOLVE_MATCH_ANY);
}

/*
 * What was placed by hash while there was too much has no entry anywhere, and with SYN
 * cookies no socket before its second packet. If a member is not up it may be of one
 * that was placed there: then it's not reset by another one.
 */
static enum step_result step_flood(struct resolve *resolve)
{
	struct balance_node nodes[BALANCE_NODES_MAX];
	unsigned num;

	if (!resolve->ops->is_flooded(resolve->arg) || may_be_elsewhere(resolve)) {
		say(resolve, "no flood, or not all members are up");
		return STEP_NEXT;
	}
	num = resolve->ops->candidates(resolve->arg, &resolve->key, RESOLVE_MATCH_ANY,
				       nodes);
	if (num == 0) {
		say(resolve, "no member listens");
		return STEP_NEXT;
	}
	say(resolve, "placed as openers are now");
	return give(resolve, balance_hash(&resolve->key, nodes, num), DISPATCH_KEEP_NOT);
}

static enum step_result step_pair(struct resolve *resolve)
{
	struct balance_node nodes[BALANCE_NODES_MAX];
	unsigned num = resolve->ops->candidates(resolve->arg, &resolve->key,
						RESOLVE_MATCH_NODE, nodes);
	uint16_t owner;

	if (num == 0) {
		say(resolve, "no member takes anything");
		return STEP_NEXT;
	}
	owner = balance_hash(&resolve->key, nodes, num);
	say(resolve, "%s, of %u", name_of(resolve, owner), num);
	return give(resolve, owner, DISPATCH_KEEP_DATAGRAM);
}

/* A connection that nobody has, and nobody may have who can't be asked: it is reset. */
static enum step_result none_of_segment(struct resolve *resolve)
{
	if (may_be_elsewhere(resolve)) {
		say(resolve, "dropped: a member is not up that may have it");
		return drop(resolve, DROP_NO_OWNER, DISPATCH_KEEP_SHORT);
	}
	say(resolve, "our own kernel resets it");
	return give(resolve, resolve->self, DISPATCH_KEEP_NOT);
}

static enum step_result step_none(struct resolve *resolve)
{
	if (is_of(resolve, SEGMENT))
		return none_of_segment(resolve);
	say(resolve, "dropped");
	return drop(resolve,
		    is_of(resolve, ERROR | ERROR_DATAGRAM) ? DROP_NO_OWNER
							   : DROP_NO_LISTENER,
		    DISPATCH_KEEP_SHORT);
}

static const struct step steps[] = {
	[RESOLVE_STEP_TABLE] = {"connection table", EXACT, step_table},
	[RESOLVE_STEP_KERNEL] = {"own kernel", EXACT, step_kernel},
	[RESOLVE_STEP_MEMBERS] = {"other members", EXACT, step_members},
	[RESOLVE_STEP_WILDCARD] = {"local address wildcarded", OPENERS, step_wildcard},
	[RESOLVE_STEP_LISTENER] = {"foreign part dropped", OPENERS, step_listener},
	[RESOLVE_STEP_AGAIN] = {"all look again", OPENER | DATAGRAM, step_again},
	[RESOLVE_STEP_FLOOD] = {"flood", SEGMENT, step_flood},
	[RESOLVE_STEP_PAIR] = {"pair of addresses", PAIR, step_pair},
	[RESOLVE_STEP_NONE] = {"none", ALL, step_none},
};
_Static_assert(sizeof(steps) / sizeof(steps[0]) == RESOLVE_STEPS_MAX, "one per step");

static void say(struct resolve *resolve, const char *format, ...)
{
	char words[RESOLVE_WORDS_MAX];
	va_list args;

	if (!resolve->ops->note)
		return;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	resolve->ops->note(resolve->arg, steps[resolve->step].name, words);
}

/* ---- the walk ---- */

static enum resolve_class class_of_error(const struct flow_key *key)
{
	if (!flow_has_ports(key->protocol))
		return RESOLVE_PAIR;
	return key->protocol == IPPROTO_UDP || key->protocol == IPPROTO_UDPLITE
		       ? RESOLVE_ERROR_DATAGRAM
		       : RESOLVE_ERROR;
}

bool resolve_class_of(const struct flow_packet *packet, enum resolve_class *ret_class)
{
	switch (packet->kind) {
	case FLOW_OPENER:
		*ret_class = RESOLVE_OPENER;
		return true;
	case FLOW_DATAGRAM:
		*ret_class = RESOLVE_DATAGRAM;
		return true;
	case FLOW_SEGMENT:
		*ret_class = RESOLVE_SEGMENT;
		return true;
	case FLOW_ERROR:
		*ret_class = class_of_error(&packet->key);
		return true;
	case FLOW_PAIR:
		*ret_class = RESOLVE_PAIR;
		return true;
	default:
		return false;
	}
}

void resolve_start(struct resolve *resolve, const struct resolve_ops *ops, void *arg,
		   uint16_t self, const struct flow_key *key, enum resolve_class class)
{
	memset(resolve, 0, sizeof(*resolve));
	resolve->ops = ops;
	resolve->arg = arg;
	resolve->self = self;
	resolve->key = *key;
	resolve->class = class;
}

/* The last step decides whatever comes. */
enum resolve_outcome resolve_run(struct resolve *resolve)
{
	for (;; resolve->step++) {
		const struct step *step = &steps[resolve->step];
		enum step_result result;

		if (!is_of(resolve, step->classes))
			continue;
		result = step->run(resolve);
		if (result == STEP_ASK)
			return RESOLVE_ASK;
		if (result == STEP_DECIDED)
			return RESOLVE_DECIDED;
	}
}

void resolve_answered(struct resolve *resolve, enum resolve_answer answer,
		      uint16_t node_id)
{
	resolve->answer = answer;
	resolve->answered_by = node_id;
}
