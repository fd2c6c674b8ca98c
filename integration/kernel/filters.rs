//! `linux.seccomp` on the native architecture: each action and each operator.

use crate::cases;
use crate::common::{Case, Container, Test};
use serde_json::{Value, json};

pub const CASES: &[Case] = cases![
    no_policy_means_no_filter,
    empty_policy_means_no_filter,
    errno_action_returns_the_configured_number,
    default_errno_applies_to_unlisted_calls,
    runtime_needs_no_call_that_runc_and_crun_do_not,
    kill_process_ends_the_payload,
    trap_sends_sigsys,
    trace_without_a_tracer_returns_enosys,
    log_and_allow_permit_the_call,
    every_operator_compares_as_specified,
    two_arguments_must_both_match,
    filter_applies_with_and_without_no_new_privileges,
    filter_without_faccessat2_does_not_break_the_start,
    filter_applies_to_exec,
    unknown_syscall_names_are_skipped,
    filter_is_loaded_with_its_flags,
    unknown_action_is_refused,
    errno_ret_on_an_action_without_errno_is_refused,
    engines_default_profile_loads_and_filters,
    gateway_roles_filter_a_container,
    filter_may_forbid_getcwd,
];

/// A policy that allows everything but these rules.
fn deny(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

fn with<'t>(t: &'t Test, policy: Value) -> Container<'t> {
    let mut c = t.container();
    c.config["linux"]["seccomp"] = policy;
    c
}

fn no_policy_means_no_filter(t: &Test) {
    let ours = std::fs::read_to_string("/proc/self/status").unwrap();
    let ours = ours.lines().find_map(|l| l.strip_prefix("Seccomp:")).unwrap().trim();
    assert_eq!(t.container().probe("seccomp").run().ok().probe()["seccomp"].to_string(), ours);
}

fn empty_policy_means_no_filter(t: &Test) {
    let without = t.container().probe("seccomp").run().ok().probe();
    for policy in [json!({}), json!({"defaultAction": "", "architectures": [], "syscalls": []})] {
        assert_eq!(with(t, policy).probe("seccomp").run().ok().probe()["seccomp"], without["seccomp"]);
    }
}

fn errno_action_returns_the_configured_number(t: &Test) {
    let mut c = with(
        t,
        deny(json!([
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"},
        ])),
    );
    let seen = c.probe("seccomp mkdir /tmp/x sethostname y").run().ok().probe();
    assert_eq!(seen["seccomp"], 2);
    assert_eq!(seen.result("mkdir"), "ENOSPC");
    assert_eq!(seen.result("sethostname"), "EPERM");
}

/// The calls that a static program and its filter loader need.
const NEEDED: &str = "execve exit exit_group write writev read brk mmap munmap mprotect arch_prctl set_tid_address \
    set_robust_list rseq prlimit64 readlink readlinkat getrandom poll ppoll rt_sigaction rt_sigprocmask \
    sigaltstack sched_getaffinity futex close fstat newfstatat openat prctl getpid uname capget capset \
    setuid setgid setgroups chdir fchdir getcwd close_range fcntl gettid tgkill getdents64 access \
    faccessat2 faccessat stat statx lseek epoll_ctl epoll_pwait nanosleep clock_nanosleep ioctl dup3 \
    dup2 setresuid setresgid lstat fstatfs statfs rt_sigreturn umask setsid recvmsg sendmsg sendto \
    recvfrom getppid pread64 madvise unlinkat seccomp kill accept4 clock_gettime getuid geteuid getgid \
    getegid wait4 shutdown getsockopt";

fn default_errno_applies_to_unlisted_calls(t: &Test) {
    if cfg!(target_pointer_width = "32") {
        t.skip("the list of calls that the probe needs is for 64-bit systems");
    }
    let allowed: Vec<&str> = NEEDED.split(' ').collect();
    let mut c = with(
        t,
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
               "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}]}),
    );
    let seen = c.probe("pid socket unix stream").run().ok().probe();
    assert_eq!(seen["pid"], 1);
    assert_eq!(seen.result("socket"), "EACCES");
}

