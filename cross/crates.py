#!/usr/bin/env python3
"""Writes the lists of crates that image builders download, with their checksums, from Cargo.lock.

usage: cross/crates.py [--check]      --check writes nothing, and fails if a list is not that of Cargo.lock

Yocto reads yocto/recipes-containers/embrun/embrun-crates.inc, as `bitbake -c update_crates` would write it. Buildroot reads
buildroot/package/embrun-crates.
"""
import os, sys, tomllib

here = os.path.dirname(os.path.abspath(__file__))
lock = tomllib.load(open(here + "/../Cargo.lock", "rb"))
crates = [(p["name"], p["version"], p["checksum"]) for p in lock["package"] if "checksum" in p]
own, = (p["version"] for p in lock["package"] if p["name"] == "embrun")
BY = "# Written by cross/crates.py from Cargo.lock.\n"

yocto = BY + '\nSRC_URI += "\\\n' + "".join("    crate://crates.io/%s/%s \\\n" % c[:2] for c in crates) + '"\n\n' + "".join(
    'SRC_URI[%s-%s.sha256sum] = "%s"\n' % c for c in crates)

make = "#" * 80 + "\n#\n# embrun-crates\n#\n" + "#" * 80 + "\n\n" + BY + """
EMBRUN_CRATES_VERSION = %s
HOST_EMBRUN_CRATES_SOURCE =
HOST_EMBRUN_CRATES_EXTRA_DOWNLOADS = $(addprefix https://static.crates.io/crates/, \\
%s)

# As `cargo vendor` lays them out. Cargo compares each checksum with Cargo.lock.
define HOST_EMBRUN_CRATES_EXTRACT_CMDS
	for crate in $(notdir $(HOST_EMBRUN_CRATES_EXTRA_DOWNLOADS)); do \\
		$(TAR) -C $(@D) -xzf $(HOST_EMBRUN_CRATES_DL_DIR)/$$crate && \\
		sum=`sha256sum < $(HOST_EMBRUN_CRATES_DL_DIR)/$$crate` && \\
		printf '{"files":{},"package":"%%s"}\\n' $${sum%%%% *} \\
			> $(@D)/$${crate%%.crate}/.cargo-checksum.json || exit 1; \\
	done
endef

$(eval $(host-generic-package))
""" % (own, " \\\n".join("\t%s/%s-%s.crate" % (name, name, version) for name, version, _ in crates))

hashes = BY + "".join("sha256  %s  %s-%s.crate\n" % (checksum, name, version) for name, version, checksum in crates)

stale = []
for name, text in (("yocto/recipes-containers/embrun/embrun-crates.inc", yocto),
                   ("buildroot/package/embrun-crates/embrun-crates.mk", make),
                   ("buildroot/package/embrun-crates/embrun-crates.hash", hashes)):
    path = os.path.join(here, name)
    if "--check" not in sys.argv:
        open(path, "w").write(text)
    elif not os.path.exists(path) or open(path).read() != text:
        stale.append(name)
sys.exit("not as Cargo.lock: %s (run cross/crates.py)" % " ".join(stale) if stale else 0)
