/* What base/log_cap.h lets into the log of those who would fill it. */
#include "base/clock.h"
#include "base/log_cap.h"

#include "shim.h"

#include <stdio.h>
#include <string.h>

#define SECONDS	       200
#define LINES_A_SECOND 1000

static struct log_cap cap;
static const uint64_t start_ns = 1000 * NSEC_PER_SEC;

static void begin(void)
{
	memset(&cap, 0, sizeof(cap));
}

static bool passes(uint64_t now_ns, enum log_level level, const char *subject,
		   const char *text, unsigned *ret_suppressed)
{
	const struct log_cap_line line = {LOG_CAP_LINE, level, subject, text};

	return log_cap_pass(&cap, now_ns, &line, ret_suppressed);
}

static bool warns(uint64_t now_ns, const char *subject, const char *text)
{
	unsigned suppressed;

	return passes(now_ns, LOG_LEVEL_WARNING, subject, text, &suppressed);
}

static bool changes(uint64_t now_ns, const char *subject, const char *text)
{
	const struct log_cap_line line = {LOG_CAP_STATE, LOG_LEVEL_INFO, subject, text};
	unsigned suppressed;

	return log_cap_pass(&cap, now_ns, &line, &suppressed);
}

static unsigned settle(uint64_t now_ns, uint64_t *ret_suppressed)
{
	struct log_cap_late late;
	unsigned count = 0;

	while (log_cap_settle(&cap, now_ns, &late)) {
		*ret_suppressed += late.suppressed;
		count++;
	}
	return count;
}

/* ---- reasons ---- */

TEST_CASE(log_cap, a_reason_has_one_line_a_second)
{
	unsigned suppressed = 99;

	begin();
	CHECK(passes(start_ns, LOG_LEVEL_WARNING, "n2", "bad slot", &suppressed));
	CHECK_INT(suppressed, 0);
	for (unsigned i = 1; i < 1000; i++)
		CHECK(!warns(start_ns + i * NSEC_PER_MSEC, "n2", "bad slot"));
	CHECK(passes(start_ns + NSEC_PER_SEC, LOG_LEVEL_WARNING, "n2", "bad slot",
		     &suppressed));
	CHECK_INT(suppressed, 999);
	CHECK(passes(start_ns + 2 * NSEC_PER_SEC, LOG_LEVEL_WARNING, "n2", "bad slot",
		     &suppressed));
	CHECK_INT(suppressed, 0);
}

TEST_CASE(log_cap, reasons_and_subjects_are_apart)
{
	begin();
	CHECK(warns(start_ns, "n2", "bad slot"));
	CHECK(warns(start_ns, "n3", "bad slot"));
	CHECK(warns(start_ns, NULL, "bad slot"));
	CHECK(warns(start_ns, "n2", "bad index"));
	CHECK(!warns(start_ns, "n2", "bad slot"));
	CHECK(!warns(start_ns, NULL, "bad slot"));
}

TEST_CASE(log_cap, a_number_is_no_reason_of_its_own)
{
	begin();
	CHECK(warns(start_ns, "n2", "slot 7 of 512 (id 3)"));
	CHECK(!warns(start_ns, "n2", "slot 80 of 64 (id 40000)"));
	CHECK(warns(start_ns, "n2", "network lan0 is not common"));
	CHECK(warns(start_ns, "n2", "network lan1 is not common"));
	CHECK(warns(start_ns, "seed", "10.0.0.1:7421: refused"));
	CHECK(warns(start_ns, "seed", "10.0.0.2:7421: refused"));
}

/* Else the second of two reloads would not be told. */
TEST_CASE(log_cap, what_is_no_warning_may_repeat_a_few_times)
{
	unsigned suppressed;

	begin();
	for (unsigned i = 0; i < 10; i++) {
		CHECK(passes(start_ns, LOG_LEVEL_INFO, "n1", "done", &suppressed));
		CHECK(passes(start_ns, LOG_LEVEL_ERROR, "n1", "not done", &suppressed));
	}
	CHECK(!passes(start_ns, LOG_LEVEL_INFO, "n1", "done", &suppressed));
	CHECK(!passes(start_ns, LOG_LEVEL_ERROR, "n1", "not done", &suppressed));
	CHECK(passes(start_ns + NSEC_PER_SEC, LOG_LEVEL_INFO, "n1", "done", &suppressed));
	CHECK_INT(suppressed, 1);
}

/* ---- all of them ---- */

