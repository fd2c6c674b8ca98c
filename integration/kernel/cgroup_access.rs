//! Cgroups of a container whose user or host may not write them.

use crate::cases;
use crate::common::test::STATE;
use crate::common::{Case, Container, Output, Test, eventually};
use crate::limits::MIB;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

pub const CASES: &[Case] = cases![
    cgroup_belongs_to_the_containers_user_if_it_may_write_there,
    host_without_cgroups_runs_only_containers_without_limits,
    disabled_manager_creates_no_cgroup,
    user_without_delegated_cgroups_runs_without_limits,
    user_with_delegated_cgroups_has_limits,
];

/// Spec, "Cgroup ownership".
fn cgroup_belongs_to_the_containers_user_if_it_may_write_there(t: &Test) {
    t.needs_controller("pids");
    let owner = |c: &Container<'_>, file: &str| fs::metadata(c.cgroup("pids").join(file)).unwrap().uid();
    let delegated = ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
    let v2 = t.pure_v2();
    for (options, own_namespace, uid) in [
        (&["rw", "nosuid"][..], true, if v2 { 1000 } else { 0 }),
        (&["ro", "nosuid"], true, 0),
        (&["rw", "nosuid"], false, 0),
    ] {
        let mut c = t.container();
        c.mount("/sys/fs/cgroup", "cgroup", "cgroup", options);
        if own_namespace {
            c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        }
        c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c.probe("mkdir /sys/fs/cgroup/mine say pause").up();
        let made = c.says("acts").result("mkdir").clone();
        let files = delegated.iter().filter(|f| c.cgroup("pids").join(f).exists());
        files.for_each(|file| assert_eq!(owner(&c, file), uid, "{options:?} {own_namespace} {file:?}"));
        if v2 {
            assert_eq!(owner(&c, "pids.max"), 0, "the host must keep the ownership of limits");
            let wanted = match (uid, options[0]) {
                (1000, _) => "ok",
                (_, "ro") => "EROFS",
                _ => "EACCES",
            };
            assert_eq!(made, wanted);
        }
        c.remove();
    }
}

/// Checks that the commands that need a cgroup refuse a container without one.
///
/// They must, even if cgroups are mounted by now: none of those is the container's.
fn has_no_cgroup(c: &Container<'_>) {
    let file = c.test.path("resources");
    fs::write(&file, r#"{"devices":[{"allow":false}]}"#).unwrap();
    for args in [
        &["pause", &c.id][..],
        &["update", "--pids-limit", "5", &c.id],
        &["update", "--resources", file.to_str().unwrap(), &c.id],
        &["device", "add", &c.id, "/dev/kmsg"],
        &["device", "remove", &c.id, "/dev/kmsg"],
        &["exec", "--cgroup", "a", &c.id, "true"],
        &["exec", "--cgroup", "pids:a", &c.id, "true"],
    ] {
        c.test.call(args).fails(&["the container has no cgroup (it was created without one)"]);
    }
    c.call(&["update"]).ok();
}

fn disabled_manager_creates_no_cgroup(t: &Test) {
    let mut c = t.container();
    c.probe("pause").write();
    let bundle = c.bundle.to_str().unwrap();
    t.call(&["--cgroup-manager=disabled", "create", "--bundle", bundle, &c.id]).ok();
    c.start().ok();
    has_no_cgroup(&c);
    c.remove();
}

fn host_without_cgroups_runs_only_containers_without_limits(t: &Test) {
    let mut c = t.container();
    let call = |args: &[&str]| {
        let hide = "mount --make-rprivate / && { umount -R /sys/fs/cgroup 2> /dev/null; exec \"$@\"; }";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", hide, "sh"]).arg(t.runtime_path());
        command.args(["--root", STATE]).args(args);
        t.finish(command)
    };
    let bundle = c.bundle.to_str().unwrap().to_owned();
    c.probe("pause");
    for resources in [
        json!({"pids": {"limit": 5}}),
        json!({"devices": [{"allow": false}]}),
        json!({"memory": {"limit": MIB}}),
    ] {
        c.config["linux"]["resources"] = resources;
        c.write();
        call(&["create", "--bundle", &bundle, &c.id])
            .fails(&["no cgroup hierarchy is mounted (mount -t cgroup2 cgroup2 /sys/fs/cgroup)"]);
        call(&["state", &c.id]).fails(&["does not exist"]);
    }
    c.config["linux"]["resources"] = json!({});
    c.write();
    call(&["create", "--bundle", &bundle, &c.id]).ok();
    call(&["start", &c.id]).ok();
    call(&["exec", &c.id, "true"]).ok();
    has_no_cgroup(&c);
    call(&["events", "--stats", &c.id]).ok();
    assert_eq!(call(&["ps", "--format=json", &c.id]).ok().json(), json!([c.pid()]));
    call(&["delete", "--force", &c.id]).ok();
    // umount(8) created this directory.
    let _ = fs::remove_dir_all("/run/mount");
}

/// The uid of the unprivileged user on the host.
const USER: u32 = 100_000;

/// An unprivileged user that calls the runtime as rootless engines do.
///
/// It is root of a user namespace, and owns nothing of the host but its state.
struct User<'t> {
    test: &'t Test,
    home: PathBuf,
    namespace: Child,
    /// The cgroup that it calls from.
    cgroup: Option<PathBuf>,
}

