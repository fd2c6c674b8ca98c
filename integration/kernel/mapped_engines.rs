//! Podman and docker with user namespaces; the runtime in podman's containers.
//!
//! On demand: `--ignored engines`.

use crate::cases;
use crate::common::{Case, Output, Runtime, Test};
use crate::docker::Docker;
use crate::engines::Podman;
use crate::rootless::user::{MORE, cover, uncover};
use crate::rootless_engines::{self, map};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

pub const CASES: &[Case] = cases![
    podman_user_namespaces_are_mapped,
    podman_volumes_are_idmapped,
    docker_remaps_users,
    runtime_runs_in_a_container_of_root,
    runtime_runs_in_a_container_of_an_ordinary_user,
];

const IDS: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"];

/// Gives subordinate ids to the names that the engines look for.
fn cover_ids(t: &Test) {
    let names =
        "root:x:0:0::/root:/bin/sh\ncontainers:x:990:990::/:/bin/sh\ndockremap:x:991:991::/:/bin/sh\n";
    let groups = "root:x:0:\ncontainers:x:990:\ndockremap:x:991:\n";
    let ids = format!("containers:{MORE}:65536\ndockremap:{MORE}:65536\n");
    [names, groups, &ids, &ids].iter().zip(IDS).for_each(|(text, path)| cover(t, path, text));
}

fn podman_user_namespaces_are_mapped(t: &Test) {
    cover_ids(t);
    let podman = Podman::new(t);
    let probe = ["fixture", "probe", "ids", "read", "/proc/self/uid_map", "write", "/new", "x"];
    for (flags, expected) in [
        (&["--userns=auto"][..], &[0, MORE][..]),
        (&["--userns=auto:size=100"], &[0, MORE, 100]),
        (&["--uidmap=0:5000:200", "--gidmap=0:6000:200"], &[0, 5000, 200]),
    ] {
        let seen = podman.run(&[&["--rm"], flags, &probe].concat()).ok().probe();
        let ids = map(seen.text("read /proc/self/uid_map"));
        assert!(ids.starts_with(expected), "{flags:?}: {ids:?}");
        assert_eq!(
            (&seen["ids"]["uid"][0], seen.result("write /new")),
            (&json!(0), &json!("ok")),
            "{flags:?}"
        );
    }
    podman.run(&["--detach", "--name=one", "--userns=auto", "fixture", "sleep", "100"]).ok();
    let seen = podman
        .call(&["exec", "--user=5:6", "one", "probe", "ids", "read", "/proc/self/uid_map"])
        .ok()
        .probe();
    assert_eq!(map(seen.text("read /proc/self/uid_map"))[..2], [0, MORE]);
    assert_eq!((&seen["ids"]["uid"][0], &seen["ids"]["gid"][0]), (&json!(5), &json!(6)));
    podman.call(&["stop", "--time=0", "one"]).ok();
    for mode in ["keep-id", "nomap"] {
        // Podman itself says so.
        let flag = format!("--userns={mode}");
        podman
            .run(&["--rm", &flag, "fixture", "true"])
            .exits(125)
            .fails(&["only supported in rootless mode"]);
    }
    drop(podman);
    uncover(&IDS);
}

fn podman_volumes_are_idmapped(t: &Test) {
    cover_ids(t);
    let podman = Podman::new(t);
    let dir = t.path("volume");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("in"), "").unwrap();
    fs::set_permissions(dir.join("in"), fs::Permissions::from_mode(0o600)).unwrap();
    let seen = |options: &str| {
        let volume = format!("--volume={}:/data:{options}", dir.display());
        let probe =
            ["fixture", "probe", "stat", "/data/in", "write", "/data/in", "x", "write", "/data/new", "x"];
        podman.run(&[&["--rm", "--userns=auto", &volume][..], &probe].concat())
    };
    let owner = |name: &str| fs::metadata(dir.join(name)).unwrap().uid();
    // runc 1.1 ignores the option; this kernel may be unable to idmap the file system.
    let out = seen("idmap");
    if t.runtime == Runtime::Embrun && !out.stderr.contains("cannot idmap") {
        let seen = out.ok().probe();
        assert_eq!(
            (seen.result("write /data/in"), seen.result("write /data/new")),
            (&json!("ok"), &json!("ok"))
        );
        assert_eq!((owner("in"), owner("new")), (0, 0));
        fs::remove_file(dir.join("new")).unwrap();
    }
    assert_eq!(seen("rw").ok().probe().result("write /data/in"), "EACCES");
    assert_eq!(seen("U").ok().probe().result("write /data/in"), "ok");
    assert_eq!((owner("in"), owner("new")), (MORE, MORE));
    drop(podman);
    uncover(&IDS);
}

