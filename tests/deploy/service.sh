#!/bin/bash
# Nodes as services of a real systemd, in a container that has this machine's /usr and what
# `meson install` puts there: what the unit promises when nodes start, restart, reload, hang,
# crash, stop and are given a bad file, beside TCP connections that have to live on.
# timeout: 240
set -u
here=$(dirname "$0")
# shellcheck source=tests/netns/lib.sh
. "$here/../netns/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$here/../netns/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$here/../netns/site.sh"
# shellcheck source=tests/netns/recipes.sh
. "$here/../netns/recipes.sh"
# shellcheck source=tests/deploy/lib.sh
. "$here/lib.sh"

# --- what is in its place ----------------------------------------------------------------

has_user() {
	in_machine id shmnet
}

# As the directory of a node's socket has to be.
has_directory() {
	in_machine stat -c '%U %G %a' /run/shmnet | grep -x 'shmnet shmnet 750'
}

# A kernel may have it built in, or not at all.
passes_over_missing_modules() {
	echo shmnet_no_such_module >"$root/etc/modules-load.d/none.conf" &&
		in_machine /lib/systemd/systemd-modules-load /etc/modules-load.d/none.conf
}

# The class of a device has to be known when the unit starts: its module is loaded before.
loads_modules_of_devices() {
	local list=$LAB/dest/usr/local/lib/modules-load.d/shmnet.conf module
	for module in tun ib_uverbs rdma_ucm; do
		grep -x "$module" "$list" || return
	done
	in_machine systemctl show -P After shmnet-node@n1 | grep -F systemd-modules-load.service
}

# With an infinite limit, or as much as the container may give.
has_memlock() {
	local pid limit
	pid=$(main_pid n1) limit=$(memlock_of 1)
	in_machine systemctl show -P LimitMEMLOCK shmnet-node@n1 | grep -x infinity &&
		memlock_of "$pid" | grep -x "$limit"
}

memlock_of() { # pid: the hard limit
	in_machine sed -n 's/^Max locked memory *[^ ]* *\([^ ]*\).*/\1/p' "/proc/$1/limits"
}

# The unit's limit is what a node gets, if it is lower than others.
takes_memlock() {
	echo LimitMEMLOCK=2M | drop_in n1 && reloads_units && in_machine systemctl restart shmnet-node@n1 &&
		[ "$(memlock_of "$(main_pid n1)")" = 2097152 ]
}

# Nothing gives a TAP another name, or another address than that of the node.
udev_leaves_tap() {
	in_machine udevadm test-builtin net_setup_link /sys/class/net/shm1 >"$LAB/udev" 2>&1
	cat "$LAB/udev"
	grep -x 'ID_NET_LINK_FILE=.*/70-shmnet.link' "$LAB/udev" && grep -x ID_NET_NAME=shm1 "$LAB/udev" &&
		in_machine cat /sys/class/net/shm1/address | grep -x "$(mac_of lan0 1)"
}

# For TAPs of other names it is not.
udev_takes_others() {
	in_machine ip tuntap add other0 mode tap && udev_names_file other0 99-default.link &&
		in_machine ip link delete other0
}

udev_names_file() { # interface, file
	in_machine udevadm test-builtin net_setup_link "/sys/class/net/$1" 2>/dev/null |
		grep "^ID_NET_LINK_FILE=.*/$2$"
}

exposure() {
	in_machine systemd-analyze --no-pager security shmnet-node@n1 | sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p'
}

# What tests/static.sh sees of the file alone is a little more.
is_little_exposed() {
	local now
	now=$(exposure)
	echo "exposure: $now"
	[[ $now =~ ^[0-9]+\.[0-9]$ ]] && [ "${now/./}" -le 25 ]
}

# --- a life ------------------------------------------------------------------------------

reloads_units() {
	in_machine systemctl daemon-reload
}

# Type=notify: who has started it may use it, without a wait.
starts_ready() {
	in_machine systemctl enable --now shmnet-node@n1 shmnet-node@n2 &&
		in_machine shmnetctl -n n1 version && in_machine shmnetctl -n n2 version
}

sends() {
	in_machine shmnetctl -n n1 ping n2 lan0 -c 1
}

# The thread that is not the first one.
worker_of() { # pid
	in_machine ls "/proc/$1/task" | grep -vx "$1"
}

# Its worker stands still and the other thread goes on, until systemd has had enough.
hangs() {
	local pid
	pid=$(main_pid n1)
	start held self nsenter -t "$(first_pid)" -p python3 "$here/hold_thread.py" "$(worker_of "$pid")"
	wait_for 10 log_has held ready && wait_for 30 is_another n1 "$pid" && finish held 10 &&
		said n1 "gets no sign of life" && said n1 "Watchdog timeout"
}

# Signs of life that come are enough, for longer than the limit.
lives_on() {
	local pid
	pid=$(main_pid n1)
	sleep 5
	[ "$(main_pid n1)" = "$pid" ]
}

crashes() {
	in_machine systemctl kill -s KILL shmnet-node@n1
}

