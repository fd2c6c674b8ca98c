//! Containers and volumes for the tests of idmapped mounts.

use crate::common::{Container, Output, Test, eventually};
use embrun::sys::mount_api::{MOUNT_ATTR_IDMAP, MountAttr, clone_tree, has_mount_setattr, mount_setattr};
use serde_json::{Value, json};
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The first id on the host of a container with a user namespace.
pub const BASE: u32 = 100_000;

pub fn map(inside: u32, outside: u32, size: u32) -> Value {
    json!([{"containerID": inside, "hostID": outside, "size": size}])
}

/// A container in a user namespace.
///
/// Its root file system still belongs to the host's root.
pub fn in_user_namespace<'t>(t: &'t Test) -> Container<'t> {
    let mut c = t.container();
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for key in ["uidMappings", "gidMappings"] {
        c.config["linux"][key] = map(0, BASE, 65536);
    }
    // The mount points are in an image.
    fs::create_dir_all(c.rootfs.join("volume")).unwrap();
    for dir in ["other", "more", "tmp1", "shared"] {
        fs::create_dir_all(c.rootfs.join(dir)).unwrap();
    }
    fs::write(c.rootfs.join("file"), "").unwrap();
    c
}

/// A directory in the bundle with a file of the ids 3 and 4.
pub fn volume(c: &Container<'_>) -> PathBuf {
    let dir = c.bundle.join("volume");
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(dir.join("old"), "old").unwrap();
    chown(dir.join("old"), Some(3), Some(4)).unwrap();
    dir
}

/// Adds a mount with maps.
pub fn mapped(c: &mut Container<'_>, at: &str, source: &Path, options: &[&str], uids: Value, gids: Value) {
    c.mount(at, "none", source.to_str().unwrap(), options);
    let last = c.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    last["uidMappings"] = uids;
    last["gidMappings"] = gids;
}

pub fn owner(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

/// A process in a user namespace with one map.
fn carrier() -> Child {
    let mut child = Command::new("unshare").args(["-U", "sleep", "60"]).spawn().unwrap();
    let pid = child.id();
    eventually("unshare has made the namespace", || {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "sleep")
    });
    for file in ["uid_map", "gid_map"] {
        if let Err(e) = fs::write(format!("/proc/{pid}/{file}"), "0 1000 10") {
            child.kill().unwrap();
            panic!("{e}");
        }
    }
    child
}

/// Whether a kernel with idmapped mounts can idmap this file system.
pub fn can_map(path: &Path) -> bool {
    let mut child = carrier();
    let users = fs::File::open(format!("/proc/{}/ns/user", child.id())).unwrap();
    let here = fs::File::open("/").unwrap();
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let attributes =
        MountAttr { set: MOUNT_ATTR_IDMAP, userns_fd: users.as_raw_fd() as u64, ..MountAttr::default() };
    let done = clone_tree(here.as_fd(), &path, false)
        .and_then(|tree| mount_setattr(tree.as_fd(), false, &attributes));
    child.kill().unwrap();
    child.wait().unwrap();
    done.is_ok()
}

/// Runs it; `None` if this kernel cannot, which the error must say.
#[track_caller]
pub fn run(c: &Container<'_>, source: &Path) -> Option<Output> {
    let out = c.run();
    if !has_mount_setattr() {
        out.exits(1).fails(&["needs Linux 5.12"]);
        return None;
    }
    if !can_map(source) {
        out.exits(1).fails(&["cannot idmap a file system of type"]);
        return None;
    }
    Some(out.ok())
}
