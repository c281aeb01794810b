/* See codec_ctl_internal.h: the replies about global networks. */
#include "control/codec_ctl_internal.h"

#define SAME_VERDICT(name)                                                               \
	_Static_assert((int)REPORT_VERDICT_##name ==                                     \
			       (int)SHMNET__CTL__VERDICT__VERDICT_##name,                \
		       "report.h and ctl.proto differ: " #name)
SAME_VERDICT(DROP);
SAME_VERDICT(LOCAL);
SAME_VERDICT(FORWARD);
_Static_assert(REPORT_VERDICT_NUM_ == 3, "a new verdict goes into ctl.proto, too");

static void table_encode(Shmnet__Ctl__FlowTable *to, const struct report_flow_table *from)
{
	to->network = (char *)from->network;
	to->flows = from->flows;
	to->room = from->room;
}

static void flow_encode(Shmnet__Ctl__Flow *to, const struct report_flow *from)
{
	to->network = (char *)from->network;
	to->protocol = (char *)from->protocol;
	to->foreign = (char *)from->foreign;
	to->local = (char *)from->local;
	to->owner = (char *)from->owner;
	to->via = (char *)from->via;
	to->age_ms = from->age_ms;
}

int codec_ctl_encode_flows(const struct report_flows *report, uint8_t **ret_data,
			   size_t *ret_size)
{
	Shmnet__Ctl__Flows body = SHMNET__CTL__FLOWS__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.tables = ctl_scratch_messages(&scratch, &shmnet__ctl__flow_table__descriptor,
					   report->num_tables, &body.n_tables);
	for (size_t i = 0; i < body.n_tables; i++)
		table_encode(body.tables[i], &report->tables[i]);
	body.flows = ctl_scratch_messages(&scratch, &shmnet__ctl__flow__descriptor,
					  report->num_flows, &body.n_flows);
	for (size_t i = 0; i < body.n_flows; i++)
		flow_encode(body.flows[i], &report->flows[i]);
	reply.flows = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_FLOWS, ret_data,
			      ret_size);
}

static void listener_encode(struct ctl_scratch *scratch, Shmnet__Ctl__Listener *to,
			    const struct report_listener *from)
{
	to->network = (char *)from->network;
	to->protocol = (char *)from->protocol;
	to->local = (char *)from->local;
	to->foreign = *from->foreign ? (char *)from->foreign : NULL;
	to->nodes = ctl_scratch_strings(scratch, from->nodes ? from->nodes[0] : NULL,
					REPORT_NAME_MAX, from->num_nodes, &to->n_nodes);
}

int codec_ctl_encode_listeners(const struct report_listeners *report, uint8_t **ret_data,
			       size_t *ret_size)
{
	Shmnet__Ctl__Listeners body = SHMNET__CTL__LISTENERS__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.listeners =
		ctl_scratch_messages(&scratch, &shmnet__ctl__listener__descriptor,
				     report->num_listeners, &body.n_listeners);
	for (size_t i = 0; i < body.n_listeners; i++)
		listener_encode(&scratch, body.listeners[i], &report->listeners[i]);
	reply.listeners = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_LISTENERS,
			      ret_data, ret_size);
}

int codec_ctl_encode_explain(const struct report_explain *report, uint8_t **ret_data,
			     size_t *ret_size)
{
	Shmnet__Ctl__Explain body = SHMNET__CTL__EXPLAIN__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.network = (char *)report->network;
	body.flow = (char *)report->flow;
	body.steps =
		ctl_scratch_messages(&scratch, &shmnet__ctl__explain_step__descriptor,
				     report->num_steps, &body.n_steps);
	for (size_t i = 0; i < body.n_steps; i++) {
		body.steps[i]->step = (char *)report->steps[i].step;
		body.steps[i]->result = (char *)report->steps[i].result;
	}
	body.verdict = (Shmnet__Ctl__Verdict)report->verdict;
	body.owner = *report->owner ? (char *)report->owner : NULL;
	body.fabric = *report->fabric ? (char *)report->fabric : NULL;
	body.has_reason = report->verdict == REPORT_VERDICT_DROP;
	body.reason = (Shmnet__Ctl__DropReason)report->reason;
	reply.explain = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_EXPLAIN,
			      ret_data, ret_size);
}

static void drained_encode(Shmnet__Ctl__Drained *to, const struct report_drained *from)
{
	to->network = (char *)from->network;
	to->member = (char *)from->member;
	to->drained = from->drained;
	to->connections = from->connections;
}

int codec_ctl_encode_drain(const struct report_drain *report, uint8_t **ret_data,
			   size_t *ret_size)
{
	Shmnet__Ctl__Drain body = SHMNET__CTL__DRAIN__INIT;
	Shmnet__Ctl__Reply reply = SHMNET__CTL__REPLY__INIT;
	struct ctl_scratch scratch = {0};

	body.node = (char *)report->node;
	body.networks = ctl_scratch_messages(&scratch, &shmnet__ctl__drained__descriptor,
					     report->num_networks, &body.n_networks);
	for (size_t i = 0; i < body.n_networks; i++)
		drained_encode(body.networks[i], &report->networks[i]);
	reply.drain = &body;
	return ctl_reply_pack(&scratch, &reply, SHMNET__CTL__REPLY__BODY_DRAIN, ret_data,
			      ret_size);
}
