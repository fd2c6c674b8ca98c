//! Moves a fault over all system calls of a command and counts the results.

use super::scene::Scene;
use crate::common::Hierarchy;
use crate::common::inject::{Fault, Faulted, Kind, Role, show_processes};
use nix::sys::signal::Signal;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// The numbers of one command.
#[derive(Default, Debug)]
struct Count {
    points: usize,
    signals: usize,
    errors: usize,
    leaks: usize,
    orphans: usize,
    hangs: usize,
    wrong: usize,
}

/// Runs the command with each fault, and fails if a promise is broken after one.
pub fn sweep(scene: Scene<'_>) {
    let mut count = Count::default();
    let (step, first) = stride();
    for role in [Role::Host, Role::Init] {
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            for at in (first..).step_by(step) {
                if meet(&scene, Fault { role, at, kind: Kind::Signal(signal) }, &mut count).met.is_none() {
                    break;
                }
                count.signals += 1;
                count.points += usize::from(signal == Signal::SIGKILL);
            }
        }
        for at in (first..).step_by(step) {
            if !errors(&scene, role, at, &mut count) {
                break;
            }
        }
    }
    println!("{}: {count:?}", scene.name);
    report(&scene, &count);
    assert!(count.points > 20 / step, "few calls got a fault");
    assert_eq!([count.leaks, count.orphans, count.hangs, count.wrong], [0; 4]);
}

/// Fails one call with each of its errors in turn.
///
/// Returns false if the command ended before.
fn errors(scene: &Scene<'_>, role: Role, at: usize, count: &mut Count) -> bool {
    for n in 0.. {
        let done = meet(scene, Fault { role, at, kind: Kind::Error(n) }, count);
        if done.met.is_none() {
            return false;
        }
        if done.error.is_none() {
            return true;
        }
        count.errors += 1;
    }
    true
}

/// The distance between two calls, and the first one, which changes each day.
///
/// `@N` means the call N alone.
fn stride() -> (usize, usize) {
    let given = std::env::var("IT_FAULTS").unwrap_or_default();
    if let Some(at) = given.strip_prefix('@') {
        return (1 << 30, at.parse().expect("IT_FAULTS=@N"));
    }
    let step = given.parse().unwrap_or(1).max(1);
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    // A short command gets at least one fault.
    (step, 1 + days as usize % step.min(20))
}

/// Runs the command once with a fault, checks the invariant and cleans up.
fn meet(scene: &Scene<'_>, fault: Fault, count: &mut Count) -> Faulted {
    scene.prepare();
    let done = scene.fault(fault);
    let errors = scene.errors();
    let mut say = |number: fn(&mut Count) -> &mut usize, what: String| {
        *number(count) += 1;
        println!("{}: {fault:?}: {done:?}: {what} ({})", scene.name, errors.trim_end());
    };
    if done.hung {
        say(|c| &mut c.hangs, "it did not end".into());
    } else if done.error.is_some() && !scene.is_right(done.status, &errors) {
        say(|c| &mut c.wrong, "it did not do what it reports".into());
    }
    let state = scene.call(&["state", "ID"]);
    let known = state.status == 0 || state.stderr.contains("does not exist");
    let list = scene.call(&["list"]);
    if !known || list.status != 0 || !list.stderr.is_empty() {
        let number: fn(&mut Count) -> &mut usize =
            if [state.status, list.status].contains(&124) { |c| &mut c.hangs } else { |c| &mut c.wrong };
        say(
            number,
            format!("state: {} {}; list: {} {}", state.status, state.stderr, list.status, list.stderr),
        );
    }
    let deleted = scene.call(&["delete", "--force", "ID"]);
    scene.settle();
    if deleted.status != 0 {
        let number: fn(&mut Count) -> &mut usize =
            if deleted.status == 124 { |c| &mut c.hangs } else { |c| &mut c.wrong };
        say(number, format!("delete --force: {} {}", deleted.status, deleted.stderr));
    }
    let left = scene.left();
    if !left.is_empty() {
        let orphan = left.iter().any(|what| what.starts_with("process "));
        let number: fn(&mut Count) -> &mut usize = if orphan { |c| &mut c.orphans } else { |c| &mut c.leaks };
        say(number, format!("left: {left:?}"));
        show_processes();
        panic!("cannot go on with what is left");
    }
    done
}

fn report(scene: &Scene<'_>, count: &Count) {
    let Some(file) = std::env::var_os("IT_FAULTS_REPORT") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let (kernel, layout) =
        (kernel.trim(), if Hierarchy::all().iter().all(|h| h.v2) { "v2" } else { "v1 and hybrid" });
    let Count { points, signals, errors, leaks, orphans, hangs, wrong } = count;
    let line = format!(
        "{kernel}\t{layout}\t{}\t{points}\t{signals}\t{errors}\t{leaks}\t{orphans}\t{hangs}\t{wrong}\n",
        scene.name
    );
    file.write_all(line.as_bytes()).unwrap();
}
