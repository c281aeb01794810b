/* Requests as hostile bytes, replies read back through the generated code. */
#include "control/codec_ctl.h"

#include "ctl.pb-c.h"
#include "shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DECODE(request, ...)                                                             \
	codec_ctl_decode_request((const uint8_t[]){__VA_ARGS__},                         \
				 sizeof((const uint8_t[]){__VA_ARGS__}), request)

TEST_CASE(codec_ctl, each_verb_is_decoded)
{
	struct ctl_request request = {.verb = CTL_VERB_NUM_};

	CHECK_INT(DECODE(&request, 0x08, 1, 0x12, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_STATUS);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x1a, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_TOPOLOGY);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x22, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_STATS);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x2a, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_VERSION);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x32, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_EVENTS);
}

TEST_CASE(codec_ctl, bad_requests_are_told_apart)
{
	struct ctl_request request = {.verb = CTL_VERB_NUM_};

	CHECK_INT(codec_ctl_decode_request((const uint8_t *)"", 0, &request), -EBADMSG);
	CHECK_INT(DECODE(&request, 0x12, 0), -EBADMSG);		 /* no schema */
	CHECK_INT(DECODE(&request, 0x08), -EBADMSG);		 /* cut off */
	CHECK_INT(DECODE(&request, 0x08, 1, 0x12, 5), -EBADMSG); /* longer than it is */
	CHECK_INT(DECODE(&request, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), -EBADMSG);
	CHECK_INT(DECODE(&request, 0x08, 2, 0x12, 0), -EPROTONOSUPPORT);
	CHECK_INT(DECODE(&request, 0x08, 0, 0x12, 0), -EPROTONOSUPPORT);
	CHECK_INT(DECODE(&request, 0x08, 1), -ENOSYS);		   /* no body */
	CHECK_INT(DECODE(&request, 0x08, 1, 0xfa, 1, 0), -ENOSYS); /* body 31 */
	CHECK_INT(request.verb, CTL_VERB_NUM_);
}

/* The last body wins, as protobuf has it; unknown fields are no error. */
TEST_CASE(codec_ctl, odd_requests_are_taken)
{
	struct ctl_request request = {.verb = CTL_VERB_NUM_};

	CHECK_INT(DECODE(&request, 0x08, 1, 0x12, 0, 0x22, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_STATS);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x12, 0, 0xa0, 0x06, 7), 0);
	CHECK_INT(request.verb, CTL_VERB_STATUS);
}

/* node "ab", network "lan0", timeout_ms */
TEST_CASE(codec_ctl, pings_are_decoded)
{
	struct ctl_request request = {.verb = CTL_VERB_NUM_};

	CHECK_INT(DECODE(&request, 0x08, 1, 0x3a, 4, 0x0a, 2, 'a', 'b'), 0);
	CHECK_INT(request.verb, CTL_VERB_PING);
	CHECK_STR(request.ping.node, "ab");
	CHECK_STR(request.ping.network, "");
	CHECK_INT(request.ping.timeout_ms, CTL_PING_TIMEOUT_MS);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x3a, 13, 0x0a, 2, 'a', 'b', 0x12, 4, 'l',
			 'a', 'n', '0', 0x18, 0xac, 0x02),
		  0);
	CHECK_STR(request.ping.network, "lan0");
	CHECK_INT(request.ping.timeout_ms, 300);
}

TEST_CASE(codec_ctl, bad_pings_are_told_apart)
{
	struct ctl_request request = {.verb = CTL_VERB_NUM_};
	uint8_t longest[6 + 100] = {0x08, 1, 0x3a, 102, 0x0a, 100};

	CHECK_INT(DECODE(&request, 0x08, 1, 0x3a, 0), -EBADMSG); /* no node */
	CHECK_INT(DECODE(&request, 0x08, 1, 0x3a, 5, 0x0a, 1, 'a', 0x18, 0), -ERANGE);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x3a, 7, 0x0a, 1, 'a', 0x18, 0xe1, 0xd4, 3),
		  -ERANGE); /* 60,001 */
	CHECK_INT(request.verb, CTL_VERB_NUM_);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x3a, 7, 0x0a, 1, 'a', 0x18, 0xe0, 0xd4, 3),
		  0);
	CHECK_INT(request.ping.timeout_ms, CTL_PING_TIMEOUT_MS_MAX);
	/* Cut, and by that nobody's name. */
	memset(longest + 6, 'n', 100);
	CHECK_INT(codec_ctl_decode_request(longest, sizeof(longest), &request), 0);
	CHECK_INT(strlen(request.ping.node), REPORT_NAME_MAX - 1);
}

