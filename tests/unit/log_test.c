/* Levels, rate limit and the shape of a line of base/log.h. */
#include "base/clock.h"
#include "base/log.h"

#include "shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Standard error goes into a pipe while a test looks at it. */
struct capture {
	int saved;
	int pipe[2];
};

static bool capture_start(struct capture *capture)
{
	capture->saved = dup(STDERR_FILENO);
	return capture->saved >= 0 && pipe(capture->pipe) == 0 &&
	       dup2(capture->pipe[1], STDERR_FILENO) == STDERR_FILENO;
}

/* What was written, as a string; a test writes less than a pipe holds. */
static void capture_stop(struct capture *capture, char *text, size_t size)
{
	ssize_t got;

	dup2(capture->saved, STDERR_FILENO);
	close(capture->saved);
	close(capture->pipe[1]);
	got = read(capture->pipe[0], text, size - 1);
	text[got < 0 ? 0 : got] = '\0';
	close(capture->pipe[0]);
}

TEST_CASE(log, level_names_are_parsed)
{
	enum log_level level = LOG_LEVEL_NUM_;

	CHECK_INT(log_level_parse("error", &level), 0);
	CHECK_INT(level, LOG_LEVEL_ERROR);
	CHECK_INT(log_level_parse("debug", &level), 0);
	CHECK_INT(level, LOG_LEVEL_DEBUG);
}

TEST_CASE(log, bad_level_is_refused_and_leaves_the_result_alone)
{
	enum log_level level = LOG_LEVEL_WARNING;

	CHECK_INT(log_level_parse("", &level), -EINVAL);
	CHECK_INT(log_level_parse("Error", &level), -EINVAL);
	CHECK_INT(log_level_parse("errors", &level), -EINVAL);
	CHECK_INT(level, LOG_LEVEL_WARNING);
}

TEST_CASE(log, line_has_level_subject_and_text)
{
	struct capture capture = {0};
	char text[256];

	unsetenv("JOURNAL_STREAM");
	REQUIRE(capture_start(&capture));
	log_warn("n2", "%d of %d", 1, 2);
	log_info(NULL, "plain");
	capture_stop(&capture, text, sizeof(text));
	CHECK_STR(text, "WARN  n2: 1 of 2\nINFO  plain\n");
}

TEST_CASE(log, journal_gets_the_priority_instead)
{
	struct capture capture = {0};
	char text[256];

	setenv("JOURNAL_STREAM", "8:1", 1);
	REQUIRE(capture_start(&capture));
	log_err("lan0", "gone");
	capture_stop(&capture, text, sizeof(text));
	unsetenv("JOURNAL_STREAM");
	CHECK_STR(text, "<3>lan0: gone\n");
}

TEST_CASE(log, level_holds_lines_back)
{
	struct capture capture = {0};
	char text[256];

	REQUIRE(capture_start(&capture));
	log_debug("n1", "below the default");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("n1", "below error");
	log_err("n1", "kept");
	log_set_level(LOG_LEVEL_INFO);
	capture_stop(&capture, text, sizeof(text));
	CHECK_STR(text, "ERROR n1: kept\n");
}

TEST_CASE(log, long_line_is_cut_and_still_ends)
{
	struct capture capture = {0};
	char filler[4096];
	char text[8192];
	size_t length;

	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	REQUIRE(capture_start(&capture));
	log_info("n1", "%s", filler);
	log_info(filler, "text");
	capture_stop(&capture, text, sizeof(text));
	length = strlen(text);
	REQUIRE(length > 0);
	CHECK_INT(text[length - 1], '\n');
	CHECK(length <= 2048);
	CHECK(strchr(text, '\n') != text + length - 1);
}

TEST_CASE(log, a_line_that_repeats_is_suppressed_and_counted)
{
	struct capture capture = {0};
	char text[1024];

	REQUIRE(capture_start(&capture));
	for (unsigned i = 0; i < 1000; i++)
		log_warn("liar", "ring %u is bad", i);
	capture_stop(&capture, text, sizeof(text));
	CHECK(strncmp(text, "WARN  liar: ring 0 is bad\n", 26) == 0);
	CHECK(strlen(text) < 10 * 26); /* another one for each second that this took */
}

TEST_CASE(log, what_was_held_back_is_written_once_it_may_be)
{
	struct capture capture = {0};
	char text[4096];

	REQUIRE(capture_start(&capture));
	for (unsigned i = 0; i < 70; i++)
		log_state(LOG_LEVEL_ERROR, "flapper", "change %u", i);
	capture_stop(&capture, text, sizeof(text));
	CHECK(strstr(text, "flapper: change 59\n"));
	text[0] = '\0';
	while (!strstr(text, "flapper")) {
		REQUIRE(capture_start(&capture));
		log_settle();
		log_debug(NULL, "is not written");
		log_err(NULL, "a pipe is never empty, %llu",
			(unsigned long long)clock_now_ns());
		capture_stop(&capture, text, sizeof(text));
	}
	CHECK(strstr(text, "ERROR flapper: change 69 (suppressed "));
}

TEST_CASE(log, changes_and_debug_lines_are_not_counted_as_lines)
{
	struct capture capture = {0};
	char text[4096];
	unsigned lines = 0;

	REQUIRE(capture_start(&capture));
	log_set_level(LOG_LEVEL_DEBUG);
	for (unsigned i = 0; i < 20; i++) {
		log_debug("n7", "again");
		log_state(LOG_LEVEL_INFO, "n7", "up");
	}
	log_set_level(LOG_LEVEL_INFO);
	capture_stop(&capture, text, sizeof(text));
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	CHECK_INT(lines, 40);
}

TEST_CASE(log, limit_passes_one_line_per_second)
{
	struct log_limit limit = {0};
	unsigned held = 99;

	CHECK(log_limit_pass(&limit, 5, &held));
	CHECK_INT(held, 0);
	CHECK(!log_limit_pass(&limit, 6, &held));
	CHECK(!log_limit_pass(&limit, 4 + NSEC_PER_SEC, &held));
	CHECK(log_limit_pass(&limit, 5 + NSEC_PER_SEC, &held));
	CHECK_INT(held, 2);
	CHECK(log_limit_pass(&limit, 5 + 2 * NSEC_PER_SEC, &held));
	CHECK_INT(held, 0);
}

TEST_CASE(log, limits_of_two_sites_are_apart)
{
	struct log_limit one = {0};
	struct log_limit other = {0};
	unsigned held;

	CHECK(log_limit_pass(&one, 1, &held));
	CHECK(log_limit_pass(&other, 1, &held));
}
