#!/bin/bash
# Virtual machines with Soft-RoCE, joined by a bridge in a network namespace of their own.
#
#   vm-lab.sh up N [--mem MB] [--cpus N] [--share DIR] [--nodes-per-vm K --fabric rdma]
#                                starts N machines; returns when all of them answer
#   vm-lab.sh status             a table of them
#   vm-lab.sh exec N CMD...      runs a command as root in machine N
#   vm-lab.sh link N up|down     plugs the cable of machine N in, or pulls it
#   vm-lab.sh power N on|off     starts machine N again, or pulls its plug
#   vm-lab.sh console N          prints what machine N wrote to its console
#   vm-lab.sh down               ends all of it; no error if there is nothing
#   vm-lab.sh kernel             fetches the kernel, which `up` does otherwise
#
#     --name NAME                a lab of that name, among several; before or after the
#                                verb (default: $SHMNET_LAB, or "lab")
#     --mem MB, --cpus N         of each machine (default: 512, 2)
#     --share DIR                a directory of the host that is /lab in each machine
#                                (default: one that goes with the lab)
#     --nodes-per-vm K, --fabric rdma
#                                runs K shmnet-node in each machine, of $SHMNET_BIN or
#                                the build of this tree; their configs are in /lab
#
# A machine sees the host's files, read-only; what it writes elsewhere than in /lab is in
# its memory. Machine N has eth0 with 192.0.2.N/24 and fd00::N/64, MTU 4200, and rxe0 on
# it. exec: standard input, output, error and exit status are the command's; the same
# working directory, and of the environment what starts with SHMNET_; 255 if the machine
# doesn't answer. Nothing is installed: kernel and modules are Debian's, in a cache
# ($SHMNET_LAB_CACHE, or ~/.cache/shmnet-lab). QEMU uses KVM where that works.
#
# Exit: 0; 1 with the reason; 2 on usage; 77 from `up` if this machine can't run it.
set -u
lab_top=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${SHMNET_LAB:-lab} kernel='' machines='' mem=512 cpus=2 share='' mtu=4200
nodes_per_vm=0 fabric='' programs=''
# Seconds in which a machine has to answer, with 2 cores under load and no KVM.
boot_deadline=${SHMNET_LAB_DEADLINE:-120}

# shellcheck source=deploy/lab/kernel.sh
. "$lab_top/kernel.sh"
# shellcheck source=deploy/lab/nodes.sh
. "$lab_top/nodes.sh"

