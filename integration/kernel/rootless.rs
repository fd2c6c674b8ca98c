//! Containers of an ordinary user, who owns nothing but the bundle.

pub mod user;

use crate::cases;
use crate::common::{Case, ConsoleSocket, Container, Output, Runtime, Terminal, Test, eventually};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::process::{Command, Stdio};
use user::{MORE, USER, User, cover, runtime_name, uncover, uncover_ids};

pub const CASES: &[Case] = cases![
    config_of_spec_runs_unchanged,
    whole_lifecycle_works_with_one_id,
    terminal_goes_to_a_console_socket,
    programs_are_executed_before_the_start,
    many_ids_are_mapped_by_the_helpers,
    helpers_get_nothing_of_the_caller,
    ids_of_others_are_refused,
    requests_without_the_right_are_refused_by_name,
    sources_that_the_user_cannot_reach_are_refused,
    hooks_and_limits_work,
    mount_of_cgroups_shows_those_of_the_caller,
    delegated_cgroup_has_limits,
    failed_runs_leave_nothing,
];

/// Requires failure and all of these words in the error.
#[track_caller]
fn refused(out: Output, words: &[&str]) {
    let out = out.fails(&words[..1]);
    words.iter().for_each(|word| assert!(out.stderr.contains(word), "{word} in {:?}", out.stderr));
}

pub fn without_maps(c: &mut Container<'_>) {
    for key in ["uidMappings", "gidMappings"] {
        c.config["linux"].as_object_mut().unwrap().remove(key);
    }
}

fn config_of_spec_runs_unchanged(t: &Test) {
    let user = User::new(t);
    fs::remove_file(user.c.bundle.join("config.json")).unwrap();
    user.call(&["spec", "--rootless", "--bundle", &user.bundle()]).ok();
    let (mut terminal, slave) = Terminal::pair(20, 60);
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let mut command = user.command(&["run", "--bundle", &user.bundle(), &user.c.id]);
    let mut child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    terminal.type_in("id; tty; exit 7\n");
    let text = terminal.read_until("/dev/pts/0");
    assert!(text.contains("uid=0"), "{text}");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

fn whole_lifecycle_works_with_one_id(t: &Test) {
    let mut user = User::new(t);
    user.c.probe("say pause");
    user.make(&["create"]).ok();
    assert_eq!(user.status(), "created");
    user.on(&["start"]).ok();
    assert_eq!(user.status(), "running");
    let list = user.call(&["list", "-q"]).ok();
    assert!(list.stdout.contains(&user.c.id), "{}", list.stdout);
    let seen = user.call(&["exec", &user.c.id, "probe", "ids"]).ok().probe();
    assert_eq!(seen["ids"]["uid"], json!([0, 0, 0]), "{:?}", seen["ids"]);
    let pid = user.on(&["state"]).ok().json()["pid"].to_string();
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "1000", "1"]);
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/setgroups")).unwrap(), "deny\n");
    user.call(&["kill", &user.c.id, "KILL"]).ok();
    eventually("it has stopped", || user.status() == "stopped");
    user.on(&["delete"]).ok();
    user.on(&["state"]).fails(&["does not exist", "no such file"]);
    user.c.args(&["sh", "-c", "exit 5"]);
    user.run().exits(5);
    user.c.args(&["sleep", "100"]);
    user.make(&["run", "--detach"]).ok();
    user.on(&["delete", "--force"]).ok();
}

fn terminal_goes_to_a_console_socket(t: &Test) {
    let mut user = User::new(t);
    user.c.config["process"]["terminal"] = json!(true);
    user.c.args(&["sh"]);
    let socket = ConsoleSocket::listen(user.home.join("console.sock"));
    let path = socket.path.to_str().unwrap().to_owned();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    user.make(&["run", "--detach", "--console-socket", &path]).ok();
    let mut terminal = socket.receive();
    terminal.type_in("tty; id\n");
    let text = terminal.read_until("uid=0");
    assert!(text.contains("/dev/pts/0"), "{text}");
    let socket = ConsoleSocket::listen(user.home.join("exec.sock"));
    let exec = socket.path.to_str().unwrap().to_owned();
    fs::set_permissions(&exec, fs::Permissions::from_mode(0o777)).unwrap();
    let flags =
        ["exec", "--tty", "--detach", "--console-socket", &exec, &user.c.id, "sh", "-c", "tty; sleep 100"];
    user.call(&flags).ok();
    socket.receive().read_until("/dev/pts/1");
    user.on(&["delete", "--force"]).ok();
}

fn programs_are_executed_before_the_start(t: &Test) {
    let mut user = User::new(t);
    user.c.args(&["true"]);
    user.make(&["create"]).ok();
    assert!(user.call(&["exec", &user.c.id, "id"]).ok().stdout.contains("uid=0"));
    user.on(&["delete", "--force"]).ok();
}

