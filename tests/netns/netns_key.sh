#!/bin/bash
# Two nodes in one host, each with its TAPs in a namespace of its own by `node.netns`:
# that they are there and nowhere else, with all that the node does with them, and who
# was there before, is killed, or loses its namespace.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

[ "$FABRIC" = shm ] || skip "this is about namespaces, and the fabric plays no part"
NODES_IN=h
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000 10.78.0.%/24")

net_of() { # pid: its network namespace
	readlink "/proc/$1/ns/net"
}

net_of_host() { # host
	in_ns "$1" readlink /proc/self/ns/net
}

threads_are_in() { # node, host
	local task want
	want=$(net_of_host "$2")
	for task in "/proc/$(pid_of "$1")/task/"*; do
		[ "$(readlink "$task/ns/net")" = "$want" ] || return
	done
}

interfaces_are() { # host, name...
	local host=$1
	shift
	[ "$(ip -n "$(host_ns "$host")" -j link | jq -r '[.[].ifname | select(test("^shm"))] | join(" ")')" = "$*" ]
}

no_addresses() { # host
	! ip -n "$(host_ns "$1")" -o addr show | grep -v ': lo '
}

ifindex() { # host, interface
	ip -n "$(host_ns "$1")" -j link show "$2" | jq '.[0].ifindex'
}

same_interface() { # host, interface, index
	[ "$(ifindex "$1" "$2")" -eq "$3" ]
}

status_has() { # node, jq expression
	ctl "$1" status --json >"$LAB/json"
	jq -e "$2" "$LAB/json" && return
	cat "$LAB/json"
	return 1
}

cleanup_of() { # node
	in_ns h "$(program shmnet-node)" --cleanup --config "$LAB/$1.yaml" >"$LAB/out" 2>&1
	local status=$?
	cat "$LAB/out"
	return "$status"
}

refused() { # words, sed expression on the config of n1
	sed "$2" "$LAB/n1.yaml" >"$LAB/case.yaml"
	in_ns h "$(program shmnet-node)" --config "$LAB/case.yaml" >"$LAB/out" 2>&1
	local status=$?
	cat "$LAB/out"
	[ "$status" -eq 1 ] && grep -qE "$1" "$LAB/out"
}

lab_begin "$@"
host_add n1 && host_add n2
baseline_take empty

# --- together ------------------------------------------------------------------------

check "two nodes of one host see each other" mesh_up n1:1 n2:2 || lab_end
check "the host has none of their interfaces" interfaces_are h
check "nor an address" no_addresses h
for host in n1 n2; do
	check "both are in $host" interfaces_are $host shm0 shm1
	check "all threads of the node are in the host" threads_are_in $host h
	check "status names the namespace of $host" status_has $host \
		".netns == \"$(host_ns $host)\" and .state == \"ready\""
done
check "n1 reaches n2" pings n1 10.77.0.2
check "by IPv6, too" wait_for 5 pings n1 -6 fd77::2
check "with long frames on the other network" pings n2 -M "do" -s 8972 10.78.0.1
check "shmnetctl says where" eval "ctl n1 status | grep -qx '  TAPs are in network namespace $(host_ns n1)'"
ip -n "$(host_ns n1)" link set shm1 address 02:00:00:00:00:09
check "a MAC address that is changed there is set back" wait_for 5 eval \
	"ip -n $(host_ns n1) link show shm1 | grep -q $(mac_of lan1 1)"
baseline_take running

# --- killed --------------------------------------------------------------------------

index=$(ifindex n1 shm0)
stop n1 KILL
check "after SIGKILL the interface stays" ip -n "$(host_ns n1)" link show shm0
check "the next start takes it over" node_up n1 1
check "it is the same" same_interface n1 shm0 "$index"
check "they see each other" mesh_is_whole n1 n2
check "and reach each other" pings n2 10.77.0.1
check "all is as it was" baseline_is running
check "a live one is not cleaned up" not cleanup_of n1
stop n1 KILL
check "--cleanup removes what it left" cleanup_of n1
check "and says where" grep -q "removed interface shm1 in namespace $(host_ns n1)," "$LAB/out"
check "it is gone" interfaces_are n1
check "the other one's are not" interfaces_are n2 shm0 shm1