usage() {
	sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

bad_usage() {
	echo "vm-lab.sh: $1; see vm-lab.sh --help" >&2
	exit 2
}

die() { # words...
	printf 'vm-lab.sh: %s\n' "$*" >&2
	exit 1
}

cannot() { # reason
	echo "SKIP: $1"
	exit 77
}

is_number() { # text, at least, at most
	[[ $1 =~ ^[0-9]{1,6}$ ]] && [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]
}

# --- what there is -------------------------------------------------------------

# Sets the names of everything.
name_things() {
	[[ $name =~ ^[A-Za-z0-9._-]{1,40}$ ]] || bad_usage "'$name' is no name for a lab"
	ns=${SHMNET_NETNS_PREFIX:-vmlab-}$name
	state=/run/shmnet-lab/$ns
}

need_lab() {
	[ -d "$state" ] || die "no lab '$name' is up (namespace $ns)"
}

need_machine() { # number
	need_lab
	is_number "$1" 1 99 || bad_usage "'$1' is no number of a machine"
	[ -d "$state/vm$1" ] ||
		die "no machine $1 in lab '$name'; there are 1 to $(find "$state" -name 'vm*' | wc -l)"
}

# The process is this lab's QEMU.
is_ours() { # pid
	tr '\0' '\n' <"/proc/$1/cmdline" | grep -qxF "$ns"
} 2>/dev/null

machine_pid() { # machine: prints it, if it runs
	local pid
	pid=$(cat "$state/vm$1/pid" 2>/dev/null) && is_ours "$pid" && echo "$pid"
}

in_lab() { # command...
	nsenter --net="/run/netns/$ns" "$@"
}

# --- machines ------------------------------------------------------------------

# Prints kvm or tcg: whether this kernel starts with KVM and gets as far as to a message.
# A device file is not enough. The answer holds until the host's next boot.
accel_find() {
	local boot known=${lab_cache:?}/accel answer=tcg out
	boot=$(cat /proc/sys/kernel/random/boot_id)
	if read -r out answer 2>/dev/null <"$known" && [ "$out" = "$boot" ]; then
		echo "$answer"
		return
	fi
	if [ -w /dev/kvm ]; then
		out=$(timeout -k 1 15 qemu-system-x86_64 -accel kvm -cpu max -m 256 -no-reboot \
			-nodefaults -display none -serial stdio -kernel "$kernel/vmlinux" \
			-append "console=ttyS0 quiet panic=-1" 2>&1 </dev/null)
		[[ $out == *"Unable to mount root fs"* ]] && answer=kvm || answer=tcg
	fi
	echo "$boot $answer" >"$known.$$" && mv "$known.$$" "$known"
	echo "$answer"
}

tap_add() { # tap, bridge, MTU
	ip -n "$ns" tuntap add "$1" mode tap vnet_hdr &&
		ip -n "$ns" link set "$1" mtu "$3" master "$2" up
}

# Without KVM the machine's time stamp counter is the host's. What it would find out about
# its rate while others use the processor may be far off, and its clock with it.
tsc_rate() {
	grep -qw hypervisor /proc/cpuinfo || return # may be any rate at the moment
	awk '/^cpu MHz/ { printf "tsc_early_khz=%.0f", $4 * 1000; exit }' /proc/cpuinfo
}

# Becomes QEMU.
machine_run() { # machine
	local dir=$state/vm$1 accel mac
	local append="console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 tsc=reliable"
	append+=" lab.id=$1 lab.mtu=$mtu lab.modules=$(echo "$kernel"/lib/modules/*)"
	accel=$(cat "$state/accel")
	[ "$accel" = kvm ] || { accel=tcg,thread=multi && append+=" $(tsc_rate)"; }
	printf -v mac '52:54:00:00:%02x:%02x' 0 "$1"
	exec nsenter --net="/run/netns/$ns" setsid qemu-system-x86_64 -name "$ns" -accel "$accel" -cpu max -smp "$cpus" \
		-m "$mem" -nodefaults -display none -no-reboot \
		-kernel "$kernel/vmlinux" -initrd "$state/initramfs" -append "$append" \
		-serial "file:$dir/console" \
		-device virtio-rng-pci \
		-virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
		-virtfs "local,path=$share,mount_tag=share,security_model=none,multidevs=remap" \
		-netdev "tap,id=lan,ifname=lan$1,script=no,downscript=no" \
		-device "virtio-net-pci,netdev=lan,host_mtu=9000,mac=$mac" \
		-netdev "tap,id=mgmt,ifname=mgmt$1,script=no,downscript=no" \
		-device "virtio-net-pci,netdev=mgmt,mac=${mac/00:00/00:01}" \
		>"$dir/qemu.log" 2>&1 </dev/null
}

machine_start() { # machine
	local dir=$state/vm$1
	: >"$dir/console"
	(machine_run "$1") &
	echo $! >"$dir/pid"
	disown # bash has no need to tell that it was killed
	cut -d' ' -f1 /proc/uptime >"$dir/since"
}

machine_ready() { # machine
	grep -qs '^lab: ready' "$state/vm$1/console"
}

machine_wait() { # machine
	local end=$((SECONDS + boot_deadline))
	until machine_ready "$1"; do
		sleep 0.1
		[ $SECONDS -lt $end ] && [ -d "/proc/$(cat "$state/vm$1/pid")" ] && continue
		{
			echo "machine $1 does not come up (waited $((SECONDS - end + boot_deadline)) s); its last lines:"
			tail -n 15 "$state/vm$1/qemu.log" "$state/vm$1/console"
		} >&2
		return 1
	done
}

machine_exec() { # machine, command...
	local pid
	pid=$(machine_pid "$1") || {
		echo "vm-lab.sh: machine $1 is off" >&2
		exit 255
	}
	exec nsenter --net="/run/netns/$ns" /usr/bin/python3 -ISs "$lab_top/agent.py" \
		run "$pid" "198.51.100.$1" "${@:2}"
}

# --- verbs ---------------------------------------------------------------------

check_programs() {
	local program
	for program in qemu-system-x86_64 busybox cpio modprobe depmod ip nsenter python3 rdma; do
		command -v $program >/dev/null || cannot "no $program; see tests/install.sh lab"
	done
	[ "$(id -u)" -eq 0 ] || cannot "not root: the lab makes a namespace, a bridge and TAPs"
	! ldd "$(command -v busybox)" >/dev/null 2>&1 ||
		cannot "busybox is not the static one; see tests/install.sh lab"
}

check_memory() {
	local free need=$((machines * (mem + 100)))
	free=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
	[ "$free" -ge "$need" ] ||
		die "$machines machines of $mem MB need $need MB; $free MB are free: fewer, or --mem"
}

network_make() {
	local bridge
	ip netns add "$ns" || die "the namespace $ns can't be made"
	ip -n "$ns" link set lo up
	for bridge in lan mgmt; do
		ip -n "$ns" link add $bridge type bridge || die "no bridge in $ns"
		in_lab sysctl -qw "net.ipv6.conf.$bridge.disable_ipv6=1"
		ip -n "$ns" link set $bridge up
	done
	ip -n "$ns" address add 198.51.100.254/24 dev mgmt
}

machine_make() { # machine
	mkdir "$state/vm$1" || die "no directory for machine $1"
	tap_add "lan$1" lan 9000 || die "no interface for machine $1"
	tap_add "mgmt$1" mgmt 1500 || die "no interface for machine $1"
	machine_start "$1"
}

settings_save() {
	local setting
	for setting in machines mem cpus share mtu kernel; do
		printf '%s=%q\n' $setting "${!setting}"
	done >"$state/settings"
}

settings_load() {
	# shellcheck source=/dev/null
	. "$state/settings"
}

verb_up() {
	local i
	check_programs
	[ "$nodes_per_vm" -eq 0 ] || nodes_find_programs
	[ ! -e "$state" ] || die "the lab '$name' is already up (namespace $ns);" \
		"vm-lab.sh --name $name down ends it"
	check_memory
	kernel_find
	mkdir -p "${state%/*}"
	mkdir "$state" || die "$state can't be made"
	trap verb_down EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	[ -n "$share" ] || { share=$state/share && mkdir "$share"; }
	[ -d "$share" ] || die "--share: no directory $share"
	share=$(realpath "$share")
	accel_find >"$state/accel"
	settings_save
	initramfs_make "$state/initramfs" || die "the initramfs can't be made"
	network_make
	echo "$machines machines, $mem MB, $(cat "$state/accel"), namespace $ns"
	for ((i = 1; i <= machines; i++)); do
		machine_make "$i"
	done
	for ((i = 1; i <= machines; i++)); do
		machine_wait "$i" || exit 1
		echo "machine $i: 192.0.2.$i, $(sed -n 's/^lab: //p' "$state/vm$i/console" | tr -d '\r')"
	done
	[ "$nodes_per_vm" -eq 0 ] || nodes_start || exit 1
	trap - EXIT
}

verb_down() {
	local pid
	trap '' HUP INT TERM
	[ -e "$state" ] || [ -e "/run/netns/$ns" ] || return 0
	for pid in $(cat "$state"/vm*/pid 2>/dev/null) \
		$(ip netns pids "$ns" 2>/dev/null); do
		is_ours "$pid" && kill -KILL "$pid"
	done
	for pid in $(ip netns pids "$ns" 2>/dev/null); do
		while is_ours "$pid"; do sleep 0.02; done
	done
	[ ! -e "/run/netns/$ns" ] || ip netns delete "$ns"
	rm -rf "$state"
}

# For who can't download where the lab is to be.
verb_kernel() {
	check_programs
	kernel_find
}

what_runs() { # machine
	machine_exec "$1" ps -N --ppid 2 -p 1,2 -o comm= </dev/null 2>/dev/null |
		grep -vxE 'python3|ps' | sort | uniq -c | awk '{ printf "%s%s%s", (NR > 1 ? " " : ""),
			$2, ($1 > 1 ? "*" $1 : "") }'
}

