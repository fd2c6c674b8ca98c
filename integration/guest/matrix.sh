#!/bin/bash
# Runs `gateway.sh` with the release binary of each architecture on every kernel that can be had and on kernels with something
# left out, one boot for each line, and writes the section of docs/kernels.md. Ends with 1 if a check failed anywhere, or if a
# line skips another number of checks than is written here.
# usage: integration/guest/matrix.sh [--check] [WORD...]      WORD: only lines that hold one of them; these, and with --check all
#   lines, are printed and not written
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$here/../..
box=$(mktemp -d "${TMPDIR:-/var/tmp}/matrix.XXXXXX")
trap 'rm -rf "$box"' EXIT
write=yes
[ "${1:-}" != --check ] || {
	write=no
	shift
}
words=("$@")
[ $# = 0 ] || write=no
wanted() {
	local w
	[ ${#words[@]} -gt 0 ] || return 0
	for w in "${words[@]}"; do case $1 in *"$w"*) return 0 ;; esac done
	return 1
}

# GUEST | TARGET of the binary | what is special | checks skipped | options of `qemu.sh`
lines="
aarch64-6.12|aarch64-unknown-linux-musl|cgroup v2|0|--cgroup v2
aarch64-6.12|aarch64-unknown-linux-musl|cgroup v1 (no memory, no cpuset: this kernel has them on v2 alone)|0|--cgroup v1
aarch64-6.1|aarch64-unknown-linux-musl|cgroup v2|0|--cgroup v2
aarch64-5.10|aarch64-unknown-linux-musl|cgroup v1|0|--cgroup v1
aarch64-5.10|aarch64-unknown-linux-musl|cgroup v2|0|--cgroup v2
armv7-6.1|armv7-unknown-linux-musleabihf|cgroup v2|0|--cgroup v2
armv7-6.1|armv7-unknown-linux-musleabihf|cgroup v1|0|--cgroup v1
armv7-6.1|armv7-unknown-linux-musleabihf|cgroup v2, the clock in 2040|0|--cgroup v2 --date 2208988800
armv7-6.1|arm-unknown-linux-musleabi|the armv6 binary, cgroup v2|0|--cgroup v2
armv7-5.10|armv7-unknown-linux-musleabihf|cgroup v1|0|--cgroup v1
x86_64-6.12|x86_64-unknown-linux-musl|cgroup v2|0|--cgroup v2
x86_64-5.10|x86_64-unknown-linux-musl|cgroup v1|0|--cgroup v1
x86_64-5.10|x86_64-unknown-linux-musl|cgroup v2|0|--cgroup v2
riscv64|riscv64gc-unknown-linux-musl|cgroup v2|0|--cgroup v2
aarch64-6.12|aarch64-unknown-linux-musl|root is the initramfs (no flag given)|0|--cgroup v2 --root initramfs
aarch64-6.12|aarch64-unknown-linux-musl|read-only root|0|--cgroup v2 --root ro
aarch64-6.12|aarch64-unknown-linux-musl|no /run (state in /tmp)|0|--cgroup v2 --no-run
aarch64-6.12|aarch64-unknown-linux-musl|no memory controller|0|--cgroup v2 --append cgroup_disable=memory
armv7-6.1|armv7-unknown-linux-musleabihf|v1 without a memory controller, as Raspberry Pi ships|0|--cgroup v1 --append cgroup_disable=memory
aarch64-6.12|aarch64-unknown-linux-musl|no cgroups mounted|0|--cgroup none
aarch64-6.12|aarch64-unknown-linux-musl|no pids and no cpu controller|0|--cgroup v2 --append cgroup_disable=pids,cpu
aarch64-6.12|aarch64-unknown-linux-musl|no PSI, no AppArmor, no IPv6, kernel memory not counted|0|--cgroup v2 --append psi=0 --append lsm= --append ipv6.disable=1 --append cgroup.memory=nokmem,nosocket
aarch64-6.12-rt|aarch64-unknown-linux-musl|the real-time kernel, cgroup v2|0|--cgroup v2
aarch64-6.12-16k|aarch64-unknown-linux-musl|pages of 16 KiB, as Raspberry Pi 5 has them; cgroup v2|0|--cgroup v2
aarch64-6.12-16k|armv7-unknown-linux-musleabihf|pages of 16 KiB and the armv7 binary, cgroup v2|0|--cgroup v2
armv7-6.1-armmp|armv7-unknown-linux-musleabihf|without large physical addresses, cgroup v2|0|--cgroup v2
x86_64-5.10|x86_64-unknown-linux-musl|v1 without pids, freezer and devices|0|--cgroup v1 --append cgroup_disable=pids,freezer,devices
uml|x86_64-unknown-linux-musl|user-mode Linux: no cpuset, PSI, time namespace and fuse; cgroup v2|1|--cgroup v2
uml|x86_64-unknown-linux-musl|user-mode Linux: no cpuset, PSI, time namespace and fuse; cgroup v1|1|--cgroup v1
uml-small|x86_64-unknown-linux-musl|no pid, ipc and network namespaces, seccomp, eBPF, controllers, devpts, mqueue, overlay: each refusal names the option|0|--cgroup v2
"
for w in "${words[@]}"; do
	grep -qF -e "$w" <<< "$lines" || {
		echo "matrix: no line holds $w" >&2
		exit 2
	}
done

# What is published is of the tree that it lies in.
if [ $write = yes ]; then
	stamp=$("$here/section.sh" --stamp) || exit 2
	for embrun in $(sed -n "s,^[^|]*|\([^|]*\)|.*,$top/target/dist/\1/embrun,p" <<< "$lines" | sort -u); do
		[ -e "$embrun" ] && [ -z "$(cd "$top" && find src build.rs Cargo.toml Cargo.lock -newer "$embrun" -print -quit)" ] ||
			{
				echo "matrix: $embrun is not there or older than the sources: first make release-all" >&2
				exit 2
			}
	done
fi

# An armv7 busybox, the payload of the foreign architecture on aarch64.
foreign() (
	. "$top/cross/common.sh"
	f=$cache/guest/foreign
	rm -rf "$f.new"
	if [ ! -e "$f/bin/busybox" ]; then
		apt_fetch armhf "bookworm trixie" "$f.new" busybox-static >&2
		# Older releases have it in /bin, newer ones in /usr/bin.
		dpkg -x "$f.new"/busybox-static_*.deb "$f.new/root"
		mkdir -p "$f/bin"
		mv "$(find "$f.new/root" -type f -path '*bin/busybox')" "$f/bin/busybox"
		rm -rf "$f.new"
	fi
	ls "$f/bin/busybox"
)

table=$box/table bad=0 notes=''
cat > "$table" << 'T'

| kernel | machine | what is special | passed | failed | skipped |
|---|---|---|---|---|---|
T
# cannot WHAT: a line that could not be run at all, for the reason in `why`
cannot() {
	cat "$box/why" >&2
	bad=1
	echo "| $guest: $1 cannot be had: $(tail -n 1 "$box/why") | ? | $special | | | |" >> "$table"
}
while IFS='|' read -r guest target special skips options; do
	[ -n "$guest" ] && wanted "$guest|$target|$special|$skips|$options" || continue
	[ -e "$top/target/dist/$target/embrun" ] || {
		echo "matrix: first make release TARGET=$target" >&2
		exit 2
	}
	echo "== $guest, $special" >&2
	case $guest in
	uml) kernel=$("$here/uml-kernel.sh" 2> "$box/why") ;;
	uml-small) kernel=$("$here/uml-small.sh" 2> "$box/why") ;;
	*) "$here/qemu-build.sh" "$guest" > /dev/null 2> "$box/why" ;;
	esac || {
		cannot "the kernel"
		continue
	}
	share=$box/share
	rm -rf "$share"
	mkdir -p "$share/seccomp-profiles"
	cp "$here/gateway.sh" "$here/missing.sh" "$here/profiles.sh" "$top/target/dist/$target/embrun" "$share/"
	for p in "$top"/seccomp-profiles/*.json; do case $p in *.config.json) ;; *) cp "$p" "$share/seccomp-profiles/" ;; esac done
	year=$(date -u +%Y)
	case $options in *--date*) year=$(date -u -d "@$(sed 's/.*--date \([0-9]*\).*/\1/' <<< "$options")" +%Y) ;; esac
	set -- ./embrun "$year"
	case $guest in
	# Debian aligns the segments of its armv7 busybox to 4 KiB: a kernel with larger pages cannot run it.
	*-16k) ;;
	aarch64-*)
		payload=$(foreign 2> "$box/why") && cp "$payload" "$share/foreign" || {
			cannot "the armv7 payload"
			continue
		}
		set -- "$@" ./foreign SCMP_ARCH_ARM
		;;
	esac
	# What is run in user-mode Linux finds this machine's files: a /tmp of its own, and busybox for a shell.
	in_uml='mount -t tmpfs tmp /tmp && mkdir /tmp/bin && busybox --install -s /tmp/bin && PATH=/tmp/bin:$PATH exec busybox sh "$@"'
	# shellcheck disable=SC2086  # words on purpose
	case $guest in
	uml-small) (cd "$share" && "$here/uml.sh" --kernel "$kernel" --limit "${LIMIT:-600}" $options -- sh -c "$in_uml" sh ./missing.sh ./embrun) ;;
	uml) (cd "$share" && "$here/uml.sh" --kernel "$kernel" --limit "${LIMIT:-600}" $options -- sh -c "$in_uml" sh ./gateway.sh "$@") ;;
	*) "$here/qemu.sh" --limit "${LIMIT:-600}" --share "$share" $options "$guest" -- sh ./gateway.sh "$@" ;;
	esac < /dev/null > "$box/out" 2>&1
	status=$?
	grep -v '^ok ' "$box/out" >&2
	version=$(sed -n 's/^kernel \([^ ]*\) \(.*\), [0-9]* failures$/\1 | \2/p' "$box/out")
	passed=$(grep -c '^ok ' "$box/out") failed=$(grep -c '^FAIL ' "$box/out") skipped=$(grep -c '^skip ' "$box/out")
	[ $status = 0 ] && [ -n "$version" ] || bad=1
	echo "| ${version:-$guest did not end | ?} | $special | $passed | $failed | $skipped |" >> "$table"
	name="- $guest, ${special//\//\\/}"
	notes+=$(sed -n "s/^FAIL \([^:]*\): \(.*\)/$name: **\1 failed**: \2/p; s/^skip \([^:]*\): \(.*\)/$name: \1 skipped: \2/p" "$box/out")$'\n'
	[ "$skipped" = "$skips" ] || {
		echo "matrix: $guest, $special: $skipped checks skipped, not $skips" >&2
		bad=1 notes+="- $guest, $special: **$skipped checks skipped, not $skips**"$'\n'
	}
done <<< "$lines"
{
	echo
	grep . <<< "$notes"
	echo
} >> "$table"
if [ $write = yes ]; then "$here/section.sh" kernels "$stamp" < "$table"; else cat "$table"; fi
exit $bad
