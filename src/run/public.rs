//! `state.json`: the part of runc's state file that other programs read (monitoring agents, device hot-plug tools).

use crate::bundle::json::Json;
use crate::bundle::load::Loaded;
use crate::cgroup::location::Location;
use crate::state::record::Record;

/// runc's documented keys, in its spelling.
pub fn state(record: &Record, loaded: &Loaded, cgroup: &Location) -> Vec<(&'static str, Json)> {
    let (pid, start) = record.init.as_ref().map_or((0, 0), |init| (init.pid, init.start));
    let mounts = loaded.spec.mounts.iter().map(|m| {
        Json::fields([
            ("source", m.source.unwrap_or("").into()),
            ("destination", m.destination.into()),
            ("device", m.kind.unwrap_or("").into()),
        ])
    });
    let namespaces = loaded.spec.linux.namespaces.iter().map(|n| {
        let path =
            n.path.map(str::to_owned).unwrap_or_else(|| format!("/proc/{pid}/ns/{}", n.kind.proc_name()));
        (n.kind.flag_name(), Json::from(path))
    });
    vec![
        ("id", Json::Str(record.id)),
        ("init_process_pid", pid.into()),
        ("init_process_start", start.into()),
        ("created", Json::Str(record.created)),
        (
            "config",
            Json::fields([("rootfs", Json::Str(record.rootfs)), ("mounts", Json::List(mounts.collect()))]),
        ),
        (
            "cgroup_paths",
            Json::Object(
                cgroup.cgroup_paths().into_iter().map(|(k, v)| (&*k.leak(), Json::from(v))).collect(),
            ),
        ),
        ("namespace_paths", Json::Object(namespaces.collect())),
    ]
}
