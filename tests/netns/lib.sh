# shellcheck shell=bash
# Nodes in network namespaces: shared by tests/netns/*.sh and deploy/demo.sh.
#
#	. "$(dirname "$0")/lib.sh"
#	lab_begin "$@"
#	NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
#	node_up n1 1 && node_up n2 2 || exit 1
#	check "n1 knows n2" wait_for 5 node_sees n1 1
#	check "n1 reaches n2" in_ns n1 ping -c 3 10.77.0.2
#	lab_end
#
# A host is a namespace whose real name has a prefix of its own, a node is a
# shmnet-node in it. lab_begin makes a directory, $LAB; a trap on EXIT, INT, TERM
# and HUP ends the processes that were started here, by their pids, deletes the
# namespaces that were made here, and the directory. Nothing else is touched.
#
# As root it uses the machine's /run/netns. Otherwise lab_begin starts the script
# again in a user namespace of its own; inside one that somebody else made, it puts a
# tmpfs on /run if that can't be written to.
#
# SHMNET_FABRIC=rdma in the environment joins the nodes by RDMA instead of shared memory,
# over the device $SHMNET_RDMA_DEVICE (rxe0) and its address $SHMNET_RDMA_ADDRESS
# (192.0.2.1). Such a device is in the namespace of the script, so there the nodes run,
# and their TAPs are in their hosts by `node.netns`. SHMNET_NODES_IN has that effect for
# any fabric: "self" is the namespace of the script, another word a host that is made.
#
# SHMNET_TEST_SLOW=4 says that this machine is four times as slow as others, an emulated
# one for instance: waits are that much longer, and what is sent that much less.
#
# Programs come from $SHMNET_BIN, a build directory or one that holds them;
# without it from build/gcc or build of this tree.

# One string per network: name, TAP, MTU, addresses; % stands for the node's id.
NETWORKS=()
# One string per global network: name, TAP, addresses; % stands for the node's id.
GLOBALS=()
# More keys for the node section of every config written from now on: "spin_us: 0".
NODE_KEYS=''
# Likewise for every network: "ring_size: 256K".
NETWORK_KEYS=''
# And for every global network: "announce: eth0".
GLOBAL_KEYS=''
# The processes that a baseline looks at: a regular expression for their names.
BASELINE_OF=''
FABRIC=${SHMNET_FABRIC:-shm}
RDMA_DEVICE=${SHMNET_RDMA_DEVICE:-rxe0}
RDMA_ADDRESS=${SHMNET_RDMA_ADDRESS:-192.0.2.1}
# Where nodes run; empty: each in its host.
NODES_IN=${SHMNET_NODES_IN-}
[ "$FABRIC" != rdma ] || NODES_IN=${NODES_IN:-self}
# How many times as long others have to wait, and by how much to divide amounts.
SLOW=${SHMNET_TEST_SLOW:-1}
# Seconds that a node has to answer, and to go when told to.
NODE_DEADLINE=10
# Seconds that a command in a namespace may take.
COMMAND_DEADLINE=$((60 * SLOW))

LAB=''
checks_passed=0
checks_failed=0
declare -A lab_pids=() # of what was started and not yet waited for, by name
declare -A lab_hosts=()

lab_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# --- beginning and end ---------------------------------------------------------

skip() { # reason
	echo "SKIP: $1"
	exit 77
}

# Prints the path of shmnet-node, shmnetctl, or a program of the tests.
program() { # name
	local roots=("$lab_top/build/gcc" "$lab_top/build") root dir
	[ -z "${SHMNET_BIN-}" ] || roots=("$SHMNET_BIN")
	for root in "${roots[@]}"; do
		for dir in "$root" "$root/src" "$root/cli" "$root/tests"; do
			[ -f "$dir/$1" ] && [ -x "$dir/$1" ] && echo "$dir/$1" && return
		done
	done
	echo "no $1 in ${SHMNET_BIN:-$lab_top/build}: build first, or set SHMNET_BIN" >&2
	return 1
}

lab_become_root() { # the script's arguments
	[ "$(id -u)" -ne 0 ] || return 0
	unshare -Urnm true 2>/dev/null ||
		skip "not root, and user namespaces are not allowed here"
	exec unshare -Urnm "$0" "$@"
}

