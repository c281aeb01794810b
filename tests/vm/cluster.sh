#!/bin/bash
# A cluster by deploy/cluster.sh between machines: two of them with Soft-RoCE, and in each a
# systemd with sshd that has the machine's network and RDMA device. Nodes prove who they are by
# the certificates that it makes. An upgrade under traffic.
# timeout: 1800, alone
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/../netns/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/../netns/site.sh"
# shellcheck source=tests/deploy/machines.sh
. "$(dirname "$0")/../deploy/machines.sh"

SLOW=4
COMMAND_DEADLINE=900
export SHMNET_HEALTH_SECONDS=120 SHMNET_SSH_SECONDS=60
PORT=7010

# --- packages -----------------------------------------------------------------------------

builds() { # version: $deb is the package
	local cache
	cache=$(ccache -k cache_dir 2>/dev/null)
	${cache:+env CCACHE_DIR="$cache" CCACHE_BASEDIR="$LAB" CCACHE_NOHASHDIR=1} \
		"$lab_top/deploy/package.sh" -o "$LAB" --version "$1" >"$LAB/path" || return
	deb=$(cat "$LAB/path") && cp "$deb" "$LAB/shmnet.deb"
}

repacks() { # version
	dpkg-deb -R "$deb" "$LAB/content" &&
		sed -i "s/^Version: .*/Version: $1/" "$LAB/content/DEBIAN/control" &&
		dpkg-deb --root-owner-group -b "$LAB/content" "$LAB/newer.deb" && rm -r "$LAB/content"
}

# --- machines -------------------------------------------------------------------------------

# Both have the same files, and write to their own memory.
is_prepared() {
	mkdir -p "$LAB/fabric" && ssh-keygen -q -t ed25519 -N '' -f "$LAB/id" &&
		machine_make host "$LAB/id.pub" &&
		# A service manager that waits for what no machine of the lab has would wait long.
		ln -s /dev/null "$(machine_root host)/etc/systemd/system/systemd-udevd.service" &&
		rm "$(machine_root host)/etc/machine-id"
}

