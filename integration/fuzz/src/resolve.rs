//! The walk below a root, beside openat2(2) with RESOLVE_IN_ROOT, on drawn trees.

use std::cell::OnceCell;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, symlink};
use std::path::Path;

use embrun::plan::inside_path::InsidePath;
use embrun::rootfs::resolve::{Links, Missing, Resolver, walk};
use embrun::rootfs::root::RootDir;
use embrun::sys::file::fstat;
use nix::fcntl::{OFlag, ResolveFlag};

use crate::draw::Draw;
use crate::scratch::Scratch;

thread_local! {
    static PLACE: OnceCell<Scratch> = const { OnceCell::new() };
}

/// Makes a tree of directories, files and links, and resolves paths in it.
pub fn judge(input: &[u8]) {
    PLACE.with(|cell| {
        let scratch = cell.get_or_init(|| Scratch::new("resolve"));
        let top = scratch.path().join("root");
        let _ = fs::remove_dir_all(&top);
        fs::create_dir(&top).unwrap();
        let mut draw = Draw(input);
        plant(&mut draw, &top);
        let [kernel, own] =
            [Resolver::Kernel, Resolver::Walk].map(|how| RootDir::with(scratch.open("root"), how));
        for _ in 0..6 {
            let path = path(&mut draw);
            let claim = InsidePath::new(&path).expect("no NUL");
            for links in [Links::Follow, Links::NotLast, Links::Never] {
                let found =
                    |root: &RootDir| root.resolve(&claim, links)?.stat().map(|s| (s.st_dev, s.st_ino));
                let (is, should) = (found(&own), found(&kernel));
                assert_eq!(kernel.resolver(), Resolver::Kernel, "this target needs openat2(2)");
                assert_eq!(is, should, "{path:?} {links:?} in {:?}", listed(&top));
            }
            raw(&own, &path, &top);
            making(&own, &claim, &top, scratch.path());
        }
    });
}

/// The text of a link is walked as it is, with `..` and slashes at the end.
fn raw(own: &RootDir, path: &str, top: &Path) {
    let path = if path.is_empty() { "." } else { path };
    let is = walk(own.as_fd(), path.as_bytes(), Links::Follow, Missing::Fails)
        .and_then(|fd| fstat(&fd))
        .map(|s| s.st_ino);
    let text = std::ffi::CString::new(path).unwrap();
    let how = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let should = embrun::sys::openat2::openat2(own.as_fd(), &text, OFlag::O_PATH, how)
        .and_then(|fd| fstat(&fd))
        .map(|s| s.st_ino);
    assert_eq!(is, should, "raw {path:?} in {:?}", listed(top));
}

/// A directory that is made is inside the root, and is found again.
fn making(own: &RootDir, claim: &InsidePath, top: &Path, outside: &Path) {
    let mode = nix::sys::stat::Mode::S_IRWXU;
    if let Ok(made) = own.mkdir_all(claim, Links::Follow, mode) {
        let found = own.resolve(claim, Links::Follow).expect("a directory that was just made");
        assert_eq!(made.stat().unwrap().st_ino, found.stat().unwrap().st_ino);
        assert!(is_below(top, found.stat().unwrap().st_ino), "{claim} was made outside");
    }
    let around: Vec<_> = fs::read_dir(outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(around, ["root"], "{claim} left the root");
}

fn is_below(top: &Path, inode: u64) -> bool {
    fs::symlink_metadata(top).unwrap().ino() == inode
        || fs::read_dir(top).unwrap().map(|e| e.unwrap()).any(|e| {
            let is_dir = e.file_type().unwrap().is_dir();
            e.ino() == inode || (is_dir && is_below(&e.path(), inode))
        })
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn path(draw: &mut Draw<'_>) -> String {
    let mut path = String::from(if draw.one_in(3) { "/" } else { "" });
    for i in 0..1 + draw.below(6) {
        if i > 0 {
            path.push_str(if draw.one_in(8) { "//" } else { "/" });
        }
        path.push_str(match draw.below(10) {
            0 | 1 => "..",
            2 => ".",
            n => NAMES[n % 4],
        });
    }
    if draw.one_in(6) {
        path.push('/');
    }
    path
}

/// Makes up to 24 files, in directories down to the sixth level.
fn plant(draw: &mut Draw<'_>, top: &Path) {
    let mut directories = vec![top.to_owned()];
    for _ in 0..draw.below(25) {
        let directory = &directories[draw.below(directories.len())];
        let at = directory.join(draw.pick(&NAMES));
        // A name that is taken stays as it is.
        match draw.below(6) {
            0 => drop(fs::File::create_new(&at)),
            1 | 2 => {
                if at.components().count() < top.components().count() + 6 && fs::create_dir(&at).is_ok() {
                    directories.push(at);
                }
            }
            _ => {
                let text = path(draw);
                drop(symlink(if text.is_empty() { "." } else { &text }, &at));
            }
        }
    }
}

/// The tree, for a report.
fn listed(top: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in fs::read_dir(top).unwrap().map(|e| e.unwrap()) {
        let path = entry.path();
        let link = fs::read_link(&path).map(|to| format!(" -> {}", to.display())).unwrap_or_default();
        out.push(format!("{}{link}", path.display()));
        if entry.file_type().unwrap().is_dir() {
            out.extend(listed(&path));
        }
    }
    out
}
