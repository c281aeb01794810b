#!/bin/bash
# A node is killed and started again after five seconds, then by a service manager that
# keeps its TAPs, while 200 TCP connections go to its host, 200 to the global address from
# a member, and 200 through it as the border: none breaks. How long each of the three ways
# was dead is printed.
# timeout: 240
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

here=$(dirname "$0")
NUMBER=$((200 / SLOW))
WAYS=(local global border)
GAP_PORT=7010
ROUNDS=3
KILLS=1
[ -z "${SHMNET_TEST_LONG-}" ] || { ROUNDS=50 && KILLS=10; }

# --- what goes on meanwhile ------------------------------------------------------------

# Everybody serves what is held; the gap is that of ways to n1, from it, and through it.
serve_all() {
	holds_serve n1 n2 n3 || return
	start serve-local n1 python3 "$global_here/global_conns.py" serve n1 "$HOLD_PORT" 10.77.0.1
	start gap-n1 n1 python3 "$here/gap.py" serve "$GAP_PORT" 10.77.0.1
	start gap-n2 n2 python3 "$here/gap.py" serve "$GAP_PORT" "$G"
	wait_for 10 log_has serve-local ready && wait_for 10 log_has gap-n1 ready &&
		wait_for 10 log_has gap-n2 ready && all_know ":$GAP_PORT" n2
}

ask_start() { # way, host, address
	mkfifo "$LAB/ask-$1.fifo" || return
	: >"$LAB/ask-$1.log"
	start "ask-$1" "$2" python3 "$here/gap.py" ask "$LAB/ask-$1.fifo" "$3" "$GAP_PORT"
	wait_for 10 log_has "ask-$1" ready
}

hold_all() {
	hold_start local n2 10.77.0.1 && hold_start global n2 "$G" &&
		hold_start border client "$G" || return
	local way
	for way in "${WAYS[@]}"; do
		hold_opens "$way" "$NUMBER" || return
	done
	ask_start local n2 10.77.0.1 && ask_start global n1 "$G" && ask_start border client "$G"
}

tell_all() { # ask- or empty, command
	local way
	for way in "${WAYS[@]}"; do
		hold "$1$way" "$2" || return
	done
}

# --- one round ---------------------------------------------------------------------------

# Something is under way on every connection while n1 is gone.
send_on_all() {
	local way
	for way in "${WAYS[@]}"; do
		hold_tell "$way" check
	done
}

all_answered() {
	local way
	for way in "${WAYS[@]}"; do
		hold_hear "$way" && cat "$LAB/answer" || return
		answered ".broken == {} and .silent == {} and (.alive | add) == $NUMBER" || return
	done
}

# What lasted longest since the mark, in $LAB/gaps.METHOD: "local 12.5 230.1 17".
note_gaps() { # method
	local way
	for way in "${WAYS[@]}"; do
		hold "ask-$way" gap && answered '.broken | not' || return
		jq -r --arg way "$way" '"\($way) \(.udp) \(.tcp) \(.udp_lost)"' \
			"$LAB/answer" >>"$LAB/gaps.$1"
	done
}

all_flow() {
	local way
	for way in "${WAYS[@]}"; do
		wait_for 20 flows_again "$way" >"$LAB/flows" || return
	done
}

flows_again() { # way
	hold "ask-$1" mark && sleep 0.2 && hold "ask-$1" gap && jq -e '.udp < 150 and .tcp < 150' \
		"$LAB/answer"
}

a_round() { # method, function that restarts n1
	tell_all ask- mark && send_on_all && "$2" && wait_for 10 node_sees n1 2 &&
		all_answered && note_gaps "$1" && all_flow
}

rounds() { # number, method, function
	local i
	for ((i = 0; i < $1; i++)); do
		a_round "$2" "$3" && continue
		echo "in round $i"
		tail -n 5 "$LAB"/n[123].log "$LAB"/ask-*.log
		return 1
	done
}

