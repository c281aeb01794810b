/*
 * What the codec's files share: scratch memory that a reply is built in.
 *
 *     codec_ctl.c        requests, and the replies about nodes, networks and links
 *     codec_ctl_flows.c  the replies about global networks
 *     codec_ctl_tell.c   the replies of verbs that change the node
 *     codec_ctl_takeover.c  what a newer process of the node asks, and its reply
 */
#ifndef CONTROL_CODEC_CTL_INTERNAL_H
#define CONTROL_CODEC_CTL_INTERNAL_H

#include "control/codec_ctl.h"

#include "ctl.pb-c.h"

#include <stdbool.h>

struct ctl_scratch {
	void **blocks; /* each starts with the pointer to the next */
	bool failed;
};

/* NULL, which is remembered, if memory is short. */
void *ctl_scratch_new(struct ctl_scratch *scratch, size_t count, size_t size);

/* `count` empty messages of a type and the list of pointers to them. */
void *ctl_scratch_messages(struct ctl_scratch *scratch,
			   const ProtobufCMessageDescriptor *type, size_t count,
			   size_t *ret_count);

/* `width` is from one string's array to the next. */
char **ctl_scratch_strings(struct ctl_scratch *scratch, const char *strings, size_t width,
			   size_t count, size_t *ret_count);

/* Frees what the scratch has, too. -ENOMEM. */
int ctl_reply_pack(struct ctl_scratch *scratch, Shmnet__Ctl__Reply *reply,
		   Shmnet__Ctl__Reply__BodyCase body, uint8_t **ret_data,
		   size_t *ret_size);

#endif
