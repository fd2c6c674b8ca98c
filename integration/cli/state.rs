//! State roots that are missing, hostile or damaged.

use std::os::unix::fs::PermissionsExt as _;

use crate::{Scratch, read};

#[test]
fn missing_container_is_an_error() {
    let s = Scratch::new();
    for command in ["state", "kill", "delete", "pause", "resume", "ps"] {
        s.call(&[command, "web"]).fails(&format!("{command} web: container does not exist"));
    }
    s.call(&["delete", "--force", "web"]).ok();
    s.call(&["delete", "web", "-f"]).ok();
    assert!(!s.0.join("root").exists(), "a reading command creates nothing");
}

#[test]
fn untrusted_state_root_is_refused() {
    let s = Scratch::new();
    let root = s.path("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
    let why = "is writable by others; containers' state could be forged there (chmod 0700)";
    for command in [&["list"][..], &["state", "web"], &["delete", "-f", "web"]] {
        let said = s.call(command);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains(&format!("--root {root}: {why}")), "{said:?}");
    }
}

#[test]
fn damaged_state_is_reported_and_hides_no_other() {
    let s = Scratch::new();
    std::fs::create_dir_all(s.path("root/torn")).unwrap();
    std::fs::create_dir(s.path("root/blank")).unwrap();
    std::fs::write(s.path("root/torn/record"), "{\"version\":1,\"crc32\":\"").unwrap();
    let said = s.call(&["list", "-q"]);
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
    assert!(said.stderr.starts_with("embrun: warning: torn: "), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1);
    for command in [&["state"][..], &["delete"], &["kill"]] {
        let said = s.call(&[command, &["torn"]].concat());
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains("the record is torn or damaged"), "{said:?}");
    }
    assert_eq!(
        read(s.path("root/torn/record")),
        "{\"version\":1,\"crc32\":\"",
        "the state is kept for inspection"
    );
    let said = s.call(&["delete", "-f", "torn"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stderr.starts_with("embrun: warning: torn: only its state is removed: "), "{said:?}");
    assert!(!std::path::Path::new(&s.path("root/torn")).exists());
}

/// An interrupted create or delete leaves such a directory.
#[test]
fn empty_state_directory_is_no_container_and_is_removed() {
    let s = Scratch::new();
    for (command, succeeds) in [(&["delete", "-f", "web"][..], true), (&["delete", "web"], false)] {
        std::fs::create_dir_all(s.path("root/web")).unwrap();
        s.call(&["state", "web"]).fails("state web: container does not exist");
        let said = s.call(command);
        assert_eq!(said.status == 0, succeeds, "{said:?}");
        assert!(!s.0.join("root/web").exists());
    }
}
