/*
 * Every error of a config file with its position, in one run.
 *
 * libcyaml stops at the first error and keeps no positions. So before it loads
 * anything, the file is read twice here: libyaml's events show what a tree hides
 * (aliases, tags, a second document, NUL bytes in a text), then libyaml's tree is
 * walked along the same schema that libcyaml gets. What passes both and
 * config_rules.c, libcyaml loads; config.c treats anything else as a bug.
 *
 * The walk goes no deeper than the schema and, in a list, no further than the
 * schema's maximum, so aliases that multiply or point at themselves cost nothing.
 *
 * Reads memory, writes errors. For the thread that loads a config: main's before there is
 * another one, later the control thread.
 */
#include "control/config_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX	16 /* libyaml's cost grows with the square of the depth */
#define SUGGEST_KEY_MAX 32
#define SUGGEST_EDITS	2

/* ---- what libyaml itself refuses ---- */

/* libyaml gives its reader's errors as an offset of bytes only. */
static yaml_mark_t mark_of_offset(const char *data, size_t size, size_t offset)
{
	yaml_mark_t mark = {.index = offset};

	for (size_t i = 0; i < offset && i < size; i++) {
		if (data[i] == '\n') {
			mark.line++;
			mark.column = 0;
		} else if ((data[i] & 0xc0) != 0x80) {
			mark.column++;
		}
	}
	return mark;
}

/* libyaml counts characters, not bytes. */
static bool tab_at(const char *data, size_t size, yaml_mark_t mark)
{
	size_t characters = 0;

	for (size_t i = 0; i < size; i++)
		if ((data[i] & 0xc0) != 0x80 && characters++ == mark.index)
			return data[i] == '\t';
	return false;
}

static int report_parser(const yaml_parser_t *parser, const char *data, size_t size,
			 struct config_errors *errors)
{
	switch (parser->error) {
	case YAML_NO_ERROR: /* the loader forgets to say it */
	case YAML_MEMORY_ERROR:
		errors->out_of_memory = true;
		return -ENOMEM;
	case YAML_READER_ERROR:
		config_errors_add(errors,
				  mark_of_offset(data, size, parser->problem_offset),
				  "the file is not plain UTF-8 text: %s (0x%02x)",
				  parser->problem, (unsigned)parser->problem_value);
		return -EINVAL;
	default:
		break;
	}
	if (tab_at(data, size, parser->problem_mark))
		config_errors_add(errors, parser->problem_mark,
				  "broken YAML: a tab where a key or a value begins; "
				  "indent with spaces");
	else if (parser->context)
		config_errors_add(errors, parser->problem_mark,
				  "broken YAML: %s %s that starts at line %zu",
				  parser->problem, parser->context,
				  parser->context_mark.line + 1);
	else
		config_errors_add(errors, parser->problem_mark, "broken YAML: %s",
				  parser->problem);
	return -EINVAL;
}

static int parser_start(yaml_parser_t *parser, const char *data, size_t size)
{
	if (!yaml_parser_initialize(parser))
		return -ENOMEM;
	yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(parser, (const unsigned char *)data, size);
	return 0;
}

/* ---- the events: what a tree does not show ---- */

static void check_properties(struct config_errors *errors, yaml_mark_t at,
			     const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct config_quote quote;

	if (anchor)
		config_errors_add(errors, at,
				  "anchor %s: anchors are not supported; remove it",
				  config_quote((const char *)anchor, &quote));
	if (tag)
		config_errors_add(errors, at, "tag %s: tags are not supported; remove it",
				  config_quote((const char *)tag, &quote));
}

static void check_scalar_event(struct config_errors *errors, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;

	check_properties(errors, event->start_mark, event->data.scalar.anchor,
			 event->data.scalar.tag);
	if (memchr(text, '\0', event->data.scalar.length))
		config_errors_add(errors, event->start_mark,
				  "this text holds a NUL byte; remove it");
}

static void check_alias_event(struct config_errors *errors, const yaml_event_t *event)
{
	struct config_quote quote;

	config_errors_add(errors, event->start_mark,
			  "alias %s: aliases are not supported; write the value out",
			  config_quote((const char *)event->data.alias.anchor, &quote));
}

struct event_state {
	unsigned depth, documents;
};

