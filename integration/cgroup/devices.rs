//! Device rules, as a process in the cgroup meets them.

use super::*;

fn usable(own: &Own) -> (bool, bool, bool) {
    let mut shell = Shell::new();
    own.cgroup.join(shell.pid(), false).unwrap();
    (shell.ask("true < /dev/null > /dev/null"), shell.ask("true < /dev/kmsg"), shell.ask("true > /dev/kmsg"))
}

#[test]
fn only_the_default_devices_without_rules() {
    if !mounted() {
        return;
    }
    let own = Own::new("devices-none");
    assert_eq!(usable(&own), (true, false, false));
}

#[test]
fn rules_hold_in_order() {
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
        (r#"{"allow":true,"type":"c","major":1,"minor":11},{"allow":false}"#, (true, false, false)),
        (r#"{"allow":true}"#, (true, true, true)),
        (
            r#"{"allow":true},{"allow":false,"type":"c","major":1,"minor":11,"access":"w"}"#,
            (true, true, false),
        ),
    ] {
        let own = Own::with("devices", &read(&format!(r#"{{"devices":[{rules}]}}"#)));
        assert_eq!(usable(&own), may, "(null, read kmsg, write kmsg) under {rules}");
    }
}

/// On a v2 tree beside v1 hierarchies too: the program by itself, without v1's lists.
#[test]
fn the_program_holds_on_any_v2() {
    if !mounted() {
        return;
    }
    use embrun::cgroup::devices;
    use embrun::sys::bpf;
    use std::os::fd::AsFd;
    let own = Own::new("devices-v2");
    let Some(dir) = own.cgroup.v2_dir() else {
        eprintln!("SKIPPED: there is no cgroup v2 on this host");
        return;
    };
    let everything = read(r#"{"devices":[{"allow":true}]}"#);
    own.cgroup.apply(&everything, Part::All).unwrap();
    assert_eq!(usable(&own), (true, true, true));
    for (text, may) in [
        (r#"{"devices":[]}"#, (true, false, false)),
        (r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#, (true, true, false)),
        (r#"{"devices":[{"allow":true},{"allow":false,"type":"c","access":"w"}]}"#, (true, true, false)),
    ] {
        let program =
            embrun::cgroup::device_program::compile(&devices::complete(&read(text).devices)).unwrap();
        let program = bpf::load_device_program(&program).unwrap();
        bpf::set_device_program(dir, program.as_fd()).unwrap();
        assert_eq!(bpf::device_programs(dir).unwrap().len(), 1, "the new one replaces the old");
        assert_eq!(usable(&own), may, "(null, read kmsg, write kmsg) under {text}");
    }
}
