//! The system calls of each command, compared with the numbers in `costs.txt`.
//!
//! A container that does not use a feature must not pay for it, and times are too noisy to show that.

use crate::cases;
use crate::common::{Case, Container, Hierarchy, Test, test, tracer};
use libc::c_long;
use std::collections::BTreeMap;
use std::process::Command;

pub const CASES: &[Case] = cases![commands_make_no_more_system_calls_than_listed];

/// The numbers of each command.
///
/// Cgroup layout, command, system calls, processes created, files synced, mounts removed.
const LISTED: &str = include_str!("costs.txt");

/// The system calls that depend on the build.
///
/// They are the allocator's, and the check of a debug build before each close.
#[cfg(target_arch = "x86_64")]
const OF_THE_BUILD: &[c_long] = &[
    libc::SYS_fcntl,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
];
/// Some have other names elsewhere, where nothing is compared.
#[cfg(not(target_arch = "x86_64"))]
const OF_THE_BUILD: &[c_long] = &[];
const CLONES: [c_long; 2] = [libc::SYS_clone, libc::SYS_clone3];
const SYNCS: [c_long; 2] = [libc::SYS_fsync, libc::SYS_fdatasync];

type Counts = BTreeMap<c_long, usize>;

/// The cgroup hierarchies: as many of v1 as the number says, `v2`, or both.
fn layout() -> String {
    let all = Hierarchy::all();
    let old = all.iter().filter(|h| !h.v2).count();
    match (old, all.len() > old) {
        (0, true) => "v2".into(),
        (old, true) => format!("{old}+v2"),
        (old, false) => format!("{old}"),
    }
}

/// All system calls, processes created, files synced, mounts removed.
fn summary(counts: &Counts) -> [usize; 4] {
    let of = |numbers: &[c_long]| numbers.iter().filter_map(|n| counts.get(n)).sum();
    let all: usize = counts.iter().filter(|(n, _)| **n >= 0).map(|(_, count)| count).sum();
    [all - of(OF_THE_BUILD), of(&CLONES), of(&SYNCS), of(&[libc::SYS_umount2])]
}

/// The smallest counts of five runs.
///
/// They are without those that each start of a program costs in this build.
fn cost(t: &Test, args: &[&str], payload: &'static str, reset: impl Fn()) -> [usize; 4] {
    let start = summary(&tracer::calls(command(t, &["--version"]), payload))[0];
    let once = || {
        let counts = tracer::calls(command(t, args), payload);
        reset();
        let [all, rest @ ..] = summary(&counts);
        let starts = 1 + counts.get(&-1).copied().unwrap_or(0);
        [all - starts * start, rest[0], rest[1], rest[2]]
    };
    (0..5).map(|_| once()).min().unwrap()
}

fn command(t: &Test, args: &[&str]) -> Command {
    let mut command = t.command(args);
    // The state root is on a tmpfs, where nothing has to be synced.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn measured(t: &Test) -> Vec<(&'static str, [usize; 4])> {
    let mut short = t.container();
    short.args(&["true"]).write();
    let mut long = t.container();
    long.args(&["sleep", "1000"]).write();
    let nothing = || {};
    let (id, bundle) = (&*short.id, short.bundle.to_str().unwrap());
    let mut costs = vec![("run", cost(t, &["run", "--bundle", bundle, id], "true", nothing))];
    let delete = |c: &Container<'_>| drop(c.call(&["delete", "--force"]).ok());
    let create = ["create", "--bundle", long.bundle.to_str().unwrap(), &long.id];
    costs.push(("create", cost(t, &create, "sleep", || delete(&long))));
    let again = || {
        delete(&long);
        long.create().ok();
    };
    long.create().ok();
    costs.push(("start", cost(t, &["start", &long.id], "sleep", again)));
    long.start().ok();
    for (name, args) in [
        ("exec", &["exec", &long.id, "true"] as &[&str]),
        ("state", &["state", &long.id]),
        ("list", &["list"]),
        ("kill", &["kill", &long.id, "0"]),
    ] {
        costs.push((name, cost(t, args, "true", nothing)));
    }
    delete(&long);
    long.up();
    let up = || {
        long.up();
    };
    costs.push(("delete --force", cost(t, &["delete", "--force", &long.id], "true", up)));
    delete(&long);
    costs
}

/// A table that is far too high would hide what is added later.
const SLACK: usize = 24;

fn commands_make_no_more_system_calls_than_listed(t: &Test) {
    if std::env::consts::ARCH != "x86_64" {
        t.skip("the numbers are known for x86_64");
    }
    if test::host_label() == "older" {
        t.skip("the numbers are for a kernel with new system calls");
    }
    let layout = layout();
    let listed = |name: &str| {
        let mut rows = LISTED.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let row = rows.find(|row| row[..2] == [&*layout, name])?;
        Some(row[2..].iter().map(|number| number.parse().unwrap()).collect::<Vec<usize>>())
    };
    if listed("run").is_none() {
        t.skip(&format!("costs.txt has no numbers for the cgroup hierarchies of this host ({layout})"));
    }
    let mut wrong = String::new();
    for (name, seen) in measured(t) {
        let listed = listed(name).unwrap_or_default();
        let words: Vec<String> = seen.iter().map(usize::to_string).collect();
        println!("{layout}\t{name}\t{}", words.join("\t"));
        let more = listed.len() != seen.len() || seen.iter().zip(&listed).any(|(seen, listed)| seen > listed);
        if more || seen[0] + SLACK < listed[0] {
            wrong += &format!("{name}: {seen:?}, but listed is {listed:?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}The lines above are new ones for costs.txt.");
}
