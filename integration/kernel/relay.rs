//! The foreground with a terminal: relaying never blocks on one of the streams.

use crate::cases;
use crate::common::{Case, Container, Terminal, Test, eventually};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{FlowArg, tcflow};
use nix::unistd::{Pid, pipe2};
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    closed_reader_ends_the_program,
    stalled_reader_is_waited_for_without_cpu_time,
    hangup_of_the_callers_terminal_ends_the_program,
    closed_socket_peer_ends_an_idle_program,
    program_that_ignores_the_hangup_is_waited_for,
    signals_are_forwarded_while_the_callers_terminal_is_blocked,
    output_through_non_blocking_and_blocking_streams_is_complete,
    state_through_a_non_blocking_pipe_is_complete,
    end_of_input_does_not_end_the_output,
    last_output_is_complete_and_background_writers_do_not_block_exec,
    output_lost_on_a_full_disk_is_reported,
    lost_output_takes_no_memory,
    window_size_is_set_before_the_first_instruction,
];

/// A script that prints lines of 99 digits.
fn lines(count: usize) -> String {
    format!("i=0; while [ $i -lt {count} ]; do printf '%099d\\n' $i; i=$((i+1)); done")
}

fn printed(count: usize) -> String {
    (0..count).map(|i| format!("{i:099}\n")).collect()
}

