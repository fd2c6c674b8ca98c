//! The command line against what engines really say (their argv, word for word) and against what people mistype.

use std::path::{Path, PathBuf};

use super::args::*;
use super::lexer;
use super::table::{Fate, GLOBAL, Takes, VERBS};

fn caller() -> Caller {
    Caller { name: "/usr/bin/embrun".into(), ..Caller::default() }
}

fn parse(line: &str) -> Result<(Globals, Command), Misuse> {
    let words = line.split_whitespace().map(|w| w.replace('␣', " ").replace('∅', "")).collect();
    let (globals, rest) = globals(words, &caller())?;
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
    let mut options = CreateOptions { bundle: "/b".into(), ..Default::default() };
    f(&mut options);
    Command::Create { id: "ID".into(), options }
}

fn exec(args: &[&str], f: impl FnOnce(&mut ExecOptions)) -> Command {
    let args = args.iter().map(|s| s.to_string()).collect();
    let mut options = ExecOptions { id: "ID".into(), args, ..Default::default() };
    f(&mut options);
    Command::Exec(options)
}

fn path(s: &str) -> Option<PathBuf> {
    Some(s.into())
}

const GO_RUNC: &str = "--root /r/k8s.io --debug --log /b/log.json --log-format json --rootless=true";

#[test]
fn go_runc_for_containerd_and_buildkit() {
    let id = || "ID".to_owned();
    let kill = |signal: &str, all| Command::Kill { id: id(), signal: signal.into(), all };
    for (words, expected) in [
        (
            "create --bundle /b --pid-file /b/init.pid --console-socket /s ID",
            create(|o| {
                o.pid_file = path("/b/init.pid");
                o.console_socket = path("/s");
            }),
        ),
        (
            "create --bundle /b --pid-file /p --no-pivot --no-new-keyring --preserve-fds 3 ID",
            create(|o| {
                o.pid_file = path("/p");
                o.no_pivot = true;
                o.no_new_keyring = true;
                o.preserve_fds = 3;
            }),
        ),
        ("start ID", Command::Start { id: id() }),
        (
            "exec --process /p.json --console-socket /s --detach --pid-file /p ID",
            exec(&[], |o| {
                o.process = path("/p.json");
                o.console_socket = path("/s");
                o.detach = true;
                o.pid_file = path("/p");
            }),
        ),
        ("kill ID 9", kill("9", false)),
        ("kill --all ID 9", kill("9", true)),
        ("ps --format json ID", Command::Ps { id: id(), format: Format::Json, options: vec![] }),
        (
            "ps --format table ID -o␣pid,ppid",
            Command::Ps { id: id(), format: Format::Table, options: vec!["-o pid,ppid".into()] },
        ),
        ("list --format=json", Command::List { format: Format::Json, quiet: false }),
        ("delete ID", Command::Delete { id: id(), force: false }),
        ("delete --force ID", Command::Delete { id: id(), force: true }),
        ("state ID", Command::State { id: id() }),
        ("pause ID", Command::Pause { id: id() }),
        ("resume ID", Command::Resume { id: id() }),
    ] {
        let (globals, command) = ok(&format!("{GO_RUNC} {words}"));
        assert_eq!(command, expected, "{words}");
        assert_eq!(
            globals,
            Globals {
                root: "/r/k8s.io".into(),
                log: path("/b/log.json"),
                log_format: LogFormat::Json,
                debug: true,
                cgroup_manager: CgroupManager::Cgroupfs,
                delegated: true,
                user_manager: true,
            }
        );
    }
    let run = "run --bundle /b --pid-file /p --no-pivot --keep -no-subreaper ID";
    let Command::Run { id, options } = ok(&format!("{GO_RUNC} {run}")).1 else { panic!() };
    assert_eq!((id.as_str(), options.keep, options.no_subreaper, options.detach), ("ID", true, true, false));
    assert_eq!((options.create.bundle, options.create.no_pivot), ("/b".into(), true));
}

