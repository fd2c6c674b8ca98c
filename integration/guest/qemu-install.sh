#!/bin/bash
# Installs the packages that the guests of matrix.sh need: qemu, small tools, and a compiler for uml-small.sh. If qemu-utils is
# installed from backports, the emulators must come from there too, since they depend on the same version.
# usage: integration/guest/qemu-install.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
need=""
for f in qemu-system-aarch64:qemu-system-arm qemu-system-arm:qemu-system-arm qemu-system-x86_64:qemu-system-x86 \
	qemu-system-riscv64:qemu-system-misc modprobe:kmod cpio:cpio xz:xz-utils mke2fs:e2fsprogs \
	busybox:busybox-static make:make gcc:gcc flex:flex bison:bison bc:bc; do
	PATH=$PATH:/usr/sbin:/sbin command -v "${f%:*}" > /dev/null || case " $need " in *" ${f#*:} "*) ;; *) need+=" ${f#*:}" ;; esac
done
[ -n "$need" ] || exit 0
release=$(
	. /etc/os-release
	echo "$VERSION_CODENAME"
)
lists=$cache/apt/host
mkdir -p "$lists/partial"
sed "s,^,deb $(mirror_of debian) ," > "$lists.list" <<< "$release main
$release-updates main
$release-backports main"
echo "deb $(mirror_of debian-security) $release-security main" >> "$lists.list"
o=(-qq -o "Dir::Etc::sourcelist=$lists.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$lists" -o DPkg::Lock::Timeout=900)
apt-get "${o[@]}" --error-on=any update
case $(dpkg-query -Wf '${Version}' qemu-utils 2> /dev/null) in *bpo*) o+=(-t "$release-backports") ;; esac
# shellcheck disable=SC2086
apt-get "${o[@]}" install -y --no-install-recommends $need
