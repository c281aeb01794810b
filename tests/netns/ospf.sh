#!/bin/bash
# Routing by OSPF, with FRRouting: two borders on a LAN with a router, two nodes inside that
# have no NIC. A border is killed, loses its NIC, is stopped, is drained, and is back each
# time, while a client outside talks to nodes and to the global address: no connection
# breaks. For how long each way was silent is printed.
# timeout: 240
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/recipes.sh"
# shellcheck source=tests/netns/frr.sh
. "$(dirname "$0")/frr.sh"

here=$(dirname "$0")
GLOBAL_KEYS="announce: routing"
NUMBER=$((100 / SLOW))
# Several of each, as routers choose a border by flow.
INNER=(inner1 inner2 inner3 inner4)
WEB=(global1 global2)

# --- hosts, nodes, FRR -------------------------------------------------------------------

file_write() { # node, id, NICs
	{
		node_config "$1" "$2"
		echo "routing: {nics: [$3]}"
	} >"$LAB/$1.yaml"
}

# Way out and back by OSPF alone, and each flow on its own.
border_make() { # node, id
	border_join "$1" "$2" && ip -n "$(host_ns "$1")" route del default &&
		file_write "$1" "$2" eth0
}

inner_make() { # node, id
	site_host "$1" && in_ns "$1" sysctl -qw net.ipv4.fib_multipath_hash_policy=1 &&
		file_write "$1" "$2" ""
}

# One of another make would have its own defaults, but these timers.
routers_up() {
	{
		echo "no zebra nexthop kernel enable"
		frr_router 192.0.2.254 lan 1/4 "default-information originate always"
	} >"$LAB/router.conf" &&
		frr_up router "$LAB/router.conf" && frr_render n1 n2 n3 n4
}

# --- who goes which way ------------------------------------------------------------------

# The outside goes these ways to the nodes.
lead_in() { # border...
	frr_route router 10.77.0.0/24 "${@/#n/192.0.2.}"
}

lead_to_web() { # border...
	frr_route router "$G" "${@/#n/192.0.2.}"
}

# And nodes inside go out by these.
lead_out() { # border...
	local node
	for node in n3 n4; do
		frr_route "$node" default "${@/#n/10.77.0.}" || return
	done
}

lead() { # border...
	lead_in "$@" && lead_to_web "$@" && lead_out "$@"
}

# Says what OSPF knows, if it isn't what it should.
leads_soon() { # function, border...
	local host
	wait_for 40 "$@" >"$LAB/led" && return
	for host in router n3; do
		frr_vty "$host" "show ip ospf neighbor" "show ip ospf route"
		ip -n "$(host_ns "$host")" route
	done
	return 1
}

# --- what shmnetctl says of it ---------------------------------------------------------------

neighbors() { # node, more options...
	in_ns "$1" "$(program shmnetctl)" -s "$LAB/run/$1.sock" neighbors \
		--frr "$LAB/frr/$1" "${@:2}"
}

neighbors_say() { # node, jq expression
	neighbors "$1" --json >"$LAB/neighbors.json" && jq -e "$2" "$LAB/neighbors.json" && return
	cat "$LAB/neighbors.json"
	return 1
}

# It fails, with these words.
neighbors_fail() { # words, command...
	"${@:2}" >"$LAB/words" 2>&1
	[ $? -eq 1 ] && grep -F "$1" "$LAB/words" && return
	cat "$LAB/words"
	return 1
}

neighbors_known() {
	neighbors_say n3 '[.neighbors[] | select(.border and .network == "lan0"
		and .area == "0.0.0.1") | .node] | sort == ["n1", "n2"]' &&
		neighbors_say n3 '[.routes[] | select(.to == "0.0.0.0/0") | .via[].address]
			| sort == ["10.77.0.1", "10.77.0.2"]' &&
		neighbors_say n1 '.border and ([.neighbors[] | select(.area == "0.0.0.0")
			| .node // .router] | sort == ["192.0.2.254", "n2"])' &&
		neighbors n3 | tee "$LAB/words" && grep '^n1 .* shm0 .* lan0 ' "$LAB/words"
}

neighbors_fails() {
	local ctl=$LAB/shmnetctl stopped # where others may run it
	cp "$(program shmnetctl)" "$ctl" && chmod 755 "$ctl" || return
	kill -STOP "$(pid_of frr-n4-ospfd)"
	neighbors_fail "did not answer" neighbors n4 -T 0.2
	stopped=$?
	kill -CONT "$(pid_of frr-n4-ospfd)"
	neighbors_fail "is not installed" env PATH=/proc "$ctl" neighbors &&
		neighbors_fail "no permission to use" setpriv --reuid nobody --clear-groups \
			"$ctl" neighbors --frr "$LAB/frr/n4" &&
		neighbors_fail "ospfd does not run" "$ctl" neighbors --frr "$LAB" &&
		[ "$stopped" -eq 0 ]
}

