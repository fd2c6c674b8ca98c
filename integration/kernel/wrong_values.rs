//! Wrong values in `config.json`: the error names the property.
//!
//! runc is the reference: it refuses every case with the same status unless the case gives a reason.
//! crun's parser accepts more.

use crate::bad_input::{DECODED_LOOSELY, edit, refused};
use crate::cases;
use crate::common::{Case, Runtime, Test};

pub const CASES: &[Case] = cases![
    values_of_a_wrong_type_are_refused,
    faults_in_top_level_fields_are_refused,
    faults_in_process_are_refused,
    faults_in_namespaces_and_id_mappings_are_refused,
    faults_in_linux_sections_are_refused,
    contradictory_fields_are_refused,
];

/// One invalid value.
struct Wrong {
    /// Its place, as a JSON pointer.
    at: &'static str,
    /// The value as JSON; empty removes the present value.
    value: &'static str,
    /// The start of our error, after the name of the file.
    says: &'static str,
    /// The reason why runc accepts it; empty if it does not.
    lenient: &'static str,
}

const fn wrong(at: &'static str, value: &'static str, says: &'static str) -> Wrong {
    Wrong { at, value, says, lenient: "" }
}

/// A case that runc accepts, with the reason.
const fn ours(at: &'static str, value: &'static str, says: &'static str, lenient: &'static str) -> Wrong {
    Wrong { at, value, says, lenient }
}

const NOT_CHECKED: &str = "not checked: the kernel or nobody decides";

fn all_wrong(t: &Test, table: &[Wrong]) {
    for case in table {
        if !case.lenient.is_empty() && t.runtime != Runtime::Embrun {
            println!("  left out: {} {}: {}", case.at, case.value, case.lenient);
            continue;
        }
        println!("  {} {}", case.at, case.value);
        let mut c = t.container();
        edit(&mut c.config, case.at, case.value);
        refused(&c, c.create(), case.says);
        refused(&c, c.run(), case.says);
    }
}

