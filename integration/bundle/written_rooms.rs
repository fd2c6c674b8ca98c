//! `linux.resources` and `linux.seccomp` written out as the file that says the same.

use embrun::cgroup::resources::{DeviceRule, READ, Resources, RuleKind, Throttle, WRITE, WeightDevice};
use embrun::seccomp::policy::{ACTIONS, Action, FLAGS, OPERATORS, Policy, Rule};
use serde_json::{Map, Value, json};

pub fn resources(r: &Resources) -> Value {
    json!({
        "devices": r.devices.iter().map(device_rule).collect::<Value>(),
        "memory": {
            "limit": r.memory.limit,
            "reservation": r.memory.reservation,
            "swap": r.memory.swap,
            "swappiness": r.memory.swappiness,
            "disableOOMKiller": r.memory.disable_oom_killer,
            "useHierarchy": r.memory.use_hierarchy,
            "checkBeforeUpdate": r.memory.check_before_update,
        },
        "cpu": {
            "shares": r.cpu.shares,
            "quota": r.cpu.quota,
            "burst": r.cpu.burst,
            "period": r.cpu.period,
            "realtimeRuntime": r.cpu.realtime_runtime,
            "realtimePeriod": r.cpu.realtime_period,
            "cpus": r.cpu.cpus,
            "mems": r.cpu.mems,
            "idle": r.cpu.idle,
        },
        "pids": { "limit": r.pids_limit },
        "blockIO": {
            "weight": r.block_io.weight,
            "leafWeight": r.block_io.leaf_weight,
            "weightDevice": r.block_io.weight_device.iter().map(weight_device).collect::<Value>(),
            "throttleReadBpsDevice": throttles(&r.block_io.read_bps),
            "throttleWriteBpsDevice": throttles(&r.block_io.write_bps),
            "throttleReadIOPSDevice": throttles(&r.block_io.read_iops),
            "throttleWriteIOPSDevice": throttles(&r.block_io.write_iops),
        },
        "hugepageLimits": r.hugepage_limits.iter().map(|(size, limit)| {
            json!({ "pageSize": size, "limit": limit })
        }).collect::<Value>(),
        "network": {
            "classID": r.network.class_id,
            "priorities": r.network.priorities.iter().map(|(name, priority)| {
                json!({ "name": name, "priority": priority })
            }).collect::<Value>(),
        },
        "rdma": r.rdma.iter().map(|(name, limits)| {
            (name.clone(), json!({ "hcaHandles": limits.handles, "hcaObjects": limits.objects }))
        }).collect::<Map<_, _>>(),
        "unified": r.unified.iter().map(|(file, value)| (file.clone(), json!(value))).collect::<Map<_, _>>(),
    })
}

fn device_rule(rule: &DeviceRule) -> Value {
    let kind = match rule.kind {
        RuleKind::All => "a",
        RuleKind::Char => "c",
        RuleKind::Block => "b",
    };
    let letters = [(READ, 'r'), (WRITE, 'w'), (embrun::cgroup::resources::MKNOD, 'm')];
    let access: String = letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, c)| c).collect();
    json!({ "allow": rule.allow, "type": kind, "major": rule.major, "minor": rule.minor, "access": access })
}

fn weight_device(d: &WeightDevice) -> Value {
    json!({ "major": d.major, "minor": d.minor, "weight": d.weight, "leafWeight": d.leaf_weight })
}

fn throttles(all: &[Throttle]) -> Value {
    all.iter().map(|t| json!({ "major": t.major, "minor": t.minor, "rate": t.rate })).collect()
}

pub fn policy(p: &Policy) -> Value {
    json!({
        "defaultAction": p.default_action.name(),
        "defaultErrnoRet": errno(p.default_action),
        "architectures": p.architectures.iter().map(|a| a.name()).collect::<Vec<_>>(),
        "flags": p.flags.map(|flags| {
            FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>()
        }),
        "listenerPath": p.listener_path,
        "listenerMetadata": p.listener_metadata,
        "syscalls": p.syscalls.iter().map(rule).collect::<Value>(),
    })
}

fn rule(r: &Rule) -> Value {
    let operator = |op| OPERATORS.iter().find(|(known, _)| *known == op).map(|(_, name)| *name);
    json!({
        "names": r.names,
        "action": r.action.name(),
        "errnoRet": errno(r.action),
        "args": r.args.iter().map(|a| json!({
            "index": a.index,
            "value": a.value,
            "valueTwo": a.value_two,
            "op": operator(a.op),
        })).collect::<Value>(),
    })
}

/// The errno of an action, which is EPERM where the policy gives none.
pub fn errno(action: Action) -> Option<u16> {
    match action {
        Action::Errno(n) | Action::Trace(n) => Some(n),
        _ => None,
    }
}

/// The same default put into what oci-spec wrote, and the two names of one action made one.
pub fn with_default_errno(item: &mut Value, action: &str, errno: &str) {
    if matches!(item[action].as_str(), Some("SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE")) && item[errno].is_null() {
        item[errno] = json!(1);
    }
    let one_name = |known: &&(Action, &str)| item[action] == known.1;
    if let Some((known, _)) = ACTIONS.iter().find(one_name) {
        item[action] = json!(known.name());
    }
}
