#!/bin/bash
# What a border shows the program that speaks OSPF for its host: a kernel route per global
# address, for as long as packets from outside may come to it there; and what the other
# nodes know of it. No such program runs here; that is ospf.sh's.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

G=10.99.0.1
G6=fd99::1
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("web shmg0 $G $G6")
GLOBAL_KEYS="announce: routing"

# Each NIC leads to a host "outside", where its other end is named after its host.
nic_make() { # host, interface, MTU (1500)
	ip -n "$(host_ns "$1")" link add "$2" mtu "${3:-1500}" type veth peer name "$1-$2" \
		netns "$(host_ns outside)" &&
		ip -n "$(host_ns "$1")" link set "$2" up &&
		ip -n "$(host_ns outside)" link set "$1-$2" up
}

nic() { # host, words of ip link set...
	ip -n "$(host_ns "$1")" link set "${@:2}"
}

# The network's config, with these NICs.
routing_config() { # node, id, nics
	{
		node_config "$1" "$2"
		echo "routing: {nics: [$3]}"
	} >"$LAB/$1.yaml"
}

routes_of() { # host: the addresses that it leads to, by routes of shmnet's
	{
		ip -n "$(host_ns "$1")" -4 route show table main proto 83
		ip -n "$(host_ns "$1")" -6 route show table main proto 83
	} >"$LAB/routes"
	sed 's/ .*//' "$LAB/routes" | xargs
}

leads_to() { # host, addresses
	[ "$(routes_of "$1")" = "$2" ] && return
	cat "$LAB/routes"
	return 1
}

announces() { # host: both addresses, by its port
	leads_to "$1" "$G $G6" && ! grep -v "dev shmg0" "$LAB/routes"
}

withdraws() { # host
	leads_to "$1" ""
}

# Exit status, and a reason; "": none at all.
status_says() { # node, exit status, pattern
	local status
	ctl "$1" status --json >"$LAB/said"
	status=$?
	jq -c '[.state, .reasons]' "$LAB/said"
	[ "$status" -eq "$2" ] && jq -e --arg pattern "$3" \
		'if $pattern == "" then .reasons == [] else .reasons | any(test($pattern)) end' \
		"$LAB/said" >"$LAB/true"
}

# A border as a node's topology has it: "nic0:1500:true web:10.99.0.1,fd99::1".
border_is() { # node, border, words
	ctl "$1" topology --json | jq -r --arg border "$2" '.borders[]
		| select(.node == $border)
		| [(.nics[] | "\(.name):\(.mtu):\(.up)"),
		   (.announces[] | "\(.network):\(.addresses | join(","))")] | join(" ")' \
		>"$LAB/border"
	cat "$LAB/border"
	[ "$(cat "$LAB/border")" = "$3" ]
}

borders_are() { # node, names
	[ "$(ctl "$1" topology --json | jq -r '[.borders[].node] | join(" ")')" = "$2" ]
}

text_says() { # node, format, words
	ctl "$1" topology --format "$2" | tee "$LAB/text" | grep -qF -- "$3" && return
	cat "$LAB/text"
	return 1
}

# Events of the border as the node keeps them: "announcing withdrawn ...".
border_events() { # node, border
	ctl "$1" events --json | jq -r --arg name "$2" '[.events[]
		| select(.name == $name and (.state == "announcing" or .state == "withdrawn"))
		| .state] | join(" ")'
}

last_event_is() { # node, border, state
	local states
	states=$(border_events "$1" "$2")
	echo "$states"
	[ "${states##* }" = "$3" ]
}

reloads() { # node, exit status, key
	local status
	ctl "$1" reload >"$LAB/reloaded"
	status=$?
	cat "$LAB/reloaded"
	[ "$status" -eq "$2" ] && grep -q "$3" "$LAB/reloaded"
}

# What `ip monitor` has heard of the addresses that went.
heard_nothing() { # name
	! grep "Deleted.*\($G\|$G6\)" "$LAB/$1.log"
}

lab_begin "$@"
binary=$(program shmnet-node) || exit 1
host_add outside
for host in n1 n2 n3; do
	host_add "$host"
