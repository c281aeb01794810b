/*
 * Who may come into the membership, and in words why another one may not. See
 * member_internal.h. Keeps nothing. Control thread.
 */
#include "control/member_internal.h"
#include "control/wire_range.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool __attribute__((format(printf, 3, 4)))
member_turn_away(struct peer_refuse *refuse, enum peer_refusal code, const char *format,
		 ...)
{
	va_list args;

	refuse->code = code;
	va_start(args, format);
	vsnprintf(refuse->words, sizeof(refuse->words), format, args);
	va_end(args);
	return false;
}

static bool is_listed(const struct node_config *config, uid_t uid)
{
	for (unsigned i = 0; i < config->num_fabrics; i++) {
		for (unsigned j = 0; j < config->fabrics[i].num_uids; j++) {
			if (config->fabrics[i].uids[j] == uid)
				return true;
		}
	}
	return false;
}

/* Of another machine there is no user, but a certificate. */
bool member_admit_user(const struct peer_owner *owner,
		       const struct world_credentials *credentials,
		       struct peer_refuse *ret_refuse)
{
	if (credentials->is_remote || credentials->uid == 0 ||
	    credentials->uid == owner->world->uid ||
	    is_listed(owner->config, credentials->uid))
		return true;
	return member_turn_away(
		ret_refuse, PEER_REFUSAL_UID,
		"uid %lu of pid %ld is neither root nor uid %lu of %s, nor in "
		"'uids' of its fabric",
		(unsigned long)credentials->uid, (long)credentials->pid,
		(unsigned long)owner->world->uid, member_own_name(owner));
}

static bool admit_certificate(const struct world_credentials *credentials,
			      const struct peer_hello *hello,
			      struct peer_refuse *ret_refuse)
{
	if (!credentials->name[0] || strcmp(credentials->name, hello->name) == 0)
		return true;
	return member_turn_away(ret_refuse, PEER_REFUSAL_IDENTITY,
				"certificate of %s presented by node %s",
				credentials->name, hello->name);
}

static bool admit_version(const struct peer_owner *owner, const struct peer_hello *hello,
			  struct peer_refuse *ret_refuse)
{
	const struct wire_range theirs =
		wire_range_of(hello->wire_version, hello->wire_min);
	struct wire_range_text their_text, own_text;

	if (wire_range_meet(&wire_spoken, &theirs))
		return true;
	return member_turn_away(
		ret_refuse, PEER_REFUSAL_VERSION,
		"wire version %s of the peer and wire version %s of %s differ",
		wire_range_print(&theirs, &their_text),
		wire_range_print(&wire_spoken, &own_text), member_own_name(owner));
}

static bool admit_cluster(const struct peer_owner *owner, const struct peer_hello *hello,
			  struct peer_refuse *ret_refuse)
{
	if (strcmp(hello->cluster, owner->config->cluster) == 0)
		return true;
	return member_turn_away(
		ret_refuse, PEER_REFUSAL_CLUSTER,
		"cluster %s of %s (id %u) and cluster %s of %s (id %u) differ",
		hello->cluster, hello->name, hello->id, owner->config->cluster,
		member_own_name(owner), owner->config->id);
}

/* A name belongs to who has a channel; a node may come back under another id. */
static bool admit_name(const struct membership *membership,
		       const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	const struct node_config *config = membership->owner.config;

	if (strcmp(hello->name, config->name) == 0)
		return member_turn_away(ret_refuse, PEER_REFUSAL_DUPLICATE,
					"name %s is that of id %u and of id %u",
					hello->name, hello->id, config->id);
	for (unsigned i = 0; i < membership->num_peers; i++) {
		struct peer *peer = membership->peers[i];

		if (peer_id(peer) != hello->id && peer_has_channel(peer) &&
		    !peer_is_gone(peer) && strcmp(peer_name(peer), hello->name) == 0)
			return member_turn_away(ret_refuse, PEER_REFUSAL_DUPLICATE,
						"name %s is that of id %u and of id %u, "
						"which is connected to %s",
						hello->name, hello->id, peer_id(peer),
						config->name);
	}
	return true;
}

static bool admit_id(const struct peer_owner *owner, const struct peer_hello *hello,
		     struct peer_refuse *ret_refuse)
{
	if (hello->id != owner->config->id)
		return true;
	return member_turn_away(ret_refuse, PEER_REFUSAL_DUPLICATE,
				"id %u is that of %s and of %s", hello->id, hello->name,
				member_own_name(owner));
}

/* Whoever dialled whom. */
static bool admit_anybody(const struct membership *membership,
			  const struct world_credentials *credentials,
			  const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	const struct peer_owner *owner = &membership->owner;

	return member_admit_user(owner, credentials, ret_refuse) &&
	       admit_version(owner, hello, ret_refuse) &&
	       admit_certificate(credentials, hello, ret_refuse) &&
	       admit_cluster(owner, hello, ret_refuse) &&
	       admit_id(owner, hello, ret_refuse) &&
	       admit_name(membership, hello, ret_refuse);
}

bool member_admit_dialled(struct peer_owner *owner, struct peer *peer,
			  const struct world_credentials *credentials,
			  const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	struct membership *membership = (struct membership *)owner;

	if (!admit_anybody(membership, credentials, hello, ret_refuse))
		return false;
	if (hello->id == peer_id(peer))
		return true;
	return member_turn_away(ret_refuse, PEER_REFUSAL_IDENTITY,
				"%s found id %u %s and %s there says it is id %u",
				member_own_name(owner), peer_id(peer),
				credentials->is_remote ? "at that address"
						       : "in the rendezvous",
				hello->name, hello->id);
}

bool member_admit_caller(const struct membership *membership,
			 const struct world_credentials *credentials,
			 const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	const struct node_config *config = membership->owner.config;

	if (!admit_anybody(membership, credentials, hello, ret_refuse))
		return false;
	if (hello->id < config->id)
		return true;
	return member_turn_away(
		ret_refuse, PEER_REFUSAL_IDENTITY,
		"the lower id dials: id %u of %s must not dial id %u of %s", hello->id,
		hello->name, config->id, config->name);
}

static const char *describe_place(const struct peer *peer, char *text, size_t size)
{
	if (peer_is_remote(peer))
		snprintf(text, size, "on another machine");
	else
		snprintf(text, size, "pid %ld", (long)peer_pid(peer));
	return text;
}

/*
 * The peer has a channel already. At its end: this is the next life, or the next
 * try, and the end is just not reported yet. Else the id is taken.
 */
bool member_admit_again(const struct membership *membership, struct peer *peer,
			const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	char place[32];

	if (!peer_has_channel(peer) || peer_is_gone(peer))
		return true;
	return member_turn_away(
		ret_refuse, PEER_REFUSAL_DUPLICATE,
		"id %u of %s is that of %s (%s), which is connected to %s", hello->id,
		hello->name, peer_name(peer), describe_place(peer, place, sizeof(place)),
		member_own_name(&membership->owner));
}
