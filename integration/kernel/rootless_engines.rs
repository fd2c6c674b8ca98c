//! Podman of an ordinary user uses the runtime under test.
//!
//! On demand: `--ignored engines`. On v2 the user has a delegated cgroup.

use crate::cases;
use crate::common::{Case, Output, Runtime, Terminal, Test, eventually};
use crate::engines::{needs, runs, sweep_conmon};
use crate::rootless::user::{MORE, USER, User, give, runtime_name, uncover_ids};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub const CASES: &[Case] = cases![
    user_namespaces_are_mapped_as_requested,
    terminals_work_in_run_and_exec,
    container_is_detached_stopped_started_and_removed,
    pod_shares_its_namespaces,
    volumes_have_the_owners_of_their_options,
    namespaces_of_the_caller_and_of_others_are_shared,
    delegated_cgroup_limits_and_pauses,
];

/// Podman of the user, with the fixture as an image.
pub struct Podman<'t> {
    pub user: User<'t>,
    /// The directory of the user's own process, on v2.
    caller: Option<PathBuf>,
}

impl<'t> Podman<'t> {
    pub fn new(t: &'t Test) -> Podman<'t> {
        needs(t, "podman");
        let mut user = User::new(t);
        user.own_ids(65536);
        let caller = t.pure_v2().then(|| user.delegate());
        let podman = Podman { user, caller };
        let image = podman.user.home.join("fixture.tar");
        let mut tar = Command::new("tar");
        // Its home belongs to root alone.
        tar.arg("-C").arg(t.rootfs()).args(["--exclude=./root", "-cf"]).arg(&image).arg(".");
        t.finish(tar).ok();
        podman.call(&["import", "--quiet", image.to_str().unwrap(), "fixture"]).ok();
        podman
    }

    fn command(&self, args: &[&str]) -> Command {
        let fixed = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"];
        let runtime = self.user.home.join(runtime_name(self.user.c.test));
        let runtime = ["--runtime", runtime.to_str().unwrap()];
        let mut command = self.user.program("podman", &[&fixed[..], &runtime, args].concat());
        command.env("HOME", &self.user.home).env("TMPDIR", self.user.home.join("run")).env("USER", "user");
        command.env("CONTAINERS_CONF", "/dev/null").current_dir("/");
        for key in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env_remove(key);
        }
        command
    }

    #[track_caller]
    fn call(&self, args: &[&str]) -> Output {
        self.user.c.test.finish(self.command(args))
    }

    fn flags(&self) -> Vec<String> {
        let parent = self.caller.is_some().then(|| format!("--cgroup-parent=/{}", self.user.c.test.token()));
        ["run".to_owned()].into_iter().chain(parent).collect()
    }

    /// `podman run` without a network.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.run_with(&[&["--network=none"], args].concat())
    }

    #[track_caller]
    fn run_with(&self, args: &[&str]) -> Output {
        let flags = self.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        self.call(&[&flags[..], args].concat())
    }

    /// Runs podman's shell in a terminal and types a line.
    ///
    /// Returns the output until `wanted`.
    #[track_caller]
    fn typed(&self, args: &[&str], line: &str, wanted: &str) -> String {
        let (mut terminal, slave) = Terminal::pair(20, 60);
        let stream = || Stdio::from(slave.try_clone().unwrap());
        let mut command = self.command(args);
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let mut child = command.spawn().unwrap();
        // The terminal is hung up if podman fails.
        drop((command, slave));
        terminal.type_in(line);
        let text = terminal.read_until(wanted);
        terminal.type_in("exit 3\n");
        assert_eq!(child.wait().unwrap().code(), Some(3), "{text}");
        text
    }
}

impl Drop for Podman<'_> {
    /// Checks that nothing of a container is left, and ends podman's own process.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.call(&["rm", "--all", "--force", "--time", "0"]).ok();
        let t = self.user.c.test;
        let state = self.user.home.join("run").join(runtime_name(t));
        let left = fs::read_dir(state).into_iter().flatten().flatten().filter(|e| e.path().is_dir()).count();
        assert_eq!(left, 0, "containers are left");
        self.call(&["system", "migrate"]).ok();
        eventually("podman has ended", || !runs(&["podman", "conmon", "catatonit"]));
        uncover_ids();
        sweep_conmon(t);
        if let Some(caller) = &self.caller {
            fs::remove_dir(caller).unwrap();
        }
    }
}

pub fn map(text: &str) -> Vec<u32> {
    text.split_whitespace().map(|n| n.parse().unwrap()).collect()
}

