//! `linux.cgroupsPath` for cgroupfs and for systemd.

use embrun::cgroup::place::layout::MountedHierarchy;
use embrun::cgroup::place::path::CgroupPath;
use embrun::cgroup::place::unit::Unit;

/// Checks one path, as it is and below a cgroup of the runtime's own.
pub fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    files(text);
    unit(text);
}

fn files(text: &str) {
    let names: Vec<&str> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let sound = !names.is_empty() && !names.contains(&"..") && !text.chars().any(char::is_control);
    let path = CgroupPath::new(Some(text), "web");
    assert_eq!(path.is_ok(), sound, "{text:?}");
    let Ok(path) = path else { return };
    for own in ["/", "/own", "/own/deep"] {
        for controllers in [vec![], vec!["memory".to_owned()]] {
            let is_v2 = controllers.is_empty();
            let hierarchy = MountedHierarchy { mount: "/c".to_owned(), own: own.to_owned(), controllers };
            let place = path.within(&hierarchy);
            let parent = match (text.starts_with('/'), is_v2) {
                (true, _) => "",
                (false, false) => own.trim_end_matches('/'),
                (false, true) => &own[..own.rfind('/').unwrap()],
            };
            assert_eq!(place, format!("{parent}/{}", names.join("/")), "{text:?} in {own}");
            // Below the root, and never the root.
            let parts: Vec<&str> = place.strip_prefix('/').expect("an absolute path").split('/').collect();
            assert!(parts.iter().all(|part| !matches!(*part, "" | "." | "..")), "{text:?} in {own}: {place}");
            let again = CgroupPath::new(Some(&place), "web").expect("a place is a path");
            assert_eq!(again.within(&hierarchy), place, "{text:?}");
        }
    }
}

/// systemd.unit(5) and systemd.slice(5).
fn unit(text: &str) {
    for user in [false, true] {
        let unit = Unit::new(Some(text), "web", user);
        assert_eq!(unit.is_ok(), is_unit(text), "{text:?}");
        let Ok(unit) = unit else { continue };
        let stem = unit.name.strip_suffix(".scope").expect("a scope");
        assert!(!stem.is_empty() && !stem.contains('/') && !stem.contains(char::is_control), "{unit:?}");
        assert!(unit.slice.ends_with(".slice") && !unit.slice.contains('/'), "{unit:?}");
        let parts: Vec<&str> = text.split(':').collect();
        let wanted: Vec<&str> = parts[1..].iter().copied().filter(|part| !part.is_empty()).collect();
        assert_eq!(stem, wanted.join("-"), "{text:?}");
        if parts[0].is_empty() {
            assert_eq!(unit.slice, if user { "user.slice" } else { "system.slice" });
        }
    }
}

fn is_unit(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, _, name] = parts[..] else { return false };
    let slice_stem = match slice {
        "" | "-" | "-.slice" => "a",
        given => given.strip_suffix(".slice").unwrap_or(""),
    };
    !name.is_empty()
        && !text.contains('/')
        && !text.contains(char::is_control)
        && !name.ends_with(".slice")
        && !name.ends_with(".scope")
        && slice_stem.split('-').all(|part| !part.is_empty())
}
