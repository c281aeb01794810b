/*
 * The members of the network: who is up, what they told of themselves, what they have
 * heard of us, and who answers for the addresses. See dispatch.h.
 *
 * Theory of operation of what must be heard: our list of listeners and our state have
 * generations, which only grow. A member says with HEARD which ones it has, after each
 * part of them; what it doesn't have is said again each DISPATCH_REPEAT_NS. A member that
 * went down and came back starts from nothing on both sides.
 *
 * Of the members that could answer for the addresses the one with the lowest id does.
 * Nobody starts to before all members with lower ids have said what they are; who does
 * already goes on until then, so that there is always somebody who does.
 *
 * Members that did not hear of each other for a while may all have answered. Of these
 * one goes on, without any change of its own, and the LAN may have learned another one
 * last. So whoever goes on says so again when another one is gone, or says that it does
 * not answer and may have done so before: it said that it did, or a generation of its
 * state was not heard. tests/model/announce.pml has this.
 */
#include "control/dispatch_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- who there is ---- */

struct member *dispatch_find(const struct dispatch *dispatch, uint16_t id)
{
	for (unsigned slot = 0; slot < DISPATCH_MEMBERS_MAX; slot++) {
		struct member *member = dispatch->members[slot];

		if (member && member->id == id)
			return member;
	}
	return NULL;
}

static bool is_in_grace(const struct dispatch *dispatch, const struct member *member)
{
	return dispatch_now(dispatch) - member->down_ns < DISPATCH_GRACE_NS;
}

enum resolve_member dispatch_member_state(const struct dispatch *dispatch,
					  const struct member *member)
{
	if (!member)
		return RESOLVE_MEMBER_GONE;
	if (member->is_up)
		return member->is_suspect ? RESOLVE_MEMBER_UNSURE : RESOLVE_MEMBER_UP;
	return is_in_grace(dispatch, member) ? RESOLVE_MEMBER_UNSURE
					     : RESOLVE_MEMBER_GONE;
}

bool dispatch_is_unsure(const struct dispatch *dispatch)
{
	if (dispatch->surplus || /* who has no room here has connections, too */
	    dispatch_now(dispatch) - dispatch->started_ns < DISPATCH_GRACE_NS)
		return true;
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		if (dispatch_member_state(dispatch, dispatch->members[slot]) ==
		    RESOLVE_MEMBER_UNSURE)
			return true;
	}
	return false;
}

static struct member *add_member(struct dispatch *dispatch, uint16_t id, unsigned slot)
{
	struct member *member = &dispatch->places[slot];

	memset(member, 0, sizeof(*member));
	member->id = id;
	member->slot = slot;
	dispatch->members[slot] = member;
	return member;
}

void dispatch_add_self(struct dispatch *dispatch, uint16_t id, const char *name)
{
	struct member *self = add_member(dispatch, id, 0);

	snprintf(self->name, sizeof(self->name), "%s", name);
	self->is_up = true;
	self->is_complete = true;
	self->state.weight = dispatch->config->weight;
	self->state.generation = 1;
	dispatch->self = self;
}

static struct member *add_peer(struct dispatch *dispatch, uint16_t id)
{
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		if (!dispatch->members[slot])
			return add_member(dispatch, id, slot);
	}
	return NULL;
}

static void free_member(struct dispatch *dispatch, struct member *member)
{
	dispatch->members[member->slot] = NULL;
	dispatch_drop_listeners(member);
}

void dispatch_forget_members(struct dispatch *dispatch)
{
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		struct member *member = dispatch->members[slot];

		if (member && !member->is_up && !is_in_grace(dispatch, member))
			free_member(dispatch, member);
	}
}

void dispatch_free_members(struct dispatch *dispatch)
{
	for (unsigned slot = 0; slot < DISPATCH_MEMBERS_MAX; slot++) {
		if (dispatch->members[slot])
			free_member(dispatch, dispatch->members[slot]);
	}
}

/* ---- up and down ---- */

/* Nothing of a former life is left. */
static void start_life(struct member *member, const char *name)
{
	uint64_t lost_ns = member->lost_ns;
	uint16_t id = member->id;
	unsigned slot = member->slot;

	dispatch_drop_listeners(member);
	memset(member, 0, sizeof(*member));
	member->id = id;
	member->slot = slot;
	member->lost_ns = lost_ns;
	member->is_up = true;
	member->is_complete = true;
	member->heard_wish = true;
	snprintf(member->name, sizeof(member->name), "%s", name);
}

