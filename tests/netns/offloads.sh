#!/bin/bash
# Super-frames cross whole, in both directions and over IPv6; no receiver sees a wrong
# checksum; a host that offloads nothing works as well; a TAP looks like any interface
# to tcpdump.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

command -v ethtool >/dev/null || skip "ethtool is not installed"
command -v tcpdump >/dev/null || skip "tcpdump is not installed"

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")

# Captures what matches on the host's TAP while the command runs.
capture() { # host, filter, command...
	local host=$1 filter=$2 status
	shift 2
	: >"$LAB/tcpdump.log"
	start tcpdump "$host" tcpdump -i shm0 -s 128 -B 16384 -U --immediate-mode \
		-w "$LAB/pcap" -Q in "$filter"
	wait_for 5 grep -q 'listening on' "$LAB/tcpdump.log" || return
	"$@"
	status=$?
	sleep "0.$((2 * SLOW))" # for the last frames, which no check below depends on
	stop tcpdump INT
	return "$status"
}

# The longest frame in the capture.
longest() {
	tcpdump -r "$LAB/pcap" -en 2>/dev/null |
		sed -n 's/.* length \([0-9]*\): .*/\1/p' | sort -n | tail -n 1
}

super_frames_cross() { # receiver, filter, command...
	local length
	capture "$@" || return
	length=$(longest)
	figure "longest frame on the receiver's TAP: $length bytes" >>"$LAB/figures"
	echo "longest frame: $length bytes"
	[ "$length" -gt 1514 ]
}

none_longer() { # receiver, filter, command...
	local length
	capture "$@" || return
	length=$(longest)
	echo "longest frame: $length bytes"
	[ "$length" -le 1514 ]
}

sees() { # words in tcpdump's text...
	tcpdump -r "$LAB/pcap" -en 2>/dev/null >"$LAB/text"
	head -n 40 "$LAB/text"
	local words
	for words in "$@"; do
		grep -qE "$words" "$LAB/text" || return
	done
}

no_checksum_errors() {
	local host
	for host in n1 n2; do
		in_ns "$host" nstat -asz | grep -E 'Csum|InErrs'
	done >"$LAB/nstat"
	cat "$LAB/nstat"
	grep -q Csum "$LAB/nstat" && ! awk '$2 != 0' "$LAB/nstat" | grep .
}

fresh_talk() {
	ip -n "$(host_ns n1)" neigh flush dev shm0
	ip -n "$(host_ns n2)" neigh flush dev shm0
	pings n1 10.77.0.2 && pings n1 -6 fd77::2 &&
		in_ns n1 bash -c 'echo hello | socat -u - TCP:10.77.0.2:7100' &&
		wait_for 10 sees 'Flags \[S\]' >/dev/null
}

# A datagram of 10 segments by one call, cut by who must cut it: 10 arrive.
udp_segments_arrive() {
	local client='import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(17, 103, 1400)  # UDP_SEGMENT
s.sendto(b"".join(bytes([i]) * 1400 for i in range(10)), ("10.77.0.2", 7200))'
	local server='import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.77.0.2", 7200))
s.settimeout(10)
print([s.recv(65536) == bytes([i]) * 1400 for i in range(10)].count(True))'
	rm -f "$LAB/udp.log"
	start udp n2 python3 -c "$server"
	wait_for 5 listens n2 u 7200 || return
	in_ns n1 python3 -c "$client" || return
	finish udp 11
	cat "$LAB/udp.log"
	[ "$(cat "$LAB/udp.log")" = 10 ]
}

lab_begin "$@"
check "two nodes see each other" mesh_up n1:1 n2:2 || lab_end
check "a server runs on n1" iperf_serve n1
check "and on n2" iperf_serve n2
wait_for 5 pings n1 -6 fd77::2 >/dev/null

# --- what a user would look at -------------------------------------------------------

start hello n2 socat -u TCP-LISTEN:7100 -
wait_for 5 listens n2 t 7100
check "tcpdump sees hosts talk" capture n2 "" fresh_talk
check "ARP, ICMP, IPv6 neighbours and TCP are in it" \
	sees 'ARP.* who-has 10.77.0.2 ' 'ICMP echo request' 'neighbor (solicitation|advertisement)' \
	'ICMP6, echo request' 'Flags \[S\]'

# --- super-frames --------------------------------------------------------------------

check "super-frames of TCP cross whole" \
	super_frames_cross n2 'tcp dst port 5201' iperf_run n1 10.77.0.2
check "the other way, too" \
	super_frames_cross n1 'tcp src port 5201' iperf_run n1 10.77.0.2 -R
check "over IPv6, too" \
	super_frames_cross n2 'tcp dst port 5201' iperf_run n1 fd77::2
check "segments of one UDP call arrive" udp_segments_arrive
cat "$LAB/figures"
check "there are no checksum errors" no_checksum_errors

# --- hosts that do it all themselves ---------------------------------------------------

check "n1 stops to offload" in_ns n1 ethtool -K shm0 tx off tso off gso off
check "its frames are short then" \
	none_longer n2 'tcp dst port 5201' iperf_run n1 10.77.0.2
check "the way back still works" iperf_run n1 10.77.0.2 -R
check "IPv6 does" iperf_run n1 fd77::2
check "pings do" pings n1 -s 1400 10.77.0.2
check "segments of one UDP call do" udp_segments_arrive
check "n2 stops to look at checksums" in_ns n2 ethtool -K shm0 rx off
check "and both still talk" iperf_run n1 10.77.0.2
check "n1 offloads checksums only" in_ns n1 ethtool -K shm0 tx on
check "and both still talk" iperf_run n1 10.77.0.2
check "there are no checksum errors" no_checksum_errors
check "every frame was delivered or counted" conserved n1 n2
lab_end
