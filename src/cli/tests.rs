//! The command line: the argv of engines, word for word, and people's mistakes.

use super::args::*;
use super::command::{CreateOptions, ExecOptions, Format};
use super::table::{Flag, global, verbs};
use super::{Command, Globals, lexer};
use crate::cgroup::planned::CgroupManager;
use crate::log::LogFormat;
use crate::text::Keep;

fn caller() -> Caller {
    Caller { name: "/usr/bin/embrun", ..Caller::default() }
}

fn parse(line: &str) -> Result<(Globals, Command), Misuse> {
    let words = line.split_whitespace().map(|w| w.replace('␣', " ").replace('∅', "").keep());
    let (globals, rest) = globals(&words.collect::<Vec<_>>(), &caller())?;
    let command = command(rest)?;
    Ok((globals, command))
}

fn ok(line: &str) -> (Globals, Command) {
    parse(line).unwrap_or_else(|m| panic!("{line}: {:?}", m.error))
}

fn fails(line: &str) -> Misuse {
    parse(line).err().unwrap_or_else(|| panic!("{line}: is accepted"))
}

fn says(line: &str) -> String {
    fails(line).error.to_string()
}

fn create(f: impl FnOnce(&mut CreateOptions)) -> Command {
    let mut options = CreateOptions { bundle: "/b", ..Default::default() };
    f(&mut options);
    Command::Create { id: "ID", options }
}

