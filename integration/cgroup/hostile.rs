//! Payloads and other programs that misbehave.

use super::*;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// Turns the shell into a fork bomb and waits until it reaches its limit.
fn bomb(own: &Own, mut shell: Shell) {
    shell.tell("exec perl -e 'while (1) { fork }'");
    while own.cgroup.pids().unwrap().len() < 150 {
        assert!(shell.0.try_wait().unwrap().is_none(), "the bomb has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Do not reap the shell here, because the bomb goes on.
    std::mem::forget(shell);
}

#[test]
fn fork_bomb_is_killed() {
    if !has("pids", "pids") {
        return;
    }
    let own = Own::with("bomb", &read(r#"{"pids":{"limit":150}}"#));
    let shell = Shell::new();
    own.put(&shell);
    bomb(&own, shell);
    let start = Instant::now();
    own.cgroup.kill(soon()).unwrap();
    assert_eq!(own.cgroup.pids().unwrap(), []);
    own.cgroup.remove(soon()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5) * patience(), "{:?}", start.elapsed());
}

/// Kernels before 5.14 have no cgroup.kill.
#[test]
fn fork_bomb_is_killed_on_v1_without_cgroup_kill() {
    if !on_v1("pids") || !on_v1("freezer") {
        eprintln!("SKIPPED: there is no v1 on this host");
        return;
    }
    let mut location = plan("bomb-v1");
    location.places.retain(|p| !p.is_v2());
    let cgroup = Cgroup::create(&location, &PlannedLimits::default(), Access::Full).unwrap();
    let own = Own { cgroup, location };
    set(&own.cgroup, &read(r#"{"pids":{"limit":150}}"#)).unwrap();
    let shell = Shell::new();
    own.put(&shell);
    bomb(&own, shell);
    own.cgroup.kill(soon()).unwrap();
    assert_eq!(own.cgroup.pids().unwrap(), []);
}

#[test]
fn thousand_nested_cgroups_are_removed() {
    if !mounted() {
        return;
    }
    let own = Own::new("nested");
    let first = own.location.places[0].directory();
    let last = own.location.places.last().unwrap().directory();
    for i in 0..1000 {
        std::fs::create_dir(format!("{first}/wide-{i}")).unwrap();
    }
    // The nesting is deeper than a path can be long.
    let name = "d".repeat(200);
    let mut here: std::os::fd::OwnedFd = std::fs::File::open(&last).unwrap().into();
    for _ in 0..60 {
        nix::sys::stat::mkdirat(&here, name.as_str(), Mode::S_IRWXU).unwrap();
        here = openat(&here, name.as_str(), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    drop(here);
    let start = Instant::now();
    assert_eq!(own.cgroup.pids().unwrap(), []);
    own.cgroup.remove(soon()).unwrap();
    assert!(!std::path::Path::new(&first).exists() && !std::path::Path::new(&last).exists());
    assert!(start.elapsed() < Duration::from_secs(5) * patience(), "{:?}", start.elapsed());
}

#[test]
fn processes_in_nested_cgroups_are_found_and_killed() {
    if !mounted() {
        return;
    }
    let own = Own::new("inner");
    let shell = Shell::new();
    for place in &own.location.places {
        let inner = format!("{}/inner", place.directory());
        std::fs::create_dir(&inner).unwrap();
        if place.has("cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = std::fs::read_to_string(format!("{}/{file}", place.directory())).unwrap();
                std::fs::write(format!("{inner}/{file}"), value).unwrap();
            }
        }
        std::fs::write(format!("{inner}/cgroup.procs"), shell.pid().to_string()).unwrap();
    }
    assert_eq!(own.cgroup.pids().unwrap(), [shell.pid()]);
    own.cgroup.kill(soon()).unwrap();
    own.cgroup.remove(soon()).unwrap();
}

/// The payload freezes child cgroups again while it is being killed.
///
/// On v1 a frozen process cannot die. One shell freezes the other in a loop.
#[test]
fn repeatedly_frozen_child_cgroup_is_killed() {
    if !mounted() {
        return;
    }
    let v1 = on_v1("freezer");
    let (file, yes, no) =
        if v1 { ("freezer.state", "FROZEN", "THAWED") } else { ("cgroup.freeze", "1", "0") };
    for without_v2 in [false, true].into_iter().filter(|without| v1 || !without) {
        let mut location = plan(&format!("nested-frozen-{without_v2}"));
        location.places.retain(|p| !(without_v2 && p.is_v2()));
        let cgroup = Cgroup::create(&location, &PlannedLimits::default(), Access::Full).unwrap();
        let own = Own { cgroup, location };
        let (frozen, mut freezer) = (Shell::new(), Shell::new());
        for shell in [&frozen, &freezer] {
            own.put(shell);
        }
        let top = own.directory("freezer");
        let nested = format!("{top}/a/b/c");
        std::fs::create_dir_all(&nested).unwrap();
        std::fs::write(format!("{nested}/cgroup.procs"), frozen.pid().to_string()).unwrap();
        std::fs::write(format!("{top}/a/cgroup.procs"), freezer.pid().to_string()).unwrap();
        freezer
            .tell(&format!("while :; do for d in c b/c .; do echo {yes} > {top}/a/b/$d/{file}; done; done"));
        let start = Instant::now();
        while std::fs::read_to_string(format!("{nested}/{file}")).unwrap().trim() != yes {
            assert!(start.elapsed() < Duration::from_secs(10) * patience(), "the shell was never frozen");
        }
        let start = Instant::now();
        let killed = own.cgroup.kill(soon());
        // The shells must end in any case, so that they can be reaped.
        for _ in 0..if killed.is_err() { 100 } else { 0 } {
            for dir in ["a/b/c", "a/b", "a"] {
                let _ = std::fs::write(format!("{top}/{dir}/{file}"), no);
            }
        }
        killed.unwrap();
        own.cgroup.remove(soon()).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5) * patience(), "{:?}", start.elapsed());
        assert!(!std::path::Path::new(&top).exists());
    }
}

#[test]
fn process_in_only_some_hierarchies_does_not_block_removal() {
    if !mounted() {
        return;
    }
    let own = Own::new("half");
    let shell = Shell::new();
    let first = own.location.places.iter().find(|p| !p.has("cpuset")).unwrap().directory();
    std::fs::write(format!("{first}/cgroup.procs"), shell.pid().to_string()).unwrap();
    own.cgroup.remove(soon()).unwrap();
    assert!(!std::path::Path::new(&first).exists());
}

#[test]
fn externally_removed_cgroup_is_handled() {
    if !mounted() {
        return;
    }
    let own = Own::new("gone");
    for place in &own.location.places {
        std::fs::remove_dir(place.directory()).unwrap();
    }
    for cgroup in [&own.cgroup, &Cgroup::adopt(&own.location)] {
        assert!(!cgroup.frozen());
        assert_eq!(cgroup.pids().unwrap(), []);
        assert!(cgroup.join_v1().and_then(|()| cgroup.join_v2(Pid::this(), false)).is_err());
        if has("pids", "pids") {
            let e = set(cgroup, &read(r#"{"pids":{"limit":5}}"#)).unwrap_err().to_string();
            assert!(e.starts_with("linux.resources.pids.limit: "), "{e}");
        }
        cgroup.kill(soon()).unwrap();
        cgroup.remove(soon()).unwrap();
    }
}

#[test]
fn directory_that_is_not_a_cgroup_is_not_touched() {
    if !mounted() {
        return;
    }
    let directory = std::env::temp_dir().join(format!("embrun-test-{}-fake", std::process::id()));
    std::fs::create_dir_all(directory.join("x")).unwrap();
    std::fs::write(directory.join("x/cgroup.procs"), "1\n").unwrap();
    let mut location = plan("fake");
    location.places.truncate(1);
    location.places[0].mount = directory.to_str().unwrap().to_owned();
    location.places[0].path = "/x".to_owned();
    let cgroup = Cgroup::adopt(&location);
    assert_eq!(cgroup.pids().unwrap(), []);
    cgroup.kill(soon()).unwrap();
    assert!(cgroup.join_v1().and_then(|()| cgroup.join_v2(Pid::this(), false)).is_err());
    std::fs::remove_dir_all(directory).unwrap();
}

/// Runs a test of this file again in a new mount namespace with changed mounts.
fn inside(test: &str, change: &str) {
    let script = format!("mount --make-rprivate / && {change} && exec \"$0\" --exact {test} --nocapture");
    let me = std::env::current_exe().unwrap();
    let done = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .arg(me)
        .env("INSIDE", "1")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && out.contains("1 passed"), "{out}");
}

fn is_inside() -> bool {
    std::env::var_os("INSIDE").is_some()
}

#[test]
fn read_only_mount_is_named_in_the_error() {
    if !mounted() {
        return;
    }
    if !is_inside() {
        let mounts = Layout::discover().unwrap().hierarchies;
        let change = mounts.iter().map(read_only).collect::<Vec<_>>().join(" && ");
        return inside("hostile::read_only_mount_is_named_in_the_error", &change);
    }
    let location = plan("readonly");
    let e = Cgroup::create(&location, &PlannedLimits::default(), Access::Full).err().unwrap().to_string();
    assert!(e.contains("EROFS") && e.contains("mount -o remount,rw "), "{e}");
    let left_out =
        Cgroup::create(&location, &PlannedLimits::default(), Access::Delegated { asked: false }).unwrap();
    assert_eq!(left_out.location(), Location::default());
}

/// A mounted hierarchy of this host, as a change that makes it read-only.
fn read_only(hierarchy: &MountedHierarchy) -> String {
    format!("mount -o remount,bind,ro {}", hierarchy.mount)
}

#[test]
fn device_rules_hold_on_v2_if_the_v1_hierarchy_is_left_out() {
    let layout = Layout::discover().unwrap();
    let devices = layout.hierarchies.iter().find(|h| h.has("devices"));
    let (Some(devices), Some(_)) = (devices, layout.v2()) else {
        eprintln!("SKIPPED: the host has not both the devices hierarchy of v1 and v2");
        return;
    };
    if !is_inside() {
        let test = "hostile::device_rules_hold_on_v2_if_the_v1_hierarchy_is_left_out";
        return inside(test, &read_only(devices));
    }
    for rules in [r#"{}"#, r#"{"devices":[{"allow":false}]}"#] {
        let limits = limits(&read(rules)).unwrap();
        let access = Access::Delegated { asked: false };
        let cgroup = Cgroup::create(&plan("left-out"), &limits, access).unwrap();
        let location = cgroup.location();
        assert!(location.places.iter().all(|place| !place.has("devices")), "{location:?}");
        let own = Own { cgroup, location };
        own.cgroup.limit(&limits).unwrap();
        let mut shell = Shell::new();
        own.put(&shell);
        assert!(shell.ask("true < /dev/null"));
        assert!(!shell.ask("true < /dev/kmsg"), "{rules}");
    }
}

#[test]
fn unified_files_are_refused_if_v2_is_left_out() {
    let layout = Layout::discover().unwrap();
    let Some(v2) = layout.v2() else {
        eprintln!("SKIPPED: there is no cgroup v2 on this host");
        return;
    };
    if !is_inside() {
        return inside("hostile::unified_files_are_refused_if_v2_is_left_out", &read_only(v2));
    }
    let limits = limits(&read(r#"{"unified":{"cgroup.max.depth":"3"}}"#)).unwrap();
    let cgroup = Cgroup::create(&plan("no-v2"), &limits, Access::Delegated { asked: false }).unwrap();
    let own = Own { location: cgroup.location(), cgroup };
    let e = own.cgroup.limit(&limits).unwrap_err().to_string();
    assert!(e.contains("cgroup.max.depth") && e.contains("not delegated"), "{e}");
}

#[test]
fn non_utf8_mount_point_is_ignored() {
    if !is_inside() {
        let change = "mount -t tmpfs none /mnt && odd=$(printf '/mnt/\\377') && mkdir $odd && mount -t tmpfs none $odd";
        return inside("hostile::non_utf8_mount_point_is_ignored", change);
    }
    Layout::discover().unwrap();
}

#[test]
fn mount_over_the_cgroup_is_named_in_the_error() {
    if !mounted() {
        return;
    }
    if !is_inside() {
        return inside("hostile::mount_over_the_cgroup_is_named_in_the_error", "true");
    }
    let own = Own::new("covered");
    let directory = own.location.places[0].directory();
    assert!(Command::new("mount").args(["-t", "tmpfs", "none", &directory]).status().unwrap().success());
    let start = Instant::now();
    let e = Cgroup::adopt(&own.location).remove(start + Duration::from_secs(1)).unwrap_err().to_string();
    assert!(e.contains(&directory) && e.contains("something is mounted over it"), "{e}");
    assert!(start.elapsed() < Duration::from_secs(5) * patience());
    assert!(Command::new("umount").arg(&directory).status().unwrap().success());
}

#[test]
fn hidden_cgroup_mounts_are_not_used() {
    if !is_inside() {
        return inside("hostile::hidden_cgroup_mounts_are_not_used", "mount -t tmpfs none /sys/fs/cgroup");
    }
    assert_eq!(Layout::discover().unwrap(), Layout::default());
}
