//! `spec`: the written configuration, and errors.

use crate::Scratch;
use serde_json::{Value, json};

#[test]
fn spec_writes_a_config_and_overwrites_none() {
    let s = Scratch::new();
    let bundle = s.path("bundle");
    std::fs::create_dir(&bundle).unwrap();
    assert_eq!(s.call(&["spec", "--bundle", &bundle]).ok(), "");
    let spec = oci_spec::runtime::Spec::load(s.path("bundle/config.json")).unwrap();
    assert_eq!(spec.process().as_ref().unwrap().args().as_ref().unwrap(), &["sh"]);
    s.call(&["spec", "-b", &bundle]).fails("File config.json exists. Remove it first");
    std::fs::remove_file(s.path("bundle/config.json")).unwrap();
    let said = s.call(&["spec", "-b", &bundle, "--rootless"]);
    assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (0, "", ""));
    let spec = oci_spec::runtime::Spec::load(s.path("bundle/config.json")).unwrap();
    assert_eq!(spec.linux().as_ref().unwrap().uid_mappings().as_ref().unwrap().len(), 1);
    std::fs::remove_file(s.path("bundle/config.json")).unwrap();
    s.call(&["spec", "-b", &bundle, "--role", "uplink"]).ok();
    let spec = oci_spec::runtime::Spec::load(s.path("bundle/config.json")).unwrap();
    assert_eq!(spec.process().as_ref().unwrap().args().as_ref().unwrap(), &["/uplink"]);
    assert!(spec.linux().as_ref().unwrap().seccomp().is_some());
    s.call(&["spec", "-b", &bundle, "--role", "gardener"])
        .fails("spec: --role: unknown role \"gardener\": there are data-collector, data-processor, uplink, device-controller, firmware-updater");
    for option in ["--role=uplink", "--user=7", "--device=/dev/null"] {
        s.call(&["spec", option, "--rootless"])
            .fails("spec: --rootless excludes --role, --user and --device");
    }
    s.call(&["spec", "-b", &s.path("nowhere")])
        .fails(&format!("{}: no such file or directory (ENOENT)", s.path("nowhere/config.json")));
}

