/*
 * How much of what a node has to say goes into its log, so that nobody who can make it
 * speak fills a disk.
 *
 * A line is of one reason of one subject: its text, in which all numbers are alike. Of a
 * warning, which is what others make a node say, one line a second passes for a reason;
 * of what it says of itself, and what only its own host can make it say over and over,
 * ten in one go and then one a second. Of all of them 600 pass in any minute.
 *
 * A change of state passes whatever other lines there are. Only who goes up and down
 * for ever is cut short: of one subject 60 changes pass in one go, then one a second; of
 * all subjects 600 in one go, then ten a second. The events keep what the log does not.
 *
 * Of what is held back the last one is kept. It is written when its turn comes, with the
 * number of those before it, or that number goes with the next one that passes: so what
 * the log says last of a subject is so. What is held back for more reasons than there is
 * room for is only counted, and the count written once in 10 s.
 *
 * Does no I/O and owns no clock: who asks, tells the time. A zeroed struct has seen
 * nothing and needs no end. One thread at a time; log.c sees to that.
 */
#ifndef BASE_LOG_CAP_H
#define BASE_LOG_CAP_H

#include "base/budget.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

#define LOG_CAP_SUBJECT_MAX 64
#define LOG_CAP_TEXT_MAX    256
#define LOG_CAP_SLOTS	    64

enum log_cap_kind { LOG_CAP_LINE, LOG_CAP_STATE, LOG_CAP_KIND_NUM_ };

struct log_cap_line {
	enum log_cap_kind kind;
	enum log_level level;
	const char *subject; /* may be NULL */
	const char *text;
};

/* What was held back, to be written now. */
struct log_cap_late {
	enum log_level level;
	unsigned suppressed; /* before it */
	char subject[LOG_CAP_SUBJECT_MAX];
	char text[LOG_CAP_TEXT_MAX];
};

/* A reason of a subject; with changes of state a subject. */
struct log_cap_slot {
	uint64_t reason;
	uint64_t used_ns;
	struct budget budget;
	unsigned held;
	struct log_cap_late last; /* of those held */
};

struct log_cap {
	unsigned held; /* in all, and so told by nobody yet */
	struct log_cap_class {
		struct budget budget;
		struct budget lost_budget;
		unsigned lost; /* held, in slots that others needed */
		struct log_cap_slot slots[LOG_CAP_SLOTS];
	} classes[LOG_CAP_KIND_NUM_];
};

/* Whether to write it; *ret_suppressed of its reason were held back since the last. */
bool log_cap_pass(struct log_cap *cap, uint64_t now_ns, const struct log_cap_line *line,
		  unsigned *ret_suppressed);

/* One that was held back and may be written now; to be called until there is none. */
bool log_cap_settle(struct log_cap *cap, uint64_t now_ns, struct log_cap_late *ret_late);

#endif
