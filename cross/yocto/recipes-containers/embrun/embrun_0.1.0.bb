SUMMARY = "Small OCI container runtime, compatible with runc"
DESCRIPTION = "Runs containers as the OCI runtime specification describes them, by runc's command line. No library, no systemd."
HOMEPAGE = "https://embrun.example/"
BUGTRACKER = "https://embrun.example/issues"
SECTION = "console/tools"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"
CVE_PRODUCT = "embrun"

# Choose it by
#   PREFERRED_PROVIDER_virtual/runc = "embrun"
#   VIRTUAL-RUNTIME_container_runtime = "embrun-runc"
# and meta-virtualization's containerd, docker and podman find it under the name of runc. `embrun-dropins` configures podman and
# CRI-O for embrun instead, and has examples for docker and containerd; with it runc and crun may stay.
PROVIDES += "virtual/runc"

require ${BPN}-crates.inc

# The tree that contains this layer, at a commit that cross/lint-bitbake.py checks. SRCREV:pn-embrun = "${AUTOREV}" in local.conf
# builds its last commit instead.
PV .= "+git"
SRC_URI += "git://${EMBRUN_TREE};protocol=file;nobranch=1;usehead=1;destsuffix=${BP}"
SRCREV ?= "acda5a4f244339877403f8c97c49d3c17d2bf3d6"

S = "${UNPACKDIR}/${BP}"

inherit cargo cargo-update-recipe-crates

CARGO_BUILD_FLAGS += "--bin embrun"
# 64-bit time on 32-bit ARM with musl, which has no other since 1.2. With glibc nothing is to be set: cross/README.md says why.
RUSTFLAGS += "--cfg=libc_unstable_musl_v1_2"
# Symbols are BitBake's to split off.
export CARGO_PROFILE_RELEASE_STRIP = "false"

do_install:append() {
    ln -sf embrun ${D}${bindir}/runc
    # Seccomp profiles, manual pages and completions.
    DESTDIR=${D} PREFIX=${prefix} ${S}/cross/install.sh
    install -d ${D}${datadir}/embrun/dropins
    install -m 0644 ${S}/cross/dropins/* ${D}${datadir}/embrun/dropins/
    install -D -m 0644 ${S}/cross/dropins/containers.conf ${D}${sysconfdir}/containers/containers.conf.d/50-embrun.conf
    install -D -m 0644 ${S}/cross/dropins/crio.conf ${D}${sysconfdir}/crio/crio.conf.d/50-embrun.conf
}

PACKAGES =+ "${PN}-runc ${PN}-dropins ${PN}-completion"
FILES:${PN}-completion += "${datadir}/bash-completion ${datadir}/zsh ${datadir}/fish"
FILES:${PN}-runc += "${bindir}/runc"
FILES:${PN}-dropins += "${datadir}/embrun/dropins ${sysconfdir}/containers ${sysconfdir}/crio"

RDEPENDS:${PN}-runc = "${PN}"
RDEPENDS:${PN}-dropins = "${PN}"
RPROVIDES:${PN}-runc += "virtual-runc"
# meta-virtualization's crun links itself as runc too.
RCONFLICTS:${PN}-runc = "crun runc runc-docker runc-opencontainers"
