/* See codec_ctl_internal.h: what a newer process of the node asks, and its reply. */
#include "control/codec_ctl_internal.h"

#include "data/tap.h"

#include <shmnet/ctl.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int codec_ctl_encode_takeover(const struct report_takeover *report, uint8_t **ret_data,
			      size_t *ret_size)
{
	Shmnet__Ctl__Takeover body = SHMNET__CTL__TAKEOVER__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.id = report->id;
	body.listen = report->listen[0] ? (char *)report->listen : NULL;
	body.taps = ctl_scratch_messages(&scratch, &shmnet__ctl__takeover_tap__descriptor,
					 report->num_taps, &body.n_taps);
	for (size_t i = 0; i < body.n_taps; i++) {
		body.taps[i]->name = (char *)report->taps[i].name;
		body.taps[i]->queues = report->taps[i].num_queues;
	}
	reply.takeover = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_TAKEOVER,
			      ret_data, ret_size);
}

int codec_ctl_encode_takeover_request(bool commit, uint8_t **ret_data, size_t *ret_size)
{
	Shmnet__Ctl__TakeoverRequest body = SHMNET__CTL__TAKEOVER_REQUEST__INIT;
	Shmnet__Ctl__Request request = SHMNET__CTL__REQUEST__INIT;
	size_t size;
	uint8_t *data;

	body.commit = commit;
	request.schema = SHMNET_CTL_SCHEMA;
	request.body_case = SHMNET__CTL__REQUEST__BODY_TAKEOVER;
	request.takeover = &body;
	size = shmnet__ctl__request__get_packed_size(&request);
	data = malloc(size);
	if (!data)
		return -ENOMEM;
	*ret_size = shmnet__ctl__request__pack(&request, data);
	*ret_data = data;
	return 0;
}

static int decode_tap(const Shmnet__Ctl__TakeoverTap *from,
		      struct report_takeover_tap *ret_tap)
{
	size_t length = strlen(from->name);

	if (length == 0 || length >= sizeof(ret_tap->name) || from->queues == 0 ||
	    from->queues > TAP_QUEUES_MAX)
		return -EBADMSG;
	memcpy(ret_tap->name, from->name, length + 1);
	ret_tap->num_queues = from->queues;
	return 0;
}

static int decode_body(const Shmnet__Ctl__Takeover *from,
		       struct report_takeover *ret_report)
{
	int ret = 0;

	if (from->n_taps > CONFIG_NETWORKS_MAX || from->id > UINT16_MAX)
		return -EBADMSG;
	ret_report->id = (uint16_t)from->id;
	REPORT_SET(ret_report->listen, from->listen);
	ret_report->num_taps = (unsigned)from->n_taps;
	for (unsigned i = 0; i < ret_report->num_taps && ret == 0; i++)
		ret = decode_tap(from->taps[i], &ret_report->taps[i]);
	return ret;
}

int codec_ctl_decode_takeover(const uint8_t *data, size_t size,
			      struct report_takeover *ret_report,
			      struct report_refusal *ret_refusal)
{
	Shmnet__Ctl__Reply *reply = shmnet__ctl__reply__unpack(NULL, size, data);
	int ret = -EBADMSG;

	if (!reply)
		return ret;
	if (reply->body_case == SHMNET__CTL__REPLY__BODY_ERROR) {
		snprintf(ret_refusal->code, sizeof(ret_refusal->code), "%s",
			 reply->error->code);
		snprintf(ret_refusal->message, sizeof(ret_refusal->message), "%s",
			 reply->error->message);
		ret = -EREMOTEIO;
	} else if (reply->body_case == SHMNET__CTL__REPLY__BODY_TAKEOVER) {
		ret = decode_body(reply->takeover, ret_report);
	}
	shmnet__ctl__reply__free_unpacked(reply, NULL);
	return ret;
}
