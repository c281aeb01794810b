#!/bin/bash
# A cluster by deploy/cluster.sh: three machines with a systemd each, which it gets into by
# ssh, from nothing to a network with traffic; a change, an upgrade, hosts that fail in the
# middle, and what it refuses.
# timeout: 1800
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"
# shellcheck source=tests/netns/traffic.sh
. "$(dirname "$0")/../netns/traffic.sh"
# shellcheck source=tests/netns/site.sh
. "$(dirname "$0")/../netns/site.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/../netns/recipes.sh"
# shellcheck source=tests/deploy/machines.sh
. "$(dirname "$0")/machines.sh"

MACHINES=(n1 n2 n3)
WAYS=(n1-n2 n2-n3 n3-n1)
COMMAND_DEADLINE=300
export SHMNET_HEALTH_SECONDS=15

# --- packages ----------------------------------------------------------------------------

builds() { # version: $deb is the package
	local cache
	cache=$(ccache -k cache_dir 2>/dev/null)
	${cache:+env CCACHE_DIR="$cache" CCACHE_BASEDIR="$LAB" CCACHE_NOHASHDIR=1} \
		"$lab_top/deploy/package.sh" -o "$LAB" --version "$1" >"$LAB/path" || return
	deb=$(cat "$LAB/path") && [ -f "$deb" ]
}

# The same with another version.
repacks() { # version
	dpkg-deb -R "$deb" "$LAB/content" &&
		sed -i "s/^Version: .*/Version: $1/" "$LAB/content/DEBIAN/control" &&
		dpkg-deb --root-owner-group -b "$LAB/content" "$LAB/newer.deb" && rm -r "$LAB/content"
}

# The same, but that its node ends at once.
breaks() { # version
	dpkg-deb -R "$deb" "$LAB/content" &&
		sed -i "s/^Version: .*/Version: $1/" "$LAB/content/DEBIAN/control" &&
		printf '#!/bin/sh\necho it is broken >&2\nexit 1\n' >"$LAB/content/usr/sbin/shmnet-node" &&
		dpkg-deb --root-owner-group -b "$LAB/content" "$LAB/broken.deb" && rm -r "$LAB/content"
}

# --- the administrator ---------------------------------------------------------------------

writes_inventory() {
	cat >"$LAB/inventory.yaml" <<-END
		cluster: lab
		ca: ca
		package: shmnet.deb
		ssh: {config: ssh_config}
		hosts:
		  - {name: n1, id: 1, ssh: 192.0.2.1}
		  - {name: n2, id: 2, ssh: 192.0.2.2}
		  - {name: n3, id: 3, ssh: 192.0.2.3, user: admin}
		fabrics:
		  - {name: local, kind: shm, path: /srv/fabric}
		networks:
		  - {name: lan0, tap: shm0, mtu: 9000, addresses: [10.77.0.%/24, "fd77::%/64"]}
		  - {name: svc0, kind: global, tap: shmg0, address: 10.99.0.1}
	END
	cp "$LAB/inventory.yaml" "$LAB/good.yaml"
	cat >"$LAB/ssh_config" <<-END
		IdentityFile $LAB/id
		IdentitiesOnly yes
		UserKnownHostsFile $LAB/known_hosts
		StrictHostKeyChecking accept-new
		LogLevel ERROR
	END
}

edits() { # sed expression
	sed -i "$1" "$LAB/inventory.yaml"
}

as_before() {
	cp "$LAB/good.yaml" "$LAB/inventory.yaml"
}

cluster() { # verb...
	in_ns admin "$lab_top/deploy/cluster.sh" "$LAB/inventory.yaml" "$@"
}

# More than one ping: as long as the kernel asks for the address of who was away, once a
# second, it keeps a hundred packets, the latest ones, and the traffic beside is more.
frames_cross() { # address
	in_ns n1 ping -c 5 -W 5 "$1"
}

# Two roll-outs that are at a machine at once, past all that each has looked at before.
begins() { # machine, run
	in_machine "$1" bash -c "$(cat "$lab_top/deploy/cluster/host.sh")" host.sh begin "$2" "$1" "$2's"
}