/// A shell command in the foreground with a terminal, with `run` and with `exec`.
fn ways<'t>(t: &'t Test, script: &str) -> [(Container<'t>, Command); 2] {
    let mut c = t.container();
    c.args(&["sh", "-c", script]);
    c.config["process"]["terminal"] = json!(true);
    c.write();
    let command = t.command(&["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
    [(c, command), exec(t, script)]
}

fn exec<'t>(t: &'t Test, script: &str) -> (Container<'t>, Command) {
    let mut c = t.container();
    c.probe("pause");
    c.up();
    let command = t.command(&["exec", "--tty", &c.id, "sh", "-c", script]);
    (c, command)
}

/// Whether everything that the command started has ended.
fn has_ended(c: &Container<'_>) -> bool {
    let state = c.call(&["state"]);
    let running = || c.call(&["ps", "--format", "json"]).json() != json!([state.json()["pid"]]);
    // The first process of a `run` is the command itself.
    let runs_alone = || c.config["process"]["terminal"] != true && !running();
    state.status != 0 || state.json()["status"] == "stopped" || runs_alone()
}

fn start(mut command: Command, stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Child {
    command.stdin(stdin).stdout(stdout).spawn().unwrap()
}

/// Waits for the runtime, which must end.
#[track_caller]
fn end(child: &mut Child) -> i32 {
    let mut status = None;
    eventually("the runtime has ended", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code().unwrap()
}

/// Checks that the command leaves nothing, and deletes the container of an exec.
#[track_caller]
fn nothing_is_left(c: &Container<'_>) {
    eventually("everything that it started has ended", || has_ended(c));
    if c.call(&["state"]).status == 0 {
        c.remove();
    }
}

/// The processor time of a process, in hundredths of a second.
fn ticks(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|n| n.parse::<u32>().unwrap()).sum()
}

/// Checks that a process sleeps once the stream that it writes to is full.
#[track_caller]
fn costs_no_time(pid: u32) {
    eventually("it uses no processor time", || {
        let before = ticks(pid);
        std::thread::sleep(Duration::from_millis(500));
        ticks(pid) - before < 5
    });
}

/// Init must notice that it cannot write or read any more.
///
/// The kernel does not kill it with a signal that it has no handler for.
fn closed_reader_ends_the_program(t: &Test) {
    for (c, command) in ways(t, "yes") {
        let (_terminal, slave) = Terminal::pair(20, 60);
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut child = start(command, slave, write);
        File::from(read).read_exact(&mut [0; 100]).unwrap();
        assert_ne!(end(&mut child), 0);
        nothing_is_left(&c);
    }
}

fn stalled_reader_is_waited_for_without_cpu_time(t: &Test) {
    for (c, command) in ways(t, "yes") {
        let (_terminal, slave) = Terminal::pair(20, 60);
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut child = start(command, slave, write);
        costs_no_time(child.id());
        assert!(child.try_wait().unwrap().is_none());
        drop(read);
        assert_ne!(end(&mut child), 0);
        nothing_is_left(&c);
    }
}

fn hangup_of_the_callers_terminal_ends_the_program(t: &Test) {
    // The terminal is every stream, or stdin only. The programs write, read, or do neither.
    for all in [true, false] {
        let both = ["yes", "cat"].map(|script| ways(t, script)).into_iter().flatten();
        for (c, command) in both.chain([exec(t, "sleep 100")]) {
            let (terminal, slave) = Terminal::pair(20, 60);
            let null = File::options().write(true).open("/dev/null").unwrap();
            let out = if all { slave.try_clone().unwrap() } else { null };
            let mut child = start(command, slave, out);
            std::thread::sleep(Duration::from_millis(200));
            drop(terminal);
            end(&mut child);
            nothing_is_left(&c);
        }
    }
}

fn closed_socket_peer_ends_an_idle_program(t: &Test) {
    for (c, command) in ways(t, "read line; echo $line; cat") {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let mut child = start(command, theirs.try_clone().unwrap(), theirs);
        ours.write_all(b"typed\n").unwrap();
        let mut seen = [0; 12];
        ours.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"typed\ntyped\n");
        drop(ours);
        end(&mut child);
        nothing_is_left(&c);
    }
}

fn program_that_ignores_the_hangup_is_waited_for(t: &Test) {
    for (c, command) in ways(t, "trap '' HUP; echo ready; sleep 0.5; echo lost; sleep 0.5; exit 7") {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut child = start(command, Stdio::null(), write);
        File::from(read).read_exact(&mut [0; 6]).unwrap();
        costs_no_time(child.id());
        assert_eq!(end(&mut child), 7);
        nothing_is_left(&c);
    }
}

fn signals_are_forwarded_while_the_callers_terminal_is_blocked(t: &Test) {
    // The terminal is stopped, or nobody reads it: a write longer than its free space would block.
    for stop in [true, false] {
        for (c, command) in ways(t, "trap 'exit 9' TERM; echo ready; yes & wait") {
            let (mut terminal, slave) = Terminal::pair(20, 60);
            let kept = slave.try_clone().unwrap();
            let flags = fcntl(&kept, FcntlArg::F_GETFL).unwrap();
            let mut child = start(command, slave.try_clone().unwrap(), slave);
            terminal.read_until("ready");
            if stop {
                tcflow(&kept, FlowArg::TCOOFF).unwrap();
            }
            costs_no_time(child.id());
            let term = || kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
            term();
            eventually("the program has ended", || has_ended(&c));
            std::thread::sleep(Duration::from_millis(200));
            // The last output is kept, and a second signal ends the wait.
            term();
            assert_eq!(end(&mut child), 9);
            assert_eq!(fcntl(&kept, FcntlArg::F_GETFL).unwrap(), flags);
            tcflow(&kept, FlowArg::TCOON).unwrap();
            nothing_is_left(&c);
        }
    }
}

fn output_through_non_blocking_and_blocking_streams_is_complete(t: &Test) {
    for flags in [OFlag::O_NONBLOCK, OFlag::empty()] {
        for socket in [true, false] {
            for (c, command) in ways(t, &lines(3000)) {
                let (read, write) = if socket {
                    let (ours, theirs) = UnixStream::pair().unwrap();
                    theirs.set_nonblocking(!flags.is_empty()).unwrap();
                    (ours.into(), theirs.into())
                } else {
                    let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
                    fcntl(&write, FcntlArg::F_SETFL(OFlag::O_WRONLY | flags)).unwrap();
                    (read, write)
                };
                let kept: OwnedFd = write.try_clone().unwrap();
                let before = fcntl(kept.as_fd(), FcntlArg::F_GETFL).unwrap();
                let mut child = start(command, Stdio::null(), write);
                // The pipe or socket is full by then.
                std::thread::sleep(Duration::from_millis(300));
                assert_eq!(fcntl(kept.as_fd(), FcntlArg::F_GETFL).unwrap(), before);
                drop(kept);
                let mut seen = String::new();
                File::from(read).read_to_string(&mut seen).unwrap();
                assert!(seen == printed(3000), "{} bytes of {}", seen.len(), 300_000);
                assert_eq!(end(&mut child), 0);
                nothing_is_left(&c);
            }
        }
    }
}

fn state_through_a_non_blocking_pipe_is_complete(t: &Test) {
    let mut c = t.container();
    c.config["annotations"] = json!({"large": "x".repeat(300_000)});
    c.create().ok();
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_RDONLY)).unwrap();
    let mut child = start(t.command(&["state", &c.id]), Stdio::null(), write);
    std::thread::sleep(Duration::from_millis(200));
    let mut seen = String::new();
    File::from(read).read_to_string(&mut seen).unwrap();
    assert_eq!(end(&mut child), 0);
    let state: serde_json::Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(state["annotations"]["large"].as_str().unwrap().len(), 300_000);
    c.remove();
}

