#!/bin/bash
# What a node gives up at its start: that each of its threads, and its DHCP client, has
# the rest and no more, that its whole life is possible with that, as root and as another
# user, and what becomes of one that makes a call which a node never makes.
# timeout: 180
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/traffic.sh"

# Bits of <linux/capability.h>.
declare -A CAP=([dac_override]=1 [net_bind_service]=10 [net_admin]=12 [net_raw]=13
	[sys_ptrace]=19 [sys_admin]=21 [bpf]=39)
ALWAYS=(net_admin net_raw bpf)

# As /proc/PID/status prints a set of capabilities.
set_of() { # capability...
	local cap bits=0
	for cap in "$@"; do
		bits=$((bits | 1 << CAP[$cap]))
	done
	printf '%016x\n' $bits
}

# Each of these lines is in a file like /proc/PID/status.
status_is() { # file, line...
	local file=$1 line
	shift
	for line in "$@"; do
		grep -qxP "${line/ /\\t}" "$file" || {
			echo "not '$line':"
			grep -E '^(Cap|Seccomp|NoNew)' "$file"
			return 1
		}
	done
}

# All threads of the node have these capabilities, no way to more, and a filter.
is_confined() { # node, capability...
	local task sets num=0
	sets=$(set_of "${@:2}")
	for task in "/proc/$(pid_of "$1")/task/"*; do
		status_is "$task/status" "CapEff: $sets" "CapPrm: $sets" "CapBnd: ${bound:-$sets}" \
			"NoNewPrivs: 1" "Seccomp: 2" || return
		num=$((num + 1))
	done
	echo "$num threads"
	[ "$num" -ge 2 ]
}

# Nor did it make a call on the way that it was refused.
made_no_other_call() { # node...
	! (cd "$LAB" && grep 'system call' "${@/%/.log}")
}

drained() { # node
	ctl n1 drain "$1" && ctl n1 flows
}

serves() { # from
	in_ns "$1" ping -q -c 1 -W 2 10.99.0.1
}

node_start_stray() { # call
	in_ns n1 true && start n1 n1 env LD_PRELOAD="$stray" SHMNET_STRAY_CALL="$1" \
		SHMNET_STRAY_AFTER="$LAB/stray" "$(program shmnet-node)" --config "$LAB/n1.yaml"
	wait_for "$NODE_DEADLINE" node_answers n1
}

log_says() { # node, pattern
	grep -E "$2" "$LAB/$1.log" && return
	cat "$LAB/$1.log"
	return 1
}

# By SIGSYS, with words.
ends_for() { # call
	local status
	touch "$LAB/stray"
	finish n1 10
	status=$?
	echo "exit status $status"
	[ "$status" -eq 159 ] && log_says n1 "^ERROR system call [0-9]+ \($1\) is none that a node makes"
}

lab_begin "$@"
! grep -qc '__[at]san_init' "$(program shmnet-node)" || skip "a sanitizer makes calls of its own"
stray=$(program libstray-call.so) || exit 1
host_add n1 && host_add n2 && host_add n3 && host_add h && host_add n4
ip -n "$(host_ns n1)" link add nic0 type veth peer nic1
ip -n "$(host_ns n1)" link set nic0 up && ip -n "$(host_ns n1)" link set nic1 up
ip -n "$(host_ns n1)" addr add 10.99.0.11/24 dev nic0
baseline_take empty

# --- a whole life ----------------------------------------------------------------------

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
GLOBALS=("www shmg0 10.99.0.1")
GLOBAL_KEYS="announce: nic0"
node_config n1 1 >"$LAB/n1.yaml"
GLOBAL_KEYS=''
# Its client takes an address itself, and tells what it may.
cat >"$LAB/client" <<-END
	#!/bin/sh
	cat /proc/self/status >"$LAB/client.status"
	ip addr add 10.77.0.33/24 dev "\$1" || exit
	exec sleep 1000
END
chmod +x "$LAB/client"
NODE_KEYS="dhcp_client: [$LAB/client, \"%i\"]" GLOBALS=()
NETWORKS=("lan0 shm0 1500 dhcp fd77::%/64")
node_config n3 3 >"$LAB/n3.yaml"
NODE_KEYS="netns: $(host_ns n4)"
NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64")
node_config n4 4 >"$LAB/n4.yaml"
NODE_KEYS='' GLOBALS=("www shmg0 10.99.0.1")

