//! Hostile roots: `/proc` and `/sys` are the kernel's, or the root is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use embrun::error::Errno;
use embrun::rootfs::procfs::ProcFs;
use embrun::rootfs::resolve::Resolver;
use nix::mount::{MsFlags, mount};

use super::assembly::{assemble, on_each_kernel, spec};
use super::hostile::{attack, says};
use super::own_mounts::with_scratch;

#[test]
fn proc_and_sys_must_be_directories() {
    on_each_kernel(|bundle, ways| {
        for name in ["proc", "sys"] {
            let mount = format!(r#","mounts":[{{"destination":"/{name}","type":"{name}","source":"x"}}]"#)
                .replace(r#""type":"sys""#, r#""type":"sysfs""#);
            let target = bundle.join("rootfs").join(name);
            for text in ["bad", "/bad", "../outside"] {
                let refused = says(attack(bundle, &spec(&mount, ""), ways, |rootfs, _| {
                    let _ = fs::create_dir(rootfs.join("bad"));
                    symlink(text, rootfs.join(name)).unwrap();
                }));
                assert!(refused.contains("symbolic link"), "{refused}");
                fs::remove_file(&target).unwrap();
            }
            let refused =
                says(attack(bundle, &spec(&mount, ""), ways, |_, _| fs::write(&target, "").unwrap()));
            assert!(refused.contains("ENOTDIR"), "{refused}");
            fs::remove_file(&target).unwrap();
        }
        // A bind mount of the host's directory does not help the attacker.
        let bind = r#","mounts":[{"destination":"/proc","source":"/proc","options":["rbind"]}]"#;
        let refused = says(attack(bundle, &spec(bind, ""), ways, |rootfs, _| {
            symlink("bad", rootfs.join("proc")).unwrap();
        }));
        assert!(refused.contains("ELOOP"), "{refused}");
    });
}

#[test]
fn only_a_procfs_is_mounted_at_proc() {
    on_each_kernel(|bundle, ways| {
        for (source, fine) in [("/proc", true), ("/proc/sys", false), ("/tmp", false)] {
            let more = format!(
                r#","mounts":[{{"destination":"/proc","source":"{source}","options":["rbind","ro"]}}]"#
            );
            let result = attack(bundle, &spec(&more, ""), ways, |_, _| {});
            assert_eq!(result.is_ok(), fine, "{source}");
        }
    });
}

#[test]
fn mounts_through_symlinks_into_proc_are_refused() {
    on_each_kernel(|bundle, ways| {
        symlink("/proc/self", bundle.join("rootfs/lnk")).unwrap();
        symlink("/proc", bundle.join("rootfs/procs")).unwrap();
        symlink("../proc/sys", bundle.join("rootfs/lnk2")).unwrap();
        for destination in ["/lnk/attr", "/lnk2/kernel", "/procs", "/procs/sysvipc"] {
            for mount in [
                format!(r#"{{"destination":"{destination}","type":"tmpfs","source":"x"}}"#),
                format!(r#"{{"destination":"{destination}","source":"/tmp","options":["bind"]}}"#),
            ] {
                let more = format!(r#","mounts":[{{"destination":"/proc","type":"proc"}},{mount}]"#);
                let refused = says(attack(bundle, &spec(&more, ""), ways, |_, _| {}));
                assert!(refused.contains("leads into /proc"), "{refused}");
            }
        }
        // Mounting over files that engines emulate is allowed, by their own path or through a symlink.
        fs::write(bundle.join("uptime"), "1 1").unwrap();
        symlink("/proc/uptime", bundle.join("rootfs/up")).unwrap();
        for destination in ["/proc/uptime", "/up"] {
            let more = format!(
                r#","mounts":[{{"destination":"/proc","type":"proc"}},
                    {{"destination":"{destination}","source":"uptime","options":["bind"]}}]"#
            );
            attack(bundle, &spec(&more, ""), ways, |_, _| {}).unwrap();
            assert_eq!(fs::read(bundle.join("rootfs/proc/uptime")).unwrap(), b"1 1");
        }
    });
}

#[test]
fn read_only_paths_work_with_a_proc_in_the_image() {
    on_each_kernel(|bundle, ways| {
        let fds = bundle.join("rootfs/proc/self/fd");
        fs::create_dir_all(&fds).unwrap();
        fs::create_dir(bundle.join("rootfs/frozen")).unwrap();
        fs::write(bundle.join("rootfs/secret"), "x").unwrap();
        for i in 0..40 {
            symlink("/tmp", fds.join(i.to_string())).unwrap();
        }
        let linux = r#","readonlyPaths":["/frozen"],"maskedPaths":["/secret"]"#;
        let mut spec = spec(r#","mounts":[{"destination":"/tmp","type":"tmpfs"}]"#, linux);
        spec.root.readonly = true;
        assemble(bundle, &spec, ways).unwrap();
        for path in ["/x", "/frozen/x"] {
            assert_eq!(fs::write(path, "").unwrap_err().raw_os_error(), Some(libc::EROFS), "{path}");
        }
        assert_eq!(fs::read("/secret").unwrap(), b"");
        fs::write("/tmp/x", "").unwrap();
    });
}

#[test]
fn writes_to_procfs_are_not_redirected() {
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        with_scratch(move |scratch| {
            let proc = ProcFs::with(resolver).unwrap();
            proc.write_thread("comm", b"renamed").unwrap();
            assert_eq!(fs::read_to_string("/proc/thread-self/comm").unwrap(), "renamed\n");
            proc.sysctl(
                "kernel/domainname",
                fs::read_to_string("/proc/sys/kernel/domainname").unwrap().trim(),
            )
            .unwrap();

            // Mount a file system over a directory of procfs, a file over a file, and a part of the same procfs
            // over another part.
            let thread = fs::read_link("/proc/thread-self").unwrap();
            let thread = Path::new("/proc").join(thread);
            fs::write(scratch.join("outside/comm"), "").unwrap();
            let bind = MsFlags::MS_BIND;
            mount(
                Some(&scratch.join("outside/comm")),
                &thread.join("comm"),
                None::<&str>,
                bind,
                None::<&str>,
            )
            .unwrap();
            let refused = proc.write_thread("comm", b"x").unwrap_err();
            assert_eq!(refused.errno(), Some(Errno::EXDEV), "{refused}");
            assert_eq!(fs::read(scratch.join("outside/comm")).unwrap(), b"");

            mount(
                Some("/proc/sys/kernel/domainname"),
                "/proc/self/oom_score_adj",
                None::<&str>,
                bind,
                None::<&str>,
            )
            .unwrap();
            let refused = proc.write_self("oom_score_adj", b"0").unwrap_err();
            assert_eq!(refused.errno(), Some(Errno::EXDEV), "{refused}");

            mount(Some("tmpfs"), "/proc/sys/net", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            fs::create_dir("/proc/sys/net/core").unwrap();
            fs::write("/proc/sys/net/core/somaxconn", "").unwrap();
            let refused = proc.sysctl("net/core/somaxconn", "1").unwrap_err();
            assert_eq!(refused.errno(), Some(Errno::EXDEV), "{refused}");
            assert_eq!(fs::read("/proc/sys/net/core/somaxconn").unwrap(), b"");

            // A path in text does not lead out either.
            let climbs = proc.write(c"sys/../self/comm", b"x").unwrap_err();
            assert!(matches!(climbs.errno(), Some(Errno::EXDEV | Errno::ELOOP)), "{climbs}");
            assert_eq!(proc.write(c"self/comm", b"x").unwrap_err().errno(), Some(Errno::ELOOP));

            // A file system of another type is not accepted as a procfs.
            mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            assert!(ProcFs::with(resolver).unwrap_err().to_string().contains("is not a procfs"));
        });
    }
}
