#!/bin/bash
# The lab itself: machines that boot, run commands as if they were here, reach each other
# by TCP/IP and RDMA, lose their cable and their power, and leave nothing behind.
# timeout: 400, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"

says() { # status, standard output, standard error, command...
	local want=$1 out=$2 err=$3 status
	shift 3
	"$@" >"$LAB/out" 2>"$LAB/err" </dev/null
	status=$?
	echo "status $status" && cat "$LAB/out" "$LAB/err"
	[ "$status" -eq "$want" ] && [ "$(cat "$LAB/out")" = "$out" ] && [[ $(cat "$LAB/err") =~ $err ]]
}

comes_back() { # file: by way of standard input and output
	vm 1 cat <"$1" >"$LAB/copy"
	cmp "$1" "$LAB/copy"
}

listens() { # machine, port
	vm "$1" ss -Hltn "sport = :$2" </dev/null | grep -q LISTEN
}

pings() { # from, to
	vm "$1" ping -c 1 -W 1 "192.0.2.$2" </dev/null
}

# Not so of one that is dead and not yet waited for.
lives() { # pid of the host
	tr '\0' ' ' <"/proc/$1/cmdline" | grep .
} 2>/dev/null

runs() { # machine, command line
	vm "$1" pgrep -fx "$2" </dev/null
}

vm_begin "$@"
check "a lab that isn't up says so" says 1 "" "no lab 'lab' is up" vm_lab status
check "no memory for it: both numbers" says 1 "" \
	"2 machines of 65000 MB need 130200 MB; [0-9]+ MB are free" vm_lab up 2 --mem 65000
vm_up 2 --mem 384
lab=$lab_prefix"lab"

check "both machines are in the table" test "$(vm_lab status </dev/null |
	awk '$3 ~ /^192\.0\.2\.[12]$/ && $4 > 0 { print $1 }' | xargs)" = "1 2"
check "one lab of a name at a time" says 1 "" "already up" vm_lab up 1
check "a command's output, error and status" says 7 "to out" "^to err$" \
	vm 1 sh -c 'echo to out; echo to err >&2; exit 7'
check "a signal is 128 and its number" says 137 "" "" vm 1 sh -c "kill -9 \$\$"
check "a command that there isn't" says 127 "" "no-such-command: No such file" \
	vm 1 no-such-command
check "a machine that there isn't" says 1 "" "no machine 3 in lab 'lab'; there are 1 to 2" \
	vm 3 true
head -c 3000000 /dev/urandom >"$LAB/random"
check "standard input and output are exact" comes_back "$LAB/random"
cp "$LAB/random" "$LAB/share/from-host"
check "/lab is the shared directory" vm 2 sh -c 'cmp /lab/from-host - && echo hello >/lab/from-vm' \
	<"$LAB/random"
check "and writable" grep -qx hello "$LAB/share/from-vm"
check "the rest can't be changed from there" says 0 "" "" \
	vm 1 sh -c "echo changed >\"$LAB/random\""
check "and wasn't" test "$(stat -c %s "$LAB/random")" -eq 3000000

vm_start sleeper 1 sh -c 'trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done'
check "a command's output comes while it runs" wait_for 10 grep -q ready "$LAB/sleeper.log"
stop sleeper
check "SIGTERM is passed on, and the status returned" test $? -eq 5
vm_start sleeper 1 sleep 7777
check "another runs" wait_for 10 runs 1 'sleep 7777'
stop sleeper KILL
check "and ends with the one who asked for it" wait_for 10 not runs 1 'sleep 7777'

check "an address of each" pings 1 2
check "jumbo frames" vm 1 ping -c 1 -M "do" -s 4172 192.0.2.2
check "IPv6" vm 1 ping -c 1 fd00::2
check "rxe0 is up with path MTU 4096" vm 1 sh -c "ibv_devinfo -d rxe0 |
	grep -Eq 'state:.*PORT_ACTIVE' && ibv_devinfo -d rxe0 | grep -Eq 'active_mtu:.*4096'"
vm_start server 1 ibv_rc_pingpong -d rxe0 -g 1 -n 200
check "a server waits" wait_for 20 listens 1 18515
check "RDMA between the two" vm 2 ibv_rc_pingpong -d rxe0 -g 1 -n 200 192.0.2.1
check "the server is content, too" finish server

check "frames are dropped" vm_drop 1 1000 icmp type echo-request
check "all of them" not pings 2 1
check "and counted" test "$(vm_dropped 1)" -ge 1
vm_drop 1 0
check "until no more" pings 2 1

vm_lab link 2 down
check "a cable is pulled" not pings 1 2
check "the machine can still be asked" vm 2 true
vm_lab link 2 up
check "and plugged in" wait_for 20 pings 1 2

vm_start waiter 2 sleep 7777
check "a command waits" wait_for 10 runs 2 'sleep 7777'
vm_lab power 2 off
finish waiter 10
check "a plug is pulled, which a command notices" test $? -eq 255
check "with words" grep -q '198.51.100.2 went away' "$LAB/waiter.log"
check "a machine that is off" says 255 "" "machine 2 is off" vm 2 true
check "in the table, too" grep -Eq '^2 .* off$' <(vm_lab status </dev/null)
check "the other one goes on" vm 1 true
check "power is back" vm_lab power 2 on
check "the machine, too" pings 1 2

mapfile -t qemus < <(cat /run/shmnet-lab/"$lab"/vm*/pid)
check "down" vm_lab down
check "no QEMU is left" not lives "${qemus[0]}"
check "no namespace" not test -e "/run/netns/$lab"
check "no file" not test -e "/run/shmnet-lab/$lab"
check "down again is no error" vm_lab down

# As a user's terminal that is closed while machines boot.
"$lab_top/deploy/lab/vm-lab.sh" up 1 --mem 384 >"$LAB/up.out" 2>&1 </dev/null &
lab_pids[up]=$!
check "another lab comes up" wait_for 20 test -s "/run/shmnet-lab/$lab/vm1/pid"
qemu=$(cat "/run/shmnet-lab/$lab/vm1/pid")
stop up KILL
# It may be about to become QEMU.
check "whoever started it was killed; it goes on" wait_for 5 lives "$qemu"
check "until down" vm_lab down
check "then it is gone" not lives "$qemu"
"$lab_top/deploy/lab/vm-lab.sh" up 1 --mem 384 >"$LAB/up.out" 2>&1 </dev/null &
lab_pids[up]=$!
check "another" wait_for 20 test -s "/run/shmnet-lab/$lab/vm1/pid"
stop up TERM
check "a signal ends up and what it made" not test -e "/run/shmnet-lab/$lab"
check "all of it" not test -e "/run/netns/$lab"
lab_end
