//! The life of one container, as a model for [`crate::lifecycle`].
//!
//! See runtime.md, "State" and "Operations".

/// The status of a container, or its absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is none.
    Absent,
    /// Init waits for `start`.
    Created,
    /// The program runs.
    Running,
    /// Frozen before `start`.
    PausedCreated,
    /// The same, with SIGTERM pending.
    PausedEnding,
    /// Frozen after `start`.
    PausedRunning,
    /// Init has ended.
    Stopped,
}

impl Status {
    /// The word that `state` prints.
    pub fn word(self) -> &'static str {
        match self {
            Status::Absent => "",
            Status::Created => "created",
            Status::Running => "running",
            Status::PausedCreated | Status::PausedEnding | Status::PausedRunning => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The commands of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `create`
    Create,
    /// `run --detach`
    Run,
    /// `start`
    Start,
    /// `kill ID KILL`
    Kill,
    /// `kill ID TERM`
    ///
    /// It ends an init that waits for `start`; the program, as process 1, ignores it.
    Terminate,
    /// `kill ID 0`
    Probe,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `exec ID true`
    Exec,
    /// `update --pids-limit`
    Update,
    /// `ps`
    Ps,
    /// `delete`
    Delete,
    /// `delete --force`
    Force,
}

impl Verb {
    /// All, by the number that a byte of the input chooses.
    pub const ALL: [Verb; 13] = [
        Verb::Create,
        Verb::Run,
        Verb::Start,
        Verb::Kill,
        Verb::Terminate,
        Verb::Probe,
        Verb::Pause,
        Verb::Resume,
        Verb::Exec,
        Verb::Update,
        Verb::Ps,
        Verb::Delete,
        Verb::Force,
    ];

    /// The words of the command line around the id.
    pub fn words(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Verb::Create => (&["create"], &[]),
            Verb::Run => (&["run", "--detach"], &[]),
            Verb::Start => (&["start"], &[]),
            Verb::Kill => (&["kill"], &["KILL"]),
            Verb::Terminate => (&["kill"], &["TERM"]),
            Verb::Probe => (&["kill"], &["0"]),
            Verb::Pause => (&["pause"], &[]),
            Verb::Resume => (&["resume"], &[]),
            Verb::Exec => (&["exec"], &["/bin/busybox", "true"]),
            Verb::Update => (&["update", "--pids-limit", "100"], &[]),
            Verb::Ps => (&["ps"], &[]),
            Verb::Delete => (&["delete"], &[]),
            Verb::Force => (&["delete", "--force"], &[]),
        }
    }
}

/// The status after a command; `None` if it must fail and change nothing.
pub fn after(status: Status, verb: Verb) -> Option<Status> {
    use Status::{Absent, Created, PausedCreated, PausedEnding, PausedRunning, Running, Stopped};
    match (verb, status) {
        (Verb::Force, _) => Some(Absent),
        (Verb::Create, Absent) => Some(Created),
        (Verb::Run, Absent) => Some(Running),
        (_, Absent) => None,
        (Verb::Create | Verb::Run, _) => None,
        (Verb::Delete, Stopped | Created) => Some(Absent),
        (Verb::Delete, _) => None,
        // As with runc, it prints no more than the header.
        (Verb::Ps, Stopped) => Some(Stopped),
        (_, Stopped) => None,
        (Verb::Kill, _) => Some(Stopped),
        (Verb::Terminate, Created) => Some(Stopped),
        (Verb::Terminate, PausedCreated) => Some(PausedEnding),
        (Verb::Terminate | Verb::Probe | Verb::Ps | Verb::Update, same) => Some(same),
        (Verb::Start, Created) => Some(Running),
        (Verb::Start, _) => None,
        (Verb::Pause, Created) => Some(PausedCreated),
        (Verb::Pause, Running) => Some(PausedRunning),
        (Verb::Pause, _) => None,
        (Verb::Resume, PausedCreated) => Some(Created),
        (Verb::Resume, PausedEnding) => Some(Stopped),
        (Verb::Resume, PausedRunning) => Some(Running),
        (Verb::Resume, _) => None,
        (Verb::Exec, Created | Running) => Some(status),
        (Verb::Exec, _) => None,
    }
}
