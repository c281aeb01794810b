#!/bin/bash
# Hosts of different kernels on one network: a sends super-frames of UDP and TCP, b takes
# none of UDP (as before Linux 6.2), c takes all, d none at all. Each gets what it said
# that it takes, whole where it may be, with every byte right and none dropped, also
# while the others are sent to.
# timeout: 300
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

command -v ethtool >/dev/null || skip "ethtool is not installed"
command -v tcpdump >/dev/null || skip "tcpdump is not installed"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
SIZE=49152
SEGMENT=1200
DATAGRAMS=41
ROUNDS=20

declare -A OFFLOADS=([b]='offloads: [tso4, tso6]' [d]='offloads: []')
declare -A IDS=([a]=1 [b]=2 [c]=3 [d]=4)
RECEIVERS=(b c d)

configure() {
	local node NETWORK_KEYS
	for node in a b c d; do
		NETWORK_KEYS=${OFFLOADS[$node]-}
		node_config "$node" "${IDS[$node]}" >"$LAB/$node.yaml"
	done
}

feature() { # host, feature as ethtool has it, on or off
	in_ns "$1" ethtool -k shm0 >"$LAB/features" || return
	grep "^[[:space:]]*$2:" "$LAB/features" || cat "$LAB/features"
	grep -q "^[[:space:]]*$2: $3" "$LAB/features"
}

features() { # host, of TCP over IPv4, of TCP over IPv6, of UDP
	feature "$1" tx-tcp-segmentation "$2" && feature "$1" tx-tcp6-segmentation "$3" &&
		feature "$1" tx-udp-segmentation "$4" && feature "$1" tx-checksumming on
}

reports() { # node, JSON of its offloads
	ctl "$1" networks --json >"$LAB/networks" || return
	jq -c '.networks[0].offloads' "$LAB/networks"
	jq -e --argjson want "$2" '.networks[0].offloads == $want' "$LAB/networks" >/dev/null
}

# --- what comes in -----------------------------------------------------------------

watch_begin() { # filter
	local host
	for host in "${RECEIVERS[@]}"; do
		: >"$LAB/tcpdump-$host.log"
		start "tcpdump-$host" "$host" tcpdump -i shm0 -s 96 -B 16384 -U -Q in \
			--immediate-mode -w "$LAB/$host.pcap" "$1"
		wait_for 5 grep -q 'listening on' "$LAB/tcpdump-$host.log" || return
	done
}

has_frames() { # host
	tcpdump -r "$LAB/$1.pcap" -c 1 2>/dev/null | grep -q .
}

watch_end() {
	local host
	for host in "${RECEIVERS[@]}"; do
		wait_for 5 has_frames "$host"
		stop "tcpdump-$host" INT
	done
}

longest() { # host
	tcpdump -r "$LAB/$1.pcap" -en 2>/dev/null |
		sed -n 's/.* length \([0-9]*\): .*/\1/p' | sort -n | tail -n 1
}

# Frames that are longer than an Ethernet frame of this MTU.
super_frames() { # host, yes or no
	local length
	length=$(longest "$1")
	echo "longest frame on $1: ${length:-none}"
	case $2 in
	yes) [ "${length:-0}" -gt 1514 ] ;;
	no) [ "${length:-9999}" -le 1514 ] ;;
	esac
}

# --- UDP ---------------------------------------------------------------------------

udp_gso() { # host, arguments of udp_gso.py
	local host=$1
	shift
	in_ns "$host" python3 "$lab_top/tests/netns/udp_gso.py" "$@"
}

# One call's datagrams to each of them at once.
udp_to_all() { # address with % for the id
	local host failed=0
	for host in "${RECEIVERS[@]}"; do
		rm -f "$LAB/udp-$host.log"
		start "udp-$host" "$host" python3 "$lab_top/tests/netns/udp_gso.py" receive \
			"${1//%/${IDS[$host]}}" 7200 "$SIZE" "$SEGMENT"
		wait_for 5 listens "$host" u 7200 || return
	done
	for host in "${RECEIVERS[@]}"; do
		udp_gso a send "${1//%/${IDS[$host]}}" 7200 "$SIZE" "$SEGMENT" || failed=1
	done
	for host in "${RECEIVERS[@]}"; do
		finish "udp-$host" 15 && grep -q "^calls: $DATAGRAMS\$" "$LAB/udp-$host.log" && continue
		echo "$host: $(cat "$LAB/udp-$host.log")"
		failed=1
	done
	return "$failed"
}