static int enter_document(struct config_errors *errors, yaml_mark_t at,
			  struct event_state *state)
{
	if (!state->documents++)
		return 0;
	config_errors_add(errors, at,
			  "a second YAML document starts here; one is allowed");
	return -EINVAL;
}

static int enter_node(struct config_errors *errors, yaml_mark_t at,
		      const yaml_char_t *anchor, const yaml_char_t *tag,
		      struct event_state *state)
{
	check_properties(errors, at, anchor, tag);
	if (++state->depth <= DEPTH_MAX)
		return 0;
	config_errors_add(errors, at, "nested deeper than %d levels", DEPTH_MAX);
	return -EINVAL;
}

/* -EINVAL: it makes no sense, or costs too much, to go on. */
static int check_event(struct config_errors *errors, const yaml_event_t *event,
		       struct event_state *state)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		return enter_document(errors, event->start_mark, state);
	case YAML_SEQUENCE_START_EVENT:
		return enter_node(errors, event->start_mark,
				  event->data.sequence_start.anchor,
				  event->data.sequence_start.tag, state);
	case YAML_MAPPING_START_EVENT:
		return enter_node(errors, event->start_mark,
				  event->data.mapping_start.anchor,
				  event->data.mapping_start.tag, state);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		state->depth--;
		return 0;
	case YAML_ALIAS_EVENT:
		check_alias_event(errors, event);
		return 0;
	case YAML_SCALAR_EVENT:
		check_scalar_event(errors, event);
		return 0;
	default:
		return 0;
	}
}

static int check_events(struct config_errors *errors, const char *data, size_t size)
{
	struct event_state state = {0};
	yaml_parser_t parser;
	yaml_event_t event;
	bool at_end = false;
	int err;

	err = parser_start(&parser, data, size);
	if (err)
		return err;
	while (!err && !at_end) {
		if (!yaml_parser_parse(&parser, &event)) {
			err = report_parser(&parser, data, size, errors);
			break;
		}
		at_end = event.type == YAML_STREAM_END_EVENT;
		err = check_event(errors, &event, &state);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return err;
}

/* ---- the tree ---- */

const char *config_node_text(const yaml_node_t *node)
{
	if (!node || node->type != YAML_SCALAR_NODE)
		return NULL;
	return (const char *)node->data.scalar.value;
}

yaml_node_t *config_node_find(yaml_document_t *document, yaml_node_t *mapping,
			      const char *key)
{
	yaml_node_pair_t *pair;
	const char *text;

	if (!mapping || mapping->type != YAML_MAPPING_NODE)
		return NULL;
	for (pair = mapping->data.mapping.pairs.start;
	     pair < mapping->data.mapping.pairs.top; pair++) {
		text = config_node_text(yaml_document_get_node(document, pair->key));
		if (text && !strcmp(text, key))
			return yaml_document_get_node(document, pair->value);
	}
	return NULL;
}

/* Where the walk is: "networks[1].mtu", linked from the inside out. */
struct place {
	const struct place *parent; /* NULL: the whole file */
	const char *key;	    /* NULL: an entry of a list */
	size_t index;
};

struct walk {
	yaml_document_t *document;
	struct config_errors *errors;
};

struct place_text {
	char text[96];
};

static size_t place_append(const struct place *place, char *out, size_t room)
{
	size_t used;
	int n;

	if (!place->parent)
		return 0;
	used = place_append(place->parent, out, room);
	if (place->key)
		n = snprintf(out + used, room - used, "%s%s", used ? "." : "",
			     place->key);
	else
		n = snprintf(out + used, room - used, "[%zu]", place->index);
	return n > 0 && used + (size_t)n < room ? used + (size_t)n : used;
}

static const char *place_name(const struct place *place, struct place_text *buffer)
{
	buffer->text[0] = '\0';
	place_append(place, buffer->text, sizeof(buffer->text));
	return place->parent ? buffer->text : "the file";
}

static void __attribute__((format(printf, 4, 5)))
refuse(struct walk *walk, const yaml_node_t *node, const struct place *place,
       const char *format, ...)
{
	struct place_text name;
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	config_errors_add(walk->errors, node->start_mark, "%s: %s",
			  place_name(place, &name), text);
}

/* What YAML takes for "no value": nothing at all, and the plain words for null. */
bool config_node_is_null(const yaml_node_t *node)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	if (node->type != YAML_SCALAR_NODE ||
	    node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(config_node_text(node), words[i]))
			return true;
	}
	return false;
}

