//! `state.json`: the keys of runc's state file that other programs read.
//!
//! These programs are monitoring agents and device hot-plug tools.

use std::fmt;

use super::record::Record;
use crate::bundle::load::Loaded;
use crate::cgroup::place::location::Location;
use crate::json::value::Json;
use crate::text::Keep;

/// Writes runc's documented keys, in its spelling, as members of an object.
pub fn write(out: &mut dyn fmt::Write, record: &Record, loaded: &Loaded, cgroup: &Location) -> fmt::Result {
    let (pid, start) = record.init.as_ref().map_or((0, 0), |init| (init.pid, init.start));
    member(out, "id", Json::Str(record.id))?;
    member(out, "init_process_pid", pid.into())?;
    member(out, "init_process_start", start.into())?;
    member(out, "created", Json::Str(record.created))?;
    // Mounts are written one at a time, because there may be many.
    out.write_str("\"config\":{")?;
    member(out, "rootfs", Json::Str(record.rootfs))?;
    out.write_str("\"mounts\":[")?;
    for (i, m) in loaded.spec.mounts.iter().enumerate() {
        out.write_str(if i == 0 { "{" } else { ",{" })?;
        member(out, "source", Json::Str(m.source.unwrap_or("")))?;
        member(out, "destination", Json::Str(m.destination))?;
        out.write_str("\"device\":")?;
        Json::Str(m.kind.unwrap_or("")).write_to(out)?;
        out.write_char('}')?;
    }
    out.write_str("]},")?;
    let namespaces = loaded.spec.linux.namespaces.iter().map(|n| {
        let path =
            n.path.map(str::to_owned).unwrap_or_else(|| format!("/proc/{pid}/ns/{}", n.kind.proc_name()));
        (n.kind.flag_name(), Json::from(path))
    });
    let paths = cgroup.cgroup_paths().into_iter().map(|(k, v)| (k.keep(), Json::from(v)));
    member(out, "cgroup_paths", Json::Object(paths.collect()))?;
    member(out, "namespace_paths", Json::Object(namespaces.collect()))
}

fn member(out: &mut dyn fmt::Write, key: &str, value: Json) -> fmt::Result {
    write!(out, "\"{key}\":")?;
    value.write_to(out)?;
    out.write_char(',')
}