lab_own_run() {
	mkdir -p /run/netns 2>/dev/null && [ -w /run/netns ] && return
	mount -t tmpfs tmpfs /run && mkdir /run/netns
}

lab_begin() { # the script's arguments
	lab_become_root "$@"
	lab_own_run || skip "no place for namespaces: /run can't be written to"
	lab_prefix=${SHMNET_NETNS_PREFIX:-sn$$-}
	LAB=$(mktemp -d "${TMPDIR:-/tmp}/lab.XXXX") || exit 1
	trap lab_cleanup EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	mkdir -m 700 "$LAB/run" "$LAB/fabric"
	case $NODES_IN in '' | self) ;; *) host_add "$NODES_IN" || exit 1 ;; esac
}

lab_cleanup() {
	[ "$BASHPID" = $$ ] || return # a subshell that failed is not the end
	local name
	trap '' HUP INT TERM
	for name in "${!lab_pids[@]}"; do
		kill -TERM "${lab_pids[$name]}" 2>/dev/null
		kill -CONT "${lab_pids[$name]}" 2>/dev/null
	done
	for name in "${!lab_pids[@]}"; do
		wait_for 3 not is_alive "$name" || kill -KILL "${lab_pids[$name]}"
		wait "${lab_pids[$name]}" 2>/dev/null
	done
	for name in "${!lab_hosts[@]}"; do
		ip netns delete "$lab_prefix$name"
	done
	[ -z "$LAB" ] || rm -rf --one-file-system "$LAB"
}

# The verdict; leaves the script.
lab_end() {
	echo "$checks_passed of $((checks_passed + checks_failed)) checks passed"
	[ "$checks_failed" -eq 0 ] || exit 1
	[ "$checks_passed" -gt 0 ] || exit 1
	exit 0
}

# --- checks --------------------------------------------------------------------

# Runs the command and prints "ok" or "FAIL", then its output if it failed.
check() { # what is claimed, command...
	local text=$1
	shift
	if "$@" >"$LAB/check.out" 2>&1; then
		checks_passed=$((checks_passed + 1))
		echo "ok    $text"
		return 0
	fi
	checks_failed=$((checks_failed + 1))
	printf 'FAIL  %s\n      %s\n' "$text" "$*"
	sed 's/^/      | /' "$LAB/check.out"
	return 1
}

# True if the command fails, for check and wait_for.
not() {
	! "$@"
}