begin_together() { # machine
	local first second
	start first self begins "$1" first
	start second self begins "$1" second
	finish first 30
	first=$?
	finish second 30
	second=$?
	cat "$LAB/first.log" "$LAB/second.log"
	[ $((first + second)) -eq 1 ] && cat "$LAB/first.log" "$LAB/second.log" |
		grep -qF "is half way in another roll-out (of "
}

is_of_one() { # machine
	local kept
	kept=$(machine_root "$1")/etc/shmnet/.previous
	[ "$(cat "$kept/who")" = "$(cat "$kept/run")'s" ] && [ ! -e "$kept/.previous.new" ] &&
		[ ! -e "$kept.new" ] && cmp "$kept/$1.key" "$kept/../$1.key"
}

# Each of the texts is in what it says, and nothing that is secret.
says() { # status, text..., -- verb...
	local want=$1 texts=() status text
	shift
	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	shift
	cluster "$@" >"$LAB/said" 2>&1
	status=$?
	cat "$LAB/said"
	! grep -q 'PRIVATE KEY' "$LAB/said" && [ "$status" -eq "$want" ] || return
	for text in "${texts[@]}"; do
		grep -qF -- "$text" "$LAB/said" || { echo "wanted: $text" && return 1; }
	done
}

# Cuts a machine's wire as soon as it has said something, and waits for what becomes of that.
cut_after() { # machine, text, verb...
	local machine=$1 text=$2 status
	shift 2
	: >"$LAB/roll.log"
	start roll admin "$lab_top/deploy/cluster.sh" "$LAB/inventory.yaml" "$@"
	wait_for 120 grep -q "$text" "$LAB/roll.log"
	machine_wire "$machine" down
	finish roll 120
	status=$?
	cat "$LAB/roll.log"
	[ "$status" -eq 1 ] && grep -q "^$machine: failed: " "$LAB/roll.log" &&
		grep -qF "go on:  mend $machine" "$LAB/roll.log"
}

# --- machines -----------------------------------------------------------------------------------

are_prepared() {
	local machine
	ssh-keygen -q -t ed25519 -N '' -f "$LAB/id" || return
	for machine in "${MACHINES[@]}"; do
		machine_make "$machine" "$LAB/id.pub" || return
	done
	chown "$(sed -n 's/^shmnet:[^:]*:\([0-9]*\):.*/\1/p' "$(machine_root n1)/etc/passwd")" \
		"$LAB/fabric"
}

# What is there of shmnet, but for what the test has put there.
traces() { # machine
	local root
	root=$(machine_root "$1")
	find "$root" -xdev -name '*shmnet*' -not -name 'shmnet-node@.service.d' -print
	in_machine "$1" sh -c 'ls /sys/class/net | grep ^shm; pgrep -a shmnet-node; ls -d /run/shmnet;
		ip rule | grep 10.99; nft list tables 2>/dev/null | grep shmnet' 2>/dev/null
}

no_traces() { # machine...
	local machine left
	for machine in "$@"; do
		left=$(traces "$machine")
		[ -z "$left" ] || { echo "$machine: $left" && return 1; }
	done
}

main_pid() { # machine
	in_machine "$1" systemctl show -P MainPID "shmnet-node@$1"
}

has_keys() { # machine
	local etc
	etc=$(machine_root "$1")/etc/shmnet
	[ "$(stat -c '%a %U' "$etc/$1.crt")" = "644 root" ] &&
		[ "$(stat -c '%a %u' "$etc/$1.key")" = "600 $(stat -c %u "$LAB/fabric")" ] &&
		[ ! -e "$etc/ca.key" ] && openssl verify -CAfile "$etc/ca.crt" "$etc/$1.crt"
}

has_version() { # machine, version
	in_machine "$1" dpkg-query -W shmnet | grep -x "shmnet	$2"
}

keeps_nothing() { # machine...
	local machine
	for machine in "$@"; do
		[ ! -e "$(machine_root "$machine")/etc/shmnet/.previous" ] &&
			[ ! -e "$(machine_root "$machine")/etc/shmnet/.new" ] || return
	done
}

