//! The texts of procfs: mountinfo, cgroup, stat, uid_map, and the search in status.

use embrun::cgroup::place::layout::Layout;
use embrun::run::user_namespace::ranges;
use embrun::state::observe::Stat;
use embrun::sys::mountinfo::mounts;
use embrun::text::search::{cut, has};

use crate::draw::Draw;

/// Reads the input as each text, and lines that the kernel could write from it.
pub fn judge(input: &[u8]) {
    for line in input.split(|b| *b == b'\n') {
        let is = mounts(line);
        let is = is.first().map(|m| (m.id, m.parent, &*m.root, &*m.point, m.options, m.kind, m.kind_options));
        assert_eq!(is, slow_mount(line).as_ref().map(Slow::fields), "{:?}", String::from_utf8_lossy(line));
        assert_eq!(Stat::parse(line), slow_stat(line), "{:?}", String::from_utf8_lossy(line));
    }
    written(&mut Draw(input));
    if let Ok(text) = std::str::from_utf8(input) {
        text_of(text);
    }
}

fn text_of(text: &str) {
    let slow: Vec<[u32; 3]> = text.lines().filter_map(slow_range).collect();
    let is: Vec<[u32; 3]> = ranges(text).iter().map(|r| [r.container_id, r.host_id, r.size]).collect();
    assert_eq!(is, slow, "{text:?}");
    let (mountinfo, cgroups) = text.split_once("\n\n").unwrap_or((text, "0::/\n"));
    let layout = Layout::parse(mountinfo, cgroups);
    assert!(layout.hierarchies.len() <= cgroups.lines().count(), "{text:?}");
    let v2 = layout.hierarchies.iter().position(|h| h.is_v2());
    assert!(
        v2.is_none_or(|at| layout.hierarchies[at..].iter().all(|h| h.is_v2())),
        "v2 is not last: {text:?}"
    );
    if let Some((wanted, text)) = text.split_once('|').filter(|(wanted, _)| !wanted.is_empty()) {
        assert_eq!(cut(text, wanted), text.split_once(wanted), "{wanted:?} in {text:?}");
        assert_eq!(has(text, wanted), text.contains(wanted), "{wanted:?} in {text:?}");
    }
}

struct Slow {
    numbers: (u32, u32),
    texts: [Vec<u8>; 5],
}

type Fields<'a> = (u32, u32, &'a [u8], &'a [u8], &'a [u8], &'a [u8], &'a [u8]);

impl Slow {
    fn fields(&self) -> Fields<'_> {
        let [root, point, options, kind, kind_options] = &self.texts;
        (self.numbers.0, self.numbers.1, root, point, options, kind, kind_options)
    }
}

/// proc_pid_mountinfo(5), field by field.
fn slow_mount(line: &[u8]) -> Option<Slow> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let number = |at: usize| std::str::from_utf8(fields.get(at)?).ok()?.parse::<u32>().ok();
    let end = (6..fields.len()).find(|at| fields[*at] == b"-")?;
    let text = |at: usize| fields.get(at).map(|f| f.to_vec());
    let path = |at: usize| fields.get(at).map(|f| slow_unescape(f));
    Some(Slow {
        numbers: (number(0)?, number(1)?),
        texts: [path(3)?, path(4)?, text(5)?, text(end + 1)?, text(end + 3)?],
    })
}

fn slow_unescape(field: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < field.len() {
        let octal = (field[at] == b'\\' && at + 3 < field.len())
            .then(|| std::str::from_utf8(&field[at + 1..at + 4]).ok())
            .flatten()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| u32::from_str_radix(digits, 8).ok());
        out.push(octal.map_or(field[at], |n| n as u8));
        at += if octal.is_some() { 4 } else { 1 };
    }
    out
}

fn slow_stat(line: &[u8]) -> Option<Stat> {
    let mut end = None;
    for (at, byte) in line.iter().enumerate() {
        end = if *byte == b')' { Some(at) } else { end };
    }
    let rest = std::str::from_utf8(&line[end? + 1..]).ok()?;
    let fields: Vec<&str> = rest.split([' ', '\t', '\n', '\r', '\x0c']).filter(|f| !f.is_empty()).collect();
    Some(Stat {
        state: fields.first()?.bytes().next()?,
        session: fields.get(3)?.parse().ok()?,
        flags: fields.get(6)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

fn slow_range(line: &str) -> Option<[u32; 3]> {
    let words: Vec<&str> =
        line.split([' ', '\t', '\n', '\r', '\x0c']).filter(|word| !word.is_empty()).collect();
    let number = |at: usize| words.get(at)?.parse().ok();
    Some([number(0)?, number(1)?, number(2)?])
}

/// Escapes as the kernel does (seq_path(), mangle()).
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => out.extend(format!("\\{byte:03o}").bytes()),
            other => out.push(*other),
        }
    }
    out
}

/// Lines for hostile names read back to these names.
fn written(draw: &mut Draw<'_>) {
    let (root, point, name) = (draw.bytes(20), draw.bytes(20), draw.bytes(15));
    let tags: &[u8] = draw.pick(&[b"", b"shared:1 ", b"master:2 propagate_from:3 "]);
    let line =
        [b"36 35 98:0 /", &*escaped(root), b" /", &escaped(point), b" rw ", tags, b"- ext4 /dev/x rw,a"];
    let line = line.concat();
    let read = mounts(&line);
    assert_eq!(read.len(), 1, "{:?}", String::from_utf8_lossy(&line));
    assert_eq!((&read[0].root[1..], &read[0].point[1..], read[0].kind), (root, point, &b"ext4"[..]));
    let line = [b"12 (", name, b") S 1 2 12 0 -1 64 1 2 3 4 5 6 7 8 20 0 3 0 4711 8 9\n"].concat();
    let wanted = Stat { state: b'S', session: 12, flags: 64, threads: 3, start: 4711 };
    assert_eq!(Stat::parse(&line), Some(wanted), "{:?}", String::from_utf8_lossy(&line));
}