udp_rounds() { # address
	local i
	for ((i = 0; i < ROUNDS; i++)); do
		udp_to_all "$1" || return
	done
}

# --- TCP ---------------------------------------------------------------------------

tcp_serve() {
	local host
	for host in "${RECEIVERS[@]}"; do
		start "sink-$host" "$host" socat -u TCP6-LISTEN:7100,reuseaddr,ipv6-v6only=0 \
			"CREATE:$LAB/$host.received"
		wait_for 5 listens "$host" t 7100 || return
	done
}

# The same file to each of them at once.
tcp_to_all() { # family for socat, address
	local host failed=0
	tcp_serve || return
	for host in "${RECEIVERS[@]}"; do
		start "source-$host" a socat -u "FILE:$LAB/sent" "$1:${2//%/${IDS[$host]}}:7100"
	done
	for host in "${RECEIVERS[@]}"; do
		finish "source-$host" 60 && finish "sink-$host" 60 &&
			cmp "$LAB/sent" "$LAB/$host.received" && continue
		failed=1
	done
	return "$failed"
}

# --- the books ---------------------------------------------------------------------

no_checksum_errors() {
	local host
	for host in "${RECEIVERS[@]}"; do
		in_ns "$host" nstat -asz | grep -E 'Csum|InErrs'
	done >"$LAB/nstat"
	cat "$LAB/nstat"
	grep -q Csum "$LAB/nstat" && ! awk '$2 != 0' "$LAB/nstat" | grep .
}

# Of a sender with room to wait in, and receivers that got what they said.
no_drops() {
	stats_take a b c d || return
	jq -c '[.[].links[] | .sent_drops[]?, .received_drops[]?],
		[.a.networks[].drops[]?]' "$LAB/stats"
	jq -e '[.[].links[] | .sent_drops[]?, .received_drops[]?] == []
		and [.a.networks[].drops[]? | select(.reason == "bad-offload")] == []' "$LAB/stats"
}

lab_begin "$@"
configure
check "four nodes see each other" mesh_up a:1 b:2 c:3 d:4 || lab_end
feature a tx-udp-segmentation on >/dev/null ||
	skip "this kernel's TAPs don't offload UDP segments (Linux 6.2 or later)"
for host in b c d; do
	wait_for 5 pings a -6 "fd77::${IDS[$host]}" >/dev/null
done

check "a's kernel offers all" features a on on on
check "b's all but UDP" features b on on off
check "d's none, and checksums" features d off off off
check "c says that it takes all" reports c '["tso4", "tso6", "uso"]'
check "b that it takes those of TCP" reports b '["tso4", "tso6"]'
check "d that it takes none" reports d '[]'
head -c 64M /dev/urandom >"$LAB/sent"

for family in "IPv4 10.77.0.% TCP4" "IPv6 fd77::% TCP6"; do
	read -r name address tcp <<<"$family"
	[ "$name" = IPv4 ] || address_tcp="[$address]"
	[ "$name" = IPv6 ] || address_tcp=$address
	watch_begin 'udp dst port 7200'
	check "$name: datagrams of one call arrive at b, c and d" udp_rounds "$address"
	watch_end
	check "b gets them as datagrams" super_frames b no
	check "c gets them whole" super_frames c yes
	check "d gets them as datagrams" super_frames d no
	watch_begin 'tcp dst port 7100'
	check "$name: a file arrives at b, c and d at once" tcp_to_all "$tcp" "$address_tcp"
	watch_end
	check "b gets super-frames of TCP" super_frames b yes
	check "c does" super_frames c yes
	check "d gets none" super_frames d no
done

check "nothing was dropped" no_drops
check "there are no checksum errors" no_checksum_errors
check "every frame was delivered or counted" conserved a b c d
lab_end
