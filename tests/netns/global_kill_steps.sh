#!/bin/bash
# A node with a global network is killed after every single change that it makes to the
# kernel, at its start and at its end. Each time the host can still reach itself, the next
# start works, and so does --cleanup, which leaves nothing.
# timeout: 240
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/global.sh
. "$(dirname "$0")/global.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("www shmg0 10.99.0.1 fd99::1")

# The node, to be killed after that many steps from when the file exists.
start_doomed() { # steps, file
	start n1 n1 env LD_PRELOAD="$library" SHMNET_KILL_STEP="$1" SHMNET_KILL_AFTER="$2" \
		"$binary" --config "$LAB/n1.yaml"
}

# 1: a start has fewer steps, the node runs.
kill_start() { # steps
	start_doomed "$1" "$LAB"
	wait_for "$NODE_DEADLINE" node_answers_or_died n1
	is_alive n1 && return 1
	finish n1
	[ $? -eq 137 ]
}

# 1: the end has fewer steps, the node is gone.
kill_stop() { # steps
	rm -f "$LAB/stopping"
	start_doomed "$1" "$LAB/stopping"
	wait_for "$NODE_DEADLINE" node_answers n1 || return
	touch "$LAB/stopping"
	stop n1
	[ $? -eq 137 ]
}

leaves_nothing() {
	host_is n1 empty && [ -z "$(find "$LAB/run" "$LAB/fabric" -mindepth 1)" ]
}

restarts() {
	host_has_local n1 && node_up n1 1 && stop n1 && leaves_nothing
}

cleans_up() {
	host_has_local n1 && in_ns n1 "$binary" --cleanup --config "$LAB/n1.yaml" &&
		leaves_nothing
}

# After each step of a kind, until there is no further one. Bash's own words on each
# child that was killed are not wanted.
every_step() { # kill_start or kill_stop, what to do then
	local steps=1
	while "$1" "$steps" 2>/dev/null; do
		"$2" >"$LAB/step.out" 2>&1 || break
		steps=$((steps + 1))
	done
	echo "$((steps - 1))" >"$LAB/steps"
	if [ -n "${lab_pids[n1]-}" ]; then
		stop n1 # which has steps as well
		"$2" >"$LAB/step.out" 2>&1
	fi
	leaves_nothing && [ "$steps" -gt 5 ] && return
	echo "after step $steps of $1, $2:"
	cat "$LAB/step.out"
	return 1
}

lab_begin "$@"
binary=$(program shmnet-node) || exit 1
! grep -qc '__[at]san_init' "$binary" ||
	skip "a sanitizer's run-time library has to be loaded before all others"
library=$(program libkill-step.so) || exit 1
in_ns self nft list tables >"$LAB/nft" 2>&1 || skip "no nftables here: $(cat "$LAB/nft")"
host_add n1
node_config n1 1 >"$LAB/n1.yaml"
host_keep n1 empty
check "killed after each step of a start, the next start works" every_step kill_start restarts &&
	echo "      steps of a start: $(cat "$LAB/steps")"
check "--cleanup leaves nothing" every_step kill_start cleans_up
check "killed after each step of the end, the next start works" every_step kill_stop restarts &&
	echo "      steps of the end: $(cat "$LAB/steps")"
check "--cleanup leaves nothing" every_step kill_stop cleans_up
lab_end
