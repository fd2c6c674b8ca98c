SUMMARY = "Small OCI container runtime, compatible with runc"
DESCRIPTION = "Runs containers as the OCI runtime specification describes them, by runc's command line. No library, no systemd."
SECTION = "console/tools"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# Choose it by
#   PREFERRED_PROVIDER_virtual/runc = "embrun"
#   VIRTUAL-RUNTIME_container_runtime = "embrun-runc"
# and meta-virtualization's containerd, docker and podman find it under the name of runc. An image whose engine is told of
# embrun by its own configuration needs `embrun` alone.
PROVIDES += "virtual/runc"

require ${BPN}-crates.inc

# The recipe lies in the tree that it builds and cannot name the commit that it is a part of: it takes the last one, whose name
# BitBake adds to the package's version. A build that must stay what it is names one: SRCREV:pn-embrun = "..." in local.conf.
PV .= "+git"
SRC_URI += "git://${EMBRUN_TREE};protocol=file;nobranch=1;usehead=1;destsuffix=${BP}"
SRCREV = "${AUTOREV}"

S = "${UNPACKDIR}/${BP}"

inherit cargo cargo-update-recipe-crates

CARGO_BUILD_FLAGS += "--bin embrun"
# 64-bit time on 32-bit ARM with musl, which has no other since 1.2. With glibc nothing is to be set: cross/README.md says why.
RUSTFLAGS += "--cfg=libc_unstable_musl_v1_2"
# Symbols are BitBake's to split off.
export CARGO_PROFILE_RELEASE_STRIP = "false"

do_install:append() {
    ln -sf embrun ${D}${bindir}/runc
    install -d ${D}${datadir}/embrun/seccomp-profiles
    install -m 0644 ${S}/seccomp-profiles/*.json ${D}${datadir}/embrun/seccomp-profiles/
}

PACKAGES =+ "${PN}-runc"
FILES:${PN}-runc += "${bindir}/runc"

RDEPENDS:${PN}-runc = "${PN}"
RPROVIDES:${PN}-runc += "virtual-runc"
RCONFLICTS:${PN}-runc = "runc runc-docker runc-opencontainers"
