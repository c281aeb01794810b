#!/bin/bash
# A node loads its config again: what changed is done or named, what did not change is
# not touched, and a bad file leaves everything as it was.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

command -v python3 >/dev/null || skip "python3 is not installed"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("web shmg0 10.99.0.1")

# Changes n1's config with sed and has it loaded.
reload() { # sed's expression...
	local expression arguments=()
	for expression in "$@"; do
		arguments+=(-e "$expression")
	done
	[ $# -eq 0 ] || sed -i "${arguments[@]}" "$LAB/n1.yaml"
	ctl n1 reload
}

# The reload's output and exit status are these.
reloads() { # status, output's lines joined with '|', sed's expression...
	local want=$1 text=$2 status
	shift 2
	reload "$@" >"$LAB/reload" 2>"$LAB/reload.errors"
	status=$?
	cat "$LAB/reload" "$LAB/reload.errors"
	[ "$status" -eq "$want" ] && [ "$(paste -sd '|' "$LAB/reload")" = "$text" ]
}

log_length() { # node
	wc -l <"$LAB/$1.log"
}

logged_since() { # node, line, pattern
	tail -n "+$(($2 + 1))" "$LAB/$1.log" | grep -E "$3"
}

has_address() { # host, interface, address
	ip -n "$(host_ns "$1")" -o addr show dev "$2" | grep -qF " $3"
}

addresses_told() { # "10.77.0.1/24 ..." of lan0
	ctl n1 status --json >"$LAB/told"
	jq -e --arg want "$1" '(.networks[0].addresses | join(" ")) == $want' \
		"$LAB/told" >/dev/null || ! jq -c .networks "$LAB/told"
}

reloads_gone() {
	reloads 2 "" 2>/dev/null
	grep -q "$LAB/n1.yaml: error: cannot read the config file: No such file" "$LAB/reload.errors" ||
		! cat "$LAB/reload.errors"
}

jq_events() { # expression
	ctl n1 events --json | jq -e "[.events[] | select($1)] | length > 0" >/dev/null
}

# TAPs, addresses, links and counters, as far as a reload must not touch them.
state_of_n1() {
	ip -n "$(host_ns n1)" -o addr show | sed -E 's/(tentative )?(.)       valid_lft.*//'
	ctl n1 status --json | jq -S '.networks, .nodes, .reasons'
	ctl n1 topology --json | jq -S '.links'
}

is_as_before() {
	state_of_n1 | diff "$LAB/before" -
}

has_interface() { # host, interface
	ip -n "$(host_ns "$1")" link show dev "$2"
}

has_links() { # node, networks on which it has one that is up
	ctl "$1" topology --json >"$LAB/links"
	jq -e --arg n "$1" --arg want "$2" '[.links[] | select(.from == $n and .state == "up")
		| .network] | sort | join(" ") == $want' "$LAB/links" >/dev/null
}

has_cast_ring() { # node, network
	ctl "$1" stats --json | jq -e --arg n "$2" '[.casts[] | select(.network == $n)] | length > 0' >/dev/null
}

# What only a new link or ring would change.
links_of_lan0() { # node
	ctl "$1" stats --json | jq -c '[.links[] | select(.network == "lan0")
		| {peer, ring_size}], [.casts[] | select(.network == "lan0") | .id]'
	ctl "$1" status --json | jq -c '.nodes'
}

lan0_is_as_before() {
	links_of_lan0 n1 | diff "$LAB/lan0.before" -
}

is_quietly_as_before() {
	is_as_before >/dev/null
}

weight_seen_by_n2() { # weight
	ctl n2 status --json |
		jq -e --argjson w "$1" '[.networks[1].members[] | select(.name == "n1").weight] == [$w]' >/dev/null
}

lab_begin "$@"
check "two nodes see each other" mesh_up n1:1 n2:2 || lab_end
check "a file that is as it was changes nothing" reloads 0 "nothing has changed in $LAB/n1.yaml"
check "which is no event" not jq_events '.state == "reloaded"'
state_of_n1 >"$LAB/before"

# --- a bad file ----------------------------------------------------------------

cp "$LAB/n1.yaml" "$LAB/good.yaml"
lines=$(log_length n1)
check "a bad file is refused" reloads 2 "" 's/mtu: 1500/mtu: 15/' 's/id: 1,/id: 1, weight: 2,/'
check "all its errors are told, as --check tells them" \
	cmp <("$(program shmnet-node)" --config "$LAB/n1.yaml" --check 2>&1) \
	<(grep -v '^shmnetctl:' "$LAB/reload.errors")