TEST_CASE(codec_ctl, verbs_of_global_networks_are_decoded)
{
	struct ctl_request request = {.verb = CTL_VERB_NUM_};

	CHECK_INT(DECODE(&request, 0x08, 1, 0x42, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_FLOWS);
	CHECK_STR(request.flows.network, "");
	CHECK_INT(request.flows.limit, CTL_FLOWS_LIMIT);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x42, 7, 0x0a, 1, 'a', 0x10, 0xff, 0xff, 3),
		  0);
	CHECK_STR(request.flows.network, "a");
	CHECK_INT(request.flows.limit, CTL_FLOWS_LIMIT_MAX);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x4a, 3, 0x0a, 1, 'b'), 0);
	CHECK_INT(request.verb, CTL_VERB_LISTENERS);
	CHECK_STR(request.listeners.network, "b");
	CHECK_INT(DECODE(&request, 0x08, 1, 0x52, 6, 0x0a, 1, 'p', 0x12, 1, 's'),
		  -EBADMSG); /* no destination */
	CHECK_INT(DECODE(&request, 0x08, 1, 0x52, 11, 0x0a, 1, 'p', 0x12, 1, 's', 0x1a, 1,
			 'd', 0x20, 1),
		  0);
	CHECK_INT(request.verb, CTL_VERB_EXPLAIN);
	CHECK_STR(request.explain.protocol, "p");
	CHECK_STR(request.explain.source, "s");
	CHECK_STR(request.explain.destination, "d");
	CHECK(request.explain.established);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x5a, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_DRAIN);
	CHECK_STR(request.drain.node, "");
	CHECK(!request.drain.undo);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x5a, 8, 0x0a, 1, 'n', 0x12, 1, 'x', 0x18, 1),
		  0);
	CHECK_STR(request.drain.node, "n");
	CHECK_STR(request.drain.network, "x");
	CHECK(request.drain.undo);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x6a, 3, 0x0a, 1, 'n'), 0);
	CHECK_INT(request.verb, CTL_VERB_PAUSE);
	CHECK_STR(request.pause.network, "n");
	CHECK(!request.pause.is_resume);
	CHECK_INT(DECODE(&request, 0x08, 1, 0x72, 0), 0);
	CHECK_INT(request.verb, CTL_VERB_RESUME);
	CHECK_STR(request.pause.network, "");
	CHECK(request.pause.is_resume);
}

TEST_CASE(codec_ctl, a_takeover_is_what_was_asked_for)
{
	struct report_takeover report = {.id = 17, .listen = "10.0.0.1:1", .num_taps = 2},
			       got = {0};
	struct report_refusal refusal = {0};
	struct ctl_request request;
	uint8_t *data;
	size_t size;

	snprintf(report.taps[0].name, IF_NAMESIZE, "shm0");
	snprintf(report.taps[1].name, IF_NAMESIZE, "shm1");
	report.taps[0].num_queues = 16;
	report.taps[1].num_queues = 1;
	REQUIRE(codec_ctl_encode_takeover(&report, &data, &size) == 0);
	CHECK_INT(codec_ctl_decode_takeover(data, size, &got, &refusal), 0);
	CHECK_INT(got.id, 17);
	CHECK_STR(got.listen, "10.0.0.1:1");
	CHECK_INT(got.num_taps, 2);
	CHECK_STR(got.taps[1].name, "shm1");
	CHECK_INT(got.taps[0].num_queues, 16);
	CHECK_INT(codec_ctl_decode_takeover(data, size - 1, &got, &refusal), -EBADMSG);
	free(data);

	report.taps[1].num_queues = 17;
	REQUIRE(codec_ctl_encode_takeover(&report, &data, &size) == 0);
	CHECK_INT(codec_ctl_decode_takeover(data, size, &got, &refusal), -EBADMSG);
	free(data);
	REQUIRE(codec_ctl_encode_error("permission", "not you", &data, &size) == 0);
	CHECK_INT(codec_ctl_decode_takeover(data, size, &got, &refusal), -EREMOTEIO);
	CHECK_STR(refusal.message, "not you");
	free(data);

	for (int commit = 0; commit < 2; commit++) {
		REQUIRE(codec_ctl_encode_takeover_request(commit, &data, &size) == 0);
		CHECK_INT(codec_ctl_decode_request(data, size, &request), 0);
		CHECK_INT(request.verb, CTL_VERB_TAKEOVER);
		CHECK_INT(request.takeover.commit, commit);
		free(data);
	}
}