# True once the command is; polls it for this many seconds at the most, times $SLOW.
wait_for() { # seconds, command...
	local end=$((${EPOCHREALTIME/./} + $1 * SLOW * 1000000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt $end ] || return 1
		sleep 0.02
	done
}

# --- hosts and processes -------------------------------------------------------

host_add() { # host
	ip netns add "$lab_prefix$1" || return 1
	lab_hosts[$1]=1
	ip -n "$lab_prefix$1" link set lo up
}

# The namespace's real name, for ip -n.
host_ns() { # host
	echo "$lab_prefix$1"
}

# The command that runs another one in a host, by word; "self": no host.
run_in() { # host
	[ "$1" = self ] || echo ip netns exec "$lab_prefix$1"
}

# Waits for the command; ends it after COMMAND_DEADLINE. A signal to the script is
# seen to when the command is done; one to its process group ends the command too.
in_ns() { # host, command...
	local host=$1 run
	shift
	read -ra run < <(run_in "$host")
	timeout --foreground "$COMMAND_DEADLINE" "${run[@]}" "$@"
}

# Starts a command in the background; its output is in $LAB/NAME.log.
start() { # name, host, command...
	local name=$1 host=$2 run
	shift 2
	read -ra run < <(run_in "$host")
	"${run[@]}" "$@" >>"$LAB/$name.log" 2>&1 </dev/null &
	lab_pids[$name]=$!
}

pid_of() { # name
	echo "${lab_pids[$1]}"
}

# Not of a process that is dead and not yet waited for.
is_alive() { # name
	local state
	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' \
		"/proc/${lab_pids[$1]}/status" 2>/dev/null)
	[ -n "$state" ] && [ "$state" != Z ]
}

all_alive() { # name...
	local node
	for node in "$@"; do
		is_alive "$node" && continue
		echo "$node ended by itself"
		tail -n 5 "$LAB/$node.log"
		return 1
	done
}

# Sends a signal and waits for the end. Returns the exit status, as `wait` does; 124
# if it had to be killed. Bash's own words on a killed child are not wanted.
stop() { # name, signal (TERM)
	local name=$1 status
	kill "-${2:-TERM}" "${lab_pids[$name]}" || return
	if wait_for "$NODE_DEADLINE" not is_alive "$name"; then
		wait "${lab_pids[$name]}"
		status=$?
	else
		kill -KILL "${lab_pids[$name]}"
		wait "${lab_pids[$name]}"
		status=124
	fi
	unset "lab_pids[$name]"
	return $status
} 2>/dev/null

# Waits until it has ended by itself. Returns its exit status; 124 if it goes on.
finish() { # name, seconds (COMMAND_DEADLINE)
	local name=$1 status
	wait_for "${2:-$COMMAND_DEADLINE}" not is_alive "$name" || return 124
	wait "${lab_pids[$name]}"
	status=$?
	unset "lab_pids[$name]"
	return $status
} 2>/dev/null

# --- nodes ---------------------------------------------------------------------

node_networks() { # id
	local row name tap mtu addresses
	for row in "${NETWORKS[@]}"; do
		read -r name tap mtu addresses <<<"${row//%/$1}"
		addresses=${addresses:+\"${addresses// /\", \"}\"}
		echo "  - {name: $name, kind: local, tap: $tap, mtu: $mtu," \
			"addresses: [$addresses]${NETWORK_KEYS:+, $NETWORK_KEYS}}"
	done
	for row in ${GLOBALS[@]+"${GLOBALS[@]}"}; do
		read -r name tap addresses <<<"${row//%/$1}"
		echo "  - {name: $name, kind: global, tap: $tap," \
			"addresses: [\"${addresses// /\", \"}\"]${GLOBAL_KEYS:+, $GLOBAL_KEYS}}"
	done
}

node_fabrics() { # id
	case $FABRIC in
	shm) echo "  - {name: local, kind: shm, path: $LAB/fabric}" ;;
	rdma)
		echo "  - {name: roce, kind: rdma, device: $RDMA_DEVICE," \
			"listen: \"$RDMA_ADDRESS:$((7471 + $1))\"," \
			"seeds: [\"$RDMA_ADDRESS:7472\"], security: none}"
		;;
	esac
}

# What shmnetctl calls it.
fabric_shown() {
	[ "$FABRIC" = shm ] && echo shm || echo "$FABRIC/$RDMA_DEVICE"
}

node_config() { # node (named like its host), id: prints the config
	local keys=${NODES_IN:+, netns: $lab_prefix$1}${NODE_KEYS:+, $NODE_KEYS}
	echo "node: {name: $1, id: $2, runtime_dir: $LAB/run$keys}"
	echo fabrics:
	node_fabrics "$2"
	echo networks:
	node_networks "$2"
}

# The host that the node is started in, for start and in_ns.
node_in() { # node
	echo "${NODES_IN:-$1}"
}

# Starts shmnet-node with $LAB/NODE.yaml, which a test may have written itself.
node_start() { # node, host (named like the node)
	local binary
	binary=$(program shmnet-node) || return 1
	start "$1" "${2:-$(node_in "$1")}" "$binary" --config "$LAB/$1.yaml"
}

# Asks the node: ctl n1 status --json
ctl() { # node, command...
	local node=$1 binary
	shift
	binary=$(program shmnetctl) || return 1
	timeout --foreground "$COMMAND_DEADLINE" "$binary" -s "$LAB/run/$node.sock" "$@"
}

# The node answers. It may be degraded (exit 4), as the first node of several is.
node_answers() { # node
	ctl "$1" status --json >"$LAB/$1.status" 2>&1
	case $? in
	0 | 4) jq -e --arg node "$1" '.node == $node' "$LAB/$1.status" >/dev/null ;;
	*) return 1 ;;
	esac
}

# The node has this many others up.
node_sees() { # node, number
	node_answers "$1" && jq -e --argjson n "$2" '.nodes_up == $n' "$LAB/$1.status" >/dev/null
}

