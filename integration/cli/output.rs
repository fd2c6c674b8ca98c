//! The output of commands, and errors while writing it.

use crate::{Scratch, read, said};

#[test]
fn version_has_the_form_that_engines_parse() {
    let s = Scratch::new();
    let version = s.call(&["--version"]).ok().to_owned();
    assert_eq!(version.lines().next(), Some(concat!("embrun version ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(version.lines().filter(|l| l.contains("version")).count(), 1, "dockerd splits each such line");
    assert!(version.contains("\nspec: 1."));
    assert_eq!(s.call(&["-v"]).ok(), version);
}

/// Engines and scanners look for two lines of runc, and the features of crun.
#[test]
fn version_under_another_name_is_that_of_a_runtime() {
    let s = Scratch::new();
    let own = env!("CARGO_PKG_VERSION");
    for (name, number) in [("runc", "1.5.1"), ("crun", "1.30")] {
        let link = s.path(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_embrun"), &link).unwrap();
        for flags in [&["--version"][..], &["--root", "/run/here", "-v"]] {
            let mut command = std::process::Command::new(&link);
            command.args(flags);
            let version = said(command).ok().to_owned();
            let lines: Vec<_> = version.lines().collect();
            assert_eq!(lines[0], format!("{name} version {number}+embrun.{own}"));
            assert!(lines[1].starts_with("commit: "), "{version}");
            assert_eq!(lines.iter().filter(|l| l.contains("version")).count(), 1);
            assert!(lines.contains(&"spec: 1.3.0"), "{version}");
            let crun = ["rundir: /run/here", "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF"];
            let has = crun.map(|line| lines.contains(&line));
            assert_eq!(has, [name == "crun" && flags.len() > 1, name == "crun"], "{version}");
        }
    }
}

/// CRI-O reads stdout and stderr together; other programs decode with this crate.
#[test]
fn features_can_be_decoded_and_stderr_is_empty() {
    let s = Scratch::new();
    let text = s.call(&["features"]).ok().to_owned();
    let features: oci_spec::runtime::Features = serde_json::from_str(&text).unwrap();
    assert_eq!(features.oci_version_min(), "1.0.0");
    assert!(features.mount_options().as_ref().unwrap().iter().any(|o| o == "rro"));
    let linux = features.linux().as_ref().unwrap();
    assert_eq!(linux.seccomp().as_ref().unwrap().enabled(), &Some(true));
    assert!(text.starts_with("{\n    \"ociVersionMin\""));
}

#[test]
fn empty_list_has_its_three_forms() {
    let s = Scratch::with_root();
    assert_eq!(s.call(&["list"]).ok(), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    assert_eq!(s.call(&["list", "--format=json"]).ok(), "null\n");
    assert_eq!(s.call(&["list", "-q"]).ok(), "");
    assert_eq!(std::fs::read_dir(s.path("root")).unwrap().count(), 0, "a reading command creates nothing");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let s = Scratch::with_root();
    for command in ["features", "list", "list -f json", "--version", "--help", "help run"] {
        let said = s.shell(&format!("$E {command} > /dev/full"));
        said.fails("write to stdout: no space left on device (ENOSPC)");
        // The reader has ended for sure, because the shell waited for it.
        let said = s
            .shell(&format!("{{ sleep 0.1; $E {command}; echo $? >&2; }} 2> err | true; sleep 0.3; cat err"));
        let text = said.ok().to_owned();
        assert_eq!(text, "embrun: error: write to stdout: broken pipe (EPIPE)\n1\n", "{command}");
        s.shell(&format!("ulimit -f 0; $E {command} > out")).fails("write to stdout: file too large (EFBIG)");
    }
}

#[test]
fn closed_standard_streams_do_no_harm() {
    let s = Scratch::new();
    let said = s.shell("$E --log log state web <&- >&- 2>&-; echo $?");
    assert_eq!(said.ok(), "1\n");
    // The log was not opened in place of a standard stream.
    assert_eq!(read(s.path("log")).lines().count(), 1);
}

#[test]
fn eight_descriptors_are_enough_for_list() {
    let s = Scratch::with_root();
    assert_eq!(s.shell("ulimit -n 8; $E list -q").ok(), "");
}
