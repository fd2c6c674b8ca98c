#!/bin/bash
# Fetches the test suites of runc, crun and runtime-tools from Debian's sources into ~/.cache/embrun/conformance, and builds their
# helpers there with Debian's Go, and runc and crun themselves, which are the oracle. Nothing is installed, and this repository
# contains none of their code.
# usage: integration/conformance/fetch.sh      prints the folder
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
box=$cache/conformance
mkdir -p "$box"
[ ! -e "$box/ready-with-peers" ] || {
	echo "$box"
	exit 0
}
exec 3>&1 1>&2

source_of() { # SUITE PACKAGE DIR
	[ ! -e "$box/$3/.unpacked" ] || return 0
	say "fetching the source of $2 from $1"
	(apt_sources "$1" && mkdir -p "$box/tar-$3" && cd "$box/tar-$3" && apt-get -qq source --download-only --tar-only "$2")
	rm -rf "${box:?}/$3"
	mkdir "$box/$3"
	tar -xf "$box/tar-$3/"*.orig.tar.* -C "$box/$3" --strip 1
	: > "$box/$3/.unpacked"
}
source_of sid runc runc
source_of trixie crun crun
source_of sid golang-github-opencontainers-runtime-tools tools

[ -e "$box/go/root" ] || (
	say "fetching Go and the libraries of the helpers"
	apt_sources sid
	mkdir -p "$box/go"
	cd "$box/go"
	go=$(apt-cache depends golang-go | sed -n 's/.*Depends: \(golang-[0-9.]*\)-go$/\1/p')
	wanted=$(
		apt-cache showsrc runc golang-github-opencontainers-runtime-tools | grep -oE 'golang-[a-z0-9.-]+-dev' | sort -u
		echo golang-github-google-uuid-dev
	)
	# shellcheck disable=SC2086
	all=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances $wanted |
		grep -E '^golang-[a-z0-9.+-]+-dev$' | sort -u)
	for p in "$go-go" "$go-src" $all; do apt-get -qq download "$p" || say "not to be had: $p"; done
	for d in *.deb; do dpkg -x "$d" .; done
	rm ./*.deb
	ln -sfn usr/lib/"${go/golang/go}" root
)
export GOROOT=$box/go/root GOPATH=$box/path:$box/go/usr/share/gocode GO111MODULE=off GOTOOLCHAIN=local GOCACHE=$box/build-cache
mkdir -p "$box/path/src/github.com/opencontainers" "$box/path/src/github.com/mndrix"
ln -sfn "$box/runc" "$box/path/src/github.com/opencontainers/runc"
ln -sfn "$box/tools" "$box/path/src/github.com/opencontainers/runtime-tools"
# Debian lacks the tap library; tap-go has the few functions that the tests call.
cp -r "$here/../integration/conformance/tap-go" "$box/path/src/github.com/mndrix/"

say "building the helpers of runc's tests"
cd "$box/path/src/github.com/opencontainers/runc"
mkdir -p tests/cmd/_bin
for dir in tests/cmd/*/; do
	name=$(basename "$dir")
	[ "$name" != _bin ] || continue
	"$GOROOT/bin/go" build -p 2 -tags seccomp -o "tests/cmd/_bin/$name" "./$dir"
done
# The tests expect two images, here plain tar files: a busybox and a small Debian.
images=$PWD/tests/integration/testdata
root=$box/busybox
rm -rf "$root"
mkdir -p "$root"/{bin,dev,etc,home,lib,root,sbin,tmp,usr/bin,usr/sbin,var/spool/mail,var/www}
chmod 1777 "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for a in $(busybox --list); do [ "$a" = busybox ] || ln "$root/bin/busybox" "$root/bin/$a"; done
printf '%s\n' root:x:0:0:root:/root:/bin/sh daemon:x:1:1:daemon:/usr/sbin:/bin/false www-data:x:33:33:www-data:/var/www:/bin/false \
	nobody:x:65534:65534:nobody:/home:/bin/false > "$root/etc/passwd"
printf '%s\n' root:x:0: daemon:x:1: tty:x:5: www-data:x:33: users:x:100: nogroup:x:65534: > "$root/etc/group"
tar -C "$root" -cf "$images/busybox.tar" .
[ -e "$images/debian.tar" ] || mmdebstrap --quiet --variant=minbase --format=tar bookworm "$images/debian.tar" "deb $(mirror_of debian) bookworm main"
printf '#!/bin/sh\necho BUSYBOX_IMAGE=%s/busybox.tar\necho DEBIAN_IMAGE=%s/debian.tar\n' "$images" "$images" > tests/integration/get-images.sh

say "building runc"
# Debian has a newer version of the criu library, which differs in nothing that runc uses.
grep -rl go-criu/v6 --include='*.go' . | xargs -r sed -i 's,go-criu/v6,go-criu/v7,'
mkdir -p "$box/peer"
"$GOROOT/bin/go" build -p 2 -tags seccomp -o "$box/peer/runc" .
# runc lacks crun's --cgroup-manager and --config, which crun's tests always pass.
cat > "$box/peer/runc-as-crun" << 'W'
#!/bin/bash
args=()
while [ $# -gt 0 ]; do
	case $1 in
	--cgroup-manager) shift ;;
	--config) [ "$2" = config.json ] || cp "$2" config.json; shift ;;
	*) args+=("$1") ;;
	esac
	shift
done
exec "$(dirname "$0")/runc" "${args[@]}"
W
chmod +x "$box/peer/runc-as-crun"

say "building crun"
(
	rm -rf "$box/crun-build"
	cp -r "$box/crun" "$box/crun-build"
	cd "$box/crun-build"
	rm -f config.h
	./configure --quiet --disable-systemd --disable-criu > /dev/null 2>&1
	make -s git-version.h > /dev/null 2>&1
	make -s -j2 crun > make.log 2>&1 || die "crun does not build: $PWD/make.log"
	cp crun "$box/peer/crun"
)

say "building the payload of crun's tests"
printf '#define HAVE_SECCOMP 1\n' > "$box/crun/config.h"
gcc -static -O1 -D_GNU_SOURCE -I"$box/crun" -o "$box/crun/tests/init" "$box/crun/tests/init.c"

say "building the programs of runtime-tools"
cd "$box/path/src/github.com/opencontainers/runtime-tools"
# Debian's newer selinux library has no FileLabel. The tests do not run on hosts with labels, so it is not needed.
sed -i 's/label.FileLabel(mount.Destination)/"", error(nil)/; /go-selinux\/label"/d' cmd/runtimetest/main.go
CGO_ENABLED=0 "$GOROOT/bin/go" build -p 2 -o runtimetest ./cmd/runtimetest
for dir in validation/*/; do
	name=$(basename "$dir")
	[ "$name" = util ] || "$GOROOT/bin/go" build -p 2 -o "validation/$name/$name.t" "./$dir"
done
: > "$box/ready-with-peers"
echo "$box" >&3
