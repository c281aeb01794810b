# shellcheck shell=bash
# A root with a systemd of its own, in a container without a network: shared by
# tests/deploy/*.sh. Sourced after netns/lib.sh, traffic.sh, site.sh and recipes.sh.
#
#	lab_begin "$@"
#	borrows_root && installs_programs
#	check "it boots" boots --bind-ro=/usr --bind="$LAB/dest/usr/local:/usr/local"
#	check "a node starts" in_machine systemctl start shmnet-node@n1
#	check "it ends" shuts_down
#
# The root is $root. "machine" and "blue" are hosts for start and in_ns: the container's
# network, and that of the namespace of this name in it. Programs that are run there by
# start see this machine's files, others those of the container.

root=''
: "${lab_prefix=}" # lab_begin's

# shellcheck disable=SC2054 # systemd-nspawn wants the commas
NSPAWN=(systemd-nspawn --quiet --register=no --keep-unit --private-network --console=pipe
	--link-journal=no --capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_BPF --bind=/dev/net/tun)

need_root() {
	[ "$(id -u)" -eq 0 ] || skip "not root: a root of its own needs that"
}

need_tools() { # group of tests/install.sh, program...
	local tool
	for tool in "${@:2}"; do
		command -v "$tool" >/dev/null || skip "$tool is missing; tests/install.sh $1"
	done
}

# --- a root ----------------------------------------------------------------------------

# One that has this machine's /usr, which has to be bound to it, and nothing else of it:
# what is enabled here is not there.
borrows_root() {
	root=$LAB/root
	mkdir -p "$root"/{etc/shmnet,usr/lib,proc,sys,dev,run,tmp,root,var/log,var/lib,var/tmp} || return
	local dir
	for dir in bin sbin lib lib64; do
		ln -s "usr/$dir" "$root/$dir"
	done
	cp /etc/os-release "$root/usr/lib/" && cp -a /etc/ld.so.cache /etc/alternatives "$root/etc/" &&
		echo 5a1ad0f75a1ad0f75a1ad0f75a1ad0f7 >"$root/etc/machine-id" &&
		printf '%s\n' root:x:0:0:root:/root:/bin/bash messagebus:x:100:100::/:/bin/false \
			>"$root/etc/passwd" &&
		printf '%s\n' root:x:0: messagebus:x:100: >"$root/etc/group"
}

# As `meson install -C build` puts them below /usr/local, in $LAB/dest.
installs_programs() {
	meson install -C "${SHMNET_BIN:-$lab_top/build/gcc}" --no-rebuild --quiet --destdir "$LAB/dest"
}

# --- with a systemd --------------------------------------------------------------------

# The first process of the container.
first_pid() {
	pgrep -P "$(pid_of machine)" | head -n 1
}

run_in() { # host
	case $1 in
	self) ;;
	machine) echo nsenter -t "$(first_pid)" -n -- ;;
	*) echo nsenter --net="/proc/$(first_pid)/root/run/netns/$1" -- ;;
	esac
}

in_machine() { # command...
	timeout --foreground 60 nsenter -t "$(first_pid)" -a -r -w -- env -i \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive "$@"
}

is_booted() {
	in_machine systemctl is-system-running | grep -qE '^(running|degraded)$'
} 2>/dev/null

boots() { # more arguments of systemd-nspawn...
	start machine self "${NSPAWN[@]}" -D "$root" --machine "${lab_prefix%-}" "$@" --boot
	wait_for 60 is_booted || { tail "$LAB/machine.log" && return 1; }
}

shuts_down() {
	in_machine systemctl --no-block poweroff
	finish machine 30
}

# --- nodes as services -----------------------------------------------------------------

# n1, whose host is the machine, with a global network; n2, whose host is the namespace blue.
writes_configs() {
	cat <<-END >"$root/etc/shmnet/n1.yaml" || return
		node: {name: n1, id: 1}
		fabrics:
		  - {name: local, kind: shm}
		networks:
		  - {name: lan0, kind: local, tap: shm1, address: 10.77.0.1/24}
		  - {name: svc0, kind: global, tap: shmg1, address: 10.99.0.1}
	END
	cat <<-END >"$root/etc/shmnet/n2.yaml"
		node: {name: n2, id: 2, netns: blue}
		fabrics:
		  - {name: local, kind: shm}
		networks:
		  - {name: lan0, kind: local, tap: shm2, address: 10.77.0.2/24}
	END
}

# What the unit's comment says of a key of the config.
drop_in_for() { # key
	awk -v key="$1:" '$1 == "#" && $2 == key { on = 1; sub(key " [^ ]+", "") }
		on && ($1 != "#" || $2 ~ /:$/) { exit }
		on { print $2 }' "$lab_top/deploy/systemd/shmnet-node@.service.in"
}

drop_in() { # node; its lines on stdin
	local dir=$root/etc/systemd/system/shmnet-node@$1.service.d
	mkdir -p "$dir" && { echo '[Service]' && cat; } >"$dir/local.conf"
}

# By a service in front of the node's: nobody else sees what one of its own mounts.
makes_blue() {
	mkdir -p "$root/etc/systemd/system/shmnet-node@n2.service.wants" &&
		cat <<-END >"$root/etc/systemd/system/blue.service" || return
			[Unit]
			Before=shmnet-node@n2.service
			[Service]
			Type=oneshot
			RemainAfterExit=yes
			ExecStart=/bin/ip netns add blue
		END
	ln -s ../blue.service "$root/etc/systemd/system/shmnet-node@n2.service.wants/" &&
		drop_in_for netns | drop_in n2 && in_machine systemctl daemon-reload
}

are_active() {
	in_machine systemctl is-active shmnet-node@n1 shmnet-node@n2 || {
		in_machine journalctl --no-pager -n 30
		return 1
	}
}

main_pid() { # node
	in_machine systemctl show -P MainPID "shmnet-node@$1"
}

# Of its life: which interface it is, and how often it lost its carrier.
tap_life() { # tap
	in_machine cat "/sys/class/net/$1/ifindex" "/sys/class/net/$1/carrier_down_count"
}

# Runs something that ends n1's process; another one has to have the same TAP, with its
# carrier, and no connection may break.
survives() { # what, command...
	local pid life
	pid=$(main_pid n1) life=$(tap_life shm1)
	ways_mark from to && "${@:2}" && wait_for 30 is_another n1 "$pid" &&
		ways_live "$1" from to && [ "$(tap_life shm1)" = "$life" ] && return
	tap_life shm1
	in_machine journalctl --no-pager -n 30 -u shmnet-node@n1
	return 1
}

is_another() { # node, pid before
	local pid
	pid=$(main_pid "$1")
	[ "$pid" -gt 0 ] && [ "$pid" != "$2" ]
}

# One that n1's host opened, and one that n2's did.
opens_ways() {
	way_open from machine blue 10.77.0.2 && way_open to blue machine 10.77.0.1
}

said() { # node, words: the journal has them
	in_machine journalctl --no-pager -o cat -u "shmnet-node@$1" >"$LAB/journal" &&
		grep -F -- "$2" "$LAB/journal" && return
	tail -n 20 "$LAB/journal"
	return 1
}

has_rules() {
	in_machine ip rule | grep -F 10.99.0.1 && in_machine nft list tables | grep shmnet/n1
}

# Neither TAPs nor what a global network sets.
no_tap_left() {
	in_machine sh -c 'ls /sys/class/net; ip rule; ! ls /sys/class/net | grep shm &&
		! ip rule | grep 10.99 && ! { nft list tables 2>/dev/null | grep shmnet; }'
}