#[test]
fn conmon_and_conmon_rs() {
    let line =
        "--log-format=json --log /l create --bundle /b --pid-file /p --no-pivot --console-socket /s ID";
    assert_eq!(
        ok(line).1,
        create(|o| {
            o.pid_file = path("/p");
            o.no_pivot = true;
            o.console_socket = path("/s");
        })
    );
    ok("exec --pid-file /p --process /f --detach ID");
    let twice = "--root=/a --systemd-cgroup --root=/r --systemd-cgroup exec -d --console-socket=/s --tty --pid-file=/p ID sh -c x";
    let (globals, command) = ok(twice);
    assert_eq!((globals.root, globals.cgroup_manager), ("/r".into(), CgroupManager::Systemd));
    assert_eq!(
        command,
        exec(&["sh", "-c", "x"], |o| {
            o.detach = true;
            o.tty = true;
            o.console_socket = path("/s");
            o.pid_file = path("/p");
        })
    );
    let (globals, _) = ok("--log-level=debug --cgroup-manager=cgroupfs --root=/r list");
    assert!(globals.debug);
}

#[test]
fn podman_and_cri_o() {
    let kill = |signal: &str, all| Command::Kill { id: "ID".into(), signal: signal.into(), all };
    assert_eq!(ok("kill --all ID 15").1, kill("15", true));
    assert_eq!(ok("kill -a ID 9").1, kill("9", true));
    assert_eq!(ok("kill ID KILL").1, kill("KILL", false));
    assert_eq!(ok("kill ID").1, kill("TERM", false));
    assert_eq!(ok("delete --force ID").1, Command::Delete { id: "ID".into(), force: true });
    assert_eq!(ok("--version").1, Command::Version);
    assert_eq!(ok("-v").1, Command::Version);
    assert_eq!(ok("--cgroup-manager disabled list").0.cgroup_manager, CgroupManager::Disabled);
    assert_eq!(ok("--root /r --systemd-cgroup start ID").1, Command::Start { id: "ID".into() });
    assert_eq!(ok("exec --process /f ID").1, exec(&[], |o| o.process = path("/f")));
}

