#!/bin/bash
# A node that is stopped (SIGSTOP): suspected, then down; the others are not disturbed;
# back when it goes on, and it accuses nobody. Prints how long each step took, and the rate
# of another pair beside a stopped receiver.
# timeout: 240
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
NODES=(n1 n2 n3 n4)
ROUNDS=5
RATE_ROUNDS=3
HOG_SECONDS=6
[ -z "${SHMNET_TEST_LONG-}" ] || ROUNDS=50 RATE_ROUNDS=10 HOG_SECONDS=60

# --- what the nodes tell -------------------------------------------------------------

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

last_event() { # node
	ctl "$1" events --json | jq '.events[-1].sequence'
}

# The wall's time of the first such event after that one; fails if there is none.
event_ms() { # node, subject, state, sequence
	ctl "$1" events --json | jq -e --arg name "$2" --arg state "$3" --argjson after "$4" \
		'first(.events[] | select(.name == $name and .state == $state
			and .sequence > $after)) | .wall_ms'
}

cause_of() { # node, subject, state: of the last one
	ctl "$1" events --json | jq -r --arg name "$2" --arg state "$3" \
		'[.events[] | select(.name == $name and .state == $state)] | last | .cause'
}

# Nodes that it suspected, or gave up, in this life.
accusations() { # node
	ctl "$1" events --json | jq '[.events[]
		| select(.state == "suspect" or (.cause | startswith("silent")))] | length'
}

accuses_nobody_more() { # node, than that
	[ "$(accusations "$1")" -eq "$2" ] && return
	ctl "$1" events
	return 1
}

# --- stopped, and back ---------------------------------------------------------------

others_of() { # node
	printf '%s\n' "${NODES[@]}" | grep -vx "$1"
}

# Appends to $LAB/gaps how long until it was suspected, down, and back again, in ms.
stop_and_go() { # victim, observer
	local before accused stopped gone other suspect down up
	before=$(last_event "$2") accused=$(accusations "$1")
	stopped=$(now_ms)
	kill -STOP "$(pid_of "$1")"
	for other in $(others_of "$1"); do
		wait_for 10 node_sees "$other" $((${#NODES[@]} - 2)) || return
	done
	wait_for 10 event_ms "$2" "$1" down "$before" || return
	cause_is_silence "$2" "$1" || return
	gone=$(now_ms)
	kill -CONT "$(pid_of "$1")"
	wait_for 10 event_ms "$2" "$1" up "$before" && mesh_is_whole "${NODES[@]}" || return
	suspect=$(event_ms "$2" "$1" suspect "$before") || return
	down=$(event_ms "$2" "$1" down "$before")
	up=$(event_ms "$2" "$1" up "$before")
	accuses_nobody_more "$1" "$accused" || return
	echo "$((suspect - stopped)) $((down - stopped)) $((up - gone))" >>"$LAB/gaps"
}

cause_is_silence() { # observer, victim
	local cause
	cause=$(cause_of "$1" "$2" down)
	echo "$cause"
	[[ $cause =~ ^'silent for '[0-9]+' ms; asked n'[0-9](', n'[0-9])*': nobody heard it'$ ]]
}

# By turns the one that is called by all others and the one that calls all.
all_rounds() {
	local i victims=(n4 n1)
	for ((i = 0; i < ROUNDS; i++)); do
		stop_and_go "${victims[i % 2]}" n2 || {
			echo "in round $i"
			tail -n 8 "$LAB"/n[1-4].log
			return 1
		}
	done
}

gap_figure() { # column, what
	cut -d' ' -f"$1" "$LAB/gaps" | sort -n | awk -v what="$2" '
		{ v[NR] = $1 }
		END { printf "      %s: median %d ms, least %d, most %d (%d rounds)\n",
			what, v[int((NR + 1) / 2)], v[1], v[NR], NR }'
}

# One call of each other node at the most, however long it takes.
calls_waiting() { # node, id
	in_ns "$(node_in "$1")" ss -Hxl | awk -v name="$LAB/fabric/node-$2." 'index($5, name) { print $3 }'
}

calls_stay_few() { # node, id
	local i
	for ((i = 0; i < 20; i++)); do
		[ "$(calls_waiting "$1" "$2")" -le 3 ] || {
			in_ns "$(node_in "$1")" ss -Hxl
			return 1
		}
		sleep 0.2
	done
	[ "$(calls_waiting "$1" "$2")" -eq 3 ]
}

is_down_at() { # victim, observer
	ctl "$2" nodes --json | jq -e --arg name "$1" \
		'.nodes[] | select(.name == $name) | .state == "down"'
}

# --- while it is suspected -----------------------------------------------------------

# Everything in one answer: the state, the reason, and exit status 4.
shows_suspect() { # node, suspect
	ctl "$1" status --json >"$LAB/status"
	[ $? -eq 4 ] && jq -e --arg name "$2" '.state == "degraded"
		and any(.reasons[]; test("^node \($name) .id [0-9]+.: silent for [0-9]+ ms"))
		and any(.nodes[]; .name == $name and .state == "suspect"
			and (.reason | test("^silent for [0-9]+ ms")))' "$LAB/status" >/dev/null &&
		ctl "$1" nodes | grep -q "^$2 .*suspect.*silent for" &&
		ctl "$1" topology --json | jq -e --arg name "$2" \
			'.nodes[] | select(.name == $name) | .state == "suspect"' >/dev/null
}

# --- a rate beside a stopped receiver ------------------------------------------------

rate() {
	jq '.end.sum_received.bits_per_second / 1e9' "$LAB/iperf.json"
}

# n1 to n2, beside n1 to n4, which runs, and which is stopped; by turns.
compare_rates() {
	local i with without
	for ((i = 0; i < RATE_ROUNDS; i++)); do
		iperf_run n1 10.77.0.2 || return
		with=$(rate)
		kill -STOP "$(pid_of n4)"
		iperf_run n1 10.77.0.2 || return
		without=$(rate)
		kill -CONT "$(pid_of n4)"
		mesh_is_whole "${NODES[@]}" || return
		echo "$with $without" >>"$LAB/rates"
	done
}

rate_figure() {
	awk '{ print $2 / $1, $1, $2 }' "$LAB/rates" | sort -n | awk '
		{ ratio[NR] = $1; a[NR] = $2; b[NR] = $3 }
		END { i = int((NR + 1) / 2)
			printf "      a receiver stopped: the other pair at %.2f of its rate " \
				"(%.1f and %.1f Gb/s; median of %d, least %.2f)\n",
				ratio[i], b[i], a[i], NR, ratio[1] }'
}

# What was dropped between the two, either way, at either end.
drops_between() { # node, node
	stats_take "$1" "$2" || return
	jq -c --arg a "$1" --arg b "$2" '[.[$a].links[] | select(.peer == $b)
		| .sent_drops, .received_drops] + [.[$b].links[] | select(.peer == $a)
		| .sent_drops, .received_drops]' "$LAB/stats"
}

drops_are() { # node, node, that
	drops_between "$1" "$2"
	[ "$(drops_between "$1" "$2")" = "$3" ]
}

# --- the test ------------------------------------------------------------------------

network_events() { # node
	ctl "$1" events --json | jq '[.events[] | select(.subject == "network")] | length'
}

silence_events() { # state, of all nodes
	local node
	for node in "${NODES[@]}"; do
		ctl "$node" events --json
	done | jq -s --arg state "$1" '[.[].events[] | select(.state == $state
		and (.cause | startswith("silent")))] | length'
}