#[test]
fn spec_takes_the_user_and_devices_of_the_host() {
    let s = Scratch::new();
    let bundle = s.path("");
    // As /dev/serial/by-path has it.
    let port = s.path("usb-0:1.3:1.0-port0");
    std::os::unix::fs::symlink("/dev/full", &port).unwrap();
    let written = |options: &[&str]| {
        s.call(&[&["spec", "-b", &bundle], options].concat()).ok();
        let text = std::fs::read_to_string(s.path("config.json")).unwrap();
        std::fs::remove_file(s.path("config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        let of = |place: &str| config.pointer(place).cloned().unwrap_or_default();
        [of("/process/user"), of("/linux/devices"), of("/linux/resources/devices")]
    };
    let denied = json!({"allow": false, "access": "rwm"});
    let rule =
        |minor, access| json!({"allow": true, "type": "c", "major": 1, "minor": minor, "access": access});
    let node = |path: &str, minor, mode, (uid, gid)| json!({"path": path, "type": "c", "major": 1, "minor": minor, "fileMode": mode, "uid": uid, "gid": gid});
    let user = |uid, gid| json!({"uid": uid, "gid": gid});
    assert_eq!(written(&[]), [user(0, 0), Value::Null, json!([denied])]);
    assert_eq!(
        written(&["--device", "/dev/zero", "--device", "/dev/null:/dev/a \"b:r"]),
        [
            user(0, 0),
            json!([node("/dev/zero", 5, 0o600, (0, 0)), node("/dev/a \"b", 3, 0o400, (0, 0))]),
            json!([denied, rule(5, "rw"), rule(3, "r")]),
        ]
    );
    for (options, path, mode, access) in [
        (&["--role", "data-collector"][..], port.as_str(), 0o400, "r"),
        (&["--role", "device-controller"], &port, 0o600, "rw"),
        (&["--role", "data-collector"], &format!("{port}:wm"), 0o200, "wm"),
        (&[], &format!("{port}:/dev/port"), 0o600, "rw"),
        (&[], &format!("{port}:/dev/port:m"), 0, "m"),
    ] {
        let inside = if path.contains(":/") { "/dev/port" } else { &port };
        let seen = written(&[options, &["--user", "7:8", "--device", path]].concat());
        let expected = [user(7, 8), json!([node(inside, 7, mode, (7, 8))]), json!([denied, rule(7, access)])];
        assert_eq!(seen, expected, "{options:?} {path}");
    }
    assert_eq!(written(&["--user", "7"])[0], user(7, 7));
    // Control characters and invisible ones.
    let path = "/dev/\u{1}\u{7f}\t\u{200b}é\\";
    let seen = written(&["--device", &format!("/dev/null:{path}")]);
    assert_eq!(seen[1][0], node(path, 3, 0o600, (0, 0)));
}

#[test]
fn spec_binds_a_pty_whose_access_it_cannot_limit() {
    let s = Scratch::new();
    let bundle = s.path("");
    let pty = nix::pty::openpty(None, None).unwrap();
    let host = nix::unistd::ttyname(&pty.slave).unwrap();
    let host = host.to_str().unwrap();
    let spec = |options: &[&str], device: &str| {
        s.call(&[&["spec", "-b", &bundle, "--device", device], options].concat())
    };
    let collector = ["--role", "data-collector"];
    for (options, access) in
        [(&[][..], ""), (&[], ":rw"), (&[], ":rwm"), (&collector, ""), (&collector, ":r")]
    {
        spec(options, &format!("{host}:/dev/sensor{access}")).ok();
        let text = std::fs::read_to_string(s.path("config.json")).unwrap();
        std::fs::remove_file(s.path("config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        let mount = config["mounts"].as_array().unwrap().last().unwrap();
        assert_eq!((&mount["source"], &mount["destination"]), (&json!(host), &json!("/dev/sensor")));
    }
    for access in ["r", "w", "m", "rm"] {
        let device = format!("{host}:{access}");
        spec(&[], &device).fails(&format!(
            "spec: --device {device}: access to a pty cannot be limited (its owner decides)"
        ));
    }
    let name = host.strip_prefix("/dev/").unwrap();
    s.shell(&format!("cd /dev && $E spec --device {name}:/dev/sensor"))
        .fails(&format!("spec: --device {name}:/dev/sensor: {name}: must be an absolute path"));
}

#[test]
fn spec_refuses_what_is_no_device_of_the_host() {
    let s = Scratch::new();
    let form = "(write HOST[:PATH[:ACCESS]])";
    for (options, says) in [
        (&["/no/device"][..], "/no/device: no such file or directory (ENOENT)"),
        (&["/etc/passwd"], "/etc/passwd: /etc/passwd is no device"),
        (&["/dev"], "/dev: /dev is no device"),
        (&["/dev/null:rx"], &format!("/dev/null:rx: no such file or directory (ENOENT) {form}")),
        (&["/dev/null:"], &format!("/dev/null:: no such file or directory (ENOENT) {form}")),
        (&["/dev/null:/dev/x:rx"], &format!("/dev/null:/dev/x:rx: {}", form.trim_matches(['(', ')']))),
        (&["/dev/null:/"], "/dev/null:/: /: must be an absolute path"),
        (&["/dev/../dev/null", "/dev/zero:/dev//null"], "/dev/zero:/dev//null: /dev//null is given twice"),
    ] {
        let flags = options.iter().flat_map(|device| ["--device", device]);
        let words: Vec<&str> =
            ["spec", "-b"].into_iter().chain([s.path("").leak() as &str]).chain(flags).collect();
        s.call(&words).fails(&format!("spec: --device {says}"));
    }
    s.shell("cd /dev && $E spec --device null").fails("spec: --device null: null: must be an absolute path");
    s.call(&["spec", "--user", "root"])
        .fails("spec: --user: \"root\" is not UID or UID:GID (each a number from 0 to 4294967294)");
    assert!(!std::path::Path::new(&s.path("config.json")).exists());
}
