/*
 * Lines with aligned columns, for tables that grep and awk can read as well.
 *
 * Columns are as wide as their widest cell, two blanks apart; one that is empty
 * in every row is left out, an empty cell of another is "-". The last column is
 * not padded.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli/text.h"

#include <stdio.h>

#define TABLE_COLUMNS_MAX 12

struct table;

/* `head` names the columns, blanks between; '>' before a name aligns right. */
struct table *table_new(const char *head);
void table_free(struct table *table);

/* Row by row, column by column. */
void table_add(struct table *table, enum text_style style, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Nothing at all if there's no row. */
void table_print(const struct table *table, FILE *out);

#endif