fn values_of_a_wrong_type_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            wrong("/process/args", r#""sh""#, "process.args: must be an array, is a string"),
            wrong("/process/args", "[1]", "process.args[0]: must be a string, is a number"),
            wrong("/process/env", r#"{"A":"1"}"#, "process.env: must be an array, is an object"),
            wrong("/process/user/uid", r#""0""#, "process.user.uid: must be an integer, is a string"),
            wrong("/process/user/uid", "-1", "process.user.uid: -1 is out of range"),
            wrong("/process/user/uid", "4294967296", "process.user.uid: 4294967296 is out of range"),
            wrong("/process/user/uid", "1.5", "process.user.uid: must be an integer, is 1.5"),
            wrong("/process/terminal", r#""no""#, "process.terminal: must be a boolean, is a string"),
            wrong("/root/readonly", "1", "root.readonly: must be a boolean, is a number"),
            wrong("/mounts", r#"{"/proc":{}}"#, "mounts: must be an array, is an object"),
            wrong("/mounts/-", "7", "mounts[6]: must be an object, is a number"),
            wrong("/linux/namespaces", r#"["pid"]"#, "linux.namespaces[0]: must be an object, is a string"),
            wrong(
                "/linux/sysctl",
                r#"{"net.ipv4.ip_forward":1}"#,
                "linux.sysctl.net.ipv4.ip_forward: must be a string",
            ),
            wrong("/annotations", r#"{"a":1}"#, "annotations.a: must be a string, is a number"),
            wrong(
                "/hooks",
                r#"{"prestart":{"path":"/bin/true"}}"#,
                "hooks.prestart: must be an array, is an object",
            ),
        ],
    );
}

fn faults_in_top_level_fields_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            ours("/ociVersion", "", "ociVersion: is required", NOT_CHECKED),
            ours(
                "/ociVersion",
                r#""2.0.0""#,
                r#"ociVersion: "2.0.0" is not supported (must be 1.x)"#,
                NOT_CHECKED,
            ),
            ours("/ociVersion", r#""one""#, r#"ociVersion: "one" is not a version"#, NOT_CHECKED),
            wrong("/root", "", "root: is required"),
            wrong(
                "/root/path",
                r#""nowhere""#,
                r#"root.path: "nowhere": no such file or directory (ENOENT)"#,
            ),
            wrong("/root/path", r#""/etc/passwd""#, r#"root.path: "/etc/passwd": not a directory (ENOTDIR)"#),
            ours("/mounts/-", r#"{"type":"tmpfs"}"#, "mounts[6].destination: is required", NOT_CHECKED),
            ours("/annotations", r#"{"":"x"}"#, "annotations: a key must not be empty", NOT_CHECKED),
            ours(
                "/hooks",
                r#"{"poststop":[{"path":"true"}]}"#,
                "hooks.poststop[0].path: must be an absolute",
                NOT_CHECKED,
            ),
            ours(
                "/hooks",
                r#"{"poststop":[{"path":"/x","timeout":0}]}"#,
                "hooks.poststop[0].timeout: must be",
                NOT_CHECKED,
            ),
        ],
    );
}

fn faults_in_process_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            wrong("/process/args", "[]", "process.args: must not be empty"),
            wrong("/process/args", "", "process.args: is required"),
            wrong("/process/cwd", r#""tmp""#, r#"process.cwd: must be an absolute path, is "tmp""#),
            wrong("/process/cwd", "", "process.cwd: is required"),
            wrong("/process/env", r#"["A"]"#, r#"process.env[0]: "A" is not KEY=VALUE"#),
            ours("/process/user/uid", "4294967295", "process.user.uid: 4294967295 is not an id", NOT_CHECKED),
            ours("/process/user/umask", "512", "process.user.umask: 512 is not a umask", NOT_CHECKED),
            wrong(
                "/process/rlimits",
                r#"[{"type":"RLIMIT_FOO","soft":1,"hard":1}]"#,
                r#"process.rlimits[0].type: unknown "RLIMIT_FOO""#,
            ),
            ours(
                "/process/rlimits/-",
                r#"{"type":"RLIMIT_NOFILE","soft":1,"hard":1}"#,
                r#"process.rlimits[1].type: "RLIMIT_NOFILE" is given twice"#,
                "the last one wins",
            ),
            wrong(
                "/process/rlimits",
                r#"[{"type":"RLIMIT_CPU","soft":2,"hard":1}]"#,
                "process.rlimits[0].soft: 2 is above hard (1)",
            ),
            ours("/process/oomScoreAdj", "1001", "process.oomScoreAdj: 1001 is out of range", NOT_CHECKED),
        ],
    );
}

fn faults_in_namespaces_and_id_mappings_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            wrong("/linux/namespaces/-", r#"{"type":"net"}"#, r#"linux.namespaces[5].type: unknown "net""#),
            wrong(
                "/linux/namespaces/-",
                r#"{"type":"pid"}"#,
                r#"linux.namespaces[5].type: "pid" is given twice"#,
            ),
            ours(
                "/linux/namespaces/-",
                r#"{"type":"cgroup","path":"proc/1/ns/cgroup"}"#,
                "linux.namespaces[5].path: must be an absolute path",
                NOT_CHECKED,
            ),
            ours(
                "/linux/uidMappings",
                r#"[{"containerID":0,"hostID":0,"size":0}]"#,
                "linux.uidMappings[0].size: must be at least 1",
                NOT_CHECKED,
            ),
        ],
    );
}

fn faults_in_linux_sections_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            ours(
                "/linux/devices",
                r#"[{"type":"c","path":"/dev/x","minor":3}]"#,
                "linux.devices[0].major: is required",
                DECODED_LOOSELY,
            ),
            wrong(
                "/linux/devices",
                r#"[{"type":"x","path":"/dev/x"}]"#,
                r#"linux.devices[0].type: unknown "x""#,
            ),
            ours(
                "/linux/maskedPaths/-",
                r#""proc""#,
                "linux.maskedPaths[10]: must be an absolute path",
                NOT_CHECKED,
            ),
            ours(
                "/linux/readonlyPaths/-",
                r#""proc""#,
                "linux.readonlyPaths[5]: must be an absolute path",
                NOT_CHECKED,
            ),
            wrong("/linux/rootfsPropagation", r#""sharde""#, r#"linux.rootfsPropagation: unknown "sharde""#),
            ours(
                "/linux/personality",
                r#"{"domain":"BSD"}"#,
                "linux.personality.domain: unknown",
                "not known to runc 1.1",
            ),
            wrong("/linux/seccomp", r#"{"defaultAction":"ALLOW"}"#, "linux.seccomp.defaultAction: unknown"),
            ours(
                "/linux/intelRdt",
                r#"{"closID":"x"}"#,
                "linux.intelRdt: no resctrl is mounted at",
                "supported, if the processor has it",
            ),
        ],
    );
}

fn contradictory_fields_are_refused(t: &Test) {
    all_wrong(
        t,
        &[
            wrong(
                "/linux/namespaces",
                r#"[{"type":"pid"},{"type":"mount"}]"#,
                "hostname: needs a uts namespace (add {\"type\": \"uts\"} to linux.namespaces)",
            ),
            ours(
                "/linux/uidMappings",
                r#"[{"containerID":0,"hostID":0,"size":1}]"#,
                "linux.uidMappings: needs a user namespace",
                "it is ignored",
            ),
            ours(
                "/mounts/-",
                r#"{"destination":"/x","source":"/x","options":["bind","idmap"]}"#,
                "mounts[6].options: idmap and ridmap need uidMappings and gidMappings",
                "not known to runc 1.1",
            ),
        ],
    );
}
