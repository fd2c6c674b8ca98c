//! Limits, as the kernel reads them back.

use super::*;

#[test]
fn pids_limit_is_enforced() {
    if !has("pids", "pids") {
        return;
    }
    for (limit, reads) in [("7", "7"), ("-1", "max"), ("0", "1")] {
        let own = Own::with("pids", &read(&format!(r#"{{"pids":{{"limit":{limit}}}}}"#)));
        assert_eq!(own.read("pids", "pids.max", "pids.max"), reads);
    }
    let own = Own::with("pids-held", &read(r#"{"pids":{"limit":1}}"#));
    let mut shell = Shell::new();
    own.put(&shell);
    shell.tell("(true) || echo refused; echo refused");
    let mut line = String::new();
    shell.1.read_line(&mut line).unwrap();
    assert_eq!(line, "", "dash ends when it cannot fork");
}

#[test]
fn cpu_limits_are_set() {
    if !has("cpu", "cpu") {
        return;
    }
    let own = Own::with("cpu", &read(r#"{"cpu":{"shares":2048,"quota":30000,"period":50000}}"#));
    if on_v1("cpu") {
        assert_eq!(own.read("cpu", "cpu.shares", ""), "2048");
        assert_eq!(own.read("cpu", "cpu.cfs_quota_us", ""), "30000");
        assert_eq!(own.read("cpu", "cpu.cfs_period_us", ""), "50000");
    } else {
        assert_eq!(own.read("cpu", "", "cpu.weight"), "174");
        assert_eq!(own.read("cpu", "", "cpu.max"), "30000 50000");
    }
    let again = read(r#"{"cpu":{"quota":20000}}"#);
    set(&own.cgroup, &again).unwrap();
    let kept = own.read("cpu", "cpu.cfs_period_us", "cpu.max");
    assert!(kept.ends_with("50000"), "the period must be kept: {kept}");
    let e = set(&own.cgroup, &read(r#"{"cpu":{"quota":10}}"#)).unwrap_err().to_string();
    assert!(e.starts_with("linux.resources.cpu.quota: write \"10\" to ") && e.contains("EINVAL"), "{e}");
}

#[test]
fn cpu_burst_and_idle_are_set() {
    if !has("cpu", "cpu") {
        return;
    }
    let own = Own::new("burst");
    for (file_v1, file_v2, text) in [
        ("cpu.cfs_burst_us", "cpu.max.burst", r#"{"cpu":{"quota":30000,"period":100000,"burst":15000}}"#),
        ("cpu.idle", "cpu.idle", r#"{"cpu":{"idle":1}}"#),
    ] {
        let file = if on_v1("cpu") { file_v1 } else { file_v2 };
        if !std::path::Path::new(&format!("{}/{file}", own.directory("cpu"))).exists() {
            let e = set(&own.cgroup, &read(text)).unwrap_err().to_string();
            assert!(e.contains("ENOENT") && e.contains("Linux 5.1"), "{e}");
            continue;
        }
        set(&own.cgroup, &read(text)).unwrap();
        assert_ne!(own.read("cpu", file_v1, file_v2), "0");
    }
    if !std::path::Path::new(&format!("{}/cpu.idle", own.directory("cpu"))).exists() {
        return;
    }
    // The kernel refuses shares while idle is set; one call must change both.
    set(&own.cgroup, &read(r#"{"cpu":{"shares":512,"idle":0}}"#)).unwrap();
}

#[test]
fn memory_limits_change_in_any_order() {
    if !has("memory", "memory") {
        return;
    }
    let text = |limit: i64, swap: i64| {
        format!(r#"{{"memory":{{"limit":{limit},"swap":{swap},"reservation":4096}}}}"#)
    };
    let own = Own::with("memory", &read(&text(16 << 20, 32 << 20)));
    let v1 = on_v1("memory");
    assert_eq!(own.read("memory", "memory.limit_in_bytes", "memory.max"), (16 << 20).to_string());
    let swap_file = if v1 { "memory.memsw.limit_in_bytes" } else { "memory.swap.max" };
    let has_swap = std::path::Path::new(&format!("{}/{swap_file}", own.directory("memory"))).exists();
    for (limit, swap) in [(64 << 20, 64 << 20), (8 << 20, 9 << 20), (-1, -1), (16 << 20, 16 << 20)] {
        set(&own.cgroup, &read(&text(limit, swap))).unwrap();
        let (limit_now, swap_now) = (
            own.read("memory", "memory.limit_in_bytes", "memory.max"),
            own.read("memory", swap_file, swap_file),
        );
        if limit > 0 {
            assert_eq!(limit_now, limit.to_string());
            if has_swap {
                assert_eq!(swap_now, if v1 { swap } else { swap - limit }.to_string());
            }
        } else if !v1 {
            assert_eq!(limit_now, "max");
        }
    }
}

#[test]
fn memory_limit_below_the_usage_is_explained() {
    if !on_v1("memory") {
        eprintln!("SKIPPED: only v1 refuses a limit below the usage");
        return;
    }
    let own = Own::new("usage");
    let mut shell = Shell::new();
    own.put(&shell);
    // The shell's variable is memory that cannot be reclaimed without swap.
    assert!(shell.ask("x=$(head -c 3000000 /dev/zero | tr '\\0' x); test -n \"$x\""));
    let e = set(&own.cgroup, &read(r#"{"memory":{"limit":65536}}"#)).map_err(|e| e.to_string());
    match e {
        Err(e) => assert!(e.contains("unable to set memory limit to 65536 (current usage: "), "{e}"),
        Ok(()) => eprintln!("SKIPPED: the host swapped it all out"),
    }
}

#[test]
fn cpusets_are_inherited_and_set() {
    if !has("cpuset", "cpuset") {
        return;
    }
    let own = Own::with("cpuset", &read(r#"{"cpu":{"cpus":"0","mems":"0"}}"#));
    assert_eq!(own.read("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(own.read("cpuset", "cpuset.mems", "cpuset.mems"), "0");
    let e = set(&own.cgroup, &read(r#"{"cpu":{"cpus":"4000"}}"#)).unwrap_err().to_string();
    assert!(e.starts_with("linux.resources.cpu.cpus: write \"4000\" to "), "{e}");
}

/// A whole disk of this host, as `MAJOR:MINOR`.
fn disk() -> Option<(u32, u32)> {
    let disks = std::fs::read_dir("/sys/block").ok()?.flatten();
    let number = |d: std::fs::DirEntry| std::fs::read_to_string(d.path().join("dev")).ok();
    let text = disks.filter_map(number).min()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn block_io_limits_are_set() {
    if !has("blkio", "io") {
        return;
    }
    let Some((major, minor)) = disk() else {
        eprintln!("SKIPPED: this host has no disk");
        return;
    };
    let rate = |key: &str, n: u32| format!(r#""{key}":[{{"major":{major},"minor":{minor},"rate":{n}}}]"#);
    let all = [
        rate("throttleReadBpsDevice", 1_048_576),
        rate("throttleWriteBpsDevice", 2_097_152),
        rate("throttleReadIOPSDevice", 100),
        rate("throttleWriteIOPSDevice", 200),
    ];
    let own = Own::with("io", &read(&format!(r#"{{"blockIO":{{{}}}}}"#, all.join(","))));
    let lines = |file_v1: &str| own.read("blkio", file_v1, "io.max");
    if on_v1("blkio") {
        for (file, n) in [
            ("blkio.throttle.read_bps_device", "1048576"),
            ("blkio.throttle.write_bps_device", "2097152"),
            ("blkio.throttle.read_iops_device", "100"),
            ("blkio.throttle.write_iops_device", "200"),
        ] {
            assert_eq!(lines(file), format!("{major}:{minor} {n}"));
        }
    } else {
        assert_eq!(lines(""), format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200"));
    }
    own.update(&read(&format!(r#"{{"blockIO":{{{}}}}}"#, rate("throttleReadBpsDevice", 0)))).unwrap();
    assert!(!lines("blkio.throttle.read_bps_device").contains("1048576"), "0 is no limit");
    let none = r#"{"blockIO":{"throttleReadBpsDevice":[{"major":4095,"minor":0,"rate":1}]}}"#;
    let e = set(&own.cgroup, &read(none)).unwrap_err().to_string();
    assert!(e.starts_with("linux.resources.blockIO.throttleReadBpsDevice: write \"4095:0 "), "{e}");
    // A weight needs a scheduler or a cost model that some kernels lack: it is set or named.
    match set(&own.cgroup, &read(r#"{"blockIO":{"weight":500}}"#)) {
        Ok(()) => {
            let directory = own.directory("blkio");
            let files = ["blkio.bfq.weight", "io.bfq.weight", "io.weight"];
            assert!(files.iter().any(|f| std::path::Path::new(&format!("{directory}/{f}")).exists()));
        }
        Err(e) => assert!(e.to_string().starts_with("linux.resources.blockIO.weight: "), "{e}"),
    }
}

#[test]
fn huge_page_limits_are_set() {
    if !has("hugetlb", "hugetlb") {
        return;
    }
    let own = Own::with("huge", &read(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#));
    // Both limits: of reservations (Linux 5.7) and of faults without a reservation.
    let file = |rsvd: &str| {
        let end = if on_v1("hugetlb") { "limit_in_bytes" } else { "max" };
        std::fs::read_to_string(format!("{}/hugetlb.2MB.{rsvd}{end}", own.directory("hugetlb")))
    };
    assert_eq!(file("").unwrap().trim(), "4194304");
    assert!(file("rsvd.").is_ok_and(|text| text.trim() == "4194304") || file("rsvd.").is_err());
    let odd = read(r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#);
    let e = set(&own.cgroup, &odd).unwrap_err().to_string();
    assert!(e.starts_with("linux.resources.hugepageLimits") && e.contains("3MB"), "{e}");
}

#[test]
fn network_class_id_is_set() {
    if !on_v1("net_cls") {
        eprintln!("SKIPPED: v1 has no net_cls here");
        return;
    }
    let own = Own::with("class", &read(r#"{"network":{"classID":1048577}}"#));
    assert_eq!(own.read("net_cls", "net_cls.classid", ""), "1048577");
}

#[test]
fn missing_controller_is_named() {
    if mounted() {
        let own = Own::new("missing");
        let e = set(&own.cgroup, &read(r#"{"rdma":{"mlx":{"hcaHandles":1}}}"#)).unwrap_err().to_string();
        assert!(e.starts_with("linux.resources.rdma: "), "{e}");
        // If the controller exists, its device does not.
        let there = is_there("rdma", "rdma");
        assert!(e.contains(if there { "to /sys/fs/cgroup/" } else { "rdma controller" }), "{e}");
    }
    let nowhere = Cgroup::create(&Location::default(), &PlannedLimits::default(), Access::Full).unwrap();
    nowhere.limit(&PlannedLimits::default()).unwrap();
    nowhere.join_v1().unwrap();
    nowhere.join_v2(Pid::this(), false).unwrap();
    nowhere.kill(soon()).unwrap();
    nowhere.remove(soon()).unwrap();
    for text in [r#"{"pids":{"limit":1}}"#, r#"{"devices":[{"allow":false}]}"#] {
        let e = PlannedLimits::new(&read(text), &CgroupFacts::default()).err().unwrap().to_string();
        assert!(e.contains("mount -t cgroup2 cgroup2 /sys/fs/cgroup"), "{e}");
    }
}

#[test]
fn unified_is_written_on_v2_and_refused_on_v1() {
    if !mounted() {
        return;
    }
    let layout = Layout::discover().unwrap();
    if layout.is_pure_v2() {
        let own =
            Own::with("unified", &read(r#"{"unified":{"memory.high":"1048576","cgroup.max.depth":"3"}}"#));
        assert_eq!(own.read("x", "", "memory.high"), "1048576");
        assert_eq!(own.read("x", "", "cgroup.max.depth"), "3");
        let e = set(&own.cgroup, &read(r#"{"unified":{"gpu.max":"1"}}"#)).unwrap_err().to_string();
        assert!(
            e.contains("unified resource \"gpu.max\" can't be set: controller \"gpu\" not available"),
            "{e}"
        );
    } else {
        let own = Own::new("unified");
        let e = set(&own.cgroup, &read(r#"{"unified":{"memory.high":"1"}}"#)).unwrap_err().to_string();
        assert!(e.contains("memory.high"), "{e}");
        if on_v1("memory") && layout.v2().is_some() {
            assert!(e.contains("the memory controller is v1's on this host"), "{e}");
        }
        // If a controller is not on v1, v2 may have it; then it gets enabled.
        let huge = |hierarchy: &MountedHierarchy| {
            let there = std::fs::read_to_string(format!("{}/cgroup.controllers", hierarchy.mount)).unwrap();
            there.split_whitespace().any(|c| c == "hugetlb")
        };
        let sizes = std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
        if sizes && layout.v2().is_some_and(huge) {
            // Create a parent cgroup in which nothing is enabled yet.
            let (resources, id) = (read(r#"{"unified":{"hugetlb.2MB.max":"2097152"}}"#), std::process::id());
            let path = CgroupPath::new(Some(&format!("/embrun-test-{id}-unified-on/below")), "").unwrap();
            let location = Location::plan(&layout, &path);
            let cgroup = Cgroup::create(&location, &limits(&resources).unwrap(), Access::Full).unwrap();
            let own = Own { location: cgroup.location(), cgroup };
            set(&own.cgroup, &resources).unwrap();
            assert_eq!(own.read("x", "", "hugetlb.2MB.max"), "2097152");
        }
    }
}