has_address() { # machine, address
	ip -n "$(host_ns "$1")" address | grep -F "inet $2"
}

lists_pids() {
	local machine
	for machine in "${MACHINES[@]}"; do
		main_pid "$machine"
	done
}

same_processes() { # pids
	[ "$(lists_pids)" = "$1" ]
}

# --- faults of machines -------------------------------------------------------------------------

is_another_system() { # machine
	local os
	os=$(machine_root "$1")/etc/os-release
	cp --remove-destination "$(machine_root "$1")/usr/lib/os-release" "$os" &&
		sed -i 's/^ID=.*/ID=ubuntu/; s/^PRETTY_NAME=.*/PRETTY_NAME="Ubuntu 22.04 LTS"/' "$os"
}

is_itself() { # machine
	ln -sf ../usr/lib/os-release "$(machine_root "$1")/etc/os-release"
}

has_kernel() { # machine, release; none: its own
	local uname
	uname=$(machine_root "$1")/usr/local/bin/uname
	[ -n "${2-}" ] || { rm "$uname" && return; }
	printf '#!/bin/sh\necho %s\n' "$2" >"$uname" && chmod 755 "$uname"
}

# What is in /etc/shmnet now is on a file system that has just this much room.
has_little_room() { # machine, options of tmpfs
	# shellcheck disable=SC2016 # the machine's own
	in_machine "$1" sh -ec 'cp -a /etc/shmnet /tmp/kept; mount -t tmpfs -o "$1,mode=755" tmpfs /etc/shmnet
		cp -a /tmp/kept/. /etc/shmnet; rm -r /tmp/kept' sh "$2"
}

has_more_room() { # machine
	in_machine "$1" mount -o remount,nr_inodes=1000 /etc/shmnet
}

has_its_disk() { # machine
	in_machine "$1" sh -ec 'cp -a /etc/shmnet /tmp/kept; umount /etc/shmnet
		cp -a /tmp/kept/. /etc/shmnet; rm -r /tmp/kept'
}

# --- the test ---------------------------------------------------------------------------------------

[ "$(id -u)" -eq 0 ] || skip "not root: machines of its own need that"
for tool in dpkg-buildpackage mmdebstrap systemd-nspawn ssh jq; do
	command -v $tool >/dev/null || skip "$tool is missing; tests/install.sh test package"
done
lab_begin "$@"
trap machines_cleanup EXIT
: >"$LAB/gaps"
check "the package is built" builds 0.1.0+r1.gtest || lab_end
cp "$deb" "$LAB/shmnet.deb"
check "a newer one" repacks 0.1.0+r2.gtest
check "a root" machines_root "$deb" || lab_end
check "three machines are made of it" are_prepared || lab_end
check "a namespace for the administrator" machines_admin || lab_end
for machine in "${MACHINES[@]}"; do
	check "$machine boots" machine_boot "$machine" "${machine#n}" || lab_end
done
writes_inventory

check "plan shows what would be done" says 0 "certificates: n2.key is to be made" \
	"package: none -> 0.1.0+r1.gtest" "+node: {name: n3, id: 3, cluster: lab}" -- plan || lab_end
check "and does nothing" no_traces "${MACHINES[@]}"
check "nor here" not test -e "$LAB/ca"

# A first roll-out that fails in the middle.
check "apply stops where a host is cut off" cut_after n3 '^n1: .*healthy' apply
check "it names who is done" grep -F "Done: n1 n2. Failed: n3. Untouched: none." "$LAB/roll.log"
check "undo can't go back there either" says 1 "n3: can't be reached" "then repeat" -- undo
machine_wire n3 up
check "apply leaves that alone now" says 1 "is being taken back" -- apply
check "undo goes on" says 0 "n3: as it was before" "n1: as it was before" -- undo
check "and leaves nothing" no_traces "${MACHINES[@]}"
check "nothing is left to undo" says 1 "there is nothing to take back" -- undo

