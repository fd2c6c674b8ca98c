//! The relay of the program's messages, and how the wait for them ends.

use crate::cases;
use crate::common::test::STATE;
use crate::common::{Case, Test, eventually};
use crate::rootless::user::User;
use crate::sd_notify::Manager;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;

pub const CASES: &[Case] = cases![
    run_in_the_foreground_relays_until_the_end,
    only_known_lines_are_relayed,
    descriptors_of_the_container_are_not_received,
    message_that_is_too_long_is_dropped,
    flood_is_slowed_down,
    wait_ends_with_the_container,
    delete_force_ends_the_wait,
    deep_socket_directory_is_deleted_with_few_descriptors,
    wait_ends_with_init_during_a_flood,
    sigterm_ends_the_wait_and_the_container_runs_on,
    other_commands_work_during_the_wait,
    killed_start_leaves_nothing_behind,
    socket_is_closed_to_other_users_of_the_host,
    socket_of_the_caller_has_a_long_or_an_abstract_name,
    missing_socket_of_the_caller_is_a_warning,
    start_alone_with_the_socket_warns,
    hostile_socket_directory_of_an_ordinary_user_is_deleted,
];

/// The service's process is the runtime, which ends as the program does.
fn run_in_the_foreground_relays_until_the_end(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe("notify STATUS=a notify READY=1 notify WATCHDOG=1 notify STOPPING=1 exit 3");
    let run = c.spawn_run(&[]);
    let main = format!("MAINPID={}", run.pid());
    run.wait().exits(3);
    manager.hears("STOPPING=1");
    assert_eq!(manager.lines(), ["STATUS=a", "READY=1", &main, "WATCHDOG=1", "STOPPING=1"]);
}

fn only_known_lines_are_relayed(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe(
        "notify MAINPID=1 notify FDSTORE=1+FDNAME=x notify WATCHDOG_USEC=1 notify BARRIER=1 notify ERRNO=2 \
         notify EXIT_STATUS=0 notify NOTIFYACCESS=all notify STATUS=\u{1b}[2J notify x notify + \
         notify MAINPID=1+STATUS=up~and~running+READY=1+MAINPID=1+X_Y=1+RELOADING=1+MONOTONIC_USEC=7 \
         notify EXTEND_TIMEOUT_USEC=5 notify EXTEND_TIMEOUT_USEC=5x notify WATCHDOG=trigger",
    );
    let run = c.spawn_run(&[]);
    let main = format!("MAINPID={}", run.pid());
    run.wait().ok();
    manager.hears("WATCHDOG=trigger");
    let lines = ["STATUS=up and running", "READY=1", "RELOADING=1", "MONOTONIC_USEC=7", &main];
    let all: Vec<_> = lines.into_iter().chain(["EXTEND_TIMEOUT_USEC=5", "WATCHDOG=trigger"]).collect();
    assert_eq!(manager.lines(), all);
}

fn descriptors_of_the_container_are_not_received(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    let shared = c.share();
    c.probe("notify READY=1 until /shared/go notify-fd STATUS=1 notify-fd STATUS=2 until /shared/end");
    let run = c.spawn_run(&[]);
    manager.hears("READY=1");
    let open = || fs::read_dir(format!("/proc/{}/fd", run.pid())).unwrap().count();
    let before = open();
    fs::write(shared.join("go"), "").unwrap();
    manager.hears("STATUS=2");
    assert_eq!(open(), before);
    fs::write(shared.join("end"), "").unwrap();
    run.wait().ok();
}

fn message_that_is_too_long_is_dropped(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    let long = format!("STATUS={}", "x".repeat(4096));
    let fits = format!("STATUS={}", "y".repeat(4089));
    c.args(&["probe", "notify", &long, "notify", &format!("READY=1+{long}"), "notify", &fits]).run().ok();
    manager.hears(&fits);
    assert_eq!(manager.lines(), [fits]);
}

fn flood_is_slowed_down(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe("flood STATUS=x notify READY=1").run().ok();
    manager.hears("READY=1");
    let (count, time) = manager.count();
    let most = time.as_millis() / 20 + 64;
    assert!(count >= 3 && count as u128 <= most, "{count} messages in {time:?}");
}

fn wait_ends_with_the_container(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe("notify STATUS=x sleep 0.3 exit 4").create().ok();
    c.start().ok();
    c.stopped();
    c.delete().ok();
    c.spawn_run(&["--detach"]).wait().ok();
    c.stopped();
    c.delete().ok();
    eventually("both are heard", || manager.lines() == ["STATUS=x", "STATUS=x"]);
}

/// The directory of the socket may be as deep as the payload likes.
fn deep_socket_directory_is_deleted_with_few_descriptors(t: &Test) {
    let _manager = Manager::new(t);
    let mut c = t.container();
    c.probe("pause").create().ok();
    let mut dir = fs::File::open(format!("{STATE}/{}/notify/inside", c.id)).unwrap();
    for n in 0..1500 {
        let up = format!("/proc/self/fd/{}", dir.as_raw_fd());
        fs::write(format!("{up}/.{n}"), "").unwrap();
        fs::create_dir(format!("{up}/d")).unwrap();
        dir = fs::File::open(format!("{up}/d")).unwrap();
    }
    drop(dir);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(t.runtime_path());
    command.args(["--root", STATE, "delete", "--force", &c.id]);
    t.finish(command).ok();
}

/// Another process of the container goes on to send.
fn wait_ends_with_init_during_a_flood(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.without_namespace("pid");
    c.args(&["sh", "-c", "while probe flood STATUS=x > /dev/null; do :; done & sleep 1"]).create().ok();
    c.start().ok();
    manager.hears("STATUS=x");
    c.call(&["delete", "--force"]).ok();
}

