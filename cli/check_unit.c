/*
 * Who is, or will be, the node: lines of its process, properties of its unit. See
 * check.h.
 *
 * The unit is there for each name once the package is, whoever will start the node: what
 * it has is said to be the unit's.
 */
#include "cli/check.h"

#include "cli/child.h"
#include "cli/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEMCTL_TIMEOUT_MS 5000

bool check_read_process(const struct check *check, const char *file, const char *key,
			char ret_line[CHECK_LINE_SIZE])
{
	const pid_t pid = check->pid ? check->pid : getpid();
	char path[64];
	FILE *stream;
	bool is_found = false;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	stream = fopen(path, "re");
	while (stream && !is_found && fgets(ret_line, CHECK_LINE_SIZE, stream))
		is_found = strncmp(ret_line, key, strlen(key)) == 0;
	if (stream)
		fclose(stream);
	return is_found;
}

/* A line "KEY=value" of what systemctl shows; "" if it isn't there. */
static void read_property(const char *text, const char *key, char value[CHECK_LINE_SIZE])
{
	const size_t length = strlen(key);

	value[0] = '\0';
	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		if (strncmp(text, key, length) == 0 && text[length] == '=')
			snprintf(value, CHECK_LINE_SIZE, "%.*s",
				 (int)strcspn(text + length + 1, "\n"),
				 text + length + 1);
	}
}

bool check_read_unit(const struct check *check, const char *key,
		     char ret_value[CHECK_LINE_SIZE])
{
	char *unit = text_format("shmnet-node@%s.service", check->config->name);
	const char *const argv[] = {"systemctl", "show", "-p", "LoadState",
				    "-p",	 key,	 unit, NULL};
	struct child_reply reply = {.text = NULL};
	char state[CHECK_LINE_SIZE] = "";
	int ret = access("/run/systemd/system", F_OK) < 0
			  ? -ENOENT
			  : child_run(argv, child_plain_environment, SYSTEMCTL_TIMEOUT_MS,
				      &reply);

	if (ret == 0 && reply.status == 0) {
		read_property(reply.text, "LoadState", state);
		read_property(reply.text, key, ret_value);
	}
	free(reply.text);
	free(unit);
	return strcmp(state, "loaded") == 0;
}