done
nic_make n1 nic0 && nic_make n2 nic0
routing_config n1 1 nic0
routing_config n2 2 "nic0, nic1"
routing_config n3 3 ""
check "two borders and a node inside" mesh_up n1:1 n2:2 n3:3 || lab_end

check "n1 announces the addresses" wait_for 5 announces n1
check "n2 does" wait_for 5 announces n2
check "n3 does not" withdraws n3
check "n1 is ready" wait_for 5 status_says n1 0 ""
check "n2 lacks a NIC" status_says n2 4 'without its NIC: there is no interface nic1; make it'
check "n1 keeps an event of it" last_event_is n1 n1 announcing
check "its own programs reach the address" in_ns n1 ping -q -c 1 -W 2 $G

# --- what the others know of it --------------------------------------------------------

check "n3 knows n1 as a border" wait_for 5 border_is n3 n1 "nic0:1500:true web:$G,$G6"
check "and n2, whose second NIC is missing" \
	wait_for 5 border_is n3 n2 "nic0:1500:true nic1:0:false web:$G,$G6"
check "and no other" borders_are n3 "n1 n2"
check "n1 knows itself, too" borders_are n1 "n1 n2"
check "which the tree shows" text_says n3 tree "border n1: nic0 up mtu 1500; announces web $G $G6"
check "and the graph" text_says n3 dot '(up; border: nic0 up, announces web)'
check "n3 keeps an event of it" last_event_is n3 n1 announcing
check "and is ready" status_says n3 0 ""
nic n2 nic0 mtu 1400
check "n2's NIC has another MTU than n1's" wait_for 5 status_says n3 4 \
	"n1's nic0 has MTU 1500, n2's nic0 1400: .* give both the same MTU"
check "n2 says so, too" status_says n2 4 "n2's nic0 has MTU 1400, n1's nic0 1500"
nic n2 nic0 mtu 1500
check "they are the same" wait_for 5 status_says n3 0 ""

# --- drained, paused -----------------------------------------------------------------

check "n1 is drained" ctl n1 drain
check "it withdraws them" wait_for 5 withdraws n1
check "which is an event" last_event_is n1 n1 withdrawn
check "of n3's, too" wait_for 5 last_event_is n3 n1 withdrawn
check "n2 announces them: all is well" status_says n3 0 ""
nic n2 nic0 down
check "without a NIC nobody does, and n3 says why" wait_for 5 status_says n3 4 \
	"^network web: $G, $G6 is announced by nobody: n1 is drained, n2 has no NIC with carrier"
check "so do n1" status_says n1 4 "by nobody: n1 is drained, n2 has no NIC with carrier"
check "and n2" status_says n2 4 "by nobody: n2 has no NIC with carrier, n1 is drained"
nic n2 nic0 up
check "n2 announces them" wait_for 5 status_says n3 0 ""
check "and is back" ctl n1 undrain
check "it announces them" wait_for 5 announces n1
check "n1 is drained by n3" ctl n3 drain n1
check "it withdraws them" wait_for 5 withdraws n1
check "and is back" ctl n3 undrain n1
check "it announces them" wait_for 5 announces n1
check "n1 pauses the network" ctl n1 pause web
check "it withdraws them" withdraws n1
check "which is no fault" status_says n1 0 ""
check "n2 is drained: nobody is left" ctl n2 drain
check "n3 says why" wait_for 5 status_says n3 4 "by nobody: n1 has paused it, n2 is drained"
check "n2 is back" ctl n2 undrain
check "n1 resumes it" ctl n1 resume web
check "it announces them" announces n1
check "n1 pauses the local network" ctl n1 pause lan0
check "it announces them" announces n1
check "n1 resumes all" ctl n1 resume
check "n2 went on" announces n2

# --- NICs ----------------------------------------------------------------------------