fn delete_force_ends_the_wait(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe("notify STATUS=x pause").create().ok();
    let start = t.spawn(t.command(&["start", &c.id]));
    manager.hears("STATUS=x");
    c.remove();
    start.wait().ok();
    let run = c.spawn_run(&["--detach"]);
    eventually("it waits again", || manager.lines().len() == 2);
    c.remove();
    run.wait().ok();
}

fn sigterm_ends_the_wait_and_the_container_runs_on(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe("notify STATUS=x pause").create().ok();
    let start = t.spawn(t.command(&["start", &c.id]));
    manager.hears("STATUS=x");
    kill(Pid::from_raw(start.pid()), Signal::SIGTERM).unwrap();
    start.wait().exits(128 + 15);
    assert_eq!(c.status(), "running");
    c.remove();
    let run = c.spawn_run(&["--detach"]);
    eventually("it waits again", || manager.lines().len() == 2);
    kill(Pid::from_raw(run.pid()), Signal::SIGTERM).unwrap();
    assert_ne!(run.wait().status, 0);
    assert_eq!(c.status(), "running");
    c.remove();
}

fn other_commands_work_during_the_wait(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.share();
    c.probe("notify STATUS=x until /shared/go notify READY=1 pause").create().ok();
    let start = t.spawn(t.command(&["start", &c.id]));
    manager.hears("STATUS=x");
    assert!(!c.is_locked());
    c.exec(&["/bin/probe", "write", "/shared/go", "x"]).ok();
    start.wait().ok();
    c.kill("KILL").ok();
    c.stopped();
    c.delete().ok();
}

fn killed_start_leaves_nothing_behind(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe("notify STATUS=x pause").create().ok();
    let path = Path::new(STATE).join(&c.id).join("notify/inside/notify.sock");
    // A `start` that is killed before the program runs leaves such a socket.
    drop(UnixDatagram::bind(&path).unwrap());
    let start = t.spawn(t.command(&["start", &c.id]));
    manager.hears("STATUS=x");
    kill(Pid::from_raw(start.pid()), Signal::SIGKILL).unwrap();
    start.wait().exits(128 + 9);
    c.kill("KILL").ok();
    c.stopped();
    c.delete().ok();
    assert!(!Path::new(STATE).join(&c.id).exists());
}

fn socket_is_closed_to_other_users_of_the_host(t: &Test) {
    let _manager = Manager::new(t);
    let mut c = t.container();
    c.probe("notify READY=1 pause");
    c.spawn_run(&["--detach"]).wait().ok();
    let notify = Path::new(STATE).join(&c.id).join("notify");
    let mode = |path: &str| fs::metadata(notify.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("."), mode("inside"), mode("inside/notify.sock")), (0o700, 0o755, 0o777));
    c.remove();
}

fn socket_of_the_caller_has_a_long_or_an_abstract_name(t: &Test) {
    let long = t.path(&"x".repeat(90)).join("y".repeat(90));
    fs::create_dir_all(&long).unwrap();
    let link = t.path("link");
    symlink(&long, &link).unwrap();
    let socket = UnixDatagram::bind(link.join("manager")).unwrap();
    let manager = Manager::of(socket, &long.join("manager"));
    let mut c = t.container();
    c.probe("notify READY=1").run().ok();
    manager.hears("READY=1");
    drop_long(manager, &link.join("manager"));
    let name = format!("embrun-{}", t.token());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let manager = Manager::of(socket, Path::new(&format!("@{name}")));
    c.run().ok();
    manager.hears("READY=1");
}

/// Ends a manager whose path is too long to send to.
fn drop_long(mut manager: Manager, short: &Path) {
    manager.path = short.to_owned();
}

fn missing_socket_of_the_caller_is_a_warning(t: &Test) {
    drop(Manager::new(t));
    let mut c = t.container();
    c.probe("notify READY=1 exit 3").write();
    for socket in ["/no/such/socket", "vsock:2:1234", "@", "relative"] {
        let mut run = t.command(&["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
        run.env("NOTIFY_SOCKET", socket);
        let said = t.finish(run).exits(3).stderr.clone();
        assert!(said.contains("NOTIFY_SOCKET") && said.contains("readiness is not passed on"), "{said}");
    }
}

fn start_alone_with_the_socket_warns(t: &Test) {
    let mut c = t.container();
    c.probe("pause").create().ok();
    let manager = Manager::new(t);
    let said = c.start().ok().stderr.clone();
    assert!(said.contains("NOTIFY_SOCKET: was not set at create"), "{said}");
    assert_eq!(manager.lines(), [""; 0]);
    c.remove();
}

/// Root of the container is the user, who owns the directory.
fn hostile_socket_directory_of_an_ordinary_user_is_deleted(t: &Test) {
    let mut user = User::new(t);
    let manager = Manager::new(t);
    fs::set_permissions(&manager.path, fs::Permissions::from_mode(0o777)).unwrap();
    user.c.capabilities(&["CAP_SYS_ADMIN"]);
    user.c.probe(
        "mount none /run/notify remount-rw mkdir /run/notify/a mkdir /run/notify/a/b write /run/notify/a/b/c x \
         symlink /run/notify/l /etc/passwd notify READY=1 unlink /run/notify/notify.sock",
    );
    let seen = user.run().ok().probe();
    assert_eq!((seen.result("mount"), seen.result("unlink")), (&json!("ok"), &json!("ok")));
    assert!(!user.home.join("run/embrun").join(&user.c.id).exists());
    assert!(Path::new("/etc/passwd").exists());
    manager.hears("READY=1");
}
