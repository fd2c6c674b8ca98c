//! Invalid bundle directories: each fault is one line that names file and property.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use embrun::bundle::load::{load, load_with};

const SOUND: &str = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"linux":{}}"#;

/// A directory for one test.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("embrun-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Dir(fs::canonicalize(path).unwrap())
    }

    /// Writes a valid bundle into it.
    fn bundle(test: &str) -> Dir {
        let dir = Dir::new(test);
        fs::create_dir(dir.0.join("rootfs")).unwrap();
        fs::write(dir.0.join("config.json"), SOUND).unwrap();
        dir
    }

    fn fails(&self) -> String {
        let says = load(self.0.to_str().unwrap()).unwrap_err().to_string();
        assert_eq!(says.lines().count(), 1, "{says}");
        says
    }

    /// The error without the name of the directory, which every error contains.
    fn fails_within(&self) -> String {
        let says = self.fails();
        let within = says.strip_prefix(&format!("{}/", self.0.display()));
        within.unwrap_or_else(|| panic!("{says:?} does not begin with {}", self.0.display())).to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn valid_bundle_is_read_through_symlinks_and_keeps_its_text() {
    let dir = Dir::bundle("sound");
    let link = dir.0.join("link");
    symlink(&dir.0, &link).unwrap();
    let loaded = load(link.to_str().unwrap()).unwrap();
    assert_eq!(Path::new(loaded.dir), dir.0);
    assert_eq!(Path::new(loaded.rootfs), dir.0.join("rootfs"));
    assert_eq!(loaded.text, SOUND.as_bytes());
    assert_eq!(loaded.spec.root.path, "rootfs");
}

#[test]
fn absolute_rootfs_does_not_depend_on_the_bundle() {
    let dir = Dir::bundle("absolute");
    fs::write(dir.0.join("config.json"), SOUND.replace("rootfs", "/usr")).unwrap();
    assert_eq!(load(dir.0.to_str().unwrap()).unwrap().rootfs, "/usr");
}

#[test]
fn missing_bundle_is_named() {
    let says = load("/nonexistent/bundle").unwrap_err().to_string();
    assert_eq!(says, "bundle /nonexistent/bundle: no such file or directory (ENOENT)");
}

#[test]
fn missing_config_is_named() {
    let dir = Dir::bundle("no-config");
    fs::remove_file(dir.0.join("config.json")).unwrap();
    assert_eq!(
        dir.fails_within(),
        "config.json: no such file or directory (ENOENT) (the bundle directory must hold config.json: name it with \
         --bundle, or write one with \"embrun spec\")"
    );
    // If another config file is named, the error does not blame the bundle.
    let says = load_with(dir.0.to_str().unwrap(), "/no/such").unwrap_err().to_string();
    assert_eq!(says, "/no/such: no such file or directory (ENOENT)");
}

#[test]
fn config_that_is_not_a_regular_file_is_refused_without_waiting() {
    let dir = Dir::bundle("fifo");
    let config = dir.0.join("config.json");
    fs::remove_file(&config).unwrap();
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let start = Instant::now();
    assert_eq!(dir.fails_within(), "config.json: not a regular file");
    assert!(start.elapsed().as_secs() < 2);
    fs::remove_file(&config).unwrap();
    symlink("/dev/zero", &config).unwrap();
    assert_eq!(dir.fails_within(), "config.json: not a regular file");
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    assert_eq!(dir.fails_within(), "config.json: not a regular file");
}

#[test]
fn endless_config_is_refused() {
    let dir = Dir::bundle("long");
    let file = fs::File::create(dir.0.join("config.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(dir.fails_within(), "config.json: longer than 16 MiB");
}

#[test]
fn malformed_json_is_reported_by_line_and_column() {
    let dir = Dir::bundle("broken");
    for (text, says) in [
        ("", "config.json: EOF while parsing a value at line 1 column 0"),
        ("{\n\"a\": }", "config.json: expected value at line 2 column 6"),
        ("{\"a\": 1, \"a\": 2}", "config.json: duplicate key \"a\" at line 1 column 12"),
        ("{} {}", "config.json: trailing characters at line 1 column 4"),
    ] {
        fs::write(dir.0.join("config.json"), text).unwrap();
        assert_eq!(dir.fails_within(), says);
    }
}

#[test]
fn invalid_property_is_named() {
    let dir = Dir::bundle("property");
    fs::write(dir.0.join("config.json"), SOUND.replace("1.0.2", "7")).unwrap();
    assert_eq!(
        dir.fails_within(),
        "config.json: ociVersion: \"7\" is not a version (must be MAJOR.MINOR.PATCH, as in \"1.0.2\")"
    );
}

#[test]
fn rootfs_that_is_missing_or_a_file_is_refused() {
    let dir = Dir::bundle("rootfs");
    fs::remove_dir(dir.0.join("rootfs")).unwrap();
    let hint = "(it must be the directory of the container's root file system)";
    assert_eq!(
        dir.fails_within(),
        format!("config.json: root.path: \"rootfs\": no such file or directory (ENOENT) {hint}")
    );
    fs::write(dir.0.join("rootfs"), "").unwrap();
    assert_eq!(
        dir.fails_within(),
        format!("config.json: root.path: \"rootfs\": not a directory (ENOTDIR) {hint}")
    );
}

#[test]
fn bundle_that_is_a_file_is_refused() {
    let dir = Dir::bundle("file");
    let file = dir.0.join("config.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let says = load(file.to_str().unwrap()).unwrap_err().to_string();
    assert!(says.contains("not a directory (ENOTDIR)"), "{says}");
}
