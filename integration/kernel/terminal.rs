//! `process.terminal`: over the console socket, or relayed in the foreground.

use crate::cases;
use crate::common::{Case, ConsoleSocket, Container, Terminal, Test, eventually};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::Duration;

pub const CASES: &[Case] = cases![
    console_socket_receives_the_terminal,
    console_size_is_applied,
    console_device_is_the_terminal,
    terminal_belongs_to_the_user,
    exec_gets_its_own_terminal,
    foreground_run_relays_and_restores_the_terminal,
    foreground_run_forwards_a_resize,
    foreground_run_into_a_pipe_keeps_line_endings,
    reopened_terminal_is_relayed,
    unread_last_output_is_kept_until_term,
    detached_without_a_console_socket_is_refused,
    console_socket_without_a_terminal_is_refused,
    missing_console_socket_is_refused,
];

/// A container with a terminal, created over a console socket.
fn created<'t>(t: &'t Test, words: &str, edit: impl FnOnce(&mut Container<'t>)) -> (Container<'t>, Terminal) {
    let mut c = t.container();
    c.probe(words);
    c.config["process"]["terminal"] = json!(true);
    edit(&mut c);
    let socket = ConsoleSocket::listen(t.path("console.sock"));
    let path = socket.path.to_str().unwrap().to_string();
    c.create_with(&["--console-socket", &path]).ok();
    std::fs::remove_file(&path).unwrap();
    let terminal = socket.receive();
    c.start().ok();
    (c, terminal)
}

