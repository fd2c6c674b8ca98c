#!/bin/bash
# Builds a disk image with a small Debian that systemd runs (with D-Bus and the user `user`, 1000), and prints its path. It is
# built once and kept in the cache, until this script changes. Debian 12 has the last systemd that also boots with cgroup v1;
# Debian 13 comes with podman.
# usage: integration/guest/systemd-root.sh bookworm|trixie
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"

PATH=$PATH:/usr/sbin:/sbin
release=$1 more=''
[ "$release" != trixie ] || more=,podman,conmon
image=$cache/systemd-$release.img
mkdir -p "$cache"
exec 9> "$image.lock"
flock 9
stamp=$(cksum < "$0")
if [ -e "$image" ] && [ "$(cat "$image.stamp" 2> /dev/null)" = "$stamp" ]; then
	echo "$image"
	exit
fi
say "building a Debian with systemd"
box=$(mktemp -d "$cache/systemd-root.XXXXXX")
trap 'rm -rf "$box"' EXIT

cat > "$box/settings" << 'SETTINGS'
#!/bin/sh
set -e
echo guest > "$1/etc/hostname"; : > "$1/etc/fstab"; mkdir "$1/host"
chroot "$1" useradd -m -u 1000 -s /bin/sh user
for unit in getty.target systemd-timesyncd.service systemd-networkd.service systemd-resolved.service e2scrub_reap.service \
	apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer systemd-update-utmp.service; do
	ln -sf /dev/null "$1/etc/systemd/system/$unit"
done
SETTINGS
chmod +x "$box/settings"
mmdebstrap --quiet --variant=minbase --mode=root --skip=check/empty --include=systemd-sysv,dbus,dbus-user-session,libpam-systemd,uidmap$more \
	--aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook="$box/settings" \
	"$release" "$box/root" "deb $(mirror_of debian) $release main" "deb $(mirror_of debian-security) $release-security main" > "$box/log" 2>&1 ||
	{
		cat "$box/log" >&2
		die "mmdebstrap failed"
	}
rm -rf "$box/root/var/lib/apt/lists" "$box/root/var/cache/apt"
truncate -s 2G "$box/image"
mkfs.ext4 -q -F -E lazy_itable_init=1 -O ^has_journal -d "$box/root" "$box/image"
mv "$box/image" "$image"
echo "$stamp" > "$image.stamp"
echo "$image"
