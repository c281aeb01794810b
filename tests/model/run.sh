#!/bin/sh
# Runs the spin models exhaustively, then the negative controls, which must fail:
# a model that can't find a bug that is put in proves nothing.
#
# Prints a line per run: states stored, verdict. Exit status 1 if any is not as it
# should be; 77 if spin or a C compiler is missing.
set -u

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT INT TERM
status=0

for tool in spin "${CC:=cc}"; do
	if ! command -v "$tool" >/dev/null; then
		echo "skipped: $tool is not installed"
		exit 77
	fi
done

# model EXPECTED FILE [DEFINE...]: EXPECTED is holds or fails
model()
{
	expected=$1 file=$2
	shift 2
	rm -f "$work"/*
	if ! (cd "$work" && spin "$@" -a "$here/$file" >log 2>&1 &&
	      $CC -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c >>log 2>&1 &&
	      ./pan -m1000000 >>log 2>&1) || ! grep -q 'errors:' "$work/log"; then
		cat "$work/log"
		verdict=broken
	elif grep -q 'errors: 0$' "$work/log"; then
		verdict=holds
	else
		verdict=fails
	fi
	# Not all states were seen: too deep, or out of memory.
	if [ $verdict = holds ] && grep -Eq 'too small|not exhaustive|out of memory' "$work/log"; then
		verdict=incomplete
	fi
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$work/log")
	printf '%-14s %-36s %9s states  %s' "$file" "$*" "${states:-?}" "$verdict"
	if [ $verdict = "$expected" ]; then
		echo
	else
		echo " (should: $expected)"
		status=1
	fi
}

for slots in 2 3 4; do
	model holds ring.pml -DSLOTS=$slots
done
for fault in EARLY_SEQUENCE EARLY_PUBLISH EARLY_CREDIT NO_SALVAGE SAME_MEMORY; do
	model fails ring.pml -D$fault
done

model holds doorbell.pml
model holds doorbell.pml -DKILL -DRECORDS=3
for fault in WEAK_TRANSMITTER WEAK_RECEIVER FLAG EARLY; do
	model fails doorbell.pml -D$fault
done

model holds cast.pml
model fails cast.pml -DNO_REREAD
for fault in ADD TAKE_OVER EARLY_RECLAIM BLIND_CLOSE; do
	model fails cast.pml -DKILLS=0 -D$fault
done

model holds castepoch.pml
for fault in LATE_RECLAIM NO_RECLAIM REOPEN BLIND_CLOSE LEAVE_EARLY; do
	model fails castepoch.pml -D$fault
done

model holds castswitch.pml
model holds castswitch.pml -DRELINK=1 -DFRAMES=2
for fault in LATE_ANNOUNCE EARLY_READS NO_SINCE COPY_ON HIDE_CLOSED UNREAD NO_DRAIN; do
	model fails castswitch.pml -D$fault
done
model fails castswitch.pml -DRELINK=1 -DFRAMES=2 -DEARLY_OFFER

model holds immediate.pml
model holds immediate.pml -DHEADS=1 -DRECORDS=5 -DRING=4
model holds immediate.pml -DLOOKS=1 -DHEADS=1 -DRECORDS=3 -DRING=2
for fault in EARLY HASTY FLOOD LATE_POST FEW REUSE; do
	model fails immediate.pml -D$fault
done
model fails immediate.pml -DHEADS=1 -DLAZY
model fails immediate.pml -DLOOKS=1 -DHEADS=1 -DRECORDS=3 -DRING=2 -DBLIND

model holds beat.pml
for fault in SILENT MANY ECHO; do
	model fails beat.pml -D$fault
done
exit $status
