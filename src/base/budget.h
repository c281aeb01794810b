/*
 * How often something may happen that others can cause: so often in one go, and from
 * then on once each interval. Who waits gets it back, up to where it was.
 *
 * Pure functions over one word; owns no clock: who asks, tells the time. A zeroed struct
 * has spent nothing. One thread at a time.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct budget_rule {
	uint64_t interval_ns;
	unsigned burst; /* at least 1 */
};

struct budget {
	uint64_t free_ns; /* when all that was spent is forgotten */
};

/* Until it may happen next; 0: now. */
static inline uint64_t budget_wait_ns(const struct budget *budget,
				      const struct budget_rule *rule, uint64_t now_ns)
{
	const uint64_t limit_ns = now_ns + (rule->burst - 1) * rule->interval_ns;

	return budget->free_ns > limit_ns ? budget->free_ns - limit_ns : 0;
}

/* It happens, whether it may or not. */
static inline void budget_take(struct budget *budget, const struct budget_rule *rule,
			       uint64_t now_ns)
{
	if (budget->free_ns < now_ns)
		budget->free_ns = now_ns;
	budget->free_ns += rule->interval_ns;
}

/* It happens if it may. */
static inline bool budget_spend(struct budget *budget, const struct budget_rule *rule,
				uint64_t now_ns)
{
	if (budget_wait_ns(budget, rule, now_ns))
		return false;
	budget_take(budget, rule, now_ns);
	return true;
}

#endif
