#!/bin/bash
# Members that bind to the address and connect to one port outside: each has ports of its
# own, so that no two connections are taken for one.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"

NUMBER=$((1000 / SLOW))

port_range() { # host
	in_ns "$1" sysctl -n net.ipv4.ip_local_port_range | xargs
}

ports_differ() { # holder...
	local holder
	for holder in "$@"; do
		hold "$holder" ports && jq '.ports[]' "$LAB/answer" || return
	done >"$LAB/ports"
	[ "$(sort -u "$LAB/ports" | wc -l)" -eq $(($# * NUMBER)) ]
}

# $1: the address; then where to.
try_family() { # ours, the client's
	local node
	for node in n1 n2; do
		hold_start "out-$node-$1" $node "$2" --from "$1"
		check "$node, as $1, has $NUMBER connections to one port outside" \
			hold_opens "out-$node-$1" "$NUMBER"
	done
	check "no port is used twice" ports_differ "out-n1-$1" "out-n2-$1"
	for node in n1 n2; do
		check "all of those of $node live" hold_lives "out-$node-$1"
	done
}

lab_begin "$@"
check "a client and a router" site_make || lab_end
site_host n1
before=$(port_range n1)
check "two members" members_up n1:1 n2:2 || lab_end
check "n1 is the border" borders_are n1
figure "n1 has ports $(port_range n1 | tr ' ' -), n2 $(port_range n2 | tr ' ' -)"
check "their ranges of ports differ" test "$(port_range n1)" != "$(port_range n2)"
start serve-client client python3 "$global_here/global_conns.py" \
	serve client "$HOLD_PORT" "$CLIENT" "$CLIENT6"
check "a server outside" wait_for 5 log_has serve-client ready
try_family "$G" "$CLIENT"
try_family "$G6" "$CLIENT6"
check "a member ends" ends n1
check "and leaves the range as it was" test "$(port_range n1)" = "$before"
lab_end