fn many_ids_are_mapped_by_the_helpers(t: &Test) {
    let mut user = User::new(t);
    user.map_more();
    user.c.config["process"]["user"] = json!({"uid": 7, "gid": 8});
    if t.runtime == Runtime::Embrun {
        user.c.config["process"]["user"]["additionalGids"] = json!([9]);
    }
    user.c.probe("ids say pause");
    user.make(&["run", "--detach"]).ok();
    let pid = user.on(&["state"]).ok().json()["pid"].to_string();
    let ids = |key: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        line.split_whitespace().map(|id| id.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids("Uid:"), [MORE + 6; 4]);
    assert_eq!(ids("Gid:"), [MORE + 7; 4]);
    if t.runtime == Runtime::Embrun {
        assert_eq!(ids("Groups:"), [MORE + 8]);
    }
    // runc and crun return before the program runs.
    let comm = format!("/proc/{pid}/comm");
    eventually("the program runs", || fs::read_to_string(&comm).is_ok_and(|comm| comm == "probe\n"));
    let seen = user.call(&["exec", "--user", "5:6", &user.c.id, "id"]).ok();
    assert!(seen.stdout.contains("uid=5 gid=6"), "{}", seen.stdout);
    user.on(&["delete", "--force"]).ok();
    uncover_ids();
}

fn helpers_get_nothing_of_the_caller(t: &Test) {
    let mut user = User::new(t);
    user.map_more();
    cover(t, "/usr/bin/newuidmap", "#!/bin/sh\nenv\nls -l /proc/$$/fd\necho \"args $*\"\nexit 3\n");
    user.c.write();
    let run = "exec 9< /etc/hostname; exec \"$@\"";
    let told = user.command(&["run", "--bundle", &user.bundle(), &user.c.id]);
    let mut command = Command::new("sh");
    command.args(["-c", run, "sh"]).arg(told.get_program()).args(told.get_args());
    command.envs(told.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let out = t.finish(command).fails(&["linux.uidMappings: /usr/bin/newuidmap: exit status 3"]);
    let text = &out.stderr;
    assert!(text.contains(&format!(" 0 1000 1 1 {MORE} 1000")), "{text}");
    for part in ["SECRET", "XDG_RUNTIME_DIR", "hostname", "socket:", "/proc ", " 9 ->", "embrun/c"] {
        assert!(!text.contains(part), "{part}: {text}");
    }
    uncover(&["/usr/bin/newuidmap"]);
    uncover_ids();
}

fn ids_of_others_are_refused(t: &Test) {
    let mut user = User::new(t);
    user.map_more();
    user.c.config["linux"]["gidMappings"][1]["size"] = json!(1001);
    refused(user.run(), &["linux.gidMappings", "not allowed", "/etc/subgid"]);
    user.c.config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    refused(user.run(), &["linux.uidMappings", "not allowed", "/etc/subuid"]);
    uncover_ids();
    user.on(&["state"]).fails(&["does not exist", "no such file"]);
}

fn requests_without_the_right_are_refused_by_name(t: &Test) {
    let mut user = User::new(t);
    user.c.args(&["true"]);
    let config = user.c.config.clone();
    for (pointer, value, says) in [
        ("/process/oomScoreAdj", json!(-500), &["process.oomScoreAdj", "CAP_SYS_RESOURCE"][..]),
        ("/process/user/additionalGids", json!([0]), &["process.user.additionalGids", "newgidmap"]),
        ("/linux/cgroupsPath", json!("/not-mine"), &["/not-mine", "linux.cgroupsPath"]),
        ("/linux/namespaces", json!([{"type": "mount"}]), &["linux.namespaces", "spec --rootless"]),
    ] {
        user.c.config = config.clone();
        let (above, name) = pointer.rsplit_once('/').unwrap();
        user.c.config.pointer_mut(above).unwrap()[name] = value;
        if name == "namespaces" {
            without_maps(&mut user.c);
        }
        if name != "cgroupsPath" || t.hierarchy("pids").is_some() {
            refused(user.run(), says);
        }
    }
    user.c.config = config.clone();
    user.c.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 1 << 29, "soft": 5}]);
    refused(user.run(), &["process.rlimits", "RLIMIT_NOFILE"]);
    user.c.config = config.clone();
    user.c.mount("/x", "tmpfs", "tmpfs", &["idmap"]);
    let mounts = user.c.config["mounts"].as_array_mut().unwrap();
    let index = mounts.len() - 1;
    for key in ["uidMappings", "gidMappings"] {
        mounts[index][key] = json!([{"containerID": 0, "hostID": 7, "size": 1}]);
    }
    refused(user.run(), &[&format!("mounts[{index}].uidMappings"), "an ordinary user"]);
    user.c.config = config;
    let mounts = user.c.config["mounts"].as_array_mut().unwrap();
    let pts = mounts.iter_mut().find(|m| m["type"] == "devpts").unwrap();
    pts["options"].as_array_mut().unwrap().push(json!("gid=5"));
    refused(user.run(), &["/dev/pts", "gid=5", "must map"]);
    let mut command = user.command(&["run", "--bundle", &user.bundle(), &user.c.id]);
    command.env_remove("XDG_RUNTIME_DIR");
    t.finish(command).fails(&["XDG_RUNTIME_DIR"]);
}

