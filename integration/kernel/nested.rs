//! The caller is root of a user namespace that it did not make, as in a container.

use crate::cases;
use crate::common::{Case, Output, Runtime, Test};
use crate::rootless::user::User;
use crate::rootless::without_maps;
use serde_json::json;
use std::fs;
use std::process::Command;

pub const CASES: &[Case] =
    cases![root_of_a_user_namespace_runs_containers, root_of_a_user_namespace_joins_a_pid_namespace,];

/// A config without a user namespace, which the user runs as root of another one.
fn without_a_user_namespace(user: &mut User<'_>) {
    let list = user.c.config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|n| n["type"] != "user");
    without_maps(&mut user.c);
}

/// Runs a script of sh as root of a user namespace with one id.
///
/// `"$@"` is the runtime. The user namespace has no setgroups.
#[track_caller]
fn as_inner_root(user: &User<'_>, script: &str) -> Output {
    user.c.write();
    let inner = user.command(&["run", "--bundle", &user.bundle(), &user.c.id]);
    let mut args: Vec<_> = inner.get_args().map(ToOwned::to_owned).collect();
    let at = args.len() - 5;
    let shell = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"];
    args.splice(at..at, shell.map(Into::into));
    let mut command = Command::new("sh");
    command.args(args).env("CGROUP", "").env("XDG_RUNTIME_DIR", user.home.join("run")).env("USER", "user");
    user.c.test.finish(command)
}

/// As in a container.
fn root_of_a_user_namespace_runs_containers(t: &Test) {
    let mut user = User::new(t);
    without_a_user_namespace(&mut user);
    let sys = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]});
    if t.runtime == Runtime::Embrun {
        let mounts = user.c.config["mounts"].as_array_mut().unwrap();
        *mounts.iter_mut().find(|m| m["destination"] == "/sys").unwrap() = sys;
    }
    user.c.args(&["sh", "-c", "echo > /dev/null && ls /sys/class && cat /proc/self/uid_map && id"]);
    let seen = as_inner_root(&user, "exec \"$@\"").ok();
    assert!(
        seen.stdout.contains("uid=0(root) gid=0(root)") && seen.stdout.contains("net\n"),
        "{}",
        seen.stdout
    );
}

/// As `podman run --pid=container:ID` of an ordinary user.
fn root_of_a_user_namespace_joins_a_pid_namespace(t: &Test) {
    let mut user = User::new(t);
    without_a_user_namespace(&mut user);
    let file = user.home.join("pid");
    fs::write(&file, "").unwrap();
    user.c.namespace_path("pid", file.to_str().unwrap());
    user.c.config["mounts"][0]["options"] = json!(["nosuid", "noexec", "nodev", "hidepid=1"]);
    user.c.args(&["sh", "-c", "ls -d /proc/[0-9]* && grep ' /proc ' /proc/self/mountinfo"]);
    let script = "unshare --pid --fork --kill-child sleep 100 & \
        until [ \"$(readlink /proc/$!/ns/pid_for_children)\" != \"$(readlink /proc/self/ns/pid)\" ] && \
        mount --bind /proc/$!/ns/pid_for_children FILE; do sleep 0.1; done 2> /dev/null; \
        \"$@\"; status=$?; kill -9 $!; exit $status";
    let seen = as_inner_root(&user, &script.replace("FILE", file.to_str().unwrap())).ok().stdout;
    assert!(seen.starts_with("/proc/1\n"), "{seen}");
    assert!(seen.contains("nosuid,nodev,noexec") && seen.contains("hidepid="), "{seen}");
}
