//! Hostile root file systems: every operation stays inside the root or fails.
//!
//! The files beside the root stay unchanged. Each test covers a vulnerability that some runtime had.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use embrun::bundle::spec::Spec;
use embrun::error::Result;
use embrun::plan::inside_path::InsidePath;
use embrun::plan::mounts;
use embrun::plan::root_step::MaskedPaths;
use embrun::rootfs::procfs::ProcFs;
use embrun::rootfs::resolve::Resolver;
use embrun::rootfs::root::RootDir;
use embrun::rootfs::{Rootfs, home};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, mknod};

use super::assembly::{built, facts, on_each_kernel, spec};
use super::exchange::exchange;
use super::own_mounts::{Stop, c, rounds, with_scratch};

/// Everything below a directory: paths, types, modes, owners, sizes.
fn inventory(directory: &Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .flat_map(|entry| {
            let entry = entry.unwrap();
            let m = entry.metadata().unwrap();
            let line = format!("{:?} {:o} {}:{} {}", entry.path(), m.mode(), m.uid(), m.gid(), m.len());
            let below = if m.is_dir() { inventory(&entry.path()) } else { Vec::new() };
            std::iter::once(line).chain(below)
        })
        .collect();
    all.sort();
    all
}

/// Plants a trap, assembles the root and checks that nothing outside changed.
///
/// It returns the result of the assembly.
pub fn attack(
    bundle: &Path,
    spec: &Spec,
    ways: embrun::rootfs::Ways,
    plant: impl FnOnce(&Path, &Path),
) -> Result<Rootfs> {
    let (rootfs, outside) = (bundle.join("rootfs"), bundle.join("outside"));
    plant(&rootfs, &outside);
    fs::write(outside.join("ptmx"), "marker").unwrap();
    let before = inventory(&outside);
    let done = built(bundle, spec, ways);
    assert_eq!(inventory(&outside), before, "something outside was changed");
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let hit = table.lines().find(|l| l.split(' ').nth(4).is_some_and(|p| Path::new(p).starts_with(&outside)));
    assert_eq!(hit, None, "something is mounted outside");
    done
}

