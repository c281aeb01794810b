#!/bin/bash
# A member that joins as it should and then lies, beside three honest nodes: every lie of
# tests/hostile, one liar after the other, each under an id and a name of its own. No
# node crashes, what the three send one another meanwhile arrives, to the frame; a liar
# that broke the rules is quarantined and named, in time, and nothing of it is left.
# timeout: 240
#
#	hostile.sh [LIE...]
#
# SHMNET_TEST_LONG=1 tells each lie by ten seeds instead of one.
set -u
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/netns/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$here/traffic.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
NODES=(n1 n2 n3)
PATIENCE=300 # ms that a lie is told if nobody minds
SEEDS=1
[ -z "${SHMNET_TEST_LONG-}" ] || SEEDS=10

hostile=''
next_id=100
NUMBERS=${NUMBERS:-$((9000 * SEEDS))} # about as long as all lies take

# One liar, all three nodes its victims; its verdicts are added to $LAB/verdicts.
lies() { # lie, seed
	next_id=$((next_id + 1))
	timeout 30 "$hostile" --directory "$LAB/fabric" --network lan0 --mtu 1500 \
		--id "$next_id" --lie "$1" --seed "$2" --victims ${#NODES[@]} \
		--patience "$PATIENCE" >"$LAB/told"
	local status=$?
	tee -a "$LAB/verdicts" <"$LAB/told"
	all_live && [ "$status" -eq 0 ]
}

all_live() {
	local node
	for node in "${NODES[@]}"; do
		is_alive "$node" && continue
		echo "$node is dead; its last lines:"
		tail -n 40 "$LAB/$node.log"
		return 1
	done
}

# Each liar that a node quarantined is named in that node's log, with the same words; one
# that never told its name, by its id.
are_named() {
	local node name id words
	while IFS=$'\t' read -r node name id words; do
		grep -qF -- "$name: quarantined for 1 s: $words" "$LAB/$node.log" ||
			grep -qF -- "node-$id: quarantined for 1 s: $words" "$LAB/$node.log" || {
			echo "not in the log of $node: $name (id $id): $words"
			return 1
		}
	done < <(jq -r 'select(.verdict == "quarantine" and
		(.words | test("\u0027") | not)) | [.victim, .lie, .id, .words] | @tsv' \
		"$LAB/verdicts")
}

has_quarantine_event() { # node
	ctl "$1" events --json | jq -e 'any(.events[]; .state == "quarantined" and
		.subject == "node" and (.cause | startswith("quarantined for ")))' >/dev/null
}

# Percentiles of the microseconds from lie to quarantine; most lies are one store.
times_figure() {
	figure "$(jq -rs 'map(select(.verdict == "quarantine").after_us) | sort
		| "quarantined: \(length) times, after \(.[length / 2 | floor]) us (p50), " +
		  "\(.[length * 99 / 100 | floor]) us (p99), \(.[-1]) us at the latest"' \
		"$LAB/verdicts")"
}

# Of the node that wrote most.
log_figure() { # seconds
	local node lines most=0
	for node in "${NODES[@]}"; do
		lines=$(wc -l <"$LAB/$node.log")
		[ "$lines" -le "$most" ] || most=$lines
	done
	figure "log: $most lines in $1 s, of $((next_id - 100)) liars"
}

# Each of these lies, by each seed.
tell() { # lie...
	local lie seed
	for lie in "$@"; do
		for ((seed = 1; seed <= SEEDS; seed++)); do
			check "$lie" lies "$lie" "$seed" || break
		done
	done
}

lab_begin "$@"
hostile=$(program hostile) || exit 1
mapfile -t lies < <("$hostile" --list | cut -d' ' -f1)
[ $# -eq 0 ] || lies=("$@")
mapfile -t in_rings < <(printf '%s\n' "${lies[@]}" | grep -v '^cast-')
mapfile -t in_casts < <(printf '%s\n' "${lies[@]}" | grep '^cast-')

check "three honest nodes" mesh_up n1:1 n2:2 n3:3 || lab_end
check "they reach one another" wait_for 5 pings n1 10.77.0.2
BASELINE_OF='^n[0-9]$'
baseline_take before
: >"$LAB/verdicts"
started=$SECONDS
check "they send to one another" count_start 1000 each "${NODES[@]}"
tell ${in_rings[@]+"${in_rings[@]}"}
# A cast ring that nobody uses goes after a minute, so theirs come later.
check "nothing is left of the liars" baseline_is before 10
tell ${in_casts[@]+"${in_casts[@]}"}
check "n1 keeps an event of it" has_quarantine_event n1
check "who broke the rules is named" are_named
times_figure
log_figure $((SECONDS - started))
check "what the honest ones sent arrived" counts_take "${NODES[@]}"
check "each frame of it once" each_once
check "and all is accounted for" conserved "${NODES[@]}"
NUMBERS=1000
check "casts arrive, too" count_numbers 500 broadcast "${NODES[@]}"
check "each of them once" each_once
for node in "${NODES[@]}"; do
	check "$node ends when told to" ends "$node"
done
lab_end