static const char *node_kind(const yaml_node_t *node, struct config_quote *quote)
{
	if (node->type == YAML_SEQUENCE_NODE)
		return "a list";
	if (node->type == YAML_MAPPING_NODE)
		return "a mapping";
	return config_node_is_null(node) ? "nothing"
					 : config_quote(config_node_text(node), quote);
}

static const char *rule_note(const struct config_rule *rule)
{
	return rule && rule->note ? rule->note : "";
}

/* False, with the error added, if the node is not what the schema wants. */
static bool is_wanted(struct walk *walk, const yaml_node_t *node, yaml_node_type_t type,
		      const char *wanted, const struct config_rule *rule,
		      const struct place *place)
{
	struct config_quote quote;

	if (node->type == type && !config_node_is_null(node))
		return true;
	refuse(walk, node, place, "%s is needed here, not %s%s", wanted,
	       node_kind(node, &quote), rule_note(rule));
	return false;
}

static void walk_check(struct walk *walk, const yaml_node_t *node,
		       const struct config_rule *rule, const struct place *place)
{
	struct config_quote quote;
	struct config_why why;

	if (rule && rule->check && rule->check(config_node_text(node), &why))
		refuse(walk, node, place, "%s %s",
		       config_quote(config_node_text(node), &quote), why.text);
}

static void walk_uint(struct walk *walk, const yaml_node_t *node,
		      const struct cyaml_schema_value *schema,
		      const struct config_rule *rule, const struct place *place)
{
	uint64_t max = rule ? rule->max : UINT64_MAX >> (64 - 8 * schema->data_size);
	uint64_t min = rule ? rule->min : 0;
	struct config_quote quote;
	uint64_t value;
	int err;

	if (!is_wanted(walk, node, YAML_SCALAR_NODE, "a number", rule, place))
		return;
	err = config_parse_uint(config_node_text(node), &value);
	if (err == -EINVAL)
		refuse(walk, node, place,
		       "%s is not a plain decimal number; %llu to %llu is allowed%s",
		       config_quote(config_node_text(node), &quote),
		       (unsigned long long)min, (unsigned long long)max, rule_note(rule));
	else if (err || value < min || value > max)
		refuse(walk, node, place, "%s is out of range; %llu to %llu is allowed%s",
		       config_quote(config_node_text(node), &quote),
		       (unsigned long long)min, (unsigned long long)max, rule_note(rule));
	else
		walk_check(walk, node, rule, place);
}

static void walk_string(struct walk *walk, const yaml_node_t *node,
			const struct cyaml_schema_value *schema,
			const struct config_rule *rule, const struct place *place)
{
	struct config_quote quote;
	size_t len;

	if (!is_wanted(walk, node, YAML_SCALAR_NODE, "a text", rule, place))
		return;
	len = strlen(config_node_text(node));
	if (len < schema->string.min || len > schema->string.max)
		refuse(walk, node, place, "%s is %zu bytes long; %u to %u are allowed",
		       config_quote(config_node_text(node), &quote), len,
		       schema->string.min, schema->string.max);
	else
		walk_check(walk, node, rule, place);
}

static void walk_enum(struct walk *walk, const yaml_node_t *node,
		      const struct cyaml_schema_value *schema,
		      const struct config_rule *rule, const struct place *place)
{
	const cyaml_strval_t *strings = schema->enumeration.strings;
	struct config_quote quote;
	char allowed[128] = "";

	if (!is_wanted(walk, node, YAML_SCALAR_NODE, "a word", rule, place))
		return;
	for (uint32_t i = 0; i < schema->enumeration.count; i++) {
		size_t used = strlen(allowed);

		if (!strcmp(config_node_text(node), strings[i].str)) {
			walk_check(walk, node, rule, place);
			return;
		}
		snprintf(allowed + used, sizeof(allowed) - used, "%s%s", i ? ", " : "",
			 strings[i].str);
	}
	refuse(walk, node, place, "%s is unknown; one of these is allowed: %s",
	       config_quote(config_node_text(node), &quote), allowed);
}

static void walk_value(struct walk *walk, yaml_node_t *node,
		       const struct cyaml_schema_value *schema,
		       const struct config_rule *rule, const struct place *place);

