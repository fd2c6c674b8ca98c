//! Statistics, detection of OOM kills, and delegation.

use super::*;
use embrun::cgroup::oom::Oom;
use nix::poll::{PollFd, PollTimeout, poll};

fn number(j: &Json, path: &[&str]) -> i128 {
    match path.iter().try_fold(j, |j, key| j.get(key)) {
        Some(Json::Number(n)) => n.parse().unwrap(),
        other => panic!("{path:?} is {other:?} in {}", j.compact()),
    }
}

#[test]
fn usage_is_reported() {
    if !mounted() {
        return;
    }
    let text = r#"{"memory":{"limit":67108864},"pids":{"limit":20},"cpu":{"quota":50000,"period":100000}}"#;
    let both = has("memory", "memory") && has("pids", "pids") && has("cpu", "cpu");
    let own = if both { Own::with("stats", &read(text)) } else { Own::new("stats") };
    let mut shell = Shell::new();
    own.put(&shell);
    assert!(shell.ask("x=$(head -c 1000000 /dev/zero | tr '\\0' x); test -n \"$x\""));
    let stats = own.cgroup.stats();
    if both {
        assert_eq!(number(&stats, &["pids", "current"]), 1);
        assert_eq!(number(&stats, &["pids", "limit"]), 20);
        assert_eq!(number(&stats, &["memory", "usage", "limit"]), 67108864);
        assert!(number(&stats, &["memory", "usage", "usage"]) > 500_000);
        assert!(number(&stats, &["memory", "raw", "pgfault"]) > 0);
        assert!(number(&stats, &["cpu", "usage", "total"]) > 100_000, "nanoseconds");
        assert!(number(&stats, &["cpu", "throttling", "periods"]) >= 0);
    }
    let keys = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"];
    assert!(keys.iter().all(|k| stats.get(k).is_some()), "{}", stats.compact());
    // A removed cgroup has no statistics, which is not an error.
    drop(shell);
    own.cgroup.remove(soon()).unwrap();
    assert_eq!(Cgroup::adopt(&own.location).stats().get("pids"), Some(&Json::Object(vec![])));
}

#[test]
fn oom_kill_is_detected() {
    if !has("memory", "memory") {
        return;
    }
    let own = Own::with("oom", &read(r#"{"memory":{"limit":8388608,"swap":8388608}}"#));
    let mut watch = own.cgroup.watch_oom().unwrap();
    let wait = |watch: &embrun::cgroup::oom::OomWatch, ms: u16| {
        let (fd, events) = watch.poll();
        poll(&mut [PollFd::new(fd, events)], PollTimeout::from(ms)).unwrap() > 0
    };
    assert_eq!(watch.look(), Oom::Quiet);
    for _ in 0..2 {
        let mut shell = Shell::new();
        own.put(&shell);
        shell.tell("exec tail /dev/zero");
        assert!(wait(&watch, 20_000));
        // v2 reports every change of the file; a later one is the kill.
        let killed = std::iter::repeat_with(|| (wait(&watch, 1000), watch.look()).1)
            .take(20)
            .any(|o| o == Oom::Killed);
        assert!(killed);
        let _ = shell.0.wait();
        while wait(&watch, 0) && watch.look() != Oom::Quiet {}
    }
    own.cgroup.remove(soon()).unwrap();
    assert_eq!(watch.look(), Oom::Gone);
}

#[test]
fn delegated_cgroup_belongs_to_its_owner() {
    use std::os::unix::fs::MetadataExt;
    let own = Own::new("delegate");
    own.cgroup.give(nix::unistd::Uid::from_raw(12345)).unwrap();
    for place in &own.location.places {
        let owner = |file: &str| std::fs::metadata(format!("{}/{file}", place.directory())).unwrap().uid();
        let expected = if place.is_v2() { 12345 } else { 0 };
        assert_eq!((owner(""), owner("cgroup.procs")), (expected, expected));
        if place.is_v2() {
            assert_eq!((owner("cgroup.subtree_control"), owner("cgroup.max.depth")), (12345, 0));
        }
    }
}
