#!/bin/bash
# shmnetctl ping through the rings of real nodes: answered on both networks, lost while
# the peer's process is stopped, refused with words when there is nobody to ask; and what
# a client leaves that goes away, or a node that ends, while an answer is awaited.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

# Who is stopped for a while is not taken for dead.
NODE_KEYS='liveness: {interval_ms: 1000, misses: 20}'
NETWORKS=("lan0 shm0 1500 10.77.0.%/24" "big0 shm1 9000 10.78.0.%/24")

# The client's exit status and a line of what it says.
pings() { # status, basic regular expression, node, arguments...
	local want=$1 line=$2 node=$3 status
	shift 3
	ctl "$node" ping "$@" >"$LAB/out" 2>&1
	status=$?
	cat "$LAB/out"
	[ "$status" -eq "$want" ] && grep -q -- "$line" "$LAB/out"
}

pings_json() { # status, jq expression, node, arguments...
	local want=$1 expression=$2 node=$3 status
	shift 3
	ctl "$node" ping --json "$@" >"$LAB/out" 2>&1
	status=$?
	cat "$LAB/out"
	[ "$status" -eq "$want" ] && jq -e "$expression" "$LAB/out" >/dev/null
}

ping_waits() { # name, arguments...
	local name=$1
	shift
	start "$name" n1 "$(program shmnetctl)" -s "$LAB/run/n1.sock" ping "$@"
}

# The node has a client in its own namespace, which is where ping_waits asks from.
is_asked() {
	in_ns n1 grep -q " 03 *[0-9]* $LAB/run/n1.sock\$" /proc/net/unix
}

drops() {
	ctl "$1" status --json | jq .drops
}

lab_begin "$@"

node_up n1 1 && node_up n2 2 || exit 1
wait_for 5 node_sees n1 1 && wait_for 5 node_sees n2 1 || exit 1
dropped=$(drops n1)/$(drops n2)
check "both networks are answered" pings_json 0 '.schema == 1 and .node == "n1" and
	.peer == "n2" and ([.answers[] | .fabric] | unique) == ["'"$(fabric_shown)"'"] and
	([.answers[] | select(.time_ns > 0)] | length) == 6 and
	([.networks[] | .network + "/" + (.lost | tostring)] | sort) ==
		["big0/0", "lan0/0"]' n1 n2 -i 0.01
check "one network is, by name" pings 0 "^n2 on big0 by $(fabric_shown): seq 1, [0-9.]* [mu]s\$" n1 n2 big0
check "the other is not asked then" not grep -q lan0 "$LAB/out"
check "so is the other way" pings 0 'n1 on lan0: 3 sent, 0 lost' n2 n1 lan0 -i 0.01
check "a thousand, from sleep to sleep" pings 0 'on lan0: 1000 sent, 0 lost' n1 n2 lan0 \
	-c 1000 -i 0.001
check "each is counted where it was answered" test "$(ctl n2 stats --json |
	jq '.links[] | select(.network == "lan0") | .pings_answered')" -ge 1003
check "pings are no frames, so none was dropped" test "$(drops n1)/$(drops n2)" = "$dropped"

check "an unknown node is told, with those that exist" \
	pings 1 "no node 'n7' is known here; the others are: n2$" n1 n7
check "itself is an error" pings 1 'n1 is the node that you ask; the others are: n2$' n1 n1
check "an unknown network is told, with those that exist" \
	pings 1 "no network 'lan7' here; there are: lan0 big0$" n1 n2 lan7
check "errors are JSON, too" pings_json 1 '.error.code == "unknown-name"' n1 n7

kill -STOP "$(pid_of n2)"
check "a peer that is stopped does not answer" \
	pings 1 'n2 on lan0: 2 sent, 2 lost$' n1 n2 lan0 -c 2 -T 0.1 -i 0.01
check "which is said for each" \
	grep -q "^n2 on lan0 by $(fabric_shown): seq 2, lost: no answer within 0.1 s\$" "$LAB/out"
check "the node answers others meanwhile" node_answers n1
kill -CONT "$(pid_of n2)"
check "it answers when it goes on" wait_for 5 pings 0 ' 0 lost' n1 n2 lan0 -c 1

# What waits for an answer that doesn't come leaves nothing behind.
kill -STOP "$(pid_of n2)"
ping_waits waiter n2 -T 60
check "a client waits" wait_for 5 is_asked
stop waiter KILL
check "what it left is gone long before its time" wait_for 5 not is_asked
for _ in {1..40}; do
	ctl n1 ping n2 lan0 -c 1 -T 0.01 >"$LAB/out" 2>&1
done
kill -CONT "$(pid_of n2)"
check "late answers are nobody's: the next ping has its own" \
	wait_for 5 pings 0 ' 0 lost' n1 n2 lan0 -c 5 -i 0.01

kill -STOP "$(pid_of n2)"
ping_waits waiter n2 -T 60
wait_for 5 is_asked
check "a node that ends while one is awaited ends well" stop n1
kill -CONT "$(pid_of n2)"
finish waiter
check "and its client hears of it" grep -q 'hung up' "$LAB/waiter.log"

node_up n1 1 || exit 1
wait_for 5 node_sees n1 1
kill -STOP "$(pid_of n2)"
ping_waits waiter n2 lan0 -c 1 -T 60
wait_for 5 is_asked
stop n2 KILL
finish waiter 10
check "a link that ends is not waited for" \
	grep -q "n2 on lan0 by $(fabric_shown): seq 1, lost: the link ended" "$LAB/waiter.log"
check "a node that is down is named, with the reason" \
	wait_for 5 pings 1 'n2 is down: ..*' n1 n2

node_config n2 2 | sed '/name: big0/,+1d' >"$LAB/n2.yaml"
node_up n2 2 || exit 1
wait_for 5 node_sees n1 1
check "a network that the peer doesn't have is told" \
	pings 1 'n2 is up and has no link on big0' n1 n2 big0
check "the others are answered" pings_json 0 '[.networks[].network] == ["lan0"]' n1 n2 -i 0.01
stop n2
node_config n2 3 >"$LAB/n2.yaml"
node_up n2 3 || exit 1
wait_for 5 node_sees n1 1
check "a node that came back under another id is found by its name" \
	wait_for 5 pings 0 'n2 on lan0: 1 sent, 0 lost' n1 n2 lan0 -c 1
stop n1
stop n2
lab_end