nic n1 nic0 down
check "n1's NIC is down" wait_for 5 withdraws n1
check "n1 says so" status_says n1 4 'nic0 is down; ip link set nic0 up'
nic n1 nic0 up
check "it is up" wait_for 5 announces n1
ip -n "$(host_ns outside)" link set n1-nic0 down
check "its cable is cut" wait_for 5 withdraws n1
check "n1 says so" status_says n1 4 'nic0 has no carrier'
ip -n "$(host_ns outside)" link set n1-nic0 up
check "it is whole" wait_for 5 announces n1
nic_make n2 nic1
check "n2 has its second NIC" wait_for 5 status_says n2 0 ""
nic n2 nic0 down
check "one is down, the other leads out" status_says n2 4 'nic0 is down'
check "n2 announces the addresses" announces n2
nic n2 nic1 down && nic n2 nic1 name other
check "so is the other, under another name" wait_for 5 withdraws n2
check "n2 misses it" status_says n2 4 'there is no interface nic1'
nic n2 other name nic1 && nic n2 nic1 up
check "it has its name again" wait_for 5 announces n2
ip -n "$(host_ns n2)" link delete nic1
check "it is removed" wait_for 5 withdraws n2
nic n2 nic0 up
check "the first one is up" wait_for 5 announces n2

# --- what others change ----------------------------------------------------------------

ip -n "$(host_ns n1)" route delete $G
ip -n "$(host_ns n1)" -6 route delete $G6 proto 83
nic n2 shmg0 down
check "n2's TAP is down: it withdraws them" wait_for 5 withdraws n2
nic n2 shmg0 up
check "it is up: it announces them" wait_for 5 announces n2
routing_config n2 2 nic0
check "a NIC less" reloads n2 0 "routing.nics.*done"
check "n2 announces them" announces n2
check "and is ready" wait_for 5 status_says n2 0 ""
routing_config n2 2 ""
check "none" reloads n2 0 "routing.nics.*done"
check "n2 withdraws them" withdraws n2
routing_config n2 2 nic0
sed -i 's/announce: routing/weight: 1/' "$LAB/n2.yaml"
check "a NIC, and none of the network's" reloads n2 0 "web.announce.*done"
check "n2 announces nothing" withdraws n2
routing_config n2 2 nic0
check "the network's again" reloads n2 0 "web.announce.*done"
check "n2 announces them" wait_for 5 announces n2
check "n1's routes, which somebody deleted, are back" wait_for 20 announces n1

# --- another process, a death, an end ----------------------------------------------------

start monitor n1 ip monitor route
old=${lab_pids[n1]}
start n1 n1 "$binary" --takeover --config "$LAB/n1.yaml"
lab_pids[older]=$old
check "a newer process takes n1 over" finish older 20
check "it sees the others" wait_for 10 node_sees n1 2
check "it announces them" announces n1
check "which were there all the time" heard_nothing monitor
stop monitor
check "n1 is drained" ctl n1 drain
check "it withdraws them" wait_for 5 withdraws n1
check "and is back" ctl n1 undrain
check "it announces them" wait_for 5 announces n1
stop n1 KILL
check "n1 is killed: what it left has no carrier" not has_carrier n1 shmg0
check "n3 knows no such border" wait_for 5 borders_are n3 n2
nic n1 nic0 down
check "n1 starts without its NIC" mesh_up n1:1 n2:2 n3:3
check "what the killed one announced is withdrawn" wait_for 5 withdraws n1
nic n1 nic0 up
check "the NIC is up" wait_for 5 announces n1
stop n1 KILL
check "n1 is killed, and cleaned up after" in_ns n1 "$binary" --config "$LAB/n1.yaml" --cleanup
check "nothing is left of it" withdraws n1
check "n2 ends when told to" ends n2
check "nothing is left of it" withdraws n2
check "there is no border" wait_for 5 status_says n3 4 \
	"by nobody: no node that is up has 'nics' in its section 'routing'"
check "n3 ends when told to" ends n3

# --- a node of the version before ---------------------------------------------------------

start n3 n3 "$(program shmnet-node-prior)" --config "$LAB/n3.yaml"
check "n3 speaks the version before" mesh_up n1:1 n3:3
check "n1, a border, says so" wait_for 5 grep -q "n3: up: .*, wire version 5" "$LAB/n1.log"
check "n1 announces the addresses" wait_for 5 announces n1
check "of which n3 hears nothing" borders_are n3 ""
check "and makes nothing" status_says n3 0 ""
check "they reach each other" pings n3 10.77.0.1
check "n1 is drained" ctl n1 drain
check "whether n3 announces them n1 can't know" wait_for 5 status_says n1 0 ""
check "n3 ends when told to" ends n3
check "n1 does" ends n1
lab_end