# One announces, one just serves, one runs a client, one has its TAPs elsewhere.
for node in n1 n2 n3; do
	node_up $node ${node#n} || lab_end
done
node_start n4 h
check "four nodes are one mesh" mesh_is_whole n1 n2 n3 n4
check "one has what each needs" is_confined n1 "${ALWAYS[@]}"
check "so has the next" is_confined n2 "${ALWAYS[@]}"
check "one with a DHCP client a bit more" is_confined n3 "${ALWAYS[@]}" net_bind_service
check "one that goes to a namespace, too" is_confined n4 "${ALWAYS[@]}" sys_admin
check "the log says what" log_says n4 '^INFO  keeps of all privileges: net_admin net_raw bpf sys_admin$'
check "the client runs" wait_for 5 pings n3 -I 10.77.0.33 10.77.0.1
client=$(set_of net_admin net_raw net_bind_service)
check "it has no more than its node, and inherits its part" status_is "$LAB/client.status" \
	"CapAmb: $client" "CapBnd: $(set_of "${ALWAYS[@]}" net_bind_service)" "NoNewPrivs: 1" "Seccomp: 2"
for node in n2 n3 n4; do
	check "n1 reaches $node" wait_for 5 pings n1 "fd77::${node#n}"
done
# In a user namespace the kernel refuses steering.
! grep -q ' 4294967295$' /proc/self/uid_map ||
	check "frames have queues of their own" eval \
		"ctl n1 status --json | jq -e '.networks[0].queues > 1'"
check "the global address answers" wait_for 5 serves n2
check "n1 answers for it on its LAN" wait_for 5 log_says n1 "this node answers for .* on nic0"
ip -n "$(host_ns n2)" link set shm0 address 02:00:00:00:00:09
check "a MAC address that is changed is set back" wait_for 5 eval \
	"ip -n $(host_ns n2) link show shm0 | grep -q $(mac_of lan0 2)"
check "a member is drained" drained n2
check "shmnetctl ping" ctl n1 ping n2
stop n2 KILL
check "a killed node" node_up n2 2
check "is taken back" mesh_is_whole n1 n2 n3 n4
check "with all that happened told" eval "ctl n1 events | grep -q n2"
for node in n1 n2 n3 n4; do
	check "$node ends well" ends $node
done
check "none made another call" made_no_other_call n1 n2 n3 n4
check "nothing is left" baseline_is empty

# --- calls that a node never makes -------------------------------------------------------

rm "$LAB"/n?.log
check "a node that is about to make another call" node_start_stray getpriority
touch "$LAB/stray"
check "is refused that, and says so" wait_for 5 log_says n1 \
	'^WARN  system call [0-9]+ \(getpriority\) is not on the list of those that a node makes'
check "and goes on" node_answers n1
touch "$LAB/stray"
wait_for 5 not test -e "$LAB/stray"
check "it ends well" ends n1
check "it said so once" test "$(grep -c getpriority "$LAB/n1.log")" -eq 1
for call in ptrace execve; do
	check "one that is about to call $call" node_start_stray $call
	check "ends there, and the log names it" ends_for $call
	rm "$LAB/n1.log"
done
check "the next start adopts what it left" node_up n1 1
check "and ends well" ends n1
check "nothing is left" baseline_is empty

# --- another user ------------------------------------------------------------------------

# May open /dev/net/tun, whatever its mode.
caps=+net_admin,+net_raw,+bpf bound=$(sed -n 's/^CapBnd:\t//p' /proc/self/status)
[ "$(stat -c %a /dev/net/tun)" = 666 ] || caps+=,+dac_override
as_user=(setpriv --reuid 1234 --regid 1234 --clear-groups --inh-caps "$caps" --ambient-caps "$caps")
chmod 755 "$LAB" && chmod 644 "$LAB"/*.yaml && rm -f "$LAB"/n?.log
if "${as_user[@]}" true 2>/dev/null && chown 1234 "$LAB/run" "$LAB/fabric"; then
	for node in n1 n2; do
		start $node $node "${as_user[@]}" "$(program shmnet-node)" --config "$LAB/$node.yaml"
	done
	check "nodes of another user, with ambient capabilities" mesh_is_whole n1 n2
	check "have what they need" is_confined n1 "${ALWAYS[@]}"
	check "reach each other" wait_for 5 pings n1 10.77.0.2
	check "frames have queues of their own, too" eval \
		"ctl n1 status --json | jq -e '.networks[0].queues > 1'"
	check "the global address answers" wait_for 5 serves n2
	check "n1 answers for it" wait_for 5 log_says n1 "this node answers for .* on nic0"
	check "its user can't read its memory" test "$(stat -c %u "/proc/$(pid_of n1)/mem")" -eq 0
	check "n1 ends well" ends n1
	check "so does n2" ends n2
	check "none made another call" made_no_other_call n1 n2
	start n1 n1 "${as_user[@]}" "$(program shmnet-node)" --config "$LAB/n1.yaml"
	check "one starts again" wait_for "$NODE_DEADLINE" node_answers n1
	stop n1 KILL
	check "killed, root cleans up what it left" \
		in_ns n1 "$(program shmnet-node)" --cleanup --config "$LAB/n1.yaml"
	chown 0 "$LAB/run" "$LAB/fabric"
	check "nothing is left" baseline_is empty
else
	echo "SKIP: user 1234 can't have capabilities here"
fi
lab_end
