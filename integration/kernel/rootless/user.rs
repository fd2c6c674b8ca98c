//! An ordinary user with a container.

use crate::common::{Container, Output, Test};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Neither root nor the owner of anything on the host.
pub const USER: u32 = 1000;
/// The first id that `/etc/subuid` gives to the user.
pub const MORE: u32 = 200_000;

/// The user, and a container of the user's.
pub struct User<'t> {
    pub c: Container<'t>,
    pub home: PathBuf,
    pub cgroup: Option<PathBuf>,
}

impl<'t> User<'t> {
    pub fn new(t: &'t Test) -> User<'t> {
        let c = t.container();
        let home = t.path("home");
        fs::create_dir_all(home.join("run")).unwrap();
        fs::copy(t.runtime_path(), home.join(runtime_name(t))).unwrap();
        fs::set_permissions(home.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        give(&home);
        give(&c.bundle);
        for directory in c.bundle.ancestors().chain(home.ancestors()).take_while(|p| p.starts_with("/run/")) {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut user = User { c, home, cgroup: None };
        user.call(&["spec", "--rootless", "--bundle", &user.bundle()]).ok();
        let config = fs::read_to_string(user.c.bundle.join("config.json")).unwrap();
        user.c.config = serde_json::from_str(&config).unwrap();
        user.c.config["process"]["terminal"] = json!(false);
        user
    }

    pub fn bundle(&self) -> String {
        self.c.bundle.to_str().unwrap().into()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.program(self.home.join(runtime_name(self.c.test)), args)
    }

    /// A program that the user runs.
    pub fn program(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Command {
        let enter =
            "[ -z \"$CGROUP\" ] || echo $$ > \"$CGROUP/cgroup.procs\"; unset CGROUP; exec setpriv \"$@\"";
        let mut command = Command::new("sh");
        command.args([
            "-c",
            enter,
            "sh",
            "--reuid=1000",
            "--regid=1000",
            "--clear-groups",
            "--inh-caps=-all",
        ]);
        command.arg(program).args(args);
        command.env("XDG_RUNTIME_DIR", self.home.join("run")).env("SECRET", "of the caller");
        command.env("CGROUP", self.cgroup.as_deref().unwrap_or(Path::new("")));
        command
    }

    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Output {
        self.c.test.finish(self.command(args))
    }

    /// A command that reads the configuration.
    #[track_caller]
    pub fn make(&self, args: &[&str]) -> Output {
        self.c.write();
        self.call(&[args, &["--bundle", &self.bundle(), &self.c.id]].concat())
    }

    #[track_caller]
    pub fn run(&self) -> Output {
        self.make(&["run"])
    }

    #[track_caller]
    pub fn on(&self, args: &[&str]) -> Output {
        self.call(&[args, &[&self.c.id]].concat())
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.on(&["state"]).ok().json()["status"].as_str().unwrap().into()
    }

    /// Gives the user ids in `/etc/subuid`, until [`uncover_ids`].
    pub fn own_ids(&self, count: u32) {
        let name = "user:x:1000:1000::/:/bin/sh\n";
        let ids = format!("user:{MORE}:{count}\n");
        for (file, text) in [("passwd", name), ("subuid", &ids), ("subgid", &ids)] {
            cover(self.c.test, &format!("/etc/{file}"), text);
        }
    }

    /// Delegates the test's own cgroup v2 to the user.
    ///
    /// The user's programs then run in the returned cgroup below it.
    pub fn delegate(&mut self) -> PathBuf {
        let own = self.c.test.hierarchy("pids").unwrap().mount.join(self.c.test.token());
        fs::create_dir(own.join("caller")).unwrap();
        for file in ["", "cgroup.procs", "cgroup.subtree_control", "caller", "caller/cgroup.procs"] {
            lchown(own.join(file), Some(USER), Some(USER)).unwrap();
        }
        self.cgroup = Some(own.join("caller"));
        own.join("caller")
    }

    /// Maps the user's id to root, and [`MORE`] to the others, by newuidmap.
    pub fn map_more(&mut self) {
        self.own_ids(1000);
        for key in ["uidMappings", "gidMappings"] {
            self.c.config["linux"][key] = json!([
                {"containerID": 0, "hostID": USER, "size": 1},
                {"containerID": 1, "hostID": MORE, "size": 1000}
            ]);
        }
    }
}

pub fn runtime_name(t: &Test) -> &str {
    t.runtime_path().file_name().unwrap().to_str().unwrap()
}

/// Gives a tree to the user.
pub fn give(path: &Path) {
    let meta = fs::symlink_metadata(path).unwrap();
    lchown(path, Some(USER), Some(USER)).unwrap();
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

/// Covers a file of the host in the mount namespace of the test.
pub fn cover(t: &Test, path: &str, text: &str) {
    let file = t.path("cover");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let done = Command::new("mount").arg("--bind").arg(&file).arg(path).status().unwrap();
    assert!(done.success(), "{path}");
}

pub fn uncover(paths: &[&str]) {
    for path in paths {
        assert!(Command::new("umount").arg(path).status().unwrap().success(), "{path}");
    }
    // umount(8) has made this directory.
    let _ = fs::remove_dir_all("/run/mount");
}

pub fn uncover_ids() {
    uncover(&["/etc/passwd", "/etc/subuid", "/etc/subgid"]);
}
