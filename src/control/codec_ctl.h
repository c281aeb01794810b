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
	CTL_VERB_PING,
	CTL_VERB_NUM_
};

#define CTL_PING_TIMEOUT_MS	1000
#define CTL_PING_TIMEOUT_MS_MAX 60000

/* Longer names than ours may be are cut: they are nobody's. */
struct ctl_ping_request {
	char node[REPORT_NAME_MAX];
	char network[REPORT_NAME_MAX]; /* "": all */
	unsigned timeout_ms;
};

struct ctl_request {
	enum ctl_verb verb;
	struct ctl_ping_request ping; /* CTL_VERB_PING */
};

/*
 * -EBADMSG: not a Request. -ERANGE: a ping's timeout_ms. -EPROTONOSUPPORT: one of another
 * schema. -ENOSYS: a verb that this version doesn't know, or none.
 */
int codec_ctl_decode_request(const uint8_t *data, size_t size,
			     struct ctl_request *ret_request);

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
int codec_ctl_encode_ping(const struct report_ping *report, uint8_t **ret_data,
			  size_t *ret_size);
int codec_ctl_encode_error(const char *code, const char *message, uint8_t **ret_data,
			   size_t *ret_size);

#endif