static void tell_state(struct dispatch *dispatch, const struct member *member)
{
	const struct dispatch_message message = {.type = DISPATCH_MESSAGE_STATE,
						 .state = dispatch->self->state};

	dispatch_send(dispatch, member, &message);
}

/* `has_ceased`: somebody who may have answered, too. */
static void elect_after(struct dispatch *dispatch, bool has_ceased)
{
	bool was_announcing = dispatch->is_announcing;

	dispatch_elect(dispatch);
	if (has_ceased && was_announcing && dispatch->is_announcing)
		dispatch->ops->announce(dispatch->arg, true);
}

void dispatch_peer_up(struct dispatch *dispatch, uint16_t peer_id, const char *name)
{
	struct member *member = dispatch_find(dispatch, peer_id);

	if (member == dispatch->self)
		return;
	if (!member)
		member = add_peer(dispatch, peer_id);
	if (!member) {
		dispatch->surplus++;
		return;
	}
	if (member->is_up) {
		member->lost_ns = dispatch->self->lost_ns = dispatch_now(dispatch);
		dispatch_query_lost(dispatch, member);
	}
	start_life(member, name);
	tell_state(dispatch, member);
	dispatch_push_listeners(dispatch, member);
	dispatch_elect(dispatch);
	dispatch_arm(dispatch);
}

void dispatch_peer_down(struct dispatch *dispatch, uint16_t peer_id)
{
	struct member *member = dispatch_find(dispatch, peer_id);

	if (!member || member == dispatch->self || !member->is_up)
		return;
	member->is_up = false;
	member->down_ns = dispatch_now(dispatch);
	member->lost_ns = dispatch->self->lost_ns = member->down_ns;
	memset(&member->state, 0, sizeof(member->state));
	for (unsigned i = 0; i < DISPATCH_BOX_NUM_; i++)
		member->boxes[i].num = 0;
	dispatch_query_lost(dispatch, member);
	dispatch_drop_listeners(member);
	dispatch->must_renew = true;
	elect_after(dispatch, true);
	dispatch_arm(dispatch);
}

void dispatch_peer_suspect(struct dispatch *dispatch, uint16_t peer_id, bool is_suspect)
{
	struct member *member = dispatch_find(dispatch, peer_id);

	if (!member || member == dispatch->self || member->is_suspect == is_suspect)
		return;
	member->is_suspect = is_suspect;
	dispatch->must_renew = true;
	dispatch_arm(dispatch);
}

/* ---- mail ---- */

static const enum dispatch_message_type box_types[] = {
	[DISPATCH_BOX_QUERIES] = DISPATCH_MESSAGE_QUERY,
	[DISPATCH_BOX_ANSWERS] = DISPATCH_MESSAGE_ANSWER,
	[DISPATCH_BOX_PINS] = DISPATCH_MESSAGE_PIN,
};
static const unsigned box_sizes[] = {
	[DISPATCH_BOX_QUERIES] = DISPATCH_QUERIES_MAX,
	[DISPATCH_BOX_ANSWERS] = DISPATCH_ANSWERS_MAX,
	[DISPATCH_BOX_PINS] = DISPATCH_PINS_MAX,
};

void dispatch_send(struct dispatch *dispatch, const struct member *member,
		   const struct dispatch_message *message)
{
	uint8_t bytes[DISPATCH_BYTES_MAX];
	size_t length;

	if (codec_dispatch_encode(message, bytes, sizeof(bytes), &length) < 0 ||
	    dispatch->ops->send(dispatch->arg, member->id, bytes, length) < 0)
		dispatch->counters.not_sent++;
}

static void send_box(struct dispatch *dispatch, struct member *member,
		     enum dispatch_box box)
{
	struct dispatch_message *message = &member->boxes[box];

	if (message->num == 0)
		return;
	message->type = box_types[box];
	dispatch_send(dispatch, member, message);
	message->num = 0;
}

/*
 * Somebody waits for a question or an answer. Nobody does for a pin: the packets of its
 * connection come the same way for a while, and whoever gets one of them before can ask.
 * So pins go some at a time, or each new connection would wake every member.
 */
