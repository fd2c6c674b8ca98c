//! `SCMP_ACT_NOTIFY`: the test is the seccomp agent and answers system calls.

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cases;
use crate::common::{Case, Container, Test};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

pub const CASES: &[Case] = cases![
    agent_answers_for_run_with_no_new_privileges,
    agent_answers_for_run_without_no_new_privileges,
    agent_answers_with_every_flag,
    agent_gets_the_listener_at_create,
    connection_is_closed_after_one_document,
    agent_gets_a_listener_for_exec,
    missing_agent_fails_create,
    listener_path_without_a_notify_rule_is_ignored,
    notify_rule_for_a_call_of_the_runtime_is_refused,
];

/// The kernel's `seccomp_notif` and `seccomp_notif_resp` (linux/seccomp.h).
#[repr(C)]
#[derive(Default)]
struct Call {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction: u64,
    args: [u64; 6],
}

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

nix::ioctl_readwrite!(receive_call, b'!', 0, Call);
nix::ioctl_readwrite!(send_answer, b'!', 1, Answer);

/// Takes one listener and answers `calls` system calls with ENOSPC.
///
/// It returns the message that the runtime sent with the listener.
#[allow(unsafe_code)]
fn agent(path: PathBuf, calls: u32) -> JoinHandle<Value> {
    let socket = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (connection, _) = socket.accept().unwrap();
        let (told, listener) = receive(connection);
        for _ in 0..calls {
            let mut call = Call::default();
            // SAFETY: the structures are those of the kernel, zeroed as it requires.
            unsafe {
                receive_call(listener.as_raw_fd(), &mut call).unwrap();
                let mut answer = Answer { id: call.id, value: 0, error: -libc::ENOSPC, flags: 0 };
                send_answer(listener.as_raw_fd(), &mut answer).unwrap();
            }
        }
        told
    })
}

#[allow(unsafe_code)]
fn receive(mut connection: UnixStream) -> (Value, OwnedFd) {
    let mut bytes = vec![0; 65536];
    let mut control = nix::cmsg_space!([i32; 4]);
    let mut iov = [std::io::IoSliceMut::new(&mut bytes)];
    let got = recvmsg::<()>(connection.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::empty()).unwrap();
    let fds: Vec<i32> = got
        .cmsgs()
        .unwrap()
        .flat_map(|m| if let ControlMessageOwned::ScmRights(fds) = m { fds } else { Vec::new() })
        .collect();
    assert_eq!(fds.len(), 1, "one descriptor, with the first bytes");
    let n = got.bytes;
    bytes.truncate(n);
    // Not every runtime closes the connection before it ends, but everything it sends arrives at once.
    connection.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let closed = connection.read_to_end(&mut bytes).is_ok();
    let mut told: Value = serde_json::from_slice(&bytes).unwrap();
    told["closed"] = closed.into();
    // SAFETY: the kernel has just installed it for us.
    (told, unsafe { OwnedFd::from_raw_fd(fds[0]) })
}

fn policy(socket: &str, name: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "listenerMetadata": "for web",
           "syscalls": [{"names": [name], "action": "SCMP_ACT_NOTIFY"}]})
}

fn container<'t>(t: &'t Test, socket: &str) -> Container<'t> {
    let mut c = t.container();
    c.config["linux"]["seccomp"] = policy(socket, "sethostname");
    c
}

fn run(t: &Test, no_new_privileges: bool) {
    let socket = t.path("agent");
    let agent = agent(socket.clone(), 1);
    let mut c = container(t, socket.to_str().unwrap());
    c.config["process"]["noNewPrivileges"] = no_new_privileges.into();
    let seen = c.probe("sethostname y").run().ok().probe();
    assert_eq!(seen.result("sethostname"), "ENOSPC");
    let told = agent.join().unwrap();
    assert_eq!(told["fds"], json!(["seccompFd"]));
    assert_eq!(told["metadata"], "for web");
    assert!(told["pid"].as_i64().unwrap() > 1, "the pid as the host sees it: {told}");
    assert_eq!(told["state"]["status"], "creating");
    assert!(told["state"]["bundle"].is_string() && told["ociVersion"].is_string());
}

fn agent_answers_for_run_with_no_new_privileges(t: &Test) {
    run(t, true);
}

