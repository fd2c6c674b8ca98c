//! Compares the cgroup files of runc, crun and embrun for the same resources.

use super::*;

const RESOURCES: &str = r#"{"devices":[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"c","major":188,"minor":0,"access":"rw"},{"allow":true,"type":"b","major":7,"access":"r"}],
    "memory":{"limit":33554432,"swap":67108864,"reservation":16777216},
    "cpu":{"shares":1024,"quota":50000,"period":80000,"cpus":"0","mems":"0"},"pids":{"limit":50}}"#;

/// The files to compare.
///
/// cpu.weight is not among them: these versions of runc and crun convert shares by the formula that the
/// spec had before 2025.
const FILES: &[&str] = &[
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "cpu.max",
    "cpuset.cpus",
    "cpuset.mems",
    "pids.max",
    "devices.list",
];

/// The values of the files above, over all given hierarchies.
fn values(directories: &[String]) -> Vec<(String, Vec<String>)> {
    let read = |d: &String, f: &&str| {
        let text = std::fs::read_to_string(format!("{d}/{f}")).ok()?;
        // runc before 1.2 allows /dev/net/tun in every container, and crun /dev/console.
        let more = ["c 10:200 rwm", "c 5:1 rwm"];
        let mut lines: Vec<String> = text.lines().filter(|l| !more.contains(l)).map(str::to_owned).collect();
        lines.sort();
        Some(((*f).to_owned(), lines))
    };
    let mut all: Vec<_> =
        directories.iter().flat_map(|d| FILES.iter().filter_map(move |f| read(d, f))).collect();
    all.sort();
    all
}

/// The cgroup directories of a process, in every hierarchy mounted here.
fn directories_of(pid: &str) -> Vec<String> {
    let layout = Layout::discover().unwrap();
    let seen = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |names: &str| {
        seen.lines()
            .find_map(|l| l.split_once(':')?.1.split_once(':').filter(|(n, _)| *n == names).map(|(_, p)| p))
    };
    let directory = |t: &MountedHierarchy| Some(format!("{}{}", t.mount, path(&t.controllers.join(","))?));
    layout.hierarchies.iter().filter_map(directory).collect()
}

fn peer(runtime: &str, hide_v2: bool) {
    if Command::new(runtime).arg("--version").output().is_err()
        || !std::path::Path::new("/bin/busybox").exists()
    {
        eprintln!("SKIPPED: {runtime} or /bin/busybox is not installed");
        return;
    }
    let bundle = std::env::temp_dir().join(format!("embrun-test-{}-{runtime}", std::process::id()));
    for directory in ["rootfs/bin", "rootfs/dev", "rootfs/proc"] {
        std::fs::create_dir_all(bundle.join(directory)).unwrap();
    }
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/sh")).unwrap();
    let namespaces = r#"[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"}]"#;
    let resources = only_what_is_here();
    let config = format!(
        r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":0,"gid":0}},"args":["/bin/sh"],"cwd":"/"}},
            "root":{{"path":"rootfs"}},"mounts":[{{"destination":"/proc","type":"proc","source":"proc"}}],
            "linux":{{"namespaces":{namespaces},"resources":{resources}}}}}"#
    );
    std::fs::write(bundle.join("config.json"), config).unwrap();

    let id = format!("embrun-test-{}-{runtime}", std::process::id());
    let hide = if hide_v2 { "umount -l /sys/fs/cgroup/unified && " } else { "" };
    let script = format!(
        "mount --make-rprivate / && {hide}cd {bundle} && {runtime} --root {bundle}/state create --pid-file pid {id} < /dev/null > log 2>&1",
        bundle = bundle.display()
    );
    let created = Command::new("unshare").args(["-m", "sh", "-c", &script]).status().unwrap();
    let log = std::fs::read_to_string(bundle.join("log")).unwrap_or_default();
    let theirs = std::fs::read_to_string(bundle.join("pid")).map(|pid| values(&directories_of(&pid)));
    let delete = script.replace("create --pid-file pid", "delete --force");
    let deleted = Command::new("unshare").args(["-m", "sh", "-c", &delete]).status().unwrap();
    std::fs::remove_dir_all(&bundle).unwrap();
    assert!(created.success() && deleted.success(), "{runtime}: {log}");

    let own = Own::with(&format!("as-{runtime}"), &read(&resources));
    let ours: Vec<String> =
        own.location.places.iter().map(embrun::cgroup::place::location::Place::directory).collect();
    let (ours, theirs) = (values(&ours), theirs.unwrap());
    assert!(ours.iter().any(|(f, v)| f == "pids.max" && v == &["50"]), "{ours:?}");
    assert_eq!(ours, theirs, "{runtime}");
}

fn only_what_is_here() -> String {
    let cpuset = if has("cpuset", "cpuset") { r#","cpus":"0","mems":"0""# } else { "" };
    RESOURCES.replace(r#","cpus":"0","mems":"0""#, cpuset)
}

#[test]
fn limits_read_back_as_with_runc() {
    if mounted() {
        peer("runc", false);
    }
}

/// crun refuses a hybrid host whose v2 owns a controller, so it gets only v1.
#[test]
fn limits_read_back_as_with_crun() {
    if mounted() {
        peer("crun", on_v1("pids") && Layout::discover().unwrap().v2().is_some());
    }
}
