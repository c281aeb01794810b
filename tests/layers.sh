#!/bin/bash
# Checks the include rule of the tree on its #include lines.
#
#   layers.sh [ROOT]        check the tree at ROOT (default: the one it stands in)
#   layers.sh --self-test   plant a violation of every rule and see it found
#
# Prints "file:line: #include ...: why" for each offence; exit 1 if there is one.
#
#   base <- data <- control <- main; cli sees base, and of control
#   config.h, kernel_version.h and tls_cert.h; control sees of data only
#   plane.h, fabric.h, flowcache.h, and tap.h for opening ports; offer_rdma sees the
#   rdma fabric, too
#   protobuf    control/codec*.c and their own header, cli/client.c
#   verbs       data/qp_verbs.c; control/offer_rdma*.c, control/rdma_*.c
#   librdmacm   control/rdma_cm.c
#   netlink     control/kernel*.c, control/sockets*.c
#   libnftables control/nft.c
#   OpenSSL     control/tls*, cli/cert.c, cli/check_certificate.c
#   libseccomp, libcap-ng  control/confine*.c
#   libevent    not in include/, base/, data/
#   peer, member, cast, liveness, book, dispatch, resolve, balance, flowtable and their
#               codecs, the control logic that runs without a world, see nothing that
#               could ask for time, chance or a descriptor
#   include/    libc and itself only, and every header of it is compiled alone by
#               tests/meson.build
set -u

libc_headers=" assert.h errno.h fcntl.h inttypes.h limits.h stdalign.h stdarg.h stdbool.h
 stddef.h stdint.h stdio.h stdlib.h string.h sys/mman.h sys/types.h time.h unistd.h "

logic_headers=" errno.h stdarg.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h
 sys/types.h shmnet/cast.h shmnet/ring.h shmnet/wire.h base/budget.h base/drop.h base/flow.h
 base/log.h base/name.h control/balance.h control/book.h control/cast.h
 control/cast_internal.h control/codec_arena.h control/codec_dispatch.h
 control/codec_peer.h control/codec_peer_internal.h control/dispatch.h
 control/dispatch_internal.h control/flowtable.h control/listener.h control/resolve.h
 control/config.h control/events.h control/liveness.h control/member.h
 control/member_internal.h control/overlooked.h control/peer.h control/peer_internal.h
 control/wire_range.h control/world.h dispatch.pb-c.h peer.pb-c.h protobuf-c/protobuf-c.h "

layer_of() { # path below the root
	case $1 in
	include/*) echo include ;;
	cli/*) echo cli ;;
	src/*/*) x=${1#src/} && echo "${x%%/*}" ;;
	*) echo main ;;
	esac
}

# May a file of layer $1 include "$2"? Prints why not.
check_own_header() {
	case $1:$2 in
	*:*.pb-c.h) ;; # check_library decides
	base:base/* | data:base/* | data:data/* | control:base/* | control:control/*) ;;
	control:data/plane.h | control:data/fabric.h) ;;
	control:data/flowcache.h | control:data/tap.h) ;;
	control:data/fabric_rdma.h | control:data/qp_verbs.h) ;;
	control:data/*) echo "control sees of data only plane.h, fabric.h, flowcache.h, tap.h" ;;
	main:base/* | main:data/* | main:control/*) ;;
	cli:base/* | cli:cli/*) ;;
	cli:control/config.h | cli:control/kernel_version.h | cli:control/tls_cert.h) ;;
	include:*) echo "include/ names its own headers as <shmnet/...>" ;;
	*:*/*) echo "$1 must not see ${2%%/*}" ;;
	*) echo "an include names its folder" ;;
	esac
}