# --- not as it must be ---------------------------------------------------------------

ip -n "$(host_ns n1)" link add shm0 type bridge
check "an interface that is there is told, with the namespace" refused \
	"can't have interface shm0 in namespace $(host_ns n1): shm0 exists and is not a TAP" ''
ip -n "$(host_ns n1)" link delete shm0
ip -n "$(host_ns n1)" addr add 10.77.0.1/32 dev lo
check "so is an address" refused \
	"address 10.77.0.1 is on interface lo in namespace $(host_ns n1) already" ''
ip -n "$(host_ns n1)" addr delete 10.77.0.1/32 dev lo
ip -n "$(host_ns h)" link add shm0 type bridge
check "one of the host's own is in nobody's way" node_up n1 1
ip -n "$(host_ns h)" link delete shm0
check "n1 ends with 0 on SIGTERM" ends n1
check "n2 does" ends n2
check "nothing is left" baseline_is empty

# --- by its path; a DHCP client --------------------------------------------------------

cat >"$LAB/client" <<END
#!/bin/sh
readlink /proc/self/ns/net >"$LAB/client.net"
exec sleep 1000
END
chmod +x "$LAB/client"
start holder n1 sleep 1000
wait_for 5 eval "[ \"\$(net_of $(pid_of holder))\" = '$(net_of_host n1)' ]"
sed -i "s|netns: [^,}]*|netns: /proc/$(pid_of holder)/ns/net, dhcp_client: [$LAB/client, \"%i\"]|
	s|\"10.77.0.1/24\"|dhcp|" "$LAB/n1.yaml"
check "a path does as well as a name" mesh_up n1:1 n2:2
check "both are in n1" interfaces_are n1 shm0 shm1
check "a DHCP client runs" wait_for 5 test -s "$LAB/client.net"
check "where the TAPs are" test "$(cat "$LAB/client.net")" = "$(net_of_host n1)"
check "the node's threads are where they were" threads_are_in n1 h
stop holder
check "a namespace whose name is gone is told" status_has n1 \
	'.state == "degraded" and (.reasons | any(test("^network namespace /proc/[0-9]+/ns/net was deleted or replaced")))'
check "what is in it goes on" pings n1 10.78.0.2
check "n1 ends well" ends n1
check "n2 does" ends n2
check "nothing is left" baseline_is empty

# --- deleted -------------------------------------------------------------------------

rm "$LAB/n1.yaml"
check "two nodes" mesh_up n1:1 n2:2
ip netns delete "$(host_ns n1)"
unset "lab_hosts[n1]"
check "a namespace that is deleted under a node is told" wait_for 5 status_has n1 \
	".reasons | any(test(\"^network namespace $(host_ns n1) was deleted or replaced\"))"
host_add n1
check "one in its place is none" status_has n1 \
	".reasons | any(test(\"^network namespace $(host_ns n1) was deleted or replaced\"))"
check "nothing of the node is in that" interfaces_are n1
check "it ends well" ends n1
check "started again it is in the new one" mesh_up n1:1 n2:2
check "and there is nothing to say" status_has n1 '.reasons == []'
check "and n2 is reached" pings n1 10.77.0.2
stop n1 KILL
ip netns delete "$(host_ns n1)"
unset "lab_hosts[n1]"
check "without it there is no start" refused \
	"ERROR node.netns: there is no network namespace $(host_ns n1): make it with 'ip netns add $(host_ns n1)'" ''
check "--check does not need it" in_ns h "$(program shmnet-node)" --check --config "$LAB/n1.yaml"
check "--cleanup does not, either" cleanup_of n1
check "and says so" grep -q "there is no network namespace $(host_ns n1), nor anything left in it" "$LAB/out"
check "n2 ends well" ends n2
host_add n1
check "nothing is left" baseline_is empty
lab_end
