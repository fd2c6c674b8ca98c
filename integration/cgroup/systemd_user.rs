//! The systemd driver of an ordinary user: scopes of the user's own manager.

use super::systemd::{Bundle, UNIT, is_v2, runs, say};
use super::*;

/// A command of the guest's user, who has a manager and a bus.
fn as_user(words: &[&str]) -> Vec<String> {
    let set = "XDG_RUNTIME_DIR=/run/user/1000";
    let head = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "env", set, "USER=user"];
    head.iter().chain(words).map(|w| (*w).to_owned()).collect()
}

fn show_of_user(property: &str) -> String {
    let words = as_user(&["systemctl", "--user", "show", UNIT, "--value", "-p", property]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    say(words[0], &words[1..]).1.trim().to_owned()
}

/// The same user without a user namespace but the container's.
#[test]
fn user_runs_the_whole_lifecycle_in_scopes() {
    if !runs() {
        return;
    }
    if !is_v2() {
        eprintln!("SKIPPED: cgroup v1 cannot be delegated to a user");
        return;
    }
    let mut b = Bundle::new("systemd-lifecycle");
    b.before = as_user(&[]);
    b.give_to_user();
    b.config("user.slice:tst:web", "", r#"{"memory":{"limit":33554432},"pids":{"limit":50}}"#);
    let file = b.at.join("config.json");
    let maps = r#""uidMappings":[{"containerID":0,"hostID":1000,"size":1}],
        "gidMappings":[{"containerID":0,"hostID":1000,"size":1}],"namespaces":[{"type":"user"},"#;
    let text = std::fs::read_to_string(&file).unwrap().replace(r#""namespaces":["#, maps);
    std::fs::write(&file, text).unwrap();
    b.create();
    let group = "/user.slice/user-1000.slice/user@1000.service/user.slice/tst-web.scope";
    for (property, value) in [("ActiveState", "active"), ("ControlGroup", group), ("MemoryMax", "33554432")] {
        assert_eq!(show_of_user(property), value, "{property}");
    }
    b.ok(&["start", "x"]);
    b.ok(&["exec", "x", "/bin/sleep", "0"]);
    assert_eq!(Bundle::file("pids", group, "cgroup.procs").lines().count(), 1);
    b.ok(&["pause", "x"]);
    assert!(b.embrun(&["state", "x"]).1.contains("paused"));
    b.ok(&["resume", "x"]);
    b.ok(&["update", "--pids-limit", "60", "x"]);
    assert_eq!((show_of_user("TasksMax").as_str(), &*Bundle::file("pids", group, "pids.max")), ("60", "60"));
    b.ok(&["kill", "x", "KILL"]);
    let start = Instant::now();
    while !b.embrun(&["state", "x"]).1.contains("stopped") {
        assert!(start.elapsed() < Duration::from_secs(10) * patience());
    }
    b.ok(&["delete", "x"]);
    assert_eq!(show_of_user("LoadState"), "not-found");
    b.ok(&["run", "--detach", "--bundle", b.at.to_str().unwrap(), "x"]);
    b.ok(&["delete", "--force", "x"]);
    assert_eq!(show_of_user("LoadState"), "not-found");
}

/// An unprivileged user, root of a user namespace as in rootless engines.
///
/// The manager is the systemd of that user.
#[test]
fn user_gets_scopes_from_the_user_manager() {
    if !runs() {
        return;
    }
    if !is_v2() {
        eprintln!("SKIPPED: cgroup v1 cannot be delegated to a user");
        return;
    }
    let mut b = Bundle::new("systemd-user");
    b.before = as_user(&["unshare", "--user", "--map-root-user", "--map-auto"]);
    b.give_to_user();
    let show = show_of_user;
    b.config("app.slice:tst:web", "", r#"{"memory":{"limit":33554432},"pids":{"limit":50}}"#);
    b.create();
    let group = "/user.slice/user-1000.slice/user@1000.service/app.slice/tst-web.scope";
    for (property, value) in
        [("ActiveState", "active"), ("ControlGroup", group), ("MemoryMax", "33554432"), ("TasksMax", "50")]
    {
        assert_eq!(show(property), value, "{property}");
    }
    assert_eq!(Bundle::file("pids", group, "pids.max"), "50");
    b.ok(&["update", "--pids-limit", "60", "x"]);
    assert_eq!((show("TasksMax").as_str(), Bundle::file("pids", group, "pids.max").as_str()), ("60", "60"));
    b.ok(&["delete", "--force", "x"]);
    assert_eq!(show("LoadState"), "not-found");
    assert!(!std::path::Path::new(&format!("/sys/fs/cgroup{group}")).exists());

    // Without access to the user manager the error names what is missing.
    b.before = b.before.iter().filter(|w| !w.starts_with("XDG_RUNTIME_DIR")).cloned().collect();
    b.flags.push("--rootless=true");
    let (done, text) = b.embrun(&["create", "--bundle", b.at.to_str().unwrap(), "x"]);
    assert!(!done && text.contains("XDG_RUNTIME_DIR is not set"), "{text}");
}
