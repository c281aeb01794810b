/* See codec_ctl_internal.h: the replies of verbs that change the node. */
#include "control/codec_ctl_internal.h"

#define SAME_STATE(name)                                                                 \
	_Static_assert((int)REPORT_CHANGE_##name ==                                      \
			       (int)SHMNET__CTL__CHANGE_STATE__CHANGE_##name,            \
		       "report.h and ctl.proto differ: " #name)
SAME_STATE(DONE);
SAME_STATE(NEEDS_RESTART);
SAME_STATE(FAILED);
_Static_assert(REPORT_CHANGE_NUM_ == 3, "a new state goes into ctl.proto, too");

static void change_encode(Shmnet__Ctl__Change *to, const struct report_change *from)
{
	to->key = (char *)from->key;
	to->state = (Shmnet__Ctl__ChangeState)from->state;
	to->reason = *from->reason ? (char *)from->reason : NULL;
}

int codec_ctl_encode_reload(const struct report_reload *report, uint8_t **ret_data,
			    size_t *ret_size)
{
	Shmnet__Ctl__Reload body = SHMNET__CTL__RELOAD__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.file = (char *)report->file;
	body.errors =
		ctl_scratch_strings(&scratch, report->errors ? report->errors[0] : NULL,
				    REPORT_ERROR_MAX, report->num_errors, &body.n_errors);
	body.changes = ctl_scratch_messages(&scratch, &shmnet__ctl__change__descriptor,
					    report->num_changes, &body.n_changes);
	for (size_t i = 0; i < body.n_changes; i++)
		change_encode(body.changes[i], &report->changes[i]);
	reply.reload = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_RELOAD, ret_data,
			      ret_size);
}