fn user_namespaces_are_mapped_as_requested(t: &Test) {
    let podman = Podman::new(t);
    for (mode, uid, expected) in [
        ("host", 0, &[0, USER, 1, 1, MORE, 65536][..]),
        ("keep-id", USER, &[0, 1, 1000, 1000, 0, 1, 1001, 1001, 64536]),
        ("nomap", 0, &[0, 1, 65536]),
        ("auto", 0, &[0, 1]),
        ("auto:size=100", 0, &[0, 1, 100]),
    ] {
        let flag = format!("--userns={mode}");
        let places = "stat /dev stat /dev/pts stat /dev/shm stat /dev/mqueue stat /run stat /etc/hosts";
        let words = format!("ids read /proc/self/uid_map write /tmp/x x {places}");
        let args = ["--rm", &flag, "fixture", "probe"].into_iter().chain(words.split(' '));
        let seen = podman.run(&args.collect::<Vec<_>>()).ok().probe();
        let ids = map(seen.text("read /proc/self/uid_map"));
        assert!(ids.starts_with(expected), "{mode}: {ids:?}");
        assert_eq!(seen["ids"]["uid"], json!([uid, uid, uid]), "{mode}");
        assert_eq!(seen.result("write /tmp/x"), "ok", "{mode}");
        // runc mounts the mqueue before it has become root.
        if t.runtime == Runtime::Embrun {
            assert!(!seen["acts"].to_string().contains("id\":65534"), "{mode}: {}", seen["acts"]);
        }
    }
    let seen = podman.run(&["--rm", "--user=7:8", "fixture", "id"]).ok();
    assert_eq!(seen.stdout, "uid=7(7) gid=8(8) groups=8(8)\n");
}

fn terminals_work_in_run_and_exec(t: &Test) {
    if std::env::var("IT_HOST").is_ok_and(|host| host.starts_with("uml")) {
        t.skip("conmon ends at once with a terminal in user-mode Linux, with runc too");
    }
    let podman = Podman::new(t);
    let mut args = podman.flags();
    args.extend(["--rm", "-it", "--network=none", "fixture", "sh"].map(String::from));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    podman.typed(&args, "tty; id\n", "uid=0");
    podman.run(&["--detach", "--name=one", "fixture", "sleep", "100"]).ok();
    let text = podman.typed(&["exec", "-it", "--user=5", "one", "sh"], "tty; id\n", "uid=5");
    assert!(text.contains("/dev/pts/0"), "{text}");
}

fn container_is_detached_stopped_started_and_removed(t: &Test) {
    let podman = Podman::new(t);
    let script = "echo out; echo err >&2; exec sleep 100";
    podman.run(&["--detach", "--name=one", "fixture", "sh", "-c", script]).ok();
    let logs = podman.call(&["logs", "one"]).ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
    podman.call(&["exec", "one", "sh", "-c", "exit 3"]).exits(3);
    let seen =
        podman.call(&["exec", "--user=5:6", "--workdir=/tmp", "-e", "A=b", "one", "probe", "ids", "cwd"]);
    let seen = seen.ok().probe();
    assert_eq!((&seen["ids"]["uid"][0], &seen["cwd"]), (&json!(5), &json!("/tmp")));
    podman.call(&["exec", "one", "no-such-tool"]).exits(127);
    let status = || podman.call(&["inspect", "--format", "{{.State.Status}}", "one"]).ok().stdout;
    podman.call(&["stop", "--time=0", "one"]).ok();
    assert_eq!(status(), "exited\n");
    podman.call(&["start", "one"]).ok();
    assert_eq!(status(), "running\n");
    podman.call(&["kill", "one"]).ok();
    assert_eq!(podman.call(&["wait", "one"]).ok().stdout, "137\n");
    podman.call(&["rm", "one"]).ok();
    podman.run(&["--rm", "fixture", "sh", "-c", "exit 7"]).exits(7);
    podman.run(&["--rm", "fixture", "no-such-tool"]).exits(127);
    podman.run(&["--rm", "fixture", "/etc"]).exits(126);
    let args =
        ["--rm", "--read-only", "--tmpfs=/scratch", "--cap-drop=all", "--security-opt=no-new-privileges"];
    let probe =
        ["fixture", "probe", "caps", "nnp", "seccomp", "write", "/x", "x", "write", "/scratch/x", "x"];
    let seen = podman.run(&[&args[..], &probe].concat()).ok().probe();
    assert_eq!(seen["caps"]["CapEff"], "0000000000000000");
    assert_eq!((&seen["nnp"], &seen["seccomp"]), (&json!(1), &json!(2)));
    assert_eq!((seen.result("write /x"), seen.result("write /scratch/x")), (&json!("EROFS"), &json!("ok")));
}

