#!/bin/bash
# Does lib.sh see what it must see and clean up what it must? With stand-ins for
# shmnet-node and shmnetctl: a bridge and a file instead of the real thing.
#
# The script calls itself for what must be seen from outside:
#   lib_selftest.sh killed DIR | failing DIR
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

make_fakes() { # directory
	cat >"$1/shmnet-node" <<-'END'
		#!/bin/bash
		config=$2
		[ ! -e "${config%.yaml}.broken" ] || { echo "no luck" && exit 1; }
		sock=${config%/*}/run/$(basename "$config" .yaml).sock
		ip link add shm0 type bridge 2>/dev/null
		trap 'ip link delete shm0; rm "$sock"; exit 0' TERM
		trap 'exec 9</dev/null' USR1
		echo $$ >"$sock"
		while :; do sleep 0.1 & wait $!; done
	END
	cat >"$1/shmnetctl" <<-'END'
		#!/bin/bash
		kill -0 "$(cat "$2")" 2>/dev/null || exit 3
		echo "{\"node\": \"$(basename "$2" .sock)\", \"nodes_up\": 0}"
		exit 4
	END
	chmod +x "$1/shmnet-node" "$1/shmnetctl"
}

NETWORKS=("lan0 shm0 1500 10.77.0.%/24 fd77::%/64" "lan1 shm1 9000")

# --- seen from outside ---------------------------------------------------------

killed() { # directory
	lab_begin killed "$1"
	node_up n1 1 || exit 1
	echo "$LAB ${lab_pids[n1]}" >"$1/ready.new" && mv "$1/ready.new" "$1/ready"
	while :; do sleep 0.05; done
}

failing() {
	lab_begin failing "$1"
	check "this is true" true
	check "this is not" ls /nonexistent/file
	lab_end
}

case ${1-} in
killed | failing) "$@" ;;
esac

# --- the test ------------------------------------------------------------------

cleans_up_after() { # signal
	local outer=$lab_prefix lab pid
	rm -f "$LAB/ready"
	# What a shell starts in the background ignores SIGINT otherwise.
	SHMNET_NETNS_PREFIX=${outer}k- env --default-signal=INT "$0" killed "$LAB" \
		>"$LAB/killed.log" 2>&1 &
	lab_pids[killed]=$!
	wait_for 10 test -e "$LAB/ready" || return
	read -r lab pid <"$LAB/ready"
	ip netns list | grep -q "^${outer}k-n1" || return
	stop killed "$1"
	[ ! -e "$lab" ] && [ ! -e "/proc/$pid" ] &&
		! ip netns list | grep "^${outer}k-"
}

says_what_failed() {
	local output
	output=$("$0" failing "$LAB") && return 1
	grep -q '^FAIL  this is not$' <<<"$output" &&
		grep -q '| ls: .*/nonexistent/file' <<<"$output" &&
		grep -q '^1 of 2 checks passed$' <<<"$output"
}

refuses_a_node_that_ends() {
	local counted=$checks_failed
	touch "$LAB/n3.broken"
	node_up n3 3 && return 1
	[ "$checks_failed" -gt "$counted" ] && checks_failed=$counted
	grep -q 'node n3 ended' "$LAB/check.out" && grep -q 'no luck' "$LAB/check.out"
}

config_is() {
	diff - "$LAB/n1.yaml" <<-END
		node: {name: n1, id: 1, runtime_dir: $LAB/run}
		fabrics:
		  - {name: local, kind: shm, path: $LAB/fabric}
		networks:
		  - {name: lan0, kind: local, tap: shm0, mtu: 1500, addresses: ["10.77.0.1/24", "fd77::1/64"]}
		  - {name: lan1, kind: local, tap: shm1, mtu: 9000, addresses: []}
	END
}

ends_by_itself() {
	start brief n1 sh -c 'exit 3'
	finish brief 5
	[ $? -eq 3 ] && [ -z "${lab_pids[brief]-}" ]
}

goes_on() {
	start long n1 sleep 100
	finish long 0
	[ $? -eq 124 ] && is_alive long && not stop long
}

lab_begin "$@"
mkdir "$LAB/bin" && make_fakes "$LAB/bin"
export SHMNET_BIN=$LAB/bin

check "a node comes up" node_up n1 1
check "its config is as documented" config_is
check "its interface is in its namespace only" in_ns n1 ip link show shm0
check "no node is seen that isn't there" not node_sees n1 1
check "a node that ends at once is refused with its words" refuses_a_node_that_ends

baseline_take up
check "nothing changes by itself" baseline_is up
kill -USR1 "$(pid_of n1)"
check "an fd too many is seen" wait_for 5 not baseline_same up
check "and named" not baseline_is up 0
grep -q 'n1 fds:.*/dev/null' "$LAB/check.out" || check "by its file" false
check "a command that ends by itself is waited for" ends_by_itself
check "one that doesn't is not waited for any longer" goes_on
check "a node ends when told to" stop n1
check "what it had is gone" not baseline_is up 0
check "it comes back" node_up n1 1
check "as it was" baseline_is up
stop n1 KILL
check "after SIGKILL its interface stays" in_ns n1 ip link show shm0
check "the next one takes it over" node_up n1 1
check "and all is as it was" baseline_is up
in_ns n1 ip link add extra type bridge
check "an interface too many is seen" not baseline_is up 0

for signal in TERM INT HUP; do
	check "a script that gets $signal leaves nothing" cleans_up_after $signal
done
check "a failed check shows its output and fails the script" says_what_failed
lab_end