/* The names in the JSON are the names that the rest of shmnet uses. */
TEST_CASE(codec_ctl, every_drop_reason_has_its_name_in_the_proto)
{
	const ProtobufCEnumDescriptor *type = &shmnet__ctl__drop_reason__descriptor;
	char name[64];

	CHECK_INT(type->n_values, DROP_NUM_);
	for (unsigned i = 0; i < DROP_NUM_; i++) {
		const ProtobufCEnumValue *value =
			protobuf_c_enum_descriptor_get_value(type, (int)i);
		const char *from = drop_reason_name(i);
		size_t used = 0;

		REQUIRE(value != NULL && from != NULL);
		for (; from[used] && used < sizeof(name) - 1; used++)
			name[used] = (char)(from[used] == '-' ? '_' : from[used] - 32);
		name[used] = '\0';
		REQUIRE(strncmp(value->name, "DROP_", 5) == 0);
		CHECK_STR(value->name + 5, name);
	}
}

static Shmnet__Ctl__Reply *reply_unpack(uint8_t *data, size_t size)
{
	Shmnet__Ctl__Reply *reply = shmnet__ctl__reply__unpack(NULL, size, data);

	free(data);
	return reply;
}

static void status_fill(struct report_status *report)
{
	REPORT_SET(report->node, "n1");
	REPORT_SET(report->cluster, "demo");
	report->state = REPORT_HEALTH_DEGRADED;
	report->num_reasons = 1;
	REPORT_SET(report->reasons[0], "why");
	report->uptime_ms = UINT64_MAX;
	report->networks = report_list_new(1, sizeof(*report->networks));
	report->nodes = report_list_new(2, sizeof(*report->nodes));
	report->fabrics = report_list_new(2, sizeof(*report->fabrics));
	report->seeds = report_list_new(1, sizeof(*report->seeds));
	if (!report->networks || !report->nodes || !report->fabrics || !report->seeds)
		return;
	report->num_fabrics = 2;
	REPORT_SET(report->fabrics[0].path, "/run/x");
	report->fabrics[1].kind = FABRIC_KIND_RDMA;
	report->fabrics[1].security = FABRIC_SECURITY_NONE;
	REPORT_SET(report->fabrics[1].reason, "no device");
	report->num_seeds = 1;
	report->seeds[0].state = REPORT_SEED_WAITING;
	report->seeds[0].since_ms = UINT64_MAX;
	report->num_networks = 1;
	report->num_nodes = 2;
	report->networks[0].num_addresses = CONFIG_ADDRESSES_MAX;
	REPORT_SET(report->networks[0].addresses[CONFIG_ADDRESSES_MAX - 1], "fd77::1/64");
	report->networks[0].num_offloads = CONFIG_OFFLOADS;
	REPORT_SET(report->networks[0].offloads[CONFIG_OFFLOADS - 1], "uso");
	REPORT_SET(report->nodes[1].reason, "gone");
	REPORT_SET(report->nodes[1].fabric_reason, "no other way");
	report->nodes[1].pid = 7;
	report->nodes[1].wire_version = 6;
	report->nodes[1].state = REPORT_STATE_SUSPECT;
}

