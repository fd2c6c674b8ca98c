//! Parses the table of mounts, `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).

/// A mount, whose paths may contain any bytes.
pub struct MountInfo<'a> {
    /// The mount's id.
    pub id: u32,
    /// The id of the parent mount.
    pub parent: u32,
    /// The directory of the file system that the mount shows.
    pub root: Vec<u8>,
    /// The mount point, as seen from the process's root.
    pub point: Vec<u8>,
    /// Options of the mount.
    pub options: &'a [u8],
    /// Type of the file system.
    pub kind: &'a [u8],
    /// Options of the file system.
    pub kind_options: &'a [u8],
}

/// Parses a table of mounts; malformed lines are ignored.
pub fn mounts(text: &[u8]) -> Vec<MountInfo<'_>> {
    text.split(|b| *b == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<MountInfo<'_>> {
    let mut fields = line.split(|b| *b == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    Some(MountInfo {
        id: number(fields.next()?)?,
        parent: number(fields.next()?)?,
        root: unescape(fields.nth(1)?),
        point: unescape(fields.next()?),
        options: fields.next()?,
        // Any number of optional fields precedes the separator.
        kind: fields.find(|field| *field == b"-").and_then(|_| fields.next())?,
        kind_options: fields.nth(1)?,
    })
}

/// Decodes spaces, tabs, newlines and backslashes from `\ooo` in octal.
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
    fn mountinfo_lines_are_parsed_and_short_ones_refused() {
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
    fn incomplete_escapes_stay_as_they_are() {
        assert_eq!(unescape(br"\9\04"), br"\9\04");
        assert_eq!(unescape(br"/a\040b\134c\"), br"/a b\c\");
        assert_eq!(unescape(br"\04x\9"), br"\04x\9");
    }
}
