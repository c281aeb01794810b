#!/bin/bash
# Brings shmnet to all hosts of a cluster over ssh, from one inventory file.
#
#   deploy/cluster.sh [OPTIONS] INVENTORY VERB
#
#     plan       what `apply` and `upgrade` would change, as a diff; changes nothing
#     apply      certificates, package where there is none, configs, units
#     upgrade    the inventory's package where another version of it is installed
#     undo       takes back an `apply` or `upgrade` that is half done
#     status     a table of all hosts
#     destroy    stops all nodes and purges the package, on every host
#
#     --package FILE   instead of the inventory's `package`
#     --yes            destroy: does not ask
#     -h, --help       this text
#
#     SHMNET_SSH_SECONDS, SHMNET_HEALTH_SECONDS
#                      in the environment: how long to wait for ssh (10), and for a node to be
#                      healthy (30)
#
# INVENTORY is described by deploy/examples/inventory.yaml. Hosts are Debian 12 or newer with
# systemd; ssh has to get in without asking, as root or as a user with sudo. One host is
# changed at a time; the next one follows when its node runs and sees all that are done.
# Otherwise the roll-out stops, and says how to go on (the same verb again) or back (undo).
#
# What was done is kept beside INVENTORY, in NAME.state; keys of certificates in the directory
# `ca`, which is made by `apply` if it is missing, and is never removed. Exit 0 ok; 1 failed;
# 2 usage, or an error in the inventory; 4 status: a node is degraded, or differs.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

SSH_SECONDS=${SHMNET_SSH_SECONDS:-10}
HEALTH_SECONDS=${SHMNET_HEALTH_SECONDS:-30}
EXPIRES_DAYS=30
CLOCK_OFF_MAX=300
ROOM_KB=4096 # beside what the package takes

self="$0"
inventory='' verb='' package='' yes=''
hosts=()    # of the inventory, in its order
faulty=0    # errors before anything was changed
declare -A ssh_to=() user=() port=() listen=() rdma=()
declare -A setting=()

# shellcheck source=deploy/cluster/certificates.sh
. "$here/cluster/certificates.sh"
# shellcheck source=deploy/cluster/state.sh
. "$here/cluster/state.sh"

usage() {
	sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//p}' "$0"
}

fail() { # words, [exit status]
	echo "cluster.sh: $1" >&2
	exit "${2:-1}"
}

# Something that stands in the way; all of them are told before giving up.
fault() { # what, words
	echo "$1: $2" >&2
	faulty=$((faulty + 1))
}

give_up_if_faulty() {
	[ $faulty -eq 0 ] || fail "nothing was changed"
}

parse_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--package) [ $# -ge 2 ] || fail "$1 wants a file; see --help" 2 && package=$(realpath -m "$2") && shift ;;
		--yes) yes=1 ;;
		-h | --help) usage && exit 0 ;;
		-*) fail "unknown option '$1'; see --help" 2 ;;
		*)
			if [ -z "$inventory" ]; then
				inventory=$1
			elif [ -z "$verb" ]; then
				verb=$1
			else
				fail "'$1' is one argument too many; see --help" 2
			fi
			;;
		esac
		shift
	done
	case $verb in
	plan | apply | upgrade | undo | status | destroy) ;;
	'') fail "wants an inventory and a verb; see --help" 2 ;;
	*) fail "unknown verb '$verb'; see --help" 2 ;;
	esac
}

# --- the inventory ------------------------------------------------------------------

read_inventory() {
	local key value name id rest
	mkdir "$work/plan"
	"$here/cluster/inventory" "$inventory" "$work/plan"
	case $? in
	0) ;;
	2) exit 2 ;;
	*) fail "no plan of $inventory" ;;
	esac
	while IFS=$'\t' read -r key value; do
		[ "$key" != warning ] || echo "$inventory: warning: $value" >&2
		setting[$key]=$value
	done <"$work/plan/settings"
	while IFS=$'\t' read -r name id rest; do
		hosts+=("$name")
		know "$name" "$rest"
	done <"$work/plan/hosts"
	[ -n "$package" ] || package=${setting[package]-}
}

know() { # host, ssh<tab>user<tab>port<tab>listen<tab>rdma
	IFS=$'\t' read -r ssh_to["$1"] user["$1"] port["$1"] listen["$1"] rdma["$1"] <<<"$2"
}

