#!/bin/bash
# Makes the root file system of a gateway for a guest: busybox with its init, embrun, mosquitto, and a site with the five services.
# usage: integration/gateway/guest-root.sh ARCH EMBRUN IMAGES CERTS OUT SITE CLOUD
#   ARCH: amd64, arm64 or armhf; IMAGES: the output of rootfs-fixtures/gateway/build.sh; CERTS: ca.crt, client.crt and client.key
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
[ $# = 7 ] || die "usage: guest-root ARCH EMBRUN IMAGES CERTS OUT SITE CLOUD"
arch=$1 embrun=$2 images=$3 certs=$4 out=$5 site=$6 cloud=$7
own=$top/integration/gateway
case $arch in amd64) kind=uml ;; *) kind=arm ;; esac
rm -rf "$out"
mkdir -p "$out"/{dev,etc/init.d,etc/gateway,mods,mnt,proc,root,run,srv,sys,tmp,usr/bin,usr/sbin,usr/lib,var/lib/gateway}
for folder in bin sbin lib; do ln -s "usr/$folder" "$out/$folder"; done
ln -s /run "$out/var/run"
packages=$("$own/guest-packages.sh" "$arch")
cp -a "$packages/lib/." "$packages/usr/lib/." "$out/usr/lib/"
[ ! -d "$packages/lib64" ] || { ln -s usr/lib64 "$out/lib64" && cp -a "$packages/lib64" "$out/usr/"; }
cp "$packages/usr/sbin/mosquitto" "$packages/usr/bin/mosquitto_sub" "$packages/usr/bin/mosquitto_pub" "$out/usr/sbin/"
cp "$packages/bin/busybox" "$out/usr/bin/"
# The host's busybox names the applets, since the guest's may be of another architecture.
for applet in $(busybox --list); do [ -e "$out/usr/bin/$applet" ] || ln -s busybox "$out/usr/bin/$applet"; done
ln -s ../bin/busybox "$out/usr/sbin/init"
install -m 755 "$embrun" "$out/usr/bin/embrun"
install -m 755 "$images/gateway-tool" "$out/usr/bin/gateway-tool"
install -m 755 "$top/cross/init/embrun-service.sh" "$out/usr/sbin/embrun-service"
install -m 755 "$own/gateway-boot.sh" "$out/etc/init.d/rcS"
printf 'root:x:0:0:root:/root:/bin/sh\ngateway:x:1000:1000::/:/bin/false\n' > "$out/etc/passwd"
printf 'root:x:0:\ngateway:x:1000:\n' > "$out/etc/group"
mkdir -p "$out/etc/gateway/client"
cp "$certs"/{ca.crt,client.crt,client.key,firmware.pub} "$out/etc/gateway/client/"
chown -R 1000:1000 "$out/etc/gateway/client"
# Messages that the uplink has not acknowledged may be lost in a power cut, so the broker of the site keeps them in memory.
cat > "$out/etc/gateway/broker.conf" << 'C'
listener 0 /run/gateway/mqtt.sock
allow_anonymous true
user gateway
max_queued_messages 100000
log_type error
C
cat > "$out/etc/inittab" << 'I'
::sysinit:/etc/init.d/rcS
::respawn:/usr/sbin/mosquitto -c /etc/gateway/broker.conf
::shutdown:/bin/umount -a -r
I
for service in data-collector data-processor uplink device-controller firmware-updater; do
	mkdir "$out/srv/$service"
	cp -a "$images/$service/rootfs" "$out/srv/$service/rootfs"
	cp "$certs/command.pub" "$out/srv/$service/rootfs/etc/gateway/"
	echo "::respawn:/usr/sbin/embrun-service run /run/srv/$service" >> "$out/etc/inittab"
done
"$own/guest-bundles.py" "${HOST_EMBRUN:-$embrun}" "$out/srv" "$site" "$cloud" "$kind"
