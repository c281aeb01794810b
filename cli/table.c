/* See table.h. */
#include "cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct cell {
	enum text_style style;
	char *text;
};

struct table {
	unsigned num_columns;
	bool right[TABLE_COLUMNS_MAX];
	struct cell *cells; /* row by row; the first row is the head */
	size_t num_cells;
};

/* Takes `text`. */
static void cell_add(struct table *table, enum text_style style, char *text)
{
	struct cell *cells =
		reallocarray(table->cells, table->num_cells + 1, sizeof(*cells));

	if (!cells) {
		fputs("shmnetctl: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	table->cells = cells;
	cells[table->num_cells].style = style;
	cells[table->num_cells++].text = text;
}

struct table *table_new(const char *head)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table) {
		fputs("shmnetctl: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	while (*head && table->num_columns < TABLE_COLUMNS_MAX) {
		bool right = *head == '>';
		size_t length = strcspn(head += right, " ");

		table->right[table->num_columns++] = right;
		cell_add(table, TEXT_BOLD, text_format("%.*s", (int)length, head));
		head += length + strspn(head + length, " ");
	}
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->num_cells; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
}

void table_add(struct table *table, enum text_style style, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	cell_add(table, style, n < 0 ? text_format("?") : text);
}

/* 0 for a column without a single entry. */
static size_t column_width(const struct table *table, unsigned column)
{
	size_t width = text_width(table->cells[column].text);
	bool used = false;

	for (size_t i = column + table->num_columns; i < table->num_cells;
	     i += table->num_columns) {
		size_t cell = text_width(table->cells[i].text);

		used |= cell > 0;
		width = cell > width ? cell : width;
	}
	return used ? width : 0;
}

static void row_print(const struct table *table, const struct cell *row,
		      const size_t *widths, FILE *out)
{
	const char *gap = "";
	size_t owed = 0; /* padding that only a further column makes necessary */

	for (unsigned i = 0; i < table->num_columns; i++) {
		const char *text = row[i].text[0] ? row[i].text : "-";
		size_t pad;

		if (!widths[i])
			continue;
		pad = widths[i] - text_width(text);
		fprintf(out, "%*s%s%*s%s%s%s", (int)owed, "", gap,
			table->right[i] ? (int)pad : 0, "", text_on(row[i].style), text,
			text_off(row[i].style));
		owed = table->right[i] ? 0 : pad;
		gap = "  ";
	}
	fputc('\n', out);
}

void table_print(const struct table *table, FILE *out)
{
	size_t widths[TABLE_COLUMNS_MAX];

	if (table->num_cells <= table->num_columns)
		return;
	for (unsigned i = 0; i < table->num_columns; i++)
		widths[i] = column_width(table, i);
	for (size_t i = 0; i + table->num_columns <= table->num_cells;
	     i += table->num_columns)
		row_print(table, table->cells + i, widths, out);
}
