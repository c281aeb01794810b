# shellcheck shell=bash
# What the tests of real programs share beyond lib.sh: meshes of nodes, streams,
# figures, and the books of frames. Sourced by tests/netns/*.sh after lib.sh.

# node_up for each NODE:ID that is not up yet, then waits until each sees all others.
mesh_up() { # NODE:ID...
	local pair
	for pair in "$@"; do
		[ -n "${lab_pids[${pair%:*}]-}" ] || node_up "${pair%:*}" "${pair#*:}" || return 1
	done
	mesh_is_whole "${@%:*}"
}

mesh_is_whole() { # node...
	local node
	for node in "$@"; do
		wait_for "$NODE_DEADLINE" node_sees "$node" $(($# - 1)) && continue
		cat "$LAB/$node.status"
		return 1
	done
}

# Ends when told to, and well.
ends() { # node, signal (TERM)
	local status
	stop "$@"
	status=$?
	echo "exit status $status; its last lines:"
	tail -n 5 "$LAB/$1.log"
	return "$status"
}

figure() { # text
	printf '      %s\n' "$*"
}

# --- nodes as others see them ----------------------------------------------------

# The MAC address that wire.h says a node has on a network.
mac_of() { # network, id
	local hash=2166136261 i byte tag
	for ((i = 0; i < ${#1}; i++)); do
		printf -v byte %d "'${1:i:1}"
		hash=$((((hash ^ byte) * 16777619) & 0xffffffff))
	done
	tag=$(((hash >> 16 ^ hash) & 0xffff))
	printf '02:53:%02x:%02x:%02x:%02x\n' $((tag >> 8)) $((tag & 255)) \
		$(($2 >> 8)) $(($2 & 255))
}

# fe80::/64 with the EUI-64 of a MAC address, as the kernel makes it.
link_local_of() { # MAC
	local b
	IFS=: read -ra b <<<"$1"
	printf 'fe80::%x:%x:%x:%x\n' \
		$(((0x${b[0]} ^ 2) << 8 | 0x${b[1]})) $((0x${b[2]} << 8 | 0xff)) \
		$((0xfe << 8 | 0x${b[3]})) $((0x${b[4]} << 8 | 0x${b[5]}))
}

has_carrier() { # host, interface
	ip -n "$(host_ns "$1")" -j link show "$2" | jq -e '.[0].flags | index("LOWER_UP")'
}

pings() { # host, ping's arguments
	local host=$1
	shift
	in_ns "$host" ping -q -c 3 -i 0.2 -W 2 "$@"
}

# --- streams ---------------------------------------------------------------------

listens() { # host, protocol letter of ss, port
	in_ns "$1" ss -Hln "-$2" "sport = :$3" | grep -q .
}

iperf_serve() { # host
	start "iperf-$1" "$1" iperf3 -s && wait_for 5 listens "$1" t 5201
}

# Runs a client for 2 s; true if everything went well and bytes arrived. Leaves what it
# says in $LAB/iperf.json.
iperf_run() { # host, address, more of iperf3's arguments
	local host=$1 address=$2
	shift 2
	in_ns "$host" iperf3 -c "$address" -J -t 2 "$@" >"$LAB/iperf.json"
	jq -e '(.error | not) and ((.end.sum_received // .end.sum).bytes > 0)' \
		"$LAB/iperf.json" && return
	jq -r '.error // .' "$LAB/iperf.json"
	return 1
}

iperf_figure() { # what
	figure "$1: $(jq -r '(.end.sum_received // .end.sum)
		| "\(.bits_per_second / 1e7 | round / 100) Gb/s"' "$LAB/iperf.json")"
}

# --- frames of any kind ------------------------------------------------------------

send() { # host, interface, destination, source, type, length, count
	in_ns "$1" python3 "${BASH_SOURCE[0]%/*}/frames.py" "${@:2}"
}

# Exactly these frames arrive there, whole.
delivers() { # host, interface, count, filter of tcpdump, command...
	local host=$1 interface=$2 count=$3 filter=$4
	shift 4
	: >"$LAB/tcpdump.log"
	start tcpdump "$host" tcpdump -Q in -U -i "$interface" -w "$LAB/frames.pcap" "$filter"
	wait_for 5 grep -q 'listening on' "$LAB/tcpdump.log" || return
	"$@" || return
	wait_for 5 captured "$count" "$filter"
	stop tcpdump INT
	captured "$count" "$filter"
}

captured() { # count, filter
	[ "$(tcpdump -enr "$LAB/frames.pcap" "$2" 2>/dev/null | grep -c 'length')" -eq "$1" ]
}

# --- numbered frames ---------------------------------------------------------------

# Frames of each kind that each of the nodes sends to all others.
NUMBERS=$((10000 / SLOW))
# The interface that they are sent into.
COUNT_ON=shm0
# The directory where those who count meet, and what they call it.
MEET='' MEET_AS=''

# Lets all the nodes send at once: to all ("broadcast"), to a group (its MAC address), or
# to one another ("each"; the nodes are 1, 2, 3 and so on then). See casts.c.
count_start() { # rate, to, node...
	local rate=$1 to=$2 node binary id=0
	shift 2
	[ "$to" != broadcast ] || to=ff:ff:ff:ff:ff:ff
	binary=$(program casts) || return
	MEET=${MEET:-$LAB/meet}
	rm -rf "$MEET" && mkdir "$MEET"
	for node in "$@"; do
		: >"$LAB/count-$node.log"
		start "count-$node" "$node" "$binary" count "$COUNT_ON" $((++id)) $# \
			"$NUMBERS" "$rate" "${MEET_AS:-$MEET}" "$to"
	done
}

# Waits until all are done; leaves in $LAB/counts what each of them got.
counts_take() { # node...
	local node
	for node in "$@"; do
		finish "count-$node" 60 || return
	done
	for node in "$@"; do
		cat "$LAB/count-$node.log"
	done | jq -s . >"$LAB/counts" && cat "$LAB/counts"
}

count_numbers() { # rate, to, node...
	count_start "$@" && counts_take "${@:3}"
}

each_once() {
	jq -e --argjson n "$NUMBERS" 'all(.own == 0 and all(.from[]; .seen == $n and .twice == 0))' \
		"$LAB/counts" && return
	cat "$LAB/counts"
	return 1
}

# --- the books -------------------------------------------------------------------

# $LAB/stats: {"n1": its statistics, ...}
stats_take() { # node...
	local node
	for node in "$@"; do
		ctl "$node" stats --json || return
	done | jq -s 'map({(.node): .}) | add' >"$LAB/stats.new" &&
		mv "$LAB/stats.new" "$LAB/stats"
}

# A row per (network, sender, receiver), with what does not add up:
#
#	sent = delivered + drops at the sender + drops at the receiver
books() {
	jq -c '
		def sum: map(.frames) | add // 0;
		. as $all | [to_entries[] | .key as $from | .value.links[]
		| .network as $network | .peer as $to
		| select($all[$to])
		| ([$all[$to].links[] | select(.network == $network and .peer == $from)][0]
		   // {delivered_frames: 0, received_drops: []}) as $in
		| {$network, $from, $to, sent: .sent_frames, delivered: $in.delivered_frames,
		   sent_drops: (.sent_drops | sum), received_drops: ($in.received_drops | sum)}
		| .missing = .sent - .delivered - .sent_drops - .received_drops][]' "$LAB/stats"
}

books_balance() { # node...
	stats_take "$@" && books | jq -es 'length > 0 and all(.missing == 0)' >/dev/null
}

# Frames still travel while the totals are taken, so this waits until none does.
conserved() { # node...
	wait_for 10 books_balance "$@" && return
	books
	return 1
}

# Frames dropped for a reason or one of several, on a network and on its links.
dropped() { # node, network, reason|...
	jq --arg node "$1" --arg network "$2" --arg reason "$3" '.[$node]
		| [(.networks[] | select(.network == $network) | .drops[]),
		   (.links[] | select(.network == $network) | .sent_drops[], .received_drops[])
		   | select(.reason | test("^(\($reason))$")) | .frames] | add // 0' "$LAB/stats"
}
