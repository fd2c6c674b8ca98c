//! Changes of limits: all or nothing, and adding and removing devices.

use super::*;
use embrun::cgroup::limits::devices;

#[test]
fn update_changes_only_the_given_fields() {
    if !has("pids", "pids") || !has("memory", "memory") || !has("cpu", "cpu") {
        return;
    }
    let text = r#"{"pids":{"limit":50},"memory":{"limit":67108864,"swap":134217728},"cpu":{"quota":30000,"period":60000}}"#;
    let own = Own::with("update", &read(text));
    own.update(&read(r#"{"pids":{"limit":7}}"#)).unwrap();
    assert_eq!(own.read("pids", "pids.max", "pids.max"), "7");
    assert_eq!(own.read("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    own.update(&read(r#"{"cpu":{"period":40000}}"#)).unwrap();
    assert_eq!(own.read("cpu", "cpu.cfs_quota_us", "cpu.max").split(' ').next(), Some("30000"));
    assert!(own.read("cpu", "cpu.cfs_period_us", "cpu.max").ends_with("40000"));
    // Set memory and swap together without repeating the memory limit.
    let has_swap = own.directory("memory")
        + if on_v1("memory") { "/memory.memsw.limit_in_bytes" } else { "/memory.swap.max" };
    if std::path::Path::new(&has_swap).exists() {
        own.update(&read(r#"{"memory":{"swap":100663296}}"#)).unwrap();
        let total = own.read("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
        assert_eq!(total, if on_v1("memory") { "100663296" } else { "33554432" });
    }
}

#[test]
fn failed_update_restores_every_limit() {
    if !has("pids", "pids") || !has("memory", "memory") || !has("cpu", "cpu") {
        return;
    }
    let own = Own::with(
        "rollback",
        &read(
            r#"{"pids":{"limit":50},"memory":{"limit":67108864,"swap":67108864},"cpu":{"shares":512,"quota":30000}}"#,
        ),
    );
    let all = || {
        [
            own.read("pids", "pids.max", "pids.max"),
            own.read("memory", "memory.limit_in_bytes", "memory.max"),
            own.read("cpu", "cpu.shares", "cpu.weight"),
            own.read("cpu", "cpu.cfs_quota_us", "cpu.max"),
        ]
    };
    let before = all();
    // The kernel refuses the quota as too low. Pids are set after cpu, memory last, and swap before
    // memory.
    for text in [
        r#"{"pids":{"limit":9},"cpu":{"shares":2048,"quota":10}}"#,
        r#"{"pids":{"limit":9},"memory":{"limit":33554432,"swap":33554432},"cpu":{"quota":10}}"#,
        r#"{"pids":{"limit":9},"cpu":{"quota":40000,"period":1}}"#,
        r#"{"pids":{"limit":9},"rdma":{"x":{"hcaHandles":1}}}"#,
    ] {
        let e = own.update(&read(text)).unwrap_err().to_string();
        assert!(e.starts_with("linux.resources."), "{e}");
        assert!(!e.contains("put back"), "{e}");
        assert_eq!(all(), before, "after {text}");
    }
}

/// Device rules are restored too; here systemd does not know the unit to update.
#[test]
fn failed_update_restores_device_rules() {
    if !mounted() {
        return;
    }
    let rules = r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":1,"access":"r"}]}"#;
    let own = Own::with("rollback-devices", &read(rules));
    let mut location = own.location.clone();
    // An empty name would mean the caller's unit.
    location.unit.get_or_insert_default().name = "embrun-test-none.scope".to_owned();
    let cgroup = Cgroup::adopt(&location);
    let mut shell = Shell::new();
    own.put(&shell);
    let others =
        r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":11,"access":"rw"}]}"#;
    let e = cgroup.update(&read(others), &read(rules).devices, &|| Ok(())).unwrap_err().to_string();
    assert!(e.contains("systemd") && !e.contains("put back"), "{e}");
    assert!(!shell.ask("true < /dev/kmsg") && shell.ask("true < /dev/null"));
    // The device itself may be missing: only a denied one answers EPERM.
    if std::path::Path::new("/dev/mem").exists() {
        assert!(!shell.ask("LC_ALL=C sh -c 'true < /dev/mem' 2>&1 | grep -q 'not permitted'"));
    }
}

#[test]
fn paused_container_is_updated() {
    if !has("pids", "pids") {
        return;
    }
    let own = Own::new("update-paused");
    let shell = Shell::new();
    own.put(&shell);
    own.cgroup.freeze(soon()).unwrap();
    own.update(&read(r#"{"pids":{"limit":9},"devices":[{"allow":false}]}"#)).unwrap();
    assert!(own.cgroup.frozen());
    assert_eq!(own.read("pids", "pids.max", "pids.max"), "9");
    // A process frozen by v1 cannot die.
    own.cgroup.thaw().unwrap();
}

#[test]
fn checked_memory_limit_below_the_usage_is_refused() {
    if !has("memory", "memory") || on_v1("memory") {
        return;
    }
    let own = Own::new("check");
    let mut shell = Shell::new();
    own.put(&shell);
    assert!(shell.ask("x=$(head -c 3000000 /dev/zero | tr '\\0' x); test -n \"$x\""));
    let text = r#"{"memory":{"limit":65536,"checkBeforeUpdate":true},"pids":{"limit":5}}"#;
    let e = own.update(&read(text)).unwrap_err().to_string();
    // runc's tests read these words.
    assert!(e.starts_with("linux.resources.memory.limit: rejecting memory limit 65536 < usage "), "{e}");
    let text = r#"{"memory":{"limit":65536,"swap":131072,"checkBeforeUpdate":true}}"#;
    let e = own.update(&read(text)).unwrap_err().to_string();
    assert!(e.starts_with("linux.resources.memory.swap: rejecting memory+swap limit 131072 < usage "), "{e}");
    let text = r#"{"memory":{"limit":1073741824,"checkBeforeUpdate":true}}"#;
    assert!(own.update(&read(text)).is_ok());
    assert!(shell.ask("true"), "the shell must still run");
}

#[test]
fn device_is_added_to_and_removed_from_a_running_container() {
    if !mounted() {
        return;
    }
    let mut rules = read(r#"{"devices":[{"allow":false}]}"#).devices;
    let plug = |allow: bool, access: &str| {
        read(&format!(
            r#"{{"devices":[{{"allow":{allow},"type":"c","major":1,"minor":11,"access":"{access}"}}]}}"#
        ))
        .devices[0]
    };
    let own = Own::with("hotplug", &read(r#"{"devices":[{"allow":false}]}"#));
    let mut shell = Shell::new();
    own.put(&shell);
    let mut usable = |own: &Own, rules: &[_]| {
        own.cgroup.set_devices(rules).unwrap();
        (
            shell.ask("true < /dev/null > /dev/null"),
            shell.ask("true < /dev/kmsg"),
            shell.ask("true > /dev/kmsg"),
        )
    };
    assert_eq!(usable(&own, &rules), (true, false, false));
    for _ in 0..3 {
        devices::append(&mut rules, plug(true, "rw"));
        assert_eq!(usable(&own, &rules), (true, true, true));
        devices::append(&mut rules, plug(false, "w"));
        assert_eq!(usable(&own, &rules), (true, true, false));
        devices::append(&mut rules, plug(false, "rwm"));
        assert_eq!(usable(&own, &rules), (true, false, false));
    }
    // From all devices to few and back.
    let everything = read(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#).devices;
    assert_eq!(usable(&own, &everything), (true, true, true));
    assert_eq!(usable(&own, &rules), (true, false, false));
}