check "apply brings it to all" says 0 "n1: started, and healthy" "n3: started, and healthy" \
	-- apply || lab_end
for machine in "${MACHINES[@]}"; do
	check "$machine has keys of its own" has_keys "$machine"
done
check "frames cross" frames_cross 10.77.0.3
check "status has a table" says 0 "HOST" "n2                   2  192.0.2.2" "2/2     as-here" -- status
check "plan has nothing to do" says 0 "n1: nothing to do" "n3: nothing to do" -- plan
pids=$(lists_pids)
check "nor has a second apply" says 0 "n1: nothing to do" "n3: nothing to do" -- apply
check "which keeps no way back" keeps_nothing "${MACHINES[@]}"
for way in "${WAYS[@]}"; do
	check "traffic from ${way%-*} to ${way#*-}" way_open "$way" "${way%-*}" "${way#*-}" \
		"10.77.0.${way#*-n}" || lab_end
done

# A change that nodes take up as they run.
echo '  - {name: lan1, tap: shm1, address: 10.78.0.%/24}' >>"$LAB/inventory.yaml"
check "plan shows a change" says 0 "+  - {name: lan1, tap: shm1, address: 10.78.0.2/24}" -- plan
check "status, too" says 4 "differs" -- status
check "apply brings it" says 0 "n1: reloaded, and healthy" "n3: reloaded, and healthy" -- apply
check "by a reload" same_processes "$pids"
check "frames cross on the new network" frames_cross 10.78.0.3

# One host fails in the middle: on, and back.
cp "$LAB/inventory.yaml" "$LAB/good.yaml"
edits 's/10.78.0.%/10.79.0.%/'
check "apply stops where a host is cut off" cut_after n3 '^n1: .*healthy' apply
check "n1 has the change" has_address n1 10.79.0.1
check "n3 has not" not has_address n3 10.79.0.3
check "status shows it" says 1 "unreachable" "the last apply is half done" -- status
check "an upgrade does not begin" says 1 "the last apply is half done" -- upgrade
machine_wire n3 up
edits 's/10.79.0.%/10.80.0.%/'
check "nor another change" says 1 "-  - {name: lan1, tap: shm1, address: 10.79.0.%/24}" \
	"has changed since" -- apply
edits 's/10.80.0.%/10.79.0.%/'
check "undo goes back" says 0 "n1: as it was before" -- undo
check "n1 has what it had" has_address n1 10.78.0.1
check "and not the change" not has_address n1 10.79.0.1
check "and keeps nothing" keeps_nothing "${MACHINES[@]}"
check "a disk gets full" has_little_room n2 nr_inodes=16
check "apply stops there" says 1 "n2: failed: no room for its files" "No space left" \
	"Done: n1. Failed: n2. Untouched: n3." -- apply
check "there is room again" has_more_room n2
check "apply goes on" says 0 "going on with the apply" "n2: reloaded" "n3: reloaded" -- apply
has_its_disk n2
for machine in "${MACHINES[@]}"; do
	check "$machine has the change" has_address "$machine" "10.79.0.${machine#n}"
done
check "and keeps nothing" keeps_nothing "${MACHINES[@]}"
check "and nothing is left to do" says 0 "n2: nothing to do" -- apply
check "all went on by reloads" same_processes "$pids"
check "and under traffic" ways_live "changes that are stopped, go on, go back" "${WAYS[@]}"

# A change that wants a restart, and an upgrade.
edits 's/tap: shm0,/tap: shm0, ring_size: 512K,/'
ways_mark "${WAYS[@]}"
check "a change that wants a restart" says 0 "n1: started, and healthy" -- apply
check "connections live" ways_live "restarts" "${WAYS[@]}"
cp "$LAB/inventory.yaml" "$LAB/good.yaml"
check "an upgrade stops where a host is cut off" cut_after n3 '^n1: .*healthy' \
	--package "$LAB/newer.deb" upgrade
