#!/bin/bash
# Types the commands of README.md, section "Using it directly", in a fresh clone of the last commit, as a newcomer would. The clone, the
# installed files and the bundle are below a temporary directory and on a tmpfs that ends with the mount namespace.
# usage: integration/readme.sh
set -euo pipefail
cd "$(dirname "$0")/.."
box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
git clone -q . "$box/clone"
sed -n '/^## Using it directly/,/^## /p' "$box/clone/README.md" | sed -n '/^```sh/,/^```/p' | sed '/^```/d' > "$box/typed"
[ "$(wc -l < "$box/typed")" -ge 5 ] || {
	echo "readme: no commands found" >&2
	exit 1
}
# The last command runs a shell on a terminal, which script(1) makes.
cat > "$box/inside.sh" << 'E2'
set -e
mount --make-rprivate /
for directory in bin share; do
	cp -a "/usr/local/$directory" "$1/$directory"
	mount --bind "$1/$directory" "/usr/local/$directory"
done
mount -t tmpfs tmp /run
cd "$1/clone"
sed "s|/tmp/web|$1/web|g" "$1/typed" > "$1/here"
printf 'hostname; exit 7\n' | script -qec "sh -e '$1/here'" /dev/null || status=$?
[ "${status:-0}" = 7 ] || { echo "readme: status ${status:-0}" >&2; exit 1; }
man -w embrun-run > /dev/null 2>&1 || [ -s /usr/local/share/man/man8/embrun-run.8 ]
E2
out=$(unshare --mount --pid --fork --mount-proc --kill-child sh "$box/inside.sh" "$box" 2>&1) || {
	echo "$out" >&2
	exit 1
}
grep -q '^runc\|^embrun' <<< "$(tail -n 3 <<< "$out")" || {
	echo "$out" >&2
	exit 1
}
echo "readme: its commands work in a fresh clone"