TEST_CASE(codec_ctl, status_comes_back)
{
	struct report_status report = {0};
	Shmnet__Ctl__Reply *reply;
	uint8_t *data;
	size_t size;

	status_fill(&report);
	REQUIRE(codec_ctl_encode_status(&report, &data, &size) == 0);
	report_status_free(&report);
	CHECK(report.nodes == NULL);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	CHECK_INT(reply->schema, 1);
	CHECK_INT(reply->body_case, SHMNET__CTL__REPLY__BODY_STATUS);
	CHECK_STR(reply->status->reasons[0], "why");
	CHECK_INT(reply->status->state, SHMNET__CTL__HEALTH__HEALTH_DEGRADED);
	CHECK_U64(reply->status->uptime_ms, UINT64_MAX);
	CHECK_INT(reply->status->networks[0]->n_addresses, CONFIG_ADDRESSES_MAX);
	CHECK_STR(reply->status->networks[0]->addresses[CONFIG_ADDRESSES_MAX - 1],
		  "fd77::1/64");
	CHECK_INT(reply->status->networks[0]->n_offloads, CONFIG_OFFLOADS);
	CHECK_STR(reply->status->networks[0]->offloads[CONFIG_OFFLOADS - 1], "uso");
	CHECK(reply->status->nodes[0]->reason == NULL);
	CHECK_INT(reply->status->nodes[0]->has_pid, 0);
	CHECK_STR(reply->status->nodes[1]->reason, "gone");
	CHECK(reply->status->nodes[0]->fabric_reason == NULL);
	CHECK_STR(reply->status->nodes[1]->fabric_reason, "no other way");
	CHECK_INT(reply->status->nodes[0]->has_wire_version, 0);
	CHECK_INT(reply->status->nodes[1]->wire_version, 6);
	CHECK_INT(reply->status->nodes[1]->pid, 7);
	CHECK_INT(reply->status->nodes[1]->state, SHMNET__CTL__STATE__STATE_SUSPECT);
	CHECK_STR(reply->status->fabrics[0]->path, "/run/x");
	CHECK(reply->status->fabrics[0]->listen == NULL);
	CHECK(!reply->status->fabrics[0]->has_security);
	CHECK_INT(reply->status->fabrics[1]->kind, SHMNET__CTL__FABRIC_KIND__KIND_RDMA);
	CHECK_INT(reply->status->fabrics[1]->security,
		  SHMNET__CTL__SECURITY__SECURITY_NONE);
	CHECK_STR(reply->status->fabrics[1]->reason, "no device");
	CHECK_INT(reply->status->seeds[0]->state, SHMNET__CTL__SEED_STATE__SEED_WAITING);
	CHECK(reply->status->seeds[0]->node == NULL);
	CHECK_U64(reply->status->seeds[0]->since_ms, UINT64_MAX);
	shmnet__ctl__reply__free_unpacked(reply, NULL);
}

TEST_CASE(codec_ctl, stats_carry_the_drops_that_occurred)
{
	struct report_stats report = {0};
	Shmnet__Ctl__Reply *reply;
	uint8_t *data;
	size_t size;

	report.links = report_list_new(1, sizeof(*report.links));
	REQUIRE(report.links != NULL);
	report.num_links = 1;
	report.links[0].sent_drops.frames[DROP_RUNT] = 1;
	report.links[0].sent_drops.frames[DROP_TAP_ERROR] = UINT64_MAX;
	REQUIRE(codec_ctl_encode_stats(&report, &data, &size) == 0);
	report_stats_free(&report);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	CHECK_INT(reply->stats->n_networks, 0);
	REQUIRE(reply->stats->n_links == 1 && reply->stats->links[0]->n_sent_drops == 2);
	CHECK_INT(reply->stats->links[0]->sent_drops[0]->reason, DROP_RUNT);
	CHECK_INT(reply->stats->links[0]->sent_drops[1]->reason, DROP_TAP_ERROR);
	CHECK_U64(reply->stats->links[0]->sent_drops[1]->frames, UINT64_MAX);
	CHECK_INT(reply->stats->links[0]->n_received_drops, 0);
	shmnet__ctl__reply__free_unpacked(reply, NULL);
}