pub fn says(result: Result<Rootfs>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn mount_destination_symlinks_stay_inside_the_root() {
    on_each_kernel(|bundle, ways| {
        let rootfs = bundle.join("rootfs");
        let outside = bundle.join("outside");
        // The links lead to the root's own directories, as seen from the root.
        let inside_twin = rootfs.join(outside.strip_prefix("/").unwrap());
        fs::create_dir_all(inside_twin.join("sub")).unwrap();
        fs::create_dir(outside.join("sub")).unwrap();
        symlink(&outside, rootfs.join("abs")).unwrap();
        symlink("../../../../../../../../..", rootfs.join("up")).unwrap();
        for destination in [
            "/abs/sub".to_owned(),
            format!("/up{}/sub", outside.display()),
            format!("/../..{}/sub", outside.display()),
        ] {
            let more =
                format!(r#","mounts":[{{"destination":"{destination}","type":"tmpfs","source":"x"}}]"#);
            attack(bundle, &spec(&more, ""), ways, |_, _| {}).unwrap();
            fs::write(inside_twin.join("sub/made"), "").unwrap();
            assert!(!outside.join("sub/made").exists());
        }
    });
}

#[test]
fn symlink_as_dev_is_refused() {
    on_each_kernel(|bundle, ways| {
        for text in ["../outside", "/outside", "../../outside"] {
            // The marker is named ptmx because a runtime that follows the link would delete it.
            let link = |rootfs: &Path, _: &Path| symlink(text, rootfs.join("dev")).unwrap();
            assert!(says(attack(bundle, &spec("", ""), ways, link)).contains("a symbolic link"));
            assert!(!bundle.join("rootfs/outside").exists());
            fs::remove_file(bundle.join("rootfs/dev")).unwrap();
        }
        fs::write(bundle.join("rootfs/dev"), "").unwrap();
        assert!(says(attack(bundle, &spec("", ""), ways, |_, _| {})).contains("ENOTDIR"));
    });
}

#[test]
fn files_in_place_of_devices_are_not_followed_or_written() {
    on_each_kernel(|bundle, ways| {
        let dev = bundle.join("rootfs/dev");
        fs::create_dir(&dev).unwrap();
        let victim = bundle.join("outside/victim");
        type Plant = fn(&Path, &Path);
        let plants: [(Plant, &str); 5] = [
            (|node, victim| symlink(victim, node).unwrap(), "a symbolic link"),
            (|node, victim| symlink(victim.with_file_name("new"), node).unwrap(), "a symbolic link"),
            (|node, _| fs::write(node, "").unwrap(), "a regular file"),
            (|node, _| fs::create_dir(node).unwrap(), "a directory"),
            (
                |node, _| mknod(node, SFlag::S_IFCHR, Mode::S_IRUSR, libc::makedev(1, 5)).unwrap(),
                "another device",
            ),
        ];
        for (plant, what) in plants {
            let result = attack(bundle, &spec("", ""), ways, |rootfs, outside| {
                fs::write(outside.join("victim"), "secret").unwrap();
                plant(&rootfs.join("dev/null"), &victim);
            });
            let refused = says(result);
            assert!(refused.contains(&format!("device /dev/null: {what} is in its place")), "{refused}");
            let _ = fs::remove_file(dev.join("null")).or_else(|_| fs::remove_dir(dev.join("null")));
        }
        // A correct node is used as it is. Existing links stay, but ptmx becomes the container's own.
        let mode = Mode::from_bits_truncate(0o600);
        mknod(&dev.join("null"), SFlag::S_IFCHR, mode, libc::makedev(1, 3)).unwrap();
        symlink("/elsewhere", dev.join("stdin")).unwrap();
        symlink(&victim, dev.join("ptmx")).unwrap();
        attack(bundle, &spec("", ""), ways, |_, _| {}).unwrap();
        assert_eq!(fs::metadata(dev.join("null")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_link(dev.join("stdin")).unwrap(), Path::new("/elsewhere"));
        assert_eq!(fs::read_link(dev.join("ptmx")).unwrap(), Path::new("pts/ptmx"));
    });
}

#[test]
fn console_is_bound_only_over_a_file_or_nothing() {
    on_each_kernel(|bundle, ways| {
        let dev = bundle.join("rootfs/dev");
        fs::create_dir(&dev).unwrap();
        let console = dev.join("console");
        let pty = nix::pty::openpty(None, None).unwrap();
        type Plant = fn(&Path, &Path);
        let plants: [(Plant, Option<&str>); 6] = [
            (|_, _| {}, None),
            (|at, _| fs::write(at, "").unwrap(), None),
            (
                |at, out| symlink(out.join("new"), at).unwrap(),
                Some("is a symbolic link in the root file system"),
            ),
            (
                |at, out| symlink(out.join("ptmx"), at).unwrap(),
                Some("is a symbolic link in the root file system"),
            ),
            (|at, _| fs::create_dir(at).unwrap(), Some("is a directory in the root file system")),
            (
                |at, _| nix::unistd::mkfifo(at, Mode::S_IRUSR).unwrap(),
                Some("is a FIFO in the root file system"),
            ),
        ];
        for (plant, refused) in plants {
            // The image's own terminal nodes are not used.
            fs::create_dir_all(dev.join("pts")).unwrap();
            for i in 0..8 {
                let _ = symlink(bundle.join("outside/ptmx"), dev.join(format!("pts/{i}")));
            }
            let mut rootfs =
                attack(bundle, &spec("", ""), ways, |_, outside| plant(&console, outside)).unwrap();
            let before = inventory(&bundle.join("outside"));
            let done = rootfs.console(std::os::fd::AsFd::as_fd(&pty.slave));
            assert_eq!(inventory(&bundle.join("outside")), before);
            match refused {
                None => {
                    done.unwrap();
                    let (is, slave) =
                        (fs::metadata(&console).unwrap(), nix::sys::stat::fstat(&pty.slave).unwrap());
                    assert!(is.file_type().is_char_device() && is.rdev() == slave.st_rdev);
                    nix::mount::umount(&console).unwrap();
                }
                Some(what) => assert_eq!(done.unwrap_err().to_string(), format!("/dev/console: {what}")),
            }
            let _ = fs::remove_file(&console).or_else(|_| fs::remove_dir(&console));
        }
    });
}

#[test]
fn masked_paths_do_not_rely_on_the_image() {
    on_each_kernel(|bundle, ways| {
        let rootfs = bundle.join("rootfs");
        fs::create_dir_all(rootfs.join("dev")).unwrap();
        fs::create_dir_all(rootfs.join("secrets")).unwrap();
        fs::write(rootfs.join("secrets/key"), "key").unwrap();
        fs::write(rootfs.join("key"), "key").unwrap();
        symlink("../outside/ptmx", rootfs.join("leads_out")).unwrap();
        symlink("/key", rootfs.join("leads_in")).unwrap();
        // A runtime that trusts the image would bind the image's null device.
        let linux = r#","maskedPaths":["/leads_in","/leads_out","/secrets","/none","/key/none"],"readonlyPaths":["/dev"]"#;
        let bind = r#","mounts":[{"destination":"/dev","source":"rootfs/dev","options":["bind"]}]"#;
        attack(bundle, &spec(bind, linux), ways, |rootfs, outside| {
            symlink(outside.join("ptmx"), rootfs.join("dev/null")).unwrap();
        })
        .unwrap();
        assert!(fs::metadata(rootfs.join("key")).unwrap().file_type().is_char_device());
        assert_eq!(fs::read(rootfs.join("key")).unwrap(), b"");
        assert_eq!(fs::read_dir(rootfs.join("secrets")).unwrap().count(), 0);
        assert_eq!(fs::write(rootfs.join("secrets/x"), "").unwrap_err().raw_os_error(), Some(libc::EROFS));
        assert_eq!(fs::read(bundle.join("outside/ptmx")).unwrap(), b"marker");
        assert_eq!(fs::write(rootfs.join("dev/x"), "").unwrap_err().raw_os_error(), Some(libc::EROFS));
    });
}

#[test]
fn directory_swapped_during_mounts_does_not_escape() {
    on_each_kernel(|bundle, ways| {
        let shared = bundle.join("rootfs/shared");
        fs::create_dir_all(shared.join("dir/sub")).unwrap();
        fs::create_dir(bundle.join("outside/sub")).unwrap();
        fs::write(bundle.join("outside/host-secret"), "").unwrap();
        symlink("../../outside", shared.join("link")).unwrap();
        let stop = Stop::default();
        std::thread::scope(|threads| {
            let end = stop.at_the_end();
            let racer = threads.spawn(|| {
                let dir = open(&shared, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
                while !stop.told() {
                    // The exchange fails while something is mounted there.
                    let _ = exchange(&dir, "dir", "link");
                }
            });
            let linux = r#","maskedPaths":["/shared/dir/sub"],"readonlyPaths":["/shared/dir"]"#;
            let more = r#","mounts":[{"destination":"/shared/dir/sub","type":"tmpfs","source":"x"},
                {"destination":"/shared/dir/sub","source":"/proc/version","options":["bind","ro"]},
                {"destination":"/shared/dir/file","source":"/proc/version","options":["bind","ro"]},
                {"destination":"/shared/dir/sub/deep","source":"/sys/kernel","options":["rbind","rro"]}]"#;
            let spec = spec(more, linux);
            let steps = mounts::compile(&spec, &facts(bundle)).unwrap();
            let masked = [InsidePath::new("/shared/dir/sub").unwrap()];
            let frozen = [InsidePath::new("/shared/dir").unwrap()];
            let mut rootfs = Rootfs::prepare(&c(&bundle.join("rootfs")), None, ways).unwrap();
            let mut done = 0;
            for _ in 0..rounds(150) {
                for step in steps {
                    done += u32::from(rootfs.mount(step).is_ok());
                }
                done += u32::from(rootfs.readonly(&frozen).is_ok());
                done += u32::from(rootfs.mask(&masked, MaskedPaths::NOTHING).is_ok());
                for _ in 0..8 {
                    let flags = nix::mount::MntFlags::MNT_DETACH;
                    let _ = nix::mount::umount2(&shared.join("dir/sub"), flags);
                    let _ = nix::mount::umount2(&shared.join("dir"), flags);
                    let _ = nix::mount::umount2(&shared.join("link"), flags);
                }
                let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
                let outside = bundle.join("outside");
                let hit = table
                    .lines()
                    .find(|l| l.split(' ').nth(4).is_some_and(|p| Path::new(p).starts_with(&outside)));
                assert_eq!(hit, None, "something is mounted outside");
            }
            drop(end);
            racer.join().unwrap();
            eprintln!("{done} acts met a directory");
            assert!(done > 0);
        });
        assert_eq!(inventory(&bundle.join("outside")).len(), 2);
    });
}

#[test]
fn home_directory_lookup_does_not_hang() {
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        with_scratch(move |scratch| {
            let rootfs = scratch.join("rootfs");
            fs::create_dir(rootfs.join("etc")).unwrap();
            let passwd = rootfs.join("etc/passwd");
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let root = RootDir::with(open(&rootfs, flags, Mode::empty()).unwrap(), resolver);
            let proc = ProcFs::open().unwrap();
            let line = "app:x:1000:1000::/srv/app:/bin/sh\n";
            type Plant = fn(&Path, &str);
            // A FIFO with a writer that supplies the right line is still not a regular file.
            let told = rootfs.join("fifo");
            nix::unistd::mkfifo(&told, Mode::S_IRWXU).unwrap();
            let mut writer = fs::OpenOptions::new().read(true).write(true).open(&told).unwrap();
            std::io::Write::write_all(&mut writer, line.as_bytes()).unwrap();
            let plants: [(Plant, &str); 10] = [
                (|_, _| {}, "/"),
                (|at, line| fs::write(at, line).unwrap(), "/srv/app"),
                (|at, _| nix::unistd::mkfifo(at, Mode::S_IRUSR).unwrap(), "/"),
                (|at, _| mknod(at, SFlag::S_IFCHR, Mode::S_IRUSR, libc::makedev(1, 5)).unwrap(), "/"),
                (|at, _| symlink("/dev/zero", at).unwrap(), "/"),
                (|at, _| symlink("../../outside/passwd", at).unwrap(), "/"),
                (|at, _| symlink("passwd", at).unwrap(), "/"),
                (|at, _| symlink("/fifo", at).unwrap(), "/"),
                (|at, _| fs::create_dir(at).unwrap(), "/"),
                (
                    |at, line| {
                        fs::write(at, line).unwrap();
                        fs::OpenOptions::new().write(true).open(at).unwrap().set_len(200 << 20).unwrap();
                    },
                    "/srv/app",
                ),
            ];
            fs::write(scratch.join("outside/passwd"), line).unwrap();
            for (i, (plant, wanted)) in plants.into_iter().enumerate() {
                plant(&passwd, line);
                let begun = std::time::Instant::now();
                assert_eq!(home(&root, &proc, 1000), wanted, "case {i}");
                assert!(begun.elapsed().as_millis() < 1000, "case {i} took too long");
                let _ = fs::remove_file(&passwd).or_else(|_| fs::remove_dir(&passwd));
            }
        });
    }
}

#[test]
fn files_and_directories_are_not_mounted_over_each_other() {
    on_each_kernel(|bundle, ways| {
        fs::create_dir(bundle.join("rootfs/dir")).unwrap();
        fs::write(bundle.join("rootfs/file"), "").unwrap();
        fs::create_dir(bundle.join("source")).unwrap();
        fs::set_permissions(bundle.join("source"), fs::Permissions::from_mode(0o700)).unwrap();
        let bind = |source: &str, destination: &str| {
            let more = format!(
                r#","mounts":[{{"destination":"{destination}","source":"{source}","options":["bind"]}}]"#
            );
            attack(bundle, &spec(&more, ""), ways, |_, _| {})
        };
        assert!(says(bind("source", "/file")).ends_with("not a directory (ENOTDIR)"));
        assert!(
            says(bind("config.json", "/file")).contains("config.json: no such file or directory (ENOENT)")
        );
        assert!(says(bind("rootfs/file", "/dir")).ends_with("is a directory (EISDIR)"));
    });
}