check "n1 has another version" has_version n1 0.1.0+r2.gtest
machine_wire n3 up
check "undo goes back" says 0 "n1: as it was before" -- undo
check "n1 has the version it had" has_version n1 0.1.0+r1.gtest
ways_mark "${WAYS[@]}"
check "an upgrade of all" says 0 "n3: upgraded, and healthy" -- --package "$LAB/newer.deb" upgrade
check "connections live" ways_live "upgrade" "${WAYS[@]}"
for machine in "${MACHINES[@]}"; do
	check "$machine has another version" has_version "$machine" 0.1.0+r2.gtest
done
check "frames cross" frames_cross 10.77.0.3
cp "$LAB/newer.deb" "$LAB/shmnet.deb"
check "nothing is left to do" says 0 "all hosts have 0.1.0+r2.gtest" -- upgrade

# What is refused; nothing is changed by any of it.
ways_mark "${WAYS[@]}"
pids=$(lists_pids)
edits '/name: n2/s/id: 2/id: 1/'
check "an id twice" says 2 "inventory.yaml:7: hosts[1].id: 1 is that of n1" -- apply
as_before && edits '/name: n2/s/name: n2/name: n1/'
check "a name twice" says 2 "hosts[1].name: n1 is that of n1" -- apply
as_before && edits '/name: n3/s/192.0.2.3/192.0.2.1/'
check "an address of ssh twice" says 2 "hosts[2].ssh: 192.0.2.1 port 22 is that of n1" -- apply
as_before && edits 's/10.77.0.%/10.77.0.9/'
check "an address of a network twice" says 2 "networks[0].addresses: 10.77.0.9 of n2 is that of n1" \
	"put % in" -- apply
as_before && edits 's/mtu: 9000/mut: 9000/'
check "a key that nodes don't know" says 2 "mut" "makes no good config for n1" -- apply
as_before && edits 's/^hosts:/hots:/'
check "a key that it does not know" says 2 "hots: unknown key; did you mean 'hosts'?" -- apply
as_before && edits '/name: n2/s/192.0.2.2/192.0.2.9/'
check "a host that is not there" says 1 "n2: can't be reached: ssh -p 22 root@192.0.2.9" \
	"nothing was changed" -- apply
as_before && is_another_system n2
check "another distribution" says 1 "n2: runs Ubuntu 22.04 LTS; Debian 12 or newer" -- apply
is_itself n2
has_kernel n2 5.10.0-30-amd64
check "a kernel that is too old" says 1 "n2: its kernel is 5.10.0-30-amd64, and global networks need 5.12" -- apply
has_kernel n2
in_machine n2 mount --bind /dev/null /dev/net/tun
check "a kernel without TAPs" says 1 "n2: has no /dev/net/tun" -- apply
in_machine n2 umount /dev/net/tun
edits 's/^fabrics:/&\n  - {name: roce, kind: rdma}/'
check "no RDMA device" says 1 "n1: has no RDMA device" "rdma link add" -- apply
as_before && chmod 644 "$LAB/ca/n2.key"
check "a key that others can read" says 1 "ca/n2.key: has mode 644" "chmod 600" -- apply
chmod 600 "$LAB/ca/n2.key"
mkdir "$LAB/kept" && mv "$LAB/ca/n2".* "$LAB/kept"
"$(program shmnetctl)" keygen node n2 --dir "$LAB/ca" --days 20 >/dev/null
check "a certificate that expires soon" says 1 "ca/n2.crt: expires on" "apply makes new ones" -- apply
mv "$LAB/kept/n2".* "$LAB/ca"
edits 's/^cluster: lab/cluster: other/'
check "certificates of another cluster" says 1 "ca/n1.crt: is not for other/n1" -- apply
as_before && edits 's/shmnet.deb/none.deb/'
check "no package" says 1 "none.deb: there is no such package" -- apply
as_before && has_little_room n2 size=64k
check "a full disk" says 1 "n2: its disk is full" "make room" -- apply
has_its_disk n2
install -d "$(machine_root n2)/etc/shmnet/.previous"
echo other >"$(machine_root n2)/etc/shmnet/.previous/run"
check "a host that somebody else is at" says 1 "n2: is half way in another roll-out" -- apply
rm -r "$(machine_root n2)/etc/shmnet/.previous"
check "of two that begin at once one does" begin_together n2
check "and keeps all of it" is_of_one n2
rm -r "$(machine_root n2)/etc/shmnet/.previous"
install -d "$(machine_root n2)/etc/shmnet/.previous" # half thrown away
check "where nothing is to go back to another begins" begins n2 third
check "and keeps all of it" is_of_one n2
rm -r "$(machine_root n2)/etc/shmnet/.previous"
start other self flock --no-fork "$LAB/inventory.state/lock" sleep 60
wait_for 5 not flock -n "$LAB/inventory.state/lock" true
check "two at a time" says 1 "another cluster.sh works on" -- apply
stop other
check "the same processes run" same_processes "$pids"
check "all is as it was" says 0 "n1: nothing to do" "n2: nothing to do" "n3: nothing to do" -- plan
check "and connections live" ways_live "what was refused" "${WAYS[@]}"

