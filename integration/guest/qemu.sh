#!/bin/bash
# Runs a command in an emulated guest with a Debian kernel, prints its output and ends with its status.
# usage: integration/guest/qemu.sh [OPTION...] NAME -- COMMAND [ARGUMENT...]     NAME: see qemu-build.sh
#   --share DIR     the working directory of the command, shared by 9p (default: an empty folder)
#   --cgroup v2|v1|none                --root tmpfs|ro|initramfs          --no-run: without /run
#   --disk FILE     use this disk as the root (see qemu-root.sh); writes to it are discarded
#   --date SECONDS  set the clock      --memory 512M   --limit SECONDS    --append WORDS for the kernel's command line
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
share='' cgroup=v2 root=tmpfs run=yes date='' memory=512M limit=900 append='' disk=()
while [ $# -gt 0 ]; do
	case $1 in
	--share)
		share=$(cd "$2" && pwd)
		shift 2
		;;
	--cgroup)
		cgroup=$2
		shift 2
		;;
	--root)
		root=$2
		shift 2
		;;
	--no-run)
		run=no
		shift
		;;
	--date)
		date=$2
		shift 2
		;;
	--memory)
		memory=$2
		shift 2
		;;
	--limit)
		limit=$2
		shift 2
		;;
	--append)
		append+=" $2"
		shift 2
		;;
	--disk)
		root=disk disk=(-drive "file=$2,if=none,id=d,format=raw,snapshot=on")
		shift 2
		;;
	-*)
		echo "qemu: unknown option $1" >&2
		exit 2
		;;
	*) break ;;
	esac
done
[ $# -ge 3 ] && [ "$2" = -- ] || {
	sed -n 2,7p "$0" >&2
	exit 2
}
name=$1
shift 2
g=$("$here/qemu-build.sh" "$name")

console=ttyS0 bus=pci
case $name in
x86_64-*) q=(qemu-system-x86_64 -M q35 -cpu max) ;;
# The cortex-a53 does not support pages of 16 KiB.
aarch64-*-16k) q=(qemu-system-aarch64 -M 'virt,gic-version=3' -cpu cortex-a76) console=ttyAMA0 ;;
aarch64-*) q=(qemu-system-aarch64 -M 'virt,gic-version=3' -cpu cortex-a53) console=ttyAMA0 ;;
armv7-*) q=(qemu-system-arm -M virt -cpu cortex-a15) console=ttyAMA0 bus=device ;;
riscv64) q=(qemu-system-riscv64 -M virt) ;;
esac
command -v "${q[0]}" > /dev/null || {
	echo "qemu: ${q[0]} is not installed (integration/guest/qemu-install.sh)" >&2
	exit 2
}

[ ${#disk[@]} = 0 ] || disk+=(-device "virtio-blk-$bus,drive=d")
box=$(mktemp -d "${TMPDIR:-/var/tmp}/guest.XXXXXX")
mkdir -p "$box/host/share" "$box/i"
trap 'rm -rf "$box"' EXIT
# The guest has only busybox. Everything else that the command needs must be in the share or on the disk.
printf '%q ' "$@" > "$box/host/command"
cp "$here/qemu-init.sh" "$box/i/init"
chmod +x "$box/i/init"
(
	cat "$g/initrd"
	cd "$box/i" && echo init | cpio -o -H newc --quiet | gzip -1
) > "$box/initrd"
# The share is bound below the shared folder in a mount namespace that only qemu sees.
start() {
	[ -n "$share" ] || exec "$@"
	exec unshare -m sh -c 'mount --bind "$1" "$2"; shift 2; exec "$@"' sh "$share" "$box/host/share" "$@"
}
(start timeout --foreground "$limit" "${q[@]}" -accel tcg,thread=multi,tb-size=256 -smp 2 -m "$memory" -nodefaults -no-user-config \
	-display none -no-reboot -kernel "$g/vmlinuz" -initrd "$box/initrd" -serial "file:$box/console" \
	-append "console=$console quiet panic=-1 no_timer_check embrun.cgroup=$cgroup embrun.root=$root embrun.run=$run embrun.date=$date $append" \
	-fsdev "local,id=h,path=$box/host,security_model=none,multidevs=remap" -device "virtio-9p-$bus,fsdev=h,mount_tag=host" \
	-device "virtio-rng-$bus" "${disk[@]}") || echo "qemu: ended with status $? (124: after --limit $limit seconds)" >&2
cat "$box/host/out" 2> /dev/null || true
[ -s "$box/host/status" ] || {
	echo "qemu: the guest $name ended without a status; its console:" >&2
	tail -n 20 "$box/console" >&2
	exit 125
}
exit "$(cat "$box/host/status")"
