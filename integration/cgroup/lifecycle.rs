//! Creation, joining, freezing, killing and removal of cgroups.

use super::*;
use std::os::unix::process::CommandExt;

fn exists(location: &Location) -> Vec<String> {
    let there = |d: &String| std::path::Path::new(d).exists();
    location.places.iter().map(embrun::cgroup::place::location::Place::directory).filter(there).collect()
}

#[test]
fn cgroup_is_created_joined_and_removed_in_every_hierarchy() {
    if !mounted() {
        return;
    }
    let own = Own::new("basic");
    assert_eq!(exists(&own.location).len(), own.location.places.len());
    assert!(!own.location.places.is_empty());
    let mut shell = Shell::new();
    own.put(&shell);
    let seen = std::fs::read_to_string(format!("/proc/{}/cgroup", shell.pid())).unwrap();
    let here = seen.lines().filter(|l| l.contains("embrun-test-") && l.ends_with("-basic")).count();
    assert_eq!(here, own.location.places.len(), "{seen}");
    assert_eq!(own.cgroup.pids().unwrap(), [shell.pid()]);
    assert!(shell.ask("true"));

    own.cgroup.kill(soon()).unwrap();
    own.cgroup.remove(soon()).unwrap();
    assert_eq!(exists(&own.location), [""; 0]);
    assert_eq!(own.cgroup.pids().unwrap(), []);
    // Removing again, with only the saved location, does nothing and is not an error.
    Cgroup::adopt(&own.location).kill(soon()).unwrap();
    Cgroup::adopt(&own.location).remove(soon()).unwrap();
}

#[test]
fn parents_are_created_and_removed_unless_in_use() {
    if !mounted() {
        return;
    }
    let layout = Layout::discover().unwrap();
    let at = |name: &str| {
        let path = format!("embrun-test-{}-parents/{name}", std::process::id());
        Location::plan(&layout, &CgroupPath::new(Some(&path), "id").unwrap())
    };
    let first = at("a/first");
    assert!(first.places.iter().all(|p| p.made == 3), "{first:?}");
    let a = Cgroup::create(&first, &PlannedLimits::default(), Access::Full).unwrap();
    let second = at("second");
    assert!(second.places.iter().all(|p| p.made == 1), "{second:?}");
    let b = Cgroup::create(&second, &PlannedLimits::default(), Access::Full).unwrap();
    a.remove(soon()).unwrap();
    assert_eq!(exists(&at("")).len(), layout.hierarchies.len(), "the parent is in use by the second");
    assert_eq!(exists(&at("a")), [""; 0]);
    b.remove(soon()).unwrap();
    assert_eq!(exists(&second), [""; 0]);
    // The first created the parent, which still exists. Removing the first again removes the parent, which
    // the second could not know to be ours.
    a.remove(soon()).unwrap();
    assert_eq!(exists(&at("")), [""; 0]);
}

#[test]
fn used_or_frozen_cgroup_is_refused_and_kept() {
    if !mounted() {
        return;
    }
    let own = Own::new("used");
    let again = plan("used");
    assert!(again.places.iter().all(|p| p.made == 0));
    let shell = Shell::new();
    own.put(&shell);
    let create =
        || Cgroup::create(&again, &PlannedLimits::default(), Access::Full).err().map(|e| e.to_string());
    let e = create().unwrap();
    assert!(e.contains("container's cgroup is not empty: 1 process(es) found"), "{e}");
    drop(shell);
    own.cgroup.freeze(soon()).unwrap();
    let e = create().unwrap();
    assert!(e.contains("container's cgroup unexpectedly frozen"), "{e}");
    own.cgroup.thaw().unwrap();
    assert_eq!(create(), None, "an empty cgroup may be used");
    Cgroup::adopt(&again).remove(soon()).unwrap();
    assert_eq!(
        exists(&own.location).len(),
        own.location.places.len(),
        "it is kept, because its creator is another"
    );
}

#[test]
fn cgroup_created_after_planning_is_refused_and_kept() {
    if !mounted() {
        return;
    }
    let location = plan("appeared");
    let own = Own::new("appeared");
    let e = Cgroup::create(&location, &PlannedLimits::default(), Access::Full).err().unwrap().to_string();
    assert!(e.contains("appeared meanwhile"), "{e}");
    assert_eq!(exists(&own.location).len(), own.location.places.len());
}

#[test]
fn cgroup_freezes_thaws_and_is_killed_while_frozen() {
    if !mounted() {
        return;
    }
    let own = Own::new("frozen");
    let mut shell = Shell::new();
    own.put(&shell);
    assert!(!own.cgroup.frozen());
    own.cgroup.freeze(soon()).unwrap();
    assert!(own.cgroup.frozen());
    own.cgroup.thaw().unwrap();
    assert!(!own.cgroup.frozen());
    assert!(shell.ask("true"));
    own.cgroup.freeze(soon()).unwrap();
    own.cgroup.kill(soon()).unwrap();
    assert_eq!(own.cgroup.pids().unwrap(), []);
}

/// Another program may freeze the container in v1 while we use v2.
#[test]
fn cgroup_frozen_by_v1_is_killed() {
    if !on_v1("freezer") {
        eprintln!("SKIPPED: there is no v1 freezer on this host");
        return;
    }
    let own = Own::new("frozen-v1");
    let shell = Shell::new();
    own.put(&shell);
    std::fs::write(format!("{}/freezer.state", own.directory("freezer")), "FROZEN").unwrap();
    assert!(own.cgroup.frozen());
    own.cgroup.kill(soon()).unwrap();
}

#[test]
fn child_cgroup_is_named_once_per_hierarchy() {
    if !on_v1("pids") {
        eprintln!("SKIPPED: v1 has no pids here");
        return;
    }
    let own = Own::new("below");
    std::fs::create_dir(format!("{}/a", own.directory("pids"))).unwrap();
    let inner = |args: &[&str]| Cgroup::adopt(&own.location).inner(args).map_err(|e| e.to_string());
    let place = inner(&["pids:a"]).unwrap().location();
    let changed = place.places.iter().zip(&own.location.places).filter(|(a, b)| a.path != b.path);
    assert_eq!(changed.map(|(a, b)| (a.path.clone(), b.has("pids"))).collect::<Vec<_>>().len(), 1);
    let e = inner(&["pids:a", "pids:a"]).err().unwrap();
    assert!(e.starts_with("invalid --cgroup argument: pids:a (names the hierarchy "), "{e}");
}

#[test]
fn process_cloned_into_v2_joins_only_v1() {
    if !mounted() {
        return;
    }
    let own = Own::new("into");
    let location = own.location.clone();
    let join = move || Cgroup::adopt(&location).join_v1().map_err(std::io::Error::other);
    let mut cat = Command::new("cat");
    // SAFETY: the child has one thread, and this program's allocator works in it.
    #[allow(unsafe_code)]
    unsafe {
        cat.arg("/proc/self/cgroup").pre_exec(join)
    };
    let seen = String::from_utf8(cat.output().unwrap().stdout).unwrap();
    let v1 = own.location.places.iter().filter(|p| !p.is_v2()).count();
    assert_eq!(seen.lines().filter(|l| l.ends_with("-into")).count(), v1, "{seen}");
    assert!(!seen.lines().any(|l| l.starts_with("0::") && l.ends_with("-into")), "{seen}");
    assert_eq!(own.cgroup.v2_dir().is_some(), own.location.places.iter().any(|p| p.is_v2()));
}