print_gaps() { # method
	local way
	for way in "${WAYS[@]}"; do
		awk -v way="$way" '$1 == way { print $2, $3, $4 }' "$LAB/gaps.$1" |
			python3 -c '
import sys
rows = [list(map(float, line.split())) for line in sys.stdin]
def at(column, share):
    values = sorted(row[column] for row in rows)
    return values[min(int(len(values) * share), len(values) - 1)]
print("      %s: udp p50 %.0f ms, p99 %.0f ms (lost p50 %.0f); tcp p50 %.0f ms, p99 %.0f ms"
      % (sys.argv[1], at(0, .5), at(0, .99), at(2, .5), at(1, .5), at(1, .99)))' \
				"$1, $way, $(grep -c "^$way " "$LAB/gaps.$1") rounds"
	done
}

# --- the ways to restart n1 --------------------------------------------------------------

by_kill() {
	stop n1 KILL
	sleep 5
	node_start n1
}

# The newer process is n1 from then on, and writes into the same log.
by_takeover() {
	local binary old
	binary=$(program shmnet-node) || return
	old=$(pid_of n1)
	start n1 n1 "$binary" --takeover --config "$LAB/n1.yaml"
	lab_pids[older]=$old
	finish older 20
}

# What systemd would be: $LAB/n1.log is the node's, the manager answers in its own.
manager_start() {
	local binary
	binary=$(program shmnet-node) || return
	stop n1 KILL
	mkfifo "$LAB/manager.fifo" && : >"$LAB/manager.log" || return
	start manager n1 python3 "$here/fdstore.py" "$LAB/manager.fifo" "$LAB/n1.log" \
		"$binary" --config "$LAB/n1.yaml"
	wait_for 10 log_has manager ready && wait_for 10 node_sees n1 2 && all_flow
}

# 16 queues of the local network, one of the global one.
by_store_kill() {
	hold manager restart KILL && answered '.status == -9 and .fds == 17'
}

by_store_term() {
	hold manager restart TERM && answered '.status == 0 and .fds == 17'
}

manager_stop() {
	hold manager end && answered '.status == 0' && finish manager 10
}

said() { # key
	hold manager said && answered ".[\"$1\"] > 0"
}

hosts_make() {
	local id
	for id in 1 2 3; do
		site_host "n$id" && site_join "n$id" "$id" || return
	done
}

lab_begin "$@"
check "a client and a router" site_make || lab_end
check "three hosts" hosts_make || lab_end
baseline_take empty
check "three members" members_up n1:1 n2:2 n3:3 || lab_end
check "services" serve_all || lab_end
check "n1 is the border" borders_are n1
check "$NUMBER connections each: local, global, through the border" hold_all || lab_end

check "kill -9, start after 5 s: none broke" rounds "$KILLS" kill by_kill && print_gaps kill

check "a newer process takes over: none broke" rounds "$ROUNDS" takeover by_takeover &&
	print_gaps takeover

check "a service manager starts it" manager_start || lab_end
check "kill -9, its store has the TAPs: none broke" rounds "$ROUNDS" store-kill by_store_kill &&
	print_gaps store-kill
check "so with SIGTERM" rounds "$ROUNDS" store-term by_store_term && print_gaps store-term
check "it said when it was ready" said READY=1
check "that it was stopping" said STOPPING=1
check "and that it lives" wait_for 5 said WATCHDOG=1

# What goes on ends first: it is no part of the baseline.
for name in "${!lab_pids[@]}"; do
	[[ $name =~ ^(n[0-9]+|manager)$ ]] || stop "$name"
done
check "the service is stopped for good" manager_stop
check "its TAPs went with the store" not ip -n "$(host_ns n1)" link show shm0
check "--cleanup removes the rest" in_ns n1 "$(program shmnet-node)" --cleanup \
	--config "$LAB/n1.yaml"
check "n2 ends" ends n2
check "n3 ends" ends n3
check "all is as it was before the first start" baseline_is empty

lab_end
