//! Device rules, as a process in the cgroup experiences them.

use super::*;

fn usable(own: &Own) -> (bool, bool, bool) {
    let mut shell = Shell::new();
    own.put(&shell);
    (shell.ask("true < /dev/null > /dev/null"), shell.ask("true < /dev/kmsg"), shell.ask("true > /dev/kmsg"))
}

#[test]
fn default_devices_alone_are_allowed_without_rules() {
    if !mounted() {
        return;
    }
    let own = Own::new("devices-none");
    assert_eq!(usable(&own), (true, false, false));
}

#[test]
fn rules_apply_in_order() {
    if !mounted() {
        return;
    }
    for (rules, may) in [
        (r#"{"allow":false,"access":"rwm"}"#, (true, false, false)),
        (
            r#"{"allow":false},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}"#,
            (true, true, false),
        ),
        (r#"{"allow":false},{"allow":true,"type":"c","major":1,"access":"w"}"#, (true, false, true)),
        (
            r#"{"allow":true,"type":"c","major":1,"minor":11,"access":"rwm"},{"allow":false}"#,
            (true, false, false),
        ),
        (r#"{"allow":true,"access":"rwm"}"#, (true, true, true)),
        (
            r#"{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":11,"access":"w"}"#,
            (true, true, false),
        ),
    ] {
        let own = Own::with("devices", &read(&format!(r#"{{"devices":[{rules}]}}"#)));
        assert_eq!(usable(&own), may, "(null, read kmsg, write kmsg) under {rules}");
    }
}

/// The device program works on its own, without the lists of v1.
///
/// It also runs on a v2 hierarchy that is mounted beside v1.
#[test]
fn device_program_is_enforced_on_any_v2() {
    if !mounted() {
        return;
    }
    use embrun::cgroup::limits::devices;
    use embrun::sys::bpf;
    use std::os::fd::AsFd;
    let own = Own::new("devices-v2");
    let Some(dir) = own.cgroup.v2_dir() else {
        eprintln!("SKIPPED: there is no cgroup v2 on this host");
        return;
    };
    let everything = read(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#);
    set(&own.cgroup, &everything).unwrap();
    assert_eq!(usable(&own), (true, true, true));
    for (text, may) in [
        (r#"{"devices":[]}"#, (true, false, false)),
        (r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#, (true, true, false)),
        (
            r#"{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","access":"w"}]}"#,
            (true, true, false),
        ),
    ] {
        let program =
            embrun::cgroup::limits::device_program::compile(&devices::complete(&read(text).devices)).unwrap();
        let program = bpf::load_device_program(&program).unwrap();
        bpf::set_device_program(dir, program.as_fd()).unwrap();
        assert_eq!(bpf::device_programs(dir).unwrap().len(), 1, "the new program must replace the old one");
        assert_eq!(usable(&own), may, "(null, read kmsg, write kmsg) under {text}");
    }
}

/// A kernel may lack bpf(2) or device programs; the lists of v1 need neither.
#[test]
fn v2_without_ebpf_accepts_rules_that_deny_nothing() {
    if !mounted() {
        return;
    }
    use embrun::seccomp::{arch::Arch, compile, policy};
    for (number, option) in [(libc::ENOSYS, "CONFIG_BPF_SYSCALL"), (libc::EINVAL, "CONFIG_CGROUP_BPF")] {
        // A seccomp filter applies to one thread.
        let test = move || {
            let own = Own::new(option);
            let profile = format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW",
                    "syscalls":[{{"names":["bpf"],"action":"SCMP_ACT_ERRNO","errnoRet":{number}}}]}}"#
            );
            let policy = policy::policy(&Json::parse(profile.as_bytes()).unwrap()).unwrap();
            let filter = compile::compile(&policy, Arch::NATIVE).unwrap();
            embrun::sys::seccomp::load(&filter.program, 0).unwrap();
            let apply = |rules: &str| set(&own.cgroup, &read(rules));
            apply(r#"{"devices":[{"allow":false},{"allow":true,"access":"rwm"}]}"#).unwrap();
            let denied = apply(r#"{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"b"}]}"#);
            match on_v1("devices") {
                true => denied.unwrap(),
                false => {
                    let e = denied.unwrap_err().to_string();
                    assert!(e.contains(option) && e.contains("denies nothing"), "{e}");
                }
            }
        };
        std::thread::spawn(test).join().unwrap();
    }
}
