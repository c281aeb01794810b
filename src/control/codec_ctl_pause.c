/* What pause and resume did, as bytes. See codec_ctl.h. */
#include "control/codec_ctl_internal.h"

static void paused_encode(Shmnet__Ctl__PausedNetwork *to,
			  const struct report_paused *from)
{
	to->network = (char *)from->network;
	to->paused = from->is_paused;
	to->changed = from->has_changed;
	to->paused_ms = from->paused_ms;
}

int codec_ctl_encode_pause(const struct report_pause *report, uint8_t **ret_data,
			   size_t *ret_size)
{
	Shmnet__Ctl__Pause body = SHMNET__CTL__PAUSE__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.networks =
		ctl_scratch_messages(&scratch, &shmnet__ctl__paused_network__descriptor,
				     report->num_networks, &body.n_networks);
	for (size_t i = 0; i < body.n_networks; i++)
		paused_encode(body.networks[i], &report->networks[i]);
	if (report->is_resume)
		reply.resume = &body;
	else
		reply.pause = &body;
	return ctl_reply_pack(&scratch, &reply,
			      report->is_resume ? SHMNET__CTL__REPLY__BODY_RESUME
						: SHMNET__CTL__REPLY__BODY_PAUSE,
			      ret_data, ret_size);
}
