#!/bin/sh
# Checks the shipped seccomp profiles, and one that it records, on the running kernel: each is accepted, and applies to native
# programs and to those of a foreign architecture. Like gateway.sh, which calls it, it needs only busybox.
# usage: profiles.sh EMBRUN FOREIGN-BUSYBOX|- PROFILE.json...      The exit status is the number of failures.
embrun=/tmp/embrun-profiles work=/tmp/profiles
cp "$1" $embrun && chmod 755 $embrun && mkdir -p $work/rootfs/bin $work/rootfs/proc $work/rootfs/tmp || exit 99
foreign=$2
shift 2
failures=0
# is NAME WANTED FOUND, and has NAME PART TEXT
is() { if [ "$2" = "$3" ]; then echo "ok $1"; else
	echo "FAIL $1: wanted '$2', found '$3'"
	failures=$((failures + 1))
fi; }
has() { case $3 in *"$2"*) echo "ok $1" ;; *)
	echo "FAIL $1: no '$2' in '$3'"
	failures=$((failures + 1))
	;;
esac }

cp /bin/busybox $work/rootfs/bin/ || exit 99
programs=/bin/busybox
[ "$foreign" = - ] || { mkdir $work/rootfs/foreign && cp "$foreign" $work/rootfs/foreign/busybox && programs="$programs /foreign/busybox"; }
# bundle PROFILE|"" ARGUMENTS: root with CAP_SYS_ADMIN, so that only the profile can refuse to mount.
bundle() {
	seccomp=${1:+", \"seccomp\": $(cat "$1")"}
	cat > $work/config.json << C
{ "ociVersion": "1.2.0", "root": { "path": "rootfs" }, "process": { "args": [$2], "cwd": "/", "noNewPrivileges": true,
    "user": { "uid": 0, "gid": 0 }, "capabilities": { "bounding": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"],
    "permitted": ["CAP_SYS_ADMIN"] } },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" }, { "destination": "/tmp", "type": "tmpfs", "source": "t" } ],
  "linux": { "namespaces": [ { "type": "pid" }, { "type": "mount" } ]$seccomp } }
C
}
run() {
	$embrun --root $work/state --cgroup-manager disabled run --bundle $work profile 2>&1 < /dev/null
	echo "status $?"
}
# words PROGRAM WORD...: the words as JSON strings.
words() {
	printf '"%s"' "$1"
	shift
	for w; do printf ', "%s"' "$w"; done
}

# Without a profile, the mount that is denied below succeeds.
for program in $programs; do
	bundle '' "$(words $program mount -t tmpfs t /tmp)"
	is "unconfined, $program" 'status 0' "$(run)"
done
for profile; do
	name=$(basename "$profile" .json)
	for program in $programs; do
		case $program$(cat "$profile") in
		/bin/busybox* | *SCMP_ARCH_ARM\"*) ;;
		*)
			echo "skip $name of $program: the profile is not for it"
			continue
			;;
		esac
		bundle "$profile" "$(words $program grep Seccomp: /proc/self/status)"
		is "$name accepted, $program" "$(printf 'Seccomp:\t2\nstatus 0')" "$(run)"
		bundle "$profile" "$(words $program mount -t tmpfs t /tmp)"
		has "$name denies, $program" 'permission denied' "$(run)"
	done
done

for program in $programs; do
	bundle '' "$(words $program mkdir /tmp/x)"
	$embrun --root $work/state --cgroup-manager disabled seccomp record -o $work/recorded $work > $work/log 2>&1 < /dev/null
	is "recorded, $program" 0 "$?$(cat $work/log)"
	bundle $work/recorded "$(words $program mkdir /tmp/x)"
	is "recorded is enough, $program" 'status 0' "$(run)"
	bundle '' "$(words $program mknod /tmp/x p)"
	is "not recorded, $program" 'status 0' "$(run)"
	# The error message is denied too, so that only the status shows the failure.
	bundle $work/recorded "$(words $program mknod /tmp/x p)"
	is "recorded is no more, $program" 'status 1' "$(run)"
done
is leaves_nothing '' "$(ls $work/state)"
rm -rf $work $embrun
exit $failures
