//! The host's mount table, whatever namespaces and propagation a container asks for.

use crate::cases;
use crate::common::{Case, Test};
use serde_json::json;
use std::fs;
use std::process::Command;

pub const CASES: &[Case] =
    cases![mount_namespace_of_the_host_is_refused, mount_namespace_of_another_is_joined,];

fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// The runtime with other arguments before it, as `unshare --mount RUNTIME …` has them.
fn below(t: &Test, words: &[&str], args: &[&str]) -> Command {
    let runtime = t.command(args);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(runtime.get_program()).args(runtime.get_args());
    command
}

/// pivot_root in it would take the root of every process on the host away.
fn mount_namespace_of_the_host_is_refused(t: &Test) {
    let before = mount_table();
    let own = std::process::id();
    let apart = ["unshare", "--mount"];
    for (path, words) in [
        ("/proc/self/ns/mnt".to_owned(), &["env"][..]),
        ("/proc/thread-self/ns/mnt".to_owned(), &["env"]),
        (format!("/proc/{own}/ns/mnt"), &["env"]),
        // From a mount namespace of the runtime's own: that of pid 1 is the host's all the same.
        ("/proc/1/ns/mnt".to_owned(), &apart),
        ("/proc/self/ns/mnt".to_owned(), &apart),
    ] {
        for flag in [None, Some("--no-pivot")] {
            let mut c = t.container();
            c.namespace_path("mount", &path).probe("pid").write();
            let bundle = c.bundle.to_str().unwrap().to_owned();
            for act in ["create", "run"] {
                let args: Vec<&str> =
                    [act, "--bundle", &bundle].into_iter().chain(flag).chain([&*c.id]).collect();
                let says = format!("not allowed in the host's mount namespace, which is {path}");
                t.finish(below(t, words, &args)).exits(1).fails(&[&says]);
                assert_eq!(mount_table(), before, "{path} {flag:?}");
            }
        }
    }
}

/// A namespace that somebody else made for it is none of the host's.
fn mount_namespace_of_another_is_joined(t: &Test) {
    let before = mount_table();
    let mut other = Command::new("unshare").args(["--mount", "sleep", "100"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/mnt", other.id());
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    crate::common::eventually("it has unshared", || fs::read_link(&path).is_ok_and(|there| there != own));
    let mut c = t.container();
    c.namespace_path("mount", &path);
    let theirs = json!(fs::read_link(&path).unwrap().to_str());
    let seen = c.probe("namespaces").run().ok().probe();
    assert_eq!(seen["namespaces"]["mnt"], theirs);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(mount_table(), before);
}