/// Neither runc nor crun makes any of these calls under the filter.
///
/// Engines' profiles therefore need not list them.
fn runtime_needs_no_call_that_runc_and_crun_do_not(t: &Test) {
    let deadly = json!([
        "accept",
        "accept4",
        "bind",
        "close_range",
        "connect",
        "dup",
        "dup2",
        "dup3",
        "listen",
        "mknodat",
        "openat2",
        "pipe2",
        "poll",
        "ppoll",
        "recvfrom",
        "recvmsg",
        "select",
        "pselect6",
        "sendmsg",
        "sendto",
        "setns",
        "socket",
        "socketpair",
        "unshare"
    ]);
    for nnp in [true, false] {
        let mut c = with(t, deny(json!([{"names": deadly, "action": "SCMP_ACT_KILL_PROCESS"}])));
        c.config["process"]["noNewPrivileges"] = nnp.into();
        c.args(&["true"]).run().ok();
        c.args(&["sleep", "60"]).up();
        c.exec(&["true"]).ok();
        let gone = c.exec(&["/no/such/program"]);
        assert!(gone.stderr.contains("/no/such/program"), "{}", gone.stderr);
        c.remove();
        // A failure after the filter is loaded is still reported, by create and by start.
        c.args(&["/no/such/program"]).create().fails(&["/no/such/program"]);
        std::fs::write(c.rootfs.join("bin/odd"), "no program\n").unwrap();
        std::fs::set_permissions(
            c.rootfs.join("bin/odd"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        c.args(&["/bin/odd"]).create().ok();
        c.start().fails(&["exec format error"]);
        c.remove();
        // Such a filter keeps descriptors open; nothing may wait for their end.
        let mut c = with(t, deny(json!([{"names": ["close"], "action": "SCMP_ACT_ERRNO"}])));
        c.config["process"]["noNewPrivileges"] = nnp.into();
        c.args(&["sleep", "60"]).up();
        c.exec(&["true"]).ok();
        c.remove();
    }
}

fn kill_process_ends_the_payload(t: &Test) {
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD"] {
        let mut c = with(t, deny(json!([{"names": ["sethostname"], "action": action}])));
        let out = c.probe("pid say sethostname x print survived").run();
        assert!(!out.stdout.contains("survived"), "{action}");
        out.exits(128 + libc::SIGSYS);
    }
}

fn trap_sends_sigsys(t: &Test) {
    let mut c = with(t, deny(json!([{"names": ["sethostname"], "action": "SCMP_ACT_TRAP"}])));
    c.probe("sethostname x").run().exits(128 + libc::SIGSYS);
}

fn trace_without_a_tracer_returns_enosys(t: &Test) {
    let mut c = with(t, deny(json!([{"names": ["sethostname"], "action": "SCMP_ACT_TRACE", "errnoRet": 5}])));
    assert_eq!(c.probe("sethostname x").run().ok().probe().result("sethostname"), "ENOSYS");
}

fn log_and_allow_permit_the_call(t: &Test) {
    let policy = json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ALLOW"}]});
    let mut c = with(t, policy);
    let seen = c.probe("seccomp mkdir /dev/shm/x socket unix stream").run().ok().probe();
    assert_eq!((seen.result("mkdir"), seen.result("socket")), (&json!("ok"), &json!("ok")));
    assert_eq!(seen["seccomp"], 2);
}

/// Whether a rule on the personality system call matches this argument.
///
/// The call accepts any number; 0xffffffff only queries.
fn verdict(t: &Test, rule: Value, argument: u64) -> bool {
    let mut c = with(
        t,
        deny(json!([{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [rule]}])),
    );
    let words = format!("syscall {} 2 0 {argument:#x}", libc::SYS_getpriority);
    c.probe(&words).run().ok().probe().result("syscall") == "ENOSPC"
}

fn every_operator_compares_as_specified(t: &Test) {
    if cfg!(target_pointer_width = "32") {
        t.skip("a 32-bit process cannot pass arguments of 64 bits");
    }
    let rule = |op: &str, value: u64, two: u64| json!({"index": 1, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{op}")});
    let big = 0x1_0000_0005u64;
    let table: [(&str, u64, u64, u64, bool); 18] = [
        ("EQ", 5, 0, 5, true),
        ("EQ", 5, 0, big, false),
        ("EQ", big, 0, big, true),
        ("NE", 5, 0, 5, false),
        ("NE", 5, 0, big, true),
        ("LT", 5, 0, 4, true),
        ("LT", 5, 0, 5, false),
        ("LT", big, 0, 6, true),
        ("LE", 5, 0, 5, true),
        ("LE", 5, 0, big, false),
        ("GE", 5, 0, 5, true),
        ("GE", 5, 0, 4, false),
        ("GE", 5, 0, big, true),
        ("GT", 5, 0, 5, false),
        ("GT", 0xffff_ffff, 0, big, true),
        ("MASKED_EQ", 0xf0, 0x50, 0x5f, true),
        ("MASKED_EQ", 0xf0, 0x50, 0x6f, false),
        ("MASKED_EQ", 0x1_0000_0000, 0x1_0000_0000, big, true),
    ];
    for (op, value, two, argument, hit) in table {
        assert_eq!(verdict(t, rule(op, value, two), argument), hit, "{argument:#x} {op} {value:#x} {two:#x}");
    }
}

fn two_arguments_must_both_match(t: &Test) {
    let args = json!([
        {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]);
    let mut c = with(
        t,
        deny(json!([{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": args}])),
    );
    let n = libc::SYS_getpriority;
    let seen = c.probe(&format!("syscall {n} 2 0 7 syscall {n} 2 1 7 syscall {n} 2 0 8")).run().ok().probe();
    let hits: Vec<bool> = seen["acts"].as_array().unwrap().iter().map(|a| a[2] == "ENOSPC").collect();
    assert_eq!(hits, [true, false, false]);
}

fn filter_applies_with_and_without_no_new_privileges(t: &Test) {
    for (nnp, user) in [(true, 0), (true, 1000), (false, 0), (false, 1000)] {
        let mut c = with(
            t,
            deny(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}])),
        );
        c.config["process"]["noNewPrivileges"] = json!(nnp);
        c.config["process"]["user"] = json!({"uid": user, "gid": user});
        let seen = c.probe("seccomp nnp mkdir /tmp/x").run().ok().probe();
        assert_eq!((&seen["seccomp"], &seen["nnp"]), (&json!(2), &json!(u8::from(nnp))));
        assert_eq!(seen.result("mkdir"), "ENOSPC");
    }
}

fn filter_applies_to_exec(t: &Test) {
    let mut c =
        with(t, deny(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}])));
    c.probe("pause");
    c.up();
    let seen = c.exec(&["probe", "seccomp", "mkdir", "/dev/shm/x"]).ok().probe();
    assert_eq!(seen["seccomp"], 2);
    assert_eq!(seen.result("mkdir"), "ENOSPC");
    c.remove();
}

fn unknown_syscall_names_are_skipped(t: &Test) {
    let mut c = with(
        t,
        deny(
            json!([{"names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]),
        ),
    );
    assert_eq!(c.probe("mkdir /tmp/x").run().ok().probe().result("mkdir"), "ENOSPC");
}

fn filter_is_loaded_with_its_flags(t: &Test) {
    let all = ["LOG", "SPEC_ALLOW", "TSYNC"].map(|name| format!("SECCOMP_FILTER_FLAG_{name}"));
    for flags in [json!([]), json!([all[0]]), json!([all[1]]), json!([all[2]]), json!(all)] {
        for nnp in [true, false] {
            let mut policy = deny(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]));
            policy["flags"] = flags.clone();
            let mut c = with(t, policy);
            c.config["process"]["noNewPrivileges"] = nnp.into();
            let seen = c.probe("seccomp mkdir /dev/shm/x").run().ok().probe();
            assert_eq!((&seen["seccomp"], seen.result("mkdir")), (&json!(2), &json!("EPERM")), "{flags}");
        }
    }
}

fn unknown_action_is_refused(t: &Test) {
    let c = with(t, deny(json!([{"names": ["mkdir"], "action": "SCMP_ACT_PARDON"}])));
    c.create().exits(1).fails(&["SCMP_ACT_PARDON", "action"]);
}

fn errno_ret_on_an_action_without_errno_is_refused(t: &Test) {
    let c = with(t, deny(json!([{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 1}])));
    c.create().exits(1).fails(&["errno"]);
}

/// A filter is loaded early without no_new_privs.
///
/// The check of the working directory comes before it.
fn filter_may_forbid_getcwd(t: &Test) {
    let mut c = with(t, deny(json!([{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}])));
    c.config["process"]["noNewPrivileges"] = json!(false);
    c.config["process"]["cwd"] = json!("/bin");
    assert_eq!(c.args(&["sh", "-c", "[ . -ef /bin ] && echo same"]).run().ok().stdout, "same\n");
    c.args(&["sleep", "60"]).up();
    assert_eq!(c.exec(&["true"]).ok().stdout, "");
    c.remove();
}

/// One of our profiles, without the architecture that Debian's runc does not know.
fn shipped(text: &str) -> Value {
    let mut profile: Value = serde_json::from_str(text).unwrap();
    profile["architectures"].as_array_mut().unwrap().retain(|a| a != "SCMP_ARCH_RISCV64");
    profile
}

fn engines_default_profile_loads_and_filters(t: &Test) {
    let profile = shipped(include_str!("../../seccomp-profiles/default.json"));
    for nnp in [true, false] {
        let mut c = with(t, profile.clone());
        c.config["process"]["noNewPrivileges"] = json!(nnp);
        // Root has all capabilities, so only the filter can refuse.
        let words = "seccomp mkdir /dev/shm/x mount tmpfs /dev/shm tmpfs unshare uts sethostname y socket inet stream";
        let seen = c.probe(words).run().ok().probe();
        assert_eq!(seen["seccomp"], 2);
        assert_eq!(seen.result("mkdir"), "ok");
        for denied in ["mount", "unshare", "sethostname"] {
            assert_eq!(seen.result(denied), "EPERM", "{denied}");
        }
        assert_eq!(seen.result("socket"), "ok");
    }
}

fn gateway_roles_filter_a_container(t: &Test) {
    for (name, profile, makes_files, network) in [
        ("data-collector", include_str!("../../seccomp-profiles/data-collector.json"), false, false),
        ("data-processor", include_str!("../../seccomp-profiles/data-processor.json"), true, false),
        ("uplink", include_str!("../../seccomp-profiles/uplink.json"), true, true),
        ("device-controller", include_str!("../../seccomp-profiles/device-controller.json"), false, false),
        ("firmware-updater", include_str!("../../seccomp-profiles/firmware-updater.json"), true, true),
    ] {
        let mut c = with(t, shipped(profile));
        c.config["process"]["noNewPrivileges"] = json!(true);
        let words = "seccomp mkdir /dev/shm/x mount tmpfs /dev/shm tmpfs unshare uts sethostname y socket inet stream";
        let seen = c.probe(words).run().ok().probe();
        assert_eq!(seen["seccomp"], 2, "{name}");
        let expected = |may| if may { "ok" } else { "EPERM" };
        for (act, may) in [
            ("mkdir", makes_files),
            ("mount", false),
            ("unshare", false),
            ("sethostname", false),
            ("socket", network),
        ] {
            assert_eq!(seen.result(act), expected(may), "{name}: {act}");
        }
    }
}

fn filter_without_faccessat2_does_not_break_the_start(t: &Test) {
    for user in [0, 1000] {
        let mut c =
            with(t, deny(json!([{"names": ["faccessat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}])));
        c.config["process"]["noNewPrivileges"] = json!(false);
        c.config["process"]["user"] = json!({"uid": user, "gid": user});
        assert_eq!(c.probe("seccomp").run().ok().probe()["seccomp"], 2);
    }
}
