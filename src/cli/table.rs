//! The command line as data: every command and option, once, as the help texts say it.
//!
//! A line is what a person reads, `-e, --env KEY=VALUE...: set this variable`, and what the lexer looks options up in: a
//! word behind the names means that a value follows, with dots that it may be given again. Two kinds of lines are not
//! printed. One without a text is hidden: it is there for old callers. One whose text begins with [`REFUSED`] is parsed
//! but not performed, so that it is refused and never silently dropped; what follows is the reason.
//!
//! The typed options are read from what the lexer made of the words ([`super::args`]).

/// The text of what is not performed begins with it.
const REFUSED: &str = "not supported";

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Line {
    /// What is before the colon: the names, and what follows them.
    pub head: &'static str,
    /// One line of help; empty for what is hidden.
    pub text: &'static str,
}

/// An option of a command, or of all of them.
#[derive(Clone, Copy)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Its one-letter name, or empty.
    pub short: &'static str,
    /// What value follows; empty for a switch, which has none, or `=true`, `=false`.
    pub value: &'static str,
    /// The line it was read from.
    pub line: Line,
}

/// A command.
pub struct Verb {
    /// Its name, the `<arguments>` it needs, the `[arguments]` it takes, and a line of help.
    line: &'static str,
    /// Its options: texts of a line each.
    pub flags: &'static [&'static str],
    /// Its options end at the first argument: what follows is somebody else's command line.
    pub greedy: bool,
}

impl Line {
    fn read(line: &'static str) -> Line {
        let (head, text) = line.split_once(':').unwrap_or((line, ""));
        Line { head, text: text.trim_start_matches(' ') }
    }

    /// Whether the help texts have it.
    pub fn shown(self) -> bool {
        !self.text.is_empty() && self.refused().is_none()
    }

    /// Why it is not performed, if it is not ("" for no reason beyond that).
    pub fn refused(self) -> Option<&'static str> {
        self.text.strip_prefix(REFUSED).map(|why| why.trim_start_matches([',', ' ']))
    }
}

impl Flag {
    /// Reads a line such as `-b, --bundle DIR: the bundle's directory`.
    pub fn read(line: &'static str) -> Flag {
        let mut flag = Flag { name: "", short: "", value: "", line: Line::read(line) };
        for word in flag.line.head.split(' ') {
            match word.strip_prefix('-') {
                Some(rest) => match rest.strip_prefix('-') {
                    Some(name) => flag.name = name,
                    None => flag.short = rest.trim_end_matches(','),
                },
                None => flag.value = word,
            }
        }
        flag
    }
}

impl Verb {
    /// Its name.
    pub fn name(&self) -> &'static str {
        let head = self.line().head;
        head.split(' ').next().unwrap_or(head)
    }

    /// What it is and what follows it.
    pub fn line(&self) -> Line {
        Line::read(self.line)
    }

    /// How many arguments it needs, and how many it takes at most.
    pub fn arguments(&self) -> (usize, usize) {
        let head = self.line().head;
        let count = |byte| head.bytes().filter(|b| *b == byte).count();
        let min = count(b'<');
        (min, if head.contains("...") { usize::MAX } else { min + count(b'[') })
    }
}

/// The options in texts of a line each.
pub fn flags(texts: &'static [&'static str]) -> impl Iterator<Item = Flag> {
    texts.iter().flat_map(|text| text.lines()).map(Flag::read)
}

