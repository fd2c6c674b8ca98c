#!/bin/bash
# Packs the release binary of TARGET as the Debian package target/dist/TARGET/embrun_VERSION_ARCH.deb, reproducibly. It then checks the
# package with lintian, compares its files with a list, and runs the program for its version, natively or under qemu. A package for
# this machine's architecture is also tried, if root: installed in a fresh Debian, used to run a container there and by podman with
# the drop-in of the package, and removed (cross/deb-try.sh).
# usage: cross/deb.sh TARGET      env: SOURCE_DATE_EPOCH, else the time of the last commit; DEBFULLNAME, DEBEMAIL as for dch
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
target=${1:-}
target_facts "$target"
dist=$top/target/dist/$target
[ -e "$dist/embrun" ] || die "first: make release TARGET=$target"
version=$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' "$top/Cargo.toml")-1
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct)}
who="${DEBFULLNAME:-The embrun developers} <${DEBEMAIL:-embrun@localhost}>"
box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT

pack() { # PACKAGE
	local root=$box/root doc=$box/root/usr/share/doc/embrun
	rm -rf "$root"
	umask 022
	DESTDIR=$root PREFIX=/usr ZSH_COMPLETIONS=share/zsh/vendor-completions "$here/install.sh" "$dist/embrun"
	gzip -9n "$root"/usr/share/man/man8/*
	mkdir -p "$doc/docs" "$doc/examples" "$root/usr/share/lintian/overrides" "$root/DEBIAN"
	cp "$top"/seccomp-profiles/*.md "$top"/docs/*.md "$doc/docs/"
	cp "$top"/cross/dropins/* "$top"/cross/init/* "$top"/cross/kernel/* "$doc/examples/"
	cp "$top/README.md" "$dist/embrun.cdx.json" "$doc/"
	gzip -9n < "$top/CHANGELOG.md" > "$doc/changelog.gz"
	printf 'embrun (%s) unstable; urgency=medium\n\n  * What is new is in changelog.gz.\n\n -- %s  %s\n' \
		"$version" "$who" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n > "$doc/changelog.Debian.gz"
	"$here/copyright.py" "$target" > "$doc/copyright"
	cat > "$root/usr/share/lintian/overrides/embrun" << C
# On purpose: it has to start where there is nothing else.
embrun: statically-linked-binary [usr/bin/embrun]
# The default maintainer, if DEBEMAIL is not set.
embrun: bogus-mail-host *
embrun: bogus-mail-host-in-debian-changelog *
# Not an upload to Debian.
embrun: initial-upload-closes-no-bugs *
C
	chmod -R go-w "$root"
	chmod 644 "$doc"/docs/*
	cat > "$root/DEBIAN/control" << C
Package: embrun
Version: $version
Architecture: $arch
Maintainer: $who
Installed-Size: $(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
Section: admin
Priority: optional
Homepage: $(sed -n 's/^homepage = "\(.*\)"/\1/p' "$top/Cargo.toml")
Suggests: embrun-runc, podman | containerd | docker.io
Description: small container runtime for gateways, compatible with runc
 embrun runs containers as the OCI runtime specification describes them,
 by runc's command line. It is one static program, for small ARM machines:
 it needs no library, no systemd and no particular init, and works with
 cgroup v1 and v2.
C
	(cd "$root" && find usr -type f | LC_ALL=C sort | xargs md5sum > DEBIAN/md5sums)
	dpkg-deb --root-owner-group -Zxz --build "$root" "$1" > /dev/null
}

# docker.io and containerd depend on runc, podman on crun or runc; buildah recommends one of them. embrun-runc takes runc's place: it
# has the file that they call, and provides a version as new as the specification that embrun implements.
pack_runc() { # PACKAGE
	local root=$box/runc
	rm -rf "$root"
	mkdir -p "$root/usr/sbin" "$root/usr/share/doc" "$root/usr/share/man/man8" "$root/usr/share/lintian/overrides" "$root/DEBIAN"
	ln -s ../bin/embrun "$root/usr/sbin/runc"
	ln -s embrun.8.gz "$root/usr/share/man/man8/runc.8.gz"
	ln -s embrun "$root/usr/share/doc/embrun-runc"
	sed -n 's/^embrun: bogus/embrun-runc: bogus/p' "$box/root/usr/share/lintian/overrides/embrun" > "$root/usr/share/lintian/overrides/embrun-runc"
	cat > "$root/DEBIAN/control" << C
Package: embrun-runc
Source: embrun
Version: $version
Architecture: all
Maintainer: $who
Installed-Size: $(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
Section: admin
Priority: optional
Homepage: $(sed -n 's/^homepage = "\(.*\)"/\1/p' "$top/Cargo.toml")
Depends: embrun (= $version)
Provides: runc (= 1.3.0~embrun)
Conflicts: runc
Replaces: runc
Description: small container runtime for gateways, in runc's place
 Links /usr/sbin/runc to embrun, so that docker, containerd, podman and
 buildah can be installed without runc and use embrun without any
 configuration.
C
	(cd "$root" && find usr -type f | LC_ALL=C sort | xargs md5sum > DEBIAN/md5sums)
	find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	dpkg-deb --root-owner-group -Zxz --build "$root" "$1" > /dev/null
}

package=$dist/embrun_${version}_$arch.deb runc=$dist/embrun-runc_${version}_all.deb
pack "$package"
pack_runc "$runc"
say "$package: $(stat -c %s "$package") bytes, with embrun-runc $(stat -c %s "$runc")"
sleep 1
pack "$box/again.deb"
cmp "$package" "$box/again.deb" || die "two packages of the same tree differ"
pack_runc "$box/again.deb"
cmp "$runc" "$box/again.deb" || die "two packages of the same tree differ"
lintian --allow-root --fail-on error,warning "$package" "$runc" || die "lintian reported errors"

x=$box/x
dpkg-deb -x "$package" "$x"
[ "$(dpkg-deb -f "$package" Architecture)" = "$arch" ] || die "the package is not for $arch"
cmp "$dist/embrun" "$x/usr/bin/embrun" || die "the program in the package is not the release's"
(cd "$x" && dpkg-deb --ctrl-tarfile "$package" | tar -xO ./md5sums | md5sum --quiet -c) || die "files of the package do not match its md5sums"
# All files with their modes: programs and scripts are executable, and only root may write.
held() { (cd "$x" && find . -type f -printf '%m %P\n' | LC_ALL=C sort); }
wanted() {
	echo "755 usr/bin/embrun"
	"$here/manual/generate.sh" "$box/manual"
	(cd "$box/manual" && printf '644 usr/share/man/man8/%s.gz\n' *.8)
	printf '644 usr/share/%s\n' bash-completion/completions/embrun zsh/vendor-completions/_embrun fish/vendor_completions.d/embrun.fish
	echo "644 usr/share/lintian/overrides/embrun"
	(cd "$top/seccomp-profiles" && printf '644 usr/share/embrun/seccomp-profiles/%s\n' *.json && printf '644 usr/share/doc/embrun/docs/%s\n' *.md)
	(cd "$top/docs" && printf '644 usr/share/doc/embrun/docs/%s\n' *.md)
	(
		cd "$here" && printf '644 usr/share/doc/embrun/examples/%s\n' $(
			cd dropins
			echo *
		) embrun.cfg options embrun@.service
		printf '755 usr/share/doc/embrun/examples/%s\n' check.sh embrun-service.sh
	)
	printf '644 usr/share/doc/embrun/%s\n' README.md changelog.Debian.gz changelog.gz copyright embrun.cdx.json
}
diff <(wanted | LC_ALL=C sort -u) <(held) >&2 || die "the package has other files than expected"
case $arch in "$host") by="" ;; arm64) by=qemu-aarch64 ;; armhf | armel) by=qemu-arm ;; *) by=qemu-$arch ;; esac
[ -z "$by" ] || by=$(command -v "$by-static" || command -v "$by" || echo none)
if [ "$by" = none ]; then
	say "package: the program was not run: no emulation of $arch (qemu-user-static)"
else
	# shellcheck disable=SC2086
	version_said=$($by "$x/usr/bin/embrun" --version)
	version_said=${version_said%%$'\n'*}
	[ "$version_said" = "embrun version ${version%-1}" ] || die "the program in the package printed: $version_said"
	say "package: its program printed $version_said${by:+, under ${by##*/}}"