static void walk_sequence(struct walk *walk, yaml_node_t *node,
			  const struct cyaml_schema_value *schema,
			  const struct config_rule *rule, const struct place *place)
{
	struct place entry = {.parent = place};
	yaml_node_item_t *items;
	size_t count;

	if (!is_wanted(walk, node, YAML_SEQUENCE_NODE, "a list", rule, place))
		return;
	items = node->data.sequence.items.start;
	count = (size_t)(node->data.sequence.items.top - items);
	if (count < schema->sequence.min || count > schema->sequence.max)
		refuse(walk, node, place, "%zu entries; %u to %u are allowed", count,
		       schema->sequence.min, schema->sequence.max);
	for (; entry.index < count && entry.index < schema->sequence.max; entry.index++)
		walk_value(walk,
			   yaml_document_get_node(walk->document, items[entry.index]),
			   schema->sequence.entry, rule, &entry);
}

/* A list of words, each of which sets a bit. */
static void walk_flags(struct walk *walk, yaml_node_t *node,
		       const struct cyaml_schema_value *schema,
		       const struct config_rule *rule, const struct place *place)
{
	struct place entry = {.parent = place};
	yaml_node_item_t *items;
	size_t count;

	if (!is_wanted(walk, node, YAML_SEQUENCE_NODE, "a list", rule, place))
		return;
	items = node->data.sequence.items.start;
	count = (size_t)(node->data.sequence.items.top - items);
	if (count > schema->enumeration.count)
		refuse(walk, node, place, "%zu entries; 0 to %u are allowed", count,
		       schema->enumeration.count);
	for (; entry.index < count && entry.index < schema->enumeration.count;
	     entry.index++)
		walk_enum(walk,
			  yaml_document_get_node(walk->document, items[entry.index]),
			  schema, NULL, &entry);
}

/* ---- mappings: unknown, doubled and missing keys ---- */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

static bool same_letter(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/*
 * How many letters have to be added, removed or changed to make one key the other,
 * regardless of case.
 */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[SUGGEST_KEY_MAX + 1]; /* of the table of prefixes, overwritten */
	size_t len = strlen(b);

	for (size_t j = 0; j <= len; j++)
		row[j] = (unsigned)j;
	for (size_t i = 0; a[i]; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i + 1;
		for (size_t j = 0; j < len; j++) {
			unsigned replaced = diagonal + !same_letter(a[i], b[j]);

			diagonal = row[j + 1];
			row[j + 1] = min3(row[j] + 1, diagonal + 1, replaced);
		}
	}
	return row[len];
}

/* The nearest key of the schema, NULL if none is near. */
static const char *suggest_key(const struct cyaml_schema_field *fields, const char *key)
{
	unsigned least = SUGGEST_EDITS + 1;
	const char *nearest = NULL;

	if (strlen(key) > SUGGEST_KEY_MAX)
		return NULL;
	for (; fields->key; fields++) {
		unsigned distance;

		if (strlen(fields->key) > SUGGEST_KEY_MAX)
			continue;
		distance = edit_distance(key, fields->key);
		if (distance < least && distance < strlen(fields->key)) {
			least = distance;
			nearest = fields->key;
		}
	}
	return nearest;
}

static void list_keys(const struct cyaml_schema_field *fields, char *out, size_t room)
{
	size_t used = 0;

	out[0] = '\0';
	for (; fields->key; fields++) {
		if (used < room)
			used += (size_t)snprintf(out + used, room - used, "%s%s",
						 used ? ", " : "", fields->key);
	}
}

static void refuse_key(struct walk *walk, const yaml_node_t *node,
		       const struct cyaml_schema_field *fields, const struct place *place)
{
	const char *text = config_node_text(node);
	const char *nearest = text ? suggest_key(fields, text) : NULL;
	struct config_quote quote;
	char known[256];

	list_keys(fields, known, sizeof(known));
	if (!text)
		refuse(walk, node, place,
		       "a key has to be a plain word; known keys are %s", known);
	else if (nearest)
		refuse(walk, node, place, "unknown key %s; did you mean '%s'?",
		       config_quote(text, &quote), nearest);
	else
		refuse(walk, node, place, "unknown key %s; known keys are %s",
		       config_quote(text, &quote), known);
}

static const struct cyaml_schema_field *
find_field(const struct cyaml_schema_field *fields, const char *key)
{
	for (; key && fields->key; fields++) {
		if (!strcmp(fields->key, key))
			return fields;
	}
	return NULL;
}