verb_status() {
	local dir i pid since
	need_lab
	printf '%-8s %-9s %-14s %-9s %-6s %s\n' machine pid address uptime accel runs
	for dir in "$state"/vm*; do
		i=${dir##*vm}
		since=$(cat "$dir/since")
		if pid=$(machine_pid "$i"); then
			printf '%-8s %-9s %-14s %-9s %-6s %s\n' "$i" "$pid" "192.0.2.$i" \
				"$(awk -v since="$since" '{ printf "%d s", $1 - since }' /proc/uptime)" \
				"$(cat "$state/accel")" "$(what_runs "$i")"
		else
			printf '%-8s %-9s %-14s %s\n' "$i" - "192.0.2.$i" off
		fi
	done
}

verb_exec() { # machine, command...
	need_machine "$1"
	machine_exec "$@"
}

verb_link() { # machine, up|down
	need_machine "$1"
	ip -n "$ns" link set "lan$1" "$2"
}

verb_power() { # machine, on|off
	local pid
	need_machine "$1"
	pid=$(machine_pid "$1")
	if [ "$2" = off ]; then
		[ -n "$pid" ] || die "machine $1 is off already"
		kill -KILL "$pid"
		while is_ours "$pid"; do sleep 0.02; done
		return
	fi
	[ -z "$pid" ] || die "machine $1 is on already"
	settings_load
	machine_start "$1"
	machine_wait "$1"
}

verb_console() { # machine
	need_machine "$1"
	cat "$state/vm$1/console"
}

# --- the command line ----------------------------------------------------------

option() { # option, value; true if it is one
	case $1 in
	--name) name=$2 ;;
	--mem)
		is_number "$2" 128 65536 || bad_usage "--mem takes 128 to 65536"
		mem=$2
		;;
	--cpus)
		is_number "$2" 1 64 || bad_usage "--cpus takes 1 to 64"
		cpus=$2
		;;
	--share) share=$2 ;;
	--nodes-per-vm)
		is_number "$2" 1 64 || bad_usage "--nodes-per-vm takes 1 to 64"
		nodes_per_vm=$2
		;;
	--fabric)
		[ "$2" = rdma ] || bad_usage "--fabric takes rdma"
		fabric=$2
		;;
	*) bad_usage "unknown option '$1'" ;;
	esac
}

