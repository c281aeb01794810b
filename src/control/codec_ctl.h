/*
 * The control socket's messages: request bytes to a verb, reports to reply
 * bytes. The only file of src/ that sees ctl.pb-c.h.
 *
 * Knows neither sockets nor frames: a message is bytes and a length, the
 * length prefix is ctlsock's. Pure functions; any thread.
 */
#ifndef CONTROL_CODEC_CTL_H
#define CONTROL_CODEC_CTL_H

#include "control/report.h"

#include <stddef.h>
#include <stdint.h>

enum ctl_verb {
	CTL_VERB_STATUS,
	CTL_VERB_TOPOLOGY,
	CTL_VERB_STATS,
	CTL_VERB_VERSION,
	CTL_VERB_EVENTS,
	CTL_VERB_NUM_
};

/*
 * -EBADMSG: not a Request. -EPROTONOSUPPORT: one of another schema. -ENOSYS: a
 * verb that this version doesn't know, or none.
 */
int codec_ctl_decode_request(const uint8_t *data, size_t size, enum ctl_verb *ret_verb);

/*
 * On success *ret_data is the caller's, to be freed by free(). -ENOMEM is the
 * only error.
 */
int codec_ctl_encode_status(const struct report_status *report, uint8_t **ret_data,
			    size_t *ret_size);
int codec_ctl_encode_topology(const struct report_topology *report, uint8_t **ret_data,
			      size_t *ret_size);
int codec_ctl_encode_stats(const struct report_stats *report, uint8_t **ret_data,
			   size_t *ret_size);
int codec_ctl_encode_version(const struct report_version *report, uint8_t **ret_data,
			     size_t *ret_size);
int codec_ctl_encode_events(const struct report_events *report, uint8_t **ret_data,
			    size_t *ret_size);
int codec_ctl_encode_error(const char *code, const char *message, uint8_t **ret_data,
			   size_t *ret_size);

#endif
