//! AppArmor profiles and SELinux labels, of a container and of exec.
//!
//! `make test-labels` boots guests with either module, loads the policies of `integration/guest/labels` and sets `IT_LABELS`.

use crate::cases;
use crate::common::{Case, Container, Runtime, Test};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const CASES: &[Case] = cases![
    empty_and_unconfined_are_valid_everywhere,
    profile_and_label_without_the_module_are_refused,
    apparmor_profile_confines_the_program,
    apparmor_profile_of_exec_is_the_containers_or_the_named_one,
    apparmor_profile_that_is_not_loaded_is_one_clear_error,
    apparmor_profile_holds_for_the_containers_hooks_only,
    apparmor_profile_is_stacked_on_that_of_the_runtime,
    apparmor_profile_is_not_written_to_files_of_the_image,
    selinux_label_confines_the_program,
    selinux_label_of_exec_is_the_containers_or_the_named_one,
    selinux_label_that_the_policy_lacks_is_one_clear_error,
    selinux_label_is_that_of_the_session_keyring,
    selinux_label_of_new_mounts_is_the_mount_label,
];

/// The work of the process; the policies of the guests deny the first write.
const WRITES: &str = "read /proc/self/attr/current write /denied/x x write /allowed/x x";
const PROFILE: &str = "embrun-test";
const LABEL: &str = "sys_u:sys_r:box_t:s0:c0,c1";
const FILES: &str = "sys_u:object_r:boxfile_t:s0:c0,c1";
const OTHER: &str = "sys_u:sys_r:other_t:s0:c2";

/// Skips unless the guest has this module and the policy of the tests.
fn needs(t: &Test, module: &str) {
    if std::env::var("IT_LABELS").as_deref() != Ok(module) {
        t.skip(&format!("{module} with the policy of the tests is only in make test-labels"));
    }
}

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

fn has_selinux() -> bool {
    let current = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    !has_apparmor() && current.contains(':')
}

/// A container that writes to two mounts.
fn writer(t: &Test) -> Container<'_> {
    let mut c = t.container();
    c.mount("/denied", "tmpfs", "t", &["mode=777"]).mount("/allowed", "tmpfs", "t", &["mode=777"]);
    c.probe(WRITES);
    c
}

