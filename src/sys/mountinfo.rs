//! The table of mounts, `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).

/// A mount. Its paths are any bytes.
pub struct Mount<'a> {
    /// Its number.
    pub id: u32,
    /// The number of the mount that it is mounted on.
    pub parent: u32,
    /// The directory of its file system that it shows.
    pub root: Vec<u8>,
    /// Where it is mounted, seen from the root of the process.
    pub point: Vec<u8>,
    /// Its own options.
    pub options: &'a [u8],
    /// The type of its file system.
    pub kind: &'a [u8],
    /// The options of its file system.
    pub kind_options: &'a [u8],
}

/// The mounts of a table. A line that makes no sense is none.
pub fn mounts(text: &[u8]) -> Vec<Mount<'_>> {
    text.split(|b| *b == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|b| *b == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    Some(Mount {
        id: number(fields.next()?)?,
        parent: number(fields.next()?)?,
        root: unescape(fields.nth(1)?),
        point: unescape(fields.next()?),
        options: fields.next()?,
        // Behind any number of further fields.
        kind: fields.find(|field| *field == b"-").and_then(|_| fields.next())?,
        kind_options: fields.nth(1)?,
    })
}

/// Blanks, newlines and backslashes are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|d| *first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        let (byte, next) = match digits {
            Some(d) => (d.iter().fold(0u8, |n, b| n.wrapping_mul(8).wrapping_add(b - b'0')), &after[3..]),
            None => (*first, after),
        };
        out.push(byte);
        rest = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let line = br"36 35 98:0 /mnt\0401 /a\134b\012 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
        let m = mount(line).unwrap();
        assert_eq!((m.id, m.parent), (36, 35));
        assert_eq!((&m.root[..], &m.point[..]), (&b"/mnt 1"[..], &b"/a\\b\n"[..]));
        assert_eq!((m.options, m.kind), (&b"rw,noatime"[..], &b"ext3"[..]));
        assert_eq!(m.kind_options, b"rw,errors=continue");
        assert!(mount(b"36 35 98:0 / /x rw").is_none());
        assert!(mount(b"").is_none());
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(unescape(br"\9\04"), br"\9\04");
        assert_eq!(unescape(br"/a\040b\134c\"), br"/a b\c\");
        assert_eq!(unescape(br"\04x\9"), br"\04x\9");
    }
}
