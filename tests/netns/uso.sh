#!/bin/bash
# UDP super-frames: 48 KiB of datagrams by one call of the sender. To one host they
# cross whole and arrive in one call if the receiver asks for that, and as datagrams
# if not; a group gets them, too. IPv4 and IPv6, every byte compared.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

command -v ethtool >/dev/null || skip "ethtool is not installed"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
SIZE=49152
SEGMENT=1200
DATAGRAMS=41

udp_gso() { # host, arguments of udp_gso.py
	local host=$1
	shift
	in_ns "$host" python3 "$lab_top/tests/netns/udp_gso.py" "$@"
}

offloads_udp() { # host
	in_ns "$1" ethtool -k shm0 | tee "$LAB/features" | grep -q 'tx-udp-segmentation: on'
}

frames_in() { # host
	ip -n "$(host_ns "$1")" -s -j link show shm0 | jq '.[0].stats64.rx.packets'
}

# n1 sends to the address; n2 receives at it. Leaves the number of calls and of frames
# on n2's TAP, a few others among them.
datagrams_cross() { # address, arguments of the receiver...
	local address=$1 before
	shift
	rm -f "$LAB/udp.log"
	start udp n2 python3 "$lab_top/tests/netns/udp_gso.py" receive "$address" 7200 \
		"$SIZE" "$SEGMENT" "$@"
	wait_for 5 listens n2 u 7200 || return
	before=$(frames_in n2)
	udp_gso n1 send "$address" 7200 "$SIZE" "$SEGMENT" shm0 || return
	finish udp 15 || { cat "$LAB/udp.log" && return 1; }
	frames=$(($(frames_in n2) - before))
	calls=$(sed -n 's/^calls: //p' "$LAB/udp.log")
	echo "$frames frames, $calls calls"
}

whole() { # calls, address, arguments of the receiver...
	local expected=$1
	shift
	datagrams_cross "$@" && [ "$calls" = "$expected" ] && [ "$frames" -lt "$DATAGRAMS" ]
}

has_cast_ring() {
	ctl n1 rings --json | jq -e 'any(.casts[]; .readers == 1)' >/dev/null
}

cut() { # address, arguments of the receiver...
	datagrams_cross "$@" && [ "$calls" = "$DATAGRAMS" ] && [ "$frames" -ge "$DATAGRAMS" ]
}

lab_begin "$@"
check "two nodes see each other" mesh_up n1:1 n2:2 || lab_end
offloads_udp n1 || skip "this kernel's TAPs don't offload UDP segments (Linux 6.2 or later)"
wait_for 5 pings n1 -6 fd77::2 >/dev/null

check "to one host: whole, and taken in one call" whole 1 10.77.0.2 --gro
check "whole, and taken as datagrams" whole $DATAGRAMS 10.77.0.2
check "over IPv6: whole, and taken in one call" whole 1 fd77::2 --gro
check "whole, and taken as datagrams" whole $DATAGRAMS fd77::2

check "there is a ring for casts" wait_for 5 has_cast_ring
check "to a group: cut, a slot has room for one" cut 239.1.2.3 --join 239.1.2.3 shm0
check "a receiver that takes several in one call gets them" \
	datagrams_cross 239.1.2.3 --gro --join 239.1.2.3 shm0
check "to all, too" cut 10.77.0.255
check "to a group of IPv6, too" cut ff15::77 --join ff15::77 shm0
check "a receiver that takes several in one call gets them" \
	datagrams_cross ff15::77 --gro --join ff15::77 shm0

check "n1 stops to offload" in_ns n1 ethtool -K shm0 tx off tso off gso off
check "to one host: cut by its kernel" cut 10.77.0.2
check "over IPv6, too" cut fd77::2
check "to a group, too" cut 239.1.2.3 --join 239.1.2.3 shm0
check "every frame was delivered or counted" conserved n1 n2
lab_end