impl<'t> User<'t> {
    fn new(test: &'t Test) -> User<'t> {
        let home = test.path("home-of-the-user");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(USER), Some(USER)).unwrap();
        // The user has no access to the directory where the runtime was built.
        fs::copy(test.runtime_path(), home.join("runtime")).unwrap();
        let ids = [format!("--reuid={USER}"), format!("--regid={USER}")];
        let mut command = Command::new("setpriv");
        command.args(ids).args(["--clear-groups", "unshare", "--user", "sleep", "1000"]);
        let namespace = command.spawn().unwrap();
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
        let pid = namespace.id().to_string();
        eventually("it is in a user namespace", || of(&pid).is_some_and(|n| Some(n) != of("self")));
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{map}"), format!("0 {USER} 65536")).unwrap();
        }
        User { test, home, namespace, cgroup: None }
    }

    #[track_caller]
    fn call(&self, args: &[&str]) -> Output {
        let enter = "[ -z \"$CGROUP\" ] || echo $$ > \"$CGROUP/cgroup.procs\"; exec nsenter --user -S 0 -G 0 -t \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", enter, "sh", &self.namespace.id().to_string()]).arg(self.home.join("runtime"));
        command.args(["--root", self.home.join("state").to_str().unwrap()]).args(args);
        command.env("CGROUP", self.cgroup.as_deref().unwrap_or(Path::new("")));
        self.test.finish(command)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.namespace.kill().unwrap();
        self.namespace.wait().unwrap();
    }
}

fn user_without_delegated_cgroups_runs_without_limits(t: &Test) {
    t.needs_controller("pids");
    let (mut c, user) = (t.container(), User::new(t));
    c.probe("pause");
    c.write();
    let bundle = c.bundle.to_str().unwrap().to_owned();
    let call = |args: &[&str]| user.call(args);
    call(&["create", "--bundle", &bundle, "c"]).fails(&["cgroup", t.token()]);
    c.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    c.write();
    call(&["create", "--bundle", &bundle, "c"]).ok();
    call(&["start", "c"]).ok();
    let pid = call(&["state", "c"]).ok().json()["pid"].to_string();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(
        groups,
        fs::read_to_string("/proc/self/cgroup").unwrap(),
        "it must stay in the cgroup of its creator"
    );
    call(&["delete", "--force", "c"]).ok();
    c.config["linux"]["resources"]["pids"] = json!({"limit": 5});
    c.write();
    call(&["create", "--bundle", &bundle, "c"]).fails(&["pids"]);
    call(&["state", "c"]).fails(&["does not exist"]);
}

fn user_with_delegated_cgroups_has_limits(t: &Test) {
    t.needs_controller("pids");
    if !t.pure_v2() {
        t.skip("only v2 can be delegated");
    }
    let (mut c, mut user) = (t.container(), User::new(t));
    c.config["linux"]["resources"]["pids"] = json!({"limit": 6});
    c.probe("fork 20 say pause");
    c.write();
    let bundle = c.bundle.to_str().unwrap().to_owned();
    let own = c.cgroup("pids").parent().unwrap().to_owned();
    fs::create_dir(own.join("caller")).unwrap();
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "caller", "caller/cgroup.procs"] {
        chown(own.join(file), Some(USER), Some(USER)).unwrap();
    }
    user.cgroup = Some(own.join("caller"));
    let call = |args: &[&str]| user.call(args);
    call(&["create", "--bundle", &bundle, &c.id]).ok();
    call(&["start", &c.id]).ok();
    assert_eq!(c.knob("pids", "", "pids.max"), "6");
    // Room for everything that the probe may still be forking, and for exec.
    call(&["update", "--pids-limit", "40", &c.id]).ok();
    assert_eq!(c.knob("pids", "", "pids.max"), "40");
    call(&["pause", &c.id]).ok();
    call(&["resume", &c.id]).ok();
    let seen = call(&["exec", &c.id, "probe", "cgroup"]).ok().probe();
    assert!(seen["cgroup"].to_string().contains(&c.id), "{:?}", seen["cgroup"]);
    call(&["delete", "--force", &c.id]).ok();
    assert!(!c.cgroup("pids").exists());
    fs::remove_dir(own.join("caller")).unwrap();
}
