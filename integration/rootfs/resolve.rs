//! Paths below a root: one table and random trees over both resolvers, and a race.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use embrun::error::Errno;
use embrun::plan::inside_path::InsidePath;
use embrun::rootfs::resolve::{Links, Resolver};
use embrun::rootfs::root::RootDir;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::exchange::exchange;
use super::own_mounts::{Stop, rounds, with_scratch};

fn root(path: &Path, resolver: Resolver) -> RootDir {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    RootDir::with(open(path, flags, Mode::empty()).unwrap(), resolver)
}

fn on_both(test: impl Fn(&Path, &RootDir) + Send + Copy + 'static) {
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        with_scratch(move |scratch| {
            let root = root(&scratch.join("rootfs"), resolver);
            test(scratch, &root);
            // Without openat2 this would test the walk twice.
            assert_eq!(root.resolver(), resolver, "this test needs openat2");
        });
    }
}

fn claim(path: &str) -> InsidePath {
    InsidePath::new(path).unwrap()
}

/// The file at the end of a path, as (device, inode).
fn found(root: &RootDir, path: &str, links: Links) -> Result<(u64, u64), Errno> {
    let stat = root.resolve(&claim(path), links)?.stat()?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Opens a file without following a symlink at its end.
fn open_path(path: &Path) -> fs::File {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).unwrap().into()
}

fn identity(file: &fs::File) -> (u64, u64) {
    let meta = file.metadata().unwrap();
    (meta.dev(), meta.ino())
}

fn plant(rootfs: &Path) {
    fs::create_dir_all(rootfs.join("a/b/c")).unwrap();
    fs::write(rootfs.join("a/file"), "x").unwrap();
    fs::create_dir(rootfs.join("etc")).unwrap();
    fs::write(rootfs.join("etc/passwd"), "inside").unwrap();
    for (link, text) in [
        ("rel", "a/b"),
        ("abs", "/a/b"),
        ("up", "../../../../../etc"),
        ("a/b/up", "../../../../etc/passwd"),
        ("host", "/etc/passwd"),
        ("to_rel", "rel/c"),
        ("slash", "a/file/"),
        ("dirslash", "a/b/"),
        ("dot", "."),
        ("dots", "a/./b/../../a"),
        ("loop1", "loop2"),
        ("loop2", "loop1"),
        ("self", "self"),
        ("dangling", "nowhere/at/all"),
        ("through_file", "a/file/.."),
        ("out", "/../../outside"),
    ] {
        symlink(text, rootfs.join(link)).unwrap();
    }
    // The kernel follows 40 links and fails with ELOOP at the 41st.
    symlink("a", rootfs.join("chain0")).unwrap();
    for i in 1..41 {
        symlink(format!("chain{}", i - 1), rootfs.join(format!("chain{i}"))).unwrap();
    }
}

/// Paths in the planted root, and the file to which each leads.
const PATHS: &[(&str, Links, Result<&str, Errno>)] = &[
    ("/", Links::Follow, Ok("")),
    ("/a/b/c", Links::Follow, Ok("a/b/c")),
    ("/a/b/c", Links::Never, Ok("a/b/c")),
    ("/rel/c", Links::Follow, Ok("a/b/c")),
    ("/abs/c", Links::Follow, Ok("a/b/c")),
    ("/up/passwd", Links::Follow, Ok("etc/passwd")),
    ("/a/b/up", Links::Follow, Ok("etc/passwd")),
    ("/host", Links::Follow, Ok("etc/passwd")),
    ("/host", Links::NotLast, Ok("host")),
    ("/host", Links::Never, Err(Errno::ELOOP)),
    ("/rel/c", Links::Never, Err(Errno::ELOOP)),
    ("/rel/c", Links::NotLast, Ok("a/b/c")),
    ("/to_rel", Links::Follow, Ok("a/b/c")),
    ("/slash", Links::Follow, Err(Errno::ENOTDIR)),
    ("/dirslash", Links::Follow, Ok("a/b")),
    ("/dirslash", Links::NotLast, Ok("dirslash")),
    ("/dot", Links::Follow, Ok("")),
    ("/dots/b", Links::Follow, Ok("a/b")),
    ("/loop1", Links::Follow, Err(Errno::ELOOP)),
    ("/loop1", Links::NotLast, Ok("loop1")),
    ("/self/x", Links::Follow, Err(Errno::ELOOP)),
    ("/dangling", Links::Follow, Err(Errno::ENOENT)),
    ("/dangling", Links::NotLast, Ok("dangling")),
    ("/through_file", Links::Follow, Err(Errno::ENOTDIR)),
    ("/a/file/x", Links::Follow, Err(Errno::ENOTDIR)),
    ("/a/nothing", Links::Follow, Err(Errno::ENOENT)),
    ("/out", Links::Follow, Err(Errno::ENOENT)),
    ("/chain39", Links::Follow, Ok("a")),
    ("/chain40", Links::Follow, Err(Errno::ELOOP)),
    ("/proc/self/exe", Links::Follow, Err(Errno::ELOOP)),
    ("/proc/self/root/etc", Links::Follow, Err(Errno::ELOOP)),
    ("/proc/self/cwd", Links::Follow, Err(Errno::ELOOP)),
    ("/proc/self/fd/0", Links::Follow, Err(Errno::ELOOP)),
    ("/proc/self/ns/mnt", Links::Follow, Err(Errno::ELOOP)),
    ("/proc/mounts", Links::Follow, Ok("proc/self/mounts")),
];

