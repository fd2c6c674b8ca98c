//! `mounts[].options`, beside runc's table of flags and a model of the mount.

use embrun::plan::options::{Change, Options, attr, is_engines};

/// Checks one list: the input's options are separated by commas.
pub fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let words: Vec<&str> = text.split(',').take(64).collect();
    let options = Options::parse(&words);
    let model = Model::of(&words);
    assert_eq!((options.set, options.clear), (model.set, model.clear), "{words:?}");
    assert_eq!(options.propagation, model.propagation, "{words:?}");
    assert_eq!(options.data, model.data.join(","), "{words:?}");
    assert_eq!((options.copy_up, options.idmap), (model.copy_up, model.idmap), "{words:?}");
    // Every mount ends with the flags that the options name last, whatever it had before.
    for before in [0, attr::PLAIN, attr::RDONLY | attr::NOSUID, attr::NODEV | attr::NOEXEC] {
        let after = options.changes().iter().fold(before, applied);
        let bound = options.bind_changes().iter().fold(before, applied);
        for (bit, name, _) in PLAIN {
            let wanted = model.flag(name);
            assert_eq!(after & bit != 0, wanted.unwrap_or(before & bit != 0), "{name} of {words:?}");
            let unnamed = before & bit != 0 && !model.resets();
            assert_eq!(bound & bit != 0, wanted.unwrap_or(unnamed), "{name} of a bind mount, {words:?}");
        }
    }
    let total: usize = options.changes().iter().filter(|c| c.propagation != 0).count();
    assert!(total <= model.propagation.len(), "{words:?}");
}

fn applied(state: u32, change: &Change) -> u32 {
    state & !(change.clear | change.unasked) | change.set
}

/// Flags of the mount: the attribute, the option, and its opposite.
const PLAIN: [(u32, &str, &str); 5] = [
    (attr::RDONLY, "ro", "rw"),
    (attr::NOSUID, "nosuid", "suid"),
    (attr::NODEV, "nodev", "dev"),
    (attr::NOEXEC, "noexec", "exec"),
    (attr::NOSYMFOLLOW, "nosymfollow", "symfollow"),
];

/// runc's options (libcontainer/specconv): name, whether it clears, flag.
const RUNC: [(&str, bool, libc::c_ulong); 35] = [
    ("acl", false, libc::MS_POSIXACL),
    ("async", true, libc::MS_SYNCHRONOUS),
    ("atime", true, libc::MS_NOATIME),
    ("bind", false, libc::MS_BIND),
    ("dev", true, libc::MS_NODEV),
    ("diratime", true, libc::MS_NODIRATIME),
    ("dirsync", false, libc::MS_DIRSYNC),
    ("exec", true, libc::MS_NOEXEC),
    ("iversion", false, libc::MS_I_VERSION),
    ("lazytime", false, 1 << 25),
    ("loud", true, libc::MS_SILENT),
    ("mand", false, libc::MS_MANDLOCK),
    ("noacl", true, libc::MS_POSIXACL),
    ("noatime", false, libc::MS_NOATIME),
    ("nodev", false, libc::MS_NODEV),
    ("nodiratime", false, libc::MS_NODIRATIME),
    ("noexec", false, libc::MS_NOEXEC),
    ("noiversion", true, libc::MS_I_VERSION),
    ("nolazytime", true, 1 << 25),
    ("nomand", true, libc::MS_MANDLOCK),
    ("norelatime", true, libc::MS_RELATIME),
    ("nostrictatime", true, libc::MS_STRICTATIME),
    ("nosuid", false, libc::MS_NOSUID),
    ("nosymfollow", false, 256),
    ("rbind", false, libc::MS_BIND | libc::MS_REC),
    ("relatime", false, libc::MS_RELATIME),
    ("remount", false, libc::MS_REMOUNT),
    ("ro", false, libc::MS_RDONLY),
    ("rw", true, libc::MS_RDONLY),
    ("silent", false, libc::MS_SILENT),
    ("strictatime", false, libc::MS_STRICTATIME),
    ("suid", true, libc::MS_NOSUID),
    ("symfollow", true, 256),
    ("sync", false, libc::MS_SYNCHRONOUS),
    ("defaults", false, 0),
];

/// runc's recursive attributes, which change the flags of a whole tree.
const RECURSIVE: [&str; 16] = [
    "rro",
    "rrw",
    "rnosuid",
    "rsuid",
    "rnodev",
    "rdev",
    "rnoexec",
    "rexec",
    "rnodiratime",
    "rdiratime",
    "rrelatime",
    "rnorelatime",
    "rnoatime",
    "ratime",
    "rstrictatime",
    "rnostrictatime",
];

const KINDS: [(&str, libc::c_ulong); 4] = [
    ("private", libc::MS_PRIVATE),
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("unbindable", libc::MS_UNBINDABLE),
];

#[derive(Default)]
struct Model<'a> {
    words: Vec<&'a str>,
    set: u32,
    clear: u32,
    propagation: Vec<u32>,
    data: Vec<&'a str>,
    copy_up: bool,
    idmap: bool,
}

impl<'a> Model<'a> {
    fn of(words: &[&'a str]) -> Model<'a> {
        let mut m = Model { words: words.to_vec(), ..Model::default() };
        for word in words {
            let deep = word.strip_prefix('r').unwrap_or("");
            let kind = |name: &str| KINDS.iter().find(|(k, _)| *k == name).map(|(_, flag)| *flag as u32);
            if let Some((_, clears, flag)) = RUNC.iter().find(|(name, ..)| name == word) {
                let flag = *flag as u32;
                let (on, off) = if *clears { (0, flag) } else { (flag, 0) };
                m.set = m.set & !flag | on;
                m.clear = m.clear & !flag | off;
            } else if let Some(flag) = kind(word) {
                m.propagation.push(flag);
            } else if let Some(flag) = kind(deep) {
                m.propagation.push(flag | libc::MS_REC as u32);
            } else if RECURSIVE.contains(word) || matches!(deep, "nosymfollow" | "symfollow") {
                // See `flag`.
            } else if *word == "tmpcopyup" {
                m.copy_up = true;
            } else if matches!(*word, "idmap" | "ridmap") {
                m.idmap = true;
            } else if !is_engines(word) {
                m.data.push(word);
            }
        }
        // Empty words in front leave no comma.
        while m.data.first() == Some(&"") {
            m.data.remove(0);
        }
        m
    }

    /// The last mention of a flag decides, and the whole tree's beat the mount's.
    fn flag(&self, name: &str) -> Option<bool> {
        let (_, on, off) = PLAIN.iter().find(|(_, on, _)| *on == name).unwrap();
        let last = |prefix: &str| {
            self.words.iter().rev().find_map(|word| {
                let word = word.strip_prefix(prefix)?;
                (word == *on || word == *off).then_some(word == *on)
            })
        };
        last("r").or_else(|| last(""))
    }

    /// Whether a bind mount is remounted, and so loses the flags that are not named.
    fn resets(&self) -> bool {
        self.set & !(libc::MS_BIND | libc::MS_REC) as u32 | self.clear != 0
    }
}
