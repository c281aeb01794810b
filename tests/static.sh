#!/bin/bash
# Checks of the source text that need no build of their own.
#
#   static.sh format | shell | spelling | service | tidy BUILD_DIR
#
# Exit 0, 1 with the offending lines, or 77 with "SKIP: reason" if the tool is missing.
# tidy reads how a file is compiled from BUILD_DIR/compile_commands.json; service asks
# systemd about the unit file, and fails if the exposure that it sees is above 2.5, or not
# what the README says.
set -u
cd "$(dirname "$0")/.." || exit 1

need() {
	command -v "$1" >/dev/null && return
	echo "SKIP: $1 is not installed"
	exit 77
}

present() { # of these directories, those that exist
	for dir in "$@"; do
		[ -e "$dir" ] && echo "$dir"
	done
}

mapfile -t trees < <(present include src cli tests deploy proto .ci)

check_format() {
	need clang-format
	find "${trees[@]}" -name '*.[ch]' -print0 -o -name '*.cc' -print0 |
		xargs -0 clang-format --dry-run --Werror
}

check_shell() {
	need shellcheck
	{
		find "${trees[@]}" -name '*.sh' -print0
		[ -x .ci/run ] && printf '.ci/run\0'
	} | xargs -0 -n4 -P"$(nproc)" shellcheck
}

# Words that codespell takes for something else.
words=ans,nd,iif,ons

check_spelling() {
	need codespell
	codespell --ignore-words-list "$words" --skip '*/golden/*,*/corpus/*' "${trees[@]}" meson.build ./*.md
}

# The unit as an instance, with a program that is there: systemd looks for it.
exposure_said() {
	tr '\n' ' ' <README.md | sed -n 's/.*gives it an exposure of \([0-9]*\.[0-9]*\).*/\1/p'
}

check_service() {
	local dir unit
	need systemd-analyze
	dir=$(mktemp -d) || return
	unit=$dir/shmnet-node@n1.service
	sed 's|@[a-z]*@/shmnet[a-z-]*|/bin/true|' deploy/systemd/shmnet-node@.service.in >"$unit"
	systemd-analyze --no-pager verify --man=no "$unit" &&
		systemd-analyze --no-pager security --offline=true --threshold=25 "$unit" >"$dir/out" &&
		grep -F "level for shmnet-node@n1.service: $(exposure_said) " "$dir/out"
	local status=$?
	[ $status -eq 0 ] || cat "$dir/out"
	rm -rf "$dir"
	return $status
}

# The files of this tree, not the generated ones, that BUILD_DIR compiles as C.
tidy_files() { # build directory
	jq -r '.[] | .directory + "/" + .file' "$1/compile_commands.json" |
		xargs realpath | grep "^$PWD/\(src\|cli\|tests\)/.*\.c$" | sort -u
}

check_tidy() { # build directory
	local out bad
	need clang-tidy
	out=$(tidy_files "$1" |
		xargs -P"$(nproc)" -n1 clang-tidy -p "$1" --quiet 2>/dev/null)
	bad=$?
	# The way to a finding is long: clang-tidy -p BUILD_DIR FILE shows it.
	[ $bad -eq 0 ] || awk '/: (error|warning): /{ on = 1 } /: note: /{ on = 0 } on' <<<"$out"
	return $bad
}

case ${1-} in
format | shell | spelling | service) "check_$1" ;;
tidy) check_tidy "$2" ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