static void call_for_mail(struct dispatch *dispatch, enum dispatch_box box)
{
	uint64_t due = dispatch_now(dispatch);

	if (box == DISPATCH_BOX_PINS)
		due += DISPATCH_PINS_NS;
	if (!dispatch->mail_ns || due < dispatch->mail_ns)
		dispatch->mail_ns = due;
}

struct dispatch_message *dispatch_box(struct dispatch *dispatch, struct member *member,
				      enum dispatch_box box)
{
	if (member->boxes[box].num == box_sizes[box])
		send_box(dispatch, member, box);
	call_for_mail(dispatch, box);
	return &member->boxes[box];
}

void dispatch_send_boxes(struct dispatch *dispatch)
{
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		struct member *member = dispatch->members[slot];

		for (unsigned box = 0; member && box < DISPATCH_BOX_NUM_; box++)
			send_box(dispatch, member, (enum dispatch_box)box);
	}
	dispatch->mail_ns = 0;
}

/* ---- state ---- */

static void tell_wish(struct dispatch *dispatch, struct member *member)
{
	const struct dispatch_message message = {.type = DISPATCH_MESSAGE_DRAIN,
						 .drain = member->wish};

	if (member->wishes++ == DISPATCH_DRAINS)
		member->heard_wish = true; /* it will not */
	else
		dispatch_send(dispatch, member, &message);
}

static bool has_heard_all(const struct member *member)
{
	return member->heard_state && member->heard_listeners && member->heard_wish;
}

static void repeat_to(struct dispatch *dispatch, struct member *member)
{
	if (!member->heard_state)
		tell_state(dispatch, member);
	if (!member->heard_listeners) {
		member->sent_count = member->heard_count;
		dispatch_push_listeners(dispatch, member);
	}
	if (!member->heard_wish)
		tell_wish(dispatch, member);
}

void dispatch_repeat(struct dispatch *dispatch)
{
	bool is_due =
		dispatch->repeat_ns && dispatch->repeat_ns <= dispatch_now(dispatch);
	bool all_heard = true;

	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		struct member *member = dispatch->members[slot];

		if (!member || !member->is_up)
			continue;
		if (is_due)
			repeat_to(dispatch, member);
		if (!has_heard_all(member))
			all_heard = false;
	}
	if (all_heard)
		dispatch->repeat_ns = 0;
	else if (is_due || dispatch->repeat_ns == 0)
		dispatch->repeat_ns = dispatch_now(dispatch) + DISPATCH_REPEAT_NS;
}

void dispatch_publish(struct dispatch *dispatch)
{
	dispatch->self->state.generation++;
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		struct member *member = dispatch->members[slot];

		if (!member || !member->is_up)
			continue;
		member->heard_state = false;
		tell_state(dispatch, member);
	}
}

void dispatch_take_heard(struct dispatch *dispatch, struct member *member,
			 const struct dispatch_heard *heard)
{
	if (heard->state == dispatch->self->state.generation)
		member->heard_state = true;
	if (heard->drain == member->wish.serial)
		member->heard_wish = true;
	if (heard->listeners != dispatch->generation || member->heard_listeners)
		return;
	if (heard->count <= dispatch->self->listeners.num &&
	    heard->count > member->heard_count)
		member->heard_count = heard->count;
	member->heard_listeners = heard->count == dispatch->self->listeners.num;
	if (!member->heard_listeners)
		dispatch_push_listeners(dispatch, member);
}

void dispatch_take_state(struct dispatch *dispatch, struct member *member,
			 const struct dispatch_state *state)
{
	const struct dispatch_state former = member->state;
	bool may_have_answered;

	if (state->generation > former.generation) {
		member->state = *state;
		member->placed = 0;
		if (former.is_drained != state->is_drained ||
		    former.weight != state->weight)
			dispatch->must_renew = true;
		may_have_answered =
			former.is_announcing || state->generation > former.generation + 1;
		elect_after(dispatch, may_have_answered && !state->is_announcing);
	}
	dispatch_tell_heard(dispatch, member);
}

static void set_drained(struct dispatch *dispatch, bool on)
{
	struct dispatch_state *state = &dispatch->self->state;

	if (state->is_drained == on)
		return;
	state->is_drained = on;
	dispatch->must_renew = true;
	if (dispatch->ops->drained)
		dispatch->ops->drained(dispatch->arg, on);
	dispatch_publish(dispatch);
}

