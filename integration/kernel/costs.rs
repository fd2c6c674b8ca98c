//! The calls, page faults and waits of each command, compared with `costs.txt`.
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
/// Cgroup layout, command, system calls, processes created, files synced, mounts removed, waits for other processors, page
/// faults. The last is `-` for user-mode Linux, whose kernel maps no pages around a fault and so has five times as many.
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

/// The numbers of a row.
///
/// The calls that are known to wait until all processors have passed a point (RCU) are: a pid that is written to
/// `cgroup.procs` of v1, an unmounted file system, and a detached mount that is closed without a place in the tree. The
/// end of a namespace waits, too, but it is not counted: it waits in the container's last process, and the kernel delays it.
fn summary(counts: &Counts) -> [usize; 6] {
    let of = |numbers: &[c_long]| numbers.iter().filter_map(|n| counts.get(n)).sum::<usize>();
    let all: usize = counts.iter().filter(|(n, _)| **n >= 0).map(|(_, count)| count).sum();
    let unmounts = of(&[libc::SYS_umount2]);
    let waits = of(&[tracer::MOVES, libc::SYS_umount2, tracer::DETACHED]) - of(&[tracer::PLACED]);
    [all - of(OF_THE_BUILD), of(&CLONES), of(&SYNCS), unmounts, waits, of(&[tracer::FAULTS])]
}

/// The smallest counts of five runs.
///
/// They are without those that each start of a program costs in this build.
fn cost(t: &Test, args: &[&str], payload: &'static str, reset: impl Fn()) -> [usize; 6] {
    let [start, .., faults] = summary(&tracer::calls(command(t, &["--version"]), payload));
    let once = || {
        let counts = tracer::calls(command(t, args), payload);
        reset();
        let mut numbers = summary(&counts);
        let starts = 1 + counts.get(&tracer::PROGRAMS).copied().unwrap_or(0);
        numbers[0] -= starts * start;
        numbers[5] = numbers[5].saturating_sub(starts * faults);
        numbers
    };
    let all: Vec<_> = (0..5).map(|_| once()).collect();
    std::array::from_fn(|i| all.iter().map(|numbers| numbers[i]).min().unwrap())
}

fn command(t: &Test, args: &[&str]) -> Command {
    let mut command = t.command(args);
    // The state root is on a tmpfs, where nothing has to be synced.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn measured(t: &Test) -> Vec<(&'static str, [usize; 6])> {
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
    // A stopped container, which is deleted without force.
    let stopped = || {
        long.up();
        long.kill("KILL").ok();
        long.stopped();
    };
    delete(&long);
    stopped();
    costs.push(("delete", cost(t, &["delete", &long.id], "true", stopped)));
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
/// Page faults depend on compiler, C library and what the kernel maps at once.
const FAULT_SLACK: usize = 40;

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
        Some(row[2..].iter().map(|number| number.parse().ok()).collect::<Vec<Option<usize>>>())
    };
    if listed("run").is_none() {
        t.skip(&format!("costs.txt has no numbers for the cgroup hierarchies of this host ({layout})"));
    }
    let mut wrong = String::new();
    for (name, seen) in measured(t) {
        let listed = listed(name).unwrap_or_default();
        let words: Vec<String> = seen.iter().map(usize::to_string).collect();
        println!("{layout}\t{name}\t{}", words.join("\t"));
        let mut pairs = seen.iter().zip(&listed).enumerate();
        let more = listed.len() != seen.len()
            || pairs.any(|(i, (seen, most))| {
                most.is_some_and(|most| *seen > most + if i == 5 { FAULT_SLACK } else { 0 })
            });
        if more || listed[0].is_some_and(|most| seen[0] + SLACK < most) {
            wrong += &format!("{name}: {seen:?}, but listed is {listed:?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}The lines above are new ones for costs.txt.");
}
