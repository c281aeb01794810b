# shellcheck shell=bash
# Machines that were booted by a systemd of their own (systemd-nspawn), with sshd, for
# tests/deploy/cluster.sh. Each has a root, a cgroup and a network namespace of its own; eth0 of
# all of them and of the namespace "admin" are on one bridge, 192.0.2.0/24.
#
# Shared memory does not leave a machine, but these are on one: /srv/fabric is the same
# directory in all of them, where their nodes meet.

machines_addresses=192.0.2

# shellcheck disable=SC2054
MACHINE_OPTIONS=(--quiet --register=no --keep-unit --private-network --console=pipe
	--link-journal=no --capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_BPF --bind=/dev/net/tun)

# What the package depends on is in it, so that machines need no mirror, and the driver of
# Soft-RoCE; and user shmnet, whose number is then the same everywhere. SHMNET_MACHINE_ROOT is one that was kept.
machines_root() { # package
	local depends
	root_tar=${SHMNET_MACHINE_ROOT:-$LAB/root.tar}
	[ ! -f "$root_tar" ] || return 0
	depends=$(dpkg-deb -f "$1" Depends | tr , '\n' | sed 's/[|(].*//; s/ //g' | paste -sd,)
	# shellcheck disable=SC2016 # mmdebstrap's shell
	mmdebstrap --quiet --variant=apt \
		--include="systemd-sysv,udev,dbus,iproute2,openssh-server,sudo,procps,ibverbs-providers,$depends" \
		--customize-hook='chroot "$1" useradd -r -M -s /usr/sbin/nologin shmnet' \
		--customize-hook='chroot "$1" useradd -m -s /bin/sh admin' \
		"$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" "$root_tar"
}

machine_root() { # machine
	echo "$LAB/roots/$1"
}

# In the root before it is booted: who may come by ssh, root and a user with sudo, and that the
# unit may write where nodes meet.
machine_make() { # machine, public key
	local root
	root=$(machine_root "$1")
	mkdir -p "$root" && tar -x -p -C "$root" -f "$root_tar" &&
		install -d -m 700 "$root/root/.ssh" && cp "$2" "$root/root/.ssh/authorized_keys" &&
		cp -r "$root/root/.ssh" "$root/home/admin/" &&
		chown -R --reference="$root/home/admin" "$root/home/admin/.ssh" &&
		echo "admin ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/admin" &&
		echo "$1" >"$root/etc/hostname" && : >"$root/etc/machine-id" &&
		install -d "$root/etc/systemd/system/shmnet-node@.service.d" "$root/srv/fabric" &&
		printf '[Service]\nReadWritePaths=/srv/fabric\n' \
			>"$root/etc/systemd/system/shmnet-node@.service.d/fabric.conf"
}

# Several systemds in one cgroup would end each other's processes.
machine_cgroups() { # machine
	local hierarchy
	for hierarchy in /sys/fs/cgroup/{systemd,unified,.}; do
		[ -f "$hierarchy/cgroup.procs" ] && echo "$hierarchy/$(host_ns "$1")"
	done
}

# The first process of the machine.
machine_pid() { # machine
	pgrep -P "$(pid_of "machine-$1")" | head -n 1
}

in_machine() { # machine, command...
	local pid
	pid=$(machine_pid "$1") || return
	shift
	timeout --foreground 60 nsenter -t "$pid" -a -r -w -- env -i \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

machine_is_up() { # machine
	in_machine "$1" systemctl is-system-running | grep -qE '^(running|degraded)$'
} 2>/dev/null

machine_boot() { # machine, number
	local cgroups
	mapfile -t cgroups < <(machine_cgroups "$1")
	mkdir -p "${cgroups[@]}" || return
	# shellcheck disable=SC2016 # that shell's own
	start "machine-$1" self bash -c 'until [ "$1" = -- ]; do
			echo $$ >"$1/cgroup.procs" || exit
			shift
		done; shift; exec "$@"' bash "${cgroups[@]}" -- \
		systemd-nspawn "${MACHINE_OPTIONS[@]}" -D "$(machine_root "$1")" \
		--bind="$LAB/fabric:/srv/fabric" --machine "$(host_ns "$1")" --boot
	wait_for 60 machine_is_up "$1" && machine_connect "$1" "$2" && return
	tail "$LAB/machine-$1.log"
	return 1
}

machine_connect() { # machine, number
	local ns
	ns=$(host_ns "$1")
	# shellcheck disable=SC2034 # netns/lib.sh removes it
	ip netns attach "$ns" "$(machine_pid "$1")" && lab_hosts[$1]=1 && ip -n "$(host_ns admin)" link add "to-$1" type veth peer name eth0 netns "$ns" &&
		ip -n "$(host_ns admin)" link set "to-$1" master br0 up &&
		ip -n "$ns" address add "$machines_addresses.$2/24" dev eth0 &&
		ip -n "$ns" link set eth0 up
}

machines_admin() {
	host_add admin && ip -n "$(host_ns admin)" link add br0 type bridge &&
		ip -n "$(host_ns admin)" address add "$machines_addresses.254/24" dev br0 &&
		ip -n "$(host_ns admin)" link set br0 up
}

# The wire of a machine is cut, or mended.
machine_wire() { # machine, up|down
	ip -n "$(host_ns admin)" link set "to-$1" "$2"
}

machine_off() { # machine
	in_machine "$1" systemctl --no-block poweroff && finish "machine-$1" 30
}

# Beside lab_cleanup, which ends the machines' first processes.
machines_cleanup() {
	[ "$BASHPID" = $$ ] || return
	local machine hierarchy
	lab_cleanup
	for hierarchy in /sys/fs/cgroup/{systemd,unified,.}; do
		for machine in "$hierarchy/$(host_ns '')"*; do
			[ ! -d "$machine" ] || find "$machine" -depth -type d -exec rmdir {} +
		done
	done
}
