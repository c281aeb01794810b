/* What there is to know of a message but its bytes. See codec_peer.h. */
#include "control/codec_peer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct message_shape {
	const char *name;
	unsigned num_fds;
} shapes[] = {
	[PEER_MESSAGE_HELLO] = {"HELLO", 0},
	[PEER_MESSAGE_READY] = {"READY", 0},
	[PEER_MESSAGE_RING] = {"RING", 1},
	[PEER_MESSAGE_BELL] = {"BELL", 1},
	[PEER_MESSAGE_INCARNATION] = {"INCARNATION", 0},
	[PEER_MESSAGE_REFUSE] = {"REFUSE", 0},
	[PEER_MESSAGE_PROBE] = {"PROBE", 0},
	[PEER_MESSAGE_PROBED] = {"PROBED", 0},
	[PEER_MESSAGE_CAST] = {"CAST", 1},
	[PEER_MESSAGE_READS] = {"READS", 0},
	[PEER_MESSAGE_WANT] = {"WANT", 0},
	[PEER_MESSAGE_LOOK] = {"LOOK", 0},
	[PEER_MESSAGE_PAUSE] = {"PAUSE", 0},
	[PEER_MESSAGE_NETWORKS] = {"NETWORKS", 0},
	[PEER_MESSAGE_BORDER] = {"BORDER", 0},
};
_Static_assert(sizeof(shapes) / sizeof(shapes[0]) == PEER_MESSAGE_NUM_, "one per type");

const char *peer_message_name(enum peer_message_type type)
{
	return (unsigned)type < PEER_MESSAGE_NUM_ ? shapes[type].name : "unknown message";
}

uint32_t peer_message_version(enum peer_message_type type)
{
	return type == PEER_MESSAGE_BORDER ? 6 : 0;
}

unsigned peer_message_fds(enum peer_message_type type, bool is_remote)
{
	return (unsigned)type < PEER_MESSAGE_NUM_ && !is_remote ? shapes[type].num_fds
								: 0;
}

const char *peer_hello_members(const struct peer_hello *hello,
			       const struct peer_network *network)
{
	return hello->members + network->members;
}

int peer_hello_set_members(struct peer_hello *hello, struct peer_network *network,
			   const char *text)
{
	const size_t size = strlen(text) + 1;
	const unsigned at = hello->members_used ? hello->members_used : 1;

	network->members = 0;
	if (!*text)
		return 0;
	if (size > sizeof(hello->members) - at)
		return -EMSGSIZE;
	memcpy(hello->members + at, text, size);
	network->members = (uint16_t)at;
	hello->members_used = at + (unsigned)size;
	return 0;
}

bool peer_border_is_same(const struct peer_border *one, const struct peer_border *other)
{
	/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): both start as zeroes */
	return memcmp(one, other, sizeof(*one)) == 0;
}

bool peer_border_is_none(const struct peer_border *border)
{
	return border->num_nics == 0 && border->num_announces == 0;
}

bool peer_border_announces(const struct peer_border *border, const char *network)
{
	for (unsigned i = 0; i < border->num_announces; i++) {
		if (strcmp(border->announces[i], network) == 0)
			return true;
	}
	return false;
}

enum events_state peer_border_state(const struct peer_border *border)
{
	return border->num_announces ? EVENTS_ANNOUNCING : EVENTS_WITHDRAWN;
}

static size_t append(char text[PEER_BORDER_TEXT_MAX], size_t used, const char *before,
		     const char *word, const char *behind)
{
	int n = snprintf(text + used, PEER_BORDER_TEXT_MAX - used, "%s%s%s", before, word,
			 behind);

	return used + (size_t)n < PEER_BORDER_TEXT_MAX ? used + (size_t)n
						       : PEER_BORDER_TEXT_MAX - 1;
}

void peer_border_text(const struct peer_border *border, char text[PEER_BORDER_TEXT_MAX])
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < border->num_nics; i++) {
		const struct peer_nic *nic = &border->nics[i];

		used = append(text, used, i ? ", " : "", nic->name,
			      nic->is_up ? " up" : " down");
	}
	used = append(text, used, border->num_nics ? "; " : "", "announces ",
		      border->num_announces ? "" : "nothing");
	for (unsigned i = 0; i < border->num_announces; i++)
		used = append(text, used, i ? ", " : "", border->announces[i], "");
}