fn end_of_input_does_not_end_the_output(t: &Test) {
    for typed in ["", "typed\n"] {
        let read = if typed.is_empty() { "line=nothing" } else { "read line" };
        for (c, command) in ways(t, &format!("{read}; sleep 1.2; echo [$line]; exit 5")) {
            let (output, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
            let (input, keys) = pipe2(OFlag::O_CLOEXEC).unwrap();
            File::from(keys).write_all(typed.as_bytes()).unwrap();
            let mut child = start(command, input, write);
            costs_no_time(child.id());
            assert_eq!(end(&mut child), 5);
            let mut seen = String::new();
            File::from(output).read_to_string(&mut seen).unwrap();
            assert!(seen == "[nothing]\n" || seen == "typed\n[typed]\n", "{seen}");
            nothing_is_left(&c);
        }
    }
}

fn last_output_is_complete_and_background_writers_do_not_block_exec(t: &Test) {
    for _ in 0..10 {
        for (c, command) in ways(t, &lines(80)) {
            let out = t.path("out");
            let mut child = start(command, Stdio::null(), File::create(&out).unwrap());
            assert_eq!(end(&mut child), 0);
            assert!(fs::read_to_string(&out).unwrap() == printed(80));
            nothing_is_left(&c);
        }
    }
    let (c, command) = exec(t, "trap '' HUP; yes & sleep 0.2; exit 6");
    let began = Instant::now();
    let mut child = start(command, Stdio::null(), Stdio::null());
    assert_eq!(end(&mut child), 6);
    assert!(began.elapsed() < Duration::from_secs(5));
    c.remove();
}

fn output_lost_on_a_full_disk_is_reported(t: &Test) {
    let disk = t.path("disk");
    fs::create_dir(&disk).unwrap();
    let tmpfs = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("disk"), &disk, Some("tmpfs"), tmpfs, Some("size=64k")).unwrap();
    for (c, mut command) in ways(t, &format!("{}; exit 5", lines(3000))) {
        let (out, err) = (File::create(disk.join("out")).unwrap(), t.path("err"));
        command.stderr(File::create(&err).unwrap());
        let mut child = start(command, Stdio::null(), out);
        assert_eq!(end(&mut child), 5);
        let said = fs::read_to_string(&err).unwrap();
        assert_eq!(
            said.matches("warning: stdout: output is lost: no space left on device").count(),
            1,
            "{said}"
        );
        nothing_is_left(&c);
    }
    nix::mount::umount(&disk).unwrap();
}

fn lost_output_takes_no_memory(t: &Test) {
    let print = |bytes| format!("head -c {bytes} /dev/zero; read line");
    let script = format!("{}; {}; exit 5", print(100_000), print(8_000_000));
    for (c, command) in ways(t, &script) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (reader, input) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut input = File::from(input);
        let mut child = start(command, reader, full);
        let mut peak = || {
            costs_no_time(child.id());
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            input.write_all(b"\n").unwrap();
            let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let (before, after) = (peak(), peak());
        assert!(after < before + 1000, "{before} KiB, later {after} KiB");
        assert_eq!(end(&mut child), 5);
        nothing_is_left(&c);
    }
}

fn window_size_is_set_before_the_first_instruction(t: &Test) {
    for _ in 0..6 {
        // The caller's terminal may be any one of the standard streams.
        for stream in 0..3 {
            for (c, mut command) in ways(t, "stty size") {
                let (mut terminal, slave) = Terminal::pair(33, 77);
                let out = t.path("out");
                let file = Stdio::from(File::create(&out).unwrap());
                let mut streams = [Stdio::null(), file, Stdio::inherit()];
                streams[stream] = slave.into();
                let [stdin, stdout, stderr] = streams;
                command.stderr(stderr);
                let mut child = start(command, stdin, stdout);
                if stream == 1 {
                    terminal.read_until("33 77");
                }
                assert_eq!(end(&mut child), 0);
                if stream != 1 {
                    assert_eq!(fs::read_to_string(&out).unwrap(), "33 77\n", "stream {stream}");
                }
                nothing_is_left(&c);
            }
        }
    }
}