static void members_fill(struct report_network *network)
{
	network->members = report_list_new(2, sizeof(*network->members));
	REQUIRE(network->members != NULL);
	network->num_members = 2;
	REPORT_SET(network->members[0].name, "n1");
	network->members[0].is_known = true;
	network->members[0].weight = 256;
	network->members[0].connections = UINT64_MAX;
	REPORT_SET(network->members[1].name, "n2");
	network->members[1].state = REPORT_STATE_SUSPECT;
}

TEST_CASE(codec_ctl, members_of_networks_come_back)
{
	struct report_status report = {0};
	const Shmnet__Ctl__NetworkStatus *network;
	Shmnet__Ctl__Reply *reply;
	uint8_t *data;
	size_t size;

	report.networks = report_list_new(1, sizeof(*report.networks));
	REQUIRE(report.networks != NULL);
	report.num_networks = 1;
	members_fill(report.networks);
	REQUIRE(codec_ctl_encode_status(&report, &data, &size) == 0);
	report_status_free(&report);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	network = reply->status->networks[0];
	REQUIRE(network->n_members == 2);
	CHECK_STR(network->members[0]->name, "n1");
	CHECK(network->members[0]->has_drained && !network->members[0]->drained);
	CHECK_INT(network->members[0]->weight, 256);
	CHECK_U64(network->members[0]->connections, UINT64_MAX);
	CHECK_INT(network->members[1]->state, SHMNET__CTL__STATE__STATE_SUSPECT);
	CHECK(!network->members[1]->has_drained && !network->members[1]->has_weight);
	shmnet__ctl__reply__free_unpacked(reply, NULL);
}

TEST_CASE(codec_ctl, only_global_networks_have_counters_of_the_dispatcher)
{
	struct report_stats report = {0};
	Shmnet__Ctl__Reply *reply;
	uint8_t *data;
	size_t size;

	report.networks = report_list_new(2, sizeof(*report.networks));
	REQUIRE(report.networks != NULL);
	report.num_networks = 2;
	report.networks[1].kind = NETWORK_KIND_GLOBAL;
	report.networks[1].dispatch.evicted = UINT64_MAX;
	REQUIRE(codec_ctl_encode_stats(&report, &data, &size) == 0);
	report_stats_free(&report);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	CHECK(reply->stats->networks[0]->dispatch == NULL);
	REQUIRE(reply->stats->networks[1]->dispatch != NULL);
	CHECK_U64(reply->stats->networks[1]->dispatch->evicted, UINT64_MAX);
	shmnet__ctl__reply__free_unpacked(reply, NULL);
}

TEST_CASE(codec_ctl, what_became_of_a_config_comes_back)
{
	struct report_reload report = {0};
	Shmnet__Ctl__Reply *reply;
	uint8_t *data;
	size_t size;

	report.errors = report_list_new(2, REPORT_ERROR_MAX);
	report.changes = report_list_new(2, sizeof(*report.changes));
	REQUIRE(report.errors != NULL && report.changes != NULL);
	report.num_errors = report.num_changes = 2;
	REPORT_SET(report.errors[1], "x:1:2: error: no");
	REPORT_SET(report.changes[0].key, "networks.lan0.mtu");
	report.changes[0].state = REPORT_CHANGE_NEEDS_RESTART;
	REPORT_SET(report.changes[1].reason, "why");
	REQUIRE(codec_ctl_encode_reload(&report, &data, &size) == 0);
	report_reload_free(&report);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	REQUIRE(reply->reload->n_errors == 2 && reply->reload->n_changes == 2);
	CHECK_STR(reply->reload->errors[1], "x:1:2: error: no");
	CHECK_STR(reply->reload->changes[0]->key, "networks.lan0.mtu");
	CHECK_INT(reply->reload->changes[0]->state,
		  SHMNET__CTL__CHANGE_STATE__CHANGE_NEEDS_RESTART);
	CHECK(reply->reload->changes[0]->reason == NULL);
	CHECK_STR(reply->reload->changes[1]->reason, "why");
	shmnet__ctl__reply__free_unpacked(reply, NULL);
}