# Sets verb and arguments. Options end at the machine of exec.
parse() {
	verb='' arguments=()
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help) usage && exit 0 ;;
		-*)
			[ $# -ge 2 ] || bad_usage "$1 takes a value"
			option "$1" "$2"
			shift
			;;
		*)
			if [ -z "$verb" ]; then
				verb=$1
			else
				arguments+=("$1")
			fi
			;;
		esac
		shift
		[ "$verb" = exec ] && [ ${#arguments[@]} -eq 1 ] && arguments+=("$@") && return
	done
}

main() {
	parse "$@"
	name_things
	case $verb/${#arguments[@]} in
	up/1)
		machines=${arguments[0]}
		is_number "$machines" 1 99 || bad_usage "up takes 1 to 99 machines"
		[ "$nodes_per_vm/$fabric" = 0/ ] || [[ $nodes_per_vm/$fabric =~ ^[1-9].*/. ]] ||
			bad_usage "--nodes-per-vm and --fabric go together"
		[ $((machines * nodes_per_vm)) -le 250 ] || bad_usage "250 nodes at the most"
		;;
	link/2) [[ ${arguments[1]} =~ ^(up|down)$ ]] || bad_usage "link takes up or down" ;;
	power/2) [[ ${arguments[1]} =~ ^(on|off)$ ]] || bad_usage "power takes on or off" ;;
	exec/[01]) bad_usage "exec takes a machine and a command" ;;
	down/0 | kernel/0 | status/0 | console/1 | exec/*) ;;
	*) bad_usage "what is '${verb:-}' with ${#arguments[@]} arguments?" ;;
	esac
	"verb_$verb" ${arguments[@]+"${arguments[@]}"}
}

main "$@"
