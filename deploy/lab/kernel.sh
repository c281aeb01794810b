# shellcheck shell=bash
# The lab's kernel: Debian's, downloaded and unpacked into a cache, never installed.
# Sourced by vm-lab.sh, which has die() and $lab_top.
#
# The cache, $SHMNET_LAB_CACHE, has a directory per version of the package: vmlinux,
# release (its version) and lib/modules. Several labs may use it at the same time.

lab_cache=${SHMNET_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/shmnet-lab}

# Loaded at boot, in this order. rdma_rxe needs crc32c and crc32 and does not say so;
# rdma_ucm comes after ib_uverbs, or there is no RoCE in it. All others are loaded when
# somebody asks for what they do.
boot_modules=(virtio_pci virtio_net 9pnet_virtio 9p overlay crc32_generic crc32c_generic
	ib_uverbs rdma_ucm rdma_rxe tun)

# What is unpacked of the modules.
kernel_parts=(arch/x86/crypto crypto lib net drivers/infiniband drivers/virtio
	drivers/char drivers/net/{dummy,veth,tun,tap,virtio_net,net_failover,ifb,macvlan,vrf}.ko
	drivers/net/{bonding,vxlan,wireguard} fs/{9p,netfs,fscache,overlayfs,configfs,fuse})

# The package that linux-image-amd64 stands for, "NAME VERSION".
kernel_package() {
	local name version
	name=$(apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
	version=$(apt-cache policy "${name:-none}" | sed -n 's/^ *Candidate: //p')
	[ -n "$name" ] && [ -n "$version" ] && echo "$name $version"
}

# A kernel that was unpacked before, the newest.
kernel_cached() {
	find "$lab_cache" -mindepth 2 -maxdepth 2 -name release -printf '%T@ %h\n' 2>/dev/null |
		sort -n | sed -n '$s/^[^ ]* //p'
}

# An xz stream inside; QEMU starts what is in it faster than the machine unpacks it.
kernel_uncompress() { # vmlinuz, vmlinux
	/usr/bin/python3 -ISs - "$1" "$2" <<-'END'
		import lzma, sys
		data = open(sys.argv[1], "rb").read()
		image = lzma.LZMADecompressor().decompress(data[data.index(b"\xfd7zXZ\0"):])
		open(sys.argv[2], "wb").write(image)
	END
}

kernel_unpack() { # package file, new directory
	local release wanted
	release=$(dpkg-deb --fsys-tarfile "$1" | tar -t --wildcards './boot/vmlinuz-*') || return
	release=${release#./boot/vmlinuz-}
	wanted=("${kernel_parts[@]/#/./lib/modules/$release/kernel/}")
	dpkg-deb --fsys-tarfile "$1" |
		tar -x -C "$2" "./boot/vmlinuz-$release" "${wanted[@]}" \
			"./lib/modules/$release"/modules.{builtin,builtin.modinfo,order} || return
	kernel_uncompress "$2/boot/vmlinuz-$release" "$2/vmlinux" || return
	depmod -b "$2" "$release" || return
	rm -r "${2:?}/boot"
	echo "$release" >"$2/release"
}

kernel_download() { # package, version, directory
	(cd "$3" && apt-get -qq download "$1=$2") 2>&1 ||
		{ apt-get -qq update && cd "$3" && apt-get -qq download "$1=$2"; } 2>&1
}

kernel_fetch() { # package, version, final directory
	local work out
	work=$(mktemp -d "$lab_cache/new.XXXXXX") || return
	echo "downloading $1 $2"
	if ! out=$(kernel_download "$1" "$2" "$work"); then
		rm -rf "$work"
		die "the kernel can't be downloaded: apt-get download $1=$2:" "$out"
	fi
	mkdir "$work/unpacked"
	if ! kernel_unpack "$work"/*.deb "$work/unpacked" || ! mv "$work/unpacked" "$3"; then
		rm -rf "$work"
		die "the kernel package $1 $2 can't be unpacked into $lab_cache"
	fi
	rm -rf "$work"
}

# Sets $kernel to the directory of a kernel, after a download if there is none. apt is slow:
# it is asked again when it may know of another one.
kernel_find() {
	local name version
	mkdir -p "$lab_cache" || die "the cache $lab_cache can't be made; set SHMNET_LAB_CACHE"
	kernel=$(kernel_cached)
	[ "$kernel/release" -nt /var/lib/apt/lists ] && return
	read -r name version < <(kernel_package)
	if [ -z "$version" ]; then
		[ -n "$kernel" ] || die "apt knows no package linux-image-amd64, and no kernel" \
			"is in $lab_cache; run apt-get update"
		return
	fi
	kernel=$lab_cache/${name}_$version
	(
		flock 9
		[ -f "$kernel/release" ] || kernel_fetch "$name" "$version" "$kernel"
		touch "$kernel/release"
	) 9>"$lab_cache/lock" || exit 1
}

kernel_modules() { # kernel directory, release: the files, in order
	local module
	for module in "${boot_modules[@]}"; do
		modprobe -d "$1" -S "$2" --show-depends "$module" || return
	done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'
}

# The initramfs: busybox, the modules, init.sh and agent.py.
initramfs_make() { # file
	local root=$1.d release file
	release=$(cat "$kernel/release")
	mkdir -p "$root"/{bin,dev,proc,sys,modules} || return
	cp "$(command -v busybox)" "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	cp "${lab_top:?}/init.sh" "$root/init"
	cp "$lab_top/agent.py" "$root/agent.py"
	kernel_modules "$kernel" "$release" >"$root/files" || return
	while read -r file; do
		cp "$file" "$root/modules/" && basename "$file" >>"$root/modules/list"
	done <"$root/files"
	rm "$root/files"
	chmod 755 "$root/init"
	(cd "$root" && find . -print0 | cpio --quiet -0 -o -H newc -R 0:0) >"$1" || return
	rm -r "$root"
}