/* Who makes up a reason for each line, or a name, has no minute of more than `limit`. */
static void check_flood(enum log_cap_kind kind, unsigned limit, bool has_names)
{
	static unsigned passed[SECONDS * LINES_A_SECOND];
	uint64_t suppressed = 0, written = 0, in_minute = 0;
	const unsigned minute = 60 * LINES_A_SECOND;
	char name[16] = "liar", text[32];

	begin();
	for (unsigned i = 0; i < SECONDS * LINES_A_SECOND; i++) {
		uint64_t now_ns = start_ns + i * (NSEC_PER_SEC / LINES_A_SECOND);

		snprintf(has_names ? name : text, 16, "x%u", i);
		passed[i] = kind == LOG_CAP_STATE ? changes(now_ns, name, "up")
						  : warns(now_ns, name, text);
		if (i % LINES_A_SECOND == 0)
			passed[i] += settle(now_ns, &suppressed);
		written += passed[i];
		in_minute += passed[i];
		if (i >= minute)
			in_minute -= passed[i - minute];
		if (in_minute > limit)
			break;
	}
	CHECK(in_minute <= limit);
	CHECK(written >= limit); /* else it was silent */
	CHECK(suppressed > 0);
}

TEST_CASE(log_cap, who_makes_up_reasons_has_600_lines_a_minute)
{
	check_flood(LOG_CAP_LINE, 600, false);
}

TEST_CASE(log_cap, who_makes_up_names_of_nodes_that_change_is_bounded_too)
{
	check_flood(LOG_CAP_STATE, 1206, true);
}

TEST_CASE(log_cap, every_line_is_written_or_counted)
{
	uint64_t suppressed = 0, written = 0, asked = 100000;
	unsigned before = 0;
	char text[32];

	begin();
	for (unsigned i = 0; i < asked; i++) {
		snprintf(text, sizeof(text), "x%u", i % 100 * (i % 7));
		if (passes(start_ns + i * NSEC_PER_MSEC, LOG_LEVEL_WARNING, "liar", text,
			   &before)) {
			suppressed += before;
			written++;
		}
	}
	for (unsigned i = 0; i < 600; i++) {
		struct log_cap_late late;

		while (log_cap_settle(&cap, start_ns + (100 + i) * NSEC_PER_SEC, &late)) {
			suppressed += late.suppressed;
			written += late.subject[0] != '\0'; /* else of no line itself */
		}
	}
	CHECK_U64(written + suppressed, asked);
	CHECK_INT(cap.held, 0);
}

/* ---- changes of state ---- */

TEST_CASE(log_cap, a_flood_of_lines_holds_no_change_of_state_back)
{
	char text[32];

	begin();
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(text, sizeof(text), "x%u", i);
		warns(start_ns, "liar", text);
	}
	CHECK(!warns(start_ns, "n2", "another thing"));
	CHECK(changes(start_ns, "n2", "down"));
	CHECK(changes(start_ns, "liar", "quarantined"));
}

TEST_CASE(log_cap, a_cluster_that_goes_down_is_told_whole)
{
	char name[16];

	begin();
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "n%u", i / 2);
		CHECK(changes(start_ns, name, i % 2 ? "up" : "down"));
	}
}

TEST_CASE(log_cap, who_flaps_gets_one_line_a_second_in_the_end)
{
	unsigned told = 0;

	begin();
	for (unsigned i = 0; i < 60; i++)
		CHECK(changes(start_ns, "n2", i % 2 ? "up" : "down"));
	CHECK(!changes(start_ns, "n2", "up"));
	CHECK(changes(start_ns, "n3", "up"));
	for (unsigned i = 1; i <= 60000; i++)
		told += changes(start_ns + i * NSEC_PER_MSEC, "n2", "up");
	CHECK_INT(told, 60);
}

/* Else the log would end with a peer down that is up. */
TEST_CASE(log_cap, the_last_change_is_told_late_rather_than_never)
{
	struct log_cap_late late;
	char text[16];

	begin();
	for (unsigned i = 0; i < 70; i++) {
		snprintf(text, sizeof(text), "change %u", i);
		CHECK_INT(changes(start_ns, "n2", text), i < 60);
	}
	CHECK(!log_cap_settle(&cap, start_ns, &late));
	REQUIRE(log_cap_settle(&cap, start_ns + NSEC_PER_SEC, &late));
	CHECK_STR(late.subject, "n2");
	CHECK_STR(late.text, "change 69");
	CHECK_INT(late.level, LOG_LEVEL_INFO);
	CHECK_INT(late.suppressed, 9);
	CHECK(!log_cap_settle(&cap, start_ns + 100 * NSEC_PER_SEC, &late));
}

TEST_CASE(log_cap, what_is_long_is_cut)
{
	struct log_cap_late late;
	char name[200], text[1000];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	begin();
	CHECK(warns(start_ns, name, text));
	CHECK(!warns(start_ns, name, text));
	REQUIRE(log_cap_settle(&cap, start_ns + NSEC_PER_SEC, &late));
	CHECK_INT(strlen(late.subject), LOG_CAP_SUBJECT_MAX - 1);
	CHECK_INT(strlen(late.text), LOG_CAP_TEXT_MAX - 1);
}
