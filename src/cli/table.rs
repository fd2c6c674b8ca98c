//! The command line as data: every command and flag, once.
//!
//! The lexer, the help texts and the errors are all driven by this table; the typed options are read from what the lexer
//! made of it ([`super::args`]). A flag that is parsed but not performed says so here ([`Fate`]), so that it is refused
//! and never silently dropped.

/// What becomes of a flag or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does what it says.
    Performed,
    /// Accepted and without effect, on purpose: old callers still pass it.
    Ignored,
    /// Refused as not supported, for this reason ("" for none beyond that).
    Unsupported(&'static str),
}

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing, or `=true`, `=false`.
    Nothing,
    /// One value; given again, the last one counts.
    One,
    /// One value each time; all of them count.
    Each,
}

/// A flag of a command, or of all of them.
#[derive(Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its one-letter name.
    pub short: Option<char>,
    /// What follows it.
    pub takes: Takes,
    /// Left out of the help texts.
    pub hidden: bool,
    /// Whether it does anything.
    pub fate: Fate,
    /// One line of help.
    pub help: &'static str,
}

/// A command.
#[derive(Debug)]
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// Its arguments, as the help text shows them.
    pub usage: &'static str,
    /// How many arguments it needs.
    pub min: usize,
    /// How many it takes at most.
    pub max: usize,
    /// Its options end at the first argument: what follows is somebody else's command line.
    pub greedy: bool,
    /// Whether there is such a command yet.
    pub fate: Fate,
    /// Its flags.
    pub flags: &'static [Flag],
}

impl Flag {
    const fn new(name: &'static str, takes: Takes, help: &'static str) -> Flag {
        Flag { name, short: None, takes, hidden: false, fate: Fate::Performed, help }
    }

    const fn short(mut self, short: char) -> Flag {
        self.short = Some(short);
        self
    }

    const fn hidden(mut self) -> Flag {
        self.hidden = true;
        self
    }

    const fn fate(mut self, fate: Fate) -> Flag {
        self.fate = fate;
        self
    }
}

impl Verb {
    const fn new(
        name: &'static str,
        usage: &'static str,
        about: &'static str,
        flags: &'static [Flag],
    ) -> Verb {
        Verb { name, about, usage, min: 1, max: 1, greedy: false, fate: Fate::Performed, flags }
    }

    const fn takes(mut self, min: usize, max: usize) -> Verb {
        self.min = min;
        self.max = max;
        self
    }

    const fn greedy(mut self) -> Verb {
        self.greedy = true;
        self.max = usize::MAX;
        self
    }

    const fn unsupported(mut self, why: &'static str) -> Verb {
        self.fate = Fate::Unsupported(why);
        self.min = 0;
        self.max = usize::MAX;
        self
    }
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag::new(name, Takes::Nothing, help)
}

const fn value(name: &'static str, help: &'static str) -> Flag {
    Flag::new(name, Takes::One, help)
}

const fn each(name: &'static str, help: &'static str) -> Flag {
    Flag::new(name, Takes::Each, help)
}

const ID: &str = "<container-id>";

const BUNDLE: Flag = value("bundle", "the bundle's directory (default: the current one)").short('b');
const CONFIG: Flag =
    value("config", "file of the configuration (default: the bundle's config.json)").short('f');
const CONSOLE: Flag = value("console-socket", "unix socket that is sent the terminal's master end");
const PIDFD: Flag = value("pidfd-socket", "unix socket that is sent a pidfd of the process (Linux 5.2)");
const PID_FILE: Flag = value("pid-file", "file to write the process id to");
const NO_PIVOT: Flag =
    switch("no-pivot", "do not use pivot_root(2): for a root file system that is an initramfs");
const NO_KEYRING: Flag = switch("no-new-keyring", "keep the caller's session keyring");
const FDS: Flag =
    value("preserve-fds", "pass this many file descriptors after stdio and $LISTEN_FDS (default: 0)");
const DETACH: Flag = switch("detach", "return when the process runs").short('d');
const FORMAT: Flag = value("format", "table or json (default: table)").short('f');

/// The flags before the command.
pub const GLOBAL: &[Flag] = &[
    switch("debug", "log more"),
    value("log", "file to append log lines to; errors still go to stderr too"),
    value("log-format", "text or json (default: text)"),
    value("log-level", "only 'debug' has an effect: that of --debug"),
    value("root", "directory of the containers' state (default: /run/embrun, a tmpfs)"),
    switch("systemd-cgroup", "the same as --cgroup-manager systemd"),
    value("cgroup-manager", "cgroupfs, systemd or disabled (default: cgroupfs)"),
    value("rootless", "cgroups are as delegated to an ordinary user: true, false or auto (default: auto)"),
    value("criu", "accepted for old callers").hidden().fate(Fate::Ignored),
    switch("version", "print the version").short('v'),
    HELP,
];

/// Every command has it.
pub const HELP: Flag = switch("help", "print this").short('h');

