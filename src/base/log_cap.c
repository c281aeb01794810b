/* See log_cap.h. */
#include "base/log_cap.h"

#include "base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define HASH_START 0xcbf29ce484222325u /* FNV-1a */
#define HASH_PRIME 0x100000001b3u

/*
 * In a minute a rule lets through its burst and 60 s / interval. How much was lost is
 * said beside `all`, or it would not be as long as there is too much.
 */
static const struct {
	struct budget_rule each, all, lost;
} rules[] = {
	[LOG_CAP_LINE] = {{NSEC_PER_SEC, 10},
			  {NSEC_PER_SEC / 5, 290},
			  {10 * NSEC_PER_SEC, 1}},
	[LOG_CAP_STATE] = {{NSEC_PER_SEC, 60},
			   {NSEC_PER_SEC / 10, 600},
			   {10 * NSEC_PER_SEC, 1}},
};
_Static_assert(sizeof(rules) / sizeof(rules[0]) == LOG_CAP_KIND_NUM_, "rules per kind");

static const struct budget_rule warnings = {NSEC_PER_SEC, 1};

/* ---- which lines are alike ---- */

static uint64_t hash(uint64_t sum, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum = (sum ^ (unsigned char)text[i]) * HASH_PRIME;
	return sum;
}

/* Digits, whatever stands around them: "512", "(7)", but neither "n2" nor "10.0.0.1". */
static bool is_number(const char *word, size_t length)
{
	while (length && ispunct((unsigned char)*word))
		word++, length--;
	while (length && ispunct((unsigned char)word[length - 1]))
		length--;
	for (size_t i = 0; i < length; i++) {
		if (!isdigit((unsigned char)word[i]))
			return false;
	}
	return length > 0;
}

static uint64_t reason_of(const struct log_cap_line *line)
{
	const char *word = line->text;
	uint64_t sum = HASH_START;

	if (line->kind == LOG_CAP_STATE)
		return sum;
	while (*word) {
		size_t length = strcspn(word, " ");

		if (!is_number(word, length))
			sum = hash(sum, word, length);
		word += length;
		length = strspn(word, " ");
		sum = hash(sum, word, length);
		word += length;
	}
	return sum;
}

static bool is_subject(const struct log_cap_slot *slot, const char *subject)
{
	return strncmp(slot->last.subject, subject, LOG_CAP_SUBJECT_MAX - 1) == 0;
}

/* Who would need more slots than there are takes the one that rested longest. */
static struct log_cap_slot *get_slot(struct log_cap_class *class,
				     const struct log_cap_line *line)
{
	const char *subject = line->subject ? line->subject : "";
	struct log_cap_slot *slot = class->slots;
	const uint64_t reason = reason_of(line);

	for (unsigned i = 0; i < LOG_CAP_SLOTS; i++) {
		struct log_cap_slot *other = &class->slots[i];

		if (other->reason == reason && is_subject(other, subject))
			return other;
		if (other->used_ns < slot->used_ns)
			slot = other;
	}
	class->lost += slot->held;
	memset(slot, 0, sizeof(*slot));
	slot->reason = reason;
	snprintf(slot->last.subject, sizeof(slot->last.subject), "%s", subject);
	return slot;
}

/* ---- what passes ---- */

static const struct budget_rule *rule_of(enum log_cap_kind kind, enum log_level level)
{
	return kind == LOG_CAP_LINE && level == LOG_LEVEL_WARNING ? &warnings
								  : &rules[kind].each;
}

static bool spend(struct log_cap *cap, enum log_cap_kind kind, struct log_cap_slot *slot,
		  uint64_t now_ns)
{
	const struct budget_rule *each = rule_of(kind, slot->last.level);

	if (budget_wait_ns(&slot->budget, each, now_ns) ||
	    !budget_spend(&cap->classes[kind].budget, &rules[kind].all, now_ns))
		return false;
	budget_take(&slot->budget, each, now_ns);
	return true;
}

bool log_cap_pass(struct log_cap *cap, uint64_t now_ns, const struct log_cap_line *line,
		  unsigned *ret_suppressed)
{
	struct log_cap_slot *slot = get_slot(&cap->classes[line->kind], line);

	slot->used_ns = now_ns;
	slot->last.level = line->level;
	if (!spend(cap, line->kind, slot, now_ns)) {
		slot->held++;
		cap->held++;
		snprintf(slot->last.text, sizeof(slot->last.text), "%s", line->text);
		return false;
	}
	*ret_suppressed = slot->held;
	cap->held -= slot->held;
	slot->held = 0;
	return true;
}

static bool settle_slot(struct log_cap *cap, enum log_cap_kind kind,
			struct log_cap_slot *slot, uint64_t now_ns,
			struct log_cap_late *ret_late)
{
	if (!slot->held || !spend(cap, kind, slot, now_ns))
		return false;
	*ret_late = slot->last;
	ret_late->suppressed = slot->held - 1;
	cap->held -= slot->held;
	slot->held = 0;
	return true;
}

static bool settle_lost(struct log_cap *cap, enum log_cap_kind kind, uint64_t now_ns,
			struct log_cap_late *ret_late)
{
	struct log_cap_class *class = &cap->classes[kind];

	if (!class->lost || !budget_spend(&class->lost_budget, &rules[kind].lost, now_ns))
		return false;
	*ret_late = (struct log_cap_late){
		.level = LOG_LEVEL_WARNING,
		.suppressed = class->lost,
		.text = "more was to be logged than is allowed",
	};
	cap->held -= class->lost;
	class->lost = 0;
	return true;
}

static bool settle_kind(struct log_cap *cap, enum log_cap_kind kind, uint64_t now_ns,
			struct log_cap_late *ret_late)
{
	for (unsigned i = 0; i < LOG_CAP_SLOTS; i++) {
		if (settle_slot(cap, kind, &cap->classes[kind].slots[i], now_ns,
				ret_late))
			return true;
	}
	return settle_lost(cap, kind, now_ns, ret_late);
}

bool log_cap_settle(struct log_cap *cap, uint64_t now_ns, struct log_cap_late *ret_late)
{
	return cap->held && (settle_kind(cap, LOG_CAP_STATE, now_ns, ret_late) ||
			     settle_kind(cap, LOG_CAP_LINE, now_ns, ret_late));
}
