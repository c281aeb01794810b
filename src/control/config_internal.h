/*
 * What the files of the config share, and its tests: the schema and the rules
 * beside it, the parsers of single values, the list of errors.
 *
 *     config.c        schema, loading, conversion
 *     config_check.c  the walk over libyaml's tree: every error with its position
 *     config_error.c  the list of errors
 *     config_print.c  the way back: a config as text
 *     config_rules.c  rules that span several keys
 *     config_value.c  one value's text: what it means, or why it is refused
 *
 * Nobody outside src/control/config*.c and tests/ includes this.
 */
#ifndef CONTROL_CONFIG_INTERNAL_H
#define CONTROL_CONFIG_INTERNAL_H

#include "control/config.h"

#include <cyaml/cyaml.h>
#include <yaml.h>

#define CONFIG_FILE_MAX	       (1u << 20) /* bytes */
#define CONFIG_FABRICS_MAX     8
#define CONFIG_FIELDS_MAX      24  /* keys of one mapping in the schema */
#define CONFIG_TAP_MAX	       15  /* bytes, as IFNAMSIZ has it */
#define CONFIG_PATH_MAX	       107 /* bytes: sun_path without its NUL */
#define CONFIG_FILE_PATH_MAX   255
#define CONFIG_DEVICE_MAX      63 /* bytes, as IB_DEVICE_NAME_MAX has it */
#define CONFIG_ADDRESS_LONGEST 64 /* bytes, prefix included */

#define CONFIG_CLUSTER_DEFAULT	   "default"
#define CONFIG_RUNTIME_DIR_DEFAULT "/run/shmnet"
#define CONFIG_FABRIC_DIR_DEFAULT  "/fabric" /* below runtime_dir */
#define CONFIG_MTU_DEFAULT	   1500
/* What a NIC takes in one piece has to fit, however large its frames are. */
#define CONFIG_GLOBAL_MTU_DEFAULT  SHMNET_MTU_MAX

#define CONFIG_ANNOUNCE_ROUTING "routing"

/* Why a value is refused, as the end of a sentence that starts with the value. */
struct config_why {
	char text[192];
};

/*
 * What the schema can't say about a key's value (libcyaml 1.3 knows no limits of
 * integers and no patterns): limits of a number, or a check of a text, or both. On a list
 * of scalars the rule holds for each entry.
 */
struct config_rule {
	const struct cyaml_schema_field *fields; /* of the mapping that has the key */
	const char *key;
	uint64_t min, max;
	const char *note; /* ends the sentence that refuses the value; may be NULL */
	int (*check)(const char *text, struct config_why *why);
};

extern const struct cyaml_schema_value config_schema;

/* The words of the file, by value. */
extern const struct cyaml_strval config_fabric_kinds[];
extern const struct cyaml_strval config_securities[];
extern const struct cyaml_strval config_network_kinds[];
extern const struct cyaml_strval config_cast_modes[];
extern const struct cyaml_strval config_offload_names[];
extern const struct cyaml_strval config_balances[];
extern const struct cyaml_strval config_ephemerals[];

/* NULL if the schema says all about it. */
const struct config_rule *config_rule_find(const struct cyaml_schema_field *fields,
					   const char *key);

/*
 * Errors, in the order found; config_errors_print() sorts them by position.
 * `out_of_memory` tells that some are lost.
 */
struct config_error {
	size_t line, column; /* from 1 */
	size_t index;	     /* keeps the sort stable */
	char *text;
};

struct config_errors {
	struct config_error *list;
	size_t count, room;
	bool out_of_memory;
};

void config_errors_add(struct config_errors *errors, yaml_mark_t at, const char *format,
		       ...) __attribute__((format(printf, 3, 4)));
void config_errors_print(struct config_errors *errors, const char *file, FILE *out);
void config_errors_done(struct config_errors *errors);

/*
 * The whole check of a file's bytes. 0 if config_schema loads them; otherwise
 * -EINVAL, or -ENOMEM, with the errors printed to `out`.
 */
int config_check(const char *file, const void *data, size_t size, FILE *out);

/* config_load() for bytes in memory; `file` is what the errors call them. */
int config_load_data(const char *file, const void *data, size_t size, FILE *errors,
		     struct node_config **ret_config);

/* Rules across keys; passes over what the walk has refused already. */
void config_check_rules(yaml_document_t *document, struct config_errors *errors);

/* The value of `key`; NULL if there is none or `mapping` is no mapping (or NULL). */
yaml_node_t *config_node_find(yaml_document_t *document, yaml_node_t *mapping,
			      const char *key);

/* The text of a scalar, NULL of anything else (and of NULL). */
const char *config_node_text(const yaml_node_t *node);

/* Nothing, or a word that YAML has for it. */
bool config_node_is_null(const yaml_node_t *node);

/*
 * `text` in quotes, safe for a terminal: what isn't printable ASCII is escaped,
 * what is too long is cut. Returns `buffer`.
 */
struct config_quote {
	char text[96];
};
const char *config_quote(const char *text, struct config_quote *buffer);

/* Plain decimal digits. -EINVAL: not that; -ERANGE: negative or above 64 bits. */
int config_parse_uint(const char *text, uint64_t *ret_value);
int config_parse_ring_size(const char *text, uint32_t *ret_size, struct config_why *why);
/* A local network's has a prefix; a global network's has none, or that of one host. */
int config_parse_address(const char *text, enum network_kind kind,
			 struct config_address *ret_address, struct config_why *why);
int config_parse_endpoint(const char *text, struct config_endpoint *ret_endpoint,
			  struct config_why *why);
int config_parse_area(const char *text, uint32_t *ret_area, struct config_why *why);

/* Without its port; the prefix is that of a host. */
struct config_address config_endpoint_address(const struct config_endpoint *endpoint);

int config_check_name(const char *text, struct config_why *why);
int config_check_tap(const char *text, struct config_why *why);
int config_check_path(const char *text, struct config_why *why);
int config_check_netns(const char *text, struct config_why *why);
int config_check_fabric_dir(const char *text, struct config_why *why);
int config_check_ring_size(const char *text, struct config_why *why);
int config_check_cast_depth(const char *text, struct config_why *why);
int config_check_endpoint(const char *text, struct config_why *why);
int config_check_area(const char *text, struct config_why *why);

int config_check_argument(const char *text, struct config_why *why);

/* What `address:` takes, or if `is_entry` the list `addresses:`. */
int config_check_address(const char *text, enum network_kind kind, bool is_entry,
			 struct config_why *why);

#endif
