#!/bin/bash
# The page "A few hosts by hand" of the README, as it stands there, in two machines that have
# a tool of this script for systemctl.
# timeout: 400
set -u
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/netns/recipes.sh
. "$(dirname "$0")/../netns/recipes.sh"

# What is installed: the programs, and "systemctl enable --now shmnet-node@NAME".
installs() {
	mkdir "$LAB/share/bin" && ln -s "$(program shmnet-node)" "$(program shmnetctl)" "$LAB/share/bin/" &&
		cat <<-'END' >"$LAB/share/bin/systemctl" && chmod +x "$LAB/share/bin/systemctl"
			#!/bin/sh
			[ "$1 $2 ${3%%@*}" = "enable --now shmnet-node" ] || exit 1
			setsid shmnet-node --config "/etc/shmnet/${3#*@}.yaml" </dev/null >"/lab/${3#*@}.log" 2>&1 &
		END
}

# A block of the page, typed in a machine; "i=1" is its own number there.
types() { # machine, words
	recipe "$2" | sed "s/^i=1  .*/i=$1/" >"$LAB/recipe" || return
	cat "$LAB/recipe"
	vm "$1" env PATH="/lab/bin:$PATH" sh -exc "cd /lab; $(cat "$LAB/recipe")" </dev/null
}

# The page begins without the device that the lab makes.
has_no_device() { # machine
	vm "$1" sh -c 'rdma link delete rxe0 && ! rdma link | grep rxe0' </dev/null
}

gets_keys() { # machine
	vm "$1" sh -c "mkdir -p /etc/shmnet && cp /lab/keys/ca.crt /lab/keys/n$1.* /etc/shmnet/" </dev/null
}

go_by_rdma() {
	vm 1 "$(program shmnetctl)" nodes </dev/null | grep -E '^n2 .* rdma/rxe0 '
}

vm_begin "$@"
vm_up 2 --mem 384
check "the programs" installs || lab_end
check "keys are made" types 1 "keys are made (see Certificates)"
for machine in 1 2; do
	check "machine $machine begins without RDMA" has_no_device $machine
	check "and gets a device" types $machine "as root"
	check "and its keys" gets_keys $machine
	check "and a node" types $machine "with its own number and addresses"
done
check "they see and reach each other" types 1 "On any of them" || cat "$LAB"/share/n?.log
check "by RDMA" go_by_rdma
lab_end