# --- what goes on meanwhile --------------------------------------------------------------

serve_all() {
	local node
	for node in n3 n4; do
		start "serve-$node" "$node" python3 "$here/global_conns.py" \
			serve "$node" "$HOLD_PORT" "$G" "10.77.0.${node#n}"
		wait_for 10 log_has "serve-$node" ready || return
	done
	all_know ":$HOLD_PORT" n3 n4
}

hold_all() {
	hold_start web client "$G" && hold_start node client 10.77.0.3 || return
	hold_opens web "$NUMBER" && hold_opens node "$NUMBER"
}

all_live() {
	hold_lives web && hold_lives node
}

ask() { # way, address
	mkfifo "$LAB/$1.fifo" && : >"$LAB/$1.log" || return
	start "$1" client python3 "$here/gap.py" ask "$LAB/$1.fifo" "$2" "$GAP_PORT"
	wait_for 10 log_has "$1" ready
}

ask_all() {
	local way
	start gap-n3 n3 python3 "$here/gap.py" serve "$GAP_PORT" 10.77.0.3 "$G"
	start gap-n4 n4 python3 "$here/gap.py" serve "$GAP_PORT" 10.77.0.4 "$G"
	all_know ":$GAP_PORT" n3 n4 || return
	for way in "${INNER[@]}"; do
		ask "$way" "10.77.0.$((${way#inner} % 2 + 3))" || return
	done
	for way in "${WEB[@]}"; do
		ask "$way" "$G" || return
	done
}

# The longest silence of these since the mark, all of which flow again.
silence() { # way...
	local way
	for way in "$@"; do
		wait_for 30 way_flows "$way" || return
		jq -r '"\(.udp) \(.tcp) \(.udp_lost)"' "$LAB/answer"
	done >"$LAB/silence"
}

longest() {
	awk '{ for (i = 1; i <= 3; i++) if ($i > most[i]) most[i] = $i }
		END { printf "%d ms by UDP, %d ms by TCP", most[1], most[2] }' "$LAB/silence"
}

# Something happens, OSPF leads as it should, everything goes on.
step() { # what, function that leads, borders, command...
	local what=$1 leads=$2 borders=$3
	shift 3
	ways_mark "${INNER[@]}" "${WEB[@]}"
	check "$what" "$@"
	# shellcheck disable=SC2086
	check "the way is by $borders" leads_soon "$leads" $borders
	check "all connections live" all_live
	if ! silence "${INNER[@]}"; then
		check "nodes are reached again" way_flows "${INNER[0]}"
		return
	fi
	what="$what: silent: nodes $(longest)"
	silence "${WEB[@]}" && figure "$what; global address $(longest)" && return
	check "the global address is reached again" way_flows "${WEB[0]}"
}

cut_nic() { # border, up or down
	ip -n "$(host_ns router)" link set "to-$1" "$2"
}

kills() { # border
	stop "$1" KILL
	! is_alive "$1"
}

# --- the test ----------------------------------------------------------------------------

lab_begin "$@"
frr_need || skip "$frr_lacks"
python3 -c 'import yaml' 2>"$LAB/yaml" || skip "Python has no module yaml (package python3-yaml)"
check "a client and a router" outside_make || lab_end
for id in 1 2; do
	check "n$id is to be a border" border_make n$id $id || lab_end
done
for id in 3 4; do
	check "n$id is to be inside" inner_make n$id $id || lab_end
done
check "four nodes" mesh_up n1:1 n2:2 n3:3 n4:4 || lab_end
check "FRR on them and on the router" routers_up || lab_end
check "both borders lead in and out" leads_soon lead n1 n2 || lab_end
check "shmnetctl neighbors knows who is who" wait_for 10 neighbors_known
check "and says what is in its way" neighbors_fails
check "two nodes serve" serve_all
check "$NUMBER connections each to a node and to the global address" hold_all
check "and some without a pause" ask_all || lab_end

step "n1 is killed" lead n2 kills n1
step "n1 is back" lead "n1 n2" mesh_up n1:1 n2:2 n3:3 n4:4
step "n1's NIC is cut" lead n2 cut_nic n1 down
step "n1's NIC is back" lead "n1 n2" cut_nic n1 up
step "n2 ends" lead n1 ends n2
step "n2 is back" lead "n1 n2" mesh_up n1:1 n2:2 n3:3 n4:4
step "n2 is drained" lead_to_web n1 ctl n2 drain
check "it leads to nodes, as before" leads_soon lead_in n1 n2
step "n2 is not drained any more" lead "n1 n2" ctl n2 undrain
lab_end
