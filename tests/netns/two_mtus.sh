#!/bin/bash
# Two networks by MTU: nodes speak to each other in packets of 65,521 bytes, and to the
# outside in such of 1,500 bytes, so that the border has nothing to cut. By the static
# routes of the README.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/site.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/recipes.sh"

# What the border has cut, or would have had to.
cuts() {
	in_ns n1 nstat -asz 'Ip*Frag*' 'Icmp*OutDestUnreachs' Icmp6OutPktTooBigs |
		awk '$2 > 0 && !/^#/ { print $1, $2 }'
}

cuts_nothing() {
	cuts | diff "$LAB/cuts" -
}

has_cut() { # counter
	cuts | diff "$LAB/cuts" - | tee "$LAB/more"
	grep -q "^> $1 " "$LAB/more"
}

# A stream, whose segments were of so many bytes.
stream_in() { # host, at least, at most, address, more of iperf3's arguments
	local host=$1 size
	iperf_run "$host" "${@:4}" -t 1 || return
	size=$(jq '.start.tcp_mss_default' "$LAB/iperf.json")
	echo "segments of $size bytes"
	[ "$size" -ge "$2" ] && [ "$size" -le "$3" ]
}

sent_bytes() { # host, interface
	in_ns "$1" cat "/sys/class/net/$2/statistics/tx_bytes"
}

# The command makes the host send by one interface, and next to nothing by the other.
goes_by() { # host, interface, other, command...
	local one other
	one=$(sent_bytes "$1" "$2") other=$(sent_bytes "$1" "$3")
	"${@:4}" || return
	one=$(($(sent_bytes "$1" "$2") - one)) other=$(($(sent_bytes "$1" "$3") - other))
	echo "$2: $one bytes, $3: $other"
	[ "$one" -gt $((other * 20)) ]
}

# Datagrams that don't fit into one packet of the outside.
long_datagrams() { # host, address
	pings "$1" -M dont -s 8000 "${@:2}"
}

lab_begin "$@"
check "the README has two networks" recipe 'Two networks keep these apart' || lab_end
mapfile -t NETWORKS < <(recipe 'Two networks keep these apart' | sed -n 's/\.3\(\/24\)/.%\1/
	s/.*name: \([^,]*\), tap: \([^,]*\), mtu: \([^,]*\), address: \([^}]*\)}.*/\1 \2 \3 \4/p')
NETWORKS[0]+=' fd77::%/64'
check "lan0 has an MTU of 1500, big0 one of 65521" \
	test "${NETWORKS[*]%% 10*}" = "lan0 shm0 1500 big0 shm1 65521"
check "a client and a router" outside_make || lab_end
check "n1 is a border" border_join n1 1 || lab_end
site_host n2 && site_host n3
check "n2 and n3 have no NIC" mesh_up n1:1 n2:2 n3:3 || lab_end

check "routes on the border" run_recipe n1 'On a border'
for node in n2 n3; do
	check "on $node" run_recipe $node 'On the other nodes'
done
check "on the router" run_recipe router 'On the router outside'
check "the client reaches n3" wait_for 10 pings client 10.77.0.3 || lab_end
check "by its other address, too" pings client 10.78.0.3
check "by IPv6" wait_for 10 pings client -6 fd77::3
cuts >"$LAB/cuts"

iperf_serve n3 && start iperf-c client iperf3 -s
wait_for 5 listens client t 5201
check "65,521 bytes between nodes in one packet" pings n2 -M "do" -s 65493 10.78.0.3
check "a stream between them takes them" goes_by n2 shm1 shm0 stream_in n2 16000 65481 10.78.0.3
check "a stream to the outside goes over lan0, in segments that fit" \
	goes_by n3 shm0 shm1 stream_in n3 1000 1448 198.51.100.7
check "by IPv6, too" stream_in n3 1000 1448 2001:db8::7
check "one from the outside" stream_in client 1000 1448 10.77.0.3
check "one to the address on the long network" stream_in client 1000 1448 10.78.0.3
check "and back" goes_by n3 shm0 shm1 stream_in client 1000 1448 10.78.0.3 -R
check "and to the address of all" stream_in client 1000 1448 "$G"
for pair in "n3 198.51.100.7" "client 10.77.0.3" "client 10.78.0.3"; do
	read -r from to <<<"$pair"
	check "8 KB datagrams from $from to $to" long_datagrams "$from" "$to"
done
check "8 KB datagrams by IPv6" long_datagrams n3 -6 2001:db8::7
check "those that must not be cut are refused by n3 itself" \
	not pings n3 -M "do" -s 8000 198.51.100.7
check "UDP in bulk" iperf_run n3 198.51.100.7 -u -b 50M -l 8000 -t 1
check "the border has cut nothing" cuts_nothing

# So these counters would have shown it.
check "n3 takes the long network to the border" \
	ip -n "$(host_ns n3)" route replace default via 10.78.0.1
check "its datagrams arrive" long_datagrams n3 198.51.100.7
check "since the border cuts them" has_cut IpFragCreates
check "and those that must not be cut are lost there" \
	not pings n3 -M "do" -s 8000 -W 1 198.51.100.7
check "since the border refuses them" has_cut IcmpOutDestUnreachs
lab_end