# RDMA devices are for everybody, as the rules of rdma-core have it.
systemd_boots() { # machine
	vm "$1" sh -ec 'mkdir -p /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup
		chmod 666 /dev/infiniband/*' </dev/null || return
	vm_start "systemd$1" "$1" env SYSTEMD_NSPAWN_API_VFS_WRITABLE=network \
		systemd-nspawn --quiet --register=no --keep-unit --console=pipe --link-journal=no \
		--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_BPF,CAP_IPC_LOCK --bind=/dev/net/tun \
		--bind=/dev/infiniband -D "$(machine_root host)" --machine "host$1" --boot
	wait_for 60 answers_ssh "$1" && return
	tail -n 20 "$LAB/systemd$1.log"
	return 1
}

answers_ssh() { # machine
	in_ns lab ssh -F "$LAB/ssh_config" -o BatchMode=yes -o ConnectTimeout=60 \
		"root@198.51.100.$1" true
} 2>/dev/null

there() { # machine, command...
	in_ns lab ssh -F "$LAB/ssh_config" -o BatchMode=yes "root@198.51.100.$1" "${*:2}" </dev/null
}

# --- the administrator -------------------------------------------------------------------------

writes_inventory() {
	cat >"$LAB/inventory.yaml" <<-END
		cluster: lab
		ca: ca
		package: shmnet.deb
		ssh: {config: ssh_config}
		hosts:
		  - {name: n1, id: 1, ssh: 198.51.100.1, listen: 192.0.2.1, rdma: rxe0}
		  - {name: n2, id: 2, ssh: 198.51.100.2, listen: 192.0.2.2, rdma: rxe0}
		fabrics:
		  - {name: roce, kind: rdma}
		node:
		  liveness: {interval_ms: 500, misses: 6}
		networks:
		  - {name: lan0, tap: shm0, address: 10.77.0.%/24}
	END
	cat >"$LAB/ssh_config" <<-END
		IdentityFile $LAB/id
		IdentitiesOnly yes
		UserKnownHostsFile $LAB/known_hosts
		StrictHostKeyChecking accept-new
		LogLevel ERROR
	END
}

says() { # status, text, verb...
	local want=$1 text=$2 status
	shift 2
	in_ns lab "$lab_top/deploy/cluster.sh" "$LAB/inventory.yaml" "$@" >"$LAB/said" 2>&1
	status=$?
	cat "$LAB/said"
	[ "$status" -eq "$want" ] && grep -qF -- "$text" "$LAB/said"
}

# --- what goes on meanwhile ----------------------------------------------------------------------

# The commands go through a pipe in the machine.
hold_tell() { # name, command
	hold_lines[$1]=$(wc -l <"$LAB/$1.log")
	# shellcheck disable=SC2016 # the machine's own
	vm 1 sh -c 'echo "$1" >"/run/$2.fifo"' sh "$2" "$1" </dev/null
}

opens_way() {
	vm 1 mkfifo /run/way.fifo </dev/null || return
	vm_start serve 2 python3 "$lab_top/tests/netns/gap.py" serve "$PORT" 10.77.0.2
	wait_for 20 log_has serve ready || return
	vm_start way 1 python3 "$lab_top/tests/netns/gap.py" ask --tick 20 /run/way.fifo \
		10.77.0.2 "$PORT"
	wait_for 20 log_has way ready && hold way mark
}

flows() {
	hold way gap && answered '.udp_now < 1000 and .tcp_now < 1000 and (.broken | not)'
}

# It flows again, by the connection of the beginning. Leaves the pause in a figure.
lives() { # what was done
	wait_for 30 flows || { cat "$LAB/answer" && return 1; }
	jq -r --arg what "$1" '"\($what): silent for \(.udp) ms by UDP, \(.tcp) ms by TCP"' \
		"$LAB/answer" >>"$LAB/gaps"
	hold way mark
}

[ -n "${SHMNET_TEST_LONG-}" ] || skip "takes minutes without KVM; --long runs it"
for tool in dpkg-buildpackage mmdebstrap systemd-nspawn ssh jq; do
	command -v $tool >/dev/null || skip "$tool is missing; tests/install.sh test package"
done
vm_begin "$@"
check "the package is built" builds 0.1.0+r1.gtest || lab_end
check "a newer one" repacks 0.1.0+r2.gtest
check "a root" machines_root "$deb" || lab_end
check "is made ready" is_prepared || lab_end
writes_inventory
vm_up 2 --mem 1024
lab_hosts[lab]=1 # vm_cleanup forgets it before the rest: the lab removes it
for machine in 1 2; do
	check "machine $machine has a systemd" systemd_boots $machine || lab_end
done

check "apply" says 0 "n2: started, and healthy" apply || lab_end
check "frames cross by RDMA" there 1 shmnetctl -n n1 ping n2 lan0 -c 1
check "with certificates" there 1 grep -q certificate: /etc/shmnet/n1.yaml
check "status" says 0 "1/1     as-here" status
check "traffic" opens_way || lab_end
sed -i 's/tap: shm0,/tap: shm0, cost: 15,/' "$LAB/inventory.yaml"
check "a change" says 0 "n2: " apply
check "the connection lives" lives "a change"
check "an upgrade" says 0 "n2: upgraded, and healthy" --package "$LAB/newer.deb" upgrade
check "the connection lives" lives "an upgrade"
check "nothing is left to do" says 0 "n1: nothing to do" plan
check "destroy" says 0 "n2: removed" --yes destroy
check "leaves nothing" not there 1 ls -d /etc/shmnet /usr/sbin/shmnet-node /run/shmnet
while read -r line; do
	figure "$line"
done <"$LAB/gaps"
lab_end
