#!/bin/bash
# What a node with global networks does to its host: all is there while it runs, heals
# what others undo, is as before when it ends, and when it is killed the host is silent
# for the addresses until the next start or --cleanup.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/global.sh
. "$(dirname "$0")/global.sh"

G=10.99.0.1 G6=fd99::1
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("www shmg0 $G $G6" "mail shmg1 10.98.0.1")

node_program() { # host, arguments of shmnet-node
	local host=$1 binary
	shift
	binary=$(program shmnet-node) || return
	in_ns "$host" "$binary" "$@"
}

says() { # host, words, command...
	local host=$1 words=$2
	shift 2
	in_ns "$host" "$@" 2>&1 | grep -F -- "$words"
}

hooked() { # host, interface
	says "$1" "device \"$2\"" nft list table netdev "shmnet/$1/www"
}

route_is() { # host, address, words
	says "$1" "$3" ip route get "$2"
}

# The client's connection is refused, or nobody answers: 1 or 124.
connects() { # address
	in_ns client timeout "$((SLOW)).3" bash -c ": </dev/tcp/$1/7" 2>"$LAB/connect"
}

refused() { # address
	connects "$1"
	[ $? -eq 1 ] && grep -q refused "$LAB/connect"
}

silent() { # address
	connects "$1"
	[ $? -eq 124 ]
}

both_silent() {
	silent "$G" && silent "$G6"
}

# Nobody answers requests of ARP for the address on the client's link.
no_arp() {
	in_ns client ip route replace "$G" dev c0
	in_ns client ip neigh flush to "$G" dev c0
	silent "$G"
	says client "$G dev c0" ip neigh show nud failed nud incomplete
	local status=$?
	in_ns client ip route replace "$G" via 192.0.2.1
	return "$status"
}

ready_hosts() {
	host_add n1 && host_add client || return
	# What comes later by itself would be a difference.
	in_ns n1 sysctl -qw net.ipv6.conf.default.accept_dad=0
	ip link add c0 netns "$(host_ns client)" type veth peer name e0 netns "$(host_ns n1)"
	in_ns client ip addr add 192.0.2.2/24 dev c0
	in_ns client ip addr add fd02::2/64 dev c0 nodad
	in_ns client ip link set c0 up
	in_ns n1 ip addr add 192.0.2.1/24 dev e0
	in_ns n1 ip addr add fd02::1/64 dev e0 nodad
	in_ns n1 ip link set e0 up
	in_ns client ip route add "$G" via 192.0.2.1
	in_ns client ip route add "$G6" via fd02::1
	wait_for 5 in_ns client ping -q -c 1 -W 1 fd02::1 &&
		in_ns client ping -q -c 1 -W 1 192.0.2.1
}

# What a host does that has the addresses and no node.
shows_that_it_can_fail() {
	in_ns n1 ip addr add "$G" dev lo && in_ns n1 ip addr add "$G6" dev lo || return
	refused "$G" && refused "$G6" && not no_arp
	local status=$?
	in_ns n1 ip addr del "$G" dev lo && in_ns n1 ip addr del "$G6" dev lo
	return "$status"
}

# All changes that ip sees while the command runs do not include that one of these goes.
without_a_gap() { # command...
	start monitor n1 ip monitor address route rule
	wait_for 5 says n1 "ip monitor" ps ax >/dev/null
	: >"$LAB/monitor.log"
	"$@"
	local status=$?
	in_ns n1 ip link add mark0 type bridge && in_ns n1 ip link del mark0
	stop monitor
	not grep -E "Deleted .*($G|$G6|10.98.0.1|lookup local)" "$LAB/monitor.log" || return
	grep -q . "$LAB/monitor.log" || return
	return "$status"
}

lab_begin "$@"
in_ns self nft list tables >"$LAB/nft" 2>&1 || skip "no nftables here: $(cat "$LAB/nft")"
check "a client and a host reach each other" ready_hosts || lab_end
check "a host that has an address resets connections to it" shows_that_it_can_fail
host_keep n1 empty
baseline_take empty

# --- while it runs ---------------------------------------------------------------------

check "a node with two global networks starts" node_up n1 1 || lab_end
check "it has the addresses" says n1 "$G/32" ip addr show dev shmg0
check "own packets to one go to the port" route_is n1 "$G" "dev shmg0 table 83 src 10.77.0.1"
check "and of IPv6" route_is n1 "$G6" "dev shmg0 table 83"
check "and to that of the other network" route_is n1 10.98.0.1 "dev shmg1 table 83"
check "what comes by the port is local" says n1 "local $G" \
	ip route get "$G" from 192.0.2.2 iif shmg0
check "packets of interfaces are taken" hooked n1 e0
check "of local networks, too" hooked n1 shm0
check "the client gets no answer of the host's own" both_silent
check "nor one of ARP" no_arp

# --- others change the host ------------------------------------------------------------

in_ns n1 nft flush ruleset
in_ns n1 ip rule flush protocol 83
in_ns n1 ip link set shmg0 txqueuelen 999 # is news
check "after a foreign 'nft flush ruleset' all tables are there" \
	wait_for 15 says n1 "arp shmnet/n1/mail/guard" nft list tables