# In the node's own words, where it is installed here.
check_configs() {
	local node host
	node=$(find_program shmnet-node src) || return 0
	for host in "${hosts[@]}"; do
		"$node" --config "$work/plan/files/$host.yaml" --check >"$work/said" 2>&1 && continue
		sed "s|^$work/plan/files/||" "$work/said" >&2
		fault "$inventory" "makes no good config for $host, see above; its lines come from fabrics, networks and node"
	done
	[ $faulty -eq 0 ] || fail "nothing was changed" 2
}

find_program() { # name, its directory in a build
	local dir
	for dir in ${SHMNET_BIN:+"$SHMNET_BIN/$2"} "$here/../build/gcc/$2" "$here/../build/$2"; do
		[ -x "$dir/$1" ] && echo "$dir/$1" && return
	done
	command -v "$1"
}

package_field() { # field
	dpkg-deb -f "$package" "$1" 2>/dev/null
}

# One that is of no use is not there for what is looked at next.
check_package() {
	[ -n "$package" ] || { fault "$inventory" "package: missing; name the file that deploy/package.sh has made, or use --package" && return; }
	if [ ! -f "$package" ]; then
		fault "$package" "there is no such package; deploy/package.sh makes it"
		package=''
	elif [ "$(package_field Package)" != shmnet ]; then
		fault "$package" "is no package of shmnet; deploy/package.sh makes it"
		package=''
	fi
}

# --- hosts ------------------------------------------------------------------------------

quoted() { # words: as a shell takes them
	local word
	for word; do
		printf "'%s' " "${word//\'/\'\\\'\'}"
	done
}

# What a host says is shown on a terminal: nothing but text, and no more than there is room for.
SAID_MAX=4M
WORDS_MAX=64K

cleaned() {
	LC_ALL=C sed 's/\r//g; s/[^\t -~\x80-\xff]/?/g; s/\xc2[\x80-\x9f]/?/g'
}

# Runs a verb of cluster/host.sh there. What it says on standard error goes to
# $work/HOST.err.
on() { # host, verb, arguments...
	{
		{
			on_raw "$@" 2>&1 >&3 3>&- | tail -c $WORDS_MAX | cleaned >"$work/$1.err"
			return "${PIPESTATUS[0]}"
		} 3>&1 | head -c $SAID_MAX | cleaned
		return "${PIPESTATUS[0]}"
	}
}

on_raw() { # host, verb, arguments...
	local host=$1 sudo=''
	shift
	[ "${user[$host]}" = root ] || sudo='sudo -n '
	ssh -o BatchMode=yes -o ConnectTimeout="$SSH_SECONDS" -o ServerAliveInterval=5 \
		-o ServerAliveCountMax=$((SSH_SECONDS / 5 + 1)) -o ControlMaster=auto -o ControlPath="$work/s-$host" \
		-o ControlPersist=60 ${setting[ssh_config]+-F "${setting[ssh_config]}"} \
		-l "${user[$host]}" -p "${port[$host]}" "${ssh_to[$host]}" \
		"$sudo$(quoted bash -c "$host_script" host.sh "$@")"
}

# The last words of a host about what went wrong.
words_of() { # host, [lines]
	grep -a -v '^Shared connection to' "$work/$1.err" | tail -n "${2:-1}"
}