restarts() {
	in_machine systemctl restart shmnet-node@n1
}

state_of() { # node: what doesn't change by itself
	in_machine shmnetctl -n "$1" topology --json
}

# The node goes on as it was.
refuses_reload() {
	local pid status before
	pid=$(main_pid n1) before=$(state_of n1)
	sed -i 's/^node:/nude:/' "$root/etc/shmnet/n1.yaml"
	not in_machine systemctl reload shmnet-node@n1
	status=$?
	sed -i 's/^nude:/node:/' "$root/etc/shmnet/n1.yaml"
	[ "$status" -eq 0 ] && [ "$(main_pid n1)" = "$pid" ] && [ "$(state_of n1)" = "$before" ] && are_active
}

# A network more, in the same process.
reloads() {
	local pid
	pid=$(main_pid n1)
	echo "  - {name: lan1, kind: local, tap: shm9, address: 10.78.0.1/24}" >>"$root/etc/shmnet/n1.yaml"
	in_machine systemctl reload shmnet-node@n1 && [ "$(main_pid n1)" = "$pid" ] &&
		in_machine ip addr show shm9 | grep -F 10.78.0.1
}

# --- bad files ---------------------------------------------------------------------------

# Its private key, but for others to read.
opens_key() {
	mkdir -p "$root/etc/shmnet/keys" && in_machine shmnetctl keygen ca --dir /etc/shmnet/keys &&
		in_machine shmnetctl keygen node n3 --dir /etc/shmnet/keys &&
		in_machine chown -R shmnet: /etc/shmnet/keys && in_machine chmod 644 /etc/shmnet/keys/n3.key
	cat <<-END >"$root/etc/shmnet/n3.yaml"
		node: {name: n3, id: 3}
		fabrics:
		  - {name: roce, kind: rdma, listen: "10.77.0.1:7471", ca: /etc/shmnet/keys/ca.crt,
		     certificate: /etc/shmnet/keys/n3.crt, key: /etc/shmnet/keys/n3.key}
		networks:
		  - {name: lan0, tap: shm3, address: 10.77.0.3/24}
	END
}

# The reason is in the journal.
does_not_start() { # node, words
	not in_machine systemctl start "shmnet-node@$1" && said "$1" "$2"
}

# What may get better by itself is tried again.
has_given_up() { # node
	[ "$(in_machine systemctl show -P ActiveState "shmnet-node@$1")" = failed ] &&
		[ "$(in_machine systemctl show -P NRestarts "shmnet-node@$1")" = 0 ]
}

writes_bad_file() {
	echo 'node: {name: n4, id: 0}' >"$root/etc/shmnet/n4.yaml"
}

# --- the test ----------------------------------------------------------------------------

need_root
need_tools test systemd-nspawn meson udevadm dbus-daemon
lab_begin "$@"
check "the programs are installed" installs_programs || lab_end
check "a root with them" borrows_root || lab_end
mkdir "$root/etc/modules-load.d"
check "it boots" boots --bind-ro=/usr --bind="$LAB/dest/usr/local:/usr/local" || lab_end
check "there is a user for nodes" has_user
check "the modules of their devices are to be loaded" loads_modules_of_devices
check "one that the kernel doesn't have is no failure" passes_over_missing_modules

writes_configs
check "a namespace, with the drop-in that the unit names" makes_blue
check "nodes start, and answer" starts_ready || { in_machine journalctl --no-pager && lab_end; }
check "their directory is their user's" has_directory
check "and frames cross" wait_for 30 sends
check "rings may be locked in memory" has_memlock
check "udev leaves the TAP alone" udev_leaves_tap
check "and has its own ways with others" udev_takes_others
check "the unit is little exposed" is_little_exposed
figure "systemd-analyze security: $(exposure)"

check "connections from and to n1's host" opens_ways
check "live on over systemctl restart" survives "systemctl restart" restarts
check "and over a crash" survives "kill -9" crashes
check "a bad file is refused, and all is as before" refuses_reload
check "a good one is loaded" reloads
echo WatchdogSec=3 | drop_in n1
check "a limit for signs of life" reloads_units
check "is taken up" survives "systemctl restart" restarts
check "and kept" lives_on
check "a worker that hangs is noticed, and connections live on" survives "watchdog (3 s)" hangs
ways_figures
check "the rules of global networks stood all the time" has_rules
check "a lower limit of locked memory is in force" takes_memlock

check "a key that others can read" opens_key
check "is named in the journal" does_not_start n3 \
	"key /etc/shmnet/keys/n3.key can be read by others than its owner (mode 0644): chmod 600"
writes_bad_file
check "so is what is wrong in a file" does_not_start n4 "n4.yaml:1:"
check "which is not tried again" has_given_up n4
check "nobody has the file of n5" in_machine systemctl start shmnet-node@n5
check "which is left out" said n5 "skipped because of an unmet condition"

check "nodes are stopped" in_machine systemctl stop 'shmnet-node@*'
check "and leave no TAP and no rule" no_tap_left
check "the machine ends" shuts_down
lab_end
