################################################################################
#
# embrun
#
################################################################################

# The last commit of the tree that this external tree is a part of.
EMBRUN_TREE = $(realpath $(BR2_EXTERNAL_EMBRUN_PATH)/../..)
EMBRUN_VERSION := $(shell git -C $(EMBRUN_TREE) rev-parse HEAD)
EMBRUN_SITE = file://$(EMBRUN_TREE)
EMBRUN_SITE_METHOD = git
EMBRUN_LICENSE = Apache-2.0
EMBRUN_LICENSE_FILES = LICENSE
# No archive of a commit that is yet to come has a known hash.
BR_NO_CHECK_HASH_FOR += $(EMBRUN_SOURCE)

EMBRUN_CARGO_BUILD_OPTS = --bin embrun
# 64-bit time on 32-bit ARM: musl has no other since 1.2.
EMBRUN_CARGO_ENV = RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1

define EMBRUN_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/embrun \
		$(TARGET_DIR)/usr/bin/embrun
	mkdir -p $(TARGET_DIR)/usr/share/embrun
	cp -R $(@D)/seccomp-profiles $(TARGET_DIR)/usr/share/embrun/
endef

ifeq ($(BR2_PACKAGE_EMBRUN_AS_RUNC),y)
# At the very end, for containerd and docker select runc, whose program this takes the place of.
define EMBRUN_LINK_RUNC
	ln -sf embrun $(TARGET_DIR)/usr/bin/runc
endef
EMBRUN_TARGET_FINALIZE_HOOKS += EMBRUN_LINK_RUNC
endif

# Those of cross/kernel/embrun.cfg, for kernels that Buildroot builds.
define EMBRUN_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_NAMESPACES)
	$(call KCONFIG_ENABLE_OPT,CONFIG_PROC_FS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_UNIX)
	$(call KCONFIG_ENABLE_OPT,CONFIG_TMPFS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FILE_LOCKING)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SIGNALFD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_UTS_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IPC_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_PID_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NET_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SYSFS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_UNIX98_PTYS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_POSIX_MQUEUE)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP_FILTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUPS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_MEMCG)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_PIDS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_SCHED)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FAIR_GROUP_SCHED)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CFS_BANDWIDTH)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CPUSETS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BLK_CGROUP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_FREEZER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_DEVICE)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BPF_SYSCALL)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_BPF)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EVENTFD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_OVERLAY_FS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_VETH)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BRIDGE)
	$(call KCONFIG_ENABLE_OPT,CONFIG_KEYS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_USER_NS)
endef

$(eval $(cargo-package))
