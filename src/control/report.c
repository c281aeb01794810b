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

void report_status_free(struct report_status *report)
{
	free(report->networks);
	free(report->nodes);
	free(report->fabrics);
	free(report->seeds);
	memset(report, 0, sizeof(*report));
}

void report_topology_free(struct report_topology *report)
{
	free(report->networks);
	free(report->nodes);
	free(report->links);
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
