//! The image's `/etc/passwd`: hostile texts, and files that are no regular files.

use std::cell::OnceCell;
use std::fs;
use std::os::unix::fs::symlink;

use embrun::rootfs::home;
use embrun::rootfs::procfs::ProcFs;
use embrun::rootfs::root::RootDir;
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::mkfifo;

use crate::scratch::Scratch;

thread_local! {
    static PLACE: OnceCell<(Scratch, RootDir, ProcFs)> = const { OnceCell::new() };
}

fn place() -> (Scratch, RootDir, ProcFs) {
    let scratch = Scratch::new("passwd");
    fs::create_dir_all(scratch.path().join("root/etc")).unwrap();
    fs::create_dir_all(scratch.path().join("etc")).unwrap();
    let root = RootDir::new(scratch.open("root"));
    (scratch, root, ProcFs::open().expect("procfs"))
}

/// Makes the file from the input, or another kind of file; looks a user up.
pub fn judge(input: &[u8]) {
    let Some((&[how, a, b], text)) = input.split_first_chunk::<3>() else { return };
    let uid = if how & 0x80 == 0 { u32::from(a) } else { u32::from_le_bytes([a, b, 0xff, 0xff]) };
    PLACE.with(|cell| {
        let (scratch, root, proc) = cell.get_or_init(place);
        let file = scratch.path().join("root/etc/passwd");
        let _ = fs::remove_file(&file);
        let _ = fs::remove_dir(&file);
        let other = scratch.path().join("root/etc/users");
        let mut expected = "/".to_owned();
        match how % 8 {
            1 => mkfifo(&file, Mode::S_IRWXU).unwrap(),
            2 => fs::create_dir(&file).unwrap(),
            // The host's file, seen from inside, is not there.
            3 => {
                fs::write(scratch.path().join("etc/passwd"), "x:x:0:0::/host:/x\n").unwrap();
                symlink("/../../etc/passwd", &file).unwrap();
                let _ = fs::remove_file(&other);
            }
            4 => {
                symlink("/etc/users", &file).unwrap();
                fs::write(&other, text).unwrap();
                expected = slow(text, uid);
            }
            // A device would block or never end; making it takes root.
            5 => drop(mknod(&file, SFlag::S_IFCHR, Mode::S_IRWXU, nix::sys::stat::makedev(1, 5))),
            6 => {}
            _ => {
                fs::write(&file, text).unwrap();
                expected = slow(text, uid);
            }
        }
        assert_eq!(home(root, proc, uid), expected, "{uid}: {:?}", String::from_utf8_lossy(text));
    });
}

/// passwd(5): the home of the first line with the uid.
fn slow(text: &[u8], uid: u32) -> String {
    for line in text.split(|b| *b == b'\n') {
        let fields: Vec<&[u8]> = line.split(|b| *b == b':').collect();
        let Some((of, home)) = fields.get(2).zip(fields.get(5)) else { continue };
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let of = std::str::from_utf8(of).ok().and_then(|of| of.parse::<u64>().ok());
        if of == Some(uid.into()) && home.first() == Some(&b'/') && !line.is_empty() {
            return String::from_utf8(home.to_vec()).unwrap();
        }
    }
    "/".to_owned()
}
