//! A whole specification, drawn field by field, to its plan.
//!
//! Most values are plausible, so that most specifications are accepted and reach every step of the recipes.

use embrun::bundle::config;
use embrun::bundle::spec::NamespaceKind;

use crate::draw::{Draw, EDGES};
use crate::plans;

/// Draws a specification and compiles it.
pub fn judge(input: &[u8]) {
    let mut draw = Draw(input);
    let bits = draw.byte();
    let text = document(&mut draw);
    let kept = text.clone().into_bytes().leak();
    let Ok(mut spec) = config::parse(kept) else { return };
    plans::judge_request(&spec, bits);
    // The kernel joins one namespace of each kind.
    let own = NamespaceKind::ALL.iter().filter(|k| spec.linux.namespaces.iter().any(|n| n.kind == **k));
    assert_eq!(own.count(), spec.linux.namespaces.len(), "a kind is accepted twice: {text}");
    if let Some(process) = &mut spec.process {
        // Fewer privileges never make a valid specification invalid.
        process.no_new_privileges = true;
        plans::judge_request(&spec, bits);
    }
}

type Text = String;

fn list(items: Vec<Text>) -> Text {
    format!("[{}]", items.join(","))
}

fn some(draw: &mut Draw<'_>, most: usize, mut item: impl FnMut(&mut Draw<'_>) -> Text) -> Text {
    let n = draw.below(most + 1);
    list((0..n).map(|_| item(draw)).collect())
}

fn quoted(text: &str) -> Text {
    serde_json::Value::from(text).to_string()
}

/// A field, and how its value is drawn.
type Field = (&'static str, fn(&mut Draw<'_>) -> Text);

/// An object of the fields that are drawn: each is left out half of the time.
fn object(draw: &mut Draw<'_>, fields: &[Field]) -> Text {
    let bits = draw.word();
    let given = fields.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
    let members: Vec<Text> = given.map(|(_, (key, value))| format!("\"{key}\":{}", value(draw))).collect();
    format!("{{{}}}", members.join(","))
}

const PATHS: [&str; 10] = [
    "/data/x",
    "/proc",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/sys",
    "/sys/fs/cgroup",
    "/run",
    "/data/../dev/mqueue",
    "/etc/hosts",
];
const STRANGE: [&str; 7] =
    ["/", "/proc/sys", "/proc/1/fd", "/proc/../etc", "relative", "/etc/../..", "/proc/kcore"];

fn path(draw: &mut Draw<'_>) -> Text {
    if draw.one_in(32) { quoted(&draw.text(12)) } else { mostly(draw, &PATHS, &STRANGE) }
}

/// One of the good values, or of the bad ones once in 32 times.
fn mostly(draw: &mut Draw<'_>, good: &[&str], bad: &[&str]) -> Text {
    let bad = draw.one_in(32).then_some(bad);
    quoted(draw.pick(bad.unwrap_or(good)))
}

fn word(draw: &mut Draw<'_>) -> Text {
    quoted(&draw.text(6))
}

fn number(draw: &mut Draw<'_>) -> Text {
    if draw.one_in(16) { draw.pick(&EDGES).to_string() } else { draw.byte().to_string() }
}

fn yes_or_no(draw: &mut Draw<'_>) -> Text {
    draw.flag().to_string()
}

fn document(draw: &mut Draw<'_>) -> Text {
    let process = if draw.one_in(16) { "null".to_owned() } else { process(draw) };
    let rest = object(
        draw,
        &[
            ("hostname", |d| mostly(d, &["host", "", "a.b"], &["x y"])),
            ("domainname", |d| mostly(d, &["d", ""], &["(none)"])),
            ("annotations", |d| format!("{{{}:{}}}", word(d), word(d))),
            ("hooks", hooks),
            ("mounts", |d| some(d, 6, mount)),
            ("linux", linux),
        ],
    );
    let version = mostly(draw, &["1.0.2", "1.2.0", "1.0.0-rc5"], &["2.0.0", "x"]);
    let readonly = draw.flag();
    let head = format!(
        r#""ociVersion":{version},"process":{process},"root":{{"path":"rootfs","readonly":{readonly}}}"#
    );
    let comma = if rest.len() > 2 { "," } else { "" };
    format!("{{{head}{comma}{}", &rest[1..])
}

const CAPS: [&str; 7] =
    ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_KILL", "CAP_BPF", "CAP_FOO", "KILL"];

fn caps(draw: &mut Draw<'_>) -> Text {
    some(draw, 4, |d| quoted(d.pick(&CAPS)))
}

fn user(draw: &mut Draw<'_>) -> Text {
    object(
        draw,
        &[
            ("uid", number),
            ("gid", number),
            ("umask", number),
            ("additionalGids", |d| some(d, 3, |d| d.byte().to_string())),
        ],
    )
}

