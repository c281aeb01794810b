#!/bin/bash
# Runs the spin models exhaustively, then the negative controls, which must fail:
# a model that can't find a bug that is put in proves nothing. As many at a time as there
# are CPUs.
#
# Prints a line per run: states stored, verdict. Exit status 1 if any is not as it
# should be; 77 if spin or a C compiler is missing.
set -u

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT
trap 'exit 143' INT TERM
number=0

for tool in spin "${CC:=cc}"; do
	if ! command -v "$tool" >/dev/null; then
		echo "skipped: $tool is not installed"
		exit 77
	fi
done

check() { # directory, expected, file, define...
	local expected=$2 file=$3 verdict states
	cd "$1" || return
	shift 3
	if ! {
		spin "$@" -a "$here/$file" && $CC -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c &&
			./pan -m1000000
	} >log 2>&1 || ! grep -q 'errors:' log; then
		cat log
		verdict=broken
	elif grep -q 'errors: 0$' log; then
		verdict=holds
	else
		verdict=fails
	fi
	# Not all states were seen: too deep, or out of memory.
	if [ $verdict = holds ] && grep -Eq 'too small|not exhaustive|out of memory' log; then
		verdict=incomplete
	fi
	states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' log)
	[ $verdict = "$expected" ] || verdict+=" (should: $expected)"
	printf '%-14s %-36s %9s states  %s\n' "$file" "$*" "${states:-?}" "$verdict"
}

# Begins a run; EXPECTED is holds or fails.
model() { # expected, file, define...
	local dir
	printf -v dir '%s/%03d' "$work" $((++number))
	mkdir "$dir"
	check "$dir" "$@" >"$dir.out" &
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
		wait -n
	done
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

model holds castowner.pml -DCUTS=0
model holds castowner.pml -DCRASHES=0 -DSETTLED
for fault in KNOWN_EPOCH NO_RENEW HASTY; do
	model fails castowner.pml -DCUTS=0 -D$fault
done
model fails castowner.pml -DCRASHES=0 -DSETTLED -DKEEP

model holds announce.pml
model holds announce.pml -DCRASHES=1 -DFLAPS=1
for fault in HEARD_ONLY KEEP_ON; do
	model fails announce.pml -DCRASHES=0 -D$fault
done
model fails announce.pml -DCRASHES=1 -DNO_DEATH
model fails announce.pml -DCRASHES=1 -DFLAPS=1 -DFIRST_ONLY

# What takes longer, or is much like one of those.
if [ -n "${SHMNET_TEST_LONG-}" ]; then
	model holds castowner.pml -DSETTLED -DCRASHES=1
	model fails castowner.pml -DCUTS=0 -DNO_ANYWAY
	model fails castowner.pml -DCRASHES=0 -DSETTLED -DNO_CLOSE
	model holds announce.pml -DAPART=1
	model holds announce.pml -DAPART=2 -DCRASHES=1 -DFLAPS=1
	model fails announce.pml -DCRASHES=0 -DNEVER
	model fails announce.pml -DCRASHES=0 -DFORGET
fi

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
wait
cat "$work"/*.out
! grep -q '(should: ' "$work"/*.out