check "there are two" [ "$(grep -c ": error: " "$LAB/reload.errors")" = 2 ]
check "the log has them" logged_since n1 "$lines" "reload: $LAB/n1.yaml:.*mtu.*out of range"
check "and that nothing was changed" logged_since n1 "$lines" 'nothing was changed'
check "nothing was" is_as_before
lines=$(log_length n1)
kill -HUP "$(pid_of n1)"
check "by SIGHUP the log has them, too" wait_for 5 logged_since n1 "$lines" 'nothing was changed'
check "the node goes on" node_answers n1
rm "$LAB/n1.yaml"
check "a file that is gone is refused" reloads_gone
check "nothing was changed then either" is_as_before
cp "$LAB/good.yaml" "$LAB/n1.yaml"

# --- what is done at once --------------------------------------------------------

check "an address more is done" reloads 0 "networks.lan0.addresses: done" \
	's|"10.77.0.1/24"|"10.77.0.1/24", "10.77.0.11/24"|'
check "the interface has it" has_address n1 shm0 10.77.0.11/24
check "it is told" addresses_told "10.77.0.1/24 10.77.0.11/24 fd77::1/64"
check "n2 reaches it" pings n2 10.77.0.11
check "an address that goes is done" reloads 0 "networks.lan0.addresses: done" \
	's|"10.77.0.1/24", ||'
check "the interface has it no more" not has_address n1 shm0 10.77.0.1/24
check "the other one stays" pings n2 10.77.0.11
ip -n "$(host_ns n1)" addr add 10.77.9.1/24 dev lo
check "one that another interface has fails in words" reloads 1 \
	"networks.lan0.addresses: failed: lan0: address 10.77.9.1 is on interface lo of this host already; remove it there ('ip addr del') or give the network another one" \
	's|"10.77.0.11/24"|"10.77.0.11/24", "10.77.9.1/24"|'
check "the old one stays" pings n2 10.77.0.11
check "and is what is told" addresses_told "10.77.0.11/24 fd77::1/64"
cp "$LAB/good.yaml" "$LAB/n1.yaml"
ip -n "$(host_ns n1)" addr del 10.77.9.1/24 dev lo
check "all is set back" reloads 0 "networks.lan0.addresses: done"
check "it is as it was" is_as_before
check "three addresses" reloads 0 "networks.lan0.addresses: done" \
	's|"10.77.0.1/24"|"10.77.0.1/24", "10.77.0.11/24", "10.77.0.12/24"|'
in_ns n1 sysctl -qw net.ipv4.conf.{all,shm0}.promote_secondaries=0
start monitor n1 ip -4 -o monitor address
check "the first one may go to another network" reloads 0 \
	"networks.lan0.addresses: done|networks.lan5: done" 's|"10.77.0.1/24", ||' \
	'/^networks:/a\  - {name: lan5, kind: local, tap: shm5, addresses: [10.77.0.1/24]}'
check "it is there" has_address n1 shm5 10.77.0.1/24
check "that was seen" wait_for 5 grep "Deleted.*10.77.0.1/24" "$LAB/monitor.log"
check "the others were never gone" not grep "Deleted.*10.77.0.1[12]/24" "$LAB/monitor.log"
stop monitor
cp "$LAB/good.yaml" "$LAB/n1.yaml"
check "all is set back" reloads 0 "networks.lan5: done|networks.lan0.addresses: done"
check "it is as it was" is_as_before

check "a weight and the node's own keys are done" reloads 0 \
	"node.spin_us: done|node.liveness.misses: done|networks.web.weight: done" \
	's/id: 1,/id: 1, spin_us: 0, liveness: {misses: 5},/' 's/kind: global,/kind: global, weight: 7,/'
check "n2 knows the weight" wait_for 5 weight_seen_by_n2 7
cp "$LAB/good.yaml" "$LAB/n1.yaml"
lines=$(log_length n1)
kill -HUP "$(pid_of n1)"
check "SIGHUP sets it back" wait_for 5 weight_seen_by_n2 1
check "the log names what it did" logged_since n1 "$lines" 'reload: networks.web.weight: done'
check "so do the events" jq_events '.state == "reloaded" and (.cause | test("3 done"))'

announces_on() { # interface, value of its arp_announce
	[ "$(in_ns n1 cat "/proc/sys/net/ipv4/conf/$1/arp_announce")" = "$2" ]
}

ip -n "$(host_ns n1)" link add nic0 type bridge
ip -n "$(host_ns n1)" link add nic1 type bridge
check "an interface to announce on" reloads 0 "networks.web.announce: done" \
	's/kind: global,/kind: global, announce: nic0,/'
check "has its setting" announces_on nic0 2
check "another one" reloads 0 "networks.web.announce: done" 's/announce: nic0/announce: nic1/'
check "has it now" announces_on nic1 2
check "and the first one not" announces_on nic0 0
cp "$LAB/good.yaml" "$LAB/n1.yaml"
check "none" reloads 0 "networks.web.announce: done"
check "no interface has it" announces_on nic1 0
ip -n "$(host_ns n1)" link delete nic0
ip -n "$(host_ns n1)" link delete nic1

# --- what needs a restart -------------------------------------------------------