fn docker_remaps_users(t: &Test) {
    cover_ids(t);
    let docker = Docker::with(t, &json!({"userns-remap": "default"}));
    let volume = t.path("volume");
    fs::create_dir(&volume).unwrap();
    chown(&volume, Some(MORE), Some(MORE)).unwrap();
    let probe = [
        "fixture",
        "probe",
        "ids",
        "read",
        "/proc/self/uid_map",
        "write",
        "/new",
        "x",
        "write",
        "/data/new",
        "x",
    ];
    let volumes = ["--rm", &format!("--volume={}:/data", volume.display()), "--volume=named:/named"];
    let seen = docker.run(&[&volumes[..], &probe].concat()).ok().probe();
    assert_eq!(map(seen.text("read /proc/self/uid_map")), [0, MORE, 65536]);
    assert_eq!((seen.result("write /new"), seen.result("write /data/new")), (&json!("ok"), &json!("ok")));
    assert_eq!(fs::metadata(volume.join("new")).unwrap().uid(), MORE);
    let seen =
        docker.run(&["--rm", "--userns=host", "fixture", "probe", "read", "/proc/self/uid_map"]).ok().probe();
    assert_eq!(map(seen.text("read /proc/self/uid_map")), [0, 0, u32::MAX]);
    let limits = ["--memory=64m", "--pids-limit=50", "--init=false", "--ipc=shareable"];
    docker.run(&[&["--detach", "--name=one"], &limits[..], &["fixture", "sleep", "1000"]].concat()).ok();
    let seen = docker.call(&["exec", "--user=5:6", "one", "probe", "ids"]).ok().probe();
    assert_eq!((&seen["ids"]["uid"][0], &seen["ids"]["gid"][0]), (&json!(5), &json!(6)));
    let shared = ["--rm", "--network=container:one", "--ipc=container:one", "fixture", "true"];
    docker.call(&[&["run"], &shared[..]].concat()).ok();
    docker.call(&["pause", "one"]).ok();
    docker.call(&["unpause", "one"]).ok();
    docker.call(&["update", "--pids-limit=70", "one"]).ok();
    docker.call(&["restart", "--time=0", "one"]).ok();
    assert_eq!(docker.of("one", ".State.Status"), "running");
    drop(docker);
    uncover(&IDS);
}

/// Runs containers with the runtime in a container.
///
/// In the foreground and detached, without and with a user namespace.
const INNER: &str = r#"set -e
mkdir -p /scratch/b/rootfs/proc /scratch/b/rootfs/sys /scratch/b/rootfs/dev; cp -r /bin /scratch/b/rootfs/; cd /scratch/b
rt() { /runtime/NAME --root /scratch/state "$@"; }
edit() { sed -i 's/"terminal": true/"terminal": false/; s|"sh"$|'"$1"'|; s/"hostID": [0-9]*/"hostID": 0/' config.json; }
rt spec; edit '"echo","hello from inside"'; rt run one
rm config.json; rt spec; edit '"sleep","100"'; rt run --detach two < /dev/null > /dev/null 2>&1
rt exec two echo 'hello from exec'; rt kill two KILL
until rt state two | grep -q stopped; do sleep 0.1; done
rt delete two
rm config.json; rt spec --rootless; edit '"cat","/proc/self/uid_map"'; rt run three
rt list -q
"#;

/// Checks the output of [`INNER`], which `run` gets with the flags and the program.
fn inner(t: &Test, run: impl Fn(&[&str]) -> Output) {
    let name = t.runtime_path().file_name().unwrap().to_str().unwrap();
    let dir = t.path("runtime");
    fs::create_dir(&dir).unwrap();
    fs::copy(t.runtime_path(), dir.join(name)).unwrap();
    for above in dir.ancestors().take_while(|p| p.starts_with("/run/")) {
        fs::set_permissions(above, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut flags: Vec<String> = ["--rm", "--privileged", "--tmpfs=/scratch:exec"].map(String::from).into();
    flags.push(format!("--volume={}:/runtime:ro", dir.display()));
    // runc and crun are not static.
    let libraries =
        ["/lib", "/lib64", "/usr"].iter().filter(|p| t.runtime != Runtime::Embrun && Path::new(p).exists());
    flags.extend(libraries.map(|path| format!("--volume={path}:{path}:ro")));
    let script = INNER.replace("NAME", name);
    flags.extend(["fixture", "sh", "-c", &script].map(String::from));
    let seen = run(&flags.iter().map(String::as_str).collect::<Vec<_>>()).ok().stdout;
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(words.join(" "), "hello from inside hello from exec 0 0 1");
}

fn runtime_runs_in_a_container_of_root(t: &Test) {
    let podman = Podman::new(t);
    inner(t, |args| podman.run(args));
}

fn runtime_runs_in_a_container_of_an_ordinary_user(t: &Test) {
    let podman = rootless_engines::Podman::new(t);
    inner(t, |args| podman.run(args));
}