void dispatch_take_drain(struct dispatch *dispatch, struct member *member,
			 const struct dispatch_drain *drain)
{
	if (drain->serial > member->drain_serial) {
		member->drain_serial = drain->serial;
		set_drained(dispatch, drain->is_drained);
	}
	dispatch_tell_heard(dispatch, member);
}

static const struct member *find_by_name(const struct dispatch *dispatch,
					 const char *name)
{
	const struct member *down = NULL;

	for (unsigned slot = 0; slot < DISPATCH_MEMBERS_MAX; slot++) {
		const struct member *member = dispatch->members[slot];

		if (!member || strcmp(member->name, name) != 0)
			continue;
		if (member->is_up)
			return member;
		down = member;
	}
	return down;
}

int dispatch_drain(struct dispatch *dispatch, const char *node, bool on,
		   char words[DISPATCH_WORDS_MAX])
{
	struct member *member = dispatch->self;

	if (node)
		member = (struct member *)find_by_name(dispatch, node);
	if (!member || !member->is_up) {
		snprintf(words, DISPATCH_WORDS_MAX,
			 "%.64s is no member of %s that is up; shmnetctl topology shows "
			 "which are",
			 node, dispatch->config->name);
		return member ? -ENOTCONN : -ENOENT;
	}
	if (member == dispatch->self) {
		set_drained(dispatch, on);
	} else {
		member->wish.serial++;
		member->wish.is_drained = on;
		member->heard_wish = false;
		member->wishes = 0;
		tell_wish(dispatch, member);
	}
	dispatch_arm(dispatch);
	return 0;
}

/* ---- who answers for the addresses ---- */

static bool should_announce(const struct dispatch *dispatch)
{
	if (!dispatch->self->state.announces ||
	    dispatch_now(dispatch) < dispatch->hold_ns)
		return false;
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		const struct member *member = dispatch->members[slot];

		if (!member || !member->is_up || member->id > dispatch->self->id)
			continue;
		if (member->state.generation == 0
			    ? !dispatch->is_announcing
			    : member->state.announces && !member->is_paused)
			return false;
	}
	return true;
}

void dispatch_elect(struct dispatch *dispatch)
{
	struct dispatch_state *state = &dispatch->self->state;
	bool on;

	state->announces = dispatch->config->announce && dispatch->nic_is_usable &&
			   !dispatch->self->is_paused;
	on = should_announce(dispatch);
	if (on == dispatch->is_announcing)
		return;
	if (!on) /* a member that comes and goes all the time is not worth a flood */
		dispatch->hold_ns = dispatch_now(dispatch) + DISPATCH_HOLD_NS;
	dispatch->is_announcing = state->is_announcing = on;
	dispatch->ops->announce(dispatch->arg, on);
	dispatch_publish(dispatch);
}

void dispatch_reconfigure(struct dispatch *dispatch)
{
	struct dispatch_state *state = &dispatch->self->state;

	balance_set_policy(dispatch->balance, dispatch->config->balance);
	if (state->weight != dispatch->config->weight)
		dispatch->must_renew = true;
	state->weight = dispatch->config->weight;
	dispatch_elect(dispatch);
	dispatch_publish(dispatch);
	dispatch_arm(dispatch);
}

/* Whether we could has changed, whether we do or not. */
static void elect_and_publish(struct dispatch *dispatch)
{
	uint64_t generation = dispatch->self->state.generation;

	dispatch_elect(dispatch);
	if (generation == dispatch->self->state.generation && dispatch->config->announce)
		dispatch_publish(dispatch);
}

void dispatch_set_nic(struct dispatch *dispatch, bool is_usable)
{
	if (dispatch->nic_is_usable == is_usable)
		return;
	dispatch->nic_is_usable = is_usable;
	elect_and_publish(dispatch);
	dispatch_arm(dispatch);
}

void dispatch_set_paused(struct dispatch *dispatch, uint16_t node_id, bool is_paused)
{
	struct member *member = dispatch_find(dispatch, node_id);

	if (!member || !member->is_up || member->is_paused == is_paused)
		return;
	member->is_paused = is_paused;
	dispatch->must_renew = true;
	if (member == dispatch->self)
		elect_and_publish(dispatch);
	else
		dispatch_elect(dispatch);
	dispatch_arm(dispatch);
}
