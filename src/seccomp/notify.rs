//! Sends a listener to the seccomp agent.
//!
//! See "The container process state" in config-linux.md. Each time, we connect a new stream socket, send one JSON
//! document with the listener attached to its first bytes, and close the connection.

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

/// The time limit for connecting to the agent, and for sending the document.
const PATIENCE: Duration = Duration::from_secs(10);

/// The seccomp agent of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agent {
    /// Its socket (`listenerPath`).
    pub path: Text,
    /// Opaque data for the agent (`listenerMetadata`).
    pub metadata: Option<Text>,
}

impl Agent {
    /// Returns the agent that the policy names.
    pub fn of(policy: &Policy) -> Option<Agent> {
        Some(Agent { path: policy.listener_path?, metadata: policy.listener_metadata })
    }

    /// Sends the listener of the filter that was installed for process `pid`.
    /// `state` is the state of its container.
    pub fn serve(&self, oci_version: &str, pid: i32, state: Json, listener: BorrowedFd<'_>) -> Result<()> {
        let state = process_state(oci_version, pid, self.metadata, state);
        send(self.path, &state, listener)
    }
}

/// Builds the container process state.
/// `pid` is the filtered process as the host sees it; `state` is the state of its container (runtime.md).
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

/// Sends the document to the agent at `path` (`linux.seccomp.listenerPath`).
fn send(path: &str, process_state: &Json, listener: BorrowedFd<'_>) -> Result<()> {
    let document = process_state.compact().into_bytes();
    let sent = deliver(path, &document, listener);
    give_back(document);
    sent.about(format_args!("linux.seccomp.listenerPath: {path}"))
}

fn deliver(path: &str, document: &[u8], listener: BorrowedFd<'_>) -> Result<()> {
    let mut agent = connect(path, PATIENCE).at("failed to connect with seccomp agent")?;
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
    fn agent_receives_the_state_and_an_absent_agent_is_an_error() {
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
                && e.ends_with(
                    "nobody: failed to connect with seccomp agent: no such file or directory (ENOENT)"
                ),
            "{e}"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
