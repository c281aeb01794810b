/*
 * Calls a fuzz target for each file of the directories, or for each file, named on
 * the command line, in the order of their names. Replaying nothing is an error.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX (1 << 20)

static unsigned replayed;

static int replay_file(const char *path)
{
	/* Of exactly the input's size, so that ASan sees a read behind its end. */
	static uint8_t buffer[INPUT_MAX];
	FILE *file = fopen(path, "re");
	uint8_t *input;
	size_t size;

	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -errno;
	}
	size = fread(buffer, 1, sizeof(buffer), file);
	fclose(file);
	input = malloc(size ? size : 1);
	if (!input)
		return -ENOMEM;
	memcpy(input, buffer, size);
	LLVMFuzzerTestOneInput(input, size);
	free(input);
	replayed++;
	return 0;
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int replay_directory(const char *path)
{
	struct dirent **entries;
	char name[4096];
	int n, ret = 0;

	n = scandir(path, &entries, not_hidden, alphasort);
	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -errno;
	}
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		if (ret == 0)
			ret = replay_file(name);
		free(entries[i]);
	}
	free(entries);
	return ret;
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		bool is_directory = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
		int ret = is_directory ? replay_directory(argv[i]) : replay_file(argv[i]);

		if (ret < 0)
			return EXIT_FAILURE;
	}
	printf("%u inputs replayed\n", replayed);
	return replayed ? EXIT_SUCCESS : EXIT_FAILURE;
}