#[test]
fn symlinks_stay_inside_and_errors_match_the_kernel() {
    on_both(|scratch, root| {
        let rootfs = scratch.join("rootfs");
        plant(&rootfs);
        fs::create_dir(rootfs.join("proc")).unwrap();
        let none = None::<&str>;
        nix::mount::mount(
            Some("proc"),
            &rootfs.join("proc"),
            Some("proc"),
            nix::mount::MsFlags::empty(),
            none,
        )
        .unwrap();
        for (path, links, leads_to) in PATHS {
            // Keep the expected file open: procfs numbers an inode when it instantiates it, so under memory
            // pressure a file that nothing holds may have another number at the next look-up.
            let expected = leads_to.map(|p| open_path(&rootfs.join(p)));
            let wanted = expected.as_ref().map(identity).map_err(|e| *e);
            assert_eq!(found(root, path, *links), wanted, "{path} {links:?}");
        }
    });
}

#[test]
fn directories_are_created_only_inside_the_root() {
    on_both(|scratch, root| {
        let rootfs = scratch.join("rootfs");
        let mode = Mode::from_bits_truncate(0o750);
        fs::create_dir_all(rootfs.join("var/real")).unwrap();
        symlink(scratch.join("outside"), rootfs.join("escape")).unwrap();
        symlink("/var/real", rootfs.join("var/link")).unwrap();
        fs::write(rootfs.join("file"), "").unwrap();
        let make =
            |path: &str| root.mkdir_all(&claim(path), Links::Follow, mode).map(|h| h.stat().unwrap().st_ino);
        let inode = |path: &str| fs::metadata(rootfs.join(path)).unwrap().ino();

        assert_eq!(make("/var/link/x/y"), Ok(inode("var/real/x/y")));
        assert_eq!(fs::metadata(rootfs.join("var/real/x/y")).unwrap().mode() & 0o777, 0o750);
        assert_eq!(make("/var/real"), Ok(inode("var/real")));
        assert_eq!(make("/"), Ok(inode("")));
        // The link is resolved from the root, where its target does not exist yet.
        let twin = scratch.join("outside/x").strip_prefix("/").unwrap().to_owned();
        assert_eq!(make("/escape/x").unwrap(), inode(twin.to_str().unwrap()));
        symlink("../../gone/further", rootfs.join("var/dangling")).unwrap();
        assert_eq!(make("/var/dangling/y").unwrap(), inode("gone/further/y"));
        // openat2 would fail at this path if it existed.
        symlink("absent/../elsewhere", rootfs.join("back")).unwrap();
        assert_eq!(make("/back"), Err(Errno::ENOENT));
        symlink("loop", rootfs.join("loop")).unwrap();
        assert_eq!(make("/loop/x"), Err(Errno::ELOOP));
        assert_eq!(make("/file/x"), Err(Errno::ENOTDIR));
        assert_eq!(make("/file"), Err(Errno::ENOTDIR));
        let never = root.mkdir_all(&claim("/var/link/z"), Links::Never, mode);
        assert_eq!(never.map(drop), Err(Errno::ELOOP));
        assert_eq!(fs::read_dir(scratch.join("outside")).unwrap().count(), 0);
        assert!(!rootfs.join("var/real/z").exists());
    });
}

#[test]
fn files_are_created_only_inside_the_root_and_never_truncated() {
    on_both(|scratch, root| {
        let rootfs = scratch.join("rootfs");
        fs::create_dir_all(rootfs.join("etc")).unwrap();
        fs::write(rootfs.join("etc/hosts"), "kept").unwrap();
        fs::write(scratch.join("outside/victim"), "kept").unwrap();
        symlink(scratch.join("outside/new"), rootfs.join("etc/new")).unwrap();
        symlink(scratch.join("outside/victim"), rootfs.join("etc/victim")).unwrap();
        let make = |path: &str| {
            root.create_file(&claim(path), Links::Follow, Mode::from_bits_truncate(0o644)).map(drop)
        };
        assert_eq!(make("/etc/hosts"), Ok(()));
        assert_eq!(make("/new/dir/file"), Ok(()));
        assert!(fs::metadata(rootfs.join("new/dir/file")).unwrap().is_file());
        // The files are created inside, where the links lead as seen from the root.
        assert_eq!(make("/etc/new"), Ok(()));
        assert_eq!(make("/etc/victim"), Ok(()));
        let twin = rootfs.join(scratch.strip_prefix("/").unwrap()).join("outside");
        assert!(["new", "victim"].iter().all(|name| fs::read(twin.join(name)).unwrap().is_empty()));
        assert_eq!(make("/etc"), Err(Errno::EISDIR));
        assert_eq!(make("/"), Err(Errno::EISDIR));
        assert_eq!(fs::read(rootfs.join("etc/hosts")).unwrap(), b"kept");
        assert_eq!(fs::read(scratch.join("outside/victim")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(scratch.join("outside")).unwrap().count(), 1);
    });
}

/// A reproducible sequence of small pseudo-random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn path(&mut self) -> String {
        let mut path = String::from(if self.below(3) == 0 { "/" } else { "" });
        for i in 0..=self.below(5) {
            if i > 0 {
                path.push('/');
            }
            match self.below(10) {
                0 | 1 => path.push_str(".."),
                2 => path.push('.'),
                n => path.push(char::from(b'a' + (n % 4) as u8)),
            }
        }
        if self.below(8) == 0 {
            path.push('/');
        }
        path
    }
}

