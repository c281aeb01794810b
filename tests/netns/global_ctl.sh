#!/bin/bash
# What shmnetctl says of a global network: members, listeners, flows, why a node gets a
# packet, and what it can change: drain.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

echo_py=$(dirname "$0")/echo.py

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("web shmg0 10.99.0.1 fd99::1")
GLOBAL_KEYS='members: [n4, n2, n1, n3]'
OUTSIDE=198.51.100.7:40112

# True if jq says so of what a node answers; without an answer, too, it is shown.
says() { # node, jq expression, command...
	local node=$1 expression=$2
	shift 2
	ctl "$node" "$@" --json >"$LAB/says"
	jq -e "$expression" "$LAB/says" >/dev/null || ! cat "$LAB/says"
}

# The command fails with this code, and says nothing else.
refuses() { # node, code, command...
	local node=$1 code=$2
	shift 2
	not ctl "$node" "$@" --json >"$LAB/says" &&
		jq -e --arg code "$code" '.error.code == $code' "$LAB/says" >/dev/null || ! cat "$LAB/says"
}

server() { # host
	start "s-$1" "$1" python3 "$echo_py" serve "$1" 10.99.0.1 8000
}

served_by() { # "n2 n3"
	local node
	for node in n1 n2 n3; do
		says "$node" "[.listeners[] | select(.protocol == \"tcp\") | .nodes] == [$1]" listeners || return 1
	done
}

# A connection that stays: its source is in $LAB/source, its owner in $LAB/owner.
connects() { # host
	# shellcheck disable=SC2016
	start c "$1" bash -c 'exec 3<>/dev/tcp/10.99.0.1/8000; echo hello >&3; read -r name source _ <&3; echo "$name"; sleep 1000'
	wait_for 5 test -s "$LAB/c.log" || return 1
	cat "$LAB/c.log" >"$LAB/owner"
	in_ns "$1" ss -Htn dst 10.99.0.1 | awk '{ print $4 }' >"$LAB/source"
	grep -q '^10\.77\.0\.[1-3]:' "$LAB/source"
}

# A node knows that flow and whose it is.
knows_flow() { # node
	says "$1" "[.flows[] | select(.foreign == \"$(cat "$LAB/source")\") | .owner] == [\"$(cat "$LAB/owner")\"]" flows
}

explained() { # node
	says "$1" ".owner == \"$(cat "$LAB/owner")\"" \
		explain tcp "$(cat "$LAB/source")" 10.99.0.1:8000 --established
}

lab_begin "$@"

check "three nodes with one address" mesh_up n1:1 n2:2 n3:3 || lab_end
check "members are told, up or not" says n1 \
	'[.networks[1].members[] | .name + " " + .state] == ["n1 up", "n2 up", "n3 up", "n4 down"]' status
check "one that nobody saw is a reason" says n1 \
	'.reasons == ["network web: its member n4 was never seen by this node; is it running?"]' status
check "no listeners" says n1 '.listeners == []' listeners
check "nobody listens: dropped, and said why" says n1 \
	'.verdict == "drop" and .reason == "no-listener" and (.steps | length) > 1' \
	explain tcp $OUTSIDE 10.99.0.1:8000
check "echoes are this node's" says n2 '.verdict == "local" and .owner == "n2"' \
	explain icmp 198.51.100.7 10.99.0.1

check "servers on n2 and n3" server n2
server n3
check "all know who listens" wait_for 5 served_by '["n2", "n3"]'
check "one of them would get it" says n1 \
	'.verdict == "forward" and (.owner == "n2" or .owner == "n3") and (.fabric | length) > 0' \
	explain tcp $OUTSIDE 10.99.0.1:8000
check "what nobody has is not reset by a node that has just started" says n1 \
	'.verdict == "drop" and .reason == "no-owner"' explain tcp $OUTSIDE 10.99.0.1:8000 --established
check "a connection that stays" connects n1
check "its border knows the flow" wait_for 5 knows_flow n1
for node in n1 n2 n3; do
	check "$node says who has it" wait_for 15 explained $node
done
check "flows are counted" says n1 '.tables == [{network: "web", flows: 1, room: 65536}]' flows

check "n2 is drained by n1" says n1 \
	'.networks == [{network: "web", member: "n2", drained: true, connections: .networks[0].connections}]' drain n2
for node in n1 n2 n3; do
	check "$node knows" wait_for 5 says $node \
		'[.networks[1].members[] | select(.drained) | .name] == ["n2"]' status
	check "and would give it n3" says $node '.owner == "n3"' explain tcp $OUTSIDE 10.99.0.1:8000
	check "$node says still who has the old one" explained $node
done
check "n3 drains itself" says n3 '.networks[0].drained' drain
check "then nobody gets it" wait_for 5 says n1 '.reason == "no-listener"' explain tcp $OUTSIDE 10.99.0.1:8000
check "n2 is back" says n2 '.networks[0].drained == false' undrain --network web
check "and gets it" wait_for 5 says n1 '.owner == "n2"' explain tcp $OUTSIDE 10.99.0.1:8000
check "n3 too" says n1 '.networks[0].member == "n3"' undrain n3

check "no such network" refuses n1 unknown-name flows --network wbe
check "a local network" refuses n1 not-global listeners --network lan0
check "no such address" refuses n1 not-global explain tcp $OUTSIDE 10.99.0.2:80
check "no flow" refuses n1 bad-flow explain tcp 198.51.100.7 10.99.0.1:80
check "no such node" refuses n1 unknown-name drain n9
check "a member that is not up" refuses n1 unknown-name drain n4

check "when it has been up for a while, it is" wait_for 40 says n1 \
	'.verdict == "local" and .owner == "n1"' explain tcp "${OUTSIDE%:*}:1" 10.99.0.1:8000 --established

GLOBALS=()
check "n4 has no global network" node_up n4 4
check "and says so" refuses n4 no-global-network flows
check "of every verb" refuses n4 no-global-network explain tcp $OUTSIDE 10.99.0.1:80
check "that n4 has it not is a reason" wait_for 5 says n1 \
	'.reasons == ["network web: its member n4 does not have this network in its config"]' status
check "n4 ends" ends n4
check "and is missing" wait_for 5 says n1 '.reasons == ["network web: its member n4 is down"]' status
for node in n1 n2 n3; do
	check "$node ends" ends $node
done
lab_end
