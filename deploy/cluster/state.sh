# shellcheck shell=bash
# What was done, in NAME.state beside the inventory: hosts (where each was reached), packages
# (what was rolled out), run (what is half done), lock. Sourced by deploy/cluster.sh, whose
# variables and faults these are; never asks a host. A file is written beside its place and
# renamed.
# shellcheck disable=SC2154 # cluster.sh's

# Rolled out before, and not in the inventory any more.
hosts_gone() {
	local file host
	for file in "$state"/hosts/*; do
		[ -f "$file" ] || continue
		host=${file##*/}
		[[ " ${hosts[*]} " == *" $host "* ]] || echo "$host"
	done
}

state_open() {
	(umask 077 && mkdir -p "$state/hosts" "$state/packages") || fail "$state can't be made"
	exec 9>"$state/lock"
	flock -n 9 || fail "another cluster.sh works on $inventory; wait until it is done"
}

state_keep_host() { # host
	printf '%s\t%s\t%s\n' "${ssh_to[$1]}" "${user[$1]}" "${port[$1]}" >"$state/hosts/$1.new" &&
		mv "$state/hosts/$1.new" "$state/hosts/$1"
}

# So that an upgrade can be taken back.
state_keep_package() {
	local kept
	kept=$state/packages/$(package_field Version).deb
	[ -f "$kept" ] || { cp "$package" "$kept.new" && mv "$kept.new" "$kept"; }
}

# What a roll-out brings; the same again means that it is the same one.
plan_sum() {
	(cd "$work/plan" && find hosts files -type f | sort | xargs sha256sum &&
		if [ "$verb" = upgrade ]; then package_field Version; fi) | sha256sum | cut -d' ' -f1
}

run_says() { # id|verb|sum|going
	cat "$state/run/$1" 2>/dev/null
}

run_begin() {
	run_write "$state/run.new" || fail "$state can't be written to; the disk may be full here"
}

run_write() { # directory
	local dir=$1
	rm -rf "$dir" && mkdir -p "$dir/hosts" && printf '%s-%s-%s\n' "$(date -u +%Y%m%dT%H%M%SZ)" "$$" "$RANDOM" >"$dir/id" &&
		echo "$verb" >"$dir/verb" && plan_sum >"$dir/sum" && echo on >"$dir/going" &&
		cp "$inventory" "$dir/inventory.yaml" && cp "$work/plan/hosts" "$dir/table" &&
		printf '%s\n' "${todo[@]}" >"$dir/order" && sync -f "$dir" && mv "$dir" "$state/run"
}

run_mark() { # host, begun|done|undone
	{ echo "$2" >"$state/run/hosts/$1.new" && mv "$state/run/hosts/$1.new" "$state/run/hosts/$1"; } ||
		fail "$state can't be written to; make room here, and repeat"
}

run_of() { # host: begun, done, undone or nothing
	cat "$state/run/hosts/$1" 2>/dev/null
}

run_hosts() { # begun|done|undone|'': those in this state
	local host
	while read -r host; do
		[ "$(run_of "$host")" != "$1" ] || echo "$host"
	done <"$state/run/order"
}

show_run() {
	local finished begun
	[ -d "$state/run" ] || return 0
	finished=$(run_hosts "done" | xargs) begun=$(run_hosts begun | xargs)
	echo "the last $(run_says verb) is half done: done ${finished:-none}, begun ${begun:-none};"
	if [ "$(run_says going)" = on ]; then
		echo "  '$self $inventory $(run_says verb)' goes on with it, '$self $inventory undo' takes it back"
	else
		echo "  '$self $inventory undo' goes on taking it back"
	fi
}

# A run under way is gone on with as it is, or taken back.
check_run() {
	[ -d "$state/run" ] || return 0
	local what
	what="the last $(run_says verb) is half done"
	[ "$(run_says going)" = on ] || fail "$what, and is being taken back: '$self $inventory undo' first"
	[ "$(run_says verb)" = "$verb" ] ||
		fail "$what: '$self $inventory $(run_says verb)' goes on with it, '$self $inventory undo' takes it back"
	[ "$(run_says sum)" = "$(plan_sum)" ] || {
		diff -U1 --label "of that $verb" --label now "$state/run/inventory.yaml" "$inventory" >&2
		fail "$what, and $inventory or the package has changed since: '$self $inventory undo' first, or put back what it was ($state/run/inventory.yaml)"
	}
}
