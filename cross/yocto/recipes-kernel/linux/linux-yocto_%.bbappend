# DISTRO_FEATURES:append = " embrun" gives the kernel the options of cross/kernel/embrun.cfg. Without it this layer changes no kernel.
# nooelint: oelint.vars.noncoreoverride
FILESEXTRAPATHS:prepend := "${EMBRUN_TREE}/cross/kernel:"
# nooelint: oelint.vars.noncoreoverride
SRC_URI:append = "${@bb.utils.contains('DISTRO_FEATURES', 'embrun', ' file://embrun.cfg', '', d)}"
