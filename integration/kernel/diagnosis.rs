//! Errors that name the reason of a failure, beside the words that engines match.

use crate::cases;
use crate::common::{Case, Container, Test};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

pub const CASES: &[Case] = cases![
    missing_interpreter_is_named,
    missing_elf_loader_is_named,
    program_of_another_architecture_is_named_with_both,
    noexec_mount_and_missing_permission_are_named,
    reason_is_not_given_if_another_one_applies,
    program_that_is_a_fifo_is_not_opened,
    failure_is_reported_although_the_filter_ends_the_diagnosis,
    rejected_option_of_a_file_system_is_named,
    root_that_is_no_mount_is_explained,
    unknown_keys_are_logged_with_debug,
    callers_who_are_not_root_learn_what_they_need,
];

/// Writes a program into the root.
fn program(c: &Container<'_>, name: &str, text: &[u8]) {
    let path = c.rootfs.join("bin").join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Requires one line with both texts from `run`, `start` and `exec`.
#[track_caller]
fn fails(c: &mut Container<'_>, command: &str, words: &str, reason: &str) {
    let says = |out: crate::common::Output| {
        let out = out.fails(&[words]);
        assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
        assert!(out.stderr.contains(words) && out.stderr.contains(reason), "{}", out.stderr);
        assert!(out.stderr.find(words) < out.stderr.find(reason), "{}", out.stderr);
    };
    says(c.args(&[command]).run());
    // The look-up is a part of create, and the exec one of start.
    let created = c.create();
    if created.status == 0 {
        says(c.start())
    } else {
        says(created)
    }
    c.call(&["delete", "--force"]).ok();
    c.args(&["sleep", "60"]).up();
    says(c.exec(&[command]));
    c.remove();
}

const NOT_FOUND: &str = "no such file or directory";

fn missing_interpreter_is_named(t: &Test) {
    let mut c = t.container();
    program(&c, "script", b"#! /usr/bin/no-shell -e\necho\n");
    fails(
        &mut c,
        "script",
        NOT_FOUND,
        r#"("/bin/script" needs an interpreter that the container lacks: /usr/bin/no-shell)"#,
    );
    program(&c, "dos", b"#!/bin/sh\r\necho\r\n");
    fails(
        &mut c,
        "/bin/dos",
        NOT_FOUND,
        r#"("/bin/dos" needs an interpreter that the container lacks: /bin/sh\r)"#,
    );
    // The kernel reads the first line only.
    program(&c, "empty", b"#! \n/bin/nope\n");
    c.args(&["empty"]);
    assert!(!c.run().fails(&["exec"]).stderr.contains("interpreter"));
    // An interpreter may be a script too.
    program(&c, "outer", b"#!/bin/script\n");
    fails(
        &mut c,
        "outer",
        NOT_FOUND,
        r#"("/bin/script" needs an interpreter that the container lacks: /usr/bin/no-shell)"#,
    );
    program(&c, "text", b"echo\n");
    fails(&mut c, "text", "exec format error", "is neither an ELF program nor a script that begins with #!");
}

/// An ELF program with one segment, which names its loader.
fn with_loader(wide: bool, loader: &str) -> Vec<u8> {
    let (machine, header, entry) = match (std::env::consts::ARCH, wide) {
        ("x86_64", true) => (62, 64, 56),
        ("x86_64", false) => (3, 52, 32),
        ("aarch64", true) => (183, 64, 56),
        ("aarch64" | "arm", _) => (40, 52, 32),
        (other, _) => panic!("{other}"),
    };
    let mut elf = vec![0; header + entry];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16] = 2;
    elf[18] = machine;
    elf[20] = 1;
    let place = (header + entry) as u8;
    let length = loader.len() as u8 + 1;
    if entry == 56 {
        (elf[32], elf[52], elf[54], elf[56]) = (64, 64, 56, 1);
        let segment = &mut elf[64..];
        (segment[0], segment[8], segment[32], segment[40]) = (3, place, length, length);
    } else {
        elf[4] = 1;
        (elf[28], elf[40], elf[42], elf[44]) = (52, 52, 32, 1);
        let segment = &mut elf[52..];
        (segment[0], segment[4], segment[16], segment[20]) = (3, place, length, length);
    }
    elf.extend(loader.as_bytes());
    elf.push(0);
    elf
}

