#!/bin/bash
# Runs the tests of labels in a guest of user-mode Linux with AppArmor or SELinux, whose policies are in the folder labels.
# usage: integration/guest/labels.sh apparmor|selinux EMBRUN
#   EMBRUN: a path, or runc or crun
set -euo pipefail
module=$1
cd "$(dirname "$0")/../.."
tools=$(integration/guest/labels-tools.sh)
policies=$PWD/integration/guest/labels
case $module in
apparmor)
	docker=$(integration/docker.sh)
	append='lsm=apparmor apparmor=1 security=apparmor'
	load="mount -t securityfs securityfs /sys/kernel/security
		PATH=$tools/sbin:$tools/usr/sbin:\$PATH apparmor_parser --skip-cache --replace --quiet --config-file=/dev/null $policies/apparmor
		# Podman and docker load their profiles with /sbin/apparmor_parser. /run is empty in each test.
		mkdir /dev/sbin /dev/own
		mount --bind /usr/sbin /dev/own
		ln -s /dev/own/* /dev/sbin
		rm -f /dev/sbin/apparmor_parser
		printf '#!/bin/sh\nexec %s --config-file=/dev/null \"\$@\"\n' $tools/sbin/apparmor_parser > /dev/sbin/apparmor_parser
		chmod +x /dev/sbin/apparmor_parser
		mount --bind /dev/sbin /usr/sbin"
	;;
selinux)
	append='selinux=1 security=selinux'
	policy=$(mktemp "${TMPDIR:-/var/tmp}/labels.XXXXXX")
	trap 'rm -f "$policy"' EXIT
	libraries=$(dirname "$(find "$tools" -name libsepol.so.2)")
	# Version 33 is that of Linux 5.12.
	LD_LIBRARY_PATH=$libraries "$tools/usr/bin/secilc" --policyvers=33 --output="$policy" --filecontext=/dev/null "$policies/selinux.cil"
	load="mount -t selinuxfs selinuxfs /sys/fs/selinux
		cat $policy > /sys/fs/selinux/load
		echo 1 > /sys/fs/selinux/enforce"
	;;
*)
	sed -n 3,4p "$0" >&2
	exit 2
	;;
esac
IT_ROOTFS=$(rootfs-fixtures/build.sh)
RUNTIME=$(command -v "$2")
# As in suites.sh: one processor, slow system calls.
export IT_ROOTFS RUNTIME IT_SLOW=5 RUST_TEST_THREADS=1 IT_LABELS=$module IT_ARGS="${IT_ARGS:-labels::$module labels::empty labels::profile}"
program=$(integration/programs.sh kernel)
integration/guest/uml.sh --append "$append" --limit 600 -- sh -e -c "$load
	integration/suites.sh uml-$module $program
	[ $module = selinux ] || PATH=${docker:-}:\$PATH IT_ARGS='--ignored labelled' exec integration/suites.sh uml-$module $program"
