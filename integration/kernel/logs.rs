//! `--log`: no file makes a command hang; messages that it rejects go to stderr.

use crate::cases;
use crate::common::{Case, Container, Output, Terminal, Test, eventually};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::termios::{FlowArg, tcflow};
use nix::unistd::Pid;
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    unopenable_log_fails_and_leaves_nothing,
    log_fifo_waits_for_a_late_reader,
    blocked_log_does_not_stop_the_container,
    blocked_stderr_does_not_block_signals,
];

/// Runs a container that causes a warning in the log.
fn run(c: &Container<'_>, log: &Path) -> Output {
    c.write();
    let began = Instant::now();
    let out = c.call(&["--log", log.to_str().unwrap(), "run", "--bundle", c.bundle.to_str().unwrap()]);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    out
}

fn container(t: &Test) -> Container<'_> {
    let mut c = t.container();
    c.config["process"]["capabilities"]["bounding"] = json!(["CAP_NO_SUCH"]);
    c.probe("exit 4");
    c
}

fn fifo(t: &Test) -> PathBuf {
    let path = t.path("fifo");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    path
}

fn unopenable_log_fails_and_leaves_nothing(t: &Test) {
    let (directory, socket) = (t.path("directory"), t.path("socket"));
    fs::create_dir(&directory).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    for (log, why) in [
        (fifo(t), "no such device or address (ENXIO) (a socket, or a FIFO that nobody reads)"),
        (socket.clone(), "no such device or address (ENXIO) (a socket, or a FIFO that nobody reads)"),
        (directory.join("no/log"), "no such file or directory (ENOENT)"),
        (directory, "is a directory (EISDIR)"),
    ] {
        let c = container(t);
        run(&c, &log).exits(1).fails(&[&format!("embrun: error: open log file {}: {why}", log.display())]);
        assert!(!Path::new("/run/it/state").join(&c.id).exists());
    }
    fs::remove_file(socket).unwrap();
}

fn log_fifo_waits_for_a_late_reader(t: &Test) {
    let path = fifo(t);
    let late = path.clone();
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        let mut said = String::new();
        File::open(late).unwrap().read_to_string(&mut said).unwrap();
        said
    });
    let out = run(&container(t), &path).exits(4);
    assert_eq!(out.stderr, "");
    assert!(reader.join().unwrap().contains("CAP_NO_SUCH"));
}

fn blocked_log_does_not_stop_the_container(t: &Test) {
    let full = t.path("full");
    fs::create_dir(&full).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("full"), &full, Some("tmpfs"), flags, Some("size=4k")).unwrap();
    let _ = File::create(full.join("all")).unwrap().write_all(&[0; 1 << 16]);

    let unread = fifo(t);
    let mut options = File::options();
    let mut held =
        options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&unread).unwrap();
    while held.write(&[0; 4096]).is_ok() {}

    let (_terminal, slave) = Terminal::pair(20, 60);
    let stopped = nix::unistd::ttyname(&slave).unwrap();
    tcflow(&slave, FlowArg::TCOOFF).unwrap();

    for log in [&full.join("log"), &unread, &stopped, Path::new("/dev/full")] {
        let out = run(&container(t), log).exits(4);
        assert!(out.stderr.contains("warning: ") && out.stderr.contains("CAP_NO_SUCH"), "{}", out.stderr);
    }
    tcflow(&slave, FlowArg::TCOON).unwrap();
    nix::mount::umount(&full).unwrap();
}

fn blocked_stderr_does_not_block_signals(t: &Test) {
    let running = container(t);
    let mut c = t.container();
    c.probe("pause");
    c.up();
    running.write();
    let bundle = running.bundle.to_str().unwrap();
    // A command with a warning, and one with an error.
    for args in [&["run", "--bundle", bundle, &running.id][..], &["exec", &c.id, "/no/such"]] {
        let (_terminal, slave) = Terminal::pair(20, 60);
        tcflow(&slave, FlowArg::TCOOFF).unwrap();
        let mut command = t.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(slave.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(400));
        assert!(child.try_wait().unwrap().is_none(), "{args:?}");
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        eventually("it has ended", || child.try_wait().unwrap().is_some());
        assert!(!Path::new("/run/it/state").join(&running.id).exists());
        tcflow(&slave, FlowArg::TCOON).unwrap();
    }
    c.remove();
}