# May file $1 of layer $2 include the library header $3? Prints why not.
check_library() {
	case $3 in
	protobuf-c/* | google/protobuf* | *.pb-c.h)
		case $1 in
		src/control/codec*.c | src/control/codec*_internal.h | cli/client.c) ;;
		*) echo "protobuf stays in control/codec*.c and cli/client.c" ;;
		esac
		;;
	rdma/*)
		[ "$1" = src/control/rdma_cm.c ] || echo "librdmacm stays in control/rdma_cm.c"
		;;
	infiniband/*)
		case $1 in
		src/data/qp_verbs.c | src/control/offer_rdma*.c | src/control/rdma_*.c) ;;
		*) echo "verbs stay in qp_verbs.c, offer_rdma*.c and rdma_*.c" ;;
		esac
		;;
	libmnl/* | linux/netlink.h | linux/rtnetlink.h | linux/sock_diag.h | linux/inet_diag.h)
		case $1 in
		src/control/kernel*.c | src/control/sockets*.c) ;;
		*) echo "netlink stays in control/kernel*.c and control/sockets*.c" ;;
		esac
		;;
	nftables/*)
		[ "$1" = src/control/nft.c ] || echo "libnftables stays in control/nft.c"
		;;
	seccomp.h | cap-ng.h)
		case $1 in
		src/control/confine*.c) ;;
		*) echo "what is given up stays in control/confine*.c" ;;
		esac
		;;
	openssl/*)
		case $1 in
		src/control/tls*.[ch] | cli/cert.c | cli/check_certificate.c) ;;
		*) echo "OpenSSL stays in control/tls*, cli/cert.c, check_certificate.c" ;;
		esac
		;;
	event.h | event2/*)
		case $2 in
		include | base | data) echo "no libevent in $2" ;;
		esac
		;;
	esac
}

check_logic() { # file, header
	case $1 in
	src/control/peer.[ch] | src/control/peer_*.[ch]) ;;
	src/control/member.[ch] | src/control/member_*.[ch]) ;;
	src/control/cast.[ch] | src/control/cast_*.[ch]) ;;
	src/control/liveness.[ch] | src/control/codec_peer.[ch] | src/control/world.h) ;;
	src/control/codec_peer_*.[ch]) ;;
	src/control/book.[ch]) ;;
	src/control/dispatch.[ch] | src/control/dispatch_*.[ch] | src/control/resolve.[ch]) ;;
	src/control/balance.[ch] | src/control/flowtable.[ch] | src/control/listener.h) ;;
	src/control/codec_dispatch.[ch] | src/control/codec_arena.[ch]) ;;
	*) return ;;
	esac
	[[ $logic_headers =~ [[:space:]]"$2"[[:space:]] ]] ||
		echo "the control logic gets its world from world.h"
}

check_public() { # header
	case $1 in
	shmnet/*) return ;;
	esac
	[[ $libc_headers =~ [[:space:]]"$1"[[:space:]] ]] || echo "include/ takes libc only"
}

check_line() { # file, header, its opening quote
	local layer
	layer=$(layer_of "$1")
	[ "$3" = '"' ] && check_own_header "$layer" "$2"
	check_library "$1" "$layer" "$2"
	check_logic "$1" "$2"
	[ "$layer$3" = 'include<' ] && check_public "$2"
	return 0
}

# Lines "file:number:text" of every include of the tree at $PWD.
include_lines() {
	local dirs=()
	for dir in include src cli; do
		[ -d $dir ] && dirs+=("$dir")
	done
	grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include' "${dirs[@]}"
}

check_headers_compiled() {
	local name
	for header in include/shmnet/*.h; do
		name=$(basename "$header" .h)
		[ -f tests/meson.build ] || continue
		grep -q "^public_headers = .*'$name'" tests/meson.build ||
			echo "$header: not in public_headers of tests/meson.build"
	done
}

check_tree() { # root
	local file number text why bad=0 form='include[[:space:]]*([<"])([^>"]*)[>"]'
	cd "$1" || return 2
	while IFS=: read -r file number text; do
		if [[ ! $text =~ $form ]]; then
			why="an include names a header"
		else
			why=$(check_line "$file" "${BASH_REMATCH[2]}" "${BASH_REMATCH[1]}")
		fi
		[ -z "$why" ] && continue
		echo "$file:$number: ${text}: $why"
		bad=1
	done < <(include_lines)
	why=$(check_headers_compiled)
	[ -z "$why" ] || { echo "$why" && bad=1; }
	return $bad
}

# file, include: what is right, and what is planted.
allowed='src/base/a.c "base/log.h"
src/data/a.c "base/log.h"
src/data/qp_verbs.c <infiniband/verbs.h>
src/control/offer_rdma.c "data/fabric_rdma.h"
src/control/rdma_cm.c <rdma/rdma_cma.h>
src/control/rdma_device.c <infiniband/verbs.h>
src/control/a.c "data/plane.h"
src/control/a.c "data/tap.h"
src/control/a.c <event2/event.h>
src/control/codec.c "ctl.pb-c.h"
src/control/codec_peer.c <protobuf-c/protobuf-c.h>
src/control/kernel.c <linux/rtnetlink.h>
src/control/kernel_rule.c <linux/rtnetlink.h>
src/control/nft.c <nftables/libnftables.h>
src/control/cast_ring.c "control/cast_internal.h"
src/control/peer.c "control/world.h"
src/control/peer_rings.c "control/peer_internal.h"
src/control/member.c <errno.h>
src/control/member_guests.c "control/member_internal.h"
src/control/dispatch_query.c "control/dispatch_internal.h"
src/control/sockets.c <libmnl/libmnl.h>
src/control/tls_stream.c <openssl/ssl.h>
cli/cert.c <openssl/pem.h>
src/main.c "control/node.h"
cli/client.c "ctl.pb-c.h"
cli/check_kernel.c "control/config.h"
cli/check_certificate.c "control/tls_cert.h"
cli/main.c "cli/client.h"
include/shmnet/a.h <stdint.h>
include/shmnet/a.h <shmnet/wire.h>'

forbidden='src/base/a.c "data/plane.h"
src/base/a.h <event2/event.h>
src/data/a.c "control/config.h"
src/data/a.c <event2/event.h>
src/data/a.c <infiniband/verbs.h>
src/data/fabric_rdma.c <infiniband/verbs.h>
src/data/a.c <protobuf-c/protobuf-c.h>
src/control/a.c "data/link.h"
src/control/a.c "ctl.pb-c.h"
src/control/offer_rdma.c <rdma/rdma_cma.h>
src/control/a.h <libmnl/libmnl.h>
src/control/nft.h <nftables/libnftables.h>
src/control/global_nft.c <nftables/libnftables.h>
src/control/channel_tls.c <openssl/ssl.h>
src/control/peer.c <time.h>
src/control/peer_session.c <time.h>
src/control/peer.h "base/clock.h"
src/control/member.c <event2/event.h>
src/control/member.c "data/plane.h"
src/control/codec_peer.c <unistd.h>
src/control/dispatch.c "base/clock.h"
src/control/flowtable.c <sys/mman.h>
src/control/a.c "config.h"
src/data/kernel.c <linux/rtnetlink.h>
src/data/a.c MACRO
src/main.c "ctl.pb-c.h"
src/main.c "cli/client.h"
cli/main.c "ctl.pb-c.h"
cli/main.c "control/node.h"
cli/main.c "control/tls_internal.h"
include/shmnet/a.h "base/log.h"
include/shmnet/a.h <linux/virtio_net.h>
include/shmnet/a.h <event2/event.h>'

plant() { # root, file, include
	mkdir -p "$1/$(dirname "$2")" || exit 2
	printf '/* planted */\n#include %s\n' "$3" >"$1/$2"
}

self_test() {
	local root file include failed=0
	root=$(mktemp -d) || return 2
	# shellcheck disable=SC2064 # the name of now is meant
	trap "rm -rf '$root'" EXIT
	mkdir "$root/none" && (check_tree "$root/none" 2>/dev/null) || failed=1
	while read -r file include; do
		rm -rf "$root/tree" && plant "$root/tree" "$file" "$include"
		(check_tree "$root/tree") || { echo "refused: $file $include" && failed=1; }
	done <<<"$allowed"
	while read -r file include; do
		rm -rf "$root/tree" && plant "$root/tree" "$file" "$include"
		(check_tree "$root/tree") | grep -q "^$file:2: #include " ||
			{ echo "not found: $file $include" && failed=1; }
	done <<<"$forbidden"
	return $failed
}

case ${1-} in
--self-test) self_test ;;
*) check_tree "${1:-$(dirname "$0")/..}" ;;
esac
