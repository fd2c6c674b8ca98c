//! `linux.devices[]` and the nodes that every container has. Pure.

use std::fmt;

use super::inside_path::InsidePath;
use super::mounts::{MountObject, MountStep};
use super::validate::{Refusal, refuse};
use crate::bundle::spec::{Device, DeviceKind, Spec};
use crate::names;
use crate::text::names::NameTable;
use crate::text::{Keep, List};

/// A device node to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceNode {
    /// Its path.
    pub path: InsidePath,
    /// Its kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

/// The contents of the container's `/dev`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DevStep {
    /// Nodes, the default ones first.
    pub nodes: List<DeviceNode>,
}

/// config-linux.md, "Default Devices"; console and ptmx are made elsewhere.
static DEFAULT: NameTable<(u32, u32)> = names! {
    "/dev/null" => (1, 3),
    "/dev/zero" => (1, 5),
    "/dev/full" => (1, 7),
    "/dev/random" => (1, 8),
    "/dev/urandom" => (1, 9),
    "/dev/tty" => (5, 0),
};

/// The nodes to make in `/dev`, or all refusals.
///
/// `None` if a mount binds a directory there: like runc, embrun leaves a foreign `/dev` as it is.
pub fn compile(spec: &Spec, mounts: &[MountStep]) -> Result<Option<DevStep>, Vec<Refusal>> {
    if mounts.iter().any(|m| m.target.as_bytes() == b"dev" && matches!(m.what, MountObject::Bind { .. })) {
        return Ok(None);
    }
    let mut nodes = Vec::with_capacity(DEFAULT.values.len() + spec.linux.devices.len());
    let mut refusals = Vec::new();
    for (path, (major, minor)) in DEFAULT.pairs() {
        if let Some(path) = InsidePath::new(path) {
            let kind = DeviceKind::Char;
            nodes.push(DeviceNode { path, kind, major, minor, mode: 0o666, uid: 0, gid: 0 });
        }
    }
    for (i, device) in spec.linux.devices.iter().enumerate() {
        match node(device) {
            // It is a link to pts/ptmx in every container.
            Ok(node) if node.path.as_bytes() == b"dev/ptmx" => {}
            // A configured device replaces a default one.
            Ok(node) => match nodes.iter_mut().find(|n: &&mut DeviceNode| n.path == node.path) {
                Some(other) => *other = node,
                None => nodes.push(node),
            },
            Err(what) => {
                refuse(&mut refusals, format_args!("linux.devices[{i}].path"), format_args!("{what}"))
            }
        }
    }
    if refusals.is_empty() { Ok(Some(DevStep { nodes: nodes.keep() })) } else { Err(refusals) }
}

fn node(device: &Device) -> Result<DeviceNode, &'static str> {
    let path = InsidePath::new(device.path).ok_or("contains a NUL character")?;
    if path.is_root() {
        return Err("is the root directory");
    }
    Ok(DeviceNode {
        path,
        kind: device.kind,
        major: device.major,
        minor: device.minor,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid,
        gid: device.gid,
    })
}

impl fmt::Display for DeviceNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
            DeviceKind::Fifo => 'p',
        };
        let DeviceNode { path, major, minor, mode, uid, gid, .. } = self;
        write!(f, "{path} {kind} {major}:{minor} {mode:04o} {uid}:{gid}")
    }
}

impl fmt::Display for DevStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("make devices")?;
        for (i, node) in self.nodes.iter().enumerate() {
            write!(f, "{} {node}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::spec::Mount;
    use crate::plan::mounts::{self, MountFacts};

    fn device(path: &'static str, kind: DeviceKind, major: u32, minor: u32) -> Device {
        Device { kind, path, major, minor, file_mode: None, uid: 0, gid: 0 }
    }

    fn with(devices: &[Device], mounts: &[Mount]) -> Result<Option<DevStep>, Vec<Refusal>> {
        let mut spec = Spec { mounts: mounts.to_vec().keep(), ..Spec::default() };
        spec.linux.devices = devices.to_vec().keep();
        let facts = MountFacts { rootfs: "/b/rootfs", ..MountFacts::default() };
        compile(&spec, mounts::compile(&spec, &facts).unwrap())
    }

    #[test]
    fn default_nodes_come_first_and_may_be_replaced() {
        let tty = Device { file_mode: Some(0o600), uid: 7, ..device("/dev/tty", DeviceKind::Char, 5, 0) };
        let disk = device("dev//disk", DeviceKind::Block, 8, 0);
        let step = with(&[tty, disk, device("/dev/ptmx", DeviceKind::Char, 5, 2)], &[]).unwrap().unwrap();
        let says: Vec<String> = step.nodes.iter().map(|n| n.to_string()).collect();
        assert_eq!(
            says,
            [
                "/dev/null c 1:3 0666 0:0",
                "/dev/zero c 1:5 0666 0:0",
                "/dev/full c 1:7 0666 0:0",
                "/dev/random c 1:8 0666 0:0",
                "/dev/urandom c 1:9 0666 0:0",
                "/dev/tty c 5:0 0600 7:0",
                "/dev/disk b 8:0 0666 0:0",
            ]
        );
        assert!(step.to_string().starts_with("make devices /dev/null c 1:3 0666 0:0, /dev/zero c"));
    }

    #[test]
    fn a_bind_mount_at_dev_is_left_as_it_is() {
        let mount = |destination, options: &[&'static str]| Mount {
            destination,
            kind: Some("tmpfs"),
            source: Some("/x"),
            options: options.to_vec().keep(),
            ..Mount::default()
        };
        for (mount, left) in [
            (mount("/dev", &["rbind"]), true),
            (mount("dev/", &["bind"]), true),
            (mount("/b/rootfs/dev", &["bind"]), true),
            (mount("/dev", &["nosuid"]), false),
            (mount("/dev", &["remount", "bind", "ro"]), false),
            (mount("/dev/x", &["bind"]), false),
        ] {
            assert_eq!(with(&[], &[mount]).unwrap().is_none(), left, "{mount:?}");
        }
    }

    #[test]
    fn a_device_cannot_be_the_root() {
        let refused = with(&[device("/dev/..", DeviceKind::Fifo, 0, 0)], &[]).unwrap_err();
        assert_eq!(refused[0].to_string(), "linux.devices[0].path: is the root directory");
    }
}