node_answers_or_died() { # node
	node_answers "$1" || ! is_alive "$1"
}

# Writes the config unless there is one, makes the host unless there is one, starts the
# node and waits until it answers. Prints why it doesn't.
node_up() { # node, id
	[ -n "${lab_hosts[$1]-}" ] || host_add "$1" || return 1
	[ -f "$LAB/$1.yaml" ] || node_config "$1" "$2" >"$LAB/$1.yaml"
	node_start "$1" || return 1
	wait_for "$NODE_DEADLINE" node_answers_or_died "$1"
	is_alive "$1" && node_answers "$1" && return 0
	checks_failed=$((checks_failed + 1))
	if is_alive "$1"; then
		echo "FAIL  node $1 does not answer within $NODE_DEADLINE s; its last lines:"
	else
		stop "$1" 0
		echo "FAIL  node $1 ended; its last lines:"
	fi
	tail -n 20 "$LAB/$1.log" "$LAB/$1.status" 2>/dev/null | sed 's/^/      | /'
	return 1
}

# --- baselines -----------------------------------------------------------------

# What a process holds, without what differs from one life to the next: number and
# kind of its fds, memfds mapped. A TAP's file that came from another life is seen without
# the mount it was opened in.
baseline_process() { # name
	local fds=(/proc/"${lab_pids[$1]}"/fd/*) fd
	for fd in "${fds[@]}"; do
		readlink "$fd" | sed 's/\[[0-9]*\]//; s|^/dev/net/tun$|/net/tun|'
	done | sort | uniq -c | sed "s/^/$1 fds: /"
	echo "$1 memfd mappings: $(grep -c /memfd: "/proc/${lab_pids[$1]}/maps")"
}

baseline_sockets() { # host
	in_ns "$1" cat /proc/net/unix | sed -n "s|.* \($LAB/.*\)|$1 socket: \1|p"
}

# What decides where packets go, but for what comes and goes by itself with interfaces.
# A take-over swaps two names of a table.
# Runs in a host.
baseline_kernel() {
	local v conf=/proc/sys/net/ipv4/conf
	for v in -4 -6; do
		ip $v -d rule | awk -v v=$v '{ print "rule " v " " NR ": " $0 }'
		ip $v route show table all proto 83 2>/dev/null | sed "s/^/route $v: /"
		ip $v neigh show nud permanent | sed "s/^/neighbour: /"
		ip $v neigh show proxy | sed "s/^/proxy: /"
	done
	nft list tables 2>/dev/null | sed 's|^\(table netdev .*\)/other$|\1|'
	grep -s . $conf/*/{rp_filter,accept_local,arp_announce,arp_ignore} \
		/proc/sys/net/ipv6/conf/*/{keep_addr_on_down,proxy_ndp} \
		/proc/sys/net/ipv4/ip_local_port_range
}

# Interfaces of every host and where it sends packets, files in the runtime and
# rendezvous directories, sockets with a path in the lab, and what each living process
# holds.
baseline_now() {
	local name
	for name in $(printf '%s\n' "${!lab_hosts[@]}" | sort); do
		ip -n "$lab_prefix$name" -o link | sed "s/^[0-9]*: \([^:@]*\).*/$name interface: \1/"
		in_ns "$name" bash -c "$(declare -f baseline_kernel); baseline_kernel" |
			sed "s/^/$name /"
		baseline_sockets "$name"
	done | sort
	[ "$NODES_IN" != self ] || baseline_sockets self | sort
	(cd "$LAB" && find run fabric -mindepth 1 | sort)
	for name in $(printf '%s\n' "${!lab_pids[@]}" | sort); do
		[[ $name =~ $BASELINE_OF ]] && is_alive "$name" && baseline_process "$name"
	done
	return 0
}

# Keeps the state of now under a name.
baseline_take() { # name
	baseline_now >"$LAB/$1.baseline"
}

baseline_same() { # name
	baseline_now | cmp -s - "$LAB/$1.baseline"
}

# True once the state is that of the name again, to the last item; otherwise prints
# the difference after this many seconds.
baseline_is() { # name, seconds (5)
	wait_for "${2:-5}" baseline_same "$1" && return
	baseline_now | diff -U0 --label "$1" --label now "$LAB/$1.baseline" -
}
