/* See report.h. */
#include "control/report.h"

#include <stdlib.h>
#include <string.h>

void *report_list_new(size_t count, size_t size)
{
	return calloc(count ? count : 1, size);
}

void report_string_set(char *field, size_t size, const char *source)
{
	size_t length = source ? strnlen(source, size - 1) : 0;

	if (length)
		memcpy(field, source, length);
	field[length] = '\0';
}

static void networks_free(struct report_network *networks, unsigned count)
{
	for (unsigned i = 0; networks && i < count; i++)
		free(networks[i].members);
	free(networks);
}

void report_status_free(struct report_status *report)
{
	networks_free(report->networks, report->num_networks);
	free(report->nodes);
	free(report->fabrics);
	free(report->seeds);
	memset(report, 0, sizeof(*report));
}

void report_topology_free(struct report_topology *report)
{
	networks_free(report->networks, report->num_networks);
	free(report->nodes);
	free(report->links);
	free(report->borders);
	memset(report, 0, sizeof(*report));
}

void report_stats_free(struct report_stats *report)
{
	free(report->networks);
	free(report->links);
	free(report->casts);
	memset(report, 0, sizeof(*report));
}

void report_events_free(struct report_events *report)
{
	free(report->events);
	memset(report, 0, sizeof(*report));
}

void report_flows_free(struct report_flows *report)
{
	free(report->tables);
	free(report->flows);
	memset(report, 0, sizeof(*report));
}

void report_listeners_free(struct report_listeners *report)
{
	for (unsigned i = 0; report->listeners && i < report->num_listeners; i++)
		free(report->listeners[i].nodes);
	free(report->listeners);
	memset(report, 0, sizeof(*report));
}

void report_reload_free(struct report_reload *report)
{
	free(report->errors);
	free(report->changes);
	memset(report, 0, sizeof(*report));
}
