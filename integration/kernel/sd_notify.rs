//! The notify socket in a container, and the wait for readiness (sd_notify(3)).

use crate::cases;
use crate::common::{Case, Test, eventually};
use crate::user_namespaces::mapped;
use serde_json::json;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    start_returns_at_ready_and_names_the_containers_process,
    detached_run_returns_at_ready,
    last_message_before_the_end_counts,
    container_can_neither_replace_nor_remove_the_socket,
    user_of_a_user_namespace_is_heard,
    root_without_a_run_directory_gets_one,
    link_at_run_stays_in_the_root,
    mount_at_run_is_below_the_socket,
    start_without_the_socket_does_not_wait,
    exec_has_no_notify_socket,
    container_without_the_variable_has_no_socket,
];

/// A service manager that reads all messages.
pub struct Manager {
    pub path: PathBuf,
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    pub fn new(t: &Test) -> Manager {
        let path = t.path("manager");
        Manager::of(UnixDatagram::bind(&path).unwrap(), &path)
    }

    /// All commands of this test get the variable.
    #[allow(unsafe_code)]
    pub fn of(socket: UnixDatagram, path: &Path) -> Manager {
        // SAFETY: each test is a process, and this is its only thread so far.
        unsafe { std::env::set_var("NOTIFY_SOCKET", path) };
        let heard = Arc::new(Mutex::new(Vec::new()));
        let list = heard.clone();
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            loop {
                // A descriptor of a barrier is closed by this call.
                let length = socket.recv(&mut bytes).unwrap();
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                if text == "quit" {
                    return;
                }
                list.lock().unwrap().push((Instant::now(), text));
            }
        });
        Manager { path: path.to_owned(), heard, thread: Some(thread) }
    }

    /// The lines so far, without the barrier.
    pub fn lines(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let lines = heard.iter().flat_map(|(_, message)| message.lines());
        lines.filter(|line| *line != "BARRIER=1").map(str::to_owned).collect()
    }

    #[track_caller]
    pub fn hears(&self, line: &str) {
        eventually(&format!("the manager hears {line}"), || self.lines().iter().any(|l| l == line));
    }

    /// The number of messages, and the time in which they came.
    pub fn count(&self) -> (usize, Duration) {
        let heard = self.heard.lock().unwrap();
        let time = heard.last().map_or(Duration::ZERO, |last| last.0 - heard[0].0);
        (heard.len(), time)
    }
}

impl Drop for Manager {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        let ours = UnixDatagram::unbound().unwrap();
        match self.path.to_str().unwrap().strip_prefix('@') {
            Some(name) => ours.send_to_addr(b"quit", &SocketAddr::from_abstract_name(name).unwrap()).unwrap(),
            None => ours.send_to(b"quit", &self.path).unwrap(),
        };
        self.thread.take().unwrap().join().unwrap();
        let _ = fs::remove_file(&self.path);
        // SAFETY: as above.
        unsafe { std::env::remove_var("NOTIFY_SOCKET") };
    }
}

fn start_returns_at_ready_and_names_the_containers_process(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    let shared = c.share();
    c.probe("until /shared/go notify READY=1 say pause").create().ok();
    let start = t.spawn(t.command(&["start", &c.id]));
    eventually("it runs", || c.status() == "running");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(manager.lines(), [""; 0]);
    fs::write(shared.join("go"), "").unwrap();
    start.wait().ok();
    let main = format!("MAINPID={}", c.pid());
    assert_eq!(manager.lines(), ["READY=1", &main]);
    c.remove();
}

fn detached_run_returns_at_ready(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe("sleep 0.3 notify READY=1 pause");
    c.spawn_run(&["--detach"]).wait().ok();
    let main = format!("MAINPID={}", c.pid());
    assert_eq!(manager.lines(), ["READY=1", &main]);
    c.remove();
}

fn last_message_before_the_end_counts(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.probe("notify READY=1").create().ok();
    c.start().ok();
    manager.hears("READY=1");
    c.stopped();
    c.delete().ok();
}

fn container_can_neither_replace_nor_remove_the_socket(t: &Test) {
    let _manager = Manager::new(t);
    let mut c = t.container();
    c.capabilities(&["CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD"]);
    c.probe("unlink /run/notify/notify.sock write /run/notify/x y symlink /run/notify/l /etc notify READY=1");
    let seen = c.run().ok().probe();
    for act in ["unlink", "write", "symlink"] {
        assert_eq!(seen.result(act), "EROFS", "{act}");
    }
}

fn user_of_a_user_namespace_is_heard(t: &Test) {
    let manager = Manager::new(t);
    let mut c = mapped(t);
    c.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    c.probe("notify READY=1 pause").create().ok();
    c.start().ok();
    manager.hears("READY=1");
    c.remove();
}

fn root_without_a_run_directory_gets_one(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    let _ = fs::remove_dir_all(c.rootfs.join("run"));
    assert_eq!(c.config["root"]["readonly"], true);
    c.probe("notify READY=1 write /run/x y stat /run/notify");
    let seen = c.run().ok().probe();
    assert_eq!(seen.result("write"), "EROFS");
    assert_eq!(seen.result("stat")["mode"], 0o755);
    manager.hears("READY=1");
}

fn link_at_run_stays_in_the_root(t: &Test) {
    let manager = Manager::new(t);
    let outside = t.path("outside");
    fs::create_dir(&outside).unwrap();
    for target in [outside.to_str().unwrap(), "../../../../../../../../../../../etc"] {
        let mut c = t.container();
        let _ = fs::remove_dir_all(c.rootfs.join("run"));
        symlink(target, c.rootfs.join("run")).unwrap();
        // It may be refused if nothing is there inside.
        c.probe("notify READY=1").run();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert!(!Path::new("/etc/notify").exists());
    }
    manager.hears("READY=1");
    let mut c = t.container();
    let _ = fs::remove_dir_all(c.rootfs.join("run"));
    symlink("/proc/self", c.rootfs.join("run")).unwrap();
    assert_ne!(c.probe("notify READY=1").run().status, 0);
}

fn mount_at_run_is_below_the_socket(t: &Test) {
    let manager = Manager::new(t);
    let mut c = t.container();
    c.mount("/run", "tmpfs", "tmpfs", &["nosuid", "nodev"]);
    c.probe("notify READY=1").run().ok();
    manager.hears("READY=1");
}

fn start_without_the_socket_does_not_wait(t: &Test) {
    let mut c = t.container();
    {
        let _manager = Manager::new(t);
        c.probe("pause").create().ok();
    }
    c.start().ok();
    c.remove();
}

fn exec_has_no_notify_socket(t: &Test) {
    let _manager = Manager::new(t);
    let mut c = t.container();
    c.probe("notify READY=1 pause");
    c.spawn_run(&["--detach"]).wait().ok();
    let seen = c.exec(&["/bin/probe", "env"]).ok().probe();
    assert_eq!(seen["env"]["NOTIFY_SOCKET"], json!(null));
    c.remove();
}

fn container_without_the_variable_has_no_socket(t: &Test) {
    for empty in [true, false] {
        let mut c = t.container();
        c.probe("env list /run/notify").write();
        let mut run = t.command(&["run", "--bundle", c.bundle.to_str().unwrap(), &c.id]);
        run.env_remove("NOTIFY_SOCKET").envs(empty.then_some(("NOTIFY_SOCKET", "")));
        let seen = t.finish(run).ok().probe();
        assert_eq!(seen["env"]["NOTIFY_SOCKET"], json!(null));
        assert_eq!(seen.result("list"), "ENOENT");
    }
}
