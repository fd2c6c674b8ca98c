use super::*;
use crate::error::Error;
use crate::text::Keep;

fn read(text: &str) -> Read<Policy> {
    policy(&Json::parse(text.as_bytes()).unwrap())
}

#[test]
fn profiles_of_engines_are_read() {
    let p = read(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X32"],
        "flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW","errnoRet":null,
        "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
        {"names":["ptrace"],"action":"SCMP_ACT_TRACE"}]}"#,
    )
    .unwrap();
    assert_eq!(p.default_action, Action::Errno(38));
    assert_eq!(p.architectures, [Arch::X86_64, Arch::X32]);
    assert_eq!(p.flags, Some(LOG));
    assert_eq!(p.syscalls[0].args[0], Arg { index: 0, op: Op::MaskedEq, value: 0x7e02_0000, value_two: 0 });
    assert_eq!(p.syscalls[1].action, Action::Trace(1));
    assert_eq!(read(r#"{"defaultAction":"SCMP_ACT_KILL"}"#).unwrap().flags, None);
}

#[test]
fn section_without_default_action_and_rules_means_no_filter() {
    let read = |text: &str| {
        let mut policy = None;
        document::read(text.to_owned().into_bytes().keep(), &mut Section(&mut policy)).map(|()| policy)
    };
    for text in ["{}", r#"{"defaultAction":"","architectures":["SCMP_ARCH_X86_64"],"syscalls":[]}"#] {
        assert_eq!(read(text).unwrap(), None, "{text}");
    }
    assert!(read(r#"{"defaultAction":"SCMP_ACT_KILL"}"#).unwrap().is_some());
    for (text, says) in [
        ("[]", "must be an object"),
        (r#"{"defaultAction":5}"#, "defaultAction: must be a string"),
        (r#"{"architectures":["amd64"]}"#, "architectures[0]: unknown architecture"),
        (
            r#"{"defaultAction":"","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG"}]}"#,
            "defaultAction: is required",
        ),
    ] {
        let e = read(text).unwrap_err().to_string();
        assert!(e.contains(says), "{e:?} does not say {says:?}");
    }
}

/// Policies, and a part of the error.
const POLICIES: &[(&str, &str)] = &[
    ("{}", "defaultAction: is required"),
    (r#"{"defaultAction":"ALLOW"}"#, r#"defaultAction: unknown action "ALLOW""#),
    (
        r#"{"defaultAction":"SCMP_ACT_KILL","defaultErrnoRet":1}"#,
        "defaultErrnoRet: SCMP_ACT_KILL takes no errno",
    ),
    (
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#,
        "defaultErrnoRet: 4096 is not an errno (0 to 4095)",
    ),
    (
        r#"{"defaultAction":"SCMP_ACT_LOG","architectures":["SCMP_ARCH_X86","amd64"]}"#,
        r#"architectures[1]: unknown architecture "amd64""#,
    ),
    (
        r#"{"defaultAction":"SCMP_ACT_LOG","flags":["SECCOMP_FILTER_FLAG_NEW_LISTENER"]}"#,
        r#"flags[0]: unknown flag "SECCOMP_FILTER_FLAG_NEW_LISTENER""#,
    ),
    (r#"{"defaultAction":"SCMP_ACT_LOG","listenerMetadata":"x"}"#, "listenerMetadata: needs listenerPath"),
    (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "defaultAction: SCMP_ACT_NOTIFY cannot be the default"),
    (
        r#"{"defaultAction":"SCMP_ACT_LOG","listenerPath":"/a","syscalls":[{"names":["a","sendmsg"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        "syscalls[0].names: SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall",
    ),
];

/// Second rules of a policy, and a part of the error.
const RULES: &[(&str, &str)] = &[
    (r#"{"names":[],"action":"SCMP_ACT_LOG"}"#, "syscalls[1].names: must name at least one"),
    (r#"{"action":"SCMP_ACT_LOG"}"#, "syscalls[1].names: is required"),
    (r#"{"names":["b"]}"#, "syscalls[1].action: is required"),
    (
        r#"{"names":["b"],"action":"SCMP_ACT_ALLOW","errnoRet":1}"#,
        "syscalls[1].errnoRet: SCMP_ACT_ALLOW takes no errno",
    ),
    (
        r#"{"names":["b"],"action":"SCMP_ACT_NOTIFY"}"#,
        "syscalls[1].action: SCMP_ACT_NOTIFY needs listenerPath",
    ),
    (
        r#"{"names":["b"],"action":"SCMP_ACT_TRAP","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#,
        "syscalls[1].args[0].index: 6 is not an argument",
    ),
    (
        r#"{"names":["b"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]}"#,
        "syscalls[1].args[0].value: -1 is out of range",
    ),
    (
        r#"{"names":["b"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":1,"op":"=="}]}"#,
        r#"syscalls[1].args[0].op: unknown operator "==""#,
    ),
];

#[test]
fn errors_name_the_field() {
    let rule = |rest| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["a"],"action":"SCMP_ACT_LOG"}},{rest}]}}"#
        )
    };
    let policies = POLICIES.iter().map(|(text, says)| ((*text).to_owned(), says));
    for (text, says) in policies.chain(RULES.iter().map(|(text, says)| (rule(text), says))) {
        let e = Error::from(read(&text).unwrap_err()).to_string();
        assert!(e.contains(says), "{e:?} does not say {says:?}");
    }
}