/// The commands, by name.
pub const VERBS: &[Verb] = &[
    Verb::new("checkpoint", ID, "save a container's state to disk", &[])
        .unsupported("there is no checkpoint and restore"),
    Verb::new(
        "create",
        ID,
        "create a container",
        &[BUNDLE, CONFIG, CONSOLE, PIDFD, PID_FILE, NO_PIVOT, NO_KEYRING, FDS],
    ),
    Verb::new(
        "delete",
        ID,
        "delete what a container holds",
        &[switch("force", "kill it first; a container that is not there is no error").short('f')],
    ),
    Verb::new(
        "device",
        "add|remove <container-id> <device>",
        "allow a device to a container and make its node there, or take both away",
        &[
            value("mode", "what is allowed, of r, w and m (default: rwm)"),
            value("as", "the node's path in the container (default: the device's)"),
        ],
    )
    .takes(3, 3),
    Verb::new(
        "events",
        ID,
        "print statistics and out-of-memory events, a JSON object a line",
        &[
            switch("stats", "print the statistics once"),
            value("interval", "time between statistics, as 5s or 1m30s (default: 5s)"),
        ],
    ),
    Verb::new(
        "exec",
        "<container-id> [command [argument...]]",
        "run another process in a container",
        &[
            CONSOLE,
            PIDFD,
            value("cwd", "working directory in the container"),
            each("env", "set this variable (KEY=VALUE)").short('e'),
            switch("tty", "allocate a terminal").short('t'),
            value("user", "UID[:GID]").short('u'),
            each("additional-gids", "another group of the process").short('g'),
            value("process", "JSON file that describes the process").short('p'),
            DETACH,
            PID_FILE,
            value("process-label", "SELinux label of the process").fate(Fate::Unsupported("")),
            value("apparmor", "AppArmor profile of the process").fate(Fate::Unsupported("")),
            switch("no-new-privs", "set no_new_privs"),
            each("cap", "add this capability").short('c'),
            FDS,
            each("cgroup", "run in this existing sub-cgroup: [controller[,controller]:]path"),
            switch("ignore-paused", "allow it in a paused container"),
        ],
    )
    .greedy(),
    Verb::new("features", "", "print what this runtime can do, as JSON", &[]).takes(0, 0),
    Verb::new("help", "[command]", "print the help text, of a command if one is named", &[]).takes(0, 1),
    Verb::new(
        "kill",
        "<container-id> [signal]",
        "send a signal to a container's process (default: TERM)",
        &[switch("all", "a container that does not run is no error").short('a').hidden()],
    )
    .takes(1, 2),
    Verb::new("list", "", "list the containers", &[FORMAT, switch("quiet", "print the ids only").short('q')])
        .takes(0, 0),
    Verb::new("pause", ID, "suspend a container's processes", &[]),
    Verb::new("ps", "<container-id> [ps option...]", "list a container's processes", &[FORMAT]).greedy(),
    Verb::new("restore", ID, "restore a container from a checkpoint", &[])
        .unsupported("there is no checkpoint and restore"),
    Verb::new("resume", ID, "resume a container's processes", &[]),
    Verb::new(
        "run",
        ID,
        "create and start a container",
        &[
            BUNDLE,
            CONFIG,
            CONSOLE,
            PIDFD,
            PID_FILE,
            NO_PIVOT,
            NO_KEYRING,
            FDS,
            DETACH,
            switch("keep", "do not delete the container when it has ended"),
            switch("no-subreaper", "do not reap the container's orphans"),
        ],
    ),
    Verb::new(
        "seccomp",
        "explain BUNDLE|PROFILE SYSCALL [ARG...] | dump BUNDLE|PROFILE | record BUNDLE",
        "say what a seccomp profile does with a system call, print its filter, or record one",
        &[
            value("arch", "for processes of this architecture, as x86 or arm (default: the native one)"),
            value("output", "where record puts the profile (default: seccomp.json in the bundle)").short('o'),
            each("merge", "record into what this recorded profile allows"),
        ],
    )
    .takes(2, usize::MAX),
    Verb::new(
        "spec",
        "",
        "write a config.json to start from",
        &[
            BUNDLE,
            switch("rootless", "for a container that an ordinary user runs"),
            value(
                "role",
                "for this role at a gateway, as data-collector or uplink, with its seccomp profile",
            ),
        ],
    )
    .takes(0, 0),
    Verb::new("start", ID, "start the process of a created container", &[]),
    Verb::new("state", ID, "print a container's state", &[]),
    Verb::new(
        "update",
        ID,
        "change a container's resource limits",
        &[
            value("resources", "JSON file in the form of linux.resources, - for stdin").short('r'),
            value("blkio-weight", "relative weight of block I/O, 10 to 1000"),
            value("cpu-period", "microseconds that the quota is for"),
            value("cpu-quota", "microseconds of processor time a period, -1 for no limit"),
            value("cpu-burst", "microseconds that may be saved up"),
            value("cpu-share", "relative weight of processor time, 2 to 262144"),
            value("cpu-rt-period", "microseconds that the real-time budget is for"),
            value("cpu-rt-runtime", "microseconds of real-time scheduling a period"),
            value("cpuset-cpus", "processors, as 0-3,7"),
            value("cpuset-mems", "memory nodes, as 0-1"),
            value("cpu-idle", "1 to run only when nothing else wants to"),
            value("memory", "bytes, or with a unit: 64m, 1g; -1 for no limit"),
            value("memory-reservation", "the same: the soft limit"),
            value("memory-swap", "the same: memory and swap together"),
            value("pids-limit", "processes and threads, -1 for no limit"),
            value("kernel-memory", "accepted for old callers").hidden().fate(Fate::Ignored),
            value("kernel-memory-tcp", "accepted for old callers").hidden().fate(Fate::Ignored),
            value("l3-cache-schema", "Intel RDT").hidden().fate(Fate::Unsupported("there is no Intel RDT")),
            value("mem-bw-schema", "Intel RDT").hidden().fate(Fate::Unsupported("there is no Intel RDT")),
        ],
    ),
];