fn exec_of(t: &Test, c: &Container<'_>, process: &Value) -> String {
    let mut whole =
        json!({"args": ["cat", "/proc/self/attr/current"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    whole["env"] = json!(["PATH=/bin"]);
    for (key, value) in process.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let file = t.path("process.json");
    fs::write(&file, whole.to_string()).unwrap();
    trimmed(&t.call(&["exec", "--process", file.to_str().unwrap(), &c.id]).ok().stdout)
}

fn trimmed(label: &str) -> String {
    label.trim_end_matches(['\0', '\n']).to_owned()
}

fn current(c: &Container<'_>, flags: &[&str]) -> String {
    trimmed(&c.exec_with(flags, &["cat", "/proc/self/attr/current"]).ok().stdout)
}

fn empty_and_unconfined_are_valid_everywhere(t: &Test) {
    for (profile, label) in [("", ""), ("unconfined", "")] {
        let mut c = t.container();
        c.config["process"]["apparmorProfile"] = json!(profile);
        c.config["process"]["selinuxLabel"] = json!(label);
        c.probe("say pause").up();
        c.exec_with(&["--apparmor", "unconfined"], &["true"]).ok();
        c.exec_with(&["--apparmor", "", "--process-label", ""], &["true"]).ok();
        c.remove();
    }
}

fn profile_and_label_without_the_module_are_refused(t: &Test) {
    let mut refused = Vec::new();
    if !has_apparmor() {
        refused.push(("apparmorProfile", "--apparmor", "web", "apparmor failed to apply profile"));
    }
    if !has_selinux() {
        let words = "selinux label is specified in config, but selinux is disabled or not supported";
        refused.push(("selinuxLabel", "--process-label", "system_u:system_r:container_t:s0", words));
    }
    for (field, flag, value, words) in refused {
        let mut c = t.container();
        c.config["process"][field] = json!(value);
        c.create().exits(1).fails(&[words]);
        let mut c = t.container();
        c.probe("say pause").up();
        let out = c.exec_with(&[flag, value], &["true"]).exits(255).fails(&[words]);
        assert!(t.runtime != Runtime::Embrun || out.stderr.contains(field), "{}", out.stderr);
        c.remove();
    }
}

fn apparmor_profile_confines_the_program(t: &Test) {
    needs(t, "apparmor");
    for (no_new_privileges, uid) in [(false, 0), (true, 0), (true, 1000)] {
        for (profile, label, denied) in
            [("", "unconfined", "ok"), (PROFILE, "embrun-test (enforce)", "EACCES")]
        {
            let mut c = writer(t);
            c.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            c.config["process"]["user"]["uid"] = json!(uid);
            if !profile.is_empty() {
                c.config["process"]["apparmorProfile"] = json!(profile);
            }
            let seen = c.run().ok().probe();
            assert_eq!(trimmed(seen.text("read /proc/self/attr/current")), label);
            assert_eq!((seen.text("write /denied/x"), seen.text("write /allowed/x")), (denied, "ok"));
        }
    }
}

fn apparmor_profile_of_exec_is_the_containers_or_the_named_one(t: &Test) {
    needs(t, "apparmor");
    let mut c = writer(t);
    c.config["process"]["apparmorProfile"] = json!(PROFILE);
    c.probe("say pause").up();
    let own = format!("{PROFILE} (enforce)");
    assert_eq!(current(&c, &[]), own);
    assert_eq!(current(&c, &["--apparmor", ""]), own);
    assert_eq!(current(&c, &["--apparmor", "unconfined"]), "unconfined");
    assert_eq!(current(&c, &["--apparmor", "embrun-outer", "--no-new-privs"]), "embrun-outer (enforce)");
    let seen = c.exec(&["probe", "write", "/denied/x", "x", "write", "/allowed/x", "x"]).ok().probe();
    assert_eq!((seen.text("write /denied/x"), seen.text("write /allowed/x")), ("EACCES", "ok"));
    assert_eq!(exec_of(t, &c, &json!({"apparmorProfile": "unconfined"})), "unconfined");
    assert_eq!(exec_of(t, &c, &json!({"apparmorProfile": "embrun-outer"})), "embrun-outer (enforce)");
    // runc 1.1 would leave it unconfined.
    if t.runtime != Runtime::Runc {
        assert_eq!(exec_of(t, &c, &json!({})), own);
        assert_eq!(exec_of(t, &c, &json!({"apparmorProfile": "", "noNewPrivileges": true})), own);
    }
    c.remove();
}

fn apparmor_profile_that_is_not_loaded_is_one_clear_error(t: &Test) {
    needs(t, "apparmor");
    let says: &[&str] = match t.runtime {
        Runtime::Embrun => &[
            "process.apparmorProfile",
            "nosuch",
            "the profile is not loaded (load it with apparmor_parser -r FILE)",
            // podman looks for this.
            "`/proc/self/attr/apparmor/exec`",
        ],
        _ => &["attr"],
    };
    let mut c = t.container();
    c.config["process"]["apparmorProfile"] = json!("nosuch");
    c.create().exits(1).fails(says);
    let mut c = t.container();
    c.probe("say pause").up();
    c.exec_with(&["--apparmor", "nosuch"], &["true"]).exits(255).fails(says);
    assert_eq!(current(&c, &[]), "unconfined");
    c.remove();
}

/// Like in runc, a hook with a program of the container is confined.
fn apparmor_profile_holds_for_the_containers_hooks_only(t: &Test) {
    needs(t, "apparmor");
    let mut c = t.container();
    let share = c.share();
    let hook = |kind: &str, file: &str| {
        let script = format!("read -r label < /proc/self/attr/current; echo \"$label\" > {file}/{kind}");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    let outside = share.to_str().unwrap();
    c.config["hooks"] = json!({
        "createRuntime": hook("createRuntime", outside),
        "createContainer": hook("createContainer", outside),
        "startContainer": hook("startContainer", "/shared"),
    });
    c.config["process"]["apparmorProfile"] = json!(PROFILE);
    c.probe("pid").run().ok();
    let says = |kind: &str| trimmed(&fs::read_to_string(share.join(kind)).unwrap());
    assert_eq!(says("createRuntime"), "unconfined");
    assert_eq!(says("createContainer"), "unconfined");
    assert_eq!(says("startContainer"), format!("{PROFILE} (enforce)"));
}

fn apparmor_profile_is_stacked_on_that_of_the_runtime(t: &Test) {
    needs(t, "apparmor");
    let confined = |c: &Container<'_>, outer: &str| {
        c.write();
        let command = t.command(&["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
        let mut sh = Command::new("sh");
        // The next program of the shell is confined.
        sh.args(["-c", "echo exec $0 > /proc/self/attr/exec && exec \"$@\"", outer]);
        sh.arg(command.get_program()).args(command.get_args());
        t.finish(sh)
    };
    for (profile, no_new_privileges, says) in [
        (PROFILE, false, "embrun-test (enforce)"),
        (PROFILE, true, "embrun-outer//&embrun-test (enforce)"),
        ("unconfined", false, "unconfined"),
        ("unconfined", true, "embrun-outer//&unconfined (enforce)"),
    ] {
        let mut c = writer(t);
        c.config["process"]["apparmorProfile"] = json!(profile);
        c.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let out = confined(&c, "embrun-outer").ok();
        let seen = out.probe();
        let mut label = trimmed(seen.text("read /proc/self/attr/current"));
        // The kernel sorts the names of a stack by their address.
        let mut names: Vec<&str> = label.trim_end_matches(" (enforce)").split("//&").collect();
        if names.len() > 1 {
            names.sort_unstable();
            label = format!("{} (enforce)", names.join("//&"));
        }
        assert_eq!(label, says, "{profile} {no_new_privileges}");
        let denied = profile == PROFILE;
        assert_eq!(seen.text("write /denied/x"), if denied { "EACCES" } else { "ok" });
    }
}

/// The image has files where the container's procfs would have the attributes.
fn apparmor_profile_is_not_written_to_files_of_the_image(t: &Test) {
    needs(t, "apparmor");
    let mut c = writer(t);
    c.config["mounts"].as_array_mut().unwrap().retain(|m| m["type"] != "proc");
    for dir in ["self/attr/apparmor", "thread-self/attr/apparmor"] {
        let dir = c.rootfs.join("proc").join(dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("exec"), "").unwrap();
        fs::write(dir.join("../exec"), "").unwrap();
    }
    for key in ["maskedPaths", "readonlyPaths"] {
        c.config["linux"][key] = json!([]);
    }
    c.config["process"]["apparmorProfile"] = json!(PROFILE);
    c.probe("write /denied/x x write /allowed/x x");
    let seen = c.run().ok().probe();
    assert_eq!((seen.text("write /denied/x"), seen.text("write /allowed/x")), ("EACCES", "ok"));
    for file in ["self/attr/apparmor/exec", "self/attr/exec", "thread-self/attr/exec"] {
        assert_eq!(fs::read_to_string(c.rootfs.join("proc").join(file)).unwrap(), "");
    }
}

fn selinux_label_confines_the_program(t: &Test) {
    needs(t, "selinux");
    for (no_new_privileges, uid) in [(false, 0), (true, 0), (true, 1000)] {
        for (label, denied) in [("", "ok"), (LABEL, "EACCES")] {
            let mut c = writer(t);
            c.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            c.config["process"]["user"]["uid"] = json!(uid);
            if !label.is_empty() {
                c.config["process"]["selinuxLabel"] = json!(label);
            }
            let seen = c.run().ok().probe();
            let host = "sys_u:sys_r:host_t:s0-s0:c0.c2";
            let own = if label.is_empty() { host } else { label };
            assert_eq!(trimmed(seen.text("read /proc/self/attr/current")), own);
            assert_eq!(seen.text("write /denied/x"), denied);
        }
    }
}

fn selinux_label_of_exec_is_the_containers_or_the_named_one(t: &Test) {
    needs(t, "selinux");
    let mut c = writer(t);
    c.config["process"]["selinuxLabel"] = json!(LABEL);
    c.probe("say pause").up();
    assert_eq!(current(&c, &[]), LABEL);
    assert_eq!(current(&c, &["--process-label", OTHER]), OTHER);
    assert_eq!(current(&c, &["--process-label", OTHER, "--no-new-privs"]), OTHER);
    assert_eq!(exec_of(t, &c, &json!({})), LABEL);
    assert_eq!(exec_of(t, &c, &json!({"selinuxLabel": OTHER})), OTHER);
    assert_eq!(c.exec(&["probe", "write", "/denied/x", "x"]).ok().probe().text("write /denied/x"), "EACCES");
    c.remove();
}

fn selinux_label_that_the_policy_lacks_is_one_clear_error(t: &Test) {
    needs(t, "selinux");
    let lacking = "sys_u:sys_r:nosuch_t:s0";
    let says: &[&str] = match t.runtime {
        Runtime::Embrun => {
            &["process.selinuxLabel", lacking, "`/proc/", "the policy does not have this label"]
        }
        _ => &["attr"],
    };
    let mut c = t.container();
    c.config["process"]["selinuxLabel"] = json!(lacking);
    c.create().exits(1).fails(says);
    let mut c = t.container();
    c.probe("say pause").up();
    c.exec_with(&["--process-label", lacking], &["true"]).exits(255).fails(says);
    c.remove();
}

fn selinux_label_is_that_of_the_session_keyring(t: &Test) {
    needs(t, "selinux");
    let mut c = t.container();
    c.config["process"]["selinuxLabel"] = json!(LABEL);
    c.probe("say pause").up();
    // KEYCTL_DESCRIBE of KEY_SPEC_SESSION_KEYRING (keyctl(2)).
    let keyctl = libc::SYS_keyctl.to_string();
    let describe = ["probe", "syscall", &keyctl, "4", "6", "-3", "0", "0"];
    let result = |flags: &[&str]| {
        let seen = c.exec_with(flags, &describe).ok().probe();
        seen["acts"][0].as_array().unwrap().last().unwrap().clone()
    };
    assert!(result(&[]).is_number(), "{}", result(&[]));
    assert_eq!(result(&["--process-label", OTHER]), "EACCES");
    c.remove();
}

/// The SELinux labels of files.
fn labels_of(root: &Path, names: &[&str]) -> Vec<String> {
    let script =
        "import os, sys; [print(os.getxattr(p, 'security.selinux')[:-1].decode()) for p in sys.argv[1:]]";
    let paths = names.iter().map(|name| root.join(name));
    let out = Command::new("python3").args(["-Sc", script]).args(paths).output().expect("python3");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

fn selinux_label_of_new_mounts_is_the_mount_label(t: &Test) {
    needs(t, "selinux");
    let mut c = writer(t);
    c.share();
    fs::create_dir_all(c.rootfs.join("secret")).unwrap();
    c.mount("/security", "ramfs", "r", &[]);
    if t.runtime == Runtime::Embrun {
        // It has one instance, whose label the kernel does not change. runc and crun fail.
        c.mount("/kernel", "securityfs", "s", &["ro"]);
    }
    c.config["root"]["readonly"] = json!(false);
    c.config["process"]["selinuxLabel"] = json!(LABEL);
    c.config["linux"]["mountLabel"] = json!(FILES);
    c.config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/secret", "/sys/firmware"]);
    c.probe("say pause").up();
    let root = PathBuf::from(format!("/proc/{}/root", c.pid()));
    let labelled = ["allowed", "dev", "dev/null", "dev/pts", "dev/shm", "dev/mqueue", "secret", "security"];
    let others = ["proc", "sys", "shared", "etc"];
    let labels = labels_of(&root, &[&labelled[..], &others[..]].concat());
    assert_eq!(labels[..labelled.len()], [FILES; 8]);
    assert_eq!(labels[labelled.len()..], ["sys_u:object_r:file_t:s0"; 4]);
    let seen = c.exec(&["probe", "write", "/etc/x", "x", "write", "/allowed/x", "x"]).ok().probe();
    assert_eq!((seen.text("write /etc/x"), seen.text("write /allowed/x")), ("EACCES", "ok"));
    c.remove();
}