/// The options before the command.
pub const GLOBAL: &[&str] = &["\
--debug: log more
--log FILE: file to append log lines to; errors still go to stderr too
--log-format FORMAT: text or json (default: text)
--log-level LEVEL: only 'debug' has an effect: that of --debug
--root DIR: directory of the containers' state (default: /run/embrun, a tmpfs)
--systemd-cgroup: the same as --cgroup-manager systemd
--cgroup-manager NAME: cgroupfs, systemd or disabled (default: cgroupfs)
--rootless BOOL: cgroups are as delegated to an ordinary user: true, false or auto (default: auto)
--criu PATH
-v, --version: print the version"];

/// Every command has it.
pub const HELP: &str = "-h, --help: print this";

const BUNDLE: &str = "-b, --bundle DIR: the bundle's directory (default: the current one)";

const CREATE: &str = "\
-f, --config FILE: file of the configuration (default: the bundle's config.json)
--no-pivot: do not use pivot_root(2): for a root file system that is an initramfs
--no-new-keyring: keep the caller's session keyring";

const PROCESS: &str = "\
--console-socket PATH: unix socket that is sent the terminal's master end
--pidfd-socket PATH: unix socket that is sent a pidfd of the process (Linux 5.2)
--pid-file FILE: file to write the process id to
--preserve-fds N: pass this many file descriptors after stdio and $LISTEN_FDS (default: 0)";

const DETACH: &str = "-d, --detach: return when the process runs";

const FORMAT: &str = "-f, --format FORMAT: table or json (default: table)";

const EXEC: &str = "\
--cwd DIR: working directory in the container
-e, --env KEY=VALUE...: set this variable
-t, --tty: allocate a terminal
-u, --user USER: UID[:GID]
-g, --additional-gids GID...: another group of the process
-p, --process FILE: JSON file that describes the process
--process-label LABEL: not supported
--apparmor PROFILE: not supported
--no-new-privs: set no_new_privs
-c, --cap NAME...: add this capability
--cgroup PATH...: run in this existing sub-cgroup: [controller[,controller]:]path
--ignore-paused: allow it in a paused container";

const UPDATE: &str = "\
-r, --resources FILE: JSON file in the form of linux.resources, - for stdin
--blkio-weight N: relative weight of block I/O, 10 to 1000
--cpu-period N: microseconds that the quota is for
--cpu-quota N: microseconds of processor time a period, -1 for no limit
--cpu-burst N: microseconds that may be saved up
--cpu-share N: relative weight of processor time, 2 to 262144
--cpu-rt-period N: microseconds that the real-time budget is for
--cpu-rt-runtime N: microseconds of real-time scheduling a period
--cpuset-cpus LIST: processors, as 0-3,7
--cpuset-mems LIST: memory nodes, as 0-1
--cpu-idle N: 1 to run only when nothing else wants to
--memory SIZE: bytes, or with a unit: 64m, 1g; -1 for no limit
--memory-reservation SIZE: the same: the soft limit
--memory-swap SIZE: the same: memory and swap together
--pids-limit N: processes and threads, -1 for no limit
--kernel-memory SIZE
--kernel-memory-tcp SIZE
--l3-cache-schema SCHEMA: not supported, there is no Intel RDT
--mem-bw-schema SCHEMA: not supported, there is no Intel RDT";

const fn verb(line: &'static str, flags: &'static [&'static str]) -> Verb {
    Verb { line, flags, greedy: false }
}

/// A command whose arguments are a command line.
const fn greedy(line: &'static str, flags: &'static [&'static str]) -> Verb {
    Verb { line, flags, greedy: true }
}

/// The commands, by name.
pub const VERBS: &[Verb] = &[
    verb("checkpoint: not supported, there is no checkpoint and restore", &[]),
    verb("create <container-id>: create a container", &[BUNDLE, CREATE, PROCESS]),
    verb(
        "delete <container-id>: delete what a container holds",
        &["-f, --force: kill it first; a container that is not there is no error"],
    ),
    verb(
        "device <add|remove> <container-id> <device>: \
        allow a device to a container and make its node there, or take both away",
        &["\
--mode ACCESS: what is allowed, of r, w and m (default: rwm)
--as PATH: the node's path in the container (default: the device's)"],
    ),
    verb(
        "events <container-id>: print statistics and out-of-memory events, a JSON object a line",
        &["\
--stats: print the statistics once
--interval TIME: time between statistics, as 5s or 1m30s (default: 5s)"],
    ),
    greedy(
        "exec <container-id> [command [argument...]]: run another process in a container",
        &[PROCESS, EXEC, DETACH],
    ),
    verb("features: print what this runtime can do, as JSON", &[]),
    verb("help [command]: print the help text, of a command if one is named", &[]),
    // With --all a container that does not run is no error.
    verb(
        "kill <container-id> [signal]: send a signal to a container's process (default: TERM)",
        &["-a, --all"],
    ),
    verb("list: list the containers", &[FORMAT, "-q, --quiet: print the ids only"]),
    verb("pause <container-id>: suspend a container's processes", &[]),
    greedy("ps <container-id> [ps option...]: list a container's processes", &[FORMAT]),
    verb("restore: not supported, there is no checkpoint and restore", &[]),
    verb("resume <container-id>: resume a container's processes", &[]),
    verb(
        "run <container-id>: create and start a container",
        &[
            BUNDLE,
            CREATE,
            PROCESS,
            DETACH,
            "\
--keep: do not delete the container when it has ended
--no-subreaper: do not reap the container's orphans",
        ],
    ),
    verb(
        "seccomp <explain|dump|record> <bundle|profile> [syscall [argument...]]: \
        say what a seccomp profile does with a system call, print its filter, or record one",
        &["\
--arch NAME: for processes of this architecture, as x86 or arm (default: the native one)
-o, --output FILE: where record puts the profile (default: seccomp.json in the bundle)
--merge FILE...: record into what this recorded profile allows"],
    ),
    verb(
        "spec: write a config.json to start from",
        &[
            BUNDLE,
            "\
--rootless: for a container that an ordinary user runs
--role NAME: for this role at a gateway, as data-collector or uplink, with its seccomp profile",
        ],
    ),
    verb("start <container-id>: start the process of a created container", &[]),
    verb("state <container-id>: print a container's state", &[]),
    verb("update <container-id>: change a container's resource limits", &[UPDATE]),
];