fn console_socket_receives_the_terminal(t: &Test) {
    let (c, mut terminal) = created(t, "tty say stdin say pause", |_| {});
    let text = terminal.read_until("}\r\n");
    assert!(text.contains(r#""std":[true,true,true]"#), "{text}");
    assert!(text.contains(r#""controlling":true"#), "{text}");
    assert!(text.contains(r#""name":"/dev/pts/0""#) || text.contains(r#""name":"/dev/console""#), "{text}");
    terminal.type_in("hello\n");
    terminal.read_until(r#"["stdin","hello"]"#);
    c.remove();
}

fn console_size_is_applied(t: &Test) {
    let (c, mut terminal) = created(t, "tty say pause", |c| {
        c.config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
    });
    terminal.read_until(r#""rows":33,"columns":77"#);
    c.remove();
}

fn console_device_is_the_terminal(t: &Test) {
    let (c, mut terminal) =
        created(t, "stat /dev/console write /dev/console to-the-console say pause", |_| {});
    let text = terminal.read_until(r#"["write","/dev/console","ok"]"#);
    assert!(text.contains("to-the-console") && text.contains(r#""type":"char""#), "{text}");
    c.remove();
}

fn terminal_belongs_to_the_user(t: &Test) {
    let (c, mut terminal) = created(t, "stat /dev/pts/0 open /dev/tty rw say pause", |c| {
        c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let text = terminal.read_until(r#"["open","/dev/tty","ok"]"#);
    assert!(text.contains(r#""uid":1000"#), "{text}");
    c.remove();
}

fn exec_gets_its_own_terminal(t: &Test) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    let socket = ConsoleSocket::listen(t.path("console.sock"));
    let path = socket.path.to_str().unwrap().to_string();
    let flags = ["--tty", "--detach", "--console-socket", &path];
    c.exec_with(&flags, &["probe", "tty", "say", "pause"]).ok();
    std::fs::remove_file(&path).unwrap();
    let text = socket.receive().read_until("}\r\n");
    assert!(text.contains(r#""std":[true,true,true]"#) && text.contains(r#""controlling":true"#), "{text}");
    c.remove();
}

/// `run` of the container in a new session whose terminal is `slave`.
fn foreground(c: &Container<'_>, slave: std::fs::File) -> std::process::Child {
    c.write();
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(c.test.runtime_path()).args(["--root", "/run/it/state", "run"]);
    command.args(["--bundle", c.bundle.to_str().unwrap(), &c.id]);
    command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
    command.spawn().unwrap()
}

fn foreground_run_relays_and_restores_the_terminal(t: &Test) {
    let mut c = t.container();
    c.probe("print ready stdin tty exit 9");
    c.config["process"]["terminal"] = json!(true);
    let (mut terminal, slave) = Terminal::pair(20, 60);
    let kept = slave.try_clone().unwrap();
    let before = nix::sys::termios::tcgetattr(&kept).unwrap();
    let mut child = foreground(&c, slave);
    terminal.read_until("ready");
    terminal.type_in("typed\n");
    let text = terminal.read_until(r#"["stdin","typed"]"#);
    assert!(text.contains(r#""rows":20,"columns":60"#), "{text}");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    let after = nix::sys::termios::tcgetattr(&kept).unwrap();
    assert_eq!((before.input_flags, before.local_flags), (after.input_flags, after.local_flags));
    assert_eq!(before.output_flags, after.output_flags);
}

fn foreground_run_forwards_a_resize(t: &Test) {
    let mut c = t.container();
    c.args(&["sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"]);
    c.config["process"]["terminal"] = json!(true);
    let (mut terminal, slave) = Terminal::pair(20, 60);
    let mut child = foreground(&c, slave);
    terminal.read_until("ready");
    terminal.resize(31, 91);
    terminal.read_until("31 91");
    c.kill("KILL").ok();
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

fn detached_without_a_console_socket_is_refused(t: &Test) {
    let mut c = t.container();
    c.config["process"]["terminal"] = json!(true);
    let said = ["cannot allocate tty if", "use --console-socket"];
    c.create().exits(1).fails(&said);
    c.write();
    let bundle = c.bundle.to_str().unwrap();
    c.call(&["run", "--detach", "--bundle", bundle]).exits(1).fails(&said);
}

fn console_socket_without_a_terminal_is_refused(t: &Test) {
    let c = t.container();
    let socket = ConsoleSocket::listen(t.path("console.sock"));
    let path = socket.path.to_str().unwrap().to_string();
    c.create_with(&["--console-socket", &path]).exits(1).fails(&["cannot use console socket"]);
    drop(socket);
}

fn missing_console_socket_is_refused(t: &Test) {
    let mut c = t.container();
    c.config["process"]["terminal"] = json!(true);
    c.create_with(&["--console-socket", "/run/no/such.sock"]).exits(1).fails(&["no such file or directory"]);
    eventually("its state directory is removed", || {
        !std::path::Path::new("/run/it/state").join(&c.id).exists()
    });
}

fn foreground_run_into_a_pipe_keeps_line_endings(t: &Test) {
    let mut c = t.container();
    c.config["process"]["terminal"] = json!(true);
    c.args(&["sh", "-c", "echo one; echo two"]);
    assert_eq!(c.run().ok().stdout, "one\ntwo\n");
}

fn reopened_terminal_is_relayed(t: &Test) {
    let mut c = t.container();
    c.config["process"]["terminal"] = json!(true);
    c.args(&["sh", "-c", "echo one; exec <&- >&- 2>&-; sleep 0.5; echo two > /dev/console"]);
    let (mut terminal, slave) = Terminal::pair(20, 60);
    let mut child = foreground(&c, slave);
    terminal.read_until("two");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The processor time of a process, in hundredths of a second.
fn ticks(pid: i32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|n| n.parse::<u32>().unwrap()).sum()
}

fn unread_last_output_is_kept_until_term(t: &Test) {
    let mut c = t.container();
    c.config["process"]["terminal"] = json!(true);
    // More than a page, which is all that the pipe holds, and less than fits into the terminal as well.
    c.args(&["sh", "-c", "n=0; while [ $n -lt 100 ]; do printf %099d $n; echo; n=$((n + 1)); done"]).write();
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    fcntl(&write, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut run = t.command(&["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    run.stdin(Stdio::null()).stdout(write);
    let mut child = run.spawn().unwrap();
    drop(run);
    let pid = child.id() as i32;
    eventually("it has stopped", || {
        let state = c.call(&["state"]);
        state.status == 0 && state.json()["status"] == "stopped"
    });
    let before = ticks(pid);
    std::thread::sleep(Duration::from_millis(500));
    let spent = ticks(pid) - before;
    assert!(spent < 10, "{spent}");
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(read);
}
