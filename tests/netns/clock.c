/*
 * Loaded into shmnetctl by netns/check.sh: a clock that is synchronised, or not, as
 * SHMNET_CLOCK says. The machine's own is nobody's to change.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): __ntx */
__attribute__((visibility("default"))) int adjtimex(struct timex *timex)
{
	const char *word = getenv("SHMNET_CLOCK");

	memset(timex, 0, sizeof(*timex));
	if (word && strcmp(word, "synchronised") == 0)
		return TIME_OK;
	timex->status = STA_UNSYNC;
	return TIME_ERROR;
}
