/*
 * Text for people: what the terminal can show, colours, numbers with units,
 * strings of others made harmless. Stateless but for what the terminal is,
 * which is found out once.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum text_style {
	TEXT_PLAIN,
	TEXT_BOLD,
	TEXT_GOOD,
	TEXT_BAD,
	TEXT_WARN,
	TEXT_STYLE_NUM_
};

#define TEXT_NUMBER_MAX 32

/* Escape sequences: empty unless stdout is a terminal, NO_COLOR unset. */
const char *text_on(enum text_style style);
const char *text_off(enum text_style style);

/* May lines be drawn with UTF-8? */
bool text_is_utf8(void);

/* Columns that a string takes, one per character of UTF-8. */
size_t text_width(const char *string);

/* Control characters become '?': names and reasons come from other machines. */
void text_clean(char *string);
void text_clean_json(json_t *value); /* every string in it */

/* All return `buffer`. */
const char *text_count(char buffer[TEXT_NUMBER_MAX], uint64_t number);	/* 12.4k */
const char *text_bytes(char buffer[TEXT_NUMBER_MAX], uint64_t bytes);	/* 9.61 GB */
const char *text_duration(char buffer[TEXT_NUMBER_MAX], uint64_t msec); /* 3h12m */

/* "up", "DOWN", "suspect": a state is never told by colour alone. */
const char *text_state(const char *state);
enum text_style text_state_style(const char *state);

/* Members of an object, "" and 0 if there is none. */
const char *text_get(const json_t *object, const char *key);
uint64_t text_get_number(const json_t *object, const char *key);

/* A string; if it is no UTF-8, as a path may be, with '?' for what isn't ASCII. */
json_t *text_to_json(const char *string);

/* A list of strings with blanks between, malloc'ed. */
char *text_join(const json_t *list);

/* One word for a shell, malloc'ed: as it is, or in quotes. */
char *text_quote(const char *word);

/* asprintf that ends the program if memory is short. */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
