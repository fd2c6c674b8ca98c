################################################################################
#
# embrun
#
################################################################################

EMBRUN_VERSION = 0.1.0
# The source is the tree that this external tree is a part of. Another one is
# built by EMBRUN_OVERRIDE_SRCDIR.
EMBRUN_SOURCE =
EMBRUN_TREE = $(realpath $(BR2_EXTERNAL_EMBRUN_PATH)/../..)
EMBRUN_LICENSE = Apache-2.0
EMBRUN_LICENSE_FILES = LICENSE
EMBRUN_DEPENDENCIES = host-embrun-crates

define EMBRUN_EXTRACT_CMDS
	$(TAR) -C $(EMBRUN_TREE) --exclude=./target --exclude=./.git -cf - . | \
		$(TAR) -C $(@D) -xf -
endef

# Buildroot sets these variables for all packages, by BR2_OPTIMIZE_* and
# BR2_ENABLE_LTO, which makes the program a third larger. The last one counts.
EMBRUN_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="z" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1" \
	CARGO_PROFILE_RELEASE_PANIC="abort"

EMBRUN_CARGO_BUILD_OPTS = --bin embrun
# 64-bit time on 32-bit ARM with musl, which has no other since 1.2. With
# glibc nothing is to be set: cross/README.md says why. Joined to
# Buildroot's own flags for the target.
EMBRUN_CARGO_BUILD_OPTS += --config 'target.$(RUSTC_TARGET_NAME).rustflags="--cfg=libc_unstable_musl_v1_2"'

define EMBRUN_USE_CRATES
	mkdir -p $(@D)/.cargo
	printf '[source.crates-io]\nreplace-with = "%s"\n[source.%s]\ndirectory = "%s"\n' \
		buildroot buildroot $(HOST_EMBRUN_CRATES_DIR) > $(@D)/.cargo/config.toml
endef
EMBRUN_PRE_CONFIGURE_HOOKS += EMBRUN_USE_CRATES

define EMBRUN_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/embrun \
		$(TARGET_DIR)/usr/bin/embrun
	DESTDIR=$(TARGET_DIR) PREFIX=/usr $(@D)/cross/install.sh
endef

# Config.in keeps this out of an image where another package has the file.
ifeq ($(BR2_PACKAGE_EMBRUN_AS_RUNC),y)
define EMBRUN_LINK_RUNC
	ln -sf embrun $(TARGET_DIR)/usr/bin/runc
endef
EMBRUN_POST_INSTALL_TARGET_HOOKS += EMBRUN_LINK_RUNC
endif

ifeq ($(BR2_PACKAGE_EMBRUN_DROPINS),y)
# containerd 2 reads this format too.
ifeq ($(BR2_PACKAGE_CONTAINERD),y)
define EMBRUN_DROPIN_CONTAINERD
	$(INSTALL) -D -m 0644 $(@D)/cross/dropins/containerd-1.toml \
		$(TARGET_DIR)/etc/containerd/config.toml
endef
EMBRUN_POST_INSTALL_TARGET_HOOKS += EMBRUN_DROPIN_CONTAINERD
endif
ifeq ($(BR2_PACKAGE_DOCKER_ENGINE),y)
define EMBRUN_DROPIN_DOCKER
	$(INSTALL) -D -m 0644 $(@D)/cross/dropins/docker-daemon.json \
		$(TARGET_DIR)/etc/docker/daemon.json
endef
EMBRUN_POST_INSTALL_TARGET_HOOKS += EMBRUN_DROPIN_DOCKER
endif
ifeq ($(BR2_PACKAGE_PODMAN),y)
define EMBRUN_DROPIN_PODMAN
	$(INSTALL) -D -m 0644 $(@D)/cross/dropins/containers.conf \
		$(TARGET_DIR)/etc/containers/containers.conf.d/50-embrun.conf
endef
EMBRUN_POST_INSTALL_TARGET_HOOKS += EMBRUN_DROPIN_PODMAN
endif
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
