//! Runs a program as on an older kernel: the named system calls fail with ENOSYS.
//!
//! A seccomp filter does that; children inherit it. usage: older CALL[,CALL…] PROGRAM [ARGUMENT…]

use embrun::json::value::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::policy::policy;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [calls, program, rest @ ..] = &args[..] else {
        eprintln!("usage: older CALL[,CALL...] PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let names: Vec<&str> = calls.split(',').collect();
    let json = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }] });
    let json = Json::parse(json.to_string().as_bytes()).expect("our own JSON");
    let policy = policy(&json).expect("a policy");
    let filter = compile(&policy, Arch::NATIVE).expect("a short filter");
    assert!(filter.warnings.is_empty(), "{:?}", filter.warnings);
    embrun::sys::seccomp::load(&filter.program, filter.flags).expect("root may load a filter");
    let error = Command::new(program).args(rest).exec();
    eprintln!("older: {program}: {error}");
    ExitCode::from(127)
}
