#!/bin/bash
# Builds the Debian package of shmnet from what is committed.
#
#   deploy/package.sh [-o DIR] [--version VERSION]
#
#     -o DIR             where shmnet_VERSION_ARCH.deb goes (build/package)
#     --version VERSION  default: that of meson.build, the number of commits and the last
#                        one, like 0.1.0+r574.g2659fae, which rises with every commit
#     -h, --help         this text
#
# Builds in a directory of its own below TMPDIR. Outside a git repository the tree is taken as it
# is. What is needed: tests/install.sh build package. Prints the package's path; exit 0, 1
# if it can't be built (the log's end is shown), 2 on usage.
set -u
cd "$(dirname "$0")/.." || exit 1

out=$PWD/build/package
version=''

usage() {
	sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//p}' "$0"
}

fail() {
	echo "package.sh: $1" >&2
	exit "${2:-1}"
}

parse_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		-o | --version) [ $# -ge 2 ] || fail "$1 wants a value; see --help" 2 ;;&
		-o) out=$(realpath -m "$2") && shift ;;
		--version) version=$2 && shift ;;
		-h | --help) usage && exit 0 ;;
		*) fail "unknown argument '$1'; see --help" 2 ;;
		esac
		shift
	done
}

in_git() {
	[ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$PWD" ]
}

default_version() {
	local release
	release=$(sed -n "s/^  version: '\(.*\)',$/\1/p" meson.build)
	if in_git; then
		echo "$release+r$(git rev-list --count HEAD).g$(git rev-parse --short=7 HEAD)"
	else
		echo "$release"
	fi
}

check_version() {
	[ -n "$version" ] || version=$(default_version)
	[[ $version =~ ^[0-9][A-Za-z0-9.+~]*$ ]] ||
		fail "'$version' is no version: a digit, then letters, digits and . + ~" 2
}

export_tree() { # to
	mkdir "$1" || return
	if in_git; then
		[ -z "$(git status --porcelain --untracked-files=no)" ] ||
			echo "package.sh: what is not committed is left out" >&2
		git archive HEAD | tar -x -C "$1"
	else
		tar -c --exclude=./build --exclude=./.git . | tar -x -C "$1"
	fi
}

# The entry of this build goes on top, with the time of the commit.
add_changes() { # changelog
	local when author
	when=$(in_git && git log -1 --format=%ct)
	author=$(sed -n 's/^ -- \(.*>\)  .*/\1/p' "$1" | head -n 1)
	{
		printf 'shmnet (%s) unstable; urgency=medium\n\n  * Built from %s.\n\n' \
			"$version" "$(in_git && git log -1 --format='%h (%s)' || echo "a copy of the tree")"
		printf ' -- %s  %s\n\n' "$author" "$(LC_ALL=C date -u -R -d "@${when:-$(date +%s)}")"
		cat "$1"
	} >"$1.new" && mv "$1.new" "$1"
}

prepare() { # tree
	export_tree "$1" && mv "$1/deploy/debian" "$1/debian" &&
		sed -i "s/^  version: '.*',$/  version: '$version',/" "$1/meson.build" || return
	[ "$(sed -n '1s/.*(\(.*\)).*/\1/p' "$1/debian/changelog")" = "$version" ] ||
		add_changes "$1/debian/changelog"
}

build() { # tree
	(cd "$1" && dpkg-buildpackage -b -us -uc -jauto) >"$work/log" 2>&1 && return
	tail -n 40 "$work/log" >&2
	grep -q 'Unmet build dep' "$work/log" && fail "as root: tests/install.sh build package"
	fail "dpkg-buildpackage failed, see above"
}

parse_options "$@"
command -v dpkg-buildpackage >/dev/null ||
	fail "dpkg-buildpackage is missing; as root: tests/install.sh build package"
check_version
work=$(mktemp -d "${TMPDIR:-/tmp}/shmnet-package.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
prepare "$work/shmnet" || fail "no copy of the tree in $work"
build "$work/shmnet"
{ mkdir -p "$out" && cp "$work"/shmnet*.deb "$out/"; } || fail "can't write to $out"
echo "$out/shmnet_${version}_$(dpkg --print-architecture).deb"
