//! Assembles a root file system from a configuration, as init does it.

use std::fs;
use std::path::Path;

use embrun::bundle::config;
use embrun::bundle::spec::Spec;
use embrun::error::Result;
use embrun::json::value::Json;
use embrun::plan::inside_path::InsidePath;
use embrun::plan::root_step::MaskedPaths;
use embrun::plan::{devices, mounts};
use embrun::rootfs::detached::Api;
use embrun::rootfs::resolve::Resolver;
use embrun::rootfs::{Rootfs, Ways};

use super::own_mounts::{c, with_scratch};

pub const NEW: Ways = Ways { api: Some(Api::Detached), resolver: Some(Resolver::Kernel) };
pub const OLD: Ways = Ways { api: Some(Api::Staged), resolver: Some(Resolver::Walk) };

pub fn spec(more: &str, linux: &str) -> Spec {
    let text = format!(
        r#"{{"ociVersion":"1.0.2","root":{{"path":"rootfs"}}{more},
            "linux":{{"namespaces":[{{"type":"mount"}},{{"type":"network"}}]{linux}}}}}"#
    );
    *config::spec(&Json::parse(text.as_bytes()).unwrap()).unwrap()
}

pub fn facts(bundle: &Path) -> mounts::MountFacts {
    mounts::MountFacts {
        rootfs: bundle.join("rootfs").to_str().unwrap().to_owned().leak(),
        bundle: bundle.to_str().unwrap().to_owned().leak(),
        own_network: true,
        own_pids: true,
        cgroup: embrun::plan::cgroup_view::CgroupView::default(),
        selinux: false,
        notify: None,
    }
}

/// Assembles the root file system of a configuration and pivots into it.
pub fn assemble(bundle: &Path, spec: &Spec, ways: Ways) -> Result<()> {
    built(bundle, spec, ways)?.pivot()
}

/// Assembles it without the pivot.
pub fn built(bundle: &Path, spec: &Spec, ways: Ways) -> Result<Rootfs> {
    let mut rootfs = Rootfs::prepare(&c(&bundle.join("rootfs")), spec.linux.rootfs_propagation, ways)?;
    let mounts = mounts::compile(spec, &facts(bundle)).unwrap();
    for step in mounts {
        rootfs.mount(step).map_err(|e| e.context(step))?;
    }
    if let Some(dev) = devices::compile(spec, mounts).unwrap() {
        rootfs.devices(&dev)?;
    }
    let inside = |paths: &[&str]| paths.iter().map(|p| InsidePath::new(p).unwrap()).collect::<Vec<_>>();
    rootfs.readonly(&inside(spec.linux.readonly_paths))?;
    rootfs.mask(&inside(spec.linux.masked_paths), MaskedPaths::NOTHING)?;
    rootfs.finish()?;
    if spec.root.readonly {
        rootfs.make_readonly()?;
    }
    Ok(rootfs)
}

/// Whether this kernel has mount_setattr(2).
///
/// The version number decides, independently of embrun's own detection.
pub fn is_new() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5), Some(12))
}

/// The mount APIs that work on this kernel.
pub fn each_way() -> &'static [Ways] {
    if is_new() { &[NEW, OLD] } else { &[OLD] }
}

pub fn on_each_kernel(test: impl Fn(&Path, Ways) + Send + Copy + 'static) {
    for &ways in each_way() {
        with_scratch(move |bundle| test(bundle, ways));
    }
}

/// The mount at `point`: (its options, its file system type).
pub fn mounted(point: &str) -> Option<(String, String)> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = text.lines().rfind(|l| l.split(' ').nth(4) == Some(point))?;
    let (before, after) = line.split_once(" - ")?;
    Some((before.split(' ').nth(5)?.to_owned(), after.split(' ').next()?.to_owned()))
}
