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

# A name of a host never begins with a dot.
put_text() { # file, text
	local new=${1%/*}/.${1##*/}.new
	printf '%s\n' "$2" >"$new" && mv "$new" "$1"
}

state_keep_host() { # host
	put_text "$state/hosts/$1" "${ssh_to[$1]}"$'\t'"${user[$1]}"$'\t'"${port[$1]}"
}

# A host that this run has brought in is one that was never there.
state_undo_host() { # host
	if [ -f "$state/run/known/$1" ]; then
		put_text "$state/hosts/$1" "$(cat "$state/run/known/$1")"
	else
		rm -f "$state/hosts/$1"
	fi
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
		cp -r "$state/hosts" "$dir/known" && cp "$inventory" "$dir/inventory.yaml" && cp "$work/plan/hosts" "$dir/table" &&
		printf '%s\n' "${todo[@]}" >"$dir/order" && sync -f "$dir" && mv "$dir" "$state/run"
}

run_mark() { # host, begun|done|undone
	put_text "$state/run/hosts/$1" "$2" ||
		fail "$state can't be written to; make room here, and repeat"
}

# From `ending` on there is no way back: some hosts keep nothing any more.
run_goes() { # on|ending|back
	put_text "$state/run/going" "$1" ||
		fail "$state can't be written to; make room here, and repeat"
}

# At once out of its place.
run_forget() {
	rm -rf "$state/run.gone" && mv "$state/run" "$state/run.gone" && rm -rf "$state/run.gone"
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

run_remedy() {
	local again undo="'$self $inventory undo'"
	again="'$self $inventory $(run_says verb)'"
	case $(run_says going) in
	on) echo "$again goes on with it, $undo takes it back" ;;
	ending) echo "$again ends it; all hosts are done, and what they had before is not kept any more" ;;
	*) echo "$undo goes on taking it back" ;;
	esac
}

show_run() {
	local finished begun
	[ -d "$state/run" ] || return 0
	finished=$(run_hosts "done" | xargs) begun=$(run_hosts begun | xargs)
	echo "the last $(run_says verb) is half done: done ${finished:-none}, begun ${begun:-none};"
	echo "  $(run_remedy)"
}

# A run under way is gone on with as it is, or taken back.
check_run() {
	[ -d "$state/run" ] || return 0
	local what undo="'$self $inventory undo' first, or "
	what="the last $(run_says verb) is half done"
	[ "$(run_says going)" != back ] || fail "$what, and is being taken back: '$self $inventory undo' first"
	[ "$(run_says going)" != ending ] || undo=''
	[ "$(run_says verb)" = "$verb" ] || fail "$what: $(run_remedy)"
	[ "$(run_says sum)" = "$(plan_sum)" ] || {
		diff -U1 --label "of that $verb" --label now "$state/run/inventory.yaml" "$inventory" >&2
		fail "$what, and $inventory or the package has changed since: ${undo}put back what it was ($state/run/inventory.yaml)"
	}
}
