//! Device nodes and cgroup mounts (config-linux.md "Devices", "Default Devices").

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use embrun::plan::cgroup_view::{CgroupSource, CgroupView, V1Hierarchy};
use embrun::plan::inside_path::InsidePath;
use embrun::plan::mounts::{self, MountFacts};
use embrun::rootfs::Rootfs;
use embrun::rootfs::resolve::Links;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use super::assembly::{built, facts, mounted, on_each_kernel, spec};
use super::mounts::{entry, flags_at, one, refused};
use super::own_mounts::c;

#[test]
fn devices_have_exact_modes_and_owners() {
    on_each_kernel(|bundle, ways| {
        nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
        let linux = r#","devices":[
            {"path":"/dev/disk","type":"b","major":7,"minor":300,"fileMode":432,"uid":1000,"gid":6},
            {"path":"/dev/sub/fifo","type":"p","fileMode":511},
            {"path":"/dev/tty","type":"c","major":5,"minor":0,"fileMode":420,"gid":5}]"#;
        built(bundle, &spec("", linux), ways).unwrap();
        let dev = bundle.join("rootfs/dev");
        for (path, mode, uid, gid, number) in [
            ("disk", 0o60660, 1000, 6, libc::makedev(7, 300)),
            ("sub/fifo", 0o10777, 0, 0, 0),
            ("tty", 0o20644, 0, 5, libc::makedev(5, 0)),
            ("null", 0o20666, 0, 0, libc::makedev(1, 3)),
        ] {
            let is = fs::metadata(dev.join(path)).unwrap();
            assert_eq!((is.mode(), is.uid(), is.gid(), is.rdev()), (mode, uid, gid, number), "{path}");
        }
        // The caller's umask is restored.
        assert_eq!(nix::sys::stat::umask(Mode::empty()).bits(), 0o077);
        // A setgid directory passes its group to new files, but not to devices.
        let other = bundle.join("rootfs/other");
        fs::create_dir(&other).unwrap();
        chown(&other, None, Some(77)).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o2755)).unwrap();
        let linux = r#","devices":[{"path":"/other/d","type":"c","major":1,"minor":3}]"#;
        built(bundle, &spec("", linux), ways).unwrap();
        assert_eq!(fs::metadata(other.join("d")).unwrap().gid(), 0);
    });
}

#[test]
fn created_files_have_exact_modes_under_any_umask() {
    on_each_kernel(|bundle, ways| {
        fs::create_dir_all(bundle.join("rootfs/copied/dir")).unwrap();
        nix::sys::stat::umask(Mode::from_bits_truncate(0o777));
        let more = format!(
            r#","mounts":[{},{},{},{}]"#,
            entry("/a/b/tmpfs", "tmpfs", "t", ""),
            entry("/c/d/dir", "none", "outside", "bind"),
            entry("/e/f/file", "none", "/dev/null", "bind"),
            entry("/copied", "tmpfs", "t", "tmpcopyup")
        );
        let mut rootfs = built(bundle, &spec(&more, ""), ways).unwrap();
        let pty = nix::pty::openpty(None, None).unwrap();
        rootfs.console(pty.slave.as_fd()).unwrap();
        let cwd = InsidePath::new("/made/work").unwrap();
        rootfs.root().mkdir_all(&cwd, Links::Follow, Mode::from_bits_truncate(0o755)).unwrap();
        let at = bundle.join("rootfs");
        for mounted in ["a/b/tmpfs", "c/d/dir", "e/f/file", "dev/console"] {
            umount2(&at.join(mounted), MntFlags::MNT_DETACH).unwrap();
        }
        let mode = |path: &str| fs::metadata(at.join(path)).unwrap().mode();
        for path in
            ["a", "a/b", "a/b/tmpfs", "c", "c/d", "c/d/dir", "e", "e/f", "copied/dir", "made", "made/work"]
        {
            assert_eq!(mode(path), 0o40755, "{path}");
        }
        assert_eq!((mode("e/f/file"), mode("dev/console")), (0o100644, 0o100644));
        // The caller's umask is restored.
        assert_eq!(nix::sys::stat::umask(Mode::empty()).bits(), 0o777);
    });
}

