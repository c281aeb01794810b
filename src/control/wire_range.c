/* See wire_range.h. */
#include "control/wire_range.h"

#include <stdio.h>

struct wire_range wire_range_of(uint32_t version, uint32_t min)
{
	return (struct wire_range){.min = min ? min : version, .max = version};
}

uint32_t wire_range_meet(const struct wire_range *a, const struct wire_range *b)
{
	uint32_t max = a->max < b->max ? a->max : b->max;

	return max >= a->min && max >= b->min ? max : 0;
}

const char *wire_range_print(const struct wire_range *range,
			     struct wire_range_text *buffer)
{
	if (range->min == range->max)
		snprintf(buffer->text, sizeof(buffer->text), "%u", range->max);
	else
		snprintf(buffer->text, sizeof(buffer->text), "%u to %u", range->min,
			 range->max);
	return buffer->text;
}
