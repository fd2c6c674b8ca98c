//! Listens to init, for the process that creates a container and for `start`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::wire::{Channel, Message, MessageKind};
use crate::bundle::spec::HookKind;
use crate::error::{Context, Error, Result, engine};
use crate::json::value::Json;
use crate::plan::patience;
use crate::plan::root_step::RootStep;
use crate::plan::step::InitStep;
use crate::seccomp::notify::Agent;
use crate::state::observe::Status;
use crate::state::record::Record;
use crate::sys::{clock, interrupt};
use crate::{log, state};

/// Waits for the next message that the caller must act on.
///
/// Warnings are logged, a listener of the child behind `pidfd` goes to `serve`, and the failure of a step is an error.
pub fn hear(
    channel: &Channel,
    steps: &[InitStep],
    pidfd: Option<BorrowedFd<'_>>,
    serve: &dyn Fn(&OwnedFd) -> Result<()>,
    wait: &dyn Fn(BorrowedFd<'_>) -> Result<()>,
) -> Result<Message> {
    loop {
        wait(channel.as_fd())?;
        let message = channel.receive().at("hear from init")?;
        match message.what {
            MessageKind::Warn => log::warn(&message.text),
            MessageKind::Announce => {
                if let Some(listener) = take_listener(channel, pidfd, message.number as i32)? {
                    serve(&listener)?;
                }
            }
            MessageKind::Listener => serve(message.fd.as_ref().ok_or_else(no_room)?)?,
            MessageKind::Failed => {
                let e = init_failed(steps, message);
                return Err(match channel.diagnosis() {
                    Some(why) => e.hint(why),
                    None => e,
                });
            }
            _ => return Ok(message),
        }
    }
}

/// `None` if the pid comes as a message, or never.
fn take_listener(channel: &Channel, pidfd: Option<BorrowedFd<'_>>, number: i32) -> Result<Option<OwnedFd>> {
    let may = channel.may_take_listener(pidfd).at("take the listener from init")?;
    let Some(pidfd) = pidfd.filter(|_| may) else { return Ok(None) };
    let deadline = clock::after(patience::PATIENCE);
    loop {
        match channel.take_listener(pidfd, number) {
            Err(Errno::EAGAIN) if !clock::is_past(deadline) => interrupt::check()?,
            taken => return taken.at("take the listener from init"),
        }
    }
}

/// The kernel drops a received descriptor if no number is free.
pub fn no_room() -> Error {
    Error::os("take a descriptor from init", Errno::EMFILE)
}

/// Hands the listener of a container's process to the agent.
pub fn serve_listener(
    agent: &Agent,
    record: &Record,
    status: Status,
    pid: i32,
    listener: &OwnedFd,
) -> Result<()> {
    let init = record.init.as_ref().map_or(pid, |init| init.pid);
    agent.serve(record.oci_version, pid, state::hook_state(record, status, init), listener.as_fd())
}

/// The state that hooks of a kind get.
pub fn hook_state(record: &Record, kind: HookKind, pid: i32) -> Json {
    let status = match kind {
        HookKind::Prestart | HookKind::CreateRuntime | HookKind::CreateContainer => Status::Creating,
        HookKind::StartContainer => Status::Created,
        HookKind::Poststart => Status::Running,
        HookKind::Poststop => Status::Stopped,
    };
    state::hook_state(record, status, pid)
}

/// The failure of a child with its step in full: this process has the same plan.
fn init_failed(steps: &[InitStep], message: Message) -> Error {
    let e = Error::caused(message.text, message.number as i32);
    match steps.get(usize::from(message.step)) {
        // Errors of the look-up and of the exec are complete: engines match their words.
        Some(InitStep::FindProgram | InitStep::Exec) | None => e,
        Some(step @ InitStep::Root(RootStep::Mount(_))) => {
            e.context(step).context("error mounting").context(engine::IN_INIT)
        }
        Some(step) => e.context(step).context(engine::IN_INIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_lost_on_its_way_is_told() {
        let (host, child) = Channel::pair().unwrap();
        nix::unistd::write(&child, &[MessageKind::Listener as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let e = hear(&host, &[], None, &|_| Ok(()), &|_| Ok(())).unwrap_err();
        assert_eq!(e.errno(), Some(Errno::EMFILE));
    }
}