#[test]
fn host_devices_are_bound_without_the_right_to_mknod() {
    on_each_kernel(|bundle, ways| {
        caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_MKNOD).unwrap();
        built(bundle, &spec("", ""), ways).unwrap();
        let null = bundle.join("rootfs/dev/null");
        assert_eq!(fs::metadata(&null).unwrap().rdev(), libc::makedev(1, 3));
        assert!(mounted(null.to_str().unwrap()).is_some());
        umount2(&null, MntFlags::MNT_DETACH).unwrap();
        assert!(fs::metadata(&null).unwrap().is_file());
        // A node of the host with other numbers than its name says is not bound.
        let linux = r#","devices":[{"path":"/dev/zero","type":"c","major":1,"minor":9}]"#;
        fs::remove_dir_all(bundle.join("rootfs/dev")).unwrap_err();
        let e = refused(built(bundle, &spec(&one("/dev", "tmpfs", "dev", ""), linux), ways));
        assert_eq!(
            e,
            "device /dev/zero: mknod is not permitted, and the host's node: another device is in its place"
        );
    });
}

/// The hierarchies of this machine with this process's cgroups.
fn cgroups(own_namespace: bool) -> CgroupView {
    let layout = embrun::cgroup::place::layout::Layout::discover().unwrap();
    let own = |hierarchy: &embrun::cgroup::place::layout::MountedHierarchy| {
        let own = format!("{}{}", hierarchy.mount, hierarchy.own.trim_end_matches('/'));
        CgroupSource { own, otherwise: None }
    };
    let v1: Vec<V1Hierarchy> = layout
        .hierarchies
        .iter()
        .filter(|t| !t.is_v2())
        .map(|t| V1Hierarchy {
            directory: Path::new(&t.mount).file_name().unwrap().to_str().unwrap().to_owned(),
            controllers: t.controllers.clone(),
            source: own(t),
        })
        .collect();
    CgroupView { v1, v2: layout.v2().map(own), own_namespace }
}

#[test]
fn cgroup_mounts_show_every_hierarchy_and_ro_applies_to_all() {
    let view = cgroups(false);
    if view.v1.is_empty() && view.v2.is_none() {
        panic!("this machine has no cgroups mounted");
    }
    for own_namespace in [false, true] {
        on_each_kernel(move |bundle, ways| {
            // The view of the host, taken before the change of namespaces.
            let view = cgroups(own_namespace);
            if own_namespace {
                unshare(CloneFlags::CLONE_NEWCGROUP).unwrap();
            }
            let facts = |cgroup| MountFacts { cgroup, ..facts(bundle) };
            let step = |options: &str, facts: &MountFacts| {
                mounts::compile(&spec(&one("/sys/fs/cgroup", "cgroup", "cgroup", options), ""), facts)
                    .unwrap()
            };
            let target = bundle.join("rootfs/sys/fs/cgroup");
            let mut rootfs = Rootfs::prepare(&c(&bundle.join("rootfs")), None, ways).unwrap();
            if !view.v1.is_empty() {
                rootfs.mount(&step("ro", &facts(view.clone()))[0]).unwrap();
                assert_eq!(flags_at(&target), "ro,nosuid,nodev,noexec,relatime");
                for hierarchy in &view.v1 {
                    let place = target.join(&hierarchy.directory);
                    assert_eq!(flags_at(&place), "ro,nosuid,nodev,noexec,relatime", "{place:?}");
                    let same = |file: &str| {
                        let of = |d: &Path| fs::metadata(d.join(file)).map(|m| m.ino()).unwrap();
                        of(&place) == of(Path::new(&hierarchy.source.own))
                    };
                    assert!(same("cgroup.procs"), "{place:?}");
                    for name in hierarchy.controllers.iter().filter(|n| !n.starts_with("name=")) {
                        assert!(target.join(name).join("cgroup.procs").exists(), "{name}");
                    }
                }
                rootfs.mount(&step("nosuid", &facts(view.clone()))[0]).unwrap();
                assert_eq!(flags_at(&target.join(&view.v1[0].directory)), "rw,nosuid,nodev,noexec,relatime");
            }
            let only_v2 = CgroupView { v1: Vec::new(), ..view };
            if only_v2.v2.is_some() {
                rootfs.mount(&step("ro nosuid", &facts(only_v2.clone()))[0]).unwrap();
                assert_eq!(
                    mounted(target.to_str().unwrap()).unwrap(),
                    ("ro,nosuid,relatime".into(), "cgroup2".into())
                );
            }
        });
    }
}
