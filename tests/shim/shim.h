/*
 * Tests in C: GoogleTest runs them, and this header is all a test sees of it.
 *
 *     TEST_CASE(ring, refuses_a_size_of_zero)
 *     {
 *             REQUIRE(ring != NULL);
 *             CHECK_INT(ring_init(ring, 0), -EINVAL);
 *     }
 *
 * TEST_CASE registers the test from a constructor, so a file needs no list of
 * its own. Every test is compared with itself on open file descriptors: one
 * that leaves an fd behind, or closes one it didn't open, fails, and the
 * message says what the fd is.
 *
 * The CHECK macros record a failure and go on; they are expressions with the
 * value true if all was well. REQUIRE and TEST_SKIP leave the function that they
 * stand in by `return`, which must be void: the body of the test, or a helper
 * whose caller then asks test_failed(). The CHECK macros may be called from any
 * thread of the test; not from a forked child, which must leave by _exit() and
 * tell its parent by status.
 *
 * A program whose tests were all skipped exits with 77.
 */
#ifndef SHIM_H
#define SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Static, one per TEST_CASE; linked into a list before main. */
struct shim_test {
	const char *suite;
	const char *name;
	const char *file;
	int line;
	void (*run)(void);
	struct shim_test *next;
};

void shim_register(struct shim_test *test);
void shim_fail(const char *condition, const char *file, int line);
bool shim_check_int(long long actual, long long expected, const char *text,
		    const char *file, int line);
bool shim_check_u64(uint64_t actual, uint64_t expected, const char *text,
		    const char *file, int line);
bool shim_check_str(const char *actual, const char *expected, const char *text,
		    const char *file, int line);
bool shim_check_contains(const char *actual, const char *part, const char *text,
			 const char *file, int line);
bool shim_check_mem(const void *actual, const void *expected, size_t size,
		    const char *text, const char *file, int line);
void shim_skip(const char *reason, const char *file, int line);

/* True once a check of the running test has failed. */
bool test_failed(void);

#ifdef __cplusplus
}
#endif

/* Here and not in shim.cc: a static analyser must see that it returns `ok`. */
static inline bool shim_check(bool ok, const char *condition, const char *file, int line)
{
	if (!ok)
		shim_fail(condition, file, line);
	return ok;
}

#define TEST_CASE(suite_, name_)                                                         \
	static void suite_##_##name_##_run(void);                                        \
	static struct shim_test suite_##_##name_##_test = {                              \
		#suite_, #name_, __FILE__, __LINE__, suite_##_##name_##_run, NULL};      \
	__attribute__((constructor)) static void suite_##_##name_##_register(void)       \
	{                                                                                \
		shim_register(&suite_##_##name_##_test);                                 \
	}                                                                                \
	static void suite_##_##name_##_run(void)

#define CHECK(cond) shim_check((cond) ? true : false, #cond, __FILE__, __LINE__)

/* Not by way of CHECK: #cond would come out with its macros expanded. */
#define REQUIRE(cond)                                                                    \
	do {                                                                             \
		if (!shim_check((cond) ? true : false, #cond, __FILE__, __LINE__))       \
			return;                                                          \
	} while (0)

/* Any integer but uint64_t above INT64_MAX, which CHECK_U64 is for. */
#define CHECK_INT(actual, expected)                                                      \
	shim_check_int((long long)(actual), (long long)(expected), #actual, __FILE__,    \
		       __LINE__)

#define CHECK_U64(actual, expected)                                                      \
	shim_check_u64((uint64_t)(actual), (uint64_t)(expected), #actual, __FILE__,      \
		       __LINE__)

/* Either may be NULL; NULL equals only NULL. */
#define CHECK_STR(actual, expected)                                                      \
	shim_check_str(actual, expected, #actual, __FILE__, __LINE__)

/* A part of a text. */
#define CHECK_CONTAINS(actual, part)                                                     \
	shim_check_contains(actual, part, #actual, __FILE__, __LINE__)

#define CHECK_MEM(actual, expected, size)                                                \
	shim_check_mem(actual, expected, size, #actual, __FILE__, __LINE__)

#define TEST_SKIP(reason)                                                                \
	do {                                                                             \
		shim_skip(reason, __FILE__, __LINE__);                                   \
		return;                                                                  \
	} while (0)

#endif
