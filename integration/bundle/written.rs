//! Writes a [`Spec`] as the equivalent `config.json`, for other readers.

use embrun::bundle::config::memory_policy;
use embrun::bundle::spec::{
    Capabilities, Device, DeviceKind, Hook, HookKind, Hooks, IdMapping, Linux, Mount, Personality, Process,
    Propagation, Spec,
};
use serde_json::{Map, Value, json};

use crate::written_rooms;

pub fn written(s: &Spec) -> Value {
    json!({
        "ociVersion": s.oci_version,
        "root": { "path": s.root.path, "readonly": s.root.readonly },
        "mounts": s.mounts.iter().map(mount).collect::<Vec<_>>(),
        "process": s.process.as_deref().map(process),
        "hostname": s.hostname,
        "domainname": s.domainname,
        "hooks": hooks(&s.hooks),
        "annotations": map(&s.annotations.iter().collect::<Vec<_>>(), |v| json!(v)),
        "linux": linux(&s.linux),
    })
}

fn map<K: ToString, T>(pairs: &[(K, T)], value: impl Fn(&T) -> Value) -> Value {
    Value::Object(pairs.iter().map(|(k, v)| (k.to_string(), value(v))).collect::<Map<_, _>>())
}

fn mount(m: &Mount) -> Value {
    json!({
        "destination": m.destination,
        "source": m.source,
        "type": m.kind,
        "options": m.options,
        "uidMappings": ids(m.mappings.map_or(&[], |(uids, _)| uids)),
        "gidMappings": ids(m.mappings.map_or(&[], |(_, gids)| gids)),
    })
}

fn ids(maps: &[IdMapping]) -> Value {
    let one = |m: &IdMapping| json!({ "containerID": m.container_id, "hostID": m.host_id, "size": m.size });
    maps.iter().map(one).collect()
}

fn process(p: &Process) -> Value {
    json!({
        "terminal": p.terminal,
        "consoleSize": p.console_size.map(|(height, width)| json!({ "height": height, "width": width })),
        "user": {
            "uid": p.user.uid,
            "gid": p.user.gid,
            "umask": p.user.umask,
            "additionalGids": p.user.additional_gids,
        },
        "args": p.args,
        "env": p.env,
        "cwd": p.cwd,
        "capabilities": Some(&p.capabilities).filter(|c| **c != Capabilities::default()).map(|c| json!({
            "bounding": c.bounding,
            "effective": c.effective,
            "inheritable": c.inheritable,
            "permitted": c.permitted,
            "ambient": c.ambient,
        })),
        "rlimits": p.rlimits.iter().map(|r| json!({
            "type": name(&RLIMITS, r.resource as usize),
            "soft": r.soft,
            "hard": r.hard,
        })).collect::<Vec<_>>(),
        "noNewPrivileges": p.no_new_privileges,
        "oomScoreAdj": p.oom_score_adj,
        "apparmorProfile": p.apparmor_profile,
        "selinuxLabel": p.selinux_label,
        "scheduler": p.scheduler.as_ref().map(|s| json!({
            "policy": name(&POLICIES, s.policy as usize),
            "nice": s.nice,
            "priority": s.priority,
            "flags": (0..7).filter(|bit| s.flags & (1 << bit) != 0).map(|bit| name(&FLAGS, bit)).collect::<Vec<_>>(),
            "runtime": s.runtime,
            "deadline": s.deadline,
            "period": s.period,
        })),
        "ioPriority": p.io_priority.as_ref().map(|i| json!({
            "class": name(&IO_CLASSES, i.class as usize),
            "priority": i.priority,
        })),
        "execCPUAffinity": p.exec_cpu_affinity.as_ref().map(|a| json!({ "initial": a.initial, "final": a.last })),
    })
}

/// The numbers of most architectures (include/uapi/asm-generic/resource.h).
///
/// MIPS differs, but this test does not run there.
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];
const POLICIES: [&str; 7] =
    ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];
const FLAGS: [&str; 7] = [
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];
const IO_CLASSES: [&str; 4] =
    ["IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

fn name(table: &[&'static str], number: usize) -> &'static str {
    table[number]
}

fn hooks(h: &Hooks) -> Value {
    let list = |hooks: &[Hook]| -> Value {
        hooks
            .iter()
            .map(|h| json!({ "path": h.path, "args": h.args, "env": h.env, "timeout": h.timeout }))
            .collect()
    };
    let kind = |(name, hooks): (&str, &&[Hook])| (name.to_owned(), list(hooks));
    Value::Object(HookKind::NAMES.into_iter().zip(&h.0).map(kind).collect())
}

fn linux(l: &Linux) -> Value {
    json!({
        "namespaces": l.namespaces.iter().map(|n| json!({ "type": n.kind.name(), "path": n.path })).collect::<Vec<_>>(),
        "uidMappings": ids(l.uid_mappings),
        "gidMappings": ids(l.gid_mappings),
        "timeOffsets": l.time_offsets.iter().map(|(clock, secs, nanosecs)| {
            ((*clock).to_owned(), json!({ "secs": secs, "nanosecs": nanosecs }))
        }).collect::<Map<_, _>>(),
        "devices": l.devices.iter().map(device).collect::<Vec<_>>(),
        "cgroupsPath": l.cgroups_path,
        "resources": written_rooms::resources(&l.resources),
        "seccomp": l.seccomp.as_ref().map(written_rooms::policy),
        "rootfsPropagation": l.rootfs_propagation.map(propagation),
        "sysctl": map(l.sysctl, |v| json!(v)),
        "maskedPaths": l.masked_paths,
        "readonlyPaths": l.readonly_paths,
        "mountLabel": l.mount_label,
        "netDevices": l.net_devices.iter().map(|d| (d.host.to_owned(), json!({ "name": d.name }))).collect::<Map<_, _>>(),
        "intelRdt": l.intel_rdt.map(|rdt| json!({
            "closID": rdt.class,
            "l3CacheSchema": rdt.l3,
            "memBwSchema": rdt.bandwidth,
            "schemata": rdt.schemata,
            "enableMonitoring": rdt.monitoring,
        })),
        "memoryPolicy": l.memory_policy.map(|p| json!({
            "mode": memory_policy::MODES.name(|mode| mode == p.mode),
            "nodes": p.nodes,
            "flags": memory_policy::FLAGS
                .pairs()
                .filter(|(_, flag)| p.flags & flag != 0)
                .map(|(name, _)| name)
                .collect::<Vec<_>>(),
        })),
        "personality": l.personality.map(|p| match p {
            Personality::Linux => json!({ "domain": "LINUX" }),
            Personality::Linux32 => json!({ "domain": "LINUX32" }),
        }),
    })
}

fn device(d: &Device) -> Value {
    let kind = match d.kind {
        DeviceKind::Char => "c",
        DeviceKind::Block => "b",
        DeviceKind::Fifo => "p",
    };
    json!({
        "type": kind,
        "path": d.path,
        "major": d.major,
        "minor": d.minor,
        "fileMode": d.file_mode,
        "uid": d.uid,
        "gid": d.gid,
    })
}

fn propagation(p: Propagation) -> String {
    let (recursive, word) = match p {
        Propagation::Shared { recursive } => (recursive, "shared"),
        Propagation::Slave { recursive } => (recursive, "slave"),
        Propagation::Private { recursive } => (recursive, "private"),
        Propagation::Unbindable { recursive } => (recursive, "unbindable"),
    };
    format!("{}{word}", if recursive { "r" } else { "" })
}
