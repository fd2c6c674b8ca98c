//! Handing a listener to the seccomp agent (config-linux.md, "The container process state").
//!
//! The agent gets one JSON document on a stream socket of its own, with the listener beside its first bytes; then the
//! connection is closed.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use super::policy::Policy;
use crate::error::{Context as _, Errno, Result};
use crate::json::value::Json;
use crate::sys::descriptor::send_fd;
use crate::sys::heap::give_back;
use crate::sys::socket::connect;
use crate::text::Text;

/// How long an agent may take to take the call, and to read what it asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The seccomp agent of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agent {
    /// `listenerPath`
    pub path: Text,
    /// `listenerMetadata`
    pub metadata: Option<Text>,
}

impl Agent {
    /// The agent that the policy names.
    pub fn of(policy: &Policy) -> Option<Agent> {
        Some(Agent { path: policy.listener_path?, metadata: policy.listener_metadata })
    }

    /// Hands it the listener of the filter that is in force for process `pid` of the container in this state.
    pub fn serve(&self, oci_version: &str, pid: i32, state: Json, listener: BorrowedFd<'_>) -> Result<()> {
        let state = process_state(oci_version, pid, self.metadata, state);
        send(self.path, &state, listener)
    }
}

/// The container process state: `pid` is the process that the filter is in force for, as the host sees it, `state` the
/// state of its container (runtime.md).
fn process_state(oci_version: &str, pid: i32, metadata: Option<&str>, state: Json) -> Json {
    let mut members = vec![
        ("ociVersion", Json::from(oci_version)),
        ("fds", Json::strs(["seccompFd"])),
        ("pid", Json::from(pid)),
    ];
    members.extend(metadata.map(|m| ("metadata", Json::from(m))));
    members.push(("state", state));
    Json::object(members)
}

/// Sends it to the agent at `path` (`linux.seccomp.listenerPath`).
fn send(path: &str, process_state: &Json, listener: BorrowedFd<'_>) -> Result<()> {
    let document = process_state.compact().into_bytes();
    let sent = deliver(path, &document, listener);
    give_back(document);
    sent.about(format_args!("linux.seccomp.listenerPath: {path}"))
}

fn deliver(path: &str, document: &[u8], listener: BorrowedFd<'_>) -> Result<()> {
    let mut agent = connect(path, PATIENCE).at("connect")?;
    let sent = loop {
        match send_fd(agent.as_fd(), document, listener, 0) {
            Err(Errno::EINTR) => {}
            other => break other.at("sendmsg")?,
        }
    };
    agent.write_all(&document[sent..]).at("send")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_agent_gets_the_state_and_the_descriptor() {
        let dir = std::env::temp_dir().join(format!("embrun-notify-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("agent");
        let agent = UnixListener::bind(&path).unwrap();
        let long = "x".repeat(1 << 20);
        let state = process_state("1.3.0", 42, Some(&long), Json::fields([("id", Json::from("web"))]));
        let expected = state.compact();
        let reader = std::thread::spawn(move || {
            let (mut peer, _) = agent.accept().unwrap();
            let mut text = String::new();
            peer.read_to_string(&mut text).unwrap();
            text
        });
        send(path.to_str().unwrap(), &state, std::io::stdin().as_fd()).unwrap();
        let text = reader.join().unwrap();
        assert!(
            text == expected
                && text.starts_with(r#"{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":42,"metadata":"x"#)
        );
        assert!(text.ends_with(r#","state":{"id":"web"}}"#));

        let e = send(dir.join("nobody").to_str().unwrap(), &state, std::io::stdin().as_fd())
            .unwrap_err()
            .to_string();
        assert!(
            e.starts_with("linux.seccomp.listenerPath: ")
                && e.ends_with("nobody: connect: no such file or directory (ENOENT)"),
            "{e}"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