/* A mapping on its way: for each field of its schema the key that had it first. */
struct mapping_walk {
	const struct cyaml_schema_field *fields;
	const yaml_node_t *keys[CONFIG_FIELDS_MAX];
};

static void walk_pair(struct walk *walk, const yaml_node_pair_t *pair,
		      struct mapping_walk *mapping, const struct place *place)
{
	yaml_node_t *key = yaml_document_get_node(walk->document, pair->key);
	yaml_node_t *value = yaml_document_get_node(walk->document, pair->value);
	const struct cyaml_schema_field *field;
	struct place inner = {.parent = place};
	const yaml_node_t **first;

	field = find_field(mapping->fields, config_node_text(key));
	if (!field) {
		refuse_key(walk, key, mapping->fields, place);
		return;
	}
	inner.key = field->key;
	first = &mapping->keys[field - mapping->fields];
	if (*first)
		refuse(walk, key, &inner,
		       "duplicate key; it is there already, at line %zu",
		       (*first)->start_mark.line + 1);
	else
		*first = key;
	walk_value(walk, value, &field->value,
		   config_rule_find(mapping->fields, field->key), &inner);
}

static void walk_mapping(struct walk *walk, yaml_node_t *node,
			 const struct cyaml_schema_value *schema,
			 const struct place *place)
{
	struct mapping_walk mapping = {.fields = schema->mapping.fields};
	const struct cyaml_schema_field *field;
	yaml_node_pair_t *pair;

	if (!is_wanted(walk, node, YAML_MAPPING_NODE, "a mapping", NULL, place))
		return;
	for (pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top;
	     pair++)
		walk_pair(walk, pair, &mapping, place);
	for (field = mapping.fields; field->key; field++) {
		if (!(field->value.flags & CYAML_FLAG_OPTIONAL) &&
		    !mapping.keys[field - mapping.fields])
			refuse(walk, node, place, "the key '%s' is missing", field->key);
	}
}

static void walk_value(struct walk *walk, yaml_node_t *node,
		       const struct cyaml_schema_value *schema,
		       const struct config_rule *rule, const struct place *place)
{
	switch (schema->type) {
	case CYAML_MAPPING:
		walk_mapping(walk, node, schema, place);
		break;
	case CYAML_SEQUENCE:
		walk_sequence(walk, node, schema, rule, place);
		break;
	case CYAML_UINT:
		walk_uint(walk, node, schema, rule, place);
		break;
	case CYAML_ENUM:
		walk_enum(walk, node, schema, rule, place);
		break;
	case CYAML_FLAGS:
		walk_flags(walk, node, schema, rule, place);
		break;
	case CYAML_STRING:
		walk_string(walk, node, schema, rule, place);
		break;
	default:
		abort(); /* the schema uses a type that this walk does not know */
	}
}

/* ---- all of it ---- */

static void check_document(struct config_errors *errors, yaml_document_t *document)
{
	struct walk walk = {.document = document, .errors = errors};
	yaml_node_t *root = yaml_document_get_root_node(document);
	const struct place place = {0};

	if (!root) {
		config_errors_add(
			errors, (yaml_mark_t){0},
			"the file is empty; it needs the keys node, fabrics and "
			"networks");
		return;
	}
	walk_value(&walk, root, &config_schema, NULL, &place);
	config_check_rules(document, errors);
}

static int check_tree(struct config_errors *errors, const char *data, size_t size)
{
	yaml_document_t document;
	yaml_parser_t parser;
	int err;

	err = parser_start(&parser, data, size);
	if (err)
		return err;
	if (yaml_parser_load(&parser, &document)) {
		check_document(errors, &document);
		yaml_document_delete(&document);
	} else if (parser.error != YAML_COMPOSER_ERROR || !errors->count) {
		/* A composer's error is an alias of nothing: reported as an alias. */
		err = report_parser(&parser, data, size, errors);
	}
	yaml_parser_delete(&parser);
	return err;
}

int config_check(const char *file, const void *data, size_t size, FILE *out)
{
	struct config_errors errors = {0};
	int err;

	err = check_events(&errors, data, size);
	if (!err)
		err = check_tree(&errors, data, size);
	if (err == -ENOMEM)
		errors.out_of_memory = true;
	config_errors_print(&errors, file, out);
	if (errors.out_of_memory)
		err = -ENOMEM;
	else if (errors.count)
		err = -EINVAL;
	config_errors_done(&errors);
	return err;
}