fn sources_that_the_user_cannot_reach_are_refused(t: &Test) {
    let mut user = User::new(t);
    let private = t.path("private");
    fs::create_dir_all(private.join("inner")).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    user.c.mount("/mnt", "none", private.join("inner").to_str().unwrap(), &["bind"]);
    refused(user.run(), &["inner", "ermission denied"]);
}

fn hooks_and_limits_work(t: &Test) {
    let mut user = User::new(t);
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    for kind in kinds {
        let say = format!("[ $(id -u) = {USER} ] || [ $(id -u) = 0 ] || exit 9; cat > /dev/null");
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", say], "env": ["PATH=/usr/bin:/bin"]});
        user.c.config["hooks"][kind] = json!([hook]);
    }
    user.c.config["process"]["oomScoreAdj"] = json!(300);
    user.c.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 99, "soft": 98}]);
    user.c.args(&["sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"]);
    assert_eq!(user.run().ok().stdout, "98\n99\n300\n");
}

fn mount_of_cgroups_shows_those_of_the_caller(t: &Test) {
    let mut user = User::new(t);
    let Some(hierarchy) = t.hierarchy("pids") else { t.skip("the host has no pids cgroup controller") };
    let list = user.c.config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|n| n["type"] != "cgroup");
    // The user may set this limit of the caller's cgroup, and the container may not.
    let caller = format!("{}/caller", t.token());
    let own = hierarchy.mount.join(&caller);
    fs::create_dir(&own).unwrap();
    if hierarchy.v2 {
        let _ = fs::write(own.parent().unwrap().join("cgroup.subtree_control"), "+pids");
    }
    lchown(own.join("pids.max"), Some(USER), Some(USER)).unwrap();
    user.cgroup = Some(own.clone());
    let mounts = user.c.config["mounts"].as_array_mut().unwrap();
    mounts.iter_mut().find(|m| m["type"] == "cgroup").unwrap()["options"] = json!(["nosuid"]);
    let place = if hierarchy.v2 { format!("/sys/fs/cgroup/{caller}") } else { "/sys/fs/cgroup/pids".into() };
    let words = format!("ls {place}; ! mkdir {place}/new 2> /dev/null; echo 9 > {place}/pids.max");
    user.c.args(&["sh", "-c", &words]);
    let seen = user.run();
    assert!(seen.stdout.contains("cgroup.procs"), "{}", seen.stdout);
    if t.runtime == Runtime::Embrun {
        seen.fails(&["pids.max: Read-only file system"]);
    }
    fs::remove_dir(own).unwrap();
}

fn delegated_cgroup_has_limits(t: &Test) {
    t.needs_controller("pids");
    if !t.pure_v2() {
        t.skip("only v2 can be delegated");
    }
    let mut user = User::new(t);
    user.c.config["linux"]["cgroupsPath"] = json!(format!("/{}/{}", t.token(), user.c.id));
    user.c.config["linux"]["resources"] = json!({"pids": {"limit": 16}});
    user.c.args(&["sleep", "100"]);
    let caller = user.delegate();
    user.make(&["create"]).ok();
    user.on(&["start"]).ok();
    assert_eq!(user.c.knob("pids", "", "pids.max"), "16");
    user.on(&["pause"]).ok();
    assert_eq!(user.status(), "paused");
    user.on(&["resume"]).ok();
    let seen = user.call(&["exec", &user.c.id, "cat", "/proc/self/cgroup"]).ok();
    assert!(seen.stdout.starts_with("0::/"), "{}", seen.stdout);
    user.on(&["delete", "--force"]).ok();
    assert!(!user.c.cgroup("pids").exists());
    fs::remove_dir(caller).unwrap();
}

fn failed_runs_leave_nothing(t: &Test) {
    let mut user = User::new(t);
    user.c.args(&["/no/such/program"]);
    user.run().fails(&["/no/such/program"]);
    user.make(&["create"]).fails(&["/no/such/program"]);
    user.on(&["state"]).fails(&["does not exist", "no such file"]);
    let left = fs::read_dir(user.home.join("run").join(runtime_name(t))).unwrap();
    assert_eq!(left.filter(|e| e.as_ref().unwrap().path().is_dir()).count(), 0);
}