fn rlimit(draw: &mut Draw<'_>) -> Text {
    let kind = mostly(draw, &["RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_AS"], &["RLIMIT_X"]);
    let (soft, more) = (draw.byte(), if draw.one_in(32) { -1 } else { 1 });
    format!(r#"{{"type":{kind},"soft":{soft},"hard":{}}}"#, i32::from(soft) + more)
}

fn process(draw: &mut Draw<'_>) -> Text {
    let rest = object(
        draw,
        &[
            ("terminal", yes_or_no),
            ("consoleSize", |d| format!(r#"{{"height":{},"width":{}}}"#, number(d), number(d))),
            ("user", user),
            ("env", |d| some(d, 3, |d| mostly(d, &["A=b", "PATH=/bin", "A=c", "HOME="], &["=x", "x"]))),
            ("capabilities", |d| {
                object(
                    d,
                    &[
                        ("bounding", caps),
                        ("effective", caps),
                        ("inheritable", caps),
                        ("permitted", caps),
                        ("ambient", caps),
                    ],
                )
            }),
            ("rlimits", |d| some(d, 2, rlimit)),
            ("noNewPrivileges", yes_or_no),
            ("oomScoreAdj", number),
            ("apparmorProfile", |d| quoted(d.pick(&["p", "", "unconfined"]))),
            ("selinuxLabel", |d| quoted(d.pick(&["u:r:t:s0", "", "x"]))),
            ("scheduler", |d| {
                let policy = d.pick(&["SCHED_OTHER", "SCHED_FIFO", "SCHED_DEADLINE", "SCHED_IDLE"]);
                let (nice, priority) = (d.below(20), d.below(3));
                format!(r#"{{"policy":"{policy}","nice":{nice},"priority":{priority}}}"#)
            }),
            ("ioPriority", |d| {
                let class = mostly(d, &["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"], &["X"]);
                format!(r#"{{"class":{class},"priority":{}}}"#, d.below(9))
            }),
            ("execCPUAffinity", |d| {
                let mut list = || mostly(d, &["0", "0-3", "1,3"], &["9-1", "x"]);
                format!(r#"{{"initial":{},"final":{}}}"#, list(), list())
            }),
        ],
    );
    let comma = if rest.len() > 2 { "," } else { "" };
    format!(r#"{{"args":["sh"],"cwd":{}{comma}{}"#, mostly(draw, &["/", "/srv"], &["", "srv"]), &rest[1..])
}

fn hooks(draw: &mut Draw<'_>) -> Text {
    fn hook(draw: &mut Draw<'_>) -> Text {
        let timeout = if draw.flag() { format!(r#","timeout":{}"#, number(draw)) } else { Text::new() };
        format!(r#"{{"path":{}{timeout}}}"#, mostly(draw, &["/bin/hook"], &["hook", ""]))
    }
    const FEW: fn(&mut Draw<'_>) -> Text = |d| some(d, 2, hook);
    let kinds = embrun::bundle::spec::HookKind::NAMES.map(|name| (name, FEW));
    object(draw, &kinds)
}

const MOUNT_KINDS: [&str; 10] =
    ["proc", "sysfs", "tmpfs", "devpts", "cgroup", "cgroup2", "mqueue", "bind", "ext4", "overlay"];
const OPTIONS: [&str; 18] = [
    "bind",
    "rbind",
    "ro",
    "rw",
    "nosuid",
    "noexec",
    "rro",
    "rprivate",
    "rslave",
    "shared",
    "noatime",
    "relatime",
    "tmpcopyup",
    "idmap",
    "ridmap",
    "size=64k",
    "mode=755",
    "remount",
];

fn mount(draw: &mut Draw<'_>) -> Text {
    let rest = object(
        draw,
        &[
            ("type", |d| quoted(d.pick(&MOUNT_KINDS))),
            ("source", |d| quoted(d.pick(&["proc", "/host/dir", "rel", "tmpfs", ""]))),
            ("options", |d| some(d, 5, |d| quoted(d.pick(&OPTIONS)))),
            ("uidMappings", mappings),
            ("gidMappings", mappings),
        ],
    );
    let comma = if rest.len() > 2 { "," } else { "" };
    format!(r#"{{"destination":{}{comma}{}"#, path(draw), &rest[1..])
}

fn mappings(draw: &mut Draw<'_>) -> Text {
    if !draw.one_in(8) {
        return r#"[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":100000,"size":65536}]"#.to_owned();
    }
    some(draw, 3, |d| {
        format!(r#"{{"containerID":{},"hostID":{},"size":{}}}"#, number(d), number(d), number(d))
    })
}

const NAMESPACES: [&str; 8] = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];
const PARAMETERS: [&str; 4] =
    ["net.ipv4.ip_forward", "kernel.shm_rmid_forced", "kernel.domainname", "fs.mqueue.msg_max"];

fn namespaces(draw: &mut Draw<'_>) -> Text {
    let bits = draw.byte();
    let kinds = NAMESPACES.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, kind)| *kind);
    let mut kinds: Vec<&str> = kinds.collect();
    if draw.one_in(32) {
        kinds.push(draw.pick(&["pid", "warp"]));
    }
    let path = |d: &mut Draw<'_>| if d.one_in(8) { r#","path":"/proc/9/ns/x""# } else { "" };
    list(kinds.iter().map(|kind| format!(r#"{{"type":"{kind}"{}}}"#, path(draw))).collect())
}

fn linux(draw: &mut Draw<'_>) -> Text {
    object(
        draw,
        &[
            ("namespaces", namespaces),
            ("uidMappings", mappings),
            ("gidMappings", mappings),
            ("timeOffsets", |d| {
                format!(r#"{{"monotonic":{{"secs":{},"nanosecs":{}}}}}"#, number(d), number(d))
            }),
            ("devices", |d| some(d, 3, device)),
            ("cgroupsPath", |d| mostly(d, &["/a/b", "a", "s.slice:p:n", ":a:b"], &["", "../x", "/"])),
            ("resources", resources),
            ("rootfsPropagation", |d| mostly(d, &["", "private", "rslave", "shared"], &["x"])),
            ("seccomp", seccomp),
            ("sysctl", |d| {
                format!("{{{}:{}}}", mostly(d, &PARAMETERS, &["kernel.core_pattern", "net/../x"]), word(d))
            }),
            ("maskedPaths", |d| some(d, 3, path)),
            ("readonlyPaths", |d| some(d, 3, path)),
            ("mountLabel", |d| quoted(d.pick(&["u:o:t:s0", "", "a,b"]))),
            ("personality", |d| quoted_member("domain", d.pick(&["LINUX", "LINUX32"]))),
            ("memoryPolicy", |d| {
                let mode =
                    mostly(d, &["MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED"], &["MPOL_LOCAL", "MPOL_X"]);
                format!(r#"{{"mode":{mode},"nodes":"{}","flags":[]}}"#, d.pick(&["0", "0-3"]))
            }),
            ("netDevices", |d| format!(r#"{{"eth{}":{{"name":{}}}}}"#, d.below(3), word(d))),
            ("intelRdt", |d| quoted_member("closID", d.pick(&["b", "a", "../b"]))),
        ],
    )
}

fn quoted_member(key: &str, value: &str) -> Text {
    format!("{{\"{key}\":{}}}", quoted(value))
}

fn device(draw: &mut Draw<'_>) -> Text {
    let kind = mostly(draw, &["c", "b", "p", "u"], &["x"]);
    let (major, minor) = (number(draw), number(draw));
    let path = mostly(draw, &["/dev/tty9", "/dev/null", "/x"], &["dev/y", "/dev/../z", "/"]);
    format!(r#"{{"type":{kind},"path":{path},"major":{major},"minor":{minor},"uid":0}}"#)
}

fn resources(draw: &mut Draw<'_>) -> Text {
    object(
        draw,
        &[
            ("memory", |d| object(d, &[("limit", number), ("swap", number), ("reservation", number)])),
            ("cpu", |d| {
                object(
                    d,
                    &[
                        ("shares", number),
                        ("quota", number),
                        ("period", number),
                        ("burst", number),
                        ("idle", number),
                        ("cpus", |d| mostly(d, &["0", "0-1"], &["x"])),
                    ],
                )
            }),
            ("pids", |d| format!(r#"{{"limit":{}}}"#, number(d))),
            ("unified", |d| {
                format!(r#"{{{}:"1"}}"#, mostly(d, &["memory.high", "pids.max"], &["../x", "a/b"]))
            }),
            ("devices", |d| {
                some(d, 3, |d| format!(r#"{{"allow":{},"access":"rw","type":"c"}}"#, yes_or_no(d)))
            }),
            ("blockIO", |d| object(d, &[("weight", number)])),
            ("hugepageLimits", |d| {
                format!(r#"[{{"pageSize":{},"limit":{}}}]"#, mostly(d, &["2MB", "64KB"], &["x"]), number(d))
            }),
        ],
    )
}

const ACTIONS: [&str; 6] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
];

fn seccomp(draw: &mut Draw<'_>) -> Text {
    let known = if draw.one_in(32) { 6 } else { 3 };
    let default = draw.pick(&ACTIONS[..known]);
    let listener = if !draw.one_in(16) { r#","listenerPath":"/run/a""# } else { "" };
    let rules = some(draw, 2, |d| {
        let call = d.pick(&["read", "mkdir", "socket", "warp", "clone3"]);
        format!(r#"{{"names":["{call}"],"action":"{}"}}"#, d.pick(&ACTIONS))
    });
    format!(r#"{{"defaultAction":"{default}"{listener},"syscalls":{rules}}}"#)
}
