################################################################################
#
# embrun
#
################################################################################

EMBRUN_VERSION = 0.1.0
# The tree that this external tree is a part of, as it is.
EMBRUN_SITE = $(realpath $(BR2_EXTERNAL_EMBRUN_PATH)/../..)
EMBRUN_SITE_METHOD = local
EMBRUN_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude=/target
EMBRUN_LICENSE = Apache-2.0
EMBRUN_LICENSE_FILES = LICENSE

EMBRUN_CARGO_BUILD_OPTS = --bin embrun
# 64-bit time on 32-bit ARM with musl, which has no other since 1.2. With
# glibc nothing is to be set: cross/README.md says why. Joined to
# Buildroot's own flags for the target.
EMBRUN_CARGO_BUILD_OPTS += --config 'target.$(RUSTC_TARGET_NAME).rustflags="--cfg=libc_unstable_musl_v1_2"'

# Buildroot fetches crates into an archive, and what is local has none. Those
# that are in its download folder already want no network.
define EMBRUN_VENDOR_CRATES
	mkdir -p $(@D)/.cargo
	cd $(@D) && $(TARGET_MAKE_ENV) $(PKG_CARGO_ENV) \
		cargo vendor --locked VENDOR > .cargo/config.toml
endef
EMBRUN_PRE_CONFIGURE_HOOKS += EMBRUN_VENDOR_CRATES

define EMBRUN_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/embrun \
		$(TARGET_DIR)/usr/bin/embrun
	mkdir -p $(TARGET_DIR)/usr/share/embrun/seccomp-profiles
	$(INSTALL) -m 0644 $(@D)/seccomp-profiles/*.json $(TARGET_DIR)/usr/share/embrun/seccomp-profiles/
endef

ifeq ($(BR2_PACKAGE_EMBRUN_AS_RUNC),y)
# At the very end, for containerd and docker select runc, whose program this takes the place of.
define EMBRUN_LINK_RUNC
	ln -sf embrun $(TARGET_DIR)/usr/bin/runc
endef
EMBRUN_TARGET_FINALIZE_HOOKS += EMBRUN_LINK_RUNC
endif

# The groups required, default, limits and userns of cross/kernel/options, for
# kernels that Buildroot builds. Engines need more: let
# BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES name cross/kernel/embrun.cfg.
define EMBRUN_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_NAMESPACES)
	$(call KCONFIG_ENABLE_OPT,CONFIG_PROC_FS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NET)
	$(call KCONFIG_ENABLE_OPT,CONFIG_UNIX)
	$(call KCONFIG_ENABLE_OPT,CONFIG_TMPFS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FILE_LOCKING)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SIGNALFD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_MULTIUSER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BINFMT_ELF)
	$(call KCONFIG_ENABLE_OPT,CONFIG_UTS_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IPC_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_PID_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NET_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SYSVIPC)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SYSFS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_UNIX98_PTYS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_POSIX_MQUEUE)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP_FILTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUPS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_MEMCG)
	$(call KCONFIG_ENABLE_OPT,CONFIG_MEMCG_V1)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_PIDS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_SCHED)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FAIR_GROUP_SCHED)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CFS_BANDWIDTH)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_CPUACCT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CPUSETS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CPUSETS_V1)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BLK_CGROUP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BLK_DEV_THROTTLING)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IOSCHED_BFQ)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BFQ_GROUP_IOSCHED)
	$(call KCONFIG_ENABLE_OPT,CONFIG_HUGETLBFS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_HUGETLB)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_FREEZER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_DEVICE)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BPF_SYSCALL)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CGROUP_BPF)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EVENTFD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_USER_NS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FUSE_FS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_TUN)
endef

$(eval $(cargo-package))
