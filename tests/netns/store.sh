#!/bin/bash
# What a service manager has kept of a node's TAPs, when the config has changed since, or
# not all of it is there any more. It closes what it is told to forget in its own time.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

[ "$FABRIC" = shm ] || skip "this is about TAPs, and the fabric plays no part"
NETWORKS=("lan0 shm0 1500 10.77.0.%/24" "lan1 shm1 1500 10.78.0.%/24")
GLOBALS=()

manager_start() {
	local binary
	binary=$(program shmnet-node) || return
	mkfifo "$LAB/manager.fifo" && : >"$LAB/manager.log" || return
	start manager n1 python3 "$(dirname "$0")/fdstore.py" "$LAB/manager.fifo" \
		"$LAB/n1.log" "$binary" --config "$LAB/n1.yaml"
	wait_for 10 log_has manager ready && wait_for 10 node_sees n1 1
}

restarts() { # signal
	hold manager "restart $1" && answered '.fds > 0' && wait_for 10 node_sees n1 1
}

reloads() {
	ctl n1 reload >"$LAB/reload" 2>&1
	local status=$?
	cat "$LAB/reload"
	return "$status"
}

has_interface() { # interface
	ip -n "$(host_ns n1)" link show "$1"
}

queues_kept() { # interface, number
	hold manager fds && answered "[.fds[] | select(startswith(\"tap-$1.\"))] | length == $2"
}

lab_begin "$@"
host_add n1 && host_add n2
baseline_take empty
node_config n1 1 >"$LAB/n1.yaml"
check "n2 runs" node_up n2 2 || lab_end
check "a service manager starts n1" manager_start || lab_end
check "it has all queues" wait_for 5 queues_kept shm1 16
check "n1 reaches n2" wait_for 5 pings n1 10.78.0.2

sed -i 's/name: lan1/name: lan9/' "$LAB/n1.yaml" "$LAB/n2.yaml"
check "another network has the same TAP after a reload" reloads
check "so on n2" ctl n2 reload
check "n1 reaches n2 by it" wait_for 5 pings n1 10.78.0.2
check "its queues are kept" wait_for 5 queues_kept shm1 16

cp "$LAB/n1.yaml" "$LAB/good.yaml"
sed -i '/tap: shm1/d' "$LAB/n1.yaml"
check "a start with a network less" restarts TERM
check "has no interface of it" not has_interface shm1
check "nor is it kept" wait_for 5 queues_kept shm1 0

sed 's/kind: local, tap: shm0, mtu: 1500, addresses: \["10.77.0.1\/24"\]/kind: global, tap: shm0, addresses: ["10.99.0.1"]/' \
	"$LAB/good.yaml" >"$LAB/n1.yaml"
in_ns n1 sysctl -qw net.ipv4.conf.all.rp_filter=0
check "a start with one of another kind" restarts KILL
check "has another TAP of the same name" wait_for 5 queues_kept shm0 1
check "the other network is as it was" wait_for 5 pings n1 10.78.0.2

check "the manager loses a queue" hold manager "lose tap-shm1.3"
check "a start without it" restarts KILL
check "makes the TAP anew" wait_for 5 queues_kept shm1 16
check "n1 reaches n2" wait_for 5 pings n1 10.78.0.2
check "the manager has something else for a queue" hold manager "spoil tap-shm1.5"
check "a start with that" restarts KILL
check "makes the TAP anew" wait_for 5 queues_kept shm1 16
check "n1 reaches n2" wait_for 5 pings n1 10.78.0.2

check "after SIGINT it has none" eval 'hold manager "restart INT" && answered ".fds == 0"'
check "the TAPs are made anew" wait_for 5 queues_kept shm1 16
check "n1 reaches n2" wait_for 5 pings n1 10.78.0.2
check "the service is stopped for good" eval 'hold manager end && finish manager 10'
check "--cleanup removes the rest" in_ns n1 "$(program shmnet-node)" --cleanup \
	--config "$LAB/n1.yaml"
check "n2 ends" ends n2
check "all is as it was before the first start" baseline_is empty
lab_end
