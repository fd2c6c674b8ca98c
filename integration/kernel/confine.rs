//! `linux.maskedPaths`, `readonlyPaths`, `sysctl`, `personality` and `mountLabel`.

use crate::cases;
use crate::common::{Case, Runtime, Test};
use serde_json::json;
use std::fs;

pub const CASES: &[Case] = cases![
    masked_file_reads_empty_and_masked_directory_is_empty,
    missing_masked_path_is_ignored,
    masked_path_through_a_symlink_hides_the_target,
    readonly_paths_cannot_be_written,
    missing_readonly_path_is_ignored,
    sysctl_is_set_in_the_containers_namespaces,
    non_namespaced_sysctl_is_refused,
    sysctl_without_its_namespace_is_refused,
    sysctl_with_path_traversal_is_refused,
    missing_sysctl_is_named_in_the_error,
    personality_linux32_changes_the_machine_name,
    unknown_personality_is_refused,
    mount_label_without_selinux_is_ignored,
];

fn masked_file_reads_empty_and_masked_directory_is_empty(t: &Test) {
    let mut c = t.container();
    fs::create_dir(c.rootfs.join("secret")).unwrap();
    fs::write(c.rootfs.join("secret/key"), "k").unwrap();
    fs::write(c.rootfs.join("password"), "p").unwrap();
    c.config["root"]["readonly"] = json!(false);
    c.config["linux"]["maskedPaths"] = json!(["/secret", "/password", "/proc/keys"]);
    let seen = c
        .probe("list /secret read /secret/key write /secret/new x read /password read /proc/keys")
        .run()
        .ok()
        .probe();
    assert_eq!(*seen.result("list /secret"), json!([]));
    assert_eq!(seen.text("read /secret/key"), "ENOENT");
    assert_eq!(seen.result("write"), "EROFS");
    assert_eq!((seen.text("read /password"), seen.text("read /proc/keys")), ("", ""));
}

fn missing_masked_path_is_ignored(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["maskedPaths"] = json!(["/not/there", "/etc/not/there"]);
    c.run().ok();
}

fn masked_path_through_a_symlink_hides_the_target(t: &Test) {
    let mut c = t.container();
    fs::write(c.rootfs.join("real"), "secret").unwrap();
    std::os::unix::fs::symlink("/real", c.rootfs.join("link")).unwrap();
    c.config["linux"]["maskedPaths"] = json!(["/link"]);
    assert_eq!(c.probe("read /real").run().ok().probe().text("read"), "");
}

fn readonly_paths_cannot_be_written(t: &Test) {
    let mut c = t.container();
    c.config["root"]["readonly"] = json!(false);
    c.config["linux"]["readonlyPaths"] = json!(["/etc", "/root", "/proc/sys"]);
    let seen = c
        .probe("write /etc/new x write /proc/sys/kernel/hostname x write /tmp/new x mounts")
        .run()
        .ok()
        .probe();
    assert_eq!(seen.result("write /etc/new"), "EROFS");
    assert_eq!(seen.result("write /proc/sys/kernel/hostname"), "EROFS");
    assert_eq!(seen.result("write /tmp/new"), "ok");
    assert!(seen.mount("/etc")["options"].as_array().unwrap().contains(&json!("ro")));
}

fn missing_readonly_path_is_ignored(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["readonlyPaths"] = json!(["/not/there"]);
    c.run().ok();
}

fn sysctl_is_set_in_the_containers_namespaces(t: &Test) {
    let mut c = t.container();
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    c.config["linux"]["sysctl"] =
        json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "8000", "net/ipv4/ip_default_ttl": "77"});
    let dir = "/proc/sys";
    let words =
        format!("read {dir}/net/ipv4/ip_forward read {dir}/kernel/msgmax read {dir}/net/ipv4/ip_default_ttl");
    let seen = c.probe(&words).run().ok().probe();
    assert_eq!(seen.text(&format!("read {dir}/net/ipv4/ip_forward")), "1\n");
    assert_eq!(seen.text(&format!("read {dir}/kernel/msgmax")), "8000\n");
    assert_eq!(seen.text(&format!("read {dir}/net/ipv4/ip_default_ttl")), "77\n");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), before);
}

#[track_caller]
fn refused(t: &Test, key: &str, without: &str) {
    let mut c = t.container();
    c.without_namespace(without);
    c.config["linux"]["sysctl"] = json!({key: "1"});
    c.create().exits(1).fails(&["sysctl"]).fails(&[key]);
}

fn non_namespaced_sysctl_is_refused(t: &Test) {
    for key in ["vm.swappiness", "kernel.sysrq", "kernel.core_pattern", "fs.file-max"] {
        refused(t, key, "none");
    }
}

fn sysctl_without_its_namespace_is_refused(t: &Test) {
    refused(t, "net.ipv4.ip_forward", "network");
    refused(t, "kernel.msgmax", "ipc");
}

fn sysctl_with_path_traversal_is_refused(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["sysctl"] = json!({"net/../vm/swappiness": "1"});
    c.create().exits(1);
}

fn missing_sysctl_is_named_in_the_error(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["sysctl"] = json!({"net.ipv4.no_such_knob": "1"});
    c.create().exits(1).fails(&["no_such_knob"]).fails(&["no such file or directory"]);
}

fn personality_linux32_changes_the_machine_name(t: &Test) {
    let shown = std::process::Command::new("setarch").args(["linux32", "uname", "-m"]).output();
    let shown = shown.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_string());
    if shown.is_empty() || shown == std::env::consts::ARCH {
        t.skip("uname of this kernel does not show the personality");
    }
    let mut c = t.container();
    c.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    assert_eq!(c.probe("machine").run().ok().probe()["machine"], json!(shown));
}

fn unknown_personality_is_refused(t: &Test) {
    let mut c = t.container();
    c.config["linux"]["personality"] = json!({"domain": "PLAN9"});
    c.create().exits(1).fails(&["personality", "PLAN9"]);
}

fn mount_label_without_selinux_is_ignored(t: &Test) {
    let label = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    if label.starts_with("system_u:") || label.starts_with("unconfined_u:") {
        t.skip("SELinux is enabled on this host");
    }
    let mut c = t.container();
    c.config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0:c1,c2");
    c.mount("/mnt", "tmpfs", "t", &["mode=711"]);
    let out = c.probe("mounts").run().ok();
    assert!(!out.probe().mount("/mnt").to_string().contains("context"));
    let says = "linux.mountLabel: SELinux is not enabled on this host, it is ignored";
    assert!(t.runtime != Runtime::Embrun || out.stderr.contains(says), "{}", out.stderr);
}