end_connections() {
	local socket host
	for socket in "$work"/s-*; do
		[ -S "$socket" ] || continue
		host=${socket##*/s-}
		timeout 5 ssh -o ControlPath="$socket" -O exit "${ssh_to[$host]}" 2>/dev/null
	done
}

# What `probe` said: fact n1 kernel
fact() { # host, key
	awk -F '\t' -v key="$2" '$1 == key { sub("^[^\t]*\t", ""); print; exit }' "$work/$1.facts"
}

probe() { # host
	on "$1" probe "$1" >"$work/$1.facts" </dev/null && [ -s "$work/$1.facts" ] && return
	fault "$1" "can't be reached: ssh -p ${port[$1]} ${user[$1]}@${ssh_to[$1]} $([ "${user[$1]}" = root ] || echo "sudo -n ")true: $(words_of "$1"); that has to work without a question"
	rm -f "$work/$1.facts"
	return 1
}

at_least() { # version, wanted
	[ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

check_system() { # host
	local os version kernel
	os=$(fact "$1" os) version=$(fact "$1" os_version) kernel=$(fact "$1" kernel)
	if [ "$os" != debian ] || ! at_least "${version:-999}" 12; then
		fault "$1" "runs $(fact "$1" os_name); Debian 12 or newer is wanted, take it out of the inventory or install that"
		return
	fi
	[ "$(fact "$1" root)" = 0 ] || fault "$1" "${user[$1]} is not root there; use root, or a user with sudo"
	[ "$(fact "$1" systemd)" = yes ] ||
		fault "$1" "was not booted by systemd, which runs the nodes; install systemd-sysv and reboot"
	at_least "${kernel%%-*}" 5.0 ||
		fault "$1" "its kernel is $kernel; 5.0 or newer is wanted, boot that of Debian"
	[ -z "${setting[global]-}" ] || at_least "${kernel%%-*}" 5.12 ||
		fault "$1" "its kernel is $kernel, and global networks need 5.12; boot that of Debian"
	[ "$(fact "$1" tun)" = yes ] ||
		fault "$1" "has no /dev/net/tun (10:200), which TAPs are made with; modprobe tun, or boot a kernel that has it"
	check_clock "$1"
}

# What a host says is a number by this only: bash would run what stands in an index.
is_number() { # text
	[[ $1 =~ ^[0-9]{1,12}$ ]]
}

check_clock() { # host
	local time off
	time=$(fact "$1" time)
	is_number "$time" ||
		{ fault "$1" "its clock says '$time', which is no number of seconds; see what 'date +%s' prints there" && return; }
	off=$((10#$time - $(date +%s)))
	[ ${off#-} -le $CLOCK_OFF_MAX ] || fault "$1" \
		"its clock is $off s off this one's, so certificates may not be valid; set it, or install systemd-timesyncd"
}

check_rdma() { # host
	local devices address
	[ -n "${setting[rdma]-}" ] || return 0
	devices=$(fact "$1" rdma)
	[ -n "$devices" ] || {
		fault "$1" "has no RDMA device; 'rdma link add rxe0 type rxe netdev eth0' makes one of eth0"
		return
	}
	[ "${rdma[$1]}" = - ] || [[ " $devices" == *" ${rdma[$1]} "* ]] ||
		fault "$1" "has no RDMA device '${rdma[$1]}', but: $devices; correct 'rdma' in the inventory"
	address=${listen[$1]%:*} address=${address#[} address=${address%]}
	[[ " $(fact "$1" addresses)" == *" $address "* ]] ||
		fault "$1" "has no address '$address'; correct 'listen' in the inventory, to one of the RDMA device's interface"
}

# KiB: the file, and what is in it.
package_room() {
	local size
	size=$(package_field Installed-Size)
	is_number "$size" || size=0
	echo $((10#$size + $(stat -c %s "$package") / 1024))
}

# Room for the package, if it is to be installed, and for files.
check_room() { # host, [package]
	local dir free need=$ROOM_KB
	[ -z "${2-}" ] || need=$((need + $(package_room)))
	for dir in /etc/shmnet /usr /var/cache; do
		free=$(fact "$1" "free $dir")
		{ is_number "$free" && [ "$free" -ge $need ]; } || fault "$1" \
			"its disk is full: ${free:-no} KiB free for $dir, $need are wanted; make room there"
	done
}

check_arch() { # host
	[ "$(package_field Architecture)" = "$(fact "$1" arch)" ] || fault "$1" \
		"is $(fact "$1" arch), and $package is $(package_field Architecture); build it on such a machine"
}

# Until it is removed, the node of the name before runs there, and has what the new one wants.
check_renamed() {
	local before address port_before host
	for before in $(hosts_gone); do
		IFS=$'\t' read -r address _ port_before <"$state/hosts/$before"
		for host in "${hosts[@]}"; do
			[ "${ssh_to[$host]}:${port[$host]}" != "$address:$port_before" ] || fault "$host" \
				"has the ssh address of $before, which was rolled out there and runs; apply without $host first, which removes $before, or destroy where it is the only one"
		done
	done
}

# Somebody else's run, from another machine or another inventory.
check_foreign_run() { # host
	local run
	run=$(fact "$1" run)
	[ -z "$run" ] || [ "$run" = "$(run_says id)" ] || fault "$1" \
		"is half way in another roll-out (of $(fact "$1" who)); go on or back with that one, or remove /etc/shmnet/.previous"
}

wants_package() { # host
	[ -n "$package" ] && [ "$(fact "$1" version)" != "$(package_field Version)" ] &&
		{ [ "$verb" = upgrade ] || [ -z "$(fact "$1" version)" ]; }
}

probe_all() {
	local host
	for host in "${hosts[@]}"; do
		probe "$host"
	done
}

check_hosts() {
	local host
	for host in "${hosts[@]}"; do
		[ -f "$work/$host.facts" ] || continue
		check_system "$host"
		check_rdma "$host"
		check_foreign_run "$host"
		if wants_package "$host"; then
			check_arch "$host"
			check_room "$host" package
		else
			check_room "$host"
		fi
	done
}

# --- what changes -------------------------------------------------------------------------

is_file_changed() { # host, file, where it is here
	[ ! -f "$3" ] || [ "$(sha256sum <"$3" | cut -d' ' -f1)" != "$(fact "$1" "file $2")" ]
}

# A line for each thing that `apply` would do.
changes_of() { # host
	local file
	[ -n "$(fact "$1" version)" ] || echo "package"
	for file in $(certificates "$1"); do
		! is_file_changed "$1" "$file" "${setting[ca]}/$file" || echo "$file"
	done
	! is_file_changed "$1" "$1.yaml" "$work/plan/files/$1.yaml" || echo "$1.yaml"
	[ "$(fact "$1" active)" = active ] && [ "$(fact "$1" enabled)" = enabled ] || echo unit
}

show_config() { # host
	sed -n 's/^config\t//p' "$work/$1.facts" |
		diff -U1 --label "$1:/etc/shmnet/$1.yaml" --label "$inventory" - \
			"$work/plan/files/$1.yaml" | sed 's/^/    /'
}

show_change() { # host, change
	local version
	version=$(package_field Version)
	case $2 in
	package) echo "  package: none -> ${version:-?}" ;;
	unit) echo "  unit: $(fact "$1" active), $(fact "$1" enabled) -> active, enabled" ;;
	*.yaml) echo "  config:" && show_config "$1" ;;
	*) if [ -z "$(fact "$1" "file $2")" ]; then echo "  $2: new"; else echo "  $2: another one"; fi ;;
	esac
}

# Hosts that something is to be done to are left in `changed`, those to be removed in `gone`.
show_plan() {
	local host change version wanted
	changed=() gone=()
	wanted=$(package_field Version)
	for host in $(certificates_missing); do
		echo "certificates: $host is to be made in ${setting[ca]}"
	done
	for host in "${hosts[@]}"; do
		version=$(fact "$host" version)
		if changes_of "$host" >"$work/$host.changes" && [ -s "$work/$host.changes" ]; then
			changed+=("$host")
			echo "$host:"
			while read -r change; do
				show_change "$host" "$change"
			done <"$work/$host.changes"
		else
			echo "$host: nothing to do"
		fi
		[ -z "$version" ] || [ -z "$wanted" ] || [ "$version" = "$wanted" ] ||
			echo "  package: $version; $wanted comes by 'upgrade'"
	done
	for host in $(hosts_gone); do
		gone+=("$host")
		echo "$host: no longer in the inventory: its node is stopped and removed"
	done
}

# --- rolling out -----------------------------------------------------------------------------

# Who a host has to see: those that are done, and those that ran before.
expected_by() { # host
	local other
	for other in "${hosts[@]}"; do
		[ "$other" != "$1" ] || continue
		{ [ -d "$state/run" ] && [ "$(run_of "$other")" = "done" ]; } ||
			{ [ -f "$state/hosts/$other" ] && [ "$(run_of "$other")" != begun ] &&
				[ "$(fact "$other" active)" = active ]; } || continue
		echo "$other"
	done
}

# Prints who of these is not up, by what `health` said: all of them if that can't be read.
unseen() { # host that was asked, hosts...
	sed -n 's/^nodes\t//p' "$work/$1.health" | python3 -c '
import json, sys
try:
    nodes = json.load(sys.stdin)["nodes"]
    up = {node["name"] for node in nodes if node["state"] == "up"}
except (ValueError, KeyError, TypeError, RecursionError):
    up = set()
print(" ".join(name for name in sys.argv[1:] if name not in up))' "${@:2}" || echo "${*:2}"
}

# Sets `ill` to what is wrong with a host, or to nothing.
examine() { # host, who it has to see...
	local host=$1 answer status missing
	shift
	on "$host" health "$host" >"$work/$host.health" </dev/null ||
		{ ill="can't be asked: $(words_of "$host")" && return; }
	answer=$(sed -n 's/^active\t//p' "$work/$host.health")
	status=$(sed -n 's/^status\t//p' "$work/$host.health")
	ill="its unit is $answer"
	[ "$answer" = active ] || return
	ill="its node does not answer (shmnetctl status: exit $status)"
	[ "$status" = 0 ] || [ "$status" = 4 ] || return
	missing=$(unseen "$host" "$@")
	ill=${missing:+"its node does not see $missing"}
}

is_healthy() { # host, who it has to see...
	local end=$((SECONDS + HEALTH_SECONDS))
	while :; do
		examine "$@"
		[ -n "$ill" ] || return 0
		[ $SECONDS -lt $end ] || return 1
		sleep 0.3
	done
}

stage() { # host
	local dir=$work/stage file
	rm -rf "$dir" && (umask 077 && mkdir "$dir") && cp "$work/plan/files/$1.yaml" "$dir/" || return
	for file in $(certificates "$1"); do
		(umask 077 && cp "${setting[ca]}/$file" "$dir/") || return
	done
	tar -c -C "$dir" --owner=0 --group=0 --numeric-owner . | on "$1" stage "$1"
	local status=${PIPESTATUS[1]}
	rm -rf "$dir"
	return "$status"
}

step() { # host, what, command...
	local host=$1 what=$2
	shift 2
	: >"$work/$host.err"
	"$@" >"$work/$host.out" && return
	ill="$what: $(words_of "$host" 3)"
	return 1
}

roll_files() { # host
	step "$1" "no room for its files, or no way there" stage "$1" &&
		step "$1" "its config is refused" on "$1" put "$1" </dev/null &&
		step "$1" "its node does not start" on "$1" start "$1" </dev/null
}

roll_package() { # host
	step "$1" "the package can't be installed" \
		on "$1" package "$(package_field Version)" <"$package"
}

# One host, from begin to health. Sets `ill` if that fails.
roll() { # host
	local how=upgraded others
	run_mark "$1" begun
	step "$1" "nothing can be kept to go back to" \
		on "$1" begin "$(run_says id)" "$1" "$whoami" </dev/null || return
	if wants_package "$1"; then
		roll_package "$1" || return
	fi
	if [ "$verb" = apply ]; then
		roll_files "$1" || return
		how=$(cat "$work/$1.out")
	fi
	mapfile -t others < <(expected_by "$1")
	is_healthy "$1" ${others[@]+"${others[@]}"} || return
	run_mark "$1" "done"
	state_keep_host "$1"
	echo "$1: $how, and healthy"
}

list() { # words, or "none"
	if [ $# -gt 0 ]; then echo "$*"; else echo none; fi
}

stop_here() { # host
	local finished untouched
	mapfile -t finished < <(run_hosts "done")
	mapfile -t untouched < <(run_hosts '')
	echo "$1: failed: $ill" >&2
	cat >&2 <<-END
		cluster.sh: the $(run_says verb) has stopped. Done: $(list ${finished[@]+"${finished[@]}"}). Failed: $1. Untouched: $(list ${untouched[@]+"${untouched[@]}"}).
		  go on:  mend $1, then $self $inventory $(run_says verb)
	END
	[ "$(run_says going)" = ending ] || echo "  back:   $self $inventory undo" >&2
	exit 1
}

# What hosts keep to go back to is not needed any more.
run_end() {
	local host
	run_goes ending
	while read -r host; do
		: >"$work/$host.err"
		on "$host" end "$(run_says id)" </dev/null || {
			ill="can't be told that all is done: $(words_of "$host")"
			stop_here "$host"
		}
	done <"$state/run/order"
	run_forget
}

roll_out() {
	local host
	[ -d "$state/run" ] || run_begin
	while read -r host <&3; do
		[ "$(run_of "$host")" = "done" ] && continue
		roll "$host" || stop_here "$host"
	done 3<"$state/run/order"
	run_end
}

remove_host() { # host
	: >"$work/$1.err"
	on "$1" remove "$1" last >/dev/null </dev/null || return
	rm -f "$state/hosts/$1"
	echo "$1: removed"
}

# --- verbs --------------------------------------------------------------------------------------

prepare() {
	check_run
	check_configs
	check_all
}

check_all() {
	check_package
	check_certificates
	check_renamed
	probe_all
	check_hosts
	give_up_if_faulty
}

verb_plan() {
	check_configs
	check_all
	show_run
	show_plan
}

verb_apply() {
	local host
	state_open
	prepare
	make_certificates
	if [ -d "$state/run" ]; then
		echo "going on with the apply of $(run_says id)"
		mapfile -t gone < <(hosts_gone)
	else
		show_plan
		todo=(${changed[@]+"${changed[@]}"})
	fi
	state_keep_package || fail "$state can't be written to; make room here"
	if [ -d "$state/run" ] || [ ${#todo[@]} -gt 0 ]; then
		roll_out
	fi
	for host in "${hosts[@]}"; do
		state_keep_host "$host"
	done
	for host in ${gone[@]+"${gone[@]}"}; do
		know "$host" "$(cat "$state/hosts/$host")"
		remove_host "$host" || fail "$host: can't be removed: $(words_of "$host"); apply again, or rm $state/hosts/$host if it is no more"
	done
	echo "all hosts are as $inventory says"
}

verb_upgrade() {
	local host
	state_open
	prepare
	todo=()
	for host in "${hosts[@]}"; do
		[ -n "$(fact "$host" version)" ] || fault "$host" "has no shmnet yet; apply first"
		[ "$(fact "$host" active)" = active ] || [ "$(run_of "$host")" = begun ] ||
			fault "$host" "its node does not run, so the upgrade can't be seen to work; apply first"
		! wants_package "$host" || {
			todo+=("$host")
			echo "$host: $(fact "$host" version) -> $(package_field Version)"
		}
	done
	give_up_if_faulty
	state_keep_package || fail "$state can't be written to; make room here"
	if [ -d "$state/run" ] || [ ${#todo[@]} -gt 0 ]; then
		roll_out
	fi
	echo "all hosts have $(package_field Version)"
}

# What was installed before comes back; the package of a new host goes, and with it all of
# /etc/shmnet only where that was empty.
undo_package() { # host
	local before
	[ "$(fact "$1" run)" = "$(run_says id)" ] || return 0
	before=$(fact "$1" version_before)
	if [ -z "$before" ] && [ "$(fact "$1" empty_before)" = yes ]; then
		on "$1" remove "$1" purge >/dev/null </dev/null
	elif [ -z "$before" ]; then
		on "$1" unpackage >/dev/null </dev/null
	elif [ "$before" = "$(fact "$1" version)" ]; then
		:
	elif [[ $before != */* ]] && [ -f "$state/packages/$before.deb" ]; then
		on "$1" package "$before" back >/dev/null <"$state/packages/$before.deb"
	else
		echo "$1: keeps $(fact "$1" version): the package of $before is not in $state/packages" >&2
	fi
}

# The unit last: a package that can't run must not be in the way of the one before it.
undo_host() { # host
	: >"$work/$1.err"
	local active
	active=$(fact "$1" active_before)
	ill=''
	on "$1" undo "$(run_says id)" "$1" </dev/null >/dev/null && undo_package "$1" &&
		on "$1" resume "$(run_says id)" "$1" </dev/null >/dev/null &&
		{ [ "$active" != active ] || is_healthy "$1"; } &&
		on "$1" end "$(run_says id)" </dev/null && return
	ill=${ill:-"can't be taken back: $(words_of "$1" 3)"}
	return 1
}

verb_undo() {
	local host row name
	state_open
	[ -d "$state/run" ] || fail "there is nothing to take back: no apply and no upgrade is half done"
	while IFS=$'\t' read -r name _ row; do
		know "$name" "$row"
	done <"$state/run/table"
	[ "$(run_says going)" != ending ] ||
		fail "the last $(run_says verb) can't be taken back any more: $(run_remedy)"
	run_goes back
	while read -r host <&3; do
		case $(run_of "$host") in
		'' | undone) continue ;;
		esac
		probe "$host" || fail "mend $host, then repeat: $self $inventory undo"
		undo_host "$host" || fail "$host: $ill; mend it, then repeat: $self $inventory undo"
		state_undo_host "$host"
		run_mark "$host" undone
		echo "$host: as it was before"
	done 3< <(tac "$state/run/order")
	run_forget
}

status_row() {
	printf '%-16s %5s  %-24s %-24s %-9s %-9s %-7s %s\n' "$@"
}

status_of() { # host, id
	local unit state_word config peers others
	if ! on "$1" probe "$1" >"$work/$1.facts" </dev/null; then
		status_row "$1" "$2" "${ssh_to[$1]}" - - unreachable - -
		worst 1
		return
	fi
	on "$1" health "$1" >"$work/$1.health" </dev/null
	unit=$(fact "$1" active) config=as-here
	! changes_of "$1" | grep -qvx unit || { config=differs && worst 4; }
	[ -z "$(fact "$1" run)" ] || { config=half-done && worst 4; }
	case $(sed -n 's/^status\t//p' "$work/$1.health") in
	0) state_word=ok ;;
	4) state_word=degraded && worst 4 ;;
	*) state_word=down && worst 1 ;;
	esac
	mapfile -t others < <(printf '%s\n' "${hosts[@]}" | grep -vxF "$1")
	peers=$(unseen "$1" "${others[@]}" | wc -w)
	status_row "$1" "$2" "${ssh_to[$1]}" "$(fact "$1" version)" "${unit:--}" "$state_word" \
		"$((${#others[@]} - peers))/${#others[@]}" "$config"
}

worst() { # exit status
	[ "$exit" -eq 1 ] || exit=$1
}

verb_status() {
	local name id
	exit=0
	status_row HOST ID SSH PACKAGE UNIT NODE PEERS CONFIG
	while IFS=$'\t' read -r name id _ <&3; do
		status_of "$name" "$id"
	done 3<"$work/plan/hosts"
	show_run
	return "$exit"
}

ask_to_destroy() {
	local answer
	[ -n "$yes" ] && return
	[ -t 0 ] || fail "destroy asks, and nobody is there to answer; --yes says it beforehand" 2
	read -r -p "Stops and removes shmnet on ${#all[@]} hosts (${all[*]}). Type yes: " answer
	[ "$answer" = yes ] || fail "nothing was changed"
}

# Goes on with the others if a host can't be reached: nobody waits for it.
verb_destroy() {
	local host left=() all
	state_open
	mapfile -t all < <(printf '%s\n' "${hosts[@]}" && hosts_gone)
	ask_to_destroy
	for host in $(hosts_gone); do
		know "$host" "$(cat "$state/hosts/$host")"
	done
	for host in "${all[@]}"; do
		: >"$work/$host.err"
		if on "$host" remove "$host" purge >/dev/null </dev/null; then
			rm -f "$state/hosts/$host"
			echo "$host: removed"
		else
			echo "$host: failed: $(words_of "$host")" >&2
			left+=("$host")
		fi
	done
	[ ${#left[@]} -eq 0 ] || fail "left: ${left[*]}; mend that, then repeat: $self $inventory destroy"
	rm -rf "$state"
	[ -z "${setting[ca]-}" ] || [ ! -d "${setting[ca]}" ] || echo "the keys in ${setting[ca]} stay"
}

parse_options "$@"
for tool in ssh openssl python3 dpkg-deb flock; do
	command -v $tool >/dev/null || fail "$tool is missing here; install it first"
done
work=$(mktemp -d /tmp/shmnet-cluster.XXXXXX) || exit 1
trap 'end_connections; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
state=${inventory%.yaml}.state
whoami=$(id -un)@$(uname -n)
host_script=$(cat "$here/cluster/host.sh") || exit 1
read_inventory
"verb_$verb"