/// Engines run these to see whether there is checkpoint and restore: they take exit status 0 of the first, and the words
/// "flag needs an argument" of the second, for a yes.
#[test]
fn probes_for_checkpoint_and_restore_get_a_no() {
    for line in
        ["checkpoint --help", "checkpoint -h", "restore --lsm-mount-context", "checkpoint --image-path /i ID"]
    {
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
    assert_eq!((options, format), (vec!["-e".to_owned(), "-f".into(), "json".into()], Format::Table));
}

/// As in runc, whose library moves options in front of the arguments.
#[test]
fn options_may_follow_the_id_elsewhere() {
    assert_eq!(ok("delete ID --force").1, Command::Delete { id: "ID".into(), force: true });
    assert_eq!(ok("kill ID 9 -a").1, Command::Kill { id: "ID".into(), signal: "9".into(), all: true });
    assert_eq!(ok("delete -- ID").1, Command::Delete { id: "ID".into(), force: false });
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
        assert_eq!(ok(&format!("delete {line} ID")).1, Command::Delete { id: "ID".into(), force }, "{line}");
    }
    let all = exec(&["a"], |o| {
        o.env = vec!["A=1,2".into(), "B=".into(), "C=x=y".into()];
        o.user = Some((5, Some(7)));
        o.additional_gids = vec![1, 2];
        o.caps = vec!["CAP_KILL".into(), "net_raw".into()];
        o.pidfd_socket = path("/s");
        o.cwd = Some("/w".into());
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
fn mistakes_get_one_clear_error() {
    for (line, error) in [
        ("bogus", "unknown command \"bogus\" (embrun --help lists the commands)"),
        ("help bogus", "unknown command \"bogus\" (embrun --help lists the commands)"),
        ("--bogus list", "flag provided but not defined: -bogus"),
        ("start -x ID", "flag provided but not defined: -x"),
        ("exec --bogus=1 ID sh", "flag provided but not defined: -bogus"),
        ("kill ID -9", "flag provided but not defined: -9"),
        ("create -bDIR ID", "flag provided but not defined: -bDIR"),
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
        ("exec -u root ID a", "exec: --user: must be UID[:GID] in numbers, is \"root\""),
        ("exec -u 1: ID a", "exec: --user: must be UID[:GID] in numbers, is \"1:\""),
        ("exec -u -1 ID a", "exec: --user: must be UID[:GID] in numbers, is \"-1\""),
        ("exec -e =x ID a", "exec: --env: must be KEY=VALUE, is \"=x\""),
        ("exec -g x ID a", "--additional-gids: must be a number, is \"x\""),
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
    for line in ["start -x ID", "state", "--bogus list"] {
        assert!(fails(line).help.starts_with("Incorrect Usage.\n\n"), "{line}");
    }
    assert_eq!(fails("bogus").help, "");
}

#[test]
fn what_is_not_performed_is_refused_and_not_dropped() {
    assert_eq!(says("exec --apparmor p ID a"), "exec: --apparmor is not supported");
    for verb in VERBS.iter().filter(|v| v.fate != Fate::Performed) {
        assert!(says(verb.name).ends_with("supported") || says(verb.name).ends_with(')'), "{}", verb.name);
    }
}

#[test]
fn help_is_there_for_all_and_for_each() {
    let Command::Help(all) = ok("").1 else { panic!() };
    assert_eq!(ok("--help").1, Command::Help(all.clone()));
    assert_eq!(ok("-h list").1, Command::Help(all.clone()));
    assert_eq!(ok("help").1, Command::Help(all.clone()));
    assert_eq!(ok("h").1, Command::Help(all.clone()));
    for verb in VERBS.iter().filter(|v| v.fate == Fate::Performed) {
        assert!(all.contains(&format!("\n  {:<11} ", verb.name)), "{}", verb.name);
        let Command::Help(text) = ok(&format!("{} --help", verb.name)).1 else { panic!() };
        assert_eq!(ok(&format!("help {}", verb.name)).1, Command::Help(text.clone()));
        for flag in verb.flags.iter().filter(|f| !f.hidden && f.fate == Fate::Performed) {
            assert!(text.contains(&format!("--{}", flag.name)), "{} --{}", verb.name, flag.name);
        }
    }
    assert!(!all.contains("checkpoint") && !all.contains("criu"));
}

#[test]
fn the_table_is_sound() {
    assert!(VERBS.is_sorted_by_key(|v| v.name));
    for flags in VERBS.iter().map(|v| v.flags).chain([GLOBAL]) {
        for (i, flag) in flags.iter().enumerate() {
            assert!(
                flags[..i]
                    .iter()
                    .all(|f| f.name != flag.name && (f.short.is_none() || f.short != flag.short))
            );
            assert!(!flag.help.is_empty() && flag.name.len() > 1);
        }
    }
    // Every flag that takes something reads back what it was given.
    for verb in VERBS.iter().filter(|v| v.fate == Fate::Performed) {
        for flag in verb.flags.iter().filter(|f| f.fate == Fate::Performed) {
            let words = match flag.takes {
                Takes::Nothing => vec![format!("--{}", flag.name)],
                _ => vec![format!("--{}", flag.name), "7".into()],
            };
            let ids = vec!["x".to_owned(); verb.min];
            let found = lexer::command(verb, words.into_iter().chain(ids)).unwrap();
            assert_eq!(found.text(flag.name), Some(if flag.takes == Takes::Nothing { "true" } else { "7" }));
        }
    }
}

#[test]
fn the_default_root_is_by_name_and_by_user() {
    let at = |name: &str, rootless, dir: Option<&str>| {
        Caller { name: name.into(), rootless, delegated: rootless, runtime_dir: dir.map(PathBuf::from) }
            .default_root()
    };
    for (name, rootless, dir, root) in [
        ("embrun", false, None, "/run/embrun"),
        ("/usr/bin/embrun", false, Some("/run/user/0"), "/run/embrun"),
        ("/usr/bin/runc", false, None, "/run/runc"),
        ("crun", true, Some("/run/user/7"), "/run/user/7/crun"),
        ("anything", true, Some("/run/user/7"), "/run/user/7/embrun"),
        ("", true, None, "/run/embrun"),
    ] {
        assert_eq!(at(name, rootless, dir), Path::new(root));
    }
    let (globals, _) = ok("--root rel list");
    assert!(globals.root.is_absolute() && globals.root.ends_with("rel"));
    assert_eq!(ok("--root=∅ list").0.root, Path::new("/run/embrun"));
}