fn exec(args: &[&'static str], f: impl FnOnce(&mut ExecOptions)) -> Command {
    let mut options = ExecOptions { id: "ID", args: args.to_vec(), ..Default::default() };
    f(&mut options);
    Command::Exec(options)
}

fn path(s: &'static str) -> Option<&'static str> {
    Some(s)
}

const GO_RUNC: &str = "--root /r/k8s.io --debug --log /b/log.json --log-format json --rootless=true";

/// The global options of `GO_RUNC`.
fn go_runc_globals() -> Globals {
    Globals {
        runtime: "embrun",
        root: "/r/k8s.io",
        is_root_given: true,
        log: path("/b/log.json"),
        log_format: LogFormat::Json,
        trace: None,
        debug: true,
        cgroup_manager: CgroupManager::Cgroupfs,
        delegated: true,
    }
}

#[test]
fn go_runc_for_containerd_and_buildkit() {
    let kill = |signal, all| Command::Kill { id: "ID", signal, all };
    for (words, expected) in [
        (
            "create --bundle /b --pid-file /b/init.pid --console-socket /s ID",
            create(|o| {
                o.outputs.pid_file = path("/b/init.pid");
                o.outputs.console_socket = path("/s");
            }),
        ),
        (
            "create --bundle /b --pid-file /p --no-pivot --no-new-keyring --preserve-fds 3 ID",
            create(|o| {
                o.outputs.pid_file = path("/p");
                o.no_pivot = true;
                o.no_new_keyring = true;
                o.preserve_fds = 3;
            }),
        ),
        ("start ID", Command::Start { id: "ID" }),
        (
            "exec --process /p.json --console-socket /s --detach --pid-file /p ID",
            exec(&[], |o| {
                o.process = path("/p.json");
                o.outputs.console_socket = path("/s");
                o.detach = true;
                o.outputs.pid_file = path("/p");
            }),
        ),
        ("kill ID 9", kill("9", false)),
        ("kill --all ID 9", kill("9", true)),
        ("ps --format json ID", Command::Ps { id: "ID", format: Format::Json, options: vec![] }),
        (
            "ps --format table ID -o␣pid,ppid",
            Command::Ps { id: "ID", format: Format::Table, options: vec!["-o pid,ppid"] },
        ),
        ("list --format=json", Command::List { format: Format::Json, quiet: false }),
        ("delete ID", Command::Delete { id: "ID", force: false }),
        ("delete --force ID", Command::Delete { id: "ID", force: true }),
        ("state ID", Command::State { id: "ID" }),
        ("pause ID", Command::Pause { id: "ID" }),
        ("resume ID", Command::Resume { id: "ID" }),
    ] {
        let (globals, command) = ok(&format!("{GO_RUNC} {words}"));
        assert_eq!(command, expected, "{words}");
        assert_eq!(globals, go_runc_globals());
    }
    let run = "run --bundle /b --pid-file /p --no-pivot --keep -no-subreaper ID";
    let Command::Run { id, options } = ok(&format!("{GO_RUNC} {run}")).1 else { panic!() };
    assert_eq!((id, options.keep, options.no_subreaper, options.detach), ("ID", true, true, false));
    assert_eq!((options.create.bundle, options.create.no_pivot), ("/b", true));
}

#[test]
fn conmon_and_conmon_rs() {
    let line =
        "--log-format=json --log /l create --bundle /b --pid-file /p --no-pivot --console-socket /s ID";
    assert_eq!(
        ok(line).1,
        create(|o| {
            o.outputs.pid_file = path("/p");
            o.no_pivot = true;
            o.outputs.console_socket = path("/s");
        })
    );
    ok("exec --pid-file /p --process /f --detach ID");
    let twice = "--root=/a --systemd-cgroup --root=/r --systemd-cgroup exec -d --console-socket=/s --tty --pid-file=/p ID sh -c x";
    let (globals, command) = ok(twice);
    assert_eq!((globals.root, globals.cgroup_manager), ("/r", CgroupManager::Systemd { user: false }));
    assert_eq!(
        command,
        exec(&["sh", "-c", "x"], |o| {
            o.detach = true;
            o.tty = true;
            o.outputs.console_socket = path("/s");
            o.outputs.pid_file = path("/p");
        })
    );
    let (globals, _) = ok("--log-level=debug --cgroup-manager=cgroupfs --root=/r list");
    assert!(globals.debug);
    for (log, file) in [
        ("journald:ID", None),
        ("syslog:ID", None),
        ("journald:", None),
        ("journald", path("journald")),
        ("./syslog:x", path("./syslog:x")),
    ] {
        assert_eq!(ok(&format!("--log={log} list")).0.log, file, "{log}");
        assert_eq!(ok(&format!("--log {log} list")).0.log, file, "{log}");
    }
}

#[test]
fn podman_and_cri_o() {
    let kill = |signal, all| Command::Kill { id: "ID", signal, all };
    assert_eq!(ok("kill --all ID 15").1, kill("15", true));
    assert_eq!(ok("kill -a ID 9").1, kill("9", true));
    assert_eq!(ok("kill ID KILL").1, kill("KILL", false));
    assert_eq!(ok("kill ID").1, kill("TERM", false));
    assert_eq!(ok("delete --force ID").1, Command::Delete { id: "ID", force: true });
    assert_eq!(ok("--version").1, Command::Version);
    assert_eq!(ok("-v").1, Command::Version);
    assert_eq!(ok("--cgroup-manager disabled list").0.cgroup_manager, CgroupManager::Disabled);
    assert_eq!(ok("--root /r --systemd-cgroup start ID").1, Command::Start { id: "ID" });
    assert_eq!(ok("exec --process /f ID").1, exec(&[], |o| o.process = path("/f")));
}

/// Engines run these to find out whether checkpoint and restore work.
///
/// They take exit status 0 of the first, and the words "flag needs an argument" of the second, for a yes.
#[test]
fn probes_for_checkpoint_and_restore_get_a_no() {
    for line in [
        "checkpoint --help",
        "checkpoint -h ID",
        "restore --lsm-mount-context",
        "checkpoint --image-path /i ID",
    ] {
        let m = fails(line);
        assert!(m.error.to_string().contains("is not supported"), "{line}: {}", m.error);
        assert!(!m.error.to_string().contains("needs an argument"), "{line}");
        assert!(!m.error.to_string().contains("requires an argument"), "{line}");
        assert_eq!((m.help.as_str(), m.error.exit()), ("", 1), "{line}");
    }
}

#[test]
fn a_command_line_behind_the_id_is_left_alone() {
    for (line, args) in [
        ("exec ID sh -c --help -x", &["sh", "-c", "--help", "-x"][..]),
        ("exec -- ID sh", &["sh"]),
        ("exec ID -t sh", &["-t", "sh"]),
        ("exec ID -- sh", &["--", "sh"]),
        ("exec ID sh -- -x", &["sh", "--", "-x"]),
    ] {
        assert_eq!(ok(line).1, exec(args, |_| ()), "{line}");
    }
    let Command::Ps { options, format, .. } = ok("ps ID -e -f json").1 else { panic!() };
    assert_eq!((options, format), (vec!["-e", "-f", "json"], Format::Table));
}

/// As in runc, whose library moves options in front of the arguments.
#[test]
fn options_may_follow_the_id_elsewhere() {
    assert_eq!(ok("delete ID --force").1, Command::Delete { id: "ID", force: true });
    assert_eq!(ok("kill ID 9 -a").1, Command::Kill { id: "ID", signal: "9", all: true });
    assert_eq!(ok("delete -- ID").1, Command::Delete { id: "ID", force: false });
    assert_eq!(says("delete -- ID --force"), "\"delete\" requires exactly 1 argument(s)");
}

#[test]
fn every_way_to_write_a_flag() {
    for line in [
        "create --bundle /b ID",
        "create --bundle=/b ID",
        "create -bundle /b ID",
        "create -bundle=/b ID",
        "create -b /b ID",
        "create -b=/b ID",
        "create --b /b ID",
        "create -b /x -b /b ID",
        "create -b /b/ ID",
        "create -b /b --config ∅ ID",
    ] {
        assert_eq!(ok(line).1, create(|_| ()), "{line}");
    }
    for (line, force) in [
        ("-f", true),
        ("-f=true", true),
        ("--force=1", true),
        ("--force=false", false),
        ("-force=T", true),
        ("-f --force=0", false),
    ] {
        assert_eq!(ok(&format!("delete {line} ID")).1, Command::Delete { id: "ID", force }, "{line}");
    }
    let all = exec(&["a"], |o| {
        o.env = vec!["A=1,2", "B=", "C=x=y"];
        o.user = Some((5, Some(7)));
        o.additional_gids = vec![1, 2];
        o.caps = vec!["CAP_KILL", "net_raw"];
        o.outputs.pidfd_socket = path("/s");
        o.cwd = Some("/w");
        o.no_new_privs = true;
        o.ignore_paused = true;
        o.preserve_fds = 2;
    });
    assert_eq!(
        ok("exec -e A=1,2 --env B= -e=C=x=y -u 5:7 -g 1 --additional-gids=2 -c CAP_KILL --cap net_raw \
        --pidfd-socket /s --cwd /w --no-new-privs --ignore-paused  \
        --preserve-fds 2 ID a")
        .1,
        all
    );
}

#[test]
fn rootless_is_told_as_runc_is_told() {
    for (text, told) in [
        ("", None),
        ("auto", None),
        ("AUTO", None),
        ("true", Some(true)),
        ("T", Some(true)),
        ("1", Some(true)),
        ("FALSE", Some(false)),
        ("f", Some(false)),
        ("0", Some(false)),
    ] {
        // The default depends on the caller.
        for user in [false, true] {
            let caller = Caller { rootless: user, delegated: user, ..caller() };
            let (globals, _) = globals(&["--systemd-cgroup", "--rootless", text], &caller).unwrap();
            let is = told.unwrap_or(user);
            let manager = CgroupManager::Systemd { user: is };
            assert_eq!((globals.delegated, globals.cgroup_manager), (is, manager), "{text:?} of {user}");
        }
    }
}

#[test]
fn mistakes_get_one_clear_error() {
    for (line, error) in [
        ("bogus", "unknown command \"bogus\" (embrun --help lists the commands)"),
        ("bogus -h", "No help topic for 'bogus' (embrun --help lists the commands)"),
        ("bogus --help", "No help topic for 'bogus' (embrun --help lists the commands)"),
        ("help bogus", "unknown command \"bogus\" (embrun --help lists the commands)"),
        ("--bogus list", "flag provided but not defined: -bogus (--help lists the options)"),
        ("start -x ID", "flag provided but not defined: -x (--help lists the options)"),
        ("exec --bogus=1 ID sh", "flag provided but not defined: -bogus (--help lists the options)"),
        ("create ---bundle /b ID", "bad flag syntax: ---bundle"),
        ("create --=x ID", "bad flag syntax: --=x"),
        ("create ID --bundle", "flag needs an argument: -bundle"),
        ("--root", "flag needs an argument: -root"),
        ("delete --force=maybe ID", "invalid boolean value \"maybe\" for -force"),
        ("state", "\"state\" requires exactly 1 argument(s)"),
        ("state a b", "\"state\" requires exactly 1 argument(s)"),
        ("list a", "\"list\" requires exactly 0 argument(s)"),
        ("exec", "\"exec\" requires a minimum of 1 argument(s)"),
        ("kill", "\"kill\" requires a minimum of 1 argument(s)"),
        ("kill a b c", "\"kill\" requires a maximum of 2 argument(s)"),
        ("exec ID", "exec: process args cannot be empty (name a command, or --process FILE)"),
        (
            "exec -u root ID a",
            "exec: --user: \"root\" is not UID or UID:GID (each a number from 0 to 4294967294)",
        ),
        ("exec -u ∅ ID a", "exec: --user: \"\" is not UID or UID:GID (each a number from 0 to 4294967294)"),
        (
            "exec -u 4294967295 ID a",
            "exec: --user: \"4294967295\" is not UID or UID:GID (each a number from 0 to 4294967294)",
        ),
        ("exec -e =x ID a", "exec: --env: \"=x\" is not KEY=VALUE"),
        (
            "exec -g 4294967295 ID a",
            "exec: --additional-gids: \"4294967295\" is not a group id (a number from 0 to 4294967294)",
        ),
        ("exec --cwd tmp ID a", "exec: --cwd: must be an absolute path, is \"tmp\""),
        ("create --preserve-fds -1 ID", "--preserve-fds: must be a number, is \"-1\""),
        ("--log-format x list", "invalid log-format: x"),
        ("--rootless=maybe list", "--rootless: must be true, false or auto, is \"maybe\""),
        ("--cgroup-manager x list", "--cgroup-manager: must be cgroupfs, systemd or disabled, is \"x\""),
        ("--root / list", "--root: must not be the root directory \"/\""),
        ("--root //. list", "--root: must not be the root directory \"/\""),
        ("list -f xml", "--format: must be table or json, is \"xml\" (invalid format option)"),
    ] {
        assert_eq!(says(line), error, "{line}");
    }
    // As in runc: a faulty process is a failed exec.
    for line in ["exec ID", "exec -u +7 ID a", "exec -e A ID a", "exec -g ∅ ID a", "exec --cwd . ID a"] {
        assert_eq!(fails(line).error.exit(), 255, "{line}");
    }
    for line in ["start a b", "state", "--root"] {
        assert!(fails(line).help.starts_with("Incorrect Usage.\n\n"), "{line}");
    }
    for line in ["bogus", "start -x ID", "--bogus list"] {
        assert_eq!(fails(line).help, "", "{line}");
    }
    // Empty is not given.
    assert_eq!(ok("exec --cwd ∅ ID a").1, exec(&["a"], |_| ()));
}

#[test]
fn what_is_not_performed_is_refused_and_not_dropped() {
    let refused: Vec<_> = verbs().filter(|v| v.line().refused().is_some()).collect();
    assert_eq!(refused.len(), 2);
    for verb in refused {
        let (name, why) = (verb.name(), "there is no checkpoint and restore");
        assert_eq!(says(name), format!("{name} is not supported ({why})"));
        let page = format!("NAME:\n   embrun {name} - not supported, {why}\n");
        assert_eq!(ok(&format!("{name} -h")).1, Command::Help(page));
    }
    let rdt = "update: --l3-cache-schema is not supported (schemata are set by create)";
    assert_eq!(says("update --l3-cache-schema x ID"), rdt);
}

#[test]
fn help_is_there_for_all_and_for_each() {
    let Command::Help(all) = ok("").1 else { panic!() };
    assert_eq!(ok("--help").1, Command::Help(all.clone()));
    assert_eq!(ok("-h list").1, Command::Help(all.clone()));
    assert_eq!(ok("help").1, Command::Help(all.clone()));
    assert_eq!(ok("h").1, Command::Help(all.clone()));
    for verb in verbs().filter(|v| v.line().refused().is_none()) {
        let name = verb.name();
        assert!(all.contains(&format!("\n  {name:<11} {}\n", verb.line().text)), "{name}");
        let Command::Help(text) = ok(&format!("{name} --help")).1 else { panic!() };
        assert_eq!(ok(&format!("help {name}")).1, Command::Help(text.clone()));
        for flag in verb.flags().filter(|f| f.line.shown()) {
            assert!(text.contains(&format!("--{}", flag.name)), "{name} --{}", flag.name);
        }
    }
    assert!(!all.contains("checkpoint") && !all.contains("criu"));
    let Command::Help(kill) = ok("kill -h").1 else { panic!() };
    assert_eq!(
        kill,
        "NAME:\n   embrun kill - send a signal to a container's process (default: TERM)\n\n\
        USAGE:\n   embrun kill [options] <container-id> [signal]\n\n\
        OPTIONS:\n  -h, --help                    print this\n"
    );
}

#[test]
fn the_table_is_sound() {
    assert!(verbs().is_sorted_by_key(|v| v.name()));
    for verb in verbs().chain([global()]) {
        let flags: Vec<_> = verb.flags().collect();
        for (i, flag) in flags.iter().enumerate() {
            let clashes = |f: &Flag| f.name == flag.name || (!f.short.is_empty() && f.short == flag.short);
            assert!(!flags[..i].iter().any(clashes), "{}", flag.name);
            assert!(flag.name.len() > 1 && flag.short.len() < 2, "{}", flag.name);
        }
    }
    // Every flag that takes something reads back what it was given.
    for verb in verbs().filter(|v| v.line().refused().is_none()) {
        for flag in verb.flags().filter(|f| f.line.refused().is_none()) {
            let value = if flag.value.is_empty() { "true" } else { "7" };
            let mut words: Vec<&str> = vec![format!("--{}", flag.name).keep()];
            words.extend((!flag.value.is_empty()).then_some("7"));
            words.resize(words.len() + verb.arguments().0, "x");
            assert_eq!(lexer::command(verb, &words).unwrap().text(flag.name), Some(value));
        }
    }
}

/// The help text shows the number of arguments that the parser accepts.
#[test]
fn the_usage_is_the_number_of_arguments() {
    for (name, arguments) in [
        ("create", (1, 1)),
        ("device", (3, 3)),
        ("exec", (1, usize::MAX)),
        ("features", (0, 0)),
        ("help", (0, 1)),
        ("kill", (1, 2)),
        ("ps", (1, usize::MAX)),
        ("seccomp", (2, usize::MAX)),
        ("spec", (0, 0)),
    ] {
        assert_eq!(verbs().find(|v| v.name() == name).unwrap().arguments(), arguments, "{name}");
    }
}

#[test]
fn the_default_root_is_by_name_and_by_user() {
    let at = |name, rootless, dir: Option<&'static str>| {
        Caller { name, rootless, delegated: rootless, runtime_dir: dir }.default_root()
    };
    for (name, rootless, dir, root) in [
        ("embrun", false, None, "/run/embrun"),
        ("/usr/bin/embrun", false, Some("/run/user/0"), "/run/embrun"),
        ("/usr/bin/runc", false, None, "/run/runc"),
        ("crun", true, Some("/run/user/7"), "/run/user/7/crun"),
        ("anything", true, Some("/run/user/7"), "/run/user/7/embrun"),
        ("", true, None, "/run/embrun"),
    ] {
        assert_eq!(at(name, rootless, dir), root);
    }
    let (globals, _) = ok("--root rel list");
    assert!(globals.root.starts_with('/') && globals.root.ends_with("/rel"));
    assert_eq!(ok("--root=∅ list").0.root, "/run/embrun");
}