lab_begin "$@"
check "four nodes see each other" mesh_up n1:1 n2:2 n3:3 n4:4 || lab_end

start server n4 socat -u TCP-LISTEN:7100 "CREATE:$LAB/lines.got"
wait_for 5 listens n4 t 7100
mkfifo "$LAB/lines"
start client n2 socat -u "PIPE:$LAB/lines" TCP:10.77.0.4:7100
exec 9<>"$LAB/lines"
echo "before" >&9
check "a line arrives at n4 by TCP" wait_for 5 grep -q before "$LAB/lines.got"

before=$(network_events n2)
start ping n2 ping -D -i 0.05 10.77.0.3
check "$ROUNDS times a node is stopped, goes on, and accuses nobody" all_rounds
stop ping INT
[ ! -s "$LAB/gaps" ] || {
	gap_figure 1 "suspected"
	gap_figure 2 "down"
	gap_figure 3 "back after it goes on"
}
figure "pings of another pair: $(grep transmitted "$LAB/ping.log")"
check "frames of another pair were not dropped" drops_are n2 n3 "[[],[],[],[]]"
check "the carrier of n2 stayed" test "$(network_events n2)" -eq "$before"
check "n4 reaches others" pings n4 10.77.0.1
echo "after" >&9
check "an idle TCP connection of n4's host lives on" \
	wait_for 30 grep -q after "$LAB/lines.got"

kill -STOP "$(pid_of n4)"
check "n4 is stopped, and down" wait_for 10 is_down_at n4 n1
check "each other node keeps one call at it" calls_stay_few n4 4
check "and none that are held against it" not grep -E '^(ERROR|WARN)' "$LAB"/n[123].log
kill -KILL "$(pid_of n4)"
finish n4
node_start n4
check "killed in its sleep, it comes back" mesh_is_whole "${NODES[@]}"

iperf_serve n2 && iperf_serve n4
drops=$(drops_between n1 n2)
start load n1 iperf3 -u -c 10.77.0.4 -b 200M -t 600
check "a stream from n1 to n2 beside n4, which stops" compare_rates
[ ! -s "$LAB/rates" ] || rate_figure
check "no frame between n1 and n2 was dropped" drops_are n1 n2 "$drops"
check "n4 accuses nobody" accuses_nobody_more n4 0
stop load KILL

before="$(silence_events down) $(silence_events suspect)"
for ((i = 0; i < 8; i++)); do
	start "hog$i" n1 timeout "$HOG_SECONDS" sh -c 'while :; do :; done'
done
for ((i = 0; i < 8; i++)); do
	finish "hog$i"
done
figure "8 hogs of the CPU for $HOG_SECONDS s: suspected" \
	"$(($(silence_events suspect) - ${before#* })) times"
check "nobody is down beside 8 hogs of the CPU" \
	test "$(silence_events down)" -eq "${before% *}"

for node in "${NODES[@]}"; do
	check "$node ends when told to" ends "$node"
	rm "$LAB/$node.yaml"
done

NODE_KEYS='liveness: {interval_ms: 1000, misses: 2}'
NODES=(n1 n2 n3)
check "three nodes with a slower liveness" mesh_up n1:1 n2:2 n3:3
kill -STOP "$(pid_of n3)"
check "n3 is stopped: suspect in status, nodes and topology, and exit status 4" \
	wait_for 10 shows_suspect n1 n3
kill -CONT "$(pid_of n3)"
check "it goes on, and is up" mesh_is_whole "${NODES[@]}"
for node in "${NODES[@]}"; do
	check "$node ends when told to" ends "$node"
done
lab_end
