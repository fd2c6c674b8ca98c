//! The steps of init that act on the container's prepared root file system.

use std::fmt;

use super::devices::DevStep;
use super::inside_path::InsidePath;
use super::mounts::MountStep;
use crate::text::{List, Text};

/// A step that acts on the prepared root, up to the pivot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RootStep {
    /// Mount one entry of `mounts[]`.
    Mount(&'static MountStep),
    /// Make the working directory, if it is missing.
    MakeCwd(InsidePath),
    /// Make the device nodes and the links of /dev.
    Devices(DevStep),
    /// Replace the host's /dev/null by the container's among the standard streams.
    StdioNull,
    /// Make the root mount read-only.
    ReadonlyRoot,
    /// Make paths read-only, where they exist.
    ReadonlyPaths(List<InsidePath>),
    /// Hide paths, where they exist.
    MaskedPaths(&'static MaskedPaths),
    /// Make those mounts read-only that had to be filled first.
    FinishMounts,
    /// Switch to the new root, with the requested propagation.
    PivotRoot,
    /// The same without pivot_root, for `--no-pivot`.
    MoveRoot,
    /// Change to the new root, in the mount namespace of the runtime.
    Chroot,
}

/// Paths to hide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskedPaths {
    /// The paths.
    pub paths: List<InsidePath>,
    /// Options of the tmpfs that covers directories.
    pub data: Text,
}

impl MaskedPaths {
    /// Options of a tmpfs that holds nothing.
    ///
    /// Some kernels count the root twice, hence two inodes. The size is rounded up to a page; 0 would mean no limit.
    pub const NOTHING: Text = "size=4k,nr_inodes=2,mode=755";
}

impl fmt::Display for RootStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootStep::Mount(mount) => write!(f, "{mount}"),
            RootStep::MakeCwd(path) => write!(f, "make working directory {path}"),
            RootStep::Devices(devices) => write!(f, "{devices}"),
            RootStep::StdioNull => f.write_str("take the container's /dev/null"),
            RootStep::ReadonlyRoot => f.write_str("make the root read-only"),
            RootStep::ReadonlyPaths(paths) => list(f, "make read-only", paths),
            RootStep::MaskedPaths(MaskedPaths { paths, data }) => {
                list(f, "mask", paths)?;
                if *data == MaskedPaths::NOTHING { Ok(()) } else { write!(f, " ({data})") }
            }
            RootStep::FinishMounts => f.write_str("finish the mounts"),
            RootStep::PivotRoot => f.write_str("pivot_root"),
            RootStep::Chroot => f.write_str("chroot"),
            RootStep::MoveRoot => f.write_str("move the root over /"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, act: &str, paths: &[InsidePath]) -> fmt::Result {
    f.write_str(act)?;
    paths.iter().try_for_each(|p| write!(f, " {p}"))
}
