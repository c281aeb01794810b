#!/bin/bash
# Does the shim see what it must see? Runs tests that fail on purpose (faults.c).
#
#   selftest.sh PROGRAM
set -u

faults=$1
failed=0

expect() { # exit status, filter, then every line that the output must contain
	local status=$1 filter=$2 output got
	shift 2
	output=$("$faults" --gtest_filter="$filter" 2>&1 </dev/null)
	got=$?
	[ $got = "$status" ] || { echo "$filter: exit $got, not $status" && failed=1; }
	for line in "$@"; do
		grep -qF -- "$line" <<<"$output" && continue
		printf '%s: missing "%s" in:\n%s\n' "$filter" "$line" "$output"
		failed=1
	done
}

expect 1 fault.check_goes_on 'not true: 1 == 2' 'is       -3' 'expected 4' \
	'is       18446744073709551615' 'is       "one"' 'expected NULL' \
	'is    "three"' 'lacks "two"' \
	'byte 17 of 18 differs' 'is       67 68' 'expected 67 58'
expect 1 fault.require_leaves_the_function 'not true: errno == -1' 'is       "left"' \
	'is       "known"'
expect 1 fault.leaks_an_fd 'leaked fd ' ': /memfd:forgotten (deleted)'
expect 1 fault.closes_a_foreign_fd 'closed fd 0, which it did not open: /dev/null'
expect 77 'skipped.*' 'SKIP: no such device'
expect 0 'passed.*'
expect 0 'passed.*:skipped.*' 'SKIP: no such device'
exit $failed