# Less, and nothing. A node of somebody else's is left alone.
edits '/name: n3/d'
check "plan shows a host less" says 0 "n3: no longer in the inventory" -- plan
echo '# by hand' >"$(machine_root n3)/etc/shmnet/other.yaml"
check "apply removes it" says 0 "n3: removed" -- apply
check "but not another's config" in_machine n3 test -f /etc/shmnet/other.yaml -a -x /usr/sbin/shmnet-node
check "all of its own" not in_machine n3 sh -c 'ls /etc/shmnet/n3.*'
rm "$(machine_root n3)/etc/shmnet/other.yaml"
as_before
check "it comes back" says 0 "n3: started, and healthy" -- apply
edits '/name: n3/d'
check "apply removes it again" says 0 "n3: removed" -- apply
check "all of it" no_traces n3
check "the others go on" frames_cross 10.77.0.2
as_before
check "it comes back" says 0 "n3: started, and healthy" -- apply
check "frames cross" frames_cross 10.77.0.3

# Ways back from what can't run, and to what somebody has left.
check "a package whose node ends at once" breaks 0.1.0+r3.gtest
check "an upgrade to it stops" says 1 "n1: failed: its unit is" "Untouched: n2 n3." \
	-- --package "$LAB/broken.deb" upgrade
check "n1 has that package" has_version n1 0.1.0+r3.gtest
check "undo goes back" says 0 "n1: as it was before" -- undo
check "n1 has the version it had" has_version n1 0.1.0+r2.gtest
check "and keeps nothing" keeps_nothing "${MACHINES[@]}"
check "frames cross" frames_cross 10.77.0.3
check "somebody takes the package away" in_machine n2 apt-get -q -y remove shmnet
check "and the unit" in_machine n1 systemctl disable shmnet-node@n1
edits 's/10.79.0.%/10.81.0.%/'
check "apply stops where a host is cut off" cut_after n3 '^n1: .*healthy' apply
check "n2 has the package again" has_version n2 0.1.0+r2.gtest
machine_wire n3 up
check "undo goes back" says 0 "n3: as it was before" "n2: as it was before" "n1: as it was before" \
	-- undo
check "n2 has no package" not in_machine n2 test -e /usr/sbin/shmnet-node
check "but its keys" has_keys n2
check "and its config" grep -q 10.79.0.2 "$(machine_root n2)/etc/shmnet/n2.yaml"
check "n1 has its unit as it was" not in_machine n1 systemctl is-enabled shmnet-node@n1
check "n1's node runs" in_machine n1 systemctl is-active shmnet-node@n1
as_before
check "apply brings all back" says 0 "n2: started, and healthy" -- apply
check "destroy asks" says 2 "--yes" -- destroy
check "destroy removes it" says 0 "n1: removed" "n2: removed" "n3: removed" -- --yes destroy
check "all of it" no_traces "${MACHINES[@]}"
check "here, too" not test -e "$LAB/inventory.state"
for machine in "${MACHINES[@]}"; do
	check "$machine ends" machine_off "$machine"
done
ways_figures
lab_end
