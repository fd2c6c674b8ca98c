//! Advice for missing cgroup files and controllers, as pure tables.

use crate::error::Errno;
use crate::text::search::has;

/// The mounted hierarchies, as far as they matter for the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroup) enum HostCgroups {
    /// No cgroup hierarchy is mounted.
    Bare,
    /// v1 hierarchies are mounted, with or without v2.
    V1,
    /// Only v2 is mounted, or v2 has the controller.
    V2,
    /// A v1 hierarchy has the controller, which is needed on v2.
    Taken,
}

/// Explains why a controller is missing, and how to get it.
///
/// The controller is given by its names on v1 and v2; `known` is the text of `/proc/cgroups`.
pub(in crate::cgroup) fn missing(controller: &str, v2: &str, host: HostCgroups, known: &str) -> String {
    let option = match controller {
        "cpuset" => "CONFIG_CPUSETS",
        "cpu" => "CONFIG_CGROUP_SCHED and CONFIG_FAIR_GROUP_SCHED",
        "pids" => "CONFIG_CGROUP_PIDS",
        "blkio" => "CONFIG_BLK_CGROUP",
        "hugetlb" => "CONFIG_CGROUP_HUGETLB",
        "net_cls" => "CONFIG_CGROUP_NET_CLASSID",
        "net_prio" => "CONFIG_CGROUP_NET_PRIO",
        "rdma" => "CONFIG_CGROUP_RDMA",
        "memory" => "CONFIG_MEMCG",
        "devices" => "CONFIG_CGROUP_DEVICE",
        _ => "a newer kernel",
    };
    if host == HostCgroups::Bare {
        return "no cgroup hierarchy is mounted (mount -t cgroup2 cgroup2 /sys/fs/cgroup), or cgroups are disabled (--cgroup-manager)".to_owned();
    }
    if host == HostCgroups::Taken {
        return format!("the {controller} controller is v1's on this host; use the fields of v1");
    }
    if host == HostCgroups::V2 && matches!(controller, "net_cls" | "net_prio") {
        return format!("cgroup v2 has no {controller} controller; remove the field, or boot with cgroup v1");
    }
    let fields = known
        .lines()
        .map(|l| l.split_ascii_whitespace().collect::<Vec<_>>())
        .find(|f| f.first() == Some(&controller));
    match fields.as_deref() {
        Some([_, _, _, "0"]) if controller == "memory" => {
            "the memory controller is off: boot with cgroup_enable=memory and without cgroup_disable=memory \
             (on a Raspberry Pi in /boot/firmware/cmdline.txt)"
                .to_owned()
        }
        Some([_, _, _, "0"]) => {
            format!("the {controller} controller is off: boot without cgroup_disable={controller}")
        }
        Some([_, hierarchy, ..]) if host == HostCgroups::V1 && *hierarchy != "0" => {
            format!(
                "the {controller} controller is bound to a v1 hierarchy that is not mounted here: {}",
                mount(controller)
            )
        }
        Some(_) if host == HostCgroups::V1 => {
            format!("the {controller} controller is not mounted: {}", mount(controller))
        }
        Some([_, hierarchy, ..]) if *hierarchy != "0" => {
            format!(
                "the {controller} controller is bound to a v1 hierarchy; unmount that for cgroup v2 to have it"
            )
        }
        Some(_) => format!(
            "the {controller} controller is not given to this cgroup (echo +{v2} > cgroup.subtree_control of every parent)"
        ),
        None => format!("the kernel has no {controller} controller: {option}"),
    }
}

fn mount(controller: &str) -> String {
    format!(
        "mkdir /sys/fs/cgroup/{controller} && mount -t cgroup -o {controller} {controller} /sys/fs/cgroup/{controller}"
    )
}

