//! The home directory of a user, from the image's `/etc/passwd`.

use nix::errno::Errno;

use super::procfs::ProcFs;
use super::resolve::Links;
use super::root::RootDir;
use crate::plan::inside_path::InsidePath;
use crate::sys::file::read_all;

/// The longest prefix of a passwd file that is read: more than 10,000 users.
const MAX_SIZE: usize = 1 << 20;

/// The home directory of the user, or `/` if the image names none.
///
/// The image controls the file, which may be a FIFO, a device, a link or endless. None of these hangs or fails the launch.
pub fn home(root: &RootDir, proc: &ProcFs, uid: u32) -> String {
    content(root, proc).ok().and_then(|text| home_in(&text, uid)).unwrap_or_else(|| "/".to_owned())
}

fn content(root: &RootDir, proc: &ProcFs) -> Result<Vec<u8>, Errno> {
    let path = InsidePath::new("/etc/passwd").ok_or(Errno::EINVAL)?;
    let file = proc.reopen_regular(&root.resolve(&path, Links::Follow)?)?;
    read_all(&file, MAX_SIZE)
}

/// The home directory in a text of passwd(5). The first line of a uid counts.
fn home_in(text: &[u8], uid: u32) -> Option<String> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let mut fields = line.split(':').skip(2);
        let of: u32 = fields.next()?.parse().ok()?;
        let home = fields.nth(2)?;
        (of == uid && home.starts_with('/')).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes() {
        let text = b"root:x:0:0:root:/root:/bin/sh\nbroken\n\xff:x:7:7::/bad:/x\nrel:x:8:8::rel:/x\nempty:x:9:9:::\n\
            app:x:1000:1000::/srv/app:/bin/false\nsecond:x:1000:1::/other:/x\nlast:x:5:5::/five";
        for (uid, home) in [
            (0, Some("/root")),
            (1000, Some("/srv/app")),
            (5, Some("/five")),
            (7, None),
            (8, None),
            (9, None),
            (4_294_967_295, None),
        ] {
            assert_eq!(home_in(text, uid).as_deref(), home, "{uid}");
        }
        assert_eq!(home_in(b"", 0), None);
        assert_eq!(home_in(b"a:b:0", 0), None);
        assert_eq!(home_in(b"a:b:-0:0::/x:", 0), None);
    }
}