check "after a foreign 'ip rule flush' the rules are there" \
	wait_for 15 route_is n1 "$G" "dev shmg0 table 83"
in_ns n1 ip link set shmg0 down
in_ns n1 ip link set shmg0 up
check "after the port was down, its routes are there" \
	wait_for 5 route_is n1 "$G" "dev shmg0 table 83 src 10.77.0.1"
check "and those of IPv6" wait_for 5 route_is n1 "$G6" "dev shmg0 table 83"
check "and the IPv6 address" says n1 "$G6/128" ip addr show dev shmg0
in_ns n1 ip link add new0 type veth peer name new1
check "packets of a new interface are taken" wait_for 5 hooked n1 new0
in_ns n1 ip link set new0 name old0
check "also under its new name" wait_for 5 hooked n1 old0
in_ns n1 ip link del old0
check "one that is gone leaves no trace" wait_for 5 not hooked n1 old0
in_ns n1 ip addr add 10.77.0.9/16 dev shm0
in_ns n1 ip addr del 10.77.0.1/24 dev shm0
check "the source follows the local network's address" \
	wait_for 5 route_is n1 "$G" "src 10.77.0.9"
stop n1
check "it ends well" [ $? -eq 0 ]
check "and all is as before" host_is n1 empty
check "to the last item" baseline_is empty

# --- after SIGKILL ---------------------------------------------------------------------

node_up n1 1
baseline_take running
stop n1 KILL
check "killed, the host is silent" both_silent
check "also to requests of ARP" no_arp
check "the next start takes over what is there, without a gap" without_a_gap node_up n1 1
check "it is the same as before" baseline_is running
stop n1 KILL
check "killed again, --cleanup ends well" node_program n1 --cleanup --config "$LAB/n1.yaml"
check "and all is as before" host_is n1 empty
check "to the last item" baseline_is empty

# A network less and another address: what the config doesn't want goes at the start.
node_up n1 1
stop n1 KILL
GLOBALS=("www shmg0 10.99.0.3 $G6")
node_config n1 1 >"$LAB/n1.yaml"
check "a start with another config" node_up n1 1
check "leaves no rule of the old one" not says n1 "$G " ip rule
check "nor of the network that is gone" not says n1 "10.98.0.1 " ip rule
check "nor its table" not says n1 mail nft list tables
check "has the new one" route_is n1 10.99.0.3 "dev shmg0 table 83 src 10.77.0.1"
stop n1
check "and leaves nothing" host_is n1 empty

# --- in a namespace of another name ----------------------------------------------------

host_add outside
host_keep outside outside
NODE_KEYS="netns: $(host_ns n1)"
node_config n1 1 >"$LAB/n1.yaml"
node_start n1 outside
check "with the key 'netns' a node starts" wait_for "$NODE_DEADLINE" node_answers n1
check "its tables are there" hooked n1 e0
check "and its rules" route_is n1 10.99.0.3 "dev shmg0 table 83 src 10.77.0.1"
check "where it runs nothing has changed" host_is outside outside
stop n1
check "it leaves nothing" host_is n1 empty
NODE_KEYS=''

# --- a host that refuses ---------------------------------------------------------------

fails_saying() { # words, command...
	local words=$1
	shift
	"$@" >"$LAB/refused" 2>&1
	local status=$?
	cat "$LAB/refused"
	[ "$status" -eq 1 ] && grep -qE "^ERROR +www: .*$words" "$LAB/refused" &&
		host_is n1 "${kept:-empty}"
}

binary=$(program shmnet-node)
node_config n1 1 >"$LAB/n1.yaml"
# shellcheck disable=SC2016 # the inner shell expands them
check "/proc/sys is read-only: it says what to set" \
	fails_saying "can't set /proc/sys/net/ipv[46]/.*Read-only file system; .*container" \
	in_ns n1 unshare -m bash -c 'mount --bind /proc/sys /proc/sys &&
		mount -o remount,bind,ro /proc/sys && exec "$0" --config "$1"' \
	"$binary" "$LAB/n1.yaml"
check "no CAP_NET_ADMIN: it says so" \
	fails_saying "can't make the nftables table.*run as root, or with CAP_NET_ADMIN" \
	in_ns n1 setpriv --inh-caps=-net_admin --bounding-set=-net_admin \
	"$binary" --config "$LAB/n1.yaml"

# Another node of the same host that wants one of the first one's addresses.
node_up n1 1
host_keep n1 first
kept=first
NETWORKS=("lan0 shm8 1500 10.77.0.%/24") GLOBALS=("www shm9 10.99.0.3")
node_config n2 2 >"$LAB/n2.yaml"
start changes n1 nft monitor
wait_for 5 says n1 "nft monitor" ps ax >/dev/null
check "an address that another node of the host has: it says so" \
	fails_saying "address 10.99.0.3 is on interface shmg0 .* already" \
	node_program n1 --config "$LAB/n2.yaml"
stop changes
check "and not a packet of the other one was lost" not grep . "$LAB/changes.log"
stop n1

in_ns n1 ip route add blackhole 10.1.0.0/16 table 83
host_keep n1 theirs
kept=theirs
check "table 83 is another program's: it says so" \
	fails_saying "has IPv4 routes in table 83" node_program n1 --config "$LAB/n1.yaml"
lab_end
