#!/bin/bash
# 50 times a node is killed and started again while pings and a TCP connection go on;
# then all end, and everything is as it was before the first one started.
# timeout: 240
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24")
ROUNDS=50
[ -z "${SHMNET_TEST_LONG-}" ] || ROUNDS=500
ROUNDS=$(((ROUNDS - 1) / SLOW / SLOW + 1))

now_us() {
	echo "${EPOCHREALTIME/./}"
}

# Reads on in the log that is open as 8 until a line has the pattern. A line may become
# visible in two parts, where it crosses a page.
log_says() { # pattern, seconds
	local end=$((${EPOCHREALTIME/./} + $2 * SLOW * 1000000)) line part=''
	while [ "${EPOCHREALTIME/./}" -lt "$end" ]; do
		read -r line <&8 || { part+=$line && continue; }
		[[ $part$line == *"$1"* ]] && return
		part=''
	done
	echo "the log does not say '$1' within $2 s"
	return 1
}

# Kills the one, starts it again; appends to $LAB/gaps how long the other one took to
# see it dead, and to have it back, in microseconds.
kill_and_restart() { # victim, other
	local victim=$1 other=$2 killed seen started back
	exec 8<"$LAB/$other.log"
	while read -r <&8; do :; done
	killed=$(now_us)
	kill -KILL "$(pid_of "$victim")"
	log_says " $victim: down" 5 || return
	seen=$(now_us)
	finish "$victim"
	started=$(now_us)
	node_start "$victim" 8<&- || return
	log_says " $victim: up" 10 || return
	back=$(now_us)
	wait_for 5 node_sees "$victim" 1 || return
	wait_for 5 node_sees "$other" 1 || return
	exec 8<&-
	echo "$((seen - killed)) $((back - started))" >>"$LAB/gaps"
}

all_rounds() {
	local i
	for ((i = 0; i < ROUNDS; i++)); do
		if ((i % 2)); then
			kill_and_restart n1 n2
		else
			kill_and_restart n2 n1
		fi || {
			echo "in round $i"
			tail -n 5 "$LAB"/n[12].log
			return 1
		}
	done
}

gap_figure() { # column, what
	cut -d' ' -f"$1" "$LAB/gaps" | sort -n | awk -v what="$2" '
		{ v[NR] = $1 / 1000 }
		END { printf "      %s: median %.1f ms, 90 %% %.1f ms, most %.1f ms (%d rounds)\n",
			what, v[int((NR + 1) / 2)], v[int((NR * 9 + 9) / 10)], v[NR], NR }'
}

seen_in_time() {
	[ "$(cut -d' ' -f1 "$LAB/gaps" | sort -n | tail -n 1)" -lt $((SLOW * 2000000)) ]
}

# shellcheck disable=SC2016 # for another shell
talk='i=0
while [ ! -e "$0/enough" ]; do
	echo "line $((i++))"
	sleep 0.01
done | tee "$0/lines.sent" | socat -u - TCP:10.77.0.2:7100'

lines_arrive() {
	[ -s "$LAB/lines.got" ] && [ "$(wc -l <"$LAB/lines.got")" -gt "$1" ]
}

# Between two answers, in milliseconds.
longest_silence() {
	sed -n 's/^\[\([0-9.]*\)\] .* icmp_seq=.*/\1/p' "$LAB/ping.log" | awk '
		NR > 1 && $1 - last > most { most = $1 - last }
		{ last = $1 }
		END { printf "%.0f\n", most * 1000 }'
}

pings_went_on() {
	local sent received
	read -r sent received < <(sed -n \
		's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' "$LAB/ping.log")
	figure "pings: $received of $sent answered, longest silence $(longest_silence) ms" \
		>"$LAB/figures"
	tail -n 3 "$LAB/ping.log"
	[ "$received" -gt 0 ] && [ "$received" -gt $((sent / 4)) ]
}

# But for the warning that a config without certificates gets, and what becomes of those
# who dial a node of another machine that is dead.
nothing_is_wrong() {
	! grep -E '^(ERROR|WARN)' "$LAB/n1.log" "$LAB/n2.log" | grep -vE \
		"security is none|n[12]: it can't be reached|seed: .* (is tried again|refused)"
}

lab_begin "$@"
host_add n1 && host_add n2
baseline_take empty
check "two nodes see each other" mesh_up n1:1 n2:2 || lab_end
check "and reach each other" pings n1 10.77.0.2
baseline_take running

start server n2 socat -u TCP-LISTEN:7100 "CREATE:$LAB/lines.got"
wait_for 5 listens n2 t 7100
start client n1 bash -c "$talk" "$LAB"
start ping n1 ping -D -i 0.02 10.77.0.2
check "lines arrive over a TCP connection" wait_for 5 lines_arrive 10

check "$ROUNDS rounds of kill -9 and restart" all_rounds
gap_figure 1 "seen by the other one"
gap_figure 2 "back after its start"
check "each death was seen in time" seen_in_time
check "lines still arrive over the same connection" \
	wait_for 20 lines_arrive "$(wc -l <"$LAB/lines.got")"
touch "$LAB/enough"
check "the client is done, without an error" finish client 20
check "so is the server" finish server 20
check "every line arrived, once, in order" cmp "$LAB/lines.sent" "$LAB/lines.got"
stop ping INT
check "pings went on" pings_went_on
cat "$LAB/figures"
check "what both hold is as it was before" baseline_is running
check "neither says anything is wrong" nothing_is_wrong

check "n1 ends with 0 on SIGTERM" ends n1
check "n2 ends with 0 on SIGTERM" ends n2
check "interfaces, sockets, files: all is as it was before the first start" baseline_is empty
lab_end