check "name, id and MTU need a restart" reloads 4 \
	"node.name: needs a restart|node.id: needs a restart|networks.lan0.mtu: needs a restart|networks.lan0.cost: done" \
	's/name: n1, id: 1,/name: n9, id: 9,/' 's/mtu: 1500/mtu: 1600/'
check "they are as they were" is_as_before
check "what can be done is done beside them" reloads 4 \
	"node.name: needs a restart|node.id: needs a restart|networks.lan0.mtu: needs a restart|networks.web.weight: done" \
	's/kind: global,/kind: global, weight: 0,/'
check "and n2 knows it" wait_for 5 weight_seen_by_n2 0
cp "$LAB/good.yaml" "$LAB/n1.yaml"
reload >/dev/null

# --- networks that come and go ----------------------------------------------------

LAN1='  - {name: lan1, kind: local, tap: shm1, mtu: 9000, addresses: [10.78.0.%\/24]}'

check "a network more is done" reloads 0 "networks.lan1: done" "/^networks:/a\\${LAN1//%/1}"
check "it has a TAP and an address" has_address n1 shm1 10.78.0.1/24
check "and no carrier, alone" not has_carrier n1 shm1
sed -i "/^networks:/a\\${LAN1//%/2}" "$LAB/n2.yaml"
check "on n2, too, it is done" ctl n2 reload
check "the two are linked on it" wait_for 5 has_links n1 "lan0 lan1 web"
check "n2 is reached by it" wait_for 5 pings n1 10.78.0.2
check "with jumbo frames" pings n2 -M "do" -s 8972 10.78.0.1
check "and has a cast ring" wait_for 5 has_cast_ring n1 lan1

in_ns n1 sysctl -qw net.ipv6.conf.shm1.disable_ipv6=1
reload 's|\[10.78.0.1/24\]|[10.78.0.5/24, "fd78::1/64"]|' >"$LAB/reload" 2>&1
check "addresses of which one fails" grep -F "networks.lan1.addresses: failed: lan1: can't set" "$LAB/reload"
check "leave none of the new ones" not has_address n1 shm1 10.78.0.5/24
check "and all of the old ones" has_address n1 shm1 10.78.0.1/24
in_ns n1 sysctl -qw net.ipv6.conf.shm1.disable_ipv6=0
sed -i 's|\[10.78.0.5/24, "fd78::1/64"\]|[10.78.0.1/24]|' "$LAB/n1.yaml"

# A stream and numbered frames on lan0, while lan1 comes and goes.
NUMBERS=8000
check "a server runs" iperf_serve n2
links_of_lan0 n1 >"$LAB/lan0.before"
start stream n1 iperf3 -c 10.77.0.2 -t 1000 -J
count_start 1000 each n1 n2
for round in 1 2 3 4 5; do
	sed -i '/name: lan1/d' "$LAB/n1.yaml"
	check "$round: lan1 goes" ctl n1 reload
	check "$round: n2 has no link on it" wait_for 5 has_links n2 "lan0 web"
	sed -i "/^networks:/a\\${LAN1//%/1}" "$LAB/n1.yaml"
	check "$round: lan1 comes" ctl n1 reload
	check "$round: n2 has" wait_for 5 has_links n2 "lan0 lan1 web"
	check "$round: frames pass" wait_for 5 pings n1 10.78.0.2
	check "$round: casts go by a ring" wait_for 5 has_cast_ring n1 lan1
done
sed -i '/name: lan1/d' "$LAB/n1.yaml"
ctl n1 reload >/dev/null
sed -i "/^networks:/a\\${LAN1//%/1}" "$LAB/n1.yaml"
reloads_at_once() {
	local pids=() i
	for i in 1 2 3 4 5 6; do
		ctl n1 reload >"$LAB/once-$i" 2>&1 &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || return
	done
	cat "$LAB"/once-*
	[ "$(grep -l 'lan1: done' "$LAB"/once-* | wc -l)" -eq 1 ] &&
		[ "$(grep -l 'nothing has changed' "$LAB"/once-* | wc -l)" -eq 5 ]
}

check "of six reloads at once one finds a change" reloads_at_once
check "and the networks are there" wait_for 5 has_links n2 "lan0 lan1 web"
check "each numbered frame on lan0 came once" counts_take n1 n2
check "none was lost, none came twice" each_once
check "the stream goes on" is_alive stream
stop stream INT
check "lan0's links are those of before" lan0_is_as_before
check "peers were never down" not jq_events '.subject == "node" and .state == "down"'
sed -i '/name: lan1/d' "$LAB/n1.yaml" "$LAB/n2.yaml"
check "lan1 goes on both" eval "ctl n1 reload && ctl n2 reload"
check "its TAPs are gone" not has_interface n1 shm1
check "all is as it was" wait_for 5 is_quietly_as_before
check "every frame was delivered or counted" conserved n1 n2
lab_end
