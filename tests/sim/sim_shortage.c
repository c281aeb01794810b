/*
 * Allocations of the logic that fail (sim_set_shortage()). The linker sends them here
 * (--wrap), those of libraries not. See sim_internal.h.
 */
#include "sim_internal.h"

#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size)
{
	return sim_is_short() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return sim_is_short() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return sim_is_short() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text)
{
	return sim_is_short() ? NULL : __real_strdup(text);
}
