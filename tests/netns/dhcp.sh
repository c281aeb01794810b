#!/bin/bash
# Addresses by DHCP: dnsmasq on one node, the host's clients on the others. A client that
# dies, a node that dies, one that ends; no client at all.
# timeout: 180
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

command -v dnsmasq >/dev/null || skip "dnsmasq is not installed"
lab_become_root "$@"
# What clients write about name servers is not for this machine.
if [ -z "${DHCP_OWN_MOUNTS-}" ]; then
	exec env DHCP_OWN_MOUNTS=1 unshare -m "$0" "$@"
fi

NETWORKS=("lan0 shm0 1500 dhcp fd77::%/64")

# A node whose PATH has this client and no other.
node_with() { # node, id, client
	local dir=$LAB/path-$1
	mkdir -p "$dir"
	[ -z "$3" ] || ln -sf "$(command -v "$3")" "$dir/$3"
	[ -n "${lab_hosts[$1]-}" ] || host_add "$1" || return 1
	[ -f "$LAB/$1.yaml" ] || node_config "$1" "$2" >"$LAB/$1.yaml"
	start "$1" "$(node_in "$1")" env PATH="$dir:/usr/bin:/bin" "$(program shmnet-node)" \
		--config "$LAB/$1.yaml"
	wait_for "$NODE_DEADLINE" node_answers_or_died "$1"
	node_answers "$1"
}

address_of() { # node: the one that the kernel has
	ip -n "$(host_ns "$1")" -4 -j addr show shm0 |
		jq -r '[.[].addr_info[]? | "\(.local)/\(.prefixlen)"] | join(" ")'
}

has_lease() { # node
	[[ $(address_of "$1") == 10.77.0.1[0-9][0-9]/24 ]]
}

# The client that the node runs; `ip netns exec` and env have become the node.
client_of() { # node, program
	local pid
	for pid in $(pgrep -P "$(pid_of "$1")"); do
		case $(tr '\0' ' ' <"/proc/$pid/cmdline") in *"$2"*) echo "$pid" && return ;; esac
	done
	return 1
}

other_client() { # node, program, pid
	local now
	now=$(client_of "$1" "$2") && [ "$now" != "$3" ]
}

is_gone() { # pid
	! [ -d "/proc/$1" ]
}

only_stdio() { # pid
	[ -z "$(find "/proc/$1/fd" -type l -lname '*memfd*')" ] || return 1
	readlink "/proc/$1/fd/0" "/proc/$1/fd/1" "/proc/$1/fd/2"
	[ "$(readlink "/proc/$1/fd/0")" = /dev/null ]
}

json_has() { # node, expression
	ctl "$1" status --json >"$LAB/json"
	jq -e "$2" "$LAB/json" >/dev/null && return
	cat "$LAB/json"
	return 1
}

words_have() { # node, text
	ctl "$1" networks | tee "$LAB/words"
	grep -qF "$2" "$LAB/words"
}

ends_with() { # status, node
	finish "$2" 5
	[ $? -eq "$1" ]
}

log_has() { # node, pattern
	grep -E "$2" "$LAB/$1.log" && return
	cat "$LAB/$1.log"
	return 1
}

