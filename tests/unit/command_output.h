/* What other programs see: ip(8), nft(8). */
#ifndef COMMAND_OUTPUT_H
#define COMMAND_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* All that the command prints, cut at `size`; what it returns is not asked. */
static inline const char *command_output(const char *command, char *text, size_t size)
{
	FILE *out = popen(command, "re");
	size_t used = 0;

	if (out) {
		used = fread(text, 1, size - 1, out);
		while (fgetc(out) != EOF)
			;
		pclose(out);
	}
	text[used] = '\0';
	return text;
}

static inline bool command_says(const char *command, const char *words)
{
	char text[8192];

	return strstr(command_output(command, text, sizeof(text)), words) != NULL;
}

#endif
