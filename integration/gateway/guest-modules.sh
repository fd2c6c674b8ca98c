#!/bin/bash
# Copies the modules of user-mode Linux that a gateway uses into a folder, with numbers that set the order of loading.
# usage: integration/gateway/guest-modules.sh KERNEL OUT      KERNEL: from integration/guest/uml-kernel.sh
set -euo pipefail
kernel=$1 out=$2 n=10
for module in drivers/block/nbd drivers/block/loop fs/fuse/fuse fs/fuse/cuse drivers/i2c/i2c-core drivers/i2c/i2c-dev drivers/i2c/i2c-stub net/sched/sch_netem; do
	n=$((n + 1))
	cp "${kernel%/bin/*}"/lib/uml/modules/*/kernel/"$module.ko" "$out/$n-${module##*/}.ko"
done