fn agent_answers_for_run_without_no_new_privileges(t: &Test) {
    run(t, false);
}

fn agent_answers_with_every_flag(t: &Test) {
    let mut all = vec!["LOG", "SPEC_ALLOW", "TSYNC"];
    // Linux 5.19.
    if embrun::seccomp::support::support().flags & embrun::seccomp::policy::WAIT_KILLABLE_RECV != 0 {
        all.push("WAIT_KILLABLE_RECV");
    }
    for nnp in [true, false] {
        let socket = t.path("agent");
        let agent = agent(socket.clone(), 1);
        let mut c = container(t, socket.to_str().unwrap());
        c.config["process"]["noNewPrivileges"] = nnp.into();
        c.config["linux"]["seccomp"]["flags"] =
            all.iter().map(|name| format!("SECCOMP_FILTER_FLAG_{name}")).collect();
        assert_eq!(c.probe("sethostname y").run().ok().probe().result("sethostname"), "ENOSPC");
        agent.join().unwrap();
    }
}

fn agent_gets_the_listener_at_create(t: &Test) {
    for nnp in [true, false] {
        let socket = t.path("agent");
        let agent = agent(socket.clone(), 1);
        let mut c = container(t, socket.to_str().unwrap());
        c.config["process"]["noNewPrivileges"] = nnp.into();
        c.probe("sethostname y").create().ok();
        let pid = c.pid();
        std::fs::remove_file(socket).unwrap();
        c.start().ok();
        c.stopped();
        assert_eq!(agent.join().unwrap()["pid"], pid);
        c.delete().ok();
    }
}

fn agent_gets_a_listener_for_exec(t: &Test) {
    let (first, second) = (t.path("agent"), t.path("agent2"));
    let mut c = container(t, first.to_str().unwrap());
    let init = agent(first.clone(), 0);
    c.probe("sleep 60").up();
    let told = init.join().unwrap();
    std::fs::rename(&first, &second).unwrap();
    let exec = agent(first, 1);
    let seen = c.exec(&["/bin/probe", "sethostname", "y"]).ok().probe();
    assert_eq!(seen.result("sethostname"), "ENOSPC");
    let exec = exec.join().unwrap();
    assert_ne!(exec["pid"], told["pid"]);
    assert_eq!(exec["state"]["pid"], told["pid"], "the container's state names its init");
    assert_eq!(exec["state"]["status"], "running");
    c.remove();
}

fn connection_is_closed_after_one_document(t: &Test) {
    let socket = t.path("agent");
    let agent = agent(socket.clone(), 0);
    container(t, socket.to_str().unwrap()).probe("pid").run().ok();
    assert_eq!(agent.join().unwrap()["closed"], true);
}

/// An engine learns of the missing agent from `create`, also with no_new_privs.
fn missing_agent_fails_create(t: &Test) {
    for nnp in [true, false] {
        let mut c = container(t, "/no/such/agent");
        c.config["process"]["noNewPrivileges"] = nnp.into();
        c.probe("pid").run().fails(&["/no/such/agent"]);
        c.create().fails(&["/no/such/agent"]);
        c.call(&["state"]).fails(&["does not exist"]);
        let socket = t.path("gone");
        let first = agent(socket.clone(), 0);
        let mut c = container(t, socket.to_str().unwrap());
        c.config["process"]["noNewPrivileges"] = nnp.into();
        c.probe("sleep 60").up();
        first.join().unwrap();
        c.exec(&["/bin/probe", "pid"]).exits(255).fails(&["gone"]);
        c.remove();
        std::fs::remove_file(&socket).unwrap();
    }
}

fn listener_path_without_a_notify_rule_is_ignored(t: &Test) {
    let mut c = container(t, "/no/such/agent");
    c.config["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_ERRNO".into();
    c.probe("pid").run().ok();
}

fn notify_rule_for_a_call_of_the_runtime_is_refused(t: &Test) {
    for (name, action) in [("write", "SCMP_ACT_ALLOW"), ("sethostname", "SCMP_ACT_NOTIFY")] {
        let mut c = container(t, "/no/such/agent");
        c.config["linux"]["seccomp"]["syscalls"][0]["names"] = json!([name]);
        c.config["linux"]["seccomp"]["defaultAction"] = action.into();
        c.probe("pid").run().fails(&["NOTIFY"]);
    }
}
