# shellcheck shell=bash
# Tests in virtual machines: tests/netns/lib.sh, and a lab of deploy/lab/vm-lab.sh.
#
#	# timeout: 300
#	. "$(dirname "$0")/lib.sh"
#	vm_begin "$@"
#	vm_up 2 --mem 512
#	check "1 reaches 2" vm 1 ping -c 3 192.0.2.2
#	vm_start server 1 iperf3 -s -1
#	check "a stream" vm 2 iperf3 -c 192.0.2.1 -t 2
#	check "the server ends well" finish server
#	lab_end
#
# Machines see the host's files, so $(program shmnet-node) runs in them as it is. A file
# that changes while the lab is up belongs into $LAB/share, which is /lab in the machines:
# of others they may see what was there before. vm_begin's trap ends the lab, too.

# shellcheck source=tests/netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../netns/lib.sh"

vm_lab() { # verb, arguments...
	"$lab_top/deploy/lab/vm-lab.sh" "$@"
}

vm_begin() { # the script's arguments
	[ "$(id -u)" -eq 0 ] || skip "not root: the lab makes a bridge and TAPs"
	lab_begin "$@"
	export SHMNET_NETNS_PREFIX=$lab_prefix SHMNET_LAB=lab
	trap vm_cleanup EXIT
	mkdir "$LAB/share"
}

vm_cleanup() {
	[ "$BASHPID" = $$ ] || return
	vm_lab down
	lab_hosts=() # those that are not this machine's
	lab_cleanup
}

# Starts the machines; leaves the script if that fails, with 77 if it can't work here.
vm_up() { # number, more options of `up`...
	vm_lab up "$@" --share "$LAB/share" >"$LAB/up.out" 2>&1
	local status=$?
	cat "$LAB/up.out"
	[ $status -eq 0 ] || exit $status
}

# Runs a script of tests in a machine, where it is what it is here; its output is shown.
# It is given a quarter of the amounts, and four times as much time.
vm_script() { # machine, script, more of the environment...
	local machine=$1 script=$2 status
	shift 2
	echo "--- $script"
	"$lab_top/deploy/lab/vm-lab.sh" exec "$machine" env SHMNET_TEST_SLOW=4 "$@" \
		"$lab_top/$script" </dev/null
	status=$?
	check "$script in machine $machine" test $status -eq 0
}

# Runs a command in a machine, for COMMAND_DEADLINE at the most. Its standard input is
# this script's; in a loop that reads something give it </dev/null.
vm() { # machine, command...
	timeout --foreground "$COMMAND_DEADLINE" "$lab_top/deploy/lab/vm-lab.sh" exec "$@"
}

# Starts a command in the background; its output is in $LAB/NAME.log. is_alive, stop and
# finish of netns/lib.sh act on it. KILL ends the command, STOP does not reach it.
vm_start() { # name, machine, command...
	local name=$1
	shift
	"$lab_top/deploy/lab/vm-lab.sh" exec "$@" >>"$LAB/$name.log" 2>&1 </dev/null &
	lab_pids[$name]=$!
}

# Frames that arrive at the machine are dropped at random, this many in a thousand, all or
# those that a match of nft names: vm_drop 1 20 udp dport 4791. 0 ends it.
vm_drop() { # machine, per mille, match...
	local machine=$1 rate="numgen random mod 1000 < $2"
	[ "$2" -lt 1000 ] || rate=''
	shift 2
	vm "$machine" nft -f - <<-END
		table inet lab_drop
		delete table inet lab_drop
		table inet lab_drop {
			counter dropped { }
			chain input {
				type filter hook prerouting priority raw
				iif eth0 $* $rate counter name dropped drop
			}
		}
	END
}

vm_dropped() { # machine: how many since vm_drop
	vm "$1" nft -j list counter inet lab_drop dropped </dev/null |
		jq '.nftables[] | select(.counter) | .counter.packets'
}