fi
[ "$arch" = "$host" ] || {
	say "not installed: the package is for $arch, this machine is $host"
	exit 0
}
[ "$(id -u)" = 0 ] || {
	say "not installed: this needs root"
	exit 0
}

# A fresh Debian, kept in the cache. Each try works on a copy in a tmpfs, which ends with its mount namespace.
fresh=$cache/deb-fresh.tar
[ -e "$fresh" ] || {
	say "building a fresh Debian, once"
	mmdebstrap --quiet --variant=essential --format=tar bookworm "$fresh.new" "deb $(mirror_of debian) bookworm main"
	mv "$fresh.new" "$fresh"
}
# apt-get says what it would install in it: no runc, if embrun-runc is there.
tar -xOf "$fresh" ./var/lib/dpkg/status > "$box/status"
for engines in docker.io containerd "podman buildah"; do
	for with in "$package $runc" "$package"; do
		# shellcheck disable=SC2086
		apt-get -s -o Dir::State::status="$box/status" install --no-install-recommends $with $engines > "$box/would" || die "apt-get cannot install $engines with $with"
		case "$(grep -c '^Inst \(runc\|crun\) ' "$box/would") $with" in "0 $package $runc" | "1 $package") ;; *) die "$engines with $with would install $(grep -o '^Inst [cr]*un ' "$box/would")" ;; esac
	done
done
say "package: docker.io, containerd, podman and buildah need no runc beside embrun-runc"
rootfs=$("$top/rootfs-fixtures/build.sh" --bare)
unshare --mount --pid --fork --kill-child "$here/deb-try.sh" "$box" "$fresh" "$package" "$rootfs" "$runc"