fn pod_shares_its_namespaces(t: &Test) {
    let podman = Podman::new(t);
    for (name, more, uid) in [("plain", "--share=net,ipc,uts,pid", 0), ("kept", "--userns=keep-id", USER)] {
        let infra = ["--infra-image=fixture", "--infra-command=sleep 1000", "--network=none"];
        let mut create = vec!["pod", "create", "--name", name, more];
        create.extend(infra);
        let parent = format!("--cgroup-parent=/{}", t.token());
        create.extend(podman.caller.is_some().then_some(parent.as_str()));
        podman.call(&create).ok();
        let pod = format!("--pod={name}");
        let one = format!("--name={name}-one");
        podman.run_with(&["--detach", &pod, &one, "fixture", "sleep", "100"]).ok();
        let args = ["--rm", &pod, "fixture", "probe", "ids", "namespaces", "processes"];
        let seen = podman.run_with(&args).ok().probe();
        assert_eq!(seen["ids"]["uid"][0], uid, "{name}");
        assert_eq!(
            seen["processes"].as_array().unwrap().len() > 2,
            uid == 0,
            "{name}: {}",
            seen["processes"]
        );
        let other = podman.call(&["exec", &one[7..], "probe", "namespaces"]).ok().probe();
        for kind in ["net", "ipc", "uts", "user"] {
            assert_eq!(seen["namespaces"][kind], other["namespaces"][kind], "{name}: {kind}");
        }
        podman.call(&["pod", "stop", "--time=0", name]).ok();
        podman.call(&["pod", "start", name]).ok();
        podman.call(&["exec", &one[7..], "true"]).ok();
        podman.call(&["pod", "rm", "--force", "--time=0", name]).ok();
    }
}

fn volumes_have_the_owners_of_their_options(t: &Test) {
    let podman = Podman::new(t);
    let dir = podman.user.home.join("volume");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("in"), "from the user").unwrap();
    give(&dir);
    let volume = |options: &str| format!("--volume={}:/data:{options}", dir.display());
    let words = ["fixture", "probe", "read", "/data/in", "write", "/data/in", "new"];
    for (mode, options, result) in [
        ("keep-id", "rw", "ok"),
        ("auto", "rw", "EACCES"),
        ("auto", "U", "ok"),
        ("keep-id", "rw", "EACCES"),
        ("keep-id", "U", "ok"),
    ] {
        let flags = ["--rm", &format!("--userns={mode}"), &volume(options)];
        let seen = podman.run(&[&flags[..], &words].concat()).ok().probe();
        assert_eq!(seen.result("write /data/in"), result, "{mode} {options}");
    }
    let flags = ["--rm", "--user=5:6", "--volume=named:/data:U", "fixture", "sh", "-c"];
    let seen = podman.run(&[&flags[..], &["touch /data/new && ls -n /data"]].concat()).ok().stdout;
    assert!(seen.contains(" 5        6 "), "{seen}");
    // The kernel idmaps only file systems that were mounted in the user's own user namespace. runc 1.1 ignores the option.
    if t.runtime == Runtime::Embrun {
        for (mode, says) in
            [("keep-id", "mounts[0].options"), ("host", "or a user namespace of the container")]
        {
            let flags = ["--rm", &format!("--userns={mode}"), &volume("idmap"), "fixture", "true"];
            podman.run(&flags).exits(126).fails(&[says]);
        }
    }
}

fn namespaces_of_the_caller_and_of_others_are_shared(t: &Test) {
    let podman = Podman::new(t);
    podman.run(&["--detach", "--name=one", "--ipc=shareable", "fixture", "sleep", "100"]).ok();
    let flags = ["--rm", "--network=container:one", "--pid=container:one", "--ipc=container:one"];
    let probe = ["fixture", "probe", "namespaces", "processes"];
    let seen = podman.run_with(&[&flags[..], &probe].concat()).ok().probe();
    let other = podman.call(&["exec", "one", "probe", "namespaces"]).ok().probe();
    for kind in ["net", "ipc", "pid", "user"] {
        assert_eq!(seen["namespaces"][kind], other["namespaces"][kind], "{kind}");
    }
    assert!(seen["processes"].as_array().unwrap().contains(&json!(1)), "{}", seen["processes"]);
    let flags = ["--rm", "--network=host", "--pid=host", "--uts=host", "--cgroupns=host"];
    let seen = podman.run_with(&[&flags[..], &probe].concat()).ok().probe();
    for kind in ["net", "pid", "uts", "cgroup"] {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_eq!(seen["namespaces"][kind], json!(own.to_str()), "{kind}");
    }
    let file = if t.pure_v2() { "cgroup.procs" } else { "pids/cgroup.procs" };
    podman.run(&["--rm", "--cgroupns=host", "fixture", "test", "-e", &format!("/sys/fs/cgroup/{file}")]).ok();
}

fn delegated_cgroup_limits_and_pauses(t: &Test) {
    if !t.pure_v2() {
        // Podman itself warns, and asks for no limit.
        let podman = Podman::new(t);
        podman.run(&["--rm", "--memory=32m", "--pids-limit=17", "fixture", "true"]).ok();
        return;
    }
    let podman = Podman::new(t);
    let flags = ["--detach", "--name=one", "--memory=32m", "--pids-limit=17", "fixture", "sleep", "100"];
    podman.run(&flags).ok();
    let seen =
        podman.call(&["exec", "one", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max"]).ok();
    assert_eq!(seen.stdout, "33554432\n17\n");
    podman.call(&["pause", "one"]).ok();
    let status = || podman.call(&["inspect", "--format", "{{.State.Status}}", "one"]).ok().stdout;
    assert_eq!(status(), "paused\n");
    podman.call(&["unpause", "one"]).ok();
    assert_eq!(status(), "running\n");
    podman.call(&["stats", "--no-stream", "one"]).ok();
}