#[test]
fn walk_agrees_with_openat2_on_random_trees() {
    with_scratch(|scratch| {
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5EED_u64);
        eprintln!("SEED={seed}");
        let mut dice = Dice(seed);
        let rootfs = scratch.join("rootfs");
        let (mut asked, mut there) = (0, 0);
        for _ in 0..rounds(150) {
            fs::remove_dir_all(&rootfs).unwrap();
            fs::create_dir(&rootfs).unwrap();
            let mut directories = vec![rootfs.clone()];
            for _ in 0..24 {
                let at = directories[dice.below(directories.len() as u64) as usize].clone();
                let new = at.join(char::from(b'a' + dice.below(4) as u8).to_string());
                match dice.below(6) {
                    0 => drop(fs::OpenOptions::new().create_new(true).write(true).open(new)),
                    1 | 2 => drop(symlink(dice.path(), new)),
                    _ if fs::create_dir(&new).is_ok() => directories.push(new),
                    _ => {}
                }
            }
            let (kernel, walk) = (root(&rootfs, Resolver::Kernel), root(&rootfs, Resolver::Walk));
            for _ in 0..120 {
                let path = dice.path();
                for links in [Links::Follow, Links::NotLast, Links::Never] {
                    let right = found(&kernel, &path, links);
                    assert_eq!(found(&walk, &path, links), right, "SEED={seed} {path} {links:?}");
                    asked += 1;
                    there += u32::from(right.is_ok());
                }
            }
        }
        eprintln!("{there} of {asked} paths resolved");
        assert!(there > asked / 10, "too few paths resolved to prove anything");
    });
}

/// Swaps `shared/dir` and `shared/link` (a link outside) until it is stopped.
fn race(scratch: &Path, stop: &Stop) -> u64 {
    let shared =
        open(&scratch.join("rootfs/shared"), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    let mut swaps = 0;
    while !stop.told() {
        exchange(&shared, "dir", "link").unwrap();
        swaps += 1;
    }
    swaps
}

#[test]
fn swapped_directory_does_not_escape() {
    on_both(|scratch, root| {
        let rootfs = scratch.join("rootfs");
        fs::create_dir_all(rootfs.join("shared/dir")).unwrap();
        symlink("../../outside", rootfs.join("shared/link")).unwrap();
        symlink(scratch.join("outside"), rootfs.join("shared/dir/deeper")).unwrap();
        fs::write(scratch.join("outside/secret"), "").unwrap();
        let secret = fs::metadata(scratch.join("outside")).unwrap();
        let stop = Stop::default();
        std::thread::scope(|threads| {
            let end = stop.at_the_end();
            let racer = threads.spawn(|| race(scratch, &stop));
            let (mut made, mut refused) = (0, 0);
            for i in 0..rounds(800) {
                let path = claim(&format!("/shared/dir/x{i}/y"));
                match root.mkdir_all(&path, Links::Follow, Mode::from_bits_truncate(0o755)) {
                    Ok(_) => made += 1,
                    Err(_) => refused += 1,
                }
                match root.create_file(&claim(&format!("/shared/dir/f{i}")), Links::Follow, Mode::S_IRUSR) {
                    Ok(_) => made += 1,
                    Err(_) => refused += 1,
                }
                assert_eq!(found(root, "/shared/dir/secret", Links::Follow).ok(), None);
                assert_eq!(found(root, "/shared/dir/deeper/secret", Links::Follow).ok(), None);
                if let Ok(it) = found(root, "/shared/dir", Links::Follow) {
                    assert_ne!(it, (secret.dev(), secret.ino()));
                }
            }
            drop(end);
            eprintln!(
                "{:?}: {made} made, {refused} refused, {} swaps",
                root.resolver(),
                racer.join().unwrap()
            );
            assert!(made > 0, "no call succeeded");
        });
        assert_eq!(fs::read_dir(scratch.join("outside")).unwrap().count(), 1);
    });
}
