//! Each error is one line that names its property; optional ones may be absent.

use super::*;
use crate::bundle::spec::Root;
use crate::bundle::spec::{DeviceKind, NamespaceKind, Personality, Propagation};
use crate::error::Error;
use crate::text::Keep;
use std::result::Result;

/// A configuration with only the required properties.
const LEAST: &str = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"}}"#;

fn read(text: &str) -> Result<Box<Spec>, String> {
    let whole = spec(&Json::parse(text.as_bytes()).unwrap()).map_err(|f| Error::from(f).to_string());
    let kept = parse(text.to_owned().into_bytes().keep()).map_err(|e| e.to_string());
    assert_eq!(kept, whole, "what nobody looks at is left out of {text}");
    whole
}

/// The smallest configuration with one member replaced or added.
fn with(key: &str, value: &str) -> Result<Box<Spec>, String> {
    let mut all = vec![("ociVersion", r#""1.0.2""#), ("root", r#"{"path":"rootfs"}"#)];
    all.retain(|(k, _)| *k != key);
    all.push((key, value));
    let members: Vec<String> = all.iter().map(|(k, v)| format!("{k:?}:{v}")).collect();
    read(&format!("{{{}}}", members.join(",")))
}

/// The smallest process with one member replaced or added.
fn process_with(key: &str, value: &str) -> Result<Box<Spec>, String> {
    let mut all = vec![("args", r#"["sh"]"#), ("cwd", r#""/""#)];
    all.retain(|(k, _)| *k != key);
    all.push((key, value));
    let members: Vec<String> = all.iter().map(|(k, v)| format!("{k:?}:{v}")).collect();
    with("process", &format!("{{{}}}", members.join(",")))
}

fn linux_with(key: &str, value: &str) -> Result<Box<Spec>, String> {
    with("linux", &format!("{{{key:?}:{value}}}"))
}

#[test]
fn the_least_configuration() {
    let s = read(LEAST).unwrap();
    assert_eq!(s.oci_version, "1.0.2");
    assert_eq!(s.root, Root { path: "rootfs", readonly: false });
    assert_eq!(Spec { oci_version: "", root: Root::default(), ..*s }, Spec::default());
}

#[test]
fn null_and_unset_are_absent_and_unknown_keys_are_ignored() {
    let text = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs","readonly":null,"new":1},"process":null,"mounts":null,
        "hostname":"","hooks":null,"annotations":null,"vm":{"kernel":7},"linux":{"namespaces":null,"rootfsPropagation":"",
        "seccomp":null,"intelRdt":null,"netDevices":{},"cgroupsPath":"","x":{"deep":[null]}}}"#;
    let s = read(text).unwrap();
    assert_eq!(s, read(LEAST).unwrap());
}

#[test]
fn faults_of_the_document() {
    for (key, value, says) in [
        ("ociVersion", "null", "ociVersion: is required"),
        ("ociVersion", "1", "ociVersion: must be a string, is a number"),
        ("ociVersion", r#""2.0.0""#, r#"ociVersion: "2.0.0" is not supported (must be 1.x)"#),
        ("root", "null", "root: is required"),
        ("root", "[]", "root: must be an object, is an array"),
        ("root", "{}", "root.path: is required"),
        ("root", r#"{"path":""}"#, "root.path: must not be empty"),
        ("root", r#"{"path":"a\u0000b"}"#, "root.path: contains a NUL character"),
        ("root", r#"{"path":"a","readonly":1}"#, "root.readonly: must be a boolean, is a number"),
        ("hostname", "7", "hostname: must be a string, is a number"),
        ("mounts", "{}", "mounts: must be an array, is an object"),
        ("mounts", "[7]", "mounts[0]: must be an object, is a number"),
        ("mounts", "[{}]", "mounts[0].destination: is required"),
        (
            "mounts",
            r#"[{"destination":"/a","options":["ro",7]}]"#,
            "mounts[0].options[1]: must be a string, is a number",
        ),
        (
            "mounts",
            r#"[{"destination":"/a","uidMappings":[{"containerID":0,"hostID":1,"size":1}]}]"#,
            "mounts[0].gidMappings: is required beside uidMappings",
        ),
        (
            "mounts",
            r#"[{"destination":"/a","gidMappings":[{"containerID":0,"hostID":1,"size":0}]}]"#,
            "mounts[0].gidMappings[0].size: must be at least 1",
        ),
        (
            "hooks",
            r#"{"poststop":[{"path":"bin/x"}]}"#,
            r#"hooks.poststop[0].path: must be an absolute path, is "bin/x""#,
        ),
        ("hooks", r#"{"prestart":[{}]}"#, "hooks.prestart[0].path: is required"),
        (
            "hooks",
            r#"{"createRuntime":[{"path":"/x","timeout":0}]}"#,
            "hooks.createRuntime[0].timeout: must be at least 1",
        ),
        (
            "hooks",
            r#"{"createRuntime":[{"path":"/x","timeout":-1}]}"#,
            "hooks.createRuntime[0].timeout: -1 is out of range",
        ),
        ("annotations", r#"{"":"x"}"#, "annotations: a key must not be empty"),
        ("annotations", r#"{"a.b":7}"#, "annotations.a.b: must be a string, is a number"),
    ] {
        let fault = with(key, value).unwrap_err();
        assert!(fault.starts_with(says), "{key}={value}: {fault}");
    }
    assert_eq!(read("[]").unwrap_err(), "must be an object, is an array");
}

/// Members of `process`, their values, and the start of the error.
const PROCESS: &[(&str, &str, &str)] = &[
    ("args", "null", "process.args: is required"),
    ("args", "[]", "process.args: must not be empty"),
    ("args", r#"["sh","a\u0000b"]"#, "process.args[1]: contains a NUL character"),
    ("cwd", "null", "process.cwd: is required"),
    ("cwd", r#""""#, "process.cwd: must not be empty"),
    ("cwd", r#""tmp""#, r#"process.cwd: must be an absolute path, is "tmp""#),
    ("env", r#"["A=1","B"]"#, r#"process.env[1]: "B" is not KEY=VALUE"#),
    ("env", r#"["=1"]"#, r#"process.env[0]: "=1" is not KEY=VALUE"#),
    ("user", r#"{"uid":-1}"#, "process.user.uid: -1 is out of range"),
    ("user", r#"{"gid":4294967295}"#, "process.user.gid: 4294967295 is not an id"),
    ("user", r#"{"umask":512}"#, "process.user.umask: 512 is not a umask"),
    (
        "user",
        r#"{"additionalGids":[1,"x"]}"#,
        "process.user.additionalGids[1]: must be an integer, is a string",
    ),
    (
        "capabilities",
        r#"{"bounding":"CAP_KILL"}"#,
        "process.capabilities.bounding: must be an array, is a string",
    ),
    (
        "rlimits",
        r#"[{"type":"RLIMIT_FOO","soft":1,"hard":1}]"#,
        r#"process.rlimits[0].type: unknown "RLIMIT_FOO" (known: RLIMIT_AS, "#,
    ),
    (
        "rlimits",
        r#"[{"type":"RLIMIT_CPU","soft":1,"hard":1},{"type":"RLIMIT_CPU","soft":1,"hard":1}]"#,
        r#"process.rlimits[1].type: "RLIMIT_CPU" is given twice"#,
    ),
    (
        "rlimits",
        r#"[{"type":"RLIMIT_CPU","soft":2,"hard":1}]"#,
        "process.rlimits[0].soft: 2 is above hard (1)",
    ),
    ("rlimits", r#"[{"type":"RLIMIT_CPU","soft":2}]"#, "process.rlimits[0].hard: is required"),
    ("oomScoreAdj", "1001", "process.oomScoreAdj: 1001 is out of range (-1000 to 1000)"),
    ("terminal", r#""yes""#, "process.terminal: must be a boolean, is a string"),
    ("scheduler", "{}", "process.scheduler.policy: is required"),
    (
        "scheduler",
        r#"{"policy":"FIFO"}"#,
        r#"process.scheduler.policy: unknown "FIFO" (known: SCHED_OTHER, "#,
    ),
    (
        "scheduler",
        r#"{"policy":"SCHED_OTHER","flags":["X"]}"#,
        r#"process.scheduler.flags[0]: unknown "X" (known: SCHED_FLAG_RESET_ON_FORK, "#,
    ),
    (
        "ioPriority",
        r#"{"class":"IOPRIO_CLASS_RT","priority":8}"#,
        "process.ioPriority.priority: 8 is out of range",
    ),
    (
        "ioPriority",
        r#"{"class":"IOPRIO_CLASS_NONE"}"#,
        r#"process.ioPriority.class: unknown "IOPRIO_CLASS_NONE""#,
    ),
];

#[test]
fn faults_of_the_process() {
    for (key, value, says) in PROCESS {
        let fault = process_with(key, value).unwrap_err();
        assert!(fault.starts_with(says), "{key}={value}: {fault}");
    }
}

/// Members of `linux`, their values, and the start of the error.
const LINUX: &[(&str, &str, &str)] = &[
    (
        "namespaces",
        r#"[{"type":"net"}]"#,
        r#"linux.namespaces[0].type: unknown "net" (known: pid, network, "#,
    ),
    ("namespaces", r#"[{"type":"pid"},{"type":"pid"}]"#, r#"linux.namespaces[1].type: "pid" is given twice"#),
    (
        "namespaces",
        r#"[{"type":"pid","path":"x"}]"#,
        r#"linux.namespaces[0].path: must be an absolute path, is "x""#,
    ),
    ("namespaces", "[{}]", "linux.namespaces[0].type: is required"),
    (
        "uidMappings",
        r#"[{"containerID":1,"hostID":0,"size":4294967295}]"#,
        "linux.uidMappings[0].containerID: 1 and the 4294967294 ids after it exceed 32 bits",
    ),
    (
        "timeOffsets",
        r#"{"realtime":{"secs":1}}"#,
        "linux.timeOffsets.realtime: is not a clock with an offset",
    ),
    (
        "timeOffsets",
        r#"{"boottime":{"nanosecs":1000000000}}"#,
        "linux.timeOffsets.boottime.nanosecs: 1000000000 is out",
    ),
    (
        "devices",
        r#"[{"type":"x","path":"/dev/x"}]"#,
        r#"linux.devices[0].type: unknown "x" (known: c, u, b, p)"#,
    ),
    ("devices", r#"[{"type":"c","path":"/dev/x","minor":1}]"#, "linux.devices[0].major: is required"),
    ("devices", r#"[{"type":"b","path":"/dev/x","major":1}]"#, "linux.devices[0].minor: is required"),
    (
        "devices",
        r#"[{"type":"b","path":"/dev/x","major":4096}]"#,
        "linux.devices[0].major: 4096 is out of range",
    ),
    ("devices", r#"[{"type":"p","path":"dev/x"}]"#, "linux.devices[0].path: must be an absolute path"),
    (
        "sysctl",
        r#"{"net.ipv4.ip_forward":1}"#,
        "linux.sysctl.net.ipv4.ip_forward: must be a string, is a number",
    ),
    ("rootfsPropagation", r#""sharde""#, r#"linux.rootfsPropagation: unknown "sharde" (known: shared, "#),
    ("maskedPaths", r#"["proc/kcore"]"#, "linux.maskedPaths[0]: must be an absolute path"),
    ("readonlyPaths", r#"["/a",""]"#, "linux.readonlyPaths[1]: must not be empty"),
    (
        "personality",
        r#"{"domain":"BSD"}"#,
        r#"linux.personality.domain: unknown "BSD" (known: LINUX, LINUX32)"#,
    ),
    (
        "personality",
        r#"{"domain":"LINUX","flags":["X"]}"#,
        r#"linux.personality.flags[0]: "X" is not supported"#,
    ),
];

#[test]
fn faults_of_linux() {
    for (key, value, says) in LINUX {
        let fault = linux_with(key, value).unwrap_err();
        assert!(fault.starts_with(says), "{key}={value}: {fault}");
    }
}

#[test]
fn what_the_console_size_says_is_ignored_without_a_terminal() {
    assert_eq!(
        process_with("consoleSize", r#"{"height":"tall"}"#).unwrap().process.unwrap().console_size,
        None
    );
    let p = r#"{"args":["sh"],"cwd":"/","terminal":true,"consoleSize":{"height":25,"width":80}}"#;
    assert_eq!(with("process", p).unwrap().process.unwrap().console_size, Some((25, 80)));
    let p = r#"{"args":["sh"],"cwd":"/","terminal":true,"consoleSize":{"height":-1,"width":80}}"#;
    assert!(with("process", p).unwrap_err().starts_with("process.consoleSize.height: -1 is out of range"));
}

#[test]
fn devices_take_what_their_kind_needs() {
    let devices = r#"[{"type":"u","path":"/dev/u","major":1,"minor":3,"fileMode":8630,"uid":5},
        {"type":"p","path":"/dev/p"},{"type":"b","path":"/dev/b","major":0,"minor":0,"fileMode":0}]"#;
    let read = linux_with("devices", devices).unwrap().linux.devices;
    assert_eq!((read[0].kind, read[0].major, read[0].minor), (DeviceKind::Char, 1, 3));
    assert_eq!((read[0].file_mode, read[0].uid, read[0].gid), (Some(0o666), 5, 0));
    assert_eq!((read[1].kind, read[1].file_mode), (DeviceKind::Fifo, None));
    assert_eq!((read[2].kind, read[2].file_mode), (DeviceKind::Block, Some(0)));
}

#[test]
fn words_of_linux() {
    let propagation = |s: &str| linux_with("rootfsPropagation", s).unwrap().linux.rootfs_propagation;
    assert_eq!(propagation(r#""rslave""#), Some(Propagation::Slave { recursive: true }));
    assert_eq!(propagation(r#""unbindable""#), Some(Propagation::Unbindable { recursive: false }));
    let domain = linux_with("personality", r#"{"domain":"LINUX32","flags":[]}"#).unwrap().linux.personality;
    assert_eq!(domain, Some(Personality::Linux32));
    let namespaces =
        linux_with("namespaces", r#"[{"type":"network","path":"/proc/1/ns/net"},{"type":"time","path":""}]"#);
    let namespaces = namespaces.unwrap().linux.namespaces;
    assert_eq!((namespaces[0].kind, namespaces[0].path), (NamespaceKind::Network, Some("/proc/1/ns/net")));
    assert_eq!((namespaces[1].kind, namespaces[1].path), (NamespaceKind::Time, None));
}

#[test]
fn numbers_keep_all_their_bits() {
    let limit = r#"[{"type":"RLIMIT_CORE","soft":18446744073709551614,"hard":18446744073709551615}]"#;
    let read = process_with("rlimits", limit).unwrap().process.unwrap().rlimits;
    assert_eq!((read[0].soft, read[0].hard), (u64::MAX - 1, u64::MAX));
}

#[test]
fn classes_of_service_and_network_devices_are_read() {
    let s = with("linux", r#"{"intelRdt":{"closID":"x","schemata":["L2:0=f"],"enableMonitoring":true},"netDevices":{"eth0":{},"eth1":{"name":"e%d"}}}"#)
        .unwrap();
    let rdt = s.linux.intel_rdt.unwrap();
    assert_eq!((rdt.class, rdt.l3, rdt.schemata, rdt.monitoring), (Some("x"), None, &["L2:0=f"][..], true));
    let devices: Vec<_> = s.linux.net_devices.iter().map(|d| (d.host, d.name)).collect();
    assert_eq!(devices, [("eth0", None), ("eth1", Some("e%d"))]);
}

#[test]
fn no_beginning_of_a_configuration_is_one() {
    let whole = br#"{"ociVersion":"1.0.2","root":{"path":"r"},"annotations":{"a":"b\n","":"\"c"}}"#;
    for end in 0..whole.len() {
        parse(whole[..end].to_vec().keep()).unwrap_err();
        // A byte that is no UTF-8 ends the reading, too.
        parse([&whole[..end], b"\xc9\"}}"].concat().keep()).unwrap_err();
    }
}