TEST_CASE(codec_ctl, an_explanation_comes_back)
{
	struct report_explain report = {.num_steps = REPORT_STEPS_MAX,
					.reason = DROP_NO_LISTENER};
	Shmnet__Ctl__Reply *reply;
	uint8_t *data;
	size_t size;

	REPORT_SET(report.steps[REPORT_STEPS_MAX - 1].result, "nobody");
	REQUIRE(codec_ctl_encode_explain(&report, &data, &size) == 0);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	CHECK_INT(reply->explain->n_steps, REPORT_STEPS_MAX);
	CHECK_STR(reply->explain->steps[REPORT_STEPS_MAX - 1]->result, "nobody");
	CHECK_INT(reply->explain->verdict, SHMNET__CTL__VERDICT__VERDICT_DROP);
	CHECK(reply->explain->has_reason && reply->explain->owner == NULL);
	CHECK_INT(reply->explain->reason, DROP_NO_LISTENER);
	shmnet__ctl__reply__free_unpacked(reply, NULL);
	report.verdict = REPORT_VERDICT_LOCAL;
	REPORT_SET(report.owner, "n1");
	REQUIRE(codec_ctl_encode_explain(&report, &data, &size) == 0);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	CHECK(!reply->explain->has_reason && reply->explain->fabric == NULL);
	CHECK_STR(reply->explain->owner, "n1");
	shmnet__ctl__reply__free_unpacked(reply, NULL);
}

TEST_CASE(codec_ctl, listeners_come_back)
{
	struct report_listeners report = {0};
	Shmnet__Ctl__Reply *reply;
	uint8_t *data;
	size_t size;

	report.listeners = report_list_new(2, sizeof(*report.listeners));
	REQUIRE(report.listeners != NULL);
	report.num_listeners = 2;
	report.listeners[1].nodes = report_list_new(2, REPORT_NAME_MAX);
	REQUIRE(report.listeners[1].nodes != NULL);
	report.listeners[1].num_nodes = 2;
	REPORT_SET(report.listeners[1].nodes[1], "n2");
	REPORT_SET(report.listeners[1].foreign, "10.0.0.1:5");
	REQUIRE(codec_ctl_encode_listeners(&report, &data, &size) == 0);
	report_listeners_free(&report);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	CHECK_INT(reply->listeners->listeners[0]->n_nodes, 0);
	CHECK(reply->listeners->listeners[0]->foreign == NULL);
	CHECK_STR(reply->listeners->listeners[1]->nodes[1], "n2");
	CHECK_STR(reply->listeners->listeners[1]->foreign, "10.0.0.1:5");
	shmnet__ctl__reply__free_unpacked(reply, NULL);
}

TEST_CASE(codec_ctl, an_empty_topology_is_a_reply)
{
	struct report_topology report = {0};
	Shmnet__Ctl__Reply *reply;
	uint8_t *data;
	size_t size;

	REQUIRE(codec_ctl_encode_topology(&report, &data, &size) == 0);
	reply = reply_unpack(data, size);
	REQUIRE(reply != NULL);
	CHECK_INT(reply->body_case, SHMNET__CTL__REPLY__BODY_TOPOLOGY);
	CHECK_STR(reply->topology->node, "");
	CHECK_INT(reply->topology->n_nodes, 0);
	shmnet__ctl__reply__free_unpacked(reply, NULL);
}

TEST_CASE(codec_ctl, strings_that_do_not_fit_are_cut)
{
	char field[4];

	REPORT_SET(field, "abcdef");
	CHECK_STR(field, "abc");
	REPORT_SET(field, "ab");
	CHECK_STR(field, "ab");
	REPORT_SET(field, NULL);
	CHECK_STR(field, "");
}
