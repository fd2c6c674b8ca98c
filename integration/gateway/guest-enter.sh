#!/bin/sh
# shellcheck shell=dash
# Starts the init of a gateway's root file system in an emulated guest: in namespaces of its own, because pid 1 of the guest runs
# this script. The current folder has `root`. Prints the report of guest-checks.sh.
set -eu
mkdir -p /gw
mount -t tmpfs -o size=90% gw /gw
cp -a root/. /gw/
for folder in sys dev; do mount --rbind /$folder /gw/$folder; done
# The folder for results is outside of the /run that the guest's init mounts.
mount -t tmpfs -o mode=755 run /gw/run
unshare -m -p -f sh -c 'cd /gw && pivot_root . mnt && umount -l /mnt && exec /sbin/init' > /tmp/init.log 2>&1 < /dev/null || :
cat /gw/run/checks || cat /tmp/init.log