# One client through its whole life.
try_client() { # node, id, program, package
	local node=$1 id=$2 client=$3 address pid
	command -v "$client" >/dev/null || {
		echo "SKIP: $client is not installed (package $4)"
		return
	}
	check "$client: a node starts" node_with "$node" "$id" "$client" || return
	check "$client: it gets an address" wait_for 20 has_lease "$node" || {
		tail -n 20 "$LAB/$node.log"
		return
	}
	address=$(address_of "$node")
	check "$client: the server answers a ping" pings "$node" 10.77.0.1
	check "$client: status shows $address" wait_for 5 json_has "$node" \
		".networks[0].dhcp and .networks[0].addresses[0] == \"$address\"
		 and .state == \"ready\""
	check "$client: and in words" words_have "$node" "$address (dhcp) fd77::$id/64"
	check "$client: the log has its words" log_has "$node" "lan0: $client"
	pid=$(client_of "$node" "$client")
	check "$client: it has no descriptor of the node's" only_stdio "$pid"

	kill -KILL "$pid"
	check "$client: killed, it comes back" wait_for 10 other_client "$node" "$client" "$pid"
	check "$client: with the address" wait_for 20 has_lease "$node"
	check "$client: the same" test "$(address_of "$node")" = "$address"

	pid=$(client_of "$node" "$client")
	stop "$node" KILL
	check "$client: it goes with a node that is killed" wait_for 5 is_gone "$pid"
	check "$client: the address stays" test "$(address_of "$node")" = "$address"
	check "$client: the node comes back" node_with "$node" "$id" "$client"
	check "$client: with a client" wait_for 10 client_of "$node" "$client"
	check "$client: and the address" wait_for 20 has_lease "$node"
	check "$client: the same again" test "$(address_of "$node")" = "$address"
	check "$client: the server answers again" wait_for 10 pings "$node" 10.77.0.1

	pid=$(client_of "$node" "$client")
	check "$client: the node ends well" ends "$node"
	check "$client: the client is gone with it" is_gone "$pid"
	check "$client: the address is released" wait_for 5 not grep -qF " ${address%/*} " \
		"$LAB/dnsmasq.leases"
	check "$client: no file is left" bash -c "! ls $LAB/run | grep '^$node\.'"
}

# Whichever it is, by its path and arguments.
try_configured() {
	local client
	client=$(command -v udhcpc) || return
	NODE_KEYS="dhcp_client: [$client, -f, -R, -t, 3, -T, 1, -A, 1, -i, \"%i\"]"
	check "a client of the config runs" node_with n4 4 ""
	check "with its arguments" wait_for 5 client_of n4 "-A 1 -i shm0"
	check "and gets an address" wait_for 20 has_lease n4
	check "its node ends well" ends n4
	NODE_KEYS="dhcp_client: [/nonexistent/client, \"%i\"]"
	check "a client that is not there is an error" not node_with n6 6 udhcpc
	check "with its path" log_has n6 \
		'ERROR lan0: .*node.dhcp_client names /nonexistent/client, which is no program'
	NODE_KEYS=''
}

# What a killed node leaves is found by its config.
try_cleanup() {
	command -v dhclient >/dev/null || return
	check "a node has an address again" node_with n2 2 dhclient
	wait_for 20 has_lease n2
	check "and a lease file" test -s "$LAB/run/n2.dhcp-shm0.leases"
	stop n2 KILL
	check "--cleanup of a killed one works" in_ns n2 "$(program shmnet-node)" --cleanup \
		--config "$LAB/n2.yaml"
	check "and removes that, too" not test -e "$LAB/run/n2.dhcp-shm0.leases"
}

lab_begin "$@"
touch "$LAB/resolv.conf"
mount --bind "$LAB/resolv.conf" /etc/resolv.conf || skip "no mount over resolv.conf"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
node_up n1 1 || lab_end
touch "$LAB/dnsmasq.leases"
start dnsmasq n1 dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root \
	--interface=shm0 --bind-interfaces --log-facility=- --pid-file="$LAB/dnsmasq.pid" \
	--dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,1h --dhcp-authoritative \
	--dhcp-leasefile="$LAB/dnsmasq.leases" --dhcp-option=3 --dhcp-option=6
check "a DHCP server runs on n1" wait_for 5 listens n1 u 67

NETWORKS=("lan0 shm0 1500 dhcp fd77::%/64")
try_client n2 2 dhclient isc-dhcp-client
try_client n3 3 udhcpc udhcpc
try_configured
try_cleanup

check "without a client a node does not start" not node_with n5 5 ""
check "its exit status is 1" ends_with 1 n5
check "it says what to install" log_has n5 \
	'ERROR lan0: .*no DHCP client on PATH.*isc-dhcp-client or udhcpc'
check "and has made nothing" not ip -n "$(host_ns n5)" link show shm0
check "--check finds nothing wrong" "$(program shmnet-node)" --check --config "$LAB/n5.yaml"
lab_end