fn missing_elf_loader_is_named(t: &Test) {
    let mut c = t.container();
    let reason = "needs an ELF loader that the container lacks: /lib/ld-none.so.1)";
    program(&c, "wide", &with_loader(true, "/lib/ld-none.so.1"));
    fails(&mut c, "wide", NOT_FOUND, reason);
    program(&c, "interpreted", b"#!/bin/wide\n");
    fails(&mut c, "interpreted", NOT_FOUND, reason);
    // Not every 64-bit kernel executes 32-bit programs.
    program(&c, "narrow", &with_loader(false, "/lib/ld-none.so.1"));
    let out = c.args(&["narrow"]).run().fails(&[NOT_FOUND, "exec format error"]);
    assert!(out.stderr.contains(reason) || out.stderr.contains("exec format error"), "{}", out.stderr);
}

fn program_of_another_architecture_is_named_with_both(t: &Test) {
    let mut c = t.container();
    let (number, name) = if cfg!(target_arch = "x86_64") { (183, "aarch64") } else { (62, "x86_64") };
    let mut elf = fs::read(c.rootfs.join("bin/busybox")).unwrap();
    elf[18] = number;
    program(&c, "foreign", &elf);
    let reason =
        format!(r#"("/bin/foreign" is a program for {name}, this machine is {})"#, std::env::consts::ARCH);
    fails(&mut c, "foreign", "exec format error", &reason);
}

fn noexec_mount_and_missing_permission_are_named(t: &Test) {
    let mut c = t.container();
    fs::write(c.rootfs.join("bin/plain"), "#!/bin/sh\n").unwrap();
    fails(&mut c, "/bin/plain", "permission denied", r#"("/bin/plain" lacks the permission to execute it)"#);
    let bin = c.rootfs.join("bin");
    c.mount("/data", "bind", bin.to_str().unwrap(), &["bind", "noexec"]);
    let reason = r#"("/data/true" is on a mount with the option noexec)"#;
    fails(&mut c, "/data/true", "permission denied", reason);
    c.config["process"]["env"] = json!(["PATH=/data:/bin"]);
    c.args(&["plain"]).run().fails(&[r#"("/data/plain" is on a mount with the option noexec)"#]);
    program(&c, "script", b"#!/data/sh\n");
    c.args(&["/bin/script"]).run().fails(&[r#"("/data/sh" is on a mount with the option noexec)"#]);
}

fn reason_is_not_given_if_another_one_applies(t: &Test) {
    let mut c = t.container();
    // The kernel gives up (ELOOP) before it reaches the last script, whose interpreter is missing.
    for n in 1..=8 {
        let next = if n == 8 { "no-shell".to_owned() } else { format!("chain{}", n + 1) };
        program(&c, &format!("chain{n}"), format!("#!/bin/{next}\n").as_bytes());
    }
    let says = |out: crate::common::Output, words| {
        let out = out.fails(&[words]);
        assert!(!out.stderr.contains("interpreter") && !out.stderr.contains("neither"), "{}", out.stderr);
    };
    says(c.args(&["/bin/chain1"]).run(), "exec /bin/chain1: ");
    // A step before the exec fails.
    c.config["hooks"] = json!({"startContainer": [{"path": "/bin/no-hook"}]});
    says(c.args(&["/bin/chain8"]).run(), "hook");
    c.config.as_object_mut().unwrap().remove("hooks");
    // The user may read the text, and not execute it.
    program(&c, "text", b"echo\n");
    fs::set_permissions(c.rootfs.join("bin/text"), fs::Permissions::from_mode(0o744)).unwrap();
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    says(c.args(&["/bin/text"]).run(), "permission denied");
}

/// Opening a FIFO would let its writer go on.
fn program_that_is_a_fifo_is_not_opened(t: &Test) {
    let mut c = t.container();
    let fifo = c.rootfs.join("bin/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o755)).unwrap();
    let path = fifo.clone();
    let writer = std::thread::spawn(move || fs::File::options().write(true).open(path).map(drop));
    c.args(&["/bin/fifo"]).run().fails(&["permission denied"]);
    assert!(!writer.is_finished());
    fs::File::open(&fifo).unwrap();
    writer.join().unwrap().unwrap();
}

fn failure_is_reported_although_the_filter_ends_the_diagnosis(t: &Test) {
    for nnp in [true, false] {
        let mut c = t.container();
        c.config["process"]["noNewPrivileges"] = nnp.into();
        c.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["open", "openat"], "action": "SCMP_ACT_KILL_PROCESS"}],
        });
        program(&c, "text", b"echo\n");
        let out = c.args(&["/bin/text"]).run().fails(&["exec format error"]);
        assert!(!out.stderr.contains("neither"), "{}", out.stderr);
    }
}

fn rejected_option_of_a_file_system_is_named(t: &Test) {
    if !embrun::sys::mount_api::has_mount_setattr() {
        t.skip("the kernel may not check options one by one (fsopen, Linux 5.2)");
    }
    for (option, others) in [("mode=abc", "size=1m"), ("sise=1m", "mode=755"), ("huge=often", "nr_inodes=10")]
    {
        let mut c = t.container();
        c.mount("/data", "tmpfs", "tmpfs", &["nosuid", others, option]);
        let reason = format!("invalid argument (EINVAL) (the kernel rejects the option {option:?})");
        c.args(&["true"]).run().fails(&[&reason]);
    }
}

/// A chroot whose root is an ordinary directory.
fn root_that_is_no_mount_is_explained(t: &Test) {
    let mut c = t.container();
    c.args(&["true"]);
    let chroot = t.path("chroot");
    for directory in ["proc", "sys", "dev", "usr", "lib", "lib64", "bundle", "run"] {
        fs::create_dir_all(chroot.join(directory)).unwrap();
    }
    fs::copy(t.runtime_path(), chroot.join("run/runtime")).unwrap();
    let script = "cd $1
        for d in proc sys dev usr lib lib64; do [ ! -d /$d ] || mount -n --rbind /$d $d; done
        [ $4 = bound ] && mount -n --bind $2 bundle || cp -a $2/. bundle; exec chroot . /run/runtime run --bundle /bundle $3";
    let mut run = |propagation: &str, bundle: &str| {
        c.config["linux"]["rootfsPropagation"] = propagation.into();
        c.write();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-ec", script, "sh"])
            .arg(&chroot)
            .arg(&c.bundle)
            .args([&c.id, bundle]);
        t.finish(command).fails(&[
            "invalid argument (EINVAL) (/ is not a mount here: before chroot DIR, make it one with mount --bind DIR DIR)",
        ]);
    };
    for bundle in ["bound", "copied"] {
        run("", bundle);
        run("private", bundle);
        run("unbindable", bundle);
    }
}

fn unknown_keys_are_logged_with_debug(t: &Test) {
    let mut c = t.container();
    c.args(&["true"]);
    c.config["hostnam"] = "x".into();
    c.config["process"]["cwdd"] = json!({"cwd": "/"});
    c.config["linux"]["namespaces"][0]["typ"] = "pid".into();
    assert_eq!(c.run().ok().stderr, "");
    c.write();
    let out = t.call(&["--debug", "run", "--bundle", c.bundle.to_str().unwrap(), &c.id]).ok();
    for key in ["hostnam", "process.cwdd", "linux.namespaces[0].typ"] {
        assert!(out.stderr.contains(&format!("config.json: {key}: unknown key, ignored")), "{}", out.stderr);
    }
    assert_eq!(out.stderr.matches("unknown key").count(), 3, "{}", out.stderr);
}

fn callers_who_are_not_root_learn_what_they_need(t: &Test) {
    let mut c = t.container();
    let runtime = t.path("runtime");
    fs::copy(t.runtime_path(), &runtime).unwrap();
    for directory in
        c.rootfs.ancestors().chain(runtime.ancestors().skip(1)).take_while(|p| p.starts_with("/run/"))
    {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let state = t.path("state");
    fs::create_dir(&state).unwrap();
    chown(&state, Some(1000), Some(1000)).unwrap();
    let call = |root: &str, args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=-all"]);
        t.finish({
            command.arg(&runtime).args(["--root", root]).args(args);
            command
        })
    };
    let (state, bundle) = (state.to_str().unwrap(), c.bundle.to_str().unwrap().to_owned());
    c.config["linux"]["resources"] = json!({});
    c.write();
    let run = ["run", "--bundle", &bundle, &c.id];
    call(state, &run).fails(&["an ordinary user needs a user namespace (run embrun as root, or use"]);
    // The user cannot make directories in a root of another user.
    fs::remove_dir(c.rootfs.join("proc")).unwrap();
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    c.config["linux"]["uidMappings"] = map.clone();
    c.config["linux"]["gidMappings"] = map;
    c.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    c.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    c.write();
    call(state, &run)
        .fails(&["permission denied (EACCES) (its owner is another user: make /proc when you build it)"]);
    let of_root = t.path("private");
    fs::create_dir(&of_root).unwrap();
    fs::set_permissions(&of_root, fs::Permissions::from_mode(0o700)).unwrap();
    call(of_root.to_str().unwrap(), &["list"])
        .fails(&["(run embrun as root; an ordinary user needs a directory"]);
}
