#!/bin/bash
# The page "One machine" of the README, as it stands there.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/recipes.sh"

# Both programs are where the page has them.
has_programs() {
	[ -x "$LAB/clone/build/src/shmnet-node" ] && [ -x "$LAB/clone/build/cli/shmnetctl" ]
}

runs_page() {
	type_recipes "$LAB/clone" "runs this page)" "In the end" >"$LAB/page.sh" || return
	start page self bash "$LAB/page.sh"
	finish page
	local status=$?
	cat "$LAB/page.log" "$LAB"/clone/n*.log
	return "$status"
}

build_is_named() {
	recipe "As root, from the fresh clone" | grep -x 'meson setup build && meson compile -C build'
}

pings_crossed() {
	grep -E '^3 packets transmitted, 3 received' "$LAB/page.log"
}

nothing_is_left() {
	[ -z "$(ls /run/netns)" ] && [ ! -e /run/shmnet/n1.sock ] && [ ! -e /run/shmnet/n2.sock ]
}

[ "$FABRIC$NODES_IN" = shm ] || skip "the page is about shared memory"
own_machine "$@"
lab_begin "$@"
make_clone "$LAB/clone"
check "the programs are built, as the page says" eval 'build_is_named && has_programs' || lab_end
check "the page runs" runs_page
check "and pings have crossed" pings_crossed
check "nothing is left" nothing_is_left
lab_end
