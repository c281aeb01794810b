/*
 * The control socket's messages: request bytes to a verb, reports to reply
 * bytes. Its files are the only ones of src/ that see ctl.pb-c.h.
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
	CTL_VERB_FLOWS,
	CTL_VERB_LISTENERS,
	CTL_VERB_EXPLAIN,
	CTL_VERB_DRAIN,
	CTL_VERB_RELOAD,
	CTL_VERB_PAUSE,
	CTL_VERB_RESUME,
	CTL_VERB_TAKEOVER,
	CTL_VERB_NUM_
};

#define CTL_PING_TIMEOUT_MS	1000
#define CTL_PING_TIMEOUT_MS_MAX 60000
#define CTL_FLOWS_LIMIT		1000  /* if not said */
#define CTL_FLOWS_LIMIT_MAX	20000 /* a reply's length */

/* Longer names than ours may be are cut: they are nobody's. */
struct ctl_ping_request {
	char node[REPORT_NAME_MAX];
	char network[REPORT_NAME_MAX]; /* "": all */
	unsigned timeout_ms;
};

struct ctl_flows_request {
	char network[REPORT_NAME_MAX]; /* "": all */
	unsigned limit;		       /* of all networks together */
};

struct ctl_listeners_request {
	char network[REPORT_NAME_MAX]; /* "": all */
};

/* As they were written. */
struct ctl_explain_request {
	char protocol[REPORT_NAME_MAX];
	char source[REPORT_NAME_MAX];
	char destination[REPORT_NAME_MAX];
	bool established;
};

struct ctl_drain_request {
	char node[REPORT_NAME_MAX];    /* "": this one */
	char network[REPORT_NAME_MAX]; /* "": all */
	bool undo;
};

struct ctl_pause_request {
	char network[REPORT_NAME_MAX]; /* "": all */
	bool is_resume;
};

struct ctl_takeover_request {
	bool commit;
};

struct ctl_request {
	enum ctl_verb verb;
	union {
		struct ctl_ping_request ping;
		struct ctl_flows_request flows;
		struct ctl_listeners_request listeners;
		struct ctl_explain_request explain;
		struct ctl_drain_request drain;
		struct ctl_pause_request pause; /* of both verbs */
		struct ctl_takeover_request takeover;
	};
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
int codec_ctl_encode_flows(const struct report_flows *report, uint8_t **ret_data,
			   size_t *ret_size);
int codec_ctl_encode_listeners(const struct report_listeners *report, uint8_t **ret_data,
			       size_t *ret_size);
int codec_ctl_encode_explain(const struct report_explain *report, uint8_t **ret_data,
			     size_t *ret_size);
int codec_ctl_encode_drain(const struct report_drain *report, uint8_t **ret_data,
			   size_t *ret_size);
int codec_ctl_encode_reload(const struct report_reload *report, uint8_t **ret_data,
			    size_t *ret_size);
int codec_ctl_encode_pause(const struct report_pause *report, uint8_t **ret_data,
			   size_t *ret_size);
int codec_ctl_encode_takeover(const struct report_takeover *report, uint8_t **ret_data,
			      size_t *ret_size);
int codec_ctl_encode_error(const char *code, const char *message, uint8_t **ret_data,
			   size_t *ret_size);

/* ---- the side of a newer process ---- */

int codec_ctl_encode_takeover_request(bool commit, uint8_t **ret_data, size_t *ret_size);

/*
 * -EBADMSG: not a reply to it. -EREMOTEIO: an Error; its message is in ret_refusal. Names
 * and numbers are in range, and the name is this program's to believe no more than that.
 */
int codec_ctl_decode_takeover(const uint8_t *data, size_t size,
			      struct report_takeover *ret_report,
			      struct report_refusal *ret_refusal);

#endif
