/*
 * deploy/man/shmnet.conf.5.scd against the schema: each key has an entry in the section
 * of its mapping, with the words that it may be, its limits, and whether it is required;
 * and there is no entry of any other key.
 */
#include "control/config_internal.h"
#include "shim.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 65536

static char text[TEXT_MAX];

static void read_manual(void)
{
	FILE *file = fopen(MANUAL, "re");
	size_t size;

	REQUIRE(file);
	size = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	REQUIRE(size > 0 && size < sizeof(text) - 1);
	text[size] = '\0';
}

/* From the heading, the key in upper case, to the next one; to be freed. */
static char *section_of(const char *key)
{
	char heading[64] = "\n# ";
	const char *from, *to;

	for (size_t i = 0; key[i]; i++)
		heading[3 + i] = (char)toupper(key[i]);
	strcat(heading, "\n");
	from = strstr(text, heading);
	if (!CHECK(from)) {
		printf("no section for '%s'\n", key);
		return strdup("");
	}
	to = strstr(from + 1, "\n# ");
	return to ? strndup(from, (size_t)(to - from)) : strdup(from);
}

/* "*key:* ..." up to an empty line; to be freed. NULL: there is none. */
static char *entry_of(const char *section, const char *key)
{
	char mark[64];
	const char *from, *to;

	snprintf(mark, sizeof(mark), "*%s:* ", key);
	from = strstr(section, mark);
	if (!from || !isspace(from[-1]))
		return NULL;
	to = strstr(from, "\n\n");
	return to ? strndup(from, (size_t)(to - from)) : strdup(from);
}

static unsigned count_entries(const char *section)
{
	unsigned count = 0;

	for (const char *at = section; (at = strchr(at, '\n')); at++) {
		const char *line = at + 1 + strspn(at + 1, "\t");

		if (*line == '*' && strstr(line, ":* ") &&
		    line[1 + strcspn(line + 1, ":*\n")] == ':')
			count++;
	}
	return count;
}

static void check_has(const char *key, const char *entry, const char *wanted)
{
	if (!CHECK(strstr(entry, wanted)))
		printf("the entry of '%s' lacks '%s'\n", key, wanted);
}

static void check_words(const struct cyaml_schema_field *field, const char *entry)
{
	char word[64];

	for (uint32_t i = 0; i < field->value.enumeration.count; i++) {
		snprintf(word, sizeof(word), "_%s_",
			 field->value.enumeration.strings[i].str);
		check_has(field->key, entry, word);
	}
}

static void check_limits(const struct config_rule *rule, const char *entry)
{
	char limits[64];

	snprintf(limits, sizeof(limits), "%" PRIu64 " to %" PRIu64, rule->min, rule->max);
	check_has(rule->key, entry, limits);
}

static void check_entry(const struct cyaml_schema_field *fields,
			const struct cyaml_schema_field *field, const char *entry)
{
	const struct config_rule *rule = config_rule_find(fields, field->key);

	if (!(field->value.flags & CYAML_FLAG_OPTIONAL))
		check_has(field->key, entry, "required");
	if (field->value.type == CYAML_ENUM || field->value.type == CYAML_FLAGS)
		check_words(field, entry);
	if (rule && rule->max)
		check_limits(rule, entry);
}

/* Returns how many keys there are, those of mappings in it included. */
static unsigned check_fields(const struct cyaml_schema_field *fields, const char *section)
{
	unsigned count = 0;

	for (const struct cyaml_schema_field *at = fields; at->key; at++, count++) {
		char *entry = entry_of(section, at->key);

		if (CHECK(entry))
			check_entry(fields, at, entry);
		else
			printf("no entry for '%s'\n", at->key);
		free(entry);
		if (at->value.type == CYAML_MAPPING)
			count += check_fields(at->value.mapping.fields, section);
	}
	return count;
}

/* Of a mapping, or of the mappings that a list has. */
static const struct cyaml_schema_field *fields_of(const struct cyaml_schema_value *value)
{
	if (value->type == CYAML_SEQUENCE)
		value = value->sequence.entry;
	return value->type == CYAML_MAPPING ? value->mapping.fields : NULL;
}

TEST_CASE(manual, has_every_key_and_no_other)
{
	read_manual();
	REQUIRE(*text);
	for (const struct cyaml_schema_field *at = config_schema.mapping.fields; at->key;
	     at++) {
		char *section = section_of(at->key);
		char *entry = entry_of(section, at->key);

		CHECK(entry);
		CHECK_INT(1 + check_fields(fields_of(&at->value), section),
			  count_entries(section));
		free(entry);
		free(section);
	}
}