/// Advice for a cgroup file that cannot be written; empty if none is known.
pub(in crate::cgroup) fn write(file: &str, errno: Errno) -> &'static str {
    match (file, errno) {
        (_, Errno::EROFS) => "the cgroup mount is read-only: mount -o remount,rw",
        ("memory.memsw.limit_in_bytes" | "memory.swap.max", Errno::ENOENT) => {
            "swap is not accounted: CONFIG_SWAP and CONFIG_MEMCG_SWAP, and before Linux 6.1 swapaccount=1 on the kernel command line"
        }
        ("memory.memsw.limit_in_bytes", Errno::EINVAL) => {
            "memory.swap is memory and swap together, and must not be below memory.limit"
        }
        ("memory.limit_in_bytes", Errno::EINVAL) => {
            "memory.limit must not be above memory.swap, which is memory and swap together"
        }
        ("memory.limit_in_bytes", Errno::EBUSY) => "what is in use cannot be freed down to the limit",
        ("memory.oom_control" | "memory.use_hierarchy", Errno::EINVAL) => {
            "the kernel does not do this on this cgroup"
        }
        ("memory.low" | "memory.soft_limit_in_bytes", Errno::ENOENT) => "CONFIG_MEMCG",
        ("cpu.max" | "cpu.cfs_quota_us" | "cpu.cfs_period_us", Errno::ENOENT) => "CONFIG_CFS_BANDWIDTH",
        ("cpu.max.burst" | "cpu.cfs_burst_us", Errno::ENOENT) => "Linux 5.14 with CONFIG_CFS_BANDWIDTH",
        ("cpu.idle", Errno::ENOENT) => "Linux 5.15",
        ("cpu.rt_runtime_us" | "cpu.rt_period_us", Errno::ENOENT) => "CONFIG_RT_GROUP_SCHED",
        ("cpu.rt_runtime_us", Errno::EINVAL) => {
            "the parent cgroup has no real-time budget left, see its cpu.rt_runtime_us"
        }
        ("cpu.cfs_quota_us" | "cpu.max", Errno::EINVAL) => {
            "1000 at least, no period above 1000000, and no more of it than the parent cgroup has"
        }
        ("cpu.weight" | "cpu.shares", Errno::EINVAL) => "not while cpu.idle is 1",
        ("cpu.cfs_burst_us" | "cpu.max.burst", Errno::EINVAL) => "no more than the quota",
        ("cpuset.cpus", Errno::EINVAL | Errno::ERANGE | Errno::EACCES) => {
            "only processors that exist and that the parent cgroup has, see its cpuset.cpus"
        }
        ("cpuset.mems", Errno::EINVAL | Errno::ERANGE | Errno::EACCES) => {
            "only memory nodes that exist and that the parent cgroup has, see its cpuset.mems"
        }
        (f, Errno::ENOENT) if f.starts_with("hugetlb.") => {
            "the kernel has no huge pages of this size, see /sys/kernel/mm/hugepages"
        }
        (f, Errno::ENOENT) if has(f, "leaf_weight") => "Linux 5.0 removed it with the CFQ scheduler",
        (f, Errno::ENOENT) if has(f, "weight") => "CONFIG_IOSCHED_BFQ or CONFIG_BLK_CGROUP_IOCOST",
        (f, Errno::ENOENT) if has(f, "throttle") || f == "io.max" => "CONFIG_BLK_DEV_THROTTLING",
        (f, Errno::ENODEV) if f.starts_with("blkio.") || f.starts_with("io.") => {
            "there is no block device of this number"
        }
        (f, Errno::EOPNOTSUPP) if has(f, "weight") => "the device does not use the BFQ scheduler",
        ("devices.allow", Errno::EPERM) => {
            "the parent cgroup does not allow the device, see its devices.list"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t1\t1\nmemory\t0\t1\t0\npids\t0\t1\t1\nblkio\t0\t1\t0\n";

    #[test]
    fn a_missing_controller_is_explained() {
        for (controller, host, says) in [
            (
                "memory",
                HostCgroups::Bare,
                "no cgroup hierarchy is mounted (mount -t cgroup2 cgroup2 /sys/fs/cgroup), or cgroups are disabled (--cgroup-manager)",
            ),
            ("memory", HostCgroups::V1, "boot with cgroup_enable=memory"),
            ("memory", HostCgroups::V2, "boot with cgroup_enable=memory"),
            ("blkio", HostCgroups::V1, "boot without cgroup_disable=blkio"),
            (
                "pids",
                HostCgroups::V1,
                "not mounted: mkdir /sys/fs/cgroup/pids && mount -t cgroup -o pids pids /sys/fs/cgroup/pids",
            ),
            ("pids", HostCgroups::Taken, "the pids controller is v1's on this host"),
            ("pids", HostCgroups::V2, "echo +pids > cgroup.subtree_control"),
            ("cpu", HostCgroups::V1, "bound to a v1 hierarchy that is not mounted here"),
            ("cpu", HostCgroups::V2, "bound to a v1 hierarchy; unmount"),
            ("rdma", HostCgroups::V2, "the kernel has no rdma controller: CONFIG_CGROUP_RDMA"),
            ("net_cls", HostCgroups::V2, "cgroup v2 has no net_cls controller"),
            ("net_cls", HostCgroups::V1, "CONFIG_CGROUP_NET_CLASSID"),
        ] {
            let text = missing(controller, controller, host, KNOWN);
            assert!(text.contains(says), "{controller} on {host:?}: {text}");
        }
    }
}
