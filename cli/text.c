/* See text.h. */
#include "cli/text.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const escapes[] = {
	[TEXT_PLAIN] = "",	   [TEXT_BOLD] = "\033[1m",  [TEXT_GOOD] = "\033[32m",
	[TEXT_BAD] = "\033[1;31m", [TEXT_WARN] = "\033[33m",
};
_Static_assert(sizeof(escapes) / sizeof(escapes[0]) == TEXT_STYLE_NUM_,
	       "an escape per style");

static bool is_coloured(void)
{
	static int coloured = -1;
	const char *term = getenv("TERM");
	const char *no_color = getenv("NO_COLOR");

	if (coloured < 0)
		coloured = isatty(STDOUT_FILENO) && !(no_color && *no_color) && term &&
			   strcmp(term, "dumb") != 0;
	return coloured;
}

const char *text_on(enum text_style style)
{
	return is_coloured() ? escapes[style] : "";
}

const char *text_off(enum text_style style)
{
	return style != TEXT_PLAIN && is_coloured() ? "\033[0m" : "";
}

bool text_is_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

size_t text_width(const char *string)
{
	size_t width = 0;

	for (; *string; string++)
		width += ((unsigned char)*string & 0xc0) != 0x80;
	return width;
}

/* C0, DEL, and C1, which UTF-8 writes as 0xc2 0x80-0x9f. */
void text_clean(char *string)
{
	unsigned char *c = (unsigned char *)string;

	for (; *c; c++) {
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
		else if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
			c[0] = c[1] = '?';
	}
}

static void clean_string(json_t *value)
{
	char *copy = strdup(json_string_value(value));

	if (!copy)
		return;
	text_clean(copy);
	json_string_set(value, copy);
	free(copy);
}

void text_clean_json(json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;

	if (json_is_string(value)) {
		clean_string(value);
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, member) text_clean_json(member);
	} else if (json_is_object(value)) {
		json_object_foreach(value, key, member) text_clean_json(member);
	}
}

/* Three digits and a unit; below 10,000 every digit, for those who count. */
static const char *scaled(char buffer[TEXT_NUMBER_MAX], uint64_t number,
			  const char *const units[])
{
	double value = (double)number;
	unsigned i = 0;

	if (number < 10000) {
		snprintf(buffer, TEXT_NUMBER_MAX, "%" PRIu64 "%s", number, units[0]);
		return buffer;
	}
	for (; value >= 999.5 && units[i + 1]; i++)
		value /= 1000;
	snprintf(buffer, TEXT_NUMBER_MAX, "%.*f%s",
		 value < 9.995	 ? 2
		 : value < 99.95 ? 1
				 : 0,
		 value, units[i]);
	return buffer;
}

const char *text_count(char buffer[TEXT_NUMBER_MAX], uint64_t number)
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P", "E", NULL};

	return scaled(buffer, number, units);
}

const char *text_bytes(char buffer[TEXT_NUMBER_MAX], uint64_t bytes)
{
	static const char *const units[] = {" B",  " kB", " MB", " GB",
					    " TB", " PB", " EB", NULL};

	return scaled(buffer, bytes, units);
}

const char *text_duration(char buffer[TEXT_NUMBER_MAX], uint64_t msec)
{
	uint64_t s = msec / 1000, min = s / 60, h = min / 60, d = h / 24;

	if (d)
		snprintf(buffer, TEXT_NUMBER_MAX, "%" PRIu64 "d%02uh", d,
			 (unsigned)(h % 24));
	else if (h)
		snprintf(buffer, TEXT_NUMBER_MAX, "%" PRIu64 "h%02um", h,
			 (unsigned)(min % 60));
	else if (min)
		snprintf(buffer, TEXT_NUMBER_MAX, "%" PRIu64 "m%02us", min,
			 (unsigned)(s % 60));
	else
		snprintf(buffer, TEXT_NUMBER_MAX, "%" PRIu64 "s", s);
	return buffer;
}

const char *text_state(const char *state)
{
	return strcmp(state, "down") == 0 ? "DOWN" : state;
}

enum text_style text_state_style(const char *state)
{
	if (strcmp(state, "up") == 0 || strcmp(state, "ready") == 0)
		return TEXT_GOOD;
	return strcmp(state, "down") == 0 ? TEXT_BAD : TEXT_WARN;
}

const char *text_get(const json_t *object, const char *key)
{
	const char *string = json_string_value(json_object_get(object, key));

	return string ? string : "";
}

uint64_t text_get_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

json_t *text_to_json(const char *string)
{
	json_t *value = json_string(string);
	char *copy;

	if (value)
		return value;
	copy = text_format("%s", string);
	for (char *at = copy; *at; at++) {
		if (*at & 0x80)
			*at = '?';
	}
	value = json_string(copy);
	free(copy);
	return value;
}

char *text_join(const json_t *list)
{
	char *joined = text_format("%s", "");
	json_t *member;
	size_t i;

	json_array_foreach(list, i, member)
	{
		char *longer = text_format("%s%s%s", joined, i ? " " : "",
					   json_string_value(member));

		free(joined);
		joined = longer;
	}
	return joined;
}

char *text_quote(const char *word)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789_@%+=:,./-";
	char *quoted, *longer;

	if (*word && word[strspn(word, plain)] == '\0')
		return text_format("%s", word);
	quoted = text_format("'");
	for (; *word; word++) {
		longer = *word == '\'' ? text_format("%s'\\''", quoted)
				       : text_format("%s%c", quoted, *word);
		free(quoted);
		quoted = longer;
	}
	longer = text_format("%s'", quoted);
	free(quoted);
	return longer;
}

char *text_format(const char *format, ...)
{
	char *text;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0) {
		fputs("shmnetctl: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return text;
}
