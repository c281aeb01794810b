/*
 * The list of errors in a config file: kept in the order in which the checks find
 * them, printed in that of their positions.
 *
 * For the thread that loads a config.
 */
#include "control/config_internal.h"

#include <stdarg.h>
#include <stdlib.h>

static struct config_error *errors_grow(struct config_errors *errors)
{
	size_t room = errors->room ? errors->room * 2 : 16;
	struct config_error *list;

	if (errors->count == errors->room) {
		list = reallocarray(errors->list, room, sizeof(*list));
		if (!list)
			return NULL;
		errors->list = list;
		errors->room = room;
	}
	return &errors->list[errors->count];
}

void config_errors_add(struct config_errors *errors, yaml_mark_t at, const char *format,
		       ...)
{
	struct config_error *error = errors_grow(errors);
	va_list args;
	int n;

	if (!error) {
		errors->out_of_memory = true;
		return;
	}
	va_start(args, format);
	n = vasprintf(&error->text, format, args);
	va_end(args);
	if (n < 0) {
		errors->out_of_memory = true;
		return;
	}
	error->line = at.line + 1;
	error->column = at.column + 1;
	error->index = errors->count++;
}

static int compare_positions(const void *left, const void *right)
{
	const struct config_error *a = left, *b = right;

	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	return a->index < b->index ? -1 : 1;
}

void config_errors_print(struct config_errors *errors, const char *file, FILE *out)
{
	if (errors->count)
		qsort(errors->list, errors->count, sizeof(*errors->list),
		      compare_positions);
	for (size_t i = 0; i < errors->count; i++)
		fprintf(out, "%s:%zu:%zu: error: %s\n", file, errors->list[i].line,
			errors->list[i].column, errors->list[i].text);
	if (errors->out_of_memory)
		fprintf(out, "%s: error: out of memory while checking\n", file);
}

void config_errors_done(struct config_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		free(errors->list[i].text);
	free(errors->list);
	*errors = (struct config_errors){0};
}
